package convert

import (
	"slices"
	"strings"
)

// An exception is a zone or a server that does not bear what others do.
type exception struct {
	of  string   // zone or server, with what it is called
	off []string // what it does not bear
}

const exceptionsPath = "resolver.exceptions"

// exceptZone has the servers of a zone spared something: case, cookies, edns.
func (c *converter) exceptZone(s *stmt, zone, what string) {
	if !goodName(zone) {
		c.note(s, Unsupported, "it is no domain name")
		return
	}
	c.except(s, what, "zone: "+quote(domain(zone)))
}

// exceptServer has a server, a network of servers, or any server, spared something.
func (c *converter) exceptServer(s *stmt, server, what string) {
	nets, ok := parseNet(server)
	if server == "any" {
		nets, ok = allAddresses(), true
	}
	if !ok {
		c.note(s, Unsupported, server+" is no address and no network")
		return
	}
	var of []string
	for _, text := range nets.text() {
		of = append(of, "server: "+quote(text))
	}
	c.except(s, what, of...)
}

// except adds to the exceptions of each of a statement.
func (c *converter) except(s *stmt, what string, of ...string) {
	list := slices.Clone(c.exceptions)
	for _, one := range of {
		i := slices.IndexFunc(list, func(x exception) bool { return x.of == one })
		if i < 0 {
			i = len(list)
			list = append(list, exception{of: one})
		}
		if !slices.Contains(list[i].off, what) {
			list[i].off = append(slices.Clone(list[i].off), what)
		}
	}
	var b strings.Builder
	for _, x := range list {
		b.WriteString("\n    - {" + x.of)
		for _, o := range x.off {
			b.WriteString(", " + o + ": off")
		}
		b.WriteString("}")
	}
	if c.take(s, exceptionsPath, b.String()); c.out.get(exceptionsPath) == b.String() {
		c.exceptions = list
	}
}

// get returns the value of a key, or nothing.
func (m *model) get(path string) string {
	for _, s := range m.settings {
		if s.path == path {
			return s.value
		}
	}
	return ""
}
