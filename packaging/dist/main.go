// Command dist makes the artefacts of a release: programs for each system, packages of Debian,
// Red Hat and Alpine, an image, the lists of what is in them, and a directory that apt can
// fetch from. The same commit makes the same octets, wherever, whenever and by whomever it is
// run: all times are the commit's, and nothing of the machine goes in.
//
//	dist [-out DIRECTORY] [-targets linux/amd64,linux/arm/7] [-key FILE] [-gpg FILE]
//
// With -key, a secret key of minisign without a password, SHA256SUMS is signed; with -gpg, an
// armoured secret key of OpenPGP without a password, the directory for apt. Without them both
// stay unsigned, and dist says so.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"aead.dev/minisign"
)

// A build is one release in the making.
type build struct {
	root, out string    // of the source, and for the artefacts; absolute
	version   string    // as in 0.1.0, or 0.1.0~git20260131.abcdef123456
	commit    string    // in full
	date      time.Time // of the commit
	key       *minisign.PrivateKey
	gpg       string // file of the OpenPGP key, or ""
	log       io.Writer
}

func main() {
	out := flag.String("out", "dist", "the `directory` for the artefacts")
	targets := flag.String("targets", strings.Join(allTargets(), ","), "the systems to build for")
	key := flag.String("key", "", "`file` with the secret key of minisign")
	gpg := flag.String("gpg", "", "`file` with the secret key of OpenPGP")
	root := flag.String("root", ".", "`directory` of the source")
	flag.Parse()
	if err := run(*root, *out, *key, *gpg, strings.Split(*targets, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func run(root, out, key, gpg string, names []string) error {
	b := &build{gpg: gpg, log: os.Stderr}
	var err error
	if b.root, err = filepath.Abs(root); err != nil {
		return err
	}
	if b.out, err = filepath.Abs(out); err != nil {
		return err
	}
	var list []target
	for _, name := range names {
		t, err := parseTarget(name)
		if err != nil {
			return err
		}
		list = append(list, t)
	}
	if key != "" {
		if b.key, err = secretKey(key); err != nil {
			return err
		}
	}
	if err := b.identify(); err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	return b.all(list)
}

// secretKey reads a secret key of minisign that has no password.
func secretKey(file string) (*minisign.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	k := new(minisign.PrivateKey)
	if err := k.UnmarshalText(text); err != nil {
		decrypted, err2 := minisign.DecryptKey("", text)
		if err2 != nil {
			return nil, fmt.Errorf("%s: %w", file, errors.Join(err, err2))
		}
		*k = decrypted
	}
	return k, nil
}

// identify asks git for the version, the commit and its date. A commit with a tag vX.Y.Z is
// that release; another one comes before the next release that CHANGELOG.md names.
func (b *build) identify() error {
	commit, err := b.git("rev-parse", "HEAD")
	if err != nil {
		return err
	}
	seconds, err := b.git("show", "-s", "--format=%ct", "HEAD")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return err
	}
	b.commit, b.date = commit, time.Unix(n, 0).UTC()
	if tag, err := b.git("describe", "--exact-match", "--match", "v*", "HEAD"); err == nil {
		b.version = strings.TrimPrefix(tag, "v")
		return nil
	}
	text, err := os.ReadFile(filepath.Join(b.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "## "); ok && rest[0] >= '0' && rest[0] <= '9' {
			b.version = strings.Fields(rest)[0] + "~git" + b.date.Format("20060102") + "." + commit[:12]
			return nil
		}
	}
	return errors.New("CHANGELOG.md names no release: it needs a line such as \"## 0.1.0 - 2026-01-31\"")
}

func (b *build) git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", b.root}, args...)...)
	said, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(said)), nil
}

// all makes every artefact, and the sums of them last.
func (b *build) all(list []target) error {
	fmt.Fprintf(b.log, "port53 %s, commit %s of %s\n", b.version, b.commit[:12], b.date.Format(time.DateOnly))
	documents, err := b.documents()
	if err != nil {
		return err
	}
	var names []string
	var debs, images []artefact
	for i, t := range list {
		begun := time.Now()
		program, err := b.program(t)
		if err != nil {
			return err
		}
		made, err := b.pack(t, program, documents)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		for _, a := range made {
			names = append(names, a.name)
			if strings.HasSuffix(a.name, ".deb") {
				debs = append(debs, a)
			}
		}
		if t.image {
			images = append(images, artefact{name: program, target: t})
		}
		fmt.Fprintf(b.log, "[%d/%d] %s: %.0f s\n", i+1, len(list), t.name, time.Since(begun).Seconds())
	}
	if len(images) > 0 {
		name, err := b.image(images)
		if err != nil {
			return fmt.Errorf("image: %w", err)
		}
		names = append(names, name)
	}
	if len(debs) > 0 {
		if err := b.aptDirectory(debs); err != nil {
			return fmt.Errorf("apt: %w", err)
		}
	}
	more, err := b.provenance(names)
	if err != nil {
		return err
	}
	return b.sums(append(names, more))
}

// sums writes SHA256SUMS of all artefacts, and signs it.
func (b *build) sums(names []string) error {
	slices.Sort(names)
	var text strings.Builder
	for _, name := range names {
		sum, err := sumOf(filepath.Join(b.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, name)
	}
	if err := b.write("SHA256SUMS", []byte(text.String())); err != nil {
		return err
	}
	if b.key == nil {
		fmt.Fprintln(b.log, "SHA256SUMS is not signed: no -key was given")
		return nil
	}
	comment := "port53 " + b.version + ", commit " + b.commit
	signed := minisign.SignWithComments(*b.key, []byte(text.String()), comment, "signature of port53")
	public := b.key.Public().(minisign.PublicKey)
	return errors.Join(b.write("SHA256SUMS.minisig", signed), b.write("port53.pub", []byte("untrusted comment: port53\n"+public.String()+"\n")))
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// write writes one artefact, for everybody to read whatever the umask is.
func (b *build) write(name string, data []byte) error {
	path := filepath.Join(b.out, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}
