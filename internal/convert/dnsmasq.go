package convert

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A dnsmasq is a dnsmasq.conf as it is read.
type dnsmasq struct {
	*converter
	stmts   []*stmt
	ttl     int
	domain  string
	expand  bool
	noHosts bool
	noFile  bool     // no-resolv
	file    *stmt    // resolv-file
	servers []string // for names that no other entry has
	from    *stmt
	routes  map[string][]string
	usual   []*stmt // domains whose names go where all others do
	dnssec  bool
	dhcp    bool
}

// dnsmasqLines splits a file into options: key=value or a key alone.
func (c *converter) dnsmasqLines(path string, from *word) ([]*stmt, error) {
	text, err := c.readFile(path, from)
	if err != nil {
		return nil, err
	}
	var out []*stmt
	for i, line := range strings.Split(text, "\n") {
		start := len(line) - len(strings.TrimLeft(line, " \t"))
		line, err = dnsmasqLine(line)
		if err != nil {
			return nil, word{file: path, line: i + 1, col: start + 1}.fail("%v", err)
		}
		if line == "" {
			continue
		}
		name, value, set := strings.Cut(line, "=")
		s := lineStmt(path, i+1, strings.TrimPrefix(strings.TrimSpace(name), "--"))
		s.words[0].col = start + 1
		if set {
			w := s.words[0]
			w.text = strings.TrimSpace(value)
			s.words = append(s.words, w)
		}
		switch s.name() {
		case "conf-file":
			c.note(s, Converted, "")
			more, err := c.dnsmasqLines(beside(path, s.arg(1)), &s.words[1])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		case "conf-dir":
			more, err := c.dnsmasqDir(path, s)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		default:
			out = append(out, s)
		}
	}
	return out, nil
}

// dnsmasqLine takes the comment from a line. Quotes go, and what is in them stays.
func dnsmasqLine(line string) (string, error) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case ch == '"':
			quoted = !quoted
			b.WriteByte(ch)
		case ch == '#' && !quoted && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return strings.TrimSpace(b.String()), nil
		default:
			b.WriteByte(ch)
		}
	}
	if quoted {
		return "", fmt.Errorf("a string without an end")
	}
	return strings.TrimSpace(b.String()), nil
}

