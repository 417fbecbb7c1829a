package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A tree is a small internet drawn at random, and what clients ask of it.
type tree struct {
	*rand.Rand
	realms []*realm
	next   int // the last octet of the next server's address
	hosts  map[string][]string
	words  map[string]string // of hosts: links and manners
	set    []string          // settings
	routed bool              // some names are asked of a forwarder
	steps  []string
	quiet  bool // nobody attacks: every question must get its answer
}

// A realm is a zone of the tree.
type realm struct {
	name    string
	up      *realm // nil: the root
	below   []*realm
	servers []string
	signing string // words behind "! signed"; empty: it is unsigned
	orders  []string
	secure  bool
	evil    bool   // the adversary's own, keys and all
	old     string // the address of a server whose edition has expired
	oldWith string // how that is signed
	body    []string
}

// pick returns one of a list.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// chance is true so many times of a hundred.
func (t *tree) chance(percent int) bool { return t.IntN(100) < percent }

// in returns a name of the zone.
func (z *realm) in(label string) string {
	switch {
	case label == "@":
		return z.name
	case z.up == nil:
		return label + "."
	}
	return label + "." + z.name
}

func (t *tree) address() string {
	t.next++
	return fmt.Sprintf("192.0.2.%d", t.next)
}

// Addresses of hosts that have no zone of the tree: the adversary's own, and a resolver that
// does not validate.
const (
	attacker  = "192.0.2.250"
	forwarder = "192.0.2.251"
)

// newTree draws a tree.
func newTree(r *rand.Rand) *tree {
	t := &tree{Rand: r, hosts: map[string][]string{}, words: map[string]string{}}
	t.quiet = t.chance(25)
	root := t.realm(nil, "")
	for _, label := range []string{"shop", "plain", "org"}[:2+t.IntN(2)] {
		tld := t.realm(root, label)
		for _, label := range []string{"one", "two", "a.b"} {
			if !t.chance(40) {
				continue
			}
			child := t.realm(tld, label)
			if t.chance(30) {
				t.realm(child, "deep")
			}
		}
	}
	if !t.quiet {
		t.own(root)
	}
	for _, z := range t.realms {
		t.fill(z)
	}
	t.set = append(t.set, "aggressive "+pick(r, "on", "on", "off"), "minimise "+pick(r, "relaxed", "relaxed", "strict", "off"))
	t.route()
	return t
}

// route sends some names to a forwarder, or to the servers of a zone itself.
func (t *tree) route() {
	z := t.realms[t.IntN(len(t.realms))]
	switch {
	case z.evil || t.chance(85):
	case t.chance(50):
		t.set = append(t.set, "stub "+z.name+" "+z.servers[0])
	default:
		t.routed, t.words[forwarder] = true, "resolver"
		t.set = append(t.set, "forward "+z.name+" "+forwarder+pick(t.Rand, "", " first"))
	}
}

// realm draws a zone below up.
func (t *tree) realm(up *realm, label string) *realm {
	z := &realm{name: ".", up: up, servers: []string{t.address()}}
	if up != nil {
		z.name = up.in(label)
		up.below = append(up.below, z)
	}
	t.realms = append(t.realms, z)
	switch {
	case t.chance(20) && up != nil && up.old == "": // its servers have the zone above, too
		z.servers = []string{up.servers[0]}
	case t.chance(45):
		z.servers = append(z.servers, t.address())
	}
	switch n := t.IntN(100); {
	case up == nil && n < 96, up != nil && n < 60:
		z.signing = t.signing()
		z.secure = up == nil || up.secure
	case n < 75:
		z.signing = t.signing()
		z.orders = append(z.orders, "ds none")
	case n < 80:
		z.signing = "alg=5" // nobody validates it: RFC 9905, section 2
	}
	if z.signing != "" && !z.secure && up != nil && z.signing != "alg=5" && t.chance(40) {
		z.orders = append(z.orders, "anchor")
		z.secure = true
	}
	t.trouble(z)
	return z
}

// signing draws how a zone is signed.
func (t *tree) signing() string {
	s := pick(t.Rand, "nsec", "nsec", "nsec3", "optout", "nsec3 salt=ab", "nsec3 iterations=3")
	switch t.IntN(20) {
	case 0:
		s += " alg=15"
	case 1:
		s += " alg=13,15"
	case 2:
		s += " alg=14"
	case 3:
		s += " csk"
	}
	return s
}

