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

// What the checks of a zone's content judge by.
const (
	refreshMin = 14400  // seconds (RIPE-203 and RFC 1912, section 2.2)
	expireMin  = 604800 // a week
	negMin     = 300
	negMax     = 86400
	ttlMin     = 60
	ttlMax     = 7 * 86400
	spfLookups = 10 // RFC 7208, section 4.6.4
)

// content makes a Run that judges one set of the zone.
func content(t wire.Type, judge func(r *check.Run, m *check.Reply, data [][]byte) (finding.State, string)) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		m, ev, err := r.FromZone(ctx, r.Zone, t)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		s, detail := judge(r, m, m.Answers(r.Zone, t))
		return finding.Verdict(s, ev, "%s", detail)
	}
}

// zoneChecks returns the checks of what is in a zone.
func zoneChecks() []*check.Check {
	edit := map[check.Product]string{"": "Change the record in the zone and raise the serial.", "bind": "rndc reload ZONE", "nsd": "nsd-control reload ZONE", "knot": "knotc zone-reload ZONE", "pdns": "pdnsutil edit-zone ZONE", "port53": "port53 zone check FILE"}
	list := []*check.Check{
		{
			Check: finding.Check{ID: "ZONE-SERIAL", Title: "all servers have the same version", Severity: finding.SevMedium, Sent: "Asks every server for the SOA.", Judged: "Serials apart by more than refresh: fail; different: warn.", Advice: map[check.Product]string{"": "See why the secondary does not transfer.", "bind": "rndc retransfer ZONE", "nsd": "nsd-control force_transfer ZONE", "knot": "knotc zone-retransfer ZONE", "pdns": "pdns_control retrieve ZONE"}, Refs: []string{"RFC 1034, section 4.3.5"}},
			Run:   zoneSerial,
		},
		{
			Check: finding.Check{ID: "ZONE-SOA", Title: "the SOA's times are sound", Severity: finding.SevLow, Sent: "Looks at the SOA's numbers.", Judged: "Refresh under 14400, retry not under refresh, expire under a week, minimum outside 300 to 86400: warn.", Advice: edit, Refs: []string{"RFC 1912, section 2.2", "RFC 2308, section 5"}},
			Run:   content(wire.TypeSOA, judgeSOA),
		},
		{
			Check: finding.Check{ID: "ZONE-TTL", Title: "TTLs are neither short nor long", Severity: finding.SevLow, Sent: "Looks at the TTL of the NS set.", Judged: "Under a minute or over a week: warn.", Advice: edit, Refs: []string{"RFC 1912"}},
			Run: content(wire.TypeNS, func(r *check.Run, m *check.Reply, _ [][]byte) (finding.State, string) {
				ttl := setTTL(m, r.Zone, wire.TypeNS)
				if ttl < ttlMin || ttl > ttlMax {
					return finding.Warn, fmt.Sprintf("NS has TTL %d", ttl)
				}
				return finding.Pass, fmt.Sprintf("NS has TTL %d", ttl)
			}),
		},
		{
			Check: finding.Check{ID: "ZONE-WILD", Title: "no wildcard hides mistakes", Severity: finding.SevLow, Sent: "Asks for a random name.", Judged: "An answer: info; a private address: warn.", Advice: edit, Refs: []string{"RFC 4592"}},
			Run:   zoneWild,
		},
		{
			Check: finding.Check{ID: "ZONE-DANGLE", Title: "nothing points to what others can take", Severity: finding.SevCritical, Sent: "Looks up what leads elsewhere: aliases of common names (with --subdomains, of all that are found), NS, MX and SRV.", Judged: "The target does not exist, and is at a service where anyone can claim it or in a domain that nobody has registered: fail. It does not exist in a domain that is somebody's: warn.", Advice: map[check.Product]string{"": "Remove the record before the service is given up, always in this order."}, Refs: []string{"CWE-350"}},
			Run:   zoneDangle,
		},
		{
			Check: finding.Check{ID: "ZONE-PRIVATE", Title: "no private addresses", Severity: finding.SevMedium, Sent: "Looks at the addresses of common names.", Judged: "Private, loopback or unique local: warn.", Advice: edit, Refs: []string{"RFC 1918", "RFC 4193"}},
			Run:   zonePrivate,
		},
		{
			Check: finding.Check{ID: "ZONE-SUBS", Title: "which names can be found", Severity: finding.SevInfo, Sent: "Walks NSEC and tries telling names; with --subdomains, asks for the whole zone, walks all of it, tries 5,000 words and what is made of those found, and reads certificates.", Judged: "Names that tell much (dev, test, vpn, admin, _msdcs): info.", Advice: map[check.Product]string{"": "Keep inner names in an inner zone."}, Refs: []string{"RFC 9824"}},
			Run:   zoneSubs,
		},
		{
			Check: finding.Check{ID: "ZONE-MAIL", Title: "nobody can send mail in its name", Severity: finding.SevMedium, Sent: "Looks at MX, SPF and DMARC.", Judged: "No SPF, +all, over ten look-ups, no DMARC or p=none: warn.", Advice: map[check.Product]string{"": `TXT "v=spf1 mx -all" and _dmarc TXT "v=DMARC1; p=reject"; without mail: MX 0 . and "v=spf1 -all"`}, Refs: []string{"RFC 7208", "RFC 7489", "RFC 7505"}},
			Run:   zoneMail,
		},
		{
			Check: finding.Check{ID: "ZONE-CAA", Title: "certificates are limited to some authorities", Severity: finding.SevLow, Sent: "Asks for CAA, up to the root.", Judged: "None: warn.", Advice: map[check.Product]string{"": `CAA 0 issue "letsencrypt.org"`}, Refs: []string{"RFC 8659"}},
			Run:   zoneCAA,
		},
		{
			Check: finding.Check{ID: "ZONE-TXT", Title: "TXT holds no secrets", Severity: finding.SevMedium, Sent: "Looks for keys and tokens in TXT, and at its size.", Judged: "What looks like a secret, or over 1232 octets: warn.", Advice: edit, Refs: []string{"CWE-200"}},
			Run:   content(wire.TypeTXT, judgeTXT),
		},
		ptrCheck(),
	}
	for _, c := range list {
		c.Group, c.Scope, c.Needs.Cost = GroupZone, check.ScopeZone, check.CostSearch
	}
	return list
}

