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

// A trust is what is known of a zone's keys.
type trust struct {
	sec     cache.Security // secSecure: keys are good; secInsecure; secBogus
	keys    []dnssec.Key
	reason  int // EDE of what is not secure; edeNone
	cut     bool
	expires time.Time
}

// trusts keep the keys of zones, parsed.
type trusts struct {
	mu sync.RWMutex
	m  map[string]*trust
}

func (ts *trusts) get(zone []byte, now time.Time) *trust {
	ts.mu.RLock()
	tr := ts.m[string(zone)]
	ts.mu.RUnlock()
	if tr == nil || tr.expires.Before(now) {
		return nil
	}
	return tr
}

func (ts *trusts) put(w cache.Writer, zone []byte, tr *trust) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if w.Revoked() {
		return
	}
	if ts.m == nil || len(ts.m) >= maxTrust {
		ts.m = make(map[string]*trust) // all are learned anew: simpler than knowing which is needed least
	}
	ts.m[string(zone)] = tr
}

func (ts *trusts) clear() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.m = nil
}

// drop forgets the zones at and below name.
func (ts *trusts) drop(name []byte) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for zone := range ts.m {
		if wire.Subdomain([]byte(zone), name) {
			delete(ts.m, zone)
		}
	}
}

// A verdict is the outcome of a validation.
type verdict struct {
	sec    cache.Security
	reason int // EDE; edeNone
	ttl    uint32
	labels int  // of the signature, where the set was made from a wildcard
	wild   bool // it was
}

func insecure(reason int) verdict { return verdict{sec: secInsecure, reason: reason} }
func bogus(reason int) verdict    { return verdict{sec: secBogus, reason: reason} }

// refused returns the verdict for a reason of package dnssec. Work that is spent says
// nothing of the data.
func refused(why dnssec.Reason) verdict {
	if why == dnssec.WorkSpent {
		return bogus(edePassing)
	}
	return bogus(why.EDE())
}

// check validates a link: every set of it, and that the proofs say what the link
// says. It sets l.sec and l.reason, lowers TTLs to what signatures allow, and marks
// what was made from a wildcard.
func (t *task) check(l *link, name []byte, typ wire.Type) {
	v := t.judge(l, name, typ)
	t.trace.judged(l, name, typ, &v)
	l.sec = v.sec
	l.reason = v.reason
	if v.sec == secBogus {
		t.r.counters.Bogus.Add(1)
	}
}

func (t *task) judge(l *link, name []byte, typ wire.Type) verdict {
	if l.part == partLocal || t.negativeTrust(name) {
		return insecure(edeNone)
	}
	switch l.kind {
	case foundAnswer, foundAlias:
		if typ == wire.TypeRRSIG {
			return insecure(edeNone) // signatures are not signed
		}
		sets := l.all
		if l.dname != nil {
			sets = []*wire.RRset{l.dname} // what is made of it needs no signature (RFC 6672, section 5.3.1)
		} else if len(sets) == 0 {
			sets = []*wire.RRset{l.set}
		}
		proof := l.proof
		l.proof = nil // what proves nothing here is not kept: nobody has verified it
		worst := verdict{sec: secSecure, reason: edeNone}
		for _, s := range sets {
			v := t.verify(s, l.zone)
			if v.sec == secSecure && v.wild {
				l.wild = true
				v = t.expansion(l, s, proof, v.labels)
			}
			worst = worse(worst, v)
		}
		return worst
	}
	return t.denial(l, name, typ)
}

