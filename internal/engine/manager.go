package engine

import (
	"bytes"
	"time"

	"port53/internal/certs"
	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// verify checks the signature of the query in hand. If it is not good the reply's rcode
// says so.
func (w *worker) verify() bool {
	keys := w.gen.Keys
	if keys == nil {
		keys = (*tsig.Ring)(nil)
	}
	context, rcode := tsig.Verify(keys, w.query.Msg, time.Now())
	w.signature = context
	w.builder.SetRcode(rcode)
	return rcode == wire.NoError
}

// hand gives the query in hand to the manager, if the client may have what it wants.
func (w *worker) hand() int {
	q, m := &w.query, w.gen.Manager
	op := policy.Transfer
	switch q.Opcode {
	case wire.OpcodeNotify:
		op = policy.Notify
	case wire.OpcodeUpdate:
		op = policy.Update
	}
	var entry *zone.Entry
	if q.Class == wire.ClassIN {
		entry = w.whole()
	}
	who := w.signer()
	if rcode, ede := w.mayHand(entry, op, who); rcode != wire.NoError {
		w.refused(w.whyNot(entry, rcode, who), who.Holder)
		w.reason = event.OperationNotAllowed
		switch {
		case w.signature != nil && w.signature.Error != wire.NoError:
			w.reason = event.BadTSIG
		case entry == nil:
			w.reason = event.NotServed
		}
		return w.fail(rcode, ede)
	}
	to, err := w.peer.Detach()
	if err != nil {
		return w.fail(wire.ServFail, wire.EDEOther)
	}
	p := w.suspend(to, handTime)
	r := &zones.Request{
		Entry: entry, View: w.view.Name, Zone: entry.Zone(), Message: p.msg, Client: w.peer.Remote,
		Key: who.Key, Holder: who.Holder, Context: w.signature,
		UDP: w.udp || op == policy.Transfer && w.single(), UDPSize: w.gen.Limits.UDPSize,
	}
	go p.serve(m, op, r)
	return server.Pending
}

// whole returns the zone of the question's name, also one that nobody is answered from, or nil.
func (w *worker) whole() *zone.Entry {
	name := w.query.Name.Name()
	entry := w.view.Zones.Get(name)
	if entry == nil && w.gen.Policies != nil {
		entry = w.gen.Policies.Get(name)
	}
	return entry
}

// signer returns who sent the query in hand: the key that signed it, or if it is not signed, the holder
// of the certificate that was shown. Whose that is, is judged now, however old the connection is.
func (w *worker) signer() policy.Peer {
	p := policy.Peer{Addr: w.peer.Remote.Addr(), Signed: w.signature != nil, Certificates: w.peer.Certificates}
	switch {
	case p.Signed && w.signature.Key != nil:
		p.Key = w.signature.Key.Name
	case p.Signed || w.query.TSIG != nil: // by a key that is not known, or badly
	default:
		if h := w.gen.Holders.Certificate(w.peer.Certificates, time.Now()); h != nil {
			p.Holder = h.Name
		}
	}
	return p
}

// mayHand returns with what rcode the query in hand is refused, and the Extended DNS Error
// or -1; or NoError. A signature by a key that is not known here counts only for updates
// that a primary judges. NOTIFY and UPDATE for a zone that is not here, in whatever class,
// are NOTAUTH (RFC 2136, section 3.1.2).
func (w *worker) mayHand(entry *zone.Entry, op policy.Op, who policy.Peer) (rcode wire.Rcode, ede int) {
	switch {
	case w.signature != nil && w.signature.Error != wire.NoError && (entry == nil || !entry.Access.Forward):
		return wire.NotAuth, -1
	case entry == nil && op == policy.Transfer:
		return wire.Refused, wire.EDEProhibited
	case entry == nil:
		return wire.NotAuth, wire.EDENotAuthoritative
	case w.gen.Manager == nil || !entry.Access.Allows(op, who) || !w.gen.Contract.Allows(op, who):
		return wire.Refused, wire.EDEProhibited
	}
	return wire.NoError, -1
}

// whyNot says for the audit why mayHand lets nobody hand the query in hand on.
func (w *worker) whyNot(entry *zone.Entry, rcode wire.Rcode, who policy.Peer) string {
	switch {
	case w.signature != nil && w.signature.Error != wire.NoError:
		return signatureError(rcode, w.signature)
	case entry == nil:
		return "no zone of that name is served here"
	case who.Holder != "":
		return "certificate " + who.Holder + " may not, from this address"
	case w.signature == nil && len(who.Certificates) > 0:
		return "no grant is for its client certificate, whose pin is " + certs.PinOf(who.Certificates[0]).String() +
			" and which is valid until " + who.Certificates[0].NotAfter.UTC().Format(time.RFC3339) + "; and it has no TSIG signature"
	case w.signature == nil:
		return "it has no TSIG signature, and the address alone is not enough"
	}
	return "the key may not, from this address"
}

// signatureError says what is wrong with a signature.
func signatureError(rcode wire.Rcode, c *tsig.Context) string {
	if c != nil {
		switch c.Error {
		case wire.BadKey:
			return "BADKEY: there is no such key with that algorithm"
		case wire.BadSig:
			return "BADSIG: signed with another secret, or changed in transit"
		case wire.BadTime:
			return "BADTIME: signed too long ago, or the clocks differ"
		case wire.BadTrunc:
			return "BADTRUNC: its signature is too short"
		}
	}
	return "its signature cannot be read: " + rcode.String()
}

// isDeed reports whether the query in hand wants something of a zone as a whole.
func (w *worker) isDeed() bool {
	q := &w.query
	return q.Opcode == wire.OpcodeUpdate || q.Opcode == wire.OpcodeNotify ||
		q.Opcode == wire.OpcodeQuery && (q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR)
}

// refused tells the audit that what the query in hand wants is refused. holder is of its certificate;
// "": of none, or nobody has looked.
func (w *worker) refused(why, holder string) {
	audit := w.engine.audit
	if audit == nil {
		return
	}
	q := &w.query
	act := telemetry.AuditRecord{
		Operation: telemetry.Asked,
		Outcome:   telemetry.Refused,
		Zone:      q.Name.Name(),
		View:      w.view.Name,
		Peer:      w.peer.Remote,
		Reason:    why,
		Holder:    holder,
	}
	switch {
	case q.Opcode == wire.OpcodeUpdate:
		act.Operation = telemetry.Updated
	case q.Opcode == wire.OpcodeNotify:
		act.Operation = telemetry.Notified
	case q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR:
		act.Operation, act.Text = telemetry.Transferred, q.Type.String()
	}
	if q.TSIG != nil {
		if n, err := wire.CheckName(q.TSIG); err == nil {
			act.Key = q.TSIG[:n]
		}
	}
	if w.signature != nil {
		act.TSIG = w.signature.Error
	}
	audit.Record(&act)
}

// handTime is how long a reply to NOTIFY or UPDATE may take: its sender is a server or
// has a key, and waits as long as it likes.
const handTime = time.Minute

// serve does what the request wants and replies. A fault in it costs one reply, and not
// the server.
func (p *pending) serve(m Manager, op policy.Op, r *zones.Request) {
	defer p.to.Close()
	defer func() {
		if !p.engine.contained {
			return
		}
		if fault := recover(); fault != nil {
			p.reply(func(w *worker) int { return w.contain(fault, p.msg, w.room) })
		}
	}()
	rcode, ede := wire.NoError, -1
	switch op {
	case policy.Transfer:
		p.transfer(m, r)
		return
	case policy.Notify:
		if !m.Notify(r) {
			rcode, ede = wire.NotAuth, wire.EDENotAuthoritative
		}
	default:
		var reply []byte
		if rcode, reply = m.Update(r); reply != nil {
			if p.beyond(r.Entry) {
				p.engine.lost.drop(telemetry.DropRate, p)
				return
			}
			p.count(reply, len(reply))
			_ = p.to.Reply(reply) // a client that went away needs no answer
			return
		}
		if rcode == wire.ServFail && r.Entry.Access.Forward {
			ede = wire.EDENetworkError
		}
	}
	p.reply(func(w *worker) int {
		w.ede = ede
		if rcode == wire.NoError && op == policy.Notify {
			w.builder.SetFlags(wire.FlagAA)
		}
		if w.beyond(r.Entry) {
			return w.drop(telemetry.DropRate)
		}
		w.path = event.Manager
		return w.finish(rcode)
	})
}

// beyond reports whether an acknowledgement is one too many for an address that may be forged.
// Who has signed with a key that is known here is who it says. There is no slip: who asked
// would do it all again over TCP, and it is done.
func (w *worker) beyond(entry *zone.Entry) bool {
	if !w.limited || w.signature != nil && w.signature.Error == wire.NoError {
		return false
	}
	return w.check(policy.Positive, entry.Key()) != policy.Send
}

// beyond is that of a worker, for a reply that none makes.
func (p *pending) beyond(entry *zone.Entry) (yes bool) {
	p.make(func(w *worker) int {
		yes = w.beyond(entry)
		return 0
	})
	return yes
}

// transfer has a zone sent, and counts it as one reply of the octets of all its messages.
func (p *pending) transfer(m Manager, r *zones.Request) {
	var first []byte
	octets := 0
	m.Transfer(r, func(message []byte) error {
		if first == nil {
			first = bytes.Clone(message[:min(len(message), wire.HeaderLen)])
		}
		octets += len(message)
		return p.to.Stream(message)
	})
	p.count(first, octets)
}

// count records a reply that was not made by a worker: its first message, or the header of
// that, and the octets of all.
func (p *pending) count(first []byte, octets int) {
	if len(first) < wire.HeaderLen {
		p.engine.lost.drop(telemetry.DropFault, p)
		return
	}
	p.make(func(w *worker) int {
		w.builder.SetFlags(uint16(first[2]) << 8 & wire.FlagTC)
		w.path = event.Manager
		w.replied(wire.Rcode(first[3]&15), octets, nil)
		return 0
	})
}
