package conformance_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// The bars that resolvers are measured by from outside.
const (
	// campPackets are the most packets that one question may cost all servers together, and
	// campVictim those of them that reach a victim (CAMP, 2024).
	campPackets, campVictim = 128, 45
	// campFan is how many name servers each delegation of the attacker has.
	campFan = 5
	// campTime is how long a resolver may go on after a question.
	campTime = 11 * time.Second
	// failTime is when whoever asks over UDP has SERVFAIL, whatever the servers do, and some
	// time for a busy machine.
	failTime = 4*time.Second + 500*time.Millisecond
	// bombFactor is the most octets that may go to a client in the heaviest 50 ms, for each that
	// came in the heaviest 50 ms (DNSBomb, CVE-2024-33655).
	bombFactor, bombWindow = 2.0, 50 * time.Millisecond
	// bombQuestions is how many questions wait for their answers at the same time.
	bombQuestions = 60
	// bombTries is how often a busy machine may make the measurement worthless: the resolver
	// reads in one go what came over a longer time. Without a guard the factor is over a hundred.
	bombTries = 5
)

// A hostileNet is servers that do what is bad for resolvers. All of them are this process.
type hostileNet struct {
	t     *testing.T
	ns    *netns.Namespace
	hints string

	mu    sync.Mutex
	sent  map[[2]netip.Addr]int // packets, by who sent them and who got them; a question over TCP as one
	zones map[string]netip.Addr // that com. delegates
}

// A hostileServer is one server. It returns the reply, or nil, and may send what else it likes.
type hostileServer func(q *dns.Msg, tcp bool, send func(*dns.Msg)) *dns.Msg

var (
	hostileRoot = netip.MustParseAddr("10.53.2.1")
	hostileCom  = netip.MustParseAddr("10.53.2.2")
)

func newHostileNet(t *testing.T) *hostileNet {
	t.Helper()
	n := &hostileNet{t: t, ns: namespace(t), sent: map[[2]netip.Addr]int{}, zones: map[string]netip.Addr{}}
	n.hints = filepath.Join(t.TempDir(), "hints")
	write(t, n.hints, ". 3600 NS ns1.\nns1. 3600 A "+hostileRoot.String()+"\n")
	n.serve(hostileRoot, func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		name := q.Question[0].Name
		if name == "." && q.Question[0].Qtype == dns.TypeNS {
			return reply(q, dns.RcodeSuccess, ". 3600 NS ns1.", "", "ns1. 3600 A "+hostileRoot.String())
		}
		if !dns.IsSubDomain("com.", strings.ToLower(name)) {
			return reply(q, dns.RcodeNameError, "", ". 60 SOA a. b. 1 2 3 4 60")
		}
		return reply(q, dns.RcodeSuccess, "", "com. 3600 NS ns.com.", "ns.com. 3600 A "+hostileCom.String())
	})
	n.serve(hostileCom, func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		n.mu.Lock()
		defer n.mu.Unlock()
		for name := strings.ToLower(q.Question[0].Name); name != ""; _, name, _ = strings.Cut(name, ".") {
			if at, ok := n.zones[name]; ok {
				return reply(q, dns.RcodeSuccess, "", name+" 3600 NS ns."+name, "ns."+name+" 3600 A "+at.String())
			}
		}
		return reply(q, dns.RcodeNameError, "", "com. 60 SOA a. b. 1 2 3 4 60")
	})
	return n
}

// reply makes a reply of an answer, authority and additional records, each of which may be "".
func reply(q *dns.Msg, rcode int, answer, authority string, additional ...string) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, rcode)
	m.Authoritative = answer != "" || rcode != dns.RcodeSuccess || strings.Contains(authority, "SOA")
	for _, section := range []struct {
		to   *[]dns.RR
		text []string
	}{{&m.Answer, []string{answer}}, {&m.Ns, strings.Split(authority, "\n")}, {&m.Extra, additional}} {
		for _, line := range section.text {
			if line == "" {
				continue
			}
			rr, err := dns.NewRR(line)
			if err != nil {
				panic(err)
			}
			*section.to = append(*section.to, rr)
		}
	}
	return m
}

