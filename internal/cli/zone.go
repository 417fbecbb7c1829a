package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/catalogue"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
	"port53/internal/zones"
)

func newZone(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "zone",
		Short: "Check and sign zone files, and manage the server's zones",
		Long: `A primary zone usually has a zone file (RFC 1035, section 5); a secondary zone is transferred from
its primaries. The commands "check", "sign" and "verify" work on files, without a server, and so
do "keys --dir", "keys new" and "keys import". "ds" works on files, too, unless --seen or --gone
is given. All other commands use the running server.`,
		Example: `  port53 zone check example.com.zone
  port53 zone status example.com
  port53 zone refresh example.com
  port53 zone export example.com > example.com.zone`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newZoneCheck(s),
		newZoneSign(s),
		newZoneVerify(s),
		newZoneKeys(s),
		newZoneDS(s),
		newZoneList(s),
		newZoneStatus(s),
		newZoneDiff(s),
		newZoneExport(s),
		zoneAction(
			s,
			"refresh",
			"asked for",
			"Check a zone's primaries for a newer version now",
			"port53 zone refresh checks a secondary zone's primaries now instead of at its refresh time. A\nnewer version is "+
				"transferred, by IXFR if possible.\n\nSimilar: rndc refresh, nsd-control transfer, knotc zone-refresh.",
		),
		zoneAction(
			s,
			"retransfer",
			"to be fetched whole",
			"Retransfer a zone (AXFR), whatever its serial",
			"port53 zone retransfer transfers a whole secondary zone (AXFR) from its primaries. The current\nversion is served "+
				"until the new one is complete.\n\nSimilar: rndc retransfer, nsd-control force_transfer, knotc zone-retransfer.",
		),
		zoneAction(
			s,
			"sync",
			"written",
			"Write the current records of a zone, with all updates, to its zone file",
			"port53 zone sync overwrites the zone's file with the zone's current records, without the DNSSEC\n"+
				"records that this server adds. Comments and $INCLUDE lines are lost. If the file has edits that have\n"+
				"not been loaded yet, port53 zone sync is refused.\n\n"+
				"Similar: rndc sync, knotc zone-flush.",
		),
		zoneAction(
			s,
			"freeze",
			"updates are refused",
			"Write a zone to its file and refuse updates, so that it can be edited",
			"port53 zone freeze writes the zone to its file. Updates are refused until port53 zone thaw, so\nthat the "+
				"file can be edited. If the file has edits that have not been loaded yet, port53 zone freeze is\n"+
				"refused: nothing is written, and updates are still accepted.\n\n"+
				"Similar: rndc freeze, knotc zone-freeze.",
		),
		newZoneThaw(s),
		newZoneAdd(s),
		newZoneRemove(s),
		newZonePlan(s, false),
		newZonePlan(s, true),
		newZoneUndo(s),
		newZoneHistory(s),
		newZoneShow(s),
		zoneAction(
			s,
			"notify",
			"told of",
			"Send NOTIFY to the secondaries",
			"port53 zone notify sends NOTIFY (RFC 1996) to the zone's secondaries and the servers in its notify\nlist.\n\nSimilar: "+
				"rndc notify, knotc zone-notify.",
		),
	)
	return cmd
}

