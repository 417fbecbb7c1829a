package signer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

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
