package filter_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"port53/internal/filter"
	"port53/internal/wire"
)

const seed = wire.Seed(0x1234567890ABCDEF)

// lists builds a set of texts, by the numbers 1, 2 and so on.
func lists(t testing.TB, texts ...string) (*filter.Set, []filter.Stats) {
	t.Helper()
	b := filter.NewBuilder(seed, 0)
	set := &filter.Set{Lists: []string{""}, Mark: 1}
	var all []filter.Stats
	for i, text := range texts {
		st, err := b.Read(strings.NewReader(text), filter.ReadOptions{List: uint8(i + 1), Regex: true, Networks: func(name string) []netip.Prefix {
			if name == "kids" {
				return []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, st)
		set.Lists = append(set.Lists, fmt.Sprint("list", i+1))
	}
	set.Table = b.Table()
	return set, all
}

func policyOf(t testing.TB, set *filter.Set, o filter.PolicyOptions) *filter.Policy {
	t.Helper()
	p, err := filter.NewPolicy(set.Table, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// blocking counts all lists of a set, with NXDOMAIN.
func blocking(t testing.TB, set *filter.Set) *filter.Policy {
	t.Helper()
	var o filter.PolicyOptions
	for i := 1; i < len(set.Lists); i++ {
		o.Blocks = append(o.Blocks, filter.Block{List: uint8(i), Action: filter.NXDomain, EDE: wire.EDEBlocked})
	}
	return policyOf(t, set, o)
}

var here = netip.MustParseAddr("192.0.2.1")

func splitOf(t testing.TB, name string) *wire.SplitName {
	t.Helper()
	n, err := wire.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	var s wire.SplitName
	s.Set(n)
	return &s
}

// verdict judges the question for a name.
func verdict(t testing.TB, set *filter.Set, p *filter.Policy, name string, typ wire.Type, client netip.Addr) filter.Verdict {
	t.Helper()
	q := filter.Question{Name: splitOf(t, name), Type: typ, Client: client}
	var by filter.Searcher
	v := set.Judge(p, &q, &by)
	if v.Action != filter.Pass && !set.MatchesAny(&q, &by) {
		t.Errorf("%s: %v, and no rule is said to be about it", name, v.Action)
	}
	return v
}

// Each form of a rule, a name that it is about, and names beside it that it is not about.
func TestRules(t *testing.T) {
	for _, c := range []struct{ list, blocked, passes string }{
		{"0.0.0.0 ads.example", "ads.example ADS.Example", "x.ads.example ds.example example adsxexample"},
		{"127.0.0.1 localhost\n::1 ip6-localhost\n:: a.example b.example # and c.example", "a.example b.example", "localhost ip6-localhost c.example"},
		{"ads.example", "ads.example", "x.ads.example"},
		{"ads.example.", "ads.example", "x.ads.example"},
		{"*.ads.example", "x.ads.example x.y.ads.example", "ads.example xads.example ads.example.example"},
		{"||ads.example^", "ads.example x.ads.example", "xads.example ads.example.example"},
		{"||ads.example^\n@@||good.ads.example^", "ads.example bad.ads.example", "good.ads.example x.good.ads.example"},
		{"||ads.example^$important\n@@||good.ads.example^", "good.ads.example", ""},
		{"||ads.example^$important\n@@||good.ads.example^$important", "ads.example", "good.ads.example"},
		{"||ads.example^\n||ads.example^$badfilter\n||other.example^", "other.example", "ads.example"},
		{"||ads.example^$important\n||ads.example^$badfilter", "ads.example", ""},
		{"||ads.example", "ads.example x.ads.example ads.example2 x.ads.example.org", "xads.example"},
		{"||ads.example|", "ads.example x.ads.example", "ads.example2"},
		{"|ads.example^", "ads.example", "x.ads.example ads.example.org"},
		{"://ads.example^", "ads.example", "x.ads.example"},
		{"http://ads.example/", "", "ads.example"},
		{"ads.example^", "ads.example x.ads.example xads.example", "ads.example2"},
		{".ads.example^", "x.ads.example", "ads.example xads.example"},
		{"-banner-", "a-banner-b.example x.a-banner-.org", "banner.example"},
		{"||ad*.example.org^", "ad.example.org ads.example.org x.adv.y.example.org", "example.org sad.example.org ad.example.com"},
		{"||ads.*^", "ads.example x.ads.example.org", "ads xads.example"},
		{"/^ads[0-9]+\\./", "ads1.example ads22.example", "ads.example xads1.example"},
		{"/ads./", "adsx.example", "example"},
		{"||ads.example/path\nads.example/x", "", "ads.example"},
		{"example##.ad\nexample#@#.ad\n##.banner\nexample$$script\nads.example", "ads.example", "example"},
		{"||com^$denyallow=good.com|fine.com", "bad.com com", "good.com x.good.com fine.com"},
		{"||ads.example^$script", "", "ads.example"},
		{"||ads.example^$~script", "ads.example", ""},
		{"||ads.example^$third-party", "", "ads.example"},
		{"||ads.example^$ctag=phone", "", "ads.example"},
		{"*$denyallow=example", "a.test", "a.example"},
		{"||bücher.example^\nstraße.example", "xn--bcher-kva.example x.xn--bcher-kva.example xn--strae-oqa.example", "bucher.example"},
		{"||_dmarc.ads.example^", "_dmarc.ads.example", "ads.example"},
		{"\uFEFF||ads.example^\r\n! comment\r\n# comment\r\n[Adblock Plus 2.0]\r\n\r\nb.example\r\n", "ads.example b.example", "comment"},
		{"192.0.2.1", "", "192.0.2.1"},
		{"||ads.example^$dnstype=AAAA", "", "ads.example"},
		{"||ads.example^$dnstype=A", "ads.example", ""},
		{"||ads.example^$dnstype=~A", "", "ads.example"},
		{"||ads.example^$client=10.0.0.0/8", "", "ads.example"},
		{"||ads.example^$client=192.0.2.1", "ads.example", ""},
		{"||ads.example^$client=~192.0.2.0/24", "", "ads.example"},
		{"||ads.example^$client=kids", "", "ads.example"},
		{"||ads.example^$client=~'kids'", "ads.example", ""},
	} {
		set, _ := lists(t, c.list)
		p := blocking(t, set)
		for _, name := range strings.Fields(c.blocked) {
			if v := verdict(t, set, p, name, wire.TypeA, here); v.Action != filter.NXDomain {
				t.Errorf("%q: %s: %v, want blocked", c.list, name, v.Action)
			}
		}
		for _, name := range strings.Fields(c.passes) {
			if v := verdict(t, set, p, name, wire.TypeA, here); v.Action.Blocks() {
				t.Errorf("%q: %s: %v by line %d, want it to pass", c.list, name, v.Action, v.Line)
			}
		}
	}
}

// Which list and line it was, and which of several has its way.
func TestOrder(t *testing.T) {
	set, _ := lists(t, "! first\n||a.example^\n||b.example^", "b.example\n||c.example^\n||a.example^", "good.a.example\nb.example", "d.example")
	p := policyOf(t, set, filter.PolicyOptions{
		Blocks: []filter.Block{
			{List: 4, Action: filter.Log},
			{List: 2, Action: filter.Refuse, EDE: wire.EDEFiltered, Text: "two", Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			{List: 1, Action: filter.Address, Addrs: []netip.Addr{here}},
			{List: 4, Action: filter.NoData},
		},
		Allow: []uint8{3},
	})
	far := netip.MustParseAddr("198.51.100.1")
	for _, c := range []struct {
		name   string
		client netip.Addr
		want   string
	}{
		{"x.a.example", here, "refuse list2:3 two"},
		{"x.a.example", far, "address list1:2 "},
		{"good.a.example", here, "allow list3:1 "},
		{"x.good.a.example", here, "refuse list2:3 two"},
		{"b.example", here, "allow list3:2 "},
		{"x.b.example", here, "address list1:3 "},
		{"c.example", here, "refuse list2:2 two"},
		{"c.example", far, "pass :0 "},
		{"d.example", here, "nodata list4:1  logged list4:1"},
	} {
		v := verdict(t, set, p, c.name, wire.TypeA, c.client)
		got := fmt.Sprintf("%v %s:%d %s", v.Action, set.List(v.List), v.Line, v.Text)
		if v.Logged {
			got += fmt.Sprintf(" logged %s:%d", set.List(v.LogList), v.LogLine)
		}
		if got != c.want {
			t.Errorf("%s from %v: %q, want %q", c.name, c.client, got, c.want)
		}
	}
}

// $dnsrewrite in the forms that are known, and exceptions from it.
func TestRewrites(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"||x.example^$dnsrewrite=NXDOMAIN", "nxdomain"},
		{"||x.example^$dnsrewrite=REFUSED", "refuse"},
		{"||x.example^$dnsrewrite=SERVFAIL;;", "servfail"},
		{"||x.example^$dnsrewrite=NOERROR", "nodata"},
		{"||x.example^$dnsrewrite=192.0.2.7", "address 192.0.2.7"},
		{"||x.example^$dnsrewrite=NOERROR;A;192.0.2.7\n||x.example^$dnsrewrite=192.0.2.8\n@@||x.example^", "address 192.0.2.7 192.0.2.8"},
		{"||x.example^$dnsrewrite=192.0.2.7\n||x.example^$dnsrewrite=192.0.2.8\n@@||x.example^$dnsrewrite=192.0.2.7", "address 192.0.2.8"},
		{"||x.example^$dnsrewrite=192.0.2.7\n@@||x.example^$dnsrewrite", "pass"},
		{"||x.example^$dnsrewrite=192.0.2.7,important\n@@||x.example^$dnsrewrite", "address 192.0.2.7"},
		{"||x.example^$dnsrewrite=2001:db8::7", "address 2001:db8::7"},
		{"||x.example^$dnsrewrite=safe.example\n||x.example^$dnsrewrite=192.0.2.7", "alias safe.example."},
		{"||x.example^$dnsrewrite=NOERROR;CNAME;safe.example", "alias safe.example."},
		{"||x.example^$dnsrewrite=NOERROR;MX;10 mail.example\n||y.example^", "pass"},
		{"||x.example^$dnsrewrite=NOERROR;A;2001:db8::1\n||y.example^", "pass"},
	} {
		set, _ := lists(t, c.list)
		v := verdict(t, set, blocking(t, set), "x.example", wire.TypeA, here)
		got := v.Action.String()
		for _, a := range v.Addrs {
			got += " " + a.String()
		}
		if v.Target != nil {
			got += " " + wire.NameText(v.Target)
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.list, got, c.want)
		}
	}
}

// A list is what it is, and its errors say why it is none.
func TestWrongLists(t *testing.T) {
	for _, c := range []struct {
		text   string
		format filter.Format
		want   string
	}{
		{"<!DOCTYPE html>\n<html><body>404</body></html>", filter.Auto, `it begins with "<!doctype"`},
		{"  \n<HTML>", filter.Auto, `it begins with "<html"`},
		{"{\"error\": 1}", filter.Auto, "a binary file"},
		{"\x1f\x8b\x08\x00", filter.Auto, "compressed by gzip"},
		{"ads.example\n\x00\x01", filter.Auto, "octet 13 is not text"},
		{strings.Repeat("this is prose, and no list\n", 200), filter.Auto, "are not rules, line 1: this is prose"},
		{"0.0.0.0 ads.example\n", filter.Names, "line 1: 0.0.0.0 ads.example: it is not a name"},
		{"||ads.example^\n", filter.Hosts, "it is not an address with names"},
		{strings.Repeat("a", 1<<20), filter.Auto, "line 1: the line has more than 4096 octets"},
		{"ads.example CNAME .\n", filter.RPZ, "has a SOA record"},
		{"@ SOA . . 1 2 3 4 5\nads.example CNAME\n", filter.RPZ, "list:2"},
	} {
		b := filter.NewBuilder(seed, 0)
		_, err := b.Read(strings.NewReader(c.text), filter.ReadOptions{List: 1, Format: c.format})
		if err == nil || !errors.Is(err, filter.ErrNoList) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.30q: %v, want %q", c.text, err, c.want)
		}
	}
	b := filter.NewBuilder(seed, 0)
	if _, err := b.Read(io.MultiReader(strings.NewReader("a.example\n"), failing{}), filter.ReadOptions{List: 1}); !errors.Is(err, errBroken) {
		t.Errorf("a reader that fails: %v", err)
	}
}

var errBroken = errors.New("broken")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

// What is skipped, wrong or wide is counted and noted.
func TestStats(t *testing.T) {
	_, st := lists(t, "||com^\n||ads.example^\nads.example\nads.example\n||ads.example^\nexample##.ad\n||x.example/p\nnot a rule\n-\n/x[/\n||\n*\nx y z\n||evil..example^\n*.org\n0.0.0.0/0\n10.0.0.0/8\n")
	s := st[0]
	var notes []string
	for _, n := range s.Notes {
		notes = append(notes, fmt.Sprint(n.Line, " ", n.Text))
	}
	if s.Rules != 5 || s.Duplicates != 2 || s.Skipped != 2 || s.Wrong != 8 || s.Lines != 17 {
		t.Errorf("%+v", s)
	}
	if got := strings.Join(notes, "\n"); !strings.Contains(got, "1 blocks every name below com.") || !strings.Contains(got, "8 not a rule: it is not an address with names") ||
		!strings.Contains(got, "15 blocks every name below org.") || len(s.Notes) != 5 {
		t.Errorf("notes:\n%s", got)
	}
	b := filter.NewBuilder(seed, 0)
	one, err := b.Read(strings.NewReader("/ads/\nads.example\n"), filter.ReadOptions{List: 1})
	if err != nil || one.NoRegex != 1 || one.Rules != 1 || len(one.Notes) != 1 || !strings.Contains(one.Notes[0].Text, "regex: true") {
		t.Errorf("%+v, %v", one, err)
	}
}

// A list that says a thing of one name over and over is read in time that grows with its length, and not
// with the square of it: what is too much is left out, and noted.
func TestOneNameOverAndOver(t *testing.T) {
	text := "||b.example^\n" + strings.Repeat("||a.example^$dnstype=A\n", 300) + "||c.example^$dnstype=A\n"
	set, st := lists(t, text, text)
	for _, s := range st {
		if s.Rules != 258 || s.Duplicates != 44 || len(s.Notes) != 1 || s.Notes[0].Line != 258 {
			t.Errorf("%+v", s)
		}
	}
	if set.Table.Len() != 2*258 {
		t.Errorf("%d rules", set.Table.Len())
	}
}

// Long lines of letters that no name has room for take about as long as others: they are not brought to
// ASCII, which takes thousands of times as long.
func TestLongLabels(t *testing.T) {
	var han strings.Builder
	for i := range 1300 {
		han.WriteRune(rune(0x4E00 + i*7919%20000))
	}
	least := func(line string) time.Duration {
		best := time.Hour
		for range 5 {
			from := time.Now()
			if _, err := filter.NewBuilder(seed, 0).Read(strings.NewReader(strings.Repeat(line+"\n", 5)), filter.ReadOptions{List: 1}); !errors.Is(err, filter.ErrNoList) {
				t.Fatal(err)
			}
			best = min(best, time.Since(from))
		}
		return best
	}
	plain := least(strings.Repeat("a", 3900))
	for _, line := range []string{han.String(), "||" + han.String() + "^"} {
		if long := least(line); long > 200*plain {
			t.Errorf("%.20q takes %v, a line of ASCII %v", line, long, plain)
		}
	}
	set, _ := lists(t, "||bücher.example^\n||"+strings.Repeat("ü", 40)+".example^")
	if set.Table.Len() != 2 {
		t.Errorf("%d rules", set.Table.Len())
	}
}

// Networks in policy zones have eight parts at most, whatever zz stands for: others are wrong, and no more
// than that.
func TestPolicyZoneNetworks(t *testing.T) {
	for _, c := range []struct {
		trigger string
		good    bool
	}{
		{"128.8.7.6.5.4.3.2.2001", true},
		{"48.zz.db8.2001", true},
		{"128.1.zz.db8.2001", true},
		{"128.zz.8.7.6.5.4.3.2.2001", true},
		{"128.9.8.7.6.5.4.3.2.2001", false},
		{"128.zz.9.8.7.6.5.4.3.2.2001", false},
		{"128.9.8.7.6.5.4.3.2.2001.zz", false},
		{"128.9.8.7.zz.6.5.4.3.2.2001", false},
		{"128.zz.c.b.a.9.8.7.6.5.4.3.2.2001", false},
		{"48.zz.zz.db8.2001", false},
		{"129.zz.db8.2001", false},
		{"zz", false},
	} {
		b := filter.NewBuilder(seed, 0)
		st, err := b.Read(strings.NewReader("@ SOA . . 1 2 3 4 5\n"+c.trigger+".rpz-ip CNAME .\n"), filter.ReadOptions{List: 1, Format: filter.RPZ})
		if err != nil || (st.Rules == 1) != c.good || (st.Wrong == 1) == c.good {
			t.Errorf("%s: %+v, %v", c.trigger, st, err)
		}
	}
}

// Lists of each format say what they mean.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		format          filter.Format
		text            string
		blocked, passes string
	}{
		{filter.Domains, "ads.example\n*.b.example # comment\n", "ads.example x.ads.example b.example x.b.example", "example"},
		{filter.Names, "ads.example\n*.b.example\n", "ads.example x.b.example", "x.ads.example b.example"},
		{filter.Hosts, "0.0.0.0 ads.example\n", "ads.example", "x.ads.example"},
		{filter.Adblock, "||ads.example^\nb.example\n", "x.ads.example b.example", "x.b.example"},
		{
			filter.RPZ, "$TTL 60\n@ SOA localhost. root.localhost. 1 2 3 4 5\n@ NS localhost.\nads.example CNAME .\n*.ads.example CNAME *.\ndrop.example CNAME rpz-drop.\n" +
				"good.ads.example CNAME rpz-passthru.\n32.1.2.0.192.rpz-ip CNAME .\n24.0.2.0.192.rpz-client-ip CNAME .\n",
			"ads.example x.ads.example drop.example", "good.ads.example example x.drop.example",
		},
	} {
		b := filter.NewBuilder(seed, 0)
		if _, err := b.Read(strings.NewReader(c.text), filter.ReadOptions{List: 1, Format: c.format}); err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		set := &filter.Set{Table: b.Table(), Lists: []string{"", "one"}}
		p := blocking(t, set)
		for _, name := range strings.Fields(c.blocked) {
			if v := verdict(t, set, p, name, wire.TypeA, here); !v.Action.Blocks() {
				t.Errorf("%s: %s passes", c.format, name)
			}
		}
		for _, name := range strings.Fields(c.passes) {
			if v := verdict(t, set, p, name, wire.TypeA, here); v.Action.Blocks() {
				t.Errorf("%s: %s: %v by line %d", c.format, name, v.Action, v.Line)
			}
		}
	}
}

