package conformance_test

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// TestDrillFigures has each drill's figures beside those of the same attack over real sockets, on a server that was started as an
// operator starts it, in an internet of this process: counts are equal, and what depends on the machine is on the same side of the limit
// that the drill states.
func TestDrillFigures(t *testing.T) {
	t.Parallel()
	all := runDrills(t, "role: internal-resolver\n", 0, "all")
	for _, x := range []struct {
		drill   string
		measure func(*testing.T) map[string]float64
		within  float64 // how much counts and shares may differ
	}{
		{"nxns", measureNXNS, 2}, // packets for a question
		{"keytrap", measureKeyTrap, 5},
		{"flood", measureFlood, 0},
		{"poison", measurePoison, 5},
		{"tunnel", measureTunnel, 0},
		{"slowtcp", measureSlowTCP, 2},
		{"axfr", measureAXFR, 0},
	} {
		t.Run(x.drill, func(t *testing.T) {
			t.Parallel()
			measured := x.measure(t)
			for name, here := range measured {
				f, ok := all[x.drill].find(name)
				if !ok {
					t.Fatalf("%s has no figure %q: %+v", x.drill, name, all[x.drill])
				}
				t.Logf("%s: the drill has %.4g, the attack %.4g; limit %.4g", name, f.Value, here, f.Limit)
				timed := f.Unit == "ms" || f.Unit == "s" || x.drill == "flood"
				if !timed && math.Abs(f.Value-here) > x.within {
					t.Errorf("%s: the drill has %v, the attack %v", name, f.Value, here)
				}
				if f.holds(f.Value) != f.holds(here) {
					t.Errorf("%s: the drill has %v, the attack %v, and the limit %v is between them", name, f.Value, here, f.Limit)
				}
			}
		})
	}
}

// The addresses of a resolver that is attacked, and of its attackers.
var (
	drilledAt  = netip.MustParseAddr("10.53.1.1")
	attackedBy = netip.MustParseAddr("10.53.8.1")
	victimOf   = netip.MustParseAddr("10.53.8.2")
)

// measureNXNS asks for names below 60 delegations to 40 names of a victim's zone, which do not exist.
func measureNXNS(t *testing.T) map[string]float64 {
	const delegations, servers = 60, 40
	n := newHostileNet(t)
	n.delegate("nxns.com.", attackedBy)
	n.delegate("victim.com.", victimOf)
	n.serve(attackedBy, func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		labels := dns.SplitDomainName(strings.ToLower(q.Question[0].Name))
		if len(labels) < 3 {
			return reply(q, dns.RcodeSuccess, "", "nxns.com. 60 SOA a. b. 1 2 3 4 60")
		}
		cut, ns := labels[len(labels)-3], make([]string, servers)
		for i := range ns {
			ns[i] = fmt.Sprintf("%s.nxns.com. 300 NS ns%d.%[1]s.victim.com.", cut, i)
		}
		return reply(q, dns.RcodeSuccess, "", strings.Join(ns, "\n"))
	})
	n.serve(victimOf, func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		return reply(q, dns.RcodeNameError, "", "victim.com. 60 SOA a. b. 1 2 3 4 60")
	})
	n.resolver(drilledAt)
	for i := range delegations {
		_, _, _ = n.ask(drilledAt, fmt.Sprintf("n.r%d.nxns.com.", i), dns.TypeA, 2*failTime) // it fails
	}
	_, one := n.packets(drilledAt, victimOf)
	return map[string]float64{"packets to the victim for a question": float64(one) / delegations}
}

