package catalogue

import (
	"bytes"
	"encoding/base32"
	"fmt"
	"iter"

	"port53/internal/wire"
)

// A denied is what one NSEC or NSEC3 record says that there is nothing between.
type denied struct {
	t        wire.Type
	from, to []byte // keys by which names are ordered, or hashes
	params   string // of NSEC3: hash algorithm, iterations and salt
	of       bool   // the owner has types, and so exists
	owner    []byte
	q        question // that brought it
}

// contradictions yields what denials of a server say is not there, and other answers of the same
// server are: a validator that remembers the denial keeps the name from being found (RFC 8198).
func (x *sight) contradictions(zone []byte, list []question) iter.Seq2[question, string] {
	return func(yield func(question, string) bool) {
		spans := x.denials(zone, list)
		for _, d := range spans {
			for _, there := range spans {
				if there.t == d.t && there.params == d.params && there.of && d.covers(there.from) {
					if !yield(d.q, fmt.Sprintf("denies %s, which it has", wire.NameText(there.owner))) {
						return
					}
					break
				}
			}
		}
	}
}

// denials returns the records that deny, of what a resolver gets from the server, each once.
func (x *sight) denials(zone []byte, list []question) []denied {
	var out []denied
	seen := map[string]bool{}
	for _, q := range list {
		m := x.reply(q)
		if m == nil {
			continue
		}
		for _, rr := range m.Records {
			key := rr.Type.String() + string(rr.Owner) + string(rr.Data)
			if rr.Section == wire.Additional || !wire.Subdomain(rr.Owner, zone) || seen[key] {
				continue
			}
			seen[key] = true
			if d, ok := denialOf(&rr); ok {
				d.q = q
				out = append(out, d)
			}
		}
	}
	return out
}

// denialOf reads an NSEC or NSEC3 record.
func denialOf(rr *wire.Record) (denied, bool) {
	d := denied{t: rr.Type, owner: bytes.Clone(rr.Owner)}
	switch rr.Type {
	case wire.TypeNSEC:
		next := rdataName(rr.Data, 0)
		if next == nil {
			return d, false
		}
		d.from, d.to, d.of = wire.AppendSortKey(nil, rr.Owner, 0), wire.AppendSortKey(nil, next, 0), len(rr.Data) > len(next)
	case wire.TypeNSEC3:
		if len(rr.Data) < 5 || len(rr.Data) < 6+int(rr.Data[4]) {
			return d, false
		}
		salt := 5 + int(rr.Data[4])
		n := int(rr.Data[salt])
		from, err := base32.HexEncoding.WithPadding(base32.NoPadding).DecodeString(string(bytes.ToUpper(rr.Owner[1 : 1+rr.Owner[0]])))
		if err != nil || len(from) != n || len(rr.Data) < salt+1+n {
			return d, false
		}
		d.params = string(rr.Data[:1]) + string(rr.Data[2:salt])
		d.from, d.to, d.of = from, rr.Data[salt+1:salt+1+n], len(rr.Data) > salt+1+n
	default:
		return d, false
	}
	return d, true
}

// covers reports whether a name, or a hash, is between the ends.
func (d *denied) covers(at []byte) bool {
	if bytes.Compare(d.from, d.to) < 0 {
		return bytes.Compare(d.from, at) < 0 && bytes.Compare(at, d.to) < 0
	}
	return bytes.Compare(d.from, at) < 0 || bytes.Compare(at, d.to) < 0 // the last record of the chain
}
