package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Table is the name of the table that is port53's own, in nftables.
const Table = "port53"

// A writer writes lines of rules.
type writer struct {
	strings.Builder
	indent string
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(w, w.indent+format+"\n", args...)
}

// rule writes a rule with the reason for it.
func (w *writer) rule(reason, format string, args ...any) {
	w.line("%s comment %q", fmt.Sprintf(format, args...), reason)
}

func join[T fmt.Stringer](list []T) string {
	var parts []string
	for _, x := range list {
		parts = append(parts, x.String())
	}
	return strings.Join(parts, ", ")
}

func (w *writer) set(name, typ string, elements string) {
	if elements == "" {
		return
	}
	w.line("set %s {", name)
	w.line("\ttype %s", typ)
	w.line("\tflags interval")
	w.line("\tauto-merge")
	w.line("\telements = { %s }", elements)
	w.line("}")
}

// nftables writes one table of its own, taken away and made again in one transaction. What
// it accepts, other tables may still refuse; what it drops is gone.
//
// In one piece: it is a ruleset from top to bottom, in the order in which packets meet the
// rules.
func (p *Plan) nftables() *Rules {
	w := &writer{}
	w.line("#!/usr/sbin/nft -f")
	for _, s := range p.Explain() {
		w.line("# %s", s)
	}
	w.line("table inet %s", Table)
	w.line("delete table inet %s", Table)
	w.line("table inet %s {", Table)
	w.indent = "\t"
	for _, six := range []bool{false, true} {
		typ, n := "ipv4_addr", "4"
		if six {
			typ, n = "ipv6_addr", "6"
		}
		w.set("clients"+n, typ, join(family(p.Allow, six)))
		w.set("denied"+n, typ, join(family(p.Deny, six)))
		w.set("peers"+n, typ, join(family(p.Peers, six)))
		if len(p.Closed) > 0 {
			w.set("monitors"+n, typ, join(family(p.Monitors, six)))
		}
		w.set("listen"+n, typ, join(addresses(p.Listen, six)))
		w.set("resolvers"+n, typ, join(addresses(p.Resolvers, six)))
		if len(p.External) > 0 {
			w.set("bogons"+n, typ, join(p.bogons(six)))
		}
		if p.Limits {
			for _, name := range []string{"udp", "syn"} {
				w.line("set %s%s {", name, n)
				w.line("\ttype %s", typ)
				w.line("\tsize 65535")
				w.line("\tflags dynamic,timeout")
				w.line("\ttimeout 1m")
				w.line("}")
			}
			w.line("set conns%s {", n)
			w.line("\ttype %s", typ)
			w.line("\tsize 65535")
			w.line("\tflags dynamic")
			w.line("}")
		}
	}
	if !p.Redirect && !p.Tracked {
		p.nftUntracked(w)
	}
	w.line("chain input {")
	w.indent = "\t\t"
	w.line("type filter hook input priority filter; policy accept;")
	w.rule("this machine itself", "iifname \"lo\" accept")
	w.rule("errors that belong to answers, which conntrack does not know", "icmp type destination-unreachable accept")
	w.rule("errors that belong to answers, which conntrack does not know", "icmpv6 type { destination-unreachable, packet-too-big } accept")
	for _, port := range p.Ports {
		w.rule(port.Use, "%s dport %d goto dns", port.Proto, port.Number)
	}
	for _, port := range p.Closed {
		if len(family(p.Monitors, false)) > 0 {
			w.rule("who may see "+port.Use, "ip saddr @monitors4 %s dport %d accept", port.Proto, port.Number)
		}
		if len(family(p.Monitors, true)) > 0 {
			w.rule("who may see "+port.Use, "ip6 saddr @monitors6 %s dport %d accept", port.Proto, port.Number)
		}
		w.rule(port.Use+" is for this machine alone", "%s dport %d %s", port.Proto, port.Number, p.nftRefuse(port.Proto))
	}
	w.indent = "\t"
	w.line("}")
	w.line("chain dns {")
	w.indent = "\t\t"
	p.nftWho(w)
	w.indent = "\t"
	w.line("}")
	if p.Egress {
		for _, hook := range []string{"output", "forward"} {
			w.line("chain egress_%s {", hook)
			w.indent = "\t\t"
			w.line("type filter hook %s priority filter; policy accept;", hook)
			if hook == "output" {
				w.rule("this machine itself", "oifname \"lo\" accept")
				if p.User != "" {
					w.rule("the resolver here", "meta skuid %q meta l4proto { tcp, udp } th dport 53 accept", p.User)
				}
			}
			if len(addresses(p.Resolvers, false)) > 0 {
				w.rule("servers that may be asked", "ip daddr @resolvers4 meta l4proto { tcp, udp } th dport 53 accept")
			}
			if len(addresses(p.Resolvers, true)) > 0 {
				w.rule("servers that may be asked", "ip6 daddr @resolvers6 meta l4proto { tcp, udp } th dport 53 accept")
			}
			w.rule("no questions to other servers", "udp dport 53 reject")
			w.rule("no questions to other servers", "tcp dport 53 reject with tcp reset")
			w.indent = "\t"
			w.line("}")
		}
	}
	if p.Redirect {
		w.line("chain stray {")
		w.indent = "\t\t"
		w.line("type nat hook prerouting priority dstnat; policy accept;")
		for _, proto := range []string{"udp", "tcp"} {
			for _, who := range p.nftClients() {
				for _, to := range p.nftHere(who) {
					w.rule("stray questions come here", "%sfib daddr type != local %s dport 53 %s", who, proto, to)
				}
			}
		}
		w.indent = "\t"
		w.line("}")
	}
	w.indent = ""
	w.line("}")
	return &Rules{
		Backend: Nftables, Files: []File{{"port53.nft", w.String()}},
		Keep: []string{
			"port53 firewall show --backend nftables ... > /etc/nftables.d/port53.nft",
			`echo 'include "/etc/nftables.d/port53.nft"' >> /etc/nftables.conf`,
			"systemctl enable nftables.service",
		},
	}
}

