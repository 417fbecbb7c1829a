package check

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"port53/internal/wire"
)

// The states of a port, as nmap names them.
const (
	StateOpen         = "open"
	StateClosed       = "closed"
	StateFiltered     = "filtered"
	StateOpenFiltered = "open|filtered"
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
	reasonOurs    = "perm-denied" // a firewall of our own
)

// How long and how often a port is asked.
const (
	portTries = 3           // a lost question, a lost answer, and one more
	portFirst = time.Second // the wait for the first try while nothing is known of the way (RFC 6298, section 2)
	// portLeast is the least first wait: Linux sends a host one ICMP error a second
	// (net.ipv4.icmp_ratelimit), so the third try, after 1 and 2 times the first wait,
	// must begin more than a second after the first one.
	portLeast = 350 * time.Millisecond
	portRTTs  = 4 // a reply that takes four round trips is lost rather than late
)

// The UDP ports that are not asked in plain DNS.
const (
	portQUIC  = 853 // DNS over QUIC (RFC 9250, section 4.1.1)
	portHTTPS = 443
	portMDNS  = 5353 // RFC 6762, section 3
)

// The bounds of a scan of many TCP ports.
const (
	manyAtOnce = 100                    // connections under way: as a browser with a dozen windows
	manyPause  = time.Millisecond       // between two: at most 1,000 a second
	manyTries  = 2                      // one repetition
	manyLeast  = 100 * time.Millisecond // the least wait, as nmap has it
)

// A pace tells how long to wait for replies of one host: a second at first, and less
// once a round trip to it was measured.
type pace struct {
	first time.Duration
	rtt   atomic.Int64
}

func newPace(o *Options) *pace {
	p := &pace{first: portFirst}
	if o.Timeout > 0 {
		p.first = min(p.first, o.Timeout)
	}
	return p
}

func (p *pace) learn(rtt time.Duration) {
	p.rtt.CompareAndSwap(0, int64(max(rtt, 1)))
}

// wait returns how long the try of a number, from 0, waits.
func (p *pace) wait(try int) time.Duration {
	first := p.first
	if rtt := time.Duration(p.rtt.Load()); rtt > 0 {
		first = min(first, max(portRTTs*rtt, portLeast))
	}
	return first << try
}

// Ports tells the states of a server's port over UDP and TCP, in this order, with the
// meaning and the words that nmap has for them. TCP ports are looked at by half a
// handshake where the process may (Linux, root or CAP_NET_RAW), else by a whole one.
func Ports(ctx context.Context, at netip.AddrPort, o *Options) []Port {
	p := newPace(o)
	var tcp Port
	told := make(chan struct{})
	go func() {
		defer close(told)
		tcp = scanTCP(ctx, at, p, o.Connect)
	}()
	// TCP is quick to tell how far the host is; and where a firewall limits its
	// refusals, both at once would have one each of what is for either.
	first := time.NewTimer(p.wait(0))
	defer first.Stop()
	select {
	case <-told:
	case <-first.C:
	}
	udp := scanUDP(ctx, at, p)
	<-told
	return []Port{udp, tcp}
}

// portStates is Ports, once for all checks of a target.
func portStates(ctx context.Context, r *Run) []Port {
	return r.Memo("ports "+r.Server.Addr.String(), func() any { return Ports(ctx, r.Server.Addr, r.Options) }).([]Port)
}

// scanTCP tells the state of a TCP port.
func scanTCP(ctx context.Context, at netip.AddrPort, p *pace, connect bool) Port {
	port := Port{Proto: "tcp", Number: at.Port()}
	if !connect && at.Addr().Zone() == "" {
		state, reason, err := scanSyn(ctx, at, p)
		if err == nil {
			port.State, port.Reason = state, reason
			return port
		}
	}
	for try := range portTries {
		var lost bool
		if port.State, port.Reason, lost = tryConnect(ctx, at, p.wait(try), p); !lost || ctx.Err() != nil {
			break
		}
	}
	return port
}

