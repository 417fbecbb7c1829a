package signer

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// An Online is what all zones of a server share that are signed while queries wait: signatures that
// were made, in a budget of octets, and how many may be made in a second. Its zero value is of no use;
// NewOnline makes one.
//
// Who finds a signature takes no lock and allocates nothing. Who makes one, which takes longer than
// all else that a query does, does.
type Online struct {
	shards [onlineShards]onlineShard
	seed   maphash.Seed
	limit  int   // octets of a shard
	cost   int64 // nanoseconds that a signature takes of each second
	due    atomic.Int64
}

// Numbers of Online.
const (
	onlineShards = 16
	onlineWays   = 8 // places that a signature may have
	onlineEntry  = 512
	onlineFixed  = 96 // octets that an entry takes beside its key and its signatures

	// onlineBurst is for how long signatures may be made without a pause, and unverifiedBurst the same
	// for clients whose addresses may be forged: under a flood of these, others still have answers.
	onlineBurst     = int64(time.Second)
	unverifiedBurst = onlineBurst / 2

	// rsaCost is how many signatures one of RSA counts as.
	rsaCost = 32
)

// NewOnline returns an Online that keeps signatures in so many octets, and makes at most so many in a
// second of elliptic curves: one of RSA counts as 32.
func NewOnline(octets, perSecond int) *Online {
	o := &Online{seed: maphash.MakeSeed(), limit: max(octets/onlineShards, onlineEntry)}
	o.cost = int64(time.Second) / int64(max(perSecond, 1))
	ways := 1
	for ways*onlineWays*onlineEntry/2 < o.limit {
		ways *= 2
	}
	for i := range o.shards {
		o.shards[i].slots = make([]atomic.Pointer[onlineSignatures], ways*onlineWays)
	}
	return o
}

// An onlineShard is a table of signatures.
type onlineShard struct {
	slots  []atomic.Pointer[onlineSignatures]
	mu     sync.Mutex // of who changes it
	octets int
	hand   int // the slot that is emptied next, if there is no room
}

// An onlineSignatures is the signatures of one set. Only used changes.
type onlineSignatures struct {
	key   string
	sigs  []byte // as zone.OnlineSigner gives them
	until int64  // unix time at which they are made again
	used  atomic.Bool
}

func (s *onlineSignatures) size() int { return len(s.key) + len(s.sigs) + onlineFixed }

// place returns the shard of a key, and the first of its slots.
func (o *Online) place(key []byte) (*onlineShard, int) {
	h := maphash.Bytes(o.seed, key)
	s := &o.shards[h%onlineShards]
	return s, int(h/onlineShards%uint64(len(s.slots)/onlineWays)) * onlineWays
}

// find returns the signatures of a key that are good at a time, or nil.
func (o *Online) find(key []byte, now int64) []byte {
	s, at := o.place(key)
	for i := range s.slots[at : at+onlineWays] {
		e := s.slots[at+i].Load()
		if e != nil && e.key == string(key) {
			if now >= e.until {
				return nil
			}
			if !e.used.Load() { // most have been used: nobody writes then
				e.used.Store(true)
			}
			return e.sigs
		}
	}
	return nil
}

// keep takes signatures in, and gives up others for them: the same set's, an old one's, or one's that
// nobody asked for again.
func (o *Online) keep(e *onlineSignatures, now int64) {
	s, at := o.place([]byte(e.key))
	if e.size() > o.limit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slots, best, worth := s.slots[at:at+onlineWays], 0, 4
	for i := range slots {
		have := slots[i].Load()
		value := 3
		switch {
		case have == nil:
			value = 1
		case have.key == e.key:
			value = 0
		case now >= have.until || !have.used.Load():
			value = 2
		}
		if value < worth {
			best, worth = i, value
		}
	}
	if worth == 3 { // all were asked for again: one goes, and the others have to prove it again
		for i := range slots {
			slots[i].Load().used.Store(false)
		}
		best = int(now % onlineWays)
	}
	s.put(&slots[best], e)
	for s.octets > o.limit {
		if slot := &s.slots[s.hand]; slot.Load() != e {
			s.put(slot, nil)
		}
		s.hand = (s.hand + 1) % len(s.slots)
	}
}

// put fills a slot. s.mu is held.
func (s *onlineShard) put(slot *atomic.Pointer[onlineSignatures], e *onlineSignatures) {
	if e != nil {
		s.octets += e.size()
	}
	if old := slot.Swap(e); old != nil {
		s.octets -= old.size()
	}
}

