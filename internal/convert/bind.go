package convert

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bindWords splits a named.conf: comments are #, // and /* */.
func bindWords(file, text string) ([]word, error) {
	var out []word
	line, start := 1, 0
	for i := 0; i < len(text); {
		at := word{file: file, line: line, col: i - start + 1}
		rest := text[i:]
		switch ch := text[i]; {
		case ch == '\n':
			i++
			line, start = line+1, i
		case ch == ' ' || ch == '\t' || ch == '\r':
			i++
		case ch == '#' || strings.HasPrefix(rest, "//"):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				i += n
			} else {
				i = len(text)
			}
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return nil, at.fail("a comment without an end")
			}
			if l := strings.Count(rest[:n+4], "\n"); l > 0 {
				line, start = line+l, i+strings.LastIndexByte(rest[:n+4], '\n')+1
			}
			i += n + 4
		case ch == '"':
			n := strings.IndexAny(rest[1:], "\"\n")
			if n < 0 || rest[n+1] == '\n' {
				return nil, at.fail("a string without an end")
			}
			at.text, at.quoted = rest[1:n+1], true
			out = append(out, at)
			i += n + 2
		case strings.IndexByte("{};!", ch) >= 0:
			at.text = string(ch)
			out = append(out, at)
			i++
		default:
			n := strings.IndexAny(rest, " \t\r\n{};\"#")
			if n < 0 {
				n = len(rest)
			}
			at.text = rest[:n]
			out = append(out, at)
			i += n
		}
	}
	return out, nil
}

// bindBlock reads statements until the } of the block, or the end at depth 0.
func bindBlock(words []word, depth int) (block []*stmt, rest []word, err error) {
	s := &stmt{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w.quoted:
			s.words = append(s.words, w)
		case w.text == ";":
			if len(s.words)+len(s.block) > 0 {
				block = append(block, s)
			}
			s = &stmt{}
		case w.text == "{":
			if depth == maxDepth {
				return nil, nil, w.fail("more than %d blocks within each other", maxDepth)
			}
			inner, after, err := bindBlock(words[i+1:], depth+1)
			if err != nil {
				return nil, nil, err
			}
			if len(after) == 0 {
				return nil, nil, w.fail("a { without its }")
			}
			s.block = append(s.block, inner...)
			words, i = after, 0 // the } itself
		case w.text == "}":
			if depth == 0 {
				return nil, nil, w.fail("a } without its {")
			}
			if len(s.words)+len(s.block) > 0 {
				return nil, nil, w.fail("a ; is missing before }")
			}
			return block, words[i:], nil
		default:
			s.words = append(s.words, w)
		}
	}
	if len(s.words) > 0 {
		return nil, nil, s.words[0].fail("a ; is missing after %s", s.words[0].text)
	}
	return block, nil, nil
}

func (c *converter) bindFile(path string, from *word) ([]*stmt, error) {
	if c.files++; c.files > maxFiles {
		return nil, from.fail("more than %d files are included", maxFiles)
	}
	text, err := readFile(path)
	if err != nil {
		if from != nil {
			return nil, from.fail("%v", err)
		}
		return nil, err
	}
	words, err := bindWords(path, text)
	if err != nil {
		return nil, err
	}
	block, _, err := bindBlock(words, 0)
	if err != nil {
		return nil, err
	}
	return c.bindIncludes(block, filepath.Dir(path))
}

