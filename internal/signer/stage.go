package signer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Stage signs the versions of one zone as a server does that has it for years: with keys that
// it makes when there are none and in the place of others, signatures that are kept as long as they
// are good, and a serial that rises. Its methods are for one goroutine at a time.
//
// It keeps the states of the keys in a file beside them ([Lifecycle]); a step becomes part of the next
// version that is signed.
type Stage struct {
	Zone   []byte // in lower case
	Dir    string // of the zone's key files. It is made, with keys, if it is not there.
	Policy StagePolicy

	// From is a directory of key files as BIND has them, of the server that signed the zone until
	// now: they are copied to Dir the first time, and have to be there. Empty: nobody did.
	From string

	// Online is what answers are signed in that cannot be signed before, for a policy whose Denial is
	// Compact. Nil: such a policy is an error.
	Online *Online

	// Tokens keep the private keys whose stores the policy names. Nil: there are none.
	Tokens KeyStores

	last time.Time   // when it was asked last, with the monotonic clock
	made lastVersion // that it made
}

// A StagePolicy says how a Stage signs. Policies that are equal sign alike.
type StagePolicy struct {
	Algorithm uint8 // of keys that are made
	Split     bool  // of these a KSK and a ZSK are made, else a CSK
	Denial    Denial
	Digest    bool

	Valid, Refresh, Before time.Duration // as in Policy; all above zero
	KeyTTL                 uint32        // of the DNSKEY set in seconds; 0: as in Policy

	// KSKStore and ZSKStore name the stores in which keys are made, of Tokens; empty: in files. That of
	// a CSK is a KSK's.
	KSKStore, ZSKStore string

	Lifecycle LifecyclePolicy
}

// A Version is what a Stage made of a version of a zone.
type Version struct {
	Zone      *zone.Zone    // signed, or not if that is what the policy wants; have, if nothing has changed
	Deltas    []*zone.Delta // that lead to it from have; nil: there was none, or nothing changed
	Resign    time.Time     // when it is to be signed again at the latest
	Keys      []string      // that signed, for people
	Made      []string      // files of keys that were made
	Alerts    []string      // what somebody has to look at
	Lifecycle *Lifecycle    // of the keys, as it is in this version
	Signed    Signed
}

// ErrSigned is why a Stage does not sign: the zone has been signed elsewhere.
var ErrSigned = errors.New("the zone has been signed elsewhere")

// ErrClock is why a Stage does not sign: by the clock, signatures that are there were made in the
// future. Those that it would make now would be older than they are.
var ErrClock = errors.New("this host's clock is behind: the zone has signatures with an inception time in the future")

// Sign signs plain, and keeps of have, a signed version or nil, what is still good. It returns
// have itself if that is signed well and is of the same records. The serial is plain's if that is
// newer than have's, and else the next one.
//
// A zone that comes signed is not signed again, unless its keys were taken over (From): then what it
// has of an earlier signing is replaced.
//
// The version is verified whole if it is small, and always against each set of DS records that the
// parent was seen to have: one that is bogus where have is not is an error.
func (s *Stage) Sign(ctx context.Context, seed wire.Seed, have, plain *zone.Zone, now time.Time) (*Version, error) {
	return s.SignChanges(ctx, seed, have, plain, nil, now)
}

// SignChanges is Sign where it is known what has changed of the plain zone since have was made: a small
// part of a large zone is signed by itself then.
//
// In one piece: it shows all that a version goes through.
func (s *Stage) SignChanges(
	ctx context.Context,
	seed wire.Seed,
	have, plain *zone.Zone,
	changes []*zone.Delta,
	now time.Time,
) (*Version, error) {
	if s.foreign(plain, now) {
		return nil, s.elsewhere(have, plain, now)
	}
	if have != nil && fromFuture(have, now) {
		return nil, ErrClock
	}
	v := &Version{}
	keys, err := s.step(v, now)
	if err != nil {
		return nil, err
	}
	serial := plain.Serial()
	known := have != nil
	if known && !zone.Newer(serial, have.Serial()) {
		serial = have.Serial()
	}
	set, err := s.keySet(v, plain, keys, now)
	if err != nil {
		return nil, err
	}
	part, err := s.increment(v, have, plain, changes, set, serial, now)
	if err != nil {
		return nil, err
	}
	again := func(have *zone.Zone, serial uint32) error {
		if v.Lifecycle.Unsigned {
			return v.unsigned(plain, serial)
		}
		return s.sign(ctx, v, seed, have, plain, keys, serial, now)
	}
	if !part {
		if err := again(have, serial); err != nil {
			return nil, err
		}
	}
	if known && !part {
		delta := zone.Diff(have, v.Zone)
		if delta != nil && serial == have.Serial() {
			// What differs needs a serial of its own; all signatures but the SOA's stay.
			before := v.Signed.Made
			if err := again(v.Zone, serial+1); err != nil {
				return nil, err
			}
			v.Signed.Made, v.Signed.Kept = v.Signed.Made+before, max(0, v.Signed.Kept-before)
			delta = zone.Diff(have, v.Zone)
		}
		if delta == nil {
			v.Zone = have
		} else {
			v.Deltas = []*zone.Delta{delta}
		}
	}
	if err := s.online(v, set, keys); err != nil {
		return nil, err
	}
	if err := s.check(v, now); err != nil {
		return nil, err
	}
	alert, err := v.Lifecycle.seatbelt(have, v.Zone, now)
	if err != nil {
		return nil, err
	}
	if alert != "" {
		v.Alerts = append(v.Alerts, alert)
	}
	v.Lifecycle.TTL.take(v.Signed.TTL, now)
	v.Lifecycle.KeyTTL.take(v.Signed.KeyTTL, now)
	if err := s.save(v.Lifecycle); err != nil {
		return nil, err
	}
	v.Resign = s.again(v, keys, now)
	if part && s.made.again.Before(v.Resign) {
		v.Resign = s.made.again // many changes do not put off what is to be renewed
	}
	s.remembers(v, set)
	for _, k := range v.Lifecycle.Keys {
		if k.DNSKEY.State.out() || k.Signatures.State.out() {
			v.Keys = append(v.Keys, fmt.Sprintf("%d %s %s", k.Tag, wire.AlgorithmName(k.Algorithm), v.Lifecycle.Kind(k)))
		}
	}
	return v, nil
}

