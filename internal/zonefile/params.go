package zonefile

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"port53/internal/wire"
)

// A param is one service parameter.
type param struct {
	key   int
	value []byte
}

// params reads service parameters in any order (RFC 9460, section 2.1).
func (p *parser) params() error {
	var all []param
	start := p.end()
	for p.more() {
		t, _ := p.take("")
		if t.is(quoted) {
			return faultf(t.from()-1, "a quoted string where key=value was expected")
		}
		name, value, has := strings.Cut(string(p.text(t)), "=")
		key, generic := paramKey(strings.ToLower(name))
		if key < 0 {
			return faultf(t.from(), "%q is not a service parameter: expected a known name, or key and a number", name)
		}
		text := newToken(t.from()+len(name)+1, t.to(), 0)
		if has && value == "" && p.more() && p.tokens[p.next].is(quoted) && p.tokens[p.next].is(glued) {
			text, _ = p.take("")
		} else if !has {
			text = newToken(t.to(), t.to(), 0)
		}
		octets, err := p.unescape(nil, text)
		if err != nil {
			return err
		}
		if !generic {
			var why string
			if octets, why = paramValue(key, octets); why != "" {
				return faultf(t.from(), "parameter %s: %s", name, why)
			}
		}
		if len(octets) > 0xFFFF {
			return faultf(t.from(), "parameter %s: value has %d octets, the limit is 65535", name, len(octets))
		}
		if alone := appendParam([]byte{0, 0, 0}, param{key, octets}); generic && key != 0 && wire.CheckRdata(wire.TypeSVCB, alone) != nil {
			return faultf(t.from(), "parameter %s: octets %X are no value of %s", name, octets, wire.ParamName(key))
		}
		all = append(all, param{key, octets})
	}
	slices.SortStableFunc(all, func(a, b param) int { return cmp.Compare(a.key, b.key) })
	for i, a := range all {
		if i > 0 && all[i-1].key == a.key {
			return faultf(start, "service parameter %s is there twice", wire.ParamName(a.key))
		}
		p.data = appendParam(p.data, a)
	}
	if len(all) == 0 || all[0].key != 0 {
		return nil
	}
	for keys := all[0].value; len(keys) >= 2; keys = keys[2:] {
		key := int(binary.BigEndian.Uint16(keys))
		if !slices.ContainsFunc(all, func(a param) bool { return a.key == key }) {
			return faultf(start, "service parameter %s is mandatory but not there (RFC 9460, section 8)", wire.ParamName(key))
		}
	}
	return nil
}

func appendParam(dst []byte, a param) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(a.key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.value)))
	return append(dst, a.value...)
}

// paramKey reads a parameter's name. A generic one, key and a number without
// leading zeros, takes its value as it is (RFC 9460, section 2.1). -1 is no key.
func paramKey(name string) (key int, generic bool) {
	if key := slices.Index(wire.ParamNames[:], name); key >= 0 {
		return key, false
	}
	digits, ok := strings.CutPrefix(name, "key")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || len(digits) > 1 && digits[0] == '0' || n == wire.ParamReserved {
		return -1, false
	}
	return int(n), true
}

// paramValue turns a value's text, its escapes undone, into octets. why says what
// is wrong with it.
func paramValue(key int, text []byte) (v []byte, why string) {
	name := ""
	if key < len(wire.ParamNames) {
		name = wire.ParamNames[key]
	}
	switch name {
	case "mandatory":
		var keys []uint16
		for part := range strings.SplitSeq(string(text), ",") {
			k, _ := paramKey(strings.ToLower(part))
			if k < 1 {
				return nil, strconv.Quote(part) + " cannot be mandatory"
			}
			keys = append(keys, uint16(k))
		}
		slices.Sort(keys)
		for i, k := range keys {
			if i > 0 && keys[i-1] == k {
				return nil, wire.ParamName(int(k)) + " is named twice"
			}
			v = binary.BigEndian.AppendUint16(v, k)
		}
	case "alpn":
		for _, id := range splitList(text) {
			if len(id) == 0 || len(id) > 255 {
				return nil, "a protocol name has 1 to 255 octets"
			}
			v = append(append(v, byte(len(id))), id...)
		}
	case "docpath": // segments of a path; without any, the root of the server
		if len(text) == 0 {
			return nil, ""
		}
		for _, segment := range splitList(text) {
			if len(segment) > 255 {
				return nil, "a segment of a path has up to 255 octets"
			}
			v = append(append(v, byte(len(segment))), segment...)
		}
	case "tls-supported-groups":
		for part := range strings.SplitSeq(string(text), ",") {
			n, err := strconv.ParseUint(part, 10, 16)
			if err != nil {
				return nil, strconv.Quote(part) + " is not the number of a group"
			}
			v = binary.BigEndian.AppendUint16(v, uint16(n))
		}
	case "no-default-alpn", "ohttp":
		if len(text) > 0 {
			return nil, "has no value"
		}
	case "port":
		n, err := strconv.ParseUint(string(text), 10, 16)
		if err != nil {
			return nil, "expected a port number"
		}
		v = binary.BigEndian.AppendUint16(nil, uint16(n))
	case "ipv4hint", "ipv6hint":
		for part := range strings.SplitSeq(string(text), ",") {
			a, err := netip.ParseAddr(part)
			if err != nil || a.Is4() != (name == "ipv4hint") || a.Zone() != "" {
				return nil, strconv.Quote(part) + " is not an address of that family"
			}
			v = append(v, a.AsSlice()...)
		}
	case "ech":
		p := parser{buf: text, src: &source{buf: text, end: len(text)}, tokens: []token{newToken(0, len(text), 0)}}
		if err := p.base64Rest(); err != nil || len(p.data) == 0 {
			return nil, "expected base64"
		}
		v = p.data
	default:
		v = text
	}
	return v, ""
}

// splitList splits at commas that are not escaped (RFC 9460, appendix A.1).
func splitList(text []byte) [][]byte {
	var list [][]byte
	var item []byte
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			item = append(item, text[i])
		case text[i] == ',':
			list = append(list, item)
			item = nil
		default:
			item = append(item, text[i])
		}
	}
	return append(list, item)
}
