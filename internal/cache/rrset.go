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

// An Entry is one RRset, or the knowledge that there is none, as it was kept. It is
// meant to be reused: its slices are valid until it is read into again.
type Entry struct {
	wire.RRset // TTL is what is left, in seconds
	Rank       Rank
	Security   Security
	Expires    int64 // seconds since 1970
	Stored     int64
	Stale      bool // it has expired, and may still be served (RFC 8767)

	Negative bool // there is none: Blob is what the caller kept with that
	Rcode    wire.Rcode
	Blob     []byte

	room []byte
}

// PutRRset keeps a set. It returns false if what is known is better and fresh, or if
// the set is too large. A set without records, or with a TTL of 0, makes the cache
// forget what it had.
func (c *Cache) PutRRset(partition uint16, set *wire.RRset, rank Rank, sec Security, now int64) bool {
	k := Key{set.Owner, set.Type, partition, 0, kindRRset}
	ttl := c.clamp(set.TTL, false)
	hash := c.hash(k.name)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.yields(hash, &k, rank, sec, now) {
		return false
	}
	none := k
	none.kind = kindNegative
	if slot, _, _ := s.find(hash, &none); slot != nil {
		atomic.StoreUint64(slot, 0)
	}
	if ttl == 0 || len(set.Data) == 0 || len(set.Data) > maxRecords || len(set.Sigs) > maxRecords {
		if slot, _, _ := s.find(hash, &k); slot != nil {
			atomic.StoreUint64(slot, 0)
		}
		return false
	}
	size := 2
	for _, d := range set.Data {
		size += 2 + len(d)
	}
	for _, d := range set.Sigs {
		size += 2 + len(d)
	}
	if size > maxEntry {
		return false
	}
	var room [1024]byte
	body := append(room[:0], byte(len(set.Data)), byte(len(set.Sigs)))
	for _, list := range [...][][]byte{set.Data, set.Sigs} {
		for _, d := range list {
			body = binary.BigEndian.AppendUint16(body, uint16(len(d)))
			body = append(body, d...)
		}
	}
	return s.put(c, hash, &entry{
		Key: k, security: uint8(sec), rank: uint8(rank), expires: uint32(now) + ttl, stored: uint32(now), ttl: ttl, body: body,
	})
}

// maxRecords is how many records of one type a name may have (CVE-2024-1737; BIND: 100).
const maxRecords = 100

// yields tells whether what is kept under the key may be replaced. The lock is held.
func (s *shard) yields(hash uint64, k *Key, rank Rank, sec Security, now int64) bool {
	slot, _, pos := s.find(hash, k)
	if slot == nil {
		return true
	}
	at := s.at(pos)
	meta := s.load(at + wordMeta)
	if int32(uint32(s.load(at+wordTime)>>32)-uint32(now)) <= 0 || sec == Secure {
		return true
	}
	if Security(meta>>48&0xFF) == Secure {
		return false
	}
	return Rank(meta>>40&0xFF) <= rank
}

// PutNegative keeps that a name has no records of a type, or with type 0 that it does
// not exist. blob is what proves it, in the caller's form.
func (c *Cache) PutNegative(partition uint16, name []byte, t wire.Type, blob []byte, rcode wire.Rcode, sec Security, ttl uint32, now int64) bool {
	k := Key{name, t, partition, 0, kindNegative}
	if ttl = c.clamp(ttl, true); ttl == 0 {
		return false
	}
	hash := c.hash(k.name)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.yields(hash, &k, AuthAnswer, sec, now) {
		return false
	}
	set := k
	set.kind = kindRRset
	if slot, _, _ := s.find(hash, &set); slot != nil && s.yields(hash, &set, AuthAnswer, sec, now) {
		atomic.StoreUint64(slot, 0)
	}
	return s.put(c, hash, &entry{
		Key: k, security: uint8(sec), rank: uint8(AuthAnswer), rcode: rcode,
		expires: uint32(now) + ttl, stored: uint32(now), ttl: ttl, body: blob,
	})
}

// RRset reads what is known of a name and a type into e, and tells whether anything is.
func (c *Cache) RRset(partition uint16, name []byte, t wire.Type, now int64, e *Entry) bool {
	k := Key{name, t, partition, 0, kindRRset}
	hash := c.hash(name)
	s := c.shard(hash)
	slot, value, pos := s.find(hash, &k)
	if slot == nil {
		k.kind = kindNegative
		if slot, value, pos = s.find(hash, &k); slot == nil {
			return false
		}
	}
	at := s.at(pos)
	meta, times, body := s.load(at+wordMeta), s.load(at+wordTime), s.load(at+wordBody)
	e.Security, e.Rank, e.Rcode = Security(meta>>48&0xFF), Rank(meta>>40&0xFF), wire.Rcode(meta>>16&0xFFFF)
	expires := uint32(times >> 32)
	left := int32(expires - uint32(now))
	e.Stale = left <= 0
	if e.Stale && uint32(-left) > c.o.Stale {
		return false
	}
	e.Expires, e.Stored = now+int64(left), now-int64(uint32(now)-uint32(times))
	n := int(body >> 16 & 0xFFFF)
	start := at + headWords + (len(name)+7)/8
	if start+(n+7)/8 > len(s.ring) {
		return false
	}
	if cap(e.room) < len(name)+n {
		e.room = make([]byte, max(512, len(name)+n))
	}
	e.Owner = append(e.room[:0], name...)
	room := e.room[len(name) : len(name)+n]
	s.copy(room, start)
	if s.tail.Load() > pos {
		return false
	}
	if value&slotRead == 0 {
		atomic.CompareAndSwapUint64(slot, value, value|slotRead)
	}
	e.Type, e.TTL = t, uint32(max(left, 0))
	e.Data, e.Sigs, e.Blob = e.Data[:0], e.Sigs[:0], nil
	e.Negative = k.kind == kindNegative
	if e.Negative {
		e.Blob = room
		return true
	}
	return e.decode(room)
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
