package dnssec_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

func name(t testing.TB, s string) []byte {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func work() *dnssec.Work { return &dnssec.Work{Signatures: 32, Failures: 3, Hashes: 1000} }

const now = 1_800_000_000

var clock = time.Unix(now, 0)

func set(t testing.TB) *wire.RRset {
	return &wire.RRset{Owner: name(t, "a.example."), Type: wire.TypeMX, TTL: 3600, Data: [][]byte{
		append([]byte{0, 20}, name(t, "MAIL.example.")...), append([]byte{0, 10}, name(t, "b.example.")...),
	}}
}

func signer(t testing.TB, alg uint8, zone string) *dnssec.Signer {
	t.Helper()
	s, err := dnssec.GenerateKey(name(t, zone), alg, dnssec.FlagZone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed puts the key's signature, and no other, to a set.
func signed(t testing.TB, k *dnssec.Signer, s *wire.RRset, inception, expiration uint32) *wire.RRset {
	t.Helper()
	sig, err := k.Sign(s, inception, expiration)
	if err != nil {
		t.Fatal(err)
	}
	s.Sigs = [][]byte{sig}
	return s
}

func TestSignAndVerify(t *testing.T) {
	for _, alg := range []uint8{dnssec.RSASHA256, dnssec.RSASHA512, dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519} {
		t.Run(wire.AlgorithmName(alg), func(t *testing.T) {
			k := signer(t, alg, "example.")
			s := set(t)
			sig, err := k.Sign(s, now-100, now+1000)
			if err != nil {
				t.Fatal(err)
			}
			s.Sigs = [][]byte{sig}
			s.TTL = 1800
			s.Data[0], s.Data[1] = s.Data[1], s.Data[0]       // order does not matter
			copy(s.Data[1][2:], bytes.ToLower(s.Data[1][2:])) // nor case (RFC 4034, section 6.2)
			keys := []dnssec.Key{k.Key}
			v, why := dnssec.Verify(s, k.Zone, keys, clock, work())
			if why != 0 || v.TTL != 1000 || v.Labels != 2 || v.Wildcard || v.Expires != now+1000 {
				t.Fatalf("%+v %v", v, why)
			}
			s.Data[0][1]++
			if _, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != dnssec.BadSignature {
				t.Errorf("changed data: %v", why)
			}
			s.Data[0][1]--
			sig[len(sig)-1] ^= 1
			if _, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != dnssec.BadSignature {
				t.Errorf("changed signature: %v", why)
			}
		})
	}
}

// TestShortNumbers makes so many signatures that some of their numbers begin with zeros.
func TestShortNumbers(t *testing.T) {
	k := signer(t, dnssec.ECDSAP256, "example.")
	short := 0
	for i := range uint32(3000) {
		s := signed(t, k, set(t), now-i, now+1)
		sig := s.Sigs[0][len(s.Sigs[0])-64:]
		if sig[0] != 0 && sig[32] != 0 && i > 0 {
			continue
		}
		if short++; short > 4 {
			break
		}
		if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != 0 {
			t.Errorf("%x: %v", sig, why)
		}
	}
	if short < 2 {
		t.Error("none was short")
	}
}

// TestSignerIsTheZone has signatures by a key of the zone that name another zone as their
// signer, in all else right (RFC 4035, section 5.3.1): two zones may have one key.
func TestSignerIsTheZone(t *testing.T) {
	k := signer(t, dnssec.ECDSAP256, "example.")
	for zone, want := range map[string]dnssec.Reason{"example.": 0, "EXAMPLE.": 0, "a.example.": dnssec.WrongSigner, ".": dnssec.WrongSigner} {
		as := *k
		as.Zone = name(t, zone)
		s := signed(t, &as, set(t), now-100, now+1000)
		if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != want {
			t.Errorf("signed in the name of %s: %v, want %v", zone, why, want)
		}
	}
}

// TestVerifyRefuses has what RFC 4035, section 5.3.1 demands, one fault each.
func TestVerifyRefuses(t *testing.T) {
	k := signer(t, dnssec.ECDSAP256, "example.")
	other := signer(t, dnssec.ECDSAP256, "example.")
	put32 := func(at int, v uint32) func(*wire.RRset) {
		return func(s *wire.RRset) { binary.BigEndian.PutUint32(s.Sigs[0][at:], v) }
	}
	for _, c := range []struct {
		what  string
		spoil func(*wire.RRset)
		zone  string
		keys  []dnssec.Key
		want  dnssec.Reason
	}{
		{"no signature", func(s *wire.RRset) { s.Sigs = nil }, "", nil, dnssec.NoSignature},
		{"expired", put32(8, now-1), "", nil, dnssec.Expired},
		{"not yet valid", put32(12, now+61), "", nil, dnssec.NotYetValid},
		{"another type", func(s *wire.RRset) { s.Sigs[0][1]++ }, "", nil, dnssec.BadSignature},
		{"cut off", func(s *wire.RRset) { s.Sigs[0] = s.Sigs[0][:25] }, "", nil, dnssec.BadSignature},
		{"more labels than the owner", func(s *wire.RRset) { s.Sigs[0][3] = 3 }, "", nil, dnssec.WrongSigner},
		{"fewer labels than the zone", func(s *wire.RRset) { s.Sigs[0][3] = 0 }, "", nil, dnssec.WrongSigner},
		{"another zone", nil, "com.", nil, dnssec.WrongSigner},
		{"another algorithm", func(s *wire.RRset) { s.Sigs[0][2] = 12 }, "", nil, dnssec.UnsupportedAlgorithm},
		{"another key", nil, "", []dnssec.Key{other.Key}, dnssec.NoKey},
		{"no key", nil, "", []dnssec.Key{}, dnssec.NoKey},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := set(t)
			sig, err := k.Sign(s, now-100, now+1000)
			if err != nil {
				t.Fatal(err)
			}
			s.Sigs = [][]byte{sig}
			if c.spoil != nil {
				c.spoil(s)
			}
			zone, keys := k.Zone, c.keys
			if c.zone != "" {
				zone = name(t, c.zone)
			}
			if keys == nil {
				keys = []dnssec.Key{k.Key}
			}
			if _, why := dnssec.Verify(s, zone, keys, clock, work()); why != c.want {
				t.Errorf("%v, want %v", why, c.want)
			}
		})
	}
}

// TestSpentByAnother has a good set that the question has nothing left for.
func TestSpentByAnother(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.")
	s := signed(t, k, set(t), now-100, now+100)
	if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, &dnssec.Work{Signatures: 9}); why != dnssec.WorkLimit {
		t.Errorf("%v, want %v: the set is good", why, dnssec.WorkLimit)
	}
}

