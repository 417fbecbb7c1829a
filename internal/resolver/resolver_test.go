package resolver_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"port53/internal/authority"
	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/resolver"
	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A world is servers by address, each with zones, asked without a network.
type world struct {
	t     testing.TB
	mu    sync.Mutex
	zones map[netip.Addr][]*zone.Zone
	asked []string // "address name type"
}

// serve adds a zone to the servers at addrs.
func (w *world) serve(origin, text string, addrs ...string) {
	w.t.Helper()
	z := dnstest.Zone(w.t, origin, text)
	for _, a := range addrs {
		addr := netip.MustParseAddr(a)
		w.zones[addr] = append(w.zones[addr], z)
	}
}

func (w *world) Estimate(netip.AddrPort) (time.Duration, upstream.State, bool) {
	return 300 * time.Millisecond, upstream.Good, false
}

func (w *world) RTT(netip.AddrPort) time.Duration { return 10 * time.Millisecond }

func (*world) NoteCasePreserved(netip.AddrPort, bool) {}

func (w *world) Exchange(_ context.Context, server netip.AddrPort, q *upstream.Question) (upstream.Reply, error) {
	w.mu.Lock()
	w.asked = append(w.asked, server.Addr().String()+" "+string(wire.AppendName(nil, q.Name))+" "+q.Type.String())
	zones := w.zones[server.Addr()]
	w.mu.Unlock()
	msg := wire.AppendOPT(wire.AppendQuery(nil, 1, 0, q.Name, q.Type), 4096, q.DO, nil)
	binary.BigEndian.PutUint16(msg[10:], 1)
	var query wire.Query
	if bad := query.Parse(msg); bad != 0 {
		w.t.Fatalf("the resolver asked for what is no question: %v", bad)
	}
	var best *zone.Zone
	for _, z := range zones {
		if wire.Subdomain(query.Name.Name(), z.Apex()) && (best == nil || len(z.Apex()) > len(best.Apex())) &&
			(q.Type != wire.TypeDS || len(z.Apex()) < query.Name.Len() || len(z.Apex()) == 1) {
			best = z
		}
	}
	var b wire.Builder
	b.Start(make([]byte, 65535), 65535, 0, &query)
	switch {
	case zones == nil:
		return upstream.Reply{Packets: 1}, os.ErrDeadlineExceeded
	case best == nil:
		b.SetRcode(wire.Refused)
	default:
		var r authority.Responder
		r.Answer(best, &query, &b)
	}
	return upstream.Reply{Message: b.Finish(nil, 0), RTT: time.Millisecond, Packets: 1}, nil
}

// small returns a world with a root, a top-level domain and a zone.
func small(t testing.TB) *world {
	w := &world{t: t, zones: map[netip.Addr][]*zone.Zone{}}
	w.serve(".", `. 3600 SOA a. b. 1 2 3 4 300
. 3600 NS a.root.
a.root. 3600 A 198.51.100.1
com. 3600 NS a.gtld.com.
a.gtld.com. 3600 A 198.51.100.2
org. 3600 NS ns.out.com.
`, "198.51.100.1")
	w.serve("com.", `com. 3600 SOA a. b. 1 2 3 4 300
com. 3600 NS a.gtld.com.
a.gtld.com. 3600 A 198.51.100.2
example.com. 3600 NS ns.example.com.
ns.example.com. 3600 A 198.51.100.3
out.com. 3600 NS ns.example.com.
`, "198.51.100.2")
	w.serve("example.com.", `example.com. 3600 SOA a. b. 1 2 3 4 300
example.com. 3600 NS ns.example.com.
ns.example.com. 3600 A 198.51.100.3
www.example.com. 300 A 192.0.2.80
alias.example.com. 300 CNAME www.example.com.
away.example.com. 300 CNAME www.example.org.
loop.example.com. 300 CNAME pool.example.org.
*.wild.example.com. 300 TXT "wild"
old.example.com. 300 DNAME example.org.
`, "198.51.100.3")
	w.serve("out.com.", "out.com. 3600 SOA a. b. 1 2 3 4 300\nout.com. 3600 NS ns.example.com.\nns.out.com. 3600 A 198.51.100.4\n", "198.51.100.3")
	w.serve("org.", "org. 3600 SOA a. b. 1 2 3 4 300\norg. 3600 NS ns.out.com.\nexample.org. 3600 NS ns.out.com.\n", "198.51.100.4")
	w.serve("example.org.", `example.org. 3600 SOA a. b. 1 2 3 4 300
example.org. 3600 NS ns.out.com.
www.example.org. 60 A 192.0.2.90
pool.example.org. 60 CNAME loop.example.com.
`, "198.51.100.4")
	return w
}

func (w *world) resolver(change func(*resolver.Settings)) *resolver.Resolver {
	s := resolver.Settings{
		Hints: []resolver.Hint{{Name: []byte("\x01a\x04root\x00"), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}},
		IPv4:  true,
	}
	if change != nil {
		change(&s)
	}
	return w.remembering(s, nil)
}