// A policy zone as a list does with each name what its closest rule says; what only policy zones can say is counted.
func TestPolicyZoneAnswers(t *testing.T) {
	b := filter.NewBuilder(seed, 0)
	st, err := b.Read(strings.NewReader(`@ SOA localhost. root.localhost. 1 2 3 4 5
@ NS localhost.
nx CNAME .
*.nx CNAME .
nodata CNAME *.
drop CNAME rpz-drop.
*.nodata CNAME *.
nx.nodata CNAME .
*.nx.nodata CNAME .
drop.nx.nodata CNAME rpz-drop.
good.nodata CNAME rpz-passthru.
self CNAME self.rpz.
SELF.example CNAME self.example.
a.local A 192.0.2.80
*.walled CNAME safe.walled.
24.0.2.0.192.rpz-ip CNAME *.
32.9.2.0.192.rpz-ip CNAME rpz-drop.
32.8.2.0.192.rpz-ip CNAME .
32.6.2.0.192.rpz-ip CNAME garden.
tcp CNAME rpz-tcp-only.
future CNAME rpz-tomorrow.
star CNAME *.walled.
text TXT "hello"
24.0.2.0.192.rpz-client-ip CNAME .
ns.bad.rpz-nsdname CNAME .
24.0.2.0.192.rpz-nsip CNAME .
`), filter.ReadOptions{List: 1, Format: filter.RPZ})
	if err != nil || st.Wrong != 0 || st.Skipped != 0 || st.NoZone != 7 {
		t.Fatalf("%+v, %v", st, err)
	}
	set := &filter.Set{Table: b.Table(), Lists: []string{"", "one"}}
	p := policyOf(t, set, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.Refuse}}})
	for name, want := range map[string]filter.Action{
		"nx": filter.Refuse, "x.nx": filter.Refuse, "nodata": filter.NoData, "x.nodata": filter.NoData, "drop": filter.Drop,
		"nx.nodata": filter.Refuse, "x.nx.nodata": filter.Refuse, "drop.nx.nodata": filter.Drop, "x.drop.nx.nodata": filter.Refuse,
		"good.nodata": filter.Allow, "self": filter.Alias, "self.example": filter.Allow, "a.local": filter.Address,
		"x.walled": filter.Alias, "safe.walled": filter.Pass, "tcp": filter.Pass, "future": filter.Pass, "star": filter.Pass, "text": filter.Pass,
	} {
		if v := verdict(t, set, p, name, wire.TypeA, here); v.Action != want {
			t.Errorf("%s: %v, want %v", name, v.Action, want)
		}
	}
	for addr, want := range map[string]filter.Action{"192.0.2.7": filter.NoData, "192.0.2.9": filter.Drop, "192.0.2.8": filter.Refuse, "192.0.2.6": filter.Alias} {
		msg, body, n := reply(t, "www.example", "A "+addr)
		q := filter.Question{Name: splitOf(t, "www.example"), Type: wire.TypeA, Client: here, Reply: msg, Body: body, Answers: n}
		if v := set.Judge(p, &q, new(filter.Searcher)); v.Action != want {
			t.Errorf("%s: %v, want %v", addr, v.Action, want)
		}
	}
}

