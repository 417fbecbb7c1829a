package query_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/query"
	"port53/internal/wire"
)

// serve answers queries on a port of loopback, UDP and TCP, until the test ends. Each
// query gets the messages that reply returns.
func serve(t *testing.T, reply func(query []byte, tcp bool) [][]byte) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		buf := make([]byte, wire.MaxMessage)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, m := range reply(bytes.Clone(buf[:n]), false) {
				_, _ = u.WriteToUDPAddrPort(m, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var size [2]byte
				for {
					if _, err := io.ReadFull(c, size[:]); err != nil {
						return
					}
					query := make([]byte, binary.BigEndian.Uint16(size[:]))
					if _, err := io.ReadFull(c, query); err != nil {
						return
					}
					for _, m := range reply(query, true) {
						_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
					}
				}
			}()
		}
	}()
	return at
}

// answer returns the reply to a query: flags, and records of class IN.
func answer(query []byte, flags uint16, records ...wire.Record) []byte {
	end := wire.HeaderLen
	if binary.BigEndian.Uint16(query[4:]) > 0 {
		for query[end] != 0 {
			end += 1 + int(query[end])
		}
		end += 5
	}
	m := bytes.Clone(query[:end])
	binary.BigEndian.PutUint16(m[2:], wire.FlagQR|flags|binary.BigEndian.Uint16(query[2:])&0x7900)
	clear(m[6:12])
	for s := wire.Answer; s <= wire.Additional; s++ {
		for _, r := range records {
			if r.Section == s {
				m[7+2*int(s)]++
				m = append(m, r.Owner...)
				m = binary.BigEndian.AppendUint16(m, uint16(r.Type))
				m = binary.BigEndian.AppendUint16(m, uint16(r.Class))
				m = binary.BigEndian.AppendUint32(m, r.TTL)
				m = binary.BigEndian.AppendUint16(m, uint16(len(r.Data)))
				m = append(m, r.Data...)
			}
		}
	}
	return m
}

func question(t *testing.T, s string, typ wire.Type) *query.Question {
	t.Helper()
	return &query.Question{Name: name(t, s), Type: typ, Class: wire.ClassIN, Flags: wire.FlagRD}
}

func address(owner []byte) wire.Record {
	return wire.Record{Owner: owner, Type: wire.TypeA, Class: wire.ClassIN, TTL: 60, Data: []byte{192, 0, 2, 1}}
}

// TestStrangers sends what answers another question before what answers: none of it is
// believed, and all of it is told.
func TestStrangers(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	at := serve(t, func(query []byte, _ bool) [][]byte {
		good := answer(query, 0, address(q.Name))
		otherID, otherName, otherType, notReply, opcode := bytes.Clone(good), bytes.Clone(good), bytes.Clone(good), bytes.Clone(good), bytes.Clone(good)
		otherID[0] ^= 1
		otherName[13] = 'x'
		otherType[wire.HeaderLen+len(q.Name)+1] = 28
		notReply[2] &^= 0x80
		opcode[2] |= 0x20
		return [][]byte{otherID, otherName, otherType, notReply, opcode, good[:7], {}, good}
	})
	r, err := (&query.Route{Timeout: 10 * time.Second, Tries: 1}).Ask(t.Context(), at, q)
	if err != nil {
		t.Fatal(err)
	}
	if r.Strangers != 7 || len(r.Message.Records) != 1 {
		t.Errorf("%d strangers and %d records, want 7 and 1", r.Strangers, len(r.Message.Records))
	}
	if text := strings.Join(r.Meaning(), "\n"); !strings.Contains(text, "7 packets came that did not answer the question") {
		t.Errorf("the meaning does not tell of them:\n%s", text)
	}
}

// TestTruncated asks again over TCP, unless told not to.
func TestTruncated(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	at := serve(t, func(query []byte, tcp bool) [][]byte {
		if !tcp {
			return [][]byte{answer(query, wire.FlagTC)}
		}
		return [][]byte{answer(query, 0, address(q.Name))}
	})
	for _, only := range []bool{false, true} {
		r, err := (&query.Route{Timeout: 10 * time.Second, Tries: 1, UDPOnly: only}).Ask(t.Context(), at, q)
		if err != nil {
			t.Fatal(err)
		}
		if r.TCP == only || r.Truncated == only || (len(r.Message.Records) == 1) == only {
			t.Errorf("UDP only: %v: TCP %v, truncated %v, %d records", only, r.TCP, r.Truncated, len(r.Message.Records))
		}
	}
}

