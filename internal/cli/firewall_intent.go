package cli

import (
	"context"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/firewall"
	"port53/internal/fwrun"
)

// intent is what the flags of the firewall commands say.
//
// In one piece: it has a field for each flag.
type intent struct {
	blocked                                      bool // rules of others let nothing through
	config, role, backend, iptables, state, user string
	allow, listen, peer, resolver, external, see []string
	block, blockOutbound, redirect, reject       bool
	noLimits                                     bool
	ports                                        []uint
}

// flags adds the flags to a command.
func (i *intent) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&i.config, "config", "c", "", "use the role, listeners, clients and peers of this configuration")
	f.StringVar(&i.role, "role", "",
		"the role of the DNS server on this machine, whatever software it is: "+
			"authoritative, public-resolver, internal-resolver, domain-controller or none")
	f.StringSliceVar(&i.allow, "allow", nil, "client networks or addresses")
	f.StringSliceVar(&i.listen, "listen", nil, "addresses served (default: all of this machine)")
	f.StringSliceVar(&i.peer, "peer", nil, "peers for zone transfers")
	f.StringSliceVar(&i.see, "monitor", nil, "networks or addresses that may read the metrics")
	f.UintSliceVar(&i.ports, "port", nil, "other ports to treat like 53, such as 853")
	f.BoolVar(&i.block, "block", false,
		"for a machine that serves no DNS: block all clients of port 53. "+
			"--role none also blocks port 853, and makes port53 firewall apply prove that both ports are closed")
	f.BoolVar(&i.blockOutbound, "block-outbound", false, "block queries to servers elsewhere, except those of --resolver")
	f.StringSliceVar(&i.resolver, "resolver", nil, "servers allowed despite --block-outbound")
	f.StringVar(&i.user, "resolver-user", "",
		"the system user that a local resolver runs as; its queries are allowed despite --block-outbound")
	f.BoolVar(&i.redirect, "redirect", false, "redirect to this server the queries that clients send to other servers")
	f.StringSliceVar(&i.external, "external", nil, "interfaces to the Internet, on which packets with forged source addresses are dropped")
	f.BoolVar(&i.reject, "reject", false, "reject packets instead of dropping them")
	f.BoolVar(&i.noLimits, "no-limits", false,
		"limit neither the UDP packets of each client network nor the TCP connections of each address")
	i.backendFlags(cmd)
}

func (i *intent) backendFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&i.backend, "backend", "auto", "nftables, iptables, ufw or auto")
	f.StringVar(&i.iptables, "iptables", "", "the iptables variant: iptables-nft or iptables-legacy")
	f.StringVar(&i.state, "state-dir", "", "the directory in which apply records what it loaded (default: firewall.state_dir)")
}

func prefixes(flag string, texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, failure(exitUsage, "write 192.168.1.0/24, 192.168.1.100 or 2001:db8::/32", "%s %s: no network", flag, text)
		}
		if n != n.Masked() {
			return nil, failure(exitUsage, "did you mean "+n.Masked().String()+"?", "%s %s: it has bits behind its length", flag, text)
		}
		list = append(list, n)
	}
	return list, nil
}

func addressList(flag string, texts []string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, failure(exitUsage, "write 192.0.2.53 or 2001:db8::53", "%s %s: not an address", flag, text)
		}
		list = append(list, a)
	}
	return list, nil
}

