package conformance_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A mangler changes what a server says; false drops it.
type mangler func(q, m *dns.Msg, tcp bool) bool

// A manner is how a server answers for a zone: first what it says without looking, nil being that it
// looks, then what it makes of what it finds. Either may be nil.
type manner struct {
	first func(q *dns.Msg, tcp bool) *dns.Msg
	then  mangler
}

// beside serves an address as another server does, but for its manner in a zone. Where there is
// nothing to change, octets go through as they are.
func beside(t *testing.T, run func(func() error) error, at, real netip.AddrPort, manners map[string]manner) {
	t.Helper()
	find := func(name string) manner {
		for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
			if m, ok := manners[dns.CanonicalName(name[off:])]; ok {
				return m
			}
		}
		return manner{}
	}
	handle := func(w dns.ResponseWriter, q *dns.Msg) {
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		how := manner{}
		if len(q.Question) == 1 {
			how = find(q.Question[0].Name)
		}
		if how.first != nil {
			if m := how.first(q, tcp); m != nil {
				_ = w.WriteMsg(m)
				return
			}
		}
		network := "udp"
		if tcp {
			network = "tcp"
		}
		raw, err := q.Pack()
		if err != nil {
			return
		}
		var answer []byte
		err = run(func() error {
			c, err := net.DialTimeout(network, real.String(), 2*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			co := &dns.Conn{Conn: c}
			if _, err := co.Write(raw); err != nil {
				return err
			}
			buf := make([]byte, dns.MaxMsgSize)
			n, err := co.Read(buf)
			answer = buf[:n]
			return err
		})
		if err != nil {
			return
		}
		if how.then != nil {
			m := new(dns.Msg)
			if m.Unpack(answer) != nil || !how.then(q, m, tcp) {
				return
			}
			m.Compress = true
			if answer, err = m.Pack(); err != nil {
				return
			}
		}
		_, _ = w.Write(answer)
	}
	answerAt(t, run, at, dns.HandlerFunc(handle))
}

// answerAt serves an address over UDP and TCP until the test ends.
func answerAt(t *testing.T, run func(func() error) error, at netip.AddrPort, h dns.Handler) {
	t.Helper()
	var p net.PacketConn
	var l net.Listener
	if err := run(func() error {
		var err error
		if p, err = net.ListenPacket("udp", at.String()); err != nil {
			return err
		}
		l, err = net.Listen("tcp", at.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: p, Handler: h, UDPSize: dns.MaxMsgSize}, {Listener: l, Handler: h}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		go func() { _ = s.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
}
