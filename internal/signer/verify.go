package signer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// VerifyOptions say how a zone is verified. The zero value will do.
type VerifyOptions struct {
	Now     time.Time // that signatures have to be valid at; zero: now
	DS      [][]byte  // RDATA of the DS records that the parent has, one of which has to lead to the keys; nil: not known
	Compact bool      // what is absent is proven when it is asked for (RFC 9824): the zone has no proofs
	Workers int       // goroutines that verify; 0: as many as there are CPUs

	// Progress, if not nil, is told now and then how many names are done, by one goroutine
	// at a time.
	Progress func(done, all int)
}

// A Fault is something wrong with a signed zone.
type Fault struct {
	Name    string    `json:"name"`
	Type    wire.Type `json:"-"`
	TypeOf  string    `json:"type,omitempty"` // of Type; empty: the fault is of no single set
	Warning bool      `json:"warning,omitempty"`
	Text    string    `json:"text"`

	place int // of the name in canonical order
}

// String returns the fault as one line: name, type, text.
func (f Fault) String() string {
	s := f.Name
	if f.TypeOf != "" {
		s += " " + f.TypeOf
	}
	if f.Warning {
		s += ": warning"
	}
	return s + ": " + f.Text
}

// maxFaults is how many faults and how many warnings are told one by one. All are counted.
const maxFaults = 100

// A Verdict is what [Verify] found.
type Verdict struct {
	Faults     []Fault // in canonical order of their names, errors and warnings; no more than 100 of each
	Errors     int     // in all
	Warnings   int     // in all
	Names      int     // that the zone has authority for, empty non-terminals included
	Sets       int     // that have to be signed
	Signatures int     // that were verified
	Denial     string  // nsec, nsec3, nsec3-opt-out, or empty if there is no proof of what is absent
	Digest     bool    // a ZONEMD record is there, and fits
	Keys       []KeyUse
	Earliest   time.Time // at which the first of the good signatures expires; zero: there is none
}

// Good reports whether a validator accepts all of the zone.
func (v *Verdict) Good() bool { return v.Errors == 0 }

// A KeyUse is a key of the zone, and what it was seen to sign.
type KeyUse struct {
	Tag       uint16
	Algorithm uint8
	Flags     uint16
	SignsKeys bool // the DNSKEY set
	SignsData bool // anything else
	DS        bool // one of VerifyOptions.DS stands for it
}

// ErrUnsigned is what Verify returns for a zone without any DNSSEC records.
var ErrUnsigned = errors.New("the zone is not signed: it has no DNSKEY records")

// batch is how many names a worker verifies or signs at once.
const batch = 256

// Verify judges all of a zone as a validator does that trusts its keys or, if DS records are
// given, these. Every signature is verified, by all keys that it may be of (two may have one
// tag). The zone is not changed. The error is [ErrUnsigned].
func Verify(z *zone.Zone, o VerifyOptions) (*Verdict, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	v := &verifier{z: z, o: o, nodes: z.Nodes(), out: &Verdict{}}
	if !v.apexSets() {
		return nil, ErrUnsigned
	}
	v.keys()
	v.everyName()
	v.denial()
	v.parent()
	v.published()
	switch err := z.CheckDigest(o.Now); {
	case err != nil:
		v.fault(0, z.Apex(), wire.TypeZONEMD, "%v", err)
	default:
		_, v.out.Digest = v.apex[wire.TypeZONEMD]
	}
	v.finish()
	return v.out, nil
}

// A verifier verifies one zone.
//
// In one piece: it is what the parts of one verification share, and each of them reads most
// of it.
type verifier struct {
	z     *zone.Zone
	o     VerifyOptions
	nodes []zone.Node // in canonical order
	apex  map[wire.Type]*wire.RRset

	zoneKeys   []dnssec.Key // those that may sign the zone, revoked ones too
	dataKeys   []dnssec.Key // without these
	uses       []keyUse     // of each of these
	algorithms []uint8      // that every set has to be signed with
	unknown    bool         // of these, some cannot be verified

	mu       sync.Mutex // of the rest
	out      *Verdict
	earliest uint32
}

// A keyUse counts what a key signs.
type keyUse struct{ keys, data atomic.Bool }

func (v *verifier) fault(place int, name []byte, t wire.Type, format string, args ...any) {
	v.tell(place, name, t, false, fmt.Sprintf(format, args...))
}

