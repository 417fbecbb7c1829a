package why

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/event"
	"port53/internal/wire"
)

// A Record says what is remembered.
type Record uint32

// What can be.
const (
	Off      Record = iota
	Problems        // what failed, was refused, limited, blocked or out of date
	Misses          // all that other servers were asked for, besides
)

// Bounds of a log.
const (
	overhead       = 64 // octets that an entry takes beside its own
	resolutionPart = 3  // of four parts of the memory, those that resolutions have
	maxLook        = 4096
	maxReport      = 100
)

// Options make a [Log]. The functions name what events have numbers for.
type Options struct {
	List      func(number int) string      // of a list
	View      func(slot uint8) string      // of a view
	Drop      func(reason uint8) string    // why a query was dropped
	Transport func(transport uint8) string // of a transport
}

// A Log is what is remembered.
type Log struct {
	options Options
	record  atomic.Uint32

	mu          sync.Mutex
	resolutions queue
	replies     queue
}

// A queue is entries in the order of time, the newest last, within a bound of octets.
type queue struct {
	entries [][]byte
	first   int // of entries, the oldest
	octets  int
	most    int
	gone    uint64 // entries that had to go for newer ones
}

// New returns a log that remembers nothing yet: see [Log.Set].
func New(o Options) *Log { return &Log{options: o} }

// Set says what is remembered from now on, in how many octets.
func (l *Log) Set(record Record, size int) {
	l.record.Store(uint32(record))
	l.mu.Lock()
	defer l.mu.Unlock()
	if record == Off {
		size = 0
	}
	l.resolutions.bound(size / 4 * resolutionPart)
	l.replies.bound(size / 4 * (4 - resolutionPart))
}

// Record returns what is remembered. A nil log remembers nothing.
func (l *Log) Record() Record {
	if l == nil {
		return Off
	}
	return Record(l.record.Load())
}

// Add remembers a resolution. It keeps nothing of it.
func (l *Log) Add(w *Resolution) {
	b := w.encode()
	l.mu.Lock()
	l.resolutions.push(b)
	l.mu.Unlock()
}

// Take remembers a query of a client.
func (l *Log) Take(r *event.Record) {
	if r.Why == 0 {
		return
	}
	b := encodeReply(r)
	l.mu.Lock()
	l.replies.push(b)
	l.mu.Unlock()
}

// Octets returns how much memory the log takes.
func (l *Log) Octets() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resolutions.octets + l.replies.octets
}

func (q *queue) bound(most int) {
	q.most = most
	q.trim()
	if q.most == 0 {
		q.entries, q.first = nil, 0
	}
}

func (q *queue) push(b []byte) {
	if len(b)+overhead > q.most {
		return
	}
	q.entries = append(q.entries, b)
	q.octets += len(b) + overhead
	q.trim()
}

// trim drops the oldest entries until the rest fits. The places of those that are gone are used again when
// they are as many as those that are left, so that each costs but one copy.
func (q *queue) trim() {
	for q.octets > q.most {
		q.octets -= len(q.entries[q.first]) + overhead
		q.entries[q.first] = nil
		q.first++
		q.gone++
	}
	if q.first > 64 && q.first >= len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.first:])
		clear(q.entries[n:])
		q.entries, q.first = q.entries[:n], 0
	}
}

// newest calls f with the entries, the newest first, until it returns false. Entries do not change: f may
// keep them.
func (q *queue) newest(f func(b []byte) bool) {
	for i := len(q.entries) - 1; i >= q.first; i-- {
		if !f(q.entries[i]) {
			return
		}
	}
}

// A Question says what somebody wants to know of. What is not said fits all.
type Question struct {
	ID     uint64       // then nothing else counts
	Name   []byte       // in wire form and lower case
	Type   wire.Type    // 0: any
	Client netip.Prefix // in which the client is
	Since  time.Time
	Limit  int // reports at most
}

