package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"port53/internal/telemetry"
)

func newLog(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Examine the server's audit log",
		Long:    `The audit log, audit.file in the configuration, has a line of JSON for each change and command.`,
		Example: "  port53 log verify /var/log/port53/audit.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLogVerify(s))
	return cmd
}

// A logVerified is what port53 log verify --json prints.
type logVerified struct {
	Lines     int                    `json:"lines"`
	Unchained int                    `json:"without_hash"`
	Begins    []string               `json:"begins"`
	Faults    []telemetry.AuditFault `json:"faults"`
	Last      string                 `json:"last"`
	Seen      *bool                  `json:"seen,omitempty"`
}

func newLogVerify(s *streams) *cobra.Command {
	var asJSON bool
	var seen string
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Find lines of an audit log that were changed, removed or added",
		Long: `Each line of an audit log contains the SHA-256 hash of the line before it. port53 log verify reads
consecutive files, the oldest first. It prints each line that contains a wrong hash, and the hash of
the last line.

Lines cut off at the end leave no trace in the file, and anyone with write access to it can
recompute all hashes. To detect this, keep a copy of the hash of the last line in another place.
Later, --seen checks that this line is still there.

Exit codes: 0 all hashes are right, 1 a hash is wrong, or the line of --seen is not there,
2 a file could not be read.`,
		Example: `  port53 log verify /var/log/port53/audit.json
  port53 log verify audit.json.2 audit.json.1 audit.json
  port53 log verify --seen 9f2c… /var/log/port53/audit.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var c telemetry.AuditChain
			if seen != "" {
				c.RememberHashes()
			}
			for _, path := range args {
				if err := readAudit(&c, path); err != nil {
					return failure(exitUsage, "name the file that audit.file in the configuration names", "%v", err)
				}
			}
			v := logVerified{
				Lines: c.Lines, Unchained: c.Unchained, Last: c.Last,
				Begins: append([]string{}, c.Begins...), Faults: append([]telemetry.AuditFault{}, c.Faults...),
			}
			if seen != "" {
				has := c.Has(seen)
				v.Seen = &has
			}
			if asJSON {
				if err := s.printJSON(v); err != nil {
					return err
				}
			} else {
				v.print(s, seen)
			}
			if len(v.Faults) > 0 || v.Seen != nil && !*v.Seen {
				return &exit{code: exitFindings}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&seen, "seen", "", "check that the line with this `HASH`, which an earlier run printed, is still there")
	return cmd
}

// readAudit has a file checked.
func readAudit(c *telemetry.AuditChain, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.Read(path, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (v *logVerified) print(s *streams, seen string) {
	for _, f := range v.Faults {
		fmt.Fprintln(s.out, f)
	}
	for _, at := range v.Begins {
		fmt.Fprintf(s.out, "%s: what was before this line is not here\n", at)
	}
	if v.Unchained > 1 {
		fmt.Fprintf(s.out, "the first %d lines have no hash of the line before: an older version wrote them\n", v.Unchained)
	}
	if v.Seen != nil && !*v.Seen {
		fmt.Fprintf(s.out, "no line has the hash %s: it was changed, or lines were cut off\n", seen)
	}
	if len(v.Faults) == 0 {
		fmt.Fprintf(s.out, "%d lines, each follows from the one before; the hash of the last is %s\n", v.Lines, v.Last)
	} else {
		fmt.Fprintf(s.out, "%d lines, of which %d do not follow on the one before\n", v.Lines, len(v.Faults))
	}
}
