package signer

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A CDSPolicy says when a zone asks its parent for DS records (RFC 7344).
type CDSPolicy uint8

// The ways.
const (
	CDSOnRoll CDSPolicy = iota // while the parent has others than those that are wanted
	CDSNever
	CDSAlways
)

// A LifecyclePolicy says how keys live. Policies that are equal are alike.
type LifecyclePolicy struct {
	KSKLifetime, ZSKLifetime time.Duration // until the next one is made; 0: by hand. That of a CSK is a KSK's.

	// Propagation and ParentPropagation are waited for beside the TTLs, for servers that nobody
	// sees: of one address (anycast), behind others.
	Propagation, ParentPropagation time.Duration

	DSTTL    time.Duration // of the DS set, at least
	CDS      CDSPolicy
	Insecure bool          // the zone is to be unsigned, when nobody expects signatures any more
	Purge    time.Duration // how long after its end a key's files are removed; 0: never

	early waits // by which steps are too early: for a test that it is noticed
}

func (p *LifecyclePolicy) lifetime(sep bool) time.Duration {
	if sep {
		return p.KSKLifetime
	}
	return p.ZSKLifetime
}

// A use says what a key does in one version.
type use struct{ published, signsKeys, signsData, wanted bool }

// uses returns what keys do by their states.
func (l *Lifecycle) uses() map[*Key]use {
	uses := map[*Key]use{}
	for _, k := range l.Keys {
		if k.key != nil {
			private := k.key.Private != nil
			published := k.DNSKEY.State.out()
			uses[k.key] = use{published, published && private && l.entry(k), k.Signatures.State.out() && private, false}
		}
	}
	return uses
}

// wanted returns the keys that the parent is to point at: those whose keys and signatures are in
// all caches; until there is one, those that it points at; none if the zone is to be unsigned.
func (l *Lifecycle) wanted() (list []*KeyLifecycle) {
	if l.Insecure {
		return nil
	}
	for _, k := range l.Keys {
		if k.stays() && l.entry(k) && k.DNSKEY.State == Omnipresent && l.some(k.Algorithm, func(o *KeyLifecycle) bool {
			return o.Signatures.State == Omnipresent || o.DS.State != Hidden
		}) {
			list = append(list, k)
		}
	}
	if list == nil {
		for _, k := range l.Keys {
			if l.entry(k) && k.DS.State.out() && k.key != nil {
				list = append(list, k)
			}
		}
	}
	return list
}

// Wanted returns the RDATA of the DS records that the parent is to have now, and whether it is
// known what these are: before a new zone's keys are in all caches, it is to have none yet.
func (l *Lifecycle) Wanted() (ds [][]byte, known bool) {
	for _, k := range l.wanted() {
		data, _ := k.key.DS(dnssec.DigestSHA256)
		ds = append(ds, data)
	}
	return ds, len(ds) > 0 || l.Insecure
}

// ParentHasWanted reports whether all servers of the parent have what they are to have, and nothing
// else.
func (l *Lifecycle) ParentHasWanted() bool {
	wanted := l.wanted()
	fits := func(p ParentServer) bool {
		for _, k := range wanted {
			if has, _ := k.among(p.DS); !has {
				return false
			}
		}
		return !slices.ContainsFunc(p.DS, func(ds []byte) bool {
			return !slices.ContainsFunc(wanted, func(k *KeyLifecycle) bool {
				has, perhaps := k.among([][]byte{ds})
				return has || perhaps
			})
		})
	}
	return len(l.Parent) > 0 && !slices.ContainsFunc(l.Parent, func(p ParentServer) bool { return p.At.IsZero() || !fits(p) })
}

// cds returns the RDATA of the CDS and CDNSKEY records that the zone publishes.
func (l *Lifecycle) cds(p *LifecyclePolicy) (cds, cdnskey [][]byte) {
	ds, known := l.Wanted()
	if !known || p.CDS == CDSNever || p.CDS == CDSOnRoll && l.ParentHasWanted() {
		return nil, nil
	}
	if l.Insecure {
		return [][]byte{[]byte(deleteCDS)}, [][]byte{[]byte(deleteCDNSKEY)}
	}
	for _, k := range l.wanted() {
		cdnskey = append(cdnskey, k.key.DNSKEY)
	}
	return ds, cdnskey
}

// published returns what the states mean for a version of the zone, for comparison.
func (l *Lifecycle) published(p *LifecyclePolicy) string {
	cds, cdnskey := l.cds(p)
	text := fmt.Sprint(l.Unsigned, cds, cdnskey)
	for _, k := range l.Keys {
		text += fmt.Sprint(k.Name, k.DNSKEY.State.out(), k.Signatures.State.out())
	}
	return text
}

