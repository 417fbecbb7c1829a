package keeper

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/store"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Keeper owns the zones of a [zone.Set].
//
// Locks are taken in the order mu, those of zones, state. What may be asked for each
// query takes none of them.
type Keeper struct {
	set    *zone.Set
	log    *slog.Logger
	client transfer.Client
	disk   *store.Dir // nil: secondary zones are fetched anew at each start
	out    outgoing

	forwards outgoing                           // updates that wait for a primary
	rights   atomic.Pointer[map[string]*Source] // of the zones, by their names in lower case

	mu         sync.Mutex // held for the length of a Load: one at a time
	configured []Source   // by the Load before

	state sync.Mutex // guards what follows, and zones' fields
	zones map[string]*kept
	ctx   context.Context // of Run; nil before
	in    int             // transfers that are received at one time, at most

	queue    queue // secondary zones by when they are due
	fetching int
	taken    int // octets that transfers have used since memory was given back, about
	wake     chan struct{}
	work     sync.WaitGroup
}

// Options are what a Keeper needs for zone transfers. The zero value is ready.
type Options struct {
	Dir    *store.Dir // where secondary zones are kept
	Client transfer.Client
	Bounds Bounds
}

// The defaults of Bounds.
const (
	defaultOut     = 32
	defaultOutPeer = 4
	defaultIn      = 16
)

// kept is what is known of one zone.
type kept struct {
	mu   sync.Mutex  // held while the version is being replaced, and its files written
	disk *store.Zone // of secondary zones, catalogs, and those that messages have changed; guarded by mu
	gone bool        // it is the keeper's no more, and its files are not written; guarded by mu

	source   *Source // not modified
	files    []fileStamp
	zone     *zone.Zone // the version that is served, or nil; replaced with mu held
	problems []Problem  // of the last attempt
	failed   bool       // the last attempt gave no zone
	loaded   time.Time  // when the served version was loaded
	tried    time.Time
	history  history // that led to the version; replaced with mu held

	key   string    // its name in lower case
	stop  func()    // ends the telling of others
	told  time.Time // when that began last
	later bool      // it is to begin once more

	updates  []*update // that wait
	updating bool      // somebody carries them out
	frozen   bool      // they are refused for now
	synced   uint32    // serial of the version that the file has, if
	inFile   bool      // that is known

	// Of secondary zones.
	checked time.Time     // when a primary last said that the version is the newest
	expire  time.Duration // for how long from then on it may be served
	expired bool
	due     time.Time
	place   int // in the queue, or -1
	running bool
	again   bool   // it is to be refreshed once more
	whole   bool   // whatever its serial
	turn    int    // of the primaries
	fails   int    // refreshes that failed since the last that did not
	trouble string // of the last refresh
}

func (z *kept) name() string { return string(wire.AppendName(nil, z.source.Apex)) }

// New returns a keeper of set. log may be nil.
func New(set *zone.Set, log *slog.Logger, o Options) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{set: set, log: log, zones: map[string]*kept{}, client: o.Client, disk: o.Dir, wake: make(chan struct{}, 1)}
	k.forwards.set(Bounds{Out: defaultOut, OutPeer: defaultOutPeer})
	k.rights.Store(&map[string]*Source{})
	k.SetBounds(o.Bounds)
	return k
}

// SetBounds changes how many transfers there may be at one time. Zeros are the
// defaults.
func (k *Keeper) SetBounds(b Bounds) {
	if b.Out == 0 {
		b.Out = defaultOut
	}
	if b.OutPeer == 0 {
		b.OutPeer = defaultOutPeer
	}
	if b.In == 0 {
		b.In = defaultIn
	}
	k.out.set(b)
	k.state.Lock()
	k.in = b.In
	k.state.Unlock()
}

// A Report says what a Load did.
type Report struct {
	Loaded    int      `json:"loaded"` // zones of which a new version serves now
	Unchanged int      `json:"unchanged"`
	Removed   int      `json:"removed"`
	Failed    []Status `json:"failed,omitempty"` // zones whose file has errors; the version before serves, if there is one
}

// bigLoad is from how many octets of compiled zones on the memory that loading
// took is given back to the system at once.
const bigLoad = 16 << 20

// A loading is one source on its way to be served.
type loading struct {
	key    string
	source *Source
	old    *kept // the zone as it was; nil: it is new, or comes from another place now
	same   bool  // old, and nothing changed
	next   *kept // a secondary zone, as it was on disk
	Loaded
	disk    *store.Zone
	history history
	synced  bool // the file has the version
}

