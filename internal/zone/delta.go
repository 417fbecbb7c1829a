package zone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"time"

	"port53/internal/wire"
)

// A Delta is the difference between two versions of a zone, as IXFR (RFC 1995) sends
// it and a journal keeps it: records as on the wire, names uncompressed, class IN. In
// both lists the version's SOA record stands first.
type Delta struct {
	From, To       uint32 // serials
	Removed, Added []byte

	// Notes are the changes of the notes of the version. Where nothing else changes, both serials
	// are one, and the SOA record is in both lists.
	Notes []Note

	// By says for people who made it, and At when; zero: nobody knows. They are not part of
	// the difference.
	By string
	At time.Time
}

// Counts returns how many records were removed and added, without the SOA.
func (d *Delta) Counts() (removed, added int) {
	return countRecords(d.Removed) - 1, countRecords(d.Added) - 1
}

func countRecords(list []byte) (n int) {
	for ; len(list) > 0; n++ {
		list = list[recordEnd(list):]
	}
	return n
}

// WithSerial returns the difference with another serial at its end.
func (d *Delta) WithSerial(serial uint32) *Delta {
	end := recordEnd(d.Added)
	soa := bytes.Clone(d.Added[:end])
	binary.BigEndian.PutUint32(soa[len(soa)-serialAt:], serial)
	return &Delta{From: d.From, To: serial, Removed: d.Removed, Added: append(soa, d.Added[end:]...), Notes: d.Notes, By: d.By, At: d.At}
}

// OnlySerial reports whether the versions differ in their serial and in nothing else.
func (d *Delta) OnlySerial() bool {
	return len(d.Notes) == 0 && recordEnd(d.Removed) == len(d.Removed) && recordEnd(d.Added) == len(d.Added) &&
		bytes.Equal(d.Removed, d.WithSerial(d.From).Added)
}

// recordEnd returns where the first record of a list ends.
func recordEnd(list []byte) int {
	n := nameLen(list)
	return n + recordFixed + int(binary.BigEndian.Uint16(list[n+8:]))
}

// recordFixed is the octets of a record between its owner and its data.
const recordFixed = 10

// AppendRecord appends a record as a Delta holds it.
func AppendRecord(dst, owner []byte, t wire.Type, ttl uint32, data []byte) []byte {
	dst = append(dst, owner...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(t))
	dst = binary.BigEndian.AppendUint16(dst, uint16(wire.ClassIN))
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)))
	return append(dst, data...)
}

// errDelta is what EachRecord returns for octets that are no records.
var errDelta = errors.New("zone: a difference holds what is no record")

// EachRecord calls f with every record of a list as a Delta holds it, until f returns
// false. Owner and data are of the list. Each record is checked before.
func EachRecord(list []byte, f func(owner []byte, t wire.Type, ttl uint32, data []byte) bool) error {
	for len(list) > 0 {
		n, err := wire.CheckName(list)
		if err != nil || n+recordFixed > len(list) {
			return errDelta
		}
		t := wire.Type(binary.BigEndian.Uint16(list[n:]))
		end := n + recordFixed + int(binary.BigEndian.Uint16(list[n+8:]))
		if end > len(list) || wire.Class(binary.BigEndian.Uint16(list[n+2:])) != wire.ClassIN ||
			wire.CheckRdata(t, list[n+recordFixed:end]) != nil {
			return errDelta
		}
		if !f(list[:n], t, binary.BigEndian.Uint32(list[n+4:]), list[n+recordFixed:end]) {
			return nil
		}
		list = list[end:]
	}
	return nil
}

// SOA returns the zone's SOA record. The data is the caller's.
func (z *Zone) SOA() (ttl uint32, data []byte) {
	z.eachAt(z.root, func(_ []byte, t wire.Type, seconds uint32, d []byte) bool {
		if t != wire.TypeSOA {
			return true
		}
		ttl, data = seconds, bytes.Clone(d)
		return false
	})
	return ttl, data
}

// serialAt is how far before the end of a SOA record's data its serial stands.
const serialAt = 20

// SerialOf returns the serial of good SOA data.
func SerialOf(soa []byte) uint32 { return binary.BigEndian.Uint32(soa[len(soa)-serialAt:]) }

// WithSerial returns good SOA data with another serial.
func WithSerial(soa []byte, serial uint32) []byte {
	soa = bytes.Clone(soa)
	binary.BigEndian.PutUint32(soa[len(soa)-serialAt:], serial)
	return soa
}

// Newer reports whether serial a comes after b (RFC 1982, section 3.2). Of two that are
// half the range apart neither does.
func Newer(a, b uint32) bool { return a != b && a-b < 1<<31 }

