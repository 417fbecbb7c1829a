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
			asked[key] = m.Exchanged(check.WalkQuestion(name, t, true))
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

func runChain(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{Command: "delv +vtrace -t SOA " + check.ShellName(r.Apex())}
	v, err := validator(ctx, r)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	var secure []string // zones, from the anchor down
	v.Check = func(c *chain.Check) {
		zone := wire.NameText(c.Zone)
		if c.Type == wire.TypeDNSKEY && c.Security == chain.Secure && !slices.Contains(secure, zone) {
			secure = append(secure, zone)
		}
	}
	shown := func(end string) string { return strings.Join(append(secure, end), " > ") }
	if done := v.Validate(ctx, r.Zone, wire.TypeDNSKEY); done.Broken != nil { // the chain, all but its end
		return brokenChain(ev, done, shown)
	}
	for _, t := range []wire.Type{wire.TypeSOA, wire.TypeNS, wire.TypeA} {
		m, e, err := r.FromZone(ctx, r.Zone, t)
		switch {
		case err != nil:
			return finding.Unmeasured(e, err)
		case len(m.Answers(r.Zone, t)) == 0:
			continue // what is not there is for DNSSEC-NX
		}
		if done := v.Validate(ctx, r.Zone, t); done.Broken != nil {
			return brokenChain(e, done, shown)
		}
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
		if b.Type == wire.TypeDS && len(check.Replied(b.Reply).Answers(b.Name, wire.TypeDS)) == 0 {
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
