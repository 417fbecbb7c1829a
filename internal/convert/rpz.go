package convert

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"port53/internal/config"
)

// A policyZone says what is done by a response policy zone.
type policyZone struct {
	from                *stmt
	zone, answer, cname string // of the last two, as policy.rpz has them; empty: given
	ttl                 string // max_ttl; empty: the default
	breaks, wait, bare  bool   // break_dnssec, wait, and no add_soa
	meanwhile           bool   // no wait_servers
}

// writePolicies returns the value of policy.rpz for those zones that there are; empty: there are none.
func (m *model) writePolicies() string {
	var b strings.Builder
	for _, p := range m.rpz {
		if !slices.ContainsFunc(m.zones, func(z *zone) bool { return z.name == p.zone }) {
			continue
		}
		fmt.Fprintf(&b, "\n    - {zone: %s", quote(p.zone))
		for _, o := range [][2]string{{"answer", p.answer}, {"cname", p.cname}, {"max_ttl", p.ttl}} {
			if o[1] != "" {
				fmt.Fprintf(&b, ", %s: %s", o[0], quote(o[1]))
			}
		}
		for _, o := range []struct {
			name    string
			set, to bool
		}{{"break_dnssec", p.breaks, true}, {"wait", p.wait, true}, {"add_soa", p.bare, false}, {"wait_servers", p.meanwhile, false}} {
			if o.set {
				fmt.Fprintf(&b, ", %s: %v", o.name, o.to)
			}
		}
		b.WriteString("}")
	}
	return b.String()
}

// addPolicy takes a policy zone, which has to be among the zones at last.
func (c *converter) addPolicy(p policyZone) {
	trial := model{recurse: true, zones: []*zone{{name: p.zone, file: "x"}}, rpz: []policyZone{p}}
	if _, err := config.Parse("", trial.yaml()); err != nil {
		c.note(p.from, Unsupported, "its options are none that policy.rpz can have: write it there")
		return
	}
	if slices.ContainsFunc(c.out.rpz, func(o policyZone) bool { return o.zone == p.zone }) {
		c.note(p.from, Unsupported, "it is in the list already")
		return
	}
	c.out.rpz = append(c.out.rpz, p)
}

// settlePolicies says what became of policy zones.
func (c *converter) settlePolicies() {
	for _, p := range c.out.rpz {
		if slices.ContainsFunc(c.out.zones, func(z *zone) bool { return z.name == p.zone }) {
			c.note(p.from, Converted, "")
		} else {
			c.note(p.from, Unsupported, "there is no zone "+p.zone+" that could be taken")
		}
	}
}

// seconds returns a time of the configuration for a number of seconds, or a time as BIND writes it.
func seconds(text string) string {
	if _, err := strconv.Atoi(text); err == nil {
		return text + "s"
	}
	return strings.ToLower(text)
}

// responsePolicy takes BIND's response-policy.
func (b *bind) responsePolicy(s *stmt) {
	if b.view != nil {
		b.note(s, Unsupported, "write it as policy: {rpz: [{zone: …}]} of the view, and its zones without views")
		return
	}
	answers := map[string]string{"disabled": "log", "given": "", "no-op": "passthru"}
	wait := s.option("qname-wait-recurse")
	unwaited := 0 // of the two kinds of rules about servers, those whose servers are not waited for
	for _, o := range []string{"nsdname-wait-recurse", "nsip-wait-recurse"} {
		if text := s.option(o); text != "" && !yes(text) {
			unwaited++
		}
	}
	for _, e := range s.block {
		if e.name() != "zone" {
			continue
		}
		p := policyZone{
			from: e, zone: domain(e.arg(1)), answer: e.option("policy"), breaks: yes(s.option("break-dnssec")), wait: yes(wait),
			meanwhile: unwaited == 2,
			bare:      s.option("add-soa") != "" && !yes(s.option("add-soa")) || e.option("add-soa") != "" && !yes(e.option("add-soa")),
		}
		for _, o := range []string{e.option("max-policy-ttl"), s.option("max-policy-ttl")} {
			if p.ttl == "" && o != "" {
				p.ttl = seconds(o)
			}
		}
		if p.answer == "cname" {
			p.answer, p.cname = "", domain(e.option("cname"))
		}
		if answer, ok := answers[p.answer]; ok {
			p.answer = answer
		}
		b.addPolicy(p)
	}
	if unwaited == 1 {
		b.note(s, Changed, "names and addresses of servers are waited for: wait_servers of policy.rpz is for both")
	}
	if wait == "" {
		b.note(s, Changed, "a name that is blocked is not resolved before: wait of policy.rpz does it as qname-wait-recurse")
		return
	}
	b.note(s, Converted, "")
}

