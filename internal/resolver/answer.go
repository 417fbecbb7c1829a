package resolver

import (
	"bytes"
	"encoding/binary"
	"slices"

	"port53/internal/cache"
	"port53/internal/why"
	"port53/internal/wire"
)

// A result is the whole answer to a client's question, or why there is none.
type result struct {
	rcode     wire.Rcode
	answer    []*wire.RRset
	authority []*wire.RRset
	sec       cache.Security
	ede       int
	text      string // for people; empty: none
	cause     why.Cause
	passing   bool // not to be remembered
	made      bool // addresses were made, or an alias to the names of one
	detour    bool // a part was found past the forwarders, and is not to be remembered as theirs

	room [2]*wire.RRset // of answer, which is enough for most
}

// follow looks up name and the aliases that it leads through (RFC 1034, section
// 3.6.2), each link validated for itself.
func (t *task) follow(name []byte, typ wire.Type) *result {
	res := &result{sec: secSecure, ede: edeNone}
	res.answer = res.room[:0]
	if !t.validate || !t.s.Validate {
		res.sec = secUnchecked
	}
	led := false // by an alias that was found by iteration
	for range t.s.Limits.Aliases + 1 {
		l := t.lookup(name, typ)
		if l.fail != nil {
			res.fail(l.fail.ede, l.fail.text)
			res.passing, res.cause = l.fail.busy, l.fail.cause
			return res
		}
		if t.validate && t.s.Validate {
			if l.sec == secBogus {
				res.bogus(l, name, typ)
				return res
			}
			res.sec = worseSecurity(res.sec, l.sec)
		}
		if t.s.Rebinding && t.filterPrivate(l, led) {
			l.reason, res.sec = wire.EDEFiltered, worseSecurity(res.sec, secInsecure)
			t.note(&why.Step{Kind: why.Filtered, Name: name, Type: typ, Zone: l.zone, EDE: wire.EDEFiltered, Server: l.server})
		}
		if l.reason != edeNone {
			res.ede = l.reason
		}
		if l.synth {
			res.ede = wire.EDESynthesized
		}
		switch l.kind {
		case foundNoData, foundNXDomain:
			if l.kind == foundNXDomain {
				res.rcode = wire.NXDomain
			}
			res.authority = appendSets(res.authority, l.proof...)
			res.detour = l.detour
			return res
		case foundTooLong:
			res.rcode = wire.YXDomain
			res.answer = append(res.answer, l.set)
			return res
		}
		if l.dname != nil {
			res.answer = appendSets(res.answer, l.dname)
		}
		if l.wild {
			res.authority = appendSets(res.authority, l.proof...)
		}
		if l.kind == foundAnswer {
			if len(l.all) > 0 {
				res.answer = append(res.answer, l.all...)
			} else if l.set != nil {
				res.answer = append(res.answer, l.set)
			}
			return res
		}
		res.answer = append(res.answer, l.set)
		if wantsAlias(typ) {
			return res // what a DNAME record makes is the answer (RFC 6672, section 3.1)
		}
		for _, s := range res.answer {
			if bytes.Equal(s.Owner, l.target) && s.Type == wire.TypeCNAME {
				res.fail(wire.EDEInvalidData, "the name is an alias of itself")
				res.cause = why.AliasLoop
				return res
			}
		}
		name, led = l.target, led || l.partition.Route() == routeIteration
	}
	res.fail(wire.EDEInvalidData, "too many aliases")
	res.cause = why.AliasChain
	return res
}

// appendSets adds sets that are not there yet: links of a chain may share a DNAME, or a proof
// (RFC 2181, section 5).
func appendSets(to []*wire.RRset, sets ...*wire.RRset) []*wire.RRset {
	for _, s := range sets {
		if !slices.ContainsFunc(to, func(o *wire.RRset) bool { return o.Type == s.Type && bytes.Equal(o.Owner, s.Owner) }) {
			to = append(to, s)
		}
	}
	return to
}

func (res *result) fail(ede int, text string) {
	*res = result{rcode: wire.ServFail, ede: ede, text: text, sec: res.sec}
}

func (res *result) bogus(l *link, name []byte, typ wire.Type) {
	*res = result{rcode: wire.ServFail, ede: l.reason, sec: secBogus, text: nameText(name) + " " + typ.String()}
	if l.reason == edePassing {
		res.ede = wire.EDEOther
	}
	switch {
	case res.ede == edeNone:
		res.ede = wire.EDEBogus
	case unreachable(res.ede):
		res.sec, res.text = secUnchecked, "cannot be validated: "+res.text // it may be good: what is stale is good enough
	}
}

func worseSecurity(a, b cache.Security) cache.Security {
	if a == secSecure {
		return b
	}
	return a
}

