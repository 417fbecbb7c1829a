package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"port53/internal/wire"
)

// resolverSection is the path of the resolver's keys.
const resolverSection = "resolver"

// The largest networks that one owner has on the public Internet. Whoever lists a
// larger one has strangers in it.
const (
	widestIPv4 = 8
	widestIPv6 = 19
)

// strangers reports whether a network is so large that others than its owner are in it. Of
// those that are nobody's on the public Internet all may be listed, and of those that
// providers share among customers (RFC 6598).
func strangers(n netip.Prefix) bool {
	shared := netip.MustParsePrefix("100.64.0.0/10")
	if within(append(append(PrivateNetworks(), loopback()...), shared), n) {
		return false
	}
	if n.Addr().Is4() {
		return n.Bits() < widestIPv4
	}
	return n.Bits() < widestIPv6
}

// checkResolver reports what of the resolver's part does not go together, or is
// not safe.
func (d *decoder) checkResolver() {
	if !d.config.Recurses() {
		if at, set := d.at(resolverSection); set {
			d.fail(
				at,
				"resolver: an authoritative server resolves nothing for others",
				"remove the section, or choose role: internal-resolver",
			)
		}
		return
	}
	d.checkClients()
	if at, set := d.at("resolver.shared_clients"); set && len(d.config.Resolver.SharedClients) > 0 && !d.config.Internal() {
		d.fail(
			at,
			"resolver.shared_clients: "+d.config.Role+" answers strangers, whose addresses may be forged"+d.seen("role", at),
			"remove it, or raise resolver.limits.per_client for everyone",
		)
	}
	d.checkInfoURL()
	d.checkFamilies()
	d.checkRoutes()
	d.checkForward()
	d.checkExceptions()
	d.checkNegativeAnchors()
	d.checkDNS64("resolver.dns64", "", &d.config.Resolver.DNS64, 0)
}

// checkClients reports how strangers could have names resolved without limits, and
// clients that can never ask.
func (d *decoder) checkClients() {
	c := d.config
	if c.Internal() {
		for i, n := range c.Resolver.Allow {
			if strangers(n) {
				d.fail(
					d.item("resolver.allow", 0, i),
					fmt.Sprintf(
						"resolver.allow[%d]: %s covers a large public network: an open resolver is used to attack others "+
							"with forged addresses",
						i,
						n,
					),
					fmt.Sprintf(
						"list your own networks, of the public ones at most a /%d, or of IPv6 a /%d; or choose role: "+
							"public-resolver, which limits rates",
						widestIPv4,
						widestIPv6,
					),
				)
			}
		}
	} else {
		d.checkRatesOfPublic()
	}
	if len(c.Policy.Allow) == 0 || len(c.Policy.AllowInterfaces) > 0 {
		return
	}
	for i, n := range c.Resolver.Allow {
		found := false
		for _, allowed := range c.Policy.Allow {
			found = found || allowed.Overlaps(n)
		}
		if !found {
			at := d.item("resolver.allow", 0, i)
			d.fail(
				at,
				fmt.Sprintf(
					"resolver.allow[%d]: no address of %s may query at all: policy.allow has none of them%s",
					i,
					n,
					d.seen("policy.allow", at),
				),
				"add it to policy.allow, or remove it here",
			)
		}
	}
}

// checkRatesOfPublic reports the ways of switching rate limiting off where everyone
// has names resolved.
func (d *decoder) checkRatesOfPublic() {
	const remedy = "raise per_second and burst where clients are refused; or choose role: internal-resolver, and list " +
		"your networks in resolver.allow"
	r := d.config.Policy.RateLimit
	role := "role: " + RolePublicResolver + " answers everyone, and has to be limited" + d.seen("role", position{})
	if !r.Enabled {
		at, _ := d.at("policy.rate_limit.enabled")
		d.fail(at, "policy.rate_limit.enabled is false, but "+role, "remove it, and "+remedy)
	}
	if r.LogOnly {
		at, _ := d.at("policy.rate_limit.log_only")
		d.fail(at, "policy.rate_limit.log_only is true, but "+role, "remove it, and "+remedy)
	}
	for i, n := range r.Exempt {
		if strangers(n) {
			d.fail(
				d.item("policy.rate_limit.exempt", 0, i),
				fmt.Sprintf("policy.rate_limit.exempt[%d]: %s has strangers in it, but %s", i, n, role),
				fmt.Sprintf("list your own networks, of the public ones at most a /%d, or of IPv6 a /%d", widestIPv4, widestIPv6),
			)
		}
	}
}

