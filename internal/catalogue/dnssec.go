package catalogue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"port53/internal/chain"
	"port53/internal/check"
	"port53/internal/dnssec"
	"port53/internal/finding"
	"port53/internal/wire"
)

// What the checks of DNSSEC judge by.
const (
	expirySoon  = 3 * 24 * time.Hour  // a weekend
	validityMax = 60 * 24 * time.Hour // how long an old signature can be replayed
	chainWork   = 64                  // signatures of one denial, twice a resolver's
	chainHashes = 1000
	walkSteps   = 20 // of the NSEC chain
	rsaMin      = 2048
)

// setOf returns the records of a name and type in a reply, with their signatures.
func setOf(m *check.Reply, name []byte, t wire.Type) *wire.RRset {
	return &wire.RRset{
		Owner: wire.Lower(nil, name),
		Type:  t,
		TTL:   setTTL(m, name, t),
		Data:  m.Answers(name, t),
		Sigs:  m.Signatures(name, t),
	}
}

// setTTL returns the TTL of a name's records of a type.
func setTTL(m *check.Reply, name []byte, t wire.Type) uint32 {
	for _, rr := range m.Records {
		if rr.Type == t && wire.EqualFold(rr.Owner, name) {
			return rr.TTL
		}
	}
	return 0
}

// dnssecChecks returns the checks of signed zones.
func dnssecChecks() []*check.Check {
	return searching(described(GroupDNSSEC, check.ScopeZone, "dnssec.txt", []*check.Check{
		{Check: finding.Check{ID: "DNSSEC-CHAIN", Severity: finding.SevHigh}, Run: runChain},
		{Check: finding.Check{ID: "DNSSEC-DSMISS", Severity: finding.SevHigh}, Run: delegated(runDSMiss)},
		{Check: finding.Check{ID: "DNSSEC-ALG", Severity: finding.SevHigh}, Run: delegated(runAlg)},
		{Check: finding.Check{ID: "DNSSEC-EXP", Severity: finding.SevHigh}, Run: runExp},
		{Check: finding.Check{ID: "DNSSEC-NSEC3", Severity: finding.SevMedium}, Run: runNSEC3},
		{Check: finding.Check{ID: "DNSSEC-WALK", Severity: finding.SevLow}, Run: runWalk},
		{Check: finding.Check{ID: "DNSSEC-TAGS", Severity: finding.SevMedium}, Run: runTags},
		{Check: finding.Check{ID: "DNSSEC-CDS", Severity: finding.SevMedium}, Run: runCDS},
		{Check: finding.Check{ID: "DNSSEC-ALGSIG", Severity: finding.SevMedium}, Run: runAlgSig},
		{Check: finding.Check{ID: "DNSSEC-NX", Severity: finding.SevHigh}, Run: runNX},
		{Check: finding.Check{ID: "DNSSEC-SIZE", Severity: finding.SevLow}, Run: runSize},
	}))
}

// keysOf returns the zone's DNSKEY reply; unsigned zones are skipped.
func keysOf(ctx context.Context, r *check.Run) (*check.Reply, finding.Evidence, error) {
	m, ev, err := atApex(ctx, r, wire.TypeDNSKEY)
	if err == nil && len(m.Answers(r.Zone, wire.TypeDNSKEY)) == 0 {
		err = fmt.Errorf("the zone is unsigned: %w", finding.ErrInapplicable)
	}
	return m, ev, err
}

// atApex returns what the first of the zone's servers says of a type of the apex: of several types what one server
// says, and the same in each run, whoever was the quickest. What others say is for the checks that compare them.
func atApex(ctx context.Context, r *check.Run, t wire.Type) (*check.Reply, finding.Evidence, error) {
	if s, err := surveyed(ctx, r); err == nil {
		q := question{string(s.zone), t}
		for _, x := range s.heard() {
			if m := x.withSignatures(q); m != nil && (m.Rcode == wire.NoError || m.Rcode == wire.NXDomain) {
				return m, seen(x.server, withDO.query(q), m), nil
			}
		}
	}
	return r.FromZone(ctx, r.Zone, t)
}

