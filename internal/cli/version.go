package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"aead.dev/minisign"
	"github.com/spf13/cobra"

	"port53/internal/app"
)

// What the linker is told of a release (-X): its version, the commit and its day, and the
// minisign key by which artefacts are verified. A build that knows none of it takes the
// version from the Go toolchain.
var release, commit, date, releaseKey string

// The files that stand beside the artefacts of a release.
const (
	sumsName      = "SHA256SUMS"
	signatureName = sumsName + ".minisig"
)

func newVersion(s *streams) *cobra.Command {
	var asJSON, features bool
	var verify, key string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version and build details",
		Long: `port53 version prints the version, the commit and the Go release. --features lists the features of
this system that port53 uses, and what port53 does instead if a feature is missing. --verify
checks that a file is a genuine release file: its checksum must be in SHA256SUMS beside it, signed
with the release key (SHA256SUMS.minisig).

Similar: named -V, nsd -v, knotd --version, pdns_server --version.`,
		Example: `  port53 version
  port53 version --features
  port53 version --verify port53_0.1.0_amd64.deb
  port53 version --verify port53_0.1.0_amd64.deb --key port53.pub`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			switch v := buildVersion(); {
			case verify != "":
				return s.verifyRelease(verify, key, asJSON)
			case features && asJSON:
				return s.printJSON(app.Features())
			case features:
				return s.printFeatures(app.Features())
			case asJSON:
				return s.printJSON(v)
			}
			fmt.Fprint(s.out, versionLine())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&features, "features", false, "show which features of this system port53 uses")
	cmd.Flags().StringVar(&verify, "verify", "", "check that this `file` is a genuine release file")
	cmd.Flags().StringVar(&key, "key", "", "the minisign key to verify with, as text or a `file` (default: the release key)")
	cmd.MarkFlagsMutuallyExclusive("features", "verify")
	return cmd
}

// printFeatures prints what there is of the system, one line each.
func (s *streams) printFeatures(list []app.Feature) error {
	for _, f := range list {
		word, text := "yes", f.Use
		if !f.Have {
			word, text = "no", f.Without
		}
		if _, err := fmt.Fprintf(s.out, "%-3s  %-14s  %s\n", word, f.Name, text); err != nil {
			return err
		}
	}
	return nil
}

// versionLine returns the version as people read it.
func versionLine() string {
	v := buildVersion()
	return fmt.Sprintf("port53 %s (%s)\n", v.Version, strings.Join(v.built(), ", "))
}

type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit
	Go       string `json:"go"`
}

// built says from what it was built.
func (v version) built() []string {
	var list []string
	if release != "" && v.Revision != "" {
		list = append(list, "commit "+v.Revision[:min(12, len(v.Revision))])
	}
	if v.Date != "" {
		list = append(list, v.Date)
	}
	return append(list, v.Go)
}

func buildVersion() version {
	v := version{Version: cmp.Or(release, "unknown"), Revision: commit, Date: date}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if release != "" {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}

// verification is what --verify prints as JSON.
type verification struct {
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
	Key     string `json:"key"`     // the identity of the key
	Comment string `json:"comment"` // what the signer says, signed too
}

// verifyRelease says whether a file is the one that was released. key is the text of a public
// key or a file with it, or "" for the one that this program was built with.
func (s *streams) verifyRelease(name, key string, asJSON bool) error {
	public, err := publicKey(cmp.Or(key, releaseKey))
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	sums, err := os.ReadFile(filepath.Join(dir, sumsName))
	if err != nil {
		return failure(exitUsage, "download it beside the file", "%v", err)
	}
	signature, err := os.ReadFile(filepath.Join(dir, signatureName))
	if err != nil {
		return failure(exitUsage, "download it beside the file", "%v", err)
	}
	if !minisign.Verify(public, sums, signature) {
		return failure(
			exitFindings,
			"download both again, and compare the key with the one that the project publishes",
			"%s is not signed by key %X: it was changed, or somebody else has signed it",
			sumsName,
			public.ID(),
		)
	}
	sum, err := sumOf(name)
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	want, listed := listedSum(sums, filepath.Base(name))
	switch {
	case !listed:
		return failure(exitFindings, "", "%s is not part of this release: %s does not name it", filepath.Base(name), sumsName)
	case want != sum:
		return failure(
			exitFindings,
			"download it again",
			"%s is not what was released: its sum is %s, and that of the release %s",
			filepath.Base(name),
			sum,
			want,
		)
	}
	var parsed minisign.Signature
	_ = parsed.UnmarshalText(signature) // it has just been verified
	v := verification{File: name, SHA256: sum, Key: fmt.Sprintf("%X", public.ID()), Comment: parsed.TrustedComment}
	if asJSON {
		return s.printJSON(v)
	}
	_, err = fmt.Fprintf(s.out, "%s is what was released\n  sha256   %s\n  key      %s\n  comment  %s\n", name, v.SHA256, v.Key, v.Comment)
	return err
}

// publicKey reads a minisign key: text, or a file with it.
func publicKey(from string) (minisign.PublicKey, error) {
	var key minisign.PublicKey
	if from == "" {
		return key, failure(exitUsage, "give it with --key", "this program was built without the key of a release")
	}
	text, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(from), nil
	}
	if err == nil {
		err = key.UnmarshalText(text)
	}
	if err != nil {
		return key, failure(exitUsage, "a key is a line that begins with RW, or a file that minisign -G has made", "--key: %v", err)
	}
	return key, nil
}

// listedSum returns the sum of a file by the lines of sha256sum.
func listedSum(sums []byte, name string) (string, bool) {
	for line := range strings.Lines(string(sums)) {
		if sum, file, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && file == name {
			return sum, true
		}
	}
	return "", false
}

// sumOf returns the SHA-256 of a file in hexadecimal digits.
func sumOf(name string) (string, error) {
	f, err := os.Open(name)
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
