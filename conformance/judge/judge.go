// Package judge decides whether a server's reply is right, given the replies of
// other servers to the same question.
//
// Where all peers agree, the subject must agree with them. Where they differ, a
// rule of docs/DIALECT.md that fits the question decides; where none fits, the
// subject must agree with one of the peers. Rules are the table in rules.go.
//
// The answer and authority sections are compared as sets of records in
// canonical form. The additional section must have what every peer sends and
// nothing that no peer sends: how much goes there is taste, but glue is not. Where
// any reply is truncated, only the decision to truncate is judged: ask again over
// TCP to compare the rest.
package judge

import (
	"fmt"
	"slices"
	"strings"

	"port53/conformance/peers"
	"port53/conformance/probe"
)

// A Reply is what one server sent, or nil for silence.
type Reply struct {
	Server string
	*probe.Message
}

// Silent says that the server sent nothing.
func (r Reply) Silent() bool { return r.Message == nil }

// A Case is one question with all its replies.
type Case struct {
	Q     *probe.Question
	Zone  string   // the origin of the zone that was asked, in wire form and lower case
	Cuts  []string // the zone's delegations, in the same form
	Peers []Reply
	Got   Reply
	// Whole is the subject's reply over TCP, where a reply over UDP was
	// truncated; else nil.
	Whole *probe.Message

	quiet bool // a peer was silent, and is not among Peers any more
}

// Truncated says that a reply has TC set.
func (c *Case) Truncated() bool {
	tc := !c.Got.Silent() && c.Got.TC
	for _, p := range c.Peers {
		tc = tc || !p.Silent() && p.TC
	}
	return tc
}

// Peer returns the named peer's reply, which is silent where there is no such
// peer.
func (c *Case) Peer(name string) Reply {
	for _, p := range c.Peers {
		if p.Server == name {
			return p
		}
	}
	return Reply{Server: name}
}

// A Verdict is the outcome of one case.
type Verdict struct {
	// Wrong says what is wrong, one line for each aspect; empty means right.
	Wrong []string
	// Rules are the dialect rules that were needed.
	Rules []string
	// Split says that the peers did not agree on the substance.
	Split bool
}

// Judge compares the subject's reply with those of the peers.
func Judge(c *Case) Verdict {
	var v Verdict
	if len(c.Peers) == 0 {
		v.Wrong = append(v.Wrong, "no peer answered to compare with")
		return v
	}
	copied := *c
	c = &copied
	if v.silence(c) {
		return v
	}
	if !c.Truncated() { // the rules judge what is said, which a truncated reply does not tell
		c = v.drop(c)
	}
	for _, a := range aspects {
		v.aspect(c, a.name, a.value)
	}
	v.truncation(c)
	return v
}

// drop returns the case without the replies that rules set aside, as long as
// there are others.
func (v *Verdict) drop(c *Case) *Case {
	out := *c
	for i := range rules {
		r := &rules[i]
		if r.Drop == nil || !r.Applies(&out) {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(out.Peers), func(p Reply) bool { return r.Drop(&out, p) })
		if len(left) == len(out.Peers) || len(left) == 0 {
			continue
		}
		v.Rules = append(v.Rules, r.ID)
		out.Peers = left
	}
	return &out
}

// silence judges whether there is a reply at all and returns whether that was
// the end of it.
func (v *Verdict) silence(c *Case) bool {
	silent := 0
	for _, p := range c.Peers {
		if p.Silent() {
			silent++
		}
	}
	switch {
	case c.Got.Silent() && silent == 0:
		v.Wrong = append(v.Wrong, "silent where every peer answers")
	case !c.Got.Silent() && silent == len(c.Peers):
		v.Wrong = append(v.Wrong, "answers where every peer is silent")
	}
	if c.Got.Silent() || silent == len(c.Peers) {
		return true
	}
	if silent > 0 { // the others are the measure
		c.Peers, c.quiet = slices.DeleteFunc(slices.Clone(c.Peers), Reply.Silent), true
	}
	return false
}

