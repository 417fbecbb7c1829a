package oracle_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	tap "github.com/dnstap/golang-dnstap"
	framestream "github.com/farsightsec/golang-framestream"
	"google.golang.org/protobuf/proto"

	"port53/internal/dnstap"
	"port53/internal/event"
	"port53/internal/wire"
)

// exchange returns the n-th of many exchanges, which differ in everything.
func exchange(n int) *event.Record {
	r := &event.Record{
		Kind: event.Kind(n % 2), Transport: uint8(n % 5), Path: event.Cache, Recursive: n%3 != 0,
		Time: 1_700_000_000_123_456_789 + int64(n)*1_000_003, Latency: int64(n) * 1001,
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), uint16(n+1)),
		Local:  netip.MustParseAddrPort("[2001:db8::1]:53"),
		Query:  bytes.Repeat([]byte{byte(n)}, 12+n%200), Response: bytes.Repeat([]byte{byte(n + 1)}, 12+n%1200),
	}
	if n%4 == 1 {
		r.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(n)}), uint16(n+1))
	}
	if n%7 == 0 {
		r.Opcode = uint8(wire.OpcodeUpdate)
	}
	if n%11 == 0 {
		r.Response = nil
	}
	if r.Kind == event.Server {
		r.Local = netip.AddrPort{}
	}
	return r
}

// typeOf is the type that the library has for the exchange.
func typeOf(r *event.Record, reply bool) tap.Message_Type {
	types := [...]tap.Message_Type{tap.Message_AUTH_QUERY, tap.Message_AUTH_RESPONSE}
	switch {
	case r.Kind == event.Server && r.Recursive:
		types = [...]tap.Message_Type{tap.Message_FORWARDER_QUERY, tap.Message_FORWARDER_RESPONSE}
	case r.Kind == event.Server:
		types = [...]tap.Message_Type{tap.Message_RESOLVER_QUERY, tap.Message_RESOLVER_RESPONSE}
	case r.Opcode == uint8(wire.OpcodeUpdate):
		types = [...]tap.Message_Type{tap.Message_UPDATE_QUERY, tap.Message_UPDATE_RESPONSE}
	case r.Recursive:
		types = [...]tap.Message_Type{tap.Message_CLIENT_QUERY, tap.Message_CLIENT_RESPONSE}
	}
	if reply {
		return types[1]
	}
	return types[0]
}

// differs says in what a message that the library has read differs from what was sent.
func differs(r *event.Record, reply bool, frame *tap.Dnstap) string {
	m := frame.GetMessage()
	asker, asked := r.Remote, r.Local
	if r.Kind == event.Server {
		asker, asked = r.Local, r.Remote
	}
	address := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	text := func(b []byte) string {
		a, _ := netip.AddrFromSlice(b)
		return address(a)
	}
	family := tap.SocketFamily_INET
	if r.Remote.Addr().Is6() {
		family = tap.SocketFamily_INET6
	}
	at := r.Time + r.Latency
	protocol := [...]int32{1, 2, 3, 4, 7}[r.Transport]
	for _, c := range []struct{ what, got, want string }{
		{"identity", string(frame.GetIdentity()), "ns1"},
		{"version", string(frame.GetVersion()), "port53"},
		{"type", frame.GetType().String() + m.GetType().String(), "MESSAGE" + typeOf(r, reply).String()},
		{"family", m.GetSocketFamily().String(), family.String()},
		{"protocol", fmt.Sprint(int32(m.GetSocketProtocol())), fmt.Sprint(protocol)},
		{"asker", text(m.GetQueryAddress()), address(asker.Addr())},
		{"its port", fmt.Sprint(m.GetQueryPort()), fmt.Sprint(asker.Port())},
		{"asked", text(m.GetResponseAddress()), address(asked.Addr())},
		{"its port", fmt.Sprint(m.GetResponsePort()), fmt.Sprint(asked.Port())},
		{"time", fmt.Sprint(m.GetQueryTimeSec(), m.GetQueryTimeNsec()), fmt.Sprint(r.Time/1e9, r.Time%1e9)},
	} {
		if c.got != c.want {
			return fmt.Sprintf("%s %s, want %s", c.what, c.got, c.want)
		}
	}
	switch {
	case !reply && (!bytes.Equal(m.GetQueryMessage(), r.Query) || m.ResponseMessage != nil || m.ResponseTimeSec != nil):
		return "the query"
	case reply && (!bytes.Equal(m.GetResponseMessage(), r.Response) || m.QueryMessage != nil):
		return "the reply"
	case reply && (m.GetResponseTimeSec() != uint64(at/1e9) || m.GetResponseTimeNsec() != uint32(at%1e9)):
		return "the reply's time"
	}
	return ""
}

// TestDnstap has the reader of the reference library decode 10,000 exchanges, and compares each field.
func TestDnstap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tap.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := event.New()
	s := dnstap.New(dnstap.Options{
		Network: "unix", Address: path, Kinds: dnstap.All, Identity: "ns1", Version: "port53", Hub: h, Log: slog.New(slog.DiscardHandler),
	})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := framestream.NewDecoder(c, &framestream.DecoderOptions{ContentType: tap.FSContentType, Bidirectional: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, _, there := s.Counts(); !there; _, _, there = s.Counts() {
		time.Sleep(time.Millisecond)
	}
	const n = 10_000
	go func() {
		w := h.NewShared()
		for w.Wants() == 0 {
			time.Sleep(time.Millisecond)
		}
		for i := range n {
			w.Put(exchange(i))
			if i%50 == 49 {
				h.Flush()
				time.Sleep(time.Millisecond)
			}
		}
		h.Flush()
	}()
	for i := range n {
		r := exchange(i)
		for _, reply := range []bool{false, true} {
			if reply && r.Response == nil {
				continue
			}
			b, err := d.Decode()
			if err != nil {
				t.Fatalf("exchange %d: %v", i, err)
			}
			var frame tap.Dnstap
			if err := proto.Unmarshal(b, &frame); err != nil {
				t.Fatalf("exchange %d: %v", i, err)
			}
			if diff := differs(r, reply, &frame); diff != "" {
				t.Fatalf("exchange %d: %s", i, diff)
			}
		}
	}
	go s.Close()
	if _, err := d.Decode(); err == nil {
		t.Error("there is more than was sent")
	}
	if _, lost, _ := s.Counts(); lost != 0 || h.Lost() != 0 {
		t.Errorf("%d messages and %d records were lost", lost, h.Lost())
	}
}
