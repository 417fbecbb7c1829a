package config

import (
	"fmt"
	"slices"
	"time"

	"port53/internal/wire"
)

// An RPZ says that one of the zones is a response policy zone, and what is done by it.
type RPZ struct {
	Zone        []byte        `yaml:"zone" is:"name" value:"the name of an entry in zones" required:"true"`
	Answer      string        `yaml:"answer" is:"word" words:"given log passthru nxdomain nodata drop tcp-only" default:"given"`
	CNAME       []byte        `yaml:"cname" is:"pattern" default:""`
	MaxTTL      time.Duration `yaml:"max_ttl" default:"5s" min:"0s" max:"1d"`
	BreakDNSSEC bool          `yaml:"break_dnssec" default:"false"`
	AddSOA      bool          `yaml:"add_soa" default:"true"`
	Wait        bool          `yaml:"wait" default:"false"`
	WaitServers bool          `yaml:"wait_servers" default:"true"`
	Reason      string        `yaml:"reason" is:"word" words:"blocked censored filtered" default:"blocked"`
}

// PolicyView is the view of response policy zones, in which no client is: no view that is configured
// can have the name.
const PolicyView = "(policy)"

// maxRPZ is how many policy zones a view can have: BIND has 64, and each takes a lookup for each name.
const maxRPZ = 64

// PolicyZones returns the names, in lower case, of the zones that are response policy zones.
func (c *Config) PolicyZones() map[string]bool {
	lists := [][]RPZ{c.Policy.RPZ}
	for i := range c.Views {
		lists = append(lists, c.Views[i].Policy.RPZ)
	}
	var names map[string]bool
	for _, list := range lists {
		for i := range list {
			if names == nil {
				names = map[string]bool{}
			}
			names[string(wire.Lower(nil, list[i].Zone))] = true
		}
	}
	return names
}

// IsPolicy reports whether a zone is a response policy zone.
func (c *Config) IsPolicy(z *Zone) bool { return c.PolicyZones()[string(wire.Lower(nil, z.Name))] }

// checkRPZ reports policy zones that are not there, and what does not go together.
func (d *decoder) checkRPZ() {
	c := d.config
	if !c.Recurses() {
		if at, set := d.at("policy.rpz"); set && len(c.Policy.RPZ) > 0 {
			d.fail(at, "policy.rpz: an authoritative server filters nothing: what is in its zones is its own",
				"remove it, or choose role: internal-resolver")
		}
		return
	}
	zones := map[string]int{}
	for i := range c.Zones {
		zones[string(wire.Lower(nil, c.Zones[i].Name))]++
	}
	d.checkRPZList(c.Policy.RPZ, "policy.rpz", -1, "policy", zones)
	for i := range c.Views {
		if _, own := d.atIndex("views.policy.rpz", int32(i)); own {
			d.checkRPZList(c.Views[i].Policy.RPZ, "views.policy.rpz", int32(i), "view "+quote(c.Views[i].Name)+": policy", zones)
		}
	}
	policies := c.PolicyZones()
	for i := range c.Zones {
		z := &c.Zones[i]
		switch {
		case !policies[string(wire.Lower(nil, z.Name))]:
		case len(z.Views) > 0:
			at, _ := d.atIndex("zones.views", int32(i))
			d.fail(at, fmt.Sprintf("zone %s is a response policy zone, which no view sees", quote(nameText(z.Name))),
				"remove views; policy.rpz of a view says that the zone counts there")
		case z.Catalog != "":
			at, _ := d.atIndex("zones.catalog", int32(i))
			text := fmt.Sprintf("zone %s is a response policy zone, and cannot be a catalog", quote(nameText(z.Name)))
			d.fail(at, text, "remove one of them")
		}
	}
}

// checkRPZList reports what is wrong with a list of policy zones, that of the view at index view, or of
// none.
func (d *decoder) checkRPZList(list []RPZ, path string, view int32, what string, zones map[string]int) {
	section := d.table.find(path)
	var seen []string
	for i := range list {
		p, index := &list[i], section.nested(view, i)
		at, _ := d.atIndex(path+".zone", index)
		name := string(wire.Lower(nil, p.Zone))
		place := fmt.Sprintf("%s.rpz[%d]: ", what, i)
		switch {
		case zones[name] == 0:
			d.fail(at, place+"there is no zone "+quote(nameText(p.Zone)),
				"define it: zones: [{name: "+yamlText(nameText(p.Zone))+", file: …}], or primaries in place of file")
		case zones[name] > 1:
			d.fail(at, place+"there are several zones "+quote(nameText(p.Zone)), "a response policy zone is one for all views")
		case slices.Contains(seen, name):
			d.fail(at, place+"zone "+quote(nameText(p.Zone))+" is in the list twice", "remove one of them")
		case i == maxRPZ:
			d.fail(at, fmt.Sprintf("%sthere are %d policy zones, and at most %d can be", place, len(list), maxRPZ), "")
			return
		}
		seen = append(seen, name)
		if answer, set := d.atIndex(path+".answer", index); set && len(p.CNAME) > 0 {
			d.fail(answer, place+"answer and cname both say what is answered", "remove one of them")
		}
	}
}
