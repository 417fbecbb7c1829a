package zones

import (
	"net/netip"
	"sync"
)

// Bounds of transfers at the same time. Zeros are the defaults.
type Bounds struct {
	Out     int // sent
	OutPeer int // sent to one address
	In      int // received

	Memory int64 // octets that what is received takes, with the versions that come of it
}

// The defaults of Bounds.
const (
	defaultOut     = 32
	defaultOutPeer = 4
	defaultIn      = 16
	defaultMemory  = 1 << 30
)

func (b Bounds) filled() Bounds {
	if b.Out == 0 {
		b.Out = defaultOut
	}
	if b.OutPeer == 0 {
		b.OutPeer = defaultOutPeer
	}
	if b.Memory == 0 {
		b.Memory = defaultMemory
	}
	if b.In == 0 {
		b.In = defaultIn
	}
	return b
}

// slots count what is under way at the same time, in all and for each peer.
type slots struct {
	mu     sync.Mutex
	bounds Bounds
	total  int
	peers  map[netip.Addr]int
}

func (o *slots) set(b Bounds) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bounds = b
}

// begin counts one more, unless there are too many.
func (o *slots) begin(a netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.total >= o.bounds.Out || o.peers[a] >= o.bounds.OutPeer {
		return false
	}
	if o.peers == nil {
		o.peers = map[netip.Addr]int{}
	}
	o.total++
	o.peers[a]++
	return true
}

func (o *slots) end(a netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total--
	if o.peers[a]--; o.peers[a] == 0 {
		delete(o.peers, a)
	}
}
