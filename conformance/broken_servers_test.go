package conformance_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// envFairness is how many questions TestBrokenServers asks.
const envFairness = "CONFORMANCE_BROKEN_QUESTIONS"

// TestBrokenServers asks port53, Unbound and BIND the same questions in an internet whose
// servers are each broken in one way: alone, beside a good server, and beside a good server of
// a signed zone. Where both peers answer within four seconds, port53 has to answer as well, or
// when the client asks again.
func TestBrokenServers(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, errors.New("root, for a network namespace"))
	}
	if _, err := zonegen.Signer(); err != nil {
		missing(t, err)
	}
	ns, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer ns.Close()
	questions := numberFrom(t, envFairness, 400)
	in, zones := brokenInternet(t, ns)
	resolvers := []string{"port53", "unbound", "named"}
	var servers [3]netip.AddrPort
	for i, name := range resolvers {
		servers[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 53, 1, byte(i + 1)}), 53)
		in.resolver(t, name, servers[i]).Close()
	}
	rnd := rand.New(rand.NewPCG(seed(t), 53))
	ask := make([]probe.Question, questions)
	order := rnd.Perm(questions)
	for i := range ask {
		ask[i] = brokenQuestion(rnd, zones[order[i]%len(zones)].name, i)
	}
	tally := &fairness{}
	slots := make(chan struct{}, 48) // so many clients, who each wait for all three
	var all sync.WaitGroup
	for i := range ask {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			tally.judge(ns, servers, ask[i], i, zones[order[i]%len(zones)].defect.lies)
		})
	}
	all.Wait()
	tally.report(t, len(zones))
}

// numberFrom returns the number in an environment variable, or another.
func numberFrom(t *testing.T, name string, otherwise int) int {
	t.Helper()
	n := otherwise
	if s := os.Getenv(name); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil || n < 1 {
			t.Fatalf("%s: %q is no number", name, s)
		}
	}
	return n
}

// brokenQuestion draws a question about a zone.
func brokenQuestion(rnd *rand.Rand, zone string, n int) probe.Question {
	q := probe.Question{Type: probe.TypeA, ID: uint16(n + 1), RD: true, EDNS: true, DO: n%3 == 0, Size: 1232}
	name := "www"
	switch rnd.IntN(12) {
	case 0:
		q.Type = probe.TypeAAAA
	case 1:
		name, q.Type = "@", probe.TypeMX
	case 2:
		name, q.Type = "text", probe.TypeTXT
	case 3:
		name = "alias"
	case 4:
		name = fmt.Sprintf("no%d", rnd.IntN(1<<20))
	case 5:
		name = "leaf.ent"
	case 6:
		name, q.Type = "www", 65 // HTTPS
	case 7:
		name, q.Type = "@", probe.TypeSOA
	default:
		name = fmt.Sprintf("n%d.b", rnd.IntN(1<<20)) // of a wildcard, so that nobody has it
	}
	if name == "@" {
		name = zone
	} else {
		name += "." + zone
	}
	q.Name = probe.MustName(name)
	return q
}

// fairness counts what became of the questions.
type fairness struct {
	mu       sync.Mutex
	asked    int
	both     int      // both peers answered within four seconds
	second   int      // of these, port53 did when asked again
	answered [3]int   // in four seconds
	sooner   int      // port53 answered where a peer did not
	unlike   []string // its answer is neither that of both peers nor what the good server says
	lost     []string // it gave none
}

