package top

import (
	_ "embed" // for the names that are exempt
	"hash/maphash"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/event"
	"port53/internal/wire"
)

// Bounds and thresholds of tunnels. A client and a registered domain are a pair. A pair is taken for a tunnel
// when what it moves in names, or in answers, is more than it may be, and what it asks looks like data: most
// domains ask for few names, over and over, and these few are answered from the cache, so that they do not come here.
const (
	tunnelPairs  = 4096
	tunnelNames  = 8192 // bits of the names that were seen of a pair
	tunnelShown  = 3    // samples of names
	tunnelMinute = 4 << 10
	tunnelAnswer = 32 << 10 // octets of answers in a minute
	tunnelDaily  = 64 << 10 // octets in names in a day
	tunnelUnique = 30       // names before their form says something
	tunnelHold   = time.Hour
	tunnelLimit  = time.Second // between two answers of a pair that is limited

	minute = int64(time.Minute)
	day    = int64(24 * time.Hour)
)

// What is done about tunnels.
const (
	TunnelOff   = "off"
	TunnelWatch = "watch" // they are told of
	TunnelLimit = "limit" // and a client has one answer a second from the domain
	TunnelBlock = "block" // and none
)

//go:embed exempt.txt
var exemptText string

// A shape is what names look like, over some time.
type shape struct {
	began   int64
	queries uint32 // all
	unique  uint32 // names that were new
	octets  uint32 // these had below the registered domain
	answers uint32 // octets of the answers to these
	carried uint32 // of the unique: of types whose answers carry much
	letters [38]uint16
}

// A pair is a client and a registered domain.
type pair struct {
	hash    uint64
	seen    [tunnelNames / 64]uint64
	bits    int
	short   shape // of a minute
	long    shape // of a day
	samples [tunnelShown][]byte
}

// A Tunnel is a pair that is taken for one, and why.
type Tunnel struct {
	Client  string    `json:"client"`
	Domain  string    `json:"domain"`
	First   time.Time `json:"first"`             // when it was first taken for one
	Last    time.Time `json:"last"`              // when last
	Names   uint32    `json:"names"`             // that were new, in a day
	Octets  uint32    `json:"octets_in_names"`   // below the registered domain, in a day
	Answers uint32    `json:"octets_in_answers"` // to these
	Mean    float64   `json:"mean_octets"`       // of a name
	Entropy float64   `json:"entropy_bits"`      // of a character
	Carried float64   `json:"carrying_types"`    // share of TXT, NULL, CNAME, MX and the like
	Why     []string  `json:"why"`               // what agrees
	Samples []string  `json:"samples"`           // of names

	last int64
}

// A TunnelReport is what a server tells of tunnels.
type TunnelReport struct {
	Action   string          `json:"action"` // off: nobody watches
	Tunnels  []Tunnel        `json:"tunnels"`
	Learning *LearningReport `json:"learning,omitempty"` // missing: nothing is learned
}

// A stopped is a pair whose questions are refused, or limited.
type stopped struct{ next atomic.Int64 } // when the next question is answered, in nanoseconds since 1970

// Tunnels watches for tunnels in memory that is fixed. Take is for one goroutine at a time, the others for many.
type Tunnels struct {
	o TunnelOptions

	mu      sync.Mutex
	domains domains
	rank    *sketch
	pairs   []pair
	exempt  map[string]bool
	flagged map[string]*Tunnel // by key
	total   uint64
	swept   int64
	key     []byte

	stops   atomic.Pointer[map[string]*stopped] // nil: nobody is stopped
	refused atomic.Uint64
}

// TunnelOptions say what is done.
type TunnelOptions struct {
	Action  string        // TunnelWatch, TunnelLimit or TunnelBlock
	Exempt  [][]byte      // names in wire form and lower case, below which nothing is a tunnel; a star before means the same
	Found   func(*Tunnel) // is told of each; nil: nobody is. It must not call the Tunnels.
	Learned *Learned      // which domains are none; nil: nothing is learned
}