func (v *verifier) warn(place int, name []byte, t wire.Type, format string, args ...any) {
	v.tell(place, name, t, true, fmt.Sprintf(format, args...))
}

// tell keeps a fault if it is among the first.
func (v *verifier) tell(place int, name []byte, t wire.Type, warning bool, text string) {
	f := Fault{Name: string(wire.AppendName(nil, name)), Type: t, Warning: warning, Text: text, place: place}
	if t != 0 {
		f.TypeOf = t.String()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	count := &v.out.Errors
	if warning {
		count = &v.out.Warnings
	}
	*count++
	v.out.Faults = append(v.out.Faults, f)
	if len(v.out.Faults) >= 8*maxFaults {
		v.keepFirst()
	}
}

// keepFirst sorts the faults and leaves out those that are too many. v.mu is held.
func (v *verifier) keepFirst() {
	list := v.out.Faults
	slices.SortStableFunc(list, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Text, b.Text))
	})
	var counts [2]int
	v.out.Faults = slices.DeleteFunc(list, func(f Fault) bool {
		kind := 0
		if f.Warning {
			kind = 1
		}
		counts[kind]++
		return counts[kind] > maxFaults
	})
}

func (v *verifier) finish() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keepFirst()
	for i := range v.out.Keys {
		v.out.Keys[i].SignsKeys, v.out.Keys[i].SignsData = v.uses[i].keys.Load(), v.uses[i].data.Load()
	}
	if v.earliest != 0 {
		v.out.Earliest = stampTime(v.earliest, v.o.Now)
	}
}

// stampTime returns the time of a signature's field, which counts modulo 2^32 (RFC 4034,
// section 3.1.5), nearest to now.
func stampTime(stamp uint32, now time.Time) time.Time {
	return now.Add(time.Duration(int32(stamp-uint32(now.Unix()))) * time.Second).Truncate(time.Second)
}

// apexSets reads the sets of the apex, and reports whether keys are among them.
func (v *verifier) apexSets() bool {
	v.apex = map[wire.Type]*wire.RRset{}
	for i := range v.z.Sets(v.z.Root()) {
		var u zone.Unpacked
		v.z.Unpack(&u, v.z.Root(), i)
		v.apex[u.Type] = &u.RRset
	}
	return v.apex[wire.TypeDNSKEY] != nil
}

// keys reads the keys, and finds out which algorithms have to sign everything: all that the
// DNSKEY set has (RFC 6840, section 5.11).
func (v *verifier) keys() {
	apex := v.z.Apex()
	set := v.apex[wire.TypeDNSKEY]
	for _, data := range set.Data {
		k, ok := dnssec.ParseKey(data)
		switch {
		case !ok:
			v.warn(0, apex, wire.TypeDNSKEY, "a record is no key of DNSSEC")
			continue
		case !k.Zone():
			v.warn(0, apex, wire.TypeDNSKEY, "key %d is no zone key", k.Tag)
			continue
		}
		v.zoneKeys = append(v.zoneKeys, k)
		v.out.Keys = append(v.out.Keys, KeyUse{Tag: k.Tag, Algorithm: k.Algorithm, Flags: k.Flags})
		if !k.Revoked() {
			v.dataKeys = append(v.dataKeys, k)
			if !slices.Contains(v.algorithms, k.Algorithm) {
				v.algorithms = append(v.algorithms, k.Algorithm)
			}
		}
		if !dnssec.SupportedAlgorithm(k.Algorithm) {
			v.unknown = true
			v.warn(0, apex, wire.TypeDNSKEY, "key %d has algorithm %s, which cannot be verified", k.Tag, wire.AlgorithmName(k.Algorithm))
		}
	}
	slices.Sort(v.algorithms)
	v.uses = make([]keyUse, len(v.zoneKeys))
	if len(v.algorithms) == 0 {
		v.fault(0, apex, wire.TypeDNSKEY, "no key may sign the zone")
	}
	for _, t := range []wire.Type{wire.TypeDS, wire.TypeCNAME} {
		if v.apex[t] != nil {
			v.fault(0, apex, t, "it has no place at the apex")
		}
	}
}

