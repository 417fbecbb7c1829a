// Package firewall turns the intent of who may reach port 53 into rules, as text, of
// nftables, iptables or ufw. It executes nothing.
//
// A [Plan] says what is wanted. [Plan.Decide] is what that means for one packet, by
// itself: whoever loads the rules can compare them with it.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Backend is what rules are written for.
type Backend string

// The backends.
const (
	Nftables Backend = "nftables"
	Iptables Backend = "iptables"
	UFW      Backend = "ufw"
)

// Backends returns all of them.
func Backends() []Backend { return []Backend{Nftables, Iptables, UFW} }

// A Port is one that is served.
type Port struct {
	Proto  string `json:"proto"` // udp or tcp
	Number uint16 `json:"port"`
	Use    string `json:"use"` // such as DNS or DNS over TLS
}

// A Plan is what the rules are to do. It is not modified after Check.
//
// In one piece: it is the intent that every backend renders, and the form of the JSON.
type Plan struct {
	Role string `json:"role"` // for the explanation; empty: none was named

	Ports  []Port       `json:"ports"`            // that are governed; nil: DNS
	Listen []netip.Addr `json:"listen,omitempty"` // addresses that are served; empty: all of the machine
	Closed []Port       `json:"closed,omitempty"` // ports for this machine alone, as that of metrics,

	Monitors []netip.Prefix `json:"monitors,omitempty"` // and for these

	Everybody bool           `json:"everybody"`       // may ask
	Allow     []netip.Prefix `json:"allow,omitempty"` // who may, unless everybody
	Deny      []netip.Prefix `json:"deny,omitempty"`  // who may not, even within those who may
	Peers     []netip.Prefix `json:"peers,omitempty"` // servers that transfer zones: they may always, without limits
	Limits    bool           `json:"limits"`          // of what one network may send
	Reject    bool           `json:"reject"`          // who may not is told so; else silence
	External  []string       `json:"external,omitempty"`

	Egress    bool         `json:"block_outbound"`      // of this machine and through it, nobody asks other servers,
	Resolvers []netip.Addr `json:"resolvers,omitempty"` // but these
	User      string       `json:"user,omitempty"`      // whose own questions go out all the same: the resolver's here
	Redirect  bool         `json:"redirect"`            // questions of those who may ask, to other servers, come here
	Tracked   bool         `json:"tracked"`             // UDP stays in conntrack: rules of others translate it, or go by connections
}

// The limits (one network is a /24 or a /56): what an authoritative server gets from one
// network's resolvers in a second, with room for bursts; connections are few where UDP
// works.
const (
	udpRate, udpBurst = 200, 400
	synRate, synBurst = 20, 40
	maxConns          = 30
	prefix4, prefix6  = 24, 56
)

// DNS returns UDP and TCP of a port: they always go together.
func DNS(number uint16) []Port {
	return []Port{{"udp", number, "DNS"}, {"tcp", number, "DNS"}}
}

// maxNetworks bounds the networks of a plan: each is a rule in iptables.
const maxNetworks = 4096

// Check puts the plan in order, and says what is wrong with it.
func (p *Plan) Check() error {
	if p.Ports == nil {
		p.Ports = DNS(53)
	}
	for _, list := range []*[]netip.Prefix{&p.Allow, &p.Deny, &p.Peers, &p.Monitors} {
		clean, err := clean(*list)
		if err != nil {
			return err
		}
		*list = clean
	}
	if slices.ContainsFunc(p.Allow, func(n netip.Prefix) bool { return n.Bits() == 0 }) {
		whole4 := slices.Contains(p.Allow, netip.MustParsePrefix("0.0.0.0/0"))
		whole6 := slices.Contains(p.Allow, netip.MustParsePrefix("::/0"))
		if whole4 && whole6 {
			p.Everybody = true
		}
	}
	if p.Everybody {
		p.Allow = nil
	}
	slices.SortFunc(p.Listen, netip.Addr.Compare)
	p.Listen = slices.Compact(p.Listen)
	slices.SortFunc(p.Resolvers, netip.Addr.Compare)
	p.Resolvers = slices.Compact(p.Resolvers)
	for _, name := range p.External {
		if !goodInterface(name) {
			return fmt.Errorf("%q is not the name of a network interface", name)
		}
	}
	switch {
	case p.Redirect && !p.Everybody && len(p.Allow) == 0:
		return errors.New("questions cannot be redirected to here if nobody may ask here: add --allow NETWORK")
	case p.Egress && len(p.Resolvers) == 0 && p.User == "" && p.Redirect:
		return errors.New("nothing could be asked any more: name the servers that may be, with --resolver ADDRESS")
	}
	return nil
}

