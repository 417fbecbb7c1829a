// Package doq serves DNS over QUIC (RFC 9250): each question has a stream of its own, which the
// client ends behind it, and which the answer ends.
//
// A question is waited for no longer than one over TCP, and takes as much memory as has come of
// it, whatever its length says. What a client gives up in the middle counts among its streams for
// as long as it is worked on. There are no early data (0-RTT): they could be replayed.
//
// Without QUIC, with the build tag lean, nothing is served, and New returns nil.
package doq

import (
	"log/slog"
	"time"
)

// Options say how DNS is served over QUIC. A zero field means a default.
type Options struct {
	Streams  int           // questions of one connection at the same time (100)
	Idle     time.Duration // until a connection without a question is closed (30 s)
	Question time.Duration // for a question to arrive (3 s)
	Stall    time.Duration // for the client to take a message (5 s)

	Log *slog.Logger // nil: discard
}

func (o Options) fill() Options {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Idle, 30*time.Second)
	def(&o.Question, 3*time.Second)
	def(&o.Stall, 5*time.Second)
	if o.Streams == 0 {
		o.Streams = 100
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
