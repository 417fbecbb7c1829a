package check

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/config"
	"port53/internal/fingerprint"
	"port53/internal/scan"
	"port53/internal/wire"
)

// A Target is what is looked at: a server, or with servers a zone.
type Target struct {
	Text    string // as it was asked for
	Server  Server
	Zone    []byte // in wire form; nil if none is known
	Servers []Server
	Config  *config.Config // to be audited; nil: none
	Problem string         // why there is nothing to look at; empty if there is
}

// A Result is what one check found at a target.
type Result struct {
	Check    *Check
	Findings []Finding
}

// A Report is all that was found at one target, in the order of the catalogue.
type Report struct {
	Target  Target
	Started time.Time
	Took    time.Duration
	Ports   []scan.Port
	// Software is what the server is, found before the checks run.
	Software fingerprint.Software
	Results  []Result

	From     netip.Addr // where questions to the server came from; zero if there is no one server
	Problem  string     // why there is nothing to look at; empty if there is
	Baseline *Baseline  // what is known already; nil: nothing
}

// atOnce is how many polite checks run at one time: as many questions as a busy stub
// has on its way.
const atOnce = 8

// Examine runs the checks that want says yes to. Polite ones run beside each other, the
// others one after the other, so that what one makes a server do is not taken for an
// answer to the next. told is called after each, from one goroutine at a time.
func Examine(ctx context.Context, t Target, o *Options, want func(*Check) bool, told func(done, all int)) *Report {
	rep := &Report{Target: t, Started: time.Now(), Problem: t.Problem}
	if t.Problem != "" {
		return rep
	}
	shared := new(sync.Map)
	run := func(c *Check) *Run {
		return &Run{Check: c, Server: t.Server, Zone: t.Zone, Servers: t.Servers, Config: t.Config, Software: rep.Software, Options: o, Shared: shared}
	}
	var offered, encrypted bool
	var more []scan.Port
	var first sync.WaitGroup
	if t.Server.Addr.IsValid() {
		rep.From = source(ctx, run(nil))
		first.Go(func() {
			udp, tcp := bothPorts(ctx, run(nil))
			rep.Ports = []scan.Port{udp, tcp}
			// What was silent to six questions, or refused one, has no seventh.
			offered = rep.Ports[0].State == scan.Open && offersRecursion(ctx, run(nil))
		})
		first.Go(func() { encrypted = offersTLS(ctx, run(nil)) })
		if len(o.Ports) > 0 {
			first.Go(func() { more = run(nil).scanner().Open(ctx, t.Server.Addr.Addr(), o.Ports) })
		}
	}
	first.Wait()
	closed := t.Server.Addr.IsValid() && !slices.ContainsFunc(rep.Ports, func(p scan.Port) bool {
		return p.Number == t.Server.Addr.Port() && p.State == scan.Open
	})
	if slices.ContainsFunc(rep.Ports, func(p scan.Port) bool { return p.State == scan.Open }) {
		rep.Software = softwareOf(ctx, run(nil))
	}
	for _, p := range more {
		if p.Number != t.Server.Addr.Port() {
			rep.Ports = append(rep.Ports, p)
		}
	}
	var list []*Check
	for _, c := range Catalogue() {
		if c.Mode <= o.Mode && want(c) && t.fits(c, o, offered, encrypted) && (!c.NeedsProbe || o.Probe != nil) {
			list = append(list, c)
		}
	}
	rep.Results = make([]Result, len(list))
	var mu sync.Mutex
	done := 0
	one := func(i int) {
		c := list[i]
		var findings []Finding
		if closed && c.Scope != ScopeHost && c.Group != GroupEncrypted && !strings.HasPrefix(c.ID, "PORT-") {
			// Waiting for each answer would take minutes for every address of a network.
			findings = verdict(Unknown, Evidence{Command: dig(t.Server, Query{Name: apex(run(c)), Type: wire.TypeSOA})}, "could not be measured: nobody answers on port %d", t.Server.Addr.Port())
		} else {
			findings = within(ctx, run(c), o)
		}
		if len(findings) == 0 {
			findings = []Finding{{State: Skipped, Title: "does not apply"}}
		}
		findings = findings[:min(len(findings), maxFindings)]
		for j := range findings {
			findings[j].keep(t, c)
		}
		rep.Results[i] = Result{c, findings}
		mu.Lock()
		defer mu.Unlock()
		done++
		told(done, len(list))
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, c := range list {
		if c.Mode == Polite {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				one(i)
			})
		}
	}
	wg.Wait()
	for i, c := range list {
		if c.Mode != Polite {
			one(i)
		}
	}
	if slices.ContainsFunc(list, func(c *Check) bool { return c.ID == "PORT-NEIGH" }) {
		rep.Ports = append(rep.Ports, openNeighbours(ctx, run(nil), rep.Ports)...)
	}
	rep.Took = time.Since(rep.Started)
	return rep
}

