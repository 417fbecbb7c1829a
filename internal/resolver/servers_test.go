package resolver_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/resolver"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A roll is what a finder tells of: names, addresses, "?" for a zone that is not known, "@" for addresses that
// are not, and "old" before one of these that has expired.
type roll []string

func (r *roll) AddServer(name []byte) { *r = append(*r, wire.NameText(name)) }
func (r *roll) AddHost(a netip.Addr)  { *r = append(*r, a.String()) }
func (r *roll) Unknown(addresses, stale bool) {
	text := "?"
	if addresses {
		text = "@"
	}
	if stale {
		text = "old" + text
	}
	*r = append(*r, text)
}

// An estate is a world some of whose zones no parent refers to, since it has the same servers.
type estate struct {
	*world
	config *resolver.Config
	cache  *cache.Cache
	r      *resolver.Resolver
	finder resolver.NSFinder

	refuse func(server netip.Addr, q *upstream.Question) bool // nothing comes back
	wait   time.Duration
}

func (e *estate) Exchange(ctx context.Context, server netip.AddrPort, q *upstream.Question) (upstream.Reply, error) {
	if e.refuse != nil && e.refuse(server.Addr(), q) {
		reply, _ := e.world.Exchange(ctx, server, q)
		time.Sleep(min(e.wait, time.Until(q.End)))
		return upstream.Reply{Packets: reply.Packets}, os.ErrDeadlineExceeded
	}
	return e.world.Exchange(ctx, server, q)
}

func newEstate(t testing.TB, change func(*resolver.Settings)) *estate {
	e := &estate{world: small(t), cache: cache.New(cache.Options{Size: 4 << 20, Stale: 86400})}
	e.serve("child.example.com.", `child.example.com. 300 SOA a. b. 1 2 3 4 300
child.example.com. 300 NS NS.Hidden.example.com.
www.child.example.com. 300 A 192.0.2.81
far.child.example.com. 300 CNAME www.example.com.
*.deep.child.example.com. 300 A 192.0.2.82
`, "198.51.100.3")
	e.serve("hidden.example.com.", "hidden.example.com. 300 SOA a. b. 1 2 3 4 300\nhidden.example.com. 300 NS ns.hidden.example.com.\nns.hidden.example.com. 300 A 198.51.100.66\n", "198.51.100.3")
	s := resolver.Settings{
		Hints: []resolver.Hint{{Name: []byte("\x01a\x04root\x00"), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}},
		IPv4:  true, Minimise: resolver.Off,
	}
	if change != nil {
		change(&s)
	}
	e.config = resolver.Compile(s)
	e.r = resolver.New(resolver.Options{Cache: e.cache, Exchanger: e}, e.config)
	return e
}

// find returns what is known of the servers of a name's zones.
func (e *estate) find(name string, addresses bool) string {
	var told roll
	e.finder.Find(e.config, e.cache, wire.Lower(nil, dnstest.Name(e.t, name)), wire.TypeA, e.cache.Now(), addresses, &told)
	return strings.Join(told, " ")
}

// sent returns what was asked since the last time.
func (e *estate) sent() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := e.asked
	e.asked = nil
	return asked
}

func (e *estate) look(name string, addresses bool) {
	e.r.FindServers(e.config, resolver.Wanted{Name: wire.Lower(nil, dnstest.Name(e.t, name)), Addresses: addresses}, wire.TypeA)
}

// The servers of zones that no referral has told of are asked for, with their addresses if these are wanted, and
// found in the cache from then on.
func TestFindServers(t *testing.T) {
	for _, mode := range []resolver.Minimisation{resolver.Off, resolver.Relaxed, resolver.Strict} {
		e := newEstate(t, func(s *resolver.Settings) { s.Minimise = mode })
		defer e.r.Close()
		if got := ask(t, e.r, "www.child.example.com.", wire.TypeA); got != "NOERROR; www.child.example.com. A 192.0.2.81" {
			t.Fatal(got)
		}
		if got := e.find("www.child.example.com.", false); !strings.HasPrefix(got, "? ") || !strings.HasSuffix(got, " ns.example.com.") {
			t.Errorf("before: %s", got)
		}
		e.sent()
		e.look("www.child.example.com.", false)
		if sent := e.sent(); len(sent) > 2 || !slices.Contains(sent, "198.51.100.3 child.example.com. NS") {
			t.Errorf("it asked %q", sent)
		}
		if got := e.find("www.child.example.com.", false); got != "ns.hidden.example.com. ns.example.com." {
			t.Errorf("after: %s", got)
		}
		if got := e.find("www.child.example.com.", true); got != "ns.hidden.example.com. @ ns.example.com. 198.51.100.3" {
			t.Errorf("without addresses: %s", got)
		}
		e.look("www.child.example.com.", true)
		if sent := e.sent(); len(sent) > 2 || !slices.Contains(sent, "198.51.100.3 ns.hidden.example.com. A") {
			t.Errorf("for addresses it asked %q", sent)
		}
		if got := e.find("www.child.example.com.", true); got != "ns.hidden.example.com. 198.51.100.66 ns.example.com. 198.51.100.3" {
			t.Errorf("with addresses: %s", got)
		}
		e.look("www.child.example.com.", true)
		if sent := e.sent(); len(sent) > 0 {
			t.Errorf("it asked again: %q", sent)
		}
	}
}

