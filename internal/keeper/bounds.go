package keeper

import (
	"net/netip"
	"sync"
)

// Bounds of transfers at one time.
type Bounds struct {
	Out     int // sent
	OutPeer int // sent to one address
	In      int // received
}

// outgoing counts the transfers that are being sent.
type outgoing struct {
	mu     sync.Mutex
	bounds Bounds
	total  int
	peers  map[netip.Addr]int
}

func (o *outgoing) set(b Bounds) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bounds = b
}

// begin counts one more, unless there are too many.
func (o *outgoing) begin(a netip.Addr) bool {
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

func (o *outgoing) end(a netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total--
	if o.peers[a]--; o.peers[a] == 0 {
		delete(o.peers, a)
	}
}
