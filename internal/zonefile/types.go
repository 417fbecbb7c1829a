package zonefile

import (
	"strconv"
	"strings"

	"port53/internal/wire"
)

// Mnemonics of up to eight letters are found by their letters as one number, in a
// small table; the rest, and TYPEnnn, by package wire.

const typeSlots = 512

type typeSlot struct {
	key uint64
	t   wire.Type
}

//nolint:gochecknoglobals // read-only
var typeTable = makeTypeTable()

func makeTypeTable() *[typeSlots]typeSlot {
	var table [typeSlots]typeSlot
	for n := range 1 << 16 {
		t := wire.Type(n)
		name := t.String()
		if len(name) > 8 || strings.HasPrefix(name, "TYPE") {
			continue
		}
		key := letters([]byte(name))
		slot := typeHash(key)
		for table[slot].key != 0 {
			slot = (slot + 1) % typeSlots
		}
		table[slot] = typeSlot{key, t}
	}
	return &table
}

// letters packs up to eight octets, ASCII letters in upper case.
func letters(text []byte) uint64 {
	var key uint64
	for _, c := range text {
		if c-'a' < 26 {
			c -= 'a' - 'A'
		}
		key = key<<8 | uint64(c)
	}
	return key
}

func typeHash(key uint64) uint64 { return key * 0x9E3779B97F4A7C15 >> 55 % typeSlots }

// typeOf reads a type.
func (p *parser) typeOf(t token) (wire.Type, error) {
	text := p.text(t)
	if len(text) <= 8 && len(text) > 0 && !t.quoted {
		key := letters(text)
		for slot := typeHash(key); typeTable[slot].key != 0; slot = (slot + 1) % typeSlots {
			if typeTable[slot].key == key {
				return typeTable[slot].t, nil
			}
		}
	}
	if found, ok := wire.ParseType(string(text)); ok && !t.quoted {
		return found, nil
	}
	return 0, faultf(int(t.from), "%q is not a record type", text)
}

// algorithms are the mnemonics of DNSSEC algorithms in the IANA registry.
func algorithm(text string) (uint8, bool) {
	switch strings.ToUpper(text) {
	case "RSAMD5":
		return 1, true
	case "DH":
		return 2, true
	case "DSA":
		return 3, true
	case "RSASHA1":
		return 5, true
	case "DSA-NSEC3-SHA1", "NSEC3DSA":
		return 6, true
	case "RSASHA1-NSEC3-SHA1", "NSEC3RSASHA1":
		return 7, true
	case "RSASHA256":
		return 8, true
	case "RSASHA512":
		return 10, true
	case "ECC-GOST", "ECCGOST":
		return 12, true
	case "ECDSAP256SHA256":
		return 13, true
	case "ECDSAP384SHA384":
		return 14, true
	case "ED25519":
		return 15, true
	case "ED448":
		return 16, true
	case "INDIRECT":
		return 252, true
	case "PRIVATEDNS":
		return 253, true
	case "PRIVATEOID":
		return 254, true
	}
	n, err := strconv.ParseUint(text, 10, 8)
	return uint8(n), err == nil
}

// certificateType reads a type of CERT (RFC 4398, section 2.1).
func certificateType(text string) (uint16, bool) {
	switch strings.ToUpper(text) {
	case "PKIX":
		return 1, true
	case "SPKI":
		return 2, true
	case "PGP":
		return 3, true
	case "IPKIX":
		return 4, true
	case "ISPKI":
		return 5, true
	case "IPGP":
		return 6, true
	case "ACPKIX":
		return 7, true
	case "IACPKIX":
		return 8, true
	case "URI":
		return 253, true
	case "OID":
		return 254, true
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil
}
