package wire

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"strconv"
	"time"
)

// Base32Hex is the encoding of NSEC3 hashes (RFC 5155, section 1.3), in upper case.
var Base32Hex = base32.HexEncoding.WithPadding(base32.NoPadding)

// AppendRdataText appends RDATA in presentation form, on one line and readable by
// package zonefile. Data of an opaque type, or that is not good for its type, is
// written as RFC 3597, section 5 has it.
func AppendRdataText(dst []byte, t Type, rdata []byte) []byte {
	fields := t.Fields()
	if fields == nil || CheckRdata(t, rdata) != nil {
		return appendOpaque(dst, rdata)
	}
	if want := DigestSize(t, rdata); want > 0 && want != len(rdata) {
		return appendOpaque(dst, rdata)
	}
	start, whole := len(dst), rdata
	for _, f := range fields {
		n, _ := f.span(rdata)
		if !f.hasText(rdata[:n]) {
			return appendOpaque(dst[:start], whole)
		}
		if len(dst) > start && (n > 0 || f == FieldQuoted || f == FieldBase64OrDash) {
			dst = append(dst, ' ')
		}
		dst = f.appendText(dst, rdata[:n])
		rdata = rdata[n:]
	}
	if len(dst) == start {
		return append(dst, `\# 0`...)
	}
	return dst
}

func appendOpaque(dst, rdata []byte) []byte {
	dst = strconv.AppendInt(append(dst, `\# `...), int64(len(rdata)), 10)
	if len(rdata) > 0 {
		dst = appendHex(append(dst, ' '), rdata)
	}
	return dst
}

func appendHex(dst, b []byte) []byte {
	start := len(dst)
	dst = hex.AppendEncode(dst, b)
	for i := start; i < len(dst); i++ {
		if dst[i] >= 'a' {
			dst[i] -= 'a' - 'A'
		}
	}
	return dst
}

func appendUint[T uint8 | uint16 | uint32](dst []byte, v T) []byte {
	return strconv.AppendUint(dst, uint64(v), 10)
}

// appendText …
// In one piece: it is a table of kinds of fields and how each is written.
func (f Field) appendText(dst, d []byte) []byte {
	switch f {
	case FieldU8, FieldAlg, FieldProtocol:
		return appendUint(dst, d[0])
	case FieldScheme:
		if d[0] == 1 {
			return append(dst, "NOTIFY"...)
		}
		return appendUint(dst, d[0])
	case FieldU16:
		return appendUint(dst, binary.BigEndian.Uint16(d))
	case FieldAlgName:
		return append(dst, AlgorithmName(d[0])...)
	case FieldCertType:
		return append(dst, nameOf(certificates[:], binary.BigEndian.Uint16(d))...)
	case FieldU32, FieldTTL:
		return appendUint(dst, binary.BigEndian.Uint32(d))
	case FieldTime:
		return AppendTime(dst, binary.BigEndian.Uint32(d))
	case FieldType:
		return append(dst, Type(binary.BigEndian.Uint16(d)).String()...)
	case FieldIPv4:
		return netip.AddrFrom4([4]byte(d)).AppendTo(dst)
	case FieldIPv6:
		return netip.AddrFrom16([16]byte(d)).AppendTo(dst)
	case FieldName:
		return AppendName(dst, d)
	case FieldNames:
		return appendEach(dst, d, FieldName)
	case FieldString:
		return AppendQuoted(dst, d[1:])
	case FieldTag:
		return append(dst, d[1:]...)
	case FieldStrings:
		return appendEach(dst, d, FieldString)
	case FieldOptString:
		if len(d) == 0 {
			return dst
		}
		return AppendQuoted(dst, d[1:])
	case FieldQuoted:
		return AppendQuoted(dst, d)
	case FieldHex:
		return appendHex(dst, d)
	case FieldNSAP:
		return hex.AppendEncode(append(dst, "0x"...), d)
	case FieldBase64, FieldBase64OrNone, FieldBase64OrDash:
		if f == FieldBase64OrDash && len(d) == 0 {
			return append(dst, '-')
		}
		return base64.StdEncoding.AppendEncode(dst, d)
	case FieldSalt:
		if len(d) == 1 {
			return append(dst, '-')
		}
		return appendHex(dst, d[1:])
	case FieldHash:
		return Base32Hex.AppendEncode(dst, d[1:])
	case FieldBitmap:
		first := true
		bitmapTypes(d, func(t Type) {
			if !first {
				dst = append(dst, ' ')
			}
			first = false
			dst = append(dst, t.String()...)
		})
		return dst
	case FieldOldBitmap:
		return appendBits(dst, d, func(dst []byte, n int) []byte { return append(dst, Type(n).String()...) })
	case FieldPorts:
		return appendBits(dst, d, func(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) })
	case FieldTime48:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(d))<<32|uint64(binary.BigEndian.Uint32(d[2:])), 10)
	case FieldError:
		return append(dst, Rcode(binary.BigEndian.Uint16(d)).String()...)
	case FieldSized:
		dst = appendUint(dst, binary.BigEndian.Uint16(d))
		if len(d) == 2 {
			return dst
		}
		return base64.StdEncoding.AppendEncode(append(dst, ' '), d[2:])
	case FieldU64:
		return strconv.AppendUint(dst, binary.BigEndian.Uint64(d), 10)
	case FieldEUI48, FieldEUI64:
		for i := range d {
			if i > 0 {
				dst = append(dst, '-')
			}
			dst = hex.AppendEncode(dst, d[i:i+1])
		}
		return dst
	case FieldID64:
		for i := 0; i < 8; i += 2 {
			if i > 0 {
				dst = append(dst, ':')
			}
			dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(d[i:])), 16)
		}
		return dst
	case FieldLOC:
		return appendLOC(dst, d)
	case FieldAPL:
		return appendAPL(dst, d)
	case FieldParams:
		return appendParams(dst, d)
	case FieldHIP:
		hit := int(d[0])
		dst = append(appendUint(dst, d[1]), ' ')
		dst = append(appendHex(dst, d[4:4+hit]), ' ')
		return base64.StdEncoding.AppendEncode(dst, d[4+hit:])
	case FieldGateway:
		for _, v := range d[:3] {
			dst = append(appendUint(dst, v), ' ')
		}
		n, _ := spanGateway(d[1], d[3:])
		dst = appendGateway(dst, d[1], d[3:3+n])
		if len(d) > 3+n {
			dst = base64.StdEncoding.AppendEncode(append(dst, ' '), d[3+n:])
		}
		return dst
	case FieldRelay:
		dst = append(appendUint(dst, d[0]), ' ', '0'+d[1]>>7, ' ')
		dst = append(appendUint(dst, d[1]&0x7F), ' ')
		return appendGateway(dst, d[1]&0x7F, d[2:])
	}
	return dst
}