// nftHere returns how questions come to an address that is served, for the family of who.
func (p *Plan) nftHere(who string) []string {
	if len(p.Listen) == 0 {
		return []string{"redirect to :53"}
	}
	var list []string
	if four := addresses(p.Listen, false); len(four) > 0 && !strings.HasPrefix(who, "ip6") {
		list = append(list, fmt.Sprintf("dnat ip to %s:53", four[0]))
	}
	if six := addresses(p.Listen, true); len(six) > 0 && !strings.HasPrefix(who, "ip ") {
		list = append(list, fmt.Sprintf("dnat ip6 to [%s]:53", six[0]))
	}
	return list
}

// nftClients returns what begins a rule for who may ask: one for all, or one a family.
func (p *Plan) nftClients() []string {
	if p.Everybody {
		return []string{""}
	}
	var list []string
	if len(family(p.Allow, false)) > 0 {
		list = append(list, "ip saddr @clients4 ")
	}
	if len(family(p.Allow, true)) > 0 {
		list = append(list, "ip6 saddr @clients6 ")
	}
	return list
}

// nftUntracked keeps UDP out of conntrack, both ways: a flood cannot fill its table.
func (p *Plan) nftUntracked(w *writer) {
	const reason = "a flood does not fill conntrack"
	for _, c := range []struct{ chain, hook, addr, port string }{
		{"untracked_in", "prerouting", "daddr", "dport"}, {"untracked_out", "output", "saddr", "sport"},
	} {
		w.line("chain %s {", c.chain)
		w.indent = "\t\t"
		w.line("type filter hook %s priority raw; policy accept;", c.hook)
		for _, port := range p.Ports {
			if port.Proto == "udp" {
				w.rule(reason, "fib %s type local udp %s %d notrack", c.addr, c.port, port.Number)
			}
		}
		w.indent = "\t"
		w.line("}")
	}
}

func (p *Plan) nftRefuse(proto string) string {
	switch {
	case !p.Reject:
		return "drop"
	case proto == "tcp":
		return "reject with tcp reset"
	}
	return "reject with icmpx type port-unreachable"
}

// nftWho writes who may ask.
func (p *Plan) nftWho(w *writer) {
	refuse := func(reason, match string) {
		if p.Reject {
			w.rule(reason, "%smeta l4proto udp %s", match, p.nftRefuse("udp"))
			w.rule(reason, "%smeta l4proto tcp %s", match, p.nftRefuse("tcp"))
			return
		}
		w.rule(reason, "%sdrop", match)
	}
	for _, name := range p.External {
		w.rule("nobody out there has these addresses", "iifname %q ip saddr @bogons4 drop", name)
		w.rule("nobody out there has these addresses", "iifname %q ip6 saddr @bogons6 drop", name)
		w.rule("the way back goes elsewhere: the source is forged", "iifname %q fib saddr . iif oif missing drop", name)
	}
	w.rule("no client has port 0", "udp sport 0 drop")
	if len(p.Listen) > 0 {
		for _, f := range []struct {
			six      bool
			ip, name string
		}{{false, "ip", "listen4"}, {true, "ip6", "listen6"}} {
			if len(addresses(p.Listen, f.six)) > 0 {
				refuse("no DNS at this address", fmt.Sprintf("%s daddr != @%s ", f.ip, f.name))
			} else {
				refuse("no DNS at this address", map[bool]string{false: "meta nfproto ipv4 ", true: "meta nfproto ipv6 "}[f.six])
			}
		}
	}
	if len(family(p.Peers, false)) > 0 {
		w.rule("servers that transfer zones", "ip saddr @peers4 accept")
	}
	if len(family(p.Peers, true)) > 0 {
		w.rule("servers that transfer zones", "ip6 saddr @peers6 accept")
	}
	if len(family(p.Deny, false)) > 0 {
		refuse("who may not ask", "ip saddr @denied4 ")
	}
	if len(family(p.Deny, true)) > 0 {
		refuse("who may not ask", "ip6 saddr @denied6 ")
	}
	if p.Limits {
		for _, f := range []struct{ ip, n, mask string }{{"ip", "4", mask(prefix4, false)}, {"ip6", "6", mask(prefix6, true)}} {
			w.rule(
				"a network asks too much",
				"meta l4proto udp update @udp%s { %s saddr and %s limit rate over %d/second burst %d packets } drop",
				f.n,
				f.ip,
				f.mask,
				udpRate,
				udpBurst,
			)
			const syn = "tcp flags & (fin | syn | rst | ack) == syn"
			w.rule(
				"an address connects too often",
				"%s update @syn%s { %s saddr limit rate over %d/second burst %d packets } drop",
				syn,
				f.n,
				f.ip,
				synRate,
				synBurst,
			)
			w.rule("an address has too many connections", "%s add @conns%s { %s saddr ct count over %d } drop", syn, f.n, f.ip, maxConns)
		}
	}
	for _, who := range p.nftClients() {
		w.rule("who may ask", "%saccept", who)
	}
	if !p.Everybody {
		refuse("nobody else", "")
	}
}

// mask returns a netmask.
func mask(bits int, six bool) string {
	a := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if six {
		a = netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	}
	n, _ := a.Prefix(bits) // good by construction
	return n.Addr().String()
}
