package cache

import "port53/internal/wire"

// Flush forgets all that is known of a name, which is in lower case. It looks at every
// entry of one shard.
func (c *Cache) Flush(name []byte) {
	c.Revoke()
	s := c.shard(c.hash(name))
	s.drop(func(e []uint64) bool { return nameLenIn(e[wordKey]) == len(name) && nameIs(e[headWords:], name) })
}

// FlushTree forgets all that is known of a name, which is in lower case, and of those
// below it. It looks at every entry, shard by shard.
func (c *Cache) FlushTree(name []byte) {
	c.Revoke()
	for i := range c.shards {
		var room nameRoom
		c.shards[i].drop(func(e []uint64) bool { return wire.Subdomain(nameOf(e, &room), name) })
	}
}

// FlushView forgets all that was learned for a view.
func (c *Cache) FlushView(view uint8) {
	c.Revoke()
	for i := range c.shards {
		c.shards[i].drop(func(e []uint64) bool { return viewIn(e[wordKey]) == view })
	}
}

// FlushAll forgets everything.
func (c *Cache) FlushAll() {
	c.Revoke()
	for i := range c.shards {
		c.shards[i].drop(func([]uint64) bool { return true })
	}
}

// drop forgets the entries that match.
func (s *shard) drop(match func(e []uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.used() {
		if v := s.slot(i); v != 0 && match(s.entry(v&slotPos)) {
			s.clear(i)
		}
	}
}

// forget drops the entry with the key, if there is one. The lock is held.
func (s *shard) forget(h hash, k *Key) {
	if slot, value, _ := s.find(h, k); slot != nil {
		a, b := s.buckets(h.key)
		for _, start := range [...]int{a, b} {
			for i := start; i < start+bucketSlots; i++ {
				if s.slot(i)&slotPos == value&slotPos {
					s.clear(i)
				}
			}
		}
	}
}

// Stats are the sizes of a cache.
type Stats struct {
	Entries        int    // those that have expired and were not replaced, too
	Octets         int64  // of these entries and their places in the index
	Size           int64  // of all memory that the cache may touch
	EvictedByIndex uint64 // entries that were forgotten early, since the index had no place for another
	EvictedFresh   uint64 // entries that went to make room before they had expired, those too
	EvictedExpired uint64 // entries that went to make room after that
}

// Stats returns the sizes. It costs a lock for each shard, whatever is in them.
func (c *Cache) Stats() Stats {
	var st Stats
	for i := range c.shards {
		s := &c.shards[i]
		st.Size += int64(len(s.ring)+len(s.index)+len(s.names)) * 8
		s.mu.Lock()
		st.Entries += s.entries
		st.Octets += s.octets + int64(s.entries)*8
		st.EvictedByIndex += s.forced
		st.EvictedFresh += s.fresh
		st.EvictedExpired += s.expired
		s.mu.Unlock()
	}
	return st
}
