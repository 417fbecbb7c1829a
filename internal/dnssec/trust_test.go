package dnssec_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// keyWith makes a key of example. with flags.
func keyWith(t testing.TB, flags uint16) *dnssec.Signer {
	t.Helper()
	k, err := dnssec.GenerateKey(name(t, "example."), dnssec.ED25519, flags)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// dsOf returns the DS record of a key, with a digest that is right or not.
func dsOf(t testing.TB, k *dnssec.Signer, digest uint8, right bool) []byte {
	t.Helper()
	ds, ok := dnssec.AppendDS(nil, k.Zone, k.Key.Data, digest)
	if !ok {
		t.Fatalf("digest %d", digest)
	}
	if !right {
		ds[len(ds)-1] ^= 1
	}
	return ds
}

// with returns data with another octet at a place.
func with(data []byte, at int, octet byte) []byte {
	data = bytes.Clone(data)
	data[at] = octet
	return data
}

// TestUnsupported has vouchers by which no zone can be judged (RFC 4035, section 5.2; RFC
// 6840, section 5.2), and such with one thing that can be used.
func TestUnsupported(t *testing.T) {
	k := keyWith(t, dnssec.FlagZone)
	good, key := dsOf(t, k, dnssec.DigestSHA256, true), k.Key.Data
	for _, c := range []struct {
		what     string
		ds, keys [][]byte
		want     dnssec.Reason
	}{
		{"nothing", nil, nil, dnssec.UnsupportedAlgorithm},
		{"DS", [][]byte{good}, nil, 0},
		{"a key", nil, [][]byte{key}, 0},
		{"DS of another algorithm", [][]byte{with(good, 2, 12)}, nil, dnssec.UnsupportedAlgorithm},
		{"DS of another digest", [][]byte{with(good, 3, 3)}, nil, dnssec.UnsupportedDigest},
		{"DS without a digest", [][]byte{good[:4]}, nil, dnssec.UnsupportedDigest},
		{"DS of another digest, and of another algorithm", [][]byte{with(good, 3, 3), with(good, 2, 12)}, nil, dnssec.UnsupportedAlgorithm},
		{"DS of another digest, and one that is good", [][]byte{with(good, 3, 3), good}, nil, 0},
		{"DS of SHA-1 alone", [][]byte{dsOf(t, k, dnssec.DigestSHA1, true)}, nil, 0},
		{"a key of another algorithm", nil, [][]byte{with(key, 3, 12)}, dnssec.UnsupportedAlgorithm},
		{"a key of another protocol", nil, [][]byte{with(key, 2, 4)}, dnssec.UnsupportedAlgorithm},
		{"a key of another algorithm, and one that is good", nil, [][]byte{with(key, 3, 12), key}, 0},
		{"DS of another digest, and a key", [][]byte{with(good, 3, 3)}, [][]byte{key}, 0},
	} {
		v := &dnssec.TrustPoint{DS: c.ds, DNSKEYs: c.keys}
		if why := v.Unsupported(); why != c.want {
			t.Errorf("%s: %v, want %v", c.what, why, c.want)
		}
	}
}

// TestVoucher has sets of keys and what vouches for them: one key that it stands for, that
// is for zones and not revoked, has to have signed the set (RFC 4035, section 5.2).
func TestVoucher(t *testing.T) {
	ksk, zsk := keyWith(t, dnssec.FlagZone|dnssec.FlagSEP), keyWith(t, dnssec.FlagZone)
	host, revoked := keyWith(t, 0), keyWith(t, dnssec.FlagZone|dnssec.FlagRevoke)
	right := func(k *dnssec.Signer) []byte { return dsOf(t, k, dnssec.DigestSHA256, true) }
	wrong := func(k *dnssec.Signer) []byte { return dsOf(t, k, dnssec.DigestSHA256, false) }
	for _, c := range []struct {
		what     string
		by       *dnssec.Signer // signs
		keys     []*dnssec.Signer
		ds, keep [][]byte // of the trust point
		want     dnssec.Reason
		good     int // keys returned
	}{
		{"the KSK", ksk, []*dnssec.Signer{zsk, ksk}, [][]byte{right(ksk)}, nil, 0, 2},
		{"a key of an anchor", ksk, []*dnssec.Signer{zsk, ksk}, nil, [][]byte{ksk.Key.Data}, 0, 2},
		{"keys that cannot sign data are left out", ksk, []*dnssec.Signer{ksk, host, revoked}, [][]byte{right(ksk)}, nil, 0, 1},
		{"nobody vouches", ksk, []*dnssec.Signer{ksk}, nil, nil, dnssec.NoKey, 0},
		{"a wrong digest", ksk, []*dnssec.Signer{ksk}, [][]byte{wrong(ksk)}, nil, dnssec.NoKey, 0},
		{"another key of an anchor", ksk, []*dnssec.Signer{ksk}, nil, [][]byte{zsk.Key.Data}, dnssec.NoKey, 0},
		{"signed by a key that nobody vouches for", zsk, []*dnssec.Signer{zsk, ksk}, [][]byte{right(ksk)}, nil, dnssec.NoKey, 0},
		{"a key that is not there", ksk, []*dnssec.Signer{zsk}, [][]byte{right(ksk)}, nil, dnssec.NoKey, 0},
		{"no key for zones", host, []*dnssec.Signer{host}, [][]byte{right(host)}, nil, dnssec.NoZoneKey, 0},
		{"no key for zones, that nobody vouches for", host, []*dnssec.Signer{host}, [][]byte{right(ksk)}, nil, dnssec.NoKey, 0},
		{"a revoked key", revoked, []*dnssec.Signer{revoked}, [][]byte{right(revoked)}, nil, dnssec.NoKey, 0},
		{"SHA-1 alone", ksk, []*dnssec.Signer{ksk}, [][]byte{dsOf(t, ksk, dnssec.DigestSHA1, true)}, nil, 0, 1},
		{"SHA-1 does not count beside SHA-256 (RFC 4509, section 3)", ksk, []*dnssec.Signer{ksk}, [][]byte{dsOf(t, ksk, dnssec.DigestSHA1, true), wrong(ksk)}, nil, dnssec.NoKey, 0},
		{"a wrong SHA-1 does not matter beside SHA-256", ksk, []*dnssec.Signer{ksk}, [][]byte{dsOf(t, ksk, dnssec.DigestSHA1, false), right(ksk)}, nil, 0, 1},
		{"SHA-1 beside a digest that nobody knows", ksk, []*dnssec.Signer{ksk}, [][]byte{with(right(ksk), 3, 3), dsOf(t, ksk, dnssec.DigestSHA1, true)}, nil, 0, 1},
		{"the last DS record that counts", ksk, []*dnssec.Signer{ksk}, append(slices.Repeat([][]byte{wrong(ksk)}, 7), right(ksk)), nil, 0, 1},
		{"one more (CVE-2023-50387)", ksk, []*dnssec.Signer{ksk}, append(slices.Repeat([][]byte{wrong(ksk)}, 8), right(ksk)), nil, dnssec.NoKey, 0},
	} {
		s := &wire.RRset{Owner: ksk.Zone, Type: wire.TypeDNSKEY, TTL: 3600}
		for _, k := range c.keys {
			s.Data = append(s.Data, k.Key.Data)
		}
		s.Data = append(s.Data, with(zsk.Key.Data, 2, 4)) // of another protocol: it is none
		signed(t, c.by, s, now-100, now+1000)
		v := &dnssec.TrustPoint{DS: c.ds, DNSKEYs: c.keep}
		keys, verified, why := v.Keys(s, clock, work())
		if why != c.want || len(keys) != c.good || why == 0 && verified.TTL != 1000 {
			t.Errorf("%s: %d keys, %+v, %v, want %d, %v", c.what, len(keys), verified, why, c.good, c.want)
		}
		for _, k := range keys {
			if !slices.ContainsFunc(s.Data, func(d []byte) bool { return bytes.Equal(d, k.Data) && &d[0] != &k.Data[0] }) {
				t.Errorf("%s: a key is not the set's, or no copy", c.what)
			}
		}
		if why == 0 && !v.Trusts(s.Owner, c.by.Key.Data) || v.Trusts(name(t, "com."), with(c.by.Key.Data, 4, c.by.Key.Data[4]+1)) {
			t.Errorf("%s: vouches %v", c.what, v.Trusts(s.Owner, c.by.Key.Data))
		}
	}
	if keys, _, why := (&dnssec.TrustPoint{DS: [][]byte{right(ksk)}}).Keys(nil, clock, work()); keys != nil || why != dnssec.NoKey {
		t.Errorf("no set: %v %v", keys, why)
	}
}

// TestKeySizes has zones whose keys, or some of them, are larger than is verified: they count as
// unsigned if that is so of every key that somebody vouches for, and if nothing that vouches is
// for a key that is not in the set.
func TestKeySizes(t *testing.T) {
	ksk := keyWith(t, dnssec.FlagZone|dnssec.FlagSEP)
	large := func(exponent ...byte) []byte {
		return slices.Concat([]byte{1, 1, 3, dnssec.RSASHA256, byte(len(exponent))}, exponent, bytes.Repeat([]byte{0xFF}, 128))
	}
	big, huge := large(0x80, 0, 0, 1), large(1, 0, 0, 0, 1)
	even := large(4)
	short := slices.Concat([]byte{1, 1, 3, dnssec.RSASHA256, 1, 3}, bytes.Repeat([]byte{0xFF}, 64))
	ds := func(key []byte) []byte {
		made, _ := dnssec.AppendDS(nil, ksk.Zone, key, dnssec.DigestSHA256)
		return made
	}
	good := ksk.Key.Data
	list := func(keys ...[]byte) [][]byte { return keys }
	for _, c := range []struct {
		what          string
		set, ds, keep [][]byte
		want          dnssec.Reason
	}{
		{"a large exponent", list(big), list(ds(big)), nil, dnssec.UnsupportedKey},
		{"one of five octets", list(huge), list(ds(huge)), nil, dnssec.UnsupportedKey},
		{"a small modulus", list(short), list(ds(short)), nil, dnssec.UnsupportedKey},
		{"several", list(big, short, huge), list(ds(short), ds(big)), nil, dnssec.UnsupportedKey},
		{"beside a good key that nobody vouches for", list(big, good), list(ds(big)), nil, dnssec.UnsupportedKey},
		{"beside a good key that somebody vouches for", list(big, good), list(ds(big), ds(good)), nil, 0},
		{"a good key, beside a large one that nobody vouches for", list(big, good), list(ds(good)), nil, 0},
		{"a good key that is left out", list(big), list(ds(big), ds(good)), nil, dnssec.BadSignature},
		{"a good key that is left out, of an anchor", list(big), list(ds(big)), list(good), dnssec.BadSignature},
		{"a good key that is left out, behind many", list(big), append(slices.Repeat(list(ds(big)), 9), ds(good)), nil, dnssec.BadSignature},
		{"a large key that nobody vouches for", list(big), list(ds(good)), nil, dnssec.NoKey},
		{"a key that cannot be", list(even), list(ds(even)), nil, dnssec.BadSignature},
	} {
		s := &wire.RRset{Owner: ksk.Zone, Type: wire.TypeDNSKEY, TTL: 3600, Data: c.set}
		signed(t, ksk, s, now-100, now+1000)
		for _, key := range c.set { // signatures that say they are theirs
			if k, _ := dnssec.ParseKey(key); k.Algorithm == dnssec.RSASHA256 {
				sig := bytes.Clone(s.Sigs[0])
				sig[2], sig[16], sig[17] = k.Algorithm, byte(k.Tag>>8), byte(k.Tag)
				s.Sigs = append(s.Sigs, sig)
			}
		}
		v := &dnssec.TrustPoint{DS: c.ds, DNSKEYs: c.keep}
		if _, _, why := v.Keys(s, clock, work()); why != c.want {
			t.Errorf("%s: %v, want %v", c.what, why, c.want)
		}
	}
	if why := (&dnssec.TrustPoint{DNSKEYs: list(big)}).Unsupported(); why != dnssec.UnsupportedAlgorithm {
		t.Errorf("an anchor that is too large: %v", why)
	}
}

// A reply is what the authority section of one holds, signed.
type reply struct {
	*testing.T
	key  *dnssec.Signer
	sets []*wire.RRset
}

// add adds a set, signed.
func (r *reply) add(owner string, typ wire.Type, data ...[]byte) *wire.RRset {
	s := &wire.RRset{Owner: name(r, owner), Type: typ, TTL: 3600, Data: data}
	r.sets = append(r.sets, signed(r, r.key, s, now-100, now+1000))
	return s
}

func (r *reply) soa(owner string) *wire.RRset {
	return r.add(owner, wire.TypeSOA, slices.Concat(name(r, "ns.example."), name(r, "a.example."), make([]byte, 20)))
}

func (r *reply) nsec(owner, next string, types ...wire.Type) *wire.RRset {
	return r.add(owner, wire.TypeNSEC, append(name(r, next), bitmap(types...)...))
}

// told returns what sets there are, in their order.
func told(sets []*wire.RRset) (list []string) {
	for _, s := range sets {
		list = append(list, fmt.Sprintf("%s %s %d", wire.AppendName(nil, s.Owner), s.Type, s.TTL))
	}
	return list
}

// TestAbsent has replies that say that there is nothing, and what of them is believed: an
// SOA record that is not the zone's, or one proof that does not hold, spoils all, and what
// the zone did not sign is as if it were not there (RFC 4035, section 5.4).
func TestAbsent(t *testing.T) {
	k, other := keyWith(t, dnssec.FlagZone), keyWith(t, dnssec.FlagZone)
	other.Zone = name(t, "sub.example.")
	spoil := func(s *wire.RRset) { s.Sigs[0][len(s.Sigs[0])-1] ^= 1 }
	for _, c := range []struct {
		what     string
		reply    func(r *reply)
		nxdomain bool
		want     []string
		why      dnssec.Reason
	}{
		{"no such name", func(r *reply) { r.nsec("example.", "b.example.", wire.TypeSOA); r.soa("example.") }, true, []string{"example. SOA 1000", "example. NSEC 1000"}, 0},
		{"no SOA record", func(r *reply) { r.nsec("example.", "b.example.", wire.TypeSOA) }, true, []string{"example. NSEC 1000"}, 0},
		{"no data", func(r *reply) { r.nsec("a.example.", "b.example.", wire.TypeTXT) }, false, []string{"a.example. NSEC 1000"}, 0},
		{"no data, and it is said that there is no such name", func(r *reply) { r.nsec("a.example.", "b.example.", wire.TypeTXT) }, true, nil, dnssec.BadProof},
		{"the data is there", func(r *reply) { r.nsec("a.example.", "b.example.", wire.TypeA) }, false, nil, dnssec.BadProof},
		{"nothing", func(*reply) {}, true, nil, dnssec.NoProof},
		{"an SOA record alone", func(r *reply) { r.soa("example.") }, true, nil, dnssec.NoProof},
		{"the SOA record of another zone", func(r *reply) { r.soa("b.example."); r.nsec("example.", "b.example.") }, true, nil, dnssec.NoProof},
		{"an SOA record without a signature", func(r *reply) { r.soa("example.").Sigs = nil; r.nsec("example.", "b.example.") }, true, nil, dnssec.NoSignature},
		{"an SOA record with a wrong signature", func(r *reply) { spoil(r.soa("example.")); r.nsec("example.", "b.example.") }, true, nil, dnssec.BadSignature},
		{"a proof with a wrong signature", func(r *reply) { spoil(r.nsec("example.", "b.example.")) }, true, nil, dnssec.BadSignature},
		{"one more with a wrong signature", func(r *reply) { r.nsec("example.", "b.example."); spoil(r.nsec("c.example.", "d.example.")) }, true, nil, dnssec.BadSignature},
		{"a proof without a signature", func(r *reply) { r.nsec("example.", "b.example.").Sigs = nil }, true, nil, dnssec.NoProof},
		{"one more without a signature", func(r *reply) { r.nsec("c.example.", "d.example.").Sigs = nil; r.nsec("example.", "b.example.") }, true, []string{"example. NSEC 1000"}, 0},
		{"one more of another zone", func(r *reply) {
			r.nsec("example.", "b.example.")
			r.key = other
			r.nsec("sub.example.", "b.sub.example.")
		}, true, []string{"example. NSEC 1000"}, 0},
		{"one more from outside of the zone", func(r *reply) {
			r.nsec("example.", "b.example.")
			r.nsec("c.example.", "d.example.").Owner = name(r, "com.")
		}, true, []string{"example. NSEC 1000"}, 0},
		{"a set of two", func(r *reply) {
			next := append(name(r, "b.example."), bitmap(wire.TypeTXT)...)
			r.add("example.", wire.TypeNSEC, next, append(name(r, "c.example."), bitmap(wire.TypeTXT)...))
		}, true, nil, dnssec.NoProof},
		{"a proof made from a wildcard", func(r *reply) { r.nsec("*.example.", "b.example.", wire.TypeTXT).Owner = name(r, "a.example.") }, false, nil, dnssec.NoProof},
		{"records of other types", func(r *reply) {
			r.add("a.example.", wire.TypeTXT, []byte{1, 'x'})
			r.nsec("a.example.", "b.example.", wire.TypeTXT)
		}, false, []string{"a.example. NSEC 1000"}, 0},
		{"the last record that is looked at (CVE-2026-11605)", func(r *reply) {
			for range 7 {
				r.nsec("c.example.", "d.example.")
			}
			r.nsec("example.", "b.example.")
		}, true, append(slices.Repeat([]string{"c.example. NSEC 1000"}, 7), "example. NSEC 1000"), 0},
		{"one more", func(r *reply) {
			for range 8 {
				r.nsec("c.example.", "d.example.")
			}
			r.nsec("example.", "b.example.")
		}, true, nil, dnssec.BadProof},
		{"what is behind them is not looked at", func(r *reply) {
			r.nsec("example.", "b.example.")
			for range 7 {
				r.nsec("c.example.", "d.example.")
			}
			spoil(r.nsec("c.example.", "d.example."))
		}, true, append([]string{"example. NSEC 1000"}, slices.Repeat([]string{"c.example. NSEC 1000"}, 7)...), 0},
		{"hashed", func(r *reply) {
			h := dnssec.HashName(nil, name(t, "a.example."), 0, nil)
			r.add("example.", wire.TypeNSEC3, append(append([]byte{1, 0, 0, 0, 0, 20}, h...), bitmap(wire.TypeTXT)...))
			s := r.sets[0]
			s.Owner = append(append([]byte{32}, wire.Base32Hex.EncodeToString(h)...), s.Owner...)
			r.sets[0] = signed(t, k, s, now-100, now+1000)
		}, false, []string{string(wire.AppendName(nil, append(append([]byte{32}, wire.Base32Hex.EncodeToString(dnssec.HashName(nil, name(t, "a.example."), 0, nil))...), k.Zone...))) + " NSEC3 1000"}, 0},
	} {
		r := &reply{T: t, key: k}
		c.reply(r)
		z := &dnssec.Zone{Name: k.Zone, Keys: []dnssec.Key{k.Key}}
		sets, _, why := z.VerifyNegative(name(t, "a.example."), wire.TypeA, c.nxdomain, r.sets, clock, work())
		if got := told(sets); why != c.why || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %v, want %q %v", c.what, got, why, c.want, c.why)
		}
	}
}

