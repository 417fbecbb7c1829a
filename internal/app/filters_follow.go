package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"port53/internal/config"
	"port53/internal/feed"
)

// A fetching is how a list that has a URL is coming along.
type fetching struct {
	due      time.Time
	failures int
	now      bool // it is under way
	problem  string
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
		a.log.Warn("fetched filter lists are not stored", "state_dir", dir, "error", err.Error())
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
		case l.problem != "" && (before == nil || before.problem != l.problem) && (l.URL == "" || l.problem != "not fetched yet"):
			a.log.Warn("a filter list was not read", "list", l.Name, "error", l.problem, "the_one_before_goes_on", l.there)
		case l.there && (before == nil || before.stamp != l.stamp):
			a.log.Info(
				"list read",
				"list",
				l.Name,
				"rules",
				l.stats.Rules,
				"duplicates",
				l.stats.Duplicates,
				"skipped",
				l.stats.Skipped+l.stats.NoRegex+l.stats.NoZone,
				"wrong",
				l.stats.Wrong,
			)
			for _, n := range l.stats.Notes {
				a.log.Warn("a filter list has a bad line", "list", l.Name, "line", n.Line, "note", n.Text)
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
			if err := c.Commit(); err != nil {
				a.log.Warn("a fetched filter list is not stored", "list", name, "error", err.Error())
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
			if err == nil && stamp != l.stamp && seen[l.Name] == stamp && l.problem == "" ||
				err == nil && l.problem != "" && stamp != seen[l.Name] && seen[l.Name] != "" {
				changed = true
			}
			seen[l.Name] = stamp
		}
		if changed {
			if _, err := a.refreshLists(nil); err != nil {
				a.log.Error("filter lists were not read", "error", err.Error())
			}
		}
	}
}

// maxFetches is how many lists are fetched at the same time.
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
			a.log.Warn(
				"a filter list was not fetched",
				"list",
				l.Name,
				"error",
				x.problem,
				"failures",
				x.failures,
				"the_one_before_goes_on",
				l.there,
			)
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
		a.log.Info("filtering resumed")
	}
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
