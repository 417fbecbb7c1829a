package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/config"
	"port53/internal/netif"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// reloads counts what became of reloads. Its lock is held for a few instructions.
type reloads struct {
	mu       sync.Mutex
	good     uint64
	failures uint64
	failed   bool // the last one did
}

func (r *reloads) count(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed = err != nil; r.failed {
		r.failures++
	} else {
		r.good++
	}
}

func (r *reloads) counts() (good, failures uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.good, r.failures
}

func (r *reloads) healthy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.failed
}

// A Reloaded says what a reload did.
type Reloaded struct {
	zones.Report
	Restart []string `json:"needs_restart,omitempty"` // keys that differ from what runs and only count at a start
}

// Reload implements [console.Admin]: it reads the configuration and what of the zones has
// changed. When the configuration is broken nothing changes; when zones are, their last
// good versions go on. Either is an error.
//
// A reload is the server's: it goes on if whoever asked for it does not wait.
func (a *App) Reload(context.Context) (any, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	_ = notify("RELOADING=1\nMONOTONIC_USEC=" + monotonicMicroseconds())
	defer func() { _ = notify("READY=1") }()
	a.queries.reopen(a.log)
	if err := a.openAudit(); err != nil {
		a.log.Error("cannot reopen the audit log: the open file stays in use", "error", err.Error())
	}
	result, err := a.reload(a.ctx)
	if err != nil && a.confined && strings.Contains(err.Error(), fs.ErrPermission.Error()) {
		err = fmt.Errorf(
			"%w; the sandbox limits the server to the directories named in the configuration at start: restart it to use files elsewhere",
			err,
		)
	}
	a.reloads.count(err)
	if err != nil {
		a.log.Error("reload failed", "error", err.Error())
	}
	return result, err
}

func (a *App) reload(ctx context.Context) (*Reloaded, error) {
	old := a.current.Load()
	if old.config.File() == "" {
		return nil, errors.New("the server was started without a configuration file: nothing to reload")
	}
	c, _, err := config.LoadToServe(old.config.File()) // zone files that are missing are the manager's to report
	if err != nil {
		return nil, fmt.Errorf("the configuration has errors, the previous one stays in effect:\n%w", err)
	}
	if c, err = a.added.with(c); err != nil {
		return nil, fmt.Errorf("the configuration has errors, the previous one stays in effect:\n%w", err)
	}
	return a.adopt(ctx, old, c)
}

// adopt makes a configuration the one that is served by. a.reloading is held.
func (a *App) adopt(ctx context.Context, old *generation, c *config.Config) (*Reloaded, error) {
	next, err := a.build(old, c)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be used, the previous one stays in effect: %w", err)
	}
	if keepsState(c) {
		if a.state.refusal() != nil {
			a.makeState(a.startedWith, nil)
		}
		if err := a.state.take(); err != nil {
			return nil, fmt.Errorf("the configuration cannot be used, the previous one stays in effect: %w", err)
		}
	} else if keepsHistory(c) && a.state.refusal() != nil {
		a.makeState(a.startedWith, nil)
		a.state.takeIfFree()
	}
	next.applied = time.Now()
	report, err := a.manager.Load(ctx, next.sources, func(views zone.Views) { a.publish(next, views) })
	if err != nil {
		return nil, err
	}
	a.tellLeft(old, next)
	a.tellUnvalidated(old, next)
	if all, err := netif.List(); err == nil {
		a.tellRisks(next.config, all)
	}
	a.tellLists(old.lists, next.lists)
	a.forgetFetches(old.lists, next.lists)
	a.manager.SetBounds(next.bounds)
	a.server.SetPeers(peerAddrs(c))
	a.showOthers(c)
	if a.recursion != nil {
		a.flushChanges(old, next)
	}
	result := &Reloaded{Report: report, Restart: needRestart(a.startedWith, c)}
	if len(result.Restart) > 0 {
		a.log.Warn("some changes need a restart", "keys", result.Restart)
	}
	a.followTop()
	a.followWhy()
	a.followTunnels()
	unguarded := a.apply(ctx, next.guard)
	a.followNetworks() // they may have changed while it was built
	if len(report.Failed) > 0 {
		return result, errors.Join(failedZones(report.Failed), unguarded)
	}
	return result, unguarded
}

// failedZones names the first of the zones that have errors, each with its first error.
func failedZones(failed []zones.Status) error {
	var names []string
	for _, z := range failed[:min(len(failed), 5)] {
		names = append(names, z.Name)
		for _, p := range z.Problems {
			if !p.Warning {
				names[len(names)-1] += " (" + p.String() + ")"
				break
			}
		}
	}
	return fmt.Errorf("%d zones have errors and were not replaced: %v", len(failed), names)
}

