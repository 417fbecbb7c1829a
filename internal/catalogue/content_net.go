package catalogue

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/chain"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of what is looked up for the contents of one zone.
const (
	lookupTime    = 5 * time.Second // of one lookup, from the root down
	followTime    = 9 * time.Second // of all, if the zone's names are not searched for
	followAll     = 5 * time.Minute // of all, if they are
	followedAt    = 12              // lookups at the same time
	ownLines      = 4               // connections on which the zone itself is asked
	selectorsMost = 100             // of DKIM that are looked at
)

// serviceLabels are the services that SRV records are commonly for (RFC 2782, 6186, 6120, 6764, 8314, 8620).
func serviceLabels() []string {
	return []string{
		"_autodiscover._tcp",
		"_caldav._tcp",
		"_caldavs._tcp",
		"_carddav._tcp",
		"_carddavs._tcp",
		"_h323cs._tcp",
		"_imap._tcp",
		"_imaps._tcp",
		"_jmap._tcp",
		"_kerberos._udp",
		"_ldap._tcp",
		"_matrix._tcp",
		"_matrix-fed._tcp",
		"_minecraft._tcp",
		"_pop3._tcp",
		"_pop3s._tcp",
		"_sip._tcp",
		"_sip._tls",
		"_sip._udp",
		"_sipfederationtls._tcp",
		"_sips._tcp",
		"_stun._udp",
		"_submission._tcp",
		"_submissions._tcp",
		"_turn._udp",
		"_xmpp-client._tcp",
		"_xmpp-server._tcp",
	}
}

// judgedTypes are those whose data is judged wherever it is in a zone.
func judgedTypes() []wire.Type {
	return []wire.Type{wire.TypeMX, wire.TypeTXT, wire.TypeCAA, wire.TypeTLSA, wire.TypeHTTPS, wire.TypeSVCB, wire.TypePTR}
}

// belowAll returns labels.name, for labels with dots between them.
func belowAll(labels string, name []byte) []byte {
	list := strings.Split(labels, ".")
	for _, l := range slices.Backward(list) {
		name = check.Below(l, name)
	}
	return name
}

// isReverse reports whether a zone is one of those that addresses have their names in.
func isReverse(zone []byte) bool {
	for _, s := range []string{"in-addr.arpa", "ip6.arpa"} {
		if wire.Subdomain(zone, mustName(s)) {
			return true
		}
	}
	return false
}

// ownQuestions are what a zone is asked for its contents.
func ownQuestions(r *check.Run) []question {
	var list []question
	add := func(name []byte, types ...wire.Type) {
		for _, t := range types {
			if q := (question{string(wire.Lower(nil, name)), t}); !slices.Contains(list, q) && wire.Subdomain(name, r.Zone) {
				list = append(list, q)
			}
		}
	}
	star := append([]byte{1, '*'}, r.Zone...)
	add(r.Zone, wire.TypeNS, wire.TypeMX, wire.TypeTXT, wire.TypeCAA, wire.TypeA, wire.TypeAAAA, wire.TypeHTTPS, wire.TypeDNAME)
	if len(star) <= wire.MaxName {
		add(star, wire.TypeA, wire.TypeMX, wire.TypeHTTPS)
	}
	if isReverse(r.Zone) {
		for _, name := range sampled(r.Zone) {
			add(name, wire.TypePTR)
		}
		return list
	}
	add(check.Below("www", r.Zone), wire.TypeA, wire.TypeAAAA, wire.TypeHTTPS)
	for _, labels := range []string{"_dmarc", "_mta-sts", "_smtp._tls", "default._bimi"} {
		add(belowAll(labels, r.Zone), wire.TypeTXT)
	}
	for _, labels := range []string{"_443._tcp", "_443._tcp.www"} {
		add(belowAll(labels, r.Zone), wire.TypeTLSA)
	}
	for _, selector := range selectorsOf(r) {
		add(belowAll(selector+"._domainkey", r.Zone), wire.TypeTXT)
	}
	for _, labels := range serviceLabels() {
		add(belowAll(labels, r.Zone), wire.TypeSRV)
	}
	return list
}

