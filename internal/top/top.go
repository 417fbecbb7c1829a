// Package top counts who asks most and what for: clients, registered names, names that are blocked, lists,
// servers that are asked, and the kinds of queries and replies. Its memory is fixed, whoever asks whatever.
//
// It is fed from the ring of events. What is recent (the last five to ten seconds) and what is older (the
// last hour or two, as configured) are counted apart: a record counts among the recent ones alone, and these are
// added to the others when their time is over.
package top

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"

	"port53/internal/event"
	"port53/internal/server"
	"port53/internal/wire"
)

// Bounds.
const (
	rows     = 4096 // of clients, names and blocked names
	servers  = 1024
	kinds    = 256             // of types, response codes and so on
	recently = 5 * time.Second // of one part of what is recent, of two
	// DefaultKeep is how long counts are kept at least, unless told.
	DefaultKeep = time.Hour
	// MaxRows is how many rows of a kind are told at most.
	MaxRows = 1000

	prefix4, prefix6 = 24, 56 // what is one client, of those that are not of a private network
	known            = 4096   // names whose registered part is remembered
)

// A dimension is by what is counted.
type dimension int

// The dimensions.
const (
	clients dimension = iota
	names
	blocked
	lists
	upstreams
	rcodes
	types
	paths
	transports
	views
	dimensions
)

// A span is what was counted in a stretch of time.
type span struct {
	begun   time.Time
	queries uint64
	dropped uint64
	asked   uint64 // of servers
	by      [dimensions]*sketch
}

func (s *span) init(seed maphash.Seed) {
	for d := range s.by {
		most := kinds
		switch dimension(d) {
		case clients, names, blocked:
			most = rows
		case upstreams:
			most = servers
		}
		s.by[d] = newSketch(seed, most)
	}
}

func (s *span) clear(now time.Time) {
	s.begun, s.queries, s.dropped, s.asked = now, 0, 0, 0
	for _, b := range s.by {
		b.clear()
	}
}

func (s *span) add(o *span) {
	s.queries, s.dropped, s.asked = s.queries+o.queries, s.dropped+o.dropped, s.asked+o.asked
	for d := range s.by {
		s.by[d].add(o.by[d])
	}
}

// Options are what is told of what was counted.
type Options struct {
	Keep time.Duration           // 0: DefaultKeep
	List func(number int) string // name of a list; nil: its number
	View func(slot uint8) string // name of a view; nil: its number
	Now  func() time.Time        // nil: time.Now
	Lost func() uint64           // records that did not come; nil: none
}

// A Top counts. Its methods are called from many goroutines.
type Top struct {
	o Options

	mu     sync.Mutex
	recent [2]span // now, and before that
	long   [2]span
	lost   uint64 // before it began
	looked int    // records since the clock was looked at
	domains
	key []byte
}

// domains finds what is registered of names.
type domains struct {
	seed   maphash.Seed
	known  [known]registered
	suffix []byte // room
}

// A registered is where in a name the part begins that somebody has registered.
type registered struct {
	hash uint64
	at   uint8
}

// New returns a top that has counted nothing.
func New(o Options) *Top {
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lost == nil {
		o.Lost = func() uint64 { return 0 }
	}
	t := &Top{o: o, domains: domains{seed: maphash.MakeSeed()}, lost: o.Lost()}
	now := o.Now()
	for _, s := range []*span{&t.recent[0], &t.recent[1], &t.long[0], &t.long[1]} {
		s.init(t.seed)
		s.clear(now)
	}
	return t
}

// clockEach is how many records are counted between two looks at the clock.
const clockEach = 256

