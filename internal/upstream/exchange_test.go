package upstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

// TestWaits has a server that is silent: it is waited for twice as long each time, and
// at last not at all, but for one question now and then (RFC 6298, section 5.5).
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := f.client(false)
		defer c.Close()
		if wait, state, probe := c.Estimate(address(1)); wait != 400*time.Millisecond || state != upstream.Unknown || probe {
			t.Errorf("before any question: %v %v %v", wait, state, probe)
		}
		for i, want := range []time.Duration{400, 800, 1600, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000} {
			want *= time.Millisecond
			if wait, state, probe := c.Estimate(address(1)); wait != want || i > 0 && state != upstream.Slow || probe {
				t.Errorf("question %d: estimate %v %v %v, want %v", i, wait, state, probe, want)
			}
			begin := time.Now()
			r, err := c.Exchange(t.Context(), address(1), plain())
			if !isTimeout(err) || r.Packets != 1 || time.Since(begin) != want {
				t.Fatalf("question %d: %+v %v after %v, want %v", i, r, err, time.Since(begin), want)
			}
		}
		begin := time.Now()
		probes := func() (n int) {
			for range 3 {
				_, state, probe := c.Estimate(address(1))
				if state != upstream.Dead {
					t.Errorf("%v after it died: state %v", time.Since(begin), state)
				}
				if probe {
					n++
				}
			}
			return n
		}
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{0, 0}, {59 * time.Second, 0}, {time.Second, 1}, {4 * time.Second, 0}, {time.Second, 1}} {
			time.Sleep(step.wait)
			if n := probes(); n != step.want {
				t.Errorf("%v after it died: %d of 3 may try it, want %d", time.Since(begin), n, step.want)
			}
		}
		if _, err := c.Exchange(t.Context(), address(1), plain()); !isTimeout(err) {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if n := probes(); n != 0 {
			t.Error("a server that did not answer the one that tried is tried again at once")
		}
		f.udp = reply(wire.FlagAA)
		f.rtt = 20 * time.Millisecond
		ask(t, c, plain())
		if wait, state, probe := c.Estimate(address(1)); wait != 300*time.Millisecond || state != upstream.Good || probe {
			t.Errorf("after an answer: %v %v %v", wait, state, probe)
		}
		if rtt := c.RTT(address(1)); rtt != 20*time.Millisecond {
			t.Errorf("RTT %v", rtt)
		}
	})
}

// TestSmoothedWait has a server that takes long: its own time decides.
func TestSmoothedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{udp: reply(0), rtt: 320 * time.Millisecond}
		c := f.client(false)
		defer c.Close()
		ask(t, c, plain())
		if wait, _, _ := c.Estimate(address(1)); wait != 960*time.Millisecond { // 320 + 4 * 160
			t.Errorf("waits %v", wait)
		}
		for range 40 {
			ask(t, c, plain())
		}
		if wait, _, _ := c.Estimate(address(1)); wait < 320*time.Millisecond || wait > 340*time.Millisecond {
			t.Errorf("after 40 more, waits %v", wait)
		}
	})
}

// TestLostTogether loses a hundred questions that wait at the same time: one moment is
// no reason to take a server for dead.
func TestLostTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := (&fake{}).client(false)
		defer c.Close()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.Exchange(t.Context(), address(1), plain()); !isTimeout(err) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wait, state, _ := c.Estimate(address(1)); wait != 800*time.Millisecond || state != upstream.Slow {
			t.Errorf("estimate %v %v, want one timeout", wait, state)
		}
	})
}

