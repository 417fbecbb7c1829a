package catalogue_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/lab"
	"port53/internal/wire"
)

// A packetConn is a UDP socket of a laboratory as a connection.
type packetConn struct {
	exchange.Socket
	local, to netip.AddrPort
	mu        sync.Mutex
	until     time.Time
}

func (c *packetConn) Write(b []byte) (int, error) { return len(b), c.Send(b) }

func (c *packetConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	until := c.until
	c.mu.Unlock()
	return c.Recv(context.Background(), b, until)
}

func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return nil
}

func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }
func (c *packetConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.local) }
func (c *packetConn) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(c.to) }

// internet is a small internet with the names that the worlds of these tests have in common. Its addresses are those of hosts on
// the Internet, which nobody asks here.
const internet = `
-- zone . 5.0.0.1 --
@ NS a.root-servers.net.
a.root-servers.net. A 5.0.0.1
-- zone com. 5.0.0.2 --
-- zone net. 5.0.0.2 --
-- zone org. 5.0.0.2 --
-- zone io. 5.0.0.2 --
-- zone uk. 5.0.0.2 --
-- zone co.uk. 5.0.0.2 --
-- zone arpa. 5.0.0.2 --
-- zone in-addr.arpa. 5.0.0.2 --
-- zone partner.com. 5.0.0.3 --
@ A 5.0.0.80
www A 5.0.0.81
mail A 5.0.0.82
six AAAA 2a00::82
txt TXT "v=spf1 ip4:5.0.0.82 -all"
alias CNAME www
empty TXT "no address"
loop CNAME pool
pool CNAME loop
own A 127.0.0.1
deep CNAME gone.elsewhere-gone.com.
*._report._dmarc TXT "v=DMARC1"
-- zone github.io. 5.0.0.3 --
there A 5.0.0.83
-- zone azurewebsites.net. 5.0.0.3 --
there A 5.0.0.84
-- zone duckdns.org. 5.0.0.3 --
there A 5.0.0.85
-- zone digitalocean.com. 5.0.0.4 --
@ NS own
own A 5.0.0.4
ns1 A 5.0.0.9
ns2 A 5.0.0.9
-- zone hoster.net. 5.0.0.4 --
@ NS own
own A 5.0.0.4
ns1 A 5.0.0.9
ns2 A 5.0.0.9
dead A 5.0.0.10
fail A 5.0.0.11
-- host 5.0.0.9 lame --
-- host 5.0.0.10 down --
-- host 5.0.0.11 rcode=SERVFAIL --
`

// soundZone is a zone of that internet without a fault.
const soundZone = `
-- zone victim.com. 5.0.1.1 5.0.2.1 --
@ SOA ns host 1 14400 3600 604800 3600
@ TXT "v=spf1 -all"
_dmarc TXT "v=DMARC1; p=reject"
@ CAA 0 issue "ca.partner.com"
`

// inWorld runs a check of a zone of a world.
func inWorld(t *testing.T, id, zone, text string, change func(*check.Options)) []finding.Finding {
	t.Helper()
	return inNet(t, world(t, internet+text), id, zone, change)
}

// world makes a world of a text, in which a zone may go on later.
func world(t *testing.T, text string) *lab.World {
	t.Helper()
	w := lab.NewWorld(lab.Options{Seed: 53, Log: -1})
	_, list := lab.Split("world", []byte(text))
	var sections []lab.Section
	for _, s := range list {
		i := slices.IndexFunc(sections, func(o lab.Section) bool { return o.Kind == s.Kind && slices.Equal(o.Args, s.Args) })
		if i < 0 {
			sections = append(sections, s)
			continue
		}
		sections[i].Body = append(sections[i].Body, s.Body...)
	}
	if err := w.Put(sections...); err != nil {
		t.Fatal(err)
	}
	return w
}

