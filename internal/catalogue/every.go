package catalogue

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/chain"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// A resolver chooses among a zone's servers, and what it gets from one of them is all it gets.
// The checks of this file judge each server for itself, and then all of them beside each other.

// byDesign is the TTL, in seconds, up to which addresses that differ are taken for what somebody
// chooses for each who asks.
const byDesign = 300

// everyChecks returns the checks of what each server of a zone says.
func everyChecks() []*check.Check {
	return searching(described(GroupZone, check.ScopeZone, "every.txt", []*check.Check{
		{Check: finding.Check{ID: "ZONE-EVERY", Severity: finding.SevHigh}, Run: runEvery},
		{Check: finding.Check{ID: "ZONE-SAME", Severity: finding.SevHigh}, Run: runSame},
	}))
}

// everyEvidence is how the survey as a whole is seen by hand.
func everyEvidence(s *survey) finding.Evidence {
	ev := finding.Evidence{Command: "dig +nssearch " + check.ShellName(s.zone)}
	for _, x := range s.sights {
		for _, e := range x.said {
			for v := range variants {
				if e[v].m != nil {
					ev.N++
				}
			}
		}
	}
	return ev
}

// evidence is one question to one server in one variant.
func (x *sight) evidence(q question, v variant) finding.Evidence {
	query := v.query(q)
	if x.bare && v == overTCP {
		query = bareQuery(q)
	}
	var m *check.Reply
	if e := x.said[q]; e != nil {
		m = e[v].m
	}
	ev := seen(x.server, query, m)
	if v == overTCP {
		ev.Command += " +tcp"
	}
	return ev
}

// unmeasuredAt tells which servers could not be asked: those of a family, or of a way, that this
// machine does not have.
func (s *survey) unmeasuredAt() []finding.Finding {
	var four, six []string
	for _, x := range s.sights {
		switch {
		case !x.noWay:
		case x.server.Addr.Addr().Is4():
			four = append(four, x.server.Addr.Addr().String())
		default:
			six = append(six, x.server.Addr.Addr().String())
		}
	}
	var out []finding.Finding
	for i, list := range [][]string{four, six} {
		if len(list) > 0 {
			family := [...]string{"IPv4", "IPv6"}[i]
			out = append(out, finding.Finding{
				State:      finding.Unknown,
				Key:        family,
				LocalCause: true,
				Detail: fmt.Sprintf(
					"could not be measured over %s, which this machine has no way with: %s",
					family,
					strings.Join(list, ", "),
				),
				Evidence: finding.Evidence{Command: "ip route get " + list[0]},
			})
		}
	}
	return out
}

// A complaint is what is wrong with one server in one way, at some questions.
type complaint struct {
	at        *sight
	what      string // with %s for the questions, or none
	state     finding.State
	severity  finding.Severity
	questions []question
	evidence  finding.Evidence
}

// complaints are in the order in which they came up.
type complaints []*complaint

func (c *complaints) add(x *sight, q *question, s finding.State, sev finding.Severity, ev finding.Evidence, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	i := slices.IndexFunc(*c, func(o *complaint) bool { return o.at == x && o.what == what })
	if i < 0 {
		i = len(*c)
		*c = append(*c, &complaint{at: x, what: what, state: s, severity: sev, evidence: ev})
	}
	if q != nil && !slices.Contains((*c)[i].questions, *q) {
		(*c)[i].questions = append((*c)[i].questions, *q)
	}
}

// findings writes complaints; one of the same kind at several questions is one finding.
func (c complaints) findings() []finding.Finding {
	var out []finding.Finding
	for _, x := range c {
		detail := x.at.called() + " " + x.what
		if len(x.questions) > 0 {
			detail += ": " + listed(x.questions)
		}
		out = append(
			out,
			finding.Finding{
				State:    x.state,
				Severity: x.severity,
				Key:      x.at.server.Addr.String() + " " + x.what,
				Detail:   detail,
				Evidence: x.evidence,
			},
		)
	}
	return out
}

// listed writes questions in one line.
func listed(list []question) string {
	const most = 6
	var b strings.Builder
	for i, q := range list {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(list)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(q.String())
	}
	return b.String()
}

