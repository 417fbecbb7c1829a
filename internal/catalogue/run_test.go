package catalogue_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// examine runs those checks of the catalogue that want says yes to.
func examine(ctx context.Context, t finding.Target, o *check.Options, want func(*check.Check) bool, told func(done, all int)) *finding.Report {
	return check.Examine(ctx, t, o, slices.DeleteFunc(catalogue.All(), func(c *check.Check) bool { return !want(c) }), told)
}

// TestExamine has a server that is silent, one that is closed, and one that answers.
func TestExamine(t *testing.T) {
	silent, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	there := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	o := &check.Options{Timeout: 20 * time.Millisecond}
	only := func(ids ...string) func(*check.Check) bool {
		return func(c *check.Check) bool { return slices.Contains(ids, c.ID) }
	}
	done := 0
	r := examine(context.Background(), finding.Target{Text: "silent", Server: finding.Server{Addr: there}, Zone: wire.Root}, o,
		only("SRV-AA", "SRV-AXFR", "SRV-CASE"), func(n, all int) {
			if done++; n != done || all != 3 {
				t.Errorf("%d of %d", n, all)
			}
		})
	if len(r.Results) != 3 || done != 3 || r.Count()[finding.Unknown] != 3 || r.Reached() {
		t.Errorf("%d results, %v", len(r.Results), r.Count())
	}
	if r.Ports[0].State != "open|filtered" || r.Ports[1].State != "closed" {
		t.Errorf("%+v", r.Ports)
	}
	// Checks that disturb run only when they are asked for, and those of zones only with
	// a zone.
	r = examine(context.Background(), finding.Target{Text: "silent", Server: finding.Server{Addr: there}}, o, only("SRV-RRL", "DEL-LAME"), func(int, int) {})
	if len(r.Results) != 0 {
		t.Errorf("%d results", len(r.Results))
	}
}
