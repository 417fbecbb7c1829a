package catalogue

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// errReverse is why reverse zones are not looked at for what only names of hosts have.
var errReverse = fmt.Errorf("the zone is a reverse zone, whose names are addresses: the check %w", finding.ErrInapplicable)

// zoneEvidence is how a set of the zone is seen by hand.
func zoneEvidence(ctx context.Context, r *check.Run, name []byte, t wire.Type) finding.Evidence {
	ev := finding.Evidence{N: 1, Command: "dig -t " + t.String() + " -q " + check.ShellName(name)}
	if servers, err := r.ZoneServers(ctx); err == nil && len(servers) > 0 {
		ev.Command = check.Dig(servers[0], check.Query{Name: name, Type: t})
	}
	return ev
}

// zoneDangle follows all that leads out of the zone.
func zoneDangle(ctx context.Context, r *check.Run) []finding.Finding {
	d := discovered(ctx, r)
	if d.err != nil && len(d.names) == 0 {
		return finding.Unmeasured(d.ev, d.err)
	}
	limit := followTime
	if r.Options.Subdomains {
		limit = followAll
	}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n := network{r}
	if x := n.tell(within, r.Zone, wire.TypeNS); x.is == unasked {
		return finding.Unmeasured(finding.Evidence{Command: x.command}, x.err)
	}
	edges := outward(within, r, d)
	left := max(0, len(edges)-dangleMost)
	edges = edges[:len(edges)-left]
	f := &follower{teller: n, claims: claims{teller: n, zone: r.Zone, ownRoot: r.Options.PrivateRoot()}, kinds: rootKinds(r.Options)}
	said := make([]finding.Finding, len(edges))
	var wg sync.WaitGroup
	slots := make(chan struct{}, followedAt)
	for i, e := range edges {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			v, x := f.judge(within, e)
			ev := finding.Evidence{N: 1, Command: "dig -t A -q " + check.ShellName(e.target)}
			if x != nil {
				ev.Received, ev.Command = x.raw, x.command
			}
			said[i] = v.finding(ev)
		})
	}
	wg.Wait()
	var out []finding.Finding
	fine := 0
	var lost []finding.Finding
	for i := range said {
		switch said[i].State {
		case finding.Pass:
			fine++
		case finding.Unknown:
			lost = append(lost, said[i])
		default:
			out = append(out, said[i])
		}
	}
	if n := len(lost) + left; n > 0 {
		ev, err := d.ev, fmt.Errorf("%d are more than are followed", left)
		own := false
		if len(lost) > 0 {
			ev, err, own = lost[0].Evidence, errors.New(lost[0].Detail), lost[0].LocalCause && left == 0
		}
		u := finding.Unmeasured(ev, fmt.Errorf("%d of %d targets: %w", n, len(said)+left, err))
		u[0].LocalCause = own && !slices.ContainsFunc(lost, func(f finding.Finding) bool { return !f.LocalCause })
		out = append(out, u...)
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, d.ev, "all %d targets exist", fine)
	}
	return out
}

// rootKinds are the kinds of addresses that the root's servers have: a laboratory's are no wonder within it.
func rootKinds(o *check.Options) []blockKind {
	var out []blockKind
	for _, s := range o.Roots {
		if kind, _ := specialAddress(s.Addr.Addr()); kind != blockNone {
			out = append(out, kind)
		}
	}
	return out
}

// zonePrivate looks for addresses that nobody else reaches: of names, and of the zone's servers.
func zonePrivate(ctx context.Context, r *check.Run) []finding.Finding {
	d := discovered(ctx, r)
	if d.err != nil {
		return finding.Unmeasured(d.ev, d.err)
	}
	servers, err := r.ZoneServers(ctx)
	if err != nil || len(servers) == 0 {
		return finding.Unmeasured(d.ev, errors.Join(err, errors.New("no server")))
	}
	kinds := rootKinds(r.Options)
	var out []finding.Finding
	tell := func(name []byte, a netip.Addr, what string, ev finding.Evidence) {
		f := finding.Finding{
			State:    finding.Warn,
			Key:      wire.NameText(name) + a.String(),
			Detail:   fmt.Sprintf("%s has %v, which is %s", wire.NameText(name), a, what),
			Evidence: ev,
		}
		if len(out) < maxListed && !slices.ContainsFunc(out, func(o finding.Finding) bool { return o.Key == f.Key }) {
			out = append(out, f)
		}
	}
	for _, s := range servers {
		if kind, what := specialAddress(s.Addr.Addr()); kind != blockNone && !slices.Contains(kinds, kind) && s.Name != nil {
			tell(
				s.Name,
				s.Addr.Addr(),
				what+", and nobody else can ask the name server there",
				finding.Evidence{Command: "dig +trace -t NS -q " + check.ShellName(r.Zone)},
			)
		}
	}
	n := network{r}
	var ev finding.Evidence
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		ev = zoneEvidence(ctx, r, r.Zone, t)
		m, err := n.own(ctx, r.Zone, t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		for _, data := range m.Answers(r.Zone, t) {
			a, _ := netip.AddrFromSlice(data)
			if kind, what := specialAddress(a); kind != blockNone {
				tell(r.Zone, a, what, ev)
			}
		}
	}
	for i := range d.names {
		f := &d.names[i]
		addrs := slices.Clone(f.addrs)
		if f.how != "transfer" && i < privateMost {
			m, err := n.own(ctx, f.name, wire.TypeAAAA)
			if err != nil {
				return finding.Unmeasured(zoneEvidence(ctx, r, f.name, wire.TypeAAAA), err)
			}
			for _, rr := range m.In(wire.Answer, wire.TypeAAAA) {
				if a, ok := netip.AddrFromSlice(rr.Data); ok {
					addrs = append(addrs, a)
				}
			}
		}
		server := slices.ContainsFunc(servers, func(s finding.Server) bool { return wire.EqualFold(s.Name, f.name) })
		for _, a := range addrs {
			kind, what := specialAddress(a)
			if kind == blockNone || server && slices.Contains(kinds, kind) {
				continue
			}
			t := wire.TypeAAAA
			if a.Is4() {
				t = wire.TypeA
			}
			tell(f.name, a, what, zoneEvidence(ctx, r, f.name, t))
		}
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, ev, "no special address at the apex and %d names", len(d.names))
	}
	return out
}

