package resolver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
)

// maxFirst and maxLast are how many steps of one question are remembered, from its beginning and before its
// end: what is in between are more of the same.
const (
	maxFirst = 32
	maxLast  = 64
)

// A journal is the steps of a task. Whoever has to answer before the task is done looks into it, too.
//
// What its steps point at is the task's, until that is released.
type journal struct {
	mu    sync.Mutex
	of    *inquiry // whose steps these are; nil: nobody's any more
	steps []why.Step
	count int // of all steps there were

	asked why.Step // of the server that is waited for now; Kind 0: none is
}

// remembers has the steps of the task remembered.
func (t *task) remembers(of *inquiry) {
	if t.r.why.Record() == why.Off {
		return
	}
	if t.journal == nil {
		t.journal = &journal{}
	}
	j := t.journal
	j.mu.Lock()
	j.of, j.steps, j.count, j.asked = of, j.steps[:0], 0, why.Step{}
	j.mu.Unlock()
	t.noting = true
	of.journal.Store(j)
}

// forgets ends what remembers began. The memory of the steps is used again.
func (t *task) forgets() {
	if !t.noting {
		return
	}
	t.noting = false
	j := t.journal
	j.mu.Lock()
	j.of, j.asked = nil, why.Step{}
	clear(j.steps)
	j.mu.Unlock()
}

// note takes note of a step. Where steps cost something to make, callers look at t.noting first.
func (t *task) note(s *why.Step) {
	if !t.noting {
		return
	}
	s.At = t.b.at.Sub(t.begun)
	j := t.journal
	j.mu.Lock()
	if len(j.steps) < maxFirst+maxLast {
		j.steps = append(j.steps, *s)
	} else {
		j.steps[maxFirst+(j.count-maxFirst)%maxLast] = *s
	}
	j.count++
	j.asked.Kind = 0
	j.mu.Unlock()
}

// noteAsked notes that a server is waited for from now on, until the next step: whoever has to be answered
// before the server replies is told of it.
func (t *task) noteAsked(c *cut, server netip.AddrPort, name []byte, typ wire.Type) {
	if !t.noting {
		return
	}
	j := t.journal
	j.mu.Lock()
	j.asked = why.Step{
		Kind: why.Silent, Cause: why.ServersSilent, Server: server, Zone: c.zone, Name: name, Type: typ, EDE: edeNone,
		At: t.b.at.Sub(t.begun), Forward: c.route != nil && c.route.Forward,
	}
	j.mu.Unlock()
}

// all returns the steps in their order, and how many are left out behind the first. The lock is held.
func (j *journal) all() (steps []why.Step, left int) {
	if j.count <= maxFirst+maxLast {
		return j.steps, 0
	}
	at := maxFirst + (j.count-maxFirst)%maxLast
	steps = append(append(append(steps, j.steps[:maxFirst]...), j.steps[at:]...), j.steps[maxFirst:at]...)
	return steps, j.count - len(steps)
}

// keepWay keeps how a question came to what it came to, if that is a problem or everything is wanted.
func (t *task) keepWay(name []byte, typ wire.Type, res *result) {
	switch {
	case !t.noting:
		return
	case res.rcode == wire.ServFail, res.ede != edeNone && res.ede != wire.EDESynthesized:
	case t.r.why.Record() == why.Misses:
	default:
		return
	}
	w := why.Resolution{
		Started: t.begun, Took: t.b.at.Sub(t.begun), Name: name, Type: typ, Partition: t.s.Partition,
		Rcode: res.rcode, EDE: int16(res.ede), Cause: res.cause, Text: res.text,
	}
	j := t.journal
	j.mu.Lock()
	steps, left := j.all()
	w.Steps, w.Left = steps, uint16(left)
	t.r.why.Add(&w)
	j.mu.Unlock()
}

// rememberSoFar keeps what has been done for a question for which there is no answer in time.
func (r *Resolver) rememberSoFar(in *inquiry) {
	j := in.journal.Load()
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.of != in || in.told {
		return
	}
	in.told = true
	steps, left := j.all()
	took := time.Since(in.begun)
	if s := j.asked; s.Kind != 0 {
		s.Text = fmt.Sprintf("no answer yet, after %d ms", (took - s.At).Milliseconds())
		steps = append(slices.Clip(steps), s)
	}
	r.why.Add(&why.Resolution{
		Started: in.begun, Took: took, Name: []byte(in.key.name), Type: in.key.typ, Partition: in.key.view,
		Partial: true, Rcode: wire.ServFail, EDE: wire.EDENoReachableAuthority, Steps: steps, Left: uint16(left),
	})
}

