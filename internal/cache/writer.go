package cache

// A Writer puts what was learned into a cache, unless something was flushed since the
// Writer was made: whoever takes one before asking writes nothing that came from those
// who were not to be asked any more. It is safe for use by many goroutines.
type Writer struct {
	c     *Cache
	epoch uint64
}

// Writer returns a writer that lasts until the next flush, or [Cache.Revoke].
func (c *Cache) Writer() Writer { return Writer{c, c.epoch.Load()} }

// NoWriter returns a writer that writes nothing: it is as if it had been revoked.
func (c *Cache) NoWriter() Writer { return Writer{c, ^uint64(0)} }

// Revoke makes the writers that there are write nothing any more.
func (c *Cache) Revoke() { c.epoch.Add(1) }

// Revoked reports whether what was learned since the writer was made may not be kept. A
// writer that holds a shard's lock, and is not revoked, is before any flush of it.
func (w Writer) Revoked() bool { return w.c.epoch.Load() != w.epoch }
