package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"port53/internal/wire"
)

// at returns where the file sets the key at path, or false if it does not.
func (d *decoder) at(path string) (position, bool) { return d.atIndex(path, 0) }

// atIndex is at for a key of the section at index of a list of sections.
func (d *decoder) atIndex(path string, index int32) (position, bool) {
	k := d.table.find(path)
	p, ok := d.cols[place{k.id, index}]
	if !ok && k.twin != 0 && d.templateOf(index) >= 0 {
		p, ok = d.cols[place{k.twin, d.templateOf(index)}]
	}
	return p, ok
}

// item returns where the file has the i-th value of the list at path.
func (d *decoder) item(path string, index int32, i int) position {
	k := d.table.find(path)
	items, ok := d.items[place{k.id, index}]
	if !ok && k.twin != 0 && d.templateOf(index) >= 0 {
		items = d.items[place{k.twin, d.templateOf(index)}]
	}
	if i < len(items) {
		return items[i]
	}
	p, _ := d.atIndex(path, index)
	return p
}

// seen points an error at from to the line of another key, or says that it has its default.
func (d *decoder) seen(path string, from position) string {
	if at, set := d.at(path); set {
		return " (see " + d.line(at, from) + ")"
	}
	return " (" + path + " has its default)"
}

// contradiction reports that two keys do not go together. It stands at the
// second if the file sets it, else at the first, and names the line of the
// other, or that it is the default.
func (d *decoder) contradiction(first, second, text, hint string) {
	a, aSet := d.at(first)
	b, bSet := d.at(second)
	switch {
	case aSet && bSet:
		if b.before(a) {
			a, b = b, a
		}
		d.fail(b, fmt.Sprintf("%s (see %s)", text, d.line(a, b)), hint)
	case bSet:
		d.fail(b, text+" ("+first+" has its default)", hint)
	default:
		d.fail(a, text+" ("+second+" has its default)", hint)
	}
}

// check reports the contradictions and the unsafe settings of a configuration
// whose values are each right.
func (d *decoder) check() {
	if len(d.errs) > 0 {
		return // what follows from another error is not worth a line
	}
	d.checkListen()
	d.checkProxies()
	d.checkZones()
	d.checkNetworks()
	if d.checkRemotes(); len(d.errs) > 0 {
		return // every zone would be told of it again
	}
	d.checkTransfers()
	d.checkGrants()
	d.checkKeyStores()
	d.checkDNSSEC()
	d.checkResolver()
	d.checkViews()
	d.checkExpose()
	d.checkHosts()
	d.checkBounds()
	d.checkPolicy()
	d.checkFilters()
	d.checkRPZ()
	d.checkAsked()
	d.checkMemory(addressBits)
	d.checkLog()
	d.checkDnstap()
	d.checkMetrics()
	d.checkAPI()
	d.checkConsole()
	d.checkEncrypted()
	c := d.config
	if c.EDNS.CookieSecretsFile != "" && !c.EDNS.Cookies {
		d.contradiction(
			"edns.cookies",
			"edns.cookie_secrets_file",
			"edns.cookie_secrets_file is set, and edns.cookies is false",
			"remove one of them",
		)
	}
	if c.Firewall.Manage && c.User != "" {
		d.contradiction(
			"user",
			"firewall.manage",
			"firewall.manage is true, and the server gives up root for user "+quote(c.User),
			"leave one of them out; port53 firewall apply loads the rules without the server",
		)
	}
	if at := d.placeSocket(); len(c.Control.Socket) > maxSocketPath && at.line > 0 {
		d.fail(
			at,
			fmt.Sprintf(
				"state_dir: the control socket %s would have a path of more than %d octets",
				printable(c.Control.Socket),
				maxSocketPath,
			),
			"set control.socket to a shorter path, or off",
		)
	}
}

// placeSocket puts the control socket into the state directory if the file says where that
// is, and nothing of the socket. It returns the place of what the file says.
func (d *decoder) placeSocket() (at position) {
	if _, set := d.at("control.socket"); set {
		return position{}
	}
	at, set := d.at("state_dir")
	if set {
		d.config.Control.Socket = filepath.Join(d.config.StateDir, filepath.Base(d.config.Control.Socket))
	}
	return at
}

func (d *decoder) checkListen() {
	at, _ := d.at("listen")
	if len(d.config.Listen) == 0 {
		d.fail(at, "listen: expected at least one address, found an empty list", "leave the key out to serve this machine only")
	}
	seen := map[netip.AddrPort]bool{}
	for i, a := range d.config.Listen {
		if seen[a] && a.Port() != 0 {
			d.fail(at, fmt.Sprintf("listen[%d]: %s is in the list twice", i, a), "remove one of them")
		}
		seen[a] = true
	}
}

