package exchange

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"port53/internal/wire"
)

// A Reply is what a server sent, and how it came.
//
// In one piece: it has a field for each thing that is known of one exchange.
type Reply struct {
	Question *Question
	Sent     []byte // the query that it answers
	Raw      []byte
	Message  wire.Message
	Fault    wire.Malformed // why Message is not whole; 0: it is

	Server    netip.AddrPort
	TCP       bool
	Transport *Transport    // how it came, over TLS or HTTPS; nil: in the clear
	RTT       time.Duration // of the query that it answers
	At        time.Time     // when that was sent

	Truncated  bool      // it was asked again over TCP because the reply over UDP had TC set
	NewCookie  bool      // it was asked again with the cookie that the server wanted
	Unexpected int       // packets to the same port that did not answer the question
	Failed     []Attempt // tries before that failed

	TSIG       bool  // the query was signed
	Unverified error // why its signature is not good; nil: it is, or the query was not signed
}

// An Attempt is a try that failed.
type Attempt struct {
	Server    netip.AddrPort
	TCP       bool
	Err       error
	Transport *Transport // how it went, over TLS or HTTPS; nil: in the clear
}

// String returns the server, the transport and the cause.
func (a Attempt) String() string {
	over := TransportName(a.TCP)
	if a.Transport != nil {
		over = a.Transport.String()
	}
	return fmt.Sprintf("%v over %s: %s", a.Server, over, ErrorText(a.Err))
}

// TransportName returns the transport's name.
func TransportName(tcp bool) string {
	if tcp {
		return "TCP"
	}
	return "UDP"
}

// TransportName returns the name of the transport that the reply came over.
func (r *Reply) TransportName() string {
	if r.Transport != nil {
		return r.Transport.String()
	}
	return TransportName(r.TCP)
}

// NoReplyError is the error of a question to which no server replied.
type NoReplyError struct{ Attempts []Attempt }

// Error names each server once with each cause.
func (u *NoReplyError) Error() string {
	if u.Unreachable() {
		return "no server can be reached: " + u.Causes(Attempt.String)
	}
	return "no reply: " + u.Causes(Attempt.String)
}

// Unreachable reports whether this machine has no route to any of the servers: nothing was sent.
func (u *NoReplyError) Unreachable() bool {
	return len(u.Attempts) > 0 && !slices.ContainsFunc(u.Attempts, func(a Attempt) bool { return !noRoute(a.Err) })
}

func noRoute(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}

// Timeout reports whether one of the servers was waited for in vain.
func (u *NoReplyError) Timeout() bool {
	return slices.ContainsFunc(u.Attempts, func(a Attempt) bool { return IsTimeout(a.Err) })
}

// Causes joins what tell says of each attempt, each once.
func (u *NoReplyError) Causes(tell func(Attempt) string) string {
	var causes []string
	times := map[string]int{}
	for _, a := range u.Attempts {
		text := tell(a)
		if times[text]++; times[text] == 1 {
			causes = append(causes, text)
		}
	}
	for i, text := range causes {
		if n := times[text]; n > 1 {
			causes[i] = fmt.Sprintf("%s (tried %d times)", text, n)
		}
	}
	return strings.Join(causes, "; ")
}

// timeoutError is what a try ends with when nothing came in time.
type timeoutError struct {
	after     time.Duration
	strangers int
	flooded   bool
}

// Error says how long was waited, and what came meanwhile.
func (e *timeoutError) Error() string {
	if e.flooded {
		return fmt.Sprintf("%d packets with another ID or question, and no reply", e.strangers)
	}
	text := fmt.Sprintf("nothing within %v", e.after)
	if e.strangers > 0 {
		text += fmt.Sprintf(", and %d packets with another ID or question", e.strangers)
	}
	return text
}

// Timeout reports that more time might have helped.
func (e *timeoutError) Timeout() bool { return true }

// ErrorText says in words what a socket said in its own.
func ErrorText(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the port is closed: nothing listens there"
	case noRoute(err):
		return "no route to the address"
	case errors.Is(err, syscall.ECONNRESET):
		return "the connection was reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before a whole reply"
	case errors.Is(err, ErrTooLarge):
		return "more octets came than may"
	case errors.Is(err, ErrShort):
		return "a message came that is shorter than its header"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// IsTimeout reports whether an error is that nothing came in time.
func IsTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