// Load makes the sources the zones that are served: files that changed are read,
// zones that are no longer named are dropped, and all that changed is published at
// once. It stops early, and publishes nothing, only if ctx is done. The members of
// catalogs come with them.
func (k *Keeper) Load(ctx context.Context, sources []Source) (Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := sources
	if members := k.members(sources); members != nil {
		all = slices.Concat(sources, members)
	}
	report, err := k.load(ctx, all)
	if err != nil {
		return report, err
	}
	k.configured = sources
	// Catalogs that were on disk name zones of their own.
	if more := k.members(sources); k.unknown(more) {
		second, err := k.load(ctx, slices.Concat(sources, more))
		if err != nil {
			return report, err
		}
		report.Loaded += second.Loaded
	}
	return report, nil
}

// load does what Load does. k.mu is held.
func (k *Keeper) load(ctx context.Context, sources []Source) (Report, error) {
	start := time.Now()
	list := make([]loading, len(sources))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(sources)) {
		wg.Go(func() {
			for i := range next {
				k.prepare(&list[i])
			}
		})
	}
	named := make(map[string]bool, len(sources))
	rights := make(map[string]*Source, len(sources))
	for i := range sources {
		if ctx.Err() != nil {
			break
		}
		l := &list[i]
		l.source, l.key = &sources[i], string(wire.Lower(nil, sources[i].Apex))
		named[l.key], rights[l.key] = true, l.source
		if old := k.zones[l.key]; old != nil && sameOrigin(old.source, l.source) {
			l.old = old
		}
		next <- i
	}
	close(next)
	wg.Wait()
	defer func() {
		for i := range list {
			if l := &list[i]; l.old != nil && !l.same {
				l.old.mu.Unlock() // prepare took it
			}
		}
	}()
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	k.leave(list, named)
	report, changes, told, size := k.commit(list, named)
	k.rights.Store(&rights)
	k.set.Publish(changes...)
	k.state.Lock()
	for _, z := range told {
		k.tellOthers(z)
	}
	k.state.Unlock()
	if size > bigLoad {
		debug.FreeOSMemory()
	}
	k.tell(report, changes, time.Since(start))
	return report, nil
}

// leave ends the writing of the files of zones that go, or come from another place, and
// then opens those that had to wait for it. k.mu is held.
func (k *Keeper) leave(list []loading, named map[string]bool) {
	for key, z := range k.zones {
		if !named[key] {
			z.retire()
		}
	}
	for i := range list {
		l := &list[i]
		z := k.zones[l.key]
		if z == nil || l.old != nil {
			continue
		}
		z.retire()
		if len(l.source.Primaries) > 0 {
			l.next = k.open(l.source)
		}
	}
}

// retire waits until what is being written is, and lets nothing more be. The state of a
// catalog's member goes with it (RFC 9432, section 5.1).
func (z *kept) retire() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.gone = true
	if z.disk != nil && z.source.Member != "" {
		_ = z.disk.Remove()
	}
}

// commit makes what was prepared what is kept.
func (k *Keeper) commit(list []loading, named map[string]bool) (report Report, changes []zone.Change, told []*kept, size int) {
	k.state.Lock()
	defer k.state.Unlock()
	now := time.Now()
	for i := range list {
		l := &list[i]
		z := k.zones[l.key]
		if l.same {
			moved := !slices.Equal(z.source.Primaries, l.source.Primaries)
			z.source = l.source // who may have it, perhaps
			if moved && !z.running {
				k.schedule(z, 0)
			}
			if z.failed { // it still is what it was, and whoever reloads should hear of it
				report.Failed = append(report.Failed, z.status())
			} else {
				report.Unchanged++
			}
			continue
		}
		if l.old == nil && z != nil {
			k.forget(z)
			z = nil
		}
		if l.next != nil {
			z = l.next
			z.key = l.key
			k.zones[l.key] = z
			if z.zone != nil {
				report.Loaded++
			}
			served := z.zone
			if z.expired {
				served = nil
			}
			changes = append(changes, zone.Change{Apex: l.source.Apex, Zone: served})
			k.schedule(z, 0)
			continue
		}
		if z == nil {
			z = &kept{key: l.key, place: -1}
			k.zones[l.key] = z
		}
		z.source, z.files, z.problems, z.tried = l.source, l.files, l.Problems, now
		if z.disk = l.disk; z.disk != nil {
			z.frozen = z.disk.Frozen()
		}
		z.failed = l.Zone == nil
		if !z.failed {
			if z.zone != nil && z.zone != l.Zone {
				told = append(told, z)
			}
			z.zone, z.loaded, z.history = l.Zone, now, l.history
			if l.synced {
				z.synced, z.inFile = l.Zone.Serial(), true
			}
			report.Loaded++
			size += l.Zone.Size()
		} else {
			report.Failed = append(report.Failed, z.status())
		}
		changes = append(changes, zone.Change{Apex: l.source.Apex, Zone: z.zone})
	}
	for key, z := range k.zones {
		if !named[key] {
			changes = append(changes, zone.Change{Apex: z.source.Apex, Remove: true})
			k.forget(z)
			delete(k.zones, key)
			report.Removed++
		}
	}
	return report, changes, told, size
}

