package signer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A record is one of a signed zone that a test breaks.
type record struct {
	owner []byte
	typ   wire.Type
	ttl   uint32
	data  []byte
}

// A broken is a signed zone as records, and its key.
type broken struct {
	t       *testing.T
	records []record
	key     *signer.Key
}

func newBroken(t *testing.T, apex string, records []byte, key *signer.Key) *broken {
	b := &broken{t: t, key: key}
	_ = zone.EachRecord(records, func(owner []byte, typ wire.Type, ttl uint32, data []byte) bool {
		b.records = append(b.records, record{wire.Lower(nil, owner), typ, ttl, bytes.Clone(data)})
		return true
	})
	return b
}

// each calls f with the records of a name and a type; with RRSIG those that cover it follow.
func (b *broken) each(owner string, typ wire.Type, f func(r *record)) {
	b.t.Helper()
	found := false
	for i := range b.records {
		if r := &b.records[i]; bytes.Equal(r.owner, name(b.t, owner)) && r.typ == typ {
			f(r)
			found = true
		}
	}
	if !found {
		b.t.Fatalf("there is no %s %v", owner, typ)
	}
}

// sigs calls f with the signatures of a set.
func (b *broken) sigs(owner string, covers wire.Type, f func(r *record)) {
	b.t.Helper()
	b.each(owner, wire.TypeRRSIG, func(r *record) {
		if wire.Covered(r.data) == covers {
			f(r)
		}
	})
}

// drop removes the records of a name and a type, with their signatures.
func (b *broken) drop(owner string, typ wire.Type) {
	n := name(b.t, owner)
	b.records = slices.DeleteFunc(b.records, func(r record) bool {
		return bytes.Equal(r.owner, n) && (r.typ == typ || r.typ == wire.TypeRRSIG && wire.Covered(r.data) == typ)
	})
}

// add adds a record, and signs its set again.
func (b *broken) add(owner string, typ wire.Type, ttl uint32, data []byte) {
	b.records = append(b.records, record{name(b.t, owner), typ, ttl, data})
	b.sign(owner, typ)
}

