package check

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// atOnce is how many polite checks run at the same time: as many questions as a busy stub
// has on its way.
const atOnce = 8

// An examination is the checks of one target under way.
type examination struct {
	target *finding.Target
	o      *Options
	facts  *Facts
	rep    *finding.Report
	view   view
	list   []*Check // what fits

	mu    sync.Mutex
	done  int
	later []int // of the list: lost at the server's rate limit
	told  func(done, all int)
}

// Examine runs those checks of a list that have something to look at. Polite ones run beside
// each other, the others one after the other, so that what one makes a server do is not taken
// for an answer to the next. told is called after each, from one goroutine at a time.
func Examine(ctx context.Context, t finding.Target, o *Options, checks []*Check, told func(done, all int)) *finding.Report {
	rep := &finding.Report{Target: t, Started: time.Now(), Problem: t.Problem}
	if t.Problem != "" {
		return rep
	}
	x := &examination{target: &t, o: o, facts: new(Facts), rep: rep, told: told}
	if a := t.Server.Addr; a.IsValid() && !x.run(nil).HasRoute(ctx, a) {
		rep.Problem, rep.Unreachable = ErrNoRoute.Error(), true
		return rep
	}
	more := x.look(ctx)
	rep.Ports = x.view.ports
	for _, p := range more {
		if p.Number != t.Server.Addr.Port() {
			rep.Ports = append(rep.Ports, p)
		}
	}
	if x.view.answers {
		rep.Service = ""
	}
	if t.Server.Addr.IsValid() && !x.view.answers {
		rep.Unreachable = true
		switch {
		case rep.Service != "":
			rep.Problem = fmt.Sprintf("%s answers on port %d, and no name server", rep.Service, t.Server.Addr.Port())
		case t.FromRange:
			rep.Problem = fmt.Sprintf("nobody answers on port %d", t.Server.Addr.Port())
		}
		if rep.Problem != "" {
			rep.Took = time.Since(rep.Started)
			return rep
		}
	}
	all := *o
	all.Mode = finding.Intrusive
	for _, c := range checks {
		switch {
		case c.fits(&t, o, &x.view):
			x.list = append(x.list, c)
		case c.fits(&t, &all, &x.view):
			rep.NotRun = append(rep.NotRun, &c.Check)
		}
	}
	x.all(ctx)
	for _, c := range x.list {
		if c.ExtraPorts != nil {
			within, cancel := context.WithTimeout(ctx, x.limit(c))
			rep.Ports = appendOpen(rep.Ports, c.ExtraPorts(within, x.run(c)))
			cancel()
		}
	}
	rep.Took = time.Since(rep.Started)
	return rep
}

// run returns the run of a check at the target.
func (x *examination) run(c *Check) *Run {
	t := x.target
	return &Run{
		Check:    c,
		Server:   t.Server,
		Derived:  t.Derived,
		Zone:     t.Zone,
		Servers:  t.Servers,
		Config:   x.o.Config,
		Software: x.rep.Software,
		Options:  x.o,
		Facts:    x.facts,
	}
}

// look finds out what there is at the target, and returns the states of the further ports that
// Options names.
func (x *examination) look(ctx context.Context) (more []scan.Port) {
	server := x.target.Server.Addr
	if !server.IsValid() {
		return nil
	}
	x.rep.From = source(ctx, x.run(nil))
	var wg sync.WaitGroup
	wg.Go(func() {
		udp, tcp := x.run(nil).Ports(ctx)
		x.view.ports = []scan.Port{udp, tcp}
		if x.view.answers = udp.State == scan.Open; !x.view.answers && tcp.State == scan.Open {
			wg.Go(func() { x.rep.Service = stranger(ctx, x.run(nil)) }) // of no interest if it answers after all
			x.view.answers = answers(ctx, x.run(nil))
		}
		if !x.view.answers {
			return
		}
		wg.Go(func() { x.rep.Software = softwareOf(ctx, x.run(nil)) })
		// What was silent to six questions, or refused one, has no seventh.
		x.view.recursion = udp.State == scan.Open && offersRecursion(ctx, x.run(nil))
	})
	wg.Go(func() { x.view.encrypted = offersTLS(ctx, x.run(nil)) })
	if len(x.o.Ports) > 0 {
		wg.Go(func() { more = x.run(nil).Scanner().Open(ctx, server.Addr(), x.o.Ports) })
	}
	wg.Wait()
	return more
}

// all runs the checks that fit.
func (x *examination) all(ctx context.Context) {
	x.rep.Results = make([]finding.Result, len(x.list))
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, c := range x.list {
		if c.Mode == finding.Polite {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				x.one(ctx, i)
			})
		}
	}
	wg.Wait()
	for i, c := range x.list {
		if c.Mode != finding.Polite {
			x.one(ctx, i)
		}
	}
	x.rested(ctx)
}

// restTime is how long a server at its rate limit is left alone: BIND's looks back for 15 seconds, others' for less.
const restTime = 16 * time.Second

// rested runs again, one after the other, what was lost at the server's rate limit.
func (x *examination) rested(ctx context.Context) {
	if len(x.later) == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(cmp.Or(x.o.Lab.Cooldown, restTime)):
	}
	slices.Sort(x.later)
	for _, i := range x.later {
		r := x.run(x.list[i])
		r.CooledDown = true
		r.habits(x.target.Server.Addr).forget()
		x.found(i, within(ctx, r, r.Check.Needs.Cost.limit(x.o)))
	}
}

