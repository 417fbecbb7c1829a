package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A stuck responder is one whose Reply returns only when it may.
type stuck struct {
	may           chan struct{}
	begun, closed atomic.Int32
	octets        atomic.Int64
}

func (s *stuck) Reply(m []byte) error {
	s.begun.Add(1)
	<-s.may
	s.octets.Add(int64(len(m)))
	return nil
}

func (s *stuck) Stream(m []byte) error { return s.Reply(m) }

func (s *stuck) Close() { s.closed.Add(1) }

// waits returns a query over a transport that waits for its answer, which goes to s.
func waits(e *Engine, to server.Responder, over server.Transport) *pending {
	query := wire.AppendQuery(nil, 7, wire.FlagRD, []byte("\x03www\x07example\x00"), wire.TypeA)
	return &pending{
		engine: e, recursion: &Recursion{Config: resolver.Compile(resolver.Settings{})}, gen: e.now.Load(), view: &e.now.Load().View, to: to, msg: query, arrived: time.Now(),
		peer: server.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Transport: over},
	}
}

func newTestEngine() (*Engine, *telemetry.Telemetry) {
	tel := telemetry.New()
	return New(Options{Telemetry: tel, PropagatePanics: true}, Generation{}), tel
}

// TestRepliesHoldNoWorker has many more answers under way than there are workers to make
// them, none of which can be sent for now: the others are made nevertheless.
func TestRepliesHoldNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const answers = 10 * lateWorkers
		e, _ := newTestEngine()
		s := &stuck{may: make(chan struct{})}
		for i := range answers {
			p := waits(e, s, []server.Transport{server.UDP, server.TCP}[i%2])
			switch i % 3 {
			case 0:
				go p.Answer(&cache.Answer{Rcode: wire.NXDomain, EDE: -1}, "")
			case 1:
				go p.Answer(&cache.Answer{Rcode: wire.ServFail, EDE: -1}, "why")
			default:
				p.recursion = &Recursion{Cache: cache.New(cache.Options{Size: 1}), Config: p.recursion.Config}
				go p.Late()
			}
		}
		synctest.Wait()
		if n := s.begun.Load(); n != answers || len(e.late) != lateWorkers {
			t.Errorf("%d answers of %d are on their way, and %d workers of %d are back", n, answers, len(e.late), lateWorkers)
		}
		close(s.may)
		synctest.Wait()
		if s.closed.Load() != answers || s.octets.Load() < answers*wire.HeaderLen {
			t.Errorf("%d answers of %d, %d octets", s.closed.Load(), answers, s.octets.Load())
		}
	})
}

// TestDropsNeedNoWorker has every worker at work: a query that is dropped, by a goroutine
// that reads a socket perhaps, or whose answer comes too late, waits for none of them.
func TestDropsNeedNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const drops = 20
		e, tel := newTestEngine()
		for range lateWorkers {
			<-e.late
		}
		s := &stuck{may: make(chan struct{})}
		for range drops {
			shed, late := waits(e, s, server.UDP), waits(e, s, server.UDP)
			late.maxAge, late.arrived = time.Second, time.Now().Add(-time.Second-1)
			go func() {
				shed.Drop()
				shed.Drop() // which does nothing
				late.Answer(&cache.Answer{Rcode: wire.NXDomain, EDE: -1}, "")
			}()
		}
		synctest.Wait()
		if s.closed.Load() != 2*drops || s.begun.Load() != 0 {
			t.Errorf("%d queries of %d ended, %d with an answer", s.closed.Load(), 2*drops, s.begun.Load())
		}
		text := string(tel.Append(nil))
		for _, want := range []string{`{reason="load",transport="udp"} 20`, `{reason="late",transport="udp"} 20`} {
			if !strings.Contains(text, want) {
				t.Errorf("metrics without %s:\n%s", want, text)
			}
		}
	})
}

// A deadNetwork is one in which nobody can be asked.
type deadNetwork struct{}

func (deadNetwork) Exchange(context.Context, netip.AddrPort, *upstream.Question) (upstream.Reply, error) {
	return upstream.Reply{}, errors.New("unreachable")
}

func (deadNetwork) Estimate(netip.AddrPort) (time.Duration, upstream.State, bool) {
	return time.Second, 0, false
}

func (deadNetwork) RTT(netip.AddrPort) time.Duration { return 0 }

func (deadNetwork) NoteCasePreserved(netip.AddrPort, bool) {}

