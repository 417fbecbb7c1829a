package server

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// detaching makes workers that hand out what they detach.
type detaching chan Responder

func (d detaching) NewWorker() Worker { return detacher{d} }

// waiting returns a server and the responders of n queries that each client has sent, whose first octets number them.
func waiting(t *testing.T, addr string, n int, clients []net.Conn) (*Server, []Responder) {
	t.Helper()
	later := make(detaching, 1000)
	s, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort(addr)}, Handler: later, Workers: 1})
	if err != nil {
		t.Skip(err) // no IPv6
	}
	go func() { _ = s.Serve(t.Context()) }()
	t.Cleanup(func() { _ = s.Shutdown(t.Context()) })
	var all []Responder
	for i := range clients {
		to := "127.0.0.1"
		if i%2 == 1 {
			to = "127.0.0.2"
		}
		if netip.MustParseAddrPort(addr).Addr().Is6() {
			to = "::1"
		}
		c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(to), s.udp[0].port).String())
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		clients[i] = c
		for range n {
			if _, err := c.Write(make([]byte, 20)); err != nil {
				t.Fatal(err)
			}
			all = append(all, <-later)
		}
	}
	return s, all
}

// held keeps all from sending on a socket until the returned function is called.
func held(u *udpSocket) (release func()) {
	begun, end := make(chan struct{}), make(chan struct{})
	go func() {
		_ = u.now.raw.Write(func(uintptr) bool {
			close(begun)
			<-end
			return true
		})
	}()
	<-begun
	return func() { close(end) }
}

// numbered is an answer of n octets that says which one it is.
func numbered(i, n int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, n)
	binary.BigEndian.PutUint16(b, uint16(i))
	return b
}

// TestOutbox has answers that come while others cannot be sent leave together, each to who has asked and from the address
// that was asked, more than fit into one batch as well; and it has none together where few wait.
func TestOutbox(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		for _, n := range []int{9, 16, 40} { // of each of four clients; the last are more than a batch
			clients := make([]net.Conn, 4)
			if addr == "127.0.0.1:0" {
				clients = clients[:1]
				n *= 4
			}
			s, all := waiting(t, addr, n, clients)
			u := s.udp[0]
			release := held(u)
			var others []int // are sent by who has them: few wait, or there is no room
			for i, r := range all {
				x, few := r.(*udpResponder), s.udpPending.Load() < togetherFrom
				taken := u.outbox.put(numbered(i, 100+i), x.control, x.to)
				if taken && few {
					t.Error("an answer waits though few are awaited")
				}
				if !taken {
					others = append(others, i)
					continue
				}
				r.Close()
			}
			if put := len(all) - len(others); put < min(len(all)-togetherFrom+1, udpBatch) {
				t.Errorf("%s: %d of %d answers are put in", addr, put, len(all))
			}
			release()
			for _, i := range others {
				if err := all[i].Reply(numbered(i, 100+i)); err != nil {
					t.Error(err)
				}
				all[i].Close()
			}
			received(t, clients, n)
			s.udpOwed.Wait() // what is sent is counted afterwards
			if st := s.Stats().UDP; st.SendErrors != 0 || st.Sent != uint64(len(all)) {
				t.Errorf("%s: %d of %d sent, %d errors", addr, st.Sent, len(all), st.SendErrors)
			}
		}
	}
}

// received wants each client to get the answers to its n queries. A connected socket gets nothing from another address.
func received(t *testing.T, clients []net.Conn, n int) {
	t.Helper()
	b := make([]byte, 4096)
	for k, c := range clients {
		seen := map[int]bool{}
		for range n {
			size, err := c.Read(b)
			if err != nil {
				t.Fatalf("client %d after %d answers: %v", k, len(seen), err)
			}
			i := int(binary.BigEndian.Uint16(b))
			if i/n != k || seen[i] || !bytes.Equal(b[:size], numbered(i, 100+i)) {
				t.Errorf("client %d: answer %d of %d octets", k, i, size)
			}
			seen[i] = true
		}
	}
}

// TestOutboxShutdown has a server that ends wait for answers that are put in and not sent.
func TestOutboxShutdown(t *testing.T) {
	clients := make([]net.Conn, 1)
	const n = 2 * togetherFrom
	s, all := waiting(t, "127.0.0.1:0", n, clients)
	release := held(s.udp[0])
	for i, r := range all {
		if x := r.(*udpResponder); i < togetherFrom && !s.udp[0].outbox.put(numbered(i, 100+i), x.control, x.to) {
			t.Fatal("it is not put in")
		}
	}
	for _, r := range all {
		r.Close()
	}
	owed := make(chan struct{})
	go func() {
		s.udpOwed.Wait()
		close(owed)
	}()
	for range 10_000 {
		runtime.Gosched()
	}
	select {
	case <-owed:
		t.Error("nothing is owed, though answers wait")
	default:
	}
	release()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	received(t, clients, togetherFrom)
	if !s.udp[0].outbox.idle() {
		t.Error("answers are left")
	}
}

// idle reports whether nothing waits, and nothing of what was sent is kept.
func (o *outbox) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range []*outBatch{o.waiting, o.spare} {
		if b == nil {
			continue
		}
		if b.n != 0 {
			return false
		}
		for i := range b.vec {
			if b.vec[i].Base != nil || b.tx[i].hdr.Control != nil {
				return false
			}
		}
	}
	return true
}
