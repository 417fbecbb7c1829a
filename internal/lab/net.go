// Package lab is a laboratory: a small internet in one process, for tests and for
// people without the real one.
//
// A [Net] is a network without sockets. It implements upstream.Network, so that a
// resolver asks its hosts as it would ask the world's, over links that are slow,
// lossy, narrow or cut, past whoever tampers with replies on the way; and it keeps a
// log of every packet. It knows no clock but package time's and blocks on channels
// only, so that it runs in a bubble of testing/synctest as well as in real time.
//
// [Sign] signs the records of a zone with keys made from a name, the same in every
// run, and does so wrongly where it is told to. A [World] puts hosts and signed
// zones onto a Net as a text describes them ([Section]), with the delegations, glue
// and DS records between them. [Internet] is such a world, ready to be asked.
//
// Nothing here is for the real internet: the keys are no secret, and chance comes
// from a seed.
package lab

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// A Handler answers the queries of a host. It is called from any goroutine, keeps
// nothing of query, and returns a message of its own, or nil to stay silent.
type Handler func(query []byte, from netip.AddrPort, tcp bool) []byte

// A TCPMode is what becomes of connections to a host.
type TCPMode uint8

// The ways to treat a connection.
const (
	TCPOpen    TCPMode = iota
	TCPRefused         // there is no listener: connecting fails
	TCPHang            // no packet comes back: connecting takes until the caller gives up
	TCPReset           // connected, then reset by the first question
	TCPSilent          // connected, and never answered
	TCPClose           // closed by the host behind its first answer
)

// A Link is the way to a host and back. The zero value is a perfect one.
type Link struct {
	RTT    time.Duration // there and back, half of it each way
	Jitter time.Duration // at most so much more, by chance, for a packet there and back

	Loss      float64 // chance of a datagram to get lost, on each way
	Duplicate float64 // chance of a reply by UDP to arrive twice
	Lose      int     // the next datagrams to the host that get lost for certain
	MTU       int     // octets of the largest datagram's payload that gets through; 0: any

	DropQueries bool // nothing reaches the host
	DropReplies bool // the host hears all, and none of it is heard
	Unreachable bool // datagrams are answered by ICMP: nobody listens on the port

	TCP TCPMode
}

// A Reply is the answer of a host about to leave it, for a tamperer to change.
type Reply struct {
	Query  []byte
	Asker  netip.AddrPort
	Server netip.AddrPort
	TCP    bool

	Message []byte         // nil: silence
	Source  netip.AddrPort // where it comes from, as the asker sees it; not for TCP
	Delay   time.Duration  // added to the way back

	// Forged are sent besides, to the port that asked. Not for TCP.
	Forged []Forgery
}

// A Forgery is a datagram that somebody else sends in a host's name.
type Forgery struct {
	Source  netip.AddrPort
	Message []byte
	After   time.Duration // counted from when the query reached the host; it arrives at once
}

// A Fate is what became of a packet.
type Fate uint8

// The fates of packets.
const (
	Delivered Fate = iota
	Lost
	TooLarge    // for the link's MTU
	NoHost      // nobody has the address
	Refused     // nobody listens on the port
	NotAsked    // no socket of the asker is connected to where it comes from
	Established // a connection, no message yet
	Reset
)

// String returns the fate in a word or two.
func (f Fate) String() string {
	return [...]string{"delivered", "lost", "too large", "no host", "refused", "not asked", "connected", "reset"}[f]
}

// A Packet is one datagram, one message within a connection, or an attempt to
// connect, as the log has it.
type Packet struct {
	At       time.Time // when it was sent; for replies, when it arrived
	From, To netip.AddrPort
	TCP      bool
	Reply    bool   // it goes to the asker
	Message  []byte // nil for an attempt to connect; do not modify
	Fate     Fate
}

// Question returns the name in lower case and the type that a packet asks for or
// answers, or nil.
func (p *Packet) Question() ([]byte, wire.Type) {
	if len(p.Message) < wire.HeaderLen {
		return nil, 0
	}
	n, err := wire.CheckName(p.Message[wire.HeaderLen:])
	if err != nil || wire.HeaderLen+n+4 > len(p.Message) {
		return nil, 0
	}
	name := p.Message[wire.HeaderLen : wire.HeaderLen+n]
	return wire.Lower(nil, name), wire.Type(binary.BigEndian.Uint16(p.Message[wire.HeaderLen+n:]))
}

// Counts sums what went over a Net, or to and from one address.
type Counts struct {
	Queries, Replies    int // packets, by UDP and TCP
	QueriesTCP          int
	Connections         int // tried
	Lost                int // both ways, for whatever reason
	OctetsOut, OctetsIn int // of messages, out from the asker and in to it
}

// Options configure a Net. The zero value is good.
type Options struct {
	Seed uint64     // of all chance
	Log  int        // packets kept in the log, the newest; 0: 65,536; negative: none
	IPv4 netip.Addr // the asker's addresses; zero: 198.18.0.53 and 2001:db8:5300::53
	IPv6 netip.Addr
}

