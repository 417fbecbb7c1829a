package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Mark begins the comment of every rule of ufw that is ours.
const Mark = "port53: "

// ufw writes commands: ufw keeps its rules itself. Of a packet the first rule that fits
// counts.
//
// In one piece: it is a ruleset from top to bottom, in the order in which packets meet the
// rules.
func (p *Plan) ufw() *Rules {
	r := &Rules{Backend: UFW, Keep: []string{"ufw keeps its rules itself, while it is enabled: ufw enable"}}
	number := func(port Port) string { return fmt.Sprint(port.Number) }
	add := func(reason string, words ...string) {
		r.Commands = append(r.Commands, append(append([]string{"ufw"}, words...), "comment", Mark+reason))
	}
	refuse := "deny"
	if p.Reject {
		refuse = "reject"
	}
	to := []string{"any"}
	if len(p.Listen) > 0 {
		to = nil
		for _, a := range p.Listen {
			to = append(to, a.String())
		}
	}
	from := func(verdict, reason string, n netip.Prefix, port Port) {
		for _, dst := range to {
			if dst != "any" && netip.MustParseAddr(dst).Is6() != n.Addr().Is6() {
				continue
			}
			src := n.String()
			if n.IsSingleIP() {
				src = n.Addr().String()
			}
			add(reason, verdict, "from", src, "to", dst, "port", number(port), "proto", port.Proto)
		}
	}
	for _, port := range p.Ports {
		for _, n := range p.Peers {
			from("allow", "a server that transfers zones", n, port)
		}
		for _, n := range p.Deny {
			from(refuse, "who may not ask", n, port)
		}
		switch {
		case p.Everybody && len(p.Listen) == 0:
			add("who may ask", "allow", fmt.Sprintf("%d/%s", port.Number, port.Proto))
		case p.Everybody:
			for _, dst := range to {
				add("who may ask", "allow", "to", dst, "port", number(port), "proto", port.Proto)
			}
		}
		for _, n := range p.Allow {
			from("allow", "who may ask", n, port)
		}
	}
	for _, port := range p.Ports {
		if !p.Everybody || len(p.Listen) > 0 {
			add("nobody else", refuse, fmt.Sprintf("%d/%s", port.Number, port.Proto))
		}
	}
	for _, port := range p.Closed {
		for _, n := range p.Monitors {
			from("allow", "who may see "+port.Use, n, port)
		}
		add(port.Use+" is for this machine alone", refuse, fmt.Sprintf("%d/%s", port.Number, port.Proto))
	}
	if p.Egress {
		for _, proto := range []string{"udp", "tcp"} {
			for _, a := range p.Resolvers {
				add("a server that may be asked", "allow", "out", "to", a.String(), "port", "53", "proto", proto)
			}
		}
		for _, proto := range []string{"udp", "tcp"} {
			add("no questions to other servers", "reject", "out", "53/"+proto)
		}
		r.Missing = append(r.Missing, "blocking what is forwarded: ufw route has it per interface")
		if p.User != "" {
			r.Missing = append(
				r.Missing,
				"letting the resolver's own user ask: name the servers with --resolver, or use nftables or iptables",
			)
		}
	}
	if p.Limits {
		r.Missing = append(
			r.Missing,
			fmt.Sprintf(
				"limits of a network (%d/s of UDP, %d/s of TCP): port53 has its own; nftables and iptables have them in front of it",
				udpRate,
				synRate,
			),
		)
	}
	r.Missing = append(r.Missing, "keeping UDP out of conntrack: a flood can fill its table; nftables and iptables do that")
	if len(p.External) > 0 {
		r.Missing = append(r.Missing, "forged sources on external interfaces: net.ipv4.conf.all.rp_filter=1 covers IPv4 in part")
	}
	if p.Redirect {
		r.Missing = append(r.Missing, "redirecting stray questions: nftables and iptables do that")
	}
	var ports []string
	for _, port := range p.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", port.Number, port.Proto))
	}
	r.Files = []File{{"applications.d/port53", "[port53]\ntitle=port53\ndescription=DNS server\nports=" + strings.Join(ports, "|") + "\n"}}
	return r
}

// Shell returns a command as a shell reads it.
func Shell(command []string) string {
	var parts []string
	for _, word := range command {
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./:-_=") != "" {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		parts = append(parts, word)
	}
	return strings.Join(parts, " ")
}
