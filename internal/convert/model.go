package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"port53/internal/config"
	"port53/internal/wire"
)

type key struct {
	name, algorithm, secret string
	from                    *stmt
	used                    bool
}

type grant struct {
	key          string
	names, types []string
}

// A zone is one to be served. Its sets are nil where nothing was said.
type zone struct {
	from                           *stmt
	name, file, tsig, serial       string
	primaries, secondaries, notify []string
	allowNotify                    netset
	given
	seen
	updates                 []grant
	forwardUpdates, consume bool
	signed
}

// A signed is how a zone is signed; empty: it is not.
type signed struct {
	policy, keysFrom string // the policy's name, and the directory of the keys
}

// A seen is who may ask for a zone.
type seen struct {
	query  netset   // nil: whoever may ask
	views  []string // that have it; none: all
	origin *zone    // of another view, whose zone it is
	whole  netset   // the query of the origin, before a view was settled
}

// A given is who may have a zone whole.
type given struct {
	transfer     netset   // with the key of the zone, if it has one
	alone        netset   // by their address, without a key
	transferKeys []string // whoever has one of these, from anywhere
}

type route struct {
	from  *stmt
	zone  string
	to    []string // none: an exception
	first bool     // what the servers do not answer is iterated
	tcp   bool
}

// A model is what the configuration is made of.
type model struct {
	recurse       bool
	listen        []string
	keys          []*key
	zones         []*zone
	forward, stub []route
	policies      []string // of signing, as the configuration has them
	rpz           []policyZone

	asking

	views    []shown
	local    local
	settings []setting // in order
	remarks  []string  // of the result's head
}

// An asking is who may ask for what.
type asking struct {
	// query are those who may ask for zones that do not say otherwise; nil: everyone, or of a
	// resolver's whoever may use recursion. recursion are its clients; nil: this machine's own
	// networks. deny are those who get nothing at all.
	query, recursion, deny netset
	clientsFrom            *stmt // that says who may use recursion
	inside                 bool  // the zones are for those who may use recursion
}

// A local is what stands beside the zones of a server that resolves: names with addresses, files of
// them and of leases, which are followed, and the domain of those that have none there.
type local struct {
	names  []single
	hosts  []string
	leases []string
	domain string
}

// A setting is a key of the configuration by its path, and its value in YAML.
type setting struct{ path, value string }

func (m *model) set(path, value string) {
	for i := range m.settings {
		if m.settings[i].path == path {
			m.settings[i].value = value
			return
		}
	}
	m.settings = append(m.settings, setting{path, value})
}

// order has the records of sets sent in an order, if it is not the one that port53 has anyway.
func (m *model) order(o string) {
	if o != "fixed" {
		m.set("rrset_order", o)
	}
}

// add appends to a key whose value is a list.
func (m *model) add(path string, values ...string) {
	for i := range m.settings {
		if s := &m.settings[i]; s.path == path {
			old := strings.TrimSuffix(s.value, "]")
			for _, v := range values {
				if !strings.Contains(old, quote(v)) {
					old += ", " + quote(v)
				}
			}
			s.value = old + "]"
			return
		}
	}
	m.set(path, list(values))
}

// take sets a key if its value is within port53's bounds, and says what became of the
// statement.
func (c *converter) take(s *stmt, path, value string) {
	m := model{recurse: true, settings: slices.Clone(c.out.settings)}
	m.set(path, value)
	if _, err := config.Parse("", m.yaml()); err != nil {
		c.note(s, Changed, "port53's own default is used: "+path+" cannot be "+value)
		return
	}
	c.out.set(path, value)
	c.note(s, Converted, "")
}

// takeList appends values to a key that has a list, if they are good.
func (c *converter) takeList(s *stmt, path string, values ...string) {
	m := model{recurse: true, settings: slices.Clone(c.out.settings)}
	m.add(path, values...)
	if _, err := config.Parse("", m.yaml()); err != nil {
		c.note(s, Unsupported, path+" cannot have it")
		return
	}
	c.out.add(path, values...)
	c.note(s, Converted, "")
}

