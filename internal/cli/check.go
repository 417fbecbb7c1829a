package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/proof"
	"port53/internal/query"
	"port53/internal/scan"
	"port53/internal/wire"
)

// exitUnmeasured is the exit code of a check that could not reach its target.
const exitUnmeasured = 3

// A checkCommand is what the flags of check say.
type checkCommand struct {
	failOn                  string
	only, skip              []string
	active, intrusive, mine bool
	stranger, noProof       bool
	subdomains              string   // everything, or names, or a file of them
	selectors               []string // of DKIM
	compare                 bool
	timeout                 time.Duration
	ports                   string
	targets                 checkTargets
	out                     checkOutput
}

func newCheck(s *streams) *cobra.Command {
	var c checkCommand
	cmd := &cobra.Command{
		Use:   "check TARGET...",
		Short: "Examine DNS servers and zones as an attacker would see them",
		Long: `port53 check examines DNS servers and zones as a stranger and an attacker would: open ports, zone
transfers, open recursion, amplification, malformed packets, and what a server reveals about
itself. Each finding has a severity, a remedy, and a command that reproduces it. A check that
could not be measured counts as unknown, never as passed; the text report lists such checks only
with --all.

A target is an address (192.0.2.1, 192.0.2.1:5300, [2001:db8::1]:53), a network (192.0.2.0/24), a
range (192.0.2.1-13), a server's name, or a zone. For a zone, port53 check examines its
delegation, content and DNSSEC from the root down, and each of its servers. --file reads a list of
targets. port53 check looks up the names of targets with the system's resolvers, and all other
names, with their delegations, from the root servers down. With --resolver, port53 check looks up
all names with the given resolver; with --roots, from the root servers in the given file. With
--zone, every server is examined as a server of that zone. --subdomains looks for all names of a
zone, and shows where they lead; --subdomains=FILE checks the names in FILE, and
--subdomains=www,dev checks the names listed. The value is taken as a file if it has a slash
or if a file of that name exists. The network and broadcast addresses of an IPv4 network are
skipped unless they are listed as targets themselves.

--config audits a configuration file without using the network. --self tests, as port53
prove does, whether the server running on this machine allows exactly what its configuration
permits; then it audits that configuration, and examines the answers of the server's
listeners. --probe-zone serves a zone delegated to this machine, and judges the target
resolvers by the queries that they send for names in that zone.

--active also sends unusual queries, hundreds of them. --intrusive may keep a weak
server from serving others, and needs --i-own-this.

Each report has a score out of 100: a failed check costs 60 points at critical severity, 25 at
high, 8 at medium and 2 at low; a warning costs half of that. --compare shows what is new and what
is gone in the second of two JSON reports; give the older report first. "port53 check schema"
describes their format.

Exit codes: 0 no check failed at or above the severity given with --fail-on, 1 at least one
such check failed, 2 usage error, 3 none failed, but a target, or a check at or above that
severity, could not be measured. Silent addresses of a network lead to exit code 3 only if no
target answers.`,
		Example: `  port53 check example.com
  port53 check 192.0.2.53 --zone example.com
  port53 check 192.0.2.0/24 --plain | grep -w fail
  port53 check --file servers.txt --html --output report.html
  port53 check --self --fail-on medium
  port53 check --config port53.yaml --sarif > port53.sarif
  port53 check example.com --subdomains --only ZONE-SUBS,ZONE-DANGLE
  port53 check example.com --subdomains=names.txt --dkim-selectors 2026a,2026b
  port53 check 192.0.2.53 --json --output known.json
  port53 check 192.0.2.53 --baseline known.json
  port53 check --compare known.json today.json
  port53 check explain SRV-AXFR`,
		Args: func(_ *cobra.Command, args []string) error {
			if c.compare {
				if len(args) != 2 {
					return failure(exitUsage, "port53 check --compare OLD.json NEW.json", "--compare needs two reports")
				}
				return nil
			}
			if t := &c.targets; len(args) == 0 && t.list == "" && t.config == "" && !t.self &&
				(t.probeZone == "" || len(t.resolvers) == 0) {
				return failure(exitUsage, "port53 check ADDRESS, NETWORK or NAME; or --file, --config or --self", "there is no target")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.compare {
				return c.compareReports(s, args[0], args[1])
			}
			return c.run(cmd.Context(), s, args)
		},
	}
	c.flags(cmd.Flags())
	cmd.AddCommand(newCheckList(s), newCheckExplain(s), newCheckSchema(s))
	return cmd
}

func (c *checkCommand) flags(f *pflag.FlagSet) {
	c.targets.flags(f)
	f.StringVar(
		&c.subdomains,
		"subdomains",
		"",
		"find all names of a zone (by transfer, NSEC records, a list of 5,000 common labels, certificate logs); "+
			"=FILE: check the names in an existing file; =NAME,NAME: check these names",
	)
	f.Lookup("subdomains").NoOptDefVal = allSubdomains
	f.StringSliceVar(&c.selectors, "dkim-selectors", nil, "also check the DKIM keys of these selectors; a missing key is a finding")
	f.BoolVar(&c.stranger, "as-stranger", false,
		"treat this machine as a stranger: open recursion is a failure on loopback and private addresses, too")
	f.BoolVar(&c.noProof, "no-proof", false, "with --self, skip what port53 prove does")
	f.StringVar(&c.failOn, "fail-on", "high", "the lowest severity for exit code 1: low, medium, high or critical")
	f.BoolVar(&c.compare, "compare", false,
		"show which findings are new and which are gone in the second of two JSON reports; give the older report first")
	f.StringSliceVar(&c.only, "only", nil, "run only these checks, by ID")
	f.StringSliceVar(&c.skip, "skip", nil, "skip these checks, by ID")
	f.BoolVar(&c.active, "active", false, "also send unusual queries, hundreds of them")
	f.BoolVar(&c.intrusive, "intrusive", false, "also hold connections open and send slowly; needs --i-own-this")
	f.BoolVar(&c.mine, "i-own-this", false, "confirm that you may disturb the server")
	c.out.flags(f)
	f.StringVar(&c.ports, "ports", "", "also scan these TCP ports, such as 22,8000-8100 or 1-65535")
	f.DurationVar(&c.timeout, "timeout", 2*time.Second, "how long to wait for a reply")
}

// options returns what all targets are looked at with, and the least severity that counts
// for the exit code. It reads files that flags name.
func (c *checkCommand) options() (*check.Options, finding.Severity, error) {
	least, ok := finding.ParseSeverity(c.failOn)
	if !ok {
		return nil, 0, failure(exitUsage, "", "--fail-on %s: expected low, medium, high or critical", c.failOn)
	}
	o := &check.Options{Timeout: c.timeout, Limiter: check.NewLimiter(), Lab: check.Lab{Stranger: c.stranger}}
	if err := c.search(o); err != nil {
		return nil, 0, err
	}
	switch {
	case c.intrusive && !c.mine:
		return nil, 0, failure(exitUsage, "add --i-own-this if it is yours", "--intrusive may keep a weak server from serving others")
	case c.targets.atOnce < 1 || c.targets.max < 1:
		return nil, 0, failure(exitUsage, "", "--at-once and --max-targets: expected at least 1")
	case c.intrusive:
		o.Mode = finding.Intrusive
	case c.active:
		o.Mode = finding.Active
	}
	for _, id := range slices.Concat(c.only, c.skip) {
		if findCheck(id) == nil {
			return nil, 0, failure(exitUsage, "port53 check list prints them", "there is no check %s", id)
		}
	}
	if c.ports != "" {
		var err error
		if o.Ports, err = scan.ParsePorts(c.ports); err != nil {
			return nil, 0, failure(exitUsage, "as --ports 1-65535", "--%v", err)
		}
	}
	if err := c.out.check(); err != nil {
		return nil, 0, err
	}
	return o, least, c.targets.options(o)
}

// allSubdomains is what --subdomains is without a value.
const allSubdomains = "*"

// maxNames is how many names --subdomains may have, in a list or in a file.
const maxNames = 20000

// search fills in which names of zones are looked at. A value is a file if it has a slash or is one, else a list of names.
func (c *checkCommand) search(o *check.Options) error {
	for _, selector := range c.selectors {
		if _, err := wire.ParseName(selector + "._domainkey"); err != nil || selector == "" {
			return failure(
				exitUsage,
				"a selector is a label, or labels with dots between them",
				"--dkim-selectors: %s is none",
				query.Printable([]byte(selector)),
			)
		}
	}
	o.Selectors = c.selectors
	value := c.subdomains
	switch {
	case value == "":
		return nil
	case value == allSubdomains:
		o.Subdomains = true
		return nil
	}
	list := strings.Split(value, ",")
	info, err := os.Stat(value)
	if err == nil && !info.Mode().IsRegular() {
		return failure(exitUsage, "", "--subdomains %s: it is not a regular file", value)
	}
	if err == nil || strings.Contains(value, "/") {
		text, err := os.ReadFile(value)
		if err != nil {
			return failure(exitUsage, "a list of names is written with commas between them", "--subdomains %s: %v", value, pathCause(err))
		}
		list = nil
		for n, line := range strings.Split(string(text), "\n") {
			line, _, _ = strings.Cut(line, "#")
			for _, name := range strings.Fields(line) {
				if _, err := wire.ParseName(name); err != nil {
					return failure(
						exitUsage,
						"names are relative to the zone, or end with a dot",
						"%s:%d: %s: %v",
						value,
						n+1,
						query.Printable([]byte(name)),
						err,
					)
				}
				list = append(list, name)
			}
		}
	}
	for _, name := range list {
		if _, err := wire.ParseName(name); err != nil || name == "" {
			return failure(
				exitUsage,
				"names are relative to the zone, or end with a dot",
				"--subdomains: %s is not a name",
				query.Printable([]byte(name)),
			)
		}
	}
	if len(list) > maxNames {
		return failure(exitUsage, "", "--subdomains has %d names, and may have %d", len(list), maxNames)
	}
	o.Names = list
	return nil
}

// checks returns those that are to run.
func (c *checkCommand) checks() []*check.Check {
	return slices.DeleteFunc(catalogue.All(), func(x *check.Check) bool {
		return len(c.only) > 0 && !slices.Contains(c.only, x.ID) || slices.Contains(c.skip, x.ID)
	})
}

// subject returns what was asked for, as a title of a report; "" is what has none of its own.
func (c *checkCommand) subject(args []string) string {
	const most = 3 // words that a title may have
	switch {
	case len(args) == 0:
		return c.targets.list
	case len(args) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(args[:most-1], ", "), len(args)-most+1)
	}
	return strings.Join(args, ", ")
}

