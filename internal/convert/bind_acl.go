package convert

import (
	"net/netip"
	"slices"
	"strings"
)

// A bindACL is an address match list, worked out: BIND takes the first element that matches.
type bindACL struct {
	nets netset            // who is allowed by the address alone
	keys map[string]netset // who is allowed if a key has signed
	own  bool              // it is localhost and localnets, which are this machine's own
}

// bindMatch works out a list. An element that is not known decides for all addresses if it is
// an exception, so that nobody is allowed who was not.
func (b *bind) match(s *stmt, depth int) bindACL {
	acl := bindACL{keys: map[string]netset{}}
	var rules []aclRule
	words := map[string]bool{}
	for _, e := range s.block {
		el, not := e.words, false
		if len(el) > 0 && el[0].text == "!" {
			el, not = el[1:], true
		}
		nets, known := netset(nil), true
		switch {
		case len(el) == 0 && depth < maxDepth:
			nets = b.inner(e, not, depth, &acl, rules)
		case len(el) == 0:
			known = false
		case el[0].text == "key" && len(el) > 1:
			if not {
				b.note(e, Changed, "a client that does not sign is not told from others: who has no grant has none")
				continue
			}
			name := domain(el[1].text)
			acl.keys[name] = acl.keys[name].union(b.left(rules))
			continue
		case b.acls[el[0].text] != nil && depth < maxDepth:
			nets = b.inner(b.acls[el[0].text], not, depth, &acl, rules)
		default:
			if !not {
				words[el[0].text] = true
			}
			nets, known = b.element(e, el[0].text)
		}
		if !known {
			b.note(e, Unsupported, "only networks, addresses, ACLs and keys are known")
			if !not {
				continue
			}
			nets = allAddresses()
		}
		rules = append(rules, aclRule{nets: nets, deny: not})
	}
	acl.nets = firstMatch(rules)
	acl.own = depth == 0 && words["localnets"] && len(acl.keys) == 0 && len(rules) == len(words) &&
		!slices.ContainsFunc(rules, func(r aclRule) bool { return r.deny }) && (len(words) == 1 || len(words) == 2 && words["localhost"])
	return acl
}

// inner works out a list within a list: what it denies is no match of the outer one. Keys in
// it count for those addresses that nothing before has decided for.
func (b *bind) inner(s *stmt, not bool, depth int, acl *bindACL, rules []aclRule) netset {
	in := b.match(s, depth+1)
	if !not {
		for name, nets := range in.keys {
			acl.keys[name] = acl.keys[name].union(nets.and(b.left(rules)))
		}
	}
	return in.nets
}

// left returns the addresses that no rule decides for.
func (b *bind) left(rules []aclRule) netset {
	rest := allAddresses()
	for _, r := range rules {
		rest = rest.minus(r.nets)
	}
	return rest
}

func (b *bind) element(e *stmt, text string) (netset, bool) {
	switch text {
	case "any":
		return allAddresses(), true
	case "none":
		return nil, true
	case "localhost":
		addrs, _, _ := b.ownAddresses()
		return setOf(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")).union(addrs), true
	case "localnets":
		addrs, nets, public := b.ownAddresses()
		why := "the private networks of this machine as they are now"
		if left := public.minus(addrs); len(left) > 0 {
			why += "; the public ones are served only if they are listed: " + strings.Join(public.text(), ", ")
		}
		b.note(e, Changed, why)
		return nets.union(addrs).union(setOf(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))), true
	}
	return parseNet(text)
}

// clients works out a list of clients, who are told by their addresses here.
func (b *bind) clients(s *stmt) bindACL {
	acl := b.match(s, 0)
	for name := range acl.keys {
		b.note(s, Unsupported, "clients are told by their addresses, not by keys: "+name)
	}
	return acl
}

// servers reads a list of servers, and the keys that they are asked with.
func (b *bind) servers(s *stmt, depth int) (to, keys []string) {
	port := s.option("port")
	for _, e := range s.block {
		if l := b.lists[e.arg(0)]; l != nil && depth < maxDepth {
			t, k := b.servers(l, depth+1)
			if name := e.option("key"); name != "" {
				k = []string{name}
			}
			to, keys = append(to, t...), append(keys, k...)
			continue
		}
		a, err := netip.ParseAddr(e.arg(0))
		if err != nil {
			b.note(e, Unsupported, "only addresses and known lists are servers")
			continue
		}
		if tls := e.option("tls"); tls != "" && tls != "none" || s.option("tls") != "" {
			b.note(e, Planned, "servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME: it is left out")
			continue
		}
		p := port
		if own := e.option("port"); own != "" {
			p = own
		}
		if name := e.option("key"); name != "" {
			keys = append(keys, name)
		} else if name := b.serverKeys[a]; name != "" {
			keys = append(keys, name)
		}
		to = append(to, server(a, p))
	}
	return to, keys
}

// transferTo reads who may have the zone. With keys, whoever has one may have it from where
// the list lets it; who had none does no more.
func (b *bind) transferTo(s *stmt, z *zone) {
	acl := b.match(s, 0)
	b.note(s, Converted, "")
	z.alone = acl.nets
	var names []string
	for name := range acl.keys {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		everywhere := !slices.ContainsFunc(acl.keys[name].union(acl.nets).prefixes(), func(p netip.Prefix) bool { return p.Bits() > 0 })
		switch name = domain(name); {
		case b.keys[name] == nil:
			b.note(s, Unsupported, "there is no key "+name+" that could be taken")
		case everywhere:
			z.transferKeys = append(z.transferKeys, name)
		case b.sign(s, z, name):
			z.transfer = z.transfer.union(acl.keys[name])
		}
	}
}
