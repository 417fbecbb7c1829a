// Package parent stands between a zone that is signed here and the zone above it: it looks what
// all servers of both have, and tells the parent what it is to have, by update messages (RFC 2136)
// and by NOTIFY to where the parent wants it (RFC 9859).
//
// What is seen decides on the steps of a key's roll ([signer.Lifecycle]), so questions go over TCP, which
// nobody forges who is not on the way, and each server is asked for itself. Who is on the way cannot
// forge what servers of a signed parent say either: each answer is validated from a trust anchor down.
// Package parent keeps nothing between two looks.
package parent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/signer"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// A Checker asks. The zero value asks over the system's sockets, and knows no roots.
type Checker struct {
	Roots  []chain.Server // where the parent's servers are found from
	IPv4   bool           // which addresses may be used
	IPv6   bool
	Dialer exchange.Dialer

	// Anchors are what answers of the parent's servers, where these are found from the roots, are
	// validated from; none: they are believed.
	Anchors []chain.Anchor
	Now     time.Time // that signatures have to be valid at; zero: now
}

// A Target is what is looked at.
type Target struct {
	Zone    []byte           // in lower case
	Parent  []netip.AddrPort // that are asked for DS records; empty: all servers of the parent zone
	Servers []netip.AddrPort // of the zone
	Names   []chain.Server   // more of them; those without addresses are looked up
}

// Bounds of a look.
const (
	askTime    = 5 * time.Second // for each try
	maxServers = 32              // that are asked in one look of each zone
	maxAsking  = 8               // at the same time
)

func (l *Checker) route(tcp bool) *exchange.Route {
	return &exchange.Route{TCP: tcp, Timeout: askTime, Tries: 1, Dialer: l.Dialer}
}

// ask asks one server over TCP or, if it takes no connections, over UDP with a cookie.
func (l *Checker) ask(ctx context.Context, to netip.AddrPort, name []byte, t wire.Type, flags uint16) (*exchange.Reply, error) {
	q := &exchange.Question{
		Name: name, Type: t, Class: wire.ClassIN, Flags: flags, EDNS: true, DO: true, UDPSize: exchange.UDPSize, Cookie: true,
	}
	r, err := l.route(true).Ask(ctx, to, q)
	if err != nil && ctx.Err() == nil {
		r, err = l.route(false).Ask(ctx, to, q)
	}
	if err != nil {
		return nil, errors.New(exchange.ErrorText(err))
	}
	return r, nil
}

// walk begins at the roots.
func (l *Checker) walk() *chain.Walk {
	t := &chain.Tracer{Asker: l.route(false), Roots: l.Roots, Port: 53, IPv4: l.IPv4, IPv6: l.IPv6}
	return t.Walk(&exchange.Question{Class: wire.ClassIN, EDNS: true, DO: true, UDPSize: exchange.UDPSize, Cookie: true})
}

// A place is a server, and the addresses that it is asked at in turn.
type place struct {
	name  string
	addrs []netip.AddrPort
}

func places(servers []chain.Server) (list []place) {
	for _, s := range servers[:min(len(servers), maxServers)] {
		p := place{name: wire.NameText(s.Name)}
		for _, a := range s.Addrs {
			p.addrs = append(p.addrs, netip.AddrPortFrom(a, 53))
		}
		list = append(list, p)
	}
	return list
}

func single(addrs []netip.AddrPort) (list []place) {
	for _, a := range addrs[:min(len(addrs), maxServers)] {
		list = append(list, place{a.String(), []netip.AddrPort{a}})
	}
	return list
}