// noteReply notes what a server said.
func (t *task) noteReply(c *cut, f *finding, reply *upstream.Reply, name []byte, typ wire.Type) {
	if !t.noting {
		return
	}
	s := why.Step{
		Kind: why.Replied, Server: f.server, Zone: c.zone, Name: name, Type: typ, Rcode: f.rcode, EDE: edeNone,
		Took: reply.RTT, TCP: reply.TCP, Forward: c.route != nil && c.route.Forward,
	}
	switch f.kind {
	case foundAlias:
		s.Text, s.Other = "an alias for", f.target
	case foundReferral:
		s.Text, s.Other = "a referral to", f.child.zone
	case foundNoData:
		s.Text = "no such data"
	case foundNXDomain:
		s.Text = "no such name"
	case foundAnswer:
		s.Text = "the answer"
	case foundTooLong:
		s.Text = "a name that a DNAME record would make too long"
	}
	if f.kind == foundNothing || f.lame {
		s.Cause, s.Text = useless(f).cause, f.why
		if f.rcode != wire.NoError {
			s.Text = "which is of no use"
		}
	}
	t.note(&s)
}

// noteSilence notes that nothing came of asking a server.
func (t *task) noteSilence(c *cut, server netip.AddrPort, name []byte, typ wire.Type, err error, cause why.Cause) {
	if !t.noting {
		return
	}
	text := strings.TrimPrefix(err.Error(), "upstream: ")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		text = "no answer"
	}
	t.note(&why.Step{
		Kind: why.Silent, Cause: cause, Server: server, Zone: c.zone, Name: name, Type: typ, EDE: edeNone, Text: text,
		Forward: c.route != nil && c.route.Forward,
	})
}

// noteUnasked notes why no server of a zone was asked.
func (a *asking) noteUnasked() {
	t := a.t
	if !t.noting {
		return
	}
	for i := range a.list {
		if slices.Contains(t.avoid, lameKey{a.list[i].server, a.zone}) {
			continue // its answer did not validate, which is noted
		}
		s := why.Step{Kind: why.Skipped, Server: a.list[i].server, Zone: a.c.zone, EDE: edeNone, Cause: why.ServersSilent}
		s.Text = "it has not answered lately"
		if a.c.route == nil && t.r.refusals.alone(lameKey{s.Server, a.zone}) {
			s.Cause, s.Text = why.ServersRefuse, "it refuses the zone"
		}
		t.note(&s)
	}
	for i := range a.c.targets {
		g := &a.c.targets[i]
		s := why.Step{Kind: why.NoAddress, Name: g.name, Zone: a.c.zone, EDE: edeNone, Cause: why.NoServerAddress}
		switch {
		case t.reachable(g):
			continue
		case len(g.addrs) > 0:
			s.Cause, s.Text = why.AddressForbidden, fmt.Sprintf("%v may not be asked, or not from here", g.addrs[0])
		case a.c.holds(g):
			s.Text = "it lies in the zone itself, and the zone above has no address of it (glue)"
		default:
			continue // what was looked up is noted, and what was not is no cause
		}
		t.note(&s)
	}
}

// noteNoAddress notes that a name server has no address.
func (t *task) noteNoAddress(c *cut, g *target, circle bool) {
	s := why.Step{Kind: why.NoAddress, Name: g.name, Zone: c.zone, EDE: edeNone, Cause: why.NoServerAddress, Text: "no address was found"}
	if circle {
		s.Cause, s.Text = why.DelegationCircle, "its address is needed to find its address"
	}
	t.note(&s)
}

// noteFailure notes that a name could not be looked up.
func (t *task) noteFailure(zone, name []byte, typ wire.Type, f *failure) {
	if !t.noting {
		return
	}
	t.note(&why.Step{Kind: why.Failed, Cause: f.cause, Zone: zone, Name: name, Type: typ, EDE: int16(f.ede), Text: f.text})
}

// noteVerdict notes that a link is not secure, if that was found out just now.
func (t *task) noteVerdict(l *link, name []byte, typ wire.Type, v *verdict) {
	if !t.noting || v.sec == cache.Secure || v.why == 0 && (v.sec == cache.Bogus || v.reason == edeNone) {
		return
	}
	s := why.Step{Kind: why.Validated, Zone: l.zone, Name: name, Type: typ, Server: l.server, EDE: int16(v.reason), Reason: v.why}
	if v.reason == edePassing {
		s.EDE = wire.EDEOther
	}
	sets := append([]*wire.RRset{l.set, l.dname}, l.proof...)
	s.Text = t.signatureText(v.why, sets)
	t.note(&s)
}

