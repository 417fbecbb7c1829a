package signer

import (
	"bytes"
	"cmp"
	"crypto/sha1" // the only hash of NSEC3 (RFC 5155, section 11)
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// SignOptions are how a zone is signed this time.
type SignOptions struct {
	Now     time.Time // zero: now
	Workers int       // goroutines that sign; 0: as many as there are CPUs

	// Prior is a signed version of the zone: its signatures are kept over sets that have not
	// changed, if a key that signs made them and they are good for Policy.Refresh. Nil: none.
	Prior *zone.Zone

	// Append appends one record to what Write is given; nil: as a Delta holds it. It is
	// called by several goroutines.
	Append func(dst, owner []byte, t wire.Type, ttl uint32, data []byte) []byte

	// Progress, if not nil, is told now and then how many names are done.
	Progress func(done, all int)

	life *lifeOptions // nil: the times of the keys' files say what they do
}

// lifeOptions are what the life of its keys means for one version of a zone.
type lifeOptions struct {
	uses          map[*Key]use
	cds, cdnskeys [][]byte // RDATA
}

// A Signed is what [Sign] did.
type Signed struct {
	Serial     uint32
	Names      int // with signatures or proofs
	Made, Kept int // signatures
	Records    int // all that were written
	Digest     bool
	Keys       []uint16  // tags of the keys that signed
	Expires    time.Time // when the first of the signatures does
	TTL        uint32    // the longest of all sets, in seconds
	KeyTTL     uint32    // of the DNSKEY set, or of the proof that there is none if that is longer

	stripped bool // the zone had something of an earlier signing
	part     bool // what changed was signed by itself
}

// Sign signs a zone. What it holds of an earlier signing (RRSIG, NSEC, NSEC3, NSEC3PARAM,
// ZONEMD) is replaced, keys of others stay. The signed zone goes to write, in canonical order
// but for a ZONEMD record, which is the last; a piece is write's until it returns. Neither the
// zone nor its result is held in memory but once.
//
// Each piece's first signature of each key is verified, and all of them where they are few.
func Sign(z *zone.Zone, keys []*Key, p Policy, o SignOptions, write func(piece []byte) error) (*Signed, error) {
	whole := z
	z, digest, err := strip(z)
	if err != nil {
		return nil, err
	}
	s := &signing{z: z, policy: p, o: o, digest: p.Digest || digest}
	s.defaults()
	uses := usesByTimes(keys, s.o.Now)
	if o.life != nil {
		uses = o.life.uses
	}
	if s.keys, err = newKeySet(z, keys, uses, s.o.Now); err != nil {
		return nil, err
	}
	if o.life != nil {
		s.keys.ask(o.life.cds, o.life.cdnskeys)
	}
	s.nodes = z.Nodes()
	s.apexSets()
	if err := s.chain(); err != nil {
		return nil, err
	}
	signed, err := s.run(write)
	if err == nil {
		signed.stripped = z != whole
	}
	return signed, err
}

// made are the types that signing makes, and takes away before.
func made(t wire.Type) bool {
	switch t {
	case wire.TypeRRSIG, wire.TypeNSEC, wire.TypeNSEC3, wire.TypeNSEC3PARAM:
		return true
	}
	return false
}

// strip returns the zone without what a signer made, and whether it has a digest. A zone
// without any is returned as it is.
func strip(z *zone.Zone) (stripped *zone.Zone, digest bool, err error) {
	found := false
	z.EachSet(func(n zone.Node, set *zone.RRset) bool {
		found = found || made(set.Type) || set.Sigs > 0
		digest = digest || n == z.Root() && set.Type == wire.TypeZONEMD
		return !found || !digest
	})
	if !found {
		return z, digest, nil
	}
	b := zone.NewBuilder(z.Name(), 0)
	b.Expect(z.Names())
	var r zone.Record
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		if !made(t) {
			r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
			b.Add(&r)
		}
		return true
	})
	stripped, problems := b.Build()
	if stripped == nil {
		return nil, false, contentError{fmt.Errorf("the zone without its signatures has errors: %s", problems[0].Text)}
	}
	return stripped, digest, nil
}

