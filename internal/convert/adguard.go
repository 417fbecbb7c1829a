package convert

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// readAdGuard takes AdGuardHome.yaml.
func readAdGuard(c *converter, path string) error {
	text, err := c.readFile(path, nil)
	if err != nil {
		return err
	}
	root, err := yamlTree(path, text)
	if err != nil {
		return err
	}
	c.out.recurse, c.out.inside = true, true
	dns := root.at("dns")
	port := dns.at("port").arg(1)
	for _, s := range root.block {
		switch s.name() {
		case "dns":
			for _, e := range c.vet(s.block, adguardKinds(), nil) {
				c.adguardDNS(e, port)
			}
			c.note(s, Converted, "")
		case "filtering":
			c.adguardRewrites(s)
		case "filters", "whitelist_filters", "user_rules":
			c.note(s, Converted, "") // read together
		case "dhcp", "tls":
			c.adguardOthers(s)
		case "clients":
			c.note(s, Converted, "")
		default:
			c.note(s, Changed, "port53 has its own: log, metrics, control")
		}
	}
	c.adguardFilters(root)
	if len(c.out.listen) == 0 {
		c.listen("0.0.0.0", port)
		c.listen("::", port)
	}
	if find(root.at("dns").block, "allowed_clients") == nil || len(dns.at("allowed_clients").args()) == 0 {
		c.out.recursion, c.out.clientsFrom = allAddresses(), dns
	}
	if len(c.out.forward) > 0 {
		c.out.set("resolver.validation", "false")
		c.out.remarks = append(
			c.out.remarks,
			"Answers are not validated, as they were not: remove validation: false where the",
			"forwarders pass signatures on.",
			"",
		)
	}
	return nil
}

// adguardOwn are options that say how AdGuard Home does what port53 does in its own way.
const adguardOwn = `anonymize_client_ip ratelimit_subnet_len_ipv4 ratelimit_subnet_len_ipv6 refuse_any fallback_dns
	upstream_mode fastest_timeout
	trusted_proxies cache_enabled cache_size cache_optimistic_answer_ttl cache_optimistic_max_age bootstrap_prefer_ipv6
	edns_client_subnet max_goroutines
	handle_ddr ipset ipset_file upstream_timeout private_networks use_private_ptr_resolvers local_ptr_upstreams serve_plain_dns
	pending_requests bootstrap_dns port upstream_dns_file serve_http3 use_http3_upstreams enable_dnssec`

// adguardDNS …
// In one piece: it is a table of options and what becomes of each.
func (c *converter) adguardDNS(s *stmt, port string) {
	switch s.name() {
	case "bind_hosts", "bind_host":
		for _, a := range s.args() {
			if _, err := netip.ParseAddr(a); err != nil {
				c.note(s, Unsupported, "only addresses can be listened on")
				continue
			}
			c.listen(a, port)
		}
		c.note(s, Converted, "")
	case "upstream_dns":
		c.note(s, Converted, "")
		var usual []*stmt // domains whose names go where all others do
		for _, w := range s.words[1:] {
			if strings.HasSuffix(strings.TrimSpace(w.text), "/]#") {
				usual = append(usual, &stmt{words: []word{w}})
				continue
			}
			c.adguardUpstream(w)
		}
		c.adguardUsual(usual)
	case "hostsfile_enabled":
		c.note(s, Converted, "")
		if _, err := os.Stat("/etc/hosts"); err == nil && yes(s.arg(1)) {
			c.pending = append(c.pending, hostsFile{s, "/etc/hosts", "", adguardTTL})
		}
	case "allowed_clients", "disallowed_clients":
		c.note(s, Converted, "")
		nets := netset{}
		for _, a := range s.args() {
			n, ok := parseNet(a)
			if !ok {
				c.note(s, Unsupported, "clients are told by their addresses, not by names")
			}
			nets = nets.union(n)
		}
		if s.name() == "allowed_clients" && len(s.args()) > 0 {
			c.out.recursion, c.out.clientsFrom = nets, s
		} else if s.name() == "disallowed_clients" {
			c.out.deny = c.out.deny.union(nets)
		}
	case "blocked_hosts":
		if len(s.args()) > 0 {
			c.note(s, Unsupported, "write them into a list")
		}
	case "aaaa_disabled", "bogus_nxdomain", "dns64_prefixes", "use_dns64":
		if len(s.args()) > 0 && s.arg(1) != "false" {
			c.note(s, Planned, "answers are not filtered or synthesised yet")
		} else {
			c.note(s, Converted, "")
		}
	case "ratelimit":
		if n, err := strconv.Atoi(s.arg(1)); err == nil && n > 0 {
			c.out.set("policy.rate_limit.enabled", "true")
			c.take(s, "policy.rate_limit.ceiling", s.arg(1)+"/s")
		} else {
			c.note(s, Converted, "")
		}
	case "cache_ttl_min", "cache_ttl_max":
		if s.arg(1) == "0" {
			c.note(s, Converted, "")
			return
		}
		c.take(s, "resolver.cache."+map[string]string{"cache_ttl_min": "min_ttl", "cache_ttl_max": "max_ttl"}[s.name()], s.arg(1)+"s")
	case "cache_optimistic":
		c.take(s, "resolver.cache.serve_stale", strconv.FormatBool(yes(s.arg(1))))
	default:
		c.other(s, adguardOwn)
	}
}