func inNet(t *testing.T, w *lab.World, id, zone string, change func(*check.Options)) []finding.Finding {
	t.Helper()
	o := &check.Options{
		Timeout: 150 * time.Millisecond, Limiter: check.NewLimiter(),
		Roots: []finding.Server{{Addr: netip.MustParseAddrPort("5.0.0.1:53"), Name: name("a.root-servers.net")}},
	}
	o.Lab.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		to := netip.MustParseAddrPort(address)
		if network == "tcp" {
			return w.Net.DialTCP(ctx, to)
		}
		s, err := w.Net.Socket(to)
		if err != nil {
			return nil, err
		}
		return &packetConn{Socket: s, local: netip.MustParseAddrPort("5.0.9.9:5353"), to: to}, nil
	}
	if change != nil {
		change(o)
	}
	c := find(t, id)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c.Run(ctx, &check.Run{Check: c, Zone: name(zone), Options: o, Facts: new(check.Facts)})
}

// lines are findings, one a line.
func lines(list []finding.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %s %q %s\n", f.State, f.Severity, f.Title, f.Detail)
	}
	return b.String()
}

// TestDangling has what leads out of a zone to what somebody else can have, and the name that can be had.
func TestDangling(t *testing.T) {
	t.Parallel()
	for i, x := range []struct {
		zone string // more lines of it, and other zones
		has  string // the name that can be registered or made
	}{
		{"www CNAME www.gone-partner.com.", "gone-partner.com."},
		{"www CNAME gone-partner.com.", "gone-partner.com."},
		{"www CNAME a.b.c.gone-partner.co.uk.", "gone-partner.co.uk."},
		{"www CNAME gone.partner-gone.org.", "partner-gone.org."},
		{"www CNAME deep.partner.com.", "elsewhere-gone.com."},
		{"www CNAME nobody.github.io.", "nobody.github.io."},
		{"blog CNAME victim-app.azurewebsites.net.", "victim-app.azurewebsites.net."},
		{"@ MX 10 mail.gone-partner.com.", "gone-partner.com."},
		{"@ MX 10 mail.partner.com.\n@ MX 20 mx.gone-partner.net.", "gone-partner.net."},
		{"dev NS ns1.gone-partner.com.", "gone-partner.com."},
		{"dev NS ns1.partner.com.\ndev NS ns2.gone-partner.com.", "gone-partner.com."},
		{"dev NS ns1.digitalocean.com.\ndev NS ns2.digitalocean.com.", "dev.victim.com."},
		{"* CNAME any.gone-partner.com.", "gone-partner.com."},
		{"* MX 10 mail.gone-partner.com.", "gone-partner.com."},
		{"docs DNAME gone-partner.com.", "gone-partner.com."},
		{"_sip._tls SRV 1 1 443 sip.gone-partner.com.", "gone-partner.com."},
		{"_xmpp-server._tcp SRV 1 1 5269 xmpp.gone-partner.com.", "gone-partner.com."},
		{"_autodiscover._tcp SRV 1 1 443 auto.gone-partner.com.", "gone-partner.com."},
		{"@ HTTPS 0 www.gone-partner.com.", "gone-partner.com."},
		{"www A 5.0.0.80\nwww HTTPS 1 edge.gone-partner.com. alpn=h2", "gone-partner.com."},
		{"@ TXT \"v=spf1 include:_spf.gone-partner.com -all\"", "gone-partner.com."},
		{"@ TXT \"v=spf1 redirect=_spf.gone-partner.com\"", "gone-partner.com."},
		{"@ TXT \"v=spf1 a:mail.gone-partner.com -all\"", "gone-partner.com."},
		{"@ TXT \"v=spf1 mx:gone-partner.com -all\"", "gone-partner.com."},
		{"@ TXT \"v=spf1 exists:x.gone-partner.com -all\"", "gone-partner.com."},
		{"@ TXT \"v=spf1 include:_spf.relay.net -all\"\n-- zone relay.net. 5.0.0.3 --\n_spf TXT \"v=spf1 include:_spf.gone-partner.com -all\"", "gone-partner.com."},
		{"_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:d@gone-partner.com\"", "gone-partner.com."},
		{"_dmarc TXT \"v=DMARC1; p=reject; ruf=mailto:d@reports.gone-partner.com\"", "gone-partner.com."},
		{"_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:d@gone-partner.com\"", "gone-partner.com."},
		{"_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts CNAME sts.gone-partner.com.", "gone-partner.com."},
		{"selector1._domainkey CNAME s1.gone-partner.com.", "gone-partner.com."},
		{"@ CAA 0 iodef \"mailto:ca@gone-partner.com\"", "gone-partner.com."},
		{"www CNAME www.moved.net.\n-- zone net. 5.0.0.2 --\nmoved NS ns1.gone-partner.com.", "gone-partner.com."},
		{"www CNAME www.moved.net.\n-- zone net. 5.0.0.2 --\nmoved NS ns1.digitalocean.com.", "moved.net."},
		{"blog CNAME in.victim.com.\nin CNAME gone-partner.com.", "gone-partner.com."},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			got := inWorld(t, "ZONE-DANGLE", "victim.com", with(x.zone), nil)
			if !slices.ContainsFunc(got, func(f finding.Finding) bool {
				return f.State == finding.Fail && f.Severity == 0 && strings.Contains(f.Title, "anyone can have "+x.has) && strings.Contains(f.Detail, x.has)
			}) {
				t.Errorf("%s\nwant %s\n%s", x.zone, x.has, lines(got))
			}
		})
	}
}

