package catalogue

import (
	_ "embed"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

//go:embed words.txt
var words string

// Words returns the labels that subdomain discovery tries, 5,000 of them, the
// commonest first.
func Words() []string { return strings.Fields(words) }

// takeoverDate is when the list of services was last gone through.
const takeoverDate = "2026-11-23"

// takeovers returns the services whose names anyone can claim once they are free.
func takeovers() [][2]string {
	return [][2]string{
		{"github.io", "GitHub Pages"},
		{"herokuapp.com", "Heroku"},
		{"herokudns.com", "Heroku"},
		{"s3.amazonaws.com", "Amazon S3"},
		{"elasticbeanstalk.com", "AWS Elastic Beanstalk"},
		{"azurewebsites.net", "Azure App Service"},
		{"cloudapp.net", "Azure Cloud Services"},
		{"cloudapp.azure.com", "Azure VM"},
		{"trafficmanager.net", "Azure Traffic Manager"},
		{"blob.core.windows.net", "Azure Storage"},
		{"azureedge.net", "Azure CDN"},
		{"netlify.app", "Netlify"},
		{"vercel.app", "Vercel"},
		{"surge.sh", "Surge"},
		{"bitbucket.io", "Bitbucket"},
		{"ghost.io", "Ghost"},
		{"readthedocs.io", "Read the Docs"},
		{"myshopify.com", "Shopify"},
		{"wordpress.com", "WordPress"},
		{"zendesk.com", "Zendesk"},
		{"fly.dev", "Fly"},
		{"pages.dev", "Cloudflare Pages"},
		{"web.app", "Firebase"},
	}
}

// judgeDangle judges what a name that something in the zone leads to is answered with.
func judgeDangle(zone, target []byte, m *check.Reply) (finding.State, string) {
	if m.Rcode != wire.NXDomain {
		return finding.Pass, ""
	}
	for _, s := range takeovers() {
		if n, err := wire.ParseName(s[0]); err == nil && wire.Subdomain(target, n) {
			return finding.Fail, wire.NameText(target) + " is free at " + s[1] + ", where anyone can claim it (list of " + takeoverDate + ")"
		}
	}
	if domain, sold := free(m); sold && !wire.Subdomain(target, zone) {
		return finding.Fail, wire.NameText(target) + " does not exist, and " + wire.NameText(domain) + " has no such domain: whoever registers it gets what is sent there"
	}
	return finding.Warn, wire.NameText(target) + " does not exist"
}

// Permutations returns labels made from one that was found, as people make them.
func Permutations(label string) []string {
	var out []string
	for _, s := range []string{"dev", "test", "stage", "prod", "old", "new", "int", "1", "2", "01", "02"} {
		out = append(out, label+"-"+s, s+"-"+label)
		if s[0] <= '9' {
			out = append(out, label+s)
		}
	}
	return out
}
