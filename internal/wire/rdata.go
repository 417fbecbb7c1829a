package wire

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// A Field is one part of a type's RDATA: how it lies on the wire and how it is
// written. A type is a list of fields; that list drives checking, printing,
// parsing, canonical form and compression.
type Field uint8

// The fields. Those marked "rest" take what is left of the data.
const (
	FieldU8           Field = iota // decimal
	FieldU16                       // decimal
	FieldU32                       // decimal
	FieldTTL                       // 32 bits, written with or without units
	FieldTime                      // 32 bits, YYYYMMDDHHMMSS (RFC 4034, section 3.2)
	FieldType                      // 16 bits, a type's mnemonic
	FieldAlg                       // 8 bits, a DNSSEC algorithm as a number
	FieldAlgName                   // 8 bits, a DNSSEC algorithm as a mnemonic
	FieldCertType                  // 16 bits, a number or mnemonic (RFC 4398, section 2.1)
	FieldScheme                    // 8 bits, a number or NOTIFY (RFC 9859, section 2)
	FieldIPv4                      // dotted decimal
	FieldIPv6                      // as RFC 5952
	FieldName                      // a domain name
	FieldNames                     // rest: domain names
	FieldString                    // a character string
	FieldStrings                   // rest: one or more character strings
	FieldOptString                 // rest: a character string or nothing
	FieldQuoted                    // rest: octets written as one quoted string
	FieldTag                       // a character string of letters and digits, written bare (RFC 8659, section 4.1)
	FieldHex                       // rest: hexadecimal, at least one octet
	FieldNSAP                      // rest: hexadecimal behind 0x (RFC 1706)
	FieldBase64                    // rest: base64, at least one octet
	FieldBase64OrNone              // rest: base64, perhaps none
	FieldBase64OrDash              // rest: base64, - for none
	FieldSalt                      // length octet and hexadecimal, - for none (RFC 5155, section 3.3)
	FieldHash                      // length octet and base32hex (RFC 5155, section 3.3)
	FieldBitmap                    // rest: types (RFC 4034, section 4.1.2)
	FieldEUI48                     // six octets (RFC 7043)
	FieldEUI64                     // eight octets (RFC 7043)
	FieldID64                      // eight octets as four groups of hexadecimal (RFC 6742)
	FieldLOC                       // rest: a location (RFC 1876)
	FieldAPL                       // rest: address prefixes (RFC 3123)
	FieldParams                    // rest: service parameters (RFC 9460, section 2.1)
	FieldHIP                       // lengths, algorithm, HIT and key (RFC 8005, section 5)
	FieldGateway                   // rest: precedence, type, algorithm, gateway, key (RFC 4025, section 2)
	FieldRelay                     // rest: precedence, discovery, type, relay (RFC 8777, section 4)
	FieldProtocol                  // 8 bits, a protocol's number (RFC 1035, section 3.4.2)
	FieldPorts                     // rest: a map of ports (RFC 1035, section 3.4.2)
	FieldOldBitmap                 // rest: types below 128 (RFC 2535, section 5.2)
	FieldTime48                    // 48 bits, seconds (RFC 8945, section 4.2)
	FieldError                     // 16 bits, a response code's mnemonic (RFC 8945, section 4.2)
	FieldU64                       // decimal
	FieldSized                     // a length of 16 bits and base64 (RFC 8945, section 4.2)
)

// What a type's names may be and whether the type is data at all.
const (
	compressed = 1 << iota // names may be compressed (RFC 3597, section 4)
	lowered                // names are lower case in canonical form (RFC 4034, section 6.2; RFC 6840, section 5.1)
	meta                   // a question or a pseudo type: never in a zone
)

type typeInfo struct {
	name   string
	fields []Field
	rules  uint8
}

