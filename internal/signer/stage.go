package signer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// foreign reports whether a zone comes signed, by others than this server: an export of what it served is
// signed by keys that it has. Stray records of a signed zone are none of a signer, and are replaced.
func (s *Stage) foreign(plain *zone.Zone, now time.Time) bool {
	if s.From != "" || !plain.ComesSigned() {
		return false
	}
	_, keys, err := s.open(now.Round(0).UTC().Truncate(time.Second))
	if err != nil {
		return true // nothing can be signed; what comes is judged by what the parent has
	}
	var u zone.Unpacked
	plain.UnpackType(&u, plain.Root(), wire.TypeDNSKEY)
	return !slices.ContainsFunc(u.Data, func(d []byte) bool {
		return slices.ContainsFunc(keys, func(k *Key) bool { return k.madeOf(wire.TypeDNSKEY, d) })
	})
}

// ErrContent is what the errors are of a version that the records of the plain zone are to blame for.
var ErrContent = errors.New("records of the zone are to blame")

// A contentError is one of these, with a text of its own.
type contentError struct{ error }

// Is has errors.Is find ErrContent.
func (contentError) Is(target error) bool { return target == ErrContent }

// Try returns why plain could not be signed, as far as its records are to blame, and changes nothing: no key
// is made, no state remembered. have is the signed version that there is. A large zone is gone through and not
// signed, as the server does not verify it whole either.
func (s *Stage) Try(ctx context.Context, seed wire.Seed, have, plain *zone.Zone, now time.Time) error {
	if s.foreign(plain, now) {
		return nil
	}
	now = now.Round(0).UTC().Truncate(time.Second)
	life, keys, err := s.open(now)
	if err != nil || life.Unsigned || s.attach(life, keys) != nil {
		return nil // that is not for the records to mend
	}
	v := &Version{Lifecycle: life}
	switch _, err := s.keySet(v, plain, keys, now); {
	case errors.Is(err, ErrContent):
		return err
	case err != nil:
		return nil
	case plain.Names() > fewSignatures:
		return misplaced(plain)
	}
	serial := plain.Serial()
	if err := s.sign(ctx, v, seed, have, plain, keys, serial, now); err != nil {
		return content(err)
	}
	return content(s.check(v, now))
}

// content returns an error if it is of the records of a zone.
func content(err error) error {
	if errors.Is(err, ErrContent) {
		return err
	}
	return nil
}

