package conformance_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A forwarder is a program that asks port53 over an encrypted transport for those who ask it in the clear, at
// 127.0.0.NUMBER.
type forwarder struct {
	name string
	// config is its configuration, with the name that the server's certificate is to have; %s stand for that.
	config string
	run    []string // CONFIG stands for the file of config, NAME for the name
	most   int      // octets of the longest answer that it passes on; 0: all
	check  string   // a command that fails where this version cannot ask over this transport
}

// forwarders are those that Debian and Go's modules have. Their addresses end in their number, from 10 on.
func forwarders(proxy, dir string) []forwarder {
	list := []forwarder{
		{
			name: "Unbound over TLS", config: `server:
  interface: ADDRESS
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  pidfile: ""
  directory: "` + dir + `"
  do-not-query-localhost: no
  module-config: "iterator"
  tls-cert-bundle: "` + dir + `/cert.pem"
forward-zone:
  name: "."
  forward-tls-upstream: yes
  forward-addr: 127.0.0.1@853#%s
`,
			run: []string{"unbound", "-d", "-c", "CONFIG"},
		},
		{
			name: "Knot Resolver over TLS", config: `net.listen('ADDRESS', 53, { kind = 'dns' })
modules.unload('ta_update')
trust_anchors.remove('.')
cache.size = 10 * MB
policy.add(policy.all(policy.TLS_FORWARD({{'127.0.0.1', hostname='%s', ca_file='` + dir + `/cert.pem'}})))
`,
			run: []string{"kresd", "-n", "-c", "CONFIG", "DIRECTORY"},
		},
		{
			name: "stubby over TLS", config: `resolution_type: GETDNS_RESOLUTION_STUB
dns_transport_list:
  - GETDNS_TRANSPORT_TLS
tls_authentication: GETDNS_AUTHENTICATION_REQUIRED
tls_query_padding_blocksize: 128
tls_ca_file: "` + dir + `/cert.pem"
idle_timeout: 10000
listen_addresses:
  - ADDRESS@53
upstream_recursive_servers:
  - address_data: 127.0.0.1
    tls_auth_name: "%s"
`,
			run: []string{"stubby", "-C", "CONFIG"}, most: 65000, // the longest have no room for its own OPT record
		},
		{
			// BIND 9.18 has TLS for zone transfers alone: its forwarders take an address and a port. BIND 9.20 has the rest.
			name: "BIND over TLS", config: `options { directory "DIRECTORY"; listen-on { ADDRESS; }; listen-on-v6 { none; }; recursion yes;
  dnssec-validation no; pid-file none; session-keyfile none; forward only; forwarders { 127.0.0.1 port 853 tls p53; }; };
controls { };
tls p53 { ca-file "` + dir + `/cert.pem"; remote-hostname "%s"; };
`,
			check: "named-checkconf CONFIG", run: []string{"named", "-g", "-c", "CONFIG"},
		},
		{
			name: "systemd-resolved over TLS", config: `[Resolve]
DNS=127.0.0.1#%s
DNSOverTLS=yes
DNSSEC=no
Cache=no
Domains=~.
DNSStubListener=no
DNSStubListenerExtra=ADDRESS
`,
			run: []string{"unshare", "-m", "sh", "-c", startResolved, "CONFIG"},
		},
	}
	for what, extra := range map[string]string{"TLS": "", "HTTPS": ", dohPath='/dns-query'"} {
		port := map[string]string{"TLS": "853", "HTTPS": "443"}[what]
		list = append(list, forwarder{
			name: "dnsdist over " + what, config: `setLocal('ADDRESS:53')
setSecurityPollSuffix('')
newServer{address='127.0.0.1:` + port + `', tls='openssl', subjectName='%s', caStore='` + dir + `/cert.pem', checkName='ns.zone.example.'` +
				extra + `}
`,
			run: []string{"dnsdist", "--supervised", "--disable-syslog", "-C", "CONFIG"},
		})
	}
	for what, upstream := range map[string]string{
		"TLS": "tls://NAME", "HTTPS": "https://NAME/dns-query", "QUIC": "quic://NAME:853", "HTTP/3": "h3://NAME/dns-query",
	} {
		// It asks the server itself for its address, and knows its authority from the environment.
		list = append(list, forwarder{
			name: "dnsproxy over " + what,
			run:  []string{"env", "SSL_CERT_FILE=cert.pem", proxy, "-l", "ADDRESS", "-p", "53", "-u", upstream, "-b", "127.0.0.1:5300"},
			most: map[string]int{"QUIC": 512}[what], // it takes the first part of a long reply for the whole
		})
	}
	return list
}

