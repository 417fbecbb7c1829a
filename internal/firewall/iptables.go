package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// The chains that are port53's own, in iptables, and where they are jumped to from.
const (
	ChainPre      = "PORT53-PRE"
	ChainOut      = "PORT53-OUT"
	ChainIn       = "PORT53-IN"
	ChainDNS      = "PORT53-DNS"
	ChainEgress   = "PORT53-EGRESS"
	ChainRedirect = "PORT53-REDIRECT"
)

// A Jump leads from a chain of the system to one of ours.
type Jump struct{ Table, From, To string }

// Jumps returns all there can be: which of them a plan has is for its rules to say.
func Jumps() []Jump {
	return []Jump{
		{"raw", "PREROUTING", ChainPre},
		{"raw", "OUTPUT", ChainOut},
		{"filter", "INPUT", ChainIn},
		{"filter", "OUTPUT", ChainEgress},
		{"filter", "FORWARD", ChainEgress},
		{"nat", "PREROUTING", ChainRedirect},
	}
}

// Chains returns our chains of a table, those first that others jump to.
func Chains(table string) []string {
	switch table {
	case "raw":
		return []string{ChainPre, ChainOut}
	case "filter":
		return []string{ChainIn, ChainDNS, ChainEgress}
	case "nat":
		return []string{ChainRedirect}
	}
	return nil
}

// iptables writes what iptables-restore --noflush and ip6tables-restore --noflush read: our
// chains, each emptied and filled again, and the jumps to them in front of all rules. Read
// twice, the jumps are there twice, which changes nothing; Apply of package fwrun adds those
// alone that are not there yet.
func (p *Plan) iptables() *Rules {
	r := &Rules{Backend: Iptables, Keep: []string{
		"apt-get install iptables-persistent",
		"netfilter-persistent save",
	}}
	for _, six := range []bool{false, true} {
		name := "port53.rules.v4"
		if six {
			name = "port53.rules.v6"
		}
		r.Files = append(r.Files, File{name, p.restore(six)})
	}
	return r
}

func (w *writer) add(chain, reason, format string, args ...any) {
	w.line("-A %s %s", chain, comment(fmt.Sprintf(format, args...), reason))
}

// comment puts the reason of a rule in front of what it does.
func comment(rule, reason string) string {
	match, target, _ := strings.Cut(rule, "-j ")
	return match + fmt.Sprintf("-m comment --comment %q -j ", reason) + target
}

// restore …
// In one piece: it is a ruleset from top to bottom, in the order in which packets meet the
// rules.
func (p *Plan) restore(six bool) string {
	w := &writer{}
	for _, s := range p.Explain() {
		w.line("# %s", s)
	}
	w.line("*raw")
	w.line(":%s - [0:0]", ChainPre)
	w.line(":%s - [0:0]", ChainOut)
	w.line("-I PREROUTING 1 -j %s", ChainPre)
	w.line("-I OUTPUT 1 -j %s", ChainOut)
	const reason = "a flood does not fill conntrack"
	for _, name := range p.External {
		for _, port := range p.Ports {
			w.add(
				ChainPre,
				"the way back goes elsewhere: the source is forged",
				"-i %s -p %s --dport %d -m rpfilter --invert -j DROP",
				name,
				port.Proto,
				port.Number,
			)
		}
	}
	for _, port := range p.Ports {
		if port.Proto == "udp" && !p.Redirect && !p.Tracked {
			w.add(ChainPre, reason, "-p udp --dport %d -m addrtype --dst-type LOCAL -j CT --notrack", port.Number)
			w.add(ChainOut, reason, "-p udp --sport %d -m addrtype --src-type LOCAL -j CT --notrack", port.Number)
		}
	}
	w.line("COMMIT")
	w.line("*filter")
	w.line(":%s - [0:0]", ChainIn)
	w.line(":%s - [0:0]", ChainDNS)
	if p.Egress {
		w.line(":%s - [0:0]", ChainEgress)
	}
	w.line("-I INPUT 1 -j %s", ChainIn)
	if p.Egress {
		w.line("-I OUTPUT 1 -j %s", ChainEgress)
		w.line("-I FORWARD 1 -j %s", ChainEgress)
	}
	w.add(ChainIn, "this machine itself", "-i lo -j RETURN")
	const errors = "errors that belong to answers, which conntrack does not know"
	if six {
		w.add(ChainIn, errors, "-p ipv6-icmp --icmpv6-type packet-too-big -j ACCEPT")
		w.add(ChainIn, errors, "-p ipv6-icmp --icmpv6-type destination-unreachable -j ACCEPT")
	} else {
		w.add(ChainIn, errors, "-p icmp --icmp-type destination-unreachable -j ACCEPT")
	}
	for _, port := range p.Ports {
		w.add(ChainIn, port.Use, "-p %s --dport %d -j %s", port.Proto, port.Number, ChainDNS)
	}
	for _, port := range p.Closed {
		for _, n := range family(p.Monitors, six) {
			w.add(ChainIn, "who may see "+port.Use, "-s %s -p %s --dport %d -j ACCEPT", n, port.Proto, port.Number)
		}
		w.add(ChainIn, port.Use+" is for this machine alone", "-p %s --dport %d -j %s", port.Proto, port.Number, p.target(port.Proto, six))
	}
	p.iptablesWho(w, six)
	if p.Egress {
		w.add(ChainEgress, "this machine itself", "-o lo -j RETURN")
		for _, proto := range []string{"udp", "tcp"} {
			if p.User != "" {
				w.add(ChainEgress, "the resolver here", "-p %s --dport 53 -m owner --uid-owner %s -j RETURN", proto, p.User)
			}
			for _, a := range addresses(p.Resolvers, six) {
				w.add(ChainEgress, "a server that may be asked", "-d %s -p %s --dport 53 -j RETURN", a, proto)
			}
		}
		w.add(ChainEgress, "no questions to other servers", "-p udp --dport 53 -j REJECT")
		w.add(ChainEgress, "no questions to other servers", "-p tcp --dport 53 -j REJECT --reject-with tcp-reset")
	}
	w.line("COMMIT")
	if p.Redirect {
		w.line("*nat")
		w.line(":%s - [0:0]", ChainRedirect)
		w.line("-I PREROUTING 1 -j %s", ChainRedirect)
		for _, who := range p.iptablesClients(six) {
			for _, proto := range []string{"udp", "tcp"} {
				to := "REDIRECT --to-ports 53"
				if served := addresses(p.Listen, six); len(served) > 0 {
					to = fmt.Sprintf("DNAT --to-destination %s", netip.AddrPortFrom(served[0], 53))
				} else if len(p.Listen) > 0 {
					continue // nothing is served in this family
				}
				w.add(ChainRedirect, "stray questions come here", "%s-p %s --dport 53 -m addrtype ! --dst-type LOCAL -j %s", who, proto, to)
			}
		}
		w.line("COMMIT")
	}
	return w.String()
}

