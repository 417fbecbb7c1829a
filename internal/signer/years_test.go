package signer_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// The simulated years: a zone with a Stage, servers that follow it, a parent with servers of its
// own, and an oracle that knows all that anybody ever published, and when. At each moment it puts
// together whatever caches may have, and finds out whether a validator of the strictest kind
// would refuse it.

// A published is a set that servers had for a time; caches have it until ttl after that.
type published[T any] struct {
	value T
	ttl   time.Duration
	gone  time.Time // when the last server took it away; zero: it is there
	count int       // of servers that have it
}

// A history is all that was published of one kind and may be in a cache.
type history[T any] struct {
	sets map[string]*published[T]
}

func (h *history[T]) put(key string, v T, ttl time.Duration) {
	if h.sets == nil {
		h.sets = map[string]*published[T]{}
	}
	p := h.sets[key]
	if p == nil {
		p = &published[T]{value: v}
		h.sets[key] = p
	}
	p.ttl, p.gone = max(p.ttl, ttl), time.Time{}
	p.count++
}

func (h *history[T]) take(key string, now time.Time) {
	if p := h.sets[key]; p != nil {
		if p.count--; p.count == 0 {
			p.gone = now
		}
	}
}

// now returns what caches may have.
func (h *history[T]) now(now time.Time) (list []T) {
	for key, p := range h.sets {
		if !p.gone.IsZero() && now.Sub(p.gone) > p.ttl {
			delete(h.sets, key)
			continue
		}
		list = append(list, p.value)
	}
	return list
}

// A keyView is a DNSKEY set, and the keys that signed it; a dataView is the keys that signed data.
type keyView struct {
	keys    [][]byte
	signers []uint32
}

func keyID(alg uint8, tag uint16) uint32 { return uint32(alg)<<16 | uint32(tag) }

// refuses returns why a validator that insists on each algorithm (RFC 4035, section 2.2) refuses
// data with what it has of DS, keys and data; empty: it does not.
func refuses(apex []byte, ds [][]byte, k *keyView, data []uint32) string {
	if len(ds) == 0 {
		return ""
	}
	if len(k.keys) == 0 {
		return "there are DS records and no keys"
	}
	way := map[uint8]bool{}
	for _, d := range ds {
		way[d[2]] = way[d[2]] || slices.ContainsFunc(k.keys, func(key []byte) bool {
			return dnssec.MatchDS(d, apex, key) && slices.Contains(k.signers, keyID(key[3], dnssec.KeyTag(key)))
		})
	}
	known := map[uint8]bool{}
	for _, key := range k.keys {
		known[key[3]] = known[key[3]] || slices.Contains(data, keyID(key[3], dnssec.KeyTag(key)))
	}
	for alg, ok := range way {
		if !ok {
			return fmt.Sprintf("no key of algorithm %d that a DS record stands for signs the keys", alg)
		}
	}
	for alg, ok := range known {
		if !ok {
			return fmt.Sprintf("no key of algorithm %d in the set signed the data", alg)
		}
	}
	return ""
}

// A world is one zone and all around it.
type world struct {
	*testing.T
	rnd   *rand.Rand
	now   time.Time
	stage *signer.Stage
	plain *zone.Zone

	have    *zone.Zone
	version *signer.Version
	follows []*follower // the zone's servers
	parents []*parentServer

	ds   history[[][]byte]
	keys history[*keyView]
	data history[[]uint32]

	bogus   []string
	moves   int // versions
	skipped int // times that signing was refused, as it had to be
}

// A follower is a server of the zone.
type follower struct {
	lag    func() time.Duration
	has    *zone.Zone
	next   *zone.Zone
	due    time.Time
	silent time.Time // until when it is not to be reached
	unseen bool      // nobody asks it
}

// A parentServer is a server of the parent.
type parentServer struct {
	ds     [][]byte
	next   [][]byte
	due    time.Time
	silent time.Time
	lies   [][]byte // what it says to those who look; nil: the truth
	lying  bool
}

const (
	dsTTL   = 24 * time.Hour
	yearDay = 24 * time.Hour
)