// Check asks all servers of the zone and of its parent. What could not be found or asked is in what
// was seen.
func (l *Checker) Check(ctx context.Context, t *Target) *signer.Observation {
	above, own := single(t.Parent), single(t.Servers)
	flags := wire.FlagRD // who is named may be a resolver
	w := l.walk()
	var trouble string
	var zones []chain.Delegation
	if len(t.Parent) == 0 {
		found, err := w.Delegations(ctx, t.Zone)
		switch last := len(found) - 1; {
		case err != nil:
			trouble = "the servers of the parent zone cannot be found: " + err.Error()
		case last < 1:
			trouble = "the root has no parent"
		default:
			above, flags, zones = places(found[last].Parents), 0, found[:last]
		}
	}
	names := slices.Clone(t.Names)
	for i := range names {
		if n := &names[i]; len(n.Addrs) == 0 {
			n.Addrs, _ = w.AddressesOf(ctx, n.Name) // without, that is what is said of it
		}
	}
	own = append(own, places(names)...)
	s := &signer.Observation{Parent: make([]signer.ParentServer, len(above)), Zone: make([]signer.ZoneServer, len(own))}
	var asking sync.WaitGroup
	room := make(chan struct{}, maxAsking)
	each := func(n int, f func(i int)) {
		for i := range n {
			asking.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				f(i)
			})
		}
	}
	replies := make([]*exchange.Reply, len(above))
	each(len(above), func(i int) { s.Parent[i], replies[i] = l.parent(ctx, t.Zone, above[i], flags) })
	each(len(own), func(i int) { s.Zone[i] = l.server(ctx, t.Zone, own[i]) })
	asking.Wait()
	if len(zones) > 0 && len(l.Anchors) > 0 {
		l.validate(ctx, w, zones, t.Zone, s.Parent, replies)
	}
	if trouble != "" {
		s.Parent = append(s.Parent, signer.ParentServer{Server: "parent", Error: trouble})
	}
	s.At = time.Now()
	return s
}

// parent asks a server of the parent for the DS records.
func (l *Checker) parent(ctx context.Context, zone []byte, p place, flags uint16) (signer.ParentServer, *exchange.Reply) {
	out := signer.ParentServer{Server: p.name, Error: "it has no address that can be found"}
	for _, a := range p.addrs {
		r, err := l.ask(ctx, a, zone, wire.TypeDS, flags)
		if err != nil {
			out.Error = err.Error()
			continue
		}
		switch m := &r.Message; {
		case m.Rcode != wire.NoError:
			out.Error = m.Rcode.String()
		case flags == 0 && m.Flags&wire.FlagAA == 0:
			out.Error = "it is not authoritative for the parent zone"
		default:
			out.Error, out.At = "", time.Now().UTC().Truncate(time.Second)
			set := answers(m, zone, wire.TypeDS)
			out.DS, out.TTL = set.Data, set.TTL
			return out, r
		}
	}
	return out, nil
}

// validate takes back what servers of the parent said that does not hold: a step of a roll that follows a
// forged answer could make the zone bogus. Of a parent that is proven to be unsigned all is believed.
//
// zones are those from the root down to the parent.
func (l *Checker) validate(
	ctx context.Context, w *chain.Walk, zones []chain.Delegation, zone []byte, said []signer.ParentServer, replies []*exchange.Reply,
) {
	now := l.Now
	if now.IsZero() {
		now = time.Now()
	}
	known := map[string]*exchange.Reply{}
	for i := range said {
		p := &said[i]
		if p.Error != "" {
			continue
		}
		v := chain.Validator{
			Anchors: l.Anchors, Now: now,
			Cut: func(name []byte) bool {
				return slices.ContainsFunc(zones, func(d chain.Delegation) bool { return bytes.Equal(d.Zone, name) })
			},
			Ask: func(ctx context.Context, name []byte, t wire.Type) (*exchange.Reply, error) {
				if t == wire.TypeDS && bytes.Equal(name, zone) {
					return replies[i], nil
				}
				key := string(name) + t.String()
				if known[key] == nil {
					r, err := w.Fetch(ctx, name, t)
					if err != nil {
						return nil, err
					}
					known[key] = r
				}
				return known[key], nil
			},
		}
		switch done := v.Validate(ctx, zone, wire.TypeDS); done.Security {
		case chain.Insecure:
		case chain.Secure:
			for _, sig := range answers(&replies[i].Message, zone, wire.TypeDS).Sigs {
				if len(sig) > 8 {
					p.TTL = max(p.TTL, binary.BigEndian.Uint32(sig[4:])) // the one in the reply is not signed
				}
			}
		default:
			*p = signer.ParentServer{Server: p.Server, Error: "its answer cannot be validated"}
			if done.Broken != nil {
				p.Error += ": " + done.Broken.Text
			}
		}
	}
}

