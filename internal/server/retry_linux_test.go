package server_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"port53/internal/server"
)

// TestRetry leaves out the address of a link that is not there, and serves it once the link has
// come, over UDP and TCP, with the server at work.
func TestRetry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs a network namespace, and so root")
	}
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRetry$", "-test.v")
		cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("link", "set", "lo", "up")
	late := netip.MustParseAddrPort("[fe80::53%late0]:5300")
	s := listen(t, server.Options{
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5300"), late}, Handler: worker(echo), Freebind: true,
	})
	if bound, err := s.Retry(); len(bound) > 0 || err != nil || len(s.Addrs()) != 1 {
		t.Fatalf("before the link is there: %v, %v, %v", bound, err, s.Addrs())
	}
	ip("link", "add", "late0", "type", "veth", "peer", "name", "far0")
	ip("link", "set", "late0", "up")
	ip("link", "set", "far0", "up")
	ip("addr", "add", "fe80::53/64", "dev", "late0", "nodad")
	bound, err := s.Retry()
	if err != nil || len(bound) != 1 || bound[0] != late || len(s.Addrs()) != 2 {
		t.Fatalf("%v, %v, %v", bound, err, s.Addrs())
	}
	if bound, err := s.Retry(); len(bound) > 0 || err != nil {
		t.Errorf("bound again: %v, %v", bound, err)
	}
	for _, network := range []string{"udp6", "tcp6"} {
		c, err := net.Dial(network, late.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if network == "tcp6" {
			exchangeTCP(t, c, 7, 20)
			continue
		}
		// The kernel drops packets to an address for a moment after its link came up: a client asks again.
		for tries := 0; ; tries++ {
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := c.Write(question(7, 20)); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(make([]byte, 512))
			if err == nil && n == 20 {
				break
			}
			if tries == 300 {
				t.Fatalf("%d octets, %v", n, err)
			}
		}
	}
}

// TestPeersMayHaveMore opens more connections than one client may have, from an address that
// zones are exchanged with, and as many as such a one may.
func TestPeersMayHaveMore(t *testing.T) {
	s := listen(t, server.Options{Limits: server.Limits{PerAddr: 2, PerPeer: 5, PerPrefix: 3}, Handler: worker(echo)})
	open := func() (held int) {
		for range 8 {
			c, err := net.Dial("tcp", s.Addrs()[0].String())
			if err != nil {
				continue // reset already
			}
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := c.Write(framed(question(1, 20))); err != nil {
				continue
			}
			if _, err := c.Read(make([]byte, 64)); err == nil {
				held++
			}
		}
		return held
	}
	if n := open(); n != 2 {
		t.Errorf("a client has %d connections, want 2", n)
	}
	s.SetPeers([]netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")})
	if n := open(); n != 3 { // with the two that are still open
		t.Errorf("a peer has %d more connections, want 3", n)
	}
}
