package convert

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// An unbound is an unbound.conf as it is read.
type unbound struct {
	*converter
	port    string
	access  []accessRule
	*locals // that are for all
	nodes   []*node
	views   map[string]*locals
	all     []*class
}

// An accessRule is a line of access-control: the longest network that holds a client counts.
type accessRule struct {
	nets   netset
	bits   int
	action string
}

func readUnbound(c *converter, path string) error {
	words, err := c.nsdWords(path, nil)
	if err != nil {
		return err
	}
	top, err := sections(words)
	if err != nil {
		return err
	}
	u := &unbound{converter: c, locals: newLocals(nil), views: map[string]*locals{}}
	c.out.recurse = true
	for _, s := range top {
		s.block = c.vet(s.block, unboundKinds(), unboundInstead())
		if p := find(s.block, "port"); s.name() == "server" && p != nil {
			u.port = p.arg(1)
		}
	}
	for _, s := range top {
		switch s.name() {
		case "server":
			for _, e := range s.block {
				u.option(e)
			}
		case "forward-zone", "stub-zone":
			u.route(s)
		case "auth-zone":
			u.authZone(s)
		case "rpz":
			u.rpz(s)
		case "view":
			u.view(s)
		case "remote-control":
			c.note(s, Changed, "port53 has its own: control")
		default:
			if len(s.block) > 0 {
				c.note(s, Unsupported, "port53 has nothing like it")
			}
		}
	}
	u.clients()
	if u.all = u.classes(); len(u.all)+len(u.tags) > 0 {
		u.localViews()
	} else {
		u.localData(u.locals)
	}
	if len(c.out.listen) == 0 {
		c.listen("127.0.0.1", u.port)
		c.listen("::1", u.port)
	}
	return nil
}

