package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of the walk from the root down. They are a resolver's, made smaller:
// a check asks for one zone.
const (
	walkReferrals = 20 // delegations that one question follows
	WalkServers   = 3  // servers of a zone that are tried for one question
	WalkDepth     = 4  // addresses of servers that are needed to find addresses of servers
	walkAliases   = 8  // CNAMEs
	walkNames     = 13 // servers of a zone that are looked at (those of the root)
)

// errNoRoots says that a walk has nowhere to begin.
var errNoRoots = errors.New("no servers of the root are known")

// A Cut is one zone as its parent and its own servers show it.
type Cut struct {
	Zone    []byte
	Above   []byte           // the parent zone
	Parents []finding.Server // the servers of the parent
	NS      [][]byte         // by the parent
	Glue    map[string][]netip.Addr
	DS      [][]byte
	DSSigs  [][]byte
	NoDS    *Reply           // that says that there are none
	Servers []finding.Server // all servers, by the parent
	Missing [][]byte         // server names without an address
}

// nsPort is where name servers listen.
func nsPort(r *Run) uint16 {
	if r.Options.Port != 0 {
		return r.Options.Port
	}
	return 53
}

// Path returns the cuts from the root down to the zone, that of the root
// without a parent first. It is walked once a run.
func (r *Run) Path(ctx context.Context) ([]Cut, error) {
	type result struct {
		cuts []Cut
		err  error
	}
	res := Once(r, Fact[result]{Name: string(wire.Lower(nil, r.Zone))}, func() result {
		cuts, err := walkPath(ctx, r)
		return result{cuts, err}
	})
	return res.cuts, res.err
}

