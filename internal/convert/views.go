package convert

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"port53/internal/config"
)

// A view is one of the original, as it is read: a server of its own for some clients.
type view struct {
	from *stmt
	name string // as the original has it
	ways []way  // into it; none: no client is in it

	// clients are the addresses from which somebody may be in it, and unsure those of whom it is
	// not known whether they are.
	clients, unsure netset

	out    model
	byName map[string]*zone
}

// A way is how clients come into a view: all that is there has to fit. Of nothing, everybody does.
type way struct {
	clients                  netset   // nil: from anywhere
	clientKeys, exceptedKeys []string // who signs with one comes in from anywhere, or does not
	keys, listen             []string // with which clients have to sign, and where they have to ask
}

// A shown is a view as the configuration has it: one for each way.
type shown struct {
	name string
	way
	settings []setting
}

func (w *way) everybody() bool {
	return w.clients == nil && len(w.clientKeys)+len(w.exceptedKeys)+len(w.keys)+len(w.listen) == 0
}

// maxViews is the most views that a configuration has.
const maxViews = 63

// noViewName matches what names of views do not have.
var noViewName = regexp.MustCompile(`[^a-z0-9_-]+`)

// viewName returns a name for a view that no other has.
func (c *converter) viewName(name string) string {
	const longest = 28 // leaves room for a number
	name = strings.Trim(noViewName.ReplaceAllString(strings.ToLower(name), "-"), "-_")
	name = strings.TrimRight(name[:min(longest, len(name))], "-_")
	if name == "" || name == config.DefaultView {
		name = "view"
	}
	for n, own := 2, name; ; n++ {
		if !slices.ContainsFunc(c.out.views, func(s shown) bool { return s.name == own }) {
			return own
		}
		own = fmt.Sprintf("%s-%d", name, n)
	}
}

// settleViews makes views of the configuration of those that were read, and zones of theirs. Whoever is
// in none gets nothing. Of whom it is not known whether he is in a view, he gets nothing from those
// behind it: what one would have refused him, none of the others gives.
func (c *converter) settleViews() {
	denied, last, ways := c.out.deny, (*view)(nil), 0
	c.out.deny, c.out.recurse = nil, false
	for _, v := range c.read {
		switch {
		case last != nil:
			c.note(v.from, Changed, "no client gets it: view "+last.name+", before it, matches every client")
			v.ways = nil
			continue
		case len(v.ways) > 0:
			v.out.deny = denied.union(allAddresses().minus(v.clients))
			c.within(v, c.settleClients)
		}
		ways += len(v.ways)
		denied = denied.union(v.unsure)
		if slices.ContainsFunc(v.ways, func(w way) bool { return w.everybody() }) {
			last = v
		}
		c.out.recurse = c.out.recurse || len(v.ways) > 0 && v.out.recurse
	}
	c.limitStrangers()
	closed := last == nil || ways > maxViews
	if closed {
		c.out.set("policy.deny", list(allAddresses().text()))
	}
	origins := map[*zone]*zone{}
	for _, v := range c.read {
		if len(v.ways) > 0 {
			c.show(v, closed, origins)
		}
	}
}

// limitStrangers has the answers counted of those who ask a resolver for zones alone.
func (c *converter) limitStrangers() {
	var resolved netset
	strangers := false
	for _, v := range c.read {
		if len(v.ways) > 0 && v.out.recurse {
			resolved = resolved.union(v.out.resolved().and(v.clients))
		} else {
			strangers = strangers || !v.clients.within(privateAddresses()) && len(v.ways) > 0 && len(v.out.zones) > 0
		}
	}
	if c.out.recurse && strangers {
		c.out.set("policy.rate_limit.enabled", "true")
		c.out.add("policy.rate_limit.exempt", resolved.text()...)
	}
}

// within has something done with a view in the place of the whole server.
func (c *converter) within(v *view, do func()) {
	whole, byName := c.out, c.byName
	c.out, c.byName = v.out, v.byName
	c.out.listen = whole.listen
	do()
	v.out, c.out, c.byName = c.out, whole, byName
}

