package signer_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// now is when the zones of the tests are signed.
var now = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// everyKind is a zone with names of every kind: wildcards, empty non-terminals, delegations
// with and without DS and below empty non-terminals, glue, a DNAME, capitals, types that are not
// known, escaped octets.
const everyKind = `
$ORIGIN example.
$TTL 3600
@ SOA ns admin 5 7200 3600 1209600 300
@ NS ns
@ NS ns2.example.net.
@ MX 10 mail
@ TXT "one" "two"
ns A 192.0.2.1
ns AAAA 2001:db8::1
mail A 192.0.2.2
*.wild TXT "w"
* MX 10 mail
a.b.c A 192.0.2.3
c.b.c A 192.0.2.3
insecure NS ns.insecure
ns.insecure A 192.0.2.9
secure NS ns.secure
ns.secure A 192.0.2.10
secure DS 12345 13 2 0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F20
deep.x.ent NS ns.example.net.
sub.y.mixed NS ns.example.net.
z.y.mixed A 192.0.2.11
UPPER.Case A 192.0.2.4
dn DNAME example.net.
al CNAME mail
odd TYPE65400 \# 3 010203
\000\001zero A 192.0.2.5
svc HTTPS 1 . alpn=h2
`

func load(t testing.TB, apex, text string) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(name(t, apex), 7)
	var r zone.Record
	_, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: name(t, apex), Name: "zone"}, func(z *zonefile.Record) error {
		r.Owner, r.Type, r.TTL, r.Data = z.Owner, z.Type, z.TTL, z.Data
		b.Add(&r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

func name(t testing.TB, s string) []byte {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newKey(t *testing.T, apex string, alg uint8, sep bool, others ...*signer.Key) *signer.Key {
	t.Helper()
	k, err := signer.NewKey(name(t, apex), alg, sep, now, others)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign returns the records of the signed zone, and what Sign says of them.
func sign(t *testing.T, z *zone.Zone, keys []*signer.Key, p signer.Policy, o signer.SignOptions) ([]byte, *signer.Signed) {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = now
	}
	var out []byte
	s, err := signer.Sign(z, keys, p, o, func(piece []byte) error { out = append(out, piece...); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out, s
}

// build makes a zone of records.
func build(t *testing.T, apex []byte, records []byte) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(apex, 7)
	var r zone.Record
	err := zone.EachRecord(records, func(owner []byte, typ wire.Type, ttl uint32, data []byte) bool {
		r.Owner, r.Type, r.TTL, r.Data = owner, typ, ttl, data
		b.Add(&r)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		t.Fatal(problems)
	}
	return z
}

func verify(t *testing.T, z *zone.Zone, o signer.VerifyOptions) *signer.Verdict {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = now
	}
	v, err := signer.Verify(z, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// dsOf returns the DS records of those keys that have the SEP flag.
func dsOf(keys []*signer.Key) (list [][]byte) {
	for _, k := range keys {
		if k.SEP() {
			ds, _ := k.DS(dnssec.DigestSHA256)
			list = append(list, ds)
		}
	}
	return list
}

// TestSign signs a zone of every kind in every way, and has the whole verified.
func TestSign(t *testing.T) {
	z := load(t, "example.", everyKind)
	csk := newKey(t, "example.", dnssec.ECDSAP256, true)
	layouts := map[string][]*signer.Key{
		"csk":            {csk},
		"split":          {newKey(t, "example.", dnssec.ED25519, true), newKey(t, "example.", dnssec.ED25519, false)},
		"two algorithms": {csk, newKey(t, "example.", dnssec.ECDSAP384, true), newKey(t, "example.", dnssec.RSASHA256, true)},
	}
	for layout, keys := range layouts {
		for _, denial := range []signer.Denial{signer.NSEC, signer.NSEC3, signer.NSEC3OptOut} {
			for _, digest := range []bool{false, true} {
				t.Run(fmt.Sprint(layout, " ", denial, " ", digest), func(t *testing.T) {
					serial := uint32(77)
					records, s := sign(t, z, keys, signer.Policy{Denial: denial, Digest: digest, Serial: &serial}, signer.SignOptions{Workers: 3})
					signed := build(t, z.Apex(), records)
					v := verify(t, signed, signer.VerifyOptions{DS: dsOf(keys), Workers: 3})
					if !v.Good() || v.Warnings > 0 {
						t.Fatalf("not verified: %v", v.Faults)
					}
					if v.Denial != denial.String() || v.Digest != digest || v.Signatures != s.Made || signed.Serial() != serial {
						t.Errorf("got %s, digest %v, %d signatures, serial %d; want %s, %v, %d, %d", v.Denial, v.Digest, v.Signatures, signed.Serial(), denial, digest, s.Made, serial)
					}
					if !v.Earliest.Equal(now.Add(14*24*time.Hour)) || !s.Expires.Equal(v.Earliest) {
						t.Errorf("the first expires %v, and Sign said %v", v.Earliest, s.Expires)
					}
					again, _ := sign(t, signed, keys, signer.Policy{Denial: denial, Serial: &serial}, signer.SignOptions{})
					if v := verify(t, build(t, z.Apex(), again), signer.VerifyOptions{DS: dsOf(keys)}); !v.Good() || v.Digest != digest {
						t.Errorf("signed once more: %v, digest %v, want %v", v.Faults, v.Digest, digest)
					}
				})
			}
		}
	}
}

// TestSignLarge signs zones of which many pieces are made, in any order, and written in theirs.
func TestSignLarge(t *testing.T) {
	var text strings.Builder
	text.WriteString("@ 60 SOA ns admin 1 1 1 1 60\n@ 60 NS ns\n")
	for i := range 3000 {
		fmt.Fprintf(&text, "h%d 60 A 192.0.2.%d\n", i*7919%3000, i%256)
	}
	z := load(t, "big.", text.String())
	keys := []*signer.Key{newKey(t, "big.", dnssec.ED25519, true)}
	for _, denial := range []signer.Denial{signer.NSEC, signer.NSEC3} {
		records, s := sign(t, z, keys, signer.Policy{Denial: denial, Digest: true}, signer.SignOptions{Workers: 4})
		if v := verify(t, build(t, z.Apex(), records), signer.VerifyOptions{}); !v.Good() || !v.Digest || s.Made != v.Signatures {
			t.Errorf("%v: %v, %d signatures and %d made", denial, v.Faults, v.Signatures, s.Made)
		}
		// Whoever writes fails: the error comes back, and nobody waits for ever.
		for _, at := range []int{0, 3} {
			count := 0
			_, err := signer.Sign(z, keys, signer.Policy{Denial: denial}, signer.SignOptions{Now: now, Workers: 4}, func([]byte) error {
				if count++; count > at {
					return errFull
				}
				return nil
			})
			if err != errFull {
				t.Errorf("piece %d: got error %v", at, err)
			}
		}
	}
}

// TestSignInOrder has the first piece take longer than many that follow: all are written in their
// order, and the digest is that of the zone.
func TestSignInOrder(t *testing.T) {
	var text strings.Builder
	text.WriteString("@ 60 SOA ns admin 1 1 1 1 60\n@ 60 NS ns\n")
	for i := range 4000 {
		fmt.Fprintf(&text, "h%d 60 A 192.0.2.%d\n", i, i%256)
	}
	z := load(t, "big.", text.String())
	keys := []*signer.Key{newKey(t, "big.", dnssec.ED25519, true)}
	var others atomic.Int32
	enough := make(chan struct{})
	o := signer.SignOptions{Workers: 2, Append: func(dst, owner []byte, typ wire.Type, ttl uint32, data []byte) []byte {
		switch {
		case typ == wire.TypeSOA:
			select {
			case <-enough:
			case <-time.After(time.Second): // the others wait for this one, as they should
			}
		case others.Add(1) == 4*256*8: // records: more than eight pieces
			close(enough)
		}
		return zone.AppendRecord(dst, owner, typ, ttl, data)
	}}
	records, _ := sign(t, z, keys, signer.Policy{Digest: true}, o)
	if v := verify(t, build(t, z.Apex(), records), signer.VerifyOptions{}); !v.Good() || !v.Digest {
		t.Errorf("%v", v.Faults)
	}
}

var errFull = fmt.Errorf("no room")

// TestSignKeeps signs a zone again after a change: the signatures of what has not changed stay,
// and those that would expire too soon do not.
func TestSignKeeps(t *testing.T) {
	keys := []*signer.Key{newKey(t, "example.", dnssec.ECDSAP256, true)}
	for _, denial := range []signer.Denial{signer.NSEC, signer.NSEC3} {
		p := signer.Policy{Denial: denial, Refresh: 5 * 24 * time.Hour}
		records, first := sign(t, load(t, "example.", everyKind), keys, p, signer.SignOptions{})
		have := build(t, name(t, "example."), records)
		changed := load(t, "example.", strings.Replace(everyKind, "mail A 192.0.2.2", "mail A 192.0.2.222", 1))
		later := now.Add(8 * 24 * time.Hour)
		records, s := sign(t, changed, keys, p, signer.SignOptions{Prior: have, Now: later})
		if s.Made != 1 || s.Kept != first.Made-1 {
			t.Errorf("%v: %d made, %d kept; want 1 and %d", denial, s.Made, s.Kept, first.Made-1)
		}
		if v := verify(t, build(t, name(t, "example."), records), signer.VerifyOptions{Now: later}); !v.Good() {
			t.Errorf("%v: %v", denial, v.Faults)
		}
		later = now.Add(9*24*time.Hour + time.Second)
		if _, s := sign(t, changed, keys, p, signer.SignOptions{Prior: have, Now: later}); s.Kept != 0 {
			t.Errorf("%v: %d signatures were kept that are good for less than 5 days", denial, s.Kept)
		}
		// Those of a key that is gone are not kept, whatever its tag.
		other := []*signer.Key{newKey(t, "example.", dnssec.ECDSAP256, true, keys...)}
		if _, s := sign(t, changed, other, p, signer.SignOptions{Prior: have}); s.Kept != 0 {
			t.Errorf("%v: %d signatures of another key were kept", denial, s.Kept)
		}
	}
}

// TestSpread has signatures expire at different times, the same in every run.
func TestSpread(t *testing.T) {
	z := load(t, "example.", everyKind)
	keys := []*signer.Key{newKey(t, "example.", dnssec.ED25519, true)}
	p := signer.Policy{Spread: 8 * 24 * time.Hour}
	times := func() map[uint32]int {
		records, _ := sign(t, z, keys, p, signer.SignOptions{})
		count := map[uint32]int{}
		_ = zone.EachRecord(records, func(_ []byte, typ wire.Type, _ uint32, data []byte) bool {
			if typ == wire.TypeRRSIG {
				count[binary.BigEndian.Uint32(data[8:])]++
			}
			return true
		})
		return count
	}
	first, second := times(), times()
	if len(first) < 20 || len(first) != len(second) {
		t.Fatalf("%d and %d different times", len(first), len(second))
	}
	for at, n := range first {
		if second[at] != n {
			t.Error("the second run has other times")
		}
		if left := time.Unix(int64(at), 0).Sub(now); left < 6*24*time.Hour || left > 14*24*time.Hour {
			t.Errorf("a signature is valid for %v", left)
		}
	}
}

// TestSignRefuses has zones and keys that cannot be signed with.
func TestSignRefuses(t *testing.T) {
	good := newKey(t, "example.", dnssec.ED25519, true)
	inactive := newKey(t, "example.", dnssec.ED25519, true)
	inactive.Times.Inactive = now.Add(-time.Hour)
	public := newKey(t, "example.", dnssec.ECDSAP256, true)
	public.Private = nil
	foreign := newKey(t, "example.net.", dnssec.ED25519, true)
	bad := newKey(t, "example.", dnssec.ED25519, true)
	bad.Private = newKey(t, "example.", dnssec.ED25519, true).Private
	const small = "@ 60 SOA ns a 1 1 1 1 1\n@ 60 NS ns\n"
	for what, c := range map[string]struct {
		text string
		keys []*signer.Key
		want string
	}{
		"another private key": {small, []*signer.Key{bad}, "the private key does not match the DNSKEY record"},
		"no key":              {small, nil, "no key signs the zone now"},
		"one that is over":    {small, []*signer.Key{inactive}, "no key signs the zone now"},
		"of another zone":     {small, []*signer.Key{foreign}, "is of another zone"},
		"algorithm unsigned":  {small, []*signer.Key{good, public}, "is in the DNSKEY RRset, but no key of that algorithm signs"},
		"DS without NS":       {small + "www 60 A 192.0.2.1\nwww 60 DS 1 13 2 0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F20\n", []*signer.Key{good}, "www.example. DS: not a delegation"},
		"foreign DNSKEY":      {small + "@ 60 DNSKEY 257 3 8 AwEAAcBPxIk=\n", []*signer.Key{good}, "no key of that algorithm signs"},
	} {
		_, err := signer.Sign(load(t, "example.", c.text), c.keys, signer.Policy{}, signer.SignOptions{Now: now}, func([]byte) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q", what, err, c.want)
		}
	}
}
