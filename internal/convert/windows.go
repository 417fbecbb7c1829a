package convert

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// windowsText returns a text of Windows, which may be UTF-16, as lines of UTF-8.
func windowsText(text string) []string {
	for mark, high := range map[string]int{"\xff\xfe": 1, "\xfe\xff": 0} {
		rest, ok := strings.CutPrefix(text, mark)
		if !ok {
			continue
		}
		var units []uint16
		for i := 0; i+1 < len(rest); i += 2 {
			units = append(units, uint16(rest[i+high])<<8|uint16(rest[i+1-high]))
		}
		text = string(utf16.Decode(units))
	}
	return strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
}

// windowsSections reads sections of key=value. What else there is are headlines.
func (c *converter) windowsSections(path string) ([]*stmt, error) {
	text, err := c.readFile(path, nil)
	if err != nil {
		return nil, err
	}
	sections := []*stmt{lineStmt(path, 1, "")} // what stands before the first
	for i, line := range windowsText(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok && strings.HasSuffix(name, "]") {
			sections = append(sections, lineStmt(path, i+1, strings.TrimSuffix(name, "]")))
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, ";") {
			continue
		}
		s := sections[len(sections)-1]
		s.block = append(s.block, lineStmt(path, i+1, strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"`)))
	}
	return sections, nil
}

// windowsAddrs reads a list of addresses, which may say that it is one.
func (c *converter) windowsAddrs(s *stmt) []string {
	value := s.arg(1)
	if head, rest, ok := strings.Cut(value, ":"); ok && strings.EqualFold(head, "ADDRLIST") {
		value = rest
	}
	var out []string
	for _, a := range commas(value) {
		if !strings.EqualFold(a, "NULL") && !strings.EqualFold(a, "NONE") {
			out = append(out, a)
		}
	}
	return c.servers(s, out)
}

// readWindows takes what dnscmd /ExportSettings writes of a Microsoft DNS server: DnsSettings.txt.
// The zones are in files beside it, as the server has them, or as dnscmd /ZoneExport writes them.
func readWindows(c *converter, path string) error {
	sections, err := c.windowsSections(path)
	if err != nil {
		return err
	}
	c.out.recurse, c.out.query = true, allAddresses()
	c.out.recursion, c.out.clientsFrom = allAddresses(), lineStmt(path, 1, "clients")
	for _, s := range sections {
		if fold(s.block, "type") == nil {
			for _, e := range s.block {
				c.windowsOption(s, e)
			}
			continue
		}
		c.windowsZone(path, s)
	}
	if len(c.out.listen) == 0 {
		c.listen("0.0.0.0", "")
		c.listen("::", "")
	}
	return nil
}

// windowsOption takes an option of the server.
func (c *converter) windowsOption(section, e *stmt) {
	switch strings.ToLower(e.name()) {
	case "listenaddresses":
		for _, a := range c.windowsAddrs(e) {
			c.listen(a, "")
		}
		c.note(e, Converted, "")
	case "forwarders":
		if to := c.windowsAddrs(e); len(to) > 0 {
			only := fold(section.block, "isslave")
			c.addRoute(&c.out.forward, route{from: e, zone: ".", to: to, first: only == nil || !windowsTrue(only.arg(1))})
		}
		c.note(e, Converted, "")
	case "isslave":
		c.note(e, Converted, "")
	case "norecursion":
		if c.note(e, Converted, ""); windowsTrue(e.arg(1)) {
			c.out.recurse = false
		}
	case "maxcachettl":
		c.windowsTime(e, "resolver.cache.max_ttl")
	case "maxnegativecachettl":
		c.windowsTime(e, "resolver.cache.max_negative_ttl")
	case "enablednssec":
		c.note(e, Changed, "answers are validated")
	case "globalqueryblocklist", "enableglobalqueryblocklist":
		c.note(e, Planned, "it is not made a list yet: write one for policy.lists")
	default:
		c.note(e, Changed, "port53 has a default of its own for it, or does not need it")
	}
}

// windowsTime takes a time in seconds, which may be written in hexadecimal.
func (c *converter) windowsTime(e *stmt, path string) {
	c.take(e, path, strings.TrimPrefix(e.arg(1), "DWORD:")+"s")
}

func windowsTrue(s string) bool {
	return s != "" && strings.Trim(s, "0x") != "" && !strings.EqualFold(s, "false")
}

// windowsZone takes a zone.
func (c *converter) windowsZone(path string, s *stmt) {
	z := &zone{name: domain(s.name())}
	get := func(names ...string) *stmt {
		if e := fold(s.block, names...); e != nil {
			return e
		}
		return s.with("")
	}
	masters := c.windowsAddrs(get("masters", "masterservers", "localmasterservers"))
	for _, e := range s.block {
		c.note(e, Converted, "")
	}
	switch kind := strings.ToLower(get("type").arg(1)); kind {
	case "cache", "hint", "4":
		c.note(s, Changed, "the root's servers are built in: resolver.root_hints names others")
		return
	case "forward", "forwarder":
		to := masters
		if f := fold(s.block, "forwarders"); f != nil {
			to = c.windowsAddrs(f)
		}
		only := fold(s.block, "isslave", "forwarderslave")
		c.windowsRoute(s, &c.out.forward, route{from: s, zone: z.name, to: to, first: only != nil && !windowsTrue(only.arg(1))})
		return
	case "stub":
		c.windowsRoute(s, &c.out.stub, route{from: s, zone: z.name, to: masters})
		return
	case "secondary":
		if z.primaries = masters; len(z.primaries) == 0 {
			c.note(s, Unsupported, "it has no primaries that could be converted")
			return
		}
	case "primary":
		if strings.EqualFold(z.name, "trustanchors") || windowsTrue(get("autocreated").arg(1)) {
			c.note(s, Changed, "port53 has its own")
			return
		}
	default:
		c.note(s, Unsupported, "port53 has no zones of type "+kind)
		return
	}
	if d := fold(s.block, "dnssecstatus", "issigned", "dnssec"); d != nil && windowsTrue(d.arg(1)) {
		c.note(
			s,
			Unsupported,
			"Windows signs it, and here it would be served without signatures, which validators refuse if its parent has a DS record",
		)
		return
	}
	c.windowsTransfers(s, z)
	if u := fold(s.block, "allowupdate"); u != nil && windowsTrue(u.arg(1)) {
		c.note(u, Unsupported, "updates are granted to keys: write updates at the zone; those signed with GSS-TSIG are not known")
	}
	if len(z.primaries) > 0 {
		c.addZone(s, z)
		return
	}
	file := ""
	for _, name := range []string{
		get("databasefile", "datafile", "filename").arg(1),
		z.name + ".dns", z.name + ".zone", z.name + ".txt", z.name,
	} {
		if name = filepath.Base(strings.ReplaceAll(name, `\`, "/")); name == "." || name == "/" {
			continue
		}
		if info, err := os.Stat(beside(path, name)); err == nil && info.Mode().IsRegular() && beside(path, name) != path {
			file = beside(path, name)
			break
		}
	}
	if file == "" {
		c.note(s, Unsupported, "its records are not here: dnscmd /ZoneExport "+z.name+" "+z.name+".dns, and put that file beside this one")
		return
	}
	c.zoneFile(s, z, file)
}

func (c *converter) windowsRoute(s *stmt, list *[]route, r route) {
	if len(r.to) == 0 {
		c.note(s, Unsupported, "it has no servers that could be converted")
		return
	}
	c.addRoute(list, r)
	c.note(s, Converted, "")
}

// windowsTransfers takes who may have a zone whole, and who is told of changes.
func (c *converter) windowsTransfers(s *stmt, z *zone) {
	var listed netset
	if e := fold(s.block, "secondaryservers", "secondaries"); e != nil {
		for _, a := range c.windowsAddrs(e) {
			if addr, err := netip.ParseAddr(a); err == nil {
				listed = listed.union(rangeSet(addr, addr))
			}
		}
	}
	if e := fold(s.block, "securesecondaries"); e != nil {
		switch e.arg(1) {
		case "0":
			z.alone = allAddresses()
		case "1":
			c.note(e, Unsupported, "list the secondaries in allow_transfer: who has an NS record is not taken for one")
		case "2":
			z.alone = listed
		}
	}
	if e := fold(s.block, "notifyservers"); e != nil {
		z.notify = slices.Clone(c.windowsAddrs(e))
	}
}

// fold returns the first statement of one of the names, which are in lower case.
func fold(block []*stmt, names ...string) *stmt {
	i := slices.IndexFunc(block, func(s *stmt) bool { return slices.Contains(names, strings.ToLower(s.name())) })
	if i < 0 {
		return nil
	}
	return block[i]
}
