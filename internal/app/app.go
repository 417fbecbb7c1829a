// Package app turns a configuration into a running server: it binds, drops what
// privileges it has, loads the zones, serves, reloads, drains and stops.
//
// A configuration becomes a generation, built beside the one that serves and put in its
// place as a whole; when anything about it is wrong, the previous one stays in effect.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/api"
	"port53/internal/certs"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/engine"
	"port53/internal/netif"
	"port53/internal/resolver"
	"port53/internal/securepath"
	"port53/internal/server"
	"port53/internal/signer"
	"port53/internal/store"
	"port53/internal/telemetry"
	"port53/internal/upstream"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// Options make an App. Config is required.
type Options struct {
	Config *config.Config
	Log    *slog.Logger // nil: discard

	// LogLost returns how many lines of Log were lost. It may be nil.
	LogLost func() uint64

	// Ready is called once, when every listener is bound and every zone is loaded or
	// has been reported as broken. It may be nil.
	Ready func(*App)

	// WithoutState has the server run, and keep nothing, where another one has the state directory.
	// Without, it does not start.
	WithoutState bool

	// Network is how a resolver asks servers; nil: by the system's sockets.
	Network upstream.Network

	// Prove has the server be ready only while its contract is proved, by who tells it at the control socket.
	Prove bool

	// Confine gives up for good, and for the whole process, what the server has no need of.
	Confine bool
}

// An App is one server.
type App struct {
	log       *slog.Logger
	logLost   func() uint64 // nil: unknown
	telemetry *telemetry.Telemetry
	seed      wire.Seed
	manager   *zones.Manager
	engine    *engine.Engine
	recursion *recursion // nil: this server does not resolve
	kept
	ready func(*App)

	listening

	outlets
	started time.Time
	ctx     context.Context // of what the server does of its own accord; it ends with Run
	cancel  context.CancelFunc

	succession
}

// listening is what clients reach.
type listening struct {
	server     *server.Server
	encryption *encryption // nil: nothing is served over TLS
}

// kept is what lasts beside the zones.
type kept struct {
	state   *state
	keys    *keyWatch // of the zones that are signed here
	signing signingRoom
}

// outlets are where the server tells of itself.
type outlets struct {
	metrics net.Listener   // nil: nowhere
	control net.Listener   // nil: nowhere
	api     net.Listener   // nil: nowhere
	sealing *certs.Manager // of the API; nil: it is served in the clear
	own     *api.Server
	console webConsole
	queries *queryLog // nil: nowhere
	audit   *telemetry.Audit
	watch   watch
	acts    *telemetry.AuditFile // nil: the log alone has them

	presence presence // of the addresses that are served
	proof    proved   // of the contract
	risks    toldRisks
}

// A succession is the generation that serves, and how another takes its place.
type succession struct {
	current   atomic.Pointer[generation]
	swapping  sync.Mutex // held for the few instructions that replace it
	reloading sync.Mutex // one reload at a time, over all that it reads
	reloads   reloads
	filters   filters
	added     added      // zones, by commands; reloading guards it
	guarding  sync.Mutex // while rules of the firewall are loaded
	watching  sync.Once  // rules of others

	startedWith *config.Config // keys that only count at a start have the values of this
	sandbox     Sandbox
	confined    bool // to the places that were its own at the start
}

// New binds all listeners, becomes the configured user and loads the zones. Bad
// zones are reported and do not make it fail; a bad listener does.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{
		log:       o.Log,
		logLost:   o.LogLost,
		ready:     o.Ready,
		started:   time.Now(),
		seed:      randomSeed(),
		telemetry: telemetry.New(),
		kept:      kept{keys: newKeyWatch()},
	}
	a.startedWith, a.proof.needed = o.Config, o.Prove
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.audit = telemetry.NewAudit(a.log)
	a.newWatch()
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := a.start(ctx, o); err != nil {
		a.close()
		return nil, err
	}
	a.followTop()
	a.followWhy()
	a.startDnstap()
	a.followTunnels()
	return a, nil
}

