package top_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/event"
	"port53/internal/top"
	"port53/internal/wire"
)

// A learner is a watch that learns, in simulated time.
type learner struct {
	*traffic
	l       *top.Learned
	rule    top.LearnRule
	learned []string      // domains, as it was told
	found   []string      // clients and domains
	skew    time.Duration // of the clock
}

func newLearner(t *testing.T, action string) *learner {
	e := &learner{rule: top.LearnRule{Period: 7 * 24 * time.Hour, Clients: 3, Days: 3}}
	e.l = top.NewLearned(func(d *top.TunnelDomain) { e.learned = append(e.learned, d.Domain) })
	e.l.SetRule(e.rule)
	e.l.Begin(time.Now())
	e.traffic = newTraffic(t, top.TunnelOptions{Action: action, Learned: e.l, Found: func(x *top.Tunnel) {
		e.found = append(e.found, x.Client+" "+x.Domain)
	}})
	return e
}

// dig has clients look like a tunnel to a domain, and servers answer with a response code.
func (e *learner) dig(rcode wire.Rcode, domain string, clients ...string) {
	e.t.Helper()
	for _, c := range clients {
		for range 40 {
			name, err := wire.ParseName(e.labels(base32, 180, 60) + ".t." + domain)
			if err != nil {
				e.t.Fatal(err)
			}
			e.to.Take(&event.Record{
				Path: event.Miss, Remote: netip.AddrPortFrom(netip.MustParseAddr(c), 4000), Time: time.Now().Add(e.skew).UnixNano(), Type: wire.TypeTXT,
				Name: name, Reply: 300, Rcode: rcode,
			})
		}
	}
}

// verdict returns what a domain is taken for; "": it is not listed.
func (e *learner) verdict(domain string) string {
	for _, d := range e.l.Report(time.Now()).Domains {
		if d.Domain == domain+"." {
			return d.Verdict
		}
	}
	return ""
}

func (e *learner) flagged(domain string) (n int) {
	for _, x := range e.to.List() {
		if x.Domain == domain+"." {
			n++
		}
	}
	return n
}

// blocks tells whether a client is stopped.
func (e *learner) blocks(client, domain string) bool {
	name, _ := wire.ParseName("data.t." + domain)
	return e.to.Blocks(netip.MustParseAddr(client), name)
}

const oneDay = 24 * time.Hour

