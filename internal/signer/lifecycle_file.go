package signer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
	"port53/internal/zone"
)

// lifeFile has the states of a zone's keys, beside them.
const lifeFile = "states.json"

// A lifeText is what is written.
type lifeText struct {
	Kind    string `json:"port53"` // what the file is, and its version
	Comment string `json:"comment"`
	*Lifecycle
}

const (
	lifeKind    = "key states 1"
	lifeComment = "The states of the zone's keys: see the chapter on the life of keys in DNSSEC.md. port53 zone keys prints them."
)

// load reads the states of the keys; a zone that has none yet has a life without keys.
func (s *Stage) load() (*Lifecycle, error) {
	path := filepath.Join(s.Dir, lifeFile)
	b, err := readBounded(path, maxLifeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lifecycle{}, nil
	}
	if err != nil {
		return nil, err
	}
	t := lifeText{Lifecycle: &Lifecycle{}}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("%s: damaged, or written by a newer version: %w; restore it from a backup", path, err)
	}
	if t.Kind != lifeKind {
		return nil, fmt.Errorf("%s: it is %q, and not %q: it is of another version", path, t.Kind, lifeKind)
	}
	if slices.Contains(t.Keys, nil) {
		return nil, fmt.Errorf("%s: a key in it is null: restore it from a backup", path)
	}
	return t.Lifecycle, nil
}

// save writes the states of the keys down, durably, if they are not what is there.
func (s *Stage) save(l *Lifecycle) error {
	b, err := json.MarshalIndent(lifeText{lifeKind, lifeComment, l}, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if have, err := readBounded(filepath.Join(s.Dir, lifeFile), maxLifeFile); err == nil && bytes.Equal(have, b) {
		return nil
	}
	return s.replace(lifeFile, b)
}

// forget takes out keys whose files are gone and that nobody remembers: they were given up, or are
// not needed any more.
func (l *Lifecycle) forget() {
	l.Keys = slices.DeleteFunc(l.Keys, func(k *KeyLifecycle) bool { return k.key == nil })
}

// signs reports whether the key of a name signs something.
func (l *Lifecycle) signs(name string) bool {
	return slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool {
		return k.Name == name && k.Private && (k.Signatures.State.out() || k.DNSKEY.State.out() && l.entry(k))
	})
}

// again has all waits start over: nobody knows how much of them has passed.
func (l *Lifecycle) again(now time.Time) {
	for _, k := range l.Keys {
		for _, r := range []*RecordState{&k.DNSKEY, &k.Signatures, &k.DS} {
			if !r.SeenEverywhere.IsZero() {
				r.SeenEverywhere = now
			}
		}
	}
	l.Watched = time.Time{}
}

// notLater brings times that a clock in the future gave to now.
func (l *Lifecycle) notLater(now time.Time) {
	for _, k := range l.Keys {
		for _, r := range []*RecordState{&k.DNSKEY, &k.Signatures, &k.DS} {
			if r.SeenEverywhere.After(now) {
				r.SeenEverywhere = now
			}
		}
		if k.Published.After(now) {
			k.Published = now
		}
	}
	for i := range l.Parent {
		if l.Parent[i].At.After(now) {
			l.Parent[i].At = time.Time{}
		}
	}
	if l.Watched.After(now) {
		l.Watched = now
	}
}

// Kind tells what a key is for: KSK, ZSK, or CSK if it does both.
func (l *Lifecycle) Kind(k *KeyLifecycle) string {
	switch {
	case !k.SEP && !l.entry(k):
		return "ZSK"
	case l.some(k.Algorithm, func(o *KeyLifecycle) bool {
		return o != k && !l.entry(o) && (o.stays() || o.Signatures.State != Hidden)
	}):
		return "KSK"
	}
	return "CSK"
}

// seatbelt judges a version against each set of DS records that a server of the parent had when it
// was asked last. One that validators would refuse is an error, unless they refuse have as well:
// then it is no worse, and an alert.
func (l *Lifecycle) seatbelt(have, next *zone.Zone, now time.Time) (alert string, err error) {
	if have == next {
		have = nil
	}
	for _, p := range l.Parent {
		why := entered(next, p.DS, now)
		if why == "" {
			continue
		}
		text := fmt.Sprintf("by the DS records that %s has (asked %s): %s", p.Server, p.At.UTC().Format(time.RFC3339), why)
		if have != nil && entered(have, p.DS, now) == "" {
			return "", fmt.Errorf("the signed zone would be bogus and is not served: %s", text)
		}
		alert = "the zone is bogus " + text
	}
	return alert, nil
}

