package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"port53/internal/netif"
)

// own reports whether an interface of this machine has an address.
func (p *patient) own(a netip.Addr) bool {
	all, err := netif.List()
	return err == nil && netif.Has(all, a)
}

// docker looks for published ports of Docker, which pass by ufw.
func (p *patient) docker(ctx context.Context) {
	const id, title = "docker-past-ufw", "no container's port 53 is open past ufw"
	if p.Foreign == nil {
		return
	}
	rules, err := p.Foreign(ctx)
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	ufw, _ := p.read("/etc/ufw/ufw.conf")
	enabled := false
	for line := range strings.Lines(ufw) {
		enabled = enabled || strings.EqualFold(strings.TrimSpace(line), "ENABLED=yes")
	}
	for _, r := range rules {
		if r.Docker && r.Translates && !r.Guarded && enabled {
			p.add(Finding{
				ID: id, Title: title, State: Problem, Object: r.Text,
				Seen:    "ufw is enabled, and Docker sends packets for port 53 to a container before ufw sees them: " + r.Text,
				Impact:  "whoever reaches this machine reaches that container, whatever ufw says",
				Remedy:  guard(r.Text),
				Persist: "publish the port on one address: docker run -p 127.0.0.1:53:53/udp …",
			})
			return
		}
	}
	p.ok(id, title, "none is")
}

// guard returns the command that drops what others send to a port that Docker publishes, by the program that
// tells of the rule.
func guard(rule string) string {
	program, loopback := "iptables", "127.0.0.0/8"
	if strings.HasPrefix(rule, "ip6tables") {
		program, loopback = "ip6tables", "::1"
	}
	return program + " -I DOCKER-USER -m conntrack --ctorigdstport 53 --ctdir ORIGINAL ! -s " + loopback + " -j DROP"
}

// conntrack looks at how full the table of connections is: beyond it, packets are dropped.
func (p *patient) conntrack() {
	const id, title = "conntrack-full", "the kernel's table of connections has room"
	limit, err := p.number("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		p.ok(id, title, "connections are not tracked")
		return
	}
	count, err := p.number("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	if limit == 0 || count*10 < limit*9 {
		p.ok(id, title, "%d of %d", count, limit)
		return
	}
	f := Finding{
		ID:    id,
		Title: title,
		State: Problem,
		Seen:  fmt.Sprintf("%d of %d entries are in use", count, limit),
		Impact: "beyond it the kernel drops packets (nf_conntrack: table full), and a flood of questions fills it; " +
			"port53 firewall apply keeps UDP to port 53 out of it",
	}
	f.Remedy, f.Persist = sysctl("net.netfilter.nf_conntrack_max", strconv.FormatInt(max(4*limit, 262144), 10))
	p.add(f)
}

// buffers looks for datagrams that were dropped since no buffer had room.
func (p *patient) buffers() {
	const id, title = "udp-buffers", "no datagrams are dropped for want of buffers"
	text, err := p.read("/proc/net/snmp")
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	in, dropped := udpCounters(text)
	limit, err := p.number("/proc/sys/net/core/rmem_max")
	if err != nil {
		limit = 1 << 30 // of a namespace that is not the first, it cannot be read, nor set
	}
	if dropped*10_000 <= in || limit >= 4<<20 {
		p.ok(id, title, "%d of %d were", dropped, in)
		return
	}
	f := Finding{
		ID:     id,
		Title:  title,
		State:  Problem,
		Seen:   fmt.Sprintf("%d of %d datagrams were dropped; a socket may have %d bytes", dropped, in, limit),
		Impact: "questions are lost in bursts, and clients wait for their second try",
	}
	f.Remedy, f.Persist = sysctl("net.core.rmem_max", strconv.Itoa(4<<20))
	p.add(f)
}

// udpCounters returns how many datagrams came, and how many no buffer had room for (/proc/net/snmp).
func udpCounters(text string) (in, dropped int64) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := 1; i < min(len(f), len(names)); i++ {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			switch names[i] {
			case "InDatagrams":
				in = n
			case "RcvbufErrors":
				dropped = n
			}
		}
	}
	return in, dropped
}

// fewPorts is how many ports are too few to ask from: a forged answer has to guess one of them
// (RFC 5452, section 10).
const fewPorts = 16384

// ports looks at how many ports questions may leave from.
func (p *patient) ports() {
	const id, title = "few-ports", "questions leave from ports that cannot be guessed"
	text, err := p.read("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	var low, high int
	if _, err := fmt.Sscan(text, &low, &high); err != nil {
		p.unknown(id, title, fmt.Errorf("ip_local_port_range is %q", strings.TrimSpace(text)))
		return
	}
	if high-low+1 >= fewPorts {
		p.ok(id, title, "%d ports", high-low+1)
		return
	}
	f := Finding{
		ID: id, Title: title, State: Problem, Seen: fmt.Sprintf("the kernel draws from %d to %d: %d ports", low, high, high-low+1),
		Impact: "a forged answer has to guess the port, and there are few",
	}
	f.Remedy, f.Persist = sysctl("net.ipv4.ip_local_port_range", "1024 65535")
	p.add(f)
}

// ipv6 looks for IPv6 that is half there: addresses without a way out, or a way without addresses.
func (p *patient) ipv6() {
	const id, title = "half-ipv6", "IPv6 works, or is not there at all"
	if !p.IPv6 {
		p.ok(id, title, "it is not used")
		return
	}
	addrs, err := p.read("/proc/net/if_inet6")
	if err != nil {
		p.ok(id, title, "it is not there")
		return
	}
	routes, err := p.read("/proc/net/ipv6_route")
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	global, device := globalIPv6(addrs), defaultIPv6(routes)
	f := Finding{
		ID:     id,
		Title:  title,
		State:  Problem,
		Impact: "each question over IPv6 waits for nothing before IPv4 is tried, and clients that prefer IPv6 wait as well",
	}
	switch {
	case global != "" && device == "":
		f.Object = global
		f.Seen = fmt.Sprintf("%s has a global address and there is no default route", global)
		f.Remedy = fmt.Sprintf(
			"sysctl -w net.ipv6.conf.%s.accept_ra=2 # the router tells the route; or: port53 serve with resolver: {ipv6: false}",
			global,
		)
	case global == "" && device != "":
		f.Object = device
		f.Seen = fmt.Sprintf("there is a default route over %s and no interface has a global address", device)
		f.Remedy = fmt.Sprintf("ip -6 route del default dev %s", device)
	case global == "":
		p.ok(id, title, "it is not there")
		return
	default:
		p.ok(id, title, "a global address and a default route")
		return
	}
	p.add(f)
}

// globalIPv6 returns an interface that has an address of 2000::/3 (/proc/net/if_inet6).
func globalIPv6(text string) string {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 6 && len(f[0]) == 32 && (f[0][0] == '2' || f[0][0] == '3') && f[3] == "00" {
			return f[5]
		}
	}
	return ""
}

// rejects is the flag of a route that refuses (RTF_REJECT).
const rejects = 0x0200

// defaultIPv6 returns the interface of the default route (/proc/net/ipv6_route).
func defaultIPv6(text string) string {
	const all = "00000000000000000000000000000000"
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 10 || f[0] != all || f[1] != "00" || f[9] == "lo" {
			continue
		}
		if flags, err := strconv.ParseUint(f[8], 16, 32); err == nil && flags&rejects == 0 {
			return f[9]
		}
	}
	return ""
}
