package zonefile

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"port53/internal/wire"
)

// rareField reads the fields that few records have. What it leaves open is checked
// by the table of types when the data is whole.
//
// In one piece: it is a table of kinds of fields and how each is read.
func (p *parser) rareField(t wire.Type, f wire.Field) error {
	if f == wire.FieldNames {
		for p.more() {
			if err := p.field(t, wire.FieldName); err != nil {
				return err
			}
		}
		return nil
	}
	if f == wire.FieldOptString {
		if !p.more() {
			return nil
		}
		return p.field(t, wire.FieldString)
	}
	switch f {
	case wire.FieldParams:
		return p.params()
	case wire.FieldAPL:
		return p.apl()
	case wire.FieldPorts:
		return p.ports()
	case wire.FieldOldBitmap:
		return p.oldBitmap()
	}
	switch f {
	case wire.FieldLOC:
		return p.loc()
	case wire.FieldHIP:
		return p.hip()
	case wire.FieldGateway:
		return p.gateway()
	case wire.FieldRelay:
		return p.relay()
	}
	tok, err := p.take(wanted(f))
	if err != nil {
		return err
	}
	text := string(p.text(tok))
	bad := func(want string) error { return faultf(tok.from(), "%q is not %s", text, want) }
	switch f {
	case wire.FieldCertType:
		n, ok := wire.ParseCertificate(text)
		if !ok {
			return bad(wanted(f))
		}
		p.data = binary.BigEndian.AppendUint16(p.data, n)
	case wire.FieldProtocol:
		n, ok := p.small(tok)
		if !ok {
			if n, ok = protocols()[strings.ToLower(text)]; !ok {
				return bad(wanted(f))
			}
		}
		p.data = append(p.data, n)
	case wire.FieldU64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || text[0] == '+' {
			return bad(wanted(f))
		}
		p.data = binary.BigEndian.AppendUint64(p.data, n)
	case wire.FieldScheme:
		if strings.EqualFold(text, "NOTIFY") {
			p.data = append(p.data, 1)
			return nil
		}
		n, ok := p.small(tok)
		if !ok {
			return bad(wanted(f))
		}
		p.data = append(p.data, n)
	case wire.FieldQuoted:
		p.data, err = p.unescape(p.data, tok)
		return err
	case wire.FieldTag:
		at := len(p.data)
		if err := p.characterString(tok); err != nil {
			return err
		}
		for _, c := range p.data[at+1:] {
			if c-'0' > 9 && c|0x20-'a' > 25 {
				return bad(wanted(f))
			}
		}
		if len(p.data) == at+1 {
			return bad(wanted(f))
		}
	case wire.FieldNSAP:
		digits, ok := strings.CutPrefix(strings.ToLower(text), "0x")
		if !ok {
			return bad(wanted(f))
		}
		return p.hexString(tok, strings.ReplaceAll(digits, ".", ""))
	case wire.FieldSalt:
		if text == "-" {
			p.data = append(p.data, 0)
			return nil
		}
		return p.counted(tok, func() error { return p.hexString(tok, text) })
	case wire.FieldHash:
		return p.counted(tok, func() error {
			out, err := wire.Base32Hex.DecodeString(strings.ToUpper(text))
			if err != nil || len(out) == 0 {
				return bad(wanted(f))
			}
			p.data = append(p.data, out...)
			return nil
		})
	case wire.FieldEUI48, wire.FieldEUI64:
		n := 6
		if f == wire.FieldEUI64 {
			n = 8
		}
		if len(text) != 3*n-1 || strings.Count(text, "-") != n-1 {
			return bad(wanted(f))
		}
		for part := range strings.SplitSeq(text, "-") {
			v, err := strconv.ParseUint(part, 16, 8)
			if err != nil || len(part) != 2 {
				return bad(wanted(f))
			}
			p.data = append(p.data, byte(v))
		}
	case wire.FieldID64:
		parts := strings.Split(text, ":")
		for _, part := range parts {
			v, err := strconv.ParseUint(part, 16, 16)
			if err != nil || len(parts) != 4 || len(part) > 4 {
				return bad(wanted(f))
			}
			p.data = binary.BigEndian.AppendUint16(p.data, uint16(v))
		}
	default:
		return bad("data that can be written for this type")
	}
	return nil
}

// wanted says what a field should be.
func wanted(f wire.Field) string {
	switch f {
	case wire.FieldCertType:
		return "a certificate type, a number or mnemonic (RFC 4398, section 2.1)"
	case wire.FieldProtocol:
		return "a protocol, a number or a name such as TCP (RFC 1035, section 3.4.2)"
	case wire.FieldU64:
		return "a number of up to 64 bits"
	case wire.FieldScheme:
		return "a scheme, NOTIFY or a number (RFC 9859, section 2)"
	case wire.FieldQuoted:
		return "a quoted string"
	case wire.FieldTag:
		return "a tag of letters and digits (RFC 8659, section 4.1)"
	case wire.FieldNSAP:
		return "an address such as 0x47000580 (RFC 1706)"
	case wire.FieldSalt:
		return "a salt in hexadecimal, or - for none (RFC 5155, section 3.3)"
	case wire.FieldHash:
		return "a hash in base32 with the extended hex alphabet (RFC 5155, section 3.3)"
	case wire.FieldEUI48:
		return "an address such as 00-00-5e-00-53-2a (RFC 7043)"
	case wire.FieldEUI64:
		return "an address such as 00-00-5e-ef-10-00-00-2a (RFC 7043)"
	case wire.FieldID64:
		return "four groups of digits such as 14:4fff:ff20:ee64 (RFC 6742)"
	}
	return "data"
}

