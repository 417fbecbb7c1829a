package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/doctor"
	"port53/internal/firewall"
	"port53/internal/fwrun"
)

func newDoctor(s *streams) *cobra.Command {
	var file string
	var probe []string
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps DNS from working on this machine, and how to fix it",
		Long: `port53 doctor examines the machine a DNS server runs on, whichever server it is: which process
holds port 53, forwarding loops, /etc/resolv.conf, the clock, container ports that bypass ufw, the
connection tracking table, UDP buffers, source ports, half-configured IPv6, links that drop large
packets, SELinux and AppArmor denials, old kernels.

Nothing is changed. Each problem comes with its effect on DNS and the one command that fixes the
problem. What cannot be read is reported as unknown, with the reason; root sees more. --probe
sends a few queries of increasing size to a server, to find out which sizes get through; --probe
forward does so for the configured forwarders.

port53 check --self examines the server itself, from outside.

Exit codes: 0 no problems, 1 problems found, 2 the examination failed.`,
		Example: `  sudo port53 doctor
  sudo port53 doctor --config port53.yaml --probe forward
  port53 doctor --probe 192.0.2.53
  sudo port53 doctor --json | jq -r '.[] | select(.state == "problem") | .remedy'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := doctorOptions(file, cmd.Flags().Changed("config"), probe)
			if err != nil {
				return err
			}
			found := doctor.Examine(cmd.Context(), o)
			if asJSON {
				err = s.printJSON(found)
			} else {
				s.printFindings(found, all)
			}
			for _, f := range found {
				if err == nil && f.State == doctor.Problem {
					return &exit{code: exitFindings}
				}
			}
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().
		StringArrayVar(&probe, "probe", nil, "find out which packet sizes get through to this `server`: an address, or "+
			`the word "forward" (the configured forwarders)`)
	cmd.Flags().BoolVar(&all, "all", false, "also show what is fine")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// doctorOptions returns what to look at: as a configuration says, if there is one, and otherwise
// as for a server on port 53.
func doctorOptions(file string, named bool, probe []string) (o doctor.Options, err error) {
	o = doctor.Options{IPv6: true, Built: app.BuildTime(), Foreign: foreignRules}
	if _, statErr := os.Stat(file); named || statErr == nil {
		c, _, err := loadConfig(file)
		if err != nil {
			return o, err
		}
		o.Listen, o.IPv6 = c.Listen, c.Resolver.IPv6
		o.Forward = forwarders(c)
		o.Written = func(to netip.AddrPort) (string, int) { return forwarderWritten(c, to) }
	}
	for _, text := range probe {
		if text == "forward" {
			o.Probe = append(o.Probe, o.Forward...)
			continue
		}
		to, err := netip.ParseAddrPort(text)
		if a, addrErr := netip.ParseAddr(text); addrErr == nil {
			to, err = netip.AddrPortFrom(a, 53), nil
		}
		if err != nil {
			return o, failure(exitUsage, "write 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:53 or forward",
				"--probe %s: %s", text, cmp.Or(badPort(text), "not an address"))
		}
		o.Probe = append(o.Probe, to)
	}
	return o, nil
}

// forwarders returns the servers that a configuration forwards to, each once.
func forwarders(c *config.Config) (list []netip.AddrPort) {
	seen := map[netip.AddrPort]bool{}
	for i := range c.Resolver.Forward {
		for _, to := range c.Resolver.Forward[i].To {
			if to.Scheme == "" && !seen[to.Addr] { // others are never asked in the clear
				seen[to.Addr] = true
				list = append(list, to.Addr)
			}
		}
	}
	return list
}

// forwarderWritten returns the file and the line at which the list begins that names a forwarder.
func forwarderWritten(c *config.Config, to netip.AddrPort) (file string, line int) {
	for i := range c.Resolver.Forward {
		for _, t := range c.Resolver.Forward[i].To {
			if t.Addr != to {
				continue
			}
			for _, v := range c.Effective() {
				at := strings.LastIndexByte(v.Origin, ':')
				if v.Key != fmt.Sprintf("resolver.forward[%d].to", i) || at < 0 {
					continue
				}
				if n, err := strconv.Atoi(v.Origin[at+1:]); err == nil {
					return v.Origin[:at], n
				}
			}
		}
	}
	return "", 0
}

// foreignRules returns the rules of the firewall that are not ours.
func foreignRules(ctx context.Context) (list []doctor.Rule, err error) {
	found, err := (&fwrun.System{}).Foreign(ctx, firewall.Nftables)
	for i := range found {
		f := &found[i]
		list = append(
			list,
			doctor.Rule{
				Text: f.Where + ": " + f.Rule, Docker: strings.Contains(f.Where, "DOCKER"),
				Translates: f.Translates, Guarded: f.Guarded,
			},
		)
	}
	return list, err
}

// printFindings prints the problems, what is unknown, and with all the rest.
func (s *streams) printFindings(found []doctor.Finding, all bool) {
	problems, unknown := 0, 0
	for _, f := range found {
		switch f.State {
		case doctor.Problem:
			problems++
			fmt.Fprintf(s.out, "PROBLEM  %s: %s\n         %s\n         remedy: %s\n", f.ID, f.Seen, f.Impact, f.Remedy)
			if f.Persist != "" {
				fmt.Fprintf(s.out, "         after a reboot: %s\n", f.Persist)
			}
		case doctor.Unknown:
			unknown++
			fmt.Fprintf(s.out, "unknown  %s: %s\n", f.ID, f.Seen)
		default:
			if all {
				fmt.Fprintf(s.out, "ok       %s: %s (%s)\n", f.ID, f.Title, f.Seen)
			}
		}
	}
	fmt.Fprintf(s.out, "%d examined, %s, %d unknown\n", len(found), count(problems, "problem"), unknown)
}