// bind brings keys that were read together with their states, and takes in those that are new.
func (l *Lifecycle) bind(keys []*Key, now time.Time) {
	first := len(l.Keys) == 0
	for _, k := range l.Keys {
		k.key = nil
	}
	for _, k := range keys {
		name := filepath.Base(k.File)
		at := slices.IndexFunc(l.Keys, func(o *KeyLifecycle) bool { return o.Name == name })
		if at >= 0 {
			l.Keys[at].key, l.Keys[at].Private = k, l.Keys[at].Private || k.Private != nil
			continue
		}
		n := &KeyLifecycle{
			Name: name, Algorithm: k.Algorithm(), Tag: k.Tag(), SEP: k.SEP(), Private: k.Private != nil, Created: now, key: k,
		}
		if first {
			n.inherit(now)
			if k.TTL > 0 {
				l.KeyTTL.take(k.TTL, now)
			}
		}
		l.Keys = append(l.Keys, n)
	}
	l.forget() // what was given up
	if first {
		l.together()
	}
	for _, k := range l.Keys {
		switch over := k.key != nil && (passed(k.key.Times.Inactive, now) || passed(k.key.Times.Delete, now)); {
		case over && k.Retiring == "":
			k.Retiring = leavesTimes
		case !over && k.Retiring == leavesTimes:
			k.Retiring = ""
		}
	}
}

// inherit has the key of a zone that comes from elsewhere go on where it is. Its records are out already;
// whether they are in all caches, or in none any more, is to be seen.
func (k *KeyLifecycle) inherit(now time.Time) {
	t, state := &k.key.Times, k.key.State
	if state == nil {
		state = &KeyState{}
		if k.key.Published(now) {
			state.DNSKEY = Rumoured
			switch {
			case k.key.Active(now):
				state.Signatures = Rumoured
			case passed(t.Inactive, now):
				state.Signatures = Unretentive
			}
		}
	}
	begin := func(r *RecordState, p Presence) {
		if p == Omnipresent {
			p = Rumoured
		}
		if p != Hidden {
			r.set(p, now)
		}
	}
	begin(&k.DNSKEY, state.DNSKEY)
	begin(&k.Signatures, state.Signatures)
	if state.DNSKEY != Hidden {
		if k.Published = now; !t.Publish.IsZero() && t.Publish.Before(now) {
			k.Published = t.Publish
		}
	}
	if state.Retiring {
		k.Retiring = leavesRolled
	}
}

// together has only those keys of a zone that is new here sign data that do so by their kind.
func (l *Lifecycle) together() {
	for _, k := range l.Keys {
		if k.SEP && k.key.State == nil && k.Signatures.State == Rumoured &&
			l.some(k.Algorithm, func(o *KeyLifecycle) bool { return !o.SEP && o.Signatures.State == Rumoured }) {
			k.Signatures = RecordState{}
		}
	}
}

// plan brings the goals of keys to what the policy wants, and makes keys that are missing. make
// makes one, and writes its files.
func (l *Lifecycle) plan(p *StagePolicy, now time.Time, generate func(alg uint8, sep bool) (*Key, error)) error {
	l.follow(p, now)
	if l.Insecure {
		return nil
	}
	for _, sep := range []bool{true, false} {
		if !sep && !l.Split {
			continue
		}
		life := p.Lifecycle.lifetime(sep)
		stays := func(k *KeyLifecycle) bool {
			return k.stays() && k.Algorithm == l.Algorithm && (k.SEP == sep || sep && l.entry(k))
		}
		have := slices.ContainsFunc(l.Keys, stays)
		old := slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool {
			return stays(k) && life > 0 && !k.Published.IsZero() && !now.Before(k.Published.Add(life))
		})
		if !have || old && l.quiet(sep) {
			if err := l.succeed(l.Algorithm, sep, now, generate); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow takes in what the policy says otherwise than before.
func (l *Lifecycle) follow(p *StagePolicy, now time.Time) {
	has := func(such func(*KeyLifecycle) bool) bool {
		return slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool { return k.stays() && such(k) })
	}
	if l.PolicyAlgorithm == 0 {
		// The first time: keys that are there stay.
		l.PolicyAlgorithm, l.PolicySplit = p.Algorithm, p.Split
		l.Algorithm, l.Split = p.Algorithm, p.Split || has(func(k *KeyLifecycle) bool { return !k.SEP && !l.entry(k) })
		same := func(k *KeyLifecycle) bool { return k.Algorithm == p.Algorithm }
		if i := slices.IndexFunc(l.Keys, (*KeyLifecycle).stays); i >= 0 && !has(same) {
			l.Algorithm = l.Keys[i].Algorithm
		}
	}
	if l.PolicySplit != p.Split {
		if l.Split, l.PolicySplit = p.Split, p.Split; !p.Split {
			l.leave(leavesRolled, func(k *KeyLifecycle) bool { return !k.SEP && !l.entry(k) })
		}
	}
	if l.PolicyAlgorithm != p.Algorithm {
		l.Algorithm, l.PolicyAlgorithm = p.Algorithm, p.Algorithm
		l.leave(leavesRolled, func(k *KeyLifecycle) bool { return k.Algorithm != p.Algorithm })
	}
	switch l.Insecure = p.Lifecycle.Insecure; {
	case l.Insecure:
		l.leave(leavesInsecure, func(*KeyLifecycle) bool { return true })
	default:
		for _, k := range l.Keys {
			if k.Retiring == leavesInsecure && (!l.Unsigned || k.Algorithm == l.Algorithm) {
				k.Retiring = ""
			}
		}
		l.Unsigned = false
	}
}

func (l *Lifecycle) leave(why string, such func(*KeyLifecycle) bool) {
	for _, k := range l.Keys {
		if k.Retiring == "" && such(k) {
			k.Retiring = why
		}
	}
}

// quiet reports whether no key of a kind comes or goes.
func (l *Lifecycle) quiet(sep bool) bool {
	return !slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool {
		return k.SEP == sep && (!k.steady() || k.Retiring != "" && !k.gone() || k.Retiring == "" && k.DNSKEY.State == Hidden)
	})
}

