package signer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// TestIncrement has names of a large zone come, go and change at random, some beside each other, around
// the apex, below others and as wildcards, and compares what is made of the changes alone with what comes
// of going through all of the zone: record by record they are one, and the difference leads there.
func TestIncrement(t *testing.T) {
	denials := []signer.Denial{signer.NSEC3, signer.Compact, signer.NSEC}
	if testing.Short() {
		denials = denials[:1]
	}
	for _, denial := range denials {
		random := rand.New(rand.NewPCG(1, uint64(denial)))
		plain := manyNames(t, 1200)
		dir := t.TempDir() + "/keys"
		newStage := func() *signer.Stage {
			return &signer.Stage{Zone: name(t, "example."), Dir: dir, Online: signer.NewOnline(1<<20, 1000), Policy: signer.StagePolicy{
				Algorithm: dnssec.ED25519, Denial: denial, Valid: 14 * days, Refresh: 5 * days, Before: time.Hour,
			}}
		}
		part, whole := newStage(), newStage()
		when := now
		v, err := part.Sign(t.Context(), 7, nil, plain, when)
		if err != nil {
			t.Fatal(err)
		}
		parts := 0
		for round := range 60 {
			d := randomChange(t, random, plain)
			next, problems := plain.Apply(d)
			if next == nil {
				t.Fatal(problems)
			}
			if when = when.Add(time.Minute); round == 59 {
				when = when.Add(days) // some are due to be renewed
			}
			have := v.Zone
			want, err := whole.Sign(t.Context(), 7, have, next, when)
			if err != nil {
				t.Fatal(err)
			}
			if v, err = part.SignChanges(t.Context(), 7, have, next, []*zone.Delta{d}, when); err != nil {
				t.Fatal(err)
			}
			if v.Zone.Fingerprint() != want.Zone.Fingerprint() || v.Zone.Names() != want.Zone.Names() || v.Zone.Records() != want.Zone.Records() {
				t.Fatalf("%v, round %d: another version: %v", denial, round, zone.Diff(want.Zone, v.Zone))
			}
			if got, _ := have.Apply(v.Deltas...); got == nil || got.Fingerprint() != want.Zone.Fingerprint() {
				t.Fatalf("%v, round %d: the difference does not lead there", denial, round)
			}
			if !v.Signed.Expires.Equal(want.Signed.Expires) && v.Signed.Expires.After(want.Signed.Expires) || v.Resign.After(want.Resign) {
				t.Fatalf("%v, round %d: expires %v, again %v; want %v, %v", denial, round, v.Signed.Expires, v.Resign, want.Signed.Expires, want.Resign)
			}
			if v.Part() {
				parts++
			}
			if round%15 != 0 {
				plain = next
				continue
			}
			if verdict := verify(t, v.Zone, signer.VerifyOptions{Now: when, Compact: denial == signer.Compact}); !verdict.Good() {
				t.Fatalf("%v, round %d: %v", denial, round, verdict.Faults)
			}
			plain = next
		}
		if hashed := denial == signer.NSEC3; parts < 40 && !hashed || parts > 0 && hashed {
			t.Errorf("%v: %d of 60 versions were made of what changed alone", denial, parts)
		}
	}
}

// randomChange returns a difference of a few names.
func randomChange(t *testing.T, random *rand.Rand, z *zone.Zone) *zone.Delta {
	ttl, soa := z.SOA()
	d := &zone.Delta{From: z.Serial(), To: z.Serial() + 1}
	d.Removed = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, soa)
	d.Added = zone.AppendRecord(nil, z.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, d.To))
	seen := map[string]bool{}
	at := random.IntN(1190)
	for i := range 1 + random.IntN(8) {
		text := []string{
			fmt.Sprintf("n%07d.example.", at+i), fmt.Sprintf("n%07d.example.", random.IntN(1190)), fmt.Sprintf("x.n%07d.example.", at+i),
			fmt.Sprintf("new%d.example.", random.IntN(20)), fmt.Sprintf("a.b.c%d.example.", random.IntN(4)), "*.wild.example.", "0.example.",
			"zzz.example.", "ns.example.", "example.", "\\000.example.",
		}[random.IntN(11)]
		if seen[text] {
			continue
		}
		seen[text] = true
		owner := name(t, text)
		z.EachAt(owner, func(owner []byte, typ wire.Type, ttl uint32, data []byte) bool {
			if typ != wire.TypeSOA && typ != wire.TypeNS && text != "ns.example." {
				d.Removed = zone.AppendRecord(d.Removed, owner, typ, ttl, data)
			}
			return true
		})
		if random.IntN(3) > 0 {
			d.Added = zone.AppendRecord(d.Added, owner, wire.TypeTXT, 300, []byte{1, byte('a' + random.IntN(26))})
		}
	}
	return d
}
