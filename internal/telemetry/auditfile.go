package telemetry

import (
	"encoding/json"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/wire"
)

// An AuditFile has a line of JSON for each act that was done, failed or forwarded, and for as many of those
// that were refused as the log has. Each line has the hash of the one before it, so that it is found out when a
// line is changed, added or removed later: see [AuditChain]. Its methods are called from many goroutines; those
// of a nil one do nothing.
type AuditFile struct {
	trouble func(error) // is told when lines begin to be lost, and with nil when they do no more
	lost    atomic.Uint64

	mu     sync.Mutex // held over a write
	out    io.WriteCloser
	failed bool
	torn   bool   // what stands last in the file is not a whole line
	before string // the hash of the line that was written last; empty: there is none
	line   []byte
}

// NewAuditFile returns one that has no file yet.
func NewAuditFile(trouble func(error)) *AuditFile { return &AuditFile{trouble: trouble} }

// SetOutput makes out the file, and closes the one before. A nil out is none.
func (f *AuditFile) SetOutput(out io.WriteCloser) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out != nil {
		f.out.Close()
	}
	f.out = out
}

// An AuditLine is an act as the file has it.
//
// In one piece: it is the form of the JSON.
type AuditLine struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Outcome string    `json:"outcome"`
	Zone    string    `json:"zone,omitempty"`
	Peer    string    `json:"peer,omitempty"`
	Key     string    `json:"key,omitempty"`
	Holder  string    `json:"certificate,omitempty"` // of a client certificate
	By      string    `json:"by,omitempty"`
	Text    string    `json:"text,omitempty"`
	From    uint32    `json:"serial_before,omitempty"`
	To      uint32    `json:"serial,omitempty"`
	Added   int       `json:"added,omitempty"`
	Removed int       `json:"removed,omitempty"`
	Octets  int       `json:"octets,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// A chainedLine is one in the file.
type chainedLine struct {
	AuditLine
	Before string `json:"before,omitempty"` // the hash (SHA-256) of the line before, without its end
}

// write appends a line.
func (f *AuditFile) write(act *AuditRecord) {
	if f == nil {
		return
	}
	l := chainedLine{AuditLine: act.line()}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out == nil {
		return
	}
	l.Before = f.before
	text, err := json.Marshal(&l)
	if err == nil {
		err = f.append(text)
	}
	if err != nil {
		f.lost.Add(1)
	}
	if failed := err != nil; failed != f.failed && f.trouble != nil {
		f.trouble(err)
		f.failed = failed
	}
}

// append writes a line, and takes back what an error leaves of it. The lock is held.
func (f *AuditFile) append(text []byte) error {
	f.line = append(append(f.line[:0], text...), '\n')
	w := lineWriter{out: f.out, torn: f.torn}
	w.write(f.line)
	if f.torn = w.torn; w.err == nil {
		f.before = hashOf(text)
	}
	return w.err
}

// line returns an act as the file has it.
func (act *AuditRecord) line() AuditLine {
	l := AuditLine{
		At: time.Now().
			UTC(),
		What:    act.Operation.String(),
		Outcome: act.Outcome.String(),
		Holder:  act.Holder,
		By:      act.By,
		Text:    clip(act.Text),
		From:    act.From,
		To:      act.To,
		Added:   max(0, act.Added),
		Removed: max(0, act.Removed),
		Octets:  act.Octets,
		Reason:  clip(act.Reason),
	}
	if act.Zone != nil {
		l.Zone = wire.NameText(act.Zone)
	}
	if act.Key != nil {
		l.Key = wire.NameText(act.Key)
	}
	if act.Peer != (netip.AddrPort{}) {
		l.Peer = act.Peer.String()
	}
	return l
}

// maxRecent is how many acts are remembered for who asks.
const maxRecent = 1000

// A recent is the last acts; it is empty until it is wanted.
type recent struct {
	mu   sync.Mutex
	kept bool
	list []AuditLine // a ring
	next int
}

// Remember has the last acts kept for [Audit.Recent]. It is called before the first of them.
func (a *Audit) Remember() { a.recent.kept = true }

func (r *recent) add(act *AuditRecord) {
	if !r.kept {
		return
	}
	l := act.line()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) < maxRecent {
		r.list = append(r.list, l)
		return
	}
	r.list[r.next] = l
	r.next = (r.next + 1) % maxRecent
}

// Recent returns the last acts, the newest first.
func (a *Audit) Recent(limit int) []AuditLine {
	r := &a.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]AuditLine, 0, min(limit, len(r.list)))
	for i := range r.list {
		if len(list) == limit {
			break
		}
		list = append(list, r.list[(r.next+2*len(r.list)-1-i)%len(r.list)])
	}
	return list
}
