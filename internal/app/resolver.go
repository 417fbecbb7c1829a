package app

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"time"

	"port53/internal/cache"
	"port53/internal/config"
	"port53/internal/engine"
	"port53/internal/resolver"
	"port53/internal/store"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// anchorsFile is the file, in the state directory, of the trust anchors that were seen.
const anchorsFile = "trust-anchors.json"

// stateMode is for the state directory: it tells what people have asked for.
const stateMode = 0o750

// recursion is what a server that recurses has beside its zones.
type recursion struct {
	cache    *cache.Cache
	client   *upstream.Client
	resolver *resolver.Resolver
	rollover *resolver.Rollover // nil: anchors are not followed
	dump     string             // file that the cache is kept in; empty: it is not kept
	stop     func()             // ends the pace of collections
}

// startRecursion makes the resolver of the first generation, and fills its cache from the
// dump of the last run. network is how questions leave; nil is the system's.
func (a *App) startRecursion(g *generation, network upstream.Network) error {
	c, rc := g.config, &g.config.Resolver
	if network == nil {
		network = upstream.System(rc.Outgoing...)
		if limit, ok := descriptorLimit(); ok && share(c, limit).upstream > 0 {
			network = upstream.Bounded(network, share(c, limit).upstream)
		}
	}
	r := &recursion{
		cache: cache.New(cache.Options{
			Size: int64(rc.Cache.Size), MaxTTL: seconds(rc.Cache.MaxTTL), MinTTL: seconds(rc.Cache.MinTTL),
			MaxNegativeTTL: seconds(rc.Cache.MaxNegativeTTL), Stale: seconds(rc.Cache.StaleKeep), StaleTTL: seconds(rc.Cache.StaleTTL),
		}),
		client: upstream.New(upstream.Options{Network: network, Cookies: true, Events: a.watch.hub.NewShared()}),
	}
	if followsAnchors(c) && !errors.Is(a.state.refusal(), store.ErrLocked) {
		var err error
		if r.rollover, err = resolver.OpenRollover(filepath.Join(c.StateDir, anchorsFile), g.resolver.Anchors); err != nil {
			return err
		}
		g.resolver.Anchors = r.rollover.Anchors()
	}
	r.resolver = resolver.New(
		resolver.Options{Cache: r.cache, Exchanger: r.client, Log: a.log, Why: a.watch.why},
		resolver.Compile(g.resolver),
	)
	g.engine.Recursion.Cache, g.engine.Recursion.Resolver = r.cache, r.resolver
	g.compile()
	r.stop = paceCollections()
	a.recursion = r
	a.openLists(c, keepsState(c))
	if err := a.buildLists(g, nil); err != nil {
		return err
	}
	a.tellLists(nil, g.lists)
	if file := rc.Cache.Dump; file != "" && a.loadCache(file) {
		r.dump = file
	}
	return nil
}

// trust makes anchors what g trusts.
func (g *generation) trust(anchors []resolver.Anchor) {
	if reflect.DeepEqual(anchors, g.resolver.Anchors) {
		return
	}
	g.resolver.Anchors = anchors
	g.compile()
}

// sameAnchors reports whether two generations or views were configured with the same trust anchors:
// those that roll go on then.
func sameAnchors(a, b []resolver.Anchor) bool { return reflect.DeepEqual(a, b) }

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// loadCache reads the dump that the last run left, and reports whether the next may be put
// in its place. Without one the server starts with an empty cache, which is no reason not
// to start.
func (a *App) loadCache(file string) (replace bool) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	n := 0
	if err == nil {
		defer f.Close()
		in := bufio.NewReader(f)
		head, _ := in.Peek(dumpHead) // if it is shorter, that is what there is
		if info, statErr := f.Stat(); statErr != nil || !info.Mode().IsRegular() || !cache.IsDump(head) {
			a.log.Error("the cache is not saved: the dump's path holds another kind of file, which is left alone", "file", file)
			return false
		}
		n, err = a.recursion.cache.Load(in, time.Now().Unix())
	}
	if err != nil {
		a.log.Warn("the cache dump was read only in part", "file", file, "entries", n, "error", err.Error())
		return true
	}
	a.log.Info("cache loaded", "file", file, "entries", n)
	return true
}