func newWorld(t *testing.T, seed uint64, policy signer.StagePolicy) *world {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // states are synced thousands of times
	}
	w := &world{
		T: t, rnd: rand.New(rand.NewPCG(seed, 53)), now: now, plain: load(t, "example.", small),
		stage: &signer.Stage{Zone: name(t, "example."), Dir: filepath.Join(t.TempDir(), "keys"), Policy: policy},
	}
	hours := func(n int) func() time.Duration {
		return func() time.Duration { return time.Duration(w.rnd.IntN(n*60)) * time.Minute }
	}
	w.follows = []*follower{
		{lag: func() time.Duration { return 0 }},
		{lag: hours(2)},
		{lag: hours(30)},
		{lag: func() time.Duration { return time.Duration(w.rnd.IntN(50)) * time.Minute }, unseen: true},
	}
	for range 3 {
		w.parents = append(w.parents, &parentServer{})
		w.ds.put("", nil, dsTTL)
	}
	for _, f := range w.follows {
		f.has = w.plain
		w.show(w.plain, 1)
	}
	return w
}

const small = `
$ORIGIN example.
$TTL 3600
@ SOA ns admin 5 7200 3600 1209600 300
@ NS ns
ns 86400 A 192.0.2.1
www A 192.0.2.2
`

// show notes that a server has a version, or with -1 has it no more.
func (w *world) show(z *zone.Zone, n int) {
	k, data := views(z)
	kk, dk := fmt.Sprint(k.keys, k.signers), fmt.Sprint(data)
	if n < 0 {
		w.keys.take(kk, w.now)
		w.data.take(dk, w.now)
		return
	}
	w.keys.put(kk, k, time.Hour)
	w.data.put(dk, data, yearDay)
}

// views returns what there is of keys and signatures in a version.
func views(z *zone.Zone) (*keyView, []uint32) {
	ids := func(t wire.Type) (data [][]byte, ids []uint32) {
		var u zone.Unpacked
		if !z.UnpackType(&u, z.Root(), t) {
			return nil, nil
		}
		for _, s := range u.Sigs {
			ids = append(ids, keyID(s[2], binary.BigEndian.Uint16(s[16:])))
		}
		slices.Sort(ids)
		for _, d := range u.Data {
			data = append(data, slices.Clone(d))
		}
		return data, ids
	}
	k := &keyView{}
	k.keys, k.signers = ids(wire.TypeDNSKEY)
	_, data := ids(wire.TypeSOA)
	return k, data
}

// judge puts together whatever caches may have.
func (w *world) judge(why string) {
	keys, data := w.keys.now(w.now), w.data.now(w.now)
	for _, ds := range w.ds.now(w.now) {
		for _, k := range keys {
			for _, d := range data {
				if text := refuses(w.plain.Apex(), ds, k, d); text != "" && len(w.bogus) < 20 {
					w.bogus = append(w.bogus, fmt.Sprintf("%s, %s: %s", w.now.Format(time.DateTime), why, text))
				}
			}
		}
	}
}

// sign has the stage sign, and its servers follow.
func (w *world) sign() {
	v, err := w.stage.Sign(context.Background(), 1, w.have, w.plain, w.now)
	if err != nil {
		if !strings.Contains(err.Error(), "which signed the zone, are missing") {
			w.Fatalf("%v: %v", w.now, err)
		}
		w.skipped++
		return
	}
	w.version = v
	if v.Zone == w.have {
		return
	}
	w.moves++
	w.have = v.Zone
	for _, f := range w.follows {
		if f.next == nil {
			f.due = w.now.Add(f.lag())
		}
		f.next = v.Zone
	}
	w.pass()
}

// pass has servers get what is due.
func (w *world) pass() {
	for _, f := range w.follows {
		if f.next != nil && !w.now.Before(f.due) && !w.now.Before(f.silent) {
			w.show(f.next, 1)
			w.judge("a server follows")
			w.show(f.has, -1)
			f.has, f.next = f.next, nil
		}
	}
	for _, p := range w.parents {
		if !p.due.IsZero() && !w.now.Before(p.due) {
			w.ds.put(fmt.Sprint(p.next), p.next, dsTTL)
			w.judge("the parent changes")
			w.ds.take(dsKey(p.ds), w.now)
			p.ds, p.due = p.next, time.Time{}
		}
	}
}

func dsKey(ds [][]byte) string {
	if ds == nil {
		return ""
	}
	return fmt.Sprint(ds)
}

