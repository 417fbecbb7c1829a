package wire_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A sample is a record's data in its three forms.
type sample struct {
	t       wire.Type
	text    string // as someone may write it
	data    []byte
	printed string // as we write it
}

// readSamples reads testdata/rdata.txt: a type, a tab and text, then on lines that
// begin with a tab the data in hexadecimal and the text that is made of it.
func readSamples(t testing.TB) []sample {
	t.Helper()
	f, err := os.Open("testdata/rdata.txt")
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
		data, err := hex.DecodeString(strings.TrimPrefix(lines.Text(), "\t"))
		if err != nil {
			t.Fatal(err)
		}
		lines.Scan()
		all = append(all, sample{typ, text, data, strings.TrimPrefix(lines.Text(), "\t")})
	}
	return all
}

// parse reads data in text form, as it stands in a zone file.
func parse(typ wire.Type, text string) ([]byte, error) {
	var data []byte
	_, err := zonefile.Read(strings.NewReader("a 1 "+typ.String()+" "+text+"\n"), zonefile.Options{Origin: wire.Root, Name: "text"},
		func(r *zonefile.Record) error {
			data = append([]byte{}, r.Data...)
			return nil
		})
	return data, err
}

func TestRdata(t *testing.T) {
	seen := map[wire.Type]bool{}
	for _, s := range readSamples(t) {
		seen[s.t] = true
		t.Run(s.t.String(), func(t *testing.T) {
			if got, err := parse(s.t, s.text); err != nil || !bytes.Equal(got, s.data) {
				t.Errorf("%s\n got %X (%v)\nwant %X", s.text, got, err, s.data)
			}
			if got := string(wire.AppendRdataText(nil, s.t, s.data)); got != s.printed {
				t.Errorf("%X\n got %s\nwant %s", s.data, got, s.printed)
			}
			if got, err := parse(s.t, s.printed); err != nil || !bytes.Equal(got, s.data) {
				t.Errorf("%s\n got %X (%v)\nwant %X", s.printed, got, err, s.data)
			}
			generic := fmt.Sprintf(`\# %d %X`, len(s.data), s.data)
			if got, err := parse(s.t, generic); err != nil || !bytes.Equal(got, s.data) {
				t.Errorf("%s\n got %X (%v)\nwant %X", generic, got, err, s.data)
			}
			if err := wire.CheckRdata(s.t, s.data); err != nil {
				t.Error(err)
			}
		})
	}
	for n := range 1 << 16 {
		if typ := wire.Type(n); !strings.HasPrefix(typ.String(), "TYPE") && !typ.IsMeta() && !seen[typ] {
			t.Errorf("testdata/rdata.txt has no sample of %s", typ)
		}
	}
}

// takesRest reports whether data of a type may end anywhere or go on for ever.
func takesRest(typ wire.Type) bool {
	fields := typ.Fields()
	if fields == nil {
		return true
	}
	switch fields[len(fields)-1] {
	case wire.FieldNames, wire.FieldStrings, wire.FieldOptString, wire.FieldQuoted, wire.FieldHex, wire.FieldNSAP, wire.FieldBase64,
		wire.FieldBase64OrNone, wire.FieldBase64OrDash, wire.FieldBitmap, wire.FieldAPL, wire.FieldParams, wire.FieldGateway, wire.FieldRelay,
		wire.FieldPorts, wire.FieldOldBitmap:
		return true
	}
	return false
}

