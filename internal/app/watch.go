package app

import (
	"cmp"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/api"
	"port53/internal/config"
	"port53/internal/dnstap"
	"port53/internal/event"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/top"
	"port53/internal/why"
	"port53/internal/wire"
)

// A watch is who is told of queries.
type watch struct {
	hub *event.Hub
	why *why.Log

	mu        sync.Mutex
	top       *top.Top // nil: nothing is counted
	topKeep   time.Duration
	endTop    func()      // has the counting end
	idle      *time.Timer // until it ends, since nobody has looked; nil: it does not
	followers int
	closed    bool
	tap       *dnstap.Sender // nil: nothing is sent
	endWhy    func()         // has the remembering of queries end; nil: none are

	tunnels      atomic.Pointer[top.Tunnels] // nil: nobody watches
	tunnelPolicy config.TunnelWatch          // by which they do
	endTunnels   func()
	learning     learning // App.reloading guards it
}

// topTime is how long after the last look queries are counted, unless they always are.
const topTime = 10 * time.Minute

// Bounds of those who follow queries.
const (
	maxFollowers = 16
	maxBehind    = 4096   // queries that one may be behind
	maxFollowed  = 10_000 // in one second
)

var errWhyOff = errors.New("answers are not recorded: why.record is off")

var errTopOff = errors.New("queries are not counted: top.record is off")

// counting returns the top that counts, which begins to if it did not, or nil if the configuration does
// not want that. The lock is held.
func (a *App) counting() *top.Top {
	w, c := &a.watch, a.current.Load().config.Top
	if c.Record == config.TopOff || w.closed || w.top != nil && w.topKeep != c.Keep {
		w.stopTop()
	}
	if c.Record == config.TopOff || w.closed {
		return nil
	}
	if w.top == nil {
		w.top, w.topKeep = top.New(top.Options{Keep: c.Keep, List: a.listName, View: a.telemetry.ViewName, Lost: w.hub.Lost}), c.Keep
		w.endTop = w.hub.Subscribe(event.Answers|event.Upstream, w.top.Take)
	}
	if w.idle != nil {
		w.idle.Stop()
		w.idle = nil
	}
	if c.Record == config.TopAsked {
		of := w.top
		w.idle = time.AfterFunc(topTime, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.top == of && a.current.Load().config.Top.Record != config.TopAlways {
				w.stopTop()
			}
		})
	}
	return w.top
}

// stopTop ends the counting. The lock is held.
func (w *watch) stopTop() {
	if w.idle != nil {
		w.idle.Stop()
		w.idle = nil
	}
	if w.top != nil {
		w.endTop()
		w.top = nil
	}
}

// followTop begins or ends what the configuration says of top, after a reload too.
func (a *App) followTop() {
	a.watch.mu.Lock()
	defer a.watch.mu.Unlock()
	switch a.current.Load().config.Top.Record {
	case config.TopAlways:
		a.counting()
	case config.TopOff:
		a.watch.stopTop()
	}
}

// newWatch makes what is told of queries, when there is somebody who wants to know.
func (a *App) newWatch() {
	w := &a.watch
	w.hub = event.New()
	w.why = why.New(why.Options{
		List: a.listName, View: a.telemetry.ViewName,
		Drop:      func(reason uint8) string { return telemetry.Drop(reason).String() },
		Transport: func(transport uint8) string { return server.Transport(transport).String() },
	})
}

// whyRecord returns what the configuration wants to have remembered.
func whyRecord(c *config.Why) why.Record {
	switch c.Record {
	case config.WhyProblems:
		return why.Problems
	case config.WhyMisses:
		return why.Misses
	}
	return why.Off
}

// followWhy has remembered what the configuration says, after a reload too.
func (a *App) followWhy() {
	w, c := &a.watch, &a.current.Load().config.Why
	w.mu.Lock()
	defer w.mu.Unlock()
	record := whyRecord(c)
	w.why.Set(record, int(c.Size))
	switch {
	case record != why.Off && w.endWhy == nil && !w.closed:
		w.endWhy = w.hub.Subscribe(event.Explained, w.why.Take)
	case record == why.Off:
		w.stopWhy()
	}
}

// stopWhy ends the remembering of queries. The lock is held.
func (w *watch) stopWhy() {
	if w.endWhy != nil {
		w.endWhy()
		w.endWhy = nil
	}
}

