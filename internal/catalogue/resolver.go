package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// What the checks of resolvers judge by.
const (
	randNames   = 2000
	randAtLeast = 1000 // arrivals without which entropy says nothing
	portsGood   = 13.5 // bits
	portsBad    = 10   // bits
	idsGood     = 13.5 // bits: 2,000 samples of 16 bits cannot show more than 15 reliably
	stepsMax    = 0.01 // share of neighbours
	nxnsWarn    = 60
	nxnsFail    = 200
	chainWarn   = 24
	chainFail   = 60
	tunnelNames = 30
)

// errNoProbe says that a check needs a zone of one's own.
var errNoProbe = errors.New("it needs --probe-zone, a zone that is delegated to this machine")

// probed makes a Run that needs the probe server.
func probed(
	run func(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding,
) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		if r.Options.Probe == nil {
			return finding.Unmeasured(finding.Evidence{Command: "port53 check --resolver ADDR --probe-zone ZONE"}, errNoProbe)
		}
		out := run(ctx, r, r.Options.Probe)
		for i := range out {
			if out[i].Evidence.Command == "" {
				out[i].Evidence.Command = fmt.Sprintf(
					"port53 check --resolver %s --probe-zone %s",
					r.Server.Addr,
					check.ShellName(r.Options.Probe.Zone),
				)
			}
		}
		return out
	}
}

// resolverChecks returns the checks of resolvers.
// In one piece: it is the table of them.
func resolverChecks() []*check.Check {
	return described(GroupResolver, check.ScopeResolver, "resolver.txt", []*check.Check{
		{Check: finding.Check{ID: "RES-OPEN", Severity: finding.SevCritical}, Run: single(elsewhere, judgeOpen, lostElsewhere())},
		{Check: finding.Check{ID: "RES-SNOOP", Severity: finding.SevMedium}, Needs: check.Needs{Recursion: true}, Run: resSnoop},
		{
			Check: finding.Check{ID: "RES-RAND", Severity: finding.SevCritical},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resRand),
		},
		{
			Check: finding.Check{ID: "RES-0X20", Severity: finding.SevLow},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   arrivals(judgeCase),
		},
		{
			Check: finding.Check{ID: "RES-COOKIE", Severity: finding.SevLow},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   arrivals(judgeCookies),
		},
		{
			Check: finding.Check{ID: "RES-BUFSIZE", Severity: finding.SevMedium},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   arrivals(judgeSize),
		},
		{
			Check: finding.Check{ID: "RES-QMIN", Severity: finding.SevLow},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resQmin),
		},
		{
			Check: finding.Check{ID: "RES-ECS", Severity: finding.SevMedium},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resECS),
		},
		{
			Check: finding.Check{ID: "RES-BAIL", Severity: finding.SevCritical},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resBail),
		},
		{
			Check: finding.Check{ID: "RES-NEARMISS", Severity: finding.SevHigh, Mode: finding.Active},
			Needs: check.Needs{Recursion: true, Probe: true, Cost: check.CostWaits},
			Run:   probed(resNear),
		},
		{
			Check: finding.Check{ID: "RES-REBIND", Severity: finding.SevMedium},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resRebind),
		},
		{Check: finding.Check{ID: "RES-VALID", Severity: finding.SevHigh}, Needs: check.Needs{Recursion: true}, Run: resValid},
		{Check: finding.Check{ID: "RES-TA", Severity: finding.SevHigh}, Needs: check.Needs{Recursion: true}, Run: resTA},
		{
			Check: finding.Check{ID: "RES-NSEC3LIM", Severity: finding.SevMedium},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resNSEC3),
		},
		{
			Check: finding.Check{ID: "RES-NXNS", Severity: finding.SevHigh},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resNXNS),
		},
		{
			Check: finding.Check{ID: "RES-CHAIN", Severity: finding.SevMedium},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resChain),
		},
		{
			Check: finding.Check{ID: "RES-TUNNEL", Severity: finding.SevInfo},
			Needs: check.Needs{Recursion: true, Probe: true},
			Run:   probed(resTunnel),
		},
		{
			Check: finding.Check{ID: "RES-HIJACK", Severity: finding.SevHigh},
			Needs: check.Needs{Recursion: true},
			Run:   single(func(*check.Run) check.Query { return check.RD(check.Below(randomLabel(), wire.Root), wire.TypeA) }, judgeHijack),
		},
		{Check: finding.Check{ID: "RES-BLOCK", Severity: finding.SevLow}, Needs: check.Needs{Recursion: true}, Run: resBlock},
		{
			Check: finding.Check{ID: "RES-TRANSPARENT", Severity: finding.SevHigh},
			Needs: check.Needs{Recursion: true, Away: true},
			Run:   resTransparent,
		},
		{Check: finding.Check{ID: "RES-PREFETCH", Severity: finding.SevInfo}, Needs: check.Needs{Recursion: true}, Run: resTTL},
	})
}

