package main

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"port53/conformance/netns"
)

// The transports of which each question has a connection, beside UDP.
const (
	overTCP  = "tcp"
	overDoT  = "dot"
	overDoH  = "doh" // HTTP/2
	overDoQ  = "doq"
	overDoH3 = "doh3" // HTTP/3
)

// protocols are what a client of each calls it in TLS (ALPN).
var protocols = map[string]string{overDoT: "dot", overDoH: "h2", overDoQ: "doq", overDoH3: "h3"}

// hostname is what the server's certificate is for.
const hostname = "dns.bench"

// A streaming says how clients use connections.
type streaming struct {
	Over   string
	Conns  int
	Window int  // questions under way on each
	Each   int  // questions until it is closed and opened again
	Resume bool // the session of the one before, where that was TLS
}

// A streamLoad is what the generator is to do on connections.
type streamLoad struct {
	streaming
	Server   netip.AddrPort
	Queries  string
	Duration time.Duration
	Warm     time.Duration // not counted, before
	Networks int           // clients come from so many networks of netns.Many; 0: from wherever the kernel says
	Hold     bool          // ask once on each connection, and keep it until standard input ends
}

// A channel is one connection to a server.
type channel interface {
	// ask sends questions, each by its place in the window, in as few writes as there can be.
	ask(places []int, queries [][]byte) error
	// take waits for answers, and passes each with the place of its question.
	take(got func(place int, reply []byte)) error
	close()
}

// A streamer is a load under way.
type streamer struct {
	streamLoad
	result
	queries [][]byte
	config  *tls.Config
	start   time.Time

	mu    sync.Mutex
	next  int
	local uint32 // clients come from many networks
	h     histogram
}

// clientTLS is what clients are like: all servers are asked for the same key exchange. Chains of certificates are not
// verified, to spare the load's processor; the signature of the handshake is, all the same.
func clientTLS(over string) *tls.Config {
	c := &tls.Config{ServerName: hostname, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, InsecureSkipVerify: true}
	if p := protocols[over]; p != "" {
		c.NextProtos = []string{p}
	}
	return c
}

// stream generates load on connections.
func stream(l streamLoad) (*result, error) {
	queries, err := readQueries(l.Queries)
	if err != nil {
		return nil, err
	}
	s := &streamer{streamLoad: l, queries: queries, config: clientTLS(l.Over), start: time.Now()}
	var wg sync.WaitGroup
	errs := make(chan error, l.Conns)
	for range l.Conns {
		wg.Go(func() {
			if err := s.client(); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return nil, err
	}
	s.Seconds = (time.Since(s.start) - l.Warm).Seconds()
	s.P50, s.P99 = s.h.quantile(0.5), s.h.quantile(0.99)
	return &s.result, nil
}

// mostFailures is how many connections of one client may fail before the load does.
const mostFailures = 100

// client opens one connection after the other until the time is over.
func (s *streamer) client() error {
	config := s.config.Clone()
	if s.Resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	end := s.Warm + s.Duration
	for failures := 0; time.Since(s.start) < end; {
		c, resumed, err := s.open(config)
		if err == nil {
			s.mu.Lock()
			if time.Since(s.start) >= s.Warm {
				s.Opened++
				if resumed {
					s.Resumed++
				}
			}
			s.mu.Unlock()
			err = s.use(c, end)
			c.close()
		}
		if err != nil {
			if failures++; failures > mostFailures {
				return err
			}
		}
	}
	return nil
}

// use asks on one connection until it has been used as often as it may, or the time is over.
func (s *streamer) use(c channel, end time.Duration) error {
	var (
		asked   = make([][]byte, s.Window)
		sent    = make([]time.Duration, s.Window)
		places  []int // to ask in
		batch   [][]byte
		waiting = 0
	)
	for i := range s.Window {
		places = append(places, i)
	}
	for left := s.Each; ; {
		now := time.Since(s.start)
		if now >= end {
			return nil // what is under way is not lost
		}
		places = places[:min(len(places), left)]
		if left -= len(places); len(places) > 0 {
			batch = s.pick(batch[:0], len(places), now)
			for i, p := range places {
				asked[p], sent[p] = batch[i], now
			}
			waiting += len(places)
			if err := c.ask(places, batch); err != nil {
				return s.lost(waiting, err)
			}
		}
		if waiting == 0 {
			return nil
		}
		places = places[:0]
		err := c.take(func(p int, reply []byte) {
			if p >= len(asked) || asked[p] == nil {
				return
			}
			places = append(places, p)
			waiting--
			s.count(asked[p], reply, sent[p])
			asked[p] = nil
		})
		if err != nil {
			return s.lost(waiting, err)
		}
	}
}

func (s *streamer) lost(n int, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Lost += int64(n)
	return err
}

// pick appends the next n questions.
func (s *streamer) pick(batch [][]byte, n int, now time.Duration) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		batch = append(batch, s.queries[s.next])
		if s.next++; s.next == len(s.queries) {
			s.next = 0
		}
	}
	if now >= s.Warm {
		s.Sent += int64(n)
	}
	return batch
}

