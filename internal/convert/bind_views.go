package convert

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// together reports whether the views have to become views of the configuration: several do, and one
// does whose clients are not told by their addresses alone.
func (b *bind) together() bool {
	if b.converter.options.View != "" || len(b.views) != 1 {
		return len(b.views) > 1
	}
	v := b.views[0]
	clients := find(v.block, "match-clients")
	return find(v.block, "match-destinations", "match-recursive-only") != nil || clients != nil && len(b.signers(clients, 0)) > 0
}

// readViews reads the options, which all views share, and then each view as a server of its own.
func (b *bind) readViews(beside []*stmt) error {
	for _, s := range beside {
		b.note(s, Unsupported, "it is in no view")
	}
	b.readOptions()
	b.out.forward, b.out.clientsFrom = nil, nil // said by each view again
	read := map[string]*view{}
	for _, s := range b.views {
		v, err := b.readView(s, read)
		if err != nil {
			return err
		}
		b.read = append(b.read, v)
		read[s.arg(1)] = v
	}
	return nil
}

// readView reads a view.
func (b *bind) readView(s *stmt, read map[string]*view) (*view, error) {
	one := *b
	one.view, one.seen = s, read
	one.options = append(slices.Clone(b.options), s.block...)
	one.serverKeys = maps.Clone(b.serverKeys)
	one.query, one.cache, one.recursion = nil, nil, nil
	v := &view{from: s, name: s.arg(1), byName: map[string]*zone{}}
	v.out.recurse, v.out.deny = one.recurses(), b.out.deny
	zones, err := one.inView(s)
	if err != nil {
		return nil, err
	}
	// A key of the view that another one has the name of is not that one.
	whole := b.keys
	b.keys = maps.Clone(whole)
	for _, k := range one.shadowed {
		delete(b.keys, k)
	}
	defer func() { b.keys = whole }()
	public := one.waysInto(v)
	b.within(v, func() {
		one.readOptions()
		one.settleACLs()
		if b.out.recursion != nil {
			b.out.recursion = append(netset{}, b.out.recursion.minus(public)...) // not nil: nobody
		}
		for _, z := range zones {
			one.zone(z)
		}
	})
	return v, nil
}

// inView reads what stands in a view beside its options, and returns its zones.
func (b *bind) inView(s *stmt) (zones []*stmt, err error) {
	for _, e := range s.block {
		switch e.name() {
		case "zone":
			zones = append(zones, e)
		case "key", "server", "trust-anchors", "managed-keys", "trusted-keys":
			before := len(b.out.keys)
			if err := b.statement(e); err != nil {
				return nil, err
			}
			if name := domain(e.arg(1)); e.name() == "key" && len(b.out.keys) == before && !b.sameKey(e, b.keys[name]) {
				b.shadowed = append(b.shadowed, name)
			}
		}
	}
	return zones, nil
}

// sameKey reports whether a statement makes a key that is there.
func (b *bind) sameKey(s *stmt, k *key) bool {
	secret, algorithm := find(s.block, "secret"), find(s.block, "algorithm")
	return k != nil && secret.arg(1) == k.secret && strings.EqualFold(strings.TrimSuffix(algorithm.arg(1), "."), k.algorithm)
}

// recurses reports whether names are resolved.
func (b *bind) recurses() bool {
	r := find(b.options, "recursion")
	return r == nil || yes(r.arg(1))
}

// forAll are the options of BIND's views, beside most of bindSettings, that are said of the whole server here.
const forAll = " rate-limit query-source query-source-v6 send-cookie listen-on listen-on-v6 blackhole "

// skips reports whether an option of a view is none here, and says so, or is inherited from those of
// the server as it is.
func (b *bind) skips(s *stmt) bool {
	_, setting := bindSettings()[s.name()]
	server := strings.Contains(forAll, " "+s.name()+" ") || setting && s.name() != "dnssec-validation"
	switch own := b.view != nil && slices.Contains(b.view.block, s); {
	case b.view == nil:
		return false
	case server && own:
		b.note(s, Unsupported, "it is said of the whole server here, not of a view")
		return true
	case server:
		return true
	}
	return b.view != nil && !slices.Contains(b.view.block, s) &&
		slices.Contains([]string{"dnssec-validation", "validate-except", "rrset-order"}, s.name())
}

