// Package subject makes a resolver for the scenarios of package dnstest: an engine that
// recurses, with its cache and its client, on a network of the laboratory. It has no
// sockets. Its settings are those of SCENARIOS.md, and each limit of the resolver by name.
package subject

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/event"
	"port53/internal/hosts"
	"port53/internal/policy"
	"port53/internal/resolver"
	"port53/internal/rpz"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/upstream"
	"port53/internal/why"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Subject is an engine that recurses, without sockets. It is safe for use by many
// goroutines.
type Subject struct {
	t        testing.TB
	engine   *engine.Engine
	cache    *cache.Cache
	client   *upstream.Client
	resolver *resolver.Resolver
	zones    *zone.View
	events   *event.Hub
	why      *why.Log
	stopWhy  func()

	mu     sync.Mutex // one worker answers all
	worker server.Worker
}

// New makes a Subject. It returns what [dnstest.Play] wants to have made.
func New(t testing.TB, s *dnstest.Setup) dnstest.Subject { return Make(t, s) }

// Make makes a Subject. Who made it closes it.
func Make(t testing.TB, s *dnstest.Setup) *Subject {
	sub := &Subject{t: t, zones: zone.NewView(dnstest.Seed)}
	seconds := func(key string, otherwise time.Duration) uint32 {
		return uint32(s.Duration(key, otherwise) / time.Second)
	}
	sub.cache = cache.New(cache.Options{
		Size: int64(s.Int("cache-size", 4<<20)), Seed: 53,
		MaxTTL: seconds("max-ttl", 0), MinTTL: seconds("min-ttl", 0), MaxNegativeTTL: seconds("max-negative-ttl", 0),
		Stale: seconds("stale-keep", 0),
	})
	sub.client = upstream.New(upstream.Options{Network: s.Net, Cookies: s.Bool("cookies", true)})
	if s.Bool("why", false) {
		sub.remember()
	}
	for _, words := range s.Words("local") {
		sub.publish(words)
	}
	config, recursion := sub.compile(s)
	sub.resolver = resolver.New(resolver.Options{Cache: sub.cache, Exchanger: sub.client, Log: s.Log, Why: sub.why}, config)
	options := engine.Options{PropagatePanics: true, Events: sub.events}
	for _, words := range s.Words("stops") {
		options.Blocker = stops(dnstest.Name(t, words[0]))
	}
	recursion.Resolver = sub.resolver
	sub.engine = engine.New(options, sub.generation(s, recursion))
	sub.worker = sub.engine.NewWorker()
	return sub
}

// stops is a domain below which nobody is asked: a setting "stops DOMAIN".
type stops []byte

// Blocks implements [engine.Blocker].
func (s stops) Blocks(_ netip.Addr, name []byte) bool { return bytes.HasSuffix(name, s) }

// remember has all be remembered that other servers are asked for.
func (sub *Subject) remember() {
	sub.events = event.New()
	sub.why = why.New(why.Options{
		List:      func(int) string { return "" },
		View:      func(uint8) string { return "" },
		Drop:      func(reason uint8) string { return telemetry.Drop(reason).String() },
		Transport: func(transport uint8) string { return server.Transport(transport).String() },
	})
	sub.why.Set(why.Misses, 1<<20)
	sub.stopWhy = sub.events.Subscribe(event.Explained, sub.why.Take)
}

// Remember changes what is remembered, with the setting "why on".
func (sub *Subject) Remember(record why.Record) { sub.why.Set(record, 1<<20) }

// Why returns what is remembered of questions, with the setting "why on".
func (sub *Subject) Why(q why.Question) []why.Report {
	sub.events.Flush()
	return sub.why.Find(q)
}

// publish makes a local zone: a setting "local ZONE OWNER TYPE DATA..." adds a record.
func (sub *Subject) publish(words []string) {
	origin := words[0]
	text := "$TTL 3600\n@ SOA ns. admin. 1 2 3 4 300\n@ NS ns.\n" + records(words[1:])
	sub.zones = sub.zones.With(zone.Change{Apex: dnstest.Name(sub.t, origin), Zone: dnstest.Zone(sub.t, origin, text)})
}

// records returns the lines of a zone that a setting has behind its name, with a slash between them.
func records(words []string) string {
	return strings.ReplaceAll(strings.Join(words, " "), " / ", "\n") + "\n"
}