// TestManySignatures has sets with several signatures and keys, one of which is good.
func TestManySignatures(t *testing.T) {
	k, other := signer(t, dnssec.ED25519, "example."), signer(t, dnssec.ECDSAP256, "example.")
	s := signed(t, k, set(t), now-100, now+100)
	good := s.Sigs[0]
	spoiled := func(at int, b byte) []byte {
		sig := bytes.Clone(good)
		sig[at] ^= b
		return sig
	}
	bad := spoiled(len(good)-1, 1)
	expired := bytes.Clone(good)
	binary.BigEndian.PutUint32(expired[8:], now-1)
	spoil := func(k dnssec.Key) dnssec.Key { // another key with the same tag
		k, _ = dnssec.ParseKey(bytes.Clone(k.Data))
		at := 4
		for k.Data[at] == k.Data[at+2] {
			at++
		}
		k.Data[at], k.Data[at+2] = k.Data[at+2], k.Data[at]
		twin, ok := dnssec.ParseKey(k.Data)
		if !ok || twin.Tag != k.Tag {
			t.Fatal("the twin has another tag")
		}
		return twin
	}
	for _, c := range []struct {
		what string
		sigs [][]byte
		keys []dnssec.Key
		used int
		want dnssec.Reason
	}{
		{"unsupported, expired, then good", [][]byte{spoiled(2, 0x10), expired, good}, []dnssec.Key{k.Key}, 1, 0},
		{"of a key that is gone (RFC 6840, section 5.12)", [][]byte{spoiled(16, 1), good}, []dnssec.Key{k.Key}, 1, 0},
		{"two keys with one tag", [][]byte{good}, []dnssec.Key{spoil(k.Key), k.Key}, 2, 0},
		{"other keys cost nothing", [][]byte{good}, []dnssec.Key{other.Key, other.Key, other.Key, other.Key, other.Key, k.Key}, 1, 0},
		{"good after two bad ones", [][]byte{bad, bad, good}, []dnssec.Key{k.Key}, 3, 0},
		{"good after many of keys that are gone", [][]byte{spoiled(16, 1), spoiled(16, 2), spoiled(16, 4), spoiled(16, 8), spoiled(16, 16), good}, []dnssec.Key{k.Key}, 1, 0},
		{"the signer in capitals (RFC 4034, section 3.1.8.1)", [][]byte{spoiled(19, 0x20)}, []dnssec.Key{k.Key}, 1, 0},
		{"of another type costs nothing", [][]byte{spoiled(1, 1)}, []dnssec.Key{k.Key}, 0, dnssec.BadSignature},
		{"good after three", [][]byte{bad, bad, bad, good}, []dnssec.Key{k.Key}, 3, dnssec.BadSignature},
		{"the closest tells why", [][]byte{spoiled(2, 0x10), expired}, []dnssec.Key{k.Key}, 0, dnssec.Expired},
	} {
		s.Sigs = c.sigs
		w := work()
		if _, why := dnssec.Verify(s, k.Zone, c.keys, clock, w); why != c.want || 32-w.Signatures != c.used {
			t.Errorf("%s: %v after %d verifications, want %v after %d", c.what, why, 32-w.Signatures, c.want, c.used)
		}
	}
}

