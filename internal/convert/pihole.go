package convert

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// readPihole takes Pi-hole's pihole.toml. Pi-hole is dnsmasq within: most of it has the same
// meaning as an option of that.
func readPihole(c *converter, path string) error {
	text, err := c.readFile(path, nil)
	if err != nil {
		return err
	}
	root, err := tomlTree(path, text)
	if err != nil {
		return err
	}
	var opts []*stmt
	add := func(from *stmt, name, value string) {
		w := from.words[0]
		w.text = name
		v := w
		v.text = value
		opts = append(opts, &stmt{words: []word{w, v}})
	}
	for _, s := range root.block {
		switch s.name() {
		case "dns":
			for _, e := range c.vet(s.block, piholeKinds(), nil) {
				c.piholeDNS(e, add)
			}
			c.note(s, Converted, "")
		case "dhcp":
			if yes(s.at("active").arg(1)) {
				add(s, "dhcp-range", "")
				add(s, "dhcp-leasefile", beside(path, "dhcp.leases"))
			} else {
				c.note(s, Changed, "it is switched off")
			}
		case "misc":
			for _, w := range s.at("dnsmasq_lines").words[min(1, len(s.at("dnsmasq_lines").words)):] {
				name, value, _ := strings.Cut(w.text, "=")
				add(&stmt{words: []word{w}}, strings.TrimSpace(name), strings.TrimSpace(value))
			}
			c.note(s, Converted, "")
			if more := s.at("etc_dnsmasq_d"); yes(more.arg(1)) {
				conf, err := c.dnsmasqDir(path, more.with("conf-dir", "/etc/dnsmasq.d"))
				if err != nil {
					return err
				}
				opts = append(opts, conf...)
			}
		default:
			c.note(s, Changed, "port53 has its own: log, metrics, control")
		}
	}
	add(root, "no-resolv", "")
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "gravity.db")); err == nil {
		c.piholeFilters(filepath.Join(filepath.Dir(path), "gravity.db"), root)
	} else if b := root.at("dns").at("blocking"); b != nil {
		c.note(b, Unsupported, "the lists are in gravity.db, which is not beside it")
	}
	if err := c.dnsmasq(path, opts); err != nil {
		return err
	}
	c.piholeHosts(root, opts)
	return nil
}

// piholeHosts takes the names that the configuration has itself.
func (c *converter) piholeHosts(root *stmt, opts []*stmt) {
	bare := "" // the domain of bare names
	if s := find(opts, "domain"); s != nil && find(opts, "expand-hosts") != nil {
		bare = domain(s.arg(1))
	}
	for _, h := range root.at("dns", "hosts").words[min(1, len(root.at("dns", "hosts").words)):] {
		s := &stmt{words: []word{h}}
		f := strings.Fields(h.text)
		if len(f) < 2 {
			c.note(s, Unsupported, "it is no address with names")
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			c.note(s, Unsupported, "it is no address with names")
			continue
		}
		for i, name := range f[1:] {
			inner := bare != "" && !strings.Contains(name, ".")
			if inner {
				c.addName(s, name+"."+bare, a, 0, false, i == 0)
			}
			c.addName(s, name, a, 0, false, i == 0 && !inner)
		}
	}
}

// piholeDNS …
// In one piece: it is a table of options and what becomes of each.
func (c *converter) piholeDNS(s *stmt, add func(from *stmt, name, value string)) {
	switch s.name() {
	case "upstreams":
		for _, w := range s.words[1:] {
			add(&stmt{words: []word{w}}, "server", w.text)
		}
		c.note(s, Converted, "")
	case "hosts":
		c.note(s, Converted, "") // read when all options are known
	case "cnameRecords":
		for _, w := range s.words[1:] {
			add(&stmt{words: []word{w}}, "cname", w.text)
		}
		c.note(s, Converted, "")
	case "revServers":
		for _, w := range s.words[1:] {
			f := strings.Split(w.text, ",")
			from := &stmt{words: []word{w}}
			if len(f) < 3 || !yes(f[0]) {
				c.note(from, Changed, "it is switched off")
				continue
			}
			add(from, "rev-server", f[1]+","+f[2])
			if len(f) > 3 && f[3] != "" {
				add(from, "server", "/"+f[3]+"/"+f[2])
			}
		}
		c.note(s, Converted, "")
	case "port":
		add(s, "port", s.arg(1))
		c.note(s, Converted, "")
	case "dnssec":
		if yes(s.arg(1)) {
			add(s, "dnssec", "")
		}
		c.note(s, Converted, "")
	case "queryLogging":
		c.take(s, "log.queries", map[bool]string{true: "text", false: "off"}[yes(s.arg(1))])
	case "listeningMode":
		if strings.EqualFold(s.arg(1), "LOCAL") {
			add(s, "local-service", "")
			c.note(s, Converted, "")
		} else {
			c.note(
				s,
				Changed,
				"dnsmasq answers any client that reaches it: port53 serves this host's own networks and those in resolver.allow",
			)
		}
	case "domain":
		if name := s.at("name").arg(1) + s.arg(1); name != "" {
			add(s, "domain", name)
			if s.at("local").arg(1) == "" || yes(s.at("local").arg(1)) {
				add(s, "local", "/"+name+"/")
			}
		}
		c.note(s, Converted, "")
	case "domainNeeded", "expandHosts", "bogusPriv":
		if yes(s.arg(1)) {
			add(
				s,
				map[string]string{"domainNeeded": "domain-needed", "expandHosts": "expand-hosts", "bogusPriv": "bogus-priv"}[s.name()],
				"",
			)
		} else {
			c.note(s, Converted, "")
		}
	case "blocking":
		c.note(s, Converted, "") // read with the lists
	case "specialDomains", "CNAMEdeepInspect", "blockESNI", "EDNS0ECS", "ignoreLocalhost", "blockTTL", "analyzeOnlyAandAAAA":
		c.note(s, Changed, "port53 has its own way: what aliases and HTTPS records lead to is looked through")
	default:
		c.note(s, Changed, "port53 has a default of its own for it, or does not need it")
	}
}
