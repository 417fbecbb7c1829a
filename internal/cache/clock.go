package cache

import (
	"sync/atomic"
	"time"
)

// A clock tells a cache the time. It is the system's, but what is cached never gets older
// more slowly than time passes: if the system's clock is set back the cache's goes on, ahead
// of it. If the system's clock jumps forward, or the machine was asleep, the cache's does
// as well.
type clock struct {
	begin time.Time
	read  func() (wall, elapsed time.Duration) // nil: the system's
	// most is the greatest difference there has been between the two, in nanoseconds.
	most atomic.Int64
}

func (c *clock) init(read func() (wall, elapsed time.Duration)) {
	c.begin, c.read = time.Now(), read
}

// at returns the cache's time since 1970 when it is now, and how far it is ahead of the
// system's.
func (c *clock) at(now time.Time) (t, ahead time.Duration) {
	wall, elapsed := time.Duration(now.UnixNano()), now.Sub(c.begin)
	if c.read != nil {
		wall, elapsed = c.read()
	}
	for {
		most := c.most.Load()
		if difference := int64(wall - elapsed); difference > most {
			if !c.most.CompareAndSwap(most, difference) {
				continue
			}
			most = difference
		}
		t = time.Duration(most) + elapsed
		return t, t - wall
	}
}

// Now returns the time by which the cache is to be used, in seconds since 1970. It goes on
// where the system's clock is set back.
func (c *Cache) Now() int64 { return c.At(time.Now()) }

// At is Now for whoever has just read the system's clock.
func (c *Cache) At(now time.Time) int64 {
	t, _ := c.clock.at(now)
	return int64(t / time.Second)
}

// ahead returns how many seconds the cache's clock is ahead of the system's.
func (c *Cache) ahead() uint32 {
	_, ahead := c.clock.at(time.Now())
	return uint32(ahead.Round(time.Second) / time.Second)
}

// shift moves the times of an entry.
func shift(times uint64, by uint32) uint64 {
	return uint64(expiresIn(times)+by)<<32 | uint64(storedIn(times)+by)
}