// tell logs the outcome: each zone that failed with its first problem, the rest as
// numbers.
func (k *Keeper) tell(r Report, changes []zone.Change, took time.Duration) {
	for _, s := range r.Failed {
		serving := "the zone answers SERVFAIL until its file is mended"
		if s.Serving {
			serving = "the version before keeps serving"
		}
		for _, p := range s.Problems {
			if !p.Warning {
				k.log.Error("zone not loaded", "zone", s.Name, "problem", p.String(), "effect", serving)
			}
		}
	}
	for _, c := range changes {
		if c.Zone == nil || len(changes) > 100 {
			continue
		}
		z := k.zones[string(wire.Lower(nil, c.Apex))]
		if z == nil || z.failed {
			continue
		}
		for _, p := range z.problems {
			k.log.Warn("zone loaded with a warning", "zone", z.name(), "problem", p.String())
		}
		k.log.Info("zone loaded", "zone", z.name(), "serial", c.Zone.Serial(), "names", c.Zone.Names(), "records", c.Zone.Records())
	}
	k.log.Info("zones ready", "loaded", r.Loaded, "unchanged", r.Unchanged, "removed", r.Removed,
		"failed", len(r.Failed), "took", took.Round(time.Millisecond).String())
}

// sameOrigin tells whether a zone still comes from where it came from: its files and
// primaries may be others.
func sameOrigin(a, b *Source) bool {
	return (len(a.Primaries) > 0) == (len(b.Primaries) > 0) && a.Member == b.Member && a.Produces == b.Produces
}

// sameFile tells whether a file that did not change would give the same zone.
func sameFile(a, b *Source) bool {
	return bytes.Equal(a.Apex, b.Apex) && a.File == b.File && a.Generate == b.Generate &&
		a.MaxRecords == b.MaxRecords && a.MaxSize == b.MaxSize
}

// prepare does the long part of loading a source. Unless nothing changed, it returns with
// the lock of l.old, if there is one.
func (k *Keeper) prepare(l *loading) {
	s, old := l.source, l.old
	secondary := len(s.Primaries) > 0
	switch {
	case old == nil && secondary:
		if k.zones[l.key] == nil { // else its files are still another's
			l.next = k.open(s)
		}
		return
	case old == nil:
	case secondary || !s.Produces && sameFile(old.source, s) && unchanged(old.files):
		l.same = true
		return
	default:
		old.mu.Lock()
		l.disk = old.disk
	}
	if s.Produces {
		k.produce(l)
		return
	}
	if l.Loaded = Load(*s, k.set.Seed()); l.Zone != nil {
		k.follow(l)
	}
}

// follow looks what a file's version is to the one at hand: what messages made of the
// zone counts, unless the file has a newer serial.
func (k *Keeper) follow(l *loading) {
	s := l.source
	var before *zone.Zone
	if l.old != nil {
		before, l.history = l.old.zone, l.old.history
	}
	say := func(warning bool, format string, args ...any) {
		l.Problems = append(l.Problems, Problem{File: s.File, Warning: warning, Text: fmt.Sprintf(format, args...)})
		if !warning {
			l.Zone = nil
		}
	}
	if len(s.Updates) > 0 && l.disk == nil && k.disk != nil {
		disk := k.disk.Zone([]byte(l.key))
		version, deltas, err := disk.Load(k.set.Seed())
		if err != nil {
			say(false, "the journal of its updates cannot be used: %v", err)
			return
		}
		if version != nil {
			before, l.disk, l.history = version, disk, history{}
			l.history.add(version, deltas...)
		}
	}
	file := l.Zone
	if before == nil || l.disk == nil && !s.shared() {
		l.history, l.synced = history{}, true
		return
	}
	d := zone.Diff(before, file)
	if d == nil {
		l.Zone, l.synced = before, true
		return
	}
	newer := zone.Newer(d.To, d.From)
	switch {
	case l.disk == nil && newer:
	case l.disk == nil:
		l.history, l.synced = history{}, true
		say(true, "the zone changed, and its serial did not rise: secondaries keep the version that they have")
		return
	case d.From == d.To && l.old != nil && l.old.inFile && l.old.synced == d.From:
		say(true, "the file changed, and its serial, %d, did not: it is not used until it rises", d.To)
		l.Zone = before
		return
	case !newer:
		say(true, "updates have made serial %d: the file, with serial %d, is not used until its serial is newer", d.From, d.To)
		l.Zone = before
		return
	default:
		if l.old == nil && len(l.history.deltas) > 0 || l.old != nil && !(l.old.inFile && l.old.synced == d.From) {
			say(true, "the file has a newer serial, %d, and counts: what updates changed since it was written last is gone; port53 zone freeze writes the file first", d.To)
		}
		if err := l.disk.Append(d); err != nil {
			say(false, "what changed in the file cannot be kept in the journal: %v", err)
			return
		}
	}
	l.synced = true
	l.history.add(file, d)
}

