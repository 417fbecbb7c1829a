package lab

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"port53/internal/authority"
	"port53/internal/wire"
	"port53/internal/zone"
)

// maxAliases is how many aliases a host that is a resolver follows.
const maxAliases = 16

// closest returns the zone of the whole laboratory that has the answer to q.
func (w *World) closest(q *wire.Query) *zone.View {
	var best *plan
	name := q.Name.Name()
	for _, p := range w.zones {
		if !wire.Subdomain(name, p.apex) || q.Type == wire.TypeDS && len(p.apex) == len(name) && len(name) > 1 {
			continue
		}
		if best == nil || len(p.apex) > len(best.apex) {
			best = p
		}
	}
	if best == nil {
		return nil
	}
	return best.single
}

// Resolve returns the true answer to a query, as a resolver that knows all zones gives it, or
// nil if it cannot be read. It validates nothing.
func (w *World) Resolve(query []byte) []byte {
	var q wire.Query
	if q.Parse(query) != 0 {
		return nil
	}
	return w.resolve(&q).append(nil)
}

// copied returns what a line copies.
func (w *World) copied(c *copied, asked *wire.Query) []Record {
	i := slices.IndexFunc(w.zones, func(p *plan) bool { return bytes.Equal(p.apex, c.zone) })
	if i < 0 {
		return nil
	}
	query := wire.AppendOPT(wire.AppendQuery(nil, 0, 0, c.name, c.typ), ednsSize, true, nil)
	binary.BigEndian.PutUint16(query[10:], 1)
	var q wire.Query
	if q.Parse(query) != 0 {
		return nil
	}
	b, _, ok := answer(w.zones[i].single, &q, wire.MaxMessage, nil)
	m, parsed := split(b)
	if !ok || !parsed {
		return nil
	}
	records := m.sections[c.section]
	for i := range records {
		switch {
		case c.question:
			records[i].Owner = bytes.Clone(asked.Name.Name())
		case c.as != nil:
			records[i].Owner = c.as
		}
	}
	return records
}

// resolve answers as a resolver that knows all zones of the laboratory, and does not
// validate: what a forwarder is forwarded to.
func (w *World) resolve(q *wire.Query) *message {
	reply := replyTo(q)
	reply.flags |= wire.FlagRA
	step := q
	for range maxAliases {
		b, result, ok := answer(w.closest(step), step, wire.MaxMessage, nil)
		m, parsed := split(b)
		away := result.Away || result.Kind == authority.Referral && parsed && len(m.sections[wire.Answer]) > 0
		if !ok || !parsed || result.Kind == authority.Referral && !away {
			reply.rcode, reply.sections = wire.ServFail, [3][]Record{}
			return reply
		}
		reply.rcode = m.rcode
		reply.sections[wire.Answer] = append(reply.sections[wire.Answer], m.sections[wire.Answer]...)
		for _, r := range m.sections[wire.Authority] {
			// Proofs are needed, name servers and what is said of a cut on the way are not.
			t := r.Type
			if t == wire.TypeRRSIG {
				t = wire.Covered(r.Data)
			}
			if t == wire.TypeNSEC || t == wire.TypeNSEC3 || t == wire.TypeSOA {
				reply.sections[wire.Authority] = append(reply.sections[wire.Authority], r)
			}
		}
		if !away {
			return reply
		}
		var target []byte
		for _, r := range m.sections[wire.Answer] {
			if r.Type == wire.TypeCNAME {
				target = r.Data
			}
		}
		next := wire.AppendQuery(nil, q.ID, q.Flags, target, q.Type)
		if q.EDNS {
			next = wire.AppendOPT(next, ednsSize, q.DO, nil)
			binary.BigEndian.PutUint16(next[10:], 1)
		}
		step = &wire.Query{}
		if step.Parse(next) != 0 {
			break
		}
	}
	reply.rcode = wire.ServFail
	return reply
}

// signMessage signs the records of a reply's answer and authority with the keys of a
// zone, as that zone would. What it did not say may so be said in its name.
func (w *World) signMessage(zoneName, labels string, m *message) {
	name, _ := wire.ParseName(zoneName)
	name = wire.Lower(nil, name)
	i := slices.IndexFunc(w.zones, func(p *plan) bool { return bytes.Equal(p.apex, name) && p.signing != nil })
	if i < 0 {
		return
	}
	s := w.zones[i].signing
	for sec := wire.Answer; sec <= wire.Authority; sec++ {
		z := signer{apex: name, s: s}
		z.group(m.sections[sec])
		for i := range z.sets {
			set := &z.sets[i]
			if set.typ == wire.TypeRRSIG || set.typ == wire.TypeNS && sec == wire.Authority && !bytes.Equal(set.owner, name) {
				continue
			}
			set.how = sigFields{name, -1, uint32(s.Inception.Unix()), uint32(s.Expiration.Unix()), -1}
			if labels != "" {
				set.how.labels, _ = strconv.Atoi(labels)
			}
			keys := s.ZSKs
			if set.typ == wire.TypeDNSKEY {
				keys = s.KSKs
			}
			for _, k := range keys {
				if sig, err := signSet(set, k); err == nil {
					m.sections[sec] = append(m.sections[sec], Record{set.spelled, wire.TypeRRSIG, set.ttl, sig})
				}
			}
		}
	}
}
