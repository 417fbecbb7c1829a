package oracle

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// A record is one record of a zone, its names as octets, so that both sides can
// be compared.
type record struct {
	owner string
	typ   uint16
	ttl   uint32
	data  string
}

func (r record) String() string {
	return strings.TrimSpace(string(zonefile.AppendRecord(nil, []byte(r.owner), r.ttl, wire.Type(r.typ), []byte(r.data))))
}

func ourZone(text, origin string, files fs.FS) ([]record, error) {
	name, err := wire.ParseName(origin)
	if err != nil {
		return nil, err
	}
	var all []record
	_, err = zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: name, Name: "zone", FS: files, Generate: 1000}, func(r *zonefile.Record) error {
		all = append(all, record{string(r.Owner), uint16(r.Type), r.TTL, string(r.Data)})
		return nil
	})
	return all, err
}

func theirZone(text, origin string, files fs.FS) ([]record, error) {
	parser := dns.NewZoneParser(strings.NewReader(text), origin, "zone")
	if files != nil {
		parser.SetIncludeAllowed(true)
		parser.SetIncludeFS(files)
	}
	var all []record
	buf := make([]byte, 1<<17)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			return all, fmt.Errorf("%s: %w", rr, err)
		}
		owner, err := wire.CheckName(buf)
		if err != nil {
			return all, err
		}
		all = append(all, record{string(buf[:owner]), rr.Header().Rrtype, rr.Header().Ttl, string(buf[owner+10 : n])})
	}
	return all, parser.Err()
}

func compareZones(t *testing.T, text, origin string, files fs.FS) {
	t.Helper()
	ours, err := ourZone(text, origin, files)
	if err != nil {
		t.Errorf("ours: %v", err)
		return
	}
	theirs, err := theirZone(text, origin, files)
	if err != nil {
		t.Errorf("theirs: %v", err)
	}
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			t.Errorf("record %d:\nours   %s\ntheirs %s", i+1, ours[i], theirs[i])
			return
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("%d records, theirs %d", len(ours), len(theirs))
	}
}

// TestZones reads one text by both.
func TestZones(t *testing.T) {
	files := fstest.MapFS{
		"hosts": {Data: []byte("host A 192.0.2.1\n AAAA 2001:db8::1\n$ORIGIN below\nhost A 192.0.2.2\n")},
	}
	for name, text := range map[string]string{
		"RFC 1035": `@   IN  SOA     VENERA      Action\.domains (
                                 20     ; SERIAL
                                 7200   ; REFRESH
                                 600    ; RETRY
                                 3600000; EXPIRE
                                 60)    ; MINIMUM

        NS      A.ISI.EDU.
        NS      VENERA
        NS      VAXA
        MX      10      VENERA
        MX      20      VAXA

A       A       26.3.0.103

VENERA  A       10.1.0.52
        A       128.9.0.32

VAXA    A       10.2.0.27
        A       128.9.0.33
`,
		"TTLs": "$TTL 1h30m\na A 192.0.2.1\na 60 A 192.0.2.2\na IN 61 A 192.0.2.3\na 62 IN A 192.0.2.4\na A 192.0.2.5\n" +
			"$TTL 1w2d\na A 192.0.2.6\n$TTL 0\na A 192.0.2.7\na 2147483647 A 192.0.2.8\n",
		"owners": "$TTL 1\n@ A 192.0.2.1\n  A 192.0.2.2\n\tA 192.0.2.3\nwww A 192.0.2.4\n*.www A 192.0.2.5\n. A 192.0.2.6\n" +
			"a\\.b A 192.0.2.7\na\\032b A 192.0.2.8\n\\000\\255 A 192.0.2.9\n$ORIGIN sub\n@ A 192.0.2.10\na A 192.0.2.11\n",
		"layout": "; comment\n\n$TTL 1;x\na\tA\t192.0.2.1;x\na ( A\n 192.0.2.2 )\na TXT ( \"a\" ; one\n\"b\" ( c )\n) d\n" +
			"a TXT \"semicolon ; and ( in quotes\" x\\;y\na TXT \"\" \"a\\\"b\" \"\\\\\"\na TXT \"tab\\009\"\n",
		"line ends": "$TTL 1\r\na A 192.0.2.1\r\na TXT ( a\r\n b )\r\n",
		"include":   "$TTL 1\n@ A 192.0.2.1\n$INCLUDE hosts\n$INCLUDE hosts child\nb A 192.0.2.3\n",
		"generate":  "$GENERATE 1-3 a$ 1 A 192.0.2.$\n$GENERATE 0-10/5 b${10} 2 IN CNAME c${0,3}\n$GENERATE 254-256 h${0,4,x} 3 A 192.0.2.1\n", // it forgets $TTL
		"generic":   "$TTL 1\na TYPE65280 \\# 4 0A000001\na TYPE65280 \\# 0\na A \\# 4 0A 00 00 01\na TYPE1 \\# 4 0A000001\na CLASS1 TYPE28 \\# 16 20010db8000000000000000000000001\n",
		"services": "$TTL 1\na SVCB 0 b\na HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1,192.0.2.2\na SVCB 16 b mandatory=ipv4hint,alpn alpn=h2 ipv4hint=192.0.2.1\n" +
			"a SVCB 1 . key667=\"hello\\210qoo\"\na SVCB 1 . alpn=\"f\\\\\\\\oo\\\\,bar,h2\"\na SVCB 1 . dohpath=/dns-query{?dns} no-default-alpn alpn=dot\n",
	} {
		t.Run(name, func(t *testing.T) { compareZones(t, "$TTL 5\n"+text, "example.", files) })
	}
}

// TestSampleZone reads all samples as one zone.
func TestSampleZone(t *testing.T) {
	var text strings.Builder
	for i, s := range samples(t) {
		// It takes the end of the line of IPSECKEY and AMTRELAY for a part of the data.
		if theyKnow(s.t) && theyCannotRead(s.t, s.data) == "" && s.t != wire.TypeIPSECKEY && s.t != wire.TypeAMTRELAY {
			fmt.Fprintf(&text, "r%d\t%d\tIN %s %s\n", i, i, s.t, ourText(s.t, s.data))
		}
	}
	compareZones(t, text.String(), "example.", nil)
}

// TestRootZones reads root zones.
func TestRootZones(t *testing.T) {
	dnstest.Roots(t, func(t *testing.T, r *dnstest.Root) {
		text := string(r.Text)
		compareZones(t, text, ".", nil)
		// What is written is read back as the same.
		ours, err := ourZone(text, ".", nil)
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		for _, r := range ours {
			again.WriteString(r.String() + "\n")
		}
		compareZones(t, again.String(), "other.", nil)
		if twice, err := ourZone(again.String(), "other.", nil); err != nil || !slices.Equal(ours, twice) {
			t.Errorf("%d records, written and read back %d: %v", len(ours), len(twice), err)
		}
		t.Log(strconv.Itoa(len(ours)) + " records")
	})
}
