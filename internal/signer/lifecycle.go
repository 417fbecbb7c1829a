package signer

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A Presence is how far a record has come, or gone, in the caches of the world (RFC 7583; the
// words are BIND's).
type Presence uint8

// The states of a record, in the order of its life.
const (
	Hidden      Presence = iota // no cache has it
	Rumoured                    // it is published, and caches may have the set without it
	Omnipresent                 // whoever has the set has it
	Unretentive                 // it is withdrawn, and caches may still have it
)

var presences = [...]string{"hidden", "rumoured", "omnipresent", "unretentive"}

// String returns the word.
func (p Presence) String() string { return presences[p] }

// MarshalText implements [encoding.TextMarshaler].
func (p Presence) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Presence) UnmarshalText(b []byte) error {
	i := slices.Index(presences[:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is not a key state: expected hidden, rumoured, omnipresent or unretentive", b)
	}
	*p = Presence(i)
	return nil
}

// out reports whether a record is published.
func (p Presence) out() bool { return p == Rumoured || p == Omnipresent }

// A RecordState is the state of one of a key's records.
type RecordState struct {
	State Presence  `json:"state"`
	Since time.Time `json:"since,omitzero"`
	// SeenEverywhere is when all servers were first seen to have what is rumoured, or to have no more what
	// is unretentive: from then on caches forget what they had. Zero: they were not.
	SeenEverywhere time.Time `json:"seen_everywhere,omitzero"`
	// SetByHand is that an operator said so, and nobody has looked.
	SetByHand bool `json:"stated_by_hand,omitempty"`
}

func (r *RecordState) set(p Presence, now time.Time) {
	*r = RecordState{State: p, Since: now, SetByHand: r.SetByHand && (p == Omnipresent || p == Hidden)}
}

// pass has the time come that a record's state ends with.
func (r *RecordState) pass(now time.Time, wait time.Duration) bool {
	if r.SeenEverywhere.IsZero() || now.Before(r.SeenEverywhere.Add(wait)) {
		return false
	}
	switch r.State {
	case Rumoured:
		r.set(Omnipresent, now)
	case Unretentive:
		r.set(Hidden, now)
	default:
		return false
	}
	return true
}

// until returns when pass will change something; zero: that is not known.
func (r *RecordState) until(wait time.Duration) time.Time {
	if r.SeenEverywhere.IsZero() || r.State == Omnipresent || r.State == Hidden {
		return time.Time{}
	}
	return r.SeenEverywhere.Add(wait)
}

// see notes of a record that is published by us what all servers have of it.
func (r *RecordState) see(all, none bool, now time.Time) {
	if !r.SeenEverywhere.IsZero() || !(r.State == Rumoured && all || r.State == Unretentive && none) {
		return
	}
	r.SeenEverywhere = now
}

// follow brings the state of a record that is published by others to what was seen of it: that
// some server has it, that some lacks it, and whether all were asked.
func (r *RecordState) follow(some, lacks, whole bool, now time.Time) {
	r.SetByHand = r.SetByHand && !some && !lacks
	switch {
	case !r.State.out() && some:
		r.set(Rumoured, now)
	case r.State.out() && whole && !some, r.State == Omnipresent && lacks:
		r.set(Unretentive, now)
	case r.State == Rumoured && lacks:
		r.SeenEverywhere = time.Time{}
	}
	r.see(whole && !lacks, whole && !some, now)
}

// Why a key leaves.
const (
	leavesRolled   = "rolled"   // there is another in its place
	leavesInsecure = "insecure" // the zone is to be unsigned
	leavesTimes    = "times"    // its file says so

)

// A KeyLifecycle is what is known of a key of a zone over the years.
type KeyLifecycle struct {
	Name      string    `json:"key"`       // of its files, without endings
	Algorithm uint8     `json:"algorithm"` // number
	Tag       uint16    `json:"tag"`
	SEP       bool      `json:"sep"`
	Private   bool      `json:"private"` // there is, or was, a private key
	Created   time.Time `json:"known_since"`
	Published time.Time `json:"published_since,omitzero"` // when it was published for the first time
	Removed   time.Time `json:"gone_since,omitzero"`      // when its last record had left all caches
	Retiring  string    `json:"leaves,omitempty"`         // why; empty: it is to stay
	// Asked is until when the parent was asked to point at the key, by CDS records or otherwise.
	Asked time.Time `json:"ds_wanted_until,omitzero"`

	DNSKEY     RecordState `json:"dnskey"`
	Signatures RecordState `json:"signatures"` // of the zone's data
	DS         RecordState `json:"ds"`

	key *Key // nil: its files are gone
}

// gone reports whether nobody has anything of the key.
func (k *KeyLifecycle) gone() bool {
	return k.DNSKEY.State == Hidden && k.Signatures.State == Hidden && k.DS.State == Hidden
}

// steady reports whether nothing of the key is on its way.
func (k *KeyLifecycle) steady() bool {
	for _, r := range []*RecordState{&k.DNSKEY, &k.Signatures, &k.DS} {
		if r.State == Rumoured || r.State == Unretentive {
			return false
		}
	}
	return true
}

// A LongestTTL is the longest TTL that caches may have of a kind of set.
type LongestTTL struct {
	Seconds uint32    `json:"seconds"`
	Until   time.Time `json:"until"` // when the last set that had it has left all caches
}

// take notes a TTL that is published now.
func (l *LongestTTL) take(ttl uint32, now time.Time) {
	until := now.Add(time.Duration(ttl) * time.Second)
	if ttl >= l.Seconds || !now.Before(l.Until) {
		*l = LongestTTL{ttl, until}
	}
}

// A Lifecycle is the state of all keys of a zone, and what is known that the next step depends on.
//
// A step is taken when it is safe whatever a cache has of what was published before: time has
// passed since all servers were seen to have the step before, as long as the longest TTL. Keys of
// one algorithm take turns by publishing the next one before it signs (RFC 6781, section 4.1.1.1),
// and before the parent points at it (4.1.2); a new algorithm signs before its keys are published,
// and the old one's signatures are the last to go (4.1.4).
type Lifecycle struct {
	Keys []*KeyLifecycle `json:"keys"`

	Algorithm uint8 `json:"algorithm"` // of the keys that are made
	Split     bool  `json:"split"`     // whether they are a KSK and a ZSK
	// What the policy said when these were last set by it.
	PolicyAlgorithm uint8 `json:"policy_algorithm"`
	PolicySplit     bool  `json:"policy_split"`

	TTL    LongestTTL `json:"longest_ttl"`        // of the zone
	KeyTTL LongestTTL `json:"longest_dnskey_ttl"` // of the DNSKEY set
	DSTTL  uint32     `json:"longest_ds_ttl,omitempty"`

	Parent  []ParentServer `json:"parent"` // what each said last
	Watched time.Time      `json:"parent_known_since,omitzero"`
	Servers []ZoneServer   `json:"servers"` // what each has now

	Insecure bool `json:"insecure"` // the zone is to be unsigned, or is
	Unsigned bool `json:"unsigned"` // it is

	wait waits // of the step that is being taken
}

// A ParentServer is what a server of the parent zone said of the DS records.
type ParentServer struct {
	Server string    `json:"server"`
	At     time.Time `json:"asked,omitzero"` // when it answered last
	DS     [][]byte  `json:"ds"`             // RDATA that it answered then
	TTL    uint32    `json:"ttl,omitempty"`  // of these
	Error  string    `json:"error,omitempty"`
}

// A ZoneServer is what a server of the zone has.
type ZoneServer struct {
	Server string   `json:"server"`
	Keys   [][]byte `json:"-"` // RDATA of its DNSKEY set
	Sigs   [][]byte `json:"-"` // RDATA of the signatures of its SOA record
	Serial uint32   `json:"serial"`
	Error  string   `json:"error,omitempty"`
}

// An Observation is what all servers of the parent, and all of the zone, were seen to have at the same time.
// Those that could not be asked are in it, with Error.
type Observation struct {
	At     time.Time
	Parent []ParentServer // empty: they were not asked
	Zone   []ZoneServer   // likewise; the server that signs is one of them
}

// Observe takes in what was seen.
func (l *Lifecycle) Observe(s *Observation) {
	if len(s.Parent) > 0 {
		l.seeParent(s)
	}
	if len(s.Zone) > 0 {
		l.seeZone(s)
	}
}

// longestDSTTL is the most that is waited for a DS record to leave caches: a week, beyond which they keep
// nothing (RFC 8767, section 4). Whoever answers in the parent's place could stop a roll for good otherwise.
const longestDSTTL = 7 * 24 * 60 * 60

func (l *Lifecycle) seeParent(s *Observation) {
	list := slices.Clone(s.Parent)
	whole := true
	for i := range list {
		p := &list[i]
		if p.Error == "" {
			l.DSTTL = max(l.DSTTL, min(p.TTL, longestDSTTL))
			continue
		}
		whole = false
		if before := slices.IndexFunc(l.Parent, func(b ParentServer) bool { return b.Server == p.Server }); before >= 0 {
			p.At, p.DS, p.TTL = l.Parent[before].At, l.Parent[before].DS, l.Parent[before].TTL
		}
	}
	if l.Parent = list; whole && l.Watched.IsZero() {
		l.Watched = s.At
	}
	for _, k := range l.Keys {
		some, lacks := false, false
		for i := range s.Parent {
			if s.Parent[i].Error == "" {
				has, perhaps := k.among(s.Parent[i].DS)
				some, lacks = some || has || perhaps, lacks || !has
			}
		}
		if some || lacks {
			k.DS.follow(some, lacks, whole, s.At)
		}
	}
}

// among reports whether DS records stand for the key, and whether one may that cannot be judged,
// since its digest is not known.
func (k *KeyLifecycle) among(list [][]byte) (has, perhaps bool) {
	for _, ds := range list {
		if len(ds) < 5 || binary.BigEndian.Uint16(ds) != k.Tag || ds[2] != k.Algorithm {
			continue
		}
		switch {
		case k.key == nil || !dnssec.SupportedDigest(ds[3]):
			perhaps = true
		case dnssec.MatchDS(ds, k.key.Zone, k.key.DNSKEY):
			has = true
		}
	}
	return has, perhaps
}

func (l *Lifecycle) seeZone(s *Observation) {
	l.Servers = slices.Clone(s.Zone)
	if slices.ContainsFunc(s.Zone, func(z ZoneServer) bool { return z.Error != "" }) {
		return
	}
	for _, k := range l.Keys {
		if k.key == nil {
			continue
		}
		key, sig := [2]bool{true, true}, [2]bool{true, true} // all have it, none has
		for i := range s.Zone {
			z := &s.Zone[i]
			hasKey := slices.ContainsFunc(z.Keys, func(d []byte) bool { return k.key.madeOf(wire.TypeDNSKEY, d) })
			hasSig := slices.ContainsFunc(z.Sigs, func(d []byte) bool {
				sig, ok := splitSignature(d)
				return ok && sig.algorithm == k.Algorithm && sig.tag == k.Tag
			})
			key = [2]bool{key[0] && hasKey, key[1] && !hasKey}
			sig = [2]bool{sig[0] && hasSig, sig[1] && !hasSig}
		}
		k.DNSKEY.see(key[0], key[1], s.At)
		k.Signatures.see(sig[0], sig[1], s.At)
	}
}

// freshParent is how long what the parent's servers said counts as what they say.
const freshParent = 2 * time.Hour

// parentFresh reports whether all servers of the parent have said lately what they have, and did so
// before, so that no cache can have what nobody saw.
func (l *Lifecycle) parentFresh(now time.Time) bool {
	return len(l.Parent) > 0 && !l.Watched.IsZero() && !now.Before(l.Watched.Add(l.wait.ds)) &&
		!slices.ContainsFunc(l.Parent, func(p ParentServer) bool {
			return p.Error != "" || now.Sub(p.At) > freshParent
		})
}

// dsGone reports whether nobody has a DS record of the key, as far as anybody can know.
func (l *Lifecycle) dsGone(k *KeyLifecycle, now time.Time) bool {
	return !l.entry(k) || k.DS.State == Hidden && (k.DS.SetByHand || l.parentFresh(now))
}

// settles is how long a parent may take to do what it was asked for before.
const settles = 7 * 24 * time.Hour

// mayCome reports whether a DS record of the key may come that was asked for, and not been seen yet.
func (k *KeyLifecycle) mayCome(now time.Time) bool {
	return !k.Asked.IsZero() && !k.Asked.Before(k.DS.Since) && now.Before(k.Asked.Add(settles))
}

// pointed reports whether a server of the parent has DS records.
func (l *Lifecycle) pointed() bool {
	return slices.ContainsFunc(l.Parent, func(p ParentServer) bool { return len(p.DS) > 0 })
}

// secure reports whether validators may expect the zone to be signed, now or soon.
func (l *Lifecycle) secure(now time.Time) bool {
	return l.pointed() || slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool { return !l.dsGone(k, now) || k.mayCome(now) })
}

