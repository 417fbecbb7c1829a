package filter

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"port53/internal/policy"
	"port53/internal/wire"
)

// A clientSet is the clients of a $client modifier.
type clientSet struct {
	acl  *policy.ACL // nil: none that is known
	text string
}

func (c *clientSet) has(a netip.Addr) bool { return c.acl != nil && c.acl.Allows(a) }

// A rewrite is what $dnsrewrite has in the place of an answer. The zero rewrite, of an exception,
// takes away all.
type rewrite struct {
	action Action // NXDomain, Refuse, Fail, NoData, Address or Alias
	addr   netip.Addr
	target []byte
}

func (r *rewrite) equal(o *rewrite) bool {
	return r.action == o.action && r.addr == o.addr && bytes.Equal(r.target, o.target)
}

// A bad is a $badfilter: it takes rules away that are written as it is.
type bad struct {
	list             uint8
	allow, important bool
	pattern          string
	clients          string
	name             []byte // that the rules are for, or nil
	scope            Scope
}

// Reasons for which a line is no rule of ours.
var (
	errURL   = errors.New("a rule for parts of URLs or for kinds of requests")
	errRegex = errors.New("a regular expression")
	errWide  = errors.New("it would be about every name")
)

// An adblock is one line of the syntax, taken apart.
type adblock struct {
	allow, important, bad bool
	pattern               string // in lower case
	extra                 extra
	restricted            bool // something bounds whom it is for
	clients               string
}

// parseAdblock takes a line apart.
func (b *Builder) parseAdblock(line string, networks func(name string) []netip.Prefix) (a adblock, err error) {
	if rest, ok := strings.CutPrefix(line, "@@"); ok {
		a.allow, line = true, rest
	}
	options := ""
	a.pattern = line
	if !(len(line) > 1 && line[0] == '/' && line[len(line)-1] == '/') {
		for at := len(line) - 1; at >= 0; at-- {
			if line[at] == '$' && (at == 0 || line[at-1] != '\\') {
				a.pattern, options = line[:at], strings.ReplaceAll(line[at+1:], `\$`, "$")
				break
			}
		}
	}
	for _, o := range splitEscaped(options, ',') {
		name, value, _ := strings.Cut(o, "=")
		if err = a.option(name, value, networks); err != nil {
			return a, err
		}
	}
	if rest, ok := strings.CutSuffix(a.pattern, "/*"); ok {
		a.pattern = rest + "^"
	}
	if !isRegex(a.pattern) {
		a.pattern = strings.ToLower(a.pattern)
	}
	return a, nil
}

func isRegex(pattern string) bool {
	return len(pattern) > 1 && pattern[0] == '/' && pattern[len(pattern)-1] == '/'
}

// splitEscaped splits at sep, unless a backslash stands before it.
func splitEscaped(text string, sep byte) (parts []string) {
	var part []byte
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == sep:
			part = append(part, sep)
			i++
		case text[i] == sep:
			if len(part) > 0 {
				parts = append(parts, string(part))
			}
			part = part[:0]
		default:
			part = append(part, text[i])
		}
	}
	if len(part) > 0 {
		parts = append(parts, string(part))
	}
	return parts
}

// kindsOfRequest are modifiers for what a browser asks for. A rule for some of them alone is not
// about names; one for all but some of them is.
const kindsOfRequest = " script stylesheet subdocument object image xmlhttprequest media font websocket ping other "

// option takes a modifier.
func (a *adblock) option(name, value string, networks func(string) []netip.Prefix) (err error) {
	x := &a.extra
	switch name {
	case "important":
		a.important = true
	case "badfilter":
		a.bad = true
	case "dnstype":
		a.restricted = true
		x.types, x.notTypes, err = parseTypes(value)
	case "client":
		a.restricted, a.clients = true, value
		x.clients, x.notClients, err = parseClients(value, networks)
	case "denyallow":
		a.restricted = true
		for d := range strings.SplitSeq(value, "|") {
			n, ok := appendHost(nil, []byte(d))
			if !ok {
				return fmt.Errorf("$denyallow: %q is not a name", d)
			}
			x.except = append(x.except, n)
		}
	case "dnsrewrite":
		x.rewrite, err = parseRewrite(value)
	case "ctag", "respgeo":
		return errURL // nothing is known of clients but their addresses
	default:
		bare, not := strings.CutPrefix(name, "~")
		if not && strings.Contains(kindsOfRequest, " "+bare+" ") {
			return nil
		}
		return errURL
	}
	return err
}

func parseTypes(text string) (types, not []wire.Type, err error) {
	for word := range strings.SplitSeq(text, "|") {
		bare, negated := strings.CutPrefix(word, "~")
		t, ok := wire.ParseType(strings.ToUpper(bare))
		if !ok {
			return nil, nil, fmt.Errorf("$dnstype: %q is not a record type", bare)
		}
		if negated {
			not = append(not, t)
		} else {
			types = append(types, t)
		}
	}
	return types, not, nil
}