// settings returns what a set-up says. In one piece: it has a line for each thing that can be said.
func (sub *Subject) settings(s *dnstest.Setup) resolver.Settings {
	hints, err := resolver.ReadHints(strings.NewReader(s.Hints), "hints")
	if err != nil {
		sub.t.Fatal(err)
	}
	set := resolver.Settings{
		Hints: hints, Validate: s.Validate, IPv4: s.Bool("ipv4", true), IPv6: s.Bool("ipv6", true),
		MixCase: s.Bool("mix-case", true), Aggressive: s.Bool("aggressive", true), Sentinel: s.Bool("sentinel", true),
		Rebinding: s.Bool("rebinding", false), StaleWait: s.Duration("stale-wait", 0), Reporting: s.Bool("reporting", false),
		Limits: resolver.Limits{
			Packets: s.Int("packets", 0),
			Octets:  s.Int("octets", 0),
			Aliases: s.Int("aliases", 0),
			Depth:   s.Int("depth", 0),
			Glueless: s.Int(
				"glueless",
				0,
			),
			NameServers: s.Int("name-servers", 0),
			Time:        s.Duration("time", 0),
			Reply:       s.Duration("reply", 0),
			Signatures:  s.Int("signatures", 0),
			Hashes:      s.Int("hashes", 0),
			Iterations:  s.Int("iterations", 0),
			PerZone:     s.Int("per-zone", 0),
			PerServer:   s.Int("per-server", 0),
			Waiting:     s.Int("waiting", 0),
			PerClient:   s.Int("per-client", 0),
		},
	}
	switch s.Text("minimise", "relaxed") {
	case "strict":
		set.Minimise = resolver.Strict
	case "off":
		set.Minimise = resolver.Off
	}
	set.Anchors = []resolver.Anchor{}
	if s.Anchors != "" {
		if set.Anchors, err = resolver.ReadAnchors(strings.NewReader(s.Anchors), "anchors"); err != nil {
			sub.t.Fatal(err)
		}
	}
	sub.clock(s, &set)
	for _, r := range s.Routes {
		set.Routes = append(set.Routes, resolver.Route{Zone: r.Zone, Servers: r.Servers, Forward: r.Forward, First: r.First, TCP: r.TCP})
	}
	for _, words := range s.Words("negative-anchor") {
		n := resolver.NegativeAnchor{Zone: wire.Lower(nil, dnstest.Name(sub.t, words[0]))}
		if len(words) > 1 {
			d, err := time.ParseDuration(words[1])
			if err != nil {
				s.Fault("negative-anchor", "ZONE and a duration")
			}
			n.Until = time.Now().Add(d)
		}
		set.Negative = append(set.Negative, n)
	}
	for _, words := range s.Words("exception") {
		e := resolver.Exception{}
		for _, w := range words {
			switch key, value, _ := strings.Cut(w, "="); key {
			case "zone":
				e.Zone = dnstest.Name(sub.t, value)
			case "server":
				e.Server = netip.MustParsePrefix(value)
			case "case":
				e.Case = true
			case "cookies":
				e.Cookies = true
			case "edns":
				e.EDNS = true
			case "minimization":
				e.Minimise = true
			default:
				s.Fault("exception", "zone= or server=, and case, cookies, edns, minimization")
			}
		}
		set.Exceptions = append(set.Exceptions, e)
	}
	for _, words := range s.Words("shared") {
		set.Shared = append(set.Shared, netip.MustParsePrefix(words[0]))
	}
	for _, words := range s.Words("private") {
		set.Private = append(set.Private, wire.Lower(nil, dnstest.Name(sub.t, words[0])))
	}
	set.DNS64 = sub.dns64(s)
	for _, words := range s.Words("do-not-query") {
		set.DoNotQuery = append(set.DoNotQuery, netip.MustParsePrefix(words[0]))
	}
	return set
}

// dns64 reads the networks of a DNS64: a setting "dns64 PREFIX... [not NETWORK...]".
func (sub *Subject) dns64(s *dnstest.Setup) *resolver.DNS64 {
	var words []string
	for _, line := range s.Words("dns64") {
		words = line
	}
	if len(words) == 0 {
		return nil
	}
	d := &resolver.DNS64{}
	list := &d.Prefixes
	for _, w := range words {
		if w == "not" {
			list = &d.Exclude
			continue
		}
		*list = append(*list, netip.MustParsePrefix(w))
	}
	return d
}