// zoneMail judges what the zone says of mail, as a domain of mail.
func zoneMail(ctx context.Context, r *check.Run) []finding.Finding {
	if isReverse(r.Zone) || len(r.Zone) == 1 {
		return finding.Unmeasured(finding.Evidence{}, errReverse)
	}
	n := network{r}
	ev := zoneEvidence(ctx, r, r.Zone, wire.TypeTXT)
	x := n.tell(ctx, r.Zone, wire.TypeTXT)
	if x.is == unasked {
		return finding.Unmeasured(ev, x.err)
	}
	ev.Received = x.raw
	var out []remark
	if mx := n.tell(ctx, r.Zone, wire.TypeMX); mx.is == isThere {
		out = append(out, judgeMX(r.Zone, mx.data)...)
	}
	out = append(out, judgeSPF(ctx, n, r.Zone)...)
	out = append(out, judgeDMARC(ctx, n, r.Zone)...)
	for _, s := range selectorsOf(r) {
		at := belowAll(s+"._domainkey", r.Zone)
		out = append(out, judgeDKIM(s, n.tell(ctx, at, wire.TypeTXT), slices.Contains(r.Options.Selectors, s))...)
	}
	out = append(out, judgeSTS(ctx, n, r.Zone)...)
	out = append(out, judgeTLSRPT(ctx, n, r.Zone)...)
	out = append(out, judgeBIMI(ctx, n, r.Zone)...)
	out = append(out, moreMail(ctx, n, r.Zone, discovered(ctx, r).sets)...)
	return findings(out, ev)
}

// moreMail judges what a transfer shows of names below the apex: their MX, and the SPF of those that have some.
func moreMail(ctx context.Context, t teller, zone []byte, sets map[question][][]byte) []remark {
	var out []remark
	domains := 0
	for _, q := range sortedSets(sets) {
		if q.name == string(wire.Lower(nil, zone)) || domains == domainsMost {
			continue
		}
		var list []remark
		switch {
		case q.t == wire.TypeMX:
			list = judgeMX(zone, sets[q])
		case q.t == wire.TypeTXT && slices.ContainsFunc((&lookup{data: sets[q]}).texts(), isSPF):
			domains++
			list = judgeSPF(ctx, t, []byte(q.name))
		}
		for _, v := range list {
			if v.state != finding.Pass {
				v.key = wire.NameText([]byte(q.name)) + " " + v.key
				v.text = wire.NameText([]byte(q.name)) + ": " + v.text
				out = append(out, v)
			}
		}
	}
	return out
}

// zoneCAA judges who may issue certificates for the zone's names.
func zoneCAA(ctx context.Context, r *check.Run) []finding.Finding {
	if isReverse(r.Zone) || len(r.Zone) == 1 {
		return finding.Unmeasured(finding.Evidence{}, errReverse)
	}
	ev := zoneEvidence(ctx, r, r.Zone, wire.TypeCAA)
	n := network{r}
	out := judgeIssuers(ctx, n, r.Zone)
	sets := discovered(ctx, r).sets
	for _, q := range sortedSets(sets) {
		if q.t == wire.TypeCAA && q.name != string(wire.Lower(nil, r.Zone)) {
			out = append(out, judgeCAA(wire.NameText([]byte(q.name)), sets[q])...)
		}
	}
	return findings(out, ev)
}

// signedZone reports whether the zone, and each above it, has DS records above it.
func signedZone(ctx context.Context, r *check.Run) (signed, known bool) {
	cuts, err := r.Path(ctx)
	if err != nil {
		return false, false
	}
	for i := range cuts[1:] {
		if len(cuts[i+1].DS) == 0 {
			return false, true
		}
	}
	return len(cuts) > 1, true
}

