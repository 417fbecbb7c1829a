package zones

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/store"
	"port53/internal/telemetry"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// Options make a [Manager]. The zero value makes one that nobody asks and that keeps nothing.
type Options struct {
	// Publish is given the zones to serve whenever the set of them, or who may do what with
	// them, changes outside of a Load. It does not block.
	Publish func(zone.Views)

	Seed   wire.Seed // zones are built with; random
	Store  Store     // nil: secondary zones are transferred again at each start, and updates last until the end
	Client transfer.Client
	Bounds Bounds

	// Signatures keeps the signed versions of zones that are signed here; nil: they are signed
	// again at each start.
	Signatures Store
	Audit      *telemetry.Audit // is told who changed zones, or took them away; nil: nobody is
	Log        *slog.Logger     // nil: discard
}

// A Manager owns the zones that are served.
type Manager struct {
	log   *slog.Logger
	audit *telemetry.Audit
	seed  wire.Seed
	stores
	client  transfer.Client
	replays *tsig.Replay
	traffic
	unkept sometimes

	loading sync.Mutex // one change of the set of zones at a time, over all that is read for it
	set     set

	mu    sync.Mutex // held for lookups
	zones map[string]*managed

	schedule scheduler
	notifier notifier
	life
}

// stores are what keeps zones over restarts; nil: nothing does.
type stores struct {
	store      Store
	signatures Store // of signed versions
}

// traffic is what bounds transfers, and what else goes to other servers.
type traffic struct {
	out     line                            // transfers that are sent
	in      line                            // transfers that are received
	memory  atomic.Pointer[transfer.Memory] // of these
	waiting slots                           // updates that wait for a primary
}

// A life is what all work of a manager ends with.
type life struct {
	ctx    context.Context // until Run ends
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// A set is what zones there are. Manager.loading guards it.
type set struct {
	publish    func(zone.Views)
	views      zone.Views // as they were published last
	configured []Source   // by the last Load, without the members of catalogs
}

// New returns a manager without zones.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Publish == nil {
		o.Publish = func(zone.Views) {}
	}
	m := &Manager{
		log:     o.Log,
		audit:   o.Audit,
		seed:    o.Seed,
		stores:  stores{o.Store, o.Signatures},
		client:  o.Client,
		replays: tsig.NewReplay(time.Now()),
		set:     set{publish: o.Publish, views: zone.Views{zone.DefaultView: zone.NewView(o.Seed)}},
		zones:   map[string]*managed{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.notifier = newNotifier(m.ctx, m.log, &m.client)
	m.schedule.agenda, m.schedule.expiries = newSchedule()
	m.schedule.signings = newAgenda(places{all: signings, ordinary: signings})
	m.schedule.keepings = newAgenda(places{all: keepings, ordinary: keepings})
	m.out.patience = lineTime
	m.client.Pool = &transfer.Pool{}
	m.client.Slot = func(ctx context.Context) transfer.Slot { return &slot{line: &m.in, ctx: ctx} }
	m.waiting.set(Bounds{}.filled())
	m.SetBounds(o.Bounds)
	return m
}

// SetBounds changes how many transfers there may be at the same time.
func (m *Manager) SetBounds(b Bounds) {
	b = b.filled()
	m.out.set(b)
	m.memory.Store(&transfer.Memory{Limit: b.Memory})
	m.in.set(Bounds{Out: b.In, OutPeer: maxRefreshes}) // the schedule has bounds for each primary
	m.schedule.change(func(p *places) { p.peer = b.In })
}

// find returns the zone of a key, as [store.Key] makes it of the zone's name in lower case, or nil.
func (m *Manager) find(key []byte) *managed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.zones[string(key)]
}

// of returns the zone that an entry is of, or nil.
func (m *Manager) of(e *zone.Entry) *managed { return m.find(store.Key(e.Apex, e.Qualifier)) }