// checkFamilies reports addresses of a family that is not used.
func (d *decoder) checkFamilies() {
	r := d.config.Resolver
	if !r.IPv4 && !r.IPv6 {
		d.contradiction(
			"resolver.ipv4",
			"resolver.ipv6",
			"resolver.ipv4 and resolver.ipv6 are both false: no server could be asked",
			"remove one of them",
		)
		return
	}
	off := func(a netip.Addr) string {
		switch {
		case a.Is4() && !r.IPv4:
			return "resolver.ipv4"
		case a.Is6() && !r.IPv6:
			return "resolver.ipv6"
		}
		return ""
	}
	seen := map[netip.Addr]bool{}
	for i, a := range r.Outgoing {
		at := d.item("resolver.outgoing", 0, i)
		if key := off(a); key != "" {
			d.fail(
				at,
				fmt.Sprintf("resolver.outgoing[%d]: %s is never used, because %s is false%s", i, a, key, d.seen(key, at)),
				"remove one of them",
			)
		}
		if seen[a] {
			d.fail(at, fmt.Sprintf("resolver.outgoing[%d]: %s is in the list twice", i, a), "remove one of them")
		}
		seen[a] = true
	}
	for _, route := range d.routes() {
		for i, a := range route.to {
			if key := off(a.Addr.Addr()); key != "" {
				at := d.item(route.path+".to", route.index, i)
				d.fail(
					at,
					fmt.Sprintf("%s.to[%d]: %s cannot be queried, because %s is false%s", route, i, a.Addr, key, d.seen(key, at)),
					"remove one of them",
				)
			}
		}
	}
}

// A route is an entry of forward or stub, and where it stands.
type route struct {
	path    string // of the list
	index   int32  // by which its places are kept
	number  int    // in the list
	zone    []byte
	to      []Upstream
	tls     *UpstreamTLS
	forward bool
}

// String returns the entry as errors name it.
func (r *route) String() string {
	return fmt.Sprintf("%s[%d]", strings.TrimPrefix(r.path, "views."), r.number)
}

func (d *decoder) routes() []*route { return d.routesOf(&d.config.Resolver, resolverSection, -1) }

// routesOf returns the entries of forward and stub below a path, of the view at index view, or of
// no view.
func (d *decoder) routesOf(r *Resolver, path string, view int) []*route {
	all := make([]*route, 0, len(r.Forward)+len(r.Stub))
	forward, stub := d.table.find(path+".forward"), d.table.find(path+".stub")
	for i := range r.Forward {
		f := &r.Forward[i]
		all = append(all, &route{path + ".forward", forward.nested(int32(view), i), i, f.Zone, f.To, &f.TLS, true})
	}
	for i := range r.Stub {
		s := &r.Stub[i]
		all = append(all, &route{path + ".stub", stub.nested(int32(view), i), i, s.Zone, s.To, &s.TLS, false})
	}
	return all
}

// checkInfoURL reports a web page that clients cannot open (RFC 9606, section 5: only https).
func (d *decoder) checkInfoURL() {
	text := d.config.Resolver.InfoURL
	if text == "" {
		return
	}
	at, _ := d.at("resolver.info_url")
	if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" {
		d.fail(at, "resolver.info_url: expected the address of a web page, found "+quote(text), "it begins with https://")
	}
}

// specialRoute reports a route to names that are never asked of others.
func (d *decoder) specialRoute(r *route) {
	at, _ := d.atIndex(r.path+".zone", r.index)
	if wire.Subdomain(wire.Lower(nil, r.zone), []byte("\x08resolver\x04arpa\x00")) {
		d.fail(
			at,
			fmt.Sprintf(
				"%s: zone %s is each resolver's own: what another resolver answers there is about that resolver (RFC 9462)",
				r,
				quote(nameText(r.zone)),
			),
			"remove it; encrypted.ddr says what this server tells of itself",
		)
	}
}

