package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/telemetry"
	"port53/internal/zones"
)

func newServe(s *streams) *cobra.Command {
	var file string
	var example, prove bool
	var listen []string
	cmd := &cobra.Command{
		Use:   "serve [--config FILE | --listen ADDRESS…]",
		Short: "Run the DNS server",
		Long: `port53 serve runs the server in the foreground as its configuration says. Without a configuration
file the server is a validating resolver for this machine, on loopback.

SIGHUP, or port53 reload, rereads the configuration and changed zone files. SIGTERM and Ctrl-C
stop the server once the queries received so far are answered, or when the time set in
shutdown.drain has passed. Queries for a zone that cannot be loaded get SERVFAIL, and the other
zones are served. If zones are configured, and each has a file with errors, port53 serve does not
start.

Similar: named, unbound, nsd, knotd, dnsmasq, pdns_recursor.`,
		Example: `  port53 serve          # /etc/port53/port53.yaml; without that file, a resolver on 127.0.0.1 and ::1
  port53 serve --listen 127.0.0.1:5353
  port53 serve --example
  port53 serve --config /etc/port53/port53.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sig := s.catch(cmd.Context())
			defer sig.release()
			if example {
				if cmd.Flags().Changed("config") {
					return failure(exitUsage, "", "--example and --config exclude each other")
				}
				return s.serveExample(sig, listen)
			}
			if !cmd.Flags().Changed("config") && (len(listen) > 0 || !exists(file)) {
				return s.serveDefault(sig, listen)
			}
			if len(listen) > 0 {
				return failure(exitUsage, "write listen into the configuration", "--listen and --config exclude each other")
			}
			if prove {
				stop, err := s.startProver(file)
				if err != nil {
					return err
				}
				defer stop()
			}
			return s.serve(sig, file, prove)
		},
	}
	cmd.Flags().
		BoolVar(&prove, "prove", false, "report ready (at /ready of the metrics listener) only while port53 prove finds no violation; "+
			"if started as root, also run prove --watch")
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&example, "example", false, "run a resolver with an example zone, on 127.0.0.1:5353 or a free port")
	cmd.Flags().StringSliceVar(&listen, "listen", nil, "run without a configuration, on these loopback `addresses`")
	return cmd
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// serveDefault runs what needs no configuration: a resolver for this machine.
func (s *streams) serveDefault(sig *signals, listen []string) error {
	c := config.Default()
	if len(listen) > 0 {
		var err error
		if c.Listen, err = loopbackListen(listen); err != nil {
			return err
		}
	}
	if len(listen) > 0 {
		c.Metrics.Listen, c.Control.Socket = netip.AddrPort{}, "" // those of the service, which may run beside
	}
	// With addresses of its own it may run beside the service.
	return s.run(sig, app.Options{Config: c, WithoutState: len(listen) > 0, Confine: true}, nil, func(out io.Writer, a *app.App) {
		at := a.Addrs()[0]
		fmt.Fprintf(out, `port53 resolves and validates for this machine on %s, UDP and TCP. Ask it:

  dig @%s -p %d example.com +dnssec

Ctrl-C stops it.
`, at, at.Addr(), at.Port())
	})
}

// loopbackListen reads the values of --listen: addresses of this machine alone, since nothing says
// who may ask at others.
func loopbackListen(listen []string) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	for _, text := range listen {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			ip, ipErr := netip.ParseAddr(text)
			if ipErr != nil {
				return nil, failure(exitUsage, "write it as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353",
					"--listen %s: %s", text, cmp.Or(badPort(text), "not an address"))
			}
			addr = netip.AddrPortFrom(ip, 53)
		}
		if !addr.Addr().IsLoopback() {
			return nil, failure(exitUsage, "write a configuration that says who may query: port53 config init --role internal-resolver",
				"--listen %s: not a loopback address, and it is not said who may query there", text)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// signals are what the process is told from outside. They count from before anything is done
// that may take its time, such as reading a file: a server that is just starting is not ended
// by SIGHUP, and what asks it to end does not wait for a disk.
type signals struct {
	ctx    context.Context // ends with SIGINT and SIGTERM
	reload chan os.Signal  // SIGHUP
	stop   context.CancelFunc
}

// catch has signals come to what it returns. Nothing that is printed holds the server up, or
// ends it: without a handler, a reader of standard output or error that goes away is the end
// of the process (SIGPIPE).
func (s *streams) catch(ctx context.Context) *signals {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	sig := &signals{reload: s.hangups}
	if sig.reload == nil {
		sig.reload = catchHangups()
	}
	sig.ctx, sig.stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	return sig
}

// catchHangups has SIGHUP come to what it returns. Without it, the signal ends the process.
func catchHangups() chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

func (sig *signals) release() {
	sig.stop()
	signal.Stop(sig.reload)
}

// stopPatience is how long a start that is to end may take for it before it is left alone
// with a file that cannot be read to its end.
const stopPatience = 2 * time.Second

// unless returns what f does, or that the start was ended while f went on.
func (sig *signals) unless(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-sig.ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(stopPatience):
		return context.Canceled
	}
}

func (s *streams) serve(sig *signals, file string, prove bool) error {
	var c *config.Config
	var missing config.Errors
	err := sig.unless(func() (err error) {
		c, missing, err = loadToServe(file)
		return err
	})
	if errors.Is(err, context.Canceled) {
		return startError(err)
	}
	if err != nil {
		return err
	}
	return s.run(sig, app.Options{Config: c, Confine: true, Prove: prove}, missing, nil)
}

// A greeting tells a person what to do with the server.
type greeting func(out io.Writer, a *app.App)

// flushTime is how long the end waits for whoever reads what the server has printed.
const flushTime = time.Second

// run serves until a signal ends it. missing are zone files that cannot be read. What is to be
// removed at the end, as the files of an example, is removed by this process: then it is not
// confined.
func (s *streams) run(sig *signals, o app.Options, missing config.Errors, greet greeting) error {
	out, logged := telemetry.NewOutput(s.out), telemetry.NewOutput(s.err)
	defer out.Close(flushTime)
	defer logged.Close(flushTime)
	o.Log, o.LogLost = newLogger(logged, o.Config.Log), logged.Lost
	for _, e := range missing {
		o.Log.Error("zone file cannot be read", "error", e.Error())
	}
	if greet != nil {
		o.Ready = func(a *app.App) { greet(out, a) }
	}
	var a *app.App
	if err := sig.unless(func() (err error) {
		a, err = app.New(sig.ctx, o)
		return err
	}); err != nil {
		return startError(err)
	}
	if err := a.Run(sig.ctx, sig.reload); err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	return nil
}

// startError turns what kept the server from starting into one line and a remedy.
func startError(err error) error {
	var op *net.OpError
	hint := ""
	switch {
	case errors.Is(err, app.ErrNoZone):
		return failure(exitFindings, "mend the zone files; port53 zone check FILE tells the same", "%v", err)
	case errors.Is(err, context.Canceled):
		return failure(exitFindings, "", "stopped before it was ready")
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another program has the address (ss -lunpt shows which): stop it, or change listen"
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &op):
		hint = "ports below 1024 need root, or: setcap cap_net_bind_service=+ep port53, or sockets passed by systemd"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "no interface of this machine has the address: change listen"
	}
	text := err.Error()
	if strings.Contains(text, "; ") && hint != "" {
		hint = "" // the error says what to do itself
	}
	return failure(exitUsage, hint, "%s", strings.ReplaceAll(text, "\n", "; "))
}

func newLogger(out io.Writer, l config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// controlTimeout is how long a command waits for the running server: a reload reads
// every zone that changed.
const controlTimeout = 10 * time.Minute

// reach asks the running server at its control socket: the one named, or that of the
// configuration. A configuration that cannot be used is no reason not to ask: the server runs
// with the one before, and is found by what can be read of this one. If it is not found
// there, what is wrong with the configuration is the error.
func reach(ctx context.Context, file, socket string, ask func(ctx context.Context, at string) error) error {
	at, broken := socket, error(nil)
	switch {
	case at != "":
	case file == defaultConfig && !exists(file):
		at = config.Default().Control.Socket
	default:
		c, _, err := loadConfig(file)
		if broken = err; err == nil {
			at = c.Control.Socket
		} else {
			at = config.ControlSocket(file)
		}
		if at == "" && broken == nil {
			return failure(exitUsage, "set control: {socket: PATH}, or send SIGHUP", "the control socket is switched off in %s", file)
		}
	}
	if at == "" {
		return broken
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	err := ask(ctx, at)
	if broken == nil || err == nil || errors.Is(err, console.ErrRefused) {
		return callError(err)
	}
	var e *exit
	if errors.As(broken, &e) {
		return failure(e.code, "no server was reached either; name its control socket with --socket", "%s\n%v", e.text, err)
	}
	return broken
}

// call is reach with a request that takes and gives JSON.
func call(ctx context.Context, file, socket, method, path string, result any) error {
	return reach(ctx, file, socket, func(ctx context.Context, at string) error {
		return console.Call(ctx, at, method, path, result)
	})
}

// callError turns what went wrong at the control socket into the command's error.
func callError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, console.ErrRefused):
		return failure(exitFindings, "", "%s", strings.TrimPrefix(err.Error(), console.ErrRefused.Error()+": "))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return failure(exitUsage, "is port53 running? if it is, name its control socket with --socket", "%v", err)
	case errors.Is(err, fs.ErrPermission):
		return failure(exitUsage, "run it as the server's user or root", "%v", err)
	}
	return failure(exitUsage, "", "%v", err)
}

func newReload(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload [--config FILE | --socket PATH]",
		Short: "Reload the configuration and zones",
		Long: `port53 reload makes the running server reread changed zone files and the configuration file that
it was started with, and put all changes into effect together. If the configuration has an error,
nothing changes. If a zone file has an error, that zone keeps its previous version, and everything
else takes effect. --config only says where the control socket is.

Similar: rndc reload, rndc reconfig, nsd-control reload, knotc reload,
unbound-control fast_reload.
Exit codes: 0 everything was loaded, 1 an error was reported, 2 no server was reached.`,
		Example: "  port53 reload\n  port53 reload --config port53.yaml --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r app.Reloaded
			err := call(cmd.Context(), file, socket, "POST", "/reload", &r)
			if asJSON && (err == nil || r.Loaded+r.Unchanged > 0) {
				if err := s.printJSON(r); err != nil {
					return err
				}
			} else if err == nil {
				fmt.Fprintf(s.out, "reloaded: %s loaded, %d unchanged, %d removed\n", count(r.Loaded, "zone"), r.Unchanged, r.Removed)
			}
			if len(r.Restart) > 0 {
				fmt.Fprintf(s.err, "port53: changes to %s count from the next start on\n", strings.Join(r.Restart, ", "))
			}
			return err
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newStatus(s *streams) *cobra.Command {
	return statusCommand(s, "status", "Show the status of the running server",
		"  port53 status\n  port53 status --json", cobra.NoArgs)
}

func newZoneStatus(s *streams) *cobra.Command {
	return statusCommand(s, "status [NAME]", "Ask the running server about its zones, or one of them",
		"  port53 zone status example.com", cobra.MaximumNArgs(1))
}

func statusCommand(s *streams, use, short, example string, args cobra.PositionalArgs) *cobra.Command {
	var file, socket string
	var view viewChoice
	var asJSON bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long: short + `. On a server with views, --view shows
the zones in that view, and --client those in the view that this client gets.

Similar: rndc status, rndc zonestatus, nsd-control zonestatus, knotc zone-status.`,
		Example: example,
		Args:    args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := view.resolve(cmd.Context(), file, socket); err != nil {
				return err
			}
			path := "/status?view=" + url.QueryEscape(view.name)
			if len(args) > 0 {
				name, err := zoneQuery(args[0], view.name)
				if err != nil {
					return failure(exitUsage, "", "zone %s: %v", args[0], err)
				}
				path = "/status" + name
			}
			var st app.Status
			if err := call(cmd.Context(), file, socket, "GET", path, &st); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(st)
			}
			if view.client != "" {
				fmt.Fprintf(s.out, "client %s: view %s\n", view.client, view.name)
			}
			return s.printStatus(&st, len(args) == 0)
		},
	}
	socketFlags(cmd, &file, &socket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&view.name, "view", "", "show the zones of this view")
	view.clientFlags(cmd, "show the zones of the view that this client address gets")
	return cmd
}

// printStatus prints the status of zones, and with whole that of the server.
func (s *streams) printStatus(st *app.Status, whole bool) error {
	if whole {
		fmt.Fprintf(s.out, "up %s, serving %v, configuration %s of %s\n", st.Uptime, st.Listen, st.Config, st.Reloaded.Format(time.RFC3339))
		s.printSealed(st)
		fmt.Fprintf(s.out, "sandbox: files %s, system calls %s\n", st.Sandbox.Files, st.Sandbox.Calls)
		s.printTerms(st.Terms)
		s.printProof(st.Proof)
		if !st.Healthy {
			fmt.Fprintln(s.out, "the last reload failed: see the log")
		}
		if len(st.Views) > 0 {
			fmt.Fprintf(s.out, "views, the first that fits a client counts: %s\n", strings.Join(st.Views, ", "))
		}
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	heading := "ZONE\tSTATE\tSERIAL\tNAMES\tRECORDS\tLOADED\tROLE\tNEXT"
	if len(st.Views) > 0 {
		heading += "\tVIEWS"
	}
	fmt.Fprintln(w, heading)
	for _, z := range st.Zones {
		state := "served"
		switch {
		case z.Expired:
			state = "expired"
		case !z.Serving && z.Role == "secondary":
			state = "not fetched yet"
		case !z.Serving:
			state = "broken"
		case z.Failed:
			state = "served, its file is broken"
		}
		loaded := "-"
		if z.Serving {
			loaded = z.Loaded.Format(time.RFC3339)
		}
		next := "-"
		if !z.Next.IsZero() {
			next = z.Next.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s", z.Name, state, z.Serial, z.Names, z.Records, loaded, z.Role, next)
		if len(st.Views) > 0 {
			fmt.Fprintf(w, "\t%s", strings.Join(z.Views, ","))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, z := range st.Zones {
		if z.NotStored != "" {
			fmt.Fprintf(s.out, "%s: served from memory, not kept on disk: %s\n", z.Name, z.NotStored)
		}
		s.printTrouble(&z)
		for _, p := range z.Problems {
			fmt.Fprintln(s.out, p)
		}
	}
	return nil
}

// printSealed prints where something is served over TLS or QUIC, and until when its certificates are valid.
func (s *streams) printSealed(st *app.Status) {
	for _, l := range st.Encrypted {
		fmt.Fprintf(s.out, "%s at %s\n", l.Transport, l.Address)
	}
	for _, c := range st.Certificates {
		until := c.Expires.UTC().Format(time.RFC3339)
		fmt.Fprintf(s.out, "certificate of %s: %d days left, until %s\n", strings.Join(c.Names, ", "), c.Days, until)
	}
	if len(st.Encrypted) > 0 && len(st.Certificates) == 0 {
		fmt.Fprintln(s.out, "there is no certificate yet: TLS and QUIC are refused")
	}
}

// printTerms prints the contract of who may do what.
func (s *streams) printTerms(terms []app.Term) {
	fmt.Fprintln(s.out, "access (everyone else is refused):")
	for i := range terms {
		fmt.Fprintf(s.out, "  %s\n", terms[i].String())
	}
}

// printTrouble prints what is wrong with a zone of primaries, and what is known of the signatures
// of one that the server signs.
func (s *streams) printTrouble(z *zones.Status) {
	if z.LastError != "" {
		fmt.Fprintf(s.out, "%s: not refreshed: %s\n", z.Name, z.LastError)
	}
	d := z.Signing
	if d == nil {
		return
	}
	again := ""
	if len(d.Keys) > 0 { // else nothing was signed since the start
		again = " again"
		fmt.Fprintf(
			s.out,
			"%s: signed here by %s, of serial %d; signatures expire from %s on, next signing %s\n",
			z.Name,
			strings.Join(d.Keys, ", "),
			d.UnsignedSerial,
			d.Expires.UTC().Format(time.RFC3339),
			d.Next.UTC().Format(time.RFC3339),
		)
	}
	switch {
	case d.LastError == "":
	case again == "" && z.Serving:
		fmt.Fprintf(s.out, "%s: served as it was signed before the start: %s\n", z.Name, d.LastError)
	default:
		fmt.Fprintf(s.out, "%s: not signed%s: %s\n", z.Name, again, d.LastError)
	}
}