// types is the table of record types. A type without fields, or not in it, is
// opaque (RFC 3597).
var types = [...]typeInfo{
	TypeA:       {"A", []Field{FieldIPv4}, 0},
	TypeNS:      {"NS", []Field{FieldName}, compressed | lowered},
	TypeMD:      {"MD", []Field{FieldName}, compressed | lowered},
	TypeMF:      {"MF", []Field{FieldName}, compressed | lowered},
	TypeCNAME:   {"CNAME", []Field{FieldName}, compressed | lowered},
	TypeSOA:     {"SOA", []Field{FieldName, FieldName, FieldU32, FieldTTL, FieldTTL, FieldTTL, FieldTTL}, compressed | lowered},
	TypeMB:      {"MB", []Field{FieldName}, compressed | lowered},
	TypeMG:      {"MG", []Field{FieldName}, compressed | lowered},
	TypeMR:      {"MR", []Field{FieldName}, compressed | lowered},
	TypeNULL:    {"NULL", nil, 0},
	TypeWKS:     {"WKS", []Field{FieldIPv4, FieldProtocol, FieldPorts}, 0},
	TypePTR:     {"PTR", []Field{FieldName}, compressed | lowered},
	TypeHINFO:   {"HINFO", []Field{FieldString, FieldString}, 0},
	TypeMINFO:   {"MINFO", []Field{FieldName, FieldName}, compressed | lowered},
	TypeMX:      {"MX", []Field{FieldU16, FieldName}, compressed | lowered},
	TypeTXT:     {"TXT", []Field{FieldStrings}, 0},
	TypeRP:      {"RP", []Field{FieldName, FieldName}, lowered},
	TypeAFSDB:   {"AFSDB", []Field{FieldU16, FieldName}, lowered},
	TypeX25:     {"X25", []Field{FieldString}, 0},
	TypeISDN:    {"ISDN", []Field{FieldString, FieldOptString}, 0},
	TypeRT:      {"RT", []Field{FieldU16, FieldName}, lowered},
	TypeNSAP:    {"NSAP", []Field{FieldNSAP}, 0},
	TypeNSAPPTR: {"NSAP-PTR", []Field{FieldName}, 0},
	TypeSIG: {
		"SIG",
		[]Field{FieldType, FieldAlg, FieldU8, FieldU32, FieldTime, FieldTime, FieldU16, FieldName, FieldBase64},
		lowered,
	},
	TypeKEY:      {"KEY", []Field{FieldU16, FieldU8, FieldAlg, FieldBase64OrNone}, 0},
	TypePX:       {"PX", []Field{FieldU16, FieldName, FieldName}, lowered},
	TypeGPOS:     {"GPOS", []Field{FieldString, FieldString, FieldString}, 0},
	TypeAAAA:     {"AAAA", []Field{FieldIPv6}, 0},
	TypeLOC:      {"LOC", []Field{FieldLOC}, 0},
	TypeNXT:      {"NXT", []Field{FieldName, FieldOldBitmap}, lowered},
	TypeEID:      {"EID", []Field{FieldHex}, 0},
	TypeNIMLOC:   {"NIMLOC", []Field{FieldHex}, 0},
	TypeSRV:      {"SRV", []Field{FieldU16, FieldU16, FieldU16, FieldName}, lowered},
	TypeATMA:     {"ATMA", nil, 0},
	TypeNAPTR:    {"NAPTR", []Field{FieldU16, FieldU16, FieldString, FieldString, FieldString, FieldName}, lowered},
	TypeKX:       {"KX", []Field{FieldU16, FieldName}, lowered},
	TypeCERT:     {"CERT", []Field{FieldCertType, FieldU16, FieldAlgName, FieldBase64}, 0},
	TypeA6:       {"A6", nil, 0},
	TypeDNAME:    {"DNAME", []Field{FieldName}, lowered},
	TypeSINK:     {"SINK", nil, 0},
	TypeOPT:      {"OPT", nil, meta},
	TypeAPL:      {"APL", []Field{FieldAPL}, 0},
	TypeDS:       {"DS", []Field{FieldU16, FieldAlg, FieldU8, FieldHex}, 0},
	TypeSSHFP:    {"SSHFP", []Field{FieldU8, FieldU8, FieldHex}, 0},
	TypeIPSECKEY: {"IPSECKEY", []Field{FieldGateway}, 0},
	TypeRRSIG: {
		"RRSIG",
		[]Field{FieldType, FieldAlg, FieldU8, FieldU32, FieldTime, FieldTime, FieldU16, FieldName, FieldBase64},
		lowered,
	},
	TypeNSEC:       {"NSEC", []Field{FieldName, FieldBitmap}, 0},
	TypeDNSKEY:     {"DNSKEY", []Field{FieldU16, FieldU8, FieldAlg, FieldBase64}, 0},
	TypeDHCID:      {"DHCID", []Field{FieldBase64}, 0},
	TypeNSEC3:      {"NSEC3", []Field{FieldU8, FieldU8, FieldU16, FieldSalt, FieldHash, FieldBitmap}, 0},
	TypeNSEC3PARAM: {"NSEC3PARAM", []Field{FieldU8, FieldU8, FieldU16, FieldSalt}, 0},
	TypeTLSA:       {"TLSA", []Field{FieldU8, FieldU8, FieldU8, FieldHex}, 0},
	TypeSMIMEA:     {"SMIMEA", []Field{FieldU8, FieldU8, FieldU8, FieldHex}, 0},
	TypeHIP:        {"HIP", []Field{FieldHIP, FieldNames}, 0},
	TypeNINFO:      {"NINFO", []Field{FieldStrings}, 0},
	TypeRKEY:       {"RKEY", []Field{FieldU16, FieldU8, FieldAlg, FieldBase64}, 0},
	TypeTALINK:     {"TALINK", []Field{FieldName, FieldName}, 0},
	TypeCDS:        {"CDS", []Field{FieldU16, FieldAlg, FieldU8, FieldHex}, 0},
	TypeCDNSKEY:    {"CDNSKEY", []Field{FieldU16, FieldU8, FieldAlg, FieldBase64}, 0},
	TypeOPENPGPKEY: {"OPENPGPKEY", []Field{FieldBase64}, 0},
	TypeCSYNC:      {"CSYNC", []Field{FieldU32, FieldU16, FieldBitmap}, 0},
	TypeZONEMD:     {"ZONEMD", []Field{FieldU32, FieldU8, FieldU8, FieldHex}, 0},
	TypeSVCB:       {"SVCB", []Field{FieldU16, FieldName, FieldParams}, 0},
	TypeHTTPS:      {"HTTPS", []Field{FieldU16, FieldName, FieldParams}, 0},
	TypeDSYNC:      {"DSYNC", []Field{FieldType, FieldScheme, FieldU16, FieldName}, 0},
	TypeHHIT:       {"HHIT", []Field{FieldBase64}, 0},
	TypeBRID:       {"BRID", []Field{FieldBase64}, 0},
	TypeSPF:        {"SPF", []Field{FieldStrings}, 0},
	TypeUINFO:      {"UINFO", []Field{FieldString}, 0},
	TypeUID:        {"UID", []Field{FieldU32}, 0},
	TypeGID:        {"GID", []Field{FieldU32}, 0},
	TypeUNSPEC:     {"UNSPEC", nil, 0},
	TypeNID:        {"NID", []Field{FieldU16, FieldID64}, 0},
	TypeL32:        {"L32", []Field{FieldU16, FieldIPv4}, 0},
	TypeL64:        {"L64", []Field{FieldU16, FieldID64}, 0},
	TypeLP:         {"LP", []Field{FieldU16, FieldName}, 0},
	TypeEUI48:      {"EUI48", []Field{FieldEUI48}, 0},
	TypeEUI64:      {"EUI64", []Field{FieldEUI64}, 0},
	TypeNXNAME:     {"NXNAME", nil, meta},
	TypeTKEY:       {"TKEY", []Field{FieldName, FieldTime, FieldTime, FieldU16, FieldError, FieldSized, FieldSized}, meta},
	TypeTSIG:       {"TSIG", []Field{FieldName, FieldTime48, FieldU16, FieldSized, FieldU16, FieldError, FieldSized}, meta},
	TypeIXFR:       {"IXFR", nil, meta},
	TypeAXFR:       {"AXFR", nil, meta},
	TypeMAILB:      {"MAILB", nil, meta},
	TypeMAILA:      {"MAILA", nil, meta},
	TypeANY:        {"ANY", nil, meta},
	TypeURI:        {"URI", []Field{FieldU16, FieldU16, FieldQuoted}, 0},
	TypeCAA:        {"CAA", []Field{FieldU8, FieldTag, FieldQuoted}, 0},
	TypeAVC:        {"AVC", []Field{FieldStrings}, 0},
	TypeDOA:        {"DOA", []Field{FieldU32, FieldU32, FieldU8, FieldString, FieldBase64OrDash}, 0},
	TypeAMTRELAY:   {"AMTRELAY", []Field{FieldRelay}, 0},
	TypeRESINFO:    {"RESINFO", []Field{FieldStrings}, 0},
	TypeWALLET:     {"WALLET", []Field{FieldStrings}, 0},
	TypeCLA:        {"CLA", []Field{FieldStrings}, 0},
	TypeIPN:        {"IPN", []Field{FieldU64}, 0},
}

