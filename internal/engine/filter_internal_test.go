package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/filter"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

// A filtered is an engine whose cache is filled by hand and whose rules are those of a list.
type filtered struct {
	*testing.T
	engine *Engine
	worker *worker
	tel    *telemetry.Telemetry
	gen    Generation
	marks  uint32
}

func newFiltered(t *testing.T) *filtered {
	t.Helper()
	f := &filtered{T: t, tel: telemetry.New()}
	config := resolver.Compile(resolver.Settings{})
	f.gen.Recursion = &Recursion{Cache: cache.New(cache.Options{Size: 1 << 20}), Config: config}
	f.engine = New(Options{Telemetry: f.tel, PropagatePanics: true}, f.gen)
	f.worker = f.engine.newWorker()
	return f
}

// rules makes a list what is filtered by.
func (f *filtered) rules(text string, o filter.Block) {
	f.Helper()
	b := filter.NewBuilder(53, 0)
	if _, err := b.Read(strings.NewReader(text), filter.ReadOptions{List: 1}); err != nil {
		f.Fatal(err)
	}
	f.marks++
	f.gen.Filter = &filter.Set{Table: b.Table(), Lists: []string{"", "ads"}, Mark: f.marks}
	o.List = 1
	var err error
	if f.gen.Policy, err = filter.NewPolicy(f.gen.Filter.Table, filter.PolicyOptions{Blocks: []filter.Block{o}}); err != nil {
		f.Fatal(err)
	}
	f.engine.Apply(f.gen)
}

// keep puts an answer into the cache: records whose owner is the question's name.
func (f *filtered) keep(name string, typ wire.Type, do bool, data ...string) {
	f.Helper()
	n, err := wire.ParseName(name)
	if err != nil {
		f.Fatal(err)
	}
	a := &cache.Answer{TTL: 300, EDE: -1, Flags: wire.FlagAD, Security: cache.Secure}
	for _, text := range data {
		kind, value, _ := strings.Cut(text, " ")
		t, rdata := wire.TypeA, []byte(nil)
		if kind == "CNAME" {
			t = wire.TypeCNAME
			rdata, err = wire.ParseName(value)
		} else {
			addr := netip.MustParseAddr(value)
			if rdata = addr.AsSlice(); addr.Is6() {
				t = wire.TypeAAAA
			}
		}
		if err != nil {
			f.Fatal(err)
		}
		a.Body = append(a.Body, 0xC0, 12, 0, byte(t), 0, 1, 0, 0, 1, 44, 0, byte(len(rdata)))
		a.Body = append(a.Body, rdata...)
		a.Counts[0]++
	}
	c := f.gen.Recursion
	c.Cache.Writer().PutAnswer(c.Config.Key(n, typ, resolver.Wants{DO: do}), a, c.Cache.Now())
}

var client = server.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Transport: server.TCP}

// ask asks, and returns the reply.
func (f *filtered) ask(name string, typ wire.Type, do bool) (*wire.Message, int) {
	f.Helper()
	n, err := wire.ParseName(name)
	if err != nil {
		f.Fatal(err)
	}
	msg := wire.AppendOPT(wire.AppendQuery(nil, 7, wire.FlagRD|wire.FlagAD, n, typ), 1232, do, nil)
	msg[11] = 1
	room := make([]byte, wire.MaxMessage)
	size := f.worker.Handle(msg, &client, time.Now().UnixNano(), room)
	if size <= 0 {
		return nil, size
	}
	m := new(wire.Message)
	if bad := m.Parse(room[:size]); bad != 0 {
		f.Fatal(bad)
	}
	return m, size
}

func (f *filtered) summary(name string, typ wire.Type) string {
	f.Helper()
	m, size := f.ask(name, typ, false)
	if m == nil {
		return fmt.Sprint("silence ", size)
	}
	text := m.Rcode.String()
	if m.Flags&wire.FlagAD != 0 {
		text += " ad"
	}
	for _, r := range m.Records {
		if r.Type == wire.TypeSOA {
			text += " soa"
		} else {
			text += " " + netip.AddrFrom4([4]byte(append(bytes.Clone(r.Data), 0, 0, 0, 0)[:4])).String()
		}
	}
	if ede, ok := m.Option(wire.OptionEDE); ok {
		text += fmt.Sprintf(" ede %d %s", ede[1], ede[2:])
	}
	return text
}