// TestTimes has clocks around a signature's life, of 1,000 seconds, at places where
// 32 bits end (RFC 4034, section 3.1.5).
func TestTimes(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.")
	for _, inception := range []int64{now, 1<<31 - 500, 1<<32 - 500} {
		s := signed(t, k, set(t), uint32(inception), uint32(inception+1000))
		for _, c := range []struct {
			after int64
			ttl   uint32
			want  dnssec.Reason
		}{{-61, 0, dnssec.NotYetValid}, {-60, 1060, 0}, {0, 1000, 0}, {999, 1, 0}, {1000, 0, 0}, {1001, 0, dnssec.Expired}} {
			v, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, time.Unix(inception+c.after, 0), work())
			if why != c.want || v.TTL != c.ttl {
				t.Errorf("inception %d, %d s later: TTL %d %v, want %d %v", inception, c.after, v.TTL, why, c.ttl, c.want)
			}
		}
	}
	s := signed(t, k, set(t), now+10, now-10)
	if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != dnssec.ExpiredBeforeValid || why.EDE() != 25 {
		t.Errorf("a life that ends before it begins: %v", why)
	}
}

// TestTTL has the least of three (RFC 4035, section 5.3.3).
func TestTTL(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.")
	for _, c := range []struct{ original, set, left, want uint32 }{
		{300, 9000, 9000, 300}, {9000, 300, 9000, 300}, {9000, 9000, 300, 300}, {0, 9000, 9000, 0},
	} {
		s := set(t)
		s.TTL = c.original
		signed(t, k, s, now-100, now+c.left)
		s.TTL = c.set
		if v, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != 0 || v.TTL != c.want {
			t.Errorf("%+v: TTL %d %v", c, v.TTL, why)
		}
	}
}

