package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"port53/internal/server"
)

// TestMain listens instead of testing when it is started as another program.
func TestMain(m *testing.M) {
	if at := os.Getenv("PORT53_TEST_HOLD"); at != "" {
		network, at, _ := strings.Cut(at, " ")
		var where net.Addr
		if network == "udp" {
			c, err := net.ListenPacket("udp", at)
			if err != nil {
				os.Exit(3)
			}
			where = c.LocalAddr()
		} else {
			l, err := net.Listen(network, at)
			if err != nil {
				os.Exit(3)
			}
			where = l.Addr()
		}
		fmt.Println(where)
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hold has a program of a name listen until the test ends.
func hold(t *testing.T, name, network, at string) (pid int, where netip.AddrPort) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "PORT53_TEST_HOLD="+network+" "+at)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Skip("nothing listens:", err)
	}
	return cmd.Process.Pid, netip.MustParseAddrPort(strings.TrimSpace(line))
}

// TestPortTaken has programs of all kinds where a server is to listen: the error says which,
// and what to do about it. Try says the same.
func TestPortTaken(t *testing.T) {
	for _, s := range []struct{ name, network, at, want, remedy string }{
		{"systemd-resolved", "tcp4", "127.0.0.53:0", "0.0.0.0", "DNSStubListener=no"},
		{"systemd-resolved", "udp", "127.0.0.53:0", "127.0.0.53", "DNSStubListener=no"},
		{"dnsmasq", "tcp4", "0.0.0.0:0", "127.0.0.1", "port=0"},
		{"docker-proxy", "tcp", "[::]:0", "127.0.0.1", "docker ps --filter publish="},
		{"named", "tcp4", "127.0.0.1:0", "127.0.0.1", "stop named (systemctl disable --now"},
		{"port53", "tcp4", "127.0.0.1:0", "127.0.0.1", "set other addresses in listen"},
	} {
		pid, where := hold(t, s.name, s.network, s.at)
		a := netip.AddrPortFrom(netip.MustParseAddr(s.want), where.Port())
		_, listened := server.Listen(server.Options{Addrs: []netip.AddrPort{a}, Handler: worker(echo)})
		for what, err := range map[string]error{"listen": listened, "try": server.Try(a)} {
			var held *server.AddrInUseError
			if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &held) {
				t.Errorf("%s beside %s: %v", what, s.name, err)
				continue
			}
			if got, want := err.Error(), fmt.Sprintf("address already in use: %s, process %d, has %s/%s; ", s.name, pid, where, s.network[:3]); !strings.Contains(got, want) || !strings.Contains(got, s.remedy) {
				t.Errorf("%s: %q, want %q and %q", what, got, want, s.remedy)
			}
		}
	}
	if err := server.Try(netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
		t.Error(err)
	}
	if err := server.Try(netip.MustParseAddrPort("192.0.2.1:5353")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("an address of nobody: %v", err)
	}
	libvirt := server.SocketHolder{Program: "dnsmasq", Command: "/usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/default.conf"}
	if got := libvirt.Remedy(); !strings.Contains(got, "libvirt") {
		t.Error(got)
	}
	if got := (server.SocketHolder{Proto: "tcp", UID: 105}).String(); !strings.Contains(got, "user ID 105") {
		t.Error(got)
	}
}