// signatureText says more of why a signature of sets does not count.
func (t *task) signatureText(reason dnssec.Reason, sets []*wire.RRset) string {
	if reason != dnssec.Expired && reason != dnssec.NotYetValid && reason != dnssec.NoKey && reason != dnssec.BadSignature {
		return ""
	}
	now := uint32(t.s.now().Unix())
	for _, set := range sets {
		if set == nil {
			continue
		}
		for _, sig := range set.Sigs {
			if len(sig) < 18 {
				continue
			}
			end, begin, tag := binary.BigEndian.Uint32(sig[8:]), binary.BigEndian.Uint32(sig[12:]), binary.BigEndian.Uint16(sig[16:])
			at := func(n uint32) string { return time.Unix(int64(n), 0).UTC().Format("2006-01-02 15:04:05 UTC") }
			switch {
			case reason == dnssec.Expired && int32(end-now) < 0:
				return fmt.Sprintf("that by key %d of %v ended %s", tag, set.Type, at(end))
			case reason == dnssec.NotYetValid && int32(now-begin) < 0:
				return fmt.Sprintf("that by key %d of %v begins %s", tag, set.Type, at(begin))
			case reason == dnssec.NoKey:
				return fmt.Sprintf("it is signed by key %d, which the zone does not have", tag)
			case reason == dnssec.BadSignature:
				return fmt.Sprintf("that by key %d does not fit the data", tag)
			}
		}
	}
	return ""
}

// noteKeys notes that the keys of a zone are no good.
func (t *task) noteKeys(l *link, name []byte, point *dnssec.TrustPoint, reason dnssec.Reason) {
	if !t.noting {
		return
	}
	s := why.Step{
		Kind: why.Validated, Zone: name, Name: name, Type: wire.TypeDNSKEY, Server: l.server, EDE: int16(reason.EDE()), Reason: reason,
	}
	switch {
	case l.kind != foundAnswer || l.set == nil:
		s.Cause, s.Text = why.NoKeys, "the zone has no DNSKEY records, and the zone above says that it is signed"
	case reason == dnssec.NoKey && t.trusted(l.set, point):
		s.Text = "it is not signed by the key that the DS records stand for"
	case reason == dnssec.NoKey:
		s.Cause = why.DSMismatch
		s.Text = "none of its keys (" + keyTags(l.set.Data) + ") is one that the DS records stand for (" + dsTags(point) + ")"
	default:
		s.Text = t.signatureText(reason, []*wire.RRset{l.set})
	}
	t.note(&s)
}

func (t *task) trusted(set *wire.RRset, v *dnssec.TrustPoint) bool {
	for _, data := range set.Data {
		if k, ok := dnssec.ParseKey(data); ok && !k.Revoked() && v.Trusts(set.Owner, data) {
			return true
		}
	}
	return false
}

func keyTags(keys [][]byte) string {
	var tags []string
	for _, data := range keys[:min(len(keys), 8)] {
		if k, ok := dnssec.ParseKey(data); ok {
			text := fmt.Sprint(k.Tag)
			if k.Revoked() {
				text += " revoked"
			}
			tags = append(tags, text)
		}
	}
	return strings.Join(tags, ", ")
}

func dsTags(v *dnssec.TrustPoint) string {
	var tags []string
	for _, ds := range v.DS[:min(len(v.DS), 8)] {
		if len(ds) > 4 {
			tags = append(tags, fmt.Sprint(binary.BigEndian.Uint16(ds)))
		}
	}
	for range v.DNSKEYs {
		tags = append(tags, "a trust anchor")
	}
	return strings.Join(tags, ", ")
}

// lastReason returns what was noted last of why something is not secure, or cannot be told: for those that
// find it out from what is kept of that. It returns nil if nothing was.
func (t *task) lastReason() *why.Step {
	if !t.noting {
		return nil
	}
	j := t.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	steps, _ := j.all()
	for i := len(steps) - 1; i >= 0; i-- {
		if s := steps[i]; s.Kind == why.Validated || s.Kind == why.Failed {
			s.Zone, s.Name = bytes.Clone(s.Zone), bytes.Clone(s.Name)
			return &s
		}
	}
	return nil
}
