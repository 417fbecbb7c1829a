package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"port53/conformance/netns"
)

// A load is what the generator is to do.
type load struct {
	Server   netip.AddrPort
	Queries  string // a file of messages, each behind two octets of length
	Duration time.Duration
	Warm     time.Duration // not counted, before
	Sockets  int
	Window   int // questions under way on each socket
	Networks int // ask from so many networks of netns.Many; 0: from one address
}

// A result is what the generator saw.
type result struct {
	Seconds              float64
	Sent, Received, Lost int64
	Octets               int64
	Rcodes               [16]int64
	Truncated            int64
	P50, P99             time.Duration
}

// rate returns the answers per second.
func (r result) rate() float64 { return float64(r.Received) / r.Seconds }

// lossTimeout is when a question counts as lost, so that its place is free
// again.
const lossTimeout = 500 * time.Millisecond

// A socket keeps a window of questions under way. A question's ID names its
// place in the window; the rest of it counts rounds, so that late replies show.
type socket struct {
	fd    int
	sent  []int64  // by place: when, in nanoseconds since the start
	ids   []uint16 // by place; busy says whether it counts
	busy  []bool
	free  []int
	round uint16
}

// blast generates load from one thread that never sleeps, so that the server
// never pays for waking it. Give it a processor of its own.
func blast(l load) (*result, error) {
	queries, err := readQueries(l.Queries)
	if err != nil {
		return nil, err
	}
	var (
		sockets = make([]*socket, l.Sockets)
		in      = newBatch(l.Window, false)
		out     = newBatch(l.Window, true)
		to      = sockaddr(l.Server)
		r       result
		h       histogram
		next    int
		network uint32
		start   = time.Now()
		begin   = l.Warm.Nanoseconds()
		end     = begin + l.Duration.Nanoseconds()
		scan    = lossTimeout.Nanoseconds()
	)
	if l.Networks > 0 {
		out.fromSources()
	}
	for i := range sockets {
		if sockets[i], err = openSocket(l); err != nil {
			return nil, err
		}
	}
	for i := range out.names {
		out.names[i] = to
		if l.Networks == 0 { // connected
			out.msgs[i].hdr.Name, out.msgs[i].hdr.Namelen = nil, 0
		}
	}
	for now := int64(0); now < end; {
		for _, s := range sockets {
			n, err := in.recv(s.fd, l.Window, false)
			if err != nil {
				return nil, err
			}
			now = time.Since(start).Nanoseconds()
			for i := range n {
				reply := in.message(i)[:in.msgs[i].n]
				if s.take(reply, now, &h, now >= begin) && now >= begin {
					r.count(reply)
				}
			}
			if len(s.free) == 0 {
				continue
			}
			n = len(s.free)
			for i := range n {
				q := queries[next]
				if next++; next == len(queries) {
					next = 0
				}
				s.put(out.message(i), q, now)
				out.iovs[i].SetLen(len(q))
				if l.Networks > 0 {
					if network++; network == uint32(l.Networks) {
						network = 0
					}
					out.infos[i].info.Spec_dst = netns.Network(network)
				}
			}
			if err := out.send(s.fd, n); err != nil {
				return nil, err
			}
			if now >= begin {
				r.Sent += int64(n)
			}
		}
		if now >= scan {
			scan = now + lossTimeout.Nanoseconds()/4
			for _, s := range sockets {
				if lost := s.expire(now); now >= begin {
					r.Lost += lost
				}
			}
		}
	}
	r.Seconds = (time.Since(start) - l.Warm).Seconds()
	r.P50, r.P99 = h.quantile(0.5), h.quantile(0.99)
	return &r, nil
}

func openSocket(l load) (*socket, error) {
	fd, err := udpSocket(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	if err != nil {
		return nil, err
	}
	if l.Networks == 0 {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(l.Server.Port()), Addr: l.Server.Addr().As4()}); err != nil {
			return nil, err
		}
	}
	s := &socket{fd: fd, sent: make([]int64, l.Window), ids: make([]uint16, l.Window), busy: make([]bool, l.Window)}
	for i := range l.Window {
		s.free = append(s.free, l.Window-1-i)
	}
	return s, nil
}

// put writes a question with a fresh ID into buf.
func (s *socket) put(buf, q []byte, now int64) {
	place := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.round++
	id := s.round*uint16(len(s.ids)) + uint16(place)
	s.ids[place], s.sent[place], s.busy[place] = id, now, true
	copy(buf, q)
	buf[0], buf[1] = byte(id>>8), byte(id)
}

// take frees the place of a reply's question and says whether there was one.
func (s *socket) take(reply []byte, now int64, h *histogram, counted bool) bool {
	if len(reply) < 12 || reply[2]&0x80 == 0 {
		return false
	}
	id := uint16(reply[0])<<8 | uint16(reply[1])
	place := int(id) & (len(s.ids) - 1)
	if !s.busy[place] || s.ids[place] != id {
		return false
	}
	s.busy[place] = false
	s.free = append(s.free, place)
	if counted {
		h.add(now - s.sent[place])
	}
	return true
}

// expire frees the places of questions that got no reply in time.
func (s *socket) expire(now int64) int64 {
	lost := int64(0)
	for place, busy := range s.busy {
		if busy && now-s.sent[place] > lossTimeout.Nanoseconds() {
			s.busy[place] = false
			s.free = append(s.free, place)
			lost++
		}
	}
	return lost
}

func (r *result) count(reply []byte) {
	r.Received++
	r.Octets += int64(len(reply))
	r.Rcodes[reply[3]&15]++
	if reply[2]&2 != 0 {
		r.Truncated++
	}
}

// readQueries reads messages, each behind two octets of length.
func readQueries(file string) ([][]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var queries [][]byte
	for len(b) > 2 {
		n := int(binary.BigEndian.Uint16(b))
		if n < 12 || n > room || len(b) < 2+n {
			return nil, fmt.Errorf("%s: a message of %d octets", file, n)
		}
		queries = append(queries, b[2:2+n])
		b = b[2+n:]
	}
	if len(queries) == 0 {
		return nil, errors.New("no queries")
	}
	return queries, nil
}

// A histogram counts times with an error of at most 1/32.
type histogram struct {
	buckets [64 * 32]int64
	n       int64
}

func (h *histogram) add(ns int64) {
	v := uint64(max(ns, 0))
	i := v
	if v >= 32 {
		e := bits.Len64(v) - 6
		i = uint64(e+1)*32 + v>>e&31
	}
	h.buckets[i]++
	h.n++
}

func (h *histogram) quantile(q float64) time.Duration {
	left := int64(q * float64(h.n))
	for i, n := range h.buckets {
		if left -= n; left < 0 {
			if i < 32 {
				return time.Duration(i)
			}
			return time.Duration((32 + uint64(i)%32) << (i/32 - 1))
		}
	}
	return 0
}

// runBlast is the generator's process: its load is JSON in the arguments, its
// result JSON on standard output.
func runBlast(arg string) error {
	var l load
	if err := json.Unmarshal([]byte(arg), &l); err != nil {
		return err
	}
	if l.Window <= 0 || l.Window&(l.Window-1) != 0 {
		return fmt.Errorf("a window of %d: it must be a power of two", l.Window)
	}
	r, err := blast(l)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