// with is the sound zone with more lines. Those of names and types that it has as well take their place.
func with(more string) string {
	if strings.HasPrefix(more, "-- ") {
		return more // it is the zone itself
	}
	more, others, _ := strings.Cut(more, "\n-- ")
	if others != "" {
		others = "-- " + others + "\n"
	}
	out := soundZone
	for _, line := range strings.Split(more, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "TXT" && f[1] != "CAA" && f[1] != "CNAME" {
			continue
		}
		for _, old := range strings.Split(soundZone, "\n") {
			if strings.HasPrefix(old, f[0]+" "+f[1]+" ") || f[1] == "CNAME" && strings.HasPrefix(old, f[0]+" ") {
				out = strings.Replace(out, old+"\n", "", 1)
			}
		}
	}
	return out + more + "\n" + others
}

// TestBroken has what is merely broken, which is told and is not critical.
func TestBroken(t *testing.T) {
	t.Parallel()
	for i, x := range []struct{ zone, has string }{
		{"@ MX 10 gone", "gone.victim.com. does not exist"},
		{"www CNAME gone.partner.com.", "does not exist"},
		{"@ MX 10 empty.partner.com.", "has no address"},
		{"_sip._tls SRV 1 1 443 empty.partner.com.", "has no address"},
		{"www CNAME loop.partner.com.", "cannot be looked up"},
		{"@ MX 10 mail.dead.net.\n-- zone net. 5.0.0.2 --\ndead NS dead.hoster.net.", "cannot be looked up"},
		{"@ MX 10 mail.fail.net.\n-- zone net. 5.0.0.2 --\nfail NS fail.hoster.net.", "cannot be looked up"},
		{"dev NS ns1.hoster.net.\ndev NS ns2.hoster.net.", "cannot be looked up"},
		{"@ MX 10 localhost.", "RFC 6761"},
		{"@ MX 10 mail.office.local.", "multicast DNS"},
		{"@ MX 10 mail.corp.internal.", "private networks"},
		{"@ MX 10 own.partner.com.", "127.0.0.1"},
		{"www CNAME mail.nosuchtld.", "does not exist"},
		{"@ MX 10 5.0.0.80.", "is an address"},
		{"www CNAME www.example.net.", "does not exist"},
		{"_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:d@none.partner.com\"", "does not exist"},
		{"@ TXT \"v=spf1 include:none.partner.com -all\"", "does not exist"},
		{"_mta-sts TXT \"v=STSv1; id=1\"", "mta-sts.victim.com. does not exist"},
		{"docs DNAME gone.partner.com.", "does not exist"},
		{"@ HTTPS 1 gone.partner.com. alpn=h2", "does not exist"},
		// A provider's own domain is nobody's to make, though no server of it serves it.
		{"@ MX 10 mail.linode.com.\n-- zone com. 5.0.0.2 --\nlinode NS ns1.linode.com.\nns1.linode.com. A 5.0.0.9", "cannot be looked up"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			got := inWorld(t, "ZONE-DANGLE", "victim.com", with(x.zone), nil)
			if slices.ContainsFunc(got, func(f finding.Finding) bool { return f.State != finding.Warn || f.Severity != finding.SevMedium }) || !strings.Contains(lines(got), x.has) {
				t.Errorf("%s\nwant %s\n%s", x.zone, x.has, lines(got))
			}
		})
	}
}

