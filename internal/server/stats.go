package server

import "sync/atomic"

// Stats counts what a server has done since it began.
type Stats struct {
	UDP, TCP Traffic

	Accepted uint64 // TCP connections taken
	Refused  uint64 // TCP connections closed at once, their address or network having too many
	Evicted  uint64 // TCP connections closed to make room for another
	TimedOut uint64 // TCP connections closed after silence, or in the middle of a question
	Stalled  uint64 // TCP connections reset because the client did not read
	Open     int    // TCP connections now
	Pending  int    // detached answers now, over UDP and TCP
}

// Traffic counts messages.
type Traffic struct {
	Received   uint64 // messages that arrived
	Sent       uint64 // messages that left
	SendErrors uint64 // messages that the system would not send
	Dropped    uint64 // messages not looked at: shorter than a header, cut, or from port 0
}

// traffic is a Traffic with one writer, or few. The padding keeps the counters of
// two workers out of one cache line.
type traffic struct {
	received, sent, sendErrors, dropped atomic.Uint64
	_                                   [128 - 4*8]byte
}

func (t *traffic) addTo(s *Traffic) {
	s.Received += t.received.Load()
	s.Sent += t.sent.Load()
	s.SendErrors += t.sendErrors.Load()
	s.Dropped += t.dropped.Load()
}

// tcpCounters are the counters of connections.
type tcpCounters struct {
	traffic
	accepted, refused, evicted, timedOut, stalled atomic.Uint64
}

// Stats sums the counters of all workers.
func (s *Server) Stats() Stats {
	var st Stats
	for _, u := range s.udp {
		for i := range u.counters {
			u.counters[i].addTo(&st.UDP)
		}
	}
	s.laterUDP.addTo(&st.UDP)
	c := &s.tcp.count
	c.addTo(&st.TCP)
	st.Accepted, st.Refused, st.Evicted = c.accepted.Load(), c.refused.Load(), c.evicted.Load()
	st.TimedOut, st.Stalled = c.timedOut.Load(), c.stalled.Load()
	st.Open = s.tcp.open()
	st.Pending = int(s.pending.Load())
	return st
}
