package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type detacher struct{ later chan Responder }

func (d detacher) Handle(_ []byte, p *Peer, _ int64, _ []byte) int {
	r, _ := p.Detach()
	d.later <- r
	return Pending
}

// simLater is sim with workers that detach every question and hand it out.
func simLater(t *testing.T, l Limits) (*Server, chan Responder) {
	t.Helper()
	s, later := sim(t, l), make(chan Responder, 1000)
	workers(s, detacher{later})
	return s, later
}

// workers has every worker of s be w.
func workers(s *Server, w Worker) {
	for range cap(s.slots) {
		slot := <-s.slots
		slot.worker = w
		s.slots <- slot
	}
}

// pipeline asks questions as long as they are read.
func pipeline(c net.Conn, questions int) {
	go func() {
		for i := range questions {
			if _, err := c.Write(ask(i, 100)); err != nil {
				return
			}
		}
	}()
}

// reads reads one answer of n octets with an ID.
func reads(t *testing.T, c net.Conn, id, n int) {
	t.Helper()
	b := make([]byte, 2+n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	if int(binary.BigEndian.Uint16(b)) != n || int(binary.BigEndian.Uint16(b[2:])) != id {
		t.Fatalf("answer of %d octets with ID %d, want %d with %d", binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), n, id)
	}
}

// message returns an answer of n octets with an ID.
func message(id, n int) []byte {
	m := make([]byte, n)
	binary.BigEndian.PutUint16(m, uint16(id))
	return m
}

// TestSimLaterNobodyReads has clients of several addresses and networks that ask for the
// longest answers and read none, and are as many as one address, or all, may be. Giving
// their answers takes no time, and neither does the answer of one who reads.
func TestSimLaterNobodyReads(t *testing.T) {
	for _, tt := range []struct {
		name  string
		conns int
		from  func(i int) string
	}{
		{"one connection", 1, func(int) string { return "192.0.2.1" }},
		{"one address", defaultPerAddr, func(int) string { return "192.0.2.1" }},
		{"one network", defaultPerPrefix, func(i int) string { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i / 4)}).String() }},
		{"many networks", 400, func(i int) string { return netip.AddrFrom4([4]byte{10, 0, byte(i / 4), 1}).String() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, later := simLater(t, Limits{})
				for i := range tt.conns {
					c, _ := connect(s, tt.from(i))
					pipeline(c, 40)
				}
				synctest.Wait()
				owed := len(later)
				if want := min(tt.conns*defaultPending, cap(later)); owed != want {
					t.Fatalf("%d answers are owed, want %d", owed, want)
				}
				begin := time.Now()
				for len(later) > 0 {
					for range len(later) {
						r := <-later
						_ = r.Reply(make([]byte, 65535)) // it may be one too many
						r.Close()
					}
					synctest.Wait() // others are handed out, if answers fell to a connection that was reset
				}
				if got := s.tcp.unsent.Load(); got > unsentMax || got < min(int64(tt.conns*defaultPending*65537), unsentMax/4) {
					t.Errorf("%d octets wait", got)
				}
				other, _ := connect(s, "203.0.113.1")
				_, _ = other.Write(ask(7, 100))
				r := <-later
				if err := r.Reply(message(7, 65535)); err != nil {
					t.Fatal(err)
				}
				r.Close()
				reads(t, other, 7, 65535)
				if took := time.Since(begin); took != 0 {
					t.Errorf("it took %v, want no time", took)
				}
				if got := s.Stats().Open; got < 2 {
					t.Errorf("%d connections are open", got)
				}
				time.Sleep(defaultStall)
				synctest.Wait()
				if st := s.Stats(); st.Open != 1 || int(st.Stalled) != tt.conns || st.Pending != 0 || s.tcp.unsent.Load() != 0 {
					t.Errorf("after %v: %+v, %d octets wait", defaultStall, st, s.tcp.unsent.Load())
				}
				other.Close()
				s.conns.Wait()
			})
		})
	}
}