// elsewhere returns ErrSigned, unless the zone that comes signed is worse than what is served.
func (s *Stage) elsewhere(have, plain *zone.Zone, now time.Time) error {
	life, err := s.load()
	if err != nil {
		return err
	}
	if _, err := life.seatbelt(have, plain, now); err != nil {
		return err
	}
	return ErrSigned
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

// generator returns what makes keys, and adds them to a list.
func (s *Stage) generator(keys *[]*Key, now time.Time) func(alg uint8, sep bool) (*Key, error) {
	return func(alg uint8, sep bool) (*Key, error) {
		k, err := s.NewKey(alg, sep, now, *keys)
		if err != nil {
			return nil, err
		}
		*keys = append(*keys, k)
		return k, nil
	}
}

// discard removes keys that were made for nothing: another that was to be made with them could not be.
func (s *Stage) discard(keys []*Key) (err error) {
	for _, k := range keys {
		err = errors.Join(err, s.remove(k), s.destroy(k))
	}
	return err
}

// remove removes the files of a key.
func (s *Stage) remove(k *Key) error {
	for _, end := range []string{".private", ".key", ".state"} {
		if err := ignoreAbsent(os.Remove(k.File + end)); err != nil {
			return err
		}
	}
	return nil
}

// purge removes keys that are gone for long, from their tokens too, and returns those that are left. A
// token that cannot be reached is an alert, and no reason to sign no more.
func (s *Stage) purge(v *Version, life *Lifecycle, keys []*Key, now time.Time) ([]*Key, error) {
	after := s.Policy.Lifecycle.Purge
	if after == 0 {
		return keys, nil
	}
	for _, k := range life.Keys {
		if k.key == nil || k.Retiring == "" || k.Retiring == leavesInsecure || k.Removed.IsZero() || now.Sub(k.Removed) < after {
			continue
		}
		if err := s.destroy(k.key); err != nil {
			v.Alerts = append(v.Alerts, fmt.Sprintf("key %s is no longer needed and cannot be destroyed: %v", k.key, err))
			continue
		}
		if err := s.remove(k.key); err != nil {
			return nil, err
		}
		keys = slices.DeleteFunc(keys, func(o *Key) bool { return o == k.key })
		k.key = nil
	}
	life.forget()
	return keys, nil
}

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

// rememberFile names the keys that the zone has been signed with.
const rememberFile = "keys"

// rememberLine is the first line of that file: its kind and version.
const rememberLine = "port53 keys 1"

const rememberHead = rememberLine + "\n# The keys of the zone. One that is named here and whose files are gone keeps " +
	"the zone from being\n" +
	"# signed: bring the files back, or take its line out if the key is to be given up for good.\n"

// open reads the keys of the zone, and their states. A key that the zone was signed with and that
// is not there any more is an error: with new ones in its place the zone would be bogus for all who
// know the old.
func (s *Stage) open(now time.Time) (*Lifecycle, []*Key, error) {
	life, err := s.load()
	if err != nil {
		return nil, nil, err
	}
	known, err := s.remembered()
	if err != nil {
		return nil, nil, err
	}
	keys, problems, err := ReadKeys(s.Dir, s.Zone)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if len(problems) > 0 {
		return nil, nil, problems[0]
	}
	if err := s.lost(keys, known, life); err != nil {
		return nil, nil, err
	}
	if s.From != "" && len(known)+len(life.Keys) == 0 {
		if keys, err = s.takeOver(keys, now); err != nil {
			return nil, nil, fmt.Errorf("the keys cannot be imported, and new ones would make the zone bogus: %w", err)
		}
	}
	life.bind(keys, now)
	return life, keys, nil
}

// takeOver copies the keys that another server signed the zone with, and returns them with those
// that have been, before a crash.
func (s *Stage) takeOver(have []*Key, now time.Time) ([]*Key, error) {
	keys, problems, err := ReadKeys(s.From, s.Zone)
	switch {
	case err != nil:
		return nil, err
	case len(problems) > 0:
		return nil, problems[0]
	case !slices.ContainsFunc(keys, func(k *Key) bool { return k.Active(now) || k.State != nil && k.State.Signatures.out() }):
		return nil, fmt.Errorf("%s: no active key of %s with a private key", s.From, text(s.Zone))
	}
	for _, k := range keys {
		if slices.ContainsFunc(have, func(o *Key) bool { return bytes.Equal(o.DNSKEY, k.DNSKEY) }) || k.Private == nil || k.over(now) {
			continue
		}
		k.TTL = cmp.Or(k.TTL, unknownTTL)
		if err := k.Write(s.Dir); err != nil {
			return nil, err
		}
		have = append(have, k)
	}
	return have, nil
}

// unknownTTL is taken for that of the DNSKEY set of another server that says none, in seconds: a day is
// the longest that is common, and waiting for longer than it needs does no harm.
const unknownTTL = 86400

// change has f change the states of the keys, which are written down then.
func (s *Stage) change(now time.Time, f func(l *Lifecycle, keys *[]*Key, now time.Time) error) error {
	now = now.Round(0).UTC().Truncate(time.Second)
	life, keys, err := s.open(now)
	if err != nil {
		return err
	}
	before := len(keys)
	if err := f(life, &keys, now); err != nil {
		return errors.Join(err, s.discard(keys[before:]))
	}
	if err := s.save(life); err != nil {
		return err
	}
	return s.remember(keys)
}

// Observe takes in what was seen at servers, and reports whether the zone is to be signed again: there
// is a step to take.
func (s *Stage) Observe(sight *Observation) (again bool, err error) {
	err = s.change(sight.At, func(l *Lifecycle, keys *[]*Key, now time.Time) error {
		at := *sight
		at.At = now
		was := l.published(&s.Policy.Lifecycle)
		l.Observe(&at)
		if err := l.plan(&s.Policy, now, s.generator(keys, now)); err != nil {
			return err
		}
		l.Step(&s.Policy.Lifecycle, now)
		again = l.published(&s.Policy.Lifecycle) != was
		return nil
	})
	return again, err
}

// Roll begins a roll: new keys are made, and take the place of others step by step.
func (s *Stage) Roll(r Roll, now time.Time) error {
	return s.change(now, func(l *Lifecycle, keys *[]*Key, now time.Time) error {
		l.follow(&s.Policy, now)
		return l.roll(r, now, s.generator(keys, now))
	})
}

// State takes the word of an operator that the parent's servers all have, or all have no more, DS
// records of the key with a tag.
func (s *Stage) State(tag uint16, seen bool, now time.Time) error {
	return s.change(now, func(l *Lifecycle, _ *[]*Key, now time.Time) error { return l.state(tag, seen, now) })
}

// Trusted reports whether the parent may point at a key, as far as the states that were kept say.
func (s *Stage) Trusted() bool {
	life, err := s.load()
	return err == nil && !life.Unsigned && slices.ContainsFunc(life.Keys, func(k *KeyLifecycle) bool {
		return k.DS.State != Hidden || k.mayCome(time.Now())
	})
}

// EntryKeys returns the keys that the parent is to point at. ready is false of a new zone whose keys
// and signatures are not in all caches yet: those that the parent will have to point at are returned.
func (s *Stage) EntryKeys(now time.Time) (keys []*Key, ready bool, err error) {
	if _, err := os.Stat(s.Dir); err != nil {
		return nil, false, err
	}
	life, _, err := s.open(now.UTC())
	if err != nil {
		return nil, false, err
	}
	for _, k := range life.wanted() {
		keys = append(keys, k.key)
	}
	if ready = len(keys) > 0 || life.Insecure; !ready {
		for _, k := range life.Keys {
			if k.stays() && life.entry(k) {
				keys = append(keys, k.key)
			}
		}
	}
	return keys, ready, nil
}

// Lifecycle returns the states of the keys, as they were written down last.
func (s *Stage) Lifecycle(now time.Time) (*Lifecycle, error) {
	life, _, err := s.open(now)
	return life, err
}

// remembered returns the names of the keys that the zone was signed with.
func (s *Stage) remembered() (names []string, err error) {
	b, err := readSmall(filepath.Join(s.Dir, rememberFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	first, rest, _ := strings.Cut(string(b), "\n")
	if first != rememberLine {
		return nil, fmt.Errorf(
			"%s: its first line is not %q: damaged, or written by a newer version",
			filepath.Join(s.Dir, rememberFile),
			rememberLine,
		)
	}
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			names = append(names, line)
		}
	}
	return names, nil
}

// CheckKeys reports why the keys of a zone in a directory of a server cannot be used: a file is
// bad, or one is gone that the zone was signed with.
func CheckKeys(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var keys []*Key
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), ".key"); ok {
			k, err := ReadKey(filepath.Join(dir, base))
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
	}
	s := &Stage{Dir: dir}
	life, err := s.load()
	if err != nil {
		return err
	}
	known, err := s.remembered()
	if err != nil {
		return err
	}
	return s.lost(keys, known, life)
}