// TestOwnNameAtService has a zone below a service's domain: what is missing in it is its own to make.
func TestOwnNameAtService(t *testing.T) {
	t.Parallel()
	got := inWorld(t, "ZONE-DANGLE", "mine.github.io", "-- zone mine.github.io. 5.0.1.1 --\nwww CNAME gone\n", nil)
	if len(got) != 1 || got[0].State != finding.Warn || !strings.Contains(got[0].Detail, "gone.mine.github.io. does not exist") {
		t.Error(lines(got))
	}
}

// TestLikely has a name below a domain that gives names to customers, by the public suffix list alone.
func TestLikely(t *testing.T) {
	t.Parallel()
	got := inWorld(t, "ZONE-DANGLE", "victim.com", with("www CNAME victim.duckdns.org."), nil)
	if len(got) != 1 || got[0].State != finding.Fail || got[0].Severity != finding.SevHigh || !strings.Contains(got[0].Title, "victim.duckdns.org.") {
		t.Error(lines(got))
	}
}

// TestOwnRoot has a name below the root: on the Internet nobody can register it, with a root of one's own its operator gives it out.
func TestOwnRoot(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		got := inWorld(t, "ZONE-DANGLE", "victim.com", with("dev NS ns1.not-registered."), func(o *check.Options) {
			if own {
				o.Roots[0].Name = name("a.root")
			}
		})
		critical := slices.ContainsFunc(got, func(f finding.Finding) bool {
			return f.State == finding.Fail && strings.Contains(f.Title, "not-registered.")
		})
		if critical != own {
			t.Errorf("own root: %t\n%s", own, lines(got))
		}
	}
}

// TestSoundContent has zones that are unusual, and right: no check of content finds anything.
func TestSoundContent(t *testing.T) {
	t.Parallel()
	for i, x := range []string{
		"",
		"@ MX 0 .",
		"@ MX 0 .\n@ TXT \"v=spf1 -all\"\n*._domainkey TXT \"v=DKIM1; p=\"\n_dmarc TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\"",
		"@ A 5.0.0.80\nwww CNAME @\nblog CNAME www\nshop CNAME blog\nmail CNAME www.partner.com.\nftp CNAME alias.partner.com.",
		"@ A 5.0.0.80\n* CNAME @",
		"* CNAME www.partner.com.",
		"-- zone victim.com. 5.0.1.1 --\n@ NS ns.partner.com.\n@ DNAME partner.com.\n@ TXT \"v=spf1 -all\"\n@ CAA 0 issue \";\"\n-- zone partner.com. 5.0.0.3 --\nns A 5.0.1.1\n_dmarc TXT \"v=DMARC1; p=reject\"\n",
		"@ HTTPS 0 www.partner.com.",
		"@ A 5.0.0.80\n@ HTTPS 1 . alpn=h2,h3 ipv4hint=5.0.0.80",
		"www A 5.0.0.80\nwww HTTPS 1 . alpn=h2\nwww HTTPS 2 www.partner.com. alpn=h2",
		"@ MX 10 mail.partner.com.\n@ TXT \"v=spf1 include:txt.partner.com -all\"",
		"@ MX 10 six.partner.com.\n@ TXT \"v=spf1 mx -all\"",
		"@ MX 10 alias.partner.com.",
		"@ TXT \"V=SPF1 -ALL\"",
		"@ TXT \"v=spf1 \" \"-all\"",
		"@ TXT \"v=spf1 redirect=txt.partner.com\"",
		"@ TXT \"v=spf1 exists:%{i}._spf.%{d} -all\"",
		"_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:d@partner.com!10m\"",
		"_dmarc TXT \"v=DMARC1;p=quarantine;sp=reject;np=reject;\"",
		"_dmarc CNAME dm.partner.net.\n-- zone partner.net. 5.0.0.3 --\ndm TXT \"v=DMARC1; p=reject\"",
		"_sip._tls SRV 0 0 0 .",
		"dev NS ns1.partner.com.\n-- zone dev.victim.com. 5.0.0.3 --\n@ NS ns1.partner.com.\n-- zone partner.com. 5.0.0.3 --\nns1 A 5.0.0.3",
		"docs DNAME partner.com.",
		"selector1._domainkey CNAME s1.partner.com.\n-- zone partner.com. 5.0.0.3 --\ns1 TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"",
		"@ CAA 0 issue \";\"\n@ CAA 128 issuewild \"ca.partner.com\"\n@ CAA 0 issuemail \"ca.partner.com\"\n@ CAA 0 iodef \"mailto:ca@partner.com\"",
		"_acme-challenge CNAME victim.acme.partner.com.",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for _, id := range []string{"ZONE-DANGLE", "ZONE-MAIL", "ZONE-CAA", "ZONE-TLSA", "ZONE-HTTPS", "ZONE-PRIVATE", "ZONE-REVERSE"} {
				for _, f := range inWorld(t, id, "victim.com", with(x), nil) {
					if f.State != finding.Pass && f.State != finding.Skipped {
						t.Errorf("%s\n%s: %s", x, id, lines([]finding.Finding{f}))
					}
				}
			}
		})
	}
}

