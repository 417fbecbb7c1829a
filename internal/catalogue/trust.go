package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"port53/internal/chain"
	"port53/internal/check"
	"port53/internal/dnssec"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/wire"
)

// validator returns what walks the chain of trust from the anchors down to the zone. It
// asks the servers that each parent names for keys and DS records, and the run's for the
// zone's data; each question once, over all that is validated.
func validator(ctx context.Context, r *check.Run) (*chain.Validator, error) {
	cuts, err := r.Path(ctx)
	if err != nil {
		return nil, err
	}
	v := &chain.Validator{Now: r.Clock()}
	v.Cut = func(name []byte) bool {
		return slices.ContainsFunc(cuts, func(c check.Cut) bool { return bytes.Equal(c.Zone, name) })
	}
	for _, a := range r.Options.Anchors {
		zone := wire.Lower(nil, a.Owner)
		at := slices.IndexFunc(v.Anchors, func(x chain.Anchor) bool { return bytes.Equal(x.Zone, zone) })
		if at < 0 {
			at = len(v.Anchors)
			v.Anchors = append(v.Anchors, chain.Anchor{Zone: zone})
		}
		v.Anchors[at].DS = append(v.Anchors[at].DS, a.DS)
	}
	if len(v.Anchors) == 0 {
		v.Anchors = []chain.Anchor{{Zone: wire.Root, DS: dnssec.RootDS()}}
	}
	asked := map[string]*exchange.Reply{}
	v.Ask = func(ctx context.Context, name []byte, t wire.Type) (*exchange.Reply, error) {
		key := fmt.Sprintf("%d %s", t, name)
		if asked[key] == nil {
			m, err := fromHolder(ctx, r, cuts, name, t)
			if err != nil {
				return nil, err
			}
			asked[key] = m.ToExchange(check.TraceQuestion(name, t, true))
		}
		return asked[key], nil
	}
	return v, nil
}

// fromHolder asks the servers of the deepest zone that holds the records of a name and
// type.
func fromHolder(ctx context.Context, r *check.Run, cuts []check.Cut, name []byte, t wire.Type) (*check.Reply, error) {
	if wire.EqualFold(name, r.Zone) && t != wire.TypeDS && t != wire.TypeDNSKEY {
		m, _, err := r.FromZone(ctx, name, t)
		return m, err
	}
	at, servers := dnssec.ParentSide(name, t), cuts[0].Servers
	for i := range cuts {
		if wire.Subdomain(at, cuts[i].Zone) {
			servers = cuts[i].Servers
		}
	}
	return r.AskAny(ctx, servers, check.Query{Name: name, Type: t, EDNS: &check.EDNS{Size: check.EDNSSize, DO: true}})
}

// errElsewhere ends the validation of an answer at an alias that leads out of the zone.
var errElsewhere = errors.New("it leads out of the zone")

// through returns what walks the chain of trust as a resolver does that has no other server of
// the zone than one, of whose replies pick chooses one. What the servers above say is asked once
// for all.
func through(v *chain.Validator, x *sight, r *check.Run, zone []byte, pick func(question) *check.Reply) *chain.Validator {
	one := *v
	above := v.Ask
	one.Ask = func(ctx context.Context, name []byte, t wire.Type) (*exchange.Reply, error) {
		own := wire.Subdomain(name, zone)
		switch {
		case !own && !wire.Subdomain(zone, name):
			return nil, errElsewhere
		case !own || t == wire.TypeDS && wire.EqualFold(name, zone):
			return above(ctx, name, t)
		}
		q := question{string(wire.Lower(nil, name)), t}
		m := pick(q)
		if m == nil && x.said[q] != nil {
			return nil, check.ErrTimeout // ZONE-EVERY tells of it
		}
		if m == nil {
			var err error
			if m, err = r.AskWithFallback(ctx, x.server, withDO.query(q)); err != nil {
				return nil, err
			}
		}
		return m.ToExchange(check.TraceQuestion([]byte(q.name), t, true)), nil
	}
	return &one
}

// A verdict is what the chain of trust comes to through one server.
type verdict struct {
	finding.Finding
	at []string
}

func runChain(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{Command: "delv +vtrace -t SOA " + check.ShellName(r.Apex())}
	v, err := validator(ctx, r)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	s, err := surveyed(ctx, r)
	if err != nil {
		if f := unsignedAbove(ctx, r, v, ev); f != nil {
			return f
		}
		return finding.Unmeasured(ev, err)
	}
	var list []*verdict
	heard := s.heard()
	for _, x := range heard {
		for _, f := range chainAt(ctx, r, v, s, x) {
			i := slices.IndexFunc(list, func(o *verdict) bool { return o.State == f.State && o.Detail == f.Detail })
			if i < 0 {
				i = len(list)
				list = append(list, &verdict{Finding: f})
			}
			list[i].at = append(list[i].at, x.called())
		}
	}
	if len(list) == 0 || !slices.ContainsFunc(list, func(o *verdict) bool { return o.State != finding.Unknown }) {
		if f := unsignedAbove(ctx, r, v, ev); f != nil {
			return f
		}
	}
	if len(list) == 0 {
		return finding.Unmeasured(ev, errors.New("no server answers from here"))
	}
	// One that is good at some servers only is told of as what it is at the others.
	if bad := slices.DeleteFunc(slices.Clone(list), func(o *verdict) bool { return o.State == finding.Pass }); len(bad) > 0 {
		list = bad
	}
	var out []finding.Finding
	for _, o := range list {
		if len(o.at) < len(heard) {
			o.Key = o.Detail
			o.Detail = "through " + strings.Join(o.at, ", ") + ": " + o.Detail
		}
		out = append(out, o.Finding)
	}
	return out
}

