package zonefile

import (
	"encoding/binary"
	"net/netip"

	"port53/internal/wire"
)

// rdata reads the data of a record of type t into p.data.
func (p *parser) rdata(t wire.Type) error {
	p.data = p.data[:0]
	fields := t.Fields()
	if p.more() {
		if first := p.tokens[p.next]; !first.is(quoted) && string(p.text(first)) == `\#` {
			return lacking(t, -1, p.opaque(t))
		}
	}
	if fields == nil {
		return faultf(p.end(), `type %s has no text form here: write its data as \# LENGTH HEX (RFC 3597, section 5)`, t)
	}
	start := p.end()
	if p.more() {
		start = p.tokens[p.next].from()
	}
	check := false
	for i, f := range fields {
		if err := p.field(t, f); err != nil {
			return lacking(t, i, err)
		}
		check = check || loose(f)
	}
	if check {
		if err := wire.CheckRdata(t, p.data); err != nil {
			return faultf(start, "%w", err)
		}
	}
	// A digest that is cut off can only be a mistake. Who means it writes \#.
	if want := wire.DigestSize(t, p.data); want > 0 && len(p.data) != want {
		return faultf(start, "%s data has %d octets where this kind of digest makes it %d", t, len(p.data), want)
	}
	return nil
}

// loose reports whether the reader of a field leaves something for the table of types
// to check, such as an order or what one part says of another.
func loose(f wire.Field) bool {
	switch f {
	case wire.FieldName, wire.FieldIPv4, wire.FieldIPv6, wire.FieldU8, wire.FieldU16, wire.FieldU32, wire.FieldTTL, wire.FieldTime,
		wire.FieldType, wire.FieldAlg, wire.FieldAlgName, wire.FieldBase64, wire.FieldBase64OrDash, wire.FieldHex,
		wire.FieldBitmap, wire.FieldString, wire.FieldStrings:
		return false
	}
	return true
}

// opaque reads \# LENGTH HEX (RFC 3597, section 5).
func (p *parser) opaque(t wire.Type) error {
	at := p.tokens[p.next].from()
	p.next++
	n, err := p.number("the length of the data", 0xFFFF)
	if err != nil {
		return err
	}
	if p.more() {
		if err := p.hexRest(); err != nil {
			return err
		}
	}
	if len(p.data) != int(n) {
		return faultf(at, "data has %d octets where %d were announced", len(p.data), n)
	}
	if err := wire.CheckRdata(t, p.data); err != nil {
		return faultf(at, "%w", err)
	}
	return nil
}

// field reads one field of a type's data.
//
// In one piece: it is a table of kinds of fields and how each is read.
func (p *parser) field(t wire.Type, f wire.Field) error {
	switch f {
	case wire.FieldName:
		tok, err := p.take("a name")
		if err != nil {
			return err
		}
		p.data, err = p.name(p.data, tok)
		return err
	case wire.FieldIPv4:
		return p.ipv4()
	case wire.FieldIPv6:
		return p.ipv6()
	case wire.FieldU8:
		n, err := p.number("a number", 0xFF)
		p.data = append(p.data, byte(n))
		return err
	case wire.FieldU16:
		n, err := p.number("a number", 0xFFFF)
		p.data = binary.BigEndian.AppendUint16(p.data, uint16(n))
		return err
	case wire.FieldU32:
		n, err := p.number("a number", 0xFFFFFFFF)
		p.data = binary.BigEndian.AppendUint32(p.data, uint32(n))
		return err
	case wire.FieldTTL:
		tok, err := p.take("a number of seconds")
		if err != nil {
			return err
		}
		n, err := p.seconds(tok, 1<<32-1)
		p.data = binary.BigEndian.AppendUint32(p.data, n)
		return err
	case wire.FieldTime:
		return p.time()
	case wire.FieldType:
		tok, err := p.take("a type")
		if err != nil {
			return err
		}
		covered, err := p.typeOf(tok)
		p.data = binary.BigEndian.AppendUint16(p.data, uint16(covered))
		return err
	case wire.FieldAlg, wire.FieldAlgName:
		tok, err := p.take("an algorithm")
		if err != nil {
			return err
		}
		n, ok := p.small(tok)
		if !ok {
			if n, ok = wire.ParseAlgorithm(string(p.text(tok))); !ok {
				return faultf(tok.from(), "%q is not an algorithm: expected its number or mnemonic", p.text(tok))
			}
		}
		p.data = append(p.data, n)
		return nil
	case wire.FieldBase64, wire.FieldHex:
		what, at, rest := "base64", len(p.data), p.base64Rest
		if f == wire.FieldHex {
			what, rest = "hexadecimal digits", p.hexRest
		}
		if err := rest(); err != nil {
			return err
		}
		if len(p.data) == at { // there was nothing, or quotes around nothing
			return p.ends(what)
		}
		return nil
	case wire.FieldBase64OrNone, wire.FieldBase64OrDash:
		if p.more() && f == wire.FieldBase64OrDash && string(p.text(p.tokens[p.next])) == "-" {
			p.next++
			return nil
		}
		return p.base64Rest()
	case wire.FieldBitmap:
		return p.bitmap()
	case wire.FieldString:
		tok, err := p.take("a string")
		if err != nil {
			return err
		}
		return p.characterString(tok)
	case wire.FieldStrings:
		tok, err := p.take("a string")
		if err != nil {
			return err
		}
		for {
			if err := p.characterString(tok); err != nil || !p.more() {
				return err
			}
			tok, _ = p.take("")
		}
	}
	return p.rareField(t, f)
}

