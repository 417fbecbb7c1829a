package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"port53/internal/wire"
)

// parsePattern reads a name, or a star and the name above it.
func (k *key) parsePattern(s scalar) (any, *problem) {
	rest, star := strings.CutPrefix(s.text, "*.")
	v, p := k.parseName(scalar{text: rest, quoted: s.quoted})
	if p != nil {
		return nil, expected(k, s, p.hint)
	}
	name := v.([]byte)
	switch {
	case len(name) <= 1: // none at all behind the star
		return nil, expected(k, s, "the root is not yours")
	case star && len(name)+2 > wire.MaxName:
		return nil, expected(k, s, "it is too long")
	case star:
		name = append([]byte("\x01*"), name...)
	}
	return name, nil
}

// resolverKeys returns the keys that count in the roles that resolve alone.
func resolverKeys() []string {
	return []string{resolverSection, "hosts", "names", "leases", "domain"}
}

// checkHosts reports names of machines that could never be asked for.
func (d *decoder) checkHosts() {
	c := d.config
	if !c.Recurses() {
		for _, key := range resolverKeys()[1:] {
			if at, set := d.at(key); set {
				d.fail(
					at,
					key+": an authoritative server has names in zones alone",
					"write them into a zone, or choose role: internal-resolver",
				)
			}
		}
		return
	}
	for i, n := range c.Names {
		for j, z := range c.Zones {
			if bytes.Equal(wire.Lower(nil, n.Name), wire.Lower(nil, z.Name)) {
				at := d.cols[place{d.table.find("names").child("name").id, int32(i)}]
				d.fail(
					at,
					fmt.Sprintf(
						"names: %s is the name of a zone that is served here (see %s): the entry would never be used",
						quote(nameText(n.Name)),
						d.line(d.zones[j], at),
					),
					"write the address into the zone, at @",
				)
			}
		}
	}
}

// checkHostsFiles reports files of names that cannot be read.
func (d *decoder) checkHostsFiles() {
	look := func(path string, index int, file string) {
		if p := unreadable(file); p != nil {
			at, _ := d.atIndex(path+".file", int32(index))
			d.fail(at, fmt.Sprintf("%s[%d]: %s %s", path, index, printable(file), p.text), p.hint)
		}
	}
	for i, f := range d.config.Hosts {
		look("hosts", i, f.File)
	}
	for i, f := range d.config.Leases {
		look("leases", i, f.File)
	}
}

// An owner is something that answers for a name and all below it, or for the name alone.
type owner struct {
	what  string
	name  []byte // in lower case, without the star
	star  bool
	alone bool
}

func (o *owner) String() string {
	if o.star {
		return o.what + " *." + nameText(o.name)
	}
	return o.what + " " + nameText(o.name)
}

// Precedence says which of the zones, forwards, stubs and names of machines lie within each other,
// and which wins there, a sentence each.
func (c *Config) Precedence() []string {
	if !c.Recurses() {
		return nil
	}
	var all []owner
	add := func(what string, name []byte, alone bool) {
		o := owner{what: what, name: wire.Lower(nil, name), alone: alone}
		if above, ok := bytes.CutPrefix(o.name, []byte("\x01*")); ok {
			o.name, o.star, o.alone = above, true, false
		}
		all = append(all, o)
	}
	for _, z := range c.Zones {
		add("zone", z.Name, false)
	}
	for _, f := range c.Resolver.Forward {
		add("forward", f.Zone, false)
	}
	for _, s := range c.Resolver.Stub {
		add("stub", s.Zone, false)
	}
	for _, n := range c.Names {
		add("name", n.Name, true)
	}
	if len(c.Domain) > 1 {
		add("domain", c.Domain, false)
	}
	zone := func(o *owner) bool { return o.what == "zone" }
	var list []string
	for i := range all {
		in := &all[i]
		var over *owner // the closest that in lies within
		for j := range all {
			o := &all[j]
			below := len(in.name) > len(o.name) ||
				len(in.name) == len(o.name) && (in.star && !o.star || o.what == "domain" && in.what != "domain")
			if i == j || o.alone || len(o.name) == 1 || !below || !wire.Subdomain(in.name, o.name) {
				continue
			}
			if over == nil || len(o.name) > len(over.name) {
				over = o
			}
		}
		if over != nil && !(zone(in) && zone(over)) {
			list = append(list, fmt.Sprintf("%s wins over %s, which it lies within", in, over))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// AuthoritativeDomain reports whether names of Domain that are nowhere here do not exist: no zone, forward
// or stub has the domain itself.
func (c *Config) AuthoritativeDomain() bool {
	if len(c.Domain) < 2 {
		return false
	}
	domain := wire.Lower(nil, c.Domain)
	same := func(name []byte) bool { return bytes.Equal(wire.Lower(nil, name), domain) }
	return !slices.ContainsFunc(c.Zones, func(z Zone) bool { return same(z.Name) }) &&
		!slices.ContainsFunc(c.Resolver.Forward, func(f Forward) bool { return same(f.Zone) }) &&
		!slices.ContainsFunc(c.Resolver.Stub, func(s Stub) bool { return same(s.Zone) })
}
