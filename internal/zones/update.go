package zones

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"port53/internal/authority"
	"port53/internal/policy"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Request is a message that concerns a zone as a whole, from a peer that the zone's
// [policy.Access] allows what it wants.
type Request struct {
	Entry   *zone.Entry // the zone
	View    string      // of the client; empty: there are no views
	Zone    *zone.Zone  // the version served when the request came; nil: there was none
	Message []byte      // as it came; it may be kept
	Client  netip.AddrPort
	Key     []byte        // that signed it, in lower case; nil: none that is known here
	Holder  string        // of the client certificate, if it is not signed; "": nobody whom grants know
	Context *tsig.Context // to sign replies with; nil: the message is not signed
	UDP     bool
	UDPSize int // octets of the largest message over UDP
}

// A queue is the update messages that wait for their turn at a zone. All that wait at one
// time become one version, and one write to disk.
type queue struct {
	mu      sync.Mutex // held for a few instructions
	waiting []*update
	led     bool // somebody carries out what waits
}

// join adds a message, and reports whether its sender is to carry out what waits.
func (q *queue) join(u *update) (lead bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, u)
	lead, q.led = !q.led, true
	return lead
}

// take returns what waits; when nothing does, the leader's work is over.
func (q *queue) take() []*update {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.waiting
	q.waiting, q.led = nil, len(batch) > 0
	return batch
}

// An update is a message that waits to be carried out.
type update struct {
	message *wire.Message
	peer    policy.Peer
	by      string // who sent it, for people
	any     bool   // it may change whatever it wants: it comes of this machine
	rcode   wire.Rcode
	why     string
	delta   *zone.Delta // what it changed; nil: nothing
	serial  uint32      // after it
	plan    Plan        // it is no message, but this; nil: it is one
	err     error       // of the plan
	served  *zone.Zone  // after it
	done    chan struct{}
}

// Update carries out an update message (RFC 2136), or gives it to the zone's primaries if
// they judge. NoError means that what changed is durable and served. reply is that of a
// primary, to be sent as it is; nil: it is to be made of rcode.
//
// A message that comes again because its reply was lost has the outcome of the first; one
// that somebody else sends again is refused (RFC 8945, section 5.2.3).
func (m *Manager) Update(r *Request) (rcode wire.Rcode, reply []byte) {
	if r.Entry.Access.Forward {
		act := r.act(telemetry.Updated, telemetry.Forwarded)
		defer m.audit.Record(&act)
		if reply := m.forward(r); reply != nil {
			return wire.NoError, reply
		}
		act.Outcome, act.Reason = telemetry.Failed, "no primary has answered"
		return wire.ServFail, nil
	}
	if r.Context == nil {
		return m.update(r), nil
	}
	outcome, again := m.replays.Begin(r.Context, r.Client, r.UDP, time.Now())
	switch {
	case !again:
		rcode = wire.ServFail
		defer func() { outcome.Done(rcode) }() // after a fault too
		return m.update(r), nil
	case outcome != nil:
		return outcome.Wait(), nil // the reply to the first was lost
	}
	act := r.act(telemetry.Updated, telemetry.Refused)
	act.Reason = "replayed: the same signed message came before"
	m.audit.Record(&act)
	r.Context.Replayed()
	return wire.NotAuth, nil
}

func (m *Manager) update(r *Request) wire.Rcode {
	u := &update{message: &wire.Message{}, by: r.by(), done: make(chan struct{}), rcode: wire.ServFail}
	u.peer = policy.Peer{Addr: r.Client.Addr(), Key: r.Key, Holder: r.Holder}
	defer func() { m.record(r, u) }() // after a fault too
	if bad := u.message.Parse(r.Message); bad != 0 {
		u.rcode, u.why = wire.FormErr, bad.Error()
		return u.rcode
	}
	z := m.of(r.Entry)
	if z == nil {
		u.rcode, u.why = wire.NotAuth, errNotServed.Error()
		return u.rcode
	}
	if z.updates.join(u) {
		m.carryOut(z)
	}
	<-u.done
	return u.rcode
}

