package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/console"
	"port53/internal/top"
	"port53/internal/wire"
)

// topOptions are the flags of port53 top.
type topOptions struct {
	file, socket       string
	json, follow, once bool
	all, tunnels       bool
	limit              int
	interval           time.Duration
}

func newTop(s *streams) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top [--once | --json [--follow]]",
		Short: "Show, live, which clients query the running server most, and for what",
		Long: `port53 top shows eight tables, each with the most frequent first: clients, names, blocked names,
the block lists that matched, servers that this server queries, response codes, types, and where
answers came from. port53 top shows the last five to ten seconds, or with --all everything that is
still kept (see top.keep in the configuration).

Keys: tab, arrows or 1 to 8 for another table, s for another order, a to switch between
all and recent, p to pause, q to quit.

Counting starts with the first port53 top and stops ten minutes after the last, unless top.record
is set to "always" or "off". Clients in private networks are shown by address, others by /24 or
/56; names are shown by registered domain (example.com). Anyone who may use the control socket may
use port53 top.

With --tunnels, port53 top shows suspected tunnels through DNS: the client, the domain, what
points to a tunnel, and samples of names (see policy.tunnel). With policy.tunnel.learn, it also shows
the domains that are known not to be tunnels; port53 tunnel list shows all of them with the evidence.

Similar: dnstop, dnsdist's topClients, rec_control top-queries.`,
		Example: "  port53 top\n  port53 top --once --all\n  port53 top --json\n" +
			"  port53 top --json --follow --interval 5s\n  port53 top --tunnels",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.follow && !o.json:
				return failure(exitUsage, "", "--follow is for --json: without, top follows by itself")
			case o.once && o.follow:
				return failure(exitUsage, "", "--once and --follow exclude each other")
			case o.interval < 100*time.Millisecond:
				return failure(exitUsage, "", "--interval is 100ms at least")
			case o.limit < 1 || o.limit > top.MaxRows:
				return failure(exitUsage, "", "--limit is between 1 and %d", top.MaxRows)
			case o.tunnels && (o.follow || o.all || o.once):
				return failure(exitUsage, "", "--tunnels shows all there are, once")
			case o.tunnels:
				return s.topTunnels(cmd.Context(), &o)
			case o.json:
				return s.topJSON(cmd.Context(), &o)
			case o.once || !isTerminal(s.out):
				return s.topOnce(cmd.Context(), &o)
			}
			return s.topLive(cmd.Context(), &o)
		},
	}
	socketFlags(cmd, &o.file, &o.socket)
	f := cmd.Flags()
	f.BoolVar(&o.json, "json", false, "print one JSON document")
	f.BoolVar(&o.follow, "follow", false, "with --json: one document per line, one per interval, until interrupted")
	f.BoolVar(&o.once, "once", false, "print all tables once and exit; the default if the output is not a terminal")
	f.BoolVar(&o.all, "all", false, "show everything that is still kept (see top.keep in the configuration)")
	f.BoolVar(&o.tunnels, "tunnels", false, "show suspected tunnels through DNS, and why")
	f.IntVar(&o.limit, "limit", 20, "rows of each table")
	f.DurationVar(&o.interval, "interval", time.Second, "the refresh interval")
	return cmd
}

// look asks the server what it has counted.
func (o *topOptions) look(ctx context.Context) (r *top.Report, err error) {
	window := "recent"
	if o.all {
		window = "all"
	}
	q := url.Values{"window": {window}, "limit": {strconv.Itoa(o.limit)}}
	err = reach(ctx, o.file, o.socket, func(ctx context.Context, at string) error {
		r = &top.Report{}
		_, err := console.CallAPI(ctx, at, "GET", "/v1/top?"+q.Encode(), "", nil, r)
		return err
	})
	return r, err
}

// lookOnce is look; where the counting has only begun, it looks again after the interval.
func (o *topOptions) lookOnce(ctx context.Context) (*top.Report, error) {
	r, err := o.look(ctx)
	if err != nil || r.Seconds >= o.interval.Seconds() {
		return r, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(o.interval):
	}
	return o.look(ctx)
}