// allKeys returns the zone's keys: those of a reply, and what else any of its servers has.
func allKeys(ctx context.Context, r *check.Run, m *check.Reply) [][]byte {
	all := m.Answers(r.Zone, wire.TypeDNSKEY)
	s, err := surveyed(ctx, r)
	if err != nil {
		return all
	}
	for _, x := range s.heard() {
		for _, d := range x.best(question{string(s.zone), wire.TypeDNSKEY}).data {
			if !slices.ContainsFunc(all, func(k []byte) bool { return string(k) == d }) {
				all = append(all, []byte(d))
			}
		}
	}
	return all
}

func runDSMiss(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	if len(c.DS) == 0 {
		return finding.Unmeasured(finding.Evidence{}, fmt.Errorf("the parent has no DS: %w", finding.ErrInapplicable))
	}
	m, ev, err := atApex(ctx, r, wire.TypeDNSKEY)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	matched := 0
	for _, d := range c.DS {
		for _, k := range m.Answers(r.Zone, wire.TypeDNSKEY) {
			if dnssec.MatchDS(d, r.Zone, k) {
				matched++
				break
			}
		}
	}
	if matched == 0 {
		return finding.Verdict(finding.Fail, ev, "none of %d DS records has a key in the zone", len(c.DS))
	}
	if matched < len(c.DS) {
		return finding.Verdict(finding.Warn, ev, "%d of %d DS records have a key", matched, len(c.DS))
	}
	if cds, _, err := atApex(ctx, r, wire.TypeCDS); err == nil {
		for _, d := range cds.Answers(r.Zone, wire.TypeCDS) {
			found := false
			for _, p := range c.DS {
				found = found || string(p) == string(d)
			}
			if !found {
				return finding.Verdict(finding.Warn, ev, "the zone asks by CDS for a DS that the parent does not have")
			}
		}
	}
	return finding.Verdict(finding.Pass, ev, "all %d DS records have a key", len(c.DS))
}

// rsaBits returns the size of an RSA key's modulus (RFC 3110, section 2).
func rsaBits(key []byte) int {
	if len(key) < 5 {
		return 0
	}
	k := key[4:]
	n, at := int(k[0]), 1
	if n == 0 && len(k) > 3 {
		n, at = int(binary.BigEndian.Uint16(k[1:])), 3
	}
	if len(k) < at+n {
		return 0
	}
	return (len(k) - at - n) * 8
}

// judgeKey judges one key's algorithm and size.
func judgeKey(data []byte) (finding.State, string) {
	k, ok := dnssec.ParseKey(data)
	if !ok {
		return finding.Fail, "a key that cannot be read"
	}
	name := fmt.Sprintf("key %d, %s", k.Tag, wire.AlgorithmName(k.Algorithm))
	switch k.Algorithm {
	case 1, 3, 5, 6, 7, 12:
		return finding.Fail, name + ": must not be used for signing (RFC 9904, RFC 9905)"
	case dnssec.RSASHA256, dnssec.RSASHA512:
		switch bits := rsaBits(data); {
		case bits >= rsaMin:
		case bits >= 1024 && !k.SEP():
			return finding.Warn, fmt.Sprintf("%s: %d bits", name, bits)
		default:
			return finding.Fail, fmt.Sprintf("%s: %d bits", name, bits)
		}
	}
	return finding.Pass, name
}

func runAlg(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	m, ev, err := keysOf(ctx, r)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	var out []finding.Finding
	for _, d := range allKeys(ctx, r, m) {
		if s, detail := judgeKey(d); s != finding.Pass {
			out = append(out, finding.Finding{State: s, Key: detail, Detail: detail, Evidence: ev})
		}
	}
	for _, d := range c.DS {
		if len(d) > 4 && d[3] != dnssec.DigestSHA256 && d[3] != dnssec.DigestSHA384 {
			detail := fmt.Sprintf("DS %d has digest %d", binary.BigEndian.Uint16(d), d[3])
			out = append(out, finding.Finding{State: finding.Fail, Key: detail, Detail: detail, Evidence: ev})
		}
	}
	if len(out) == 0 {
		return finding.Verdict(finding.Pass, ev, "all keys and digests are of these days")
	}
	return out
}

