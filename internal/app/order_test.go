package app_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/lab"
	"port53/internal/wire"
)

// TestRRsetOrder asks a resolver for addresses from its cache, from hosts and leases and from
// two zones: they change their places where the configuration says so, and a reload changes that.
func TestRRsetOrder(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), func(query []byte, _ netip.AddrPort, _ bool) []byte {
		var q wire.Query
		if q.Parse(query) != 0 {
			return nil
		}
		var b wire.Builder
		b.Start(make([]byte, 512), 512, 0, &q)
		b.SetFlags(wire.FlagRA)
		for i := range byte(3) {
			rr := []byte{0xC0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 198, 51, 100, i}
			copy(b.Grow(wire.Answer, len(rr), 1), rr)
		}
		return b.Finish(nil, 0)
	})
	const yaml = resolverYAML + "names: {nas.home.arpa: [192.168.1.5, 192.168.1.6, 192.168.1.7]}\nrrset_order: %s\nzones:\n  - {name: a.test, file: a.zone}\n  - {name: b.test, file: b.zone, rrset_order: fixed}\n"
	zone := fmt.Sprintf(zoneText, 1, 1) + "www A 192.0.2.1\nwww A 192.0.2.2\nwww A 192.0.2.3\n"
	r := &running{T: t, dir: t.TempDir()}
	r.write("a.zone", zone)
	r.write("b.zone", zone)
	r.done = make(chan error, 1)
	r.run(net, fmt.Sprintf(yaml, "", 1, "cyclic"))
	firsts := func(line string) int {
		t.Helper()
		seen := map[string]bool{}
		for range 100 { // whichever of the workers answers has turns of its own
			lines := strings.Split(r.ask("udp", line), "\n")
			if len(lines) < 5 {
				t.Fatalf("%s: %v", line, lines)
			}
			fields := strings.Fields(lines[2]) // of which the TTL goes down meanwhile
			seen[fields[len(fields)-1]] = true
		}
		return len(seen)
	}
	for order, want := range map[string]int{"cyclic": 3, "fixed": 1, "random": 3} {
		r.write("port53.yaml", fmt.Sprintf(yaml, "", 1, order))
		if _, err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"www.example.com. A +rd", "nas.home.arpa. A +rd", "www.a.test. A +rd"} {
			if got := firsts(line); got != want {
				t.Errorf("%s, %s: %d came first, want %d", order, line, got, want)
			}
		}
		if got := firsts("www.b.test. A +rd"); got != 1 {
			t.Errorf("%s, a zone with a fixed order: %d came first", order, got)
		}
	}
}
