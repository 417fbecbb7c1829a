package cache

import (
	"encoding/binary"
	"sync/atomic"

	"port53/internal/wire"
)

// A Rank is how much data deserves to be trusted by where it stood: a lower one does
// not replace a higher (RFC 2181, section 5.4.1).
type Rank uint8

// The ranks.
const (
	Glue       Rank = iota + 1 // additional data of a referral
	Authority                  // the authority section
	NonAuth                    // the answer section, without AA; DS of a referral
	AuthAnswer                 // the answer section of an authority's answer
)

// A Security is what validation found (RFC 4033, section 5).
type Security uint8

// The states of validation.
const (
	Unchecked Security = iota
	Insecure
	Secure
	Bogus
)

// String returns the state in a word.
func (s Security) String() string {
	switch s {
	case Insecure:
		return "insecure"
	case Secure:
		return "secure"
	case Bogus:
		return "bogus"
	}
	return "unchecked"
}

// An Entry is one RRset, or the knowledge that there is none, or a delegation, as it was
// kept. It is meant to be reused: its slices are valid until it is read into again.
type Entry struct {
	wire.RRset // TTL is what is left, in seconds
	Rank       Rank
	Security   Security
	Expires    int64 // seconds since 1970
	Stored     int64
	Stale      bool // it has expired, and may still be served (RFC 8767), with Options.StaleTTL

	Negative bool   // there is none
	Proof    []byte // of that, in the form of who put it

	room []byte
}

// maxRecords is how many records of one type a name may have, and how many signatures
// (CVE-2024-1737; BIND: 100).
const maxRecords = 100

// PutRRset keeps a set, with its TTL brought within the cache's bounds. It returns
// false if what is known is better and fresh: a set that was validated, unless this one
// was too, or one of a higher rank. A set without records, with a TTL of 0, or too large
// is not kept, and makes the cache forget what it knew.
func (w Writer) PutRRset(partition Partition, set *wire.RRset, rank Rank, sec Security, now int64) bool {
	var room [bodyRoom]byte
	body, ok := encode(room[:0], set.Data, set.Sigs)
	return w.putSet(&entry{
		Key: keyOf(set.Owner, set.Type, partition, kindRRset), rank: rank, security: sec, body: body,
	}, w.c.lifetime(set.TTL, false, ok), now)
}

// PutNoData keeps that a name has no records of a type. proof is what proves it, in the
// caller's form. It ranks with an authority's answer: PutRRset and PutNoData replace what
// the other kept by the same rule.
func (w Writer) PutNoData(partition Partition, name []byte, t wire.Type, proof []byte, sec Security, ttl uint32, now int64) bool {
	return w.putNegative(keyOf(name, t, partition, kindRRset), proof, sec, ttl, now)
}

// PutDenial keeps that a name does not exist, whatever is known of its types. proof is as
// for PutNoData.
func (w Writer) PutDenial(partition Partition, name, proof []byte, sec Security, ttl uint32, now int64) bool {
	return w.putNegative(keyOf(name, 0, partition, kindDenial), proof, sec, ttl, now)
}

// PutDelegation keeps whom the parent of a zone named as its servers, one item each in the
// caller's form, in place of what it named before. A TTL of 0 makes the cache forget them.
func (w Writer) PutDelegation(partition Partition, zone []byte, servers [][]byte, ttl uint32, now int64) bool {
	var room [bodyRoom]byte
	body, ok := encode(room[:0], servers, nil)
	return w.putSet(&entry{Key: keyOf(zone, 0, partition, kindDelegation), body: body}, w.c.lifetime(ttl, false, ok), now)
}

func (w Writer) putNegative(k Key, proof []byte, sec Security, ttl uint32, now int64) bool {
	return w.putSet(
		&entry{Key: k, rank: AuthAnswer, security: sec, negative: 1, body: proof},
		w.c.lifetime(ttl, true, len(proof) <= maxEntry),
		now,
	)
}

// lifetime returns for how long something is kept: not at all if it cannot be.
func (c *Cache) lifetime(ttl uint32, negative, ok bool) uint32 {
	if !ok {
		return 0
	}
	return c.clamp(ttl, negative)
}

// bodyRoom is enough for most sets, so that writing them asks for no memory.
const bodyRoom = 1024

