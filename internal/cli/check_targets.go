package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"port53/internal/app"
	"port53/internal/check"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/dnssec"
	"port53/internal/finding"
	"port53/internal/query"
	"port53/internal/resolver"
	"port53/internal/wire"
)

// checkTargets is what check is to look at.
type checkTargets struct {
	zone, list, config, roots, resolvConf string
	anchors                               string
	resolvers                             []string
	exclude                               []string
	self                                  bool
	max, atOnce                           int
	port                                  uint16
	probeZone, probeListen                string
}

func (c *checkTargets) flags(f *pflag.FlagSet) {
	f.StringVar(&c.zone, "zone", "", "a zone that the servers should serve")
	f.StringVarP(&c.list, "file", "f", "", "read targets from this file, one per line; - for standard input")
	f.StringSliceVar(&c.exclude, "exclude", nil, "skip these addresses, networks, ranges or names")
	f.StringVarP(&c.config, "config", "c", "", "audit this configuration, without using the network")
	f.BoolVar(&c.self, "self", false, "audit the server running on this machine: its configuration and its listeners")
	f.StringSliceVar(&c.resolvers, "resolver", nil, "resolve names through this resolver only")
	f.StringVar(&c.roots, "roots", "", "a root hints file to resolve names with")
	f.StringVar(&c.anchors, "anchors", "", "a file of trusted DS or DNSKEY records, instead of the built-in root keys")
	f.StringVar(&c.resolvConf, "resolv-conf", query.ResolvConf, "the file that lists the system's resolvers")
	f.IntVar(&c.max, "max-targets", check.MaxTargets, "the most addresses that one network or range may have")
	f.IntVar(&c.atOnce, "at-once", 64, "targets to examine at the same time")
	f.Uint16Var(&c.port, "dns-port", 53, "the port of servers whose port is not given")
	f.StringVar(&c.probeZone, "probe-zone", "",
		"a zone delegated to this machine: judge resolvers by the queries they send for names in it")
	f.StringVar(&c.probeListen, "probe-listen", ":53", "the address to serve the probe zone on")
}

// maxTargetLine is the longest line of a list: a name of 255 octets, escaped, and a port.
const maxTargetLine = 4096

// options fills in where names are found.
func (c *checkTargets) options(o *check.Options) error {
	o.Port = c.port
	if err := c.trusted(o); err != nil {
		return err
	}
	for _, text := range c.resolvers {
		a, err := parseTarget(text)
		if err != nil {
			return failure(exitUsage, "an address is 192.0.2.1, 192.0.2.1:5300 or [2001:db8::1]:53", "--resolver: %v", err)
		}
		o.Resolvers = append(o.Resolvers, a)
	}
	if len(c.resolvers) > 0 && c.roots == "" {
		return nil
	}
	hints, err := resolver.LoadHints(c.roots)
	if err != nil {
		return failure(exitUsage, "", "%v", fileError("--roots", c.roots, err))
	}
	for _, h := range hints {
		for _, a := range h.Addrs {
			o.Roots = append(o.Roots, finding.Server{Addr: netip.AddrPortFrom(a, c.port), Name: h.Name})
		}
	}
	if c.roots != "" {
		return nil
	}
	addrs, err := query.SystemServers(c.resolvConf)
	if err != nil {
		return failure(exitUsage, "name a resolver: --resolver ADDRESS", "%s: %v", c.resolvConf, pathCause(err))
	}
	for _, a := range addrs {
		o.Resolvers = append(o.Resolvers, netip.AddrPortFrom(a, 53))
	}
	return nil
}

// trusted fills in what chains of trust begin with.
func (c *checkTargets) trusted(o *check.Options) error {
	if c.anchors == "" {
		return nil
	}
	list, err := resolver.LoadAnchors(c.anchors)
	if err != nil {
		return failure(exitUsage, "", "%v", fileError("--anchors", c.anchors, err))
	}
	for _, a := range list {
		for _, ds := range a.DS {
			o.Anchors = append(o.Anchors, check.Anchor{Owner: a.Zone, DS: ds})
		}
		for _, key := range a.Keys {
			if ds, ok := dnssec.AppendDS(nil, a.Zone, key, dnssec.DigestSHA256); ok {
				o.Anchors = append(o.Anchors, check.Anchor{Owner: a.Zone, DS: ds})
			}
		}
	}
	return nil
}

// parseTarget reads an address, with port 53 unless it has another.
func parseTarget(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return a, fmt.Errorf("%s is not an address", query.Printable([]byte(text)))
	}
	return a, nil
}

