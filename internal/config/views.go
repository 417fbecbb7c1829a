package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"port53/internal/wire"
)

// A Network is a list of networks that has a name.
type Network struct {
	Name string         `yaml:"name" is:"label" required:"true"`
	List []netip.Prefix `yaml:"list" required:"true"`
}

// A View is what some clients see in place of what all others do.
type View struct {
	Name       string       `yaml:"name" is:"label" required:"true"`
	Match      Match        `yaml:"match"`
	RRsetOrder string       `yaml:"rrset_order" is:"word" words:"server fixed cyclic random" default:"server"`
	Policy     ViewPolicy   `yaml:"policy"`
	Resolver   ViewResolver `yaml:"resolver"`
}

// A Match is whose view a view is.
type Match struct {
	Clients    []netip.Prefix `yaml:"clients" beside:"key=ClientKeys" default:""`
	ClientKeys [][]byte       // those of clients, in lower case
	Except     []netip.Prefix `yaml:"except" beside:"key=ExceptKeys" default:""`
	ExceptKeys [][]byte
	Listen     []netip.AddrPort `yaml:"listen" lone:"true" default:""`
	Key        [][]byte         `yaml:"key" is:"name" value:"the name of an entry in keys" lone:"true" default:""`
}

// ViewPolicy is who may ask in a view, and what is filtered there.
type ViewPolicy struct {
	AllowInterfaces []string
	Allow           []netip.Prefix `yaml:"allow" beside:"interface=AllowInterfaces" default:"" quiet:"true"`
	Deny            []netip.Prefix `yaml:"deny" default:"" quiet:"true"`
	Block           []FilterBlock  `yaml:"block"`
	AllowNames      [][]byte       `yaml:"allow_names" is:"pattern" default:"" quiet:"true"`
	AllowLists      []string       `yaml:"allow_lists" is:"label" value:"the name of an entry in policy.lists" default:"" quiet:"true"`
	RPZ             []RPZ          `yaml:"rpz"`
}

// ViewResolver is how names outside of the zones are resolved in a view.
type ViewResolver struct {
	Recursion            bool `yaml:"recursion" default:"true" quiet:"true"`
	AllowInterfaces      []string
	Allow                []netip.Prefix        `yaml:"allow" beside:"interface=AllowInterfaces" default:"" quiet:"true"`
	Forward              []Forward             `yaml:"forward"`
	Stub                 []Stub                `yaml:"stub"`
	RootHints            string                `yaml:"root_hints" default:"" is:"path" quiet:"true"`
	TrustAnchors         string                `yaml:"trust_anchors" default:"" is:"path" quiet:"true"`
	Validation           bool                  `yaml:"validation" default:"true" quiet:"true"`
	NegativeTrustAnchors []NegativeTrustAnchor `yaml:"negative_trust_anchors"`
	SpecialNames         bool                  `yaml:"special_names" default:"true" quiet:"true"`
	Rebinding            string                `yaml:"rebinding" default:"auto" is:"word" words:"auto on off" quiet:"true"`
	PrivateZones         [][]byte              `yaml:"private_zones" default:"" is:"name" quiet:"true"`
	DNS64                DNS64                 `yaml:"dns64"`
}

// DefaultView is the name of the view of those who are in no other.
const DefaultView = "default"

// maxViews is the most views: one search tells all that a client is in, by a bit each.
const maxViews = 63

