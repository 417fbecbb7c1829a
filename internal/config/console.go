package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"port53/internal/certs"
)

// Console is the pages for a browser.
type Console struct {
	Listen      netip.AddrPort `yaml:"listen" is:"address-or-off" default:"off" port:"8080"`
	Origin      string         `yaml:"origin" is:"label" value:"a URL such as https://dns.example.org" default:""`
	Certificate string         `yaml:"certificate" is:"path" default:""`
	Key         string         `yaml:"key" is:"path" default:""`
	OIDC        OIDC           `yaml:"oidc"`
}

// OIDC is a provider that people sign in by.
type OIDC struct {
	Issuer     string      `yaml:"issuer" is:"label" value:"a URL such as https://id.example.org" default:""`
	Client     string      `yaml:"client" is:"label" default:"port53"`
	SecretFile string      `yaml:"secret_file" is:"path" default:""`
	Groups     []GroupRole `yaml:"groups" map:"true"`
}

// A GroupRole is what the members of a group may do.
type GroupRole struct {
	Group string `yaml:"group" is:"label" required:"true"`
	Role  string `yaml:"role" is:"word" words:"reader editor admin" required:"true"`
}

// Pairs returns the console's certificate, if it has one.
func (c *Console) Pairs() []certs.Pair {
	if c.Certificate == "" {
		return nil
	}
	return []certs.Pair{{Certificate: c.Certificate, Key: c.Key}}
}

// checkConsole reports a console that strangers could listen to, or that no browser would reach.
func (d *decoder) checkConsole() {
	c := &d.config.Console
	if !c.Listen.IsValid() {
		for _, one := range [][2]string{
			{"origin", c.Origin},
			{"certificate", c.Certificate},
			{"key", c.Key},
			{"oidc.issuer", c.OIDC.Issuer},
		} {
			if at, set := d.at("console." + one[0]); set && one[1] != "" {
				d.fail(at, "console."+one[0]+": there is no console", "add listen: 127.0.0.1:8080 to console")
			}
		}
		return
	}
	at, _ := d.at("console.listen")
	for key, missing := range map[string]bool{
		"certificate": c.Key != "" && c.Certificate == "",
		"key":         c.Certificate != "" && c.Key == "",
	} {
		if missing {
			d.fail(at, "console: there is no "+key, "certificate and key go together: the paths of two files in PEM")
		}
	}
	local := c.Listen.Addr().IsLoopback()
	switch {
	case local:
	case c.Certificate == "":
		d.fail(
			at,
			fmt.Sprintf("console.listen: %s is not a loopback address, and sessions would travel unencrypted", c.Listen),
			"add certificate: and key:, or listen on 127.0.0.1 behind a TLS proxy and write its origin",
		)
	case c.Origin == "":
		d.fail(
			at,
			"console: origin is missing; requests for other names are refused by it",
			"add origin: https:// and the name that browsers ask for",
		)
	}
	d.checkOrigin()
	d.checkProvider()
	for _, l := range d.config.Listen {
		if l == c.Listen && l.Port() != 0 {
			d.contradiction(
				"listen",
				"console.listen",
				fmt.Sprintf("console.listen: %s serves DNS already", l),
				"give the console another port",
			)
		}
	}
	for key, other := range map[string]netip.AddrPort{"metrics.listen": d.config.Metrics.Listen, "api.listen": d.config.API.Listen} {
		if other == c.Listen && other.Port() != 0 {
			d.contradiction(
				key,
				"console.listen",
				fmt.Sprintf("console.listen: %s is %s already", other, key),
				"give the console another port",
			)
		}
	}
}

// checkOrigin reports an origin that no browser sends.
func (d *decoder) checkOrigin() {
	at, set := d.at("console.origin")
	c := &d.config.Console
	if !set || c.Origin == "" {
		return
	}
	u, err := url.Parse(c.Origin)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		d.fail(at, "console.origin: expected a URL such as https://dns.example.org, found "+quote(c.Origin), "")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		d.fail(at, "console.origin: an origin has no path: "+quote(c.Origin), "write https://"+printable(u.Host))
	case u.Scheme == "http" && u.Hostname() != "localhost" && !loopbackHost(u.Hostname()):
		d.fail(at, "console.origin: sessions would travel unencrypted to "+printable(u.Host), "write https://")
	case u.Scheme == "http" && c.Certificate != "":
		d.fail(at, "console.origin: the console has a certificate, and is reached over TLS", "write https://")
	}
}

// checkProvider reports a provider by whom nobody could sign in.
func (d *decoder) checkProvider() {
	o := &d.config.Console.OIDC
	at, set := d.at("console.oidc.issuer")
	if !set || o.Issuer == "" {
		if at, set := d.at("console.oidc.client"); set && o.Issuer == "" {
			d.fail(at, "console.oidc: there is no issuer", "add issuer: and the URL of the provider")
		}
		return
	}
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		d.fail(at, "console.oidc.issuer: expected a URL such as https://id.example.org, found "+quote(o.Issuer), "")
	case u.Scheme == "http" && u.Hostname() != "localhost" && !loopbackHost(u.Hostname()):
		d.fail(at, "console.oidc.issuer: the answers of the provider would travel unencrypted", "write https://")
	case len(o.Groups) == 0:
		d.fail(at, "console.oidc: no group has a role: nobody could sign in", "add groups: {dns-admins: admin}")
	}
}

// checkConsoleFiles looks at the files of the console.
func (d *decoder) checkConsoleFiles(now time.Time) {
	c := &d.config.Console
	if !c.Listen.IsValid() {
		return
	}
	for _, p := range c.Pairs() {
		var names []string
		if u, err := url.Parse(c.Origin); err == nil && u.Hostname() != "" && c.Origin != "" {
			names = []string{u.Hostname()}
		}
		d.judge(p, "console.", 0, names, now)
	}
	if file := c.OIDC.SecretFile; file != "" {
		at, _ := d.at("console.oidc.secret_file")
		if p := unreadable(file); p != nil {
			d.fail(at, "console.oidc.secret_file: "+printable(file)+" "+p.text, p.hint)
		} else if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
			d.fail(at, "console.oidc.secret_file: "+printable(file)+" is readable by every user", "chmod o= "+printable(file))
		} else if text, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(text)) == 0 {
			d.fail(at, "console.oidc.secret_file: "+printable(file)+" is empty", "write the client's secret into it")
		}
	}
}
