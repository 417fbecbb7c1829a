// Package probe asks DNS servers questions and reads what they send back, in a
// form that two servers' answers can be compared in. It keeps messages as
// octets and knows only what a comparison needs; what it prints comes from an
// independent implementation, github.com/miekg/dns.
//
// The entry points are [Question], [Client] and [Parse]. It is a tester's
// instrument: it does not retry beyond [Client.Tries] and caches nothing.
package probe

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// The types and classes that the tests name.
const (
	TypeA      uint16 = 1
	TypeNS     uint16 = 2
	TypeCNAME  uint16 = 5
	TypeSOA    uint16 = 6
	TypeMX     uint16 = 15
	TypeTXT    uint16 = 16
	TypeAAAA   uint16 = 28
	TypeSRV    uint16 = 33
	TypeDNAME  uint16 = 39
	TypeOPT    uint16 = 41
	TypeDS     uint16 = 43
	TypeRRSIG  uint16 = 46
	TypeNSEC   uint16 = 47
	TypeDNSKEY uint16 = 48
	TypeNSEC3  uint16 = 50
	TypeANY    uint16 = 255

	ClassIN  uint16 = 1
	ClassANY uint16 = 255
)

// The response codes that the tests name.
const (
	NoError  = 0
	FormErr  = 1
	ServFail = 2
	NXDomain = 3
	NotImp   = 4
	Refused  = 5
	YXDomain = 6
	NotAuth  = 9
	BadVers  = 16
)

// MaxName is the most octets that a name has on the wire (RFC 1035, section
// 2.3.4).
const MaxName = 255

// Name returns the wire form of an absolute name in presentation form, with
// its case kept. It fails on an empty label, one above 63 octets and a name
// above [MaxName].
func Name(text string) ([]byte, error) {
	if text == "." {
		return []byte{0}, nil
	}
	var wire, label []byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '.':
			if len(label) == 0 || len(label) > 63 {
				return nil, fmt.Errorf("name %q: a label of %d octets", text, len(label))
			}
			wire = append(wire, byte(len(label)))
			wire = append(wire, label...)
			label = label[:0]
		case c == '\\' && i+3 < len(text) && isDigit(text[i+1]):
			label = append(label, (text[i+1]-'0')*100+(text[i+2]-'0')*10+text[i+3]-'0')
			i += 3
		case c == '\\' && i+1 < len(text):
			i++
			label = append(label, text[i])
		default:
			label = append(label, c)
		}
	}
	if len(label) > 0 || text == "" {
		return nil, fmt.Errorf("name %q does not end with a dot", text)
	}
	wire = append(wire, 0)
	if len(wire) > MaxName {
		return nil, fmt.Errorf("name %q has %d octets", text, len(wire))
	}
	return wire, nil
}

// MustName is [Name] for names that a test wrote itself.
func MustName(text string) []byte {
	wire, err := Name(text)
	if err != nil {
		panic(err)
	}
	return wire
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Text returns the presentation form of a name in wire form.
func Text(wire []byte) string {
	if len(wire) == 0 || wire[0] == 0 {
		return "."
	}
	var b strings.Builder
	for len(wire) > 0 && wire[0] != 0 && int(wire[0]) < len(wire) {
		for _, c := range wire[1 : 1+wire[0]] {
			switch {
			case strings.IndexByte(`."\;@()$ `, c) >= 0 && c != ' ':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c <= ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('.')
		wire = wire[1+wire[0]:]
	}
	return b.String()
}

// Lower returns a copy of a wire name with its ASCII letters lowered. Length
// octets are at most 63, below the letters, so they stay.
func Lower(wire []byte) []byte {
	out := make([]byte, len(wire))
	for i, c := range wire {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// Parent returns the name without its first label, and false for the root.
func Parent(wire []byte) ([]byte, bool) {
	if len(wire) == 0 || wire[0] == 0 {
		return nil, false
	}
	return wire[1+wire[0]:], true
}

// TypeText returns the mnemonic of a type, or TYPE with its number.
func TypeText(t uint16) string {
	if s, ok := dns.TypeToString[t]; ok && t != 0 {
		return s
	}
	return fmt.Sprintf("TYPE%d", t)
}

// A Question is one query as it goes over the wire.
type Question struct {
	Name       []byte // wire form, case as sent
	Type       uint16
	Class      uint16 // 0 stands for IN
	ID         uint16
	RD, AD, CD bool
	EDNS       bool
	DO         bool   // needs EDNS
	Size       uint16 // the UDP payload size in OPT, where EDNS is set
	TCP        bool
	Note       string // what the question is for: shown in reports, never sent
}

// Pack returns the query's octets.
func (q *Question) Pack() []byte {
	class := q.Class
	if class == 0 {
		class = ClassIN
	}
	b := make([]byte, 12, 12+len(q.Name)+4+11)
	binary.BigEndian.PutUint16(b, q.ID)
	if q.RD {
		b[2] |= 1
	}
	if q.AD {
		b[3] |= 0x20
	}
	if q.CD {
		b[3] |= 0x10
	}
	b[5] = 1
	b = append(b, q.Name...)
	b = binary.BigEndian.AppendUint16(b, q.Type)
	b = binary.BigEndian.AppendUint16(b, class)
	if q.EDNS {
		b[11] = 1
		b = append(b, 0, 0, byte(TypeOPT))
		b = binary.BigEndian.AppendUint16(b, q.Size)
		flags := byte(0)
		if q.DO {
			flags = 0x80
		}
		b = append(b, 0, 0, flags, 0, 0, 0)
	}
	return b
}

// String returns the question as arguments of dig, for a reader who wants to
// ask it again.
func (q *Question) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "-t TYPE%d '%s'", q.Type, Text(q.Name))
	if q.Class != 0 && q.Class != ClassIN {
		fmt.Fprintf(&b, " -c CLASS%d", q.Class)
	}
	flag := func(on bool, yes, no string) {
		if on {
			b.WriteString(" " + yes)
		} else if no != "" {
			b.WriteString(" " + no)
		}
	}
	flag(q.RD, "", "+norec")
	flag(q.AD, "+adflag", "+noadflag")
	flag(q.CD, "+cdflag", "")
	if q.EDNS {
		fmt.Fprintf(&b, " +bufsize=%d", q.Size)
		flag(q.DO, "+dnssec", "")
	} else {
		b.WriteString(" +noedns")
	}
	flag(q.TCP, "+tcp", "+ignore")
	b.WriteString(" +nocookie")
	if q.Note != "" {
		fmt.Fprintf(&b, " # %s, %s", TypeText(q.Type), q.Note)
	} else {
		fmt.Fprintf(&b, " # %s", TypeText(q.Type))
	}
	return b.String()
}
