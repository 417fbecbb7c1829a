package resolver

import (
	"encoding/binary"

	"port53/internal/cache"
	"port53/internal/wire"
)

// variants calls f with the keys of answers to the same question that were given to other
// clients, the best first, until it returns false: to those who want signatures or do not, and
// for a client that validates himself, validated ones. What nobody validated is for him alone.
func (s *Config) variants(name []byte, typ wire.Type, wants Wants, f func(k cache.Key, do bool) bool) {
	for _, disabled := range [...]bool{false, true} {
		for _, signed := range [...]bool{true, false} {
			if signed == wants.DO && disabled == wants.CD || disabled && !wants.CD && (s.Validate || wants.DNS64) {
				continue
			}
			if !f(s.Key(name, typ, Wants{signed, disabled, wants.DNS64}), signed) {
				return
			}
		}
	}
}

// HasVariant reports whether the cache has an answer to the question that was given to a client
// with another DO or CD bit, however old it is.
func (r *Resolver) HasVariant(c *Config, name []byte, typ wire.Type, wants Wants, now int64) (found bool) {
	c.variants(name, typ, wants, func(k cache.Key, _ bool) bool {
		_, found = r.cache.Answer(k, now, nil)
		return !found
	})
	return found
}

// Stale returns an answer to a question of what the cache has, some of which has expired, or nil
// (RFC 8767, section 5). It asks nobody. name is in lower case.
func (r *Resolver) Stale(c *Config, name []byte, typ wire.Type, wants Wants) *cache.Answer {
	t := r.task(c)
	defer t.release()
	t.validate, t.expired = t.s.Validate && !wants.CD, true
	res := t.answer(name, typ, wants)
	if !wants.CD {
		t.sentinel(name, typ, res)
	}
	if res.rcode != wire.ServFail && t.old {
		return res.finish(name, typ, wants.DO)
	}
	var found *cache.Answer
	c.variants(name, typ, wants, func(k cache.Key, signed bool) bool {
		found = r.recast(name, typ, k, wants.DO, signed, t.unix())
		return found == nil
	})
	return found
}

// recast returns the cache's answer to a question for a client with another DO bit, or nil: what
// was made from a wildcard is nowhere else.
func (r *Resolver) recast(name []byte, typ wire.Type, k cache.Key, do, signed bool, now int64) *cache.Answer {
	hit, ok := r.cache.Answer(k, now, nil)
	if !ok || !hit.Stale {
		return nil
	}
	msg := wire.AppendQuery(nil, 0, wire.FlagQR, name, typ)
	start := len(msg)
	msg = append(msg, make([]byte, hit.N)...)
	if hit, ok = r.cache.Answer(k, now, msg[start:]); !ok || start+hit.N > len(msg) {
		return nil
	}
	a := &cache.Answer{
		Flags:    hit.Flags,
		Rcode:    hit.Rcode,
		Counts:   hit.Counts,
		Body:     msg[start : start+hit.N],
		TTL:      hit.TTL,
		EDE:      hit.EDE,
		Security: hit.Security,
	}
	switch {
	case do == signed:
		return a
	case do:
		a.Flags &^= wire.FlagAD // which says nothing without signatures to somebody who wants them
		return a
	}
	for i, n := range hit.Counts {
		binary.BigEndian.PutUint16(msg[6+2*i:], n)
	}
	var m wire.Message
	if m.Parse(msg[:start+hit.N]) != 0 {
		return nil
	}
	res := result{rcode: hit.Rcode, ede: hit.EDE, sec: hit.Security}
	for i := range m.Records {
		rec := &m.Records[i]
		set := &wire.RRset{Owner: rec.Owner, Type: rec.Type, TTL: rec.TTL, Data: [][]byte{rec.Data}}
		switch {
		case rec.Type == wire.TypeRRSIG && typ != wire.TypeRRSIG:
		case rec.Section == wire.Answer:
			res.answer = append(res.answer, set)
		case rec.Section == wire.Authority:
			res.authority = append(res.authority, set)
		}
	}
	return res.finish(name, typ, false)
}