// entry reports whether a key is one that the parent points at: it has the SEP flag, or no key of
// its algorithm has.
func (l *Lifecycle) entry(k *KeyLifecycle) bool {
	return k.SEP || !l.some(k.Algorithm, func(o *KeyLifecycle) bool { return o.SEP && !o.gone() })
}

// some reports whether a key of an algorithm is such.
func (l *Lifecycle) some(alg uint8, such func(*KeyLifecycle) bool) bool {
	return slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool { return k.Algorithm == alg && such(k) })
}

// stays reports whether a key is to be used, and can be.
func (k *KeyLifecycle) stays() bool { return k.Retiring == "" && k.key != nil && k.key.Private != nil }

// signsData reports whether a key is to sign the data: those without the SEP flag do, where there
// are such.
func (l *Lifecycle) signsData(k *KeyLifecycle, now time.Time) bool {
	ready := func(k *KeyLifecycle) bool {
		t := &k.key.Times
		return t.Activate.IsZero() && (t.Publish.IsZero() || !now.Before(t.Publish)) || passed(t.Activate, now)
	}
	return k.stays() && ready(k) &&
		(!k.SEP || !l.some(k.Algorithm, func(o *KeyLifecycle) bool { return !o.SEP && o.stays() && ready(o) }))
}

