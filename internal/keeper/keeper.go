package keeper

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"port53/internal/store"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Keeper owns the zones of a [zone.Set].
type Keeper struct {
	set *zone.Set
	log *slog.Logger

	client transfer.Client
	disk   *store.Dir // nil: secondary zones are fetched anew at each start
	out    outgoing

	mu    sync.Mutex // held for the length of a Load: one at a time
	state sync.Mutex // guards what follows
	zones map[string]*kept
	ctx   context.Context // of Run; nil before
	in    int             // transfers that are received at one time, at most

	queue    queue // secondary zones by when they are due
	fetching int
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
	source   Source
	files    []fileStamp
	zone     *zone.Zone // the version that is served, or nil
	problems []Problem  // of the last attempt
	failed   bool       // the last attempt gave no zone
	loaded   time.Time  // when the served version was loaded
	tried    time.Time

	key     string        // its name in lower case
	history []*zone.Delta // that led to the version, the oldest first
	stop    func()        // ends the telling of others

	updates  []*update // that wait
	updating bool      // somebody carries them out
	frozen   bool      // they are refused for now

	disk *store.Zone // of secondary zones, and of those that messages have changed

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

// Load makes the sources the zones that are served: files that changed are read,
// zones that are no longer named are dropped, and all that changed is published at
// once. It stops early, and publishes nothing, only if ctx is done.
func (k *Keeper) Load(ctx context.Context, sources []Source) (Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	start := time.Now()

	type result struct {
		key    string
		source Source
		Loaded
		same      bool
		secondary *kept // as it was on disk
	}
	results := make([]result, len(sources))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(sources)) {
		wg.Go(func() {
			for i := range next {
				s := sources[i]
				r := result{key: string(wire.Lower(nil, s.Apex)), source: s}
				old := k.zones[r.key]
				switch {
				case old != nil && sameSource(old.source, s) && (len(s.Primaries) > 0 || unchanged(old.files)):
					r.same = true
				case len(s.Primaries) > 0:
					r.secondary = k.open(s)
				default:
					r.Loaded = Load(s, k.set.Seed())
				}
				results[i] = r
			}
		})
	}
	for i := range sources {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}

	var report Report
	var changes []zone.Change
	var told []*kept // whose followers hear of a new version
	size := 0
	now := time.Now()
	named := make(map[string]bool, len(sources))
	k.state.Lock()
	for i := range results {
		r := &results[i]
		named[r.key] = true
		old := k.zones[r.key]
		if r.same {
			moved := !slices.Equal(old.source.Primaries, r.source.Primaries)
			old.source = r.source // who may have it, perhaps
			if moved && !old.running {
				k.schedule(old, 0)
			}
			if old.failed { // it still is what it was, and whoever reloads should hear of it
				report.Failed = append(report.Failed, old.status())
			} else {
				report.Unchanged++
			}
			continue
		}
		if z := r.secondary; z != nil {
			if old != nil {
				k.forget(old)
			}
			z.key = r.key
			k.zones[r.key] = z
			if z.zone != nil {
				report.Loaded++
			}
			served := z.zone
			if z.expired {
				served = nil
			}
			changes = append(changes, zone.Change{Apex: r.source.Apex, Zone: served})
			k.schedule(z, 0)
			continue
		}
		if old != nil && len(old.source.Primaries) > 0 {
			k.forget(old)
			old = nil
		}
		if old == nil {
			old = &kept{key: r.key, place: -1}
			k.zones[r.key] = old
		}
		if r.Zone != nil && len(r.source.Updates)+len(old.source.Updates) > 0 {
			k.journaled(old, r.source, &r.Loaded)
		}
		before := old.zone
		old.source, old.files, old.problems, old.tried = r.source, r.files, r.Problems, now
		old.failed = r.Zone == nil
		if !old.failed {
			old.zone, old.loaded = r.Zone, now
			if warning := k.changed(old, before, r.Zone); before != r.Zone && warning != "" {
				old.problems = append(old.problems, Problem{File: r.source.File, Warning: true, Text: warning})
			}
			if before != nil {
				told = append(told, old)
			}
			report.Loaded++
			size += r.Zone.Size()
		} else {
			report.Failed = append(report.Failed, old.status())
		}
		changes = append(changes, zone.Change{Apex: r.source.Apex, Zone: old.zone})
	}
	for key, z := range k.zones {
		if !named[key] {
			changes = append(changes, zone.Change{Apex: z.source.Apex, Remove: true})
			k.forget(z)
			delete(k.zones, key)
			report.Removed++
		}
	}
	k.state.Unlock()
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
			k.log.Warn("zone loaded with a warning", "zone", z.status().Name, "problem", p.String())
		}
		k.log.Info("zone loaded", "zone", z.status().Name, "serial", c.Zone.Serial(), "names", c.Zone.Names(), "records", c.Zone.Records())
	}
	k.log.Info("zones ready", "loaded", r.Loaded, "unchanged", r.Unchanged, "removed", r.Removed,
		"failed", len(r.Failed), "took", took.Round(time.Millisecond).String())
}

func sameSource(a, b Source) bool {
	return bytes.Equal(a.Apex, b.Apex) && a.File == b.File && a.Generate == b.Generate &&
		a.MaxRecords == b.MaxRecords && a.MaxSize == b.MaxSize && (len(a.Primaries) > 0) == (len(b.Primaries) > 0)
}

// open returns a secondary zone as it is on disk.
func (k *Keeper) open(s Source) *kept {
	z := &kept{source: s, place: -1}
	if k.disk == nil {
		return z
	}
	z.disk = k.disk.Zone(wire.Lower(nil, s.Apex))
	version, history, err := z.disk.Load(k.set.Seed())
	if err != nil {
		k.log.Error("what is on disk of a zone cannot be used: it is fetched anew", "zone", z.name(), "problem", err.Error())
		return z
	}
	if version == nil {
		return z
	}
	z.zone, z.loaded = version, time.Now()
	z.remember(history...)
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
	if z.disk != nil && !z.running {
		_ = z.disk.Close()
	}
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
	Trouble     string           `json:"last_error,omitempty"`
}

func (z *kept) status() Status {
	s := Status{
		Name: string(wire.AppendName(nil, z.source.Apex)), File: z.source.File,
		Failed: z.failed, Loaded: z.loaded, Tried: z.tried, Problems: z.problems,
		Role: "primary", Secondaries: z.source.told(), History: len(z.history), Frozen: z.frozen,
	}
	if len(z.source.Primaries) > 0 {
		s.Role, s.Primaries, s.Checked, s.Next, s.Expired, s.Trouble = "secondary", z.source.Primaries, z.checked, z.due, z.expired, z.trouble
		if z.zone != nil {
			s.Expires = z.checked.Add(z.expire)
		}
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
