package convert

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// attribute is the name of a section or of what is set in one.
var attribute = regexp.MustCompile(`^[a-z][a-z0-9_-]*:$`)

func (c *converter) nsdWords(path string, from *word) ([]word, error) {
	text, err := c.readFile(path, from)
	if err != nil {
		return nil, err
	}
	var out []word
	for n, line := range strings.Split(text, "\n") {
		words, err := lineWords(path, n+1, line)
		if err != nil {
			return nil, err
		}
		if len(words) != 2 || words[0].text != "include:" && words[0].text != "include-toplevel:" {
			out = append(out, words...)
			continue
		}
		if !filepath.IsAbs(words[1].text) {
			words[1].text = filepath.Join(filepath.Dir(path), words[1].text)
		}
		files, _ := filepath.Glob(words[1].text)
		if len(files) == 0 && !strings.ContainsAny(words[1].text, "*?[") {
			return nil, words[1].fail("there is no file %s", words[1].text)
		}
		c.note(&stmt{words: words}, Converted, "")
		for _, f := range files {
			more, err := c.nsdWords(f, &words[1])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// lineWords splits a line into words, some in quotes, until a #.
func lineWords(file string, line int, text string) ([]word, error) {
	var out []word
	for i := 0; i < len(text); {
		w := word{file: file, line: line, col: i + 1}
		switch ch := text[i]; {
		case ch == ' ' || ch == '\t' || ch == '\r':
			i++
			continue
		case ch == '#':
			return out, nil
		case ch == '"' || ch == '\'':
			n := strings.IndexByte(text[i+1:], ch)
			if n < 0 {
				return nil, w.fail("a string without an end")
			}
			w.text, w.quoted = text[i+1:i+1+n], true
			i += n + 2
		case strings.IndexByte("[],", ch) >= 0:
			w.text = string(ch)
			i++
		default:
			n := strings.IndexAny(text[i:], " \t\r[],")
			if n < 0 {
				n = len(text) - i
			}
			w.text = text[i : i+n]
			i += n
		}
		out = append(out, w)
	}
	return out, nil
}

// sections puts words of the form "name: value" into sections, whose names have no value.
func sections(words []word) ([]*stmt, error) {
	var top []*stmt
	for i, w := range words {
		switch {
		case !attribute.MatchString(w.text) || w.quoted:
			if len(top) == 0 || len(top[len(top)-1].block) == 0 {
				return nil, w.fail("%s is the value of nothing", w.text)
			}
			last := top[len(top)-1].block
			last[len(last)-1].words = append(last[len(last)-1].words, w)
			continue
		case i+1 == len(words) || attribute.MatchString(words[i+1].text) && !words[i+1].quoted:
			w.text = strings.TrimSuffix(w.text, ":")
			top = append(top, &stmt{words: []word{w}})
			continue
		case len(top) == 0:
			return nil, w.fail("%s stands in no section", w.text)
		}
		w.text = strings.TrimSuffix(w.text, ":")
		s := top[len(top)-1]
		s.block = append(s.block, &stmt{words: []word{w}})
	}
	return top, nil
}

func readNSD(c *converter, path string) error {
	words, err := c.nsdWords(path, nil)
	if err != nil {
		return err
	}
	top, err := sections(words)
	if err != nil {
		return err
	}
	patterns := map[string]*stmt{}
	server := &stmt{}
	for _, s := range top {
		s.block = c.vet(s.block, nsdKinds(), nil)
		switch s.name() {
		case "server":
			server.block = append(server.block, s.block...)
		case "pattern":
			if n := find(s.block, "name"); n != nil {
				patterns[n.arg(1)] = s
			}
			c.note(s, Converted, "")
		case "key":
			name, algorithm, secret := find(s.block, "name"), find(s.block, "algorithm"), find(s.block, "secret")
			if name == nil || secret == nil || algorithm == nil {
				return s.words[0].fail("a key without name, algorithm or secret")
			}
			c.key(s, name.arg(1), algorithm.arg(1), secret.arg(1))
		}
	}
	dir := c.nsdServer(server)
	c.note(lineStmt(path, 1, "aliases"), Changed, otherZone)
	for _, s := range top {
		switch s.name() {
		case "zone":
			c.nsdZone(s, patterns, dir)
		case "server", "pattern", "key":
		default:
			c.note(s, Changed, "port53 has its own: control, metrics and log")
		}
	}
	return nil
}

// otherZone is what NSD and PowerDNS do with aliases.
const otherZone = "an alias into another zone is answered alone, and whoever asks goes on: what it leads to was in the answer"

// nsdServer takes the options of the server, and returns where zone files are.
func (c *converter) nsdServer(server *stmt) (dir string) {
	dir = "/etc/nsd"
	port := ""
	if s := find(server.block, "port"); s != nil {
		port = s.arg(1)
	}
	for _, s := range server.block {
		switch s.name() {
		case "zonesdir":
			dir = s.arg(1)
			c.note(s, Converted, "")
		case "ip-address", "interface":
			addr, p, ok := strings.Cut(s.arg(1), "@")
			if !ok {
				p = port
			}
			if _, err := netip.ParseAddr(addr); err != nil {
				c.note(s, Unsupported, "only addresses can be listened on")
				continue
			}
			c.listen(addr, p)
			c.note(s, Converted, "")
		case "port":
			c.note(s, Converted, "")
		case "identity":
			c.take(s, "identity.hostname", quote(s.arg(1)))
		case "version":
			c.take(s, "identity.version", quote(s.arg(1)))
		case "rrl-ratelimit", "rrl-slip":
			c.nsdRates(s)
		case "round-robin":
			if yes(s.arg(1)) {
				c.out.order("cyclic")
			}
			c.note(s, Converted, "")
		case "tcp-count":
			c.take(s, "tcp.max_connections", s.arg(1))
		case "tcp-timeout":
			c.take(s, "tcp.idle", s.arg(1)+"s")
		case "tls-port", "tls-service-key", "tls-service-pem", "tls-service-ocsp", "tls-auth-port", "tls-auth-xfr-only":
			c.note(s, Planned, "only UDP and TCP are served yet")
		default:
			c.other(s, nsdOwn)
		}
	}
	if len(c.out.listen) == 0 {
		c.listen("0.0.0.0", port)
		c.listen("::", port)
	}
	return dir
}

func (c *converter) nsdRates(s *stmt) {
	switch {
	case s.name() == "rrl-slip":
		c.take(s, "policy.rate_limit.slip", s.arg(1))
	case s.arg(1) == "0":
		c.take(s, "policy.rate_limit.enabled", "false")
	default:
		c.take(s, "policy.rate_limit.per_second", s.arg(1)+"/s")
	}
}

// nsdExpand puts patterns in the place of include-pattern.
func nsdExpand(block []*stmt, patterns map[string]*stmt, depth int) []*stmt {
	var out []*stmt
	for _, s := range block {
		if p := patterns[s.arg(1)]; s.name() == "include-pattern" && p != nil && depth < maxDepth {
			for _, e := range nsdExpand(p.block, patterns, depth+1) {
				if e.name() != "name" {
					out = append(out, e)
				}
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// nsdSpec reads the addresses of an access list: an address, a network, with a mask, or a range.
func nsdSpec(text string) (netset, bool) {
	text, _, _ = strings.Cut(text, "@")
	if host, mask, ok := strings.Cut(text, "&"); ok {
		m, err := netip.ParseAddr(mask)
		ones, bits := net.IPMask(m.AsSlice()).Size()
		if err != nil || bits == 0 {
			return nil, false
		}
		text = fmt.Sprintf("%s/%d", host, ones)
	}
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, err := netip.ParseAddr(first)
		b, err2 := netip.ParseAddr(last)
		if err != nil || err2 != nil || a.BitLen() != b.BitLen() || b.Less(a) {
			return nil, false
		}
		return rangeSet(a, b), true
	}
	return parseNet(text)
}

// nsdZone …
// In one piece: it is a table of options and what becomes of each.
func (c *converter) nsdZone(s *stmt, patterns map[string]*stmt, dir string) {
	z := &zone{}
	block := nsdExpand(s.block, patterns, 0)
	written := ""
	if n := find(block, "name"); n != nil {
		written = n.arg(1)
		z.name = domain(written)
	}
	// BLOCKED counts wherever it stands.
	var blockedTransfer, blockedQuery, query netset
	for _, e := range block {
		args := e.args()
		if len(args) > 0 && (args[0] == "AXFR" || args[0] == "UDP") {
			args = args[1:]
		}
		spec, k := "", ""
		if len(args) > 1 {
			spec, k = args[0], args[1]
		}
		text, port, _ := strings.Cut(spec, "@")
		addr, err := netip.ParseAddr(text)
		nets, isNet := nsdSpec(spec)
		signed := k != "NOKEY"
		switch e.name() {
		case "name":
			c.note(e, Converted, "")
		case "zonefile":
			z.file = zoneFile(e.arg(1), written, dir) // %s is the name as it is written
			c.note(e, Converted, "")
		case "request-xfr":
			if err != nil || signed && !c.sign(e, z, k) {
				c.note(e, Unsupported, "the zone is not fetched from there")
				continue
			}
			z.primaries = append(z.primaries, server(addr, port))
			c.note(e, Converted, "")
		case "provide-xfr", "allow-query", "allow-notify":
			switch {
			case !isNet:
				c.note(e, Unsupported, "only networks and addresses are known")
				continue
			case k == "BLOCKED" && e.name() == "provide-xfr":
				blockedTransfer = blockedTransfer.union(nets)
			case k == "BLOCKED":
				blockedQuery = blockedQuery.union(nets)
			case e.name() == "allow-query" && signed:
				query = query.union(netset{})
				c.note(e, Unsupported, "clients are told by their addresses, not by keys")
			case e.name() == "allow-query":
				query = query.union(nets)
			case e.name() == "allow-notify":
				z.allowNotify = z.allowNotify.union(nets)
			case !signed:
				z.alone = z.alone.union(nets)
			case !c.sign(e, z, k):
				continue
			default:
				z.transfer = z.transfer.union(nets)
			}
			c.note(e, Converted, "")
		case "notify":
			if err != nil || signed && !c.sign(e, z, k) {
				c.note(e, Unsupported, "nobody is told of changes there")
				continue
			}
			z.notify = append(z.notify, server(addr, port))
			c.note(e, Converted, "")
		case "catalog", "catalog-member-pattern", "catalog-producer-zone":
			c.note(e, Unsupported, "write catalog: consume or produce at the zone")
		default:
			c.other(e, nsdZoneOwn)
		}
	}
	z.transfer, z.alone = z.transfer.minus(blockedTransfer), z.alone.minus(blockedTransfer)
	if find(block, "request-xfr") != nil && len(z.primaries) == 0 {
		z.file = "" // what it was fetched into is not a primary's
	}
	if find(block, "allow-query") != nil {
		if z.query = query.minus(blockedQuery); z.query == nil {
			z.query = netset{}
		}
	}
	c.addZone(s, z)
}

// nsdZoneOwn are options of a zone that port53 has its own way for, or no need of.
const nsdZoneOwn = `include-pattern zonestats allow-axfr-fallback notify-retry max-refresh-time min-refresh-time max-retry-time
	min-retry-time min-expire-time size-limit-xfr outgoing-interface multi-master-check rrl-whitelist store-ixfr ixfr-size
	ixfr-number create-ixfr`

func zoneFile(file, name, dir string) string {
	file = strings.ReplaceAll(file, "%s", name)
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	return file
}
