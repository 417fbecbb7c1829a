package telemetry

import (
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/event"
	"port53/internal/server"
	"port53/internal/wire"
)

// Bounds of the query log; where QueryLogOptions has a field, its default.
const (
	defaultQueue  = 8192            // entries that wait for the writer: 3 MiB
	defaultPrefix = 10              // lines a second for one client network (SECURITY: log sampling)
	defaultBytes  = 4 << 20         // octets a second in all
	closeTime     = 2 * time.Second // to write what waits at the end
)

// QueryLogOptions tune a query log. Zero means the default.
type QueryLogOptions struct {
	JSON           bool
	Sample         int // one query in so many (1)
	PerPrefix      int // lines a second for one /24 or /56 (10); below 0: no limit
	BytesPerSecond int // (4 MiB)
	Queue          int // entries (8,192)

	// OnError is told when lines cannot be written, once until they can again: then with
	// nil. It may be nil, and must not wait.
	OnError func(err error)
}

// An Entry is one query for the log. Offer copies it.
type Entry struct {
	Time      time.Time
	Client    netip.AddrPort
	Transport server.Transport
	Type      wire.Type
	Class     wire.Class
	Rcode     wire.Rcode
	Reply     int    // octets
	View      string // of the client; empty: there are no views
	Why       uint64 // id by which it is known why the answer is as it is; 0: none
	nameLen   uint8
	name      [wire.MaxName]byte
}

// SetName sets the name asked for, in wire form.
func (e *Entry) SetName(name []byte) { e.nameLen = uint8(copy(e.name[:], name)) }

// A QueryLog writes a line for each query that it is offered, if it can. It never
// waits for whoever reads the lines, and what it cannot write it counts. A client
// network that has had its lines of a second takes no place in the queue, so that a
// flood from one does not crowd out the others.
type QueryLog struct {
	out     atomic.Pointer[queryOutput]
	options QueryLogOptions
	clients *clientTable
	queue   chan Entry
	done    chan struct{}
	close   sync.Once
	seen    atomic.Uint64
	dropped atomic.Uint64

	// Of the writer alone.
	line    []byte
	name    []byte
	second  int64
	written int
	failing bool
}

// NewQueryLog returns a log to out and starts its writer. out may be nil until SetOutput is
// called: what is offered before that is dropped.
func NewQueryLog(out io.Writer, o QueryLogOptions) *QueryLog {
	if o.Sample == 0 {
		o.Sample = 1
	}
	if o.PerPrefix == 0 {
		o.PerPrefix = defaultPrefix
	}
	if o.BytesPerSecond == 0 {
		o.BytesPerSecond = defaultBytes
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	l := &QueryLog{options: o, queue: make(chan Entry, o.Queue), done: make(chan struct{})}
	l.SetOutput(out)
	if o.PerPrefix > 0 {
		l.clients = newClientTable(o.PerPrefix)
	}
	go l.run()
	return l
}

// A queryOutput is where lines go, until another takes its place.
type queryOutput struct {
	mu   sync.Mutex // held while a line is written
	to   lineWriter
	gone bool // another has taken its place
}

// SetOutput has the lines that are written from now on go to out. What it takes the place
// of is closed, if it is an [io.Closer], when no line is being written to it any more.
// SetOutput does not wait for that.
func (l *QueryLog) SetOutput(out io.Writer) {
	if out == nil {
		return
	}
	if old := l.out.Swap(&queryOutput{to: lineWriter{out: out}}); old != nil {
		go old.retire()
	}
}

func (o *queryOutput) retire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	if c, ok := o.to.out.(io.Closer); ok {
		_ = c.Close() // what was to be written has been
	}
}

// write writes a line to the output of this moment.
func (l *QueryLog) write(line []byte) error {
	for {
		out := l.out.Load()
		out.mu.Lock()
		if out.gone {
			out.mu.Unlock()
			continue // there is another
		}
		defer out.mu.Unlock()
		if len(out.to.write(line)) > 0 {
			return out.to.err
		}
		return nil
	}
}

