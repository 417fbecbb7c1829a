package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/resolver"
	"port53/internal/signer"
	"port53/internal/store"
	"port53/internal/top"
)

func newStore(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Examine the server's state directory",
		Long: `In state_dir the server keeps, among other things, zone changes from updates and transfers, and
the trust anchors that it has learned (RFC 5011). The first line of each file names the file's
kind and format version: port53 KIND VERSION.`,
		Example: "  port53 store check /var/lib/port53",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreCheck(s))
	return cmd
}

func newStoreCheck(s *streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check a state directory (read-only)",
		Long: `port53 store check reads a state directory and prints, for each file, what the next start would do
with it:

  ok       the file is used
  torn     the file ends in a change that was never acknowledged: the next start removes that change
  left     the file is left over, and not used
  damaged  the file's content is not what was written: the file is refused, and kept
  foreign  this version does not know the file's format: the file is refused, and kept
  unknown  the file is not one of port53's

For each zone, port53 store check prints the serial that can be served, the serials whose changes
can be read (for IXFR and undo), and the first serial whose change cannot be read, if any. You can
run this command while a server is running, but a file that the server is writing at that moment
may look torn.

Exit codes: 0 everything can be used, 1 something is damaged or foreign, 2 the directory
could not be examined.`,
		Example: `  port53 store check /var/lib/port53
  port53 store check --json /var/lib/port53 | jq '.files[] | select(.verdict == "damaged")'`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			x, err := store.Examine(args[0], judgeState)
			if err != nil {
				return failure(exitUsage, "give the directory that state_dir is set to in the configuration", "%v", err)
			}
			bad := 0
			for i := range x.Files {
				if x.Files[i].Bad() {
					bad++
				}
			}
			if asJSON {
				if err := s.printJSON(x); err != nil {
					return err
				}
			} else {
				printExamination(s, x, bad)
			}
			if bad > 0 {
				return &exit{code: exitFindings}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printExamination(s *streams, x *store.DirStatus, bad int) {
	for i := range x.Files {
		f := &x.Files[i]
		serial := ""
		if f.Serial != nil {
			serial = fmt.Sprintf(" (serial %d is served)", *f.Serial)
		}
		fmt.Fprintf(s.out, "%s: %s: %s%s\n", f.Path, f.Verdict, f.Text, serial)
	}
	if x.InUse {
		fmt.Fprintln(s.out, "a server is using the directory: what it is writing may look torn")
	}
	if bad == 0 {
		fmt.Fprintf(s.out, "%s, all of them can be used\n", count(len(x.Files), "file"))
	} else {
		fmt.Fprintf(s.out, "%s, %d of them cannot be used\n", count(len(x.Files), "file"), bad)
	}
}

// anchorsName is the file of the trust anchors that were seen.
const anchorsName = "trust-anchors.json"

// judgeState knows the files of a state directory that are not zones'.
func judgeState(name, path string) (verdict store.Verdict, text string, known bool) {
	line, err := store.FirstLine(path)
	switch kind, _, _ := strings.Cut(strings.TrimPrefix(line, "port53 "), " "); {
	case name == anchorsName:
		if err := resolver.CheckRollover(path); err != nil {
			if strings.HasPrefix(line, "port53 anchors ") && line != "port53 anchors 1" {
				return store.UnknownFormat, err.Error(), true
			}
			return store.Damaged, err.Error(), true
		}
		return store.Intact, "trust anchors that were seen", true
	case name == resolver.ClockFile:
		if _, err := resolver.SavedTime(path); err != nil {
			return store.Damaged, err.Error(), true
		}
		return store.Intact, "when the clock was last known to be right", true
	case name == app.AddedFile:
		return judgeAdded(path, line)
	case name == app.GrantsFile:
		return judgeGrants(path, line)
	case name == app.LearnedFile:
		return judgeLearned(path)
	case strings.HasPrefix(name, app.AddedFile+"."),
		strings.HasPrefix(name, app.LearnedFile+"."),
		strings.HasPrefix(name, app.GrantsFile+"."),
		strings.HasPrefix(name, anchorsName+"."),
		strings.HasPrefix(name, resolver.ClockFile+"."):
		return store.Leftover, "it was being written, and is not used", true
	case err == nil && strings.HasPrefix(line, "port53 ") && kind == "cache":
		return store.Intact, "a dump of the cache", true
	case name == app.KeysDir:
		return judgeKeys(path)
	case name == app.ListsDir:
		return store.Intact, "lists of names that were fetched", true
	case filepath.Ext(name) == ".sock":
		return store.Intact, "the control socket", true
	}
	return "", "", false
}

// judgeKeys says what the directory of DNSSEC keys is.
func judgeKeys(path string) (verdict store.Verdict, text string, known bool) {
	zones, err := os.ReadDir(path)
	if err != nil {
		return store.Damaged, err.Error(), true
	}
	bad := 0
	for _, z := range zones {
		if err := signer.CheckKeys(filepath.Join(path, z.Name())); err != nil {
			text, bad = err.Error(), bad+1
		}
	}
	if bad > 0 {
		return store.Damaged, fmt.Sprintf("the keys of %d of %d zones cannot be used: %s", bad, len(zones), text), true
	}
	return store.Intact, "the DNSSEC keys of " + count(len(zones), "zone"), true
}

// judgeGrants says what the file of keys, tokens and certificates is.
func judgeGrants(path, line string) (verdict store.Verdict, text string, known bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return store.Damaged, err.Error(), true
	}
	g, err := config.ParseGranted(content)
	switch {
	case err == nil:
		text = count(len(g.Keys), "key") + " and " + count(len(g.Tokens), "token")
		if n := len(g.Certificates); n > 0 {
			text = count(len(g.Keys), "key") + ", " + count(len(g.Tokens), "token") + " and " + count(n, "client certificate")
		}
		return store.Intact, text + " of port53 grant add", true
	case strings.HasPrefix(line, "port53 grants ") && !config.KnowsGrants(line):
		return store.UnknownFormat, err.Error(), true
	}
	return store.Damaged, err.Error() + ": the server does not start with it", true
}

// judgeLearned says what the file of domains that look like tunnels is.
func judgeLearned(path string) (verdict store.Verdict, text string, known bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return store.Damaged, err.Error(), true
	}
	all, pass, err := top.CountLearned(content)
	switch {
	case err == nil:
		return store.Intact, count(all, "domain") + " that look like tunnels, " + strconv.Itoa(pass) + " of them taken for none", true
	case errors.Is(err, top.ErrLearnedFormat):
		return store.UnknownFormat, err.Error(), true
	}
	return store.Damaged, err.Error() + ": nothing is learned", true
}

// judgeAdded says what the file of added zones is.
func judgeAdded(path, line string) (verdict store.Verdict, text string, known bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return store.Damaged, err.Error(), true
	}
	n, err := config.CountAdded(content)
	switch {
	case err == nil:
		return store.Intact, count(n, "zone") + " that port53 zone add has added", true
	case strings.HasPrefix(line, "port53 added ") && line != config.AddedLine:
		return store.UnknownFormat, fmt.Sprintf("its first line is %q, and this version reads %q", line, config.AddedLine), true
	}
	return store.Damaged, err.Error() + ": the server does not start with it", true
}