// A name is never answered with an alias for itself: the rule is about the others, and other rules are about the name.
func TestRewriteToItself(t *testing.T) {
	for _, c := range []struct{ list, name, want string }{
		{"||other.zz^$dnsrewrite=safe.other.zz", "safe.other.zz", "pass"},
		{"||other.zz^$dnsrewrite=safe.other.zz", "SAFE.other.zz", "pass"},
		{"||other.zz^$dnsrewrite=Safe.Other.zz", "safe.other.zz", "pass"},
		{"||other.zz^$dnsrewrite=safe.other.zz", "x.safe.other.zz", "alias"},
		{"||other.zz^$dnsrewrite=safe.other.zz", "other.zz", "alias"},
		{"||other.zz^$dnsrewrite=other.zz", "other.zz", "pass"},
		{"/other/$dnsrewrite=NOERROR;CNAME;safe.other.zz", "safe.other.zz", "pass"},
		{"||other.zz^$dnsrewrite=safe.other.zz\n||safe.other.zz^", "safe.other.zz", "nxdomain"},
		{"||other.zz^$dnsrewrite=safe.other.zz\n||zz^$dnsrewrite=192.0.2.7", "safe.other.zz", "address"},
		{"||other.zz^$dnsrewrite=safe.other.zz\n||zz^$dnsrewrite=www.zz", "safe.other.zz", "alias"},
	} {
		set, _ := lists(t, c.list)
		p := blocking(t, set)
		if v := set.Judge(p, &filter.Question{Name: splitOf(t, c.name), Type: wire.TypeA, Client: here}, new(filter.Searcher)); v.Action.String() != c.want {
			t.Errorf("%s: %s: %v, want %s", c.list, c.name, v.Action, c.want)
		}
		if c.want != "pass" {
			continue
		}
		msg, body, n := reply(t, "www.own", "CNAME "+c.name)
		q := filter.Question{Name: splitOf(t, "www.own"), Type: wire.TypeA, Client: here, Reply: msg, Body: body, Answers: n}
		if v := set.Judge(p, &q, new(filter.Searcher)); v.Action.Blocks() {
			t.Errorf("%s: an alias to %s: %v", c.list, c.name, v.Action)
		}
	}
	set, _ := lists(t, "||other.zz^$dnsrewrite=safe.other.zz")
	p := policyOf(t, set, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.Log}}})
	if v := verdict(t, set, p, "safe.other.zz", wire.TypeA, here); v.Logged {
		t.Error("it is told of where nothing would be done")
	}
}

