package engine

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/server"
	"port53/internal/wire"
)

// A meter is a responder that notes when how much was sent.
type meter struct {
	mu     sync.Mutex
	at     []time.Time
	octets []int
	cut    int // replies that are truncated
	closed int
}

func (m *meter) Reply(msg []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.octets = append(m.at, time.Now()), append(m.octets, len(msg))
	if msg[2]&2 != 0 {
		m.cut++
	}
	return nil
}

func (m *meter) Stream(msg []byte) error { return m.Reply(msg) }

func (m *meter) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
}

// heaviest returns the most octets of any 50 ms.
func (m *meter) heaviest() (most int) {
	for i := range m.at {
		total := 0
		for j := i; j < len(m.at) && m.at[j].Sub(m.at[i]) < 50*time.Millisecond; j++ {
			total += m.octets[j]
		}
		most = max(most, total)
	}
	return most
}

// TestLateRepliesArePaced has a client's questions, however they come, answered all at once
// when they are old (DNSBomb, CVE-2024-33655): in no 50 ms it gets more than twice what its
// questions brought in 50 ms, and each gets its answer.
func TestLateRepliesArePaced(t *testing.T) {
	for _, every := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 49 * time.Millisecond, 60 * time.Millisecond} {
		for _, size := range []int{0, 16, 40, 200, 1100} {
			t.Run(fmt.Sprint(every, " ", size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const questions = 64
					e, _ := newTestEngine()
					in, out := &meter{}, &meter{}
					var waiting []*pending
					for range questions {
						p := waits(e, out, server.UDP)
						_ = in.Reply(p.msg)
						waiting = append(waiting, p)
						time.Sleep(every)
					}
					time.Sleep(time.Second + 1)
					for _, p := range waiting {
						p.Answer(answerOf(size), "")
					}
					time.Sleep(10 * time.Second)
					synctest.Wait()
					if len(out.at) != questions || out.closed != questions {
						t.Errorf("%d replies to %d questions, %d done", len(out.at), questions, out.closed)
					}
					if got, most := out.heaviest(), 2*in.heaviest(); got > most {
						t.Errorf("%d octets in 50 ms, want at most %d", got, most)
					}
					if size < 30 && out.cut > 0 {
						t.Errorf("%d short replies are truncated", out.cut)
					}
				})
			})
		}
	}
}

// answerOf returns an answer whose records have so many octets, or SERVFAIL.
func answerOf(size int) *cache.Answer {
	if size == 0 {
		return &cache.Answer{Rcode: wire.ServFail, EDE: wire.EDENoReachableAuthority}
	}
	body := append([]byte{0xC0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, byte(size - 12)}, make([]byte, size-12)...)
	if size > 267 {
		body[10], body[11] = byte((size-12)>>8), byte(size-12)
	}
	return &cache.Answer{Body: body, Counts: [3]uint16{1}, TTL: 60, EDE: -1}
}

// TestWhoIsNotPaced has old answers sent whole and at once to whoever is not forged, young ones
// to anybody, and one client does not wait for another.
func TestWhoIsNotPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []struct {
			what   string
			age    time.Duration
			change func(p *pending)
			paced  bool
		}{
			{"an old answer over UDP", 2 * time.Second, func(*pending) {}, true},
			{"one of a second", time.Second, func(*pending) {}, false},
			{"over TCP", 2 * time.Second, func(p *pending) { p.peer.Transport = server.TCP }, false},
			{"with a cookie", 2 * time.Second, func(p *pending) { p.genuine = true }, false},
			{"to this machine", 2 * time.Second, func(p *pending) { p.peer.Remote = netip.MustParseAddrPort("127.0.0.1:4000") }, false},
		} {
			e, _ := newTestEngine()
			out := &meter{}
			var all []*pending
			for range 10 {
				p := waits(e, out, server.UDP)
				s.change(p)
				all = append(all, p)
			}
			other := waits(e, &meter{}, server.UDP)
			other.peer.Remote = netip.MustParseAddrPort("192.0.2.2:4000")
			time.Sleep(s.age)
			for _, p := range all {
				p.Answer(answerOf(200), "")
			}
			other.Answer(answerOf(30), "")
			out.mu.Lock()
			sent, cut := len(out.at), out.cut
			out.mu.Unlock()
			if at := other.to.(*meter).at; len(at) != 1 {
				t.Errorf("%s: another client got %d replies at once", s.what, len(at))
			}
			if s.paced == (sent-cut == 10) {
				t.Errorf("%s: %d of 10 replies at once, %d truncated", s.what, sent, cut)
			}
			time.Sleep(time.Minute)
		}
		if n := paced(netip.MustParseAddr("2001:db8:0:1ff::2")); n != paced(netip.MustParseAddr("2001:db8:0:100::1")) || n == paced(netip.MustParseAddr("2001:db8:0:200::1")) {
			t.Errorf("a site is %v", n)
		}
	})
}

// TestPacesAreForgotten has many clients, each of whom asks once.
func TestPacesAreForgotten(t *testing.T) {
	var c pacer
	now := time.Now()
	for i := range 10000 {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		c.room(a, now, now.Add(time.Second), 40)
		now = now.Add(time.Second)
	}
	if n := len(c.clients); n > 20 {
		t.Errorf("%d clients are remembered", n)
	}
}