// waits are how long states last once all servers were seen.
type waits struct{ key, data, ds time.Duration }

func (l *Lifecycle) waits(p *LifecyclePolicy) waits {
	seconds := func(n uint32) time.Duration { return time.Duration(n) * time.Second }
	return waits{
		key:  seconds(l.KeyTTL.Seconds) + p.Propagation - p.early.key,
		data: seconds(l.TTL.Seconds) + p.Propagation - p.early.data,
		ds:   max(p.DSTTL, seconds(l.DSTTL)) + p.ParentPropagation - p.early.ds,
	}
}

// Step does what can be done now: states whose time has come end, and what is safe begins.
func (l *Lifecycle) Step(p *LifecyclePolicy, now time.Time) {
	l.notLater(now)
	l.wait = l.waits(p)
	for l.pass(now) || l.move(now) {
	}
	for _, k := range l.Keys {
		switch {
		case !k.gone() || k.Retiring == "":
			k.Removed = time.Time{}
		case k.Removed.IsZero():
			k.Removed = now
		}
	}
	for _, k := range l.wanted() {
		k.Asked = now
	}
}

// pass has times come.
func (l *Lifecycle) pass(now time.Time) (changed bool) {
	w := l.wait
	for _, k := range l.Keys {
		changed = k.DNSKEY.pass(now, w.key) || changed
		changed = k.Signatures.pass(now, w.data) || changed
		changed = k.DS.pass(now, w.ds) || changed
	}
	return changed
}