// A signing is one run of Sign.
//
// In one piece: it is what the workers of one run share, and each of them reads all of it.
type signing struct {
	z      *zone.Zone
	policy Policy
	o      SignOptions
	keys   *keySet
	digest bool

	nodes      []zone.Node  // of all names, in canonical order
	hashes     []hashedName // of the names that have NSEC3 records, in their order
	items      []item       // what is written, in canonical order
	apex       []wire.RRset // the sets of the apex, without NSEC and ZONEMD
	serial     uint32
	negative   uint32 // TTL of what proves absence
	keyTTL     uint32
	inception  uint32
	expiration uint32
}

// An item is one name that is written: a place among the nodes, or with itemHash one among
// the hashes.
type item uint32

const itemHash item = 1 << 31

// A hashedName is the hash of the name at a place among the nodes.
type hashedName struct {
	hash  [sha1.Size]byte
	place uint32
}

func (s *signing) defaults() {
	if s.o.Now.IsZero() {
		s.o.Now = time.Now()
	}
	if s.o.Workers <= 0 {
		s.o.Workers = runtime.GOMAXPROCS(0)
	}
	if s.o.Append == nil {
		s.o.Append = zone.AppendRecord
	}
	p := &s.policy
	p.Valid, p.Before = cmp.Or(p.Valid, defaultValid), cmp.Or(p.Before, defaultBefore)
	s.inception = uint32(s.o.Now.Add(-p.Before).Unix())
	s.expiration = uint32(s.o.Now.Add(p.Valid).Unix())
	s.serial = s.z.Serial()
	if p.Serial != nil {
		s.serial = *p.Serial
	}
}

// apexSets makes the sets of the apex: with the serial, the keys, and what the parent is asked
// for.
func (s *signing) apexSets() {
	root, ttl := s.z.Root(), cmp.Or(s.policy.TTL, defaultTTL)
	add := func(t wire.Type, ttl uint32, data [][]byte) {
		if len(data) > 0 {
			s.apex = append(s.apex, wire.RRset{Owner: s.z.Apex(), Type: t, TTL: ttl, Data: data})
		}
	}
	for i := range s.z.Sets(root) {
		var u zone.Unpacked
		s.z.Unpack(&u, root, i)
		switch u.Type {
		case wire.TypeSOA:
			u.Data[0] = zone.WithSerial(u.Data[0], s.serial)
			s.negative = negativeTTL(&u.RRset)
		case wire.TypeDNSKEY, wire.TypeCDS, wire.TypeCDNSKEY:
			if s.policy.TTL == 0 && u.Type == wire.TypeDNSKEY {
				ttl = u.TTL
			}
			continue
		case wire.TypeZONEMD:
			continue
		}
		add(u.Type, u.TTL, u.Data)
	}
	s.keyTTL = ttl
	add(wire.TypeDNSKEY, ttl, s.keys.dnskeys)
	add(wire.TypeCDS, ttl, s.keys.cds)
	add(wire.TypeCDNSKEY, ttl, s.keys.cdnskeys)
	if s.policy.Denial.hashes() {
		add(wire.TypeNSEC3PARAM, 0, [][]byte{{1, 0, 0, 0, 0}}) // SHA-1, no iterations, no salt
	}
	slices.SortFunc(s.apex, func(a, b wire.RRset) int { return int(a.Type) - int(b.Type) })
}

// chain makes the list of what is written, and the order of the hashes.
func (s *signing) chain() error {
	if uint64(len(s.nodes)) >= uint64(itemHash) { // int has 32 bits on some machines
		return errors.New("the zone has too many names")
	}
	s.items = make([]item, 0, len(s.nodes))
	if !s.policy.Denial.hashes() {
		for place := range s.nodes {
			s.items = append(s.items, item(place))
		}
		return nil
	}
	s.hashNames()
	for i := 1; i < len(s.hashes); i++ {
		if s.hashes[i].hash == s.hashes[i-1].hash {
			return contentError{fmt.Errorf(
				"%s and %s have one NSEC3 hash", text(s.name(int(s.hashes[i].place))), text(s.name(int(s.hashes[i-1].place))),
			)}
		}
	}
	// The owners of NSEC3 records lie among the names right below the apex.
	var label [sha1.Size * 8 / 5]byte
	next := 0
	for place, n := range s.nodes {
		rel := s.z.RelName(n)
		for ; next < len(s.hashes); next++ {
			hashLabel(&label, s.hashes[next].hash)
			if len(rel) == 0 || bytes.Compare(label[:], firstBelow(rel)) > 0 {
				break
			}
			if bytes.Equal(label[:], firstBelow(rel)) && s.z.Labels(n) == 1 {
				break // the name itself comes first
			}
			s.items = append(s.items, itemHash|item(next))
		}
		s.items = append(s.items, item(place))
	}
	for ; next < len(s.hashes); next++ {
		s.items = append(s.items, itemHash|item(next))
	}
	return nil
}