// start makes what there is one of for as long as the server runs, and the first generation.
// In one piece: each step needs what those before it have made.
func (a *App) start(ctx context.Context, o Options) error {
	c := o.Config
	a.state, a.added.path = newState(c.StateDir, a.log), c.StateDir
	a.signing = signingRoom{signer.NewOnline(int(c.Online.Cache), int(c.Online.Rate)), KeyStores(c), newSignals()}
	a.manager = zones.New(zones.Options{
		Seed: a.seed, Log: a.log, Audit: a.audit, Bounds: bounds(c), Store: a.state, Signatures: a.state.signatures(),
		Publish: func(views zone.Views) { a.update(func(g *generation) { g.zones = views }) },
	})
	a.own = api.New(api.Options{Zones: a.manager, Host: apiHost{a}, PowerDNS: c.API.PowerDNS, Log: a.log})
	who, err := accountOf(c)
	if err != nil {
		return err
	}
	if err := stateIsDirectory(c.StateDir); err != nil {
		return err
	}
	first, err := a.build(nil, c)
	if err != nil {
		return err
	}
	a.tellLeft(nil, first)
	a.tellUnvalidated(nil, first)
	a.queries = newQueryLog(c.Log, a.log)
	a.newAuditFile(c)
	a.engine = engine.New(
		engine.Options{
			Telemetry: a.telemetry, Log: a.log, Audit: a.audit, Queries: a.queries.sink(),
			Events: a.watch.hub, Blocker: blocking{&a.watch},
		},
		first.engine,
	)
	if err := a.listen(c); err != nil {
		return err
	}
	if keepsState(c) || keepsHistory(c) || who != nil {
		a.makeState(c, who)
	}
	if err := a.leaveRoot(c, who); err != nil {
		return err
	}
	if c, err = a.addZones(first); err != nil {
		return err
	}
	if err := who.mayRead(c); err != nil {
		return err
	}
	a.openTokens()
	if o.Confine {
		if err := a.confine(c); err != nil {
			return err
		}
	}
	if keepsState(c) {
		if err := a.state.take(); errors.Is(err, store.ErrLocked) && o.WithoutState {
			a.log.Warn("nothing is stored across restarts", "error", err.Error())
		} else if err != nil {
			return err
		}
	} else if keepsHistory(c) {
		a.state.takeIfFree()
	}
	// Files are opened now that lie where the user who serves may have put a link.
	if err := errors.Join(a.queries.open(), a.openAudit(), a.followAudit(), a.openConsole(c)); err != nil {
		return err
	}
	if c.Recurses() {
		if err := a.startRecursion(first, o.Network); err != nil {
			return err
		}
	}
	first.applied = time.Now()
	a.server.SetPeers(peerAddrs(c))
	if err := a.load(ctx, first); err != nil {
		return err
	}
	if err := checkZones(a.manager.Status()); err != nil {
		return err
	}
	if err := a.apply(ctx, first.guard); err != nil {
		return err
	}
	a.collect()
	a.followInterfaces()
	if err := netif.Watch(a.ctx, a.followInterfaces); err != nil {
		a.log.Warn("changes of this host's addresses are not tracked", "error", err.Error())
	}
	return nil
}