// NewTunnels returns a watch that has seen nothing.
func NewTunnels(o TunnelOptions) *Tunnels {
	seed := maphash.MakeSeed()
	t := &Tunnels{
		o: o, domains: domains{seed: seed}, rank: newSketch(seed, tunnelPairs), pairs: make([]pair, tunnelPairs),
		exempt: map[string]bool{}, flagged: map[string]*Tunnel{},
	}
	for line := range strings.Lines(exemptText) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			if name, err := wire.ParseName(line); err == nil {
				t.exempt[string(name)] = true
			}
		}
	}
	for _, name := range o.Exempt {
		if len(name) > 2 && name[0] == 1 && name[1] == '*' {
			name = name[2:]
		}
		t.exempt[string(wire.Lower(nil, name))] = true
	}
	return t
}

// tunnelKey appends what stands for a client and a registered domain: an address, or its /64 for IPv6.
func tunnelKey(dst []byte, client netip.Addr, domain []byte) []byte {
	if client = client.Unmap(); client.Is6() {
		b := client.As16()
		dst = append(append(dst, 64), b[:8]...)
	} else {
		b := client.As4()
		dst = append(append(dst, 32), b[:]...)
	}
	return append(dst, domain...)
}

// clientOf returns the client and the domain of a key.
func clientOf(key []byte) (client string, domain []byte) {
	if key[0] == 32 {
		return netip.AddrFrom4([4]byte(key[1:])).String(), key[5:]
	}
	var b [16]byte
	copy(b[:], key[1:9])
	return netip.PrefixFrom(netip.AddrFrom16(b), 64).String(), key[9:]
}

// isExempt tells whether a name or one above it is exempt.
func (t *Tunnels) isExempt(name []byte) bool {
	for len(name) > 1 {
		if t.exempt[string(name)] {
			return true
		}
		name = name[1+int(name[0]):]
	}
	return false
}

// Take looks at the reply to a query that other servers were asked for.
func (t *Tunnels) Take(r *event.Record) {
	if r.Kind != event.Client || r.Path != event.Miss || len(r.Name) < 2 || !r.Remote.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	domain := t.domains.registered(r.Name)
	below := r.Name[:len(r.Name)-len(domain)]
	if len(below) == 0 || t.isExempt(r.Name) || t.o.Learned != nil && t.o.Learned.passes(domain, r.Time) {
		return
	}
	t.key = tunnelKey(t.key[:0], r.Remote.Addr(), domain)
	row := t.rank.of(t.key, uint64(len(below)))
	i := t.rank.heap[row.at]
	p := &t.pairs[i]
	if p.hash != row.hash || p.long.began == 0 || r.Time-p.long.began > day {
		*p = pair{hash: row.hash, samples: p.samples, long: shape{began: r.Time}}
	}
	if r.Time-p.short.began > minute {
		p.short = shape{began: r.Time}
	}
	isNew := p.isNew(maphash.Bytes(t.domains.seed, below))
	p.short.add(r, below, isNew)
	p.long.add(r, below, isNew)
	if isNew {
		at := (p.long.unique - 1) % tunnelShown
		p.samples[at] = append(p.samples[at][:0], r.Name...)
		if why := p.suspect(); why != nil {
			t.found(p, why, r.Time)
			t.learn(p, domain, r)
		}
	}
	t.sweep(r.Time)
}

// isNew tells whether a name of a pair was not seen before. Once half of the bits are set, it begins anew.
func (p *pair) isNew(hash uint64) bool {
	bit := hash % tunnelNames
	if p.seen[bit/64]&(1<<(bit%64)) != 0 {
		return false
	}
	if p.bits++; p.bits > tunnelNames/2 {
		p.seen, p.bits = [tunnelNames / 64]uint64{}, 1
	}
	p.seen[bit/64] |= 1 << (bit % 64)
	return true
}

