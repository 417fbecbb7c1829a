package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/convert"
)

// secretMode is the mode of a configuration that may have secrets in it.
const secretMode = 0o600

// The modes of zone files and their directory, which everybody may read.
const (
	zoneMode = 0o644
	dirMode  = 0o755
)

func newImport(s *streams) *cobra.Command {
	var (
		o      convert.Options
		output string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Convert another name server's configuration",
		Long: "port53 import converts another server's configuration, with the files that it includes, to a port53\n" +
			"configuration. For each statement, a message on standard error says whether the statement is converted,\n" +
			"converted with changes, not converted or not supported yet, and why. What is missing is also listed\n" +
			"at the top of the result. Zone files stay where they are. Supported formats:\n\n" + convert.Formats() + `
What is converted keeps its meaning where possible. Otherwise the result allows less than
before, never more. The result may contain secrets: with --output it is readable only
by its owner, and an existing file is not overwritten. Single names outside of zones
(hosts, address=, local-data) become entries of "names" in the result; domains
answered only locally become zone files, written beside the file that --output names.

Exit codes: 0 everything was converted, 1 something was not converted, 2 the file could not be read.`,
		Example: `  port53 import /etc/bind/named.conf --output port53.yaml
  port53 import /etc/unbound/unbound.conf --output port53.yaml --json
  port53 import --from knot old.conf`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Path = args[0]
			if asJSON && output == "" {
				return failure(
					exitUsage,
					"name a file with --output",
					"--json prints what became of each statement, and the configuration needs another place",
				)
			}
			r, err := convert.File(o)
			if r != nil && asJSON {
				if err := s.printJSON(r.Notes); err != nil {
					return err
				}
			} else if r != nil {
				for _, n := range r.Notes {
					fmt.Fprintln(s.err, n)
				}
			}
			if err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			if err := writeImport(s, output, r); err != nil {
				return err
			}
			if !r.Complete() {
				return failure(
					exitFindings,
					"see the lines that say not converted or not supported yet",
					"not all of %s was converted",
					convert.Printable(args[0]),
				)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Kind, "from", "", "the configuration's format: "+strings.Join(convert.Kinds(), ", ")+" (default: detected)")
	cmd.Flags().StringVar(&o.View, "view", "", "from a named.conf with several views, convert only this one")
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write, instead of standard output")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// writeImport writes the configuration, and beside it the zone files that it names.
func writeImport(s *streams, output string, r *convert.Result) error {
	if output == "" {
		if len(r.Files) > 0 {
			return failure(
				exitUsage,
				"name a file with --output",
				"%d files go with the configuration, which have to be beside it",
				len(r.Files),
			)
		}
		_, err := s.out.Write(r.YAML)
		return err
	}
	if err := writeNew(output, r.YAML, secretMode); err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	for name, text := range r.Files {
		path := filepath.Join(filepath.Dir(output), name)
		if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
			return failure(exitUsage, "", "%v", err)
		}
		if err := writeNew(path, text, zoneMode); err != nil {
			return failure(exitUsage, "", "%v", err)
		}
	}
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
