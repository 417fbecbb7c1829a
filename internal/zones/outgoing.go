package zones

import (
	"errors"
	"fmt"
	"time"

	"port53/internal/telemetry"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// Transfer sends a zone to a peer that may have it, in the version that was served when the
// request came, by as many calls of reply as it takes. Beyond the bounds of transfers at
// one time it waits in line, and a reader that is slow gives its place to others. Where too
// many wait, and for a zone that cannot be served, the peer is told to come again.
func (m *Manager) Transfer(r *Request, reply func(message []byte) error) {
	request, err := transfer.ParseRequest(r.Message)
	fail := func(rcode wire.Rcode) {
		var q wire.Message
		if q.Parse(r.Message) != 0 {
			return
		}
		msg := wire.AppendQuery(nil, q.ID, wire.FlagQR|q.Flags&wire.FlagRD|uint16(q.Opcode)<<11|uint16(rcode), q.Name, q.Type)
		if r.Context != nil {
			msg = r.Context.Sign(msg, time.Now())
		}
		_ = reply(msg) // a client that went away needs no answer
	}
	z, peer := m.of(r.Entry), r.Client.Addr()
	switch {
	case err != nil:
		m.refuse(r, err.Error())
		fail(wire.FormErr)
		return
	case r.Zone == nil || z == nil:
		m.refuse(r, "the zone is not loaded")
		fail(wire.ServFail)
		return
	}
	turn := &slot{line: &m.out, ctx: m.ctx, peer: peer}
	if err := turn.Acquire(); err != nil {
		m.refuse(r, "too many at the same time: "+err.Error())
		fail(wire.ServFail)
		return
	}
	defer turn.Release()
	o := transfer.Outgoing{
		Zone: r.Zone, UDP: r.UDP, UDPSize: r.UDPSize,
		Exact: !z.polled, // the versions of others may not be
		History: func(from uint32) []*zone.Delta {
			if p := z.past.Load(); p != nil && p.zone == r.Zone {
				return p.since(from)
			}
			return nil
		},
	}
	if r.Context != nil {
		o.Stream = r.Context.Stream()
	}
	if left, ok := r.Entry.Expire(time.Now()); ok {
		o.Expire = &left
	}
	octets := 0
	err = transfer.Send(request, o, func(msg []byte) (err error) {
		octets += len(msg)
		return errors.Join(turn.Wait(func() { err = reply(msg) }), err)
	})
	act := r.act(telemetry.Transferred, telemetry.Accepted)
	act.Text, act.To, act.Octets = request.Type.String(), r.Zone.Serial(), octets
	if err != nil {
		act.Outcome, act.Reason = telemetry.Failed, "broken off: "+err.Error()
	}
	m.audit.Record(&act)
}

// refuse tells the audit of a transfer that is not begun.
func (m *Manager) refuse(r *Request, why string) {
	act := r.act(telemetry.Transferred, telemetry.Refused)
	act.Reason = why
	m.audit.Record(&act)
}

// A Change is what a difference comes to, in the words of a zone file.
type Change struct {
	From    uint32   `json:"from"`
	To      uint32   `json:"to"`
	By      string   `json:"by,omitempty"` // who made it, if that is known
	Removed []string `json:"removed"`
	Added   []string `json:"added"`

	At time.Time `json:"at,omitzero"` // when, if that is known
}

// Since returns what changed a zone since a serial, the oldest change first, or by its
// last change if since is nil.
func (m *Manager) Since(apex []byte, since *uint32) ([]Change, error) {
	z, p := m.find(apex), (*past)(nil)
	if z != nil {
		p = z.past.Load()
	}
	if p == nil {
		return nil, errNotServed
	}
	var deltas []*zone.Delta
	serial := p.zone.Serial()
	switch {
	case since != nil && *since == serial:
		return []Change{}, nil
	case since != nil:
		deltas = p.since(*since)
	case len(p.deltas) > 0:
		deltas = p.deltas[len(p.deltas)-1:]
	}
	if deltas == nil {
		oldest := "no change is known since the start"
		if len(p.deltas) > 0 {
			oldest = fmt.Sprintf("what is known begins with serial %d", p.deltas[0].From)
		}
		return nil, fmt.Errorf("the zone has serial %d, and %s", serial, oldest)
	}
	return changes(deltas)
}

// AgainstFile returns what reading the zone's file would change, or nothing.
func (m *Manager) AgainstFile(apex []byte) ([]Change, error) {
	z := m.find(apex)
	if z == nil {
		return nil, errNotServed
	}
	z.mu.Lock()
	source, version := z.source, z.zone
	z.mu.Unlock()
	switch {
	case version == nil:
		return nil, errNotServed
	case source.File == "":
		return nil, errors.New("the zone has no file")
	}
	l := Load(*source, m.seed)
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
		c := Change{From: d.From, To: d.To, By: d.By, At: d.At.UTC(), Removed: []string{}, Added: []string{}}
		if d.At.IsZero() {
			c.At = time.Time{}
		}
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
