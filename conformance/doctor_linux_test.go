package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// sickbed makes a machine of its own: this one's files below a layer that is thrown away, and namespaces for processes, the
// network and mounts. Programs that are to be stood in for stand in /usr/local/bin.
const sickbed = `set -e
ip link set lo up
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t sysfs sysfs "$1/root/sys"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs none "$1/root/run"
mount -t tmpfs none "$1/root/tmp"
rm -rf "$1/root/etc/port53" "$1/root/etc/apparmor.d/usr.bin.port53" "$1/root/var/log" "$1/root/usr/local/bin"
mkdir -p "$1/root/etc/port53" "$1/root/var/log" "$1/root/usr/local/bin"
cp "$2" "$1/root/usr/local/bin/port53"
exec chroot "$1/root" bash -euc "$3"`

// mend is a shell function: it has port53 doctor name a trouble, runs the command that it prints for it, as it is, and wants the
// trouble gone.
const mend = `
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
remedy() {
	local code=0 id=$1; shift
	port53 doctor --json "$@" >/tmp/found || code=$?
	test $code -le 1 || { echo "port53 doctor: exit code $code"; exit 1; }
	jq -r --arg id "$id" '[.[] | select(.id == $id and .state == "problem") | .remedy] | first // ""' /tmp/found
}
mend() {
	line=$(remedy "$@")
	test -n "$line" || { echo "$1: not found:"; cat /tmp/found; exit 1; }
	printf '%s: %s\n' "$1" "$line"
	sh -c "$line" || { echo "exit code $?"; exit 1; }
	n=0; until test -z "$(remedy "$@")"; do
		n=$((n + 1)); test $n -lt 100 || { echo "$1: it is still there:"; cat /tmp/found; exit 1; }
		sleep 0.1
	done
}
# stand NAME: a program that is what it reads from its input, as a shell script.
stand() { { echo '#!/bin/sh'; cat; } >/usr/local/bin/$1; chmod 755 /usr/local/bin/$1; }
# serves PROGRAM ADDRESS: a server at port 53 of an address; its process is in /run/other.
serves() {
	test $1 = /usr/sbin/dnsmasq || cp /usr/sbin/dnsmasq $1
	$1 --conf-file=/dev/null --no-resolv --no-hosts --user=root --bind-interfaces --listen-address=$2 --pid-file=/run/other
	until test -s /run/other; do sleep 0.01; done
}
# over FILE TEXT: what a file says below /proc, where it cannot be changed for one namespace alone.
over() { f=/tmp/over$(echo "$1" | tr / _); echo "$2" >$f; mount --bind $f $1; }
printf '$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\n' >/etc/port53/test.zone
printf 'role: authoritative\nlisten: [127.0.0.1]\nzones: [{name: test, file: test.zone}]\nstate_dir: /run/state\nmetrics: {listen: off}\ncontrol: {socket: off}\n' >/etc/port53/port53.yaml
everywhere() { sed -i 's/^listen: .*/listen: [0.0.0.0]/' /etc/port53/port53.yaml; }
# wan: an interface with an address, and a way to all others.
wan() {
	ip link add wan type veth peer name net; ip link set net up
	ip addr add 198.51.100.2/24 dev wan; ip link set wan up; ip route add default via 198.51.100.1
}
forwards() { printf 'role: internal-resolver\nlisten: [127.0.0.1]\nresolver:\n  allow: [127.0.0.0/8]\n  forward:\n%s\n' "$1" >/etc/port53/port53.yaml; }
here="--config /etc/port53/port53.yaml"
`

// A trouble is one that port53 doctor knows of. Its script makes it, and has it mended.
type trouble struct{ id, name, script string }

// aptGet stands in for apt-get, whose archives are not here. It installs programs that do nothing, and a kernel.
const aptGet = `stand apt-get <<'EOF'
echo "$*" | grep -q '^install -y [a-z]' || exit 1
case $3 in linux-image-amd64 | linux-image-arm64) echo 6.12.9 >/run/kernel;; *) exit 1;; esac
EOF
`

