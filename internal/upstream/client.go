package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/event"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// Options make a Client. A zero field means the default.
type Options struct {
	Network    Network        // which the client closes if it is an io.Closer; nil: System()
	UDPSize    int            // the largest reply over UDP, in octets, at least 512; 0: 1232
	Cookies    bool           // send DNS cookies (RFC 7873)
	DoNotQuery []netip.Prefix // never asked, beside what is no server's address at all
	Events     *event.Shared  // is told of each question and what came of it; nil: nobody is
}

const (
	// maxTries is how often a question is sent: by UDP, with the cookie that the
	// server wants, over TCP, there without EDNS, and once more for a combination.
	maxTries = 5
)

// A Client asks servers. It is safe for use by many goroutines.
type Client struct {
	o        Options
	random   Entropy
	servers  servers
	conns    conns
	attempts sync.Pool
	closed   atomic.Bool

	counters Counters
}

// New returns a client.
func New(o Options) *Client {
	if o.Network == nil {
		o.Network = System()
	}
	if o.UDPSize == 0 {
		o.UDPSize = exchange.UDPSize
	}
	o.UDPSize = max(o.UDPSize, wire.MinUDP)
	c := &Client{o: o}
	c.servers.init()
	c.conns.init(c)
	c.attempts.New = func() any { return newAttempt(c) }
	return c
}

// Counters returns the counters, which go on counting.
func (c *Client) Counters() *Counters { return &c.counters }

// Close closes the connections that are kept and the Network, so that questions which
// wait end with net.ErrClosed; over a Network that cannot be closed those by UDP end by
// their timeouts. Exchange does nothing from then on.
func (c *Client) Close() {
	c.closed.Store(true)
	c.conns.close()
	if n, ok := c.o.Network.(io.Closer); ok {
		_ = n.Close()
	}
}

// A Question is what one server is asked.
type Question struct {
	Name              []byte // in wire form, known to be good
	Type              wire.Type
	RD                bool // of forwarders
	CD                bool
	EDNS              bool // false: without, whatever the server understands
	DO                bool
	TCP               bool          // over TCP at once
	TCPUnlessUDPKnown bool          // over TCP, without upper-case letters, if the server was never heard over UDP
	Timeout           time.Duration // of the wait for a reply over UDP; 0: what is known of the server
	End               time.Time     // of everything, TCP too; zero: the context's
	Packets           int           // that may be sent, a question over TCP as one; 0: as many as it takes
	MixCase           bool          // 0x20
	Cookie            Cookie
	Transport         *Transport // by which alone the server is asked; nil: over UDP and TCP
}

// A Cookie says whether a question has one.
type Cookie uint8

// The ways of sending cookies, where [Options] have them sent.
const (
	// CookieSent is sent, unless the server is known not to know cookies.
	CookieSent Cookie = iota
	// CookieIfKnown is sent only to a server that has given one. Whoever answers then, and did
	// not before, is sent none for a while: something on the way drops what has an option.
	CookieIfKnown
	// CookieNone is never sent.
	CookieNone
)

// A Reply is what the server said.
type Reply struct {
	Message        []byte // the caller's
	RTT            time.Duration
	TCP            bool
	Packets        int  // that were sent, a question over TCP as one
	Octets         int  // of messages, both ways
	SuspectedSpoof bool // somebody seems to have guessed
	CaseUnknown    bool // the name had upper-case letters, and nobody has said yet what the server makes of them
}

// The errors of Exchange beside those of the network.
var (
	errAddress  = errors.New("upstream: not an address of a server")
	errMismatch = errors.New("upstream: reply does not match the query")
	errNoSense  = errors.New("upstream: server keeps asking for the query in another form")
	errSpent    = errors.New("upstream: limit of packets reached")
)

// Garbled reports whether an error of Exchange is that the server sends what makes no sense.
func Garbled(err error) bool { return errors.Is(err, errMismatch) || errors.Is(err, errNoSense) }

