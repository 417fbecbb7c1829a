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
		r := resolver.New(resolver.Options{Cache: cache.New(cache.Options{Size: 4 << 20}), Exchanger: client}, resolver.Compile(resolver.Settings{
			Hints: hints, Anchors: anchors, Validate: true, IPv4: true, IPv6: true, MixCase: true, Aggressive: true, Rebinding: true,
		}))
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
			got := a.Rcode.String()
			if a.Flags&wire.FlagAD != 0 {
				got += ", AD"
			}
			if a.EDE >= 0 {
				got += fmt.Sprintf(", EDE %d", a.EDE)
			}
			if got != c.Want && !strings.Contains(c.Shows, "lose every third packet") { // chance may be against it

				t.Errorf("%s %s: %s (%s), want %s", c.Name, c.Type, got, text, c.Shows)
			}
		}
		if len(trials) < 30 {
			t.Errorf("%d names to try", len(trials))
		}
	})
}