func newZoneCheck(s *streams) *cobra.Command {
	var (
		origin   string
		file     string
		asJSON   bool
		generate int
	)
	cmd := &cobra.Command{
		Use:   "check [--origin NAME] FILE",
		Short: "Check a zone file without serving it",
		Long: `port53 zone check reads a zone file and checks it as the server does when it loads it. Each
problem is one line with its position: FILE:LINE:COLUMN. A zone with warnings is served; a zone
with errors is not.

Without --origin the zone's name is that of its SOA record, if written in full,
otherwise the file's name without an extension such as .zone. Limits are the defaults of
zone_limits, or those of the configuration given with --config.

The content is judged as "port53 check" would judge it, as far as that is possible without asking
other servers: mail, CAA, TLSA, HTTPS, special-use addresses and names, and records whose target
does not exist or has no address. "port53 check explain ID" describes each check. These findings
are warnings.

In a signed zone every signature and every NSEC or NSEC3 proof is verified, as "port53 zone
verify" does: a bogus zone is still served, but validators reject it.

Similar: named-checkzone, nsd-checkzone, kzonecheck, pdnsutil check-zone.
Exit codes: 0 the zone is accepted, 1 the zone is rejected or bogus, 2 the zone could not be
checked.`,
		Example: `  port53 zone check example.test.zone
  port53 zone check --origin example.com db.example
  port53 zone check --json db.example | jq '.problems[]'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			limits := config.Default().ZoneLimits
			if file != "" {
				c, _, err := loadConfig(file)
				if err != nil {
					return err
				}
				limits = c.ZoneLimits
			}
			if cmd.Flags().Changed("generate") {
				limits.Generate = generate
			}
			return s.checkZone(args[0], origin, limits, asJSON)
		},
	}
	cmd.Flags().StringVar(&origin, "origin", "", "the zone's name")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVarP(&file, "config", "c", "", "use the zone_limits of this configuration")
	cmd.Flags().IntVar(&generate, "generate", 0, "how many records $GENERATE may create (at most 4096)")
	return cmd
}

// checked is what zone check prints as JSON.
type checked struct {
	Zone     string          `json:"zone"`
	File     string          `json:"file"`
	Accepted bool            `json:"accepted"`
	Serial   uint32          `json:"serial,omitempty"`
	Names    int             `json:"names,omitempty"`
	Records  int             `json:"records,omitempty"`
	Signed   bool            `json:"signed,omitempty"`
	Problems []zones.Problem `json:"problems"`
	Content  []contentRemark `json:"content"`
	DNSSEC   *checkedDNSSEC  `json:"dnssec,omitempty"` // of a signed zone
}

// checkedDNSSEC is what came of verifying a signed zone.
type checkedDNSSEC struct {
	Verified   bool           `json:"verified"` // a validator accepts all of it
	Signatures int            `json:"signatures"`
	Denial     string         `json:"denial,omitempty"`
	ZONEMD     bool           `json:"zonemd,omitempty"`
	Expires    string         `json:"expires,omitempty"` // the first signature
	Errors     int            `json:"errors"`
	Warnings   int            `json:"warnings"`
	Faults     []signer.Fault `json:"faults"`
}

// verifyZone verifies every signature and every proof of a signed zone; nil is that it is not signed,
// though keys that somebody is to sign with may be in it.
func verifyZone(z *zone.Zone) *checkedDNSSEC {
	d, err := signer.Verify(z, signer.VerifyOptions{Now: time.Now()})
	if err != nil || !z.Signed() && d.Signatures == 0 {
		return nil
	}
	out := &checkedDNSSEC{
		Verified: d.Good(), Signatures: d.Signatures, Denial: d.Denial, ZONEMD: d.Digest,
		Errors: d.Errors, Warnings: d.Warnings, Faults: append([]signer.Fault{}, d.Faults...),
	}
	if !d.Earliest.IsZero() {
		out.Expires = d.Earliest.UTC().Format(time.RFC3339)
	}
	return out
}

// print tells of the faults, and what was verified.
func (d *checkedDNSSEC) print(s *streams, file string) {
	for _, f := range d.Faults {
		fmt.Fprintf(s.out, "%s: %s\n", file, f)
	}
	if more := d.Errors + d.Warnings - len(d.Faults); more > 0 {
		fmt.Fprintf(s.out, "%s: and %d more\n", file, more)
	}
}

// contentRemark is what is doubtful in a zone that is accepted.
type contentRemark struct {
	Check    string `json:"check"`
	State    string `json:"state"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Detail   string `json:"detail"`
}

// maxGenerate is the most that $GENERATE may be allowed (SECURITY: $GENERATE bombs).
const maxGenerate = 4096

func (s *streams) checkZone(file, origin string, limits config.ZoneLimits, asJSON bool) error {
	if limits.Generate < 0 || limits.Generate > maxGenerate {
		return failure(exitUsage, "", "--generate %d: expected 0 to %d", limits.Generate, maxGenerate)
	}
	if _, err := os.Stat(file); err != nil {
		return failure(exitUsage, "give the path of a zone file", "%s: %v", file, pathCause(err))
	}
	var apex []byte
	var err error
	if origin != "" {
		if apex, err = wire.ParseName(origin); err != nil {
			return failure(exitUsage, "", "--origin %s: %v", origin, err)
		}
	} else if apex, err = guessOrigin(file); err != nil {
		return failure(exitUsage, "say it with --origin", "%s: the zone's name is not clear: %v", file, err)
	}
	l := zones.Load(zones.Source{
		Apex: apex, File: file,
		Generate: limits.Generate, MaxRecords: limits.Records, MaxSize: int64(limits.Size),
	}, 0)
	c := checked{Zone: string(wire.AppendName(nil, apex)), File: file, Accepted: l.Zone != nil, Problems: l.Problems}
	if c.Problems == nil {
		c.Problems = []zones.Problem{}
	}
	c.Content = []contentRemark{}
	var content []catalogue.ContentRemark
	if l.Zone != nil {
		c.Serial, c.Names, c.Records, c.Signed = l.Zone.Serial(), l.Zone.Names(), l.Zone.Records(), l.Zone.Signed()
		content = catalogue.JudgeZone(context.Background(), l.Zone)
		for _, r := range content {
			c.Content = append(c.Content, contentRemark{r.Check.ID, r.State.String(), r.Severity.String(), r.Title, r.Detail})
		}
		c.DNSSEC = verifyZone(l.Zone)
	}
	if asJSON {
		if err := s.printJSON(c); err != nil {
			return err
		}
	} else {
		for _, p := range l.Problems {
			fmt.Fprintln(s.out, p)
		}
		for i := range content {
			fmt.Fprintf(s.out, "%s: %s\n", file, &content[i])
		}
		s.printAccepted(&c)
	}
	if !c.Accepted || c.DNSSEC != nil && !c.DNSSEC.Verified {
		return &exit{code: exitFindings}
	}
	return nil
}

// printAccepted prints the last line about a zone, and before it what is wrong with its signatures.
func (s *streams) printAccepted(c *checked) {
	if c.DNSSEC != nil {
		c.DNSSEC.print(s, c.File)
	}
	if !c.Accepted {
		fmt.Fprintf(s.out, "zone %s: not accepted\n", c.Zone)
		return
	}
	signed := ""
	if d := c.DNSSEC; d != nil && d.Verified {
		signed = fmt.Sprintf("; %s verified, the first expires %s", count(d.Signatures, "signature"), d.Expires)
	} else if d != nil {
		signed = "; bogus to validators, " + count(d.Errors, "error")
	}
	fmt.Fprintf(s.out, "zone %s: accepted, serial %d, %s, %s%s\n",
		c.Zone, c.Serial, count(c.Names, "name"), count(c.Records, "record"), signed)
}

// guessOrigin returns the owner of the file's SOA if it does not depend on an
// origin, else the name that the file is called by.
func guessOrigin(file string) ([]byte, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file, which could be read twice") // and a FIFO may have no writer
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// An origin that no file has shows whether the SOA's owner was relative.
	marker, err := wire.ParseName(`\000.`)
	if err != nil {
		return nil, err
	}
	var owner []byte
	_, _ = zonefile.Read(
		f,
		zonefile.Options{Origin: marker, Name: file, DefaultTTL: 1, MaxErrors: 1 << 20},
		func(r *zonefile.Record) error {
			if r.Type != wire.TypeSOA {
				return nil
			}
			owner = append([]byte(nil), r.Owner...)
			return errFound
		},
	)
	if owner != nil && !wire.Subdomain(owner, marker) {
		return owner, nil
	}
	base := filepath.Base(file)
	for _, end := range []string{".zone", ".db", ".txt", ".signed", ".hosts", ".master"} {
		base = strings.TrimSuffix(base, end)
	}
	base = strings.TrimPrefix(base, "db.")
	if base == "root" || base == "" {
		base = "."
	}
	return wire.ParseName(base)
}

// parseZone reads the name of a zone on the command line.
func parseZone(name string) ([]byte, error) {
	n, err := wire.ParseName(name)
	if apex, view, isID := strings.Cut(name, ".."); err != nil && isID && apex != "" && view != "" {
		err = fmt.Errorf("this is the zone's id in the API: write %s --view %s", apex, view)
	}
	return n, err
}

// zoneQuery returns the part of a control request that names a zone, and perhaps a view that has it.
func zoneQuery(name, view string) (string, error) {
	n, err := parseZone(name)
	if err != nil {
		return "", err
	}
	q := "?zone=" + url.QueryEscape(string(wire.AppendName(nil, wire.Lower(nil, n))))
	if view != "" {
		q += "&view=" + url.QueryEscape(view)
	}
	return q, nil
}

// zoneAction is a command that has the running server do something with a zone.
func zoneAction(s *streams, action, done, short, long string) *cobra.Command {
	var file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     action + " NAME",
		Short:   short,
		Long:    long,
		Example: "  port53 zone " + action + " example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], view)
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			if err := call(cmd.Context(), file, socket, "POST", "/zone/"+action+name, nil); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(map[string]string{"zone": args[0], "action": action, "done": done})
			}
			fmt.Fprintf(s.out, "%s: %s\n", done, args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newZoneThaw(s *streams) *cobra.Command {
	var file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "thaw NAME",
		Short: "Load an edited zone file, and accept updates again",
		Long: `port53 zone thaw ends a freeze: it loads the zone's file and accepts updates again. If the file's
serial is not newer, the edited zone gets the next serial. The differences are printed. If the
file cannot be served, nothing changes: the zone stays frozen and is still served.

Similar: rndc thaw, knotc zone-thaw.
Exit codes: 0 updates are accepted, 1 the zone stays frozen, 2 no server was reached.`,
		Example: `  port53 zone freeze example.com && $EDITOR example.com.zone && port53 zone thaw example.com
  port53 zone thaw example.com --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], view)
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			var t zones.ThawResult
			if err := call(cmd.Context(), file, socket, "POST", "/zone/thaw"+name, &t); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(t)
			}
			s.printChanges(t.Changes)
			if t.Raised {
				fmt.Fprintf(s.out, "the file has serial %d, which is not newer: it is served as %d\n", t.File, t.Serial)
			}
			fmt.Fprintf(s.out, "updates are taken: %s, serial %d\n", args[0], t.Serial)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

// printChanges prints what changed a zone, as diff does.
func (s *streams) printChanges(list []zones.Change) {
	for _, c := range list {
		by := ""
		if c.By != "" {
			by = ", by " + c.By
		}
		if !c.At.IsZero() {
			by += ", at " + c.At.Format(time.RFC3339)
		}
		fmt.Fprintf(s.out, "; serial %d to %d%s\n", c.From, c.To, by)
		for _, r := range c.Removed {
			fmt.Fprintln(s.out, "-"+r)
		}
		for _, r := range c.Added {
			fmt.Fprintln(s.out, "+"+r)
		}
	}
}

func newZoneList(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the zones of the running server",
		Long: `port53 zone list prints for each of the server's zones its name, its serial, whether it is primary
or secondary here, and the catalog zone that lists it, or the word "(added)" if port53 zone add
added it. With --json it also prints where the configuration defines the zone. port53 zone status
shows more about each zone.

Similar: rndc zonestatus, nsd-control zonestatus, knotc zone-status.`,
		Example: `  port53 zone list
  port53 zone list --json | jq -r '.[] | select(.role == "secondary") | .zone'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st app.Status
			if err := call(cmd.Context(), file, socket, "GET", "/status", &st); err != nil {
				return err
			}
			type line struct {
				Zone    string   `json:"zone"`
				Role    string   `json:"role"`
				Serving bool     `json:"serving"`
				Serial  uint32   `json:"serial"`
				Catalog string   `json:"catalog,omitempty"`
				Place   string   `json:"configured_at,omitempty"`
				Added   bool     `json:"added,omitempty"`
				Views   []string `json:"views,omitempty"`
			}
			lines := make([]line, len(st.Zones))
			width := 0
			for i, z := range st.Zones {
				lines[i] = line{z.Name, z.Role, z.Serving && !z.Expired, z.Serial, z.Catalog, z.Place, z.Added, z.Views}
				width = max(width, len(z.Name))
			}
			if asJSON {
				return s.printJSON(lines)
			}
			for _, l := range lines {
				serial := "not served"
				if l.Serving {
					serial = strconv.FormatUint(uint64(l.Serial), 10)
				}
				from := l.Catalog
				if l.Added {
					from = "(added)"
				}
				if len(l.Views) > 0 && len(l.Views) < len(st.Views) {
					from = strings.TrimSpace(from + " view " + strings.Join(l.Views, ","))
				}
				fmt.Fprintln(s.out, strings.TrimRight(fmt.Sprintf("%-*s  %-9s  %-10s  %s", width, l.Zone, l.Role, serial, from), " "))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newZoneDiff(s *streams) *cobra.Command {
	var file, socket, since, view string
	var asJSON, fromFile bool
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show a zone's changes, or how it differs from its file",
		Long: `port53 zone diff prints the records that a zone's last change removed (-) and added (+), however
it was made. --since SERIAL prints all changes since the version with that serial, if the history
goes back that far. Before the records of each change, port53 zone diff prints, if known, when and
by whom the change was made: a key, token or certificate and the client's address, a user of the
console or of this machine, a primary, or the zone file. --file compares the served zone with its
file: this shows what updates have changed, or what a reload would change.

Exit codes: 0 no differences, 1 differences.`,
		Example: `  port53 zone diff example.com
  port53 zone diff example.com --since 2026112300
  port53 zone diff example.com --file`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], view)
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			if fromFile {
				if since != "" {
					return failure(exitUsage, "leave one of them out", "--since and --file exclude each other")
				}
				since = "file"
			}
			var list []zones.Change
			if err := call(cmd.Context(), file, socket, "GET", "/zone/diff"+name+"&since="+url.QueryEscape(since), &list); err != nil {
				return err
			}
			if asJSON {
				err = s.printJSON(list)
			} else {
				s.printChanges(list)
			}
			if err == nil && len(list) > 0 {
				return &exit{code: exitFindings}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "the serial of the version to start from")
	cmd.Flags().BoolVar(&fromFile, "file", false, "compare with the zone's file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newZoneExport(s *streams) *cobra.Command {
	var file, socket, view string
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Print a zone as it is served, as a zone file",
		Long: `port53 zone export prints a zone's records as the running server has them, including those from a
primary or from updates. Comments of the zone file are not included.

Similar: rndc dumpdb -zones, nsd-control write, knotc zone-read.`,
		Example: "  port53 zone export example.com > example.com.zone",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := zoneQuery(args[0], view)
			if err != nil {
				return failure(exitUsage, "", "zone %s: %v", args[0], err)
			}
			return reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				return console.Fetch(ctx, at, "/zone/export"+name, s.out)
			})
		},
	}
	viewFlag(cmd, &view)
	socketFlags(cmd, &file, &socket)
	return cmd
}