func troubles() []trouble {
	return []trouble{
		{"port-taken", "a program", `serves /usr/sbin/dnsmasq 127.0.0.1; mend port-taken $here`},
		{"port-taken", "a service", `serves /usr/sbin/dnsmasq 127.0.0.1
over /proc/$(cat /run/other)/cgroup 0::/system.slice/dnsmasq.service
stand systemctl <<'EOF'
test "$*" = "disable --now dnsmasq.service" && kill $(cat /run/other)
EOF
mend port-taken $here`},
		{"port-taken", "systemd-resolved", `serves /usr/lib/systemd/systemd-resolved 127.0.0.53
stand systemctl <<'EOF'
test "$*" = "restart systemd-resolved" || exit 1
kill $(cat /run/other)
grep -qx DNSStubListener=no /etc/systemd/resolved.conf.d/*.conf || /usr/lib/systemd/systemd-resolved --bind-interfaces --listen-address=127.0.0.53
EOF
everywhere; mend port-taken $here`},
		{"port-taken", "a container", `serves /usr/bin/docker-proxy 127.0.0.1
stand docker <<'EOF'
case "$*" in
"ps --quiet --filter publish=53") echo c0ffee;;
"stop c0ffee") kill $(cat /run/other);;
*) exit 1;;
esac
EOF
mend port-taken $here`},
		// Whoever is not root cannot see the program: the command is to ask as root, which names it.
		{"port-taken", "not as root", `serves /usr/sbin/dnsmasq 127.0.0.1
chmod 755 /tmp; chmod 644 /etc/port53/port53.yaml
line=$(setpriv --reuid=65534 --clear-groups port53 doctor --json $here | jq -r '.[] | select(.id == "port-taken" and .state == "problem") | .remedy')
stand sudo <<'EOF'
exec "$@"
EOF
echo "$line"; sh -c "$line" >/tmp/said || test $? = 1
grep -q "remedy: kill $(cat /run/other)" /tmp/said
mend port-taken $here`},
		{"forward-loop", "to itself in a list of one line", `echo nameserver 192.0.2.77 >/etc/resolv.conf
wan; forwards '    - {zone: ., to: [198.51.100.2, 192.0.2.78]}'; everywhere
stand systemctl <<'EOF'
test "$*" = "try-reload-or-restart port53"
EOF
mend forward-loop $here
grep -qF 'to: [192.0.2.77, 192.0.2.78]' /etc/port53/port53.yaml; grep -qxF 'listen: [0.0.0.0]' /etc/port53/port53.yaml`},
		{"forward-loop", "to itself in a list of several lines", `mkdir -p /run/systemd/resolve
printf 'nameserver 198.51.100.2\nnameserver 192.0.2.77\n' >/run/systemd/resolve/resolv.conf
forwards "$(printf '    - zone: .\n      to:\n        - 192.0.2.78\n        - "198.51.100.2:53"')"; wan; everywhere
stand systemctl <<'EOF'
test "$*" = "try-reload-or-restart port53"
EOF
mend forward-loop $here
grep -qF ' "192.0.2.77"' /etc/port53/port53.yaml; grep -qxF 'listen: [0.0.0.0]' /etc/port53/port53.yaml`},
		{"forward-loop", "by way of systemd-resolved", `mkdir -p /run/systemd/resolve
echo nameserver 127.0.0.1 >/run/systemd/resolve/resolv.conf
forwards '    - {zone: ., to: [127.0.0.53]}'
wan
stand resolvectl <<'EOF'
test "$*" = "revert wan" && echo nameserver 198.51.100.1 >/run/systemd/resolve/resolv.conf
EOF
mend forward-loop $here`},
		{"resolv-conf", "a server elsewhere", `echo nameserver 127.0.0.53 >/etc/resolv.conf; serves /usr/sbin/dnsmasq 127.0.0.1; mend resolv-conf $here`},
		{"resolv-conf", "no server", `echo nameserver 127.0.0.1 >/etc/resolv.conf
stand systemctl <<'EOF'
test "$*" = "start port53" || exit 1
setsid port53 serve --config /etc/port53/port53.yaml >/run/log 2>&1 </dev/null &
EOF
mend resolv-conf $here`},
		{"docker-past-ufw", "IPv4", `mkdir -p /etc/ufw; echo ENABLED=yes >/etc/ufw/ufw.conf
iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A DOCKER ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.2:53
mend docker-past-ufw $here`},
		{"docker-past-ufw", "IPv6", `mkdir -p /etc/ufw; echo ENABLED=yes >/etc/ufw/ufw.conf
ip6tables -N DOCKER-USER; ip6tables -A FORWARD -j DOCKER-USER; ip6tables -t nat -N DOCKER
ip6tables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
ip6tables -t nat -A DOCKER ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination [fd00::2]:53
mend docker-past-ufw $here`},
		{"conntrack-full", "", `mkdir /tmp/table; mount --bind /tmp/table /proc/sys/net/netfilter
echo 65536 >/proc/sys/net/netfilter/nf_conntrack_max; echo 60000 >/proc/sys/net/netfilter/nf_conntrack_count
mend conntrack-full $here`},
		{"udp-buffers", "", `mkdir /tmp/core; echo 212992 >/tmp/core/rmem_max; mount --bind /tmp/core /proc/sys/net/core
serves /usr/sbin/dnsmasq 127.0.0.1; kill -STOP $(cat /run/other)
until awk '$1 == "Udp:" && $6 ~ /^[0-9]+$/ { exit !($6 > 100) }' /proc/net/snmp; do
	i=0; while test $i -lt 500; do echo 0123456789ab >/dev/udp/127.0.0.1/53; i=$((i + 1)); done
done
mend udp-buffers $here`},
		{"few-ports", "", `sysctl -qw net.ipv4.ip_local_port_range='50000 50999'; mend few-ports $here`},
		{"half-ipv6", "a route and no address", `ip link add dead type veth peer name end; ip link set dead up; ip -6 route add default dev dead
forwards '    - {zone: ., to: [192.0.2.1]}'; mend half-ipv6 $here`},
		// A machine that forwards does not hear routers unless it is told to. The router here is this machine's other end of a cable.
		{"half-ipv6", "an address and no route", `ip link add near type veth peer name router
sysctl -qw net.ipv6.conf.near.forwarding=1 net.ipv6.conf.near.accept_ra_from_local=1
ip link set near up; ip link set router up; ip addr add 2001:db8::2/64 dev near nodad
until ip -6 addr show dev router | grep 'inet6 fe80' | grep -qv tentative; do sleep 0.1; done
perl -MSocket=:all -e 'socket(my $s, AF_INET6, SOCK_RAW, 58) or die; my $i = shift;
	setsockopt($s, 41, IPV6_MULTICAST_IF, pack("i", $i)) or die; setsockopt($s, 41, IPV6_MULTICAST_HOPS, pack("i", 255)) or die;
	while (1) { send($s, pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0), 0, pack_sockaddr_in6(0, inet_pton(AF_INET6, "ff02::1"), $i, 0)) or die $!;
		select(undef, undef, undef, 0.1) }' $(cat /sys/class/net/router/ifindex) &
forwards '    - {zone: ., to: [192.0.2.1]}'
mend half-ipv6 $here`},
		{"mtu-hole", "", `ip link add near type veth peer name far; ip addr add 192.0.2.1/24 dev near; ip link set near up
unshare --net sleep infinity & until test "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)"; do sleep 0.01; done
ip link set far netns $!
far() { nsenter --target $far --net "$@"; }; far=$!
far ip addr add 192.0.2.2/24 dev far; far ip link set far up; far /usr/sbin/dnsmasq --conf-file=/dev/null --no-resolv --user=root --edns-packet-max=4096
nft 'add table ip hole; add chain ip hole in { type filter hook input priority 0; }; add rule ip hole in meta length > 1300 drop'
far nft 'add table ip hole; add chain ip hole in { type filter hook input priority 0; }; add rule ip hole in meta length > 1300 drop'
mend mtu-hole $here --probe 192.0.2.2`},
		{"denied", "AppArmor", `printf 'profile port53 /usr/bin/port53 flags=(attach_disconnected) {\n}\n' >/etc/apparmor.d/usr.bin.port53
touch -d '2026-01-01 00:00:00 UTC' /etc/apparmor.d/usr.bin.port53
echo 'audit: type=1400 audit(1767312000.123:45): apparmor="DENIED" operation="open" profile="port53" name="/srv/zones/a" comm="port53"' >/var/log/kern.log
stand aa-complain <<'EOF'
test "$*" = /etc/apparmor.d/usr.bin.port53 && sed -i 's/(attach/(complain,attach/' $1
EOF
mend denied $here
# What is refused after that counts again.
echo 'audit: type=1400 audit(32503680000.1:46): apparmor="DENIED" operation="open" profile="port53" name="/srv/zones/b" comm="port53"' >>/var/log/kern.log
remedy denied $here | grep -q ^aa-complain`},
		{"denied", "SELinux", `mkdir -p /var/log/audit /var/lib/selinux/targeted/active/modules/400/port53
touch -d '2026-01-01 00:00:00 UTC' /var/lib/selinux/targeted/active/modules/400/port53
echo 'type=AVC msg=audit(1767312000.123:45): avc:  denied  { read } for  pid=9 comm="port53" name="a.zone" dev="vda"' >/var/log/audit/audit.log
stand ausearch <<'EOF'
test "$*" = "-m avc -c port53 --raw" && cat /var/log/audit/audit.log
EOF
stand audit2allow <<'EOF'
test "$*" = "-M port53-local" && grep avc >port53-local.pp
EOF
stand semodule <<'EOF'
test "$1" = -i && mkdir /var/lib/selinux/targeted/active/modules/400/$(basename $2 .pp)
EOF
cd /tmp; mend denied $here`},
		{"old-kernel", "", aptGet + `over /proc/sys/kernel/osrelease 5.10.0-30-amd64
stand reboot <<'EOF'
cat /run/kernel >/tmp/over_proc_sys_kernel_osrelease
EOF
mend old-kernel $here`},
	}
}