// counted appends what f appends, behind its length in one octet.
func (p *parser) counted(t token, f func() error) error {
	at := len(p.data)
	p.data = append(p.data, 0)
	if err := f(); err != nil {
		return err
	}
	n := len(p.data) - at - 1
	if n > 255 {
		return faultf(t.from(), "%d octets, the limit is 255", n)
	}
	p.data[at] = byte(n)
	return nil
}

func (p *parser) hexString(t token, text string) error {
	if len(text) == 0 || len(text)%2 != 0 {
		return faultf(t.from(), "%q is not an even number of hexadecimal digits", text)
	}
	for i := 0; i < len(text); i += 2 {
		a, b := hexDigit[text[i]], hexDigit[text[i+1]]
		if a == notHex || b == notHex {
			return faultf(t.from(), "%q is not hexadecimal", text)
		}
		p.data = append(p.data, a<<4|b)
	}
	return nil
}

// hip reads algorithm, HIT and key (RFC 8005, section 6).
func (p *parser) hip() error {
	algorithm, err := p.number("an algorithm", 255)
	if err != nil {
		return err
	}
	hit, err := p.take("a HIT in hexadecimal")
	if err != nil {
		return err
	}
	at := len(p.data)
	p.data = append(p.data, 0, byte(algorithm), 0, 0)
	if err := p.hexString(hit, string(p.text(hit))); err != nil {
		return err
	}
	n := len(p.data) - at - 4
	if n > 255 {
		return faultf(hit.from(), "HIT has %d octets, the limit is 255", n)
	}
	p.data[at] = byte(n)
	if _, err := p.take("a key in base64"); err != nil {
		return err
	}
	key := len(p.data)
	if err := p.base64One(); err != nil {
		return err
	}
	binary.BigEndian.PutUint16(p.data[at+2:], uint16(len(p.data)-key))
	return nil
}

// base64One decodes the token taken last.
func (p *parser) base64One() error {
	all := p.tokens
	p.next--
	p.tokens = p.tokens[:p.next+1]
	err := p.base64Rest()
	p.tokens = all
	return err
}

// gateway reads IPSECKEY (RFC 4025, section 3.1).
func (p *parser) gateway() error {
	for range 3 {
		n, err := p.number("a number", 255)
		if err != nil {
			return err
		}
		p.data = append(p.data, byte(n))
	}
	if err := p.gatewayAddress(p.data[1]); err != nil {
		return err
	}
	return p.base64Rest()
}

// relay reads AMTRELAY (RFC 8777, section 4.3).
func (p *parser) relay() error {
	precedence, err := p.number("a precedence", 255)
	if err != nil {
		return err
	}
	discovery, err := p.number("0 or 1", 1)
	if err != nil {
		return err
	}
	kind, err := p.number("a relay type", 127)
	if err != nil {
		return err
	}
	p.data = append(p.data, byte(precedence), byte(discovery<<7|kind))
	return p.gatewayAddress(byte(kind))
}

func (p *parser) gatewayAddress(kind byte) error {
	switch kind {
	case 0:
		t, err := p.take("a dot, for no gateway")
		if err == nil && string(p.text(t)) != "." {
			err = faultf(t.from(), "%q where a dot was expected: the type says that there is no gateway", p.text(t))
		}
		return err
	case 1:
		return p.ipv4()
	case 2:
		return p.ipv6()
	case 3:
		return p.field(0, wire.FieldName)
	}
	return faultf(p.tokens[p.next-1].from(), "gateway type %d is not known: expected 0 to 3", kind)
}

// ports reads the ports of WKS as numbers (RFC 1035, section 3.4.2).
func (p *parser) ports() error {
	at := len(p.data)
	for p.more() {
		tok, _ := p.take("")
		n, known := services()[strings.ToLower(string(p.text(tok)))]
		if !known {
			number, err := p.numberIn(tok, 0xFFFF)
			if err != nil {
				return faultf(
					tok.from(),
					"%q is not a port: expected a number, or the name of a service such as SMTP (RFC 1035, section 3.4.2)",
					p.text(tok),
				)
			}
			n = uint16(number)
		}
		p.setBit(at, int(n))
	}
	return nil
}