// An identity stands for a record without its TTL: two hashes, of which records that
// differ have equal ones never.
type identity [2]uint64

// An identifier makes identities.
type identifier struct {
	a, b maphash.Seed
	room []byte
}

func newIdentifier() *identifier { return &identifier{a: maphash.MakeSeed(), b: maphash.MakeSeed()} }

func (i *identifier) of(owner []byte, t wire.Type, data []byte) identity {
	i.room = wire.Lower(i.room[:0], owner)
	i.room = binary.BigEndian.AppendUint16(i.room, uint16(t))
	i.room = wire.AppendCanonical(i.room, t, data)
	return identity{maphash.Bytes(i.a, i.room), maphash.Bytes(i.b, i.room)}
}

// Diff returns what changed from one version to the other, or nil if nothing did. A
// record whose TTL or spelling alone changed is removed and added.
func Diff(old, now *Zone) *Delta {
	d := &Delta{From: old.Serial(), To: now.Serial()}
	type version struct {
		exact uint64 // hash of TTL, owner and data as spelled
		both  bool
	}
	ids := newIdentifier()
	exact := func(owner []byte, ttl uint32, data []byte) uint64 {
		ids.room = binary.BigEndian.AppendUint32(ids.room[:0], ttl)
		ids.room = append(append(ids.room, owner...), data...)
		return maphash.Bytes(ids.a, ids.room)
	}
	had := make(map[identity]version, old.Records())
	old.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		had[ids.of(owner, t, data)] = version{exact: exact(owner, ttl, data)}
		return true
	})
	ttl, soa := now.SOA()
	d.Added = AppendRecord(d.Added, now.Apex(), wire.TypeSOA, ttl, soa)
	changes := 0
	now.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		id := ids.of(owner, t, data)
		v, ok := had[id]
		if ok && v.exact == exact(owner, ttl, data) {
			v.both = true
			had[id] = v
			return true
		}
		changes++
		if t != wire.TypeSOA {
			d.Added = AppendRecord(d.Added, owner, t, ttl, data)
		}
		return true
	})
	ttl, soa = old.SOA()
	d.Removed = AppendRecord(d.Removed, old.Apex(), wire.TypeSOA, ttl, soa)
	old.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		if had[ids.of(owner, t, data)].both {
			return true
		}
		changes++
		if t != wire.TypeSOA {
			d.Removed = AppendRecord(d.Removed, owner, t, ttl, data)
		}
		return true
	})
	if d.Notes = diffNotes(old.notes, now.notes); changes+len(d.Notes) == 0 {
		return nil
	}
	return d
}

// A fold is what several deltas, one after the other, come to.
type fold struct {
	ids     *identifier
	removed map[identity]removal
	added   map[identity]int // index in list
	list    []addition
	owners  map[string]struct{} // of all these records, in lower case
	last    string              // of them that was touched
}

// A removal is a record that goes.
type removal struct {
	must bool // it has to be in the version that the deltas begin with
	was  bool // it is
}

type addition struct {
	owner, data []byte
	t           wire.Type
	ttl         uint32
	gone        bool
}

func (f *fold) touch(owner []byte) {
	var buf [wire.MaxName]byte
	if lower := wire.Lower(buf[:0], owner); f.last != string(lower) {
		f.last = string(lower)
		f.owners[f.last] = struct{}{}
	}
}

func (f *fold) take(d *Delta) error {
	err := EachRecord(d.Removed, func(owner []byte, t wire.Type, _ uint32, data []byte) bool {
		f.touch(owner)
		id := f.ids.of(owner, t, data)
		if i, ok := f.added[id]; ok {
			f.list[i].gone = true
			delete(f.added, id)
			// It may have been there before it was added again.
			if _, known := f.removed[id]; !known {
				f.removed[id] = removal{}
			}
		} else if r := f.removed[id]; !r.must {
			f.removed[id] = removal{must: true}
		}
		return true
	})
	if err != nil {
		return err
	}
	return EachRecord(d.Added, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		f.touch(owner)
		f.added[f.ids.of(owner, t, data)] = len(f.list)
		f.list = append(f.list, addition{owner: owner, data: data, t: t, ttl: ttl})
		return true
	})
}

// Apply returns the version that the deltas, in their order, lead to. The zone is nil if
// they do not fit this version or each other, or if what comes out cannot be served:
// the problems then say why.
func (z *Zone) Apply(deltas ...*Delta) (*Zone, []Problem) {
	next, problems := z.apply(deltas)
	if next != nil {
		notes := z.notes
		for _, d := range deltas {
			notes = notes.With(d.Notes...)
		}
		next = next.WithNotes(notes)
	}
	return next, problems
}

