package upstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

// A peer is a server on loopback: over UDP it sends what udp returns, over TCP what
// tcp returns.
type peer struct {
	addr  netip.AddrPort
	close func() // before the test is over
	mu    sync.Mutex
	seen  []packet
	more  *sync.Cond // on mu, for await
}

type packet struct {
	from netip.AddrPort
	msg  []byte
	tcp  bool
}

func listen(t testing.TB, udp func(q []byte) [][]byte, tcp func(q []byte) [][]byte) *peer {
	t.Helper()
	return listenOn(t, netip.AddrFrom4([4]byte{127, 0, 0, 1}), udp, tcp)
}

func listenOn(t testing.TB, host netip.Addr, udp func(q []byte) [][]byte, tcp func(q []byte) [][]byte) *peer {
	t.Helper()
	l, u := bindBoth(t, host)
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	_ = u.SetReadBuffer(1 << 20)
	p := &peer{addr: addr}
	p.more = sync.NewCond(&p.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			p.note(packet{from, bytes.Clone(b[:n]), false})
			for _, r := range udp(bytes.Clone(b[:n])) {
				_, _ = u.WriteToUDPAddrPort(r, from)
			}
		}
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { c.Close() })
				defer stop()
				for {
					var size [2]byte
					if _, err := c.Read(size[:]); err != nil {
						return
					}
					q := make([]byte, binary.BigEndian.Uint16(size[:]))
					if _, err := c.Read(q); err != nil {
						return
					}
					p.note(packet{c.RemoteAddr().(*net.TCPAddr).AddrPort(), bytes.Clone(q), true})
					if tcp == nil {
						return
					}
					for _, r := range tcp(q) {
						_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
					}
				}
			})
		}
	})
	p.close = func() { u.Close(); l.Close(); wg.Wait() }
	t.Cleanup(p.close)
	return p
}

// bindBoth takes a port that is free for TCP and for UDP, where questions of other tests
// have random ones.
func bindBoth(t testing.TB, host netip.Addr) (*net.TCPListener, *net.UDPConn) {
	t.Helper()
	for tries := 0; ; tries++ {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return l, u
		}
		l.Close()
		if tries == 50 {
			t.Fatal(err)
		}
	}
}

func (p *peer) note(k packet) {
	p.mu.Lock()
	p.seen = append(p.seen, k)
	p.mu.Unlock()
	p.more.Broadcast()
}

// await waits until n packets have come.
func (p *peer) await(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.seen) < n {
		p.more.Wait()
	}
}

func (p *peer) packets() []packet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]packet(nil), p.seen...)
}

// echo makes a reply of a query: header and question, with flags.
func echo(q []byte, flags uint16) []byte {
	end := wire.HeaderLen
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	r := bytes.Clone(q[:end+5])
	binary.BigEndian.PutUint16(r[2:], wire.FlagQR|flags)
	clear(r[6:12])
	return r
}

func reply(flags uint16) func([]byte) [][]byte {
	return func(q []byte) [][]byte { return [][]byte{echo(q, flags)} }
}

func question() *upstream.Question {
	return &upstream.Question{Name: []byte("\x03www\x0dexampleexampl\x03com\x00"), Type: wire.TypeA, EDNS: true, DO: true, Timeout: 2 * time.Second, MixCase: true}
}

func client(t testing.TB) *upstream.Client {
	c := upstream.New(upstream.Options{Cookies: true})
	t.Cleanup(c.Close)
	return c
}

func TestExchange(t *testing.T) {
	p := listen(t, reply(wire.FlagAA), nil)
	c := client(t)
	r, err := c.Exchange(t.Context(), p.addr, question())
	if err != nil || r.TCP || r.Packets != 1 || r.RTT <= 0 || r.SuspectedSpoof {
		t.Fatalf("%+v %v", r, err)
	}
	q := p.packets()[0].msg
	var parsed wire.Query
	if bad := parsed.Parse(q); bad != 0 || !parsed.EDNS || !parsed.DO || parsed.UDPSize != 1232 || len(parsed.Cookie) != 8 || parsed.Flags != 0 {
		t.Errorf("query %x: %v %+v", q, bad, parsed)
	}
	if !bytes.Equal(r.Message, echo(q, wire.FlagAA)) {
		t.Errorf("reply %x", r.Message)
	}
	if timeout, state, probe := c.Estimate(p.addr); state != upstream.Good || probe || timeout != 300*time.Millisecond {
		t.Errorf("estimate %v %v %v", timeout, state, probe)
	}
}

