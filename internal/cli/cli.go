// Package cli is the commands: what each is called, its flags, what it prints and
// how it ends.
//
// Results go to standard output. Everything else goes to standard error as
// "port53: …", errors as "port53: error: …" with a "hint: …" line where there is
// something to do. Exit codes are 0 for success, 1 for findings or a refusal, 2 for
// a command that could not run, 3 for a check whose target could not be measured, 4 for
// an internal error.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/hangup"
)

// Exit codes.
const (
	exitOK       = 0
	exitFindings = 1 // something was found, or refused
	exitUsage    = 2 // wrong flags, or it could not be tried
	exitFault    = 4 // an internal error
)

// An exit is an error that decides the exit code. text may be empty if all has been
// said.
type exit struct {
	code int
	text string
	hint string
}

func (e *exit) Error() string { return e.text }

func failure(code int, hint, format string, args ...any) error {
	return &exit{code: code, text: fmt.Sprintf(format, args...), hint: hint}
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	hangups  chan os.Signal // SIGHUP, from the first moment on; nil: the command does not serve
}

// badPort says what is wrong with the port of an address that is right otherwise; else it returns "".
func badPort(text string) string {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return ""
	}
	if _, err := netip.ParseAddrPort(text[:i] + ":1"); err != nil {
		return ""
	}
	if n, err := strconv.ParseUint(text[i+1:], 10, 16); err == nil && n > 0 {
		return ""
	}
	return fmt.Sprintf("%q is not a port: ports are numbers from 1 to 65535", text[i+1:])
}

// Main runs the command line args, without the program's name, and returns the exit
// code. ctx ends it early.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) (code int) {
	defer func() {
		if fault := recover(); fault != nil {
			fmt.Fprintf(
				errOut,
				"port53: error: internal fault: %v\nport53: hint: please report this with what follows\n%s",
				fault,
				debug.Stack(),
			)
			code = exitFault
		}
	}()
	s := &streams{in: in, out: out, err: errOut}
	if len(args) > 0 && args[0] == "serve" {
		s.hangups = catchHangups() // before anything that takes its time
	}
	hangup.Release()
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var e *exit
	if !errors.As(err, &e) {
		// cobra's own complaints: unknown commands and flags, missing arguments.
		e = misused(cmd, err)
	}
	if e.text != "" {
		for line := range strings.SplitSeq(e.text, "\n") {
			if strings.HasPrefix(line, "    ") {
				fmt.Fprintf(errOut, "%s\n", line)
				continue
			}
			fmt.Fprintf(errOut, "port53: error: %s\n", line)
		}
	}
	if e.hint != "" {
		fmt.Fprintf(errOut, "port53: hint: %s\n", e.hint)
	}
	return e.code
}

// misused is how a complaint of cobra's about the arguments of cmd is told: by what the command expects.
func misused(cmd *cobra.Command, err error) *exit {
	e := &exit{code: exitUsage, text: err.Error(), hint: "see " + cmd.CommandPath() + " --help"}
	if cmd.HasSubCommands() {
		if meant := meantCommands(cmd, e.text); meant != "" {
			e.hint = "did you mean " + meant + "? " + e.hint
		}
		return e
	}
	e.hint = "usage: " + cmd.UseLine() + "; " + e.hint
	var most, got int
	switch {
	case strings.HasPrefix(e.text, "unknown command "):
		e.text = cmd.CommandPath() + " takes no arguments"
	case counted(e.text, "accepts %d arg(s), received %d", &most, &got),
		counted(e.text, "accepts at most %d arg(s), received %d", &most, &got):
		e.text = fmt.Sprintf("%s takes %s, not %d", cmd.CommandPath(), arguments(most), got)
	case counted(e.text, "requires at least %d arg(s), only received %d", &most, &got):
		e.text = fmt.Sprintf("%s needs %s", cmd.CommandPath(), arguments(most))
	case strings.HasSuffix(e.text, "] were all set"):
		flags := strings.Fields(strings.TrimSuffix(e.text[strings.LastIndexByte(e.text, '[')+1:], "] were all set"))
		e.text = "--" + strings.Join(flags, " and --") + " exclude each other"
	}
	return e
}

// meantCommands returns the commands that may be meant by an unknown one below cmd, of which cobra says text: those
// with nearly its name, else those that have it elsewhere, as reload, which other servers have for a zone.
func meantCommands(cmd *cobra.Command, text string) string {
	var name, parent string
	if !counted(text, "unknown command %q for %q", &name, &parent) {
		return ""
	}
	cmd.SuggestionsMinimumDistance = 2
	var paths []string
	for _, near := range cmd.SuggestionsFor(name) {
		paths = append(paths, cmd.CommandPath()+" "+near)
	}
	if len(paths) == 0 {
		paths = commandsNamed(cmd.Root(), name)
	}
	slices.Sort(paths)
	return strings.Join(paths, " or ")
}

// commandsNamed returns the paths of all commands below cmd with a name.
func commandsNamed(cmd *cobra.Command, name string) []string {
	var paths []string
	for _, c := range cmd.Commands() {
		if c.Name() == name && c.IsAvailableCommand() {
			paths = append(paths, c.CommandPath())
		}
		paths = append(paths, commandsNamed(c, name)...)
	}
	return paths
}

// counted reports whether text has the form of format, and reads its numbers.
func counted(text, format string, numbers ...any) bool {
	n, err := fmt.Sscanf(text, format, numbers...)
	return err == nil && n == len(numbers)
}

func arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return strconv.Itoa(n) + " arguments"
}

// Root returns the commands, which print on out, for those who document them.
func Root(out io.Writer) *cobra.Command { return newRoot(&streams{out: out, err: out}) }

func newRoot(s *streams) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "port53",
		Short: "The DNS server for port 53, and the tools that go with it",
		Long: `port53 is a DNS server for every role, with the tools to check, protect and query it.

  port53 serve                run the server; without a configuration file, a validating resolver
                              for this machine
  port53 serve --example      that resolver on port 5353, with an example zone
  port53 query NAME TYPE      query a server, like dig, and explain the answer
  port53 config init          print a sample configuration
  port53 zone check FILE      check a zone file without serving it

Every command has --help with examples. Results go to standard output, messages to
standard error; most commands that print results support --json.
Exit codes: 0 success, 1 something was found or refused, 2 could not run, 3 something
could not be measured, 4 internal error.`,
		Example: `  port53 serve --example
  port53 serve --config /etc/port53/port53.yaml`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				_, err := fmt.Fprint(s.out, versionLine())
				return err
			}
			return cmd.Help()
		},
	}
	// A flag of our own: cobra's prints through text/template, and a program that links a template engine keeps all methods.
	root.Flags().BoolVarP(&version, "version", "v", false, "version for port53")
	root.AddCommand(
		newServe(s),
		newReload(s),
		newStatus(s),
		newTop(s),
		newWhy(s),
		newCache(s),
		newFilter(s),
		newTunnel(s),
		newLab(s),
		newDrill(s),
		newZone(s),
		newKey(s),
		newGrant(s),
		newConsole(s),
		newUser(s),
		newRecord(s),
		newLog(s),
		newStore(s),
		newConfig(s),
		newImport(s),
		newQuery(s),
		newCheck(s),
		newFirewall(s),
		newDoctor(s),
		newProve(s),
		newVersion(s),
	)
	refuseEmpty(root)
	return root
}

// printJSON writes v as indented JSON.
func (s *streams) printJSON(v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
