package dnssec_test

import (
	"encoding/hex"
	"slices"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/dnstest"
	"port53/internal/wire"
)

// The DS records of the root's keys with the tags 20326 and 38696, as IANA publishes them.
const (
	anchor2017 = "4F660802E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
	anchor2024 = "97280802683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16"
)

// rootKeys returns the keys of a root zone, validated by the anchor.
func rootKeys(t *testing.T, r *dnstest.Root, all []*wire.RRset) (keys []dnssec.Key) {
	t.Helper()
	anchors := [][]byte{r.Anchor}
	if r.Published {
		anchors = nil
		for _, text := range []string{anchor2017, anchor2024} {
			ds, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			anchors = append(anchors, ds)
		}
	}
	var entry []dnssec.Key
	dnskey := one(t, all, wire.TypeDNSKEY)
	for _, d := range dnskey.Data {
		k, ok := dnssec.ParseKey(d)
		if !ok {
			t.Fatal("a key of the root is none")
		}
		keys = append(keys, k)
		if slices.ContainsFunc(anchors, func(ds []byte) bool { return dnssec.MatchDS(ds, wire.Root, d) }) {
			entry = append(entry, k)
		}
	}
	if _, why := dnssec.Verify(dnskey, wire.Root, entry, r.At, work()); why != 0 || len(entry) == 0 {
		t.Fatalf("DNSKEY: %v with %d keys of the anchor", why, len(entry))
	}
	return keys
}

// TestRootZone verifies every signature of a root zone, from the anchor on, walks its NSEC
// chain, and asks the chain for what it proves.
func TestRootZone(t *testing.T) { dnstest.Roots(t, verifyRoot) }

func verifyRoot(t *testing.T, r *dnstest.Root) {
	at := r.At
	all := sets(t, r.Text)
	keys := rootKeys(t, r, all)
	delegations, signedDS := 0, 0
	chain := map[string]*wire.RRset{}
	types := map[string][]wire.Type{}
	for _, s := range all {
		if s.Type == wire.TypeNSEC {
			chain[string(s.Owner)] = s
		}
		if len(s.Data) > 0 && (len(s.Sigs) > 0 || s.Type == wire.TypeNS) {
			types[string(s.Owner)] = append(types[string(s.Owner)], s.Type)
		}
		switch cut := len(s.Owner) > 1; {
		case s.Type == wire.TypeDS:
			signedDS++
		case s.Type == wire.TypeNS && cut:
			delegations++
		}
		if authoritative := s.Type == wire.TypeDS || s.Type == wire.TypeNSEC || len(s.Owner) == 1; authoritative != (len(s.Sigs) > 0) {
			t.Errorf("%s %v has %d signatures", wire.AppendName(nil, s.Owner), s.Type, len(s.Sigs))
		}
		for _, sig := range s.Sigs {
			alone := *s
			alone.Sigs = [][]byte{sig}
			v, why := dnssec.Verify(&alone, wire.Root, keys, at, work())
			if why != 0 || v.Wildcard || v.TTL != s.TTL {
				t.Errorf("%s %v: %+v %v", wire.AppendName(nil, s.Owner), s.Type, v, why)
			}
		}
	}
	if len(chain) != delegations+1 || signedDS == 0 || signedDS == delegations {
		t.Fatalf("%d delegations, %d DS sets, %d NSEC records: that is not a root zone", delegations, signedDS, len(chain))
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
	if unsigned != delegations-signedDS {
		t.Errorf("%d delegations are proven to have no DS, of %d", unsigned, delegations-signedDS)
	}

	soa := one(t, all, wire.TypeSOA)
	soa.Data[0][len(soa.Data[0])-1]++
	if _, why := dnssec.Verify(soa, wire.Root, keys, at, work()); why != dnssec.BadSignature {
		t.Errorf("another SOA: %v", why)
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
