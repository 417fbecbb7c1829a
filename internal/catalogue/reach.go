package catalogue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"port53/internal/check"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// What the checks of hosts send and judge by.
const (
	icmpProbes = 60                      // datagrams to closed ports: ten more than Linux' burst of ICMP errors
	icmpBurst  = 50                      // net.ipv4.icmp_msgs_burst
	icmpRounds = 2                       // what is exact is so twice
	icmpWait   = 1100 * time.Millisecond // for a limit by the second to be whole again
	icmpPorts  = 33434                   // where traceroute begins, and nobody listens

	sourcePort = 53 // the port that careless filters trust
)

// mtuSizes are the octets of datagrams that are sent whole: what every path is to carry
// (DNS Flag Day 2020), and what those of tunnels and of Ethernet do.
func mtuSizes() []int { return []int{udpMax, 1400, 1452} }

// errFromHere says that a port of this machine itself tells nothing of strangers.
var errFromHere = fmt.Errorf(
	"the address is this machine's own, where what listens to loopback alone answers as well: %w tell",
	finding.ErrLocal,
)

// reachChecks returns the checks of what strangers reach.
func reachChecks() []*check.Check {
	return described(GroupReach, check.ScopeServer, "reach.txt", []*check.Check{
		{Check: finding.Check{ID: "PORT-UDP", Severity: finding.SevHigh}, Needs: check.Needs{Port: check.PortAny}, Run: portUDP},
		{Check: finding.Check{ID: "PORT-TCP", Severity: finding.SevHigh}, Needs: check.Needs{Port: check.PortAny}, Run: portTCP},
		{
			Check: finding.Check{ID: "PORT-V6", Severity: finding.SevMedium},
			Needs: check.Needs{Port: check.PortAny, Families: true},
			Run:   portV6,
		},
		{
			Check:      finding.Check{ID: "PORT-NEIGH", Severity: finding.SevHigh},
			Needs:      check.Needs{Port: check.PortAny, Remote: true},
			ExtraPorts: neighbourPorts,
			Run:        portNeighbours,
		},
		{
			Check: finding.Check{ID: "PORT-SRC", Severity: finding.SevMedium},
			Needs: check.Needs{Port: check.PortAny, Rights: "source port 53 needs root"},
			Run:   portSource,
		},
		{
			Check: finding.Check{ID: "PORT-SRCADDR", Severity: finding.SevMedium},
			Needs: check.Needs{Port: check.PortAny},
			Run:   portSourceAddress,
		},
		{
			Check: finding.Check{ID: "HOST-ICMP", Severity: finding.SevMedium, Mode: finding.Active},
			Needs: check.Needs{Port: check.PortAny, Cost: check.CostWaits},
			Run:   hostICMP,
		},
		{Check: finding.Check{ID: "HOST-TTL", Severity: finding.SevLow}, Needs: check.Needs{Port: check.PortAny}, Run: hostSizes},
	})
}

// nmap returns the command that shows a port's states with that tool.
func nmap(at netip.AddrPort, options string) string {
	six := ""
	if at.Addr().Unmap().Is6() {
		six = "-6 "
	}
	return fmt.Sprintf("nmap %s%s -Pn -n --reason -p %d %s", six, options, at.Port(), at.Addr())
}

func portUDP(ctx context.Context, r *check.Run) []finding.Finding {
	udp, tcp := r.Ports(ctx)
	ev := finding.Evidence{N: 1, Command: nmap(r.Server.Addr, "-sU")}
	switch {
	case udp.State == scan.Open:
		return finding.Verdict(finding.Pass, ev, "%s", udp)
	case tcp.State != scan.Open, udp.Denied():
		return finding.Verdict(finding.Unknown, ev, "nobody answers: %s, %s", udp, tcp)
	case udp.State == scan.OpenFiltered:
		return finding.Verdict(finding.Warn, ev, "%s, while %s", udp, tcp)
	}
	return finding.Verdict(finding.Fail, ev, "%s, while %s", udp, tcp)
}

