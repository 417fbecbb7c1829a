package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// The bounds of a probe server: what a run of the resolver's checks needs.
const (
	probeSeen    = 65536 // questions that are remembered
	probeTargets = 100   // servers without addresses in one delegation (NXNSAttack)
	probeLinks   = 50    // aliases in a row
	ProbeMisses  = 200   // replies with wrong IDs
)

// ReceivedQuery is one question as it arrived at a Probe.
type ReceivedQuery struct {
	From   netip.AddrPort
	ID     uint16
	Name   []byte // as spelled
	Type   wire.Type
	EDNS   bool
	Size   uint16
	Cookie []byte
	Subnet []byte // data of the client subnet option (RFC 7871)
	TCP    bool
}

// A Probe is the authoritative server of a zone that is delegated to it, which
// remembers what a resolver asks it. What it answers depends on a name's labels:
// "chain" begins fifty aliases, "nxns" is delegated to a hundred names, "reb" has
// private addresses, "bail" brings records that are not its own, "near" comes behind
// wrong IDs, anything else has an address and text. It is safe for concurrent use.
type Probe struct {
	Zone []byte

	mu   sync.Mutex
	seen []ReceivedQuery
}

// NewProbe returns the probe of a zone.
func NewProbe(zone []byte) *Probe { return &Probe{Zone: wire.Lower(nil, zone)} }

// Record remembers a question.
func (p *Probe) Record(s ReceivedQuery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) < probeSeen {
		p.seen = append(p.seen, s)
	}
}

// Below returns what arrived for names at or below a name.
func (p *Probe) Below(name []byte) []ReceivedQuery {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []ReceivedQuery
	for _, s := range p.seen {
		if wire.Subdomain(s.Name, name) {
			out = append(out, s)
		}
	}
	return out
}

// All returns all that arrived.
func (p *Probe) All() []ReceivedQuery { return p.Below(wire.Root) }

// Serve answers on both sockets until ctx ends, and closes them.
func (p *Probe) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	stop := context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.stream(c) })
		}
	})
	buf := make([]byte, wire.MaxMessage)
	for {
		n, from, err := udp.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			tcp.Close()
			return err
		}
		addr, err := netip.ParseAddrPort(from.String())
		if err != nil {
			continue
		}
		for _, m := range p.Reply(buf[:n], addr, false) {
			_, _ = udp.WriteTo(m, from) // a lost reply is the resolver's to ask for again
		}
	}
}

func (p *Probe) stream(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return
	}
	for {
		msg, err := exchange.ReadMessage(c)
		if err != nil {
			return
		}
		for _, m := range p.Reply(msg, from, true) {
			if _, err := c.Write(exchange.AppendFrame(nil, m)); err != nil {
				return
			}
		}
	}
}

// Reply remembers a question and returns what to send, in order.
func (p *Probe) Reply(msg []byte, from netip.AddrPort, tcp bool) [][]byte {
	var m wire.Message
	if m.Parse(msg) != 0 || m.Flags&wire.FlagQR != 0 || !m.HasQuestion || m.Opcode != wire.OpcodeQuery {
		return nil
	}
	s := ReceivedQuery{From: from, ID: m.ID, Name: bytes.Clone(m.Name), Type: m.Type, EDNS: m.EDNS, Size: m.UDPSize, TCP: tcp}
	if c, ok := m.Option(wire.OptionCookie); ok {
		s.Cookie = bytes.Clone(c)
	}
	if c, ok := m.Option(8); ok {
		s.Subnet = bytes.Clone(c)
	}
	p.Record(s)
	if !wire.Subdomain(m.Name, p.Zone) {
		return [][]byte{p.message(&m, wire.Refused, nil)}
	}
	name := wire.Lower(nil, m.Name)
	rel := name[:len(name)-len(p.Zone)]
	kind := ""
	for r := rel; len(r) > 0; r = wire.Parent(r) {
		kind = string(r[1 : 1+int(r[0])])
	}
	if kind == "nxt" {
		return [][]byte{p.message(&m, wire.NXDomain, nil)}
	}
	good := p.message(&m, wire.NoError, p.records(kind, name, rel, m.Type))
	if kind != "near" || tcp {
		return [][]byte{good}
	}
	var out [][]byte
	for i := range ProbeMisses {
		w := bytes.Clone(good)
		binary.BigEndian.PutUint16(w, m.ID+1+uint16(i))
		out = append(out, w)
	}
	return append(out, good)
}

// A recordList is the records of a reply, as they are put together.
type recordList []wire.Record

func (l *recordList) add(sec wire.Section, owner []byte, t wire.Type, data ...byte) {
	*l = append(*l, wire.Record{Owner: owner, Type: t, Class: wire.ClassIN, Section: sec, Data: data})
}