// lostElsewhere is that a name elsewhere is not answered: a resolver that finds nothing out is as silent as a server that drops
// what is not its own.
func lostElsewhere() quiet {
	return quiet{state: finding.Unknown, text: "a name elsewhere is not answered", stream: true}
}

// arrivals asks some names of the probe zone and judges what arrived.
func arrivals(
	judge func(r *check.Run, s []check.ReceivedQuery) (finding.State, string),
) func(context.Context, *check.Run) []finding.Finding {
	return probed(func(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
		z := check.Below(randomLabel(), p.Zone)
		var last error
		for i := range 10 {
			if _, err := r.Ask(ctx, check.RD(check.Below(fmt.Sprintf("abcdefghij%d", i), z), wire.TypeA)); err != nil {
				last = err
			}
		}
		s := p.Below(z)
		if len(s) == 0 {
			return finding.Unmeasured(finding.Evidence{}, errors.Join(last, errors.New("nothing arrived at the probe")))
		}
		st, detail := judge(r, s)
		return finding.Verdict(st, finding.Evidence{N: len(s)}, "%s", detail)
	})
}

func resSnoop(ctx context.Context, r *check.Run) []finding.Finding {
	heard := 0
	var ev finding.Evidence
	var last error
	for _, n := range []string{
		"www.google.com", "www.wikipedia.org", "www.microsoft.com", "www.apple.com", "www.amazon.com",
		"github.com", "www.debian.org", "www.cloudflare.com",
	} {
		q := check.Query{Name: mustName(n), Type: wire.TypeA}
		m, err := r.Ask(ctx, q)
		if err != nil {
			last, ev.Command = err, check.Dig(r.Server, q)
			continue
		}
		heard++
		ev = seen(r.Server, q, m)
		if m.Rcode == wire.NoError && m.Flags&wire.FlagAA == 0 && len(m.In(wire.Answer, wire.TypeA)) > 0 {
			return finding.Verdict(finding.Warn, ev, "%s is in its cache, and it tells", n)
		}
	}
	if last != nil {
		return finding.Unmeasured(ev, last)
	}
	return finding.Verdict(finding.Pass, ev, "nothing of %d names is shown", heard)
}

// entropy estimates the bits of values from how often two are equal. Without any
// pair it is the least that so many samples show.
func entropy(count map[uint16]int, n int) float64 {
	pairs := 0
	for _, c := range count {
		pairs += c * (c - 1) / 2
	}
	return math.Log2(float64(n) * float64(n-1) / 2 / float64(max(pairs, 1)))
}

// judgeRandom judges ports and IDs in the order of their arrival.
func judgeRandom(s []check.ReceivedQuery) (finding.State, string) {
	ports, ids := map[uint16]int{}, map[uint16]int{}
	steps := 0
	for i := range s {
		ports[s[i].From.Port()]++
		ids[s[i].ID]++
		if i > 0 {
			if d := int16(s[i].From.Port() - s[i-1].From.Port()); d == 1 || d == -1 {
				steps++
			}
			if d := int16(s[i].ID - s[i-1].ID); d == 1 || d == -1 {
				steps++
			}
		}
	}
	p, i := entropy(ports, len(s)), entropy(ids, len(s))
	detail := fmt.Sprintf("ports %.1f bits, IDs %.1f bits, %d neighbours, of %d questions", p, i, steps, len(s))
	switch {
	case p < portsBad || i < portsBad || float64(steps) > stepsMax*float64(len(s)):
		return finding.Fail, detail
	case p < portsGood || i < idsGood:
		return finding.Warn, detail
	}
	return finding.Pass, detail
}