// judgeWindow judges when a signature is valid, in serial arithmetic (RFC 4034,
// section 3.1.5).
func judgeWindow(sig []byte, now time.Time) (finding.State, finding.Severity, string) {
	if len(sig) < 18 {
		return finding.Fail, 0, "a signature that cannot be read"
	}
	t := uint32(now.Unix())
	left := time.Duration(int32(binary.BigEndian.Uint32(sig[8:])-t)) * time.Second
	age := time.Duration(int32(t-binary.BigEndian.Uint32(sig[12:]))) * time.Second
	switch {
	case left <= 0:
		return finding.Fail, 0, "expired " + roughly(-left) + " ago"
	case age < 0:
		return finding.Fail, 0, "is valid only in " + roughly(-age)
	case left < expirySoon:
		return finding.Warn, 0, "expires in " + roughly(left)
	case left+age > validityMax:
		return finding.Warn, finding.SevLow, "is valid for " + roughly(left+age)
	}
	return finding.Pass, 0, "expires in " + roughly(left)
}

// roughly writes a time such that it is the same for signatures that were made together.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// judgeReply judges when the signatures of the zone in a reply are valid. n is how many sets have any.
func judgeReply(m *check.Reply, zone []byte, now time.Time) (n int, out []span) {
	for _, section := range []wire.Section{wire.Answer, wire.Authority} {
		for _, set := range chain.Sets(&m.Message, section) {
			if len(set.Sigs) == 0 || !wire.Subdomain(set.Owner, zone) {
				continue
			}
			n++
			for _, y := range append(judgeSignatures(set.Sigs, now), shortSignatures(set)...) {
				y.t = set.Type
				out = append(out, y)
			}
		}
	}
	return n, out
}

// shortSignatures tells of signatures that are valid for less than their set's TTL: caches drop the set before
// its time, and who gets it from one late gets it without.
func shortSignatures(set *wire.RRset) []span {
	for _, sig := range set.Sigs {
		if len(sig) < 18 {
			continue
		}
		valid := time.Duration(int32(binary.BigEndian.Uint32(sig[8:])-binary.BigEndian.Uint32(sig[12:]))) * time.Second
		if ttl := time.Duration(binary.BigEndian.Uint32(sig[4:])) * time.Second; valid > 0 && valid < ttl {
			what := fmt.Sprintf("is valid for %s, less than its TTL of %s", roughly(valid), roughly(ttl))
			return []span{{state: finding.Warn, sev: finding.SevLow, what: what}}
		}
	}
	return nil
}

// A span is the signatures over one set as one server has them, and how they fare.
type span struct {
	t     wire.Type // that is signed
	state finding.State
	sev   finding.Severity
	what  string
}

// judgeSignatures judges when the signatures of one set are valid. One good one is enough for a
// validator; what is wrong with others is told nevertheless.
func judgeSignatures(sigs [][]byte, now time.Time) []span {
	var out []span
	best := finding.Fail
	for _, sig := range sigs {
		st, sev, what := judgeWindow(sig, now)
		if st != finding.Pass {
			out = append(out, span{state: st, sev: sev, what: what})
		}
		if st == finding.Pass || st == finding.Warn && best == finding.Fail {
			best = st
		}
	}
	for i := range out {
		if x := &out[i]; x.state == finding.Fail && best != finding.Fail {
			x.state, x.sev, x.what = finding.Warn, finding.SevLow, x.what+", beside one that is good"
		}
	}
	return out
}

func runExp(ctx context.Context, r *check.Run) []finding.Finding {
	s, err := surveyed(ctx, r)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: "dig +dnssec -t SOA -q " + check.ShellName(r.Apex())}, err)
	}
	var wrong complaints
	var out []finding.Finding
	good := 0
	for _, x := range s.sights {
		if x.noWay {
			continue
		}
		if x.silent() {
			ev := x.evidence(question{string(s.zone), wire.TypeSOA}, withDO)
			out = append(
				out,
				finding.Finding{
					State:    finding.Unknown,
					Key:      x.server.Addr.String(),
					Detail:   fmt.Sprintf("%s could not be measured: %v", x.called(), check.ErrTimeout),
					Evidence: ev,
				},
			)
			continue
		}
		for _, q := range slices.Concat(s.questions, s.cuts) {
			for v, m := range x.replies(q) {
				n, spans := judgeReply(m, s.zone, r.Clock())
				good += n - len(spans)
				for _, y := range spans {
					wrong.add(x, &question{t: y.t}, y.state, y.sev, x.evidence(q, v), "a signature over %s %s", y.t, y.what)
				}
			}
		}
	}
	out = append(merged(wrong), out...)
	switch {
	case len(out) > 0:
		return out
	case good == 0 && len(s.heard()) > 0:
		return finding.Unmeasured(finding.Evidence{}, fmt.Errorf("the zone is unsigned: %w", finding.ErrInapplicable))
	case good == 0:
		return finding.Verdict(finding.Unknown, finding.Evidence{}, "could not be measured: no server")
	}
	return finding.Verdict(finding.Pass, everyEvidence(s), "%d signed sets are fresh, at %d servers", good, len(s.heard()))
}