// TestDoctor makes each trouble that port53 doctor knows of on a machine of its own, runs the command that doctor prints for it,
// as it is printed, and wants the trouble gone. Programs that would reach beyond such a machine, or are not installed, are stood in for
// by scripts that do what they would there. The clock is one for all of the machine: doctor.TestClockSet has it mended.
func TestDoctor(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("missing: root, to make namespaces")
	}
	for _, program := range []string{"unshare", "nsenter", "setpriv", "jq", "dnsmasq", "iptables", "nft", "bash", "ip", "sysctl"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, err)
		}
	}
	if out, err := exec.Command("unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "true").CombinedOutput(); err != nil {
		missing(t, fmt.Errorf("namespaces: %w %s", err, out))
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range troubles() {
		t.Run(strings.TrimSuffix(x.id+" "+x.name, " "), func(t *testing.T) {
			t.Parallel()
			said, err := sickbedRun(t, bin, x.script)
			t.Logf("%s", said)
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("all of them", func(t *testing.T) {
		t.Parallel()
		said, err := sickbedRun(t, bin, `port53 doctor --json $here --probe 192.0.2.1 >/tmp/found || test $? = 1; jq -r '.[].id' /tmp/found`)
		if err != nil {
			t.Fatalf("%v %s", err, said)
		}
		for id := range strings.FieldsSeq(said) {
			if id != "clock" && !slices.ContainsFunc(troubles(), func(x trouble) bool { return x.id == id }) {
				t.Errorf("nothing here makes %s", id)
			}
		}
	})
}

// sickbedRun runs a script on a machine of its own, and returns what it said.
func sickbedRun(t *testing.T, bin, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "--kill-child",
		"sh", "-c", sickbed, "sh", t.TempDir(), bin, mend+script)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	return string(said), err
}