// number reads a decimal number of at most limit.
func (p *parser) number(what string, limit uint64) (uint64, error) {
	t, err := p.take(what)
	if err != nil {
		return 0, err
	}
	return p.numberIn(t, limit)
}

func (p *parser) numberIn(t token, limit uint64) (uint64, error) {
	if n := t.size(); n > 0 && n <= 8 {
		if v, ok := decimal(word(p.buf[t.from():]), n); ok && uint64(v) <= limit {
			return uint64(v), nil
		}
	}
	text := p.text(t)
	n := uint64(0)
	for _, c := range text {
		if c-'0' > 9 || len(text) > 19 {
			return 0, faultf(t.from(), "%q is not a number", text)
		}
		n = n*10 + uint64(c-'0')
	}
	if len(text) == 0 || n > limit {
		return 0, faultf(t.from(), "%q is not a number from 0 to %d", text, limit)
	}
	return n, nil
}

// small reads a number of up to 255 that may be something else.
func (p *parser) small(t token) (uint8, bool) {
	n := t.size()
	if n == 0 || n > 8 {
		return 0, false
	}
	v, ok := decimal(word(p.buf[t.from():]), n)
	return uint8(v), ok && v <= 255
}

func (p *parser) ipv4() error {
	t, err := p.take("an IPv4 address")
	if err != nil {
		return err
	}
	text := p.text(t)
	v, ok := parseIPv4(text)
	if !ok {
		return faultf(t.from(), "%q is not an IPv4 address such as 192.0.2.1", text)
	}
	p.data = binary.BigEndian.AppendUint32(p.data, v)
	return nil
}

// parseIPv4 reads four decimal numbers without leading zeros, which some take for
// octal.
func parseIPv4(text []byte) (v uint32, ok bool) {
	n, digits, dots := uint32(0), 0, 0
	for _, c := range text {
		if d := uint32(c) - '0'; d <= 9 {
			if digits > 0 && n == 0 {
				return 0, false
			}
			n = n*10 + d
			digits++
			if n > 255 {
				return 0, false
			}
			continue
		}
		if c != '.' || digits == 0 || dots == 3 {
			return 0, false
		}
		v = v<<8 | n
		n, digits = 0, 0
		dots++
	}
	return v<<8 | n, dots == 3 && digits > 0
}

func (p *parser) ipv6() error {
	t, err := p.take("an IPv6 address")
	if err != nil {
		return err
	}
	text := p.text(t)
	if out, ok := plainIPv6(text); ok {
		p.data = append(p.data, out[:]...)
		return nil
	}
	a, err := netip.ParseAddr(string(text))
	if err != nil || !a.Is6() || a.Zone() != "" {
		return faultf(t.from(), "%q is not an IPv6 address such as 2001:db8::1", text)
	}
	out := a.As16()
	p.data = append(p.data, out[:]...)
	return nil
}

// plainIPv6 reads what most addresses look like: groups of digits, perhaps one ::,
// no dotted part. Others are for package netip to read or refuse.
func plainIPv6(text []byte) (out [16]byte, ok bool) {
	group, n, digits, gap := 0, 0, 0, -1
	for i := 0; i < len(text); i++ {
		c := text[i]
		if v := hexDigit[c]; v < 16 {
			if digits++; digits > 4 || group > 7 {
				return out, false
			}
			n = n<<4 | int(v)
			continue
		}
		if c != ':' || group > 7 {
			return out, false
		}
		if digits > 0 {
			out[2*group], out[2*group+1] = byte(n>>8), byte(n)
			group++
			n, digits = 0, 0
			if i+1 == len(text) {
				return out, false
			}
			if text[i+1] != ':' {
				continue
			}
			i++
		} else if i != 0 || len(text) < 2 || text[1] != ':' {
			return out, false
		} else {
			i++
		}
		if gap >= 0 {
			return out, false
		}
		gap = group
	}
	if digits > 0 {
		if group > 7 {
			return out, false
		}
		out[2*group], out[2*group+1] = byte(n>>8), byte(n)
		group++
	}
	switch {
	case gap < 0:
		return out, group == 8
	case group > 7:
		return out, false
	}
	moved := 2 * (group - gap)
	copy(out[16-moved:], out[2*gap:2*group])
	clear(out[2*gap : 16-moved])
	return out, true
}