func resRand(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	z := check.Below(randomLabel(), p.Zone)
	failed := 0
	for i := range randNames {
		if _, err := r.Ask(ctx, check.RD(check.Below(fmt.Sprintf("r%d", i), z), wire.TypeA)); err != nil {
			if failed++; failed > 10 {
				return finding.Unmeasured(finding.Evidence{}, err)
			}
		}
	}
	s := p.Below(z)
	if len(s) < randAtLeast {
		return finding.Verdict(finding.Unknown, finding.Evidence{N: len(s)}, "could not be measured: %d questions arrived", len(s))
	}
	st, detail := judgeRandom(s)
	return finding.Verdict(st, finding.Evidence{N: len(s)}, "%s", detail)
}

func resQmin(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	z := check.Below(randomLabel(), p.Zone)
	name := check.Below("a", check.Below("b", check.Below("c", z)))
	_, err := r.Ask(ctx, check.RD(name, wire.TypeA))
	parts := 0
	s := p.Below(z)
	for i := range s {
		if len(s[i].Name) < len(name) {
			parts++
		}
	}
	switch {
	case len(s) == 0:
		return finding.Unmeasured(finding.Evidence{}, errors.Join(err, errors.New("nothing arrived at the probe")))
	case parts == 0:
		return finding.Verdict(finding.Warn, finding.Evidence{N: len(s)}, "the whole name arrives at once")
	}
	return finding.Verdict(finding.Pass, finding.Evidence{N: len(s)}, "%d of %d questions are for parts of the name", parts, len(s))
}

func resECS(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	name := check.Below(randomLabel(), p.Zone)
	q := check.RD(name, wire.TypeA)
	subnet := []byte{0, 1, 24, 0, 198, 51, 100}
	q.EDNS.Options = wire.AppendOption(nil, 8, subnet)
	_, err := r.Ask(ctx, q)
	s := p.Below(name)
	if len(s) == 0 {
		return finding.Unmeasured(
			finding.Evidence{Command: check.Dig(r.Server, q)},
			errors.Join(err, errors.New("nothing arrived at the probe")),
		)
	}
	for i := range s {
		if len(s[i].Subnet) > 4 && bytes.Equal(s[i].Subnet[4:], subnet[4:]) {
			return finding.Verdict(finding.Fail, finding.Evidence{}, "the client's subnet is passed on")
		}
		if len(s[i].Subnet) > 4 {
			return finding.Verdict(finding.Warn, finding.Evidence{}, "a subnet is sent: %x", s[i].Subnet)
		}
	}
	return finding.Verdict(finding.Pass, finding.Evidence{}, "no subnet is sent")
}

func resBail(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	measured := 0
	var last error
	for pattern := range 6 {
		for _, zone := range []string{"test.", "example.", "invalid."} {
			victim := check.Below("v"+randomLabel(), mustName(zone))
			asHex := fmt.Sprintf("%x", victim)
			name := check.Below("bail", p.Zone)
			for len(asHex) > 0 {
				n := min(60, len(asHex))
				name, asHex = check.Below(asHex[len(asHex)-n:], name), asHex[:len(asHex)-n]
			}
			name = check.Below(fmt.Sprint(pattern), name)
			if _, err := r.Ask(ctx, check.RD(name, wire.TypeA)); err != nil {
				last = err
				continue
			}
			q := check.RD(victim, wire.TypeA)
			m, err := r.Ask(ctx, q)
			if err != nil {
				last = err
				continue
			}
			measured++
			for _, d := range m.In(wire.Answer, wire.TypeA) {
				a, _ := netip.AddrFromSlice(d.Data)
				return finding.Verdict(
					finding.Fail,
					seen(r.Server, q, m),
					"poisoned by pattern %d: %s has %s",
					pattern,
					wire.NameText(victim),
					a,
				)
			}
		}
	}
	if last != nil || len(p.Below(check.Below("bail", p.Zone))) == 0 {
		return finding.Unmeasured(finding.Evidence{N: measured}, errors.Join(last, errors.New("not every pattern arrived")))
	}
	return finding.Verdict(finding.Pass, finding.Evidence{N: measured}, "none of %d patterns is believed", measured)
}

func resNear(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	name := check.Below(randomLabel(), check.Below("near", p.Zone))
	q := check.RD(name, wire.TypeA)
	m, err := r.Ask(ctx, q)
	s := p.Below(name)
	if err != nil || len(s) == 0 {
		return finding.Unmeasured(
			finding.Evidence{Command: check.Dig(r.Server, q)},
			errors.Join(err, errors.New("nothing arrived at the probe")),
		)
	}
	for i := range s {
		if s[i].TCP {
			return finding.Verdict(finding.Pass, seen(r.Server, q, m), "it asks over TCP")
		}
	}
	if m.Rcode != wire.NoError {
		return finding.Verdict(finding.Pass, seen(r.Server, q, m), "the question is given up: %s", m.Rcode)
	}
	return finding.Verdict(finding.Warn, seen(r.Server, q, m), "after %d wrong IDs the reply is still taken", check.ProbeMisses)
}