// TestCookie learns the server's cookie from BADCOOKIE, and gives up by TCP on a
// server that never has enough (RFC 7873, section 5.3).
func TestCookie(t *testing.T) {
	for _, stubborn := range []bool{false, true} {
		q := question(t, "www.example.", wire.TypeA)
		q.EDNS, q.UDPSize, q.Cookie = true, query.UDPSize, true
		seen := make(chan int, 16)
		at := serve(t, func(query []byte, tcp bool) [][]byte {
			var m wire.Message
			_ = m.Parse(query)
			own, _ := m.Option(wire.OptionCookie)
			seen <- len(own)
			if tcp || len(own) == 16 && !stubborn {
				return [][]byte{answer(query, 0, address(q.Name))}
			}
			cookie := append(append([]byte{0, wire.OptionCookie, 0, 16}, own[:8]...), "serverck"...)
			reply := answer(query, uint16(wire.BadCookie&15))
			reply[11]++
			opt := wire.AppendOPT(nil, 1232, false, cookie)
			opt[5] = byte(wire.BadCookie >> 4)
			return [][]byte{append(reply, opt...)}
		})
		r, err := (&query.Route{Timeout: 10 * time.Second, Tries: 1}).Ask(t.Context(), at, q)
		if err != nil {
			t.Fatal(err)
		}
		want := []int{8, 16}
		if stubborn {
			want = append(want, 16)
		}
		for _, n := range want {
			if got := <-seen; got != n {
				t.Errorf("stubborn %v: a cookie of %d octets was sent, want %d", stubborn, got, n)
			}
		}
		if !r.NewCookie || r.TCP != stubborn || len(r.Message.Records) != 1 {
			t.Errorf("stubborn %v: new cookie %v, TCP %v, %d records", stubborn, r.NewCookie, r.TCP, len(r.Message.Records))
		}
	}
}

// TestUnanswered names each server and what became of it.
func TestUnanswered(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	silent := serve(t, func([]byte, bool) [][]byte { return nil })
	guesser := serve(t, func(query []byte, _ bool) [][]byte {
		m := answer(query, 0)
		m[0] ^= 1
		return [][]byte{m, m}
	})
	rt := &query.Route{Timeout: 50 * time.Millisecond, Tries: 2}
	_, err := rt.AskAll(t.Context(), []netip.AddrPort{silent, guesser}, q, nil)
	want := "no reply: " + silent.String() + " over UDP: nothing within 50ms (2 times); " +
		guesser.String() + " over UDP: nothing within 50ms, and 2 packets with another ID or question (2 times)"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if r := query.FailureReport(q, err); r.Outcome != "timeout" || len(r.Attempts) != 4 {
		t.Errorf("reported as %q with %d attempts", r.Outcome, len(r.Attempts))
	}

	closing := serve(t, func(query []byte, tcp bool) [][]byte {
		if tcp {
			return nil
		}
		return [][]byte{answer(query, wire.FlagTC)}
	})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := (&query.Route{Timeout: time.Minute}).Ask(ctx, closing, q); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestNextServer takes SERVFAIL only if no server has better.
func TestNextServer(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	bad := serve(t, func(query []byte, _ bool) [][]byte { return [][]byte{answer(query, uint16(wire.ServFail))} })
	good := serve(t, func(query []byte, _ bool) [][]byte { return [][]byte{answer(query, 0, address(q.Name))} })
	next := func(r *query.Reply) bool { return r.Message.Rcode == wire.ServFail }
	rt := &query.Route{Timeout: 10 * time.Second}
	r, err := rt.AskAll(t.Context(), []netip.AddrPort{bad, good}, q, next)
	if err != nil || r.Server != good || len(r.Failed) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = rt.AskAll(t.Context(), []netip.AddrPort{bad, bad}, q, next)
	if err != nil || r.Message.Rcode != wire.ServFail {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestMalformed shows what can be read of a reply that is cut off.
func TestMalformed(t *testing.T) {
	q := question(t, "www.example.", wire.TypeA)
	at := serve(t, func(query []byte, _ bool) [][]byte {
		m := answer(query, 0, address(q.Name), address(q.Name))
		return [][]byte{m[:len(m)-3]}
	})
	r, err := (&query.Route{Timeout: 10 * time.Second, Tries: 1}).Ask(t.Context(), at, q)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Understand()
	if r.Fault != wire.ShortRecord || f.Outcome != query.Malformed || f.Outcome.Usable() {
		t.Errorf("fault %v, outcome %v", r.Fault, f.Outcome)
	}
	style := query.Usual()
	if text := string(style.AppendReply(nil, r)); !strings.Contains(text, "192.0.2.1") || !strings.Contains(text, "WARNING: the reply is malformed") {
		t.Errorf("printed as\n%s", text)
	}
}

// TestTransfer reads zones in one message and in many, and tells what is none.
func TestTransfer(t *testing.T) {
	apex := name(t, "example.")
	soa := func(serial byte) wire.Record {
		return wire.Record{Owner: apex, Type: wire.TypeSOA, Class: wire.ClassIN, TTL: 60, Data: append(make([]byte, 5), serial, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1)}
	}
	a := address(apex)
	tests := []struct {
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
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			at := serve(t, func(query []byte, tcp bool) [][]byte {
				var list [][]byte
				for _, records := range tt.messages {
					list = append(list, answer(query, tt.rcode, records...))
				}
				return list
			})
			n := 0
			q := question(t, "example.", tt.typ)
			got, err := (&query.Route{Timeout: 10 * time.Second}).Transfer(t.Context(), at, q, func(*wire.Record) { n++ })
			if err != nil {
				t.Fatal(err)
			}
			if got.Whole != tt.whole || got.Records != tt.records || n != tt.records {
				t.Errorf("whole %v with %d records (%d handed out), want %v with %d", got.Whole, got.Records, n, tt.whole, tt.records)
			}
		})
	}
}
