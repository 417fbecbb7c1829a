package resolver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A Clock is what is known of the machine's clock that no reply can forge.
type Clock struct {
	Built          time.Time   // of the program: it is not earlier; zero: nobody knows
	Kept           time.Time   // when signatures of the root were valid last, in an earlier run; zero: nobody knows
	Unsynchronized func() bool // whether the kernel says that nobody sets the clock; nil: it says nothing
}

// clockSlack is how far behind the time that is known a clock may be before it is called wrong:
// what was kept may have been a little ahead.
const clockSlack = 24 * time.Hour

// unvalidatedTTL is the TTL, in seconds, of answers that are not validated because the clock is
// wrong: nobody is to keep them for longer than that may last.
const unvalidatedTTL = 10

// A clockWatch is what was said of the clock last.
type clockWatch struct {
	mu   sync.Mutex
	told string
}

// A doubt is what is wrong with the clock.
type doubt struct {
	text  string // empty: nothing is
	wrong bool   // there is evidence for it that no reply can forge
}

// early tells why the clock is behind, or nothing.
func (s *Config) early(now time.Time) string {
	now = now.Add(clockSlack)
	switch {
	case now.Before(s.Clock.Built):
		return "it is before this binary's build time, " + s.Clock.Built.UTC().Format(time.RFC3339)
	case now.Before(s.Clock.Kept):
		return "it is before the last time known to be correct, " + s.Clock.Kept.UTC().Format(time.RFC3339)
	}
	return ""
}

// doubtClock returns what is wrong with the clock by which signatures are judged. What replies
// say makes it doubtful, if the signature of the root's own keys is not of this time; to call it
// wrong takes more.
func (r *Resolver) doubtClock(s *Config) doubt {
	now := s.now()
	if why := s.early(now); why != "" {
		return doubt{"the clock is wrong: " + why, true}
	}
	tr := r.trusts[s.Partition].get(wire.Root, time.Now())
	why := ""
	switch {
	case tr == nil:
	case tr.sec == secBogus && tr.reason == wire.EDESignatureExpired, tr.sec == secSecure && now.After(tr.until):
		why = "the root's DNSKEY signatures have expired according to it"
	case tr.sec == secBogus && tr.reason == wire.EDESignatureNotYetValid, tr.sec == secSecure && now.Before(tr.from):
		why = "the root's DNSKEY signatures are not yet valid according to it"
	}
	switch {
	case why == "":
		return doubt{}
	case s.Clock.Unsynchronized != nil && s.Clock.Unsynchronized():
		return doubt{"the clock is wrong: the kernel reports it as unsynchronized, and " + why, true}
	}
	return doubt{text: "the clock may be wrong: " + why}
}

// tellClock logs once what is wrong with the clock, and once that nothing is any more.
func (r *Resolver) tellClock(s *Config, d doubt) {
	r.clock.mu.Lock()
	before := r.clock.told
	r.clock.told = d.text
	r.clock.mu.Unlock()
	switch {
	case d.text == before:
	case d.text == "":
		r.log.Info("the clock is correct again", "now", s.now().UTC().Format(time.RFC3339))
	default:
		r.log.Error(
			d.text,
			"now",
			s.now().UTC().Format(time.RFC3339),
			"effect",
			"names in signed zones fail until it is correct",
			"remedy",
			"set it by hand with date --set or chronyc makestep, and have a time service set it at boot",
			"time_names",
			len(s.TimeNames),
		)
	}
}

// watchClock looks after the clock when a question has failed, or when there is something to
// take back.
func (r *Resolver) watchClock(s *Config, res *result) doubt {
	if !s.Validate {
		return doubt{}
	}
	failed := res.sec == secBogus && (res.ede == wire.EDESignatureExpired || res.ede == wire.EDESignatureNotYetValid)
	r.clock.mu.Lock()
	told := r.clock.told != ""
	r.clock.mu.Unlock()
	if !failed && !(told && res.sec == secSecure) {
		return doubt{}
	}
	d := r.doubtClock(s)
	r.tellClock(s, d)
	return d
}

// timeName reports whether an operator lets a question be answered without validation while the
// clock is wrong: so that it can be set.
func (s *Config) timeName(name []byte, typ wire.Type) bool {
	return (typ == wire.TypeA || typ == wire.TypeAAAA || typ == wire.TypeCNAME) &&
		slices.ContainsFunc(s.TimeNames, func(n []byte) bool { return bytes.Equal(n, name) })
}

// unvalidatedAnswer looks a time name up without validation. Nothing of it is kept.
func (r *Resolver) unvalidatedAnswer(s *Config, name []byte, typ wire.Type) *result {
	t := r.task(s)
	defer t.release()
	t.validate, t.w = false, r.cache.NoWriter()
	res := t.follow(name, typ)
	if res.rcode == wire.ServFail {
		return res
	}
	for _, sets := range [...][]*wire.RRset{res.answer, res.authority} {
		for i, set := range sets {
			sets[i] = set.Clone()
			sets[i].TTL = min(set.TTL, unvalidatedTTL)
		}
	}
	res.sec, res.ede = secUnchecked, wire.EDEIndeterminate
	return res
}

// window makes a trust remember when the signature of its keys is valid.
func (tr *trust) window(v dnssec.Verified) {
	tr.from, tr.until = time.Unix(int64(v.Inception), 0), time.Unix(int64(v.Expires), 0)
}

// ClockFile is the name of the file in which a [Rollover] keeps when signatures of the root were
// valid last, beside its own.
const ClockFile = "clock"

// clockLine begins a clock file.
const clockLine = "port53 clock 1\n"

// keepTime keeps that the clock is right now: the root's keys have just been validated.
func (ro *Rollover) keepTime(now time.Time) error {
	text := clockLine + now.UTC().Format(time.RFC3339) + "\n"
	if err := replaceFile(filepath.Join(filepath.Dir(ro.file), ClockFile), []byte(text)); err != nil {
		return fmt.Errorf("the time: %w", err)
	}
	return nil
}

// SavedTime returns what is in a clock file; the zero time if there is no file.
func SavedTime(file string) (time.Time, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	rest, ok := strings.CutPrefix(string(text), clockLine)
	if !ok {
		return time.Time{}, fmt.Errorf("%s: it does not begin with %q", file, clockLine[:len(clockLine)-1])
	}
	at, err := time.Parse(time.RFC3339, strings.TrimSuffix(rest, "\n"))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", file, err)
	}
	return at, nil
}
