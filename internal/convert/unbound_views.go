package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/config"
)

// A locals is what Unbound knows without zone files: for all, or in a view.
type locals struct {
	from    *stmt             // the view
	first   bool              // what it does not know is looked for in what is for all
	zones   map[string]string // local-zone: their types
	stmts   map[string]*stmt  // of zones
	tags    map[string][]string
	records []*stmt // local-data, local-data-ptr
}

func newLocals(from *stmt) *locals {
	return &locals{from: from, zones: map[string]string{}, stmts: map[string]*stmt{}, tags: map[string][]string{}}
}

// reads takes a statement that is one of it.
func (l *locals) reads(s *stmt) bool {
	switch name := domain(s.arg(1)); s.name() {
	case "local-zone":
		l.zones[name], l.stmts[name] = s.arg(2), s
	case "local-data", "local-data-ptr":
		l.records = append(l.records, s)
	default:
		return false
	}
	return true
}

// knows reports whether a name is in one of its zones that say what there is not, or has a record.
func (l *locals) knows(name string) bool {
	if zone := l.zoneOf(
		name,
	); zone != "" &&
		!slices.Contains([]string{"transparent", "typetransparent", "inform", "always_transparent", "nodefault"}, l.zones[zone]) {
		return true
	}
	return slices.ContainsFunc(l.records, func(s *stmt) bool {
		f := strings.Fields(s.arg(1))
		return len(f) > 0 && domain(f[0]) == name
	})
}

// A node is a network of clients with what is said of it: the longest that holds a client counts, for
// all of it.
type node struct {
	net  netip.Prefix
	view string
	tags []string
	from []*stmt
}

// node returns what is said of a network.
func (u *unbound) node(s *stmt) *node {
	nets, ok := parseNet(s.arg(1))
	if !ok {
		u.note(s, Unsupported, "this is not a network")
		return nil
	}
	p := nets.prefixes()[0]
	for _, n := range u.nodes {
		if n.net == p {
			n.from = append(n.from, s)
			return n
		}
	}
	n := &node{net: p, from: []*stmt{s}}
	u.nodes = append(u.nodes, n)
	return n
}

// view reads a view.
func (u *unbound) view(s *stmt) {
	l, name := newLocals(s), ""
	for _, e := range s.block {
		switch {
		case e.name() == "name":
			name = e.arg(1)
		case e.name() == "view-first":
			l.first = yes(e.arg(1))
		case !u.goodLocalZone(e), l.reads(e):
			continue
		default:
			u.other(e, "")
			continue
		}
		u.note(e, Converted, "")
	}
	u.views[name] = l
}

// A class is clients that see the same.
type class struct {
	name    string // of the view that they are in
	view    string
	tags    []string
	clients netset
}

// classes works out who sees what, and makes views of it. Those of whom nothing is said are in none.
func (u *unbound) classes() (all []*class) {
	nodes := slices.Clone(u.nodes)
	slices.SortStableFunc(nodes, func(a, b *node) int { return a.net.Bits() - b.net.Bits() })
	used := slices.Concat(u.tagSets()...)
	for _, n := range nodes {
		nets := setOf(n.net)
		n.tags = slices.DeleteFunc(n.tags, func(t string) bool { return !slices.Contains(used, t) })
		for _, c := range all {
			c.clients = c.clients.minus(nets)
		}
		if l := u.views[n.view]; l == nil && n.view != "" {
			u.note(n.from[0], Unsupported, "there is no view "+n.view)
			u.out.deny = u.out.deny.union(nets)
			continue
		} else if l != nil && len(l.zones)+len(l.records) == 0 {
			n.view = "" // it sees what all do
		}
		if n.view == "" && len(n.tags) == 0 {
			continue
		}
		i := slices.IndexFunc(all, func(c *class) bool { return c.view == n.view && slices.Equal(c.tags, n.tags) })
		if i < 0 {
			i = len(all)
			all = append(all, &class{view: n.view, tags: n.tags})
		}
		all[i].clients = all[i].clients.union(nets)
	}
	all = slices.DeleteFunc(all, func(c *class) bool { return len(c.clients) == 0 })
	if len(all) > maxViews {
		u.tooMany(all[maxViews:])
		all = all[:maxViews]
	}
	for _, c := range all {
		c.name = u.viewName(strings.Join(append(strings.Fields(c.view), c.tags...), "-"))
		if l := u.views[c.view]; l != nil {
			if u.note(l.from, Converted, ""); c.name != c.view {
				u.note(l.from, Changed, "it is called "+c.name+" here")
			}
		}
		u.out.views = append(u.out.views, shown{name: c.name, way: way{clients: anywhere(c.clients)}})
	}
	for name, l := range u.views {
		switch {
		case len(l.zones)+len(l.records) == 0:
			u.note(l.from, Converted, "") // its clients see what all do
		case !slices.ContainsFunc(all, func(c *class) bool { return c.view == name }):
			u.note(l.from, Changed, "no client is in it")
		}
	}
	return all
}

