package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"port53/internal/chain"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// delegated makes a Run of a judgement on the zone's delegation.
func delegated(
	judge func(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding,
) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		ev := finding.Evidence{Command: "dig +trace +norec -t NS -q " + check.ShellName(r.Apex())}
		cuts, err := r.Path(ctx)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		out := judge(ctx, r, &cuts[len(cuts)-1])
		for i := range out {
			if out[i].Evidence.Command == "" {
				out[i].Evidence.Command = ev.Command
			}
		}
		return out
	}
}

// delegationChecks returns the checks of a zone's delegation.
func delegationChecks() []*check.Check {
	return searching(described(GroupZone, check.ScopeZone, "delegation.txt", []*check.Check{
		{Check: finding.Check{ID: "DEL-LAME", Severity: finding.SevHigh}, Run: delegated(delLame)},
		{Check: finding.Check{ID: "DEL-NS-SYNC", Severity: finding.SevMedium}, Run: delegated(delSync)},
		{Check: finding.Check{ID: "DEL-GLUE", Severity: finding.SevHigh}, Run: delegated(delGlue)},
		{Check: finding.Check{ID: "DEL-2NS", Severity: finding.SevMedium}, Run: delegated(delTwo)},
		{Check: finding.Check{ID: "DEL-DANGLE-NS", Severity: finding.SevCritical}, Run: delegated(delDangle)},
		{Check: finding.Check{ID: "DEL-CYCLE", Severity: finding.SevHigh}, Run: delegated(delCycle)},
		{Check: finding.Check{ID: "DEL-CNAME", Severity: finding.SevMedium}, Run: delCNAME},
	}))
}

// fromEach asks all servers at the same time.
func fromEach(ctx context.Context, r *check.Run, servers []finding.Server, q check.Query) []echo {
	out := make([]echo, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { out[i].m, out[i].err = r.AskWithFallback(ctx, s, q) })
	}
	wg.Wait()
	return out
}

func delLame(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	var out []finding.Finding
	q := check.Query{Name: r.Zone, Type: wire.TypeSOA}
	silent, noWay := 0, 0
	for i, said := range fromEach(ctx, r, c.Servers, q) {
		s, m, err := c.Servers[i], said.m, said.err
		f := finding.Finding{State: finding.Fail, Key: s.Addr.String(), Evidence: seen(s, q, m)}
		switch {
		case check.IsLocal(err):
			f.Detail = fmt.Sprintf("%s (%s): %v", wire.NameText(s.Name), s.Addr, err)
		case errors.Is(err, check.ErrNoRoute):
			noWay++ // ZONE-EVERY tells of it
			continue
		case err != nil:
			silent++
			f.Detail = fmt.Sprintf("%s (%s): %v", wire.NameText(s.Name), s.Addr, err)
		case m.Flags&wire.FlagAA == 0 || len(m.Answers(r.Zone, wire.TypeSOA)) == 0:
			f.Detail = fmt.Sprintf("%s (%s) is lame: %s", wire.NameText(s.Name), s.Addr, m.Rcode)
		default:
			continue
		}
		out = append(out, f)
	}
	for _, n := range c.Missing {
		out = append(out, finding.Finding{State: finding.Fail, Key: wire.NameText(n), Detail: wire.NameText(n) + " has no address"})
	}
	switch {
	case len(c.Servers) > 0 && silent+noWay == len(c.Servers):
		ev := finding.Evidence{Command: check.Dig(c.Servers[0], q)}
		return finding.Verdict(finding.Unknown, ev, "could not be measured: no server answers from here")
	case len(out) == 0:
		return finding.Verdict(
			finding.Pass,
			finding.Evidence{N: len(c.Servers)},
			"all %d addresses that can be asked answer with authority",
			len(c.Servers)-noWay,
		)
	}
	return out
}

// names returns the names as a sorted list in lower case.
func names(list [][]byte) [][]byte {
	out := make([][]byte, 0, len(list))
	for _, n := range list {
		out = append(out, wire.Lower(nil, n))
	}
	slices.SortFunc(out, bytes.Compare)
	return slices.CompactFunc(out, bytes.Equal)
}