// measureKeyTrap asks for names with 30 wrong signatures each, by a key that the resolver trusts.
func measureKeyTrap(t *testing.T) map[string]float64 {
	const names, wrong = 60, 30
	n := newHostileNet(t)
	key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "keytrap.com.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257, Protocol: 3, Algorithm: dns.RSASHA256}
	private, err := key.Generate(1024)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(set ...dns.RR) *dns.RRSIG {
		now := time.Now()
		sig := &dns.RRSIG{
			Hdr: dns.RR_Header{Ttl: 300}, Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: "keytrap.com.",
			Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix()),
		}
		if err := sig.Sign(private.(crypto.Signer), set); err != nil {
			t.Error(err)
		}
		return sig
	}
	// It is the resolver whose time is taken: all is signed before.
	spoiled, signed := map[string][]dns.RR{}, sign(key)
	for i := range names {
		name := fmt.Sprintf("w%d.keytrap.com.", i)
		a, err := dns.NewRR(name + " 300 A 198.51.100.20")
		if err != nil {
			t.Fatal(err)
		}
		good := sign(a)
		octets, err := base64.StdEncoding.DecodeString(good.Signature)
		if err != nil {
			t.Fatal(err)
		}
		for j := range wrong {
			sig, b := *good, slices.Clone(octets)
			b[j] ^= 1
			sig.Signature = base64.StdEncoding.EncodeToString(b)
			spoiled[name] = append(spoiled[name], &sig)
		}
	}
	n.delegate("keytrap.com.", attackedBy)
	n.serve(attackedBy, func(q *dns.Msg, tcp bool, _ func(*dns.Msg)) *dns.Msg {
		switch name := strings.ToLower(q.Question[0].Name); {
		case name == "keytrap.com." && q.Question[0].Qtype == dns.TypeDNSKEY:
			m := reply(q, dns.RcodeSuccess, key.String(), "")
			m.Answer = append(m.Answer, signed)
			return m
		case name == "keytrap.com." || q.Question[0].Qtype != dns.TypeA:
			return reply(q, dns.RcodeSuccess, "", "keytrap.com. 60 SOA a. b. 1 2 3 4 60")
		default:
			m := reply(q, dns.RcodeSuccess, name+" 300 A 198.51.100.20", "")
			if m.Truncated = !tcp; tcp {
				m.Answer = append(m.Answer, spoiled[name]...)
			}
			return m
		}
	})
	anchors := filepath.Join(t.TempDir(), "anchors")
	write(t, anchors, key.ToDS(dns.SHA256).String()+"\n")
	n.resolverWith(drilledAt, "trust_anchors: "+anchors)
	var times []float64
	secure, failed := 0, 0
	for i := range names {
		r, took, err := n.ask(drilledAt, fmt.Sprintf("w%d.keytrap.com.", i), dns.TypeA, 2*failTime)
		if err != nil {
			continue
		}
		times = append(times, float64(took.Microseconds())/1000)
		if r.AuthenticatedData {
			secure++
		}
		if r.Rcode == dns.RcodeServerFailure {
			failed++
		}
	}
	slices.Sort(times)
	if len(times) < names/2 {
		t.Fatalf("%d answers to %d questions", len(times), names)
	}
	return map[string]float64{
		"median time for a question": times[len(times)/2], "answers taken for secure": float64(secure),
		"questions that failed as they should": 100 * float64(failed) / names,
	}
}

