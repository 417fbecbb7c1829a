package server

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// udpQuery is the longest query read over UDP; longer ones are dropped. The
	// largest that makes sense, with padding and a signature, is a tenth of it.
	udpQuery = 4096
	// udpLongest is the longest update read over UDP, for clients that send however many
	// records there are in one datagram: what the length field of UDP can say.
	udpLongest = 65535
	// udpReply is the longest answer: the largest payload size that servers
	// commonly offered before 1,232 was agreed upon.
	udpReply = 4096
	// headerLen is the length of a message without sections (RFC 1035, section 4.1.1).
	headerLen = 12
	// errorPause keeps an unexpected, lasting error from taking the processor.
	errorPause = time.Millisecond
	// sendTries is how often an answer is sent when there is no room for it, errorPause
	// apart, before it is dropped: clients ask again, and others are waiting.
	sendTries = 5
)

// A udpSocket is a bound socket and what its workers count.
type udpSocket struct {
	server   *Server
	conn     *net.UDPConn
	now      datagramNow
	outbox   outbox
	local    netip.Addr // the address bound, invalid for a wildcard
	port     uint16
	counters []traffic // one a worker
	proxies  *proxies  // nil: clients send themselves
}

// newUDP takes conn, bound to local, for that many workers.
func (s *Server) newUDP(conn *net.UDPConn, local netip.Addr, workers int) *udpSocket {
	if local.IsUnspecified() {
		local = netip.Addr{}
	}
	u := &udpSocket{
		server:   s,
		conn:     conn,
		local:    local,
		port:     conn.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		counters: make([]traffic, workers),
	}
	u.now.bind(conn)
	u.outbox.bind(u)
	return u
}

// servePortable answers one datagram a system call until the server drains.
func (u *udpSocket) servePortable(w Worker, count *traffic) {
	query, reply := make([]byte, udpLongest), make([]byte, udpReply)
	var control []byte
	if !u.local.IsValid() {
		control = make([]byte, controlLen)
	}
	peer := Peer{Transport: UDP, LocalPort: u.port}
	var later udpLater
	later.bind(u, &peer)
	var drain drainer
	missed := false
	for {
		if u.server.draining.Load() {
			deadline, more := drain.next(missed)
			if !more {
				return
			}
			_ = u.conn.SetReadDeadline(deadline)
		}
		n, cn, _, from, err := u.conn.ReadMsgUDPAddrPort(query, control)
		now := u.server.now()
		missed = err != nil
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if !isTimeout(err) {
				time.Sleep(errorPause)
			}
			continue
		}
		count.received.Add(1)
		message, behind := query[:n], netip.AddrPort{}
		if u.proxies != nil {
			if message, behind, err = u.proxies.strip(message, from.Addr().Unmap().WithZone("")); err != nil {
				count.unproxied(err)
				continue
			}
		}
		if count.refuse(len(message), len(message) > udpQuery && !isUpdate(message), from.Port()) {
			continue
		}
		local, replyControl := u.local, []byte(nil)
		if !local.IsValid() {
			local, replyControl = asked(control[:cn])
		}
		later.zone, later.control = from.Addr().Zone(), replyControl
		peer.Remote, peer.Local = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port()), local
		if u.proxies != nil {
			later.put(&peer, behind)
		}
		n = w.Handle(message, &peer, now, reply)
		if n <= 0 {
			continue
		}
		if err := u.sendPatiently(reply[:n], replyControl, from); err != nil {
			count.unsent(1, err)
		} else {
			count.sent.Add(1)
		}
	}
}

// isUpdate reports whether a message that has a header is an update (RFC 2136, section 2.2).
func isUpdate(msg []byte) bool {
	const qrAndOpcode, update = 0xF8, 5 << 3
	return msg[2]&qrAndOpcode == update
}

// sendPatiently sends an answer, for which a full send buffer may take a while to
// drain. Nobody waits for that in the system: answers that come later could not be sent
// meanwhile.
func (u *udpSocket) sendPatiently(message, control []byte, to netip.AddrPort) error {
	for tries := 1; ; tries++ {
		err := u.now.send(message, control, to)
		if !errors.Is(err, syscall.EAGAIN) || tries == sendTries {
			return err
		}
		time.Sleep(errorPause)
	}
}

// A udpLater holds what a responder needs beyond the peer, for the query in hand.
type udpLater struct {
	socket  *udpSocket
	zone    string         // of the client's link-local address, by name
	scope   uint32         // or by number
	control []byte         // makes the reply come from the address that was asked
	proxy   netip.AddrPort // which has sent the query; invalid: the client has
}

// put has the query in hand be of a client, if it is valid, for whom the proxy at peer has sent it.
func (l *udpLater) put(peer *Peer, client netip.AddrPort) {
	l.proxy = peer.Remote
	if client.IsValid() {
		peer.Remote = client
	}
}

// bind makes peer detachable through l.
func (l *udpLater) bind(u *udpSocket, peer *Peer) {
	l.socket = u
	peer.Later = l.detach
}

func (l *udpLater) detach(p *Peer) (Responder, error) {
	s := l.socket.server
	if s.udpPending.Add(1) > maxUDPPending {
		s.udpPending.Add(-1)
		return nil, ErrBusy
	}
	s.pending.Add(1)
	s.udpOwed.Add(1)
	to := p.Remote
	if l.proxy.IsValid() {
		to = l.proxy
	}
	zone := l.zone
	if l.scope != 0 {
		zone = strconv.FormatUint(uint64(l.scope), 10)
	}
	if zone != "" {
		to = netip.AddrPortFrom(to.Addr().WithZone(zone), to.Port())
	}
	return &udpResponder{socket: l.socket, to: to, control: append([]byte(nil), l.control...)}, nil
}

// A udpResponder answers one datagram.
type udpResponder struct {
	socket  *udpSocket
	to      netip.AddrPort
	control []byte
	once    sync.Once
}

func (r *udpResponder) Reply(message []byte) error {
	if len(message) > udpReply {
		return ErrTooLong
	}
	if r.socket.outbox.put(message, r.control, r.to) {
		return nil
	}
	count := &r.socket.server.laterUDP
	if err := r.socket.now.send(message, r.control, r.to); err != nil {
		count.unsent(1, err)
		if errors.Is(err, net.ErrClosed) {
			return ErrGone
		}
		return err
	}
	count.sent.Add(1)
	return nil
}

// Stream is Reply: a datagram leaves at once or not at all.
func (r *udpResponder) Stream(message []byte) error { return r.Reply(bytes.Clone(message)) }

func (r *udpResponder) Close() {
	r.once.Do(func() {
		s := r.socket.server
		s.udpPending.Add(-1)
		s.pending.Add(-1)
		s.udpOwed.Done()
	})
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
