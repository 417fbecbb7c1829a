package resolver

import (
	"slices"
	"time"

	"port53/internal/cache"
	"port53/internal/wire"
)

// The bounds of what is asked, for one question of a client, to know the servers of the zones that its names
// are in. Hostile zones can name many servers, in as many other hostile zones (NXNSAttack, CVE-2020-12662).
const (
	maxNSLookups = 16              // names that are looked up, for all names of a chain of aliases
	maxNSFailed  = 4               // of these in vain
	maxNSPackets = 48              // sent for them, of what is left of the question's
	maxNSTime    = 2 * time.Second // that they may take
	nsReserve    = 100 * time.Millisecond
)

// A Wanted is what has to be known before an answer can be judged.
type Wanted struct {
	Name      []byte // the servers of the zones that it is in; nil: nothing
	Addresses bool   // and the addresses of these servers
	Meanwhile bool   // the answer does not wait for it
}

// A Judge is a [Waiter] that judges answers by the servers of the zones that their names are in.
type Judge interface {
	Waiter
	// Wants returns what has to be known before an answer is given to Answer. It is called again when that
	// was looked up, and may want more then. What was not found is not to be wanted again, which
	// [NSFinder.Find] sees to.
	Wants(a *cache.Answer) Wanted
}

// judged looks up what those who wait for an answer want to know before they get it; who wants nothing gets
// it at once. All that is within what is left of the question's budget, and in time for who waits: what is
// not found by then they do without.
func (t *task) judged(in *inquiry, a *cache.Answer, text string) {
	var last Wanted
	var answered Judge
	for i := range maxNSLookups {
		wanted, reply := t.r.wanted(in, a, text, &answered)
		if wanted.Name == nil || string(wanted.Name) == string(last.Name) && wanted.Addresses == last.Addresses {
			return // the latter if nothing can be kept, since the configuration has changed
		}
		if last = wanted; i == 0 {
			t.look()
			t.b.packets = min(t.b.packets, maxNSPackets)
			for _, end := range [...]time.Time{t.b.at.Add(maxNSTime), reply.Add(-nsReserve)} {
				if end.Before(t.b.deadline) {
					t.b.deadline = end
				}
			}
		}
		t.findServers(wanted, in.key.typ)
	}
}

// wanted gives an answer to those who wait for it and for nothing else. It returns what the first of the others
// wants, and when the first of them is to be answered. If there are none, it is what one of those wants who got the
// answer meanwhile, who is kept in answered.
func (r *Resolver) wanted(in *inquiry, a *cache.Answer, text string, answered *Judge) (first Wanted, reply time.Time) {
	w := &r.waiting
	w.mu.Lock()
	if in.answer == nil { // once: who joins later reads it without the lock
		in.answer, in.text = a, text
	}
	waiters := slices.Clone(in.waiters)
	w.mu.Unlock()
	for _, me := range waiters {
		wants := me.wants(a)
		done := wants.Name == nil || wants.Meanwhile
		w.mu.Lock()
		gone := me.gone
		switch {
		case gone:
		case done:
			w.leave(me)
		default:
			me.neverLate()
		}
		w.mu.Unlock()
		switch {
		case gone:
		case done:
			if wants.Meanwhile && *answered == nil {
				*answered = me.Waiter.(Judge)
			}
			me.Answer(a, text)
		case first.Name == nil:
			first, reply = wants, me.reply
		case me.reply.Before(reply):
			reply = me.reply
		}
	}
	if first.Name == nil {
		w.mu.Lock()
		grown := len(in.waiters) > len(waiters) // by who joined meanwhile, and has not been asked
		in.judged = !grown
		w.mu.Unlock()
		if grown {
			return r.wanted(in, a, text, answered)
		}
	}
	if first.Name == nil && *answered != nil {
		first, reply = (*answered).Wants(a), time.Now().Add(maxNSTime+nsReserve)
	}
	return first, reply
}

// wants returns what has to be known before the waiter gets an answer.
func (me *waiter) wants(a *cache.Answer) (w Wanted) {
	if j, ok := me.Waiter.(Judge); ok {
		w = j.Wants(a)
	}
	return w
}

// neverLate stops the clock that allows a stale answer: there is one that is not.
func (me *waiter) neverLate() {
	if me.late != nil {
		me.late.Stop()
	}
}

// joinAnswered gives a waiter the answer of an inquiry that it has joined when the answer was known already, unless the
// waiter, too, wants to know servers first: they are being looked up or, if the inquiry has ended meanwhile, another begins.
func (r *Resolver) joinAnswered(in *inquiry, me *waiter) {
	defer r.work.Done()
	wants := me.wants(in.answer)
	w := &r.waiting
	w.mu.Lock()
	gone := me.gone
	waits := wants.Name != nil && !wants.Meanwhile
	var again *inquiry
	switch {
	case gone:
	case waits:
		me.neverLate()
		if me.in = w.asked[in.key]; me.in == nil || me.in.judged {
			again = &inquiry{key: in.key, config: in.config, begun: time.Now(), written: in.written}
			w.asked[in.key], me.in = again, again
			w.working++
		}
		me.in.waiters = append(me.in.waiters, me)
	default:
		w.leave(me)
	}
	w.mu.Unlock()
	switch {
	case again != nil:
		r.begin(again)
	case !gone && !waits:
		me.Answer(in.answer, in.text)
	}
}

// FindServers looks up what the cache does not know of the servers of the zones that a name is in, as for a
// client that has asked for the name and typ. name is in lower case.
func (r *Resolver) FindServers(c *Config, w Wanted, typ wire.Type) {
	t := r.task(c)
	defer t.release()
	t.validate = t.s.Validate
	t.b.packets = min(t.b.packets, maxNSPackets)
	t.b.deadline = t.b.at.Add(min(t.s.Limits.Time, maxNSTime))
	t.findServers(w, typ)
}

// findServers looks up what the cache does not know of the servers of the zones that a name is in. That it
// did not find all of them is remembered for a while, in which nobody looks again.
func (t *task) findServers(w Wanted, typ wire.Type) {
	t.r.counters.NSLookups.Add(1)
	v := &NSFinder{config: t.s, from: t.r.cache, name: w.Name, typ: typ, addresses: w.Addresses}
	for {
		v.now = t.unix()
		v.walk()
		if v.gap.name == "" || t.found >= maxNSLookups || t.unfound >= maxNSFailed || t.b.left() == 0 || t.r.ctx.Err() != nil {
			break
		}
		q := v.gap
		v.asked = append(v.asked, q)
		if q.typ != wire.TypeNS {
			v.asked = append(v.asked, question{q.name, wire.TypeA}, question{q.name, wire.TypeAAAA})
		}
		if t.found++; !t.findServer(q) {
			t.unfound++
		}
	}
	if v.lacks {
		t.r.counters.NSUnknown.Add(1)
		t.w.PutFailure(t.s.triedKey(w.Name, w.Addresses), edeNone, t.unix())
	}
}

// findServer asks for the servers of a zone, or for the addresses of a server, and tells whether there was an
// answer.
func (t *task) findServer(q question) bool {
	name := []byte(q.name)
	if q.typ != wire.TypeNS {
		g := target{name: name}
		t.target(&cut{zone: wire.Parent(name)}, &g, true)
		return len(g.addrs) > 0
	}
	l := t.below(name, wire.TypeNS)
	if l.synth { // which nobody has kept
		t.w.PutNoData(l.partition, name, wire.TypeNS, encodeSets(l.proof), l.sec, smallest(l.proof), t.unix())
	}
	return l.fail == nil
}