// Next returns when a state ends at the latest that is known to; zero: none is.
func (l *Lifecycle) Next(p *LifecyclePolicy) (next time.Time) {
	w := l.waits(p)
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, k := range l.Keys {
		sooner(k.DNSKEY.until(w.key))
		sooner(k.Signatures.until(w.data))
		sooner(k.DS.until(w.ds))
		if life := p.lifetime(k.SEP); life > 0 && k.Retiring == "" && !k.Published.IsZero() {
			sooner(k.Published.Add(life))
		}
	}
	return next
}

// move takes each step that is safe, and reports whether there was one. Signatures come before the
// keys of an algorithm that is new.
func (l *Lifecycle) move(now time.Time) (changed bool) {
	secure := l.secure(now)
	if l.Insecure && !secure {
		return l.unsign(now)
	}
	step := func(r *RecordState, to Presence) {
		r.set(to, now)
		changed = true
	}
	for _, k := range l.Keys {
		if !k.Signatures.State.out() && l.signsData(k, now) && l.maySign(k, secure) {
			step(&k.Signatures, Rumoured)
		}
	}
	first := !slices.ContainsFunc(l.Keys, func(o *KeyLifecycle) bool { return o.DNSKEY.State != Hidden })
	for _, k := range l.Keys {
		if !k.DNSKEY.State.out() && k.stays() && k.due(now) && (first || !secure || l.mayPublish(k)) {
			if step(&k.DNSKEY, Rumoured); k.Published.IsZero() {
				k.Published = now
			}
		}
	}
	for _, k := range l.Keys {
		if k.Signatures.State.out() && l.mayStopSigning(k, secure, now) {
			step(&k.Signatures, Unretentive)
		}
		if k.DNSKEY.State.out() && k.Retiring != "" && l.mayWithdraw(k, now) {
			step(&k.DNSKEY, Unretentive)
		}
	}
	return changed
}