// Data that is cut off is refused where its form has an end. Where it has none, what
// is left is either refused or is data like any other.
func TestRdataPrefixes(t *testing.T) {
	for _, s := range readSamples(t) {
		for n := range s.data {
			prefix := s.data[:n]
			err := wire.CheckRdata(s.t, prefix)
			if err == nil && !takesRest(s.t) {
				t.Errorf("%s %s: %d of %d octets are accepted", s.t, s.text, n, len(s.data))
			}
			text := string(wire.AppendRdataText(nil, s.t, prefix))
			if err != nil {
				if want := fmt.Sprintf(`\# %d`, n); !strings.HasPrefix(text, want) {
					t.Errorf("%s %X: text %q, want %s and hexadecimal digits", s.t, prefix, text, want)
				}
			} else if got, err := parse(s.t, text); err != nil || !bytes.Equal(got, prefix) {
				t.Errorf("%s %s: got %X (%v), want %X", s.t, text, got, err, prefix)
			}
			// The rest of a message behind the data changes nothing.
			if _, err2 := wire.Expand(s.data, 0, n, s.t, nil); (err == nil) != (err2 == nil) {
				t.Errorf("%s %X: CheckRdata says %v, Expand says %v", s.t, prefix, err, err2)
			}
		}
		if more := append(bytes.Clone(s.data), 0xFF); wire.CheckRdata(s.t, more) == nil && !takesRest(s.t) {
			t.Errorf("%s %s: an octet behind the data is accepted", s.t, s.text)
		}
	}
}