// serve has a server at an address, over UDP and TCP.
func (n *hostileNet) serve(at netip.Addr, f hostileServer) {
	n.t.Helper()
	var u *net.UDPConn
	var l net.Listener
	if err := n.ns.Do(func() (err error) {
		if u, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 53))); err != nil {
			return err
		}
		l, err = net.Listen("tcp4", netip.AddrPortFrom(at, 53).String())
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { u.Close(); l.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			k, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			n.count(from.Addr(), at)
			if q.Unpack(b[:k]) != nil || len(q.Question) != 1 {
				continue
			}
			send := func(m *dns.Msg) {
				if b, err := m.Pack(); err == nil {
					_, _ = u.WriteToUDPAddrPort(b, from)
				}
			}
			if m := f(q, false, send); m != nil {
				send(m)
			}
		}
	}()
	go accept(l, func(c net.Conn) { n.stream(c, at, f) })
}

func (n *hostileNet) stream(c net.Conn, at netip.Addr, f hostileServer) {
	conn := &dns.Conn{Conn: c}
	for {
		q, err := conn.ReadMsg()
		if err != nil {
			return
		}
		n.count(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), at)
		if m := f(q, true, func(m *dns.Msg) { _ = conn.WriteMsg(m) }); m != nil && conn.WriteMsg(m) != nil {
			return
		}
	}
}

func (n *hostileNet) count(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent[[2]netip.Addr{from.Unmap(), to}]++
}

// packets returns how many an address has sent, in all and to one server.
func (n *hostileNet) packets(from, to netip.Addr) (all, one int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for way, k := range n.sent {
		if way[0] == from {
			all += k
		}
	}
	return all, n.sent[[2]netip.Addr{from, to}]
}

// delegate has com. delegate a zone.
func (n *hostileNet) delegate(zone string, at netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zones[zone] = at
}

// resolver starts port53 as an operator has it, but for the root and the address it asks from.
func (n *hostileNet) resolver(at netip.Addr) {
	n.t.Helper()
	n.resolverWith(at, "validation: false")
}

// resolverWith starts one that has other settings too. It returns its configuration.
func (n *hostileNet) resolverWith(at netip.Addr, settings string) (conf string) {
	n.t.Helper()
	bin, err := build()
	if err != nil {
		n.t.Fatal(err)
	}
	dir := n.t.TempDir()
	conf = filepath.Join(dir, "port53.yaml")
	write(n.t, conf, fmt.Sprintf(`role: internal-resolver
listen: ["%s"]
state_dir: %s
metrics: {listen: off}
control: {socket: %[2]s/control}
resolver: {allow: [10.0.0.0/8], root_hints: %[3]s, outgoing: [%[1]s], %[4]s}
`, at, dir, n.hints, settings))
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := peers.Start(ctx, peers.Port53, peers.Options{Dir: dir, Addr: netip.AddrPortFrom(at, 53), Command: []string{bin, "serve", "--config", conf}, Run: n.ns.Do, Unready: true})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		s.Stop()
		if n.t.Failed() {
			n.t.Logf("%v printed:\n%s", at, s.Tail())
		}
	})
	for ctx.Err() == nil {
		if r, _, err := n.ask(at, "nothing.", dns.TypeA, time.Second); err == nil && r.Rcode == dns.RcodeNameError {
			return conf
		}
		select {
		case <-s.Ended():
			n.t.Fatalf("%v ended: %s", at, s.Tail())
		default:
		}
	}
	n.t.Fatalf("%v does not resolve: %s", at, s.Tail())
	return ""
}

// ask asks a resolver over UDP, once, as a program does that has no cookies.
func (n *hostileNet) ask(at netip.Addr, name string, typ uint16, wait time.Duration) (r *dns.Msg, took time.Duration, err error) {
	c := &dns.Client{Timeout: wait, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(10, 99, 0, 1)}}}
	var conn *dns.Conn
	if err := n.ns.Do(func() (err error) {
		conn, err = c.Dial(netip.AddrPortFrom(at, 53).String())
		return err
	}); err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	q := new(dns.Msg).SetQuestion(name, typ)
	q.SetEdns0(1232, false)
	return c.ExchangeWithConn(q, conn)
}