// tooMany leaves out clients of views beyond those that there can be: they get nothing.
func (u *unbound) tooMany(all []*class) {
	for _, c := range all {
		u.out.deny = u.out.deny.union(c.clients)
	}
	for _, n := range u.nodes {
		for _, s := range n.from {
			if slices.ContainsFunc(all, func(c *class) bool { return c.clients.contains(n.net.Addr()) }) {
				u.note(s, Unsupported, fmt.Sprintf("there can be %d views: its clients get nothing", maxViews))
			}
		}
	}
}

// sees reports whether a class sees a zone of all that has tags.
func (u *unbound) sees(c *class, zone string, tags []string) bool {
	if l := u.views[c.view]; l != nil && (!l.first || l.knows(zone)) {
		return false
	}
	return len(tags) == 0 || slices.ContainsFunc(tags, func(t string) bool { return slices.Contains(c.tags, t) })
}

// A group is who sees the names that are written into zones.
type group struct {
	views   func(zone string) (names []string, ok bool) // none: all
	label   string                                      // in the names of files
	from    map[string]*stmt                            // that zones are of
	singles bool                                        // single names are the server's
}

// localViews writes what is known without zone files, for all and for the clients of views.
func (u *unbound) localViews() {
	classes := u.all
	hides := slices.ContainsFunc(classes, func(c *class) bool { return c.view != "" })
	byName := u.byName
	for i, tags := range u.tagSets() {
		l := newLocals(nil)
		of := func(name string) bool { return slices.Equal(u.tags[u.zoneOf(name)], tags) }
		for name, kind := range u.zones {
			if slices.Equal(u.tags[name], tags) {
				l.zones[name], l.stmts[name] = kind, u.stmts[name]
			}
		}
		for _, s := range u.records {
			if n := u.record(s); n.name == "" || of(n.name) {
				l.records = append(l.records, s)
			}
		}
		g := &group{label: strings.Join(tags, "-"), singles: i == 0 && !hides, views: func(zone string) (names []string, ok bool) {
			if len(tags) == 0 {
				names = []string{config.DefaultView}
			}
			for _, c := range classes {
				if u.sees(c, zone, tags) {
					names = append(names, c.name)
				}
			}
			if len(names) == len(classes)+1 {
				return nil, true
			}
			return names, len(names) > 0
		}}
		if u.writeLocals(l, g); i == 0 {
			byName = u.byName
		}
	}
	written := map[string]bool{}
	for _, c := range classes {
		if c.view == "" || written[c.view] {
			continue
		}
		written[c.view] = true
		var names []string
		for _, other := range classes {
			if other.view == c.view {
				names = append(names, other.name)
			}
		}
		u.writeLocals(u.views[c.view], &group{label: c.name, views: func(string) ([]string, bool) { return names, true }})
	}
	u.byName, u.group = byName, nil
}

// writeLocals makes zones of what a group sees.
func (u *unbound) writeLocals(l *locals, g *group) {
	g.from = l.stmts
	if u.group = g; g.label != "" {
		u.byName = map[string]*zone{}
	}
	u.localData(l)
	u.writeNames()
	u.names, u.domains = nil, nil
}

// tagSets returns the sets of tags that zones have, none first.
func (u *unbound) tagSets() (sets [][]string) {
	sets = [][]string{nil}
	for _, tags := range u.tags {
		if !slices.ContainsFunc(sets, func(s []string) bool { return slices.Equal(s, tags) }) {
			sets = append(sets, tags)
		}
	}
	slices.SortFunc(sets, slices.Compare)
	return sets
}

// tagged returns the tags of a statement, each once and in order.
func tagged(s *stmt) []string {
	tags := strings.Fields(s.arg(2))
	slices.Sort(tags)
	return slices.Compact(tags)
}