// waysInto works out who is in a view. It returns the public networks among its clients that stand for
// localnets: names are not resolved for those.
func (b *bind) waysInto(v *view) (public netset) {
	block := v.from.block
	listen, seen := b.destinations(find(block, "match-destinations"))
	switch r := find(block, "match-recursive-only"); {
	case r == nil:
	case !yes(r.arg(1)):
		b.note(r, Converted, "")
	default:
		b.note(r, Changed, "all questions of its clients are the view's, not those alone that ask for recursion")
	}
	clients := find(block, "match-clients")
	if clients == nil {
		clients = v.from.with("match-clients")
		clients.block = []*stmt{v.from.with("any")}
	} else {
		b.note(clients, Converted, "")
	}
	base, unsure := b.clientsOf(clients, "", 0)
	main := way{clients: anywhere(base), listen: listen}
	var others []way
	v.clients, v.unsure = base, unsure
	for _, k := range b.signers(clients, 0) {
		if b.keys[k] == nil {
			b.note(clients, Unsupported, "there is no key "+k+" that could be taken")
			continue
		}
		with, not := b.clientsOf(clients, k, 0)
		v.clients, v.unsure = v.clients.union(with), v.unsure.union(not)
		if with.equal(base) {
			continue
		}
		if !base.within(with) {
			main.exceptedKeys = append(main.exceptedKeys, k)
		}
		i := slices.IndexFunc(others, func(w way) bool { return slices.Equal(anywhere(with), w.clients) })
		switch {
		case len(with) == 0:
		case len(base) > 0 && anywhere(with) == nil:
			main.clientKeys = append(main.clientKeys, k)
		case i >= 0:
			others[i].keys = append(others[i].keys, k)
		default:
			others = append(others, way{clients: anywhere(with), keys: []string{k}, listen: listen})
		}
	}
	if len(base) > 0 {
		v.ways = append(v.ways, main)
	}
	if v.ways = append(v.ways, others...); !seen {
		v.ways = nil
	}
	if len(v.ways) == 0 {
		b.note(v.from, Changed, "no client is in it")
		v.clients = nil
	}
	return b.publicOf(clients, 0)
}

// anywhere returns nil for all addresses.
func anywhere(nets netset) netset {
	if nets.equal(allAddresses()) {
		return nil
	}
	return nets
}

