package resolver

import (
	"encoding/binary"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/wire"
)

// cached returns what the cache knows of name and typ, or nil. Under validation it
// is validated now if it was not before. What is bogus is forgotten, and not returned:
// another server may have better (RFC 4035, sections 4.7 and 5.5).
func (t *task) cached(partition cache.Partition, name []byte, typ wire.Type) *link {
	now := t.unix()
	l := t.cachedSet(partition, name, typ, now)
	if l == nil && typ != wire.TypeCNAME && typ != wire.TypeDS && typ != wire.TypeANY {
		if l = t.cachedSet(partition, name, wire.TypeCNAME, now); l != nil && l.kind == foundAnswer {
			l.kind, l.target = foundAlias, wire.Lower(nil, l.set.Data[0])
		} else {
			l = nil
		}
	}
	if l == nil {
		l = t.cachedAbove(partition, name, typ, now)
	}
	if l == nil {
		return nil
	}
	if t.validate && t.s.Validate && l.sec == secUnchecked {
		if t.expired {
			return nil // to validate it, somebody would have to be asked
		}
		l.zone = t.cutAbove(name, typ).zone
		t.check(l, name, typ)
		switch {
		case l.reason == edePassing:
		case l.sec == secBogus:
			t.forget(l, name, typ)
			return nil
		default:
			t.keep(l, name, typ)
		}
	}
	return l
}

// forget takes a link, which is what was found for name and typ, out of the cache. What
// was validated since stays.
func (t *task) forget(l *link, name []byte, typ wire.Type) {
	switch s := l.set; l.kind {
	case foundAnswer, foundAlias, foundTooLong:
		if l.dname != nil {
			s = l.dname
		}
		t.w.PutRRset(l.partition, &wire.RRset{Owner: s.Owner, Type: s.Type}, cache.AuthAnswer, l.sec, t.unix())
	case foundNoData:
		t.w.PutNoData(l.partition, name, typ, nil, l.sec, 0, t.unix())
	case foundNXDomain:
		t.w.PutDenial(l.partition, name, nil, l.sec, 0, t.unix())
	}
}

// cachedSet returns the entry of exactly this name and type, or nil.
func (t *task) cachedSet(partition cache.Partition, name []byte, typ wire.Type, now int64) *link {
	e := &t.entry
	if typ == wire.TypeANY || !t.r.cache.RRset(partition, name, typ, now, e) || e.Stale && !t.expired {
		return nil
	}
	t.old = t.old || e.Stale
	if e.Negative {
		return negativeLink(foundNoData, e, partition)
	}
	return &link{kind: foundAnswer, set: e.RRset.Clone(), sec: e.Security, reason: edeNone, partition: partition}
}

// cachedDenial returns the entry that says that name does not exist, or nil.
func (t *task) cachedDenial(partition cache.Partition, name []byte, now int64) *link {
	e := &t.entry
	if !t.r.cache.Denial(partition, name, now, e) || e.Stale && !t.expired {
		return nil
	}
	t.old = t.old || e.Stale
	return negativeLink(foundNXDomain, e, partition)
}

// negativeLink makes a link of a negative entry, or nil of one that cannot be read.
func negativeLink(kind int, e *cache.Entry, partition cache.Partition) *link {
	proof, ok := decodeSets(e.Proof, e.TTL)
	if !ok {
		return nil
	}
	return &link{kind: kind, proof: proof, sec: e.Security, reason: edeNone, partition: partition}
}

// cachedAbove answers from what is known of names above: a DNAME (RFC 6672), a name
// that is proven not to exist (RFC 8020), or proofs that cover this one (RFC 8198).
func (t *task) cachedAbove(partition cache.Partition, name []byte, typ wire.Type, now int64) *link {
	if len(name) == 1 {
		return nil
	}
	var anchor []byte // what is known of zones above it does not count below it
	if t.validate && t.s.Validate {
		anchor = t.anchorOf(dnssec.ParentSide(name, typ))
	}
	for n := name; len(n) > 1 && len(n) >= len(anchor); {
		if len(n) < len(name) {
			if l := t.cachedSet(partition, n, wire.TypeDNAME, now); l != nil && l.kind == foundAnswer {
				made, ok := substitute(name, l.set)
				if !ok {
					l.kind = foundTooLong
					return l
				}
				return &link{
					kind: foundAlias, set: made, dname: l.set, target: made.Data[0], sec: l.sec, reason: edeNone, partition: partition,
				}
			}
		}
		// Above the name only secure data: without proof a server may deny what lies below it.
		if l := t.cachedDenial(partition, n, now); l != nil && (len(n) == len(name) || l.sec == secSecure) {
			return l
		}
		n = wire.Parent(n)
	}
	if t.validate && t.s.Aggressive && !t.expired {
		return t.synthesize(partition, name, typ, now)
	}
	return nil
}

