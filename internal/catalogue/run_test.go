package catalogue_test

import (
	"context"
	"fmt"
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
	if len(r.Results) != 3 || done != 3 || r.Count()[finding.Unknown] != 3 || r.Measured() {
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

// TestClosed has many checks of an address where nobody is: it is known at once, since one that
// waited for an answer would have an hour.
func TestClosed(t *testing.T) {
	pairs := listen(t, 1)
	at := pairs[0].tcp.Addr().(*net.TCPAddr).AddrPort()
	pairs[0].tcp.Close()
	pairs[0].udp.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := examine(ctx, finding.Target{Text: "closed", Server: finding.Server{Addr: at}, Zone: zone}, &check.Options{PortDoT: at.Port(), PortDoH: at.Port(), Timeout: time.Hour}, func(*check.Check) bool { return true }, func(int, int) {})
	if n := r.Count(); n[finding.Unknown] < 20 || n[finding.Pass]+n[finding.Warn]+n[finding.Fail] > 0 || r.Measured() {
		t.Errorf("%v", n)
	}
	if ctx.Err() != nil {
		t.Error("something waited for an answer")
	}
}

// TestThousandServers looks at a thousand servers on loopback, and keeps no more of them
// than it works on.
func TestThousandServers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	const servers = 1000
	at := serve(t, 3, good)
	o := &check.Options{Port: at[1].Port(), PortDoT: at[1].Port(), PortDoH: at[1].Port(), Lab: check.Lab{Closed: at[0]}, Limiter: check.NewLimiter()}
	in := func(yield func(int) bool) {
		for i := range servers {
			if !yield(i) {
				return
			}
		}
	}
	// Two addresses stand for all, which is harder: the check keeps to its politeness at
	// each of them.
	n := 0
	for r := range check.InOrder(t.Context(), 32, in, func(ctx context.Context, i int) *finding.Report {
		target := finding.Target{Text: fmt.Sprint(i), Server: finding.Server{Addr: at[1+i%2]}, Zone: zone}
		return examine(ctx, target, o, func(c *check.Check) bool { return c.Group == catalogue.GroupServer }, func(int, int) {})
	}) {
		if r.Target.Text != fmt.Sprint(n) || !r.Measured() || r.Above(finding.SevMedium) {
			t.Fatalf("report %d is of %s: %v, %v", n, r.Target.Text, r.Count(), r.Ports)
		}
		n++
	}
	if n != servers {
		t.Errorf("%d servers", n)
	}
}
