package catalogue_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/report"
	"port53/internal/wire"
)

// raw serves one address with handlers of its own for datagrams and connections.
func raw(t *testing.T, udp func(q []byte, send func([]byte)), tcp func(c net.Conn)) netip.AddrPort {
	t.Helper()
	p := listen(t, 1)[0]
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		p.tcp.Close()
		p.udp.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := p.udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp(slices.Clone(buf[:n]), func(m []byte) { _, _ = p.udp.WriteTo(m, from) })
		}
	}()
	go func() {
		for {
			c, err := p.tcp.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			go func() {
				defer c.Close()
				tcp(c)
			}()
		}
	}()
	return p.tcp.Addr().(*net.TCPAddr).AddrPort()
}

// reply returns the question as a reply with octets behind it.
func reply(q []byte, counts uint16, rest []byte) []byte {
	if len(q) < wire.HeaderLen {
		return nil
	}
	m := slices.Concat(q, rest)
	m[2] |= 0x84
	for i := 6; i < wire.HeaderLen; i += 2 {
		binary.BigEndian.PutUint16(m[i:], counts)
	}
	return m
}

func readQuestion(c net.Conn) []byte {
	var h [2]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return nil
	}
	q := make([]byte, binary.BigEndian.Uint16(h[:]))
	if _, err := io.ReadFull(c, q); err != nil {
		return nil
	}
	return q
}

func framed(m []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
}

// TestTurnedAway has a server that turns the first connections away, as one does that has
// enough of them from us: it is asked again, and one that always does fails.
func TestTurnedAway(t *testing.T) {
	t.Parallel()
	for _, turns := range []int32{2, 1 << 20} {
		var left atomic.Int32
		left.Store(turns)
		at := raw(t, func(q []byte, send func([]byte)) { send(reply(q, 0, nil)) }, func(c net.Conn) {
			q := readQuestion(c)
			if left.Add(-1) >= 0 {
				_ = c.(*net.TCPConn).SetLinger(0) // closing resets then
				return
			}
			if q != nil {
				_, _ = c.Write(framed(reply(q, 0, nil)))
			}
		})
		r := &check.Run{Server: finding.Server{Addr: at}, Zone: name("example.test"), Options: &check.Options{Timeout: 200 * time.Millisecond, Connect: true}}
		want := finding.Pass
		if turns > 2 {
			want = finding.Fail
		}
		if got := find(t, "PORT-TCP").Run(t.Context(), r); got[0].State != want {
			t.Errorf("turned away %d times: %v %s", turns, got[0].State, got[0].Detail)
		}
	}
}