// TestExpanded has names made from *.example., with and without the proof that there is
// nothing closer (RFC 4035, section 5.3.4).
func TestExpanded(t *testing.T) {
	k := keyWith(t, dnssec.FlagZone)
	for _, c := range []struct {
		what  string
		reply func(r *reply)
		want  []string
		why   dnssec.Reason
	}{
		{"proven", func(r *reply) { r.nsec("*.example.", "b.example.", wire.TypeA) }, []string{"*.example. NSEC 1000"}, 0},
		{"not proven", func(r *reply) { r.nsec("b.example.", "c.example.", wire.TypeA) }, nil, dnssec.BadProof},
		{"nothing", func(*reply) {}, nil, dnssec.NoProof},
		{"expired", func(r *reply) { s := r.nsec("*.example.", "b.example."); signed(t, k, s, now-100, now-1) }, nil, dnssec.Expired},
	} {
		r := &reply{T: t, key: k}
		c.reply(r)
		z := &dnssec.Zone{Name: k.Zone, Keys: []dnssec.Key{k.Key}}
		sets, p, why := z.VerifyWildcard(name(t, "a.example."), 1, r.sets, clock, work())
		if got := told(sets); why != c.why || why == 0 && (!slices.Equal(got, c.want) || !bytes.Equal(p.ClosestEncloser, k.Zone)) {
			t.Errorf("%s: %q %+v %v, want %q %v", c.what, got, p, why, c.want, c.why)
		}
	}
}

