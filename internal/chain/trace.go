package chain

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// Bounds of a walk: those of a resolver for one question (CAMP, NXNSAttack, chains of
// aliases), so that a hostile zone cannot make a person's machine its weapon.
const (
	maxTraceQueries = 128 // sent in all unless told otherwise, as Unbound and BIND bound theirs at 200
	maxTraceDepth   = 7   // lookups of servers' addresses within one another
	maxTraceTargets = 6   // servers without an address that are looked up for one delegation
	maxTraceServers = 20  // taken of one delegation
	maxAddresses    = 6   // tried of one delegation before it is given up
)

// A Server is a name server and what is known of its addresses.
type Server struct {
	Name  []byte
	Addrs []netip.Addr
	Port  uint16 // 0: that of the walk
	Glue  bool   // the zone above told the addresses
}

// A StepKind is what a step came to. The words are part of the JSON schema: those of
// an [Outcome], and these.
type StepKind string

// The kinds that are not outcomes.
const (
	StepLame        StepKind = "lame"        // the server does not have the zone that it was asked as a server of
	StepTimeout     StepKind = "timeout"     // nothing came
	StepUnreachable StepKind = "unreachable" // the network said no
)

// A Step is one question to one server on the way.
type Step struct {
	Depth  int    // 0, or how deep within lookups of servers' addresses
	Zone   []byte // whose server is asked
	Name   []byte
	Type   wire.Type
	Server []byte // its name
	Addr   netip.AddrPort
	Kind   StepKind
	Reply  *exchange.Reply // nil if there was none
	Err    error
	Why    string // it is lame

	// Of a referral.
	Child   []byte
	Servers []Server // their addresses are glue
	Signed  bool     // there is a DS record

	Target []byte // of an alias: the name to go on with
	hops   int    // aliases up to there
}

// An Asker sends one question to one server: an [exchange.Route], or a test's own network.
type Asker interface {
	Ask(ctx context.Context, server netip.AddrPort, q *exchange.Question) (*exchange.Reply, error)
}

// A Tracer goes the way of a resolver.
type Tracer struct {
	Asker Asker
	Roots []Server
	Port  uint16
	// IPv4 and IPv6 tell which addresses may be used.
	IPv4, IPv6 bool
	Queries    int // that one walk sends at most; 0: 128
	Addresses  int // of one zone that are asked before it is given up; 0: 6
	// HasRoute reports whether there is a way to an address: others are passed over. Nil: to all.
	HasRoute func(ctx context.Context, server netip.AddrPort) bool
	// Step is called with each step when it is over.
	Step func(*Step)
}

// A TraceResult is where the way ended.
type TraceResult struct {
	Reply   *exchange.Reply // the last one, or nil
	Aliases [][]byte
	Queries int
	Took    time.Duration
}

// errTraceEnd is why a trace cannot go on.
type errTraceEnd struct{ text string }

func (e *errTraceEnd) Error() string { return e.text }

// A Walk goes down from the roots, and remembers the delegations that it found. It is one
// goroutine's.
type Walk struct {
	*Tracer
	q     *exchange.Question
	known map[string][]Server // the servers of a zone, by its name in lower case
	seen  map[string]bool     // lookups that are under way: name and type
	done  TraceResult
}

// Walk begins at the roots. Questions are asked as q is, without its name and type, and
// without recursion.
func (t *Tracer) Walk(q *exchange.Question) *Walk {
	question := *q
	question.Flags &^= wire.FlagRD
	return &Walk{Tracer: t, q: &question, known: map[string][]Server{string(wire.Root): shuffled(t.Roots)}, seen: map[string]bool{}}
}

// Trace asks for q's name and type from the root down. The error says why there is no
// answer.
func (t *Tracer) Trace(ctx context.Context, q *exchange.Question) (*TraceResult, error) {
	begun := time.Now()
	w := t.Walk(q)
	r, err := w.resolve(ctx, q.Name, q.Type, 0)
	w.done.Reply, w.done.Took = r, time.Since(begun)
	return &w.done, err
}

// resolve goes from the closest known zone to the answer, and along aliases.
func (w *Walk) resolve(ctx context.Context, name []byte, typ wire.Type, depth int) (*exchange.Reply, error) {
	key := string(wire.Lower(nil, name)) + typ.String()
	if w.seen[key] {
		return nil, &errTraceEnd{
			fmt.Sprintf(
				"to find %s %v, %s %v is needed: the delegations go in a circle",
				wire.NameText(name),
				typ,
				wire.NameText(name),
				typ,
			),
		}
	}
	w.seen[key] = true
	defer delete(w.seen, key)
	for hops := 0; hops <= maxAliases; {
		step, err := w.descend(ctx, name, typ, depth)
		if err != nil {
			return nil, err
		}
		if step.Target == nil {
			return step.Reply, nil
		}
		name = step.Target
		hops += step.hops
		if depth == 0 {
			w.done.Aliases = append(w.done.Aliases, name)
		}
	}
	return nil, &errTraceEnd{fmt.Sprintf("more than %d aliases", maxAliases)}
}

