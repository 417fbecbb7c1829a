package zone

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// The numbers of RFC 8976, section 5.
const (
	schemeSimple  = 1
	digestSHA384  = 1
	digestSHA512  = 2
	zonemdHeader  = 6 // serial, scheme, hash algorithm
	minDigest     = 12
	maxApexVerify = 32 // signatures that are verified for one zone (as for one client question)
)

// ErrDigest is wrapped by what CheckDigest returns.
var ErrDigest = errors.New("ZONEMD")

// CheckDigest checks the zone's ZONEMD records (RFC 8976, section 4). Without any, or
// with none of a scheme and a hash that are known, there is nothing to check and it
// returns nil. In a signed zone, the SOA and ZONEMD records have to be signed by the
// zone's own keys at the time now; whether these are the right keys is not looked at.
func (z *Zone) CheckDigest(now time.Time) error {
	apex := map[wire.Type]*wire.RRset{}
	z.eachAt(z.root, func(_ []byte, t wire.Type, ttl uint32, data []byte) bool {
		covers := t
		if t == wire.TypeRRSIG && len(data) > 2 {
			covers = wire.Type(binary.BigEndian.Uint16(data))
		}
		s := apex[covers]
		if s == nil {
			s = &wire.RRset{Owner: z.apex, Type: covers, TTL: ttl}
			apex[covers] = s
		}
		if t == wire.TypeRRSIG {
			s.Sigs = append(s.Sigs, bytes.Clone(data))
		} else {
			s.Data, s.TTL = append(s.Data, bytes.Clone(data)), ttl
		}
		return true
	})
	digests := apex[wire.TypeZONEMD]
	if digests == nil || len(digests.Data) == 0 {
		// A signed zone whose denial says that there is one had it taken out (RFC 8976,
		// section 4).
		if s := apex[wire.TypeNSEC]; s != nil && len(s.Data) > 0 {
			if n, err := wire.CheckName(s.Data[0]); err == nil && wire.BitmapHas(s.Data[0][n:], wire.TypeZONEMD) {
				return fmt.Errorf("%w: the apex NSEC record lists it, but the zone has none: it was removed", ErrDigest)
			}
		}
		return nil
	}
	if keys := apex[wire.TypeDNSKEY]; keys != nil && len(keys.Data) > 0 && z.Signed() {
		if err := z.checkApex(apex, now); err != nil {
			return err
		}
	}
	var why error
	seen := map[[2]byte]int{}
	for _, d := range digests.Data {
		seen[[2]byte{d[4], d[5]}]++
	}
	for _, d := range digests.Data {
		switch {
		case binary.BigEndian.Uint32(d) != z.serial:
			why = fmt.Errorf("%w: its serial is %d, the zone's %d", ErrDigest, binary.BigEndian.Uint32(d), z.serial)
			continue
		case d[4] != schemeSimple || d[5] != digestSHA384 && d[5] != digestSHA512 || len(d) < zonemdHeader+minDigest:
			continue
		case seen[[2]byte{d[4], d[5]}] > 1:
			why = fmt.Errorf("%w: there are two records with one scheme and hash", ErrDigest) // RFC 8976, section 2.2
			continue
		}
		h := hash.Hash(sha512.New384())
		if d[5] == digestSHA512 {
			h = sha512.New()
		}
		z.digest(h)
		if bytes.Equal(h.Sum(nil), d[zonemdHeader:]) {
			return nil
		}
		why = fmt.Errorf("%w: the zone does not match its digest: it was changed in transit, or the digest is wrong", ErrDigest)
	}
	return why
}

// checkApex checks the signatures of the SOA, ZONEMD and DNSKEY records.
func (z *Zone) checkApex(apex map[wire.Type]*wire.RRset, now time.Time) error {
	var keys []dnssec.Key
	for _, d := range apex[wire.TypeDNSKEY].Data {
		if k, ok := dnssec.ParseKey(d); ok && !k.Revoked() {
			keys = append(keys, k)
		}
	}
	work := &dnssec.Work{Signatures: maxApexVerify, Failures: maxApexVerify}
	for _, t := range []wire.Type{wire.TypeDNSKEY, wire.TypeSOA, wire.TypeZONEMD} {
		if _, why := dnssec.Verify(apex[t], z.apex, keys, now, work); why != 0 {
			return fmt.Errorf("%w: the signature of %s is not good: %s", ErrDigest, t, why)
		}
	}
	return nil
}

// digest writes the zone to h in canonical form and order, without what the digest
// itself needs (RFC 8976, section 3.3).
func (z *Zone) digest(h hash.Hash) {
	var u Unpacked
	var c CanonicalName
	var room, name []byte
	nodes := z.Nodes()
	for i, n := range nodes {
		for k := range z.sets(n) {
			z.Unpack(&u, n, k)
			c.Add(&u.RRset, len(u.Owner) == len(z.apex))
		}
		name = wire.Lower(name[:0], z.AppendName(name[:0], n))
		if i+1 < len(nodes) && bytes.Equal(z.relName(n), z.relName(nodes[i+1])) {
			continue // a name that is an owner of NSEC3 as well
		}
		room = c.Append(room[:0], name)
		h.Write(room)
	}
}

// A CanonicalName collects the records of one name, and writes them as the digest of a zone
// is over them (RFC 8976, section 3.3). The zero value is ready.
type CanonicalName struct {
	data    []byte
	records []canonicalRecord
}

type canonicalRecord struct {
	t        wire.Type
	ttl      uint32
	from, to int
}

// Add takes the records of a set and its signatures. At the apex, ZONEMD records and their
// signatures are left out.
func (c *CanonicalName) Add(set *wire.RRset, apex bool) {
	if apex && set.Type == wire.TypeZONEMD {
		return
	}
	for _, d := range set.Data {
		c.add(set.Type, set.TTL, d)
	}
	for _, d := range set.Sigs {
		c.add(wire.TypeRRSIG, set.TTL, d)
	}
}

func (c *CanonicalName) add(t wire.Type, ttl uint32, data []byte) {
	from := len(c.data)
	c.data = wire.AppendCanonical(c.data, t, data)
	c.records = append(c.records, canonicalRecord{t, ttl, from, len(c.data)})
}

// Append appends the records, whose owner's name is in lower case, and forgets them.
func (c *CanonicalName) Append(dst, owner []byte) []byte {
	of := func(r canonicalRecord) []byte { return c.data[r.from:r.to] }
	slices.SortFunc(c.records, func(a, b canonicalRecord) int {
		if a.t != b.t {
			return int(a.t) - int(b.t)
		}
		return bytes.Compare(of(a), of(b))
	})
	for i, r := range c.records {
		if i == 0 || r.t != c.records[i-1].t || !bytes.Equal(of(r), of(c.records[i-1])) {
			dst = AppendRecord(dst, owner, r.t, r.ttl, of(r))
		}
	}
	c.data, c.records = c.data[:0], c.records[:0]
	return dst
}
