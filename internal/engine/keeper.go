package engine

import (
	"net/netip"
	"time"

	"port53/internal/server"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// An Op is what somebody wants of a Keeper.
type Op uint8

// The operations.
const (
	OpTransfer Op = iota // AXFR or IXFR
	OpNotify             // a zone has changed at its primary (RFC 1996)
	OpUpdate             // change a zone (RFC 2136)
	OpForward            // an update that a primary of the zone is to judge (RFC 2136, section 6)
)

// A Request is a message that reads a zone whole, or may change one.
type Request struct {
	Op      Op
	Apex    []byte     // of the zone asked for, in lower case
	Zone    *zone.Zone // as it was when the request came; nil if it is not here, or cannot be served
	Message []byte     // as it came; the keeper may keep it
	Type    wire.Type  // of the question
	Client  netip.AddrPort
	UDP     bool
	UDPSize int           // the largest message over UDP
	Key     []byte        // whose signature it has, in lower case; nil: it is not signed
	Context *tsig.Context // to sign what is sent; its Error may be BADKEY, if the key is the primary's alone
}

// A Keeper does what a Request wants, if its sender may have that. Its methods are
// called from many goroutines.
type Keeper interface {
	// Allows tells with which rcode and Extended DNS Error the request is refused, or
	// NoError. It does not block, and makes OpForward of an update that is not for here.
	Allows(r *Request) (rcode wire.Rcode, ede int)
	// Transfer sends a zone, by as many calls of reply as it needs, signed.
	Transfer(r *Request, reply func(message []byte) error)
	// Notify and Update return when they have done what was asked, and what the reply
	// tells: what Update acknowledges is durable.
	Notify(r *Request) (rcode wire.Rcode, ede int)
	Update(r *Request) (rcode wire.Rcode, ede int)
	// Forward returns the primary's reply, as it is; nil if there is none.
	Forward(r *Request) []byte
	// Expire returns for how many seconds a zone may be served on (RFC 7314).
	Expire(apex []byte) (seconds uint32, ok bool)
}

// verify checks the signature of the query in hand. If it is not good the reply's rcode
// says so.
func (w *worker) verify() bool {
	keys := w.settings.Keys
	if keys == nil {
		keys = (*tsig.Ring)(nil)
	}
	context, rcode := tsig.Verify(keys, w.query.Msg, time.Now())
	w.signature = context
	w.builder.SetRcode(rcode)
	return rcode == wire.NoError
}

// hand gives the query in hand to the keeper, if the client may have what it wants.
func (w *worker) hand() int {
	q, k := &w.query, w.settings.Keeper
	if q.Class != wire.ClassIN || k == nil {
		return w.fail(wire.Refused, edeProhibited)
	}
	r := &Request{
		Op: OpTransfer, Apex: append([]byte(nil), q.Name.Name()...), Type: q.Type, Client: w.peer.Remote,
		UDP: w.udp, UDPSize: w.settings.UDPSize, Context: w.signature,
	}
	switch q.Opcode {
	case wire.OpcodeNotify:
		r.Op = OpNotify
	case wire.OpcodeUpdate:
		r.Op = OpUpdate
	}
	if w.signature != nil && w.signature.Key != nil {
		r.Key = w.signature.Key.Name
	}
	if entry := w.engine.zones.View().Find(&q.Name); entry != nil && len(entry.Apex) == q.Name.Len() {
		r.Zone = entry.Zone
	}
	if rcode, ede := k.Allows(r); rcode != wire.NoError {
		return w.fail(rcode, ede)
	}
	to, err := w.peer.Detach()
	if err != nil {
		return w.fail(wire.ServFail, edeOther)
	}
	r.Message = append([]byte(nil), q.Msg...)
	p := &pending{
		engine: w.engine, settings: w.settings, to: to, msg: r.Message, peer: *w.peer, arrived: time.Now(),
		limited: w.limited, genuine: w.genuine, signature: w.signature, maxAge: handTime,
	}
	go p.serve(k, r)
	return server.Pending
}

// handTime is how long a reply to NOTIFY or UPDATE may take: its sender is a server or
// has a key, and waits as long as it likes.
const handTime = time.Minute

// serve does what the request wants and replies. A fault in it costs one reply, and not
// the server.
func (p *pending) serve(k Keeper, r *Request) {
	defer p.to.Close()
	defer func() {
		if !p.engine.contained {
			return
		}
		if fault := recover(); fault != nil {
			p.reply(func(w *worker) int { return w.contain(fault, p.msg, w.room) })
		}
	}()
	if r.Op == OpTransfer {
		k.Transfer(r, p.to.Reply)
		return
	}
	rcode, ede := wire.ServFail, edeNetwork
	switch r.Op {
	case OpNotify:
		rcode, ede = k.Notify(r)
	case OpForward:
		if reply := k.Forward(r); reply != nil {
			_ = p.to.Reply(reply) // a client that went away needs no answer
			return
		}
	default:
		rcode, ede = k.Update(r)
	}
	p.reply(func(w *worker) int {
		w.ede = ede
		if rcode == wire.NoError && r.Op == OpNotify {
			w.builder.SetFlags(wire.FlagAA)
		}
		return w.finish(rcode)
	})
}