// finish makes a result what the cache keeps and the engine sends: the records of a
// message whose question stands at its beginning. Without do, what only validators
// need is left out (RFC 4035, section 3.2.1).
func (res *result) finish(name []byte, typ wire.Type, do bool) *cache.Answer {
	if res.rcode == wire.ServFail {
		return &cache.Answer{Rcode: res.rcode, EDE: res.ede, Security: res.sec}
	}
	room := &struct { // together, since most answers need no more
		cache.Answer
		body [bodySize]byte
		ttls [bodyTTLs]uint16
	}{}
	a := &room.Answer
	*a = cache.Answer{Rcode: res.rcode, EDE: res.ede, Security: res.sec, TTL: maxDelegationTTL, TTLs: room.ttls[:0]}
	if res.sec == secSecure {
		a.Flags |= wire.FlagAD
	}
	p := packer{base: wire.HeaderLen + len(name) + 4, answer: a}
	p.body = room.body[:0]
	p.learn(name, wire.HeaderLen)
	for _, s := range res.answer {
		p.add(wire.Answer, s, do, typ)
	}
	for _, s := range res.authority {
		proof := s.Type == wire.TypeNSEC || s.Type == wire.TypeNSEC3
		if do || !proof {
			if len(res.answer) > 0 && res.rcode == wire.NoError && s.Type == wire.TypeSOA && !res.negative() {
				continue
			}
			p.add(wire.Authority, s, do, typ)
		}
		if s.Type == wire.TypeSOA {
			a.TTL = min(a.TTL, minimum(s))
		}
	}
	if len(res.answer) == 0 && !res.negative() {
		a.TTL = 0 // without SOA nothing says how long there will be nothing (RFC 2308, section 5)
	}
	if p.base+len(p.body) > maxAnswer {
		return &cache.Answer{Rcode: wire.ServFail, EDE: wire.EDEInvalidData, Security: res.sec}
	}
	a.Body = p.body
	return a
}

// maxAnswer leaves room for OPT in the longest message there is.
const maxAnswer = wire.MaxMessage - 1024

// negative reports whether the chain ends with nothing.
func (res *result) negative() bool {
	for _, s := range res.authority {
		if s.Type == wire.TypeSOA {
			return true
		}
	}
	return false
}

// bodySize octets and bodyTTLs records are enough for most answers; others grow.
const (
	bodySize = 256
	bodyTTLs = 8
)

// maxSuffixes is how many names a packer remembers to point at. Answers have few,
// and each costs a comparison.
const maxSuffixes = 32

// A packer writes records behind a question, names compressed.
type packer struct {
	base     int // offset of body in the message
	body     []byte
	answer   *cache.Answer
	suffixes [maxSuffixes]suffix
	count    int
	names    [4]wire.NameAt
}

// A suffix is a name that stands somewhere in the message.
type suffix struct {
	name []byte
	at   uint16
}

// learn makes the name at an offset, and what it ends with, something to point at.
func (p *packer) learn(name []byte, at int) {
	for len(name) > 1 && p.count < maxSuffixes && at <= wire.MaxPointer {
		p.suffixes[p.count] = suffix{name, uint16(at)}
		p.count++
		at += 1 + int(name[0])
		name = wire.Parent(name)
	}
}

// name writes a name, its end as a pointer if it stands elsewhere.
func (p *packer) name(name []byte, compress bool) {
	at := p.base + len(p.body)
	rest := name
	for ; len(rest) > 1; rest = wire.Parent(rest) {
		if compress {
			if to, ok := p.find(rest); ok {
				n := len(name) - len(rest)
				p.body = append(p.body, name[:n]...)
				p.body = append(p.body, 0xC0|byte(to>>8), byte(to))
				p.learnPart(name, n, at)
				return
			}
		}
	}
	p.body = append(p.body, name...)
	if compress {
		p.learn(name, at)
	}
}

// learnPart learns the names that begin in the first n octets of name.
func (p *packer) learnPart(name []byte, n, at int) {
	for i := 0; i < n && p.count < maxSuffixes && at+i <= wire.MaxPointer; i += 1 + int(name[i]) {
		p.suffixes[p.count] = suffix{name[i:], uint16(at + i)}
		p.count++
	}
}

func (p *packer) find(name []byte) (uint16, bool) {
	for i := range p.count {
		if s := &p.suffixes[i]; len(s.name) == len(name) && wire.EqualFold(s.name, name) {
			return s.at, true
		}
	}
	return 0, false
}

// add writes a set and, with do, its signatures.
func (p *packer) add(sec wire.Section, s *wire.RRset, do bool, asked wire.Type) {
	a := p.answer
	a.TTL = min(a.TTL, s.TTL)
	for _, d := range s.Data {
		p.record(sec, s, s.Type, d)
	}
	if do {
		for _, d := range s.Sigs {
			p.record(sec, s, wire.TypeRRSIG, d)
		}
	}
}

func (p *packer) record(sec wire.Section, s *wire.RRset, typ wire.Type, data []byte) {
	p.name(s.Owner, true)
	p.body = binary.BigEndian.AppendUint16(p.body, uint16(typ))
	p.body = binary.BigEndian.AppendUint16(p.body, uint16(wire.ClassIN))
	p.answer.TTLs = append(p.answer.TTLs, uint16(len(p.body)))
	p.body = binary.BigEndian.AppendUint32(p.body, s.TTL)
	size := len(p.body)
	p.body = append(p.body, 0, 0)
	at := 0
	for _, n := range wire.NamesIn(typ, data, p.names[:0]) {
		if n.Compress {
			p.body = append(p.body, data[at:n.Off]...)
			p.name(data[n.Off:n.Off+n.Len], true)
			at = int(n.Off + n.Len)
		}
	}
	p.body = append(p.body, data[at:]...)
	binary.BigEndian.PutUint16(p.body[size:], uint16(len(p.body)-size-2))
	p.answer.Counts[sec]++
}