// encode appends the counts of records and signatures, and these, to b. ok is false if
// there are no records, or too many or too much to be kept.
func encode(b []byte, data, sigs [][]byte) (body []byte, ok bool) {
	if len(data) == 0 || len(data) > maxRecords || len(sigs) > maxRecords {
		return nil, false
	}
	b = append(b, byte(len(data)), byte(len(sigs)))
	for _, list := range [...][][]byte{data, sigs} {
		for _, d := range list {
			if len(b)+2+len(d) > maxEntry {
				return nil, false
			}
			b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
			b = append(b, d...)
		}
	}
	return b, true
}

// putSet keeps what is known under a key if it may replace what was.
func (w Writer) putSet(e *entry, ttl uint32, now int64) bool {
	s, hash := w.c.locate(&e.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Revoked() {
		return false
	}
	if slot, _, old := s.find(hash, &e.Key); slot != nil && left(old[wordTime], now) > 0 && e.security != Secure &&
		(securityIn(old[wordMeta]) == Secure || rankIn(old[wordMeta]) > e.rank) {
		return false
	}
	e.ttl, e.stored, e.expires = ttl, uint32(now), uint32(now)+ttl
	if ttl > 0 && s.put(w.c, hash, e) {
		return true
	}
	s.forget(hash, &e.Key)
	return false
}

// RRset reads what is known of a name and a type into e, and reports whether anything is:
// a set, or that there is none. It takes no lock, and allocates only what e has no room
// for yet.
func (c *Cache) RRset(partition Partition, name []byte, t wire.Type, now int64, e *Entry) bool {
	return c.entry(keyOf(name, t, partition, kindRRset), now, e)
}

// Denial is RRset for the knowledge that a name does not exist.
func (c *Cache) Denial(partition Partition, name []byte, now int64, e *Entry) bool {
	return c.entry(keyOf(name, 0, partition, kindDenial), now, e)
}

// Delegation is RRset for the servers of a zone: they are e.Data, as they were put.
func (c *Cache) Delegation(partition Partition, zone []byte, now int64, e *Entry) bool {
	return c.entry(keyOf(zone, 0, partition, kindDelegation), now, e)
}

func (c *Cache) entry(k Key, now int64, e *Entry) bool {
	s, hash := c.locate(&k)
	for range maxTries {
		slot, value, words := s.find(hash, &k)
		if slot == nil {
			return false
		}
		body := e.read(&k, words, now)
		if !s.holds(value) {
			continue
		}
		if e.Expires < now-int64(c.o.Stale) {
			return false
		}
		if e.Stale {
			e.TTL = c.o.StaleTTL
		}
		if value&slotRead == 0 {
			atomic.CompareAndSwapUint64(slot, value, value|slotRead)
		}
		if e.Negative {
			e.Proof = body
			return true
		}
		return e.decode(body)
	}
	return false
}

// read fills e, and returns the body. The words may be no entry any more.
func (e *Entry) read(k *Key, words []uint64, now int64) []byte {
	meta, times, sizes := atomic.LoadUint64(&words[wordMeta]), atomic.LoadUint64(&words[wordTime]), atomic.LoadUint64(&words[wordBody])
	e.Security, e.Rank, e.Negative = securityIn(meta), rankIn(meta), negativeIn(meta)
	left := min(left(times, now), int64(uint32(sizes>>32)))
	e.Stale, e.TTL = left <= 0, uint32(max(left, 0))
	e.Expires, e.Stored = now+left, now-int64(age(times, now))
	e.Type, e.Data, e.Sigs, e.Proof = k.typ, e.Data[:0], e.Sigs[:0], nil

	owner, n := len(k.name), int(sizes>>16&0xFFFF)
	words = words[headWords+wordsOf(owner):]
	if wordsOf(n) > len(words) {
		n = 0
	}
	if room := owner + wordsOf(n)*8; cap(e.room) < room {
		e.room = make([]byte, max(512, room))
	}
	room := e.room[:cap(e.room)]
	copy(room, k.name)
	e.Owner = room[:owner:owner]
	unpack(room[owner:], n, words)
	return room[owner : owner+n : owner+n]
}

// decode reads the records of a set. What is not whole is not used.
func (e *Entry) decode(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	records, total := int(b[0]), int(b[0])+int(b[1])
	b = b[2:]
	for i := range total {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return false
		}
		d := b[2 : 2+int(binary.BigEndian.Uint16(b))]
		b = b[2+len(d):]
		if i < records {
			e.Data = append(e.Data, d)
		} else {
			e.Sigs = append(e.Sigs, d)
		}
	}
	return true
}
