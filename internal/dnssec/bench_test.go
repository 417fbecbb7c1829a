package dnssec_test

import (
	"bytes"
	"testing"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []uint8{dnssec.RSASHA256, dnssec.RSASHA512, dnssec.ECDSAP256, dnssec.ECDSAP384, dnssec.ED25519} {
		b.Run(wire.AlgorithmName(alg), func(b *testing.B) {
			k := signer(b, alg, "example.")
			s := signed(b, k, set(b), now-100, now+1000)
			keys := []dnssec.Key{k.Key}
			w := &dnssec.Work{}
			b.ReportAllocs()
			for b.Loop() {
				w.Signatures, w.Failures = 1, 1
				if _, why := dnssec.Verify(s, k.Zone, keys, clock, w); why != 0 {
					b.Fatal(why)
				}
			}
		})
	}
}

// BenchmarkKeyTrap is the dearest set there is, to a question with nothing spent.
func BenchmarkKeyTrap(b *testing.B) {
	k := signer(b, dnssec.ECDSAP384, "example.")
	s := signed(b, k, set(b), now-100, now+1000)
	s.Data[0][1]++
	keys := make([]dnssec.Key, 100)
	for i := range keys {
		keys[i] = k.Key
	}
	for range 99 {
		s.Sigs = append(s.Sigs, s.Sigs[0])
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, why := dnssec.Verify(s, k.Zone, keys, clock, work()); why != dnssec.BadSignature {
			b.Fatal(why)
		}
	}
}

func BenchmarkParseKey(b *testing.B) {
	for _, alg := range []uint8{dnssec.RSASHA256, dnssec.ECDSAP256, dnssec.ED25519} {
		b.Run(wire.AlgorithmName(alg), func(b *testing.B) {
			rdata := signer(b, alg, "example.").Key.Data
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := dnssec.ParseKey(rdata); !ok {
					b.Fatal("no key")
				}
			}
		})
	}
}

func BenchmarkNXDomain(b *testing.B) {
	n := name(b, "p.q.example.")
	b.Run("NSEC", func(b *testing.B) {
		chain := nsecChain(b)
		owners := matching(b, chain, n)
		w := work()
		b.ReportAllocs()
		for b.Loop() {
			if _, why := denialOf(b, chain, owners).NXDomain(n, w); why != 0 {
				b.Fatal(why)
			}
		}
	})
	for _, c := range []struct {
		what       string
		iterations uint16
	}{{"NSEC3", 0}, {"NSEC3 with 50 iterations", 50}} {
		b.Run(c.what, func(b *testing.B) {
			d := denial3(b, nsec3Chain(b, c.iterations, false), c.iterations, n)
			w := work()
			b.ReportAllocs()
			for b.Loop() {
				w.Hashes = 10
				if _, why := d.NXDomain(n, w); why != 0 {
					b.Fatal(why)
				}
			}
		})
	}
}

// TestProofAllocations has proofs from records that are there: nothing is allocated but
// the name of the wildcard, and that is short-lived.
func TestProofAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	n := name(t, "p.q.example.")
	chain := nsecChain(t)
	for kind, d := range map[string]*dnssec.Denial{
		"NSEC": denialOf(t, chain, matching(t, chain, n)), "NSEC3": denial3(t, nsec3Chain(t, 1, false), 1, n),
	} {
		w := work()
		got := testing.AllocsPerRun(100, func() {
			w.Hashes = 10
			if _, why := d.NXDomain(n, w); why != 0 {
				t.Fatal(kind, why)
			}
		})
		if got > 1 {
			t.Errorf("%s: %v allocations a proof", kind, got)
		}
	}
}

// TestVerifyAllocations has what package crypto does not need itself: nothing.
func TestVerifyAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	k := signer(t, dnssec.ED25519, "example.")
	s := signed(t, k, set(t), now-100, now+1000)
	keys := []dnssec.Key{k.Key}
	for range 50 {
		s.Data = append(s.Data, append([]byte{0, byte(len(s.Data))}, bytes.Clone(name(t, "m.example."))...))
	}
	s = signed(t, k, s, now-100, now+1000)
	w := work()
	if got := testing.AllocsPerRun(100, func() {
		w.Signatures = 1
		if _, why := dnssec.Verify(s, k.Zone, keys, clock, w); why != 0 {
			t.Fatal(why)
		}
	}); got > 0 {
		t.Errorf("%v allocations a verification", got)
	}
}
