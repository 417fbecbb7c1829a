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
}

// prefetchShare is the part of its life at whose end an answer should be asked for
// again (Unbound: the last tenth), and prefetchLeast the life, in seconds, from which
// that is worth it (BIND: 9).
const (
	prefetchShare = 10
	prefetchLeast = 10
)

// PutAnswer keeps a finished answer. TTLs in it are brought within the cache's bounds.
func (c *Cache) PutAnswer(k Key, a *Answer, now int64) {
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
		Key: k, security: uint8(a.Security), rcode: a.Rcode, ede: int16(a.EDE), flags: a.Flags,
		expires: uint32(now) + ttl, stored: uint32(now), ttl: ttl, counts: a.Counts, ttls: a.TTLs, body: a.Body,
	}
	hash := c.hash(k.name)
	s := c.shard(hash)
	s.mu.Lock()
	s.put(c, hash, &e)
	s.mu.Unlock()
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
// has now. It takes no lock and allocates nothing.
func (c *Cache) Answer(k Key, now int64, dst []byte) (h Hit, ok bool) {
	k.kind = kindAnswer
	hash := c.hash(k.name)
	s := c.shard(hash)
	slot, value, pos := s.find(hash, &k)
	if slot == nil {
		return h, false
	}
	at := s.at(pos)
	size := int(s.load(at+wordKey) >> wordsShift)
	meta, times, body, more := s.load(at+wordMeta), s.load(at+wordTime), s.load(at+wordBody), s.load(at+wordMore)
	h.Rcode, h.EDE, h.Security = wire.Rcode(meta>>16&0xFFFF), int(int16(meta&0xFFFF))-1, Security(meta>>48&0xFF)
	h.Flags, h.Counts = uint16(more>>48), [3]uint16{uint16(more >> 32), uint16(more >> 16), uint16(more)}
	h.N = int(body >> 16 & 0xFFFF)
	marks := int(body & 0xFFFF)
	expires, stored, ttl := uint32(times>>32), uint32(times), uint32(body>>32)
	clock := uint32(now)
	if left := int32(expires - clock); left > 0 {
		h.TTL = uint32(left)
	} else if uint32(-left) <= c.o.Stale {
		h.Stale, h.TTL = true, c.o.StaleTTL
	} else {
		return h, false
	}
	at += headWords + (len(k.name)+7)/8
	offsets := at
	at += (marks + 3) / 4
	if size < headWords || at+(h.N+7)/8 > len(s.ring) {
		return h, false // it was written over
	}
	if h.N <= len(dst) {
		s.copy(dst[:h.N], at)
		s.patch(dst[:h.N], offsets, marks, clock-stored, &h)
	}
	if s.tail.Load() > pos {
		return Hit{}, false
	}
	mark := value | slotRead
	if !h.Stale && ttl >= prefetchLeast && h.TTL <= ttl/prefetchShare && value&slotPrefetch == 0 {
		mark |= slotPrefetch
	}
	if mark != value && atomic.CompareAndSwapUint64(slot, value, mark) {
		h.Prefetch = mark&^value&slotPrefetch != 0
	}
	return h, true
}

// copy copies octets from place i on.
func (s *shard) copy(dst []byte, i int) {
	for ; len(dst) >= 8; i++ {
		binary.LittleEndian.PutUint64(dst, s.load(i))
		dst = dst[8:]
	}
	if len(dst) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], s.load(i))
		copy(dst, last[:])
	}
}

// patch counts the TTLs of a body down by its age, or sets them all for a stale one.
func (s *shard) patch(body []byte, offsets, marks int, age uint32, h *Hit) {
	var word uint64
	for i := range marks {
		if i%4 == 0 {
			word = s.load(offsets + i/4)
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

// The bounds of what is remembered of failures, in seconds (RFC 9520, section 3.2: at
// least one second, at most five minutes, and longer each time).
const (
	failureFirst = 5
	failureMost  = 300
)

// PutFailure remembers that there is no answer, and why: for five seconds, and twice as
// long each time it happens again soon.
func (c *Cache) PutFailure(k Key, ede int16, now int64) {
	k.kind = kindFailure
	hash := c.hash(k.name)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	ttl := uint32(failureFirst)
	if slot, _, pos := s.find(hash, &k); slot != nil {
		at := s.at(pos)
		before, expires := uint32(s.load(at+wordBody)>>32), uint32(s.load(at+wordTime)>>32)
		switch since := int32(uint32(now) - expires); {
		case since < 0:
			return // still remembered
		case uint32(since) <= 2*before:
			ttl = min(2*before, failureMost)
		}
	}
	s.put(c, hash, &entry{Key: k, ede: ede, expires: uint32(now) + ttl, stored: uint32(now), ttl: ttl})
}

// Failure tells whether the question failed just now, and by which Extended DNS Error.
func (c *Cache) Failure(k Key, now int64) (ede int, failed bool) {
	k.kind = kindFailure
	hash := c.hash(k.name)
	s := c.shard(hash)
	slot, _, pos := s.find(hash, &k)
	if slot == nil {
		return 0, false
	}
	at := s.at(pos)
	meta, times := s.load(at+wordMeta), s.load(at+wordTime)
	if s.tail.Load() > pos || int32(uint32(times>>32)-uint32(now)) <= 0 {
		return 0, false
	}
	return int(int16(meta&0xFFFF)) - 1, true
}
