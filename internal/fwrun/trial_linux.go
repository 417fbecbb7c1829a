package fwrun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/firewall"
)

// The addresses of a trial: those of the server where it listens at all, and of nobody in
// particular (RFC 2544, RFC 5180).
const (
	serverFour, serverSix     = "198.19.53.53", "2001:2:0:53::53"
	elsewhereFour, elseSix    = "198.19.53.54", "2001:2:0:53::54"
	outsiderFour, outsiderSix = "198.18.7.7", "2001:2:0:7::7"
)

const (
	trialWait    = 400 * time.Millisecond // for an answer: both ends are the same machine
	trialWorkers = 16
	triedNets    = 6 // networks of each list whose edges are tried
	readyWait    = 5 * time.Second
)

// A Case is one packet of a trial.
type Case struct {
	Proto string           `json:"proto"`
	From  netip.Addr       `json:"from"`
	To    netip.AddrPort   `json:"to"`
	Who   string           `json:"who"` // why this source is tried
	Want  firewall.Verdict `json:"want"`
	Got   firewall.Verdict `json:"got"`
}

// Good reports whether the rules did what was wanted.
func (c *Case) Good() bool { return c.Got == c.Want }

// Try loads the rules in a network namespace, beside a server, and has clients in another
// send to it: from addresses that may, that may not, and those at the edges.
func (s *System) Try(ctx context.Context, p *firewall.Plan, r *firewall.Rules) ([]Case, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	ip, err := find("ip", "iproute2")
	if err != nil {
		return nil, err
	}
	here, err := newNamespace()
	if err != nil {
		return nil, err
	}
	defer here.close()
	there, err := newNamespace()
	if err != nil {
		return nil, err
	}
	defer there.close()
	cases := trialCases(p)
	if len(cases) == 0 {
		return nil, nil // nothing that comes in is governed
	}
	server, sources := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, c := range cases {
		server[c.To.Addr()], sources[c.From] = true, true
	}
	if err := link(ctx, ip, here, there, server, sources); err != nil {
		return nil, err
	}
	stop, err := answerer(here, cases)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := awaitLink(there, cases); err != nil {
		return nil, err
	}
	if err := here.do(func() error { return s.load(ctx, r) }); err != nil {
		return nil, err
	}
	next := make(chan *Case)
	var wg sync.WaitGroup
	for range trialWorkers {
		wg.Go(func() {
			for c := range next {
				// Both ends are one machine, which may be busy with something else: what is
				// to be answered is asked for again.
				for end := time.Now().Add(readyWait); ; {
					if c.Got = there.send(c); c.Got == c.Want || c.Got != firewall.Dropped || time.Now().After(end) {
						break
					}
				}
			}
		})
	}
	for i := range cases {
		next <- &cases[i]
	}
	close(next)
	wg.Wait()
	return cases, ctx.Err()
}

// trialCases returns the packets to send.
func trialCases(p *firewall.Plan) []Case {
	var cases []Case
	for _, six := range []bool{false, true} {
		servers := []netip.Addr{netip.MustParseAddr(serverFour)}
		other := netip.MustParseAddr(elsewhereFour)
		outsider := netip.MustParseAddr(outsiderFour)
		if six {
			servers[0], other, outsider = netip.MustParseAddr(serverSix), netip.MustParseAddr(elseSix), netip.MustParseAddr(outsiderSix)
		}
		if len(p.Listen) > 0 {
			servers = nil
			for _, a := range p.Listen {
				if a.Is6() == six && usable(a) {
					servers = append(servers, a.WithZone(""))
				}
			}
			servers = append(servers[:min(len(servers), 2)], other)
		}
		type source struct {
			addr netip.Addr
			who  string
		}
		sources := []source{{outsider, "an outsider"}}
		for kind, list := range map[string][]netip.Prefix{"client": p.Allow, "peer": p.Peers, "denied one": p.Deny} {
			tried := 0
			for _, n := range list {
				if n.Addr().Is6() != six || tried == triedNets {
					continue
				}
				tried++
				first, last := n.Addr(), lastOf(n)
				sources = append(
					sources,
					source{first, "the first of the " + kind + "s " + n.String()}, source{last, "the last of " + n.String()},
					source{first.Prev(), "just below " + n.String()}, source{last.Next(), "just above " + n.String()},
				)
			}
		}
		seen := map[netip.Addr]bool{}
		for _, src := range sources {
			if !usable(src.addr) || seen[src.addr] || slices.Contains(servers, src.addr) {
				continue
			}
			seen[src.addr] = true
			for _, to := range servers {
				for _, port := range p.Ports {
					cases = append(cases, Case{
						Proto: port.Proto,
						From:  src.addr,
						To:    netip.AddrPortFrom(to, port.Number),
						Who:   src.who,
						Want:  p.Decide(src.addr, to),
					})
				}
			}
		}
		for _, port := range p.Closed {
			want := firewall.Dropped
			if p.Reject {
				want = firewall.Rejected
			}
			cases = append(
				cases,
				Case{
					Proto: port.Proto,
					From:  outsider,
					To:    netip.AddrPortFrom(servers[0], port.Number),
					Who:   "an outsider, to " + port.Use,
					Want:  want,
				},
			)
		}
	}
	return cases
}