func runEvery(ctx context.Context, r *check.Run) []finding.Finding {
	s, err := surveyed(ctx, r)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: "dig +nssearch " + check.ShellName(r.Apex())}, err)
	}
	var wrong complaints
	silent, lost := 0, complaints{}
	for _, x := range s.sights {
		switch {
		case x.noWay:
		case x.silent():
			silent++ // what a server is that says nothing at all is DEL-LAME's to tell
		default:
			x.transports(s, &wrong, &lost)
			for _, q := range s.questions {
				x.answers(s, q, &wrong, &lost)
			}
		}
	}
	out := append(wrong.findings(), lost.findings()...)
	out = append(out, s.unmeasuredAt()...)
	reached := slices.ContainsFunc(s.sights, func(x *sight) bool { return !x.noWay && !x.silent() })
	switch {
	case !reached && silent > 0:
		return finding.Unmeasured(everyEvidence(s), errors.New("no server answers from here"))
	case silent > 0 && len(out) == 0:
		return finding.Verdict(finding.Unknown, everyEvidence(s), "could not be measured at %d of %d servers", silent, len(s.sights))
	case len(out) == 0:
		return finding.Verdict(
			finding.Pass,
			everyEvidence(s),
			"%d servers answer %d questions, over UDP with and without EDNS and over TCP",
			len(s.sights),
			len(s.questions),
		)
	}
	return out
}

// transports judges whether a server answers in every variant at all.
func (x *sight) transports(s *survey, wrong, lost *complaints) {
	control := question{string(s.zone), wire.TypeSOA}
	for v := range variants {
		e := &x.control[v]
		ev := x.evidence(control, v)
		switch {
		case errors.Is(e.err, check.ErrNoRoute):
			lost.add(x, nil, finding.Unknown, 0, ev, "could not be measured %s: %v", v, e.err)
		case e.m == nil && e.dropped:
			wrong.add(x, nil, finding.Fail, finding.SevHigh, ev, "answers nothing %s, and the same question %s", v, x.beside(v))
		case e.m == nil:
			lost.add(x, nil, finding.Unknown, 0, ev, "could not be measured %s: %v", v, e.err)
		case !x.works(v):
			wrong.add(x, nil, finding.Fail, finding.SevHigh, ev, "answers %s to whatever is asked %s", e.m.Rcode, v)
		case x.bare && v == overTCP:
			wrong.add(x, nil, finding.Fail, finding.SevHigh, ev, "answers over TCP only what has no EDNS")
		}
	}
	if x.cut {
		lost.add(x, nil, finding.Unknown, 0, x.evidence(control, overUDP), "could not be asked all in %v", surveyTime)
	}
}

// answers judges what a server answers to one question in all variants that it answers in.
func (x *sight) answers(s *survey, q question, wrong, lost *complaints) {
	e := x.said[q]
	if e == nil {
		return
	}
	var first outcome // of a variant before
	var of variant
	control := outcomeOf(question{string(s.zone), wire.TypeSOA}, x.control[overUDP].m)
	for v := range variants {
		if !x.works(v) {
			continue
		}
		o, m := outcomeOf(q, e[v].m), e[v].m
		ev := x.evidence(q, v)
		switch {
		case m == nil && e[v].dropped:
			wrong.add(x, &q, finding.Fail, 0, ev, "does not answer %s, and other questions it does", v)
			continue
		case m == nil && e[v].err != nil:
			lost.add(x, &q, finding.Unknown, 0, ev, "could not be measured %s", v)
			continue
		case m == nil || m.Flags&wire.FlagTC != 0 && v != overTCP && x.works(overTCP):
			continue // that the whole comes over TCP is judged there
		case m.Flags&wire.FlagTC != 0:
			wrong.add(x, &q, finding.Fail, 0, ev, "truncates %s, and there is no whole answer", v)
			continue
		case o.kind == chain.Malformed:
			wrong.add(x, &q, finding.Fail, 0, ev, "sends a malformed message %s", v)
			continue
		case o.kind == chain.Failed && control.kind != chain.Failed:
			wrong.add(x, &q, finding.Fail, 0, ev, "answers %s %s, and other questions it answers", o.rcode, v)
			continue
		case o.kind == chain.Failed:
			continue // lame for the whole zone
		case !o.aa && o.kind != chain.Referred && control.aa:
			wrong.add(x, &q, finding.Fail, 0, ev, "answers without authority %s", v)
		}
		if first.kind == "" {
			first, of = o, v
			continue
		}
		if !o.same(&first) && !varied(q.t, &first, &o) {
			wrong.add(x, &q, finding.Fail, 0, ev, "has %s %s, and %s %s", o.is(q), v, first.is(q), of)
		}
	}
}

