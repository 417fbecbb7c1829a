package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/miekg/dns"
)

// An RR is one record of an answer in canonical form: the owner and the names
// in well-known RDATA are whole and in lower case (RFC 4034, section 6.2), so
// that equal records are equal values.
type RR struct {
	Owner string // wire form
	Type  uint16
	Class uint16
	TTL   uint32
	Data  string // wire form
}

// String returns the record in presentation form.
func (r RR) String() string {
	b := append([]byte(r.Owner), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	f := b[len(r.Owner):]
	binary.BigEndian.PutUint16(f, r.Type)
	binary.BigEndian.PutUint16(f[2:], r.Class)
	binary.BigEndian.PutUint32(f[4:], r.TTL)
	binary.BigEndian.PutUint16(f[8:], uint16(len(r.Data)))
	b = append(b, r.Data...)
	text := ""
	if rr, _, err := dns.UnpackRR(b, 0); err == nil {
		text = strings.ReplaceAll(rr.String(), "\t", " ")
	} else {
		text = fmt.Sprintf("%s %d CLASS%d TYPE%d \\# %d %x", Text([]byte(r.Owner)), r.TTL, r.Class, r.Type, len(r.Data), r.Data)
	}
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

// A Message is a reply, read.
type Message struct {
	ID                     uint16
	QR, AA, TC, RD, RA, AD bool
	CD, Z                  bool
	Opcode                 int
	Rcode                  int  // with the upper bits of OPT
	QDCount                int  // as the header says
	Question               []RR // Owner with case as sent; TTL and Data empty
	Answer, Authority      []RR
	Additional             []RR // without OPT
	OPT                    bool
	DO                     bool
	Version                int
	UDPSize                uint16
	Options                []uint16 // codes of the EDNS options
	Size                   int      // octets of the whole message
	Raw                    []byte
}

var errShort = errors.New("message is cut off")

// Parse reads a reply. It fails on whatever a client could not read either:
// counts that promise more than there is, bad pointers, a second OPT and octets
// after the last record.
func Parse(b []byte) (*Message, error) {
	if len(b) < 12 {
		return nil, errShort
	}
	m := &Message{
		ID: binary.BigEndian.Uint16(b),
		QR: b[2]&0x80 != 0, Opcode: int(b[2]>>3) & 15, AA: b[2]&4 != 0, TC: b[2]&2 != 0, RD: b[2]&1 != 0,
		RA: b[3]&0x80 != 0, Z: b[3]&0x40 != 0, AD: b[3]&0x20 != 0, CD: b[3]&0x10 != 0, Rcode: int(b[3] & 15),
		QDCount: int(binary.BigEndian.Uint16(b[4:])),
		Size:    len(b), Raw: b,
	}
	off := 12
	for range m.QDCount {
		name, next, err := readName(b, off, false)
		if err != nil {
			return nil, fmt.Errorf("question: %w", err)
		}
		if next+4 > len(b) {
			return nil, errShort
		}
		m.Question = append(m.Question, RR{Owner: string(name), Type: binary.BigEndian.Uint16(b[next:]), Class: binary.BigEndian.Uint16(b[next+2:])})
		off = next + 4
	}
	for i, section := range []*[]RR{&m.Answer, &m.Authority, &m.Additional} {
		for range int(binary.BigEndian.Uint16(b[6+2*i:])) {
			rr, next, err := readRR(b, off)
			if err != nil {
				return nil, fmt.Errorf("section %d: %w", i+1, err)
			}
			off = next
			if rr.Type != TypeOPT {
				*section = append(*section, rr)
				continue
			}
			if m.OPT || i != 2 || rr.Owner != "\x00" {
				return nil, errors.New("OPT twice, outside the additional section or not at the root")
			}
			if err := m.readOPT(rr); err != nil {
				return nil, err
			}
		}
	}
	if off != len(b) {
		return nil, fmt.Errorf("%d octets after the last record", len(b)-off)
	}
	return m, nil
}

func (m *Message) readOPT(rr RR) error {
	m.OPT, m.UDPSize = true, rr.Class
	m.Rcode |= int(rr.TTL>>24) << 4
	m.Version = int(rr.TTL>>16) & 255
	m.DO = rr.TTL&0x8000 != 0
	for d := rr.Data; len(d) > 0; {
		if len(d) < 4 {
			return errors.New("OPT: an option is cut off")
		}
		n := int(d[2])<<8 | int(d[3])
		if len(d) < 4+n {
			return errors.New("OPT: an option is cut off")
		}
		m.Options = append(m.Options, uint16(d[0])<<8|uint16(d[1]))
		d = d[4+n:]
	}
	return nil
}

func readRR(b []byte, off int) (RR, int, error) {
	owner, off, err := readName(b, off, true)
	if err != nil {
		return RR{}, 0, err
	}
	if off+10 > len(b) {
		return RR{}, 0, errShort
	}
	rr := RR{
		Owner: string(owner), Type: binary.BigEndian.Uint16(b[off:]), Class: binary.BigEndian.Uint16(b[off+2:]),
		TTL: binary.BigEndian.Uint32(b[off+4:]),
	}
	n := int(binary.BigEndian.Uint16(b[off+8:]))
	off += 10
	if off+n > len(b) {
		return RR{}, 0, errShort
	}
	data, err := readData(b[:off+n], off, rr.Type)
	if err != nil {
		return RR{}, 0, fmt.Errorf("RDATA of type %d: %w", rr.Type, err)
	}
	rr.Data = string(data)
	return rr, off + n, nil
}

// layouts says where names stand in the RDATA of the types that have them: a
// digit for so many fixed octets, s for a character-string, n for a name; what
// follows is taken as it is. Those are the types whose names the canonical form
// lowers (RFC 4034, section 6.2, as corrected by RFC 6840, section 5.1), with
// NSEC, whose next name servers may print in either case.
var layouts = map[uint16]string{
	2: "n", 3: "n", 4: "n", 5: "n", 6: "nn", 7: "n", 8: "n", 9: "n", 12: "n", 14: "nn", 15: "2n", 17: "nn", 18: "2n",
	21: "2n", 24: "882n", 26: "2nn", 30: "n", 33: "6n", 35: "4sssn", 36: "2n", 39: "n", 46: "882n", 47: "n",
}

func readData(b []byte, off int, typ uint16) ([]byte, error) {
	var out []byte
	for _, c := range layouts[typ] {
		n := 0
		switch {
		case c == 'n':
			name, next, err := readName(b, off, true)
			if err != nil {
				return nil, err
			}
			out, off = append(out, name...), next
			continue
		case c == 's':
			if off >= len(b) {
				return nil, errShort
			}
			n = 1 + int(b[off])
		default:
			n = int(c - '0')
		}
		if off+n > len(b) {
			return nil, errShort
		}
		out, off = append(out, b[off:off+n]...), off+n
	}
	return append(out, b[off:]...), nil
}

// readName returns the name at off, whole, and the offset after it. Pointers
// lead backwards only.
func readName(b []byte, off int, lower bool) ([]byte, int, error) {
	var name []byte
	next, limit := -1, off
	for {
		if off >= len(b) {
			return nil, 0, errShort
		}
		c := int(b[off])
		switch {
		case c == 0:
			name = append(name, 0)
			if next < 0 {
				next = off + 1
			}
			if len(name) > MaxName {
				return nil, 0, errors.New("name is above 255 octets")
			}
			if lower {
				name = Lower(name)
			}
			return name, next, nil
		case c < 64:
			if off+1+c > len(b) {
				return nil, 0, errShort
			}
			name = append(name, b[off:off+1+c]...)
			off += 1 + c
		case c >= 0xc0:
			if off+1 >= len(b) {
				return nil, 0, errShort
			}
			to := (c&0x3f)<<8 | int(b[off+1])
			if next < 0 {
				next = off + 2
			}
			if to >= limit {
				return nil, 0, errors.New("compression pointer does not lead backwards")
			}
			off, limit = to, to
		default:
			return nil, 0, fmt.Errorf("label type %#x", c)
		}
		if len(name) > MaxName {
			return nil, 0, errors.New("name is above 255 octets")
		}
	}
}

// Set returns the records of a section sorted and printed as one value that is
// equal for equal sets. A record that is there twice counts twice.
func Set(section []RR) string {
	lines := make([]string, len(section))
	for i, r := range section {
		lines[i] = fmt.Sprintf("%x %d %d %d %x", r.Owner, r.Type, r.Class, r.TTL, r.Data)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// Flags returns the flags that are set, in the order of the header.
func (m *Message) Flags() string {
	var on []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"qr", m.QR}, {"aa", m.AA}, {"tc", m.TC}, {"rd", m.RD}, {"ra", m.RA}, {"z", m.Z}, {"ad", m.AD}, {"cd", m.CD}} {
		if f.set {
			on = append(on, f.name)
		}
	}
	return strings.Join(on, " ")
}

// String returns the message for a reader.
func (m *Message) String() string {
	if m == nil {
		return "silence"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rcode %s, flags %s, %d octets", RcodeText(m.Rcode), m.Flags(), m.Size)
	if m.OPT {
		fmt.Fprintf(&b, ", EDNS %d size %d do %v options %v", m.Version, m.UDPSize, m.DO, m.Options)
	}
	b.WriteByte('\n')
	for _, s := range []struct {
		name string
		rrs  []RR
	}{{"answer", m.Answer}, {"authority", m.Authority}, {"additional", m.Additional}} {
		for i, rr := range s.rrs {
			if i == 40 {
				fmt.Fprintf(&b, "    %s: … %d in all\n", s.name, len(s.rrs))
				break
			}
			fmt.Fprintf(&b, "    %s: %s\n", s.name, rr)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// RcodeText returns the mnemonic of a response code.
func RcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
