package cache

import "sync/atomic"

// The bounds of what is remembered of failures, in seconds (RFC 9520, section 3.2: at
// least one second, at most five minutes, and longer each time).
const (
	failureFirst = 5
	failureMost  = 300
)

// PutFailure remembers that there is no answer, and why: for five seconds, and twice as
// long each time it happens again soon. What else is known under the key stays, and may
// be served stale.
func (w Writer) PutFailure(k Key, ede int16, now int64) {
	k.kind = kindFailure
	s, hash := w.c.locate(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Revoked() {
		return
	}
	ttl := uint32(failureFirst)
	if slot, _, e := s.find(hash, &k); slot != nil {
		before := uint32(e[wordBody] >> 32)
		switch left := left(e[wordTime], now); {
		case left > 0 && left <= failureMost:
			return // still remembered
		case left <= 0 && -left <= 2*int64(before):
			ttl = min(2*before, failureMost)
		}
	}
	s.put(w.c, hash, &entry{Key: k, ede: ede, expires: uint32(now) + ttl, stored: uint32(now), ttl: ttl})
}

// Failure reports whether the question failed just now, and by which Extended DNS Error,
// or -1.
func (c *Cache) Failure(k Key, now int64) (ede int, failed bool) {
	k.kind = kindFailure
	s, hash := c.locate(&k)
	for range maxTries {
		slot, value, e := s.find(hash, &k)
		if slot == nil {
			return 0, false
		}
		meta, times := atomic.LoadUint64(&e[wordMeta]), atomic.LoadUint64(&e[wordTime])
		if s.holds(value) {
			if left := left(times, now); left <= 0 || left > failureMost {
				return 0, false
			}
			return edeIn(meta), true
		}
	}
	return 0, false
}
