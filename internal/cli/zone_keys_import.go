package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/convert"
	"port53/internal/signer"
	"port53/internal/wire"
)

// An importFlags is what zone keys import is told.
type importFlags struct {
	dir, algorithm, pems string
	ksk, zsk, asJSON     bool
	ttl                  time.Duration
}

func newZoneKeysImport(s *streams) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import [--dir DIR] [--pem DIR] [--ksk | --zsk] ZONE FILE",
		Short: "Import a zone's keys from another program",
		Long: `port53 zone keys import takes the keys of a zone that another server signs, with their states, and
writes them as the files that port53 zone sign and the server use: K*.key, K*.private and
K*.state. A rollover in progress is continued here. FILE is one of these:

  a directory of BIND's key files
  PowerDNS's database: an SQLite file, or the output of sqlite3 .dump, mysqldump or pg_dump
  Knot DNS's list of keys: the output of keymgr -j ZONE list (JSON) or keymgr -e ZONE list
  (text); --pem names the directory of the private keys, which is the subdirectory
  "keys" of the KASP database
  one private key: BIND's K*.private, pdnsutil export-zone-key, or PEM (PKCS #8)

A single private key needs --ksk if it has the SEP flag (257 in its DNSKEY record), and
--zsk if it does not (256). The file does not contain this flag, and the flag affects the
key tag: compare the printed tags with those of the DNSKEY records in use.

If only one of the flags "active" and "published" of a PowerDNS key is set, port53 zone keys
import marks the key as being retired, even if it was meant as a new key: the server removes the
key from the zone as soon as that is safe. port53 zone keys import also marks an active key of
Knot DNS as being retired if the list has a new key to replace it.

Exit codes: 0 the keys were written, 1 FILE has no keys for the zone, or bad keys, 2 the keys were
not written.`,
		Example: `  port53 zone keys import --dir keys example.com /var/cache/bind
  port53 zone keys import --dir keys example.com /var/lib/powerdns/pdns.sqlite3
  keymgr -j example.com list | port53 zone keys import --dir keys --pem /var/lib/knot/keys/keys example.com -
  pdnsutil export-zone-key example.com 1 | port53 zone keys import --dir keys --ksk example.com -`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return s.importKeys(args[0], args[1], f) },
	}
	cmd.Flags().StringVarP(&f.dir, "dir", "K", ".", "the directory to write to")
	cmd.Flags().StringVar(&f.pems, "pem", "", "the directory of Knot DNS's private keys (ID.pem)")
	cmd.Flags().BoolVar(&f.ksk, "ksk", false, "the single key has the SEP flag: it is a KSK or CSK")
	cmd.Flags().BoolVar(&f.zsk, "zsk", false, "the single key has no SEP flag")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", "", "the single key's algorithm (default for RSA keys in PEM: rsasha256)")
	cmd.Flags().DurationVar(&f.ttl, "dnskey-ttl", signer.ImportTTL*time.Second,
		"the TTL that the DNSKEY records have had so far, if FILE does not say")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// maxImport is more than any list of keys takes, in bytes.
const maxImport = 1 << 20

func (s *streams) importKeys(name, file string, f importFlags) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", name, err)
	}
	if f.ttl < 0 || f.ttl > 7*24*time.Hour {
		return failure(exitUsage, "write it as 1h or 86400s", "--dnskey-ttl %s: expected a time up to a week (168h)", f.ttl)
	}
	apex = wire.Lower(nil, apex)
	now := time.Now()
	imported, err := s.foreignKeys(apex, file, f, now)
	if err != nil {
		return err
	}
	var keys []*signer.Key
	for _, i := range imported {
		if i.Key == nil {
			fmt.Fprintf(s.err, "port53: %s\n", i.Note)
		} else {
			keys = append(keys, i.Key)
		}
	}
	if len(keys) == 0 {
		return failure(exitFindings, "", "%s: no key of %s that can be taken", file, nameText(apex))
	}
	if err := signer.WriteImported(f.dir, imported); err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	if !f.asJSON {
		for _, i := range imported {
			if i.Key != nil && i.Key.State != nil {
				fmt.Fprintf(s.out, "key %d: %s: DNSKEY record %s, signatures %s%s\n", i.Key.Tag(), i.Note,
					i.Key.State.DNSKEY, i.Key.State.Signatures, map[bool]string{true: "; it is to leave"}[i.Key.State.Retiring])
			}
		}
	}
	return s.printMade(keys, now, f.asJSON)
}

