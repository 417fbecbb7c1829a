package resolver

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A counter is an [Exchanger] that answers every question with a text or an address, and counts them.
type counter struct {
	liar
	asked int
}

func (c *counter) Exchange(_ context.Context, _ netip.AddrPort, q *upstream.Question) (upstream.Reply, error) {
	c.asked++
	var w replyWriter
	w.begin(q.Name, q.Type)
	switch q.Type {
	case wire.TypeA:
		w.add(wire.Answer, "", wire.TypeA, []byte{198, 51, 100, byte(c.asked)})
	default:
		w.add(wire.Answer, "", wire.TypeTXT, text(1))
	}
	return upstream.Reply{Message: w.end(), RTT: time.Millisecond, Packets: 1}, nil
}

// TestDepth asks for the sake of a question, of one that was asked for its sake, and so on: as
// deep as is allowed, and one deeper, which asks nobody and says nothing of the name.
func TestDepth(t *testing.T) {
	for _, limit := range []int{0, 3} {
		c := &counter{}
		r := New(Options{Cache: cache.New(cache.Options{Size: 1 << 20}), Exchanger: c}, Compile(Settings{
			IPv4: true, Limits: Limits{Depth: limit},
			Routes: []Route{{Zone: wire.Root, Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Forward: true}},
		}))
		most := limit
		if limit == 0 {
			most = defaultDepth
		}
		for depth := range most + 2 {
			task := r.task(r.configs[0].Load())
			task.depth, c.asked = depth, 0
			l := task.below([]byte{1, 'a' + byte(depth), 0}, wire.TypeTXT)
			if refused := l.fail != nil; refused != (depth >= most) || refused && !l.fail.now || refused == (c.asked > 0) || task.depth != depth {
				t.Errorf("limit %d, at depth %d: %+v, asked %d times, depth %d afterwards", limit, depth, l.fail, c.asked, task.depth)
			}
			task.release()
		}
		r.Close()
	}
}

// TestGlueless has a delegation to more servers without addresses than are looked up, each of
// which has one when it is: so many are found as are allowed, and the next is not looked for
// (NXNSAttack, CVE-2020-12662).
func TestGlueless(t *testing.T) {
	for limit, want := range map[int]int{0: defaultGlueless, 2: 2, 9: 9} {
		c := &counter{}
		r := New(Options{Cache: cache.New(cache.Options{Size: 1 << 20}), Exchanger: c}, Compile(Settings{
			IPv4: true, Limits: Limits{Glueless: limit},
			Routes: []Route{{Zone: wire.Root, Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Forward: true}},
		}))
		task := r.task(r.configs[0].Load())
		to := &cut{zone: []byte("\x07example\x00")}
		for i := range byte(12) {
			to.targets = append(to.targets, target{name: []byte{1, 'a' + i, 4, 't', 'e', 's', 't', 0}})
		}
		found := 0
		for task.moreAddresses(to) {
			found++
		}
		if found != want || c.asked != want {
			t.Errorf("limit %d: %d servers were found, with %d questions, want %d", limit, found, c.asked, want)
		}
		task.release()
		r.Close()
	}
}