// judge asks all three at once.
func (f *fairness) judge(ns *netns.Namespace, servers [3]netip.AddrPort, q probe.Question, n int, lies bool) {
	var got [3]string
	var wait sync.WaitGroup
	for i, at := range servers {
		wait.Go(func() { got[i] = asClient(ns, at, q, n) })
	}
	wait.Wait()
	again, truth := "", ""
	if !useful(got[0]) {
		again = asClient(ns, servers[0], q, n)
	}
	if got[1] == got[2] && got[0] != got[1] {
		truth = asClient(ns, netip.AddrPortFrom(netip.MustParseAddr(goodServer), 53), q, n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	for i := range got {
		if useful(got[i]) {
			f.answered[i]++
		}
	}
	peersDid := useful(got[1]) && useful(got[2])
	mine := got[0]
	if !useful(mine) && useful(again) {
		mine = again
	}
	switch {
	case !peersDid && useful(mine):
		f.sooner++
	case peersDid && !useful(mine):
		f.both++
		f.lost = append(f.lost, fmt.Sprintf("%v: %s, and again %s; unbound %s; named %s", &q, got[0], again, got[1], got[2]))
	case peersDid:
		f.both++
		if mine == again {
			f.second++
		}
		if got[1] == got[2] && mine != got[1] && mine != truth && !lies {
			f.unlike = append(f.unlike, fmt.Sprintf("%v:\nport53: %s\nothers: %s", &q, mine, got[1]))
		}
	}
}

// useful reports whether a client can do something with what it got.
func useful(reply string) bool {
	return strings.HasPrefix(reply, "NOERROR") || strings.HasPrefix(reply, "NXDOMAIN")
}

// patienceOfClients is how long a client waits, and then asks again.
const patienceOfClients = 4 * time.Second

// asClient asks once, over TCP too if need be, and returns what [resolved] does.
func asClient(ns *netns.Namespace, at netip.AddrPort, q probe.Question, n int) string {
	c := probe.Client{
		Server: at, Tries: 1, Timeout: patienceOfClients, Run: ns.Do,
		Source: netip.AddrFrom4([4]byte{10, 60, byte(n >> 8), byte(n)}),
	}
	defer c.Close()
	q.ID = uint16(rand.Uint32())
	return saidTo(&c, q)
}

func (f *fairness) report(t *testing.T, zones int) {
	t.Logf("%d zones, %d questions; answered within %v: port53 %d, unbound %d, named %d", zones, f.asked, patienceOfClients,
		f.answered[0], f.answered[1], f.answered[2])
	t.Logf("both peers answered %d, of which port53 %d when asked again; port53 answered %d others", f.both, f.second, f.sooner)
	for _, l := range f.lost[:min(len(f.lost), 40)] {
		t.Error("both peers answer: ", l)
	}
	for _, u := range f.unlike[:min(len(f.unlike), 20)] {
		t.Error("not as both peers: ", u)
	}
	if len(f.lost)+len(f.unlike) > 0 {
		t.Errorf("%d without an answer, %d with another one", len(f.lost), len(f.unlike))
	}
	if f.both < f.asked/2 {
		t.Errorf("the laboratory is not what it should be")
	}
}

// A brokenZone is a zone of the internet.
type brokenZone struct {
	name   string
	defect *defect
	pair   bool // beside a good server
	mode   zonegen.Mode
}

// brokenInternet makes the zones and starts the servers: a good one for all zones, and one
// for each defect that asks the good one and spoils what it says.
func brokenInternet(t *testing.T, ns *netns.Namespace) (*internet, []brokenZone) {
	t.Helper()
	in := &internet{ns: ns, dir: t.TempDir()}
	for _, addr := range []string{topServer, goodServer, "10.53.1.3"} {
		if err := ns.Do(exec.Command("ip", "address", "add", addr+"/32", "dev", "lo").Run); err != nil {
			t.Fatal(err)
		}
	}
	var zones []brokenZone
	for i := range defects {
		f := &defects[i]
		f.addr = netip.AddrFrom4([4]byte{10, 53, 2, byte(i + 1)})
		zones = append(zones, brokenZone{name: f.name + "-a.lab.", defect: f}, brokenZone{name: f.name + "-b.lab.", defect: f, pair: true})
		if f.signed {
			zones = append(zones, brokenZone{name: f.name + "-s.lab.", defect: f, pair: true, mode: zonegen.NSEC})
		}
	}
	root, lab := zonegen.New(".", zonegen.NSEC), zonegen.New("lab.", zonegen.NSEC)
	ownServers(root, topServer)
	ownServers(lab, topServer)
	var served []peers.Zone
	for i := range zones {
		z := &zones[i]
		made := zonegen.New(z.name, z.mode)
		z.fill(made, lab)
		if err := made.Write(in.dir); err != nil {
			t.Fatal(err)
		}
		if z.mode != zonegen.Plain {
			_, data, _ := strings.Cut(dsOf(t, made.File, z.name), " DS ")
			lab.Add(z.name, "DS", data)
		}
		served = append(served, peers.Zone{Name: z.name, File: made.File})
	}
	if err := lab.Write(in.dir); err != nil {
		t.Fatal(err)
	}
	root.Add("lab.", "NS", "ns1.lab.")
	root.Add("ns1.lab.", "A", topServer)
	_, data, _ := strings.Cut(dsOf(t, lab.File, "lab."), " DS ")
	root.Add("lab.", "DS", data)
	if err := root.Write(in.dir); err != nil {
		t.Fatal(err)
	}
	above := []peers.Zone{{Name: "lab.", File: lab.File}, {Name: ".", File: root.File}}
	in.hints = filepath.Join(in.dir, "hints")
	write(t, in.hints, ". 3600 NS ns1.\nns1. 3600 A "+topServer+"\n")
	in.anchor = filepath.Join(in.dir, "anchor")
	write(t, in.anchor, dsOf(t, root.File, ".")+"\n")
	for addr, zones := range map[string][]peers.Zone{topServer: above, goodServer: served} {
		start(t, peers.NSD, peers.Options{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 53), Zones: zones, Run: ns.Do, Dir: t.TempDir()})
	}
	good := newBackend(t, ns, netip.AddrPortFrom(netip.MustParseAddr(goodServer), 53))
	for i := range defects {
		serveDefect(t, ns, &defects[i], good)
	}
	return in, zones
}

// The servers that are not broken: of the root and lab., and of what is below.
const (
	topServer  = "10.53.0.1"
	goodServer = "10.53.0.2"
)

// fill gives a zone its records, and the zone above its delegation.
func (z *brokenZone) fill(made, parent *zonegen.Zone) {
	made.Records = slices.DeleteFunc(made.Records, func(r zonegen.Record) bool { return r.Type != "SOA" })
	made.Add("@", "MX", "10 www.@")
	made.Add("www", "A", "192.0.2.80")
	made.Add("alias", "CNAME", "www.@")
	made.Add("*.b", "A", "192.0.2.81")
	made.Add("leaf.ent", "A", "192.0.2.82")
	for i := range 6 {
		made.Add("text", "TXT", fmt.Sprintf("\"%0200d\"", i))
	}
	servers := map[string]string{"ns1." + z.name: z.defect.addr.String()}
	if z.pair {
		servers["ns2."+z.name] = goodServer
	}
	for name, addr := range servers {
		made.Add("@", "NS", name)
		made.Add(name, "A", addr)
		parent.Add(z.name, "NS", name)
		glue := addr
		switch {
		case z.defect.glue == "none" && name == "ns1."+z.name:
			continue
		case z.defect.glue == "wrong" && name == "ns1."+z.name:
			glue = deadServer
		case z.defect.glue == "v6" && name == "ns1."+z.name:
			parent.Add(name, "AAAA", "2001:db8::53")
			continue
		}
		parent.Add(name, "A", glue)
	}
	if z.defect.records != nil {
		z.defect.records(made)
	}
}

// deadServer is an address that nobody has.
const deadServer = "10.53.3.3"

// A backend asks the good server.
type backend struct {
	sockets chan *probe.Client
}

func newBackend(t *testing.T, ns *netns.Namespace, at netip.AddrPort) *backend {
	b := &backend{sockets: make(chan *probe.Client, 32)}
	for range cap(b.sockets) {
		c := &probe.Client{Server: at, Source: netip.MustParseAddr("10.53.9.1"), Run: ns.Do, Timeout: time.Second}
		b.sockets <- c
		t.Cleanup(c.Close)
	}
	return b
}

// ask returns what the good server says to a query, whole.
func (b *backend) ask(query []byte) []byte {
	c := <-b.sockets
	defer func() { b.sockets <- c }()
	reply, err := c.Exchange(query, true)
	if err != nil {
		return nil
	}
	return reply
}

// serveDefect makes a broken server, on an address of its own, until the test ends.
func serveDefect(t *testing.T, ns *netns.Namespace, f *defect, good *backend) {
	t.Helper()
	at := netip.AddrPortFrom(f.addr, 53)
	if !f.noUDP {
		var conn *net.UDPConn
		if err := ns.Do(func() (err error) {
			conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go f.datagrams(conn, good)
	}
	if f.noTCP {
		return
	}
	var listener *net.TCPListener
	if err := ns.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go f.stream(c, good)
		}
	}()
}

func (f *defect) datagrams(conn *net.UDPConn, good *backend) {
	for {
		b := make([]byte, 4096)
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		go func() {
			for _, d := range f.replies(b[:n], false, good) {
				_, _ = conn.WriteToUDPAddrPort(d, from)
			}
		}()
	}
}

func (f *defect) stream(c net.Conn, good *backend) {
	defer c.Close()
	for {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		if f.hang {
			continue
		}
		for _, d := range f.replies(query, true, good) {
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(d))), d...)); err != nil {
				return
			}
		}
	}
}

