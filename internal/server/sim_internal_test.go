package server

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// A simConn is the server's end of a simulated connection. What is written waits
// until the other end reads it: the system holds nothing.
type simConn struct {
	net.Conn
	from, to netip.AddrPort
	reset    bool
}

func (c *simConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.from) }
func (c *simConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.to) }

func (c *simConn) SetLinger(int) error {
	c.reset = true
	return nil
}

// reply is a worker that answers with as many octets as the third and fourth octet
// of the question say, and with the idle timeout after the header.
type reply struct{}

func (reply) NewWorker() Worker { return reply{} }

func (reply) Handle(q []byte, p *Peer, _ int64, r []byte) int {
	copy(r, q[:headerLen])
	binary.BigEndian.PutUint16(r[headerLen:], p.Idle)
	return int(binary.BigEndian.Uint16(q[2:]))
}

// ask returns a framed question for an answer of n octets.
func ask(id, n int) []byte {
	q := make([]byte, 2+headerLen)
	q[1] = headerLen
	binary.BigEndian.PutUint16(q[2:], uint16(id))
	binary.BigEndian.PutUint16(q[4:], uint16(n))
	return q
}

// sim is a server without sockets.
func sim(t *testing.T, l Limits) *Server {
	t.Helper()
	o, err := Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, Handler: reply{}, Limits: l}.fill()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(o)
	s.makeWorkers()
	return s
}

// connect returns the client's end of a new connection, and the server's.
func connect(s *Server, from string) (net.Conn, *simConn) {
	client, mine := net.Pipe()
	c := &simConn{Conn: mine, from: netip.AddrPortFrom(netip.MustParseAddr(from), 4000), to: s.options.Addrs[0]}
	s.tcp.admit(c)
	return client, c
}

// until waits for c to be closed, and returns after how long that was.
func until(c net.Conn) time.Duration {
	begin := time.Now()
	_, _ = io.Copy(io.Discard, c)
	return time.Since(begin)
}

// exchangeSim asks one question and returns the idle timeout that the answer says.
func exchangeSim(t *testing.T, c net.Conn, id, n int) uint16 {
	t.Helper()
	if _, err := c.Write(ask(id, n)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2+n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	if int(binary.BigEndian.Uint16(b)) != n || int(binary.BigEndian.Uint16(b[2:])) != id {
		t.Fatalf("answer of %d octets with ID %d, want %d with %d", binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), n, id)
	}
	return binary.BigEndian.Uint16(b[2+headerLen:])
}

func TestSimTimes(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  func(t *testing.T, c net.Conn)
		want time.Duration // until the connection is closed
	}{
		{"silence", func(*testing.T, net.Conn) {}, defaultIdle},
		{"silence after a question", func(t *testing.T, c net.Conn) { exchangeSim(t, c, 1, 100) }, defaultIdle},
		{"half a length", func(_ *testing.T, c net.Conn) { _, _ = c.Write([]byte{0}) }, defaultQuestion},
		{"half a question", func(_ *testing.T, c net.Conn) { _, _ = c.Write(ask(1, 100)[:9]) }, defaultQuestion},
		{"half a question after a whole one", func(t *testing.T, c net.Conn) {
			exchangeSim(t, c, 1, 100)
			time.Sleep(time.Second)
			_, _ = c.Write(ask(1, 100)[:9])
		}, defaultQuestion},
		{"an octet every 200 ms", func(_ *testing.T, c net.Conn) {
			begin := time.Now()
			for _, b := range append([]byte{0, 40}, make([]byte, 40)...) {
				if _, err := c.Write([]byte{b}); err != nil {
					break
				}
				time.Sleep(200 * time.Millisecond)
			}
			if took := time.Since(begin); took < defaultQuestion || took > defaultQuestion+200*time.Millisecond {
				t.Errorf("closed after %v, want %v", took, defaultQuestion)
			}
		}, 0},
		{"an octet every 200 ms, in time", func(t *testing.T, c net.Conn) {
			q := ask(7, 100)
			for _, b := range q[:len(q)-1] {
				_, _ = c.Write([]byte{b})
				time.Sleep(200 * time.Millisecond)
			}
			_, _ = c.Write(q[len(q)-1:])
			if _, err := io.ReadFull(c, make([]byte, 102)); err != nil {
				t.Error(err)
			}
		}, defaultIdle},
		{"a frame of length 0", func(_ *testing.T, c net.Conn) { _, _ = c.Write([]byte{0, 0}) }, 0},
		{"a frame shorter than a header", func(_ *testing.T, c net.Conn) { _, _ = c.Write([]byte{0, 11}) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim(t, Limits{})
				c, _ := connect(s, "192.0.2.1")
				tt.use(t, c)
				if got := until(c); got != tt.want {
					t.Errorf("closed after %v, want %v", got, tt.want)
				}
				s.conns.Wait()
				if n := s.tcp.open(); n != 0 {
					t.Errorf("%d open", n)
				}
			})
		})
	}
}

