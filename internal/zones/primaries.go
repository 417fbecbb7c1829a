package zones

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/zone"
)

// primaries are the [Origin] of a secondary zone.
type primaries struct {
	apex    []byte // in lower case
	addrs   []netip.AddrPort
	key     *tsig.Key // nil: transfers are not signed
	records int       // of the zone, at most; 0: as package transfer has it
	octets  int64     // of a transfer, at most; 0: as package transfer has it

	client *transfer.Client // nil until the manager has taken the origin in
	turn   atomic.Int32     // of the primary that answered last
}

// errBehind is why a primary is passed over whose version is older than ours.
var errBehind = errors.New("its version is older than the one here")

// Candidate implements [Origin]: it asks the primaries, one after the other from the one
// that has announced a version or answered last, for a newer version.
func (o *primaries) Candidate(ctx context.Context, known Known) (*Candidate, error) {
	// Who announces a version has it, as a rule.
	turn := slices.IndexFunc(o.addrs, func(a netip.AddrPort) bool { return known.From.IsValid() && a.Addr().Unmap() == known.From })
	if turn < 0 {
		turn = int(o.turn.Load())
	}
	var failures []error
	for i := range o.addrs {
		at := (turn + i) % len(o.addrs)
		c, err := o.ask(ctx, transfer.Primary{Addr: o.addrs[at], Key: o.key}, known)
		if err == nil && c.Zone != known.Zone {
			err = known.Check(c)
		}
		if err == nil {
			o.turn.Store(int32(at))
			return c, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", o.addrs[at], err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// ask asks one primary, and fetches what is newer.
func (o *primaries) ask(ctx context.Context, p transfer.Primary, known Known) (*Candidate, error) {
	client := *o.client
	client.Limits = transfer.Limits{Records: o.records, Octets: o.octets}
	if have := known.Zone; have != nil {
		serial, expire, err := client.Serial(ctx, p, o.apex)
		if err != nil {
			return nil, err
		}
		if zone.Newer(have.Serial(), serial) {
			return nil, fmt.Errorf("%w: serial %d, not %d", errBehind, serial, have.Serial())
		}
		if serial == have.Serial() {
			return &Candidate{Zone: have, Expire: expire}, nil
		}
	}
	lower()
	r, err := client.Fetch(ctx, p, o.apex, known.Zone, known.Seed)
	if err != nil {
		return nil, err
	}
	if r.Zone == nil {
		return &Candidate{Zone: known.Zone, Expire: r.Expire}, nil
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
