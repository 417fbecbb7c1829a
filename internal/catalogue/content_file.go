package catalogue

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"port53/internal/finding"
	"port53/internal/wire"
	"port53/internal/zone"
)

// errOutside is why a name that is not in a zone's file is not looked up.
var errOutside = errors.New("it is not in the zone, and nobody is asked")

// A loaded zone tells what its names have. What is outside of it, or delegated, is unasked; public suffixes are taken for names without
// records, since nobody's policy is there.
type loaded struct{ z *zone.Zone }

// maxChain is how many aliases are followed within a zone.
const maxChain = 11

// tell implements [teller].
func (l loaded) tell(_ context.Context, name []byte, t wire.Type) *lookup {
	x := &lookup{final: wire.Lower(nil, name)}
	for ; x.aliases <= maxChain; x.aliases++ {
		if !wire.Subdomain(x.final, l.z.Name()) {
			if d, _ := registrable(x.final); d == nil {
				x.is = noData
				return x
			}
			x.is, x.err = unasked, errOutside
			return x
		}
		var split wire.SplitName
		split.Set(x.final)
		p := l.z.Search(&split)
		if p.Cut {
			x.is, x.err = unasked, errOutside
			return x
		}
		if p.DNAME {
			owner := split.Name()[split.Start(p.Depth):]
			target, _ := l.at(owner, wire.TypeDNAME)
			next := append(slices.Clone(split.Name()[:split.Start(p.Depth)]), slices.Concat(target...)...)
			if len(next) > wire.MaxName {
				x.is, x.err = broken, errors.New("the name becomes too long (RFC 6672, section 2.2)")
				return x
			}
			x.final = wire.Lower(nil, next)
			continue
		}
		owner := x.final
		if !p.Exact {
			star := l.z.Wildcard(p.Node)
			if star == 0 {
				x.is = noName
				return x
			}
			owner = l.z.AppendName(nil, star)
		}
		data, alias := l.at(owner, t)
		switch {
		case alias != nil && t != wire.TypeCNAME:
			x.final = wire.Lower(nil, alias)
			continue
		case len(data) == 0:
			x.is = noData
		default:
			x.data = data
		}
		return x
	}
	x.is, x.err = broken, errors.New("the aliases do not end")
	return x
}

// at returns the data of a name's records of a type, and its alias.
func (l loaded) at(owner []byte, t wire.Type) (data [][]byte, alias []byte) {
	l.z.EachAt(wire.Lower(nil, owner), func(_ []byte, typ wire.Type, _ uint32, d []byte) bool {
		if typ == t {
			data = append(data, slices.Clone(d))
		}
		if typ == wire.TypeCNAME {
			alias = slices.Clone(d)
		}
		return true
	})
	return data, alias
}

// A ContentRemark is what a check would say of the content of a zone.
type ContentRemark struct {
	Check    *finding.Check
	State    finding.State // Warn or Fail
	Severity finding.Severity
	Title    string
	Detail   string
}

// JudgeZone applies the content checks to a zone without using the network: mail, CAA, TLSA,
// HTTPS and SVCB, special-use addresses and names, TXT, SOA timers, and targets that do not
// exist in the zone. Checks that need other zones are left out. The remarks are in the order
// of the catalogue.
func JudgeZone(ctx context.Context, z *zone.Zone) []ContentRemark {
	j := &fileJudge{ctx: ctx, t: loaded{z}, zone: wire.Lower(nil, z.Name()), sets: map[question][][]byte{}, said: map[string][]remark{}}
	z.Each(j.record)
	j.apex()
	j.records()
	var out []ContentRemark
	for _, c := range All() {
		for _, v := range j.said[c.ID] {
			if v.state != finding.Warn && v.state != finding.Fail {
				continue
			}
			r := ContentRemark{Check: &c.Check, State: v.state, Severity: v.severity, Title: v.title, Detail: v.text}
			if r.Severity == 0 {
				r.Severity = c.Severity
			}
			if r.Title == "" {
				r.Title = c.Fault
			}
			out = append(out, r)
		}
	}
	return out
}

// A fileJudge is a zone while it is judged.
type fileJudge struct {
	ctx   context.Context
	t     loaded
	zone  []byte
	sets  map[question][][]byte
	edges []edge
	said  map[string][]remark // by the ID of the check
}

// say keeps what a check says, up to what a report has.
func (j *fileJudge) say(id string, list ...remark) {
	for _, v := range list {
		if len(j.said[id]) < maxListed {
			j.said[id] = append(j.said[id], v)
		}
	}
}

