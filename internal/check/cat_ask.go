package check

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"port53/internal/finding"
	"port53/internal/wire"
)

// streamTimeout is how long the checks that hold a TCP connection of their own
// wait for each step: three times what a name server on another continent needs.
const streamTimeout = 3 * time.Second

// single returns a check's Run which asks one question over UDP and judges the
// reply.
func single(ask func(r *Run) Query, judge func(r *Run, m *Reply) (finding.State, string)) func(context.Context, *Run) []finding.Finding {
	return func(ctx context.Context, r *Run) []finding.Finding {
		q := ask(r)
		m, err := r.Ask(ctx, q)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: dig(r.Server, q)}, err)
		}
		s, detail := judge(r, m)
		if m.Bad != 0 && s != finding.Fail {
			return finding.Unmeasured(seen(r.Server, q, m), malformedReply(m.Bad))
		}
		return []finding.Finding{{State: s, Detail: detail, Evidence: seen(r.Server, q, m)}}
	}
}

// singleTCP is single over TCP.
func singleTCP(ask func(r *Run) Query, judge func(r *Run, m *Reply) (finding.State, string)) func(context.Context, *Run) []finding.Finding {
	return func(ctx context.Context, r *Run) []finding.Finding {
		q := ask(r)
		cmd := dig(r.Server, q) + " +tcp"
		m, err := r.AskTCP(ctx, q)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: cmd}, err)
		}
		s, detail := judge(r, m)
		ev := seen(r.Server, q, m)
		ev.Command = cmd
		if m.Bad != 0 && s != finding.Fail {
			return finding.Unmeasured(ev, malformedReply(m.Bad))
		}
		return []finding.Finding{{State: s, Detail: detail, Evidence: ev}}
	}
}

// malformedReply is the error of a reply that cannot be read: what is not in it may have
// been behind the fault.
func malformedReply(bad wire.Malformed) error {
	return fmt.Errorf("the reply is malformed: %s", bad)
}

// seen returns the evidence of one exchange.
func seen(s finding.Server, q Query, m *Reply) finding.Evidence {
	ev := finding.Evidence{N: 1, Command: dig(s, q)}
	if m != nil {
		ev.Received, ev.RTT = m.Raw, m.RTT
	}
	return ev
}

// dig returns the command that asks the same with BIND's tool.
func dig(s finding.Server, q Query) string {
	var b strings.Builder
	fmt.Fprintf(&b, "dig @%s -p %d", s.Addr.Addr(), s.Addr.Port())
	if q.Flags&wire.FlagRD != 0 {
		b.WriteString(" +rec")
	} else {
		b.WriteString(" +norec")
	}
	if q.Flags&wire.FlagCD != 0 {
		b.WriteString(" +cd")
	}
	if q.Opcode != wire.OpcodeQuery {
		fmt.Fprintf(&b, " +opcode=%d", q.Opcode)
	}
	switch e := q.EDNS; {
	case e == nil:
		b.WriteString(" +noedns +nocookie")
	default:
		fmt.Fprintf(&b, " +edns=%d +noednsneg +nocookie +bufsize=%d", e.Version, e.Size)
		if e.DO {
			b.WriteString(" +dnssec")
		}
		if e.Flags != 0 {
			fmt.Fprintf(&b, " +ednsflags=%#x", e.Flags)
		}
		for o := e.Options; len(o) >= 4; {
			n := int(binary.BigEndian.Uint16(o[2:]))
			if 4+n > len(o) {
				break
			}
			fmt.Fprintf(&b, " +ednsopt=%d", binary.BigEndian.Uint16(o))
			if n > 0 {
				fmt.Fprintf(&b, ":%x", o[4:4+n])
			}
			o = o[4+n:]
		}
	}
	if q.Class != 0 && q.Class != wire.ClassIN {
		fmt.Fprintf(&b, " -c %s", q.Class)
	}
	fmt.Fprintf(&b, " -t %s -q %s", q.Type, shellName(q.Name))
	return b.String()
}