// The bounds of one check: what a server says and how slowly it says it are its own
// choice.
const (
	checkTime    = 2 * time.Minute // thirty questions that are answered at the third try
	activeTime   = 5 * time.Minute // of checks that wait, hold or flood
	searchTime   = discoverBudget + 5*time.Minute
	maxFindings  = 500      // of one check: a zone can have thousands of bad keys
	maxDetail    = 64 << 10 // octets
	maxDetailKey = 1024     // octets
)

// within runs a check for as long as it may take. What was cut off is unknown, whatever
// it has found by then, but for what a search found: that stands.
func within(ctx context.Context, r *Run, o *Options) []Finding {
	limit := checkTime
	switch {
	case r.Check.Scope == ScopeZone && o.Subdomains:
		limit = searchTime
	case r.Check.Mode != Polite:
		limit = activeTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	findings := r.Check.Run(ctx, r)
	if ctx.Err() != nil {
		var ev Evidence
		if len(findings) > 0 {
			ev = findings[0].Evidence
		}
		return unmeasured(ev, fmt.Errorf("it was not done after %v: %w", limit, ctx.Err()))
	}
	return findings
}

// source returns the address that questions to the server come from. Nothing is sent.
func source(ctx context.Context, r *Run) netip.Addr {
	c, err := datagrams(ctx, r)
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	a, _ := netip.ParseAddrPort(c.LocalAddr().String())
	return a.Addr()
}

// keep makes a finding small enough to be kept for many targets, and gives it a command
// if it has none.
func (f *Finding) keep(t Target, c *Check) {
	if len(f.Detail) > maxDetail {
		f.Detail = strings.ToValidUTF8(f.Detail[:maxDetail], "") + " …"
	}
	f.Key = f.Key[:min(len(f.Key), maxDetailKey)]
	e := &f.Evidence
	e.Sent = bytes.Clone(e.Sent[:min(len(e.Sent), maxShown)])
	e.Received = bytes.Clone(e.Received[:min(len(e.Received), maxShown)])
	if e.Command == "" {
		e.Command = "port53 check '" + strings.ReplaceAll(wire.Printable(t.Text), "'", "?") + "' --all --only " + c.ID
	}
}

// fits tells whether a check has something to look at.
func (t *Target) fits(c *Check, o *Options, recursion, encrypted bool) bool {
	// Nobody takes questions on their way to this machine itself.
	if c.ID == "RES-TRANSPARENT" && t.Server.Addr.Addr().IsLoopback() && !o.Nobody.IsValid() {
		return false
	}
	// A resolver that no zone is asked of is not to be judged as a zone's server.
	if c.Group == GroupServer && recursion && t.Zone == nil && !slices.Contains(ofAnyServer(), c.ID) {
		return false
	}
	if c.Group == GroupEncrypted && !encrypted {
		return false
	}
	// Nobody has told of another address, and on loopback everything is open.
	if c.ID == "PORT-V6" && t.Server.Name == nil || c.ID == "PORT-NEIGH" && t.Server.Addr.Addr().IsLoopback() {
		return false
	}
	switch c.Scope {
	case ScopeConfig:
		return t.Config != nil
	case ScopeZone:
		return t.Zone != nil && (len(t.Servers) > 0 || !t.Server.Addr.IsValid())
	case ScopeResolver:
		// Of a server that does not resolve for us, it is worth knowing that alone.
		return t.Server.Addr.IsValid() && (recursion || c.ID == "RES-OPEN")
	}
	return t.Server.Addr.IsValid()
}

// ofAnyServer are the checks of servers that resolvers have to pass as well.
func ofAnyServer() []string {
	return []string{"SRV-AMP", "SRV-TCSIZE", "SRV-COOKIE", "SRV-8906", "SRV-TCP-PIPE", "SRV-TCP-IDLE", "SRV-TCP-CAP", "SRV-TCP-SLOW", "SRV-CASE", "SRV-FRAG", "SRV-BADPKT"}
}

// offersTLS tells whether anybody listens where encrypted questions go.
func offersTLS(ctx context.Context, r *Run) bool {
	if !r.Server.Addr.IsValid() {
		return false
	}
	for _, port := range []uint16{cmp.Or(r.Options.PortDoT, 853), cmp.Or(r.Options.PortDoH, 443)} {
		d := net.Dialer{Timeout: r.patience()}
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(r.Server.Addr.Addr(), port).String())
		if err == nil {
			c.Close()
			return true
		}
	}
	return false
}

