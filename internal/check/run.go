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

// atOnce is how many polite checks run at one time: as many questions as a busy stub
// has on its way.
const atOnce = 8

// Examine runs the checks that want says yes to. Polite ones run beside each other, the
// others one after the other, so that what one makes a server do is not taken for an
// answer to the next. told is called after each, from one goroutine at a time.
func Examine(ctx context.Context, t finding.Target, o *Options, want func(*Check) bool, told func(done, all int)) *finding.Report {
	rep := &finding.Report{Target: t, Started: time.Now(), Problem: t.Problem}
	if t.Problem != "" {
		return rep
	}
	shared := new(sync.Map)
	run := func(c *Check) *Run {
		return &Run{Check: c, Server: t.Server, Zone: t.Zone, Servers: t.Servers, Config: o.Config, Software: rep.Software, Options: o, Shared: shared}
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
		if c.Mode <= o.Mode && want(c) && fits(&t, c, o, offered, encrypted) && (!c.NeedsProbe || o.Probe != nil) {
			list = append(list, c)
		}
	}
	rep.Results = make([]finding.Result, len(list))
	var mu sync.Mutex
	done := 0
	one := func(i int) {
		c := list[i]
		var findings []finding.Finding
		if closed && c.Scope != ScopeHost && c.Group != GroupEncrypted && !strings.HasPrefix(c.ID, "PORT-") {
			// Waiting for each answer would take minutes for every address of a network.
			findings = finding.Verdict(finding.Unknown, finding.Evidence{Command: dig(t.Server, Query{Name: apex(run(c)), Type: wire.TypeSOA})}, "could not be measured: nobody answers on port %d", t.Server.Addr.Port())
		} else {
			findings = within(ctx, run(c), o)
		}
		if len(findings) == 0 {
			findings = []finding.Finding{{State: finding.Skipped, Title: "does not apply"}}
		}
		findings = findings[:min(len(findings), maxFindings)]
		for j := range findings {
			keep(&findings[j], &t, c)
		}
		rep.Results[i] = finding.Result{Check: &c.Check, Findings: findings}
		mu.Lock()
		defer mu.Unlock()
		done++
		told(done, len(list))
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, c := range list {
		if c.Mode == finding.Polite {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				one(i)
			})
		}
	}
	wg.Wait()
	for i, c := range list {
		if c.Mode != finding.Polite {
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
func within(ctx context.Context, r *Run, o *Options) []finding.Finding {
	limit := checkTime
	switch {
	case r.Check.Scope == ScopeZone && o.Subdomains:
		limit = searchTime
	case r.Check.Mode != finding.Polite:
		limit = activeTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	findings := r.Check.Run(ctx, r)
	if ctx.Err() != nil {
		var ev finding.Evidence
		if len(findings) > 0 {
			ev = findings[0].Evidence
		}
		return finding.Unmeasured(ev, fmt.Errorf("it was not done after %v: %w", limit, ctx.Err()))
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

// fits tells whether a check has something to look at.
func fits(t *finding.Target, c *Check, o *Options, recursion, encrypted bool) bool {
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
		return t.Config != ""
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