// startDnstap sends messages to the collector that the configuration names.
func (a *App) startDnstap() {
	c := &a.startedWith.Dnstap
	if !c.On() {
		return
	}
	o := dnstap.Options{Network: "unix", Address: c.Socket, Identity: c.Identity, Hub: a.watch.hub, Log: a.log}
	if c.Address.IsValid() {
		o.Network, o.Address = "tcp", c.Address.String()
	}
	if c.Version {
		o.Version = "port53 " + programVersion()
	}
	kinds := map[string]dnstap.Kind{
		"client": dnstap.Client, "auth": dnstap.Auth, "resolver": dnstap.Resolver, "forwarder": dnstap.Forwarder, "update": dnstap.Update,
	}
	for _, k := range c.Kinds {
		o.Kinds |= kinds[k]
	}
	a.watch.mu.Lock()
	a.watch.tap = dnstap.New(o)
	a.watch.mu.Unlock()
}

func (w *watch) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.tap != nil {
		w.tap.Close()
		w.tap = nil
	}
	w.stopTop()
	w.stopWhy()
	w.stopTunnels()
}

// Why implements [api.Host].
func (h apiHost) Why(q why.Question) ([]why.Report, error) {
	if h.watch.why.Record() == why.Off {
		return nil, errWhyOff
	}
	h.watch.hub.Flush()
	return h.watch.why.Find(q), nil
}

// listName returns the name of a list by its number.
func (a *App) listName(number int) string {
	if names := a.filters.names(); number < len(names) {
		return names[number]
	}
	return ""
}

// Top implements [api.Host].
func (h apiHost) Top(recent bool, limit int) (*top.Report, error) {
	h.watch.mu.Lock()
	t := h.counting()
	h.watch.mu.Unlock()
	if t == nil {
		return nil, errTopOff
	}
	h.watch.hub.Flush()
	return t.Report(recent, limit), nil
}

// Follow implements [api.Host].
func (h apiHost) Follow(f event.Filter) (<-chan api.Query, func() uint64, func(), error) {
	w := &h.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.followers >= maxFollowers || w.closed {
		return nil, nil, nil, api.ErrFollowed
	}
	w.followers++
	var lost atomic.Uint64
	queries := make(chan api.Query, maxBehind)
	second, n := int64(0), 0
	end := w.hub.Subscribe(f.Wants(), func(r *event.Record) {
		if !f.Matches(r) {
			return
		}
		if s := r.Time / int64(time.Second); s != second {
			second, n = s, 0
		}
		if n++; n > maxFollowed || len(queries) == cap(queries) {
			lost.Add(1)
			return
		}
		queries <- h.query(r) // there is room, and nobody else puts any in
	})
	stop := sync.OnceFunc(func() {
		end()
		w.mu.Lock()
		w.followers--
		w.mu.Unlock()
	})
	return queries, lost.Load, stop, nil
}

// query returns a record as the API tells of it.
func (a *App) query(r *event.Record) api.Query {
	q := api.Query{
		Time: r.When().
			UTC(),
		Client:    r.Remote.String(),
		Transport: server.Transport(r.Transport).String(),
		View:      a.telemetry.ViewName(r.View),
		ID:        r.ID,
		Size:      int(r.Size),
		Reply:     int(r.Reply),
		Path:      r.Path.String(),
		Outcome:   "replied",
		Flags:     []string{},
	}
	if len(r.Name) > 0 {
		q.Name, q.Type, q.Class = wire.NameText(r.Name), r.Type.String(), r.Class.String()
	}
	switch {
	case r.Outcome >= event.Dropped:
		q.Outcome = "dropped: " + telemetry.Drop(r.Outcome-event.Dropped).String()
	case r.Outcome == event.Slipped:
		q.Outcome = "slipped"
		fallthrough
	default:
		q.Rcode = r.Rcode.String()
	}
	for _, f := range [...]struct {
		bit  uint16
		name string
	}{{wire.FlagAA, "aa"}, {wire.FlagTC, "tc"}, {wire.FlagRD, "rd"}, {wire.FlagRA, "ra"}, {wire.FlagAD, "ad"}, {wire.FlagCD, "cd"}} {
		if r.Flags&f.bit != 0 {
			q.Flags = append(q.Flags, f.name)
		}
	}
	if r.EDE >= 0 {
		ede := uint16(r.EDE)
		q.EDE = &ede
	}
	if r.Latency >= 0 {
		us := r.Latency / 1000
		q.Micros = &us
	}
	if r.Path == event.Policy {
		q.List, q.Line = cmp.Or(a.listName(int(r.List)), "policy"), r.Line
	}
	if r.Why != 0 {
		q.Why = string(event.AppendID(nil, r.Why))
	}
	return q
}