// server asks a server of the zone for its keys, and who signed its SOA record.
func (l *Checker) server(ctx context.Context, zone []byte, p place) signer.ZoneServer {
	out := signer.ZoneServer{Server: p.name, Error: "it has no address that can be found"}
	for _, a := range p.addrs {
		keys, err := l.ask(ctx, a, zone, wire.TypeDNSKEY, 0)
		var soa *exchange.Reply
		if err == nil {
			soa, err = l.ask(ctx, a, zone, wire.TypeSOA, 0)
		}
		if err != nil {
			out.Error = err.Error()
			continue
		}
		set := answers(&soa.Message, zone, wire.TypeSOA)
		switch {
		case keys.Message.Rcode != wire.NoError || soa.Message.Rcode != wire.NoError:
			out.Error = max(keys.Message.Rcode, soa.Message.Rcode).String()
		case soa.Message.Flags&wire.FlagAA == 0 || len(set.Data) != 1 || len(set.Data[0]) < 22:
			out.Error = "it does not have the zone"
		default:
			out.Error, out.Keys, out.Sigs = "", answers(&keys.Message, zone, wire.TypeDNSKEY).Data, set.Sigs
			out.Serial = serialOf(set.Data[0])
			return out
		}
	}
	return out
}

// serialOf returns the serial of SOA data, which ends with five numbers.
func serialOf(soa []byte) uint32 {
	b := soa[len(soa)-20:]
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// answers returns the set of a name in the answer section, with its signatures.
func answers(m *wire.Message, name []byte, t wire.Type) *wire.RRset {
	for _, set := range chain.Sets(m, wire.Answer) {
		if set.Type == t && wire.EqualFold(set.Owner, name) {
			return set
		}
	}
	return &wire.RRset{}
}

// Push has a server replace the zone's DS records in its parent zone (RFC 2136); none of them: it
// removes them. The message is signed with key.
func (l *Checker) Push(ctx context.Context, zone []byte, to netip.AddrPort, key *tsig.Key, ds [][]byte, ttl uint32) error {
	above, err := l.apexOf(ctx, wire.Parent(zone), to)
	if err != nil {
		return err
	}
	msg := wire.AppendQuery(nil, 0, uint16(wire.OpcodeUpdate)<<11, above, wire.TypeSOA)
	add := func(class wire.Class, ttl uint32, data []byte) {
		msg = append(append(msg, zone...), 0, byte(wire.TypeDS), 0, byte(class))
		msg = append(msg, byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), byte(len(data)>>8), byte(len(data)))
		msg = append(msg, data...)
		msg[9]++
	}
	add(wire.ClassANY, 0, nil)
	for _, d := range ds {
		add(wire.ClassIN, ttl, d)
	}
	reply, err := l.send(ctx, to, key, msg)
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	if reply.Rcode != wire.NoError {
		return fmt.Errorf("%s does not take the update: %s", to, reply.Rcode)
	}
	return nil
}

