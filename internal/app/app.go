// Package app turns a configuration into a running server: it binds, drops what
// privileges it has, loads the zones, serves, reloads, drains and stops.
//
// Only this package and cli know package config; every other one gets options of
// its own. A reload builds what is new beside what is running and swaps it in as a
// whole; when anything about it is wrong, what was running goes on.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/engine"
	"port53/internal/keeper"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/upstream"
	"port53/internal/zone"
)

// cookieLife is how long a cookie secret is used before a new one (RFC 9018,
// section 5 leaves it open; SECURITY: cookies roll daily).
const cookieLife = 24 * time.Hour

// Options make an App. Config is required.
type Options struct {
	Config *config.Config
	Log    *slog.Logger // nil: discard

	// Ready is called once, when every listener is bound and every zone is loaded or
	// has been reported as broken. It may be nil.
	Ready func(*App)

	// Network is how a resolver asks servers; nil: by the system's sockets.
	Network upstream.Network
}

// An App is one server.
type App struct {
	log       *slog.Logger
	telemetry *telemetry.Telemetry
	set       *zone.Set
	keeper    *keeper.Keeper
	replays   *tsig.Replay
	engine    *engine.Engine
	server    *server.Server
	recursion *recursion          // nil: this server does not resolve
	builtin   map[bool]*zone.View // names that are built in, by whether the root is the operator's own
	ready     func(*App)
	started   time.Time

	metrics net.Listener
	control net.Listener
	queries *queryLog

	mu       sync.Mutex // one reload at a time
	config   *config.Config
	rates    *policy.RateLimiter
	cookies  *policy.Cookies
	reloads  uint64
	failures uint64
	reloaded time.Time // when the running configuration was applied
	lastOK   bool
}

// New binds all listeners, becomes the configured user and loads the zones. Bad
// zones are reported and do not make it fail; a bad listener does.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{log: o.Log, ready: o.Ready, config: o.Config, started: time.Now(), replays: tsig.NewReplay(time.Now())}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	seed, err := randomSeed()
	if err != nil {
		return nil, err
	}
	a.telemetry = telemetry.New()
	a.set = zone.NewSet(seed)
	if err := a.build(ctx, o.Network); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *App) build(ctx context.Context, network upstream.Network) error {
	c := a.config
	var err error
	if c.Recurses() {
		if err := a.startRecursion(c, network); err != nil {
			return err
		}
	}
	if a.queries, err = openQueryLog(c.Log); err != nil {
		return err
	}
	settings, err := a.settings(c)
	if err != nil {
		return err
	}
	a.engine = engine.New(engine.Options{
		Zones: a.set, Telemetry: a.telemetry, Log: a.log, Queries: a.queries.sink(),
	}, settings)
	files, err := passedSockets()
	if err != nil {
		return err
	}
	addrs := c.Listen
	if len(files) > 0 {
		addrs = nil // the service manager has bound what is to be bound
	}
	a.server, err = server.Listen(server.Options{
		Addrs: addrs, Files: files, Handler: a.engine, Logger: a.log, Drain: c.Shutdown.Drain,
		Workers: c.UDP.Workers, Portable: c.UDP.Portable,
		Limits: server.Limits{
			Conns: c.TCP.MaxConnections, PerAddr: c.TCP.PerClient, PerPrefix: c.TCP.PerNetwork,
			Pending: c.TCP.InFlight, Idle: c.TCP.Idle, Question: c.TCP.Question, Stall: c.TCP.WriteStall,
		},
	})
	if err != nil {
		return err
	}
	if c.Metrics.Listen.IsValid() {
		if a.metrics, err = net.Listen("tcp", c.Metrics.Listen.String()); err != nil {
			return fmt.Errorf("metrics: %w; another program has the address, or write metrics: {listen: off}", err)
		}
	}
	if c.Control.Socket != "" {
		if a.control, err = console.Listen(c.Control.Socket); err != nil {
			// Serving matters more; a user without the right to the default place is normal.
			a.log.Warn("no control socket: port53 reload and status cannot reach this server, SIGHUP reloads it", "problem", err.Error())
		}
	}
	if err := a.become(c); err != nil {
		return err
	}
	a.startKeeper(c)
	if _, err := a.keeper.Load(ctx, sources(c)); err != nil {
		return err
	}
	if err := checkZones(a.keeper.Status()); err != nil {
		return err
	}
	if err := a.guard(ctx, c); err != nil {
		return err
	}
	a.lastOK, a.reloaded = true, time.Now()
	a.collect()
	return nil
}