// lost returns an error if one of the keys that are known is not there, and not gone for good.
func (s *Stage) lost(keys []*Key, known []string, life *Lifecycle) error {
	var lost []string
	for _, name := range known {
		needless := slices.ContainsFunc(life.Keys, func(k *KeyLifecycle) bool { return k.Name == name && !k.Removed.IsZero() })
		if !needless && !slices.ContainsFunc(keys, func(k *Key) bool { return filepath.Base(k.File) == name }) {
			lost = append(lost, name)
		}
	}
	// A key that is published and cannot sign is lost as well, if it could.
	for _, k := range keys {
		name := filepath.Base(k.File)
		if k.Private == nil && slices.Contains(known, name) && life.signs(name) {
			lost = append(lost, name+".private")
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf(
		"%s: the key files of %s, which signed the zone, are missing: restore them, or remove their lines from %s to give up these keys",
		s.Dir,
		strings.Join(lost, ", "),
		filepath.Join(s.Dir, rememberFile),
	)
}

// remember writes down the names of the keys, durably, if they are not those that are known.
func (s *Stage) remember(keys []*Key) error {
	known, err := s.remembered()
	if err != nil {
		return err
	}
	var names []string
	for _, k := range keys {
		names = append(names, filepath.Base(k.File))
	}
	slices.Sort(names)
	if slices.Equal(names, known) {
		return nil
	}
	return s.replace(rememberFile, []byte(rememberHead+strings.Join(names, "\n")+"\n"))
}

// replace puts a file in the place of one in the directory, durably.
func (s *Stage) replace(name string, b []byte) error {
	path := filepath.Join(s.Dir, name)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(path+".new", b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(s.Dir)
}
