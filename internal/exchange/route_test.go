package exchange_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
	"port53/internal/zone"
)

// hosts are servers on a network of a bubble's: each query gets the messages that the
// server returns, nil being the end of a connection.
type hosts map[netip.AddrPort]func(query []byte, tcp bool) [][]byte

// dial implements exchange.Dialer's Dial.
func (h hosts) dial(_ context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	serve, ok := h[to]
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	here, there := net.Pipe() // which keeps what one Write sends together
	tcp := network == "tcp"
	go func() {
		defer there.Close()
		for {
			query := make([]byte, wire.MaxMessage)
			n, err := 0, error(nil)
			if tcp {
				query, err = exchange.ReadMessage(there)
				n = len(query)
			} else {
				n, err = there.Read(query)
			}
			if err != nil {
				return
			}
			for _, m := range serve(query[:n], tcp) {
				if m == nil {
					return
				}
				if tcp {
					m = exchange.AppendFrame(nil, m)
				}
				if _, err := there.Write(m); err != nil {
					return
				}
			}
		}
	}()
	return here, nil
}

func host(n byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53)
}

// one returns a route to one server, and its address.
func one(serve func(query []byte, tcp bool) [][]byte) (*exchange.Route, netip.AddrPort) {
	h := hosts{host(1): serve}
	return &exchange.Route{Dialer: exchange.Dialer{Dial: h.dial}}, host(1)
}

func question() *exchange.Question {
	return &exchange.Question{Name: name, Type: wire.TypeA, Class: wire.ClassIN, Flags: wire.FlagRD}
}

// answer returns the reply to a query: flags, and records in the answer.
func answer(query []byte, flags uint16, records ...wire.Record) []byte {
	m := reply(query[:wire.HeaderLen+len(name)+4], nil)
	binary.BigEndian.PutUint16(m[2:], wire.FlagQR|flags|binary.BigEndian.Uint16(query[2:])&0x7900)
	clear(m[6:12])
	for _, r := range records {
		m = zone.AppendRecord(m, r.Owner, r.Type, r.TTL, r.Data)
		m[7]++
	}
	return m
}

func address() wire.Record {
	return wire.Record{Owner: name, Type: wire.TypeA, TTL: 60, Data: []byte{192, 0, 2, 1}}
}

// TestStrangers sends what answers another question before what answers: none of it is
// believed, and all of it is counted.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, at := one(func(query []byte, _ bool) [][]byte {
			good := answer(query, 0, address())
			otherID, otherName, otherType, notReply, opcode := bytes.Clone(good), bytes.Clone(good), bytes.Clone(good), bytes.Clone(good), bytes.Clone(good)
			otherID[0] ^= 1
			otherName[13] = 'x'
			otherType[wire.HeaderLen+len(name)+1] = 28
			notReply[2] &^= 0x80
			opcode[2] |= 0x20
			return [][]byte{otherID, otherName, otherType, notReply, opcode, good[:12], good}
		})
		for _, tcp := range []bool{false, true} {
			rt.TCP = tcp
			r, err := rt.Ask(t.Context(), at, question())
			if err != nil {
				t.Fatal(err)
			}
			if r.Unexpected != 6 || len(r.Message.Records) != 1 || r.TCP != tcp {
				t.Errorf("%d strangers and %d records, want 6 and 1", r.Unexpected, len(r.Message.Records))
			}
		}
	})
}

// TestTruncated asks again over TCP, unless told not to.
func TestTruncated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, at := one(func(query []byte, tcp bool) [][]byte {
			if !tcp {
				return [][]byte{answer(query, wire.FlagTC)}
			}
			return [][]byte{answer(query, 0, address())}
		})
		for _, only := range []bool{false, true} {
			rt.UDPOnly = only
			r, err := rt.Ask(t.Context(), at, question())
			if err != nil {
				t.Fatal(err)
			}
			if r.TCP == only || r.Truncated == only || (len(r.Message.Records) == 1) == only {
				t.Errorf("UDP only: %v: TCP %v, truncated %v, %d records", only, r.TCP, r.Truncated, len(r.Message.Records))
			}
		}
	})
}

