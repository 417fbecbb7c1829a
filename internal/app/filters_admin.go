package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"port53/internal/cache"
	"port53/internal/engine"
	"port53/internal/filter"
	"port53/internal/resolver"
	"port53/internal/rpz"
	"port53/internal/telemetry"
	"port53/internal/wire"
)

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

var errNoLists = errors.New("filtering is off: policy.lists is empty")

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

// maxPause is the longest pause: whoever wants a longer one changes the configuration.
const maxPause = 24 * time.Hour

// PauseFilters implements [console.Admin]: nothing is filtered for so long; 0 ends the pause.
func (a *App) PauseFilters(d time.Duration) (any, error) {
	if g := a.current.Load(); g.lists == nil && len(g.config.PolicyZones()) == 0 {
		return nil, errNoLists
	}
	if d < 0 || d > maxPause {
		return nil, fmt.Errorf("a pause must be 0 to %d minutes", int(maxPause/time.Minute))
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
	a.log.Warn("filtering is paused", "until", until.Format(time.RFC3339))
	return FilterPaused{&until}, nil
}

// A FilterPaused says until when nothing is filtered; nil: it is.
type FilterPaused struct {
	Until *time.Time `json:"paused_until"`
}

// A FilterTestResult is what is done with a question, and why.
type FilterTestResult struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Client string `json:"client"`
	View   string `json:"view,omitempty"`
	Action string `json:"action"` // pass, allow, or what is answered
	List   string `json:"list,omitempty"`
	Line   int    `json:"line,omitempty"`
	Rule   string `json:"rule,omitempty"` // as it stands in the list
	Cause  string `json:"cause,omitempty"`
	Target string `json:"target,omitempty"`      // of an alias of a policy zone
	Zone   bool   `json:"policy_zone,omitempty"` // List is a policy zone, and Rule the name of its rule
	Later  bool   `json:"undecided,omitempty"`   // policy zones have to see the answer, which is not cached
	Paused bool   `json:"paused,omitempty"`
}

// TestFilter implements [console.Admin]: it tells what is done with a question, and with what the
// cache has as its answer.
func (a *App) TestFilter(name, typ, client string) (any, error) {
	g := a.current.Load()
	ls := g.lists
	if ls == nil && len(g.config.PolicyZones()) == 0 {
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
		return nil, fmt.Errorf("client %q is not an address", client)
	}
	r := FilterTestResult{Name: wire.NameText(n), Type: typ, Client: addr.String(), Paused: a.isPaused()}
	view := a.current.Load().engine.ViewFor(addr.Unmap(), netip.AddrPort{}, nil)
	r.View = view.Name
	judged := a.judge(view, wire.Lower(nil, n), t, addr)
	v := judged.Verdict
	r.Action = v.Action.String()
	r.Later = judged.RPZ.Undecided
	if z := &judged.RPZ; z.Zone != nil || z.Logged != nil {
		r.testedRPZ(z)
		return r, nil
	}
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

// testedRPZ tells of the rule of a policy zone.
func (r *FilterTestResult) testedRPZ(v *rpz.Verdict) {
	r.Zone = true
	if v.Zone == nil {
		r.Action, r.List = filter.Log.String(), wire.NameText(v.Logged.Name)
		return
	}
	r.Action, r.List, r.Cause = v.Action.String(), wire.NameText(v.Zone.Name), v.Trigger.String()
	r.Rule = wire.NameText(v.Version.AppendName(nil, v.Rule))
	if v.Action == rpz.Alias {
		r.Target = wire.NameText(v.Target)
	}
}

// judge judges a question, and the answer that the cache has to it.
func (a *App) judge(view *engine.View, name []byte, t wire.Type, client netip.Addr) engine.PolicyResult {
	var answer *cache.Answer
	room := make([]byte, wire.MaxMessage)
	if r := view.Recursion; r != nil && r.Cache != nil {
		if hit, ok := r.Cache.Answer(r.Config.Key(name, t, resolver.Wants{}), r.Cache.Now(), room); ok && hit.N <= len(room) {
			answer = &cache.Answer{Body: room[:hit.N], Counts: hit.Counts}
		}
	}
	return a.engine.TestPolicy(view, name, t, client, answer)
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

// collectFilters writes what lists have done, and how they are. There are as many as the configuration
// has.
func (a *App) collectFilters(w *telemetry.Writer) {
	g := a.current.Load()
	if g == nil || g.lists == nil && len(g.config.PolicyZones()) == 0 {
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
	for _, l := range g.lists.each() {
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
