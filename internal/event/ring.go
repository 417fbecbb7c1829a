package event

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"

	"port53/internal/wire"
)

// A ring is octets that one writes and one reads. Records stand one behind the other, each in one piece
// and a multiple of eight octets long; where the end has no room for one, a mark says that it goes on at
// the beginning.
type ring struct {
	octets []byte // as many as a power of two
	_      [64]byte
	head   atomic.Uint64 // octets that were written, ever
	begun  uint64        // the reader's place, as the writer saw it last
	_      [64]byte
	tail   atomic.Uint64 // octets that were read, ever
}

func newRing(size int) *ring { return &ring{octets: make([]byte, size)} }

// Octets of a record before its name, and what the parts of a record have at most.
const (
	headSize = 104
	maxText  = 512
	skipMark = 1<<32 - 1
)

// put appends a record, and reports whether it fitted and whether more than half of the ring waits to be
// read now.
func (r *ring) put(rec *Record, messages bool) (ok, half bool) {
	query, response := rec.Query, rec.Response
	if !messages {
		query, response = nil, nil
	}
	text := rec.Text[:min(len(rec.Text), maxText)]
	n := uint64(headSize+len(rec.Name)+len(text)+len(query)+len(response)+7) &^ 7
	size := uint64(len(r.octets))
	head := r.head.Load()
	at := head & (size - 1)
	need := n
	if at+n > size {
		need += size - at
	}
	if head+need-r.begun > size {
		if r.begun = r.tail.Load(); head+need-r.begun > size {
			return false, true
		}
	}
	if at+n > size {
		binary.LittleEndian.PutUint32(r.octets[at:], skipMark)
		head += size - at
		at = 0
	}
	b := r.octets[at : at+n]
	rec.encode(b, uint32(n), len(query), len(response), len(text))
	at = headSize
	at += uint64(copy(b[at:], rec.Name))
	at += uint64(copy(b[at:], text))
	at += uint64(copy(b[at:], query))
	copy(b[at:], response)
	head += n
	r.head.Store(head)
	if head-r.begun > size/2 {
		r.begun = r.tail.Load()
		half = head-r.begun > size/2
	}
	return true, half
}

// encode writes what stands before the name.
func (rec *Record) encode(b []byte, n uint32, query, response, text int) {
	_ = b[headSize-1]
	le := binary.LittleEndian
	le.PutUint32(b, n)
	b[4], b[5], b[6], b[7] = byte(rec.Kind), rec.Transport, byte(rec.Path), byte(rec.Outcome)
	b[8], b[9], b[10], b[11] = rec.View, rec.Opcode, rec.List, flags(rec)
	le.PutUint32(b[12:], rec.Line)
	le.PutUint64(b[16:], uint64(rec.Time))
	le.PutUint64(b[24:], uint64(rec.Latency))
	remote, local := rec.Remote.Addr().As16(), [16]byte{}
	if rec.Local.Addr().IsValid() {
		local = rec.Local.Addr().As16()
	}
	copy(b[32:], remote[:])
	copy(b[48:], local[:])
	le.PutUint16(b[64:], rec.Remote.Port())
	le.PutUint16(b[66:], rec.Local.Port())
	le.PutUint16(b[68:], rec.ID)
	le.PutUint16(b[70:], rec.Flags)
	le.PutUint16(b[72:], uint16(rec.Type))
	le.PutUint16(b[74:], uint16(rec.Class))
	le.PutUint16(b[76:], uint16(rec.Rcode))
	le.PutUint16(b[78:], uint16(rec.EDE))
	le.PutUint16(b[80:], rec.Size)
	b[82], b[83] = byte(len(rec.Name)), byte(rec.Reason)
	le.PutUint32(b[84:], rec.Reply)
	le.PutUint64(b[88:], rec.Why)
	le.PutUint16(b[96:], uint16(query))
	le.PutUint16(b[98:], uint16(response))
	le.PutUint16(b[100:], uint16(text))
}

// Flags of a record in a ring.
const (
	flagRecursive = 1 << iota
	flagRemote4
	flagLocal
	flagLocal4
	flagRemote
)