// worse returns the verdict that holds for both together.
func worse(a, b verdict) verdict {
	rank := func(v verdict) int {
		switch v.sec {
		case secSecure:
			return 0
		case secInsecure:
			return 1
		case secBogus:
			return 3
		}
		return 2
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// verify validates one set that servers of zone gave.
func (t *task) verify(s *wire.RRset, zone []byte) verdict {
	if len(s.Sigs) == 0 {
		return t.unsigned(zone, s.Owner, s.Type)
	}
	signer := signerOf(s)
	if signer == nil {
		return t.unproven(zone, s.Owner, s.Type, dnssec.WrongSigner.EDE())
	}
	tr := t.trustOf(signer)
	if tr.sec != secSecure {
		if !tr.cut && tr.sec == secBogus && !tr.passing() {
			// Not a zone: whoever signed has no say here.
			return t.unproven(zone, s.Owner, s.Type, dnssec.WrongSigner.EDE())
		}
		return verdict{sec: tr.sec, reason: tr.reason}
	}
	ver, why := dnssec.Verify(s, signer, tr.keys, t.s.now(), &t.b.work)
	if why != 0 {
		return refused(why) // also if it knows none of the algorithms: one of the keys has to have signed
	}
	s.TTL = min(s.TTL, ver.TTL)
	return verdict{sec: secSecure, reason: edeNone, ttl: s.TTL, labels: ver.Labels, wild: ver.Wildcard}
}

// unproven is for signatures that cannot be those of the set's zone: in an insecure
// zone they do not matter.
func (t *task) unproven(zone, owner []byte, typ wire.Type, reason int) verdict {
	v := t.unsigned(zone, owner, typ)
	if v.sec == secBogus {
		v.reason = reason
	}
	return v
}

// signerOf returns the zone that signed a set, in lower case: an ancestor of its
// owner, and for DS a strict one. It returns nil if there is none. Where signatures
// name several, the closest is taken.
func signerOf(s *wire.RRset) []byte {
	var best []byte
	for _, sig := range s.Sigs {
		if len(sig) < 19 {
			continue
		}
		n, err := wire.CheckName(sig[18:])
		if err != nil {
			continue
		}
		name := sig[18 : 18+n]
		if !wire.Subdomain(s.Owner, name) || s.Type == wire.TypeDS && len(name) == len(s.Owner) {
			continue
		}
		if len(name) > len(best) {
			best = name
		}
	}
	if best == nil {
		return nil
	}
	return wire.Lower(nil, best)
}

// unsigned judges data without signatures for owner, of servers of zone: it is good
// in an insecure zone only. The zone may be one that nobody told of, below zone, if
// the same servers have both.
func (t *task) unsigned(zone, owner []byte, typ wire.Type) verdict {
	at := owner
	if typ == wire.TypeDS && len(at) > 1 {
		at = parent(at)
	}
	if len(zone) > len(at) {
		zone = at
	}
	tr := t.trustOf(zone)
	if tr.sec != secSecure {
		return verdict{sec: tr.sec, reason: tr.reason}
	}
	// Look for an insecure delegation between the zone and the name.
	var names [maxCutWalk][]byte
	n := 0
	for name := at; len(name) > len(zone); name = parent(name) {
		if n == len(names) {
			return bogus(dnssec.NoSignature.EDE())
		}
		names[n] = name
		n++
	}
	for n--; n >= 0; n-- {
		tr := t.trustOf(names[n])
		if tr.passing() {
			return bogus(edePassing)
		}
		if tr.cut && tr.sec != secSecure {
			return verdict{sec: tr.sec, reason: tr.reason}
		}
	}
	return bogus(dnssec.NoSignature.EDE())
}

// trustOf returns what is known of the keys of a zone, and finds it out if need be.
// If name is not a zone, cut is false and the rest is that of the zone it lies in.
func (t *task) trustOf(name []byte) *trust {
	now := time.Now()
	if tr := t.r.trusts.get(name, now); tr != nil {
		return tr
	}
	tr := t.findTrust(name)
	if tr.expires.IsZero() {
		tr.expires = now.Add(bogusTTL * time.Second)
	}
	if t.b.left() > 0 && !tr.passing() {
		t.r.trusts.put(t.w, bytes.Clone(name), tr)
	}
	return tr
}

// passing tells whether the trust is a matter of this question's budget, and must
// not be kept for others.
func (tr *trust) passing() bool { return tr.reason == edePassing }

// edePassing marks failures that say nothing of the zone. It is sent as edeOther.
const edePassing = 1 << 16

func (t *task) findTrust(name []byte) *trust {
	if t.negativeTrust(name) {
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: time.Now().Add(time.Minute)}
	}
	if a := t.s.anchors[string(name)]; a != nil {
		return t.anchored(name, a)
	}
	if !t.belowAnchor(name) {
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: time.Now().Add(time.Hour)}
	}
	finding := frame{question: question{name: string(name)}, keys: true}
	if t.depth > t.s.Limits.Depth+wire.MaxLabels || slices.Contains(t.stack, finding) {
		return &trust{sec: secBogus, reason: edePassing} // a circle
	}
	t.stack = append(t.stack, finding)
	defer func() { t.stack = t.stack[:len(t.stack)-1] }()

	// Below an insecure cut nothing has to be asked.
	up := t.cutAbove(parent(name), 0)
	above := t.trustOf(t.zoneAbove(up, name))
	if above.sec != secSecure {
		return &trust{sec: above.sec, reason: above.reason, cut: true, expires: above.expires}
	}
	l := t.lookup(name, wire.TypeDS)
	switch {
	case l.fail != nil:
		tr := &trust{sec: secBogus, reason: l.fail.ede}
		if l.fail.now {
			tr.reason = edePassing
		}
		return tr
	case l.sec == secBogus:
		return &trust{sec: secBogus, reason: l.reason}
	case l.kind == foundAnswer && l.sec == secSecure:
		return t.delegated(name, l.set)
	case l.sec == secInsecure && l.kind != foundAlias:
		return &trust{sec: secInsecure, reason: l.reason, cut: true, expires: t.until(l)}
	case l.kind == foundNoData && l.sec == secSecure && t.insecureCut(l, name):
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: t.until(l)}
	case l.kind == foundNXDomain && l.sec == secSecure && t.privateRoute(name):
		// The operator says that the zone is there, and the public tree proves that it
		// is not: nobody can have forged that, and there is nothing to validate by.
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: t.until(l)}
	}
	// No cut: the name lies in the zone above, or does not exist.
	return &trust{sec: secBogus, reason: dnssec.WrongSigner.EDE(), expires: t.until(l)}
}