// look has all servers asked that are known.
func (w *world) look() {
	s := &signer.Observation{At: w.now}
	for i, p := range w.parents {
		a := signer.ParentServer{Server: fmt.Sprint("p", i), At: w.now, DS: p.ds, TTL: uint32(dsTTL / time.Second)}
		if p.lying {
			a.DS = p.lies
		}
		if w.now.Before(p.silent) {
			a = signer.ParentServer{Server: a.Server, Error: "timeout"}
		}
		s.Parent = append(s.Parent, a)
	}
	for i, f := range w.follows {
		if f.unseen {
			continue
		}
		z := signer.ZoneServer{Server: fmt.Sprint("s", i)}
		if w.now.Before(f.silent) {
			z.Error = "timeout"
		} else {
			var keys, soa zone.Unpacked
			f.has.UnpackType(&keys, f.has.Root(), wire.TypeDNSKEY)
			f.has.UnpackType(&soa, f.has.Root(), wire.TypeSOA)
			z.Keys, z.Sigs, z.Serial = keys.Data, soa.Sigs, f.has.Serial()
		}
		s.Zone = append(s.Zone, z)
	}
	if _, err := w.stage.Observe(s); err != nil && !strings.Contains(err.Error(), "are missing") {
		w.Fatal(err)
	}
}

// scan has the parent take what the zone's CDS records ask for, some time later, with its servers
// at different times.
func (w *world) scan(slow time.Duration) {
	z := w.follows[w.rnd.IntN(len(w.follows))].has
	var u zone.Unpacked
	if !z.UnpackType(&u, z.Root(), wire.TypeCDS) {
		return
	}
	var next [][]byte
	for _, d := range u.Data {
		if len(d) > 5 {
			next = append(next, slices.Clone(d))
		}
	}
	w.parentTakes(next, slow)
}

func (w *world) parentTakes(next [][]byte, slow time.Duration) {
	for _, p := range w.parents {
		if dsKey(p.ds) != dsKey(next) && p.due.IsZero() {
			p.next, p.due = next, w.now.Add(time.Duration(w.rnd.Int64N(int64(slow))))
		}
	}
}

// run lets time pass, with restarts, servers that are silent, and a parent that changes its mind.
func (w *world) run(d time.Duration) {
	tick := func() time.Duration {
		if w.moving() {
			return 2 * time.Hour
		}
		return 16 * time.Hour
	}
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(tick()) {
		w.pass()
		switch n := w.rnd.IntN(400); {
		case n == 0:
			w.parents[w.rnd.IntN(3)].silent = w.now.Add(time.Duration(w.rnd.IntN(20*24)) * time.Hour)
		case n == 1:
			w.follows[1+w.rnd.IntN(2)].silent = w.now.Add(time.Duration(w.rnd.IntN(72)) * time.Hour)
		case n < 6:
			// One server goes on saying to those who look what it had, and more. (One that said it had
			// what it is to have, and had not, could not be told from an honest one.)
			p := w.parents[w.rnd.IntN(3)]
			if p.lying = !p.lying; p.lying {
				p.lies = append(slices.Clone(p.ds), []byte{0, 1, 13, 2, 0})
			}
		case n < 20:
			w.stage = &signer.Stage{Zone: w.stage.Zone, Dir: w.stage.Dir, From: w.stage.From, Policy: w.stage.Policy}
		case n < 30:
			w.scan(time.Duration(1+w.rnd.IntN(72)) * time.Hour)
		}
		w.look()
		w.sign()
		w.pass()
	}
}

// still lets all servers be reached and the parent follow until nothing moves any more.
func (w *world) still(what string) {
	for range 1000 {
		for _, p := range w.parents {
			p.silent, p.lying = time.Time{}, false
		}
		w.run(10 * time.Hour)
		w.scan(5 * time.Hour)
		if !w.moving() {
			return
		}
	}
	w.Fatalf("%s: it does not end: %s", what, w.states())
}

// moving reports whether a key comes or goes.
func (w *world) moving() bool {
	return slices.ContainsFunc(w.version.Lifecycle.Keys, func(k *signer.KeyLifecycle) bool {
		for _, r := range []signer.RecordState{k.DNSKEY, k.Signatures, k.DS} {
			if r.State == signer.Rumoured || r.State == signer.Unretentive {
				return true
			}
		}
		return k.Retiring != "" && k.DNSKEY.State != signer.Hidden || k.Retiring == "" && k.DNSKEY.State == signer.Hidden
	})
}