func (s *streams) topJSON(ctx context.Context, o *topOptions) error {
	if !o.follow {
		r, err := o.lookOnce(ctx)
		if err != nil {
			return err
		}
		return s.printJSON(r)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		r, err := o.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		line, err := json.Marshal(r)
		if err == nil {
			_, err = s.out.Write(append(line, '\n'))
		}
		if err != nil {
			return failure(exitUsage, "", "%v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// topTunnels prints who is taken to move data through DNS.
func (s *streams) topTunnels(ctx context.Context, o *topOptions) error {
	var r top.TunnelReport
	err := reach(ctx, o.file, o.socket, func(ctx context.Context, at string) error {
		_, err := console.CallAPI(ctx, at, "GET", "/v1/tunnels", "", nil, &r)
		return err
	})
	if err != nil {
		return err
	}
	r.Tunnels = r.Tunnels[:min(len(r.Tunnels), o.limit)]
	if o.json {
		return s.printJSON(r)
	}
	if r.Action == top.TunnelOff {
		s.complain("policy: {tunnel: {action: watch}} has a resolver watch", "nobody watches for tunnels here")
		return nil
	}
	_, err = io.WriteString(s.out, tunnelText(r.Tunnels)+learnedText(r.Learning))
	return err
}

// tunnelText writes tunnels for people.
func tunnelText(list []top.Tunnel) string {
	var b bytes.Buffer
	if len(list) == 0 {
		return "no client is taken to move data through DNS\n"
	}
	for i := range list {
		x := &list[i]
		since, last := x.First.Format(time.DateTime), x.Last.Format(time.DateTime)
		fmt.Fprintf(&b, "%s to %s, since %s, last %s\n", printable(x.Client), printable(x.Domain), since, last)
		fmt.Fprintf(&b, "  %d new names with %d octets, %.0f each, %.1f bits a character; ", x.Names, x.Octets, x.Mean, x.Entropy)
		fmt.Fprintf(&b, "%d octets of answers; %.0f %% of types that carry data\n", x.Answers, 100*x.Carried)
		for _, why := range x.Why {
			fmt.Fprintf(&b, "  %s\n", printable(why))
		}
		for _, name := range x.Samples {
			fmt.Fprintf(&b, "  for example %s\n", printable(name))
		}
	}
	return b.String()
}

// learnedText writes which domains are known not to be tunnels; "" if nothing is learned.
func learnedText(r *top.LearningReport) string {
	if r == nil {
		return ""
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, learningState(r))
	for _, d := range r.Domains {
		if d.Verdict == top.DomainLearned || d.Verdict == top.DomainAccepted {
			fmt.Fprintf(&b, "  %s %s is known not to be a tunnel\n", d.Verdict, printable(d.Domain))
		}
	}
	return b.String()
}

func (s *streams) topOnce(ctx context.Context, o *topOptions) error {
	r, err := o.lookOnce(ctx)
	if err != nil {
		return err
	}
	v := topView{report: r, all: o.all}
	var b bytes.Buffer
	fmt.Fprintln(&b, v.summary())
	for i := range topTables {
		v.table = i
		rows := v.rows()
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n%s\n", topTables[i].title, topHead)
		for j := range rows {
			fmt.Fprintln(&b, v.line(&rows[j]))
		}
	}
	_, err = s.out.Write(b.Bytes())
	return err
}

// topLive shows the tables until somebody quits. The terminal is as it was when it returns, whatever happens.
func (s *streams) topLive(ctx context.Context, o *topOptions) error {
	r, err := o.look(ctx)
	if err != nil {
		return err // before the screen is another
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	term, err := openTerminal(s.in, s.out)
	if err != nil {
		return failure(exitUsage, "port53 top --once needs no terminal", "%v", err)
	}
	defer term.restore()
	keys := make(chan byte, 16)
	go readKeys(ctx, s.in, keys)
	v := topView{report: r, all: o.all}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	var failed error
	for {
		width, height := term.size()
		o.limit = min(max(height, 20), top.MaxRows)
		if _, err := s.out.Write(v.frame(width, height, failed)); err != nil {
			return nil // the terminal is gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-term.resized():
			continue
		case key, ok := <-keys:
			if !ok || v.press(key) {
				return nil
			}
			if key != 'a' {
				continue
			}
			o.all = v.all
		case <-tick.C:
		}
		if v.paused {
			continue
		}
		if r, err := o.look(ctx); err == nil {
			v.report, failed = r, nil
		} else if failed = err; ctx.Err() != nil {
			return nil
		}
	}
}

// Keys that are sent as several octets.
const (
	keyRight = 0x80 + iota
	keyLeft
)

// readKeys sends each key that is pressed, until there are no more.
func readKeys(ctx context.Context, in io.Reader, keys chan<- byte) {
	defer close(keys)
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			key := b[0]
			switch {
			case len(b) >= 3 && key == 0x1b && (b[1] == '[' || b[1] == 'O'):
				switch key = 0; b[2] {
				case 'C', 'B':
					key = keyRight
				case 'D', 'A', 'Z':
					key = keyLeft
				}
				b = b[3:]
			default:
				b = b[1:]
			}
			select {
			case keys <- key:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// printable is a last guard between what a server says and a terminal: what it sends is escaped already.
func printable(text string) string { return wire.Printable(text) }
