package conformance_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

const (
	// mutatedPackets is how many packets the server is sent.
	mutatedPackets = 1_000_000
	// mutators is how many sockets send them at once.
	mutators = 4
	// mutationBatch is how many packets go out before an ordinary question asks
	// whether the server is still there. Their replies fit into a socket's
	// default receive buffer.
	mutationBatch = 64
	// mutationGrowth is how much more memory the server may hold after the last
	// packet than after the first fifth.
	mutationGrowth = 8 << 20
)

// TestMutatedPackets sends packets that were once good and checks that the
// server keeps answering, that its memory does not grow, that no reply is longer
// than allowed and that nothing answers a reply.
func TestMutatedPackets(t *testing.T) {
	zones := packetZone(t)
	subject := startSubject(t, peers.Options{Zones: served(zones, subjectKind())})
	n := scale(t, mutatedPackets)
	start := seed(t)
	corpus := mutationCorpus(start)
	var sent, replies, longest atomic.Int64
	half := func(from, to int) {
		var wg sync.WaitGroup
		for i := range mutators {
			wg.Go(func() {
				m := &mutator{t: t, r: rand.New(rand.NewPCG(start, uint64(100+i+from))), corpus: corpus, subject: subject}
				m.run((to - from) / mutators)
				sent.Add(int64(m.sent))
				replies.Add(int64(m.replies))
				longest.Store(max(longest.Load(), int64(m.longest)))
			})
		}
		wg.Wait()
	}
	began := time.Now()
	half(0, n/5)
	before, err := subject.Memory()
	if err != nil {
		t.Fatalf("the server ended: %v\n%s", err, subject.Tail())
	}
	half(n/5, n)
	after, err := subject.Memory()
	if err != nil {
		t.Fatalf("the server ended: %v\n%s", err, subject.Tail())
	}
	t.Logf("%d packets, %d replies in %s; the longest has %d octets; memory %d KiB, then %d KiB",
		sent.Load(), replies.Load(), time.Since(began).Round(time.Millisecond), longest.Load(), before>>10, after>>10)
	if after > before+mutationGrowth {
		t.Errorf("memory grew from %d to %d KiB", before>>10, after>>10)
	}
}

// mutationCorpus is what mutation starts from: the odd packets, and questions
// of every kind.
func mutationCorpus(seed uint64) [][]byte {
	var corpus [][]byte
	for _, p := range packets() {
		corpus = append(corpus, p.data)
	}
	z := zonegen.New("packets.test.", zonegen.Plain)
	for _, name := range []string{"www", "big", "middle", "x.wild", "cut", "a.cut", "missing"} {
		z.Add(name, "TXT", `"x"`)
	}
	for _, q := range askZone(rand.New(rand.NewPCG(seed, 3)), z) {
		corpus = append(corpus, q.Pack())
	}
	return corpus
}

// A mutator sends mutated packets from one socket.
type mutator struct {
	t       *testing.T
	r       *rand.Rand
	corpus  [][]byte
	subject *peers.Server

	sent, replies, longest int
	pending                map[uint16][]byte // by ID
}

func (m *mutator) run(n int) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(m.subject.Addr))
	if err != nil {
		m.t.Error(err)
		return
	}
	defer conn.Close()
	m.pending = map[uint16][]byte{}
	id := uint16(1)
	for m.sent < n && !m.t.Failed() {
		clear(m.pending)
		for range min(mutationBatch, n-m.sent) {
			p := m.mutate(append([]byte(nil), m.corpus[m.r.IntN(len(m.corpus))]...))
			if len(p) >= 2 {
				id++
				binary.BigEndian.PutUint16(p, id)
				m.pending[id] = p
			}
			if _, err := conn.Write(p); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				m.t.Errorf("the server is gone: %v", err)
				return
			}
			m.sent++
		}
		id++
		if !m.alive(conn, id) {
			m.t.Errorf("no reply to an ordinary question after %d packets; the last was %x", m.sent, m.pending[id-1])
			return
		}
	}
}