func (w *world) states() string {
	var b strings.Builder
	for _, k := range w.version.Lifecycle.Keys {
		fmt.Fprintf(&b, "\n%d alg %d sep %v leaves %q: dnskey %s, signatures %s, ds %s", k.Tag, k.Algorithm, k.SEP, k.Retiring, k.DNSKEY.State, k.Signatures.State, k.DS.State)
	}
	return b.String()
}

// good fails the test if there was a bogus moment.
func (w *world) good() {
	w.Helper()
	for _, b := range w.bogus {
		w.Error(b)
	}
	if len(w.bogus) > 0 {
		w.Log(w.states())
	}
}

func yearsPolicy() signer.StagePolicy {
	return signer.StagePolicy{
		Algorithm: dnssec.ED25519, Valid: 60 * days, Refresh: 35 * days, Before: time.Hour,
		Lifecycle: signer.LifecyclePolicy{Propagation: time.Hour, ParentPropagation: time.Hour, DSTTL: dsTTL, Purge: 90 * days},
	}
}

// notShort leaves a test of simulated weeks or years out of those that run a second time, under the race detector: it is one
// goroutine that signs small zones again and again, as the other tests do once.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("simulated weeks or years")
	}
}

// TestYears lives through five years of all kinds of rolls; PORT53_YEARS is how many times.
func TestYears(t *testing.T) {
	notShort(t)
	lives, _ := strconv.Atoi(cmp.Or(os.Getenv("PORT53_YEARS"), "1"))
	for seed := range lives {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { fiveYears(t, uint64(seed)) })
	}
}

func fiveYears(t *testing.T, seed uint64) {
	w := newWorld(t, seed, yearsPolicy())
	roll := func(r signer.Roll) {
		t.Helper()
		if err := w.stage.Roll(r, w.now); err != nil {
			t.Fatal(err)
		}
	}
	w.sign()
	w.still("signed for the first time")
	roll(signer.Roll{})
	w.still("CSK")
	w.stage.Policy.Split = true
	w.still("a CSK becomes a KSK and a ZSK")
	w.stage.Policy.Lifecycle.ZSKLifetime = 90 * days
	w.run(200 * days)
	roll(signer.Roll{KSK: true, Force: true})
	w.still("KSK")
	w.stage.Policy.Algorithm = dnssec.ECDSAP256
	w.still("another algorithm, KSK and ZSK")

	// A month in which nobody is there.
	w.now = w.now.Add(30 * days)
	w.stage = &signer.Stage{Zone: w.stage.Zone, Dir: w.stage.Dir, From: w.stage.From, Policy: w.stage.Policy}
	roll(signer.Roll{KSK: true, ZSK: true, Force: true})
	w.run(2 * days)
	w.now = w.now.Add(30 * days)
	w.still("after two months away, amid a roll")

	// A lost key: nothing is replaced, and the roll goes on when it is back.
	roll(signer.Roll{KSK: true, Force: true})
	w.run(days)
	kept := w.lose()
	w.run(20 * days)
	if w.skipped == 0 {
		t.Error("nobody missed the key")
	}
	kept()
	w.still("with the key again")

	w.stage.Policy.Lifecycle.ZSKLifetime = 0
	w.stage.Policy.Split = false
	w.still("one key again")
	w.stage.Policy.Algorithm = dnssec.ED25519
	w.still("another algorithm, CSK")
	w.stage.Policy.Lifecycle.Insecure = true
	w.run(120 * days)
	w.still("insecure")
	if !w.version.Lifecycle.Unsigned || w.have.Signed() {
		t.Error("the zone is signed still")
	}
	w.stage.Policy.Lifecycle.Insecure = false
	w.still("and back")
	w.stage.Policy.Lifecycle.KSKLifetime = 200 * days
	w.run(now.Add(5 * 365 * days).Sub(w.now))
	w.stage.Policy.Lifecycle.KSKLifetime = 0
	w.still("at the end")
	w.good()
	if w.moves < 100 || len(w.parents[0].ds) != 1 {
		t.Errorf("%d versions, %d DS records", w.moves, len(w.parents[0].ds))
	}
	t.Logf("%v: %d versions", w.now.Sub(now), w.moves)
}

