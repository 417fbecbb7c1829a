package oracle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A sample is a record's data as someone may write it, and its octets.
type sample struct {
	t    wire.Type
	text string
	data []byte
}

// samples returns those of package wire: one or more of each type.
func samples(t testing.TB) []sample {
	t.Helper()
	f, err := os.Open("../internal/wire/testdata/rdata.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []sample
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		mnemonic, text, _ := strings.Cut(lines.Text(), "\t")
		typ, ok := wire.ParseType(mnemonic)
		if !ok {
			t.Fatalf("%q is no type", mnemonic)
		}
		lines.Scan()
		data, err := hex.DecodeString(strings.TrimSpace(lines.Text()))
		if err != nil {
			t.Fatal(err)
		}
		lines.Scan()
		all = append(all, sample{typ, text, data})
	}
	return all
}

// ourData reads data in text form.
func ourData(typ wire.Type, text string) ([]byte, error) {
	var data []byte
	_, err := zonefile.Read(strings.NewReader("a. 1 IN "+typ.String()+" "+text+"\n"), zonefile.Options{Origin: wire.Root, Name: "text"},
		func(r *zonefile.Record) error {
			data = append([]byte{}, r.Data...)
			return nil
		})
	return data, err
}

// ourText writes data.
func ourText(typ wire.Type, data []byte) string { return string(wire.AppendRdataText(nil, typ, data)) }

// theirData reads data in text form.
func theirData(typ wire.Type, text string) ([]byte, error) {
	rr, err := dns.NewRR("a. 1 IN " + typ.String() + " " + text)
	if err != nil {
		return nil, err
	}
	if rr == nil {
		return nil, fmt.Errorf("no record")
	}
	return theirPack(rr)
}

func theirPack(rr dns.RR) ([]byte, error) {
	buf := make([]byte, 1<<17)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	owner, err := wire.CheckName(buf)
	if err != nil {
		return nil, err
	}
	return buf[owner+10 : n], nil
}

// theirText writes data; the error says why it is none.
func theirText(typ wire.Type, data []byte) (string, error) {
	msg := []byte("\x01a\x00")
	msg = binary.BigEndian.AppendUint16(msg, uint16(typ))
	msg = append(msg, 0, 1, 0, 0, 0, 1)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
	msg = append(msg, data...)
	rr, n, err := dns.UnpackRR(msg, 0)
	if err != nil {
		return "", err
	}
	if n != len(msg) {
		return "", fmt.Errorf("%d of %d octets taken", n, len(msg))
	}
	again, err := theirPack(rr)
	if err != nil {
		return "", fmt.Errorf("cannot be packed: %w", err)
	}
	if !bytes.Equal(again, data) {
		return "", fmt.Errorf("packed as %X", again)
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String()), nil
}

// randomData makes good data of a type, field by field.
func randomData(r *rand.Rand, typ wire.Type) []byte {
	fields := typ.Fields()
	if fields == nil {
		return randomOctets(r, r.IntN(20))
	}
	for {
		var d []byte
		for _, f := range fields {
			d = appendRandom(d, r, f)
		}
		if wire.CheckRdata(typ, d) == nil {
			return d
		}
	}
}

func randomOctets(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(r.Uint32()); r.IntN(2) == 0 {
			b[i] = `abcxyzABC019-_."\;()@$ ,=`[r.IntN(25)]
		}
	}
	return b
}

// randomType returns a type that both sides call by the same name.
func randomType(r *rand.Rand) uint16 {
	for {
		t := uint16(1 + r.IntN(300))
		if r.IntN(10) == 0 {
			t = uint16(1 + r.IntN(65535))
		}
		if sameName(t) != "" {
			return t
		}
	}
}

// sameName returns how both sides call a type, or nothing if they differ.
func sameName(t uint16) string {
	theirs, ok := dns.TypeToString[t]
	if !ok {
		theirs = fmt.Sprintf("TYPE%d", t)
	}
	if theirs != wire.Type(t).String() {
		return ""
	}
	return theirs
}

func randomName(r *rand.Rand) []byte {
	var name []byte
	for range r.IntN(4) {
		label := randomOctets(r, 1+r.IntN(8))
		name = append(append(name, byte(len(label))), label...)
	}
	return append(name, 0)
}

func randomString(r *rand.Rand, least int) []byte {
	n := least + r.IntN(10)
	if r.IntN(20) == 0 {
		n = 255
	}
	return append([]byte{byte(n)}, randomOctets(r, n)...)
}

