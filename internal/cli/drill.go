package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/drill"
	"port53/internal/netif"
)

// drillConfig is the configuration of a server that is attacked, before the operator's limits.
const drillConfig = `role: %s
listen: [127.0.0.1]
state_dir: state
metrics: {listen: off}
control: {socket: off}
keys: [{name: drill, secret: %s}]
zones: [{name: drill.test, file: drill.zone, allow_transfer: [{key: drill}]}]
`

// drillSecret is of a key that nobody uses.
const drillSecret = "ZHJpbGwgZHJpbGwgZHJpbGw="

// drillPrefix is what names of directories of drills begin with; the number of the process follows.
const drillPrefix = "port53-drill-"

// Times of drills.
const (
	drillSetUp = time.Minute      // beyond those of the attacks
	drillEnd   = 10 * time.Second // for the server to end
	drillMost  = 10 * time.Minute
)

// drillLimits are the keys that a drill takes from the operator's configuration.
var drillLimits = []string{
	"resolver.limits.", "resolver.cache.", "resolver.validation", "resolver.qname_minimization", "resolver.case_randomization",
	"policy.rate_limit.", "policy.tunnel.", "tcp.", "udp.", "edns.", "transfers.",
}

// drillLeft are those among them that are of other things, as files.
var drillLeft = []string{"resolver.cache.dump", "resolver.validation_time", "edns.cookie_secrets_file"}

// A driller is what the flags of drill say.
type driller struct {
	file, inside string
	each         time.Duration
	asJSON       bool
}