// TestLearns has a domain that three clients use like a tunnel on three days be none from then on. Until then each is
// reported and blocked, and other domains always are.
func TestLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLearner(t, top.TunnelBlock)
		three := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
		for day := range 3 {
			if len(e.learned) > 0 {
				t.Errorf("learned before day %d is over", day)
			}
			e.found = nil
			e.dig(wire.NoError, "cdn.example", three...)
			if len(e.found) != 3 {
				t.Errorf("day %d: reported are %q", day, e.found)
			}
			if blocked := e.blocks("10.0.0.1", "cdn.example"); blocked != (day < 2) {
				t.Errorf("day %d: blocked %v", day, blocked)
			}
			if day < 2 {
				time.Sleep(oneDay)
			}
		}
		if !slices.Equal(e.learned, []string{"cdn.example."}) || e.verdict("cdn.example") != top.DomainLearned || e.flagged("cdn.example") != 0 {
			t.Errorf("learned %q, %s, %d flagged", e.learned, e.verdict("cdn.example"), e.flagged("cdn.example"))
		}
		r := e.l.Report(time.Now())
		if d := r.Domains[0]; d.Days != 3 || d.Clients != 3 || d.Octets < 7200 || !d.First.Equal(r.Began) || d.Last.Before(d.First.Add(2*oneDay)) ||
			!slices.Equal(d.Who, three) {
			t.Errorf("the evidence is %+v", d)
		}
		e.found = nil
		e.dig(wire.NoError, "cdn.example", "10.0.0.4")
		e.dig(wire.NoError, "evil.example", "10.0.0.4")
		if !slices.Equal(e.found, []string{"10.0.0.4 evil.example."}) || e.blocks("10.0.0.4", "cdn.example") || !e.blocks("10.0.0.4", "evil.example") {
			t.Errorf("afterwards %q is reported", e.found)
		}
		last := e.l.Report(time.Now()).Domains[0].Last
		time.Sleep(time.Minute)
		e.dig(wire.NoError, "cdn.example", "10.0.0.4")
		if d := e.l.Report(time.Now()).Domains[0]; !d.Last.Equal(last.Add(time.Minute)) || d.Clients != 3 {
			t.Errorf("once it is learned, the evidence is %+v", d)
		}
		if e.to.Forgive(); e.flagged("evil.example") != 1 {
			t.Error("a domain that was only seen is forgiven")
		}
		// The operator knows better.
		if _, err := e.l.Judge("CDN.example", false, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := e.l.Judge("evil.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		e.to.Forgive()
		for range 5 {
			time.Sleep(oneDay)
			e.dig(wire.NoError, "cdn.example", three...)
			e.dig(wire.NoError, "evil.example", three...)
		}
		if e.verdict("cdn.example") != top.DomainRejected || e.flagged("cdn.example") != 3 || !e.blocks("10.0.0.1", "cdn.example") {
			t.Errorf("a rejected domain: %s, %d flagged", e.verdict("cdn.example"), e.flagged("cdn.example"))
		}
		if e.verdict("evil.example") != top.DomainAccepted || e.flagged("evil.example") != 0 || e.blocks("10.0.0.4", "evil.example") {
			t.Errorf("an accepted domain: %s, %d flagged", e.verdict("evil.example"), e.flagged("evil.example"))
		}
	})
}

// TestLearnsNot has what one infected client can do, with whatever addresses, and what a few can, not learned, but
// reported.
func TestLearnsNot(t *testing.T) {
	for what, c := range map[string]struct {
		days  int
		rcode wire.Rcode
		who   func(day int) []string
		after time.Duration // since learning began
		none  bool          // the domain is not even listed
	}{
		"one client":                          {days: 6, who: func(int) []string { return []string{"10.0.0.1"} }},
		"one client with an address each day": {days: 6, who: func(day int) []string { return []string{fmt.Sprintf("10.0.0.%d", day)} }},
		"one client with two addresses a day": {days: 6, who: func(day int) []string {
			return []string{fmt.Sprintf("10.0.0.%d", day), fmt.Sprintf("2001:db8:0:%x::1", day)}
		}},
		"many addresses of one network of IPv6": {days: 6, who: func(int) []string {
			return []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"}
		}},
		"many clients on one day, and again that day": {days: 1, who: func(int) []string {
			return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.2"}
		}},
		"many clients on two days": {days: 2, who: func(int) []string { return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} }},
		"servers that fail":        {days: 6, rcode: wire.ServFail, who: func(int) []string { return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} }, none: true},
		"after the period":         {days: 6, after: 7 * oneDay, who: func(int) []string { return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} }, none: true},
		"a clock that is behind":   {days: 3, after: -30 * oneDay, who: func(int) []string { return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} }, none: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newLearner(t, top.TunnelWatch)
			if c.after < 0 {
				e.l.Begin(time.Now().Add(-c.after))
			} else {
				time.Sleep(c.after)
			}
			for day := range c.days {
				e.found = nil
				who := c.who(day)
				e.dig(c.rcode, "evil.example", who...)
				if len(e.found) == 0 {
					t.Errorf("%s: nothing is reported on day %d", what, day)
				}
				if e.to.Forgive(); e.flagged("evil.example") == 0 {
					t.Errorf("%s: it is forgiven on day %d", what, day)
				}
				time.Sleep(oneDay)
			}
			if verdict := e.verdict("evil.example"); len(e.learned) > 0 || verdict != top.DomainSeen && !c.none || verdict != "" && c.none {
				t.Errorf("%s: learned %q, it is %q", what, e.learned, verdict)
			}
		})
	}
}

