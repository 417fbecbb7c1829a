package catalogue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// content makes a Run that judges one set at the zone's apex by a rule.
func content(t wire.Type, judge rule) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		m, ev, err := r.FromZone(ctx, r.Zone, t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		s, detail := judge(setOf(m, r.Zone, t))
		return finding.Verdict(s, ev, "%s", detail)
	}
}

// searching gives checks of a zone the time of a search for its names, which some of them make
// and the others have to wait for: what is asked of one address at one time is bounded.
func searching(list []*check.Check) []*check.Check {
	for _, c := range list {
		c.Needs.Cost = check.CostSearch
	}
	return list
}

// zoneChecks returns the checks of what is in a zone.
func zoneChecks() []*check.Check {
	return searching(described(GroupZone, check.ScopeZone, "zone.txt", []*check.Check{
		{Check: finding.Check{ID: "ZONE-SERIAL", Severity: finding.SevMedium}, Run: zoneSerial},
		{Check: finding.Check{ID: "ZONE-SOA", Severity: finding.SevLow}, Run: content(wire.TypeSOA, judgeSOA)},
		{Check: finding.Check{ID: "ZONE-TTL", Severity: finding.SevLow}, Run: content(wire.TypeNS, judgeTTL)},
		{Check: finding.Check{ID: "ZONE-WILD", Severity: finding.SevLow}, Run: zoneWild},
		{Check: finding.Check{ID: "ZONE-DANGLE", Severity: finding.SevCritical}, Run: zoneDangle},
		{Check: finding.Check{ID: "ZONE-PRIVATE", Severity: finding.SevMedium}, Run: zonePrivate},
		{Check: finding.Check{ID: "ZONE-SUBS", Severity: finding.SevInfo}, Run: zoneSubs},
		{Check: finding.Check{ID: "ZONE-MAIL", Severity: finding.SevMedium}, Run: zoneMail},
		{Check: finding.Check{ID: "ZONE-CAA", Severity: finding.SevLow}, Run: zoneCAA},
		{Check: finding.Check{ID: "ZONE-TXT", Severity: finding.SevMedium}, Run: zoneTXT},
		{Check: finding.Check{ID: "ZONE-PTR", Severity: finding.SevLow}, Run: delegated(zonePTR)},
	}))
}

func zoneSerial(ctx context.Context, r *check.Run) []finding.Finding {
	servers, err := r.ZoneServers(ctx)
	q := soaQuery(r)
	if err != nil || len(servers) == 0 {
		return finding.Unmeasured(finding.Evidence{Command: "dig +nssearch " + check.ShellName(r.Apex())}, errors.Join(err, errors.New("no server")))
	}
	var first, refresh uint32
	spread, silent, heard, noWay := uint32(0), 0, 0, 0
	for _, said := range fromEach(ctx, r, servers, q) {
		m, err := said.m, said.err
		if errors.Is(err, check.ErrNoWay) {
			noWay++ // ZONE-EVERY tells of it
			continue
		}
		if err != nil {
			silent++
			continue
		}
		for _, d := range m.Answers(r.Zone, wire.TypeSOA) {
			n := d[len(d)-20:]
			serial := binary.BigEndian.Uint32(n)
			if heard == 0 {
				first, refresh = serial, binary.BigEndian.Uint32(n[4:])
			}
			heard++
			if d := int32(serial - first); d < 0 {
				spread = max(spread, uint32(-d))
			} else {
				spread = max(spread, uint32(d))
			}
		}
	}
	ev := finding.Evidence{N: heard, Command: "dig +nssearch " + check.ShellName(r.Apex())}
	switch {
	case spread > refresh:
		return finding.Verdict(finding.Fail, ev, "serials differ by %d", spread)
	case spread > 0:
		return finding.Verdict(finding.Warn, ev, "serials differ by %d", spread)
	case silent > 0 || heard == 0:
		return finding.Verdict(finding.Unknown, ev, "could not be measured at %d of %d servers", silent+noWay, len(servers))
	}
	return finding.Verdict(finding.Pass, ev, "all have serial %d", first)
}

func zoneWild(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := r.FromZone(ctx, check.Below(randomLabel(), r.Zone), wire.TypeA)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	for _, rr := range m.In(wire.Answer, wire.TypeA) {
		if a, bad := private(rr.Data); bad {
			return finding.Verdict(finding.Warn, ev, "every name has the private address %v", a)
		}
	}
	if len(m.In(wire.Answer, wire.TypeA))+len(m.In(wire.Answer, wire.TypeCNAME)) > 0 {
		return finding.Verdict(finding.Info, ev, "every name is answered")
	}
	return finding.Verdict(finding.Pass, ev, "no wildcard")
}

