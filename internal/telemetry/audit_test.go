package telemetry_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/telemetry"
	"port53/internal/wire"
)

// TestAuditLines has acts of each kind: a line says who, what, of which zone, with which
// serials and counts, or why not.
func TestAuditLines(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:53")
	zone, key := []byte("\x04test\x00"), []byte("\x04ddns\x00")
	for _, c := range []struct {
		act  telemetry.AuditRecord
		want string
	}{
		{
			telemetry.AuditRecord{Operation: telemetry.Updated, Zone: zone, Peer: peer, Key: key, From: 1, To: 2, Added: 3},
			`msg="audit: update accepted" zone=test. peer=192.0.2.1:53 key=ddns. serial_before=1 serial=2 added=3 removed=0`,
		},
		{
			telemetry.AuditRecord{Operation: telemetry.Updated, Outcome: telemetry.Refused, Zone: zone, Peer: peer, Reason: "it is not signed"},
			`msg="audit: update refused" zone=test. peer=192.0.2.1:53 reason="it is not signed"`,
		},
		{
			telemetry.AuditRecord{Operation: telemetry.Transferred, Zone: zone, Peer: peer, Key: key, Text: "AXFR", To: 7, Octets: 512},
			`msg="audit: transfer accepted" zone=test. what=AXFR peer=192.0.2.1:53 key=ddns. serial=7 octets=512`,
		},
		{telemetry.AuditRecord{Operation: telemetry.Notified, Zone: zone, Peer: peer}, `msg="audit: notification accepted" zone=test. peer=192.0.2.1:53`},
		{
			telemetry.AuditRecord{Operation: telemetry.Commanded, Text: "zone/sync", Zone: zone, By: "uid 0, pid 7"},
			`msg="audit: command accepted" zone=test. what=zone/sync by="uid 0, pid 7"`,
		},
		{
			telemetry.AuditRecord{Operation: telemetry.Updated, Outcome: telemetry.Refused, Reason: strings.Repeat("x", 1000), Zone: []byte("\x03\x1b[m\x00"), Peer: peer},
			`msg="audit: update refused" zone=\027[m. peer=192.0.2.1:53 reason=` + strings.Repeat("x", 300) + "…",
		},
	} {
		var log bytes.Buffer
		telemetry.NewAudit(slog.New(slog.NewTextHandler(&log, nil))).Record(&c.act)
		if _, got, _ := strings.Cut(strings.TrimSpace(log.String()), "level=INFO "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	(*telemetry.Audit)(nil).Record(&telemetry.AuditRecord{}) // does nothing
}

// TestAuditIsBounded has strangers who are refused a thousand times in a second, and updates
// that are accepted meanwhile: the strangers get some lines, each update has one.
func TestAuditIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := telemetry.NewAudit(slog.New(slog.NewTextHandler(&log, nil)))
		for range 10 {
			for range 1000 {
				a.Record(&telemetry.AuditRecord{Operation: telemetry.Updated, Outcome: telemetry.Refused, TSIG: wire.BadSig})
			}
			for range 100 {
				a.Record(&telemetry.AuditRecord{Operation: telemetry.Updated})
			}
			time.Sleep(time.Second)
		}
		refused, accepted := strings.Count(log.String(), "update refused"), strings.Count(log.String(), "update accepted")
		if refused < 200 || refused > 310 || accepted != 1000 {
			t.Errorf("%d lines of 10,000 refused, %d of 1,000 accepted", refused, accepted)
		}
		if !strings.Contains(log.String(), "lines were left out") {
			t.Error("nothing says that lines are missing")
		}
		log.Reset()
		for range 100_000 {
			a.Record(&telemetry.AuditRecord{Operation: telemetry.Updated})
		}
		if n := strings.Count(log.String(), "\n"); n > 5001 {
			t.Errorf("%d lines at the same time", n)
		}
		text := telemetry.New()
		text.Collect(a.Collect)
		metrics := string(text.Append(nil))
		for _, want := range []string{
			`port53_updates_total{result="refused"} 10000`, `port53_updates_total{result="accepted"} 101000`, `port53_tsig_errors_total{error="badsig"} 10000`,
			`port53_transfers_total{result="failed"} 0`,
		} {
			if !strings.Contains(metrics, want+"\n") {
				t.Errorf("the metrics lack %s", want)
			}
		}
	})
}