func delSync(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	s, err := surveyed(ctx, r)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{}, err)
	}
	above := names(c.NS)
	q := question{string(s.zone), wire.TypeNS}
	var out []finding.Finding
	var ev finding.Evidence
	list := opinions(s.heard(), q)
	for _, o := range list {
		if o.kind != chain.Answered {
			continue
		}
		ev = o.at[0].evidence(q, withDO)
		own := make([][]byte, 0, len(o.data))
		for _, d := range o.data {
			own = append(own, []byte(d))
		}
		if own = names(own); slices.EqualFunc(above, own, bytes.Equal) {
			continue
		}
		where := "the zone"
		if len(list) > 1 {
			where += " at " + o.servers()
		}
		out = append(
			out,
			finding.Finding{
				State:    finding.Warn,
				Key:      texts(own),
				Detail:   fmt.Sprintf("the parent has %s, %s %s", texts(above), where, texts(own)),
				Evidence: ev,
			},
		)
	}
	switch {
	case len(out) == 1:
		out[0].Key = ""
	case len(out) > 0:
	case ev.Command == "":
		return finding.Unmeasured(
			finding.Evidence{Command: "dig -t NS -q " + check.ShellName(r.Apex())},
			errors.New("no server answers with the zone's NS set"),
		)
	default:
		return finding.Verdict(finding.Pass, ev, "%d servers", len(above))
	}
	return out
}

// texts writes names in one line.
func texts(list [][]byte) string {
	var b []byte
	for i, n := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = wire.AppendName(b, n)
	}
	return string(b)
}

// An addressesOf is what servers have as the addresses of a name.
type addressesOf struct {
	addrs []netip.Addr // sorted
	at    string       // " at " and the servers; empty: at all
	ev    finding.Evidence
	err   error
}

// addressesAt returns the addresses that a name of the zone has, at each server that has others.
func addressesAt(ctx context.Context, r *check.Run, name []byte) []addressesOf {
	s, err := surveyed(ctx, r)
	if err != nil {
		return []addressesOf{{err: err}}
	}
	var out []addressesOf
	var all []string
	for _, x := range s.heard() {
		one := addressesOf{}
		for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
			q := question{string(wire.Lower(nil, name)), t}
			m := x.reply(q)
			if x.said[q] == nil { // a server without any address is in no survey
				if m, one.err = r.AskWithFallback(ctx, x.server, withDO.query(q)); one.err != nil {
					return []addressesOf{{err: one.err, ev: seen(x.server, withDO.query(q), nil)}}
				}
			}
			one.ev = x.evidence(q, withDO)
			if m == nil || m.Rcode != wire.NoError && m.Rcode != wire.NXDomain {
				one.err = errors.New("no answer")
				continue // ZONE-EVERY tells of it
			}
			for _, d := range m.Answers(name, t) {
				a, _ := netip.AddrFromSlice(d)
				one.addrs = append(one.addrs, a)
			}
		}
		if one.err != nil {
			continue
		}
		slices.SortFunc(one.addrs, netip.Addr.Compare)
		one.addrs = slices.Compact(one.addrs)
		i := slices.IndexFunc(out, func(o addressesOf) bool { return slices.Equal(o.addrs, one.addrs) })
		if i < 0 {
			out, all = append(out, one), append(all, x.called())
			continue
		}
		all[i] += ", " + x.called()
	}
	if len(out) > 1 {
		for i := range out {
			out[i].at = " at " + all[i]
		}
	}
	if len(out) == 0 {
		return []addressesOf{
			{err: errors.New("no server answers from here"), ev: finding.Evidence{Command: "dig -t A -q " + check.ShellName(name)}},
		}
	}
	return out
}

func delGlue(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	var out []finding.Finding
	for _, ns := range c.NS {
		if !wire.Subdomain(ns, r.Zone) {
			continue
		}
		glue := slices.Clone(c.Glue[string(ns)])
		if len(glue) == 0 {
			out = append(
				out,
				finding.Finding{State: finding.Fail, Key: wire.NameText(ns), Detail: wire.NameText(ns) + " is in the zone and has no glue"},
			)
			continue
		}
		slices.SortFunc(glue, netip.Addr.Compare)
		for _, o := range addressesAt(ctx, r, ns) {
			if o.err != nil {
				return finding.Unmeasured(o.ev, o.err)
			}
			if !slices.Equal(slices.Compact(glue), o.addrs) {
				out = append(
					out,
					finding.Finding{
						State:    finding.Fail,
						Key:      wire.NameText(ns) + o.at,
						Detail:   fmt.Sprintf("%s: glue %v, zone%s %v", wire.NameText(ns), glue, o.at, o.addrs),
						Evidence: o.ev,
					},
				)
			}
		}
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, finding.Evidence{}, "glue is as the zone has it")
	}
	return out
}

