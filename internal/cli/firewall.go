package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/config"
	"port53/internal/firewall"
	"port53/internal/fwrun"
	"port53/internal/proof"
)

// firewallError gives an error its exit code and hint.
func firewallError(err error) error {
	var known *exit
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, fwrun.ErrPrivileges):
		return failure(exitUsage, "run it with sudo; port53 firewall show needs no rights", "%v", err)
	case errors.Is(err, fwrun.ErrTool):
		return failure(exitUsage, "install it, or choose another --backend", "%v", err)
	}
	return failure(exitUsage, "", "%v", err)
}

func newFirewall(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "firewall",
		Short: "Generate, test, load and remove firewall rules for port 53",
		Long: `port53 firewall derives nftables, iptables or ufw rules from a port53 configuration or, for any
other server, from flags. The rules let only the right clients reach port 53, over UDP and TCP,
IPv4 and IPv6. The commands test these rules in a network namespace, load them atomically, compare
what is loaded with what should be, and remove them. Other rules are never touched.`,
		Example: `  port53 firewall show --block
  port53 firewall show --allow 192.168.1.0/24 --backend iptables
  port53 firewall check --config port53.yaml
  port53 firewall apply --config port53.yaml --confirm 60s
  port53 firewall remove`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		firewallShow(s),
		firewallExplain(s),
		firewallCheck(s),
		firewallApply(s),
		firewallConfirm(s),
		firewallStatus(s),
		firewallRemove(s),
		firewallExpire(),
	)
	return cmd
}

// shown is what firewall show prints as JSON.
type shown struct {
	Plan  *firewall.Plan  `json:"plan"`
	Rules *firewall.Rules `json:"rules"`
	Notes []string        `json:"notes,omitempty"`
}

func firewallShow(s *streams) *cobra.Command {
	var i intent
	var asJSON bool
	var family int
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the rules",
		Long: `port53 firewall show prints the rules in the backend's format: a file for nft -f, input for
iptables-restore --noflush and ip6tables-restore --noflush, or ufw commands. It changes nothing
and needs no privileges.`,
		Example: `  port53 firewall show --block                                   # no DNS is served here
  port53 firewall show --allow 192.168.1.0/24 --backend iptables --family 4 | iptables-restore --noflush
  port53 firewall show --allow 192.168.1.100 --backend ufw
  port53 firewall show --role authoritative --external eth0
  port53 firewall show --block-outbound --resolver 192.0.2.53`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := i.plan()
			if err != nil {
				return err
			}
			_, b, notes, err := i.system(cmd.Context())
			if errors.Is(err, fwrun.ErrTool) {
				b, err = firewall.Nftables, nil
			}
			if err != nil {
				return err
			}
			r, err := p.Render(b)
			if err != nil {
				return failure(exitUsage, "", "%v", err)
			}
			if asJSON {
				return s.printJSON(shown{p, r, notes})
			}
			for _, n := range notes {
				fmt.Fprintf(s.err, "port53: note: %s\n", n)
			}
			if family != 0 {
				if r.Backend != firewall.Iptables || family != 4 && family != 6 {
					return failure(
						exitUsage,
						"--family 4 and --family 6 are for --backend iptables",
						"--family %d: the rules are not of one family",
						family,
					)
				}
				fmt.Fprint(s.out, r.Files[family/6].Text)
				return nil
			}
			s.printRules(r)
			return nil
		},
	}
	i.flags(cmd)
	cmd.Flags().IntVar(&family, "family", 0, "for iptables, print only the rules for IPv4 or IPv6: 4 or 6")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printRules prints rules so that what is printed can be fed to the backend.
func (s *streams) printRules(r *firewall.Rules) {
	switch r.Backend {
	case firewall.Nftables:
		fmt.Fprint(s.out, r.Files[0].Text)
	case firewall.Iptables:
		fmt.Fprintf(
			s.out,
			"# iptables-restore --noflush < %s\n%s# ip6tables-restore --noflush < %s\n%s",
			r.Files[0].Name,
			r.Files[0].Text,
			r.Files[1].Name,
			r.Files[1].Text,
		)
	case firewall.UFW:
		fmt.Fprintf(s.out, "#!/bin/sh -e\n# /etc/ufw/%s:\n", r.Files[0].Name)
		for line := range strings.SplitSeq(strings.TrimSpace(r.Files[0].Text), "\n") {
			fmt.Fprintf(s.out, "#   %s\n", line)
		}
		for _, c := range r.Commands {
			fmt.Fprintln(s.out, firewall.Shell(c))
		}
	}
	for _, m := range r.Missing {
		fmt.Fprintf(s.err, "port53: note: not in these rules: %s\n", m)
	}
	for _, k := range r.Keep {
		fmt.Fprintf(s.err, "port53: note: to keep them over a start: %s\n", k)
	}
}