// adguardUsual sends domains where all others go: [/domain/]#.
func (c *converter) adguardUsual(list []*stmt) {
	i := slices.IndexFunc(c.out.forward, func(r route) bool { return r.zone == "." })
	for _, s := range list {
		names, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(s.name()), "[/"), "/]")
		for _, name := range strings.Split(names, "/") {
			if name = domain(strings.TrimPrefix(name, "*.")); name == "" {
				continue
			}
			r := route{from: s, zone: name}
			if i >= 0 {
				r.to = slices.Clone(c.out.forward[i].to)
			}
			c.addRoute(&c.out.forward, r)
		}
		c.note(s, Converted, "")
	}
}

// adguardUpstream takes a server, which may be for some domains alone: [/domain/]server.
func (c *converter) adguardUpstream(w word) {
	s := &stmt{words: []word{w}}
	text := strings.TrimSpace(w.text)
	if text == "" || text[0] == '#' || text[0] == '!' {
		return
	}
	domains := []string{"."}
	if rest, ok := strings.CutPrefix(text, "[/"); ok {
		list, servers, ok := strings.Cut(rest, "/]")
		if !ok {
			c.note(s, Unsupported, "it has no end of its domains")
			return
		}
		domains, text = strings.Split(list, "/"), servers
	}
	var to []string
	for _, t := range strings.Fields(text) {
		tcp := strings.HasPrefix(t, "tcp://")
		t = strings.TrimPrefix(strings.TrimPrefix(t, "udp://"), "tcp://")
		switch {
		case strings.Contains(t, "://"):
			c.note(s, Planned, "servers over TLS are not imported yet, and can be written as tls://ADDRESS#NAME: it is left out")
		case tcp:
			c.note(s, Changed, "UDP is used first")
			to = append(to, c.servers(s, []string{t})...)
		default:
			to = append(to, c.servers(s, []string{t})...)
		}
	}
	if len(to) == 0 {
		return
	}
	for _, d := range domains {
		if d = domain(strings.TrimPrefix(d, "*.")); d == "" {
			c.note(s, Unsupported, "names without a dot are asked for as others are")
			continue
		}
		at := -1
		for i := range c.out.forward {
			if c.out.forward[i].zone == d {
				at = i
			}
		}
		if at >= 0 {
			c.out.forward[at].to = append(c.out.forward[at].to, to...)
		} else {
			c.addRoute(&c.out.forward, route{from: s, zone: d, to: to})
		}
	}
	c.note(s, Converted, "")
}

// adguardRewrites takes names with addresses of their own.
func (c *converter) adguardRewrites(s *stmt) {
	for _, e := range s.block {
		if e.name() != "rewrites" {
			continue
		}
		c.note(e, Converted, "")
		for _, r := range e.block {
			name, answer := r.at("domain").arg(1), r.at("answer").arg(1)
			if on := r.at("enabled").arg(1); on != "" && !yes(on) {
				c.note(r, Changed, "it is switched off")
				continue
			}
			rest, below := strings.CutPrefix(name, "*.")
			switch a, err := netip.ParseAddr(answer); {
			case err == nil:
				c.addName(r, name, a, adguardTTL, false, false) // the name above a star is not meant
			case answer == "A" || answer == "AAAA" || answer == name:
				c.note(r, Unsupported, "an exception of a rewrite")
			default:
				c.addRecord(localName{r, domain(rest), "CNAME", domain(answer) + ".", adguardTTL, below, false})
			}
		}
	}
	for _, on := range []string{"safebrowsing_enabled", "parental_enabled"} {
		if e := s.at(on); yes(e.arg(1)) {
			c.note(e, Unsupported, "it asks a service of AdGuard about each name: a list does without")
		}
	}
	if e := s.at("blocked_services").at("ids"); len(e.args()) > 0 {
		c.note(e, Unsupported, "a service is a list of its names: write one for it")
	}
	if e := s.at("safe_search").at("enabled"); yes(e.arg(1)) {
		c.note(e, Unsupported, "safe search is a list of rules with $dnsrewrite: docs/FILTERING.md has one")
	}
	c.note(s, Converted, "")
}

// adguardTTL is the TTL of AdGuard Home's own answers, in seconds.
const adguardTTL = 10

func (c *converter) adguardOthers(s *stmt) {
	switch {
	case s.name() == "dhcp" && yes(s.at("enabled").arg(1)):
		c.note(s, Unsupported, "port53 gives no addresses")
	case s.name() == "tls" && yes(s.at("enabled").arg(1)):
		c.note(s, Planned, "only UDP and TCP are served yet")
	default:
		c.note(s, Changed, "it is switched off")
	}
}