// TestSimLaterOwed has answers that were given and not read: they are owed until they
// have left, and while too many are, nothing is read.
func TestSimLaterOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, later := simLater(t, Limits{Pending: 3})
		c, _ := connect(s, "192.0.2.1")
		pipeline(c, 5)
		synctest.Wait()
		for i := range 3 {
			r := <-later
			if err := r.Reply(message(i, 65535)); err != nil {
				t.Fatal(err)
			}
			r.Close()
		}
		synctest.Wait()
		if len(later) != 0 || s.Stats().Pending != 0 {
			t.Fatalf("%d questions more were taken, %+v", len(later), s.Stats())
		}
		for i := range 3 {
			reads(t, c, i, 65535)
			synctest.Wait()
			if len(later) != min(i+1, 2) {
				t.Errorf("after %d answers were read, %d questions were taken", i+1, len(later))
			}
		}
		c.Close()
		(<-later).Close()
		(<-later).Close()
		s.conns.Wait()
	})
}

// TestSimLaterQueue fills the queue of a connection, and gives it one more octet.
func TestSimLaterQueue(t *testing.T) {
	for _, over := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const fit = 3 + 2 // what may be owed, and the straight path's
			s, later := simLater(t, Limits{Pending: 3})
			c, mine := connect(s, "192.0.2.1")
			pipeline(c, 1)
			r := <-later
			for i := range fit {
				if err := r.Reply(make([]byte, 65535)); err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
			}
			synctest.Wait()
			if got := s.tcp.unsent.Load(); got != fit*65537 || mine.reset {
				t.Errorf("%d octets wait, want %d; reset: %v", got, fit*65537, mine.reset)
			}
			if over {
				if err := r.Reply(make([]byte, 12)); !errors.Is(err, ErrGone) || !mine.reset {
					t.Errorf("one more: error %v, reset: %v", err, mine.reset)
				}
			} else {
				for range fit {
					reads(t, c, 0, 65535)
				}
			}
			r.Close()
			c.Close()
			s.conns.Wait()
			if st := s.Stats(); s.tcp.unsent.Load() != 0 || st.Stalled != map[bool]uint64{true: 1}[over] || st.TCP.Sent+st.TCP.SendErrors != fit+st.Stalled {
				t.Errorf("%d octets wait after all, %+v", s.tcp.unsent.Load(), st)
			}
		})
	}
}

// TestSimLaterSlow has a client that reads one octet a second: it takes no answer in
// time, and is cut off as if it read nothing.
func TestSimLaterSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, later := simLater(t, Limits{})
		c, mine := connect(s, "192.0.2.1")
		pipeline(c, 40)
		synctest.Wait()
		for range defaultPending {
			r := <-later
			if err := r.Reply(make([]byte, 47000)); err != nil {
				t.Fatal(err)
			}
			r.Close()
		}
		begin, octets := time.Now(), 0
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					return
				}
				octets++
				time.Sleep(time.Second)
			}
		})
		s.conns.Wait()
		took := time.Since(begin)
		if reading.Wait(); took != defaultStall || !mine.reset || octets < int(defaultStall/time.Second) {
			t.Errorf("cut off after %v and %d octets (reset: %v), want %v", took, octets, mine.reset, defaultStall)
		}
		if st := s.Stats(); st.Stalled != 1 || st.TCP.Sent != 0 || st.TCP.SendErrors != defaultPending || s.tcp.unsent.Load() != 0 {
			t.Errorf("%+v, %d octets wait", st, s.tcp.unsent.Load())
		}
	})
}

// TestSimLaterPatience has a client that takes each answer, but none before it must: all
// come, however long that is together.
func TestSimLaterPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, later := simLater(t, Limits{})
		c, _ := connect(s, "192.0.2.1")
		const questions = 40
		pipeline(c, questions)
		go func() {
			for range questions {
				r := <-later
				_ = r.Reply(make([]byte, 60000))
				r.Close()
			}
		}()
		for range questions {
			time.Sleep(defaultStall - time.Millisecond)
			reads(t, c, 0, 60000)
		}
		if got := until(c); got != defaultIdle {
			t.Errorf("closed after %v, want %v", got, defaultIdle)
		}
		s.conns.Wait()
		if st := s.Stats(); st.TCP.Sent != questions || st.Stalled != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A mixed worker answers even IDs at once and odd ones later, with as many octets as