// remembering returns a resolver that has a log of how questions failed; nil: it has none.
func (w *world) remembering(s resolver.Settings, log *why.Log) *resolver.Resolver {
	r := resolver.New(resolver.Options{Cache: cache.New(cache.Options{Size: 4 << 20}), Exchanger: w, Why: log}, resolver.Compile(s))
	w.t.Cleanup(r.Close)
	return r
}

// ask returns the answer as text: its rcode, then the records.
func ask(t testing.TB, r *resolver.Resolver, name string, typ wire.Type) string {
	t.Helper()
	n := wire.Lower(nil, dnstest.Name(t, name))
	a, text, _ := r.Explain(n, typ, false, false)
	msg := wire.AppendQuery(nil, 1, wire.FlagQR|uint16(a.Rcode), n, typ)
	for i, c := range a.Counts {
		binary.BigEndian.PutUint16(msg[6+2*i:], c)
	}
	var m wire.Message
	if bad := m.Parse(append(msg, a.Body...)); bad != 0 {
		t.Fatalf("%s: the answer does not parse: %v", name, bad)
	}
	lines := []string{m.Rcode.String()}
	for _, rr := range m.Records {
		lines = append(lines, string(wire.AppendName(nil, rr.Owner))+" "+rr.Type.String()+" "+string(wire.AppendRdataText(nil, rr.Type, rr.Data)))
	}
	if text != "" {
		lines = append(lines, text)
	}
	return strings.Join(lines, "; ")
}

func TestResolve(t *testing.T) {
	w := small(t)
	r := w.resolver(nil)
	for _, c := range []struct {
		name string
		typ  wire.Type
		want string
	}{
		{"www.example.com.", wire.TypeA, "NOERROR; www.example.com. A 192.0.2.80"},
		{"alias.example.com.", wire.TypeA, "NOERROR; alias.example.com. CNAME www.example.com.; www.example.com. A 192.0.2.80"},
		{"away.example.com.", wire.TypeA, "NOERROR; away.example.com. CNAME www.example.org.; www.example.org. A 192.0.2.90"},
		{"www.old.example.com.", wire.TypeA, "NOERROR; old.example.com. DNAME example.org.; www.old.example.com. CNAME www.example.org.; www.example.org. A 192.0.2.90"},
		{"nothing.example.com.", wire.TypeA, "NXDOMAIN; example.com. SOA a. b. 1 2 3 4 300"},
		{"www.example.com.", wire.TypeMX, "NOERROR; example.com. SOA a. b. 1 2 3 4 300"},
		{"any.wild.example.com.", wire.TypeTXT, `NOERROR; any.wild.example.com. TXT "wild"`},
		{"loop.example.com.", wire.TypeA, "SERVFAIL; the name is an alias of itself"},
		{"example.org.", wire.TypeNS, "NOERROR; example.org. NS ns.out.com."},
		{"example.net.", wire.TypeA, "NXDOMAIN; . SOA a. b. 1 2 3 4 300"},
	} {
		if got := ask(t, r, c.name, c.typ); got != c.want {
			t.Errorf("%s %v:\n got %s\nwant %s", c.name, c.typ, got, c.want)
		}
	}
	before := len(w.asked)
	ask(t, r, "www.example.com.", wire.TypeA)
	if len(w.asked) != before {
		t.Errorf("what the cache had was asked again: %v", w.asked[before:])
	}
}

// BenchmarkMiss asks for names that nobody asked for, over delegations that are known: without and with a
// log of how questions failed.
func BenchmarkMiss(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchMiss(b, nil) })
	b.Run("why", func(b *testing.B) {
		log := why.New(why.Options{})
		log.Set(why.Problems, 1<<20)
		benchMiss(b, log)
	})
}

func benchMiss(b *testing.B, log *why.Log) {
	w := small(b)
	r := w.remembering(resolver.Settings{
		Hints: []resolver.Hint{{Name: []byte("\x01a\x04root\x00"), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}},
		IPv4:  true,
	}, log)
	ask(b, r, "warm.wild.example.com.", wire.TypeTXT)
	name := []byte("\x0a0000000000\x04wild\x07example\x03com\x00")
	i := 0
	b.ReportAllocs()
	done := make(chan struct{}, 1)
	for b.Loop() {
		i++
		for j, v := 10, i; j > 0; j-- {
			name[j] = byte('0' + v%10)
			v /= 10
		}
		w.asked = w.asked[:0]
		r.Ask(&resolver.Request{Name: name, Type: wire.TypeTXT, Waiter: waiter(done), Cookie: true})
		<-done
	}
}

type waiter chan struct{}

func (w waiter) Answer(*cache.Answer, string) { w <- struct{}{} }
func (w waiter) Late()                        {}
func (w waiter) Drop()                        { w <- struct{}{} }