// TestKeyRoles has keys by their flags: only those that may sign zones count, and the
// caller sees which are revoked.
func TestKeyRoles(t *testing.T) {
	for _, c := range []struct {
		flags             uint16
		zone, sep, revoke bool
		want              dnssec.Reason
	}{
		{0x0000, false, false, false, dnssec.NoZoneKey},
		{0x0001, false, true, false, dnssec.NoZoneKey},
		{0x0100, true, false, false, 0},
		{0x0101, true, true, false, 0},
		{0x0181, true, true, true, 0},
	} {
		k, err := dnssec.GenerateKey(name(t, "example."), dnssec.ED25519, c.flags)
		if err != nil {
			t.Fatal(err)
		}
		if k.Key.Zone() != c.zone || k.Key.SEP() != c.sep || k.Key.Revoked() != c.revoke {
			t.Errorf("flags %#04x: zone %v, SEP %v, revoked %v", c.flags, k.Key.Zone(), k.Key.SEP(), k.Key.Revoked())
		}
		s := signed(t, k, set(t), now-100, now+100)
		if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != c.want {
			t.Errorf("flags %#04x: %v, want %v", c.flags, why, c.want)
		}
	}
	for _, rdata := range [][]byte{nil, {1, 0, 3, 8}, {1, 0, 2, 8, 0}} {
		if _, ok := dnssec.ParseKey(rdata); ok {
			t.Errorf("% x is a key", rdata)
		}
	}
}

// TestSetOfParent has a DS set that the child signed itself.
func TestSetOfParent(t *testing.T) {
	up, down := signer(t, dnssec.ED25519, "example."), signer(t, dnssec.ED25519, "a.example.")
	ds, _ := dnssec.AppendDS(nil, down.Zone, down.Key.Data, dnssec.DigestSHA256)
	s := &wire.RRset{Owner: down.Zone, Type: wire.TypeDS, TTL: 60, Data: [][]byte{ds}}
	if _, why := dnssec.Verify(signed(t, up, s, now-1, now+1), up.Zone, []dnssec.Key{up.Key}, clock, work()); why != 0 {
		t.Errorf("by the parent: %v", why)
	}
	if _, why := dnssec.Verify(signed(t, down, s, now-1, now+1), down.Zone, []dnssec.Key{down.Key}, clock, work()); why != dnssec.WrongSigner {
		t.Errorf("by the zone itself: %v, want %v", why, dnssec.WrongSigner)
	}
	if _, err := down.Sign(&wire.RRset{Owner: up.Zone, Type: wire.TypeA}, now-1, now+1); err == nil {
		t.Error("a zone signed a name outside of it")
	}
}

// TestDuplicates has records twice: they count once (RFC 4034, section 6.3).
func TestDuplicates(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.")
	s := signed(t, k, set(t), now-100, now+100)
	s.Data = append(s.Data, s.Data[0], append(bytes.Clone(s.Data[0][:2]), name(t, "mail.EXAMPLE.")...))
	if _, why := dnssec.Verify(s, k.Zone, []dnssec.Key{k.Key}, clock, work()); why != 0 {
		t.Error(why)
	}
}

// TestReasons has the codes of RFC 8914, section 4.
func TestReasons(t *testing.T) {
	for why, want := range map[dnssec.Reason]int{
		dnssec.NoSignature: 10, dnssec.Expired: 7, dnssec.NotYetValid: 8, dnssec.ExpiredBeforeValid: 25, dnssec.NoKey: 9,
		dnssec.NoZoneKey: 11, dnssec.BadSignature: 6, dnssec.WrongSigner: 6, dnssec.UnsupportedAlgorithm: 1,
		dnssec.UnsupportedDigest: 2, dnssec.NoProof: 12, dnssec.BadProof: 6, dnssec.TooManyIterations: 27, dnssec.WorkLimit: 0,
	} {
		if why.EDE() != want {
			t.Errorf("%v has code %d, want %d", why, why.EDE(), want)
		}
		if text := why.Error(); text == "dnssec: " || text == "dnssec: unknown reason" {
			t.Errorf("reason %d has no text", why)
		}
	}
}