func appendRandom(d []byte, r *rand.Rand, f wire.Field) []byte {
	switch f {
	case wire.FieldU8, wire.FieldAlg, wire.FieldAlgName, wire.FieldScheme, wire.FieldProtocol:
		return append(d, byte(r.IntN(256)>>r.IntN(8)))
	case wire.FieldU16, wire.FieldCertType:
		return append(d, randomOctets(r, 2)...)
	case wire.FieldType:
		return binary.BigEndian.AppendUint16(d, randomType(r))
	case wire.FieldU32, wire.FieldTTL, wire.FieldTime, wire.FieldIPv4:
		return append(d, randomOctets(r, 4)...)
	case wire.FieldEUI48:
		return append(d, randomOctets(r, 6)...)
	case wire.FieldEUI64, wire.FieldID64:
		return append(d, randomOctets(r, 8)...)
	case wire.FieldIPv6:
		a := randomOctets(r, 16)
		if r.IntN(2) == 0 {
			clear(a[r.IntN(8) : 8+r.IntN(9)])
		}
		return append(d, a...)
	case wire.FieldName:
		return append(d, randomName(r)...)
	case wire.FieldNames:
		for range r.IntN(3) {
			d = append(d, randomName(r)...)
		}
		return d
	case wire.FieldString, wire.FieldSalt:
		return append(d, randomString(r, 0)...)
	case wire.FieldHash:
		return append(d, randomString(r, 1)...)
	case wire.FieldOptString:
		if r.IntN(2) == 0 {
			return d
		}
		return append(d, randomString(r, 0)...)
	case wire.FieldStrings:
		for range 1 + r.IntN(3) {
			d = append(d, randomString(r, 0)...)
		}
		return d
	case wire.FieldTag:
		return append(d, "\x05issue"...)
	case wire.FieldHex, wire.FieldNSAP, wire.FieldBase64:
		return append(d, randomOctets(r, 1+r.IntN(40))...)
	case wire.FieldQuoted, wire.FieldBase64OrNone, wire.FieldBase64OrDash:
		return append(d, randomOctets(r, r.IntN(40))...)
	case wire.FieldPorts, wire.FieldOldBitmap:
		return append(d, randomOctets(r, 1+r.IntN(16))...)
	case wire.FieldBitmap:
		windows := map[int][]byte{}
		for range r.IntN(20) {
			t := randomType(r)
			bits := windows[int(t>>8)]
			for len(bits) <= int(t>>3&31) {
				bits = append(bits, 0)
			}
			bits[t>>3&31] |= 0x80 >> (t & 7)
			windows[int(t>>8)] = bits
		}
		for window := range 256 {
			if bits := windows[window]; bits != nil {
				d = append(append(d, byte(window), byte(len(bits))), bits...)
			}
		}
		return d
	case wire.FieldLOC:
		d = append(d, 0)
		for range 3 {
			d = append(d, byte(r.IntN(10)<<4|r.IntN(10)))
		}
		d = binary.BigEndian.AppendUint32(d, uint32(1<<31-90*3600000+r.IntN(180*3600000)))
		d = binary.BigEndian.AppendUint32(d, uint32(1<<31-180*3600000+r.IntN(360*3600000)))
		return binary.BigEndian.AppendUint32(d, r.Uint32())
	case wire.FieldAPL:
		for range r.IntN(4) {
			n := r.IntN(5)
			d = append(d, 0, byte(1+r.IntN(2)), byte(r.IntN(33)), byte(n|r.IntN(2)<<7))
			if n > 0 {
				d = append(append(d, randomOctets(r, n-1)...), byte(1+r.IntN(255)))
			}
		}
		return d
	case wire.FieldParams:
		for key := r.IntN(3); key < 12; key += 1 + r.IntN(5) {
			var v []byte
			switch key {
			case 0:
				v = []byte{0, byte(1 + r.IntN(8))}
			case 1:
				for range 1 + r.IntN(3) {
					v = append(v, randomString(r, 1)...)
				}
			case 2, 8:
			case 3:
				v = randomOctets(r, 2)
			case 4:
				v = randomOctets(r, 4*(1+r.IntN(3)))
			case 6:
				v = randomOctets(r, 16*(1+r.IntN(3)))
			default:
				v = randomOctets(r, 1+r.IntN(10))
			}
			d = binary.BigEndian.AppendUint16(d, uint16(key))
			d = append(binary.BigEndian.AppendUint16(d, uint16(len(v))), v...)
		}
		return d
	case wire.FieldHIP:
		hit, key := randomOctets(r, 1+r.IntN(16)), randomOctets(r, 1+r.IntN(16))
		d = append(d, byte(len(hit)), byte(r.IntN(4)), 0, byte(len(key)))
		return append(append(d, hit...), key...)
	case wire.FieldGateway, wire.FieldRelay:
		kind := r.IntN(4)
		if f == wire.FieldGateway {
			d = append(d, byte(r.IntN(256)), byte(kind), byte(r.IntN(4)))
		} else {
			d = append(d, byte(r.IntN(256)), byte(kind|r.IntN(2)<<7))
		}
		switch kind {
		case 1:
			d = append(d, randomOctets(r, 4)...)
		case 2:
			d = append(d, randomOctets(r, 16)...)
		case 3:
			d = append(d, randomName(r)...)
		}
		if f == wire.FieldGateway {
			d = append(d, randomOctets(r, 1+r.IntN(20))...)
		}
		return d
	}
	panic(fmt.Sprintf("field %d is not known here", f))
}
