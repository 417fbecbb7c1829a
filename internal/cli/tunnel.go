package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/console"
	"port53/internal/top"
)

func newTunnel(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tunnel",
		Short: "Show and change which domains are known not to be tunnels",
		Long: `Some domains look like tunnels through DNS but are not. With policy.tunnel.learn, the resolver learns
such domains and keeps them in the file tunnel-domains in state_dir. port53 tunnel shows that file and
changes it; port53 top --tunnels shows the suspected tunnels themselves.`,
		Example: "  port53 tunnel list\n  port53 tunnel accept cdn.example\n  port53 tunnel reject evil.example",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTunnelList(s), newTunnelJudge(s, true), newTunnelJudge(s, false))
	return cmd
}

func newTunnelList(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show which domains look like tunnels, and what they are taken for",
		Long: `port53 tunnel list shows every domain that has looked like a tunnel since learning began, and the
verdict on it:

  learned    not a tunnel: enough clients used it on enough days
  accepted   not a tunnel: port53 tunnel accept said so
  rejected   may be a tunnel: port53 tunnel reject said so, and it is never learned
  seen       may be a tunnel: not yet used by enough clients on enough days`,
		Example: "  port53 tunnel list\n  port53 tunnel list --json | jq -r '.domains[] | select(.verdict == \"learned\").domain'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r top.TunnelReport
			err := reach(cmd.Context(), file, socket, func(ctx context.Context, at string) error {
				_, err := console.CallAPI(ctx, at, "GET", "/v1/tunnels", "", nil, &r)
				return err
			})
			if err != nil {
				return err
			}
			if r.Learning == nil {
				return failure(exitFindings, "set policy: {tunnel: {learn: {period: 7d}}}", "nothing is learned here")
			}
			if asJSON {
				return s.printJSON(r.Learning)
			}
			_, err = s.out.Write(learningText(r.Learning))
			return err
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// learningText writes what is learned for people.
func learningText(r *top.LearningReport) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, learningState(r))
	for i := range r.Domains {
		d := &r.Domains[i]
		fmt.Fprintf(&b, "%-8s %s: %s, at most %s a day", d.Verdict, printable(d.Domain), count(d.Days, "day"), count(d.Clients, "client"))
		fmt.Fprintf(&b, " with up to %d octets each", d.Octets)
		if !d.Last.IsZero() {
			fmt.Fprintf(&b, ", last %s", d.Last.Local().Format(time.DateTime))
		}
		if len(d.Who) > 0 {
			fmt.Fprintf(&b, "; %s: %s", printable(d.Day), printable(strings.Join(d.Who, " ")))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// learningState says in a line whether something is learned.
func learningState(r *top.LearningReport) string {
	text := "learning has ended"
	switch {
	case r.Active:
		text = "learning until " + r.Until.Local().Format(time.DateTime) +
			fmt.Sprintf(": a domain needs %s a day on %s", count(r.Clients, "client"), count(r.Days, "day"))
	case r.Began.IsZero():
		text = "nothing is learned"
	}
	if r.Error != "" {
		text += "\nthe file of learned domains: " + printable(r.Error)
	}
	return text
}

func newTunnelJudge(s *streams, accept bool) *cobra.Command {
	verb, short, long := "accept", "Never report or block a domain as a tunnel", `After port53 tunnel accept, clients that use a registered domain such as example.com are never
reported, limited or blocked because of it, and suspected tunnels to it are forgotten at once.
This needs policy.tunnel.learn, and is kept in state_dir; port53 tunnel reject undoes it. For a
name below a registered domain, use policy.tunnel.exempt.`
	if !accept {
		verb, short = "reject", "Report a domain whenever it looks like a tunnel"
		long = `After port53 tunnel reject, a registered domain is reported whenever it looks like a tunnel, however
many clients use it. This undoes port53 tunnel accept and what was learned.`
	}
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     verb + " DOMAIN",
		Short:   short,
		Long:    long,
		Example: "  port53 tunnel " + verb + " example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d app.JudgedDomain
			if err := call(cmd.Context(), file, socket, "POST", "/tunnel/"+verb+"?"+url.Values{"domain": args}.Encode(), &d); err != nil {
				return err
			}
			switch {
			case asJSON:
				return s.printJSON(d)
			case accept:
				fmt.Fprintf(s.out, "%s is no longer reported or blocked as a tunnel\n", printable(d.Domain))
			default:
				fmt.Fprintf(s.out, "%s is reported whenever it looks like a tunnel\n", printable(d.Domain))
			}
			return nil
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
