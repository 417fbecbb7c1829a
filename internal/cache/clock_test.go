package cache_test

import (
	"bytes"
	"testing"
	"time"

	"port53/internal/cache"
)

// A twoClocks is the system's time and one that nobody sets.
type twoClocks struct{ wall, elapsed time.Duration }

func (c *twoClocks) pass(d time.Duration) { c.wall, c.elapsed = c.wall+d, c.elapsed+d }

// TestClockNeverBack sets the system's clock back, forward and to where it was: what is cached
// never lives longer than its TTL, and a dump has the times of the system's clock.
func TestClockNeverBack(t *testing.T) {
	clock := &twoClocks{wall: now * time.Second}
	c := cache.New(cache.Options{Size: 1 << 20, Clock: func() (wall, elapsed time.Duration) { return clock.wall, clock.elapsed }})
	want := func(what string, at int64) {
		t.Helper()
		if got := c.Now(); got != at {
			t.Errorf("%s: the time is %d, want %d", what, got-now, at-now)
		}
	}
	fresh := func(n string) bool {
		hit, ok := c.Answer(key(n), c.Now(), nil)
		return ok && !hit.Stale
	}
	want("at start", now)
	c.Writer().PutAnswer(key("a."), answer(1, 100), c.Now())
	clock.pass(50 * time.Second)
	want("after 50 s", now+50)
	clock.wall -= 3600 * time.Second
	want("set back an hour", now+50)
	c.Writer().PutAnswer(key("b."), answer(1, 100), c.Now())
	var dump bytes.Buffer
	if err := c.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	clock.pass(49 * time.Second)
	if !fresh("a.") || !fresh("b.") {
		t.Error("an answer has expired a second early")
	}
	clock.pass(time.Second)
	if fresh("a.") || !fresh("b.") {
		t.Error("set back an hour, an answer outlives its TTL, or another one does not last")
	}
	clock.wall += 3600 * time.Second
	want("set right", now+100)
	clock.pass(50 * time.Second)
	if fresh("b.") {
		t.Error("an answer of the time in between outlives its TTL")
	}
	clock.wall += 10 * time.Second // the machine was asleep
	want("after a sleep", now+160)

	next := cache.New(cache.Options{Size: 1 << 20})
	if n, err := next.Load(&dump, now+50-3600+20); err != nil || n != 2 {
		t.Fatalf("%d entries, %v", n, err)
	}
	if hit, ok := next.Answer(key("b."), now+50-3600+20, nil); !ok || hit.TTL != 80 {
		t.Errorf("in the dump: %v %+v, want 80 s", ok, hit)
	}
	// Loaded where the clock was set back, it is counted on by the cache's own.
	clock.wall = (now + 50 - 3600 + 20) * time.Second
	c.FlushAll()
	dump.Reset()
	if err := next.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Load(&dump, now+50-3600+20); err != nil || n != 2 || !fresh("b.") {
		t.Errorf("%d entries, %v, fresh %v", n, err, fresh("b."))
	}
	clock.pass(80 * time.Second)
	if fresh("b.") {
		t.Error("a loaded answer outlives its TTL")
	}
}
