package cli

import (
	"embed"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"port53/internal/app"
	"port53/internal/config"
)

//go:embed example
var exampleFiles embed.FS

// serveExample runs the example: a resolver that also serves a zone, so that there is something
// to ask with and without the Internet. listen are its addresses; none: loopback, and the first
// port that is free.
func (s *streams) serveExample(sig *signals, listen []string) error {
	dir, err := os.MkdirTemp("", "port53-example-")
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	defer os.RemoveAll(dir)
	file, err := writeExample(dir)
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	c, err := config.Load(file)
	if err != nil {
		return failure(exitFault, "", "%v", err)
	}
	if len(listen) == 0 {
		c.Listen = freeLoopback()
	} else if c.Listen, err = loopbackListen(listen); err != nil {
		return err
	}
	missing := withoutTaken(c)
	// It runs beside whatever this machine has, port53 itself too.
	return s.run(sig, app.Options{Config: c, WithoutState: true}, nil, func(out io.Writer, a *app.App) { greet(out, a, missing) })
}

// withoutTaken leaves out the console and the API where another program has their ports, and returns what
// to say of that.
func withoutTaken(c *config.Config) (said string) {
	for name, at := range map[string]*netip.AddrPort{"console": &c.Console.Listen, "API": &c.API.Listen} {
		if l, err := net.Listen("tcp", at.String()); err == nil {
			l.Close()
			continue
		}
		said += fmt.Sprintf("There is no %s: another program has %s.\n", name, at)
		*at = netip.AddrPort{}
	}
	return said
}

// writeExample writes the embedded configuration and zone to dir and returns the
// configuration's path.
func writeExample(dir string) (string, error) {
	files, err := exampleFiles.ReadDir("example")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		text, err := exampleFiles.ReadFile("example/" + f.Name())
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), text, 0o644); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "port53.yaml"), nil
}

// The ports that the example tries, in this order. On many desktops 5353 belongs to multicast DNS.
const (
	firstExamplePort = 5353
	lastExamplePort  = 5362
)

// freeLoopback returns the loopback addresses that this machine has, with the first port that is
// free on all of them. If none of the usual ports is, it is one that the system chooses.
func freeLoopback() []netip.AddrPort {
	four, six := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	both := []netip.Addr{four}
	if free(netip.AddrPortFrom(six, 0)) {
		both = append(both, six)
	}
	for port := uint16(firstExamplePort); port <= lastExamplePort; port++ {
		var at []netip.AddrPort
		for _, addr := range both {
			if a := netip.AddrPortFrom(addr, port); free(a) {
				at = append(at, a)
			}
		}
		if len(at) == len(both) {
			return at
		}
	}
	return []netip.AddrPort{netip.AddrPortFrom(four, 0)}
}

// free reports whether an address can be bound for UDP and TCP.
func free(at netip.AddrPort) bool {
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return false
	}
	u.Close()
	t, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return false
	}
	t.Close()
	return true
}

// greet tells a person who started the example what to ask, and what the answers should be. missing is
// what is not there, and why.
func greet(out io.Writer, a *app.App, missing string) {
	at := a.Addrs()[0]
	fmt.Fprintf(out, `port53 resolves and validates for this machine on %s, UDP and TCP, and serves
the zone example.test. Four questions, and the answers to expect:

  dig @%[2]s -p %[3]d +short www.example.test           192.0.2.80
  dig @%[2]s -p %[3]d nothing.example.test              status: NXDOMAIN
  dig @%[2]s -p %[3]d +tcp +short www.example.test TXT  "port53 serves this example"
  dig @%[2]s -p %[3]d ads.example                       EDE: 15 (Blocked)

%[4]s query takes the same words, and says what an answer means. Names beyond
example.test are looked up from the root down, if this machine has the Internet.
`, at, at.Addr(), at.Port(), program())
	if link, err := a.ConsoleLink("this terminal"); err == nil {
		fmt.Fprintf(out, "\nThe console, by a link that works once, within ten minutes:\n\n  %s\n\n", link)
	}
	fmt.Fprintf(out, "%sCtrl-C stops it.\n", missing)
}

// program returns how this program was called.
func program() string {
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == "port53" {
		return os.Args[0]
	}
	return "port53"
}