// viewName is what names of views look like: names of directories are made of them.
var viewName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?$`)

// InView returns the configuration as the view at index i of Views has it: what it says itself is in
// the place of what is said for all. Its lists are shared with c. Zones are all of c's: see ZoneViews.
func (c *Config) InView(i int) *Config {
	v, n := &c.Views[i], *c
	n.view = v.Name
	n.Policy.Allow, n.Policy.AllowInterfaces, n.Policy.Deny = v.Policy.Allow, v.Policy.AllowInterfaces, v.Policy.Deny
	n.Policy.Block, n.Policy.AllowNames, n.Policy.AllowLists = v.Policy.Block, v.Policy.AllowNames, v.Policy.AllowLists
	n.Policy.RPZ = v.Policy.RPZ
	if v.RRsetOrder != "server" {
		n.RRsetOrder = v.RRsetOrder
	}
	from, to := reflect.ValueOf(&v.Resolver).Elem(), reflect.ValueOf(&n.Resolver).Elem()
	for i := range from.NumField() {
		if field := to.FieldByName(from.Type().Field(i).Name); field.IsValid() {
			field.Set(from.Field(i))
		}
	}
	return &n
}

// View returns the name of the view that the configuration is of.
func (c *Config) View() string {
	if c.view == "" {
		return DefaultView
	}
	return c.view
}

// ViewNames returns the names of the views in the order in which they are tried, the default last;
// nil: there are none.
func (c *Config) ViewNames() []string {
	if len(c.Views) == 0 {
		return nil
	}
	names := make([]string, 0, len(c.Views)+1)
	for i := range c.Views {
		names = append(names, c.Views[i].Name)
	}
	return append(names, DefaultView)
}

// ZoneViews returns, for each zone, the names of the views that see it; nil: there are no views. A
// zone that names none is seen by all that have no other of its name. Response policy zones are in a
// view of their own.
func (c *Config) ZoneViews() [][]string {
	policies := c.PolicyZones()
	if len(c.Views) == 0 && len(policies) == 0 {
		return nil
	}
	names := c.ViewNames()
	if names == nil {
		names = []string{DefaultView}
	}
	taken := map[string][]string{}
	for i := range c.Zones {
		if z := &c.Zones[i]; len(z.Views) > 0 {
			key := string(wire.Lower(nil, z.Name))
			taken[key] = append(taken[key], z.Views...)
		}
	}
	all := make([][]string, len(c.Zones))
	for i := range c.Zones {
		z := &c.Zones[i]
		if policies[string(wire.Lower(nil, z.Name))] {
			all[i] = []string{PolicyView}
			continue
		}
		if all[i] = z.Views; len(z.Views) > 0 {
			continue
		}
		others := taken[string(wire.Lower(nil, z.Name))]
		if all[i] = names; len(others) > 0 {
			all[i] = slices.DeleteFunc(slices.Clone(names), func(v string) bool { return slices.Contains(others, v) })
		}
	}
	return all
}

// Qualifier returns the view that the zone goes by among others of its name, in state_dir too: the first
// that it names. Empty: it names none.
func (z *ZoneSettings) Qualifier() string {
	if len(z.Views) == 0 {
		return ""
	}
	return z.Views[0]
}

// zonesIn returns which zones a view sees.
func (c *Config) zonesIn(view string) func(i int) bool {
	views := c.ZoneViews()
	return func(i int) bool { return views == nil || slices.Contains(views[i], view) }
}

// nested returns the index by which places of a block of a list are kept that lies within the
// block at index outer of another list.
func (k *key) nested(outer int32, i int) int32 {
	if outer >= 0 && len(k.path) > len(viewsPath) && k.path[:len(viewsPath)] == viewsPath {
		return outer<<16 | int32(i)
	}
	return int32(i)
}

const viewsPath = "views[]."

// networkOf returns the networks of the name that n is, where k lists networks. ok is false if n is
// no name of networks; what is wrong with it is reported.
func (d *decoder) networkOf(k *key, n ast.Node, where string) (list []netip.Prefix, ok bool) {
	s, scalar := n.(ast.ScalarNode)
	if _, empty := n.(*ast.NullNode); k.form != formPrefix || !scalar || empty || !remoteName(scalarOf(s).text) {
		return nil, false
	}
	name := scalarOf(s).text
	if list, ok = d.whoWord(k, name, start(n)); ok {
		return list, true
	}
	if list, ok = d.networks[name]; ok || k.remote {
		return list, ok
	}
	names := make([]string, 0, len(d.networks))
	for name := range d.networks {
		names = append(names, name)
	}
	slices.Sort(names)
	p := expected(k, scalarOf(s), meant(nearest(name, names)))
	if hint := d.foreignNetwork(k, name); hint != "" {
		p.hint = hint
	} else if p.hint == "" && !strings.HasSuffix(k.path, "dns64.prefix") {
		p.hint = "to use a name here, define it: networks: [{name: " + yamlText(name) + ", list: [10.0.0.0/8]}]"
	}
	d.fail(start(n), where+": "+p.text, p.hint)
	return nil, true
}

// name has a network stand for its list from now on.
func (d *decoder) name(n Network) {
	if d.networks == nil {
		d.networks = map[string][]netip.Prefix{}
	}
	d.networks[n.Name] = n.List
}

// addNetwork adds the networks of the name that n is to a list, each once.
func (d *decoder) addNetwork(k *key, n ast.Node, out reflect.Value, list []netip.Prefix, index int32) reflect.Value {
	at := place{k.id, index}
	for _, p := range list {
		have, _ := out.Interface().([]netip.Prefix)
		if slices.Contains(have, p) {
			continue
		}
		d.items[at] = append(d.items[at], d.mark(start(n)))
		out = reflect.Append(out, reflect.ValueOf(p))
	}
	return out
}

// checkNetworks reports names of networks that are no good.
func (d *decoder) checkNetworks() {
	seen := map[string]position{}
	for i, n := range d.config.Networks {
		at, _ := d.atIndex("networks.name", int32(i))
		if first, again := seen[n.Name]; again {
			d.fail(at, fmt.Sprintf("network %s is already defined at %s", quote(n.Name), d.line(first, at)), "remove one of them")
		}
		seen[n.Name] = at
		switch {
		case !remoteName(n.Name):
			d.fail(
				at,
				fmt.Sprintf("networks[%d].name: expected letters, digits and - _ . with at least one letter, found %s", i, quote(n.Name)),
				"",
			)
		case d.config.Remote(n.Name) != nil:
			d.fail(at, fmt.Sprintf("network %s has the name of a remote", quote(n.Name)), "give one of them another name: lists take both")
		}
		if at, _ := d.atIndex("networks.list", int32(i)); len(n.List) == 0 {
			d.fail(at, "network "+quote(n.Name)+": expected at least one network, found an empty list", "")
		}
	}
}

// inheritViews gives the views what is said for all and they do not say themselves.
func (d *decoder) inheritViews() {
	for i := range d.config.Views {
		v := &d.config.Views[i]
		for _, part := range []struct {
			path     string
			from, to reflect.Value
		}{
			{"policy", reflect.ValueOf(&d.config.Policy).Elem(), reflect.ValueOf(&v.Policy).Elem()},
			{"resolver", reflect.ValueOf(&d.config.Resolver).Elem(), reflect.ValueOf(&v.Resolver).Elem()},
		} {
			for _, k := range d.table.find("views." + part.path).keys {
				from := part.from.FieldByName(part.to.Type().FieldByIndex(k.field).Name)
				if _, set := d.cols[place{k.id, int32(i)}]; set || !from.IsValid() {
					continue
				}
				part.to.FieldByIndex(k.field).Set(from)
				for _, b := range k.beside {
					part.to.FieldByName(b.field).Set(part.from.FieldByName(b.field))
				}
			}
		}
		if !d.config.Recurses() {
			v.Resolver.Recursion = false
		}
	}
}

// checkViews reports views that cannot be told apart, that nobody could see, or that are for somebody
// who is not there.
func (d *decoder) checkViews() {
	c := d.config
	keys := map[string]bool{}
	for _, k := range c.Keys {
		keys[string(wire.Lower(nil, k.Name))] = true
	}
	seen := map[string]position{}
	for i := range c.Views {
		v, n := &c.Views[i], int32(i)
		at, _ := d.atIndex("views.name", n)
		what := "view " + quote(v.Name) + ": "
		switch first, again := seen[v.Name]; {
		case again:
			d.fail(at, fmt.Sprintf("view %s is already defined at %s", quote(v.Name), d.line(first, at)), "remove one of them")
		case v.Name == DefaultView:
			d.fail(at, "view \"default\" is what the rest of the file says, for all whom no view matches", "give the view another name")
		case !viewName.MatchString(v.Name):
			d.fail(
				at,
				fmt.Sprintf("views[%d].name: expected at most 32 small letters, digits, and - _ between them, found %s", i, quote(v.Name)),
				"",
			)
		case i >= maxViews:
			d.fail(
				at,
				fmt.Sprintf("there are %d views, and at most %d can be", len(c.Views), maxViews),
				"views that differ in one zone alone can be one view, and allow_query in the zone",
			)
			return
		}
		seen[v.Name] = at
		m := &v.Match
		for _, l := range []struct {
			path  string
			names [][]byte
		}{{"clients", m.ClientKeys}, {"except", m.ExceptKeys}, {"key", m.Key}} {
			at, _ := d.atIndex("views.match."+l.path, n)
			for j, name := range l.names {
				if l.names[j] = wire.Lower(nil, name); !keys[string(l.names[j])] {
					d.noKey(at, what, name)
				}
			}
		}
		d.checkMatch(i, what)
		d.checkViewResolver(i, what)
	}
	d.checkZoneViews(seen)
}

// checkMatch reports a view that no client can be in.
func (d *decoder) checkMatch(i int, what string) {
	c, n := d.config, int32(i)
	m := &c.Views[i].Match
	for j, p := range m.Except {
		if slices.Contains(m.Clients, p) {
			d.fail(
				d.item("views.match.except", n, j),
				fmt.Sprintf("%smatch.except[%d]: %s is in clients as well", what, j, p),
				"remove it from one of them",
			)
		}
	}
	for j, a := range m.Listen {
		here := slices.ContainsFunc(c.Listen, func(l netip.AddrPort) bool {
			same := l.Addr() == a.Addr() || l.Addr().IsUnspecified() && (l.Addr().Is6() || a.Addr().Is4())
			return same && (a.Port() == 0 || l.Port() == 0 || l.Port() == a.Port())
		})
		if !here {
			at := d.item("views.match.listen", n, j)
			d.fail(
				at,
				fmt.Sprintf("%smatch.listen[%d]: nothing listens on %s%s", what, j, listenText(a), d.seen("listen", at)),
				"add it to listen, or remove it here",
			)
		}
	}
	for j := range i {
		if !everybody(&c.Views[j].Match) {
			continue
		}
		at, _ := d.atIndex("views.name", n)
		first, _ := d.atIndex("views.name", int32(j))
		d.fail(
			at,
			fmt.Sprintf(
				"%sno client gets this view: view %s, before it, matches every client (see %s)",
				what,
				quote(c.Views[j].Name),
				d.line(first, at),
			),
			"write the view that matches every client last",
		)
		return
	}
}

// everybody reports whether a view is for all clients.
func everybody(m *Match) bool {
	return len(m.Clients)+len(m.ClientKeys)+len(m.Except)+len(m.ExceptKeys)+len(m.Listen)+len(m.Key) == 0
}

func listenText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// checkZoneViews reports zones of views that there are not, and zones of one name that one view has.
func (d *decoder) checkZoneViews(views map[string]position) {
	c := d.config
	type seen struct{ name, view string }
	has := map[seen]int{}
	for i := range c.Zones {
		z := &c.Zones[i]
		at, ok := d.atIndex("zones.views", int32(i))
		if !ok {
			at = d.zones[i]
		}
		for j, view := range z.Views {
			if _, known := views[view]; !known && (view != DefaultView || len(views) == 0) {
				names := []string{DefaultView}
				for name := range views {
					names = append(names, name)
				}
				hint := meant(nearest(view, names))
				if hint == "" {
					hint = "define it: views: [{name: " + yamlText(view) + ", match: {clients: [10.0.0.0/8]}}]"
				}
				d.fail(at, fmt.Sprintf("zone %s: there is no view %s", quote(nameText(z.Name)), quote(view)), hint)
			}
			if slices.Contains(z.Views[:j], view) {
				d.fail(at, fmt.Sprintf("zone %s: view %s is in the list twice", quote(nameText(z.Name)), quote(view)), "remove one of them")
				continue
			}
			key := seen{string(wire.Lower(nil, z.Name)), view}
			if first, again := has[key]; again {
				d.fail(
					d.zones[i],
					fmt.Sprintf(
						"zone %s is already defined for view %s at %s",
						quote(nameText(z.Name)),
						quote(view),
						d.line(d.zones[first], d.zones[i]),
					),
					"take the view out of the views of one of them",
				)
			}
			has[key] = i
		}
	}
	if len(c.Views) == 0 {
		return
	}
	for i, in := range c.ZoneViews() {
		if len(in) == 0 {
			d.fail(
				d.zones[i],
				fmt.Sprintf("zone %s: every view has another zone of that name", quote(nameText(c.Zones[i].Name))),
				"remove it, or name its views",
			)
		}
	}
}

// checkViewResolver reports what of a view's resolver does not go together.
func (d *decoder) checkViewResolver(i int, what string) {
	c, v := d.config, &d.config.Views[i]
	at, set := d.atIndex("views.resolver", int32(i))
	if !c.Recurses() {
		if set {
			d.fail(
				at,
				what+"resolver: an authoritative server resolves nothing for others",
				"remove the section, or choose role: internal-resolver",
			)
		}
		return
	}
	if !v.Resolver.Recursion {
		return
	}
	in := c.InView(i)
	d.checkDNS64("views.resolver.dns64", what, &v.Resolver.DNS64, int32(i))
	if c.Internal() {
		for j, n := range v.Resolver.Allow {
			if _, own := d.atIndex("views.resolver.allow", int32(i)); own && strangers(n) {
				d.fail(
					d.item("views.resolver.allow", int32(i), j),
					fmt.Sprintf(
						"%sresolver.allow[%d]: %s covers a large public network: an open resolver is used to "+
							"attack others with forged addresses",
						what,
						j,
						n,
					),
					"list your own networks; or choose role: public-resolver, which limits rates",
				)
			}
		}
	}
	served := c.zonesIn(v.Name)
	first := map[string]position{}
	for _, r := range d.routesOf(&in.Resolver, "views.resolver", i) {
		if _, own := d.atIndex(r.path, int32(i)); !own {
			continue // it is told of once, where it stands
		}
		at, _ := d.atIndex(r.path+".zone", r.index)
		name := string(wire.Lower(nil, r.zone))
		for j := range c.Zones {
			if served(j) && bytes.Equal(wire.Lower(nil, c.Zones[j].Name), []byte(name)) {
				d.fail(
					at,
					fmt.Sprintf(
						"%s%s: zone %s is served here (see %s), and its servers are never asked",
						what,
						r,
						quote(nameText(r.zone)),
						d.line(d.zones[j], at),
					),
					"remove one of them, or take the view out of the zone's views",
				)
			}
		}
		if other, again := first[name]; again {
			d.fail(
				at,
				fmt.Sprintf("%s%s: zone %s has servers already at %s", what, r, quote(nameText(r.zone)), d.line(other, at)),
				"write all servers into one list, and the zone into forward or stub",
			)
		}
		first[name] = at
		d.checkServers(r, in)
	}
}