// checkRoutes reports zones that would be looked for in two places, and servers that
// are none.
func (d *decoder) checkRoutes() {
	served, here := make(map[string]int, len(d.config.Zones)), d.config.zonesIn(DefaultView)
	for i, z := range d.config.Zones {
		if here(i) {
			served[string(wire.Lower(nil, z.Name))] = i
		}
	}
	first := map[string]position{}
	for _, r := range d.routes() {
		at, _ := d.atIndex(r.path+".zone", r.index)
		name := string(wire.Lower(nil, r.zone))
		if i, ours := served[name]; ours {
			d.fail(
				at,
				fmt.Sprintf(
					"%s: zone %s is served here (see %s), and its servers are never asked",
					r,
					quote(nameText(r.zone)),
					d.line(d.zones[i], at),
				),
				"remove one of them",
			)
		}
		if other, again := first[name]; again {
			d.fail(
				at,
				fmt.Sprintf("%s: zone %s has servers already at %s", r, quote(nameText(r.zone)), d.line(other, at)),
				"write all servers into one list, and the zone into forward or stub",
			)
		}
		first[name] = at
		d.checkServers(r, d.config)
	}
}

// checkExceptions reports exceptions that say nothing, or nothing that counts.
func (d *decoder) checkExceptions() {
	const path = "resolver.exceptions."
	first := map[string]int32{}
	for i := range d.config.Resolver.Exceptions {
		x, n := &d.config.Resolver.Exceptions[i], int32(i)
		zoneAt, zone := d.atIndex(path+"zone", n)
		serverAt, server := d.atIndex(path+"server", n)
		at, of := zoneAt, "zone "+quote(nameText(x.Zone))
		if server {
			at, of = serverAt, "server "+x.Server.String()
		}
		if !zone && !server || zone && server {
			if !zone {
				at = d.item("resolver.exceptions", 0, i)
			}
			d.fail(at, fmt.Sprintf("resolver.exceptions[%d]: expected a zone or a server", i), "write one of zone: and server:")
			continue
		}
		key := strings.ToLower(of)
		if other, again := first[key]; again {
			d.fail(
				at,
				fmt.Sprintf("resolver.exceptions[%d]: %s is in the list already, at %d", i, of, other),
				"write all of it in one place",
			)
		}
		first[key] = n
		if x.Case+x.Cookies+x.EDNS+x.Minimization+x.Forward == "ononononon" {
			d.fail(at, fmt.Sprintf("resolver.exceptions[%d]: %s has nothing that is off", i, of),
				"write what it does not support, such as case: off")
		}
		for _, only := range []struct{ name, value string }{{"minimization", x.Minimization}, {"forward", x.Forward}} {
			if server && only.value == "off" {
				here, _ := d.atIndex(path+only.name, n)
				d.fail(
					here,
					fmt.Sprintf("resolver.exceptions[%d].%s: this is for zones, not for servers", i, only.name),
					"write the zone",
				)
			}
		}
		if zone && x.Forward == "off" {
			here, _ := d.atIndex(path+"forward", n)
			r := &route{path: "resolver.exceptions", index: n, number: i, zone: x.Zone, forward: true}
			same := slices.ContainsFunc(d.config.Resolver.Forward, func(f Forward) bool { return wire.EqualFold(f.Zone, x.Zone) })
			switch {
			case same:
				d.fail(here, fmt.Sprintf("resolver.exceptions[%d].forward: %s is in resolver.forward", i, of), "remove one of them")
			case !d.config.exceptsFrom(r):
				d.fail(
					here,
					fmt.Sprintf("resolver.exceptions[%d].forward: no wider zone than %s is forwarded", i, nameText(x.Zone)),
					"remove it",
				)
			}
		}
	}
}

// checkForward reports zones of which first and only are both written, and has the two say
// the same.
func (d *decoder) checkForward() {
	d.checkFirst(d.config.Resolver.Forward, "resolver", -1)
	for i := range d.config.Views {
		if _, own := d.atIndex("views.resolver.forward", int32(i)); own {
			d.checkFirst(d.config.Views[i].Resolver.Forward, "views.resolver", int32(i))
		}
	}
}

// checkFirst is checkForward of one list, below a path, of the view at an index.
func (d *decoder) checkFirst(list []Forward, path string, view int32) {
	k := d.table.find(path + ".forward")
	for i := range list {
		f, n := &list[i], k.nested(view, i)
		first, firstSet := d.atIndex(path+".forward.first", n)
		only, onlySet := d.atIndex(path+".forward.only", n)
		if firstSet && onlySet {
			if only.before(first) {
				first, only = only, first
			}
			d.fail(
				only,
				fmt.Sprintf("resolver.forward[%d]: first and only are one setting and its opposite (see %s)", i, d.line(first, only)),
				"remove one of them",
			)
		}
		if onlySet {
			f.First = !f.Only
		}
		f.Only = !f.First
	}
}