// Change carries out an update for somebody on this machine, whom by names, without asking
// what keys may. It returns what changed; nothing if all was so already. What it returns
// without an error is durable and served.
func (m *Manager) Change(apex []byte, message *wire.Message, by string) ([]Change, error) {
	z := m.find(apex)
	if z == nil {
		return nil, errNotServed
	}
	z.mu.Lock()
	kept := z.source.changes()
	z.mu.Unlock()
	if !kept && !z.polled {
		return nil, errors.New(
			"the zone is loaded from its file only, so a change would be lost at a restart: set updates for the zone, or edit the file",
		)
	}
	u := &update{message: message, by: by, any: true, done: make(chan struct{}), rcode: wire.ServFail}
	if z.updates.join(u) {
		m.carryOut(z)
	}
	<-u.done
	switch {
	case u.rcode != wire.NoError:
		return nil, fmt.Errorf("%s: %s", u.rcode, u.why)
	case u.delta == nil:
		return []Change{}, nil
	}
	return changes([]*zone.Delta{u.delta})
}

// record tells the audit what came of an update.
func (m *Manager) record(r *Request, u *update) {
	act := r.act(telemetry.Updated, telemetry.Accepted)
	switch {
	case u.rcode == wire.ServFail:
		act.Outcome, act.Reason = telemetry.Failed, u.why
	case u.rcode != wire.NoError:
		act.Outcome, act.Reason = telemetry.Refused, u.rcode.String()+": "+u.why
	case u.delta != nil:
		act.From, act.To = u.delta.From, u.delta.To
		act.Removed, act.Added = u.delta.Counts()
	default:
		act.From, act.To = u.serial, u.serial
	}
	m.audit.Record(&act)
}

// act returns what the audit is to have of a request.
func (r *Request) act(what telemetry.Operation, outcome telemetry.Outcome) telemetry.AuditRecord {
	return telemetry.AuditRecord{
		Operation: what, Outcome: outcome, Zone: r.Entry.Apex, View: r.View, Peer: r.Client, Key: r.Key, Holder: r.Holder,
	}
}

// by says who sent a request, for people.
func (r *Request) by() string {
	if r.Key != nil {
		return "key " + string(wire.AppendName(nil, r.Key)) + " from " + r.Client.Addr().String()
	}
	if r.Holder != "" {
		return "certificate " + r.Holder + " from " + r.Client.Addr().String()
	}
	return r.Client.Addr().String()
}

// carryOut works on what waits until nothing does.
func (m *Manager) carryOut(z *managed) {
	for {
		batch := z.updates.take()
		if len(batch) == 0 {
			return
		}
		m.carryOutBatch(z, batch)
		for _, u := range batch {
			close(u.done)
		}
	}
}

// carryOutBatch works on messages that came while others were worked on.
func (m *Manager) carryOutBatch(z *managed, batch []*update) {
	z.hold()
	defer z.release()
	refuse := func(rcode wire.Rcode, why string) {
		for _, u := range batch {
			u.rcode, u.why = rcode, why
		}
	}
	switch {
	case z.gone || z.zone == nil:
		refuse(wire.NotAuth, "this server is not a primary for the zone")
	case z.frozen:
		refuse(wire.Refused, "the zone is frozen")
	default:
		refuse(wire.ServFail, "internal error, which the log has")
		m.contained(z.name(), func() { m.apply(z, batch) })
	}
}

