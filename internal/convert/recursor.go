package convert

import (
	"net/netip"
	"path/filepath"
	"strings"
)

// recursorDefault are those whom PowerDNS Recursor serves if nothing is said.
const recursorDefault = "127.0.0.0/8 10.0.0.0/8 100.64.0.0/10 169.254.0.0/16 192.168.0.0/16 172.16.0.0/12 ::1/128 fc00::/7 fe80::/10"

// recursorSettings are the options of PowerDNS Recursor that a key of port53 stands for.
const recursorSettings = ` max-cache-ttl=resolver.cache.max_ttl/s max-negative-ttl=resolver.cache.max_negative_ttl/s
	minimum-ttl-override=resolver.cache.min_ttl/s max-recursion-depth=resolver.limits.depth/n
	qname-minimization=resolver.qname_minimization/qname
	max-total-msec=resolver.limits.time/ms nsec3-max-iterations=resolver.limits.nsec3_iterations/n max-tcp-clients=tcp.max_connections/n
	client-tcp-timeout=tcp.idle/s udp-truncation-threshold=edns.udp_size/n root-nx-trust=resolver.aggressive_nsec/pdns
	server-id=identity.hostname/text version-string=identity.version/text `

// recursorOwn are options that say how PowerDNS Recursor does what port53 does in its own way.
const recursorOwn = `config-dir include-dir local-port security-poll-suffix socket-dir socket-mode socket-owner
	socket-group public-suffix-list-file
	setuid setgid chroot daemon threads reuseport distributor-threads pdns-distributes-queries processes single-socket max-mthreads
	max-cache-entries max-packetcache-entries packetcache-ttl packetcache-servfail-ttl disable-packetcache record-cache-shards
	record-cache-locked-ttl-perc refresh-on-ttl-perc network-timeout loglevel log-common-errors log-timestamp
	logging-facility disable-syslog
	structured-logging structured-logging-backend statistics-interval stack-size stats-ringbuffer-entries entropy-source rng write-pid
	hint-file dnssec-log-bogus signature-inception-skew any-to-tcp max-qperq max-ns-address-qperq max-ns-per-resolve
	max-concurrent-requests-per-tcp-connection
	max-tcp-per-client max-tcp-queries-per-connection max-udp-queries-per-round non-local-bind tcp-fast-open tcp-fast-open-connect
	server-down-max-fails server-down-throttle-time non-resolving-ns-max-fails non-resolving-ns-throttle-time dont-throttle-names
	dont-throttle-netmasks spoof-nearmiss-max extended-resolution-errors lowercase-outgoing max-cache-bogus-ttl nothing-below-nxdomain
	aggressive-nsec-cache-size edns-outgoing-bufsize edns-padding-from edns-padding-mode edns-padding-out edns-padding-tag
	udp-source-port-avoid udp-source-port-max udp-source-port-min cpu-map config-name trace max-generate-steps max-include-depth
	export-etc-hosts-search-suffix serve-stale-extensions`

// readRecursor takes PowerDNS Recursor's recursor.conf.
func readRecursor(c *converter, path string) error {
	stmts, err := c.keyValues(path, nil)
	if err != nil {
		return err
	}
	return c.recursor(path, c.vet(stmts, recursorKinds(), nil))
}

// recursor takes options of PowerDNS Recursor by their old names.
func (c *converter) recursor(path string, stmts []*stmt) error {
	c.out.recurse, c.out.inside = true, true
	port := ""
	if s := find(stmts, "local-port"); s != nil {
		port = s.arg(1)
	}
	if find(stmts, "allow-from", "allow-from-file") == nil {
		c.out.recursion = c.nets(nil, recursorDefault)
	}
	for _, s := range stmts {
		if find(stmts, s.name()) != s && !strings.HasPrefix(s.name(), "forward-zones") && s.name() != "auth-zones" {
			continue
		}
		if err := c.recursorOption(path, s, stmts, port); err != nil {
			return err
		}
	}
	if len(c.out.listen) == 0 {
		c.listen("127.0.0.1", port)
	}
	return nil
}

