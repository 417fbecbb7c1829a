package keeper

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"port53/internal/wire"
	"port53/internal/zone"
)

// A Keeper owns the zones of a [zone.Set].
type Keeper struct {
	set *zone.Set
	log *slog.Logger

	mu    sync.Mutex // held for the length of a Load: one at a time
	state sync.Mutex // guards zones for readers of Status
	zones map[string]*kept
}

// kept is what is known of one zone.
type kept struct {
	source   Source
	files    []fileStamp
	zone     *zone.Zone // the version that is served, or nil
	problems []Problem  // of the last attempt
	failed   bool       // the last attempt gave no zone
	loaded   time.Time  // when the served version was loaded
	tried    time.Time
}

// New returns a keeper of set. log may be nil.
func New(set *zone.Set, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{set: set, log: log, zones: map[string]*kept{}}
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
		same bool
	}
	results := make([]result, len(sources))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(sources)) {
		wg.Go(func() {
			for i := range next {
				s := sources[i]
				r := result{key: string(wire.Lower(nil, s.Apex)), source: s}
				if old := k.zones[r.key]; old != nil && sameSource(old.source, s) && unchanged(old.files) {
					r.same = true
				} else {
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
	size := 0
	now := time.Now()
	named := make(map[string]bool, len(sources))
	k.state.Lock()
	for i := range results {
		r := &results[i]
		named[r.key] = true
		old := k.zones[r.key]
		if r.same {
			if old.failed { // it still is what it was, and whoever reloads should hear of it
				report.Failed = append(report.Failed, old.status())
			} else {
				report.Unchanged++
			}
			continue
		}
		if old == nil {
			old = &kept{}
			k.zones[r.key] = old
		}
		old.source, old.files, old.problems, old.tried = r.source, r.files, r.Problems, now
		old.failed = r.Zone == nil
		if !old.failed {
			old.zone, old.loaded = r.Zone, now
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
			delete(k.zones, key)
			report.Removed++
		}
	}
	k.state.Unlock()
	k.set.Publish(changes...)
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
		a.MaxRecords == b.MaxRecords && a.MaxSize == b.MaxSize
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
}

func (z *kept) status() Status {
	s := Status{
		Name: string(wire.AppendName(nil, z.source.Apex)), File: z.source.File,
		Failed: z.failed, Loaded: z.loaded, Tried: z.tried, Problems: z.problems,
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
