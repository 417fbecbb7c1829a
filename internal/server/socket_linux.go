package server

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// spreadsDatagrams says that sockets bound to one port with SO_REUSEPORT share
// its datagrams, by a hash of the client's address and port.
const spreadsDatagrams = true

// canFreebind says that an address may be bound before an interface has it.
const canFreebind = true

// controlUDP sets what a UDP socket needs before it is bound. Only what answers
// would be wrong without is an error.
func controlUDP(c syscall.RawConn, is6, wildcard, shared, freebind bool) error {
	var err error
	control := func(fd uintptr) {
		s := int(fd)
		if freebind {
			if err = setFreebind(s); err != nil {
				return
			}
		}
		if shared {
			if err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return
			}
		}
		// Asking by force needs a capability, and asking is limited by a sysctl.
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpSocketBuffer) != nil {
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, udpSocketBuffer)
		}
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, udpSocketBuffer) != nil {
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, udpSocketBuffer)
		}
		// No answer is for many, whatever a question says it came from; net allows it.
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 0)
		// Path MTUs are anybody's to forge: send what fits, neither believing
		// them nor fragmenting by them (RFC 9715, section 3.1). That leaves what
		// is too long for the first link itself. Over IPv6 it is refused, and
		// counted; over IPv4 no setting does that without DF, which would have
		// routers lose answers that now arrive, so there the size of answers
		// must be kept below the link's, as 1,232 octets are everywhere.
		_ = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
		if is6 {
			_ = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
			_ = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
		}
		switch {
		case wildcard && is6:
			err = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		case wildcard:
			err = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	}
	if e := c.Control(control); e != nil {
		return e
	}
	return err
}

// controlPackets sets what the socket of a service of datagrams needs before it is bound; the
// service sets the rest.
func controlPackets(c syscall.RawConn, freebind bool) error {
	var err error
	e := c.Control(func(fd uintptr) {
		s := int(fd)
		if freebind {
			err = setFreebind(s)
		}
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpSocketBuffer) != nil {
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, udpSocketBuffer)
		}
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, udpSocketBuffer) != nil {
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, udpSocketBuffer)
		}
	})
	return errors.Join(e, err)
}

// controlTCP sets what a listener needs before it is bound, and what accepted
// connections inherit.
func controlTCP(c syscall.RawConn, freebind bool) error {
	var err error
	e := c.Control(func(fd uintptr) {
		if freebind {
			err = setFreebind(int(fd))
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, tcpSendBuffer)
	})
	return errors.Join(e, err)
}

// setFreebind works on IPv6 sockets too.
func setFreebind(s int) error { return unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_FREEBIND, 1) }

// udpFamilyIs6 says whether a socket speaks IPv6, be it to IPv4-mapped addresses.
func udpFamilyIs6(c syscall.RawConn, _ netip.Addr) bool {
	is6 := false
	_ = c.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		is6 = err == nil && domain == unix.AF_INET6
	})
	return is6
}

// CanFreebind reports whether an address may be bound before an interface has it.
func CanFreebind() bool { return canFreebind }

// tryBind binds a socket as a server would, and closes it.
func tryBind(kind, typ int, a netip.AddrPort) error {
	fd, err := unix.Socket(kind, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if typ == unix.SOCK_STREAM {
		// What has been closed a moment ago is in nobody's way.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if kind == unix.AF_INET {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	to := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return unix.ENODEV
		}
		to.ZoneId = uint32(link.Index)
	}
	return unix.Bind(fd, to)
}
