package conformance_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// A portState is what a scanner says of a port.
type portState struct{ state, reason string }

func (p portState) String() string { return p.state + " (" + p.reason + ")" }

const (
	// scannedPort is where the server of each situation is, or is not; nmap has
	// questions for this one.
	scannedPort = 53
	// nobody is a user without privileges, as everywhere.
	nobody = "65534"
	// scansAtOnce is how many situations are scanned at a time: they wait, mostly.
	scansAtOnce = 10
)

// A situation is one cause of a port's state.
type situation struct {
	name  string
	rules string // of nft, one a line, in a chain of input; empty for none
	// listen is who listens: u for UDP, t for TCP, s for a UDP socket that is silent, o for
	// one that answers from another address.
	listen string
	v6     bool // scan the IPv6 address
	// slow leaves the limit of ICMP errors that Linux has, one a second.
	slow bool
	// found are the states of the checks, for root; those that are not here must pass
	// or be unknown.
	found map[string]string
}

// situations are those that a port 53 is found in, with firewalls as they are written.
func situations() []situation {
	reject := func(with string) string { return "reject with " + with }
	list := []situation{
		{name: "open", listen: "ut", found: map[string]string{"PORT-UDP": "pass", "PORT-TCP": "pass", "PORT-SRC": "pass", "PORT-SRCADDR": "pass"}},
		{name: "closed", found: map[string]string{"PORT-UDP": "unknown", "PORT-TCP": "unknown", "PORT-SRC": "unknown", "PORT-SRCADDR": "unknown"}},
		{name: "closed, ICMP limited", slow: true},
		{name: "drop", rules: "drop", listen: "ut", found: map[string]string{"PORT-UDP": "unknown", "PORT-TCP": "unknown", "PORT-SRC": "unknown"}},
		{name: "tcp reset", rules: "meta l4proto tcp reject with tcp reset", listen: "ut", found: map[string]string{"PORT-UDP": "pass", "PORT-TCP": "fail"}},
		{name: "udp silent", listen: "st", found: map[string]string{"PORT-UDP": "warn", "PORT-TCP": "pass", "PORT-SRCADDR": "unknown"}},
		{name: "udp alone", listen: "u", found: map[string]string{"PORT-UDP": "pass", "PORT-TCP": "fail"}},
		{name: "tcp alone", listen: "t", found: map[string]string{"PORT-UDP": "fail", "PORT-TCP": "pass"}},
		{name: "syn alone", rules: "tcp flags & (syn | ack) != syn drop", listen: "ut"},
		{name: "wrong source address", listen: "ot", found: map[string]string{"PORT-UDP": "warn", "PORT-SRCADDR": "fail"}},
		{name: "rate-limited reject", rules: "meta l4proto tcp limit rate 1/second burst 1 packets reject with icmpx type port-unreachable\n" +
			"meta l4proto udp limit rate 1/second burst 1 packets reject with icmpx type port-unreachable\ndrop"},
		{name: "v6 alone, by v4", rules: "meta nfproto ipv4 drop", listen: "ut"},
		{name: "v6 alone, by v6", rules: "meta nfproto ipv4 drop", listen: "ut", v6: true},
		{name: "v6 closed", v6: true},
		{name: "v6 drop", rules: "drop", listen: "ut", v6: true},
		{name: "v6 tcp reset", rules: "meta l4proto tcp reject with tcp reset", listen: "ut", v6: true},
		{name: "source port 53 trusted", rules: "meta l4proto { tcp, udp } th sport != 53 drop", listen: "ut", found: map[string]string{"PORT-UDP": "unknown", "PORT-TCP": "unknown", "PORT-SRC": "warn"}},
	}
	for _, code := range []string{"net-unreachable", "host-unreachable", "prot-unreachable", "port-unreachable", "net-prohibited", "host-prohibited", "admin-prohibited"} {
		list = append(list, situation{name: "icmp " + code, rules: reject("icmp type " + code), listen: "ut"})
	}
	for _, code := range []string{"no-route", "admin-prohibited", "addr-unreachable", "port-unreachable", "policy-fail", "reject-route"} {
		list = append(list, situation{name: "icmpv6 " + code, rules: reject("icmpv6 type " + code), listen: "ut", v6: true})
	}
	return list
}

