package zonegen

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"port53/conformance/peers"
)

// A Mode is how a zone is signed.
type Mode int

// The modes.
const (
	Plain  Mode = iota // not at all
	NSEC               // with NSEC
	NSEC3              // with NSEC3, 0 iterations and no salt (RFC 9276, section 3.1)
	OptOut             // as NSEC3, with opt-out (RFC 5155, section 6)
	Salted             // NSEC3 with 5 iterations and a salt
)

// Modes are all the modes.
var Modes = []Mode{Plain, NSEC, NSEC3, OptOut, Salted}

// String returns the mode's name, which also serves as a label in origins.
func (m Mode) String() string {
	return [...]string{"plain", "nsec", "nsec3", "optout", "salted"}[m]
}

// Signer returns the path of the tool that signs, or an error that names it.
func Signer() (string, error) { return peers.Find("dnssec-signzone") }

// Sign signs the master file in with one fresh ECDSA P-256 key and writes one
// record on each line to out. Signatures are valid from 2020 to 2040.
func Sign(origin string, mode Mode, in, out string) error {
	signer, err := Signer()
	if err != nil {
		return err
	}
	keygen, err := peers.Find("dnssec-keygen")
	if err != nil {
		return err
	}
	keys, err := os.MkdirTemp(filepath.Dir(out), "keys")
	if err != nil {
		return err
	}
	defer os.RemoveAll(keys)
	run := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir = keys
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s of %s: %w: %s", filepath.Base(name), origin, err, strings.TrimSpace(string(text)))
		}
		return nil
	}
	if err := run(keygen, "-q", "-K", keys, "-a", "ECDSAP256SHA256", "-f", "KSK", origin); err != nil {
		return err
	}
	args := []string{
		"-q", "-S", "-z", "-P", "-K", keys, "-d", keys, "-o", origin, "-O", "full", "-N", "keep",
		"-s", "20200101000000", "-e", "20400101000000", "-f", out,
	}
	switch mode {
	case NSEC3:
		args = append(args, "-3", "-", "-H", "0")
	case OptOut:
		args = append(args, "-3", "-", "-H", "0", "-A")
	case Salted:
		args = append(args, "-3", "aabbccdd", "-H", "5")
	}
	return run(signer, append(args, in)...)
}