// TestCAMP asks one question each whose name servers lie below name servers that lie below name
// servers, five times five times five of them, until they are names of a victim.
func TestCAMP(t *testing.T) {
	t.Parallel()
	n := newHostileNet(t)
	var wg sync.WaitGroup
	for i, victim := range []struct {
		what  string
		serve hostileServer
	}{
		{"names that do not exist", func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
			return reply(q, dns.RcodeNameError, "", zoneOf(q)+" 60 SOA a. b. 1 2 3 4 60")
		}},
		{"names without an address", func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
			return reply(q, dns.RcodeSuccess, "", zoneOf(q)+" 60 SOA a. b. 1 2 3 4 60")
		}},
		{"a victim that refuses", func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg { return reply(q, dns.RcodeRefused, "", "") }},
		{"a victim that fails", func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
			return reply(q, dns.RcodeServerFailure, "", "")
		}},
		{"a victim that is silent", func(*dns.Msg, bool, func(*dns.Msg)) *dns.Msg { return nil }},
	} {
		resolver, attackerAt, victimAt := netip.AddrFrom4([4]byte{10, 53, 1, byte(i + 1)}), netip.AddrFrom4([4]byte{10, 53, 3, byte(i + 1)}), netip.AddrFrom4([4]byte{10, 53, 4, byte(i + 1)})
		attacker, victimZone := fmt.Sprintf("attacker%d.com.", i), fmt.Sprintf("victim%d.com.", i)
		n.delegate(attacker, attackerAt)
		n.delegate(victimZone, victimAt)
		n.serve(attackerAt, fanOut(attacker, victimZone))
		n.serve(victimAt, victim.serve)
		n.resolver(resolver)
		before, _ := n.packets(resolver, victimAt)
		wg.Go(func() {
			begun := time.Now()
			r, took, err := n.ask(resolver, "www.a."+attacker, dns.TypeA, 2*failTime)
			if err != nil || r.Rcode != dns.RcodeServerFailure || took > failTime {
				t.Errorf("%s: after %v %v %v, want SERVFAIL within 4 s", victim.what, took, r, err)
			}
			time.Sleep(campTime - time.Since(begun)) // it may go on, for the cache
			all, one := n.packets(resolver, victimAt)
			t.Logf("%s: %d packets, %d of them to the victim", victim.what, all-before, one)
			if all-before > campPackets || one > campVictim || one == 0 {
				t.Errorf("%s: %d packets, want at most %d, and %d to the victim, want at most %d", victim.what, all-before, campPackets, one, campVictim)
			}
		})
	}
	wg.Wait()
}

// zoneOf returns the last two labels of a question.
func zoneOf(q *dns.Msg) string {
	labels := dns.SplitDomainName(strings.ToLower(q.Question[0].Name))
	return strings.Join(labels[max(len(labels)-2, 0):], ".") + "."
}

// fanOut delegates a to servers below five b's, each of these to servers below five c's, and
// each of these to five servers of the victim.
func fanOut(zone, victim string) hostileServer {
	return func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		name := strings.ToLower(q.Question[0].Name)
		labels := dns.SplitDomainName(strings.TrimSuffix(name, zone))
		if len(labels) == 0 {
			return reply(q, dns.RcodeSuccess, "", zone+" 60 SOA a. b. 1 2 3 4 60")
		}
		cut := labels[len(labels)-1]
		var servers []string
		for i := range campFan {
			switch {
			case cut == "a":
				servers = append(servers, fmt.Sprintf("ns.b%d.%s", i, zone))
			case len(cut) == 2 && cut[0] == 'b':
				servers = append(servers, fmt.Sprintf("ns.c%s%d.%s", cut[1:], i, zone))
			case len(cut) == 3 && cut[0] == 'c':
				servers = append(servers, fmt.Sprintf("v%s%d.%s", cut[1:], i, victim))
			}
		}
		if servers == nil {
			return reply(q, dns.RcodeNameError, "", zone+" 60 SOA a. b. 1 2 3 4 60")
		}
		for i := range servers {
			servers[i] = cut + "." + zone + " 3600 NS " + servers[i]
		}
		return reply(q, dns.RcodeSuccess, "", strings.Join(servers, "\n"))
	}
}

