package convert

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keyValues reads a file of lines key=value, as PowerDNS has them, with those that it
// includes. A key with += adds to what it had.
func (c *converter) keyValues(path string, from *word) ([]*stmt, error) {
	text, err := c.readFile(path, from)
	if err != nil {
		return nil, err
	}
	var out []*stmt
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		at, line := i, strings.TrimSuffix(lines[i], "\r")
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + lines[i]
		}
		if n := strings.IndexByte(line, '#'); n >= 0 && (n == 0 || line[n-1] == ' ' || line[n-1] == '\t') {
			line = line[:n]
		}
		name, value, ok := strings.Cut(line, "=")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if !ok {
			value = "yes"
		}
		s := lineStmt(path, at+1, strings.TrimSpace(name), strings.TrimSpace(value))
		if plus, ok := strings.CutSuffix(s.words[0].text, "+"); ok {
			s.words[0].text = strings.TrimSpace(plus)
			if old := find(out, s.name()); old != nil {
				old.words[1].text = strings.Trim(old.arg(1)+","+s.arg(1), ",")
				c.note(s, Converted, "")
				continue
			}
		}
		out = append(out, s)
	}
	if s := find(out, "include-dir"); s != nil && from == nil {
		c.note(s, Converted, "")
		files, _ := filepath.Glob(filepath.Join(s.arg(1), "*.conf"))
		for _, f := range files {
			more, err := c.keyValues(f, &s.words[0])
			if err != nil {
				return nil, err
			}
			for _, m := range more {
				if old := find(out, m.name()); old != nil && m.name() == "launch" {
					old.words[1].text = strings.Trim(old.arg(1)+","+m.arg(1), ",")
					c.note(m, Converted, "")
				} else {
					out = append(out, m)
				}
			}
		}
	}
	return out, nil
}

func commas(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' })
}

// nets reads a list of networks, some behind a !, which are excepted.
func (c *converter) nets(s *stmt, text string) netset {
	var in, out netset
	for _, t := range commas(text) {
		rest, not := strings.CutPrefix(t, "!")
		n, ok := parseNet(rest)
		switch {
		case !ok:
			c.note(s, Unsupported, t+" is no network")
		case not:
			out = out.union(n)
		default:
			in = in.union(n)
		}
	}
	return in.minus(out)
}

// servers reads a list of addresses with ports.
func (c *converter) servers(s *stmt, list []string) (to []string) {
	for _, t := range list {
		if ap, err := netip.ParseAddrPort(t); err == nil {
			to = append(to, ap.String())
			if ap.Port() == 53 {
				to[len(to)-1] = ap.Addr().String()
			}
		} else if a, err := netip.ParseAddr(strings.Trim(t, "[]")); err == nil && a.Zone() == "" {
			to = append(to, a.String())
		} else {
			c.note(s, Unsupported, t+" is no address")
		}
	}
	return to
}

// pdnsOwn are options of the authoritative server that port53 has its own way for.
const pdnsOwn = `ignore-unknown-settings cache-ttl query-cache-ttl negquery-cache-ttl chroot config-dir config-name consistent-backends
	control-console daemon default-soa-content default-ttl disable-syslog distributor-threads dname-processing domain-metadata-cache-ttl
	edns-cookie-secret entropy-source guardian load-modules loglevel log-timestamp log-dns-details logging-facility max-cache-entries
	max-ent-entries max-include-depth max-nsec3-iterations max-packet-cache-entries max-queue-length max-signature-cache-entries
	overload-queue-length queue-limit receiver-threads retrieval-threads reuseport rng security-poll-suffix setgid setuid signing-threads
	slave-cycle-interval xfr-cycle-interval xfr-max-received-mbytes socket-dir tcp-fast-open traceback-handler write-pid
	zone-cache-refresh-interval zone-metadata-cache-ttl include-dir launch local-port any-to-tcp 8bit-dns axfr-fetch-timeout
	local-address-nonexist-fail non-local-bind no-shuffle prevent-self-notification carbon-server carbon-ourname carbon-interval
	bind-check-interval bind-ignore-broken-records bind-supermaster-config bind-supermaster-destdir bind-supermasters bind-config
	master primary slave secondary autosecondary superslave bind-dnssec-db bind-hybrid only-notify also-notify allow-axfr-ips disable-axfr
	default-soa-edit default-soa-edit-signed default-ksk-algorithm default-zsk-algorithm default-ksk-size default-zsk-size direct-dnskey
	max-tcp-connection-duration max-tcp-transactions-per-conn dnssec-key-cache-ttl api-key webserver-address webserver-password
	webserver-allow-from webserver-port webserver-loglevel`

