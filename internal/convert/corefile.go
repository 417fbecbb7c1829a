package convert

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A corefile is CoreDNS's configuration as it is read: blocks of zones, in each its plugins.
type corefile struct {
	*converter
	path     string
	snippets map[string]*stmt
	listens  map[string]bool
	acl      []aclRule
	open     *stmt // a block that forwards, which CoreDNS does for everyone
	root     bool  // one of all names
}

// corefileLines splits a Corefile into statements: one on a line, with a block in braces.
func corefileLines(file, text string) ([]*stmt, error) {
	type open struct{ s *stmt }
	top := &stmt{}
	stack := []open{{top}}
	var words []word // of a head that goes on behind a comma
	for i, line := range strings.Split(text, "\n") {
		fields, err := corefileWords(file, i+1, line)
		if err != nil {
			return nil, err
		}
		if len(fields) == 0 {
			continue
		}
		if len(stack) == 1 && strings.HasSuffix(fields[len(fields)-1].text, ",") {
			words = append(words, fields...)
			continue
		}
		fields = append(words, fields...)
		words = nil
		last := fields[len(fields)-1]
		switch {
		case fields[0].text == "}" && !fields[0].quoted:
			if len(stack) == 1 {
				return nil, fields[0].fail("a } without its {")
			}
			stack = stack[:len(stack)-1]
		case last.text == "{" && !last.quoted:
			if len(stack) > maxDepth {
				return nil, last.fail("more than %d blocks within each other", maxDepth)
			}
			s := &stmt{words: fields[:len(fields)-1]}
			if len(s.words) == 0 {
				return nil, last.fail("a block without a name")
			}
			in := stack[len(stack)-1].s
			in.block = append(in.block, s)
			stack = append(stack, open{s})
		default:
			in := stack[len(stack)-1].s
			in.block = append(in.block, &stmt{words: fields})
		}
	}
	if len(stack) > 1 {
		return nil, stack[len(stack)-1].s.words[0].fail("a { without its }")
	}
	return top.block, nil
}

func corefileWords(file string, line int, text string) ([]word, error) {
	var out []word
	for i := 0; i < len(text); {
		w := word{file: file, line: line, col: i + 1}
		switch ch := text[i]; {
		case ch == ' ' || ch == '\t' || ch == '\r':
			i++
			continue
		case ch == '#':
			return out, nil
		case ch == '"':
			s, n, ok := bindString(text[i:])
			if !ok {
				return nil, w.fail("a string without an end")
			}
			w.text, w.quoted = s, true
			i += n
		default:
			n := strings.IndexAny(text[i:], " \t\r")
			if n < 0 {
				n = len(text) - i
			}
			w.text = text[i : i+n]
			i += n
		}
		out = append(out, w)
	}
	return out, nil
}

func readCorefile(c *converter, path string) error {
	f := &corefile{converter: c, path: path, snippets: map[string]*stmt{}, listens: map[string]bool{}}
	top, err := f.load(path, nil)
	if err != nil {
		return err
	}
	c.out.query = allAddresses()
	for _, s := range top {
		if strings.HasPrefix(s.name(), "(") {
			f.snippets[strings.Trim(s.name(), "()")] = s
			c.note(s, Converted, "")
		}
	}
	for _, s := range top {
		if !strings.HasPrefix(s.name(), "(") {
			if err := f.server(s); err != nil {
				return err
			}
		}
	}
	if f.open != nil {
		c.out.recurse = true
		c.out.recursion, c.out.clientsFrom = allAddresses(), f.open
		if f.acl != nil {
			c.out.recursion = firstMatch(append(f.acl, aclRule{nets: allAddresses()}))
		}
		c.out.set("resolver.validation", "false")
		c.out.remarks = append(
			c.out.remarks,
			"Answers are not validated, as they were not: remove validation: false where the",
			"forwarders pass signatures on.",
			"",
		)
		if !f.root {
			c.note(f.open, Changed, "CoreDNS refused names of other zones: here they are resolved for those who may use recursion")
		}
	}
	if f.acl != nil {
		if c.out.query = firstMatch(append(f.acl, aclRule{nets: allAddresses()})); c.out.query == nil {
			c.out.query = netset{}
		}
	}
	return nil
}

func (f *corefile) load(path string, from *word) ([]*stmt, error) {
	text, err := f.readFile(path, from)
	if err != nil {
		return nil, err
	}
	return corefileLines(path, text)
}