// defaultLog holds the packets of any scenario, and bounds a laboratory that runs
// for days to some tens of megabytes.
const defaultLog = 1 << 16

// A Net is a network with one asker, whose sockets it opens, and many hosts. All
// methods may be called concurrently.
type Net struct {
	mu       sync.Mutex
	chance   uint64
	local    [2]netip.Addr
	routed   [2]bool // by family
	hosts    map[netip.AddrPort]func(*Reply)
	addrs    map[netip.Addr]int // ports of hosts
	links    map[netip.Addr]*Link
	tampers  map[netip.Addr]func(*Reply)
	sockets  map[netip.AddrPort]*socket // by local address
	maxLog   int
	log      []Packet
	oldest   int // index in log, once it is full
	total    Counts
	counts   map[netip.Addr]*Counts
	nextPort uint16 // of connections
}

// NewNet returns a network without hosts.
func NewNet(o Options) *Net {
	n := &Net{
		chance: o.Seed, maxLog: o.Log, nextPort: 1024,
		local:   [2]netip.Addr{o.IPv4, o.IPv6},
		routed:  [2]bool{true, true},
		hosts:   map[netip.AddrPort]func(*Reply){},
		addrs:   map[netip.Addr]int{},
		links:   map[netip.Addr]*Link{},
		tampers: map[netip.Addr]func(*Reply){},
		sockets: map[netip.AddrPort]*socket{},
		counts:  map[netip.Addr]*Counts{},
	}
	if n.maxLog == 0 {
		n.maxLog = defaultLog
	}
	if !o.IPv4.IsValid() {
		n.local[0] = netip.MustParseAddr("198.18.0.53") // RFC 2544: for laboratories
	}
	if !o.IPv6.IsValid() {
		n.local[1] = netip.MustParseAddr("2001:db8:5300::53")
	}
	return n
}

// Handle makes h answer at an address, over UDP and TCP. A nil h takes the host
// away: its port is closed if another port of the address is served, else the
// address is nobody's.
func (n *Net) Handle(at netip.AddrPort, h Handler) {
	if h == nil {
		n.Respond(at, nil)
		return
	}
	n.Respond(at, func(r *Reply) { r.Message = h(r.Query, r.Asker, r.TCP) })
}

// Respond is Handle for a host that also chooses when and from where it answers: h
// gets a Reply without a Message.
func (n *Net) Respond(at netip.AddrPort, h func(*Reply)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, had := n.hosts[at]
	switch {
	case h == nil && had:
		delete(n.hosts, at)
		if n.addrs[at.Addr()]--; n.addrs[at.Addr()] == 0 {
			delete(n.addrs, at.Addr())
		}
	case h != nil:
		n.hosts[at] = h
		if !had {
			n.addrs[at.Addr()]++
		}
	}
}

// SetLink makes l the link to an address, from the next packet on.
func (n *Net) SetLink(a netip.Addr, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[a] = &l
}

// Tamper calls f with each reply that leaves an address; nil ends that. It is called
// from any goroutine.
func (n *Net) Tamper(a netip.Addr, f func(*Reply)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tampers[a] = f
}

// SetRoutes reports whether the asker's machine has IPv4 and IPv6. Without a family,
// sockets for it cannot be opened.
func (n *Net) SetRoutes(v4, v6 bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routed = [2]bool{v4, v6}
}

// Packets returns the log, the oldest packet first.
func (n *Net) Packets() []Packet {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append(slices.Clone(n.log[n.oldest:]), n.log[:n.oldest]...)
}

// Counts returns the sum of what went to and from an address, or with the zero Addr
// over the whole network.
func (n *Net) Counts(a netip.Addr) Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !a.IsValid() {
		return n.total
	}
	if c := n.counts[a]; c != nil {
		return *c
	}
	return Counts{}
}

// Ports returns the local addresses of the asker's open UDP sockets.
func (n *Net) Ports() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ports []netip.AddrPort
	for p := range n.sockets {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, netip.AddrPort.Compare)
	return ports
}

// Inject delivers a datagram to an address of the asker, as if it came from source.
func (n *Net) Inject(to, source netip.AddrPort, message []byte) {
	n.deliver(to, source, slices.Clone(message))
}

// record writes a packet into the log and the counts. The lock is held.
func (n *Net) record(p Packet) {
	host := p.To.Addr()
	if p.Reply {
		host = p.From.Addr()
	}
	c := n.counts[host]
	if c == nil {
		c = &Counts{}
		n.counts[host] = c
	}
	for _, c := range [...]*Counts{c, &n.total} {
		switch {
		case p.Message == nil:
			c.Connections++
		case p.Reply:
			c.Replies++
			c.OctetsIn += len(p.Message)
		default:
			c.Queries++
			c.OctetsOut += len(p.Message)
			if p.TCP {
				c.QueriesTCP++
			}
		}
		if p.Fate != Delivered && p.Fate != Established {
			c.Lost++
		}
	}
	if n.maxLog < 0 {
		return
	}
	p.At = time.Now()
	if len(n.log) < n.maxLog {
		n.log = append(n.log, p)
		return
	}
	n.log[n.oldest] = p
	n.oldest = (n.oldest + 1) % len(n.log)
}