// pdnsByHand is how zones come out of any backend.
const pdnsByHand = "for each of pdnsutil list-all-zones write pdnsutil list-zone ZONE > dir/ZONE.zone, and import the directory"

func readPDNS(c *converter, path string) error {
	stmts, err := c.keyValues(path, nil)
	if err != nil {
		return err
	}
	stmts = c.vet(stmts, pdnsKinds(), nil)
	get := func(name string) string {
		if s := find(stmts, name); s != nil {
			return s.arg(1)
		}
		return ""
	}
	if s := find(stmts, "no-shuffle"); s == nil || !pdnsYes(s.arg(1)) {
		c.out.order("random") // as PowerDNS has it
	}
	for _, s := range stmts {
		c.pdnsOption(s, get("local-port"))
	}
	c.note(lineStmt(path, 1, "aliases"), Changed, otherZone)
	if len(c.out.listen) == 0 {
		c.listen("0.0.0.0", get("local-port"))
		c.listen("::", get("local-port"))
	}
	launch := find(stmts, "launch")
	if launch == nil || len(commas(launch.arg(1))) == 0 {
		c.note(lineStmt(path, 1, "launch"), Unsupported, "no backend is launched")
		return nil
	}
	for _, b := range commas(launch.arg(1)) {
		switch backend, _, _ := strings.Cut(b, ":"); {
		case backend == "bind" && find(stmts, "bind-config") != nil:
			if err := c.pdnsBind(stmts, get); err != nil {
				return err
			}
		case backend == "gsqlite3" && find(stmts, "gsqlite3-database") != nil:
			from := find(stmts, "gsqlite3-database")
			if err := c.pdnsDatabase(from, from.arg(1), c.pdnsMay(stmts)); err != nil {
				c.note(from, Unsupported, err.Error()+"; or "+pdnsByHand)
			}
		case backend == "gmysql" || backend == "gpgsql":
			c.note(
				launch,
				Unsupported,
				"zones of the backend "+b+" are in a database: import what "+
					map[string]string{"gmysql": "mysqldump", "gpgsql": "pg_dump"}[backend]+" writes of it, with --from pdns-database",
			)
		default:
			c.note(launch, Unsupported, "zones of the backend "+b+" are in a database: "+pdnsByHand)
		}
	}
	c.note(launch, Converted, "")
	return nil
}

// pdnsOption …
// In one piece: it is a table of options and what becomes of each.
func (c *converter) pdnsOption(s *stmt, port string) {
	v := s.arg(1)
	switch s.name() {
	case "local-address":
		c.listenAll(s, commas(v), port)
	case "server-id":
		if v != "" && v != "disabled" {
			c.take(s, "identity.hostname", quote(v))
		}
	case "version-string":
		switch v {
		case "anonymous":
			c.note(s, Converted, "")
		case "full", "powerdns":
			c.note(s, Changed, "the version is hidden unless identity.version says one")
		default:
			c.take(s, "identity.version", quote(v))
		}
	case "log-dns-queries", "query-logging":
		c.take(s, "log.queries", map[bool]string{true: "text", false: "off"}[pdnsYes(v)])
	case "udp-truncation-threshold":
		c.take(s, "edns.udp_size", v)
	case "max-tcp-connections":
		c.take(s, "tcp.max_connections", v)
	case "tcp-idle-timeout":
		c.take(s, "tcp.idle", v+"s")
	case "webserver", "api":
		if pdnsYes(v) {
			c.note(s, Planned, "there is no API yet: the port53 command changes zones")
			return
		}
		c.note(s, Converted, "")
	case "dnsupdate", "allow-dnsupdate-from", "forward-dnsupdate":
		if v != "" && v != "no" {
			c.note(s, Unsupported, "updates are granted to keys: write updates at the zones")
		} else {
			c.note(s, Converted, "")
		}
	case "enable-lua-records", "expand-alias", "resolver", "lua-prequery-script", "lua-axfr-script", "dns64":
		if v == "no" || v == "" {
			c.note(s, Converted, "")
			return
		}
		c.note(s, Unsupported, "records are served as they are: ALIAS and LUA are not worked out")
	default:
		if i := strings.IndexByte(
			s.name(),
			'-',
		); i > 0 &&
			slices.Contains(
				[]string{"gsqlite3", "gmysql", "gpgsql", "godbc", "lmdb", "ldap", "remote", "pipe", "geoip", "lua2"},
				s.name()[:i],
			) {
			if s.name() == "gsqlite3-database" {
				return // with launch
			}
			c.note(s, Changed, "how PowerDNS gets at its database")
			return
		}
		c.other(s, pdnsOwn)
	}
}