// apexOf asks a server which zone of its own a name is in.
func (l *Checker) apexOf(ctx context.Context, name []byte, at netip.AddrPort) ([]byte, error) {
	reply, err := l.ask(ctx, at, name, wire.TypeSOA, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	for i := range reply.Message.Records {
		if r := &reply.Message.Records[i]; r.Type == wire.TypeSOA && r.Section != wire.Additional && wire.Subdomain(name, r.Owner) {
			return wire.Lower(nil, r.Owner), nil
		}
	}
	return nil, fmt.Errorf("%s has no zone that %s is in", at, wire.NameText(name))
}

// send sends a message over TCP, signed if there is a key, and returns the reply.
func (l *Checker) send(ctx context.Context, to netip.AddrPort, key *tsig.Key, msg []byte) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, _ = rand.Read(msg[:2]) // it never fails
	var v *tsig.Verifier
	if key != nil {
		msg, v = tsig.SignRequest(key, msg, time.Now())
	}
	stream, err := l.Dialer.Stream(ctx, to)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	deadline := time.Now().Add(askTime)
	if err := stream.Send(ctx, msg, deadline); err != nil {
		return nil, err
	}
	reply, fit, err := stream.Receive(ctx, msg, deadline)
	if err != nil {
		return nil, err
	}
	if fit != exchange.Exact {
		return nil, errors.New("what it replies does not fit")
	}
	if v != nil {
		if err := v.Verify(reply, time.Now()); err != nil {
			return nil, err
		}
		if err := v.Done(); err != nil {
			return nil, err
		}
	}
	m := &wire.Message{}
	if m.Parse(bytes.Clone(reply)) != 0 {
		return nil, errors.New("its reply cannot be read")
	}
	return m, nil
}

// schemeNotify is the only scheme of DSYNC records that is known (RFC 9859, section 2.1).
const schemeNotify = 1

// NotifyCDS tells the parent that the zone's CDS records have changed, as its DSYNC record wants (RFC
// 9859, section 4). It reports whom it told; nobody: the parent has no such record.
func (l *Checker) NotifyCDS(ctx context.Context, zone []byte) (string, error) {
	w := l.walk()
	found, err := w.Delegations(ctx, zone)
	if err != nil || len(found) < 2 {
		return "", err
	}
	port, target, err := dsync(ctx, w, zone, found[len(found)-1].Above)
	if target == nil || err != nil {
		return "", err
	}
	addrs, err := w.AddressesOf(ctx, target)
	if err != nil {
		return "", err
	}
	msg := wire.AppendQuery(nil, 0, uint16(wire.OpcodeNotify)<<11|wire.FlagAA, zone, wire.TypeCDS)
	for _, a := range addrs {
		to := netip.AddrPortFrom(a, port)
		var m *wire.Message
		if m, err = l.send(ctx, to, nil, slices.Clone(msg)); err != nil {
			continue
		}
		if m.Rcode == wire.NoError {
			return fmt.Sprintf("%s (%s)", wire.NameText(target), to), nil
		}
		err = fmt.Errorf("%s: %s", to, m.Rcode)
	}
	return "", err
}

// dsync finds where the parent wants to be told: _dsync is put behind the first label, and if there
// is nothing, right above the parent's own name (RFC 9859, section 4.1).
func dsync(ctx context.Context, w *chain.Walk, zone, above []byte) (port uint16, target []byte, err error) {
	label := "\x06_dsync"
	head := zone[:1+int(zone[0])]
	rel := zone[:len(zone)-len(above)]
	names := [][]byte{
		slices.Concat(head, []byte(label), wire.Parent(zone)),
		slices.Concat(rel, []byte(label), above),
		slices.Concat([]byte(label), above),
	}
	for i, name := range names {
		if len(name) > wire.MaxName || i == 1 && bytes.Equal(name, names[0]) {
			continue
		}
		r, err := w.Fetch(ctx, name, wire.TypeDSYNC)
		if err != nil {
			return 0, nil, err
		}
		for _, d := range answers(&r.Message, name, wire.TypeDSYNC).Data {
			// The type that it is for, the scheme, the port, the target.
			if len(d) > 5 && wire.Type(d[0])<<8|wire.Type(d[1]) == wire.TypeCDS && d[2] == schemeNotify {
				return uint16(d[3])<<8 | uint16(d[4]), bytes.Clone(d[5:]), nil
			}
		}
	}
	return 0, nil, nil
}