// plan returns what the flags, or the configuration that they name, come to.
func (i *intent) plan() (*firewall.Plan, error) {
	p := &firewall.Plan{Role: i.role, Reject: i.reject, External: i.external, Egress: i.blockOutbound, Redirect: i.redirect, User: i.user}
	if i.config != "" {
		c, _, err := loadConfig(i.config)
		if err != nil {
			return nil, err
		}
		if i.role != "" || len(i.listen) > 0 || i.block {
			return nil, failure(exitUsage, "leave one of them out", "--config says what --role, --listen and --block would")
		}
		if p, err = app.FirewallPlan(c); err != nil {
			return nil, failure(exitUsage, "", "%v", err)
		}
		p.Reject, p.External, p.Egress, p.Redirect = i.reject, i.external, i.blockOutbound, i.redirect
		if i.user != "" {
			p.User = i.user
		}
		if i.state == "" {
			i.state = c.Firewall.StateDir
		}
	}
	if i.state == "" {
		i.state = config.Default().Firewall.StateDir
	}
	for _, l := range []struct {
		flag string
		from []string
		to   *[]netip.Prefix
	}{{"--allow", i.allow, &p.Allow}, {"--peer", i.peer, &p.Peers}, {"--monitor", i.see, &p.Monitors}} {
		list, err := prefixes(l.flag, l.from)
		if err != nil {
			return nil, err
		}
		*l.to = append(*l.to, list...)
	}
	listen, err := addressList("--listen", i.listen)
	if err != nil {
		return nil, err
	}
	p.Listen = append(p.Listen, listen...)
	if p.Resolvers, err = addressList("--resolver", i.resolver); err != nil {
		return nil, err
	}
	if i.config == "" {
		if err := i.byRole(p); err != nil {
			return nil, err
		}
	} else if len(i.allow) > 0 {
		p.Everybody = false
	}
	if i.noLimits {
		p.Limits = false
	}
	if p.Ports == nil {
		p.Ports = firewall.DNS(53)
	}
	if i.role == roleNone {
		p.Ports = append(p.Ports, closedToo...)
	}
	for _, n := range i.ports {
		if n == 0 || n > 65535 {
			return nil, failure(exitUsage, "", "--port: %d is not a port: ports are numbers from 1 to 65535", n)
		}
		p.Ports = append(p.Ports, firewall.DNS(uint16(n))...)
	}
	if len(p.Resolvers) > 0 && !p.Egress {
		return nil, failure(exitUsage, "add --block-outbound", "--resolver names who may be asked in spite of --block-outbound")
	}
	if err := p.Check(); err != nil {
		return nil, failure(exitUsage, "", "%v", err)
	}
	return p, nil
}

// closedToo are the ports that role none closes beside 53. That of HTTPS is not among them: whatever web server
// there is has it.
var closedToo = []firewall.Port{{Proto: "udp", Number: 853, Use: "DNS over QUIC"}, {Proto: "tcp", Number: 853, Use: "DNS over TLS"}}

// byRole fills in who may ask.
func (i *intent) byRole(p *firewall.Plan) error {
	if i.block {
		if len(p.Allow) > 0 || i.role != "" {
			return failure(exitUsage, "leave one of them out", "--block lets nobody ask: it goes with neither --allow nor --role")
		}
		return nil
	}
	switch i.role {
	case roleNone:
		if len(p.Allow)+len(p.Peers)+len(p.Listen) > 0 || i.redirect {
			return failure(exitUsage, "leave them out, or name another role",
				"--role none lets nobody ask, at any address: it goes with none of --allow, --peer, --listen and --redirect")
		}
	case "":
		if len(p.Allow) == 0 && !i.blockOutbound {
			return failure(exitUsage, "give --config FILE, --role ROLE, --allow NETWORK or --block", "it is not said who may query")
		}
		if len(p.Allow) == 0 && i.blockOutbound {
			p.Ports = []firewall.Port{} // nothing that comes in is governed
		}
	case "authoritative", "public-resolver":
		p.Everybody, p.Limits = len(p.Allow) == 0, true
	case "internal-resolver", "domain-controller":
		if len(p.Allow) == 0 {
			p.Allow = config.PrivateNetworks() // whom such a server is for
		}
	default:
		return failure(
			exitUsage,
			"use authoritative, public-resolver, internal-resolver, domain-controller or none",
			"--role %s: not known",
			i.role,
		)
	}
	return nil
}

// system returns the machine, and the backend that was asked for or that it has.
func (i *intent) system(ctx context.Context) (*fwrun.System, firewall.Backend, []string, error) {
	s := &fwrun.System{State: i.state, Iptables: i.iptables}
	switch i.iptables {
	case "", "iptables", "iptables-nft", "iptables-legacy":
	default:
		return nil, "", nil, failure(exitUsage, "use iptables-nft or iptables-legacy",
			"--iptables %s: there is no such variant", i.iptables)
	}
	if i.iptables != "" && i.backend == "auto" {
		return s, firewall.Iptables, nil, nil
	}
	if i.backend == "auto" {
		b, notes, err := s.Detect(ctx)
		if err != nil {
			return nil, "", nil, firewallError(err)
		}
		return s, b, notes, nil
	}
	b := firewall.Backend(i.backend)
	if !slices.Contains(firewall.Backends(), b) {
		return nil, "", nil, failure(exitUsage, "use nftables, iptables, ufw or auto", "there is no backend %s", i.backend)
	}
	return s, b, nil, nil
}
