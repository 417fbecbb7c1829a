package convert

import (
	"slices"
	"strconv"
	"strings"
)

// bindSettings are the options of BIND that a key of port53 stands for, and how their values
// are read.
func bindSettings() map[string]struct {
	path string
	read func(string) (string, bool)
} {
	type row = struct {
		path string
		read func(string) (string, bool)
	}
	return map[string]row{
		"max-cache-size":              {"resolver.cache.size", bindSize},
		"max-cache-ttl":               {"resolver.cache.max_ttl", bindTime},
		"min-cache-ttl":               {"resolver.cache.min_ttl", bindTime},
		"max-ncache-ttl":              {"resolver.cache.max_negative_ttl", bindTime},
		"stale-answer-enable":         {"resolver.cache.serve_stale", bindBool},
		"stale-answer-ttl":            {"resolver.cache.stale_ttl", bindTime},
		"max-stale-ttl":               {"resolver.cache.stale_keep", bindTime},
		"stale-answer-client-timeout": {"resolver.cache.stale_client_timeout", millis},
		"prefetch": {
			"resolver.cache.prefetch",
			func(s string) (string, bool) { return strconv.FormatBool(s != "0"), true },
		},
		"dnssec-validation": {
			"resolver.validation",
			func(s string) (string, bool) { return strconv.FormatBool(s != "no" && s != "false"), true },
		},
		"qname-minimization": {
			"resolver.qname_minimization",
			func(s string) (string, bool) { return strings.Replace(s, "disabled", "off", 1), true },
		},
		"synth-from-dnssec":   {"resolver.aggressive_nsec", bindBool},
		"recursive-clients":   {"resolver.limits.waiting", count},
		"fetches-per-zone":    {"resolver.limits.per_zone", count},
		"fetches-per-server":  {"resolver.limits.per_server", count},
		"max-recursion-depth": {"resolver.limits.depth", count},
		"tcp-clients":         {"tcp.max_connections", count},
		"tcp-idle-timeout":    {"tcp.idle", func(s string) (string, bool) { return millis(s + "00") }},
		"max-udp-size":        {"edns.udp_size", count},
		"answer-cookie":       {"edns.cookies", bindBool},
		"version":             {"identity.version", hidden},
		"hostname":            {"identity.hostname", hidden},
		"querylog": {"log.queries", func(s string) (string, bool) {
			if yes(s) {
				return "text", true
			}
			return "off", true
		}},
		"transfers-in":  {"transfers.max_in", count},
		"transfers-out": {"transfers.max_out", count},
	}
}

func bindBool(s string) (string, bool) { return strconv.FormatBool(yes(s)), true }

func count(s string) (string, bool) {
	n, err := strconv.Atoi(s)
	return strconv.Itoa(n), err == nil && n > 0
}

func millis(s string) (string, bool) {
	n, err := strconv.Atoi(s)
	return strconv.Itoa(n) + "ms", err == nil && n > 0
}

func hidden(s string) (string, bool) {
	if s == "none" || s == "" {
		return "hidden", true
	}
	return quote(s), true
}

