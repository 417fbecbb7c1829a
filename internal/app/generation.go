package app

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"port53/internal/config"
	"port53/internal/engine"
	"port53/internal/grant"
	"port53/internal/hosts"
	"port53/internal/netif"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A generation is a configuration, made ready and checked as a whole. It is built beside
// the one that serves, by functions that change nothing, and takes its place by the swap of
// one pointer. What outlives it is handed on from the one before: the limiter's table, the
// secrets of cookies, the cache and the resolver with all that they have learned.
//
// In one piece: it is a configuration as a server needs it, part by part.
type generation struct {
	config   *config.Config
	applied  time.Time
	engine   engine.Generation // what queries read
	zones    zone.Views        // by view, as they were published last
	resolver resolver.Settings // that engine.Recursion.Config was compiled from
	anchors  []resolver.Anchor // as configured

	slot       uint8            // of the counters of the default view
	views      []outlook        // beside the default one, which engine, resolver and networks are of
	partitions map[string]uint8 // of the cache, by the names of the views that use it
	sources    []zones.Source
	holders    grant.Table // who has grants
	bounds     zones.Bounds
	networks   networks
	hosts      *hosts.Result // names of machines; nil: none are configured
	lists      *lists        // of names that are not for all; nil: none are configured
	guard      *guard        // rules that the machine's firewall is to have; nil: they are not our business
}

// networks are whose clients are answered, as far as it depends on the machine's interfaces.
type networks struct {
	clients []netip.Prefix // who may have names resolved; none: everyone
	left    []netip.Prefix // networks of this machine that may not, since they are public and not named
	asked   []netip.Prefix // policy.allow; none: the role decides
}

// networksOf returns the networks of c as the interfaces are now.
func networksOf(c *config.Config) (n networks, err error) {
	if n.clients, n.left, err = c.RecursionClients(); err == nil {
		n.asked, err = c.QueryClients()
	}
	return n, err
}

