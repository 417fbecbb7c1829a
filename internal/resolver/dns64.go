package resolver

import (
	"bytes"
	"net/netip"
	"slices"

	"port53/internal/cache"
	"port53/internal/wire"
)

// A DNS64 makes addresses of IPv6 out of those of IPv4, for clients that reach IPv4 through a
// translator alone (RFC 6147).
type DNS64 struct {
	// Prefixes are those of the translators, each of 32, 40, 48, 56, 64 or 96 bits (RFC 6052,
	// section 2.2). With each of them an address is made.
	Prefixes []netip.Prefix
	// Exclude are networks that such clients cannot reach: addresses of IPv6 in them count as
	// if they were not there, and of those of IPv4 nothing is made.
	Exclude []netip.Prefix
}

const (
	// wayDNS64 is where the cache has finished answers for clients of a DNS64.
	wayDNS64 = 0xFFFE
	// dns64TTL is how long a made address lives, in seconds, if no SOA record says for how
	// long there is none (RFC 6147, section 5.1.7).
	dns64TTL = 600
	// ipv4OnlyTTL is how long what is made of ipv4only.arpa lives: as long as what is built in.
	ipv4OnlyTTL = 10800
)

// ipv4Only is the name that clients find out prefixes by (RFC 7050; RFC 8880, section 7.1).
var ipv4Only = []byte("\x08ipv4only\x04arpa\x00")

// wellKnown is the prefix that no network has for its own, and that stands for public
// addresses alone (RFC 6052, section 3.1).
var wellKnown = netip.MustParsePrefix("64:ff9b::/96")

// isDNS64 reports whether a question for a name in lower case is one that a [DNS64] answers without
// asking anybody: for the addresses of ipv4only.arpa.
func isDNS64(name []byte, typ wire.Type) bool {
	return typ == wire.TypeAAAA && bytes.Equal(name, ipv4Only)
}

// MakesDNS64 reports whether a question for a name in lower case is one that the [DNS64] has an answer of its own to,
// whatever zone the name is in: for the addresses of ipv4only.arpa, and for the name of an address that was made
// (RFC 6147, section 5.3.1).
func (s *Config) MakesDNS64(name []byte, typ wire.Type) bool {
	if s.DNS64 == nil {
		return false
	}
	if typ == wire.TypePTR {
		_, made := s.DNS64.madeOf(name)
		return made
	}
	return isDNS64(name, typ)
}

// answers returns the part of the cache in which finished answers lie: those for
// clients of the DNS64 have a part of their own.
func (s *Config) answers(typ wire.Type, wants Wants) cache.Partition {
	if wants.DNS64 && s.DNS64 != nil && (typ == wire.TypeAAAA || typ == wire.TypePTR) {
		return s.part(wayDNS64)
	}
	return s.part(0)
}

// answer finds the whole answer to a question. Whoever validates himself makes addresses himself as
// well (RFC 6147, section 5.5).
func (t *task) answer(name []byte, typ wire.Type, wants Wants) *result {
	d := t.s.DNS64
	switch {
	case d == nil || !wants.DNS64 || wants.CD:
	case typ == wire.TypePTR:
		if v4, ok := d.madeOf(name); ok {
			return t.reverse(name, v4)
		}
	case typ == wire.TypeAAAA:
		res := t.addresses(d, name)
		if res.made && !wants.DO {
			res.sec = worseSecurity(res.sec, secInsecure) // no AD to who knows nothing of signatures (RFC 6147, section 5.5)
		}
		return res
	}
	return t.follow(name, typ)
}

// addresses finds the addresses of IPv6 that a name has, or makes some of those of IPv4 (RFC 6147,
// section 5.1).
func (t *task) addresses(d *DNS64, name []byte) *result {
	if isDNS64(name, wire.TypeAAAA) {
		well := &wire.RRset{Owner: ipv4Only, Type: wire.TypeA, TTL: ipv4OnlyTTL, Data: [][]byte{{192, 0, 0, 170}, {192, 0, 0, 171}}}
		return &result{answer: []*wire.RRset{d.synthesize(well, ipv4OnlyTTL, nil)}, sec: secInsecure, ede: edeNone, made: true}
	}
	real := t.follow(name, wire.TypeAAAA)
	failed := real.rcode == wire.ServFail
	switch {
	case failed && (real.sec == secBogus || t.b.left() == 0), real.rcode != wire.NoError && !failed:
		return real
	}
	if d.reachable(real) {
		return real
	}
	four := t.follow(name, wire.TypeA)
	switch {
	case failed && four.sec == secSecure: // nobody has proven that there is none (RFC 6147, section 5.5)
		return real
	case four.rcode == wire.ServFail:
		return four
	case four.rcode != wire.NoError:
		return real
	}
	ttl := uint32(dns64TTL)
	for _, s := range real.authority {
		if s.Type == wire.TypeSOA {
			ttl = s.TTL
		}
	}
	made := &result{authority: four.authority, sec: four.sec, ede: four.ede, detour: real.detour || four.detour, made: true}
	if !failed {
		made.sec = worseSecurity(four.sec, real.sec)
	}
	for _, s := range four.answer {
		if s.Type != wire.TypeA {
			made.answer = append(made.answer, s)
			continue
		}
		if six := d.synthesize(s, ttl, private); len(six.Data) > 0 {
			made.answer = append(made.answer, six)
			continue
		}
		return real
	}
	if n := len(made.answer); n == 0 || made.answer[n-1].Type != wire.TypeAAAA {
		return real // there is none of IPv4, either
	}
	return made
}