func TestBadRdata(t *testing.T) {
	for _, c := range []struct{ typ, data, why string }{
		{"TXT", "", "no string"},
		{"NSEC", "00 0001 00", "the last octet of a window is zero"},
		{"NSEC", "00 0000", "a window is empty"},
		{"NSEC", "00 0021 " + strings.Repeat("01", 33), "a window is longer than 32 octets"},
		{"NSEC", "00 0101 40 0001 40", "windows fall"},
		{"NSEC", "00 0001 40 0001 40", "a window is there twice"},
		{"SVCB", "0001 00 0004 0004 C0000201 0003 0002 0035", "keys fall"},
		{"SVCB", "0001 00 0003 0002 0035 0003 0002 0035", "a key is there twice"},
		{"SVCB", "0001 00 0003 0003 003500", "a port has two octets"},
		{"SVCB", "0001 00 0004 0003 C00002", "an address is cut off"},
		{"SVCB", "0001 00 0006 0004 C0000201", "an IPv6 address is cut off"},
		{"SVCB", "0001 00 0004 0000", "no address"},
		{"SVCB", "0001 00 0002 0001 00", "no-default-alpn has no value"},
		{"SVCB", "0001 00 0001 0000", "no protocol"},
		{"SVCB", "0001 00 0001 0001 00", "a protocol without a name"},
		{"SVCB", "0001 00 0001 0002 0268", "a protocol is cut off"},
		{"SVCB", "0001 00 0000 0002 0003", "a mandatory key is missing"},
		{"SVCB", "0001 00 0000 0002 0029", "a mandatory key without a name is missing"},
		{"SVCB", "0001 00 0000 0002 0000", "mandatory cannot be mandatory"},
		{"SVCB", "0001 00 0000 0004 0003 0003 0003 0002 0035", "a mandatory key is there twice"},
		{"SVCB", "0001 00 0000 0000", "mandatory is empty"},
		{"SVCB", "0001 00 FFFF 0000", "a reserved key"},
		{"SVCB", "0001 00 0009 0005 00", "a value is cut off"},
		{"SVCB", "0001 00 0009 00", "a length is cut off"},
		{"EUI48", "0011223344", "five octets"},
		{"EUI48", "00112233445566", "seven octets"},
		{"LOC", "00 A0 16 13 80000000 80000000 00989680", "a mantissa of ten"},
		{"LOC", "00 05 16 13 80000000 80000000 00989680", "nothing times 10^5"},
		{"LOC", "00 12 16 13 93504801 80000000 00989680", "north of the north pole"},
		{"LOC", "00 12 16 13 80000000 59604DFF 00989680", "west of the far side"},
		{"APL", "0001 21 00", "a prefix longer than an address"},
		{"APL", "0001 18 04 C0000200", "an octet of zero at the end"},
		{"APL", "0001 18 05 C000020001", "an address that is too long"},
		{"CAA", "00 00 61", "no tag"},
		{"CAA", "00 02 612D 61", "a tag with a hyphen"},
		{"NSEC3", "01 00 0000 00 00", "no hash"},
		{"HIP", "00 02 0001 01", "no HIT"},
		{"HIP", "01 02 0000 01", "no key"},
		{"IPSECKEY", "0A 03 02 C00C", "a compressed gateway"},
		{"NXT", "00 80", "the bit for another form"},
		{"NXT", "00 " + strings.Repeat("01", 17), "a type of 128 and more"},
		{"MX", "000A C000", "a compressed name"},
		{"MX", "000A 40", "a label type that is not known"},
		{"NS", strings.Repeat("3F"+strings.Repeat("61", 63), 4) + "00", "a name of 257 octets"},
		{"RRSIG", "0001 0D 01 00000000 00000000 00000000 0000 00", "no signature"},
		{"DNSKEY", "0100 03 0D", "no key"},
	} {
		typ, _ := wire.ParseType(c.typ)
		data, err := hex.DecodeString(strings.ReplaceAll(c.data, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", c.data, err)
		}
		if wire.CheckRdata(typ, data) == nil {
			t.Errorf("%s %s is accepted: %s", c.typ, c.data, c.why)
		}
		if got, want := string(wire.AppendRdataText(nil, typ, data)), `\# `; !strings.HasPrefix(got, want) {
			t.Errorf("%s %s: text %q, want %s", c.typ, c.data, got, want)
		}
	}
	if wire.CheckRdata(65280, make([]byte, 65536)) == nil {
		t.Error("65,536 octets are accepted")
	}
	if err := wire.CheckRdata(65280, make([]byte, 65535)); err != nil {
		t.Error(err)
	}
}

// RFC 4034, section 6.2 with RFC 6840, section 5.1 says which types are written in
// lower case, RFC 3597, section 4 which may be compressed.
func TestNameRules(t *testing.T) {
	lowered := " NS MD MF CNAME SOA MB MG MR PTR MINFO MX RP AFSDB RT SIG PX NXT NAPTR KX SRV DNAME RRSIG "
	compressed := " NS MD MF CNAME SOA MB MG MR PTR MINFO MX "
	for _, s := range readSamples(t) {
		word := " " + s.t.String() + " "
		upper := bytes.ToUpper(s.data)
		if wire.CheckRdata(s.t, upper) != nil {
			upper = s.data // letters were something else than letters
		}
		names := wire.NamesIn(s.t, upper, nil)
		want := bytes.Clone(upper)
		for _, n := range names {
			if size, err := wire.CheckName(upper[n.Off:]); err != nil || size != int(n.Len) {
				t.Errorf("%s: name at %d has %d octets (%v), NamesIn says %d", s.t, n.Off, size, err, n.Len)
			}
			if n.Lower != strings.Contains(lowered, word) || n.Compress != strings.Contains(compressed, word) {
				t.Errorf("%s: lowered %t, compressed %t", s.t, n.Lower, n.Compress)
			}
			if n.Lower {
				copy(want[n.Off:], bytes.ToLower(upper[n.Off:n.Off+n.Len]))
			}
		}
		if strings.Contains(lowered, word) && len(names) == 0 {
			t.Errorf("%s has no names", s.t)
		}
		if got := wire.AppendCanonical([]byte("x"), s.t, upper); !bytes.Equal(got[1:], want) {
			t.Errorf("%s: canonical form\n got %q\nwant %q", s.t, got[1:], want)
		}
	}
}

// Each name that may come compressed is expanded, whether it is the whole name that is
// elsewhere, or its end.
func TestExpand(t *testing.T) {
	for _, s := range readSamples(t) {
		names := wire.NamesIn(s.t, s.data, nil)
		// The names stand in front, where pointers can point to.
		var msg []byte
		offsets := make([]int, len(names))
		for i, n := range names {
			offsets[i] = len(msg)
			msg = append(msg, s.data[n.Off:n.Off+n.Len]...)
		}
		start, from := len(msg), 0
		for i, n := range names {
			msg = append(msg, s.data[from:n.Off]...)
			name := s.data[n.Off : n.Off+n.Len]
			cut := 0 // a label written out
			if i%2 == 1 && name[0] > 0 {
				cut = int(name[0]) + 1
			}
			msg = append(msg, name[:cut]...)
			msg = binary.BigEndian.AppendUint16(msg, 0xC000|uint16(offsets[i]+cut))
			from = int(n.Off + n.Len)
		}
		msg = append(msg, s.data[from:]...)
		end := len(msg)
		msg = append(msg, "what comes behind"...)
		got, err := wire.Expand(msg, start, end-start, s.t, []byte("before"))
		if err != nil || !bytes.Equal(got, append([]byte("before"), s.data...)) {
			t.Errorf("%s: got %X (%v), want %X", s.t, got, err, s.data)
		}
		if len(names) > 0 {
			for n := range end - start {
				if _, err := wire.Expand(msg[:start+n], start, n, s.t, nil); err == nil && !takesRest(s.t) {
					t.Errorf("%s: %d of %d octets are accepted", s.t, n, end-start)
				}
			}
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	// 126 pointers, each to the one before, are what a name may have; 127 are not.
	chain := func(n int) []byte {
		msg := []byte{0}
		for i := range n {
			to := 0
			if i > 0 {
				to = 2*i - 1
			}
			msg = binary.BigEndian.AppendUint16(msg, 0xC000|uint16(to))
		}
		return msg
	}
	if got, err := wire.Expand(chain(126), 251, 2, wire.TypeNS, nil); err != nil || !bytes.Equal(got, wire.Root) {
		t.Errorf("126 pointers: %X, %v", got, err)
	}
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	for _, c := range []struct {
		name   string
		msg    string
		off, n int
		want   error
	}{
		{"127 pointers", string(chain(127)), 253, 2, wire.BadPointer},
		{"pointer to itself", "\x00\xc0\x01", 1, 2, wire.BadPointer},
		{"pointer forward", "\xc0\x02\x00", 0, 2, wire.BadPointer},
		{"pointers in a ring", "\xc0\x02\xc0\x00", 2, 2, wire.BadPointer},
		{"pointer to a name that runs into the pointer", "\x01a\xc0\x00", 2, 2, wire.BadPointer},
		{"pointer cut off", "\x00\xc0", 1, 1, wire.ShortName},
		{"label cut off", "\x05abc", 0, 4, wire.ShortName},
		{"label beyond the data", "\x05abcde\x00", 0, 4, wire.ShortName},
		{"octets behind the name", "\x01a\x00\x00", 0, 4, wire.ShortRecord},
		{"label type 01", "\x41a\x00", 0, 3, wire.BadLabel},
		{"label type 10", "\x81a\x00", 0, 3, wire.BadLabel},
		{"256 octets", long + "\x3e" + strings.Repeat("b", 62) + "\x00", 0, 256, wire.LongName},
		{"256 octets with a pointer", long + "\x00\x3e" + strings.Repeat("b", 62) + "\xc0\x00", 193, 65, wire.LongName},
		{"data beyond the message", "\x00", 0, 2, wire.ShortRecord},
		{"before the message", "\x00", -1, 1, wire.ShortRecord},
		{"negative length", "\x00\x00", 1, -1, wire.ShortRecord},
	} {
		if _, err := wire.Expand([]byte(c.msg), c.off, c.n, wire.TypeNS, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	fits := long + "\x3d" + strings.Repeat("b", 61) + "\x00"
	if got, err := wire.Expand([]byte(fits), 0, 255, wire.TypeNS, nil); err != nil || string(got) != fits {
		t.Errorf("255 octets: %v", err)
	}
}

func TestTypeNames(t *testing.T) {
	mnemonics := map[wire.Type]string{}
	for typ, name := range wire.Mnemonics {
		mnemonics[typ] = name
	}
	for range wire.Mnemonics {
		break // which it has to bear
	}
	for n := range 1 << 16 {
		typ := wire.Type(n)
		if name := mnemonics[typ]; name == "" && typ.String() != fmt.Sprintf("TYPE%d", n) || name != "" && typ.String() != name {
			t.Errorf("the mnemonic of %d is %q, and its text %q", n, name, typ)
		}
		for _, s := range []string{typ.String(), strings.ToLower(typ.String()), fmt.Sprintf("TYPE%d", n), fmt.Sprintf("type%d", n)} {
			if got, ok := wire.ParseType(s); !ok || got != typ {
				t.Errorf("ParseType(%q) = %d, %t, want %d", s, got, ok, n)
			}
		}
		class := wire.Class(n)
		if got, ok := wire.ParseClass(class.String()); !ok || got != class {
			t.Errorf("ParseClass(%q) = %d, %t", class, got, ok)
		}
	}
	for _, s := range []string{"", "TYPE", "TYPE-1", "TYPE+1", "TYPE65536", "TYPE1x", "TYPE_1", "AA", "CLASS1"} {
		if got, ok := wire.ParseType(s); ok {
			t.Errorf("ParseType(%q) = %d", s, got)
		}
	}
	for _, s := range []string{"", "CLASS", "CLASS65536", "CLASS+1", "A"} {
		if got, ok := wire.ParseClass(s); ok {
			t.Errorf("ParseClass(%q) = %d", s, got)
		}
	}
	for _, c := range []struct{ got, want string }{
		{wire.NXDomain.String(), "NXDOMAIN"},
		{wire.BadCookie.String(), "BADCOOKIE"},
		{wire.Rcode(12).String(), "RCODE12"},
		{wire.Rcode(4095).String(), "RCODE4095"},
		{wire.OpcodeUpdate.String(), "UPDATE"},
		{wire.Opcode(3).String(), "OPCODE3"},
		{wire.Opcode(15).String(), "OPCODE15"},
		{wire.ClassNONE.String(), "NONE"},
		{wire.AlgorithmName(13), "ECDSAP256SHA256"},
		{wire.AlgorithmName(99), "99"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestMetaTypes(t *testing.T) {
	meta := " TYPE0 OPT NXNAME TKEY TSIG IXFR AXFR MAILB MAILA ANY "
	for n := range 1 << 16 {
		typ := wire.Type(n)
		want := strings.Contains(meta, " "+typ.String()+" ") || n >= 128 && n <= 255
		if got := typ.IsMeta(); got != want {
			t.Errorf("%s: IsMeta %t, want %t", typ, got, want)
		}
	}
}

// TSIG and TKEY are only written, never read from text.
func TestMetaText(t *testing.T) {
	data, _ := hex.DecodeString("0b686d61632d73686132353600" + "000065920080" + "012c" + "0004" + "01020304" + "3039" + "0010" + "0000")
	if got, want := string(wire.AppendRdataText(nil, wire.TypeTSIG, data)), "hmac-sha256. 1704067200 300 4 AQIDBA== 12345 BADVERS 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	data, _ = hex.DecodeString("00" + "65920080" + "65920081" + "0003" + "0000" + "0001" + "FF" + "0000")
	if got, want := string(wire.AppendRdataText(nil, wire.TypeTKEY, data)), ". 20240101000000 20240101000001 3 NOERROR 1 /w== 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRdataAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	samples := readSamples(t)
	names := make([]wire.NameAt, 0, 8)
	buf := make([]byte, 0, 1<<10)
	allocs := testing.AllocsPerRun(100, func() {
		for _, s := range samples {
			names = wire.NamesIn(s.t, s.data, names[:0])
			buf = wire.AppendCanonical(buf[:0], s.t, s.data)
			if wire.CheckRdata(s.t, s.data) != nil {
				panic("bad sample")
			}
			var err error
			if buf, err = wire.Expand(s.data, 0, len(s.data), s.t, buf[:0]); err != nil {
				panic(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzRdata holds that data which is good can be written, read back and made canonical,
// and that nothing else is taken.
func FuzzRdata(f *testing.F) {
	for _, s := range readSamples(f) {
		f.Add(uint16(s.t), s.data)
	}
	f.Fuzz(func(t *testing.T, n uint16, data []byte) {
		typ := wire.Type(n)
		text := wire.AppendRdataText(nil, typ, data)
		if bytes.ContainsAny(text, "\n\r\x00") {
			t.Fatalf("%s %q is more than a line", typ, text)
		}
		if expanded, err := wire.Expand(data, 0, len(data), typ, nil); err == nil {
			if err := wire.CheckRdata(typ, expanded); err != nil {
				t.Fatalf("Expand takes %X, CheckRdata does not: %v", data, err)
			}
		}
		if wire.CheckRdata(typ, data) != nil || typ.IsMeta() {
			return
		}
		canonical := wire.AppendCanonical(nil, typ, data)
		if err := wire.CheckRdata(typ, canonical); err != nil || len(canonical) != len(data) {
			t.Fatalf("%s: canonical form of %X is %X (%v)", typ, data, canonical, err)
		}
		for _, at := range wire.NamesIn(typ, data, nil) {
			if size, err := wire.CheckName(data[at.Off:]); err != nil || size != int(at.Len) {
				t.Fatalf("%s %X: no name of %d octets at %d", typ, data, at.Len, at.Off)
			}
		}
		got, err := parse(typ, string(text))
		if err != nil {
			t.Fatalf("%s %s: %v", typ, text, err)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("%s %s: read as %X, was %X", typ, text, got, data)
		}
	})
}

func BenchmarkAppendRdataText(b *testing.B) {
	samples := readSamples(b)
	buf := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range samples {
			buf = wire.AppendRdataText(buf[:0], s.t, s.data)
		}
	}
}

func BenchmarkNamesIn(b *testing.B) {
	samples := readSamples(b)
	names := make([]wire.NameAt, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range samples {
			names = wire.NamesIn(s.t, s.data, names[:0])
		}
	}
}

// Data each of whose fields is well formed may contradict itself: such is no data of its
// type, in whatever way it comes.
func TestRdataContradictions(t *testing.T) {
	for _, c := range []struct {
		typ  wire.Type
		data string
		good bool
	}{
		{wire.TypeKEY, "0200030D", false},      // no key
		{wire.TypeKEY, "4000030D", false},      // no key, and one that is not to be used for authentication
		{wire.TypeKEY, "C000030D", true},       // no key, and said so
		{wire.TypeKEY, "0200030D01", true},     // a key
		{wire.TypeDNSKEY, "0100030D", false},   // which always has one
		{wire.TypeCDNSKEY, "0000030000", true}, // RFC 8078, section 4
		{wire.TypeNSEC3, "0100000000" + "14" + strings.Repeat("AB", 20) + "000140", true},
		{wire.TypeNSEC3, "0100000000" + "13" + strings.Repeat("AB", 19) + "000140", false},
		{wire.TypeNSEC3, "0100000000" + "15" + strings.Repeat("AB", 21) + "000140", false},
		{wire.TypeNSEC3, "0100000A02FFFF" + "14" + strings.Repeat("AB", 20), true},
		{wire.TypeNSEC3, "0100000A02FFFF" + "01AB", false},
		{wire.TypeNSEC3, "0200000A02FFFF" + "01AB", true}, // by an algorithm that is not known
		{wire.TypeIPN, "00000000000001", false},
		{wire.TypeIPN, "0000000000000001", true},
		{wire.TypeSVCB, "000100" + "00090002001D", true},
		{wire.TypeSVCB, "000100" + "00090000", false},
		{wire.TypeSVCB, "000100" + "0009000100", false},
		{wire.TypeSVCB, "000100" + "000A0000", true},
		{wire.TypeSVCB, "000100" + "000A000203AA", false},
	} {
		data, err := hex.DecodeString(c.data)
		if err != nil {
			t.Fatal(err)
		}
		_, expanded := wire.Expand(data, 0, len(data), c.typ, nil)
		_, written := parse(c.typ, fmt.Sprintf(`\# %d %s`, len(data), c.data))
		for how, err := range map[string]error{"checked": wire.CheckRdata(c.typ, data), "received": expanded, "written": written} {
			if (err == nil) != c.good {
				t.Errorf("%s %s, %s: %v, want it good: %v", c.typ, c.data, how, err, c.good)
			}
		}
	}
	for text, good := range map[string]bool{"512 3 13": false, "512 3 13 AQ==": true, "49152 3 13": true, "NOKEY 3 13": false} {
		if _, err := parse(wire.TypeKEY, text); (err == nil) != good {
			t.Errorf("KEY %s: %v", text, err)
		}
	}
}
