package conformance_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// consolePackages installs what the console is built and tried with, unless it is there, and returns its folder.
func consolePackages(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../console")
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("missing: %s", tool)
		}
	}
	for _, name := range []string{"esbuild", "playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", name)); err == nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=30000")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("missing: the packages of the console: npm ci: %v\n%s", err, out)
		}
		break
	}
	return dir
}

// TestConsoleIsBuilt: the pages in the program are those that console/ makes.
func TestConsoleIsBuilt(t *testing.T) {
	dir, made := consolePackages(t), t.TempDir()
	cmd := exec.CommandContext(t.Context(), "node", "build.mjs", made)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kept := "../internal/web/static"
	entries, err := os.ReadDir(kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want, err := os.ReadFile(filepath.Join(made, e.Name()))
		if err != nil {
			t.Errorf("%s is not made any more: %v", e.Name(), err)
			continue
		}
		if got, err := os.ReadFile(filepath.Join(kept, e.Name())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is another than npm run build makes: %v", e.Name(), err)
		}
	}
	if now, err := os.ReadDir(made); err != nil || len(now) != len(entries) {
		t.Errorf("%d files are made, %d are kept: %v", len(now), len(entries), err)
	}
}

// consoleSite writes a configuration with zones of every kind, the console at port, DNS at 5399.
func consoleSite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const head = "$TTL 3600\n@ SOA ns1 h 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.80\n"
	home := head + "@ MX 10 mail\nmail A 192.0.2.25\nftp CNAME www\n_sip._tcp SRV 10 5 5060 ns1\n"
	for i := range 9 {
		home += fmt.Sprintf("host%d A 192.0.2.%d\n", i, 100+i)
	}
	conf := `role: internal-resolver
listen: ["127.0.0.1:5399"]
state_dir: state
user: ""
control: {socket: control.sock}
metrics: {listen: off}
console: {listen: "127.0.0.1:8099"}
resolver:
  allow: [127.0.0.0/8]
  forward: [{zone: ".", to: ["127.0.0.1:9"]}]
  validation: false
policy:
  lists: [{name: test-list, file: list.txt}]
  block: [{list: test-list}]
keys: [{name: transfer-key, algorithm: hmac-sha256, secret: c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=}]
zones:
  - {name: home.test, file: home.zone}
  - {name: signed.test, file: small.zone, dnssec: {policy: default}}
  - {name: broken.test, file: broken.zone}
  - {name: away.test, primaries: ["127.0.0.1:9"], insecure: true}
`
	for i := range 2000 {
		conf += fmt.Sprintf("  - {name: z%d.test, file: small.zone}\n", i)
	}
	for name, text := range map[string]string{
		"port53.yaml": conf, "home.zone": home, "small.zone": head, "list.txt": "||ads-blocked.net^\n",
		"broken.zone": "$TTL 3600\n@ SOA ns1 h 1 7200 3600\n@ NX ns1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestConsole: people go through the console in Chromium, by mouse and by keyboard, in a large window and a small
// one, and each page can be read by those who need help with it.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("missing: chromium")
	}
	packages := consolePackages(t)
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s, dir := newShell(t), consoleSite(t)
	served := s.start(dir, bin+" serve --config port53.yaml")
	socket := filepath.Join(dir, "control.sock")
	for end := time.Now().Add(time.Minute); ; {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not start:\n%s", served)
		}
		time.Sleep(20 * time.Millisecond) // between looks
	}
	out, code := s.runFor(packages, "exec env BASE=http://localhost:8099 DNS=5399 BUSY=1 PATIENCE=30000 BIN="+bin+" SOCKET="+socket+" CHROMIUM="+browser+" node test/journeys.mjs", 5*time.Minute)
	t.Log(out)
	if code != 0 || !strings.Contains(out, " journeys, 0 failed") {
		t.Errorf("exit code %d; the server said:\n%s", code, served)
	}
}
