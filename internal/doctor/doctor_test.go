package doctor_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/doctor"
)

// machine writes files below a directory that stands in for /.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// finding returns the finding of an ID.
func finding(t *testing.T, all []doctor.Finding, id string) doctor.Finding {
	t.Helper()
	i := slices.IndexFunc(all, func(f doctor.Finding) bool { return f.ID == id })
	if i < 0 {
		t.Fatalf("nothing says %s: %+v", id, all)
	}
	return all[i]
}

// free is a port that nobody listens on, since no one can be bound to this address.
var free = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}

// TestTroubles gives machines a trouble each, by their files, and wants it found with a command;
// and a machine without it passed.
func TestTroubles(t *testing.T) {
	const snmp = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 1000000 1 "
	const denial = "audit: apparmor=\"DENIED\" operation=\"open\" profile=\"/usr/bin/port53\" name=\"/srv/zones/a\" comm=\"port53\"\n"
	const avc = "type=AVC msg=audit(1): avc:  denied  { read } for  pid=9 comm=\"port53\" name=\"a.zone\" dev=\"vda\"\n"
	const route = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
	const reject = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"
	const global = "20010db8000000000000000000000001 02 40 00 80 eth0\n"
	const local = "fe800000000000000000000000000001 02 40 20 80 eth0\nfd000000000000000000000000000001 02 40 00 80 eth0\n"
	for _, test := range []struct {
		id          string
		sick, sound map[string]string
		mend        string // what its command has
	}{
		{
			"conntrack-full",
			map[string]string{"proc/sys/net/netfilter/nf_conntrack_max": "65536\n", "proc/sys/net/netfilter/nf_conntrack_count": "60000\n"},
			map[string]string{"proc/sys/net/netfilter/nf_conntrack_max": "65536\n", "proc/sys/net/netfilter/nf_conntrack_count": "50000\n"},
			"net.netfilter.nf_conntrack_max='262144'",
		},
		{
			"udp-buffers",
			map[string]string{"proc/net/snmp": snmp + "0 1 5000\n", "proc/sys/net/core/rmem_max": "212992\n"},
			map[string]string{"proc/net/snmp": snmp + "0 1 50\n", "proc/sys/net/core/rmem_max": "212992\n"},
			"net.core.rmem_max='4194304'",
		},
		{
			"few-ports",
			map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "50000\t52000\n"},
			map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n"},
			"net.ipv4.ip_local_port_range='1024 65535'",
		},
		{
			"half-ipv6",
			map[string]string{"proc/net/if_inet6": global, "proc/net/ipv6_route": reject},
			map[string]string{"proc/net/if_inet6": global, "proc/net/ipv6_route": reject + route},
			"net.ipv6.conf.eth0.accept_ra=2",
		},
		{
			"half-ipv6",
			map[string]string{"proc/net/if_inet6": local, "proc/net/ipv6_route": route},
			map[string]string{"proc/net/if_inet6": local, "proc/net/ipv6_route": reject},
			"ip -6 route del default dev eth0",
		},
		{
			"denied",
			map[string]string{"var/log/kern.log": "quiet\n" + denial},
			map[string]string{"var/log/kern.log": "quiet\n" + strings.ReplaceAll(denial, "port53", "named")},
			"aa-complain",
		},
		{
			"denied",
			map[string]string{"var/log/audit/audit.log": avc},
			map[string]string{"var/log/audit/audit.log": strings.ReplaceAll(avc, "port53", "named")},
			"ausearch -m avc -c port53",
		},
		{
			"old-kernel",
			map[string]string{"proc/sys/kernel/osrelease": "5.10.0-30-amd64\n", "usr/bin/apt-get": ""},
			map[string]string{"proc/sys/kernel/osrelease": "6.1.0-18-amd64\n"},
			"apt-get install -y linux-image-$(dpkg --print-architecture)",
		},
		{
			"old-kernel",
			map[string]string{"proc/sys/kernel/osrelease": "5.15.0\n", "usr/bin/dnf": ""},
			map[string]string{"proc/sys/kernel/osrelease": "7.0.1\n"},
			"dnf install -y kernel",
		},
	} {
		t.Run(test.id, func(t *testing.T) {
			f := finding(t, doctor.Examine(t.Context(), doctor.Options{Listen: free, IPv6: true, Root: machine(t, test.sick)}), test.id)
			if f.State != doctor.Problem || !strings.Contains(f.Remedy, test.mend) || f.Impact == "" {
				t.Errorf("a sick machine: %+v", f)
			}
			f = finding(t, doctor.Examine(t.Context(), doctor.Options{Listen: free, IPv6: true, Root: machine(t, test.sound)}), test.id)
			if f.State != doctor.OK {
				t.Errorf("a sound machine: %+v", f)
			}
		})
	}
}

