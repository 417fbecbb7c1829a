package oracle

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/AdguardTeam/golibs/container"
	"github.com/AdguardTeam/urlfilter"
	"github.com/AdguardTeam/urlfilter/filterlist"
	"github.com/miekg/dns"

	"port53/internal/filter"
	"port53/internal/wire"
)

// A judged is one list as both read it.
type judged struct {
	set    *filter.Set
	policy *filter.Policy
	engine *urlfilter.DNSEngine
	lines  []string
}

func judge(t *testing.T, lines []string) *judged {
	t.Helper()
	text := strings.Join(lines, "\n")
	b := filter.NewBuilder(53, 0)
	_, err := b.Read(strings.NewReader(text), filter.ReadOptions{List: 1, Regex: true, Networks: func(name string) []netip.Prefix {
		if name == "kids" {
			return []netip.Prefix{kids}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	j := &judged{set: &filter.Set{Table: b.Table(), Lists: []string{"", "list"}}, lines: lines}
	if j.policy, err = filter.NewPolicy(j.set.Table, filter.PolicyOptions{Blocks: []filter.Block{{List: 1, Action: filter.NXDomain}}}); err != nil {
		t.Fatal(err)
	}
	storage, err := filterlist.NewRuleStorage([]filterlist.Interface{
		filterlist.NewString(&filterlist.StringConfig{ID: 1, RulesText: text, IgnoreCosmetic: true}),
	})
	if err != nil {
		t.Fatal(err)
	}
	j.engine = urlfilter.NewDNSEngine(storage)
	return j
}

// kids are clients that a name stands for.
var kids = netip.MustParsePrefix("10.9.0.0/16")

// ours is what port53 does with a question.
func (j *judged) ours(t *testing.T, name string, typ uint16, client netip.Addr) (string, uint32) {
	t.Helper()
	n, err := wire.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	var split wire.SplitName
	split.Set(n)
	var by filter.Searcher
	v := j.set.Judge(j.policy, &filter.Question{Name: &split, Type: wire.Type(typ), Client: client}, &by)
	switch {
	case v.Target != nil:
		return "alias " + strings.TrimSuffix(wire.NameText(v.Target), "."), v.Line
	case len(v.Addrs) > 0:
		var list []string
		for _, a := range v.Addrs {
			list = append(list, a.String())
		}
		slices.Sort(list)
		return strings.Join(slices.Compact(list), " "), v.Line
	case v.Action == filter.NXDomain:
		return "blocked", v.Line
	}
	return v.Action.String(), v.Line
}

// theirs is what AdGuard Home does with it: rewrites come before rules that block or allow.
func (j *judged) theirs(name string, typ uint16, client netip.Addr) (string, string) {
	req := &urlfilter.DNSRequest{Hostname: name, DNSType: typ, ClientIP: client}
	if kids.Contains(client) {
		req.ClientIdentifiers = container.NewSortedSliceSet("kids")
	}
	res, _ := j.engine.MatchRequest(req)
	if rewrites := res.DNSRewrites(); len(rewrites) > 0 {
		var list []string
		for _, r := range rewrites {
			switch w := r.DNSRewrite; {
			case w.NewCNAME != "":
				return "alias " + w.NewCNAME, r.Text()
			case w.RCode == dns.RcodeNameError:
				return "blocked", r.Text()
			case w.RCode == dns.RcodeRefused:
				return "refuse", r.Text()
			case w.RCode == dns.RcodeServerFailure:
				return "servfail", r.Text()
			case w.Value != nil:
				list = append(list, fmt.Sprint(w.Value))
			}
		}
		if len(list) == 0 {
			return "nodata", rewrites[0].Text()
		}
		slices.Sort(list)
		return strings.Join(slices.Compact(list), " "), rewrites[0].Text()
	}
	switch r := res.NetworkRule; {
	case r != nil && r.Whitelist:
		return "allow", r.Text()
	case r != nil:
		return "blocked", r.Text()
	case len(res.HostRulesV4) > 0:
		return "blocked", res.HostRulesV4[0].Text()
	case len(res.HostRulesV6) > 0:
		return "blocked", res.HostRulesV6[0].Text()
	}
	return "pass", ""
}

// vocabulary is few words, so that rules and names meet.
var vocabulary = []string{"ads", "ad", "tracker", "cdn", "www", "x", "static", "img", "pixel", "a1", "my-ads", "banner", "stats", "b"}

func word(r *rand.Rand) string { return vocabulary[r.IntN(len(vocabulary))] }

func hostName(r *rand.Rand) string {
	n := word(r)
	for range r.IntN(3) {
		n += "." + word(r)
	}
	return n + "." + []string{"example", "example.com", "test", "net", "co.uk"}[r.IntN(5)]
}

// ruleLine returns a line of a list.
func ruleLine(r *rand.Rand) string {
	n := hostName(r)
	switch r.IntN(20) {
	case 0, 1:
		return "0.0.0.0 " + n
	case 2, 3:
		return n
	case 4:
		return "127.0.0.1\t" + n + " " + hostName(r) + " # comment"
	case 5:
		return []string{n + "##.ad", "! " + n, "# " + n, "||" + n + "/path", n + "#@#div", "[Adblock Plus 2.0]", ""}[r.IntN(7)]
	}
	line := ""
	if r.IntN(4) == 0 {
		line = "@@"
	}
	switch r.IntN(16) {
	case 0:
		line += "|" + n + "^"
	case 1:
		line += "||" + n
	case 2:
		line += "||" + n + "|"
	case 3:
		line += "." + n + "^"
	case 4:
		line += n + "^"
	case 5:
		line += "||" + word(r) + "*." + n + "^"
	case 6:
		line += "||" + word(r) + ".*." + word(r) + "^"
	case 7:
		line += "-" + word(r) + "-"
	case 8:
		line += "/^" + word(r) + `[0-9]*\./`
	case 9:
		line += "||*." + n + "^"
	case 10:
		line += "://" + n + "^"
	case 11:
		line += "/" + word(r) + "."
	default:
		line += "||" + n + "^"
	}
	var options []string
	add := func(in int, o string) {
		if r.IntN(in) == 0 {
			options = append(options, o)
		}
	}
	add(8, "important")
	add(10, "dnstype="+[]string{"A", "~A", "AAAA|HTTPS", "~AAAA|~HTTPS"}[r.IntN(4)])
	add(10, "client="+[]string{"192.0.2.1", "~192.0.2.1", "192.0.2.0/24|kids", "~kids", "'kids'"}[r.IntN(5)])
	add(12, "denyallow="+n+"|"+hostName(r))
	add(12, "dnsrewrite="+[]string{"NXDOMAIN", "REFUSED", "192.0.2.7", "NOERROR;A;192.0.2.8", "2001:db8::1", "safe.example", "NOERROR;CNAME;safe.test", "NOERROR"}[r.IntN(8)])
	add(30, []string{"script", "~script", "third-party", "popup", "domain=a.example", "unknown"}[r.IntN(6)])
	if len(options) > 0 {
		line += "$" + strings.Join(options, ",")
	}
	return line
}

// TestFilterRules compares lists of random rules, 2,000 in all, on 20,000 questions.
func TestFilterRules(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 2026))
	kinds := map[string]int{}
	clients := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("10.9.1.1"), netip.MustParseAddr("2001:db8::9")}
	for range 40 {
		var lines []string
		for range 50 {
			lines = append(lines, ruleLine(r))
		}
		if r.IntN(2) == 0 { // urlfilter minds one $badfilter among the rules for a name, and no second
			if at := r.IntN(len(lines)); strings.HasPrefix(lines[at], "||") && !strings.Contains(lines[at], "$") {
				lines = append(lines, lines[at]+"$badfilter")
			}
		}
		j := judge(t, lines)
		for range 500 {
			name, typ, client := hostName(r), []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS}[r.IntN(3)], clients[r.IntN(len(clients))]
			got, line := j.ours(t, name, typ, client)
			want, rule := j.theirs(name, typ, client)
			kinds[want]++
			if got == want {
				continue
			}
			t.Errorf("%s %s from %v: %s by %q, and urlfilter has %s by %q", name, dns.TypeToString[typ], client, got, lines[max(line, 1)-1], want, rule)
		}
	}
	t.Log(kinds)
	for _, k := range []string{"pass", "allow", "blocked", "refuse", "192.0.2.7", "alias safe.example"} {
		if kinds[k] < 20 {
			t.Errorf("%s came up %d times", k, kinds[k])
		}
	}
}

