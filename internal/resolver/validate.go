package resolver

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/why"
	"port53/internal/wire"
)

// A trust is what is known of a zone's keys.
type trust struct {
	sec     cache.Security // secSecure: keys are good; secInsecure; secBogus
	keys    []dnssec.Key
	reason  int  // EDE of what is not secure; edeNone
	cut     bool // it is a zone, or may be one; false: it is proven to be none
	expires time.Time

	cause *why.Step // of one that is not secure, what was noted of it; nil: nothing was

	from, until time.Time // of a secure one: when the signature of its keys is valid
}

// trusts keep the keys of zones, parsed.
type trusts struct {
	mu sync.RWMutex
	m  map[string]*trust
}

// trusts returns the keys that were learned for the view that the task is for.
func (t *task) trusts() *trusts { return &t.r.trusts[t.s.Partition] }

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
		ts.m = make(map[string]*trust) // all are learned again: simpler than knowing which is needed least
	}
	ts.m[string(zone)] = tr
}

func (ts *trusts) clear() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.m = nil
}

// doubt forgets that the keys of a zone are no good.
func (ts *trusts) doubt(zone []byte) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if tr := ts.m[string(zone)]; tr != nil && tr.sec == secBogus {
		delete(ts.m, string(zone))
	}
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
	reason int           // EDE; edeNone
	why    dnssec.Reason // of what is not secure by this set; 0: see the keys
	ttl    uint32
	zone   []byte // that signed the set, if it is secure
	labels int    // of the signature, where the set was made from a wildcard
	wild   bool   // it was
}

func insecure(reason int) verdict { return verdict{sec: secInsecure, reason: reason} }
func bogus(reason int) verdict    { return verdict{sec: secBogus, reason: reason} }

// refused returns the verdict for a reason of package dnssec. Work that is spent says
// nothing of the data.
func refused(why dnssec.Reason) verdict {
	v := bogus(why.EDE())
	if why == dnssec.WorkLimit {
		v.reason = edePassing
	}
	v.why = why
	return v
}

// check validates a link: every set of it, and that the proofs say what the link
// says. It sets l.sec and l.reason, lowers TTLs to what signatures allow, and marks
// what was made from a wildcard.
func (t *task) check(l *link, name []byte, typ wire.Type) {
	v := t.judge(l, name, typ)
	t.trace.judged(l, name, typ, &v)
	t.noteVerdict(l, name, typ, &v)
	l.sec = v.sec
	l.reason = v.reason
	if v.sec == secBogus && !unreachable(v.reason) {
		t.r.counters.Bogus.Add(1)
	}
}