func portTCP(ctx context.Context, r *check.Run) []finding.Finding {
	udp, tcp := r.Ports(ctx)
	ev := finding.Evidence{N: 1, Command: nmap(r.Server.Addr, "-sS")}
	if tcp.State == scan.Open {
		q := soaQuery(r)
		m, err := r.AskTCP(ctx, q)
		// A server with a bound for each client turns us away while other targets on the same
		// machine are looked at.
		for try := 1; try < check.AskTries && errors.Is(err, syscall.ECONNRESET); try++ {
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(try) * r.Timeout() / 2):
			}
			m, err = r.AskTCP(ctx, q)
			ev.N++
		}
		n := ev.N
		ev = seen(r.Server, q, m)
		ev.N = n
		ev.Command += " +tcp"
		if check.TimedOut(err) {
			err = check.ErrTimeout // without the port of this machine, which is another each time
		}
		if err != nil {
			return finding.Verdict(finding.Fail, ev, "%s, but a question is not answered: %v", tcp, err)
		}
		return finding.Verdict(finding.Pass, ev, "%s, and answers", tcp)
	}
	if udp.State == scan.Open && !tcp.Denied() {
		return finding.Verdict(finding.Fail, ev, "%s, while %s", tcp, udp)
	}
	return finding.Verdict(finding.Unknown, ev, "nobody answers: %s, %s", udp, tcp)
}

// twins returns the addresses of the other family that the same server has.
func twins(ctx context.Context, r *check.Run) []netip.AddrPort {
	if len(r.Server.Name) == 0 {
		return nil
	}
	var out []netip.AddrPort
	four := r.Server.Addr.Addr().Unmap().Is4()
	for _, s := range r.Servers {
		if wire.EqualFold(s.Name, r.Server.Name) && s.Addr.Addr().Unmap().Is4() != four {
			out = append(out, s.Addr)
		}
	}
	if len(out) == 0 && len(r.Options.Roots) > 0 {
		for _, a := range r.Addresses(ctx, r.Server.Name) {
			if a.Unmap().Is4() != four {
				out = append(out, netip.AddrPortFrom(a, r.Server.Addr.Port()))
			}
		}
	}
	return out
}

