package wire

import (
	"encoding/binary"
	"math/bits"
)

// span returns how many octets at the start of d the field takes, and whether they
// are well formed. d is what is left of the RDATA.
func (f Field) span(d []byte) (n int, ok bool) {
	switch f {
	case FieldU8, FieldAlg, FieldAlgName, FieldScheme, FieldProtocol:
		return 1, len(d) >= 1
	case FieldU16, FieldType, FieldCertType, FieldError:
		return 2, len(d) >= 2
	case FieldU32, FieldTTL, FieldTime, FieldIPv4:
		return 4, len(d) >= 4
	case FieldEUI48, FieldTime48:
		return 6, len(d) >= 6
	case FieldEUI64, FieldID64, FieldU64:
		return 8, len(d) >= 8
	case FieldIPv6:
		return 16, len(d) >= 16
	case FieldName:
		n, _, bad := scanName(d)
		return n, bad == 0
	case FieldNames:
		return spanEach(d, FieldName, 0)
	case FieldString, FieldSalt:
		return spanString(d, 0)
	case FieldHash:
		return spanString(d, 1)
	case FieldTag:
		n, ok := spanString(d, 1)
		for i := 1; ok && i < n; i++ {
			ok = isAlphanumeric(d[i])
		}
		return n, ok
	case FieldStrings:
		return spanEach(d, FieldString, 1)
	case FieldOptString:
		if len(d) == 0 {
			return 0, true
		}
		return spanString(d, 0)
	case FieldHex, FieldNSAP, FieldBase64:
		return len(d), len(d) > 0
	case FieldQuoted, FieldBase64OrNone, FieldBase64OrDash:
		return len(d), true
	case FieldPorts:
		return len(d), len(d) <= 1<<16/8
	case FieldOldBitmap:
		// The first bit would mean another form, which never came.
		return len(d), len(d) > 0 && len(d) <= 16 && d[0] < 0x80
	case FieldSized:
		if len(d) < 2 {
			return 0, false
		}
		n := 2 + int(binary.BigEndian.Uint16(d))
		return n, n <= len(d)
	case FieldBitmap:
		return spanBitmap(d)
	case FieldLOC:
		return spanLOC(d)
	case FieldAPL:
		return spanAPL(d)
	case FieldParams:
		return spanParams(d)
	case FieldHIP:
		if len(d) < 4 {
			return 0, false
		}
		n := 4 + int(d[0]) + int(binary.BigEndian.Uint16(d[2:]))
		return n, d[0] > 0 && n > 4+int(d[0]) && n <= len(d)
	case FieldGateway:
		if len(d) < 3 {
			return 0, false
		}
		_, ok := spanGateway(d[1], d[3:])
		return len(d), ok
	case FieldRelay:
		if len(d) < 2 {
			return 0, false
		}
		n, ok := spanGateway(d[1]&0x7F, d[2:])
		return 2 + n, ok
	}
	return 0, false
}

func spanString(d []byte, least int) (int, bool) {
	if len(d) == 0 || int(d[0]) < least || 1+int(d[0]) > len(d) {
		return 0, false
	}
	return 1 + int(d[0]), true
}

func spanEach(d []byte, f Field, least int) (int, bool) {
	at := 0
	for count := 0; at < len(d) || count < least; count++ {
		n, ok := f.span(d[at:])
		if !ok {
			return 0, false
		}
		at += n
	}
	return at, true
}

// spanBitmap wants windows in rising order, each of 1 to 32 octets whose last is
// not zero (RFC 4034, section 4.1.2).
func spanBitmap(d []byte) (int, bool) {
	last := -1
	for at := 0; at < len(d); {
		if at+2 > len(d) {
			return 0, false
		}
		window, n := int(d[at]), int(d[at+1])
		at += 2 + n
		if window <= last || n == 0 || n > 32 || at > len(d) || d[at-1] == 0 {
			return 0, false
		}
		last = window
	}
	return len(d), true
}

// spanGateway takes the gateway of IPSECKEY or the relay of AMTRELAY. One of a kind
// that is not known takes the rest.
func spanGateway(kind byte, d []byte) (int, bool) {
	switch kind {
	case 0:
		return 0, true
	case 1:
		return 4, len(d) >= 4
	case 2:
		return 16, len(d) >= 16
	case 3:
		n, _, bad := scanName(d)
		return n, bad == 0
	}
	return len(d), true
}

// spanLOC wants angles on the globe and sizes of two decimal digits, mantissa and
// exponent (RFC 1876, section 2). A version that is not known takes the rest.
func spanLOC(d []byte) (int, bool) {
	if len(d) == 0 {
		return 0, false
	}
	if d[0] != 0 {
		return len(d), true
	}
	if len(d) < 16 {
		return 0, false
	}
	for _, size := range d[1:4] {
		if size>>4 > 9 || size&15 > 9 || size>>4 == 0 && size != 0 {
			return 0, false
		}
	}
	return 16, locAngle(d[4:], 90) && locAngle(d[8:], 180)
}

// locAngle reports whether an angle, in thousandths of a second of arc with 2^31 for
// zero, is within so many degrees.
func locAngle(d []byte, degrees uint32) bool {
	const zero = 1 << 31
	v, most := binary.BigEndian.Uint32(d), degrees*3600*1000
	return v >= zero-most && v <= zero+most
}

// spanAPL wants prefixes whose addresses have no trailing zero octets and fit
// their family (RFC 3123, section 4). A family that is not known may hold anything.
func spanAPL(d []byte) (int, bool) {
	for at := 0; at < len(d); {
		if at+4 > len(d) {
			return 0, false
		}
		family, prefix, n := binary.BigEndian.Uint16(d[at:]), int(d[at+2]), int(d[at+3]&0x7F)
		size := 0
		switch family {
		case 1:
			size = 4
		case 2:
			size = 16
		}
		at += 4 + n
		if at > len(d) || size > 0 && (prefix > 8*size || n > size || n > 0 && d[at-1] == 0) {
			return 0, false
		}
	}
	return len(d), true
}