// aspects are compared one by one, whatever else a reply says.
var aspects = []struct {
	name  string
	value func(*probe.Message) string
}{
	{"QR", func(m *probe.Message) string { return fmt.Sprint(m.QR) }},
	{"opcode", func(m *probe.Message) string { return fmt.Sprint(m.Opcode) }},
	{"RD", func(m *probe.Message) string { return fmt.Sprint(m.RD) }},
	{"RA", func(m *probe.Message) string { return fmt.Sprint(m.RA) }},
	{"AD", func(m *probe.Message) string { return fmt.Sprint(m.AD) }},
	{"Z", func(m *probe.Message) string { return fmt.Sprint(m.Z) }},
	{"CD", func(m *probe.Message) string { return fmt.Sprint(m.CD) }},
	{"OPT", func(m *probe.Message) string {
		return fmt.Sprintf("present %v version %d do %v", m.OPT, m.Version, m.DO)
	}},
	{"question", func(m *probe.Message) string { return fmt.Sprintf("%d %v", m.QDCount, m.Question) }},
}

// aspect judges one value: all peers' where they agree, one of theirs where not.
func (v *Verdict) aspect(c *Case, name string, value func(*probe.Message) string) {
	if name == "CD" { // DIALECT 40b
		if c.Got.CD {
			v.Wrong = append(v.Wrong, "CD is set in the reply (DIALECT 40b)")
		}
		return
	}
	got := value(c.Got.Message)
	for _, p := range c.Peers {
		if value(p.Message) == got {
			return
		}
	}
	v.Wrong = append(v.Wrong, fmt.Sprintf("%s is %q, no peer's", name, got))
}

// limit returns the most octets that a reply to the question may have.
func limit(q *probe.Question) int {
	switch {
	case q.TCP:
		return 65535
	case !q.EDNS || q.Size < 512:
		return 512
	}
	return min(int(q.Size), peers.MaxUDP)
}

// truncation judges the TC bit and, where no reply is truncated, the substance.
// What the subject says over TCP is the measure of what has to fit: all of
// answer and authority, and in a referral the glue below the cut (RFC 9471,
// section 3.1: DIALECT 1). port53 sends nothing with TC, so that a reflector
// gains nothing by it.
func (v *Verdict) truncation(c *Case) {
	got := c.Got.Message
	if got.Size > limit(c.Q) && c.Got.Server == peers.Port53 {
		v.Wrong = append(v.Wrong, fmt.Sprintf("%d octets, where %d are the most", got.Size, limit(c.Q)))
	}
	if !c.Truncated() {
		v.substance(c)
		return
	}
	if c.Whole != nil {
		v.fits(c)
	}
	if got.TC {
		if c.Got.Server == peers.Port53 && len(got.Answer)+len(got.Authority)+len(got.Additional) > 0 {
			v.Wrong = append(v.Wrong, "records in a truncated reply")
		}
		if !slices.ContainsFunc(c.Peers, func(p Reply) bool { return p.Rcode == got.Rcode && p.AA == got.AA }) {
			v.Wrong = append(v.Wrong, fmt.Sprintf("rcode %s with AA %v, no peer's", probe.RcodeText(got.Rcode), got.AA))
		}
	}
}

// fits judges whether the subject was right to truncate or not to.
func (v *Verdict) fits(c *Case) {
	got, whole := c.Got.Message, c.Whole
	glue := inDomainGlue(whole)
	switch {
	case !got.TC:
		less := minus(append(append(slices.Clone(whole.Answer), whole.Authority...), glue...), append(append(slices.Clone(got.Answer), got.Authority...), got.Additional...))
		if len(less) > 0 {
			v.Wrong = append(v.Wrong, fmt.Sprintf("TC is not set although the reply lacks %v", less))
		}
	case whole.TC || whole.Rcode == probe.ServFail || endless(c) || gaveUp(c): // too much even for TCP, or the peers gave up before
	case whole.Size <= limit(c.Q):
		v.Wrong = append(v.Wrong, fmt.Sprintf("TC is set although the whole reply has %d octets of %d", whole.Size, limit(c.Q)))
	case len(glue) == 0 && !slices.ContainsFunc(c.Peers, func(p Reply) bool { return p.TC }):
		v.Wrong = append(v.Wrong, "TC is set although no peer truncates and no glue below the cut is missing")
	}
	v.Rules = append(v.Rules, "DIALECT 1")
}

