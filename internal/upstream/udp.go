package upstream

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

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
	timeout := a.q.Timeout
	if timeout == 0 {
		timeout = a.known.timeout()
	}
	begin := time.Now()
	deadline, short := a.deadline(begin, timeout)
	if !deadline.After(begin) {
		return 0, over(ctx)
	}
	socket, err := a.c.o.Network.Socket(a.to)
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	recv, ok := socket.(stoppable)
	if !ok && ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { socket.Close() })()
	}
	query := a.query[2:]
	sent := a.c.servers.now()
	a.reply.Packets++
	a.reply.Octets += len(query)
	a.c.counters.UDP.Add(1)
	if err := socket.Send(query); err != nil {
		return 0, err
	}
	mismatches := 0
	for range maxIgnored {
		var n int
		if ok {
			n, err = recv.recv(a.buf, deadline, ctx.Done())
		} else {
			n, err = socket.Recv(a.buf, deadline)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded) && a.oversize:
			return truncated, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.c.counters.Timeouts.Add(1)
			if !short { // else nobody knows what would have come
				a.learn(func(v *server, now stamp) { v.silent(now, sent) })
			}
			return 0, err
		case errors.Is(err, syscall.ECONNREFUSED):
			// The host says that nobody listens, or somebody else says so: this question
			// need not wait, and for the server it counts as silence.
			a.learn(func(v *server, now stamp) { v.silent(now, sent) })
			return 0, err
		case errors.Is(err, net.ErrClosed):
			return 0, err
		default:
			continue // what routers are said to say, of sizes or of anything else
		}
		a.reply.Octets += n
		msg := a.buf[:n]
		fit, cookie := a.matches(msg), good
		if fit == fits && a.edns && a.cookies {
			cookie = a.taste(msg)
		}
		switch {
		case n > a.udpSize():
			// It may have come in fragments, which others can replace. If nothing
			// better comes, TCP has it.
			a.c.counters.Oversized.Add(1)
			a.oversize = a.oversize || fit == fits
			continue
		case cookie == wrong:
			fit = nearly
		}
		switch fit {
		case nearly:
			a.c.counters.Mismatched.Add(1)
			if mismatches++; mismatches >= maxMismatches {
				return a.guessed()
			}
			continue
		case not:
			a.c.counters.Mismatched.Add(1)
			continue
		}
		rtt := time.Since(begin)
		switch {
		case fit == refolds:
			// The server changes case, or somebody guesses: TCP tells.
			a.doubt = otherCase
		case fit == bare:
			a.doubt = bareHeader
		case cookie == missing && a.known.cookieLen > 0:
			// A server that knew cookies does not forget them (RFC 7873, section 5.3).
			a.doubt = lostCookie
		}
		if a.doubt != noDoubt {
			a.c.counters.Mismatched.Add(1)
			return doubtful, nil
		}
		a.learn(func(v *server, now stamp) { v.replied(now, rtt) })
		if msg[2]&byte(wire.FlagTC>>8) != 0 {
			a.c.counters.Truncated.Add(1)
			return truncated, nil
		}
		a.reply.Message, a.reply.RTT, a.reply.TCP = bytes.Clone(msg), rtt, false
		return answered, nil
	}
	return a.guessed()
}

// guessed gives UDP up.
func (a *attempt) guessed() (verdict, error) {
	a.c.counters.Guessed.Add(1)
	a.reply.Spoof = true
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
		if honest = a.matches(msg) == refolds; honest {
			a.learn(func(v *server, now stamp) { v.folds = now })
		}
	case bareHeader:
		honest = isBare(msg)
	case lostCookie:
		honest = a.taste(msg) == missing // and weigh forgets it
	}
	a.doubt = noDoubt
	if !honest {
		a.c.counters.Guessed.Add(1)
		a.reply.Spoof = true
	}
}