// Wanted reports whether the next query is one of the sample.
func (l *QueryLog) Wanted() bool {
	return l.options.Sample == 1 || l.seen.Add(1)%uint64(l.options.Sample) == 0
}

// Offer gives the log an entry. It does not wait.
func (l *QueryLog) Offer(e *Entry) {
	if l.clients != nil && !l.clients.admit(e.Client.Addr(), e.Time.Unix()) {
		l.dropped.Add(1)
		return
	}
	select {
	case l.queue <- *e:
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns how many entries were not written.
func (l *QueryLog) Dropped() uint64 { return l.dropped.Load() }

// Close writes what waits, ends the writer and closes its output. It gives up whoever does not take the lines
// after a while. Nothing may be offered any more.
func (l *QueryLog) Close() {
	l.close.Do(func() { close(l.queue) })
	limit := time.NewTimer(closeTime)
	defer limit.Stop()
	select {
	case <-l.done:
		if out := l.out.Load(); out != nil {
			out.retire()
		}
	case <-limit.C:
	}
}

func (l *QueryLog) run() {
	defer close(l.done)
	for e := range l.queue {
		if l.out.Load() == nil || !l.admit(&e) {
			l.dropped.Add(1)
			continue
		}
		l.line = l.append(l.line[:0], &e)
		l.written += len(l.line)
		err := l.write(l.line)
		if err != nil {
			l.dropped.Add(1)
		}
		if failing := err != nil; failing != l.failing {
			l.failing = failing
			if l.options.OnError != nil {
				l.options.OnError(err)
			}
		}
	}
}

// admit reports whether the second has octets left.
func (l *QueryLog) admit(e *Entry) bool {
	if s := e.Time.Unix(); s != l.second {
		l.second, l.written = s, 0
	}
	return l.written < l.options.BytesPerSecond
}

// append appends the entry as one line. The name is in presentation form, which has
// no space, quote or control character.
func (l *QueryLog) append(dst []byte, e *Entry) []byte {
	l.name = wire.AppendName(l.name[:0], e.name[:e.nameLen])
	at := e.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	if l.options.JSON {
		b, err := json.Marshal(struct {
			Time      string `json:"time"`
			Client    string `json:"client"`
			Transport string `json:"transport"`
			Name      string `json:"name"`
			Class     string `json:"class"`
			Type      string `json:"type"`
			Rcode     string `json:"rcode"`
			Reply     int    `json:"reply_bytes"`
			View      string `json:"view,omitempty"`
			Why       string `json:"why,omitempty"`
		}{
			at, e.Client.String(), e.Transport.String(), string(l.name), e.Class.String(), e.Type.String(), e.Rcode.String(),
			e.Reply, e.View, e.why(),
		})
		if err != nil {
			return dst
		}
		return append(append(dst, b...), '\n')
	}
	dst = append(append(dst, at...), ' ')
	dst = append(e.Client.AppendTo(dst), ' ')
	dst = append(append(dst, e.Transport.String()...), ' ')
	dst = append(append(dst, l.name...), ' ')
	dst = append(append(dst, e.Class.String()...), ' ')
	dst = append(append(dst, e.Type.String()...), ' ')
	dst = append(append(dst, e.Rcode.String()...), ' ')
	dst = strconv.AppendInt(dst, int64(e.Reply), 10)
	if e.View != "" {
		dst = append(append(dst, ' '), e.View...)
	}
	if e.Why != 0 {
		dst = event.AppendID(append(dst, " why="...), e.Why)
	}
	return append(dst, '\n')
}

// why returns the id of an entry as people write it; empty: it has none.
func (e *Entry) why() string {
	if e.Why == 0 {
		return ""
	}
	return string(event.AppendID(nil, e.Why))
}
