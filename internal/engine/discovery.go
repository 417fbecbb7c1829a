package engine

import (
	"encoding/binary"
	"net/netip"

	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Designated is one encrypted service of the resolver that clients are told of (RFC 9462).
type Designated struct {
	At   netip.AddrPort // where it is served, as a client reaches it that asked at this address
	Data []byte         // RDATA of the SVCB record
}

// Discovery is what the recursive service tells of itself. It is immutable.
type Discovery struct {
	// Designated are the encrypted services, by the address that a client has asked: those whose
	// certificate proves that address, and no others.
	Designated map[netip.Addr][]Designated
	Name       []byte // of the resolver, in lower case: RESINFO is answered there; nil: it has none
}

// Lifetimes of what is told, in seconds.
const (
	// DesignatedTTL is how long a client may keep a designated resolver. Certificates are
	// announced no later than this before their end.
	DesignatedTTL = 300
	infoTTL       = 3600
)

// The zone below which nothing is asked of others, and the name in it that DDR is answered at
// (RFC 9462, sections 4 and 6.4).
const (
	designatedZone = "\x08resolver\x04arpa\x00"
	designatedName = "\x04_dns" + designatedZone
)

// builtin answers from a zone that is built in, or, in the one that is for it, a question about the
// service itself.
func (w *worker) builtin(r *Recursion, entry *zone.Entry) int {
	q := &w.query
	w.tell(FromBuiltin, entry.Apex)
	name := q.Name.Name()
	switch {
	case q.Type == wire.TypeRESINFO && r.Info != nil && string(name) == designatedZone:
		return w.info(r)
	case q.Type == wire.TypeSVCB && w.gen.Discovery != nil && string(name) == designatedName && w.designate():
		w.builder.SetFlags(wire.FlagAA)
		return w.deliver(policy.Positive, discoveryKey)
	}
	return w.deliver(classOf(entry, w.answer.Answer(entry.Zone(), q, &w.builder)))
}

// asksInfo reports whether the question is about the service itself, by its own name.
func (w *worker) asksInfo() bool {
	d := w.gen.Discovery
	return w.query.Type == wire.TypeRESINFO && d != nil && w.view.Recursion.Info != nil &&
		d.Name != nil && string(w.query.Name.Name()) == string(d.Name)
}

// designate appends the encrypted services at the address that was asked, but those at which the
// client would be in another view and see other names. It reports false if there is none.
func (w *worker) designate() (found bool) {
	for i, list := 0, w.gen.Discovery.Designated[w.peer.Local]; i < len(list); i++ {
		there := server.Peer{Remote: w.peer.Remote, Local: list[i].At.Addr(), LocalPort: list[i].At.Port()}
		if w.gen.view(&there, w.query.TSIG) != w.view {
			continue
		}
		found = true
		if !w.appendOwn(wire.TypeSVCB, DesignatedTTL, list[i].Data) {
			w.builder.Truncate()
			break
		}
	}
	return found
}

// info answers with what the resolver can do (RFC 9606).
func (w *worker) info(r *Recursion) int {
	if !w.appendOwn(wire.TypeRESINFO, infoTTL, r.Info) {
		w.builder.Truncate()
	}
	w.builder.SetFlags(wire.FlagAA)
	return w.deliver(policy.Positive, discoveryKey)
}

// appendOwn appends a record of the question's name. It reports false if the reply has no room.
func (w *worker) appendOwn(t wire.Type, ttl uint32, data []byte) bool {
	rr := w.builder.Grow(wire.Answer, 12+len(data), 1)
	if rr == nil {
		return false
	}
	binary.BigEndian.PutUint16(rr, 0xC000|wire.HeaderLen) // the question's name
	binary.BigEndian.PutUint16(rr[2:], uint16(t))
	binary.BigEndian.PutUint16(rr[4:], uint16(wire.ClassIN))
	binary.BigEndian.PutUint32(rr[6:], ttl)
	binary.BigEndian.PutUint16(rr[10:], uint16(len(data)))
	copy(rr[12:], data)
	return true
}