// TestCookie learns the server's cookie from BADCOOKIE, and gives up by TCP on a
// server that never has enough (RFC 7873, section 5.3). Another client's cookie is not
// learned.
func TestCookie(t *testing.T) {
	for what, c := range map[string]struct {
		stubborn, foreign, only bool
		sent                    []int // octets of cookies
		tcp, learned            bool
		records                 int
	}{
		"a server that wants one":         {false, false, false, []int{8, 16}, false, true, 1},
		"one that never has it":           {true, false, false, []int{8, 16, 16}, true, true, 1},
		"one that never has it, UDP only": {true, false, true, []int{8, 16, 16}, false, true, 0},
		"somebody else's cookie":          {true, true, false, []int{8}, false, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := question()
			q.EDNS, q.UDPSize, q.Cookie = true, exchange.UDPSize, true
			var sent []int
			rt, at := one(func(query []byte, tcp bool) [][]byte {
				var m wire.Message
				_ = m.Parse(query)
				own, _ := m.Option(wire.OptionCookie)
				sent = append(sent, len(own))
				if tcp || len(own) == 16 && !c.stubborn {
					return [][]byte{answer(query, 0, address())}
				}
				cookie := append(append([]byte{0, wire.OptionCookie, 0, 16}, own[:8]...), "serverck"...)
				if c.foreign {
					cookie[4] ^= 1
				}
				reply := answer(query, uint16(wire.BadCookie&15))
				reply[11]++
				opt := wire.AppendOPT(nil, 1232, false, cookie)
				opt[5] = byte(wire.BadCookie >> 4)
				return [][]byte{append(reply, opt...)}
			})
			rt.UDPOnly = c.only
			r, err := rt.Ask(t.Context(), at, q)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(sent, c.sent) {
				t.Errorf("%s: sent cookies of %d octets, want %d", what, sent, c.sent)
			}
			if r.NewCookie != c.learned || r.TCP != c.tcp || len(r.Message.Records) != c.records {
				t.Errorf("%s: new cookie %v, TCP %v, %d records", what, r.NewCookie, r.TCP, len(r.Message.Records))
			}
		})
	}
}

// TestUnanswered names each server and what became of it, each cause once.
func TestUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := func(query []byte) []byte {
			m := answer(query, 0)
			m[0] ^= 1
			return m
		}
		h := hosts{
			host(1): func([]byte, bool) [][]byte { return nil },
			host(2): func(query []byte, _ bool) [][]byte { return [][]byte{wrong(query), wrong(query)} },
			host(3): func(query []byte, _ bool) [][]byte {
				all := make([][]byte, 2000)
				for i := range all {
					all[i] = wrong(query)
				}
				return all
			},
		}
		rt := &exchange.Route{Timeout: time.Second, Tries: 2, Dialer: exchange.Dialer{Dial: h.dial}}
		begin := time.Now()
		_, err := rt.AskAll(t.Context(), []netip.AddrPort{host(1), host(2), host(3), host(4)}, question(), nil)
		want := "no reply: 192.0.2.1:53 over UDP: nothing within 1s (tried 2 times); " +
			"192.0.2.2:53 over UDP: nothing within 1s, and 2 packets with another ID or question (tried 2 times); " +
			"192.0.2.3:53 over UDP: 1000 packets with another ID or question, and no reply (tried 2 times); " +
			"192.0.2.4:53 over UDP: the port is closed: nothing listens there (tried 2 times)"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		if !exchange.IsTimeout(err) {
			t.Error("it is no timeout")
		}
		if _, err := rt.Ask(t.Context(), host(4), question()); err == nil || exchange.IsTimeout(err) {
			t.Errorf("%v, as a timeout", err)
		}
		// Connecting is part of a try.
		hang := *rt
		hang.Dialer.Dial = func(ctx context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begin = time.Now()
		if _, err := hang.Ask(t.Context(), host(1), question()); !exchange.IsTimeout(err) || time.Since(begin) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		// Silence and an interruption within a connection.
		h[host(1)] = func(query []byte, tcp bool) [][]byte {
			if tcp {
				return nil
			}
			return [][]byte{answer(query, wire.FlagTC)}
		}
		begin = time.Now()
		if _, err := rt.Ask(t.Context(), host(1), question()); !exchange.IsTimeout(err) || time.Since(begin) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
		begin = time.Now()
		if _, err := rt.Ask(ctx, host(1), question()); !errors.Is(err, why) || time.Since(begin) != 20*time.Millisecond {
			t.Errorf("interrupted: %v after %v", err, time.Since(begin))
		}
	})
}

