package resolver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// The states of a key that is or may become a trust anchor (RFC 5011, section 4.2).
const (
	keyPending = "pending" // seen, and not long enough yet
	keyValid   = "valid"
	keyMissing = "missing" // valid, and not in the zone at present
	keyRevoked = "revoked" // signed itself away: never to be trusted again
)

// Times of RFC 5011, sections 2.3, 2.4.1 and 2.4.2.
const (
	addHold       = 30 * 24 * time.Hour
	removeHold    = 30 * 24 * time.Hour
	leastInterval = time.Hour
	mostInterval  = 15 * 24 * time.Hour
	mostRetry     = 24 * time.Hour
)

// A Rollover follows the rolls of the keys that are trust anchors (RFC 5011), and
// keeps what it saw in a file, so that a restart begins where the server stood.
type Rollover struct {
	file string

	mu    sync.Mutex
	zones []*followed
	other []*followed // zones without a configured anchor: nothing of them is trusted
}

// followed is one zone with anchors. Its JSON form is the state file's.
type followed struct {
	Zone []byte         `json:"zone"`
	DS   [][]byte       `json:"ds,omitempty"` // as configured, until keys are seen
	Keys []*followedKey `json:"keys"`
}

type followedKey struct {
	Data  []byte    `json:"dnskey"` // RDATA, without the REVOKE flag
	State string    `json:"state"`
	Since time.Time `json:"since"`
}

// A state file begins with anchorsLine, and JSON follows, whose first field is stateVersion.
// Earlier versions wrote no line.
const (
	anchorsLine  = "port53 anchors 1\n"
	anyAnchors   = "port53 "
	stateVersion = 1
)

type rolloverState struct {
	Version int         `json:"version"`
	Zones   []*followed `json:"zones"`
}

// OpenRollover begins with the state in file, if there is one, and else with the
// anchors configured. An anchor that was configured since, for a zone that the state
// has no key of, is taken over. A zone that is not configured any more is not trusted, and
// remembered: a key that was revoked stays so. The error says what is wrong with the file,
// which is left as it is: to go on without it could mean to trust a revoked key.
func OpenRollover(file string, configured []Anchor) (*Rollover, error) {
	ro := &Rollover{file: file}
	found, err := readState(file)
	var system *fs.PathError
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
	case errors.As(err, &system):
		return nil, fmt.Errorf("trust anchors: %w", err)
	default:
		return nil, fmt.Errorf("trust anchors: %s: %w; to start over with the configured anchors, remove the file", file, err)
	}
	for _, z := range found {
		if slices.ContainsFunc(configured, func(a Anchor) bool { return bytes.Equal(a.Zone, z.Zone) }) {
			ro.zones = append(ro.zones, z)
		} else {
			ro.other = append(ro.other, z)
		}
	}
	for _, a := range configured {
		z := ro.zone(a.Zone)
		if z == nil {
			z = &followed{Zone: a.Zone}
			ro.zones = append(ro.zones, z)
		}
		z.DS = a.DS
		for _, data := range a.Keys {
			if z.key(data) == nil {
				z.Keys = append(z.Keys, &followedKey{Data: plain(data), State: keyValid})
			}
		}
	}
	return ro, nil
}

// maxState is the bytes of a state file, far more than anchors take.
const maxState = 16 << 20

// readState reads a state file. What this version of the file does not have is an error,
// wherever it is: it would be lost when the file is written again.
func readState(file string) ([]*followed, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("it is no regular file"), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return nil, err
	}
	text, ok := bytes.CutPrefix(text, []byte(anchorsLine))
	if !ok && bytes.HasPrefix(text, []byte(anyAnchors)) {
		line, _, _ := bytes.Cut(text, []byte{'\n'})
		return nil, fmt.Errorf(
			"it begins with %.40q; this version of port53 reads files that begin with %q",
			line,
			anchorsLine[:len(anchorsLine)-1],
		)
	}
	var st rolloverState
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, err
	}
	if st.Version != stateVersion {
		return nil, fmt.Errorf("version %d, want %d", st.Version, stateVersion)
	}
	st = rolloverState{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&st); err != nil {
		return nil, err
	}
	for _, z := range st.Zones {
		if z == nil {
			return nil, errors.New("a zone is missing")
		}
		if n, err := wire.CheckName(z.Zone); err != nil || n != len(z.Zone) {
			return nil, fmt.Errorf("the name of a zone is none: %x", z.Zone)
		}
		for _, k := range z.Keys {
			if k == nil || !slices.Contains([]string{keyPending, keyValid, keyMissing, keyRevoked}, k.State) {
				return nil, fmt.Errorf("a key of %s is in an unknown state", wire.AppendName(nil, z.Zone))
			}
			if _, ok := dnssec.ParseKey(k.Data); !ok {
				return nil, fmt.Errorf("a key of %s is none", wire.AppendName(nil, z.Zone))
			}
		}
	}
	return st.Zones, nil
}