// A name of many labels is not asked for label by label: the SOA record of a denial tells where its zone begins.
func TestFindServersFewQuestions(t *testing.T) {
	e := newEstate(t, nil)
	defer e.r.Close()
	name := strings.Repeat("f.", 30) + "deep.child.example.com."
	ask(t, e.r, name, wire.TypeA)
	e.sent()
	e.look(name, false)
	if sent := e.sent(); len(sent) != 2 {
		t.Errorf("it asked %q", sent)
	}
	if got := e.find(name, false); got != "ns.hidden.example.com. ns.example.com." {
		t.Error(got)
	}
}

// What forwarders answer for is asked of them.
func TestFindServersForwarded(t *testing.T) {
	e := newEstate(t, func(s *resolver.Settings) {
		s.Routes = []resolver.Route{{Zone: []byte("\x03com\x00"), Servers: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.3:53")}, Forward: true}}
	})
	defer e.r.Close()
	ask(t, e.r, "www.child.example.com.", wire.TypeA)
	e.look("www.child.example.com.", true)
	if got := e.find("www.child.example.com.", true); got != "ns.hidden.example.com. 198.51.100.66 ns.example.com. 198.51.100.3" {
		t.Error(got)
	}
}

// What has expired is told of as such, and looked up again.
func TestFindServersStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		defer e.r.Close()
		e.look("www.child.example.com.", true)
		time.Sleep(301 * time.Second)
		const stale = "ns.hidden.example.com. 198.51.100.66 old@ old? ns.example.com. 198.51.100.3"
		if got := e.find("www.child.example.com.", true); !strings.Contains(got, stale) {
			t.Errorf("%s, want %s", got, stale)
		}
		e.sent()
		e.look("www.child.example.com.", true)
		if got := e.find("www.child.example.com.", true); strings.ContainsAny(got, "?@") {
			t.Error(got)
		}
	})
}

// What cannot be found is not looked for again for a while, and does not count as unknown meanwhile.
func TestFindServersInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		defer e.r.Close()
		ask(t, e.r, "www.child.example.com.", wire.TypeA)
		e.wait = 300 * time.Millisecond
		e.refuse = func(_ netip.Addr, q *upstream.Question) bool { return q.Type == wire.TypeNS }
		e.sent()
		begun := time.Now()
		e.look("www.child.example.com.", false)
		if took, n := time.Since(begun), len(e.sent()); took > 2500*time.Millisecond || n > 20 || n == 0 {
			t.Errorf("it took %v, and %d packets", took, n)
		}
		if got := e.find("www.child.example.com.", false); got != "ns.example.com." {
			t.Errorf("after: %s", got)
		}
		time.Sleep(6 * time.Second)
		if got := e.find("www.child.example.com.", false); !strings.HasPrefix(got, "? ") {
			t.Errorf("later: %s", got)
		}
		if c := e.r.Counters(); c.NSLookups.Load() != 1 || c.NSUnknown.Load() != 1 {
			t.Errorf("counted %d, %d", c.NSLookups.Load(), c.NSUnknown.Load())
		}
	})
}

// Zones that name many servers in other zones of many servers do not make the resolver ask much (NXNSAttack,
// CVE-2020-12662).
func TestFindServersHostile(t *testing.T) {
	e := newEstate(t, nil)
	defer e.r.Close()
	zone := "example.com."
	for i := range 12 { // one below the other, all on one server
		zone = fmt.Sprintf("z%d.%s", i, zone)
		text := zone + " 300 SOA a. b. 1 2 3 4 300\nwww." + zone + " 300 A 192.0.2.83\n"
		for j := range 20 {
			text += fmt.Sprintf("%s 300 NS ns%d.t%d-%d.example.org.\n", zone, j, i, j)
		}
		e.serve(zone, text, "198.51.100.3")
	}
	name := "www." + zone
	ask(t, e.r, name, wire.TypeA)
	e.sent()
	e.look(name, true)
	victim := 0
	sent := e.sent()
	for _, q := range sent {
		if strings.HasPrefix(q, "198.51.100.4 ") {
			victim++
		}
	}
	if len(sent) > 30 || victim > 20 {
		t.Errorf("%d packets, %d of them to the victim: %q", len(sent), victim, sent)
	}
	e.look(name, true)
	if again := len(e.sent()); again > 30 {
		t.Errorf("the second time %d packets", again)
	}
}

