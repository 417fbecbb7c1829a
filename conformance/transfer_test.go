package conformance_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/peers"
)

const (
	xferKey    = "xfr."
	xferSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" // of this test alone
	xferZone   = "big.test."
	xferNames  = 50_000 // of two records each
)

// A side is one server of a transfer, and who is on the other.
type side struct {
	kind    string
	dir     string
	addr    netip.AddrPort
	other   netip.AddrPort
	primary bool
	file    string // of the zone, where it is primary
	server  *peers.Server
}

// config writes the server's configuration and returns its command.
func (s *side) config(t *testing.T) []string {
	t.Helper()
	host, port := s.addr.Addr().String(), s.addr.Port()
	name := strings.TrimSuffix(xferZone, ".")
	var text string
	var args []string
	switch s.kind {
	case peers.Port53:
		args = []string{"", "serve", "--config"}
		text = fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: %s/state\nmetrics: {listen: off}\nkeys: [{name: xfr, secret: %s}]\nzones:\n", s.addr.String(), s.dir, xferSecret)
		if s.primary {
			text += fmt.Sprintf("  - {name: %s, file: %s, secondaries: [%q], tsig: xfr}\n", name, s.file, s.other.String())
		} else {
			text += fmt.Sprintf("  - {name: %s, primaries: [%q], allow_transfer: [127.0.0.1], tsig: xfr}\n", name, s.other.String())
		}
	case peers.BIND:
		args = []string{"", "-f", "-n", "1", "-c"}
		text = fmt.Sprintf(`key xfr { algorithm hmac-sha256; secret "%s"; };
options { directory "%s"; managed-keys-directory "%[2]s"; pid-file none; session-keyfile none; listen-on port %[4]d { %[3]s; }; listen-on-v6 { none; };
  recursion no; dnssec-validation no; notify-delay 0; serial-query-rate 100; check-integrity no; };
controls {};
server %[5]s { keys xfr; };
`, xferSecret, s.dir, host, port, s.other.Addr())
		if s.primary {
			text += fmt.Sprintf("zone %q { type primary; file %q; notify explicit; also-notify { %s port %d key xfr; }; allow-transfer { key xfr; }; ixfr-from-differences yes; };\n", name, s.file, s.other.Addr(), s.other.Port())
		} else {
			text += fmt.Sprintf("zone %q { type secondary; file %q; primaries { %s port %d key xfr; }; allow-transfer { key xfr; }; notify no; };\n", name, filepath.Join(s.dir, "zone.db"), s.other.Addr(), s.other.Port())
		}
	case peers.NSD:
		args = []string{"", "-d", "-c"}
		text = fmt.Sprintf("server:\n  ip-address: %s@%d\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  database: \"\"\n  zonesdir: \"%s\"\n  xfrdfile: \"%[3]s/xfrd.state\"\n  xfrdir: \"%[3]s\"\n  zonelistfile: \"%[3]s/zone.list\"\n  server-count: 1\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nkey:\n  name: xfr\n  algorithm: hmac-sha256\n  secret: \"%[4]s\"\nzone:\n  name: %[5]s\n", host, port, s.dir, xferSecret, name)
		if s.primary {
			text += fmt.Sprintf("  zonefile: %s\n  notify: %s@%d xfr\n  provide-xfr: 127.0.0.1 xfr\n  store-ixfr: yes\n  create-ixfr: yes\n", s.file, s.other.Addr(), s.other.Port())
		} else {
			text += fmt.Sprintf("  zonefile: zone.db\n  allow-notify: 127.0.0.1 xfr\n  request-xfr: %s@%d xfr\n  provide-xfr: 127.0.0.1 xfr\n", s.other.Addr(), s.other.Port())
		}
	case peers.Knot:
		args = []string{"", "-c"}
		text = fmt.Sprintf("server:\n  listen: %s@%d\n  rundir: %s\n  background-workers: 1\ndatabase:\n  storage: %[3]s\nlog:\n  - target: stderr\n    any: info\nkey:\n  - id: xfr\n    algorithm: hmac-sha256\n    secret: %[4]s\nremote:\n  - id: other\n    address: %[5]s@%[6]d\n    key: xfr\nacl:\n  - id: all\n    address: 127.0.0.1\n    key: xfr\n    action: [transfer, notify]\nzone:\n  - domain: %[7]s\n    acl: all\n    semantic-checks: off\n", host, port, s.dir, xferSecret, s.other.Addr(), s.other.Port(), name)
		if s.primary {
			text += fmt.Sprintf("    file: %s\n    notify: other\n    zonefile-load: difference\n    zonefile-sync: -1\n    journal-content: changes\n", s.file)
		} else {
			text += "    file: zone.db\n    master: other\n    zonefile-sync: -1\n"
		}
	}
	if s.kind == peers.PDNS {
		return s.configPDNS(t, host, port, name)
	}
	file := filepath.Join(s.dir, s.kind+".conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := subjectBinary(t, s.kind)
	args[0] = binary
	return append(args, file)
}

// configPDNS writes what PowerDNS wants: a folder, and a database with the key. It looks
// every second whether there is something to do.
func (s *side) configPDNS(t *testing.T, host string, port uint16, name string) []string {
	t.Helper()
	zone := fmt.Sprintf("options { directory %q; };\nzone %q { type slave; masters { %s; }; file %q; };\n", s.dir, name, s.other, filepath.Join(s.dir, "zone.db"))
	mode := "secondary=yes"
	if s.primary {
		zone = fmt.Sprintf("options { directory %q; };\nzone %q { type master; file %q; };\n", s.dir, name, s.file)
		mode = "primary=yes"
	}
	conf := fmt.Sprintf(`launch=bind
bind-config=%[1]s/named.conf
bind-dnssec-db=%[1]s/bind.db
bind-check-interval=1
local-address=%[2]s
local-port=%[3]d
socket-dir=%[1]s
%[4]s
xfr-cycle-interval=1
allow-axfr-ips=127.0.0.0/8
allow-notify-from=127.0.0.0/8
only-notify=127.0.0.0/8
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
consistent-backends=no
security-poll-suffix=
setuid=
setgid=
`, s.dir, host, port, mode)
	for file, text := range map[string]string{"named.conf": zone, "pdns.conf": conf} {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := subjectBinary(t, s.kind)
	tool, err := exec.LookPath("pdnsutil")
	if err != nil {
		missing(t, err)
	}
	steps := [][]string{
		{"create-bind-db", filepath.Join(s.dir, "bind.db")},
		{"import-tsig-key", "xfr", "hmac-sha256", xferSecret},
		{"activate-tsig-key", name, "xfr", strings.TrimSuffix(mode, "=yes")},
	}
	if s.primary {
		steps = append(steps, []string{"set-meta", name, "ALSO-NOTIFY", s.other.String()})
	} else {
		steps = append(steps, []string{"set-meta", name, "TSIG-ALLOW-AXFR", "xfr"})
	}
	for _, step := range steps {
		if out, err := exec.Command(tool, append([]string{"--config-dir=" + s.dir}, step...)...).CombinedOutput(); err != nil {
			t.Fatalf("pdnsutil %v: %v\n%s", step, err, out)
		}
	}
	return []string{binary, "--config-dir=" + s.dir, "--guardian=no", "--daemon=no", "--disable-syslog"}
}

func subjectBinary(t *testing.T, kind string) string {
	t.Helper()
	if kind == peers.Port53 {
		bin, err := build()
		if err != nil {
			t.Fatal(err)
		}
		return bin
	}
	path, err := peers.Find(kind)
	if err != nil {
		missing(t, err)
	}
	return path
}

func (s *side) start(t *testing.T) {
	t.Helper()
	var err error
	s.server, err = peers.Start(context.Background(), s.kind, peers.Options{Dir: s.dir, Addr: s.addr, Command: s.config(t), Unready: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Stop)
}

// serial returns the serial that the server answers with, or false.
func (s *side) serial() (uint32, bool) {
	m := new(dns.Msg).SetQuestion(xferZone, dns.TypeSOA)
	c := dns.Client{Timeout: 200 * time.Millisecond}
	r, _, err := c.Exchange(m, s.addr.String())
	if err != nil || len(r.Answer) != 1 {
		return 0, false
	}
	return r.Answer[0].(*dns.SOA).Serial, true
}

// await waits until the server answers with a serial, and returns how long that took.
func (s *side) await(t *testing.T, serial uint32, most time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		got, ok := s.serial()
		if ok && got == serial {
			return time.Since(began)
		}
		select {
		case <-s.server.Ended():
			t.Fatalf("%s has ended:\n%s", s.kind, s.server.Tail())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(began) > most {
			t.Fatalf("%s has serial %d (%v) after %v, not %d:\n%s", s.kind, got, ok, most, serial, s.server.Tail())
		}
	}
}

// axfr returns all records of the zone, in an order that does not depend on the server.
func (s *side) axfr(t *testing.T) []string {
	t.Helper()
	tr := &dns.Transfer{TsigSecret: map[string]string{xferKey: xferSecret}, ReadTimeout: 10 * time.Second}
	m := new(dns.Msg).SetAxfr(xferZone)
	m.SetTsig(xferKey, dns.HmacSHA256, 300, time.Now().Unix())
	envelopes, err := tr.In(m, s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for e := range envelopes {
		if e.Error != nil {
			t.Fatalf("%s: %v\n%s", s.kind, e.Error, s.server.Tail())
		}
		for _, rr := range e.RR {
			list = append(list, strings.ToLower(rr.String()))
		}
	}
	slices.Sort(list)
	return list
}

// ixfr returns the octets that the differences since a serial take on the wire.
func (s *side) ixfr(t *testing.T, since uint32) (octets, records int) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr.String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	m := new(dns.Msg).SetIxfr(xferZone, since, "ns.big.test.", "admin.big.test.")
	m.SetTsig(xferKey, dns.HmacSHA256, 300, time.Now().Unix())
	query, _, err := dns.TsigGenerate(m, xferSecret, "", false)
	if err != nil {
		t.Fatal(err)
	}
	c := dns.Conn{Conn: conn}
	if _, err := c.Write(query); err != nil {
		t.Fatal(err)
	}
	for {
		buf, err := c.ReadMsgHeader(nil)
		if err != nil {
			t.Fatal(err)
		}
		var r dns.Msg
		if err := r.Unpack(buf); err != nil || r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0 {
			t.Fatalf("%v %v", err, r.Rcode)
		}
		octets += len(buf)
		if records += len(r.Answer); records > 1 && r.Answer[len(r.Answer)-1].Header().Rrtype == dns.TypeSOA {
			return octets, records // all of it fits into one message, or ends with one
		}
	}
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	addr, err := peers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// writeBig writes the zone's file: 100,000 records, of which the first ten depend on the
// serial.
func writeBig(t *testing.T, file string, serial uint32) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "$TTL 300\n@ SOA ns admin %d 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\n", serial)
	for i := range xferNames {
		v := uint32(7)
		if i < 10 {
			v = serial
		}
		fmt.Fprintf(&b, "host%d A 10.%d.%d.%d\nHost%[1]d TXT \"text of %[1]d\"\n", i, v>>16&255, v>>8&255, v&255)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	// Servers see a change by the file's time, of which some have whole seconds only.
	at := time.Unix(1_700_000_000+int64(serial+10)*10, 0) // of serials that wrap as well
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

// TestTransfers has port53 on either side of transfers with each peer, signed: the
// whole zone of 100,000 records, then ten changed records as differences that come
// within two seconds of the change, then a serial that wraps. After each the zones are
// equal.
func TestTransfers(t *testing.T) {
	const before, after = uint32(1<<32 - 2), uint32(3)
	for _, peer := range []string{peers.BIND, peers.NSD, peers.Knot, peers.PDNS} {
		for _, out := range []bool{true, false} {
			name := "from-" + peer
			if out {
				name = "to-" + peer
			}
			t.Run(name, func(t *testing.T) {
				kinds := []string{peer, peers.Port53}
				if out {
					kinds = []string{peers.Port53, peer}
				}
				ports := [2]netip.AddrPort{freeAddr(t), freeAddr(t)}
				primary := &side{kind: kinds[0], dir: t.TempDir(), addr: ports[0], other: ports[1], primary: true}
				secondary := &side{kind: kinds[1], dir: t.TempDir(), addr: ports[1], other: ports[0]}
				primary.file = filepath.Join(primary.dir, "big.zone")
				writeBig(t, primary.file, before)
				primary.start(t)
				primary.await(t, before, 30*time.Second)
				secondary.start(t)
				secondary.await(t, before, 30*time.Second)
				whole := primary.axfr(t)
				if len(whole) != 2*xferNames+4 || !slices.Equal(whole, secondary.axfr(t)) {
					t.Fatalf("after AXFR the zones differ; the primary has %d records", len(whole))
				}
				for _, serial := range []uint32{before + 1, after} {
					writeBig(t, primary.file, serial)
					if primary.kind != peers.PDNS { // which looks itself
						if err := primary.server.Signal(syscall.SIGHUP); err != nil {
							t.Fatal(err)
						}
					}
					primary.await(t, serial, 30*time.Second)
					// Without NOTIFY it would look after an hour. With it, it takes a second on
					// a machine that has nothing else to do.
					took := secondary.await(t, serial, 30*time.Second)
					t.Logf("serial %d: the secondary has it %v after the primary", serial, took.Round(time.Millisecond))
					if !slices.Equal(primary.axfr(t), secondary.axfr(t)) {
						t.Errorf("with serial %d the zones differ", serial)
					}
				}
				ours := primary
				if !out {
					ours = secondary
				}
				octets, records := ours.ixfr(t, before+1)
				// Ten records go, ten come; each with owner, type, class, TTL and data.
				const change = 20 * (len("\x06host10\x03big\x04test\x00") + 10 + 4)
				t.Logf("ten changed records: %d octets in %d records", octets, records)
				if records != 24 || octets > 2*change {
					t.Errorf("ten changed records take %d octets in %d records, at most %d are wanted", octets, records, 2*change)
				}
			})
		}
	}
}
