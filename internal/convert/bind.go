package convert

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// A bind is a named.conf as it is read.
type bind struct {
	*converter
	acls, lists map[string]*stmt
	policies    map[string]*stmt      // of signing
	serverKeys  map[netip.Addr]string // that messages to a server are signed with
	options     []*stmt               // and the view's, which count for more
	dir         string
	rndc        map[string]bool // keys of the control channel

	query, cache, recursion *bindACL // as written

	views    []*stmt          // to be taken
	view     *stmt            // that is read
	seen     map[string]*view // those before it
	shadowed []string         // keys for all whose names are those of others in the view
}

func readBIND(c *converter, path string) error {
	top, err := c.bindFile(path, nil)
	if err != nil {
		return err
	}
	c.vetBIND(top, bindKinds())
	b := &bind{
		converter:  c,
		acls:       map[string]*stmt{},
		lists:      map[string]*stmt{},
		policies:   map[string]*stmt{},
		serverKeys: map[netip.Addr]string{},
		rndc:       map[string]bool{},
	}
	zones, err := b.top(top)
	if err != nil {
		return err
	}
	if b.dir, err = os.Getwd(); err != nil {
		return err
	}
	if s := find(b.options, "directory"); s != nil && filepath.IsAbs(s.arg(1)) {
		b.dir = s.arg(1)
	} else if s != nil {
		b.dir = filepath.Join(filepath.Dir(path), s.arg(1))
	}
	if b.together() {
		return b.readViews(zones)
	}
	for _, v := range b.views {
		b.note(v, Converted, "")
		inner, err := b.inView(v)
		if err != nil {
			return err
		}
		b.options = append(b.options, v.block...)
		zones = append(zones, inner...)
	}
	b.out.recurse = b.recurses()
	b.readOptions()
	b.settleACLs()
	for _, s := range zones {
		b.zone(s)
	}
	return nil
}

// top reads what stands outside of blocks, and returns the zones.
func (b *bind) top(top []*stmt) ([]*stmt, error) {
	var zones []*stmt
	for _, s := range top {
		switch class := s.arg(2); s.name() {
		case "options":
			b.options = append(s.block, b.options...)
		case "zone":
			zones = append(zones, s)
		case "view":
			switch one := b.converter.options.View; {
			case class != "" && !strings.EqualFold(class, "in"):
				b.note(s, Unsupported, "only class IN is served")
			case one != "" && one != s.arg(1):
				b.note(s, Unsupported, "another view was asked for")
			default:
				b.views = append(b.views, s)
			}
		default:
			if err := b.statement(s); err != nil {
				return nil, err
			}
		}
	}
	return zones, nil
}

// statement reads one that others refer to, or that has no part in the result.
func (b *bind) statement(s *stmt) error {
	switch s.name() {
	case "acl":
		b.acls[s.arg(1)] = s
		b.note(s, Converted, "")
	case "masters", "primaries", "remote-servers", "parental-agents":
		b.lists[s.arg(1)] = s
		b.note(s, Converted, "")
	case "key":
		algorithm, secret := find(s.block, "algorithm"), find(s.block, "secret")
		if algorithm == nil || secret == nil {
			return s.words[0].fail("a key without algorithm or secret")
		}
		if k := b.keys[domain(s.arg(1))]; k != nil && b.sameKey(s, k) {
			b.note(s, Converted, "")
			return nil
		}
		b.key(s, s.arg(1), algorithm.arg(1), secret.arg(1))
	case "server":
		b.server(s)
	case "controls", "logging", "statistics-channels":
		b.note(s, Changed, "port53 has its own: control, log and metrics")
	case "trust-anchors", "managed-keys", "trusted-keys":
		b.note(s, Changed, "the root's keys are built in, and followed; of other zones, write them to a file for resolver.trust_anchors")
	case "tls", "http":
		b.note(s, Planned, "only UDP and TCP are served yet")
	case "dnssec-policy":
		if b.policies[s.arg(1)] = s; len(s.block) > 0 {
			b.note(s, Changed, "what of it counts here is in dnssec_policies, for the zones that are signed by it")
		}
	case "key-store":
		b.note(s, Unsupported, "keys are files here")
	default:
		b.note(s, Unsupported, "port53 has nothing like it")
	}
	return nil
}

// bears takes whether servers bear something: where they do, nothing needs to be written.
func (b *bind) bears(s *stmt, server, what string) {
	if yes(s.arg(1)) {
		b.note(s, Converted, "")
		return
	}
	b.exceptServer(s, server, what)
}

