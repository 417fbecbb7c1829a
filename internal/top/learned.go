package top

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"

	"port53/internal/wire"
)

// Bounds of what is learned.
const (
	// MaxLearned is the most domains that are kept. A client that makes more look like tunnels displaces
	// those that have been seen least.
	MaxLearned = 1000
	// MaxLearnClients is how many clients of a domain are told apart on one day.
	MaxLearnClients = 32

	learnedPause = time.Hour // between two writes of what is only newer
)

// LearnedLine is the first line of the file of what was learned.
const LearnedLine = "port53 tunnel-domains 1"

// learnedHead explains the file to whoever opens it.
const learnedHead = LearnedLine + `
# Registered domains that looked like tunnels through DNS (policy.tunnel.learn), one on each line.
#   seen      looks like a tunnel, and is reported as one
#   learned   enough clients did the same on enough days: not reported, limited or blocked any more
#   accepted  the same, because you said so
#   rejected  always reported, never learned
# After the domain stands the evidence, which may be left out. Other comments are not kept.
# Edit this file and run port53 reload, or use port53 tunnel accept and port53 tunnel reject.
`

// What a domain is taken for.
const (
	DomainSeen     = "seen"
	DomainLearned  = "learned"
	DomainAccepted = "accepted"
	DomainRejected = "rejected"
)

// ErrLearnedFormat is wrapped if the file of what was learned is of a version that is not known.
var ErrLearnedFormat = errors.New("the format is not known")