// TestLateRepliesAreLimited has replies that had to wait and replies at once go to one
// client network: they are limited as if all were given at once, neither kind gives the
// network anything beyond, and what a second brings it brings for both.
func TestLateRepliesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, burst = 4, 10
		rates, err := policy.NewRateLimiter(policy.RateOptions{PerSecond: perSecond, Burst: burst})
		if err != nil {
			t.Fatal(err)
		}
		store := cache.New(cache.Options{Size: 1 << 20})
		config := resolver.Compile(resolver.Settings{IPv4: true})
		r := resolver.New(resolver.Options{Cache: store, Exchanger: deadNetwork{}}, config)
		defer r.Close()
		e := New(Options{PropagatePanics: true}, Generation{
			Limits: Limits{Rates: rates},
			View:   View{Recursion: &Recursion{Cache: store, Resolver: r, Config: config}},
		})
		w, buf, begun, names := e.newWorker(), make([]byte, wire.MaxMessage), time.Now(), 0
		late := &stuck{may: make(chan struct{})}
		close(late.may)
		// ask sends so many queries and returns how many replies they get: REFUSED at once, or
		// SERVFAIL once the resolver has found out that nobody can be asked. Both are errors,
		// which have one limit.
		ask := func(client string, queries int, flags uint16) (replies int) {
			before := late.begun.Load()
			peer := server.Peer{Remote: netip.MustParseAddrPort(client), Transport: server.UDP}
			peer.Later = func(*server.Peer) (server.Responder, error) { return late, nil }
			for range queries {
				names++
				query := wire.AppendQuery(nil, 7, flags, []byte(fmt.Sprintf("\x06n%05d\x00", names)), wire.TypeA)
				if n := w.Handle(query, &peer, int64(time.Hour+time.Since(begun)), buf); n > 0 {
					replies++
				}
				synctest.Wait()
			}
			return replies + int(late.begun.Load()-before)
		}
		const atOnce, deferred = 0, wire.FlagRD
		for _, s := range []struct {
			what, client string
			wait         time.Duration
			queries      int
			flags        uint16
			want         int
		}{
			{"at once", "192.0.2.1:4000", 0, 2 * burst, atOnce, burst},
			{"late, behind those at once", "192.0.2.1:4000", 0, 5, deferred, 0},
			{"at once, behind late ones", "192.0.2.1:4000", 0, 5, atOnce, 0},
			{"late", "198.51.100.1:4000", 0, 2 * burst, deferred, burst},
			{"at once, behind so many late ones", "198.51.100.1:4000", 0, 5, atOnce, 0},
			{"late, a second later", "198.51.100.1:4000", time.Second, 2 * burst, deferred, perSecond},
			{"at once, a second later", "198.51.100.1:4000", time.Second, 2 * burst, atOnce, perSecond},
			{"late, a minute later", "192.0.2.1:4000", time.Minute, 2 * burst, deferred, burst},
		} {
			time.Sleep(s.wait)
			if got := ask(s.client, s.queries, s.flags); got != s.want {
				t.Errorf("%s: %d replies to %d queries, want %d", s.what, got, s.queries, s.want)
			}
		}
	})
}

// TestCacheSetBack has the system's clock set back by an hour: an answer in the cache lives no
// longer for it.
func TestCacheSetBack(t *testing.T) {
	wall, elapsed := time.Unix(1_700_000_000, 0), time.Duration(0)
	store := cache.New(cache.Options{Size: 1 << 20, Clock: func() (time.Duration, time.Duration) { return time.Duration(wall.UnixNano()), elapsed }})
	config := resolver.Compile(resolver.Settings{IPv4: true})
	r := resolver.New(resolver.Options{Cache: store, Exchanger: deadNetwork{}}, config)
	defer r.Close()
	e := New(Options{PropagatePanics: true}, Generation{View: View{Recursion: &Recursion{Cache: store, Resolver: r, Config: config}}})
	w, buf := e.newWorker(), make([]byte, wire.MaxMessage)
	name := []byte("\x03www\x07example\x00")
	store.Writer().PutAnswer(config.Key(name, wire.TypeA, resolver.Wants{}), &cache.Answer{EDE: -1, TTL: 60, Rcode: wire.NXDomain}, store.Now())
	late := &stuck{may: make(chan struct{})}
	close(late.may)
	handled := func() int {
		peer := server.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:4000"), Transport: server.UDP}
		peer.Later = func(*server.Peer) (server.Responder, error) { return late, nil }
		return w.Handle(wire.AppendQuery(nil, 7, wire.FlagRD, name, wire.TypeA), &peer, int64(time.Hour+elapsed), buf)
	}
	if n := handled(); n <= 0 {
		t.Fatal("the cached answer is not given")
	}
	wall = wall.Add(-time.Hour)
	if n := handled(); n <= 0 {
		t.Error("set back, the cached answer is not given any more")
	}
	wall, elapsed = wall.Add(61*time.Second), elapsed+61*time.Second
	if n := handled(); n != server.Pending {
		t.Errorf("61 s later an answer of 60 s is given: %d octets", n)
	}
}