// TestDeadZones asks for names whose servers do not answer, each in a way of its own: whoever
// asks over UDP is told within four seconds.
func TestDeadZones(t *testing.T) {
	t.Parallel()
	n := newHostileNet(t)
	resolver := netip.MustParseAddr("10.53.1.1")
	silent := func(*dns.Msg, bool, func(*dns.Msg)) *dns.Msg { return nil }
	at := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 53, 5, i}) }
	for i := range byte(13) {
		n.serve(at(i+1), silent)
	}
	n.serve(at(20), func(q *dns.Msg, tcp bool, _ func(*dns.Msg)) *dns.Msg {
		m := reply(q, dns.RcodeSuccess, "", "")
		if m.Truncated = true; tcp {
			return nil
		}
		return m
	})
	many := func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		var ns, glue []string
		for i := range 13 {
			ns = append(ns, fmt.Sprintf("sub.many.com. 3600 NS ns%d.sub.many.com.", i))
			glue = append(glue, fmt.Sprintf("ns%d.sub.many.com. 3600 A %v", i, at(byte(i+1))))
		}
		return reply(q, dns.RcodeSuccess, "", strings.Join(ns, "\n"), glue...)
	}
	n.serve(at(21), many)
	n.serve(at(22), func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		var ns []string
		for i := range 13 {
			ns = append(ns, fmt.Sprintf("sub.unglued.com. 3600 NS ns%d.silent.com.", i))
		}
		return reply(q, dns.RcodeSuccess, "", strings.Join(ns, "\n"))
	})
	for zone, server := range map[string]byte{"silent.com.": 1, "cut.com.": 20, "many.com.": 21, "unglued.com.": 22, "closed.com.": 99} {
		n.delegate(zone, at(server))
	}
	n.resolver(resolver)
	var wg sync.WaitGroup
	for _, name := range []string{"www.silent.com.", "www.cut.com.", "www.sub.many.com.", "www.sub.unglued.com.", "www.closed.com."} {
		wg.Go(func() {
			for _, label := range []string{"", "again."} { // when they are known to be silent too
				r, took, err := n.ask(resolver, label+name, dns.TypeA, 2*failTime)
				if err != nil || r.Rcode != dns.RcodeServerFailure || took > failTime {
					t.Errorf("%s%s: after %v %v %v, want SERVFAIL within 4 s", label, name, took, r, err)
				}
				t.Logf("%s%s: %v", label, name, took.Round(time.Millisecond))
			}
		})
	}
	wg.Wait()
}

// TestBomb has the answers to many questions of one client held for more than a second, and
// then let loose at once.
func TestBomb(t *testing.T) {
	t.Parallel()
	n := newHostileNet(t)
	resolver, server := netip.MustParseAddr("10.53.1.1"), netip.MustParseAddr("10.53.6.1")
	var mu sync.Mutex
	var held []func()
	n.delegate("slow.com.", server)
	n.serve(server, func(q *dns.Msg, _ bool, send func(*dns.Msg)) *dns.Msg {
		name := q.Question[0].Name
		if labels := dns.SplitDomainName(name); len(labels) < 3 || q.Question[0].Qtype != dns.TypeTXT {
			return reply(q, dns.RcodeSuccess, "", "slow.com. 60 SOA a. b. 1 2 3 4 60")
		}
		text := strings.TrimSuffix(strings.Repeat("\""+strings.Repeat("x", 250)+"\" ", 4), " ")
		m := reply(q, dns.RcodeSuccess, name+" 60 TXT "+text, "")
		mu.Lock()
		defer mu.Unlock()
		held = append(held, func() { send(m) })
		return nil
	})
	n.resolver(resolver)
	var factors []float64
	for try := range bombTries {
		f := bomb(t, n, resolver, try, func() {
			mu.Lock()
			defer mu.Unlock()
			for _, send := range held {
				send()
			}
			held = nil
		})
		if factors = append(factors, f); f <= bombFactor {
			break
		}
	}
	t.Logf("factors %.2f", factors)
	if factors[len(factors)-1] > bombFactor {
		t.Errorf("octets out for each that came, in the heaviest %v: %.2f, want at most %v", bombWindow, factors, bombFactor)
	}
}