// dnsmasqDir reads the files of a directory: all, those of an ending (*.conf), or all but those.
func (c *converter) dnsmasqDir(path string, s *stmt) ([]*stmt, error) {
	c.note(s, Converted, "")
	parts := strings.Split(s.arg(1), ",")
	files, err := filepath.Glob(filepath.Join(beside(path, parts[0]), "*"))
	if err != nil {
		return nil, err
	}
	var out []*stmt
	for _, f := range files {
		base, only, fits := filepath.Base(f), false, false
		skip := strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~")
		for _, end := range parts[1:] {
			if rest, star := strings.CutPrefix(end, "*"); star {
				only, fits = true, fits || strings.HasSuffix(base, rest)
			} else {
				skip = skip || strings.HasSuffix(base, end)
			}
		}
		if skip || only && !fits {
			continue
		}
		more, err := c.dnsmasqLines(f, &s.words[0])
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

func readDnsmasq(c *converter, path string) error {
	stmts, err := c.dnsmasqLines(path, nil)
	if err != nil {
		return err
	}
	return c.dnsmasq(path, c.vet(stmts, dnsmasqKinds(), nil))
}

// dnsmasq takes options, wherever they come from.
func (c *converter) dnsmasq(path string, stmts []*stmt) error {
	d := &dnsmasq{converter: c, stmts: stmts, routes: map[string][]string{}}
	c.out.recurse, c.out.inside = true, true
	get := func(name string) string {
		if s := find(stmts, name); s != nil {
			return s.arg(1)
		}
		return ""
	}
	d.ttl, _ = strconv.Atoi(get("local-ttl"))
	d.domain, d.expand = domain(strings.Split(get("domain"), ",")[0]), find(stmts, "expand-hosts") != nil
	port := get("port")
	for _, s := range stmts {
		d.option(s, port)
	}
	if len(c.out.listen) == 0 {
		c.listen("0.0.0.0", port)
		c.listen("::", port)
	}
	if find(stmts, "local-service") == nil || find(stmts, "interface", "listen-address", "except-interface") != nil {
		c.note(
			lineStmt(path, 1, "clients"),
			Changed,
			"dnsmasq answers any client that reaches it: port53 serves this host's own networks and those in resolver.allow",
		)
	}
	if !d.noHosts {
		const hosts = "/etc/hosts"
		if _, err := os.Stat(hosts); err == nil {
			d.hosts(lineStmt(path, 1, "hosts", hosts), hosts)
		}
	}
	if !d.noFile {
		s := d.file
		if s == nil {
			s = lineStmt(path, 1, "resolv-file", "/etc/resolv.conf")
		}
		d.servers = append(d.servers, c.resolvConf(s, s.arg(1))...)
		if d.from == nil {
			d.from = s
		}
	}
	d.whole(path)
	for _, s := range d.usual {
		parts := strings.Split(s.arg(1), "/")
		for _, name := range parts[1 : len(parts)-1] {
			d.routes[domain(strings.TrimLeft(name, "*."))] = d.servers
		}
	}
	if len(d.servers) > 0 {
		c.addRoute(&c.out.forward, route{from: d.from, zone: ".", to: d.servers})
	} else {
		c.note(lineStmt(path, 1, "no server"), Changed, "dnsmasq refused other names: here they are resolved by iteration")
	}
	for zone, to := range d.routes {
		c.addRoute(&c.out.forward, route{from: find(stmts, "server", "rev-server"), zone: zone, to: to})
	}
	slices.SortFunc(c.out.forward, func(a, b route) int { return strings.Compare(a.zone, b.zone) })
	if !d.dnssec {
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

func (d *dnsmasq) hosts(s *stmt, path string) {
	name := ""
	if d.expand {
		name = d.domain
	}
	d.pending = append(d.pending, hostsFile{s, path, name, d.ttl})
}

// whole has the domain of bare names asked of the servers, as it was, unless it is known here.
func (d *dnsmasq) whole(path string) {
	name := d.out.local.domain
	if d.dhcp && name == "" {
		name = d.domain
		d.out.local.domain = name
	}
	for _, f := range d.pending {
		if name == "" {
			name = f.domain
		}
	}
	if name == "" || slices.Contains(d.domains, name) || len(d.servers) == 0 || d.routes[name] != nil {
		return
	}
	d.routes[name] = d.servers
	d.note(lineStmt(path, 1, "domain", name), Changed, "names of it that are nowhere here are asked of the servers, as before")
}

// dnsmasqOwn are options that say how dnsmasq does what port53 does in its own way.
const dnsmasqOwn = `port bind-interfaces bind-dynamic user group pid-file strict-order all-servers no-poll no-negcache cache-size
	edns-packet-max localise-queries dns-forward-max query-port min-port max-port log-facility log-async keep-in-foreground no-daemon
	local-service clear-on-reload dns-loop-detect quiet-dhcp quiet-dhcp6 quiet-ra dumpfile dumpmask conntrack
	proxy-dnssec trust-anchor dnssec-check-unsigned dnssec-no-timecheck dnssec-timestamp dnssec-debug log-debug fast-dns-retry
	enable-dbus enable-ubus max-tcp-connections use-stale-cache domain expand-hosts local-ttl
	interface-name-ttl except-interface rebind-localhost-ok dhcp-authoritative no-ident nodaemon`

// option …
// In one piece: it is a table of options and what becomes of each.
func (d *dnsmasq) option(s *stmt, port string) {
	values := strings.Split(s.arg(1), ",")
	switch s.name() {
	case "listen-address":
		for _, a := range values {
			if _, err := netip.ParseAddr(a); err != nil {
				d.note(s, Unsupported, "only addresses can be listened on")
				continue
			}
			d.listen(a, port)
		}
		d.note(s, Converted, "")
	case "interface":
		d.note(s, Changed, "all addresses are listened on, and own networks are served: write the interface's addresses to listen")
	case "server", "local":
		d.server(s)
	case "rev-server":
		d.reverseServer(s, values)
	case "address":
		d.address(s)
	case "host-record":
		d.hostRecord(s, values)
	case "cname":
		target := values[len(values)-1]
		if _, err := strconv.Atoi(target); err == nil && len(values) > 2 {
			values, target = values[:len(values)-1], values[len(values)-2]
		}
		for _, alias := range values[:len(values)-1] {
			d.addRecord(localName{s, domain(alias), "CNAME", domain(target) + ".", d.ttl, false, false})
		}
	case "ptr-record":
		if len(values) > 1 {
			d.addRecord(localName{s, domain(values[0]), "PTR", domain(values[1]) + ".", d.ttl, false, false})
		}
	case "txt-record":
		var text []string
		for _, v := range values[1:] {
			text = append(text, quote(strings.Trim(v, `"`)))
		}
		d.addRecord(localName{s, domain(values[0]), "TXT", strings.Join(append(text, ""), " "), d.ttl, false, false})
	case "mx-host":
		for len(values) < 3 {
			values = append(values, map[int]string{1: values[0], 2: "1"}[len(values)])
		}
		d.addRecord(localName{s, domain(values[0]), "MX", values[2] + " " + domain(values[1]) + ".", d.ttl, false, false})
	case "srv-host":
		if len(values) < 2 {
			d.note(s, Unsupported, "it has no target")
			return
		}
		for len(values) < 5 {
			values = append(values, map[int]string{2: "1", 3: "0", 4: "0"}[len(values)])
		}
		d.addRecord(
			localName{
				s,
				domain(values[0]),
				"SRV",
				values[3] + " " + values[4] + " " + values[2] + " " + domain(values[1]) + ".",
				d.ttl,
				false,
				false,
			},
		)
	case "no-round-robin":
		d.note(s, Converted, "") // as port53 has it
	case "no-hosts":
		d.noHosts = true
		d.note(s, Converted, "")
	case "addn-hosts", "hostsdir":
		d.hostFiles(s)
	case "no-resolv":
		d.noFile = true
		d.note(s, Converted, "")
	case "resolv-file":
		d.file = s
	case "dnssec":
		d.dnssec = true
		d.note(s, Converted, "")
	case "log-queries":
		d.take(s, "log.queries", "text")
	case "max-cache-ttl", "max-ttl":
		d.take(s, "resolver.cache.max_ttl", s.arg(1)+"s")
	case "min-cache-ttl":
		d.take(s, "resolver.cache.min_ttl", s.arg(1)+"s")
	case "neg-ttl":
		d.take(s, "resolver.cache.max_negative_ttl", s.arg(1)+"s")
	case "rebind-domain-ok":
		for _, name := range strings.FieldsFunc(s.arg(1), func(r rune) bool { return r == '/' }) {
			d.takeList(s, "resolver.private_zones", domain(name))
		}
	case "stop-dns-rebind":
		d.note(s, Unsupported, "private addresses are taken out of what is found by iteration, not of what forwarders answer")
	case "bogus-priv":
		d.note(s, Converted, "")
	case "domain-needed":
		if d.domain != "" && (d.expand || find(d.stmts, "dhcp-range") != nil) {
			d.note(s, Converted, "")
		} else {
			d.note(s, Unsupported, "names without a dot are asked for as others are, unless domain says whose they are")
		}
	case "dhcp-range":
		d.leases(s)
	case "dhcp-leasefile":
		d.note(s, Converted, "") // with the ranges
	case "bogus-nxdomain",
		"ignore-address",
		"ipset",
		"nftset",
		"filterwin2k",
		"filter-A",
		"filter-AAAA",
		"filter-rr",
		"alias",
		"add-subnet",
		"add-mac":
		d.note(s, Planned, "it is not made a list yet: write one for policy.lists")
	default:
		if strings.Contains(s.name(), "dhcp") || strings.HasPrefix(s.name(), "tftp") || strings.HasPrefix(s.name(), "pxe") ||
			strings.HasPrefix(s.name(), "ra-") ||
			s.name() == "enable-tftp" ||
			s.name() == "enable-ra" ||
			s.name() == "read-ethers" {
			d.note(s, Unsupported, "port53 gives no addresses: keep dnsmasq for that, with port=0")
			return
		}
		d.other(s, dnsmasqOwn)
	}
}

// dnsmasqServer reads an address, #port and @source.
func dnsmasqServer(text string) (string, bool) {
	text, _, _ = strings.Cut(text, "@")
	addr, port, _ := strings.Cut(text, "#")
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return "", false
	}
	return server(a, port), true
}

// server takes server=ADDRESS and server=/domain/domain/ADDRESS, in which no address makes the
// domain known here alone, and # sends it where all others go.
func (d *dnsmasq) server(s *stmt) {
	parts := strings.Split(s.arg(1), "/")
	target := parts[len(parts)-1]
	to, ok := dnsmasqServer(target)
	if len(parts) == 1 {
		if !ok {
			d.note(s, Unsupported, "only addresses are servers")
			return
		}
		d.servers = append(d.servers, to)
		if d.from == nil {
			d.from = s
		}
		d.note(s, Converted, "")
		return
	}
	d.note(s, Converted, "")
	for _, name := range parts[1 : len(parts)-1] {
		switch name = domain(strings.TrimPrefix(name, "*")); {
		case name == "":
			d.note(s, Unsupported, "names without a dot are asked for as others are")
		case target == "":
			d.addDomain(strings.TrimPrefix(name, "."))
		case target == "#":
			if !slices.Contains(d.usual, s) {
				d.usual = append(d.usual, s)
			}
		case !ok:
			d.note(s, Unsupported, "only addresses are servers")
		default:
			name = strings.TrimPrefix(name, ".")
			d.routes[name] = append(d.routes[name], to)
		}
	}
}

func (d *dnsmasq) reverseServer(s *stmt, values []string) {
	p, err := netip.ParsePrefix(values[0])
	to, ok := "", false
	if len(values) > 1 {
		to, ok = dnsmasqServer(values[1])
	}
	zones := reverseZones(p)
	if err != nil || !ok || len(zones) == 0 {
		d.note(s, Unsupported, "this is not a network of whole octets, or not a server")
		return
	}
	for _, z := range zones {
		d.routes[z] = append(d.routes[z], to)
	}
	d.note(s, Converted, "")
}

// reverseZones returns the reverse zones of a network, which may be several.
func reverseZones(p netip.Prefix) []string {
	if !p.IsValid() {
		return nil
	}
	step := 4
	if p.Addr().Is4() {
		step = 8
	}
	whole := (p.Bits() + step - 1) / step * step
	if whole == 0 || whole-p.Bits() > 8 {
		return nil
	}
	var out []string
	for a := p.Masked().Addr(); p.Contains(a); {
		labels := strings.SplitN(reverseName(a), ".", (a.BitLen()-whole)/step+1)
		out = append(out, labels[len(labels)-1])
		if a = lastOf(netip.PrefixFrom(a, whole)).Next(); !a.IsValid() {
			break
		}
	}
	return out
}

// address takes address=/domain/ADDRESS: the domain and all below it.
func (d *dnsmasq) address(s *stmt) {
	parts := strings.Split(s.arg(1), "/")
	if len(parts) < 3 {
		d.note(s, Unsupported, "it has no domain")
		return
	}
	a, err := netip.ParseAddr(parts[len(parts)-1])
	if err != nil || nullAddress(a) {
		d.note(s, Planned, "it is not made a list yet: write one for policy.lists")
		return
	}
	for _, name := range parts[1 : len(parts)-1] {
		if name == "" || name == "#" {
			d.note(s, Unsupported, "one address for all names is not given")
			continue
		}
		name = domain(strings.TrimLeft(name, "*."))
		d.addName(s, name, a, d.ttl, true, false)
	}
}

func (d *dnsmasq) hostRecord(s *stmt, values []string) {
	var names []string
	var addrs []netip.Addr
	ttl := d.ttl
	for _, v := range values {
		if a, err := netip.ParseAddr(v); err == nil {
			addrs = append(addrs, a)
		} else if n, err := strconv.Atoi(v); err == nil && len(names) > 0 {
			ttl = n
		} else {
			names = append(names, v)
		}
	}
	if len(names) == 0 || len(addrs) == 0 {
		d.note(s, Unsupported, "it is no name with an address")
		return
	}
	for i, name := range names {
		for _, a := range addrs {
			if d.expand && d.domain != "" && !strings.Contains(name, ".") {
				d.addName(s, name+"."+d.domain, a, ttl, false, i == 0)
			}
			d.addName(s, name, a, ttl, false, i == 0 && !(d.expand && d.domain != "" && !strings.Contains(name, ".")))
		}
	}
}

// leases follows the leases of a dnsmasq that goes on giving addresses.
func (d *dnsmasq) leases(s *stmt) {
	file := "/var/lib/misc/dnsmasq.leases"
	if l := find(d.stmts, "dhcp-leasefile", "dhcp-lease-file"); l != nil {
		file = l.arg(1)
	}
	d.dhcp = true
	if !slices.Contains(d.out.local.leases, file) {
		d.out.local.leases = append(d.out.local.leases, file)
	}
	d.note(s, Unsupported, "port53 gives no addresses: keep dnsmasq for that, with port=0; its leases are followed")
}

// hostFiles reads more files of the form of /etc/hosts, or those of a directory.
func (d *dnsmasq) hostFiles(s *stmt) {
	path, _, _ := strings.Cut(s.arg(1), ",")
	files, _ := filepath.Glob(filepath.Join(path, "*"))
	if len(files) == 0 {
		files = []string{path}
	} else {
		d.note(s, Changed, "the files that are there now")
	}
	for _, f := range files {
		d.hosts(s, f)
	}
}
