package convert

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"port53/internal/wire"
)

// A localName is a record that the other server has without a zone.
type localName struct {
	from      *stmt
	name      string
	typ, data string // in the form of zone files
	ttl       int    // seconds
	below     bool   // the names below it have the record as well
	reverse   bool   // and the address leads to the name (PTR)
}

// addName takes a name with an address.
func (c *converter) addName(s *stmt, name string, addr netip.Addr, ttl int, below, reverse bool) bool {
	typ := "A"
	if addr.Is6() {
		typ = "AAAA"
	}
	return c.addRecord(localName{s, domain(name), typ, addr.WithZone("").String(), ttl, below, reverse})
}

func (c *converter) addRecord(n localName) bool {
	star := ""
	if rest, ok := strings.CutPrefix(n.name, "*."); ok {
		star, n.name = "*.", rest
	}
	switch {
	case !goodName(n.name) || strings.ContainsAny(n.name, " \t\"();$@\\*"):
		c.note(n.from, Unsupported, n.name+" is no name of a machine")
		return false
	case n.name == "localhost" || strings.HasSuffix(n.name, ".localhost"):
		c.note(n.from, Changed, "localhost is built in")
		return true
	}
	n.name = star + n.name
	c.names = append(c.names, n)
	c.note(n.from, Converted, "")
	return true
}

// privateTops are domains that the public tree does not have, or has for machines at home.
const privateTops = " lan home local internal localdomain intranet private corp home.arpa test example invalid domain local.lan "

// A single is a name with addresses of its own, beside all zones.
type single struct {
	name  string // or *. and the name above
	addrs []string
}

// maxInline is how many names stand in the configuration: a block has few hundred keys at
// most. More are written into a file of hosts.
const maxInline = 200

// writeSingle takes the names with addresses that are in no domain which is known as a whole:
// they are names of the configuration, where names are resolved, or in a file of hosts.
func (c *converter) writeSingle() {
	if !c.out.recurse || c.group != nil && !c.group.singles {
		return
	}
	at := map[string]int{}
	add := func(name, addr string) {
		i, ok := at[name]
		if !ok {
			i = len(c.out.local.names)
			at[name] = i
			c.out.local.names = append(c.out.local.names, single{name: name})
		}
		if s := &c.out.local.names[i]; !slices.Contains(s.addrs, addr) {
			s.addrs = append(s.addrs, addr)
		}
	}
	c.names = slices.DeleteFunc(c.names, func(n localName) bool {
		if n.typ != "A" && n.typ != "AAAA" || c.apexOf(n) != n.name || slices.Contains(c.domains, n.name) {
			return false
		}
		if add(n.name, n.data); n.below {
			add("*."+n.name, n.data)
		}
		return true
	})
	if len(c.out.local.names) <= maxInline {
		return
	}
	var stars []single
	var b strings.Builder
	for _, s := range c.out.local.names {
		if strings.HasPrefix(s.name, "*.") && len(stars) < maxInline {
			stars = append(stars, s)
			continue
		}
		for _, a := range s.addrs {
			fmt.Fprintf(&b, "%s %s\n", a, s.name)
		}
	}
	c.out.local.names = stars
	c.out.local.hosts = append(c.out.local.hosts, "imported.hosts")
	c.write("imported.hosts", b.String())
}

// write puts a file beside the result.
func (c *converter) write(name, text string) {
	if c.written == nil {
		c.written = map[string][]byte{}
	}
	c.written[name] = []byte(text)
}

// hides reports whether a zone for the name alone would hide what others may have below it.
func hides(name string) bool {
	top := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Count(name, ".") == 1 && !strings.Contains(privateTops, " "+top+" ")
}

// addDomain says that all names of a domain are known here: others do not exist.
func (c *converter) addDomain(name string) {
	if name = domain(name); goodName(name) && !slices.Contains(c.domains, name) {
		c.domains = append(c.domains, name)
	}
}

// apexOf returns the zone that a name is written into: the domain that it is in, or one of its
// own, since nothing is known of the names beside it.
func (c *converter) apexOf(n localName) string {
	apex := n.name
	if n.below {
		return apex
	}
	best := ""
	for _, d := range c.domains {
		if (n.name == d || strings.HasSuffix(n.name, "."+d)) && len(d) > len(best) {
			best = d
		}
	}
	if best != "" {
		return best
	}
	return apex
}