// dumpHead is the bytes by which a dump is recognized.
const dumpHead = 16

// dumpCache writes the cache to a file.
func (a *App) dumpCache(file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("cache dump: %w", err)
	}
	err = errors.Join(a.recursion.cache.Dump(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("cache dump: %w", err)
	}
	return nil
}

// resolverSettings returns what the resolver needs of c, but for the zones that are local.
func resolverSettings(c *config.Config) (s resolver.Settings, err error) {
	rc := &c.Resolver
	s = resolver.Settings{
		Port: uint16(rc.Port), Validate: rc.Validation, MixCase: rc.CaseRandomization,
		IPv4: rc.IPv4, IPv6: rc.IPv6, DoNotQuery: rc.DoNotQuery, Private: lowered(rc.PrivateZones),
		Rebinding: rc.FiltersPrivate(), Aggressive: rc.AggressiveNSEC, Sentinel: rc.Sentinel, Reporting: rc.ErrorReporting,
		StaleWait: rc.Cache.StaleClientTimeout,
		Limits: resolver.Limits{
			Packets: rc.Limits.Packets, Octets: int(rc.Limits.Octets), Aliases: rc.Limits.Aliases, Depth: rc.Limits.Depth,
			Glueless: rc.Limits.Glueless, NameServers: rc.Limits.NameServers, Time: rc.Limits.Time, Reply: rc.Limits.ReplyTime,
			Signatures: rc.Limits.Signatures, Hashes: rc.Limits.NSEC3Hashes, Iterations: rc.Limits.NSEC3Iterations,
			PerZone: rc.Limits.PerZone, PerServer: rc.Limits.PerServer, Waiting: rc.Limits.Waiting,
			PerClient: rc.Limits.PerClient, PerCookie: rc.Limits.PerClientWithCookie,
		},
	}
	if len(rc.DNS64.Prefix) > 0 {
		s.DNS64 = &resolver.DNS64{Prefixes: rc.DNS64.Prefix, Exclude: rc.DNS64.Exclude}
	}
	switch rc.QNAMEMinimization {
	case "strict":
		s.Minimise = resolver.Strict
	case "off":
		s.Minimise = resolver.Off
	}
	s.TimeNames = lowered(rc.TimeNames)
	if at := rc.ValidationTime; !at.IsZero() {
		s.Now = func() time.Time { return at }
	} else {
		s.Clock = clockOf(c)
	}
	for i := range rc.Forward {
		f := &rc.Forward[i]
		r := resolver.Route{Zone: f.Zone, Forward: true, First: f.First, TCP: f.TCP}
		if r.Servers, r.Transports, err = transports(f.To, &f.TLS); err != nil {
			return s, fmt.Errorf("resolver.forward[%d].tls: %w", i, err)
		}
		s.Routes = append(s.Routes, r)
	}
	s.Exceptions, s.Shared = exceptions(rc.Exceptions), rc.SharedClients
	for _, x := range rc.Exceptions {
		if x.Forward == "off" {
			s.Routes = append(s.Routes, resolver.Route{Zone: x.Zone, Forward: true})
		}
	}
	for i := range rc.Stub {
		f := &rc.Stub[i]
		r := resolver.Route{Zone: f.Zone, TCP: f.TCP}
		if r.Servers, r.Transports, err = transports(f.To, &f.TLS); err != nil {
			return s, fmt.Errorf("resolver.stub[%d].tls: %w", i, err)
		}
		s.Routes = append(s.Routes, r)
	}
	for _, n := range rc.NegativeTrustAnchors {
		s.Negative = append(s.Negative, resolver.NegativeAnchor{Zone: wire.Lower(nil, n.Name), Until: n.Until})
	}
	if s.Hints, err = resolver.LoadHints(rc.RootHints); err != nil {
		return s, fmt.Errorf("resolver.root_hints: %w", err)
	}
	if s.Anchors, err = resolver.LoadAnchors(rc.TrustAnchors); err != nil {
		return s, fmt.Errorf("resolver.trust_anchors: %w", err)
	}
	return s, nil
}

