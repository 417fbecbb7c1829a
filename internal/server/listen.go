package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	// udpSocketBuffer is what each UDP socket asks the system to hold, each way:
	// some 10 ms of arrivals at a million queries a second. The system may grant less.
	udpSocketBuffer = 4 << 20
	// tcpSendBuffer bounds what the system holds for a client that does not read;
	// Linux doubles it to 256 KiB.
	tcpSendBuffer = 128 << 10
	// portTries is how often a free port is sought that UDP and TCP both can have.
	portTries = 32
)

// Listen binds every address for UDP and TCP, and adopts the files. Questions
// wait in the sockets until [Server.Serve] or [Server.Start].
//
// The error says which address, and what may help; errors.Is finds the system's
// reason, such as fs.ErrPermission or syscall.EADDRINUSE.
func Listen(o Options) (*Server, error) {
	files := o.Files
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	o, err := o.fill()
	if err != nil {
		return nil, err
	}
	s := newServer(o)
	if s.kept, err = adoptKept(o.Kept); err != nil {
		return nil, err
	}
	defer s.kept.close()
	secure := o.Encrypted.endpoints()
	var all []endpoint
	serves := slices.Clone(o.Addrs)
	for _, a := range o.Addrs {
		all = append(all, endpoint{addr: a})
	}
	for _, e := range secure {
		serves = append(serves, e.addr)
	}
	s.kept.drop(serves) // before others are bound, whose addresses they may cover
	if err := s.bindAll(all); err != nil {
		s.closeSockets()
		return nil, err
	}
	for _, f := range o.Files {
		if err := s.adopt(f, secure); err != nil {
			s.closeSockets()
			return nil, fmt.Errorf("adopt socket %s: %w", f.Name(), err)
		}
	}
	secure = slices.DeleteFunc(secure, func(e endpoint) bool { return s.serves(e) })
	if err := s.bindAll(secure); err != nil {
		s.closeSockets()
		return nil, err
	}
	if len(s.absent) > 0 && len(s.listeners)+len(s.udp) == 0 {
		return nil, s.lacking
	}
	if err := s.proxiesAreBefore(); err != nil {
		s.closeSockets()
		return nil, err
	}
	if len(s.absent) > 0 {
		addrs := make([]netip.AddrPort, len(s.absent))
		for i, e := range s.absent {
			addrs[i] = e.addr
		}
		o.Logger.Warn("addresses that this host does not have are skipped", "addresses", addrs, "error", s.lacking.Error())
	}
	return s, nil
}