// TA and DLV have the form of DS; their numbers are beyond the table.
var (
	typeTA   = typeInfo{"TA", []Field{FieldU16, FieldAlg, FieldU8, FieldHex}, 0}
	typeDLV  = typeInfo{"DLV", []Field{FieldU16, FieldAlg, FieldU8, FieldHex}, 0}
	noType   typeInfo
	typeNums = typeNumbers()
)

func typeNumbers() map[string]Type {
	m := make(map[string]Type, len(types))
	for t, name := range Mnemonics {
		m[name] = t
	}
	return m
}

// Mnemonics calls yield with each type that has a mnemonic, and with that, until it returns
// false.
func Mnemonics(yield func(t Type, name string) bool) {
	for t := range types {
		if name := types[t].name; name != "" && !yield(Type(t), name) {
			return
		}
	}
	_ = yield(TypeTA, typeTA.name) && yield(TypeDLV, typeDLV.name)
}

func (t Type) info() *typeInfo {
	switch {
	case int(t) < len(types):
		return &types[t]
	case t == TypeTA:
		return &typeTA
	case t == TypeDLV:
		return &typeDLV
	}
	return &noType
}

// Fields returns the fields of the type's RDATA, or nil for a type that is opaque.
// Do not modify.
func (t Type) Fields() []Field { return t.info().fields }