// listen binds all sockets of the server, or takes those that the service manager bound.
func (a *App) listen(c *config.Config) error {
	files, kept, err := passedSockets()
	if err != nil {
		return err
	}
	addrs := c.Listen
	if len(files) > 0 {
		addrs = nil // the service manager has bound what is to be bound
	}
	if len(kept) > 0 {
		if err := releaseSockets(); err != nil {
			a.log.Warn("the service manager may hold sockets for addresses that are not served", "error", err.Error())
		}
	}
	shares := a.budget(c)
	secure, err := a.encrypt(c, shares.secure)
	if err != nil {
		return err
	}
	a.server, err = server.Listen(server.Options{
		Addrs: addrs, Files: files, Kept: kept, Handover: managed(), Handler: a.engine, Logger: a.log, Drain: c.Shutdown.Drain,
		Workers: c.UDP.Workers, Portable: c.UDP.Portable, Freebind: server.CanFreebind(),
		Limits: server.Limits{
			Conns: shares.conns, PerAddr: c.TCP.PerClient, PerPeer: c.TCP.PerPeer, PerPrefix: c.TCP.PerNetwork,
			Pending: c.TCP.InFlight, Idle: c.TCP.Idle, Question: c.TCP.Question, Stall: c.TCP.WriteStall,
		},
		Encrypted: secure,
		Proxied:   proxied(c),
	})
	if err != nil {
		return err
	}
	if c.Metrics.Listen.IsValid() {
		if a.metrics, err = server.ListenTCP(c.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics: %w; to disable them, set metrics: {listen: off}", err)
		}
		a.metrics = a.guarded(a.metrics, "scrape")
	}
	return errors.Join(a.listenAPI(c), a.listenConsole(c), a.listenACME(c))
}

// leaveRoot becomes who, and makes the control socket: as root where root alone may, or else
// as who.
func (a *App) leaveRoot(c *config.Config, who *account) error {
	var noControl error
	if c.Control.Socket != "" {
		a.control, noControl = console.Listen(c.Control.Socket, who.owner())
	}
	if err := a.become(who); err != nil {
		return err
	}
	if who != nil && errors.Is(noControl, securepath.ErrShared) {
		a.control, noControl = console.Listen(c.Control.Socket, console.KeepOwner)
	}
	if noControl != nil {
		// Serving matters more; a user without the right to the default place is normal.
		a.log.Warn("no control socket: port53 reload and status cannot reach this server; SIGHUP reloads it", "error", noControl.Error())
	}
	a.checkState(c, who)
	return nil
}

