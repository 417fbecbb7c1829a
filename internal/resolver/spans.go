package resolver

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/wire"
)

// spans are validated NSEC and NSEC3 records by zone, in the order of their chain, so
// that one proof answers for every name that it covers (RFC 8198): a flood of random
// names under a signed zone ends here.
type spans struct {
	mu    sync.RWMutex
	zones map[string]*spanZone
	count int
}

// maxSpans is how many records are kept in all. A zone that is asked for random
// names has few that cover many.
const maxSpans = 20000

type spanZone struct {
	hashing *hashing // of NSEC3; nil: the records are NSEC
	list    []span   // by key
}

// A span is one record: from its owner to the next name, or hash, there is nothing.
type span struct {
	key     []byte // sort key of the owner below the zone, or its hash
	set     *wire.RRset
	expires time.Time
}

// spans returns those that were learned for the view that the task is for.
func (t *task) spans() *spans { return &t.r.spans[t.s.Partition] }

func (s *spans) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones, s.count = nil, 0
}

// drop forgets what is known of the zone of name and of zones below name.
func (s *spans) drop(name []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for zone, z := range s.zones {
		if wire.Subdomain([]byte(zone), name) || wire.Subdomain(name, []byte(zone)) {
			s.count -= len(z.list)
			delete(s.zones, zone)
		}
	}
}

// put keeps one record of a zone: of its present chain, if that is another now.
func (s *spans) put(w cache.Writer, zone, key []byte, h *hashing, set *wire.RRset) {
	entry := span{key, set.Clone(), time.Now().Add(time.Duration(set.TTL) * time.Second)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Revoked() {
		return
	}
	if s.zones == nil {
		s.zones = make(map[string]*spanZone)
	}
	if s.count >= maxSpans {
		for other, z := range s.zones { // whichever comes first: what is needed comes back
			s.count -= len(z.list)
			delete(s.zones, other)
			break
		}
	}
	z := s.zones[string(zone)]
	if z == nil || !z.hashing.equal(h) {
		if z != nil {
			s.count -= len(z.list)
		}
		z = &spanZone{hashing: h}
		s.zones[string(zone)] = z
	}
	i, found := slices.BinarySearchFunc(z.list, key, func(a span, k []byte) int { return bytes.Compare(a.key, k) })
	if found {
		z.list[i] = entry
		return
	}
	z.list = slices.Insert(z.list, i, entry)
	s.count++
}

// at returns the NSEC record of the zone that stands at or before name, if it is fresh.
func (s *spans) at(zone, name []byte, now time.Time) *wire.RRset {
	var room [wire.MaxName + 1]byte
	return s.find(zone, wire.AppendSortKey(room[:0], name, wire.LabelCount(zone)), nil, now)
}

// find returns the record of a zone's chain that stands at or before key, if it is
// fresh. Hashes go round: before the first is the last.
func (s *spans) find(zone, key []byte, h *hashing, now time.Time) *wire.RRset {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z := s.zones[string(zone)]
	if z == nil || !z.hashing.equal(h) {
		return nil
	}
	i, found := slices.BinarySearchFunc(z.list, key, func(a span, k []byte) int { return bytes.Compare(a.key, k) })
	if !found {
		i--
	}
	if i < 0 && h != nil {
		i = len(z.list) - 1
	}
	if i < 0 || z.list[i].expires.Before(now) {
		return nil
	}
	set := *z.list[i].set
	set.TTL = uint32(z.list[i].expires.Sub(now) / time.Second)
	return &set
}

// zone returns the closest zone at or above name of which records are kept, and how
// its names are hashed.
func (s *spans) zone(name []byte) (zone []byte, h *hashing) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.zones) == 0 {
		return nil, nil
	}
	for n := name; ; n = wire.Parent(n) {
		if z := s.zones[string(n)]; z != nil {
			return n, z.hashing
		}
		if len(n) == 1 {
			return nil, nil
		}
	}
}