func (z *Zone) apply(deltas []*Delta) (*Zone, []Problem) {
	wrong := func(text string) (*Zone, []Problem) { return nil, []Problem{{Text: text}} }
	f := &fold{ids: newIdentifier(), removed: map[identity]removal{}, added: map[identity]int{}, owners: map[string]struct{}{}}
	serial := z.Serial()
	for _, d := range deltas {
		if d.From != serial {
			return wrong("a difference does not start at the previous version")
		}
		serial = d.To
		if err := f.take(d); err != nil {
			return wrong(err.Error())
		}
	}
	if next := z.patch(f); next != nil {
		if next.serial != serial {
			return wrong("a difference leads to another serial than its SOA record has")
		}
		return next, nil
	}
	for id, r := range f.removed {
		f.removed[id] = removal{must: r.must} // what patch has found is found again
	}
	b := newBuilder(z.apexName, z.base)
	b.Expect(z.names)
	var r Record
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		id := f.ids.of(owner, t, data)
		if r, removed := f.removed[id]; removed {
			f.removed[id] = removal{r.must, true}
			return true
		}
		if _, again := f.added[id]; again {
			return true // with another TTL, perhaps
		}
		r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
		b.Add(&r)
		return true
	})
	for _, r := range f.removed {
		if r.must && !r.was {
			return wrong("a difference removes records that do not exist")
		}
	}
	for i := range f.list {
		if a := &f.list[i]; !a.gone {
			r.Owner, r.Type, r.TTL, r.Data = a.owner, a.t, a.ttl, a.data
			b.Add(&r)
		}
	}
	next, problems := b.Build()
	if next != nil && next.serial != serial {
		return wrong("a difference leads to another serial than its SOA record has")
	}
	return next, problems
}

// Exact returns the differences that lead from z to next, which Apply made of deltas: these, or where the
// compiler left a record of them out or changed its TTL, one that says what came of them. Whoever follows by
// differences has what is served then, and each version can be made again.
func (z *Zone) Exact(next *Zone, deltas []*Delta) []*Delta {
	if !next.altered || len(deltas) == 0 {
		return deltas
	}
	d := Diff(z, next)
	if d == nil {
		return deltas
	}
	last := deltas[len(deltas)-1]
	d.By, d.At = last.By, last.At
	return []*Delta{d}
}

// Preview does what Apply does, for somebody who only wants to know: the version that comes of it is not
// one to go on from.
func (z *Zone) Preview(deltas ...*Delta) (*Zone, []Problem) {
	alone := *z
	alone.line = nil
	return alone.Apply(deltas...)
}

// Reverse returns the difference that takes this one back.
func (d *Delta) Reverse() *Delta {
	r := &Delta{From: d.To, To: d.From, Removed: d.Added, Added: d.Removed}
	for i := len(d.Notes) - 1; i >= 0; i-- {
		n := d.Notes[i]
		r.Notes = append(r.Notes, Note{Key: n.Key, Was: n.Value, Value: n.Was})
	}
	return r
}

// Condense returns what several exact differences, one after the other, come to: each
// removes records that are there, and adds ones that are not. It is nil if they do not
// follow each other.
func Condense(deltas ...*Delta) *Delta {
	type change struct {
		before, now bool // the record is there
		first, last []byte
	}
	ids := newIdentifier()
	changes := map[identity]*change{}
	var order []*change
	var heads [2][]byte // the first SOA record that goes, and the last that comes
	for i, d := range deltas {
		if i > 0 && d.From != deltas[i-1].To {
			return nil
		}
		for part, list := range [2][]byte{d.Removed, d.Added} {
			err := EachRecord(list, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
				if t == wire.TypeSOA {
					if part == 1 || i == 0 {
						heads[part] = AppendRecord(nil, owner, t, ttl, data)
					}
					return true
				}
				id := ids.of(owner, t, data)
				c := changes[id]
				if c == nil {
					c = &change{before: part == 0, first: AppendRecord(nil, owner, t, ttl, data)}
					changes[id] = c
					order = append(order, c)
				}
				c.now, c.last = part == 1, AppendRecord(c.last[:0:0], owner, t, ttl, data)
				return true
			})
			if err != nil {
				return nil
			}
		}
	}
	if len(deltas) == 0 {
		return nil
	}
	d := &Delta{From: deltas[0].From, To: deltas[len(deltas)-1].To, Removed: heads[0], Added: heads[1]}
	for _, c := range order {
		if c.before && c.now && bytes.Equal(c.first, c.last) {
			continue
		}
		if c.before {
			d.Removed = append(d.Removed, c.first...)
		}
		if c.now {
			d.Added = append(d.Added, c.last...)
		}
	}
	return d
}
