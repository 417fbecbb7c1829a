package conformance_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// defaults leaves port53's configuration as an operator has it who sets nothing.
const defaults = "# nothing but defaults\n"

const (
	// floodRate is the questions a second of a flood, and floodBurst the most at once: where
	// other work keeps the processors busy, the rate is what they are able to do, and not made
	// up for with bursts that overflow every buffer.
	floodRate, floodBurst = 50_000, 100
	// floodTime is how long each flood lasts.
	floodTime = 2 * time.Second
	// floodSockets share the flood: all are of one network of 256 addresses.
	floodSockets = 16
	// amplification is the most octets that may leave for each that came.
	amplification = 2.0
	// bystanders are clients of other networks, asking now and then.
	bystanders = 40
	// bystanderPause is between two questions of one of them.
	bystanderPause = 200 * time.Millisecond
	// answered is the share of the bystanders' questions that must be answered.
	answered = 0.99
)

// namespace gives the test a network of its own, in which it is alone and has
// thousands of addresses.
func namespace(t *testing.T) *netns.Namespace {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("missing: root, to make a network namespace")
	}
	if _, err := peers.Find("ip"); err != nil {
		missing(t, err)
	}
	n, err := netns.New()
	if err != nil {
		t.Skipf("missing: a network namespace: %v", err)
	}
	t.Cleanup(n.Close)
	return n
}

// floodServer starts the subject, with defaults, in the namespace.
func floodServer(t *testing.T, n *netns.Namespace) *peers.Server {
	t.Helper()
	z := zonegen.New("flood.test.", zonegen.Plain)
	z.Add("www", "A", "192.0.2.1")
	z.Add("*.wild", "TXT", `"`+strings.Repeat("w", 250)+`"`)
	for i := range 4 {
		z.Add("big", "TXT", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 240)))
	}
	for i := range 20 {
		z.Add("bigger", "TXT", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 240)))
	}
	for i := range 10 {
		z.Add("cut", "NS", fmt.Sprintf("ns%d.cut.@", i))
		z.Add(fmt.Sprintf("ns%d.cut", i), "A", "192.0.2.2")
	}
	if err := z.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return startSubject(t, peers.Options{
		Addr: netip.AddrPortFrom(netns.Server, 5300), Zones: []peers.Zone{{Name: z.Origin, File: z.File}}, Run: n.Do, Config: defaults,
	})
}

// A network is the i-th client network's address with the given last octet.
func client(network uint32, host byte) netip.Addr {
	a := netns.Network(network)
	a[3] = host
	return netip.AddrFrom4(a)
}

// TestFlood floods the server from one network in every way that has a large
// answer. What leaves must be little more than what comes, slips must tell real
// clients to come by TCP, and clients of other networks must notice nothing.
func TestFlood(t *testing.T) {
	n := namespace(t)
	s := floodServer(t, n)
	word := func(r *rand.Rand) string { return zonegen.Word(r, 10) }
	for _, f := range []struct {
		name  string
		slips bool // an error is as small as a slip would be, and needs none
		ask   func(r *rand.Rand) probe.Question
	}{
		{"one large answer", true, func(*rand.Rand) probe.Question {
			return probe.Question{Name: probe.MustName("big.flood.test."), Type: probe.TypeTXT}
		}},
		{"names below a wildcard", true, func(r *rand.Rand) probe.Question {
			return probe.Question{Name: probe.MustName(word(r) + ".wild.flood.test."), Type: probe.TypeTXT}
		}},
		{"names that do not exist", true, func(r *rand.Rand) probe.Question {
			return probe.Question{Name: probe.MustName(word(r) + ".flood.test."), Type: probe.TypeA}
		}},
		{"names below a delegation", true, func(r *rand.Rand) probe.Question {
			return probe.Question{Name: probe.MustName(word(r) + ".cut.flood.test."), Type: probe.TypeA}
		}},
		{"names outside the zones", false, func(r *rand.Rand) probe.Question {
			return probe.Question{Name: probe.MustName(word(r) + ".elsewhere."), Type: probe.TypeA}
		}},
	} {
		t.Run(f.name, func(t *testing.T) { flood(t, n, s, f.ask, f.slips) })
	}
}