func firewallExplain(s *streams) *cobra.Command {
	var i intent
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Explain the rules in plain sentences",
		Long: "port53 firewall explain describes in plain sentences what the rules printed by port53 firewall show\n" +
			"do, and what the backend cannot do.",
		Example: `  port53 firewall explain --config port53.yaml
  port53 firewall explain --role authoritative --backend ufw`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := i.plan()
			if err != nil {
				return err
			}
			sentences := p.Explain()
			if i.backend != "auto" {
				_, b, _, err := i.system(cmd.Context())
				if err != nil {
					return err
				}
				r, err := p.Render(b)
				if err != nil {
					return failure(exitUsage, "", "%v", err)
				}
				for _, m := range r.Missing {
					sentences = append(sentences, fmt.Sprintf("%s does not do this: %s.", b, m))
				}
			}
			if asJSON {
				return s.printJSON(map[string]any{"plan": p, "sentences": sentences})
			}
			for _, sentence := range sentences {
				fmt.Fprintln(s.out, sentence)
			}
			return nil
		},
	}
	i.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// prepare returns all that the commands need which load rules, or look at those loaded.
func (i *intent) prepare(ctx context.Context) (*fwrun.System, *firewall.Plan, *firewall.Rules, []string, error) {
	p, err := i.plan()
	if err != nil {
		return nil, nil, nil, nil, err
	}
	system, b, notes, err := i.system(ctx)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	foreign, err := system.Foreign(ctx, b)
	if err != nil {
		return nil, nil, nil, nil, firewallError(err)
	}
	for _, f := range foreign {
		p.Tracked = p.Tracked || (f.Translates || f.Tracks) && f.UDP
		i.blocked = i.blocked || !f.Translates && !f.Tracks
		notes = append(notes, f.String())
	}
	r, err := p.Render(b)
	if err != nil {
		return nil, nil, nil, nil, failure(exitUsage, "", "%v", err)
	}
	return system, p, r, notes, nil
}

// trial is what firewall check prints as JSON.
type trial struct {
	Backend firewall.Backend `json:"backend"`
	Cases   []fwrun.Case     `json:"cases"`
	Wrong   int              `json:"wrong"`
	Status  *fwrun.Status    `json:"status"`
	Notes   []string         `json:"notes,omitempty"`
}