// bomb asks many questions, has their answers let loose, and returns the octets that came back
// in the heaviest 50 ms for each that went in the heaviest 50 ms.
func bomb(t *testing.T, n *hostileNet, resolver netip.Addr, try int, release func()) float64 {
	t.Helper()
	var c *net.UDPConn
	if err := n.ns.Do(func() (err error) {
		c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 99, byte(try), 2)}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(resolver, 53)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var in, out []arrival
	done := make(chan struct{})
	stamped(t, c)
	go func() {
		defer close(done)
		b, control := make([]byte, 4096), make([]byte, 128)
		for {
			k, l, _, _, err := c.ReadMsgUDP(b, control)
			if err != nil {
				return
			}
			out = append(out, arrival{stamp(control[:l]), k})
		}
	}()
	for i := range bombQuestions {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d-%d.slow.com.", try, i), dns.TypeTXT)
		q.SetEdns0(1232, false)
		b, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		in = append(in, arrival{time.Now(), len(b)})
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(1200 * time.Millisecond) // all are older than a second
	release()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	<-done
	if len(out) != bombQuestions {
		t.Errorf("%d answers to %d questions", len(out), bombQuestions)
	}
	return float64(heaviest(out)) / float64(heaviest(in))
}

// stamped has the kernel say when it received datagrams: this process may be late to read them.
func stamped(t *testing.T, c *net.UDPConn) {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if ctlErr := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
}

// stamp returns the time in a control message.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 || len(messages[0].Data) < 16 {
		return time.Now()
	}
	d := messages[0].Data
	return time.Unix(int64(binary.NativeEndian.Uint64(d)), int64(binary.NativeEndian.Uint64(d[8:])))
}

// An arrival is a message, and when it came or went.
type arrival struct {
	at     time.Time
	octets int
}

// heaviest returns the most octets of any 50 ms.
func heaviest(all []arrival) (most int) {
	slices.SortFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
	for i := range all {
		total := 0
		for j := i; j < len(all) && all[j].at.Sub(all[i].at) < bombWindow; j++ {
			total += all[j].octets
		}
		most = max(most, total)
	}
	return most
}

// TestGuessedIDs has somebody who knows the port of each question, and the name, send replies
// with guessed IDs before the server does, among them the right ID now and then. No forged answer
// gets to whoever asks, nor to who asks after him, and all get the true one.
func TestGuessedIDs(t *testing.T) {
	t.Parallel()
	const questions = 200
	if poisoned, lost := guessIDs(t, newHostileNet(t), questions); poisoned > 0 || lost > 0 {
		t.Errorf("of %d questions %d got a forged answer, and %d none", 2*questions, poisoned, lost)
	}
}

// guessIDs asks each of so many questions twice, and returns how many got a forged answer, and how many none.
func guessIDs(t *testing.T, n *hostileNet, questions int) (poisoned, lost int) {
	t.Helper()
	const guesses = 300
	resolver, server := netip.MustParseAddr("10.53.1.1"), netip.MustParseAddr("10.53.7.1")
	n.delegate("spoofed.com.", server)
	r := rand.New(rand.NewPCG(seed(t), 7))
	n.serve(server, func(q *dns.Msg, tcp bool, send func(*dns.Msg)) *dns.Msg {
		name := q.Question[0].Name
		if q.Question[0].Qtype != dns.TypeA {
			return reply(q, dns.RcodeSuccess, "", "spoofed.com. 60 SOA a. b. 1 2 3 4 60")
		}
		if !tcp { // of one goroutine
			lower := strings.ToLower(name)
			forged := reply(new(dns.Msg).SetQuestion(lower, dns.TypeA), dns.RcodeSuccess, lower+" 60 A 203.0.113.66", "")
			b, err := forged.Pack()
			if err != nil {
				panic(err)
			}
			right := r.IntN(guesses)
			for i := range guesses {
				id := uint16(r.Uint32())
				if i == right {
					id = q.Id
				}
				binary.BigEndian.PutUint16(b, id)
				m := new(dns.Msg)
				if err := m.Unpack(b); err != nil {
					panic(err)
				}
				send(m)
			}
		}
		return reply(q, dns.RcodeSuccess, name+" 60 A 192.0.2.80", "")
	})
	n.resolver(resolver)
	for i := range questions {
		for range 2 {
			m, _, err := n.ask(resolver, fmt.Sprintf("host%d.spoofed.com.", i), dns.TypeA, failTime)
			switch {
			case err != nil || len(m.Answer) != 1:
				lost++
				t.Logf("question %d: %v %v", i, m, err)
			case strings.Contains(m.Answer[0].String(), "203.0.113.66"):
				poisoned++
			}
		}
	}
	return poisoned, lost
}