// clients works out who may ask and who may use recursion.
func (u *unbound) clients() {
	loop := setOf(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	rules := []accessRule{{allAddresses(), 0, "refuse"}, {loop, 8, "allow"}}
	for _, n := range u.nodes {
		rules = append(rules, accessRule{setOf(n.net), n.net.Bits(), "allow"}) // as long as nothing else is said
	}
	rules = append(rules, u.access...)
	slices.SortStableFunc(rules, func(a, b accessRule) int { return cmp.Compare(a.bits, b.bits) })
	var recursion, local netset
	for _, r := range rules {
		recursion, local = recursion.minus(r.nets), local.minus(r.nets)
		switch r.action {
		case "allow", "allow_snoop", "allow_setrd", "allow_cookie":
			recursion, local = recursion.union(r.nets), local.union(r.nets)
		case "deny_non_local", "refuse_non_local":
			local = local.union(r.nets)
		}
	}
	if u.out.recursion = recursion; recursion == nil {
		u.out.recursion = netset{}
	}
	if u.out.query = local; local == nil {
		u.out.query = netset{}
	}
}

// unboundSettings are the options of Unbound that a key of port53 stands for: yes and no, a
// number, seconds or milliseconds, a size, or a text.
const unboundSettings = ` cache-max-ttl=resolver.cache.max_ttl/s cache-min-ttl=resolver.cache.min_ttl/s
	cache-max-negative-ttl=resolver.cache.max_negative_ttl/s rrset-cache-size=resolver.cache.size/size prefetch=resolver.cache.prefetch/bool
	serve-expired=resolver.cache.serve_stale/bool serve-expired-ttl=resolver.cache.stale_keep/s
	serve-expired-reply-ttl=resolver.cache.stale_ttl/s serve-expired-client-timeout=resolver.cache.stale_client_timeout/ms
	use-caps-for-id=resolver.case_randomization/bool aggressive-nsec=resolver.aggressive_nsec/bool do-ip4=resolver.ipv4/bool
	do-ip6=resolver.ipv6/bool root-key-sentinel=resolver.sentinel/bool
	incoming-num-tcp=tcp.max_connections/n tcp-idle-timeout=tcp.idle/ms
	max-udp-size=edns.udp_size/n answer-cookie=edns.cookies/bool identity=identity.hostname/text version=identity.version/text `

// setting takes an option that a key stands for.
func (c *converter) setting(s *stmt, table string) bool {
	_, rest, ok := strings.Cut(table, " "+s.name()+"=")
	if !ok {
		_, rest, ok = strings.Cut(table, "\t"+s.name()+"=")
	}
	if !ok {
		return false
	}
	row := strings.Fields(rest)[0]
	path, kind, _ := strings.Cut(row, "/")
	value := s.arg(1)
	switch kind {
	case "bool":
		value = strconv.FormatBool(yes(value))
	case "pdns":
		value = strconv.FormatBool(pdnsYes(value))
	case "s", "ms":
		value += kind
	case "text":
		value = quote(value)
	case "size":
		if size, ok := bindSize(value); ok {
			value = size
		}
	}
	c.take(s, path, value)
	return true
}

// unboundOwn are options that say how Unbound does what port53 does in its own way.
const unboundOwn = `verbosity statistics-interval statistics-cumulative extended-statistics statistics-inhibit-zero num-threads port
	interface-automatic-ports outgoing-range outgoing-port-permit outgoing-port-avoid outgoing-num-tcp so-rcvbuf so-sndbuf so-reuseport
	ip-transparent ip-freebind ip-dscp edns-buffer-size stream-wait-size msg-buffer-size msg-cache-size msg-cache-slabs
	num-queries-per-thread jostle-timeout delay-close udp-connect unknown-server-time-limit discard-timeout wait-limit
	wait-limit-netblock wait-limit-cookie rrset-cache-slabs infra-host-ttl infra-cache-min-rtt infra-cache-max-rtt infra-keep-probing
	infra-cache-slabs infra-cache-numhosts do-udp do-tcp tcp-upstream tcp-mss outgoing-tcp-mss edns-tcp-keepalive
	edns-tcp-keepalive-timeout sock-queue-timeout use-systemd do-daemonize username chroot directory logfile log-identity use-syslog
	log-time-ascii log-time-iso log-local-actions log-replies log-tag-queryreply log-destaddr log-servfail pidfile hide-identity
	hide-version hide-trustanchor target-fetch-policy harden-short-bufsize harden-large-queries harden-glue harden-dnssec-stripped
	harden-below-nxdomain harden-referral-path harden-algo-downgrade harden-unknown-additional harden-unverified-glue
	unwanted-reply-threshold do-not-query-localhost prefetch-key deny-any minimal-responses
	disable-dnssec-lame-check trust-anchor-signaling val-bogus-ttl val-clean-additional val-log-level val-nsec3-keysize-iterations
	val-max-restart val-sig-skew-min val-sig-skew-max key-cache-size key-cache-slabs neg-cache-size add-holddown del-holddown
	keep-missing permit-small-holddown ratelimit ratelimit-size ratelimit-slabs ratelimit-for-domain ratelimit-below-domain
	ratelimit-factor ratelimit-backoff ip-ratelimit ip-ratelimit-size ip-ratelimit-slabs ip-ratelimit-factor ip-ratelimit-backoff
	ip-ratelimit-cookie fast-server-permil fast-server-num shm-enable shm-key max-reuse-tcp-queries tcp-reuse-timeout
	tcp-auth-query-timeout max-query-restarts max-sent-count outbound-msg-retry iter-scrub-ns iter-scrub-cname max-global-quota ede
	ede-serve-expired serve-expired-ttl-reset zonemd-permissive-mode ignore-cd-flag serve-original-ttl prefer-ip4 prefer-ip6
	pad-responses pad-responses-block-size pad-queries pad-queries-block-size http-user-agent hide-http-user-agent cookie-secret
	cookie-secret-file log-thread-id`

// option …
// In one piece: it is a table of options and what becomes of each.
func (u *unbound) option(s *stmt) {
	if u.setting(s, unboundSettings) {
		return
	}
	switch s.name() {
	case "interface", "ip-address":
		u.listener(s)
	case "rrset-roundrobin":
		if yes(s.arg(1)) {
			u.out.order("cyclic")
		}
		u.note(s, Converted, "")
	case "interface-automatic":
		if yes(s.arg(1)) {
			u.listen("0.0.0.0", u.port)
			u.listen("::", u.port)
		}
		u.note(s, Converted, "")
	case "access-control":
		nets, ok := parseNet(s.arg(1))
		if !ok {
			u.note(s, Unsupported, "this is not a network")
			return
		}
		p := nets.prefixes()[0]
		u.node(s)
		u.access = append(u.access, accessRule{nets, p.Bits(), s.arg(2)}) // any other word refuses
		if action := oneOfWords(false, strings.Fields(unboundActions)...); !action.takes(s.arg(2)) {
			u.note(s, Unsupported, "expected "+action.expects)
		}
		if u.note(s, Converted, ""); s.arg(2) == "deny" || s.arg(2) == "deny_non_local" {
			u.note(s, Changed, "they get REFUSED instead of nothing")
		}
	case "access-control-view":
		if n := u.node(s); n != nil {
			n.view = s.arg(2)
			u.note(s, Converted, "")
		}
	case "access-control-tag":
		if n := u.node(s); n != nil {
			n.tags = tagged(s)
			u.note(s, Converted, "")
		}
	case "define-tag":
		u.note(s, Converted, "")
	case "local-zone-tag":
		u.tags[domain(s.arg(1))] = tagged(s)
		u.note(s, Converted, "")
	case "access-control-tag-action",
		"access-control-tag-data",
		"local-zone-override",
		"interface-view",
		"interface-tag",
		"interface-tag-action",
		"interface-tag-data",
		"interface-action":
		u.note(s, Unsupported, "port53 has no such setting: write a view, as docs/VIEWS.md says")
	case "private-address":
		u.note(s, Changed, "resolver.rebinding takes all private addresses out of answers found by iteration")
	case "private-domain":
		u.takeList(s, "resolver.private_zones", domain(s.arg(1)))
	case "domain-insecure":
		u.insecure(s, s.arg(1))
	case "local-zone", "local-data", "local-data-ptr":
		if u.goodLocalZone(s) {
			u.reads(s)
		}
	case "caps-exempt", "caps-whitelist":
		u.exceptZone(s, s.arg(1), "case")
	case "outgoing-interface":
		u.takeList(s, "resolver.outgoing", s.arg(1))
	case "do-not-query-address":
		if nets, ok := parseNet(s.arg(1)); ok {
			u.out.add("resolver.do_not_query", "127.0.0.0/8", "::1")
			u.out.add("resolver.do_not_query", nets.text()...)
		}
		u.note(s, Converted, "")
	case "qname-minimisation":
		u.take(s, "resolver.qname_minimization", map[bool]string{true: "relaxed", false: "off"}[yes(s.arg(1))])
	case "qname-minimisation-strict":
		if yes(s.arg(1)) {
			u.out.set("resolver.qname_minimization", "strict")
		}
		u.note(s, Converted, "")
	case "module-config":
		if !strings.Contains(s.arg(1), "validator") {
			u.out.set("resolver.validation", "false")
		}
		u.note(s, Converted, "")
		for _, m := range strings.Fields(s.arg(1)) {
			if m != "validator" && m != "iterator" {
				u.note(s, Unsupported, "port53 has no module "+m)
			}
		}
	case "val-permissive-mode":
		if yes(s.arg(1)) {
			u.out.set("resolver.validation", "false")
		}
		u.note(s, Changed, "answers are validated, or not")
	case "log-queries":
		u.take(s, "log.queries", map[bool]string{true: "text", false: "off"}[yes(s.arg(1))])
	case "nsid":
		if text, ok := strings.CutPrefix(s.arg(1), "ascii_"); ok {
			u.take(s, "identity.nsid", quote(text))
		} else {
			u.note(s, Unsupported, "identity.nsid is text")
		}
	case "root-hints", "trust-anchor-file", "trust-anchor", "auto-trust-anchor-file", "trusted-keys-file":
		u.note(s, Changed, "the root's servers and keys are built in: resolver.root_hints and resolver.trust_anchors name others")
	case "unblock-lan-zones", "insecure-lan-zones":
		u.note(
			s,
			Changed,
			"reverse zones of private networks are answered here unless a zone, forward or stub has them; "+
				"resolver.special_names: false ends that",
		)
	case "dns64-prefix", "dns64-synthall", "dns64-ignore-aaaa":
		u.note(s, Unsupported, "write it as resolver.dns64, with prefix, clients and exclude")
	default:
		if strings.HasPrefix(s.name(), "tls-") || strings.HasPrefix(s.name(), "http") || strings.HasPrefix(s.name(), "quic") ||
			s.name() == "ssl-upstream" {
			u.note(s, Planned, "only UDP and TCP are served and asked yet")
			return
		}
		u.other(s, unboundOwn)
	}
}

func (u *unbound) listener(s *stmt) {
	addr, port, ok := strings.Cut(s.arg(1), "@")
	if !ok {
		port = u.port
	}
	switch _, err := netip.ParseAddr(addr); {
	case err != nil:
		u.note(s, Unsupported, "only addresses can be listened on")
	case port == "853" || port == "443":
		u.note(s, Planned, "only UDP and TCP are served yet")
	default:
		u.listen(addr, port)
		u.note(s, Converted, "")
	}
}

// insecure has a zone not validated.
func (c *converter) insecure(s *stmt, zone string) {
	if !goodName(zone) || zone == "." {
		c.note(s, Unsupported, "this is not a zone that can be exempt from validation")
		return
	}
	const path = "resolver.negative_trust_anchors"
	entry := "\n    - {name: " + quote(domain(zone)) + "}"
	i := slices.IndexFunc(c.out.settings, func(s setting) bool { return s.path == path })
	switch {
	case i < 0:
		c.out.set(path, entry)
	case !strings.Contains(c.out.settings[i].value, entry):
		c.out.settings[i].value += entry
	}
	c.note(s, Converted, "")
}

// route takes servers that names of a zone are asked of.
func (u *unbound) route(s *stmt) {
	forward := s.name() == "forward-zone"
	kind := strings.TrimSuffix(s.name(), "-zone")
	r := route{from: s}
	tls := false
	for _, e := range s.block {
		switch strings.TrimPrefix(e.name(), kind+"-") {
		case "name":
			r.zone = domain(e.arg(1))
			u.note(e, Converted, "")
		case "first":
			if r.first = forward && yes(e.arg(1)); yes(e.arg(1)) && !forward {
				u.note(e, Unsupported, "only the zone's servers are asked")
				continue
			}
			u.note(e, Converted, "")
		case "tcp-upstream":
			r.tcp = yes(e.arg(1))
			u.note(e, Converted, "")
		case "tls-upstream", "ssl-upstream":
			tls = tls || yes(e.arg(1))
		}
	}
	for _, e := range s.block {
		switch strings.TrimPrefix(e.name(), kind+"-") {
		case "addr":
			text, _, _ := strings.Cut(e.arg(1), "#")
			addr, port, _ := strings.Cut(text, "@")
			a, err := netip.ParseAddr(addr)
			switch {
			case err != nil:
				u.note(e, Unsupported, "only addresses are servers")
			case tls || port == "853":
				u.note(e, Planned, "servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME: it is left out")
			default:
				r.to = append(r.to, server(a, port))
				u.note(e, Converted, "")
			}
		case "host":
			u.note(e, Unsupported, "only addresses are servers")
		case "prime", "no-cache":
			u.note(e, Changed, "port53 has its own way")
		case "tls-upstream", "ssl-upstream":
			u.note(
				e,
				map[bool]string{true: Planned, false: Converted}[tls],
				map[bool]string{true: "servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME", false: ""}[tls],
			)
		case "name", "first", "tcp-upstream":
		default:
			u.other(e, "")
		}
	}
	switch {
	case r.zone == "":
		u.note(s, Unsupported, "it has no name")
	case len(r.to) > 0 && len(u.good(s, r.to)) == 0:
	case len(r.to) == 0 && tls:
		u.note(
			s,
			Planned,
			"servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME: until then names are resolved by iteration",
		)
	case len(r.to) == 0 && forward && find(s.block, "forward-addr", "forward-host") == nil:
		u.addRoute(&u.out.forward, r) // an exception
		u.note(s, Converted, "")
	case len(r.to) == 0:
		u.note(s, Unsupported, "it has no servers that could be taken")
	case forward:
		u.addRoute(&u.out.forward, r)
		u.note(s, Converted, "")
	default:
		u.addRoute(&u.out.stub, r)
		u.note(s, Converted, "")
	}
}

func (u *unbound) authZone(s *stmt) {
	z := &zone{}
	down := true
	for _, e := range s.block {
		switch e.name() {
		case "name":
			z.name = domain(e.arg(1))
		case "zonefile":
			z.file = e.arg(1)
		case "primary", "master":
			addr, port, _ := strings.Cut(strings.SplitN(e.arg(1), "#", 2)[0], "@")
			if a, err := netip.ParseAddr(addr); err == nil {
				z.primaries = append(z.primaries, server(a, port))
			} else {
				u.note(e, Unsupported, "only addresses are servers")
			}
		case "allow-notify":
			if nets, ok := parseNet(e.arg(1)); ok {
				z.allowNotify = z.allowNotify.union(nets)
			}
		case "for-downstream":
			down = yes(e.arg(1))
		case "url":
			u.note(e, Unsupported, "zones come by transfer or from files")
			continue
		case "for-upstream", "fallback-enabled", "zonemd-check", "zonemd-reject-absence":
			u.note(e, Changed, "port53 has its own way")
			continue
		default:
			u.other(e, "")
			continue
		}
		u.note(e, Converted, "")
	}
	switch {
	case !down || z.name == ".":
		u.note(s, Changed, "names are resolved by asking the zone's servers: it is not kept here as a whole")
	case len(z.primaries) == 0 && !strings.HasPrefix(z.file, "/"):
		u.note(s, Unsupported, "the path of its file is seen from a directory that is not known: write it out")
	default:
		u.addZone(s, z)
	}
}

// unboundTTL is the TTL of local data that says none.
const unboundTTL = 3600

// record reads local-data and local-data-ptr; without a name it is none.
func (u *unbound) record(s *stmt) localName {
	f := strings.Fields(s.arg(1))
	if s.name() == "local-data-ptr" {
		if len(f) < 2 {
			return localName{}
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			return localName{}
		}
		return localName{s, reverseName(a), "PTR", domain(f[len(f)-1]) + ".", unboundTTL, false, false}
	}
	if len(f) == 0 {
		return localName{}
	}
	n := localName{from: s, name: domain(f[0]), ttl: unboundTTL, reverse: false}
	for f = f[1:]; len(f) > 0; f = f[1:] {
		if ttl, err := strconv.Atoi(f[0]); err == nil && ttl >= 0 {
			n.ttl = ttl
		} else if !strings.EqualFold(f[0], "IN") {
			break
		}
	}
	if len(f) < 2 {
		return localName{}
	}
	n.typ, n.data = strings.ToUpper(f[0]), strings.Join(f[1:], " ")
	return n
}

// localData takes names that Unbound has without zone files.
func (u *unbound) localData(l *locals) {
	for _, s := range l.records {
		n := u.record(s)
		switch {
		case n.name == "" && s.name() == "local-data":
			u.note(s, Unsupported, "it is no record")
			continue
		case n.name == "":
			u.note(s, Unsupported, "it is no address and a name")
			continue
		case s.name() == "local-data-ptr":
			u.addRecord(n)
			continue
		}
		zone := l.zoneOf(n.name)
		switch l.zones[zone] {
		case "redirect":
			n.below = n.name == zone
		case "typetransparent", "inform":
			u.note(s, Changed, "other types of the name do not exist")
		case "always_nxdomain", "always_nodata", "always_refuse", "always_deny", "always_null", "deny", "refuse", "inform_deny":
			u.note(s, Planned, "it is not made a list yet: write one for policy.lists")
			continue
		}
		u.addRecord(n)
	}
	for name, s := range l.stmts {
		switch kind := l.zones[name]; kind {
		case "static":
			u.addDomain(name)
			u.note(s, Changed, "as a zone it has an SOA record and a name server")
		case "redirect", "transparent", "typetransparent", "nodefault", "inform", "always_transparent":
			u.note(s, Converted, "")
		default:
			u.note(s, Planned, "names in it are resolved: write them into a list of policy.lists")
		}
	}
	slices.Sort(u.domains)
}

// zoneOf returns the local zone that a name is in, or "".
func (l *locals) zoneOf(name string) string {
	for n := name; ; {
		if _, ok := l.zones[n]; ok {
			return n
		}
		i := strings.IndexByte(n, '.')
		if i < 0 {
			return ""
		}
		n = n[i+1:]
	}
}
