package dnssec

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"port53/internal/wire"
)

const (
	// maxFailed is how many verifications of one set may fail before it is bogus
	// (KeyTrap, CVE-2023-50387). That bounds its signatures that are tried, and the keys
	// that are tried for each, as well. BIND has 1, PowerDNS Recursor 2 keys and 2
	// signatures, Unbound 8 signatures.
	maxFailed = 3
	// maxPooled is the largest buffer, in octets, that is kept for the next set.
	maxPooled = 1 << 16
	// clockSkew is how far in the future a signature may begin (PowerDNS Recursor: 60 s).
	clockSkew = 60
)

// sigHead is the octets of an RRSIG's RDATA before the signer's name (RFC 4034,
// section 3.1).
const sigHead = 18

// An rrsig is the RDATA of an RRSIG record, split.
type rrsig struct {
	data                  []byte
	covered               wire.Type
	algorithm, labels     uint8
	ttl                   uint32
	expiration, inception uint32
	tag                   uint16
	signer, signature     []byte
}

func parseSig(b []byte) (s rrsig, ok bool) {
	if len(b) <= sigHead {
		return s, false
	}
	n, err := wire.CheckName(b[sigHead:])
	if err != nil || sigHead+n == len(b) {
		return s, false
	}
	return rrsig{
		data: b, covered: wire.Type(binary.BigEndian.Uint16(b)), algorithm: b[2], labels: b[3],
		ttl: binary.BigEndian.Uint32(b[4:]), expiration: binary.BigEndian.Uint32(b[8:]), inception: binary.BigEndian.Uint32(b[12:]),
		tag: binary.BigEndian.Uint16(b[16:]), signer: b[sigHead : sigHead+n], signature: b[sigHead+n:],
	}, true
}

// cut returns how many labels of an owner a wildcard stood for: the owner's own * is one
// of them (RFC 4035, section 5.3.2). It is 0 if the owner itself was signed.
func (s *rrsig) cut(owner []byte) int {
	if all := wire.LabelCount(owner); int(s.labels) < all-leadingStar(owner) {
		return all - int(s.labels)
	}
	return 0
}

// FromWildcard reports whether a set's signatures say, true or not, that it was made from a
// wildcard (RFC 4035, section 5.3.4): it needs a proof then that nothing closer exists.
func FromWildcard(s *wire.RRset) bool {
	return slices.ContainsFunc(s.Sigs, func(data []byte) bool {
		sig, ok := parseSig(data)
		return ok && sig.cut(s.Owner) > 0
	})
}

// Verified is what a good signature says.
type Verified struct {
	TTL       uint32 // seconds that the set may be kept (RFC 4035, section 5.3.3)
	Inception uint32 // seconds since 1970
	Expires   uint32 // the same
	Labels    int    // of the name that was signed, the root's and a leading * not counted
	Wildcard  bool   // the set was made from a wildcard: only with a proof is it good
}

// Verify checks that one of set's signatures was made by one of keys, the keys of zone,
// and is valid at now (RFC 4035, section 5.3). It neither sorts nor keeps set, whose
// names and data are good. Of keys, only those that may sign zones count; to leave out
// revoked ones is the caller's, because a key revokes itself by its own signature
// (RFC 5011, section 2.1).
//
// What it costs is charged to w: at most three verifications, until one is good.
// Signatures of algorithms and keys that are not there cost nothing (RFC 6840, section
// 5.12). The reason is that of the signature that came closest. WorkLimit
// means that w ended before that: it says nothing of the set, and must not be remembered
// as if it did, or a question that one zone made dear would harm the next zone that it
// leads to.
func Verify(set *wire.RRset, zone []byte, keys []Key, now time.Time, w *Work) (Verified, Reason) {
	if len(set.Sigs) == 0 {
		return Verified{}, NoSignature
	}
	closest := Reason(0)
	worse := func(r Reason) {
		if rank(r) > rank(closest) {
			closest = r
		}
	}
	clock := uint32(now.Unix())
	owner := wire.LabelCount(set.Owner) - leadingStar(set.Owner)
	inZone := wire.Subdomain(set.Owner, zone)
	if set.Type == wire.TypeDS && len(set.Owner) == len(zone) {
		inZone = false // no zone vouches for itself (RFC 4035, section 2.4)
	}
	failed := 0
	for _, data := range set.Sigs {
		sig, ok := parseSig(data)
		if !ok || sig.covered != set.Type {
			worse(BadSignature)
			continue
		}
		// The signer is the zone, which holds the owner; the labels are no more than the
		// owner's, and no fewer than the zone's (CVE-2026-11721, CVE-2026-44690).
		if !inZone || !wire.EqualFold(sig.signer, zone) ||
			int(sig.labels) > owner || int(sig.labels) < wire.LabelCount(zone) {
			worse(WrongSigner)
			continue
		}
		if !SupportedAlgorithm(sig.algorithm) {
			worse(UnsupportedAlgorithm)
			continue
		}
		// Serial number arithmetic (RFC 4034, section 3.1.5).
		if int32(sig.expiration-sig.inception) < 0 {
			worse(ExpiredBeforeValid)
			continue
		}
		if int32(sig.expiration-clock) < 0 {
			worse(Expired)
			continue
		}
		if int32(clock+clockSkew-sig.inception) < 0 {
			worse(NotYetValid)
			continue
		}
		cut := sig.cut(set.Owner)
		why := sig.verify(set, keys, cut, &failed, w)
		if why == 0 {
			return Verified{
				TTL:       min(set.TTL, sig.ttl, sig.expiration-clock),
				Inception: sig.inception, Expires: sig.expiration, Labels: int(sig.labels), Wildcard: cut > 0,
			}, 0
		}
		worse(why)
		if why == WorkLimit || failed >= maxFailed {
			break
		}
	}
	return Verified{}, closest
}