// keySet returns the keys that a version is signed with, or nil if it is not.
func (s *Stage) keySet(v *Version, plain *zone.Zone, keys []*Key, now time.Time) (*keySet, error) {
	if v.Lifecycle.Unsigned {
		return nil, nil
	}
	set, err := newKeySet(plain, keys, v.Lifecycle.uses(), now)
	if _, others := plain.RRset(plain.Root(), wire.TypeDNSKEY); err != nil && others && !errors.Is(err, ErrNoKeys) {
		err = contentError{err}
	}
	if err != nil {
		return nil, err
	}
	set.ask(s.cds(v, plain))
	return set, nil
}

// cds returns what the parent is asked for. Beside the CDS records of another signer ours stand always:
// a parent that read those alone would take our DS records away (RFC 8901, section 8).
func (s *Stage) cds(v *Version, plain *zone.Zone) (cds, cdnskeys [][]byte) {
	p := s.Policy.Lifecycle
	if _, foreign := plain.RRset(plain.Root(), wire.TypeCDS); foreign && p.CDS == CDSOnRoll {
		p.CDS = CDSAlways
	}
	return v.Lifecycle.cds(&p)
}

// policy returns how a version with a serial is signed.
func (s *Stage) policy(serial *uint32) Policy {
	p := &s.Policy
	return Policy{
		Denial: p.Denial, Digest: p.Digest, Valid: p.Valid, Before: p.Before, Refresh: p.Refresh, Serial: serial, TTL: p.KeyTTL,
		Spread: p.Valid - p.Refresh - interval(p.Valid, p.Refresh),
	}
}

// online gives a version what signs its answers while queries wait, if it has any.
func (s *Stage) online(v *Version, set *keySet, keys []*Key) error {
	if s.Policy.Denial != Compact || v.Lifecycle.Unsigned {
		return nil
	}
	if s.Online == nil {
		return errors.New("denial: compact: there is nothing here that signs answers")
	}
	if k := inToken(set.forData, keys); k != "" {
		return fmt.Errorf("denial: compact: key %s is in a token, which nothing that a query waits for is signed with", k)
	}
	next := s.Online.zone(set.forData, &s.Policy)
	if have := v.Zone.Online(); have == nil || !next.same(have) {
		v.Zone.SetOnline(next)
	}
	return nil
}

// unsigned makes plain, with a serial, the version.
func (v *Version) unsigned(plain *zone.Zone, serial uint32) error {
	plain, _, err := strip(plain)
	if err != nil {
		return err
	}
	v.Zone, v.Signed = plain, Signed{Serial: serial, TTL: v.Lifecycle.TTL.Seconds, KeyTTL: v.Lifecycle.KeyTTL.Seconds}
	if plain.Serial() == serial {
		return nil
	}
	ttl, soa := plain.SOA()
	z, problems := plain.Apply(&zone.Delta{
		From: plain.Serial(), To: serial,
		Removed: zone.AppendRecord(nil, plain.Apex(), wire.TypeSOA, ttl, soa),
		Added:   zone.AppendRecord(nil, plain.Apex(), wire.TypeSOA, ttl, zone.WithSerial(soa, serial)),
	})
	if z == nil {
		return fmt.Errorf("the unsigned zone cannot be served: %v", problems)
	}
	v.Zone = z
	return nil
}

