package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"port53/internal/cache"
	"port53/internal/config"
	"port53/internal/feed"
	"port53/internal/filter"
	"port53/internal/rpz"
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

	outlines map[string]*rpz.Summary // of policy zones, by their names
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
		if before != nil && before.there && before.stamp == stamp && sameReading(&before.FilterList, spec) &&
			reflect.DeepEqual(old.networks, c.Networks) {
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
			err = fmt.Errorf("%w: it has no rules", filter.ErrNoList) // of a publisher
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
		next.problem = "not fetched yet"
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

// each returns the lists; l may be nil.
func (l *lists) each() []*list {
	if l == nil {
		return nil
	}
	return l.all
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
			List:    of.number,
			Addrs:   p.Addrs(),
			Clients: p.Clients,
			Zone:    p.Location(),
			EDE:     reasons[p.Reason],
			Text:    p.Reason + " by list " + p.List,
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

// sameLists reports whether the lists of two configurations, and what they do, are the same.
func sameLists(x, y *config.Config) bool {
	same := func(x, y *config.Config) bool {
		return reflect.DeepEqual(x.Policy.Block, y.Policy.Block) && reflect.DeepEqual(x.Policy.AllowNames, y.Policy.AllowNames) &&
			slices.Equal(x.Policy.AllowLists, y.Policy.AllowLists) && x.View() == y.View()
	}
	if !reflect.DeepEqual(x.Policy.Lists, y.Policy.Lists) || !reflect.DeepEqual(x.Networks, y.Networks) || !same(x, y) ||
		len(x.Views) != len(y.Views) {
		return false
	}
	for i := range x.Views {
		if !same(x.InView(i), y.InView(i)) {
			return false
		}
	}
	return true
}