func resRebind(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	return single(func(*check.Run) check.Query {
		return check.RD(check.Below(randomLabel(), check.Below("reb", p.Zone)), wire.TypeA)
	}, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		for _, rr := range m.In(wire.Answer, wire.TypeA) {
			if a, ok := netip.AddrFromSlice(rr.Data); ok && a.IsPrivate() {
				return finding.Warn, "a public name leads to " + a.String()
			}
		}
		return finding.Pass, m.Rcode.String()
	})(ctx, r)
}

// bogusName is signed wrongly on purpose, by its owners.
const bogusName = "dnssec-failed.org"

func resValid(ctx context.Context, r *check.Run) []finding.Finding {
	good := check.Query{Name: wire.Root, Type: wire.TypeSOA, Flags: wire.FlagRD, EDNS: &check.EDNS{Size: check.EDNSSize, DO: true}}
	m, err := r.Ask(ctx, good)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, good)}, err)
	}
	if m.Rcode != wire.NoError {
		return finding.Verdict(finding.Unknown, seen(r.Server, good, m), "could not be measured: the root's SOA is answered %s", m.Rcode)
	}
	if m.Flags&wire.FlagAD == 0 {
		return finding.Verdict(finding.Fail, seen(r.Server, good, m), "the root's SOA comes without AD: nothing is validated")
	}
	bad := check.Query{Name: mustName(bogusName), Type: wire.TypeA, Flags: wire.FlagRD, EDNS: &check.EDNS{Size: check.EDNSSize, DO: true}}
	b, err := r.Ask(ctx, bad)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, bad)}, err)
	}
	if b.Rcode == wire.NoError && len(b.In(wire.Answer, wire.TypeA)) > 0 {
		return finding.Verdict(finding.Fail, seen(r.Server, bad, b), "%s is bogus and is answered", bogusName)
	}
	if b.Rcode != wire.ServFail {
		return finding.Verdict(finding.Unknown, seen(r.Server, bad, b), "%s is answered %s", bogusName, b.Rcode)
	}
	_, ede := b.Option(wire.OptionEDE)
	bad.Flags |= wire.FlagCD
	c, err := r.Ask(ctx, bad)
	switch {
	case err != nil:
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, bad)}, err)
	case c.Rcode != wire.NoError:
		return finding.Verdict(finding.Unknown, seen(r.Server, bad, c), "with CD it is answered %s: the name may be out of reach", c.Rcode)
	}
	return finding.Verdict(finding.Pass, seen(r.Server, bad, b), "secure: AD; bogus: SERVFAIL, extended error: %t; CD is honoured", ede)
}

func resTA(ctx context.Context, r *check.Run) []finding.Finding {
	ask := func(label string) (*check.Reply, check.Query, error) {
		q := check.RD(check.Below(label, wire.Root), wire.TypeA)
		m, err := r.Ask(ctx, q)
		return m, q, err
	}
	is, q, err := ask("root-key-sentinel-is-ta-38696")
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
	}
	not, q, err := ask("root-key-sentinel-not-ta-38696")
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
	}
	switch {
	case is.Rcode == wire.ServFail && not.Rcode != wire.ServFail:
		return finding.Verdict(finding.Fail, seen(r.Server, q, is), "the key 38696 is not trusted")
	case is.Rcode != wire.ServFail && not.Rcode == wire.ServFail:
		return finding.Verdict(finding.Pass, seen(r.Server, q, is), "the key 38696 is trusted")
	}
	return finding.Verdict(finding.Unknown, seen(r.Server, q, is), "the resolver has no sentinel, or does not validate")
}

