package telemetry

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/wire"
)

// An Operation is what somebody wants of a zone as a whole, or of the server.
type Operation uint8

// The operations.
const (
	Updated     Operation = iota // to change a zone (RFC 2136)
	Transferred                  // to have a zone whole, or by differences
	Notified                     // to announce a version of a zone (RFC 1996)
	Asked                        // a question that is signed, and whose signature is not good
	Commanded                    // a command of the control socket
	operationCount
)

// String returns the operation as the log has it.
func (d Operation) String() string {
	return [...]string{"update", "transfer", "notification", "signed query", "command"}[min(d, operationCount-1)]
}

// An Outcome is what came of an operation.
type Outcome uint8

// The outcomes.
const (
	Accepted  Outcome = iota // it was done
	Refused                  // its sender may not, or it cannot be done
	Failed                   // it could have been done, and was not
	Forwarded                // the zone's primary was asked, and has answered
	outcomeCount
)

// String returns the outcome as log and metrics have it.
func (o Outcome) String() string {
	return [...]string{"accepted", "refused", "failed", "forwarded"}[min(o, outcomeCount-1)]
}

// An AuditRecord is an operation with its outcome, for the audit. What it refers to is not kept.
//
// In one piece: it is a line of the audit, with a field for each thing that it can say.
type AuditRecord struct {
	Operation Operation
	Outcome   Outcome
	Zone      []byte         // in wire form; nil: none
	View      string         // of the peer, or that the command named; empty: there are no views
	Peer      netip.AddrPort // invalid: none
	Key       []byte         // the name that the message is signed with, good or not; nil: it is not signed
	Holder    string         // of the client certificate of a message that is not signed; empty: nobody known
	By        string         // who did it, beside peer and key: the user of the control socket
	Text      string         // what else was wanted: the type of a transfer, the command
	From      uint32         // serial before
	To        uint32         // serial of the version that it led to, or that was sent; 0: none
	Added     int            // records
	Removed   int
	Octets    int    // that were sent
	Reason    string // why it was not done; empty: it was
	TSIG      wire.Rcode
}

// The audit writes so many lines in a second, and so many at once. What is refused costs its
// sender nothing, and has a measure of its own: it hides nothing that was done.
const (
	auditRate, auditBurst     = 500, 5000
	refusalRate, refusalBurst = 10, 200
	maxReason                 = 300 // bytes
)

// An Audit tells the log who changed what, took zones away, or tried, a line for each, and
// counts them. Its methods are called from many goroutines; those of a nil Audit do
// nothing.
type Audit struct {
	log    *slog.Logger
	file   *AuditFile
	counts [operationCount][outcomeCount]atomic.Uint64
	tsig   [4]atomic.Uint64 // by tsigErrors
	left   atomic.Uint64    // lines that were not written
	recent recent

	mu             sync.Mutex // held for a few instructions
	done, refusals measure
}

// A measure is a token bucket.
type measure struct {
	rate, burst float64
	have        float64
	at          time.Time
	left        int // lines since the last that was written
}

// take reports whether there is room for a line, and how many were left out since the last.
func (m *measure) take(now time.Time) (ok bool, left int) {
	m.have = min(m.burst, m.have+m.rate*now.Sub(m.at).Seconds())
	m.at = now
	if m.have < 1 {
		m.left++
		return false, 0
	}
	m.have--
	left, m.left = m.left, 0
	return true, left
}

// NewAudit returns an audit that writes to log.
func NewAudit(log *slog.Logger) *Audit {
	return &Audit{
		log: log, done: measure{rate: auditRate, burst: auditBurst, have: auditBurst},
		refusals: measure{rate: refusalRate, burst: refusalBurst, have: refusalBurst},
	}
}

// SetFile has acts written into a file as well. It is called before the first of them.
func (a *Audit) SetFile(f *AuditFile) { a.file = f }

// tsigErrors are the errors of signatures that are counted, as the metrics have them.
var tsigErrors = [...]struct {
	rcode wire.Rcode
	name  string
}{{wire.BadSig, "badsig"}, {wire.BadKey, "badkey"}, {wire.BadTime, "badtime"}, {wire.BadTrunc, "badtrunc"}}

// Record counts an act, and tells the log of it.
func (a *Audit) Record(act *AuditRecord) {
	if a == nil {
		return
	}
	a.counts[act.Operation][act.Outcome].Add(1)
	for i, e := range tsigErrors {
		if act.TSIG == e.rcode {
			a.tsig[i].Add(1)
		}
	}
	m := &a.done
	if act.Outcome == Refused && act.Operation != Commanded {
		m = &a.refusals
	}
	a.mu.Lock()
	ok, left := m.take(time.Now())
	a.mu.Unlock()
	if ok || m == &a.done {
		a.file.write(act)
		a.recent.add(act)
	}
	if left > 0 {
		a.log.Warn("audit: lines were left out, which were too many at the same time", "lines", left)
	}
	if !ok {
		a.left.Add(1)
		return
	}
	a.log.Info("audit: "+act.Operation.String()+" "+act.Outcome.String(), act.args()...)
}

// args returns what the log is to have of an act.
func (act *AuditRecord) args() []any {
	var args []any
	add := func(name string, value any, there bool) {
		if there {
			args = append(args, name, value)
		}
	}
	add("zone", string(wire.AppendName(nil, act.Zone)), act.Zone != nil)
	add("view", act.View, act.View != "")
	add("what", clip(act.Text), act.Text != "")
	add("peer", act.Peer.String(), act.Peer.IsValid())
	add("key", string(wire.AppendName(nil, act.Key)), act.Key != nil)
	add("certificate", act.Holder, act.Holder != "")
	add("by", act.By, act.By != "")
	changed := act.Operation == Updated || act.Operation == Commanded && act.To != 0
	if act.Outcome == Accepted && changed {
		args = append(args, "serial_before", act.From, "serial", act.To, "added", act.Added, "removed", act.Removed)
	} else {
		add("serial", act.To, act.To != 0)
	}
	add("octets", act.Octets, act.Octets > 0)
	add("reason", clip(act.Reason), act.Reason != "")
	return args
}

// clip cuts a text to what a line bears.
func clip(text string) string {
	if len(text) > maxReason {
		return text[:maxReason] + "…"
	}
	return text
}

// Collect writes the counts.
func (a *Audit) Collect(w *Writer) {
	for what, name := range map[Operation]string{
		Updated: "port53_updates_total", Transferred: "port53_transfers_total", Notified: "port53_notifies_total",
		Commanded: "port53_commands_total",
	} {
		for o := range outcomeCount {
			w.Set(name, float64(a.counts[what][o].Load()), "result", o.String())
		}
	}
	for i, e := range tsigErrors {
		w.Set("port53_tsig_errors_total", float64(a.tsig[i].Load()), "error", e.name)
	}
	w.Set("port53_audit_left_out_total", float64(a.left.Load()))
	if a.file != nil {
		w.Set("port53_audit_lost_total", float64(a.file.lost.Load()))
	}
}
