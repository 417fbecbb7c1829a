package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/zones"
)

// defaultConfig is where packages put the configuration.
const defaultConfig = "/etc/port53/port53.yaml"

var errFound = errors.New("found")

// pathCause returns the system's reason without the path, which is said already.
func pathCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// fileError returns the error of reading a file that a flag names, on one line: the file is
// told once, with the place in it where there is one.
func fileError(flag, file string, err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return fmt.Errorf("%s %s: %w", flag, file, p.Err)
	}
	return fmt.Errorf("%s: %s", flag, strings.ReplaceAll(err.Error(), "\n", "; "))
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", defaultConfig, "the configuration file")
}

// configArgument takes the configuration from the argument, as the commands of other servers that check one do.
func configArgument(cmd *cobra.Command, args []string, file *string) error {
	switch {
	case len(args) == 0:
	case cmd.Flags().Changed("config"):
		return failure(exitUsage, "give one of them", "two configurations: %s and --config %s", args[0], *file)
	default:
		*file = args[0]
	}
	return nil
}

// loadConfig reads the file; what is wrong with it becomes the command's error.
// Zone files that cannot be read are told apart: the other zones can be served.
func loadConfig(file string) (c *config.Config, missing config.Errors, err error) {
	if c, missing, err = config.LoadToServe(file); err != nil {
		return nil, nil, configError(file, err)
	}
	return c, missing, nil
}

// loadToServe does as loadConfig, but that a file none of whose zones can be read
// is an error. Of more zones than errors are collected, loading tells.
func loadToServe(file string) (c *config.Config, missing config.Errors, err error) {
	if c, missing, err = loadConfig(file); err == nil && len(missing) > 0 && len(missing) == len(c.Zones) {
		return nil, nil, configError(file, missing)
	}
	return c, missing, err
}

// configError shows what is wrong with a configuration, lines and carets included.
func configError(file string, err error) error {
	hint := ""
	if _, statErr := os.Stat(file); statErr != nil {
		hint = "name the configuration file with --config, or create it: port53 config init > " + file
	}
	var all config.Errors
	if errors.As(err, &all) {
		return failure(exitUsage, hint, "%s", all.Long())
	}
	return failure(exitUsage, hint, "%v", err)
}

func newConfig(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show and create configurations",
		Long: `The configuration is a YAML file. docs/CONFIG.md describes every key; port53 config reference
prints the same text.`,
		Example: `  port53 config init > port53.yaml
  port53 config check --config port53.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(s), newConfigShow(s), newConfigInit(s), newConfigSchema(s), newConfigReference(s), newConfigProfile(s))
	return cmd
}

// newConfigCheck returns port53 config check. In one piece: it is one command with its texts and flags.
func newConfigCheck(s *streams) *cobra.Command {
	var file string
	var asJSON bool
	var view viewChoice
	cmd := &cobra.Command{
		Use:   "check [FILE] [--client ADDRESS [--at ADDRESS] [--key NAME]]",
		Short: "Check a configuration and its zones as port53 serve would",
		Long: `port53 config check validates a configuration as port53 serve would. It reads every zone file,
looks up the user that the setting "user" names, and tests whether the listen addresses can be
bound; addresses already in use by the running port53 count as free. If root runs this command,
the files are read as that user, because each reload reads the files as that user. Each error has
its position, FILE:LINE:COLUMN, and says what to do.

The argument FILE does the same as --config FILE.

With --client, port53 config check shows which view the client gets and what the client may do;
no zone files are then read.

Similar: named-checkconf -z, nsd-checkconf, knotc conf-check, unbound-checkconf.
Exit codes: 0 valid, 1 a zone is broken, 2 the configuration cannot be used.`,
		Example: `  port53 config check port53.yaml
  port53 config check --client 10.1.2.3 --at 192.0.2.53
  port53 config check --json | jq '.[] | select(.failed)'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := configArgument(cmd, args, &file); err != nil {
				return err
			}
			c, missing, err := loadToServe(file)
			if err != nil {
				return err
			}
			if view.client+view.listen+view.key != "" {
				return s.whichView(c, &view, asJSON)
			}
			checked, err := app.Check(cmd.Context(), c, true)
			if err != nil {
				return startError(err)
			}
			for _, n := range checked.Notes {
				fmt.Fprintf(s.err, "port53: warning: %s\n", n)
			}
			report := checked.Zones
			if asJSON {
				if err := s.printJSON(report); err != nil {
					return err
				}
			} else {
				s.printProblems(report, missing)
				for _, w := range checked.Precedence {
					fmt.Fprintln(s.out, w)
				}
			}
			for _, d := range c.Warnings() {
				fmt.Fprintln(s.err, d.Long())
			}
			broken := 0
			for _, z := range report {
				if z.Failed {
					broken++
				}
			}
			if broken > 0 {
				return failure(
					exitFindings,
					"the zones named above answer SERVFAIL until their files are mended; the others are served",
					"%d of %d zones cannot be served",
					broken,
					len(report),
				)
			}
			if n := len(c.Warnings()); n > 0 {
				const hint = "the server serves all the same, and clients turn away"
				return failure(exitFindings, hint, "%s with certificates", count(n, "problem"))
			}
			if !asJSON {
				terms, err := app.Terms(c)
				if err != nil {
					return startError(err)
				}
				s.printTerms(terms)
				fmt.Fprintf(s.out, "%s: good, %s\n", file, count(len(report), "zone"))
			}
			return nil
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: the status of each zone")
	view.clientFlags(cmd, "show which view this client address gets, and what it may do")
	return cmd
}

