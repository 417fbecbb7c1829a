package keeper

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Peer is who wants a zone, or tells of one.
type Peer struct {
	Addr netip.AddrPort
	Key  []byte // whose signature came, in lower case; nil: none
}

// source returns where a zone comes from and what may be done with it, or nil.
func (k *Keeper) source(apex []byte) *Source { return (*k.rights.Load())[string(apex)] }

// find returns what is known of a zone, or nil. k.state is held.
func (k *Keeper) find(apex []byte) *kept { return k.zones[string(apex)] }

// signed tells whether the peer's signature is the one that the zone asks for.
func (s *Source) signed(p Peer) bool {
	if s.Key == nil {
		return s.Insecure
	}
	return p.Key != nil && string(s.Key.Name) == string(p.Key)
}

// gives tells whether the zone may go to the peer: one that is listed, with the zone's
// key.
func (s *Source) gives(p Peer) bool {
	a := p.Addr.Addr()
	listed := slices.ContainsFunc(s.Secondaries, func(to netip.AddrPort) bool { return to.Addr() == a }) ||
		slices.ContainsFunc(s.Transfer, func(n netip.Prefix) bool { return n.Contains(a) })
	return listed && s.signed(p)
}

// MayTransfer tells whether the peer may have the zone whole.
func (k *Keeper) MayTransfer(apex []byte, p Peer) bool {
	s := k.source(apex)
	return s != nil && s.gives(p)
}

// Send sends a zone to a peer who may have it: version is the one that was served when
// the request came. Beyond the bounds of transfers at one time, and for a zone that
// cannot be served, the peer is told to come again.
func (k *Keeper) Send(msg []byte, version *zone.Zone, p Peer, udp bool, udpSize int, context *tsig.Context, reply func([]byte) error) {
	request, err := transfer.ParseRequest(msg)
	fail := func(rcode wire.Rcode) {
		var m wire.Message
		if m.Parse(msg) != 0 {
			return
		}
		r := wire.AppendQuery(nil, m.ID, wire.FlagQR|m.Flags&wire.FlagRD|uint16(m.Opcode)<<11|uint16(rcode), m.Name, m.Type)
		if context != nil {
			r = context.Sign(r, time.Now())
		}
		_ = reply(r)
	}
	switch {
	case err != nil:
		fail(wire.FormErr)
		return
	case version == nil:
		fail(wire.ServFail)
		return
	case !k.out.begin(p.Addr.Addr()):
		k.log.Warn("zone transfer refused: too many at one time", "zone", string(wire.AppendName(nil, version.Apex())), "peer", p.Addr.String())
		fail(wire.ServFail)
		return
	}
	defer k.out.end(p.Addr.Addr())
	o := transfer.Outgoing{Zone: version, UDP: udp, UDPSize: udpSize, History: func(from uint32) []*zone.Delta {
		return k.history(version, from)
	}}
	if s := k.source(version.Apex()); s != nil {
		o.Exact = len(s.Primaries) == 0 // those of others may not be
	}
	if context != nil {
		o.Stream = context.Stream()
	}
	if left, ok := k.Expire(version.Apex()); ok {
		o.Expire = &left
	}
	start, octets := time.Now(), 0
	if !udp {
		lower()
	}
	err = transfer.Send(request, o, func(m []byte) error {
		octets += len(m)
		return reply(m)
	})
	args := []any{
		"zone", string(wire.AppendName(nil, version.Apex())), "serial", version.Serial(), "peer", p.Addr.String(),
		"type", request.Type.String(), "octets", octets, "took", time.Since(start).Round(time.Millisecond).String(),
	}
	if err != nil {
		k.log.Warn("zone transfer broken off", append(args, "problem", err.Error())...)
		return
	}
	k.log.Info("zone sent", args...)
}

// history returns the differences from a version to the present one, or nil.
func (k *Keeper) history(version *zone.Zone, from uint32) []*zone.Delta {
	k.state.Lock()
	defer k.state.Unlock()
	z := k.find(version.Apex())
	if z == nil || z.zone != version {
		return nil
	}
	return z.history.since(from)
}

// A Change is what a difference comes to, in the words of a zone file.
type Change struct {
	From    uint32   `json:"from"`
	To      uint32   `json:"to"`
	Removed []string `json:"removed"`
	Added   []string `json:"added"`
}