// CheckRollover returns what is wrong with a state file, or nil.
func CheckRollover(file string) error {
	_, err := readState(file)
	return err
}

func (ro *Rollover) zone(name []byte) *followed {
	for _, z := range ro.zones {
		if bytes.Equal(z.Zone, name) {
			return z
		}
	}
	return nil
}

func (z *followed) key(data []byte) *followedKey {
	data = plain(data)
	for _, k := range z.Keys {
		if bytes.Equal(k.Data, data) {
			return k
		}
	}
	return nil
}

// plain returns the RDATA of a key without the REVOKE flag (RFC 5011, section 2.1).
func plain(data []byte) []byte {
	data = bytes.Clone(data)
	if len(data) > 1 {
		data[1] &^= 0x80
	}
	return data
}

// Anchors returns what is trusted now. DS records of keys that were revoked do not
// count any more, because no key that they match is among the valid ones; they are
// left out as soon as any key of the zone was seen.
func (ro *Rollover) Anchors() []Anchor {
	ro.mu.Lock()
	defer ro.mu.Unlock()
	var anchors []Anchor
	for _, z := range ro.zones {
		a := Anchor{Zone: z.Zone}
		for _, k := range z.Keys {
			if k.State == keyValid || k.State == keyMissing {
				a.Keys = append(a.Keys, k.Data)
			}
		}
		for _, ds := range z.DS {
			if !z.decided(ds) {
				a.DS = append(a.DS, ds)
			}
		}
		anchors = append(anchors, a)
	}
	return anchors
}

// decided reports whether the key of a DS record has been seen, so that its state says
// whether it is trusted.
func (z *followed) decided(ds []byte) bool {
	for _, k := range z.Keys {
		if k.State != keyPending && dnssec.MatchDS(ds, z.Zone, k.Data) {
			return true
		}
	}
	return false
}

// Observe takes a DNSKEY set of a zone that was validated by its anchors, at time now.
// It returns whether what is trusted has changed, after that is on disk.
func (ro *Rollover) Observe(zone []byte, set *wire.RRset, now time.Time) (changed bool, err error) {
	ro.mu.Lock()
	defer ro.mu.Unlock()
	z := ro.zone(zone)
	if z == nil {
		return false, nil
	}
	touched := false
	move := func(k *followedKey, state string) {
		trusted := k.State == keyValid || k.State == keyMissing
		k.State, k.Since, touched = state, now, true
		if trusted != (state == keyValid || state == keyMissing) {
			changed = true
		}
	}
	seen := map[*followedKey]bool{}
	for _, data := range set.Data {
		key, ok := dnssec.ParseKey(bytes.Clone(data))
		if !ok || !key.Zone() || !key.SEP() {
			continue
		}
		k := z.key(data)
		revoked := key.Revoked() && selfSigned(set, zone, key, now)
		switch {
		case k == nil && key.Revoked():
			continue
		case k == nil:
			k = &followedKey{Data: plain(data), State: keyPending, Since: now}
			if z.configured(data) {
				k.State, changed = keyValid, true
			}
			z.Keys = append(z.Keys, k)
			touched = true
		case revoked && k.State != keyRevoked:
			move(k, keyRevoked)
		case key.Revoked():
		case k.State == keyMissing:
			move(k, keyValid)
		case k.State == keyPending && now.Sub(k.Since) >= addHold:
			move(k, keyValid)
		}
		seen[k] = true
	}
	kept := z.Keys[:0]
	for _, k := range z.Keys {
		switch {
		case seen[k]:
		case k.State == keyPending:
			touched = true
			continue // it has to be there all the time (RFC 5011, section 2.2)
		case k.State == keyValid:
			move(k, keyMissing)
		case k.State == keyRevoked && now.Sub(k.Since) >= removeHold && !z.configured(k.Data):
			touched = true
			continue
		}
		kept = append(kept, k)
	}
	z.Keys = kept
	if touched {
		err = ro.save()
	}
	return changed, err
}