// TestFilterSyntax compares lines as real lists have them, each alone, on names that are about it.
func TestFilterSyntax(t *testing.T) {
	names := []string{
		"example.org", "www.example.org", "a.b.example.org", "myexample.org", "example.org.evil.com", "example.orgx", "example.com", "ads.example.com", "ads1.example.com",
		"ad.doubleclick.net", "doubleclick.net", "xn--bcher-kva.example", "t.co", "co", "a-b.example.org", "ads.net",
	}
	lines := []string{
		"example.org", "EXAMPLE.ORG", "example.org # comment", "0.0.0.0 example.org www.example.org", "::1 example.org", "||example.org^", "||EXAMPLE.org^", "||example.org", "||example.org|",
		"|example.org^", "|example.org|", "|example.org", "example.org|", "example.org^", ".example.org^", ".example.org", "||.example.org^", "||example.org^|",
		"||*.example.org^", "||ads*.example.com^", "||ads?.example.com^", "||ad.*^", "||ad*.net^", "||*double*^", "*doubleclick*", "||doubleclick.net^$important", "||t.co^", "||co^",
		"@@||example.org^", "@@example.org", "@@|example.org|", "@@||example.org^$important", "/ads[0-9]/", "/^ads\\d+\\.example\\.com$/", "/example\\.(org|com)/", "/EXAMPLE/",
		"||example.org^$dnstype=A", "||example.org^$dnstype=~A", "||example.org^$dnstype=a", "||example.org^$dnstype=AAAA|A", "||example.org^$dnstype=NOSUCH", "||example.org^$client=192.0.2.1",
		"||example.org^$client=~192.0.2.1", "||example.org^$denyallow=www.example.org", "||example.org^$denyallow=", "*$denyallow=example.org", "||example.org^$dnsrewrite=NXDOMAIN",
		"||example.org^$dnsrewrite=NOERROR;;", "||example.org^$dnsrewrite=192.0.2.9", "||example.org^$dnsrewrite=NOERROR;AAAA;192.0.2.9", "||example.org^$dnsrewrite=other.example",
		"||example.org^$third-party", "||example.org^$script", "||example.org^$~script", "||example.org^$document", "@@||example.org^$document", "||example.org^$popup", "||example.org^$all",
		"||example.org^$ctag=device_phone", "||example.org/*", "||example.org/ads/*", "http://example.org/", "http://example.org^", "https://example.org^", "://example.org^", "://www.",
		"example.org##.ad", "##.ad", "#@#.ad", "example.org$$script", "!example.org", "#example.org", "||", "*", "|", "^", "||^", "a", "ad", "ads", "||ads.net^$badfilter", "-b.", "/www.",
		"||example.org^$important,dnstype=A", "||example.org^$dnstype=A,important", "||example.org^$", "||example.org^$important,badfilter", "||example.org:8080^", "||example.org^*", "||example.org*",
	}
	for _, line := range lines {
		j := judge(t, []string{"||beside.invalid^", line}) // a list without any rule is none
		for _, name := range names {
			got, _ := j.ours(t, name, dns.TypeA, netip.MustParseAddr("192.0.2.1"))
			want, _ := j.theirs(name, dns.TypeA, netip.MustParseAddr("192.0.2.1"))
			if got != want && !(line == "EXAMPLE.ORG" && name == "example.org") { // names have no case
				t.Errorf("%q: %s: %s, and urlfilter has %s", line, name, got, want)
			}
		}
	}
}