// shellName writes a name such that a shell takes it for one word.
func shellName(name []byte) string {
	return "'" + strings.ReplaceAll(wire.NameText(name), "'", `\039`) + "'"
}

// mustName reads a name that is written in this package.
func mustName(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic("check: bad name in the program: " + s)
	}
	return n
}

// below returns label.name, or name if that would be too long.
func below(label string, name []byte) []byte {
	n := append([]byte{byte(len(label))}, label...)
	if len(label) == 0 || len(label) > wire.MaxLabel || len(n)+len(name) > wire.MaxName {
		return name
	}
	return append(n, name...)
}

// randomLabel returns a label that nobody has, of 80 random bits.
func randomLabel() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// randomBytes returns n random octets.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// apex returns the zone that a server is checked for, or the root if none is known.
func apex(r *Run) []byte {
	if len(r.Zone) == 0 {
		return wire.Root
	}
	return r.Zone
}

// records returns the records of a type and section.
func records(m *Reply, s wire.Section, t wire.Type) []wire.Record {
	var out []wire.Record
	for _, rr := range m.Records {
		if rr.Section == s && rr.Type == t {
			out = append(out, rr)
		}
	}
	return out
}

// answers returns the data of a name's records of a type in the answer.
func answers(m *Reply, name []byte, t wire.Type) [][]byte {
	var out [][]byte
	for _, rr := range m.Records {
		if rr.Section == wire.Answer && rr.Type == t && wire.EqualFold(rr.Owner, name) {
			out = append(out, rr.Data)
		}
	}
	return out
}

// option returns one EDNS option in wire form.
func option(code uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// optFlags returns the flags of a reply's OPT record, and whether it has one.
func optFlags(raw []byte) (uint16, bool) {
	if len(raw) < wire.HeaderLen {
		return 0, false
	}
	off := wire.HeaderLen
	count := func(i int) int { return int(binary.BigEndian.Uint16(raw[4+2*i:])) }
	for range count(0) {
		_, n, bad := wire.AppendExpanded(nil, raw, off)
		if bad != 0 {
			return 0, false
		}
		off += n + 4
	}
	for range count(1) + count(2) + count(3) {
		if off >= len(raw) {
			return 0, false
		}
		_, n, bad := wire.AppendExpanded(nil, raw, off)
		if bad != 0 || off+n+10 > len(raw) {
			return 0, false
		}
		off += n
		if wire.Type(binary.BigEndian.Uint16(raw[off:])) == wire.TypeOPT {
			return binary.BigEndian.Uint16(raw[off+6:]), true
		}
		off += 10 + int(binary.BigEndian.Uint16(raw[off+8:]))
	}
	return 0, false
}

// rdataName returns the name at the start of RDATA, or nil.
func rdataName(data []byte, at int) []byte {
	if at > len(data) {
		return nil
	}
	n, err := wire.CheckName(data[at:])
	if err != nil {
		return nil
	}
	return data[at : at+n]
}

// stream opens a TCP connection to the server that is checked.
func stream(ctx context.Context, r *Run) (net.Conn, error) {
	return r.connect(ctx, "tcp", r.Server.Addr)
}

// datagrams opens a UDP socket that is connected to the server.
func datagrams(ctx context.Context, r *Run) (net.Conn, error) {
	return r.connect(ctx, "udp", r.Server.Addr)
}

// framed returns a message with its length before it (RFC 1035, section 4.2.2).
func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

// readFramed reads one message of a stream.
func readFramed(c net.Conn, wait time.Duration) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	var l [2]byte
	if _, err := io.ReadFull(c, l[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(l[:]))
	_, err := io.ReadFull(c, msg)
	return msg, err
}

// query builds the octets of a question without EDNS.
func query(flags uint16, name []byte, t wire.Type) []byte {
	return wire.AppendQuery(nil, binary.BigEndian.Uint16(randomBytes(2)), flags, name, t)
}

// timedOut tells whether an error is that nothing came in time.
func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