// unsign ends the signing of a zone of which nobody expects signatures.
func (l *Lifecycle) unsign(now time.Time) bool {
	if l.Unsigned {
		return false
	}
	for _, k := range l.Keys {
		k.DNSKEY.set(Hidden, now)
		k.Signatures.set(Hidden, now)
	}
	l.Unsigned = true
	return true
}

// due reports whether a key may be published by the times of its file.
func (k *KeyLifecycle) due(now time.Time) bool {
	t := &k.key.Times
	return t.Publish.IsZero() && t.Activate.IsZero() || passed(t.Publish, now) || passed(t.Activate, now)
}

// mayPublish reports whether the DNSKEY record of a key may come. Of an algorithm that has none yet,
// signatures have to be in all caches before (RFC 6781, section 4.1.4): who sees the key may want
// them.
func (l *Lifecycle) mayPublish(k *KeyLifecycle) bool {
	return l.some(k.Algorithm, func(o *KeyLifecycle) bool { return o.DNSKEY.State.out() || o.Signatures.State == Omnipresent })
}

// maySign reports whether a key may begin to sign the data: it is in all caches that have keys, or
// none of its algorithm is in any.
func (l *Lifecycle) maySign(k *KeyLifecycle, secure bool) bool {
	return !secure || k.DNSKEY.State == Omnipresent || !l.some(k.Algorithm, func(o *KeyLifecycle) bool { return o.DNSKEY.State != Hidden })
}

// mayStopSigning reports whether a key may stop signing the data: another of its algorithm does
// that is in all caches, or no cache has a key of its algorithm.
func (l *Lifecycle) mayStopSigning(k *KeyLifecycle, secure bool, now time.Time) bool {
	if l.signsData(k, now) {
		return false
	}
	if l.some(k.Algorithm, func(o *KeyLifecycle) bool { return l.signsData(o, now) }) {
		return l.some(k.Algorithm, func(o *KeyLifecycle) bool {
			return l.signsData(o, now) && o.Signatures.State.out() && (!secure || o.DNSKEY.State == Omnipresent)
		})
	}
	return k.Retiring != "" && !l.Insecure && l.others(k.Algorithm) &&
		(!secure || !l.some(k.Algorithm, func(o *KeyLifecycle) bool { return o.DNSKEY.State != Hidden }))
}

// others reports whether a key of another algorithm signs the data for good.
func (l *Lifecycle) others(alg uint8) bool {
	return slices.ContainsFunc(
		l.Keys,
		func(o *KeyLifecycle) bool {
			return o.Algorithm != alg && o.stays() && o.Signatures.State == Omnipresent
		},
	)
}

// mayWithdraw reports whether the DNSKEY record of a key may go: no cache has a DS record of it, nor
// signatures that it made, unless its whole algorithm goes, whose signatures go last; and there is
// another way in.
func (l *Lifecycle) mayWithdraw(k *KeyLifecycle, now time.Time) bool {
	if l.Insecure || !l.dsGone(k, now) {
		return false
	}
	enters := func(o *KeyLifecycle) bool {
		return o.stays() && l.entry(o) && o.DNSKEY.State == Omnipresent && o.DS.State == Omnipresent
	}
	remains := l.some(k.Algorithm, (*KeyLifecycle).stays)
	if remains && (k.Signatures.State != Hidden || !l.entry(k)) {
		return k.Signatures.State == Hidden
	}
	leaving := func(o *KeyLifecycle) bool { return o == k || !remains && o.Algorithm == k.Algorithm }
	if !remains &&
		(!l.others(k.Algorithm) || slices.ContainsFunc(l.Keys, func(o *KeyLifecycle) bool { return leaving(o) && !l.dsGone(o, now) })) {
		return false
	}
	if slices.ContainsFunc(l.Keys, func(o *KeyLifecycle) bool { return enters(o) && (!remains || o.Algorithm == k.Algorithm) }) {
		return true
	}
	// Nobody may come in at all, and nobody will by what goes.
	replaced := func(o *KeyLifecycle) bool { return leaving(o) && o.mayCome(now) }
	return !l.pointed() && l.unpointed(now) && !slices.ContainsFunc(l.Keys, replaced)
}

// unpointed reports whether no key is pointed at, as far as anybody can know.
func (l *Lifecycle) unpointed(now time.Time) bool {
	return !slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool { return !l.dsGone(k, now) })
}