// startResolved starts systemd-resolved with a configuration, /run and a user of its own, and a link, without which it asks nobody.
const startResolved = `set -e
ip link show p53a >/dev/null 2>&1 || ip link add p53a type veth peer name p53b
ip link set p53a up; ip link set p53b up; ip addr replace 198.51.100.2/24 dev p53a
mount -t tmpfs none /run; mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d; cp "$0" /run/systemd/resolved.conf.d/p53.conf
for f in passwd group; do cp /etc/$f /run/$f; done
grep -q ^systemd-resolve: /etc/passwd || echo 'systemd-resolve:x:990:990::/:/usr/sbin/nologin' >>/run/passwd
grep -q ^systemd-resolve: /etc/group || echo 'systemd-resolve:x:990:' >>/run/group
mount --bind /run/passwd /etc/passwd; mount --bind /run/group /etc/group; chown systemd-resolve: /run/systemd/resolve
SSL_CERT_FILE=cert.pem; SYSTEMD_LOG_TARGET=console; export SSL_CERT_FILE SYSTEMD_LOG_TARGET
exec $(command -v systemd-resolved || echo /lib/systemd/systemd-resolved)`

// TestEncryptedForwarders has forwarders ask over TLS, HTTPS, HTTP/3 and QUIC: their clients get answers of every length,
// and none where the certificate has another name.
func TestEncryptedForwarders(t *testing.T) {
	lab := newEncryptedLab(t, "unbound", "kresd", "stubby", "dnsdist", "dig", "named")
	proxy, err := dnsproxy.built()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range forwarders(proxy, lab.dir) {
		for j, name := range []string{"dns.test", "other.test"} {
			t.Run(f.name+" of "+name, func(t *testing.T) {
				address := fmt.Sprintf("127.0.0.%d", 10+2*i+j)
				dir := t.TempDir()
				fill := strings.NewReplacer("ADDRESS", address, "NAME", name, "CONFIG", filepath.Join(dir, "config.yml"), "DIRECTORY", dir)
				text := f.config
				if text != "" {
					text = fmt.Sprintf(fill.Replace(text), name)
				}
				if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if check := fill.Replace(f.check); check != "" {
					if out := lab.shell("%s 2>&1 || echo failed", check); strings.HasSuffix(out, "failed\n") {
						t.Skipf("%s: this version cannot: %s", f.name, out)
					}
				}
				var args []string
				for _, a := range f.run {
					args = append(args, fill.Replace(a))
				}
				var log lockedBuffer
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir, cmd.Stdout, cmd.Stderr = lab.dir, &log, &log
				if err := lab.net.Do(cmd.Start); err != nil {
					t.Fatal(err)
				}
				defer func() {
					_ = cmd.Process.Kill()
					_ = cmd.Wait()
					if t.Failed() {
						t.Logf("%.3000s", log.String())
					}
				}()
				// It is there when it answers at all, be it with SERVFAIL.
				answer := ""
				for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
					answer = lab.shell("dig +tries=1 +time=4 @%s ns.zone.example", address)
					if strings.Contains(answer, "status: ") && (name != "dns.test" || strings.Contains(answer, "192.0.2.1")) {
						break
					}
					if took := time.Since(begun); name != "dns.test" && took > 8*time.Second {
						break // some do not answer at all then
					} else if took > startTimeout {
						t.Fatalf("%s", answer)
					}
				}
				if name != "dns.test" {
					if strings.Contains(answer, "192.0.2.1") {
						t.Errorf("an answer from a server of another name:\n%s", answer)
					}
					return
				}
				for _, size := range answerSizes {
					if size > cmp.Or(f.most, longestEDNS) {
						continue
					}
					// By the text and not by the octets: some give an OPT record to those who had none.
					want := strings.Count(sizedRecord(size), "x")
					got := lab.shell("dig +tcp +noedns +tries=1 +time=5 @%s %s TXT +short", address, sized(size))
					if n := strings.Count(got, "x"); n != want {
						t.Errorf("%d octets: %d of text, want %d: %.300q", size, n, want, got)
					}
				}
			})
		}
	}
}