// checkServers reports servers of a route that cannot be. c is the configuration of the view that it
// is in.
func (d *decoder) checkServers(r *route, c *Config) {
	d.specialRoute(r)
	if len(r.to) == 0 && !(r.forward && c.exceptsFrom(r)) {
		at, _ := d.atIndex(r.path+".to", r.index)
		d.fail(
			at,
			r.String()+".to: expected at least one address, found an empty list",
			"write the servers of the zone, such as to: [192.0.2.1]",
		)
	}
	seen := map[netip.AddrPort]bool{}
	d.checkHidden(r)
	for i, a := range addrsOf(r.to) {
		at := d.item(r.path+".to", r.index, i)
		if seen[a] {
			d.fail(at, fmt.Sprintf("%s.to[%d]: %s is in the list twice", r, i, a), "remove one of them")
		}
		seen[a] = true
		if ownListener(slices.Concat(d.config.Listen, d.config.Encrypted.DoT, d.config.Encrypted.DoH.Listen), a) {
			d.fail(
				at,
				fmt.Sprintf("%s.to[%d]: %s is served by this server, which would ask itself for ever%s", r, i, a, d.seen("listen", at)),
				"name another server, or give this one another port in listen",
			)
		}
	}
}

// exceptsFrom reports whether a wider zone is forwarded, which r makes an exception of.
func (c *Config) exceptsFrom(r *route) bool {
	for _, f := range c.Resolver.Forward {
		if len(f.To) > 0 && len(f.Zone) < len(r.zone) && wire.Subdomain(wire.Lower(nil, r.zone), wire.Lower(nil, f.Zone)) {
			return true
		}
	}
	return false
}

// ownListener reports whether one of the addresses that are listened on takes what is
// sent to a. Which addresses of other machines' networks are this machine's own is
// not known here.
func ownListener(listen []netip.AddrPort, a netip.AddrPort) bool {
	for _, l := range listen {
		all := l.Addr().IsUnspecified() && l.Addr().BitLen() == a.Addr().BitLen() && a.Addr().IsLoopback()
		if l.Port() == a.Port() && l.Port() != 0 && (all || l.Addr() == a.Addr()) {
			return true
		}
	}
	return false
}

func (d *decoder) checkNegativeAnchors() {
	first := map[string]position{}
	for i, n := range d.config.Resolver.NegativeTrustAnchors {
		at, _ := d.atIndex("resolver.negative_trust_anchors.name", int32(i))
		name := string(wire.Lower(nil, n.Name))
		if len(n.Name) == 1 {
			d.fail(
				at,
				fmt.Sprintf("resolver.negative_trust_anchors[%d]: . is everything", i),
				"name the zone that is broken; to validate nothing, write validation: false",
			)
		}
		if other, again := first[name]; again {
			d.fail(
				at,
				fmt.Sprintf(
					"resolver.negative_trust_anchors[%d]: zone %s is already in the list at %s",
					i,
					quote(nameText(n.Name)),
					d.line(other, at),
				),
				"remove one of them",
			)
		}
		first[name] = at
	}
}

// checkResolverFiles reports the files of the resolver that cannot be read, or
// written.
func (d *decoder) checkResolverFiles() {
	r := d.config.Resolver
	for _, f := range []struct{ key, file, without string }{
		{"resolver.root_hints", r.RootHints, "the Internet's root"},
		{"resolver.trust_anchors", r.TrustAnchors, "the root's keys"},
	} {
		if f.file == "" {
			continue
		}
		if p := unreadable(f.file); p != nil {
			at, _ := d.at(f.key)
			hint := "leave the key out for " + f.without
			if p.hint != "" {
				hint = p.hint + "; " + hint
			}
			d.fail(at, f.key+": "+printable(f.file)+" "+p.text, hint)
		}
	}
	if r.Cache.Dump == "" {
		return
	}
	at, _ := d.at("resolver.cache.dump")
	folder := filepath.Dir(r.Cache.Dump)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		d.fail(at, "resolver.cache.dump: there is no directory "+printable(folder), "mkdir "+printable(folder)+", or write off")
	} else if info, err := os.Lstat(r.Cache.Dump); err == nil && !info.Mode().IsRegular() {
		d.fail(at, "resolver.cache.dump: "+printable(r.Cache.Dump)+" is not a regular file", "")
	}
}