// open returns a secondary zone as it is on disk.
func (k *Keeper) open(s *Source) *kept {
	z := &kept{source: s, place: -1}
	if k.disk == nil {
		return z
	}
	z.disk = k.disk.Zone(wire.Lower(nil, s.Apex))
	version, deltas, err := z.disk.Load(k.set.Seed())
	if err != nil {
		k.log.Error("what is on disk of a zone cannot be used: it is fetched anew", "zone", z.name(), "problem", err.Error())
		return z
	}
	if version == nil {
		return z
	}
	z.zone, z.loaded = version, time.Now()
	z.history.add(version, deltas...)
	if z.checked, z.expire = z.disk.Checked(); z.expire == 0 {
		z.expire = timersOf(version).expire
	}
	z.expired = time.Since(z.checked) > z.expire
	return z
}

// forget ends what is under way for a zone. k.state is held.
func (k *Keeper) forget(z *kept) {
	k.unschedule(z)
	if z.stop != nil {
		z.stop()
		z.stop = nil
	}
	z.later = false
}

// A Status is what is known of one zone.
type Status struct {
	Name     string    `json:"zone"`
	File     string    `json:"file"`
	Serving  bool      `json:"serving"`
	Failed   bool      `json:"failed"` // the last attempt to load it
	Serial   uint32    `json:"serial"`
	Names    int       `json:"names"`
	Records  int       `json:"records"`
	Octets   int       `json:"octets"` // in memory
	Signed   bool      `json:"signed"`
	Loaded   time.Time `json:"loaded,omitzero"`
	Tried    time.Time `json:"tried,omitzero"`
	Problems []Problem `json:"problems,omitempty"`

	Role        string           `json:"role"` // primary or secondary
	Primaries   []netip.AddrPort `json:"primaries,omitempty"`
	Secondaries []netip.AddrPort `json:"secondaries,omitempty"`
	History     int              `json:"history"` // differences at hand for IXFR
	Checked     time.Time        `json:"checked,omitzero"`
	Next        time.Time        `json:"next_refresh,omitzero"`
	Expires     time.Time        `json:"expires,omitzero"`
	Expired     bool             `json:"expired,omitempty"`
	Frozen      bool             `json:"frozen,omitempty"`
	Catalog     string           `json:"catalog,omitempty"` // that named the zone
	Trouble     string           `json:"last_error,omitempty"`
}

func (z *kept) status() Status {
	s := Status{
		Name: string(wire.AppendName(nil, z.source.Apex)), File: z.source.File,
		Failed: z.failed, Loaded: z.loaded, Tried: z.tried, Problems: z.problems,
		Role: "primary", Secondaries: z.source.told(), History: len(z.history.deltas), Frozen: z.frozen,
	}
	if len(z.source.Primaries) > 0 {
		s.Role, s.Primaries, s.Checked, s.Next, s.Expired, s.Trouble = "secondary", z.source.Primaries, z.checked, z.due, z.expired, z.trouble
		if z.zone != nil {
			s.Expires = z.checked.Add(z.expire)
		}
	}
	if z.source.Member != "" {
		s.Catalog = string(wire.AppendName(nil, z.source.Catalog))
	}
	if z.zone != nil {
		s.Serving, s.Serial, s.Names, s.Records = true, z.zone.Serial(), z.zone.Names(), z.zone.Records()
		s.Octets, s.Signed = z.zone.Size(), z.zone.Signed()
	}
	return s
}

// Status returns what is known of the zones, in the order of their names.
func (k *Keeper) Status() []Status {
	k.state.Lock()
	defer k.state.Unlock()
	all := make([]Status, 0, len(k.zones))
	for _, z := range k.zones {
		all = append(all, z.status())
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
