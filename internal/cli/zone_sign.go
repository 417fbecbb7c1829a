package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
	"port53/internal/zones"
)

// A signFlags is what zone sign is told.
type signFlags struct {
	origin, keys, output, serial, at, have string
	config                                 string
	nsec3, optOut, digest                  bool
	valid, before, spread, refresh         string
	asJSON                                 bool
}

func newZoneSign(s *streams) *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "sign [--keys DIR] FILE",
		Short: "Sign a zone file",
		Long: `port53 zone sign reads a zone file, signs it with the keys in a directory, and writes FILE.signed,
with the DNSKEY RRset, signatures, and NSEC or NSEC3 records. DNSSEC records from an earlier
signing are replaced. Key files are in the format of dnssec-keygen and port53 zone keys new; their
times decide which keys are published and which sign. Keys with the SEP flag sign the keys, and
the other keys sign the data; if all keys are of one kind, each signs both.

Keys in a key store (PKCS#11) never leave it: the signatures are made there. The key stores are
those in the configuration given with --config.

--have gives a signed version of the zone, such as the previous output: its signatures over
unchanged RRsets are kept if they remain valid for at least --refresh. The output file is replaced
only when the new one is complete.

Similar: dnssec-signzone -S, ldns-signzone, kzonesign.
Exit codes: 0 the zone is signed, 1 the zone cannot be signed, 2 the command failed.`,
		Example: `  port53 zone keys new --dir keys example.com
  port53 zone sign --keys keys example.com.zone
  port53 zone sign --keys keys --nsec3 --zonemd --serial unixtime example.com.zone
  port53 zone sign --keys keys --have example.com.zone.signed --refresh 5d example.com.zone
  port53 zone sign --keys keys --output - example.com.zone | port53 zone verify /dev/stdin --origin example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.signZone(args[0], f) },
	}
	configFlag(cmd, &f.config)
	cmd.Flags().StringVar(&f.origin, "origin", "", "the zone's name")
	cmd.Flags().StringVarP(&f.keys, "keys", "K", ".", "the directory of the key files")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "the file to write, - for standard output (default FILE.signed)")
	cmd.Flags().BoolVar(&f.nsec3, "nsec3", false, "use NSEC3, with 0 iterations and no salt")
	cmd.Flags().BoolVar(&f.optOut, "opt-out", false, "use NSEC3 with opt-out")
	cmd.Flags().BoolVar(&f.digest, "zonemd", false, "add a digest of the zone (RFC 8976)")
	cmd.Flags().StringVar(&f.serial, "serial", "keep", "keep, increment, unixtime, date, or a number")
	cmd.Flags().StringVar(&f.valid, "valid", "14d", "how long signatures are valid")
	cmd.Flags().StringVar(&f.before, "before", "1h", "how far in the past the inception lies")
	cmd.Flags().StringVar(&f.spread, "spread", "0s", "shorten some signatures' validity by up to this, so that they do not expire together")
	cmd.Flags().StringVar(&f.have, "have", "", "a signed version whose valid signatures are kept")
	cmd.Flags().StringVar(&f.refresh, "refresh", "5d", "how long a kept signature must still be valid")
	cmd.Flags().StringVar(&f.at, "at", "", "the signing time (RFC 3339; default now)")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// signed is what zone sign prints as JSON.
type signed struct {
	Zone    string   `json:"zone"`
	Output  string   `json:"output"`
	Serial  uint32   `json:"serial"`
	Names   int      `json:"names"`
	Records int      `json:"records"`
	Made    int      `json:"signatures_made"`
	Kept    int      `json:"signatures_kept"`
	Denial  string   `json:"denial"`
	ZONEMD  bool     `json:"zonemd"`
	Keys    []uint16 `json:"keys"`
	Expires string   `json:"first_signature_expires"`
}

// policy returns what the flags say of how to sign.
func (f *signFlags) policy(z *zone.Zone) (signer.Policy, error) {
	p := signer.Policy{Digest: f.digest}
	switch {
	case f.optOut:
		p.Denial = signer.NSEC3OptOut
	case f.nsec3:
		p.Denial = signer.NSEC3
	}
	for _, d := range []struct {
		flag, value string
		to          *time.Duration
	}{{"valid", f.valid, &p.Valid}, {"before", f.before, &p.Before}, {"spread", f.spread, &p.Spread}, {"refresh", f.refresh, &p.Refresh}} {
		v, ok := config.ParseDuration(d.value)
		if !ok {
			return p, failure(exitUsage, "write a duration such as 14d or 36h", "--%s %s: not a duration", d.flag, d.value)
		}
		*d.to = v
	}
	switch {
	case p.Valid < time.Minute || p.Valid > 5*365*24*time.Hour:
		return p, failure(exitUsage, "14d is usual", "--valid %s: expected a minute to five years", f.valid)
	case p.Spread >= p.Valid:
		return p, failure(exitUsage, "", "--spread %s: it has to be less than --valid, %s", f.spread, f.valid)
	}
	serial := z.Serial()
	switch f.serial {
	case "keep":
	case "increment":
		serial++
	case "unixtime":
		serial = zones.UnixTime(serial)
	case "date":
		serial = zones.Date(serial)
	default:
		n, err := strconv.ParseUint(f.serial, 10, 32)
		if err != nil {
			return p, failure(exitUsage, "write keep, increment, unixtime, date, or a number", "--serial %s: not known", f.serial)
		}
		serial = uint32(n)
	}
	p.Serial = &serial
	return p, nil
}

// signingCollect is how much garbage, in per cent of what is in use, is let lie while a zone is
// signed: there is little, and the zone may be most of the memory.
const signingCollect = 20

func (s *streams) signZone(file string, f signFlags) error {
	now, err := timeFlag(f.at)
	if err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(signingCollect))
	apex, l, err := loadZoneFile(file, f.origin)
	if err != nil {
		return err
	}
	if l.Zone == nil {
		for _, p := range l.Problems {
			fmt.Fprintln(s.err, p)
		}
		return failure(exitFindings, "", "%s: the zone cannot be signed: it is not accepted", file)
	}
	policy, err := f.policy(l.Zone)
	if err != nil {
		return err
	}
	keys, err := s.zoneKeys(f.keys, apex)
	if err != nil {
		return err
	}
	if err := attach(keys, f.config); err != nil {
		return err
	}
	o := signer.SignOptions{Now: now, Append: appendText}
	if f.have != "" {
		_, have, err := loadZoneFile(f.have, nameText(apex))
		switch {
		case err != nil:
			return err
		case have.Zone == nil:
			return failure(exitUsage, "", "--have %s: it is not accepted as a zone: %s", f.have, have.Problems[0])
		}
		o.Prior = have.Zone
	}
	if f.output == "" {
		f.output = file + ".signed"
	}
	var done *signer.Signed
	err = s.writeWhole(f.output, func(w io.Writer) error {
		done, err = signer.Sign(l.Zone, keys, policy, o, func(piece []byte) error { _, err := w.Write(piece); return err })
		return err
	})
	if err != nil {
		hint := ""
		if errors.Is(err, signer.ErrNoKeys) {
			hint = "port53 zone keys new --dir " + f.keys + " " + nameText(apex) + " makes one"
		}
		return failure(exitFindings, hint, "zone %s: %v", nameText(apex), err)
	}
	r := signed{
		Zone: nameText(
			apex,
		),
		Output:  f.output,
		Serial:  done.Serial,
		Names:   done.Names,
		Records: done.Records,
		Made:    done.Made,
		Kept:    done.Kept,
		Denial:  policy.Denial.String(),
		ZONEMD:  done.Digest,
		Keys:    done.Keys,
		Expires: done.Expires.UTC().Format(time.RFC3339),
	}
	switch {
	case f.asJSON:
		return s.printJSON(r)
	case f.output != "-":
		fmt.Fprintf(s.out, "zone %s: signed, serial %d, %s, %s made and %d kept, %s, the first expires %s: %s\n",
			r.Zone, r.Serial, count(r.Names, "name"), count(r.Made, "signature"), r.Kept, r.Denial, r.Expires, r.Output)
	}
	return nil
}

// appendText appends a record as a line of a zone file.
func appendText(dst, owner []byte, t wire.Type, ttl uint32, data []byte) []byte {
	return zonefile.AppendRecord(dst, owner, ttl, t, data)
}

// timeFlag returns the time that --at says, or now.
func timeFlag(at string) (time.Time, error) {
	if at == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return t, failure(exitUsage, "write it as 2026-12-24T00:00:00Z", "--at %s: not a time", at)
	}
	return t, nil
}

// zoneKeys returns the keys of a zone that are in a directory.
func (s *streams) zoneKeys(dir string, apex []byte) ([]*signer.Key, error) {
	keys, problems, err := signer.ReadKeys(dir, apex)
	if err != nil {
		return nil, failure(exitUsage, "name the directory of the key files", "%s: %v", dir, pathCause(err))
	}
	for _, p := range problems {
		fmt.Fprintf(s.err, "port53: error: %v\n", p)
	}
	if len(problems) > 0 {
		// To leave a key out would change who signs.
		return nil, failure(
			exitFindings,
			"mend the files, or move those away that are not to be used",
			"%s: %s of the zone cannot be used",
			dir,
			count(len(problems), "key file"),
		)
	}
	return keys, nil
}

// attach finds those of keys that are in tokens there, by the key stores of a configuration, which is
// read only if there are any.
func attach(keys []*signer.Key, file string) error {
	if !slices.ContainsFunc(keys, func(k *signer.Key) bool { return k.URI != "" }) {
		return nil
	}
	tokens, err := keyStores(file)
	if err != nil {
		return err
	}
	if err := signer.Attach(keys, tokens); err != nil {
		return failure(exitFindings, "", "%v", err)
	}
	return nil
}

// keyStores returns the key stores of a configuration.
func keyStores(file string) (signer.KeyStores, error) {
	c, _, err := loadConfig(file)
	if err != nil {
		return nil, err
	}
	tokens := app.KeyStores(c)
	if tokens == nil {
		return nil, failure(
			exitUsage,
			"name the token in key_stores, and the configuration with --config",
			"%s: it has no key stores",
			file,
		)
	}
	return tokens, nil
}

// writeWhole writes a file that takes the place of what is there when it is whole, or standard
// output if its name is -.
func (s *streams) writeWhole(path string, write func(io.Writer) error) error {
	if path == "-" {
		out := bufio.NewWriter(s.out)
		if err := write(out); err != nil {
			return err
		}
		return out.Flush()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("%s: %w", path, pathCause(err))
	}
	defer os.Remove(f.Name()) // it is gone if it was renamed
	out := bufio.NewWriterSize(f, 1<<20)
	err = write(out)
	if err == nil {
		err = errors.Join(out.Flush(), f.Chmod(0o644), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