// step reads the keys and their states, and takes the steps that are due.
func (s *Stage) step(v *Version, now time.Time) ([]*Key, error) {
	jumped := !s.last.IsZero() && now.Round(0).Sub(s.last.Round(0))-now.Sub(s.last) > maxJump
	s.last = now
	now = now.Round(0).UTC().Truncate(time.Second)
	life, keys, err := s.open(now)
	if err != nil {
		return nil, err
	}
	if jumped {
		v.Alerts = append(v.Alerts, "the clock has jumped: the keys' waiting times start over")
		life.again(now)
	}
	if err := s.attach(life, keys); err != nil {
		return nil, err
	}
	known := len(keys)
	if err := life.plan(&s.Policy, now, s.generator(&keys, now)); err != nil {
		return nil, errors.Join(err, s.discard(keys[known:]))
	}
	life.Step(&s.Policy.Lifecycle, now)
	if err := s.attach(life, keys); err != nil { // keys that are new in this version
		return nil, err
	}
	for _, k := range keys[known:] {
		v.Made = append(v.Made, k.File)
	}
	if keys, err = s.purge(v, life, keys, now); err != nil {
		return nil, err
	}
	v.Lifecycle = life
	return keys, s.remember(keys)
}

// maxJump is by how much the clock may be set forward without anything being made of it.
const maxJump = 10 * time.Minute

// fromFuture reports whether the SOA record of a signed version has a signature that begins after a
// time.
func fromFuture(z *zone.Zone, now time.Time) bool {
	var u zone.Unpacked
	z.UnpackType(&u, z.Root(), wire.TypeSOA)
	return slices.ContainsFunc(u.Sigs, func(sig []byte) bool {
		s, ok := splitSignature(sig)
		return ok && int32(s.inception-uint32(now.Unix())) > 0
	})
}

// sign makes one signed version with a serial.
func (s *Stage) sign(
	ctx context.Context,
	v *Version,
	seed wire.Seed,
	have, plain *zone.Zone,
	keys []*Key,
	serial uint32,
	now time.Time,
) error {
	policy := s.policy(&serial)
	b := zone.NewBuilder(plain.Name(), seed)
	b.Expect(plain.Names())
	var r zone.Record
	life := &lifeOptions{uses: v.Lifecycle.uses()}
	life.cds, life.cdnskeys = s.cds(v, plain)
	signed, err := Sign(plain, keys, policy, SignOptions{Now: now, Prior: have, life: life}, func(piece []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return zone.EachRecord(piece, func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
			r.Owner, r.Type, r.TTL, r.Data = owner, t, ttl, data
			b.Add(&r)
			return true
		})
	})
	if err != nil {
		return err
	}
	z, problems := b.Build()
	if z == nil {
		return contentError{fmt.Errorf("the signed zone cannot be served: %v", problems)}
	}
	v.Zone, v.Signed = z, *signed
	return nil
}

// check verifies all of a version that is small. A large one had each key's signatures tried.
func (s *Stage) check(v *Version, now time.Time) error {
	if v.Zone.Names() > fewSignatures || v.Lifecycle.Unsigned {
		return nil
	}
	verdict, err := Verify(v.Zone, VerifyOptions{Now: now, DS: s.entry(v.Zone), Compact: s.Policy.Denial == Compact})
	if err != nil {
		return err
	}
	for _, f := range verdict.Faults {
		if !f.Warning {
			return contentError{fmt.Errorf("the signed zone failed verification and is not served: %s", f)}
		}
	}
	return nil
}

// entry returns DS records for the keys of a version with the SEP flag or, if none has it, for
// all.
func (s *Stage) entry(z *zone.Zone) (list [][]byte) {
	var u zone.Unpacked
	if !z.UnpackType(&u, z.Root(), wire.TypeDNSKEY) {
		return nil
	}
	for _, sep := range []bool{true, false} {
		for _, d := range u.Data {
			k := &Key{Zone: s.Zone, DNSKEY: d}
			if ds, ok := k.DS(2); ok && (k.SEP() || !sep) {
				list = append(list, ds)
			}
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// Between renewals of signatures there is a part of the time between the first that may be
// renewed and the last that has to be.
const (
	renewals    = 200
	minInterval = time.Minute
)

// interval returns the time between renewals.
func interval(valid, refresh time.Duration) time.Duration {
	return max((valid-refresh)/renewals, min(minInterval, (valid-refresh)/4))
}

// again returns when a version has to be signed again: when its first signature has only Refresh
// left, a state ends, or a key's time comes.
func (s *Stage) again(v *Version, keys []*Key, now time.Time) time.Time {
	at := now.Add(s.Policy.Valid)
	if !v.Lifecycle.Unsigned {
		at = v.Signed.Expires.Add(-s.Policy.Refresh)
		if soonest := now.Add(interval(s.Policy.Valid, s.Policy.Refresh)); at.Before(soonest) {
			at = soonest
		}
	}
	if next := v.Lifecycle.Next(&s.Policy.Lifecycle); !next.IsZero() && next.Before(at) {
		at = maxTime(next, now.Add(time.Second))
	}
	for _, k := range keys {
		for _, t := range k.Times.fields() {
			if t.at.After(now) && t.at.Before(at) {
				at = *t.at
			}
		}
	}
	return at
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