// reply returns a reply to a question for a name, with records whose owner is the question's name.
func reply(t testing.TB, name string, records ...string) (msg []byte, body, count int) {
	t.Helper()
	n, err := wire.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	msg = wire.AppendQuery(nil, 1, wire.FlagQR, n, wire.TypeA)
	body = len(msg)
	for _, r := range records {
		typ, text, _ := strings.Cut(r, " ")
		var data []byte
		switch typ {
		case "CNAME":
			data, err = wire.ParseName(text)
		case "HTTPS": // target and addresses
			f := strings.Fields(text)
			data, err = wire.ParseName(f[0])
			data = append([]byte{0, 1}, data...)
			for _, a := range f[1:] {
				addr := netip.MustParseAddr(a)
				key := byte(4)
				if addr.Is6() {
					key = 6
				}
				data = append(append(data, 0, key, 0, byte(len(addr.AsSlice()))), addr.AsSlice()...)
			}
		default:
			data = netip.MustParseAddr(text).AsSlice()
		}
		if err != nil {
			t.Fatal(err)
		}
		typeOf, _ := wire.ParseType(typ)
		msg = append(msg, 0xC0, 12)
		msg = binary.BigEndian.AppendUint16(msg, uint16(typeOf))
		msg = append(msg, 0, 1, 0, 0, 0, 60)
		msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
		msg = append(msg, data...)
	}
	return msg, body, len(records)
}