// TestIgnored sends before the reply what must not be taken for it: once or twice is
// chance (RFC 5452, section 9.1).
func TestIgnored(t *testing.T) {
	for name, spoil := range map[string]func(r []byte){
		"another ID":       func(r []byte) { r[0] ^= 1 },
		"a query":          func(r []byte) { r[2] &^= 0x80 },
		"another opcode":   func(r []byte) { r[2] |= 0x28 },
		"another name":     func(r []byte) { r[14] = '-' },
		"another type":     func(r []byte) { r[len(r)-3]++ },
		"another class":    func(r []byte) { r[len(r)-1]++ },
		"two questions":    func(r []byte) { r[5] = 2 },
		"another ID, case": func(r []byte) { r[0] ^= 1; copy(r[12:], bytes.ToLower(r[12:])) },
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, func(q []byte) [][]byte {
				bad, good := echo(q, 0), echo(q, wire.FlagAA)
				spoil(bad)
				return [][]byte{bad, bad[:5], nil, bad, good}
			}, nil)
			r, err := client(t).Exchange(t.Context(), p.addr, question())
			if err != nil || r.Message[2]&4 == 0 {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
}

// TestGuessing has somebody who knows the port and tries IDs: after three the question
// goes over TCP, and no guess is taken.
func TestGuessing(t *testing.T) {
	p := listen(t, func(q []byte) [][]byte {
		var all [][]byte
		id := binary.BigEndian.Uint16(q)
		for i := range 300 {
			g := echo(q, wire.FlagTC)
			binary.BigEndian.PutUint16(g, id+uint16(i)-150) // the right one among them
			all = append(all, g)
		}
		return all
	}, reply(wire.FlagAA))
	r, err := client(t).Exchange(t.Context(), p.addr, question())
	if err != nil || !r.TCP || !r.SuspectedSpoof || r.Message[2]&4 == 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestTruncated(t *testing.T) {
	p := listen(t, reply(wire.FlagTC), reply(wire.FlagAA))
	c := client(t)
	for i := range 3 {
		r, err := c.Exchange(t.Context(), p.addr, question())
		if err != nil || !r.TCP || r.Packets != 2 || r.SuspectedSpoof {
			t.Fatalf("question %d: %+v %v", i, r, err)
		}
	}
	from := map[netip.AddrPort]bool{}
	for _, k := range p.packets() {
		if k.tcp {
			from[k.from] = true
		}
	}
	if len(from) != 1 {
		t.Errorf("%d connections for three questions, want one that is kept (RFC 7766, section 6.2.1)", len(from))
	}
}

// TestClosedConnection has a server that closes after each answer.
func TestClosedConnection(t *testing.T) {
	p := listen(t, reply(wire.FlagTC), nil)
	c := client(t)
	if r, err := c.Exchange(t.Context(), p.addr, question()); err == nil {
		t.Errorf("%+v without a reply", r)
	}
}

func TestOversized(t *testing.T) {
	p := listen(t, func(q []byte) [][]byte {
		return [][]byte{append(echo(q, wire.FlagRA), make([]byte, 1300)...), append(echo(q, wire.FlagAA), make([]byte, 1232-len(echo(q, 0)))...)}
	}, nil)
	r, err := client(t).Exchange(t.Context(), p.addr, question())
	if err != nil || len(r.Message) != 1232 || r.Message[2]&4 == 0 {
		t.Errorf("%d octets, %v", len(r.Message), err)
	}
}

func TestTimeout(t *testing.T) {
	p := listen(t, func([]byte) [][]byte { return nil }, nil)
	c := client(t)
	q := question()
	q.Timeout = 10 * time.Millisecond
	for i := range 12 {
		if _, state, _ := c.Estimate(p.addr); i > 0 && state != upstream.Slow {
			t.Errorf("after %d timeouts: state %v", i, state)
		}
		if r, err := c.Exchange(t.Context(), p.addr, q); !errors.Is(err, os.ErrDeadlineExceeded) || r.Packets != 1 {
			t.Fatalf("%+v %v", r, err)
		}
	}
	if _, state, probe := c.Estimate(p.addr); state != upstream.Dead || probe {
		t.Errorf("state %v, probe %v, want a dead server", state, probe)
	}
}

// TestOtherCase has a server that answers in lower case: TCP shows that it always does.
func TestOtherCase(t *testing.T) {
	low := func(q []byte) [][]byte {
		r := echo(q, wire.FlagAA)
		copy(r[12:len(r)-4], bytes.ToLower(r[12:len(r)-4]))
		return [][]byte{r}
	}
	p := listen(t, low, low)
	c := client(t)
	r, err := c.Exchange(t.Context(), p.addr, question())
	if err != nil || !r.TCP || r.SuspectedSpoof {
		t.Fatalf("first: %+v %v", r, err)
	}
	if r, err = c.Exchange(t.Context(), p.addr, question()); err != nil || r.TCP {
		t.Errorf("second: %+v %v, want UDP without mixed case", r, err)
	}
	honest := listen(t, low, reply(wire.FlagAA))
	if r, err = c.Exchange(t.Context(), honest.addr, question()); err != nil || !r.TCP || !r.SuspectedSpoof {
		t.Errorf("a forged case: %+v %v", r, err)
	}
}

// TestNoEDNS has a server that answers FORMERR to what it does not know.
func TestNoEDNS(t *testing.T) {
	p := listen(t, func(q []byte) [][]byte {
		if q[11] != 0 {
			return [][]byte{echo(q, uint16(wire.FormErr))}
		}
		return [][]byte{echo(q, wire.FlagAA)}
	}, nil)
	c := client(t)
	for i, packets := range []int{2, 1} {
		if r, err := c.Exchange(t.Context(), p.addr, question()); err != nil || r.Packets != packets || r.Message[3] != 0 {
			t.Errorf("question %d: %+v %v, want %d packets", i, r, err, packets)
		}
	}
}

// TestCookies has a server that knows cookies (RFC 7873), and later one that pretends
// to be it and does not.
func TestCookies(t *testing.T) {
	var mu sync.Mutex
	forget := false
	full := func(q []byte) [][]byte {
		var parsed wire.Query
		parsed.Parse(q)
		mu.Lock()
		defer mu.Unlock()
		r := echo(q, wire.FlagAA)
		if forget {
			return [][]byte{r}
		}
		option := append([]byte{0, 10, 0, 24}, parsed.Cookie[:8]...)
		r = wire.AppendOPT(r, 1232, true, append(option, "0123456789abcdef"...))
		r[11] = 1
		if len(parsed.Cookie) == 8 {
			r[3] |= byte(wire.BadCookie & 15)
			r[len(r)-34] = byte(wire.BadCookie >> 4)
		}
		return [][]byte{r}
	}
	p := listen(t, full, full)
	c := client(t)
	r, err := c.Exchange(t.Context(), p.addr, question())
	if err != nil || r.Packets != 2 || r.Message[3]&15 != 0 {
		t.Fatalf("first: %+v %v, want BADCOOKIE and a second question", r, err)
	}
	if r, err = c.Exchange(t.Context(), p.addr, question()); err != nil || r.Packets != 1 {
		t.Errorf("second: %+v %v", r, err)
	}
	mu.Lock()
	forget = true
	mu.Unlock()
	if r, err = c.Exchange(t.Context(), p.addr, question()); err != nil || !r.TCP {
		t.Errorf("a reply without the cookie was believed over UDP: %+v %v", r, err)
	}
}

// TestEntropy has the bounds that a resolver is measured by from outside: 2,000
// questions, no pair of port and ID twice.
func TestEntropy(t *testing.T) {
	p := listen(t, reply(wire.FlagAA), nil)
	c := client(t)
	const n = 2000
	for range n {
		if _, err := c.Exchange(t.Context(), p.addr, question()); err != nil {
			t.Fatal(err)
		}
	}
	ports, ids, pairs, cases := map[uint16]int{}, map[uint16]int{}, map[uint32]int{}, map[string]int{}
	for _, k := range p.packets() {
		id := binary.BigEndian.Uint16(k.msg)
		ports[k.from.Port()]++
		ids[id]++
		pairs[uint32(k.from.Port())<<16|uint32(id)]++
		cases[string(k.msg[12:36])]++
		if k.from.Port() < 1024 {
			t.Errorf("port %d", k.from.Port())
		}
	}
	bits := func(m map[uint16]int) float64 {
		collisions := 0
		for _, v := range m {
			collisions += v * (v - 1) / 2
		}
		return math.Log2(n * (n - 1) / 2 / math.Max(float64(collisions), 0.5))
	}
	// The estimate from 30 collisions wanders by a quarter of a bit.
	t.Logf("ports %.2f bits, IDs %.2f bits, %d pairs and %d spellings of %d", bits(ports), bits(ids), len(pairs), len(cases), n)
	if p, i := bits(ports), bits(ids); p < 15.2 || i < 15.2 {
		t.Errorf("entropy: ports %.1f bits, IDs %.1f bits", p, i)
	}
	if len(pairs) != n || len(cases) < n*99/100 {
		t.Errorf("%d pairs and %d spellings of %d", len(pairs), len(cases), n)
	}
}