// Fetch returns what the servers of a name's zone say of it. Records that are not theirs
// to tell are left out, and aliases are not followed out of the zone. It is what a
// [Validator] may ask when there is no resolver.
func (w *Walk) Fetch(ctx context.Context, name []byte, typ wire.Type) (*exchange.Reply, error) {
	step, err := w.descend(ctx, name, typ, 0)
	if err != nil {
		return nil, err
	}
	r := *step.Reply
	r.Message.Records = slices.DeleteFunc(slices.Clone(r.Message.Records), func(rr wire.Record) bool {
		return rr.Section != wire.Additional && !wire.Subdomain(rr.Owner, step.Zone)
	})
	return &r, nil
}

// descend follows referrals until there is an answer, or an alias for another name.
func (w *Walk) descend(ctx context.Context, name []byte, typ wire.Type, depth int) (*Step, error) {
	zone, servers := w.closest(name, typ)
	for range wire.MaxLabels + 1 { // each referral goes down by a label at least
		step, err := w.askZone(ctx, zone, servers, name, typ, depth)
		if err != nil || step.Kind != StepKind(Referred) {
			return step, err
		}
		zone, servers = step.Child, shuffled(step.Servers)
		w.known[string(zone)] = servers
	}
	return nil, &errTraceEnd{"the delegations do not end"}
}

// closest returns the deepest zone above or at the name whose servers are known. DS
// is asked of the parent's (RFC 4035, section 3.1.4.1).
func (w *Walk) closest(name []byte, typ wire.Type) ([]byte, []Server) {
	at := wire.Lower(nil, name)
	if typ == wire.TypeDS && len(at) > 1 {
		at = wire.Parent(at)
	}
	for {
		if servers, ok := w.known[string(at)]; ok {
			return at, servers
		}
		if len(at) == 1 {
			return wire.Root, nil
		}
		at = wire.Parent(at)
	}
}

// askZone asks the zone's servers until one gives something to go on with.
func (w *Walk) askZone(ctx context.Context, zone []byte, servers []Server, name []byte, typ wire.Type, depth int) (*Step, error) {
	tried, spent := map[netip.Addr]bool{}, 0
	ask := func(s Server, addr netip.Addr) (*Step, error) {
		if tried[addr] || spent == cmp.Or(w.Addresses, maxAddresses) || !w.usable(addr) {
			return nil, nil
		}
		if w.HasRoute != nil && !w.HasRoute(ctx, netip.AddrPortFrom(addr, cmp.Or(s.Port, w.Port))) {
			return nil, nil
		}
		tried[addr], spent = true, spent+1
		step, err := w.askServer(ctx, zone, s, addr, name, typ, depth)
		if err != nil {
			return nil, err
		}
		if w.Step != nil {
			w.Step(step)
		}
		switch step.Kind {
		case StepLame, StepTimeout, StepUnreachable, StepKind(Failed), StepKind(Malformed), StepKind(Empty):
			return nil, nil
		}
		return step, nil
	}
	for _, s := range servers {
		for _, addr := range s.Addrs {
			if step, err := ask(s, addr); step != nil || err != nil {
				return step, err
			}
		}
	}
	targets := 0
	for i, s := range servers {
		if len(s.Addrs) > 0 || targets == maxTraceTargets {
			continue
		}
		targets++
		if depth >= maxTraceDepth {
			return nil, &errTraceEnd{
				fmt.Sprintf("to find the servers' addresses takes more than %d lookups within one another", maxTraceDepth),
			}
		}
		addrs, err := w.addresses(ctx, s.Name, depth+1)
		if err != nil {
			return nil, err
		}
		servers[i].Addrs = addrs
		for _, addr := range addrs {
			if step, err := ask(s, addr); step != nil || err != nil {
				return step, err
			}
		}
	}
	why := "none of the servers of %s gives a usable answer"
	if spent == 0 {
		why = "none of the servers of %s has an address that can be found and used"
	}
	return nil, &errTraceEnd{fmt.Sprintf(why, wire.NameText(zone))}
}

// most returns how many questions the walk may send.
func (w *Walk) most() int { return cmp.Or(w.Queries, maxTraceQueries) }

func (w *Walk) usable(addr netip.Addr) bool {
	bad := addr.IsUnspecified() || addr.IsMulticast()
	return !bad && (addr.Is4() && w.IPv4 || addr.Is6() && w.IPv6)
}

// AddressesOf returns the addresses of a name; none: it has none that can be found.
func (w *Walk) AddressesOf(ctx context.Context, name []byte) ([]netip.Addr, error) {
	return w.addresses(ctx, name, 0)
}

// addresses looks a server up. That it cannot be found is no error: there are others.
func (w *Walk) addresses(ctx context.Context, name []byte, depth int) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, typ := range [...]wire.Type{wire.TypeA, wire.TypeAAAA} {
		if typ == wire.TypeA && !w.IPv4 || typ == wire.TypeAAAA && (!w.IPv6 || len(addrs) > 0) {
			continue
		}
		r, err := w.resolve(ctx, name, typ, depth)
		var end *errTraceEnd
		if errors.As(err, &end) && w.done.Queries < w.most() {
			continue
		}
		if err != nil {
			return nil, err
		}
		f := Classify(r)
		for i := range r.Message.Records {
			rr := &r.Message.Records[i]
			if rr.Section == wire.Answer && rr.Type == typ && wire.EqualFold(rr.Owner, f.Final) {
				if a, ok := netip.AddrFromSlice(rr.Data); ok {
					addrs = append(addrs, a)
				}
			}
		}
	}
	return addrs, nil
}

