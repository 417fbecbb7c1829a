package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Proxied is a listener behind proxies, each of which says in a PROXY header (version 2) on whose
// behalf it sends: before the query in each datagram, and once at the beginning of each
// connection, before TLS. Whatever comes without such a header, or from anybody else, is dropped.
type Proxied struct {
	Addr netip.AddrPort // of Options.Addrs, Encrypted.DoT or a Service of connections
	From []netip.Prefix // the proxies
}

const (
	// proxySignature begins every header. No DNS message and no TLS record begins so.
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	// proxyFixed is the length of the signature, version, command, family and length.
	proxyFixed = 16
	// proxyMost is the longest header read: addresses, and extensions (TLV), which are skipped.
	proxyMost = 4096

	proxyAddrs4 = 4 + 4 + 2 + 2   // two addresses and ports
	proxyAddrs6 = 16 + 16 + 2 + 2 // the same
)

// The errors of headers.
var (
	errProxyHeader = errors.New("server: no valid PROXY header")
	errProxySender = errors.New("server: not one of the proxies")
)

// proxyHeader reads the header that b begins with, as far as its length says. It returns how long
// it is, and the client; an invalid address if the proxy speaks for itself (LOCAL). b may
// be cut off after the fixed part if whole is false: then size alone is returned.
//
// A proxy that does not say for whom it sends (UNSPEC, or a Unix socket) would have its client be
// taken for the proxy itself, so that is an error. What carried the query to the proxy, a stream or
// datagrams, need not be what carries it here.
func proxyHeader(b []byte, whole bool) (size int, client netip.AddrPort, err error) {
	if len(b) < proxyFixed || string(b[:len(proxySignature)]) != proxySignature {
		return 0, client, errProxyHeader
	}
	command, family := b[12], b[13]
	size = proxyFixed + int(binary.BigEndian.Uint16(b[14:]))
	if size > proxyMost || whole && size > len(b) {
		return 0, client, errProxyHeader
	}
	const local, proxied = 0x20, 0x21 // both of version 2
	switch {
	case command == local && whole:
		return size, client, nil
	case command != local && command != proxied:
		return 0, client, errProxyHeader
	case !whole:
		return size, client, nil
	}
	const stream4, datagram4, stream6, datagram6 = 0x11, 0x12, 0x21, 0x22
	var addr netip.Addr
	var port []byte
	switch block := b[proxyFixed:size]; {
	case (family == stream4 || family == datagram4) && len(block) >= proxyAddrs4:
		addr, port = netip.AddrFrom4([4]byte(block)), block[8:]
	case (family == stream6 || family == datagram6) && len(block) >= proxyAddrs6:
		addr, port = netip.AddrFrom16([16]byte(block)).Unmap(), block[32:]
	default:
		return 0, client, errProxyHeader
	}
	if addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return 0, client, errProxyHeader // nobody sends from there
	}
	return size, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port)), nil
}

// proxies are the proxies before a listener.
type proxies struct {
	from []netip.Prefix
}

// proxiesOf returns the proxies before an address of the options; nil: none are.
func (s *Server) proxiesOf(a netip.AddrPort) *proxies {
	for _, p := range s.options.Proxied {
		if p.Addr == a {
			return &proxies{p.From}
		}
	}
	return nil
}

// trusts reports whether an address is that of a proxy.
func (p *proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.from, func(n netip.Prefix) bool { return n.Contains(a) })
}

// strip takes the header from a datagram. client is invalid if the proxy asks for itself.
func (p *proxies) strip(datagram []byte, sender netip.Addr) (query []byte, client netip.AddrPort, err error) {
	if !p.trusts(sender) {
		return nil, client, errProxySender
	}
	size, client, err := proxyHeader(datagram, true)
	if err != nil {
		return nil, client, err
	}
	query = datagram[size:]
	if len(query) >= len(proxySignature) && string(query[:len(proxySignature)]) == proxySignature {
		return nil, client, errProxyHeader // a second header: the first was not the proxy's
	}
	return query, client, nil
}

// unproxied counts what was dropped for want of a proxy's header.
func (t *traffic) unproxied(why error) {
	if errors.Is(why, errProxySender) {
		t.proxySender.Add(1)
	} else {
		t.proxyHeader.Add(1)
	}
}

// A proxiedConn is a connection that a proxy has made for a client.
type proxiedConn struct {
	*net.TCPConn
	client *net.TCPAddr // nil: the proxy is the client
	same   int          // octets that were like a second header; -1: one was not
}