// records returns what the zone has for a name and type. kind is the label below the zone,
// rel the name without the zone.
func (p *Probe) records(kind string, name, rel []byte, t wire.Type) []wire.Record {
	var l recordList
	switch {
	case len(rel) == 0 && t == wire.TypeNS:
		l.add(wire.Answer, name, wire.TypeNS, Below("ns", p.Zone)...)
	case len(rel) == 0:
	case kind == "chain":
		if n := chainNumber(rel); n < probeLinks {
			l.add(wire.Answer, name, wire.TypeCNAME, append(append([]byte{3}, fmt.Sprintf("%03d", n+1)...), wire.Parent(name)...)...)
		}
	case kind == "nxns" && len(rel) > 5:
		for i := range probeTargets {
			l.add(wire.Authority, name, wire.TypeNS, Below(fmt.Sprintf("t%d", i), Below("nxt", p.Zone))...)
		}
	case kind == "reb" && t == wire.TypeA:
		l.add(wire.Answer, name, wire.TypeA, 10, 0, 0, 53)
	case kind == "bail" && t == wire.TypeA:
		return p.bail(name, rel)
	case t == wire.TypeA:
		l.add(wire.Answer, name, wire.TypeA, 192, 0, 2, 1)
	case t == wire.TypeTXT:
		l.add(wire.Answer, name, wire.TypeTXT, append([]byte{180}, bytes.Repeat([]byte("x"), 180)...)...)
	}
	return l
}

// bail returns an address, and records of the victim that the labels before "bail" name, in
// hexadecimal, in the section and shape of the pattern before them.
func (p *Probe) bail(name, rel []byte) []wire.Record {
	var l recordList
	victim, pattern := bailVictim(rel)
	if victim == nil || pattern != 3 {
		l.add(wire.Answer, name, wire.TypeA, 192, 0, 2, 1)
	}
	if victim == nil {
		return l
	}
	switch pattern {
	case 0:
		l.add(wire.Additional, victim, wire.TypeA, 203, 0, 113, 66)
	case 1:
		l.add(wire.Answer, victim, wire.TypeA, 203, 0, 113, 66)
	case 2:
		l.add(wire.Authority, victim, wire.TypeNS, Below("ns", p.Zone)...)
	case 3:
		l.add(wire.Answer, name, wire.TypeCNAME, victim...)
		l.add(wire.Answer, victim, wire.TypeA, 203, 0, 113, 66)
	case 4:
		l.add(wire.Authority, wire.Parent(victim), wire.TypeNS, victim...)
		l.add(wire.Additional, victim, wire.TypeA, 203, 0, 113, 66)
	case 5:
		l.add(wire.Answer, wire.Parent(victim), wire.TypeDNAME, p.Zone...)
	}
	return l
}

func chainNumber(rel []byte) int {
	n := 0
	for _, b := range rel[1 : 1+int(rel[0])] {
		if b >= '0' && b <= '9' {
			n = n*10 + int(b-'0')
		}
	}
	return n
}

// bailVictim reads the labels "N", hexadecimal parts of the victim's name, "bail".
func bailVictim(rel []byte) ([]byte, int) {
	if len(rel) < 3 {
		return nil, 0
	}
	pattern := int(rel[1] - '0')
	rel = wire.Parent(rel)
	var hexName strings.Builder
	for len(rel) > 5 {
		hexName.Write(rel[1 : 1+int(rel[0])])
		rel = wire.Parent(rel)
	}
	v := make([]byte, hexName.Len()/2)
	if _, err := fmt.Sscanf(hexName.String(), "%x", &v); err != nil {
		return nil, 0
	}
	if n, err := wire.CheckName(v); err != nil || n != len(v) || len(v) < 3 {
		return nil, 0
	}
	return v, pattern
}

// message builds a reply.
func (p *Probe) message(m *wire.Message, rc wire.Rcode, rr []wire.Record) []byte {
	flags := wire.FlagQR | m.Flags&wire.FlagRD | uint16(rc)
	if len(rr) == 0 || rr[0].Section == wire.Answer {
		flags |= wire.FlagAA
	}
	b := wire.AppendQuery(nil, m.ID, flags, m.Name, m.Type)
	if len(rr) == 0 && rc != wire.Refused {
		soa := append(
			append(bytes.Clone(Below("ns", p.Zone)), p.Zone...),
			0,
			0,
			0,
			1,
			0,
			0,
			14,
			16,
			0,
			0,
			3,
			132,
			0,
			9,
			58,
			128,
			0,
			0,
			0,
			0,
		)
		rr = []wire.Record{{Owner: p.Zone, Type: wire.TypeSOA, Section: wire.Authority, Data: soa}}
	}
	for _, x := range rr {
		b = append(b, x.Owner...)
		b = binary.BigEndian.AppendUint16(b, uint16(x.Type))
		b = append(b, 0, 1, 0, 0, 0, 0) // class IN, TTL 0: every question arrives
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(x.Data))), x.Data...)
		b[7+2*int(x.Section)]++
	}
	if m.EDNS {
		// A resolver that gets no cookie back sends none any more (RFC 7873, section 5.3).
		var options []byte
		if c, ok := m.Option(wire.OptionCookie); ok && len(c) >= 8 {
			options = wire.AppendOption(nil, wire.OptionCookie, append(bytes.Clone(c[:8]), "a server"...))
		}
		b = wire.AppendOPT(b, EDNSSize, false, options)
		b[11]++
	}
	return b
}