// TestCutShort ends questions before the server had its time: it is none the worse.
func TestCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := f.client(false)
		defer c.Close()
		begin := time.Now()
		q := plain()
		q.End = begin.Add(100 * time.Millisecond)
		if _, err := c.Exchange(t.Context(), address(1), q); !isTimeout(err) || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("End: %v after %v", err, time.Since(begin))
		}
		if _, err := c.Exchange(t.Context(), address(1), q); !isTimeout(err) || len(f.sent()) != 1 {
			t.Errorf("after End: %v, want nothing sent", err)
		}
		for _, tcp := range []bool{false, true} {
			q := plain()
			q.TCP = tcp
			f.tcp = f.serve(func([]byte) [][]byte { return nil })
			begin = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if _, err := c.Exchange(ctx, address(1), q); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) || time.Since(begin) != 50*time.Millisecond {
				t.Errorf("deadline, tcp %v: %v after %v", tcp, err, time.Since(begin))
			}
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(30*time.Millisecond, cancel)
			begin = time.Now()
			if _, err := c.Exchange(ctx, address(1), q); !errors.Is(err, context.Canceled) || time.Since(begin) != 30*time.Millisecond {
				t.Errorf("cancelled, tcp %v: %v after %v", tcp, err, time.Since(begin))
			}
			f.sent()
			if _, err := c.Exchange(ctx, address(1), q); !errors.Is(err, context.Canceled) || len(f.sent()) != 0 {
				t.Errorf("cancelled before, tcp %v: %v, want nothing sent", tcp, err)
			}
		}
		if wait, state, _ := c.Estimate(address(1)); wait != 400*time.Millisecond || state != upstream.Unknown {
			t.Errorf("estimate %v %v", wait, state)
		}
		c.Close()
		synctest.Wait()
		if sockets, conns, _ := f.left(); sockets != 0 || conns != 0 {
			t.Errorf("%d sockets and %d connections are left", sockets, conns)
		}
	})
}

// TestRefused has a host without a server, or somebody who says so.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{udp: func([]byte) [][]byte { return [][]byte{nil} }, rtt: time.Millisecond}
		c := f.client(false)
		defer c.Close()
		begin := time.Now()
		if _, err := c.Exchange(t.Context(), address(1), plain()); !errors.Is(err, syscall.ECONNREFUSED) || time.Since(begin) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, state, _ := c.Estimate(address(1)); state != upstream.Slow {
			t.Errorf("state %v", state)
		}
	})
}

// TestRouters has somebody say, before the server answers, that it cannot be reached. It
// may be anybody, and it ends nothing.
func TestRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		f.udp = func(q []byte) [][]byte { return [][]byte{{}, {}, echo(q, wire.FlagAA)} }
		c := f.client(false)
		defer c.Close()
		if r := ask(t, c, plain()); r.TCP || r.SuspectedSpoof || r.RTT != time.Millisecond {
			t.Errorf("%+v", r)
		}
		f.udp = func([]byte) [][]byte { return [][]byte{{}} }
		begin := time.Now()
		if _, err := c.Exchange(t.Context(), address(2), plain()); !isTimeout(err) || time.Since(begin) != 400*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// TestUnmixed has a server that answers in lower case what was asked as it stands in a
// zone: nothing was hidden in it, and the reply is taken.
func TestUnmixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		f.udp = func(q []byte) [][]byte {
			r := echo(q, wire.FlagAA)
			copy(r[12:], bytes.ToLower(r[12:len(r)-4]))
			return [][]byte{r}
		}
		c := f.client(false)
		defer c.Close()
		q := plain()
		q.Name, q.MixCase = []byte("\x03WWW\x04Test\x00"), false
		q.EDNS = false
		if r := ask(t, c, q); r.TCP || r.SuspectedSpoof {
			t.Errorf("%+v", r)
		}
	})
}