func delTwo(_ context.Context, _ *check.Run, c *check.Cut) []finding.Finding {
	nets := map[netip.Prefix]bool{}
	for _, s := range c.Servers {
		bits := 48
		if s.Addr.Addr().Is4() {
			bits = 24
		}
		p, _ := s.Addr.Addr().Prefix(bits)
		nets[p] = true
	}
	switch {
	case len(c.NS) < 2:
		return finding.Verdict(finding.Warn, finding.Evidence{}, "%d name server", len(c.NS))
	case len(nets) == 0:
		return finding.Verdict(finding.Unknown, finding.Evidence{}, "could not be measured: no server has an address")
	case len(nets) < 2:
		return finding.Verdict(finding.Warn, finding.Evidence{}, "%d servers in one network", len(c.Servers))
	}
	for i, s := range c.Servers {
		for _, o := range c.Servers[:i] {
			if s.Addr == o.Addr && !wire.EqualFold(s.Name, o.Name) {
				f := finding.Verdict(
					finding.Warn,
					finding.Evidence{},
					"%s and %s have the same address %v",
					wire.NameText(o.Name),
					wire.NameText(s.Name),
					s.Addr.Addr(),
				)
				f[0].Severity = finding.SevLow
				return f
			}
		}
	}
	return finding.Verdict(
		finding.Pass,
		finding.Evidence{},
		"%d servers in %d networks; who routes them is not known offline",
		len(c.NS),
		len(nets),
	)
}

func delDangle(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	var out []finding.Finding
	unknown := 0
	n := network{r}
	f := &claims{teller: n, zone: r.Zone, ownRoot: r.Options.PrivateRoot()}
	for _, ns := range c.NS {
		if len(c.Glue[string(ns)]) > 0 && wire.Subdomain(ns, r.Zone) {
			continue
		}
		x := n.tell(ctx, ns, wire.TypeA)
		if x.is == noData {
			x = n.tell(ctx, ns, wire.TypeAAAA)
		}
		w := finding.Finding{
			State:    finding.Fail,
			Severity: finding.SevHigh,
			Key:      wire.NameText(ns),
			Evidence: finding.Evidence{Received: x.raw, Command: "dig +trace -t A -q " + check.ShellName(ns)},
		}
		what, sold := specialUse(ns, r.Zone)
		got := f.of(ctx, x)
		switch {
		case what != "" && !sold:
			w.Detail = wire.NameText(ns) + " is nobody's server on the Internet: the name is for " + what
		case addressLike(ns):
			w.Detail = wire.NameText(ns) + " is an address, and has to be a name"
		case got != nil:
			w.Detail = fmt.Sprintf("%s %s: %s, and owns this zone", wire.NameText(ns), x.why(wire.TypeA), got.how)
			if w.Title = fmt.Sprintf("the zone can be taken over: anyone can have %s", wire.NameText(got.name)); !got.likely {
				w.Severity = finding.SevCritical
			}
		case x.is == noName:
			w.Detail = wire.NameText(ns) + " does not exist"
		case x.is == noData:
			w.Detail = wire.NameText(ns) + " has no address"
		case x.is == broken, x.is == unasked:
			unknown++
			continue
		default:
			continue
		}
		out = append(out, w)
	}
	if unknown > 0 {
		out = append(
			out,
			finding.Verdict(finding.Unknown, finding.Evidence{}, "could not be measured for %d of %d names", unknown, len(c.NS))...)
	}
	if len(out) > 0 {
		return out
	}
	return finding.Verdict(finding.Pass, finding.Evidence{}, "all %d names exist", len(c.NS))
}