// tryConnect makes one TCP connection, and tells whether nothing came back.
func tryConnect(ctx context.Context, at netip.AddrPort, wait time.Duration, p *pace) (state, reason string, lost bool) {
	begin := time.Now()
	d := net.Dialer{Timeout: wait, KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err == nil {
		p.learn(time.Since(begin))
		c.Close()
		return StateOpen, reasonSynAck, false
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		p.learn(time.Since(begin))
		return StateClosed, reasonRefused, false
	case errors.Is(err, syscall.ENETUNREACH):
		return StateFiltered, reasonNet, false
	case errors.Is(err, syscall.EHOSTUNREACH):
		return StateFiltered, reasonHost, false
	case errors.Is(err, syscall.ENOPROTOOPT):
		return StateFiltered, reasonProto, false
	case errors.Is(err, syscall.EACCES):
		return StateFiltered, reasonAdmin, false
	case errors.Is(err, syscall.EPERM):
		return StateFiltered, reasonOurs, false
	}
	return StateFiltered, reasonSilent, true
}

// ScanTCP tells which of a host's TCP ports are open, in the order of ports, each by a
// connection that is closed at once: 100 at a time, 1,000 a second at most.
func ScanTCP(ctx context.Context, host netip.Addr, ports []uint16, o *Options) []Port {
	p := newPace(o)
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
			q := Port{Proto: "tcp", Number: n}
			for try := range manyTries {
				wait := p.first
				if rtt := time.Duration(p.rtt.Load()); rtt > 0 {
					wait = min(wait, max(portRTTs*rtt, manyLeast))
				}
				var lost bool
				if q.State, q.Reason, lost = tryConnect(ctx, netip.AddrPortFrom(host, n), wait<<try, p); !lost {
					break
				}
			}
			found[i] = q
		})
	}
	wg.Wait()
	var open []Port
	for _, q := range found {
		if q.State == StateOpen {
			open = append(open, q)
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

// udpPayloads returns what a UDP port is asked, two for each try: a service that is
// silent to one may answer another.
func udpPayloads(port uint16) [][]byte {
	switch port {
	case portQUIC, portHTTPS:
		return [][]byte{quicProbe()}
	case portMDNS:
		return [][]byte{query(0, mustName("_services._dns-sd._udp.local"), wire.TypePTR)}
	}
	chaos := func(name string, flags uint16) []byte {
		q := Query{Name: mustName(name), Type: wire.TypeTXT, Class: wire.ClassCH, Flags: flags}
		return q.Bytes()
	}
	status := make([]byte, wire.HeaderLen)
	_, _ = rand.Read(status[:2])
	status[2] = 2 << 3 // opcode STATUS, as nmap asks
	withEDNS := Query{Name: wire.Root, Type: wire.TypeNS, EDNS: &EDNS{Size: ednsSize}}
	return [][]byte{
		chaos("version.bind", wire.FlagRD),
		query(0, wire.Root, wire.TypeSOA),
		status,
		withEDNS.Bytes(),
		chaos("id.server", 0),
		query(wire.FlagRD, mustName("example.com"), wire.TypeA),
	}
}

// quicProbe returns a datagram that a QUIC server answers with the versions that it
// speaks, since it has none that this asks for (RFC 9000, section 6.1).
func quicProbe() []byte {
	b := make([]byte, 1200) // the least that is answered (RFC 9000, section 14.1)
	_, _ = rand.Read(b[1:32])
	b[0] = 0xc0
	copy(b[1:], []byte{0x1a, 0x2a, 0x3a, 0x4a}) // a version that is reserved to force this (RFC 9000, section 15)
	b[5], b[14] = 8, 8                          // lengths of both connection IDs
	return b
}

// A received is what came to a socket: a datagram, or with icmp an error.
type received struct {
	data []byte
	from netip.AddrPort
	icmp *icmpError
}

// An icmpError is a message that a datagram of ours was not delivered.
type icmpError struct {
	v6         bool
	kind, code uint8
	from       netip.Addr // who sends it; zero if the system does not tell
}

// reason returns nmap's word for an ICMP error, or "" for one that tells no state.
func (e *icmpError) reason() string {
	switch {
	case e.v6 && e.kind == 1 && int(e.code) < 7:
		return [...]string{"no-route", reasonAdmin, "beyond-scope", reasonHost, reasonPort, reasonAdmin, "reject-route"}[e.code]
	case e.v6 && e.kind == 3, !e.v6 && e.kind == 11:
		return "time-exceeded"
	case !e.v6 && e.kind == 3:
		switch e.code {
		case 0:
			return reasonNet
		case 1:
			return reasonHost
		case 2:
			return reasonProto
		case 3:
			return reasonPort
		case 9:
			return "net-prohibited"
		case 10:
			return "host-prohibited"
		case 13:
			return reasonAdmin
		}
	}
	return ""
}

// scanUDP tells the state of a UDP port.
func scanUDP(ctx context.Context, at netip.AddrPort, p *pace) Port {
	port := Port{Proto: "udp", Number: at.Port(), State: StateOpenFiltered, Reason: reasonSilent}
	s, err := openUDP(ctx, at)
	if err != nil {
		port.State, port.Reason, _ = unsent(err)
		return port
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	payloads := udpPayloads(at.Port())
	buf := make([]byte, wire.MaxMessage)
	begin := time.Now()
	var asked [][]byte
	for try := range portTries {
		last := time.Now()
		for i := range 2 {
			msg := payloads[(2*try+i)%len(payloads)]
			if i > 0 && len(payloads) == 1 {
				break
			}
			asked = append(asked, msg)
			if err := s.send(msg); err != nil {
				if state, reason, ok := unsent(err); ok {
					port.State, port.Reason = state, reason
					return port
				}
			}
		}
		if try == 0 {
			begin = last
		}
		_ = s.SetReadDeadline(last.Add(p.wait(try)))
		done := false
		for !done {
			m, err := s.receive(buf)
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				state, reason, ok := unsent(err)
				if ok {
					port.State, port.Reason = state, reason
				}
				done = ok
				if !ok {
					break
				}
				continue
			}
			done = port.judge(at, m, asked)
		}
		if done {
			if port.State == StateOpen || port.State == StateClosed {
				p.learn(time.Since(begin))
			}
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	return port
}

// judge takes in what came to the socket of a UDP port, and tells whether the state is
// known by it.
func (port *Port) judge(at netip.AddrPort, m received, asked [][]byte) bool {
	if e := m.icmp; e != nil {
		reason := e.reason()
		switch {
		case reason == "":
			return false
		case reason == reasonPort && (!e.from.IsValid() || e.from.Unmap() == at.Addr().Unmap()):
			// Of a router on the way this would be a firewall's word.
			port.State, port.Reason = StateClosed, reason
		default:
			port.State, port.Reason = StateFiltered, reason
		}
		return true
	}
	from := netip.AddrPortFrom(m.from.Addr().Unmap().WithZone(""), m.from.Port())
	if from == netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()) {
		port.State, port.Reason = StateOpen, reasonAnswer
		return true
	}
	for _, q := range asked {
		if len(m.data) >= wire.HeaderLen && len(q) >= wire.HeaderLen && binary.BigEndian.Uint16(m.data) == binary.BigEndian.Uint16(q) && m.data[2]&0x80 != 0 {
			port.From = from.String()
		}
	}
	return false
}

// unsent returns the state of a port that our own system does not let us reach, or
// that it has an error of.
func unsent(err error) (state, reason string, ok bool) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return StateClosed, reasonPort, true
	case errors.Is(err, syscall.EHOSTUNREACH):
		return StateFiltered, reasonHost, true
	case errors.Is(err, syscall.ENETUNREACH):
		return StateFiltered, reasonNet, true
	case errors.Is(err, syscall.EACCES):
		return StateFiltered, reasonAdmin, true
	case errors.Is(err, syscall.EPERM):
		return StateFiltered, reasonOurs, true
	}
	return StateOpenFiltered, reasonSilent, false
}