// TestParent has a zone without CAA and DMARC below one that has both.
func TestParent(t *testing.T) {
	t.Parallel()
	text := soundZone + "-- zone dev.victim.com. 5.0.1.1 5.0.2.1 --\n@ SOA ns host 1 14400 3600 604800 3600\n@ TXT \"v=spf1 -all\"\n"
	for _, id := range []string{"ZONE-MAIL", "ZONE-CAA"} {
		if got := inWorld(t, id, "dev.victim.com", text, nil); len(got) != 1 || got[0].State != finding.Pass || !strings.Contains(got[0].Detail, "victim.com.") {
			t.Errorf("%s: %s", id, lines(got))
		}
	}
}

// TestNobodyElse has a name server at a loopback address, and names that lead there: they are judged, and not asked.
func TestNobodyElse(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "169.254.1.1", "224.0.0.251"} {
		kind := "A"
		if strings.Contains(a, ":") {
			kind = "AAAA"
		}
		text := strings.Replace(internet, "-- zone com. 5.0.0.2 --", "-- zone com. 5.0.0.2 --\nvictim NS ns1.victim.com.\nvictim NS ns2.victim.com.\nns1.victim.com. A 5.0.1.1\nns2.victim.com. "+kind+" "+a, 1) +
			"-- zone victim.com. 5.0.1.1 --\n! orphan\n@ NS ns1\n@ NS ns2\nns1 A 5.0.1.1\nns2 " + kind + " " + a + "\n@ TXT \"v=spf1 -all\"\n"
		w := world(t, text)
		asked := 0
		w.Net.Handle(netip.AddrPortFrom(netip.MustParseAddr(a), 53), func([]byte, netip.AddrPort, bool) []byte {
			asked++
			return nil
		})
		for id, want := range map[string]finding.State{"DEL-LAME": finding.Fail, "ZONE-PRIVATE": finding.Warn} {
			got := inNet(t, w, id, "victim.com", nil)
			if !slices.ContainsFunc(got, func(f finding.Finding) bool { return f.State == want && strings.Contains(f.Detail, a) }) {
				t.Errorf("%s: %s: %s", a, id, lines(got))
			}
		}
		for _, id := range []string{"ZONE-SAME", "ZONE-EVERY", "ZONE-SERIAL", "ZONE-DANGLE", "ZONE-SUBS"} {
			got := inNet(t, w, id, "victim.com", func(o *check.Options) { o.Subdomains = id == "ZONE-SUBS" && a == "127.0.0.1" })
			if slices.ContainsFunc(got, func(f finding.Finding) bool { return f.LocalCause || id == "ZONE-EVERY" && f.State != finding.Pass }) {
				t.Errorf("%s: %s takes it for a server that could be asked: %s", a, id, lines(got))
			}
		}
		if n := w.Net.Counts(netip.MustParseAddr(a)); asked > 0 || n.Queries > 0 {
			t.Errorf("%s was asked %d times, %+v", a, asked, n)
		}
	}
}