// configured reports whether a DS record of the configuration stands for a key.
func (z *followed) configured(data []byte) bool {
	for _, ds := range z.DS {
		if dnssec.MatchDS(ds, z.Zone, plain(data)) {
			return true
		}
	}
	return false
}

// selfSigned reports whether a key signed the set that it is in, as a revocation must
// (RFC 5011, section 2.1).
func selfSigned(set *wire.RRset, zone []byte, key dnssec.Key, now time.Time) bool {
	work := dnssec.Work{Signatures: maxSigs, Failures: maxFailures}
	_, why := dnssec.Verify(set.Clone(), zone, []dnssec.Key{key}, now, &work)
	return why == 0
}

// save writes the state.
func (ro *Rollover) save() error {
	text, err := json.MarshalIndent(rolloverState{stateVersion, slices.Concat(ro.zones, ro.other)}, "", "  ")
	if err != nil {
		return fmt.Errorf("trust anchors: %w", err)
	}
	if err := replaceFile(ro.file, append([]byte(anchorsLine), text...)); err != nil {
		return fmt.Errorf("trust anchors: %w", err)
	}
	return nil
}

// replaceFile writes a file so that a crash leaves either the old or the new one.
func replaceFile(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	if dir, err := os.Open(filepath.Dir(file)); err == nil {
		_ = dir.Sync() // the name is as important as the data
		dir.Close()
	}
	return nil
}

// interval returns when to look at a zone's keys again (RFC 5011, section 2.3).
func interval(set *wire.RRset, ok bool) time.Duration {
	if !ok {
		return leastInterval
	}
	ttl := time.Duration(set.TTL) * time.Second
	return min(max(ttl/2, leastInterval), mostInterval)
}

// firstLook is when the keys are looked at first, if the resolver has had to ask
// anything by then.
const firstLook = 10 * time.Second

// Follow looks at the keys of all anchors now and then until the resolver is closed, and
// has apply make what ro trusts what counts. Failures to write are reported by report.
func (r *Resolver) Follow(ro *Rollover, apply func([]Anchor), report func(error)) {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		timer := time.NewTimer(firstLook)
		defer timer.Stop()
		for {
			select {
			case <-r.ctx.Done():
				return
			case <-timer.C:
			}
			if r.counters.Sent.Load() == 0 {
				timer.Reset(firstLook) // nobody has asked anything yet, and it asks nobody
				continue
			}
			next := mostInterval
			for _, a := range ro.Anchors() {
				set, err := r.anchorKeys(a.Zone)
				next = min(next, interval(set, err == nil))
				if err != nil {
					report(err)
					continue
				}
				changed, err := ro.Observe(a.Zone, set, time.Now())
				if len(a.Zone) == 1 {
					err = errors.Join(err, ro.keepTime(time.Now()))
				}
				if err != nil {
					report(err)
				}
				if changed {
					apply(ro.Anchors())
				}
			}
			timer.Reset(next)
		}
	}()
}

// anchorKeys returns the DNSKEY set of a zone as servers have it now, validated by
// what is trusted.
func (r *Resolver) anchorKeys(zone []byte) (*wire.RRset, error) {
	t := r.task(r.configs[0].Load())
	defer t.release()
	a := t.s.anchors[string(zone)]
	if a == nil {
		return nil, fmt.Errorf("%s has no trust anchor any more", wire.AppendName(nil, zone))
	}
	t.refresh = true
	tr, set := t.keysOf(zone, a.DS, a.Keys)
	switch tr.reason {
	case edeNone:
	case wire.EDENoReachableAuthority, wire.EDENetworkError, wire.EDENotReady, wire.EDEOther, edePassing:
		return nil, fmt.Errorf("the keys of %s cannot be had: %s", wire.AppendName(nil, zone), wire.ErrorText(uint16(tr.reason)))
	default:
		return nil, fmt.Errorf(
			"the DNSKEY records of %s do not validate with its trust anchors (%s): all names below it fail; see resolver.trust_anchors",
			wire.AppendName(nil, zone),
			wire.ErrorText(uint16(tr.reason)),
		)
	}
	return set.Clone(), nil
}
