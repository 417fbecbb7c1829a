package conformance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// softHSM is the module of a token in software.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// pin is the token's. Nothing prints it.
const pin = "1907-5311"

// buildTagged builds port53 with the tag pkcs11 once for all tests, as make pkcs11 does.
var buildTagged = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv(envTagged); bin != "" {
		return filepath.Abs(bin)
	}
	dir, err := os.MkdirTemp("", "port53-pkcs11")
	if err != nil {
		return "", err
	}
	builtTagged = dir
	bin := filepath.Join(dir, "port53")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "pkcs11,netgo,osusergo", "-o", bin, "./cmd/port53")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building port53 with PKCS#11: %w\n%s", err, out)
	}
	return bin, nil
})

var builtTagged string // the directory that buildTagged made

// An hsm is a token that has nothing in it yet, and the directory of who uses it.
type hsm struct {
	*testing.T
	dir, binary string
}

func newHSM(t *testing.T) *hsm {
	t.Helper()
	for _, program := range []string{"softhsm2-util", "pkcs11-tool", "dnssec-verify", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, err)
		}
	}
	if _, err := os.Stat(softHSM); err != nil {
		missing(t, err)
	}
	binary, err := buildTagged()
	if err != nil {
		t.Fatal(err)
	}
	h := &hsm{t, t.TempDir(), binary}
	if err := os.Mkdir(h.path("tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.put("softhsm2.conf", "directories.tokendir = "+h.path("tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\n")
	h.put("pin", pin+"\n")
	if err := os.Chmod(h.path("pin"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run("softhsm2-util", "--init-token", "--free", "--label", "dns sec", "--so-pin", "87654321", "--pin", pin)
	return h
}

func (h *hsm) path(name string) string { return filepath.Join(h.dir, name) }

func (h *hsm) put(name, text string) {
	h.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
		h.Fatal(err)
	}
}

// command returns a command that has the token.
func (h *hsm) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.Dir, c.Env = h.dir, append(os.Environ(), "SOFTHSM2_CONF="+h.path("softhsm2.conf"))
	return c
}

// try runs a command, and fails the test if it prints the PIN.
func (h *hsm) try(program string, args ...string) (string, error) {
	h.Helper()
	out, err := h.command(program, args...).CombinedOutput()
	if bytes.Contains(out, []byte(pin)) {
		h.Errorf("%s %s prints the PIN", program, strings.Join(args, " "))
	}
	return string(out), err
}

func (h *hsm) run(program string, args ...string) string {
	h.Helper()
	out, err := h.try(program, args...)
	if err != nil {
		h.Fatalf("%s %s: %v: %s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return out
}

// port53 runs the words of a command, DIR being a directory.
func (h *hsm) port53(words, dir string) string {
	h.Helper()
	return h.run(h.binary, strings.Fields(strings.ReplaceAll(words, "DIR", dir))...)
}

// tool has OpenSC's tool do something with the token.
func (h *hsm) tool(args ...string) string {
	h.Helper()
	return h.run("pkcs11-tool", append([]string{"--module", softHSM, "--token-label", "dns sec", "--login", "--pin", pin}, args...)...)
}

// refused runs port53, which is to fail and say why.
func (h *hsm) refused(want string, args ...string) {
	h.Helper()
	if out, err := h.try(h.binary, args...); err == nil || !regexp.MustCompile(want).MatchString(out) {
		h.Errorf("port53 %s: %v, %q: want an error with %q", strings.Join(args, " "), err, out, want)
	}
}

var labelLine = regexp.MustCompile(`(?m)^  label: +(.*)$`)

// labels returns what the token calls its private keys.
func (h *hsm) labels() (list []string) {
	h.Helper()
	for _, m := range labelLine.FindAllStringSubmatch(h.tool("-O", "--type", "privkey"), -1) {
		list = append(list, m[1])
	}
	return list
}

// stores is the configuration of the key store.
func (h *hsm) stores() string {
	return "key_stores:\n  - {name: hsm, uri: \"pkcs11:token=dns%20sec\", module: " + softHSM +
		", pin_file: pin,\n     paths: [tokens, softhsm2.conf]}\n"
}

const tokenZone = "$TTL 1\n@ SOA ns admin 1 7200 3600 1209600 1\n@ NS ns\nns A 127.0.0.1\n* TXT wild\nsub NS ns.sub\nns.sub A 127.0.0.1\n"

// TestTokenSign has a zone file be signed with keys that never left a token, by each algorithm, and BIND
// judge it. A wrong PIN, a token that is not there and a key that somebody deleted are errors that say so.
func TestTokenSign(t *testing.T) {
	h := newHSM(t)
	h.put("port53.yaml", "role: authoritative\nuser: \"\"\nstate_dir: state\nzones: [{name: example.com, file: zone}]\n"+h.stores())
	h.put("zone", tokenZone)
	for _, algorithm := range []string{"ecdsap256sha256", "ecdsap384sha384", "ed25519", "rsasha256"} {
		h.port53("zone keys new --config port53.yaml --store hsm --split --dir DIR --algorithm DIR example.com", algorithm)
		h.port53("zone sign --config port53.yaml --keys DIR --origin example.com --output DIR.signed zone", algorithm)
		h.run("dnssec-verify", "-o", "example.com", algorithm+".signed")
		files, _ := filepath.Glob(h.path(algorithm + "/*.private"))
		for _, f := range files {
			text, err := os.ReadFile(f)
			private := regexp.MustCompile("(?m)^(PrivateKey|PrivateExponent|Prime1):").Match(text)
			if err != nil || !bytes.Contains(text, []byte("\nLabel: ")) || private {
				t.Errorf("%s: %v: want the URI and no private half:\n%s", f, err, text)
			}
		}
		if len(files) != 2 {
			t.Errorf("%s: %d private files, want 2", algorithm, len(files))
		}
	}
	if n := len(h.labels()); n != 8 {
		t.Errorf("the token has %d keys, want 8", n)
	}
	listed := h.port53("zone keys --dir DIR example.com", "ed25519")
	all := listed
	for _, algorithm := range []string{"ecdsap256sha256", "ecdsap384sha384", "rsasha256"} {
		all += h.port53("zone keys --dir DIR example.com", algorithm)
	}
	for _, label := range h.labels() {
		if !strings.HasPrefix(label, "example.com. ") || !strings.Contains(all, "object="+strings.ReplaceAll(label, " ", "%20")+";") {
			t.Errorf("label %q is none that a key file has:\n%s", label, all)
		}
	}
	sign := []string{"zone", "sign", "--config", "port53.yaml", "--keys", "ed25519", "--origin", "example.com", "--output", "out", "zone"}

	t.Run("wrong PIN", func(t *testing.T) {
		h := &hsm{t, h.dir, h.binary}
		h.put("pin", "0000")
		h.refused("the token refuses the PIN in .*/pin", sign...)
		h.put("pin", pin)
		if err := os.Chmod(h.path("pin"), 0o604); err != nil {
			t.Fatal(err)
		}
		h.refused("pin is readable by every user; chmod o= ", sign...)
		if err := os.Chmod(h.path("pin"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("no token", func(t *testing.T) {
		h := &hsm{t, h.dir, h.binary}
		if err := os.Rename(h.path("tokens"), h.path("away")); err != nil {
			t.Fatal(err)
		}
		h.refused("there is no token pkcs11:token=dns%20sec|cannot be initialised", sign...)
		if err := os.Rename(h.path("away"), h.path("tokens")); err != nil {
			t.Fatal(err)
		}
		h.run(h.binary, sign...)
	})
	t.Run("deleted key", func(t *testing.T) {
		h := &hsm{t, h.dir, h.binary}
		uri := regexp.MustCompile(`id=([%0-9A-F]+)`).FindStringSubmatch(listed)
		h.tool("--delete-object", "--type", "privkey", "--id", strings.ReplaceAll(uri[1], "%", ""))
		h.refused("the token has no private key pkcs11:token=dns%20sec;", sign...)
	})
	t.Run("without the tag", func(t *testing.T) {
		plain, err := build()
		if err != nil {
			t.Fatal(err)
		}
		h := &hsm{t, h.dir, plain}
		h.refused(`key store "hsm": this port53 was built without PKCS#11`, sign...)
	})
}

// TestTokenServe has a server keep its keys in a token and roll them. While the token is gone what was
// signed is served, over a restart too, changes are refused, and no key takes the place of those in it.
//
// In one piece: it is one story, and its steps share the token.
func TestTokenServe(t *testing.T) {
	h := newHSM(t)
	at := freeAddr(t)
	h.put("port53.yaml", fmt.Sprintf(`role: authoritative
listen: ["%[1]s"]
control: {socket: control.sock}
metrics: {listen: off}
state_dir: state
user: ""
keys: [{name: up, secret: MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=}]
dnssec_policies:
  - {name: token, keys: split, stores: {ksk: hsm, zsk: hsm}, watch: self, dnskey_ttl: 1s, propagation: 0s, purge: 1s,
     parent: {check: ["%[1]s"], ds_ttl: 1s, propagation: 0s}}
zones: [{name: example.com, file: zone, dnssec: {policy: token}, updates: [{key: up, names: ["*"]}]}]
`, at)+h.stores())
	h.put("zone", tokenZone)
	if err := os.Mkdir(h.path("state"), 0o755); err != nil {
		t.Fatal(err)
	}
	port53 := func(args ...string) (string, error) {
		return h.try(h.binary, append(args[:2:2], append([]string{"--config", "port53.yaml"}, args[2:]...)...)...)
	}
	logs := &lockedBuffer{}
	start := func() (stop func()) {
		t.Helper()
		server := h.command(h.binary, "serve", "--config", "port53.yaml")
		server.Stdout, server.Stderr = logs, logs
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		h.until("the server is up", func() error { _, err := port53("zone", "status", "example.com"); return err })
		return sync.OnceFunc(func() {
			_ = server.Process.Signal(syscall.SIGTERM)
			_ = server.Wait()
		})
	}
	good := func(when string) {
		t.Helper()
		text, err := port53("zone", "export", "example.com")
		if err != nil {
			t.Fatalf("%s: %v: %s", when, err, text)
		}
		h.put("exported", text)
		h.run("dnssec-verify", "-o", "example.com", "exported")
	}
	n := 0
	add := func() (string, error) {
		n++
		return port53("record", "add", "example.com", fmt.Sprint("h", n), "1", "A", "192.0.2.1")
	}
	defer func() {
		if strings.Contains(logs.String(), pin) {
			t.Error("the log has the PIN")
		}
		if t.Failed() {
			t.Log(logs.String())
		}
	}()
	stop := start()
	defer func() { stop() }()
	good("at the start")
	if s := logs.String(); !strings.Contains(s, "files are confined") && !strings.Contains(s, "no Landlock") {
		t.Error("it is not confined")
	}
	first := h.labels()
	if len(first) != 2 {
		t.Fatalf("the token has the keys %q, want a KSK and a ZSK", first)
	}

	// A roll makes a key in the token, and ends with the old one out of it.
	h.until("the keys are in all caches, and a roll begins", func() error {
		_, _ = h.try(h.binary, "zone", "keys", "look", "--config", "port53.yaml", "example.com")
		out, err := h.try(h.binary, "zone", "keys", "roll", "--config", "port53.yaml", "--zsk", "example.com")
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	if now := h.labels(); len(now) != 3 {
		t.Errorf("after the roll began the token has %q, want three", now)
	}
	h.until("the old ZSK is gone from the token", func() error {
		if _, err := h.try(h.binary, "zone", "keys", "look", "--config", "port53.yaml", "example.com"); err != nil {
			return err
		}
		if _, err := add(); err != nil {
			return err
		}
		for _, l := range h.labels() {
			if strings.Contains(l, " zsk ") && (l == first[0] || l == first[1]) {
				return errors.New("it has " + l)
			}
		}
		return nil
	})
	good("after the roll")
	keys := h.labels()

	// The token goes, and comes back.
	away := func(gone bool) {
		t.Helper()
		from, to := "tokens", "away"
		if !gone {
			from, to = to, from
			_ = os.Remove(h.path(to))
		}
		if err := os.Rename(h.path(from), h.path(to)); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(when string) {
		t.Helper()
		out, err := add()
		if err == nil || !strings.Contains(out, "a private key cannot be reached, and no other is made in its place") {
			t.Errorf("%s: an update: %v, %q: want an error that says so", when, err, out)
		}
		good(when)
	}
	away(true)
	gone("while the token is gone")
	away(false)
	h.until("the token is found again", func() error {
		out, err := add()
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	good("with the token back")
	stop()
	away(true)
	stop = start()
	gone("started without the token")
	out, err := h.try(h.binary, "zone", "keys", "roll", "--config", "port53.yaml", "--zsk", "example.com")
	if err == nil || !strings.Contains(out, `key store "hsm"`) {
		t.Errorf("a roll without the token: %v, %q", err, out)
	}
	away(false)
	h.until("the token is found for the first time", func() error {
		out, err := add()
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	good("at the end")
	if now := h.labels(); strings.Join(now, "\n") != strings.Join(keys, "\n") {
		t.Errorf("the token has the keys %q, want %q as before it was gone", now, keys)
	}
}

// until waits for something that the server does by itself.
func (h *hsm) until(what string, ok func() error) {
	h.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Since(began) > time.Minute {
			h.Fatalf("waiting until %s: %v", what, err)
		}
	}
}