// TestTakeOver takes zones over that another server signed until now, whose keys and signatures are
// in caches and at the parent: all kinds of rolls follow. Without its keys the zone is not signed.
func TestTakeOver(t *testing.T) {
	notShort(t)
	for what, split := range map[string]bool{"CSK": false, "KSK and ZSK": true} {
		t.Run(what, func(t *testing.T) { takeOver(t, split) })
	}
}

func takeOver(t *testing.T, split bool) {
	w := newWorld(t, 7, yearsPolicy())
	w.stage.From = t.TempDir()
	if _, err := w.stage.Sign(context.Background(), 1, nil, w.plain, w.now); err == nil || !strings.Contains(err.Error(), "cannot be imported") {
		t.Errorf("without keys: %v", err)
	}
	old := []*signer.Key{newKey(t, "example.", dnssec.ECDSAP256, true)}
	if split {
		old = append(old, newKey(t, "example.", dnssec.ECDSAP256, false, old...))
	}
	long := w.now.Add(-300 * days)
	for _, k := range old {
		k.Times = signer.Times{Created: long, Publish: long, Activate: long, Inactive: w.now.Add(60 * days), Delete: w.now.Add(70 * days)}
		if err := k.Write(w.stage.From); err != nil {
			t.Fatal(err)
		}
	}
	records, _ := sign(t, w.plain, old, signer.Policy{}, signer.SignOptions{Now: w.now})
	before := build(t, w.plain.Apex(), records)
	for _, f := range w.follows {
		w.show(before, 1)
		w.show(f.has, -1)
		f.has = before
	}
	ds := dsOf(old[:1])
	for _, p := range w.parents {
		w.ds.put(fmt.Sprint(ds), ds, dsTTL)
		w.ds.take("", w.now)
		p.ds = ds
	}
	w.now = w.now.Add(2 * days) // and nobody remembers that it was unsigned
	w.sign()
	if got := w.version.Keys; len(got) != len(old) {
		t.Errorf("signed by %v", got)
	}
	w.still("taken over")
	for _, r := range []signer.Roll{{KSK: true}, {ZSK: split}, {Algorithm: dnssec.ED25519}} {
		r.Force = true
		if err := w.stage.Roll(r, w.now); err != nil {
			t.Fatal(err)
		}
		w.still(fmt.Sprintf("%+v", r))
	}
	w.run(80 * days)
	w.still("the old keys' times are over")
	w.stage.Policy.Lifecycle.Insecure = true
	w.run(100 * days)
	w.still("insecure")
	if !w.version.Lifecycle.Unsigned {
		t.Errorf("the zone is signed still: %s, %v", w.states(), w.version.Lifecycle.Waits(&w.stage.Policy.Lifecycle))
	}
	w.good()
}

// lose moves the files of a key that signs away, and returns what brings them back.
func (w *world) lose() func() {
	w.Helper()
	away := w.TempDir()
	for _, k := range w.version.Lifecycle.Keys {
		if k.Signatures.State != signer.Omnipresent {
			continue
		}
		move := func(from, to string) {
			for _, end := range []string{".key", ".private"} {
				if err := os.Rename(filepath.Join(from, k.Name+end), filepath.Join(to, k.Name+end)); err != nil {
					w.Fatal(err)
				}
			}
		}
		move(w.stage.Dir, away)
		return func() { move(away, w.stage.Dir) }
	}
	w.Fatal("no key signs")
	return nil
}

// TestYearsTooEarly takes steps of each kind a TTL too early, and the oracle has to see it.
func TestYearsTooEarly(t *testing.T) {
	notShort(t)
	for what, early := range map[string][3]time.Duration{
		"DNSKEY":     {2 * time.Hour, 0, 0},
		"signatures": {0, 25 * time.Hour, 0},
		"DS":         {0, 0, 25 * time.Hour},
	} {
		t.Run(what, func(t *testing.T) {
			policy := yearsPolicy()
			policy.Split = true
			signer.Early(&policy.Lifecycle, early[0], early[1], early[2])
			w := newWorld(t, 2, policy)
			w.sign()
			w.still("signed for the first time")
			for range 3 {
				if err := w.stage.Roll(signer.Roll{Force: true}, w.now); err != nil {
					t.Fatal(err)
				}
				w.run(20 * days)
				w.still("CSK")
			}
			if len(w.bogus) == 0 {
				t.Error("the oracle found nothing")
			}
		})
	}
}
