package conformance_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
)

// An xotPair is a zone that one server is to transfer from another over TLS (RFC 9103). Knot DNS has that since 3.4, and 3.2 is what
// Debian 12 has: kdig stands for it (TestClientCertificates). NSD 4.6 cannot require certificates of those who transfer.
type xotPair struct {
	secondary, primary string // kinds of servers
	what               string
	as, at             string // which of the primary's certificates is where, on port 853
	name, ca           string // that the secondary expects
	shown              string // the certificate that the secondary has; "": none
	may                bool
	zone               string // without the dot at its end
}

// The addresses of primaries end in these, and begin with the number of the pair: a server is known by one certificate at an address.
const (
	xotGood    = "server"
	xotExpired = "past"
	xotMutual  = "mutual" // it wants a certificate
)

// second returns the address of the secondary. NSD 4.6 shows one zone's certificate for another, so that each has a server of its own.
func (p *xotPair) second() string {
	switch p.secondary {
	case peers.Port53:
		return "127.0.0.11"
	case peers.BIND:
		return "127.0.0.12"
	}
	return fmt.Sprintf("127.0.0.%d", 20+slices.Index(xotShown, p.shown))
}

// xotShown are the certificates that secondaries show.
var xotShown = []string{"", "ns2", "fake", "old", "other", "pinned"}

// xotPairs are all pairs of servers of which port53 is one.
func xotPairs() []xotPair {
	var list []xotPair
	add := func(p xotPair) {
		p.zone, p.at = fmt.Sprintf("z%d.test", len(list)), fmt.Sprintf("127.0.1.%d", len(list)+1)
		list = append(list, p)
	}
	for _, s := range []string{peers.Port53, peers.BIND, peers.NSD} {
		for _, p := range []string{peers.Port53, peers.BIND, peers.NSD} {
			if s != peers.Port53 && p != peers.Port53 {
				continue
			}
			pair := func(what, as, name, ca, shown string, may bool) {
				add(xotPair{secondary: s, primary: p, what: what, as: as, name: name, ca: ca, shown: shown, may: may})
			}
			pair("everything fits", xotGood, "dns.test", "ca", "", true)
			pair("the primary has another name", xotGood, "other.test", "ca", "", false)
			if s != peers.NSD { // which has the same authorities for all
				pair("the primary is of another authority", xotGood, "dns.test", "evil", "", false)
			}
			pair("the primary's certificate has expired", xotExpired, "dns.test", "ca", "", false)
			if p == peers.NSD {
				continue
			}
			pair("a certificate is shown", xotMutual, "dns.test", "ca", "ns2", true)
			pair("none is shown", xotMutual, "dns.test", "ca", "", false)
			pair("one of another authority is shown", xotMutual, "dns.test", "ca", "fake", false)
			pair("an expired one is shown", xotMutual, "dns.test", "ca", "old", false)
			if p == peers.Port53 { // BIND takes whatever its authority has issued
				pair("one of another name is shown", xotMutual, "dns.test", "ca", "other", false)
				pair("the key that is pinned is shown", xotMutual, "dns.test", "ca", "pinned", true)
			}
		}
	}
	return list
}

// certificates issues those that servers show, into files NAME.pem and NAME.key.
func (r *room) certificates() {
	signers := map[string]*x509.Certificate{}
	keys := map[string]*ecdsa.PrivateKey{}
	for i, c := range []struct {
		file, name, by string
		until          time.Duration
	}{
		{"ca", "ca.test", "ca", time.Hour},
		{"evil", "evil.test", "evil", time.Hour},
		{"pinned", "pinned.test", "pinned", time.Hour},
		{"server", "dns.test", "ca", time.Hour},
		{"past", "dns.test", "ca", -time.Minute},
		{"ns2", "ns2.test", "ca", time.Hour},
		{"other", "other.test", "ca", time.Hour},
		{"fake", "ns2.test", "evil", time.Hour},
		{"old", "ns2.test", "ca", -time.Minute},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			r.t.Fatal(err)
		}
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: c.file}, DNSNames: []string{c.name},
			NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(c.until),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if c.by == c.file {
			cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage, cert.ExtKeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, nil
			signers[c.file], keys[c.file] = cert, key
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, signers[c.by], key.Public(), keys[c.by])
		if err != nil {
			r.t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			r.t.Fatal(err)
		}
		r.write(c.file+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		r.write(c.file+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	}
	r.shell("chmod 600 *.key")
}

