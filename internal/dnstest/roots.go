package dnstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/lab"
	"port53/internal/wire"
	"port53/internal/zonefile"
)

// RootVariable names an environment variable with the path of a published root zone, with all
// its signatures, as "dig . AXFR" prints it.
const RootVariable = "PORT53_ROOT_ZONE"

// A Root is a signed root zone.
type Root struct {
	Text      []byte    // a zone file
	At        time.Time // when its signatures are valid
	Published bool      // it is the one of RootVariable, signed by a key that IANA published
	Anchor    []byte    // RDATA of the DS record of the key that signs it, if it was made here
}

// Roots runs f on a root zone that is made here, with 400 top-level domains, of which every
// fifth is unsigned, and on a published one if RootVariable is set.
func Roots(t *testing.T, f func(t *testing.T, r *Root)) {
	t.Run("made", func(t *testing.T) { f(t, makeRoot(t, 400)) })
	t.Run("published", func(t *testing.T) {
		path := os.Getenv(RootVariable)
		if path == "" {
			t.Skip("missing: a published root zone (set " + RootVariable + ")")
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f(t, &Root{Text: text, At: soaSigned(t, text).Add(time.Hour), Published: true})
	})
}

// makeRoot makes a root zone with that many top-level domains, signed with NSEC.
func makeRoot(t *testing.T, domains int) *Root {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ksk, err := lab.NewKey(". ksk", 13, dnssec.FlagZone|dnssec.FlagSEP)
	if err != nil {
		t.Fatal(err)
	}
	zsk, err := lab.NewKey(". zsk", 8, dnssec.FlagZone)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(`. 86400 IN SOA a.root-servers.net. nstld.example. 2026010200 1800 900 604800 86400
. 518400 IN NS a.root-servers.net.
a.root-servers.net. 518400 IN A 198.41.0.4
net. 172800 IN NS a.gtld-servers.net.
a.gtld-servers.net. 172800 IN A 192.0.2.30
`)
	for i := range domains - 1 {
		tld := fmt.Sprintf("t%d", i*7919%100_003) // in no order
		if i%10 == 0 {
			tld = "xn--" + tld
		}
		fmt.Fprintf(
			&b,
			"%[1]s. 172800 IN NS ns1.nic.%[1]s.\n%[1]s. 172800 IN NS a.gtld-servers.net.\nns1.nic.%[1]s. 172800 IN A 192.0.2.%[2]d\n",
			tld,
			i%256,
		)
		if i%5 != 0 {
			fmt.Fprintf(&b, "%s. 86400 IN DS %d 13 2 %064x\n", tld, i, i)
		}
	}
	records, err := lab.Sign(wire.Root, readRecords(t, []byte(b.String())), &lab.Signing{
		KSKs: []*lab.Key{ksk}, ZSKs: []*lab.Key{zsk}, Inception: at.AddDate(0, 0, -1), Expiration: at.AddDate(0, 0, 13),
	})
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, r := range records {
		text = fmt.Appendf(wire.AppendName(text, r.Owner), "\t%d\tIN\t%v\t", r.TTL, r.Type)
		text = append(wire.AppendRdataText(text, r.Type, r.Data), '\n')
	}
	anchor, ok := dnssec.AppendDS(nil, wire.Root, ksk.DNSKEY, 2)
	if !ok {
		t.Fatal("no DS record for the root's key")
	}
	return &Root{Text: text, At: at, Anchor: anchor}
}

// soaSigned returns the inception of the signature of a zone's SOA record.
func soaSigned(t *testing.T, text []byte) time.Time {
	t.Helper()
	for _, r := range readRecords(t, text) {
		if r.Type == wire.TypeRRSIG && wire.Covered(r.Data) == wire.TypeSOA {
			return time.Unix(int64(binary.BigEndian.Uint32(r.Data[12:])), 0) // RFC 4034, section 3.1
		}
	}
	t.Fatal("the root zone is not signed")
	return time.Time{}
}

func readRecords(t *testing.T, text []byte) []lab.Record {
	t.Helper()
	var records []lab.Record
	_, err := zonefile.Read(bytes.NewReader(text), zonefile.Options{Origin: wire.Root}, func(r *zonefile.Record) error {
		records = append(records, lab.Record{Owner: bytes.Clone(r.Owner), Type: r.Type, TTL: r.TTL, Data: bytes.Clone(r.Data)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}