// TestSimStall has a client that asks and never reads.
func TestSimStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sim(t, Limits{})
		c, mine := connect(s, "192.0.2.1")
		if _, err := c.Write(ask(1, 60000)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		s.conns.Wait()
		if took := time.Since(begin); took != defaultStall || !mine.reset {
			t.Errorf("closed after %v (reset: %v), want a reset after %v", took, mine.reset, defaultStall)
		}
		if st := s.Stats(); st.Stalled != 1 || st.TCP.SendErrors != 1 || st.TCP.Sent != 0 {
			t.Errorf("counters %+v", st)
		}
		if n := s.tcp.unsent.Load(); n != 0 {
			t.Errorf("%d octets unsent after all", n)
		}
	})
}

// TestSimUnsent has clients that do not read, of as many networks as come to fill the
// memory there is for that: each network gets as much as is free besides, so that there
// is always some for the next, and none can take it from others.
func TestSimUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, room = 50000, 24
		s := sim(t, Limits{})
		s.tcp.unsentMax = room * (2 + each)
		stalled := 0
		for i, most := range []int{12, 6, 3, 1, 1, 0} { // of 24, 12, 6, 3, 2, 1
			for n := range most + 1 {
				c, mine := connect(s, netip.AddrFrom4([4]byte{192, 0, byte(i), byte(n)}).String())
				_, _ = c.Write(ask(1, each))
				synctest.Wait()
				if n == most {
					stalled++
				}
				if st := s.Stats(); st.Stalled != uint64(stalled) || mine.reset != (n == most) {
					t.Fatalf("client %d of network %d: reset: %v, %d of all, want %d", n, i, mine.reset, st.Stalled, stalled)
				}
			}
		}
		const kept = 12 + 6 + 3 + 1 + 1
		if got := s.tcp.unsent.Load(); got != kept*(2+each) {
			t.Errorf("%d octets wait, want %d", got, kept*(2+each))
		}
		s.conns.Wait()
		if st := s.Stats(); st.Stalled != uint64(stalled+kept) || s.tcp.unsent.Load() != 0 {
			t.Errorf("counters %+v, %d octets unsent", st, s.tcp.unsent.Load())
		}
	})
}

// TestSimIdleFalls fills the table and reads what is granted as it fills.
func TestSimIdleFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sim(t, Limits{Conns: 10, PerAddr: 10})
		want := []uint16{100, 100, 100, 100, 100, 82, 64, 46, 28, 10}
		var cs []net.Conn
		for i, w := range want {
			c, _ := connect(s, "192.0.2.1")
			if got := exchangeSim(t, c, i, 100); got != w {
				t.Errorf("idle timeout %d with %d connections, want %d", got, i+1, w)
			}
			synctest.Wait() // until it listens again
			cs = append(cs, c)
		}
		if got, want := until(cs[9]), defaultIdleMin; got != want {
			t.Errorf("the last was closed after %v, want %v", got, want)
		}
		s.conns.Wait()
		if st := s.Stats(); st.TimedOut != 10 {
			t.Errorf("counters %+v, want 10 timed out", st)
		}
	})
}

