package convert

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A format is one kind of configuration.
type format struct {
	kind, what string
	fits       func(f *found) bool
	read       func(c *converter, path string) error
}

// A found is a file whose format is looked for.
type found struct {
	path, base string
	text       string
	dir        bool
}

func (f *found) has(pattern string) bool { return regexp.MustCompile(pattern).MatchString(f.text) }

// formats returns all that can be read. Of several that fit, the first counts.
func formats() []format {
	return []format{
		{"zones", "a directory of zone files, or a single zone file, including those of a Windows DNS server", func(f *found) bool {
			return f.dir || soaLine.MatchString(f.text) && !f.has(`(?m)[{}]\s*$`)
		}, readFolder},
		{"pdns-database", "PowerDNS's database: an SQLite file, or what sqlite3 .dump, mysqldump and pg_dump write", func(f *found) bool {
			return strings.HasPrefix(f.text, sqliteMagic) ||
				f.has("(?mi)^(CREATE TABLE|INSERT INTO|COPY)[ \t]+(IF NOT EXISTS[ \t]+)?(\\S+\\.)?[\"`]?(domains|records)[\"`]?[ \t(]")
		}, readPDNSDatabase},
		{"adguard", "AdGuard Home's AdGuardHome.yaml", func(f *found) bool {
			return f.has(`(?m)^dns:\s*$`) && f.has(`(?m)^\s+(upstream_dns|bootstrap_dns|bind_hosts):`)
		}, readAdGuard},
		{"recursor-yaml", "PowerDNS Recursor's recursor.yml", func(f *found) bool {
			return f.has(`(?m)^(incoming|recursor|outgoing|recordcache|dnssec|logging):\s*$`) && f.has(`(?m)^\s+[a-z]+(_[a-z]+)*:`) &&
				!f.has(`(?m)^\s+[a-z]+-[a-z-]+:`)
		}, readRecursorYAML},
		{"windows", "DnsSettings.txt, which dnscmd /ExportSettings writes on a Microsoft DNS server", func(f *found) bool {
			text := f.text
			f.text = strings.Join(windowsText(text), "\n")
			fits := f.has(`(?mi)^[ \t]*Type[ \t]*=[ \t]*"?(Primary|Secondary|Forward(er)?|Stub|Cache)\b`) &&
				f.has(`(?m)^[ \t]*\[[^\]]+\][ \t]*$`)
			f.text = text
			return fits
		}, readWindows},
		{"pihole", "Pi-hole's pihole.toml", func(f *found) bool { return f.has(`(?m)^\s*\[dns(\.[a-zA-Z]+)?\]`) }, readPihole},
		{"bind", "BIND's named.conf", func(f *found) bool {
			return f.has(
				`(?m)^\s*(options|zone\s+"?[^"\s]+"?(\s+(IN|in))?|acl\s+\S+|view\s+\S+|key\s+\S+|logging|controls`+
					`|masters|primaries)\s*\{`,
			) &&
				f.has(`;`) ||
				f.has(`(?m)^\s*include\s+"[^"]+"\s*;`)
		}, readBIND},
		{"corefile", "CoreDNS's Corefile", func(f *found) bool {
			return f.has(`(?m)^[^#{}]+\{\s*(#.*)?$`) && f.has(`(?m)^\s*\}\s*(#.*)?$`)
		}, readCorefile},
		{"unbound", "Unbound's unbound.conf", func(f *found) bool {
			return f.has(
				`(?m)^\s*(access-control|interface|forward-addr|stub-addr|auto-trust-anchor-file|module-config` +
					`|local-zone|local-data|domain-insecure|private-address|forward-zone|stub-zone|auth-zone` +
					`|include-toplevel|qname-minimisation|do-ip4|do-ip6|num-threads):`,
			)
		}, readUnbound},
		{"knot", "Knot DNS's knot.conf", func(f *found) bool {
			return f.has(`(?m)^\s+- domain:`) ||
				f.has(`(?m)^(zone|template|remote|acl|database|log|control):\s*(#.*)?$`) &&
					!f.has(`(?m)^\s*(zonefile|name|ip-address|provide-xfr|forward-addr|control-enable):`)
		}, readKnot},
		{"nsd", "NSD's nsd.conf", func(f *found) bool {
			return f.has(
				`(?m)^\s*(zonefile|provide-xfr|request-xfr|ip-address|zonesdir|zonelistfile|include-pattern|server-count`+
					`|hide-version|log-only-syslog):`,
			) ||
				f.has(`(?m)^\s*(pattern|zone):\s*(#.*)?$`)
		}, readNSD},
		{"pdns", "PowerDNS's pdns.conf", func(f *found) bool { return f.has(`(?m)^\s*launch\s*\+?=`) }, readPDNS},
		{"recursor", "PowerDNS Recursor's recursor.conf", func(f *found) bool {
			return f.has(
				`(?m)^\s*(allow-from|forward-zones(-recurse|-file)?|auth-zones|hint-file|query-local-address` +
					`|local-address|lua-config-file|quiet)\s*\+?=`,
			)
		}, readRecursor},
		{"hosts", "/etc/hosts, or Pi-hole's custom.list", func(f *found) bool {
			return f.has(`(?m)^\s*([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)[ \t]+[^\s=]+`)
		}, readHosts},
		{"dnsmasq", "dnsmasq's dnsmasq.conf", func(f *found) bool {
			return f.has(
				`(?m)^\s*(server|local|address|host-record|listen-address|dhcp-[a-z]+|cache-size|conf-dir|addn-hosts`+
					`|domain|interface|rev-server)\s*=`,
			) ||
				f.has(`(?m)^\s*(no-resolv|no-hosts|bogus-priv|domain-needed|expand-hosts|bind-interfaces|strict-order)\s*(#.*)?$`) ||
				strings.HasPrefix(f.base, "dnsmasq")
		}, readDnsmasq},
	}
}

