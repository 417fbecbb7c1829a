package cli

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/config"
	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
	"port53/internal/zones"
)

// A verifyFlags is what zone verify is told.
type verifyFlags struct {
	origin, at, ds string
	asJSON         bool
}

func newZoneVerify(s *streams) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [--ds DS] FILE",
		Short: "Verify all signatures and NSEC or NSEC3 proofs of a signed zone file",
		Long: `port53 zone verify reads a signed zone file and judges it as a validator querying every name
would: each signature with each key that may have made it, the chain of NSEC or NSEC3 records, the
keys, the ZONEMD digest (RFC 8976), and what CDS and CDNSKEY records ask of the parent. --ds
checks that the parent's DS records lead to the keys: --ds takes a file of DS or DNSKEY records
such as dsset-example.com., or the data of one record. Without --ds, a key with the SEP flag has
to sign the keys.

Similar: dnssec-verify, ldns-verify-zone, kzonecheck --dnssec on.
Exit codes: 0 the zone is valid, 1 the zone is not valid, 2 the zone could not be verified.`,
		Example: `  port53 zone verify example.com.zone.signed
  port53 zone verify --ds dsset-example.com. example.com.zone.signed
  port53 zone verify --ds "2371 13 2 1F98 ..." --json example.com.zone.signed
  port53 zone verify --at 2026-12-24T00:00:00Z example.com.zone.signed`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.verifyZone(args[0], f) },
	}
	cmd.Flags().StringVar(&f.origin, "origin", "", "the zone's name")
	cmd.Flags().StringVar(&f.ds, "ds", "", "the parent's DS records: a file, or one record's data")
	cmd.Flags().StringVar(&f.at, "at", "", "the time signatures must be valid at (RFC 3339; default now)")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// verified is what zone verify prints as JSON.
type verified struct {
	Zone       string          `json:"zone"`
	File       string          `json:"file"`
	Verified   bool            `json:"verified"`
	Serial     uint32          `json:"serial,omitempty"`
	Errors     int             `json:"errors"`
	Warnings   int             `json:"warnings"`
	Faults     []signer.Fault  `json:"faults"`
	Problems   []zones.Problem `json:"problems"` // of the file
	Names      int             `json:"names"`
	Sets       int             `json:"sets"`
	Signatures int             `json:"signatures"`
	Denial     string          `json:"denial,omitempty"`
	ZONEMD     bool            `json:"zonemd"`
	Keys       []verifiedKey   `json:"keys"`
	Expires    string          `json:"first_signature_expires,omitempty"`
}

// A verifiedKey is a key of the zone.
type verifiedKey struct {
	Tag       uint16 `json:"tag"`
	Algorithm string `json:"algorithm"`
	Flags     uint16 `json:"flags"`
	SignsKeys bool   `json:"signs_keys"`
	SignsData bool   `json:"signs_data"`
	DS        bool   `json:"ds"`
}

func (s *streams) verifyZone(file string, f verifyFlags) error {
	now, err := timeFlag(f.at)
	if err != nil {
		return err
	}
	apex, l, err := loadZoneFile(file, f.origin)
	if err != nil {
		return err
	}
	v := verified{Zone: nameText(apex), File: file, Faults: []signer.Fault{}, Problems: []zones.Problem{}, Keys: []verifiedKey{}}
	v.Problems = append(v.Problems, l.Problems...)
	for _, p := range l.Problems {
		switch {
		case !p.Warning || p.Signature:
			v.Errors++
		default:
			v.Warnings++
		}
	}
	if l.Zone != nil {
		ds, err := parentDS(f.ds, apex)
		if err != nil {
			return err
		}
		verdict, err := signer.Verify(l.Zone, signer.VerifyOptions{Now: now, DS: ds})
		if err != nil {
			return failure(exitFindings, "port53 zone sign signs it", "zone %s: %v", v.Zone, err)
		}
		v.take(l.Zone, verdict)
	}
	v.Verified = v.Errors == 0 && l.Zone != nil
	if f.asJSON {
		err = s.printJSON(v)
	} else {
		s.printVerified(&v)
	}
	if err == nil && !v.Verified {
		return &exit{code: exitFindings}
	}
	return err
}

func (v *verified) take(z *zone.Zone, d *signer.Verdict) {
	v.Serial, v.Names, v.Sets, v.Signatures = z.Serial(), d.Names, d.Sets, d.Signatures
	v.Errors += d.Errors
	v.Warnings += d.Warnings
	v.Faults = append(v.Faults, d.Faults...)
	v.Denial, v.ZONEMD = d.Denial, d.Digest
	for _, k := range d.Keys {
		v.Keys = append(v.Keys, verifiedKey{k.Tag, wire.AlgorithmName(k.Algorithm), k.Flags, k.SignsKeys, k.SignsData, k.DS})
	}
	if !d.Earliest.IsZero() {
		v.Expires = d.Earliest.UTC().Format(time.RFC3339)
	}
}