// pdnsBind takes the zones of the bind backend's file, which has the form of named.conf.
func (c *converter) pdnsBind(stmts []*stmt, get func(string) string) error {
	from := find(stmts, "bind-config")
	top, err := c.bindFile(from.arg(1), &from.words[0])
	if err != nil {
		return err
	}
	c.note(from, Converted, "")
	b := &bind{
		converter:  c,
		acls:       map[string]*stmt{},
		lists:      map[string]*stmt{},
		serverKeys: map[netip.Addr]string{},
		rndc:       map[string]bool{},
	}
	b.dir = filepath.Dir(from.arg(1))
	for _, s := range top {
		if s.name() == "options" {
			if d := find(s.block, "directory"); d != nil {
				b.dir = d.arg(1)
			}
			c.note(s, Converted, "")
		}
	}
	may := c.pdnsMay(stmts)
	secured, known := []byte(nil), true
	db := find(stmts, "bind-dnssec-db")
	if db != nil && db.arg(1) != "" {
		secured, err = os.ReadFile(db.arg(1))
		known = err == nil
	}
	for _, s := range top {
		if s.name() != "zone" {
			continue
		}
		name := domain(s.arg(1))
		if !known || len(secured) > 0 && strings.Contains(string(secured), name) {
			c.note(
				s,
				Unsupported,
				"PowerDNS may sign it ("+db.arg(1)+" has its name, or cannot be read), and here it would be served without signatures",
			)
			continue
		}
		for _, e := range s.block {
			if e.name() == "type" && (e.arg(1) == "native" || e.arg(1) == "master") {
				e.words[1].text = "primary"
			}
		}
		if find(s.block, "type") == nil {
			s.block = append(s.block, &stmt{words: []word{s.words[0], {text: "primary"}}})
			s.block[len(s.block)-1].words[0].text = "type"
		}
		before := len(c.out.zones)
		b.zone(s)
		for _, z := range c.out.zones[before:] {
			z.alone = may
			if also := find(stmts, "also-notify"); also != nil {
				z.notify = append(z.notify, c.servers(also, commas(also.arg(1)))...)
			}
		}
	}
	return nil
}

// pdnsMay returns who may have zones whole.
func (c *converter) pdnsMay(stmts []*stmt) netset {
	if s := find(stmts, "disable-axfr"); s != nil && pdnsYes(s.arg(1)) {
		return netset{}
	}
	if s := find(stmts, "allow-axfr-ips"); s != nil {
		return append(netset{}, c.nets(s, s.arg(1))...)
	}
	return loopback()
}

// listenAll takes the addresses that PowerDNS and its recursor listen on, with the port that
// those have which name none.
func (c *converter) listenAll(s *stmt, addrs []string, port string) {
	for _, a := range addrs {
		if ap, err := netip.ParseAddrPort(a); err == nil {
			c.listen(ap.Addr().String(), strings.TrimPrefix(a[strings.LastIndexByte(a, ':'):], ":"))
		} else if _, err := netip.ParseAddr(a); err == nil {
			c.listen(a, port)
		} else {
			c.note(s, Unsupported, "only addresses can be listened on")
		}
	}
	c.note(s, Converted, "")
}
