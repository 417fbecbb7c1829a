// Package fingerprint tells what a name server runs: by what it says of itself, by how it
// behaves, and what flaws of its version are published.
//
// [Identify] asks for the texts that servers tell their version in, [Behaviour] asks
// about fifty odd questions, and [Judge] takes both together: a text may lie or be
// hidden, and behaviour names products, not versions. All is asked through an [Asker];
// nothing here opens a socket. What a server says is kept as data: the texts of
// [Software] are printable, and those of [Identity] are as they came.
package fingerprint

import (
	"regexp"
	"strings"
	"sync"

	"port53/internal/wire"
)

// A Product is a server program, by a short name.
type Product string

// How a server's software was found out.
const (
	MethodText      = "txt"
	MethodNSID      = "nsid"
	MethodBehaviour = "behaviour"
)

// Software is what a server runs. Its texts are printable.
type Software struct {
	Product    Product // "" if it is not known
	Version    string  // as the server tells it, or ""
	CPE        string  // its name in the Common Platform Enumeration, or ""
	Banner     string  // what it said, or ""
	Method     string  // how it was found out; "" if it is not known
	Confidence int     // from 0 to 10
}

// String writes software in one line.
func (s Software) String() string {
	if s.Product == "" {
		return "unknown"
	}
	return strings.TrimSpace(string(s.Product) + " " + s.Version)
}

// Packaged reports whether software may be a distribution's build, in which flaws are
// mended under the old number. BIND's tells which it is; the others' say nothing of it.
func (s Software) Packaged() bool {
	return s.Product != "bind" || distribution.MatchString(s.Banner)
}

// What is read of texts and versions.
var (
	distribution = regexp.MustCompile(`(?i)deb|ubuntu|red ?hat|\.el[0-9]|\.fc[0-9]|suse|alpine|~|\+`)
	// plainVersion is a version without the packager's part.
	plainVersion = regexp.MustCompile(`^[0-9]+(?:\.[0-9]+)*(?:-?(?:P|S|rc|beta|alpha)[0-9]+)?`)
	// versionNumbers are the numbers of a version, with BIND's patch level.
	versionNumbers = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)*)(?:-P([0-9]+))?`)
)

// A banner is how a product writes its name and version.
type banner struct {
	product Product
	pattern *regexp.Regexp // with the version as its first group
}

// banners returns what products answer to version.bind and its like, the more special
// ones first.
var banners = sync.OnceValue(func() []banner {
	var list []banner
	for _, b := range []struct {
		product Product
		pattern string
	}{
		{"pdns-recursor", `(?i)powerdns recursor v?([0-9][^ ]*)`},
		{"pdns", `(?i)powerdns(?: authoritative(?: server)?)? v?([0-9][^ ]*)`},
		{"pdns", `(?i)served by powerdns`},
		{"dnsdist", `(?i)dnsdist[ -]v?([0-9][^ ]*)`},
		{"nsd", `^NSD ([0-9][^ ]*)`},
		{"unbound", `(?i)^unbound ([0-9][^ ]*)`},
		{"knot-resolver", `(?i)knot resolver v?([0-9][^ ]*)`},
		{"knot", `(?i)^knot dns v?([0-9][^ ]*)`},
		{"dnsmasq", `(?i)dnsmasq-(?:pi-hole-)?v?([0-9][^ ]*)`},
		{"coredns", `(?i)coredns-v?([0-9][^ ]*)`},
		{"technitium", `(?i)technitium(?: dns server)? v?([0-9][^ ]*)`},
		{"msdns", `(?i)microsoft dns v?([0-9][^ ]*)`},
		{"gdnsd", `(?i)^gdnsd(?: ([0-9][^ ]*))?`},
		{"port53", `(?i)^port53(?: v?([0-9][^ ]*))?`},
		{"bind", `(?i)^(?:isc )?bind v?(9\.[0-9]+\.[^ ]*)`},
		{"bind", `^(9\.[0-9]+\.[0-9]+[^ ]*)`},
	} {
		list = append(list, banner{b.product, regexp.MustCompile(b.pattern)})
	}
	return list
})

// ReadBanner reads a text that a server tells of itself. Without a Product it is none
// that is known.
func ReadBanner(text string) Software {
	for _, b := range banners() {
		if m := b.pattern.FindStringSubmatch(text); m != nil {
			version := ""
			if len(m) > 1 {
				version = strings.TrimRight(wire.Printable(m[1]), "),;")
			}
			return Software{Product: b.product, Version: version, CPE: cpe(b.product, version), Banner: wire.Printable(text)}
		}
	}
	return Software{}
}

// cpe returns the name of a product and version in the Common Platform Enumeration, as
// the tools that look up vulnerabilities have it, or "" where it has none.
func cpe(p Product, version string) string {
	vendor := map[Product]string{
		"bind": "isc:bind", "nsd": "nlnetlabs:nsd", "unbound": "nlnetlabs:unbound", "knot": "nic:knot_dns",
		"knot-resolver": "nic:knot_resolver",
		"pdns":          "powerdns:authoritative", "pdns-recursor": "powerdns:recursor", "dnsdist": "powerdns:dnsdist",
		"dnsmasq": "thekelleys:dnsmasq",
		"coredns": "coredns.io:coredns", "msdns": "microsoft:dns", "technitium": "technitium:dns_server", "gdnsd": "gdnsd:gdnsd",
	}[p]
	if vendor == "" {
		return ""
	}
	plain := plainVersion.FindString(version)
	if plain == "" {
		return "cpe:/a:" + vendor
	}
	return "cpe:/a:" + vendor + ":" + strings.ToLower(plain)
}
