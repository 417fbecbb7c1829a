package check

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"port53/internal/wire"
)

// A Target is what is looked at: a server, or with servers a zone.
type Target struct {
	Text    string // as it was asked for
	Server  Server
	Zone    []byte // in wire form; nil if none is known
	Servers []Server
}

// A Port is what a stranger sees of a port.
type Port struct {
	Proto  string `json:"proto"`  // udp or tcp
	Number uint16 `json:"port"`   // 53, as a rule
	State  string `json:"state"`  // open, closed, filtered or open|filtered, as nmap has them
	Reason string `json:"reason"` // what tells so, in nmap's words

	// From is another address that answered in place of the one that was asked. Such
	// answers are none: resolvers drop them.
	From string `json:"src_mismatch,omitempty"`
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
	Ports   []Port
	// Software is what the server is, found before the checks run.
	Software Software
	Results  []Result
}

// atOnce is how many polite checks run at one time: as many questions as a busy stub
// has on its way.
const atOnce = 8

// Examine runs the checks that want says yes to. Polite ones run beside each other, the
// others one after the other, so that what one makes a server do is not taken for an
// answer to the next. told is called after each, from one goroutine at a time.
func Examine(ctx context.Context, t Target, o *Options, want func(*Check) bool, told func(done, all int)) *Report {
	rep := &Report{Target: t, Started: time.Now()}
	shared := new(sync.Map)
	run := func(c *Check) *Run {
		return &Run{Check: c, Server: t.Server, Zone: t.Zone, Servers: t.Servers, Software: rep.Software, Options: o, Shared: shared}
	}
	var offered, encrypted bool
	var more []Port
	var first sync.WaitGroup
	if t.Server.Addr.IsValid() {
		first.Go(func() {
			rep.Ports = portStates(ctx, run(nil))
			// What was silent to six questions, or refused one, has no seventh.
			offered = rep.Ports[0].State == StateOpen && offersRecursion(ctx, run(nil))
		})
		first.Go(func() { encrypted = offersTLS(ctx, run(nil)) })
		if len(o.Ports) > 0 {
			first.Go(func() { more = ScanTCP(ctx, t.Server.Addr.Addr(), o.Ports, o) })
		}
	}
	first.Wait()
	if slices.ContainsFunc(rep.Ports, func(p Port) bool { return p.State == StateOpen }) {
		rep.Software = softwareOf(ctx, run(nil))
	}
	for _, p := range more {
		if p.Number != t.Server.Addr.Port() {
			rep.Ports = append(rep.Ports, p)
		}
	}
	var list []*Check
	for _, c := range Catalogue() {
		if c.Mode <= o.Mode && want(c) && t.fits(c, offered, encrypted) && (!c.NeedsProbe || o.Probe != nil) {
			list = append(list, c)
		}
	}
	rep.Results = make([]Result, len(list))
	var mu sync.Mutex
	done := 0
	one := func(i int) {
		c := list[i]
		findings := c.Run(ctx, run(c))
		if len(findings) == 0 {
			findings = []Finding{{State: Skipped, Title: "does not apply"}}
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

// fits tells whether a check has something to look at.
func (t *Target) fits(c *Check, recursion, encrypted bool) bool {
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
	case ScopeZone:
		return t.Zone != nil && len(t.Servers) > 0
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
		d := net.Dialer{Timeout: r.timeout()}
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

// Reached tells whether enough could be measured to say anything: a port was open, and
// half of the checks have a result.
func (r *Report) Reached() bool {
	n := r.Count()
	measured := n[Pass] + n[Warn] + n[Fail] + n[Info]
	return measured > 0 && measured >= n[Unknown]
}

// Above tells whether something was found that matters as much as least. Warnings count
// for less than failures: only if least is medium or lower.
func (r *Report) Above(least Severity) bool {
	for i := range r.Results {
		for j := range r.Results[i].Findings {
			f := &r.Results[i].Findings[j]
			if r.Results[i].SeverityOf(f) >= least && (f.State == Fail || f.State == Warn && least <= SevMedium) {
				return true
			}
		}
	}
	return false
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
