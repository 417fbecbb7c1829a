package policy

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"port53/internal/hugepage"
)

// A Class is a kind of response. Each has limits of its own.
type Class uint8

// The classes, and the key that tells responses of one class apart.
const (
	Positive Class = iota // an answer: the name that it is made from, a wildcard's being one name
	NoData                // the name is there, the type is not: the name
	NXDomain              // the zone: there is no end of names that do not exist
	Referral              // the zone, as NXDomain
	Error                 // REFUSED, FORMERR, NOTIMP, SERVFAIL and so on: no key, one limit for each client network

	classCount
)

// ClassCount is the number of classes.
const ClassCount = int(classCount)

// String returns the class in lower case.
func (c Class) String() string {
	names := [...]string{"positive", "nodata", "nxdomain", "referral", "error"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// A Verdict is what is to become of a response.
type Verdict uint8

// The verdicts. The last two only come from a limiter that is set to log: the
// response is sent, and what would have become of it can be counted.
const (
	Send      Verdict = iota
	Slip              // send it empty, with TC set: a client that is not forged will ask over TCP
	Drop              // send nothing
	WouldSlip         // send
	WouldDrop         // send

	verdictCount
)

// VerdictCount is the number of verdicts.
const VerdictCount = int(verdictCount)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	names := [...]string{"send", "slip", "drop", "would_slip", "would_drop"}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// NeverSlip as the slip of [RateOptions] drops every response beyond the limits.
const NeverSlip = -1

// RateOptions configure a [RateLimiter]. Every zero value means its default.
type RateOptions struct {
	PerSecond int // responses a second to one client network, of one class and key; 0: 20
	Burst     int // of those at once, before PerSecond holds; 0: 100

	Ceiling      int // responses a second to one client network in all; 0: 1000
	CeilingBurst int // of those at once; 0: 2000

	// Slip sends one in so many limited responses as TC=1, the first included, and
	// drops the others: 1 sends each, NeverSlip none. 0: 2
	Slip int

	IPv4Prefix int // bits of an IPv4 address that are a client network; 0: 24
	IPv6Prefix int // bits of an IPv6 address that are a client network; 0: 56

	Memory  int            // octets of the table, which never grows; rounded down to a multiple of 64. 0: 8 MiB
	LogOnly bool           // limit nothing: verdicts are Send, WouldSlip and WouldDrop
	Exempt  []netip.Prefix // networks that are not limited
}

// The defaults, and the bounds of what may be set.
const (
	// 20 responses a second are more than a resolver with a cache asks for one name,
	// and 50,000 forged queries a second of 60 octets then give less than a hundredth
	// of their octets back. The burst is for networks with many resolvers behind one
	// prefix, that all start at once.
	defaultPerSecond = 20
	defaultBurst     = 100

	// The ceiling is above what one resolver asks one server, and low enough that the
	// largest UDP answers, 1,000 of 1,232 octets, are half of what 50,000 queries a
	// second bring.
	defaultCeiling      = 1000
	defaultCeilingBurst = 2000

	defaultSlip = 2       // as in the first design of response rate limiting (Vixie and Schryver, 2012)
	maxSlip     = 100     // slipCount has seven bits
	defaultIPv4 = 24      // the smallest network that is routed by itself
	defaultIPv6 = 56      // what a site has (RFC 6177, section 2)
	defaultSize = 8 << 20 // a million buckets
	minSize     = 4 << 10
	maxRate     = 100_000_000 // a nanosecond clock still tells responses apart
	maxBurst    = 1 << 30     // buckets are compared in serial arithmetic of 32 bits
	maxSize     = math.MaxInt / 2
)

// A RateLimiter limits responses over UDP to clients that may be forged (response
// rate limiting), so that the server is no amplifier. Responses over TCP and to
// clients with a valid cookie are not to be asked about: their addresses are real.
//
// There are two limits, and a response is sent if both have room. The first is for
// each client network, class and key. It leaves a forged network's other questions
// alone, but does not bound it: an attacker can go round among any number of names.
// So the second, much wider, is for all that a client network gets.
//
// Each limit is a token bucket. All of them live in one table of fixed size: sets of
// eight words, one cache line each, chosen by a secret hash of client network, class
// and key, so that nobody can aim at another's buckets. A bucket that has been full
// again for a moment says nothing and is free to be taken; if none in a set is free,
// the one with the fewest tokens out is, and that number is how many responses too
// many can be sent at most. Whoever is new starts with a full bucket, however full
// the table is. Only one whose tag equals another's in its set shares that one's
// bucket: the chance is at most 7 in 2^24, less than one network in two million.
type RateLimiter struct {
	table   []rateSet
	rates   [2]rate // by tier
	slip    uint64  // 0: never
	logOnly bool
	exempt  *ACL // allows whom is exempt, or nil
	mask4   uint32
	mask6   addr128
	seed    [6]uint64
}

// A rateSet is one cache line.
type rateSet [8]atomic.Uint64

// A word of a rateSet is one bucket:
//
//	tag 24 | tier 1 | slipCount 7 | full 32
//
// full is when the bucket will be full again, in tokens that have flowed in since
// the clock's start, modulo 2^32. A word of 0 is free; tags are not 0.
const (
	tierShift = 39
	slipShift = 32
	slipMask  = 0x7F
)

// The tiers: a bucket for each key, and one for each client network.
const (
	tierKey = iota
	tierNetwork
)

// A rate is how a bucket of a tier fills.
type rate struct {
	perNano uint64 // tokens in a nanosecond, times 2^64
	burst   uint32
}

// maxTries bounds how often a change of a word is tried again because another
// goroutine changed it. Each try lost is another's gain; eight in a row only happen
// in a flood, of which one response more is then dropped.
const maxTries = 8

// NewRateLimiter returns a limiter with an empty table and a new secret. It is an
// error if an option is outside its bounds.
func NewRateLimiter(o RateOptions) (*RateLimiter, error) {
	for _, f := range []struct {
		name            string
		value           *int
		preset, low, up int
	}{
		{"PerSecond", &o.PerSecond, defaultPerSecond, 1, maxRate},
		{"Burst", &o.Burst, defaultBurst, 1, maxBurst},
		{"Ceiling", &o.Ceiling, defaultCeiling, 1, maxRate},
		{"CeilingBurst", &o.CeilingBurst, defaultCeilingBurst, 1, maxBurst},
		{"Slip", &o.Slip, defaultSlip, NeverSlip, maxSlip},
		{"IPv4Prefix", &o.IPv4Prefix, defaultIPv4, 1, 32},
		{"IPv6Prefix", &o.IPv6Prefix, defaultIPv6, 1, 128},
		{"Memory", &o.Memory, defaultSize, minSize, maxSize},
	} {
		if *f.value == 0 {
			*f.value = f.preset
		}
		if *f.value < f.low || *f.value > f.up {
			return nil, fmt.Errorf("rate limit: %s is %d, wanted %d to %d", f.name, *f.value, f.low, f.up)
		}
	}
	l := &RateLimiter{
		table:   make([]rateSet, o.Memory/64),
		slip:    uint64(max(o.Slip, 0)),
		logOnly: o.LogOnly,
		mask4:   ^uint32(0) << (32 - o.IPv4Prefix),
		mask6:   addr128{^uint64(0), ^uint64(0)},
	}
	hugepage.Advise(l.table)
	if o.IPv6Prefix <= 64 {
		l.mask6 = addr128{hi: ^uint64(0) << (64 - o.IPv6Prefix)}
	} else {
		l.mask6.lo <<= 128 - o.IPv6Prefix
	}
	l.rates[tierKey] = newRate(o.PerSecond, o.Burst)
	l.rates[tierNetwork] = newRate(o.Ceiling, o.CeilingBurst)
	if len(o.Exempt) > 0 {
		var err error
		if l.exempt, err = NewACL(ACLOptions{Allow: o.Exempt}); err != nil {
			return nil, fmt.Errorf("rate limit: exempt: %w", err)
		}
	}
	var random [8 * len(l.seed)]byte
	rand.Read(random[:]) // never fails
	for i := range l.seed {
		l.seed[i] = binary.LittleEndian.Uint64(random[8*i:]) | 1 // odd: a factor of 0 would erase the other
	}
	return l, nil
}

func newRate(perSecond, burst int) rate {
	perNano, _ := bits.Div64(uint64(perSecond), 0, 1e9)
	return rate{perNano: perNano + 1, burst: uint32(burst)} // rounded up: a token comes in time
}

// tokens returns how many tokens flowed in until now, modulo 2^32.
func (r *rate) tokens(now int64) uint32 {
	n, _ := bits.Mul64(uint64(now), r.perNano)
	return uint32(n)
}

// out returns the tokens that are missing from the bucket of a word. A number that
// no bucket can have is of one that was left alone until the numbers came round.
func (r *rate) out(word uint64, tokens uint32) uint32 {
	n := uint32(word) - tokens
	if n > r.burst {
		return 0
	}
	return n
}

// Check tells what is to become of a response of the given class and key to client,
// and takes it off the client's limits. now is in nanoseconds since some fixed point
// that is not later than any call; the clocks of callers may differ a little. key is
// what the class says; for Error it is ignored, and the verdict is never Slip, since
// an error is no larger than a truncated reply and tells no one to come back.
func (l *RateLimiter) Check(now int64, client netip.Addr, class Class, key uint64) Verdict {
	if l.exempt != nil && l.exempt.Allows(client) {
		return Send
	}
	v := l.check(now, client, class, key)
	if v != Send && l.logOnly {
		v += WouldSlip - Slip
	}
	return v
}

func (l *RateLimiter) check(now int64, client netip.Addr, class Class, key uint64) Verdict {
	h := l.clientHash(client)
	keyHash, networkHash := l.keyHash(h, class, key), fold(h^l.seed[2], l.seed[3])

	// A network that is at its ceiling gets nothing, and its names take no room.
	set, id := l.find(networkHash, tierNetwork)
	r := &l.rates[tierNetwork]
	tokens := r.tokens(now)
	at, word := set.lookup(id)
	if at != nil && r.out(word, tokens) >= r.burst {
		return l.limited(at, word, class)
	}
	// Its key's bucket first: one name that is asked for too often is to cost the
	// network nothing else.
	keySet, keyID := l.find(keyHash, tierKey)
	if v := l.take(keySet, keyID, now, class, tierKey); v != Send {
		return v
	}
	if at != nil && at.CompareAndSwap(word, refill(word, tokens+r.out(word, tokens)+1)) {
		return Send
	}
	return l.take(set, id, now, class, tierNetwork)
}

// Prefetch has the processor load what Check will read for a response of this class and key, while the
// caller makes the response: of many names, few buckets are in the processor's caches.
func (l *RateLimiter) Prefetch(client netip.Addr, class Class, key uint64) {
	set, _ := l.find(l.keyHash(l.clientHash(client), class, key), tierKey)
	prefetch(set)
}

// clientHash returns the hash of a client's network.
func (l *RateLimiter) clientHash(client netip.Addr) uint64 {
	n := l.network(client)
	return fold(n.hi^l.seed[0], n.lo^l.seed[1])
}

// keyHash returns the hash of a class and key of the client network whose hash is h.
func (l *RateLimiter) keyHash(h uint64, class Class, key uint64) uint64 {
	if class == Error {
		key = 0
	}
	return fold(h^key^l.seed[4], l.seed[5]+uint64(class)<<1)
}

// Network returns the client network that a client is of: all of it shares the limits.
func (l *RateLimiter) Network(client netip.Addr) netip.Prefix {
	client = client.Unmap()
	bits4, bits6 := bits.OnesCount32(l.mask4), bits.OnesCount64(l.mask6.hi)+bits.OnesCount64(l.mask6.lo)
	if client.Is4() {
		return netip.PrefixFrom(client, bits4).Masked()
	}
	return netip.PrefixFrom(client.WithZone(""), bits6).Masked()
}

// network returns the part of an address that is limited as one. IPv4 addresses are
// as if mapped into IPv6 (RFC 4291, section 2.5.5.2).
func (l *RateLimiter) network(a netip.Addr) addr128 {
	const mapped = 0xFFFF << 32
	if a.Is4() {
		b := a.As4()
		return addr128{0, mapped | uint64(binary.BigEndian.Uint32(b[:])&l.mask4)}
	}
	n := number(a)
	if n.hi == 0 && n.lo>>32 == 0xFFFF {
		return addr128{0, mapped | n.lo&uint64(l.mask4)}
	}
	return addr128{n.hi & l.mask6.hi, n.lo & l.mask6.lo}
}

// fold multiplies to 128 bits and folds them.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// find returns the set of a hash, by its high bits, and the tag and tier that a word
// of it has, by the low ones.
func (l *RateLimiter) find(h uint64, tier uint64) (set *rateSet, id uint64) {
	i, _ := bits.Mul64(h, uint64(len(l.table)))
	tag := h & 0xFFFFFF
	if tag == 0 {
		tag = 1
	}
	return &l.table[i], tag<<1 | tier
}

// lookup returns the word of id and what it held, or nil.
func (s *rateSet) lookup(id uint64) (at *atomic.Uint64, word uint64) {
	for i := range s {
		if word = s[i].Load(); word>>tierShift == id {
			return &s[i], word
		}
	}
	return nil, 0
}

func refill(word uint64, full uint32) uint64 { return word&^0xFFFFFFFF | uint64(full) }

// take takes a token from a bucket, which it makes if there is none.
func (l *RateLimiter) take(set *rateSet, id uint64, now int64, class Class, tier int) Verdict {
	r := &l.rates[tier]
	tokens := r.tokens(now)
	for range maxTries {
		at, word := set.lookup(id)
		next := id<<tierShift | uint64(tokens+1)
		if at != nil {
			out := r.out(word, tokens)
			if out >= r.burst {
				return l.limited(at, word, class)
			}
			next = refill(word, tokens+out+1)
		} else {
			at, word = l.leastUsed(set, now)
		}
		if at.CompareAndSwap(word, next) {
			return Send
		}
	}
	return Drop
}

// leastUsed returns the word of set that is free, or has the fewest tokens out.
func (l *RateLimiter) leastUsed(set *rateSet, now int64) (at *atomic.Uint64, word uint64) {
	tokens := [2]uint32{l.rates[tierKey].tokens(now), l.rates[tierNetwork].tokens(now)}
	least := ^uint32(0)
	for i := range set {
		w := set[i].Load()
		if w == 0 {
			return &set[i], 0
		}
		tier := w >> tierShift & 1
		if out := l.rates[tier].out(w, tokens[tier]); out < least {
			at, word, least = &set[i], w, out
		}
	}
	return at, word
}

// limited returns the verdict on a response whose bucket is empty.
func (l *RateLimiter) limited(at *atomic.Uint64, word uint64, class Class) Verdict {
	switch {
	case class == Error || l.slip == 0:
		return Drop
	case l.slip == 1:
		return Slip
	}
	count := word >> slipShift & slipMask
	next := count + 1
	if next >= l.slip {
		next = 0
	}
	if at.CompareAndSwap(word, word&^(slipMask<<slipShift)|next<<slipShift) && count == 0 {
		return Slip
	}
	return Drop
}
