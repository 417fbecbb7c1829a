package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A made release is built once for all tests: of the commit that is checked out, for this
// machine, and signed with keys of the moment.
type made struct {
	dir, home string // with the artefacts; with keys and a clone
	err       error
}

var release = sync.OnceValue(func() (m made) {
	if m.home, m.err = os.MkdirTemp("", "port53-dist-test"); m.err != nil {
		return m
	}
	m.dir = filepath.Join(m.home, "out")
	if m.err = keys(m.home); m.err == nil {
		m.err = make1(m.home, "a", m.dir)
	}
	return m
})

func TestMain(m *testing.M) {
	code := m.Run()
	if r := release(); r.home != "" {
		os.RemoveAll(r.home)
	}
	os.Exit(code)
}

// keys makes the keys that a release is signed with.
func keys(home string) error {
	_, private, err := minisign.GenerateKey(nil)
	if err != nil {
		return err
	}
	text, err := private.MarshalText()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(home, "minisign.key"), text, 0o600); err != nil {
		return err
	}
	e, err := openpgp.NewEntity("port53 test", "", "port53@localhost", &packet.Config{RSABits: 2048})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PrivateKeyType, nil)
	if err != nil {
		return err
	}
	if err := e.SerializePrivate(w, nil); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(home, "gpg.asc"), b.Bytes(), 0o600)
}

// make1 clones the source into a directory of home, and makes the release from there.
func make1(home, name, out string) error {
	clone := filepath.Join(home, name)
	if said, err := exec.Command("git", "clone", "-q", "../..", clone).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return run(clone, out, filepath.Join(home, "minisign.key"), filepath.Join(home, "gpg.asc"), []string{"linux/amd64"})
}

// artefacts returns the release.
func artefacts(t *testing.T) made {
	t.Helper()
	m := release()
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m
}

// one returns the file of the release with a suffix.
func one(t *testing.T, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(artefacts(t).dir, "*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("*%s: %v %v", suffix, found, err)
	}
	return found[0]
}

// need skips a test that lacks a program, or fails it where all have to be there.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("PORT53_REQUIRE_PEERS") != "" {
				t.Fatalf("missing: %s", p)
			}
			t.Skipf("missing: %s", p)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// say runs a program and returns what it printed.
func say(t *testing.T, name string, args ...string) string {
	t.Helper()
	said, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, said)
	}
	return string(said)
}

// TestReproducible makes the release once more from another directory, with another umask, time
// zone, language and home: every octet is the same.
func TestReproducible(t *testing.T) {
	m := artefacts(t)
	for name, value := range map[string]string{"TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8", "GOAMD64": "v3", "GOFLAGS": "-race"} {
		t.Setenv(name, value)
	}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	again := filepath.Join(m.home, "somewhere", "else")
	if err := make1(m.home, "another-directory", again); err != nil {
		t.Fatal(err)
	}
	syscall.Umask(old)
	n := 0
	err := filepath.WalkDir(m.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(m.dir, path)
		if err != nil {
			return err
		}
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(again, rel))
		if err != nil {
			return err
		}
		n++
		// The signature of OpenPGP has a salt; what it signs is compared.
		if !bytes.Equal(a, b) && !strings.HasSuffix(rel, "InRelease") && !strings.HasSuffix(rel, "Release.gpg") {
			t.Errorf("%s differs", rel)
		}
		return nil
	})
	if err != nil || n < 12 {
		t.Errorf("%d artefacts: %v", n, err)
	}
}