// measureFlood asks 8,000 questions a second for names below dead servers.
func measureFlood(t *testing.T) map[string]float64 {
	const senders, each = 4, 10 // at each tick of 5 ms
	n := newHostileNet(t)
	n.delegate("flood.com.", attackedBy)
	n.serve(attackedBy, func(*dns.Msg, bool, func(*dns.Msg)) *dns.Msg { return nil })
	n.resolver(drilledAt)
	var mu sync.Mutex
	var in, out int
	var asking, hearing sync.WaitGroup
	for s := range senders {
		var c *net.UDPConn
		if err := n.ns.Do(func() (err error) {
			from := &net.UDPAddr{IP: net.IPv4(10, 98, 0, byte(s+1))}
			c, err = net.DialUDP("udp4", from, net.UDPAddrFromAddrPort(netip.AddrPortFrom(drilledAt, 53)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		hearing.Go(func() {
			b := make([]byte, 4096)
			for {
				k, err := c.Read(b)
				if err != nil {
					return
				}
				mu.Lock()
				in += k
				mu.Unlock()
			}
		})
		asking.Go(func() {
			defer c.Close()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for i := range 400 {
				<-tick.C
				for j := range each {
					q := new(dns.Msg).SetQuestion(fmt.Sprintf("x%d-%d-%d.flood.com.", s, i, j), dns.TypeA)
					q.SetEdns0(1232, true)
					b, err := q.Pack()
					if err == nil {
						_, err = c.Write(b)
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					out += len(b)
					mu.Unlock()
				}
			}
		})
	}
	asking.Wait()
	hearing.Wait()
	return map[string]float64{"octets back for each sent": float64(in) / float64(out)}
}

// measurePoison has replies forged by who knows the port.
func measurePoison(t *testing.T) map[string]float64 {
	const questions = 50
	poisoned, lost := guessIDs(t, newHostileNet(t), questions)
	return map[string]float64{
		"forged answers": float64(poisoned), "true answers in spite of them": 100 * (1 - float64(poisoned+lost)/(2*questions)),
	}
}

// measureTunnel moves data in names until port53 top tells of it.
func measureTunnel(t *testing.T) map[string]float64 {
	n := newHostileNet(t)
	n.delegate("tunnel.com.", attackedBy)
	n.serve(attackedBy, func(q *dns.Msg, _ bool, _ func(*dns.Msg)) *dns.Msg {
		if q.Question[0].Qtype != dns.TypeTXT {
			return reply(q, dns.RcodeSuccess, "", "tunnel.com. 60 SOA a. b. 1 2 3 4 60")
		}
		return reply(q, dns.RcodeSuccess, q.Question[0].Name+` 60 TXT "`+strings.Repeat("x", 200)+`"`, "")
	})
	conf := n.resolverWith(drilledAt, "validation: false")
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	word := strings.Repeat("q7mzk4tx", 7)
	begun := time.Now()
	for i := 0; time.Since(begun) < time.Minute; i++ {
		text := strings.Map(func(c rune) rune { return rune("abcdefghijklmnopqrstuvwxyz234567"[(int(c)*31+i*i*7+i/3)%32]) }, word)
		name := fmt.Sprintf("%s.%s%d.%s.tunnel.com.", text, text[:40], i, text[20:])
		_, _, _ = n.ask(drilledAt, name, dns.TypeTXT, time.Second)
		if i%50 != 49 {
			continue
		}
		out, err := exec.Command(bin, "top", "--tunnels", "--json", "--config", conf).Output()
		if err != nil {
			t.Fatalf("port53 top: %v", err)
		}
		if strings.Contains(string(out), `"tunnel.com`) {
			return map[string]float64{"found": 1, "until it was found": time.Since(begun).Seconds()}
		}
	}
	return map[string]float64{"found": 0}
}

// measureSlowTCP opens 200 connections of one address that send an octet a second, and returns how many are left when no
// more are closed.
func measureSlowTCP(t *testing.T) map[string]float64 {
	n := newHostileNet(t)
	n.resolver(drilledAt)
	conns := connect(t, n.ns, &peers.Server{Addr: netip.AddrPortFrom(drilledAt, 53)}, 200, func(int) netip.Addr { return client(1, 1) })
	for _, c := range conns {
		defer c.Close()
	}
	for i := 0; ; i++ {
		before := len(conns)
		for _, c := range conns {
			_, _ = c.Write([]byte{byte(i + 1)}) // of a message that is never whole
		}
		time.Sleep(time.Second) // a slow client's rest
		conns = slices.DeleteFunc(conns, func(c net.Conn) bool {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			timeout, ok := err.(net.Error)
			return !ok || !timeout.Timeout()
		})
		if len(conns) == before { // the server has closed those that it wants to close
			return map[string]float64{"still open at the end, of one address": float64(before)}
		}
	}
}

// measureAXFR asks for a zone whole, without a key.
func measureAXFR(t *testing.T) map[string]float64 {
	n := namespace(t)
	s := floodServer(t, n)
	given := 0
	for range 20 {
		var c net.Conn
		if err := n.Do(func() (err error) { c, err = net.Dial("tcp", s.Addr.String()); return err }); err != nil {
			t.Fatal(err)
		}
		r, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetAxfr("flood.test."), &dns.Conn{Conn: c})
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Answer) > 0 {
			given++
		}
	}
	return map[string]float64{"transfers given": float64(given)}
}

// TestDrillsLeaveNothing ends drills in the middle in each way that there is: no process, namespace, file, interface, address, route nor
// rule is left, but for the directory of one that was killed, which the next drill removes.
func TestDrillsLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name   string
		signal syscall.Signal
		group  bool
	}{
		{"SIGINT of a terminal", syscall.SIGINT, true},
		{"SIGINT", syscall.SIGINT, false},
		{"SIGTERM", syscall.SIGTERM, false},
		{"SIGKILL", syscall.SIGKILL, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n, dir := namespace(t), t.TempDir()
			before := networkOf(t, n)
			cmd := startDrill(t, n, dir, "1m", "poison")
			inside, space := drillInside(t, cmd, dir)
			to := cmd.Process.Pid
			if x.group {
				to = -to
			}
			if err := syscall.Kill(to, x.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() == 0 {
				t.Error("exit code 0 of a drill that was ended")
			}
			for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				left := inSpace(space)
				if err := syscall.Kill(inside, 0); err == syscall.ESRCH && len(left) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("processes are left in the namespace: %v", left)
				}
			}
			if x.signal == syscall.SIGKILL {
				if left, _ := os.ReadDir(dir); len(left) != 1 {
					t.Errorf("%v, want the directory of the one that was killed", left)
				}
				if cmd := startDrill(t, n, dir, "1s", "axfr"); cmd.Wait() != nil {
					t.Error("the next drill fails")
				}
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if after := networkOf(t, n); after != before {
				t.Errorf("the network was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// startDrill starts a drill with a directory for temporary files, in a namespace.
func startDrill(t *testing.T, n *netns.Namespace, dir, each, name string) *exec.Cmd {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "port53.yaml")
	write(t, conf, "role: internal-resolver\n")
	cmd := exec.Command(bin, "drill", "--json", "--time", each, "--config", conf, name)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// drillInside waits until a drill's server runs, and returns its process and its network namespace.
func drillInside(t *testing.T, cmd *exec.Cmd, dir string) (pid int, space string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
		for _, file := range tasks {
			text, _ := os.ReadFile(file)
			if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				pid = n
			}
		}
		space, _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		// The server has its port, so the attack is about to begin.
		table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", pid))
		if pid != 0 && space != "" && strings.Contains(string(table), "0100007F:0035") {
			return pid, space
		}
	}
	t.Fatal("the drill does not begin")
	return 0, ""
}

// inSpace returns the processes of a network namespace.
func inSpace(space string) (list []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range all {
		if to, err := os.Readlink(link); err == nil && to == space {
			list = append(list, link)
		}
	}
	return list
}

// networkOf returns what a namespace has of interfaces, addresses, routes and rules.
func networkOf(t *testing.T, n *netns.Namespace) string {
	t.Helper()
	var b strings.Builder
	for _, line := range []string{"ip -o addr", "ip rule", "ip route show table all", "ip -6 route show table all", "nft list ruleset"} {
		words := strings.Fields(line)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := n.Do(cmd.Start); err != nil {
			missing(t, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s: %v %s", line, err, b.String())
		}
	}
	return b.String()
}