// firstBelow returns the label of a name without its apex that is right below that.
func firstBelow(rel []byte) []byte {
	for {
		label := rel[1 : 1+int(rel[0])]
		if rel = rel[1+len(label):]; len(rel) == 0 {
			return label
		}
	}
}

func hashLabel(label *[sha1.Size * 8 / 5]byte, h [sha1.Size]byte) {
	wire.Base32Hex.Encode(label[:], h[:])
	for i, c := range label {
		if c >= 'A' {
			label[i] = c + 'a' - 'A'
		}
	}
}

// hashNames hashes the names that have NSEC3 records, several at a time, and sorts them.
func (s *signing) hashNames() {
	var needed placeSet
	if s.policy.Denial == NSEC3OptOut {
		needed = neededHashes(s.z, s.nodes)
	}
	for place, n := range s.nodes {
		if !s.z.Occluded(n) && (needed == nil || needed.has(place)) {
			s.hashes = append(s.hashes, hashedName{place: uint32(place)})
		}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range s.o.Workers {
		wg.Go(func() {
			var name []byte
			for {
				from := int(next.Add(batch)) - batch
				if from >= len(s.hashes) {
					return
				}
				for i := from; i < min(from+batch, len(s.hashes)); i++ {
					h := &s.hashes[i]
					name = wire.Lower(name[:0], s.z.AppendName(name[:0], s.nodes[h.place]))
					dnssec.HashName(h.hash[:0], name, 0, nil)
				}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(s.hashes, func(a, b hashedName) int { return bytes.Compare(a.hash[:], b.hash[:]) })
}

func (s *signing) name(place int) []byte { return s.z.AppendName(nil, s.nodes[place]) }

// A piece is what a worker has made of one batch of items.
type piece struct {
	out       []byte // for the writer
	canonical []byte // for the digest
	err       error
}

// ahead is how many pieces there are for each worker: one that it makes, and some that wait to
// be written.
const ahead = 3

// run signs the items, several batches at a time, and writes them in their order.
func (s *signing) run(write func([]byte) error) (*Signed, error) {
	count := (len(s.items) + batch - 1) / batch
	slots := make([]chan *piece, s.o.Workers*ahead)
	for i := range slots {
		slots[i] = make(chan *piece, 1)
	}
	// There are as many pieces as slots: whoever works on a batch has one, so that nobody comes to the
	// next batch of a slot before the piece of the one before was written.
	free := make(chan *piece, len(slots))
	for range cap(free) {
		free <- &piece{}
	}
	stop := make(chan struct{})
	var next atomic.Int64
	var wg sync.WaitGroup
	workers := make([]*signWorker, s.o.Workers)
	for i := range workers {
		w := newSignWorker(s)
		workers[i] = w
		wg.Go(func() {
			for {
				var p *piece
				select {
				case p = <-free:
				case <-stop:
					return
				}
				at := int(next.Add(1)) - 1
				if at >= count {
					return
				}
				w.batch(p, at)
				select {
				case slots[at%len(slots)] <- p:
				case <-stop:
					return
				}
			}
		})
	}
	var digest hash.Hash
	if s.digest {
		digest = sha512.New384()
	}
	var err error
	for at := 0; at < count && err == nil; at++ {
		p := <-slots[at%len(slots)]
		if err = p.err; err == nil {
			err = write(p.out)
		}
		if digest != nil {
			digest.Write(p.canonical)
		}
		free <- p
		if s.o.Progress != nil {
			s.o.Progress(min((at+1)*batch, len(s.items)), len(s.items))
		}
	}
	close(stop)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	if digest != nil {
		p := &piece{}
		if workers[0].zonemd(p, digest.Sum(nil)); p.err == nil {
			p.err = write(p.out)
		}
		if p.err != nil {
			return nil, p.err
		}
	}
	return s.result(workers), nil
}

// result sums up what the workers have done.
func (s *signing) result(workers []*signWorker) *Signed {
	r := &Signed{Serial: s.serial, Digest: s.digest, KeyTTL: max(s.keyTTL, s.negative)}
	earliest := s.expiration
	for _, w := range workers {
		r.Names += w.names
		r.Made += w.made
		r.Kept += w.kept
		r.Records += w.records
		r.TTL = max(r.TTL, w.longest)
		if int32(w.earliest-earliest) < 0 {
			earliest = w.earliest
		}
	}
	for _, list := range [][]*dnssec.Signer{s.keys.forKeys, s.keys.forData} {
		for _, k := range list {
			if !slices.Contains(r.Keys, k.Key.Tag) {
				r.Keys = append(r.Keys, k.Key.Tag)
			}
		}
	}
	slices.Sort(r.Keys)
	r.Expires = stampTime(earliest, s.o.Now)
	return r
}

// A signWorker signs batches, one after the other.
//
// In one piece: it is the memory that a worker uses again for each set.
type signWorker struct {
	*signing
	u, old    zone.Unpacked
	types     []wire.Type
	data      []byte // of the proof that is being made
	one       [1][]byte
	sigs      [][]byte
	spelled   []byte // the owner's name as the zone has it
	lower     []byte
	canonical zone.CanonicalName
	verified  map[*dnssec.Signer]bool // in this batch
	few       bool                    // all signatures are verified
	renewal   bool                    // of the set in hand: it had a good signature, whose time came

	names, made, kept, records int
	earliest, longest          uint32 // the first to expire; the longest TTL
}

// fewSignatures is up to how many names of a zone all signatures are verified after they are
// made.
const fewSignatures = 1024

func newSignWorker(s *signing) *signWorker {
	return &signWorker{signing: s, verified: map[*dnssec.Signer]bool{}, few: len(s.items) <= fewSignatures, earliest: s.expiration}
}

// batch makes the piece of one batch.
func (w *signWorker) batch(p *piece, at int) {
	p.out, p.canonical, p.err = p.out[:0], p.canonical[:0], nil
	clear(w.verified)
	for i := at * batch; i < min((at+1)*batch, len(w.items)) && p.err == nil; i++ {
		if it := w.items[i]; it&itemHash != 0 {
			w.hash(p, int(it&^itemHash))
		} else {
			w.node(p, int(it))
		}
	}
}

// node writes the sets of a name and, unless the zone uses hashes, its proof.
func (w *signWorker) node(p *piece, place int) {
	n := w.nodes[place]
	w.sets(p, n)
	hidden := w.z.Occluded(n)
	if p.err != nil {
		return
	}
	if !hidden {
		w.names++
	}
	if w.policy.Denial == NSEC && !hidden && !w.z.Empty(n) {
		w.nsec(p, place)
	}
	if w.digest {
		p.canonical = w.canonical.Append(p.canonical, w.lower)
	}
}

// sets writes the sets of a name but for its proof.
func (w *signWorker) sets(p *piece, n zone.Node) {
	w.spelled = w.z.AppendName(w.spelled[:0], n)
	w.lower = wire.Lower(w.lower[:0], w.spelled)
	hidden, cut := w.z.Occluded(n), w.z.IsCut(n)
	if n == w.z.Root() {
		for i := range w.apex {
			w.emit(p, &w.apex[i], true)
		}
	} else {
		for i := range w.z.Sets(n) {
			w.z.Unpack(&w.u, n, i)
			if w.u.Type == wire.TypeDS && !cut && !hidden {
				p.err = notDelegated(w.lower)
				return
			}
			w.emit(p, &w.u.RRset, !hidden && (!cut || atCut(w.u.Type)))
		}
	}
}

// notDelegated is the error of DS records at a name that is no delegation.
func notDelegated(name []byte) error {
	return contentError{fmt.Errorf("%s DS: not a delegation: wrong owner name, or missing NS records (RFC 4035, section 2.4)", text(name))}
}

// misplaced returns the error of the first DS records of a zone that are not at a delegation.
func misplaced(z *zone.Zone) (err error) {
	z.EachSet(func(n zone.Node, set *zone.RRset) bool {
		if set.Type == wire.TypeDS && n != z.Root() && !z.IsCut(n) && !z.Occluded(n) {
			err = notDelegated(wire.Lower(nil, z.AppendName(nil, n)))
		}
		return err == nil
	})
	return err
}

// typesAt returns the types of a name that the zone has authority for, as it will be, in rising
// order.
func (w *signWorker) typesAt(n zone.Node) []wire.Type {
	if n != w.z.Root() {
		w.types = signedTypes(w.z, n, w.types)
		return w.types
	}
	w.types = w.types[:0]
	for i := range w.apex {
		w.types = append(w.types, w.apex[i].Type)
	}
	if w.digest {
		w.types = withProof(w.types, wire.TypeZONEMD)
	}
	return w.types
}

// nsec writes the NSEC record of a name.
func (w *signWorker) nsec(p *piece, place int) {
	next := place + 1
	for next < len(w.nodes) && (w.z.Occluded(w.nodes[next]) || w.z.Empty(w.nodes[next])) {
		next++
	}
	if next == len(w.nodes) {
		next = 0
	}
	w.proof(p, w.nodes[place], w.z.AppendName(nil, w.nodes[next]))
}

// proof writes the NSEC record of a name that has another behind it.
func (w *signWorker) proof(p *piece, n zone.Node, next []byte) {
	w.data = wire.Lower(w.data[:0], next)
	w.types = withProof(w.typesAt(n), wire.TypeRRSIG, wire.TypeNSEC)
	w.data = wire.AppendBitmap(w.data, w.types)
	w.one[0] = w.data
	w.emit(p, &wire.RRset{Owner: w.lower, Type: wire.TypeNSEC, TTL: w.negative, Data: w.one[:]}, true)
}

// hash writes the NSEC3 record of a hash.
func (w *signWorker) hash(p *piece, i int) {
	h := &w.hashes[i]
	var label [sha1.Size * 8 / 5]byte
	hashLabel(&label, h.hash)
	w.lower = append(append(append(w.lower[:0], byte(len(label))), label[:]...), w.z.Apex()...)
	w.spelled = append(append(append(w.spelled[:0], byte(len(label))), label[:]...), w.z.Name()...)
	flags := byte(0)
	if w.policy.Denial == NSEC3OptOut {
		flags = 1
	}
	w.data = append(w.data[:0], 1, flags, 0, 0, 0, sha1.Size) // SHA-1, no iterations, no salt
	w.data = append(w.data, w.hashes[(i+1)%len(w.hashes)].hash[:]...)
	n := w.nodes[h.place]
	w.types = hashTypes(w.z, n, w.typesAt(n))
	w.data = wire.AppendBitmap(w.data, w.types)
	w.one[0] = w.data
	w.emit(p, &wire.RRset{Owner: w.lower, Type: wire.TypeNSEC3, TTL: w.negative, Data: w.one[:]}, true)
	if w.digest {
		p.canonical = w.canonical.Append(p.canonical, w.lower)
	}
}

// zonemd writes the ZONEMD record (RFC 8976, section 2.2).
func (w *signWorker) zonemd(p *piece, sum []byte) {
	w.spelled = append(w.spelled[:0], w.z.Name()...)
	data := binary.BigEndian.AppendUint32(nil, w.serial)
	data = append(append(data, 1, 1), sum...) // scheme SIMPLE, SHA-384
	soa := slices.IndexFunc(w.apex, func(s wire.RRset) bool { return s.Type == wire.TypeSOA })
	w.digest = false
	w.emit(p, &wire.RRset{Owner: w.z.Apex(), Type: wire.TypeZONEMD, TTL: w.apex[soa].TTL, Data: [][]byte{data}}, true)
	w.digest = true
}

// emit writes a set, and its signatures if it has to be signed.
func (w *signWorker) emit(p *piece, set *wire.RRset, signed bool) {
	w.sigs = w.sigs[:0]
	if signed {
		if p.err = w.sign(set); p.err != nil {
			return
		}
	}
	for _, d := range set.Data {
		p.out = w.o.Append(p.out, w.spelled, set.Type, set.TTL, d)
	}
	for _, d := range w.sigs {
		p.out = w.o.Append(p.out, w.spelled, wire.TypeRRSIG, set.TTL, d)
	}
	w.records += len(set.Data) + len(w.sigs)
	w.longest = max(w.longest, set.TTL)
	if w.digest {
		out := wire.RRset{Owner: set.Owner, Type: set.Type, TTL: set.TTL, Data: set.Data, Sigs: w.sigs}
		w.canonical.Add(&out, len(set.Owner) == len(w.z.Apex()))
	}
}

// sign puts the signatures of a set, one of each key that signs it, into w.sigs.
func (w *signWorker) sign(set *wire.RRset) error {
	signers := w.keys.signers(set.Type, len(set.Owner) == len(w.z.Apex()))
	w.keep(set, signers)
	for _, k := range signers {
		if slices.ContainsFunc(w.sigs, func(sig []byte) bool { return madeBy(sig, k) }) {
			w.kept++
			continue
		}
		expiration := w.expiration
		if !w.renewal {
			expiration -= w.spread(set)
		}
		sig, err := k.Sign(set, w.inception, expiration)
		if err != nil {
			return err
		}
		w.made++
		w.earlier(expiration)
		if err := w.proven(set, k, sig); err != nil {
			return err
		}
		w.sigs = append(w.sigs, sig)
	}
	return nil
}

func (w *signWorker) earlier(expiration uint32) {
	if int32(expiration-w.earliest) < 0 {
		w.earliest = expiration
	}
}

// madeBy reports whether a key may have made a signature.
func madeBy(sig []byte, k *dnssec.Signer) bool {
	s, ok := splitSignature(sig)
	return ok && s.algorithm == k.Key.Algorithm && s.tag == k.Key.Tag
}

// spread returns by how many seconds less than others the signature of a set is valid.
func (w *signWorker) spread(set *wire.RRset) uint32 {
	most := uint64(w.policy.Spread / time.Second)
	if most == 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write(set.Owner)
	h.Write([]byte{byte(set.Type >> 8), byte(set.Type)})
	return uint32(h.Sum64() % (most + 1))
}

// keep puts those signatures into w.sigs that the version before has of the same set, and that
// are good for long enough.
func (w *signWorker) keep(set *wire.RRset, signers []*dnssec.Signer) {
	w.renewal = false
	if w.o.Prior == nil {
		return
	}
	n := findSet(w.o.Prior, set.Owner, set.Type)
	if n == 0 || !w.o.Prior.UnpackType(&w.old, n, set.Type) || !sameSet(&w.old.RRset, set) {
		return
	}
	now := uint32(w.o.Now.Unix())
	limit := now + uint32(w.policy.Refresh/time.Second)
	for _, sig := range w.old.Sigs {
		s, ok := splitSignature(sig)
		if !ok || s.ttl != set.TTL || int32(s.expiration-now) <= 0 || int32(now-s.inception) < 0 || !wire.EqualFold(s.signer, w.z.Apex()) ||
			!slices.ContainsFunc(signers, func(k *dnssec.Signer) bool { return madeBy(sig, k) }) {
			continue
		}
		if w.renewal = int32(s.expiration-limit) <= 0; !w.renewal {
			w.sigs = append(w.sigs, sig)
			w.earlier(s.expiration)
		}
	}
}

// findSet returns the node of a zone that has the sets of a name of a type, or 0: NSEC3 records
// are apart from the names.
func findSet(z *zone.Zone, owner []byte, t wire.Type) zone.Node {
	if t != wire.TypeNSEC3 {
		var split wire.SplitName
		split.Set(owner)
		return z.Lookup(&split)
	}
	var h zone.Hash
	if !z.HasNSEC3() || int(owner[0]) != 32 {
		return 0
	}
	if _, err := wire.Base32Hex.Decode(h[:], bytes.ToUpper(owner[1:33])); err != nil {
		return 0
	}
	n, match := z.NSEC3For(h)
	if !match {
		return 0
	}
	return n
}

// sameSet reports whether two sets of one type have one TTL and the same records.
func sameSet(a, b *wire.RRset) bool {
	if a.TTL != b.TTL || len(a.Data) != len(b.Data) {
		return false
	}
	if len(a.Data) == 1 {
		return bytes.Equal(a.Data[0], b.Data[0])
	}
	for _, d := range a.Data {
		if !b.Has(d) {
			return false
		}
	}
	return true
}

// proven verifies a signature that was just made, if it is a key's first of the batch or there
// are few: a key that signs badly is found before its signatures are served.
func (w *signWorker) proven(set *wire.RRset, k *dnssec.Signer, sig []byte) error {
	if !w.few && w.verified[k] {
		return nil
	}
	w.verified[k] = true
	check := *set
	check.Sigs = [][]byte{sig}
	if _, why := dnssec.Verify(&check, w.z.Apex(), []dnssec.Key{k.Key}, w.o.Now, &dnssec.Work{Signatures: 1, Failures: 1}); why != 0 {
		return fmt.Errorf("%s %s: the signature made with key %d does not verify: %s", text(set.Owner), set.Type, k.Key.Tag, why.String())
	}
	return nil
}
