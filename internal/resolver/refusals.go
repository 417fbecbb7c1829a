package resolver

import (
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/wire"
)

const (
	// refusedNames is how many names a server must refuse, one after the other, before it is
	// asked for the zone itself.
	refusedNames = 4
	// refusedTime is how long a server that refuses the zone itself is left alone (RFC 9520,
	// section 3.2: a second to five minutes).
	refusedTime = 30 * time.Second
	// servesTime is how long a server is taken to serve a zone that it has answered for, and
	// refused names of.
	servesTime  = 10 * time.Minute
	maxRefusals = 16384 // entries of the table
)

// refusals remember servers that refuse a whole zone, so that such a zone does not cost a
// packet for each name below it.
//
// What a server says of names that a client chose leads to nothing but one question more, for
// the zone itself: only if that is refused as well it is left alone. So no client can take a
// zone away from others by asking for what is refused (CVE-2021-25219). Whoever forges replies
// has to guess five times in a row.
type refusals struct {
	mu    sync.Mutex
	m     map[lameKey]refusal
	count atomic.Int32 // of m: nothing is looked for in an empty table
}

// A refusal is what is known of a server that refused something in a zone.
type refusal struct {
	names  int       // refused since it was last asked for the zone
	last   uint64    // hash of the last one
	alone  time.Time // until when it is left alone
	serves time.Time // until when it is taken to serve the zone
}

// refused takes note of a name.
func (r *refusals) refused(k lameKey, name uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	v, ok := r.m[k]
	if !ok {
		if r.m == nil {
			r.m = make(map[lameKey]refusal)
		}
		for old := range r.m { // any of them: they are refused again soon if they matter
			if len(r.m) < maxRefusals {
				break
			}
			delete(r.m, old)
		}
	}
	if v.last != name && now.After(v.serves) {
		v.names, v.last = v.names+1, name
	}
	r.m[k] = v
	r.count.Store(int32(len(r.m)))
}

// answered takes note that a server gave an answer of use, or is asked for the zone and does
// not refuse it.
func (r *refusals) answered(k lameKey) {
	if r.count.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.m[k]; ok {
		r.m[k] = refusal{serves: time.Now().Add(servesTime)}
	}
}

// suspected reports whether a server is to be asked for the zone itself. It is true for one
// caller at a time.
func (r *refusals) suspected(k lameKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.m[k]
	if !ok || v.names < refusedNames {
		return false
	}
	v.names = 0
	r.m[k] = v
	return true
}

// leave leaves a server alone that refuses the zone. The next name that it refuses after that
// has it asked for the zone again.
func (r *refusals) leave(k lameKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m[k] = refusal{names: refusedNames - 1, alone: time.Now().Add(refusedTime)}
	r.count.Store(int32(len(r.m)))
}

// alone reports whether a server is left alone.
func (r *refusals) alone(k lameKey) bool {
	if r.count.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.m[k]
	return ok && time.Now().Before(v.alone)
}

// refusesZone asks the servers for the zone itself that have refused some names of it. Only the
// questions of clients count: those for the addresses of servers have bounds of their own.
func (a *asking) refusesZone() {
	t, r := a.t, &a.t.r.refusals
	if a.c.route != nil || t.depth > 0 || r.count.Load() == 0 {
		return
	}
	for i := range a.list {
		s := &a.list[i]
		key := lameKey{s.server, a.zone}
		if !s.lame || t.b.left() == 0 || !r.suspected(key) || !t.r.quota.take(a.zone, s.server, &t.s.Limits, 0) {
			continue
		}
		q := a.question(s, s.timeout)
		q.Name, q.Type = a.c.zone, wire.TypeNS
		if end := t.b.at.Add(tryTime); end.Before(q.End) {
			q.End = end
		}
		t.trace.sent(a.c, s.server, q.Name, q.Type)
		reply, err := t.r.exchange.Exchange(t.r.ctx, s.server, &q)
		t.r.quota.give(a.zone, s.server, err == nil)
		t.charge(max(reply.Packets, 1), reply.Octets)
		m := t.reading()
		switch {
		case err != nil:
			t.trace.failed(a.c, s.server, err)
		case m.Parse(reply.Message) != 0:
		case m.Rcode == wire.Refused:
			r.leave(key)
		default:
			r.answered(key)
		}
	}
}