// TestAllIDs has somebody who knows the port and sends replies with all 65,536 IDs, the
// right one last: none is taken.
func TestAllIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: 10 * time.Millisecond}
		f.udp = func(q []byte) (all [][]byte) {
			id := binary.BigEndian.Uint16(q)
			for i := range 65536 {
				g := echo(q, 0)
				binary.BigEndian.PutUint16(g, id+uint16(i)+1)
				all = append(all, g)
			}
			return all
		}
		f.tcp = f.serve(reply(wire.FlagAA))
		c := f.client(true)
		defer c.Close()
		r := ask(t, c, plain())
		if !r.TCP || !r.SuspectedSpoof || r.Message[2]&4 == 0 || r.Packets != 2 {
			t.Errorf("%+v", r)
		}
		n := c.Counters()
		if n.Mismatched.Load() != 3 || n.SuspectedSpoofs.Load() != 1 {
			t.Errorf("%d mismatches, %d guessed, want 3 and 1", n.Mismatched.Load(), n.SuspectedSpoofs.Load())
		}
		f.tcp = nil
		c2 := f.client(true)
		defer c2.Close()
		if r, err := c2.Exchange(t.Context(), address(1), plain()); err == nil || r.Message != nil || !r.SuspectedSpoof {
			t.Errorf("without TCP: %+v %v, want no answer", r, err)
		}
	})
}

// TestFlood sends what is no reply to anything: it keeps no question from its deadline,
// and from none at all does it get more than a bounded look.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: 10 * time.Millisecond}
		f.udp = func(q []byte) (all [][]byte) {
			for i := range 1000 {
				all = append(all, bytes.Repeat([]byte{byte(i)}, 20))
			}
			return all
		}
		f.tcp = f.serve(reply(wire.FlagAA))
		c := f.client(false)
		defer c.Close()
		if r := ask(t, c, plain()); !r.TCP || !r.SuspectedSpoof || r.Octets > 64*20+200 {
			t.Errorf("%+v", r)
		}
		f.udp = func(q []byte) [][]byte {
			return append(slicesRepeat([]byte{1, 2, 3}, 60), echo(q, wire.FlagAA))
		}
		if r := ask(t, c, plain()); r.TCP || r.SuspectedSpoof {
			t.Errorf("60 packets of three octets: %+v", r)
		}
	})
}

func slicesRepeat(b []byte, n int) (all [][]byte) {
	for range n {
		all = append(all, b)
	}
	return all
}

// TestOversizedOnly has a server that sends more than it is asked for: what may have come
// in fragments is not taken, but fetched over TCP when nothing else comes.
func TestOversizedOnly(t *testing.T) {
	for name, edns := range map[string]bool{"EDNS": true, "512": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{rtt: 10 * time.Millisecond}
				limit := 1232
				if !edns {
					limit = 512
				}
				f.udp = func(q []byte) [][]byte {
					r := echo(q, 0)
					return [][]byte{append(r, make([]byte, limit+1-len(r))...)}
				}
				f.tcp = f.serve(reply(wire.FlagAA))
				c := f.client(false)
				defer c.Close()
				begin := time.Now()
				q := plain()
				q.EDNS = edns
				if r := ask(t, c, q); !r.TCP || r.Message[2]&4 == 0 || time.Since(begin) != 420*time.Millisecond {
					t.Errorf("%+v after %v", r, time.Since(begin))
				}
				if n := c.Counters(); n.Oversized.Load() != 1 || n.Timeouts.Load() != 0 {
					t.Errorf("%d oversized, %d timeouts", n.Oversized.Load(), n.Timeouts.Load())
				}
			})
		})
	}
}

// TestBare has an error without a question: anybody who guesses 16 bits could send it, so
// that TCP must show that it is the server's way.
func TestBare(t *testing.T) {
	bare := func(rcode wire.Rcode) func(q []byte) [][]byte {
		return func(q []byte) [][]byte {
			r := bytes.Clone(q[:12])
			binary.BigEndian.PutUint16(r[2:], wire.FlagQR|uint16(rcode))
			clear(r[4:])
			return [][]byte{r}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond, udp: bare(wire.ServFail)}
		f.tcp = f.serve(bare(wire.ServFail))
		c := f.client(false)
		defer c.Close()
		if r := ask(t, c, plain()); !r.TCP || r.SuspectedSpoof || len(r.Message) != 12 {
			t.Errorf("the server's way: %+v", r)
		}
		f.tcp = f.serve(reply(wire.FlagAA))
		c2 := f.client(false)
		defer c2.Close()
		if r := ask(t, c2, plain()); !r.TCP || !r.SuspectedSpoof || r.Message[2]&4 == 0 {
			t.Errorf("a forged one: %+v", r)
		}
	})
}