// clean returns the networks in order, without those within others.
func clean(list []netip.Prefix) ([]netip.Prefix, error) {
	if len(list) > maxNetworks {
		return nil, fmt.Errorf("%d networks are more than %d", len(list), maxNetworks)
	}
	var out []netip.Prefix
	for _, n := range list {
		if !n.IsValid() {
			return nil, errors.New("a network is not valid")
		}
		if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(a.Unmap(), n.Bits()-96)
		}
		out = append(out, n.Masked())
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var kept []netip.Prefix
	for _, n := range out {
		if len(kept) == 0 || !kept[len(kept)-1].Contains(n.Addr()) || kept[len(kept)-1].Bits() > n.Bits() {
			kept = append(kept, n)
		}
	}
	return kept, nil
}

// goodInterface reports whether a name can be an interface's, so that it can stand in rules
// as it is.
func goodInterface(name string) bool {
	return len(name) > 0 && len(name) < 16 &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@") == "" &&
		name[0] != '-'
}

// A Verdict is what becomes of a packet.
type Verdict string

// The verdicts.
const (
	Answered Verdict = "answered"
	Dropped  Verdict = "dropped"
	Rejected Verdict = "rejected"
)

// Decide returns what becomes of a packet from a source to a governed port of an address
// of this machine, on an interface that is not loopback and not external, below all
// limits.
func (p *Plan) Decide(src, dst netip.Addr) Verdict {
	refused := Dropped
	if p.Reject {
		refused = Rejected
	}
	if len(p.Listen) > 0 && !slices.Contains(p.Listen, dst) {
		return refused
	}
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Contains(src) })
	}
	if in(p.Peers) || !in(p.Deny) && (p.Everybody || in(p.Allow)) {
		return Answered
	}
	return refused
}

// bogons4 and bogons6 are sources that nobody on the Internet has (RFC 6890): what comes
// from them by an external interface is forged. Private networks are left out where they
// may ask.
func (p *Plan) bogons(six bool) []netip.Prefix {
	list := []string{
		"0.0.0.0/8",
		"10.0.0.0/8",
		"100.64.0.0/10",
		"127.0.0.0/8",
		"169.254.0.0/16",
		"172.16.0.0/12",
		"192.0.0.0/24",
		"192.0.2.0/24",
		"192.168.0.0/16",
		"198.18.0.0/15",
		"198.51.100.0/24",
		"203.0.113.0/24",
		"224.0.0.0/3",
	}
	if six {
		list = []string{
			"::/128",
			"::1/128",
			"::ffff:0:0/96",
			"64:ff9b:1::/48",
			"100::/64",
			"2001:2::/48",
			"2001:db8::/32",
			"fc00::/7",
			"ff00::/8",
		}
	}
	var out []netip.Prefix
	for _, text := range list {
		n := netip.MustParsePrefix(text)
		if !slices.ContainsFunc(slices.Concat(p.Allow, p.Peers), func(a netip.Prefix) bool { return a.Overlaps(n) && a.Bits() > 0 }) {
			out = append(out, n)
		}
	}
	return out
}

func family(list []netip.Prefix, six bool) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range list {
		if n.Addr().Is6() == six {
			out = append(out, n)
		}
	}
	return out
}

func addresses(list []netip.Addr, six bool) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if a.Is6() == six {
			out = append(out, a)
		}
	}
	return out
}

// A File is rules in the language of a backend.
type File struct {
	Name string `json:"name"` // as it could be called
	Text string `json:"text"`
}

// Rules are what a plan comes to for a backend.
type Rules struct {
	Backend  Backend    `json:"backend"`
	Files    []File     `json:"files"`              // nft -f, iptables-restore, ip6tables-restore, or a profile of ufw
	Commands [][]string `json:"commands,omitempty"` // of ufw, in their order
	Missing  []string   `json:"missing,omitempty"`  // what the backend cannot say
	Keep     []string   `json:"keep"`               // how the rules last over a start of the machine
}

// Render returns the rules. The plan was checked.
func (p *Plan) Render(b Backend) (*Rules, error) {
	switch b {
	case Nftables:
		return p.nftables(), nil
	case Iptables:
		return p.iptables(), nil
	case UFW:
		return p.ufw(), nil
	}
	return nil, fmt.Errorf("there is no backend %q: nftables, iptables and ufw are", string(b))
}