// bindSize reads 256m, or a number of bytes.
func bindSize(s string) (string, bool) {
	unit := int64(1)
	if n := len(s); n > 1 {
		switch s[n-1] | 0x20 {
		case 'k':
			s, unit = s[:n-1], 1<<10
		case 'm':
			s, unit = s[:n-1], 1<<20
		case 'g':
			s, unit = s[:n-1], 1<<30
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<40/unit {
		return "", false
	}
	return strconv.FormatInt((n*unit+1<<10-1)/(1<<10), 10) + "KiB", true
}

// bindTime reads seconds, or a time such as 1h30m or PT1H.
func bindTime(s string) (string, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return strconv.Itoa(n) + "s", n >= 0
	}
	t := strings.ToLower(s)
	if rest, iso := strings.CutPrefix(t, "p"); iso {
		days, clock, _ := strings.Cut(rest, "t")
		if strings.ContainsAny(days, "ym") {
			return "", false // of no fixed length
		}
		t = days + clock
	}
	return t, t != "" && strings.Trim(t, "0123456789wdhms") == ""
}

// readOptions …
// In one piece: it is a table of options and what becomes of each.
func (b *bind) readOptions() {
	settings := bindSettings()
	v4, v6 := true, true
	for _, s := range b.options {
		if b.skips(s) {
			continue
		}
		if row, ok := settings[s.name()]; ok && find(b.options, s.name()) == s {
			if value, ok := row.read(s.arg(1)); ok {
				b.take(s, row.path, value)
			} else {
				b.note(s, Changed, "port53's own default is used: "+row.path+" is a bound of its own")
			}
			continue
		}
		switch s.name() {
		case "zone",
			"view",
			"acl",
			"masters",
			"primaries",
			"key",
			"server",
			"trust-anchors",
			"managed-keys",
			"trusted-keys": // said elsewhere
		case "directory", "allow-transfer", "also-notify", "allow-update", "recursion", "forwarders", "forward", "serial-update-method":
			b.note(s, Converted, "")
		case "notify":
			b.notifies(s)
		case "match-clients":
			if b.view != nil {
				continue // see waysInto
			}
			acl := b.clients(s)
			b.out.deny = b.out.deny.union(allAddresses().minus(acl.nets))
			b.note(s, Converted, "")
		case "send-cookie": // to any server
			b.bears(s, "any", "cookies")
		case "match-destinations", "match-recursive-only":
			if b.view != nil {
				continue
			}
			b.note(s, Unsupported, "clients are told by their addresses alone")
		case "listen-on", "listen-on-v6":
			v4, v6 = v4 && s.name() == "listen-on-v6", v6 && s.name() == "listen-on"
			b.listenOn(s)
		case "allow-query", "allow-query-cache", "allow-recursion":
			if find(b.options, s.name()) != s {
				b.note(s, Converted, "")
				continue
			}
			acl := b.clients(s)
			b.note(s, Converted, "")
			switch s.name() {
			case "allow-query":
				b.query = &acl
			case "allow-query-cache":
				b.cache = &acl
			default:
				b.recursion = &acl
			}
			if s.name() == "allow-recursion" || b.out.clientsFrom == nil {
				b.out.clientsFrom = s
			}
		case "allow-query-on", "allow-recursion-on", "allow-query-cache-on":
			b.note(s, Unsupported, "clients are told by their addresses, not by the server's")
		case "blackhole":
			acl := b.clients(s)
			b.out.deny = b.out.deny.union(acl.nets)
			b.doNotQuery(acl.nets)
			b.note(s, Changed, "they get REFUSED instead of nothing, and are not asked either")
		case "query-source", "query-source-v6":
			b.querySource(s)
		case "rate-limit":
			b.rateLimit(s)
		case "rrset-order":
			b.rrsetOrder(s)
		case "dnssec-policy", "auto-dnssec", "inline-signing":
			b.note(s, Changed, "it is said of each zone")
		case "response-policy":
			b.responsePolicy(s)
		case "deny-answer-addresses", "deny-answer-aliases":
			b.note(s, Planned, "it is not made a list yet: write one for policy.lists")
		case "dns64":
			b.note(s, Unsupported, "write it as resolver.dns64, with prefix, clients and exclude")
		case "catalog-zones":
			b.note(s, Unsupported, "write catalog: consume and members at the catalog's zone")
		case "attach-cache":
			b.note(s, Changed, "views that are resolved for alike share the cache, and others do not")
		case "validate-except":
			for _, e := range s.block {
				b.insecure(e, e.arg(0))
			}
			b.note(s, Converted, "")
		case "disable-empty-zone", "empty-zones-enable":
			b.note(
				s,
				Changed,
				"reverse zones of private networks are answered here unless a zone, forward or stub has them; "+
					"resolver.special_names: false ends that",
			)
		default:
			b.other(s, bindOwn)
		}
	}
	if v4 && b.view == nil {
		b.listen("0.0.0.0", "")
	}
	if v6 && b.view == nil {
		b.listen("::", "")
	}
	b.forwarders(b.options, ".", find(b.options, "forwarders"))
	if f, p := find(b.options, "forwarders"), find(b.options, "forward"); f == nil && p != nil {
		b.note(p, Changed, "there are no forwarders")
	}
}

func (b *bind) notifies(s *stmt) {
	switch s.arg(1) {
	case "no", "explicit", "false":
		b.note(s, Converted, "")
	default:
		b.note(s, Changed, "the servers of also-notify are sent NOTIFY; those of NS records have to be listed in notify")
	}
}

func (b *bind) querySource(s *stmt) {
	a := s.option("address")
	if a == "" {
		a = s.arg(1)
	}
	if _, ok := parseNet(a); !ok {
		b.note(s, Changed, "the system chooses the address and port53 the port, at random")
		return
	}
	b.takeList(s, "resolver.outgoing", a)
	if p := s.option("port"); p != "" && p != "*" {
		b.note(s, Changed, "each question has a random port")
	}
}

// rrsetOrder takes the order of all sets; what is said of some types and names is not taken.
func (b *bind) rrsetOrder(s *stmt) {
	b.note(s, Converted, "")
	for _, e := range s.block {
		said := map[string]string{}
		for i := 0; i+1 < len(e.words); i += 2 {
			said[e.words[i].text] = strings.ToUpper(e.arg(i + 1))
		}
		order := strings.ToLower(said["order"])
		some := !slices.Contains([]string{"", "ANY", "IN"}, said["class"]) || !slices.Contains([]string{"", "ANY"}, said["type"]) ||
			!slices.Contains([]string{"", "*"}, said["name"])
		switch {
		case some:
			b.note(e, Unsupported, "rrset_order is said of the server, and of zones")
		case order == "none", order == "fixed":
			b.order("fixed")
			b.note(e, Converted, "")
		case order == "cyclic", order == "random":
			b.order(order)
			b.note(e, Changed, "sets of NS, MX and others with names in them keep their order")
		default:
			b.note(e, Unsupported, "the orders are fixed, cyclic and random")
		}
	}
}

// order has the records of sets sent in an order, in a view in the place of the server's.
func (b *bind) order(o string) {
	if b.view != nil {
		b.out.set("rrset_order", o)
		return
	}
	b.out.order(o)
}

func (b *bind) rateLimit(s *stmt) {
	b.note(s, Converted, "")
	b.out.set("policy.rate_limit.enabled", "true")
	for _, e := range s.block {
		rate := func(path string) { b.take(e, "policy.rate_limit."+path, e.arg(1)+"/s") }
		switch e.name() {
		case "responses-per-second":
			rate("per_second")
		case "all-per-second":
			rate("ceiling")
		case "slip":
			b.take(e, "policy.rate_limit.slip", e.arg(1))
		case "ipv4-prefix-length", "ipv6-prefix-length":
			b.take(e, "policy.rate_limit."+e.name()[:4]+"_prefix", e.arg(1))
		case "log-only":
			b.take(e, "policy.rate_limit.log_only", strconv.FormatBool(yes(e.arg(1))))
		case "exempt-clients":
			b.out.add("policy.rate_limit.exempt", b.clients(e).nets.text()...)
			b.note(e, Converted, "")
		default:
			b.note(e, Changed, "port53 has its own limits: policy.rate_limit")
		}
	}
}