// background starts a program in the room, which ends with the test, and returns what it prints.
func (r *room) background(args ...string) *lockedBuffer {
	r.t.Helper()
	log := &lockedBuffer{}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, log, log
	if err := r.net.Do(cmd.Start); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b := log.String(); r.t.Failed() {
			r.t.Logf("%s:\n%s", args, b[max(0, len(b)-3000):])
		}
	})
	return log
}

// xotPort53 is port53's configuration, as a primary or a secondary of some zones.
func xotPort53(pairs []xotPair, at, certificate string, secondary bool, pin string) string {
	var zones, remotes, grants strings.Builder
	for _, p := range pairs {
		switch {
		case secondary:
			shows := ""
			if p.shown != "" {
				shows = fmt.Sprintf(", certificate: %[1]s.pem, key: %[1]s.key", p.shown)
			}
			fmt.Fprintf(&remotes, "  - {name: r-%[1]s, addresses: %[2]s, tls: {name: %[3]s, ca: %[4]s.pem%[5]s}}\n", p.zone, p.at, p.name, p.ca, shows)
			fmt.Fprintf(&zones, "  - {name: %[1]s, primaries: [r-%[1]s]}\n", p.zone)
		case p.as == xotMutual:
			fmt.Fprintf(&zones, "  - {name: %[1]s, file: %[1]s.zone}\n", p.zone)
			fmt.Fprintf(&grants, "{zone: %s, verbs: [read]}, ", p.zone)
		default:
			fmt.Fprintf(&zones, "  - {name: %[1]s, file: %[1]s.zone, allow_transfer: [{address: 127.0.0.0/8}]}\n", p.zone)
		}
	}
	text := fmt.Sprintf("role: authoritative\nlisten: [\"%[1]s:5300\"]\nstate_dir: state-%[1]s\nmetrics: {listen: off}\nsandbox: off\n"+
		"control: {socket: control-%[1]s}\nzones:\n%[2]s", at, zones.String())
	if secondary {
		return text + "remotes:\n" + remotes.String()
	}
	var dot []string
	for _, p := range pairs {
		dot = append(dot, p.at)
	}
	text += fmt.Sprintf("encrypted: {name: dns.test, certificate: %[1]s.pem, key: %[1]s.key, dot: [%[2]s]}\n", certificate, strings.Join(dot, ", "))
	return text + fmt.Sprintf("client_certificates:\n  - {name: ns2, hostname: ns2.test, ca: ca.pem, grants: [%[1]s]}\n"+
		"  - {name: pinned, pins: %[2]q, grants: [%[1]s]}\n", grants.String(), pin)
}

// xotBIND is BIND's.
func xotBIND(pairs []xotPair, dir, at string, secondary bool) string {
	var b strings.Builder
	listen := "listen-on port 5300 { " + at + "; };"
	if !secondary {
		for _, p := range pairs {
			listen += fmt.Sprintf(" listen-on port 853 tls %s { %s; };", p.as, p.at)
		}
		for name, more := range map[string]string{"server": "", "past": "", "mutual": fmt.Sprintf("ca-file \"%s/ca.pem\";", dir)} {
			file := strings.ReplaceAll(name, "mutual", "server")
			fmt.Fprintf(&b, "tls %[1]s { cert-file \"%[2]s/%[3]s.pem\"; key-file \"%[2]s/%[3]s.key\"; %[4]s };\n", name, dir, file, more)
		}
	}
	fmt.Fprintf(&b, "options { directory \"%s\"; %s listen-on-v6 { none; }; recursion no; dnssec-validation no; pid-file none;\n"+
		"  session-keyfile none; allow-new-zones no; };\ncontrols { };\n", dir, listen)
	for _, p := range pairs {
		if !secondary {
			fmt.Fprintf(&b, "zone %q { type primary; file \"%[1]s.zone\"; allow-transfer transport tls { 127.0.0.0/8; }; notify no; };\n", p.zone)
			continue
		}
		shows := ""
		if p.shown != "" {
			shows = fmt.Sprintf("cert-file \"%[1]s/%[2]s.pem\"; key-file \"%[1]s/%[2]s.key\";", dir, p.shown)
		}
		fmt.Fprintf(&b, "tls \"t-%[1]s\" { %[2]s ca-file \"%[3]s/%[4]s.pem\"; remote-hostname %[5]q; };\n", p.zone, shows, dir, p.ca, p.name)
		fmt.Fprintf(&b, "zone %q { type secondary; primaries { %[2]s port 853 tls \"t-%[1]s\"; }; file \"%[1]s.bind\"; };\n", p.zone, p.at)
	}
	return b.String()
}