func (s *shape) add(r *event.Record, below []byte, isNew bool) {
	s.queries++
	if !isNew {
		return
	}
	s.unique++
	s.octets += uint32(payload(below))
	s.answers += r.Reply
	switch r.Type {
	case wire.TypeTXT, wire.TypeNULL, wire.TypeCNAME, wire.TypeMX, wire.TypeSRV, wire.TypeKEY:
		s.carried++
	default:
		if r.Type >= 65280 && r.Type <= 65534 { // of private use
			s.carried++
		}
	}
	for i := 0; i < len(below); i += int(below[i]) + 1 {
		for _, c := range below[i+1 : i+1+int(below[i])] {
			at := 37
			switch {
			case c >= 'a' && c <= 'z':
				at = int(c - 'a')
			case c >= 'A' && c <= 'Z':
				at = int(c - 'A')
			case c >= '0' && c <= '9':
				at = 26 + int(c-'0')
			case c == '-':
				at = 36
			}
			if s.letters[at] == math.MaxUint16 {
				for j := range s.letters {
					s.letters[j] /= 2
				}
			}
			s.letters[at]++
		}
	}
}

// payload returns how many octets the labels of a name can carry. A number of an address that is turned round
// carries one octet, or half of one, whatever its length.
func payload(below []byte) (n int) {
	for i := 0; i < len(below); i += int(below[i]) + 1 {
		label := below[i+1 : i+1+int(below[i])]
		if len(label) <= 3 && !slices.ContainsFunc(label, func(c byte) bool { return c < '0' || c > '9' }) {
			n++
			continue
		}
		n += len(label)
	}
	return n
}

// entropy returns the bits of a character.
func (s *shape) entropy() (bits float64) {
	all := 0.0
	for _, n := range s.letters {
		all += float64(n)
	}
	for _, n := range s.letters {
		if n > 0 {
			bits -= float64(n) / all * math.Log2(float64(n)/all)
		}
	}
	return bits
}

// suspect returns what agrees that a pair is a tunnel, one by volume and one by form at least, or nil.
func (p *pair) suspect() (why []string) {
	s, chance := &p.short, true
	switch {
	case p.short.octets >= tunnelMinute:
		why = append(why, "names carry more than 4 kB a minute")
	case p.short.answers >= tunnelAnswer:
		why = append(why, "answers to new names carry more than 32 kB a minute")
	case p.long.octets >= tunnelDaily:
		s = &p.long
		why = append(why, "names carry more than 64 kB a day")
	case p.long.answers >= tunnelDaily:
		s, chance = &p.long, false // names of services look like that as well, over a day
		why = append(why, "answers to new names carry more than 64 kB a day")
	default:
		return nil
	}
	if s.unique < tunnelUnique {
		return nil
	}
	form := len(why)
	mean := float64(s.octets) / float64(s.unique)
	if mean > 52 {
		why = append(why, "names are long")
	}
	if 10*s.carried > 3*s.unique {
		why = append(why, "types that carry data")
	}
	if chance && 10*s.unique >= 9*s.queries && mean >= 8 && s.entropy() >= 3.8 {
		why = append(why, "names are never asked again, and look like chance")
	}
	if len(why) == form {
		return nil
	}
	return why
}

// found notes a tunnel.
func (t *Tunnels) found(p *pair, why []string, now int64) {
	x := t.flagged[string(t.key)]
	isNew := x == nil
	if isNew {
		client, domain := clientOf(t.key)
		x = &Tunnel{Client: client, Domain: wire.NameText(domain), First: time.Unix(0, now).UTC()}
		if len(t.flagged) >= tunnelPairs {
			return
		}
		t.flagged[string(t.key)] = x
		t.total++
	}
	l := &p.long
	x.Last, x.last = time.Unix(0, now).UTC(), now
	x.Names, x.Octets, x.Answers, x.Why = l.unique, l.octets, l.answers, why
	x.Mean, x.Entropy = float64(l.octets)/float64(l.unique), l.entropy()
	x.Carried = float64(l.carried) / float64(l.unique)
	x.Samples = nil
	for _, s := range p.samples {
		if len(s) > 0 {
			x.Samples = append(x.Samples, wire.NameText(s))
		}
	}
	if isNew {
		t.publish()
		if t.o.Found != nil {
			told := *x
			t.o.Found(&told)
		}
	}
}