// remember keeps the proofs of a secure denial for other names.
func (t *task) remember(l *link) {
	zone := l.denier
	if !t.s.Aggressive || l.partition.Route() != routeIteration || zone == nil {
		return
	}
	for _, s := range l.proof {
		switch {
		case s.Type == wire.TypeSOA:
			t.keepSet(l.partition, s, cache.Authority, secSecure)
		case s.Type == wire.TypeNSEC && usableSpan(s):
			t.spans().put(t.w, zone, wire.AppendSortKey(nil, s.Owner, wire.LabelCount(zone)), nil, s)
		case s.Type == wire.TypeNSEC3:
			if h, hash := hashingOf(s); h != nil {
				t.spans().put(t.w, zone, hash, h, s)
			}
		}
	}
}

// usableSpan reports whether a record denies names generously: one made for a single
// name (RFC 4470, RFC 9824) would fill the table for nothing.
func usableSpan(s *wire.RRset) bool {
	n, err := wire.CheckName(s.Data[0])
	if err != nil {
		return false
	}
	next := wire.Lower(nil, s.Data[0][:n])
	return !(len(next) > len(s.Owner) && wire.Subdomain(next, s.Owner) && next[0] == 1 && next[1] == 0)
}

// synthesize answers from records that were learned with other names, or returns nil.
// Names made from wildcards are not made here: they are asked for.
func (t *task) synthesize(partition cache.Partition, name []byte, typ wire.Type, now int64) *link {
	if partition.Route() != routeIteration {
		return nil
	}
	at := dnssec.ParentSide(name, typ)
	zone, h := t.spans().zone(at)
	if zone == nil || len(zone) < len(t.anchorOf(at)) || t.negativeTrust(name) {
		return nil
	}
	var l *link
	if h != nil {
		l = t.hashed(zone, h, name, typ)
	} else {
		l = t.spanned(zone, name, typ)
	}
	if l == nil {
		return nil
	}
	soa := t.cachedSet(partition, zone, wire.TypeSOA, now)
	if soa == nil || soa.kind != foundAnswer || soa.sec != secSecure {
		return nil
	}
	// RFC 9077, section 3: the proof lives no longer than the zone's negative answers.
	for _, s := range l.proof {
		s.TTL = min(s.TTL, minimum(soa.set))
	}
	l.proof = append([]*wire.RRset{soa.set}, l.proof...)
	t.r.counters.Synthetic.Add(1)
	return l
}

// spanned denies a name by NSEC records, or returns nil.
func (t *task) spanned(zone, name []byte, typ wire.Type) *link {
	clock := time.Now()
	cover := t.spans().at(zone, name, clock)
	if cover == nil {
		return nil
	}
	d := &dnssec.Denial{Zone: zone}
	d.AddNSEC(cover.Owner, cover.Data[0])
	l := &link{kind: foundNoData, proof: []*wire.RRset{cover}, sec: secSecure, reason: edeNone, zone: zone, making: making{synth: true}}
	if !bytes.Equal(cover.Owner, name) && !wire.Subdomain(nextName(cover), name) { // else it has no records, but names below it
		l.kind = foundNXDomain
		star := append([]byte{1, '*'}, encloser(name, cover)...)
		if second := t.spans().at(zone, star, clock); second != nil && !bytes.Equal(second.Owner, cover.Owner) {
			d.AddNSEC(second.Owner, second.Data[0])
			l.proof = append(l.proof, second)
		}
	}
	var why dnssec.Reason
	if l.kind == foundNXDomain {
		_, why = d.NXDomain(name, &t.b.work)
	} else {
		_, why = d.NoData(name, typ, &t.b.work)
	}
	if why != 0 {
		return nil
	}
	return l
}

// encloser returns the longest ancestor of name that an NSEC record covering it shows
// to exist: one that its owner or its next name is below.
func encloser(name []byte, nsec *wire.RRset) []byte {
	next := nextName(nsec)
	for a := wire.Parent(name); ; a = wire.Parent(a) {
		if len(a) == 1 || wire.Subdomain(nsec.Owner, a) || wire.Subdomain(next, a) {
			return a
		}
	}
}

// nextName returns the next name of an NSEC record in lower case, or the root's if there is
// none.
func nextName(nsec *wire.RRset) []byte {
	n, err := wire.CheckName(nsec.Data[0])
	if err != nil {
		return wire.Root
	}
	return wire.Lower(nil, nsec.Data[0][:n])
}