// A judging waits for an answer, and wants the servers of a name before it takes it.
type judging struct {
	*estate
	name      string
	addresses bool
	at        time.Time
	answer    *cache.Answer
	wanted    int
	done      chan struct{}
}

func (e *estate) judging(name string) *judging {
	return &judging{estate: e, name: name, addresses: true, done: make(chan struct{})}
}

func (j *judging) Wants(*cache.Answer) (w resolver.Wanted) {
	j.wanted++
	var told roll
	var f resolver.NSFinder
	name := wire.Lower(nil, dnstest.Name(j.t, j.name))
	f.Find(j.config, j.cache, name, wire.TypeA, j.cache.Now(), j.addresses, &told)
	if slices.Contains(told, "?") || slices.Contains(told, "@") {
		return resolver.Wanted{Name: name, Addresses: j.addresses}
	}
	return w
}

func (j *judging) Answer(a *cache.Answer, _ string) {
	j.at, j.answer = time.Now(), a
	close(j.done)
}
func (j *judging) Late() {}
func (j *judging) Drop() { close(j.done) }

func (e *estate) asks(w resolver.Waiter, name string, idle bool) {
	e.r.Ask(&resolver.Request{Name: wire.Lower(nil, dnstest.Name(e.t, name)), Type: wire.TypeA, Waiter: w, Cookie: true, Idle: idle})
}

// Who judges by servers gets the answer when they are known, and not before.
func TestJudge(t *testing.T) {
	e := newEstate(t, nil)
	defer e.r.Close()
	j := e.judging("far.child.example.com.")
	e.asks(j, j.name, false)
	<-j.done
	if j.answer.Rcode != wire.NoError || j.answer.Counts[0] != 2 || j.wanted < 2 {
		t.Errorf("%+v, wanted %d times", j.answer, j.wanted)
	}
	if got := e.find(j.name, true); got != "ns.hidden.example.com. 198.51.100.66 ns.example.com. 198.51.100.3" {
		t.Error(got)
	}
	e.sent()
	again := e.judging(j.name)
	e.asks(again, j.name, false)
	<-again.done
	if sent := e.sent(); again.wanted != 1 || len(sent) > 0 {
		t.Errorf("the second time it wanted something %d times, and asked %q", again.wanted, sent)
	}
}

// Who waits is answered in time whatever becomes of the servers, and who wants none does not wait for them.
func TestJudgeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, func(s *resolver.Settings) { s.Limits.Reply = 1500 * time.Millisecond })
		e.wait = 500 * time.Millisecond
		e.refuse = func(_ netip.Addr, q *upstream.Question) bool { return q.Type == wire.TypeNS && len(q.Name) > 1 }
		begun := time.Now()
		j, plain := e.judging("www.child.example.com."), make(waiter, 1)
		e.asks(j, j.name, false)
		e.asks(plain, j.name, false)
		<-plain
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("who wants nothing waited %v", took)
		}
		<-j.done
		if took := j.at.Sub(begun); j.answer == nil || j.answer.Rcode != wire.NoError || took >= 1500*time.Millisecond || took < time.Second {
			t.Errorf("after %v: %+v", took, j.answer)
		}
		e.r.Close()
	})
}

// What nobody waits for does not join what somebody does, and is not begun where many wait.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, func(s *resolver.Settings) { s.Limits.Waiting = 2 })
		e.wait = time.Second
		e.refuse = func(netip.Addr, *upstream.Question) bool { return true }
		e.asks(make(waiter, 1), "www.example.com.", false)
		e.asks(e.judging("www.example.com."), "www.example.com.", true)
		e.asks(e.judging("alias.example.com."), "alias.example.com.", true)
		if c := e.r.Counters(); c.Questions.Load() != 1 || c.Joined.Load() != 0 || c.Shed.Load() != 0 {
			t.Errorf("%d questions, %d joined, %d shed", c.Questions.Load(), c.Joined.Load(), c.Shed.Load())
		}
		e.r.Close()
	})
	e := newEstate(t, nil)
	defer e.r.Close()
	j := e.judging("www.child.example.com.")
	e.asks(j, j.name, true)
	<-j.done
	if got := e.find(j.name, false); strings.Contains(got, "?") {
		t.Error(got)
	}
}
