package catalogue

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// A need is what has to be at the end of what leads out of a zone.
type need uint8

const (
	needHost   need = iota // an address
	needName               // that the name exists: what is asked for there is not known
	needServed             // a zone that its servers serve
)

// An edge is one name in a zone that leads to another.
type edge struct {
	from   []byte
	what   string // the record's type, or the term of it
	target []byte
	need   need
}

// key tells edges apart.
func (e *edge) key() string {
	return wire.NameText(e.from) + " " + e.what + " " + wire.NameText(e.target)
}

// A follower finds out where edges lead.
type follower struct {
	teller teller
	claims claims
	kinds  []blockKind // of addresses that are no wonder here
}

// judge follows one edge. What somebody else can have is critical, and the name that can be had is told; what is merely broken
// is not.
func (f *follower) judge(ctx context.Context, e edge) (r remark, x *lookup) {
	where := wire.NameText(e.from) + " " + e.what
	target := wire.NameText(e.target)
	broke := func(format string, args ...any) (remark, *lookup) {
		r := warns(e.key(), finding.SevMedium, "%s: %s %s", where, target, fmt.Sprintf(format, args...))
		r.title = where + " leads to a name that is of no use"
		return r, x
	}
	if addressLike(e.target) {
		return broke("is an address, and has to be a name")
	}
	if what, sold := specialUse(e.target, f.claims.zone); what != "" && !sold {
		return broke("exists for nobody else: the name is for %s", what)
	}
	t := wire.TypeA
	if e.need == needServed {
		t = wire.TypeSOA
	}
	x = f.teller.tell(ctx, e.target, t)
	if x.is == noData && e.need == needHost {
		x = f.teller.tell(ctx, e.target, wire.TypeAAAA)
	}
	if x.is == unasked {
		return unknown(e.key(), fmt.Errorf("%s: %s: %w", where, target, x.err)), x
	}
	if got := f.claims.of(ctx, x); got != nil {
		r := fails(e.key(), 0, "%s: %s", where, f.told(e, x, got))
		r.title = fmt.Sprintf("%s can be taken over: anyone can have %s", where, wire.NameText(got.name))
		if got.likely {
			r.severity = finding.SevHigh
			r.title = fmt.Sprintf("%s can perhaps be taken over: %s is free", where, wire.NameText(got.name))
		}
		return r, x
	}
	through := ""
	if !wire.EqualFold(x.final, e.target) {
		through = " (an alias for " + wire.NameText(x.final) + ")"
	}
	switch x.is {
	case noName:
		return broke("%sdoes not exist", strings.TrimPrefix(through+" ", " "))
	case broken:
		return broke("%scannot be looked up: %v", strings.TrimPrefix(through+" ", " "), x.err)
	case noData:
		if e.need == needHost {
			return broke("%shas no address", strings.TrimPrefix(through+" ", " "))
		}
	case isThere, unasked:
	}
	if e.need == needHost && x.is == isThere {
		for _, d := range x.data {
			a, _ := netip.AddrFromSlice(d)
			if kind, what := specialAddress(a); f.unreachable(kind) {
				return broke("%shas the address %s: %s", strings.TrimPrefix(through+" ", " "), a, what)
			}
		}
	}
	return passes(e.key(), "%s: %s%s is there", where, target, through), x
}

// unreachable reports whether what has an address of a kind is the host of nobody else, wherever it is asked from.
func (f *follower) unreachable(kind blockKind) bool {
	return (kind == blockSelf || kind == blockGroup || kind == blockLink) && !slices.Contains(f.kinds, kind)
}

// told says who can have what.
func (f *follower) told(e edge, x *lookup, got *claim) string {
	text := wire.NameText(e.target)
	if !wire.EqualFold(x.final, e.target) {
		text += ", which leads to " + wire.NameText(x.final) + ","
	}
	switch {
	case x.is == noName:
		text += " does not exist: "
	case e.need == needServed:
		text += " is served by nobody: "
	default:
		text += " cannot be looked up: "
	}
	return text + got.how + ", and gets what is sent to " + wire.NameText(e.from)
}

// leads returns the names in the data of a record that lead somewhere (RFC 1035, 2782, 3403, 6672, 9460). Names that the owner itself
// is meant by are not among them.
func leads(owner []byte, t wire.Type, data []byte) []edge {
	add := func(at int, n need) []edge {
		target := rdataName(data, at)
		if len(target) <= 1 {
			return nil // the root: there is no such service (RFC 2782, RFC 7505)
		}
		return []edge{{from: owner, what: t.String(), target: wire.Lower(nil, target), need: n}}
	}
	switch t {
	case wire.TypeNS:
		return add(0, needHost)
	case wire.TypeCNAME, wire.TypeDNAME, wire.TypePTR:
		return add(0, needName)
	case wire.TypeMX, wire.TypeKX, wire.TypeAFSDB:
		return add(2, needHost)
	case wire.TypeSRV:
		return add(6, needHost)
	case wire.TypeHTTPS, wire.TypeSVCB:
		s := readSvc(data)
		if s == nil || len(s.target) <= 1 || wire.EqualFold(s.target, owner) {
			return nil
		}
		return []edge{{from: owner, what: t.String(), target: wire.Lower(nil, s.target), need: needHost}}
	case wire.TypeTLSA:
		if port, _, base := portPrefix(owner); port != "" {
			return []edge{{from: owner, what: t.String(), target: wire.Lower(nil, base), need: needName}}
		}
	case wire.TypeCAA:
		if len(data) > 2 && int(data[1])+2 <= len(data) && strings.EqualFold(string(data[2:2+data[1]]), "iodef") {
			if box, err := readMailbox(string(data[2+data[1]:])); err == nil && box.domain != nil {
				return []edge{{from: owner, what: "CAA iodef", target: box.domain, need: needName}}
			}
		}
	}
	return nil
}

// mailLeads returns where the texts of a domain lead that are about mail: what SPF names, and who gets reports.
func mailLeads(ctx context.Context, t teller, domain []byte) []edge {
	var out []edge
	e, _, _ := evaluateSPF(ctx, t, domain)
	for _, l := range e.leads {
		out = append(out, edge{from: domain, what: "SPF " + wire.Printable(l.term), target: l.name, need: needName})
	}
	if r, _, _ := dmarcAt(ctx, t, domain); r != nil {
		for _, box := range slices.Concat(r.reports, r.failures) {
			if box.domain != nil {
				out = append(out, edge{from: domain, what: "DMARC " + wire.Printable(box.uri), target: box.domain, need: needName})
			}
		}
	}
	if text, n := versioned(t.tell(ctx, check.Below("_smtp", check.Below("_tls", domain)), wire.TypeTXT).texts(), "v=TLSRPTv1"); n == 1 {
		list, _ := readTags(text) // what is malformed leads nowhere
		rua, _ := tagOf(list, "rua")
		for _, uri := range strings.Split(rua, ",") {
			if box, err := readMailbox(strings.TrimSpace(uri)); err == nil && box.domain != nil {
				out = append(out, edge{from: domain, what: "TLS-RPT " + wire.Printable(box.uri), target: box.domain, need: needName})
			}
		}
	}
	if _, n := versioned(t.tell(ctx, check.Below("_mta-sts", domain), wire.TypeTXT).texts(), "v=STSv1"); n > 0 {
		out = append(out, edge{from: domain, what: "MTA-STS", target: check.Below("mta-sts", domain), need: needHost})
	}
	return out
}