func resNSEC3(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	ad := func(n int) (bool, check.Query, error) {
		q := check.Query{
			Name:  check.Below(randomLabel(), check.Below(fmt.Sprintf("it%d", n), p.Zone)),
			Type:  wire.TypeA,
			Flags: wire.FlagRD,
			EDNS:  &check.EDNS{Size: check.EDNSSize, DO: true},
		}
		m, err := r.Ask(ctx, q)
		return err == nil && m.Flags&wire.FlagAD != 0, q, err
	}
	ok, q, err := ad(0)
	if err == nil && !ok {
		err = errors.New("no zone it0 below the probe zone is secure for this resolver")
	}
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
	}
	worst := 0
	for _, n := range []int{50, 150, 500, 2500} {
		ok, q, err := ad(n)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
		}
		if ok {
			worst = n
		}
	}
	switch {
	case worst >= 500:
		return finding.Verdict(finding.Fail, finding.Evidence{}, "%d iterations are validated", worst)
	case worst >= 150:
		return finding.Verdict(finding.Warn, finding.Evidence{}, "%d iterations are validated", worst)
	}
	return finding.Verdict(finding.Pass, finding.Evidence{}, "at most %d iterations are validated", worst)
}

// resCount asks one question and judges how many it became.
func resCount(ctx context.Context, r *check.Run, _ *check.Probe, name []byte, count func() int, warn, fail int) []finding.Finding {
	q := check.RD(name, wire.TypeA)
	_, err := r.Ask(ctx, q)
	n := count()
	ev := finding.Evidence{N: n, Command: check.Dig(r.Server, q)}
	switch {
	case n == 0:
		return finding.Unmeasured(ev, errors.Join(err, errors.New("nothing arrived at the probe")))
	case n > fail:
		return finding.Verdict(finding.Fail, ev, "%d packets for one question", n)
	case n > warn:
		return finding.Verdict(finding.Warn, ev, "%d packets for one question", n)
	}
	return finding.Verdict(finding.Pass, ev, "%d packets for one question", n)
}

func resTunnel(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	got, octets := 0, 0
	begin := time.Now()
	var last error
	for range tunnelNames {
		name := check.Below("tun", p.Zone)
		for range 3 {
			name = check.Below(fmt.Sprintf("%x", randomBytes(29)), name)
		}
		m, err := r.Ask(ctx, check.RD(name, wire.TypeTXT))
		if err != nil {
			last = err
			if got == 0 {
				return finding.Unmeasured(finding.Evidence{}, err)
			}
			continue
		}
		if len(m.In(wire.Answer, wire.TypeTXT)) > 0 {
			got++
			octets += len(m.Raw)
		}
	}
	if got == tunnelNames {
		return finding.Verdict(
			finding.Info,
			finding.Evidence{N: got},
			"a tunnel is possible: %.0f octets a second",
			float64(octets)/time.Since(begin).Seconds(),
		)
	}
	if last != nil {
		return finding.Unmeasured(finding.Evidence{N: got}, last)
	}
	return finding.Verdict(finding.Pass, finding.Evidence{N: got}, "%d of %d are answered", got, tunnelNames)
}

func resBlock(ctx context.Context, r *check.Run) []finding.Finding {
	var leaks []string
	var ev finding.Evidence
	for _, n := range []string{
		"localhost", "1.0.0.127.in-addr.arpa", "1.168.192.in-addr.arpa", "port53.onion", "port53.test",
		"port53.local",
	} {
		t := wire.TypeA
		if strings.HasSuffix(n, "arpa") {
			t = wire.TypePTR
		}
		q := check.RD(mustName(n), t)
		m, err := r.Ask(ctx, q)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
		}
		ev = seen(r.Server, q, m)
		// The SOA of the root or of in-addr.arpa in a denial shows that others were asked.
		for _, rr := range m.In(wire.Authority, wire.TypeSOA) {
			if host := rdataName(
				rr.Data,
				0,
			); host != nil &&
				(wire.Subdomain(host, mustName("root-servers.net")) || wire.Subdomain(host, mustName("in-addr-servers.arpa")) ||
					wire.Subdomain(host, mustName("iana.org"))) {
				leaks = append(leaks, n)
			}
		}
		if n == "localhost" && len(m.In(wire.Answer, wire.TypeA)) == 0 && m.Rcode == wire.NXDomain && len(leaks) == 0 {
			continue
		}
	}
	if len(leaks) > 0 {
		return finding.Verdict(finding.Warn, ev, "asked of others: %q", leaks)
	}
	return finding.Verdict(finding.Pass, ev, "special names stay here")
}