// Key returns what stands for the zone of a name that a view sees, for the methods that take one. With
// view empty it has to be the only zone of that name. apex is in lower case.
func (m *Manager) Key(apex []byte, view string) ([]byte, error) {
	var views [][]string
	var found *managed
	for _, z := range m.all() {
		if !bytes.Equal(z.apex(), apex) {
			continue
		}
		in := z.tell().Views
		if len(in) == 0 {
			in = defaultViews
		}
		if view == "" || slices.Contains(in, view) {
			found = z
			views = append(views, in)
		}
	}
	switch len(views) {
	case 0:
		if view != "" {
			return nil, fmt.Errorf("no zone of that name is served in view %s", view)
		}
		return nil, errNotServed
	case 1:
		return []byte(found.key), nil
	}
	names := slices.Concat(views...)
	slices.Sort(names)
	return nil, &SeveralError{Views: names}
}

// A SeveralError is that views have zones of their own of a name, and none of them was chosen.
type SeveralError struct{ Views []string }

// Error says what to write on the command line.
func (e *SeveralError) Error() string {
	return "the zone exists in several views: choose one with --view, of " + strings.Join(e.Views, ", ")
}

// all returns the zones, in no order.
func (m *Manager) all() []*managed {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*managed, 0, len(m.zones))
	for _, z := range m.zones {
		list = append(list, z)
	}
	return list
}

// Status returns what is known of the zones, in the order of their names. It waits for no
// work on them.
func (m *Manager) Status() []Status {
	list := m.all()
	all := make([]Status, 0, len(list))
	for _, z := range list {
		s := z.tell()
		if z.polled {
			s.Next = m.schedule.when(&z.refresh.task)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Views, b.Views)) })
	return all
}