// TestLearnedDayBefore has a day that was counted not count again, whatever the clock does.
func TestLearnedDayBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLearner(t, top.TunnelWatch)
		three := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}
		e.l.Begin(time.Now().Add(-oneDay))
		for i := range 6 { // now, the day before, and so on
			e.skew = -time.Duration(i%2) * oneDay
			e.rule.Clients = 3 - i%2 // and whatever the configuration asks for meanwhile
			e.l.SetRule(e.rule)
			e.traffic.to = top.NewTunnels(top.TunnelOptions{Action: top.TunnelWatch, Learned: e.l})
			e.dig(wire.NoError, "cdn.example", three...)
		}
		if d := e.l.Report(time.Now()).Domains[0]; d.Days != 1 || d.Verdict != top.DomainSeen {
			t.Errorf("%d days, %s", d.Days, d.Verdict)
		}
		// Nor do clients of the day before count on this one.
		e.rule.Clients, e.skew = 3, 0
		e.l.SetRule(e.rule)
		e.dig(wire.NoError, "evil.example", "10.0.0.1", "10.0.0.2")
		e.skew = -oneDay
		e.dig(wire.NoError, "evil.example", "10.0.0.3", "10.0.0.4")
		if d := e.l.Report(time.Now()).Domains[1]; d.Days != 0 || d.Clients != 2 {
			t.Errorf("%d days, %d clients", d.Days, d.Clients)
		}
	})
}

// TestLearnedSurvives has a restart in the midst of each day change nothing: clients that were seen before count, none
// counts twice, no day does, and the period ends when it would have.
func TestLearnedSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLearner(t, top.TunnelWatch)
		until := e.l.Report(time.Now()).Until
		if !until.Equal(time.Now().Add(7 * oneDay)) {
			t.Errorf("the period ends %s", until)
		}
		restart := func() {
			t.Helper()
			text := e.l.Text(time.Now())
			if e.l.Unsaved() {
				t.Error("what was written is not saved")
			}
			next := newLearner(t, top.TunnelWatch)
			next.learned = e.learned
			if err := next.l.Read(text, time.Now()); err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
			if before, after := e.l.Report(time.Now()), next.l.Report(time.Now()); !reflect.DeepEqual(before, after) {
				t.Errorf("%+v\nbecame %+v", before, after)
			}
			if again := next.l.Text(time.Now()); string(again) != string(text) {
				t.Errorf("written again it is\n%s\nwas\n%s", again, text)
			}
			if r := next.l.Report(time.Now()); !r.Until.Equal(until) {
				t.Errorf("the period ends %s, want %s", r.Until, until)
			}
			e = next
		}
		for day := range 3 {
			e.dig(wire.NoError, "cdn.example", "10.0.0.1", "10.0.0.2")
			e.dig(wire.NoError, "evil.example", "10.0.0.1", "10.0.0.2")
			restart()
			e.dig(wire.NoError, "evil.example", "10.0.0.1", "10.0.0.2")
			e.dig(wire.NoError, "cdn.example", "10.0.0.3")
			restart()
			e.dig(wire.NoError, "cdn.example", "10.0.0.4")
			if learned := e.verdict("cdn.example") == top.DomainLearned; learned != (day == 2) {
				t.Errorf("day %d: %s", day, e.verdict("cdn.example"))
			}
			time.Sleep(oneDay)
		}
		restart()
		if e.verdict("cdn.example") != top.DomainLearned || e.verdict("evil.example") != top.DomainSeen {
			t.Errorf("%+v", e.l.Report(time.Now()))
		}
		e.dig(wire.NoError, "cdn.example", "10.0.0.9")
		if e.flagged("cdn.example") != 0 {
			t.Error("what was learned is reported after a restart")
		}
	})
}