// time reads a time of RRSIG: YYYYMMDDHHMMSS or seconds since 1970 (RFC 4034,
// section 3.2).
func (p *parser) time() error {
	t, err := p.take("a time as in 20300131235959")
	if err != nil {
		return err
	}
	text := p.text(t)
	if len(text) != 14 {
		n, err := p.numberIn(t, 0xFFFFFFFF)
		if err != nil {
			return faultf(t.from(), "%q is not a time: expected YYYYMMDDHHMMSS, or seconds", text)
		}
		p.data = binary.BigEndian.AppendUint32(p.data, uint32(n))
		return nil
	}
	date, ok1 := decimal(word(p.buf[t.from():]), 8)
	clock, ok2 := decimal(word(p.buf[t.from()+8:]), 6)
	if !ok1 || !ok2 {
		return faultf(t.from(), "%q is not a time: expected YYYYMMDDHHMMSS", text)
	}
	year, month, day := int(date/10000), int(date/100%100), int(date%100)
	hour, minute, second := int64(clock/10000), int64(clock/100%100), int64(clock%100)
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 || year < 1970 {
		return faultf(t.from(), "%q is not a time that there is", text)
	}
	seconds := int64(daysSince1970(year, month, day))*86400 + hour*3600 + minute*60 + second
	p.data = binary.BigEndian.AppendUint32(p.data, uint32(seconds)) // modulo 2^32, as the RFC has it
	return nil
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts days of the Gregorian calendar, with years that begin in
// March so that the leap day is the last.
func daysSince1970(year, month, day int) int {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
}

// bitmap reads types to the end of the entry (RFC 4034, section 4.1.2).
func (p *parser) bitmap() error {
	var low [32]byte // window 0, which holds nearly all
	last := 0        // highest window that has a type
	for p.more() {
		tok, _ := p.take("")
		t, err := p.typeOf(tok)
		if err != nil {
			p.windows = nil // it holds what came before
			return err
		}
		if t < 256 {
			low[t>>3] |= 0x80 >> (t & 7)
		} else {
			if p.windows == nil {
				p.windows = new([256][32]byte)
			}
			p.windows[t>>8][t>>3&31] |= 0x80 >> (t & 7)
			last = max(last, int(t>>8))
		}
	}
	p.data = appendWindow(p.data, 0, &low)
	for w := 1; w <= last; w++ {
		p.data = appendWindow(p.data, byte(w), &p.windows[w])
		p.windows[w] = [32]byte{}
	}
	return nil
}

func appendWindow(dst []byte, window byte, bits *[32]byte) []byte {
	n := 32
	for n > 0 && bits[n-1] == 0 {
		n--
	}
	if n == 0 {
		return dst
	}
	return append(append(dst, window, byte(n)), bits[:n]...)
}

// characterString appends t as a length octet and octets (RFC 1035, section 3.3).
func (p *parser) characterString(t token) error {
	at := len(p.data)
	p.data = append(p.data, 0)
	var err error
	if p.data, err = p.unescape(p.data, t); err != nil {
		return err
	}
	n := len(p.data) - at - 1
	if n > 255 {
		return faultf(t.from(), "string has %d octets, the limit is 255: split it in several", n)
	}
	p.data[at] = byte(n)
	return nil
}

// unescape appends t with its escapes undone.
func (p *parser) unescape(dst []byte, t token) ([]byte, error) {
	text := p.text(t)
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' {
			dst = append(dst, c)
			continue
		}
		i++ // the scanner saw to it that something follows
		c = text[i]
		if c-'0' < 10 {
			if i+2 >= len(text) || text[i+1]-'0' > 9 || text[i+2]-'0' > 9 {
				return dst, faultf(t.from()+i-1, `escape wants three digits, as in \032`)
			}
			v := int(c-'0')*100 + int(text[i+1]-'0')*10 + int(text[i+2]-'0')
			if v > 255 {
				return dst, faultf(t.from()+i-1, `escape \%d is larger than 255`, v)
			}
			c = byte(v)
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, nil
}