// learn counts a client that was found towards its domain being no tunnel. Names that no server answers for are
// not counted.
func (t *Tunnels) learn(p *pair, domain []byte, r *event.Record) {
	if t.o.Learned == nil || r.Rcode != wire.NoError && r.Rcode != wire.NXDomain {
		return
	}
	client, _ := clientOf(t.key)
	if t.o.Learned.saw(domain, client, uint64(p.long.octets)+uint64(p.long.answers), time.Unix(0, r.Time)) {
		t.forgive()
	}
}

// Forgive forgets the tunnels to domains that are none, as far as is known by now.
func (t *Tunnels) Forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.o.Learned != nil {
		t.forgive()
	}
}

func (t *Tunnels) forgive() {
	gone := false
	for key := range t.flagged {
		if _, domain := clientOf([]byte(key)); t.o.Learned.has(domain) {
			delete(t.flagged, key)
			gone = true
		}
	}
	if gone {
		t.publish()
	}
}

// sweep forgets tunnels that have been none for an hour.
func (t *Tunnels) sweep(now int64) {
	if now-t.swept < minute {
		return
	}
	t.swept = now
	gone := false
	for key, x := range t.flagged {
		if now-x.last > int64(tunnelHold) {
			delete(t.flagged, key)
			gone = true
		}
	}
	if gone {
		t.publish()
	}
}

// publish has those stopped who are taken for tunnels, if they are to be. The lock is held.
func (t *Tunnels) publish() {
	if t.o.Action != TunnelBlock && t.o.Action != TunnelLimit {
		return
	}
	next := map[string]*stopped{}
	old := t.stops.Load()
	for key := range t.flagged {
		if old != nil && (*old)[key] != nil {
			next[key] = (*old)[key]
		} else {
			next[key] = &stopped{}
		}
	}
	if len(next) == 0 {
		t.stops.Store(nil)
		return
	}
	t.stops.Store(&next)
}

// Blocks tells whether a question is not to be asked of others, since its client is taken for a tunnel to the domain
// above the name, in lower case. While there are no tunnels, it costs the load of one word.
func (t *Tunnels) Blocks(client netip.Addr, name []byte) bool {
	stops := t.stops.Load()
	if stops == nil || !client.IsValid() {
		return false
	}
	var room [wire.MaxName + 20]byte
	for len(name) > 1 {
		if s := (*stops)[string(tunnelKey(room[:0], client, name))]; s != nil {
			return t.stop(s)
		}
		name = name[1+int(name[0]):]
	}
	return false
}

func (t *Tunnels) stop(s *stopped) bool {
	if t.o.Action == TunnelLimit {
		now := time.Now().UnixNano()
		if next := s.next.Load(); now >= next && s.next.CompareAndSwap(next, now+int64(tunnelLimit)) {
			return false
		}
	}
	t.refused.Add(1)
	return true
}

// Counts returns how many tunnels there are now and were, and how many questions were refused for it.
func (t *Tunnels) Counts() (now int, total, refused uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(time.Now().UnixNano())
	return len(t.flagged), t.total, t.refused.Load()
}

// Learned returns which domains are none, or nil.
func (t *Tunnels) Learned() *Learned { return t.o.Learned }

// Action returns what is done.
func (t *Tunnels) Action() string { return t.o.Action }

// List returns what is taken for tunnels, the latest first.
func (t *Tunnels) List() []Tunnel {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(time.Now().UnixNano())
	list := make([]Tunnel, 0, len(t.flagged))
	for _, x := range t.flagged {
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b Tunnel) int { return b.First.Compare(a.First) })
	return list
}