// admit reports whether signatures may be made now that cost so much.
func (o *Online) admit(cost int64, verified bool) bool {
	limit := onlineBurst
	if !verified {
		limit = unverifiedBurst
	}
	for {
		due, now := o.due.Load(), time.Now().UnixNano()
		next := max(due, now) + cost
		if next-now > limit {
			return false
		}
		if o.due.CompareAndSwap(due, next) {
			return true
		}
	}
}

// A ZoneOnline signs the answers of one zone with the keys of one version of it. It is a
// [zone.OnlineSigner].
type ZoneOnline struct {
	online                 *Online
	keys                   []*dnssec.Signer
	id                     [8]byte // stands for the keys
	valid, refresh, before time.Duration
	cost                   int64
}

// zone returns what signs answers with keys.
func (o *Online) zone(keys []*dnssec.Signer, p *StagePolicy) *ZoneOnline {
	z := &ZoneOnline{online: o, keys: keys, valid: p.Valid, refresh: p.Refresh, before: p.Before}
	h := sha256.New()
	for _, k := range keys {
		h.Write(k.Zone)
		h.Write(k.Key.Data)
		z.cost += o.cost
		if k.Key.Algorithm == dnssec.RSASHA256 || k.Key.Algorithm == dnssec.RSASHA512 {
			z.cost += (rsaCost - 1) * o.cost
		}
	}
	copy(z.id[:], h.Sum(nil))
	z.cost = min(z.cost, unverifiedBurst) // however dear, one at a time is made
	return z
}

// onlineKey is the room for the key of a set: of an NSEC record, its owner and its data.
const onlineKey = 8 + 2 + 4 + 3*wire.MaxName + 512

// SignNSEC implements [zone.OnlineSigner].
func (z *ZoneOnline) SignNSEC(dst, owner []byte, ttl uint32, rdata []byte, verified bool) ([]byte, bool) {
	var room [onlineKey]byte
	key := z.key(room[:0], owner, wire.TypeNSEC, ttl)
	key = append(key, rdata...)
	now := time.Now()
	if sigs := z.online.find(key, now.Unix()); sigs != nil {
		return append(dst, sigs...), true
	}
	if !z.online.admit(z.cost, verified) {
		return dst, false
	}
	set := &wire.RRset{Owner: append([]byte(nil), owner...), Type: wire.TypeNSEC, TTL: ttl, Data: [][]byte{append([]byte(nil), rdata...)}}
	return z.sign(dst, set, string(key), now)
}

// SignExpansion implements [zone.OnlineSigner]. The wildcard's own signature stands for its records.
func (z *ZoneOnline) SignExpansion(dst, owner []byte, in *zone.Zone, n zone.Node, t wire.Type, verified bool) ([]byte, bool) {
	set, ok := in.RRset(n, t)
	if !ok {
		return dst, false
	}
	var room [onlineKey]byte
	key := z.key(room[:0], owner, t, set.TTL())
	sum := sha256.Sum256(set.SigData())
	key = append(key, sum[:]...)
	now := time.Now()
	if sigs := z.online.find(key, now.Unix()); sigs != nil {
		return append(dst, sigs...), true
	}
	if !z.online.admit(z.cost, verified) {
		return dst, false
	}
	var u zone.Unpacked
	if !in.UnpackType(&u, n, t) {
		return dst, false
	}
	u.Owner = append([]byte(nil), owner...)
	return z.sign(dst, &u.RRset, string(key), now)
}

// key appends what tells a set from all others but its records.
func (z *ZoneOnline) key(dst, owner []byte, t wire.Type, ttl uint32) []byte {
	dst = append(dst, z.id[:]...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(t))
	return append(binary.BigEndian.AppendUint32(dst, ttl), owner...)
}

// sign signs a set with each key, and keeps the signatures.
func (z *ZoneOnline) sign(dst []byte, set *wire.RRset, key string, now time.Time) ([]byte, bool) {
	inception, expiration := uint32(now.Add(-z.before).Unix()), uint32(now.Add(z.valid).Unix())
	var made []byte
	for _, k := range z.keys {
		sig, err := k.Sign(set, inception, expiration)
		if err != nil {
			return dst, false // a key in hardware that is away
		}
		made = append(binary.BigEndian.AppendUint16(made, uint16(len(sig))), sig...)
	}
	until := now.Add(z.valid - z.refresh).Unix()
	z.online.keep(&onlineSignatures{key: key, sigs: made, until: until}, now.Unix())
	return append(dst, made...), true
}

// same reports whether another signs with the same keys, for as long.
func (z *ZoneOnline) same(other zone.OnlineSigner) bool {
	o, ok := other.(*ZoneOnline)
	return ok && z.online == o.online && z.id == o.id && z.valid == o.valid && z.refresh == o.refresh && z.before == o.before
}
