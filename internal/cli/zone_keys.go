package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
)

func newZoneKeys(s *streams) *cobra.Command {
	var dir, at, file, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "keys [--config FILE | --dir DIR] ZONE",
		Short: "List the DNSSEC keys of a zone, make new ones, and import others' keys",
		Long: `keys lists the keys of a zone whose files are in a directory: tag, algorithm, what each
is for, and whether it is published and signs now. The files are as BIND has them:
K*.key with the DNSKEY record and K*.private with the private key and its times.

This is what dnssec-settime -p and keymgr ZONE list do.
Exit codes: 0 the keys are listed, 1 files of the zone cannot be used, 2 no directory.`,
		Example: `  port53 zone keys --config /etc/port53/port53.yaml example.com
  port53 zone keys --dir keys example.com
  port53 zone keys new --dir keys example.com
  port53 zone keys import --dir keys --ksk example.com exported.private`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			now, err := timeFlag(at)
			if err != nil {
				return err
			}
			if file != "" {
				apex, err := wire.ParseName(args[0])
				if err != nil {
					return failure(exitUsage, "", "zone %s: %v", args[0], err)
				}
				if dir, err = signedBy(file, view, wire.Lower(nil, apex)); err != nil {
					return err
				}
			}
			return s.listKeys(args[0], dir, now, asJSON)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration of the server that signs the zone")
	cmd.Flags().StringVar(&view, "view", "", "the view whose zone is meant, where views have zones of their own of the name")
	cmd.Flags().StringVarP(&dir, "dir", "K", ".", "the directory of the key files")
	cmd.Flags().StringVar(&at, "at", "", "the time of which the states are (RFC 3339; now)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newZoneKeysNew(s), newZoneKeysImport(s))
	return cmd
}

// A listedKey is a key as zone keys prints it.
type listedKey struct {
	Tag       uint16            `json:"tag"`
	Algorithm string            `json:"algorithm"`
	Flags     uint16            `json:"flags"`
	Kind      string            `json:"kind"` // KSK or ZSK by its SEP flag, CSK if it signs all
	Private   bool              `json:"private"`
	Published bool              `json:"published"`
	Signs     bool              `json:"signs"`
	Revoked   bool              `json:"revoked,omitempty"`
	File      string            `json:"file"`
	Times     map[string]string `json:"times,omitempty"`
}

// listed returns keys as they are printed.
func listed(keys []*signer.Key, now time.Time) []listedKey {
	list := make([]listedKey, len(keys))
	for i, k := range keys {
		list[i] = listedKey{
			Tag: k.Tag(), Algorithm: wire.AlgorithmName(k.Algorithm()), Flags: k.Flags(), Kind: signer.Kind(k, keys, now), Private: k.Private != nil,
			Published: k.Published(now), Signs: k.Published(now) && k.Active(now), Revoked: k.Revoked(now), File: k.File, Times: map[string]string{},
		}
		for name, t := range k.Times.Named() {
			list[i].Times[strings.ToLower(name)] = t.UTC().Format(time.RFC3339)
		}
	}
	return list
}

func (s *streams) listKeys(name, dir string, now time.Time, asJSON bool) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", name, err)
	}
	keys, err := s.zoneKeys(dir, wire.Lower(nil, apex))
	if err != nil {
		return err
	}
	list := listed(keys, now)
	if asJSON {
		return s.printJSON(list)
	}
	for _, k := range list {
		state := "not published"
		switch {
		case k.Revoked && k.Published:
			state = "revoked"
		case k.Signs:
			state = "signs"
		case k.Published && !k.Private:
			state = "published, no private key"
		case k.Published:
			state = "published"
		}
		fmt.Fprintf(s.out, "%5d  %-15s  %s  %-13s  %s\n", k.Tag, k.Algorithm, k.Kind, state, k.File)
	}
	if len(list) == 0 {
		fmt.Fprintf(s.err, "port53: no keys of %s in %s\n", nameText(apex), dir)
	}
	return nil
}

// A newKeysFlags is what zone keys new is told.
type newKeysFlags struct {
	dir, algorithm string
	split, asJSON  bool
}