// Take counts a record.
func (t *Top) Take(r *event.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.looked++; t.looked >= clockEach {
		t.turn()
	}
	s := &t.recent[0]
	if r.Kind == event.Server {
		s.asked++
		t.key = appendAddr(t.key[:0], r.Remote.Addr())
		t.count(s, upstreams, t.key, r)
		return
	}
	s.queries++
	if r.Outcome >= event.Dropped {
		s.dropped++
	}
	t.key = appendClient(t.key[:0], r.Remote.Addr())
	t.count(s, clients, t.key, r)
	t.count(s, paths, []byte{byte(r.Path)}, r)
	t.count(s, transports, []byte{r.Transport}, r)
	if r.View != 0 {
		t.count(s, views, []byte{r.View}, r)
	}
	if r.Outcome < event.Dropped {
		t.count(s, rcodes, []byte{byte(r.Rcode >> 8), byte(r.Rcode)}, r)
	}
	if len(r.Name) == 0 {
		return
	}
	t.count(s, types, []byte{byte(r.Type >> 8), byte(r.Type)}, r)
	t.count(s, names, t.registered(r.Name), r)
	if r.Path == event.Policy {
		t.count(s, blocked, r.Name, r)
		t.count(s, lists, []byte{r.List}, r)
	}
}

func (t *Top) count(s *span, d dimension, key []byte, r *event.Record) {
	row := s.by[d].of(key, 1)
	if r.Path == event.Policy {
		row.blocked++
	}
	if r.Rcode != wire.NoError && r.Rcode != wire.NXDomain && r.Path != event.Policy || r.Outcome >= event.Dropped {
		row.failed++
	}
	if r.Latency >= 0 {
		row.timed++
		row.micros += uint64(r.Latency) / 1000
	}
}

// appendAddr appends an address as a key: four or sixteen octets.
func appendAddr(dst []byte, a netip.Addr) []byte {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return append(dst, b[:]...)
	}
	b := a.As16()
	return append(dst, b[:]...)
}

// appendClient appends what is counted as one client: an address of a private network, or else the network.
func appendClient(dst []byte, a netip.Addr) []byte {
	a = a.Unmap()
	bits := prefix6
	switch {
	case a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast():
		return appendAddr(dst, a)
	case a.Is4():
		bits = prefix4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return appendAddr(dst, a)
	}
	return append(appendAddr(dst, p.Addr()), byte(bits))
}

// registered returns the part of a name that somebody has registered: a label below a public suffix. Of a
// name that is itself one, or is below none, it is all of it.
func (t *domains) registered(name []byte) []byte {
	hash := maphash.Bytes(t.seed, name)
	at := &t.known[hash%known]
	if at.hash != hash {
		at.hash, at.at = hash, t.registeredAt(name)
	}
	if int(at.at) >= len(name) {
		return name
	}
	return name[at.at:]
}

func (t *domains) registeredAt(name []byte) uint8 {
	var starts [wire.MaxName]uint8
	n := 0
	text := t.suffix[:0]
	for i := 0; i < len(name) && name[i] != 0; i += int(name[i]) + 1 {
		starts[n] = uint8(i)
		n++
		for _, c := range name[i+1 : i+1+int(name[i])] {
			if c == '.' || c >= 0x80 {
				c = '-' // no public suffix has such a label
			}
			text = append(text, c)
		}
		text = append(text, '.')
	}
	t.suffix = text
	if n < 2 {
		return 0
	}
	suffix, _ := publicsuffix.PublicSuffix(string(text[:len(text)-1]))
	return starts[max(n-2-strings.Count(suffix, "."), 0)]
}

// turn puts what is not recent any more among the rest, and forgets what is too old. The lock is held.
func (t *Top) turn() {
	t.looked = 0
	now := t.o.Now()
	if now.Sub(t.recent[0].begun) < recently {
		return
	}
	t.long[0].add(&t.recent[0])
	t.recent[0], t.recent[1] = t.recent[1], t.recent[0]
	t.recent[0].clear(now)
	if now.Sub(t.recent[1].begun) > 2*recently { // nothing has come, or nobody has looked
		t.recent[1].clear(now)
	}
	if now.Sub(t.long[0].begun) >= t.o.Keep {
		t.long[0], t.long[1] = t.long[1], t.long[0]
		t.long[0].clear(now)
	}
}

// A Row is what was counted of one client, name, server or kind.
type Row struct {
	Key     string `json:"key"`
	Count   uint64 `json:"count"`
	Error   uint64 `json:"error"`   // how much the count may be too high
	Blocked uint64 `json:"blocked"` // by rules of lists
	Failed  uint64 `json:"failed"`  // refused, failed, or without a reply
	Micros  uint64 `json:"mean_us"` // mean time of those that were timed, in microseconds; 0: none was
}