// show adds a view to the configuration. closed: who is in no view gets nothing.
func (c *converter) show(v *view, closed bool, origins map[*zone]*zone) {
	settings := c.viewSettings(v, closed)
	var names []string
	for _, w := range v.ways {
		if len(c.out.views) == maxViews {
			c.note(v.from, Unsupported, fmt.Sprintf("there can be %d views: its clients get nothing", maxViews))
			break
		}
		name := c.viewName(v.name)
		names = append(names, name)
		c.out.views = append(c.out.views, shown{name, w, settings})
		for _, k := range slices.Concat(w.keys, w.clientKeys, w.exceptedKeys) {
			c.keys[k].used = true
		}
	}
	if len(names) == 0 {
		return
	}
	if c.note(v.from, Converted, ""); len(names) > 1 || names[0] != v.name {
		c.note(v.from, Changed, "it is called "+strings.Join(names, " and ")+" here")
	}
	for _, p := range v.out.policies {
		if !slices.Contains(c.out.policies, p) {
			c.out.policies = append(c.out.policies, p)
		}
	}
	for _, z := range v.out.zones {
		same := origins[z.origin]
		if z.origin == nil {
			if i := slices.IndexFunc(c.out.zones, z.alike); i >= 0 {
				same = c.out.zones[i]
			}
		}
		if same == nil {
			z.views = slices.Clone(names)
			c.out.zones = append(c.out.zones, z)
			if z.origin != nil {
				origins[z.origin] = z
			}
			continue
		}
		if same.views = append(same.views, names...); z.origin != nil && (z.query != nil || same.query != nil) {
			same.query = z.whole
		}
	}
}

// viewSettings returns what a view says that was settled.
func (c *converter) viewSettings(v *view, closed bool) []setting {
	m, limits := &v.out, "policy.rate_limit."
	if m.get(limits+"enabled") != "" {
		c.out.set(limits+"enabled", "true")
		c.out.add(limits+"exempt", m.resolved().text()...)
	}
	m.settings = slices.DeleteFunc(m.settings, func(s setting) bool { return strings.HasPrefix(s.path, limits) })
	set := func(path, value string) {
		if m.get(path) == "" {
			m.set(path, value)
		}
	}
	switch own := m.get("policy.allow") == list(v.clients.text()); {
	case !m.recurse && len(m.zones) == 0:
		m.set("policy.deny", list(allAddresses().text()))
	case c.out.recurse && !m.recurse:
		set("policy.allow", list(allAddresses().text()))
	case own && !c.out.recurse: // which is everybody who is in the view
		m.settings = slices.DeleteFunc(m.settings, func(s setting) bool { return s.path == "policy.allow" })
	}
	if closed {
		set("policy.deny", "[]")
	}
	settings := m.allSettings()
	if c.out.recurse && !m.recurse {
		settings = append(settings, setting{"resolver.recursion", "false"})
	}
	return settings
}

// alike reports whether another zone is the same but for the views that see it.
func (z *zone) alike(other *zone) bool {
	a, b := *z, *other
	a.views, b.views = nil, nil
	var one, two strings.Builder
	a.write(&one)
	b.write(&two)
	return other.origin == nil && one.String() == two.String()
}

// writeViews writes the views.
func (m *model) writeViews(b *strings.Builder) {
	for i, v := range m.views {
		if i == 0 {
			b.WriteString("views:\n")
		}
		var fields []string
		add := func(name string, nets netset, keys []string) {
			var all []string
			for _, n := range nets.text() {
				all = append(all, quote(n))
			}
			for _, k := range keys {
				all = append(all, "{key: "+quote(k)+"}")
			}
			if len(all) > 0 {
				fields = append(fields, name+": ["+strings.Join(all, ", ")+"]")
			}
		}
		add("clients", v.clients, v.clientKeys)
		add("except", nil, v.exceptedKeys)
		if len(v.keys) > 0 {
			fields = append(fields, "key: "+list(v.keys))
		}
		if len(v.listen) > 0 {
			fields = append(fields, "listen: "+list(v.listen))
		}
		fmt.Fprintf(b, "  - name: %s\n    match: {%s}\n", quote(v.name), strings.Join(fields, ", "))
		settings := slices.Clone(v.settings)
		for j := range settings {
			settings[j].value = strings.ReplaceAll(settings[j].value, "\n", "\n    ")
		}
		writeSettings(b, settings, "    ")
	}
}