// selectorsOf are the selectors of DKIM that are looked at.
func selectorsOf(r *check.Run) []string {
	list := slices.Concat(r.Options.Selectors, dkimSelectors())
	slices.Sort(list)
	list = slices.Compact(list)
	return list[:min(len(list), selectorsMost)]
}

// An ownSets is what the zone's servers answered for its contents.
type ownSets map[question]*check.Reply

// ownOf asks for the contents of the zone, once for all checks: over TCP, for it is more than a server that limits its rate answers at
// one time.
func ownOf(ctx context.Context, r *check.Run) ownSets {
	return check.Once(r, check.Fact[ownSets]{Name: string(wire.Lower(nil, r.Zone))}, func() ownSets {
		ctx, cancel := context.WithTimeout(ctx, followTime)
		defer cancel()
		out := ownSets{}
		if _, ok := overTCPFirst(ctx, r); !ok {
			if _, _, err := r.FromZone(ctx, r.Zone, wire.TypeNS); err != nil {
				return out // nobody answers: each question would wait for it
			}
		}
		askEach(ctx, r, ownQuestions(r), func(q question, m *check.Reply) { out[q] = m })
		return out
	})
}

// askEach asks the zone's servers many questions, and hands over the replies one at a time. What is not answered is left out.
func askEach(ctx context.Context, r *check.Run, list []question, take func(question, *check.Reply)) {
	var mu sync.Mutex
	next := make(chan question)
	var wg sync.WaitGroup
	for range min(ownLines, len(list)) {
		wg.Go(func() {
			l := &line{r: r}
			defer l.close()
			for q := range next {
				if ctx.Err() != nil {
					continue
				}
				if m, _, err := l.ask(ctx, []byte(q.name), q.t); err == nil {
					mu.Lock()
					take(q, m)
					mu.Unlock()
				}
			}
		})
	}
	for _, q := range list {
		next <- q
	}
	close(next)
	wg.Wait()
}

// A network tells what names have by asking for them.
type network struct{ r *check.Run }

// tell implements [teller]. Names of the zone are asked of its own servers.
func (n network) tell(ctx context.Context, name []byte, t wire.Type) *lookup {
	name = wire.Lower(nil, name)
	return check.Once(n.r, check.Fact[*lookup]{Name: string(name), Type: t}, func() *lookup {
		within, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		x := n.find(within, name, t)
		if x.err != nil {
			switch {
			case ctx.Err() != nil, check.IsLocalError(x.err):
				x.is = unasked
			case within.Err() != nil:
				x.is, x.err = broken, fmt.Errorf("no answer within %v", lookupTime)
			}
		}
		return x
	})
}

func (n network) find(ctx context.Context, name []byte, t wire.Type) *lookup {
	x := &lookup{final: name, command: "dig -t " + t.String() + " -q " + check.ShellName(name)}
	if what, sold := specialUse(name, n.r.Zone); what != "" && !sold {
		x.is, x.err = unasked, errors.New("the name is for "+what)
		return x
	}
	if wire.Subdomain(name, n.r.Zone) {
		m, err := n.own(ctx, name, t)
		if err != nil {
			x.is, x.err = unasked, err
			return x
		}
		if !x.read(m, name, t, n.r.Zone) {
			return x // it is all the zone's
		}
	}
	aliases := x.aliases
	trace := n.r.Trace(ctx, x.final, t)
	x.zone = trace.Zone
	if trace.Err != nil {
		x.is, x.err, x.final = broken, trace.Err, trace.Final
		x.lame = lameOf(trace)
		return x
	}
	x.read(trace.Reply, trace.Final, t, nil)
	x.final, x.aliases = trace.Final, aliases+trace.Aliases
	x.safe = trace.Signed && len(trace.Reply.Signatures(trace.Final, t)) > 0
	return x
}

// own asks the zone itself.
func (n network) own(ctx context.Context, name []byte, t wire.Type) (*check.Reply, error) {
	if m := ownOf(ctx, n.r)[question{string(name), t}]; m != nil {
		return m, nil
	}
	m, _, err := n.r.FromZone(ctx, name, t)
	return m, err
}

