package zones_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A clockedOrigin is a polled origin that says when it is asked.
type clockedOrigin struct {
	memoryOrigin
	asked chan time.Time
}

func (o *clockedOrigin) Candidate(ctx context.Context, known zones.Known) (*zones.Candidate, error) {
	o.asked <- time.Now()
	return o.memoryOrigin.Candidate(ctx, known)
}

// timed is a zone with times of its own (RFC 1035, section 3.3.13).
func timed(t *testing.T, refresh, retry, expire int) *zone.Zone {
	return dnstest.Zone(t, "test.", fmt.Sprintf("@ 60 SOA ns admin 1 %d %d %d 300\n@ 60 NS ns\n", refresh, retry, expire))
}

// TestTimers has zones that name all sorts of times: their origins are asked no more often
// than twice a minute, or four times when they fail, and no more rarely than once a week. Each
// time is at most a tenth shorter than that, so that zones do not come in step.
func TestTimers(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		what           string
		refresh, retry int // seconds; none: there is no version
		expire         int
		good, bad      []time.Duration
	}{
		{"as they are", 7200, 3600, 864000, []time.Duration{2 * time.Hour, 2 * time.Hour}, []time.Duration{time.Hour, 2 * time.Hour, 2 * time.Hour}},
		{"nothing", 0, 0, 864000, []time.Duration{30 * time.Second, 30 * time.Second}, []time.Duration{
			15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute,
		}},
		{"years", 1 << 30, 1 << 30, 1 << 30, []time.Duration{7 * day}, []time.Duration{day, 2 * day, 4 * day, 7 * day, 7 * day}},
		{"a retry longer than the refresh", 100, 3600, 864000, []time.Duration{100 * time.Second}, []time.Duration{time.Hour, time.Hour}},
		{"would expire before it is refreshed", 7200, 7200, 600, []time.Duration{300 * time.Second, 300 * time.Second}, nil},
		{"no version yet", -1, 0, 0, nil, []time.Duration{
			5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 320 * time.Second, 320 * time.Second,
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := &clockedOrigin{asked: make(chan time.Time, 100)}
			if o.traits.Polled = true; c.refresh < 0 {
				o.err = errors.New("gone fishing")
			} else {
				o.zone = timed(t, c.refresh, c.retry, c.expire)
			}
			w := &world{server: server{T: t}}
			w.startWith(zones.Options{})
			w.load(zones.Source{Apex: dnstest.Name(t, "test."), Origin: o})
			last, drawn := <-o.asked, false
			follow := func(what string, want []time.Duration) {
				for i, d := range want {
					next := <-o.asked
					if got := next.Sub(last); got > d || got < d*9/10 {
						t.Errorf("%s, %s: asked for the %d. time after %v, want %v or a little less", c.what, what, i, got, d)
					} else if got < d {
						drawn = true
					}
					last = next
				}
			}
			follow("while all is well", c.good)
			if c.bad != nil && c.good != nil {
				o.set(nil, errors.New("gone fishing"))
				last = <-o.asked
			}
			follow("in trouble", c.bad)
			if !drawn {
				t.Errorf("%s: all zones come in step", c.what)
			}
			w.stop()
			synctest.Wait()
		})
	}
}

// A heldOrigin is asked when a test reads whether for a whole zone, and answers what the
// test says.
type heldOrigin struct {
	whole  chan bool
	answer chan error
	zone   *zone.Zone
}

func (o *heldOrigin) Candidate(_ context.Context, known zones.Known) (*zones.Candidate, error) {
	o.whole <- known.Zone == nil
	if err := <-o.answer; err != nil {
		return nil, err
	}
	return &zones.Candidate{Zone: o.zone}, nil
}
func (o *heldOrigin) Continues(zones.Origin) bool { return true }
func (o *heldOrigin) Traits() zones.Traits        { return zones.Traits{Polled: true} }

// TestRetransferBesideAFailure asks for the whole zone while a refresh is under way that
// fails: the next one is for the whole zone all the same.
func TestRetransferBesideAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &heldOrigin{make(chan bool), make(chan error), at(t, "test.", 1)}
		w := &world{server: server{T: t}}
		w.startWith(zones.Options{})
		apex := dnstest.Name(t, "test.")
		w.load(zones.Source{Apex: apex, Origin: o})
		for i, c := range []struct {
			whole, ask bool // what comes; and the whole zone is asked for meanwhile
			err        error
		}{{true, false, nil}, {false, true, errors.New("gone fishing")}, {true, false, errors.New("gone fishing")}, {true, false, nil}, {false, false, nil}} {
			if whole := <-o.whole; whole != c.whole {
				t.Errorf("question %d is for the whole zone: %v", i, whole)
			}
			if c.ask {
				if err := w.manager.Refresh(apex, true); err != nil {
					t.Fatal(err)
				}
			}
			o.answer <- c.err
		}
		w.stop()
		synctest.Wait()
	})
}
