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

// hide puts zones below each other onto the server of a zone, none of which a referral tells of, each with so many
// servers, and returns the deepest.
func (e *estate) hide(zone, server string, depth, servers int, name func(zone, server int) string) string {
	for i := range depth {
		zone = fmt.Sprintf("z%d.%s", i, zone)
		text := zone + " 300 SOA a. b. 1 2 3 4 300\nwww." + zone + " 300 A 192.0.2.83\n"
		for j := range servers {
			text += zone + " 300 NS " + name(i, j) + "\n"
		}
		e.serve(zone, text, server)
	}
	return zone
}

// sentTo returns how much was sent since the last time, and how much of that to one server.
func (e *estate) sentTo(server string) (all, one int) {
	sent := e.sent()
	for _, q := range sent {
		if strings.HasPrefix(q, server+" ") {
			one++
		}
	}
	return len(sent), one
}

// Of more servers than are kept of a delegation, none is forgotten: the zone itself is asked for all.
func TestFindServersCrowd(t *testing.T) {
	for servers, asks := range map[int]bool{5: false, 19: false, 21: true, 60: true} {
		e := newEstate(t, nil)
		defer e.r.Close()
		com := "com. 3600 SOA a. b. 1 2 3 4 300\ncom. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 198.51.100.2\nexample.com. 3600 NS ns.example.com.\nns.example.com. 3600 A 198.51.100.3\n"
		own := "crowd.com. 300 SOA a. b. 1 2 3 4 300\nwww.crowd.com. 300 A 192.0.2.84\n"
		for i := range servers {
			record := fmt.Sprintf("crowd.com. 3600 NS ns%d.crowd.com.\nns%d.crowd.com. 3600 A 198.51.100.3\n", i, i)
			com, own = com+record, own+record
		}
		e.zones[netip.MustParseAddr("198.51.100.2")] = nil
		e.serve("com.", com, "198.51.100.2")
		e.serve("crowd.com.", own, "198.51.100.3")
		ask(t, e.r, "www.crowd.com.", wire.TypeA)
		if got := e.find("crowd.com.", false); strings.Contains(got, "?") != asks {
			t.Errorf("%d servers: before: %s", servers, got)
		}
		e.sent()
		e.look("crowd.com.", false)
		if sent := e.sent(); slices.Contains(sent, "198.51.100.3 crowd.com. NS") != asks || len(sent) > 1 {
			t.Errorf("%d servers: it asked %q", servers, sent)
		}
		got := strings.Fields(e.find("crowd.com.", false))
		for i := range servers {
			if !slices.Contains(got, fmt.Sprintf("ns%d.crowd.com.", i)) {
				t.Errorf("%d servers: no word of number %d: %q", servers, i, got)
				break
			}
		}
		if slices.Contains(got, "?") {
			t.Errorf("%d servers: after: %q", servers, got)
		}
	}
}

// Zones that name many servers in other zones do not make the resolver ask much (NXNSAttack, CVE-2020-12662),
// neither for servers that are not there nor for those that are.
func TestFindServersHostile(t *testing.T) {
	e := newEstate(t, nil)
	defer e.r.Close()
	names := "names.com. 300 SOA a. b. 1 2 3 4 300\nnames.com. 300 NS ns.example.com.\n"
	for i := range 100 {
		names += fmt.Sprintf("ns%d.names.com. 300 A 192.0.2.%d\n", i, i)
	}
	e.serve("names.com.", names, "198.51.100.2")
	for _, c := range []struct {
		what, of string
		most     int // to the victim
		name     func(zone, server int) string
		depth    int
	}{
		{"that are not there", "198.51.100.4", 4, func(i, j int) string { return fmt.Sprintf("ns%d.t%d-%d.example.org.", j, i, j) }, 12},
		{"that are there", "198.51.100.2", 15, func(_, j int) string { return fmt.Sprintf("ns%d.names.com.", j) }, 1},
	} {
		zone := e.hide(fmt.Sprintf("most%d.example.com.", c.most), "198.51.100.3", c.depth, 20, c.name)
		name := "www." + zone
		ask(t, e.r, name, wire.TypeA)
		e.look("warm.example.org.", false)
		e.sent()
		e.look(name, true)
		if all, victim := e.sentTo(c.of); victim > c.most || victim == 0 || all > 16+4 {
			t.Errorf("servers %s: %d packets, %d of them to the victim", c.what, all, victim)
		}
	}
}