// insecureCut tells whether the proof that name has no DS records shows a delegation.
// The proof was verified before.
func (t *task) insecureCut(l *link, name []byte) bool {
	d := &dnssec.Denial{}
	for _, s := range l.proof {
		switch signer := signerOf(s); {
		case signer == nil:
		case s.Type == wire.TypeNSEC:
			d.Zone = signer
			d.AddNSEC(s.Owner, s.Data[0])
		case s.Type == wire.TypeNSEC3:
			d.Zone = signer
			d.AddNSEC3(s.Owner, s.Data[0])
		}
	}
	if d.Zone == nil {
		return false
	}
	proof, why := d.NoDS(name, &t.b.work)
	return why == 0 && proof.Delegation
}

// zoneAbove returns the zone of up, or the closest anchor if that is deeper, above
// name.
func (t *task) zoneAbove(up *cut, name []byte) []byte {
	for n := parent(name); ; n = parent(n) {
		if t.s.anchors[string(n)] != nil || len(n) <= len(up.zone) && !up.local {
			return n
		}
		if len(n) == 1 {
			return n
		}
	}
}

// until returns when what a link says ends.
func (t *task) until(l *link) time.Time {
	ttl := uint32(maxDelegationTTL)
	if l.set != nil {
		ttl = l.set.TTL
	} else if len(l.proof) > 0 {
		ttl = smallest(l.proof)
	}
	return time.Now().Add(time.Duration(max(ttl, 1)) * time.Second)
}

func (t *task) belowAnchor(name []byte) bool {
	for n := name; ; n = parent(n) {
		if t.s.anchors[string(n)] != nil {
			return true
		}
		if len(n) == 1 {
			return false
		}
	}
}

// negativeTrust tells whether an operator has declared name insecure (RFC 7646). An
// anchor below the negative one is stronger.
func (t *task) negativeTrust(name []byte) bool {
	if len(t.s.Negative) == 0 {
		return false
	}
	for n := name; ; n = parent(n) {
		for i := range t.s.Negative {
			g := &t.s.Negative[i]
			if bytes.Equal(g.Zone, n) && (g.Until.IsZero() || time.Now().Before(g.Until)) {
				return true
			}
		}
		if len(n) == 1 || t.s.anchors[string(n)] != nil {
			return false
		}
	}
}

// privateRoute tells whether a route other than the root's leads to name.
func (t *task) privateRoute(name []byte) bool {
	r, _ := t.s.route(name)
	return r != nil && len(r.Zone) > 1
}

// anchored finds the keys of a zone that has a trust anchor.
func (t *task) anchored(name []byte, a *Anchor) *trust {
	return t.keysOf(name, a.DS, a.Keys)
}

// delegated finds the keys of a zone that its parent vouches for.
func (t *task) delegated(name []byte, ds *wire.RRset) *trust {
	tr := t.keysOf(name, ds.Data, nil)
	if end := time.Now().Add(time.Duration(ds.TTL) * time.Second); tr.sec != secBogus && end.Before(tr.expires) {
		tr.expires = end
	}
	return tr
}