// reachable takes the addresses out of an answer that clients cannot reach, and reports whether
// others are left.
func (d *DNS64) reachable(res *result) (there bool) {
	answer := res.answer[:0:0]
	for _, s := range res.answer {
		if s.Type != wire.TypeAAAA {
			answer = append(answer, s)
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(s.Data), d.excluded)
		switch {
		case len(kept) == len(s.Data):
		case len(kept) == 0:
			res.sec = worseSecurity(res.sec, secInsecure)
			continue
		default: // what is left of a set is not signed
			s = &wire.RRset{Owner: s.Owner, Type: s.Type, TTL: s.TTL, Data: kept}
			res.sec = worseSecurity(res.sec, secInsecure)
		}
		answer, there = append(answer, s), true
	}
	res.answer = answer
	return there
}

// excluded reports whether the address in a record's data is in a network that is not reached.
func (d *DNS64) excluded(data []byte) bool {
	a, ok := netip.AddrFromSlice(data)
	return ok && slices.ContainsFunc(d.Exclude, func(p netip.Prefix) bool { return p.Contains(a) })
}

// synthesize makes a set of addresses of IPv6 out of one of IPv4, which lives no longer than ttl. With
// the well-known prefix none is made for which inside holds, nor with any of addresses that no
// other machine has.
func (d *DNS64) synthesize(four *wire.RRset, ttl uint32, inside func(netip.Addr) bool) *wire.RRset {
	six := &wire.RRset{Owner: four.Owner, Type: wire.TypeAAAA, TTL: min(four.TTL, ttl)}
	for _, p := range d.Prefixes {
		for _, data := range four.Data {
			a, ok := netip.AddrFromSlice(data)
			switch {
			case !ok || a.IsLoopback() || a.As4()[0] == 0 || inside != nil && d.excluded(data):
			case p == wellKnown && inside != nil && inside(a):
			default:
				b := embed(p, a.As4())
				six.Data = append(six.Data, b[:])
			}
		}
	}
	return six
}

// embed returns the address of IPv6 that stands for one of IPv4 (RFC 6052, section 2.2): its
// octets follow the prefix, but for the octet of bits 64 to 71, which is 0.
func embed(p netip.Prefix, a [4]byte) [16]byte {
	six := p.Masked().Addr().As16()
	at := p.Bits() / 8
	for _, octet := range a {
		if at == reservedOctet {
			at++
		}
		six[at] = octet
		at++
	}
	return six
}

const reservedOctet = 8

// extract returns the address of IPv4 that one of IPv6 stands for.
func extract(p netip.Prefix, six [16]byte) (a [4]byte) {
	at := p.Bits() / 8
	for i := range a {
		if at == reservedOctet {
			at++
		}
		a[i] = six[at]
		at++
	}
	return a
}

// madeOf returns the address of IPv4 that the address of a name below ip6.arpa was made of.
func (d *DNS64) madeOf(name []byte) (v4 netip.Addr, ok bool) {
	a, ok := wire.ReversedIPv6(name)
	if !ok {
		return v4, false
	}
	return d.Embedded(a)
}

// Embedded returns the address of IPv4 that one of IPv6 stands for, if it is within a prefix.
func (d *DNS64) Embedded(six netip.Addr) (v4 netip.Addr, ok bool) {
	for _, p := range d.Prefixes {
		if p.Contains(six) {
			return netip.AddrFrom4(extract(p, six.As16())), true
		}
	}
	return v4, false
}

// reverse finds the names of an address that was made: those of the address it was made of,
// behind an alias (RFC 6147, section 5.3.1). If there are none there is no alias.
func (t *task) reverse(name []byte, v4 netip.Addr) *result {
	target := wire.ReverseName(v4)
	local := t.s.Local != nil && t.s.Local.Apex(target, wire.TypePTR) != nil
	if route, _ := t.s.route(target); private(v4) && route == nil && !local {
		return &result{rcode: wire.NXDomain, ede: edeNone, sec: secInsecure, made: true} // nobody out there knows of it
	}
	res := t.follow(target, wire.TypePTR)
	if res.rcode == wire.ServFail {
		return res
	}
	res.made, res.sec = true, worseSecurity(res.sec, secInsecure)
	n := len(res.answer)
	if res.rcode != wire.NoError || n == 0 || res.answer[n-1].Type != wire.TypePTR {
		res.answer = nil
		return res
	}
	alias := &wire.RRset{Owner: name, Type: wire.TypeCNAME, TTL: smallest(res.answer), Data: [][]byte{target}}
	res.answer = append([]*wire.RRset{alias}, res.answer...)
	return res
}