func firewallCheck(s *streams) *cobra.Command {
	var i intent
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Test the rules in a network namespace, and compare them with what is loaded",
		Long: `port53 firewall check loads the rules in a temporary network namespace and sends test packets to a
server there: over UDP and TCP, IPv4 and IPv6, from addresses that are allowed, addresses that are
not, and addresses at the edges of networks. Each packet is one line of output. It then compares
the rules loaded on this machine, if any, with what should be loaded.

Exit codes: 0 the rules work, and the loaded ones match, 1 the rules do not work, or the
loaded ones do not match, 2 the test failed to run.`,
		Example: `  port53 firewall check --config port53.yaml
  port53 firewall check --allow 192.168.1.0/24 --json | jq '.cases[] | select(.got != .want)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			system, p, r, notes, err := i.prepare(cmd.Context())
			if err != nil {
				return err
			}
			if err := system.Test(cmd.Context(), r); err != nil {
				return firewallError(err)
			}
			t := trial{Backend: r.Backend, Notes: notes}
			if t.Cases, err = system.Try(cmd.Context(), p, r); err != nil {
				return firewallError(err)
			}
			if t.Status, err = system.Compare(cmd.Context(), r); err != nil {
				return firewallError(err)
			}
			for _, c := range t.Cases {
				if !c.Good() {
					t.Wrong++
				}
			}
			if asJSON {
				err = s.printJSON(t)
			} else {
				s.printTrial(&t)
			}
			if err == nil && (t.Wrong > 0 || t.Status.Loaded && !t.Status.Equal || i.blocked) {
				err = &exit{code: exitFindings}
			}
			return err
		},
	}
	i.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *streams) printTrial(t *trial) {
	for _, n := range t.Notes {
		fmt.Fprintf(s.err, "port53: note: %s\n", n)
	}
	width := 0
	for _, c := range t.Cases {
		width = max(width, len(c.From.String()))
	}
	for _, c := range t.Cases {
		mark := "ok"
		if !c.Good() {
			mark = "WRONG, wanted " + string(c.Want)
		}
		fmt.Fprintf(s.out, "%s  %-*s  to %-24s  %-8s  %s  (%s)\n", c.Proto, width, c.From, c.To, c.Got, mark, c.Who)
	}
	fmt.Fprintf(s.out, "%s, %d wrong\n", count(len(t.Cases), "packet"), t.Wrong)
	s.printDifference(t.Status)
}

func (s *streams) printDifference(st *fwrun.Status) {
	for _, n := range st.Notes {
		fmt.Fprintf(s.out, "note: %s\n", n)
	}
	switch {
	case !st.Loaded:
		fmt.Fprintf(s.out, "%s: nothing of port53 is loaded\n", st.Backend)
		return
	case st.Equal:
		fmt.Fprintf(s.out, "%s: what is loaded is what it should be\n", st.Backend)
	default:
		fmt.Fprintf(s.out, "%s: what is loaded is not what it should be; port53 firewall apply makes it so\n", st.Backend)
	}
	for _, l := range st.Missing {
		fmt.Fprintf(s.out, "  missing: %s\n", l)
	}
	for _, l := range st.Extra {
		fmt.Fprintf(s.out, "  extra:   %s\n", l)
	}
	if !st.Until.IsZero() {
		fmt.Fprintf(s.out, "the previous rules come back at %s unless port53 firewall confirm is run\n", st.Until.Format(time.TimeOnly))
	}
}

// firewallApply returns port53 firewall apply. In one piece: it is one command with its texts and flags.
func firewallApply(s *streams) *cobra.Command {
	var i intent
	var confirm time.Duration
	var enable, asJSON, untried bool
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Load the rules, atomically",
		Long: `port53 firewall apply tests the rules as port53 firewall check does, loads them, and remembers
which rules of port53 were loaded before. With --confirm TIME it goes back to those rules (or to
none, if there were none) after TIME, unless port53 firewall confirm is run before then: you
cannot lock yourself out. port53 firewall apply refuses rules that would cut off the SSH session
it runs in. If the same rules are already loaded, nothing is changed.

With --role none, only this machine itself can reach ports 53 and 853, over UDP and TCP. When the
rules are loaded, port53 firewall apply proves this: a network namespace with foreign addresses
tries each port at each address of this machine. Port 443 is left open, because web servers use
it, too; --port 443 closes it as well.

nftables and iptables rules last until the next reboot; the output of port53 firewall show
says how to keep them. ufw keeps its rules itself.

Exit codes: 0 the rules are loaded, and with --role none the ports are closed, 1 the rules were
wrong in the test, or a port is still open, 2 they could not be loaded, 3 they are loaded, but
it could not be proved that the ports are closed.`,
		Example: `  port53 firewall apply --role none
  port53 firewall apply --config /etc/port53/port53.yaml --confirm 60s
  port53 firewall apply --block --backend ufw --enable`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			system, p, r, notes, err := i.prepare(cmd.Context())
			if err != nil {
				return err
			}
			if confirm < 0 || confirm > 0 && confirm < time.Second {
				return failure(exitUsage, "write --confirm 60s", "--confirm %s: too short to confirm", confirm)
			}
			if err := fwrun.CheckSSH(p, fwrun.Session()); err != nil {
				return failure(exitUsage, "nothing was changed", "%v", err)
			}
			if !untried {
				cases, err := system.Try(cmd.Context(), p, r)
				if err != nil {
					return firewallError(fmt.Errorf("the rules could not be tried, and nothing was changed: %w", err))
				}
				for _, c := range cases {
					if !c.Good() {
						return failure(
							exitFindings,
							"port53 firewall check shows all of it; nothing was changed",
							"in the trial %s from %s (%s) was %s, and should be %s",
							c.Proto,
							c.From,
							c.Who,
							c.Got,
							c.Want,
						)
					}
				}
			}
			changed, err := system.Apply(cmd.Context(), r, confirm, enable, func() error { return fwrun.ExpireLater(i.state, confirm) })
			if err != nil {
				return firewallError(err)
			}
			var lines []proof.Line
			if i.role == roleNone {
				lines = proof.ProveClosed(cmd.Context(), p.Ports, proof.Options{})
			}
			if asJSON {
				if err := s.printJSON(
					map[string]any{
						"backend":         r.Backend,
						"changed":         changed,
						"confirm_seconds": int(confirm.Seconds()),
						"notes":           notes,
						"missing":         r.Missing,
						"keep":            r.Keep,
						"proof":           lines,
					},
				); err != nil {
					return err
				}
				return proofCode(lines)
			}
			s.printApplied(r, notes, changed, confirm)
			if i.role == roleNone {
				s.printClosed(lines)
			}
			return proofCode(lines)
		},
	}
	i.flags(cmd)
	cmd.Flags().DurationVar(&confirm, "confirm", 0, "go back to the previous rules after this time unless port53 firewall confirm is run")
	cmd.Flags().BoolVar(&enable, "enable", false, "enable ufw if it is disabled")
	cmd.Flags().BoolVar(&untried, "untried", false, "load the rules without a test, for systems where namespaces are not available")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *streams) printApplied(r *firewall.Rules, notes []string, changed bool, confirm time.Duration) {
	for _, n := range notes {
		fmt.Fprintf(s.err, "port53: note: %s\n", n)
	}
	if !changed {
		fmt.Fprintf(s.out, "%s: the rules were loaded already\n", r.Backend)
		return
	}
	fmt.Fprintf(s.out, "%s: the rules are loaded\n", r.Backend)
	if confirm > 0 {
		fmt.Fprintf(s.out, "the previous rules come back in %s unless you run port53 firewall confirm\n", confirm)
	}
}

// printClosed says what became of the proof that ports are closed.
func (s *streams) printClosed(lines []proof.Line) {
	held := 0
	for i := range lines {
		if lines[i].State == proof.Holds {
			held++
			continue
		}
		fmt.Fprintln(s.out, lines[i].String())
	}
	fmt.Fprintf(s.out, "proved from foreign addresses: %d of %d tries found a closed port\n", held, len(lines))
}

// firewallExpire is what fwrun.ExpireLater starts.
func firewallExpire() *cobra.Command {
	var state string
	var after time.Duration
	cmd := &cobra.Command{
		Use:     "expire",
		Short:   "Wait, then go back from unconfirmed rules to the previous ones",
		Long:    "port53 firewall expire runs in the background after apply --confirm.",
		Example: "  port53 firewall expire --state-dir /var/lib/port53-firewall",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := (&fwrun.System{State: state}).Expire(cmd.Context(), after)
			return firewallError(err)
		},
	}
	cmd.Flags().StringVar(&state, "state-dir", "", "the directory in which apply records what it loaded (default: firewall.state_dir)")
	cmd.Flags().DurationVar(&after, "after", 0, "how long to wait")
	return cmd
}

func (i *intent) stateOnly(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&i.config, "config", "c", "", "the configuration file, for firewall.state_dir")
	cmd.Flags().StringVar(&i.state, "state-dir", "", "the directory in which apply records what it loaded (default: firewall.state_dir)")
}

func (i *intent) stateDir() error {
	if i.state != "" {
		return nil
	}
	c := config.Default()
	if i.config != "" {
		var err error
		if c, _, err = loadConfig(i.config); err != nil {
			return err
		}
	}
	i.state = c.Firewall.StateDir
	return nil
}

func firewallConfirm(s *streams) *cobra.Command {
	var i intent
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "confirm",
		Short: "Keep the rules loaded by apply --confirm",
		Long: "port53 firewall confirm keeps the rules that port53 firewall apply --confirm has loaded. Without\n" +
			"this command, the previous rules come back when the time given to apply --confirm is over.",
		Example: "  port53 firewall confirm",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := i.stateDir(); err != nil {
				return err
			}
			if err := (&fwrun.System{State: i.state}).Confirm(); err != nil {
				return firewallError(err)
			}
			if asJSON {
				return s.printJSON(map[string]bool{"confirmed": true})
			}
			fmt.Fprintln(s.out, "the rules stay")
			return nil
		},
	}
	i.stateOnly(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func firewallStatus(s *streams) *cobra.Command {
	var i intent
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Compare the loaded rules with what should be loaded",
		Long: `port53 firewall status compares port53's loaded rules, line by line, with the rules that follow
from the flags or the configuration.

It also reports other rules that redirect or drop traffic to port 53.

Exit codes: 0 the rules match and nothing interferes, 1 the rules differ or something interferes,
2 the comparison failed.`,
		Example: `  port53 firewall status --config /etc/port53/port53.yaml
  port53 firewall status --block --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			system, _, r, notes, err := i.prepare(cmd.Context())
			if err != nil {
				return err
			}
			st, err := system.Compare(cmd.Context(), r)
			if err != nil {
				return firewallError(err)
			}
			st.Notes = append(notes, st.Notes...)
			if asJSON {
				err = s.printJSON(st)
			} else {
				s.printDifference(st)
			}
			if err == nil && (!st.Equal || i.blocked) {
				err = &exit{code: exitFindings}
			}
			return err
		},
	}
	i.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func firewallRemove(s *streams) *cobra.Command {
	var i intent
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Remove all of port53's rules",
		Long: `port53 firewall remove deletes what port53 firewall apply loaded, and nothing else: the nftables
table, the iptables chains and the jumps to them, or the ufw rules with port53's comment. ufw is
disabled if port53 firewall apply enabled it.`,
		Example: "  port53 firewall remove",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := i.stateDir(); err != nil {
				return err
			}
			removed, err := (&fwrun.System{State: i.state}).Remove(cmd.Context())
			if err != nil {
				return firewallError(err)
			}
			if asJSON {
				return s.printJSON(map[string]bool{"removed": removed})
			}
			if removed {
				fmt.Fprintln(s.out, "the rules are gone")
			} else {
				fmt.Fprintln(s.out, "nothing was applied")
			}
			return nil
		},
	}
	i.stateOnly(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
