package config

import (
	"bytes"
	"slices"
	"strings"

	"port53/internal/wire"
)

// A tail is what the configurations have in common that grew out of one another by WithZone: their zones
// stand in one array, and only the longest of them may write behind its end.
type tail struct{ zones int }

// A lateZone is where an added zone stands, and what its text sets.
type lateZone struct {
	line int
	set  []lateKey
}

type lateKey struct {
	key  int32
	line int32 // from that of the zone on
}

// WithZone returns the configuration with one zone more: what WithZones returns for text with the line of z
// appended, at a cost that does not grow with the zones that text has, which are those c has from it. false:
// z has to be added by WithZones, since there is an error, or since views or catalogs depend on the zones
// that there are. Only one goroutine may extend a configuration at a time.
func (c *Config) WithZone(text []byte, z *AddedZone) (*Config, bool) {
	if !c.hasAdded || len(c.Views) > 0 {
		return nil, false
	}
	alone, err := c.WithZones(c.files[len(c.files)-1], append([]byte(addedHead), z.line()...))
	if err != nil || alone.added != 1 || len(alone.Keys) != len(c.Keys) {
		return nil, false
	}
	last := len(alone.Zones) - 1
	one := &alone.Zones[last]
	if one.Catalog != "" || one.InCatalog != nil || len(one.Views) > 0 {
		return nil, false
	}
	for i := range c.Zones {
		if wire.EqualFold(c.Zones[i].Name, one.Name) {
			return nil, false
		}
	}
	n := *c
	if c.tail == nil || c.tail.zones != len(c.Zones) {
		n.tail = &tail{}
		n.Zones, n.late, n.templates = slices.Clone(c.Zones), slices.Clone(c.late), slices.Clone(c.templates)
	}
	n.Zones = append(n.Zones, *one)
	n.late = append(n.late, lateZone{bytes.Count(text, []byte{'\n'}) + 1, alone.late[0].set})
	n.templates = append(n.templates, alone.templates[last])
	n.tail.zones = len(n.Zones)
	n.added++
	return &n, true
}

// WithoutAdded returns the configuration without the added zone at index i: what WithZones returns for the
// text that WithoutZone returns, at the cost of a copy. false: that has to be asked, since views, catalogs or
// other keys depend on the zones that there are.
func (c *Config) WithoutAdded(i int) (*Config, bool) {
	if len(c.Views) > 0 || !c.Added(i) || c.added < 2 || c.Zones[i].Catalog != "" || c.Zones[i].InCatalog != nil {
		return nil, false
	}
	if _, err := c.WithZones(c.files[len(c.files)-1], []byte(addedHead)); err != nil {
		return nil, false // something may be said of the zone
	}
	n := *c
	n.tail = nil
	n.Zones = slices.Concat(c.Zones[:i], c.Zones[i+1:])
	n.templates = slices.Concat(c.templates[:i], c.templates[i+1:])
	k := i - c.own()
	lines := 1
	if k+1 < len(c.late) {
		lines = c.late[k+1].line - c.late[k].line
	}
	n.late = slices.Concat(c.late[:k], c.late[k+1:])
	for j := k; j < len(n.late); j++ {
		n.late[j].line -= lines
	}
	n.added--
	return &n, true
}

// partPlaces moves where the added zones stand from the places of the configuration's own files to late: the
// former are shared by all configurations of these files. own is how many zones these files have.
func (c *Config) partPlaces(own int) {
	of := map[int32]bool{}
	var mark func(k *key)
	mark = func(k *key) {
		for _, sub := range k.keys {
			if of[sub.id] = true; !sub.list {
				mark(sub)
			}
		}
	}
	mark(table().child("zones"))
	c.late = make([]lateZone, len(c.Zones)-own)
	for i := range c.late {
		c.late[i].line = c.origins[place{c.zoneName, int32(own + i)}].line
	}
	for p, at := range c.origins {
		if i := int(p.index) - own; of[p.key] && i >= 0 && i < len(c.late) {
			z := &c.late[i]
			z.set = append(z.set, lateKey{p.key, int32(at.line - z.line)})
			delete(c.origins, p)
		}
	}
}

// placed returns where the value of a key is set.
func (c *Config) placed(k *key, index int32) (position, bool) {
	ofZone := strings.HasPrefix(k.path, "zones[].") && strings.Count(k.path, "[]") == 1
	if i := int(index) - c.own(); ofZone && i >= 0 && i < len(c.late) {
		for _, s := range c.late[i].set {
			if s.key == k.id {
				return position{file: int32(len(c.files)), line: c.late[i].line + int(s.line)}, true
			}
		}
		return position{}, false
	}
	at, ok := c.origins[place{k.id, index}]
	return at, ok
}