// build makes a generation of c. old is the one that it follows; nil: it is the first. On an
// error nothing has changed, since nothing that lives is written to.
func (a *App) build(old *generation, c *config.Config) (*generation, error) {
	g := &generation{config: c, sources: sources(c, a.signing), holders: holders(c), bounds: bounds(c)}
	if old != nil && c.Recurses() != (a.recursion != nil) {
		return nil, fmt.Errorf("role %s: turning recursion on or off needs a restart", c.Role)
	}
	g.engine.Why = engine.Why{Record: whyRecord(&c.Why), Tell: c.Why.Tell}
	g.engine.Identity = engine.Identity{NSID: []byte(c.Identity.NSID), Version: c.Identity.Version, Hostname: c.Identity.Hostname}
	if len(c.Keys) > 0 {
		g.engine.Keys = keyRing(c)
	}
	if a.manager != nil {
		g.engine.Manager = a.manager
	}
	g.engine.Contract, g.engine.Holders = contractOf(c), g.holders
	var err error
	if g.networks, err = networksOf(c); err != nil {
		return nil, err
	}
	if g.engine.Access, err = access(c, g.networks); err != nil {
		return nil, err
	}
	if g.engine.Limits, err = limits(old, c); err != nil {
		return nil, err
	}
	if c.Recurses() {
		if err = a.buildRecursion(g, old); err != nil {
			return nil, err
		}
	}
	if err = a.buildViews(g, old); err != nil {
		return nil, err
	}
	if g.guard, err = planGuard(c); err != nil {
		return nil, err
	}
	if old != nil { // the first are read by who serves them
		if err = a.buildLists(g, old); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// enlarge makes g a generation of c, which has more zones than g was built of.
func (g *generation) enlarge(c *config.Config, room signingRoom) error {
	had := g.config
	if len(c.Zones) == len(had.Zones) && len(c.Keys) == len(had.Keys) && len(c.Tokens) == len(had.Tokens) &&
		len(c.ClientCertificates) == len(had.ClientCertificates) {
		return nil
	}
	g.config, g.sources, g.holders = c, sources(c, room), holders(c)
	g.engine.Holders = g.holders
	if len(c.Keys) > 0 {
		g.engine.Keys = keyRing(c)
	}
	var err error
	if g.engine.Access, err = access(c, g.networks); err != nil {
		return err
	}
	for i := range g.views {
		o := &g.views[i]
		o.config = c.InView(i)
		if o.access, err = access(o.config, o.networks); err != nil {
			return err
		}
	}
	g.guard, err = planGuard(c)
	return err
}

// buildRecursion makes what g needs to answer for names outside of its zones.
func (a *App) buildRecursion(g, old *generation) error {
	c := g.config
	var err error
	if g.resolver, err = resolverSettings(c); err != nil {
		return err
	}
	g.anchors = g.resolver.Anchors
	rc := &c.Resolver
	r := &engine.Recursion{Order: order(c, c.RRsetOrder), Stale: rc.Cache.ServeStale, Prefetch: rc.Cache.Prefetch, Info: infoOf(c)}
	if a.recursion != nil {
		r.Cache, r.Resolver = a.recursion.cache, a.recursion.resolver
		if old != nil && sameAnchors(old.anchors, g.anchors) {
			g.resolver.Anchors = old.resolver.Anchors // they may have rolled
		}
	}
	if r.DNS64Clients, err = sixOf(c); err != nil {
		return err
	}
	if r.Builtin, err = a.builtinOf(c, old); err != nil {
		return err
	}
	g.engine.Recursion = r
	return nil
}

// access returns who may ask, and who may have names resolved: the clients of n, or everyone
// if there are none.
func access(c *config.Config, n networks) (*policy.Access, error) {
	a := &policy.Access{}
	allow, clients := n.asked, n.clients
	var err error
	if c.Recurses() {
		if len(clients) > 0 {
			if a.Recurse, err = policy.NewACL(policy.ACLOptions{Allow: clients}); err != nil {
				return nil, err
			}
		}
		if len(allow) == 0 && c.Internal() {
			allow = clients // zones beside a resolver for a network are for the network
		}
	}
	if c.DeniesQueries() {
		allow = nil // but the servers that zones are exchanged with
	}
	if len(allow) > 0 || c.DeniesQueries() {
		allow = append(slices.Clip(allow), transferPeers(c)...) // what else they may is each zone's to say
	}
	if len(allow) == 0 && c.DeniesQueries() {
		a.Query = &policy.ACL{}
		return a, nil
	}
	if len(allow)+len(c.Policy.Deny) > 0 {
		a.Query, err = policy.NewACL(policy.ACLOptions{Allow: allow, Deny: c.Policy.Deny})
	}
	return a, err
}

// limits returns what bounds replies. The limiter's table and the secrets of cookies are
// those of old where c says the same of them.
func limits(old *generation, c *config.Config) (engine.Limits, error) {
	l := engine.Limits{UDPSize: c.EDNS.UDPSize, Padding: c.EDNS.Padding, EncryptedPadding: c.Encrypted.Padding}
	var err error
	r := c.Policy.RateLimit
	switch {
	case !r.Enabled:
	case old != nil && old.engine.Limits.Rates != nil && reflect.DeepEqual(r, old.config.Policy.RateLimit):
		l.Rates = old.engine.Limits.Rates
	default:
		if l.Rates, err = rateLimiter(r); err != nil {
			return l, err
		}
	}
	file := c.EDNS.CookieSecretsFile
	switch {
	case !c.EDNS.Cookies:
	case old != nil && old.engine.Limits.Cookies != nil && file == "" && old.config.EDNS.CookieSecretsFile == "":
		l.Cookies = old.engine.Limits.Cookies
	default:
		secrets, err := cookieSecrets(file)
		if err != nil {
			return l, err
		}
		if l.Cookies, err = policy.NewCookies(policy.CookieOptions{Secrets: secrets}); err != nil {
			return l, err
		}
	}
	return l, nil
}

// tellLeft logs which networks of this machine are not answered since they are public and
// nobody has named them, and what to write if they should be. old is the generation before,
// which has told of its own; it may be nil.
func (a *App) tellLeft(old, g *generation) {
	if len(g.networks.left) == 0 || old != nil && slices.Equal(old.networks.left, g.networks.left) {
		return
	}
	var list []string
	for _, n := range slices.Concat(g.networks.clients, g.networks.left) {
		list = append(list, "'"+n.String()+"'")
	}
	a.log.Warn("clients in public networks of this host are refused", "networks", g.networks.left,
		"to_answer_them_write", "resolver: {allow: ["+strings.Join(list, ", ")+"]}",
		"or_as_they_change", "resolver: {allow: ["+strings.Join(byInterface(slices.Concat(g.networks.clients, g.networks.left)), ", ")+"]}")
}

// byInterface returns the interfaces of networks as the configuration names them, but for
// loopback, which is among them.
func byInterface(list []netip.Prefix) (names []string) {
	all, err := netif.List()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if text := "{interface: " + a.Interface + "}"; !a.Prefix.Addr().IsLoopback() && slices.Contains(list, a.Prefix.Masked()) &&
			!slices.Contains(names, text) {
			names = append(names, text)
		}
	}
	return names
}

func rateLimiter(r config.RateLimit) (*policy.RateLimiter, error) {
	slip := r.Slip
	if slip == 0 {
		slip = policy.NeverSlip
	}
	return policy.NewRateLimiter(policy.RateOptions{
		PerSecond: int(r.PerSecond), Burst: r.Burst, Slip: slip,
		Ceiling: int(r.Ceiling), CeilingBurst: r.CeilingBurst,
		IPv4Prefix: r.IPv4Prefix, IPv6Prefix: r.IPv6Prefix,
		Memory: int(r.Table), LogOnly: r.LogOnly, Exempt: r.Exempt,
	})
}

// cookieSecrets reads the secrets that servers of one address share: one or two
// lines of 32 hexadecimal digits.
func cookieSecrets(file string) ([][16]byte, error) {
	if file == "" {
		return nil, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("cookie secrets: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("cookie secrets: %s is readable by every user: chmod o= %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cookie secrets: %w", err)
	}
	var secrets [][16]byte
	for _, line := range bytes.Fields(text) {
		secret, err := hex.DecodeString(string(line))
		if err != nil || len(secret) != 16 {
			return nil, fmt.Errorf("cookie secrets: %s: expected lines of 32 hexadecimal digits", file)
		}
		secrets = append(secrets, [16]byte(secret))
	}
	if len(secrets) == 0 || len(secrets) > 2 {
		return nil, fmt.Errorf("cookie secrets: %s: expected one or two secrets, found %d", file, len(secrets))
	}
	return secrets, nil
}

func randomSeed() wire.Seed {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return wire.Seed(binary.LittleEndian.Uint64(b[:]))
}

// publish makes g, with the zones of each view, what queries are answered by.
func (a *App) publish(g *generation, views zone.Views) {
	a.swapping.Lock()
	defer a.swapping.Unlock()
	if now := a.current.Load(); now != nil && a.recursion != nil && sameAnchors(now.anchors, g.anchors) {
		g.trust(now.resolver.Anchors) // they may have rolled while g was made
	}
	if g.engine.Recursion != nil && !hostSources(g.config, nil).Empty() {
		r := a.readHosts(g, views.View(zone.DefaultView))
		var before *hosts.Result
		if now := a.current.Load(); now != nil {
			before = now.hosts
		}
		a.tellHosts(before, r)
		g.setHosts(r)
	}
	g.engine.Discovery = a.discovery(g.config, time.Now())
	a.swap(g, views)
}

// update makes a generation of the one that serves and puts it in its place.
func (a *App) update(change func(g *generation)) {
	a.swapping.Lock()
	defer a.swapping.Unlock()
	g := *a.current.Load()
	g.views = slices.Clone(g.views)
	change(&g)
	a.swap(&g, g.zones)
}

// swap is where one generation takes the place of another. a.swapping is held.
func (a *App) swap(g *generation, views zone.Views) {
	next := *g
	next.zones = views
	a.attachRPZ(&next)
	configs, err := next.attach()
	if err != nil { // the configuration was checked: there is no such error
		a.log.Error("internal error: please report it", "error", err.Error())
		return
	}
	a.current.Store(&next)
	a.engine.Apply(next.engine)
	for _, c := range configs {
		a.recursion.resolver.Apply(c)
	}
}

// peersOf returns the addresses of servers as networks of their own.
func peersOf(lists ...[]netip.AddrPort) []netip.Prefix {
	var networks []netip.Prefix
	for _, a := range slices.Concat(lists...) {
		networks = append(networks, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	return networks
}