// TestPlain has servers that do not know EDNS, or seem not to (RFC 6891, section 7).
func TestPlain(t *testing.T) {
	noEDNS := func(rcode wire.Rcode) func(q []byte) [][]byte {
		return func(q []byte) [][]byte {
			if q[11] != 0 {
				return [][]byte{echo(q, uint16(rcode))}
			}
			return [][]byte{echo(q, wire.FlagAA)}
		}
	}
	for name, c := range map[string]struct {
		udp                 func(q []byte) [][]byte
		do                  bool
		first, next, forgot string // queries of a question, of one after 59 s, and of one after 16 min
		rcode               wire.Rcode
	}{
		"FORMERR":             {noEDNS(wire.FormErr), false, "EP", "P", "EP", 0},
		"NOTIMP":              {noEDNS(wire.NotImp), false, "EP", "P", "EP", 0},
		"for signatures":      {noEDNS(wire.FormErr), true, "EP", "P", "EP", 0},
		"FORMERR to all":      {reply(uint16(wire.FormErr)), false, "EP", "EP", "EP", wire.FormErr},
		"SERVFAIL, not taken": {noEDNS(wire.ServFail), false, "E", "E", "E", wire.ServFail},
		"FORMERR with OPT": {func(q []byte) [][]byte {
			return [][]byte{withOPT(echo(q, 0), wire.FormErr, nil)}
		}, false, "E", "E", "E", wire.FormErr},
		"BADVERS": {func(q []byte) [][]byte {
			if q[11] != 0 {
				return [][]byte{withOPT(echo(q, 0), wire.BadVers, nil)}
			}
			return [][]byte{echo(q, 0)}
		}, false, "EP", "P", "EP", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{udp: c.udp}
				cl := f.client(false)
				defer cl.Close()
				for i, want := range []string{c.first, c.next, c.forgot} {
					q := plain()
					q.DO = c.do
					r := ask(t, cl, q)
					got := ""
					for _, p := range f.sent() {
						if p.msg[11] != 0 {
							got += "E"
						} else {
							got += "P"
						}
					}
					if got != want || wire.Rcode(r.Message[3]&15) != c.rcode || r.TCP {
						t.Errorf("question %d: sent %s, want %s; %+v", i, got, want, r)
					}
					time.Sleep([]time.Duration{59 * time.Second, 16 * time.Minute, 0}[i])
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{udp: noEDNS(wire.FormErr)}
		c := f.client(false)
		defer c.Close()
		ask(t, c, plain())
		time.Sleep(2 * time.Minute)
		f.sent()
		q := plain()
		q.DO = true
		if ask(t, c, q); len(f.sent()) != 2 {
			t.Error("a question for signatures is not asked with EDNS after two minutes")
		}
		q.DO = false
		if ask(t, c, q); len(f.sent()) != 1 {
			t.Error("a plain question is asked with EDNS after two minutes")
		}
	})
}

// TestSilenceTeachesNothing has a server that drops what has EDNS: that cannot be told
// from a packet that was lost, so that it is never asked without.
func TestSilenceTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{udp: func(q []byte) [][]byte {
			forged := echo(q, uint16(wire.FormErr))
			forged[1]++
			return [][]byte{forged, forged}
		}}
		c := f.client(false)
		defer c.Close()
		for range 5 {
			if _, err := c.Exchange(t.Context(), address(1), plain()); !isTimeout(err) {
				t.Fatal(err)
			}
		}
		for _, p := range f.sent() {
			if p.msg[11] == 0 {
				t.Error("asked without EDNS")
			}
		}
	})
}

