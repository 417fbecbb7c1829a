package why

import (
	"encoding/binary"
	"net/netip"
	"time"

	"port53/internal/dnssec"
	"port53/internal/event"
	"port53/internal/wire"
)

// An encoder writes what is remembered, shortly.
type encoder struct{ b []byte }

func (e *encoder) number(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) octets(b []byte) {
	e.number(uint64(len(b)))
	e.b = append(e.b, b...)
}

func (e *encoder) text(s string) {
	s = s[:min(len(s), maxText)]
	e.number(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) address(a netip.AddrPort) {
	if !a.IsValid() {
		e.octets(nil)
		return
	}
	e.octets(a.Addr().AsSlice())
	e.number(uint64(a.Port()))
}

// maxText is octets of the text of one step.
const maxText = 200

// encode returns a resolution in one piece. It begins with the question: see resolutionQuestion.
func (w *Resolution) encode() []byte {
	e := encoder{b: make([]byte, 0, 64+len(w.Name)+64*len(w.Steps))}
	e.octets(w.Name)
	e.number(uint64(w.Type))
	e.number(uint64(w.Started.UnixNano()))
	e.number(uint64(w.Took))
	e.number(uint64(w.Partition))
	e.number(bit(w.Partial, 0))
	e.number(uint64(w.Left))
	e.number(uint64(w.Rcode))
	e.number(uint64(w.EDE + 1))
	e.number(uint64(w.Cause))
	e.text(w.Text)
	e.number(uint64(len(w.Steps)))
	for i := range w.Steps {
		s := &w.Steps[i]
		e.b = append(e.b, byte(s.Kind), byte(s.Cause), byte(s.Reason))
		e.number(bit(s.TCP, 0) | bit(s.Forward, 1))
		e.number(uint64(s.Type))
		e.number(uint64(s.Rcode))
		e.number(uint64(s.EDE + 1))
		e.address(s.Server)
		e.number(uint64(max(s.At, 0) / time.Microsecond))
		e.number(uint64(max(s.Took, 0) / time.Microsecond))
		e.octets(s.Zone)
		e.octets(s.Name)
		e.octets(s.Other)
		e.text(s.Text)
	}
	return e.b
}

func bit(is bool, n int) uint64 {
	if is {
		return 1 << n
	}
	return 0
}

// A decoder reads what an encoder wrote.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) octets() []byte {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	part := d.b[:n:n]
	d.b = d.b[n:]
	if n == 0 {
		return nil
	}
	return part
}

func (d *decoder) octet() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) address() netip.AddrPort {
	a, ok := netip.AddrFromSlice(d.octets())
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, uint16(d.number()))
}

// resolutionQuestion returns the question of a resolution that was encoded.
func resolutionQuestion(b []byte) ([]byte, wire.Type) {
	d := decoder{b: b}
	return d.octets(), wire.Type(d.number())
}

// decode reads a resolution, which has parts of b from then on.
func (w *Resolution) decode(b []byte) bool {
	d := decoder{b: b}
	*w = Resolution{
		Name: d.octets(), Type: wire.Type(d.number()),
		Started: time.Unix(0, int64(d.number())), Took: time.Duration(d.number()),
	}
	w.Partition, w.Partial, w.Left = uint8(d.number()), d.number()&1 != 0, uint16(d.number())
	w.Rcode, w.EDE, w.Cause = wire.Rcode(d.number()), int16(d.number())-1, Cause(d.number())
	w.Text = string(d.octets())
	n := d.number()
	for range n {
		if d.bad {
			return false
		}
		s := Step{Kind: Kind(d.octet()), Cause: Cause(d.octet()), Reason: dnssec.Reason(d.octet())}
		flags := d.number()
		s.TCP, s.Forward = flags&1 != 0, flags&2 != 0
		s.Type, s.Rcode, s.EDE = wire.Type(d.number()), wire.Rcode(d.number()), int16(d.number())-1
		s.Server = d.address()
		s.At, s.Took = time.Duration(d.number())*time.Microsecond, time.Duration(d.number())*time.Microsecond
		s.Zone, s.Name, s.Other, s.Text = d.octets(), d.octets(), d.octets(), string(d.octets())
		w.Steps = append(w.Steps, s)
	}
	return !d.bad
}

// A reply is what a client got, as far as it is remembered.
type reply struct{ event.Record }

// replyHead is octets before what a reply has in any order: its id.
const replyHead = 8

func encodeReply(r *event.Record) []byte {
	e := encoder{b: make([]byte, replyHead, 64+len(r.Name))}
	binary.LittleEndian.PutUint64(e.b, r.Why)
	e.octets(r.Name)
	e.number(uint64(r.Type))
	e.address(r.Remote)
	e.number(uint64(r.Time))
	e.b = append(e.b, r.Transport, byte(r.Path), byte(r.Outcome), r.View, r.Opcode, byte(r.Reason), r.List)
	e.number(uint64(r.Line))
	e.number(uint64(r.Latency + 1))
	e.number(uint64(r.ID))
	e.number(uint64(r.Flags))
	e.number(uint64(r.Class))
	e.number(uint64(r.Rcode))
	e.number(uint64(r.EDE + 1))
	e.number(bit(r.Recursive, 0))
	e.octets(r.Text)
	return e.b
}

func (r *reply) decode(b []byte) bool {
	d := decoder{b: b[replyHead:]}
	r.Why = binary.LittleEndian.Uint64(b)
	r.Name, r.Type, r.Remote, r.Time = d.octets(), wire.Type(d.number()), d.address(), int64(d.number())
	r.Transport, r.Path, r.Outcome = d.octet(), event.Path(d.octet()), event.Outcome(d.octet())
	r.View, r.Opcode, r.Reason, r.List = d.octet(), d.octet(), event.Reason(d.octet()), d.octet()
	r.Line, r.Latency = uint32(d.number()), int64(d.number())-1
	r.ID, r.Flags, r.Class = uint16(d.number()), uint16(d.number()), wire.Class(d.number())
	r.Rcode, r.EDE, r.Recursive = wire.Rcode(d.number()), int16(d.number())-1, d.number()&1 != 0
	r.Text = d.octets()
	return !d.bad
}

// replyFits reports whether a reply that was encoded is one that a question is about.
func replyFits(b []byte, q *Question) bool {
	if q.ID != 0 {
		return binary.LittleEndian.Uint64(b) == q.ID
	}
	d := decoder{b: b[replyHead:]}
	name, typ, client, at := d.octets(), wire.Type(d.number()), d.address(), int64(d.number())
	switch {
	case q.Name != nil && !wire.EqualFold(name, q.Name),
		q.Type != 0 && typ != q.Type,
		q.Client.IsValid() && !q.Client.Contains(client.Addr().Unmap()),
		!q.Since.IsZero() && at < q.Since.UnixNano():
		return false
	}
	return true
}