// contained runs f. A fault in it is one zone's, and not the end of the server: it is
// logged.
func (m *Manager) contained(zone string, f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			m.log.Error("internal error: please report it", "zone", zone, "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// A Report says what a Load did.
type Report struct {
	Loaded    int      `json:"loaded"` // zones of which a new version is served now
	Unchanged int      `json:"unchanged"`
	Removed   int      `json:"removed"`
	Failed    []Status `json:"failed,omitempty"` // zones whose origin gave none; the version before is served, if there is one
}

// bigLoad is from how many bytes of compiled zones on the memory that loading took is
// given back to the system at once.
const bigLoad = 16 << 20

// Load makes the sources, and the members of catalogs among them, the zones that are
// served. What cannot be loaded is in the report; other zones do not mind. It fails only if
// ctx is done before everything has been read: then nothing has changed.
//
// publish is given the zones, once, when everything is ready that is served from then on;
// nil: as Options.Publish. It does not block.
func (m *Manager) Load(ctx context.Context, sources []Source, publish func(zone.Views)) (Report, error) {
	m.loading.Lock()
	defer m.loading.Unlock()
	if publish == nil {
		publish = m.set.publish
	}
	return m.loadAll(ctx, sources, publish)
}

// loadAll is Load. m.loading is held.
func (m *Manager) loadAll(ctx context.Context, sources []Source, publish func(zone.Views)) (Report, error) {
	report, err := m.load(ctx, slices.Concat(sources, m.members(sources)), false, publish)
	if err != nil {
		return report, err
	}
	m.set.configured = sources
	// Catalogs that were in the store name zones of their own.
	if more := m.members(sources); m.unknown(more) {
		second, err := m.load(ctx, slices.Concat(sources, more), false, m.set.publish)
		if err != nil {
			return report, err
		}
		report.Loaded += second.Loaded
	}
	return report, nil
}

// Add is Load where sources are those of the load before and one more, the last: the others are not looked at
// again, so that its cost hardly grows with their number.
func (m *Manager) Add(ctx context.Context, sources []Source, publish func(zone.Views)) (Report, error) {
	last := sources[len(sources)-1]
	return m.amend(ctx, sources, publish, []step{{source: &last, key: last.key()}}, nil)
}

// Remove is Load where sources are those of the load before without gone: the others are not looked at again.
func (m *Manager) Remove(ctx context.Context, sources []Source, gone *Source, publish func(zone.Views)) (Report, error) {
	var leaving []*managed
	if z := m.find([]byte(gone.key())); z != nil {
		leaving = append(leaving, z)
	}
	return m.amend(ctx, sources, publish, nil, leaving)
}

// amend loads the sources of steps, which are not served yet, and ends the zones that are leaving; all of
// sources where the zones of other sources depend on that: there are catalogs or several zones of one name.
func (m *Manager) amend(ctx context.Context, sources []Source, publish func(zone.Views), steps []step, leaving []*managed) (Report, error) {
	m.loading.Lock()
	defer m.loading.Unlock()
	depends := func(s Source) bool { return s.Consumes != nil || s.Qualifier != "" }
	if slices.ContainsFunc(m.set.configured, depends) || slices.ContainsFunc(sources, depends) {
		return m.loadAll(ctx, sources, publish)
	}
	report, err := m.replace(ctx, steps, leaving, publish)
	if err == nil {
		m.set.configured = sources
	}
	return report, err
}

// A step is one source on its way to be served.
type step struct {
	key    string
	source *Source
	origin Origin
	was    *managed   // the zone of that name until now; nil: there was none
	zone   *managed   // the zone from now on: was, if the origin continues
	next   *Candidate // nil: what is served is still right
	inFile bool       // the zone file has the version
	held   bool       // zone is
	again  bool       // what is kept under its key is another's
	heir   []byte     // the key of the zone whose state it takes over, once that has gone; nil: of none
}

// load does what Load does for a list of sources. again is that members of catalogs which are not served yet begin
// with nothing, whatever is kept under their names. m.loading is held.
func (m *Manager) load(ctx context.Context, sources []Source, again bool, publish func(zone.Views)) (Report, error) {
	steps := make([]step, len(sources))
	named := make(map[string]bool, len(sources))
	for i := range sources {
		s := &steps[i]
		s.source, s.key = &sources[i], sources[i].key()
		s.again = again && s.source.Member != ""
		named[s.key] = true
		s.was = m.find([]byte(s.key))
	}
	var leaving []*managed
	for _, z := range m.all() {
		if !named[z.key] {
			leaving = append(leaving, z)
		}
	}
	m.inherit(steps, named, leaving)
	return m.replace(ctx, steps, leaving, publish)
}

// replace makes the sources of steps what is served, and ends the zones that are leaving. m.loading is held.
func (m *Manager) replace(ctx context.Context, steps []step, leaving []*managed, publish func(zone.Views)) (Report, error) {
	start := time.Now()
	defer func() {
		for i := range steps {
			if steps[i].held {
				steps[i].zone.release()
			}
		}
	}()
	// What takes long is read first. Until it is, nothing changes.
	parallel(steps, func(s *step) {
		if ctx.Err() == nil {
			m.prepare(ctx, s)
		}
	})
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	m.retire(steps, leaving)
	parallel(steps, func(s *step) { m.settle(ctx, s) })
	report, size := m.install(steps, leaving, publish)
	if size > bigLoad {
		debug.FreeOSMemory()
	}
	m.logLoad(report, steps, time.Since(start))
	return report, nil
}

// inherit finds zones that are the same by another key, since views came, went or were named: what is
// kept of them goes on, if nobody else could have it. named are the keys that there are from now on, gone the
// zones of others.
func (m *Manager) inherit(steps []step, named map[string]bool, gone []*managed) {
	leaving := map[string][]string{}
	for _, z := range gone {
		apex := string(z.apex())
		leaving[apex] = append(leaving[apex], z.key)
	}
	coming := map[string]int{}
	for i := range steps {
		if s := &steps[i]; s.was == nil {
			coming[string(store.Apex([]byte(s.key)))]++
		}
	}
	for i := range steps {
		s := &steps[i]
		apex := string(store.Apex([]byte(s.key)))
		switch from := leaving[apex]; {
		case s.was != nil || coming[apex] != 1 || m.store == nil:
		case len(from) == 1:
			s.heir = []byte(from[0])
		case len(from) == 0 && s.key != apex && !named[apex]:
			s.heir = []byte(apex) // of a server that had no views
		}
	}
}

// takeOver has a zone go on with what is kept of the one that it is, by another key.
func (m *Manager) takeOver(s *step) {
	for _, kept := range []Store{m.store, m.signatures} {
		if kept == nil {
			continue
		}
		moved, err := kept.Move(s.heir, []byte(s.key))
		if err != nil {
			m.log.Error(
				"a zone's stored data cannot be moved to its view",
				"zone",
				nameOf(s.key),
				"from",
				nameOf(string(s.heir)),
				"error",
				err.Error(),
			)
		} else if moved && kept == m.store {
			m.log.Info("a zone's stored data is moved to its view", "zone", nameOf(s.key), "from", nameOf(string(s.heir)))
		}
	}
}

// parallel calls f for each step, on all processors.
func parallel(steps []step, f func(*step)) {
	next := make(chan *step)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(steps)) {
		wg.Go(func() {
			for s := range next {
				f(s)
			}
		})
	}
	for i := range steps {
		next <- &steps[i]
	}
	close(next)
	wg.Wait()
}

// prepare asks the origin of a source, unless it is one that is polled. It changes nothing.
// The zone is held if there is a candidate for it.
func (m *Manager) prepare(ctx context.Context, s *step) {
	s.origin = s.source.origin()
	if s.heir != nil {
		return // the zone that goes may still be written: settle does it
	}
	if p, ok := s.origin.(*primaries); ok {
		p.client, p.known, p.memory = &m.client, m.schedule.agenda, &m.memory
	}
	if s.was != nil && s.was.source.Member == s.source.Member && s.origin.Continues(s.was.origin) {
		s.zone = s.was
	} else if s.was != nil {
		return // the store may still be written by the zone that goes: settle does it
	} else {
		s.zone = newManaged(s.key, s.source, s.origin)
		s.zone.again = s.again
	}
	m.candidate(ctx, s)
}

// candidate asks the origin of a step for a candidate, and restores a new zone before.
func (m *Manager) candidate(ctx context.Context, s *step) {
	z := s.zone
	fail := func(err error) {
		s.next = &Candidate{Problems: []Problem{{File: s.source.File, Text: err.Error()}}}
	}
	signs := z == s.was && z.otherwise(s.source)
	if z.polled && z == s.was && !signs {
		return
	}
	z.hold()
	s.held = true
	if !z.restored && (z.polled || s.origin.Traits().Kept || s.source.changes()) {
		if err := m.restore(z); err != nil && z.polled {
			m.log.Error("the stored version of a secondary zone cannot be used: it is transferred again", "zone", z.name(),
				"error", err.Error())
		} else if err != nil {
			fail(
				fmt.Errorf(
					"the stored data of the zone cannot be used: %w; restore its directory from a backup, or move it away to start over",
					err,
				),
			)
			return
		}
	}
	if z.polled {
		if signs && z.zone != nil {
			s.next = &Candidate{Zone: z.zone, Basis: z.basis, checked: true}
		}
		return
	}
	var err error
	s.next, err = s.origin.Candidate(ctx, Known{Zone: z.zone, Basis: z.basis, Seed: m.seed, Check: check})
	if err == nil && s.next == nil && signs && z.zone != nil {
		s.next = &Candidate{Zone: z.zone, Basis: z.basis, checked: true} // what is served changes, though the zone does not
	}
	switch {
	case err != nil:
		fail(err)
	case s.next == nil:
		if z == s.was {
			z.release() // nothing else is to wait for the rest of the load
			s.held = false
		}
	case s.next.Zone != nil && s.next.Zone != z.zone && s.next.Deltas == nil:
		z.annotate(s.next)
		s.inFile = z.beside(s.source, s.next)
	}
}

// retire ends the zones that go, or come from another origin now: when it returns nothing
// is being written for them, and nothing will be. Of those that are leaving no source is left.
func (m *Manager) retire(steps []step, leaving []*managed) {
	end := func(z *managed) {
		z.hold()
		defer z.release()
		if z.source.Member == "" {
			m.keepPending(z)
		}
		z.gone = true
		if m.store != nil && z.stored && z.source.Member != "" {
			// The state of a catalog's member goes with it (RFC 9432, section 5.1).
			if err := m.store.Remove([]byte(z.key)); err != nil {
				m.log.Warn("the stored data of a zone that left its catalog zone cannot be deleted", "zone", z.name(), "error", err.Error())
			}
		}
	}
	for _, z := range leaving {
		end(z)
	}
	for i := range steps {
		if s := &steps[i]; s.was != nil && s.zone != s.was {
			end(s.was)
		}
	}
}

// settle makes the candidate of a step durable, after which nothing can fail for it.
func (m *Manager) settle(ctx context.Context, s *step) {
	if s.zone == nil {
		if s.heir != nil {
			m.takeOver(s)
		}
		s.zone = newManaged(s.key, s.source, s.origin)
		m.candidate(ctx, s)
	}
	c, z := s.next, s.zone
	if c == nil || c.Zone == nil || c.Zone == z.zone && !z.otherwise(s.source) {
		return
	}
	c.keep = s.origin.Traits().Kept
	if err := m.write(ctx, z, s.source, c); err != nil {
		c.Problems = append(c.Problems, Problem{File: s.source.File, Text: err.Error()})
		c.Zone = nil
	}
}

// install makes the steps what is served, all at once. Zones with a candidate are held.
func (m *Manager) install(steps []step, leaving []*managed, publish func(zone.Views)) (report Report, size int) {
	changes := make([]zone.Change, 0, len(steps))
	for i := range steps {
		s := &steps[i]
		z := s.zone
		c := zone.Change{
			Apex: s.source.Apex, Qualifier: s.source.Qualifier, Access: s.source.access(), Order: s.source.Order, Served: z.served,
		}
		switch {
		case s.next != nil && s.next.Zone != nil:
			// A Served of its own: a query that came before the change goes on with the old.
			c.Served = zone.NewServed(s.coming())
		case z != s.was && z.zone != nil && !z.expired:
			c.Served = zone.NewServed(z.shown())
		}
		if s.held && z.polled && z.zone != nil { // a zone that goes on has been extended by its refreshes
			c.Served.Extend(z.checked.Add(z.expire))
		}
		changes = append(changes, c)
	}
	m.set.views = m.set.with(steps, changes, leaving)
	publish(m.set.views)

	m.mu.Lock()
	for _, z := range leaving {
		delete(m.zones, z.key)
	}
	for i := range steps {
		m.zones[steps[i].key] = steps[i].zone
	}
	m.mu.Unlock()
	for _, z := range leaving {
		m.forget(z)
	}
	report.Removed = len(leaving)
	for i := range steps {
		s := &steps[i]
		if s.was != nil && s.was != s.zone {
			m.forget(s.was)
		}
		size += m.enter(s, &changes[i], &report)
	}
	return report, size
}

// with returns the zones of each view when those of steps are as changes say, and leaving are gone.
func (s *set) with(steps []step, changes []zone.Change, leaving []*managed) zone.Views {
	by := map[string][]zone.Change{}
	take := func(from []string, z *managed) {
		for _, view := range from {
			by[view] = append(by[view], zone.Change{Apex: z.apex(), Remove: true})
		}
	}
	// First what goes: where it was there may be another of its name now.
	for _, z := range leaving {
		take(z.source.views(), z)
	}
	for i := range steps {
		if was := steps[i].was; was != nil && !slices.Equal(was.source.views(), steps[i].source.views()) {
			take(was.source.views(), was)
		}
	}
	for i := range steps {
		for _, view := range steps[i].source.views() {
			by[view] = append(by[view], changes[i])
		}
	}
	next := zone.Views{}
	for view, zones := range s.views {
		if zones.Len() > 0 || view == zone.DefaultView {
			next[view] = zones
		}
	}
	for view, list := range by {
		zones := next[view]
		if zones == nil {
			zones = zone.NewView(s.views.Seed())
		}
		next[view] = zones.With(list...)
	}
	return next
}

// enter makes a zone remember what a load made of it, and returns the bytes of its new
// version.
func (m *Manager) enter(s *step, c *zone.Change, report *Report) (size int) {
	z := s.zone
	if !s.held {
		z.mu.Lock()
		defer z.mu.Unlock()
	}
	moved := !slices.Equal(z.source.Primaries, s.source.Primaries)
	z.terms, z.served = terms{s.source, s.origin, c.Access}, c.Served
	z.ask(s.origin)
	if s.next == nil {
		switch {
		case z.failed: // it still is what it was, and whoever reloads should hear of it
			report.Failed = append(report.Failed, z.describe())
		case z != s.was && z.zone != nil:
			report.Loaded++
			z.prepare()
		case z == s.was:
			report.Unchanged++
		}
		if z.polled && (z != s.was || moved) {
			m.schedule.in(&z.refresh.task, 0)
		}
		m.watch(z)
		return 0
	}
	z.conclude(s.next)
	if z.failed {
		report.Failed = append(report.Failed, z.describe())
		return 0
	}
	report.Loaded++
	if s.next.Zone != z.zone || s.next.signed != nil || z.signed != nil && z.source.Signer == nil {
		replaced := z.zone != nil
		z.install(s.next)
		m.enterSigned(z, s.next)
		z.prepare()
		if replaced {
			m.announce(z)
		}
	} else {
		z.loaded = z.tried
	}
	if s.inFile {
		z.synced, z.inFile = z.zone.Serial(), true
	}
	return z.zone.Size()
}

// forget ends what is under way for a zone that has gone.
func (m *Manager) forget(z *managed) {
	m.schedule.remove(&z.refresh.task)
	m.schedule.expiries.remove(&z.expiry)
	m.schedule.signings.remove(&z.resign)
	m.schedule.keepings.remove(&z.keeping)
	m.notifier.forget(z.key)
}

// logLoad logs the outcome of a load: each zone that failed with its errors, the rest as
// numbers if they are many.
func (m *Manager) logLoad(r Report, steps []step, took time.Duration) {
	for _, s := range r.Failed {
		serving := "the zone answers SERVFAIL until its file is fixed"
		if s.Serving {
			serving = "the version before keeps serving"
		}
		for _, p := range s.Problems {
			if !p.Warning {
				m.log.Error("zone not loaded", "zone", s.Name, "error", p.String(), "effect", serving)
			}
		}
	}
	changed := 0
	for i := range steps {
		if s := &steps[i]; s.next != nil || s.zone != s.was {
			changed++
		}
	}
	for i := range steps {
		s := &steps[i]
		if changed > 100 || s.next == nil || s.next.Zone == nil {
			continue
		}
		for _, p := range s.next.Problems {
			m.log.Warn("zone loaded with a warning", "zone", s.zone.name(), "error", p.String())
		}
		v := s.next.Zone
		m.log.Info("zone loaded", "zone", s.zone.name(), "serial", v.Serial(), "names", v.Names(), "records", v.Records())
	}
	m.log.Info("zones ready", "loaded", r.Loaded, "unchanged", r.Unchanged, "removed", r.Removed,
		"failed", len(r.Failed), "took", took.Round(time.Millisecond).String())
}