func newZoneKeysNew(s *streams) *cobra.Command {
	var f newKeysFlags
	cmd := &cobra.Command{
		Use:   "new [--dir DIR] ZONE",
		Short: "Make the keys of a zone",
		Long: `new makes a key that signs all of a zone (CSK), or with --split a key for the keys (KSK)
and one for the data (ZSK), and writes them into a directory: K*.key and K*.private,
which only its owner can read. They are published and sign from now on. No two keys of
a zone get the same tag. The DS record for the parent is printed.

This is what dnssec-keygen and keymgr ZONE generate do.
Exit codes: 0 the keys are written, 2 they are not.`,
		Example: `  port53 zone keys new --dir keys example.com
  port53 zone keys new --dir keys --split --algorithm ed25519 example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.newKeys(args[0], f) },
	}
	cmd.Flags().StringVarP(&f.dir, "dir", "K", ".", "the directory to write to")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", "ecdsap256sha256", "ecdsap256sha256, ed25519, ecdsap384sha384 or rsasha256")
	cmd.Flags().BoolVar(&f.split, "split", false, "make a KSK and a ZSK")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (s *streams) newKeys(name string, f newKeysFlags) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", name, err)
	}
	alg, ok := wire.ParseAlgorithm(f.algorithm)
	if !ok || !signer.CanSign(alg) || alg == dnssec.RSASHA512 {
		return failure(exitUsage, "write ecdsap256sha256, which every validator knows", "--algorithm %s: not one that keys are made for", f.algorithm)
	}
	// Nobody but the owner looks into a directory of keys: read it as far as there is one.
	others, _, err := signer.ReadKeys(f.dir, apex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure(exitUsage, "", "%s: %v", f.dir, pathCause(err))
	}
	kinds := []bool{true}
	if f.split {
		kinds = []bool{true, false}
	}
	now := time.Now()
	var made []*signer.Key
	for _, sep := range kinds {
		k, err := signer.NewKey(apex, alg, sep, now, others)
		if err == nil {
			err = k.Write(f.dir)
		}
		if err != nil {
			return failure(exitUsage, "", "%v", err)
		}
		others, made = append(others, k), append(made, k)
	}
	return s.printMade(made, now, f.asJSON)
}

// printMade prints keys that are new in a directory, and what the parent is to be told.
func (s *streams) printMade(made []*signer.Key, now time.Time, asJSON bool) error {
	if asJSON {
		return s.printJSON(listed(made, now))
	}
	for _, k := range made {
		fmt.Fprintf(s.out, "%s: key %d, %s, %s\n", k.File, k.Tag(), wire.AlgorithmName(k.Algorithm()), signer.Kind(k, made, now))
	}
	for _, k := range made {
		if k.SEP() {
			ds, _ := k.DS(dnssec.DigestSHA256)
			fmt.Fprint(s.out, dsLine(k.Zone, wire.TypeDS, ds))
		}
	}
	return nil
}

// dsLine is a record that is printed without a TTL.
func dsLine(zone []byte, t wire.Type, data []byte) string {
	return fmt.Sprintf("%s IN %s %s\n", nameText(zone), t, wire.AppendRdataText(nil, t, data))
}

// An importFlags is what zone keys import is told.
type importFlags struct {
	dir, algorithm   string
	ksk, zsk, asJSON bool
}

func newZoneKeysImport(s *streams) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import [--dir DIR] --ksk|--zsk ZONE FILE",
		Short: "Take over a zone's private key from another program",
		Long: `import reads a private key and writes it as the pair of files that sign and the server
use: from BIND (K*.private), PowerDNS (pdnsutil export-zone-key ZONE ID), and Knot DNS
or others (PEM, PKCS #8). BIND's own pairs of files need no import: copy them both.

--ksk says that the key has the SEP flag, 257 in its DNSKEY record, and --zsk that it
does not, 256: that is not in a private key, and it decides on the key's tag. Compare
the tag that is printed with that of the DNSKEY or DS record in use.

Exit codes: 0 the key is written, 1 it is no private key for a zone, 2 it is not.`,
		Example: `  pdnsutil export-zone-key example.com 1 | port53 zone keys import --dir keys --ksk example.com -
  port53 zone keys import --dir keys --zsk example.com /var/lib/knot/keys/keys/3f0c...b1.pem`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return s.importKey(args[0], args[1], f) },
	}
	cmd.Flags().StringVarP(&f.dir, "dir", "K", ".", "the directory to write to")
	cmd.Flags().BoolVar(&f.ksk, "ksk", false, "the key has the SEP flag: it is a KSK or CSK")
	cmd.Flags().BoolVar(&f.zsk, "zsk", false, "the key has no SEP flag")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", "", "the algorithm; of RSA keys in PEM, rsasha256 unless it stands here")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// maxImport is more than any private key takes, in bytes.
const maxImport = 1 << 16

func (s *streams) importKey(name, file string, f importFlags) error {
	apex, err := wire.ParseName(name)
	switch {
	case err != nil:
		return failure(exitUsage, "", "zone %s: %v", name, err)
	case f.ksk == f.zsk:
		return failure(exitUsage, "257 in its DNSKEY record is --ksk, 256 is --zsk", "say one of --ksk and --zsk")
	}
	alg := uint8(0)
	if f.algorithm != "" {
		var ok bool
		if alg, ok = wire.ParseAlgorithm(f.algorithm); !ok || !signer.CanSign(alg) {
			return failure(exitUsage, "", "--algorithm %s: not one that can sign", f.algorithm)
		}
	}
	in := s.in
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return failure(exitUsage, "give the path of a private key, or - for standard input", "%s: %v", file, pathCause(err))
		}
		defer opened.Close()
		in = opened
	}
	b, err := io.ReadAll(io.LimitReader(in, maxImport))
	if err != nil {
		return failure(exitUsage, "", "%s: %v", file, pathCause(err))
	}
	now := time.Now()
	k, err := signer.Import(file, b, apex, f.ksk, alg, now)
	if err != nil {
		return failure(exitFindings, "", "%v", err)
	}
	if err := k.Write(f.dir); err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	return s.printMade([]*signer.Key{k}, now, f.asJSON)
}
