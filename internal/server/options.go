package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"time"
)

// The defaults of Limits, and the bounds that are not for tuning.
const (
	defaultConns     = 4096             // TCP connections at a time: 8 MiB of read buffers
	defaultPerAddr   = 20               // from one address or /64, as PowerDNS
	defaultPerPeer   = 256              // from one that zones are exchanged with: BIND's transfers-per-ns goes to 100 and more
	defaultPerPrefix = 64               // from one /24 or /56, a household or a small network
	defaultPending   = 16               // detached answers a connection, then it is not read (RFC 7766, section 6.2.1.1)
	defaultIdle      = 10 * time.Second // silence between questions (RFC 7766, section 6.2.3)
	defaultIdleMin   = time.Second      // the same when every connection is taken
	defaultQuestion  = 3 * time.Second  // from the first octet of a question to its last, against slow senders
	defaultStall     = 5 * time.Second  // a client does not take an answer in so long: it is reset
	defaultDrain     = 2 * time.Second  // what Serve grants to draining: clients ask again after as long

	maxWorkers    = 1024    // sockets an address
	maxConns      = 1 << 20 // more would not fit into file descriptors
	maxUDPPending = 4096    // detached answers over UDP (twice Unbound's num-queries-per-thread)
)

// Limits bound what TCP clients may hold. Zero means the default.
type Limits struct {
	Conns     int           // connections in all (4,096)
	PerAddr   int           // connections from one address, or /64 for IPv6 (20)
	PerPeer   int           // the same for the addresses of SetPeers, whose network has no bound (256)
	PerPrefix int           // connections from one /24, or /56 for IPv6 (64)
	Pending   int           // answers that a connection may be owed, or has not taken, before it is read no further (16)
	Idle      time.Duration // silence after which a connection is closed (10 s)
	IdleMin   time.Duration // what Idle falls to while connections fill from one half to all (1 s)
	Question  time.Duration // time for one question to arrive whole (3 s)
	Stall     time.Duration // time for the client to take an answer, or 64 KiB of short ones, before it is reset (5 s)
}

// Options says what to listen on and for whom. The zero value of each field but
// Handler is a default.
type Options struct {
	// Addrs are bound for UDP and for TCP. Port 0 takes a free one, the same for
	// both. IPv4-mapped addresses are refused.
	Addrs []netip.AddrPort
	// Files are sockets that are bound already, from a service manager: UDP or
	// listening TCP. Listen takes them over and closes them, also if it fails.
	Files []*os.File
	// Kept are sockets that an earlier server had, which a service manager has held since.
	// Those of Addrs are used again, with what waits in them, and the others closed.
	Kept []*os.File
	// Handover says that a service manager holds the sockets when this server ends, for the
	// next one: then what is in flight is not waited for while questions wait there.
	Handover bool
	// Handler must not be nil.
	Handler Handler
	// Workers is the number of UDP workers an address, GOMAXPROCS by default.
	Workers int
	// Portable uses one datagram a system call on Linux too.
	Portable bool
	// Freebind binds addresses that no interface has yet, as one that moves
	// between hosts, and leaves out those of a kind that the machine does not have at all,
	// such as IPv6. Only Linux can; elsewhere it is refused.
	Freebind bool
	// Limits bound TCP.
	Limits Limits
	// Encrypted is what is served over TLS; the zero value is nothing.
	Encrypted Encrypted
	// Drain is how long Serve waits for answers in flight after its context
	// ends, 2 s by default.
	Drain time.Duration
	// Proxied are the listeners behind proxies.
	Proxied []Proxied
	// Logger hears of what an operator should know; nothing is said by default.
	Logger *slog.Logger
}

// fill returns o with its defaults, or all that is wrong with it.
func (o Options) fill() (Options, error) {
	var errs []error
	number := func(name string, v *int, def, most int) {
		if *v == 0 {
			*v = def
		}
		if *v < 1 || *v > most {
			errs = append(errs, fmt.Errorf("server: %s is %d, want 1 to %d", name, *v, most))
		}
	}
	duration := func(name string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < time.Millisecond || *v > time.Hour {
			errs = append(errs, fmt.Errorf("server: %s is %v, want 1ms to 1h", name, *v))
		}
	}
	if o.Handler == nil {
		errs = append(errs, errors.New("server: Handler is nil"))
	}
	if len(o.Addrs)+len(o.Files) == 0 {
		errs = append(errs, errors.New("server: no address to listen on"))
	}
	errs = append(errs, o.checkAddrs()...)
	errs = append(errs, o.checkProxied()...)
	if o.Freebind && !canFreebind {
		errs = append(errs, errors.New("server: Freebind is not available on this system"))
	}
	number("Workers", &o.Workers, min(runtime.GOMAXPROCS(0), maxWorkers), maxWorkers)
	number("Encrypted.Handshakes", &o.Encrypted.Handshakes, defaultHandshakes, maxConns)
	for name, l := range map[string]*Limits{"Limits": &o.Limits, "Encrypted.Limits": &o.Encrypted.Limits} {
		number(name+".Conns", &l.Conns, defaultConns, maxConns)
		number(name+".PerAddr", &l.PerAddr, defaultPerAddr, maxConns)
		number(name+".PerPeer", &l.PerPeer, defaultPerPeer, maxConns)
		number(name+".PerPrefix", &l.PerPrefix, defaultPerPrefix, maxConns)
		number(name+".Pending", &l.Pending, defaultPending, maxConns)
		duration(name+".Idle", &l.Idle, defaultIdle)
		duration(name+".IdleMin", &l.IdleMin, min(l.Idle, defaultIdleMin))
		duration(name+".Question", &l.Question, defaultQuestion)
		duration(name+".Stall", &l.Stall, defaultStall)
		if l.IdleMin > l.Idle {
			errs = append(errs, fmt.Errorf("server: %s.IdleMin %v is more than %[1]s.Idle %v", name, l.IdleMin, l.Idle))
		}
	}
	duration("Drain", &o.Drain, defaultDrain)
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o, errors.Join(errs...)
}

// checkAddrs returns what is wrong with the addresses to listen on.
func (o *Options) checkAddrs() (errs []error) {
	type place struct {
		at  netip.AddrPort
		udp bool // else TCP
	}
	seen := map[place]bool{}
	all := make([]endpoint, 0, len(o.Addrs))
	for _, a := range o.Addrs {
		all = append(all, endpoint{addr: a})
	}
	for _, l := range o.Encrypted.Services {
		if l.TLS == nil || (l.Service == nil) == (l.Packets == nil) {
			return []error{errors.New("server: a service has no TLS, or is none")}
		}
	}
	for _, e := range append(all, o.Encrypted.endpoints()...) {
		a := e.addr
		switch {
		case !a.IsValid():
			errs = append(errs, errors.New("server: an address is the zero netip.AddrPort"))
			continue
		case a.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("server: listen on %s: write the IPv4 address %s", a, a.Addr().Unmap()))
		case a.Addr().IsMulticast():
			errs = append(errs, fmt.Errorf("server: listen on %s: a multicast address", a))
		case seen[place{a, e.packets()}] && a.Port() != 0:
			errs = append(errs, fmt.Errorf("server: listen on %s: listed twice", a))
		}
		seen[place{a, e.packets()}] = true
		if e.over == UDP {
			seen[place{a, true}] = true
		}
	}
	if len(o.Encrypted.DoT) > 0 && o.Encrypted.TLS == nil {
		errs = append(errs, errors.New("server: Encrypted.TLS is nil"))
	}
	return errs
}
