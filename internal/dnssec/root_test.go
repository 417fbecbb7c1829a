package dnssec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// anchor2017 is the DS record of the root's key with tag 20326, as IANA publishes it.
const anchor2017 = "4F660802E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"

// rootZone reads a published root zone, if it is there, and returns its keys, validated
// by the anchor.
func rootZone(t testing.TB, file string, at time.Time) (all []*wire.RRset, keys []dnssec.Key) {
	t.Helper()
	text, err := os.ReadFile("../../../shared/data/" + file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not beside the project", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := hex.DecodeString(anchor2017)
	if err != nil {
		t.Fatal(err)
	}
	all = sets(t, text)
	var entry []dnssec.Key
	dnskey := one(t, all, wire.TypeDNSKEY)
	for _, d := range dnskey.Data {
		k, ok := dnssec.ParseKey(d)
		if !ok {
			t.Fatal("a key of the root is none")
		}
		keys = append(keys, k)
		if dnssec.MatchDS(anchor, wire.Root, d) {
			entry = append(entry, k)
		}
	}
	if _, why := dnssec.Verify(dnskey, wire.Root, entry, at, work()); why != 0 || len(entry) != 1 || entry[0].Tag != 20326 {
		t.Fatalf("DNSKEY: %v with %d keys of the anchor", why, len(entry))
	}
	return all, keys
}

// TestRootZone verifies every signature of the published root zone of 2020, from the
// anchor of 2017 on, walks its NSEC chain, and asks the chain for what it proves.
func TestRootZone(t *testing.T) {
	at := time.Date(2020, 10, 20, 0, 0, 0, 0, time.UTC)
	all, keys := rootZone(t, "root-2020101902.zone", at)
	signatures, signedDS := 0, 0
	chain := map[string]*wire.RRset{}
	types := map[string][]wire.Type{}
	for _, s := range all {
		if s.Type == wire.TypeNSEC {
			chain[string(s.Owner)] = s
		}
		if len(s.Data) > 0 && (len(s.Sigs) > 0 || s.Type == wire.TypeNS) {
			types[string(s.Owner)] = append(types[string(s.Owner)], s.Type)
		}
		if s.Type == wire.TypeDS {
			signedDS++
		}
		for _, sig := range s.Sigs {
			alone := *s
			alone.Sigs = [][]byte{sig}
			v, why := dnssec.Verify(&alone, wire.Root, keys, at, work())
			if why != 0 || v.Wildcard || v.TTL != s.TTL {
				t.Errorf("%s %v: %+v %v", wire.AppendName(nil, s.Owner), s.Type, v, why)
			}
			signatures++
		}
	}
	if signatures != 2884 || signedDS < 1300 || len(chain) < 1500 {
		t.Errorf("%d signatures, %d DS sets, %d NSEC records: the zone is not the one expected", signatures, signedDS, len(chain))
	}
	steps, unsigned := 0, 0
	for n := string(wire.Root); ; steps++ {
		s := chain[n]
		if s == nil || steps > len(chain) {
			t.Fatalf("the chain ends or turns at %s", wire.AppendName(nil, []byte(n)))
		}
		end, _ := wire.CheckName(s.Data[0])
		bits := s.Data[0][end:]
		for _, typ := range types[n] {
			if !wire.BitmapHas(bits, typ) {
				t.Errorf("%s: %v is not in its bit map", wire.AppendName(nil, s.Owner), typ)
			}
		}
		unsigned += link(t, chain, s)
		if n = string(wire.Lower(nil, s.Data[0][:end])); n == string(wire.Root) {
			break
		}
	}
	if steps+1 != len(chain) {
		t.Errorf("the chain has %d names, of %d", steps+1, len(chain))
	}
	if unsigned < 100 {
		t.Errorf("%d delegations without DS, want more", unsigned)
	}
}

// link asks what one record of the root's chain proves. It returns 1 for a delegation
// without DS records.
func link(t *testing.T, chain map[string]*wire.RRset, s *wire.RRset) int {
	d := &dnssec.Denial{Zone: wire.Root}
	d.AddNSEC(s.Owner, s.Data[0])
	if len(s.Owner) > 1 {
		apex := chain[string(wire.Root)] // denies the root's wildcard
		d.AddNSEC(apex.Owner, apex.Data[0])
	}
	text := wire.AppendName(nil, s.Owner)
	end, _ := wire.CheckName(s.Data[0])
	bits := s.Data[0][end:]
	cut := len(s.Owner) > 1
	if _, why := d.NoData(s.Owner, wire.TypeMX, work()); (why == 0) == cut {
		t.Errorf("%s: no MX: %v, delegation %v", text, why, cut)
	}
	p, why := d.NoDS(s.Owner, work())
	if signed := wire.BitmapHas(bits, wire.TypeDS); signed == (why == 0) || why == 0 && p.Delegation != cut {
		t.Errorf("%s: no DS: %+v %v, its bit map has it: %v", text, p, why, signed)
	}
	if cut {
		after := append([]byte{s.Owner[0] + 1}, s.Owner[1:]...)
		after = append(append(after[:len(after)-1], '-'), 0) // sorts right behind the owner
		if p, why := d.NXDomain(after, work()); why != 0 || len(p.ClosestEncloser) != 1 {
			t.Errorf("%s: %s: %+v %v", text, wire.AppendName(nil, after), p, why)
		}
		if _, why := d.NXDomain(append([]byte{1, 'x'}, s.Owner...), work()); why == 0 {
			t.Errorf("%s: the root proves something below its delegation", text)
		}
	}
	if cut && why == 0 {
		return 1
	}
	return 0
}

// TestRootZone2026 has the two signatures that were left in the zone of 2026: of the
// DNSKEY set, by the anchor, and of SOA.
func TestRootZone2026(t *testing.T) {
	at := time.Date(2026, 8, 22, 18, 0, 0, 0, time.UTC)
	all, keys := rootZone(t, "root-2026082201.zone", at)
	soa := one(t, all, wire.TypeSOA)
	if _, why := dnssec.Verify(soa, wire.Root, keys, at, work()); why != 0 {
		t.Errorf("SOA: %v", why)
	}
	soa.Data[0] = bytes.Clone(soa.Data[0])
	soa.Data[0][len(soa.Data[0])-1]++
	if _, why := dnssec.Verify(soa, wire.Root, keys, at, work()); why != dnssec.BadSignature {
		t.Errorf("another SOA: %v", why)
	}
}