// read reads a reply. more is that another zone has to be asked: for what the zone delegates, or leads to elsewhere.
func (x *lookup) read(m *check.Reply, name []byte, t wire.Type, zone []byte) (more bool) {
	x.raw = m.Raw
	f := chain.Classify(m.ToExchange(check.TraceQuestion(name, t, true)))
	if zone != nil {
		for i, target := range f.Chain {
			if !wire.Subdomain(target, zone) {
				x.final, x.aliases = wire.Lower(nil, target), i+1
				return true
			}
		}
	}
	x.final, x.aliases = wire.Lower(nil, f.Final), len(f.Chain)
	switch f.Outcome {
	case chain.Answered:
		x.data = m.Answers(f.Final, t)
	case chain.NoData:
		x.is = noData
	case chain.NXDomain:
		x.is, x.zone = noName, f.Zone
	case chain.Referred, chain.Alias:
		if zone != nil {
			return true
		}
		x.is, x.err = broken, errors.New("the delegations do not end")
	case chain.Failed:
		x.is, x.err = broken, errors.New(m.Rcode.String())
	case chain.Empty, chain.Malformed:
		x.is, x.err = broken, errors.New("the answer says nothing")
	}
	return false
}

// lameOf returns the lame servers of the zone at which a lookup ended, each with the reason,
// and the servers that could not be asked, without one.
func lameOf(t *check.Trace) []lame {
	var out []lame
	var heard [][]byte
	for _, s := range t.Asked {
		heard = append(heard, s.Server)
		switch {
		case s.Kind == chain.StepLame:
			out = append(out, lame{s.Server, cmp.Or(s.Why, "it is lame")})
		case s.Kind == chain.StepKind(chain.Failed):
			out = append(out, lame{s.Server, "it answers " + s.Reply.Message.Rcode.String()})
		}
	}
	for _, ns := range t.Servers {
		if !slices.ContainsFunc(heard, func(h []byte) bool { return wire.EqualFold(h, ns) }) {
			out = append(out, lame{server: ns})
		}
	}
	return out
}

// rawData returns the data of a name's records of a type from octets that cannot be read as a message, for data that is malformed
// itself: its names are not compressed (RFC 9460, section 2.2).
func rawData(raw, name []byte, t wire.Type) [][]byte {
	if len(raw) < wire.HeaderLen {
		return nil
	}
	at := wire.HeaderLen
	count := func(i int) int { return int(binary.BigEndian.Uint16(raw[4+2*i:])) }
	for range count(0) {
		_, n, bad := wire.AppendExpanded(nil, raw, at)
		if bad != 0 {
			return nil
		}
		at += n + 4
	}
	var out [][]byte
	for range count(1) {
		if at >= len(raw) {
			break
		}
		owner, n, bad := wire.AppendExpanded(nil, raw, at)
		if bad != 0 || at+n+10 > len(raw) {
			break
		}
		at += n
		size := int(binary.BigEndian.Uint16(raw[at+8:]))
		if at+10+size > len(raw) {
			break
		}
		if wire.Type(binary.BigEndian.Uint16(raw[at:])) == t && wire.EqualFold(owner, name) {
			out = append(out, raw[at+10:at+10+size])
		}
		at += 10 + size
	}
	return out
}

// serviceData returns the HTTPS or SVCB data at a name of the zone, malformed or not.
func serviceData(ctx context.Context, r *check.Run, name []byte, t wire.Type) ([][]byte, error) {
	if m := ownOf(ctx, r)[question{string(wire.Lower(nil, name)), t}]; m != nil {
		return m.Answers(name, t), nil
	}
	servers, err := r.ZoneServers(ctx)
	if err != nil {
		return nil, err
	}
	err = errors.New("no server has an address")
	for _, s := range servers[:min(len(servers), check.WalkServers)] {
		var m *check.Reply
		if m, err = r.AskWithFallback(ctx, s, withDO.query(question{string(name), t})); err != nil {
			continue
		}
		if m.Bad != 0 {
			return rawData(m.Raw, name, t), nil
		}
		return m.Answers(name, t), nil
	}
	return nil, err
}

