package resolver

import (
	"cmp"
	"context"
	"slices"
	"time"

	"port53/internal/upstream"
)

const (
	maxWaves  = 2 // in which silent servers are asked again for one question
	moreWaves = 2 // besides, for a zone's only server, if it has answered before: packets get lost
	maxAtOnce = 5 // servers that are asked in one wave
	maxSilent = 3 // servers that are waited for one after the other, before others are asked at once

	// waveTime is how long after one wave the next one follows: a server that needs longer
	// is still waited for.
	waveTime = 800 * time.Millisecond

	// waitTime is how long a server that was silent is waited for, and those that were not
	// asked yet where there are many: whoever needs longer is of no use to anybody.
	waitTime = 5 * time.Second

	// partTime is the same for a part of a name.
	partTime = 1600 * time.Millisecond

	// shotPackets is what one packet of a wave may come to: TCP behind it, and one packet
	// because the server wants the question differently.
	shotPackets = 3
)

// A shot is one question of a wave, and what came of it.
type shot struct {
	to    int // in the list of servers
	reply upstream.Reply
	err   error
}

// together asks servers that were silent once more, and some that were not asked yet, all at
// once and then again. It waits for whatever comes of any of these questions, so that neither
// a lost packet nor a slow or a dead server takes the time of the others. It returns the first
// finding that is of use, or nil.
func (a *asking) together() *finding {
	t := a.t
	ctx, stop := context.WithCancel(t.r.ctx)
	wait := waitTime
	if !a.whole && t.s.Minimise != Strict {
		wait = partTime // it may answer for the whole name
	}
	end := time.Now().Add(wait)
	if a.end.Before(end) {
		end = a.end
	}
	came := make(chan shot, maxAtOnce*(a.waves+1))
	flying := 0
	var found *finding
	take := func(s shot) {
		flying--
		if a.c.route == nil {
			t.r.quota.give(a.zone, a.list[s.to].server, s.err == nil)
		}
		t.charge(s.reply.Packets-shotPackets, s.reply.Octets) // of what was charged before
		if found != nil || ctx.Err() != nil && s.err != nil {
			return
		}
		if f := a.read(&a.list[s.to], &s.reply, s.err); f != nil && a.weigh(&a.list[s.to], f) {
			found = f
		}
	}
	list := a.atOnce()
	waves := a.waves
	if len(list) == 1 && a.c.route == nil && t.r.exchange.RTT(a.list[list[0]].server) > 0 {
		waves += moreWaves
	}
	for wave := 0; wave < waves && found == nil; wave++ {
		for _, i := range list {
			if !a.list[i].out && a.fire(ctx, i, wave, end, came) {
				flying++
			}
		}
		next := time.NewTimer(min(waveTime, time.Until(end)))
		if wave == waves-1 {
			next.Reset(time.Until(end))
		}
		for waiting := true; waiting && flying > 0 && found == nil; {
			select {
			case s := <-came:
				take(s)
			case <-next.C:
				waiting = false
			}
		}
		next.Stop()
	}
	stop()
	for flying > 0 {
		take(<-came)
	}
	t.look()
	a.waves = 0
	return found
}

// atOnce returns whom to ask in a wave: at first those that were not asked before.
func (a *asking) atOnce() []int {
	var list []int
	for i := range a.list {
		s := &a.list[i]
		if s.out || slices.Contains(a.t.avoid, lameKey{s.server, a.zone}) || s.tries > 0 && !s.silent {
			continue
		}
		if a.c.route == nil && a.t.r.refusals.alone(lameKey{s.server, a.zone}) {
			a.leaveAlone()
			continue
		}
		timeout, state, probe := a.t.r.exchange.Estimate(s.server)
		if state == upstream.Dead && !probe && a.c.route == nil {
			continue
		}
		s.timeout = timeout
		list = append(list, i)
	}
	slices.SortStableFunc(list, func(i, j int) int {
		return cmp.Or(cmp.Compare(a.list[i].tries, a.list[j].tries), cmp.Compare(a.list[i].timeout, a.list[j].timeout))
	})
	return list[:min(len(list), maxAtOnce)]
}

// fire sends one question of a wave, if there is room for it. What it comes to is charged
// before.
//
// A server that was silent is sent no cookie unless it has given one: something on the way
// may drop what has an option. Of one that was never heard it is found out over TCP whether
// UDP, or the case of the name, is what it does not like.
func (a *asking) fire(ctx context.Context, i, wave int, end time.Time, came chan<- shot) bool {
	t, s := a.t, &a.list[i]
	server := s.server
	if t.b.packets < shotPackets || a.c.route == nil && !t.r.quota.take(a.zone, s.server, &t.s.Limits, 0) {
		return false
	}
	q := a.question(s, time.Until(end))
	q.End, q.Packets = end, shotPackets
	if s.tries++; s.tries > 1 && q.Cookie == upstream.CookieSent {
		q.Cookie = upstream.CookieIfKnown
	}
	q.TCPUnlessUDPKnown = wave > 0
	t.charge(shotPackets, 0)
	t.trace.sent(a.c, s.server, a.name, a.typ)
	go func() {
		reply, err := t.r.exchange.Exchange(ctx, server, &q)
		if ctx.Err() != nil && err != nil {
			err = context.Cause(ctx)
		}
		came <- shot{i, reply, err}
	}()
	return true
}
