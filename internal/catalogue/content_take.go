package catalogue

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"port53/internal/wire"
)

// What follows is known of services and providers as of takeoverDate, and changes. It is put together from what they document,
// and from two public lists, EdOverflow's "can-i-take-over-xyz" and indianajson's "can-i-take-over-dns". Only what the DNS itself
// shows counts: that a name does not exist at a service, or that a provider's servers do not know a zone. What only a web page shows
// is not looked at.

// takeoverDate is when the lists were last gone through.
const takeoverDate = "2026-11-29"

// A service gives its customers names below its own domain, which anyone can have once they are free.
type service struct{ domain, who string }

// services are those that deny names that nobody has, and give them to whoever asks for them.
func services() []service {
	return []service{
		{"elasticbeanstalk.com", "AWS Elastic Beanstalk"},
		{"s3.amazonaws.com", "Amazon S3"},
		{"azure-api.net", "Azure API Management"},
		{"azurecontainer.io", "Azure Container Instances"},
		{"azurecr.io", "Azure Container Registry"},
		{"azuredatalakestore.net", "Azure Data Lake"},
		{"azureedge.net", "Azure CDN"},
		{"azurefd.net", "Azure Front Door"},
		{"azurehdinsight.net", "Azure HDInsight"},
		{"azurestaticapps.net", "Azure Static Web Apps"},
		{"azurewebsites.net", "Azure App Service"},
		{"blob.core.windows.net", "Azure Storage"},
		{"cloudapp.azure.com", "Azure VM"},
		{"cloudapp.net", "Azure Cloud Services"},
		{"database.windows.net", "Azure SQL"},
		{"redis.cache.windows.net", "Azure Cache"},
		{"search.windows.net", "Azure Search"},
		{"servicebus.windows.net", "Azure Service Bus"},
		{"trafficmanager.net", "Azure Traffic Manager"},
		{"web.core.windows.net", "Azure Storage"},
		{"bitbucket.io", "Bitbucket"},
		{"fly.dev", "Fly"},
		{"ghost.io", "Ghost"},
		{"github.io", "GitHub Pages"},
		{"herokuapp.com", "Heroku"},
		{"herokudns.com", "Heroku"},
		{"myshopify.com", "Shopify"},
		{"netlify.app", "Netlify"},
		{"ngrok.io", "ngrok"},
		{"onrender.com", "Render"},
		{"pages.dev", "Cloudflare Pages"},
		{"readthedocs.io", "Read the Docs"},
		{"surge.sh", "Surge"},
		{"trydiscourse.com", "Discourse"},
		{"vercel.app", "Vercel"},
		{"web.app", "Firebase"},
		{"wordpress.com", "WordPress"},
		{"youtrack.cloud", "JetBrains YouTrack"},
		{"zendesk.com", "Zendesk"},
	}
}

// A provider serves zones of others. Where its servers do not know a zone that is delegated to them, anyone with an account can make it.
type provider struct {
	domain string // of its servers
	label  string // what the first label of a server's name begins with; empty: any
	who    string
}

// providers are those by the names of their servers. Amazon Route 53 is not among them: it keeps zones from servers that a dangling
// delegation names.
func providers() []provider {
	return []provider{
		{"azure-dns.com", "", "Azure DNS"},
		{"azure-dns.net", "", "Azure DNS"},
		{"azure-dns.org", "", "Azure DNS"},
		{"azure-dns.info", "", "Azure DNS"},
		{"bizland.com", "ns", "Bizland"},
		{"digitalocean.com", "ns", "DigitalOcean"},
		{"dnsimple.com", "ns", "DNSimple"},
		{"dnsimple-edge.net", "ns", "DNSimple"},
		{"dnsmadeeasy.com", "ns", "DNS Made Easy"},
		{"dns.he.net", "", "Hurricane Electric"},
		{"he.net", "ns", "Hurricane Electric"},
		{"domain.com", "ns", "Domain.com"},
		{"domaindiscover.com", "ns", "TierraNet"},
		{"dotster.com", "ns", "Dotster"},
		{"nameresolve.com", "ns", "Dotster"},
		{"easydns.com", "dns", "easyDNS"},
		{"easydns.net", "dns", "easyDNS"},
		{"easydns.org", "dns", "easyDNS"},
		{"easydns.info", "dns", "easyDNS"},
		{"googledomains.com", "ns-cloud-", "Google Cloud DNS"},
		{"linode.com", "ns", "Linode"},
		{"mediatemple.net", "ns", "Media Temple"},
		{"mydomain.com", "ns", "MyDomain"},
		{"name.com", "ns", "Name.com"},
		{"ns.cloudflare.com", "", "Cloudflare"},
		{"nsone.net", "dns", "NS1"},
		{"reg.ru", "ns", "Reg.ru"},
		{"yahoo.com", "yns", "Yahoo Small Business"},
		{"000domains.com", "", "000Domains"},
	}
}