func TestWildcardSignature(t *testing.T) {
	k := signer(t, dnssec.ED25519, "example.")
	s := set(t)
	s.Owner = name(t, "*.example.")
	sig, err := k.Sign(s, now-100, now+100)
	if err != nil {
		t.Fatal(err)
	}
	s.Sigs = [][]byte{sig}
	keys := []dnssec.Key{k.Key}
	if v, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != 0 || v.Wildcard || v.Labels != 1 {
		t.Errorf("the wildcard itself: %+v %v", v, why)
	}
	s.Owner = name(t, "x.y.example.")
	if v, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != 0 || !v.Wildcard || v.Labels != 1 {
		t.Errorf("a name made from it: %+v %v", v, why)
	}
	s.Owner = name(t, "*.y.example.")
	if v, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != 0 || !v.Wildcard || v.Labels != 1 {
		t.Errorf("a name made from it that begins with * itself: %+v %v", v, why)
	}
	s.Owner = name(t, "*.example.")
	s.Sigs[0][3] = 0
	if _, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != dnssec.WrongSigner {
		t.Errorf("a wildcard above the zone: %v", why)
	}
}

// TestKeyTrap counts verifications where a hundred keys have one tag and a hundred
// signatures name it (CVE-2023-50387).
func TestKeyTrap(t *testing.T) {
	k := signer(t, dnssec.ECDSAP256, "example.")
	s := set(t)
	sig, err := k.Sign(s, now-100, now+1000)
	if err != nil {
		t.Fatal(err)
	}
	sig[len(sig)-1] ^= 1
	for range 100 {
		s.Sigs = append(s.Sigs, sig)
	}
	keys := make([]dnssec.Key, 100)
	for i := range keys {
		keys[i] = k.Key
	}
	w := &dnssec.Work{Signatures: 1000, Failures: 1000}
	if _, why := dnssec.Verify(s, k.Zone, keys, clock, w); why != dnssec.BadSignature || w.Signatures != 997 || w.Failures != 997 {
		t.Errorf("%v, %+v left, want an end after three failures", why, w)
	}
	// The question's own bound is no finding about the set.
	for _, w := range []*dnssec.Work{{Signatures: 2, Failures: 9}, {Signatures: 9, Failures: 2}, {Signatures: 9}, {Failures: 9}} {
		before := *w
		if _, why := dnssec.Verify(s, k.Zone, keys, clock, w); why != dnssec.WorkLimit {
			t.Errorf("with %+v: %v, want %v", before, why, dnssec.WorkLimit)
		}
	}
}