func (s *streamer) count(query, reply []byte, sent time.Duration) {
	now := time.Since(s.start)
	if now < s.Warm || len(reply) < 12 {
		return
	}
	good := right(query, reply, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Received++
	s.Octets += int64(len(reply))
	s.Rcodes[reply[3]&15]++
	s.h.add(int64(now - sent))
	if !good {
		s.Wrong++
	}
}

// patienceOpen is how long a connection may take to open, and an answer to come.
const patienceOpen = 10 * time.Second

// from returns the address of the next client.
func (s *streamer) from() netip.Addr {
	if s.Networks == 0 {
		return netip.IPv4Unspecified()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local++
	return netip.AddrFrom4(netns.Network(s.local % uint32(s.Networks)))
}

// open opens a connection.
func (s *streamer) open(config *tls.Config) (channel, bool, error) {
	from := netip.AddrPortFrom(s.from(), 0)
	if s.Over == overDoQ || s.Over == overDoH3 {
		return openQUIC(from, s.Server, config, s.Over == overDoH3, s.Window)
	}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: patienceOpen}
	conn, err := d.Dial("tcp4", s.Server.String())
	if err != nil {
		return nil, false, err
	}
	_ = conn.SetDeadline(time.Now().Add(patienceOpen + s.Duration))
	resumed := false
	if s.Over != overTCP {
		t := tls.Client(conn, config)
		if err := t.Handshake(); err != nil {
			conn.Close()
			return nil, false, err
		}
		resumed = t.ConnectionState().DidResume
		conn = t
	}
	if s.Over == overDoH {
		h, err := newHTTP2(conn, s.Window)
		if err != nil {
			conn.Close()
		}
		return h, resumed, err
	}
	return &framed{conn: conn, in: make([]byte, 0, 4096)}, resumed, nil
}

// A framed is TCP or TLS, where messages are behind their lengths.
type framed struct {
	conn    net.Conn
	in, out []byte
}

func (f *framed) ask(places []int, queries [][]byte) error {
	f.out = f.out[:0]
	for i, q := range queries {
		f.out = binary.BigEndian.AppendUint16(f.out, uint16(len(q)))
		f.out = binary.BigEndian.AppendUint16(f.out, uint16(places[i]))
		f.out = append(f.out, q[2:]...)
	}
	_, err := f.conn.Write(f.out)
	return err
}

func (f *framed) take(got func(int, []byte)) error {
	for some := false; !some; {
		if len(f.in) == cap(f.in) {
			return errors.New("an answer is too long")
		}
		n, err := f.conn.Read(f.in[len(f.in):cap(f.in)])
		if err != nil {
			return err
		}
		f.in = f.in[:len(f.in)+n]
		b := f.in
		for len(b) > 2 {
			n := 2 + int(binary.BigEndian.Uint16(b))
			if n < 14 {
				return fmt.Errorf("an answer of %d octets", n-2)
			}
			if len(b) < n {
				break
			}
			got(int(binary.BigEndian.Uint16(b[2:])), b[2:n])
			some = true
			b = b[n:]
		}
		f.in = f.in[:copy(f.in, b)]
	}
	return nil
}

func (f *framed) close() { f.conn.Close() }

// hold opens all connections, asks once on each, says so, and waits.
func hold(l streamLoad) error {
	queries, err := readQueries(l.Queries)
	if err != nil {
		return err
	}
	s := &streamer{streamLoad: l, queries: queries, config: clientTLS(l.Over), start: time.Now()}
	var all []channel
	for len(all) < l.Conns {
		c, _, err := s.open(s.config)
		if err != nil {
			return fmt.Errorf("connection %d: %w", len(all)+1, err)
		}
		all = append(all, c)
		if err := c.ask([]int{0}, s.pick(nil, 1, 0)); err != nil {
			return err
		}
		if err := c.take(func(int, []byte) { s.Received++ }); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(&s.result); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, c := range all {
		c.close()
	}
	return nil
}

// runStream is the process of a load on connections, as [runBlast] is of one of datagrams.
func runStream(arg string) error {
	var l streamLoad
	if err := json.Unmarshal([]byte(arg), &l); err != nil {
		return err
	}
	if l.Hold {
		return hold(l)
	}
	r, err := stream(l)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