// run looks at all targets, and writes a report of each.
func (c *checkCommand) run(ctx context.Context, s *streams, args []string) error {
	o, least, err := c.options()
	if err != nil {
		return err
	}
	if len(args) == 0 && c.targets.probeZone != "" {
		args = c.targets.resolvers
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := c.targets.probe(ctx, o); err != nil {
		return err
	}
	var unread atomic.Bool
	list, err := c.targets.all(ctx, s, o, args, func(format string, args ...any) {
		unread.Store(true)
		s.complain("", format, args...)
	})
	if err != nil {
		return err
	}
	violated, err := c.proveSelf(ctx, s)
	if err != nil {
		return err
	}
	w, end, err := c.out.open(s, c.subject(args), least, func() bool { return ctx.Err() != nil })
	if err != nil {
		return err
	}
	p, checks := &progress{s: s}, c.checks()
	reports := check.InOrder(ctx, c.targets.atOnce, list, func(ctx context.Context, t finding.Target) *finding.Report {
		r := check.Examine(ctx, t, o, checks, func(done, all int) { p.told(t.Text, done, all) })
		r.Baseline = c.out.earlier
		return r
	})
	found, missed, swept, alive := violated, false, 0, 0
	for r := range reports {
		if ctx.Err() != nil {
			break // what was cut off is no measurement
		}
		p.clear()
		if err := w.Write(r); err != nil {
			return err
		}
		found = found || r.Above(least)
		missed = missed || r.NotMeasured(least)
		if !r.Unreachable {
			alive++
		}
		if r.Target.FromRange {
			swept++
		}
	}
	missed = missed || unread.Load() || swept > 0 && alive == 0
	if err := end(); err != nil {
		return err
	}
	switch {
	case found:
		// That something was found is not hidden by what could not be looked at.
		return failure(
			exitFindings,
			"",
			"something at least as severe as %s was found%s",
			least,
			map[bool]string{true: ", and the run was interrupted"}[ctx.Err() != nil],
		)
	case ctx.Err() != nil:
		return failure(exitUnmeasured, "the report says so, and has what was done by then", "interrupted")
	case missed:
		return failure(
			exitUnmeasured,
			"does a DNS server run at each address? does a firewall on the way block the queries?",
			"not every target could be measured",
		)
	}
	return nil
}

// proveSelf proves the contract of the server that runs here, where people read the report: port53 prove has it for
// programs.
func (c *checkCommand) proveSelf(ctx context.Context, s *streams) (violated bool, err error) {
	if !c.targets.self || c.noProof || !c.out.people() {
		return false, nil
	}
	p := prover{file: c.targets.config, timeout: c.timeout}
	if p.file == "" {
		p.file = defaultConfig
	}
	lines, err := p.prove(ctx)
	if err != nil {
		return false, err
	}
	s.printLines(lines, c.out.all)
	return len(proof.Violations(lines)) > 0, nil
}

func findCheck(id string) *check.Check {
	for _, c := range catalogue.All() {
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
		Long:    "port53 check list prints the checks: ID, severity, how intrusive the check is, and what it finds.",
		Example: "  port53 check list",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, c := range catalogue.All() {
				fmt.Fprintf(s.out, "%-20s %-8s %-9s %s\n", c.ID, c.Severity, c.Mode, c.Fault)
			}
			return nil
		},
	}
}

