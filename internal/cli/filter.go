package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/wire"
)

func newFilter(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "filter",
		Short: "Show what the running resolver blocks and why, and update its lists",
		Long: `port53 filter shows and controls the running resolver's block lists: policy.lists, policy.block,
policy.allow_names and policy.allow_lists of the configuration.

Similar: pihole -q, pihole -g, pihole disable, and AdGuard Home's filters.`,
		Example: "  port53 filter test ads.example.com\n  port53 filter list\n  port53 filter pause 5",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFilterTest(s), newFilterList(s), newFilterUpdate(s), newFilterPause(s), newFilterResume(s))
	return cmd
}

func newFilterTest(s *streams) *cobra.Command {
	var file, socket, client, typ string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test NAME [--client ADDRESS] [--type TYPE]",
		Short: "Show whether a query is blocked, and by which rule of which list",
		Long: `port53 filter test shows what the running resolver does with a query: whether the query passes, or
which answer the query gets instead, and the list, line and rule responsible. If the answer is
cached, the CNAME targets, addresses and HTTPS targets in it are checked as well. No query is
sent, and nothing is counted.

Exit codes: 0 the query passes, 1 the query is blocked or answered by a rule, 2 no server was reached.`,
		Example: "  port53 filter test ads.example.com\n  port53 filter test game.example --client 10.9.0.7\n  port53 " +
			"filter test ads.example.com --type AAAA --json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := wire.ParseName(args[0]); err != nil {
				return failure(exitUsage, "", "name %s: %v", args[0], err)
			}
			if _, ok := wire.ParseType(strings.ToUpper(typ)); !ok {
				return failure(exitUsage, "types are such as A, AAAA and HTTPS", "type %q is not known", typ)
			}
			if _, err := netip.ParseAddr(client); client != "" && err != nil {
				return failure(exitUsage, "clients are told by their addresses, such as 10.9.0.7", "client %q is not an address", client)
			}
			q := url.Values{"name": {args[0]}, "type": {strings.ToUpper(typ)}}
			if client != "" {
				q.Set("client", client)
			}
			var r app.FilterTestResult
			if err := call(cmd.Context(), file, socket, "GET", "/filter/test?"+q.Encode(), &r); err != nil {
				return err
			}
			if asJSON {
				if err := s.printJSON(r); err != nil {
					return err
				}
			} else {
				s.printTested(&r)
			}
			if filtered(r.Action) {
				return &exit{code: exitFindings}
			}
			return nil
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().StringVar(&client, "client", "", "the client's address (default: this machine)")
	cmd.Flags().StringVar(&typ, "type", "A", "the query type")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// filtered reports whether a query does not get the answer that there is.
func filtered(action string) bool {
	return !slices.Contains([]string{"pass", "allow", "log", "passthru"}, action)
}

// printTested tells what becomes of a question.
func (s *streams) printTested(r *app.FilterTestResult) {
	if r.Paused {
		fmt.Fprintln(s.out, "nothing is filtered now: port53 filter resume ends the pause")
	}
	switch r.Action {
	case "pass":
		if r.Later {
			fmt.Fprintf(s.out, "%s %s from %s: policy zones judge by the answer, which is not cached; query it, and test again\n",
				r.Name, r.Type, r.Client)
			return
		}
		fmt.Fprintf(s.out, "%s %s from %s passes: no list that counts for this client now has a rule for it\n", r.Name, r.Type, r.Client)
		return
	case "allow", "passthru":
		fmt.Fprintf(s.out, "%s %s from %s passes, since a rule allows it\n", r.Name, r.Type, r.Client)
	case "log":
		fmt.Fprintf(s.out, "%s %s from %s passes, and is told of\n", r.Name, r.Type, r.Client)
	case "alias", "address", "cname", "local data":
		fmt.Fprintf(s.out, "%s %s from %s is answered by a rule: %s\n", r.Name, r.Type, r.Client, r.Action)
	case "tcp-only":
		fmt.Fprintf(s.out, "%s %s from %s is answered over TCP alone: %s\n", r.Name, r.Type, r.Client, r.Action)
	default:
		fmt.Fprintf(s.out, "%s %s from %s is blocked: %s\n", r.Name, r.Type, r.Client, r.Action)
	}
	switch {
	case r.Zone && r.Rule == "":
		fmt.Fprintf(s.out, "  policy zone %s\n", r.List)
		return
	case r.Zone:
		fmt.Fprintf(s.out, "  policy zone %s, rule %s (%s)", r.List, r.Rule, r.Cause)
		if r.Target != "" {
			fmt.Fprintf(s.out, ", %s", r.Target)
		}
		fmt.Fprintln(s.out)
		return
	case r.Line == 0:
		fmt.Fprintf(s.out, "  %s of the configuration\n", r.List)
		return
	}
	fmt.Fprintf(s.out, "  list %s, line %d", r.List, r.Line)
	if r.Rule != "" {
		fmt.Fprintf(s.out, ": %s", r.Rule)
	}
	if r.Cause != "name" {
		fmt.Fprintf(s.out, " (by the %s in the answer)", r.Cause)
	}
	fmt.Fprintln(s.out)
}