// the question says.
type mixed struct {
	reply
	later func(r Responder, m []byte)
}

func (m mixed) Handle(q []byte, p *Peer, now int64, r []byte) int {
	if q[1]%2 == 0 {
		return m.reply.Handle(q, p, now, r)
	}
	later, _ := p.Detach()
	m.later(later, message(int(binary.BigEndian.Uint16(q)), int(binary.BigEndian.Uint16(q[2:]))))
	return Pending
}

// TestSimLaterMixed has answers of all sizes come at once and later, by Reply and by
// Stream, to a client that reads as it likes: each is whole, and comes once.
func TestSimLaterMixed(t *testing.T) {
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			const questions = 200
			rnd := rand.New(rand.NewPCG(seed, 53))
			s := sim(t, Limits{Pending: 1 + rnd.IntN(20)})
			var mu sync.Mutex // of rnd, once there are several who draw
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return rnd.IntN(n)
			}
			workers(s, mixed{later: func(r Responder, m []byte) {
				go func() {
					defer r.Close()
					time.Sleep(time.Duration(draw(300)) * time.Millisecond)
					send := r.Reply
					if draw(4) == 0 {
						send = r.Stream
					}
					if err := send(m); err != nil {
						t.Error(err)
					}
				}()
			}})
			c, _ := connect(s, "192.0.2.1")
			sizes := make([]int, questions)
			for i := range sizes {
				sizes[i] = []int{20, 300, 1200, 30000, 65535}[rnd.IntN(5)]
			}
			go func() {
				for i, n := range sizes {
					_, _ = c.Write(ask(i, n))
					if draw(10) == 0 {
						time.Sleep(time.Duration(draw(100)) * time.Millisecond)
					}
				}
			}()
			seen := map[int]bool{}
			var length [2]byte
			for range questions {
				if draw(10) == 0 {
					time.Sleep(time.Duration(draw(1000)) * time.Millisecond)
				}
				if _, err := io.ReadFull(c, length[:]); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				m := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(c, m); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				id := int(binary.BigEndian.Uint16(m))
				if id >= questions || seen[id] || len(m) != sizes[id] {
					t.Fatalf("seed %d: answer %d of %d octets, seen before: %v", seed, id, len(m), seen[id])
				}
				seen[id] = true
			}
			if got := until(c); got != defaultIdle {
				t.Errorf("seed %d: closed after %v, want %v", seed, got, defaultIdle)
			}
			s.conns.Wait()
			if st := s.Stats(); st.TCP.Sent != questions || st.TCP.SendErrors != 0 || s.tcp.unsent.Load() != 0 {
				t.Errorf("seed %d: %+v, %d octets wait", seed, st, s.tcp.unsent.Load())
			}
		})
	}
}

// TestSimLaterAbuse is TestSimLaterMixed with clients that go, or stop reading, at any
// moment: nothing is left of them.
func TestSimLaterAbuse(t *testing.T) {
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 54))
			s := sim(t, Limits{Pending: 1 + rnd.IntN(20)})
			s.tcp.unsentMax = 1 << 20
			var giving sync.WaitGroup
			workers(s, mixed{later: func(r Responder, m []byte) {
				wait, stream := time.Duration(m[1])*time.Millisecond, m[1]%8 == 1
				giving.Go(func() {
					defer r.Close()
					time.Sleep(wait)
					if stream {
						_ = r.Stream(m)
						return
					}
					_ = r.Reply(m)
				})
			}})
			for i := range 10 {
				c, _ := connect(s, fmt.Sprintf("192.0.%d.1", i))
				reads, octets := time.Duration(rnd.IntN(20_000))*time.Millisecond, 1+rnd.Int64N(100_000)
				go func() {
					for id := range 100 {
						if _, err := c.Write(ask(id, 20+id*650)); err != nil {
							return
						}
					}
				}()
				go func() {
					for end := time.Now().Add(reads); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
						if _, err := io.CopyN(io.Discard, c, octets); err != nil {
							return
						}
					}
					if octets%2 == 0 {
						c.Close()
					}
				}()
			}
			s.conns.Wait()
			giving.Wait()
			if st := s.Stats(); st.Open != 0 || st.Pending != 0 || s.tcp.unsent.Load() != 0 || st.TCP.Sent == 0 {
				t.Errorf("seed %d: %+v, %d octets wait", seed, st, s.tcp.unsent.Load())
			}
		})
	}
}