// inDomainGlue returns the addresses in a referral whose owners are at or below
// the cut and are servers of it.
func inDomainGlue(m *probe.Message) []probe.RR {
	var glue []probe.RR
	for _, rr := range m.Additional {
		for _, ns := range m.Authority {
			if ns.Type == probe.TypeNS && ns.Data == rr.Owner && strings.HasSuffix(rr.Owner, ns.Owner) && !m.AA && len(m.Answer) == 0 {
				glue = append(glue, rr)
			}
		}
	}
	return glue
}

// Substance is what a reply says, as one value that is equal for equal replies.
func Substance(m *probe.Message) string {
	if m == nil {
		return "silence"
	}
	return fmt.Sprintf("%d aa=%v\n%s\n--\n%s", m.Rcode, m.AA, probe.Set(m.Answer), probe.Set(m.Authority))
}

func (v *Verdict) substance(c *Case) {
	got := Substance(c.Got.Message)
	split, equal := false, false
	for _, p := range c.Peers {
		s := Substance(p.Message)
		split = split || s != Substance(c.Peers[0].Message)
		equal = equal || s == got
	}
	v.Split = split
	if why := badOrder(c.Got.Message, c.Q); why != "" {
		v.Wrong = append(v.Wrong, why)
	}
	rule := find(c)
	switch {
	case equal:
		v.additional(c)
	case rule != nil && (split || rule.Always):
		v.Rules = append(v.Rules, rule.ID)
		if why := rule.Check(c); why != "" {
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s (%s: %s)", why, rule.ID, rule.Title))
		}
	case !split:
		v.Wrong = append(v.Wrong, differences(c.Got.Message, c.Peers[0].Message)...)
	default:
		v.Wrong = append(v.Wrong, "agrees with no peer, and the peers differ")
	}
}

// differences names the parts in which two replies differ.
func differences(got, want *probe.Message) []string {
	var d []string
	if got.Rcode != want.Rcode {
		d = append(d, fmt.Sprintf("rcode is %s, every peer's is %s", probe.RcodeText(got.Rcode), probe.RcodeText(want.Rcode)))
	}
	if got.AA != want.AA {
		d = append(d, fmt.Sprintf("AA is %v, every peer's is %v", got.AA, want.AA))
	}
	for _, s := range []struct {
		name      string
		got, want []probe.RR
	}{{"answer", got.Answer, want.Answer}, {"authority", got.Authority, want.Authority}} {
		if probe.Set(s.got) == probe.Set(s.want) {
			continue
		}
		more, less := minus(s.got, s.want), minus(s.want, s.got)
		d = append(d, fmt.Sprintf("%s: too much %v, missing %v", s.name, more, less))
	}
	return d
}

// minus returns the records of a that are not in b.
func minus(a, b []probe.RR) []probe.RR {
	left := slices.Clone(b)
	var out []probe.RR
	for _, rr := range a {
		if i := slices.Index(left, rr); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			out = append(out, rr)
		}
	}
	return out
}

// The octets of what may be left out of a full additional section: an AAAA record,
// its owner being a pointer, and a signature by an RSA key of 2048 bits.
const (
	addressRecord   = 28
	signatureRecord = 12 + 18 + 100 + 256
)