// needRestart returns the keys whose change a reload cannot carry out. running is the
// configuration that the server was started with.
func needRestart(running, c *config.Config) []string {
	var keys []string
	for _, k := range []struct {
		name    string
		changed bool
	}{
		{"listen", !slices.Equal(running.Listen, c.Listen)},
		{"proxies", !reflect.DeepEqual(running.Proxies, c.Proxies)},
		{"user", running.User != c.User},
		{"sandbox", running.Sandbox != c.Sandbox},
		{"tcp", running.TCP != c.TCP},
		{"udp", running.UDP != c.UDP},
		{"encrypted", encryptedDiffers(running, c)},
		{"metrics", running.Metrics != c.Metrics},
		{"control", running.Control != c.Control},
		{"api", running.API != c.API},
		{"console", !reflect.DeepEqual(running.Console, c.Console)},
		{"dnstap", !reflect.DeepEqual(running.Dnstap, c.Dnstap)},
		{"log", running.Log != c.Log},
		{"audit", running.Audit != c.Audit},
		{"state_dir", running.StateDir != c.StateDir},
		{"key_stores", !reflect.DeepEqual(running.KeyStores, c.KeyStores)},
		{"shutdown", running.Shutdown != c.Shutdown},
		{"resolver.cache", running.Resolver.Cache != c.Resolver.Cache},
		{"resolver.outgoing", !slices.Equal(running.Resolver.Outgoing, c.Resolver.Outgoing)},
	} {
		if k.changed {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// flushChanges forgets what was learned by routes, anchors and zones that are others now.
func (a *App) flushChanges(old, next *generation) {
	flush := func(zone []byte) { a.recursion.resolver.Flush(zone, true) }
	for i := range next.views {
		o := &next.views[i]
		was := slices.IndexFunc(old.views, func(v outlook) bool { return v.config.View() == o.config.View() })
		if was >= 0 && o.recursion != nil && old.views[was].recursion != nil {
			flushRoutes(flush, &old.views[was].config.Resolver, &o.config.Resolver)
			if unlike(&old.views[was].config.Resolver, &o.config.Resolver) || !sameAnchors(old.views[was].anchors, o.anchors) ||
				!reflect.DeepEqual(old.views[was].settings.Hints, o.settings.Hints) {
				flush(wire.Root)
			}
		}
	}
	x, y := &old.config.Resolver, &next.config.Resolver
	flushRoutes(flush, x, y)
	if unlike(x, y) || !sameAnchors(old.anchors, next.anchors) || !reflect.DeepEqual(old.resolver.Hints, next.resolver.Hints) ||
		zonesDiffer(old.config, next.config) {
		flush(wire.Root)
	}
}

// unlike reports whether what one configuration of the resolver learned is not what another would.
func unlike(x, y *config.Resolver) bool {
	return x.Validation != y.Validation || !x.ValidationTime.Equal(y.ValidationTime) || x.FiltersPrivate() != y.FiltersPrivate() ||
		len(changed(x.PrivateZones, y.PrivateZones)) > 0 || !reflect.DeepEqual(x.DNS64, y.DNS64)
}

// flushRoutes forgets the zones of which one configuration of the resolver learned by another route, or
// otherwise, than the other would.
func flushRoutes(flush func(zone []byte), x, y *config.Resolver) {
	for _, f := range changed(x.Forward, y.Forward) {
		flush(f.Zone)
	}
	for _, f := range changed(x.Stub, y.Stub) {
		flush(f.Zone)
	}
	for _, e := range changed(x.Exceptions, y.Exceptions) {
		if e.Zone == nil {
			flush(wire.Root) // nobody knows what was learned from a server
			break
		}
		flush(e.Zone)
	}
	for _, n := range changed(x.NegativeTrustAnchors, y.NegativeTrustAnchors) {
		flush(n.Name)
	}
}

// zonesDiffer reports whether other zones are ours now: what was learned of them
// elsewhere does not count any more.
func zonesDiffer(old, c *config.Config) bool {
	name := func(z config.Zone) string {
		return fmt.Sprintf("%s%v%v", wire.Lower(nil, z.Name), z.AllowQuery, z.Views)
	}
	had := map[string]bool{}
	for _, z := range old.Zones {
		had[name(z)] = true
	}
	for _, z := range c.Zones {
		if !had[name(z)] {
			return true
		}
	}
	return len(old.Zones) != len(c.Zones)
}

// changed returns what is in one list and not in the other.
func changed[T any](old, now []T) []T {
	var differ []T
	missing := func(from, in []T) {
		for _, x := range from {
			if !slices.ContainsFunc(in, func(y T) bool { return reflect.DeepEqual(x, y) }) {
				differ = append(differ, x)
			}
		}
	}
	missing(old, now)
	missing(now, old)
	return differ
}