// beginning returns what is known of a file: the rest of a large one is looked at by who reads it.
func beginning(path string, info os.FileInfo) (string, error) {
	if info.Mode().IsRegular() && info.Size() > maxFile {
		f, err := os.Open(path)
		if err != nil {
			return "", reason(path, err)
		}
		defer f.Close()
		text := make([]byte, 1<<20)
		n, err := io.ReadFull(f, text)
		return string(text[:n]), reason(path, err)
	}
	return (&converter{}).readFile(path, nil)
}

// Kinds returns what the configurations are called that can be read.
func Kinds() []string {
	var out []string
	for _, f := range formats() {
		out = append(out, f.kind)
	}
	return out
}

// Formats returns a line for each kind, for people: what it is called, and what it is.
func Formats() string {
	var b strings.Builder
	for _, f := range formats() {
		fmt.Fprintf(&b, "  %-13s  %s\n", f.kind, f.what)
	}
	return b.String()
}

// Detect returns whose configuration a file or a directory is, by what is in it; of
// names that only one server's files have, by the name.
func Detect(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", reason(path, err)
	}
	f := &found{path: path, base: strings.ToLower(filepath.Base(path)), dir: info.IsDir()}
	if !f.dir {
		if f.text, err = beginning(path, info); err != nil {
			return "", err
		}
	}
	for _, format := range formats() {
		if format.fits(f) {
			return format.kind, nil
		}
	}
	// A package's file may be all comments, or say little: then its name tells.
	for prefix, kind := range map[string]string{
		"dnssettings.txt": "windows", "named.conf": "bind", "unbound.conf": "unbound",
		"nsd.conf": "nsd", "knot.conf": "knot", "corefile": "corefile", "pdns.conf": "pdns", "recursor.conf": "recursor",
		"dnsmasq.conf": "dnsmasq",
	} {
		if strings.HasPrefix(f.base, prefix) {
			return kind, nil
		}
	}
	var known []string
	for _, f := range formats() {
		known = append(known, f.kind+" ("+f.what+")")
	}
	return "", fmt.Errorf("%s: it is not clear whose configuration this is; known are %s", Printable(path), strings.Join(known, ", "))
}
