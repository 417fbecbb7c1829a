package server

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tcpWorkersPerCPU is how many workers connections take turns with, a
	// processor: one at work, and one whose goroutine the system has put aside.
	tcpWorkersPerCPU = 2
	// longReads is how many connections at a time may send a question longer
	// than their buffer: 16 MiB.
	longReads = 256
	// evictLook is how many connections are looked at for one to evict.
	evictLook = 64

	// unsentMax bounds what waits in memory because clients do not read it: a client
	// at its worst has 1.2 MiB. The system has as much again, and more, for each.
	unsentMax = 64 << 20
	// slotRoom is the room for answers of the straight path: more than the longest, so
	// that short ones gather until at least one more fits for sure.
	slotRoom = 2 * tcpLarge

	prefix4, prefix6 = 24, 56 // what counts as one network
	host6            = 64     // what counts as one address: a host has all of its /64 (RFC 8981)
)

// A tcpTable knows every open connection, and whose it is.
//
// In one piece: it is one table with the indexes into it, which change together.
type tcpTable struct {
	server *Server
	limits *Limits
	count  tcpCounters
	shakes shakeCounters                           // of TLS
	small  sync.Pool                               // of *[tcpSmall]byte
	large  sync.Pool                               // of *[tcpLarge]byte
	unsent atomic.Int64                            // octets that wait for clients to read
	opened atomic.Int64                            // as total, for reading without the lock
	peers  atomic.Pointer[map[netip.Addr]struct{}] // see SetPeers; nil: none

	unsentMax int64

	mu       sync.Mutex
	all      map[*tenant]struct{}
	byHost   map[netip.Addr]int
	byPrefix map[netip.Prefix]*network
	weights  []*network         // lists of networks by the number of their connections
	long     map[*tcpConn]int64 // those with a large buffer, and since when
	closed   bool
}

// A network is the connections from one prefix.
type network struct {
	prefix     netip.Prefix
	unsent     atomic.Int64 // as that of all
	conns      []*tenant
	long       int      // of conns that have a large buffer
	next, prev *network // in the list of its weight
}

// A tenant is one connection in the table, whatever is spoken on it.
type tenant struct {
	table   *tcpTable
	host    netip.Addr // whose it is: the address, or the first of its /64
	prefix  netip.Prefix
	network *network
	at      int // in its network's list

	active  atomic.Int64       // when the last question came or was answered late, or the connection came
	pending atomic.Int32       // answers owed: to come, or in the queue
	end     func()             // closes the connection, and does not wait
	wake    func(at time.Time) // ends its wait for a question
}

// settleIn makes c a tenant to be of t.
func (c *tenant) settleIn(t *tcpTable, from netip.Addr, end func(), wake func(time.Time)) {
	c.table, c.end, c.wake = t, end, wake
	c.host, c.prefix = owner(from)
	c.active.Store(t.server.now())
}

// idler says whether c is to be evicted rather than d.
func (c *tenant) idler(d *tenant) bool {
	if a, b := c.pending.Load() == 0, d.pending.Load() == 0; a != b {
		return a
	}
	return c.active.Load() < d.active.Load()
}

// A tcpSlot is a worker and room for its answers.
type tcpSlot struct {
	worker Worker
	out    [slotRoom]byte
}

func (t *tcpTable) init(s *Server, l *Limits) {
	t.server, t.limits, t.unsentMax = s, l, unsentMax
	t.all = make(map[*tenant]struct{})
	t.long = make(map[*tcpConn]int64)
	t.byHost = make(map[netip.Addr]int)
	t.byPrefix = make(map[netip.Prefix]*network)
	t.small.New = func() any { return new([tcpSmall]byte) }
	t.large.New = func() any { return new([tcpLarge]byte) }
}

// makeWorkers makes the workers that the connections of all tables take turns with.
func (s *Server) makeWorkers() {
	n := tcpWorkersPerCPU * runtime.GOMAXPROCS(0)
	s.slots = make(chan *tcpSlot, n)
	for range n {
		s.slots <- &tcpSlot{worker: s.options.Handler.NewWorker()}
	}
}

func (t *tcpTable) open() int { return int(t.opened.Load()) }

// idle is the idle timeout now granted: it falls evenly while the second half of
// the connections fills.
func (t *tcpTable) idle() time.Duration {
	half := t.limits.Conns / 2
	over := t.open() - half
	if over <= 0 {
		return t.limits.Idle
	}
	most := t.limits.Conns - half
	return t.limits.Idle - (t.limits.Idle-t.limits.IdleMin)*time.Duration(min(over, most))/time.Duration(most)
}

// admit serves conn, or closes it if its address or network has enough.
func (t *tcpTable) admit(conn net.Conn) {
	c := newTCPConn(t, conn)
	if !t.enter(&c.tenant) {
		c.reset()
		return
	}
	t.server.conns.Go(c.serve)
}

// enter takes c into the table, unless its address or network has enough. If all connections
// are taken, one of the network that has most makes room.
func (t *tcpTable) enter(c *tenant) bool {
	t.mu.Lock()
	n := t.byPrefix[c.prefix]
	if t.closed || t.full(c, n) {
		t.mu.Unlock()
		t.count.refused.Add(1)
		return false
	}
	if len(t.all) >= t.limits.Conns {
		v := t.victim()
		t.remove(v)
		t.count.evicted.Add(1)
		defer v.end()
	}
	t.add(c)
	t.mu.Unlock()
	t.count.accepted.Add(1)
	return true
}