// TestLearnedIsBounded has a client that makes ever more domains look like tunnels displace none that others have
// been seen to use, nor any that the operator has judged.
func TestLearnedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLearner(t, top.TunnelWatch)
		cdns := []string{"cdn1.example", "cdn2.example", "cdn3.example", "cdn4.example", "cdn5.example"}
		for _, cdn := range cdns {
			e.dig(wire.NoError, cdn, "10.0.0.1", "10.0.0.2", "10.0.0.3")
		}
		e.dig(wire.NoError, "old.example", "10.0.0.1")
		if _, err := e.l.Judge("mine.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		for i := range top.MaxLearned + 20 {
			time.Sleep(time.Second)
			e.dig(wire.NoError, fmt.Sprintf("flood%d.example", i), "10.0.0.66")
		}
		if n := len(e.l.Report(time.Now()).Domains); n != top.MaxLearned {
			t.Errorf("%d domains are kept, want %d", n, top.MaxLearned)
		}
		if slices.ContainsFunc(cdns, func(cdn string) bool { return e.verdict(cdn) != top.DomainSeen }) || e.verdict("mine.example") != top.DomainAccepted || e.verdict("old.example") != "" ||
			e.verdict("flood0.example") != "" || e.verdict(fmt.Sprintf("flood%d.example", top.MaxLearned+19)) != top.DomainSeen {
			t.Error("others were displaced than those that were seen least")
		}
		for i := range top.MaxLearned + 1 {
			_, err := e.l.Judge(fmt.Sprintf("mine%d.example", i), true, time.Now())
			if full := i >= top.MaxLearned-1; (err != nil) != full {
				t.Fatalf("%d are accepted: %v", i, err)
			}
		}
		e.dig(wire.NoError, "later.example", "10.0.0.1")
		if e.verdict("later.example") != "" || e.flagged("later.example") != 1 {
			t.Error("a domain for which there is no room is listed, or not reported")
		}
		e = newLearner(t, top.TunnelWatch)
		for i := range 100 {
			e.dig(wire.NoError, "wide.example", fmt.Sprintf("10.0.1.%d", i))
		}
		if d := e.l.Report(time.Now()).Domains[0]; len(d.Who) != 32 || d.Clients != 32 {
			t.Errorf("%d clients are kept, and %d counted", len(d.Who), d.Clients)
		}
		time.Sleep(oneDay)
		before := e.l.Report(time.Now()).Domains[0].Octets
		e.dig(wire.NoError, "wide.example", "10.0.1.1")
		for range 50 {
			e.dig(wire.NoError, "wide.example", "10.0.1.2")
		}
		time.Sleep(oneDay)
		e.dig(wire.NoError, "wide.example", "10.0.1.1")
		if d := e.l.Report(time.Now()).Domains[0]; len(d.Who) != 1 || d.Clients != 32 || d.Octets < 40*before {
			t.Errorf("the most of a day is %d clients, and %d octets, after %d", d.Clients, d.Octets, before)
		}
		wide := fmt.Sprintf("%s\nseen a.example. from=%s\n", top.LearnedLine, strings.TrimSuffix(strings.Repeat("10.0.0.1,", 40), ","))
		if err := e.l.Read([]byte(wide), time.Now()); err != nil {
			t.Fatal(err)
		}
		if d := e.l.Report(time.Now()).Domains[0]; len(d.Who) != 32 {
			t.Errorf("%d clients are kept of a file", len(d.Who))
		}
	})
}

