package conformance_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"port53/conformance/netns"
)

// A digger is a program that moves data through DNS: its server, its client, which asks port53, and what has data
// move.
type digger struct {
	name   string
	server []string
	client []string
	move   func(*diggers) error
	ready  func(*diggers) bool // the tunnel is there
	moved  func(*diggers) int  // bytes that have come out of it
	needs  string
	domain string
	config string // of the resolver, beside what all have
}

type diggers struct {
	*testing.T
	ns  *netns.Namespace
	dir string

	// Of a tunnel for connections.
	once    sync.Once
	through net.Conn     // a connection through it
	out     atomic.Int64 // bytes that have come out
}

// TestTunnels has iodine move data through port53, in records of each type that it has, and dns2tcp: each tunnel is found
// within a minute, and nothing else is.
func TestTunnels(t *testing.T) {
	t.Parallel()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range allDiggers() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{d.server, d.client} {
				if _, err := exec.LookPath(args[0]); err != nil {
					missing(t, err)
				}
			}
			if _, err := os.Stat(d.needs); d.needs != "" && err != nil {
				missing(t, err)
			}
			ns, err := netns.New()
			if err != nil {
				missing(t, err)
			}
			defer ns.Close()
			g := &diggers{T: t, ns: ns, dir: t.TempDir()}
			g.run(bin, d)
		})
	}
}

func allDiggers() (list []digger) {
	for _, typ := range []string{"NULL", "TXT", "CNAME", "MX", "A"} {
		list = append(list, digger{
			name:   "iodine " + typ,
			server: []string{"/usr/sbin/iodined", "-f", "-c", "-P", "secret", "-l", "127.0.0.2", "-d", "tunS", "10.99.0.1/24", "t.evil.test"},
			client: []string{"/usr/sbin/iodine", "-f", "-r", "-P", "secret", "-d", "tunC", "-T", typ, "-m", "200", "127.0.0.1", "t.evil.test"},
			needs:  "/dev/net/tun",
			domain: "evil.test",
			ready: func(g *diggers) bool {
				text, _ := os.ReadFile(filepath.Join(g.dir, "iodine.log"))
				return strings.Contains(string(text), "Connection setup complete")
			},
			moved: (*diggers).received,
			move: func(g *diggers) error {
				return g.ns.Do(func() error {
					// The other end is of this machine too: what goes to it would not take the tunnel.
					through := func(_, _ string, c syscall.RawConn) error {
						var err error
						return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "tunC") }), err)
					}
					c, err := (&net.Dialer{Control: through}).Dial("udp", "10.99.0.77:9")
					if err != nil {
						return err
					}
					defer c.Close()
					random := rand.NewChaCha8([32]byte{})
					for { // 2 kB a second, until the test ends
						b := make([]byte, 200)
						_, _ = random.Read(b)
						_, _ = c.Write(b)
						select {
						case <-g.Context().Done():
							return nil
						case <-time.After(100 * time.Millisecond):
						}
					}
				})
			},
		})
	}
	return append(list, dns2tcp())
}

// dns2tcp is a tunnel whose octets are letters of either case, so that none comes up where case is mixed on the way, as port53 does
// unless it is told not to.
func dns2tcp() digger {
	const sink, entrance = "127.0.0.4:9", "127.0.0.1:8888"
	return digger{
		name:   "dns2tcp",
		server: []string{"/usr/bin/dns2tcpd", "-F", "-d", "1", "-f", "dns2tcpd.conf"},
		client: []string{"/usr/bin/dns2tcpc", "-d", "1", "-r", "sink", "-l", "8888", "-k", "secret", "-z", "t.evil.test", "127.0.0.1"},
		domain: "evil.test",
		config: "  case_randomization: false\n",
		moved:  func(g *diggers) int { return int(g.out.Load()) },
		ready: func(g *diggers) bool {
			g.once.Do(func() { g.sink(sink) })
			// A connection is what comes up; it is asked for again and again, as the server may not be there yet.
			if g.through == nil {
				_ = g.ns.Do(func() (err error) { g.through, err = net.Dial("tcp", entrance); return err })
			}
			if g.through == nil {
				return false
			}
			if _, err := g.through.Write([]byte("x")); err != nil {
				g.through = nil
			}
			return g.out.Load() > 0
		},
		move: func(g *diggers) error {
			random := rand.NewChaCha8([32]byte{})
			for { // 2 kB a second, until the test ends
				b := make([]byte, 200)
				_, _ = random.Read(b)
				if _, err := g.through.Write(b); err != nil {
					return err
				}
				select {
				case <-g.Context().Done():
					return nil
				case <-time.After(100 * time.Millisecond):
				}
			}
		},
	}
}

