package dnssec_test

import (
	"bytes"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// single returns a Denial of example. with an NSEC record, and one with an NSEC3 record,
// of the same owner and bit map. Neither covers any name but those right behind its owner.
func single(t testing.TB, owner string, types []byte) map[string]*dnssec.Denial {
	t.Helper()
	n, zone := name(t, owner), name(t, "example.")
	plain, hashed := &dnssec.Denial{Zone: zone}, &dnssec.Denial{Zone: zone}
	plain.AddNSEC(n, append(append([]byte{1, 0}, n...), types...))
	h := dnssec.HashName(nil, n, 0, nil)
	label := append([]byte{32}, wire.Base32Hex.EncodeToString(h)...)
	h[len(h)-1]++
	hashed.AddNSEC3(append(label, zone...), append(append([]byte{1, 0, 0, 0, 0, 20}, h...), types...))
	return map[string]*dnssec.Denial{"NSEC": plain, "NSEC3": hashed}
}

// TestBitMaps has bit maps that end too soon, which prove nothing, and types whose lower
// octet is that of a record of the proof itself.
func TestBitMaps(t *testing.T) {
	n := name(t, "a.example.")
	for _, c := range []struct {
		what  string
		types []byte
		want  dnssec.Reason
	}{
		{"nothing", nil, 0},
		{"what the proof is made of", bitmap(wire.TypeRRSIG, wire.TypeNSEC), 0},
		{"in two windows", append(bitmap(wire.TypeRRSIG), 1, 1, 0), 0},
		{"another type", bitmap(wire.TypeRRSIG, wire.TypeTXT), dnssec.BadProof},
		{"another type in the second window", append(bitmap(wire.TypeRRSIG), 1, 1, 0x80), dnssec.BadProof},
		{"TYPE302", []byte{1, 6, 0, 0, 0, 0, 0, 2}, dnssec.BadProof},
		{"TYPE303", []byte{1, 6, 0, 0, 0, 0, 0, 1}, dnssec.BadProof},
		{"TYPE384", append([]byte{1, 17}, append(make([]byte, 16), 0x80)...), dnssec.BadProof},
		{"a window without its length", append(bitmap(wire.TypeRRSIG), 1), 0},
		{"a window without an octet", append(bitmap(wire.TypeRRSIG), 1, 1), dnssec.BadProof},
		{"a window that ends too soon", append(bitmap(wire.TypeRRSIG), 1, 2, 0), dnssec.BadProof},
	} {
		for kind, d := range single(t, "a.example.", c.types) {
			if _, why := d.NoData(n, wire.TypeANY, work()); why != c.want {
				t.Errorf("%s, %s: %v, want %v", kind, c.what, why, c.want)
			}
		}
	}
}

// TestNoSuchApex has records that say of the apex, or of a wildcard, that it does not exist
// (RFC 9824, section 2): the apex does, and a wildcard that does not has no data to give.
func TestNoSuchApex(t *testing.T) {
	gone := bitmap(wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNXNAME)
	for kind, d := range single(t, "example.", gone) {
		if _, why := d.NXDomain(name(t, "example."), work()); why != dnssec.BadProof {
			t.Errorf("%s: the apex does not exist: %v", kind, why)
		}
	}
	chain, chain3 := nsecChain(t), nsec3Chain(t, 0, false)
	n, star := name(t, "n.wild.example."), name(t, "*.wild.example.")
	for owner, data := range chain {
		if bytes.Equal([]byte(owner), star) {
			end, _ := wire.CheckName(data)
			chain[owner] = append(data[:end:end], gone...)
		}
	}
	if _, why := denialOf(t, chain, matching(t, chain, n)).NoData(n, wire.TypeA, work()); why != dnssec.BadProof {
		t.Errorf("NSEC: a wildcard that does not exist: %v", why)
	}
	owner := chainOwner(t, chain3, star)
	chain3[owner] = append(chain3[owner][:27:27], gone...)
	if _, why := denial3(t, chain3, 0, n).NoData(n, wire.TypeA, work()); why != dnssec.BadProof {
		t.Errorf("NSEC3: a wildcard that does not exist: %v", why)
	}
}

// TestHashesEnd has every proof with fewer hashes than it takes: that must be said, since a
// proof that was not looked at to its end is not a bad one. It takes one for each name that
// is looked for, and none besides (CVE-2023-50868).
func TestHashesEnd(t *testing.T) {
	for _, c := range []struct {
		what  string
		name  string
		cost  int
		prove func(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason)
	}{
		{"NXDOMAIN", "p.q.r.example.", 5, (*dnssec.Denial).NXDomain},
		{"NXDOMAIN, compact", "nxname.example.", 1, (*dnssec.Denial).NXDomain},
		{"no DS", "cut.example.", 1, (*dnssec.Denial).NoDS},
		{"NODATA of a wildcard", "n.wild.example.", 4, func(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
			return d.NoData(n, wire.TypeA, w)
		}},
		{"a wildcard", "n.wild.example.", 1, func(d *dnssec.Denial, n []byte, w *dnssec.Work) (dnssec.Proof, dnssec.Reason) {
			return d.Wildcard(n, 2, w)
		}},
	} {
		n := name(t, c.name)
		d := denial3(t, nsec3Chain(t, 0, false), 0, n)
		for hashes := 0; ; hashes++ {
			_, why := c.prove(d, n, &dnssec.Work{Hashes: hashes})
			if want := hashes < c.cost; want != (why == dnssec.WorkLimit) || !want && why != 0 {
				t.Errorf("%s with %d hashes: %v, and it takes %d", c.what, hashes, why, c.cost)
			}
			if hashes >= c.cost {
				break
			}
		}
	}
}

// TestBothKinds has NSEC records beside NSEC3 records with too many iterations, as of a
// zone that goes from one to the other: the NSEC records prove what they do.
func TestBothKinds(t *testing.T) {
	n := name(t, "aa.example.")
	chain := nsecChain(t)
	d := denialOf(t, chain, matching(t, chain, n))
	for owner, data := range nsec3Chain(t, 501, false) {
		d.AddNSEC3([]byte(owner), data)
	}
	if p, why := d.NXDomain(n, work()); why != 0 || p.Insecure {
		t.Errorf("%+v %v, want a proof", p, why)
	}
}

// TestNextIsTheOwner has records whose next name is their own, which only the apex of a
// zone without other names has (RFC 4034, section 4.1.1).
func TestNextIsTheOwner(t *testing.T) {
	for owner, want := range map[string]dnssec.Reason{"example.": 0, "a.example.": dnssec.NoProof} {
		n := name(t, owner)
		d := &dnssec.Denial{Zone: name(t, "example.")}
		d.AddNSEC(n, append(bytes.Clone(n), bitmap(wire.TypeTXT)...))
		if _, why := d.NoData(n, wire.TypeA, work()); why != want {
			t.Errorf("%s: %v, want %v", owner, why, want)
		}
	}
}

// TestOptOutNoData has names without a record of their own where unsigned delegations have
// none: an empty non-terminal that only those make has no data, for all that is proven (RFC
// 5155, section 7.1), but nothing is proven of it without opt-out, nor where a wildcard has
// what was asked for.
func TestOptOutNoData(t *testing.T) {
	for _, c := range []struct {
		name   string
		typ    wire.Type
		optOut bool
		want   dnssec.Reason
	}{
		{"hollow.example.", wire.TypeA, true, 0},
		{"hollow.example.", wire.TypeA, false, dnssec.BadProof},
		{"n.wild.example.", wire.TypeTXT, true, dnssec.BadProof},
		{"n.wild.example.", wire.TypeA, true, 0},
	} {
		n := name(t, c.name)
		p, why := denial3(t, nsec3Chain(t, 0, c.optOut), 0, n).NoData(n, c.typ, work())
		if why != c.want || why == 0 && (!p.OptOut || p.ClosestEncloser == nil || p.Delegation) {
			t.Errorf("%s %s, opt-out %v: %+v %v, want %v", c.name, c.typ, c.optOut, p, why, c.want)
		}
	}
}

// TestUnmatchedApex asks for data of an apex that no hashed record is of: names above it prove
// nothing, though a zone may have records with their hashes.
func TestUnmatchedApex(t *testing.T) {
	for zone, above := range map[string]string{".": "example.", "example.": ".", "a.example.": "example."} {
		d := &dnssec.Denial{Zone: name(t, zone)}
		h := dnssec.HashName(nil, name(t, above), 0, nil)
		owner := append([]byte{32}, wire.Base32Hex.EncodeToString(h)...)
		d.AddNSEC3(append(owner, d.Zone...), append([]byte{1, 1, 0, 0, 0, 20}, h...)) // it covers all else, with opt-out
		if p, why := d.NoData(d.Zone, wire.TypeA, work()); why != dnssec.BadProof {
			t.Errorf("%s: %+v %v, want %v", zone, p, why, dnssec.BadProof)
		}
	}
}

// TestSaltCosts has salts at the edge of one and of two blocks of SHA-1, at 50 iterations: the
// longer one costs twice as much (CVE-2023-50868).
func TestSaltCosts(t *testing.T) {
	for octets, want := range map[int]int{0: 1, 35: 1, 36: 2} {
		d := &dnssec.Denial{Zone: name(t, "example.")}
		salt := bytes.Repeat([]byte{1}, octets)
		h := dnssec.HashName(nil, d.Zone, 50, salt)
		owner := append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), d.Zone...)
		d.AddNSEC3(owner, append(append(append([]byte{1, 0, 0, 50, byte(octets)}, salt...), 20), h...))
		w := work()
		if _, why := d.NoData(d.Zone, wire.TypeA, w); why != 0 || 1000-w.Hashes != want {
			t.Errorf("%d octets: %v, it cost %d, want %d", octets, why, 1000-w.Hashes, want)
		}
	}
}

// TestLonelyApex has the chain of a zone without any name but its apex, of one record: it
// covers all other names (RFC 5155, section 3.1.7).
func TestLonelyApex(t *testing.T) {
	d := &dnssec.Denial{Zone: name(t, "example.")}
	h := dnssec.HashName(nil, d.Zone, 0, nil)
	d.AddNSEC3(append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), d.Zone...), append([]byte{1, 0, 0, 0, 0, 20}, h...))
	if p, why := d.NXDomain(name(t, "a.example."), work()); why != 0 || !bytes.Equal(p.ClosestEncloser, d.Zone) {
		t.Errorf("%+v %v", p, why)
	}
}