// TestHostileServers has servers that do what they can to keep a check from its end, to
// fill its memory, and to be passed for what they do not say.
//
// In one piece: the ways to be hostile are its table.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	silent := func([]byte, func([]byte)) {}
	hold := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	junk := bytes.Repeat([]byte{0xff, 0xff, 0x53, 0, 0x80, 0, 0xff, 0xc0}, 8<<10)
	pour := func(c net.Conn) {
		for {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}
	drip := func(c net.Conn) {
		for {
			if _, err := c.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the slowness that is tested
		}
	}
	endless := func(c net.Conn) {
		q := readQuestion(c)
		if q == nil {
			return
		}
		for i := uint32(0); ; i++ {
			owner := append([]byte{8}, []byte("n0000000\x07example\x04test\x00")...)
			for k, v := 2, i; k < 9; k, v = k+1, v/10 {
				owner[k] = '0' + byte(v%10)
			}
			rr := append(owner, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 1)
			m := append(slices.Clone(q[:wire.HeaderLen]), rr...)
			copy(m[2:], []byte{0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0})
			if i == 0 {
				soa := append([]byte("\x07example\x04test\x00"), 0, 6, 0, 1, 0, 0, 0, 1, 0, 22, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1)
				m = append(slices.Clone(m[:wire.HeaderLen]), soa...)
			}
			if _, err := c.Write(framed(m)); err != nil {
				return
			}
		}
	}
	random := rand.New(rand.NewPCG(53, 53))
	var mu sync.Mutex
	garbage := func(q []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		rest := make([]byte, random.IntN(600))
		for i := range rest {
			rest[i] = byte(random.Uint32())
		}
		return reply(q, uint16(random.Uint32()), rest)
	}
	overTCP := func(answer func([]byte) []byte) func(net.Conn) {
		return func(c net.Conn) {
			for {
				q := readQuestion(c)
				if q == nil {
					return
				}
				if _, err := c.Write(framed(answer(q))); err != nil {
					return
				}
			}
		}
	}
	header := func(q []byte) []byte {
		m := reply(q, 65535, nil)
		return m[:min(len(m), wire.HeaderLen)]
	}
	// A message of many records whose names are all one long name, by pointers.
	bomb := func(q []byte) []byte {
		long := append([]byte{}, bytes.Repeat(append([]byte{63}, bytes.Repeat([]byte("x"), 63)...), 3)...)
		long = append(append(long, 60), append(bytes.Repeat([]byte("y"), 60), 0)...)
		at := len(q)
		rest := append(long, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4)
		n := uint16(1)
		for ; len(rest) < 60000; n++ {
			rest = append(rest, 0xc0|byte(at>>8), byte(at), 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0|byte(at>>8), byte(at))
		}
		m := reply(q, 0, rest)
		if m != nil {
			binary.BigEndian.PutUint16(m[6:], n)
		}
		return m
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, c := range []struct {
		name    string
		udp     func([]byte, func([]byte))
		tcp     func(net.Conn)
		unknown bool // nothing that it says is an answer
	}{
		{"silent", silent, hold, true},
		{"slow", silent, drip, true},
		{"pouring", func(_ []byte, send func([]byte)) {
			for range 50 {
				send(junk[:1200])
			}
		}, pour, true},
		{"endless transfer", func(q []byte, send func([]byte)) { send(reply(q, 0, nil)) }, endless, false},
		{"malformed", func(q []byte, send func([]byte)) { send(garbage(q)) }, overTCP(garbage), false},
		{"truncated", func(q []byte, send func([]byte)) { send(reply(q, 1, []byte{0xc0})) }, overTCP(func(q []byte) []byte { return reply(q, 1, []byte{0xc0}) }), false},
		{"header only", func(q []byte, send func([]byte)) { send(header(q)) }, overTCP(header), false},
		{"bomb", func(q []byte, send func([]byte)) { send(bomb(q)) }, overTCP(bomb), false},
	} {
		at := raw(t, c.udp, c.tcp)
		// Beside each other, for most of it is waiting.
		all.Go(func() {
			o := &check.Options{Mode: finding.Active, Timeout: 60 * time.Millisecond, Port: at.Port(), PortDoT: at.Port(), PortDoH: at.Port(), Lab: check.Lab{Closed: netip.MustParseAddrPort("127.0.0.1:9")}, Roots: []finding.Server{{Addr: at, Name: name("a.root")}}, Search: check.Search{Subdomains: true}}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			var high uint64
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				var m runtime.MemStats
				for {
					runtime.ReadMemStats(&m)
					high = max(high, m.HeapInuse)
					select {
					case <-tick.C:
					case <-done:
						return
					}
				}
			})
			want := func(c *check.Check) bool {
				return !slices.Contains([]string{"SRV-RRL", "SRV-RRLSLIP", "SRV-TCP-IDLE"}, c.ID) // they wait for seconds
			}
			for _, target := range []finding.Target{{Text: "server", Server: finding.Server{Addr: at}, Zone: zone}, {Text: "zone", Zone: zone, Servers: []finding.Server{{Addr: at}}}} {
				r := examine(ctx, target, o, want, func(int, int) {})
				if ctx.Err() != nil {
					t.Errorf("%s: it hangs", c.name)
					break
				}
				for i := range r.Results {
					x := &r.Results[i]
					if strings.HasPrefix(x.Check.ID, "PORT-") || strings.HasPrefix(x.Check.ID, "HOST-") {
						continue // they look at packets, and not at what is said
					}
					if w := x.Worst(); c.unknown && w != finding.Unknown && w != finding.Skipped {
						t.Errorf("%s: %s: %v of a server that says nothing: %s", c.name, x.Check.ID, w, x.Findings[0].Detail)
					}
				}
				for f := range report.Grepable + 1 {
					w := report.New(f, io.Discard, report.Options{All: true})
					if err := errors.Join(w.Write(r), w.Close()); err != nil {
						t.Errorf("%s: %v", c.name, err)
					}
				}
			}
			close(done)
			wg.Wait()
			if high > 400<<20 {
				t.Errorf("%s: %d MiB of memory", c.name, high>>20)
			}
		})
	}
}
