package conformance_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRoleNone has firewall apply --role none close the ports of a server that everybody may ask, and prove it; a rule
// of others that leads strangers to it all the same, before ours, is told of by port and transport.
func TestRoleNone(t *testing.T) {
	e := newExposed(t)
	if _, err := exec.LookPath("openssl"); err != nil {
		missing(t, err)
	}
	e.in("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=dns.test -addext subjectAltName=DNS:dns.test " +
		"-keyout key.pem -out cert.pem 2>&1; chmod 600 key.pem")
	pair := "encrypted: {name: dns.test, certificate: " + filepath.Join(e.dir, "cert.pem") + ", key: " + filepath.Join(e.dir, "key.pem")
	e.serve("served", exposeCommon+"listen: [0.0.0.0, \"::\", \"0.0.0.0:5300\"]\n"+exposeServes+
		pair+", dot: [0.0.0.0, \"0.0.0.0:8853\"], doq: [0.0.0.0, \"0.0.0.0:8853\"]}\n")
	apply := func(want int, flags ...string) string {
		t.Helper()
		cmd := exec.Command(e.bin, "firewall", "apply", "--role", "none", "--backend", "nftables", "--state-dir", "fw")
		cmd.Args = append(cmd.Args, flags...)
		cmd.Dir, cmd.Env = e.dir, append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if _ = e.home.Do(cmd.Run); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Fatalf("%v, want %d:\n%s", cmd.ProcessState, want, out.String())
		}
		return out.String()
	}
	// Seven addresses with those of the cable, two ports, two transports.
	if out := apply(0); !strings.Contains(out, "28 of 28 tries found a closed port") {
		t.Error(out)
	}
	e.in(`$PORT53 query @127.0.0.1 example.com SOA +short | grep -q ns`) // this machine itself may
	e.in("nft add table ip hole; nft 'add chain ip hole pre { type nat hook prerouting priority dstnat; }'\n" +
		"nft add rule ip hole pre ip daddr 192.0.2.54 udp dport 53 redirect to :5300; nft add rule ip hole pre ip daddr 192.0.2.54 tcp dport 853 redirect to :8853\n" +
		"nft add rule ip hole pre ip daddr 192.0.2.54 udp dport 853 redirect to :8853")
	out := apply(1, "--untried")
	for _, want := range []string{"at 192.0.2.54:53/UDP from", "at 192.0.2.54:853/TCP from", "seen an open port: QUIC", "25 of 28 tries"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not among:\n%s", want, out)
		}
	}
	// prove finds the same ports open, and who holds them.
	cmd := exec.Command(e.bin, "prove", "--role", "none")
	cmd.Dir, cmd.Env = e.dir, append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var proved bytes.Buffer
	cmd.Stdout, cmd.Stderr = &proved, &proved
	if _ = e.home.Do(cmd.Run); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("prove: %v, want 1:\n%s", cmd.ProcessState, proved.String())
	}
	for _, want := range []string{"at 192.0.2.54:53/UDP from", "at 192.0.2.54:853/TCP from", "seen an open port: QUIC", "ports 53 and 853"} {
		if !strings.Contains(proved.String(), want) {
			t.Errorf("prove: %s is not among:\n%s", want, proved.String())
		}
	}
}