// Since returns what changed a zone since a serial, the oldest change first, or by its
// last change if since is nil.
func (k *Keeper) Since(apex []byte, since *uint32) ([]Change, error) {
	k.state.Lock()
	z := k.find(apex)
	if z == nil || z.zone == nil {
		k.state.Unlock()
		return nil, errors.New("the zone is not served here")
	}
	serial, known := z.zone.Serial(), z.history.deltas
	k.state.Unlock()
	var deltas []*zone.Delta
	switch {
	case since != nil && *since == serial:
		return []Change{}, nil
	case since != nil:
		h := history{deltas: known}
		deltas = h.since(*since)
	case len(known) > 0:
		deltas = known[len(known)-1:]
	}
	if deltas == nil {
		oldest := "no change is known since the start"
		if len(known) > 0 {
			oldest = fmt.Sprintf("what is known begins with serial %d", known[0].From)
		}
		return nil, fmt.Errorf("the zone has serial %d, and %s", serial, oldest)
	}
	return changes(deltas)
}

// AgainstFile returns what reading the zone's file would change, or nothing.
func (k *Keeper) AgainstFile(apex []byte) ([]Change, error) {
	k.state.Lock()
	z := k.find(apex)
	var source *Source
	var version *zone.Zone
	if z != nil {
		source, version = z.source, z.zone
	}
	k.state.Unlock()
	switch {
	case version == nil:
		return nil, errors.New("the zone is not served here")
	case source.File == "":
		return nil, errors.New("the zone has no file")
	}
	l := Load(*source, k.set.Seed())
	if l.Zone == nil {
		return nil, fmt.Errorf("its file cannot be served: %s", l.Problems[0])
	}
	d := zone.Diff(version, l.Zone)
	if d == nil {
		return []Change{}, nil
	}
	return changes([]*zone.Delta{d})
}

func changes(deltas []*zone.Delta) ([]Change, error) {
	list := make([]Change, 0, len(deltas))
	for _, d := range deltas {
		c := Change{From: d.From, To: d.To, Removed: []string{}, Added: []string{}}
		for part, to := range map[*[]byte]*[]string{&d.Removed: &c.Removed, &d.Added: &c.Added} {
			if err := zone.EachRecord(*part, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
				line := fmt.Appendf(wire.AppendName(nil, owner), " %d IN %s ", ttl, t)
				*to = append(*to, string(wire.AppendRdataText(line, t, data)))
				return true
			}); err != nil {
				return nil, err
			}
		}
		list = append(list, c)
	}
	return list, nil
}

// A history is the differences that led to a version, the oldest first: at most as many
// octets as the version has, or a few for a small one. FEATURES of others: BIND's journal
// is twice as large as the zone, Knot's 20 MiB.
type history struct {
	deltas []*zone.Delta
	octets int
}

// minHistory is the octets that are kept of however small a zone.
const minHistory = 64 << 10

// add adds differences that lead to version.
func (h *history) add(version *zone.Zone, deltas ...*zone.Delta) {
	for _, d := range deltas {
		if n := len(h.deltas); n > 0 && h.deltas[n-1].To != d.From {
			*h = history{}
		}
		h.deltas = append(h.deltas, d)
		h.octets += len(d.Removed) + len(d.Added)
	}
	from := 0
	for limit := max(version.Size(), minHistory); h.octets > limit && from < len(h.deltas); from++ {
		h.octets -= len(h.deltas[from].Removed) + len(h.deltas[from].Added)
	}
	// Others may read the differences that they were given: none of them is overwritten.
	h.deltas = h.deltas[from:]
}

// since returns the differences from a serial on, or nil.
func (h *history) since(serial uint32) []*zone.Delta {
	for i, d := range h.deltas {
		if d.From == serial {
			return slices.Clip(h.deltas[i:])
		}
	}
	return nil
}

// shared tells whether others have the zone from here.
func (s *Source) shared() bool { return len(s.Secondaries)+len(s.Transfer)+len(s.Notify) > 0 }

// told returns who is told of changes.
func (s *Source) told() []netip.AddrPort {
	list := slices.Concat(s.Secondaries, s.Notify)
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}
