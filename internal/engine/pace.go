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

	// paceMemory is how long it is remembered what a client's questions brought: longer than
	// any of them waits.
	paceMemory = 15 * time.Second
)

// A pace is that of one client network.
type pace struct {
	begin   time.Time     // windows count from here
	brought map[int64]int // octets of questions, by the window in which they came
	most    int           // of these
	sent    []sending     // in the window behind, and after it
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
		if now.Sub(p.used) > paceMemory {
			delete(c.clients, k)
		}
	}
}

// wait returns how long a reply has to wait, and counts it as sent then.
func (c *pacer) wait(client netip.Addr, now time.Time, reply int) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.clients[paced(client)]
	if p == nil {
		return 0
	}
	at := now
	if n := len(p.sent); n > 0 && p.sent[n-1].at.After(at) {
		at = p.sent[n-1].at
	}
	p.sent = slices.DeleteFunc(p.sent, func(s sending) bool { return !s.at.After(now.Add(-paceWindow)) })
	total := reply
	for _, s := range p.sent {
		total += s.octets
	}
	for _, s := range p.sent {
		if within := s.at.After(at.Add(-paceWindow)); within && total <= paceFactor*p.most {
			break
		} else if within {
			at = s.at.Add(paceWindow)
		}
		total -= s.octets
	}
	p.sent = append(p.sent, sending{at, reply})
	return at.Sub(now)
}

// A sending is a reply that was sent lately, or will be.
type sending struct {
	at     time.Time
	octets int
}