func (t *task) judge(l *link, name []byte, typ wire.Type) verdict {
	at := dnssec.ParentSide(name, typ)
	if l.partition.Route() == routeLocal && len(t.s.Local.Apex(name, typ)) >= len(t.anchorOf(at)) || t.negativeTrust(name) {
		if t.noting && t.negativeTrust(name) {
			t.note(&why.Step{Kind: why.Untrusted, Name: name, Type: typ, Zone: l.zone, EDE: edeNone})
		}
		return insecure(edeNone)
	}
	switch l.kind {
	case foundAnswer, foundAlias, foundTooLong:
		if typ == wire.TypeRRSIG && l.kind == foundAnswer {
			return insecure(edeNone) // signatures are not signed
		}
		sets := l.all
		if dname := l.rename(); dname != nil {
			if len(dname.Owner) < len(t.anchorOf(at)) {
				return refused(dnssec.WrongSigner) // a zone above the anchor renames nothing below it
			}
			sets = []*wire.RRset{dname} // what is made of it needs no signature (RFC 6672, section 5.3.1)
		} else if len(sets) == 0 {
			sets = []*wire.RRset{l.set}
		}
		proof := l.proof
		l.proof = nil // what proves nothing here is not kept: nobody has verified it
		worst := verdict{sec: secSecure, reason: edeNone}
		for i, s := range sets {
			holder := dnssec.ParentSide(s.Owner, s.Type)
			if len(at) < len(holder) {
				holder = at // an alias where DS records were asked for is the parent's too
			}
			v := t.verify(s, l.zone, holder)
			if v.sec == secSecure && v.wild {
				l.wild = true
				if s == l.dname {
					// The wildcard's record would be that of the whole name, and rename nothing
					// below it (RFC 4592, section 4.4): somebody plays it back.
					return refused(dnssec.NoProof)
				}
				v = t.expansion(l, s, proof, &v, holder)
			}
			if v.reason == edePassing && i > 0 && typ == wire.TypeANY {
				l.all = l.all[:i] // who asks for all gets what a question may cost (RFC 8482, section 4.1)
				break
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

// verify validates one set that servers of zone gave, and that the zone of the name at
// holds.
func (t *task) verify(s *wire.RRset, zone, at []byte) verdict {
	if len(s.Sigs) == 0 {
		return t.unsigned(zone, at)
	}
	signer := t.signerOf(at, s)
	if signer == nil {
		return t.unproven(zone, at, dnssec.WrongSigner)
	}
	tr := t.trustOf(signer)
	switch {
	case tr.sec == secSecure:
		return t.verifyBy(s, signer, tr.keys)
	case !tr.cut && tr.sec == secBogus:
		// Not a zone: whoever signed has no say here.
		return t.unproven(zone, at, dnssec.WrongSigner)
	}
	return verdict{sec: tr.sec, reason: tr.reason}
}

// verifyBy validates one set by the keys of a zone.
func (t *task) verifyBy(s *wire.RRset, zone []byte, keys []dnssec.Key) verdict {
	ver, why := dnssec.Verify(s, zone, keys, t.s.now(), &t.b.work)
	if why != 0 {
		return refused(why) // also if it knows none of the algorithms: one of the keys has to have signed
	}
	s.TTL = min(s.TTL, ver.TTL)
	return verdict{sec: secSecure, reason: edeNone, ttl: s.TTL, zone: zone, labels: ver.Labels, wild: ver.Wildcard}
}

// unproven is for signatures that cannot be those of the zone of the name at: in an
// insecure zone they do not matter.
func (t *task) unproven(zone, at []byte, why dnssec.Reason) verdict {
	v := t.unsigned(zone, at)
	if v.sec == secBogus && v.reason != edePassing && v.why != 0 {
		v.reason, v.why = why.EDE(), why
	} else if v.sec == secBogus && v.reason != edePassing {
		v.reason = why.EDE()
	}
	return v
}

// signerOf returns the zone that speaks for the name at, in lower case, or nil: the
// closest that signed one of sets (dnssec.SignerOf). A zone above the anchor that is closest
// to the name has no say.
func (t *task) signerOf(at []byte, sets ...*wire.RRset) []byte {
	anchor := t.anchorOf(at)
	if anchor == nil {
		return nil
	}
	if signer := dnssec.SignerOf(at, sets...); len(signer) >= len(anchor) {
		return signer
	}
	return nil
}

// unsigned judges data without signatures that the zone of the name at holds, and that
// servers of zone gave: it is good in an insecure zone only. The name's zone may be one
// that nobody told of, below zone, if the same servers have both. What servers of a zone
// above the closest anchor say, or those that an operator sends such names to, is data of
// the anchor's zone or none.
func (t *task) unsigned(zone, at []byte) verdict {
	anchor := t.anchorOf(at)
	switch {
	case anchor == nil:
		return insecure(edeNone)
	case len(zone) > len(at):
		zone = at
	case len(zone) < len(anchor):
		zone = anchor
	}
	tr := t.trustOf(zone)
	if tr.sec == secSecure {
		tr = t.lastCut(zone, at, tr)
	}
	if tr.sec != secSecure {
		return verdict{sec: tr.sec, reason: tr.reason}
	}
	return refused(dnssec.NoSignature)
}

// lastCut looks for cuts that nobody told of between zone, whose trust is tr, and the
// name at, from above. It returns what is known of the first zone that is not secure,
// or else of the last.
func (t *task) lastCut(zone, at []byte, tr *trust) *trust {
	below := wire.LabelCount(at) - wire.LabelCount(zone)
	for done := 0; done < below; {
		cut := t.nextCut(at, below, done)
		if cut == 0 {
			break
		}
		if tr = t.trustOf(ancestor(at, below-cut)); tr.sec != secSecure {
			break
		}
		done = cut
	}
	return tr
}

// nextCut returns how many labels below a zone its first cut on the way to the name at is, which is
// so many labels below it, or 0 if there is none; none is known of in the first labels.
//
// A zone that denies DS records of a name of its own has not delegated what is above that name
// either: so the steps down become longer, and not all of the 32 labels of an address are asked
// for. What lies below a cut is known by the zone above it as insecure, or not at all.
func (t *task) nextCut(at []byte, below, none int) int {
	isCut := func(labels int) bool { return t.trustOf(ancestor(at, below-labels)).cut }
	cut := none
	for step := 1; ; step *= 2 {
		cut = min(none+step, below)
		if isCut(cut) {
			break
		}
		if none = cut; none == below {
			return 0
		}
	}
	for cut-none > 1 {
		if middle := (none + cut) / 2; isCut(middle) {
			cut = middle
		} else {
			none = middle
		}
	}
	return cut
}

// ancestor returns the name without its first labels.
func ancestor(name []byte, labels int) []byte {
	for range labels {
		name = wire.Parent(name)
	}
	return name
}

// trustOf returns what is known of the keys of a zone, and finds it out if need be.
// If name is proven to be no zone, cut is false, and it is as good as a bogus one.
func (t *task) trustOf(name []byte) *trust {
	now := time.Now()
	if tr := t.trusts().get(name, now); tr != nil {
		if tr.cause != nil && tr.sec == secBogus {
			kept := *tr.cause
			t.note(&kept)
		}
		return tr
	}
	tr := t.findTrust(name)
	if tr.sec == secBogus && tr.cause == nil && tr.cut {
		tr.cause = t.lastReason()
	}
	switch {
	case !tr.expires.IsZero():
	case unreachable(tr.reason):
		tr.expires = now.Add(unreachableTTL)
	default:
		tr.expires = now.Add(bogusTTL * time.Second)
	}
	if t.b.left() > 0 && !tr.passing() {
		t.trusts().put(t.w, bytes.Clone(name), tr)
	}
	return tr
}

// passing reports whether the trust is a matter of this question's budget, and must
// not be kept for others.
func (tr *trust) passing() bool { return tr.reason == edePassing }

// unreachable reports whether something could not be fetched, which says nothing of what it is.
// It is no permission either: what it takes to validate is missing (RFC 4035, section 5).
func unreachable(reason int) bool {
	return reason == wire.EDENoReachableAuthority || reason == wire.EDENetworkError
}

// edePassing marks failures that say nothing of the zone. It is sent as wire.EDEOther.
const edePassing = 1 << 16

// findTrust finds out the keys of a zone, from the closest anchor down. Whatever is asked
// for on the way is judged by zones above name, so that it comes to an end.
func (t *task) findTrust(name []byte) *trust {
	if t.negativeTrust(name) {
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: time.Now().Add(time.Minute)}
	}
	if a := t.s.anchors[string(name)]; a != nil {
		tr, _ := t.keysOf(name, a.DS, a.Keys)
		return tr
	}
	if t.anchorOf(name) == nil {
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: time.Now().Add(time.Hour)}
	}
	// Below an insecure cut nothing has to be asked.
	zone := t.zoneAbove(t.cutAbove(wire.Parent(name), 0), name)
	above := t.trustOf(zone)
	if above.sec == secSecure && t.privateRoute(name) {
		// Whoever serves the public zones above a private one may be nobody. One of them that is
		// proven to be insecure is enough (RFC 4035, section 5.2), and is found from above.
		above = t.lastCut(zone, wire.Parent(name), above)
	}
	if above.sec != secSecure {
		return &trust{sec: above.sec, reason: above.reason, cut: true, expires: above.expires}
	}
	if tr := t.besideAlias(name); tr != nil {
		return tr
	}
	l := t.lookup(name, wire.TypeDS)
	switch {
	case l.fail != nil:
		tr := &trust{sec: secBogus, reason: l.fail.ede, cut: true}
		if l.fail.now {
			tr.reason = edePassing
		}
		return tr
	case l.sec == secBogus:
		return &trust{sec: secBogus, reason: l.reason, cut: true}
	case l.kind == foundAnswer && l.sec == secSecure:
		return t.delegated(name, l.set)
	case l.sec == secInsecure && l.rename() == nil && l.kind != foundAlias:
		return &trust{sec: secInsecure, reason: l.reason, cut: true, expires: t.until(l)}
	case l.kind == foundNoData && l.sec == secSecure && t.insecureCut(l.proof, name):
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: t.until(l)}
	case l.kind == foundNXDomain && l.sec == secSecure && t.privateRoute(name):
		// The operator says that the zone is there, and the public tree proves that it
		// is not: nobody can have forged that, and there is nothing to validate by.
		return &trust{sec: secInsecure, reason: edeNone, cut: true, expires: t.until(l)}
	}
	// No cut: the name lies in the zone above, or does not exist.
	return &trust{sec: secBogus, reason: dnssec.WrongSigner.EDE(), expires: t.until(l)}
}

// besideAlias returns the trust of a name that is insecure by a proof of the zone above it which
// came with the alias that led here: some servers send it along, and it saves a question. Else nil.
func (t *task) besideAlias(name []byte) *trust {
	zone := t.signerOf(dnssec.ParentSide(name, wire.TypeDS), t.beside...)
	if zone == nil {
		return nil
	}
	tr := t.trusts().get(zone, time.Now())
	if tr == nil || tr.sec != secSecure {
		return nil
	}
	by := dnssec.Zone{Name: zone, Keys: tr.keys}
	good, p, why := by.VerifyNegative(name, wire.TypeDS, false, t.beside, t.s.now(), &t.b.work)
	if why != 0 || !p.Delegation && !p.OptOut {
		return nil
	}
	return &trust{
		sec:     secInsecure,
		reason:  edeNone,
		cut:     true,
		expires: time.Now().Add(time.Duration(max(smallest(good), 1)) * time.Second),
	}
}

// insecureCut reports whether the proof that name has no DS records, which was verified
// before, shows a delegation.
func (t *task) insecureCut(proof []*wire.RRset, name []byte) bool {
	zone := t.signerOf(dnssec.ParentSide(name, wire.TypeDS), proof...)
	if zone == nil {
		return false
	}
	p, why := dnssec.NewDenial(zone, proof).NoDS(name, &t.b.work)
	return why == 0 && p.Unsigned()
}

// zoneAbove returns the zone of up, or the closest anchor if that is deeper, above
// name.
func (t *task) zoneAbove(up *cut, name []byte) []byte {
	for n := wire.Parent(name); ; n = wire.Parent(n) {
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
	ttl := smallest(l.proof)
	if l.set != nil {
		ttl = l.set.TTL
	}
	return time.Now().Add(time.Duration(max(ttl, 1)) * time.Second)
}

// anchorOf returns the closest name at or above name that has a trust anchor, or nil:
// it alone decides what is secure there, whatever the zones above it are.
func (t *task) anchorOf(name []byte) []byte {
	for n := name; ; n = wire.Parent(n) {
		if t.s.anchors[string(n)] != nil {
			return n
		}
		if len(n) == 1 {
			return nil
		}
	}
}

// negativeTrust reports whether an operator has declared name insecure (RFC 7646). An
// anchor below the negative one is stronger.
func (t *task) negativeTrust(name []byte) bool {
	if len(t.s.Negative) == 0 {
		return false
	}
	for n := name; ; n = wire.Parent(n) {
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

// privateRoute reports whether an operator has named servers for the zone name itself. What they
// say is not there, below it, is not there.
func (t *task) privateRoute(name []byte) bool {
	r, _ := t.s.route(name)
	return r != nil && bytes.Equal(r.Zone, name)
}

// delegated finds the keys of a zone that its parent vouches for.
func (t *task) delegated(name []byte, ds *wire.RRset) *trust {
	tr, _ := t.keysOf(name, ds.Data, nil)
	if end := time.Now().Add(time.Duration(ds.TTL) * time.Second); tr.sec != secBogus && end.Before(tr.expires) {
		tr.expires = end
	}
	return tr
}

// keysOf gets the DNSKEY set of a zone and validates it by DS records or keys
// (RFC 4035, section 5.2). If no algorithm of them is supported, or keys of no such size, the
// zone is insecure; one that is makes it secure, and then the set is returned too, or bogus.
//
// A set that does not validate is forgotten, and other servers are asked: one of them may
// be stale or worse, and another right (RFC 4035, section 5.5).
func (t *task) keysOf(name []byte, ds, anchors [][]byte) (*trust, *wire.RRset) {
	point := &dnssec.TrustPoint{DS: ds, DNSKEYs: anchors}
	if why := point.Unsupported(); why != 0 {
		return &trust{sec: secInsecure, reason: why.EDE(), cut: true, expires: time.Now().Add(time.Hour)}, nil
	}
	avoided := len(t.avoid)
	defer func() { t.avoid = t.avoid[:avoided] }()
	var doubtful *trust
	for tries := 0; ; tries++ {
		l := t.dnskey(name)
		tr := t.keysIn(l, name, point)
		switch {
		case tr.sec == secSecure:
			return tr, l.set
		case tr.sec == secInsecure:
			return tr, nil
		case tr.passing():
			return tr, nil // what others would say is for the next question to find out
		case l.fail != nil && doubtful != nil:
			return doubtful, nil
		case l.fail != nil || len(t.avoid)-avoided >= maxDoubts || tries > maxDoubts:
			return tr, nil
		}
		doubtful = tr
		t.forget(l, name, wire.TypeDNSKEY)
		if l.server.IsValid() {
			t.avoid = append(t.avoid, lameKey{l.server, t.hash(l.zone)})
		}
	}
}

// keysIn validates the DNSKEY set that was found for a zone.
func (t *task) keysIn(l *link, name []byte, point *dnssec.TrustPoint) *trust {
	tr := &trust{sec: secBogus, reason: dnssec.NoKey.EDE(), cut: true}
	switch {
	case l.fail != nil && l.fail.now:
		tr.reason = edePassing
		return tr
	case l.fail != nil:
		tr.reason = l.fail.ede
		return tr
	case l.kind != foundAnswer:
		t.noteKeys(l, name, point, dnssec.NoKey)
		return tr
	}
	keys, ver, why := point.Keys(l.set, t.s.now(), &t.b.work)
	switch why {
	case 0:
	case dnssec.UnsupportedKey:
		return &trust{sec: secInsecure, reason: why.EDE(), cut: true, expires: time.Now().Add(time.Hour)}
	default:
		t.noteKeys(l, name, point, why)
		tr.reason = refused(why).reason
		return tr
	}
	l.set.TTL = min(l.set.TTL, ver.TTL)
	t.keepSet(l.partition, l.set, cache.AuthAnswer, secSecure)
	ttl := max(min(l.set.TTL, maxDelegationTTL), 1)
	tr = &trust{sec: secSecure, keys: keys, reason: edeNone, cut: true, expires: time.Now().Add(time.Duration(ttl) * time.Second)}
	tr.window(ver)
	return tr
}

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

// expansion demands the proof that no closer name than the wildcard exists of which v
// says that s was made (RFC 4035, section 5.3.4; RFC 5155, section 8.8), and adds it to
// the link.
func (t *task) expansion(l *link, s *wire.RRset, proof []*wire.RRset, v *verdict, holder []byte) verdict {
	zone := dnssec.Zone{Name: v.zone, Keys: t.trustOf(v.zone).keys}
	good, p, why := zone.VerifyWildcard(s.Owner, v.labels, proof, t.s.now(), &t.b.work)
	if why != 0 {
		return refused(why)
	}
	for _, s := range good {
		if !slices.Contains(l.proof, s) {
			l.proof = append(l.proof, s)
		}
	}
	return t.proven(p, v.zone, holder)
}

// proven turns a good proof of zone into a verdict for the name at: with opt-out or too
// many iterations it proves nothing for certain.
func (t *task) proven(p dnssec.Proof, zone, at []byte) verdict {
	switch {
	case p.Insecure:
		// The records were not looked at, and may be any of the zone's: they are good
		// for what is in it, and not for what is below a secure delegation out of it.
		own := t.trustOf(zone)
		switch tr := t.lastCut(zone, at, own); {
		case tr.sec == secSecure && tr != own:
			return refused(dnssec.NoProof)
		case tr.sec == secBogus:
			return bogus(tr.reason)
		}
		v := insecure(dnssec.TooManyIterations.EDE())
		v.why = dnssec.TooManyIterations
		return v
	case p.OptOut:
		return insecure(edeNone)
	}
	return verdict{sec: secSecure, reason: edeNone}
}

// denial judges a reply that says that there is nothing. Of one that is secure, l.proof
// is what was verified. What speaks is the zone that would hold the name, and no other:
// whoever proves something else in it has said nothing (RFC 4035, section 5.4).
func (t *task) denial(l *link, name []byte, typ wire.Type) verdict {
	at := dnssec.ParentSide(name, typ)
	zone := t.signerOf(at, l.proof...)
	if zone == nil {
		reason := dnssec.NoSignature
		if slices.ContainsFunc(l.proof, func(s *wire.RRset) bool { return len(s.Sigs) > 0 }) {
			reason = dnssec.NoProof
		}
		return t.unproven(l.zone, at, reason)
	}
	tr := t.trustOf(zone)
	switch {
	case tr.sec == secSecure:
	case !tr.cut && tr.sec == secBogus:
		return t.unproven(l.zone, at, dnssec.WrongSigner)
	default:
		return verdict{sec: tr.sec, reason: tr.reason}
	}
	by := dnssec.Zone{Name: zone, Keys: tr.keys}
	good, proof, why := by.VerifyNegative(name, typ, l.kind == foundNXDomain, l.proof, t.s.now(), &t.b.work)
	if l.kind == foundNXDomain && why != 0 && why != dnssec.WorkLimit {
		// Nobody signs the response code. Some say so of names that have others below them, and
		// what is proven is that (RFC 8020, section 2).
		if g, p, also := by.VerifyNegative(name, typ, false, l.proof, t.s.now(), &t.b.work); also == 0 && !p.Unsigned() {
			l.kind, good, proof, why = foundNoData, g, p, 0
		}
	}
	switch why {
	case 0:
	case dnssec.NoProof:
		return t.unproven(l.zone, at, why)
	default:
		return refused(why)
	}
	v := t.proven(proof, zone, at)
	if v.sec == secSecure {
		l.denier, l.proof = zone, good
	}
	return v
}
