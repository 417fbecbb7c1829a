package exchange

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"port53/internal/wire"
)

// Bounds of an exchange.
const (
	DefaultTimeout = 5 * time.Second // for each try, as dig and resolv.conf have it
	DefaultTries   = 3               // as dig
	MaxTries       = 100             // a typing error must not become a flood
	maxStrangers   = 1000            // datagrams that are no reply, in one try: somebody floods the port
	maxResends     = 2               // after BADCOOKIE: with the cookie, then over TCP (RFC 7873, section 5.3)
)

// A Route is how questions are sent. The zero value sends over UDP first, waits
// [DefaultTimeout] and tries [DefaultTries] times.
type Route struct {
	TCP       bool          // TCP at once
	Transport *Transport    // over TLS or HTTPS, and no other way; nil: in the clear
	UDPOnly   bool          // a truncated reply is taken as it is
	Timeout   time.Duration // for each try
	Tries     int           // with each server
	Octets    int64         // of a zone transfer on the wire, at most; 0: 1 GiB
	Dialer    Dialer        // where questions leave from; its Timeout is not looked at

	// Sign signs a query, and returns what reports whether the replies are signed as well (RFC
	// 8945). nil: nothing is signed.
	Sign func(query []byte) (signed []byte, v Verifier)
}

// A Verifier judges the signatures of what comes in reply to one query.
type Verifier interface {
	Verify(reply []byte, now time.Time) error
	Done() error // after the last message of several
}

// AskAll asks the servers in turn, again and again until one replies or all tries
// are spent; the error is then an [*NoReplyError]. next tells of a reply whether the
// next server shall be asked instead; nil: never.
func (rt *Route) AskAll(ctx context.Context, servers []netip.AddrPort, q *Question, next func(*Reply) bool) (*Reply, error) {
	var failed []Attempt
	var second *Reply // what next did not like: better than nothing
	for range rt.tries() {
		for _, server := range servers {
			r, err := rt.once(ctx, server, q)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err == nil && next != nil && next(r) {
				second, err = r, fmt.Errorf("answered %v", r.Message.Rcode)
			}
			if err == nil {
				r.Failed = failed
				return r, nil
			}
			failed = append(failed, Attempt{server, rt.TCP || rt.Transport != nil, err, rt.Transport})
		}
		if second != nil {
			break
		}
	}
	if second != nil {
		second.Failed = failed[:len(failed)-1]
		return second, nil
	}
	return nil, &NoReplyError{failed}
}

// Ask asks one server.
func (rt *Route) Ask(ctx context.Context, server netip.AddrPort, q *Question) (*Reply, error) {
	return rt.AskAll(ctx, []netip.AddrPort{server}, q, nil)
}

func (rt *Route) tries() int {
	if rt.Tries > 0 {
		return rt.Tries
	}
	return DefaultTries
}

func (rt *Route) timeout() time.Duration {
	if rt.Timeout > 0 {
		return rt.Timeout
	}
	return DefaultTimeout
}

// once sends one query and what must follow it: the same over TCP after a truncated
// reply, the same with a cookie after BADCOOKIE.
func (rt *Route) once(ctx context.Context, server netip.AddrPort, q *Question) (*Reply, error) {
	var cookie []byte
	if q.Cookie {
		cookie = make([]byte, CookieLen)
		_, _ = rand.Read(cookie) // never fails
	}
	var all Reply
	tcp := rt.TCP || rt.Transport != nil
	for resends := 0; ; {
		r, err := rt.send(ctx, server, q, cookie, tcp)
		if err != nil {
			return nil, err
		}
		r.Truncated, r.NewCookie, r.Unexpected = all.Truncated, all.NewCookie, all.Unexpected+r.Unexpected
		m := &r.Message
		own, _ := m.Option(wire.OptionCookie)
		switch {
		case !tcp && m.Flags&wire.FlagTC != 0 && !rt.UDPOnly:
			tcp, r.Truncated = true, true
		case m.Rcode == wire.BadCookie && resends < maxResends && !tcp &&
			len(own) > CookieLen && bytes.Equal(own[:CookieLen], cookie[:CookieLen]):
			cookie, r.NewCookie = bytes.Clone(own), true
			resends++
			tcp = resends == maxResends && !rt.UDPOnly
		default:
			return r, nil
		}
		all = *r
	}
}

// send sends one query over UDP or TCP and reads what answers it.
func (rt *Route) send(ctx context.Context, server netip.AddrPort, q *Question, cookie []byte, tcp bool) (*Reply, error) {
	id := q.id()
	if rt.Transport != nil && (rt.Transport.URL != "" || rt.Transport.QUIC) && q.ID == nil {
		id = 0 // RFC 8484, section 4.1; RFC 9250, section 4.2.1
	}
	r := &Reply{Question: q, Sent: q.Append(nil, id, cookie), Server: server, TCP: tcp, Transport: rt.Transport, At: time.Now()}
	var v Verifier
	if rt.Sign != nil {
		r.Sent, v = rt.Sign(r.Sent)
	}
	ask := rt.overUDP
	switch {
	case rt.Transport != nil && rt.Transport.URL != "":
		ask = rt.overHTTPS
	case rt.Transport != nil && rt.Transport.QUIC:
		ask = rt.overQUIC
	case tcp:
		ask = rt.overTCP
	}
	msg, came, err := ask(ctx, server, r.Sent, r.At.Add(rt.timeout()))
	r.Unexpected = came.Unwanted()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case IsTimeout(err), errors.Is(err, ErrFlooded):
		return nil, &timeoutError{rt.timeout(), r.Unexpected, !IsTimeout(err)}
	default:
		return nil, err
	}
	r.RTT, r.Raw = time.Since(r.At), bytes.Clone(msg)
	r.Fault = r.Message.Parse(r.Raw)
	if v != nil {
		r.TSIG, r.Unverified = true, v.Verify(r.Raw, time.Now())
	}
	return r, nil
}

func (rt *Route) overUDP(
	ctx context.Context,
	server netip.AddrPort,
	query []byte,
	deadline time.Time,
) (msg []byte, came Counts, err error) {
	s, err := rt.dialer().Datagrams(ctx, server)
	if err != nil {
		return nil, came, err
	}
	defer s.Close()
	if err := s.Send(query); err != nil {
		return nil, came, err
	}
	d := DatagramReceiver{MaxUnwanted: maxStrangers}
	msg, _, err = d.Receive(ctx, s, query, make([]byte, wire.MaxMessage), deadline)
	return msg, d.Counts, err
}

func (rt *Route) overTCP(
	ctx context.Context,
	server netip.AddrPort,
	query []byte,
	deadline time.Time,
) (msg []byte, came Counts, err error) {
	s, err := rt.dialer().Stream(ctx, server)
	if err != nil {
		return nil, came, err
	}
	defer s.Close()
	if err := s.Send(ctx, query, deadline); err != nil {
		return nil, came, err
	}
	msg, _, err = s.Receive(ctx, query, deadline)
	return msg, s.Counts, err
}

// dialer returns what opens sockets, within the time of a try.
func (rt *Route) dialer() *Dialer {
	d := rt.Dialer
	d.Timeout = rt.timeout()
	if rt.Transport != nil && rt.Transport.URL == "" {
		d.TLS = rt.Transport.TLS
	}
	return &d
}
