// Package transfer keeps zones equal between servers: it sends a zone, whole (AXFR,
// RFC 5936) or as differences (IXFR, RFC 1995), fetches one, and tells others that
// one has changed (NOTIFY, RFC 1996).
//
// What is sent comes from one immutable version, however long it takes. What is
// fetched is believed only once the whole of it has come, every message of it in
// its place and, with a key, signed.
//
// Package transfer knows who may have what as little as where zones are kept: that is
// its caller's.
package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Request is a question for a zone, as it came.
type Request struct {
	id       uint16
	flags    uint16
	question []byte // name as spelled, type and class
	edns     bool
	expire   bool // EXPIRE was asked for
	size     int  // that the client takes over UDP

	Type   wire.Type // AXFR or IXFR
	Serial uint32    // IXFR: of the version that the client has
}

// errFormat is what ParseRequest returns for what is no such question.
var errFormat = errors.New("transfer: malformed request")

// ParseRequest reads a question for a zone. An IXFR has the client's SOA record in its
// authority section (RFC 1995, section 3).
func ParseRequest(msg []byte) (*Request, error) {
	var m wire.Message
	if m.Parse(msg) != 0 || !m.HasQuestion || m.Type != wire.TypeAXFR && m.Type != wire.TypeIXFR {
		return nil, errFormat
	}
	r := &Request{id: m.ID, flags: m.Flags, Type: m.Type, edns: m.EDNS, size: wire.MinUDP}
	r.question = append(r.question, m.Name...)
	r.question = binary.BigEndian.AppendUint16(r.question, uint16(m.Type))
	r.question = binary.BigEndian.AppendUint16(r.question, uint16(m.Class))
	_, r.expire = m.Option(wire.OptionExpire)
	if m.EDNS {
		r.size = max(r.size, int(m.UDPSize))
	}
	if m.Type == wire.TypeAXFR {
		return r, nil
	}
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Section == wire.Authority && rr.Type == wire.TypeSOA && rr.Class == wire.ClassIN && wire.EqualFold(rr.Owner, m.Name) {
			r.Serial = zone.SerialOf(rr.Data)
			return r, nil
		}
	}
	return nil, errFormat
}

// Outgoing is what is sent.
type Outgoing struct {
	Zone *zone.Zone
	// History returns the differences that lead from a version to Zone's, the oldest
	// first, or nil if they are not known.
	History func(from uint32) []*zone.Delta
	// Exact says that each difference removes what was there and adds what was not, so
	// that several can be sent as one.
	Exact   bool
	Stream  *tsig.Stream // signs each message; nil: they are not signed
	UDP     bool
	UDPSize int     // the largest message over UDP
	Expire  *uint32 // for how many seconds the zone may be served on; nil: that is not told
}

// Send sends the zone, or what the client lacks of it, as one or more messages. The
// slice that reply is given is used again. The error is reply's.
func Send(r *Request, o Outgoing, reply func([]byte) error) error {
	w := newWriter(r, &o, reply)
	ttl, soa := o.Zone.SOA()
	apex := o.Zone.Apex()
	head := func() { w.record(apex, wire.TypeSOA, ttl, soa) }
	if r.Type == wire.TypeIXFR {
		if !zone.Newer(o.Zone.Serial(), r.Serial) {
			head() // RFC 1995, section 2: there is nothing newer
			return w.end()
		}
		if deltas := worth(o, r.Serial); deltas != nil {
			if !o.UDP {
				head()
				w.deltas(deltas)
				head()
				return w.end()
			}
			if w.fits(apex, ttl, soa, deltas) {
				return w.end()
			}
		}
		if o.UDP {
			head() // RFC 1995, section 2: the client asks again over TCP
			return w.end()
		}
	}
	o.Zone.EachSet(func(n zone.Node, set *zone.RRset) bool {
		w.set(n, set)
		return w.err == nil
	})
	head()
	return w.end()
}

// worth returns the differences since a version if they are known, and less than the
// zone is.
func worth(o Outgoing, from uint32) []*zone.Delta {
	if o.History == nil {
		return nil
	}
	deltas, size := o.History(from), 0
	for _, d := range deltas {
		size += len(d.Removed) + len(d.Added)
	}
	if o.Exact && len(deltas) > 1 {
		if d := zone.Condense(deltas...); d != nil && len(d.Removed)+len(d.Added) < size {
			deltas, size = []*zone.Delta{d}, len(d.Removed)+len(d.Added)
		}
	}
	if len(deltas) == 0 || deltas[0].From != from || deltas[len(deltas)-1].To != o.Zone.Serial() || size > o.Zone.Size() {
		return nil
	}
	return deltas
}

// A writer packs records into messages as large as they may be.
type writer struct {
	request *Request
	reply   func([]byte) error
	stream  *Outgoing
	buf     []byte
	limit   int
	first   bool
	records int // in the present message
	apexAt  int // where the zone's name stands in it, or 0
	names   compressor
	err     error
}

func newWriter(r *Request, o *Outgoing, reply func([]byte) error) *writer {
	w := &writer{request: r, reply: reply, stream: o, first: true, limit: wire.MaxMessage}
	if o.UDP {
		w.limit = min(r.size, max(o.UDPSize, wire.MinUDP))
	}
	if o.Stream != nil {
		w.limit -= o.Stream.Overhead()
	}
	if r.edns {
		w.limit -= optLen + len(expire(r, o))
	}
	w.buf = make([]byte, 0, wire.MaxMessage)
	w.begin()
	return w
}

// optLen is the octets of an OPT record without options.
const optLen = 11

