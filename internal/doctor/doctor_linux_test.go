package doctor_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/doctor"
)

// part is set for a process of this binary that plays another program.
const part = "PORT53_DOCTOR_PART"

func TestMain(m *testing.M) {
	switch os.Getenv(part) {
	case "":
		os.Exit(m.Run())
	case "listener":
		listen("127.0.0.1:53")
	case "server": // of a network of its own, which it is given an interface of
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		for _, args := range []string{"link set lo up", "addr add 192.0.2.2/24 dev far", "link set far up"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				fmt.Printf("ip %s: %s\n", args, out)
				os.Exit(1)
			}
		}
		listen("192.0.2.2:53")
	}
}

// listen answers every question with its own octets as a reply, until it is killed.
func listen(at string) {
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	buf := make([]byte, 65535)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil || n < 12 {
			os.Exit(1)
		}
		buf[2] |= 0x80
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// alone runs the test in a child that has a network of its own, and reports whether this is it.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const child = "PORT53_TEST_CHILD"
	if os.Getenv(child) != "" {
		command(t, "ip link set lo up")
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func command(t *testing.T, line string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", line, err, out)
	}
}

// play starts a process of this binary, and waits until it says that it is ready, after begin, if that is
// given, has been called with its ID. It is killed when the test ends.
func play(t *testing.T, role string, flags uintptr, begin func(pid int)) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), part+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if begin != nil {
		begin(cmd.Process.Pid)
		fmt.Fprintln(in, "begin")
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s: %q %v", role, line, err)
	}
	return cmd
}

// mended runs the command of a finding, and wants the trouble gone.
func mended(t *testing.T, o doctor.Options, id string) {
	t.Helper()
	f := finding(t, doctor.Examine(t.Context(), o), id)
	if f.State != doctor.Problem {
		t.Fatalf("%+v", f)
	}
	line := f.Remedy
	if o.Root != "" {
		line = strings.ReplaceAll(line, "/etc/", o.Root+"/etc/")
	}
	command(t, line)
	if f := finding(t, doctor.Examine(t.Context(), o), id); f.State != doctor.OK {
		t.Errorf("after %s: %+v", line, f)
	}
}

// TestPortTaken has another program on port 53, and takes it away by the command that is told.
func TestPortTaken(t *testing.T) {
	if !alone(t) {
		return
	}
	o := doctor.Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}}
	other := play(t, "listener", 0, nil)
	f := finding(t, doctor.Examine(t.Context(), o), "port-taken")
	if want := fmt.Sprint("kill ", other.Process.Pid); f.State != doctor.Problem || f.Remedy != want && !strings.HasPrefix(f.Remedy, "systemctl disable --now ") {
		t.Fatalf("%+v, want %s", f, want)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	if f := finding(t, doctor.Examine(t.Context(), o), "port-taken"); f.State != doctor.OK {
		t.Errorf("%+v", f)
	}
}

// TestResolvConf has /etc/resolv.conf name an address where nobody listens, while a server is at another.
func TestResolvConf(t *testing.T) {
	if !alone(t) {
		return
	}
	root := machine(t, map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0\n"})
	play(t, "listener", 0, nil)
	mended(t, doctor.Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}, Root: root}, "resolv-conf")
	if text, err := os.ReadFile(filepath.Join(root, "etc/resolv.conf")); err != nil || string(text) != "nameserver 127.0.0.1\n" {
		t.Errorf("%q %v", text, err)
	}
}

// TestFewPorts has few ports to ask from.
func TestFewPorts(t *testing.T) {
	if !alone(t) {
		return
	}
	command(t, "sysctl -w net.ipv4.ip_local_port_range='50000 50999'")
	mended(t, doctor.Options{Listen: free}, "few-ports")
}

// TestHalfIPv6 has a default route over an interface without a global address.
func TestHalfIPv6(t *testing.T) {
	if !alone(t) {
		return
	}
	command(t, "ip link add dead type veth peer name end && ip link set dead up && ip -6 route add default dev dead")
	mended(t, doctor.Options{Listen: free, IPv6: true}, "half-ipv6")
}

// TestMTUHole has a router drop large packets without a word, as tunnels and broken firewalls do.
func TestMTUHole(t *testing.T) {
	if !alone(t) {
		return
	}
	command(t, "ip link add near type veth peer name far && ip addr add 192.0.2.1/24 dev near && ip link set near up")
	play(t, "server", syscall.CLONE_NEWNET, func(pid int) { command(t, fmt.Sprintf("ip link set far netns %d", pid)) })
	o := doctor.Options{Listen: free, Probe: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:53")}}
	if f := finding(t, doctor.Examine(t.Context(), o), "mtu-hole"); f.State != doctor.OK {
		t.Fatalf("without a hole: %+v", f)
	}
	command(t, "nft 'add table ip hole; add chain ip hole in { type filter hook input priority 0; }; add rule ip hole in meta length > 1300 drop'")
	mended(t, o, "mtu-hole")
	o.Probe[0] = netip.MustParseAddrPort("192.0.2.2:54")
	if f := finding(t, doctor.Examine(t.Context(), o), "mtu-hole"); f.State != doctor.Unknown {
		t.Errorf("nobody answers: %+v", f)
	}
}

// TestClockSet has a clock that nobody keeps right, and one that is earlier than the program, on systems of each kind, and runs the
// command that is told. The clock is one for all of the machine, so programs stand in for those that set it.
func TestClockSet(t *testing.T) {
	for _, file := range []string{"usr/sbin/chronyd", "usr/lib/systemd/systemd-timesyncd", "usr/sbin/ntpd", "usr/bin/apt-get", "usr/bin/dnf", "sbin/apk", "usr/bin/pacman", "usr/bin/zypper", "none"} {
		for _, early := range []bool{false, true} {
			dir := t.TempDir()
			for name, want := range map[string]string{
				"systemctl": "enable --now chrony|enable --now ntpsec", "chronyc": "makestep", "timedatectl": "set-ntp true",
				"apt-get": "install -y chrony", "dnf": "install -y chrony", "apk": "add chrony", "pacman": "-S --noconfirm chrony",
				"zypper": "install -y chrony", "pkcon": "-y install chrony",
			} {
				done := "touch " + filepath.Join(dir, "set")
				if strings.Contains(want, " chrony") && name != "systemctl" {
					done = ":" // it is installed, and does not run yet
				}
				script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in '%s') %s;; *) exit 1;; esac\n", strings.ReplaceAll(want, "|", "' | '"), done)
				if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			built := time.Now()
			o := doctor.Options{Listen: free, Built: built, Root: machine(t, map[string]string{file: ""})}
			o.Clock = func() (time.Time, bool) {
				_, err := os.Stat(filepath.Join(dir, "set"))
				if early && err != nil {
					return built.Add(-time.Hour), true
				}
				return built, err == nil
			}
			mended(t, o, "clock")
		}
	}
}
