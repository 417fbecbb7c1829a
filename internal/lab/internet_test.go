package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"port53/internal/cache"
	"port53/internal/lab"
	"port53/internal/resolver"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// TestInternet asks for every name of the laboratory's list: each shows what it is said
// to show.
func TestInternet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, trials, err := lab.Internet()
		if err != nil {
			t.Fatal(err)
		}
		hints, err := resolver.ReadHints(strings.NewReader(w.Hints()), "hints")
		if err != nil {
			t.Fatal(err)
		}
		anchors, err := resolver.ReadAnchors(strings.NewReader(w.Anchors()), "anchors")
		if err != nil {
			t.Fatal(err)
		}
		client := upstream.New(upstream.Options{Network: w.Net, Cookies: true})
		defer client.Close()
		r := resolver.New(resolver.Options{Cache: cache.New(cache.Options{Size: 4 << 20}), Exchanger: client}, resolver.Settings{
			Hints: hints, Anchors: anchors, Validate: true, IPv4: true, IPv6: true, MixCase: true, Aggressive: true,
		})
		defer r.Close()
		for _, c := range trials {
			if strings.HasSuffix(c.Name, ".arpa") {
				continue // answered before the resolver is asked
			}
			name, err := wire.ParseName(c.Name)
			if err != nil {
				t.Fatal(err)
			}
			typ, ok := wire.ParseType(c.Type)
			if !ok {
				t.Fatalf("%s: type %s", c.Name, c.Type)
			}
			a, text, _ := r.Explain(name, typ, true, false)
			failed := a.Rcode == wire.ServFail
			_, ede, hasEDE := strings.Cut(c.Shows, "EDE ")
			switch {
			case strings.Contains(c.Shows, "every second packet"):
				// chance
			case failed != strings.Contains(c.Shows, "SERVFAIL"):
				t.Errorf("%s %s: %v (%s), and it shows: %s", c.Name, c.Type, a.Rcode, text, c.Shows)
			case hasEDE && fmt.Sprint(a.EDE) != ede:
				t.Errorf("%s %s: EDE %d, and it shows: %s", c.Name, c.Type, a.EDE, c.Shows)
			case strings.Contains(c.Shows, "AD is set") != (a.Flags&wire.FlagAD != 0) && (strings.Contains(c.Shows, "AD") || strings.Contains(c.Shows, "insecure")):
				t.Errorf("%s %s: AD %v, and it shows: %s", c.Name, c.Type, a.Flags&wire.FlagAD != 0, c.Shows)
			case strings.Contains(c.Shows, "proven not") && (a.Rcode != wire.NXDomain || a.Security != cache.Secure):
				t.Errorf("%s %s: %v, %v, and it shows: %s", c.Name, c.Type, a.Rcode, a.Security, c.Shows)
			}
		}
		if len(trials) < 30 {
			t.Errorf("%d names to try", len(trials))
		}
	})
}
