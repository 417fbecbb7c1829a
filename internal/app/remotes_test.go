package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/tsig"
	"port53/internal/wire"
)

// TestRemotesAndTemplates has two primaries that know a secondary by different keys, which it
// has of its remotes, in an included file, through a template. A reload takes what is included
// then.
func TestRemotesAndTemplates(t *testing.T) {
	first := startZones(t, "  - {name: test, file: test.zone, allow_transfer: [{key: xfr}]}\n")
	second := startZones(t, "  - {name: test, file: test.zone}\n")
	second.write("more.zone", fmt.Sprintf(zoneText, 7, 7))
	second.write("port53.yaml", second.read("port53.yaml")+"  - {name: more, file: more.zone, allow_transfer: [{key: ddns}]}\n")
	if _, err := second.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := startZones(t, "  - {name: other, file: test.zone}\n")
	folder := filepath.Join(s.dir, "conf.d")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("remotes.yaml", fmt.Sprintf("remotes:\n  - {name: one, addresses: %q, tsig: xfr}\n  - {name: two, addresses: %q, tsig: ddns}\n  - {name: peer, addresses: 127.0.0.3, tsig: other}\nkeys:\n  - {name: other, secret: MDEyMzQ1Njc4OWFiY2RlZg==}\n",
		first.Addrs()[0], second.Addrs()[0]))
	s.write(filepath.Join("conf.d", "a.yaml"), "zones:\n  - {name: test, template: follow, primaries: [one]}\n")
	s.write("port53.yaml", s.read("port53.yaml")+"include: [remotes.yaml, conf.d/*.yaml]\ntemplates: [{name: follow, primaries: [two], allow_transfer: [peer]}]\n")
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the zone of one", func() string { return s.trouble("test.") }, func() bool { return s.serial("test.") == 1 })
	s.write(filepath.Join("conf.d", "b.yaml"), "zones:\n  - {name: more, template: follow}\n")
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the zone of two", func() string { return s.trouble("more.") }, func() bool { return s.serial("more.") == 7 })
	for i, c := range []struct {
		from string
		key  *tsig.Key
		want wire.Rcode
	}{
		{"127.0.0.3:0", &other, wire.NoError},
		{"127.0.0.3:0", &xfr, wire.Refused},
		{"127.0.0.4:0", &other, wire.Refused},
	} {
		msg := sign(c.key, message(uint16(i), wire.OpcodeQuery, wire.TypeAXFR), time.Now())
		if got := wire.Rcode(s.exchange(c.from, msg)[3] & 15); got != c.want {
			t.Errorf("%s with %s: %s, want %s", c.from, wire.NameText(c.key.Name), got, c.want)
		}
	}
}

// TestMembersAreNotRemoved has a zone that a catalog names, which commands neither add nor
// take away.
func TestMembersAreNotRemoved(t *testing.T) {
	primary := startZones(t, "  - {name: catalog.test, catalog: produce, allow_transfer: [{address: 127.0.0.1}]}\n  - {name: test, file: test.zone, in_catalog: catalog.test, allow_transfer: [{address: 127.0.0.1}]}\n")
	s := startZones(t, fmt.Sprintf("  - {name: catalog.test, primaries: [%q], insecure: true, catalog: consume}\n", primary.Addrs()[0].String()))
	until(t, "the member", func() string { return s.trouble("catalog.test.") }, func() bool { return s.serial("test.") == 1 })
	for what, f := range map[string]func() (any, error){
		"remove": func() (any, error) { return s.RemoveZone("test.", "", false) },
		"purge":  func() (any, error) { return s.RemoveZone("test.", "", true) },
		"add":    func() (any, error) { return s.AddZone("test.", []byte(`{"file": "/z"}`)) },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), "is a member of the catalog zone catalog.test.") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s.serial("test.") != 1 {
		t.Error("the member is gone")
	}
}