func (c *converter) bindIncludes(block []*stmt, dir string) ([]*stmt, error) {
	var out []*stmt
	for _, s := range block {
		if s.name() != "include" || len(s.words) != 2 {
			inner, err := c.bindIncludes(s.block, dir)
			if err != nil {
				return nil, err
			}
			s.block = inner
			out = append(out, s)
			continue
		}
		c.note(s, Taken, "")
		file := s.arg(1)
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		files, _ := filepath.Glob(file)
		if len(files) == 0 {
			return nil, s.words[1].fail("there is no file %s", file)
		}
		for _, f := range files {
			more, err := c.bindFile(f, &s.words[1])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

func (c *converter) bind(path string) error {
	top, err := c.bindFile(path, nil)
	if err != nil {
		return err
	}
	options := &stmt{}
	for _, s := range top {
		switch s.name() {
		case "options":
			options = s
		case "acl":
			c.acls[s.arg(1)] = s
			c.note(s, Taken, "")
		case "masters", "primaries", "remote-servers":
			c.lists[s.arg(1)] = s
			c.note(s, Taken, "")
		case "key":
			algorithm, secret := find(s.block, "algorithm"), find(s.block, "secret")
			if algorithm == nil || secret == nil {
				return s.words[0].fail("a key without algorithm or secret")
			}
			c.key(s, s.arg(1), algorithm.arg(1), secret.arg(1))
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if s := find(options.block, "directory"); s != nil {
		dir = s.arg(1)
	}
	c.bindOptions(options)
	for _, s := range top {
		switch s.name() {
		case "options", "acl", "masters", "primaries", "remote-servers", "key":
		case "zone":
			c.bindZone(s, options.block, dir)
		case "controls", "logging", "statistics-channels", "trust-anchors", "managed-keys", "trusted-keys":
			c.note(s, Changed, "port53 has its own: control, log, metrics and resolver.trust_anchors")
		case "view":
			c.note(s, NotTaken, "one set of zones is served to all; run a second server for the other clients")
		default:
			c.note(s, NotTaken, "port53 has nothing like it")
		}
	}
	return nil
}

func (c *converter) bindOptions(o *stmt) {
	c.out.recurse = true
	v4 := true
	for _, s := range o.block {
		switch s.name() {
		case "directory", "allow-transfer", "also-notify", "notify", "allow-update": // zones take them
			c.note(s, Taken, "")
		case "recursion":
			c.out.recurse = s.arg(1) != "no" && s.arg(1) != "false"
			c.note(s, Taken, "")
		case "listen-on", "listen-on-v6":
			port := ""
			if i := slices.IndexFunc(s.words, func(w word) bool { return w.text == "port" }); i > 0 {
				port = s.arg(i + 1)
			}
			v4 = v4 && s.name() != "listen-on"
			for _, e := range s.block {
				a := e.arg(0)
				switch {
				case a == "none":
				case a == "any" && s.name() == "listen-on":
					c.listen("0.0.0.0", port)
				case a == "any":
					c.listen("::", port)
				default:
					if _, err := netip.ParseAddr(a); err != nil {
						c.note(e, NotTaken, "only addresses can be listened on")
						continue
					}
					c.listen(a, port)
				}
			}
			c.note(s, Taken, "")
		case "allow-query", "allow-recursion", "blackhole":
			allow, deny, any := c.bindClients(s)
			switch {
			case s.name() == "blackhole":
				c.out.deny = append(c.out.deny, allow...)
			case any && s.name() == "allow-recursion":
				c.note(s, NotTaken, "strangers are not resolved for: loopback and this machine's networks are; list others in resolver.allow")
				continue
			case s.name() == "allow-recursion":
				c.out.resolve = append(c.out.resolve, allow...)
			case !any:
				c.out.allow = append(c.out.allow, allow...)
			}
			if s.name() == "allow-recursion" && len(deny) > 0 {
				c.note(s, NotTaken, "who may ask and not have names resolved cannot be told apart by exceptions")
				c.out.resolve = nil
				continue
			}
			c.out.deny = append(c.out.deny, deny...)
			c.note(s, Taken, "")
		case "forwarders":
			if to, _ := c.bindServers(s, 0); len(to) > 0 {
				c.out.forward = append(c.out.forward, route{".", to, bindFirst(o.block)})
				c.note(s, Taken, "")
			}
		case "forward":
			c.note(s, Taken, "")
		case "dnssec-validation":
			if s.arg(1) == "no" {
				c.note(s, Changed, "answers are validated; resolver.validation: false switches it off")
			} else {
				c.note(s, Taken, "")
			}
		case "response-policy", "dnssec-policy", "catalog-zones", "update-policy", "rrset-order", "sortlist", "dns64", "allow-query-cache":
			c.note(s, NotTaken, "port53 has nothing like it, or has it elsewhere")
		case "rate-limit":
			c.note(s, Changed, "port53 has its own limits: policy.rate_limit")
		default:
			c.other(s, bindOwn)
		}
	}
	if v4 {
		c.listen("0.0.0.0", "")
	}
}

// bindFirst tells whether what forwarders do not answer is iterated: BIND does that unless
// the block that names them says otherwise.
func bindFirst(block []*stmt) bool {
	f := find(block, "forward")
	return f == nil || f.arg(1) != "only"
}

func (c *converter) listen(addr, port string) {
	if port != "" && port != "53" {
		if strings.Contains(addr, ":") {
			addr = "[" + addr + "]"
		}
		addr += ":" + port
	}
	c.out.listen = append(c.out.listen, addr)
}

// bindClients reads a list of addresses without keys.
func (c *converter) bindClients(s *stmt) (allow, deny []string, any bool) {
	allow, deny, keys := c.bindACL(s, 0)
	for range keys {
		c.note(s, NotTaken, "clients are told by their addresses, not by keys")
	}
	return allow, deny, slices.Contains(allow, "0.0.0.0/0") && slices.Contains(allow, "::/0")
}

func (c *converter) bindACL(s *stmt, depth int) (allow, deny, keys []string) {
	for _, e := range s.block {
		words, not := e.words, false
		if len(words) > 0 && words[0].text == "!" {
			words, not = words[1:], true
		}
		var nets, no []string
		switch {
		case len(words) == 0 && depth < maxDepth:
			var k []string
			nets, no, k = c.bindACL(e, depth+1)
			keys = append(keys, k...)
		case len(words) == 0:
		case words[0].text == "key" && len(words) > 1:
			if not {
				c.note(e, NotTaken, "keys are not excluded: who has no grant has none")
				continue
			}
			keys = append(keys, words[1].text)
		case words[0].text == "any":
			nets = []string{"0.0.0.0/0", "::/0"}
		case words[0].text == "none":
		case words[0].text == "localhost":
			nets = []string{"127.0.0.0/8", "::1"}
		case c.acls[words[0].text] != nil && depth < maxDepth:
			var k []string
			nets, no, k = c.bindACL(c.acls[words[0].text], depth+1)
			keys = append(keys, k...)
		default:
			if !network(words[0].text) {
				c.note(e, NotTaken, "only networks, addresses and keys are known")
				continue
			}
			nets = []string{words[0].text}
		}
		if not {
			deny = append(deny, nets...)
		} else {
			allow, deny = append(allow, nets...), append(deny, no...)
		}
	}
	return allow, deny, keys
}

func network(s string) bool {
	_, err := netip.ParsePrefix(s)
	_, err2 := netip.ParseAddr(s)
	return err == nil || err2 == nil
}

// bindServers reads a list of servers, and the keys that they are asked with.
func (c *converter) bindServers(s *stmt, depth int) (to, keys []string) {
	port := ""
	if i := slices.IndexFunc(s.words, func(w word) bool { return w.text == "port" }); i > 0 {
		port = s.arg(i + 1)
	}
	for _, e := range s.block {
		if l := c.lists[e.arg(0)]; l != nil && depth < maxDepth {
			t, k := c.bindServers(l, depth+1)
			to, keys = append(to, t...), append(keys, k...)
		} else if a, err := netip.ParseAddr(e.arg(0)); err == nil {
			p := port
			for i := 1; i+1 < len(e.words); i += 2 {
				switch e.arg(i) {
				case "port":
					p = e.arg(i + 1)
				case "key":
					keys = append(keys, e.arg(i+1))
					continue
				case "tls":
					c.note(e, NotTaken, "transfers do not use TLS yet: the server is left out")
					a = netip.Addr{}
				}
			}
			if a.IsValid() {
				to = append(to, server(a, p))
			}
		} else {
			c.note(e, NotTaken, "only addresses and known lists are servers")
		}
	}
	return to, keys
}

func server(a netip.Addr, port string) string {
	switch {
	case port == "" || port == "53":
		return a.String()
	case a.Is6():
		return "[" + a.String() + "]:" + port
	}
	return a.String() + ":" + port
}

// bindZone …
// In one piece: it is a table of statements and what becomes of each.
func (c *converter) bindZone(s *stmt, options []*stmt, dir string) {
	z := &zone{name: domain(s.arg(1))}
	inherited := func(name ...string) *stmt {
		if own := find(s.block, name...); own != nil {
			return own
		}
		return find(options, name...)
	}
	if f := find(s.block, "file"); f != nil {
		if z.file = f.arg(1); !filepath.IsAbs(z.file) {
			z.file = filepath.Join(dir, z.file)
		}
	}
	kind := ""
	if k := find(s.block, "type"); k != nil {
		kind = k.arg(1)
	}
	from := find(s.block, "masters", "primaries")
	switch kind {
	case "primary", "master":
		if z.file == "" {
			c.note(s, NotTaken, "the zone has no file")
			return
		}
	case "secondary", "slave", "mirror":
		var keys []string
		if from != nil {
			z.primaries, keys = c.bindServers(from, 0)
		}
		for _, k := range keys {
			if !c.sign(from, z, k) {
				c.note(s, NotTaken, "it would be fetched without the key that it was fetched with")
				return
			}
		}
		if len(z.primaries) == 0 {
			c.note(s, NotTaken, "the zone has no primaries")
			return
		}
	case "hint":
		c.note(s, Changed, "the root's servers are built in: resolver.root_hints names others")
		return
	case "forward", "stub", "static-stub":
		list := from
		if kind != "stub" {
			list = find(s.block, "forwarders", "server-addresses")
		}
		var to []string
		if list != nil {
			to, _ = c.bindServers(list, 0)
		}
		switch {
		case len(to) == 0 || !c.out.recurse:
			c.note(s, NotTaken, "names of the zone are asked of nobody")
		case kind == "forward":
			c.out.forward = append(c.out.forward, route{z.name, to, bindFirst(s.block)})
			c.note(s, Taken, "")
		default:
			c.out.stub = append(c.out.stub, route{zone: z.name, to: to})
			c.note(s, Taken, "")
		}
		return
	default:
		c.note(s, NotTaken, "port53 has no zones of type "+kind)
		return
	}
	if q := find(s.block, "allow-query"); q != nil {
		if _, _, any := c.bindClients(q); !any {
			c.note(s, NotTaken, "only some may ask for names in the zone, and who may ask is one list for all zones: policy.allow")
			return
		}
	}
	if t := inherited("allow-transfer"); t != nil {
		c.transferTo(t, z)
	}
	if n := inherited("also-notify"); n != nil {
		z.notify, _ = c.bindServers(n, 0)
	}
	for _, e := range s.block {
		switch e.name() {
		case "allow-transfer": // said above
		case "type", "file", "masters", "primaries", "also-notify":
			c.note(e, Taken, "")
		case "allow-update":
			_, _, keys := c.bindACL(e, 0)
			if nets, _, _ := c.bindACL(e, 0); len(nets) > 0 {
				c.note(e, NotTaken, "nobody changes a zone by an address alone: give the client a key")
			}
			for _, k := range keys {
				c.grant(e, z, grant{k, []string{"*"}, nil})
			}
		case "update-policy":
			if find(e.block, "deny") != nil {
				c.note(e, NotTaken, "denials are not known, and without them the grants would allow more")
				continue
			}
			for _, g := range e.block {
				c.bindGrant(g, z)
			}
		case "notify", "check-names", "allow-query":
			c.note(e, Changed, "listed servers are told of changes, and names are not checked")
		default:
			c.note(e, NotTaken, "port53 has nothing like it for a zone")
		}
	}
	c.out.zones = append(c.out.zones, z)
	c.note(s, Taken, "")
}

// transferTo reads who may have the zone. With keys, whoever has the key may have it
// from anywhere; who had no key does no more.
func (c *converter) transferTo(s *stmt, z *zone) {
	allow, deny, keys := c.bindACL(s, 0)
	if len(deny) > 0 {
		c.note(s, NotTaken, "exceptions are not known: nobody may have zone "+z.name)
		return
	}
	if len(keys) == 0 {
		if z.tsig != "" && len(allow) > 0 {
			c.note(s, Changed, "they have to sign with "+z.tsig+" now, which the zone is fetched with")
		}
		z.allowTransfer = allow
		c.note(s, Taken, "")
		return
	}
	if len(allow) > 0 {
		c.note(s, NotTaken, "those without a key may not have zone "+z.name)
	}
	for _, k := range keys {
		if c.sign(s, z, k) {
			z.allowTransfer = []string{"0.0.0.0/0", "::/0"}
			c.note(s, Taken, "")
		}
	}
}

func (c *converter) grant(s *stmt, z *zone, g grant) {
	if g.key = domain(g.key); !c.keys[g.key] || len(z.primaries) > 0 {
		c.note(s, NotTaken, "there is no key "+g.key+" that could be taken, or the zone is a secondary")
		return
	}
	z.updates = append(z.updates, g)
	c.note(s, Taken, "")
}

// bindGrant reads grant KEY RULE [NAME] TYPES.
func (c *converter) bindGrant(s *stmt, z *zone) {
	const least = 3
	if s.name() != "grant" || len(s.words) < least {
		c.note(s, NotTaken, "only grants are known")
		return
	}
	name, types := domain(s.arg(3)), s.words[least:]
	var names []string
	switch s.arg(2) {
	case "zonesub":
		names = []string{"*"}
	case "name":
		names, types = []string{name}, s.words[min(least+1, len(s.words)):]
	case "subdomain":
		names, types = []string{name, "*." + name}, s.words[min(least+1, len(s.words)):]
	default:
		c.note(s, NotTaken, "of the rules, name, subdomain and zonesub are known")
		return
	}
	g := grant{s.arg(1), names, nil}
	for _, t := range types {
		if strings.EqualFold(t.text, "any") {
			g.types = nil
			break
		}
		g.types = append(g.types, strings.ToUpper(t.text))
	}
	c.grant(s, z, g)
}