// What an answer leads to is looked through: aliases, targets and hints of HTTPS, addresses.
func TestAnswers(t *testing.T) {
	set, _ := lists(t, "||ads.example^\n@@||good.ads.example^\n@@||safe.example^\n203.0.113.0/24\n203.0.113.9/32\n2001:db8:bad::/48\n10.1.2.3\n65.0.0.0/8\n::/16\n::ffff:198.51.100.0/120")
	p := blocking(t, set)
	for _, c := range []struct {
		name    string
		records []string
		want    string
	}{
		{"a.test", []string{"CNAME x.ads.example", "A 192.0.2.1"}, "nxdomain alias 1"},
		{"a.test", []string{"CNAME ok.example", "CNAME good.ads.example", "A 192.0.2.1"}, "pass name 0"},
		{"a.test", []string{"CNAME good.ads.example", "CNAME bad.ads.example"}, "nxdomain alias 1"},
		{"safe.example", []string{"CNAME x.ads.example", "A 203.0.113.1"}, "allow name 3"},
		{"a.test", []string{"A 192.0.2.1", "A 203.0.113.77"}, "nxdomain address 4"},
		{"a.test", []string{"A 203.0.114.77", "A 202.0.113.77", "A 97.0.0.1"}, "pass name 0"},
		{"a.test", []string{"A 10.1.2.3"}, "nxdomain address 7"},
		{"a.test", []string{"A 65.1.1.1"}, "nxdomain address 8"},
		{"a.test", []string{"AAAA 2001:db8:bad::1"}, "nxdomain address 6"},
		{"a.test", []string{"AAAA ::5"}, "nxdomain address 9"}, // in which those of IPv4 are not
		{"a.test", []string{"A 198.51.100.7"}, "nxdomain address 10"},
		{"a.test", []string{"AAAA 2001:db8:bae::1"}, "pass name 0"},
		{"a.test", []string{"HTTPS x.ads.example"}, "nxdomain target 1"},
		{"a.test", []string{"HTTPS . 192.0.2.1 203.0.113.5"}, "nxdomain address 4"},
		{"a.test", []string{"HTTPS ok.example 2001:db8:bad::5"}, "nxdomain address 6"},
		{"a.test", []string{"HTTPS . 192.0.2.1"}, "pass name 0"},
	} {
		msg, body, n := reply(t, c.name, c.records...)
		q := filter.Question{Name: splitOf(t, c.name), Type: wire.TypeA, Client: here, Reply: msg, Body: body, Answers: n}
		var by filter.Searcher
		v := set.Judge(p, &q, &by)
		if got := fmt.Sprintf("%v %v %d", v.Action, v.Cause, v.Line); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.name, c.records, got, c.want)
		}
		if touched := set.MatchesAny(&q, &by); !touched && v.Action != filter.Pass {
			t.Errorf("%s %q is not touched", c.name, c.records)
		}
		for cut := body; cut < len(msg); cut++ { // and what is cut off harms nobody
			q.Reply = msg[:cut]
			set.Judge(p, &q, &by)
		}
	}
}