func (s *streams) printVerified(v *verified) {
	for _, p := range v.Problems {
		if p.Signature {
			p.Warning = false
		}
		fmt.Fprintln(s.out, p)
	}
	told := 0
	for _, f := range v.Faults {
		fmt.Fprintln(s.out, f)
		told++
	}
	if more := v.Errors + v.Warnings - len(v.Problems) - told; more > 0 {
		fmt.Fprintf(s.out, "and %d more\n", more)
	}
	for _, k := range v.Keys {
		signs := "signs nothing"
		switch {
		case k.SignsKeys && k.SignsData:
			signs = "signs keys and data"
		case k.SignsKeys:
			signs = "signs keys"
		case k.SignsData:
			signs = "signs data"
		}
		if k.DS {
			signs += ", and the parent has a DS record for it"
		}
		fmt.Fprintf(s.out, "key %d, %s, flags %d: %s\n", k.Tag, k.Algorithm, k.Flags, signs)
	}
	if !v.Verified {
		fmt.Fprintf(s.out, "zone %s: not verified, %s\n", v.Zone, count(v.Errors, "error"))
		return
	}
	digest := ""
	if v.ZONEMD {
		digest = ", ZONEMD"
	}
	fmt.Fprintf(s.out, "zone %s: verified, serial %d, %s, %s, %s%s, the first expires %s\n",
		v.Zone, v.Serial, count(v.Names, "name"), count(v.Signatures, "signature"), v.Denial, digest, v.Expires)
}

// count returns a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func nameText(name []byte) string { return string(wire.AppendName(nil, name)) }

// loadZoneFile reads a zone file as zone check does, under the default limits; origin may be
// empty.
func loadZoneFile(file, origin string) (apex []byte, l zones.Loaded, err error) {
	if _, err := os.Stat(file); err != nil {
		return nil, l, failure(exitUsage, "give the path of a zone file", "%s: %v", file, pathCause(err))
	}
	if origin != "" {
		if apex, err = wire.ParseName(origin); err != nil {
			return nil, l, failure(exitUsage, "", "--origin %s: %v", origin, err)
		}
	} else if apex, err = guessOrigin(file); err != nil {
		return nil, l, failure(exitUsage, "say it with --origin", "%s: the zone's name is not clear: %v", file, err)
	}
	limits := config.Default().ZoneLimits
	l = zones.Load(
		zones.Source{Apex: apex, File: file, Generate: limits.Generate, MaxRecords: limits.Records, MaxSize: int64(limits.Size)},
		0,
	)
	return apex, l, nil
}

// parentDS returns the DS records that a flag names: the data of one record, or a file of DS
// and DNSKEY records. They are nil if the flag is empty.
func parentDS(flag string, apex []byte) ([][]byte, error) {
	if flag == "" {
		return nil, nil
	}
	source, name := strings.NewReader("@ 1 DS "+flag+"\n"), "--ds"
	if words := strings.Fields(flag); len(words) < 4 {
		b, err := os.ReadFile(flag)
		if err != nil {
			return nil, failure(
				exitUsage,
				`give a file of DS records, or the data of one as in "2371 13 2 1F98..."`,
				"--ds %s: %v",
				flag,
				pathCause(err),
			)
		}
		source, name = strings.NewReader(string(b)), flag
	}
	var list [][]byte
	_, err := zonefile.Read(source, zonefile.Options{Origin: apex, Name: name, DefaultTTL: 1}, func(r *zonefile.Record) error {
		switch {
		case r.Type != wire.TypeDS && r.Type != wire.TypeDNSKEY:
		case !wire.EqualFold(r.Owner, apex):
			return fmt.Errorf("%s:%d:%d: it is of %s, and the zone is %s", name, r.Line, r.Col, nameText(r.Owner), nameText(apex))
		case r.Type == wire.TypeDS && wire.DigestSize(r.Type, r.Data) != 0 && wire.DigestSize(r.Type, r.Data) != len(r.Data):
			return fmt.Errorf("%s:%d:%d: its digest has not the length that it has to have", name, r.Line, r.Col)
		case r.Type == wire.TypeDS:
			list = append(list, append([]byte(nil), r.Data...))
		case binary.BigEndian.Uint16(r.Data)&dnssec.FlagSEP != 0:
			ds, _ := dnssec.AppendDS(nil, apex, r.Data, dnssec.DigestSHA256)
			list = append(list, ds)
		}
		return nil
	})
	if err != nil {
		return nil, failure(exitUsage, "", "%v", err)
	}
	if len(list) == 0 {
		return nil, failure(exitUsage, "", "%s has no DS records, and no DNSKEY records with the SEP flag", name)
	}
	return list, nil
}
