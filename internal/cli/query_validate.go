package cli

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/resolver"
	"port53/internal/wire"
)

// trusted returns what a validation begins with.
func (a *asking) trusted() ([]chain.Anchor, error) {
	anchors, err := resolver.LoadAnchors(a.anchors)
	if err != nil {
		return nil, fileError("--anchors", a.anchors, err)
	}
	list := make([]chain.Anchor, 0, len(anchors))
	for _, t := range anchors {
		list = append(list, chain.Anchor{Zone: t.Zone, DS: t.DS, Keys: t.Keys})
	}
	return list, nil
}

// validate walks the chain of trust and prints each link as it is checked.
func (s *streams) validate(ctx context.Context, a *asking, servers []netip.AddrPort) int {
	if a.q.Class != wire.ClassIN || a.q.Type.IsMeta() && a.q.Type != wire.TypeANY {
		s.complain("", "--validate: only records of class IN are signed, and no questions such as %v", a.q.Type)
		return exitUsage
	}
	anchors, err := a.trusted()
	if err != nil {
		s.complain("", "%v", err)
		return exitUsage
	}
	now := a.when
	if now.IsZero() {
		now = time.Now()
	}
	links := !a.asJSON && !a.style.Short && a.style.Comments
	if links {
		fmt.Fprintf(s.out, ";; CHAIN OF TRUST, as of %s:\n", now.UTC().Format(time.RFC3339))
	}
	checks := []query.CheckReport{}
	v := chain.Validator{
		Anchors: anchors, Now: now,
		Ask: func(ctx context.Context, name []byte, typ wire.Type) (*exchange.Reply, error) {
			q := a.q
			q.Name, q.Type, q.Flags = name, typ, wire.FlagRD|wire.FlagCD
			q.EDNS, q.DO = true, true
			return a.route.AskAll(ctx, servers, &q, func(r *exchange.Reply) bool {
				return len(servers) > 1 && r.Message.Rcode == wire.ServFail
			})
		},
		Check: func(c *chain.Check) {
			if checks = append(checks, query.ReportCheck(c)); links {
				_, _ = s.out.Write(query.AppendCheck(nil, c))
			}
		},
	}
	done := v.Validate(ctx, a.q.Name, a.q.Type)
	if ctx.Err() != nil {
		return exitFindings // said by the caller
	}
	if a.asJSON {
		if s.printJSON(query.ReportValidation(done, &a.q, now, checks)) != nil {
			return exitUsage
		}
	} else {
		var out []byte
		switch {
		case a.style.Short:
			out = append(append(out, done.Security...), '\n')
		case links:
			out = append(query.AppendKeys(out, done, now), '\n')
		}
		if done.First != nil {
			a.style.Unsigned = !a.q.DO // only validation wanted them
			out = a.style.AppendReply(out, done.First)
		}
		if a.style.Meaning && !a.style.Short {
			out = query.AppendLines(out, "MEANING", query.ValidationMeaning(done))
		}
		if _, err := s.out.Write(out); err != nil {
			return exitUsage
		}
	}
	if done.Usable() {
		return exitOK
	}
	b := chain.Check{EDE: -1}
	if done.Broken != nil {
		b = *done.Broken
	}
	s.complain("", "%s: %s: %s %v: %s", a.subject(), done.Security, query.NameText(b.Name), b.Type, b.Text)
	return exitFindings
}