// A TunnelDomain is a registered domain that looked like a tunnel.
type TunnelDomain struct {
	Domain  string    `json:"domain"`
	Verdict string    `json:"verdict"` // seen, learned, accepted or rejected
	Days    int       `json:"days"`    // on which enough clients looked like a tunnel
	Clients int       `json:"clients"` // the most of one day, 32 at most
	Octets  uint64    `json:"octets"`  // the most that one client moved in a day
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`          // when it last looked like one or, once it is learned, was asked for
	Day     string    `json:"last_day,omitempty"`     // on which clients were told apart
	Who     []string  `json:"last_clients,omitempty"` // these

	counted string // the last of the days
}

// passes tells whether the domain is none of a tunnel.
func (d *TunnelDomain) passes() bool {
	return d.Verdict == DomainLearned || d.Verdict == DomainAccepted
}

// A LearningReport is what a server tells of what it learns.
type LearningReport struct {
	Began   time.Time      `json:"began,omitzero"`
	Until   time.Time      `json:"until,omitzero"` // nothing is learned later
	Active  bool           `json:"active"`         // something is learned now
	Clients int            `json:"clients"`        // that a domain needs on a day
	Days    int            `json:"days"`           // that it needs
	Error   string         `json:"error,omitempty"`
	Domains []TunnelDomain `json:"domains"`
}

// A LearnRule says what is learned, and for how long.
type LearnRule struct {
	Period  time.Duration
	Clients int // on a day
	Days    int
}

// Learned is which domains look like tunnels but are not, in memory that is bounded. It may be used by many.
type Learned struct {
	told func(*TunnelDomain)

	mu      sync.Mutex
	rule    LearnRule
	began   time.Time // zero: nothing is learned, since what was before cannot be read
	domains map[string]*TunnelDomain
	changed bool      // what is kept has to be written
	newer   bool      // evidence has, some time
	written time.Time // when it last was
	fault   string
}

// NewLearned returns what has learned nothing. told is called with each domain that is learned; it must not
// call the Learned.
func NewLearned(told func(*TunnelDomain)) *Learned {
	return &Learned{told: told, domains: map[string]*TunnelDomain{}}
}

// SetRule says what is learned from now on.
func (l *Learned) SetRule(rule LearnRule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rule = rule
}

// Begin forgets everything, and begins to learn.
func (l *Learned) Begin(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began, l.domains, l.changed = now.UTC().Truncate(time.Second), map[string]*TunnelDomain{}, true
}

// SetFault notes why what is learned is not kept; empty: it is.
func (l *Learned) SetFault(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = text
}

// active tells whether something is learned. The period does not begin again with a start of the server, and a
// clock that is behind does not make it longer. The lock is held.
func (l *Learned) active(now time.Time) bool {
	return !l.began.IsZero() && !now.Before(l.began) && now.Before(l.began.Add(l.rule.Period))
}

// passes tells whether nothing below a registered domain is taken for a tunnel.
func (l *Learned) passes(domain []byte, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.domains[string(domain)]
	if d == nil || !d.passes() {
		return false
	}
	if now > d.Last.UnixNano() {
		d.Last, l.newer = time.Unix(0, now).UTC(), true
	}
	return true
}

// has tells whether a domain passes, of which nothing is asked.
func (l *Learned) has(domain []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.domains[string(domain)]
	return d != nil && d.passes()
}

// saw counts a client that looks like a tunnel to a domain, and tells whether the domain is learned by that. One
// client is not enough, however often its address changes: a day counts on which several clients do the same.
func (l *Learned) saw(domain []byte, client string, octets uint64, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.active(at) {
		return false
	}
	at = at.UTC()
	d := l.domains[string(domain)]
	if d == nil {
		if !l.makeRoom() {
			return false
		}
		d = &TunnelDomain{Domain: wire.NameText(domain), Verdict: DomainSeen, First: at}
		l.domains[string(domain)], l.changed = d, true
	}
	d.Last, d.Octets, l.newer = at, max(d.Octets, octets), true
	day := at.Format(time.DateOnly)
	if day > d.Day {
		d.Day, d.Who = day, nil
	}
	if day == d.Day && len(d.Who) < MaxLearnClients && !slices.Contains(d.Who, client) {
		d.Who, l.changed = append(d.Who, client), true
		d.Clients = max(d.Clients, len(d.Who))
	}
	if len(d.Who) >= l.rule.Clients && d.Day > d.counted {
		d.Days, d.counted, l.changed = d.Days+1, d.Day, true
	}
	if d.Verdict != DomainSeen || d.Days < l.rule.Days {
		return false
	}
	d.Verdict, l.changed = DomainLearned, true
	if l.told != nil {
		told := *d
		told.Who = slices.Clone(d.Who)
		l.told(&told)
	}
	return true
}

// makeRoom has room for one more domain: of those that were only seen, the one with the fewest days goes, and
// of these the one that was seen the longest ago. The lock is held.
func (l *Learned) makeRoom() bool {
	if len(l.domains) < MaxLearned {
		return true
	}
	least, name := (*TunnelDomain)(nil), ""
	for key, d := range l.domains {
		if d.Verdict == DomainSeen && (least == nil || d.Days < least.Days || d.Days == least.Days && d.Last.Before(least.Last)) {
			least, name = d, key
		}
	}
	if least == nil {
		return false
	}
	delete(l.domains, name)
	return true
}

// registeredName returns a registered domain in wire form and lower case, or why a text is none.
func registeredName(d *domains, text string) ([]byte, error) {
	name, err := wire.ParseName(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a domain name: %w", wire.Printable(text), err)
	}
	name = wire.Lower(nil, name)
	plain := strings.TrimSuffix(wire.NameText(name), ".")
	if suffix, _ := publicsuffix.PublicSuffix(plain); len(name) < 2 || suffix == plain {
		return nil, fmt.Errorf("%s is a public suffix, below which others register domains: name one of these", wire.NameText(name))
	}
	if at := d.registeredAt(name); at > 0 {
		return nil, fmt.Errorf("%s is below a registered domain: name %s, or list it in policy.tunnel.exempt",
			plain, strings.TrimSuffix(wire.NameText(name[at:]), "."))
	}
	return name, nil
}

// Judge accepts or rejects a registered domain, and returns what is known of it.
func (l *Learned) Judge(text string, accept bool, now time.Time) (TunnelDomain, error) {
	name, err := registeredName(&domains{}, text)
	if err != nil {
		return TunnelDomain{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.domains[string(name)]
	if d == nil {
		if !l.makeRoom() {
			return TunnelDomain{}, fmt.Errorf("%d domains are listed already: remove some from the file", MaxLearned)
		}
		d = &TunnelDomain{Domain: wire.NameText(name), First: now.UTC()}
		l.domains[string(name)] = d
	}
	if d.Verdict = DomainRejected; accept {
		d.Verdict = DomainAccepted
	}
	l.changed = true
	return *d, nil
}

// Report tells of all domains: first those that pass, in the order of their names.
func (l *Learned) Report(now time.Time) *LearningReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report(now)
}

func (l *Learned) report(now time.Time) *LearningReport {
	r := &LearningReport{
		Began: l.began, Active: l.active(now), Clients: l.rule.Clients, Days: l.rule.Days,
		Error: l.fault, Domains: make([]TunnelDomain, 0, len(l.domains)),
	}
	if !l.began.IsZero() {
		r.Until = l.began.Add(l.rule.Period)
	}
	for _, d := range l.domains {
		one := *d
		one.Who = slices.Clone(d.Who)
		r.Domains = append(r.Domains, one)
	}
	order := learnedOrder()
	slices.SortFunc(r.Domains, func(a, b TunnelDomain) int {
		if d := slices.Index(order, a.Verdict) - slices.Index(order, b.Verdict); d != 0 {
			return d
		}
		return strings.Compare(a.Domain, b.Domain)
	})
	return r
}

// learnedOrder is the order of verdicts.
func learnedOrder() []string {
	return []string{DomainLearned, DomainAccepted, DomainRejected, DomainSeen}
}

// Count returns how many domains have a verdict, and whether something is learned.
func (l *Learned) Count(now time.Time) (by map[string]int, active bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	by = map[string]int{}
	for _, d := range l.domains {
		by[d.Verdict]++
	}
	return by, l.active(now)
}

// Due tells whether the file has to be written: at once for what has changed, and now and then for evidence.
func (l *Learned) Due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed || l.newer && now.Sub(l.written) >= learnedPause
}

// Unsaved tells whether anything is not in the file.
func (l *Learned) Unsaved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed || l.newer
}

// Text returns the file, which is taken to be written unless Failed is called.
func (l *Learned) Text(now time.Time) []byte {
	l.mu.Lock()
	r := l.report(now)
	l.changed, l.newer, l.written = false, false, now
	l.mu.Unlock()
	b := bytes.NewBufferString(learnedHead)
	fmt.Fprintf(b, "began %s\n", r.Began.Format(time.RFC3339))
	for i := range r.Domains {
		d := &r.Domains[i]
		fmt.Fprintf(b, "%-8s %s days=%d clients=%d octets=%d", d.Verdict, d.Domain, d.Days, d.Clients, d.Octets)
		for _, t := range []struct {
			key string
			at  time.Time
		}{{"first", d.First}, {"last", d.Last}} {
			if !t.at.IsZero() {
				fmt.Fprintf(b, " %s=%s", t.key, t.at.Format(time.RFC3339))
			}
		}
		for _, t := range []struct{ key, value string }{
			{"counted", d.counted}, {"day", d.Day}, {"from", strings.Join(d.Who, ",")},
		} {
			if t.value != "" {
				fmt.Fprintf(b, " %s=%s", t.key, t.value)
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Failed takes back that the file was written.
func (l *Learned) Failed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
}

// Read takes what a file has in place of everything before, or fails and changes nothing.
func (l *Learned) Read(text []byte, now time.Time) error {
	began, all, err := parseLearned(text)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.domains, l.changed, l.newer = all, false, false
	if l.began = began; began.IsZero() {
		l.began, l.changed = now.UTC().Truncate(time.Second), true
	}
	return nil
}

// CountLearned returns how many domains a file has, and how many of these pass. The error may be
// ErrLearnedFormat.
func CountLearned(text []byte) (all, pass int, err error) {
	_, list, err := parseLearned(text)
	for _, d := range list {
		if d.passes() {
			pass++
		}
	}
	return len(list), pass, err
}

// parseLearned reads the file. Its last line has to end: a domain that is cut off is another one.
func parseLearned(text []byte) (began time.Time, all map[string]*TunnelDomain, err error) {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if string(first) != LearnedLine {
		if bytes.HasPrefix(first, []byte("port53 tunnel-domains ")) {
			return began, nil, fmt.Errorf("%w: its first line is %q, and this version reads %q",
				ErrLearnedFormat, wire.Printable(string(first)), LearnedLine)
		}
		return began, nil, fmt.Errorf("its first line is not %q", LearnedLine)
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		return began, nil, errors.New("its last line does not end: it may have been cut off")
	}
	all = map[string]*TunnelDomain{}
	var room domains
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		fields := strings.Fields(line)
		switch {
		case n == 1, len(fields) == 0, fields[0][0] == '#':
			continue
		case fields[0] == "began" && len(fields) == 2:
			began, err = time.Parse(time.RFC3339, fields[1])
		case len(all) == MaxLearned:
			err = fmt.Errorf("more than %d domains", MaxLearned)
		default:
			var d *TunnelDomain
			var name []byte
			if d, name, err = parseDomain(&room, fields); err == nil && all[string(name)] != nil {
				err = fmt.Errorf("%s is listed twice", d.Domain)
			}
			all[string(name)] = d
		}
		if err != nil {
			return began, nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return began.UTC(), all, nil
}

// parseDomain reads a line of the file.
func parseDomain(room *domains, fields []string) (*TunnelDomain, []byte, error) {
	if !slices.Contains(learnedOrder(), fields[0]) || len(fields) < 2 {
		return nil, nil, errors.New("expected seen, learned, accepted or rejected, and a registered domain")
	}
	name, err := registeredName(room, fields[1])
	if err != nil {
		return nil, nil, err
	}
	d := &TunnelDomain{Verdict: fields[0], Domain: wire.NameText(name)}
	for _, f := range fields[2:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "days":
			d.Days, err = strconv.Atoi(value)
		case "clients":
			d.Clients, err = strconv.Atoi(value)
		case "octets":
			d.Octets, err = strconv.ParseUint(value, 10, 64)
		case "first":
			d.First, err = time.Parse(time.RFC3339, value)
		case "last":
			d.Last, err = time.Parse(time.RFC3339, value)
		case "counted":
			_, err = time.Parse(time.DateOnly, value)
			d.counted = value
		case "day":
			_, err = time.Parse(time.DateOnly, value)
			d.Day = value
		case "from":
			d.Who = strings.Split(value, ",")
		default:
			return nil, nil, fmt.Errorf("%q is not known", wire.Printable(key))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	d.First, d.Last, d.Who = d.First.UTC(), d.Last.UTC(), d.Who[:min(len(d.Who), MaxLearnClients)]
	return d, name, nil
}
