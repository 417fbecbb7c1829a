package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/console"
	"port53/internal/event"
	"port53/internal/why"
	"port53/internal/wire"
)

// whyOptions are the flags of port53 why.
type whyOptions struct {
	file, socket  string
	client, since string
	json          bool
	limit         int
}

func newWhy(s *streams) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use:   "why [ID | NAME [TYPE]]",
		Short: "Explain why a query failed or was refused, blocked or answered from stale data",
		Long: `port53 why explains a problematic answer: the cause first, then which servers were queried and
what they said, then what can be done.

The ID is in three places: at the end of the text of the Extended DNS Error that the client got
("why=7f3a81xk"), in the query log, and in /v1/queries of the API. NAME is the queried name; a name of one label and
eight characters needs a dot at its end, so that it is not taken for an ID. Without
an ID or a NAME, the latest problems are listed.

The setting "why.record" says which queries are remembered, and "why.size" says how much memory
the records may take. Anyone who may use the control socket may use port53 why.`,
		Example: "  port53 why 7f3a81xk\n  port53 why www.example.com AAAA\n" +
			"  port53 why www.example.com --client 10.0.0.9 --since 1h\n  port53 why --json",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.why(cmd.Context(), &o, args)
		},
	}
	socketFlags(cmd, &o.file, &o.socket)
	f := cmd.Flags()
	f.StringVar(&o.client, "client", "", "only for this client address or network")
	f.StringVar(&o.since, "since", "", "only what is newer than this: an age such as 1h or 2d, or a point in time")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.IntVar(&o.limit, "limit", 0, "how many reports to print at most (default: 1 for a name or ID, 10 otherwise)")
	return cmd
}

// path returns what the API is asked for.
func (o *whyOptions) path(args []string) (string, error) {
	q := url.Values{}
	path, limit := "/v1/why", 10
	if len(args) > 0 {
		if _, isID := event.ParseID(args[0]); !isID {
			if _, err := wire.ParseName(args[0]); err != nil {
				return "", failure(exitUsage, "", "%s is neither an id of eight characters nor a name: %v", args[0], err)
			}
		}
		path, limit = path+"/"+url.PathEscape(args[0]), 1
	}
	if len(args) > 1 {
		if _, ok := wire.ParseType(strings.ToUpper(args[1])); !ok {
			return "", failure(exitUsage, "", "%s is not a type: expected one such as A or AAAA", args[1])
		}
		q.Set("type", args[1])
	}
	if o.client != "" {
		q.Set("client", o.client)
	}
	if o.since != "" {
		q.Set("since", o.since)
	}
	if o.limit > 0 {
		limit = o.limit
	}
	q.Set("limit", strconv.Itoa(limit))
	return path + "?" + q.Encode(), nil
}

func (s *streams) why(ctx context.Context, o *whyOptions, args []string) error {
	path, err := o.path(args)
	if err != nil {
		return err
	}
	var reports []why.Report
	err = reach(ctx, o.file, o.socket, func(ctx context.Context, at string) error {
		_, err := console.CallAPI(ctx, at, "GET", path, "", nil, &reports)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.json:
		return s.printJSON(reports)
	case len(reports) == 0 && len(args) > 0:
		return failure(exitFindings, "port53 query --explain "+strings.Join(args, " ")+" asks now",
			"nothing is remembered of %s: there was no problem, or it is too long ago", strings.Join(args, " "))
	case len(reports) == 0:
		fmt.Fprintln(s.out, "no problem is remembered")
	case len(args) == 0:
		for i := range reports {
			r := &reports[i]
			fmt.Fprintf(s.out, "%s  %-8s  %s %s %s: %s\n",
				r.Time.Local().Format(time.DateTime), r.ID, printable(r.Name), r.Type, orNone(r.Rcode), printable(r.Cause))
		}
	default:
		for i := range reports {
			if i > 0 {
				fmt.Fprintln(s.out)
			}
			s.printWhy(&reports[i])
		}
	}
	return nil
}

func orNone(rcode string) string {
	if rcode == "" {
		return "no reply"
	}
	return rcode
}

// printWhy prints a report.
func (s *streams) printWhy(r *why.Report) {
	fmt.Fprintf(s.out, "%s %s: %s", printable(r.Name), r.Type, orNone(r.Rcode))
	if r.EDE != nil {
		fmt.Fprintf(s.out, ", EDE %d (%s)", *r.EDE, wire.ErrorText(*r.EDE))
	}
	fmt.Fprintf(s.out, ", %s", r.Time.Local().Format("2006-01-02 15:04:05.000"))
	if r.Client != "" {
		fmt.Fprintf(s.out, ", to %s over %s", r.Client, r.Transport)
	}
	if r.ID != "" {
		fmt.Fprintf(s.out, ", why=%s", r.ID)
	}
	fmt.Fprintf(s.out, "\n\nCause: %s\n", printable(r.Cause))
	if r.Partial {
		fmt.Fprintln(s.out, "Somebody had to be answered before the work was done: what follows is what had come of it by then.")
	}
	if len(r.Steps) > 0 {
		fmt.Fprintln(s.out, "\nSteps:")
	}
	for i := range r.Steps {
		t := &r.Steps[i]
		fmt.Fprintf(s.out, "  %6d ms  %s", t.Micros/1000, printable(t.Text))
		if t.RTT > 0 {
			fmt.Fprintf(s.out, " (%.1f ms)", float64(t.RTT)/1000)
		}
		fmt.Fprintln(s.out)
	}
	if r.Left > 0 {
		fmt.Fprintf(s.out, "  %d steps in the middle are left out\n", r.Left)
	}
	if len(r.Advice) > 0 {
		fmt.Fprintln(s.out, "\nWhat to do:")
	}
	for _, a := range r.Advice {
		fmt.Fprintf(s.out, "  %s\n", printable(a.Text))
		if a.Command != "" {
			fmt.Fprintf(s.out, "      %s\n", printable(a.Command))
		}
	}
}