// unboundPolicyTTL is the longest that an answer by a policy zone may be kept: Unbound leaves the TTLs of
// records as they are.
const unboundPolicyTTL = "1d"

// rpz takes Unbound's rpz.
func (u *unbound) rpz(s *stmt) {
	z := &zone{}
	p := policyZone{from: s, ttl: unboundPolicyTTL, breaks: true}
	for _, e := range s.block {
		switch v := e.arg(1); e.name() {
		case "name":
			z.name = domain(v)
		case "zonefile":
			z.file = v
		case "primary", "master":
			addr, port, _ := strings.Cut(strings.SplitN(v, "#", 2)[0], "@")
			a, err := netip.ParseAddr(addr)
			if err != nil {
				u.note(e, Unsupported, "only addresses are servers")
				continue
			}
			z.primaries = append(z.primaries, server(a, port))
		case "allow-notify":
			if nets, ok := parseNet(v); ok {
				z.allowNotify = z.allowNotify.union(nets)
			}
		case "rpz-action-override":
			if p.answer = v; v == "disabled" {
				p.answer = "log"
			}
		case "rpz-cname-override":
			p.cname = domain(v)
		case "rpz-log", "rpz-log-name", "rpz-signal-nxdomain-ra", "for-downstream":
			u.note(e, Changed, "port53 has its own way")
			continue
		case "tags":
			u.note(e, Unsupported, "write policy: {rpz: …} of a view for the clients it is for: here it is for all")
			continue
		case "url":
			u.note(e, Unsupported, "zones come by transfer or from files")
			continue
		default:
			u.other(e, "")
			continue
		}
		u.note(e, Converted, "")
	}
	if p.answer == "cname" || p.cname != "" {
		p.answer = ""
	}
	if p.zone = z.name; len(z.primaries) == 0 && !strings.HasPrefix(z.file, "/") {
		u.note(s, Unsupported, "the path of its file is seen from a directory that is not known: write it out")
		return
	}
	if u.addZone(s, z) {
		u.addPolicy(p)
	}
}

// luaPolicies takes the policy zones that PowerDNS Recursor's Lua configuration has: calls of rpzFile,
// rpzPrimary and rpzMaster. It reports whether the file could be read.
func (c *converter) luaPolicies(s *stmt, path string) bool {
	text, err := c.readFile(path, &s.words[0])
	if err != nil {
		return false
	}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		for _, call := range []string{"rpzFile", "rpzPrimary", "rpzMaster"} {
			if rest, ok := strings.CutPrefix(line, call); ok && strings.HasPrefix(strings.TrimSpace(rest), "(") {
				at := lineStmt(path, n+1, call)
				if args, ok := luaCall(rest); ok {
					c.luaPolicy(at, call, path, args)
				} else {
					c.note(at, Unsupported, "it is more than one line of texts and numbers: write it as policy.rpz")
				}
			}
		}
	}
	return true
}

