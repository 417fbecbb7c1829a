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
	Skip     int // questions of the file that were asked before

	Once   bool          // ask no question twice: the load ends with the last one, if not with its time
	Insist bool          // with Once: ask again what was not answered right, and fail if that is much
	Check  bool          // answers must be right: see [right]
	Secure bool          // and must be validated
	Loss   time.Duration // when a question counts as lost; 0: lossTimeout
	Yield  bool          // let others run on this processor where there is nothing to do
}

// A result is what the generator saw.
type result struct {
	Seconds              float64
	Sent, Received, Lost int64
	Octets               int64
	Rcodes               [16]int64
	Truncated            int64
	Wrong                int64 // of those with NOERROR
	Asked                int   // questions taken from the file, those of the warm-up too
	Opened, Resumed      int64 // connections, and those in a session resumed
	P50, P99             time.Duration
}

// rate returns the answers per second.
func (r result) rate() float64 { return float64(r.Received) / r.Seconds }

// lossTimeout is when a question counts as lost, so that its place is free
// again, where the load says nothing else.
const lossTimeout = 500 * time.Millisecond

// A socket keeps a window of questions under way. A question's ID names its
// place in the window; the rest of it counts rounds, so that late replies show.
type socket struct {
	fd    int
	sent  []int64  // by place: when, in nanoseconds since the start
	ids   []uint16 // by place; busy says whether it counts
	busy  []bool
	asked [][]byte // by place
	free  []int
	round uint16
}

// A blaster is a load under way.
type blaster struct {
	load
	result
	queries [][]byte
	next    int          // the question of the file to ask next
	again   []unanswered // questions to insist on, in the order of their time
	repeats int          // how often that was
	h       histogram
	now     int64 // in nanoseconds since the start
	begin   int64 // when it starts to count
}

// unanswered is a question that is to be asked again, from a time on: resolvers
// keep failures for a while (RFC 9520), and what is busy needs a rest.
type unanswered struct {
	query []byte
	from  int64
}

// errWrong says that insisting did not help.
var errWrong = errors.New("too many questions are not answered right")

// blast generates load from one thread that never sleeps, so that the server
// never pays for waking it. Give it a processor of its own.
func blast(l load) (*result, error) {
	queries, err := readQueries(l.Queries)
	if err != nil {
		return nil, err
	}
	if l.Loss == 0 {
		l.Loss = lossTimeout
	}
	var (
		b       = &blaster{load: l, queries: queries, next: l.Skip, begin: l.Warm.Nanoseconds()}
		sockets = make([]*socket, l.Sockets)
		in      = newBatch(l.Window, false)
		out     = newBatch(l.Window, true)
		to      = sockaddr(l.Server)
		network uint32
		start   = time.Now()
		end     = b.begin + l.Duration.Nanoseconds()
		scan    = l.Loss.Nanoseconds()
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
	for b.now < end {
		idle, waiting := true, 0
		for _, s := range sockets {
			n, err := in.recv(s.fd, l.Window, false)
			if err != nil {
				return nil, err
			}
			b.now = time.Since(start).Nanoseconds()
			for i := range n {
				b.take(s, in.message(i)[:in.msgs[i].n])
			}
			n = b.fill(s, out)
			waiting += l.Window - len(s.free)
			if n == 0 {
				continue
			}
			idle = false
			if l.Networks > 0 {
				for i := range n {
					if network++; network == uint32(l.Networks) {
						network = 0
					}
					out.infos[i].info.Spec_dst = netns.Network(network)
				}
			}
			if err := out.send(s.fd, n); err != nil {
				return nil, err
			}
			if b.now >= b.begin {
				b.Sent += int64(n)
			}
		}
		if waiting == 0 && len(b.again) == 0 && b.Once { // the last one was asked
			break
		}
		if b.now >= scan {
			scan = b.now + l.Loss.Nanoseconds()/4
			for _, s := range sockets {
				b.expire(s)
			}
		}
		if most := len(queries)/20 + 1000; b.repeats > most {
			return nil, fmt.Errorf("%w: %s", errWrong, mix(&b.result))
		}
		if idle && l.Yield {
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	}
	if l.Insist && (b.next < len(queries) || len(b.again) > 0) {
		return nil, fmt.Errorf("%d of %d questions were asked in time: %s", b.next-l.Skip, len(queries), mix(&b.result))
	}
	b.Seconds = (time.Since(start) - l.Warm).Seconds()
	b.Asked = b.next - l.Skip
	b.P50, b.P99 = b.h.quantile(0.5), b.h.quantile(0.99)
	return &b.result, nil
}

// fill puts questions into the free places of a socket's window and returns how
// many there are to send.
func (b *blaster) fill(s *socket, out *batch) int {
	n := 0
	for len(s.free) > 0 {
		q := b.question()
		if q == nil {
			break
		}
		s.put(out.message(n), q, b.now)
		out.iovs[n].SetLen(len(q))
		n++
	}
	return n
}

// question returns what is to be asked next, nil if nothing is.
func (b *blaster) question() []byte {
	if len(b.again) > 0 && b.again[0].from <= b.now {
		q := b.again[0].query
		b.again = b.again[1:]
		return q
	}
	if b.next >= len(b.queries) {
		if b.Once {
			return nil
		}
		b.next = 0
	}
	b.next++
	return b.queries[b.next-1]
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
	s := &socket{fd: fd, sent: make([]int64, l.Window), ids: make([]uint16, l.Window), busy: make([]bool, l.Window), asked: make([][]byte, l.Window)}
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
	s.ids[place], s.sent[place], s.busy[place], s.asked[place] = id, now, true, q
	copy(buf, q)
	buf[0], buf[1] = byte(id>>8), byte(id)
}

// take frees the place of a reply's question and counts the reply, if there was
// one.
func (b *blaster) take(s *socket, reply []byte) {
	if len(reply) < 12 || reply[2]&0x80 == 0 {
		return
	}
	id := uint16(reply[0])<<8 | uint16(reply[1])
	place := int(id) & (len(s.ids) - 1)
	if !s.busy[place] || s.ids[place] != id {
		return
	}
	s.busy[place] = false
	s.free = append(s.free, place)
	q := s.asked[place]
	good := !b.Check || right(q, reply, b.Secure)
	if !good && b.Insist {
		b.repeat(q)
	}
	if b.now < b.begin {
		return
	}
	b.h.add(b.now - s.sent[place])
	b.Received++
	b.Octets += int64(len(reply))
	b.Rcodes[reply[3]&15]++
	if reply[2]&2 != 0 {
		b.Truncated++
	}
	if !good && reply[3]&15 == 0 {
		b.Wrong++
	}
}

// expire frees the places of questions that got no reply in time.
func (b *blaster) expire(s *socket) {
	for place, busy := range s.busy {
		if !busy || b.now-s.sent[place] <= b.Loss.Nanoseconds() {
			continue
		}
		s.busy[place] = false
		s.free = append(s.free, place)
		if b.now >= b.begin {
			b.Lost++
		}
		if b.Insist {
			b.repeat(s.asked[place])
		}
	}
}

func (b *blaster) repeat(q []byte) {
	b.again = append(b.again, unanswered{q, b.now + b.Loss.Nanoseconds()})
	b.repeats++
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