// alive asks an ordinary question and reads replies until its answer is there.
func (m *mutator) alive(conn *net.UDPConn, id uint16) bool {
	q := ordinary()
	binary.BigEndian.PutUint16(q, id)
	var buf [65535]byte
	for range 3 {
		if _, err := conn.Write(q); err != nil {
			return false
		}
		conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		for {
			n, err := conn.Read(buf[:])
			if err != nil {
				break
			}
			if n >= 2 && binary.BigEndian.Uint16(buf[:]) == id {
				return true
			}
			m.check(buf[:n])
		}
	}
	return false
}

// check judges one reply.
func (m *mutator) check(reply []byte) {
	m.replies++
	m.longest = max(m.longest, len(reply))
	if len(reply) < 12 {
		m.t.Errorf("a reply of %d octets: %x", len(reply), reply)
		return
	}
	p, ok := m.pending[binary.BigEndian.Uint16(reply)]
	if !ok {
		return // a late one, to a question of the batch before
	}
	switch {
	case len(p) < 12:
		m.t.Errorf("a reply to %d octets: %x", len(p), p)
	case p[2]&0x80 != 0:
		m.t.Errorf("a reply to a reply: %x to %x", reply, p)
	case reply[2]&0x80 == 0:
		m.t.Errorf("a reply without QR: %x to %x", reply, p)
	}
	if most := allowed(p); len(reply) > most {
		m.t.Errorf("a reply of %d octets where %d are allowed: to %x", len(reply), most, p)
	}
	if _, err := probe.Parse(reply); err != nil && m.subject.Kind == peers.Port53 {
		m.t.Errorf("an unreadable reply: %v: %x to %x", err, reply, p)
	}
}

// allowed returns the most octets that a reply over UDP may have: 512, or what
// an OPT anywhere in the packet announces, up to 1232. Where several octets may
// be an OPT, the largest counts.
func allowed(p []byte) int {
	most := 512
	for i := 12; i+11 <= len(p); i++ {
		if p[i] == 0 && p[i+1] == 0 && p[i+2] == 41 {
			most = max(most, min(int(binary.BigEndian.Uint16(p[i+3:])), peers.MaxUDP))
		}
	}
	return most
}

// mutate changes a packet in one to four ways.
func (m *mutator) mutate(p []byte) []byte {
	r := m.r
	for range 1 + r.IntN(4) {
		if len(p) == 0 {
			return p
		}
		at := r.IntN(len(p))
		switch r.IntN(10) {
		case 0:
			p[at] ^= 1 << r.IntN(8)
		case 1:
			p[at] = byte(r.Uint32())
		case 2:
			p = p[:at]
		case 3:
			p = append(p[:at], p[min(at+1+r.IntN(8), len(p)):]...)
		case 4: // something more in the middle
			extra := make([]byte, 1+r.IntN(40))
			for i := range extra {
				extra[i] = byte(r.Uint32())
			}
			p = append(p[:at:at], append(extra, p[at:]...)...)
		case 5: // a part twice
			part := p[at:min(at+1+r.IntN(30), len(p))]
			p = append(append(p[:at:at], part...), p[at:]...)
		case 6: // the end of another packet
			other := m.corpus[r.IntN(len(m.corpus))]
			p = append(p[:at:at], other[min(at, len(other)):]...)
		case 7: // a count
			if len(p) >= 12 {
				p[4+r.IntN(8)] = []byte{0, 1, 2, 255}[r.IntN(4)]
			}
		case 8: // a pointer
			if at+1 < len(p) {
				p[at], p[at+1] = 0xc0|byte(r.IntN(2)), byte(r.IntN(256))
			}
		case 9: // a length
			p[at] = []byte{0, 1, 63, 64, 127, 128, 191, 192, 255}[r.IntN(9)]
		}
	}
	return p[:min(len(p), 4096)]
}