// Find returns what is known, the newest first. What many clients met in one resolution is told once for each
// of them; of a resolution that no client of the question has met, it is told alone.
func (l *Log) Find(q Question) []Report {
	if q.Limit <= 0 || q.Limit > maxReport {
		q.Limit = maxReport
	}
	l.mu.Lock()
	replies, resolutions := l.match(&q)
	l.mu.Unlock()
	reports := []Report{}
	told := map[*Resolution]bool{}
	for i := range replies {
		r := &replies[i]
		w := resolutionOf(r, resolutions)
		if w != nil {
			told[w] = true
		}
		if len(reports) < q.Limit {
			reports = append(reports, l.report(r, w))
		}
	}
	for i := range resolutions {
		if w := &resolutions[i]; q.ID == 0 && !q.Client.IsValid() && !told[w] && len(reports) < q.Limit {
			reports = append(reports, l.report(nil, w))
		}
	}
	return reports
}

// match returns the replies that fit a question and the resolutions that may be theirs. The lock is held.
func (l *Log) match(q *Question) (replies []reply, resolutions []Resolution) {
	l.replies.newest(func(b []byte) bool {
		var r reply
		if !replyFits(b, q) || !r.decode(b) {
			return true
		}
		replies = append(replies, r)
		return len(replies) < maxReport && q.ID == 0
	})
	names := [][]byte{q.Name}
	if q.ID != 0 {
		if len(replies) == 0 {
			return nil, nil
		}
		names[0] = wire.Lower(nil, replies[0].Name)
	}
	l.resolutions.newest(func(b []byte) bool {
		name, typ := resolutionQuestion(b)
		if names[0] != nil && !bytes.Equal(name, names[0]) || q.Type != 0 && q.ID == 0 && typ != q.Type {
			return true
		}
		var w Resolution
		if w.decode(b) && (q.Since.IsZero() || w.Started.Add(w.Took).After(q.Since)) {
			resolutions = append(resolutions, w)
		}
		return len(resolutions) < maxReport
	})
	for i := range resolutions {
		l.lookBehind(&resolutions[i])
	}
	return replies, resolutions
}

// resolutionOf returns the resolution that led to a reply: of those for its question the newest that began before it. One
// that was written while there was no answer yet counts if there is none that was done. resolutions has the newest
// first.
func resolutionOf(r *reply, resolutions []Resolution) *Resolution {
	if r.Path == event.Policy || r.Path == event.Own || r.Path == event.Zone {
		return nil
	}
	done := r.When().Add(time.Duration(max(r.Latency, 0)))
	var best *Resolution
	for i := range resolutions {
		w := &resolutions[i]
		if w.Type != r.Type || !wire.EqualFold(w.Name, r.Name) || w.Started.After(done) {
			continue
		}
		if !w.Partial {
			return w
		}
		if best == nil {
			best = w
		}
	}
	return best
}

// lookBehind gives a resolution that ended with what another question had found before the steps of that one. The
// lock is held.
func (l *Log) lookBehind(w *Resolution) {
	at := -1
	for i := range w.Steps {
		if s := &w.Steps[i]; s.Kind == Failed && s.Cause == FailedBefore {
			at = i
		}
	}
	if at < 0 {
		return
	}
	s := w.Steps[at]
	looked := 0
	l.resolutions.newest(func(b []byte) bool {
		if looked++; looked > maxLook {
			return false
		}
		if !bytes.Contains(b, s.Name) {
			return true
		}
		var other Resolution
		if !other.decode(b) || other.Started.After(w.Started.Add(w.Took)) {
			return true
		}
		for i := range other.Steps {
			o := &other.Steps[i]
			if o.Kind == Failed && o.Cause != FailedBefore && o.Type == s.Type && bytes.Equal(o.Name, s.Name) {
				w.Steps = append(w.Steps[:at:at], append(other.Steps[:i+1:i+1], w.Steps[at:]...)...)
				w.Cause = Unknown
				return false
			}
		}
		return true
	})
}
