package zones

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"port53/internal/exchange"
	"port53/internal/transfer"
	"port53/internal/zone"
)

// primaries are the [Origin] of a secondary zone.
type primaries struct {
	apex    []byte // in lower case
	addrs   []netip.AddrPort
	keys    signers
	records int   // of the zone, at most; 0: as package transfer has it
	octets  int64 // of a transfer, at most; 0: as package transfer has it

	client *transfer.Client                 // nil until the manager has taken the origin in
	memory *atomic.Pointer[transfer.Memory] // likewise
	known  *agenda                          // that knows which of them are silent; nil as client
	last   atomic.Pointer[netip.AddrPort]   // that answered
	tried  atomic.Bool                      // once at least
}

// errBehind is why a primary is passed over whose version is older than ours.
var errBehind = errors.New("its version is older than ours")

// Candidate implements [Origin]: it asks the primaries, one after the other from the one
// that has announced a version or answered last, for a newer version.
func (o *primaries) Candidate(ctx context.Context, known Known) (*Candidate, error) {
	addrs := o.order(known.From)
	o.known.sort(addrs)
	var failures []error
	for i, addr := range addrs {
		c, err := o.ask(ctx, o.keys.to(addr), known, i < len(addrs)-1)
		if ctx.Err() == nil {
			o.known.mark(addr, !exchange.IsTimeout(err))
		}
		if err == nil && c.Zone != known.Zone {
			err = known.Check(c)
		}
		if err == nil {
			o.last.Store(&addr)
			return c, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// order returns the primaries from the one on that has announced a version, and has it as a
// rule, or that has answered last.
func (o *primaries) order(from netip.Addr) []netip.AddrPort {
	turn := slices.IndexFunc(o.addrs, func(a netip.AddrPort) bool { return from.IsValid() && a.Addr().Unmap() == from })
	if last := o.last.Load(); turn < 0 && last != nil {
		turn = slices.Index(o.addrs, *last)
	}
	turn = max(turn, 0)
	return slices.Concat(o.addrs[turn:], o.addrs[:turn])
}

// firstAnswer is how long a server has for its first answer that was never asked before, so
// that many that are silent do not keep those waiting that are not.
const firstAnswer = time.Second

// firstMessage is how long a server has to begin a transfer if there is another that has
// the zone. One that has the zone alone may make it wait in line.
const firstMessage = 5 * time.Second

// ask asks one primary, and fetches what is newer. The zone itself is asked of servers that
// answer: what a server that does not costs is a question's time. more: there are others
// to ask.
func (o *primaries) ask(ctx context.Context, p transfer.Primary, known Known, more bool) (*Candidate, error) {
	client := *o.client
	if more {
		client.Limits.First = firstMessage
	}
	client.Memory = o.memory.Load()
	client.Limits.Records, client.Limits.Octets = o.records, o.octets
	heard, told := o.known.heard(p.Addr), time.Duration(0)
	if have := known.Zone; have != nil || !heard {
		if !heard && have == nil && !o.tried.Swap(true) {
			client.Limits.Answer = firstAnswer
		}
		serial, expire, err := client.Serial(ctx, p, o.apex)
		client.Limits.Answer, told = o.client.Limits.Answer, expire
		switch {
		case have == nil && !exchange.IsTimeout(err) && ctx.Err() == nil:
			// What it answers to a question counts for nothing: it may give the zone all the same.
		case err != nil:
			return nil, err
		case zone.Newer(have.Serial(), serial):
			return nil, fmt.Errorf("%w: serial %d, not %d", errBehind, serial, have.Serial())
		case serial == have.Serial():
			return &Candidate{Zone: have, Expire: expire}, nil
		}
	}
	r, err := client.Fetch(ctx, p, o.apex, known.Zone, known.Seed)
	if err != nil {
		return nil, err
	}
	if r.Expire == 0 {
		r.Expire = told
	}
	if r.Zone == nil {
		return &Candidate{Zone: known.Zone, Expire: r.Expire}, nil
	}
	for _, d := range r.Deltas {
		d.By = "the primary " + p.Addr.Addr().String()
	}
	return &Candidate{Zone: r.Zone, Deltas: r.Deltas, Expire: r.Expire, Octets: r.Octets, Digest: DigestDecides}, nil
}

// Continues implements [Origin]: other primaries of the same zone have the same versions.
func (o *primaries) Continues(prior Origin) bool {
	_, ok := prior.(*primaries)
	return ok
}

// Traits implements [Origin].
func (o *primaries) Traits() Traits { return Traits{Polled: true, Kept: true} }
