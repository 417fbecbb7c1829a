package engine

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A pacer spreads replies that come late to clients whose address may be forged, so that
// nobody can have many of them held and then let loose at once (DNSBomb, CVE-2024-33655).
//
// In any 50 ms a client network gets at most twice the octets that its questions brought in
// the 50 ms that brought most, of those whose replies came late. What is beyond that waits
// for the next 50 ms, in the order in which it came. A reply that alone is larger is sent
// truncated: over TCP, where nobody forges an address, it is whole.
type pacer struct {
	mu      sync.Mutex
	clients map[netip.Prefix]*pace
	swept   time.Time
}

const (
	// paceAfter is how old a reply is that is paced. Those of most questions are younger.
	paceAfter = time.Second

	paceWindow = 50 * time.Millisecond
	paceFactor = 2
	// paceSpread is the time in which no more than that is sent: somewhat longer, since replies
	// need some time on their way, one more than the other.
	paceSpread = 60 * time.Millisecond

	// paceMemory is how long it is remembered what a client's questions brought: longer than
	// any of them waits.
	paceMemory = 15 * time.Second
)

// A pace is that of one client network.
type pace struct {
	begin   time.Time     // windows count from here
	brought map[int64]int // octets of questions, by the window in which they came
	most    int           // of these
	sent    []sending     // within paceSpread
	queue   []queued      // in the order in which it came
	used    time.Time
}

// paced is who shares a pace: an IPv4 address, or what one site gets of IPv6 (RFC 6177).
func paced(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 56
	}
	p, _ := a.Prefix(bits)
	return p
}

// room takes note of a question whose reply comes late, and returns how many octets the reply
// may have.
func (c *pacer) room(client netip.Addr, arrived, now time.Time, question int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients == nil {
		c.clients = make(map[netip.Prefix]*pace)
	}
	p := c.clients[paced(client)]
	if p == nil {
		c.forget(now)
		p = &pace{begin: arrived, brought: make(map[int64]int)}
		c.clients[paced(client)] = p
	}
	p.used = now
	window := int64(arrived.Sub(p.begin) / paceWindow)
	if arrived.Before(p.begin) {
		window--
	}
	p.brought[window] += question
	p.most = max(p.most, p.brought[window])
	return paceFactor * p.most
}

// forget drops clients of whom nothing was heard for long, now and then.
func (c *pacer) forget(now time.Time) {
	if now.Sub(c.swept) < time.Second {
		return
	}
	c.swept = now
	for k, p := range c.clients {
		if now.Sub(p.used) > paceMemory && len(p.queue) == 0 {
			delete(c.clients, k)
		}
	}
}

// pass calls send, which sends so many octets to a client, at once or when it may be sent. What
// counts is when replies were sent, not when they were to be: on a busy machine timers are late,
// and several at once.
func (c *pacer) pass(client netip.Addr, now time.Time, octets int, send func()) {
	c.mu.Lock()
	p := c.clients[paced(client)]
	if p != nil && (len(p.queue) > 0 || !p.fits(now, octets)) {
		if p.queue = append(p.queue, queued{octets, send}); len(p.queue) == 1 {
			c.later(p, now)
		}
		c.mu.Unlock()
		return
	}
	if p != nil {
		p.sent = append(p.sent, sending{now, octets})
	}
	c.mu.Unlock()
	send()
}

// fits reports whether so many octets may be sent now. A reply that is larger than all that may be
// sent at the same time goes alone.
func (p *pace) fits(now time.Time, octets int) bool {
	p.sent = slices.DeleteFunc(p.sent, func(s sending) bool { return now.Sub(s.at) >= paceSpread })
	for _, s := range p.sent {
		octets += s.octets
	}
	return len(p.sent) == 0 || octets <= paceFactor*p.most
}

// later has the queue looked at when the oldest of what was sent counts no more. The lock is held.
func (c *pacer) later(p *pace, now time.Time) {
	time.AfterFunc(p.sent[0].at.Add(paceSpread).Sub(now), func() { c.drain(p) })
}

// drain sends what may be sent of a queue.
func (c *pacer) drain(p *pace) {
	c.mu.Lock()
	now := time.Now()
	p.used = now
	n := 0
	for n < len(p.queue) && p.fits(now, p.queue[n].octets) {
		p.sent = append(p.sent, sending{now, p.queue[n].octets})
		n++
	}
	ready := slices.Clone(p.queue[:n])
	if p.queue = slices.Delete(p.queue, 0, n); len(p.queue) > 0 {
		c.later(p, now)
	}
	c.mu.Unlock()
	for _, q := range ready {
		q.send()
	}
}

// A sending is a reply that was sent lately.
type sending struct {
	at     time.Time
	octets int
}

// A queued is a reply that waits.
type queued struct {
	octets int
	send   func()
}