// parseClients reads the clients of $client: addresses, networks, and names of networks of the
// configuration. Names that are not there are of nobody.
func parseClients(text string, networks func(string) []netip.Prefix) (clients, not *clientSet, err error) {
	var in, out []netip.Prefix
	hasIn, hasOut := false, false
	for _, word := range splitEscaped(text, '|') {
		bare, negated := strings.CutPrefix(word, "~")
		if n := len(bare); n > 1 && (bare[0] == '\'' || bare[0] == '"') && bare[n-1] == bare[0] {
			bare = strings.ReplaceAll(bare[1:n-1], `\`+bare[:1], bare[:1])
		}
		var list []netip.Prefix
		if p, ok := parsePrefix(bare); ok {
			list = []netip.Prefix{p}
		} else if networks != nil {
			list = networks(bare)
		}
		if negated {
			out, hasOut = append(out, list...), true
		} else {
			in, hasIn = append(in, list...), true
		}
	}
	make := func(list []netip.Prefix) (*clientSet, error) {
		c := &clientSet{text: text}
		var err error
		if len(list) > 0 {
			slices.SortFunc(list, netip.Prefix.Compare)
			c.acl, err = policy.NewACL(policy.ACLOptions{Allow: slices.Compact(list)})
		}
		return c, err
	}
	if hasIn {
		if clients, err = make(in); err != nil {
			return nil, nil, err
		}
	}
	if hasOut {
		not, err = make(out)
	}
	if !hasIn && !hasOut {
		err = errors.New("$client: it names nobody")
	}
	return clients, not, err
}

// parsePrefix reads an address or a network.
func parsePrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}

// parseRewrite reads the value of $dnsrewrite.
func parseRewrite(text string) (*rewrite, error) {
	rcodes := map[string]Action{"NOERROR": NoData, "NXDOMAIN": NXDomain, "REFUSED": Refuse, "SERVFAIL": Fail}
	if text == "" {
		return &rewrite{}, nil
	}
	if parts := strings.SplitN(text, ";", 3); len(parts) == 3 {
		action, ok := rcodes[strings.ToUpper(parts[0])]
		switch {
		case !ok:
			return nil, fmt.Errorf("$dnsrewrite: %q is not NOERROR, NXDOMAIN, REFUSED or SERVFAIL", parts[0])
		case action != NoData || parts[1] == "" && parts[2] == "":
			return &rewrite{action: action}, nil
		}
		switch kind := strings.ToUpper(parts[1]); kind {
		case "A", "AAAA":
			addr, err := netip.ParseAddr(parts[2])
			if err != nil || addr.Is4() != (kind == "A") || addr.Zone() != "" {
				return nil, fmt.Errorf("$dnsrewrite: %q is not an address of type %s", parts[2], kind)
			}
			return &rewrite{action: Address, addr: addr}, nil
		case "CNAME":
			text = parts[2]
		default:
			return nil, fmt.Errorf("$dnsrewrite: records of type %s are not supported", kind)
		}
	} else if action, ok := rcodes[text]; ok {
		return &rewrite{action: action}, nil
	} else if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return &rewrite{action: Address, addr: addr}, nil
	}
	target, ok := appendHost(nil, []byte(text))
	if !ok {
		return nil, fmt.Errorf("$dnsrewrite: %q is not an answer", text)
	}
	return &rewrite{action: Alias, target: target}, nil
}

// maxRegex is the longest regular expression, in octets, and maxPatterns how many expressions and
// patterns that no name stands for one list may have: each is tried with every name that is new.
const (
	maxRegex    = 1000
	maxPatterns = 20000
)

// addAdblock adds a line that has been taken apart.
func (b *Builder) addAdblock(a *adblock, r rule, regex bool, st *Stats) error {
	r.allow, r.important = a.allow, a.important
	if x := &a.extra; x.types != nil || x.notTypes != nil || x.clients != nil || x.notClients != nil || x.except != nil ||
		x.rewrite != nil {
		r.extra = x
	}
	if isRegex(a.pattern) {
		if !regex {
			return errRegex
		}
		return b.addRegex(a, r, st)
	}
	if p := a.pattern; len(p) < 3 || p == "||" {
		if !a.restricted || strings.Trim(p, "|*^") != "" {
			return errWide
		}
		r.scope = Subtree
		return b.addName(a, wire.Root, r, st)
	}
	if strings.Trim(a.pattern, "|*^.") == "" {
		return errWide
	}
	name, scope, g, err := compilePattern(a.pattern)
	if err != nil {
		return err
	}
	if g != nil {
		if name == nil {
			return b.addPattern(a, pattern{rule: r, glob: g, text: a.pattern}, st)
		}
		if r.extra == nil {
			r.extra = &extra{}
		}
		r.extra.glob = g
	}
	r.scope = scope
	return b.addName(a, name, r, st)
}

func (b *Builder) addName(a *adblock, name []byte, r rule, st *Stats) error {
	if a.bad {
		b.t.bads = append(
			b.t.bads,
			bad{list: r.list, allow: a.allow, important: a.important, pattern: a.pattern, clients: a.clients, name: name, scope: r.scope},
		)
		st.Rules++
		return nil
	}
	if r.scope&Below != 0 && !r.allow && !a.restricted && wire.LabelCount(name) == 1 {
		st.wide(r.line, name)
	}
	st.count(b.add(name, &r))
	return nil
}

func (b *Builder) addPattern(a *adblock, p pattern, st *Stats) error {
	if a.bad {
		b.t.bads = append(b.t.bads, bad{list: p.list, allow: a.allow, important: a.important, pattern: a.pattern, clients: a.clients})
		st.Rules++
		return nil
	}
	if st.Patterns >= maxPatterns {
		return fmt.Errorf("a list has at most %d patterns without a fixed name", maxPatterns)
	}
	st.Patterns++
	st.Rules++
	b.t.patterns = append(b.t.patterns, p)
	return nil
}

func (b *Builder) addRegex(a *adblock, r rule, st *Stats) error {
	text := a.pattern[1 : len(a.pattern)-1]
	if len(text) > maxRegex {
		return fmt.Errorf("a regular expression has at most %d bytes", maxRegex)
	}
	re, err := regexp.Compile("(?i)" + text)
	if err != nil {
		return fmt.Errorf("RE2 has no such expression: %v", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	st.Regex++
	return b.addPattern(a, pattern{rule: r, re: re, text: a.pattern}, st)
}

// compilePattern returns what a pattern is: a name and the scope of it, a glob, or a glob for names
// below one.
func compilePattern(text string) (name []byte, scope Scope, g *glob, err error) {
	g = &glob{}
	p := text
	switch {
	case strings.HasPrefix(p, "||"):
		g.labels, p = true, p[2:]
	case strings.HasPrefix(p, "http://"):
		g.anchor, p = true, p[len("http://"):]
	case strings.HasPrefix(p, "://"):
		g.anchor, p = true, p[len("://"):]
	case strings.HasPrefix(p, "|"):
		if g.anchor, p = true, p[1:]; strings.HasPrefix(p, "http://") {
			return nil, 0, nil, errURL // it is compared with the name alone
		}
	case len(p) > 3 && p[0] == '/' && p[len(p)-1] == '.': // it is compared with http:// and the name
		if g.anchor, p = true, p[1:]; p[0] == '/' {
			p = p[1:]
		}
	}
	if rest, ok := strings.CutSuffix(p, "|"); ok {
		g.end, p = true, rest
	}
	if rest := strings.TrimRight(p, "*"); strings.HasSuffix(rest, "^") {
		p = rest // nothing is behind the end
	}
	for strings.HasSuffix(p, "^") {
		g.end, p = true, strings.TrimSuffix(p, "^")
	}
	for strings.HasPrefix(p, "*") { // anything may be before it
		g.labels, g.anchor, p = false, false, p[1:]
	}
	if strings.ContainsAny(p, "/:^|?=&%") {
		return nil, 0, nil, errURL // no name has these
	}
	if strings.HasSuffix(p, "*") {
		p, g.end = strings.TrimRight(p, "*"), false
	}
	if strings.Trim(p, "*.") == "" {
		return nil, 0, nil, errWide
	}
	if g.end && !strings.Contains(p, "*") {
		switch below, ok := strings.CutPrefix(p, "."); {
		case g.labels && !ok:
			scope = Subtree
		case g.anchor && !ok:
			scope = Exact
		case ok && !g.labels && !g.anchor:
			scope, p = Below, below
		}
		if scope != 0 {
			name, ok := appendHost(nil, []byte(p))
			if !ok {
				return nil, 0, nil, fmt.Errorf("%q is not a name", p)
			}
			return name, scope, nil, nil
		}
	}
	g.parts = strings.Split(p, "*")
	g.parts = slices.DeleteFunc(g.parts, func(part string) bool { return part == "" })
	for _, part := range g.parts {
		if strings.IndexFunc(part, func(r rune) bool { return r <= ' ' || r >= 0x7F }) >= 0 {
			return nil, 0, nil, fmt.Errorf("%q is not a part of a name", part)
		}
	}
	if last := g.parts[len(g.parts)-1]; g.end && strings.Contains(last, ".") {
		if below, ok := appendHost(nil, []byte(last[strings.IndexByte(last, '.')+1:])); ok {
			return below, Subtree, g, nil
		}
	}
	return nil, 0, g, nil
}
