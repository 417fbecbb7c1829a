package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"port53/internal/server"
)

// port looks for programs that have what is to be served.
func (p *patient) port() {
	const id, title = "port-taken", "the addresses to serve are free, or port53 has them"
	seen := map[string]bool{}
	ours := 0
	for _, a := range p.Listen {
		for _, h := range server.SocketHolders(a) {
			key := fmt.Sprint(h.PID, h.Program, h.UID)
			switch {
			case h.Program == "port53":
				ours++
			case !seen[key]:
				seen[key] = true
				p.add(Finding{
					ID: id, Title: title, State: Problem, Object: a.String(), Seen: h.String(),
					Impact: "port53 cannot listen there; " + h.Remedy(), Remedy: freed(h),
				})
			}
		}
	}
	switch {
	case len(seen) > 0:
	case ours > 0:
		p.ok(id, title, "port53 has them")
	default:
		p.ok(id, title, "they are free")
	}
}

// freed returns the command that takes a port from a program.
func freed(h server.SocketHolder) string {
	port := h.Addr.Port()
	switch {
	case h.PID == 0:
		return fmt.Sprintf("sudo port53 doctor # as root it names the program that has port %d", port)
	case strings.HasPrefix(h.Program, "systemd-resolve"):
		return "mkdir -p /etc/systemd/resolved.conf.d && printf '[Resolve]\\nDNSStubListener=no\\n' > " +
			"/etc/systemd/resolved.conf.d/port53.conf" +
			" && systemctl restart systemd-resolved"
	case h.Program == "docker-proxy":
		return fmt.Sprintf("docker stop $(docker ps --quiet --filter publish=%d)", port)
	}
	if unit := unitOf(h.PID); unit != "" {
		return "systemctl disable --now " + unit
	}
	return fmt.Sprintf("kill %d", h.PID)
}

// loop looks for a forwarder that is this server, at once or by way of the stub of systemd-resolved.
func (p *patient) loop() {
	const id, title = "forward-loop", "no question is forwarded back to this server"
	stub := netip.MustParseAddrPort("127.0.0.53:53")
	found := false
	for _, to := range p.Forward {
		switch {
		case p.served(to) && (to.Addr().IsLoopback() || p.own(to.Addr())):
			found = true
			p.add(Finding{
				ID: id, Title: title, State: Problem, Object: to.String(),
				Seen:   fmt.Sprintf("questions are forwarded to %s, where this server listens", to),
				Impact: "each such question goes round until its time is over, and fails",
				Remedy: p.forwardElsewhere(to),
			})
		case to == stub && !p.served(stub):
			if up := p.upstreamOfStub(); up.IsValid() {
				found = true
				p.add(Finding{
					ID:     id,
					Title:  title,
					State:  Problem,
					Object: to.String(),
					Seen:   fmt.Sprintf("questions are forwarded to systemd-resolved at %s, which asks %s: this server", to, up.Addr()),
					Impact: "each question goes round until its time is over, and fails",
					Remedy: "resolvectl revert $(ip -o route get 192.0.2.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/') # it " +
						"asks the network's servers again; or forward past it",
				})
			}
		}
	}
	if !found {
		p.ok(id, title, "%d forwarders, none of them is this server", len(p.Forward))
	}
}

// forwardElsewhere returns the command that has the configuration name a server of the network in place of this one.
func (p *patient) forwardElsewhere(from netip.AddrPort) string {
	file, line := "", 0
	if p.Written != nil {
		file, line = p.Written(from)
	}
	to := p.networkServer()
	if file == "" || !to.IsValid() {
		return fmt.Sprintf("port53 config check # then write another address than %s in forward", from.Addr())
	}
	// The first from that line on, and no other.
	return fmt.Sprintf(`sed -i.old '%d,${/%s\(:%d\)\{0,1\}/{s//%s/;:a;n;ba}}' %s && port53 config check --config %[5]s && `+
		"systemctl try-reload-or-restart port53", line, regexp.QuoteMeta(from.Addr().String()), from.Port(), to, file)
}

// networkServer returns a server that the network has told this machine of, and that is not this machine.
func (p *patient) networkServer() netip.Addr {
	for _, name := range []string{"/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf", "/etc/resolv.conf"} {
		text, err := p.read(name)
		if err != nil {
			continue
		}
		for _, a := range nameservers(text) {
			if !a.IsLoopback() && !a.IsUnspecified() && !p.own(a) {
				return a
			}
		}
	}
	return netip.Addr{}
}

// upstreamOfStub returns the server of ours that systemd-resolved asks, if it asks one.
func (p *patient) upstreamOfStub() netip.AddrPort {
	text, err := p.read("/run/systemd/resolve/resolv.conf")
	if err != nil {
		return netip.AddrPort{}
	}
	for _, a := range nameservers(text) {
		if to := netip.AddrPortFrom(a, 53); p.served(to) && (a.IsLoopback() || p.own(a)) {
			return to
		}
	}
	return netip.AddrPort{}
}

// resolvConf looks for a name server in /etc/resolv.conf that is this machine, where nothing listens.
func (p *patient) resolvConf() {
	const id, title = "resolv-conf", "the machine's own programs ask a server that is there"
	text, err := p.read("/etc/resolv.conf")
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	list := nameservers(text)
	if len(list) == 0 {
		list = []netip.Addr{netip.MustParseAddr("127.0.0.1")} // resolv.conf(5)
	}
	var dead []string
	for _, a := range list {
		if !a.IsLoopback() && !a.IsUnspecified() {
			continue
		}
		if len(server.SocketHolders(netip.AddrPortFrom(a, 53))) == 0 {
			dead = append(dead, a.String())
		}
	}
	if len(dead) == 0 {
		p.ok(id, title, "/etc/resolv.conf: %s", joined(list))
		return
	}
	f := Finding{
		ID: id, Title: title, State: Problem, Object: strings.Join(dead, " "),
		Seen:   fmt.Sprintf("/etc/resolv.conf names %s, where nothing listens on port 53", strings.Join(dead, " and ")),
		Impact: "programs of this machine wait 5 s for each name, and most fail",
	}
	at := netip.Addr{}
	for _, l := range p.Listen {
		if l.Port() == 53 && len(server.SocketHolders(l)) > 0 {
			at = l.Addr()
			break
		}
	}
	switch {
	case at.IsValid() && at.IsUnspecified():
		at = netip.MustParseAddr("127.0.0.1")
		fallthrough
	case at.IsValid():
		f.Remedy = fmt.Sprintf("printf 'nameserver %s\\n' > /etc/resolv.conf", at)
	default:
		f.Remedy = "systemctl start port53 || systemctl start systemd-resolved"
	}
	p.add(f)
}

// nameservers returns the servers of a resolv.conf, at most three (resolv.conf(5)).
func nameservers(text string) (list []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && len(list) < 3 {
			list = append(list, a.Unmap())
		}
	}
	return list
}

func joined(list []netip.Addr) string {
	words := make([]string, 0, len(list))
	for _, a := range slices.SortedFunc(slices.Values(list), func(a, b netip.Addr) int { return cmp.Compare(a.String(), b.String()) }) {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}