// Service parameter keys (RFC 9460, section 14.3.2; RFC 9461; RFC 9540; the registry's 9 and 10,
// read 2026-11).
const (
	paramMandatory     = 0
	paramALPN          = 1
	paramNoDefaultALPN = 2
	paramPort          = 3
	paramIPv4Hint      = 4
	paramECH           = 5
	paramIPv6Hint      = 6
	paramDoHPath       = 7
	paramOHTTP         = 8
	paramGroups        = 9
	paramDocPath       = 10
)

// ParamReserved is the key that no parameter has (RFC 9460, section 14.3.2).
const ParamReserved = 65535

// ParamNames are the names of the service parameter keys that have one, by number.
var ParamNames = [...]string{
	"mandatory",
	"alpn",
	"no-default-alpn",
	"port",
	"ipv4hint",
	"ech",
	"ipv6hint",
	"dohpath",
	"ohttp",
	"tls-supported-groups",
	"docpath",
}

// spanParams wants keys in rising order and values that fit them (RFC 9460,
// section 2.2), and each mandatory key present (section 8).
func spanParams(d []byte) (int, bool) {
	last := -1
	var present [len(ParamNames)]bool
	var mandatory []byte
	for at := 0; at < len(d); {
		if at+4 > len(d) {
			return 0, false
		}
		key, n := int(binary.BigEndian.Uint16(d[at:])), int(binary.BigEndian.Uint16(d[at+2:]))
		at += 4 + n
		if key <= last || at > len(d) || !paramOK(key, d[at-n:at]) {
			return 0, false
		}
		last = key
		if key < len(present) {
			present[key] = true
		}
		if key == paramMandatory {
			mandatory = d[at-n : at]
		}
	}
	for ; len(mandatory) >= 2; mandatory = mandatory[2:] {
		if key := int(binary.BigEndian.Uint16(mandatory)); key < len(present) && !present[key] || key >= len(present) && !hasParam(d, key) {
			return 0, false
		}
	}
	return len(d), true
}

func hasParam(d []byte, key int) bool {
	for at := 0; at < len(d); {
		if int(binary.BigEndian.Uint16(d[at:])) == key {
			return true
		}
		at += 4 + int(binary.BigEndian.Uint16(d[at+2:]))
	}
	return false
}

func paramOK(key int, v []byte) bool {
	switch key {
	case paramMandatory:
		last := 0
		for ; len(v) >= 2; v = v[2:] {
			k := int(binary.BigEndian.Uint16(v))
			if k <= last {
				return false
			}
			last = k
		}
		return last > 0 && len(v) == 0
	case paramALPN:
		if len(v) == 0 {
			return false
		}
		for len(v) > 0 {
			n, ok := spanString(v, 1)
			if !ok {
				return false
			}
			v = v[n:]
		}
		return true
	case paramNoDefaultALPN, paramOHTTP:
		return len(v) == 0
	case paramPort:
		return len(v) == 2
	case paramIPv4Hint:
		return len(v) > 0 && len(v)%4 == 0
	case paramIPv6Hint:
		return len(v) > 0 && len(v)%16 == 0
	case paramECH:
		return len(v) > 0
	case paramGroups:
		return len(v) > 0 && len(v)%2 == 0
	case paramDocPath:
		_, ok := spanEach(v, FieldString, 0)
		return ok
	case ParamReserved:
		return false
	}
	return true
}

func isAlphanumeric(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 26 }

// bitmapTypes calls f with each type of a good bitmap, in rising order.
func bitmapTypes(d []byte, f func(Type)) {
	for len(d) >= 2 {
		window, n := Type(d[0])<<8, int(d[1])
		for i, b := range d[2 : 2+n] {
			for b != 0 {
				bit := bits.LeadingZeros8(b)
				f(window | Type(8*i+bit))
				b &^= 0x80 >> bit
			}
		}
		d = d[2+n:]
	}
}

// DigestSize returns how long good data with a digest is by the kind of the digest, or
// 0 if that is not known. Data of another length is good, but no digest, and zone
// files have it in generic form only.
func DigestSize(t Type, rdata []byte) int {
	switch t {
	case TypeDS, TypeDLV, TypeTA: // RFC 3658, section 2.4; RFC 4509, section 2.1; RFC 5933, section 4; RFC 6605, section 2
		switch rdata[3] {
		case 1:
			return 4 + 20
		case 2, 3:
			return 4 + 32
		case 4:
			return 4 + 48
		}
	case TypeSSHFP: // RFC 4255, section 3.1.2; RFC 6594, section 4.1
		switch rdata[1] {
		case 1:
			return 2 + 20
		case 2:
			return 2 + 32
		}
	}
	return 0
}

// hasText reports whether good data of the field has a text form of its own. What
// versions and families to come will hold has none (RFC 3597, section 5), nor has
// what would not survive being read back.
func (f Field) hasText(d []byte) bool {
	switch f {
	case FieldLOC:
		return d[0] == 0
	case FieldGateway:
		return d[1] <= 3
	case FieldRelay:
		return d[1]&0x7F <= 3
	case FieldAPL:
		for len(d) > 0 {
			if family := binary.BigEndian.Uint16(d); family != 1 && family != 2 {
				return false
			}
			d = d[4+int(d[3]&0x7F):]
		}
	case FieldPorts, FieldOldBitmap:
		return len(d) == 0 || d[len(d)-1] != 0
	}
	return true
}
