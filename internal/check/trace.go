package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"port53/internal/chain"
	"port53/internal/finding"
	"port53/internal/wire"
)

// A Trace is a lookup with what the servers on its way said. It is not to be modified.
type Trace struct {
	Reply *Reply // the last one; nil with Err
	Err   error  // why there is no answer

	Final   []byte // the name that aliases led to, or the one that was asked for
	Aliases int
	Zone    []byte        // whose servers were asked last; nil if a resolver was
	Servers [][]byte      // of that zone, by the zone above
	Asked   []*chain.Step // of those servers
	Signed  bool          // each delegation on the way to the answer had DS records
}

// Trace looks a name up from the root down, as a resolver does, aliases followed, once a run. Where the root's servers are not
// known it asks a resolver. Asking ends with ctx.
func (r *Run) Trace(ctx context.Context, name []byte, t wire.Type) *Trace {
	return Once(r, Fact[*Trace]{Name: string(wire.Lower(nil, name)), Type: t}, func() *Trace {
		if len(r.Options.Roots) == 0 {
			x := &Trace{Final: name}
			x.Reply, x.Err = askResolvers(ctx, r, name, t)
			if x.Err == nil {
				x.end(name, t)
			}
			return x
		}
		return trace(ctx, r, name, t)
	})
}

// end reads where the last reply leads.
func (x *Trace) end(name []byte, t wire.Type) {
	f := chain.Classify(x.Reply.ToExchange(TraceQuestion(name, t, true)))
	x.Final = wire.Lower(nil, f.Final)
	x.Aliases += len(f.Chain)
}

func trace(ctx context.Context, r *Run, name []byte, t wire.Type) *Trace {
	x := &Trace{Final: wire.Lower(nil, name), Zone: wire.Root, Signed: true}
	w := walker(r)
	lost, local := false, false // an address of the last zone that there is no way to, or that is not asked
	reaches := w.HasRoute
	w.HasRoute = func(ctx context.Context, a netip.AddrPort) bool {
		switch {
		case reaches(ctx, a):
			return true
		case !r.Asks(a):
			local = true
		case !r.HasRoute(ctx, a):
			lost = true
		}
		return false
	}
	w.Step = func(s *chain.Step) {
		if s.Depth > 0 {
			return
		}
		if !wire.EqualFold(s.Zone, x.Zone) {
			x.Zone, x.Asked = s.Zone, nil
		}
		x.Asked = append(x.Asked, s)
		switch {
		case s.Kind == chain.StepKind(chain.Referred):
			x.Zone, x.Asked, x.Servers = s.Child, nil, nil
			for _, one := range s.Servers {
				x.Servers = append(x.Servers, wire.Lower(nil, one.Name))
			}
			x.Signed = x.Signed && s.Signed
			lost, local = false, false
		case s.Target != nil:
			x.Final = wire.Lower(nil, s.Target)
		}
	}
	done, err := w.Trace(ctx, TraceQuestion(name, t, true))
	switch {
	case err == nil:
		x.Reply, x.Aliases = FromExchange(done.Reply), len(done.Aliases)
		x.end(x.Final, t)
	case ctx.Err() != nil:
		x.Err = ctx.Err()
	case lost && len(x.Asked) == 0:
		x.Err = fmt.Errorf("the servers of %s: %w", wire.NameText(x.Zone), ErrNoRoute)
	case local && len(x.Asked) == 0:
		x.Err = fmt.Errorf("the servers of %s: %w", wire.NameText(x.Zone), ErrLocal)
	default:
		x.Err = err
	}
	return x
}

// IsLocalError reports whether an error says something of this machine alone, and not of whom it wanted to ask.
func IsLocalError(err error) bool {
	return errors.Is(err, finding.ErrLocal) || errors.Is(err, context.Canceled) || errors.Is(err, errNoRoots)
}

// PrivateRoot reports whether the walk begins at servers that are not those of the Internet's root: then what is registered, and
// where, is that root's.
func (o *Options) PrivateRoot() bool {
	internet := []byte("\x0croot-servers\x03net\x00")
	return len(o.Roots) > 0 &&
		!slices.ContainsFunc(o.Roots, func(s finding.Server) bool { return s.Name != nil && wire.Subdomain(s.Name, internet) })
}