// Hours, in a time zone, over midnight, and over a change of the clock.
func TestHours(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	set, _ := lists(t, "ads.example")
	block := func(h ...filter.Hours) *filter.Policy {
		return policyOf(t, set, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.NXDomain, Hours: h, Zone: berlin}}})
	}
	school := block(filter.Hours{Days: 0b0111110, From: 8 * 60, To: 16 * 60})
	night := block(filter.Hours{Days: 1 << time.Friday, From: 22 * 60, To: 6 * 60})
	for _, c := range []struct {
		p    *filter.Policy
		at   string
		want bool
	}{
		{school, "2026-11-30T08:00:00+01:00", true},
		{school, "2026-11-30T15:59:59+01:00", true},
		{school, "2026-11-30T16:00:00+01:00", false},
		{school, "2026-11-30T07:59:59+01:00", false},
		{school, "2026-11-29T10:00:00+01:00", false},
		{school, "2026-06-01T06:00:00Z", true},
		{school, "2026-12-01T06:30:00Z", false},
		{night, "2026-11-27T23:00:00+01:00", true},
		{night, "2026-11-28T05:59:00+01:00", true},
		{night, "2026-11-28T06:00:00+01:00", false},
		{night, "2026-11-28T23:00:00+01:00", false},
		{night, "2026-11-27T05:00:00+01:00", false},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		var by filter.Searcher
		v := set.Judge(c.p, &filter.Question{Name: splitOf(t, "ads.example"), Client: here, Now: at.Unix()}, &by)
		if v.Action.Blocks() != c.want {
			t.Errorf("%s: %v, want blocked %v", c.at, v.Action, c.want)
		}
	}
}