// RemoteAddr implements [net.Conn].
func (c *proxiedConn) RemoteAddr() net.Addr {
	if c.client == nil {
		return c.TCPConn.RemoteAddr()
	}
	return c.client
}

// Read implements [net.Conn]. What begins with another header is not a client's.
func (c *proxiedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if c.same < 0 || n == 0 {
		return n, err
	}
	left := proxySignature[c.same:]
	seen := min(n, len(left))
	if string(b[:seen]) != left[:seen] {
		c.same = -1
		return n, err
	}
	if c.same += seen; c.same == len(proxySignature) {
		return 0, errProxyHeader
	}
	return n, err
}

// readProxy reads the header that a connection begins with, and no octet more.
func readProxy(conn *net.TCPConn) (*proxiedConn, error) {
	fixed := make([]byte, proxyFixed)
	if _, err := io.ReadFull(conn, fixed); err != nil {
		return nil, err
	}
	size, _, err := proxyHeader(fixed, false)
	if err != nil {
		return nil, err
	}
	whole := append(bytes.Clone(fixed), make([]byte, size-proxyFixed)...)
	if _, err := io.ReadFull(conn, whole[proxyFixed:]); err != nil {
		return nil, err
	}
	_, client, err := proxyHeader(whole, true)
	if err != nil {
		return nil, err
	}
	c := &proxiedConn{TCPConn: conn}
	if client.IsValid() {
		c.client = net.TCPAddrFromAddrPort(client)
	}
	return c, nil
}

// headless are connections whose header has not come yet. They are in no table, as it is not known
// yet whose they are: all that there may be are those of a table.
type headless struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

// add takes conn in, if there is room.
func (h *headless) add(conn net.Conn, most int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || len(h.conns) >= most {
		return false
	}
	if h.conns == nil {
		h.conns = map[net.Conn]struct{}{}
	}
	h.conns[conn] = struct{}{}
	return true
}

func (h *headless) remove(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, conn)
}

// end closes them all: nothing was asked on them.
func (h *headless) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for c := range h.conns {
		_ = c.Close()
	}
}

// behind has connections admitted once their headers have come.
func (p *proxies) behind(t *tcpTable, admit func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		s, c := t.server, conn.(*net.TCPConn)
		drop := func() {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
		if !p.trusts(unmap(c.RemoteAddr().(*net.TCPAddr).AddrPort()).Addr().WithZone("")) {
			t.count.unproxied(errProxySender)
			drop()
			return
		}
		if !s.headless.add(c, t.limits.Conns) {
			t.count.refused.Add(1)
			drop()
			return
		}
		s.conns.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(t.limits.Question))
			proxied, err := readProxy(c)
			s.headless.remove(c)
			if err != nil {
				t.count.unproxied(err)
				drop()
				return
			}
			_ = c.SetReadDeadline(time.Time{})
			admit(proxied)
		})
	}
}

// proxiesAreBefore reports a listener that is to be behind proxies and was not bound: sockets of a service manager
// with other addresses would believe nobody, and answer the proxies as clients.
func (s *Server) proxiesAreBefore() error {
	for _, p := range s.options.Proxied {
		bound := p.Addr.Port() == 0 || slices.Contains(s.addrs, p.Addr) ||
			slices.ContainsFunc(s.encrypted, func(l Listener) bool { return l.Addr == p.Addr }) ||
			slices.ContainsFunc(s.absent, func(e endpoint) bool { return e.addr == p.Addr })
		if !bound {
			return fmt.Errorf("server: %s is to be behind proxies, and no socket has that address", p.Addr)
		}
	}
	return nil
}

// checkProxied reports listeners behind proxies that are none, or have no proxies.
func (o *Options) checkProxied() (errs []error) {
	var all []netip.AddrPort
	all = append(append(all, o.Addrs...), o.Encrypted.DoT...)
	for _, l := range o.Encrypted.Services {
		if l.Packets == nil {
			all = append(all, l.Addrs...)
		}
	}
	for _, p := range o.Proxied {
		if len(p.From) == 0 {
			errs = append(errs, fmt.Errorf("server: %s is behind no proxies", p.Addr))
		}
		if !slices.Contains(all, p.Addr) && len(o.Files) == 0 {
			errs = append(errs, fmt.Errorf("server: %s is behind proxies, and no connections or DNS over UDP are taken there", p.Addr))
		}
	}
	return errs
}