// writeNames makes zones of the names: one for each domain that is known as a whole, and one
// for each other name.
func (c *converter) writeNames() {
	c.followHosts()
	c.follow()
	c.writeSingle()
	for _, n := range slices.Clone(c.names) {
		if a, err := netip.ParseAddr(n.data); n.reverse && err == nil {
			name, _ := wire.ParseName(n.name)
			c.names = append(c.names, localName{n.from, reverseName(a), "PTR", string(wire.AppendName(nil, name)), n.ttl, false, false})
		}
	}
	c.names = slices.DeleteFunc(c.names, c.misplaced)
	zones := map[string][]localName{}
	var order []string
	for _, d := range c.domains {
		zones[d] = nil
		order = append(order, d)
	}
	for _, n := range c.names {
		apex := c.apexOf(n)
		if _, ok := zones[apex]; !ok {
			order = append(order, apex)
		}
		zones[apex] = append(zones[apex], n)
	}
	for _, apex := range order {
		if apex == c.out.local.domain && c.out.recurse && len(zones[apex]) == 0 {
			continue // domain says as much
		}
		c.writeZone(apex, zones[apex])
	}
}

// misplaced reports whether a record cannot be in a zone of its own name, and says so. An alias
// there becomes the addresses that it leads to.
func (c *converter) misplaced(n localName) bool {
	if n.typ == "PTR" || c.apexOf(n) != n.name || slices.Contains(c.domains, n.name) {
		return false
	}
	switch {
	case hides(n.name):
		c.note(n.from, Planned, "single names beside those of a public domain: a zone for "+n.name+" would hide the others")
	case n.typ != "A" && n.typ != "AAAA" && !strings.HasPrefix(n.name, "_"):
		c.note(n.from, Planned, "single records beside those of a name: a zone for "+n.name+" would hide the others")
	default:
		return false
	}
	return true
}

// follow puts addresses in the place of aliases that would be alone in a zone.
func (c *converter) follow() {
	var out []localName
	for _, n := range c.names {
		if n.typ != "CNAME" || c.apexOf(n) != n.name {
			out = append(out, n)
			continue
		}
		found := false
		for _, t := range c.names {
			if t.name == domain(n.data) && (t.typ == "A" || t.typ == "AAAA") {
				t.from, t.name, t.below, t.reverse, found = n.from, n.name, n.below, false, true
				out = append(out, t)
			}
		}
		if found {
			c.note(n.from, Changed, "the addresses of "+n.data+" stand for the alias")
		} else {
			c.note(n.from, Planned, "an alias that no zone has, to a name elsewhere")
		}
	}
	c.names = out
}

func reverseName(a netip.Addr) string {
	var b strings.Builder
	octets := a.AsSlice()
	for _, o := range slices.Backward(octets) {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", o)
		} else {
			fmt.Fprintf(&b, "%x.%x.", o&15, o>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

var unsafeInFile = regexp.MustCompile(`[^a-z0-9._-]`)

// maxNames is the most zones that are made of single names: longer lists block or come from
// elsewhere.
const maxNames = 5000

func (c *converter) writeZone(apex string, names []localName) {
	from := lineStmt(c.options.Path, 1, "zone", apex)
	if len(names) > 0 {
		from = names[0].from
	} else if c.group != nil && c.group.from[apex] != nil {
		from = c.group.from[apex]
	}
	if len(c.written) >= maxNames {
		c.note(from, Unsupported, fmt.Sprintf("more than %d names without a zone", maxNames))
		return
	}
	ttl := 3600
	for _, n := range names {
		ttl = min(ttl, n.ttl)
	}
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"; Made by port53 import.\n$ORIGIN %s.\n$TTL %d\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 %d\n@ NS localhost.\n",
		strings.TrimSuffix(apex, "."),
		ttl,
		max(ttl, 1),
	)
	seen := map[string]bool{}
	for _, n := range names {
		owners := []string{n.name + "."}
		if n.below {
			owners = append(owners, "*."+n.name+".")
		}
		for _, o := range owners {
			line := fmt.Sprintf("%s %d %s %s\n", o, n.ttl, n.typ, n.data)
			if !seen[line] {
				b.WriteString(line)
			}
			seen[line] = true
		}
	}
	z := &zone{name: apex}
	if c.group != nil {
		var ok bool
		if z.views, ok = c.group.views(apex); !ok {
			c.note(from, Changed, "no client sees it")
			return
		}
	}
	if z.file = c.zonePath(from, apex); z.file != "" && c.addZone(from, z) {
		file := z.file
		c.write(file, b.String())
	}
}

// zonePath returns the path of a zone's file beside the result, "" if another zone has it.
func (c *converter) zonePath(from *stmt, apex string) string {
	label := ""
	if c.group != nil && c.group.label != "" {
		label = "@" + unsafeInFile.ReplaceAllString(c.group.label, "_")
	}
	file := "zones/" + strings.TrimLeft(unsafeInFile.ReplaceAllString(apex, "_"), ".") + label + ".zone"
	if len(file) > 200 {
		file = fmt.Sprintf("zones/%d.zone", len(c.written))
	}
	if c.written[file] != nil {
		c.note(from, Unsupported, "two zones would have the file "+file)
		return ""
	}
	return file
}
