package config_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"port53/internal/config"
)

// TestWithZone: a zone that is added to a configuration, and one that is taken from it, make what reading the
// whole text makes, positions and settings included, whatever is done in whatever order.
func TestWithZone(t *testing.T) {
	base, err := config.Parse("/etc/port53.yaml", []byte("role: authoritative\n"+sharedKey+`templates: [{name: default, tsig: xfr}, {name: made, file: "%s.zone"}]
remotes: [{name: up, addresses: [192.0.2.1, 192.0.2.2], tsig: xfr}]
zones:
  - {name: own.example, file: a.zone, updates: [{key: xfr, names: [a.own.example]}, {key: xfr, names: [b.own.example]}, {key: xfr, names: [c.own.example]}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	made := "made"
	specs := []config.AddedZone{
		{Name: "a.example", File: "/z/a.zone", Secondaries: []string{"192.0.2.9"}},
		{Name: "b.example", Template: &made},
		{Name: "c.example", Primaries: []string{"up"}},
		{Name: "d.example", Stored: true, Sign: true},
	}
	text := config.AppendZone(nil, &specs[0])
	c, err := base.WithZones("/state/added", text)
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string) {
		t.Helper()
		whole, err := base.WithZones("/state/added", text)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(whole.Zones, c.Zones) || !slices.Equal(whole.Effective(), c.Effective()) {
			t.Errorf("%s: %v, want %v", what, c.Effective(), whole.Effective())
		}
		for i := range whole.Zones {
			if whole.ZonePlace(i) != c.ZonePlace(i) || whole.Added(i) != c.Added(i) {
				t.Errorf("%s: zone %d is at %s, want %s", what, i, c.ZonePlace(i), whole.ZonePlace(i))
			}
		}
	}
	grow := func(z *config.AddedZone) *config.Config {
		t.Helper()
		n, ok := c.WithZone(text, z)
		if !ok {
			t.Fatalf("%s cannot be added", z.Name)
		}
		return n
	}
	for i := range specs[1:] {
		former, had := c, slices.Clone(c.Zones)
		c = grow(&specs[1+i])
		text = config.AppendZone(text, &specs[1+i])
		same("added " + specs[1+i].Name)
		if !reflect.DeepEqual(former.Zones, had) {
			t.Errorf("the configuration before has changed")
		}
	}
	// Two that grow out of the same one have nothing to do with one another.
	x, y := grow(&config.AddedZone{Name: "x.example", Stored: true}), grow(&config.AddedZone{Name: "y.example", Stored: true})
	if name(x, 5) != "x.example" || name(y, 5) != "y.example" {
		t.Errorf("%s and %s", name(x, 5), name(y, 5))
	}
	for n, i := range []int{2, 3, 1} {
		if text, err = c.WithoutZone(text, i); err != nil {
			t.Fatal(err)
		}
		had := fmt.Sprint(c.ZonePlace(len(c.Zones) - 1))
		shorter, ok := c.WithoutAdded(i)
		if !ok {
			t.Fatalf("removal %d: the whole text has to be read", n)
		}
		if now := fmt.Sprint(c.ZonePlace(len(c.Zones) - 1)); now != had {
			t.Errorf("the configuration before has changed: %s, was %s", now, had)
		}
		c = shorter
		same(fmt.Sprintf("removal %d", n))
	}
	if _, ok := c.WithoutAdded(1); ok {
		t.Error("the last one is taken out without reading: the text has no zones then")
	}
}

// TestWithZoneRefuses: what is wrong, or depends on other zones, is left to the reading of the whole text.
func TestWithZoneRefuses(t *testing.T) {
	for _, row := range []struct {
		config string
		z      config.AddedZone
	}{
		{"", config.AddedZone{Name: "own.example", Stored: true}},
		{"", config.AddedZone{Name: "FIRST.example", Stored: true}},
		{"", config.AddedZone{Name: "bad..name", Stored: true}},
		{"", config.AddedZone{Name: "b.example"}},
		{"", config.AddedZone{Name: "b.example", Stored: true, Views: []string{"x"}}},
		{"views: [{name: x, match: {clients: [192.0.2.0/24]}}]\n", config.AddedZone{Name: "b.example", Stored: true}},
		{"templates: [{name: default, in_catalog: cat.example}]\n", config.AddedZone{Name: "b.example", Stored: true}},
	} {
		text := "role: authoritative\n" + row.config + "zones: [{name: own.example, file: a.zone}, {name: cat.example, catalog: produce, secondaries: [192.0.2.1], insecure: true, template: \"\"}]\n"
		base, err := config.Parse("/etc/port53.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		added := config.AppendZone(nil, &config.AddedZone{Name: "first.example", Stored: true})
		if _, ok := base.WithZone(nil, &row.z); ok {
			t.Errorf("%q, %+v: taken without any text", row.config, row.z)
		}
		c, err := base.WithZones("/state/added", added)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.WithZone(added, &row.z); ok {
			t.Errorf("%q, %+v: taken", row.config, row.z)
		}
	}
}
