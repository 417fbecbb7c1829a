package check

import (
	"time"

	"port53/internal/finding"
	"port53/internal/scan"
)

// A Port is what has to be open for a check to have something to ask.
type Port uint8

// The ports.
const (
	PortDNS Port = iota // the target's own: if it is closed, nothing could be measured
	PortTLS             // that of DNS over TLS or HTTPS: if both are closed, the check does not apply
	PortAny             // none: the check looks at ports itself, or at packets
)

// A Cost is how long a check may take: what a server says, and how slowly it says it, is the
// server's own choice.
type Cost uint8

// The costs.
const (
	CostQuestions Cost = iota // a few questions
	CostWaits                 // it waits, holds or floods
	CostSearch                // it looks for all names of a zone, if that is asked for
)

// Needs is what a check needs to have something to look at, beside a target of its scope. Its
// zero value asks a few questions of a server whose port 53 is open. A check whose needs are
// not met does not apply, and is not in the report.
type Needs struct {
	Port      Port
	Cost      Cost
	Recursion bool   // a server that resolves for whoever asks from here
	Authority bool   // a server of zones: no resolver, unless a zone is named
	Families  bool   // the server's name, by which its address of the other family is found
	Remote    bool   // a server that is not on loopback, where everything is open
	Away      bool   // a way off this machine, which there is not towards loopback; Lab.Closed stands in
	Probe     bool   // Options.Probe, a zone of one's own
	Rights    string // what a user may lack, in words; the check is unknown where the system refuses it
}

// limit returns how long a check of this cost may take.
func (c Cost) limit(o *Options) time.Duration {
	switch {
	case c == CostSearch && o.Subdomains:
		return searchTime
	case c == CostWaits:
		return waitTime
	}
	return checkTime
}

// The times of checks.
const (
	checkTime  = 2 * time.Minute // thirty questions that are answered at the third try
	waitTime   = 5 * time.Minute
	searchTime = 15 * time.Minute // ten of them for the search itself

	derivedTime = 10 * time.Second        // of all polite checks at one of a zone's servers, from when it is looked at
	leastTime   = 100 * time.Millisecond  // of one of them, whatever is left
	deadTime    = 2500 * time.Millisecond // the same where nobody answers: a try over TCP
)

// A view is what is seen of a target before its checks run.
type view struct {
	ports     []scan.Port // the target's own, over UDP and TCP
	recursion bool        // it would resolve for us
	answers   bool        // anything, over UDP or TCP
	encrypted bool        // somebody listens where encrypted questions go
}

// fits reports whether a check has something to look at.
func (c *Check) fits(t *finding.Target, o *Options, v *view) bool {
	server := t.Server.Addr.IsValid()
	loopback := t.Server.Addr.Addr().IsLoopback()
	n := &c.Needs
	switch {
	case c.Mode > o.Mode,
		n.Probe && o.Probe == nil,
		n.Away && loopback && !o.Lab.Closed.IsValid(),
		n.Authority && v.recursion && t.Zone == nil,
		n.Port == PortTLS && !v.encrypted,
		n.Families && t.Server.Name == nil,
		n.Remote && loopback,
		n.Recursion && !v.recursion:
		return false
	}
	switch c.Scope {
	case ScopeConfig:
		return t.Config != ""
	case ScopeZone:
		return t.Zone != nil && (len(t.Servers) > 0 || !server)
	}
	return server
}
