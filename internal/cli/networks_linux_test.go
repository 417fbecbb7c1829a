package cli_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/config"
	"port53/internal/wire"
)

// needRoot skips the test if it is not run by root, unless all must be run.
func needRoot(t *testing.T, programs ...string) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "root"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			why = p
		}
	}
	switch {
	case why == "":
	case os.Getenv("PORT53_REQUIRE_PEERS") == "1":
		t.Fatalf("required: %s", why)
	default:
		t.Skipf("missing: %s", why)
	}
}

// apart runs the test again in a network namespace of its own, and reports whether this is
// that run.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv("PORT53_TEST_CHILD") != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// command runs a program and returns what it printed on standard output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, errs.String())
	}
	return string(out)
}

// rcodeFrom asks the server on port 53 for a name from an address of this machine, and
// returns the response code, or what kept it from having one.
func rcodeFrom(from string, name string) string {
	local := netip.MustParseAddr(from)
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 53)))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	owner, err := wire.ParseName(name)
	if err != nil {
		return err.Error()
	}
	reply := make([]byte, 512)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = conn.Write(wire.AppendQuery(nil, 7, wire.FlagRD, owner, wire.TypeA))
		if n, err := conn.Read(reply); err == nil && n > 12 {
			return wire.Rcode(reply[3] & 15).String()
		}
		time.Sleep(10 * time.Millisecond) // between questions to a port that nobody has yet
	}
	return "no answer"
}

// TestPublicNetworks runs a resolver for inside on all addresses of a machine that has public
// ones. Its clients are those of its private networks, for the server, its log, its firewall
// and its audit alike, until the public ones are named.
func TestPublicNetworks(t *testing.T) {
	needRoot(t, "ip")
	if !apart(t) {
		return
	}
	command(t, "ip", "link", "set", "lo", "up")
	command(t, "ip", "link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
	command(t, "ip", "link", "set", "wan0", "up")
	inside := []string{"192.168.7.1", "192.168.7.77", "10.9.8.7", "172.20.1.1", "169.254.9.9", "fd00:53::1"}
	outside := []string{"203.0.113.5", "203.0.113.77", "100.64.1.1", "172.32.0.1", "2001:db8:53::5"}
	for _, a := range slices.Concat(inside, outside) {
		if strings.Contains(a, ":") {
			command(t, "ip", "addr", "add", a+"/64", "dev", "wan0", "nodad")
		} else {
			command(t, "ip", "addr", "add", a+"/24", "dev", "wan0")
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "port53.yaml")
	const text = "role: internal-resolver\nlisten: [\"0.0.0.0:53\", \"[::]:53\"]\nmetrics: {listen: off}\nstate_dir: state\n" +
		"control: {socket: s}\nzones: [{name: test, file: test.zone}]\n"
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("test.zone", fmt.Sprintf(testZone, 1))
	write("port53.yaml", text)
	cmd := exec.Command("port53", "serve", "--config", file)
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(errs)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "public networks") {
				told <- lines.Text()
			}
		}
	}()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()

	judged := func(clients, strangers []string) {
		t.Helper()
		for _, from := range clients {
			for name, want := range map[string]string{"ns.test": "NOERROR", "localhost": "NOERROR"} {
				if got := rcodeFrom(from, name); got != want {
					t.Errorf("%s from %s: %s, want %s", name, from, got, want)
				}
			}
		}
		for _, from := range strangers {
			for _, name := range []string{"ns.test", "localhost"} {
				if got := rcodeFrom(from, name); got != "REFUSED" {
					t.Errorf("%s from the stranger %s: %s", name, from, got)
				}
			}
		}
		// The firewall lets in whom the server answers, and nobody else.
		var shown struct {
			Plan struct {
				Allow     []netip.Prefix
				Everybody bool
			}
		}
		if err := json.Unmarshal([]byte(command(t, "port53", "firewall", "show", "--config", file, "--backend", "nftables", "--json")), &shown); err != nil {
			t.Fatal(err)
		}
		lets := func(from string) bool {
			return shown.Plan.Everybody || slices.ContainsFunc(shown.Plan.Allow, func(n netip.Prefix) bool { return n.Contains(netip.MustParseAddr(from)) })
		}
		for _, from := range clients {
			if !lets(from) {
				t.Errorf("the firewall keeps %s out", from)
			}
		}
		for _, from := range strangers {
			if lets(from) {
				t.Errorf("the firewall lets %s in", from)
			}
		}
		audit := command(t, "port53", "check", "--config", file, "--only", "CONF-OPEN", "--json")
		for _, n := range []string{"203.0.113.0/24", "100.64.1.0/24", "172.32.0.0/24", "2001:db8:53::/64"} {
			if strings.Contains(audit, n+", a network of this machine, is not private") != (len(strangers) > 0) {
				t.Errorf("the audit and %s:\n%s", n, audit)
			}
		}
	}
	judged(inside, outside)

	// The lines that the log proposes are taken, and count.
	var line string
	select {
	case line = <-told:
	case <-time.After(patience):
		t.Fatal("nothing was logged of the public networks")
	}
	for _, n := range []string{"203.0.113.0/24", "100.64.1.0/24", "172.32.0.0/24", "2001:db8:53::/64"} {
		if !strings.Contains(line[:strings.Index(line, "to_answer_them_write")], n) {
			t.Errorf("%s is not told of: %s", n, line)
		}
	}
	_, proposed, _ := strings.Cut(line, "to_answer_them_write=")
	first, second, _ := strings.Cut(proposed, " or_as_they_change=")
	for _, quoted := range []string{first, second} {
		add, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatal(err)
		}
		write("port53.yaml", text+add+"\n")
		if _, err := config.Load(file); err != nil {
			t.Fatal(err)
		}
		command(t, "port53", "reload", "--config", file)
		judged(slices.Concat(inside, outside), nil)
	}
}
