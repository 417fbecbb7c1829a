package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"port53/internal/cache"
	"port53/internal/config"
	"port53/internal/engine"
	"port53/internal/feed"
	"port53/internal/filter"
	"port53/internal/resolver"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

// ListsDir is the directory, in the state directory, of lists that were fetched.
const ListsDir = "lists"

// A list is one list as it was read. It is not changed.
type list struct {
	config.FilterList
	number  uint8
	there   bool         // it has been read once, if not now
	stats   filter.Stats // of that
	loaded  time.Time    // when that was
	stamp   string       // of the file that was read
	problem string       // why what there is now was not read; empty: it was
}

// lists are the lists of a generation, with the rules of all of them.
type lists struct {
	all      []*list
	table    *filter.Table
	set      *filter.Set
	policies map[string]*filter.Policy // of views, by their names
	networks []config.Network          // that rules for some clients may name
}

// filters is what outlives the lists of a generation.
type filters struct {
	store *feed.Store // nil: nothing was fetched yet

	mu      sync.Mutex
	numbers map[string]uint8 // of lists, by their names: the counters go by them
	mark    uint32           // of the last set
	paused  time.Time        // until then nothing is filtered
	fetches map[string]*fetching
}

// A fetching is how a list that has a URL is coming along.
type fetching struct {
	due      time.Time
	failures int
	now      bool // it is under way
	problem  string
}

// number returns the number of a list, which stays the same while the server runs. There is one for
// each of as many names as there are numbers; those after them have the last.
func (f *filters) number(name string) uint8 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.numbers == nil {
		f.numbers = map[string]uint8{}
	}
	n, ok := f.numbers[name]
	if !ok {
		n = uint8(min(len(f.numbers)+1, filter.MaxLists))
		f.numbers[name] = n
	}
	return n
}

// nextMark returns the number of the next set.
func (f *filters) nextMark() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mark = f.mark%cache.MaxMark + 1
	return f.mark
}

func (f *filters) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, filter.MaxLists+1)
	for name, n := range f.numbers {
		names[n] = name
	}
	return names
}

// allowNames is what policy.allow_names is called where lists are named: no list has a dot.
const allowNames = "policy.allow_names"

// sourceOf returns where a list comes from.
func sourceOf(l *config.FilterList) *feed.Source {
	return &feed.Source{Name: l.Name, File: l.File, URL: l.URL, Every: l.Every, MaxSize: int64(l.MaxSize)}
}

// filtersOf reports whether anything is filtered by c.
func filtersOf(c *config.Config) bool {
	p := &c.Policy
	return c.Recurses() && len(p.Lists) > 0
}