func (d *decoder) checkZones() {
	if len(d.config.Zones) == 0 && !d.config.Recurses() {
		at, set := d.at("zones")
		if !set {
			at, _ = d.at("role")
		}
		d.fail(at, "an authoritative server needs at least one zone", "add zones: [{name: example.com, file: example.com.zone}]")
	}
	seen := make(map[string]int, len(d.config.Zones))
	for i, z := range d.config.Zones {
		name := string(wire.Lower(nil, z.Name))
		if len(z.Views) > 0 {
			continue // checkZoneViews looks after it
		}
		if first, again := seen[name]; again {
			d.fail(
				d.zones[i],
				fmt.Sprintf("zone %s is already defined at %s", quote(nameText(z.Name)), d.line(d.zones[first], d.zones[i])),
				"remove one of them",
			)
			continue
		}
		seen[name] = i
	}
}

// checkBounds reports limits that can never be reached because of others. Where
// only the larger limit is set, below the default of the smaller, it rules.
func (d *decoder) checkBounds() {
	t, r, l, k := d.config.TCP, d.config.Policy.RateLimit, d.config.Resolver.Limits, d.config.Resolver.Cache
	e := d.config.Encrypted.Limits
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	span := func(n int64) string { return durationText(time.Duration(n)) }
	for _, b := range []struct {
		small, large   string
		little, enough int64
		text           func(int64) string
	}{
		{"tcp.per_client", "tcp.per_network", int64(t.PerClient), int64(t.PerNetwork), count},
		{"tcp.per_peer", "tcp.max_connections", int64(t.PerPeer), int64(t.MaxConnections), count},
		{"encrypted.limits.per_client", "encrypted.limits.per_network", int64(e.PerClient), int64(e.PerNetwork), count},
		{"encrypted.limits.per_network", "encrypted.limits.connections", int64(e.PerNetwork), int64(e.Connections), count},
		{"tcp.per_network", "tcp.max_connections", int64(t.PerNetwork), int64(t.MaxConnections), count},
		{"policy.rate_limit.per_second", "policy.rate_limit.ceiling", int64(r.PerSecond), int64(r.Ceiling), count},
		{"policy.rate_limit.burst", "policy.rate_limit.ceiling_burst", int64(r.Burst), int64(r.CeilingBurst), count},
		{"resolver.cache.min_ttl", "resolver.cache.max_ttl", int64(k.MinTTL), int64(k.MaxTTL), span},
		{"resolver.cache.max_negative_ttl", "resolver.cache.max_ttl", int64(k.MaxNegativeTTL), int64(k.MaxTTL), span},
		{"resolver.cache.stale_client_timeout", "resolver.limits.reply_time", int64(k.StaleClientTimeout), int64(l.ReplyTime), span},
		{"resolver.limits.reply_time", "resolver.limits.time", int64(l.ReplyTime), int64(l.Time), span},
		{"resolver.limits.per_client", "resolver.limits.per_client_with_cookie", int64(l.PerClient), int64(l.PerClientWithCookie), count},
		{"resolver.limits.per_client_with_cookie", "resolver.limits.waiting", int64(l.PerClientWithCookie), int64(l.Waiting), count},
		{"resolver.limits.glueless", "resolver.limits.name_servers", int64(l.Glueless), int64(l.NameServers), count},
	} {
		if _, set := d.at(b.small); set && b.little > b.enough {
			d.contradiction(
				b.small,
				b.large,
				fmt.Sprintf("%s is %s, more than %s, which is %s", b.small, b.text(b.little), b.large, b.text(b.enough)),
				"lower the first or raise the second",
			)
		}
	}
}

func (d *decoder) checkPolicy() {
	p := d.config.Policy
	denied := map[netip.Prefix]bool{}
	for _, n := range p.Deny {
		denied[n] = true
	}
	for _, n := range p.Allow {
		if denied[n] {
			d.contradiction(
				"policy.allow",
				"policy.deny",
				fmt.Sprintf("%s is both in policy.allow and in policy.deny", n),
				"remove it from one of them",
			)
		}
	}
	d.checkTunnel()
}