// expire returns the EXPIRE option for who asked for it (RFC 7314, section 2), or nothing.
func expire(r *Request, o *Outgoing) []byte {
	if !r.expire || o.Expire == nil {
		return nil
	}
	return binary.BigEndian.AppendUint32([]byte{0, wire.OptionExpire, 0, 4}, *o.Expire)
}

// begin begins a message. The question stands in the first (RFC 5936, section 2.2.1).
func (w *writer) begin() {
	w.names.reset()
	w.records, w.apexAt = 0, 0
	w.buf = append(w.buf[:0], make([]byte, wire.HeaderLen)...)
	binary.BigEndian.PutUint16(w.buf, w.request.id)
	binary.BigEndian.PutUint16(w.buf[2:], w.request.flags&wire.FlagRD|wire.FlagQR|wire.FlagAA)
	if w.first {
		binary.BigEndian.PutUint16(w.buf[4:], 1)
		name := len(w.request.question) - 4
		w.names.append(w.buf, w.request.question[:name])
		if bytes.Equal(w.request.question[:name], w.stream.Zone.Name()) {
			w.apexAt = len(w.buf)
		}
		w.buf = append(w.buf, w.request.question...)
	}
}

// send sends the present message.
func (w *writer) send() {
	if w.err != nil {
		return
	}
	binary.BigEndian.PutUint16(w.buf[6:], uint16(w.records))
	if w.request.edns && w.first {
		w.buf = wire.AppendOPT(w.buf, uint16(max(w.stream.UDPSize, wire.MinUDP)), false, expire(w.request, w.stream))
		binary.BigEndian.PutUint16(w.buf[10:], 1)
	}
	if w.stream.Stream != nil {
		w.buf = w.stream.Stream.Sign(w.buf, time.Now())
	}
	w.err = w.reply(w.buf)
	w.first = false
	runtime.Gosched() // queries come first
}

func (w *writer) end() error {
	if w.records > 0 {
		w.send()
	}
	return w.err
}

// set adds a set, as it is stored if that can be, and if need be to a new message.
func (w *writer) set(n zone.Node, set *zone.RRset) {
	z := w.stream.Zone
	for range 2 {
		buf, apex, fit := z.AppendSet(w.buf, n, set, w.apexAt, w.limit)
		switch fit {
		case zone.Appended:
			w.buf, w.apexAt = buf, apex
			w.records += set.Records + set.Sigs
			return
		case zone.NeedsNewMessage:
			if w.records == 0 || w.err != nil {
				break
			}
			w.send()
			w.begin()
			continue
		}
		break
	}
	z.EachRecord(n, set, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		w.record(owner, t, ttl, data)
		return w.err == nil
	})
}

// record adds a record, if need be to a new message.
func (w *writer) record(owner []byte, t wire.Type, ttl uint32, data []byte) {
	if w.err != nil {
		return
	}
	if w.put(owner, t, ttl, data) {
		return
	}
	w.send()
	w.begin()
	if !w.put(owner, t, ttl, data) && w.err == nil {
		w.err = fmt.Errorf("transfer: a record of %s is too large for a message", wire.AppendName(nil, owner))
	}
}

// put adds a record to the present message if there is room.
func (w *writer) put(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
	start, marks := len(w.buf), w.names.mark()
	w.buf = w.names.append(w.buf, owner)
	at := len(w.buf)
	w.buf = append(w.buf, byte(t>>8), byte(t), 0, byte(wire.ClassIN), byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, 0)
	// Names in the data of the types of RFC 1035 alone may be compressed (RFC 3597,
	// section 4).
	switch t {
	case wire.TypeNS, wire.TypeCNAME, wire.TypePTR:
		w.buf = w.names.append(w.buf, data)
	case wire.TypeMX:
		w.buf = w.names.append(append(w.buf, data[:2]...), data[2:])
	case wire.TypeSOA:
		n, _ := wire.CheckName(data)
		w.buf = w.names.append(w.buf, data[:n])
		w.buf = w.names.append(w.buf, data[n:len(data)-soaNumbers])
		w.buf = append(w.buf, data[len(data)-soaNumbers:]...)
	default:
		w.buf = append(w.buf, data...)
	}
	binary.BigEndian.PutUint16(w.buf[at+8:], uint16(len(w.buf)-at-10))
	if len(w.buf) > w.limit {
		w.buf = w.buf[:start]
		w.names.rewind(marks)
		return false
	}
	w.records++
	return true
}

// soaNumbers is the octets of a SOA record's numbers.
const soaNumbers = 20

// deltas adds differences: each the old SOA, what was removed, the new SOA, and what
// was added (RFC 1995, section 4).
func (w *writer) deltas(list []*zone.Delta) {
	put := func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		w.record(owner, t, ttl, data)
		return w.err == nil
	}
	for _, d := range list {
		for _, part := range [...][]byte{d.Removed, d.Added} {
			if err := zone.EachRecord(part, put); err != nil && w.err == nil {
				w.err = err
			}
		}
	}
}

// fits adds all of an incremental transfer to the one message there is, or nothing.
func (w *writer) fits(apex []byte, ttl uint32, soa []byte, list []*zone.Delta) bool {
	ok := w.put(apex, wire.TypeSOA, ttl, soa)
	for _, d := range list {
		for _, part := range [...][]byte{d.Removed, d.Added} {
			_ = zone.EachRecord(part, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
				ok = ok && w.put(owner, t, ttl, data)
				return ok
			})
		}
	}
	if ok = ok && w.put(apex, wire.TypeSOA, ttl, soa); !ok {
		w.begin()
	}
	return ok
}