// TestAddresses asks what is no server's address.
func TestAddresses(t *testing.T) {
	f := &fake{udp: reply(0)}
	c := upstream.New(upstream.Options{Network: f, DoNotQuery: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	defer c.Close()
	for _, a := range []string{
		"0.0.0.0:53", "0.1.2.3:53", "255.255.255.255:53", "224.0.0.251:5353", "[::]:53", "[ff02::fb]:53", "[::ffff:0.0.0.0]:53",
		"[::ffff:127.0.0.1]:53", "127.0.0.1:53", "[::1]:53", "192.0.2.1:0",
	} {
		if r, err := c.Exchange(t.Context(), netip.MustParseAddrPort(a), question()); err == nil || r.Packets != 0 {
			t.Errorf("%s: %+v %v", a, r, err)
		}
	}
	if _, err := c.Exchange(t.Context(), netip.AddrPort{}, question()); err == nil {
		t.Error("no address at all was asked")
	}
	if len(f.sent()) != 0 {
		t.Error("something was sent")
	}
	if _, err := c.Exchange(t.Context(), netip.MustParseAddrPort("[::ffff:192.0.2.1]:53"), question()); err != nil || f.sent()[0].from != address(1+512) {
		t.Errorf("a mapped address: %v", err)
	}
	c.Close()
	if _, err := c.Exchange(t.Context(), address(1), question()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestTableBound asks 100,000 servers, and one of them all the time: what is known of that
// one stays, and no more is kept than the bound.
func TestTableBound(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine, and slow")
	}
	f := &fake{udp: reply(0)}
	c := f.client(true)
	defer c.Close()
	const n = 100000
	server := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 53)
	}
	for i := range n {
		for _, a := range []netip.AddrPort{server(i), address(1)}[:1+i%2] {
			if _, err := c.Exchange(t.Context(), a, question()); err != nil {
				t.Fatal(err)
			}
		}
		if i%1000 == 0 {
			f.sent()
		}
	}
	if _, state, _ := c.Estimate(address(1)); state != upstream.Good {
		t.Errorf("the server that is asked all the time: state %v", state)
	}
	kept := 0
	for i := range n {
		if _, state, _ := c.Estimate(server(i)); state != upstream.Unknown {
			kept++
		}
	}
	if kept > 64<<10 || kept < 60<<10 {
		t.Errorf("%d servers are known", kept)
	}
}

// TestFlags looks at the flags and EDNS of queries.
func TestFlags(t *testing.T) {
	f := &fake{udp: reply(0)}
	c := f.client(false)
	defer c.Close()
	for _, want := range []struct {
		q     upstream.Question
		flags uint16
	}{
		{upstream.Question{}, 0},
		{upstream.Question{RD: true}, wire.FlagRD},
		{upstream.Question{CD: true, EDNS: true}, wire.FlagCD},
		{upstream.Question{RD: true, CD: true, EDNS: true, DO: true}, wire.FlagRD | wire.FlagCD},
	} {
		want.q.Name, want.q.Type = []byte("\x01A\x00"), wire.TypeAAAA
		ask(t, c, &want.q)
		got := parsed(t, f.sent()[0])
		if got.Flags != want.flags || got.EDNS != want.q.EDNS || got.DO != want.q.DO || got.Cookie != nil || string(got.Question()) != "\x01A\x00\x00\x1c\x00\x01" {
			t.Errorf("%+v: %+v", want.q, got)
		}
	}
	long := bytes.Repeat(append([]byte{62}, bytes.Repeat([]byte{'a'}, 62)...), 4)
	long = append(long[:4*63-1], 0)
	long[3*63] = 61
	long = append([]byte{1, 'b'}, long...)
	if _, err := wire.CheckName(long); err != nil || len(long) != 254 {
		t.Fatalf("%d octets: %v", len(long), err)
	}
	q := question()
	q.Name = long
	if r := ask(t, c, q); !bytes.EqualFold(r.Message[12:12+254], long) {
		t.Errorf("a long name: %x", r.Message)
	}
}