func walkPath(ctx context.Context, r *Run) ([]Cut, error) {
	if len(r.Options.Roots) == 0 {
		return nil, errNoRoots
	}
	cuts := []Cut{{Zone: wire.Root, Servers: r.Options.Roots}}
	for i := wire.LabelCount(r.Zone) - 1; i >= 0; i-- {
		var s wire.SplitName
		s.Set(r.Zone)
		s.Cut(i)
		name := append([]byte(nil), s.Name()...)
		up := &cuts[len(cuts)-1]
		m, err := r.AskAny(ctx, up.Servers, Query{Name: name, Type: wire.TypeNS, EDNS: &EDNS{Size: EDNSSize, DO: true}})
		if err != nil {
			return nil, fmt.Errorf("the servers of %s: %w", wire.NameText(up.Zone), err)
		}
		c := Cut{Zone: name, Above: up.Zone, Parents: up.Servers, Glue: map[string][]netip.Addr{}}
		for _, rr := range m.Records {
			if rr.Type == wire.TypeNS && wire.EqualFold(rr.Owner, name) && len(c.NS) < walkNames {
				c.NS = append(c.NS, wire.Lower(nil, rr.Data))
			}
		}
		if len(c.NS) == 0 {
			if i == 0 {
				return nil, fmt.Errorf("%s is not delegated: %s by the servers of %s", wire.NameText(name), m.Rcode, wire.NameText(up.Zone))
			}
			continue
		}
		for _, rr := range m.Records {
			if rr.Section != wire.Additional {
				continue
			}
			if a, ok := netip.AddrFromSlice(rr.Data); ok && (rr.Type == wire.TypeA || rr.Type == wire.TypeAAAA) {
				key := string(wire.Lower(nil, rr.Owner))
				c.Glue[key] = append(c.Glue[key], a)
			}
		}
		if ds, err := r.AskAny(ctx, up.Servers, Query{Name: name, Type: wire.TypeDS, EDNS: &EDNS{Size: EDNSSize, DO: true}}); err == nil {
			c.DS = ds.Answers(name, wire.TypeDS)
			c.DSSigs = ds.Signatures(name, wire.TypeDS)
			if len(c.DS) == 0 {
				c.NoDS = ds
			}
		}
		for _, ns := range c.NS {
			addrs := c.Glue[string(ns)]
			if len(addrs) == 0 {
				addrs = r.Addresses(ctx, ns, 1)
			}
			if len(addrs) == 0 {
				c.Missing = append(c.Missing, ns)
			}
			for _, a := range addrs {
				c.Servers = append(c.Servers, finding.Server{Addr: netip.AddrPortFrom(a, nsPort(r)), Name: ns})
			}
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

// AskAny asks a zone's servers until one answers.
func (r *Run) AskAny(ctx context.Context, servers []finding.Server, q Query) (*Reply, error) {
	err := errors.New("no server has an address")
	for i, s := range servers {
		if i == WalkServers || ctx.Err() != nil {
			break
		}
		var m *Reply
		m, err = r.AskServer(ctx, s, q)
		if err == nil && m.Flags&wire.FlagTC != 0 {
			at := *r
			at.Server = s
			m, err = at.AskTCP(ctx, q)
		}
		if err == nil && m.Bad == 0 && (m.Rcode == wire.NoError || m.Rcode == wire.NXDomain) {
			return m, nil
		}
		if err == nil && m.Bad != 0 {
			err = fmt.Errorf("%s: %w", s.Addr, Malformed(m.Bad))
		} else if err == nil {
			err = fmt.Errorf("%s answers %s", s.Addr, m.Rcode)
		}
	}
	return nil, err
}

// Lookup finds the answer to a question from the root down, as a resolver
// does, aliases followed. Rcode and answer are those of the last server.
func (r *Run) Lookup(ctx context.Context, name []byte, t wire.Type, depth int) (*Reply, error) {
	if len(r.Options.Roots) == 0 {
		return askResolvers(ctx, r, name, t)
	}
	if depth > WalkDepth {
		return nil, errors.New("servers depend on each other too deeply")
	}
	type result struct {
		m   *Reply
		err error
	}
	for range walkAliases {
		res := Once(r, Fact[result]{Name: string(wire.Lower(nil, name)), Type: t, Depth: depth}, func() result {
			m, err := descend(ctx, r, name, t, depth)
			return result{m, err}
		})
		if res.err != nil {
			return nil, res.err
		}
		alias := res.m.Answers(name, wire.TypeCNAME)
		if t == wire.TypeCNAME || len(alias) == 0 || len(res.m.Answers(name, t)) > 0 {
			return res.m, nil
		}
		name = alias[0]
	}
	return nil, errors.New("too many aliases")
}

// askResolvers has a resolver look a name up, aliases followed.
func askResolvers(ctx context.Context, r *Run, name []byte, t wire.Type) (*Reply, error) {
	if len(r.Options.Resolvers) == 0 {
		return nil, errNoRoots
	}
	var servers []finding.Server
	for _, a := range r.Options.Resolvers {
		servers = append(servers, finding.Server{Addr: a})
	}
	m, err := r.AskAny(ctx, servers, RD(name, t))
	if err != nil {
		return nil, fmt.Errorf("%s %s cannot be looked up: %w", wire.NameText(name), t, err)
	}
	return m, nil
}

func descend(ctx context.Context, r *Run, name []byte, t wire.Type, depth int) (*Reply, error) {
	servers, at := r.Options.Roots, wire.Root
	for range walkReferrals {
		m, err := r.AskAny(ctx, servers, Query{Name: name, Type: t, EDNS: &EDNS{Size: EDNSSize}})
		if err != nil {
			return nil, err
		}
		ns := m.In(wire.Authority, wire.TypeNS)
		if m.Flags&wire.FlagAA != 0 || m.Rcode == wire.NXDomain || len(ns) == 0 || len(m.In(wire.Answer, t)) > 0 {
			return m, nil
		}
		if next := ns[0].Owner; len(next) <= len(at) || !wire.Subdomain(name, next) || !wire.Subdomain(next, at) {
			return nil, fmt.Errorf("a referral that leads nowhere, to %s", wire.NameText(next))
		}
		at, servers = ns[0].Owner, nil
		for _, rr := range m.Records {
			a, ok := netip.AddrFromSlice(rr.Data)
			if rr.Section == wire.Additional && ok && (rr.Type == wire.TypeA || rr.Type == wire.TypeAAAA) && wire.Subdomain(rr.Owner, at) {
				servers = append(servers, finding.Server{Addr: netip.AddrPortFrom(a, nsPort(r)), Name: rr.Owner})
			}
		}
		for i := 0; len(servers) == 0 && i < len(ns) && i < WalkServers; i++ {
			for _, a := range r.Addresses(ctx, wire.Lower(nil, ns[i].Data), depth+1) {
				servers = append(servers, finding.Server{Addr: netip.AddrPortFrom(a, nsPort(r)), Name: ns[i].Data})
			}
		}
	}
	return nil, errors.New("too many referrals")
}

// Addresses returns the addresses of a name.
func (r *Run) Addresses(ctx context.Context, name []byte, depth int) []netip.Addr {
	var out []netip.Addr
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		m, err := r.Lookup(ctx, name, t, depth)
		if err != nil {
			continue
		}
		for _, rr := range m.In(wire.Answer, t) {
			if a, ok := netip.AddrFromSlice(rr.Data); ok {
				out = append(out, a)
			}
		}
	}
	return out
}

// Signatures returns the RRSIG records over a name's records of a type.
func (m *Reply) Signatures(name []byte, t wire.Type) [][]byte {
	var out [][]byte
	for _, rr := range m.Records {
		if rr.Type == wire.TypeRRSIG && wire.Covered(rr.Data) == t && wire.EqualFold(rr.Owner, name) {
			out = append(out, rr.Data)
		}
	}
	return out
}

// ZoneServers returns the servers of the zone: those that the run was given, or
// those of the delegation.
func (r *Run) ZoneServers(ctx context.Context) ([]finding.Server, error) {
	if len(r.Servers) > 0 {
		return r.Servers, nil
	}
	cuts, err := r.Path(ctx)
	if err != nil {
		return nil, err
	}
	return cuts[len(cuts)-1].Servers, nil
}

// FromZone asks the zone's servers one question.
func (r *Run) FromZone(ctx context.Context, name []byte, t wire.Type) (*Reply, finding.Evidence, error) {
	q := Query{Name: name, Type: t, EDNS: &EDNS{Size: EDNSSize, DO: true}}
	servers, err := r.ZoneServers(ctx)
	if err != nil {
		return nil, finding.Evidence{Command: "dig +trace -t " + t.String() + " -q " + ShellName(name)}, err
	}
	var ev finding.Evidence
	if len(servers) > 0 {
		ev.Command = Dig(servers[0], q)
	}
	m, err := r.AskAny(ctx, servers, q)
	if err != nil {
		return nil, ev, err
	}
	ev.Received, ev.RTT, ev.N = m.Raw, m.RTT, 1
	return m, ev, nil
}