// record takes in a record of the zone.
func (j *fileJudge) record(owner []byte, t wire.Type, _ uint32, data []byte) bool {
	owner = wire.Lower(nil, owner)
	if slices.Contains(judgedTypes(), t) && len(j.sets) < discoverMost {
		q := question{string(owner), t}
		j.sets[q] = append(j.sets[q], slices.Clone(data))
	}
	if a, ok := netip.AddrFromSlice(data); ok && (t == wire.TypeA || t == wire.TypeAAAA) {
		if kind, what := specialAddress(a); kind != blockNone {
			j.say("ZONE-PRIVATE", warns(wire.NameText(owner)+a.String(), 0, "%s has %v, which is %s", wire.NameText(owner), a, what))
		}
	}
	if t != wire.TypePTR && len(j.edges) < discoverMost {
		for _, e := range leads(owner, t, data) {
			e.target = slices.Clone(e.target)
			j.edges = append(j.edges, e)
		}
	}
	return true
}

// apex judges what only the apex has.
func (j *fileJudge) apex() {
	for _, x := range []struct {
		id    string
		t     wire.Type
		judge rule
	}{{"ZONE-SOA", wire.TypeSOA, judgeSOA}, {"ZONE-TTL", wire.TypeNS, judgeTTL}, {"ZONE-TXT", wire.TypeTXT, judgeTXT}} {
		set := &wire.RRset{Owner: j.zone, Type: x.t}
		j.t.z.EachAt(j.zone, func(_ []byte, t wire.Type, ttl uint32, d []byte) bool {
			if t == x.t {
				set.TTL, set.Data = ttl, append(set.Data, slices.Clone(d))
			}
			return true
		})
		state, detail := x.judge(set)
		j.say(x.id, remark{state: state, text: detail})
	}
	if isReverse(j.zone) || len(j.zone) == 1 {
		return
	}
	mail := judgeMX(j.zone, j.sets[question{string(j.zone), wire.TypeMX}])
	mail = append(mail, judgeSPF(j.ctx, j.t, j.zone)...)
	mail = append(mail, judgeDMARC(j.ctx, j.t, j.zone)...)
	mail = append(mail, judgeSTS(j.ctx, j.t, j.zone)...)
	mail = append(mail, judgeTLSRPT(j.ctx, j.t, j.zone)...)
	mail = append(mail, judgeBIMI(j.ctx, j.t, j.zone)...)
	j.say("ZONE-MAIL", append(mail, moreMail(j.ctx, j.t, j.zone, j.sets)...)...)
	j.say("ZONE-CAA", judgeIssuers(j.ctx, j.t, j.zone)...)
}

// records judges the sets of all names, and where they lead within the zone.
func (j *fileJudge) records() {
	addresses := func(name []byte) ([]netip.Addr, bool) { return addressesTold(j.ctx, j.t, name) }
	for _, q := range sortedSets(j.sets) {
		owner, data := []byte(q.name), j.sets[q]
		switch q.t {
		case wire.TypeCAA:
			if q.name != string(j.zone) {
				j.say("ZONE-CAA", judgeCAA(wire.NameText(owner), data)...)
			}
		case wire.TypeTLSA:
			place := tlsaPlace{owner: owner}
			if _, _, base := portPrefix(owner); wire.Subdomain(base, j.zone) {
				if place.base = j.t.tell(j.ctx, base, wire.TypeA); place.base.is == noData {
					place.base = j.t.tell(j.ctx, base, wire.TypeAAAA)
				}
			}
			j.say("ZONE-TLSA", judgeTLSA(place, data)...)
		case wire.TypeHTTPS, wire.TypeSVCB:
			j.say("ZONE-HTTPS", judgeSVCB(owner, j.zone, q.t, data, addresses)...)
		case wire.TypeTXT:
			labels := labelsOf(owner)
			if i := slices.Index(labels, "_domainkey"); i > 0 {
				j.say("ZONE-MAIL", judgeDKIM(labels[0], j.t.tell(j.ctx, owner, wire.TypeTXT), false)...)
			}
		}
	}
	f := &follower{teller: j.t, claims: claims{teller: j.t, zone: j.zone}}
	for _, e := range j.edges {
		if v, _ := f.judge(j.ctx, e); v.state != finding.Unknown {
			j.say("ZONE-DANGLE", v)
		}
	}
}

// String returns a remark as zone check prints it.
func (r *ContentRemark) String() string {
	return fmt.Sprintf("%s %s %s: %s", r.State, r.Severity, r.Check.ID, r.Detail)
}