// keysOf gets the DNSKEY set of a zone and validates it by DS records or keys
// (RFC 4035, section 5.2). If no algorithm of them is supported, the zone is
// insecure; one that is makes it secure or bogus.
func (t *task) keysOf(name []byte, ds, anchors [][]byte) *trust {
	usable := usableDS(ds)
	if len(usable) == 0 && !anyUsableKey(anchors) {
		reason := dnssec.UnsupportedAlgorithm.EDE()
		if len(ds) > 0 && !anyDigest(ds) {
			reason = dnssec.UnsupportedDigest.EDE()
		}
		return &trust{sec: secInsecure, reason: reason, cut: true, expires: time.Now().Add(time.Hour)}
	}
	l := t.dnskey(name)
	switch {
	case l.fail != nil:
		tr := &trust{sec: secBogus, reason: l.fail.ede, cut: true}
		if l.fail.now {
			tr.reason = edePassing
		}
		return tr
	case l.kind != foundAnswer:
		return &trust{sec: secBogus, reason: dnssec.NoKey.EDE(), cut: true}
	}
	all := make([]dnssec.Key, 0, len(l.set.Data))
	var entry []dnssec.Key
	missing := dnssec.NoKey
	for _, d := range l.set.Data {
		k, ok := dnssec.ParseKey(bytes.Clone(d))
		if ok && !k.Zone() && vouched(name, &k, usable, anchors) {
			missing = dnssec.NoZoneKey
		}
		if !ok || !k.Zone() || k.Revoked() {
			continue
		}
		all = append(all, k)
		if len(entry) < maxEntryKeys && vouched(name, &k, usable, anchors) {
			entry = append(entry, k)
		}
	}
	if len(entry) == 0 {
		return &trust{sec: secBogus, reason: missing.EDE(), cut: true}
	}
	ver, why := dnssec.Verify(l.set, name, entry, t.s.now(), &t.b.work)
	if why != 0 {
		tr := &trust{sec: secBogus, reason: why.EDE(), cut: true}
		if why == dnssec.WorkSpent {
			tr.reason = edePassing
		}
		return tr
	}
	l.set.TTL = min(l.set.TTL, ver.TTL)
	t.keepSet(l.part, l.set, cache.AuthAnswer, secSecure)
	ttl := max(min(l.set.TTL, maxDelegationTTL), 1)
	return &trust{sec: secSecure, keys: all, reason: edeNone, cut: true, expires: time.Now().Add(time.Duration(ttl) * time.Second)}
}

// maxEntryKeys is how many keys of a zone its parent may vouch for: a roll of the key
// signing key and of the algorithm at one time (KeyTrap, CVE-2023-50387).
const maxEntryKeys = 4

// dnskey looks up the DNSKEY set of a zone without validating it.
func (t *task) dnskey(name []byte) *link {
	defer t.unvalidated()()
	return t.below(name, wire.TypeDNSKEY)
}

// unvalidated switches validation off until the function returned is called.
func (t *task) unvalidated() func() {
	before := t.validate
	t.validate = false
	return func() { t.validate = before }
}

// usableDS returns the DS records whose algorithm and digest are supported, without
// SHA-1 digests where there is a better one (RFC 4509, section 3).
func usableDS(ds [][]byte) [][]byte {
	var usable [][]byte
	strong := false
	for _, d := range ds {
		if len(d) > 4 && dnssec.SupportedAlgorithm(d[2]) && dnssec.SupportedDigest(d[3]) {
			usable = append(usable, d)
			strong = strong || d[3] != 1
		}
	}
	if !strong {
		return usable
	}
	kept := usable[:0]
	for _, d := range usable {
		if d[3] != 1 {
			kept = append(kept, d)
		}
	}
	return kept[:min(len(kept), maxDS)]
}

// maxDS is how many DS records of one delegation are compared with keys.
const maxDS = 8

func anyDigest(ds [][]byte) bool {
	for _, d := range ds {
		if len(d) > 4 && dnssec.SupportedDigest(d[3]) {
			return true
		}
	}
	return false
}

func anyUsableKey(keys [][]byte) bool {
	for _, d := range keys {
		if k, ok := dnssec.ParseKey(d); ok && dnssec.SupportedAlgorithm(k.Algorithm) {
			return true
		}
	}
	return false
}

