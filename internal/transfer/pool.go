package transfer

import (
	"net/netip"
	"sync"
	"time"
)

// A Pool has connections over which a zone has come, for the next one from the same server
// (RFC 5936, section 4.1.1; RFC 7766, section 6.2.1): thousands of zones of a catalog need no
// thousands of connections. Its zero value is ready.
type Pool struct {
	mu     sync.Mutex
	idle   map[served][]*stream // the one that was used last at the end
	total  int
	once   map[served]time.Time // servers that answer once on a connection, and since when that is known
	closed bool
}

// A served is a server as one connection was made to it: who it is over TLS, and what it was shown, is not to be taken from another
// configuration.
type served struct {
	addr netip.AddrPort
	tls  *TLS
}

// served returns what connections to the primary are kept under.
func (p *Primary) served() served { return served{p.Addr, p.TLS} }

// The connections that are kept, and for how long: no server has to hold many, nor to end them.
const (
	poolPeer  = 16
	poolTotal = 64
	poolTime  = 500 * time.Millisecond

	onceTime = 10 * time.Minute // for which a server is asked but once on each connection
	maxOnce  = 1000             // servers of which that is known
)

// take returns a connection to a server, or nil.
func (p *Pool) take(addr served) *stream {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[addr]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	p.remove(addr, len(list)-1)
	s.ending.Stop() // if it runs already, it does not find the connection any more
	return s
}

// remove takes a connection out. p.mu is held.
func (p *Pool) remove(addr served, i int) {
	list := p.idle[addr]
	copy(list[i:], list[i+1:])
	list[len(list)-1] = nil
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(p.idle, addr)
	} else {
		p.idle[addr] = list
	}
	p.total--
}

// put keeps a connection on which all that was asked for has come, and nothing else, or closes
// it.
func (p *Pool) put(addr served, s *stream) {
	if p == nil || s.Buffered() > 0 {
		s.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if since, once := p.once[addr]; once && time.Since(since) < onceTime || p.closed || p.total >= poolTotal ||
		len(p.idle[addr]) >= poolPeer {
		s.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[served][]*stream{}
	}
	p.idle[addr] = append(p.idle[addr], s)
	p.total++
	s.ending = time.AfterFunc(poolTime, func() { p.end(addr, s) })
}

// failed remembers that a server has not answered on a connection that was used before.
func (p *Pool) failed(addr served) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.once == nil || len(p.once) >= maxOnce {
		p.once = map[served]time.Time{}
	}
	p.once[addr] = time.Now()
	for len(p.idle[addr]) > 0 {
		s := p.idle[addr][0]
		p.remove(addr, 0)
		s.ending.Stop()
		s.Close()
	}
}

// end closes a connection that nobody has taken.
func (p *Pool) end(addr served, s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.idle[addr] {
		if other == s {
			p.remove(addr, i)
			s.Close()
			return
		}
	}
}

// Close closes what is kept; nothing is kept from then on.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, s := range list {
			s.ending.Stop()
			s.Close()
		}
	}
	p.idle, p.total = nil, 0
}
