package zone

import (
	"encoding/binary"
	"maps"
)

// Notes are what is known of a version beside its records, and is neither served nor transferred, such
// as comments and records that are switched off: texts by keys, neither of which this package
// understands. They are immutable; the nil Notes are none.
//
// A version shares with the one before what has not changed: changing a few of very many notes costs
// what those few do.
type Notes struct {
	base map[string]string // shared with other versions
	over map[string]string // counts before base; an empty value is of what is gone
	size int               // notes that there are
}

// A Note is one change of [Notes].
type Note struct {
	Key string

	// Was is the value until now, and Value the one from now on; empty: there is none.
	Was, Value string
}

// Len returns how many notes there are.
func (n *Notes) Len() int {
	if n == nil {
		return 0
	}
	return n.size
}

// Get returns the value of a key; empty: there is none.
func (n *Notes) Get(key string) string {
	if n == nil {
		return ""
	}
	if value, ok := n.over[key]; ok {
		return value
	}
	return n.base[key]
}

// Each calls f for each note, in no order, until f returns false.
func (n *Notes) Each(f func(key, value string) bool) {
	if n == nil {
		return
	}
	for key, value := range n.over {
		if value != "" && !f(key, value) {
			return
		}
	}
	for key, value := range n.base {
		if _, changed := n.over[key]; !changed && !f(key, value) {
			return
		}
	}
}

// minOver is how many changes lie above the base before it is made again, however small it is, and
// overShare up to which part of it.
const (
	minOver   = 64
	overShare = 8
)

// With returns the notes with the changes. What Was says is not looked at.
func (n *Notes) With(changes ...Note) *Notes {
	if len(changes) == 0 {
		return n
	}
	next := &Notes{over: make(map[string]string, len(changes))}
	if n != nil {
		next.base, next.size = n.base, n.size
		maps.Copy(next.over, n.over)
	}
	for _, c := range changes {
		had := next.Get(c.Key) != ""
		next.over[c.Key] = c.Value
		switch {
		case had && c.Value == "":
			next.size--
		case !had && c.Value != "":
			next.size++
		}
	}
	if next.size == 0 {
		return nil
	}
	if len(next.over) > max(minOver, len(next.base)/overShare) {
		base := make(map[string]string, next.size)
		next.Each(func(key, value string) bool {
			base[key] = value
			return true
		})
		next.base, next.over = base, nil
	}
	return next
}

// diffNotes returns the changes that lead from one to the other.
func diffNotes(old, now *Notes) (changes []Note) {
	if old == now {
		return nil
	}
	now.Each(func(key, value string) bool {
		if was := old.Get(key); was != value {
			changes = append(changes, Note{Key: key, Was: was, Value: value})
		}
		return true
	})
	old.Each(func(key, was string) bool {
		if now.Get(key) == "" {
			changes = append(changes, Note{Key: key, Was: was})
		}
		return true
	})
	return changes
}

// AppendNotes appends changes of notes as a journal keeps them: of each the lengths of its parts, and
// the parts.
func AppendNotes(dst []byte, changes []Note) []byte {
	for _, c := range changes {
		for _, part := range []string{c.Key, c.Was, c.Value} {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(part)))
		}
		dst = append(append(append(dst, c.Key...), c.Was...), c.Value...)
	}
	return dst
}

// ReadNotes reads what AppendNotes appends. The texts are copies.
func ReadNotes(body []byte) (changes []Note, ok bool) {
	const head = 12
	for len(body) > 0 {
		if len(body) < head {
			return nil, false
		}
		key, was, value := uint64(
			binary.LittleEndian.Uint32(body),
		), uint64(
			binary.LittleEndian.Uint32(body[4:]),
		), uint64(
			binary.LittleEndian.Uint32(body[8:]),
		)
		if body = body[head:]; key+was+value > uint64(len(body)) {
			return nil, false
		}
		changes = append(changes, Note{string(body[:key]), string(body[key : key+was]), string(body[key+was : key+was+value])})
		body = body[key+was+value:]
	}
	return changes, true
}

// Notes returns what is known of the version beside its records.
func (z *Zone) Notes() *Notes { return z.notes }

// WithNotes returns the version with other notes. It shares all else.
func (z *Zone) WithNotes(n *Notes) *Zone {
	if z.notes == n {
		return z
	}
	next := *z
	next.notes = n
	z.handOn(&next)
	return &next
}
