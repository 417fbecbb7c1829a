package oracle

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"port53/internal/wire"
)

// theyKnow reports whether the oracle has a type's fields.
func theyKnow(typ wire.Type) bool {
	switch typ {
	case wire.TypeNULL: // it writes a comment
		return false
	case wire.TypeNXT: // it writes and reads the bitmap of NSEC, which is not NXT's (RFC 2535, section 5.2)
		return false
	}
	_, ok := dns.TypeToRR[uint16(typ)]
	return ok
}

// theyCannotRead says why the oracle does not read what we write.
func theyCannotRead(typ wire.Type, data []byte) string {
	switch typ {
	case wire.TypeX25, wire.TypeGPOS:
		return "it takes no quoted string, which RFC 1183 and RFC 1712 allow and BIND writes"
	case wire.TypeNSEC3:
		if data[5+int(data[4])] != 20 {
			return "it takes every hash for one of 20 octets"
		}
	case wire.TypeLOC:
		return "it computes seconds of arc with fractions that are not exact"
	case wire.TypeNID, wire.TypeL64:
		for i := 2; i < 10; i += 2 {
			if data[i] < 0x10 {
				return "it takes no group without its leading zeros, which RFC 4291, section 2.2 allows and BIND writes"
			}
		}
	}
	return theyCannotHold(typ, data)
}

// theyCannotHold says why the oracle has no form for data that is good.
func theyCannotHold(typ wire.Type, data []byte) string {
	if typ.Fields() != nil && len(data) > 0 && strings.HasPrefix(ourText(typ, data), `\# `) {
		return "it makes zeros of a version or a family that it does not know, and digests of any length"
	}
	switch typ {
	case wire.TypeISDN:
		if int(data[0])+1 == len(data) {
			return "it writes a subaddress where there is none"
		}
	case wire.TypeIPSECKEY:
		if len(strings.Fields(ourText(typ, data))) == 4 {
			return "it wants a key, though RFC 4025, section 2.4 has none for algorithm 0"
		}
	case wire.TypeAPL:
		for d := data; len(d) > 0; d = d[4+int(d[3]&0x7F):] {
			address := make([]byte, 16)
			copy(address, d[4:4+int(d[3]&0x7F)])
			for bit := int(d[2]); bit < 128; bit++ {
				if address[bit/8]&(0x80>>(bit%8)) != 0 {
					return "it wants the bits behind a prefix to be zero, which RFC 3123 does not"
				}
			}
		}
	case wire.TypeSVCB, wire.TypeHTTPS:
		if hasParam(data, 9) || hasParam(data, 10) {
			return "it has no names for tls-supported-groups and docpath"
		}
	case wire.TypeURI, wire.TypeCAA:
		if bytes.IndexByte(data, '\\') >= 0 {
			return "it loses a backslash"
		}
	case wire.TypeAMTRELAY:
		if data[1] >= 0x80 {
			return "it takes the discovery bit for a part of the relay's type"
		}
	}
	return ""
}

// hasParam reports whether the data of an SVCB or HTTPS record has the parameter (RFC 9460,
// section 2.2).
func hasParam(data []byte, key uint16) bool {
	at := 2
	for data[at] != 0 {
		at += 1 + int(data[at])
	}
	for at++; at < len(data); at += 4 + int(binary.BigEndian.Uint16(data[at+2:])) {
		if binary.BigEndian.Uint16(data[at:]) == key {
			return true
		}
	}
	return false
}

func TestSamples(t *testing.T) {
	for _, s := range samples(t) {
		if !theyKnow(s.t) {
			continue
		}
		compareText(t, s.t, s.data)
		if theyCannotHold(s.t, s.data) != "" {
			continue
		}
		switch {
		case s.t == wire.TypeSVCB && bytes.Contains([]byte(s.text), []byte("key3=")):
			continue // it has no generic form of a parameter that has a name (RFC 9460, section 2.1)
		case s.t == wire.TypeNSEC3 && bytes.Contains([]byte(s.text), []byte("MX DNSKEY NS")):
			continue // it wants the types in their order, which RFC 4034, section 4.2 does not
		}
		if got, err := theirData(s.t, s.text); err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("%s %s: ours %X, theirs %X (%v)", s.t, s.text, s.data, got, err)
		}
	}
}

func compareText(t *testing.T, typ wire.Type, data []byte) {
	t.Helper()
	ours := ourText(typ, data)
	if got, err := theirData(typ, ours); (err != nil || !bytes.Equal(got, data)) && theyCannotRead(typ, data) == "" {
		t.Errorf("%s %s: ours %X, theirs %X (%v)", typ, ours, data, got, err)
	}
	if typ == wire.TypeX25 || typ == wire.TypeGPOS {
		return // what is not plain it writes in a way that nobody can read
	}
	theirs, err := theirText(typ, data)
	if theyCannotHold(typ, data) != "" {
		return
	}
	if err != nil {
		t.Errorf("%s %s: %X: they refuse: %v", typ, ours, data, err)
		return
	}
	if got, err := ourData(typ, theirs); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s %s (theirs): ours %X (%v), theirs %X", typ, theirs, got, err, data)
	}
}

func TestRandomData(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 53))
	seen := map[wire.Type]bool{}
	for _, s := range samples(t) {
		if seen[s.t] || !theyKnow(s.t) {
			continue
		}
		seen[s.t] = true
		for range 1000 {
			compareText(t, s.t, randomData(r, s.t))
		}
	}
}

// FuzzData holds that data which is good to us is good to the oracle and means the same
// in text, both ways.
func FuzzData(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(uint16(s.t), s.data)
	}
	f.Fuzz(func(t *testing.T, n uint16, data []byte) {
		typ := wire.Type(n)
		if typ.IsMeta() || !theyKnow(typ) || wire.CheckRdata(typ, data) != nil || namesUnknownType(typ, data) {
			return
		}
		compareText(t, typ, data)
	})
}

// namesUnknownType reports whether the data has a type that the two call by different
// names.
func namesUnknownType(typ wire.Type, data []byte) bool {
	switch typ {
	case wire.TypeNSEC, wire.TypeNSEC3, wire.TypeCSYNC, wire.TypeRRSIG, wire.TypeSIG:
	default:
		return false
	}
	for word := range strings.FieldsSeq(ourText(typ, data)) {
		if t, ok := wire.ParseType(word); ok && sameName(uint16(t)) == "" {
			return true
		}
	}
	return false
}
