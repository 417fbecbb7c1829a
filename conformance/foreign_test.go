package conformance_test

import (
	"net/netip"
	"strings"
	"testing"
)

// TestFirewallTranslated has the rules of others send port 53 to the port of a server without
// privileges: port53's rules say so, and leave UDP to connection tracking, over both families.
func TestFirewallTranslated(t *testing.T) {
	iptables := func(program string) string {
		var b strings.Builder
		for _, t := range []string{program, "ip6" + strings.TrimPrefix(program, "ip")} {
			for _, p := range []string{"udp", "tcp"} {
				b.WriteString(t + " -t nat -A PREROUTING -p " + p + " --dport 53 -j REDIRECT --to-ports 5353\n")
			}
		}
		return b.String()
	}
	inside, inside6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:1::1")
	for name, c := range map[string]struct{ script, backend string }{
		"iptables-nft":       {iptables("iptables-nft"), "nftables"},
		"iptables-legacy":    {iptables("iptables-legacy"), "nftables"},
		"a map of ports":     {strings.ReplaceAll(iptables("iptables-nft"), "--dport 53", "-m multiport --dports 5000:5009,53"), "nftables"},
		"nft":                {"nft 'table inet other { chain pre { type nat hook prerouting priority dstnat; udp dport 53 redirect to :5353; tcp dport { 53, 54 } redirect to :5353; }; }'", "nftables"},
		"seen from iptables": {"nft 'table inet other { chain pre { type nat hook prerouting priority dstnat; meta l4proto { tcp, udp } th dport 50-60 redirect to :5353; }; }'", "iptables --iptables iptables-nft"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.in(g.home, c.script)
			g.serveOn(5353, "")
			out := g.firewall("apply --allow 198.51.100.0/24,2001:db8:1::/64 --backend " + c.backend)
			if !strings.Contains(out, "sends packets for port 53 elsewhere") || !strings.Contains(out, "UDP stays in connection tracking") {
				t.Errorf("apply says nothing of it:\n%s", out)
			}
			for _, proto := range []string{"udp", "tcp"} {
				if got := g.await(proto, inside, g.v4, "answered"); got != "answered" {
					t.Errorf("%s over IPv4: %s", proto, got)
				}
				if got := g.await(proto, inside6, g.v6, "answered"); got != "answered" {
					t.Errorf("%s over IPv6: %s", proto, got)
				}
			}
			if out := g.firewall("status --allow 198.51.100.0/24,2001:db8:1::/64 --backend " + c.backend); !strings.Contains(out, "sends packets for port 53 elsewhere") {
				t.Errorf("status says nothing of it:\n%s", out)
			}
		})
	}
}

// TestFirewallForeign has other tables drop port 53, or not: apply, check and status say which, and
// only then.
func TestFirewallForeign(t *testing.T) {
	const table = "nft -f - <<'END'\ntable inet filter {\n chain input {\n  type filter hook input priority 0; policy %;\n  ct state established,related accept\n" +
		"  iif lo accept\n  tcp dport 22 accept\n  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n  $\n }\n}\nEND\n"
	with := func(policy, more string) string { return strings.NewReplacer("%", policy, "$", more).Replace(table) }
	for name, c := range map[string]struct{ script, want string }{
		"a policy":              {with("drop", ""), "nft table inet filter, chain input lets no packet for port 53 through: policy drop"},
		"a rule at the end":     {with("accept", "reject with icmpx admin-prohibited"), "nft table inet filter, chain input lets no packet for port 53 through: reject"},
		"a rule for the port":   {with("accept", "udp dport { 53, 123 } drop"), "nft table inet filter, chain input lets no packet for port 53 through: match"},
		"half of it":            {with("drop", "tcp dport 53 accept"), "lets no packet for port 53 through: policy drop"},
		"iptables":              {"iptables-nft -P INPUT DROP", "lets no packet for port 53 through: :INPUT DROP"},
		"iptables at the end":   {"iptables-legacy -A INPUT -m state --state ESTABLISHED -j ACCEPT; iptables-legacy -A INPUT -j REJECT", "lets no packet for port 53 through: -A INPUT -j REJECT"},
		"accepted":              {with("drop", "meta l4proto { tcp, udp } th dport 53 accept"), ""},
		"accepted for a range":  {with("drop", "udp dport 50-60 accept; tcp dport != 22 accept"), ""},
		"other ports":           {with("accept", "udp dport 5353 drop"), ""},
		"accepted by iptables":  {"iptables-nft -P INPUT DROP; iptables-nft -A INPUT -p udp --dport 53 -j ACCEPT; iptables-nft -A INPUT -p tcp -m multiport --dports 53,80 -j ACCEPT", ""},
		"forwarded, not served": {"iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -p udp --dport 53 -j DROP", ""},
		"Docker and fail2ban":   {foreign, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.in(g.home, c.script)
			const flags = " --allow 198.51.100.0/24 --backend nftables"
			applied := g.firewall("apply" + flags)
			status, err := g.try(g.home, g.bin+" firewall status"+flags+" --state-dir "+g.state)
			if (err != nil) != (c.want != "") {
				t.Errorf("status: %v\n%s", err, status)
			}
			for what, out := range map[string]string{"apply": applied, "status": status} {
				if c.want == "" && strings.Contains(out, "port 53 ") || !strings.Contains(out, c.want) {
					t.Errorf("%s: want %q in\n%s", what, c.want, out)
				}
			}
		})
	}
}

// TestFirewallConnections has tables of others go by the state of connections: what was answered before port53's
// rules were loaded is answered with them, and they say why UDP stays in connection tracking.
func TestFirewallConnections(t *testing.T) {
	inside := netip.MustParseAddr("198.51.100.1")
	for name, script := range map[string]string{
		"replies":         "nft 'table inet other { chain out { type filter hook output priority 0; policy drop; ct state established,related accept; oif lo accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }; }'",
		"new questions":   "nft 'table inet other { chain in { type filter hook input priority 0; policy drop; ct state established,related accept; ct state new udp dport 53 accept; tcp dport 53 accept; }; }'",
		"a map of states": "nft 'table inet other { chain in { type filter hook input priority 0; ct state vmap { invalid : drop, untracked : drop }; }; }'",
		"iptables":        "iptables-nft -P OUTPUT DROP; iptables-nft -A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.in(g.home, script)
			g.serve("")
			if got := g.await("udp", inside, g.v4, "answered"); got != "answered" {
				t.Fatalf("before: %s", got)
			}
			out := g.firewall("apply --allow 198.51.100.0/24 --backend nftables")
			if !strings.Contains(out, "by the state of their connections") || !strings.Contains(out, "UDP stays in connection tracking") {
				t.Errorf("apply says nothing of it:\n%s", out)
			}
			for _, proto := range []string{"udp", "tcp"} {
				if got := g.await(proto, inside, g.v4, "answered"); got != "answered" {
					t.Errorf("%s: %s", proto, got)
				}
			}
		})
	}
}
