package zones

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"port53/internal/exchange"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A notifier sends NOTIFY (RFC 1996) for the versions that are served: so many at the same time,
// and what is to be said to servers that do not answer keeps nobody else waiting. The
// agenda's lock guards all of it.
type notifier struct {
	*agenda
	log    *slog.Logger
	client *transfer.Client

	ctx    context.Context
	begun  bool // nobody is told before the server is there to be asked
	rounds map[string]*round
	deaf   map[netip.AddrPort]*deaf
}

// A notice is one version to announce.
type notice struct {
	zone      *zone.Zone
	followers []netip.AddrPort
	keys      signers
}

// A round is what is known of the announcements of one zone.
type round struct {
	last time.Time // when the last begins, or began
	told []*telling
}

// A telling is the word of one zone to one follower.
type telling struct {
	task
	zone    string // its name, as text
	to      transfer.Primary
	message []byte
	tries   int
	again   bool   // there is another message by now
	gone    bool   // the follower is none any more
	stop    func() // ends the try that is under way
}

// cancel ends the try that is under way. The lock is held.
func (t *telling) cancel() {
	if t.stop != nil {
		t.stop()
	}
}

// deaf is what the log is to have of a server that could not be told.
type deaf struct {
	logged time.Time
	more   int // zones since then
}

// notifyGap is the time between two rounds of NOTIFY for a zone, and between two refreshes
// that NOTIFY leads to: changes that come closer together are told of together, and a
// forged NOTIFY does not make a primary be asked all the time.
const notifyGap = time.Second

// A NOTIFY is sent again after two seconds, and each time after twice as long, five
// times in all (RFC 1996, section 3.6 asks for 60 s and less on a fast network; BIND
// sends five). Each waits for its answer for notifyAnswer.
const (
	notifyTries  = 5
	notifyWait   = 2 * time.Second
	notifyAnswer = 2 * time.Second
)

// How many are under way at the same time, each with a socket and about 10 kB.
const (
	maxTold     = 160
	maxToldPeer = 16
	maxToldDeaf = 64 // to servers that do not answer, or have not yet
)

// startPace is the time between the zones that are announced when the server starts, so
// that secondaries of many are not asked for all of them at the same time (BIND: 50 ms).
const startPace = 5 * time.Millisecond

// deafLog is how often the log is told of one server that cannot be.
const deafLog = time.Minute

func newNotifier(ctx context.Context, log *slog.Logger, client *transfer.Client) notifier {
	return notifier{
		agenda: newAgenda(
			places{all: maxTold, ordinary: maxTold, doubtful: maxToldDeaf, peer: maxToldPeer, silent: maxToldPeer, strangers: true},
		),
		log:    log,
		client: client,
		ctx:    ctx,
		rounds: map[string]*round{},
		deaf:   map[netip.AddrPort]*deaf{},
	}
}

// begin lets announcements be sent.
func (n *notifier) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begun = true
}

// announce tells all followers of a version: after a while, and not before notifyGap has
// passed since the last, or with now at once.
func (n *notifier) announce(key string, what notice, after time.Duration, now bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.rounds[key]
	if !n.begun || n.ctx.Err() != nil || r == nil && len(what.followers) == 0 {
		return
	}
	if r == nil {
		r = &round{}
		n.rounds[key] = r
	}
	wait := max(after, time.Until(r.last.Add(notifyGap)))
	if before := time.Until(r.last); before > 0 {
		wait = before // that round is to have this version
	}
	if now {
		wait = 0
	}
	r.last = time.Now().Add(max(wait, 0))
	message := transfer.NotifyMessage(what.zone)
	told := make([]*telling, 0, len(what.followers))
	for _, addr := range what.followers {
		i := slices.IndexFunc(r.told, func(t *telling) bool { return t.to.Addr == addr })
		t := (*telling)(nil)
		if i >= 0 {
			t = r.told[i]
			r.told = slices.Delete(r.told, i, i+1)
		} else {
			t = &telling{zone: string(wire.AppendName(nil, what.zone.Apex()))}
			t.owner, t.with = t, func() []netip.AddrPort { return []netip.AddrPort{addr} }
		}
		told = append(told, t)
		t.to, t.message, t.tries, t.failed = what.keys.to(addr), message, 0, false
		if !t.running {
			n.set(&t.task, max(wait, 0))
			continue
		}
		t.again = true
		t.due = r.last
		t.cancel() // an older version's
	}
	n.release(r.told)
	r.told = told
}

// release has followers not be told any more. The lock is held.
func (n *notifier) release(list []*telling) {
	for _, t := range list {
		n.drop(&t.task)
		t.gone = true
		t.cancel()
	}
}

// forget ends what is under way for a zone.
func (n *notifier) forget(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.rounds[key]; r != nil {
		n.release(r.told)
		delete(n.rounds, key)
	}
}

// tell tries once to tell a follower.
func (n *notifier) tell(t *telling) {
	n.mu.Lock()
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	t.stop = cancel
	if t.gone || t.again {
		cancel() // since it was taken
	}
	message, to, began := t.message, t.to, time.Now()
	n.mu.Unlock()
	err := n.client.Notify(ctx, to, message, notifyAnswer)
	if ctx.Err() == nil {
		n.mark(to.Addr, !exchange.IsTimeout(err))
	}
	n.end(&t.task, func() time.Duration {
		again := t.again
		t.again = false
		switch {
		case t.gone || n.ctx.Err() != nil:
			return -1
		case again:
			return max(0, time.Until(t.due))
		case err == nil:
			delete(n.deaf, to.Addr)
			t.tries, t.failed = 0, false
			return -1
		}
		wait := notifyWait << t.tries
		if t.tries++; t.tries < notifyTries {
			t.failed = true
			return max(0, wait-time.Since(began))
		}
		n.report(t, err)
		return -1
	})
}

// report tells the log that a follower was not told. The lock is held.
func (n *notifier) report(t *telling, err error) {
	d := n.deaf[t.to.Addr]
	if d == nil {
		if len(n.deaf) > maxPeers {
			clear(n.deaf)
		}
		d = &deaf{}
		n.deaf[t.to.Addr] = d
	}
	if time.Since(d.logged) < deafLog {
		d.more++
		return
	}
	args := []any{"zone", t.zone, "server", t.to.Addr.String(), "error", err.Error()}
	if d.more > 0 {
		args = append(args, "other_zones", d.more)
	}
	d.logged, d.more = time.Now(), 0
	n.log.Warn("NOTIFY failed", args...)
}