func resTransparent(ctx context.Context, r *check.Run) []finding.Finding {
	// An address for documentation, which nobody has (RFC 5737).
	nobody := finding.Server{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 53)}
	if r.Options.Lab.Closed.IsValid() {
		nobody.Addr = r.Options.Lab.Closed
	}
	q := elsewhere(r)
	// Only who reaches a real server can tell that nobody answers elsewhere.
	if _, err := r.Ask(ctx, q); err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(nobody, q)}, err)
	}
	m, err := r.AskServer(ctx, nobody, q)
	if err == nil {
		return finding.Verdict(finding.Fail, seen(nobody, q, m), "an address without a server answers: questions are taken on their way")
	}
	return finding.Verdict(finding.Pass, finding.Evidence{Command: check.Dig(nobody, q)}, "an address without a server does not answer")
}

func resTTL(ctx context.Context, r *check.Run) []finding.Finding {
	q := elsewhere(r)
	var ttl [2]uint32
	var ev finding.Evidence
	for i := range ttl {
		m, err := r.Ask(ctx, q)
		if err != nil {
			return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
		}
		ev = seen(r.Server, q, m)
		a := m.In(wire.Answer, wire.TypeA)
		if len(a) == 0 {
			return finding.Verdict(finding.Unknown, ev, "could not be measured: %s without an address", m.Rcode)
		}
		ttl[i] = a[0].TTL
	}
	if ttl[1] > ttl[0] || ttl[1] > 86400 {
		return finding.Verdict(finding.Warn, ev, "TTL %d, then %d", ttl[0], ttl[1])
	}
	return finding.Verdict(finding.Pass, ev, "TTL %d, then %d", ttl[0], ttl[1])
}

func judgeOpen(r *check.Run, m *check.Reply) (finding.State, string) {
	if m.Flags&wire.FlagRA != 0 && m.Rcode == wire.NoError && len(m.In(wire.Answer, wire.TypeA)) > 0 {
		if inside(r) {
			return finding.Unknown, "could not be measured: it resolves for a neighbour, as it may; ask from outside, or say --as-stranger"
		}
		return finding.Fail, "it resolves for everyone who reaches it"
	}
	if m.Rcode == wire.Refused || m.Flags&wire.FlagRA == 0 {
		return finding.Pass, m.Rcode.String()
	}
	return finding.Unknown, "it offers recursion and answers " + m.Rcode.String()
}

func judgeCase(_ *check.Run, s []check.ReceivedQuery) (finding.State, string) {
	mixed := 0
	for i := range s {
		if !bytes.Equal(s[i].Name, wire.Lower(nil, s[i].Name)) {
			mixed++
		}
	}
	if mixed*2 < len(s) {
		return finding.Warn, fmt.Sprintf("%d of %d in mixed case", mixed, len(s))
	}
	return finding.Pass, fmt.Sprintf("%d of %d in mixed case", mixed, len(s))
}

func judgeCookies(_ *check.Run, s []check.ReceivedQuery) (finding.State, string) {
	for i := range s {
		if len(s[i].Cookie) >= 8 {
			return finding.Pass, "a client cookie is sent"
		}
	}
	return finding.Warn, "no cookie is sent"
}

func judgeSize(_ *check.Run, s []check.ReceivedQuery) (finding.State, string) {
	var size uint16
	for i := range s {
		size = max(size, s[i].Size)
	}
	switch {
	case size > 4096:
		return finding.Fail, fmt.Sprintf("%d octets", size)
	case size > udpMax:
		return finding.Warn, fmt.Sprintf("%d octets", size)
	}
	return finding.Pass, fmt.Sprintf("%d octets", size)
}

func resNXNS(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	label := randomLabel()
	before := len(p.Below(check.Below("nxt", p.Zone)))
	return resCount(ctx, r, p, check.Below(label, check.Below("nxns", p.Zone)), func() int {
		return len(p.Below(check.Below("nxt", p.Zone))) - before + len(p.Below(check.Below(label, check.Below("nxns", p.Zone))))
	}, nxnsWarn, nxnsFail)
}

func resChain(ctx context.Context, r *check.Run, p *check.Probe) []finding.Finding {
	z := check.Below(randomLabel(), check.Below("chain", p.Zone))
	return resCount(ctx, r, p, check.Below("000", z), func() int { return len(p.Below(z)) }, chainWarn, chainFail)
}

func judgeHijack(_ *check.Run, m *check.Reply) (finding.State, string) {
	switch {
	case len(m.In(wire.Answer, wire.TypeA)) > 0:
		return finding.Fail, "a name that does not exist has an address"
	case m.Rcode == wire.NXDomain || m.Rcode == wire.Refused:
		return finding.Pass, m.Rcode.String()
	}
	return finding.Unknown, m.Rcode.String()
}