// apply carries out a batch on the version that is served, all that can be. No message has
// the outcome NoError before what it changes is durable and served, whatever happens. z is
// held.
func (m *Manager) apply(z *managed, batch []*update) {
	next := z.next()
	access := z.access
	updater, notes := z.updater(z.zone), z.zone.Notes()
	var deltas []*zone.Delta
	var accepted []*update
	for _, u := range batch {
		var d *zone.Delta
		rcode, why := z.barred()
		switch {
		case u.plan != nil: // notes alone change where records may not
			if d, rcode, why = u.planned(z, updater, notes, next); d != nil {
				notes = notes.With(d.Notes...)
			}
		case rcode != wire.NoError:
		default:
			d, rcode, why = updater.Update(
				u.message,
				func(owner []byte, t wire.Type) bool { return u.any || access.MayChange(u.peer, owner, t) },
				next,
			)
		}
		if rcode != wire.NoError {
			u.rcode, u.why = rcode, why
			continue
		}
		u.delta, u.serial = d, updater.Serial()
		if d != nil {
			d.By = u.by
		}
		accepted = append(accepted, u)
		if d != nil {
			deltas = append(deltas, d)
		}
	}
	rcode, why := wire.NoError, ""
	if len(deltas) > 0 {
		err := m.advance(z, accepted, deltas)
		var unfit *Unfit
		switch {
		case errors.As(err, &unfit) && len(batch) > 1:
			// One of them makes a zone that cannot be served, or signed: each by itself, then.
			for _, u := range batch {
				m.apply(z, []*update{u})
			}
			return
		case unfit != nil:
			rcode, why = wire.Refused, err.Error()
		case err != nil:
			rcode, why = wire.ServFail, err.Error()
		}
	}
	for _, u := range accepted {
		u.rcode, u.why, u.served = rcode, why, z.zone
	}
}

// advance makes the version that the differences of a batch lead to the one that is served. z is held.
func (m *Manager) advance(z *managed, accepted []*update, deltas []*zone.Delta) error {
	now, problems := z.zone.Apply(deltas...)
	if now == nil {
		return &Unfit{fmt.Errorf("the zone could not be served then: %v", problems)}
	}
	exact := z.zone.Exact(now, deltas)
	if exact[0] != deltas[0] {
		if len(accepted) > 1 {
			return &Unfit{errors.New("records of one change would be left out")} // each by itself, so that it is seen of which
		}
		accepted[0].delta = exact[0]
	}
	return m.commit(m.ctx, z, &Candidate{Zone: now, Deltas: exact, keep: true})
}

// updater returns what changes a version of the zone. z.mu is held.
func (z *managed) updater(from *zone.Zone) *authority.Updater {
	u := authority.NewUpdater(from)
	u.SignedHere = z.source.Signer != nil
	return u
}

// next returns what gives the serial that follows one.
func (z *managed) next() func(serial uint32) uint32 {
	if z.source.Next != nil {
		return z.source.Next
	}
	return func(serial uint32) uint32 { return serial + 1 }
}

// forward gives an update to the primaries of a zone, one after the other until one has
// it, and returns its reply, or nil (RFC 2136, section 6). The message goes as it came: its
// signature is for the primary to judge, and the reply's for the client.
func (m *Manager) forward(r *Request) []byte {
	z := m.of(r.Entry)
	if z == nil || !m.waiting.begin(r.Client.Addr()) {
		return nil
	}
	defer m.waiting.end(r.Client.Addr())
	z.mu.Lock()
	to, keys := z.source.Primaries, z.source.signers()
	z.mu.Unlock()
	ctx, cancel := context.WithTimeout(m.ctx, forwardTime)
	defer cancel()
	for _, addr := range to {
		reply, err := m.client.Forward(ctx, keys.to(addr), r.Message)
		if err == nil {
			return reply
		}
		m.log.Warn(
			"an update was not forwarded",
			"zone",
			z.name(),
			"peer",
			r.Client.String(),
			"server",
			addr.String(),
			"error",
			err.Error(),
		)
	}
	return nil
}

// forwardTime is how long the primaries of a zone have to answer an update: as long as a
// client waits that was told nothing.
const forwardTime = 10 * time.Second

// Date returns the serial that follows one by date: as 2026112300, or one more.
func Date(serial uint32) uint32 {
	y, m, d := time.Now().UTC().Date()
	if today := uint32(y*1000000 + int(m)*10000 + d*100); zone.Newer(today, serial) {
		return today
	}
	return serial + 1
}

// UnixTime returns the serial that follows one by the clock: the seconds since 1970, or
// one more.
func UnixTime(serial uint32) uint32 {
	if now := uint32(time.Now().Unix()); zone.Newer(now, serial) {
		return now
	}
	return serial + 1
}
