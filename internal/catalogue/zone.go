package catalogue

import (
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
		m, ev, err := atApex(ctx, r, t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		s, detail := judge(setOf(m, r.Zone, t))
		return finding.Verdict(s, ev, "%s", detail)
	}
}

// searching gives checks of a zone the time of a search for its names, which some of them make
// and the others have to wait for: what is asked of one address at the same time is bounded.
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
		{Check: finding.Check{ID: "ZONE-TLSA", Severity: finding.SevMedium}, Run: zoneTLSA},
		{Check: finding.Check{ID: "ZONE-HTTPS", Severity: finding.SevMedium}, Run: zoneHTTPS},
		{Check: finding.Check{ID: "ZONE-PTR", Severity: finding.SevLow}, Run: delegated(zonePTR)},
		{Check: finding.Check{ID: "ZONE-REVERSE", Severity: finding.SevLow}, Run: zoneReverse},
	}))
}

func zoneSerial(ctx context.Context, r *check.Run) []finding.Finding {
	servers, err := r.ZoneServers(ctx)
	q := soaQuery(r)
	if err != nil || len(servers) == 0 {
		return finding.Unmeasured(
			finding.Evidence{Command: "dig +nssearch " + check.ShellName(r.Apex())},
			errors.Join(err, errors.New("no server")),
		)
	}
	var first, refresh uint32
	spread, silent, heard, noWay := uint32(0), 0, 0, 0
	for _, said := range fromEach(ctx, r, servers, q) {
		m, err := said.m, said.err
		if errors.Is(err, check.ErrNoRoute) {
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
		a, _ := netip.AddrFromSlice(rr.Data)
		if kind, what := specialAddress(a); kind != blockNone {
			return finding.Verdict(finding.Warn, ev, "every name has the address %v: %s", a, what)
		}
	}
	if len(m.In(wire.Answer, wire.TypeA))+len(m.In(wire.Answer, wire.TypeCNAME)) > 0 {
		return finding.Verdict(finding.Info, ev, "every name is answered")
	}
	return finding.Verdict(finding.Pass, ev, "no wildcard")
}

// commonLabels are the names that are looked at without --subdomains.
func commonLabels() []string {
	return []string{
		"www",
		"mail",
		"ftp",
		"dev",
		"test",
		"staging",
		"vpn",
		"admin",
		"api",
		"app",
		"blog",
		"shop",
		"cdn",
		"static",
		"docs",
		"status",
		"intranet",
		"_msdcs",
		"sub",
		"smtp",
		"imap",
		"webmail",
		"portal",
		"web",
		"git",
	}
}

// maxListed is how many names stand in one finding.
const maxListed = 500

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
		if r.Options.Subdomains || d.names[i].how == "named" || slices.Contains(telling(), string(n[1:1+int(n[0])])) {
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

func zoneTXT(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := atApex(ctx, r, wire.TypeTXT)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	s, detail := judgeTXT(setOf(m, r.Zone, wire.TypeTXT))
	if s == finding.Pass && m.Flags&wire.FlagTC != 0 {
		s = finding.Warn // it does not fit, even over TCP
	}
	return finding.Verdict(s, ev, "%s", detail)
}