func flood(t *testing.T, n *netns.Namespace, s *peers.Server, ask func(*rand.Rand) probe.Question, wantSlips bool) {
	t.Helper()
	network := rand.New(rand.NewPCG(seed(t), uint64(len(t.Name())))).Uint32N(200)
	var in, out, packets, slips atomic.Int64
	conns := make([]*net.UDPConn, floodSockets)
	if err := n.Do(func() (err error) {
		for i := range conns {
			local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(client(network, byte(i+1)), 0))
			if conns[i], err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(s.Addr)); err != nil {
				return err
			}
			if err := conns[i].SetReadBuffer(1 << 20); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var readers, senders sync.WaitGroup
	for _, c := range conns {
		readers.Go(func() {
			var buf [4096]byte
			for {
				k, err := c.Read(buf[:])
				if err != nil {
					return
				}
				out.Add(int64(k))
				if k >= 12 && buf[2]&2 != 0 {
					slips.Add(1)
				}
			}
		})
	}
	senders.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		began := time.Now()
		for time.Since(began) < floodTime {
			due := min(int64(time.Since(began).Seconds()*floodRate), packets.Load()+floodBurst)
			for ; packets.Load() < due; packets.Add(1) {
				q := ask(r)
				q.ID, q.EDNS, q.DO, q.Size = uint16(r.Uint32()), true, true, 4096
				p := q.Pack()
				if _, err := conns[packets.Load()%floodSockets].Write(p); err == nil {
					in.Add(int64(len(p)))
				}
			}
			time.Sleep(time.Millisecond) // the rate's grain
		}
	})
	asked, got, slowest := bystand(t, n, s, floodTime)
	senders.Wait()
	waitQuiet(&out)
	for _, c := range conns {
		c.Close()
	}
	readers.Wait()
	ratio := float64(out.Load()) / float64(in.Load())
	t.Logf("%d questions in %s (%.0f/s): %d octets in, %d out, ratio %.2f; %d slips; bystanders: %d of %d answered, the slowest in %s",
		packets.Load(), floodTime, float64(packets.Load())/floodTime.Seconds(), in.Load(), out.Load(), ratio, slips.Load(), got, asked, slowest)
	if ratio > amplification {
		t.Errorf("%.2f octets leave for each that comes, %.1f are the most", ratio, amplification)
	}
	if slips.Load() == 0 && wantSlips {
		t.Error("no slip: a client behind a spoofed address could not reach the server")
	}
	if float64(got) < answered*float64(asked) {
		t.Errorf("%d of %d questions of other networks answered", got, asked)
	}
}

// waitQuiet waits until a counter stands still.
func waitQuiet(n *atomic.Int64) {
	for last := int64(-1); n.Load() != last; time.Sleep(50 * time.Millisecond) {
		last = n.Load()
	}
}

// bystand has clients of other networks ask for a while, and returns how many
// questions they asked, how many were answered in full, and the longest wait.
func bystand(t *testing.T, n *netns.Namespace, s *peers.Server, d time.Duration) (asked, got int64, slowest time.Duration) {
	t.Helper()
	var a, g, worst atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range bystanders {
		c := &probe.Client{Server: s.Addr, Source: client(1000+uint32(i), 1), Timeout: time.Second, Tries: 1, Run: n.Do}
		wg.Go(func() {
			defer c.Close()
			for id := uint16(1); time.Now().Before(end); id++ {
				q := &probe.Question{Name: probe.MustName("www.flood.test."), Type: probe.TypeA, ID: id}
				a.Add(1)
				began := time.Now()
				m, err := c.Ask(q)
				if err == nil && m.Rcode == probe.NoError && !m.TC && len(m.Answer) == 1 {
					g.Add(1)
				}
				worst.Store(max(worst.Load(), int64(time.Since(began))))
				time.Sleep(bystanderPause)
			}
		})
	}
	wg.Wait()
	return a.Load(), g.Load(), time.Duration(worst.Load()).Round(time.Microsecond)
}

const (
	// idleConnections come from one address.
	idleConnections = 10_000
	// slowNetworks are networks of slow clients, with slowEach connections each.
	slowNetworks, slowEach = 50, 20
	// streamTime is how long the others ask meanwhile.
	streamTime = 5 * time.Second
	// streamP99 is the longest that 99 % of their questions may take, with
	// connecting and closing, beyond twice what they took before. To wait for a client
	// that does not read would be to wait for 5 s.
	streamP99 = time.Second
	// streamMemory is the most that the server may hold more: 256 kB unsent for
	// each of the 1,000 slow readers is what its limits allow.
	streamMemory = 300 << 20
)