// close gives back what build took.
func (a *App) close() {
	if a.server != nil {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.server.Shutdown(done)
	}
	for _, l := range []net.Listener{a.metrics, a.control} {
		if l != nil {
			l.Close()
		}
	}
	if r := a.recursion; r != nil {
		r.resolver.Close()
		r.client.Close()
	}
	a.queries.close()
}

// Addrs returns the addresses that are served.
func (a *App) Addrs() []netip.AddrPort { return a.server.Addrs() }

// Metrics returns the address of the metrics, or nil.
func (a *App) Metrics() net.Addr {
	if a.metrics == nil {
		return nil
	}
	return a.metrics.Addr()
}

// Run serves until ctx ends, then drains. Each value on reload reloads.
func (a *App) Run(ctx context.Context, reload <-chan os.Signal) error {
	defer a.queries.close()
	side, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if a.metrics != nil {
		wg.Go(func() {
			if err := a.telemetry.ServeHTTP(side, a.metrics); err != nil {
				a.log.Error("metrics ended", "problem", err.Error())
			}
		})
	}
	if a.control != nil {
		wg.Go(func() {
			if err := console.Serve(side, a.control, a); err != nil {
				a.log.Error("control socket ended", "problem", err.Error())
			}
		})
	}
	wg.Go(func() { a.tend(side, reload) })
	wg.Go(func() { a.keeper.Run(side) })
	if r := a.recursion; r != nil && r.rollover != nil {
		r.resolver.Follow(r.rollover, func(err error) { a.log.Error("trust anchors", "problem", err.Error()) })
	}
	a.server.Start()
	if err := notify("READY=1"); err != nil {
		a.log.Warn("service manager not told", "problem", err.Error())
	}
	if a.ready != nil {
		a.ready(a)
	}
	err := a.server.Serve(ctx)
	_ = notify("STOPPING=1")
	if r := a.recursion; r != nil {
		r.resolver.Close()
		r.client.Close()
		if file := a.config.Resolver.Cache.Dump; file != "" {
			if err := a.dumpCache(file); err != nil {
				a.log.Error("the cache was not kept", "problem", err.Error())
			}
		}
	}
	a.log.Info("stopped", "uptime", time.Since(a.started).Round(time.Second).String())
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // what was still in flight had its time
	}
	return err
}

// tend does what is to be done now and then.
func (a *App) tend(ctx context.Context, reload <-chan os.Signal) {
	roll := time.NewTicker(cookieLife)
	defer roll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
			_, _ = a.Reload(ctx) // it logs
		case <-roll.C:
			a.mu.Lock()
			if a.cookies != nil && a.config.EDNS.CookieSecretsFile == "" {
				a.cookies.Rotate(uint32(time.Now().Unix()))
			}
			a.mu.Unlock()
		}
	}
}

// A Reloaded says what a reload did.
type Reloaded struct {
	keeper.Report
	Restart []string `json:"needs_restart,omitempty"` // keys that changed and only count at a start
}

// Reload implements [console.Admin]: it reads the configuration and the zones
// that changed. When the configuration is broken nothing changes; when zones are,
// their last good versions go on. Either is an error.
func (a *App) Reload(ctx context.Context) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = notify("RELOADING=1\nMONOTONIC_USEC=" + monotonicMicroseconds())
	defer func() { _ = notify("READY=1") }()
	result, err := a.reload(ctx)
	a.reloads++
	a.lastOK = err == nil
	if err != nil {
		a.failures++
		a.log.Error("reload failed in part or whole", "problem", err.Error())
	}
	return result, err
}

