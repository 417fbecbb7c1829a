package check

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"

	"port53/internal/finding"
	"port53/internal/wire"
)

// Malformed is the error of a reply that cannot be read: what is not in it may have
// been behind the fault.
func Malformed(bad wire.Malformed) error {
	return fmt.Errorf("the reply is malformed: %s", bad)
}

// Dig returns the command that asks the same with BIND's tool.
func Dig(s finding.Server, q Query) string {
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
	fmt.Fprintf(&b, " -t %s -q %s", q.Type, ShellName(q.Name))
	return b.String()
}

// ShellName writes a name such that a shell takes it for one word.
func ShellName(name []byte) string {
	return "'" + strings.ReplaceAll(wire.NameText(name), "'", `\039`) + "'"
}

// Below returns label.name, or name if that would be too long.
func Below(label string, name []byte) []byte {
	n := append([]byte{byte(len(label))}, label...)
	if len(label) == 0 || len(label) > wire.MaxLabel || len(n)+len(name) > wire.MaxName {
		return name
	}
	return append(n, name...)
}

// In returns the records of a type and section.
func (m *Reply) In(s wire.Section, t wire.Type) []wire.Record {
	var out []wire.Record
	for _, rr := range m.Records {
		if rr.Section == s && rr.Type == t {
			out = append(out, rr)
		}
	}
	return out
}

// Answers returns the data of a name's records of a type in the answer.
func (m *Reply) Answers(name []byte, t wire.Type) [][]byte {
	var out [][]byte
	for _, rr := range m.Records {
		if rr.Section == wire.Answer && rr.Type == t && wire.EqualFold(rr.Owner, name) {
			out = append(out, rr.Data)
		}
	}
	return out
}

// EDNSSize is the UDP size that questions advertise (DNS Flag Day 2020).
const EDNSSize = 1232

// RD returns a question to a resolver.
func RD(name []byte, t wire.Type) Query {
	return Query{Name: name, Type: t, Flags: wire.FlagRD, EDNS: &EDNS{Size: EDNSSize}}
}

// Question builds the octets of a question without EDNS.
func Question(flags uint16, name []byte, t wire.Type) []byte {
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return wire.AppendQuery(nil, binary.BigEndian.Uint16(id[:]), flags, name, t)
}

// TimedOut reports whether an error is that nothing came in time.
func TimedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