// luaPolicy takes one call: a file, or addresses and a zone, and options.
func (c *converter) luaPolicy(at *stmt, call, path string, args []luaValue) {
	z, options := &zone{}, map[string]string{}
	if n := len(args); n > 0 && len(args[n-1].named) > 0 {
		options, args = args[n-1].named, args[:n-1]
	}
	switch {
	case call == "rpzFile" && len(args) == 1:
		z.file = beside(path, args[0].text)
		if z.name = domain(options["policyName"]); z.name == "" {
			z.name = domain(strings.TrimSuffix(filepath.Base(z.file), filepath.Ext(z.file)))
		}
	case call != "rpzFile" && len(args) == 2:
		z.name = domain(args[1].text)
		for _, text := range append(args[0].list, args[0].text) {
			if a, err := netip.ParseAddrPort(text); err == nil {
				z.primaries = append(z.primaries, server(a.Addr(), fmt.Sprint(a.Port())))
			} else if a, err := netip.ParseAddr(text); err == nil {
				z.primaries = append(z.primaries, server(a, ""))
			}
		}
	default:
		c.note(at, Unsupported, "write it as policy.rpz")
		return
	}
	if name := options["tsigname"]; name != "" {
		if c.keys[domain(name)] == nil {
			c.key(at, name, options["tsigalgo"], options["tsigsecret"])
		}
		if !c.sign(at, z, name) {
			return
		}
	}
	answers := map[string]string{
		"": "", "Policy.NoAction": "passthru", "Policy.Drop": "drop", "Policy.NXDOMAIN": "nxdomain", "Policy.NODATA": "nodata",
		"Policy.Truncate": "tcp-only",
	}
	p := policyZone{from: at, zone: z.name, ttl: "1d", breaks: true, bare: true}
	if ttl := options["maxTTL"]; ttl != "" {
		p.ttl = seconds(ttl)
	}
	p.bare = options["includeSOA"] != "true"
	answer, ok := answers[options["defpol"]]
	switch {
	case options["defpol"] == "Policy.Custom":
		p.cname = domain(options["defcontent"])
	case !ok:
		c.note(at, Unsupported, "write it as policy.rpz: nothing stands for "+options["defpol"])
		return
	}
	if p.answer = answer; c.addZone(at, z) {
		c.addPolicy(p)
	}
}

// A luaValue is a text, number or name, or a table of such.
type luaValue struct {
	text  string
	list  []string
	named map[string]string
}

// luaCall reads the arguments of a call whose ( comes next. It reports false for anything but literals
// and names.
func luaCall(text string) (args []luaValue, ok bool) {
	l := &luaText{rest: text}
	if l.next() != "(" {
		return nil, false
	}
	for {
		word := l.next()
		switch {
		case word == ")":
			return args, true
		case word == ",":
		case word == "{":
			table, ok := l.table()
			if !ok {
				return nil, false
			}
			args = append(args, table)
		case word == "" || strings.ContainsAny(word, "=}("):
			return nil, false
		default:
			args = append(args, luaValue{text: l.value})
		}
	}
}

// A luaText is text that is read word by word.
type luaText struct {
	rest  string
	value string // of the word that was read last: what is in quotes, without them
}

// next returns the next word; empty: there is none.
func (l *luaText) next() string {
	l.rest = strings.TrimLeft(l.rest, " \t\r")
	if l.rest == "" || strings.HasPrefix(l.rest, "--") {
		return ""
	}
	end := strings.IndexAny(l.rest, " \t\r,(){}=\"'")
	switch c := l.rest[0]; {
	case c == '"' || c == '\'':
		n := strings.IndexByte(l.rest[1:], c)
		if n < 0 || strings.Contains(l.rest[1:1+n], "\\") {
			return ""
		}
		l.value = l.rest[1 : 1+n]
		l.rest = l.rest[n+2:]
		return "text"
	case end == 0:
		end = 1
	case end < 0:
		end = len(l.rest)
	}
	l.value = l.rest[:end]
	l.rest = l.rest[end:]
	return l.value
}

// table reads a table whose { was read.
func (l *luaText) table() (t luaValue, ok bool) {
	t.named = map[string]string{}
	for {
		word := l.next()
		value := l.value
		switch {
		case word == "}":
			return t, true
		case word == ",":
			continue
		case word == "" || strings.ContainsAny(word, "={()"):
			return t, false
		}
		after := *l
		if after.next() != "=" {
			t.list = append(t.list, value)
			continue
		}
		*l = after
		if word = l.next(); word == "" || strings.ContainsAny(word, "={}(),") {
			return t, false
		}
		t.named[value] = l.value
	}
}