// Servers that are slow or silent cost packets within a bound, as one who waits and as one who does not.
func TestFindServersPackets(t *testing.T) {
	for _, waits := range []bool{false, true} {
		e := newEstate(t, nil)
		defer e.r.Close()
		com := "com. 3600 SOA a. b. 1 2 3 4 300\ncom. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 198.51.100.2\n"
		own := "many.com. 300 SOA a. b. 1 2 3 4 300\n"
		var servers []string
		for i := range 18 {
			addr := fmt.Sprintf("198.51.100.%d", 100+i)
			records := fmt.Sprintf("many.com. 3600 NS ns%d.many.com.\nns%d.many.com. 3600 A %s\n", i, i, addr)
			com, own, servers = com+records, own+records, append(servers, addr)
		}
		e.zones[netip.MustParseAddr("198.51.100.2")] = nil
		e.serve("com.", com, "198.51.100.2")
		e.serve("many.com.", own+"www.a.b.c.d.e.f.many.com. 300 A 192.0.2.84\n", servers...)
		const name = "www.a.b.c.d.e.f.many.com."
		ask(t, e.r, name, wire.TypeA)
		e.refuse = func(_ netip.Addr, q *upstream.Question) bool { return q.Type == wire.TypeNS }
		e.sent()
		if waits {
			j := e.judging(name)
			e.asks(j, name, false)
			<-j.done
		} else {
			e.look(name, true)
		}
		if n := len(e.sent()); n > 50 || n < 20 {
			t.Errorf("%d packets", n)
		}
	}
}

// A server that is the root's name is none, and one that is an alias has no address.
func TestFindServersOdd(t *testing.T) {
	e := newEstate(t, nil)
	defer e.r.Close()
	e.hide("null.example.com.", "198.51.100.3", 1, 1, func(int, int) string { return "." })
	e.hide("alias.example.com.", "198.51.100.3", 1, 1, func(int, int) string { return "alias.example.com." })
	for name, want := range map[string]string{
		"www.z0.null.example.com.":  "ns.example.com. 198.51.100.3",
		"www.z0.alias.example.com.": "alias.example.com. ns.example.com. 198.51.100.3",
	} {
		e.look(name, true)
		if got := e.find(name, true); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if n := e.r.Counters().NSUnknown.Load(); n != 0 {
			t.Errorf("%s: not all was found", name)
		}
	}
}

// Who has signed records of a name tells its zone only if they were validated.
func TestFindServersSigned(t *testing.T) {
	for sec, want := range map[cache.Security]string{
		cache.Unchecked: "? ns.", cache.Insecure: "? ns.", cache.Bogus: "? ns.", cache.Secure: "ns.",
	} {
		e := newEstate(t, nil)
		name := wire.Lower(nil, dnstest.Name(t, "www.example.com."))
		set := &wire.RRset{Owner: name, Type: wire.TypeA, TTL: 300, Data: [][]byte{{192, 0, 2, 1}}}
		set.Sigs = [][]byte{append(make([]byte, 18), "\x07example\x03com\x00"...)}
		ask(t, e.r, "example.com.", wire.TypeNS)
		e.cache.Writer().PutRRset(cache.NewPartition(0, 0), set, cache.AuthAnswer, sec, e.cache.Now())
		if got := e.find("www.example.com.", false); !strings.HasPrefix(got, want) {
			t.Errorf("%v: %s, want %s", sec, got, want)
		}
		e.r.Close()
	}
}

// here is a zone that is local.
type here string

func (h here) Apex(name []byte, _ wire.Type) []byte {
	if wire.Subdomain(name, []byte(h)) {
		return []byte(h)
	}
	return nil
}
func (here) Answer([]byte, wire.Type) []byte { return nil }

// Zones that are local have no servers to judge by.
func TestFindServersLocal(t *testing.T) {
	e := newEstate(t, func(s *resolver.Settings) { s.Local = here("\x07example\x03com\x00") })
	defer e.r.Close()
	before := e.find("www.child.example.com.", true)
	e.look("www.child.example.com.", true)
	if got, sent := before+e.find("www.child.example.com.", true), e.sent(); got != "" || len(sent) > 0 {
		t.Errorf("%q, and it asked %q", got, sent)
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
	meanwhile bool
	late      bool
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
		return resolver.Wanted{Name: name, Addresses: j.addresses, Meanwhile: j.meanwhile}
	}
	return w
}

func (j *judging) Answer(a *cache.Answer, _ string) {
	j.at, j.answer = time.Now(), a
	close(j.done)
}
func (j *judging) Late() { j.late = true }
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

