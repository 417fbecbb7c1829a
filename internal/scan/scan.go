// Package scan tells the states of ports, with the meaning and the words that nmap has
// for them.
//
// A [Scanner] looks at the ports of one host: over UDP by asking what servers there
// answer and by reading the ICMP errors that come back; over TCP by half a handshake
// where the process may (Linux, root or CAP_NET_RAW), else by whole connections. It
// waits as long as the host's round trips ask for, sends each question three times at
// most, and tells silence from refusal. It sends nothing that keeps a server busy.
package scan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Port is what a stranger sees of a port.
type Port struct {
	Proto  string `json:"proto"`  // udp or tcp
	Number uint16 `json:"port"`   // 53, as a rule
	State  string `json:"state"`  // one of the states below
	Reason string `json:"reason"` // what tells so, in nmap's words

	// From is another address that answered in place of the one that was asked. Such
	// answers are none: resolvers drop them.
	From string `json:"src_mismatch,omitempty"`
}

// The states of a port, as nmap names them.
const (
	Open         = "open"
	Closed       = "closed"
	Filtered     = "filtered"
	OpenFiltered = "open|filtered"
)

// The reasons for a state that more than one file names; nmap's words.
const (
	reasonSilent  = "no-response"
	reasonSynAck  = "syn-ack"
	reasonReset   = "reset"
	reasonRefused = "conn-refused"
	reasonAnswer  = "udp-response"
	reasonPort    = "port-unreach"
	reasonHost    = "host-unreach"
	reasonNet     = "net-unreach"
	reasonProto   = "proto-unreach"
	reasonAdmin   = "admin-prohibited"
	reasonDenied  = "perm-denied" // a firewall of our own
)

// String writes a port's state as nmap does.
func (p Port) String() string {
	return fmt.Sprintf("%d/%s %s (%s)", p.Number, p.Proto, p.State, p.Reason)
}

// Denied reports whether this machine's own firewall let nothing out: the state tells
// nothing of the host.
func (p Port) Denied() bool { return p.Reason == reasonDenied }

// NoRoute reports whether this machine's network does not reach the host at all.
func (p Port) NoRoute() bool { return p.Reason == reasonNet }

// How long and how often a port is asked.
const (
	tries     = 3           // a lost question, a lost answer, and one more
	firstWait = time.Second // the wait for the first try while nothing is known of the way (RFC 6298, section 2)
	// leastWait is the least first wait: Linux sends a host one ICMP error a second
	// (net.ipv4.icmp_ratelimit), so the third try, after 1 and 2 times the first wait,
	// must begin more than a second after the first one.
	leastWait = 350 * time.Millisecond
	waitRTTs  = 4 // a reply that takes four round trips is lost rather than late
)

// The bounds of a scan of many TCP ports.
const (
	manyAtOnce = 100                    // connections under way: as a browser with a dozen windows
	manyPause  = time.Millisecond       // between two: at most 1,000 a second
	manyTries  = 2                      // one repetition
	manyLeast  = 100 * time.Millisecond // the least wait, as nmap has it
)

// Options are how ports are looked at. Zero values mean the defaults.
type Options struct {
	Timeout time.Duration // for the first try; 0, or more than a second: a second
	Connect bool          // look at TCP ports by whole connections only
}

// A Scanner looks at the ports of one host. It is safe for concurrent use.
type Scanner struct {
	first   time.Duration
	connect bool
	rtt     atomic.Int64 // the first round trip that was measured; 0: none
}

// New returns a Scanner for one host.
func New(o Options) *Scanner {
	s := &Scanner{first: firstWait, connect: o.Connect}
	if o.Timeout > 0 {
		s.first = min(s.first, o.Timeout)
	}
	return s
}

func (s *Scanner) learn(rtt time.Duration) { s.rtt.CompareAndSwap(0, int64(max(rtt, 1))) }

// wait returns how long the try of a number, from 0, waits: a second at first, less once
// a round trip was measured but never under least, and twice as long for each repetition.
func (s *Scanner) wait(try int, least time.Duration) time.Duration {
	first := s.first
	if rtt := time.Duration(s.rtt.Load()); rtt > 0 {
		first = min(first, max(waitRTTs*rtt, least))
	}
	return first << try
}