func appendEach(dst, d []byte, f Field) []byte {
	for first := true; len(d) > 0; first = false {
		n, _ := f.span(d)
		if !first {
			dst = append(dst, ' ')
		}
		dst = f.appendText(dst, d[:n])
		d = d[n:]
	}
	return dst
}

// appendBits appends what one makes of the number of each bit that is set.
func appendBits(dst, d []byte, one func(dst []byte, n int) []byte) []byte {
	first := true
	for i, b := range d {
		for b != 0 {
			bit := bits.LeadingZeros8(b)
			b &^= 0x80 >> bit
			if !first {
				dst = append(dst, ' ')
			}
			first = false
			dst = one(dst, 8*i+bit)
		}
	}
	return dst
}

// AppendQuoted appends octets as a quoted string.
func AppendQuoted(dst, b []byte) []byte {
	dst = append(dst, '"')
	for _, c := range b {
		switch {
		case c < ' ' || c >= 0x7F:
			dst = appendDecimal(dst, c)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// AppendTime appends a time of RRSIG as YYYYMMDDHHMMSS, in UTC. The 32 bits are
// taken as seconds since 1970, as every writer of these days does.
func AppendTime(dst []byte, v uint32) []byte {
	return time.Unix(int64(v), 0).UTC().AppendFormat(dst, "20060102150405")
}

func appendGateway(dst []byte, kind byte, d []byte) []byte {
	switch kind {
	case 1:
		return FieldIPv4.appendText(dst, d)
	case 2:
		return FieldIPv6.appendText(dst, d)
	case 3:
		return AppendName(dst, d)
	}
	return append(dst, '.')
}

func appendLOC(dst, d []byte) []byte {
	dst = appendDegrees(dst, binary.BigEndian.Uint32(d[4:]), 'N', 'S')
	dst = append(dst, ' ')
	dst = appendDegrees(dst, binary.BigEndian.Uint32(d[8:]), 'E', 'W')
	// Altitude in centimetres above 100,000 m below the reference.
	altitude := int64(binary.BigEndian.Uint32(d[12:])) - 10000000
	dst = append(dst, ' ')
	if altitude < 0 {
		dst = append(dst, '-')
		altitude = -altitude
	}
	dst = appendCentimetres(dst, uint64(altitude))
	for _, size := range d[1:4] {
		v := uint64(size >> 4)
		for range size & 15 {
			v *= 10
		}
		if dst = append(dst, ' '); v >= 100 {
			dst = append(strconv.AppendUint(dst, v/100, 10), 'm')
		} else {
			dst = appendCentimetres(dst, v)
		}
	}
	return dst
}

// appendDegrees appends an angle given in thousandths of a second of arc, 2^31
// being zero (RFC 1876, section 2).
func appendDegrees(dst []byte, v uint32, positive, negative byte) []byte {
	hemisphere := positive
	angle := int64(v) - 1<<31
	if angle < 0 {
		hemisphere, angle = negative, -angle
	}
	dst = strconv.AppendInt(dst, angle/3600000, 10)
	dst = strconv.AppendInt(append(dst, ' '), angle/60000%60, 10)
	dst = strconv.AppendInt(append(dst, ' '), angle/1000%60, 10)
	ms := angle % 1000
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), ' ', hemisphere)
}

func appendCentimetres(dst []byte, cm uint64) []byte {
	dst = strconv.AppendUint(dst, cm/100, 10)
	return append(dst, '.', byte('0'+cm/10%10), byte('0'+cm%10), 'm')
}

func appendAPL(dst, d []byte) []byte {
	for first := true; len(d) > 0; first = false {
		if !first {
			dst = append(dst, ' ')
		}
		family, prefix, n := binary.BigEndian.Uint16(d), d[2], int(d[3]&0x7F)
		if d[3]&0x80 != 0 {
			dst = append(dst, '!')
		}
		dst = append(appendUint(dst, family), ':')
		var address [16]byte
		copy(address[:], d[4:4+n])
		if family == 1 {
			dst = netip.AddrFrom4([4]byte(address[:4])).AppendTo(dst)
		} else {
			dst = netip.AddrFrom16(address).AppendTo(dst)
		}
		dst = appendUint(append(dst, '/'), prefix)
		d = d[4+n:]
	}
	return dst
}

func appendParams(dst, d []byte) []byte {
	for first := true; len(d) > 0; first = false {
		if !first {
			dst = append(dst, ' ')
		}
		key, n := int(binary.BigEndian.Uint16(d)), int(binary.BigEndian.Uint16(d[2:]))
		v := d[4 : 4+n]
		d = d[4+n:]
		dst = append(dst, ParamName(key)...)
		if n == 0 {
			continue
		}
		dst = append(dst, '=')
		switch key {
		case paramMandatory:
			for i := 0; i < n; i += 2 {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = append(dst, ParamName(int(binary.BigEndian.Uint16(v[i:])))...)
			}
		case paramALPN, paramDocPath:
			dst = appendALPN(dst, v)
		case paramGroups:
			for i := 0; i < n; i += 2 {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = appendUint(dst, binary.BigEndian.Uint16(v[i:]))
			}
		case paramPort:
			dst = appendUint(dst, binary.BigEndian.Uint16(v))
		case paramIPv4Hint:
			for i := 0; i < n; i += 4 {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = FieldIPv4.appendText(dst, v[i:i+4])
			}
		case paramIPv6Hint:
			for i := 0; i < n; i += 16 {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = FieldIPv6.appendText(dst, v[i:i+16])
			}
		case paramECH:
			dst = base64.StdEncoding.AppendEncode(dst, v)
		default:
			dst = AppendQuoted(dst, v)
		}
	}
	return dst
}

// appendALPN appends protocol names as a quoted list: commas and backslashes in a
// name are escaped for the list, then for the string (RFC 9460, appendix A.1).
func appendALPN(dst, v []byte) []byte {
	var list []byte
	for first := true; len(v) > 0; first = false {
		if !first {
			list = append(list, ',')
		}
		for _, c := range v[1 : 1+int(v[0])] {
			if c == ',' || c == '\\' {
				list = append(list, '\\')
			}
			list = append(list, c)
		}
		v = v[1+int(v[0]):]
	}
	return AppendQuoted(dst, list)
}

// ParamName returns the name of a service parameter's key, or key and its number.
func ParamName(key int) string {
	if key < len(ParamNames) {
		return ParamNames[key]
	}
	return "key" + strconv.Itoa(key)
}