// replies is what the server sends to a query.
func (f *defect) replies(query []byte, tcp bool, good *backend) [][]byte {
	var q dns.Msg
	if q.Unpack(query) != nil || len(q.Question) != 1 {
		return nil
	}
	if f.drop != nil && f.drop(&q, tcp) {
		return nil
	}
	if f.delay != nil {
		time.Sleep(f.delay())
	}
	var r *dns.Msg
	if f.instead != nil {
		r = f.instead(&q, tcp)
	}
	if r == nil {
		said := good.ask(plainly(&q))
		r = new(dns.Msg)
		if said == nil || r.Unpack(said) != nil {
			return nil
		}
		r.Id = q.Id
	}
	if f.spoil != nil {
		f.spoil(&q, r, tcp)
	}
	b, err := r.Pack()
	if err != nil {
		return nil
	}
	room := dns.MinMsgSize
	if o := q.IsEdns0(); o != nil {
		room = max(room, min(int(o.UDPSize()), 1232))
	}
	if !tcp && len(b) > room && f.name != "large" {
		r.Truncated = true
		r.Answer, r.Ns = nil, nil
		if b, err = r.Pack(); err != nil {
			return nil
		}
	}
	if f.octets != nil && !tcp {
		return f.octets(b)
	}
	return [][]byte{b}
}

// plainly returns a query without EDNS options, which are the broken server's affair.
func plainly(q *dns.Msg) []byte {
	p := q.Copy()
	if o := p.IsEdns0(); o != nil {
		o.Option = nil
	}
	b, err := p.Pack()
	if err != nil {
		return nil
	}
	return b
}
