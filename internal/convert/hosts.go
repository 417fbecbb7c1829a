package convert

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// nullAddress reports whether an address stands for no machine: lists that block have it.
func nullAddress(a netip.Addr) bool { return a.IsUnspecified() }

// hostLines reads a file of addresses and their names, as /etc/hosts. A name without a dot has
// the domain as well, if one is given. Names of lists that block are counted and left out.
func (c *converter) hostLines(path, text, domainName string, ttl int) {
	blocked := 0
	var first *stmt
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		s := lineStmt(path, i+1, f...)
		addr, err := netip.ParseAddr(f[0])
		switch {
		case err != nil || len(f) < 2:
			c.note(s, Unsupported, "it is no address with names")
			continue
		case nullAddress(addr):
			if blocked++; first == nil {
				first = s
			}
			continue
		case addr.IsMulticast():
			c.note(s, Changed, "names of multicast groups are nobody's business")
			continue
		}
		for j, name := range f[1:] {
			if name = domain(name); domainName != "" && !strings.Contains(name, ".") {
				c.addName(s, name+"."+domainName, addr, ttl, false, j == 0)
			}
			c.addName(s, name, addr, ttl, false, j == 0 && (domainName == "" || strings.Contains(name, ".")))
		}
	}
	if blocked > 0 {
		c.note(
			first,
			Planned,
			"it is not made a list yet: write one for policy.lists: "+plural(blocked, "line blocks names", "lines block names"),
		)
	}
}

// A hostsFile is a file of addresses and their names that another configuration names.
type hostsFile struct {
	from   *stmt
	path   string
	domain string // of bare names
	ttl    int
}

// maxFollowed is how many names are followed in files: those of package hosts.
const maxFollowed = 200_000

// followHosts has the files followed where names are resolved; otherwise what is in them now becomes
// zones. A name that is in several files has what the first of them says.
func (c *converter) followHosts() {
	total := 0
	seen := map[string]string{}
	for _, f := range c.pending {
		text, err := c.readFile(f.path, nil)
		if err != nil {
			c.note(f.from, Unsupported, err.Error())
			continue
		}
		if c.note(f.from, Converted, ""); !c.out.recurse {
			c.hostLines(f.path, text, f.domain, f.ttl)
			continue
		}
		had := len(seen)
		loop, null := c.lookAt(f, text, seen)
		if total += len(seen) - had; total > maxFollowed {
			c.note(
				f.from,
				Planned,
				fmt.Sprintf(
					"more than %d names: lists that long block, and it is not made a list yet: write one for policy.lists",
					maxFollowed,
				),
			)
			return
		}
		if loop > 0 {
			c.note(f.from, Changed, "addresses of loopback lead to the client itself, and are left out: "+plural(loop, "line", "lines"))
		}
		if null > 0 {
			c.note(f.from, Changed, "names that are blocked have the address 0.0.0.0 or ::, as before: "+plural(null, "line", "lines"))
		}
		if !slices.Contains(c.out.local.hosts, f.path) {
			c.out.local.hosts = append(c.out.local.hosts, f.path)
		}
		c.note(f.from, Changed, "the file is followed as it changes")
	}
}

// lookAt counts the lines of a file that are no addresses of machines, and notes its names.
func (c *converter) lookAt(f hostsFile, text string, seen map[string]string) (loop, null int) {
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		switch {
		case err != nil || a.IsMulticast():
			continue
		case a.IsLoopback():
			loop++
			continue
		case nullAddress(a):
			null++
		}
		for _, name := range fields[1:] {
			name = domain(name)
			if was := seen[name]; was != "" && was != f.path {
				c.note(f.from, Changed, "names that an earlier file has have the addresses there alone: "+name)
				continue
			}
			seen[name] = f.path
			if f.domain != "" && !strings.Contains(name, ".") {
				c.out.local.domain = f.domain
			}
		}
	}
	return loop, null
}

// readHosts reads /etc/hosts, or a list of the same form: Pi-hole's custom.list.
func readHosts(c *converter, path string) error {
	text, err := c.readFile(path, nil)
	if err != nil {
		return err
	}
	c.out.recurse, c.out.inside = true, true
	c.hostLines(path, text, "", hostsTTL)
	blocks := false
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if blocks = blocks || err == nil && nullAddress(a); err == nil && a.IsLoopback() {
			c.note(lineStmt(path, i+1, f...), Changed, "addresses of loopback lead to the client itself, and are left out")
		}
	}
	if blocks {
		return nil // what blocks would be taken for addresses
	}
	c.names, c.out.local.hosts = nil, []string{path}
	return nil
}

// hostsTTL is the TTL of names from lists that have none, in seconds: machines move.
const hostsTTL = 60

// resolvConf takes the servers that a file such as /etc/resolv.conf names.
func (c *converter) resolvConf(s *stmt, path string) (to []string) {
	text, err := c.readFile(path, &s.words[0])
	if err != nil {
		c.note(s, Unsupported, "servers are in "+path+", which cannot be read here")
		return nil
	}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil && a.Zone() == "" {
				to = append(to, server(a, ""))
			}
		}
	}
	c.note(s, Changed, "the servers of "+path+" as they are now")
	return to
}

// beside returns a path as seen from a file.
func beside(file, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}