// server reads what is said of another server.
func (b *bind) server(s *stmt) {
	addr, err := netip.ParseAddr(s.arg(1))
	for _, e := range s.block {
		switch {
		case e.name() == "keys" && err == nil:
			name := e.arg(1)
			if len(e.block) > 0 {
				name = e.block[0].arg(0)
			}
			b.serverKeys[addr] = name
			b.note(e, Converted, "")
		case b.view != nil && (e.name() == "bogus" && yes(e.arg(1)) || (e.name() == "send-cookie" || e.name() == "edns") && !yes(e.arg(1))):
			b.note(e, Unsupported, "it is said of the whole server here, not of a view")
		case e.name() == "bogus" && yes(e.arg(1)):
			if nets, ok := parseNet(s.arg(1)); ok {
				b.doNotQuery(nets)
				b.note(e, Converted, "")
			}
		case e.name() == "send-cookie":
			b.bears(e, s.arg(1), "cookies")
		case e.name() == "edns":
			b.bears(e, s.arg(1), "edns")
		default:
			b.note(e, Changed, "port53 finds out itself what a server can do")
		}
	}
	b.note(s, Converted, "")
}

// doNotQuery has networks never asked, beside the machine itself.
func (b *bind) doNotQuery(nets netset) {
	b.out.add("resolver.do_not_query", "127.0.0.0/8", "::1")
	b.out.add("resolver.do_not_query", nets.text()...)
}

// settleACLs works out who may ask, and who may use recursion, where BIND takes the one from
// the other.
func (b *bind) settleACLs() {
	if b.query != nil {
		b.out.query = b.query.nets
		if b.out.query == nil {
			b.out.query = netset{}
		}
	}
	if !b.out.recurse {
		return
	}
	recursion, cache := b.recursion, b.cache
	for _, other := range []*bindACL{cache, b.query} {
		if recursion == nil {
			recursion = other
		}
	}
	if cache == nil {
		cache = recursion
	}
	switch {
	case recursion == nil || recursion.own && cache.own:
		return // this machine's own networks
	case recursion.own:
		b.out.recursion = cache.nets.and(recursion.nets)
	default:
		b.out.recursion = recursion.nets.and(cache.nets)
	}
	if b.out.recursion == nil {
		b.out.recursion = netset{}
	}
}

// forwarders reads whom names of a zone are asked of. Without servers the zone is an
// exception.
func (b *bind) forwarders(block []*stmt, zone string, from *stmt) {
	f := find(block, "forwarders")
	if f == nil || len(f.block) == 0 && zone == "." {
		return
	}
	to, _ := b.servers(f, 0)
	if len(f.block) > 0 && len(to) == 0 {
		b.note(f, Unsupported, "none of the forwarders could be taken: names are resolved by iteration")
		return
	}
	// BIND asks others when forwarders do not answer, unless the block that names them says
	// otherwise.
	policy := find(block, "forward")
	b.addRoute(&b.out.forward, route{from: from, zone: zone, to: to, first: len(to) > 0 && (policy == nil || policy.arg(1) != "only")})
	b.note(f, Converted, "")
}

// listenOn reads the addresses to listen on. Those that are no plain ones are worked out from
// what this machine has.
func (b *bind) listenOn(s *stmt) {
	port := s.option("port")
	if s.option("tls") != "" || s.option("http") != "" {
		b.note(s, Planned, "only UDP and TCP are served yet")
		return
	}
	v6 := strings.HasSuffix(s.name(), "v6")
	b.note(s, Converted, "")
	plain := true
	for _, e := range s.block {
		_, err := netip.ParseAddr(e.arg(0))
		plain = plain && (err == nil || e.arg(0) == "any" || e.arg(0) == "none")
	}
	if plain {
		for _, e := range s.block {
			switch a := e.arg(0); {
			case a == "none":
			case a == "any" && v6:
				b.listen("::", port)
			case a == "any":
				b.listen("0.0.0.0", port)
			default:
				b.listen(a, port)
			}
		}
		return
	}
	nets := b.match(s, 0).nets
	for _, a := range append(b.ownAddrs(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()) {
		if nets.contains(a) && a.Is6() == v6 && !a.IsLinkLocalUnicast() {
			b.listen(a.String(), port)
		}
	}
	b.note(s, Changed, "these are the addresses of this machine that match now")
}