// keep puts a link into the cache. What is bogus is not kept: the failure is.
func (t *task) keep(l *link, name []byte, typ wire.Type) {
	if l.sec == secBogus || l.synth || typ == wire.TypeANY || typ == wire.TypeRRSIG {
		return
	}
	switch l.kind {
	case foundAnswer:
		if l.wild {
			return // without its proof, which is elsewhere, a copy would be worth nothing
		}
		if l.set.Type == wire.TypeDNAME && l.sec != secSecure {
			return // a wildcard may have made it, and it would rename nothing below this name (RFC 4592, section 4.4)
		}
		t.keepSet(l.partition, l.set, cache.AuthAnswer, l.sec)
	case foundTooLong:
		t.keepSet(l.partition, l.set, cache.AuthAnswer, l.sec)
	case foundAlias:
		switch {
		case l.dname != nil:
			t.keepSet(l.partition, l.dname, cache.AuthAnswer, l.sec)
		case !l.wild:
			t.keepSet(l.partition, l.set, cache.AuthAnswer, l.sec)
		}
	case foundNoData, foundNXDomain:
		// Without SOA a negative answer has no time to live (RFC 2308, section 5).
		ttl := uint32(0)
		for _, s := range l.proof {
			if s.Type == wire.TypeSOA {
				ttl = min(smallest(l.proof), minimum(s))
			}
		}
		if ttl == 0 {
			return
		}
		t.keepNegative(l, name, typ, ttl)
	}
	if l.sec == secSecure {
		t.remember(l)
	}
}

// minimum returns the last field of a SOA record: the time to live of what the zone
// does not have (RFC 2308, section 4).
func minimum(soa *wire.RRset) uint32 {
	d := soa.Data[0]
	if len(d) < 22 {
		return 0
	}
	return min(binary.BigEndian.Uint32(d[len(d)-4:]), soa.TTL)
}

func (t *task) keepSet(partition cache.Partition, s *wire.RRset, rank cache.Rank, sec cache.Security) {
	t.w.PutRRset(partition, s, rank, sec, t.unix())
}

// keepNegative keeps that name has no records of typ, or that it does not exist, with
// the proof.
func (t *task) keepNegative(l *link, name []byte, typ wire.Type, ttl uint32) {
	proof := encodeSets(l.proof)
	if l.kind == foundNXDomain {
		t.w.PutDenial(l.partition, name, proof, l.sec, ttl, t.unix())
		return
	}
	t.w.PutNoData(l.partition, name, typ, proof, l.sec, ttl, t.unix())
}

// encodeSets makes one string of octets of RRsets: for each, its owner, type, TTL,
// and the counted records and signatures.
func encodeSets(sets []*wire.RRset) []byte {
	var b []byte
	for _, s := range sets {
		b = append(b, s.Owner...)
		b = binary.BigEndian.AppendUint16(b, uint16(s.Type))
		b = binary.BigEndian.AppendUint32(b, s.TTL)
		b = append(b, byte(len(s.Data)), byte(len(s.Sigs)))
		for _, list := range [...][][]byte{s.Data, s.Sigs} {
			for _, d := range list {
				b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
				b = append(b, d...)
			}
		}
	}
	return b
}

// decodeSets reads what encodeSets wrote, from a copy of b. TTLs are at most ttl,
// which is what the whole has left.
func decodeSets(b []byte, ttl uint32) (sets []*wire.RRset, ok bool) {
	b = append([]byte(nil), b...)
	for len(b) > 0 {
		n, err := wire.CheckName(b)
		if err != nil || len(b) < n+8 {
			return nil, false
		}
		s := &wire.RRset{Owner: b[:n:n], Type: wire.Type(binary.BigEndian.Uint16(b[n:])), TTL: min(binary.BigEndian.Uint32(b[n+2:]), ttl)}
		records, sigs := int(b[n+6]), int(b[n+7])
		b = b[n+8:]
		for i := range records + sigs {
			if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
				return nil, false
			}
			d := b[2 : 2+int(binary.BigEndian.Uint16(b))]
			b = b[2+len(d):]
			if i < records {
				s.Data = append(s.Data, d)
			} else {
				s.Sigs = append(s.Sigs, d)
			}
		}
		sets = append(sets, s)
	}
	return sets, true
}
