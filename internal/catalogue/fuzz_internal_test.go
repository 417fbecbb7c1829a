package catalogue

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/report"
	"port53/internal/wire"
)

// A told is a connection whose other end says, to each question, what it was told to.
type told struct {
	replies [][]byte
	next    *atomic.Int64
	stream  bool
	out     []byte
	pending [][]byte
}

func (c *told) Write(b []byte) (int, error) {
	q := b
	if c.stream && len(b) >= 2 {
		q = b[2:]
	}
	if len(q) < wire.HeaderLen || len(c.replies) == 0 {
		return len(b), nil
	}
	r := c.replies[int(c.next.Add(1)-1)%len(c.replies)]
	m := answerOf(q, r)
	if c.stream {
		c.out = exchange.AppendFrame(c.out, m)
	} else {
		c.pending = append(c.pending, m)
	}
	return len(b), nil
}

// answerOf makes a reply of a question: the first four octets of r are flags and counts,
// the rest is what stands behind the question.
func answerOf(q, r []byte) []byte {
	head := make([]byte, 4)
	copy(head, r)
	m := slices.Clone(q[:wire.HeaderLen])
	m[2], m[3] = head[0]|0x80, head[1]
	binary.BigEndian.PutUint16(m[6:], uint16(head[2]>>4))
	binary.BigEndian.PutUint16(m[8:], uint16(head[2]&15))
	binary.BigEndian.PutUint16(m[10:], uint16(head[3]))
	var p wire.Message
	if p.Parse(q) == 0 && p.HasQuestion {
		m = append(m, p.Name...)
		m = binary.BigEndian.AppendUint16(m, uint16(p.Type))
		m = binary.BigEndian.AppendUint16(m, uint16(p.Class))
	}
	return append(m, r[min(4, len(r)):]...)
}

func (c *told) Read(b []byte) (int, error) {
	if c.stream {
		if len(c.out) == 0 {
			return 0, io.EOF
		}
		n := copy(b, c.out)
		c.out = c.out[n:]
		return n, nil
	}
	if len(c.pending) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, c.pending[0])
	c.pending = c.pending[1:]
	return n, nil
}

func (c *told) Close() error                     { return nil }
func (c *told) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (c *told) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (c *told) SetDeadline(time.Time) error      { return nil }
func (c *told) SetReadDeadline(time.Time) error  { return nil }
func (c *told) SetWriteDeadline(time.Time) error { return nil }

// slowChecks wait for the clock, or ask thousands of questions, or speak TLS.
func slowChecks() []string {
	return []string{"SRV-RRL", "SRV-RRLSLIP", "SRV-TCP-IDLE", "SRV-TCP-CAP", "SRV-TCP-SLOW", "RES-RAND", "DOT-CERT", "DOH-GET", "DOH-POST", "DOH-TYPE", "DOH-HEADERS", "DOQ-CERT", "DDR-LISTEN"}
}

// FuzzReply judges whatever a server may say, by every check, and writes the report in
// every format. Without an answer nothing may pass.
func FuzzReply(f *testing.F) {
	var list []*check.Check
	for _, c := range All() {
		// Ports are looked at through sockets that no test stands in for.
		if c.Group != GroupConfig && c.Group != GroupReach && !slices.Contains(slowChecks(), c.ID) {
			list = append(list, c)
		}
	}
	zone := mustName("example.test")
	rr := func(t wire.Type, data ...byte) []byte {
		b := []byte{0xc0, wire.HeaderLen}
		b = binary.BigEndian.AppendUint16(b, uint16(t))
		b = append(b, 0, 1, 0, 0, 14, 16)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	soa := append([]byte{0, 0}, make([]byte, 20)...)
	seeds := [][]byte{
		nil,
		{0x84, 0, 0, 0},
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeSOA, soa...)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeNS, 2, 'n', 's', 0)...),
		append([]byte{0x80, 0, 0x01, 0}, rr(wire.TypeNS, 2, 'n', 's', 0)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeA, 10, 0, 0, 1)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeCNAME, 4, 'g', 'o', 'n', 'e', 0)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeTXT, 11, 'v', '=', 's', 'p', 'f', '1', ' ', '+', 'a', 'l', 'l')...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeDNSKEY, 1, 1, 3, 8, 3, 1, 0, 1, 9, 9)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeNSEC3PARAM, 1, 0)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeNSEC, 1, 'b', 0xc0, wire.HeaderLen, 0, 1, 0x40)...),
		append([]byte{0x84, 0, 0x10, 0}, rr(wire.TypeSVCB, 0, 1, 0)...),
		append([]byte{0x84, 3, 0x01, 0}, rr(wire.TypeSOA, soa...)...),
		{0x86, 0, 0, 0},
		append([]byte{0x84, 0, 0, 1}, 0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8),
		append([]byte{0x84, 0, 0xff, 0xff}, 0xc0, 0xff),
	}
	for i := range list {
		for j, s := range seeds {
			if (i+j)%4 == 0 { // each kind of reply for each kind of check, and a quick start
				f.Add(byte(i), s, seeds[(i+2*j)%len(seeds)])
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, one, two []byte) {
		c := list[int(which)%len(list)]
		next := new(atomic.Int64)
		o := &check.Options{
			Mode: finding.Intrusive, Timeout: time.Second, Probe: check.NewProbe(mustName("probe.test")), Lab: check.Lab{Closed: netip.MustParseAddrPort("192.0.2.9:53")},
			Roots: []finding.Server{{Addr: netip.MustParseAddrPort("192.0.2.8:53")}},
		}
		o.Lab.Dial = func(_ context.Context, network, _ string) (net.Conn, error) {
			return &told{replies: [][]byte{one, two}, next: next, stream: network == "tcp"}, nil
		}
		at := finding.Server{Addr: netip.MustParseAddrPort("192.0.2.1:53"), Name: mustName("ns.example.test")}
		r := &check.Run{Check: c, Server: at, Zone: zone, Servers: []finding.Server{at}, Options: o}
		found := c.Run(t.Context(), r)
		for _, f := range found {
			if f.State > finding.Skipped || f.Severity > finding.SevCritical {
				t.Fatalf("%s: state %d, severity %d", c.ID, f.State, f.Severity)
			}
			if f.Evidence.Command == "" && f.State != finding.Skipped && f.State != finding.Pass {
				t.Errorf("%s: %s without a command", c.ID, f.Detail)
			}
		}
		rep := &finding.Report{Target: finding.Target{Text: "t", Server: at}, Results: []finding.Result{{Check: &c.Check, Findings: found}}}
		for form := range report.Grepable + 1 {
			w := report.New(form, io.Discard, report.Options{All: true})
			if err := w.Write(rep); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