// A Report is what was counted in a stretch of time, the most frequent first.
//
// In one piece: it is a document with a list for each dimension.
type Report struct {
	Time       time.Time `json:"time"`
	Since      time.Time `json:"since"`   // of what was counted
	Seconds    float64   `json:"seconds"` // from there until now
	Queries    uint64    `json:"queries"`
	Dropped    uint64    `json:"dropped"`  // without a reply
	Upstream   uint64    `json:"upstream"` // questions to other servers
	Lost       uint64    `json:"lost"`     // that could not be counted, since the counting began
	Clients    []Row     `json:"clients"`
	Names      []Row     `json:"names"`   // as registered
	Blocked    []Row     `json:"blocked"` // names
	Lists      []Row     `json:"lists"`
	Upstreams  []Row     `json:"upstreams"`
	Rcodes     []Row     `json:"rcodes"`
	Types      []Row     `json:"types"`
	Paths      []Row     `json:"paths"` // where answers come from
	Transports []Row     `json:"transports"`
	Views      []Row     `json:"views"`
}

// Report returns what was counted recently, or in all, with so many rows of each kind at most.
func (t *Top) Report(recent bool, limit int) *Report {
	limit = min(max(limit, 1), MaxRows)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn()
	parts := []*span{&t.recent[0], &t.recent[1]}
	if !recent {
		parts = []*span{&t.recent[0], &t.long[0], &t.long[1]}
	}
	now := t.o.Now()
	r := &Report{Time: now.UTC(), Since: now, Lost: t.o.Lost() - t.lost}
	for _, p := range parts {
		r.Queries, r.Dropped, r.Upstream = r.Queries+p.queries, r.Dropped+p.dropped, r.Upstream+p.asked
		if p.begun.Before(r.Since) {
			r.Since = p.begun
		}
	}
	r.Seconds = now.Sub(r.Since).Seconds()
	r.Since = r.Since.UTC()
	for d, to := range []*[]Row{
		&r.Clients, &r.Names, &r.Blocked, &r.Lists, &r.Upstreams, &r.Rcodes, &r.Types, &r.Paths,
		&r.Transports, &r.Views,
	} {
		*to = t.most(parts, dimension(d), limit)
	}
	return r
}

// most returns the most frequent of a dimension. The lock is held.
func (t *Top) most(parts []*span, d dimension, limit int) []Row {
	sum := newSketch(t.seed, parts[0].by[d].most)
	for _, p := range parts {
		sum.add(p.by[d])
	}
	list := []Row{}
	for _, i := range slices.Backward(sum.sorted()) {
		if len(list) == limit {
			break
		}
		r := &sum.rows[i]
		out := Row{Key: t.text(d, r.key), Count: r.count, Error: r.over, Blocked: r.blocked, Failed: r.failed}
		if r.timed > 0 {
			out.Micros = r.micros / r.timed
		}
		list = append(list, out)
	}
	return list
}

// text returns a key for people. Octets of a name that are no printable ASCII are escaped (RFC 1035,
// section 5.1): nothing that a client sends reaches a terminal as it is.
func (t *Top) text(d dimension, key []byte) string {
	switch d {
	case clients, upstreams:
		switch len(key) {
		case 4, 16:
			a, _ := netip.AddrFromSlice(key)
			return a.String()
		}
		a, _ := netip.AddrFromSlice(key[:len(key)-1])
		return netip.PrefixFrom(a, int(key[len(key)-1])).String()
	case names, blocked:
		return wire.NameText(key)
	case lists:
		if t.o.List != nil {
			return t.o.List(int(key[0]))
		}
	case rcodes:
		return wire.Rcode(uint16(key[0])<<8 | uint16(key[1])).String()
	case types:
		return wire.Type(uint16(key[0])<<8 | uint16(key[1])).String()
	case paths:
		return event.Path(key[0]).String()
	case transports:
		return server.Transport(key[0]).String()
	case views:
		if t.o.View != nil {
			return t.o.View(key[0])
		}
	}
	return strconv.Itoa(int(key[0]))
}