// TestSignerOf has signatures of several zones: the closest speaks for a name, and none that
// would not hold it (RFC 4035, section 5.3.1).
func TestSignerOf(t *testing.T) {
	by := func(zones ...string) *wire.RRset {
		s := &wire.RRset{}
		for _, z := range zones {
			s.Sigs = append(s.Sigs, append(make([]byte, 18), append(name(t, z), 1)...))
		}
		return s
	}
	for _, c := range []struct {
		what string
		sets []*wire.RRset
		want string // empty: nobody
	}{
		{"nothing", nil, ""},
		{"no signatures", []*wire.RRset{{}}, ""},
		{"the closest, last", []*wire.RRset{by("."), by("example.", "a.example.")}, "a.example."},
		{"the closest, first", []*wire.RRset{by("a.example.", "example."), by(".")}, "a.example."},
		{"the name itself", []*wire.RRset{by("WWW.a.Example.")}, "www.a.example."},
		{"the root alone", []*wire.RRset{by(".")}, "."},
		{"below and beside", []*wire.RRset{by("x.www.a.example.", "b.example.", "example.")}, "example."},
		{"below and beside alone", []*wire.RRset{by("x.www.a.example.", "b.example.")}, ""},
		{"cut off", []*wire.RRset{{Sigs: [][]byte{nil, make([]byte, 18), append(make([]byte, 18), 7, 'e', 'x')}}}, ""},
	} {
		got := ""
		if z := dnssec.SignerOf(name(t, "www.a.example."), c.sets...); z != nil {
			got = string(wire.AppendName(nil, z))
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// TestSidesOfACut has DS records on the parent's side of a cut, but for the root, and all else
// on the child's (RFC 4035, section 3.1.4.1); and proofs that show a cut, or may.
func TestSidesOfACut(t *testing.T) {
	for _, c := range []struct {
		name string
		typ  wire.Type
		want string
	}{{"a.example.", wire.TypeDS, "example."}, {"a.example.", wire.TypeNS, "a.example."}, {".", wire.TypeDS, "."}, {"com.", wire.TypeDS, "."}} {
		if got := string(wire.AppendName(nil, dnssec.ParentSide(name(t, c.name), c.typ))); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.typ, got, c.want)
		}
	}
	for _, c := range []struct {
		p    dnssec.Proof
		want bool
	}{{dnssec.Proof{}, false}, {dnssec.Proof{NXName: true}, false}, {dnssec.Proof{Delegation: true}, true}, {dnssec.Proof{OptOut: true}, true}, {dnssec.Proof{Insecure: true}, true}} {
		if got := c.p.Unsigned(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.p, got, c.want)
		}
	}
}

