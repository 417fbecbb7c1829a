package scan

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"time"

	"port53/internal/wire"
)

// The UDP ports that are not asked in plain DNS.
const (
	QUIC  = 853 // DNS over QUIC (RFC 9250, section 4.1.1)
	HTTPS = 443
	MDNS  = 5353 // RFC 6762, section 3
)

// ednsSize is the UDP size that the question with EDNS advertises (DNS Flag Day 2020).
const ednsSize = 1232

// The names that UDP ports are asked for, in wire form.
const (
	nameVersion  = "\x07version\x04bind\x00"
	nameServer   = "\x02id\x06server\x00"
	nameExample  = "\x07example\x03com\x00"
	nameServices = "\x09_services\x07_dns-sd\x04_udp\x05local\x00"
)

// question returns a question with a random ID.
func question(flags uint16, name string, t wire.Type, class wire.Class) []byte {
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	b := wire.AppendQuery(nil, binary.BigEndian.Uint16(id[:]), flags, []byte(name), t)
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(class))
	return b
}

// udpPayloads returns what a UDP port is asked, two for each try: a service that is
// silent to one may answer another.
func udpPayloads(port uint16) [][]byte {
	switch port {
	case QUIC, HTTPS:
		return [][]byte{quicProbe()}
	case MDNS:
		return [][]byte{question(0, nameServices, wire.TypePTR, wire.ClassIN)}
	}
	status := make([]byte, wire.HeaderLen)
	_, _ = rand.Read(status[:2])
	status[2] = 2 << 3 // opcode STATUS, as nmap asks
	withEDNS := wire.AppendOPT(question(0, string(wire.Root), wire.TypeNS, wire.ClassIN), ednsSize, false, nil)
	withEDNS[11]++
	return [][]byte{
		question(wire.FlagRD, nameVersion, wire.TypeTXT, wire.ClassCH),
		question(0, string(wire.Root), wire.TypeSOA, wire.ClassIN),
		status,
		withEDNS,
		question(0, nameServer, wire.TypeTXT, wire.ClassCH),
		question(wire.FlagRD, nameExample, wire.TypeA, wire.ClassIN),
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

// UDP tells the state of a UDP port.
func (s *Scanner) UDP(ctx context.Context, at netip.AddrPort) Port {
	port := Port{Proto: "udp", Number: at.Port(), State: OpenFiltered, Reason: reasonSilent}
	c, err := openUDP(ctx, at)
	if err != nil {
		port.State, port.Reason, _ = unsent(err)
		return port
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	payloads := udpPayloads(at.Port())
	buf := make([]byte, wire.MaxMessage)
	begin := time.Now()
	var asked [][]byte
	for try := range tries {
		last := time.Now()
		for i := range min(2, len(payloads)) {
			msg := payloads[(2*try+i)%len(payloads)]
			asked = append(asked, msg)
			if err := c.send(msg); err != nil {
				if state, reason, ok := unsent(err); ok {
					port.State, port.Reason = state, reason
					return port
				}
			}
		}
		_ = c.SetReadDeadline(last.Add(s.wait(try, leastWait)))
		if port.listen(c, at, buf, asked) {
			if port.State == Open || port.State == Closed {
				s.learn(time.Since(begin))
			}
			return port
		}
		if ctx.Err() != nil {
			break
		}
	}
	return port
}

// listen takes in what comes until the deadline, and reports whether the state is known.
func (p *Port) listen(c *socket, at netip.AddrPort, buf []byte, asked [][]byte) bool {
	for {
		m, err := c.receive(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case err != nil:
			state, reason, ok := unsent(err)
			if ok {
				p.State, p.Reason = state, reason
			}
			return ok
		case p.judge(at, m, asked):
			return true
		}
	}
}

// judge takes in what came to the socket of a UDP port, and reports whether the state is
// known by it.
func (p *Port) judge(at netip.AddrPort, m received, asked [][]byte) bool {
	if e := m.icmp; e != nil {
		reason := e.reason()
		switch {
		case reason == "":
			return false
		case reason == reasonPort && (!e.from.IsValid() || e.from.Unmap() == at.Addr().Unmap()):
			// Of a router on the way this would be a firewall's word.
			p.State, p.Reason = Closed, reason
		default:
			p.State, p.Reason = Filtered, reason
		}
		return true
	}
	from := netip.AddrPortFrom(m.from.Addr().Unmap().WithZone(""), m.from.Port())
	if from == netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()) {
		p.State, p.Reason = Open, reasonAnswer
		return true
	}
	for _, q := range asked {
		if len(m.data) >= wire.HeaderLen && len(q) >= wire.HeaderLen && [2]byte(m.data) == [2]byte(q) && m.data[2]&0x80 != 0 {
			p.From = from.String()
		}
	}
	return false
}