// everyName verifies the signatures of all names, several at a time.
func (v *verifier) everyName() {
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range v.o.Workers {
		wg.Go(func() {
			w := verifyWorker{verifier: v}
			for {
				from := int(next.Add(batch)) - batch
				if from >= len(v.nodes) {
					break
				}
				to := min(from+batch, len(v.nodes))
				for place := from; place < to; place++ {
					w.name(place)
				}
				n := done.Add(int64(to - from))
				if v.o.Progress != nil {
					v.mu.Lock()
					v.o.Progress(int(n), len(v.nodes))
					v.mu.Unlock()
				}
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			v.out.Names += w.names
			v.out.Sets += w.sets
			v.out.Signatures += w.signatures
			if w.earliest != 0 && (v.earliest == 0 || int32(w.earliest-v.earliest) < 0) {
				v.earliest = w.earliest
			}
		})
	}
	wg.Wait()
}

// A verifyWorker verifies names, one after the other.
type verifyWorker struct {
	*verifier
	u          zone.Unpacked
	one        [1][]byte
	good       []uint8 // algorithms whose signatures of a set are good
	names      int
	sets       int
	signatures int
	earliest   uint32
}

// name verifies the sets of one name.
func (w *verifyWorker) name(place int) {
	n := w.nodes[place]
	hash, hidden, cut := w.z.IsHash(n), w.z.Occluded(n), w.z.IsCut(n)
	if !hash && !hidden {
		w.names++
	}
	for i := range w.z.Sets(n) {
		w.z.Unpack(&w.u, n, i)
		set := &w.u.RRset
		switch signed := !hidden && (!cut || atCut(set.Type)); {
		case signed:
			w.sets++
			w.set(place, set)
			w.belongs(place, set, cut, hash)
		case len(set.Sigs) > 0 && hidden:
			w.fault(place, set.Owner, set.Type, "it is signed but below a delegation, so it belongs to another zone")
		case len(set.Sigs) > 0:
			w.fault(
				place,
				set.Owner,
				set.Type,
				"it is signed but at a delegation, where the zone is not authoritative for it (RFC 4035, section 2.2)",
			)
		}
		if hidden && (set.Type == wire.TypeNSEC || set.Type == wire.TypeDS) {
			w.fault(place, set.Owner, set.Type, "it lies below a delegation")
		}
	}
}

// atCut reports whether the zone above a delegation has authority for a type there (RFC 4035,
// section 2.2).
func atCut(t wire.Type) bool { return t == wire.TypeDS || t == wire.TypeNSEC || t == wire.TypeNSEC3 }

// belongs checks that a DNSSEC type stands where it may.
func (w *verifyWorker) belongs(place int, set *wire.RRset, cut, hash bool) {
	switch set.Type {
	case wire.TypeDS:
		if !cut && place > 0 {
			w.fault(place, set.Owner, set.Type, "it is not at a delegation (RFC 4035, section 2.4)")
		}
	case wire.TypeDNSKEY, wire.TypeNSEC3PARAM, wire.TypeCDS, wire.TypeCDNSKEY:
		if place > 0 && set.Type != wire.TypeCDS && set.Type != wire.TypeCDNSKEY {
			w.warn(place, set.Owner, set.Type, "it counts at the apex alone")
		}
	case wire.TypeNSEC:
		if len(set.Data) != 1 {
			w.fault(place, set.Owner, set.Type, "the name has %d NSEC records: it may have one", len(set.Data))
		}
	}
}

// set verifies the signatures of one set: each by itself, and by each algorithm one at
// least.
func (w *verifyWorker) set(place int, set *wire.RRset) {
	w.good = w.good[:0]
	sigs := set.Sigs
	for _, sig := range sigs {
		if alg, ok := w.signature(place, set, sig); ok && !slices.Contains(w.good, alg) {
			w.good = append(w.good, alg)
		}
	}
	set.Sigs = sigs
	if len(sigs) == 0 {
		w.fault(place, set.Owner, set.Type, "it is not signed")
		return
	}
	for _, alg := range w.algorithms {
		if !slices.Contains(w.good, alg) {
			w.fault(
				place,
				set.Owner,
				set.Type,
				"it has no valid signature of algorithm %s, for which the zone has a key (RFC 6840, section 5.11)",
				wire.AlgorithmName(alg),
			)
		}
	}
}

// signature verifies one signature of a set, and returns its algorithm and whether it is good.
func (w *verifyWorker) signature(place int, set *wire.RRset, sig []byte) (alg uint8, good bool) {
	s, ok := splitSignature(sig)
	if !ok {
		w.fault(place, set.Owner, wire.TypeRRSIG, "the signature of %s cannot be read", set.Type)
		return 0, false
	}
	if s.ttl != set.TTL {
		w.fault(place, set.Owner, set.Type, "the signature by key %d has original TTL %d, but the RRset has %d", s.tag, s.ttl, set.TTL)
		return s.algorithm, false
	}
	if !dnssec.SupportedAlgorithm(s.algorithm) {
		// It is there, and that is all that can be said.
		return s.algorithm, true
	}
	w.one[0] = sig
	set.Sigs = w.one[:]
	w.signatures++
	keys := w.dataKeys
	if set.Type == wire.TypeDNSKEY {
		keys = w.zoneKeys // a key is revoked by its own signature (RFC 5011, section 2.1)
	}
	verified, why := dnssec.Verify(set, w.z.Apex(), keys, w.o.Now, &dnssec.Work{Signatures: len(w.zoneKeys), Failures: len(w.zoneKeys)})
	switch {
	case why == dnssec.NoKey && int32(s.expiration-uint32(w.o.Now.Unix())) >= 0:
		// During an algorithm roll the signatures come before their key (RFC 6781, section
		// 4.1.4), and after a key's end they stay for a while: nobody needs them.
		w.warn(
			place,
			set.Owner,
			set.Type,
			"there is a signature by key %d of algorithm %s, which is not in the DNSKEY RRset",
			s.tag,
			wire.AlgorithmName(s.algorithm),
		)
		return s.algorithm, false
	case why != 0:
		w.fault(place, set.Owner, set.Type, "the signature by key %d cannot be used: %s%s", s.tag, why.String(), s.when(why, w.o.Now))
		return s.algorithm, false
	case verified.Wildcard:
		w.fault(place, set.Owner, set.Type, "the signature by key %d was expanded from a wildcard, which must not be in a zone", s.tag)
		return s.algorithm, false
	}
	if w.earliest == 0 || int32(s.expiration-w.earliest) < 0 {
		w.earliest = s.expiration
	}
	return s.algorithm, w.used(set, &s)
}

// used notes which key has made a good signature, and reports whether that counts.
func (w *verifyWorker) used(set *wire.RRset, s *signature) (counts bool) {
	for i := range w.zoneKeys {
		k := &w.zoneKeys[i]
		if k.Tag != s.tag || k.Algorithm != s.algorithm {
			continue
		}
		counts = counts || !k.Revoked()
		if set.Type == wire.TypeDNSKEY {
			w.uses[i].keys.Store(true)
		} else if !w.uses[i].data.Load() {
			w.uses[i].data.Store(true)
		}
	}
	return counts
}

// A signature is the fields of an RRSIG record (RFC 4034, section 3.1).
type signature struct {
	covered               wire.Type
	algorithm, labels     uint8
	ttl                   uint32
	expiration, inception uint32
	tag                   uint16
	signer                []byte
}

func splitSignature(b []byte) (s signature, ok bool) {
	name := dnssec.SignerName(b)
	if name == nil {
		return s, false
	}
	return signature{
		covered: wire.Covered(b), algorithm: b[2], labels: b[3],
		ttl:        binary.BigEndian.Uint32(b[4:]),
		expiration: binary.BigEndian.Uint32(b[8:]), inception: binary.BigEndian.Uint32(b[12:]),
		tag: binary.BigEndian.Uint16(b[16:]), signer: name,
	}, true
}

// when says at what time a signature that is not valid would be.
func (s *signature) when(why dnssec.Reason, now time.Time) string {
	switch why {
	case dnssec.Expired:
		return ", on " + stampTime(s.expiration, now).UTC().Format(time.RFC3339)
	case dnssec.NotYetValid:
		return ", but from " + stampTime(s.inception, now).UTC().Format(time.RFC3339)
	}
	return ""
}

// parent checks that the zone can be entered: by the parent's DS records if they are known,
// else by a key that says of itself that it is for that.
func (v *verifier) parent() {
	apex, set := v.z.Apex(), v.apex[wire.TypeDNSKEY]
	if v.o.DS == nil {
		for i := range v.zoneKeys {
			if k := &v.zoneKeys[i]; k.SEP() && !k.Revoked() && v.uses[i].keys.Load() {
				return
			}
		}
		v.fault(
			0,
			apex,
			wire.TypeDNSKEY,
			"no key with the SEP flag signs the DNSKEY RRset: give the DS records of the parent",
		)
		return
	}
	voucher := dnssec.TrustPoint{DS: v.o.DS}
	for i, k := range v.zoneKeys {
		v.out.Keys[i].DS = voucher.Trusts(apex, k.Data)
	}
	if why := voucher.Unsupported(); why != 0 {
		v.fault(0, apex, wire.TypeDS, "no DS record in the parent can be used: %s", why.String())
		return
	}
	work := &dnssec.Work{Signatures: 1 << 10, Failures: 1 << 10}
	if _, _, why := voucher.Keys(set, v.o.Now, work); why != 0 {
		v.fault(0, apex, wire.TypeDNSKEY, "no DS record in the parent matches it: %s", why.String())
	}
	for _, ds := range v.o.DS {
		fits := slices.ContainsFunc(v.zoneKeys, func(k dnssec.Key) bool { return dnssec.MatchDS(ds, apex, k.Data) })
		if len(ds) > 4 && !fits && dnssec.SupportedDigest(ds[3]) {
			v.warn(
				0,
				apex,
				wire.TypeDS,
				"the DS record of key %d, algorithm %s, at the parent is for no key that the zone has",
				binary.BigEndian.Uint16(ds),
				wire.AlgorithmName(ds[2]),
			)
		}
		if alg := ds[2]; dnssec.SupportedAlgorithm(alg) && !slices.Contains(v.algorithms, alg) {
			v.fault(
				0,
				apex,
				wire.TypeDS,
				"the parent has a DS record of algorithm %s, and the zone no key of it (RFC 6840, section 5.11)",
				wire.AlgorithmName(alg),
			)
		}
	}
}

// published checks what the zone asks its parent for: CDS and CDNSKEY have to be for keys that
// sign the DNSKEY set (RFC 7344, section 4.1), or ask for no DS at all (RFC 8078, section 4).
func (v *verifier) published() {
	apex := v.z.Apex()
	signs := func(match func(data []byte) bool) bool {
		for i := range v.zoneKeys {
			if match(v.zoneKeys[i].Data) {
				return v.uses[i].keys.Load()
			}
		}
		return false
	}
	if set := v.apex[wire.TypeCDS]; set != nil {
		for _, d := range set.Data {
			if string(d) == deleteCDS && len(set.Data) == 1 || len(d) > 4 && !dnssec.SupportedDigest(d[3]) {
				continue
			}
			if match := func(k []byte) bool { return dnssec.MatchDS(d, apex, k) }; !signs(match) {
				v.asks(match)(
					0,
					apex,
					wire.TypeCDS,
					"it asks for a DS record of a key that does not sign the DNSKEY set: the zone would be bogus (RFC 7344, section 4.1)",
				)
			}
		}
	}
	if set := v.apex[wire.TypeCDNSKEY]; set != nil {
		for _, d := range set.Data {
			if string(d) == deleteCDNSKEY && len(set.Data) == 1 {
				continue
			}
			if match := func(k []byte) bool { return string(k) == string(d) }; !signs(match) {
				v.asks(match)(
					0,
					apex,
					wire.TypeCDNSKEY,
					"it is of a key that does not sign the DNSKEY set: the zone would be bogus (RFC 7344, section 4.1)",
				)
			}
		}
	}
}

// asks returns how it is told that the parent is asked for a key that does not sign the DNSKEY set. One
// that is published may be another signer's, who signs the set at his own servers (RFC 8901, section 2.1.2).
func (v *verifier) asks(match func(data []byte) bool) func(place int, name []byte, t wire.Type, format string, args ...any) {
	if slices.ContainsFunc(v.zoneKeys, func(k dnssec.Key) bool { return match(k.Data) }) {
		return v.warn
	}
	return v.fault
}

// What asks a parent to remove the DS records (RFC 8078, section 4).
const (
	deleteCDS     = "\x00\x00\x00\x00\x00"
	deleteCDNSKEY = "\x00\x00\x03\x00\x00"
)