// TestExponent3 has a signature by a key with the exponent 3, which package crypto does
// not make.
func TestExponent3(t *testing.T) {
	three, one := big.NewInt(3), big.NewInt(1)
	prime := func() *big.Int {
		for {
			p, err := rand.Prime(rand.Reader, 512)
			if err != nil {
				t.Fatal(err)
			}
			if new(big.Int).Mod(p, three).Cmp(big.NewInt(2)) == 0 { // p-1 is no multiple of 3
				return p
			}
		}
	}
	p, q := prime(), prime()
	n := new(big.Int).Mul(p, q)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	d := new(big.Int).ModInverse(three, phi)
	k, ok := dnssec.ParseKey(append([]byte{1, 0, 3, dnssec.RSASHA256, 1, 3}, n.Bytes()...))
	if !ok || n.BitLen() != 1024 {
		t.Fatalf("key %v of %d bits", ok, n.BitLen())
	}
	s := set(t)
	head := append([]byte{0, 15, 8, 2, 0, 0, 14, 16, 0x7F, 0, 0, 0, 0x10, 0, 0, 0, byte(k.Tag >> 8), byte(k.Tag)}, name(t, "example.")...)
	data, _ := dnssec.SignedData(s, append(head, 0))
	sum := sha256.Sum256(data)
	// What stands before a SHA-256 digest (RFC 8017, section 9.2).
	prefix := []byte{0x00, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	m := append([]byte{0, 1}, bytes.Repeat([]byte{0xFF}, 128-2-len(prefix)-len(sum))...)
	m = append(append(m, prefix...), sum[:]...)
	sig := new(big.Int).Exp(new(big.Int).SetBytes(m), d, n).FillBytes(make([]byte, 128))
	s.Sigs = [][]byte{append(head[:len(head):len(head)], sig...)}
	if _, why := dnssec.Verify(s, name(t, "example."), []dnssec.Key{k}, clock, work()); why != 0 {
		t.Error(why)
	}
}

// TestRSAKeys has keys that cost too much or are too weak.
func TestRSAKeys(t *testing.T) {
	for _, c := range []struct {
		bits int
		e    []byte
		want bool
	}{{1024, []byte{3}, true}, {2048, []byte{1, 0, 1}, true}, {4096, []byte{3}, true}, {4104, []byte{3}, false}, {512, []byte{3}, false}, {2048, []byte{1, 0, 0, 1}, true}, {2048, []byte{0x80, 0, 0, 1}, false}, {2048, []byte{4}, false}} {
		rdata := append([]byte{1, 0, 3, dnssec.RSASHA256, byte(len(c.e))}, c.e...)
		rdata = append(rdata, bytes.Repeat([]byte{0xFF}, c.bits/8)...)
		k, ok := dnssec.ParseKey(rdata)
		s := set(t)
		s.Sigs = [][]byte{append([]byte{0, 15, 8, 2, 0, 0, 14, 16, 0x7F, 0, 0, 0, 0, 0, 0, 0, byte(k.Tag >> 8), byte(k.Tag)}, append(name(t, "example."), 1, 2, 3)...)}
		w := work()
		dnssec.Verify(s, name(t, "example."), []dnssec.Key{k}, clock, w)
		if used := w.Signatures < 32; !ok || used != c.want {
			t.Errorf("%d bits, exponent %x: used %v, want %v", c.bits, c.e, used, c.want)
		}
	}
}

// TestDS has the examples of RFC 4034, section 5.4, and of RFC 4509, section 2.3.
func TestDS(t *testing.T) {
	read := func(text string) (owner, data []byte) {
		s := sets(t, []byte(text))[0]
		return s.Owner, s.Data[0]
	}
	key := `dskey.example.com. 86400 IN DNSKEY 256 3 5 AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw==`
	for _, ds := range []string{
		"dskey.example.com. 86400 IN DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
		"dskey.example.com. 86400 IN DS 60485 5 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A",
	} {
		owner, dnskey := read(key)
		_, data := read(ds)
		if !dnssec.MatchDS(data, owner, dnskey) {
			t.Errorf("%s does not match", ds)
		}
		data[len(data)-1] ^= 1
		if dnssec.MatchDS(data, owner, dnskey) {
			t.Errorf("%s matches with another digest", ds)
		}
	}
}

// TestHashName has hashes of RFC 5155, appendix A.
func TestHashName(t *testing.T) {
	salt, _ := hex.DecodeString("aabbccdd")
	for n, want := range map[string]string{
		"example.": "0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM", "a.example.": "35MTHGPGCU1QG68FAB165KLNSNK3DPVL",
		"*.w.example.": "R53BQ7CC2UVMUBFU5OCMM6PERS9TK9EN", "x.y.w.example.": "2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3S",
	} {
		if got := wire.Base32Hex.EncodeToString(dnssec.HashName(nil, name(t, n), 12, salt)); got != want {
			t.Errorf("%s: %s, want %s", n, got, want)
		}
	}
}