// TestSimOwed has a client that waits longer for an answer than it may be silent: it waits for
// us, which is no idleness.
func TestSimOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, later := simLater(t, Limits{})
		c, _ := connect(s, "192.0.2.1")
		_, _ = c.Write(ask(1, 100))
		r := <-later
		time.Sleep(2 * defaultIdle)
		go func() {
			defer r.Close()
			if err := r.Reply(make([]byte, 100)); err != nil {
				t.Error(err)
			}
		}()
		if _, err := io.CopyN(io.Discard, c, 102); err != nil {
			t.Fatal(err)
		}
		if got := until(c); got != defaultIdle {
			t.Errorf("closed %v after the answer, want %v", got, defaultIdle)
		}
	})
}

// TestSimTransfer has one answer of many messages, and a client that takes its time
// with each but never too much. Another answer on the connection waits for none of them
// to be made.
func TestSimTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 20
		s, later := simLater(t, Limits{})
		c, _ := connect(s, "192.0.2.1")
		pipeline(c, 2)
		r, other := <-later, <-later
		sent := 0
		var failed error
		go func() {
			defer r.Close()
			for range messages {
				if failed = r.Stream(message(1, 65535)); failed != nil {
					return
				}
				sent++
			}
			failed = nil
		}()
		synctest.Wait()
		begin := time.Now()
		if err := other.Reply(message(2, 100)); err != nil || time.Since(begin) != 0 {
			t.Errorf("the other answer: error %v after %v", err, time.Since(begin))
		}
		other.Close()
		for i := range messages {
			time.Sleep(defaultStall - time.Millisecond)
			synctest.Wait()
			if sent != i {
				t.Fatalf("%d messages sent, want %d: the client has read no more", sent, i)
			}
			reads(t, c, 1, 65535)
			if i == 0 {
				reads(t, c, 2, 100)
			}
		}
		if got := until(c); got != defaultIdle || failed != nil {
			t.Errorf("closed after %v, error %v; want %v", got, failed, defaultIdle)
		}
		for _, send := range []func([]byte) error{r.Reply, r.Stream} {
			if err := send(make([]byte, 12)); !errors.Is(err, ErrGone) {
				t.Errorf("after the end: error %v, want ErrGone", err)
			}
			if err := send(make([]byte, 65536)); !errors.Is(err, ErrTooLong) {
				t.Errorf("65,536 octets: error %v, want ErrTooLong", err)
			}
		}
		s.conns.Wait()
	})
}

// A message of a transfer waits for what is left in the queue, of which a part may have been
// sent: the rest comes next, whoever has the turn.
func TestStreamBehindQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sim(t, Limits{})
		client, mine := net.Pipe()
		c := newTCPConn(&s.tcp, &simConn{Conn: mine, from: netip.MustParseAddrPort("192.0.2.1:4000"), to: s.options.Addrs[0]})
		c.network = &network{}
		c.out.queue = []*outgoing{{body: []byte("rest of an answer"), answers: 1}}
		c.out.octets = c.out.queue[0].size()
		go func() {
			if err := c.out.stream([]byte("message")); err != nil {
				t.Error(err)
			}
			c.close()
		}()
		synctest.Wait()
		go c.out.flush()
		got, err := io.ReadAll(client)
		if want := "rest of an answer\x00\x07message"; string(got) != want {
			t.Errorf("%q is sent (%v), want %q", got, err, want)
		}
	})
}
