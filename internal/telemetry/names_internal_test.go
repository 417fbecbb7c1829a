package telemetry

import (
	"fmt"
	"strings"
	"testing"

	"port53/internal/policy"
	"port53/internal/server"
)

// Whatever is counted by kind has a line of its own for each kind: a kind that is added
// has a name, and a counter.
func TestEachKindHasALine(t *testing.T) {
	var want []string
	tel := New()
	w := tel.NewWorker()
	count := func(metric, label string, name fmt.Stringer) {
		if s := name.String(); s == "" || s == "unknown" {
			t.Errorf("%s: a %s without a name", metric, label)
		}
		want = append(want, fmt.Sprintf("%s{%s=%q} 1\n", metric, label, name))
	}
	for k := range server.Transport(server.TransportCount) {
		w.Record(&Event{Transport: k})
		count("port53_queries_total", "transport", k)
	}
	for k := range policy.Class(policy.ClassCount) {
		w.Limited(k)
		count("port53_rate_limited_total", "class", k)
	}
	for k := range dropCount {
		w.Drop(k, server.UDP, 12)
		if s := k.String(); s == "" || s == "unknown" {
			t.Error("a reason without a name")
		}
		want = append(want, fmt.Sprintf("port53_dropped_total{reason=%q,transport=\"udp\"} 1\n", k))
	}
	for k := range cookieCount {
		w.Cookie(k)
		count("port53_cookies_total", "kind", k)
	}
	for k := range lookupCount {
		w.CacheLookup(k)
		count("port53_cache_lookups_total", "outcome", k)
	}
	text := string(tel.Append(nil))
	for _, line := range want {
		if strings.Count(text, line) != 1 {
			t.Errorf("not one line %s in\n%s", line, text)
		}
	}
	for _, beyond := range []fmt.Stringer{server.Transport(server.TransportCount), policy.Class(policy.ClassCount), dropCount, cookieCount, lookupCount} {
		if beyond.String() != "unknown" {
			t.Errorf("%T beyond the last is %q", beyond, beyond)
		}
	}
}