// TestSimEviction fills the table from two networks: the one that has more loses
// the connection that was silent longest.
func TestSimEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sim(t, Limits{Conns: 5, Idle: time.Minute, IdleMin: time.Minute})
		heavy := make([]net.Conn, 3)
		light := make([]net.Conn, 2)
		for i := range light { // older than all others
			light[i], _ = connect(s, "2001:db8:0:1::1")
			time.Sleep(time.Second)
		}
		for i := range heavy {
			heavy[i], _ = connect(s, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
			time.Sleep(time.Second)
		}
		exchangeSim(t, heavy[0], 1, 100) // now heavy[1] is silent longest
		c, _ := connect(s, "198.51.100.1")
		exchangeSim(t, c, 2, 100)
		if got := until(heavy[1]); got != 0 {
			t.Errorf("evicted after %v, want at once", got)
		}
		for _, c := range append(light, heavy[0], heavy[2]) {
			exchangeSim(t, c, 3, 100)
		}
		if st := s.Stats(); st.Evicted != 1 || st.Open != 5 {
			t.Errorf("counters %+v", st)
		}
		s.tcp.closeAll()
	})
}

func TestSimCeilings(t *testing.T) {
	four := func(i int) string { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String() }
	for _, tt := range []struct {
		name string
		from func(i int) string
		most int
	}{
		{"one address", func(int) string { return "192.0.2.1" }, defaultPerAddr},
		{"a /24", four, defaultPerPrefix},
		{"a /64", func(i int) string { return netip.MustParsePrefix("2001:db8::/64").Addr().Next().String() }, defaultPerAddr},
		{"addresses of a /64", func(i int) string {
			a := netip.MustParseAddr("2001:db8::").As16()
			a[15] = byte(i)
			return netip.AddrFrom16(a).String()
		}, defaultPerAddr},
		{"a /56", func(i int) string {
			a := netip.MustParseAddr("2001:db8::").As16()
			a[7] = byte(i)
			return netip.AddrFrom16(a).String()
		}, defaultPerPrefix},
		{"everywhere", func(i int) string { return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String() }, defaultConns},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sim(t, Limits{})
				for i := range tt.most {
					connect(s, tt.from(i))
				}
				if st := s.Stats(); st.Open != tt.most || st.Refused != 0 || st.Evicted != 0 {
					t.Errorf("at the bound: %+v", st)
				}
				c, mine := connect(s, tt.from(tt.most))
				st := s.Stats()
				switch {
				case tt.most == defaultConns: // one makes room
					if st.Evicted != 1 || st.Refused != 0 || st.Open != tt.most {
						t.Errorf("past the bound: %+v", st)
					}
				case st.Refused != 1 || st.Open != tt.most || !mine.reset || until(c) != 0:
					t.Errorf("past the bound: %+v", st)
				}
				other, _ := connect(s, "203.0.113.1")
				exchangeSim(t, other, 1, 100)
				s.tcp.closeAll()
			})
		})
	}
}

// TestSimPipelining sends questions cut at every place, and wants the answers in
// order and together.
func TestSimPipelining(t *testing.T) {
	var all, want []byte
	for i := range 5 {
		all = append(all, ask(i, 100)...)
		a := make([]byte, 102)
		a[1] = 100
		copy(a[2:], ask(i, 100)[2:])
		want = append(want, a...)
	}
	for cut := range len(all) {
		synctest.Test(t, func(t *testing.T) {
			s := sim(t, Limits{Idle: 1 * time.Millisecond})
			c, _ := connect(s, "192.0.2.1")
			go func() {
				_, _ = c.Write(all[:cut])
				_, _ = c.Write(all[cut:])
			}()
			got, err := io.ReadAll(c)
			for i := range 5 { // what the worker leaves as it was
				if len(got) == len(want) {
					clear(got[102*i+2+headerLen : 102*(i+1)])
				}
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("cut at %d: %d octets, %v", cut, len(got), err)
			}
		})
	}
}