// goodName reports whether text is a domain name that zones can have.
func goodName(text string) bool {
	_, err := wire.ParseName(text)
	return err == nil && text != "" && strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// goodServer reports whether a text is the address of a server, with a port or without.
func goodServer(text string) bool {
	a, err := netip.ParseAddr(text)
	if err != nil {
		ap, err := netip.ParseAddrPort(text)
		if a = ap.Addr(); err != nil || ap.Port() == 0 {
			return false
		}
	}
	return !a.IsUnspecified() && !a.IsMulticast() && a.Zone() == "" && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// good returns the servers of a list that are some.
func (c *converter) good(s *stmt, servers []string) []string {
	return slices.DeleteFunc(slices.Clone(servers), func(text string) bool {
		if !goodServer(text) {
			c.note(s, Unsupported, text+" is the address of no server")
			return true
		}
		return false
	})
}

// domain returns a name in lower case without its last dot, but for the root.
func domain(s string) string {
	s = strings.ToLower(s)
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

// server returns an address as lists of servers have it.
func server(a netip.Addr, port string) string {
	switch {
	case port == "" || port == "53":
		return a.String()
	case a.Is6():
		return "[" + a.String() + "]:" + port
	}
	return a.String() + ":" + port
}

func (c *converter) listen(addr, port string) {
	bare := addr
	if port != "" && port != "53" {
		if strings.Contains(addr, ":") {
			addr = "[" + addr + "]"
		}
		addr += ":" + port
	}
	m := model{recurse: true, listen: []string{addr}}
	if _, err := config.Parse("", m.yaml()); err != nil {
		c.note(lineStmt(c.options.Path, 1, "listen", bare, port), Unsupported, addr+" is no address to listen on")
		return
	}
	if !slices.Contains(c.out.listen, addr) {
		c.out.listen = append(c.out.listen, addr)
	}
}

// key takes a key, unless its algorithm is not offered or its secret is none.
func (c *converter) key(s *stmt, name, algorithm, secret string) {
	k := &key{name: domain(name), algorithm: strings.ToLower(strings.TrimSuffix(algorithm, ".")), secret: secret, from: s}
	if k.algorithm == "" {
		k.algorithm = "hmac-sha256"
	}
	switch k.algorithm {
	case "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512":
	default:
		c.note(s, Unsupported, k.algorithm+" is not offered; make a new key with hmac-sha256 on both sides")
		return
	}
	trial := model{recurse: true, keys: []*key{{name: k.name, algorithm: k.algorithm, secret: secret, used: true}}}
	if _, err := config.Parse("", trial.yaml()); err != nil {
		c.note(s, Unsupported, "its secret is shorter than 16 octets, or not base64")
		return
	}
	if c.keys[k.name] != nil {
		c.note(s, Unsupported, "it is there already")
		return
	}
	c.keys[k.name] = k
	c.out.keys = append(c.out.keys, k)
}

// sign has the zone's transfers signed with a key: each zone has one.
func (c *converter) sign(s *stmt, z *zone, name string) bool {
	name = domain(name)
	switch {
	case c.keys[name] == nil:
		c.note(s, Unsupported, "there is no key "+name+" that could be converted")
	case z.tsig != "" && z.tsig != name:
		c.note(s, Unsupported, "the zone's transfers are signed with "+z.tsig+", and a zone has one key")
	default:
		z.tsig = name
		return true
	}
	return false
}

func (c *converter) grant(s *stmt, z *zone, g grant) {
	if g.key = domain(g.key); c.keys[g.key] == nil || len(z.primaries) > 0 {
		c.note(s, Unsupported, "there is no key "+g.key+" that could be converted, or the zone is a secondary")
		return
	}
	k := *c.keys[g.key]
	k.used = true
	trial := model{recurse: true, keys: []*key{&k}, zones: []*zone{{name: z.name, file: "x", updates: []grant{g}}}}
	if _, err := config.Parse("", trial.yaml()); err != nil {
		c.note(s, Unsupported, "a name is not in the zone, or a type is not known")
		return
	}
	z.updates = append(z.updates, g)
	c.note(s, Converted, "")
}

// addZone takes a zone that comes from somewhere and is not there yet.
func (c *converter) addZone(s *stmt, z *zone) bool {
	z.from = s
	had := len(z.primaries)
	z.primaries, z.secondaries, z.notify = c.good(s, z.primaries), c.good(s, z.secondaries), c.good(s, z.notify)
	switch {
	case had > 0 && len(z.primaries) == 0:
		c.note(s, Unsupported, "it has no primaries that could be converted")
	case strings.IndexFunc(z.file, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) >= 0 || len(z.file) > maxPath:
		c.note(s, Unsupported, "the path of its file cannot be written")
	case z.file == "" && len(z.primaries) == 0:
		c.note(s, Unsupported, "zone "+z.name+" has neither a file nor primaries that could be converted")
	case !goodName(z.name):
		c.note(s, Unsupported, "it is no domain name")
	case c.byName[z.name] != nil:
		c.note(s, Unsupported, "zone "+z.name+" is there already")
	default:
		c.byName[z.name] = z
		c.out.zones = append(c.out.zones, z)
		c.note(s, Converted, "")
		return true
	}
	return false
}

// maxPath is Linux's PATH_MAX.
const maxPath = 4096

// addRoute takes servers for the names of a zone. Of two for one zone the last counts.
func (c *converter) addRoute(list *[]route, r route) {
	if had := len(r.to); had > 0 {
		if r.to = c.good(r.from, r.to); len(r.to) == 0 {
			return
		}
	}
	for i := range *list {
		if (*list)[i].zone == r.zone {
			(*list)[i] = r
			return
		}
	}
	*list = append(*list, r)
}

// settle makes what was gathered whole: routes that lead here are left out, keys that nobody
// needs are too, and who may ask follows from who may ask for what.
func (c *converter) settle() {
	m := &c.out
	for _, z := range m.zones {
		if slices.ContainsFunc(m.rpz, func(p policyZone) bool { return p.zone == z.name }) {
			z.query = nil // nobody is answered from it anyway
		}
	}
	if len(c.read) > 0 {
		c.settleViews()
	} else {
		c.settleClients()
	}
	c.settlePolicies()
	for _, z := range m.zones {
		if z.tsig == "" && len(z.transferKeys) == 0 {
			z.transfer, z.alone = z.transfer.union(z.alone), nil // insecure says that nobody signs
		}
		if k := c.keys[z.tsig]; k != nil {
			k.used = true
		}
		for _, g := range z.updates {
			c.keys[g.key].used = true
		}
		for _, name := range z.transferKeys {
			c.keys[name].used = true
		}
	}
	for _, k := range m.keys {
		if k.used {
			c.note(k.from, Converted, "")
		} else {
			c.note(k.from, Changed, "left out: nothing that was converted is signed with it")
		}
	}
}

func (c *converter) settleRoutes(list []route, forward bool) []route {
	var out []route
	for _, r := range list {
		switch to := slices.DeleteFunc(slices.Clone(r.to), c.mine); {
		case !goodName(r.zone):
			c.note(r.from, Unsupported, "it is no domain name")
		case c.byName[r.zone] != nil:
			c.note(r.from, Unsupported, "zone "+r.zone+" is served here")
		case len(r.to) > 0 && len(to) == 0:
			c.note(r.from, Unsupported, "the server would ask itself")
		case len(r.to) == 0 && !(forward && slices.ContainsFunc(c.out.forward, func(w route) bool {
			return len(w.to) > 0 && w.zone != r.zone && (w.zone == "." || strings.HasSuffix("."+r.zone, "."+w.zone))
		})):
			c.note(r.from, Changed, "names of zone "+r.zone+" are resolved by iteration: no wider zone is forwarded")
		default:
			if r.to = to; !slices.ContainsFunc(out, func(o route) bool { return o.zone == r.zone }) {
				out = append(out, r)
			}
		}
	}
	return out
}

// mine reports whether the server itself listens at an address of another.
func (c *converter) mine(server string) bool {
	at := func(text string) (a netip.AddrPort) {
		if addr, err := netip.ParseAddr(text); err == nil {
			return netip.AddrPortFrom(addr, 53)
		}
		a, _ = netip.ParseAddrPort(text)
		return a
	}
	listen := c.out.listen
	if len(listen) == 0 {
		listen = []string{"127.0.0.1", "::1"}
	}
	s := at(server)
	return slices.ContainsFunc(listen, func(text string) bool {
		l := at(text)
		all := l.Addr().IsUnspecified() && l.Addr().BitLen() == s.Addr().BitLen() && s.Addr().IsLoopback()
		return l.Port() == s.Port() && (all || l.Addr() == s.Addr())
	})
}

// settleAllRoutes leaves out what is not asked of others.
func (c *converter) settleAllRoutes() {
	m := &c.out
	if !m.recurse {
		for _, r := range slices.Concat(m.forward, m.stub) {
			c.note(r.from, Unsupported, "the server resolves nothing for others")
		}
		m.forward, m.stub = nil, nil
	}
	m.forward = c.settleRoutes(m.forward, true)
	m.stub = c.settleRoutes(m.stub, false)
}

// settleClients works out policy.allow, policy.deny and resolver.allow, and which zones are
// for fewer than that.
func (c *converter) settleClients() {
	c.settleAllRoutes()
	m := &c.out
	if m.recurse && m.recursion == nil && len(m.deny.and(privateAddresses())) > 0 {
		addrs, nets, _ := c.ownAddresses()
		m.recursion = nets.union(addrs).union(setOf(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")))
	}
	clients := m.recursion
	if m.recurse && clients != nil {
		if m.recursion = c.known(clients.minus(m.deny)); !m.recursion.equal(clients.minus(m.deny)) {
			c.note(
				m.clientsFrom,
				Unsupported,
				"strangers do not get recursion, private networks do: to resolve for everyone, with limits, write role: public-resolver",
			)
		}
		if len(m.recursion) == 0 {
			m.recurse = false
			for _, r := range slices.Concat(m.forward, m.stub) {
				c.note(r.from, Changed, "nobody may use recursion")
			}
			if len(m.local.names)+len(m.local.hosts)+len(m.local.leases) > 0 {
				c.note(m.clientsFrom, Unsupported, "names without a zone are for those who may use recursion: nobody")
			}
			m.forward, m.stub = nil, nil
		}
	}
	clients = m.resolved()
	whole := allAddresses().minus(m.deny)
	base := m.query
	if base == nil {
		base = allAddresses()
	}
	if m.inside && m.recurse {
		base = clients
	}
	ask := netset{}
	m.zones = slices.DeleteFunc(m.zones, func(z *zone) bool {
		if z.query == nil {
			z.query = base
		}
		if z.query = z.query.minus(m.deny); len(z.query) == 0 {
			c.note(z.from, Unsupported, "nobody may ask for it")
			delete(c.byName, z.name)
			return true
		}
		// Who may have the zone whole has to be let in, wherever that is from.
		peers := z.transfer.union(z.alone)
		if len(z.transferKeys) > 0 {
			peers = allAddresses()
		}
		ask = ask.union(z.query).union(peers.minus(m.deny))
		return false
	})
	if m.recurse {
		ask = ask.union(clients)
	}
	for _, z := range m.zones {
		if ask.within(z.query) {
			z.query = nil
		}
	}
	switch {
	case len(m.zones) == 0:
		if len(m.deny) > 0 && m.recursion == nil {
			m.set("policy.deny", list(m.deny.text()))
		}
	case m.recurse && (m.recursion != nil || m.inside) && ask.equal(clients):
	case !m.recurse && ask.equal(allAddresses()):
	default:
		c.writeAllow(ask, whole)
		if m.recurse && !ask.within(privateAddresses().union(clients)) {
			m.set("policy.rate_limit.enabled", "true")
			m.add("policy.rate_limit.exempt", clients.text()...)
		}
	}
}

// resolved returns who may use recursion, or might.
func (m *model) resolved() netset {
	if m.recursion == nil {
		return privateAddresses()
	}
	return m.recursion
}

// writeAllow writes who may ask, as those who may or as everyone but some.
func (c *converter) writeAllow(ask, whole netset) {
	but := allAddresses().minus(ask)
	allow, deny := ask.text(), but.text()
	if len(deny) >= len(allow) {
		c.out.set("policy.allow", list(allow))
		return
	}
	if c.out.recurse {
		c.out.set("policy.allow", list(allAddresses().text()))
	}
	if len(deny) > 0 {
		c.out.set("policy.deny", list(deny))
	}
}

// known returns the clients of recursion without strangers: where there are networks that no
// single owner has, those that are private remain.
func (c *converter) known(clients netset) netset {
	trial := model{recurse: true, asking: asking{recursion: clients}}
	if _, err := config.Parse("", trial.yaml()); err == nil || len(clients) == 0 {
		return clients
	}
	return clients.and(privateAddresses())
}

// section writes settings as nested blocks.
func writeSettings(b *strings.Builder, settings []setting, indent string) {
	for i := 0; i < len(settings); {
		name, _, nested := strings.Cut(settings[i].path, ".")
		if !nested {
			gap := " "
			if strings.HasPrefix(settings[i].value, "\n") {
				gap = ""
			}
			fmt.Fprintf(b, "%s%s:%s%s\n", indent, name, gap, settings[i].value)
			i++
			continue
		}
		var inner []setting
		j := i
		for ; j < len(settings); j++ {
			rest, ok := strings.CutPrefix(settings[j].path, name+".")
			if !ok {
				break
			}
			inner = append(inner, setting{rest, settings[j].value})
		}
		fmt.Fprintf(b, "%s%s:\n", indent, name)
		writeSettings(b, inner, indent+"  ")
		i = j
	}
}

// yaml writes the configuration.
func (m *model) yaml() []byte {
	var b strings.Builder
	for _, r := range m.remarks {
		b.WriteString(strings.TrimRight("# "+Printable(r), " ") + "\n")
	}
	role := config.RoleAuthoritative
	if m.recurse {
		role = config.RoleInternalResolver
	}
	fmt.Fprintf(&b, "role: %s\n", role)
	if len(m.listen) > 0 {
		fmt.Fprintf(&b, "listen: %s\n", list(m.listen))
	}
	head := true
	for _, k := range m.keys {
		if !k.used {
			continue
		}
		if head {
			b.WriteString("keys:\n")
		}
		head = false
		fmt.Fprintf(&b, "  - {name: %s, algorithm: %s, secret: %s}\n", quote(k.name), k.algorithm, quote(k.secret))
	}
	if len(m.policies) > 0 {
		b.WriteString("dnssec_policies:\n")
	}
	for _, p := range m.policies {
		fmt.Fprintf(&b, "  - %s\n", p)
	}
	m.writeViews(&b)
	if len(m.zones) > 0 {
		b.WriteString("zones:\n")
	}
	for _, z := range m.zones {
		z.write(&b)
	}
	if m.recurse {
		m.writeLocal(&b)
	}
	writeSettings(&b, m.allSettings(), "")
	return []byte(b.String())
}

// allSettings returns the settings in order, with those of the resolver if there is one.
func (m *model) allSettings() []setting {
	settings := slices.Clone(m.settings)
	if m.recurse {
		if m.recursion != nil {
			settings = append(settings, setting{"resolver.allow", list(m.recursion.text())})
		}
		if rpz := m.writePolicies(); rpz != "" {
			settings = append(settings, setting{"policy.rpz", rpz})
		}
		for i, of := range [][]route{m.forward, m.stub} {
			if len(of) > 0 {
				settings = append(settings, setting{"resolver." + []string{"forward", "stub"}[i], writeRoutes(of)})
			}
		}
	} else {
		settings = slices.DeleteFunc(settings, func(s setting) bool { return strings.HasPrefix(s.path, "resolver.") })
	}
	slices.SortStableFunc(settings, func(a, b setting) int { return strings.Compare(a.path, b.path) })
	return settings
}

// writeLocal writes the names that stand beside the zones.
func (m *model) writeLocal(b *strings.Builder) {
	if m.local.domain != "" {
		fmt.Fprintf(b, "domain: %s\n", quote(m.local.domain))
	}
	for i, h := range m.local.hosts {
		if i == 0 {
			b.WriteString("hosts:\n")
		}
		fmt.Fprintf(b, "  - file: %s\n", quote(h))
	}
	for i, l := range m.local.leases {
		if i == 0 {
			b.WriteString("leases:\n")
		}
		fmt.Fprintf(b, "  - {file: %s, format: dnsmasq}\n", quote(l))
	}
	for i, n := range m.local.names {
		if i == 0 {
			b.WriteString("names:\n")
		}
		fmt.Fprintf(b, "  %s: %s\n", quote(n.name), list(n.addrs))
	}
}

func (z *zone) write(b *strings.Builder) {
	lines := func(name string, of []string) {
		if len(of) > 0 {
			fmt.Fprintf(b, "    %s: %s\n", name, list(of))
		}
	}
	fmt.Fprintf(b, "  - name: %s\n", quote(z.name))
	if len(z.primaries) > 0 {
		lines("primaries", z.primaries)
	} else {
		fmt.Fprintf(b, "    file: %s\n", quote(z.file))
	}
	lines("views", z.views)
	lines("allow_query", z.query.text())
	lines("secondaries", z.secondaries)
	if text := z.transfers(); text != "" {
		fmt.Fprintf(b, "    allow_transfer: [%s]\n", text)
	}
	lines("notify", z.notify)
	if len(z.primaries) > 0 {
		lines("allow_notify", z.allowNotify.text())
		if z.forwardUpdates {
			b.WriteString("    forward_updates: true\n")
		}
	}
	if z.tsig != "" {
		fmt.Fprintf(b, "    tsig: %s\n", quote(z.tsig))
	} else if len(z.primaries)+len(z.secondaries)+len(z.transfer) > 0 {
		b.WriteString("    insecure: true # as it was: transfers have no key\n")
	}
	if z.serial != "" {
		fmt.Fprintf(b, "    serial: %s\n", z.serial)
	}
	if z.policy != "" {
		fmt.Fprintf(b, "    dnssec: {policy: %s, keys_from: %s}\n", quote(z.policy), quote(z.keysFrom))
	}
	if z.consume {
		b.WriteString("    catalog: consume\n")
	}
	if len(z.updates) > 0 {
		b.WriteString("    updates:\n")
	}
	for _, g := range z.updates {
		fmt.Fprintf(b, "      - {key: %s, names: %s, types: %s}\n", quote(g.key), list(g.names), list(g.types))
	}
}

// transfers returns who may have the zone, as a list of the configuration.
func (z *zone) transfers() string {
	var all []string
	for _, t := range z.transfer.text() {
		all = append(all, quote(t))
	}
	for _, k := range z.transferKeys {
		all = append(all, "{key: "+quote(k)+"}")
	}
	for _, a := range z.alone.text() {
		all = append(all, "{address: "+quote(a)+"}")
	}
	return strings.Join(all, ", ")
}

func writeRoutes(routes []route) string {
	var b strings.Builder
	for _, r := range routes {
		more := ""
		if r.first {
			more += ", first: true"
		}
		if r.tcp {
			more += ", tcp: true"
		}
		fmt.Fprintf(&b, "\n    - {zone: %s, to: %s%s}", quote(r.zone), list(r.to), more)
	}
	return b.String()
}