// leadingStar returns 1 if name begins with the label *, which signatures do not count
// (RFC 4034, section 3.1.3), and else 0.
func leadingStar(name []byte) int {
	if name[0] == 1 && name[1] == '*' {
		return 1
	}
	return 0
}

// rank orders reasons by how close they come to a good signature.
func rank(r Reason) int {
	switch r {
	case 0:
		return 0
	case UnsupportedAlgorithm:
		return 1
	case WrongSigner:
		return 2
	case NoKey, NoZoneKey:
		return 3
	case NotYetValid:
		return 4
	case Expired, ExpiredBeforeValid:
		return 5
	case BadSignature:
		return 6
	}
	return 7
}

// verify tries the keys that the signature may be by, and counts in failed those that
// it is not by. cut is how many labels of the owner a wildcard stood for.
func (s *rrsig) verify(set *wire.RRset, keys []Key, cut int, failed *int, w *Work) Reason {
	var buf *buffer
	defer func() { buf.put() }()
	why := NoKey
	for i := range keys {
		k := &keys[i]
		if k.Tag != s.tag || k.Algorithm != s.algorithm {
			continue
		}
		if !k.Zone() {
			if why == NoKey {
				why = NoZoneKey
			}
			continue
		}
		if k.public == nil {
			why = BadSignature
			continue
		}
		if *failed >= maxFailed {
			break
		}
		if w.Signatures <= 0 || w.Failures <= 0 {
			return WorkLimit
		}
		if buf == nil {
			buf = getBuffer()
			buf.signed(set, s.data[:sigHead], s.signer, s.ttl, cut)
		}
		w.Signatures--
		if k.check(buf.b, s.signature) {
			return 0
		}
		w.Failures--
		*failed++
		why = BadSignature
	}
	return why
}

// A buffer holds what is signed, while a signature is made or verified.
type buffer struct {
	b       []byte
	rdata   []byte
	records [][]byte
	ends    []int
}

var buffers = sync.Pool{New: func() any { return &buffer{} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

// put gives the buffer back, if there is one. One large set does not keep its memory for
// ever.
func (buf *buffer) put() {
	if buf == nil || cap(buf.b)+cap(buf.rdata) > maxPooled {
		return
	}
	buffers.Put(buf)
}

// signed writes the data that a signature is over (RFC 4034, section 3.1.8.1): the
// signature's own fields, and the set in canonical form and order (RFC 4034, sections
// 6.2 and 6.3). cut is how many labels of the owner a wildcard stood for.
func (buf *buffer) signed(set *wire.RRset, head, signer []byte, ttl uint32, cut int) {
	buf.b = append(buf.b[:0], head...)
	buf.b = wire.Lower(buf.b, signer)
	// The records, each in canonical form, then sorted.
	buf.rdata, buf.ends, buf.records = buf.rdata[:0], buf.ends[:0], buf.records[:0]
	for _, d := range set.Data {
		buf.rdata = wire.AppendCanonical(buf.rdata, set.Type, d)
		buf.ends = append(buf.ends, len(buf.rdata))
	}
	start := 0
	for _, end := range buf.ends {
		buf.records = append(buf.records, buf.rdata[start:end])
		start = end
	}
	slices.SortFunc(buf.records, bytes.Compare)
	owner, star := set.Owner, cut > 0
	for ; cut > 0; cut-- {
		owner = wire.Parent(owner)
	}
	for i, d := range buf.records {
		if i > 0 && bytes.Equal(d, buf.records[i-1]) {
			continue // RFC 4034, section 6.3
		}
		if star {
			buf.b = append(buf.b, 1, '*')
		}
		buf.b = wire.Lower(buf.b, owner)
		buf.b = binary.BigEndian.AppendUint16(buf.b, uint16(set.Type))
		buf.b = binary.BigEndian.AppendUint16(buf.b, uint16(wire.ClassIN))
		buf.b = binary.BigEndian.AppendUint32(buf.b, ttl)
		buf.b = binary.BigEndian.AppendUint16(buf.b, uint16(len(d)))
		buf.b = append(buf.b, d...)
	}
}