// TestStreamAbuse holds many connections in every way that costs a server, and
// has others ask over TCP meanwhile.
func TestStreamAbuse(t *testing.T) {
	n := namespace(t)
	moreFiles(t, idleConnections+2*slowNetworks*slowEach)
	s := floodServer(t, n)
	quiet, asked := askStreams(t, n, s)
	if len(quiet) < asked {
		t.Fatalf("%d of %d questions answered while nobody did any harm", len(quiet), asked)
	}
	slices.Sort(quiet)
	usual := quiet[len(quiet)*99/100]
	t.Logf("before, %d questions were answered, p99 %s", asked, usual.Round(time.Microsecond))
	query := func(name string) []byte {
		q := probe.Question{Name: probe.MustName(name), Type: probe.TypeTXT, ID: 1}
		return frame(q.Pack())
	}
	for _, abuse := range []struct {
		name string
		open func() []net.Conn
		keep func(conns []net.Conn, end time.Time) // may be nil
	}{
		{"idle, from one address", func() []net.Conn {
			return connect(t, n, s, idleConnections, func(int) netip.Addr { return client(1, 1) })
		}, nil},
		{"idle, from everywhere", func() []net.Conn {
			return connect(t, n, s, idleConnections, func(i int) netip.Addr { return client(uint32(300+i%(idleConnections/slowEach)), 1) })
		}, nil},
		{"slow writers", func() []net.Conn {
			return connect(t, n, s, slowNetworks*slowEach, func(i int) netip.Addr { return client(uint32(10+i/slowEach), 1) })
		}, func(conns []net.Conn, end time.Time) {
			q := query("www.flood.test.")
			for i := 0; time.Now().Before(end); i++ {
				for _, c := range conns {
					c.Write(q[i%len(q) : i%len(q)+1])
				}
				time.Sleep(time.Second)
			}
		}},
		{"slow readers", func() []net.Conn {
			conns := connect(t, n, s, slowNetworks*slowEach, func(i int) netip.Addr { return client(uint32(100+i/slowEach), 1) })
			many := slices.Repeat(query("bigger.flood.test."), 300)
			for _, c := range conns {
				c.(*net.TCPConn).SetReadBuffer(4096)
				c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)) // as much as it takes now
				c.Write(many)
			}
			return conns
		}, nil},
	} {
		t.Run(abuse.name, func(t *testing.T) {
			before, err := s.Memory()
			if err != nil {
				t.Fatal(err)
			}
			conns := abuse.open()
			var wg sync.WaitGroup
			if abuse.keep != nil {
				wg.Go(func() { abuse.keep(conns, time.Now().Add(streamTime)) })
			}
			times, asked := askStreams(t, n, s)
			during, err := s.Memory()
			if err != nil {
				t.Fatalf("the server ended: %v\n%s", err, s.Tail())
			}
			wg.Wait()
			for _, c := range conns {
				c.Close()
			}
			if len(times) == 0 {
				t.Fatalf("none of %d questions answered", asked)
			}
			slices.Sort(times)
			p99 := times[len(times)*99/100]
			t.Logf("%d connections made; others: %d of %d answered, p50 %s, p99 %s; memory %d KiB, then %d KiB",
				len(conns), len(times), asked, times[len(times)/2].Round(time.Microsecond), p99.Round(time.Microsecond), before>>10, during>>10)
			if float64(len(times)) < answered*float64(asked) {
				t.Errorf("%d of %d questions of others answered", len(times), asked)
			}
			if p99 > streamP99+2*usual {
				t.Errorf("p99 is %s, want at most %s and twice %s", p99, streamP99, usual)
			}
			if during > before+streamMemory {
				t.Errorf("memory went from %d to %d KiB", before>>10, during>>10)
			}
		})
	}
}

const (
	// connectors open connections at once.
	connectors = 16
	// connectTime is how long opening them may take in all: a server that
	// refuses to hold so many does well.
	connectTime = 10 * time.Second
)

// connect opens so many connections, as fast as the server accepts. Those that
// it refuses, resets or does not answer are left out.
func connect(t *testing.T, n *netns.Namespace, s *peers.Server, count int, source func(int) netip.Addr) []net.Conn {
	t.Helper()
	var (
		mu    sync.Mutex
		conns []net.Conn
		wg    sync.WaitGroup
		next  atomic.Int64
	)
	end := time.Now().Add(connectTime)
	for range connectors {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count && time.Now().Before(end); i = int(next.Add(1)) - 1 {
				d := net.Dialer{Timeout: time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source(i), 0))}
				var conn net.Conn
				if err := n.Do(func() (err error) { conn, err = d.Dial("tcp", s.Addr.String()); return err }); err != nil {
					continue
				}
				mu.Lock()
				conns = append(conns, conn)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(conns) == 0 {
		t.Fatal("no connection could be made")
	}
	return conns
}

// askStreams has clients of other networks ask over TCP, each on a connection
// of its own, and returns how long those took that were answered.
func askStreams(t *testing.T, n *netns.Namespace, s *peers.Server) (times []time.Duration, asked int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(streamTime)
	for i := range bystanders {
		wg.Go(func() {
			c := &probe.Client{Server: s.Addr, Source: client(2000+uint32(i), 1), Timeout: 2 * time.Second, Tries: 1, Run: n.Do}
			defer c.Close()
			for id := uint16(1); time.Now().Before(end); id++ {
				began := time.Now()
				m, err := c.Ask(&probe.Question{Name: probe.MustName("www.flood.test."), Type: probe.TypeA, ID: id, TCP: true})
				took := time.Since(began)
				c.Close()
				mu.Lock()
				asked++
				if err == nil && m.Rcode == probe.NoError && len(m.Answer) == 1 {
					times = append(times, took)
				}
				mu.Unlock()
				time.Sleep(bystanderPause)
			}
		})
	}
	wg.Wait()
	return times, asked
}
