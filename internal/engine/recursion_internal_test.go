package engine

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/server"
	"port53/internal/telemetry"
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
		engine: e, recursion: &Recursion{}, gen: e.now.Load(), to: to, msg: query, arrived: time.Now(), maxAge: defaultMaxAge,
		peer: server.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Transport: over},
	}
}

func newTestEngine() (*Engine, *telemetry.Telemetry) {
	tel := telemetry.New()
	return New(Options{Telemetry: tel, Uncontained: true}, Generation{}), tel
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
				p.recursion = &Recursion{Cache: cache.New(cache.Options{Size: 1})}
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
			late.arrived = time.Now().Add(-defaultMaxAge - 1)
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
		for _, want := range []string{`{reason="load"} 20`, `{reason="late"} 20`} {
			if !strings.Contains(text, want) {
				t.Errorf("metrics without %s:\n%s", want, text)
			}
		}
	})
}
