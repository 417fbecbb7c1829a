package zones

import (
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A managed zone is all that the manager knows of one zone. mu guards it; what others read
// without waiting lies behind atomic pointers.
type managed struct {
	key    string // the name, in wire form and lower case
	polled bool   // the origin is

	mu sync.Mutex // held while the version is replaced and its files are written
	terms
	gone   bool // the manager has it no more, and nothing is written for it
	served *zone.Served
	version
	signing
	outcome
	kept
	freshness

	glimpses
	updates queue // of messages that wait
	timing
}

// glimpses are what is known of a zone without taking mu.
type glimpses struct {
	busy  atomic.Pointer[Status] // how it was when hold took mu; nil while nobody holds it
	past  atomic.Pointer[past]   // of the version that is served
	plain atomic.Pointer[past]   // before it is signed here, with changes of notes alone
}

// timing is what of a zone is due at some time. The scheduler guards it.
type timing struct {
	refresh refresh
	expiry  task
	resign  task
	keeping task
	asks    atomic.Pointer[primaries] // that a refresh asks; nil: something else
}

// terms are how a zone is configured.
type terms struct {
	source *Source
	origin Origin
	access *policy.Access
}

// A version is what is served of a zone, and how it came about.
type version struct {
	zone    *zone.Zone // nil: there is none; it stays when the zone expires
	history history
	changes history // of the version before it is signed here
	loaded  time.Time
}

// An outcome is what the last attempt to get a version gave.
type outcome struct {
	basis    Basis
	problems []Problem
	failed   bool // it gave no version
	tried    time.Time
}

// kept is what the store and the zone file have of a zone.
type kept struct {
	restored bool   // the store was read, if it may have anything
	again    bool   // what the store has is another's that had the name before
	stored   bool   // the store has the version, or had one before it
	pending  bool   // the version is served, and is to be written down
	unkept   string // why the store does not have the version of a polled origin; empty: it has
	frozen   bool   // updates are refused for now
	synced   uint32 // serial of the version that the zone file has, if
	inFile   bool   // that is known
	unused   bool   // the zone file has an edit whose serial is not newer
}

// freshness is for how long a zone of a polled origin may be served.
type freshness struct {
	checked time.Time     // when the origin last said that the version is the newest
	expire  time.Duration // for how long from then on it may be served
	expired bool
	trouble string // of the last refresh
}

// A past is a version with the differences that led to it.
type past struct {
	zone   *zone.Zone
	deltas []*zone.Delta // the oldest first; not modified
}

func newManaged(key string, s *Source, o Origin) *managed {
	z := &managed{key: key, terms: terms{s, o, s.access()}, polled: o.Traits().Polled, served: zone.NewServed(nil)}
	z.refresh.zone, z.refresh.owner, z.refresh.with = z, &z.refresh, z.servers
	z.expiry.owner, z.resign.owner, z.keeping.owner = z, z, z
	z.ask(o)
	return z
}

// ask makes an origin the one whose servers are asked.
func (z *managed) ask(o Origin) {
	p, _ := o.(*primaries)
	z.asks.Store(p)
}

// servers returns the servers that the next refresh may ask, the first of them first. The
// scheduler's lock is held.
func (z *managed) servers() []netip.AddrPort {
	if p := z.asks.Load(); p != nil {
		return p.order(z.refresh.from)
	}
	return nil
}

// apex returns the zone's name in lower case.
func (z *managed) apex() []byte { return store.Apex([]byte(z.key)) }

// name returns the zone's name as logs have it, with the view that tells it from others of the name.
func (z *managed) name() string { return nameOf(z.key) }

func nameOf(key string) string {
	apex := store.Apex([]byte(key))
	text := string(wire.AppendName(nil, apex))
	if of := key[len(apex):]; of != "" {
		text += " (view " + of + ")"
	}
	return text
}

// overwrites reports whether a newer file takes back what updates made of the version with
// the serial.
func (z *managed) overwrites(serial uint32) bool { return !z.inFile || z.synced != serial }

// install makes a candidate the version that is served, as far as the manager knows it.
// z.mu is held, and nothing can fail any more.
func (z *managed) install(c *Candidate) {
	z.history = z.followed(c)
	z.zone, z.loaded, z.expired = c.Zone, time.Now(), false
	if z.changes.whole = true; c.Deltas == nil {
		z.changes.deltas, z.changes.bytes = nil, 0
	}
	if c.signed == nil {
		z.changes.add(c.Zone, c.past...)
	}
	z.changes.add(c.Zone, c.Deltas...)
	z.plain.Store(&past{c.Zone, z.changes.deltas})
	z.past.Store(&past{c.shown(), z.history.deltas})
}

// followed returns the history of a version that is to be served.
func (z *managed) followed(c *Candidate) history {
	h, deltas := z.history, c.Deltas
	if c.signed != nil {
		deltas = c.signed.Deltas
	}
	if deltas == nil && c.shown() != z.signed {
		h = history{}
	}
	h.add(c.shown(), c.past...)
	h.add(c.shown(), deltas...)
	return h
}

// conclude remembers what an attempt gave. z.mu is held.
func (z *managed) conclude(c *Candidate) {
	z.unused = c.unused
	z.outcome = outcome{basis: c.Basis, problems: c.Problems, failed: c.Zone == nil, tried: time.Now()}
}

// A history is the differences that led to a version, the oldest first: at most as many
// bytes as the version has, or a few for a small one. BIND's journal is twice as large as
// the zone, Knot's 20 MiB.
type history struct {
	deltas []*zone.Delta
	bytes  int
	whole  bool // with those that change notes alone, which nobody follows
}

// minHistory is the bytes that are kept of however small a zone.
const minHistory = 64 << 10

// add adds differences that lead to version.
func (h *history) add(version *zone.Zone, deltas ...*zone.Delta) {
	for _, d := range deltas {
		if d.From == d.To && !h.whole {
			continue
		}
		if n := len(h.deltas); n > 0 && h.deltas[n-1].To != d.From {
			*h = history{whole: h.whole}
		}
		h.deltas = append(h.deltas, d)
		h.bytes += octetsOf(d)
	}
	from := 0
	for limit := max(version.Size(), minHistory); h.bytes > limit && from < len(h.deltas); from++ {
		h.bytes -= octetsOf(h.deltas[from])
	}
	// Others may read the differences that they were given: none of them is overwritten.
	h.deltas = h.deltas[from:]
}

// octetsOf returns how much a difference takes.
func octetsOf(d *zone.Delta) int {
	n := len(d.Removed) + len(d.Added)
	for _, note := range d.Notes {
		n += len(note.Key) + len(note.Was) + len(note.Value)
	}
	return n
}

// since returns the differences from a serial on, or nil.
func (p *past) since(serial uint32) []*zone.Delta {
	for i, d := range p.deltas {
		if d.From == serial {
			return slices.Clip(p.deltas[i:])
		}
	}
	return nil
}

// A Status is what is known of one zone.
//
// In one piece: it is the form of the JSON.
type Status struct {
	Name        string    `json:"zone"`
	View        string    `json:"view,omitempty"`  // that tells it from others of its name
	Views       []string  `json:"views,omitempty"` // that see it, where there are views
	File        string    `json:"file"`
	Serving     bool      `json:"serving"`
	Failed      bool      `json:"failed"` // the last attempt to load it
	Serial      uint32    `json:"serial"`
	Names       int       `json:"names"`
	Records     int       `json:"records"`
	Octets      int       `json:"octets"` // in memory
	Signed      bool      `json:"signed"`
	Loaded      time.Time `json:"loaded,omitzero"`
	LastAttempt time.Time `json:"tried,omitzero"`
	Problems    []Problem `json:"problems,omitempty"`

	Role        string           `json:"role"` // primary or secondary
	Primaries   []netip.AddrPort `json:"primaries,omitempty"`
	Secondaries []netip.AddrPort `json:"secondaries,omitempty"`
	History     int              `json:"history"` // differences at hand for IXFR
	Checked     time.Time        `json:"checked,omitzero"`
	Next        time.Time        `json:"next_refresh,omitzero"`
	Expires     time.Time        `json:"expires,omitzero"`
	Expired     bool             `json:"expired,omitempty"`
	Frozen      bool             `json:"frozen,omitempty"`
	Catalog     string           `json:"catalog,omitempty"` // that named the zone
	Place       string           `json:"configured_at,omitempty"`
	Added       bool             `json:"added,omitempty"` // by port53 zone add
	LastError   string           `json:"last_error,omitempty"`
	NotStored   string           `json:"not_kept,omitempty"` // why a secondary's version is in memory alone
	Signing     *SignStatus      `json:"signing,omitempty"`  // of a zone that is signed here
}

// hold takes z.mu for work that may wait for a disk. Meanwhile [Manager.Status] tells how
// the zone was before.
func (z *managed) hold() {
	z.mu.Lock()
	s := z.describe()
	z.busy.Store(&s)
}

func (z *managed) release() {
	z.busy.Store(nil)
	z.mu.Unlock()
}

// tell returns how the zone is, without waiting for the work that holds it.
func (z *managed) tell() Status {
	for !z.mu.TryLock() {
		if s := z.busy.Load(); s != nil {
			return *s
		}
		runtime.Gosched() // it is being taken or given back
	}
	defer z.mu.Unlock()
	return z.describe()
}

// describe returns how the zone is. z.mu is held.
func (z *managed) describe() Status {
	s := Status{
		Name:        z.source.name(),
		View:        z.source.Qualifier,
		Views:       z.source.Views,
		File:        z.source.File,
		Failed:      z.failed,
		Loaded:      z.loaded,
		LastAttempt: z.tried,
		Problems:    z.problems,
		Role:        "primary",
		Place:       z.source.Place,
		Added:       z.source.Added,
		Secondaries: z.source.followers(),
		History:     len(z.history.deltas),
		Frozen:      z.frozen,
	}
	if z.polled {
		s.Role, s.Primaries, s.Checked, s.Expired, s.LastError = "secondary", z.source.Primaries, z.checked, z.expired, z.trouble
		s.NotStored = z.unkept
		if z.zone != nil {
			s.Expires = z.checked.Add(z.expire)
		}
	}
	if z.source.Member != "" {
		s.Catalog = string(wire.AppendName(nil, z.source.Catalog))
	}
	if v := z.shown(); v != nil {
		s.Serving, s.Serial, s.Names, s.Records = true, v.Serial(), v.Names(), v.Records()
		s.Octets, s.Signed = v.Size(), v.Signed()
	}
	s.Signing = z.signStatus()
	return s
}