// entered returns why DS records do not lead to a zone's keys; empty: they do, or there is none that
// validators know, and the zone counts as unsigned.
func entered(z *zone.Zone, ds [][]byte, now time.Time) string {
	v := dnssec.TrustPoint{DS: ds}
	if len(ds) == 0 || v.Unsupported() != 0 {
		return ""
	}
	var u zone.Unpacked
	if !z.UnpackType(&u, z.Root(), wire.TypeDNSKEY) {
		return "there are DS records, and the zone is not signed"
	}
	u.Owner = z.Apex()
	if _, _, why := v.Keys(&u.RRset, now, &dnssec.Work{Signatures: seatbeltWork, Failures: seatbeltWork}); why != 0 {
		return why.String()
	}
	return ""
}

// seatbeltWork is how many signatures of a DNSKEY set are tried.
const seatbeltWork = 32

// Asks reports whether the parent is to have other DS records than it has.
func (l *Lifecycle) Asks() bool {
	_, known := l.Wanted()
	return known && !l.Unsigned && !l.ParentHasWanted()
}

// Moves reports whether a key comes or goes.
func (l *Lifecycle) Moves() bool {
	return slices.ContainsFunc(l.Keys, func(k *KeyLifecycle) bool {
		return !k.steady() || k.Retiring != "" && !k.gone() || k.stays() && k.DNSKEY.State == Hidden
	})
}

// Waits says for people what the next steps wait for.
func (l *Lifecycle) Waits(p *LifecyclePolicy) (list []string) {
	w := l.waits(p)
	say := func(k *KeyLifecycle, what string, r *RecordState, wait time.Duration, come, gone string) {
		switch {
		case r.State == Rumoured && r.SeenEverywhere.IsZero():
			list = append(list, fmt.Sprintf("key %d: %s", k.Tag, come))
		case r.State == Unretentive && r.SeenEverywhere.IsZero():
			list = append(list, fmt.Sprintf("key %d: %s", k.Tag, gone))
		case r.State == Rumoured:
			list = append(
				list,
				fmt.Sprintf("key %d: waiting until caches have its %s: %s",
					k.Tag, what, r.SeenEverywhere.Add(wait).UTC().Format(time.RFC3339)),
			)
		case r.State == Unretentive:
			list = append(
				list,
				fmt.Sprintf("key %d: waiting until its %s has expired from caches: %s", k.Tag, what,
					r.SeenEverywhere.Add(wait).UTC().Format(time.RFC3339)),
			)
		}
	}
	for _, k := range l.Keys {
		say(k, "DNSKEY record", &k.DNSKEY, w.key, l.missing("its DNSKEY record"), l.missing("the zone without its DNSKEY record"))
		say(k, "signatures", &k.Signatures, w.data, l.missing("its signatures"), l.missing("the zone without its signatures"))
		say(
			k,
			"DS record",
			&k.DS,
			w.ds,
			"its DS record is not on all parent servers yet"+l.parents(func(p ParentServer) bool { has, _ := k.among(p.DS); return !has }),
			"its DS record is still on a parent server, or some could not be queried"+
				l.parents(func(p ParentServer) bool { has, perhaps := k.among(p.DS); return has || perhaps }),
		)
	}
	if l.Asks() {
		list = append(
			list,
			"the DS records in the parent zone must be changed: port53 zone ds prints the new ones; if the parent "+
				"cannot be queried, confirm with zone ds --seen or --gone",
		)
	}
	return list
}

// parents names the servers of the parent that are such, and those that could not be asked.
func (l *Lifecycle) parents(such func(ParentServer) bool) string {
	var names []string
	for _, p := range l.Parent {
		switch {
		case p.Error != "":
			names = append(names, p.Server+" ("+p.Error+")")
		case such(p):
			names = append(names, p.Server)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names[:min(len(names), maxNamed)], ", ")
}

// maxNamed is how many servers of the parent are named in one line.
const maxNamed = 4

// missing says which servers are waited for.
func (l *Lifecycle) missing(what string) string {
	for _, s := range l.Servers {
		if s.Error != "" {
			return fmt.Sprintf("waiting until all servers have %s; %s cannot be queried: %s", what, s.Server, s.Error)
		}
	}
	return "waiting until all servers have " + what
}