// readLists reads the lists of c. Those of old that are the same are taken from there; fresh are lists
// that were fetched, by their names. A list that cannot be read goes on as it was, or is empty.
func (a *App) readLists(old *lists, c *config.Config, fresh map[string]*feed.Candidate) (*lists, error) {
	if !filtersOf(c) {
		return nil, nil
	}
	expect := 0
	if old != nil {
		expect = old.table.Len()
	}
	l := &lists{networks: c.Networks}
	b := filter.NewBuilder(a.seed, expect)
	for i := range c.Policy.Lists {
		next, err := a.readList(b, old, c, i, fresh)
		if err != nil {
			return nil, err
		}
		l.all = append(l.all, next)
	}
	outlooks := []*config.Config{c}
	for i := range c.Views {
		outlooks = append(outlooks, c.InView(i))
	}
	allowed := make([]uint8, len(outlooks))
	for i, o := range outlooks {
		switch {
		case i == 0:
			allowed[i] = a.filters.number(allowNames)
		case reflect.DeepEqual(o.Policy.AllowNames, c.Policy.AllowNames):
			allowed[i] = allowed[0]
			continue
		default:
			allowed[i] = a.filters.number("views." + o.View() + "." + allowNames)
		}
		for _, name := range o.Policy.AllowNames {
			scope := filter.Exact
			if len(name) > 2 && name[0] == 1 && name[1] == '*' {
				scope, name = filter.Below, name[2:]
			}
			b.Allow(name, scope, allowed[i])
		}
	}
	l.table, l.policies = b.Table(), map[string]*filter.Policy{}
	l.set = &filter.Set{Table: l.table, Lists: a.filters.names(), Mark: a.filters.nextMark()}
	for i, o := range outlooks {
		var err error
		if l.policies[o.View()], err = l.policyOf(o, allowed[i]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// buildLists reads the lists of g. old may be nil.
func (a *App) buildLists(g, old *generation) (err error) {
	var before *lists
	if old != nil {
		before = old.lists
	}
	ls := before
	if before == nil || !sameLists(old.config, g.config) || a.listsChanged(before) {
		if ls, err = a.readLists(before, g.config, nil); err != nil {
			return err
		}
	}
	g.setLists(ls, a.isPaused())
	return nil
}

// readList reads the list at an index of those of c into b.
func (a *App) readList(b *filter.Builder, old *lists, c *config.Config, index int, fresh map[string]*feed.Candidate) (*list, error) {
	spec := &c.Policy.Lists[index]
	next := &list{FilterList: *spec, number: a.filters.number(spec.Name)}
	var before *list
	if old != nil {
		before = old.named(spec.Name)
	}
	in, stamp, err := a.openList(spec, fresh)
	if err == nil {
		defer in.Close()
		if before != nil && before.there && before.stamp == stamp && sameReading(&before.FilterList, spec) && reflect.DeepEqual(old.networks, c.Networks) {
			b.Keep(old.table, before.number, next.number)
			next.there, next.stats, next.loaded, next.stamp = true, before.stats, before.loaded, stamp
			return next, nil
		}
		next.stats, err = b.Read(in, filter.ReadOptions{
			List: next.number, Format: filter.Format(spec.Format), Regex: spec.Regex, Networks: networksNamed(c),
		})
		if errors.Is(err, filter.ErrFull) {
			return nil, fmt.Errorf("list %s: %w", spec.Name, err)
		}
		if err == nil && spec.URL != "" && next.stats.Rules == 0 {
			err = fmt.Errorf("%w: there is no rule in it", filter.ErrNoList) // of a publisher
		}
		if err == nil {
			next.there, next.loaded, next.stamp = true, time.Now(), stamp
			return next, nil
		}
		b.Forget(next.number)
	}
	kept := before != nil && before.there && before.URL == spec.URL && before.File == spec.File
	if next.problem = reasonOf(err); kept && spec.URL != "" && errors.Is(err, fs.ErrNotExist) {
		next.problem = "" // it is in memory alone
	} else if spec.URL != "" && errors.Is(err, fs.ErrNotExist) {
		next.problem = "it was not fetched yet"
	}
	if kept {
		b.Keep(old.table, before.number, next.number)
		next.there, next.stats, next.loaded, next.stamp = true, before.stats, before.loaded, before.stamp
	}
	return next, nil
}

// networksNamed returns what finds the networks of a name.
func networksNamed(c *config.Config) func(name string) []netip.Prefix {
	return func(name string) []netip.Prefix {
		for i := range c.Networks {
			if c.Networks[i].Name == name {
				return c.Networks[i].List
			}
		}
		return nil
	}
}

// sameReading reports whether two lists are read in one way.
func sameReading(x, y *config.FilterList) bool {
	return x.File == y.File && x.URL == y.URL && x.Format == y.Format && x.Regex == y.Regex
}

// listsChanged reports whether any list of a generation is another in its place.
func (a *App) listsChanged(ls *lists) bool {
	if ls == nil {
		return false
	}
	return slices.ContainsFunc(ls.all, func(l *list) bool {
		in, stamp, err := a.openList(&l.FilterList, nil)
		if err != nil {
			return l.File != "" || !l.there || l.problem != ""
		}
		in.Close()
		return stamp != l.stamp || l.problem != ""
	})
}

// openList opens a list, and returns what tells it apart from another in its place.
func (a *App) openList(spec *config.FilterList, fresh map[string]*feed.Candidate) (io.ReadCloser, string, error) {
	if c := fresh[spec.Name]; c != nil {
		in, err := c.Open()
		return in, "fetched " + time.Now().String(), err
	}
	store := a.filters.store
	if store == nil {
		store = &feed.Store{}
	}
	in, info, err := store.Read(sourceOf(spec))
	if err != nil {
		return nil, "", err
	}
	return in, stampOf(info), nil
}

func stampOf(info fs.FileInfo) string {
	return fmt.Sprint(info.Size(), " ", info.ModTime().UnixNano())
}

// reasonOf returns what the system said, without what was tried.
func reasonOf(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

func (l *lists) named(name string) *list {
	if l != nil {
		for _, x := range l.all {
			if x.Name == name {
				return x
			}
		}
	}
	return nil
}

// policyOf returns what the lists do by the policy of c, whose names that are allowed are a list of
// their own; nil: nothing.
func (l *lists) policyOf(c *config.Config, allowed uint8) (*filter.Policy, error) {
	if len(c.Policy.Block) == 0 {
		return nil, nil
	}
	actions := map[string]filter.Action{
		"nxdomain": filter.NXDomain, "nodata": filter.NoData, "refuse": filter.Refuse, "drop": filter.Drop, "log": filter.Log,
	}
	reasons := map[string]int{"blocked": wire.EDEBlocked, "censored": wire.EDECensored, "filtered": wire.EDEFiltered}
	o := filter.PolicyOptions{Allow: []uint8{allowed}}
	for i := range c.Policy.Block {
		p := &c.Policy.Block[i]
		of := l.named(p.List)
		if of == nil {
			continue
		}
		b := filter.Block{
			List: of.number, Addrs: p.Addrs(), Clients: p.Clients, Zone: p.Location(), EDE: reasons[p.Reason], Text: p.Reason + " by list " + p.List,
		}
		if b.Action = filter.Address; len(b.Addrs) == 0 {
			b.Action = actions[p.Answer[0]]
		}
		for _, h := range p.Hours {
			b.Hours = append(b.Hours, filter.Hours{Days: h.Days, From: h.From, To: h.To})
		}
		o.Blocks = append(o.Blocks, b)
	}
	for _, name := range c.Policy.AllowLists {
		if of := l.named(name); of != nil {
			o.Allow = append(o.Allow, of.number)
		}
	}
	return filter.NewPolicy(l.table, o)
}

// setLists makes l what g filters by; nil: nothing. It is not if filtering is paused.
func (g *generation) setLists(l *lists, paused bool) {
	g.lists = l
	g.engine.Filter, g.engine.Policy = nil, nil
	if l == nil || paused {
		return
	}
	g.engine.Filter, g.engine.Policy = l.set, l.policies[config.DefaultView]
	for i := range g.views {
		g.views[i].policy = l.policies[g.views[i].config.View()]
	}
}

func (a *App) isPaused() bool {
	a.filters.mu.Lock()
	defer a.filters.mu.Unlock()
	return time.Now().Before(a.filters.paused)
}

// openLists opens the directory of lists that are fetched. The server may have become another user
// before, and be confined after.
func (a *App) openLists(c *config.Config, keeps bool) {
	dir := c.StateDir
	if !keeps {
		dir = ""
	}
	store, err := feed.Open(dir, ListsDir, nil, "port53")
	if err != nil && slices.ContainsFunc(c.Policy.Lists, func(l config.FilterList) bool { return l.URL != "" }) {
		a.log.Warn("lists that are fetched are not kept", "state_dir", dir, "problem", err.Error())
	}
	a.filters.store = store
}

// tellLists logs what is new of lists. old may be nil.
func (a *App) tellLists(old, now *lists) {
	if now == nil {
		return
	}
	for _, l := range now.all {
		before := old.named(l.Name)
		switch {
		case l.problem != "" && (before == nil || before.problem != l.problem) && (l.URL == "" || l.problem != "it was not fetched yet"):
			a.log.Warn("a list was not read", "list", l.Name, "problem", l.problem, "the_one_before_goes_on", l.there)
		case l.there && (before == nil || before.stamp != l.stamp):
			a.log.Info("list read", "list", l.Name, "rules", l.stats.Rules, "duplicates", l.stats.Duplicates, "skipped", l.stats.Skipped+l.stats.NoRegex, "wrong", l.stats.Wrong)
			for _, n := range l.stats.Notes {
				a.log.Warn("a line of a list", "list", l.Name, "line", n.Line, "note", n.Text)
			}
		}
	}
}

// refreshLists reads the lists that are others now, and makes them what is filtered by.
func (a *App) refreshLists(fresh map[string]*feed.Candidate) (*lists, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	g := a.current.Load()
	next, err := a.readLists(g.lists, g.config, fresh)
	if err != nil {
		return nil, err
	}
	for name, c := range fresh {
		if l := next.named(name); l != nil && l.problem == "" {
			if err := c.Keep(); err != nil {
				a.log.Warn("a list that was fetched is not kept", "list", name, "problem", err.Error())
			} else if in, stamp, err := a.openList(&l.FilterList, nil); err == nil {
				in.Close()
				l.stamp = stamp
			}
		} else {
			c.Discard()
		}
	}
	a.tellLists(g.lists, next)
	a.update(func(g *generation) { g.setLists(next, a.isPaused()) })
	return next, nil
}

// listsPoll is how often files of lists are looked at: one stat(2) each.
const listsPoll = time.Second

// followLists reads lists again when their files change or their URLs have others.
func (a *App) followLists() {
	tick := time.NewTicker(listsPoll)
	defer tick.Stop()
	seen := map[string]string{} // stamps that are not those of what was read
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		a.resume()
		g := a.current.Load()
		if g.lists == nil {
			continue
		}
		a.startFetches(g.lists)
		changed := false
		for _, l := range g.lists.all {
			if l.File == "" {
				continue
			}
			in, stamp, err := a.openList(&l.FilterList, nil)
			if err == nil {
				in.Close()
			}
			// A file that is being written is waited for until it stays the same.
			if err == nil && stamp != l.stamp && seen[l.Name] == stamp && l.problem == "" || err == nil && l.problem != "" && stamp != seen[l.Name] && seen[l.Name] != "" {
				changed = true
			}
			seen[l.Name] = stamp
		}
		if changed {
			if _, err := a.refreshLists(nil); err != nil {
				a.log.Error("lists were not read", "problem", err.Error())
			}
		}
	}
}

// maxFetches is how many lists are fetched at one time.
const maxFetches = 4

// startFetches begins to fetch the lists that are due.
func (a *App) startFetches(ls *lists) {
	f := &a.filters
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetches == nil {
		f.fetches = map[string]*fetching{}
	}
	running := 0
	for _, x := range f.fetches {
		if x.now {
			running++
		}
	}
	now := time.Now()
	for _, l := range ls.all {
		if l.URL == "" {
			continue
		}
		x := f.fetches[l.Name]
		if x == nil {
			src := sourceOf(&l.FilterList)
			asked := f.store.Meta(src)
			if asked.URL != l.URL {
				asked.Asked = time.Time{}
			}
			x = &fetching{due: feed.Due(src, asked.Asked, now, 0)}
			f.fetches[l.Name] = x
		}
		if x.now || now.Before(x.due) || running >= maxFetches {
			continue
		}
		running++
		x.now = true
		go func() { _ = a.fetch(a.ctx, l, false) }()
	}
}

// fetch fetches one list, of which it is noted that it is under way.
func (a *App) fetch(ctx context.Context, l *list, force bool) error {
	f, src := &a.filters, sourceOf(&l.FilterList)
	c, err := f.store.Fetch(ctx, src, force)
	if err == nil && c != nil {
		var next *lists
		if next, err = a.refreshLists(map[string]*feed.Candidate{l.Name: c}); err == nil {
			if now := next.named(l.Name); now != nil && now.problem != "" {
				err = errors.New(now.problem)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.fetches[l.Name]
	x.now, x.problem = false, ""
	if err != nil {
		x.failures++
		x.problem = reasonOf(err)
		if x.failures == 1 || x.failures%10 == 0 {
			a.log.Warn("a list was not fetched", "list", l.Name, "problem", x.problem, "failures", x.failures, "the_one_before_goes_on", l.there)
		}
	} else {
		x.failures = 0
	}
	x.due = feed.Due(src, time.Now(), time.Now(), x.failures)
	return err
}

// resume ends a pause that is over.
func (a *App) resume() {
	a.filters.mu.Lock()
	over := !a.filters.paused.IsZero() && !time.Now().Before(a.filters.paused)
	if over {
		a.filters.paused = time.Time{}
	}
	a.filters.mu.Unlock()
	if over {
		a.update(func(g *generation) { g.setLists(g.lists, false) })
		a.log.Info("answers are filtered again")
	}
}

// A ListStatus is what the server tells of one list.
type ListStatus struct {
	Name    string       `json:"name"`
	From    string       `json:"from"`
	Loaded  *time.Time   `json:"loaded,omitempty"` // nil: there is none
	Due     *time.Time   `json:"due,omitempty"`    // when its URL is asked again
	Problem string       `json:"problem,omitempty"`
	Stats   filter.Stats `json:"stats"`
	Blocked uint64       `json:"blocked"` // answers, since the server started
}

// A FilterStatus is what the server tells of what it filters by.
type FilterStatus struct {
	Paused *time.Time   `json:"paused_until,omitempty"`
	Rules  int          `json:"rules"`
	Octets int          `json:"octets"`
	Lists  []ListStatus `json:"lists"`
}

// FilterLists implements [console.Admin].
func (a *App) FilterLists() (any, error) {
	ls := a.current.Load().lists
	if ls == nil {
		return nil, errNoLists
	}
	s := FilterStatus{Rules: ls.table.Len(), Octets: ls.table.Octets()}
	blocked := map[uint8]uint64{}
	a.telemetry.EachFiltered(func(list int, how telemetry.Filtering, n uint64) {
		if how == telemetry.FilterBlocked {
			blocked[uint8(list)] += n
		}
	})
	f := &a.filters
	f.mu.Lock()
	defer f.mu.Unlock()
	if until := f.paused; time.Now().Before(until) {
		s.Paused = &until
	}
	for _, l := range ls.all {
		x := ListStatus{Name: l.Name, From: cmp.Or(l.URL, l.File), Stats: l.stats, Problem: l.problem, Blocked: blocked[l.number]}
		if l.there {
			x.Loaded = &l.loaded
		}
		if of := f.fetches[l.Name]; of != nil {
			due := of.due
			x.Due, x.Problem = &due, cmp.Or(of.problem, x.Problem)
		}
		s.Lists = append(s.Lists, x)
	}
	return s, nil
}

var errNoLists = errors.New("no answers are filtered: policy.lists has none")

// A FilterUpdated is what became of one list.
type FilterUpdated struct {
	Name    string       `json:"name"`
	Changed bool         `json:"changed"`
	Problem string       `json:"problem,omitempty"`
	Stats   filter.Stats `json:"stats"`
}

// UpdateLists implements [console.Admin]: it reads lists again now, and asks for those that have a
// URL: the one of the name, or all if it is empty.
func (a *App) UpdateLists(ctx context.Context, name string) (any, error) {
	before := a.current.Load().lists
	if before == nil {
		return nil, errNoLists
	}
	if name != "" && before.named(name) == nil {
		return nil, fmt.Errorf("there is no list %q", name)
	}
	problems := map[string]string{}
	for _, l := range before.all {
		if l.URL == "" || name != "" && l.Name != name {
			continue
		}
		if !a.claim(l.Name) {
			problems[l.Name] = "it is being fetched"
			continue
		}
		if err := a.fetch(ctx, l, false); err != nil {
			problems[l.Name] = reasonOf(err)
		}
	}
	next, err := a.refreshLists(nil)
	if err != nil {
		return nil, err
	}
	var all []FilterUpdated
	for _, l := range next.all {
		if name != "" && l.Name != name {
			continue
		}
		was := before.named(l.Name)
		all = append(all, FilterUpdated{
			Name: l.Name, Changed: was == nil || was.stamp != l.stamp, Problem: cmp.Or(problems[l.Name], l.problem), Stats: l.stats,
		})
	}
	for _, u := range all {
		if u.Problem != "" {
			err = errors.Join(err, fmt.Errorf("list %s: %s", u.Name, u.Problem))
		}
	}
	return all, err
}

// claim notes that a list is being fetched, unless it is.
func (a *App) claim(name string) bool {
	f := &a.filters
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetches == nil {
		f.fetches = map[string]*fetching{}
	}
	x := f.fetches[name]
	if x == nil {
		x = &fetching{}
		f.fetches[name] = x
	}
	if x.now {
		return false
	}
	x.now = true
	return true
}

// maxPause is the longest pause: whoever wants a longer one changes the configuration.
const maxPause = 24 * time.Hour

// PauseFilters implements [console.Admin]: nothing is filtered for so long; 0 ends the pause.
func (a *App) PauseFilters(d time.Duration) (any, error) {
	if a.current.Load().lists == nil {
		return nil, errNoLists
	}
	if d < 0 || d > maxPause {
		return nil, fmt.Errorf("a pause lasts from 0 to %d minutes", int(maxPause/time.Minute))
	}
	until := time.Now().Add(d)
	a.filters.mu.Lock()
	a.filters.paused = until
	a.filters.mu.Unlock()
	if d == 0 {
		a.resume()
		return FilterPaused{}, nil
	}
	a.update(func(g *generation) { g.setLists(g.lists, true) })
	a.log.Warn("answers are not filtered for a while", "until", until.Format(time.RFC3339))
	return FilterPaused{&until}, nil
}

// A FilterPaused says until when nothing is filtered; nil: it is.
type FilterPaused struct {
	Until *time.Time `json:"paused_until"`
}

// A FilterTested is what is done with a question, and why.
type FilterTested struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Client string `json:"client"`
	View   string `json:"view,omitempty"`
	Action string `json:"action"` // pass, allow, or what is answered
	List   string `json:"list,omitempty"`
	Line   int    `json:"line,omitempty"`
	Rule   string `json:"rule,omitempty"` // as it stands in the list
	Cause  string `json:"cause,omitempty"`
	Paused bool   `json:"paused,omitempty"`
}

// TestFilter implements [console.Admin]: it tells what is done with a question, and with what the
// cache has as its answer.
func (a *App) TestFilter(name, typ, client string) (any, error) {
	ls := a.current.Load().lists
	if ls == nil {
		return nil, errNoLists
	}
	n, err := wire.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", name, err)
	}
	t, ok := wire.ParseType(typ)
	if !ok {
		return nil, fmt.Errorf("type %q is not known", typ)
	}
	addr, err := netip.ParseAddr(cmp.Or(client, "127.0.0.1"))
	if err != nil {
		return nil, fmt.Errorf("client %q is no address", client)
	}
	r := FilterTested{Name: wire.NameText(n), Type: typ, Client: addr.String(), Paused: a.isPaused()}
	view := a.current.Load().engine.Of(addr.Unmap(), netip.AddrPort{}, nil)
	r.View = view.Name
	v := a.judge(view, wire.Lower(nil, n), t, addr).Verdict
	r.Action = v.Action.String()
	if v.Action != filter.Pass || v.Logged {
		number, line := v.List, v.Line
		if v.Action == filter.Pass {
			r.Action, number, line = filter.Log.String(), v.LogList, v.LogLine
		}
		r.List, r.Line, r.Cause = ls.set.List(number), int(line), v.Cause.String()
		r.Rule = a.ruleAt(ls, number, int(line))
	}
	return r, nil
}

// judge judges a question, and the answer that the cache has to it.
func (a *App) judge(view *engine.View, name []byte, t wire.Type, client netip.Addr) engine.Judged {
	var answer *cache.Answer
	room := make([]byte, wire.MaxMessage)
	if r := view.Recursion; r != nil && r.Cache != nil {
		if hit, ok := r.Cache.Answer(r.Config.Key(name, t, resolver.Wants{}), r.Cache.Now(), room); ok && hit.N <= len(room) {
			answer = &cache.Answer{Body: room[:hit.N], Counts: hit.Counts}
		}
	}
	return a.engine.Judge(view, name, t, client, answer)
}

// ruleAt returns a line of a list.
func (a *App) ruleAt(ls *lists, number uint8, line int) string {
	for _, l := range ls.all {
		if l.number != number {
			continue
		}
		in, stamp, err := a.openList(&l.FilterList, nil)
		if err != nil || stamp != l.stamp {
			return "" // it is another by now
		}
		defer in.Close()
		text, err := filter.Line(in, line)
		if err != nil {
			return ""
		}
		return wire.Printable(text)
	}
	return ""
}

// sameLists reports whether the lists of two configurations, and what they do, are the same.
func sameLists(x, y *config.Config) bool {
	same := func(x, y *config.Config) bool {
		return reflect.DeepEqual(x.Policy.Block, y.Policy.Block) && reflect.DeepEqual(x.Policy.AllowNames, y.Policy.AllowNames) &&
			slices.Equal(x.Policy.AllowLists, y.Policy.AllowLists) && x.View() == y.View()
	}
	if !reflect.DeepEqual(x.Policy.Lists, y.Policy.Lists) || !reflect.DeepEqual(x.Networks, y.Networks) || !same(x, y) || len(x.Views) != len(y.Views) {
		return false
	}
	for i := range x.Views {
		if !same(x.InView(i), y.InView(i)) {
			return false
		}
	}
	return true
}

// forgetFetches forgets how lists were coming along that are not there any more, or come from
// elsewhere.
func (a *App) forgetFetches(old, now *lists) {
	a.filters.mu.Lock()
	defer a.filters.mu.Unlock()
	maps.DeleteFunc(a.filters.fetches, func(name string, x *fetching) bool {
		was, is := old.named(name), now.named(name)
		return !x.now && (is == nil || was == nil || was.URL != is.URL)
	})
}

// collectFilters writes what lists have done, and how they are. There are as many as the configuration
// has.
func (a *App) collectFilters(w *telemetry.Writer) {
	g := a.current.Load()
	if g == nil || g.lists == nil {
		return
	}
	names := a.filters.names()
	a.telemetry.EachFiltered(func(list int, how telemetry.Filtering, n uint64) {
		if list < len(names) && names[list] != "" {
			w.Set("port53_filter_answers_total", float64(n), "list", names[list], "outcome", how.String())
		}
	})
	a.filters.mu.Lock()
	defer a.filters.mu.Unlock()
	for _, l := range g.lists.all {
		failed := l.problem != ""
		if x := a.filters.fetches[l.Name]; x != nil {
			failed = failed || x.problem != ""
		}
		w.Set("port53_filter_rules", float64(l.stats.Rules), "list", l.Name)
		w.Set("port53_filter_list_failed", number(failed), "list", l.Name)
		if l.there {
			w.Set("port53_filter_list_age_seconds", time.Since(l.loaded).Seconds(), "list", l.Name)
		}
	}
	w.Set("port53_filter_paused", number(time.Now().Before(a.filters.paused)))
}
