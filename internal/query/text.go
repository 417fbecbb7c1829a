package query

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// A Style tells which parts of a reply are printed, and how. The zero value prints
// nothing; see [DefaultStyle].
//
// In one piece: it has a field for each thing that can be shown or left out.
type Style struct {
	Short    bool // the data of the answers alone
	Query    bool // the query too, before its reply
	Command  bool // a line that repeats what was asked
	Comments bool // header, EDNS and the titles of the sections
	Question bool
	Sections [3]bool // answer, authority, additional
	Stats    bool    // time, server, size
	Meaning  bool    // what the answer means, in words

	Multiline bool // long data over several lines, with comments
	Units     bool // TTLs as 1h30m
	NoTTL     bool
	NoClass   bool
	NoCrypto  bool // keys and signatures left out
	Notes     bool // the comments of Multiline without the lines
	Generic   bool // data as RFC 3597, section 5 has it
	Identify  bool // with Short: the server and the time behind each line
	OneSOA    bool // the SOA record at the end of a transfer left out
	Micro     bool // times in microseconds
	Unsigned  bool // with Short: signatures left out
	LongAAAA  bool // addresses of IPv6 with all their digits
	Unicode   bool // labels such as xn--… as what they stand for (IDNA)

	ServerName string // as the user called it; "": its address
}

// DefaultStyle returns what is printed unless told otherwise: all but the query.
func DefaultStyle() Style {
	return Style{Command: true, Comments: true, Question: true, Sections: [3]bool{true, true, true}, Stats: true, Meaning: true}
}

// All switches all parts on or off that a person may want to see or not.
func (s *Style) All(on bool) {
	s.Command, s.Comments, s.Question, s.Stats, s.Meaning = on, on, on, on, on
	s.Sections = [3]bool{on, on, on}
}

