package cli

import (
	"os"

	"github.com/spf13/cobra"

	"port53/internal/finding"
	"port53/internal/report"
)

// compareReports tells what is new and what is gone between two reports. What is new and as
// severe as --fail-on makes the exit code 1.
func (c *checkCommand) compareReports(s *streams, older, newer string) error {
	least, ok := finding.ParseSeverity(c.failOn)
	if !ok {
		return failure(exitUsage, "", "--fail-on %s: expected low, medium, high or critical", c.failOn)
	}
	var both [2]*report.PreviousRun
	for i, file := range []string{older, newer} {
		f, err := os.Open(file)
		if err != nil {
			return failure(exitUsage, "", "--compare %s: %v", file, pathCause(err))
		}
		both[i], err = report.ReadPreviousRun(f)
		f.Close()
		if err != nil {
			return failure(exitUsage, "", "--compare %s: %v", file, err)
		}
	}
	d := report.Compare(both[0], both[1])
	write := d.WriteText
	if *c.out.forms[report.JSON] || *c.out.forms[report.NDJSON] {
		write = d.WriteJSON
	}
	if err := write(s.out); err != nil {
		return err
	}
	if d.Worse(least) {
		return failure(exitFindings, "", "something new at least as severe as %s", least)
	}
	return nil
}

func newCheckSchema(s *streams) *cobra.Command {
	return s.printing(&cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of reports",
		Long:    "port53 check schema prints the JSON Schema (draft 2020-12) of the output of port53 check --json\nand --ndjson.",
		Example: "  port53 check schema > check.schema.json",
	}, report.JSONSchema)
}
