package catalogue_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/wire"
)

func checkOf(t *testing.T, id string) *check.Check {
	t.Helper()
	for _, c := range catalogue.All() {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no check %s", id)
	return nil
}

// says is good with a text of class CH for a name.
func says(text string, names ...string) script {
	return but(func(m *wire.Message, _ int) bool {
		return m.Class == wire.ClassCH && slices.Contains(names, strings.TrimSuffix(string(wire.AppendName(nil, m.Name)), "."))
	}, func(m *wire.Message, a *answer) {
		*a = answer{rr: []wire.Record{{Owner: m.Name, Type: wire.TypeTXT, Data: txt(text)}}}
	})
}

// nsid is good with an identifier for those who ask for it.
func nsid(id string) script {
	return but(func(m *wire.Message, _ int) bool { _, ok := m.Option(wire.OptionNSID); return ok }, func(_ *wire.Message, a *answer) {
		a.opt = append([]byte{0, 3, 0, byte(len(id))}, id...)
	})
}

func TestIdentityChecks(t *testing.T) {
	var wg sync.WaitGroup
	version := []string{"version.bind", "version.server", "version.pdns"}
	for _, x := range []struct {
		id     string
		server script
		want   finding.State
		sev    finding.Severity
		detail string
	}{
		{"ID-VERSION", says("9.18.49-1~deb12u3-Debian", version...), finding.Warn, 0, "bind 9.18.49-1~deb12u3-Debian, cpe:/a:isc:bind:9.18.49, by txt"},
		{"ID-VERSION", says("NSD 4.6.1", "version.server"), finding.Warn, 0, "cpe:/a:nlnetlabs:nsd:4.6.1"},
		{"ID-VERSION", says("Served by POWERDNS 3.1 $Id$", "version.pdns"), finding.Warn, 0, "pdns"},
		{"ID-VERSION", says("release 7", version...), finding.Warn, 0, `"release 7"`},
		{"ID-VERSION", says("go away", version...), finding.Pass, 0, `"go away"`},
		{"ID-VERSION", good, finding.Pass, 0, "not told"},
		{"ID-HOST", says("db3", "hostname.bind"), finding.Warn, 0, `"db3"`},
		{"ID-HOST", says("ns.corp", "id.server"), finding.Warn, 0, `"ns.corp"`},
		{"ID-HOST", nsid("srv1"), finding.Warn, 0, `"srv1"`},
		{"ID-HOST", nsid("fra1.ns.example.net"), finding.Info, 0, "fra1.ns.example.net"},
		{"ID-HOST", nsid("\x00\x01"), finding.Info, 0, "0x0001"},
		{"ID-HOST", good, finding.Pass, 0, "not told"},
		{"ID-AUTHORS", says("Mark Andrews", "authors.bind"), finding.Warn, 0, "Mark Andrews"},
		{"ID-AUTHORS", says("20326", "trustanchor.unbound"), finding.Warn, 0, "20326"},
		{"ID-AUTHORS", good, finding.Pass, 0, "not told"},
		{"ID-CVE", says("9.16.1", version...), finding.Fail, finding.SevHigh, "CVE-2025-40780"},
		{"ID-CVE", says("9.16.1-Ubuntu", version...), finding.Warn, finding.SevHigh, "mended"},
		{"ID-CVE", says("dnsmasq-2.76", version...), finding.Warn, finding.SevCritical, "CVE-2017-14491"},
		{"ID-CVE", says("9.99.0", version...), finding.Pass, 0, "none of those"},
		{"ID-CVE", says("Microsoft DNS 10.0.17763", version...), finding.Skipped, 0, "nothing is listed"},
		{"ID-CVE", good, finding.Skipped, 0, "no version is told"},
		{"ID-BEHAVE", good, finding.Pass, 0, "no server that is known"},
	} {
		// Texts of class CH are asked for slowly: the cases wait beside each other.
		wg.Go(func() {
			at := serve(t, 1, x.server)[0]
			got := runOne(t, checkOf(t, x.id), nil, at)
			if len(got) != 1 || got[0].State != x.want || got[0].Severity != x.sev || !strings.Contains(got[0].Detail, x.detail) {
				t.Errorf("%s: %+v, want %s with %q", x.id, got, x.want, x.detail)
			}
			if len(got) == 1 && got[0].Evidence.Command == "" {
				t.Errorf("%s: no command that reproduces it", x.id)
			}
		})
	}
	wg.Wait()
}

// TestBehaviour has a server that refuses all as one of the table does: the header with
// most flags, and nothing else.
func TestBehaviour(t *testing.T) {
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := u.ReadFromUDP(b)
			if err != nil {
				return
			}
			if n < 12 || b[2]&0x80 != 0 {
				continue
			}
			h := slices.Clone(b[:12])
			h[2], h[3] = h[2]&^0x02|0x80, h[3]&0xf0|5
			clear(h[4:])
			u.WriteToUDP(h, from)
		}
	}()
	at := u.LocalAddr().(*net.UDPAddr).AddrPort()
	got := runOne(t, checkOf(t, "ID-BEHAVE"), nil, at)
	if len(got) != 1 || got[0].State != finding.Info || got[0].Title != "it behaves like unbound" || !strings.Contains(got[0].Detail, "confidence 9 of 10") {
		t.Errorf("%+v", got)
	}
	rep := examined(t, at)
	want := fingerprint.Software{Product: "unbound", CPE: "cpe:/a:nlnetlabs:unbound", Method: fingerprint.MethodBehaviour, Confidence: 9}
	if rep.Software != want || rep.Software.String() != "unbound" {
		t.Errorf("%+v", rep.Software)
	}
}

// examined is a report of the checks of identity alone.
func examined(t *testing.T, at netip.AddrPort) *finding.Report {
	t.Helper()
	o := &check.Options{Timeout: 200 * time.Millisecond, PortDoT: at.Port(), PortDoH: at.Port()}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return examine(ctx, finding.Target{Text: at.String(), Server: finding.Server{Addr: at}}, o,
		func(c *check.Check) bool { return c.ID == "ID-VERSION" }, func(int, int) {})
}

// TestSoftwareContradicted has a text that the behaviour does not bear out, and one
// that hides an escape sequence.
func TestSoftwareContradicted(t *testing.T) {
	at := serve(t, 1, says("unbound 1.17.1\x1b[2J", "version.bind"))[0]
	s := examined(t, at).Software
	if s.Product != "unbound" || s.Method != fingerprint.MethodText || s.Confidence != 9 || strings.ContainsRune(s.Banner+s.Version, '\x1b') || s.CPE != "cpe:/a:nlnetlabs:unbound:1.17.1" {
		t.Errorf("%+v", s)
	}
}
