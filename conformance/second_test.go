package conformance_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// TestEachPeerBeside has one signed zone at BIND, NSD, Knot and PowerDNS, two of them at a time:
// whatever the first three answer differently, none of it is taken for a fault. PowerDNS, which is not told that the
// zone is signed, leaves its signatures out: that is found, and of that server alone.
func TestEachPeerBeside(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(ns.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	kinds := []string{peers.BIND, peers.NSD, peers.Knot, peers.PDNS}
	root := ". 3600 SOA a.root. host. 1 14400 3600 604800 3600\n. 3600 NS a.root.\na.root. 3600 A 10.0.0.1\n"
	zones := map[string][]peers.Zone{}
	var list []string
	for i, a := range kinds {
		for j, b := range kinds {
			if i >= j {
				continue
			}
			f := fault{name: a + b, keys: []string{"-a ECDSAP256SHA256 -f KSK", "-a ECDSAP256SHA256"}}
			address := func(n int) string { return netip.AddrFrom4([4]byte{10, byte(n + 1), 0, 1}).String() }
			text := strings.NewReplacer("10.1.0.1", address(i), "10.2.0.1", address(j)).Replace(goodZone)
			file, ds := f.signed(t, dir, write(f.name, text), true)
			root += strings.NewReplacer("10.1.0.1", address(i), "10.2.0.1", address(j)).Replace(f.delegation()) + ds
			zones[a] = append(zones[a], peers.Zone{Name: f.name + ".test.", File: file})
			zones[b] = append(zones[b], peers.Zone{Name: f.name + ".test.", File: file})
			list = append(list, f.name+".test.")
		}
	}
	signedRoot, anchor := (&fault{name: ".", keys: []string{"-a ECDSAP256SHA256 -f KSK", "-a ECDSAP256SHA256"}}).signed(t, dir, write("root", root), true)
	output(t, ns.Do, "ip", "address", "add", "10.1.0.1/32", "dev", "lo") // BIND listens on the addresses of interfaces only
	start(t, peers.NSD, peers.Options{Addr: netip.MustParseAddrPort("10.0.0.1:53"), Zones: []peers.Zone{{Name: ".", File: signedRoot}}, Run: ns.Do})
	for i, kind := range kinds {
		start(t, kind, peers.Options{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 1}), 53), Zones: zones[kind], Run: ns.Do})
	}
	hints, anchors := write("hints", ". 3600 NS a.root.\na.root. 3600 A 10.0.0.1\n"), write("anchors", anchor)
	for _, zone := range list {
		t.Run(zone, func(t *testing.T) {
			began := time.Now()
			var d struct {
				Reports []struct {
					Target string
					Zone   string
					Checks []finding
				}
			}
			text := output(t, ns.Do, bin, "check", zone, "--roots", hints, "--anchors", anchors, "--json")
			t.Logf("%v", time.Since(began).Round(time.Millisecond))
			if err := json.Unmarshal([]byte(text), &d); err != nil || len(d.Reports) != 3 {
				t.Fatalf("%v: %d reports", err, len(d.Reports))
			}
			bare := strings.Contains(zone, peers.PDNS)
			found := false
			for _, f := range d.Reports[0].Checks {
				if bare && f.State == "fail" && strings.Contains(f.Detail, "10.4.0.1") {
					found = found || f.ID == "DNSSEC-CHAIN"
					continue
				}
				if (f.State == "fail" || f.State == "warn" || f.State == "unknown") && !slices.Contains([]string{"ZONE-PTR"}, f.ID) {
					t.Errorf("%s %s: %s", f.State, f.ID, f.Detail)
				}
			}
			if bare != found {
				t.Errorf("a broken chain through one server: %t", found)
			}
		})
	}
}