// additional judges the additional section against those of the peers that
// agree with the subject otherwise.
func (v *Verdict) additional(c *Case) {
	var union, common []probe.RR
	n := 0
	for _, p := range c.Peers {
		if Substance(p.Message) != Substance(c.Got.Message) {
			continue
		}
		if n == 0 {
			common = p.Additional
		} else {
			common = slices.DeleteFunc(slices.Clone(common), func(rr probe.RR) bool { return !slices.Contains(p.Additional, rr) })
		}
		union = append(union, p.Additional...)
		n++
	}
	if n < 2 && len(c.Peers) > 1 {
		return // one peer alone is no measure of taste
	}
	if !c.Q.TCP { // which of the optional records go in where not all do is taste too
		room := addressRecord
		if c.Q.DO {
			room += signatureRecord
		}
		for _, p := range append(slices.Clone(c.Peers), c.Got) {
			if p.Size+room > limit(c.Q) {
				return
			}
		}
	}
	if less := minus(common, c.Got.Additional); len(less) > 0 {
		v.Wrong = append(v.Wrong, fmt.Sprintf("additional: missing %v", less))
	}
	for _, rr := range c.Got.Additional {
		// A peer that was silent, as one that hangs is, may have sent it.
		if !c.quiet && !slices.Contains(union, rr) && !serviceAddress(c.Got.Message, rr) {
			v.Wrong = append(v.Wrong, fmt.Sprintf("additional: no peer sends %v", rr))
		}
	}
	for i, rr := range c.Got.Additional {
		if slices.Contains(c.Got.Additional[:i], rr) {
			v.Wrong = append(v.Wrong, fmt.Sprintf("additional: twice %v", rr))
		}
	}
}

// serviceAddress says that a record is an address of a service that the answer
// names in SVCB or HTTPS, or its signature (RFC 9460, section 4.1). No peer knows
// of it yet.
func serviceAddress(m *probe.Message, rr probe.RR) bool {
	const svcb, https = 64, 65
	if rr.Type != probe.TypeA && rr.Type != probe.TypeAAAA && rr.Type != probe.TypeRRSIG {
		return false
	}
	for _, s := range m.Answer {
		if s.Type != svcb && s.Type != https || len(s.Data) < 3 {
			continue
		}
		target := s.Data[2:]
		if target[0] == 0 { // the owner itself
			target = s.Owner
		}
		if strings.HasPrefix(string(probe.Lower([]byte(target))), rr.Owner) {
			return true
		}
	}
	return false
}

// badOrder checks that aliases stand before what they lead to, as resolvers
// expect (RFC 1034, section 4.3.2, adds them in that order), and that the
// records of an RRset stand together.
func badOrder(m *probe.Message, q *probe.Question) string {
	at := string(probe.Lower(q.Name))
	known := map[string]bool{at: true}
	seen := map[string]bool{}
	last := ""
	for _, rr := range m.Answer {
		switch {
		case rr.Type == probe.TypeDNAME || known[rr.Owner]:
		case rr.Type == probe.TypeRRSIG && seen[rr.Owner+"/39"]: // the DNAME's signature
		default:
			return fmt.Sprintf("answer: %s stands before the alias that leads to it", rr)
		}
		if rr.Type == probe.TypeCNAME {
			known[rr.Data] = true
		}
		key := fmt.Sprintf("%s/%d", rr.Owner, rr.Type)
		if seen[key] && key != last && rr.Type != probe.TypeRRSIG {
			return fmt.Sprintf("answer: the RRset of %s does not stand together", rr)
		}
		seen[key], last = true, key
	}
	return ""
}

// Report prints a case for a reader who wants to see for himself.
func Report(c *Case, v Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "dig %s\n", c.Q)
	for _, w := range v.Wrong {
		fmt.Fprintf(&b, "  wrong: %s\n", w)
	}
	groups := map[string][]string{}
	var order []string
	for _, p := range c.Peers {
		s := p.String()
		if groups[s] == nil {
			order = append(order, s)
		}
		groups[s] = append(groups[s], p.Server)
	}
	for _, s := range order {
		fmt.Fprintf(&b, "  %s: %s\n", strings.Join(groups[s], ", "), s)
	}
	fmt.Fprintf(&b, "  got (%s): %s\n", c.Got.Server, c.Got.String())
	return b.String()
}