// clock reads what a scenario says of the machine's clock: how far it is off, always or AFTER a
// time BY so much, and what is known of it.
func (sub *Subject) clock(s *dnstest.Setup, set *resolver.Settings) {
	if at := s.Time("validation-time"); !at.IsZero() {
		set.Now = func() time.Time { return at }
	}
	if off := s.Duration("clock", 0); off != 0 { // the machine's clock is so far off
		set.Now = func() time.Time { return time.Now().Add(off) }
	}
	for _, words := range s.Words("clock-jumps") { // AFTER BY: in flight
		after, err := time.ParseDuration(words[0])
		by, err2 := time.ParseDuration(words[len(words)-1])
		if err != nil || err2 != nil {
			s.Fault("clock-jumps", "two durations")
		}
		jump := time.Now().Add(after)
		set.Now = func() time.Time {
			if now := time.Now(); now.Before(jump) {
				return now
			}
			return time.Now().Add(by)
		}
	}
	unsynchronized := s.Bool("unsynchronized", false)
	set.Clock = resolver.Clock{Built: s.Time("built"), Kept: s.Time("kept"), Unsynchronized: func() bool { return unsynchronized }}
	for _, words := range s.Words("time-name") {
		set.TimeNames = append(set.TimeNames, wire.Lower(nil, dnstest.Name(sub.t, words[0])))
	}
}

// compile returns what a set-up says of the recursive service.
func (sub *Subject) compile(s *dnstest.Setup) (*resolver.Config, *engine.Recursion) {
	r := &engine.Recursion{
		Cache: sub.cache, Config: resolver.Compile(sub.settings(s)), Stale: s.Bool("stale", true), Prefetch: s.Bool("prefetch", true),
	}
	r.Names = sub.names(s)
	for _, words := range s.Words("builtin") { // ZONE, and records in it
		if r.Builtin == nil {
			r.Builtin = zone.NewView(dnstest.Seed)
		}
		origin := words[0]
		text := "$TTL 10800\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 10800\n@ NS localhost.\n" + records(words[1:])
		r.Builtin = r.Builtin.With(zone.Change{Apex: dnstest.Name(sub.t, origin), Zone: dnstest.Zone(sub.t, origin, text)})
	}
	r.Config = r.Config.WithLocal(engine.LocalZones(sub.zones, r, &policy.Access{}))
	if r.DNS64Clients = sub.acl(s, "dns64-clients"); r.DNS64Clients == nil && r.Config.DNS64 != nil {
		r.DNS64Clients = everybody(sub.t)
	}
	return r.Config, r
}

// names reads the names of machines: settings "name NAME ADDRESS", and "domain NAME" for their domain.
func (sub *Subject) names(s *dnstest.Setup) *hosts.Table {
	var of hosts.Sources
	for _, words := range s.Words("domain") {
		of.Domain = dnstest.Name(sub.t, words[0])
	}
	for _, words := range s.Words("name") {
		of.Names = append(of.Names, hosts.Name{Name: dnstest.Name(sub.t, words[0]), Addrs: []netip.Addr{netip.MustParseAddr(words[1])}})
	}
	if of.Names == nil {
		return nil
	}
	return hosts.Read(&of, time.Now()).Table
}

func (sub *Subject) generation(s *dnstest.Setup, recursion *engine.Recursion) engine.Generation {
	g := engine.Generation{View: engine.View{Zones: sub.zones, Recursion: recursion}}
	g.Why = engine.Why{Record: sub.why.Record(), Tell: true}
	g.Identity.NSID = nsid(s.Text("nsid", ""))
	if rules := s.Words("rpz"); len(rules) > 0 {
		g.RPZ = sub.policy(rules, s.Bool("rpz-wait", true), uint32(s.Int("rpz-max-ttl", 5)))
	}
	if acl := sub.acl(s, "allow"); acl != nil {
		g.Access = &policy.Access{Recurse: acl}
	}
	return g
}