func portV6(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{N: 1, Command: nmap(r.Server.Addr, "-sU -sS")}
	list := twins(ctx, r)
	if udp, tcp := r.Ports(ctx); len(list) == 0 && udp.State != scan.Open && tcp.State != scan.Open {
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	if len(list) == 0 {
		return finding.Unmeasured(ev, fmt.Errorf("no address of the other family is known: %w", finding.ErrInapplicable))
	}
	ourUDP, ourTCP := r.Ports(ctx)
	var findings []finding.Finding
	for _, at := range list {
		ev := finding.Evidence{N: 2, Command: nmap(at, "-sU -sS")}
		udp, tcp := r.Scanner().Ports(ctx, at)
		detail := fmt.Sprintf("%s: %s, %s; %s: %s, %s", r.Server.Addr.Addr(), ourUDP, ourTCP, at.Addr(), udp, tcp)
		f := finding.Finding{State: finding.Pass, Key: at.Addr().String(), Detail: detail, Evidence: ev}
		switch {
		case ourUDP.State != scan.Open && ourTCP.State != scan.Open && udp.State != scan.Open && tcp.State != scan.Open:
			f.State = finding.Unknown
		case ourUDP.NoRoute() && ourTCP.NoRoute() || udp.NoRoute() && tcp.NoRoute():
			f.State, f.LocalCause, f.Detail = finding.Unknown, true, "from here there is no way to one of the two: "+detail
		case ourUDP.State != udp.State || ourTCP.State != tcp.State:
			f.State = finding.Warn
		}
		findings = append(findings, f)
	}
	return findings
}

// A neighbour is a port near a name server that is nothing for strangers.
type neighbour struct {
	port  uint16
	what  string
	state finding.State // if it is open
}

// neighbours returns the ports where name servers have more than questions.
func neighbours() []neighbour {
	return []neighbour{
		{953, "BIND's control channel (rndc)", finding.Fail},
		{8953, "Unbound's control channel", finding.Fail},
		{8952, "NSD's control channel", finding.Fail},
		{8081, "PowerDNS' interface for programs", finding.Fail},
		{8082, "the PowerDNS Recursor's interface for programs", finding.Fail},
		{8083, "dnsdist's web server", finding.Fail},
		{5199, "dnsdist's console", finding.Fail},
		{5380, "Technitium's web console", finding.Fail},
		{8453, "Knot Resolver's web interface", finding.Fail},
		{3000, "AdGuard Home's web console", finding.Fail},
		{4711, "Pi-hole's interface for programs", finding.Fail},
		{8053, "BIND's statistics", finding.Warn},
		{9153, "metrics (CoreDNS, port53)", finding.Warn},
		{8080, "CoreDNS' health", finding.Warn},
		{5335, "a second resolver", finding.Warn},
		{scan.MDNS, "multicast DNS", finding.Warn},
	}
}

// A neighbourStates is what was found at the neighbouring ports.
type neighbourStates []scan.Port

// neighbourPorts tells the states of the neighbouring ports, once for all checks.
func neighbourPorts(ctx context.Context, r *check.Run) []scan.Port {
	return check.Once(r, check.Fact[neighbourStates]{Server: r.Server.Addr}, func() neighbourStates {
		host := r.Server.Addr.Addr()
		list := r.Options.Lab.Neighbours
		if list == nil {
			for _, n := range neighbours() {
				list = append(list, n.port)
			}
			list = append(list, scan.QUIC, scan.HTTPS)
		}
		s := r.Scanner()
		found := make([]scan.Port, len(list)+1)
		var wg sync.WaitGroup
		for i, number := range list {
			at := netip.AddrPortFrom(host, number)
			if number == scan.MDNS {
				wg.Go(func() { found[i] = s.UDP(ctx, at) })
				continue
			}
			if number == scan.QUIC {
				wg.Go(func() { found[len(list)] = s.UDP(ctx, at) })
			}
			wg.Go(func() { found[i] = s.Connect(ctx, at) })
		}
		wg.Wait()
		return found
	})
}

func portNeighbours(ctx context.Context, r *check.Run) []finding.Finding {
	host := r.Server.Addr.Addr()
	ev := finding.Evidence{
		N: len(neighbours()),
		Command: fmt.Sprintf(
			"nmap -sT -Pn -n --reason -p 953,8953,8952,8081,8082,8083,5199,5380,8453,3000,4711,8053,9153,8080,5335,853,443 %s",
			host,
		),
	}
	if host.IsLoopback() && r.Options.Lab.Neighbours == nil {
		return finding.Unmeasured(ev, errFromHere)
	}
	found := neighbourPorts(ctx, r)
	answered := false
	var findings []finding.Finding
	for _, p := range found {
		answered = answered || p.State == scan.Open || p.State == scan.Closed
		if p.State != scan.Open || p.Number == r.Server.Addr.Port() {
			continue
		}
		for _, n := range neighbours() {
			if n.port != p.Number {
				continue
			}
			f := finding.Finding{
				State:    n.state,
				Key:      fmt.Sprint(n.port),
				Title:    fmt.Sprintf("strangers reach %s", n.what),
				Detail:   p.String(),
				Evidence: ev,
			}
			f.Evidence.Command = fmt.Sprintf("nmap -sT -Pn -n --reason -p %d %s", p.Number, host)
			if n.state == finding.Warn {
				f.Severity = finding.SevMedium
			}
			if p.Proto == "udp" {
				f.Evidence.Command = fmt.Sprintf("dig @%s -p %d +norec -t PTR -q _services._dns-sd._udp.local", host, p.Number)
			}
			findings = append(findings, f)
		}
	}
	if len(findings) > 0 {
		return findings
	}
	if udp, tcp := r.Ports(ctx); udp.State != scan.Open && tcp.State != scan.Open {
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	if !answered {
		return finding.Verdict(finding.Pass, ev, "%d ports are filtered", len(found))
	}
	return finding.Verdict(finding.Pass, ev, "none of %d ports is open", len(neighbours()))
}

// askFrom asks once from a port of our own, and returns the reply.
func askFrom(ctx context.Context, r *check.Run, port uint16, q check.Query) (*check.Reply, error) {
	probe, err := r.DialUDP(ctx) // nothing is sent: it tells our address
	if err != nil {
		return nil, err
	}
	local := probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	probe.Close()
	d := exchange.Dialer{Source: netip.AddrPortFrom(local, port)}
	var last error
	for range check.AskTries {
		c, err := d.Open(ctx, "udp", r.Server.Addr)
		if err != nil {
			return nil, err
		}
		m, err := check.Exchange(ctx, c, r.Server.Addr, r.Timeout(), q.Bytes())
		c.Close()
		if err == nil {
			return m, nil
		}
		last = err
	}
	return nil, last
}

func portSource(ctx context.Context, r *check.Run) []finding.Finding {
	q := soaQuery(r)
	low, high := finding.Evidence{
		N:       2,
		Command: strings.Replace(check.Dig(r.Server, q), " -p ", " -b 0.0.0.0#53 -p ", 1),
	}, (*check.Reply)(
		nil,
	)
	if r.Server.Addr.Addr().Unmap().Is6() {
		low.Command = strings.Replace(low.Command, "0.0.0.0", "::", 1)
	}
	var highErr error
	var wg sync.WaitGroup
	wg.Go(func() { high, highErr = r.Ask(ctx, q) })
	m, err := askFrom(ctx, r, sourcePort, q)
	wg.Wait()
	switch {
	case errors.Is(err, os.ErrPermission):
		return finding.Unmeasured(low, fmt.Errorf("%s: %w", r.Check.Needs.Rights, finding.ErrLocal))
	case err != nil && highErr != nil:
		return finding.Unmeasured(low, highErr)
	case err != nil && !check.TimedOut(err):
		return finding.Unmeasured(low, fmt.Errorf("port 53 of this machine is another program's: %w use it", finding.ErrLocal))
	case err != nil:
		return finding.Verdict(finding.Pass, low, "questions from port 53 are dropped, others answered")
	case highErr != nil:
		return finding.Verdict(finding.Warn, low, "only questions from port 53 are answered")
	case m.Rcode != high.Rcode:
		return finding.Verdict(finding.Warn, low, "from port 53 the answer is %s, else %s", m.Rcode, high.Rcode)
	}
	return finding.Verdict(finding.Pass, low, "the same answer")
}

func portSourceAddress(ctx context.Context, r *check.Run) []finding.Finding {
	udp, _ := r.Ports(ctx)
	ev := finding.Evidence{N: 1, Command: check.Dig(r.Server, soaQuery(r))}
	switch {
	case udp.From != "":
		return finding.Verdict(finding.Fail, ev, "%s answers what %s was asked", udp.From, r.Server.Addr)
	case udp.State == scan.Open:
		return finding.Verdict(finding.Pass, ev, "%s", udp)
	}
	return finding.Verdict(finding.Unknown, ev, "nobody answers: %s", udp)
}

func hostICMP(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{
		N: icmpProbes * icmpRounds,
		Command: fmt.Sprintf(
			"nmap -sU -Pn -n --max-retries 0 --min-rate 10000 -p %d-%d %s",
			icmpPorts,
			icmpPorts+icmpProbes-1,
			r.Server.Addr.Addr(),
		),
	}
	if udp, tcp := r.Ports(ctx); udp.State != scan.Open && tcp.State != scan.Open {
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	var n [icmpRounds]int
	for i := range n {
		var err error
		if n[i], err = scan.CountRefused(ctx, r.Server.Addr.Addr(), icmpPorts, icmpProbes, icmpWait); err != nil {
			return finding.Unmeasured(ev, err)
		}
	}
	s, detail := judgeErrors(n)
	return finding.Verdict(s, ev, "%s", detail)
}

// judgeErrors judges how many of 60 closed ports told that they are closed, each time.
func judgeErrors(n [icmpRounds]int) (finding.State, string) {
	detail := fmt.Sprintf("%d and %d of %d closed ports send an ICMP error", n[0], n[1], icmpProbes)
	switch {
	case n[0] == 0 && n[1] == 0:
		return finding.Unknown, "no ICMP errors come"
	case n[0] == icmpBurst && n[1] == icmpBurst:
		return finding.Warn, detail + ": a limit for all together that is exact"
	}
	return finding.Pass, detail
}

func hostSizes(ctx context.Context, r *check.Run) []finding.Finding {
	padded := func(size int) check.Query {
		q := soaQuery(r)
		q.EDNS = &check.EDNS{Size: udpMax, Options: wire.AppendOption(nil, wire.OptionPadding, nil)}
		q.EDNS.Options = wire.AppendOption(nil, wire.OptionPadding, make([]byte, max(size-len(q.Bytes()), 0)))
		return q
	}
	ev := finding.Evidence{N: 1 + len(mtuSizes()), Command: fmt.Sprintf("ping -M do -s %d %s", udpMax, r.Server.Addr.Addr())}
	if _, err := r.Ask(ctx, padded(0)); err != nil {
		return finding.Unmeasured(ev, err)
	}
	// Small ones are asked as well, for it may be a rate limit that is silent.
	again := func(size int) (arrives, known bool) {
		small := func() bool {
			m, err := r.AskOnce(ctx, r.Server, padded(0), r.ShortTimeout(r.Server))
			return err == nil && !m.Cut()
		}
		m, n := between(slices.Repeat([]func() bool{small}, dropTries), func() (*check.Reply, error) {
			q := padded(size)
			return &check.Reply{}, sendWhole(ctx, r, q.Bytes(), r.ShortTimeout(r.Server))
		})
		if m != nil || n == dropTries && !r.RateLimits(r.Server) {
			return m != nil, true
		}
		enough := limitTries
		for lost, try := 0, 0; try < outwaitTries+enough && ctx.Err() == nil; try++ {
			if !small() {
				select {
				case <-ctx.Done():
				case <-time.After(outwaitPause):
				}
				continue
			}
			q := padded(size)
			if sendWhole(ctx, r, q.Bytes(), r.ShortTimeout(r.Server)) == nil {
				return true, true
			}
			if !r.RateLimits(r.Server) {
				enough = dropTries
			}
			if lost++; lost >= enough {
				return false, true
			}
		}
		return false, false
	}
	for i, size := range mtuSizes() {
		q := padded(size)
		if err := sendWhole(ctx, r, q.Bytes(), r.ShortTimeout(r.Server)); err != nil {
			if check.TimedOut(err) {
				err = check.ErrTimeout
			}
			state := finding.Info
			if i == 0 {
				state = finding.Warn
			}
			ev.Command = fmt.Sprintf("ping -M do -s %d %s", size, r.Server.Addr.Addr())
			if arrives, known := again(size); arrives {
				continue
			} else if !known && r.RateLimits(r.Server) && ctx.Err() == nil {
				return r.RetryLater(ev)
			} else if !known {
				return finding.Unmeasured(ev, fmt.Errorf("questions of %d octets are lost, and small ones now and then: %w", size, err))
			}
			return finding.Verdict(state, ev, "questions of %d octets are lost, small ones are not: %v", size, err)
		}
	}
	q := check.Query{Name: r.Apex(), Type: wire.TypeDNSKEY, EDNS: &check.EDNS{Size: 4096, DO: true}}
	if m, err := r.AskTCP(ctx, q); err == nil && len(m.Raw) > udpMax && len(m.Raw) <= 4096 {
		if _, err := r.Ask(ctx, q); err != nil {
			return finding.Verdict(
				finding.Warn,
				seen(r.Server, q, nil),
				"an answer of %d octets comes over TCP, and not over UDP with room for 4096",
				len(m.Raw),
			)
		}
	}
	return finding.Verdict(finding.Pass, ev, "%d octets arrive in one piece", mtuSizes()[len(mtuSizes())-1])
}

// sendWhole sends a message that is not to be fragmented, and waits for its reply.
func sendWhole(ctx context.Context, r *check.Run, msg []byte, wait time.Duration) error {
	c, err := r.DialUDP(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err = scan.DontFragment(c); err == nil {
		_, err = check.Exchange(ctx, c, r.Server.Addr, wait, msg)
	}
	return err
}
