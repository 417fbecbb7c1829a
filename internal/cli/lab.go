package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/lab"
)

// labConfig is the resolver's configuration in the laboratory: as few lines as a person
// would write.
const labConfig = `role: internal-resolver
listen: ["%s"]
state_dir: .
resolver: {root_hints: root.hints, trust_anchors: root.anchors, rebinding: on}
metrics: {listen: off}
`

func newLab(s *streams) *cobra.Command {
	var listen string
	var list bool
	cmd := &cobra.Command{
		Use:   "lab [--listen ADDRESS]",
		Short: "Run a resolver with a small simulated internet",
		Long: `port53 lab runs a validating resolver on loopback together with a small simulated internet in the
same process: a signed root, top-level domains, and good and broken zones of every kind, on
servers that are near, far, lossy, lame or dead. No packet leaves this machine. The names to try,
and what each shows, are printed at start.`,
		Example: "  port53 lab\n  port53 query @127.0.0.1 -p 5353 www.expired.test\n  port53 lab --list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			world, trials, err := lab.Internet()
			if err != nil {
				return failure(exitFault, "", "%v", err)
			}
			if list {
				printTrials(s.out, trials)
				return nil
			}
			at, err := netip.ParseAddrPort(listen)
			if err != nil || !at.Addr().IsLoopback() {
				why := cmp.Or(badPort(listen), "not a loopback address and port")
				return failure(exitUsage, "write it as 127.0.0.1:5353", "--listen %s: %s", listen, why)
			}
			dir, err := os.MkdirTemp("", "port53-lab-")
			if err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			defer os.RemoveAll(dir)
			for name, text := range map[string]string{
				"port53.yaml": fmt.Sprintf(labConfig, at), "root.hints": world.Hints(), "root.anchors": world.Anchors(),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					return failure(exitUsage, "", "%v", err)
				}
			}
			c, err := config.Load(filepath.Join(dir, "port53.yaml"))
			if err != nil {
				return failure(exitFault, "", "%v", err)
			}
			sig := s.catch(cmd.Context())
			defer sig.release()
			return s.run(sig, app.Options{Config: c, Network: world.Net}, nil, func(out io.Writer, a *app.App) {
				at := a.Addrs()[0]
				fmt.Fprintf(out, "port53 resolves in its laboratory on %s, UDP and TCP. Try:\n\n", at)
				printTrials(out, trials)
				fmt.Fprintf(out, `
  port53 query @%[1]s -p %[2]d www.expired.test +dnssec     or dig
  port53 query @%[1]s -p %[2]d www.expired.test --validate --anchors %[3]s
  port53 query www.secure.test --explain --socket %[4]s

Ctrl-C stops it.
`, at.Addr(), at.Port(), filepath.Join(dir, "root.anchors"), c.Control.Socket)
			})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:5353", "the loopback address to listen on")
	cmd.Flags().BoolVar(&list, "list", false, "print the names to try, without running anything")
	return cmd
}

// printTrials prints the names to try.
func printTrials(out io.Writer, trials []lab.Trial) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, t := range trials {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", t.Name, t.Type, t.Shows)
	}
	_ = w.Flush() // to standard output, whose errors nobody can be told of
}
