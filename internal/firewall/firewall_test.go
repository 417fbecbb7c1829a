package firewall_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/firewall"
)

var update = flag.Bool("update", false, "write the golden files")

func nets(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func plans() map[string]*firewall.Plan {
	return map[string]*firewall.Plan{
		"block":         {},
		"network":       {Allow: nets("192.168.1.0/24")},
		"host":          {Allow: nets("192.168.1.100/32"), Reject: true},
		"authoritative": {Role: "authoritative", Everybody: true, Limits: true, Peers: nets("192.0.2.7/32", "2001:db8::7/128"), External: []string{"eth0"}, Deny: nets("198.51.100.0/24", "2001:db8:bad::/48")},
		"internal": {
			Role: "internal-resolver", Allow: nets("10.0.0.0/8", "10.1.0.0/16", "fd00::/8"), Listen: []netip.Addr{netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("10.0.1.53"), netip.MustParseAddr("fd00::53")},
			Ports: append(firewall.DNS(53), firewall.Port{Proto: "tcp", Number: 853, Use: "DNS over TLS"}), Closed: []firewall.Port{{Proto: "tcp", Number: 9153, Use: "metrics"}}, Monitors: nets("10.0.0.9/32"),
		},
		"egress": {Allow: nets("192.168.0.0/16"), Egress: true, Resolvers: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")}, User: "port53", Redirect: true},
	}
}

// TestRules compares the rules of plans with golden files, which people read.
func TestRules(t *testing.T) {
	for name, p := range plans() {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, b := range firewall.Backends() {
			r, err := p.Render(b)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, f := range r.Files {
				text.WriteString("=== " + f.Name + "\n" + f.Text)
			}
			for _, c := range r.Commands {
				text.WriteString(firewall.Shell(c) + "\n")
			}
			for _, m := range r.Missing {
				text.WriteString("missing: " + m + "\n")
			}
			file := filepath.Join("testdata", name+"."+string(b)+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || string(want) != text.String() {
				t.Errorf("%s is stale (%v): go test ./internal/firewall -update\n%s", file, err, text.String())
			}
		}
	}
	if _, err := (&firewall.Plan{}).Render("pf"); err == nil {
		t.Error("there is no backend pf")
	}
}

func TestDecide(t *testing.T) {
	p := plans()["internal"]
	p.Peers = nets("203.0.113.7/32")
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if len(p.Allow) != 2 {
		t.Errorf("networks within others are left: %v", p.Allow)
	}
	for _, s := range []struct {
		from, to string
		want     firewall.Verdict
	}{
		{"10.255.255.255", "10.0.0.53", firewall.Answered},
		{"11.0.0.0", "10.0.0.53", firewall.Dropped},
		{"10.1.2.3", "10.0.0.54", firewall.Dropped},
		{"203.0.113.7", "10.0.1.53", firewall.Answered},
		{"fdff::1", "fd00::53", firewall.Answered},
		{"2001:db8::1", "fd00::53", firewall.Dropped},
	} {
		if got := p.Decide(netip.MustParseAddr(s.from), netip.MustParseAddr(s.to)); got != s.want {
			t.Errorf("%s to %s: %s, want %s", s.from, s.to, got, s.want)
		}
	}
	p.Deny = nets("10.9.0.0/16")
	if got := p.Decide(netip.MustParseAddr("10.9.1.1"), netip.MustParseAddr("10.0.0.53")); got != firewall.Dropped {
		t.Errorf("%s for who may not ask", got)
	}
	p.Reject = true
	if got := p.Decide(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.53")); got != firewall.Rejected {
		t.Errorf("%s instead of a rejection", got)
	}
	all := &firewall.Plan{Allow: nets("0.0.0.0/0", "::/0")}
	if err := all.Check(); err != nil || !all.Everybody {
		t.Errorf("both whole families are not everybody: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	many := make([]netip.Prefix, 5000)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
	}
	for what, p := range map[string]*firewall.Plan{
		"an interface with a space": {External: []string{"eth0 accept"}},
		"an interface as a flag":    {External: []string{"-j"}},
		"redirecting to nobody":     {Redirect: true},
		"too many networks":         {Allow: many},
		"no network":                {Allow: []netip.Prefix{{}}},
	} {
		if err := p.Check(); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}
