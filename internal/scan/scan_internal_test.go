package scan

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"port53/internal/wire"
)

// TestWait has a host whose way is unknown, near, far, and farther than is waited for.
func TestWait(t *testing.T) {
	for _, x := range []struct {
		timeout, rtt, least time.Duration
		want                [tries]time.Duration
	}{
		{0, 0, leastWait, [tries]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		{5 * time.Second, 0, leastWait, [tries]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		{300 * time.Millisecond, 0, leastWait, [tries]time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond}},
		{0, time.Millisecond, leastWait, [tries]time.Duration{350 * time.Millisecond, 700 * time.Millisecond, 1400 * time.Millisecond}},
		{0, time.Millisecond, manyLeast, [tries]time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}},
		{0, 200 * time.Millisecond, leastWait, [tries]time.Duration{800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond}},
		{0, time.Minute, leastWait, [tries]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
	} {
		s := New(Options{Timeout: x.timeout})
		if x.rtt > 0 {
			s.learn(x.rtt)
			s.learn(x.rtt * 9) // the first one stands
		}
		for try, want := range x.want {
			if got := s.wait(try, x.least); got != want {
				t.Errorf("timeout %v, round trip %v: try %d waits %v, want %v", x.timeout, x.rtt, try, got, want)
			}
		}
	}
	// Linux sends one error a second: the third try begins later than that after the first.
	s := New(Options{})
	s.learn(1)
	if gap := s.wait(0, leastWait) + s.wait(1, leastWait); gap <= time.Second {
		t.Errorf("the third try begins after %v", gap)
	}
}

// TestReasons has the ICMP errors that tell a state, and those next to them that do not
// (RFC 792; RFC 1812, section 5.2.7.1; RFC 4443, section 3.1).
func TestReasons(t *testing.T) {
	for _, x := range []struct {
		e    icmpError
		want string
	}{
		{icmpError{kind: 3, code: 0}, "net-unreach"},
		{icmpError{kind: 3, code: 1}, "host-unreach"},
		{icmpError{kind: 3, code: 2}, "proto-unreach"},
		{icmpError{kind: 3, code: 3}, "port-unreach"},
		{icmpError{kind: 3, code: 4}, ""}, // fragmentation needed
		{icmpError{kind: 3, code: 9}, "net-prohibited"},
		{icmpError{kind: 3, code: 10}, "host-prohibited"},
		{icmpError{kind: 3, code: 13}, "admin-prohibited"},
		{icmpError{kind: 11}, "time-exceeded"},
		{icmpError{kind: 4}, ""},
		{icmpError{v6: true, kind: 1, code: 0}, "no-route"},
		{icmpError{v6: true, kind: 1, code: 1}, "admin-prohibited"},
		{icmpError{v6: true, kind: 1, code: 2}, "beyond-scope"},
		{icmpError{v6: true, kind: 1, code: 3}, "host-unreach"},
		{icmpError{v6: true, kind: 1, code: 4}, "port-unreach"},
		{icmpError{v6: true, kind: 1, code: 5}, "admin-prohibited"},
		{icmpError{v6: true, kind: 1, code: 6}, "reject-route"},
		{icmpError{v6: true, kind: 1, code: 7}, ""},
		{icmpError{v6: true, kind: 2}, ""}, // packet too big
		{icmpError{v6: true, kind: 3}, "time-exceeded"},
		{icmpError{v6: true, kind: 11}, ""},
	} {
		if got := x.e.reason(); got != x.want {
			t.Errorf("%+v: %q, want %q", x.e, got, x.want)
		}
	}
}

// TestJudge has what may come to the socket of a UDP port.
func TestJudge(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:53")
	other := netip.MustParseAddrPort("192.0.2.2:53")
	asked := [][]byte{append([]byte{7, 7, 1}, make([]byte, 20)...), append([]byte{8, 8, 1}, make([]byte, 20)...)}
	reply := append([]byte{8, 8, 0x81}, make([]byte, 9)...)
	for _, x := range []struct {
		name  string
		m     received
		known bool
		want  Port
	}{
		{"an answer", received{data: []byte{1}, from: at}, true, Port{State: Open, Reason: "udp-response"}},
		{"an answer by a mapped address", received{data: []byte{1}, from: netip.MustParseAddrPort("[::ffff:192.0.2.1]:53")}, true, Port{State: Open, Reason: "udp-response"}},
		{"an answer from another port", received{data: reply, from: netip.MustParseAddrPort("192.0.2.1:54")}, false, Port{From: "192.0.2.1:54"}},
		{"an answer from another address", received{data: reply, from: other}, false, Port{From: "192.0.2.2:53"}},
		{"another's question", received{data: asked[1], from: other}, false, Port{}},
		{"another ID", received{data: append([]byte{9, 9}, reply[2:]...), from: other}, false, Port{}},
		{"less than a header", received{data: reply[:11], from: other}, false, Port{}},
		{"the host refuses", received{icmp: &icmpError{kind: 3, code: 3, from: at.Addr()}}, true, Port{State: Closed, Reason: "port-unreach"}},
		{"the system says so", received{icmp: &icmpError{kind: 3, code: 3}}, true, Port{State: Closed, Reason: "port-unreach"}},
		{"a router refuses", received{icmp: &icmpError{kind: 3, code: 3, from: other.Addr()}}, true, Port{State: Filtered, Reason: "port-unreach"}},
		{"prohibited", received{icmp: &icmpError{kind: 3, code: 13, from: at.Addr()}}, true, Port{State: Filtered, Reason: "admin-prohibited"}},
		{"fragmentation needed", received{icmp: &icmpError{kind: 3, code: 4, from: at.Addr()}}, false, Port{}},
	} {
		var got Port
		if known := got.judge(at, x.m, asked); known != x.known || got != x.want {
			t.Errorf("%s: %t, %+v, want %t, %+v", x.name, known, got, x.known, x.want)
		}
	}
}

func TestUnsent(t *testing.T) {
	for err, want := range map[error]Port{
		syscall.ECONNREFUSED: {State: Closed, Reason: "port-unreach"},
		syscall.EHOSTUNREACH: {State: Filtered, Reason: "host-unreach"},
		syscall.ENETUNREACH:  {State: Filtered, Reason: "net-unreach"},
		syscall.EACCES:       {State: Filtered, Reason: "admin-prohibited"},
		syscall.EPERM:        {State: Filtered, Reason: "perm-denied"},
	} {
		var got Port
		var ok bool
		if got.State, got.Reason, ok = unsent(os.NewSyscallError("sendto", err)); !ok || got != want {
			t.Errorf("%v: %+v, want %+v", err, got, want)
		}
		if got.Denied() != errors.Is(err, syscall.EPERM) || got.NoRoute() != errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%v: denied %t, no route %t", err, got.Denied(), got.NoRoute())
		}
	}
	if state, _, ok := unsent(syscall.ENOBUFS); ok || state != OpenFiltered {
		t.Errorf("no buffers: %s, %t", state, ok)
	}
}

// TestPayloads has six questions for a name server, each readable, of its own kind and
// with an ID of its own; other services are asked for what they answer.
func TestPayloads(t *testing.T) {
	list := udpPayloads(53)
	if len(list) != 2*tries {
		t.Fatalf("%d payloads, want two for each try", len(list))
	}
	kinds, ids := map[string]bool{}, map[uint16]bool{}
	for i, b := range list {
		var m wire.Message
		if m.Parse(b) != 0 || m.Flags&wire.FlagQR != 0 {
			t.Errorf("payload %d cannot be read: %x", i, b)
		}
		kinds[string(b[2:])] = true
		ids[binary.BigEndian.Uint16(b)] = true
	}
	if len(kinds) != len(list) || len(ids) < 3 {
		t.Errorf("%d kinds, %d IDs", len(kinds), len(ids))
	}
	for _, port := range []uint16{QUIC, HTTPS, MDNS} {
		if list := udpPayloads(port); len(list) != 1 {
			t.Errorf("port %d: %d payloads", port, len(list))
		}
	}
}
