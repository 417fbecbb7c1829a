package signer

import (
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
// it makes when there are none, signatures that are kept as long as they are good, and a serial
// that rises. Its methods are for one goroutine at a time.
type Stage struct {
	Zone   []byte // in lower case
	Dir    string // of the zone's key files. It is made, with keys, if it is not there.
	Policy StagePolicy
}

// A StagePolicy says how a Stage signs. Policies that are equal sign alike.
type StagePolicy struct {
	Algorithm uint8 // of keys that are made
	Split     bool  // of these a KSK and a ZSK are made, else a CSK
	Denial    Denial
	Digest    bool

	Valid, Refresh, Before time.Duration // as in Policy; all above zero
}

// A Version is what a Stage made of a version of a zone.
type Version struct {
	Zone   *zone.Zone    // signed; have, if nothing has changed
	Deltas []*zone.Delta // that lead to it from have; nil: there was none, or nothing changed
	Again  time.Time     // when it is to be signed again at the latest
	Keys   []string      // that signed, for people
	Made   []string      // files of keys that were made
	Signed Signed
}

// ErrSigned is why a Stage does not sign: the zone has been signed elsewhere.
var ErrSigned = errors.New("the zone has been signed elsewhere")

// ErrClock is why a Stage does not sign: by the clock, signatures that are there were made in the
// future. Those that it would make now would be older than they are.
var ErrClock = errors.New("the clock of this machine is behind: the zone has signatures that begin in the future")

// Sign signs plain, and keeps of have, a signed version or nil, what is still good. It returns
// have itself if that is signed well and is of the same records. The serial is plain's if that is
// newer than have's, and else the next one.
//
// The version is verified whole if it is small.
func (s *Stage) Sign(ctx context.Context, seed wire.Seed, have, plain *zone.Zone, now time.Time) (*Version, error) {
	if plain.Signed() {
		return nil, ErrSigned
	}
	if have != nil && fromFuture(have, now) {
		return nil, ErrClock
	}
	keys, made, err := s.keys(now)
	if err != nil {
		return nil, err
	}
	v := &Version{Made: made}
	serial := plain.Serial()
	known := have != nil
	if known && !zone.Newer(serial, have.Serial()) {
		serial = have.Serial()
	}
	again := func(have *zone.Zone, serial uint32) error {
		return s.sign(ctx, v, seed, have, plain, keys, serial, now)
	}
	if err := again(have, serial); err != nil {
		return nil, err
	}
	if known {
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
	if err := s.check(v, now); err != nil {
		return nil, err
	}
	v.Again = s.again(v.Signed.Expires, keys, now)
	for _, k := range keys {
		if k.Published(now) {
			v.Keys = append(v.Keys, fmt.Sprintf("%d %s %s", k.Tag(), wire.AlgorithmName(k.Algorithm()), Kind(k, keys, now)))
		}
	}
	return v, nil
}

// fromFuture tells whether the SOA record of a signed version has a signature that begins after a
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
func (s *Stage) sign(ctx context.Context, v *Version, seed wire.Seed, have, plain *zone.Zone, keys []*Key, serial uint32, now time.Time) error {
	p := s.Policy
	policy := Policy{
		Denial: p.Denial, Digest: p.Digest, Valid: p.Valid, Before: p.Before, Refresh: p.Refresh, Serial: &serial,
		Spread: p.Valid - p.Refresh - interval(p.Valid, p.Refresh),
	}
	b := zone.NewBuilder(plain.Name(), seed)
	b.Expect(plain.Names())
	var r zone.Record
	signed, err := Sign(plain, keys, policy, SignOptions{Now: now, Have: have}, func(piece []byte) error {
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
		return fmt.Errorf("the signed zone cannot be served: %v", problems)
	}
	v.Zone, v.Signed = z, *signed
	return nil
}

// check verifies all of a version that is small. A large one had each key's signatures tried.
func (s *Stage) check(v *Version, now time.Time) error {
	if v.Zone.Names() > fewSignatures {
		return nil
	}
	verdict, err := Verify(v.Zone, VerifyOptions{Now: now, DS: s.entry(v.Zone)})
	if err != nil {
		return err
	}
	for _, f := range verdict.Faults {
		if !f.Warning {
			return fmt.Errorf("the signed zone is not good, and not served: %s", f)
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

// again returns when a version has to be signed again whose first signature expires at a time:
// when that has only Refresh left, or when a key's time comes.
func (s *Stage) again(expires time.Time, keys []*Key, now time.Time) time.Time {
	at := expires.Add(-s.Policy.Refresh)
	if soonest := now.Add(interval(s.Policy.Valid, s.Policy.Refresh)); at.Before(soonest) {
		at = soonest
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

// rememberFile names the keys that the zone has been signed with.
const rememberFile = "keys"

// rememberLine is the first line of that file: its kind and version.
const rememberLine = "port53 keys 1"

const rememberHead = rememberLine + "\n# The keys of the zone. One that is named here and whose files are gone keeps the zone from being\n" +
	"# signed: bring the files back, or take its line out if the key is to be given up for good.\n"

// keys returns the keys of the zone, and makes the first ones. A key that the zone was signed with
// and that is not there any more is an error: with new ones in its place the zone would be bogus
// for all who know the old.
func (s *Stage) keys(now time.Time) (keys []*Key, made []string, err error) {
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
	if err := s.lost(keys, known); err != nil {
		return nil, nil, err
	}
	// The first ones are made, or what a crash left out of them.
	if len(known) == 0 && (len(keys) == 0 || s.Policy.Split) {
		kinds := []bool{true}
		if s.Policy.Split {
			kinds = []bool{true, false}
		}
		for _, sep := range kinds {
			if slices.ContainsFunc(keys, func(k *Key) bool { return k.SEP() == sep }) {
				continue
			}
			k, err := NewKey(s.Zone, s.Policy.Algorithm, sep, now, keys)
			if err == nil {
				err = k.Write(s.Dir)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("a key cannot be made: %w", err)
			}
			keys, made = append(keys, k), append(made, k.File)
		}
	}
	return keys, made, s.remember(keys, known)
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
		return nil, fmt.Errorf("%s: its first line is not %q: it is damaged, or of a newer version", filepath.Join(s.Dir, rememberFile), rememberLine)
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
	known, err := s.remembered()
	if err == nil {
		err = s.lost(keys, known)
	}
	return err
}

// lost returns an error if one of the keys that are known is not there.
func (s *Stage) lost(keys []*Key, known []string) error {
	var lost []string
	for _, name := range known {
		if !slices.ContainsFunc(keys, func(k *Key) bool { return filepath.Base(k.File) == name }) {
			lost = append(lost, name)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("%s: the files of %s are gone, with which the zone was signed: bring them back, or take their lines out of %s if the keys are to be given up for good",
		s.Dir, strings.Join(lost, ", "), filepath.Join(s.Dir, rememberFile))
}

// remember writes down the names of the keys, durably, if they are not those that are known.
func (s *Stage) remember(keys []*Key, known []string) error {
	var names []string
	for _, k := range keys {
		names = append(names, filepath.Base(k.File))
	}
	slices.Sort(names)
	if slices.Equal(names, known) {
		return nil
	}
	path := filepath.Join(s.Dir, rememberFile)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(path+".new", []byte(rememberHead+strings.Join(names, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(s.Dir)
}
