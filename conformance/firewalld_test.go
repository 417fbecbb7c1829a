package conformance_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"port53/conformance/peers"
)

// busConf is a system bus of a test's own.
const busConf = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>
`

// TestFirewalld has firewalld guard the machine, and runs what docs/FIREWALL.md says beside it: who
// may ask is answered, nobody else is, and a reload of firewalld changes nothing of that.
func TestFirewalld(t *testing.T) {
	g := newGuarded(t)
	for _, program := range []string{"firewalld", "firewall-cmd", "dbus-daemon"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	dir := t.TempDir()
	put(t, dir+"/bus.conf", busConf, dir)
	if err := exec.Command("cp", "-a", "/etc/firewalld", dir+"/etc").Run(); err != nil {
		t.Fatal(err)
	}
	// What belongs to firewalld sees its files in place of the machine's, and its bus.
	private := fmt.Sprintf("mount --make-rprivate / && mount --bind %[1]s/etc /etc/firewalld && mount --bind %[2]s/run /run || exit 99\nexport DBUS_SYSTEM_BUS_ADDRESS=unix:path=%[1]s/bus PATH=$PATH:/usr/sbin:%[3]s\n", dir, g.private, filepath.Dir(g.bin))
	script := func(line string) *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", private+line)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Setpgid: true}
		return cmd
	}
	daemon := func(line string) {
		cmd := script("exec " + line)
		log, err := os.Create(filepath.Join(dir, strings.Fields(line)[0]+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := g.home.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			_ = cmd.Wait()
			log.Close()
		})
	}
	run := func(line string) (out string, err error) {
		err = g.home.Do(func() error {
			text, err := script(line).CombinedOutput()
			out = string(text)
			return err
		})
		return out, err
	}
	g.serve("policy: {allow: [198.51.100.0/24, \"2001:db8:1::/48\"]}\n")
	daemon("dbus-daemon --config-file=" + dir + "/bus.conf --nofork --nopidfile")
	daemon("firewalld --nofork --nopid")
	for end := time.Now().Add(startTimeout); ; time.Sleep(100 * time.Millisecond) { // between looks
		out, err := run("firewall-cmd --state")
		if err == nil {
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(dir + "/firewalld.log")
			t.Fatalf("firewalld does not run: %s\n%s", out, text)
		}
	}
	inside, outside, inside6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:1::1")
	if got := g.ask("udp", inside, g.v4); got == "answered" {
		t.Fatal("firewalld lets everything through")
	}
	conf := put(t, dir+"/port53.yaml", "role: authoritative\nlisten: [%q, %q]\nstate_dir: %s\nzones: [{name: test, file: test.zone}]\npolicy: {allow: [198.51.100.0/24, \"2001:db8:1::/48\"]}\n",
		netip.AddrPortFrom(g.v4, 53), netip.AddrPortFrom(g.v6, 53), dir)
	if out, err := run("port53 firewall status --backend nftables --config " + conf + " --state-dir " + g.state); err == nil || !strings.Contains(out, "firewalld") {
		t.Errorf("status does not tell of firewalld: %v\n%s", err, out)
	}
	ran := 0
	for _, line := range commandLines(t, "../docs/FIREWALL.md") {
		if !strings.HasPrefix(line, "firewall-cmd ") && !strings.Contains(line, "--backend nftables --confirm") {
			continue
		}
		ran++
		line = strings.Replace(line, "/etc/port53/port53.yaml", conf, 1)
		if strings.HasPrefix(line, "port53 ") {
			line += " --state-dir " + g.state
		}
		if out, err := run(line); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	if ran != 3 {
		t.Fatalf("%d command lines of the recipe", ran)
	}
	look := func(when string) {
		t.Helper()
		for _, proto := range []string{"udp", "tcp"} {
			for from, to := range map[netip.Addr]netip.Addr{inside: g.v4, inside6: g.v6} {
				if got := g.await(proto, from, to, "answered"); got != "answered" {
					t.Errorf("%s: %s from %s: %s", when, proto, from, got)
				}
			}
			if got := g.ask(proto, outside, g.v4); got != "dropped" {
				t.Errorf("%s: %s from %s: %s, want dropped", when, proto, outside, got)
			}
		}
		if out, err := run("port53 firewall status --backend nftables --config " + conf + " --state-dir " + g.state); err != nil {
			t.Errorf("%s: status: %v\n%s", when, err, out)
		}
	}
	look("after the recipe")
	if out, err := run("firewall-cmd --reload"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	look("after a reload of firewalld")
	if out, err := run("port53 firewall remove --state-dir " + g.state); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The server refuses who is outside, and soon limits how often: the first reply tells.
	if got := g.await("udp", outside, g.v4, "no answer"); got != "no answer" {
		t.Errorf("after remove: %s", got)
	}
}