// Exchange sends q to a server and returns the reply that matches it, whatever it says:
// it may be malformed behind its question. It falls back to TCP for truncated replies
// and where somebody guesses, and to a question without EDNS for servers that do not
// understand it. A reply over TCP that says it is truncated is an error. The error is
// os.ErrDeadlineExceeded if nothing that matches came in time, the context's, or the
// network's. The counts of the Reply hold beside an error as
// well.
//
// What 0/8, a broadcast or multicast address would be sent is refused, here and not by
// callers, because addresses come from anybody's zone.
func (c *Client) Exchange(ctx context.Context, to netip.AddrPort, q *Question) (Reply, error) {
	to = unmap(to)
	if !c.mayAsk(to) {
		return Reply{}, errAddress
	}
	if c.closed.Load() {
		return Reply{}, net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	a := c.attempts.Get().(*attempt)
	a.begin(ctx, to, q)
	err := a.exchange(ctx)
	if wants := c.o.Events.Wants(); wants&event.Upstream != 0 {
		a.tell(err)
	}
	reply := a.reply
	a.reply, a.q = Reply{}, nil
	c.attempts.Put(a)
	if err != nil {
		reply.Message = nil
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		c.counters.failed(err)
		return reply, err
	}
	c.counters.replied(&reply)
	return reply, nil
}

// tell tells others of a question and what came of it.
func (a *attempt) tell(err error) {
	r := event.Record{
		Kind:      event.Server,
		Path:      event.Miss,
		Recursive: a.q.RD,
		Time:      a.begun.UnixNano(),
		Latency:   int64(a.reply.RTT),
		Remote:    a.to,
		EDE:       -1,
		Type:      a.q.Type,
		Class:     wire.ClassIN,
		Size:      uint16(len(a.query)),
		Name:      a.q.Name,
		Query:     a.query,
	}
	switch {
	case a.q.Transport != nil:
		r.Transport = a.q.Transport.transport()
	case a.tcp:
		r.Transport = event.TCP
	}
	if len(a.query) >= wire.HeaderLen {
		r.ID = binary.BigEndian.Uint16(a.query)
	}
	if m := a.reply.Message; err == nil && len(m) >= wire.HeaderLen {
		r.Reply, r.Response, r.Rcode, r.Flags = uint32(len(m)), m, rcodeOf(m), binary.BigEndian.Uint16(m[2:])
	} else {
		r.Outcome, r.Latency = event.Dropped, int64(a.clock.Sub(a.begun))
	}
	a.c.o.Events.Put(&r)
}

// mayAsk reports whether a server can have an address.
func (c *Client) mayAsk(to netip.AddrPort) bool {
	a := to.Addr()
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || to.Port() == 0 {
		return false
	}
	if a.Is4() {
		if b := a.As4(); b[0] == 0 || b == [4]byte{255, 255, 255, 255} {
			return false
		}
	}
	for _, p := range c.o.DoNotQuery {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// An attempt is one question to one server with all its packets. Its memory is used
// again.
type attempt struct {
	c     *Client
	to    netip.AddrPort
	q     *Question
	known server // as the question began
	reply Reply
	end   time.Time // zero: none
	begun time.Time // when the question began
	clock time.Time // when it was last looked at: as the question began, and whenever a wait has ended

	manner
	course

	query []byte // as sent
	taste taste  // of the last reply that fitted

	room [maxQuery]byte
	wait exchange.DatagramReceiver
	buf  []byte // for replies over UDP
}

// A manner is how the question is asked the next time.
type manner struct {
	tcp     bool
	edns    bool
	cookies bool // a cookie is sent
	mixed   bool // the case is
	unsure  bool // and nobody has said lately that the server bears it
}

// A course is what came of asking so far.
type course struct {
	rebaked bool // it was sent with the cookie of a BADCOOKIE
	bare    bool // it is asked without a cookie, which silence is put down to
	strange bool // a reply was right but for its cookie
	unedns  bool // it is asked without EDNS because of what the server said
	doubt   doubt
}

// maxQuery is the length of the longest query: a header, a name, type and class, and an
// OPT record with a cookie.
const maxQuery = wire.HeaderLen + wire.MaxName + 4 + 11 + 4 + 40

// A doubt is why a reply over UDP that matched was not believed at once.
type doubt uint8

const (
	noDoubt    doubt = iota
	otherCase        // the name has another case
	bareHeader       // an error without a question
	lostCookie       // the server's cookie is missing
	oddCookie        // all that came in time had another cookie
)

func newAttempt(c *Client) *attempt {
	a := &attempt{c: c, buf: make([]byte, c.o.UDPSize+1)}
	a.wait = exchange.DatagramReceiver{MaxNearMisses: maxMismatches, MaxUnwanted: maxIgnored, IgnoreICMP: true, Verify: a.judge}
	return a
}

// begin sets a up for a question with what is known of the server.
func (a *attempt) begin(ctx context.Context, to netip.AddrPort, q *Question) {
	c := a.c
	a.clock = time.Now()
	a.begun = a.clock
	now := c.servers.stamp(a.clock)
	a.to, a.q, a.reply = to, q, Reply{}
	a.course = course{}
	a.end = q.End
	if end, ok := ctx.Deadline(); ok && (a.end.IsZero() || end.Before(a.end)) {
		a.end = end
	}
	c.servers.change(to, func(v *server) {
		v.used = now
		if c.o.Cookies && !v.baked.within(now, cookieTime) && !v.noCookie.within(now, noCookieTime) {
			v.bake(now, c.random.Uint64())
		}
		a.known = *v
	})
	forget := forgetTime
	if q.DO {
		forget = forgetTimeDO
	}
	a.manner = manner{
		tcp:     q.TCP,
		edns:    q.EDNS && !a.known.plain.within(now, forget),
		cookies: c.o.Cookies && a.known.baked != 0,
		mixed:   q.MixCase && !a.known.folds.within(now, forgetTime),
		unsure:  !a.known.bears.within(now, bearsTime),
	}
	if a.known.udp == 0 && (q.TCPUnlessUDPKnown || a.known.deaf.within(now, forgetTime)) {
		a.tcp, a.mixed = true, false
	}
	if q.Transport != nil {
		// Nobody on the way can guess, and what the case and cookies are for is done already.
		a.tcp, a.mixed, a.cookies = true, false, false
		return
	}
	if q.Cookie == CookieNone || q.Cookie == CookieIfKnown && a.known.cookieLen == 0 {
		a.bare = a.cookies && q.Cookie == CookieIfKnown
		a.cookies = false
	}
}

// exchange sends the question as often as the server's answers demand.
func (a *attempt) exchange(ctx context.Context) error {
	for range maxTries {
		if a.spent() {
			return errSpent
		}
		a.build()
		if a.tcp {
			if err := a.overTCP(ctx); err != nil {
				return err
			}
			a.settle()
		} else {
			verdict, err := a.overUDP(ctx)
			if err != nil {
				return err
			}
			if verdict != answered {
				a.tcp = true
				a.reply.Message = nil
				continue
			}
		}
		if !a.weigh() {
			return nil
		}
	}
	return errNoSense
}

// spent reports whether no more packets may be sent.
func (a *attempt) spent() bool { return a.q.Packets > 0 && a.reply.Packets >= a.q.Packets }

// deadline returns when a wait of at most d ends, and whether that is before d is over.
func (a *attempt) deadline(begin time.Time, d time.Duration) (deadline time.Time, short bool) {
	deadline = begin.Add(d)
	if !a.end.IsZero() && a.end.Before(deadline) {
		return a.end, true
	}
	return deadline, false
}

// learn changes what is known of the server.
func (a *attempt) learn(f func(v *server, now stamp)) {
	now := a.c.servers.stamp(a.clock)
	a.c.servers.change(a.to, func(v *server) { f(v, now) })
}

// weigh looks at a reply that is believed, and reports whether the server has to be asked
// again in another way.
func (a *attempt) weigh() (again bool) {
	opt, rcode := findOPT(a.reply.Message), rcodeOf(a.reply.Message)
	unknown := opt == nil && (rcode == wire.FormErr || rcode == wire.NotImp)
	if a.edns && (unknown || rcode == wire.BadVers) {
		// It does not know EDNS (RFC 6891, section 7), or no version of it.
		a.c.counters.WithoutEDNS.Add(1)
		a.edns, a.unedns = false, true
		return true
	}
	if a.bare {
		a.learn(func(v *server, now stamp) { v.baked, v.cookieLen, v.noCookie = 0, 0, now })
	}
	if a.unedns && !unknown {
		// Without EDNS it is content, so that the question was not what it disliked.
		a.learn(func(v *server, now stamp) { v.plain = now })
	}
	if !a.edns || !a.cookies {
		return false
	}
	cookie := cookieOf(opt)
	if a.tasted(a.reply.Message) == wrong {
		cookie = nil // over TCP: whatever it is, the server knows nothing of ours
	}
	fresh := a.keepCookie(cookie)
	if rcode != wire.BadCookie {
		return false
	}
	a.c.counters.BadCookie.Add(1)
	switch {
	case fresh && !a.rebaked:
		a.rebaked = true
		return true
	case !a.tcp:
		a.tcp = true // it did not like the one it gave (RFC 7873, section 5.3)
		return true
	}
	return false
}

// over returns the error of a wait that ended at its deadline.
func over(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.ErrDeadlineExceeded
}