// policy returns a response policy zone of some rules, each a setting "rpz OWNER TYPE DATA", with setting "rpz-wait
// off" one that waits for no servers, and with "rpz-max-ttl" with answers that live as long.
func (sub *Subject) policy(rules [][]string, wait bool, maxTTL uint32) *rpz.Policy {
	text := "$TTL 60\n@ SOA ns.invalid. nobody.invalid. 1 3600 1200 604800 60\n@ NS ns.invalid.\n"
	for _, words := range rules {
		text += strings.Join(words, " ") + "\n"
	}
	return &rpz.Policy{Zones: []*rpz.Zone{{
		Name: []byte("\x06policy\x00"), Served: zone.NewServed(dnstest.Zone(sub.t, "policy.", text)), Override: rpz.Given,
		MaxTTL: maxTTL, BreakDNSSEC: true, WaitServers: wait, EDE: -1, Summary: new(rpz.Summary),
	}}}
}

// nsid reads how the server calls itself: in hexadecimal, or as text behind "ascii_", with _ for blanks.
func nsid(value string) []byte {
	if text, ok := strings.CutPrefix(value, "ascii_"); ok {
		return []byte(strings.ReplaceAll(text, "_", " "))
	}
	b, _ := hex.DecodeString(value)
	return b
}

// acl reads networks, of which a setting names one; nil: there is none.
func (sub *Subject) acl(s *dnstest.Setup, key string) *policy.ACL {
	var allow []netip.Prefix
	for _, words := range s.Words(key) {
		allow = append(allow, netip.MustParsePrefix(words[0]))
	}
	if len(allow) == 0 {
		return nil
	}
	acl, err := policy.NewACL(policy.ACLOptions{Allow: allow})
	if err != nil {
		sub.t.Fatal(err)
	}
	return acl
}

func everybody(t testing.TB) *policy.ACL {
	acl, err := policy.NewACL(policy.ACLOptions{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	if err != nil {
		t.Fatal(err)
	}
	return acl
}

// Apply implements [dnstest.Reloader].
func (sub *Subject) Apply(s *dnstest.Setup) error {
	config, recursion := sub.compile(s)
	recursion.Resolver = sub.resolver
	sub.engine.Apply(sub.generation(s, recursion))
	sub.resolver.Apply(config)
	return nil
}

// Flush implements [dnstest.Flusher].
func (sub *Subject) Flush(name []byte, tree bool) { sub.resolver.Flush(name, tree) }

// Dump implements [dnstest.Dumper].
func (sub *Subject) Dump(w io.Writer) error { return sub.cache.Dump(w) }

// Load implements [dnstest.Dumper].
func (sub *Subject) Load(r io.Reader) error {
	_, err := sub.cache.Load(r, time.Now().Unix())
	return err
}

// Close implements [dnstest.Subject].
func (sub *Subject) Close() {
	sub.resolver.Close()
	sub.client.Close()
	if sub.stopWhy != nil {
		sub.stopWhy()
	}
}

// Handle has the engine answer a query, as [server.Worker] does.
func (sub *Subject) Handle(query []byte, peer *server.Peer, room []byte) int {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.worker.Handle(query, peer, time.Now().UnixNano(), room)
}

// Ask implements [dnstest.Subject].
func (sub *Subject) Ask(ctx context.Context, query []byte, from netip.AddrPort, tcp bool) []byte {
	later := &laterReply{reply: make(chan []byte, 1)}
	peer := server.Peer{Remote: from, Later: func(*server.Peer) (server.Responder, error) { return later, nil }}
	room := make([]byte, 4096)
	if tcp {
		peer.Transport, room = server.TCP, make([]byte, wire.MaxMessage)
	}
	switch n := sub.Handle(query, &peer, room); {
	case n > 0:
		return room[:n]
	case n != server.Pending:
		return nil
	}
	select {
	case reply := <-later.reply:
		return reply
	case <-ctx.Done():
		return nil
	}
}

// A laterReply is a [server.Responder] that gives its first reply, or nil if there is
// none.
type laterReply struct {
	once  sync.Once
	reply chan []byte
}

func (l *laterReply) Reply(msg []byte) error {
	l.once.Do(func() { l.reply <- bytes.Clone(msg) })
	return nil
}

func (l *laterReply) Stream(msg []byte) error { return l.Reply(msg) }

func (l *laterReply) Close() { l.once.Do(func() { l.reply <- nil }) }