// trouble has one of a zone's servers be stale, lame or silent. The first is sound.
func (t *tree) trouble(z *realm) {
	if len(z.servers) < 2 || !t.chance(60) {
		return
	}
	if z.signing != "" && z.secure && t.chance(60) {
		z.old, z.servers = z.servers[1], z.servers[:1]
		z.oldWith = z.signing + pick(t.Rand, " from=-30d until=-1d", " key=former", " key=former from=-30d until=-1d")
		return
	}
	t.words[z.servers[1]] = pick(t.Rand, "lame", "silent", "rcode=SERVFAIL", "edns=formerr", "nodnssec", "rtt=300ms")
}

// own gives the adversary zones.
func (t *tree) own(root *realm) {
	for _, up := range []*realm{root, t.realms[t.IntN(len(t.realms))]} {
		label := "evil"
		if up != root {
			label = "owned"
		}
		z := &realm{name: up.in(label), up: up, servers: []string{attacker}, signing: "nsec", secure: up.secure, evil: true}
		if up.evil {
			continue
		}
		t.realms = append(t.realms, z)
		up.below = append(up.below, z)
	}
}

// fill writes the records of a zone.
func (t *tree) fill(z *realm) {
	add := func(format string, args ...any) { z.body = append(z.body, fmt.Sprintf(format, args...)) }
	other := t.realms[t.IntN(len(t.realms))]
	if other.evil {
		other = z
	}
	n := 10 + len(z.name)%200
	add("@ MX 10 mail")
	add("www A 198.51.100.%d", n)
	add("mail A 198.51.100.%d", n+1)
	add("mail AAAA 2001:db8::%d", n)
	add("*.wild TXT \"any\"")
	add("*.wild A 198.51.100.%d", n+2)
	add("leaf.ent A 198.51.100.%d", n+3)
	if t.chance(70) {
		add("alias CNAME www")
	}
	if t.chance(50) {
		add("away CNAME www.%s", strings.TrimPrefix(other.name, "."))
	}
	if t.chance(40) {
		add("moved DNAME %s", other.in("wild"))
	}
	if t.chance(20) {
		add("*.alias.wild CNAME www")
	}
	if t.chance(30) {
		add("*.star DNAME %s", other.in("wild"))
	}
	if t.chance(10) {
		add("odd TYPE%d \\# 4 01020304", 65500+t.IntN(8))
	}
}

// labels are names that may be in a zone, or not.
var labels = []string{
	"@", "www", "mail", "alias", "away", "x.wild", "y.x.wild", "wild", "ent", "leaf.ent", "moved", "www.moved", "x.alias.wild",
	"nothing", "a.b.nothing", "odd", "b", "one", "two", "a.b", "deep", "www.one", "nothing.two", "*.wild", "zz",
	"x.star", "www.x.star", "mail.x.star",
}

// ask adds a question for a name in or below a zone.
func (t *tree) ask(z *realm) {
	name := z.in(pick(t.Rand, labels...))
	typ := pick(t.Rand, "A", "A", "A", "AAAA", "TXT", "MX", "DS", "CNAME", "DNAME", "SOA", "DNSKEY", "TLSA", "SRV", fmt.Sprintf("TYPE%d", 65500+t.IntN(8)))
	flags := " +do"
	if t.chance(12) {
		flags += " +cd"
	}
	t.steps = append(t.steps, "ask "+name+" "+typ+flags)
	if t.chance(8) {
		t.steps = append(t.steps, "wait "+pick(t.Rand, "5s", "70s", "20m", "2h"))
	}
}

// scene returns the tree as a scenario.
func (t *tree) scene() *scene {
	s := &scene{steps: t.steps, quiet: t.quiet}
	for _, z := range t.realms {
		p := part{heading: "zone " + z.name + " " + strings.Join(z.servers, " ")}
		if z.signing != "" {
			p.body = append(p.body, "! signed "+z.signing)
		}
		for _, o := range z.orders {
			p.body = append(p.body, "! "+o)
		}
		p.body = append(p.body, z.body...)
		s.parts = append(s.parts, p)
		if z.old != "" {
			body := append([]string{"! signed " + z.oldWith, "! ds none"}, z.body...)
			s.parts = append(s.parts, part{heading: "zone " + z.name + " " + z.old, body: body})
		}
	}
	for i := 1; i <= t.next; i++ {
		t.host(s, fmt.Sprintf("192.0.2.%d", i))
	}
	t.host(s, attacker)
	t.host(s, forwarder)
	s.parts = append(s.parts, part{heading: "settings", body: t.set})
	return s
}

func (t *tree) host(s *scene, address string) {
	if t.words[address] != "" || t.hosts[address] != nil {
		s.parts = append(s.parts, part{heading: strings.TrimSpace("host " + address + " " + t.words[address]), body: t.hosts[address]})
	}
}
