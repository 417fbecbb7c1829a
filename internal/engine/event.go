package engine

import (
	"net/netip"
	"time"

	"port53/internal/event"
	"port53/internal/policy"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
)

// A telling is what a worker tells others of queries with.
type telling struct {
	measure uint8     // queries until the next whose time is taken
	begun   time.Time // when that one came

	events *event.Writer
	told   event.Record
	ids    upstream.Entropy // of problems; nobody can guess them
	named  int              // problems that got an id since
	second int64            // this second of the server's time
	epoch  int64            // what the server's time is added to for that since 1970, as read at
	asOf   int64            // this time of the server
	text   []byte           // what is told beside
	course
}

// The transports of both packages are the same: what is not does not compile.
const _ = -(uint(server.DoQ) ^ uint(event.DoQ)) - (uint(server.TCP) ^ uint(event.TCP))

// A course is how the query in hand came to its reply.
type course struct {
	path    event.Path
	outcome event.Outcome
	list    uint8 // of the rule that counted
	line    uint32
	arrived int64 // when it came, in nanoseconds since 1970, if it had to wait; 0: just now
	why     uint64
	reason  event.Reason
	class   policy.Class // of replies, whose limit is exceeded
	policed bool         // a rule of a policy zone counted: rule, or the verdict in hand
	rule    string
}

func (e *Engine) newEvents() *event.Writer {
	if e.events == nil {
		return &event.Writer{}
	}
	return e.events.NewWriter()
}

// wanted reports whether anybody wants to know of the reply in hand: what is wanted by default are
// problems, and most replies are none.
func (w *worker) wanted(rcode wire.Rcode) bool {
	wants := w.events.Wants()
	return wants&event.Answers != 0 || wants&event.Misses != 0 && w.path == event.Miss ||
		wants&event.Problems != 0 &&
			(rcode != wire.NoError && rcode != wire.NXDomain || w.path == event.Stale || w.path == event.Policy ||
				w.outcome != event.Replied || w.why != 0) ||
		wants&event.Explained != 0 && w.why != 0
}

// maxNamed is how many problems of one goroutine get an id in a second: a flood of what is refused must not
// cost more than answers do, nor push out all else that is remembered.
const maxNamed = 500

// name gives the reply in hand, or that there is none, an id by which it can be asked about later, if it is
// of a problem and the configuration wants that.
func (w *worker) name(rcode wire.Rcode) {
	record := w.gen.Why.Record
	if record == why.Off || w.why != 0 {
		return
	}
	switch {
	case rcode != wire.NoError && rcode != wire.NXDomain, w.path == event.Stale, w.path == event.Policy, w.outcome != event.Replied:
	case w.path == event.Miss && (w.ede >= 0 || record == why.Misses):
	default:
		return
	}
	if second := w.now / int64(time.Second); second != w.second {
		w.second, w.named = second, 0
	}
	if w.named++; w.named > maxNamed {
		return
	}
	for w.why == 0 {
		w.why = w.ids.Uint64() & (1<<(5*event.IDLen) - 1)
	}
}

// appendWhy appends the id of the reply in hand to the text of an Extended DNS Error.
func (w *worker) appendWhy(text []byte) []byte {
	if w.why == 0 || !w.gen.Why.Tell {
		return text
	}
	if len(text) > 0 {
		text = append(text, ' ')
	}
	return event.AppendID(append(text, "why="...), w.why)
}

// epochTime is how long a worker believes how the server's time and that since 1970 lie apart.
const epochTime = int64(time.Second)

// tellEvent tells others of the reply in hand, or that there is none.
func (w *worker) tellEvent(rcode wire.Rcode, size int, reply []byte) {
	q, r := &w.query, &w.told
	wants := w.events.Wants()
	*r = event.Record{
		Transport: uint8(w.peer.Transport),
		Path:      w.path,
		Outcome:   w.outcome,
		Recursive: w.recursive,
		List:      w.list,
		Line:      w.line,
		Remote:    w.peer.Remote,
		Local:     netip.AddrPortFrom(w.peer.Local, w.peer.LocalPort),
		Rcode:     rcode,
		EDE:       int16(w.ede),
		Size:      uint16(len(q.Msg)),
		Reply:     uint32(size),
		Why:       w.why,
		Reason:    w.reason,
		Latency:   -1,
	}
	if w.view != nil {
		r.View = w.view.Slot
		r.Recursive = r.Recursive || r.Path == event.Own && w.view.Recursion != nil
	}
	if len(q.Msg) >= wire.HeaderLen {
		r.ID, r.Opcode = uint16(q.Msg[0])<<8|uint16(q.Msg[1]), q.Msg[2]>>3&15
		if len(reply) >= wire.HeaderLen {
			r.Flags = uint16(reply[2])<<8 | uint16(reply[3])
		}
	}
	if q.HasQuestion {
		r.Name, r.Type, r.Class = q.Name.Name(), q.Type, q.Class
	}
	if w.why != 0 {
		w.text = w.appendDetail(w.text[:0])
		r.Text = w.text
	}
	w.timeEvent(wants)
	if wants&event.Messages != 0 {
		r.Query, r.Response = q.Msg, reply
	}
	w.events.Put(r)
}

// appendDetail appends what more can be said of why the reply in hand is as it is: the rule, the zone or the
// key. Few replies are asked for it, since only so many get an id.
func (w *worker) appendDetail(text []byte) []byte {
	q := &w.query
	switch {
	case w.policed && w.rule != "":
		return append(text, w.rule...)
	case w.policed:
		return append(text, w.ruled.Describe()...)
	case w.outcome == event.Slipped || w.outcome == event.Dropped+event.Outcome(telemetry.DropRate):
		text = append(append(text, "for "...), w.class.String()...)
		text = append(text, " replies to "...)
		text = w.gen.Limits.Rates.Network(w.peer.Remote.Addr()).AppendTo(text)
		if entry := w.zone(); q.HasQuestion && entry != nil {
			text = append(append(text, ", zone "...), wire.NameText(entry.Apex)...)
		}
		return text
	case w.reason == event.BadTSIG:
		if n, err := wire.CheckName(q.TSIG); err == nil {
			text = append(append(append(text, "key "...), wire.NameText(q.TSIG[:n])...), ": "...)
		}
		return append(text, signatureError(w.builder.Rcode(), w.signature)...)
	case w.reason == event.ZoneNotAllowed || w.reason == event.NotLoaded:
		return append(text, wire.NameText(w.zone().Apex)...)
	case w.reason == event.OperationNotAllowed:
		entry := w.whole()
		return append(append(append(text, wire.NameText(q.Name.Name())...), ": "...), w.whyNot(entry, w.builder.Rcode(), w.signer())...)
	}
	return text
}

// timeEvent sets when the query in hand came, and what it took if that is known.
func (w *worker) timeEvent(wants event.Wants) {
	r := &w.told
	switch {
	case w.arrived != 0:
		r.Time = w.arrived
		r.Latency = max(time.Now().UnixNano()-w.arrived, 0)
		return
	case w.epoch == 0 || w.now-w.asOf > epochTime || w.now < w.asOf:
		w.epoch, w.asOf = time.Now().UnixNano()-w.now, w.now
	}
	r.Time = w.epoch + w.now
	switch {
	case wants&event.Messages != 0:
		r.Latency = max(time.Now().UnixNano()-r.Time, 0)
	case w.measure == 0 && w.outcome < event.Dropped:
		r.Latency = w.event.Nanos
	}
}
