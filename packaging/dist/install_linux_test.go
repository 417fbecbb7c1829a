package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A machine is this one's file system below a layer that is thrown away, with a network of its
// own: what is installed there stays there.
type machine struct {
	t     *testing.T
	files string // a directory that the machine sees at /mnt
}

const boot = `set -e
ip link set lo up
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs none "$1/root/run"
rm -rf "$1/root/var/lib/port53" "$1/root/etc/port53" # whoever left them on this machine
rm -f "$1/root/var/lib/man-db/auto-update" # manual pages are indexed by a run of minutes
mount --bind "$2" "$1/root/mnt"
exec chroot "$1/root" sh -ec "$3"`

// run runs a shell script as root of the machine and returns what it printed, in whatever way.
func (m machine) run(script string) string {
	m.t.Helper()
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", boot, "sh", m.t.TempDir(), m.files, script)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C")
	said, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v\n%s", err, said)
	}
	return string(said)
}

func newMachine(t *testing.T) machine {
	t.Helper()
	needRoot(t)
	need(t, "unshare", "dpkg", "apt-get", "dig", "ss", "setpriv")
	return machine{t, artefacts(t).dir}
}

// TestInstall installs the Debian package, starts what its unit starts, as the user of the unit,
// and removes it: nothing listens beyond loopback, the first answer comes at once, and keys and
// zones outlast a purge and are there after the next installation.
func TestInstall(t *testing.T) {
	m := newMachine(t)
	deb := "/mnt/" + filepath.Base(one(t, "_amd64.deb"))
	said := m.run(`
install -d -m 0755 /var/lib/port53 /var/lib/port53/zones && echo >/var/lib/port53/lock # root has tried it before
dpkg -i ` + deb + ` 2>&1
getent passwd port53
test "$(stat -c '%U %a' /var/lib/port53)" = "port53 750"
port53 version
man -w port53 port53.yaml >/dev/null
port53 config check --config /etc/port53/port53.yaml
start() {
	install -d -o port53 -g port53 /run/port53
	setpriv --reuid port53 --regid port53 --init-groups --ambient-caps=+net_bind_service --inh-caps=+net_bind_service \
		/usr/bin/port53 serve --config /etc/port53/port53.yaml >/tmp/log 2>&1 & server=$!
	n=0; until dig +time=1 +tries=1 @127.0.0.1 localhost | grep -q 'status: NOERROR'; do n=$((n + 1)); test $n -lt 3 || { cat /tmp/log; exit 1; }; sleep 0.1; done
}
start
echo "LISTENS $(ss -Hlntu | awk '{print $5}' | sort -u | tr '\n' ' ')"
kill $server; wait $server
echo secret >/var/lib/port53/key
echo "# mine" >>/etc/port53/port53.yaml
dpkg -i ` + deb + ` 2>&1
grep -q mine /etc/port53/port53.yaml
start; kill $server; wait $server
dpkg --purge port53 2>&1
test "$(cat /var/lib/port53/key)" = secret
! test -e /usr/bin/port53
dpkg -i ` + deb + ` >/dev/null 2>&1
test "$(cat /var/lib/port53/key)" = secret
echo DONE
`)
	if !strings.HasSuffix(said, "DONE\n") || !strings.Contains(said, "keys and zones stay in /var/lib/port53") {
		t.Error(said)
	}
	_, rest, _ := strings.Cut(said, "LISTENS ")
	line, _, _ := strings.Cut(rest, "\n")
	for addr := range strings.FieldsSeq(line) {
		if !strings.HasPrefix(addr, "127.0.0.1:") && !strings.HasPrefix(addr, "[::1]:") {
			t.Errorf("it listens at %s", addr)
		}
	}
	if !strings.Contains(line, "127.0.0.1:53 ") || !strings.Contains(line, "[::1]:53 ") {
		t.Errorf("it listens at %s", line)
	}
}

