package telemetry_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"port53/internal/policy"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

// hostileZone is a name of 255 octets, of all that could end a label, a line or a
// terminal's patience.
func hostileZone() []byte {
	var name []byte
	for range 3 {
		label := strings.Repeat("\n\"\\\xff\x1b{},=# \r\x00", 4) + "0123456789a"
		name = append(append(name, byte(len(label))), label...)
	}
	last := wire.MaxName - len(name) - 2
	return append(append(append(name, byte(last)), strings.Repeat("\xff", last)...), 0)
}

// TestGoldenExposition has everything in it: the whole text is testdata/metrics.txt.
func TestGoldenExposition(t *testing.T) {
	tel := telemetry.New()
	udp, tcp := tel.NewWorker(), tel.NewWorker()
	for _, e := range []telemetry.Event{
		{Type: wire.TypeA, Query: 40, Reply: 100, Nanos: 1024},
		{Type: wire.TypeA, Query: 40, Reply: 100, Nanos: 1025},
		{Type: wire.TypeAAAA, Rcode: wire.NXDomain, Query: 41, Reply: 90, Nanos: -1},
		{Type: 65280, Rcode: wire.BadCookie, Query: 41, Reply: 60, Truncated: true, Nanos: 2e9},
		{Type: 123, Rcode: 3841, Query: 41, Reply: 60, Nanos: 1 << 62},
	} {
		udp.Record(&e)
		e.Transport = 1
		tcp.Record(&e)
	}
	for why := range wire.MalformedCount {
		udp.Malformed(wire.Malformed(why))
	}
	for _, why := range []telemetry.Drop{telemetry.DropRate, telemetry.DropPort, telemetry.DropMalformed, telemetry.DropLate, telemetry.DropLoad, telemetry.DropFault} {
		tcp.Drop(why, 1, 12)
	}
	for _, kind := range []telemetry.Cookie{telemetry.CookieClient, telemetry.CookieValid, telemetry.CookieBad} {
		udp.Cookie(kind)
	}
	for class := range policy.Class(policy.ClassCount) {
		udp.Limited(class)
	}
	udp.Slip()
	udp.Panic()
	tel.Collect(func(w *telemetry.Writer) {
		for _, zone := range []string{string(wire.AppendName(nil, hostileZone())), "example.", "."} {
			w.Set("port53_zone_serial", 4294967295, "zone", zone, "view", "")
			w.Set("port53_zone_age_seconds", 0.25, "zone", zone, "view", "")
		}
		w.Set("port53_build_info", 1, "version", "v1\n\x1b[2Jport53_panics_total 0\xff")
		w.Set("port53_memory_bytes", 1<<40)
	})
	const file = "testdata/metrics.txt"
	got := tel.Append(nil)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := tel.Append(nil); !bytes.Equal(again, got) {
		t.Error("the order changes from one scrape to the next")
	}
	checkExposition(t, got)
}

// checkExposition fails on a line that is not of Prometheus's text format 0.0.4, and
// on samples that are not in one block under their TYPE.
func checkExposition(t *testing.T, text []byte) {
	t.Helper()
	comment := regexp.MustCompile(`^# (HELP|TYPE) (port53_[a-z0-9_]+) [ -~]+$`)
	sample := regexp.MustCompile(`^(port53_[a-z0-9_]+)(\{([a-z]+="([^"\\\x00-\x1f\x7f]|\\[\\"n])*",?)*\})? [-+]?[0-9.]+(e[-+][0-9]+)?$`)
	family, seen := "", map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		if m := comment.FindStringSubmatch(line); m != nil {
			if m[1] == "HELP" && seen[m[2]] {
				t.Errorf("%s comes twice", m[2])
			}
			family = m[2]
			seen[family] = true
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %q is neither comment nor sample", line)
			continue
		}
		if name := m[1]; name != family && name != family+"_bucket" && name != family+"_sum" && name != family+"_count" {
			t.Errorf("sample %q below %s", line, family)
		}
	}
}

// Operation is not in the table cannot be told, so that the document is whole.
func TestOnlyTheTableIsTold(t *testing.T) {
	tel := telemetry.New()
	var f func(w *telemetry.Writer)
	tel.Collect(func(w *telemetry.Writer) { f(w) })
	for name, set := range map[string]func(w *telemetry.Writer){
		"unknown metric": func(w *telemetry.Writer) { w.Set("port53_nothing", 1) },
		"unknown label":  func(w *telemetry.Writer) { w.Set("port53_zones", 1, "zone", "x") },
		"missing label":  func(w *telemetry.Writer) { w.Set("port53_zones", 1) },
		"label too many": func(w *telemetry.Writer) { w.Set("port53_goroutines", 1, "zone", "x") },
	} {
		f = set
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: told", name)
				}
			}()
			tel.Append(nil)
		}()
	}
}