// offersRecursion tells whether the server would resolve for us.
func offersRecursion(ctx context.Context, r *Run) bool {
	if !r.Server.Addr.IsValid() {
		return false
	}
	m, err := r.Ask(ctx, Query{Name: wire.Root, Type: wire.TypeNS, Flags: wire.FlagRD})
	return err == nil && m.Flags&wire.FlagRA != 0 && m.Rcode != wire.Refused
}

// SeverityOf returns how much a finding matters.
func (r *Result) SeverityOf(f *Finding) Severity {
	if f.Severity != 0 {
		return f.Severity
	}
	return r.Check.Severity
}

// Fingerprint returns what tells a finding from others, the same in each run.
func (r *Report) Fingerprint(c *Check, f *Finding) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", c.ID, r.Target.Text, f.Key))
	return hex.EncodeToString(sum[:16])
}

// Count returns how many checks there are of each state.
func (r *Report) Count() map[State]int {
	n := map[State]int{}
	for i := range r.Results {
		n[r.Results[i].Worst()]++
	}
	return n
}

// Worst returns the state that a check as a whole has: the first of fail, warn, unknown,
// info, pass and skipped that one of its findings has.
func (r *Result) Worst() State {
	for _, s := range []State{Fail, Warn, Unknown, Info, Pass} {
		if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.State == s }) {
			return s
		}
	}
	return Skipped
}

// Reached tells whether enough could be measured to say anything: there is something to
// look at, and half of the checks have a result. Without a check, an open port is enough.
func (r *Report) Reached() bool {
	if r.Problem != "" {
		return false
	}
	if len(r.Results) == 0 {
		return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p scan.Port) bool { return p.State == "open" })
	}
	n := r.Count()
	measured := n[Pass] + n[Warn] + n[Fail] + n[Info]
	return measured > 0 && measured >= n[Unknown]
}

// Above tells whether something was found that matters as much as least. Warnings count
// for less than failures: only if least is medium or lower.
func (r *Report) Above(least Severity) bool {
	for i := range r.Results {
		for j := range r.Results[i].Findings {
			if r.above(&r.Results[i], &r.Results[i].Findings[j], least) {
				return true
			}
		}
	}
	return false
}

// above is Above for one finding. What the baseline has does not count.
func (r *Report) above(x *Result, f *Finding, least Severity) bool {
	return x.SeverityOf(f) >= least && (f.State == Fail || f.State == Warn && least <= SevMedium) && !r.Known(x.Check, f)
}

// String returns the state as reports have it.
func (s State) String() string {
	return [...]string{"pass", "warn", "fail", "unknown", "info", "skipped"}[s]
}

// String returns the severity as reports have it.
func (s Severity) String() string {
	return [...]string{"info", "low", "medium", "high", "critical"}[s]
}

// ParseSeverity reads a severity.
func ParseSeverity(text string) (Severity, bool) {
	for s := SevInfo; s <= SevCritical; s++ {
		if s.String() == text {
			return s, true
		}
	}
	return 0, false
}

// String returns the mode as a flag has it.
func (m Mode) String() string { return [...]string{"polite", "active", "intrusive"}[m] }

// AdviceFor returns the line that mends what the check finds, for a product, or the
// general one.
func (c *Check) AdviceFor(p Product) string {
	if text, ok := c.Advice[p]; ok {
		return text
	}
	return c.Advice[""]
}