// all returns the targets as they are found, in the order in which they are written: what
// is configured, the command line, the list. told hears of what cannot be read.
// In one piece: it is one sequence, whose parts are made as they are asked for.
func (c *checkTargets) all(
	ctx context.Context,
	s *streams,
	o *check.Options,
	args []string,
	told func(format string, args ...any),
) (iter.Seq[finding.Target], error) {
	f := &check.Finder{Options: o, Max: c.max}
	if c.zone != "" {
		var err error
		if f.Zone, err = wire.ParseName(c.zone); err != nil {
			return nil, failure(exitUsage, "", "--zone %s: %v", c.zone, err)
		}
	}
	var words []check.TargetSpec
	for _, text := range args {
		w, err := check.ParseTarget(text)
		if err != nil {
			return nil, failure(
				exitUsage,
				"a target is 192.0.2.1, 192.0.2.1:5300, [2001:db8::1]:53, 192.0.2.0/24, 192.0.2.1-13, ns1.example.com or example.com",
				"%v",
				err,
			)
		}
		words = append(words, w)
		for _, a := range w.Skipped() {
			if !slices.Contains(args, a.String()) {
				fmt.Fprintf(s.err, "port53: note: %s: %v is not asked, since no host has it; name it to have it asked\n", text, a)
			}
		}
	}
	var out []check.TargetSpec
	for _, text := range c.exclude {
		w, err := check.ParseTarget(text)
		if err != nil {
			return nil, failure(exitUsage, "as a target is written", "--exclude: %v", err)
		}
		out = append(out, w)
	}
	own, err := c.own(ctx, s, o)
	if err != nil {
		return nil, err
	}
	in, name := s.in, "standard input"
	var file *os.File
	if c.list != "" && c.list != "-" {
		if file, err = openInput(ctx, c.list); ctx.Err() != nil {
			return nil, failure(exitUnmeasured, "", "interrupted")
		} else if err != nil {
			return nil, failure(exitUsage, "", "--file %s: %v", c.list, pathCause(err))
		}
		in, name = file, c.list
	}
	return func(yield func(finding.Target) bool) {
		if file != nil {
			defer file.Close()
		}
		for _, t := range own {
			if !yield(t) {
				return
			}
		}
		each := func(yield func(check.TargetSpec) bool) {
			for _, w := range words {
				if !yield(w) {
					return
				}
			}
			if c.list != "" {
				readWords(in, name, yield, told)
			}
		}
		// Finding a name takes a walk from the root; several are found at the same time.
		for targets := range check.InOrder(ctx, c.atOnce, each, f.Find) {
			for _, t := range targets {
				if slices.ContainsFunc(out, func(w check.TargetSpec) bool { return w.Excludes(&t) }) {
					continue
				}
				if !yield(t) {
					return
				}
			}
		}
	}, nil
}

// readWords reads a list of targets. Empty lines and what follows a # are passed over.
func readWords(in io.Reader, name string, yield func(check.TargetSpec) bool, told func(format string, args ...any)) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxTargetLine)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		for _, text := range strings.Fields(text) {
			w, err := check.ParseTarget(text)
			if err != nil {
				told("%s:%d: %v", name, n, err)
				continue
			}
			if !yield(w) {
				return
			}
		}
	}
	if err := lines.Err(); err != nil {
		told("%s: %v", name, err)
	}
}

// own returns the configuration that is to be audited, and the listeners of the server
// that runs with it.
func (c *checkTargets) own(ctx context.Context, s *streams, o *check.Options) ([]finding.Target, error) {
	if c.config == "" && !c.self {
		return nil, nil
	}
	file := c.config
	if file == "" {
		file = defaultConfig
	}
	conf, broken, err := config.LoadToServe(file)
	if err != nil {
		return nil, failure(exitUsage, "port53 config check tells more", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, e := range broken {
		s.complain("", "%v", e)
	}
	o.Config = conf
	list := []finding.Target{{Text: file, Config: file}}
	if !c.self {
		return list, nil
	}
	listen := conf.Listen
	var status app.Status
	if conf.Control.Socket == "" {
		s.complain("", "control.socket is off: what the configuration has is asked, be it running or not")
	} else if err := console.Call(ctx, conf.Control.Socket, "GET", "/status", &status); err != nil {
		s.complain(
			"is it running, and does it run with "+file+"?",
			"%s: %v; its listeners are asked nevertheless",
			conf.Control.Socket,
			err,
		)
	} else {
		listen = status.Listen
	}
	for _, a := range conf.WithoutProxies(listen) {
		text := a.String()
		if a.Addr().IsUnspecified() {
			loopback := netip.IPv6Loopback()
			if a.Addr().Is4() {
				loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
			a = netip.AddrPortFrom(loopback, a.Port())
			text += " at " + a.String()
		}
		if a.Port() == 0 {
			s.complain("start it, and let control.socket be on", "the port of %s is not known", text)
			continue
		}
		t := finding.Target{Text: text, Server: finding.Server{Addr: a}}
		if len(conf.Zones) > 0 && !conf.Recurses() {
			t.Zone = conf.Zones[0].Name
			t.Text += " for " + query.NameText(t.Zone)
		}
		list = append(list, t)
	}
	return list, nil
}

// probe serves the probe zone until ctx ends.
func (c *checkTargets) probe(ctx context.Context, o *check.Options) error {
	if c.probeZone == "" {
		return nil
	}
	zone, err := wire.ParseName(c.probeZone)
	if err != nil {
		return failure(exitUsage, "", "--probe-zone %s: %v", c.probeZone, err)
	}
	var l net.ListenConfig
	tcp, err := l.Listen(ctx, "tcp", c.probeListen)
	if err != nil {
		return failure(exitUsage, "it has to be the port that the zone is delegated to", "--probe-listen: %v", err)
	}
	udp, err := l.ListenPacket(ctx, "udp", tcp.Addr().String())
	if err != nil {
		tcp.Close()
		return failure(exitUsage, "it has to be the port that the zone is delegated to", "--probe-listen: %v", err)
	}
	o.Probe = check.NewProbe(zone)
	go func() { _ = o.Probe.Serve(ctx, udp, tcp) }() // what ends it early shows as names that do not arrive
	return nil
}