// Who waits is answered in time whatever becomes of the servers, and who wants none does not wait for them. Nobody gets
// a stale answer where there is another.
func TestJudgeInTime(t *testing.T) {
	for _, c := range []struct {
		reply, least, most time.Duration
		joins              bool // the others ask when the servers are being looked up for the first
	}{
		{1500 * time.Millisecond, time.Second, 1499 * time.Millisecond, false},
		{10 * time.Second, 1500 * time.Millisecond, 2001 * time.Millisecond, false},
		{10 * time.Second, 1500 * time.Millisecond, 2001 * time.Millisecond, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEstate(t, func(s *resolver.Settings) { s.Limits.Reply, s.StaleWait = c.reply, 300*time.Millisecond })
			e.wait = 500 * time.Millisecond
			e.refuse = func(_ netip.Addr, q *upstream.Question) bool { return q.Type == wire.TypeNS && len(q.Name) > 1 }
			begun := time.Now()
			j, plain, meanwhile := e.judging("www.child.example.com."), make(waiter, 1), e.judging("www.child.example.com.")
			meanwhile.meanwhile = true
			e.r.Ask(&resolver.Request{Name: wire.Lower(nil, dnstest.Name(t, j.name)), Type: wire.TypeA, Waiter: j, Stale: true})
			if c.joins {
				synctest.Wait()
			}
			e.asks(plain, j.name, false)
			e.asks(meanwhile, j.name, false)
			<-plain
			<-meanwhile.done
			if took := time.Since(begun); took > 100*time.Millisecond {
				t.Errorf("who wants nothing, or meanwhile, waited %v", took)
			}
			<-j.done
			if took := j.at.Sub(begun); j.answer == nil || j.answer.Rcode != wire.NoError || took > c.most || took < c.least || j.late {
				t.Errorf("after %v, late: %v: %+v", took, j.late, j.answer)
			}
			e.r.Close()
		})
	}
}

// Who does not wait has the servers looked up with the answer all the same, those of all names of its chain.
func TestJudgeMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		j := e.judging("far.child.example.com.")
		j.meanwhile = true
		e.asks(j, j.name, false)
		<-j.done
		synctest.Wait()
		if got := e.find(j.name, true); got != "ns.hidden.example.com. 198.51.100.66 ns.example.com. 198.51.100.3" {
			t.Error(got)
		}
		e.r.Close()
	})
}

// Where nothing can be kept, since there is another configuration, nobody goes round in circles.
func TestJudgeReplaced(t *testing.T) {
	e := newEstate(t, nil)
	defer e.r.Close()
	e.r.Apply(resolver.Compile(resolver.Settings{IPv4: true, Port: 5353}))
	j := e.judging("www.child.example.com.")
	e.r.Ask(&resolver.Request{Name: wire.Lower(nil, dnstest.Name(t, j.name)), Type: wire.TypeA, Waiter: j, Config: e.config})
	<-j.done
	if j.wanted > 2 || j.answer.Rcode != wire.NoError {
		t.Errorf("it was asked %d times: %+v", j.wanted, j.answer)
	}
}

// What nobody waits for does not join what somebody does, is not begun where many wait, and takes nobody's place.
func TestIdle(t *testing.T) {
	for _, c := range []struct{ waiting, perClient, begun int }{{2, 9, 2}, {100, 9, 3}, {100, 1, 3}} {
		synctest.Test(t, func(t *testing.T) {
			e := newEstate(t, func(s *resolver.Settings) { s.Limits.Waiting, s.Limits.PerClient = c.waiting, c.perClient })
			e.wait = time.Second
			e.refuse = func(netip.Addr, *upstream.Question) bool { return true }
			asks := func(name, from string, idle bool) {
				q := &resolver.Request{Name: wire.Lower(nil, dnstest.Name(t, name)), Type: wire.TypeA, Waiter: make(waiter, 1), Idle: idle}
				q.Client = netip.MustParseAddr(from)
				e.r.Ask(q)
			}
			asks("www.example.com.", "192.0.2.1", false)
			asks("www.example.com.", "192.0.2.2", true)
			asks("alias.example.com.", "192.0.2.2", true)
			asks("away.example.com.", "192.0.2.2", false)
			if c, n := e.r.Counters(), uint64(c.begun); c.Questions.Load() != n || c.Joined.Load() != 0 || c.Shed.Load() != 0 {
				t.Errorf("%d questions, %d joined, %d shed; want %d, 0, 0", c.Questions.Load(), c.Joined.Load(), c.Shed.Load(), n)
			}
			e.r.Close()
		})
	}
	e := newEstate(t, nil)
	defer e.r.Close()
	j := e.judging("www.child.example.com.")
	e.asks(j, j.name, true)
	<-j.done
	if got := e.find(j.name, false); strings.Contains(got, "?") {
		t.Error(got)
	}
}