// Printable returns text from the network as one line that cannot control a terminal:
// what is not printable, and the backslash, is written as \DDD or \\ (RFC 1035,
// section 5.1), octet by octet.
func Printable(text []byte) string {
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			for _, c := range text[:n] {
				fmt.Fprintf(&b, `\%03d`, c)
			}
		default:
			b.Write(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}

// NameText returns a name in presentation form.
func NameText(name []byte) string { return string(wire.AppendName(nil, name)) }

// flagNames are the bits of the header, in their order.
var flagNames = [...]struct {
	bit  uint16
	name string
}{
	{wire.FlagQR, "qr"},
	{wire.FlagAA, "aa"},
	{wire.FlagTC, "tc"},
	{wire.FlagRD, "rd"},
	{wire.FlagRA, "ra"},
	{0x40, "z"},
	{wire.FlagAD, "ad"},
	{wire.FlagCD, "cd"},
}

// Flags returns the names of the bits that are set.
func Flags(flags uint16) []string {
	list := []string{}
	for _, f := range flagNames {
		if flags&f.bit != 0 {
			list = append(list, f.name)
		}
	}
	return list
}

var sectionTitles = [3]string{"ANSWER", "AUTHORITY", "ADDITIONAL"}

// AppendReply appends the reply as the style has it, in lines.
func (s *Style) AppendReply(dst []byte, r *exchange.Reply) []byte {
	if s.Query {
		dst = s.AppendQuery(dst, r)
	}
	if s.Short {
		for i := range r.Message.Records {
			if rr := &r.Message.Records[i]; rr.Section == wire.Answer && (!s.Unsigned || rr.Type != wire.TypeRRSIG) {
				dst = append(dst, s.data(rr)...)
				if s.Identify {
					took := strings.Replace(s.took(r), "sec", "s", 1)
					dst = fmt.Appendf(dst, " from server %v in %s.", r.Server.Addr(), took)
				}
				dst = append(dst, '\n')
			}
		}
		return dst
	}
	if s.Comments {
		dst = append(dst, ";; Got answer:\n"...)
	}
	dst = s.message(dst, &r.Message, r.Raw, r.Sent)
	if r.Fault != 0 && s.Comments {
		dst = fmt.Appendf(dst, ";; WARNING: the reply is malformed and shown as far as it could be read: %v\n\n", r.Fault)
	}
	if s.Stats {
		dst = s.stats(dst, r)
	}
	return dst
}

// AppendQuery appends the query that r answers.
func (s *Style) AppendQuery(dst []byte, r *exchange.Reply) []byte {
	var m wire.Message
	dst = append(dst, ";; Sending:\n"...)
	_ = m.Parse(r.Sent) // what the user made odd is shown as far as it can be read
	return s.message(dst, &m, r.Sent, nil)
}

// message appends a message; sent is the query that it answers, or nil.
func (s *Style) message(dst []byte, m *wire.Message, raw, sent []byte) []byte {
	counts := [4]int{}
	for i := range counts {
		if len(raw) >= wire.HeaderLen {
			counts[i] = int(raw[4+2*i])<<8 | int(raw[5+2*i])
		}
	}
	if s.Comments {
		dst = fmt.Appendf(dst, ";; ->>HEADER<<- opcode: %v, status: %v, id: %d\n", m.Opcode, m.Rcode, m.ID)
		dst = fmt.Appendf(dst, ";; flags: %s; QUERY: %d, ANSWER: %d, AUTHORITY: %d, ADDITIONAL: %d\n",
			strings.Join(Flags(m.Flags), " "), counts[0], counts[1], counts[2], counts[3])
		if m.Flags&wire.FlagQR != 0 && m.Flags&wire.FlagRD != 0 && m.Flags&wire.FlagRA == 0 {
			dst = append(dst, ";; WARNING: recursion requested but not available\n"...)
		}
		dst = append(dst, '\n')
		if m.EDNS {
			dst = append(dst, ";; OPT PSEUDOSECTION:\n"...)
			do := ""
			if m.DO {
				do = " do"
			}
			dst = fmt.Appendf(dst, "; EDNS: version: %d, flags:%s; udp: %d\n", m.Version, do, m.UDPSize)
			for _, o := range exchange.Options(m) {
				dst = fmt.Appendf(dst, "; %s: %s%s\n", optionName(o.Code), optionText(o), cookieVerdict(o, sent))
			}
		}
	}
	if s.Question && m.HasQuestion {
		if s.Comments {
			dst = append(dst, ";; QUESTION SECTION:\n"...)
		}
		dst = columns(dst, 32, ";"+s.name(m.Name), m.Class.String(), m.Type.String())
		if s.Comments {
			dst = append(dst, '\n')
		}
	}
	for section := wire.Answer; section <= wire.Additional; section++ {
		if s.Sections[section] {
			dst = s.section(dst, m, section)
		}
	}
	return dst
}

func (s *Style) section(dst []byte, m *wire.Message, section wire.Section) []byte {
	any := false
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section != section {
			continue
		}
		if !any && s.Comments {
			dst = fmt.Appendf(dst, ";; %s SECTION:\n", sectionTitles[section])
		}
		any = true
		dst = s.AppendRecord(dst, rr)
	}
	if any && s.Comments {
		dst = append(dst, '\n')
	}
	return dst
}

// AppendRecord appends one record as a line, or several, of a master file.
func (s *Style) AppendRecord(dst []byte, rr *wire.Record) []byte {
	ttl, class := strconv.FormatUint(uint64(rr.TTL), 10), rr.Class.String()
	if s.Units {
		ttl = units(rr.TTL)
	}
	if s.NoTTL {
		ttl = ""
	}
	if s.NoClass {
		class = ""
	}
	typ := rr.Type.String()
	if s.Generic { // RFC 3597, section 5
		typ = fmt.Sprintf("TYPE%d", rr.Type)
		if class != "" {
			class = fmt.Sprintf("CLASS%d", rr.Class)
		}
	}
	return columns(dst, 24, s.name(rr.Owner), ttl, class, typ, s.data(rr))
}

// name returns a name as the style has it.
func (s *Style) name(name []byte) string {
	if s.Unicode {
		return withUnicode(NameText(name))
	}
	return NameText(name)
}

// columns appends a line whose fields begin at multiples of eight, as dig's do: the
// second at column at, if the first leaves room. Fields that are empty are left out.
func columns(dst []byte, at int, fields ...string) []byte {
	start := len(dst)
	for i, f := range fields {
		if f == "" {
			continue
		}
		if i > 0 {
			dst = append(dst, '\t')
			for columnOf(dst[start:]) < at {
				dst = append(dst, '\t')
			}
			at += 8
		}
		dst = append(dst, f...)
	}
	return append(dst, '\n')
}