// Ports tells the states of a port over UDP and over TCP.
func (s *Scanner) Ports(ctx context.Context, at netip.AddrPort) (udp, tcp Port) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		tcp = s.TCP(ctx, at)
	}()
	// TCP is quick to tell how far the host is; and where a firewall limits its
	// refusals, both at once would have one each of what is for either.
	first := time.NewTimer(s.wait(0, leastWait))
	defer first.Stop()
	select {
	case <-told:
	case <-first.C:
	}
	udp = s.UDP(ctx, at)
	<-told
	return udp, tcp
}

// TCP tells the state of a TCP port.
func (s *Scanner) TCP(ctx context.Context, at netip.AddrPort) Port {
	port := Port{Proto: "tcp", Number: at.Port()}
	if !s.connect && at.Addr().Zone() == "" {
		state, reason, err := s.halfOpen(ctx, at)
		if err == nil {
			port.State, port.Reason = state, reason
			return port
		}
	}
	for try := range tries {
		var lost bool
		if port.State, port.Reason, lost = s.dial(ctx, at, s.wait(try, leastWait)); !lost || ctx.Err() != nil {
			break
		}
	}
	return port
}

// Connect tells the state of a TCP port by one connection that is not tried again.
func (s *Scanner) Connect(ctx context.Context, at netip.AddrPort) Port {
	port := Port{Proto: "tcp", Number: at.Port()}
	port.State, port.Reason, _ = s.dial(ctx, at, s.wait(0, leastWait))
	return port
}

// dial makes one TCP connection, and reports whether nothing came back.
func (s *Scanner) dial(ctx context.Context, at netip.AddrPort, wait time.Duration) (state, reason string, lost bool) {
	begin := time.Now()
	d := net.Dialer{Timeout: wait, KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err == nil {
		s.learn(time.Since(begin))
		c.Close()
		return Open, reasonSynAck, false
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		s.learn(time.Since(begin))
		return Closed, reasonRefused, false
	case errors.Is(err, syscall.ENETUNREACH):
		return Filtered, reasonNet, false
	case errors.Is(err, syscall.EHOSTUNREACH):
		return Filtered, reasonHost, false
	case errors.Is(err, syscall.ENOPROTOOPT):
		return Filtered, reasonProto, false
	case errors.Is(err, syscall.EACCES):
		return Filtered, reasonAdmin, false
	case errors.Is(err, syscall.EPERM):
		return Filtered, reasonDenied, false
	}
	return Filtered, reasonSilent, true
}

// Open returns those of the host's TCP ports that are open, in the order of ports, each
// found by a connection that is closed at once: 100 at a time, 1,000 a second at most.
func (s *Scanner) Open(ctx context.Context, host netip.Addr, ports []uint16) []Port {
	found := make([]Port, len(ports))
	slots := make(chan struct{}, manyAtOnce)
	tick := time.NewTicker(manyPause)
	defer tick.Stop()
	var wg sync.WaitGroup
	for i, n := range ports {
		slots <- struct{}{}
		<-tick.C
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			p := Port{Proto: "tcp", Number: n}
			for try := range manyTries {
				var lost bool
				if p.State, p.Reason, lost = s.dial(ctx, netip.AddrPortFrom(host, n), s.wait(try, manyLeast)); !lost {
					break
				}
			}
			found[i] = p
		})
	}
	wg.Wait()
	var open []Port
	for _, p := range found {
		if p.State == Open {
			open = append(open, p)
		}
	}
	return open
}

// ParsePorts reads a list of ports and ranges such as 22,53,8000-8100.
func ParsePorts(text string) ([]uint16, error) {
	var seen [1 << 16]bool
	var list []uint16
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(low, 10, 16)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(high, 10, 16)
		}
		if err != nil || first == 0 || last < first {
			return nil, errors.New("ports " + strconv.Quote(part) + ": expected numbers from 1 to 65535, as 22,53,8000-8100")
		}
		for n := first; n <= last; n++ {
			if !seen[n] {
				seen[n] = true
				list = append(list, uint16(n))
			}
		}
	}
	return list, nil
}

// unsent returns the state of a port that our own system does not let us reach, or
// that it has an error of.
func unsent(err error) (state, reason string, ok bool) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Closed, reasonPort, true
	case errors.Is(err, syscall.EHOSTUNREACH):
		return Filtered, reasonHost, true
	case errors.Is(err, syscall.ENETUNREACH):
		return Filtered, reasonNet, true
	case errors.Is(err, syscall.EACCES):
		return Filtered, reasonAdmin, true
	case errors.Is(err, syscall.EPERM):
		return Filtered, reasonDenied, true
	}
	return OpenFiltered, reasonSilent, false
}
