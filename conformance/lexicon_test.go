package conformance_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/conformance/peers"
)

// TestLexicon has Debian's lexicon, which knows port53 as PowerDNS, list, create, update and delete records,
// those of ACME too. It runs without the Internet: it looks for a list of domains there.
func TestLexicon(t *testing.T) {
	if subjectKind() != peers.Port53 {
		t.Skip("the subject has no such API")
	}
	if _, err := exec.LookPath("lexicon"); err != nil {
		missing(t, err)
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s, dir := newShell(t, "HOME="+t.TempDir()), t.TempDir()
	for name, text := range map[string]string{
		"port53.yaml": `role: authoritative
listen: ["127.0.0.1:5399"]
state_dir: state
user: ""
control: {socket: control.sock}
metrics: {listen: off}
api: {listen: "127.0.0.1:8053"}
tokens: [{name: lexicon, secret_file: token, grants: [{zone: example.org, verbs: [read, change, notify]}]}]
zones:
  - {name: example.org, file: example.zone}
  - {name: example.net, file: example.zone}
`,
		"token": apiSecret, "example.zone": "$TTL 3600\n@ SOA ns1 h 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	served := s.start(dir, bin+" serve --config port53.yaml")
	for end := time.Now().Add(time.Minute); ; {
		if c, err := net.Dial("unix", filepath.Join(dir, "control.sock")); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not start:\n%s", served)
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
	const lexicon = "lexicon powerdns --auth-token " + apiSecret + " --pdns-server http://127.0.0.1:8053 --pdns-server-id localhost --output TABLE-NO-HEADER "
	for _, step := range []struct {
		does, asks   string
		want, absent string // in what DNS answers
	}{
		{"create example.org A --name www --content 192.0.2.80 --ttl 300", "www.example.org. A", "192.0.2.80", ""},
		{"create example.org A --name www --content 192.0.2.81 --ttl 300", "www.example.org. A", "192.0.2.81", ""},
		{"create example.org TXT --name _acme-challenge.www.example.org --content one", "_acme-challenge.www.example.org. TXT", `"one"`, ""},
		{"create example.org TXT --name _acme-challenge.www.example.org --content two", "_acme-challenge.www.example.org. TXT", `"two"`, ""},
		{"delete example.org TXT --name _acme-challenge.www.example.org --content one", "_acme-challenge.www.example.org. TXT", `"two"`, `"one"`},
		{"delete example.org TXT --name _acme-challenge.www.example.org", "_acme-challenge.www.example.org. TXT", "NXDOMAIN", `"two"`},
		{"create example.org CNAME --name blog --content www.example.org.", "blog.example.org. CNAME", "www.example.org.", ""},
		{"delete example.org A --name www", "www.example.org. A", "NXDOMAIN", "192.0.2.8"},
		{"create example.org A --name mail --content 192.0.2.25", "mail.example.org. A", "192.0.2.25", ""},
		{"list example.org A", "mail.example.org. A", "192.0.2.25", ""},
	} {
		out, code := s.run(dir, lexicon+step.does)
		if code != 0 || strings.Contains(step.does, "list") && (!strings.Contains(out, "192.0.2.25") || strings.Contains(out, "192.0.2.80")) {
			t.Fatalf("%s: exit code %d\n%s", step.does, code, out)
		}
		words := strings.Fields(step.asks)
		got, _ := s.run(dir, fmt.Sprintf("%s query %s %s @127.0.0.1 --port 5399", bin, words[0], words[1]))
		if !strings.Contains(got, step.want) || step.absent != "" && strings.Contains(got, step.absent) {
			t.Errorf("%s: want %s, not %s\n%s", step.does, step.want, step.absent, got)
		}
	}
	// An update names a record by the identifier that the list has.
	list, _ := s.run(dir, lexicon+"list example.org A --name mail")
	id, _, _ := strings.Cut(strings.TrimSpace(list), " ")
	if out, code := s.run(dir, lexicon+"update example.org A --identifier "+id+" --name mail --content 192.0.2.26"); code != 0 {
		t.Errorf("update of %s: exit code %d\n%s", id, code, out)
	}
	if got, _ := s.run(dir, bin+" query mail.example.org. A @127.0.0.1 --port 5399"); !strings.Contains(got, "192.0.2.26") || strings.Contains(got, "192.0.2.25") {
		t.Errorf("after an update:\n%s", got)
	}
	if out, code := s.run(dir, lexicon+"create example.net A --name www --content 192.0.2.1"); code == 0 {
		t.Errorf("a zone that the token has no grant for is changed:\n%s", out)
	}
}
