package query

import (
	"fmt"
	"net/netip"
	"strings"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// chunk is how many characters of base64 or hexadecimal stand in one line: dig's.
const chunk = 56

// indent stands before the lines of data that is written over several.
const indent = "\t\t\t\t"

// data returns the RDATA of rr as the style has it.
func (s *Style) data(rr *wire.Record) string {
	if s.Generic {
		return genericData(rr.Data)
	}
	text := string(wire.AppendRdataText(nil, rr.Type, rr.Data))
	if addr, ok := netip.AddrFromSlice(rr.Data); ok && s.LongAAAA && rr.Type == wire.TypeAAAA {
		text = addr.StringExpanded()
	}
	if s.NoCrypto {
		text = withoutCrypto(rr, text)
	}
	if s.Unicode {
		text = withUnicode(text)
	}
	switch {
	case s.Multiline:
		return manyLines(rr, text)
	case s.Notes:
		if note := noteOf(rr); note != "" {
			return text + "  ; " + note
		}
	}
	return text
}

// genericData writes data as that of an unknown type (RFC 3597, section 5).
func genericData(data []byte) string {
	if len(data) == 0 {
		return `\# 0`
	}
	return fmt.Sprintf(`\# %d %X`, len(data), data)
}

// withoutCrypto replaces a key by its tag, and a signature or digest by a word.
func withoutCrypto(rr *wire.Record, text string) string {
	at, word := 0, "[omitted]"
	switch rr.Type {
	case wire.TypeDNSKEY, wire.TypeCDNSKEY, wire.TypeKEY:
		at, word = 3, fmt.Sprintf("[key id = %d]", dnssec.KeyTag(rr.Data))
	case wire.TypeRRSIG, wire.TypeSIG:
		at = 8
	case wire.TypeDS, wire.TypeCDS, wire.TypeDLV:
		at = 3
	default:
		return text
	}
	fields := strings.Fields(text)
	if strings.HasPrefix(text, `\#`) || len(fields) <= at {
		return text
	}
	return strings.Join(append(fields[:at], word), " ")
}

// noteOf says what the numbers of a record mean.
func noteOf(rr *wire.Record) string {
	switch rr.Type {
	case wire.TypeDNSKEY, wire.TypeCDNSKEY, wire.TypeKEY:
		if len(rr.Data) < 4 {
			return ""
		}
		kind := "ZSK"
		if rr.Data[1]&1 != 0 { // RFC 4034, section 2.1.1
			kind = "KSK"
		}
		if rr.Data[1]&0x80 != 0 { // RFC 5011, section 3
			kind += "; revoked"
		}
		return fmt.Sprintf("%s; alg = %s ; key id = %d", kind, wire.AlgorithmName(rr.Data[3]), dnssec.KeyTag(rr.Data))
	}
	return ""
}

// manyLines writes the data of SOA, and what ends in long base64 or hexadecimal, in
// parentheses over several lines.
func manyLines(rr *wire.Record, text string) string {
	fields := strings.Fields(text)
	if rr.Type == wire.TypeSOA && len(fields) == 7 {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s (\n", fields[0], fields[1])
		for i, what := range [...]string{"serial", "refresh", "retry", "expire", "minimum"} {
			v := be32(rr.Data[len(rr.Data)-20+4*i:])
			fmt.Fprintf(&b, "%s%-10d ; %s", indent, v, what)
			if i > 0 {
				fmt.Fprintf(&b, " (%s)", units(v))
			}
			b.WriteByte('\n')
		}
		b.WriteString(indent + ")")
		return b.String()
	}
	note := noteOf(rr)
	if note != "" {
		note = " ; " + note
	}
	at := 0 // the fields before the long one
	switch rr.Type {
	case wire.TypeDNSKEY,
		wire.TypeCDNSKEY,
		wire.TypeKEY,
		wire.TypeDS,
		wire.TypeCDS,
		wire.TypeDLV,
		wire.TypeTLSA,
		wire.TypeSMIMEA,
		wire.TypeCERT,
		wire.TypeZONEMD:
		at = 3
	case wire.TypeRRSIG, wire.TypeSIG:
		at = 8
	case wire.TypeSSHFP:
		at = 2
	case wire.TypeOPENPGPKEY, wire.TypeDHCID:
	default:
		return text
	}
	if len(fields) <= at || strings.HasPrefix(text, `\#`) || strings.HasPrefix(fields[at], "[") {
		return text + note
	}
	long := strings.Join(fields[at:], "")
	if len(long) <= chunk && note == "" {
		return text
	}
	b := strings.Join(fields[:at], " ")
	b = strings.TrimPrefix(b+" (", " ") + "\n"
	for len(long) > 0 {
		n := min(chunk, len(long))
		b += indent + long[:n] + "\n"
		long = long[n:]
	}
	return b + indent + ")" + note
}