// TestPortStates compares what `port53 check` and nmap say of ports behind real
// firewalls: over UDP and by SYN as root, by connections and UDP without. Each
// situation has two namespaces with a cable between them, as two hosts.
func TestPortStates(t *testing.T) {
	for _, tool := range []string{"nmap", "nft", "ip", "setpriv", "sysctl"} {
		if _, err := peers.Find(tool); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	// nobody must be able to run it.
	public, err := os.MkdirTemp("", "port53-ports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(public) })
	text, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	bin = public + "/port53"
	if err := errors.Join(os.WriteFile(bin, text, 0o755), os.Chmod(bin, 0o755), os.Chmod(public, 0o755)); err != nil {
		t.Fatal(err)
	}
	list := situations()
	lines := make([]*scans, len(list))
	slots := make(chan struct{}, scansAtOnce)
	var wg sync.WaitGroup
	for i, s := range list {
		here, there := namespace(t), namespace(t)
		at := cable(t, here, there, i, s)
		if s.rules != "" {
			var rules strings.Builder
			rules.WriteString("table inet t {\nchain c {\ntype filter hook input priority 0; policy accept;\n")
			for rule := range strings.Lines(s.rules) {
				fmt.Fprintf(&rules, "th dport %d %s\n", scannedPort, strings.TrimSpace(rule))
			}
			rules.WriteString("}\n}\n")
			run(t, there, rules.String(), "nft", "-f", "-")
		}
		if err := there.Do(func() error { return listen(t, at, s.listen) }); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			lines[i] = scan(t, here, bin, at, &s)
		})
	}
	wg.Wait()
	var table strings.Builder
	for i, s := range list {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			x := lines[i]
			for _, c := range []struct {
				what       string
				want, have portState
			}{
				{"UDP as root", x.udp, x.rootUDP},
				{"UDP without root", x.udp, x.userUDP},
				{"TCP as root", x.syn, x.rootTCP},
				{"TCP without root", x.connect, x.userTCP},
			} {
				if c.want != c.have {
					t.Errorf("%s: %s, nmap has %s", c.what, c.have, c.want)
				}
			}
			for id, state := range x.found {
				if want, ok := s.found[id]; ok && want != state || !ok && (state == "fail" || state == "warn") != (want != "") && s.found != nil {
					t.Errorf("%s: %s, want %q", id, state, want)
				}
			}
			if len(x.found) != 4 {
				t.Errorf("checks: %v", x.found)
			}
			fmt.Fprintf(&table, "%-26s -sU %-34s -sS %-32s -sT %s\n", s.name, x.udp, x.syn, x.connect)
		})
	}
	t.Logf("as nmap prints them:\n%s", table.String())
}

// scans are what nmap says of a port, and what we say.
type scans struct {
	udp, syn, connect                  portState
	rootUDP, rootTCP, userUDP, userTCP portState
	found                              map[string]string // by root, by check
}

func scan(t *testing.T, here *netns.Namespace, bin string, at netip.AddrPort, s *situation) *scans {
	nmap := func(how string, user ...string) portState {
		args := append(user, "nmap", "-n", "-Pn", "--disable-arp-ping", "--reason", "-oX", "-", "-p", fmt.Sprint(scannedPort))
		args = append(args, strings.Fields(how)...)
		if s.v6 {
			args = append(args, "-6")
		}
		return parseNmap(t, run(t, here, "", append(args, at.Addr().String())...))
	}
	ours := func(user ...string) (udp, tcp portState, found map[string]string) {
		out := run(t, here, "", append(user, bin, "check", at.String(), "--only", "PORT-UDP,PORT-TCP,PORT-SRC,PORT-SRCADDR", "--timeout", "400ms", "--json")...)
		return parseOurs(t, out)
	}
	user := []string{"setpriv", "--reuid", nobody, "--regid", nobody, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"}
	x := new(scans)
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() { x.udp = nmap("-sU") },
		func() { x.syn = nmap("-sS") },
		// An ICMPv6 error is back on this short cable before the system call that sent
		// the segment is over, and Linux gives it to nobody then: nmap is to wait for
		// what comes of the repetition after a second.
		func() { x.connect = nmap("-sT --initial-rtt-timeout 2500ms", user...) },
		func() { x.rootUDP, x.rootTCP, x.found = ours() },
		func() { x.userUDP, x.userTCP, _ = ours(user...) },
	} {
		if wg.Go(f); s.slow || strings.Contains(s.rules, "limit") {
			wg.Wait() // each is to have the whole limit
		}
	}
	wg.Wait()
	return x
}

// TestErrorLimit has a host that limits ICMP errors for all together, as Linux did
// before SAD DNS was published, and one that does not.
func TestErrorLimit(t *testing.T) {
	for _, tool := range []string{"nft", "ip", "sysctl"} {
		if _, err := peers.Find(tool); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"warn", "pass"} {
		s := situation{}
		here, there := namespace(t), namespace(t)
		at := cable(t, here, there, 100+i, s)
		if want == "warn" {
			run(t, there, "table inet t {\nchain c {\ntype filter hook output priority 0; policy accept;\n"+
				"icmp type destination-unreachable limit rate 47/second burst 50 packets accept\nicmp type destination-unreachable drop\n}\n}\n", "nft", "-f", "-")
		}
		if err := there.Do(func() error { return listen(t, at, "ut") }); err != nil {
			t.Fatal(err)
		}
		out := run(t, here, "", bin, "check", at.String(), "--only", "HOST-ICMP", "--active", "--timeout", "400ms", "--json")
		if _, _, found := parseOurs(t, out); found["HOST-ICMP"] != want {
			t.Errorf("%v, want %s: %s", found, want, out)
		}
	}
}