// sink takes connections at the end of a tunnel, and counts what comes.
func (g *diggers) sink(at string) {
	g.Helper()
	var l net.Listener
	if err := g.ns.Do(func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { l.Close() })
	go accept(l, func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			g.out.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
}

// output runs a program within the namespace.
func (g *diggers) output(args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, g.dir
	if err := g.ns.Do(cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// received returns how many bytes have come out of the device of iodine's server.
func (g *diggers) received() int {
	var links []struct {
		Stats64 struct{ RX struct{ Bytes int } }
	}
	out, err := g.output("ip", "-json", "-statistics", "link", "show", "dev", "tunS")
	if err == nil {
		err = json.Unmarshal([]byte(out), &links)
	}
	if err != nil || len(links) != 1 {
		g.Fatalf("the tunnel's device: %v: %s", err, out)
	}
	return links[0].Stats64.RX.Bytes
}

// deny answers at an address that no name exists: iodine's answers of type A are aliases for names that are nowhere.
func (g *diggers) deny(at string) {
	g.Helper()
	var pc net.PacketConn
	if err := g.ns.Do(func() (err error) { pc, err = net.ListenPacket("udp", at); return err }); err != nil {
		g.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})}
	go func() { _ = s.ActivateAndServe() }()
	g.Cleanup(func() { pc.Close() })
}

// begin starts a program within the namespace, until the test ends.
func (g *diggers) begin(args []string) {
	g.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(g.dir, filepath.Base(args[0])+".log"))
	if err != nil {
		g.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, g.dir
	if err := g.ns.Do(cmd.Start); err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && g.Failed() {
			g.Logf("%s:\n%.3000s", args[0], text)
		}
		log.Close()
	})
}

func (g *diggers) run(bin string, d digger) {
	writeViews(g.T, g.dir, "port53.yaml", `role: internal-resolver
listen: [127.0.0.1]
state_dir: state
metrics: {listen: off}
control: {socket: s}
resolver:
  allow: [127.0.0.0/8]
  stub: [{zone: evil.test, to: [127.0.0.2]}]
  forward: [{zone: ., to: [127.0.0.3]}]
  validation: false
  special_names: false
`+d.config)
	write(g.T, filepath.Join(g.dir, "dns2tcpd.conf"), "listen = 127.0.0.2\nport = 53\nuser = root\nchroot = /tmp\ndomain = t.evil.test\nkey = secret\nresources = sink:127.0.0.4:9\n")
	g.deny("127.0.0.3:53")
	g.begin(d.server)
	g.begin([]string{bin, "serve", "--config", "port53.yaml"})
	type tunnel struct {
		Client, Domain string
		Why            []string
	}
	look := func() []tunnel {
		var report struct{ Tunnels []tunnel }
		out, err := g.output(bin, "top", "--tunnels", "--json", "--config", "port53.yaml")
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		if err != nil {
			g.Logf("port53 top: %v: %s", err, out)
		}
		return report.Tunnels
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(g.dir, "s")); err == nil {
			break
		}
		if time.Now().After(end) {
			g.Fatal("port53 does not start")
		}
	}
	g.begin(d.client)
	// The tunnel is there once the client has found out what passes.
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if d.ready(g) {
			break
		}
		if time.Now().After(end) {
			g.Fatal("the tunnel is not there")
		}
	}
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- d.move(g) }()
	for {
		list := look()
		if len(list) == 1 && list[0].Client == "127.0.0.1" && strings.TrimSuffix(list[0].Domain, ".") == d.domain {
			g.Logf("found after %.0f s and %d bytes: %v", time.Since(begun).Seconds(), d.moved(g), list[0].Why)
			return
		}
		if len(list) > 1 {
			g.Errorf("more is taken for a tunnel: %+v", list)
		}
		// A busy machine may move less than the kilobyte a second that is promised to be found within a minute.
		if took := time.Since(begun); took > time.Minute && d.moved(g) > 60_000 || took > 5*time.Minute {
			g.Fatalf("not found in %.0f s: %+v; moved %d bytes", took.Seconds(), list, d.moved(g))
		}
		select {
		case err := <-done:
			if err != nil {
				g.Fatal(err)
			}
			done = nil
		case <-time.After(time.Second):
		}
	}
}
