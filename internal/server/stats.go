package server

import (
	"errors"
	"sync/atomic"
	"syscall"
)

// Stats counts what a server has done since it began.
type Stats struct {
	UDP, TCP      Traffic
	DoT, DoH, DoQ Traffic

	Connections             // over TCP
	Secure      Connections // over TLS and QUIC
	Handshakes  Handshakes
	Pending     int // detached answers now, over all transports
}

// Connections counts connections.
type Connections struct {
	Accepted uint64 // taken
	Refused  uint64 // closed at once, their address or network having too many
	Evicted  uint64 // closed to make room for another
	TimedOut uint64 // closed after silence, or in the middle of a question
	Stalled  uint64 // reset because the client did not read, or too many did not
	Open     int    // now
}

// Handshakes counts beginnings of TLS.
type Handshakes struct {
	Done    uint64
	Resumed uint64 // those of Done that went on with an earlier session
	Failed  uint64 // the client was silent, sent something else, or did not like what it was shown
	Refused uint64 // beyond Encrypted.Handshakes
	Retried uint64 // packets of QUIC whose senders were asked to prove their addresses first
}

// Traffic counts messages. Those of Received that are in none of Short, Long, NoPort and those of proxies
// were handed to a worker.
type Traffic struct {
	Received   uint64 // messages that arrived, a frame that is shorter than a header too
	Sent       uint64 // messages that left
	SendErrors uint64 // messages that the system would not send
	SendFull   uint64 // those of SendErrors for which there was no room in the system's buffers
	SendLong   uint64 // those of SendErrors that were too long for the link
	Short      uint64 // messages shorter than a header, which were not looked at
	Long       uint64 // datagrams longer than we read, which were not looked at
	NoPort     uint64 // datagrams from port 0, which nothing can be sent to

	ProxySender uint64 // datagrams and connections at a listener behind proxies that came from nobody of them
	ProxyHeader uint64 // the same from a proxy, without a PROXY header that can be used
}

// traffic is a Traffic with one writer, or few. The padding keeps the counters of
// two workers out of one cache line.
type traffic struct {
	received, sent, sendErrors, sendFull, sendLong, short, long, noPort, proxySender, proxyHeader atomic.Uint64
	_                                                                                             [128 - 10*8]byte
}

func (t *traffic) addTo(s *Traffic) {
	s.Received += t.received.Load()
	s.Sent += t.sent.Load()
	s.SendErrors += t.sendErrors.Load()
	s.SendFull += t.sendFull.Load()
	s.SendLong += t.sendLong.Load()
	s.Short += t.short.Load()
	s.Long += t.long.Load()
	s.NoPort += t.noPort.Load()
	s.ProxySender += t.proxySender.Load()
	s.ProxyHeader += t.proxyHeader.Load()
}

// refuse counts a datagram of n octets from a port if it is not to be looked at, and reports
// whether it is not. cut tells that it was longer than we read.
func (t *traffic) refuse(n int, cut bool, port uint16) bool {
	switch {
	case cut:
		t.long.Add(1)
	case n < headerLen:
		t.short.Add(1)
	case port == 0:
		t.noPort.Add(1)
	default:
		return false
	}
	return true
}

// unsent counts n messages that could not be sent, and why.
func (t *traffic) unsent(n int, why error) {
	t.sendErrors.Add(uint64(n))
	switch {
	case errors.Is(why, syscall.EAGAIN) || errors.Is(why, syscall.ENOBUFS):
		t.sendFull.Add(uint64(n))
	case errors.Is(why, syscall.EMSGSIZE):
		t.sendLong.Add(uint64(n))
	}
}

// tcpCounters are the counters of connections.
type tcpCounters struct {
	traffic
	accepted, refused, evicted, timedOut, stalled atomic.Uint64
}

// shakeCounters are the counters of handshakes.
type shakeCounters struct{ done, resumed, failed, refused, retried atomic.Uint64 }

func (t *tcpTable) connections() Connections {
	c := &t.count
	return Connections{
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Evicted: c.evicted.Load(),
		TimedOut: c.timedOut.Load(), Stalled: c.stalled.Load(), Open: t.open(),
	}
}

// Stats sums the counters of all workers.
func (s *Server) Stats() Stats {
	var st Stats
	s.mu.Lock()
	sockets := s.udp
	s.mu.Unlock()
	for _, u := range sockets {
		for i := range u.counters {
			u.counters[i].addTo(&st.UDP)
		}
	}
	s.laterUDP.addTo(&st.UDP)
	s.tcp.count.addTo(&st.TCP)
	s.secure.count.addTo(&st.DoT)
	s.visits[DoH].addTo(&st.DoH)
	s.visits[DoQ].addTo(&st.DoQ)
	st.Connections, st.Secure = s.tcp.connections(), s.secure.connections()
	h := &s.secure.shakes
	st.Handshakes = Handshakes{
		Done:    h.done.Load(),
		Resumed: h.resumed.Load(),
		Failed:  h.failed.Load(),
		Refused: h.refused.Load(),
		Retried: h.retried.Load(),
	}
	st.Pending = int(s.pending.Load())
	return st
}