// TestClockSetBack has the system's clock set back by an hour: what the resolver learned does
// not live longer for it.
func TestClockSetBack(t *testing.T) {
	w := small(t)
	wall, elapsed := time.Unix(1_700_000_000, 0), time.Duration(0)
	c := cache.New(cache.Options{Size: 4 << 20, Clock: func() (time.Duration, time.Duration) { return time.Duration(wall.UnixNano()), elapsed }})
	r := resolver.New(resolver.Options{Cache: c, Exchanger: w}, resolver.Compile(resolver.Settings{
		Hints: []resolver.Hint{{Name: []byte("\x01a\x04root\x00"), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}},
		IPv4:  true,
	}))
	defer r.Close()
	asks := func() int {
		before := len(w.asked)
		ask(t, r, "www.example.com.", wire.TypeA)
		return len(w.asked) - before
	}
	if asks() == 0 || asks() != 0 {
		t.Fatal("it is not cached")
	}
	wall = wall.Add(-time.Hour)
	if n := asks(); n != 0 {
		t.Errorf("set back, what is cached is asked for again: %d packets", n)
	}
	wall, elapsed = wall.Add(301*time.Second), elapsed+301*time.Second
	if asks() == 0 {
		t.Error("301 s later a set of 300 s is still used")
	}
}

// An island is a machine that nothing leads away from, or nothing back to.
type island struct {
	*world
	err error
}

func (i island) Exchange(context.Context, netip.AddrPort, *upstream.Question) (upstream.Reply, error) {
	return upstream.Reply{}, i.err
}

// TestNoNetwork asks where nobody can be reached: what the client is told is that, and not
// which limit ended the attempts.
func TestNoNetwork(t *testing.T) {
	for _, c := range []struct {
		err  error
		ede  int
		text string
	}{
		{os.NewSyscallError("connect", syscall.ENETUNREACH), wire.EDENetworkError, "servers cannot be reached: network is unreachable"},
		{os.NewSyscallError("connect", syscall.EADDRNOTAVAIL), wire.EDENetworkError, "servers cannot be reached: cannot assign requested address"},
		{syscall.EHOSTUNREACH, wire.EDENetworkError, "servers cannot be reached: no route to host"},
		{os.ErrDeadlineExceeded, wire.EDENoReachableAuthority, "servers do not answer"},
	} {
		for _, packets := range []int{5, 128} {
			w := small(t)
			var hints []resolver.Hint
			for i := range 13 {
				hints = append(hints, resolver.Hint{Name: []byte{1, byte('a' + i), 4, 'r', 'o', 'o', 't', 0}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}})
			}
			r := resolver.New(resolver.Options{Cache: cache.New(cache.Options{Size: 4 << 20}), Exchanger: island{w, c.err}},
				resolver.Compile(resolver.Settings{Hints: hints, IPv4: true, Limits: resolver.Limits{Packets: packets}}))
			a, text, _ := r.Explain(dnstest.Name(t, "www.example.com."), wire.TypeA, false, false)
			r.Close()
			if a.EDE != c.ede || text != c.text {
				t.Errorf("%v, %d packets: error %d %q, want %d %q", c.err, packets, a.EDE, text, c.ede, c.text)
			}
		}
	}
}

// TestCaseIsKept has servers be asked with the letters that the client wrote where their case is not mixed, in parts of the name too,
// and in lower case where it is mixed, which the exchanger does, or a server stumbles over it.
func TestCaseIsKept(t *testing.T) {
	server := netip.MustParseAddr("198.51.100.3")
	for _, c := range []struct {
		change func(*resolver.Settings)
		want   string
	}{
		{func(*resolver.Settings) {}, "WwW.wIlD.eXaMpLe.CoM."},
		{func(s *resolver.Settings) { s.Minimise = resolver.Strict }, "WwW.wIlD.eXaMpLe.CoM."},
		{func(s *resolver.Settings) { s.MixCase = true }, "www.wild.example.com."},
		{func(s *resolver.Settings) {
			s.Exceptions = []resolver.Exception{{Server: netip.PrefixFrom(server, 32), Case: true}}
		}, "www.wild.example.com."},
	} {
		w := small(t)
		r := w.resolver(c.change)
		written := dnstest.Name(t, "WwW.wIlD.eXaMpLe.CoM.")
		done := make(waiter, 1)
		r.Ask(&resolver.Request{Name: wire.Lower(nil, written), Written: written, Type: wire.TypeTXT, Waiter: done, Cookie: true})
		<-done
		if last, want := w.asked[len(w.asked)-1], server.String()+" "+c.want+" TXT"; last != want {
			t.Errorf("the server was asked %q, want %q", last, want)
		}
		for _, line := range w.asked {
			f := strings.Fields(line)
			if part := c.want[max(len(c.want)-len(f[1]), 0):]; f[0] == server.String() && strings.EqualFold(part, f[1]) && part != f[1] {
				t.Errorf("the server was asked for %s, want %s", f[1], part)
			}
		}
	}
}