// exceptions returns what the resolver needs of exceptions.
func exceptions(list []config.Exception) []resolver.Exception {
	var all []resolver.Exception
	for _, x := range list {
		all = append(all, resolver.Exception{
			Zone: x.Zone, Server: x.Server,
			Case: x.Case == "off", Cookies: x.Cookies == "off", EDNS: x.EDNS == "off", Minimise: x.Minimization == "off",
		})
	}
	return all
}

func lowered(names [][]byte) [][]byte {
	out := make([][]byte, len(names))
	for i, n := range names {
		out[i] = wire.Lower(nil, n)
	}
	return out
}

// Flush implements [console.Admin]: it makes the cache forget a name, a tree or
// everything.
func (a *App) Flush(name string, tree bool) error {
	if a.recursion == nil {
		return errNoResolver
	}
	n, err := wire.ParseName(name)
	if err != nil {
		return fmt.Errorf("name %q: %w", name, err)
	}
	a.recursion.resolver.Flush(n, tree)
	a.log.Info("cache flushed", "name", string(wire.AppendName(nil, n)), "tree", tree)
	return nil
}

var errNoResolver = errors.New("this server does no recursion: its role is authoritative")

// DumpCache implements [console.Admin].
func (a *App) DumpCache(w io.Writer) error {
	if a.recursion == nil {
		return errNoResolver
	}
	return a.recursion.cache.Dump(w)
}

// LoadCache implements [console.Admin].
func (a *App) LoadCache(r io.Reader) (any, error) {
	if a.recursion == nil {
		return nil, errNoResolver
	}
	n, err := a.recursion.cache.Load(r, time.Now().Unix())
	return CacheLoaded{n}, err
}

// A CacheLoaded says what a load of the cache did.
type CacheLoaded struct {
	Entries int `json:"entries"`
}

// An Explained is how the server came to an answer.
type Explained struct {
	Events []resolver.Event `json:"events"`
	Answer []byte           `json:"answer"` // the message
	Text   string           `json:"text,omitempty"`
	View   string           `json:"view,omitempty"` // whose answer it is, where there are views
}

// Explain implements [console.Admin]: it tells how the server comes to its answer. What the
// server answers by itself is told so, and nobody is asked; other names are resolved again.
func (a *App) Explain(name, typ, view string, do, cd bool) (any, error) {
	n, err := wire.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", name, err)
	}
	t, ok := wire.ParseType(typ)
	if !ok {
		return nil, fmt.Errorf("type %q is not known", typ)
	}
	as, err := a.viewNamed(view)
	if err != nil {
		return nil, err
	}
	if source := a.engine.Explain(as, n, t, do, cd); source.Kind != engine.FromResolver {
		e := resolver.Event{Kind: cmp.Or(string(source.Kind), "refused"), Text: source.Text}
		if source.Owner != nil {
			e.Zone = string(wire.AppendName(nil, source.Owner))
		}
		return Explained{Events: []resolver.Event{e}, Answer: source.Reply, View: as.Name}, nil
	}
	answer, text, trace := a.recursion.resolver.ExplainBy(as.Recursion.Config, n, t, do, cd)
	if j := a.engine.TestPolicy(as, wire.Lower(nil, n), t, netip.IPv6Loopback(), answer); j.Text != "" {
		trace.Events = append(trace.Events, resolver.Event{Kind: string(engine.FromFilter), Text: j.Text})
	}
	flags := wire.FlagQR | wire.FlagRD | wire.FlagRA | answer.Flags | uint16(answer.Rcode)
	msg := wire.AppendQuery(nil, 0, flags, n, t)
	for i, c := range answer.Counts {
		msg[6+2*i], msg[7+2*i] = byte(c>>8), byte(c)
	}
	msg = append(msg, answer.Body...)
	if answer.EDE >= 0 {
		option := []byte{0, wire.OptionEDE, byte((2 + len(text)) >> 8), byte(2 + len(text)), byte(answer.EDE >> 8), byte(answer.EDE)}
		msg = wire.AppendOPT(msg, wire.MinUDP, do, append(option, text...))
		msg[11]++
	}
	return Explained{Events: trace.Events, Answer: bytes.Clone(msg), Text: text, View: as.Name}, nil
}
