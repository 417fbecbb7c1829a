package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A dsFlags is what zone ds is told.
type dsFlags struct {
	dir, file, digest, at, config, view string
	cds, cdnskey, dnskey, asJSON        bool

	seen, gone uint16
	socket     string
}

func newZoneDS(s *streams) *cobra.Command {
	var f dsFlags
	cmd := &cobra.Command{
		Use:   "ds [--config FILE | --dir DIR | --file FILE] ZONE",
		Short: "Print the DS records for a zone's parent",
		Long: `port53 zone ds prints the DS records for a zone's keys with the SEP flag: with --config, the keys
that the server keeps in state_dir; with --file, those of the DNSKEY RRset of a zone file;
otherwise those of the key files in --dir (without it, the current directory). Give the records to
the registrar or the parent zone.
--cds and --cdnskey print the records from which some parents make the DS records
(RFC 7344); --dnskey prints the keys, which some registrars want instead.

For a zone that the server signs, the records are those that the parent should have now (see
"port53 zone keys"). If port53 cannot query the parent's servers, tell it what they have. --seen
TAG: all of the parent's servers have the DS record of that key; --gone TAG: none of them has that
DS record.

Similar: dnssec-dsfromkey, rndc dnssec -checkds, keymgr ZONE ds, keymgr ZONE ksk-submitted,
pdnsutil export-zone-ds.
Exit codes: 0 records were printed, 1 there is no key, 2 the command failed.`,
		Example: `  port53 zone ds --config /etc/port53/port53.yaml example.com
  port53 zone ds --dir keys example.com
  port53 zone ds --file example.com.zone.signed example.com
  port53 zone ds --dir keys --digest sha384 example.com
  port53 zone ds --dir keys --cds --cdnskey example.com
  port53 zone ds --seen 12345 example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.seen != 0:
				return s.changeKeys(
					cmd.Context(),
					f.config,
					f.socket,
					args[0],
					f.view,
					app.KeysCommand{Action: "seen", Tag: f.seen},
					f.asJSON,
				)
			case f.gone != 0:
				return s.changeKeys(
					cmd.Context(),
					f.config,
					f.socket,
					args[0],
					f.view,
					app.KeysCommand{Action: "gone", Tag: f.gone},
					f.asJSON,
				)
			}
			return s.printDS(args[0], f)
		},
	}
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "the configuration of the server that signs the zone")
	viewFlag(cmd, &f.view)
	cmd.Flags().StringVarP(&f.dir, "dir", "K", ".", "the directory of the key files")
	cmd.Flags().StringVar(&f.file, "file", "", "a signed zone file to take the keys from")
	cmd.Flags().StringVar(&f.digest, "digest", "sha256", "sha256 or sha384")
	cmd.Flags().StringVar(&f.at, "at", "", "use the keys that are published at this time (RFC 3339; default now)")
	cmd.Flags().Uint16Var(&f.seen, "seen", 0, "tell the server that all servers of the parent have this key's DS record")
	cmd.Flags().Uint16Var(&f.gone, "gone", 0, "tell the server that no server of the parent has this key's DS record any more")
	cmd.Flags().StringVar(&f.socket, "socket", "", "with --seen and --gone: the server's control socket, instead of the configured one")
	cmd.MarkFlagsMutuallyExclusive("seen", "gone")
	cmd.Flags().BoolVar(&f.cds, "cds", false, "print CDS records")
	cmd.Flags().BoolVar(&f.cdnskey, "cdnskey", false, "print CDNSKEY records")
	cmd.Flags().BoolVar(&f.dnskey, "dnskey", false, "print DNSKEY records")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// A dsRecord is a record that zone ds prints as JSON.
type dsRecord struct {
	Zone string `json:"zone"`
	Type string `json:"type"`
	Tag  uint16 `json:"tag"`
	Data string `json:"data"`
}

func (s *streams) printDS(name string, f dsFlags) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", name, err)
	}
	apex = wire.Lower(nil, apex)
	digest := uint8(dnssec.DigestSHA256)
	switch strings.ToLower(f.digest) {
	case "sha256", "sha-256", "2":
	case "sha384", "sha-384", "4":
		digest = dnssec.DigestSHA384
	default:
		return failure(exitUsage, "sha256 is the one that every validator knows", "--digest %s: expected sha256 or sha384", f.digest)
	}
	now, err := timeFlag(f.at)
	if err != nil {
		return err
	}
	if f.config != "" {
		if f.dir, err = signedBy(f.config, f.view, apex); err != nil {
			return err
		}
	}
	keys, err := s.entryKeys(apex, now, &f)
	if err != nil {
		return err
	}
	var types []wire.Type
	if f.cds {
		types = append(types, wire.TypeCDS)
	}
	if f.cdnskey {
		types = append(types, wire.TypeCDNSKEY)
	}
	if f.dnskey {
		types = append(types, wire.TypeDNSKEY)
	}
	if len(types) == 0 {
		types = []wire.Type{wire.TypeDS}
	}
	list := []dsRecord{}
	for _, t := range types {
		for _, data := range keys {
			out := data
			if t == wire.TypeDS || t == wire.TypeCDS {
				out, _ = dnssec.AppendDS(nil, apex, data, digest)
			}
			list = append(list, dsRecord{nameText(apex), t.String(), dnssec.KeyTag(data), string(wire.AppendRdataText(nil, t, out))})
		}
	}
	if f.asJSON {
		return s.printJSON(list)
	}
	for _, r := range list {
		fmt.Fprintf(s.out, "%s IN %s %s\n", r.Zone, r.Type, r.Data)
	}
	return nil
}

// signedBy returns the directory of the keys with which the server of a configuration signs a zone.
// view tells which of several of one name is meant.
func signedBy(file, view string, apex []byte) (string, error) {
	c, _, err := loadConfig(file)
	if err != nil {
		return "", err
	}
	views, found := c.ZoneViews(), -1
	for i := range c.Zones {
		z := &c.Zones[i]
		if !wire.EqualFold(z.Name, apex) || !z.DNSSEC.Signs() || view != "" && (views == nil || !slices.Contains(views[i], view)) {
			continue
		}
		if found >= 0 {
			return "", failure(
				exitUsage,
				"say which with --view",
				"%s has several zones %s that are signed, in views of their own",
				file,
				nameText(apex),
			)
		}
		found = i
	}
	if found >= 0 {
		return app.KeysOf(c, apex, c.Zones[found].Qualifier()), nil
	}
	return "", failure(exitFindings, "write dnssec: {sign: true} at the zone", "%s has no zone %s that is signed", file, nameText(apex))
}

// entryKeys returns the DNSKEY data of the keys that the parent is to point at: those with the
// SEP flag or, if none has it, all.
func (s *streams) entryKeys(apex []byte, now time.Time, f *dsFlags) ([][]byte, error) {
	var all [][]byte
	from := f.dir
	if f.file != "" {
		from = f.file
		_, l, err := loadZoneFile(f.file, nameText(apex))
		if err != nil {
			return nil, err
		}
		if l.Zone == nil {
			return nil, failure(exitFindings, "", "%s: it is not accepted as a zone: %s", f.file, l.Problems[0])
		}
		var u zone.Unpacked
		l.Zone.UnpackType(&u, l.Zone.Root(), wire.TypeDNSKEY)
		all = u.Data
	} else if f.config != "" {
		stage := signer.Stage{Zone: apex, Dir: f.dir}
		keys, ready, err := stage.EntryKeys(now)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, failure(exitUsage, "the server makes the keys when it loads the zone", "%s: %v", f.dir, pathCause(err))
		}
		if err != nil {
			return nil, failure(exitFindings, "", "%v", err)
		}
		if !ready && len(keys) > 0 {
			fmt.Fprintf(
				s.err,
				"port53: wait with these: not all caches have the zone's keys and signatures yet (port53 zone keys %s)\n",
				nameText(apex),
			)
		}
		for _, k := range keys {
			all = append(all, k.DNSKEY)
		}
	} else {
		keys, err := s.zoneKeys(f.dir, apex)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.Published(now) && !k.Revoked(now) {
				all = append(all, k.DNSKEY)
			}
		}
	}
	var entry [][]byte
	for _, data := range all {
		if k, ok := dnssec.ParseKey(data); ok && k.Zone() && k.SEP() && !k.Revoked() {
			entry = append(entry, data)
		}
	}
	if len(entry) == 0 {
		entry = all
	}
	if len(entry) == 0 {
		return nil, failure(
			exitFindings,
			"port53 zone keys new makes one",
			"%s: there is no key of %s that is published",
			from,
			nameText(apex),
		)
	}
	return entry, nil
}