// signers returns the names of the keys that a list knows.
func (b *bind) signers(s *stmt, depth int) (keys []string) {
	for _, e := range s.block {
		el := e.words
		if len(el) > 0 && el[0].text == "!" {
			el = el[1:]
		}
		var more []string
		switch {
		case depth == maxDepth:
		case len(el) == 0:
			more = b.signers(e, depth+1)
		case el[0].text == "key" && len(el) > 1:
			more = []string{domain(el[1].text)}
		case b.acls[el[0].text] != nil:
			more = b.signers(b.acls[el[0].text], depth+1)
		}
		for _, k := range more {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// clientsOf works out a list for those who sign with a key, or with none that the list knows: from where
// they match, and from where it is not known whether they do.
func (b *bind) clientsOf(s *stmt, key string, depth int) (match, unsure netset) {
	left := allAddresses()
	for _, e := range s.block {
		el, not := e.words, false
		if len(el) > 0 && el[0].text == "!" {
			el, not = el[1:], true
		}
		var nets, maybe netset
		switch known := true; {
		case depth == maxDepth:
			maybe = allAddresses()
		case len(el) == 0:
			nets, maybe = b.clientsOf(e, key, depth+1)
		case el[0].text == "key" && len(el) > 1:
			if domain(el[1].text) == key {
				nets = allAddresses()
			}
		case el[0].text == "localnets":
			nets, _ = b.element(e, "localnets")
			nets = nets.union(b.publicOf(&stmt{block: []*stmt{e}}, 0))
		case b.acls[el[0].text] != nil:
			nets, maybe = b.clientsOf(b.acls[el[0].text], key, depth+1)
		default:
			if nets, known = b.element(e, el[0].text); !known {
				b.note(
					e,
					Unsupported,
					"only networks, addresses, ACLs and keys are known: whoever it may be for gets nothing from the views behind this one",
				)
				maybe = allAddresses()
			}
		}
		if !not {
			match = match.union(left.and(nets))
		}
		unsure = unsure.union(left.and(maybe))
		left = left.minus(nets).minus(maybe)
	}
	return match, unsure
}

// publicOf returns the public networks of this machine, without its addresses, if a list has localnets.
func (b *bind) publicOf(s *stmt, depth int) netset {
	for _, e := range s.block {
		for _, w := range e.words {
			if w.text == "localnets" || b.acls[w.text] != nil && depth < maxDepth && len(b.publicOf(b.acls[w.text], depth+1)) > 0 {
				addrs, _, public := b.ownAddresses()
				return public.minus(addrs)
			}
		}
		if len(e.block) > 0 && depth < maxDepth {
			if p := b.publicOf(e, depth+1); len(p) > 0 {
				return p
			}
		}
	}
	return nil
}

// destinations returns the addresses at which a view is seen; none: at all. ok is false if it is at none.
func (b *bind) destinations(s *stmt) (listen []string, ok bool) {
	if s == nil {
		return nil, true
	}
	b.note(s, Converted, "")
	for _, k := range b.signers(s, 0) {
		b.note(s, Unsupported, "who asks is said by match-clients: key "+k)
	}
	nets, unsure := b.clientsOf(s, "", 0)
	if nets.equal(allAddresses()) {
		return nil, true
	}
	plain := len(unsure) == 0
	var here []netip.Addr
	for _, p := range nets.prefixes() {
		if here = append(here, p.Addr()); !p.IsSingleIP() {
			here, plain = here[:len(here)-1], false
		}
	}
	here = append(here, append(b.ownAddrs(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())...)
	at := func(a netip.Addr) bool {
		return slices.ContainsFunc(b.out.listen, func(text string) bool {
			l := listenAddr(text)
			return l == a || l.IsUnspecified() && l.Is6() == a.Is6()
		})
	}
	for _, l := range b.out.listen {
		here = append(here, listenAddr(l))
	}
	for _, a := range here {
		if text := a.String(); nets.contains(a) && at(a) && !slices.Contains(listen, text) {
			listen = append(listen, text)
		}
	}
	if !plain {
		b.note(s, Changed, "these are the addresses of this machine that match now")
	}
	return listen, len(listen) > 0
}

// listenAddr returns the address of an entry of listen.
func listenAddr(text string) netip.Addr {
	if a, err := netip.ParseAddr(text); err == nil {
		return a
	}
	a, _ := netip.ParseAddrPort(text)
	return a.Addr()
}

// sharedZone takes a zone that another view has.
func (b *bind) sharedZone(s, of *stmt) {
	for _, e := range s.block {
		if e != of {
			b.note(e, Unsupported, "the zone is the other view's as it is")
		}
	}
	name, v := domain(s.arg(1)), b.seen[of.arg(1)]
	if v != nil && v.byName[name] != nil {
		z := v.byName[name]
		if z.origin == nil {
			z.origin, z.whole = z, z.query
			if z.whole == nil {
				z.whole = v.out.query
			}
			if z.whole == nil {
				z.whole = allAddresses()
			}
		}
		again := *z
		again.query = z.whole
		b.note(of, Converted, "")
		b.addZone(s, &again)
		return
	}
	b.note(s, Unsupported, "view "+of.arg(1)+" has no such zone that could be taken, or stands behind this one")
}