func (p *Plan) iptablesClients(six bool) []string {
	if p.Everybody {
		return []string{""}
	}
	var list []string
	for _, n := range family(p.Allow, six) {
		list = append(list, fmt.Sprintf("-s %s ", n))
	}
	return list
}

// target returns what becomes of who may not.
func (p *Plan) target(proto string, six bool) string {
	switch {
	case !p.Reject:
		return "DROP"
	case proto == "tcp":
		return "REJECT --reject-with tcp-reset"
	case six:
		return "REJECT --reject-with icmp6-port-unreachable"
	}
	return "REJECT --reject-with icmp-port-unreachable"
}

func (p *Plan) iptablesWho(w *writer, six bool) {
	refuse := func(reason, match string) {
		if p.Reject {
			w.add(ChainDNS, reason, "%s-p udp -j %s", match, p.target("udp", six))
			w.add(ChainDNS, reason, "%s-p tcp -j %s", match, p.target("tcp", six))
			return
		}
		w.add(ChainDNS, reason, "%s-j DROP", match)
	}
	for _, name := range p.External {
		for _, n := range p.bogons(six) {
			w.add(ChainDNS, "nobody out there has these addresses", "-i %s -s %s -j DROP", name, n)
		}
	}
	w.add(ChainDNS, "no client has port 0", "-p udp --sport 0 -j DROP")
	if len(p.Listen) > 0 {
		served := addresses(p.Listen, six)
		switch len(served) {
		case 0:
			refuse("no DNS at this address", "")
			return
		case 1:
			refuse("no DNS at this address", fmt.Sprintf("! -d %s ", served[0]))
		default:
			p.iptablesServed(w, six, served)
			refuse("no DNS at this address", "")
			return
		}
	}
	p.iptablesAccept(w, six, "")
	if !p.Everybody {
		refuse("nobody else", "")
	}
}

// iptablesServed writes who may ask for each of several addresses: a rule can exclude one
// address alone.
func (p *Plan) iptablesServed(w *writer, six bool, served []netip.Addr) {
	for _, a := range served {
		p.iptablesAccept(w, six, fmt.Sprintf("-d %s ", a))
	}
}

func (p *Plan) iptablesAccept(w *writer, six bool, match string) {
	for _, n := range family(p.Peers, six) {
		w.add(ChainDNS, "servers that transfer zones", "%s-s %s -j ACCEPT", match, n)
	}
	for _, n := range family(p.Deny, six) {
		for _, proto := range []string{"udp", "tcp"} {
			w.add(ChainDNS, "who may not ask", "%s-s %s -p %s -j %s", match, n, proto, p.target(proto, six))
		}
	}
	if p.Limits {
		n, bits, whole := "4", prefix4, 32
		if six {
			n, bits, whole = "6", prefix6, 128
		}
		w.add(
			ChainDNS,
			"a network asks too much",
			"%s-p udp -m hashlimit --hashlimit-above %d/sec --hashlimit-burst %d --hashlimit-mode srcip "+
				"--hashlimit-srcmask %d --hashlimit-name port53-udp%s -j DROP",
			match,
			udpRate,
			udpBurst,
			bits,
			n,
		)
		w.add(
			ChainDNS,
			"an address connects too often",
			"%s-p tcp --syn -m hashlimit --hashlimit-above %d/sec --hashlimit-burst %d --hashlimit-mode srcip "+
				"--hashlimit-srcmask %d --hashlimit-name port53-syn%s -j DROP",
			match,
			synRate,
			synBurst,
			whole,
			n,
		)
		w.add(
			ChainDNS,
			"an address has too many connections",
			"%s-p tcp --syn -m connlimit --connlimit-above %d --connlimit-mask %d --connlimit-saddr -j DROP",
			match,
			maxConns,
			whole,
		)
	}
	for _, who := range p.iptablesClients(six) {
		w.add(ChainDNS, "who may ask", "%s%s-j ACCEPT", match, who)
	}
}
