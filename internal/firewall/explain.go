package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Explain returns what the rules do, in sentences.
// In one piece: it is one text.
func (p *Plan) Explain() []string {
	var s []string
	say := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	var ports []string
	for _, port := range p.Ports {
		ports = append(ports, fmt.Sprintf("%s %d", strings.ToUpper(port.Proto), port.Number))
	}
	where := "every address of this machine"
	if len(p.Listen) > 0 {
		where = listing(p.Listen)
	}
	subject := "These rules govern"
	if p.Role != "" {
		subject = "For the role " + p.Role + " these rules govern"
	}
	say("%s %s at %s, for IPv4 and IPv6 alike.", subject, strings.Join(ports, " and "), where)
	refused := "hears nothing"
	if p.Reject {
		refused = "is told that the port is closed"
	}
	switch {
	case p.Everybody:
		say("Everybody may ask.")
	case len(p.Allow) == 0:
		say("Nobody may ask from outside of this machine; who does %s.", refused)
	default:
		say("Who asks from %s is let through; everybody else %s.", listing(p.Allow), refused)
	}
	if len(p.Deny) > 0 {
		say("Who asks from %s is refused all the same.", listing(p.Deny))
	}
	if len(p.Listen) > 0 {
		say("Port 53 of other addresses of this machine %s.", strings.Replace(refused, "hears nothing", "is silent", 1))
	}
	if len(p.Peers) > 0 {
		say("%s may always: zones are transferred with them.", listing(p.Peers))
	}
	if p.Limits {
		say(
			"A network (/%d of IPv4, /%d of IPv6) may send %d packets a second over UDP, %d at once; an address may "+
				"open %d TCP connections a second, and have %d.",
			prefix4,
			prefix6,
			udpRate,
			udpBurst,
			synRate,
			maxConns,
		)
	}
	if len(p.External) > 0 {
		say(
			"What comes by %s from addresses that nobody on the Internet has, or that are reached another way, is dropped.",
			strings.Join(p.External, ", "),
		)
	}
	for _, port := range p.Closed {
		who := "this machine alone"
		if len(p.Monitors) > 0 {
			who = "this machine and " + listing(p.Monitors)
		}
		say("%s (%s %d): for %s.", port.Use, strings.ToUpper(port.Proto), port.Number, who)
	}
	if p.Egress {
		but := ""
		if len(p.Resolvers) > 0 {
			but = " but " + listing(p.Resolvers)
		}
		if p.User != "" {
			but += ", except by the user " + p.User
		}
		say("No server on port 53 elsewhere%s is asked from here or through here.", but)
	}
	if p.Redirect {
		say("Questions of clients to other servers come to this one instead.")
	}
	if p.Redirect {
		say("UDP is tracked, which redirecting needs; ICMP errors that belong to answers are let through.")
	} else {
		say("UDP here is kept out of conntrack, both ways; ICMP errors that belong to answers are let through.")
	}
	return s
}

func listing[T netip.Addr | netip.Prefix](list []T) string {
	const shown = 8
	var parts []string
	for _, x := range list[:min(len(list), shown)] {
		parts = append(parts, fmt.Sprint(x))
	}
	if more := len(list) - shown; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ")
}