// merged writes what is wrong with signatures as one finding for all servers that have it.
func merged(list complaints) []finding.Finding {
	var out []finding.Finding
	var whats []string
	for _, c := range list {
		i := slices.Index(whats, c.what)
		if i < 0 {
			whats = append(whats, c.what)
			key := c.questions[0].t.String() + " " + c.state.String()
			out = append(
				out,
				finding.Finding{State: c.state, Severity: c.severity, Key: key, Detail: "at " + c.at.called(), Evidence: c.evidence},
			)
			continue
		}
		out[i].Detail += ", " + c.at.called()
	}
	for i := range out {
		out[i].Detail = whats[i] + ", " + out[i].Detail
	}
	return out
}

// An nsec3Of is the dearest parameters of NSEC3 that a zone publishes or denies with.
type nsec3Of struct {
	there      bool
	iterations uint16
	salt       int
	optOut     bool
}

func (n *nsec3Of) see(data []byte) {
	if len(data) < 5 {
		return
	}
	n.there = true
	n.iterations = max(n.iterations, binary.BigEndian.Uint16(data[2:]))
	n.salt = max(n.salt, int(data[4]))
}

func runNSEC3(ctx context.Context, r *check.Run) []finding.Finding {
	if _, ev, err := keysOf(ctx, r); err != nil {
		return finding.Unmeasured(ev, err)
	}
	m, ev, err := atApex(ctx, r, wire.TypeNSEC3PARAM)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	var n nsec3Of
	for _, p := range m.Answers(r.Zone, wire.TypeNSEC3PARAM) {
		n.see(p)
	}
	// What validators have to compute is what denials say, be it published or not.
	denial, ev2, err := r.FromZone(ctx, check.Below(randomLabel(), r.Zone), wire.TypeA)
	if err != nil {
		return finding.Unmeasured(ev2, err)
	}
	for _, rr := range denial.In(wire.Authority, wire.TypeNSEC3) {
		n.see(rr.Data)
		n.optOut = n.optOut || len(rr.Data) > 1 && rr.Data[1]&1 != 0
		ev = ev2
	}
	if !n.there {
		return finding.Verdict(finding.Pass, ev, "no NSEC3")
	}
	f := finding.Finding{
		State:    finding.Pass,
		Evidence: ev,
		Detail:   fmt.Sprintf("%d iterations, %d octets of salt, opt-out: %t", n.iterations, n.salt, n.optOut),
	}
	switch {
	case n.iterations > 50:
		f.State = finding.Fail
	case n.iterations > 0:
		f.State = finding.Warn
	case n.salt > 0:
		f.State, f.Severity = finding.Warn, finding.SevLow
	case n.optOut:
		f.State, f.Title = finding.Info, "NSEC3 with opt-out: unsigned delegations are not proven"
	}
	return []finding.Finding{f}
}

func runWalk(ctx context.Context, r *check.Run) []finding.Finding {
	if _, ev, err := keysOf(ctx, r); err != nil {
		return finding.Unmeasured(ev, err)
	}
	w := walked(ctx, r)
	switch {
	case w.err != nil:
		return finding.Unmeasured(w.ev, w.err)
	case len(w.list) > 1:
		var shown [][]byte
		for _, x := range w.list[:min(len(w.list), 5)] {
			shown = append(shown, x.name)
		}
		return finding.Verdict(finding.Warn, w.ev, "%d names by NSEC: %s", len(w.list), texts(shown))
	}
	// A server may answer no question for NSEC, and show its names in denials all the same.
	name := check.Below(randomLabel(), r.Zone)
	m, ev, err := r.FromZone(ctx, name, wire.TypeA)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	hashed := 0
	for _, rr := range m.Records {
		if rr.Section != wire.Authority {
			continue
		}
		if rr.Type == wire.TypeNSEC3 {
			hashed++
		}
		if next := rdataName(
			rr.Data,
			0,
		); rr.Type == wire.TypeNSEC && next != nil && !wire.EqualFold(rr.Owner, name) && next[0] > 0 && next[1] != 0 &&
			wire.Subdomain(next, r.Zone) &&
			!nearTo(rr.Owner, name) {
			return finding.Verdict(finding.Warn, ev, "a denial shows the names %s and %s", wire.NameText(rr.Owner), wire.NameText(next))
		}
	}
	if hashed > 0 {
		return finding.Verdict(finding.Pass, ev, "denials have hashes of names, which lists of words can still be tried on")
	}
	return finding.Verdict(finding.Pass, ev, "NSEC leads nowhere")
}