// printProblems prints what is wrong with zones; for a file that cannot be read,
// where the configuration names it.
func (s *streams) printProblems(report []zones.Status, missing config.Errors) {
	named := map[string]bool{}
	for _, e := range missing {
		fmt.Fprintln(s.out, e.Long())
		named[e.Path] = true
	}
	for _, z := range report {
		for _, p := range z.Problems {
			if p.Line > 0 || !named[p.File] {
				fmt.Fprintln(s.out, p)
			}
		}
	}
}

func newConfigShow(s *streams) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print every setting in effect and where it comes from",
		Long: `port53 config show prints each key with its value and its origin: default, or the FILE:LINE that
sets it. Zones added with port53 zone add are included. Zone files are not read.

The argument FILE does the same as --config FILE.

Similar: named-checkconf -p, nsd-checkconf -v, unbound-checkconf -o, knotc conf-read.`,
		Example: `  port53 config show port53.yaml
  port53 config show --json | jq '.[] | select(.origin != "default")'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := configArgument(cmd, args, &file); err != nil {
				return err
			}
			c, _, err := loadConfig(file)
			if err != nil {
				return err
			}
			if more, err := app.WithAdded(c); err != nil {
				fmt.Fprintf(s.err, "port53: warning: %v\n", err)
			} else {
				c = more
			}
			if asJSON {
				return s.printJSON(c.Effective())
			}
			w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
			for _, v := range c.Effective() {
				fmt.Fprintf(w, "%s\t%s\t%s\n", v.Key, v.Value, v.Origin)
			}
			return w.Flush()
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newConfigInit(s *streams) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "init [--role ROLE]",
		Short: "Print a commented sample configuration",
		Long: `port53 config init prints a commented sample configuration for a role. As printed, the sample
serves only this machine. The roles: authoritative, public-resolver, internal-resolver,
domain-controller.

Similar: the named.conf, unbound.conf, nsd.conf or knot.conf that packages install.`,
		Example: "  port53 config init > port53.yaml\n  port53 config init --role internal-resolver > port53.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := config.Sample(role)
			if err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			_, err = s.out.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&role, "role", config.RoleAuthoritative, "what the server is for")
	return cmd
}

func newConfigSchema(s *streams) *cobra.Command {
	return s.printing(&cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of the configuration, for editors",
		Long: `port53 config schema prints a JSON Schema of all keys with their types and defaults. Editors that
support JSON Schema complete keys and mark mistakes; port53 config check finds more.`,
		Example: "  port53 config schema > port53.schema.json",
	}, config.Schema)
}

func newConfigReference(s *streams) *cobra.Command {
	return s.printing(&cobra.Command{
		Use:   "reference",
		Short: "Print the reference of all configuration keys",
		Long: `port53 config reference prints every key in Markdown: its meaning, its default, and the reason for
the default.

Similar: named.conf(5), nsd.conf(5), knot.conf(5), unbound.conf(5).`,
		Example: "  port53 config reference | less",
	}, config.Reference)
}

// printing completes a command without arguments that prints one text.
func (s *streams) printing(cmd *cobra.Command, text func() []byte) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(*cobra.Command, []string) error {
		_, err := s.out.Write(text())
		return err
	}
	return cmd
}
