package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of the walk from the root down. They are a resolver's, made smaller:
// a check asks for one zone.
const (
	WalkServers = 3   // addresses of a zone that are tried for one question
	walkQueries = 256 // of one walk: a zone may have thirteen servers without glue, each in a zone of its own
	WalkDepth   = 4   // zones that a circle of delegations is looked for in
	walkNames   = 13  // servers of a zone whose addresses are looked up to make targets of them
)

// errNoRoots says that a walk has nowhere to begin.
var errNoRoots = errors.New("no servers of the root are known")

// A Cut is one zone as its parent shows it.
type Cut struct {
	Zone    []byte
	NS      [][]byte // by the parent
	Glue    map[string][]netip.Addr
	DS      [][]byte
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

// A walking run sends the questions of a walk as it sends its own: through the gate, again
// after silence, and over TCP what did not fit.
type walking struct{ r *Run }

// walkTime is how long a walk waits for one server, of which a zone has others: a try over UDP, and one
// over TCP.
const walkTime = 3 * time.Second

// Ask implements [chain.Asker].
func (a walking) Ask(ctx context.Context, server netip.AddrPort, q *exchange.Question) (*exchange.Reply, error) {
	query := Query{Name: q.Name, Type: q.Type, Flags: q.Flags, EDNS: &EDNS{Size: q.UDPSize, DO: q.DO}}
	within, cancel := context.WithTimeout(ctx, walkTime)
	defer cancel()
	m, err := a.r.AskWithFallback(within, finding.Server{Addr: server}, query)
	if err != nil {
		if ctx.Err() == nil && within.Err() != nil {
			err = ErrTimeout
		}
		return nil, err
	}
	return m.ToExchange(q), nil
}

// ToExchange returns the reply to a question as package exchange has it.
func (m *Reply) ToExchange(q *exchange.Question) *exchange.Reply {
	return &exchange.Reply{
		Question: q,
		Raw:      m.Raw,
		Message:  m.Message,
		Fault:    m.Bad,
		Server:   m.From,
		TCP:      m.TCP,
		RTT:      m.RTT,
		At:       time.Now().Add(-m.RTT),
	}
}

// FromExchange is the other way round.
func FromExchange(x *exchange.Reply) *Reply {
	return &Reply{Message: x.Message, Raw: x.Raw, Bad: x.Fault, RTT: x.RTT, From: x.Server, TCP: x.TCP}
}

// walker returns what walks down from the run's roots.
func walker(r *Run) *chain.Tracer {
	t := &chain.Tracer{Asker: walking{r}, Port: nsPort(r), IPv4: true, IPv6: true, Queries: walkQueries, Addresses: WalkServers}
	t.HasRoute = func(ctx context.Context, a netip.AddrPort) bool {
		return r.Asks(a) && !r.habits(a).dead() && r.HasRoute(ctx, a)
	}
	for _, s := range r.Options.Roots {
		t.Roots = append(t.Roots, chain.Server{Name: s.Name, Addrs: []netip.Addr{s.Addr.Addr()}, Port: s.Addr.Port()})
	}
	return t
}

// TraceQuestion is how a walk asks.
func TraceQuestion(name []byte, t wire.Type, do bool) *exchange.Question {
	return &exchange.Question{Name: name, Type: t, Class: wire.ClassIN, EDNS: true, UDPSize: EDNSSize, DO: do}
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
	list, err := walker(r).Walk(TraceQuestion(nil, 0, true)).Delegations(ctx, r.Zone)
	if err != nil {
		return nil, err
	}
	cuts := []Cut{{Zone: wire.Root, Servers: r.Options.Roots}}
	for i := range list[1:] {
		d := &list[i+1]
		c := Cut{Zone: d.Zone, Glue: map[string][]netip.Addr{}}
		if d.DS != nil {
			c.DS = FromExchange(d.DS).Answers(d.Zone, wire.TypeDS)
		}
		for _, s := range d.Servers {
			ns := wire.Lower(nil, s.Name)
			c.NS = append(c.NS, ns)
			switch {
			case s.Glue:
				c.Glue[string(ns)] = s.Addrs
			case len(s.Addrs) > 0:
				// The walk is content with one family.
				for _, a := range r.Addresses(ctx, ns) {
					if !slices.Contains(s.Addrs, a) {
						s.Addrs = append(s.Addrs, a)
					}
				}
			}
			if len(s.Addrs) == 0 {
				c.Missing = append(c.Missing, ns)
			}
			for _, a := range s.Addrs {
				c.Servers = append(c.Servers, finding.Server{Addr: netip.AddrPortFrom(a, nsPort(r)), Name: ns})
			}
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

// nextServer is how long one of a zone's servers may be silent before the next is asked as well.
const nextServer = 700 * time.Millisecond

// AskAny asks a zone's servers until one answers. Who is silent is not waited for before the next is
// asked, but goes on being asked for as long as ctx lasts, so that it is known for silent afterwards.
func (r *Run) AskAny(ctx context.Context, servers []finding.Server, q Query) (*Reply, error) {
	// Who has been silent so far comes last.
	servers = slices.Clone(servers)
	slices.SortStableFunc(servers, func(a, b finding.Server) int {
		return btoi(r.habits(a.Addr).dead()) - btoi(r.habits(b.Addr).dead())
	})
	type said struct {
		m   *Reply
		err error
	}
	done := make(chan said, len(servers))
	err := errors.New("no server has an address")
	asked, under, next := 0, 0, 0
	more := func() bool { // asks the next server
		if next == len(servers) || asked+under == WalkServers || ctx.Err() != nil {
			return false
		}
		s := servers[next]
		next, under = next+1, under+1
		go func() {
			m, err := r.AskWithFallback(ctx, s, q)
			done <- said{m, usable(s, m, err)}
		}()
		return true
	}
	late := time.NewTimer(nextServer)
	defer late.Stop()
	more()
	for under > 0 {
		select {
		case <-late.C:
			more()
		case x := <-done:
			under--
			if x.err == nil {
				return x.m, nil
			}
			if err = x.err; !errors.Is(err, ErrNoRoute) {
				asked++
			}
			more()
		}
		late.Reset(nextServer)
	}
	return nil, err
}

// usable returns why a reply is of no use; nil is that it is.
func usable(s finding.Server, m *Reply, err error) error {
	switch {
	case err != nil:
		return err
	case m.Bad != 0:
		return fmt.Errorf("%s: %w", s.Addr, Malformed(m.Bad))
	case m.Rcode != wire.NoError && m.Rcode != wire.NXDomain:
		return fmt.Errorf("%s answers %s", s.Addr, m.Rcode)
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Lookup finds the answer to a question from the root down, as a resolver
// does, aliases followed. Rcode and answer are those of the last server.
func (r *Run) Lookup(ctx context.Context, name []byte, t wire.Type) (*Reply, error) {
	x := r.Trace(ctx, name, t)
	return x.Reply, x.Err
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

// Addresses returns the addresses of a name.
func (r *Run) Addresses(ctx context.Context, name []byte) []netip.Addr {
	var out []netip.Addr
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		m, err := r.Lookup(ctx, name, t)
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