// vouched tells whether a DS record or an anchor stands for the key.
func vouched(zone []byte, k *dnssec.Key, ds, anchors [][]byte) bool {
	for _, d := range ds {
		if dnssec.MatchDS(d, zone, k.Data) {
			return true
		}
	}
	for _, d := range anchors {
		if bytes.Equal(d, k.Data) {
			return true
		}
	}
	return false
}

// expansion demands the proof that no closer name than the wildcard exists
// (RFC 4035, section 5.3.4; RFC 5155, section 8.8), and adds it to the link.
func (t *task) expansion(l *link, s *wire.RRset, proof []*wire.RRset, labels int) verdict {
	d, good, v := t.proofs(proof, signerOf(s), l.zone)
	if v.sec != secSecure {
		return v
	}
	p, why := d.Wildcard(s.Owner, labels, &t.b.work)
	if why != 0 {
		return refused(why)
	}
	for _, s := range good {
		if !slices.Contains(l.proof, s) {
			l.proof = append(l.proof, s)
		}
	}
	return proven(p)
}

// proven turns a good proof into a verdict: with opt-out or too many iterations it
// proves nothing for certain.
func proven(p dnssec.Proof) verdict {
	switch {
	case p.Insecure:
		return insecure(dnssec.TooManyIterations.EDE())
	case p.OptOut:
		return insecure(edeNone)
	}
	return verdict{sec: secSecure, reason: edeNone}
}

// proofs verifies the NSEC and NSEC3 records among sets and returns what those of zone
// prove, and which these are. A nil zone is the one that signed the first of them.
func (t *task) proofs(sets []*wire.RRset, zone, from []byte) (d *dnssec.Denial, good []*wire.RRset, v verdict) {
	d = &dnssec.Denial{}
	seen := 0
	for _, s := range sets {
		if s.Type != wire.TypeNSEC && s.Type != wire.TypeNSEC3 || len(s.Data) != 1 {
			continue
		}
		signer := signerOf(s)
		if signer == nil || zone != nil && !bytes.Equal(signer, zone) {
			continue
		}
		if seen++; seen > maxProofs {
			break
		}
		if v = t.verify(s, from); v.sec != secSecure {
			return d, good, v
		} else if v.wild {
			continue // no proof is made from a wildcard
		}
		zone = signer
		d.Zone = signer
		good = append(good, s)
		if s.Type == wire.TypeNSEC {
			d.AddNSEC(s.Owner, s.Data[0])
		} else {
			d.AddNSEC3(s.Owner, s.Data[0])
		}
	}
	if d.Zone == nil {
		return d, good, bogus(dnssec.NoProof.EDE())
	}
	return d, good, verdict{sec: secSecure, reason: edeNone}
}

// maxProofs is how many NSEC and NSEC3 records of one reply are looked at (padded
// denials, CVE-2026-11605).
const maxProofs = 8

// denial judges a reply that says that there is nothing. Of one that is secure, l.proof
// is what was verified.
func (t *task) denial(l *link, name []byte, typ wire.Type) verdict {
	signed := false
	var soa *wire.RRset
	for _, s := range l.proof {
		signed = signed || len(s.Sigs) > 0
		if s.Type == wire.TypeSOA {
			soa = s
		}
	}
	if !signed {
		return t.unsigned(l.zone, name, typ)
	}
	if soa != nil {
		if v := t.verify(soa, l.zone); v.sec != secSecure {
			return v
		} else if v.wild {
			return bogus(dnssec.BadProof.EDE())
		}
	}
	d, good, v := t.proofs(l.proof, nil, l.zone)
	if v.sec != secSecure {
		if v.sec == secBogus && v.reason == dnssec.NoProof.EDE() {
			u := t.unsigned(l.zone, name, typ)
			if u.sec != secSecure && u.sec != secBogus {
				return u
			}
		}
		return v
	}
	if !wire.Subdomain(name, d.Zone) {
		return bogus(dnssec.BadProof.EDE())
	}
	var proof dnssec.Proof
	var why dnssec.Reason
	switch {
	case typ == wire.TypeDS && l.kind == foundNoData:
		proof, why = d.NoDS(name, &t.b.work)
	case l.kind == foundNXDomain:
		proof, why = d.NXDomain(name, &t.b.work)
	default:
		proof, why = d.NoData(name, typ, &t.b.work)
	}
	if why != 0 {
		return refused(why)
	}
	if v = proven(proof); v.sec == secSecure {
		if l.proof = good; soa != nil {
			l.proof = append([]*wire.RRset{soa}, good...)
		}
	}
	return v
}
