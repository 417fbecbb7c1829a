package zonefile

import (
	"encoding/binary"
	"slices"
)

const notHex = 0xFF

var hexDigit = func() (t [256]uint8) {
	for i := range t {
		t[i] = notHex
	}
	for i := range 10 {
		t['0'+i] = uint8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = uint8(10+i), uint8(10+i)
	}
	return t
}()

// hexRest reads hexadecimal digits to the end of the entry.
func (p *parser) hexRest() error {
	half := -1
	for p.more() {
		t, _ := p.take("")
		text := p.text(t)
		i := 0
		for ; half < 0 && i+2 <= len(text); i += 2 {
			a, b := hexDigit[text[i]], hexDigit[text[i+1]]
			if a|b > 15 {
				break
			}
			p.data = append(p.data, a<<4|b)
		}
		for ; i < len(text); i++ {
			v := hexDigit[text[i]]
			switch {
			case v == notHex:
				return faultf(t.from()+i, "%q is not a hexadecimal digit", text[i])
			case half < 0:
				half = int(v)
			default:
				p.data = append(p.data, byte(half<<4)|v)
				half = -1
			}
		}
	}
	if half >= 0 {
		return faultf(p.end(), "odd number of hexadecimal digits")
	}
	return nil
}

const (
	notBase64 = 0xFF
	padding   = 0xFE
)

var base64Digit = func() (t [256]uint8) {
	for i := range t {
		t[i] = notBase64
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = uint8(i)
	}
	t['='] = padding
	return t
}()

// base64Rest reads base64, perhaps in several pieces, to the end of the entry.
func (p *parser) base64Rest() error {
	var acc uint32
	n, pad := 0, 0
	for p.more() {
		t, _ := p.take("")
		text := p.text(t)
		for i := 0; i < len(text); i++ {
			if n == 0 && pad == 0 {
				// Four digits at a time where they line up.
				p.data = slices.Grow(p.data, len(text)/4*3+3)
				out := p.data[len(p.data):cap(p.data)]
				made := 0
				for i+4 <= len(text) && made+4 <= len(out) {
					a, b, c, d := base64Digit[text[i]], base64Digit[text[i+1]], base64Digit[text[i+2]], base64Digit[text[i+3]]
					if a|b|c|d >= 64 {
						break
					}
					binary.BigEndian.PutUint32(out[made:], uint32(a)<<26|uint32(b)<<20|uint32(c)<<14|uint32(d)<<8)
					made += 3
					i += 4
				}
				p.data = p.data[:len(p.data)+made]
			}
			if i == len(text) {
				break
			}
			v := base64Digit[text[i]]
			switch {
			case v == padding && n+pad >= 2 && pad < 2:
				pad++
			case v >= 64 || pad > 0:
				return faultf(t.from()+i, "%q is not a base64 digit here", text[i])
			default:
				acc = acc<<6 | uint32(v)
				if n++; n == 4 {
					p.data = append(p.data, byte(acc>>16), byte(acc>>8), byte(acc))
					acc, n = 0, 0
				}
			}
		}
	}
	switch {
	case n == 0 && pad == 0:
		return nil
	case n == 2 && pad == 2:
		p.data = append(p.data, byte(acc>>4))
		return nil
	case n == 3 && pad == 1:
		p.data = append(p.data, byte(acc>>10), byte(acc>>2))
		return nil
	}
	return faultf(p.end(), "base64 ends within a group of four digits")
}
