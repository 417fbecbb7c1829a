package resolver

import (
	"fmt"
	"net/netip"
	"time"

	"port53/internal/wire"
)

// An Event is one step on the way to an answer, for people.
type Event struct {
	At int64 `json:"at_us"` // microseconds since the question came
	// Kind is cache, send, recv, timeout, validate, alias, answer or error; the server itself
	// adds zone, names, builtin, filter and refused.
	Kind   string `json:"kind"`
	Zone   string `json:"zone,omitempty"`
	Server string `json:"server,omitempty"`
	Name   string `json:"name,omitempty"`
	Type   string `json:"type,omitempty"`
	RTT    int64  `json:"rtt_us,omitempty"`
	Text   string `json:"text,omitempty"`
}

// maxEvents is how many steps a trace keeps: a question sends fewer packets.
const maxEvents = 1000

// A Trace is the way to one answer. A nil one records nothing.
type Trace struct {
	Events []Event
	begun  time.Time
	took   time.Duration // of the reply that is looked at
	tcp    bool
}

// NewTrace returns an empty trace that begins now.
func NewTrace() *Trace { return &Trace{begun: time.Now()} }

func (tr *Trace) add(e Event) {
	if len(tr.Events) < maxEvents {
		e.At = time.Since(tr.begun).Microseconds()
		tr.Events = append(tr.Events, e)
	}
}

func nameText(name []byte) string {
	if name == nil {
		return ""
	}
	return string(wire.AppendName(nil, name))
}

func (tr *Trace) sent(c *cut, server netip.AddrPort, name []byte, typ wire.Type) {
	if tr != nil {
		tr.add(Event{Kind: "send", Zone: nameText(c.zone), Server: server.String(), Name: nameText(name), Type: typ.String()})
	}
}

func (tr *Trace) failed(c *cut, server netip.AddrPort, err error) {
	if tr != nil {
		tr.add(Event{Kind: "timeout", Zone: nameText(c.zone), Server: server.String(), Text: err.Error()})
	}
}

func (tr *Trace) rtt(d time.Duration, tcp bool) {
	if tr != nil {
		tr.took, tr.tcp = d, tcp
	}
}

func (tr *Trace) received(c *cut, server netip.AddrPort, f *finding, m *wire.Message) {
	if tr == nil {
		return
	}
	text := fmt.Sprintf("%v, %d records", m.Rcode, len(m.Records))
	switch f.kind {
	case foundNothing:
		text += ", of no use: " + f.why
	case foundAlias:
		text += ", an alias for " + nameText(f.target)
	case foundReferral:
		text += ", a referral to the servers of " + nameText(f.child.zone)
	case foundNoData:
		text += ", no such data"
	case foundNXDomain:
		text += ", no such name"
	case foundAnswer:
		text += ", the answer"
	}
	if tr.tcp {
		text += ", over TCP"
	}
	tr.add(Event{Kind: "recv", Zone: nameText(c.zone), Server: server.String(), RTT: tr.took.Microseconds(), Text: text})
}

func (tr *Trace) judged(l *link, name []byte, typ wire.Type, v *verdict) {
	if tr == nil {
		return
	}
	text := v.sec.String()
	if v.sec == secBogus && unreachable(v.reason) {
		text = "cannot be validated"
	}
	if v.reason != edeNone && v.reason != edePassing {
		text += ": " + wire.ErrorText(uint16(v.reason))
	}
	tr.add(Event{Kind: "validate", Zone: nameText(l.zone), Name: nameText(name), Type: typ.String(), Text: text})
}

func (tr *Trace) fromCache(l *link, name []byte, typ wire.Type) {
	if tr != nil {
		tr.add(Event{Kind: "cache", Name: nameText(name), Type: typ.String(), Text: l.sec.String()})
	}
}
