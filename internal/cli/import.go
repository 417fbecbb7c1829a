package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"port53/internal/convert"
)

// secretMode is the mode of a configuration that may have secrets in it.
const secretMode = 0o600

func newImport(s *streams) *cobra.Command {
	var (
		from, output string
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Turn a configuration of BIND, NSD or Knot into port53's",
		Long: `import reads a named.conf, nsd.conf or knot.conf with all that it includes, and
writes port53's configuration. On standard error it says of each statement whether
it was taken, changed or not taken, and why. Zone files stay where they are.

Of transfers and updates, what cannot be kept allows less afterwards, not more.
The exit code is 1 if something was not taken. The result may hold secrets: with --output, only its
owner can read it, and a file that exists is not written over.`,
		Example: `  port53 import /etc/bind/named.conf --output port53.yaml
  port53 import /etc/nsd/nsd.conf --output port53.yaml --json
  port53 import --from knot old.conf`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if from == "" {
				from = convert.Kind(args[0])
			}
			if from == "" {
				return failure(exitUsage, "say it with --from bind, nsd or knot", "%s: it is not clear whose configuration this is", args[0])
			}
			if asJSON && output == "" {
				return failure(exitUsage, "name a file with --output", "--json prints what became of each statement, and the configuration needs another place")
			}
			r, err := convert.File(from, args[0])
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
			if err := writeImport(s, output, r.YAML); err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			if !r.Complete() {
				return failure(exitFindings, "see the lines that say not taken", "not all of %s was taken", args[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "whose configuration it is: bind, nsd or knot (by default the file's name tells)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write, instead of standard output")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what became of each statement as JSON")
	return cmd
}

func writeImport(s *streams, output string, text []byte) error {
	if output == "" {
		_, err := s.out.Write(text)
		return err
	}
	f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secretMode)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