// nearTo reports whether the owner of an NSEC record was made for the name that it denies:
// a white lie has the name's own labels, changed a little (RFC 4470, section 3).
func nearTo(owner, name []byte) bool {
	return len(owner) > 4 && len(name) > 4 && int(owner[0]) >= int(name[0])-1 &&
		string(wire.Lower(nil, owner[1:4])) == string(wire.Lower(nil, name[1:4]))
}

// A walkedName is a name that the zone's NSEC records show.
type walkedName struct {
	name  []byte      // in lower case
	types []wire.Type // that its own NSEC record has; nil for the last name of a walk that ended early
}

// walkNSEC follows the zone's NSEC records for some steps and returns the names.
func walkNSEC(ctx context.Context, r *check.Run, steps int) ([][]byte, finding.Evidence, error) {
	list, ev, err := walkTypes(ctx, r, steps)
	var out [][]byte
	for _, x := range list {
		out = append(out, x.name)
	}
	return out, ev, err
}

// walkTypes is walkNSEC with what is at the names.
func walkTypes(ctx context.Context, r *check.Run, steps int) ([]walkedName, finding.Evidence, error) {
	at := r.Zone
	var found []walkedName
	var last finding.Evidence
	for range steps {
		m, ev, err := r.FromZone(ctx, at, wire.TypeNSEC)
		last = ev
		if err != nil {
			return nil, ev, err
		}
		data := nsecAt(ctx, r, m, at)
		next := rdataName(data, 0)
		if len(found) > 0 && next != nil {
			found[len(found)-1].types = wire.BitmapTypes(nil, data[len(next):])
		}
		// A white lie's next name begins with a zero octet (RFC 9824, section 3.2).
		if next == nil || !wire.Subdomain(next, r.Zone) || wire.EqualFold(next, r.Zone) || (len(next) > 1 && next[1] == 0) {
			break
		}
		at = wire.Lower(nil, next)
		found = append(found, walkedName{name: at})
	}
	return found, last, nil
}

// nsecAt returns the NSEC record of a name, of which m is the answer. A delegation is answered with
// a referral: there the name behind all that is below it is asked for, which nobody has.
func nsecAt(ctx context.Context, r *check.Run, m *check.Reply, at []byte) []byte {
	if ns := m.Answers(at, wire.TypeNSEC); len(ns) > 0 {
		return ns[0]
	}
	if len(m.In(wire.Authority, wire.TypeNS)) == 0 || wire.EqualFold(at, r.Zone) || at[0] >= wire.MaxLabel || len(at) >= wire.MaxName {
		return nil
	}
	behind := slices.Concat([]byte{at[0] + 1}, at[1:1+at[0]], []byte{0}, at[1+at[0]:])
	m, _, err := r.FromZone(ctx, behind, wire.TypeA)
	if err != nil {
		return nil
	}
	for _, rr := range m.In(wire.Authority, wire.TypeNSEC) {
		if wire.EqualFold(rr.Owner, at) {
			return rr.Data
		}
	}
	return nil
}

// A walk is what following the NSEC records for walkSteps found, once for all checks.
type walk struct {
	list []walkedName
	ev   finding.Evidence
	err  error
}

func walked(ctx context.Context, r *check.Run) walk {
	return check.Once(r, check.Fact[walk]{Name: string(wire.Lower(nil, r.Zone))}, func() walk {
		var w walk
		w.list, w.ev, w.err = walkTypes(ctx, r, walkSteps)
		return w
	})
}

func runTags(ctx context.Context, r *check.Run) []finding.Finding {
	m, ev, err := keysOf(ctx, r)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	tags := map[[2]uint16]bool{}
	for _, d := range allKeys(ctx, r, m) {
		k, ok := dnssec.ParseKey(d)
		if id := [2]uint16{k.Tag, uint16(k.Algorithm)}; ok && tags[id] {
			return finding.Verdict(finding.Warn, ev, "two keys have tag %d", k.Tag)
		} else if ok {
			tags[id] = true
		}
	}
	return finding.Verdict(finding.Pass, ev, "%d keys, all tags differ", len(tags))
}