// load loads the zones of the first generation and puts it in its place. It ends with ctx
// even if a file system does not answer.
func (a *App) load(ctx context.Context, first *generation) error {
	done := make(chan error, 1)
	go func() {
		_, err := a.manager.Load(ctx, first.sources, func(views zone.Views) { a.publish(first, views) })
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close gives back what build took.
func (a *App) close() {
	if a.server != nil {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.server.Shutdown(done)
	}
	for _, l := range []net.Listener{a.metrics, a.control, a.api, a.console.listener} {
		if l != nil {
			l.Close()
		}
	}
	if e := a.encryption; e != nil && e.issuance != nil {
		e.issuance.close()
	}
	if r := a.recursion; r != nil {
		r.resolver.Close()
		r.client.Close()
		r.stop()
	}
	a.queries.close()
	a.watch.close()
	a.acts.SetOutput(nil)
	a.added.close()
	if a.filters.store != nil {
		a.filters.store.Close()
	}
	if a.state != nil {
		a.state.close()
	}
}

// Addrs returns the addresses that are served.
func (a *App) Addrs() []netip.AddrPort { return a.server.Addrs() }

// Encrypted returns where something is served over TLS, and what.
func (a *App) Encrypted() []server.Listener { return a.server.Encrypted() }

// Metrics returns the address of the metrics, or nil.
func (a *App) Metrics() net.Addr {
	if a.metrics == nil {
		return nil
	}
	return a.metrics.Addr()
}

// Run serves until ctx ends, then drains. Each value on reload reloads.
func (a *App) Run(ctx context.Context, reload <-chan os.Signal) error {
	var side sync.WaitGroup
	if a.metrics != nil {
		side.Go(func() {
			if err := a.telemetry.ServeHTTP(a.ctx, a.metrics, a.log); err != nil {
				a.log.Error("metrics ended", "error", err.Error())
			}
		})
	}
	if a.control != nil {
		side.Go(func() {
			if err := console.Serve(a.ctx, a.control, a, a.commanded, a.log); err != nil {
				a.log.Error("control socket ended", "error", err.Error())
			}
		})
	}
	if a.api != nil {
		side.Go(func() { a.serveAPI(a.ctx) })
	}
	if a.api != nil || a.console.listener != nil {
		side.Go(func() { a.own.Sample(a.ctx) })
	}
	side.Go(func() { a.serveConsole(a.ctx) })
	side.Go(func() { a.obey(reload) })
	side.Go(a.rollCookies)
	side.Go(a.followHosts)
	side.Go(a.followCertificates)
	side.Go(a.followACME)
	side.Go(a.followLists)
	side.Go(a.watchLearned)
	side.Go(a.watchKeys)
	side.Go(func() { a.manager.Run(a.ctx) })
	if r := a.recursion; r != nil && r.rollover != nil {
		trust := func(anchors []resolver.Anchor) { a.update(func(g *generation) { g.trust(anchors) }) }
		r.resolver.Follow(r.rollover, trust, func(err error) { a.log.Error("trust anchors", "error", err.Error()) })
	}
	a.server.Start()
	if managed() {
		if err := a.keepSockets(); err != nil {
			a.log.Warn("the service manager does not keep the sockets: queries are lost during a restart", "error", err.Error())
		}
	}
	if err := notify("READY=1"); err != nil {
		a.log.Warn("cannot notify the service manager", "error", err.Error())
	}
	if a.telemetry != nil {
		a.telemetry.Ready(a.readyError)
	}
	if a.ready != nil {
		a.ready(a)
	}
	err := a.server.Serve(ctx)
	_ = notify("STOPPING=1")
	a.cancel()
	a.stop(&side)
	a.log.Info("stopped", "uptime", time.Since(a.started).Round(time.Second).String())
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // what was still in flight had its time
	}
	return err
}

// stopTime is how long the end of the server waits for work whose end it does not decide
// itself, such as a disk or a file system of another machine.
const stopTime = 5 * time.Second

// stop ends what the server does beside answering, and waits for it, but not for ever.
func (a *App) stop(side *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r := a.recursion; r != nil {
			r.resolver.Close()
			r.client.Close()
			r.stop()
			if r.dump != "" {
				if err := a.dumpCache(r.dump); err != nil {
					a.log.Error("the cache was not saved", "error", err.Error())
				}
			}
		}
		side.Wait()
		a.queries.close()
		a.watch.close()
		a.reloading.Lock()
		a.keepLearned()
		a.reloading.Unlock()
		a.state.close() // nobody writes there any more
	}()
	limit := time.NewTimer(stopTime)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		a.log.Error("shutdown timed out: a file system or a log reader does not respond")
	}
}

// obey reloads whenever reload says so.
func (a *App) obey(reload <-chan os.Signal) {
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-reload:
			_, _ = a.Reload(a.ctx) // it logs
		}
	}
}

// rollTime is how often it is asked whether a cookie secret has had its day.
const rollTime = 5 * time.Minute

// rollCookies takes a new cookie secret each day (RFC 9018, section 5 leaves it open).
func (a *App) rollCookies() {
	tick := time.NewTicker(rollTime)
	defer tick.Stop()
	for {
		if c := a.current.Load().engine.Limits.Cookies; c != nil {
			c.Rotate(uint32(time.Now().Unix())) // one that a file has given stays
		}
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ErrNoZone is wrapped when zones were configured and none can be served.
var ErrNoZone = errors.New("no zone can be served")

// checkZones fails if there are zones and all of them are broken: then there is
// nothing to serve, and whoever starts the server should hear of it.
func checkZones(list []zones.Status) error {
	var problems []string
	for _, z := range list {
		if !z.Failed {
			return nil
		}
		for _, p := range z.Problems {
			if !p.Warning && len(problems) < maxTold {
				problems = append(problems, p.String())
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%s", ErrNoZone, strings.Join(problems, "\n"))
}

// maxTold is how many problems of zones an error lists.
const maxTold = 20