// recursorOption …
// In one piece: it is a table of options and what becomes of each.
func (c *converter) recursorOption(path string, s *stmt, stmts []*stmt, port string) error {
	v := s.arg(1)
	switch s.name() {
	case "local-address":
		c.listenAll(s, commas(v), port)
	case "allow-from":
		c.note(s, Converted, "")
		c.out.clientsFrom = s
		if c.out.recursion = c.nets(s, v); c.out.recursion == nil {
			c.out.recursion = netset{}
		}
	case "allow-from-file":
		if v == "" {
			return nil
		}
		text, err := c.readFile(v, &s.words[0])
		if err != nil {
			return err
		}
		c.out.recursion, c.out.clientsFrom = netset{}, s
		for _, line := range strings.Split(text, "\n") {
			line, _, _ = strings.Cut(line, "#")
			c.out.recursion = c.out.recursion.union(c.nets(s, line))
		}
		c.note(s, Converted, "")
	case "forward-zones", "forward-zones-recurse":
		for _, entry := range strings.Split(v, ",") {
			if strings.TrimSpace(entry) != "" {
				c.recursorForward(s, entry, s.name() == "forward-zones-recurse")
			}
		}
	case "forward-zones-file":
		if v == "" {
			return nil
		}
		text, err := c.readFile(v, &s.words[0])
		if err != nil {
			return err
		}
		c.note(s, Converted, "")
		for i, line := range strings.Split(text, "\n") {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				rest, recurse := strings.CutPrefix(strings.TrimPrefix(line, "^"), "+")
				c.recursorForward(lineStmt(v, i+1, line), strings.TrimPrefix(rest, "^"), recurse)
			}
		}
	case "auth-zones":
		for _, entry := range strings.Split(v, ",") {
			name, file, ok := strings.Cut(strings.TrimSpace(entry), "=")
			if entry = strings.TrimSpace(entry); entry == "" {
				continue
			}
			if !ok {
				c.note(s, Unsupported, "it is no zone and a file")
				continue
			}
			c.addZone(s, &zone{name: domain(strings.TrimSpace(name)), file: beside(path, strings.TrimSpace(file))})
		}
	case "dnssec":
		switch v {
		case "off", "process-no-validate":
			c.take(s, "resolver.validation", "false")
		case "validate":
			c.take(s, "resolver.validation", "true")
		default:
			c.note(s, Changed, "answers are validated for all who ask")
		}
	case "export-etc-hosts":
		if !pdnsYes(v) {
			c.note(s, Converted, "")
			return nil
		}
		file := "/etc/hosts"
		if e := find(stmts, "etc-hosts-file"); e != nil {
			file = e.arg(1)
		}
		suffix := ""
		if e := find(stmts, "export-etc-hosts-search-suffix"); e != nil {
			suffix = domain(e.arg(1))
		}
		c.pending = append(c.pending, hostsFile{s, file, suffix, hostsTTL})
	case "etc-hosts-file":
		c.note(s, Converted, "")
	case "serve-rfc1918":
		if c.note(s, Converted, ""); !pdnsYes(v) {
			c.note(
				s,
				Changed,
				"reverse zones of private networks are answered here unless a zone, forward or stub has them; "+
					"resolver.special_names: false ends that",
			)
		}
	case "query-local-address":
		for _, a := range commas(v) {
			if addr, err := netip.ParseAddr(a); err == nil && !addr.IsUnspecified() {
				c.takeList(s, "resolver.outgoing", a)
			}
		}
		c.note(s, Converted, "")
	case "dont-query":
		c.out.set("resolver.do_not_query", list(c.nets(s, v).text()))
		c.note(s, Converted, "")
	case "quiet":
		c.take(s, "log.queries", map[bool]string{true: "off", false: "text"}[pdnsYes(v)])
	case "lua-config-file":
		if v != "" && c.luaPolicies(s, beside(path, v)) {
			c.note(s, Changed, "of the program, response policy zones are taken and nothing else")
		} else if v != "" {
			c.note(s, Unsupported, "it cannot be read: write its response policy zones as policy.rpz")
		}
	case "lua-dns-script", "gettag-needs-edns-options":
		if v != "" {
			c.note(s, Unsupported, "programs are not run: write what they decide as policy.rpz or policy.lists")
		}
	case "dns64-prefix":
		c.note(s, Unsupported, "write it as resolver.dns64, with prefix, clients and exclude")
	case "webserver", "api-key", "api-config-dir":
		if pdnsYes(v) {
			c.note(s, Planned, "there is no API yet")
		}
	default:
		if strings.HasPrefix(s.name(), "webserver-") || strings.HasPrefix(s.name(), "snmp") || strings.HasPrefix(s.name(), "carbon") ||
			strings.HasPrefix(s.name(), "stats-") {
			c.note(s, Changed, "port53 has its own: metrics")
			return nil
		}
		if strings.HasPrefix(s.name(), "ecs-") || strings.HasPrefix(s.name(), "edns-subnet") || strings.Contains(s.name(), "notify-for") ||
			strings.HasPrefix(s.name(), "dot-") {
			c.note(s, Unsupported, "port53 has nothing like it")
			return nil
		}
		if s.name() == "qname-minimization" {
			c.take(s, "resolver.qname_minimization", map[bool]string{true: "relaxed", false: "off"}[pdnsYes(v)])
			return nil
		}
		if !c.setting(s, recursorSettings) {
			c.other(s, recursorOwn)
		}
	}
	return nil
}

// recursorForward takes zone=address;address.
func (c *converter) recursorForward(s *stmt, entry string, recurse bool) {
	name, list, _ := strings.Cut(entry, "=")
	to := c.servers(s, strings.FieldsFunc(list, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }))
	if len(to) == 0 {
		c.note(s, Unsupported, "the zone has no servers that could be taken")
		return
	}
	r := route{from: s, zone: domain(strings.TrimSpace(name)), to: to}
	if recurse {
		c.addRoute(&c.out.forward, r)
	} else {
		c.addRoute(&c.out.stub, r)
	}
	c.note(s, Converted, "")
}