// TestReverse has reverse zones, and parts of them (RFC 2317).
func TestReverse(t *testing.T) {
	t.Parallel()
	const whole = `
-- zone 1.0.5.in-addr.arpa. 5.0.1.1 5.0.2.1 --
@ SOA ns.victim.com. host.victim.com. 1 14400 3600 604800 3600
`
	for i, x := range []struct {
		zone, more string
		state      finding.State
		has        string
	}{
		{"1.0.5.in-addr.arpa", "1 PTR host.partner.net.\n-- zone partner.net. 5.0.0.3 --\nhost A 5.0.1.1", finding.Pass, "5.0.1.1 is host.partner.net."},
		{"1.0.5.in-addr.arpa", "1 PTR other.partner.net.\n1 PTR host.partner.net.\n-- zone partner.net. 5.0.0.3 --\nhost A 5.0.1.1\nother A 5.0.1.1\nother A 5.0.1.2", finding.Pass, "other"},
		{"1.0.5.in-addr.arpa", "1 PTR www.partner.com.", finding.Warn, "has not this address"},
		{"1.0.5.in-addr.arpa", "1 PTR gone.partner.com.", finding.Warn, "has not this address"},
		{"1.0.5.in-addr.arpa", "1 PTR gone-partner.com.", finding.Fail, "gone-partner.com. is not registered"},
		{"1.0.5.in-addr.arpa", "1 PTR localhost.", finding.Warn, "nobody's"},
		{"1.0.5.in-addr.arpa", "1 PTR 5.0.1.1.", finding.Warn, "nobody's"},
		{"1.0.5.in-addr.arpa", "", finding.Skipped, "none of"},
		{"1.0.5.in-addr.arpa", "$GENERATE 0-63 $ CNAME $.0/26\n-- zone 0/26.1.0.5.in-addr.arpa. 5.0.0.3 --\n1 PTR host.partner.net.\n-- zone partner.net. 5.0.0.3 --\nhost A 5.0.1.1", finding.Pass, "host.partner.net."},
		{"0/26.1.0.5.in-addr.arpa", "-- zone 0/26.1.0.5.in-addr.arpa. 5.0.0.3 --\n1 PTR host.partner.net.\n-- zone partner.net. 5.0.0.3 --\nhost A 5.0.1.1", finding.Pass, "5.0.1.1 is host.partner.net."},
		{"64-127.1.0.5.in-addr.arpa", "-- zone 64-127.1.0.5.in-addr.arpa. 5.0.0.3 --\n65 PTR www.partner.com.", finding.Warn, "5.0.1.65"},
		{"1.0.5.in-addr.arpa", "1 CNAME 1.customer.partner.com.", finding.Warn, "RFC 2317"},
		{"1.0.5.in-addr.arpa", "1 CNAME 1.rev.partner.net.\n-- zone partner.net. 5.0.0.3 --\n1.rev PTR host\nhost A 5.0.1.1", finding.Pass, "host.partner.net."},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			got := inWorld(t, "ZONE-REVERSE", x.zone, whole+x.more, nil)
			if len(got) != 1 || got[0].State != x.state || !strings.Contains(got[0].Detail, x.has) || got[0].Severity > finding.SevMedium {
				t.Errorf("%s\nwant %v %s\n%s", x.more, x.state, x.has, lines(got))
			}
			for _, id := range []string{"ZONE-MAIL", "ZONE-CAA", "ZONE-TLSA", "ZONE-HTTPS"} {
				if got := inWorld(t, id, x.zone, whole+x.more, nil); got[0].State != finding.Skipped {
					t.Errorf("%s: %s", id, lines(got))
				}
			}
		})
	}
	if a := wire.ReverseName(netip.MustParseAddr("2a00::1")); len(a) == 0 {
		t.Error("no name")
	}
}