// IsMeta reports whether the type is never in a zone: questions, OPT, TSIG and the
// numbers reserved for their like (RFC 6895, section 3.1).
func (t Type) IsMeta() bool {
	return t.info().rules&meta != 0 || t == 0 || t >= 128 && t <= 255
}

// String returns the type's mnemonic, or TYPE and its number (RFC 3597, section 5).
func (t Type) String() string {
	if name := t.info().name; name != "" {
		return name
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// ParseType reads a mnemonic or TYPE and a number, without regard to case.
func ParseType(s string) (Type, bool) {
	if t, ok := typeNums[s]; ok {
		return t, true
	}
	upper := strings.ToUpper(s)
	if t, ok := typeNums[upper]; ok {
		return t, true
	}
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		return Type(n), err == nil && digits[0] != '+'
	}
	return 0, false
}

// String returns the class's mnemonic, or CLASS and its number.
func (c Class) String() string {
	switch c {
	case ClassIN:
		return "IN"
	case ClassCH:
		return "CH"
	case ClassHS:
		return "HS"
	case ClassNONE:
		return "NONE"
	case ClassANY:
		return "ANY"
	}
	return "CLASS" + strconv.Itoa(int(c))
}

// ParseClass reads a mnemonic or CLASS and a number, without regard to case.
func ParseClass(s string) (Class, bool) {
	switch upper := strings.ToUpper(s); upper {
	case "IN":
		return ClassIN, true
	case "CH", "CHAOS":
		return ClassCH, true
	case "HS", "HESIOD":
		return ClassHS, true
	case "NONE":
		return ClassNONE, true
	case "ANY":
		return ClassANY, true
	default:
		digits, ok := strings.CutPrefix(upper, "CLASS")
		n, err := strconv.ParseUint(digits, 10, 16)
		return Class(n), ok && err == nil
	}
}

// String returns the code's name in the IANA registry.
func (r Rcode) String() string {
	names := [...]string{
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
		BadVers: "BADVERS", BadKey: "BADKEY", BadTime: "BADTIME", BadMode: "BADMODE", BadName: "BADNAME", BadAlg: "BADALG",
		BadTrunc: "BADTRUNC", BadCookie: "BADCOOKIE",
	}
	if int(r) < len(names) && names[r] != "" {
		return names[r]
	}
	return "RCODE" + strconv.Itoa(int(r))
}

// String returns the opcode's name in the IANA registry.
func (o Opcode) String() string {
	names := [...]string{"QUERY", "IQUERY", "STATUS", "", "NOTIFY", "UPDATE", "DSO"}
	if int(o) < len(names) && names[o] != "" {
		return names[o]
	}
	return "OPCODE" + strconv.Itoa(int(o))
}

// A NameAt is a name within RDATA.
type NameAt struct {
	Off, Len uint16
	Compress bool // it may be compressed
	Lower    bool // it is lower case in canonical form
}

// NamesIn appends the names in good, uncompressed RDATA to dst, in their order. It
// leaves out those that are never compressed, lowered or looked up: the gateways of
// IPSECKEY, the relays of AMTRELAY and the servers of HIP.
func NamesIn(t Type, rdata []byte, dst []NameAt) []NameAt {
	info := t.info()
	at := 0
	for _, f := range info.fields {
		n, ok := f.span(rdata[at:])
		if !ok {
			return dst
		}
		if f == FieldName {
			dst = append(dst, NameAt{uint16(at), uint16(n), info.rules&compressed != 0, info.rules&lowered != 0})
		}
		at += n
	}
	return dst
}

// AppendCanonical appends the canonical form of good RDATA (RFC 4034, section 6.2).
func AppendCanonical(dst []byte, t Type, rdata []byte) []byte {
	start := len(dst)
	dst = append(dst, rdata...)
	if t.info().rules&lowered == 0 {
		return dst
	}
	at := 0
	for _, f := range t.Fields() {
		n, ok := f.span(rdata[at:])
		if !ok {
			return dst
		}
		if f == FieldName {
			for i := start + at; i < start+at+n; i++ {
				dst[i] = lower(dst[i])
			}
		}
		at += n
	}
	return dst
}

// CheckRdata reports whether uncompressed RDATA is good for its type. The error says
// which field is not.
func CheckRdata(t Type, rdata []byte) error {
	if len(rdata) > 0xFFFF {
		return fmt.Errorf("%s data of %d octets: the limit is 65535", t, len(rdata))
	}
	fields := t.Fields()
	if fields == nil {
		return nil
	}
	at := 0
	for i, f := range fields {
		n, ok := f.span(rdata[at:])
		if !ok {
			return fmt.Errorf("%s data: field %d is cut off or malformed", t, i+1)
		}
		at += n
	}
	if at != len(rdata) {
		return fmt.Errorf("%s data: %d octets behind the last field", t, len(rdata)-at)
	}
	if what := disagreement(t, rdata); what != "" {
		return fmt.Errorf("%s data: %s", t, what)
	}
	return nil
}

// disagreement says what one field of data, each of whose fields is well formed, says that
// another one contradicts; "" if there is nothing.
func disagreement(t Type, rdata []byte) string {
	switch t {
	case TypeKEY:
		// Two bits say that there is no key (RFC 2535, section 3.1.2).
		if none := rdata[0]&0xC0 == 0xC0; len(rdata) == 4 && !none {
			return "there is no key, and the flags do not say so (RFC 2535, section 3.1.2)"
		}
	case TypeNSEC3:
		const sha1 = 1
		if hash := rdata[5+int(rdata[4])]; rdata[0] == sha1 && hash != 20 {
			return fmt.Sprintf("a hash of %d octets, where SHA-1 makes 20 (RFC 5155, section 3.2)", hash)
		}
	}
	return ""
}

// Expand appends the RDATA of n octets at msg[off:] to dst, its names uncompressed,
// wherever a name may have been compressed by a server that knew the type. What it
// appends is good by [CheckRdata]. The error is a [Malformed].
func Expand(msg []byte, off, n int, t Type, dst []byte) ([]byte, error) {
	end := off + n
	if off < 0 || n < 0 || end > len(msg) {
		return dst, ShortRecord
	}
	start := len(dst)
	for _, f := range t.Fields() {
		if f != FieldName {
			size, ok := f.span(msg[off:end])
			if !ok {
				return dst, ShortRecord
			}
			dst = append(dst, msg[off:off+size]...)
			off += size
			continue
		}
		var size int
		var bad Malformed
		if dst, size, bad = AppendExpanded(dst, msg[:end], off); bad != 0 {
			return dst, bad
		}
		off += size
	}
	if t.Fields() != nil && off != end {
		return dst, ShortRecord
	}
	dst = append(dst, msg[off:end]...)
	if len(dst)-start > 0xFFFF || disagreement(t, dst[start:]) != "" {
		return dst, ShortRecord
	}
	return dst, nil
}

// maxJumps bounds the pointers followed in one name: each must land before the
// last, and a name has so many labels at most (RFC 9267, section 2).
const maxJumps = MaxLabels - 1

// AppendExpanded appends the possibly compressed name at msg[off:] to dst and
// returns how many octets it takes there.
func AppendExpanded(dst, msg []byte, off int) (name []byte, n int, bad Malformed) {
	start, limit, jumps := len(dst), off, 0
	for pos := off; ; {
		if pos >= len(msg) {
			return dst, 0, ShortName
		}
		l := int(msg[pos])
		switch {
		case l == 0:
			if jumps == 0 {
				n = pos + 1 - off
			}
			if dst = append(dst, 0); len(dst)-start > MaxName {
				return dst, 0, LongName
			}
			return dst, n, 0
		case l >= 0xC0:
			if pos+2 > len(msg) {
				return dst, 0, ShortName
			}
			to := int(binary.BigEndian.Uint16(msg[pos:])) & MaxPointer
			if to >= limit || jumps == maxJumps {
				return dst, 0, BadPointer
			}
			if jumps == 0 {
				n = pos + 2 - off
			}
			jumps++
			limit, pos = to, to
		case l > MaxLabel:
			return dst, 0, BadLabel
		default:
			if pos+l+1 > len(msg) {
				return dst, 0, ShortName
			}
			if dst = append(dst, msg[pos:pos+l+1]...); len(dst)-start >= MaxName {
				return dst, 0, LongName
			}
			pos += l + 1
		}
	}
}