// edgesIn returns where a reply of the zone about a name says that it leads: an alias, a DNAME on the way to it, a delegation, or its
// records.
func edgesIn(zone, name []byte, m *check.Reply) []edge {
	var out []edge
	dname := len(m.In(wire.Answer, wire.TypeDNAME)) > 0
	for _, rr := range m.Records {
		owner := wire.Lower(nil, rr.Owner)
		switch {
		case rr.Section == wire.Answer && rr.Type == wire.TypeDNAME && wire.Subdomain(owner, zone):
			out = append(out, leads(owner, rr.Type, rr.Data)...)
		case rr.Section == wire.Answer && wire.EqualFold(owner, name) && (rr.Type != wire.TypeCNAME || !dname):
			out = append(out, leads(owner, rr.Type, rr.Data)...)
		case rr.Section == wire.Authority && rr.Type == wire.TypeNS && m.Flags&wire.FlagAA == 0 &&
			wire.Subdomain(owner, zone) && !wire.EqualFold(owner, zone):
			out = append(out, leads(owner, rr.Type, rr.Data)...)
			if e := (edge{from: owner, what: "NS", target: owner, need: needServed}); !slices.ContainsFunc(
				out,
				func(o edge) bool { return o.key() == e.key() },
			) {
				out = append(out, e)
			}
		}
	}
	return out
}

// outward returns all that leads out of the zone, as far as its names are known.
func outward(ctx context.Context, r *check.Run, d *discovery) []edge {
	var out []edge
	own := ownOf(ctx, r)
	for _, q := range ownQuestions(r) {
		if m := own[q]; m != nil {
			out = append(out, slices.DeleteFunc(edgesIn(r.Zone, []byte(q.name), m), func(e edge) bool { return e.what == "PTR" })...)
		}
	}
	for i := range d.names {
		out = append(out, d.names[i].edges...)
	}
	n := network{r}
	if !isReverse(r.Zone) {
		out = append(out, mailLeads(ctx, n, r.Zone)...)
	}
	domains := 0
	for _, q := range sortedSets(d.sets) {
		if q.t == wire.TypeTXT && q.name != string(wire.Lower(nil, r.Zone)) && domains < domainsMost &&
			slices.ContainsFunc((&lookup{data: d.sets[q]}).texts(), isSPF) {
			domains++
			out = append(out, mailLeads(ctx, n, []byte(q.name))...)
		}
	}
	known := map[string]bool{}
	return slices.DeleteFunc(out, func(e edge) bool {
		seen := known[e.key()]
		known[e.key()] = true
		return seen
	})
}

// domainsMost is how many names below the apex are judged as domains of mail.
const domainsMost = 50

// sortedSets returns the questions that a transfer answers, by name and type.
func sortedSets(sets map[question][][]byte) []question {
	list := make([]question, 0, len(sets))
	for q := range sets {
		list = append(list, q)
	}
	slices.SortFunc(list, func(a, b question) int {
		return cmp.Or(strings.Compare(a.name, b.name), int(a.t)-int(b.t))
	})
	return list
}

// found makes a finding of what a rule said.
func (v *remark) finding(ev finding.Evidence) finding.Finding {
	return finding.Finding{
		State: v.state, Severity: v.severity, Key: v.key, Title: v.title, Detail: v.text, LocalCause: v.own, Evidence: ev,
	}
}

// findings makes findings of what rules said: all that is wrong or unknown; what passes in one line, and only if it is all there is.
func findings(list []remark, ev finding.Evidence) []finding.Finding {
	var out []finding.Finding
	var fine []string
	for i := range list {
		if v := &list[i]; v.state != finding.Pass {
			out = append(out, v.finding(ev))
		} else if v.text != "" {
			fine = append(fine, v.text)
		}
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, ev, "%s", strings.Join(fine, "; "))
	}
	return out
}