func newFilterList(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the lists, their rules and their errors",
		Long: `port53 filter list shows the running resolver's lists: source, time of the last load, number of
rules, invalid lines, answers blocked since the server started, and the last error, if any.`,
		Example: "  port53 filter list\n  port53 filter list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r app.FilterStatus
			if err := call(cmd.Context(), file, socket, "GET", "/filter/lists", &r); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(r)
			}
			for i := range r.Lists {
				s.printList(&r.Lists[i])
			}
			fmt.Fprintf(s.out, "%s in %.1f MiB\n", count(r.Rules, "rule"), float64(r.Octets)/(1<<20))
			if r.Paused != nil {
				fmt.Fprintf(s.out, "nothing is filtered until %s\n", r.Paused.Local().Format("15:04:05"))
			}
			return nil
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *streams) printList(l *app.ListStatus) {
	loaded := "never"
	if l.Loaded != nil {
		loaded = l.Loaded.Local().Format("2006-01-02 15:04")
	}
	fmt.Fprintf(s.out, "%s: %s, read %s, %s blocked\n  from %s\n",
		l.Name, count(l.Stats.Rules, "rule"), loaded, count(int(l.Blocked), "answer"), l.From)
	if n := l.Stats.Skipped + l.Stats.NoRegex + l.Stats.Wrong; n > 0 {
		fmt.Fprintf(s.out, "  %d lines skipped (for web pages and URLs %d, regular expressions %d, not understood %d)\n",
			n, l.Stats.Skipped, l.Stats.NoRegex, l.Stats.Wrong)
	}
	if n := l.Stats.NoZone; n > 0 {
		fmt.Fprintf(s.out, "  %s skipped (clients, servers, rpz-tcp-only, *.name and other types than A, AAAA and CNAME need policy.rpz)\n",
			count(n, "rule"))
	}
	for _, n := range l.Stats.Notes {
		fmt.Fprintf(s.out, "  line %d: %s\n", n.Line, wire.Printable(n.Text))
	}
	if l.Problem != "" {
		fmt.Fprintf(s.out, "  problem: %s\n", wire.Printable(l.Problem))
	}
}

func newFilterUpdate(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "update [LIST]",
		Short: "Reload the lists now, and download those with a URL",
		Long: `port53 filter update makes the running resolver load its lists again now, all of them or one:
files are read, and URLs are checked for changes. If a list cannot be loaded, the previous version
stays in use.

Similar: pihole -g.
Exit codes: 0 all lists are up to date, 1 a list failed, 2 no server was reached.`,
		Example: "  port53 filter update\n  port53 filter update ads --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if len(args) == 1 {
				q.Set("list", args[0])
			}
			var all []app.FilterUpdated
			err := call(cmd.Context(), file, socket, "POST", "/filter/update?"+q.Encode(), &all)
			var e *exit
			if err != nil && (!errors.As(err, &e) || e.code != exitFindings || all == nil) {
				return err
			}
			if asJSON {
				if printErr := s.printJSON(all); printErr != nil {
					return printErr
				}
				return err
			}
			for _, u := range all {
				state := "unchanged"
				if u.Changed {
					state = "read"
				}
				if u.Problem != "" {
					state = "as it was"
				}
				fmt.Fprintf(s.out, "%s: %s, %s\n", u.Name, state, count(u.Stats.Rules, "rule"))
			}
			return err
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newFilterPause(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pause MINUTES",
		Short: "Stop blocking for a number of minutes",
		Long: `port53 filter pause stops all blocking for the given number of minutes, at most a day. Blocking
resumes by itself, even if the server has been restarted in the meantime.

Similar: pihole disable 5m.`,
		Example: "  port53 filter pause 5\n  port53 filter resume",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			minutes, err := strconv.Atoi(args[0])
			if err != nil || minutes < 1 || minutes > int((24*time.Hour)/time.Minute) {
				return failure(exitUsage, "port53 filter pause 5", "%s is not a number of minutes from 1 to 1440", args[0])
			}
			return s.pause(cmd, file, socket, minutes, asJSON)
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newFilterResume(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "resume",
		Short:   "Resume blocking",
		Long:    "port53 filter resume makes the running resolver block again.\n\nSimilar: pihole enable.",
		Example: "  port53 filter resume",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.pause(cmd, file, socket, 0, asJSON) },
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *streams) pause(cmd *cobra.Command, file, socket string, minutes int, asJSON bool) error {
	var r app.FilterPaused
	if err := call(cmd.Context(), file, socket, "POST", "/filter/pause?minutes="+strconv.Itoa(minutes), &r); err != nil {
		return err
	}
	switch {
	case asJSON:
		return s.printJSON(r)
	case r.Until == nil:
		fmt.Fprintln(s.out, "answers are filtered")
	default:
		fmt.Fprintf(s.out, "nothing is filtered until %s\n", r.Until.Local().Format("15:04:05"))
	}
	return nil
}
