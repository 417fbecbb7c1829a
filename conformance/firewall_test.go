package conformance_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// The firewall backends, as flags.
var backends = map[string][]string{
	"nftables": {"--backend", "nftables"}, "iptables-nft": {"--iptables", "iptables-nft"},
	"iptables-legacy": {"--iptables", "iptables-legacy"}, "ufw": {"--backend", "ufw"},
}

// A guarded is a machine with a server on port 53 and a firewall, and the world, on the
// other end of a cable.
type guarded struct {
	*testing.T
	bin, state  string
	home, world *netns.Namespace
	private     string // copies of the files of ufw
	v4, v6      netip.Addr
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, fmt.Errorf("root, for network namespaces"))
	}
	for _, program := range []string{"nft", "iptables-nft", "iptables-legacy", "ufw", "nmap", "ip"} {
		if _, err := peers.Find(program); err != nil {
			missing(t, err)
		}
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{T: t, bin: bin, state: t.TempDir(), private: t.TempDir(), v4: netip.MustParseAddr("192.0.2.53"), v6: netip.MustParseAddr("2001:db8::53")}
	for _, n := range []**netns.Namespace{&g.home, &g.world} {
		if *n, err = netns.New(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*n).Close)
	}
	// The other end moves by way of a process that lives there for a moment.
	g.in(g.home, "ip route del local 10.0.0.0/8 dev lo")
	g.in(g.world, "ip route del local 10.0.0.0/8 dev lo")
	hold := exec.Command("sleep", "60")
	if err := g.world.Do(hold.Start); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = hold.Process.Kill()
		_ = hold.Wait()
	}()
	// Addresses are ours at once: a second of doubt about link-local ones loses replies.
	g.in(g.home, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
	g.in(g.world, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
	g.in(g.home, fmt.Sprintf(`ip link add guarded0 type veth peer name world0 netns %d
ip link set guarded0 up
ip addr add %s/32 dev guarded0
ip addr add %s/128 dev guarded0 nodad
ip route add default dev guarded0
ip route add ::/0 dev guarded0`, hold.Process.Pid, g.v4, g.v6))
	g.in(g.world, "ip link set world0 up\nip route add default dev world0\nip route add ::/0 dev world0")
	for _, name := range []string{"ufw", "default"} {
		from := map[string]string{"ufw": "/etc/ufw", "default": "/etc/default/ufw"}[name]
		if out, err := exec.Command("cp", "-a", from, filepath.Join(g.private, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.Mkdir(filepath.Join(g.private, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	return g
}

// in runs a script in a namespace, with copies of ufw's files in place of the machine's,
// and returns what it printed.
func (g *guarded) in(n *netns.Namespace, script string) string {
	g.Helper()
	out, err := g.try(n, script)
	if err != nil {
		g.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

func (g *guarded) try(n *netns.Namespace, script string) (string, error) {
	g.Helper()
	prelude := ""
	if _, err := os.Stat(filepath.Join(g.private, "run")); err == nil {
		prelude = fmt.Sprintf("mount --make-rprivate / && mount --bind %[1]s/ufw /etc/ufw && mount --bind %[1]s/default /etc/default/ufw && mount --bind %[1]s/run /run || exit 99\n", g.private)
	}
	cmd := exec.Command("/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin\n"+prelude+"set -e\n"+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	var out []byte
	err := n.Do(func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	return string(out), err
}

// firewall runs the command in the guarded machine.
func (g *guarded) firewall(args ...string) string {
	g.Helper()
	return g.in(g.home, g.bin+" firewall "+strings.Join(args, " ")+" --state-dir "+g.state)
}

// serve starts a server on the machine.
func (g *guarded) serve(more string) {
	g.Helper()
	g.serveOn(53, more)
}

// serveOn starts a server on another port, to which questions for port 53 have to be sent.
func (g *guarded) serveOn(port uint16, more string) {
	g.Helper()
	dir := g.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "test.zone"), []byte("$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\n"), 0o644); err != nil {
		g.Fatal(err)
	}
	conf := filepath.Join(dir, "port53.yaml")
	text := fmt.Sprintf("role: authoritative\nlisten: [%q, %q]\nstate_dir: %s\nmetrics: {listen: off}\ncontrol: {socket: %[3]s/sock}\nzones: [{name: test, file: test.zone}]\n%s", netip.AddrPortFrom(g.v4, port), netip.AddrPortFrom(g.v6, port), dir, more)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		g.Fatal(err)
	}
	s, err := peers.Start(context.Background(), peers.Port53, peers.Options{
		Dir: dir, Addr: netip.AddrPortFrom(g.v4, port), Command: []string{g.bin, "serve", "--config", conf}, Run: g.home.Do, Unready: true,
	})
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(s.Stop)
	if got := g.await("udp", netip.MustParseAddr("198.51.100.1"), g.v4, "answered"); got != "answered" {
		g.Fatalf("the server does not answer: %s\n%s", got, s.Tail())
	}
}

// be gives the world an address.
func (g *guarded) be(a netip.Addr) {
	g.Helper()
	extra := ""
	if a.Is6() {
		extra = " nodad"
	}
	g.in(g.world, fmt.Sprintf("ip addr replace %s/%d dev world0%s", a, a.BitLen(), extra))
}

// await asks until the outcome is the one that is wanted, for as long as the slowest of
// machines may need, and returns the last. That nothing comes back cannot be awaited: one
// question shows it.
func (g *guarded) await(proto string, from, to netip.Addr, want string) (got string) {
	g.Helper()
	for end := time.Now().Add(startTimeout); ; {
		if got = g.ask(proto, from, to); got == want || time.Now().After(end) {
			return got
		}
	}
}

// ask asks the server a real question from an address, and returns what became of it.
func (g *guarded) ask(proto string, from, to netip.Addr) string {
	g.Helper()
	g.be(from)
	var err error
	_ = g.world.Do(func() error {
		d := &net.Dialer{Timeout: 400 * time.Millisecond, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		if proto == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		c := dns.Client{Net: proto, Dialer: d, Timeout: 400 * time.Millisecond}
		var r *dns.Msg
		if r, _, err = c.Exchange(new(dns.Msg).SetQuestion("ns.test.", dns.TypeA), netip.AddrPortFrom(to, 53).String()); err == nil && len(r.Answer) != 1 {
			err = fmt.Errorf("no answer")
		}
		return nil
	})
	switch {
	case err == nil:
		return "answered"
	case strings.Contains(err.Error(), "refused"):
		return "rejected"
	case strings.Contains(err.Error(), "timeout"):
		return "dropped"
	}
	return err.Error()
}

// TestFirewallMatrix loads the rules of each role with each backend in front of a real
// server, and sends real questions from addresses that may, that may not, and at the edges.
// nmap and port53 check see the states that belong to that.
func TestFirewallMatrix(t *testing.T) {
	type probe struct {
		from string
		want string
	}
	for _, role := range []struct {
		name   string
		args   []string
		probes []probe
		nmap   string // states of UDP and TCP for an outsider
	}{
		{"authoritative", []string{"--role", "authoritative", "--peer", "203.0.113.77"}, []probe{{"198.51.100.1", "answered"}, {"203.0.113.77", "answered"}, {"2001:db8:1::1", "answered"}}, "open open"},
		{"public-resolver", []string{"--role", "public-resolver"}, []probe{{"198.51.100.1", "answered"}, {"2001:db8:1::1", "answered"}}, "open open"},
		{"internal-resolver", []string{"--role", "internal-resolver", "--allow", "192.168.1.0/24", "--allow", "2001:db8:1::/48"}, []probe{
			{"192.168.1.1", "answered"},
			{"192.168.1.255", "answered"},
			{"192.168.0.255", "dropped"},
			{"192.168.2.0", "dropped"},
			{"198.51.100.1", "dropped"},
			{"2001:db8:1::", "answered"},
			{"2001:db8:1:ffff::1", "answered"},
			{"2001:db8:2::1", "dropped"},
			{"2001:db8:0:ffff::1", "dropped"},
		}, "open|filtered filtered"},
		{"domain-controller", []string{"--role", "domain-controller", "--reject"}, []probe{
			{"10.0.0.1", "answered"}, {"172.31.255.255", "answered"}, {"172.32.0.0", "rejected"}, {"198.51.100.1", "rejected"}, {"fd00::1", "answered"}, {"2001:db8:1::1", "rejected"},
		}, "closed closed"},
		{"none", []string{"--block"}, []probe{{"10.0.0.1", "dropped"}, {"198.51.100.1", "dropped"}, {"2001:db8:1::1", "dropped"}}, "open|filtered filtered"},
	} {
		for name, flags := range backends {
			t.Run(role.name+"/"+name, func(t *testing.T) {
				g := newGuarded(t)
				g.serve("")
				args := append([]string{"apply", "--untried"}, append(flags, role.args...)...)
				if name == "ufw" {
					args = append(args, "--enable")
				}
				g.firewall(args...)
				for _, p := range role.probes {
					from := netip.MustParseAddr(p.from)
					to := g.v4
					if from.Is6() {
						to = g.v6
					}
					for _, proto := range []string{"udp", "tcp"} {
						if got := g.await(proto, from, to, p.want); got != p.want {
							t.Errorf("%s from %s: %s, want %s", proto, from, got, p.want)
						}
					}
				}
				g.be(netip.MustParseAddr("198.51.100.1"))
				// A reply that comes late looks like none: both may look again.
				for end := time.Now().Add(startTimeout); ; {
					wrong := g.scan(role.nmap)
					if wrong == "" {
						break
					}
					if time.Now().After(end) {
						t.Fatal(wrong)
					}
				}
			})
		}
	}
}

// scan has nmap and port53 check look at port 53 from outside, and says what they see else
// than the states of UDP and TCP that are wanted.
func (g *guarded) scan(want string) string {
	g.Helper()
	out := g.in(g.world, fmt.Sprintf("nmap -n -Pn -sU -sS -p U:53,T:53 -S 198.51.100.1 -e world0 --max-retries 1 -oG - %s", g.v4))
	states := map[string]string{}
	for _, m := range regexp.MustCompile(`53/([a-z|]+)/(udp|tcp)/`).FindAllStringSubmatch(out, -1) {
		states[m[2]] = m[1]
	}
	if got := states["udp"] + " " + states["tcp"]; got != want {
		return fmt.Sprintf("nmap says %q, want %q:\n%s", got, want, out)
	}
	out, _ = g.try(g.world, fmt.Sprintf("%s check %s --only SRV-AA --timeout 300ms --json", g.bin, g.v4)) // it is its findings that count
	for proto, state := range states {
		if !regexp.MustCompile(`"proto": "` + proto + `",\s+"port": 53,\s+"state": "` + regexp.QuoteMeta(state) + `"`).MatchString(out) {
			return fmt.Sprintf("port53 check does not say that %s is %s:\n%s", proto, state, out)
		}
	}
	return ""
}

// TestFirewallRefuses has all that apply has to refuse: each is an error that says what to
// do, and no rule changes.
func TestFirewallRefuses(t *testing.T) {
	g := newGuarded(t)
	g.in(g.home, foreign)
	before := g.in(g.home, snapshot)
	apply := g.bin + " firewall apply --untried --state-dir " + g.state + " "
	for what, s := range map[string]struct{ script, want string }{
		"a network that is none":    {apply + "--allow 10.0.0.0/33 --backend nftables", "no network"},
		"a backend that is none":    {apply + "--block --backend pf", "there is no backend pf"},
		"the caller's own session":  {"SSH_CONNECTION='198.51.100.9 4000 192.0.2.53 53' " + apply + "--block --backend nftables", "cut off this very session"},
		"a session that sudo hides": {"SSH_CONNECTION='198.51.100.9 4000 192.0.2.53 53' sh -c 'env -u SSH_CONNECTION " + apply + "--block --backend nftables; exit $?'", "cut off this very session"},
		"enabling ufw by SSH":       {"SSH_CONNECTION='198.51.100.9 4000 192.0.2.53 22' " + apply + "--block --backend ufw --enable", "enabling ufw would cut off"},
		"too short a time":          {apply + "--block --backend nftables --confirm 1ms", "too short to confirm"},
		"no rights":                 {"setpriv --reuid 65534 --clear-groups " + apply + "--block --backend nftables", "only root"},
		"no program":                {"mount -t tmpfs none /usr/sbin; " + apply + "--block --backend nftables", "a program is missing: nft"},
		"ufw that is disabled":      {apply + "--block --backend ufw", "ufw is disabled"},
		"nothing to confirm":        {g.bin + " firewall confirm --state-dir " + g.state, "nothing to confirm"},
	} {
		out, err := g.try(g.home, s.script)
		if err == nil || !strings.Contains(out, s.want) {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
		if after := g.in(g.home, snapshot); after != before {
			t.Errorf("%s: the rules have changed:\n%s\nbefore:\n%s", what, after, before)
		}
	}
	g.in(g.home, "ufw allow 53/udp\nufw --force enable")
	before = g.in(g.home, snapshot)
	out, err := g.try(g.home, apply+"--block --backend ufw")
	if err == nil || !strings.Contains(out, "a rule of its own for port 53") || g.in(g.home, snapshot) != before {
		t.Errorf("a rule of ufw that would come first: %v\n%s", err, out)
	}
}

// foreign are rules of others, as Docker and fail2ban have them.
const foreign = `nft -f - <<'END'
table ip docker {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr 172.17.0.0/16 accept
	}
}
table inet f2b {
	set banned {
		type ipv4_addr
		elements = { 203.0.113.9 }
	}
	chain input {
		type filter hook input priority -1; policy accept;
		ip saddr @banned drop
	}
}
END
`

// snapshot prints all rules there are.
const snapshot = `nft -s list ruleset 2>/dev/null
for v in 4 6; do
	i=iptables-legacy-save; test $v = 6 && i=ip6tables-legacy-save
	$i | grep -v '^#' | sed 's/\[[0-9:]*\]//' | awk '/^\*/ {t=$0; n=0; next} /^COMMIT/ {next} /^:/ && ($2=="ACCEPT") {next} {if (n++==0) print t; print}'
done
cat /etc/ufw/user.rules /etc/ufw/user6.rules /etc/ufw/ufw.conf
ls /etc/ufw/applications.d
`

// TestFirewallComesAndGoes applies rules twice, others, and takes them away: rules of
// others stay as they are, to the octet.
func TestFirewallComesAndGoes(t *testing.T) {
	for name, flags := range backends {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			others := foreign
			if tool, ok := strings.CutPrefix(name, "iptables-"); ok {
				others += strings.ReplaceAll("I -N DOCKER\nI -A FORWARD -j DOCKER\nI -A DOCKER -s 172.17.0.0/16 -j ACCEPT\nI -N f2b-sshd\nI -A INPUT -p tcp --dport 22 -j f2b-sshd\nI -A f2b-sshd -s 203.0.113.9 -j DROP\n", "I ", "iptables-"+tool+" ")
			}
			if name == "ufw" {
				others += "ufw allow 22/tcp\nufw --force enable\nufw deny from 203.0.113.9\n"
			}
			g.in(g.home, others)
			before := g.in(g.home, snapshot)
			allow := append([]string{"--allow", "10.0.0.0/8", "--allow", "fd00::/8"}, flags...)
			status := func(want int, args []string) {
				t.Helper()
				out, err := g.try(g.home, g.bin+" firewall status "+strings.Join(args, " ")+" --state-dir "+g.state)
				code := 0
				if err != nil {
					code = err.(*exec.ExitError).ExitCode()
				}
				if code != want {
					t.Errorf("status exits with %d, not %d:\n%s", code, want, out)
				}
			}
			status(1, allow)
			g.firewall(append([]string{"apply"}, allow...)...)
			once := g.in(g.home, snapshot)
			if once == before {
				t.Error("nothing was loaded")
			}
			status(0, allow)
			if out := g.firewall(append([]string{"apply"}, allow...)...); !strings.Contains(out, "were loaded already") || g.in(g.home, snapshot) != once {
				t.Errorf("applying twice changed something:\n%s", out)
			}
			other := append([]string{"--role", "authoritative", "--redirect"}, flags...)
			status(1, other)
			g.firewall(append([]string{"apply", "--untried"}, other...)...)
			status(0, other)
			g.firewall(append([]string{"apply"}, allow...)...)
			if g.in(g.home, snapshot) != once {
				t.Error("back and forth is not where it was")
			}
			// Unconfirmed, they go back by themselves.
			g.firewall(append([]string{"apply", "--untried", "--confirm", "1s"}, other...)...)
			for end := time.Now().Add(startTimeout); g.in(g.home, snapshot) != once; {
				if time.Now().After(end) {
					t.Fatal("rules that nobody confirmed are still there")
				}
			}
			// Of two that nobody confirmed both go.
			g.firewall(append([]string{"apply", "--untried", "--confirm", "30s"}, other...)...)
			g.firewall(append([]string{"apply", "--untried", "--confirm", "1s", "--block"}, flags...)...)
			for end := time.Now().Add(startTimeout); g.in(g.home, snapshot) != once; {
				if time.Now().After(end) {
					t.Fatal("rules that nobody confirmed, twice, are still there")
				}
			}
			g.firewall("remove")
			if after := g.in(g.home, snapshot); after != before {
				t.Errorf("something is left:\n%s\nbefore:\n%s", after, before)
			}
			if out := g.firewall("remove"); !strings.Contains(out, "nothing was applied") {
				t.Error(out)
			}
		})
	}
}

// TestFirewallKilled kills apply at moments all over it: the old rules are loaded then, or
// the new ones.
func TestFirewallKilled(t *testing.T) {
	for name, flags := range backends {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.in(g.home, foreign)
			if name == "ufw" {
				g.in(g.home, "ufw --force enable")
			}
			sets := [2][]string{append([]string{"--allow", "10.0.0.0/8"}, flags...), append([]string{"--role", "authoritative"}, flags...)}
			var want [2]string
			for i, args := range sets {
				g.firewall(append([]string{"apply", "--untried"}, args...)...)
				want[i] = g.in(g.home, snapshot)
			}
			kills, changed := scale(t, 12), 0
			for i := range kills {
				at := 20 + 25*i // milliseconds
				script := fmt.Sprintf("%s firewall apply --untried %s --state-dir %s &\np=$!\nsleep 0.%03d\nkill -9 $p 2>/dev/null || true\nwait\n", g.bin, strings.Join(sets[i%2], " "), g.state, at)
				_, _ = g.try(g.home, script) // how it ends is not the point
				// What it had begun goes on without it.
				var got string
				for end := time.Now().Add(startTimeout); ; {
					if got = g.in(g.home, snapshot); got == want[0] || got == want[1] || time.Now().After(end) {
						break
					}
				}
				switch got {
				case want[i%2]:
					changed++
				case want[1-i%2]:
				default:
					t.Fatalf("killed after %d ms the rules are neither the old nor the new:\n%s", at, got)
				}
			}
			t.Logf("%d kills, the new rules after %d", kills, changed)
		})
	}
}

// TestFirewallManaged has the server itself keep the rules in step with its configuration.
func TestFirewallManaged(t *testing.T) {
	g := newGuarded(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "port53.yaml")
	write := func(allow string) {
		t.Helper()
		text := fmt.Sprintf("role: authoritative\nlisten: [%q, %q]\nstate_dir: %s\nmetrics: {listen: off}\ncontrol: {socket: %[3]s/sock}\nzones: [{name: test, file: test.zone}]\npolicy: {allow: [%s]}\nfirewall: {manage: true, state_dir: %[3]s/firewall}\n",
			netip.AddrPortFrom(g.v4, 53), netip.AddrPortFrom(g.v6, 53), dir, allow)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "test.zone"), []byte("$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	write("198.51.100.0/24")
	s, err := peers.Start(context.Background(), peers.Port53, peers.Options{
		Dir: dir, Addr: netip.AddrPortFrom(g.v4, 53), Command: []string{g.bin, "serve", "--config", conf}, Run: g.home.Do, Unready: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	await := func(from, want string) {
		t.Helper()
		if got := g.await("udp", netip.MustParseAddr(from), g.v4, want); got != want {
			t.Fatalf("%s: %s, want %s\n%s", from, got, want, s.Tail())
		}
	}
	await("198.51.100.1", "answered")
	await("203.0.113.1", "dropped")
	write("203.0.113.0/24")
	if err := s.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await("203.0.113.1", "answered")
	await("198.51.100.1", "dropped")
}

// TestFirewallRedirect has a client ask another server, and this one answers, from an
// address that it serves.
func TestFirewallRedirect(t *testing.T) {
	for name, flags := range backends {
		if name == "ufw" {
			continue // it cannot
		}
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.serve("")
			// A second address of the machine, which nobody serves, is the first of the interface.
			g.in(g.home, "ip addr flush dev guarded0 scope global\nip addr add 192.0.2.1/32 dev guarded0\nip addr add "+g.v4.String()+"/32 dev guarded0\nip addr add "+g.v6.String()+"/128 dev guarded0 nodad\nip route replace default dev guarded0\nip route replace ::/0 dev guarded0")
			mac := regexp.MustCompile(`link/ether ([0-9a-f:]+)`).FindStringSubmatch(g.in(g.home, "ip link show guarded0"))[1]
			other4, other6 := netip.MustParseAddr("192.0.2.99"), netip.MustParseAddr("2001:db8::99")
			g.in(g.world, fmt.Sprintf("ip neigh replace %s lladdr %[3]s dev world0\nip neigh replace %[2]s lladdr %[3]s dev world0", other4, other6, mac))
			if got := g.ask("udp", netip.MustParseAddr("198.51.100.1"), other4); got == "answered" {
				t.Fatal("it is answered without rules")
			}
			g.firewall(append([]string{"apply", "--untried", "--allow", "198.51.100.0/24", "--allow", "2001:db8:1::/48", "--listen", g.v4.String(), "--listen", g.v6.String(), "--redirect"}, flags...)...)
			for _, proto := range []string{"udp", "tcp"} {
				for from, to := range map[string]netip.Addr{"198.51.100.1": other4, "2001:db8:1::1": other6} {
					if got := g.await(proto, netip.MustParseAddr(from), to, "answered"); got != "answered" {
						t.Errorf("%s from %s to %s: %s", proto, from, to, got)
					}
				}
			}
		})
	}
}

// TestFirewallFlood floods a server from random sources, with rules and without: with them
// conntrack stays empty, and a good client has its answers.
func TestFirewallFlood(t *testing.T) {
	for _, rules := range []string{"none", "nftables", "iptables-nft", "iptables-legacy"} {
		t.Run(rules, func(t *testing.T) {
			g := newGuarded(t)
			g.serve("policy: {rate_limit: {enabled: false}}\n")
			// Somebody's rule that tracks connections, as nearly every machine has one.
			g.in(g.home, "nft -f - <<'END'\ntable inet other {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tct state established,related accept\n\t}\n}\nEND\n")
			if rules != "none" {
				g.firewall(append([]string{"apply", "--untried", "--role", "authoritative"}, backends[rules]...)...)
			}
			g.in(g.world, "ip route add local 10.0.0.0/8 dev lo")
			// By way of one neighbour: the table of neighbours is one for all namespaces of the machine.
			g.in(g.home, "ip route replace 10.0.0.0/8 via 10.0.0.1 dev guarded0 onlink")
			done := make(chan struct{})
			go func() {
				defer close(done)
				g.flood(floodPackets)
			}()
			good, asked := 0, 0
			client := netip.MustParseAddr("198.51.100.1")
			for flooding := true; flooding; asked++ {
				for range 5 { // as a resolver does
					if g.ask("udp", client, g.v4) == "answered" {
						good++
						break
					}
				}
				select {
				case <-done:
					flooding = false
				case <-time.After(10 * time.Millisecond): // the pace of a client
				}
			}
			count, err := strconv.Atoi(strings.TrimSpace(g.in(g.home, "cat /proc/sys/net/netfilter/nf_conntrack_count")))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d packets from random sources, %d entries of conntrack, a good client has %d answers of %d", floodPackets, count, good, asked)
			if rules == "none" {
				if count < 10_000 {
					t.Errorf("without rules conntrack has %d entries: the flood does no harm, and shows nothing", count)
				}
				return
			}
			if count > 100 || good*100 < asked*99 {
				t.Errorf("%d entries, %d answers of %d", count, good, asked)
			}
		})
	}
}

// floodPackets are enough to fill a table of connections; a flood of them takes 4 s, or as long
// as a busy machine needs.
const floodPackets = 80_000

// flood sends so many questions from random sources, at most 20 in a millisecond: a burst
// would overflow the buffers of a machine that is busy with other work.
func (g *guarded) flood(packets int) {
	fd := -1
	err := g.world.Do(func() error {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		g.Error(err)
		return
	}
	defer unix.Close(fd)
	query, err := new(dns.Msg).SetQuestion("ns.test.", dns.TypeA).Pack()
	if err != nil {
		g.Error(err)
		return
	}
	packet := make([]byte, 28+len(query))
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	to := g.v4.As4()
	copy(packet[16:], to[:])
	binary.BigEndian.PutUint16(packet[22:], 53)
	binary.BigEndian.PutUint16(packet[24:], uint16(8+len(query)))
	copy(packet[28:], query)
	r := rand.New(rand.NewPCG(5, 3))
	for sent := 1; sent <= packets; sent++ {
		source := r.Uint32()
		packet[12] = 10
		packet[13], packet[14], packet[15] = byte(source>>16), byte(source>>8), byte(source)
		binary.BigEndian.PutUint16(packet[20:], uint16(1024+r.UintN(60000)))
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to}); err != nil && err != unix.ENOBUFS {
			g.Error(err)
			return
		}
		if sent%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}
