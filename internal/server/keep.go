package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// handoverWait is how long answers and connections in flight are waited for at the end while the
// sockets, which a service manager holds, fill with questions for the next server.
const handoverWait = 250 * time.Millisecond

// A keptSockets has the sockets of an earlier server by their addresses.
type keptSockets struct {
	tcp map[netip.AddrPort]*net.TCPListener
	udp map[netip.AddrPort][]*net.UDPConn
}

// adoptKept sorts files by what they are bound to, and closes them: the sockets have other
// descriptors then.
func adoptKept(files []*os.File) (keptSockets, error) {
	k := keptSockets{tcp: map[netip.AddrPort]*net.TCPListener{}, udp: map[netip.AddrPort][]*net.UDPConn{}}
	var errs error
	for _, f := range files {
		if err := k.adopt(f); err != nil {
			errs = errors.Join(errs, fmt.Errorf("adopt kept socket %s: %w", f.Name(), err))
		}
		f.Close()
	}
	if errs != nil {
		k.close()
	}
	return k, errs
}

func (k keptSockets) adopt(f *os.File) error {
	if l, err := net.FileListener(f); err == nil {
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return errors.Join(l.Close(), fmt.Errorf("a %s socket, want UDP or TCP", l.Addr().Network()))
		}
		at := unmap(tcp.Addr().(*net.TCPAddr).AddrPort())
		if old := k.tcp[at]; old != nil {
			return tcp.Close()
		}
		k.tcp[at] = tcp
		return nil
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return fmt.Errorf("not a listening socket: %w", err)
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return errors.Join(c.Close(), fmt.Errorf("a %s socket, want UDP or TCP", c.LocalAddr().Network()))
	}
	at := unmap(udp.LocalAddr().(*net.UDPAddr).AddrPort())
	k.udp[at] = append(k.udp[at], udp)
	return nil
}

// takeTCP returns the listener of an address, or nil. It is the caller's then.
func (k keptSockets) takeTCP(a netip.AddrPort) *net.TCPListener {
	l := k.tcp[a]
	delete(k.tcp, a)
	return l
}

// takeUDP returns the sockets of an address. They are the caller's then.
func (k keptSockets) takeUDP(a netip.AddrPort) []*net.UDPConn {
	list := k.udp[a]
	delete(k.udp, a)
	return list
}

// drop closes the sockets of all other addresses.
func (k keptSockets) drop(but []netip.AddrPort) {
	for a, l := range k.tcp {
		if !slices.Contains(but, a) {
			l.Close()
			delete(k.tcp, a)
		}
	}
	for a, list := range k.udp {
		if !slices.Contains(but, a) {
			for _, c := range list {
				c.Close()
			}
			delete(k.udp, a)
		}
	}
}

// close closes what nobody has taken.
func (k keptSockets) close() {
	for _, l := range k.tcp {
		l.Close()
	}
	for _, list := range k.udp {
		for _, c := range list {
			c.Close()
		}
	}
}

// control sets the options of a UDP socket that was bound before.
func (s *Server) control(c *net.UDPConn, a netip.AddrPort, wildcard bool) error {
	rc, err := c.SyscallConn()
	if err == nil {
		err = controlUDP(rc, a.Addr().Is6(), wildcard, false, false)
	}
	return err
}

// EachSocket calls f with the descriptor of each socket, which is good during the call alone.
func (s *Server) EachSocket(f func(fd uintptr)) error {
	var errs error
	each := func(c syscall.Conn) {
		rc, err := c.SyscallConn()
		if err == nil {
			err = rc.Control(f)
		}
		errs = errors.Join(errs, err)
	}
	for _, l := range s.listeners {
		each(l)
	}
	for _, u := range s.udp {
		each(u.conn)
	}
	return errs
}