// TestNextServer takes SERVFAIL only if no server has better.
func TestNextServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hosts{
			host(1): func(query []byte, _ bool) [][]byte { return [][]byte{answer(query, uint16(wire.ServFail))} },
			host(2): func(query []byte, _ bool) [][]byte { return [][]byte{answer(query, 0, address())} },
		}
		next := func(r *exchange.Reply) bool { return r.Message.Rcode == wire.ServFail }
		rt := &exchange.Route{Dialer: exchange.Dialer{Dial: h.dial}}
		r, err := rt.AskAll(t.Context(), []netip.AddrPort{host(1), host(2)}, question(), next)
		if err != nil || r.Server != host(2) || len(r.Failed) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		r, err = rt.AskAll(t.Context(), []netip.AddrPort{host(1), host(1)}, question(), next)
		if err != nil || r.Message.Rcode != wire.ServFail {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

// TestMalformed hands out what can be read of a reply that is cut off.
func TestMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, at := one(func(query []byte, _ bool) [][]byte {
			m := answer(query, 0, address(), address())
			return [][]byte{m[:len(m)-3]}
		})
		r, err := rt.Ask(t.Context(), at, question())
		if err != nil || r.Fault != wire.ShortRecord || len(r.Message.Records) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestNoQuestion asks without a question, and takes what answers that alone.
func TestNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, at := one(func(query []byte, _ bool) [][]byte {
			if len(query) != wire.HeaderLen {
				t.Errorf("%x was sent", query)
			}
			return [][]byte{append(headless(0)(reply(query, nil)), 0)}
		})
		q := question()
		q.NoQuestion = true
		if r, err := rt.Ask(t.Context(), at, q); err != nil || r.Message.HasQuestion {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestTransfer reads zones in one message and in many, and tells what is none.
func TestTransfer(t *testing.T) {
	soa := func(serial byte) wire.Record {
		return wire.Record{Owner: name, Type: wire.TypeSOA, TTL: 60, Data: append(make([]byte, 5), serial, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1)}
	}
	a := address()
	for _, c := range []struct {
		what     string
		typ      wire.Type
		messages [][]wire.Record
		rcode    uint16
		whole    bool
		records  int
	}{
		{"one message", wire.TypeAXFR, [][]wire.Record{{soa(1), a, soa(1)}}, 0, true, 3},
		{"many messages", wire.TypeAXFR, [][]wire.Record{{soa(1)}, {a}, {a}, {soa(1)}}, 0, true, 4},
		{"what comes behind the end is left", wire.TypeAXFR, [][]wire.Record{{soa(1), a, soa(1), a, a}}, 0, true, 3},
		{"refused", wire.TypeAXFR, [][]wire.Record{{}}, uint16(wire.Refused), false, 0},
		{"no SOA first", wire.TypeAXFR, [][]wire.Record{{a, soa(1), soa(1)}}, 0, false, 0},
		{"nothing at all", wire.TypeAXFR, [][]wire.Record{{}}, 0, false, 0},
		{"nothing newer", wire.TypeIXFR, [][]wire.Record{{soa(1)}}, 0, true, 1},
		{"differences", wire.TypeIXFR, [][]wire.Record{{soa(3), soa(1), a, soa(2)}, {a, soa(2), soa(3), a}, {soa(3)}}, 0, true, 9},
		{"a whole zone for IXFR", wire.TypeIXFR, [][]wire.Record{{soa(3), a, soa(3)}}, 0, true, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			octets := 0
			rt, at := one(func(query []byte, _ bool) [][]byte {
				var list [][]byte
				for i, records := range c.messages {
					m := answer(query, c.rcode, records...)
					if i > 1 { // the question may be left out (RFC 5936, section 2.2.2)
						m = append(headless(0)(bytes.Clone(m)), m[wire.HeaderLen+len(name)+4:]...)
					}
					octets += len(m)
					list = append(list, m)
				}
				return list
			})
			q, n := question(), 0
			q.Type = c.typ
			got, err := rt.Transfer(t.Context(), at, q, func(*wire.Record) { n++ })
			if err != nil {
				t.Fatal(err)
			}
			if got.Whole != c.whole || got.Records != c.records || n != c.records || got.Octets != int64(octets) || got.Messages != len(c.messages) {
				t.Errorf("%s: whole %v with %d records (%d handed out), want %v with %d", c.what, got.Whole, got.Records, n, c.whole, c.records)
			}
		})
	}
}

// TestTransferBroken has servers that do not send a zone to its end.
func TestTransferBroken(t *testing.T) {
	soa := wire.Record{Owner: name, Type: wire.TypeSOA, TTL: 60, Data: make([]byte, 22)}
	for _, c := range []struct {
		what string
		then func(query []byte) [][]byte // what comes behind the first message
		want string                      // "": no error
		took time.Duration
	}{
		{"the end", func([]byte) [][]byte { return [][]byte{nil} }, "no reply: 192.0.2.1:53 over TCP: the connection was closed before a whole reply", 0},
		{"silence", func([]byte) [][]byte { return nil }, "no reply: 192.0.2.1:53 over TCP: nothing within 1m0s", time.Minute},
		{"a malformed message", func(q []byte) [][]byte { m := answer(q, 0, address()); return [][]byte{m[:len(m)-1]} }, "", 0},
		{"another answer", func(q []byte) [][]byte { m := answer(q, 0, address()); m[0]++; return [][]byte{m} }, "", 0},
		{"an error", func(q []byte) [][]byte { return [][]byte{answer(q, uint16(wire.ServFail), address())} }, "", 0},
		{"too much", func(q []byte) [][]byte {
			long := answer(q, 0)
			return [][]byte{append(long, make([]byte, 1000-len(long))...)}
		}, "no reply: 192.0.2.1:53 over TCP: more octets came than may", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			rt, at := one(func(query []byte, _ bool) [][]byte { return append([][]byte{answer(query, 0, soa)}, c.then(query)...) })
			rt.Octets = 1000
			begin, said := time.Now(), ""
			q := question()
			q.Type = wire.TypeAXFR
			got, err := rt.Transfer(t.Context(), at, q, func(*wire.Record) {})
			if err != nil {
				said = err.Error()
			}
			if said != c.want || got.Whole || got.Records != 1 || time.Since(begin) != c.took {
				t.Errorf("%s: %+v, %v after %v", c.what, got, err, time.Since(begin))
			}
		})
	}
}