func delCycle(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	state := map[string]int{} // 1: being looked at, 2: reachable
	var reach func(ns []byte, glue map[string][]netip.Addr, zone []byte, depth int) (ok, cyclic bool)
	reach = func(ns []byte, glue map[string][]netip.Addr, zone []byte, depth int) (bool, bool) {
		if len(glue[string(ns)]) > 0 && wire.Subdomain(ns, zone) {
			return true, false
		}
		if state[string(ns)] == 1 || wire.Subdomain(ns, r.Zone) {
			return false, true
		}
		if depth > check.WalkDepth {
			return false, false
		}
		state[string(ns)] = 1
		defer func() { state[string(ns)] = 2 }()
		at := *r
		for i := 0; i < wire.LabelCount(ns); i++ {
			var s wire.SplitName
			s.Set(ns)
			s.Cut(i)
			at.Zone = append([]byte(nil), s.Name()...)
			// A zone whose servers have no addresses ends the walk, but shows its NS set.
			cuts, err := at.Path(ctx)
			if err != nil {
				continue
			}
			last := &cuts[len(cuts)-1]
			cyc := false
			for _, n := range last.NS {
				ok, c := reach(n, last.Glue, last.Zone, depth+1)
				if ok {
					return true, false
				}
				cyc = cyc || c
			}
			return false, cyc
		}
		return false, false
	}
	cyclic := 0
	for _, ns := range c.NS {
		ok, cyc := reach(ns, c.Glue, r.Zone, 0)
		if ok {
			return finding.Verdict(finding.Pass, finding.Evidence{}, "%s can be found without this zone", wire.NameText(ns))
		}
		if cyc {
			cyclic++
		}
	}
	if cyclic == len(c.NS) {
		return finding.Verdict(finding.Fail, finding.Evidence{}, "all servers depend on this zone itself to be found: %s", texts(c.NS))
	}
	return finding.Verdict(finding.Unknown, finding.Evidence{}, "could not be measured: the servers' zones cannot be followed")
}

// noHost tells why a name cannot be a host's (RFC 1123, section 2.1); "" is that it can.
func noHost(name []byte) string {
	last := ""
	for n := name; n[0] != 0; n = n[1+n[0]:] {
		if last = string(n[1 : 1+n[0]]); !ldh(last) {
			return "a label has other octets than letters, digits and hyphens, or a hyphen at its end"
		}
	}
	if strings.Trim(last, "0123456789") == "" {
		return "its last label is a number, as an address has it"
	}
	return ""
}

func delCNAME(ctx context.Context, r *check.Run) []finding.Finding {
	var targets [][]byte
	for _, f := range []struct {
		t  wire.Type
		at int
	}{{wire.TypeNS, 0}, {wire.TypeMX, 2}, {wire.TypeSOA, 0}} {
		m, ev, err := atApex(ctx, r, f.t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		for _, d := range m.Answers(r.Zone, f.t) {
			if n := rdataName(d, f.at); len(n) > 1 {
				targets = append(targets, n)
			}
		}
	}
	var out []finding.Finding
	for _, n := range names(targets) {
		var m *check.Reply
		var err error
		if wire.Subdomain(n, r.Zone) {
			m, _, err = r.FromZone(ctx, n, wire.TypeCNAME)
		} else {
			m, err = r.Lookup(ctx, n, wire.TypeCNAME)
		}
		cmd := "dig -t CNAME -q " + check.ShellName(n)
		if why := noHost(n); why != "" {
			out = append(out, finding.Finding{
				State:    finding.Warn,
				Severity: finding.SevLow,
				Key:      "host " + wire.NameText(n),
				Title:    "NS, MX or SOA has what is no host name",
				Detail:   wire.NameText(n) + ": " + why,
				Evidence: finding.Evidence{Command: "dig -t NS -q " + check.ShellName(r.Zone)},
			})
		}
		switch {
		case err != nil:
			out = append(
				out,
				finding.Finding{
					State:    finding.Unknown,
					Key:      wire.NameText(n),
					Detail:   wire.NameText(n) + ": could not be measured: " + err.Error(),
					Evidence: finding.Evidence{Command: cmd},
				},
			)
		case len(m.Answers(n, wire.TypeCNAME)) > 0:
			out = append(
				out,
				finding.Finding{
					State:    finding.Fail,
					Key:      wire.NameText(n),
					Detail:   wire.NameText(n) + " is an alias",
					Evidence: finding.Evidence{Received: m.Raw, Command: cmd},
				},
			)
		}
	}
	if len(out) == 0 {
		return finding.Verdict(
			finding.Pass,
			finding.Evidence{Command: "dig -t CNAME -q " + check.ShellName(r.Zone)},
			"none of %d names is an alias",
			len(targets),
		)
	}
	return out
}