// TestClosestReason has two bad signatures, in both orders: that which came closer to a good
// one tells why, and that work was spent before all others.
func TestClosestReason(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.")
	sig := func(inception, expiration uint32, change func(b []byte)) []byte {
		b := signed(t, k, set(t), inception, expiration).Sigs[0]
		if change != nil {
			change(b)
		}
		return b
	}
	ranked := []struct {
		sig []byte
		why dnssec.Reason
	}{
		{sig(now-9, now+9, func(b []byte) { b[2] = 12 }), dnssec.UnsupportedAlgorithm},
		{sig(now-9, now+9, func(b []byte) { b[3] = 9 }), dnssec.WrongSigner},
		{sig(now-9, now+9, func(b []byte) { b[16]++ }), dnssec.NoKey},
		{sig(now+99, now+999, nil), dnssec.NotYetValid},
		{sig(now-99, now-9, nil), dnssec.Expired},
		{sig(now-9, now+9, func(b []byte) { b[len(b)-1]++ }), dnssec.BadSignature},
	}
	for i, worse := range ranked {
		for _, better := range ranked[i+1:] {
			for _, sigs := range [][][]byte{{worse.sig, better.sig}, {better.sig, worse.sig}} {
				s := set(t)
				s.Sigs = sigs
				if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != better.why {
					t.Errorf("%v and %v: %v, want %v", worse.why, better.why, why, better.why)
				}
			}
		}
	}
	s := set(t)
	bad := ranked[len(ranked)-1].sig
	s.Sigs = [][]byte{bad, bad}
	if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, &dnssec.Work{Signatures: 1, Failures: 9}); why != dnssec.WorkLimit {
		t.Errorf("a bad signature, and no work for the next: %v", why)
	}
}

