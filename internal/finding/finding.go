// Package finding is the model of checks and of what they find: what a check is called
// and how it judges, what it found at a target and by what evidence, and what a report
// of all of it says as a whole.
//
// A [Check] is described here, and made elsewhere. What could not be measured is
// [Unknown], never [Pass]. A finding is the same in the next run if its
// [Report.Fingerprint] is, so that a [Baseline] can tell what is new from what is known.
package finding

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"port53/internal/fingerprint"
	"port53/internal/wire"
)

// A State is what a check found.
type State uint8

// The states.
const (
	Pass State = iota
	Warn
	Fail
	Unknown // it could not be measured
	Info
	Skipped // it does not apply
)

// String returns the state as reports have it.
func (s State) String() string {
	return [...]string{"pass", "warn", "fail", "unknown", "info", "skipped"}[s]
}

// A Severity is how much a finding matters.
type Severity uint8

// The severities.
const (
	SevInfo Severity = iota
	SevLow
	SevMedium
	SevHigh
	SevCritical
)

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

// A Mode is how much a check disturbs.
type Mode uint8

// The modes.
const (
	Polite    Mode = iota // ordinary questions
	Active                // unusual ones, and hundreds of them
	Intrusive             // what may keep a weak server from serving others
)

// String returns the mode as a flag has it.
func (m Mode) String() string { return [...]string{"polite", "active", "intrusive"}[m] }

// A Group is a chapter of the catalogue.
type Group string

// A Check is what one entry of the catalogue is about. Do not modify.
type Check struct {
	ID    string
	Title string // what is the case when it passes
	// Fault is what is the case when it fails, warns or informs; empty: the title says it.
	Fault    string
	Group    Group
	Severity Severity // of a finding that has none of its own
	Mode     Mode
	Sent     string // what is sent, and why
	Criteria string // how it is judged
	// Advice is the line of configuration or the command that mends it, by product; that
	// of "" is the general one.
	Advice map[fingerprint.Product]string
	Refs   []string
}

// AdviceFor returns the line that mends what the check finds, for a product, or the
// general one.
func (c *Check) AdviceFor(p fingerprint.Product) string {
	if text, ok := c.Advice[p]; ok {
		return text
	}
	return c.Advice[""]
}

// Link returns where a reference of a check can be read, or "".
func Link(ref string) string {
	rest, ok := strings.CutPrefix(ref, "RFC ")
	if ok {
		n, section, _ := strings.Cut(rest, ", section ")
		if section != "" {
			section = "#section-" + section
		}
		return "https://www.rfc-editor.org/rfc/rfc" + n + section
	}
	if strings.HasPrefix(ref, "CVE-") {
		return "https://www.cve.org/CVERecord?id=" + ref
	}
	return ""
}

// MaxShown is how many octets of a packet stand in a report as they came.
const MaxShown = 512

// Evidence is what a finding rests on.
type Evidence struct {
	Sent, Received []byte
	RTT            time.Duration
	N              int    // exchanges
	Command        string // for a shell, which shows the same
}

// A Finding is one result of a check. Names in Detail are escaped.
type Finding struct {
	State      State
	Severity   Severity // 0: the check's
	Key        string   // tells findings of one check apart
	Title      string   // empty: the check's, by the state
	Detail     string
	File       string // of a configuration, where the finding is; empty for what is on the network
	Line       int    // from 1; 0: the file as a whole
	LocalCause bool   // it is unknown for what this machine lacks, which says nothing of the target
	Evidence   Evidence
}

// Place returns where in a file a finding is, or "".
func (f *Finding) Place() string {
	switch {
	case f.File == "":
		return ""
	case f.Line == 0:
		return f.File
	}
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}

// ErrInapplicable says that a check does not apply to its target.
var ErrInapplicable = errors.New("does not apply")

// ErrLocal says that this machine lacks what it takes to find something out: a way, a right, a tool.
var ErrLocal = errors.New("this machine cannot")

// Verdict makes the findings of a check that has one.
func Verdict(s State, ev Evidence, format string, args ...any) []Finding {
	return []Finding{{State: s, Detail: fmt.Sprintf(format, args...), Evidence: ev}}
}

// Unmeasured makes the finding of what could not be measured, which is never a pass, or
// does not apply.
func Unmeasured(ev Evidence, err error) []Finding {
	if errors.Is(err, ErrInapplicable) {
		return Verdict(Skipped, ev, "%v", err)
	}
	list := Verdict(Unknown, ev, "could not be measured: %v", err)
	list[0].LocalCause = errors.Is(err, ErrLocal)
	return list
}

// A Server is one address of a name server.
type Server struct {
	Addr netip.AddrPort
	Name []byte // in wire form; nil if it is not known
}

// A Target is what is looked at: a server, with servers a zone, or a configuration.
type Target struct {
	Text      string // as it was asked for
	Server    Server
	Zone      []byte // in wire form; nil if none is known
	Servers   []Server
	Config    string // the file of a configuration to be audited; empty: none
	FromRange bool   // one of many addresses of a network or a range, where nobody has to be
	Derived   bool   // a zone's server, which was found and not asked for
	Problem   string // why there is nothing to look at; empty if there is
}

// ZoneText returns the target's zone for people, or "".
func (t *Target) ZoneText() string {
	if t.Zone == nil {
		return ""
	}
	return wire.NameText(t.Zone)
}