// usable reports whether an address can be a host's.
func usable(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] < 224 && b[0] != 127
	}
	b := a.As16()
	return !a.Is4In6() && b[0] != 0 // what is embedded or reserved
}

func lastOf(n netip.Prefix) netip.Addr {
	b := n.Addr().AsSlice()
	for i := n.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b) // it has the length that it had
	return a
}

// link joins two namespaces by a cable, and gives the ends their addresses.
func link(ctx context.Context, ip string, here, there *namespace, server, sources map[netip.Addr]bool) error {
	batch := func(n *namespace, lines ...string) error {
		return n.do(func() error {
			cmd := exec.CommandContext(ctx, ip, "-batch", "-")
			cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
			cmd.ExtraFiles = append(cmd.ExtraFiles, there.inside)
			if out, err := cmd.CombinedOutput(); err != nil {
				return &CommandError{"ip -batch", string(out), err}
			}
			return nil
		})
	}
	addrs := func(dev string, list map[netip.Addr]bool) []string {
		var lines []string
		for a := range list {
			extra := ""
			if a.Is6() {
				extra = " nodad"
			}
			lines = append(lines, fmt.Sprintf("addr add %s/%d dev %s%s", a, a.BitLen(), dev, extra))
		}
		return lines
	}
	const ours, theirs = "port53a", "port53b"
	lines := append(
		[]string{
			"link set lo up",
			"link add " + ours + " type veth peer name " + theirs + " netns /proc/self/fd/3",
			"link set " + ours + " up",
		},
		addrs(ours, server)...)
	if err := batch(here, append(lines, "route add default dev "+ours, "route add ::/0 dev "+ours)...); err != nil {
		return err
	}
	lines = append([]string{"link set lo up", "link set " + theirs + " up"}, addrs(theirs, sources)...)
	return batch(there, append(lines, "route add default dev "+theirs, "route add ::/0 dev "+theirs)...)
}

// answerer answers whatever comes to the addresses of the cases.
func answerer(n *namespace, cases []Case) (stop func(), err error) {
	var closers []func() error
	stop = func() {
		for _, c := range closers {
			_ = c()
		}
	}
	seen := map[string]bool{}
	err = n.do(func() error {
		for i := range cases {
			c := &cases[i]
			key := c.Proto + c.To.String()
			if seen[key] {
				continue
			}
			seen[key] = true
			if c.Proto == "tcp" {
				l, err := net.Listen("tcp", c.To.String())
				if err != nil {
					return err
				}
				closers = append(closers, l.Close)
				go func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						conn.Close()
					}
				}()
				continue
			}
			conn, err := net.ListenPacket("udp", c.To.String())
			if err != nil {
				return err
			}
			closers = append(closers, conn.Close)
			go func() {
				buf := make([]byte, 512)
				for {
					n, from, err := conn.ReadFrom(buf)
					if err != nil {
						return
					}
					_, _ = conn.WriteTo(buf[:n], from) // it is a trial: who hears nothing says so
				}
			}()
		}
		return nil
	})
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// awaitLink waits until the cable carries packets, before there are rules.
func awaitLink(there *namespace, cases []Case) error {
	ready := map[bool]bool{}
	for end := time.Now().Add(readyWait); ; {
		for i := range cases {
			c := cases[i]
			if six := c.To.Addr().Is6(); c.Proto == "udp" && !ready[six] && there.send(&c) == firewall.Answered {
				ready[six] = true
			}
			if ready[false] && ready[true] {
				return nil
			}
		}
		if time.Now().After(end) {
			return errors.New("the namespaces for the trial do not reach each other")
		}
	}
}

// send sends one packet and returns what became of it.
func (n *namespace) send(c *Case) firewall.Verdict {
	var conn net.Conn
	err := n.do(func() error {
		d := net.Dialer{Timeout: trialWait}
		if c.Proto == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.From, 0))
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.From, 0))
		}
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				// Sources at the edges may be a network's broadcast address.
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			})
		}
		var err error
		conn, err = d.Dial(c.Proto, c.To.String())
		return err
	})
	if err == nil {
		defer conn.Close()
		if c.Proto == "tcp" {
			return firewall.Answered
		}
		_ = conn.SetDeadline(time.Now().Add(trialWait))
		if _, err = conn.Write([]byte("port53")); err == nil {
			_, err = conn.Read(make([]byte, 16))
		}
		if err == nil {
			return firewall.Answered
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return firewall.Rejected
	}
	return firewall.Dropped
}