// plugins returns what a block says, with what it imports.
func (f *corefile) plugins(block []*stmt, depth int) ([]*stmt, error) {
	var out []*stmt
	for _, s := range block {
		if s.name() != "import" {
			out = append(out, s)
			continue
		}
		f.note(s, Converted, "")
		var more []*stmt
		if snippet := f.snippets[s.arg(1)]; snippet != nil {
			more = snippet.block
		} else {
			files, _ := filepath.Glob(beside(f.path, s.arg(1)))
			for _, file := range files {
				in, err := f.load(file, &s.words[0])
				if err != nil {
					return nil, err
				}
				more = append(more, in...)
			}
		}
		if depth < maxDepth {
			more, err := f.plugins(more, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// server takes one block: zones, and what is done for the names in them.
func (f *corefile) server(s *stmt) error {
	var zones []string
	ports := map[string]bool{}
	for _, w := range s.words {
		text := strings.TrimSuffix(w.text, ",")
		scheme, rest, ok := strings.Cut(text, "://")
		if ok && scheme != "dns" {
			f.note(s, Planned, "only UDP and TCP are served yet")
			return nil
		} else if ok {
			text = rest
		}
		name, port, _ := strings.Cut(text, ":")
		if name == "" {
			name = "."
		}
		if n := reverseZones(prefixOf(name)); len(n) > 0 {
			zones = append(zones, n...)
		} else {
			zones = append(zones, domain(name))
		}
		ports[port] = true
	}
	block, err := f.plugins(s.block, 0)
	if err != nil {
		return err
	}
	f.note(s, Converted, "")
	for port := range ports {
		if b := find(block, "bind"); b != nil {
			for _, a := range b.args() {
				if _, err := netip.ParseAddr(a); err != nil {
					f.note(b, Unsupported, "only addresses can be listened on")
					continue
				}
				f.listen(a, port)
			}
			f.note(b, Converted, "")
		} else {
			f.listen("0.0.0.0", port)
			f.listen("::", port)
		}
	}
	for _, p := range block {
		if p.name() == "hosts" || p.name() == "forward" {
			p.block = f.vet(p.block, corefileKinds(), nil)
		}
		f.plugin(p, zones, block)
	}
	return nil
}

func prefixOf(text string) netip.Prefix {
	p, _ := netip.ParsePrefix(text)
	return p
}

// corefileOwn are plugins that say how CoreDNS does what port53 does in its own way.
const corefileOwn = `errors health ready prometheus reload loop pprof trace dnstap debug any cancel minimal header metadata
	ready local geoip timeouts multisocket bufsize root nomad tsig bind`

// plugin …
// In one piece: it is a table of plugins and what becomes of each.
func (f *corefile) plugin(s *stmt, zones []string, block []*stmt) {
	switch s.name() {
	case "file":
		f.files(s, zones, block)
	case "auto":
		f.auto(s, zones, block)
	case "secondary":
		f.secondary(s, zones, block)
	case "forward":
		f.forward(s, zones)
	case "hosts":
		f.hosts(s, zones)
	case "transfer":
		f.note(s, Converted, "") // zones take it
	case "cache":
		switch ttl := s.arg(1); {
		case isNumber(ttl):
			f.take(s, "resolver.cache.max_ttl", ttl+"s")
		case ttl != "":
			f.note(s, Changed, "the cache is for all zones")
		default:
			f.note(s, Converted, "")
		}
		for _, e := range s.block {
			if e.name() == "serve_stale" {
				f.take(e, "resolver.cache.serve_stale", "true")
			} else {
				f.note(e, Changed, "port53 has its own: resolver.cache")
			}
		}
	case "log":
		f.take(s, "log.queries", "text")
	case "loadbalance":
		switch kind := oneOfWords(false, "round_robin", "weighted"); {
		case s.arg(1) != "" && !kind.takes(s.arg(1)):
			f.note(s, Unsupported, "expected "+kind.expects)
		case s.arg(1) == "weighted":
			f.note(s, Changed, "addresses have no weights: they come in any order")
		default:
			f.note(s, Converted, "")
		}
		f.out.order("random")
	case "chaos":
		if s.arg(1) != "" {
			f.take(s, "identity.version", quote(s.arg(1)))
		}
	case "nsid":
		f.take(s, "identity.nsid", quote(s.arg(1)))
	case "acl":
		f.readACL(s)
	case "dnssec", "sign":
		f.note(s, Planned, "signing is not taken over yet: those of its block are left out")
	case "kubernetes",
		"k8s_external",
		"etcd",
		"route53",
		"azure",
		"clouddns",
		"tls",
		"grpc",
		"dns64",
		"view",
		"rewrite",
		"template",
		"rrl",
		"ratelimit",
		"autopath",
		"erratic",
		"whoami":
		f.note(s, Planned, "there is nothing like it yet")
	default:
		f.other(s, corefileOwn)
	}
}

// signed reports whether a block signs what it serves, and says so of a statement.
func (f *corefile) signed(s *stmt, block []*stmt) bool {
	if find(block, "dnssec", "sign") == nil {
		return false
	}
	f.note(
		s,
		Unsupported,
		"CoreDNS signs it, and here it would be served without signatures, which validators refuse if its parent has a DS record",
	)
	return true
}

func (f *corefile) root53(block []*stmt, path string) string {
	if r := find(block, "root"); r != nil && !filepath.IsAbs(path) {
		path = filepath.Join(r.arg(1), path)
	}
	return beside(f.path, path)
}

// transfers takes who may have a zone whole.
func (f *corefile) transfers(z *zone, block []*stmt) {
	t := find(block, "transfer")
	if t == nil {
		return
	}
	for _, e := range t.block {
		if e.name() != "to" {
			continue
		}
		for _, a := range e.args() {
			host, port := a, ""
			if ap, err := netip.ParseAddrPort(a); err == nil {
				host, port = ap.Addr().String(), strconv.Itoa(int(ap.Port()))
			}
			switch addr, err := netip.ParseAddr(host); {
			case a == "*":
				z.transfer = allAddresses()
			case err == nil:
				z.secondaries = append(z.secondaries, server(addr, port))
			default:
				f.note(e, Unsupported, "only addresses are servers")
			}
		}
		f.note(e, Converted, "")
	}
}

func (f *corefile) files(s *stmt, zones []string, block []*stmt) {
	if f.signed(s, block) {
		return
	}
	if len(s.words) > 2 {
		zones = nil
		for _, z := range s.args()[1:] {
			zones = append(zones, domain(z))
		}
	}
	for _, name := range zones {
		z := &zone{name: name, file: f.root53(block, s.arg(1))}
		f.transfers(z, block)
		f.addZone(s, z)
	}
}

// auto takes the zone files of a directory, whose names tell the zones.
func (f *corefile) auto(s *stmt, zones []string, block []*stmt) {
	d := find(s.block, "directory")
	if d == nil || f.signed(s, block) {
		f.note(s, Unsupported, "it has no directory")
		return
	}
	pattern, template := `db\.(.*)`, "{1}"
	if len(d.words) > 3 {
		pattern, template = d.arg(2), d.arg(3)
	}
	re, err := regexp.Compile(pattern)
	dir := f.root53(block, d.arg(1))
	entries, err2 := os.ReadDir(dir)
	if err != nil || err2 != nil {
		f.note(d, Unsupported, "the directory cannot be read, or its pattern")
		return
	}
	f.note(s, Changed, "the files that are there now")
	for _, e := range entries {
		m := re.FindStringSubmatch(e.Name())
		if m == nil || !e.Type().IsRegular() {
			continue
		}
		name := template
		for i, group := range m {
			name = strings.ReplaceAll(name, "{"+strconv.Itoa(i)+"}", group)
		}
		name = domain(name)
		if slices.ContainsFunc(zones, func(z string) bool { return z == "." || name == z || strings.HasSuffix(name, "."+z) }) {
			z := &zone{name: name, file: filepath.Join(dir, e.Name())}
			f.transfers(z, block)
			f.addZone(d, z)
		}
	}
}

func (f *corefile) secondary(s *stmt, zones []string, block []*stmt) {
	if len(s.words) > 1 {
		zones = s.args()
	}
	var from []string
	for _, e := range s.block {
		if e.name() != "transfer" || e.arg(1) != "from" {
			f.note(e, Unsupported, "there is nothing like it")
			continue
		}
		for _, a := range e.args()[1:] {
			if ap, err := netip.ParseAddrPort(a); err == nil {
				from = append(from, server(ap.Addr(), strconv.Itoa(int(ap.Port()))))
			} else if addr, err := netip.ParseAddr(a); err == nil {
				from = append(from, server(addr, ""))
			}
		}
		f.note(e, Converted, "")
	}
	for _, name := range zones {
		z := &zone{name: domain(name), primaries: from}
		f.transfers(z, block)
		f.addZone(s, z)
	}
}

// forward takes where names of the block's zones are asked.
func (f *corefile) forward(s *stmt, zones []string) {
	var to []string
	tls := false
	for _, a := range s.args()[min(1, len(s.args())):] {
		switch {
		case strings.HasPrefix(a, "tls://"):
			tls = true
			f.note(s, Planned, "servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME: they are left out")
		case strings.HasPrefix(a, "/"):
			to = append(to, f.resolvConf(s, a)...)
		default:
			a = strings.TrimPrefix(a, "dns://")
			if ap, err := netip.ParseAddrPort(a); err == nil {
				to = append(to, server(ap.Addr(), strconv.Itoa(int(ap.Port()))))
			} else if addr, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil {
				to = append(to, server(addr, ""))
			} else {
				f.note(s, Unsupported, "only addresses are servers")
			}
		}
	}
	f.open = s
	if len(to) == 0 {
		if !tls {
			f.note(s, Unsupported, "it has no servers that could be taken")
		}
		f.root = f.root || slices.Contains(zones, ".")
		return
	}
	f.note(s, Converted, "")
	within := domain(s.arg(1))
	for _, z := range zones {
		name := z
		switch {
		case within == ".":
		case z == "." || within == z || strings.HasSuffix(within, "."+z):
			name = within
		default:
			continue
		}
		f.root = f.root || name == "."
		f.addRoute(&f.out.forward, route{from: s, zone: name, to: to, tcp: find(s.block, "force_tcp") != nil})
	}
	for _, e := range s.block {
		switch e.name() {
		case "except":
			for _, name := range e.args() {
				f.note(e, Changed, "what is excepted is resolved by iteration, unless a zone or another entry has it")
				if f.byName[domain(name)] == nil &&
					!slices.ContainsFunc(f.out.forward, func(r route) bool { return r.zone == domain(name) }) {
					f.addRoute(&f.out.forward, route{from: e, zone: domain(name)})
				}
			}
		case "force_tcp", "prefer_udp":
			f.note(e, Converted, "")
		case "tls", "tls_servername":
			f.note(e, Planned, "servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME")
		default:
			f.note(e, Changed, "port53 chooses the quickest of the servers itself")
		}
	}
}

// hosts takes names from a file and from the block. Without fallthrough the block's zones
// have no other names.
func (f *corefile) hosts(s *stmt, zones []string) {
	ttl := 3600
	if e := find(s.block, "ttl"); e != nil {
		ttl, _ = strconv.Atoi(e.arg(1))
	}
	file := s.arg(1)
	if file == "" && len(s.block) == 0 {
		file = "/etc/hosts"
	}
	f.note(s, Converted, "")
	var lines strings.Builder
	for _, e := range s.block {
		switch e.name() {
		case "ttl", "fallthrough", "reload", "no_reverse":
			f.note(e, Converted, "")
		default:
			a, err := netip.ParseAddr(e.name())
			if err != nil {
				f.note(e, Unsupported, "it is no address with names")
				continue
			}
			for i, name := range e.args() {
				f.addName(e, name, a, ttl, false, i == 0 && find(s.block, "no_reverse") == nil)
			}
			lines.WriteString("\n")
		}
	}
	if file != "" {
		f.pending = append(f.pending, hostsFile{s, beside(f.path, file), "", ttl})
	}
	if find(s.block, "fallthrough") == nil {
		if len(s.words) > 2 {
			zones = s.args()[1:]
		}
		for _, z := range zones {
			if domain(z) != "." {
				f.addDomain(z)
				f.note(s, Changed, "its other names do not exist: CoreDNS answered SERVFAIL")
			} else {
				f.note(s, Changed, "other names are resolved: CoreDNS had none")
			}
		}
	}
}

// readACL takes the rules of a block. They hold for all that is served here.
func (f *corefile) readACL(s *stmt) {
	f.note(s, Changed, "its rules hold for all zones")
	for _, e := range s.block {
		if t := e.option("type"); t != "" && t != "*" && !strings.EqualFold(t, "ANY") {
			f.note(e, Unsupported, "types of questions are not told apart")
			continue
		}
		nets := netset{}
		list := e.args()
		if i := slices.Index(list, "net"); i >= 0 {
			for _, n := range list[i+1:] {
				p, ok := parseNet(n)
				if n == "*" {
					p, ok = allAddresses(), true
				}
				if !ok {
					f.note(e, Unsupported, "only networks are known")
				}
				nets = nets.union(p)
			}
		} else {
			nets = allAddresses()
		}
		switch e.name() {
		case "allow":
			f.acl = append(f.acl, aclRule{nets: nets})
		case "block", "filter", "drop":
			f.acl = append(f.acl, aclRule{nets: nets, deny: true})
		default:
			f.note(e, Unsupported, "there is nothing like it")
			continue
		}
		f.note(e, Converted, "")
	}
}
