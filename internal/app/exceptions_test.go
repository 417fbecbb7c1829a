package app_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"port53/internal/lab"
	"port53/internal/wire"
)

// TestExceptions has a zone that is not forwarded although all others are, and one that is
// asked for without EDNS, until a reload says otherwise.
func TestExceptions(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	var plain, edns, cookies, upper atomic.Int32
	for n := byte(1); n <= 2; n++ {
		answer := forwarder(n)
		net.Handle(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53), func(query []byte, from netip.AddrPort, tcp bool) []byte {
			var q wire.Query
			if q.Parse(query) == 0 && strings.Contains(strings.ToLower(string(query)), "odd") {
				if q.EDNS {
					edns.Add(1)
				} else {
					plain.Add(1)
				}
				if q.Cookie != nil {
					cookies.Add(1)
				}
				if name := string(query[12:40]); strings.ToLower(name) != name {
					upper.Add(1)
				}
			}
			return answer(query, from, tcp)
		})
	}
	r := startResolver(t, net, fmt.Sprintf(resolverYAML, "", 1))
	want := func(name, addr string) {
		t.Helper()
		if reply := r.ask("udp", name+" A +rd"); !strings.Contains(reply, "198.51.100."+addr) {
			t.Errorf("%s: %s, want the answer of %s", name, reply, addr)
		}
	}
	want("www.direct.example.", "1")
	want("www.odd-long-enough-to-be-mixed.example.", "1")
	if edns.Load() == 0 || upper.Load() == 0 {
		t.Fatalf("without exceptions: %d questions with EDNS, %d in mixed case", edns.Load(), upper.Load())
	}
	r.write("hints", ". 3600 NS a.\na. 3600 A 192.0.2.2\n")
	reload := func(exceptions string) {
		t.Helper()
		r.write("port53.yaml", fmt.Sprintf(resolverYAML, "", 1)+"  root_hints: hints\n  exceptions: ["+exceptions+"]\n")
		if _, err := r.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		plain.Store(0)
		edns.Store(0)
		cookies.Store(0)
		upper.Store(0)
	}
	reload("")
	want("www.direct.example.", "1")
	reload("{zone: direct.example, forward: off}, {zone: odd-long-enough-to-be-mixed.example, edns: off, case: off}")
	want("www.direct.example.", "2") // what the forwarder said is forgotten
	want("www.odd-long-enough-to-be-mixed.example.", "1")
	if edns.Load() > 0 || upper.Load() > 0 || plain.Load() == 0 {
		t.Errorf("%d questions without EDNS, %d with, %d in mixed case", plain.Load(), edns.Load(), upper.Load())
	}
	reload("{server: 192.0.2.1, cookies: off, case: off}")
	want("www.direct.example.", "1")
	want("www.odd-long-enough-to-be-mixed.example.", "1")
	if edns.Load() == 0 || cookies.Load() > 0 || upper.Load() > 0 {
		t.Errorf("%d questions with EDNS, %d with a cookie, %d in mixed case", edns.Load(), cookies.Load(), upper.Load())
	}
	reload("{server: 192.0.2.1, cookies: off}")
	want("www.odd-long-enough-to-be-mixed.example.", "1")
	if edns.Load() == 0 {
		t.Error("what was learned from a server was kept, although it is asked in another way now")
	}
}