// foreignKeys reads the keys of another server, of whatever it has them in.
func (s *streams) foreignKeys(apex []byte, file string, f importFlags, now time.Time) (imported []signer.Imported, err error) {
	ttl := uint32(f.ttl / time.Second)
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		if _, err := os.Stat(filepath.Join(file, "data.mdb")); err == nil {
			list := fmt.Sprintf("keymgr -j -D %s %s list", file, nameText(apex))
			return nil, failure(exitUsage,
				fmt.Sprintf("%s | port53 zone keys import --pem %s %s -", list, filepath.Join(file, "keys"), nameText(apex)),
				"%s: a KASP database of Knot DNS: have keymgr list its keys", file)
		}
		imported, err = signer.ImportBIND(file, apex, ttl, now)
		if err != nil {
			return nil, failure(exitFindings, "", "%v", err)
		}
		return imported, nil
	}
	if file != "-" && convert.IsDatabase(file) {
		rows, err := convert.CryptoKeys(file, nameText(apex))
		if err == nil {
			keys := make([]signer.PowerDNSKey, len(rows))
			for i, r := range rows {
				keys[i] = signer.PowerDNSKey(r)
			}
			imported, err = signer.ImportPowerDNS(file, keys, apex, ttl, now)
		}
		if err != nil {
			return nil, failure(exitFindings, "", "%v", err)
		}
		return imported, nil
	}
	b, err := s.readImport(file)
	if err != nil {
		return nil, err
	}
	if f.pems != "" {
		imported, err = signer.ImportKnot(file, b, f.pems, apex, ttl, now)
		if err != nil {
			return nil, failure(exitFindings, "", "%v", err)
		}
		return imported, nil
	}
	return oneKey(file, b, apex, f, now)
}

// readImport reads a file, or standard input.
func (s *streams) readImport(file string) ([]byte, error) {
	in := s.in
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, failure(exitUsage, "give the path of a private key, or - for standard input", "%s: %v", file, pathCause(err))
		}
		defer opened.Close()
		in = opened
	}
	b, err := io.ReadAll(io.LimitReader(in, maxImport+1))
	switch {
	case err != nil:
		return nil, failure(exitUsage, "", "%s: %v", file, pathCause(err))
	case len(b) > maxImport:
		return nil, failure(exitUsage, "", "%s: larger than %d bytes: it is not a list of keys", file, maxImport)
	}
	return b, nil
}

// oneKey takes a single private key.
func oneKey(file string, b, apex []byte, f importFlags, now time.Time) ([]signer.Imported, error) {
	if text := bytes.TrimSpace(b); bytes.HasPrefix(text, []byte("[")) || bytes.Contains(text, []byte(" ksk=")) {
		return nil, failure(exitUsage, "--pem /var/lib/knot/keys/keys",
			"%s: a list of Knot DNS: say with --pem where its private keys are", file)
	}
	if f.ksk == f.zsk {
		return nil, failure(exitUsage, "257 in its DNSKEY record is --ksk, 256 is --zsk", "say one of --ksk and --zsk")
	}
	alg := uint8(0)
	if f.algorithm != "" {
		var ok bool
		if alg, ok = wire.ParseAlgorithm(f.algorithm); !ok || !signer.CanSign(alg) {
			return nil, failure(exitUsage, "", "--algorithm %s: not one that can sign", f.algorithm)
		}
	}
	k, err := signer.Import(file, b, apex, f.ksk, alg, now)
	if err != nil {
		return nil, failure(exitFindings, "", "%v", err)
	}
	return []signer.Imported{{Key: k}}, nil
}