// unsignedAbove reports whether the zone above says that the zone has no DS, which can be known
// without any server of the zone. nil is that it does not.
func unsignedAbove(ctx context.Context, r *check.Run, v *chain.Validator, ev finding.Evidence) []finding.Finding {
	done := v.Validate(ctx, r.Zone, wire.TypeDS)
	if done.Reply == nil || done.Security == chain.Bogus || done.Security == chain.Indeterminate ||
		len(check.FromExchange(done.Reply).Answers(r.Zone, wire.TypeDS)) > 0 {
		return nil
	}
	return finding.Verdict(finding.Warn, ev, "insecure: %s has no DS", wire.NameText(r.Zone))
}

// chainAt validates whatever one server answers: over UDP, and over TCP where that is not the same.
func chainAt(ctx context.Context, r *check.Run, v *chain.Validator, s *survey, x *sight) []finding.Finding {
	out := chainBy(ctx, r, v, s, x, x.reply)
	if out[0].State != finding.Pass {
		return out
	}
	over := func(q question) *check.Reply {
		if m := x.overStream(q); m != nil {
			return m
		}
		return x.reply(q)
	}
	if !slices.ContainsFunc(slices.Concat(s.questions, s.cuts), func(q question) bool {
		m, stream := x.reply(q), x.overStream(q)
		return m != nil && stream != nil && m != stream && !alike(m, stream)
	}) {
		return out
	}
	if tcp := chainBy(ctx, r, v, s, x, over); tcp[0].State == finding.Fail {
		tcp[0].Detail += ", over TCP"
		return tcp
	}
	return out
}

// chainBy validates those replies of one server that pick chooses.
func chainBy(
	ctx context.Context,
	r *check.Run,
	v *chain.Validator,
	s *survey,
	x *sight,
	pick func(question) *check.Reply,
) []finding.Finding {
	ev := x.evidence(question{string(s.zone), wire.TypeDNSKEY}, withDO)
	var secure []string // zones, from the anchor down
	one := through(v, x, r, s.zone, pick)
	one.Check = func(c *chain.Check) {
		zone := wire.NameText(c.Zone)
		if c.Type == wire.TypeDNSKEY && c.Security == chain.Secure && !slices.Contains(secure, zone) {
			secure = append(secure, zone)
		}
	}
	shown := func(end string) string { return strings.Join(append(secure, end), " > ") }
	if done := one.Validate(ctx, r.Zone, wire.TypeDNSKEY); done.Broken != nil { // the chain, all but its end
		return brokenChain(ev, done, shown)
	}
	var bad []question
	var first []finding.Finding
	for _, q := range slices.Concat(s.questions, s.cuts) {
		if o := outcomeOf(q, pick(q)); q.t == wire.TypeDNSKEY || !o.there() && (q.t != wire.TypeDS || !o.denied()) {
			continue // a referral is no answer, its DS is; denials are for DNSSEC-NX
		}
		done := one.Validate(ctx, []byte(q.name), q.t)
		if done.Security != chain.Bogus {
			continue // opt-out and delegations without DS are insecure within a secure zone
		}
		if first == nil {
			first = brokenChain(x.evidence(q, withDO), done, shown)
		}
		bad = append(bad, q)
	}
	switch {
	case len(bad) > 1:
		first[0].Detail += "; bogus as well: " + listed(bad[1:])
		return first
	case len(bad) == 1:
		return first
	}
	return finding.Verdict(finding.Pass, ev, "secure: %s", shown("data"))
}

// brokenChain tells of a chain that is not secure to its end. shown writes the zones that
// are, and what comes behind them.
func brokenChain(ev finding.Evidence, done *chain.Validated, shown func(end string) string) []finding.Finding {
	b := done.Broken
	name := wire.NameText(b.Name)
	switch done.Security {
	case chain.Insecure:
		end := name + " has no DS"
		if b.Reason != 0 {
			end = fmt.Sprintf("%s: %s", name, b.Reason)
		}
		return finding.Verdict(finding.Warn, ev, "insecure: %s", shown(end))
	case chain.Bogus:
		what := fmt.Sprintf("%v of %s", b.Type, name)
		if b.Type == wire.TypeDS && len(check.FromExchange(b.Reply).Answers(b.Name, wire.TypeDS)) == 0 {
			what = "the denial of " + what
		}
		return finding.Verdict(finding.Fail, ev, "bogus: %s: %s", what, b.Reason)
	case chain.Secure, chain.Indeterminate:
	}
	if done.Err != nil {
		return finding.Unmeasured(ev, done.Err)
	}
	return finding.Unmeasured(ev, errors.New(b.Text))
}