// succeed makes a key that takes the place of those of its algorithm and kind.
func (l *Lifecycle) succeed(alg uint8, sep bool, now time.Time, generate func(uint8, bool) (*Key, error)) error {
	k, err := generate(alg, sep)
	if err != nil {
		return fmt.Errorf("a key cannot be made: %w", err)
	}
	l.leave(leavesRolled, func(o *KeyLifecycle) bool { return o.Algorithm == alg && o.SEP == sep })
	l.Keys = append(l.Keys, &KeyLifecycle{
		Name: filepath.Base(k.File), Algorithm: alg, Tag: k.Tag(), SEP: sep, Private: true, Created: now, key: k,
	})
	return nil
}

// errRolling is why no roll begins.
var errRolling = errors.New(
	"a rollover of this kind of key is under way: port53 zone keys shows what it waits for",
)

// A Roll asks for new keys in the place of those that there are.
type Roll struct {
	Tag       uint16 // of the key that is rolled; 0: by kind
	KSK, ZSK  bool   // the kinds; neither: all that there are
	Algorithm uint8  // of the new ones; 0: the same
	Force     bool   // even if a roll is under way
}

// roll begins a roll.
func (l *Lifecycle) roll(r Roll, now time.Time, generate func(uint8, bool) (*Key, error)) error {
	if l.Insecure {
		return errors.New("the policy makes the zone unsigned: no key can be rolled")
	}
	var kinds []bool
	for _, k := range l.Keys {
		named := r.Tag == k.Tag
		if r.Tag == 0 {
			named = !r.KSK && !r.ZSK || r.KSK && k.SEP || r.ZSK && !k.SEP
		}
		if named && k.Retiring == "" && !slices.Contains(kinds, k.SEP) {
			kinds = append(kinds, k.SEP)
		}
	}
	switch {
	case len(kinds) == 0 && r.Tag != 0:
		return fmt.Errorf("there is no key %d that stays", r.Tag)
	case len(kinds) == 0 && r.ZSK:
		return errors.New("the zone has no ZSK: one key signs all, and --ksk rolls it")
	case len(kinds) == 0:
		return errors.New("the zone has no such key")
	}
	alg := cmp.Or(r.Algorithm, l.Algorithm)
	if !CanSign(alg) {
		return fmt.Errorf("algorithm %s cannot sign", wire.AlgorithmName(alg))
	}
	if alg != l.Algorithm {
		kinds = []bool{true}
		if l.Split {
			kinds = []bool{true, false}
		}
	}
	for _, sep := range kinds {
		if !r.Force && !l.quiet(sep) {
			return errRolling
		}
	}
	for _, sep := range kinds {
		if err := l.succeed(alg, sep, now, generate); err != nil {
			return err
		}
	}
	if alg != l.Algorithm {
		l.Algorithm = alg
		l.leave(leavesRolled, func(k *KeyLifecycle) bool { return k.Algorithm != alg })
	}
	return nil
}

// state takes the word of an operator for what the parent has: DS records of the key with a tag are
// at all its servers, or at none.
func (l *Lifecycle) state(tag uint16, seen bool, now time.Time) error {
	found := false
	for _, k := range l.Keys {
		if k.Tag != tag || !l.entry(k) {
			continue
		}
		found = true
		switch r := &k.DS; {
		case seen && !r.State.out(): // and caches may have the set that was before
			r.set(Rumoured, now)
		case !seen && r.State != Unretentive:
			r.set(Unretentive, now)
		}
		if k.DS.SetByHand = true; k.DS.SeenEverywhere.IsZero() {
			k.DS.SeenEverywhere = now
		}
	}
	if !found {
		return fmt.Errorf("there is no key %d that a DS record in the parent can refer to", tag)
	}
	return nil
}