// recursorNames are the options of recursor.yml that have the place of old ones.
func recursorNames() map[string]string {
	return map[string]string{
		"incoming.listen":                         "local-address",
		"incoming.port":                           "local-port",
		"incoming.allow_from":                     "allow-from",
		"incoming.allow_from_file":                "allow-from-file",
		"incoming.max_tcp_clients":                "max-tcp-clients",
		"incoming.tcp_timeout":                    "client-tcp-timeout",
		"incoming.udp_truncation_threshold":       "udp-truncation-threshold",
		"outgoing.source_address":                 "query-local-address",
		"outgoing.dont_query":                     "dont-query",
		"dnssec.validation":                       "dnssec",
		"dnssec.nsec3_max_iterations":             "nsec3-max-iterations",
		"recordcache.max_ttl":                     "max-cache-ttl",
		"recordcache.max_negative_ttl":            "max-negative-ttl",
		"recursor.minimum_ttl_override":           "minimum-ttl-override",
		"recursor.max_recursion_depth":            "max-recursion-depth",
		"recursor.qname_minimization":             "qname-minimization",
		"recursor.max_total_msec":                 "max-total-msec",
		"recursor.export_etc_hosts":               "export-etc-hosts",
		"recursor.etc_hosts_file":                 "etc-hosts-file",
		"recursor.export_etc_hosts_search_suffix": "export-etc-hosts-search-suffix",
		"recursor.serve_rfc1918":                  "serve-rfc1918",
		"recursor.hint_file":                      "hint-file",
		"recursor.lua_config_file":                "lua-config-file",
		"recursor.lua_dns_script":                 "lua-dns-script",
		"recursor.server_id":                      "server-id",
		"recursor.version_string":                 "version-string",
		"recursor.security_poll_suffix":           "security-poll-suffix",
		"logging.quiet":                           "quiet",
		"logging.loglevel":                        "loglevel",
		"webservice.webserver":                    "webserver",
		"recursor.threads":                        "threads",
		"recursor.include_dir":                    "include-dir",
		"recursor.setuid":                         "setuid",
		"recursor.setgid":                         "setgid",
		"recursor.socket_dir":                     "socket-dir",
		"recursor.config_dir":                     "config-dir",
	}
}

// readRecursorYAML takes PowerDNS Recursor's recursor.yml.
func readRecursorYAML(c *converter, path string) error {
	text, err := c.readFile(path, nil)
	if err != nil {
		return err
	}
	root, err := yamlTree(path, text)
	if err != nil {
		return err
	}
	names := recursorNames()
	var old []*stmt
	for _, section := range root.block {
		c.note(section, Converted, "")
		for _, s := range section.block {
			switch s.name() {
			case "forward_zones", "forward_zones_recurse":
				c.yamlForwards(s)
				continue
			case "auth_zones":
				for _, e := range s.block {
					c.addZone(e, &zone{name: domain(e.at("zone").arg(1)), file: beside(path, e.at("file").arg(1))})
				}
				c.note(s, Converted, "")
				continue
			case "forward_zones_file":
				c.yamlForwardFile(s)
				continue
			}
			name, ok := names[section.name()+"."+s.name()]
			if !ok {
				c.note(s, Unsupported, "port53 has no such setting: check whether it matters")
				continue
			}
			w := s.words[0]
			w.text = name
			v := w
			v.text = strings.Join(s.args(), ",")
			old = append(old, &stmt{words: []word{w, v}})
		}
	}
	return c.recursor(path, c.vet(old, recursorYAMLKinds(), nil))
}

func (c *converter) yamlForwards(s *stmt) {
	c.note(s, Converted, "")
	for _, e := range s.block {
		recurse := s.name() == "forward_zones_recurse" || yes(e.at("recurse").arg(1))
		f := e.at("forwarders")
		if len(f.words) < 2 {
			c.note(e, Unsupported, "the zone has no servers")
			continue
		}
		c.recursorForward(e, e.at("zone").arg(1)+"="+strings.Join(f.args(), ";"), recurse)
	}
}

// yamlForwardFile reads forwards from a file of their own, in YAML or as they were before.
func (c *converter) yamlForwardFile(s *stmt) {
	path := s.arg(1)
	if path == "" {
		return
	}
	text, err := c.readFile(path, &s.words[0])
	if err == nil && (filepath.Ext(path) == ".yml" || filepath.Ext(path) == ".yaml") {
		var root *stmt
		if root, err = yamlTree(path, text); err == nil {
			root.words[0].text = "forward_zones"
			c.yamlForwards(root)
		}
	} else if err == nil {
		w := s.words[0]
		w.text = "forward-zones-file"
		err = c.recursorOption(path, &stmt{words: []word{w, {text: path}}}, nil, "")
	}
	if err != nil {
		c.note(s, Unsupported, err.Error())
	}
}
