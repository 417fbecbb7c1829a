package authority_test

import (
	"flag"
	"maps"
	"slices"
	"testing"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/wire"
	"port53/internal/zone"
)

var update = flag.Bool("update", false, "rewrite the wanted part of each scenario from what we answer")

// ask returns z's reply to the query msg, of at most limit octets.
func ask(t testing.TB, z *zone.Zone, msg []byte, limit int) []byte {
	t.Helper()
	var q wire.Query
	if bad := q.Parse(msg); bad != 0 {
		t.Fatalf("query %x: %v", msg, bad)
	}
	var b wire.Builder
	var r authority.Responder
	b.Start(make([]byte, limit), limit, 0, &q)
	r.Answer(z, &q, &b)
	return b.Finish(nil, 0)
}

func limitOf(q dnstest.Question) int {
	switch {
	case q.TCP:
		return wire.MaxMessage
	case q.EDNS:
		return int(q.Size) - 11
	}
	return wire.MinUDP
}

func TestScenarios(t *testing.T) {
	zones := map[string]*zone.Zone{}
	dnstest.Scenarios(t, "testdata/*.txtar", *update, func(t *testing.T, s *dnstest.Scenario, q dnstest.Question) []byte {
		origin := slices.Sorted(maps.Keys(s.Zones))[0]
		key := t.Name() + origin
		if zones[key] == nil {
			zones[key] = dnstest.Zone(t, origin, s.Zones[origin])
		}
		return ask(t, zones[key], q.Message(), limitOf(q))
	})
}