func (a *App) reload(ctx context.Context) (*Reloaded, error) {
	if a.config.File() == "" {
		return nil, errors.New("the server runs without a configuration file: there is nothing to reload")
	}
	c, _, err := config.LoadToServe(a.config.File()) // zone files that are missing are the keeper's to report
	if err == nil && c.Recurses() != (a.recursion != nil) {
		err = fmt.Errorf("role %s: a server begins or ends to resolve with a restart only", c.Role)
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration has errors, and the one before goes on:\n%w", err)
	}
	settings, err := a.settings(c)
	if err != nil {
		return nil, err
	}
	var changes resolver.Settings
	if a.recursion != nil && c.Recurses() {
		if changes, err = a.resolverSettings(c); err != nil {
			return nil, err
		}
	}
	report, err := a.keeper.Load(ctx, sources(c))
	if err != nil {
		return nil, err
	}
	result := &Reloaded{Report: report, Restart: needRestart(a.config, c)}
	if len(result.Restart) > 0 {
		a.log.Warn("some changes count from the next start on", "keys", result.Restart)
	}
	if a.recursion != nil && c.Recurses() {
		a.applyRecursion(a.config, c, changes)
	}
	a.keeper.SetBounds(bounds(c))
	a.engine.Apply(settings)
	a.config, a.reloaded = c, time.Now()
	unguarded := a.guard(ctx, c)
	if len(report.Failed) > 0 {
		var names []string
		for _, z := range report.Failed[:min(len(report.Failed), 5)] {
			names = append(names, z.Name)
			for _, p := range z.Problems {
				if !p.Warning {
					names[len(names)-1] += " (" + p.String() + ")"
					break
				}
			}
		}
		return result, errors.Join(fmt.Errorf("%d zones have errors and were not replaced: %v", len(report.Failed), names), unguarded)
	}
	return result, unguarded
}

// needRestart returns the keys whose change a reload cannot carry out.
func needRestart(old, c *config.Config) []string {
	var keys []string
	for _, k := range []struct {
		name    string
		changed bool
	}{
		{"listen", !slices.Equal(old.Listen, c.Listen)},
		{"user", old.User != c.User},
		{"tcp", old.TCP != c.TCP},
		{"udp", old.UDP != c.UDP},
		{"metrics", old.Metrics != c.Metrics},
		{"control", old.Control != c.Control},
		{"log", old.Log != c.Log},
		{"state_dir", old.StateDir != c.StateDir},
		{"shutdown", old.Shutdown != c.Shutdown},
		{"resolver.cache", old.Resolver.Cache != c.Resolver.Cache},
		{"resolver.outgoing", !slices.Equal(old.Resolver.Outgoing, c.Resolver.Outgoing)},
	} {
		if k.changed {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// A Status is what the server tells of itself over the control socket.
type Status struct {
	Uptime   string           `json:"uptime"`
	Listen   []netip.AddrPort `json:"listen"`
	Config   string           `json:"config"`
	Reloaded time.Time        `json:"reloaded"`
	Healthy  bool             `json:"last_reload_succeeded"`
	Zones    []keeper.Status  `json:"zones"`
}

// Status implements [console.Admin].
func (a *App) Status(name string) (any, error) {
	a.mu.Lock()
	s := Status{
		Uptime: time.Since(a.started).Round(time.Second).String(), Listen: a.server.Addrs(),
		Config: a.config.File(), Reloaded: a.reloaded, Healthy: a.lastOK,
	}
	a.mu.Unlock()
	s.Zones = a.keeper.Status()
	if name == "" {
		return s, nil
	}
	s.Zones = slices.DeleteFunc(s.Zones, func(z keeper.Status) bool { return z.Name != name })
	if len(s.Zones) == 0 {
		return nil, fmt.Errorf("zone %s is not served here", name)
	}
	return s, nil
}

// ErrNoZone is wrapped when zones were configured and none can be served.
var ErrNoZone = errors.New("no zone can be served")

// checkZones fails if there are zones and all of them are broken: then there is
// nothing to serve, and whoever starts the server should hear of it.
func checkZones(zones []keeper.Status) error {
	var problems []string
	for _, z := range zones {
		if !z.Failed {
			return nil
		}
		for _, p := range z.Problems {
			if !p.Warning && len(problems) < maxTold {
				problems = append(problems, p.String())
			}
		}
	}
	if len(zones) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%s", ErrNoZone, strings.Join(problems, "\n"))
}

// maxTold is how many problems of zones an error lists.
const maxTold = 20

// Check loads the zones of c as a server would, and returns what it found of each. The
// error says what is wrong with the other files that c names.
func Check(ctx context.Context, c *config.Config) ([]keeper.Status, error) {
	if c.Recurses() {
		a := &App{set: zone.NewSet(0)}
		if _, err := a.resolverSettings(c); err != nil {
			return nil, err
		}
	}
	k := keeper.New(zone.NewSet(0), nil, keeper.Options{})
	if _, err := k.Load(ctx, sources(c)); err != nil {
		return nil, err
	}
	return k.Status(), nil
}