func zoneSerial(ctx context.Context, r *check.Run) []finding.Finding {
	servers, err := r.ZoneServers(ctx)
	q := soaQuery(r)
	if err != nil || len(servers) == 0 {
		return finding.Unmeasured(finding.Evidence{Command: "dig +nssearch " + check.ShellName(r.Apex())}, errors.Join(err, errors.New("no server")))
	}
	var first, refresh uint32
	spread, silent, heard := uint32(0), 0, 0
	for _, s := range servers {
		m, err := r.AskServer(ctx, s, q)
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
		return finding.Verdict(finding.Unknown, ev, "could not be measured at %d of %d servers", len(servers)-heard, len(servers))
	}
	return finding.Verdict(finding.Pass, ev, "all have serial %d", first)
}

func judgeSOA(_ *check.Run, _ *check.Reply, data [][]byte) (finding.State, string) {
	if len(data) == 0 || len(data[0]) < 22 {
		return finding.Unknown, "no SOA"
	}
	n := data[0][len(data[0])-20:]
	refresh, retry, expire, neg := binary.BigEndian.Uint32(n[4:]), binary.BigEndian.Uint32(n[8:]), binary.BigEndian.Uint32(n[12:]), binary.BigEndian.Uint32(n[16:])
	detail := fmt.Sprintf("refresh %d, retry %d, expire %d, minimum %d", refresh, retry, expire, neg)
	if refresh < refreshMin || retry >= refresh || expire < expireMin || neg < negMin || neg > negMax {
		return finding.Warn, detail
	}
	return finding.Pass, detail
}

// private tells whether an address must not be in a public zone.
func private(data []byte) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(data)
	return a, ok && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified())
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
	return []string{"www", "mail", "ftp", "dev", "test", "staging", "vpn", "admin", "api", "app", "blog", "shop", "cdn", "static", "docs", "status", "intranet", "_msdcs"}
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
		m, err := r.Lookup(ctx, e.target, wire.TypeA, 1)
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

// strings of TXT data, joined (RFC 7208, section 3.3).
func joinTXT(data []byte) string {
	var b strings.Builder
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		b.Write(data[1 : 1+n])
		data = data[1+n:]
	}
	return b.String()
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
		m, err := r.Lookup(ctx, up, wire.TypeCAA, 1)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		if len(m.Answers(up, wire.TypeCAA)) > 0 {
			return finding.Verdict(finding.Pass, ev, "%s has CAA", wire.NameText(up))
		}
	}
	return finding.Verdict(finding.Warn, ev, "any authority may issue certificates")
}

func judgeTXT(_ *check.Run, m *check.Reply, data [][]byte) (finding.State, string) {
	size := 0
	for _, d := range data {
		size += len(d)
		s := strings.ToLower(joinTXT(d))
		for _, p := range []string{"-----begin", "aws_secret", "password=", "passwd=", "private_key", "api_key=", "apikey=", "ghp_", "xoxb-", "akia"} {
			if strings.Contains(s, p) {
				return finding.Warn, "TXT holds what looks like a secret (" + p + ")"
			}
		}
	}
	if size > udpMax || m.Flags&wire.FlagTC != 0 {
		return finding.Warn, fmt.Sprintf("%d octets of TXT at the apex", size)
	}
	return finding.Pass, fmt.Sprintf("%d octets of TXT at the apex", size)
}