// model is a list of names with scopes, searched in the plainest way.
type model map[string]filter.Scope

func (m model) blocks(name string) bool {
	if m[name]&filter.Exact != 0 {
		return true
	}
	for i := range name {
		if name[i] == '.' && m[name[i+1:]]&filter.Below != 0 {
			return true
		}
	}
	return false
}

// A table of random names, many alike, says of random names what a map says.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 1))
	label := func() string {
		const letters = "abc_1"
		var b strings.Builder
		for range 1 + r.IntN(3) {
			b.WriteByte(letters[r.IntN(len(letters))])
		}
		return b.String()
	}
	name := func() string {
		n := label()
		for range r.IntN(5) {
			n += "." + label()
		}
		return n + []string{".com", ".org", ".co.uk", ".x.y.z"}[r.IntN(4)]
	}
	for round := range 20 {
		m := model{}
		var text strings.Builder
		for range 20 << (round / 2) {
			n := name()
			switch r.IntN(3) {
			case 0:
				text.WriteString(n + "\n")
				m[n] |= filter.Exact
			case 1:
				text.WriteString("*." + n + "\n")
				m[n] |= filter.Below
			default:
				text.WriteString("||" + n + "^\n")
				m[n] |= filter.Subtree
			}
		}
		set, _ := lists(t, text.String())
		p := blocking(t, set)
		again := filter.NewBuilder(seed+1, 0)
		again.Keep(set.Table, 1, 7)
		kept := &filter.Set{Table: again.Table(), Lists: make([]string, 8)}
		keptPolicy := policyOf(t, kept, filter.PolicyOptions{Blocks: []filter.Block{{List: 7, Action: filter.NXDomain}}})
		for range 5000 {
			n := name()
			want := m.blocks(n)
			if got := verdict(t, set, p, n, wire.TypeA, here).Action.Blocks(); got != want {
				t.Fatalf("%s: blocked %v, want %v", n, got, want)
			}
			if got := verdict(t, kept, keptPolicy, n, wire.TypeA, here).Action.Blocks(); got != want {
				t.Fatalf("%s, kept: blocked %v, want %v", n, got, want)
			}
		}
	}
}

// Names that collide in all 64 bits of the hash are still told apart: the seed is known here.
func TestExact(t *testing.T) {
	// Two labels of nine octets collide if the second word makes up for the first; it is enough that
	// all names of a group of the table have to be compared.
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "||%d.a.example^\n", i)
	}
	set, _ := lists(t, text.String())
	p := blocking(t, set)
	for i := 5000; i < 100000; i++ {
		if v := verdict(t, set, p, fmt.Sprintf("%d.a.example", i), wire.TypeA, here); v.Action.Blocks() {
			t.Fatalf("%d.a.example is blocked by line %d", i, v.Line)
		}
	}
}