func flags(rec *Record) (f byte) {
	if rec.Recursive {
		f |= flagRecursive
	}
	if a := rec.Remote.Addr(); a.IsValid() {
		f |= flagRemote
		if a.Is4() {
			f |= flagRemote4
		}
	}
	if a := rec.Local.Addr(); a.IsValid() {
		f |= flagLocal
		if a.Is4() {
			f |= flagLocal4
		}
	}
	return f
}

// decode reads what encode has written, and the rest. The record's slices are of the ring.
func (rec *Record) decode(b []byte) {
	le := binary.LittleEndian
	f := b[11]
	*rec = Record{
		Kind:      Kind(b[4]),
		Transport: b[5],
		Path:      Path(b[6]),
		Outcome:   Outcome(b[7]),
		View:      b[8],
		Opcode:    b[9],
		List:      b[10],
		Recursive: f&flagRecursive != 0,
		Line:      le.Uint32(b[12:]),
		Time:      int64(le.Uint64(b[16:])),
		Latency:   int64(le.Uint64(b[24:])),
		Remote:    addrPort(b[32:48], le.Uint16(b[64:]), f&flagRemote != 0, f&flagRemote4 != 0),
		Local:     addrPort(b[48:64], le.Uint16(b[66:]), f&flagLocal != 0, f&flagLocal4 != 0),
		ID:        le.Uint16(b[68:]),
		Flags:     le.Uint16(b[70:]),
		Type:      wire.Type(le.Uint16(b[72:])),
		Class:     wire.Class(le.Uint16(b[74:])),
		Rcode: wire.Rcode(
			le.Uint16(b[76:]),
		),
		EDE:   int16(le.Uint16(b[78:])),
		Size:  le.Uint16(b[80:]),
		Reply: le.Uint32(b[84:]),
		Why:   le.Uint64(b[88:]),

		Reason: Reason(b[83]),
	}
	at := headSize
	part := func(n int) []byte {
		if n == 0 {
			return nil
		}
		p := b[at : at+n : at+n]
		at += n
		return p
	}
	rec.Name = part(int(b[82]))
	rec.Text = part(int(le.Uint16(b[100:])))
	rec.Query = part(int(le.Uint16(b[96:])))
	rec.Response = part(int(le.Uint16(b[98:])))
}

func addrPort(b []byte, port uint16, there, four bool) netip.AddrPort {
	if !there {
		return netip.AddrPortFrom(netip.Addr{}, port)
	}
	a := netip.AddrFrom16([16]byte(b))
	if four {
		a = a.Unmap()
	}
	return netip.AddrPortFrom(a, port)
}

// take calls f for each record that is there now, and returns how many octets of the ring that were.
func (r *ring) take(rec *Record, f func(*Record)) int {
	size := uint64(len(r.octets))
	begin, head := r.tail.Load(), r.head.Load()
	for tail := begin; tail < head; r.tail.Store(tail) {
		at := tail & (size - 1)
		n := uint64(binary.LittleEndian.Uint32(r.octets[at:]))
		if n == skipMark {
			tail += size - at
			continue
		}
		rec.decode(r.octets[at : at+n])
		f(rec)
		tail += n
	}
	return int(head - begin)
}

// A Writer is where one goroutine at a time puts records. The zero value is one that nobody takes from.
type Writer struct {
	_     [64]byte
	wants atomic.Uint32
	ring  atomic.Pointer[ring]
	hub   *Hub
	lost  atomic.Uint64 // records that did not fit
	_     [64]byte
}

// Wants returns which records are taken now.
func (w *Writer) Wants() Wants { return Wants(w.wants.Load()) }

// Put gives a record to those who take it. Whoever calls it has asked Wants before.
func (w *Writer) Put(rec *Record) {
	r := w.ring.Load()
	if r == nil {
		return
	}
	ok, half := r.put(rec, w.Wants()&Messages != 0)
	if !ok {
		w.lost.Store(w.lost.Load() + 1)
	}
	if half || w.hub.asleep.Load() {
		w.hub.rouse(half)
	}
}

// A Shared is a writer for goroutines that are not many, or seldom have something to tell.
type Shared struct {
	mu     sync.Mutex
	writer *Writer
}

// Wants is that of a writer.
func (s *Shared) Wants() Wants {
	if s == nil {
		return 0
	}
	return s.writer.Wants()
}

// Put is that of a writer.
func (s *Shared) Put(rec *Record) {
	s.mu.Lock()
	s.writer.Put(rec)
	s.mu.Unlock()
}