func runNX(ctx context.Context, r *check.Run) []finding.Finding {
	if _, ev, err := keysOf(ctx, r); err != nil {
		return finding.Unmeasured(ev, err)
	}
	s, err := surveyed(ctx, r)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{}, err)
	}
	var wrong complaints
	denials := 0
	for _, x := range s.heard() {
		km := x.reply(question{string(s.zone), wire.TypeDNSKEY})
		var keys []dnssec.Key
		if km != nil {
			for _, d := range km.Answers(r.Zone, wire.TypeDNSKEY) {
				if k, ok := dnssec.ParseKey(d); ok {
					keys = append(keys, k)
				}
			}
		}
		for _, q := range s.questions {
			for v, m := range x.replies(q) {
				if o := outcomeOf(q, m); !o.denied() {
					continue
				}
				denials++
				w := &dnssec.Work{Signatures: chainWork, Failures: chainWork, Hashes: chainHashes}
				by := dnssec.Zone{Name: s.zone, Keys: keys}
				if _, _, why := by.VerifyNegative(
					[]byte(q.name),
					q.t,
					m.Rcode == wire.NXDomain,
					chain.Sets(&m.Message, wire.Authority),
					r.Clock(),
					w,
				); why != 0 {
					wrong.add(x, &q, finding.Fail, 0, x.evidence(q, v), "denies without a proof%s (%s)", x.onlyOver(q, v), why)
				}
			}
		}
		for q, what := range x.contradictions(s.zone, slices.Concat(s.questions, s.cuts)) {
			wrong.add(x, nil, finding.Fail, 0, x.evidence(q, withDO), "%s", what)
		}
	}
	switch out := wrong.findings(); {
	case len(out) > 0:
		return out
	case denials == 0 && len(s.heard()) == 0:
		return finding.Unmeasured(everyEvidence(s), errors.New("no server answers from here"))
	}
	return finding.Verdict(finding.Pass, everyEvidence(s), "what is not there is proven, in %d denials", denials)
}

func runSize(ctx context.Context, r *check.Run) []finding.Finding {
	servers, err := r.ZoneServers(ctx)
	if s, failed := surveyed(ctx, r); failed == nil && len(s.heard()) > 0 {
		servers = []finding.Server{s.heard()[0].server}
	}
	if err != nil || len(servers) == 0 {
		return finding.Unmeasured(
			finding.Evidence{Command: "dig +dnssec -t DNSKEY -q " + check.ShellName(r.Apex())},
			errors.Join(err, errors.New("no server")),
		)
	}
	at := *r
	at.Server = servers[0]
	return single(func(*check.Run) check.Query {
		return check.Query{Name: r.Zone, Type: wire.TypeDNSKEY, EDNS: &check.EDNS{Size: 4096, DO: true}}
	}, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		switch {
		case m.Rcode != wire.NoError:
			return finding.Unknown, "could not be measured: " + m.Rcode.String()
		case m.Flags&wire.FlagTC == 0 && len(m.Answers(r.Zone, wire.TypeDNSKEY)) == 0:
			return finding.Skipped, "the zone is unsigned"
		case m.Cut():
			// What is truncated may be so for a rate limit alone: TCP shows how long it is.
			over, err := at.AskTCP(ctx, check.Query{Name: r.Zone, Type: wire.TypeDNSKEY, EDNS: &check.EDNS{Size: 4096, DO: true}})
			switch {
			case err != nil:
				return finding.Unknown, "could not be measured: truncated, and over TCP: " + err.Error()
			case len(over.Answers(r.Zone, wire.TypeDNSKEY)) == 0:
				return finding.Skipped, "the zone is unsigned"
			case len(over.Raw) <= udpMax:
				return finding.Pass, fmt.Sprintf("%d octets over TCP", len(over.Raw))
			}
			return finding.Warn, fmt.Sprintf("%d octets over TCP, truncated over UDP", len(over.Raw))
		case len(m.Raw) > udpMax || m.Flags&wire.FlagTC != 0:
			return finding.Warn, fmt.Sprintf("%d octets, truncated: %t", len(m.Raw), m.Flags&wire.FlagTC != 0)
		}
		return finding.Pass, fmt.Sprintf("%d octets", len(m.Raw))
	})(ctx, &at)
}