// big writes a list of n rules as the measurements of others have it.
func big(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "||ad%d.host%d.example.com^\n", i, i)
	}
	return b.Bytes()
}

// A rule keeps 40 octets at the most, and lookups allocate nothing.
func TestMemory(t *testing.T) {
	n := 200_000
	b := filter.NewBuilder(seed, 0)
	if _, err := b.Read(bytes.NewReader(big(n)), filter.ReadOptions{List: 1}); err != nil {
		t.Fatal(err)
	}
	set := &filter.Set{Table: b.Table(), Lists: []string{"", "one"}}
	if got := set.Table.Octets() / n; got > 40 || set.Table.Len() != n {
		t.Errorf("%d octets a rule, %d rules", got, set.Table.Len())
	}
	p := policyOf(t, set, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.NXDomain}}})
	var by filter.Searcher
	msg, body, count := reply(t, "www.example.org", "CNAME x.example.org", "A 192.0.2.1")
	q := filter.Question{Name: splitOf(t, "www.example.org"), Client: here, Reply: msg, Body: body, Answers: count}
	hit := filter.Question{Name: splitOf(t, "x.ad77.host77.example.com"), Client: here}
	if set.Judge(p, &hit, &by).Line != 78 {
		t.Error("the rule is not found")
	}
	if allocs := testing.AllocsPerRun(100, func() {
		set.MatchesAny(&q, &by)
		set.Judge(p, &q, &by)
		set.Judge(p, &hit, &by)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// PORT53_NAMES is a file of real names, one a line: lists of every other one of them block none of
// the rest.
func TestRealNames(t *testing.T) {
	path := os.Getenv("PORT53_NAMES")
	if path == "" {
		t.Skip("PORT53_NAMES names no file of names")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.FieldsFunc(s.Text(), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }); len(fields) > 0 {
			names = append(names, strings.ToLower(fields[len(fields)-1]))
		}
	}
	for _, format := range []string{"0.0.0.0 %s\n", "%s\n", "*.%s\n", "||%s^\n"} {
		var text strings.Builder
		m := model{}
		for i := 0; i < len(names); i += 2 {
			fmt.Fprintf(&text, format, names[i])
			m[names[i]] = map[string]filter.Scope{"*.%s\n": filter.Below, "||%s^\n": filter.Subtree}[format] | m[names[i]]
			if m[names[i]] == 0 {
				m[names[i]] = filter.Exact
			}
		}
		set, st := lists(t, text.String())
		p := blocking(t, set)
		blocked := 0
		for _, n := range names {
			got := verdict(t, set, p, n, wire.TypeA, here).Action.Blocks()
			if want := m.blocks(n); got != want {
				t.Errorf("%q: %s: blocked %v, want %v", format, n, got, want)
			}
			if got {
				blocked++
			}
		}
		t.Logf("%q: %d names, %d rules, %d blocked, %d octets a rule", format, len(names), st[0].Rules, blocked, set.Table.Octets()/max(1, set.Table.Len()))
	}
}

func BenchmarkLoad(b *testing.B) {
	text := big(1_000_000)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		builder := filter.NewBuilder(seed, 0)
		if _, err := builder.Read(bytes.NewReader(text), filter.ReadOptions{List: 1}); err != nil {
			b.Fatal(err)
		}
		table := builder.Table()
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		b.ReportMetric(took.Seconds(), "s/load")
		b.ReportMetric(float64(table.Octets())/float64(table.Len()), "B/rule")
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(table.Octets()), "allocated/kept")
		runtime.KeepAlive(table)
	}
}

func BenchmarkLookup(b *testing.B) {
	builder := filter.NewBuilder(seed, 0)
	if _, err := builder.Read(bytes.NewReader(big(1_000_000)), filter.ReadOptions{List: 1}); err != nil {
		b.Fatal(err)
	}
	set := &filter.Set{Table: builder.Table(), Lists: []string{"", "one"}}
	p := policyOf(b, set, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.NXDomain}}})
	r := rand.New(rand.NewPCG(1, 2))
	var names [4096]wire.SplitName
	for _, kind := range []string{"absent", "blocked"} {
		for i := range names {
			name := fmt.Sprintf("www.site%d.example.org", r.IntN(1<<20))
			if kind == "blocked" {
				k := r.IntN(1_000_000)
				name = fmt.Sprintf("ad%d.host%d.example.com", k, k)
			}
			names[i] = *splitOf(b, name)
		}
		var by filter.Searcher
		b.Run(kind, func(b *testing.B) {
			i := 0
			q := filter.Question{Client: here}
			for b.Loop() {
				q.Name = &names[i&4095]
				i++
				if kind == "absent" {
					set.MatchesAny(&q, &by)
				} else {
					set.Judge(p, &q, &by)
				}
			}
		})
	}
}