// TestLearnedMakesRoom has the domain go that was seen on the fewest days, and of these the one that was seen the longest
// ago, whatever the order in which they are looked at.
func TestLearnedMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLearner(t, top.TunnelWatch)
		text := top.LearnedLine + "\n"
		for i := range top.MaxLearned / 2 {
			at := time.Now().Add(time.Duration(i-10_000) * time.Hour)
			text += fmt.Sprintf("seen known%d.example. days=1 last=%s\n", i, at.Format(time.RFC3339))
			text += fmt.Sprintf("seen new%d.example. last=%s\n", i, at.Add(5000*time.Hour).Format(time.RFC3339))
		}
		for range 10 {
			if err := e.l.Read([]byte(text), time.Now()); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				if _, err := e.l.Judge(fmt.Sprintf("mine%d.example", i), true, time.Now()); err != nil {
					t.Fatal(err)
				}
				if e.verdict(fmt.Sprintf("new%d.example", i)) != "" {
					t.Errorf("new%d.example is still there", i)
				}
			}
			if by, _ := e.l.Count(time.Now()); by[top.DomainSeen] != top.MaxLearned-5 || by[top.DomainAccepted] != 5 {
				t.Errorf("%v", by)
			}
		}
	})
}

// TestLearnedFile has a file that cannot be read refused as a whole, with the line and the reason.
func TestLearnedFile(t *testing.T) {
	const head = top.LearnedLine + "\n"
	for text, want := range map[string]string{
		"":                  "its first line is not",
		"port53 grants 1\n": "its first line is not",
		"port53 tunnel-domains 2\nlearned a.example.\n":        `its first line is "port53 tunnel-domains 2", and this version reads "port53 tunnel-domains 1"`,
		head + "learned a.examp":                               "its last line does not end",
		head + "began yesterday\n":                             "line 2: ",
		head + "began\n":                                       "line 2: expected",
		head + "# mine\nlearnt a.example.\n":                   "line 3: expected seen, learned, accepted or rejected, and a registered domain",
		head + "learned\n":                                     "line 2: expected seen",
		head + "accepted com.\n":                               "line 2: com. is a public suffix",
		head + "accepted .\n":                                  "line 2: . is a public suffix",
		head + "accepted co.uk\n":                              "line 2: co.uk. is a public suffix",
		head + "accepted www.example.com\n":                    "line 2: www.example.com is below a registered domain: name example.com",
		head + "accepted a..b\n":                               "line 2: a..b is not a domain name",
		head + "accepted a.example\nseen A.Example.\n":         "line 3: a.example. is listed twice",
		head + "learned a.example. days=many\n":                "line 2: days: ",
		head + "learned a.example. day=today\n":                "line 2: day: ",
		head + "learned a.example. since=2026-01-01\n":         `line 2: "since" is not known`,
		head + strings.Repeat("seen a.example.\n", 1):          "",
		head + "\n# good\naccepted a.example # no\n":           `line 4: "#" is not known`,
		head + "began 2026-01-01T00:00:00Z\nrejected B.test\n": "",
	} {
		l := top.NewLearned(nil)
		l.Begin(time.Now())
		if _, err := l.Judge("before.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		err := l.Read([]byte(text), time.Now())
		if err == nil && want != "" || err != nil && (want == "" || !strings.HasPrefix(err.Error(), want) && !strings.Contains(err.Error(), "known: "+want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if foreign := errors.Is(err, top.ErrLearnedFormat); foreign != strings.Contains(text, "domains 2") {
			t.Errorf("%q: of another version: %v", text, foreign)
		}
		if list := l.Report(time.Now()).Domains; (len(list) == 1 && list[0].Domain == "before.example.") != (err != nil) {
			t.Errorf("%q: %v afterwards", text, list)
		}
	}
	l := top.NewLearned(nil)
	l.SetRule(top.LearnRule{Period: oneDay, Clients: 2, Days: 1})
	if l.Report(time.Now()).Active || !l.Report(time.Now()).Until.IsZero() {
		t.Error("something is learned before there is a file")
	}
	text := []byte(head + "seen c.example\nrejected b.example\naccepted d.example\nlearned e.example\nseen a.example\n")
	if err := l.Read(text, time.Now()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, d := range l.Report(time.Now()).Domains {
		order = append(order, d.Domain[:1])
	}
	if !slices.Equal(order, []string{"e", "d", "b", "a", "c"}) {
		t.Errorf("the order is %q", order)
	}
	if r := l.Report(time.Now()); !r.Active || !l.Unsaved() {
		t.Error("a file without a beginning does not begin the period")
	}
	if by, active := l.Count(time.Now()); !active || by[top.DomainSeen] != 2 || by[top.DomainLearned] != 1 || len(by) != 4 {
		t.Errorf("counted %v", by)
	}
	if all, pass, err := top.CountLearned(text); all != 5 || pass != 2 || err != nil {
		t.Errorf("%d domains, of which %d pass, %v", all, pass, err)
	}
	if l.SetFault("full"); l.Report(time.Now()).Error != "full" {
		t.Error("why nothing is written is not told")
	}
	for _, bad := range []string{"com", "www.a.example", ".", ""} {
		if d, err := l.Judge(bad, true, time.Now()); err == nil {
			t.Errorf("%q is accepted: %+v", bad, d)
		}
	}
	many := head
	for i := range top.MaxLearned + 1 {
		if err := top.NewLearned(nil).Read([]byte(many), time.Now()); err != nil {
			t.Fatal(err)
		}
		many += fmt.Sprintf("seen a%d.example.\n", i)
	}
	if err := top.NewLearned(nil).Read([]byte(many), time.Now()); err == nil || !strings.HasSuffix(err.Error(), "more than 1000 domains") {
		t.Errorf("too many domains: %v", err)
	}
}

// TestLearnedWrites has what changes a verdict be due at once, and evidence alone once an hour.
func TestLearnedWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newLearner(t, top.TunnelWatch)
		due := func(want bool, why string) {
			t.Helper()
			if got := e.l.Due(time.Now()); got != want {
				t.Errorf("%s: due %v", why, got)
			}
			if want {
				e.l.Text(time.Now())
			}
		}
		due(true, "learning has begun")
		due(false, "nothing has happened")
		e.dig(wire.NoError, "cdn.example", "10.0.0.1")
		due(true, "a domain")
		e.dig(wire.NoError, "cdn.example", "10.0.0.1")
		due(false, "the same client")
		if !e.l.Unsaved() {
			t.Error("evidence is forgotten")
		}
		time.Sleep(time.Hour)
		due(true, "the same client, an hour ago")
		e.dig(wire.NoError, "cdn.example", "10.0.0.2")
		due(true, "another client")
		e.l.Failed()
		due(true, "the disk was full")
		if _, err := e.l.Judge("more.example", true, time.Now()); err != nil {
			t.Fatal(err)
		}
		due(true, "a command")
	})
}

// TestTunnelBlocksIsLean has asking who is stopped allocate nothing, whatever is learned.
func TestTunnelBlocksIsLean(t *testing.T) {
	e := newLearner(t, top.TunnelBlock)
	e.dig(wire.NoError, "evil.example", "10.0.0.1", "10.0.0.2")
	bad, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")
	name, _ := wire.ParseName("data.t.evil.example")
	n := testing.AllocsPerRun(100, func() {
		if !e.to.Blocks(bad, name) || e.to.Blocks(other, name) {
			t.Error("the wrong client is stopped")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTunnelTakeLearning(b *testing.B) {
	l := top.NewLearned(nil)
	l.SetRule(top.LearnRule{Period: oneDay, Clients: 3, Days: 1})
	l.Begin(time.Now())
	for i := range top.MaxLearned {
		if _, err := l.Judge(fmt.Sprintf("site%d.example", i), i%2 == 0, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	for _, domain := range []string{"unlisted.example", "site0.example", "site1.example"} {
		b.Run(domain, func(b *testing.B) {
			to := top.NewTunnels(top.TunnelOptions{Action: top.TunnelWatch, Learned: l})
			name, _ := wire.ParseName("www." + domain)
			r := event.Record{Path: event.Miss, Remote: netip.MustParseAddrPort("192.0.2.1:53"), Type: wire.TypeA, Name: name, Time: time.Now().UnixNano()}
			b.ReportAllocs()
			for b.Loop() {
				to.Take(&r)
			}
		})
	}
}
