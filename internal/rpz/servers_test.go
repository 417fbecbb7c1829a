package rpz_test

import (
	"net/netip"
	"strings"
	"testing"

	"port53/internal/rpz"
	"port53/internal/wire"
)

// A cached is what a cache knows of the servers of a name's zones, in words: names, addresses, "?" where the
// servers of a zone are not known, "@" where addresses are not, "old" for what has expired.
type cached struct {
	words string
	asked []string
}

func (c *cached) Find(name []byte, addresses bool, into *rpz.Searcher) {
	c.asked = append(c.asked, wire.NameText(name))
	for _, w := range strings.Fields(c.words) {
		switch addr, err := netip.ParseAddr(w); {
		case w == "?":
			into.Unknown(false, false)
		case w == "@" && addresses:
			into.Unknown(true, false)
		case w == "@":
		case w == "old":
			into.Unknown(false, true)
		case err == nil && addresses:
			into.AddHost(addr)
		case err != nil:
			n, _ := wire.ParseName(w)
			into.AddServer(n)
		}
	}
}

const (
	byName    = "names\nns.evil.test.rpz-nsdname CNAME .\n"
	byAddress = "addresses\n32.7.113.0.203.rpz-nsip CNAME *.\n"
	byOwn     = "own\nwww.example CNAME rpz-passthru.\n*.blocked CNAME .\n"
)

// What is not known of servers is waited for where it could decide, and nowhere else.
func TestUnknownServers(t *testing.T) {
	for _, c := range []struct {
		zones  []string
		known  string
		asks   string // empty: www.example = 192.0.2.1
		change func(*rpz.Policy, *rpz.Question)
		want   string
		look   string // the name that is to be looked up, "+" if with addresses
		finds  int    // how often the servers of a name are looked for
	}{
		{zones: []string{byName}, known: "ns.good.test ?", want: "undecided", look: "www.example.", finds: 1},
		{zones: []string{byName}, known: "ns.good.test", want: "pass", finds: 1},
		{zones: []string{byName}, known: "ns.evil.test ?", want: "nxdomain names. nsdname", finds: 1}, // of the closest zone
		{zones: []string{byName}, known: "? ns.evil.test", want: "undecided", look: "www.example.", finds: 1},
		{zones: []string{byName}, known: "ns.good.test @", want: "pass", finds: 1}, // addresses do not matter
		{zones: []string{byAddress}, known: "ns.good.test @", want: "undecided", look: "www.example. +", finds: 1},
		{zones: []string{byAddress}, known: "ns.good.test 203.0.113.7 @", want: "undecided", look: "www.example. +", finds: 1},
		{zones: []string{byAddress}, known: "ns.good.test 203.0.113.7", want: "nodata addresses. nsip", finds: 1},
		{zones: []string{byName, byAddress}, known: "ns.good.test @", want: "undecided", look: "www.example. +", finds: 2},

		// What comes before decides, and what comes behind does not matter.
		{zones: []string{byOwn, byName}, known: "?", want: "passthru own. qname"},
		{zones: []string{byName, byOwn}, known: "?", want: "undecided", look: "www.example.", finds: 1},
		{zones: []string{byOwn}, known: "?", asks: "other.example = 192.0.2.1", want: "pass"},
		{zones: []string{byOwn, byName}, known: "?", asks: "other.example = >www.example 192.0.2.1", want: "undecided", look: "other.example.", finds: 1},
		{zones: []string{byOwn, byName}, known: "?", asks: "other.example", want: "undecided"},

		// What has expired counts, and is looked up meanwhile.
		{zones: []string{byName}, known: "ns.evil.test old", want: "nxdomain names. nsdname", finds: 1},
		{zones: []string{byName}, known: "ns.good.test old", want: "pass", look: "www.example.", finds: 1},

		// Who does not wait is judged by what is known.
		{zones: []string{byName}, known: "ns.good.test ?", change: noWait, want: "pass", look: "www.example.", finds: 1},
		{zones: []string{byName}, known: "? ns.evil.test", change: noWait, want: "nxdomain names. nsdname", finds: 1},
		{zones: []string{byAddress}, known: "n.test 203.0.113.7 @", change: noWait, want: "nodata addresses. nsip", look: "www.example. +", finds: 1},
		{zones: []string{byAddress, byName}, known: "n.test @", change: noWait, want: "pass", look: "www.example. +", finds: 2},
		{zones: []string{byName}, known: "?", change: counts, want: "pass", look: "www.example.", finds: 1},
		{
			zones: []string{byName}, known: "?", finds: 1, want: "pass", look: "www.example.",
			change: func(_ *rpz.Policy, q *rpz.Question) { q.Final = true },
		},

		// The answer is signed, for one who wants that, and goes as it is.
		{zones: []string{byName}, known: "?", asks: "www.example = 192.0.2.1 rrsig", change: wantsDO, want: "pass", finds: 1},
		{
			zones: []string{byName}, known: "?", asks: "www.example = 192.0.2.1 rrsig", want: "undecided", look: "www.example.", finds: 1,
			change: func(p *rpz.Policy, q *rpz.Question) { q.DO, p.Zones[0].BreakDNSSEC = true, true },
		},
		{zones: []string{byName}, known: "?", change: wantsDO, want: "undecided", look: "www.example.", finds: 1},
	} {
		p := policy(t, c.zones...)
		for _, z := range p.Zones {
			z.WaitServers = true
		}
		if c.asks == "" {
			c.asks = "www.example = 192.0.2.1"
		}
		q, known := question(t, c.asks, wire.TypeA), &cached{words: c.known}
		q.Servers = known
		if c.change != nil {
			c.change(p, q)
		}
		v := new(rpz.Searcher).Judge(p, q)
		look := ""
		if v.Unknown != nil {
			look = wire.NameText(v.Unknown)
			if v.Addresses {
				look += " +"
			}
		}
		if got := summary(v); got != c.want || look != c.look || len(known.asked) != c.finds {
			t.Errorf("%q, %s, of which is known %q: %s, to be looked up %q, %d looked for; want %s, %q, %d",
				c.zones, c.asks, c.known, got, look, len(known.asked), c.want, c.look, c.finds)
		}
	}
}

func noWait(p *rpz.Policy, _ *rpz.Question)  { p.Zones[0].WaitServers = false }
func counts(p *rpz.Policy, _ *rpz.Question)  { p.Zones[0].Override = rpz.Disabled }
func wantsDO(_ *rpz.Policy, q *rpz.Question) { q.DO = true }

// A policy without rules about servers says so.
func TestJudgesServers(t *testing.T) {
	for text, want := range map[string]bool{byOwn: false, byName: true, byAddress: true} {
		if got := policy(t, "first\nwww.example CNAME .\n", text).JudgesServers(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if p := (&rpz.Policy{Zones: []*rpz.Zone{{}}}); p.JudgesServers() {
		t.Error("a zone that has not come yet has rules")
	}
}