// xotNSD is NSD's.
func xotNSD(pairs []xotPair, dir, at, certificate string, secondary bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
  ip-address: %[1]s@5300
  username: ""
  chroot: ""
  pidfile: ""
  database: ""
  zonesdir: "%[2]s"
  xfrdfile: "%[2]s/xfrd-%[1]s"
  xfrdir: "%[2]s"
  zonelistfile: "%[2]s/list-%[1]s"
  tls-cert-bundle: "%[2]s/ca.pem"
  verbosity: 2
`, at, dir)
	if !secondary {
		fmt.Fprintf(&b, "  tls-service-pem: \"%[1]s/%[2]s.pem\"\n  tls-service-key: \"%[1]s/%[2]s.key\"\n", dir, certificate)
		for _, p := range pairs {
			fmt.Fprintf(&b, "  ip-address: %s@853\n", p.at)
		}
	}
	b.WriteString("remote-control:\n  control-enable: no\n")
	for _, p := range pairs {
		if !secondary {
			fmt.Fprintf(&b, "zone:\n  name: %q\n  zonefile: \"%[1]s.zone\"\n  provide-xfr: 127.0.0.0/8 NOKEY\n", p.zone)
			continue
		}
		fmt.Fprintf(&b, "tls-auth:\n  name: \"t-%s\"\n  auth-domain-name: %q\n", p.zone, p.name)
		if p.shown != "" {
			fmt.Fprintf(&b, "  client-cert: \"%[1]s/%[2]s.pem\"\n  client-key: \"%[1]s/%[2]s.key\"\n", dir, p.shown)
		}
		fmt.Fprintf(&b, "zone:\n  name: %q\n  zonefile: \"%[1]s.nsd\"\n  request-xfr: AXFR %[2]s@853 NOKEY t-%[1]s\n", p.zone, p.at)
	}
	return b.String()
}

// xotStart starts all servers, and returns what the secondaries print, by their addresses.
func xotStart(r *room, pairs []xotPair) map[string]*lockedBuffer {
	pin, _, _ := strings.Cut(r.shell("%s grant new --cert pinned.pem", r.bin), "\n")
	of := func(ok func(xotPair) bool) (list []xotPair) {
		return slices.DeleteFunc(slices.Clone(pairs), func(p xotPair) bool { return !ok(p) })
	}
	primary := func(kind string, expired bool) []xotPair {
		return of(func(p xotPair) bool { return p.primary == kind && (p.as == xotExpired) == expired })
	}
	for i, certificate := range []string{xotGood, xotExpired} {
		of, address, file := primary(peers.Port53, i == 1), fmt.Sprintf("127.0.0.%d", 1+i), certificate+".yaml"
		r.write(file, xotPort53(of, address, certificate, false, pin))
		ctx, cancel := context.WithTimeout(r.t.Context(), startTimeout)
		s, err := peers.Start(ctx, peers.Port53, peers.Options{
			Dir: r.t.TempDir(), Addr: netip.AddrPortFrom(netip.MustParseAddr(address), 5300), Zones: []peers.Zone{{Name: of[0].zone + "."}},
			Run: r.net.Do, Command: []string{r.bin, "serve", "--config", filepath.Join(r.dir, file)},
		})
		cancel()
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(s.Stop)
		of = primary(peers.NSD, i == 1)
		r.write("nsd-"+certificate, xotNSD(of, r.dir, fmt.Sprintf("127.0.0.%d", 6+i), certificate, false))
		r.background("nsd", "-d", "-c", "nsd-"+certificate)
	}
	r.write("bind.conf", xotBIND(of(func(p xotPair) bool { return p.primary == peers.BIND }), r.dir, "127.0.0.3", false))
	r.background("named", "-g", "-c", "bind.conf")
	for _, p := range pairs {
		r.listens(p.at + ":853")
	}
	logs := map[string]*lockedBuffer{}
	for _, p := range pairs {
		at := p.second()
		if logs[at] != nil {
			continue
		}
		all, file := of(func(o xotPair) bool { return o.second() == at }), "second-"+at
		switch p.secondary {
		case peers.Port53:
			r.write(file, xotPort53(all, at, "", true, ""))
			logs[at] = r.background(r.bin, "serve", "--config", file)
		case peers.BIND:
			r.write(file, xotBIND(all, r.dir, at, true))
			logs[at] = r.background("named", "-g", "-c", file)
		case peers.NSD:
			r.write(file, xotNSD(all, r.dir, at, "", true))
			logs[at] = r.background("nsd", "-d", "-c", file)
		}
	}
	return logs
}

// refused reports whether a secondary has said that it did not get the zone.
func (p *xotPair) refused(log string) bool {
	said, times := p.zone+`\b.*(fail|refused|cannot|error)`, 1
	if p.secondary == peers.NSD {
		switch {
		case p.as == xotExpired: // it does not always say the zone
			said = "certificate has expired"
		case p.as == xotGood:
			said = "hostname mismatch"
		case p.shown != "":
			times = 2 // it shows its certificate from the second connection on
		}
	}
	return len(regexp.MustCompile("(?i)"+said).FindAllString(log, times)) == times
}

// listens waits until somebody listens at an address.
func (r *room) listens(at string) {
	r.t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := r.net.Do(func() error {
			c, err := net.Dial("tcp", at)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		if time.Since(begun) > startTimeout {
			r.t.Fatal(err)
		}
	}
}

// TestZoneTransfersOverTLS has zones go over TLS between port53, BIND and NSD, in and out, and not where a certificate of the
// primary or of the secondary has another name, is another authority's, has expired, or is not shown.
func TestZoneTransfersOverTLS(t *testing.T) {
	r := newRoom(t, "named", "nsd", "dig")
	r.certificates()
	pairs := xotPairs()
	r.shell("ip addr add 127.0.0.3/32 dev lo; ip addr add 127.0.0.12/32 dev lo") // BIND listens at addresses of interfaces
	for i, p := range pairs {
		r.shell("ip addr add %s/32 dev lo", p.at)
		r.write(p.zone+".zone", fmt.Sprintf("$TTL 60\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.%d\n", i))
	}
	logs := xotStart(r, pairs)
	has := func(i int) bool {
		got := r.shell("dig +short +time=1 +tries=1 -p 5300 @%s ns.%s", pairs[i].second(), pairs[i].zone)
		return strings.TrimSpace(got) == fmt.Sprintf("192.0.2.%d", i)
	}
	done := make([]bool, len(pairs))
	for begun := time.Now(); slices.Contains(done, false) && time.Since(begun) < 2*startTimeout; time.Sleep(200 * time.Millisecond) {
		for i, p := range pairs {
			done[i] = done[i] || p.may && has(i) || !p.may && p.refused(logs[p.second()].String())
		}
	}
	for i, p := range pairs {
		if got := has(i); got != p.may || !done[i] {
			t.Errorf("%s from %s, %s (%s): it has the zone: %v, want %v; it is settled: %v", p.secondary, p.primary, p.what, p.zone, got, p.may, done[i])
		}
	}
	t.Logf("%d pairs", len(pairs))
}