// one runs a check and keeps its result.
func (x *examination) one(ctx context.Context, i int) {
	c, r := x.list[i], x.run(x.list[i])
	var findings []finding.Finding
	if c.Needs.Port == PortDNS && r.Server.Addr.IsValid() && !x.view.answers {
		// Waiting for each answer would take minutes for every address of a network.
		findings = finding.Verdict(
			finding.Unknown,
			finding.Evidence{Command: Dig(r.Server, Query{Name: r.Apex(), Type: wire.TypeSOA})},
			"could not be measured: nobody answers on port %d",
			r.Server.Addr.Port(),
		)
	} else {
		findings = within(ctx, r, x.limit(c))
	}
	x.found(i, findings)
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.later {
		x.later = append(x.later, i)
	}
	x.done++
	x.told(x.done, len(x.list))
}

// found keeps the result of a check.
func (x *examination) found(i int, findings []finding.Finding) {
	c := x.list[i]
	if len(findings) == 0 {
		findings = []finding.Finding{{State: finding.Skipped, Title: "does not apply"}}
	}
	findings = findings[:min(len(findings), maxFindings)]
	for j := range findings {
		keep(&findings[j], x.target, c)
	}
	x.rep.Results[i] = finding.Result{Check: &c.Check, Findings: findings}
}

// appendOpen appends those of the ports that are open and not known yet.
func appendOpen(known, found []scan.Port) []scan.Port {
	n := len(known)
	for _, p := range found {
		if p.State == scan.Open &&
			!slices.ContainsFunc(known[:n], func(k scan.Port) bool { return k.Number == p.Number && k.Proto == p.Proto }) {
			known = append(known, p)
		}
	}
	return known
}

// The bounds of what one check finds: what a server says is its own choice.
const (
	maxFindings  = 500      // a zone can have thousands of bad keys
	maxDetail    = 64 << 10 // octets
	maxDetailKey = 1024     // octets
)

// limit returns how long a check may take. The polite ones at a server that was found, and not asked
// for, end together: a zone is not to wait for a server of its that limits rates, or drops questions.
func (x *examination) limit(c *Check) time.Duration {
	limit := c.Needs.Cost.limit(x.o)
	if x.target.Derived && c.Mode == finding.Polite {
		least := leastTime
		if !x.view.answers {
			least = deadTime // few checks have anything to ask then
		}
		limit = min(limit, max(least, time.Until(x.rep.Started.Add(derivedTime))))
	}
	return limit
}

// within runs a check for as long as it may take. What was cut off is unknown, whatever
// it has found by then, but for what a search found: that stands.
func within(ctx context.Context, r *Run, limit time.Duration) []finding.Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	findings := r.Check.Run(ctx, r)
	if ctx.Err() != nil {
		var ev finding.Evidence
		if len(findings) > 0 {
			ev = findings[0].Evidence
		}
		return finding.Unmeasured(ev, fmt.Errorf("it was not done after %v: %w", limit.Round(time.Second), ctx.Err()))
	}
	return findings
}

// source returns the address that questions to the server come from. Nothing is sent.
func source(ctx context.Context, r *Run) netip.Addr {
	c, err := r.DialUDP(ctx)
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	a, _ := netip.ParseAddrPort(c.LocalAddr().String())
	return a.Addr()
}

// keep makes a finding small enough to be kept for many targets, and gives it a command
// if it has none.
func keep(f *finding.Finding, t *finding.Target, c *Check) {
	if len(f.Detail) > maxDetail {
		f.Detail = strings.ToValidUTF8(f.Detail[:maxDetail], "") + " …"
	}
	f.Key = f.Key[:min(len(f.Key), maxDetailKey)]
	e := &f.Evidence
	e.Sent = bytes.Clone(e.Sent[:min(len(e.Sent), finding.MaxShown)])
	e.Received = bytes.Clone(e.Received[:min(len(e.Received), finding.MaxShown)])
	if e.Command == "" {
		e.Command = "port53 check '" + strings.ReplaceAll(wire.Printable(t.Text), "'", "?") + "' --all --only " + c.ID
	}
}

// offersTLS reports whether anybody listens where encrypted questions go.
func offersTLS(ctx context.Context, r *Run) bool {
	if !r.Server.Addr.IsValid() {
		return false
	}
	for _, port := range []uint16{cmp.Or(r.Options.PortDoT, 853), cmp.Or(r.Options.PortDoH, 443)} {
		d := net.Dialer{Timeout: r.StepTimeout()}
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(r.Server.Addr.Addr(), port).String())
		if err == nil {
			c.Close()
			return true
		}
	}
	return false
}

// answers reports whether a server with an open TCP port, which was silent over UDP to what a stranger
// asks, answers anything for its own zone.
func answers(ctx context.Context, r *Run) bool {
	q := Query{Name: r.Apex(), Type: wire.TypeSOA}
	udp := make(chan bool, 1)
	go func() {
		for range 2 {
			if _, err := r.AskOnce(ctx, r.Server, q, r.Timeout()/2); err == nil {
				udp <- true
				return
			}
		}
		udp <- false
	}()
	_, err := r.AskTCP(ctx, q)
	return <-udp || err == nil
}

// offersRecursion reports whether the server would resolve for us.
func offersRecursion(ctx context.Context, r *Run) bool {
	if !r.Server.Addr.IsValid() {
		return false
	}
	for range 2 {
		m, err := r.AskOnce(ctx, r.Server, Query{Name: wire.Root, Type: wire.TypeNS, Flags: wire.FlagRD}, r.Timeout()*3/4)
		if err == nil {
			return m.Flags&wire.FlagRA != 0 && m.Rcode != wire.Refused
		}
	}
	return false
}
