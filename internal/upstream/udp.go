package upstream

import (
	"bytes"
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

const (
	// maxMismatches is how many replies that are nearly right are ignored before the
	// question goes over TCP (PowerDNS Recursor: one). Each is a chance of 1 in 65,536
	// for whoever knows the port.
	maxMismatches = 3
	// maxIgnored bounds all that is received in vain, so that a flood cannot keep a
	// question from its deadline.
	maxIgnored = 64
)

// A verdict is what came of asking over UDP, if it was no error.
type verdict uint8

const (
	answered verdict = iota
	truncated
	guessed
	doubtful
)

// overUDP asks over UDP. All verdicts but answered lead to TCP.
func (a *attempt) overUDP(ctx context.Context) (verdict, error) {
	begin := a.clock
	deadline, short := a.deadline(begin, a.patience())
	if !deadline.After(begin) {
		return 0, over(ctx)
	}
	msg, fit, err := a.askUDP(ctx, deadline)
	a.clock = time.Now()
	if err != nil {
		return a.unanswered(err, a.c.servers.stamp(begin), short)
	}
	return a.believe(msg, fit, a.clock.Sub(begin)), nil
}

// patience returns how long a reply over UDP is waited for.
func (a *attempt) patience() time.Duration {
	if a.q.Timeout != 0 {
		return a.q.Timeout
	}
	return a.known.timeout()
}

// askUDP sends the query and waits for what fits it.
func (a *attempt) askUDP(ctx context.Context, deadline time.Time) (msg []byte, fit exchange.Fit, err error) {
	socket, err := a.c.o.Network.Socket(a.to)
	if err != nil {
		return nil, exchange.Unrelated, err
	}
	defer socket.Close()
	a.reply.Packets++
	a.reply.Octets += len(a.query)
	a.c.counters.UDP.Add(1)
	if err := socket.Send(a.query); err != nil {
		return nil, exchange.Unrelated, err
	}
	a.wait.Counts, a.wait.Limit = exchange.Counts{}, a.udpSize()
	msg, fit, err = a.wait.Receive(ctx, socket, a.query, a.buf, deadline)
	came := &a.wait.Counts
	a.reply.Octets += int(came.Octets)
	if came.Unwanted() > 0 {
		a.c.counters.Mismatched.Add(uint64(came.Unrelated + came.NearMisses))
		a.c.counters.Oversized.Add(uint64(came.Oversized))
	}
	return msg, fit, err
}

// unanswered says what it means that nothing fitting came. short tells that the wait
// ended before its time.
func (a *attempt) unanswered(err error, sent stamp, short bool) (verdict, error) {
	switch {
	case errors.Is(err, exchange.ErrFlooded):
		return a.guessed()
	case errors.Is(err, os.ErrDeadlineExceeded) && a.wait.Counts.TruncatedReplies > 0:
		// A reply that was too large may have come in fragments, which others can
		// replace. As nothing better has come, TCP has it.
		return truncated, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && a.strange:
		// What has another cookie is discarded (RFC 7873, section 5.3). Over TCP is seen whether
		// that is the server's way.
		a.doubt = oddCookie
		return doubtful, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.c.counters.Timeouts.Add(1)
		if !short { // else nobody knows what would have come
			a.learn(func(v *server, now stamp) { v.silent(now, sent) })
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		// The host says that nobody listens, or somebody else says so: this question
		// need not wait, and for the server it counts as silence.
		a.learn(func(v *server, now stamp) { v.silent(now, sent) })
	}
	return 0, err
}

// believe takes a reply that fits, or says why TCP has to be asked.
func (a *attempt) believe(msg []byte, fit exchange.Fit, rtt time.Duration) verdict {
	switch {
	case fit == exchange.CaseDiffers:
		// The server changes case, or somebody guesses: TCP tells.
		a.doubt = otherCase
	case fit == exchange.NoQuestion:
		a.doubt = bareHeader
	case a.taste == missing && a.known.cookieLen > 0:
		// A server that knew cookies does not forget them (RFC 7873, section 5.3).
		a.doubt = lostCookie
	}
	if a.doubt != noDoubt {
		a.learn(func(v *server, now stamp) { v.udp, v.deaf = now, 0 })
		a.c.counters.Mismatched.Add(1)
		return doubtful
	}
	a.learn(func(v *server, now stamp) {
		v.udp, v.deaf = now, 0
		v.replied(now, rtt)
	})
	if msg[2]&byte(wire.FlagTC>>8) != 0 {
		a.c.counters.Truncated.Add(1)
		return truncated
	}
	a.reply.Message, a.reply.RTT, a.reply.TCP = bytes.Clone(msg), rtt, false
	return answered
}

// guessed gives UDP up.
func (a *attempt) guessed() (verdict, error) {
	a.c.counters.SuspectedSpoofs.Add(1)
	a.reply.SuspectedSpoof = true
	return guessed, nil
}

// udpSize returns the length of the longest reply that the query allowed.
func (a *attempt) udpSize() int {
	if a.edns {
		return a.c.o.UDPSize
	}
	return wire.MinUDP
}

// settle ends a doubt about a reply over UDP by that over TCP, which nobody can have
// forged: either it is the server's way, or somebody had guessed.
func (a *attempt) settle() {
	msg := a.reply.Message
	honest := true
	switch a.doubt {
	case noDoubt:
	case otherCase:
		if honest = a.fit(msg) == exchange.CaseDiffers; honest {
			a.learn(func(v *server, now stamp) { v.folds = now })
		}
	case bareHeader:
		honest = a.fit(msg) == exchange.NoQuestion
	case lostCookie:
		honest = a.tasted(msg) == missing // and weigh forgets it
	case oddCookie:
		honest = a.tasted(msg) != good // likewise
	}
	a.doubt = noDoubt
	if !honest {
		a.c.counters.SuspectedSpoofs.Add(1)
		a.reply.SuspectedSpoof = true
	}
}