// cable joins two namespaces and returns the address to scan in the second one.
func cable(t *testing.T, here, there *netns.Namespace, i int, s situation) netip.AddrPort {
	t.Helper()
	near, far := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
	run(t, here, "", "ip", "link", "add", near, "type", "veth", "peer", "name", far)
	var pid string
	// A process holds the other namespace for as long as the cable is laid.
	if err := there.Do(func() error {
		c := exec.Command("cat")
		in, err := c.StdinPipe()
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		t.Cleanup(func() { in.Close(); c.Wait() })
		pid = fmt.Sprint(c.Process.Pid)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	run(t, here, "", "ip", "link", "set", far, "netns", pid)
	for _, x := range []struct {
		n         *netns.Namespace
		link, end string
	}{{here, near, "1"}, {there, far, "2"}} {
		run(t, x.n, "", "ip", "addr", "add", "192.0.2."+x.end+"/24", "dev", x.link)
		run(t, x.n, "", "ip", "addr", "add", "2001:db8::"+x.end+"/64", "dev", x.link, "nodad")
		run(t, x.n, "", "ip", "link", "set", x.link, "up")
	}
	run(t, there, "", "ip", "addr", "add", "192.0.2.3/24", "dev", far) // to answer from
	if !s.slow {
		// Several scans at once would share Linux' own limits of ICMP errors: that of a
		// client, and that of all together, which is not exact any more. These are the
		// settings of this namespace alone.
		run(t, there, "", "sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
	}
	addr := "192.0.2.2"
	if s.v6 {
		addr = "2001:db8::2"
	}
	return netip.AddrPortFrom(netip.MustParseAddr(addr), scannedPort)
}

// listen opens the server's sockets.
func listen(t *testing.T, at netip.AddrPort, how string) error {
	for _, kind := range how {
		switch kind {
		case 't':
			l, err := net.Listen("tcp", at.String())
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go accept(l, func(c net.Conn) {
				b := make([]byte, 2048) // a question is one segment
				for {
					n, err := c.Read(b)
					if err != nil || n < 5 {
						return
					}
					b[4] |= 0x80
					c.Write(b[:n])
				}
			})
		default:
			in, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			t.Cleanup(func() { in.Close() })
			out := in
			if kind == 'o' {
				if out, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 3), Port: scannedPort}); err != nil {
					return err
				}
				t.Cleanup(func() { out.Close() })
			}
			go func() {
				b := make([]byte, 2048)
				for {
					n, from, err := in.ReadFromUDP(b)
					if err != nil {
						return
					}
					if kind != 's' && n > 2 {
						b[2] |= 0x80
						out.WriteToUDP(b[:n], from)
					}
				}
			}()
		}
	}
	return nil
}

// run runs a program in a namespace and returns what it prints.
func run(t *testing.T, n *netns.Namespace, input string, args ...string) []byte {
	t.Helper()
	path, err := peers.Find(args[0])
	if strings.Contains(args[0], "/") {
		path, err = args[0], nil
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	c := exec.Command(path, args[1:]...)
	var out, bad bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &out, &bad
	if err = n.Do(c.Start); err == nil {
		err = c.Wait()
	}
	// The check's exit code says what it found.
	if exit := new(exec.ExitError); err != nil && !(errors.As(err, &exit) && out.Len() > 0) {
		t.Errorf("%v: %v: %s", args, err, bad.String())
	}
	return out.Bytes()
}

func parseNmap(t *testing.T, text []byte) portState {
	t.Helper()
	var x struct {
		Ports []struct {
			State struct {
				State  string `xml:"state,attr"`
				Reason string `xml:"reason,attr"`
			} `xml:"state"`
		} `xml:"host>ports>port"`
	}
	if err := xml.Unmarshal(text, &x); err != nil || len(x.Ports) != 1 {
		t.Errorf("nmap: %v: %s", err, text)
		return portState{}
	}
	return portState{x.Ports[0].State.State, x.Ports[0].State.Reason}
}

func parseOurs(t *testing.T, text []byte) (udp, tcp portState, found map[string]string) {
	t.Helper()
	found = map[string]string{}
	var x struct {
		Checks []struct{ ID, State string }
		Ports  []struct {
			Proto, State, Reason string
			Port                 uint16
		}
	}
	if err := readReport(text, &x); err != nil {
		t.Errorf("port53 check: %v: %s", err, text)
	}
	for _, p := range x.Ports {
		switch {
		case p.Port != scannedPort:
		case p.Proto == "udp":
			udp = portState{p.State, p.Reason}
		default:
			tcp = portState{p.State, p.Reason}
		}
	}
	for _, c := range x.Checks {
		found[c.ID] = c.State
	}
	return udp, tcp, found
}