// TestDocker has a container's port open past ufw: only where ufw is enabled, and the rule Docker's.
func TestDocker(t *testing.T) {
	published := doctor.Rule{Text: "nat DOCKER: -p udp --dport 53 -j DNAT", Docker: true, Translates: true}
	for _, test := range []struct {
		ufw  string
		rule doctor.Rule
		want doctor.State
	}{
		{"# ufw\nENABLED=yes\n", published, doctor.Problem},
		{"ENABLED=no\n", published, doctor.OK},
		{"ENABLED=yes\n", doctor.Rule{Text: "mine", Translates: true}, doctor.OK},
		{"ENABLED=yes\n", doctor.Rule{Text: "mine", Docker: true}, doctor.OK},
	} {
		o := doctor.Options{Listen: free, Root: machine(t, map[string]string{"etc/ufw/ufw.conf": test.ufw})}
		o.Foreign = func(context.Context) ([]doctor.Rule, error) { return []doctor.Rule{test.rule}, nil }
		if f := finding(t, doctor.Examine(t.Context(), o), "docker-past-ufw"); f.State != test.want {
			t.Errorf("%+v: %+v", test, f)
		}
	}
	o := doctor.Options{Listen: free, Foreign: func(context.Context) ([]doctor.Rule, error) { return nil, errors.New("only root may look") }}
	if f := finding(t, doctor.Examine(t.Context(), o), "docker-past-ufw"); f.State != doctor.Unknown || f.Seen != "only root may look" {
		t.Errorf("%+v", f)
	}
}

// TestClock has a clock that is earlier than the program, and finds who can set it.
func TestClock(t *testing.T) {
	for file, want := range map[string]string{
		"usr/sbin/chronyd":                     "systemctl enable --now chrony && chronyc makestep",
		"usr/lib/systemd/systemd-timesyncd":    "timedatectl set-ntp true",
		"usr/bin/apt-get":                      "apt-get install -y chrony && systemctl enable --now chrony",
		"etc/nothing-that-sets-a-clock-at-all": "pkcon -y install chrony && systemctl enable --now chrony",
	} {
		o := doctor.Options{Listen: free, Built: time.Now().Add(time.Hour), Root: machine(t, map[string]string{file: ""})}
		f := finding(t, doctor.Examine(t.Context(), o), "clock")
		if f.State != doctor.Problem || f.Remedy != want || !strings.Contains(f.Seen, "was built on") {
			t.Errorf("%s: %+v", file, f)
		}
	}
}

// TestUnreadable calls unknown what cannot be read, and never well.
func TestUnreadable(t *testing.T) {
	all := doctor.Examine(t.Context(), doctor.Options{Listen: free, IPv6: true, Root: machine(t, map[string]string{
		"sys/fs/selinux/enforce": "1", "proc/net/if_inet6": "",
		"proc/sys/net/ipv4/ip_local_port_range": "many", "proc/sys/kernel/osrelease": "plan 9",
		"proc/sys/net/netfilter/nf_conntrack_max": "100",
	})})
	for _, id := range []string{"resolv-conf", "conntrack-full", "udp-buffers", "few-ports", "half-ipv6", "denied", "old-kernel"} {
		if f := finding(t, all, id); f.State != doctor.Unknown || f.Seen == "" {
			t.Errorf("%+v", f)
		}
	}
}

// TestLoop forwards to this server itself, and by way of systemd-resolved.
func TestLoop(t *testing.T) {
	here, other := netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("192.0.2.53:53")
	stub := netip.MustParseAddrPort("127.0.0.53:53")
	back := machine(t, map[string]string{"run/systemd/resolve/resolv.conf": "# made\nnameserver 127.0.0.1\n"})
	away := machine(t, map[string]string{"run/systemd/resolve/resolv.conf": "nameserver 192.0.2.53\n"})
	for _, test := range []struct {
		to   netip.AddrPort
		root string
		want doctor.State
	}{
		{here, "", doctor.Problem},
		{netip.MustParseAddrPort("127.0.0.1:5300"), "", doctor.OK},
		{other, "", doctor.OK},
		{stub, back, doctor.Problem},
		{stub, away, doctor.OK},
	} {
		all := doctor.Examine(t.Context(), doctor.Options{Listen: []netip.AddrPort{here}, Forward: []netip.AddrPort{test.to}, Root: test.root})
		if f := finding(t, all, "forward-loop"); f.State != test.want || f.State == doctor.Problem && f.Object != test.to.String() {
			t.Errorf("%s: %+v", test.to, f)
		}
	}
}