// sign signs a set again, as whoever has the key would.
func (b *broken) sign(owner string, typ wire.Type) {
	set := &wire.RRset{Owner: name(b.t, owner), Type: typ}
	b.records = slices.DeleteFunc(b.records, func(r record) bool {
		if bytes.Equal(r.owner, set.Owner) && r.typ == typ {
			set.TTL, set.Data = r.ttl, append(set.Data, r.data)
		}
		return bytes.Equal(r.owner, set.Owner) && r.typ == wire.TypeRRSIG && wire.Covered(r.data) == typ
	})
	s, err := dnssec.NewSigner(b.key.Zone, b.key.Algorithm(), b.key.Flags(), b.key.Private)
	if err != nil {
		b.t.Fatal(err)
	}
	sig, err := s.Sign(set, uint32(now.Add(-time.Hour).Unix()), uint32(now.Add(time.Hour*24*14).Unix()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.records = append(b.records, record{set.Owner, wire.TypeRRSIG, set.TTL, sig})
}

func (b *broken) zone() *zone.Zone {
	var out []byte
	for _, r := range b.records {
		out = zone.AppendRecord(out, r.owner, r.typ, r.ttl, r.data)
	}
	return build(b.t, b.key.Zone, out)
}

// bitmap changes the types that a proof lists, and signs it.
func (b *broken) bitmap(owner string, typ wire.Type, change func([]wire.Type) []wire.Type) {
	b.each(owner, typ, func(r *record) {
		at := 0
		if typ == wire.TypeNSEC {
			at, _ = wire.CheckName(r.data)
		} else {
			at = 6 + int(r.data[4])
			at += int(r.data[at-1])
		}
		types := change(wire.BitmapTypes(nil, r.data[at:]))
		slices.Sort(types)
		r.data = wire.AppendBitmap(bytes.Clone(r.data[:at]), types)
	})
	b.sign(owner, typ)
}

// hashOf returns the owner of the NSEC3 record of a name.
func hashOf(t *testing.T, s string) string {
	h := dnssec.HashName(nil, name(t, s), 0, nil)
	return strings.ToLower(wire.Base32Hex.EncodeToString(h)) + ".example."
}

func without(t wire.Type) func([]wire.Type) []wire.Type {
	return func(list []wire.Type) []wire.Type {
		return slices.DeleteFunc(list, func(x wire.Type) bool { return x == t })
	}
}

func with(t wire.Type) func([]wire.Type) []wire.Type {
	return func(list []wire.Type) []wire.Type { return append(list, t) }
}

// TestVerifyRefuses breaks good zones in one place each: the fault is found, it is the only one
// where it can be, and said as it is.
func TestVerifyRefuses(t *testing.T) {
	key := newKey(t, "example.", dnssec.ECDSAP256, true)
	other := newKey(t, "example.", dnssec.ECDSAP256, true, key)
	z := load(t, "example.", everyKind)
	zones := map[signer.Denial][]byte{}
	for _, d := range []signer.Denial{signer.NSEC, signer.NSEC3, signer.NSEC3OptOut} {
		zones[d], _ = sign(t, z, []*signer.Key{key}, signer.Policy{Denial: d, Digest: d == signer.NSEC3OptOut}, signer.SignOptions{})
	}
	set32 := func(at int, v uint32) func(r *record) {
		return func(r *record) { binary.BigEndian.PutUint32(r.data[at:], v) }
	}
	for _, c := range []struct {
		what   string
		denial signer.Denial
		do     func(b *broken)
		want   string
	}{
		{"data changed", signer.NSEC, func(b *broken) { b.each("mail.example.", wire.TypeA, func(r *record) { r.data[3]++ }) }, "mail.example. A: the signature by key"},
		{"signature changed", signer.NSEC, func(b *broken) { b.sigs("mail.example.", wire.TypeA, func(r *record) { r.data[len(r.data)-1]++ }) }, "the signature is wrong"},
		{"signature gone", signer.NSEC, func(b *broken) {
			b.records = slices.DeleteFunc(b.records, func(r record) bool {
				return bytes.Equal(r.owner, name(t, "ns.example.")) && r.typ == wire.TypeRRSIG && wire.Covered(r.data) == wire.TypeAAAA
			})
		}, "ns.example. AAAA: it is not signed"},
		{"record added", signer.NSEC, func(b *broken) {
			b.records = append(b.records, record{name(t, "mail.example."), wire.TypeA, 3600, []byte{1, 2, 3, 4}})
		}, "the signature is wrong"},
		{"record removed", signer.NSEC, func(b *broken) { b.drop("mail.example.", wire.TypeA) }, "mail.example. NSEC: the name has nothing else, and does not exist"},
		{"name added", signer.NSEC, func(b *broken) { b.add("new.example.", wire.TypeA, 60, []byte{1, 2, 3, 4}) }, "new.example. NSEC: there is none"},
		{"expired", signer.NSEC, func(b *broken) { b.sigs("mail.example.", wire.TypeA, set32(8, uint32(now.Unix())-1)) }, "the signature has expired"},
		{"not yet", signer.NSEC, func(b *broken) { b.sigs("mail.example.", wire.TypeA, set32(12, uint32(now.Unix())+3600)) }, "the signature is not valid yet"},
		{"before", signer.NSEC, func(b *broken) { b.sigs("mail.example.", wire.TypeA, set32(12, uint32(now.Unix())+1<<30)) }, "the signature expires before it is valid"},
		{"TTL", signer.NSEC, func(b *broken) { b.each("mail.example.", wire.TypeA, func(r *record) { r.ttl = 60 }) }, "has original TTL 3600, but the RRset has 60"},
		{"signer", signer.NSEC, func(b *broken) {
			b.sigs("mail.example.", wire.TypeA, func(r *record) { r.data = append(append(r.data[:18:18], 0), r.data[27:]...) })
		}, "the signer's name is not the zone's"},
		{"labels", signer.NSEC, func(b *broken) { b.sigs("a.b.c.example.", wire.TypeA, func(r *record) { r.data[3] = 3 }) }, "a.b.c.example. A"},
		{"unknown key", signer.NSEC, func(b *broken) { b.sigs("mail.example.", wire.TypeA, func(r *record) { r.data[17]++ }) }, "it has no valid signature of algorithm ECDSAP256SHA256"},
		{"DNSKEY unsigned", signer.NSEC, func(b *broken) {
			b.records = slices.DeleteFunc(b.records, func(r record) bool { return r.typ == wire.TypeRRSIG && wire.Covered(r.data) == wire.TypeDNSKEY })
		}, "example. DNSKEY: it is not signed"},
		{"algorithm unsigned", signer.NSEC, func(b *broken) {
			b.add("example.", wire.TypeDNSKEY, 3600, newKey(t, "example.", dnssec.ED25519, true).DNSKEY)
		}, "no valid signature of algorithm ED25519"},
		{"glue signed", signer.NSEC, func(b *broken) { b.sign("ns.insecure.example.", wire.TypeA) }, "ns.insecure.example. A: it is signed but below a delegation"},
		{"NS of a delegation signed", signer.NSEC, func(b *broken) { b.sign("insecure.example.", wire.TypeNS) }, "insecure.example. NS: it is signed but at a delegation"},
		{"NSEC gone", signer.NSEC, func(b *broken) { b.drop("mail.example.", wire.TypeNSEC) }, "mail.example. NSEC: there is none"},
		{"NSEC passes by", signer.NSEC, func(b *broken) {
			b.each("mail.example.", wire.TypeNSEC, func(r *record) {
				n, _ := wire.CheckName(r.data)
				r.data = append(name(t, "odd.example."), r.data[n:]...)
			})
			b.sign("mail.example.", wire.TypeNSEC)
		}, "mail.example. NSEC: it says that the next name is odd.example., and that is sub.y.mixed.example."},
		{"NSEC lacks a type", signer.NSEC, func(b *broken) { b.bitmap("ns.example.", wire.TypeNSEC, without(wire.TypeAAAA)) }, "ns.example. NSEC: it lacks AAAA"},
		{"NSEC lists a type", signer.NSEC, func(b *broken) { b.bitmap("ns.example.", wire.TypeNSEC, with(wire.TypeTXT)) }, "ns.example. NSEC: it lists TXT, which the name does not have"},
		{"NSEC of a delegation lists glue", signer.NSEC, func(b *broken) { b.bitmap("insecure.example.", wire.TypeNSEC, with(wire.TypeA)) }, "insecure.example. NSEC: it lists A"},
		{"NSEC at an empty name", signer.NSEC, func(b *broken) {
			b.add("b.c.example.", wire.TypeNSEC, 300, append(name(t, "c.b.c.example."), 0, 6, 0, 0, 0, 0, 0, 3))
		}, "b.c.example. NSEC: the name has nothing else"},
		{"NSEC below a delegation", signer.NSEC, func(b *broken) {
			b.add("ns.insecure.example.", wire.TypeNSEC, 300, append(name(t, "mail.example."), 0, 6, 0, 0, 0, 0, 0, 3))
		}, "ns.insecure.example. NSEC: it lies below a delegation"},
		{"NSEC does not end", signer.NSEC, func(b *broken) {
			b.each("*.wild.example.", wire.TypeNSEC, func(r *record) {
				n, _ := wire.CheckName(r.data)
				r.data = append(name(t, "zz.example."), r.data[n:]...)
			})
			b.sign("*.wild.example.", wire.TypeNSEC)
		}, "*.wild.example. NSEC: it is the last, and says that the next name is zz.example.: that is the apex"},
		{"DS where there is no delegation", signer.NSEC, func(b *broken) {
			b.add("mail.example.", wire.TypeDS, 60, append([]byte{1, 1, 13, 2}, make([]byte, 32)...))
			b.bitmap("mail.example.", wire.TypeNSEC, with(wire.TypeDS))
		}, "mail.example. DS: it is not at a delegation"},
		{"CDS of no key", signer.NSEC, func(b *broken) {
			ds, _ := other.DS(dnssec.DigestSHA256)
			b.add("example.", wire.TypeCDS, 3600, ds)
			b.bitmap("example.", wire.TypeNSEC, with(wire.TypeCDS))
		}, "example. CDS: it asks for a DS record of a key that does not sign"},
		{"CDNSKEY of no key", signer.NSEC, func(b *broken) {
			b.add("example.", wire.TypeCDNSKEY, 3600, other.DNSKEY)
			b.bitmap("example.", wire.TypeNSEC, with(wire.TypeCDNSKEY))
		}, "example. CDNSKEY: it is of a key that does not sign"},
		{"NSEC3PARAM gone", signer.NSEC3, func(b *broken) { b.drop("example.", wire.TypeNSEC3PARAM) }, "no NSEC3PARAM record is for its chain"},
		{"NSEC3 gone", signer.NSEC3, func(b *broken) { b.drop(hashOf(t, "mail.example."), wire.TypeNSEC3) }, "mail.example. NSEC3: there is none"},
		{"NSEC3 of an empty name gone", signer.NSEC3, func(b *broken) { b.drop(hashOf(t, "b.c.example."), wire.TypeNSEC3) }, "b.c.example. NSEC3: there is none"},
		{"NSEC3 of a delegation gone", signer.NSEC3, func(b *broken) { b.drop(hashOf(t, "insecure.example."), wire.TypeNSEC3) }, "insecure.example. NSEC3: there is none, and the one that covers its hash"},
		{"NSEC3 of a secure delegation gone", signer.NSEC3OptOut, func(b *broken) { b.drop(hashOf(t, "secure.example."), wire.TypeNSEC3) }, "secure.example. NSEC3: there is none"},
		{"NSEC3 too many", signer.NSEC3, func(b *broken) { b.drop("mail.example.", wire.TypeA) }, "it is for no name of the zone"},
		{"NSEC3 passes by", signer.NSEC3, func(b *broken) {
			b.each(hashOf(t, "mail.example."), wire.TypeNSEC3, func(r *record) { r.data[7]++ })
			b.sign(hashOf(t, "mail.example."), wire.TypeNSEC3)
		}, "it says that the next hash is"},
		{"NSEC3 lacks a type", signer.NSEC3, func(b *broken) { b.bitmap(hashOf(t, "ns.example."), wire.TypeNSEC3, without(wire.TypeAAAA)) }, "for ns.example., it lacks AAAA"},
		{"NSEC3 lists RRSIG", signer.NSEC3, func(b *broken) { b.bitmap(hashOf(t, "insecure.example."), wire.TypeNSEC3, with(wire.TypeRRSIG)) }, "for insecure.example., it lists RRSIG"},
		{"NSEC3 lists itself", signer.NSEC3, func(b *broken) { b.bitmap(hashOf(t, "ns.example."), wire.TypeNSEC3, with(wire.TypeNSEC3)) }, "for ns.example., it lists NSEC3"},
		{"NSEC3 has a flag", signer.NSEC3, func(b *broken) {
			b.each(hashOf(t, "ns.example."), wire.TypeNSEC3, func(r *record) { r.data[1] = 2 })
			b.sign(hashOf(t, "ns.example."), wire.TypeNSEC3)
		}, "its flags, 2, are not known"},
		{"NSEC3 has other parameters", signer.NSEC3, func(b *broken) {
			b.each(hashOf(t, "ns.example."), wire.TypeNSEC3, func(r *record) { r.data[3] = 1 })
			b.sign(hashOf(t, "ns.example."), wire.TypeNSEC3)
		}, "no NSEC3PARAM record is for its chain of 1 records"},
		{"ZONEMD of another zone", signer.NSEC3OptOut, func(b *broken) {
			b.each("example.", wire.TypeZONEMD, func(r *record) { r.data[20]++ })
			b.sign("example.", wire.TypeZONEMD)
		}, "example. ZONEMD: ZONEMD: the zone does not match its digest"},
		{"all proofs gone", signer.NSEC, func(b *broken) {
			b.records = slices.DeleteFunc(b.records, func(r record) bool {
				return r.typ == wire.TypeNSEC || r.typ == wire.TypeRRSIG && wire.Covered(r.data) == wire.TypeNSEC
			})
		}, "the zone has neither NSEC nor NSEC3 records"},
	} {
		b := newBroken(t, "example.", zones[c.denial], key)
		c.do(b)
		v := verify(t, b.zone(), signer.VerifyOptions{DS: dsOf([]*signer.Key{key}), Workers: 2})
		found := slices.ContainsFunc(v.Faults, func(f signer.Fault) bool { return !f.Warning && strings.Contains(f.String(), c.want) })
		if v.Good() || !found {
			t.Errorf("%s: want %q, got %v", c.what, c.want, v.Faults)
		}
	}
}

// TestVerifyParent has DS records of other keys, none, and ones that cannot be used.
func TestVerifyParent(t *testing.T) {
	ksk, zsk := newKey(t, "example.", dnssec.ED25519, true), newKey(t, "example.", dnssec.ED25519, false)
	other := newKey(t, "example.", dnssec.ED25519, true, ksk, zsk)
	records, _ := sign(t, load(t, "example.", everyKind), []*signer.Key{ksk, zsk}, signer.Policy{}, signer.SignOptions{})
	z := build(t, name(t, "example."), records)
	ds := func(k *signer.Key) []byte { d, _ := k.DS(dnssec.DigestSHA256); return d }
	for what, c := range map[string]struct {
		ds   [][]byte
		good bool
	}{
		"the key's":      {[][]byte{ds(ksk)}, true},
		"one of two":     {[][]byte{ds(other), ds(ksk)}, true},
		"another's":      {[][]byte{ds(other)}, false},
		"of the ZSK":     {[][]byte{ds(zsk)}, false}, // it does not sign the keys
		"unknown digest": {[][]byte{append([]byte{0, 1, 15, 99}, make([]byte, 32)...)}, false},
	} {
		if v := verify(t, z, signer.VerifyOptions{DS: c.ds}); v.Good() != c.good {
			t.Errorf("%s: %v", what, v.Faults)
		}
	}
	// Without DS, a key with the SEP flag has to sign the keys.
	records, _ = sign(t, load(t, "example.", everyKind), []*signer.Key{zsk}, signer.Policy{}, signer.SignOptions{})
	if v := verify(t, build(t, name(t, "example."), records), signer.VerifyOptions{}); v.Good() {
		t.Error("a zone without an entry point is good")
	}
	if v := verify(t, build(t, name(t, "example."), records), signer.VerifyOptions{DS: [][]byte{ds(zsk)}}); !v.Good() {
		t.Errorf("a zone that a key without SEP signs: %v", v.Faults)
	}
	if _, err := signer.Verify(load(t, "example.", everyKind), signer.VerifyOptions{}); !errors.Is(err, signer.ErrUnsigned) {
		t.Errorf("of an unsigned zone: %v", err)
	}
}

// TestVerifyCounts has more faults than are told one by one: all are counted, and the first are
// told.
func TestVerifyCounts(t *testing.T) {
	key := newKey(t, "big.", dnssec.ED25519, true)
	var text strings.Builder
	text.WriteString("@ 60 SOA ns admin 1 1 1 1 60\n@ 60 NS ns\n")
	for i := range 1500 {
		text.WriteString("h" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + " 60 A 192.0.2.1\n")
	}
	records, s := sign(t, load(t, "big.", text.String()), []*signer.Key{key}, signer.Policy{}, signer.SignOptions{})
	v := verify(t, build(t, name(t, "big."), records), signer.VerifyOptions{Now: now.Add(30 * 24 * time.Hour), Workers: 3})
	if v.Errors < s.Made || len(v.Faults) != 100 || v.Faults[0].Name != "big." {
		t.Errorf("%d errors, %d told, the first of %s; want %d, 100, big.", v.Errors, len(v.Faults), v.Faults[0].Name, s.Made)
	}
}
