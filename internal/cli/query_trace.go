package cli

import (
	"context"
	"time"

	"port53/internal/chain"
	"port53/internal/query"
	"port53/internal/resolver"
)

// How a trace asks unless told otherwise: there are other servers, and a person waits.
const (
	traceTimeout = 2 * time.Second
	traceTries   = 2
)

// roots returns the servers that a trace begins with: those that the user names, else
// the root's.
func (a *asking) roots(ctx context.Context) ([]chain.Server, error) {
	if a.rootHints == "" && a.server != "" {
		addrs, err := a.servers(ctx)
		if err != nil {
			return nil, err
		}
		a.port = addrs[0].Port()
		s := chain.Server{Name: []byte{0}}
		for _, at := range addrs {
			s.Addrs = append(s.Addrs, at.Addr())
		}
		return []chain.Server{s}, nil
	}
	hints, err := resolver.LoadHints(a.rootHints)
	if err != nil {
		return nil, fileError("--root-hints", a.rootHints, err)
	}
	servers := make([]chain.Server, 0, len(hints))
	for _, h := range hints {
		servers = append(servers, chain.Server{Name: h.Name, Addrs: h.Addrs})
	}
	return servers, nil
}

// trace goes from the root down and prints each step as it is over.
func (s *streams) trace(ctx context.Context, a *asking) int {
	roots, err := a.roots(ctx)
	if err != nil {
		s.complain("", "%v", err)
		return exitUsage
	}
	route := a.route
	if route.Timeout == 0 {
		route.Timeout = traceTimeout
	}
	if route.Tries == 0 {
		route.Tries = traceTries
	}
	steps := []query.StepReport{}
	t := chain.Tracer{
		Asker: &route,
		Roots: roots, Port: a.port, IPv4: a.family != 6, IPv6: a.family != 4,
		Step: func(step *chain.Step) {
			switch {
			case a.asJSON:
				steps = append(steps, query.ReportStep(step))
			case !a.style.Short && a.style.Comments:
				_, _ = s.out.Write(a.style.AppendStep(nil, step))
			}
		},
	}
	done, err := t.Trace(ctx, &a.q)
	if ctx.Err() != nil {
		return exitFindings // said by the caller
	}
	switch {
	case a.asJSON:
		if s.printJSON(query.ReportTrace(done, &a.q, steps, err)) != nil {
			return exitUsage
		}
	default:
		var out []byte
		if !a.style.Short && a.style.Comments {
			out = append(out, '\n')
		}
		if done.Reply != nil {
			out = a.style.AppendReply(out, done.Reply)
		}
		if a.style.Meaning && !a.style.Short {
			out = query.AppendLines(out, "MEANING", query.TraceMeaning(done, err))
		}
		if _, err := s.out.Write(out); err != nil {
			return exitUsage
		}
	}
	if err != nil {
		s.complain("", "%s: %v", a.subject(), err)
		return exitFindings
	}
	return exitOK
}