// EachView action is the reply that it says, to a question that is in the cache and one that is not.
func TestFilterActions(t *testing.T) {
	f := newFiltered(t)
	f.keep("known.ads.example", wire.TypeA, false, "A 192.0.2.9")
	f.keep("fine.example", wire.TypeA, false, "A 192.0.2.9")
	for _, c := range []struct {
		block filter.Block
		want  string
	}{
		{filter.Block{Action: filter.NXDomain, EDE: 15, Text: "by list ads"}, "NXDOMAIN soa ede 15 by list ads"},
		{filter.Block{Action: filter.NoData, EDE: 17}, "NOERROR soa ede 17 "},
		{filter.Block{Action: filter.Refuse, EDE: 16, Text: "law"}, "REFUSED ede 16 law"},
		{filter.Block{Action: filter.Drop}, "silence 0"},
		{filter.Block{Action: filter.Address, Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, EDE: 15}, "NOERROR 198.51.100.1 ede 15 "},
		{filter.Block{Action: filter.Address, Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, EDE: 15}, "NOERROR soa ede 15 "},
	} {
		f.rules("||ads.example^", c.block)
		for _, name := range []string{"known.ads.example", "other.ads.example"} {
			if got := f.summary(name, wire.TypeA); got != c.want {
				t.Errorf("%v: %s: %q, want %q", c.block.Action, name, got, c.want)
			}
		}
		if got := f.summary("fine.example", wire.TypeA); got != "NOERROR ad 192.0.2.9" {
			t.Errorf("%v: beside it: %q", c.block.Action, got)
		}
	}
	f.rules("||ads.example^", filter.Block{Action: filter.Log})
	if got := f.summary("known.ads.example", wire.TypeA); got != "NOERROR ad 192.0.2.9" {
		t.Errorf("log: %q", got)
	}
	var counts []string
	f.tel.EachFiltered(func(list int, how telemetry.Filtering, n uint64) { counts = append(counts, fmt.Sprint(list, how, n)) })
	if got := strings.Join(counts, ", "); got != "1blocked 12, 1logged 1" && got != "1 blocked 12, 1 logged 1" {
		t.Errorf("counted %q", got)
	}
}

// What an answer in the cache leads to is looked through once for each set of rules: other rules are
// seen at once, for answers that were found harmless before.
func TestFilterMarks(t *testing.T) {
	f := newFiltered(t)
	f.keep("www.example", wire.TypeA, false, "CNAME x.tracker.example", "A 203.0.113.7")
	hit := func() cache.Hit {
		c := f.gen.Recursion
		h, ok := c.Cache.Answer(c.Config.Key([]byte("\x03www\x07example\x00"), wire.TypeA, resolver.Wants{}), c.Cache.Now(), make([]byte, 512))
		if !ok {
			t.Fatal("no answer")
		}
		return h
	}
	const through, blocked = "NOERROR ad 1.120.7.116 203.0.113.7", "NXDOMAIN soa ede 15 "
	block := filter.Block{Action: filter.NXDomain, EDE: 15}
	for i, c := range []struct{ rules, want string }{
		{"ads.example", through},
		{"||tracker.example^", blocked},
		{"203.0.113.0/24", blocked},
		{"203.0.114.0/24", through},
		{"x.tracker.example", blocked},
		{"@@||tracker.example^\n||www.example^$dnstype=AAAA", through},
		{"y.tracker.example", through},
	} {
		f.rules(c.rules, block)
		for range 3 {
			if got := f.summary("www.example", wire.TypeA); got != c.want {
				t.Errorf("%q: %q, want %q", c.rules, got, c.want)
			}
		}
		harmless := c.want == through && !strings.Contains(c.rules, "@@")
		if marked := hit().Mark == f.marks; marked != harmless {
			t.Errorf("%d, %q: marked %v, want %v", i, c.rules, marked, harmless)
		}
	}
	f.gen.Policy = nil
	f.engine.Apply(f.gen)
	if got := f.summary("www.example", wire.TypeA); got != through {
		t.Errorf("without a policy: %q", got)
	}
}

// Addresses that a DNS64 makes stand for those of IPv4 that they are made of: who has IPv6 alone is not
// led to where nobody else is.
func TestFilterDNS64(t *testing.T) {
	f := newFiltered(t)
	f.gen.Recursion.Config = resolver.Compile(resolver.Settings{DNS64: &resolver.DNS64{Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:64::/96")}}})
	f.rules("203.0.113.0/24\n@@||good.example^", filter.Block{Action: filter.NXDomain, EDE: 15})
	f.keep("bad.example", wire.TypeAAAA, false, "AAAA 2001:db8:64::203.0.113.7")
	f.keep("good.example", wire.TypeAAAA, false, "AAAA 2001:db8:64::203.0.113.7")
	f.keep("other.example", wire.TypeAAAA, false, "AAAA 2001:db8:65::203.0.113.7", "AAAA 2001:db8:64::203.0.114.7")
	for _, c := range []struct{ name, want string }{
		{"bad.example", "NXDOMAIN soa ede 15 "},
		{"good.example", "NOERROR ad 32.1.13.184"},
		{"other.example", "NOERROR ad 32.1.13.184 32.1.13.184"},
	} {
		for range 2 {
			if got := f.summary(c.name, wire.TypeAAAA); got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
}

// Filtering allocates nothing: answers from the cache that no rule is about, the first time and
// after it, and answers that are blocked.
func TestFilterAllocatesNothing(t *testing.T) {
	f := newFiltered(t)
	f.keep("www.example", wire.TypeA, false, "CNAME x.tracker.example", "A 203.0.113.7")
	f.rules("||ads.example^\n198.51.100.0/24", filter.Block{Action: filter.NXDomain, EDE: 15, Text: "by list ads"})
	query := func(name string) []byte {
		n, err := wire.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		msg := wire.AppendOPT(wire.AppendQuery(nil, 7, wire.FlagRD, n, wire.TypeA), 1232, false, nil)
		msg[11] = 1
		return msg
	}
	room := make([]byte, wire.MaxMessage)
	for _, name := range []string{"www.example", "x.ads.example"} {
		msg := query(name)
		if n := testing.AllocsPerRun(200, func() {
			f.gen.Filter.Mark++ // it is judged again
			f.worker.Handle(msg, &client, 1, room)
			f.worker.Handle(msg, &client, 1, room)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
