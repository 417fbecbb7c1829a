package signer

import "time"

// Early has steps of keys' lives taken too early, by so much for DNSKEY, signatures and DS: a test
// has to notice.
func Early(p *LifecyclePolicy, key, data, ds time.Duration) { p.early = waits{key, data, ds} }

// Octets returns what the signatures that are kept take.
func (o *Online) Octets() (n int) {
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		n += s.octets
		s.mu.Unlock()
	}
	return n
}

// Part reports whether a version was made of what changed alone.
func (v *Version) Part() bool { return v.Signed.part }
