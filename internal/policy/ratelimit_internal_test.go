package policy

import "testing"

// TestSeeds has the buckets of two servers lie in different places, so that nobody can aim at
// another's.
func TestSeeds(t *testing.T) {
	seen := map[uint64]bool{}
	for range 2 {
		l, err := NewRateLimiter(RateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l.seed {
			if s&1 == 0 || seen[s] {
				t.Errorf("a seed is %#x, which is even or known", s)
			}
			seen[s] = true
		}
	}
}

// TestTags has no bucket look like a word that is free.
func TestTags(t *testing.T) {
	l, err := NewRateLimiter(RateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []uint64{0, 1 << 24, 1, 0xFFFFFF, ^uint64(0)} {
		for tier := range uint64(2) {
			if _, id := l.find(h, tier); id>>1 == 0 || id>>1 > 0xFFFFFF || id&1 != tier {
				t.Errorf("hash %#x, tier %d: %#x", h, tier, id)
			}
		}
	}
}
