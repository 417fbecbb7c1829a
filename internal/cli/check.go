package cli

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/check"
	"port53/internal/wire"
)

// exitUnmeasured is the exit code of a check that could not reach its target.
const exitUnmeasured = 3

func newCheck(s *streams) *cobra.Command {
	var (
		zone, failOn            string
		only, skip              []string
		active, intrusive, mine bool
		asJSON, all             bool
		timeout                 time.Duration
		ports                   string
	)
	cmd := &cobra.Command{
		Use:   "check ADDRESS...",
		Short: "Look at a port 53 as a stranger and an attacker would",
		Long: `check asks a server what strangers ask: whether its ports are open, whether it gives
zones away, resolves for anybody, answers more than it is asked, stands odd packets,
and what it tells of itself. Each finding says how much it matters, what mends it, and
a command that shows it. What could not be measured is unknown, and never passes.

An address is 192.0.2.1, 192.0.2.1:5300 or [2001:db8::1]:53. With --zone the server is
asked as one of that zone's. --active sends unusual questions and hundreds of them;
--intrusive, which may keep a weak server from serving others, needs --i-own-this.

Exit codes: 0 nothing as severe as --fail-on, 1 something, 2 usage, 3 the target could
not be measured.`,
		Example: `  port53 check 192.0.2.53 --zone example.com
  port53 check 127.0.0.1:5353 --fail-on medium
  port53 check 192.0.2.53 --json | jq '.checks[] | select(.state == "fail")'
  port53 check explain SRV-AXFR`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			least, ok := check.ParseSeverity(failOn)
			if !ok {
				return failure(exitUsage, "", "--fail-on %s: expected low, medium, high or critical", failOn)
			}
			o := &check.Options{Timeout: timeout}
			switch {
			case intrusive && !mine:
				return failure(exitUsage, "add --i-own-this if it is yours", "--intrusive may keep a weak server from serving others")
			case intrusive:
				o.Mode = check.Intrusive
			case active:
				o.Mode = check.Active
			}
			for _, id := range slices.Concat(only, skip) {
				if findCheck(id) == nil {
					return failure(exitUsage, "port53 check list has them", "there is no check %s", id)
				}
			}
			if ports != "" {
				var err error
				if o.Ports, err = check.ParsePorts(ports); err != nil {
					return failure(exitUsage, "as --ports 1-65535", "--%v", err)
				}
			}
			var targets []check.Target
			for _, text := range args {
				addr, err := parseTarget(text)
				if err != nil {
					return failure(exitUsage, "an address is 192.0.2.1, 192.0.2.1:5300 or [2001:db8::1]:53", "%v", err)
				}
				t := check.Target{Text: text, Server: check.Server{Addr: addr}}
				if zone != "" {
					if t.Zone, err = wire.ParseName(zone); err != nil {
						return failure(exitUsage, "", "zone %s: %v", zone, err)
					}
				}
				targets = append(targets, t)
			}
			code := exitOK
			for i, t := range targets {
				r := check.Examine(cmd.Context(), t, o, func(c *check.Check) bool {
					return (len(only) == 0 || slices.Contains(only, c.ID)) && !slices.Contains(skip, c.ID)
				}, func(done, all int) { s.progress(t.Text, done, all) })
				var err error
				if asJSON {
					err = s.printJSON(r.JSON())
				} else {
					if i > 0 {
						fmt.Fprintln(s.out)
					}
					err = r.WriteText(s.out, all)
				}
				switch {
				case err != nil:
					return err
				case !r.Reached():
					code = max(code, exitUnmeasured)
				case r.Above(least) && code == exitOK:
					code = exitFindings
				}
			}
			switch code {
			case exitFindings:
				return failure(code, "", "something at least as severe as %s was found", least)
			case exitUnmeasured:
				return failure(code, "is it an address where somebody answers, and does nothing on the way drop the questions?", "not every target could be measured")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&zone, "zone", "", "a zone that the server is to serve")
	f.StringVar(&failOn, "fail-on", "high", "the least severity that makes the exit code 1: low, medium, high or critical")
	f.StringSliceVar(&only, "only", nil, "run these checks alone, by their ids")
	f.StringSliceVar(&skip, "skip", nil, "leave these checks out, by their ids")
	f.BoolVar(&active, "active", false, "send unusual questions too, and hundreds of them")
	f.BoolVar(&intrusive, "intrusive", false, "hold connections and send slowly too; needs --i-own-this")
	f.BoolVar(&mine, "i-own-this", false, "say that the server is yours to disturb")
	f.BoolVar(&asJSON, "json", false, "print JSON, an object for each target ("+check.Schema+")")
	f.BoolVar(&all, "all", false, "print what passed and what is unknown too")
	f.StringVar(&ports, "ports", "", "look at these TCP ports too, as 22,8000-8100 or 1-65535, and report the open ones")
	f.DurationVar(&timeout, "timeout", 2*time.Second, "how long to wait for each reply")
	cmd.AddCommand(newCheckList(s), newCheckExplain(s))
	return cmd
}

// parseTarget reads an address, with port 53 unless it has another.
func parseTarget(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return a, fmt.Errorf("%s is no address", text)
	}
	return a, nil
}

func findCheck(id string) *check.Check {
	for _, c := range check.Catalogue() {
		if c.ID == id {
			return c
		}
	}
	return nil
}

func newCheckList(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the checks",
		Long:    "list prints the checks: their ids, how severe what they find is, how much they disturb, and what they are about.",
		Example: "  port53 check list",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, c := range check.Catalogue() {
				fmt.Fprintf(s.out, "%-20s %-8s %-9s %s\n", c.ID, c.Severity, c.Mode, c.Title)
			}
			return nil
		},
	}
}

func newCheckExplain(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:     "explain ID",
		Short:   "Tell what a check sends, how it judges, and what to do",
		Long:    "explain prints what a check sends and why, how it judges the replies, what mends what it finds for each server, and where to read on.",
		Example: "  port53 check explain SRV-AXFR",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c := findCheck(args[0])
			if c == nil {
				return failure(exitUsage, "port53 check list has them", "there is no check %s", args[0])
			}
			fmt.Fprintf(s.out, "%s: %s\n%s, %s, %s\n\n%s\n\nJudged: %s\n\nRemedy: %s\n", c.ID, c.Title, c.Group, c.Severity, c.Mode, c.About, c.Judged, c.AdviceFor(""))
			var products []string
			for p := range c.Advice {
				if p != "" {
					products = append(products, string(p))
				}
			}
			slices.Sort(products)
			for _, p := range products {
				fmt.Fprintf(s.out, "  %-14s %s\n", p, c.Advice[check.Product(p)])
			}
			if len(c.Refs) > 0 {
				fmt.Fprintf(s.out, "\nRead on: %s\n", strings.Join(c.Refs, ", "))
			}
			return nil
		},
	}
}

// progress tells a person at a terminal how far a check is, on one line that is written
// over, and gone at the end.
func (s *streams) progress(target string, done, all int) {
	f, ok := s.err.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	if done == all {
		fmt.Fprint(f, "\r\x1b[K")
		return
	}
	fmt.Fprintf(f, "\r%s: %d of %d checks\x1b[K", target, done, all)
}
