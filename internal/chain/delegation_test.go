package chain_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"port53/internal/chain"
	"port53/internal/dnstest"
	"port53/internal/exchange"
	"port53/internal/lab"
	"port53/internal/wire"
)

// walk begins at the root of a laboratory.
func walk(t *testing.T, world string) *chain.Walk {
	t.Helper()
	w := lab.NewWorld(lab.Options{})
	_, sections := lab.Split("world", []byte(world))
	if err := w.Put(sections...); err != nil {
		t.Fatal(err)
	}
	tracer := &chain.Tracer{Asker: labAsker{w.Net}, Port: 53, IPv4: true, IPv6: true}
	tracer.Roots = []chain.Server{{Name: dnstest.Name(t, "root."), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	return tracer.Walk(&exchange.Question{Class: wire.ClassIN, EDNS: true, DO: true, UDPSize: exchange.UDPSize})
}

const world = `
-- zone . 192.0.2.1 --
! signed
-- zone test. 192.0.2.2 --
! signed
glueless NS ns.other.
here NS ns1.here
ns1.here A 192.0.2.2
gone NS ns.nowhere.
-- zone other. 192.0.2.3 --
ns A 192.0.2.4
-- zone glueless.test. 192.0.2.4 --
! orphan
-- zone here.test. 192.0.2.2 --
! signed
! orphan
-- zone deep.ent.test. 192.0.2.5 192.0.2.6 --
! signed
-- host 192.0.2.5 lame --`

// TestDelegations has zones as the zones above them show them.
func TestDelegations(t *testing.T) {
	for _, tt := range []struct {
		zone, want string // for each zone its servers, with glue or looked up, and its DS records
		err        string
	}{
		{".", ".", ""},
		{"test.", ". | test. ns1.test. glue 192.0.2.2 DS", ""},
		{"glueless.test.", ". | test. ns1.test. glue 192.0.2.2 DS | glueless.test. ns.other. 192.0.2.4", ""},
		{"here.test.", ". | test. ns1.test. glue 192.0.2.2 DS | here.test. ns1.here.test. glue 192.0.2.2 DS", ""},
		{"gone.test.", ". | test. ns1.test. glue 192.0.2.2 DS | gone.test. ns.nowhere.", ""},
		{"deep.ent.test.", ". | test. ns1.test. glue 192.0.2.2 DS | deep.ent.test. ns1.deep.ent.test. glue 192.0.2.5 ns2.deep.ent.test. glue 192.0.2.6 DS", ""},
		{"ent.test.", "", "ent.test. is not delegated: NOERROR by the servers of test."},
		{"nope.test.", "", "nope.test. is not delegated: NXDOMAIN by the servers of test."},
	} {
		synctest.Test(t, func(t *testing.T) {
			list, err := walk(t, world).Delegations(t.Context(), dnstest.Name(t, tt.zone))
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("%s: %v, want %s", tt.zone, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tt.zone, err)
			}
			var zones []string
			for _, d := range list {
				text := wire.NameText(d.Zone)
				for _, s := range d.Servers {
					if d.Above == nil {
						continue
					}
					text += " " + wire.NameText(s.Name)
					if s.Glue {
						text += " glue"
					}
					for _, a := range s.Addrs {
						text += " " + a.String()
					}
				}
				if d.DS != nil && chain.Classify(d.DS).Outcome == chain.Answered {
					text += " DS"
				}
				zones = append(zones, text)
			}
			if got := strings.Join(zones, " | "); got != tt.want {
				t.Errorf("%s:\n%s, want\n%s", tt.zone, got, tt.want)
			}
		})
	}
}

// TestFetch leaves out what the servers of a zone say of others.
func TestFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := walk(t, `
-- zone . 192.0.2.1 --
-- zone test. 192.0.2.2 --
-- zone bank. 192.0.2.3 --
www A 192.0.2.80
-- host 192.0.2.2 --
when www.test. A
  reply NOERROR aa
  answer
  @ 3600 CNAME www.bank.
  www.bank. 3600 A 192.0.2.66`)
		r, err := w.Fetch(t.Context(), dnstest.Name(t, "www.test."), wire.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.Message.Records); n != 1 || r.Message.Records[0].Type != wire.TypeCNAME {
			t.Errorf("%d records, want the alias alone", n)
		}
	})
}
