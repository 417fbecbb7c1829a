package cache

import (
	"encoding/binary"
	"sync/atomic"

	"port53/internal/wire"
)

// An Answer is a finished answer: what stands in a message behind its question.
type Answer struct {
	Flags    uint16 // bits of the header's second word, such as AD
	Rcode    wire.Rcode
	Counts   [3]uint16 // of the answer, authority and additional sections
	Body     []byte    // the records, their compression pointers those of a message whose question stands first
	TTLs     []uint16  // where in Body each record's TTL is
	TTL      uint32    // how long it lives, in seconds
	EDE      int       // Extended DNS Error that goes with it, or -1
	Security Security
	Stored   int64
}

// A Hit is an answer as Cache.Answer found it.
type Hit struct {
	// N is the octets of the body. If it is more than there was room for, nothing was
	// written that could be used.
	N        int
	Flags    uint16
	Rcode    wire.Rcode
	Counts   [3]uint16
	EDE      int
	Security Security
	TTL      uint32 // seconds left
	Stale    bool   // it has expired, and is no older than may be; its TTLs are Options.StaleTTL
	Prefetch bool   // it will soon expire; only one reader is told

	Mark uint32 // that Cache.Mark gave it; 0: none
	pos  uint64 // of the entry
}

// prefetchShare is the part of its life at whose end an answer should be asked for
// again (Unbound: the last tenth), and prefetchLeast the life, in seconds, from which
// that is worth it (BIND: 9).
const (
	prefetchShare = 10
	prefetchLeast = 10
)

// PutAnswer keeps a finished answer. TTLs in it are brought within the cache's bounds;
// otherwise it is neither changed nor kept. What is too large, or has no TTL, is not
// cached.
func (w Writer) PutAnswer(k Key, a *Answer, now int64) {
	c := w.c
	k.kind = kindAnswer
	negative := a.Rcode != wire.NoError || a.Counts[wire.Answer] == 0
	ttl := c.clamp(a.TTL, negative)
	if ttl == 0 {
		return
	}
	for _, at := range a.TTLs {
		field := a.Body[at : at+4]
		binary.BigEndian.PutUint32(field, c.clamp(binary.BigEndian.Uint32(field), negative))
	}
	e := entry{
		Key: k, security: a.Security, rcode: a.Rcode, ede: int16(a.EDE), flags: a.Flags,
		expires: uint32(now) + ttl, stored: uint32(now), ttl: ttl, counts: a.Counts, ttls: a.TTLs, body: a.Body,
	}
	s, hash := c.locate(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.Revoked() {
		s.put(c, hash, &e)
	}
}

// MaxMark is the largest mark.
const MaxMark = 1<<24 - 1

// Mark has an answer that was found under a key carry a number, from 1 to [MaxMark], which those who
// find it later are told: what its finder knows of it. Whether it is kept is not sure; that it is kept
// with no other answer is. Nobody waits for it.
func (c *Cache) Mark(k Key, h *Hit, mark uint32) {
	k.kind = kindAnswer
	s, hash := c.locate(&k)
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if slot, value, e := s.find(hash, &k); slot != nil && value&slotPos == h.pos {
		atomic.StoreUint64(&e[wordMeta], withMark(atomic.LoadUint64(&e[wordMeta]), mark))
	}
}

func (c *Cache) clamp(ttl uint32, negative bool) uint32 {
	most := c.o.MaxTTL
	if negative {
		most = min(most, c.o.MaxNegativeTTL)
	}
	if ttl == 0 {
		return 0 // for this question only (RFC 1035, section 3.2.1)
	}
	return min(max(ttl, c.o.MinTTL), most)
}

// Answer looks for a finished answer, and copies its body to dst with the TTLs that it
// has now. What is in dst behind the body is undefined. It takes no lock and allocates
// nothing.
func (c *Cache) Answer(k Key, now int64, dst []byte) (h Hit, ok bool) {
	k.kind = kindAnswer
	s, hash := c.locate(&k)
	for range maxTries {
		slot, value, e := s.find(hash, &k)
		if slot == nil {
			return h, false
		}
		ttl := c.read(&h, e, len(k.name), now, dst)
		if !s.holds(value) {
			h = Hit{}
			continue
		}
		if ttl == 0 {
			return h, false
		}
		h.pos = value & slotPos
		mark := value | slotRead
		if !h.Stale && ttl >= prefetchLeast && h.TTL <= ttl/prefetchShare {
			mark |= slotPrefetch
		}
		if mark != value && atomic.CompareAndSwapUint64(slot, value, mark) {
			h.Prefetch = mark&^value&slotPrefetch != 0
		}
		return h, true
	}
	return h, false
}

// RetryPrefetch has the next reader in the last tenth of an answer's life told once more that it
// should be asked for: who was told before has failed.
func (c *Cache) RetryPrefetch(k Key) {
	k.kind = kindAnswer
	s, hash := c.locate(&k)
	for range maxTries {
		slot, value, _ := s.find(hash, &k)
		if slot == nil || value&slotPrefetch == 0 || atomic.CompareAndSwapUint64(slot, value, value&^slotPrefetch) {
			return
		}
	}
}

// read fills h and dst from the words of an answer, and returns the TTL that it was
// stored with, or 0 if it is too old. The words may be no answer any more.
func (c *Cache) read(h *Hit, e []uint64, name int, now int64, dst []byte) uint32 {
	meta, times, sizes := atomic.LoadUint64(&e[wordMeta]), atomic.LoadUint64(&e[wordTime]), atomic.LoadUint64(&e[wordBody])
	ttl, n, marks := uint32(sizes>>32), int(sizes>>16&0xFFFF), int(sizes&0xFFFF)
	e = e[headWords+wordsOf(name):]
	if len(e) < 1+(marks+3)/4+wordsOf(n) {
		return 0
	}
	if left := left(times, now); left > 0 {
		h.TTL = min(uint32(left), ttl)
	} else if -left <= int64(c.o.Stale) {
		h.Stale, h.TTL = true, c.o.StaleTTL
	} else {
		return 0
	}
	more, offsets := atomic.LoadUint64(&e[0]), e[1:1+(marks+3)/4]
	h.N, h.Rcode, h.EDE, h.Security, h.Mark = n, rcodeIn(meta), edeIn(meta), securityIn(meta), markIn(meta)
	h.Flags, h.Counts = uint16(more>>48), [3]uint16{uint16(more >> 32), uint16(more >> 16), uint16(more)}
	if n <= len(dst) {
		unpack(dst, n, e[1+len(offsets):])
		patch(dst[:n], offsets, marks, age(times, now), h)
	}
	return ttl
}

// patch counts the TTLs of a body down by its age, or sets them all for a stale one.
func patch(body []byte, offsets []uint64, marks int, age uint32, h *Hit) {
	var word uint64
	for i := range marks {
		if i%4 == 0 {
			word = atomic.LoadUint64(&offsets[i/4])
		}
		at := int(word & 0xFFFF)
		word >>= 16
		if at+4 > len(body) {
			return // it was written over; the caller will see
		}
		field := body[at : at+4]
		ttl := h.TTL
		if !h.Stale {
			ttl = max(binary.BigEndian.Uint32(field), age) - age
		}
		binary.BigEndian.PutUint32(field, ttl)
	}
}