// commonLabels are the names that are looked at without --subdomains.
func commonLabels() []string {
	return []string{"www", "mail", "ftp", "dev", "test", "staging", "vpn", "admin", "api", "app", "blog", "shop", "cdn", "static", "docs", "status", "intranet", "_msdcs", "sub", "smtp", "imap", "webmail", "portal", "web", "git"}
}

// zoneDangle looks up what the zone's names lead to: aliases of what was found, and the
// hosts that the apex and delegations name.
func zoneDangle(ctx context.Context, r *check.Run) []finding.Finding {
	d := discovered(ctx, r)
	if d.err != nil && len(d.names) == 0 {
		return finding.Unmeasured(d.ev, d.err)
	}
	type edge struct {
		from   []byte
		t      wire.Type
		target []byte
	}
	var edges []edge
	for i := range d.names {
		if f := &d.names[i]; f.alias != nil {
			edges = append(edges, edge{f.name, wire.TypeCNAME, f.alias})
		}
	}
	for _, q := range []struct {
		name []byte
		t    wire.Type
		at   int
	}{{r.Zone, wire.TypeNS, 0}, {r.Zone, wire.TypeMX, 2}, {check.Below("_sip", check.Below("_tls", r.Zone)), wire.TypeSRV, 6}, {check.Below("_xmpp-server", check.Below("_tcp", r.Zone)), wire.TypeSRV, 6}} {
		m, ev, err := r.FromZone(ctx, q.name, q.t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		for _, data := range m.Answers(q.name, q.t) {
			if n := rdataName(data, q.at); len(n) > 1 {
				edges = append(edges, edge{q.name, q.t, wire.Lower(nil, n)})
			}
		}
	}
	var out []finding.Finding
	unknown, heard := 0, 0
	var last error
	for _, e := range edges[:min(len(edges), dangleMost)] {
		m, err := r.Lookup(ctx, e.target, wire.TypeA)
		if wire.Subdomain(e.target, r.Zone) {
			m, _, err = r.FromZone(ctx, e.target, wire.TypeA)
		}
		if err != nil {
			unknown, last = unknown+1, err
			continue
		}
		heard++
		if s, why := judgeDangle(r.Zone, e.target, m); s != finding.Pass {
			out = append(out, finding.Finding{State: s, Key: wire.NameText(e.from) + " " + e.t.String(), Detail: fmt.Sprintf("%s %s: %s", wire.NameText(e.from), e.t, why), Evidence: finding.Evidence{Received: m.Raw, N: 1, Command: "dig -t A -q " + check.ShellName(e.target)}})
		}
	}
	if unknown > 0 {
		out = append(out, finding.Unmeasured(d.ev, fmt.Errorf("%d of %d targets: %w", unknown, len(edges), last))...)
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, d.ev, "all %d targets exist", heard)
	}
	return out
}

// maxListed is how many names stand in one finding.
const maxListed = 500

func zonePrivate(ctx context.Context, r *check.Run) []finding.Finding {
	d := discovered(ctx, r)
	if d.err != nil {
		return finding.Unmeasured(d.ev, d.err)
	}
	servers, err := r.ZoneServers(ctx)
	if err != nil || len(servers) == 0 {
		return finding.Unmeasured(d.ev, errors.Join(err, errors.New("no server")))
	}
	var out []finding.Finding
	var ev finding.Evidence
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		m, e, err := r.FromZone(ctx, r.Zone, t)
		if err != nil {
			return finding.Unmeasured(e, err)
		}
		ev = e
		for _, rr := range m.In(wire.Answer, t) {
			if a, bad := private(rr.Data); bad {
				out = append(out, finding.Finding{State: finding.Warn, Key: wire.NameText(rr.Owner) + a.String(), Detail: fmt.Sprintf("%s has the private address %v", wire.NameText(rr.Owner), a), Evidence: e})
			}
		}
	}
	for i := range d.names {
		f := &d.names[i]
		e, addrs := ev, slices.Clone(f.addrs)
		if f.how != "transfer" && i < privateMost {
			m, e6, err := r.FromZone(ctx, f.name, wire.TypeAAAA)
			if err != nil {
				return finding.Unmeasured(e6, err)
			}
			e = e6
			for _, rr := range m.In(wire.Answer, wire.TypeAAAA) {
				if a, ok := netip.AddrFromSlice(rr.Data); ok {
					addrs = append(addrs, a)
				}
			}
		}
		for _, a := range addrs {
			if _, bad := private(a.AsSlice()); bad && len(out) < maxListed {
				t := wire.TypeAAAA
				if a.Is4() {
					t = wire.TypeA
				}
				e.Command = check.Dig(servers[0], check.Query{Name: f.name, Type: t})
				out = append(out, finding.Finding{State: finding.Warn, Key: wire.NameText(f.name) + a.String(), Detail: fmt.Sprintf("%s has the private address %v", wire.NameText(f.name), a), Evidence: e})
			}
		}
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, ev, "no private address at the apex and %d names", len(d.names))
	}
	return out
}