// askServer asks one server at one address. The error is that nobody can be asked any
// more.
func (w *Walk) askServer(
	ctx context.Context,
	zone []byte,
	s Server,
	addr netip.Addr,
	name []byte,
	typ wire.Type,
	depth int,
) (*Step, error) {
	if w.done.Queries >= w.most() {
		return nil, &errTraceEnd{fmt.Sprintf("%d questions were asked and there is no answer: whoever delegates so wants that", w.most())}
	}
	w.done.Queries++
	q := *w.q
	q.Name, q.Type = name, typ
	step := &Step{Depth: depth, Zone: zone, Name: name, Type: typ, Server: s.Name, Addr: netip.AddrPortFrom(addr, cmp.Or(s.Port, w.Port))}
	r, err := w.Asker.Ask(ctx, step.Addr, &q)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		step.Err, step.Kind = err, StepUnreachable
		var u *exchange.NoReplyError
		if errors.As(err, &u) && slices.ContainsFunc(u.Attempts, func(a exchange.Attempt) bool { return exchange.IsTimeout(a.Err) }) {
			step.Kind = StepTimeout
		}
		return step, nil
	}
	step.Reply = r
	w.judge(step)
	return step, nil
}

// judge decides what a reply is worth to somebody who asked a server of the step's
// zone.
func (w *Walk) judge(step *Step) {
	f := Classify(step.Reply)
	step.Kind = StepKind(f.Outcome)
	lame := func(format string, args ...any) {
		step.Kind, step.Why = StepLame, fmt.Sprintf(format, args...)
	}
	m := &step.Reply.Message
	switch f.Outcome {
	case Failed:
		if m.Rcode == wire.Refused || m.Rcode == wire.NotAuth {
			lame("it answers %v", m.Rcode)
		}
	case Empty:
		lame("it says nothing")
	case Referred:
		child := wire.Lower(nil, f.Zone)
		switch {
		case !wire.Subdomain(child, step.Zone):
			lame("it refers to %s, which is not below %s", wire.NameText(child), wire.NameText(step.Zone))
		case len(child) == len(step.Zone):
			lame("it refers to the servers of %s, and should be one", wire.NameText(child))
		default:
			step.Child = child
			w.takeReferral(step, m, wire.Authority)
		}
	case Answered, Alias, NoData, NXDomain:
		// An alias that leaves the zone is followed from the root: what this server
		// says of other zones is not its to say.
		for i, target := range f.Chain {
			if !wire.Subdomain(target, step.Zone) {
				step.Target, step.hops = target, i+1
				break
			}
		}
		if f.Outcome == Alias && step.Target == nil {
			step.Target, step.hops = f.Final, len(f.Chain)
		}
		if step.Target != nil {
			step.Kind = StepKind(Alias)
		}
		if m.Flags&wire.FlagAA == 0 {
			step.Why = "not authoritative"
		}
	}
}

// takeReferral collects the servers of a referral, whose NS records are in a section, and
// the addresses that the zone asked may know: of names below it.
func (w *Walk) takeReferral(step *Step, m *wire.Message, section wire.Section) {
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section != section || !bytes.Equal(wire.Lower(nil, rr.Owner), step.Child) {
			continue
		}
		switch {
		case rr.Type == wire.TypeDS:
			step.Signed = true
		case rr.Type == wire.TypeNS && len(step.Servers) < maxTraceServers &&
			!slices.ContainsFunc(step.Servers, func(s Server) bool { return wire.EqualFold(s.Name, rr.Data) }):
			step.Servers = append(step.Servers, Server{Name: rr.Data})
		}
	}
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section != wire.Additional || rr.Type != wire.TypeA && rr.Type != wire.TypeAAAA || !wire.Subdomain(rr.Owner, step.Zone) {
			continue
		}
		a, ok := netip.AddrFromSlice(rr.Data)
		for j := range step.Servers {
			if s := &step.Servers[j]; ok && wire.EqualFold(s.Name, rr.Owner) && !slices.Contains(s.Addrs, a) {
				s.Addrs, s.Glue = append(s.Addrs, a), true
			}
		}
	}
}

// shuffled returns the servers beginning with a random one, so that not everybody's
// traces burden the first, and the addresses of each with IPv4 first: more machines
// have that.
func shuffled(servers []Server) []Server {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails
	list := slices.Clone(servers)
	if n := len(list); n > 0 {
		at := int(b[0]) % n
		list = append(list[at:len(list):len(list)], list[:at]...)
	}
	for i := range list {
		addrs := slices.Clone(list[i].Addrs)
		slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
		list[i].Addrs = addrs
	}
	return list
}