// providerOf returns whose customers a name server has zones of, or "".
func providerOf(server []byte) string {
	first := strings.ToLower(string(server[1 : 1+int(server[0])]))
	for _, p := range providers() {
		if d := mustName(p.domain); wire.Subdomain(server, d) && !wire.EqualFold(server, d) && strings.HasPrefix(first, p.label) {
			return p.who
		}
	}
	return ""
}

// A claim is that somebody else can have a name.
type claim struct {
	name   []byte // that can be registered or made
	how    string // in words
	likely bool   // it is not certain
}

// claims finds out who can have a name that is not there, or not found.
type claims struct {
	teller  teller
	zone    []byte // whose names are its own
	ownRoot bool   // names directly below the root are given out by who runs it
}

// of returns how somebody else can have what a lookup did not find, or nil.
func (c *claims) of(ctx context.Context, x *lookup) *claim {
	switch x.is {
	case noName:
		return c.absent(ctx, x.final)
	case broken:
		return c.abandoned(ctx, x)
	case isThere, noData, unasked:
	}
	return nil
}

// absent tells of a name that does not exist.
func (c *claims) absent(ctx context.Context, name []byte) *claim {
	if wire.Subdomain(name, c.zone) {
		return nil // who has the zone has the name
	}
	for _, s := range services() {
		if d := mustName(s.domain); wire.Subdomain(name, d) && !wire.EqualFold(name, d) {
			return &claim{name: name, how: fmt.Sprintf("it is free at %s, where anyone can have it (as of %s)", s.who, takeoverDate)}
		}
	}
	domain, suffix := registrable(name)
	if c.teller.tell(ctx, suffix, wire.TypeSOA).is == noName {
		top := lastLabels(name, 1)
		if what, _ := specialUse(top, nil); c.ownRoot && what == "" {
			return &claim{name: top, how: wire.NameText(top) + " is not delegated, and can be registered with whoever runs this root"}
		}
		return nil
	}
	if domain == nil || reserved(domain) {
		return nil
	}
	if wire.EqualFold(domain, name) || c.teller.tell(ctx, domain, wire.TypeNS).is == noName {
		return &claim{name: domain, how: wire.NameText(domain) + " is not registered, and anyone can register it"}
	}
	if p := customers(name); p != nil && c.teller.tell(ctx, p, wire.TypeSOA).is != noName {
		free := lastLabels(name, wire.LabelCount(p)+1)
		if wire.EqualFold(free, name) || c.teller.tell(ctx, free, wire.TypeA).is == noName {
			return &claim{
				name:   free,
				likely: true,
				how: fmt.Sprintf(
					"names below %s are given out to customers (by the public suffix list), and %s is free",
					wire.NameText(p),
					wire.NameText(free),
				),
			}
		}
	}
	return nil
}

// reserved reports whether a domain is kept from being registered though it is not delegated everywhere (RFC 6761, section 6.5).
func reserved(domain []byte) bool {
	for _, s := range []string{"example.com", "example.net", "example.org"} {
		if wire.EqualFold(domain, mustName(s)) {
			return true
		}
	}
	return false
}

// abandoned tells of a name whose zone no server serves: one that a provider's servers do not know, or whose servers' names
// do not exist.
func (c *claims) abandoned(ctx context.Context, x *lookup) *claim {
	if len(x.zone) <= 1 || wire.EqualFold(x.zone, c.zone) {
		return nil
	}
	for _, s := range x.lame {
		if s.why == "" || wire.Subdomain(s.server, x.zone) {
			continue // what the provider's own domain is in is its own
		}
		if who := providerOf(s.server); who != "" {
			return &claim{
				name: x.zone,
				how: fmt.Sprintf(
					"%s of %s does not know the zone %s, which anyone with an account can make there (as of %s)",
					wire.NameText(s.server),
					who,
					wire.NameText(x.zone),
					takeoverDate,
				),
			}
		}
	}
	for _, s := range x.lame {
		if s.why != "" || bytes.Equal(s.server, x.final) {
			continue
		}
		ns := c.teller.tell(ctx, s.server, wire.TypeA)
		if ns.is != noName {
			continue
		}
		if got := c.absent(ctx, ns.final); got != nil {
			got.how = fmt.Sprintf(
				"%s is a name server of %s, and does not exist: %s",
				wire.NameText(s.server),
				wire.NameText(x.zone),
				got.how,
			)
			return got
		}
	}
	return nil
}
