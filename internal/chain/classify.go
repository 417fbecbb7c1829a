package chain

import (
	"bytes"
	"encoding/binary"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// An Outcome is what a reply comes to. The words are part of the JSON schema.
type Outcome string

// The outcomes.
const (
	Answered  Outcome = "answer"    // records of the type asked for
	Alias     Outcome = "alias"     // an alias whose end the server did not give
	NoData    Outcome = "nodata"    // the name exists, without such records
	NXDomain  Outcome = "nxdomain"  // the name does not exist
	Referred  Outcome = "referral"  // others are to be asked
	Empty     Outcome = "empty"     // no error, and nothing said
	Failed    Outcome = "failure"   // a response code that is no answer
	Malformed Outcome = "malformed" // octets that are no message
)

// Usable reports that the reply tells what was asked, be it that there is nothing.
func (o Outcome) Usable() bool { return o != Failed && o != Malformed }

// A Classification is a reply understood.
type Classification struct {
	Outcome Outcome
	Chain   [][]byte // the names that the aliases lead to, in their order
	Final   []byte   // the name at the end
	Records int      // of the type asked for, at Final
	Zone    []byte   // owner of the SOA of a denial, or of the NS records of a referral; or nil
	TTL     uint32   // how long a denial may be remembered (RFC 2308, section 5), in seconds
	Servers [][]byte // that a referral names
	Signed  bool     // there are signatures in the answer or the denial
}

// maxAliases is how many aliases are followed, within one reply and in all, as a resolver
// does.
const maxAliases = 11

// Classify reads a reply as the answer to its question.
func Classify(r *exchange.Reply) Classification {
	m := &r.Message
	f := Classification{Final: r.Question.Name}
	switch {
	case r.Fault != 0:
		f.Outcome = Malformed
		return f
	case m.Rcode != wire.NoError && m.Rcode != wire.NXDomain:
		f.Outcome = Failed
		return f
	}
	f.followAliases(m, r.Question)
	var soa, ns *wire.Record
	for i := range m.Records {
		rr := &m.Records[i]
		if rr.Type == wire.TypeRRSIG && rr.Section != wire.Additional {
			f.Signed = true
		}
		switch {
		case rr.Section == wire.Answer && wire.EqualFold(rr.Owner, f.Final) && asked(rr.Type, r.Question.Type):
			f.Records++
		case rr.Section != wire.Authority || !wire.Subdomain(f.Final, rr.Owner):
		case rr.Type == wire.TypeSOA && soa == nil:
			soa = rr
		case rr.Type == wire.TypeNS && (ns == nil || wire.EqualFold(ns.Owner, rr.Owner)):
			ns = rr
			f.Servers = append(f.Servers, rr.Data)
		}
	}
	switch {
	case r.Question.NoQuestion:
		f.Outcome = Empty
	case f.Records > 0:
		f.Outcome = Answered
	case m.Rcode == wire.NXDomain:
		f.Outcome = NXDomain
	case soa != nil:
		f.Outcome = NoData
	case ns != nil && m.Flags&wire.FlagAA == 0:
		f.Outcome, f.Zone = Referred, ns.Owner
	case len(f.Chain) > 0:
		f.Outcome = Alias
	case m.Flags&wire.FlagAA != 0:
		f.Outcome = NoData // without SOA: older servers
	default:
		f.Outcome = Empty
	}
	if f.Outcome != Referred {
		f.Servers = nil
	}
	if soa != nil && len(soa.Data) >= 20 && (f.Outcome == NXDomain || f.Outcome == NoData) {
		f.Zone, f.TTL = soa.Owner, min(soa.TTL, binary.BigEndian.Uint32(soa.Data[len(soa.Data)-4:]))
	}
	return f
}

func asked(have, want wire.Type) bool {
	return have == want || want == wire.TypeANY || want == wire.TypeAXFR || want == wire.TypeIXFR
}

// followAliases goes from the question's name along CNAME and DNAME records.
func (f *Classification) followAliases(m *wire.Message, q *exchange.Question) {
	if q.Type == wire.TypeCNAME || q.Type == wire.TypeANY {
		return
	}
	for range maxAliases {
		var target []byte
		for i := range m.Records {
			rr := &m.Records[i]
			if rr.Section != wire.Answer {
				continue
			}
			if rr.Type == wire.TypeCNAME && wire.EqualFold(rr.Owner, f.Final) {
				target = rr.Data
				break
			}
			if rr.Type == wire.TypeDNAME && target == nil {
				target = substitute(f.Final, rr.Owner, rr.Data)
			}
		}
		if target == nil {
			return
		}
		f.Final = target
		f.Chain = append(f.Chain, f.Final)
	}
}

// substitute returns what a DNAME record makes of a name below it, or nil if the name
// is not below it or would become too long (RFC 6672, section 2.2).
func substitute(name, owner, target []byte) []byte {
	if len(owner) >= len(name) || !wire.Subdomain(name, owner) || len(name)-len(owner)+len(target) > wire.MaxName {
		return nil
	}
	return append(bytes.Clone(name[:len(name)-len(owner)]), target...)
}