func columnOf(line []byte) int {
	col := 0
	for _, c := range line {
		if col++; c == '\t' {
			col = (col + 7) / 8 * 8
		}
	}
	return col
}

// units writes seconds as dig and BIND do: 1w2d3h4m5s.
func units(v uint32) string { return chain.DurationText(v, 5) }

func (s *Style) took(r *exchange.Reply) string {
	if s.Micro {
		return fmt.Sprintf("%d usec", r.RTT.Microseconds())
	}
	return fmt.Sprintf("%d msec", r.RTT.Milliseconds())
}

func (s *Style) stats(dst []byte, r *exchange.Reply) []byte {
	dst = fmt.Appendf(dst, ";; Query time: %s\n", s.took(r))
	name := s.ServerName
	if name == "" {
		name = r.Server.Addr().String()
	}
	dst = fmt.Appendf(dst, ";; SERVER: %v#%d(%s) (%s)\n", r.Server.Addr(), r.Server.Port(), Printable([]byte(name)), r.TransportName())
	dst = fmt.Appendf(dst, ";; WHEN: %s\n", r.At.Format("Mon Jan 02 15:04:05 MST 2006"))
	return fmt.Appendf(dst, ";; MSG SIZE  rcvd: %d\n\n", len(r.Raw))
}

func optionName(code uint16) string {
	switch code {
	case wire.OptionNSID:
		return "NSID"
	case wire.OptionSubnet:
		return "CLIENT-SUBNET"
	case wire.OptionExpire:
		return "EXPIRE"
	case wire.OptionCookie:
		return "COOKIE"
	case wire.OptionKeepalive:
		return "TCP-KEEPALIVE"
	case wire.OptionPadding:
		return "PADDING"
	case wire.OptionEDE:
		return "EDE"
	case 18: // RFC 9567
		return "REPORT-CHANNEL"
	case 19: // RFC 9660
		return "ZONEVERSION"
	}
	return "OPT=" + strconv.Itoa(int(code))
}

func optionText(o exchange.Option) string {
	switch {
	case o.Code == wire.OptionNSID && len(o.Data) > 0:
		return fmt.Sprintf("%s (\"%s\")", hex.EncodeToString(o.Data), Printable(o.Data))
	case o.Code == wire.OptionExpire && len(o.Data) == 4:
		v := be32(o.Data)
		return fmt.Sprintf("%d (%s)", v, units(v))
	case o.Code == wire.OptionKeepalive && len(o.Data) == 2:
		return fmt.Sprintf("%.1f secs", float64(be16(o.Data))/10)
	case o.Code == wire.OptionPadding:
		return fmt.Sprintf("%d octets", len(o.Data))
	case o.Code == wire.OptionEDE && len(o.Data) >= 2:
		return errorLine(o.Data)
	case o.Code == 18: // RFC 9567, section 4: an agent's domain name
		if n, err := wire.CheckName(o.Data); err == nil && n == len(o.Data) {
			return NameText(o.Data)
		}
	}
	return hex.EncodeToString(o.Data)
}

// cookieVerdict says whether the cookie in a reply is the answer to the one sent
// (RFC 7873, section 5.3).
func cookieVerdict(o exchange.Option, sent []byte) string {
	var m wire.Message
	if o.Code != wire.OptionCookie || len(sent) == 0 || m.Parse(sent) != 0 {
		return ""
	}
	own, ok := m.Option(wire.OptionCookie)
	switch {
	case !ok || len(own) < exchange.CookieLen:
		return " (not asked for)"
	case len(o.Data) < exchange.CookieLen || !bytes.Equal(o.Data[:exchange.CookieLen], own[:exchange.CookieLen]):
		return " (BAD)"
	case len(o.Data) == exchange.CookieLen:
		return " (echoed)"
	}
	return " (good)"
}

// errorLine writes an Extended DNS Error: 18 (Prohibited): (the server's text).
func errorLine(data []byte) string {
	text := fmt.Sprintf("%d (%s)", be16(data), wire.ErrorText(be16(data)))
	if extra := bytes.TrimRight(data[2:], "\x00"); len(extra) > 0 {
		text += fmt.Sprintf(": (%s)", Printable(extra))
	}
	return text
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
func be32(b []byte) uint32 { return uint32(be16(b))<<16 | uint32(be16(b[2:])) }