// oldBitmap reads the types of NXT (RFC 2535, section 5.2).
func (p *parser) oldBitmap() error {
	at := len(p.data)
	for {
		tok, err := p.take("a type")
		if err != nil {
			return err
		}
		t, err := p.typeOf(tok)
		if err != nil {
			return err
		}
		if t == 0 || t > 127 {
			return faultf(tok.from(), "%s cannot stand here, where types are 1 to 127 (RFC 2535, section 5.2)", t)
		}
		p.setBit(at, int(t))
		if !p.more() {
			return nil
		}
	}
}

// setBit sets bit n of the map that begins at p.data[at:], counted from the left.
func (p *parser) setBit(at, n int) {
	for len(p.data) <= at+n/8 {
		p.data = append(p.data, 0)
	}
	p.data[at+n/8] |= 0x80 >> (n % 8)
}

// apl reads address prefixes such as 1:192.0.2.0/24 !2:2001:db8::/32 (RFC 3123,
// section 5).
func (p *parser) apl() error {
	for p.more() {
		t, _ := p.take("")
		text, negated := strings.CutPrefix(string(p.text(t)), "!")
		family, rest, _ := strings.Cut(text, ":")
		prefix, err := netip.ParsePrefix(rest)
		if err != nil || family != "1" && family != "2" || prefix.Addr().Is4() != (family == "1") {
			return faultf(t.from(), "%q is not a prefix such as 1:192.0.2.0/24 or !2:2001:db8::/32", p.text(t))
		}
		octets := prefix.Addr().AsSlice()
		octets = bytes.TrimRight(octets, "\x00")
		n := byte(len(octets))
		if negated {
			n |= 0x80
		}
		p.data = append(p.data, 0, family[0]-'0', byte(prefix.Bits()), n)
		p.data = append(p.data, octets...)
	}
	return nil
}

// loc reads a location (RFC 1876, section 3).
func (p *parser) loc() error {
	latitude, err := p.angle('N', 'S', 90)
	if err != nil {
		return err
	}
	longitude, err := p.angle('E', 'W', 180)
	if err != nil {
		return err
	}
	// Altitude, then size and precisions with their defaults, in centimetres.
	values := [4]int64{0, 100, 1000000, 1000}
	for i := range values {
		if !p.more() {
			if i == 0 {
				_, err := p.take("an altitude such as 10m")
				return err
			}
			break
		}
		t, _ := p.take("")
		cm, ok := centimetres(string(p.text(t)))
		if !ok || i > 0 && (cm < 0 || cm > 9e9) || i == 0 && (cm < -10000000 || cm > 1<<32-1-10000000) {
			return faultf(t.from(), "%q is not a length in metres such as 10.5m", p.text(t))
		}
		values[i] = cm
	}
	p.data = append(p.data, 0)
	for _, v := range values[1:] {
		exponent := 0
		for v > 9 {
			v /= 10
			exponent++
		}
		p.data = append(p.data, byte(v)<<4|byte(exponent))
	}
	p.data = binary.BigEndian.AppendUint32(p.data, latitude)
	p.data = binary.BigEndian.AppendUint32(p.data, longitude)
	p.data = binary.BigEndian.AppendUint32(p.data, uint32(values[0]+10000000))
	return nil
}

// angle reads degrees, perhaps minutes and seconds, and a hemisphere.
func (p *parser) angle(positive, negative byte, limit int64) (uint32, error) {
	var parts [3]int64 // degrees, minutes, thousandths of seconds
	for i := 0; ; i++ {
		t, err := p.take("degrees, minutes, seconds or a hemisphere")
		if err != nil {
			return 0, err
		}
		text := string(p.text(t))
		if len(text) == 1 && (text[0]&^0x20 == positive || text[0]&^0x20 == negative) && i > 0 {
			ms := parts[0]*3600000 + parts[1]*60000 + parts[2]
			if ms > limit*3600000 {
				return 0, faultf(t.from(), "angle is larger than %d degrees", limit)
			}
			if text[0]&^0x20 == negative {
				ms = -ms
			}
			return uint32(1<<31 + ms), nil
		}
		whole, fraction, dotted := strings.Cut(text, ".")
		v, err := strconv.ParseUint(whole, 10, 16)
		if i > 2 || err != nil || i > 0 && v > 59 || dotted && i != 2 || len(fraction) > 3 {
			return 0, faultf(t.from(), "%q is not part of an angle such as 52 22 23.000 %c", text, positive)
		}
		parts[i] = int64(v)
		if i == 2 {
			ms, err := strconv.ParseUint((fraction + "000")[:3], 10, 16)
			if err != nil {
				return 0, faultf(t.from(), "%q is not a number of seconds", text)
			}
			parts[2] = int64(v)*1000 + int64(ms)
		}
	}
}

func centimetres(text string) (int64, bool) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "m"), "M")
	text, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(text, ".")
	m, err1 := strconv.ParseUint(whole, 10, 40)
	cm, err2 := strconv.ParseUint((fraction + "00")[:2], 10, 8)
	v := int64(m*100 + cm)
	if negative {
		v = -v
	}
	return v, err1 == nil && err2 == nil && len(fraction) <= 2
}