// TestKeysBeyondBounds has a trust point for one RSA key. A zone whose only key is too large or too
// small to be verified counts as unsigned; one whose key is not a key at all does not.
func TestKeysBeyondBounds(t *testing.T) {
	modulus := bytes.Repeat([]byte{0xFF}, 128)
	for _, c := range []struct {
		what   string
		public []byte
		beyond bool
	}{
		{"512 bits", slices.Concat([]byte{1, 3}, modulus[:64]), true},
		{"4,104 bits", slices.Concat([]byte{1, 3}, bytes.Repeat([]byte{0xFF}, 513)), true},
		{"an exponent of five octets", slices.Concat([]byte{5, 1, 0, 0, 0, 1}, modulus), true},
		{"1,024 bits", slices.Concat([]byte{1, 3}, modulus), false},
		{"an exponent of 1", slices.Concat([]byte{1, 1}, modulus), false},
		{"an even exponent", slices.Concat([]byte{1, 4}, modulus), false},
		{"an even modulus", slices.Concat([]byte{1, 3}, modulus[1:], []byte{0xFE}), false},
		{"no exponent", slices.Concat([]byte{0, 0, 0}, modulus), false},
		{"no modulus", []byte{1, 3}, false},
		{"an exponent that is cut off", []byte{3, 1, 0}, false},
		{"half a length", []byte{0, 0}, false},
		{"one octet", []byte{1}, false},
	} {
		data := append([]byte{1, 0, 3, dnssec.RSASHA256}, c.public...)
		s := &wire.RRset{Owner: name(t, "example."), Type: wire.TypeDNSKEY, TTL: 3600, Data: [][]byte{data}}
		_, _, why := (&dnssec.TrustPoint{DNSKEYs: [][]byte{data}}).Keys(s, clock, work())
		if why == 0 || (why == dnssec.UnsupportedKey) != c.beyond {
			t.Errorf("%s: %v", c.what, why)
		}
	}
}