// varied reports whether two answers are of a kind that somebody chooses for each who asks:
// addresses, and where a service is.
func varied(t wire.Type, a, b *outcome) bool {
	return a.there() && b.there() && (addressed(t) || a.kind == chain.Alias || b.kind == chain.Alias)
}

func addressed(t wire.Type) bool {
	return t == wire.TypeA || t == wire.TypeAAAA || t == wire.TypeHTTPS || t == wire.TypeSVCB
}

func runSame(ctx context.Context, r *check.Run) []finding.Finding {
	s, err := surveyed(ctx, r)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: "dig +nssearch " + check.ShellName(r.Apex())}, err)
	}
	heard := s.heard()
	if len(heard) == 0 {
		return finding.Unmeasured(everyEvidence(s), errors.New("no server answers from here"))
	}
	var out []finding.Finding
	for _, q := range slices.Concat(s.questions, s.cuts) {
		if f := compare(ctx, r, heard, q, s.zone); f != nil {
			out = append(out, *f)
		}
	}
	out = append(out, aboveSame(ctx, r)...)
	if len(out) == 0 {
		return finding.Verdict(
			finding.Pass,
			everyEvidence(s),
			"%d servers give the same answers to %d questions",
			len(heard),
			len(s.questions)+len(s.cuts),
		)
	}
	slices.SortStableFunc(out, func(a, b finding.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return out
}

// An opinion is an outcome, and the servers that have it.
type opinion struct {
	outcome
	at []*sight
}

// servers names those that have the opinion.
func (o *opinion) servers() string {
	var at []string
	for _, x := range o.at {
		at = append(at, x.called())
	}
	return strings.Join(at, ", ")
}

// serials returns the serials of the SOA that servers have.
func serials(zone []byte, list []*sight) []uint32 {
	var out []uint32
	for _, x := range list {
		if m := x.reply(question{string(zone), wire.TypeSOA}); m != nil {
			for _, d := range m.Answers(zone, wire.TypeSOA) {
				out = append(out, binary.BigEndian.Uint32(d[len(d)-20:]))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// opinions sorts servers by what they answer, the most common answer first.
func opinions(heard []*sight, q question) []*opinion {
	var list []*opinion
	for _, x := range heard {
		o := x.best(q)
		if q.t == wire.TypeSOA {
			o = withoutSerial(o)
		}
		if o.kind == "" || o.kind == chain.Failed || o.kind == chain.Malformed {
			continue // ZONE-EVERY has it
		}
		i := slices.IndexFunc(list, func(p *opinion) bool { return p.same(&o) })
		if i < 0 {
			i = len(list)
			list = append(list, &opinion{outcome: o})
		}
		list[i].at = append(list[i].at, x)
	}
	slices.SortStableFunc(list, func(a, b *opinion) int { return len(b.at) - len(a.at) })
	return list
}

// withoutSerial leaves the serial out of a SOA: ZONE-SERIAL has it.
func withoutSerial(o outcome) outcome {
	for i, d := range o.data {
		if len(d) >= 20 {
			b := []byte(d)
			binary.BigEndian.PutUint32(b[len(b)-20:], 0)
			o.data[i] = string(b)
		}
	}
	return o
}

// compare judges what all servers answer to a question; nil is that they agree.
func compare(ctx context.Context, r *check.Run, heard []*sight, q question, zone []byte) *finding.Finding {
	list := opinions(heard, q)
	if len(list) < 2 || q.t == wire.TypeNSEC3PARAM {
		return nil // each signer of a zone may deny in its own way (RFC 8901, section 5)
	}
	exists := false // that something is there is what they differ in
	for _, o := range list[1:] {
		exists = exists ||
			o.kind != list[0].kind &&
				(o.there() != list[0].there() || o.kind == chain.Referred || list[0].kind == chain.Referred || o.denied())
	}
	f := &finding.Finding{State: finding.Fail, Key: q.String(), Evidence: list[1].at[0].evidence(q, withDO)}
	switch {
	case exists:
		f.Severity = finding.SevHigh
	case q.t == wire.TypeNS || q.t == wire.TypeDNSKEY || q.t == wire.TypeDS:
		f.Severity = finding.SevHigh
	case q.t == wire.TypeSOA:
		f.State, f.Severity = finding.Warn, finding.SevLow
	case addressed(q.t) || slices.ContainsFunc(list, func(o *opinion) bool { return o.kind == chain.Alias }):
		if chosen(ctx, r, list, q) {
			return nil
		}
		f.State, f.Severity = finding.Warn, finding.SevMedium
	default:
		f.Severity = finding.SevMedium
	}
	var parts []string
	for _, o := range list {
		parts = append(parts, o.servers()+": "+o.is(q))
	}
	f.Detail = q.String() + " differs: " + strings.Join(parts, "; ")
	if late(zone, list) {
		f.State = finding.Warn
		f.Detail += "; their serials differ as well, so one may be behind"
	}
	return f
}

// late reports whether servers that differ have other serials throughout: a change is on its way.
func late(zone []byte, list []*opinion) bool {
	var seen []uint32
	for _, o := range list {
		own := serials(zone, o.at)
		if len(own) == 0 || slices.ContainsFunc(own, func(n uint32) bool { return slices.Contains(seen, n) }) {
			return false
		}
		seen = append(seen, own...)
	}
	return true
}

// subnets are networks on four continents, of which servers that choose by where somebody is
// choose differently (RFC 7871).
func subnets() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("193.0.0.0/24"),
		netip.MustParsePrefix("8.8.8.0/24"),
		netip.MustParsePrefix("1.0.16.0/24"),
		netip.MustParsePrefix("196.216.2.0/24"),
	}
}

// chosen reports whether addresses differ because somebody chooses them for each who asks: a
// server changes them from question to question, or by the network that it is told of, or says
// that they are to be forgotten soon.
func chosen(ctx context.Context, r *check.Run, list []*opinion, q question) bool {
	for _, o := range list {
		if o.there() && o.ttl <= byDesign {
			return true
		}
		for _, x := range o.at {
			for v := range variants {
				if own := outcomeOf(q, x.said[q][v].m); own.there() && !own.same(&o.outcome) {
					return true
				}
			}
		}
		x := o.at[0]
		for _, p := range subnets() {
			a := p.Addr().As4()
			option := wire.AppendOption(nil, 8, []byte{0, 1, byte(p.Bits()), 0, a[0], a[1], a[2]})
			query := check.Query{Name: []byte(q.name), Type: q.t, EDNS: &check.EDNS{Size: check.EDNSSize, Options: option}}
			m, err := r.AskOnce(ctx, x.server, query, x.wait())
			if err != nil {
				break
			}
			own := outcomeOf(q, m)
			if scope, ok := m.Option(8); own.there() && !own.same(&o.outcome) || ok && len(scope) > 3 && scope[3] > 0 {
				return true
			}
		}
	}
	return false
}

// aboveSame compares what the servers of the zone above say of the delegation.
func aboveSame(ctx context.Context, r *check.Run) []finding.Finding {
	cuts, err := r.Path(ctx)
	if err != nil || len(cuts) < 2 {
		return nil // what is not known of the zone above is told elsewhere
	}
	up := &cuts[len(cuts)-2]
	s := survey{zone: up.Zone}
	s.add(up.Servers)
	s.sights = s.sights[:min(len(s.sights), 2*check.WalkServers)]
	zone := wire.Lower(nil, r.Zone)
	list := []question{{string(zone), wire.TypeNS}, {string(zone), wire.TypeDS}}
	s.below(ctx, r, list)
	var out []finding.Finding
	for _, q := range list {
		if f := compare(ctx, r, s.sights, q, up.Zone); f != nil {
			f.Key, f.Detail = "above "+f.Key, "at the servers of "+wire.NameText(up.Zone)+", "+f.Detail
			out = append(out, *f)
		}
	}
	return out
}
