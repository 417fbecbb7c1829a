package app_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/lab"
)

// TestUnvalidatedZones has zones that are never validated: it is said at the start and when
// there are others, in the metrics, and by config check, which names the exception to write
// for a zone with servers of its own.
func TestUnvalidatedZones(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
	text := func(anchors string) string {
		return strings.NewReplacer("validation: false", "negative_trust_anchors: ["+anchors+"]", "listen: off", "listen: \"127.0.0.1:0\"",
			"zone: .", "zone: corp.lan").Replace(fmt.Sprintf(resolverYAML, "", 1))
	}
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	load := func(anchors string) *config.Config {
		t.Helper()
		r.write("port53.yaml", text(anchors))
		c, err := config.Load(filepath.Join(r.dir, "port53.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	notes := func(c *config.Config) string {
		t.Helper()
		checked, err := app.Check(t.Context(), c, false)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(checked.Notes, "\n")
	}
	const exception = "resolver: {negative_trust_anchors: [{name: corp.lan.}]}"
	for anchors, want := range map[string]bool{"": true, "{name: other.lan}": true, "{name: corp.lan}": false, "{name: LAN}": false} {
		if got := notes(load(anchors)); strings.Contains(got, exception) != want || strings.Contains(got, "permanent") != (anchors != "") {
			t.Errorf("config check with [%s]: %q", anchors, got)
		}
	}
	c := load("{name: corp.lan}, {name: later.example, until: " + time.Now().AddDate(0, 0, 7).Format(time.DateOnly) + "}")
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	if r.App, err = app.New(ctx, app.Options{Config: c, Network: net, Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.App.Run(ctx, nil) }()
	if reply := r.ask("udp", "www.corp.lan. A +rd"); !strings.Contains(reply, "198.51.100.1") {
		t.Errorf("the private zone: %s", reply)
	}
	text53 := metrics(t, r)
	for _, want := range []string{`port53_resolver_unvalidated_zones{end="never"} 1`, `port53_resolver_unvalidated_zones{end="later"} 1`} {
		if !strings.Contains(text53, want+"\n") {
			t.Errorf("metrics without %s", want)
		}
	}
	for _, anchors := range []string{"{name: corp.lan}", "{name: corp.lan}, {name: b.lan}"} {
		load(anchors)
		if _, err := r.Reload(ctx); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	told := strings.Count(log.String(), "with a permanent negative trust anchor are not validated")
	if told != 2 || !strings.Contains(log.String(), "zones=[corp.lan.]") || !strings.Contains(log.String(), `zones="[b.lan. corp.lan.]"`) {
		t.Errorf("told %d times, want at the start and when there was another:\n%s", told, &log)
	}
}