func newDrill(s *streams) *cobra.Command {
	var d driller
	cmd := &cobra.Command{
		Use:   "drill [nxns|keytrap|flood|poison|tunnel|slowtcp|axfr|all]...",
		Short: "Attack a copy of the server in a network namespace, and report which limits held",
		Long: `port53 drill starts a server with the limits of the configuration (resolver.limits,
resolver.cache, policy.rate_limit, policy.tunnel, tcp, udp, edns, transfers) in a network
namespace of its own, beside a small simulated internet, and runs these attacks on it there, each
for --time:

  nxns      delegations to many names without addresses (NXNSAttack)
  keytrap   many keys with the same tag, and many wrong signatures (KeyTrap)
  flood     many questions at once
  poison    forged replies, and records that nobody asked for
  tunnel    data in names
  slowtcp   connections that send an octet now and then
  axfr      transfers without a key

Meanwhile another client sends ordinary queries. For each attack the report gives what was
measured, the limit, and a baseline to compare with: a figure that comes with port53, measured
with the default settings on a small machine. The running server is not touched, no packet leaves
the namespace, and nothing is left behind.

If the role is authoritative, port53 drill runs only flood, slowtcp and axfr. port53 drill needs
root, or a system that allows user namespaces.

Exit codes: 0 all limits held, 1 a limit did not hold, 2 port53 drill could not run.`,
		Example: `  sudo port53 drill all
  port53 drill nxns keytrap --config port53.yaml --time 10s
  port53 drill all --json | jq '.[] | select(.held | not)'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.inside != "" {
				return s.drillInside(cmd.Context(), &d, args)
			}
			return s.drill(cmd.Context(), &d, args)
		},
	}
	configFlag(cmd, &d.file)
	cmd.Flags().DurationVar(&d.each, "time", 5*time.Second, "how long each attack lasts")
	cmd.Flags().BoolVar(&d.asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&d.inside, "inside", "", "the directory of a drill that was started")
	_ = cmd.Flags().MarkHidden("inside") // the flag is there
	return cmd
}

// drill starts the drills in a namespace, and waits until they end.
func (s *streams) drill(ctx context.Context, d *driller, names []string) error {
	if d.each < time.Second || d.each > drillMost {
		return failure(exitUsage, "", "--time is between 1s and %s", drillMost)
	}
	// Before the file is read: that there is none is not what is wrong.
	for _, n := range names {
		if all := drill.Names(true); n != "all" && !slices.Contains(all, n) {
			return failure(exitUsage, "use "+strings.Join(all, ", ")+" or all", "%q is not an attack", n)
		}
	}
	c, _, err := loadConfig(d.file)
	if err != nil {
		return err
	}
	if slices.Contains(names, "all") {
		names = drill.Names(c.Recurses())
	}
	for _, n := range names {
		if !slices.Contains(drill.Names(c.Recurses()), n) {
			hint := "use " + strings.Join(drill.Names(c.Recurses()), ", ") + " or all"
			return failure(exitUsage, hint, "%s is not an attack on a server with role: %s", n, c.Role)
		}
	}
	sweepDrills(os.TempDir())
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", drillPrefix, os.Getpid()))
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	defer os.RemoveAll(dir)
	defer holdDrill(dir)()
	for name, text := range map[string]string{
		"port53.yaml": fmt.Sprintf(drillConfig, c.Role, drillSecret) + limitsText(c), "drill.zone": drill.ServedZone(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return failure(exitUsage, "", "%v", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(names))*d.each+drillSetUp)
	defer cancel()
	args := append([]string{"drill", "--inside", dir, "--time", d.each.String()}, names...)
	if d.asJSON {
		args = append(args, "--json")
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = s.out, s.err
	err = inNamespace(cmd)
	var ended *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return failure(exitUsage, "", "interrupted")
	case ctx.Err() != nil:
		return failure(exitUsage, "", "the drills did not end in time, and were stopped")
	case errors.As(err, &ended) && ended.ExitCode() > 0:
		return &exit{code: ended.ExitCode()}
	case err != nil:
		const hint = "run it with sudo, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)"
		return failure(exitUsage, hint, "a network namespace cannot be made: %v", err)
	}
	return nil
}

// A node is a section of the configuration that is written: values, or nodes.
type node map[string]any

// limitsText writes the operator's limits, as far as the configuration sets them.
func limitsText(c *config.Config) string {
	root := node{}
	for _, v := range c.Effective() {
		taken := slices.ContainsFunc(drillLimits, func(p string) bool { return strings.HasPrefix(v.Key, p) })
		if v.Origin == config.OriginDefault || !taken || slices.Contains(drillLeft, v.Key) {
			continue
		}
		at, path := root, strings.Split(v.Key, ".")
		for _, name := range path[:len(path)-1] {
			if at[name] == nil {
				at[name] = node{}
			}
			at = at[name].(node)
		}
		at[path[len(path)-1]] = v.Value
	}
	if c.Recurses() {
		for _, key := range []string{"resolver", "policy"} {
			if root[key] == nil {
				root[key] = node{}
			}
		}
		root["resolver"].(node)["root_hints"], root["resolver"].(node)["trust_anchors"] = "root.hints", "root.anchors"
	}
	var b strings.Builder
	root.write(&b, "")
	return b.String()
}

func (n node) write(b *strings.Builder, indent string) {
	for _, name := range slices.Sorted(maps.Keys(n)) {
		switch v := n[name].(type) {
		case node:
			if len(v) > 0 {
				fmt.Fprintf(b, "%s%s:\n", indent, name)
				v.write(b, indent+"  ")
			}
		default:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, v)
		}
	}
}

// drillInside runs the drills in the namespace that this process was started in.
func (s *streams) drillInside(ctx context.Context, d *driller, names []string) error {
	all, err := netif.List()
	if err == nil && len(all) > 0 {
		err = errors.New("this is not a namespace of its own")
	}
	if err == nil {
		err = raiseLoopback()
	}
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	world, err := drill.NewWorld()
	if err != nil {
		return failure(exitFault, "", "%v", err)
	}
	for name, text := range map[string]string{"root.hints": world.Hints(), "root.anchors": world.Anchors()} {
		if err := os.WriteFile(filepath.Join(d.inside, name), []byte(text), 0o600); err != nil {
			return failure(exitUsage, "", "%v", err)
		}
	}
	var reports []*drill.Report
	for _, name := range names { // each has a server of its own
		c, err := config.Load(filepath.Join(d.inside, "port53.yaml"))
		if err != nil {
			return configError("the limits of the configuration", err)
		}
		r, err := drillOnce(ctx, c, &drill.Target{World: world, Recursive: c.Recurses()}, name, d.each)
		if err != nil {
			return startError(err)
		}
		reports = append(reports, r)
	}
	if d.asJSON {
		err = s.printJSON(reports)
	} else {
		printDrills(s.out, reports)
	}
	if err == nil && slices.ContainsFunc(reports, func(r *drill.Report) bool { return !r.Held }) {
		err = &exit{code: exitFindings}
	}
	return err
}

// drillOnce starts a server, and has it attacked.
func drillOnce(ctx context.Context, c *config.Config, t *drill.Target, name string, each time.Duration) (*drill.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{})
	a, err := app.New(ctx, app.Options{Config: c, Network: t.World.Net, Ready: func(*app.App) { close(ready) }})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	select {
	case err := <-done:
		return nil, err
	case <-ready:
	}
	t.Addr = a.Addrs()[0]
	t.Tunnels = func() (list []string) {
		for _, x := range a.Tunnels().Tunnels {
			list = append(list, x.Domain)
		}
		return list
	}
	r, err := drill.Run(ctx, t, name, each)
	cancel()
	select {
	case <-done:
	case <-time.After(drillEnd):
		return nil, errors.New("the server that was attacked does not end")
	}
	return r, err
}

// printDrills prints reports for people.
func printDrills(out io.Writer, reports []*drill.Report) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, r := range reports {
		state := "held"
		if !r.Held {
			state = "DID NOT HOLD"
		}
		fmt.Fprintf(w, "%s: %s (%s, %.1f s)\n", r.Drill, state, r.About, r.Seconds)
		for i := range r.Figures {
			f := &r.Figures[i]
			limit, mark := "", ""
			if f.Limit >= 0 {
				word := "at most"
				if f.AtLeast {
					word = "at least"
				}
				limit = fmt.Sprintf("%s %.4g", word, f.Limit)
			}
			if !f.Held() {
				mark = "  NOT HELD"
			}
			fmt.Fprintf(w, "  %s\t%.4g %s\t%s\tbaseline %.4g%s\n", f.Name, f.Value, f.Unit, limit, f.Baseline, mark)
		}
	}
	_ = w.Flush() // to standard output, whose errors nobody can be told of
}