// full reports whether the address of c, or its network n, has as many connections as it may.
// The lock is held.
func (t *tcpTable) full(c *tenant, n *network) bool {
	if peers := t.peers.Load(); peers != nil {
		if _, is := (*peers)[c.host]; is {
			return t.byHost[c.host] >= t.limits.PerPeer
		}
	}
	return t.byHost[c.host] >= t.limits.PerAddr || n != nil && len(n.conns) >= t.limits.PerPrefix
}

// SetPeers says whom zones are exchanged with: Limits.PerPeer is the bound of each such
// address, or /64 for IPv6.
func (s *Server) SetPeers(addrs []netip.Addr) {
	peers := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		host, _ := owner(a.Unmap().WithZone(""))
		peers[host] = struct{}{}
	}
	s.tcp.peers.Store(&peers)
	s.secure.peers.Store(&peers)
}

// owner returns what the connections of a count for: one address, and one network.
func owner(a netip.Addr) (host netip.Addr, network netip.Prefix) {
	hostBits, bits := host6, prefix6
	if a.Is4() {
		hostBits, bits = a.BitLen(), prefix4
	}
	h, _ := a.Prefix(hostBits)
	network, _ = a.Prefix(bits)
	return h.Addr(), network
}

// victim is the connection that was silent longest in the network that has most,
// rather one that is owed nothing.
func (t *tcpTable) victim() *tenant {
	var best *tenant
	looked := 0
	for n := t.weights[len(t.weights)-1]; n != nil; n = n.next {
		for _, c := range n.conns {
			if best == nil || c.idler(best) {
				best = c
			}
			if looked++; looked == evictLook {
				return best
			}
		}
	}
	return best
}

// add and remove need the lock. remove does nothing for a connection that has been
// removed before.
func (t *tcpTable) add(c *tenant) {
	t.all[c] = struct{}{}
	t.opened.Store(int64(len(t.all)))
	t.byHost[c.host]++
	n := t.byPrefix[c.prefix]
	if n == nil {
		n = &network{prefix: c.prefix}
		t.byPrefix[c.prefix] = n
	} else {
		t.unlink(n)
	}
	c.network, c.at = n, len(n.conns)
	n.conns = append(n.conns, c)
	t.link(n)
}

func (t *tcpTable) remove(c *tenant) {
	if _, ok := t.all[c]; !ok {
		return
	}
	delete(t.all, c)
	t.opened.Store(int64(len(t.all)))
	if t.byHost[c.host] > 1 {
		t.byHost[c.host]--
	} else {
		delete(t.byHost, c.host)
	}
	n := t.byPrefix[c.prefix]
	t.unlink(n)
	last := len(n.conns) - 1
	n.conns[c.at] = n.conns[last]
	n.conns[c.at].at = c.at
	n.conns[last] = nil
	n.conns = n.conns[:last]
	if last == 0 {
		delete(t.byPrefix, c.prefix)
	} else {
		t.link(n)
	}
	for len(t.weights) > 0 && t.weights[len(t.weights)-1] == nil {
		t.weights = t.weights[:len(t.weights)-1]
	}
}

// hold takes memory for octets that wait for a client of n to read, and is false if
// there is none. A network may have as much as is free besides: whoever fills the
// memory leaves half of it, two networks a third, and so on, so that others, who need
// little, have room whatever one does.
func (t *tcpTable) hold(n *network, octets int64) bool {
	if all, mine := t.unsent.Add(octets), n.unsent.Add(octets); all+mine <= t.unsentMax {
		return true
	}
	t.letGo(n, octets)
	return false
}

// letGo gives memory back.
func (t *tcpTable) letGo(n *network, octets int64) {
	t.unsent.Add(-octets)
	n.unsent.Add(-octets)
}

// beginLong lets c read a question longer than its buffer. Beyond longReads, the network that
// reads most such questions, which may be c's own, loses the one that has taken longest: who
// sends slowly, or many at the same time, hurts itself.
func (t *tcpTable) beginLong(c *tcpConn) {
	t.mu.Lock()
	c.network.long++
	var victim *tcpConn
	if len(t.long) >= longReads {
		for d, since := range t.long {
			if victim == nil || d.network.long > victim.network.long || d.network.long == victim.network.long && since < t.long[victim] {
				victim = d
			}
		}
		t.dropLong(victim)
	}
	t.long[c] = t.server.now()
	t.mu.Unlock()
	if victim != nil {
		t.count.evicted.Add(1)
		victim.reset()
	}
}

// endLong tells that c has read its question.
func (t *tcpTable) endLong(c *tcpConn) {
	t.mu.Lock()
	t.dropLong(c)
	t.mu.Unlock()
}

// dropLong needs the lock. It does nothing for a connection that is not in t.long.
func (t *tcpTable) dropLong(c *tcpConn) {
	if _, ok := t.long[c]; ok {
		delete(t.long, c)
		c.network.long--
	}
}

// link puts n into the list of its weight, and unlink takes it out. The last list
// of weights is never empty once remove is done.
func (t *tcpTable) link(n *network) {
	w := len(n.conns)
	for len(t.weights) <= w {
		t.weights = append(t.weights, nil)
	}
	n.prev, n.next = nil, t.weights[w]
	if n.next != nil {
		n.next.prev = n
	}
	t.weights[w] = n
}

func (t *tcpTable) unlink(n *network) {
	if n.next != nil {
		n.next.prev = n.prev
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		t.weights[len(n.conns)] = n.next
	}
	n.prev, n.next = nil, nil
}

// forget removes a connection that has ended.
func (t *tcpTable) forget(c *tenant) {
	t.mu.Lock()
	t.remove(c)
	t.mu.Unlock()
}

// wake ends every wait for a question.
func (t *tcpTable) wake(past time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.all {
		c.wake(past)
	}
}

// closeAll closes every connection, and lets no more in.
func (t *tcpTable) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for c := range t.all {
		c.end()
	}
}