// TestSignatures has every artefact verified by port53 itself and by Debian's tools, and one
// octet of each turned round.
func TestSignatures(t *testing.T) {
	need(t, "minisign", "gpg", "sha256sum")
	m := artefacts(t)
	program := filepath.Join(m.dir, "bin", "linux_amd64", "port53")
	deb := one(t, "_amd64.deb")
	if said := say(t, program, "version", "--verify", deb); !strings.Contains(said, "is what was released") {
		t.Error(said)
	}
	say(t, "minisign", "-Vm", filepath.Join(m.dir, "SHA256SUMS"), "-p", filepath.Join(m.dir, "port53.pub"))
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = m.dir
	if said, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	home := t.TempDir()
	say(t, "gpg", "--homedir", home, "--batch", "--import", filepath.Join(m.dir, "apt", "port53.asc"))
	dists := filepath.Join(m.dir, "apt", "dists", "stable")
	for _, name := range []string{"InRelease", "Release.gpg"} {
		text, err := os.ReadFile(filepath.Join(dists, name))
		if err != nil || !regexp.MustCompile(`(?m)^=[A-Za-z0-9+/]{4}\n-----END PGP SIGNATURE-----$`).Match(text) {
			t.Errorf("%s: no checksum below the signature: apt refuses it where the signature has a length that needs no padding (%v)", name, err)
		}
	}
	say(t, "gpg", "--homedir", home, "--batch", "--verify", filepath.Join(dists, "InRelease"))
	say(t, "gpg", "--homedir", home, "--batch", "--verify", filepath.Join(dists, "Release.gpg"), filepath.Join(dists, "Release"))

	text, err := os.ReadFile(filepath.Join(m.dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		bad := flipped(t, m.dir, name)
		said, err := exec.Command(program, "version", "--verify", filepath.Join(bad, name)).CombinedOutput()
		if err == nil || !strings.Contains(string(said), name+" is not what was released") {
			t.Errorf("%s with an octet turned round: %v\n%s", name, err, said)
		}
	}
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.minisig"} {
		bad := flipped(t, m.dir, name)
		said, err := exec.Command(program, "version", "--verify", filepath.Join(bad, filepath.Base(deb))).CombinedOutput()
		if err == nil || !strings.Contains(string(said), "SHA256SUMS is not signed") {
			t.Errorf("%s with an octet turned round: %v\n%s", name, err, said)
		}
	}
	other, _, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(program, "version", "--verify", deb, "--key", other.String()).CombinedOutput(); err == nil {
		t.Errorf("another key verifies:\n%s", said)
	}
}

// flipped returns a directory that has the artefacts as links, and one of them as a copy with
// an octet turned round.
func flipped(t *testing.T, dir, name string) string {
	t.Helper()
	bad := t.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name && !e.IsDir() {
			if err := os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(bad, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	at := len(data) / 2
	if name == "SHA256SUMS.minisig" {
		at = bytes.IndexByte(data, '\n') + 40 // within the signature
	}
	if data[at] ^= 1; data[at] == '\n' {
		data[at] ^= 3
	}
	if err := os.WriteFile(filepath.Join(bad, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return bad
}

// TestJudges has the packages and what is in them read by Debian's own judges.
func TestJudges(t *testing.T) {
	need(t, "lintian", "rpm", "mandoc", "apparmor_parser", "dpkg-deb", "skopeo")
	if said, err := exec.Command("lintian", "--allow-root", "--fail-on", "error", "--tag-display-limit", "0", one(t, "_amd64.deb")).CombinedOutput(); err != nil || bytes.Contains(said, []byte("E: ")) {
		t.Errorf("lintian: %v\n%s", err, said)
	}
	for _, ask := range []string{"-qip", "-qlp", "-qp --scripts"} {
		say(t, "rpm", append(strings.Fields(ask), one(t, ".x86_64.rpm"))...)
	}
	say(t, "apparmor_parser", "--skip-kernel-load", "--skip-cache", "../port53.apparmor")
	root := t.TempDir()
	say(t, "dpkg-deb", "-x", one(t, "_amd64.deb"), root)
	pages, err := filepath.Glob(filepath.Join(root, "usr/share/man/man*/*.gz"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d manual pages: %v", len(pages), err)
	}
	for _, page := range pages {
		zipped, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text, err := gunzip(zipped)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("mandoc", "-Tlint", "-W", "warning")
		cmd.Stdin = bytes.NewReader(text)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(page), err, said)
		}
	}
	var image struct {
		Architecture string
		Labels       map[string]string
	}
	if err := json.Unmarshal([]byte(say(t, "skopeo", "inspect", "--override-arch", "amd64", "oci-archive:"+one(t, "_oci.tar"))), &image); err != nil {
		t.Fatal(err)
	}
	if image.Architecture != "amd64" || image.Labels["org.opencontainers.image.title"] != "port53" {
		t.Errorf("%+v", image)
	}
}