// tlsaOwners are the names at which TLSA records are looked for: those of the hosts that take mail, of the zone's web servers,
// and what a transfer shows.
func tlsaOwners(ctx context.Context, r *check.Run) [][]byte {
	n := network{r}
	var out [][]byte
	add := func(name []byte) {
		if !slices.ContainsFunc(out, func(o []byte) bool { return wire.EqualFold(o, name) }) {
			out = append(out, name)
		}
	}
	for _, labels := range []string{"_443._tcp", "_443._tcp.www"} {
		add(belowAll(labels, r.Zone))
	}
	hosts := 0
	for _, d := range n.tell(ctx, r.Zone, wire.TypeMX).data {
		if host := rdataName(d, 2); len(host) > 1 && !addressLike(host) && hosts < spfHosts {
			hosts++
			add(belowAll("_25._tcp", wire.Lower(nil, host)))
		}
	}
	for _, q := range sortedSets(discovered(ctx, r).sets) {
		if q.t == wire.TypeTLSA {
			add([]byte(q.name))
		}
	}
	return out
}

// zoneTLSA judges TLSA records. Nobody connects to the hosts that they are for.
func zoneTLSA(ctx context.Context, r *check.Run) []finding.Finding {
	if isReverse(r.Zone) {
		return finding.Unmeasured(finding.Evidence{}, errReverse)
	}
	n := network{r}
	ev := zoneEvidence(ctx, r, belowAll("_443._tcp", r.Zone), wire.TypeTLSA)
	if x := n.tell(ctx, r.Zone, wire.TypeMX); x.is == unasked {
		return finding.Unmeasured(ev, x.err)
	}
	var out []remark
	for _, owner := range tlsaOwners(ctx, r) {
		x := n.tell(ctx, owner, wire.TypeTLSA)
		if x.is != isThere {
			continue
		}
		place := tlsaPlace{owner: owner, secure: x.safe, known: true}
		if wire.Subdomain(x.final, r.Zone) {
			place.secure, place.known = signedZone(ctx, r)
		}
		if _, _, base := portPrefix(owner); len(base) > 1 {
			if place.base = n.tell(ctx, base, wire.TypeA); place.base.is == noData {
				place.base = n.tell(ctx, base, wire.TypeAAAA)
			}
		}
		ev = finding.Evidence{N: 1, Received: x.raw, Command: x.command}
		out = append(out, judgeTLSA(place, x.data)...)
	}
	if len(out) == 0 {
		return finding.Unmeasured(ev, fmt.Errorf("no TLSA records were found: the check %w", finding.ErrInapplicable))
	}
	return findings(out, ev)
}

// zoneHTTPS judges HTTPS and SVCB records.
func zoneHTTPS(ctx context.Context, r *check.Run) []finding.Finding {
	if isReverse(r.Zone) {
		return finding.Unmeasured(finding.Evidence{}, errReverse)
	}
	n := network{r}
	ev := zoneEvidence(ctx, r, r.Zone, wire.TypeHTTPS)
	list := []question{
		{string(wire.Lower(nil, r.Zone)), wire.TypeHTTPS},
		{string(wire.Lower(nil, check.Below("www", r.Zone))), wire.TypeHTTPS},
		{string(wire.Lower(nil, check.Below("_dns", r.Zone))), wire.TypeSVCB},
	}
	sets := discovered(ctx, r).sets
	for _, q := range sortedSets(sets) {
		if (q.t == wire.TypeHTTPS || q.t == wire.TypeSVCB) && !slices.Contains(list, q) {
			list = append(list, q)
		}
	}
	addresses := func(name []byte) ([]netip.Addr, bool) { return addressesTold(ctx, n, name) }
	var out []remark
	for _, q := range list {
		data := sets[q]
		if data == nil {
			var err error
			if data, err = serviceData(ctx, r, []byte(q.name), q.t); err != nil {
				return finding.Unmeasured(ev, err)
			}
		}
		if len(data) > 0 {
			ev = zoneEvidence(ctx, r, []byte(q.name), q.t)
			out = append(out, judgeSVCB([]byte(q.name), r.Zone, q.t, data, addresses)...)
		}
	}
	if len(out) == 0 {
		return finding.Unmeasured(ev, fmt.Errorf("no HTTPS records were found: the check %w", finding.ErrInapplicable))
	}
	return findings(out, ev)
}

// addressesTold returns the addresses of a name, and whether they could be looked up.
func addressesTold(ctx context.Context, t teller, name []byte) ([]netip.Addr, bool) {
	var out []netip.Addr
	for _, typ := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		x := t.tell(ctx, name, typ)
		if x.is == broken || x.is == unasked {
			return nil, false
		}
		for _, d := range x.data {
			if a, ok := netip.AddrFromSlice(d); ok {
				out = append(out, a)
			}
		}
	}
	return out, true
}
