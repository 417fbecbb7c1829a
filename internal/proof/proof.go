// Package proof asks a running server what its contract says, from where it says it: this machine, and a
// stranger in a network namespace of its own with foreign addresses. Each [Line] is what was expected and
// what was seen.
//
// It knows no configuration: a [Server] is what the one that it proves should be like. It changes nothing
// but for the stranger's cable, which is gone when it ends; its updates change nothing whoever takes them,
// since what they require is never so.
package proof

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/firewall"
	"port53/internal/fwrun"
)

// A State is what became of a line.
type State string

// The states.
const (
	Holds    State = "holds"
	Violated State = "violated"
	Unknown  State = "unknown"
)

// A Line is one of the contract, as it was proved.
type Line struct {
	// Kind is what the line allows or forbids: ask, recurse, transfer, update, notify, amplify,
	// version, control, scrape, closed, files, firewall or owner.
	Kind     string `json:"may"`
	From     string `json:"from,omitempty"` // who tried
	At       string `json:"at,omitempty"`   // the address and the transport, or the file
	Zone     string `json:"zone,omitempty"`
	Expected string `json:"expected"`
	Seen     string `json:"seen"`
	State    State  `json:"state"`
	Remedy   string `json:"remedy,omitempty"`
}

// String returns the line as it is printed.
func (l *Line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %-8s", l.State, l.Kind)
	for _, part := range []struct{ word, text string }{{"at", l.At}, {"zone", l.Zone}, {"from", l.From}} {
		if part.text != "" {
			b.WriteString(" " + part.word + " " + part.text)
		}
	}
	fmt.Fprintf(&b, ": expected %s, seen %s", l.Expected, l.Seen)
	if l.Remedy != "" && l.State == Violated {
		b.WriteString("; " + l.Remedy)
	}
	return b.String()
}

// A Zone is one that is served.
type Zone struct {
	Name     []byte
	MayQuery func(a netip.Addr) bool
	Transfer func(a netip.Addr) bool // without a signature
	Notify   func(a netip.Addr) bool // without a signature
}

// A HTTPListener is a listener over HTTP.
type HTTPListener struct {
	Kind   string // control or scrape
	Addr   netip.AddrPort
	Allows func(a netip.Addr) bool
	Remedy string // how it is closed
}

// A File is one that others must not read, or not write.
type File struct {
	Path, What string
	Secret     bool // nobody else reads it
}

// A Server is what the one that runs should be like.
//
// In one piece: it has a field for each part of the contract.
type Server struct {
	NotRunning    bool             // there is none: port 53 is closed
	Listen        []netip.AddrPort // in the clear
	DoT           []netip.AddrPort
	DoH           []netip.AddrPort
	HTTPListeners []HTTPListener
	PID           int // 0: not known

	MayQuery, MayRecurse func(a netip.Addr) bool
	Recurses             bool
	Zones                []Zone
	Version              string // empty: hidden
	UDPSize              int
	Burst, Rate          int // of the limit of replies; 0: there is none

	Socket string // of control
	Files  []File

	Rules *firewall.Rules // that are to be loaded; nil: none
	Plan  *firewall.Plan
	State string // the directory of the firewall's state
}

// Options are where to prove from.
type Options struct {
	Timeout  time.Duration // for an answer; 0: one second
	Stranger func(context.Context) (*fwrun.Stranger, error)
}

// fill sets what is left open.
func (o *Options) fill() {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.Stranger == nil {
		o.Stranger = fwrun.NewStranger
	}
}

// workers is how many questions are under way at the same time.
const workers = 12

// A job is a line that has yet to be proved.
type job struct {
	Line
	prove func(l *Line)
}

// A run is one proof.
type run struct {
	*Server
	timeout time.Duration
	jobs    []job
	late    []job // one after the other, when all others are done
}

// Prove proves all of a server. What cannot be done is unknown, and said once.
func Prove(ctx context.Context, s *Server, o Options) []Line {
	o.fill()
	r := &run{Server: s, timeout: o.Timeout}
	targets, err := targetsOf(s)
	if err != nil {
		r.unknown("closed", "the addresses of this machine", err.Error())
	}
	if !s.NotRunning {
		r.loopback(ctx)
	}
	stranger, err := o.Stranger(ctx)
	if err != nil {
		r.unknown("ask", "what a stranger sees", err.Error()+"; root proves it")
	} else {
		defer stranger.Close()
		r.foreign(ctx, stranger, targets)
	}
	r.files()
	r.owners()
	r.firewall(ctx)
	return r.work()
}

// ProveClosed proves that no stranger reaches ports at any address of this machine, whoever has them.
func ProveClosed(ctx context.Context, ports []firewall.Port, o Options) []Line {
	o.fill()
	r := &run{Server: &Server{NotRunning: true}, timeout: o.Timeout}
	targets, err := targetsOf(r.Server)
	if err != nil {
		r.unknown("closed", "the addresses of this machine", err.Error())
	}
	stranger, err := o.Stranger(ctx)
	if err != nil {
		r.unknown("closed", "what a stranger reaches", err.Error())
		return r.work()
	}
	defer stranger.Close()
	if stranger.NoSix != "" {
		r.unknown("closed", "what a stranger reaches over IPv6", stranger.NoSix)
	}
	r.eachTarget(stranger, targets, func(v *vantage, a netip.Addr) {
		for _, p := range ports {
			r.mustBeClosed(v, netip.AddrPortFrom(a, p.Number), p.Proto)
		}
	})
	return r.work()
}

// unknown notes what cannot be proved.
func (r *run) unknown(may, what, why string) {
	r.jobs = append(r.jobs, job{Line: Line{Kind: may, Expected: what, Seen: why, State: Unknown}})
}

// add notes a line that has yet to be proved.
func (r *run) add(l Line, prove func(l *Line)) { r.jobs = append(r.jobs, job{l, prove}) }

// work proves all lines, and returns those that are violated first.
func (r *run) work() []Line {
	next := make(chan *job)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for j := range next {
				j.prove(&j.Line)
			}
		})
	}
	for i := range r.jobs {
		if r.jobs[i].prove != nil {
			next <- &r.jobs[i]
		}
	}
	close(next)
	wg.Wait()
	for i := range r.late {
		r.late[i].prove(&r.late[i].Line)
	}
	lines := make([]Line, 0, len(r.jobs)+len(r.late))
	for _, j := range slices.Concat(r.jobs, r.late) {
		if j.State == "" {
			continue // it was not about anything that is there
		}
		lines = append(lines, j.Line)
	}
	rank := map[State]int{Violated: 0, Unknown: 1, Holds: 2}
	slices.SortStableFunc(lines, func(a, b Line) int { return rank[a.State] - rank[b.State] })
	return lines
}

// Violations returns the lines that are violated.
func Violations(lines []Line) (list []Line) {
	for _, l := range lines {
		if l.State == Violated {
			list = append(list, l)
		}
	}
	return list
}

// judge sets what was seen, and whether that holds.
func (l *Line) judge(holds bool, seen string) {
	l.Seen, l.State = seen, Holds
	if !holds {
		l.State = Violated
	}
}
