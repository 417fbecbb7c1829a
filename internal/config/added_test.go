package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"port53/internal/config"
)

// TestAddedZones adds zones to a configuration and takes them away, one after the other, and
// holds the configuration against one that has them in its own file.
func TestAddedZones(t *testing.T) {
	base, err := config.Parse("/etc/port53/port53.yaml", []byte("role: authoritative\n"+sharedKey+`templates: [{name: default, tsig: xfr}, {name: made, file: "%s.zone"}]
remotes: [{name: up, addresses: [192.0.2.1, 192.0.2.2], tsig: xfr}]
zones:
  - {name: own.example, file: a.zone}
  - {name: second.example, template: made}
`))
	if err != nil {
		t.Fatal(err)
	}
	made, none := "made", ""
	var text []byte
	c := base
	for i, z := range []config.AddedZone{
		{Name: "a.example", File: "/z/a b\"c.zone", Secondaries: []string{"192.0.2.9", "up"}},
		{Name: "b.example", Template: &made},
		{Name: "c.example", Primaries: []string{"up"}},
		{Name: "d.example", Template: &none, Primaries: []string{"[2001:db8::1]:5353"}, Insecure: true},
	} {
		text = config.AppendZone(text, &z)
		if c, err = c.WithZones("/state/added", text); err != nil {
			t.Fatal(err)
		}
		if len(c.Zones) != 3+i || c.Added(1) || !c.Added(2+i) || c.ZonePlace(2+i) != fmt.Sprintf("/state/added:%d", 4+i) || c.ZonePlace(1) != "/etc/port53/port53.yaml:7" {
			t.Errorf("%s: %d zones, at %s and %s", z.Name, len(c.Zones), c.ZonePlace(1), c.ZonePlace(len(c.Zones)-1))
		}
	}
	got := fmt.Sprintln(c.Zones[2].File, len(c.Zones[2].Secondaries), len(c.Zones[2].TSIG), c.Zones[3].File, c.Zones[4].Primaries, len(c.Zones[4].Keyed), len(c.Zones[5].TSIG))
	if want := "/z/a b\"c.zone 3 1 /etc/port53/b.example.zone [192.0.2.1:53 192.0.2.2:53] 2 0\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
	if n, err := config.CountAdded(text); n != 4 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	if len(base.Zones) != 2 || len(base.Files()) != 1 {
		t.Errorf("the configuration itself has changed: %d zones, %v", len(base.Zones), base.Files())
	}
	for _, left := range []string{"a.example b.example d.example", "b.example d.example", "b.example", ""} {
		i := 2
		for ; strings.Contains(left, name(c, i)); i++ {
		}
		if text, err = c.WithoutZone(text, i); err != nil {
			t.Fatal(err)
		}
		if c, err = c.WithZones("/state/added", text); err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := 2; i < len(c.Zones); i++ {
			names = append(names, name(c, i))
		}
		if got := strings.Join(names, " "); got != left {
			t.Errorf("left are %q, want %q\n%s", got, left, text)
		}
	}
	if n, err := config.CountAdded(text); n != 0 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	for _, s := range c.Effective() {
		if strings.Contains(s.Origin, "/state/") {
			t.Errorf("%s is still from %s", s.Key, s.Origin)
		}
	}
}

func name(c *config.Config, i int) string {
	for _, s := range c.Effective() {
		if s.Key == fmt.Sprintf("zones[%d].name", i) {
			return s.Value
		}
	}
	return ""
}

// TestAddedEdited reads files that a person has edited: zones of several lines can be taken away,
// and two on one line are told.
func TestAddedEdited(t *testing.T) {
	base, err := config.Parse("port53.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	const head = config.AddedLine + "\n"
	c, err := base.WithZones("added", []byte(head+"zones:\n- name: a.example\n  file: a\n# b\n- name: b.example\n  file: b\n- {name: c.example, file: c}"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.WithoutZone([]byte(head+"zones:\n- name: a.example\n  file: a\n# b\n- name: b.example\n  file: b\n- {name: c.example, file: c}"), 2)
	if err != nil || string(text) != head+"zones:\n- name: a.example\n  file: a\n# b\n- {name: c.example, file: c}" {
		t.Errorf("%v\n%s", err, text)
	}
	one := []byte(head + "zones: [{name: a.example, file: a}, {name: b.example, file: b}]\n")
	if c, err = base.WithZones("added", one); err != nil {
		t.Fatal(err)
	}
	if _, err = c.WithoutZone(one, 1); err == nil || !strings.Contains(err.Error(), "several zones in line 2") {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"port53 added 2\nzones:\n": `added:1:1: the first line is "port53 added 2", and this version of port53 reads "port53 added 1"`,
		"\x1b[2J":                  `added:1:1: the first line is "`,
		head + "zones: [\n":        "added:2:8: this is not YAML",
		head + "role: x\n":         "added:2:1: expected zones, and nothing else",
		head + "zones: [{name: Example.com, file: x}]\n":      `added:2:16: zone "Example.com" is already defined at port53.yaml:2; remove one of them`,
		head + "zones: [{name: a.b, file: x, nonsense: 1}]\n": `added:2:30: zone "a.b": key "nonsense" is not known`,
	} {
		_, err := base.WithZones("added", []byte(text))
		var es config.Errors
		if !errors.As(err, &es) || !strings.HasPrefix(es.Error(), want) || strings.ContainsRune(es.Long(), 0x1b) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