// bindAll binds endpoints. Those of a kind that the machine does not have are noted.
func (s *Server) bindAll(list []endpoint) error {
	for _, e := range list {
		err := s.bind(e)
		if err != nil && s.options.Freebind && absentFamily(err) {
			s.absent, s.lacking = append(s.absent, e), err
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// serves reports whether an endpoint of what is encrypted is bound already.
func (s *Server) serves(e endpoint) bool {
	return slices.ContainsFunc(s.encrypted, func(l Listener) bool {
		return l.Transport == e.over && l.QUIC == e.packets() && l.Addr.Port() == e.addr.Port() &&
			(l.Addr == e.addr || l.Addr.Addr().IsUnspecified())
	})
}

// bind listens on a for TCP and then for UDP. TCP is first because it is
// exclusive: UDP sockets of several processes may share a port unnoticed.
func (s *Server) bind(e endpoint) error {
	for try := 1; ; try++ {
		err := s.bindOnce(e)
		if err == nil || e.addr.Port() != 0 || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

func (s *Server) bindOnce(e endpoint) error {
	a, family := e.addr, "6"
	if a.Addr().Is4() {
		family = "4"
	}
	if link := a.Addr().Zone(); link != "" && !hasLink(link) {
		return listenError(a, "tcp", syscall.ENODEV) // of which the system would say that the address is invalid
	}
	if e.packets() {
		return s.bindPackets(e, "udp"+family)
	}
	// Keep-alive probes would outlive every timeout of ours.
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return controlTCP(c, s.options.Freebind)
	}}
	tcp := s.kept.takeTCP(a)
	if tcp == nil {
		l, err := lc.Listen(context.Background(), "tcp"+family, a.String())
		if err != nil {
			return listenError(a, "tcp", err)
		}
		tcp = l.(*net.TCPListener)
	}
	a = netip.AddrPortFrom(a.Addr(), tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	if e.over != UDP {
		s.take(tcp, a, e)
		return nil
	}
	udp, err := s.bindUDP(a, "udp"+family)
	if err != nil {
		tcp.Close()
		return listenError(a, "udp", err)
	}
	s.take(tcp, a, e)
	for _, u := range udp {
		u.proxies = s.proxiesOf(e.addr)
	}
	s.udp = append(s.udp, udp...)
	return nil
}

// take has what is spoken at an endpoint served on l, whose address is a.
func (s *Server) take(l *net.TCPListener, a netip.AddrPort, e endpoint) {
	admit := s.tcp.admit
	switch {
	case e.over == UDP:
		s.addrs = appendNew(s.addrs, a)
	case e.service != nil:
		g := s.newGate(e, l.Addr())
		s.gates = append(s.gates, g)
		admit = g.admit
	default:
		admit = s.admitTLS
	}
	table := &s.tcp
	if e.over != UDP {
		table = &s.secure
		s.encrypted = append(s.encrypted, Listener{Addr: a, Transport: e.over})
	}
	p := s.proxiesOf(e.addr)
	if p == nil {
		p = s.proxiesOf(a)
	}
	if p != nil {
		admit = p.behind(table, admit)
	}
	s.listeners = append(s.listeners, &tcpListener{l, admit})
}

// bindPackets listens on the address of a service of datagrams, with one socket: whoever reads a
// connection's packets has to know its keys.
func (s *Server) bindPackets(e endpoint, network string) error {
	for _, c := range s.kept.takeUDP(e.addr) {
		c.Close() // of a server that spoke something else there
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return controlPackets(c, s.options.Freebind) }}
	c, err := lc.ListenPacket(context.Background(), network, e.addr.String())
	if err != nil {
		return listenError(e.addr, "udp", err)
	}
	s.takePackets(c.(*net.UDPConn), netip.AddrPortFrom(e.addr.Addr(), c.LocalAddr().(*net.UDPAddr).AddrPort().Port()), e)
	return nil
}

// takePackets has a service of datagrams served on a socket, whose address is a.
func (s *Server) takePackets(c *net.UDPConn, a netip.AddrPort, e endpoint) {
	s.packets = append(s.packets, &PacketListener{server: s, service: e.service, conn: c})
	s.encrypted = append(s.encrypted, Listener{Addr: a, Transport: e.over, QUIC: true})
}

// hasLink reports whether this machine has an interface of a name, or number.
func hasLink(name string) bool {
	if _, err := net.InterfaceByName(name); err == nil {
		return true
	}
	n, err := strconv.Atoi(name)
	if err == nil {
		_, err = net.InterfaceByIndex(n)
	}
	return err == nil
}

// bindUDP makes the sockets of a: one a worker where the system spreads datagrams
// over the sockets that share a port, else one for all.
func (s *Server) bindUDP(a netip.AddrPort, network string) ([]*udpSocket, error) {
	sockets, share := 1, s.options.Workers
	if spreadsDatagrams {
		sockets, share = share, 1
	}
	wildcard := a.Addr().IsUnspecified()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return controlUDP(c, a.Addr().Is6(), wildcard, sockets > 1, s.options.Freebind)
	}}
	var made []*udpSocket
	for _, c := range s.kept.takeUDP(a) {
		if err := s.control(c, a, wildcard); err != nil {
			return nil, err
		}
		made = append(made, s.newUDP(c, a.Addr(), share))
	}
	if len(made) > 0 {
		return made, nil // as many as there were, since a question may wait in each of them
	}
	for range sockets {
		c, err := lc.ListenPacket(context.Background(), network, a.String())
		if err != nil {
			for _, u := range made {
				u.conn.Close()
			}
			return nil, err
		}
		made = append(made, s.newUDP(c.(*net.UDPConn), a.Addr(), share))
	}
	return made, nil
}

// absentFamily reports whether a machine has no addresses of a kind at all, or not the link of
// a link-local one: binding them before they are there does not work.
func absentFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.ENODEV)
}

// Try reports what keeps a server from listening on a, as [Listen] does, without listening.
// Questions that a server there gets meanwhile are still that server's.
func Try(a netip.AddrPort) error {
	kind := syscall.AF_INET6
	if a.Addr().Is4() {
		kind = syscall.AF_INET
	}
	if err := tryBind(kind, syscall.SOCK_DGRAM, a); err != nil {
		return listenError(a, "udp", err)
	}
	return TryTCP(a)
}

