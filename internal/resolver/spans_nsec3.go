package resolver

import (
	"bytes"
	"encoding/binary"
	"time"

	"port53/internal/dnssec"
	"port53/internal/wire"
)

// A hashing is the parameters of a zone's NSEC3 chain.
type hashing struct {
	iterations uint16
	salt       []byte
}

func (h *hashing) equal(o *hashing) bool {
	if h == nil || o == nil {
		return h == o
	}
	return h.iterations == o.iterations && bytes.Equal(h.salt, o.salt)
}

// maxHashing is how many times SHA-1 may run to look one name up: a zone whose hashes
// cost more than a question to its servers is asked.
const maxHashing = 150

// hashingOf returns the parameters of a validated NSEC3 record and the hash of its
// owner, or nil if the record is not for other names: names that a record with opt-out
// covers may be delegations all the same (RFC 8198, section 5.2).
func hashingOf(s *wire.RRset) (h *hashing, hash []byte) {
	d := s.Data[0]
	if len(d) < 5 || d[0] != 1 || d[1] != 0 || len(d) < 5+int(d[4]) || len(s.Owner) < 1 {
		return nil, nil
	}
	label := bytes.ToUpper(s.Owner[1:min(1+int(s.Owner[0]), len(s.Owner))])
	hash = make([]byte, wire.Base32Hex.DecodedLen(len(label)))
	if n, err := wire.Base32Hex.Decode(hash, label); err != nil || n != len(hash) {
		return nil, nil
	}
	return &hashing{binary.BigEndian.Uint16(d[2:]), bytes.Clone(d[5 : 5+int(d[4])])}, hash
}

// hashed denies a name by NSEC3 records, or returns nil. It collects those that match
// or cover the names which the proof needs (RFC 5155, sections 8.4 and 8.5), and leaves
// the judgement to package dnssec.
func (t *task) hashed(zone []byte, h *hashing, name []byte, typ wire.Type) *link {
	below := wire.LabelCount(name) - wire.LabelCount(zone)
	if below*(1+int(h.iterations)) > maxHashing {
		return nil
	}
	clock := time.Now()
	// look returns the record that matches or covers a name, or nil.
	look := func(name []byte) (set *wire.RRset, match bool) {
		hash := dnssec.HashName(nil, name, h.iterations, h.salt)
		if set = t.spans().find(zone, hash, h, clock); set != nil {
			_, owner := hashingOf(set)
			match = bytes.Equal(owner, hash)
		}
		return set, match
	}
	d := &dnssec.Denial{Zone: zone}
	l := &link{kind: foundNoData, sec: secSecure, reason: edeNone, zone: zone, making: making{synth: true}}
	add := func(set *wire.RRset) {
		for _, s := range l.proof {
			if bytes.Equal(s.Owner, set.Owner) {
				return
			}
		}
		d.AddNSEC3(set.Owner, set.Data[0])
		l.proof = append(l.proof, set)
	}
	cover, match := look(name)
	if match {
		add(cover)
	} else {
		l.kind = foundNXDomain
		ce := name
		for !match {
			if cover == nil || len(ce) <= len(zone) {
				return nil
			}
			next := cover // of the name one label longer than the closest encloser
			ce = wire.Parent(ce)
			if cover, match = look(ce); match {
				add(cover)
				add(next)
			}
		}
		star := append([]byte{1, '*'}, ce...)
		if cover, match = look(star); cover == nil || match {
			return nil // names made from wildcards are asked for
		}
		add(cover)
	}
	var proof dnssec.Proof
	var why dnssec.Reason
	if l.kind == foundNXDomain {
		proof, why = d.NXDomain(name, &t.b.work)
	} else {
		proof, why = d.NoData(name, typ, &t.b.work)
	}
	if why != 0 || proof.OptOut {
		return nil
	}
	return l
}