// random returns the next number of the seeded sequence (splitmix64). The lock is
// held.
func (n *Net) random() uint64 {
	n.chance += 0x9E3779B97F4A7C15
	z := n.chance
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// happens is true with chance p. The lock is held.
func (n *Net) happens(p float64) bool {
	return p > 0 && float64(n.random()>>11)/(1<<53) < p
}

// link returns the link to an address. The lock is held.
func (n *Net) link(a netip.Addr) *Link {
	if l := n.links[a]; l != nil {
		return l
	}
	return &perfect
}

var perfect Link

// way returns how long one way over a link takes now. The lock is held.
func (n *Net) way(l *Link) time.Duration {
	d := l.RTT / 2
	if l.Jitter > 0 {
		d += time.Duration(n.random() % uint64(l.Jitter/2+1))
	}
	return d
}

// after runs f in d, or now.
func after(d time.Duration, f func()) {
	if d <= 0 {
		f()
		return
	}
	time.AfterFunc(d, f)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// Socket opens a UDP socket of the asker, connected to an address, on a random free
// port. It implements upstream.Network.
func (n *Net) Socket(to netip.AddrPort) (exchange.Socket, error) {
	f := family(to.Addr())
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.routed[f] {
		return nil, fmt.Errorf("connect to %v: %w", to, syscall.ENETUNREACH)
	}
	for {
		var b [2]byte
		_, _ = rand.Read(b[:]) // it never fails
		port := binary.BigEndian.Uint16(b[:])
		local := netip.AddrPortFrom(n.local[f], port)
		if port < 1024 || n.sockets[local] != nil {
			continue
		}
		s := &socket{net: n, local: local, to: to, wake: make(chan struct{}, 1), closed: make(chan struct{})}
		n.sockets[local] = s
		return s, nil
	}
}

// send takes a datagram of the asker to a host.
func (n *Net) send(from, to netip.AddrPort, query []byte) {
	n.mu.Lock()
	l := n.link(to.Addr())
	_, listens := n.hosts[to]
	fate := Delivered
	switch {
	case n.addrs[to.Addr()] == 0 && !l.Unreachable:
		fate = NoHost
	case l.Lose > 0:
		l.Lose--
		fate = Lost
	case l.DropQueries, n.happens(l.Loss):
		fate = Lost
	case l.MTU > 0 && len(query) > l.MTU:
		fate = TooLarge
	case l.Unreachable, !listens:
		fate = Refused
	}
	n.record(Packet{From: from, To: to, Message: query, Fate: fate})
	there := n.way(l)
	back := n.way(l)
	n.mu.Unlock()
	switch fate {
	case Delivered:
		after(there, func() { n.arrive(from, to, query) })
	case Refused:
		after(there+back, func() { n.fail(from, to) })
	default: // silence
	}
}

// arrive gives a datagram to its host and sends back what that answers.
func (n *Net) arrive(from, to netip.AddrPort, query []byte) {
	n.mu.Lock()
	h, tamper := n.hosts[to], n.tampers[to.Addr()]
	n.mu.Unlock()
	if h == nil {
		return
	}
	r := Reply{Query: query, Asker: from, Server: to, Source: to}
	h(&r)
	if tamper != nil {
		tamper(&r)
	}
	for _, f := range r.Forged {
		after(f.After, func() { n.deliver(from, f.Source, f.Message) })
	}
	if r.Message == nil {
		return
	}
	n.mu.Lock()
	l := n.link(to.Addr())
	fate, copies := Delivered, 1
	switch {
	case l.DropReplies, n.happens(l.Loss):
		fate = Lost
	case l.MTU > 0 && len(r.Message) > l.MTU:
		fate = TooLarge
	case n.happens(l.Duplicate):
		copies = 2
	}
	if fate != Delivered {
		n.record(Packet{From: r.Source, To: from, Message: r.Message, Reply: true, Fate: fate})
	}
	back := n.way(l) + r.Delay
	n.mu.Unlock()
	if fate != Delivered {
		return
	}
	for range copies {
		after(back, func() { n.deliver(from, r.Source, r.Message) })
	}
}

// deliver gives a datagram to the asker's socket that is connected to its source.
func (n *Net) deliver(to, source netip.AddrPort, message []byte) {
	n.mu.Lock()
	s, fate := n.sockets[to], Delivered
	if s == nil || s.to != source {
		s, fate = nil, NotAsked
	}
	n.record(Packet{From: source, To: to, Message: message, Reply: true, Fate: fate})
	n.mu.Unlock()
	if s != nil {
		s.push(received{message: message})
	}
}

// fail tells the asker's socket that its datagram was refused.
func (n *Net) fail(from, to netip.AddrPort) {
	n.mu.Lock()
	s := n.sockets[from]
	n.mu.Unlock()
	if s != nil && s.to == to {
		s.push(received{err: syscall.ECONNREFUSED})
	}
}