// checkTunnel reports learning that can lead to nothing.
func (d *decoder) checkTunnel() {
	const day = 24 * time.Hour
	t := d.config.Policy.Tunnel
	switch l := t.Learn; {
	case l.Period == 0:
		_, said := d.at("policy.tunnel.learn.period")
		for _, key := range []string{"policy.tunnel.learn.clients", "policy.tunnel.learn.days"} {
			if at, set := d.at(key); set && !said {
				d.fail(at, key+" is set, and policy.tunnel.learn.period is not: nothing is learned", "add period: 7d")
				break
			}
		}
	case t.Action == "off":
		d.contradiction(
			"policy.tunnel.action",
			"policy.tunnel.learn.period",
			"policy.tunnel.learn.period is "+durationText(l.Period)+", and policy.tunnel.action is off: nothing can be learned",
			"set action: watch, or remove learn",
		)
	case l.Period < time.Duration(l.Days)*day:
		d.contradiction(
			"policy.tunnel.learn.period",
			"policy.tunnel.learn.days",
			fmt.Sprintf(
				"policy.tunnel.learn.period is %s, too short for a domain to look like a tunnel on %d days",
				durationText(l.Period), l.Days,
			),
			"set a period of "+durationText(max(7*day, time.Duration(l.Days+1)*day))+", or lower days",
		)
	}
}

func (d *decoder) checkLog() {
	l := d.config.Log
	if l.QueriesFile != "" && l.Queries == "off" {
		d.contradiction(
			"log.queries",
			"log.queries_file",
			"log.queries_file is set, and log.queries is off",
			"set log.queries to text or json, or remove the file",
		)
	}
}

func (d *decoder) checkMetrics() {
	m := d.config.Metrics
	if !m.Listen.IsValid() {
		return
	}
	if _, said := d.at("expose.scrape"); !m.Listen.Addr().IsLoopback() && !m.Expose && !said {
		at, _ := d.at("metrics.listen")
		d.fail(
			at,
			fmt.Sprintf("metrics.listen: %s is not a loopback address, and there is no password", m.Listen),
			"listen on 127.0.0.1, or add expose: true and let a firewall decide who may read",
		)
	}
	for _, a := range d.config.Listen {
		if a == m.Listen && a.Port() != 0 {
			d.contradiction(
				"listen",
				"metrics.listen",
				fmt.Sprintf("metrics.listen: %s serves DNS already", a),
				"give the metrics another port",
			)
		}
	}
}

// checkZoneFiles reports the zone files that cannot be read.
func (d *decoder) checkZoneFiles() {
	for i, z := range d.config.Zones {
		if len(d.errs) >= MaxErrors {
			return
		}
		if z.File == "" {
			continue
		}
		if p := unreadable(z.File); p != nil {
			at, _ := d.atIndex("zones.file", int32(i))
			d.fail(at, fmt.Sprintf("zone %s: file %s %s", quote(nameText(z.Name)), printable(z.File), p.text), p.hint)
			d.errs[len(d.errs)-1].Path = z.File
		}
	}
}

// checkFiles reports the other files that the configuration names and that cannot
// be read.
func (d *decoder) checkFiles() {
	d.checkResolverFiles()
	d.checkAuthorities()
	d.checkKeyFiles()
	d.checkTokenFiles()
	d.checkClientAuthorities()
	d.checkPINFiles()
	d.checkHostsFiles()
	d.checkCertificates(time.Now())
	d.checkConsoleFiles(time.Now())
	for _, p := range d.config.API.Pairs() {
		d.judge(p, "api.", 0, nil, time.Now())
	}
	d.checkFilterFiles()
	d.checkSealedFiles(time.Now())
	if file := d.config.EDNS.CookieSecretsFile; file != "" {
		at, _ := d.at("edns.cookie_secrets_file")
		if p := unreadable(file); p != nil {
			d.fail(at, "edns.cookie_secrets_file: "+printable(file)+" "+p.text, p.hint)
		} else if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
			d.fail(at, "edns.cookie_secrets_file: "+printable(file)+" is readable by every user", "chmod o= "+printable(file))
		}
	}
}

// unreadable says why a file cannot be read, or nil if it can.
func unreadable(path string) *problem {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &problem{"does not exist", "relative paths are relative to the directory of the file they appear in"}
	case err != nil:
		return &problem{"cannot be read: " + reason(err), ""}
	case info.IsDir():
		return &problem{"is a directory, not a file", ""}
	case !info.Mode().IsRegular():
		return &problem{"is not a regular file", ""}
	}
	f, err := os.Open(path)
	if err != nil {
		return &problem{"cannot be read: " + reason(err), "let the user that port53 runs as read it"}
	}
	f.Close()
	return nil
}