// TestPortTaken installs the package beside programs that have port 53: it says which, and what
// to do, and leaves them alone.
func TestPortTaken(t *testing.T) {
	m := newMachine(t)
	need(t, "dnsmasq", "named", "python3")
	deb := "/mnt/" + filepath.Base(one(t, "_amd64.deb"))
	for name, c := range map[string]struct{ holder, want string }{
		"nobody":     {"true", ""},
		"dnsmasq":    {"dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --listen-address=127.0.0.1 --bind-interfaces", "dnsmasq has port 53 on 127.0.0.1: stop it, or give it port=0"},
		"everywhere": {"dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --bind-interfaces", "dnsmasq has port 53 on "},
		"resolved": {`python3 -c '
import ctypes, socket, time
ctypes.CDLL(None).prctl(15, b"systemd-resolve", 0, 0, 0)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.53", 53)); time.sleep(60)'`, "systemd-resolve listens on 127.0.0.53, which does not keep port53 from 127.0.0.1"},
		"bind":     {"sh -c 'mkdir -p /run/named; echo options { directory \\\"/tmp\\\"\\; listen-on { 127.0.0.1\\; }\\; recursion no\\; }\\; >/tmp/named.conf; exec named -f -c /tmp/named.conf'", "named has port 53 on 127.0.0.1: port53 import reads its configuration"},
		"stranger": {`python3 -c 'import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 53)); time.sleep(60)'`, "python3 has port 53 on 0.0.0.0: stop it, or let port53 listen on other addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			said := machine{t, m.files}.run(c.holder + ` >/dev/null 2>&1 & holder=$!
if test ` + name + ` != nobody; then n=0; until ss -Hlnu 'sport = :53' | grep -q .; do n=$((n + 1)); test $n -lt 200; sleep 0.05; done; fi
dpkg -i ` + deb + ` 2>&1
test ` + name + ` = nobody || kill -0 $holder`)
			if c.want == "" && strings.Contains(said, "port 53") || !strings.Contains(said, c.want) {
				t.Errorf("want %q:\n%s", c.want, said)
			}
		})
	}
}

// TestApt has Debian's apt fetch the package from the directory of the release, whose signature
// it checks, and refuse one that was changed.
func TestApt(t *testing.T) {
	m := newMachine(t)
	said := m.run(`
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
cp -r /mnt/apt /srv/apt
install -m 0644 /mnt/apt/port53.asc /usr/share/keyrings/port53.asc
echo 'deb [signed-by=/usr/share/keyrings/port53.asc] file:///srv/apt stable main' >/etc/apt/sources.list.d/port53.list
apt-get update 2>&1
apt-get install -y port53 2>&1
port53 version
apt-get purge -y port53 >/dev/null 2>&1
printf x | dd of="$(echo /srv/apt/pool/*.deb)" bs=1 seek=5000 conv=notrunc 2>/dev/null
apt-get clean
if apt-get install -y port53 >/tmp/refused 2>&1; then echo INSTALLED; else cat /tmp/refused; fi
sed -i 's/^Origin: port53/Origin: elsewhere/' /srv/apt/dists/stable/InRelease
rm -rf /var/lib/apt/lists/*
apt-get update 2>&1 || true
`)
	if !strings.Contains(said, "Setting up port53") || strings.Contains(said, "INSTALLED") || !strings.Contains(said, "Hash Sum mismatch") && !strings.Contains(said, "different size") && !strings.Contains(said, "unexpected size") {
		t.Error(said)
	}
	if !strings.Contains(said, "invalid") && !strings.Contains(said, "BADSIG") {
		t.Errorf("a list that was changed is taken:\n%s", said)
	}
}

// TestUnit has systemd judge the unit: all that it says is known to the systemd of Debian's stable release, and it leaves
// little to be exposed.
func TestUnit(t *testing.T) {
	need(t, "systemd-analyze")
	unit, err := os.ReadFile("../port53.service")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "port53.service")
	text := strings.ReplaceAll(string(unit), "/usr/bin/port53", "/bin/true") // which need not be installed
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"security", "--offline=true", "--no-pager", "--threshold=15"},
		{"verify", "--man=no"},
	} {
		said, err := exec.Command("systemd-analyze", append(args, file)...).CombinedOutput()
		if err != nil || strings.Contains(string(said), "gnoring") {
			t.Errorf("%v: %v\n%s", args, err, said)
		}
	}
}