func newCheckExplain(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:   "explain ID",
		Short: "Explain a check: what it sends, how it judges, what to do",
		Long: "port53 check explain prints what a check sends and why, how it judges the replies, how to fix the\n" +
			"fault in BIND, Unbound and other servers, and where to read more.",
		Example: "  port53 check explain SRV-AXFR",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c := findCheck(args[0])
			if c == nil {
				return failure(exitUsage, "port53 check list prints them", "there is no check %s", args[0])
			}
			fmt.Fprintf(
				s.out,
				"%s\n\nFault: %s\nGood: %s\n%s, %s, %s\n\n%s\n\nJudged: %s\n\nRemedy: %s\n",
				c.ID,
				c.Fault,
				c.Title,
				c.Group,
				c.Severity,
				c.Mode,
				c.Sent,
				c.Criteria,
				c.AdviceFor(""),
			)
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

// A progress tells a person at a terminal how far a check is, on one line that is written
// over, and gone at the end. Several targets share it: the one that was heard of last is
// shown.
type progress struct {
	s     *streams
	mu    sync.Mutex
	shown bool
}

func (p *progress) told(target string, done, all int) {
	if !isTerminal(p.s.err) || done == all {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	fmt.Fprintf(p.s.err, "\r%s: %d of %d checks\x1b[K", query.Printable([]byte(target)), done, all)
}

func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.s.err, "\r\x1b[K")
	}
	p.shown = false
}