// telling are labels that tell an attacker where to go on.
func telling() []string {
	return []string{"dev", "test", "staging", "vpn", "admin", "intranet", "_msdcs"}
}

func zoneSubs(ctx context.Context, r *check.Run) []finding.Finding {
	d := discovered(ctx, r)
	if d.err != nil && len(d.names) == 0 {
		return finding.Unmeasured(d.ev, d.err)
	}
	var list [][]byte
	for i := range d.names {
		n := d.names[i].name
		if r.Options.Subdomains || slices.Contains(telling(), string(n[1:1+int(n[0])])) {
			list = append(list, n)
		}
	}
	walked, ev, err := walkNSEC(ctx, r, walkSteps)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	if !r.Options.Subdomains {
		list = append(list, walked...)
	}
	list = names(list)
	var out []finding.Finding
	if len(list) > 0 {
		detail := fmt.Sprintf("%d names", len(list))
		if len(d.ways) > 0 {
			detail += " (" + strings.Join(d.ways, ", ") + ")"
		}
		if len(list) > maxListed {
			detail += fmt.Sprintf(", of which the first %d are", maxListed)
		}
		out = finding.Verdict(finding.Info, d.ev, "%s: %s", detail, texts(list[:min(len(list), maxListed)]))
	}
	if d.err != nil {
		out = append(out, finding.Unmeasured(d.ev, fmt.Errorf("the search ended early: %w", d.err))...)
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, d.ev, "none of the telling names is there")
	}
	return out
}

func zoneMail(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := r.FromZone(ctx, r.Zone, wire.TypeTXT)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	spf, faults := "", []string{}
	for _, d := range m.Answers(r.Zone, wire.TypeTXT) {
		if s := joinTXT(d); strings.HasPrefix(s, "v=spf1") {
			spf = s
		}
	}
	n := 0
	for _, term := range strings.Fields(spf) {
		term = strings.TrimLeft(term, "+-~?")
		for _, p := range []string{"include:", "a", "mx", "ptr", "exists:", "redirect="} {
			if term == p || strings.HasPrefix(term, p) && (strings.ContainsAny(p, ":=") || term[len(p)] == ':') {
				n++
			}
		}
	}
	switch {
	case spf == "":
		faults = append(faults, "no SPF")
	case strings.Contains(spf, "+all") || strings.HasSuffix(spf, " all"):
		faults = append(faults, "SPF lets everyone send")
	case n > spfLookups:
		faults = append(faults, fmt.Sprintf("SPF needs %d look-ups", n))
	}
	name := check.Below("_dmarc", r.Zone)
	d, ev2, err := r.FromZone(ctx, name, wire.TypeTXT)
	if err != nil {
		return finding.Unmeasured(ev2, err)
	}
	dmarc := ""
	for _, x := range d.Answers(name, wire.TypeTXT) {
		if s := joinTXT(x); strings.HasPrefix(s, "v=DMARC1") {
			dmarc = strings.ReplaceAll(s, " ", "")
		}
	}
	switch {
	case dmarc == "":
		faults = append(faults, "no DMARC")
	case strings.Contains(dmarc, ";p=none"):
		faults = append(faults, "DMARC only watches")
	}
	if len(faults) > 0 {
		return finding.Verdict(finding.Warn, ev, "%s", strings.Join(faults, ", "))
	}
	return finding.Verdict(finding.Pass, ev, "SPF and DMARC are set")
}

func zoneCAA(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := r.FromZone(ctx, r.Zone, wire.TypeCAA)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	if len(m.Answers(r.Zone, wire.TypeCAA)) > 0 {
		return finding.Verdict(finding.Pass, ev, "the zone has CAA")
	}
	for i := 1; i < wire.LabelCount(r.Zone); i++ {
		var s wire.SplitName
		s.Set(r.Zone)
		s.Cut(i)
		up := bytes.Clone(s.Name())
		m, err := r.Lookup(ctx, up, wire.TypeCAA)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		if len(m.Answers(up, wire.TypeCAA)) > 0 {
			return finding.Verdict(finding.Pass, ev, "%s has CAA", wire.NameText(up))
		}
	}
	return finding.Verdict(finding.Warn, ev, "any authority may issue certificates")
}

func zoneTXT(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := r.FromZone(ctx, r.Zone, wire.TypeTXT)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	s, detail := judgeTXT(setOf(m, r.Zone, wire.TypeTXT))
	if s == finding.Pass && m.Flags&wire.FlagTC != 0 {
		s = finding.Warn // it does not fit, even over TCP
	}
	return finding.Verdict(s, ev, "%s", detail)
}