// TryTCP is Try for what is served over TCP alone.
func TryTCP(a netip.AddrPort) error {
	kind := syscall.AF_INET6
	if a.Addr().Is4() {
		kind = syscall.AF_INET
	}
	if err := tryBind(kind, syscall.SOCK_STREAM, a); err != nil {
		return listenError(a, "tcp", err)
	}
	return nil
}

// TryUDP is Try for what is served over UDP alone.
func TryUDP(a netip.AddrPort) error {
	kind := syscall.AF_INET6
	if a.Addr().Is4() {
		kind = syscall.AF_INET
	}
	if err := tryBind(kind, syscall.SOCK_DGRAM, a); err != nil {
		return listenError(a, "udp", err)
	}
	return nil
}

// ListenTCP listens on an address, which no interface may have yet where the system allows
// that. The error says what [Listen] would say.
func ListenTCP(a netip.AddrPort) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return controlTCP(c, canFreebind) }}
	l, err := lc.Listen(context.Background(), "tcp", a.String())
	if err != nil {
		return nil, listenError(a, "tcp", err)
	}
	return l, nil
}

// adopt takes over a socket bound by somebody else. secure are the endpoints of what is
// encrypted, by whose addresses, or else ports, it is known what is spoken there.
func (s *Server) adopt(f *os.File, secure []endpoint) error {
	// The duplicates that net makes have one more name for the same socket.
	if l, err := net.FileListener(f); err == nil {
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			l.Close()
			return fmt.Errorf("a %s socket, want UDP or TCP", l.Addr().Network())
		}
		at := unmap(tcp.Addr().(*net.TCPAddr).AddrPort())
		e := endpoint{}
		for _, x := range secure {
			if !x.packets() && (x.addr == at || e.over == UDP && x.addr.Port() == at.Port()) {
				e = x
			}
		}
		s.take(tcp, at, e)
		return nil
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return fmt.Errorf("not a listening socket: %w", err)
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return fmt.Errorf("a %s socket, want UDP or TCP", c.LocalAddr().Network())
	}
	a := unmap(udp.LocalAddr().(*net.UDPAddr).AddrPort())
	e := endpoint{}
	for _, x := range secure {
		if x.packets() && (x.addr == a || e.service == nil && x.addr.Port() == a.Port()) {
			e = x
		}
	}
	if e.service != nil {
		s.takePackets(udp, a, e)
		return nil
	}
	rc, err := udp.SyscallConn()
	if err == nil {
		err = controlUDP(rc, udpFamilyIs6(rc, a.Addr()), a.Addr().IsUnspecified(), false, false)
	}
	if err != nil {
		udp.Close()
		return err
	}
	u := s.newUDP(udp, a.Addr(), 1)
	u.proxies = s.proxiesOf(a)
	s.udp = append(s.udp, u)
	s.addrs = appendNew(s.addrs, a)
	return nil
}

func appendNew(as []netip.AddrPort, a netip.AddrPort) []netip.AddrPort {
	for _, b := range as {
		if a == b {
			return as
		}
	}
	return append(as, a)
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// An AddrInUseError names the programs that keep a server from listening.
type AddrInUseError struct{ Holders []SocketHolder }

// Error says who they are, and what to do about the first of them.
func (e *AddrInUseError) Error() string {
	var text []string
	for _, h := range e.Holders {
		if s := h.String(); !slices.Contains(text, s) && len(text) < maxHolders {
			text = append(text, s)
		}
	}
	return strings.Join(text, ", ") + "; " + e.Holders[0].Remedy()
}

// maxHolders is how many programs an error names.
const maxHolders = 4

// listenError says what could not be had, why, and what may help.
func listenError(a netip.AddrPort, transport string, err error) error {
	// net wraps the reason in the address and the system call's name.
	if reason := syscall.Errno(0); errors.As(err, &reason) {
		err = reason
	}
	hint := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = ": a port below 1024 needs root, CAP_NET_BIND_SERVICE, or a socket from the service manager"
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": another program listens there"
		if who := SocketHolders(a); len(who) > 0 {
			return fmt.Errorf("listen on %s/%s: %w: %w", a, transport, err, &AddrInUseError{who})
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = ": no interface of this host has that address"
	}
	return fmt.Errorf("listen on %s/%s: %w%s", a, transport, err, hint)
}
