package catalogue

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/fingerprint"
	"port53/internal/wire"
)

// GroupReach are the checks of what strangers reach, and of what it tells of itself.
const GroupReach finding.Group = "Reach and identity"

// maxFlaws is how many flaws stand in a report: the rest are counted.
const maxFlaws = 8

// identityChecks returns the checks of what a server tells of itself.
func identityChecks() []*check.Check {
	hide := map[check.Product]string{
		"":     "Hide the version; above all, upgrade: behaviour tells the product whatever is hidden.",
		"bind": "version none;", "nsd": "hide-version: yes", "unbound": "hide-version: yes", "knot": `server: version: ""`,
		"pdns": "version-string=anonymous", "pdns-recursor": "version-string=", "dnsmasq": "no-ident", "coredns": "Remove the chaos plugin.",
		"msdns": "dnscmd /Config /EnableVersionQuery 0", "dnsdist": `addAction(QClassRule(DNSClass.CHAOS), RCodeAction(DNSRCode.REFUSED))`,
		"port53": "identity: {version: hidden}",
	}
	hideHost := map[check.Product]string{
		"":     "Hide the host's name, or tell a code that says nothing of the inside.",
		"bind": "hostname none; server-id none;", "nsd": "hide-identity: yes and no nsid", "unbound": "hide-identity: yes", "knot": `server: {identity: "", nsid: ""}`,
		"pdns": "server-id=disabled", "pdns-recursor": "server-id=disabled", "dnsmasq": "no-ident", "coredns": "Remove nsid, or give it a code.",
		"knot-resolver": "modules.unload('nsid')", "port53": "identity: {hostname: hidden} and no identity.nsid",
	}
	hideRest := map[check.Product]string{
		"":     "Refuse questions of class CH.",
		"bind": `view chaos CH { match-clients { any; }; recursion no; zone "." CH { type hint; file "/dev/null"; }; }; or allow-query in it`, "unbound": "hide-trustanchor: yes",
		"dnsmasq": "no-ident", "port53": "Nothing to set: they are refused.",
	}
	upgrade := map[check.Product]string{
		"":     "Upgrade to a version without these flaws, or see that your distribution's build has them mended.",
		"bind": "Upgrade; for Debian's build: zgrep CVE /usr/share/doc/bind9/changelog.Debian.gz", "unbound": "Upgrade; for Debian's build: zgrep CVE /usr/share/doc/unbound/changelog.Debian.gz",
		"dnsmasq": "Upgrade; for Debian's build: zgrep CVE /usr/share/doc/dnsmasq-base/changelog.Debian.gz", "pdns-recursor": "Upgrade; for Debian's build: zgrep CVE /usr/share/doc/pdns-recursor/changelog.Debian.gz",
		"pdns": "Upgrade; for Debian's build: zgrep CVE /usr/share/doc/pdns-server/changelog.Debian.gz", "knot-resolver": "Upgrade; for Debian's build: zgrep CVE /usr/share/doc/knot-resolver/changelog.Debian.gz",
	}
	list := []*check.Check{
		{
			Check: finding.Check{ID: "ID-VERSION", Title: "the version is not told", Severity: finding.SevLow, Sent: "Asks for version.bind, version.server and version.pdns as text of class CH. A version tells attackers which faults to try.", Judged: "A text that tells a product or a number: warn. Refused, or a text that tells nothing: pass.", Advice: hide, Refs: []string{"RFC 4892"}},
			Run:   idVersion,
		},
		{
			Check: finding.Check{ID: "ID-HOST", Title: "no name of the inside is told", Severity: finding.SevLow, Sent: "Asks for hostname.bind and id.server as text of class CH, and for the name server identifier (NSID).", Judged: "A host's name without a domain, or of a domain for the inside: warn. Another text: information. None: pass.", Advice: hideHost, Refs: []string{"RFC 4892", "RFC 5001"}},
			Run:   idHost,
		},
		{
			Check: finding.Check{ID: "ID-AUTHORS", Title: "nothing else of class CH is told", Severity: finding.SevLow, Sent: "Asks for authors.bind, trustanchor.unbound and cachesize.bind as text of class CH: names that one product answers each.", Judged: "Any text: warn, for it names the software and its state.", Advice: hideRest, Refs: []string{"RFC 4892"}},
			Run:   idAuthors,
		},
		{
			Check: finding.Check{ID: "ID-BEHAVE", Title: "what the server is, by its behaviour", Severity: finding.SevInfo, Sent: "Asks about fifty odd questions (unusual operations, classes, counts, flags and EDNS), and compares what comes back with a table of what real servers answered.", Judged: "A product that fits is information, with a confidence from 0 to 10: no setting hides it.", Advice: map[check.Product]string{"": "Nothing to do: do not rely on a hidden version, but on upgrades."}, Refs: []string{"RFC 8906"}},
			Run:   idBehave,
		},
		{
			Check: finding.Check{ID: "ID-CVE", Title: "the version has no known flaws", Severity: finding.SevHigh, Sent: "Looks the version that the server tells up in a list of published flaws that comes with this program.", Judged: "A flaw: fail; warn if the version may be a distribution's build, in which flaws are mended under the old number. No version: unknown.", Advice: upgrade, Refs: []string{"CVE-2023-50387", "CVE-2020-8616", "CVE-2017-14491"}},
			Run:   idCVE,
		},
	}
	for _, c := range list {
		c.Group, c.Scope = GroupReach, check.ScopeServer
	}
	return list
}

// chaosEvidence returns the evidence for a text of class CH.
func chaosEvidence(r *check.Run, id *fingerprint.Identity, name string) finding.Evidence {
	reply := id.Replies[name]
	ev := seen(r.Server, check.Query{Name: mustName(name), Type: wire.TypeTXT, Class: wire.ClassCH}, nil)
	ev.Received, ev.RTT = reply.Raw, reply.RTT
	return ev
}

// chaosAnswered reports whether one of these names was answered for.
func chaosAnswered(id *fingerprint.Identity, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return id.Replies[n].Raw != nil })
}

func idVersion(ctx context.Context, r *check.Run) []finding.Finding {
	id := r.Identity(ctx)
	if id.Err != nil {
		return finding.Unmeasured(chaosEvidence(r, id, "version.bind"), id.Err)
	}
	for _, n := range fingerprint.VersionNames() {
		text := id.Texts[n]
		if s := fingerprint.ReadBanner(text); s.Product != "" || strings.ContainsFunc(text, unicode.IsDigit) {
			detail := fmt.Sprintf("%s says %q", n, wire.Printable(text))
			if s := cmp.Or(r.Software, id.Software); s.Product != "" {
				detail += fmt.Sprintf(": %s, %s, by %s, confidence %d of 10", s, cmp.Or(s.CPE, "no CPE"), s.Method, s.Confidence)
			}
			return finding.Verdict(finding.Warn, chaosEvidence(r, id, n), "%s", detail)
		}
	}
	ev := chaosEvidence(r, id, "version.bind")
	if !chaosAnswered(id, fingerprint.VersionNames()...) {
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	if text := id.Texts["version.bind"]; text != "" {
		return finding.Verdict(finding.Pass, ev, "only %q is told", wire.Printable(text))
	}
	return finding.Verdict(finding.Pass, ev, "not told")
}

func idHost(ctx context.Context, r *check.Run) []finding.Finding {
	id := r.Identity(ctx)
	ev := chaosEvidence(r, id, "hostname.bind")
	if id.Err != nil {
		return finding.Unmeasured(ev, id.Err)
	}
	var told []string
	inside := false
	for _, n := range []string{"hostname.bind", "id.server"} {
		if text := id.Texts[n]; text != "" {
			told = append(told, fmt.Sprintf("%s says %q", n, wire.Printable(text)))
			inside = inside || ofInside(text)
		}
	}
	if len(id.NSID) > 0 {
		text := string(id.NSID)
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			text = "0x" + hex.EncodeToString(id.NSID)
		}
		told = append(told, fmt.Sprintf("NSID is %q", text))
		inside = inside || ofInside(text)
		if len(told) == 1 {
			ev = finding.Evidence{N: 1, Command: check.Dig(r.Server, check.Query{Name: wire.Root, Type: wire.TypeSOA, EDNS: &check.EDNS{Size: check.EDNSSize, Options: check.EDNSOption(wire.OptionNSID, nil)}})}
		}
	}
	switch {
	case inside:
		return finding.Verdict(finding.Warn, ev, "%s", strings.Join(told, ", "))
	case len(told) > 0:
		return finding.Verdict(finding.Info, ev, "%s", strings.Join(told, ", "))
	case !chaosAnswered(id, "hostname.bind", "id.server") && !id.NSIDAnswered:
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	return finding.Verdict(finding.Pass, ev, "not told")
}

// ofInside tells whether a text looks like a host's name that only its network knows.
func ofInside(text string) bool {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if strings.HasPrefix(name, "0x") || strings.ContainsAny(name, " /:") {
		return false
	}
	// RFC 6762, section 3 and appendix G; RFC 8375; and what networks use although
	// nobody gave it to them.
	for _, suffix := range []string{".local", ".localdomain", ".internal", ".intranet", ".private", ".corp", ".home", ".lan", ".home.arpa"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return !strings.Contains(name, ".") && strings.ContainsFunc(name, unicode.IsLetter)
}

func idAuthors(ctx context.Context, r *check.Run) []finding.Finding {
	id := r.Identity(ctx)
	ev := chaosEvidence(r, id, "authors.bind")
	if id.Err != nil {
		return finding.Unmeasured(ev, id.Err)
	}
	var told []string
	names := []string{"authors.bind", "trustanchor.unbound", "cachesize.bind"}
	for _, n := range names {
		if text, ok := id.Texts[n]; ok {
			if len(told) == 0 {
				ev = chaosEvidence(r, id, n)
			}
			told = append(told, fmt.Sprintf("%s says %q", n, wire.Printable(text)))
		}
	}
	switch {
	case len(told) > 0:
		return finding.Verdict(finding.Warn, ev, "%s", strings.Join(told, ", "))
	case !chaosAnswered(id, names...):
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	return finding.Verdict(finding.Pass, ev, "not told")
}

func idBehave(ctx context.Context, r *check.Run) []finding.Finding {
	id := r.Identity(ctx)
	// One of the questions that tell most servers apart.
	ev := finding.Evidence{N: fingerprint.Questions(), Command: check.Dig(r.Server, soaQuery(r)) + " +opcode=3"}
	if id.Err != nil {
		return finding.Unmeasured(ev, id.Err)
	}
	marks := r.Behaviour(ctx)
	if marks.Silent() {
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	m := marks.Match()
	if sure := m.Confidence(); sure >= fingerprint.Enough {
		return []finding.Finding{{
			State: finding.Info, Title: "it behaves like " + string(m.Product), Evidence: ev,
			Detail: fmt.Sprintf("%s, as of version %s (%s): %.0f %% fits, of the next product %.0f %%, confidence %d of 10; %s",
				m.Product, m.Version, m.Setting, 100*m.Share, 100*m.Next, sure, marks),
		}}
	}
	return finding.Verdict(finding.Pass, ev, "no server that is known behaves so, the nearest is %s with %.0f %%; %s", m.Product, 100*m.Share, marks)
}

func idCVE(ctx context.Context, r *check.Run) []finding.Finding {
	id := r.Identity(ctx)
	ev := chaosEvidence(r, id, "version.bind")
	if id.Err != nil {
		return finding.Unmeasured(ev, id.Err)
	}
	s := id.Software
	all, date := fingerprint.Flaws()
	known := false
	for i := range all {
		known = known || all[i].Product == s.Product
	}
	switch {
	case s.Version == "":
		return finding.Verdict(finding.Unknown, ev, "no version is told: compare your own with your maker's list")
	case !known:
		return finding.Verdict(finding.Unknown, ev, "nothing is listed of %s", s)
	}
	flaws := fingerprint.FlawsOf(s.Product, s.Version)
	if len(flaws) == 0 {
		return finding.Verdict(finding.Pass, ev, "%s has none of those that were known on %s", s, date)
	}
	var b strings.Builder
	for i := range flaws[:min(len(flaws), maxFlaws)] {
		fmt.Fprintf(&b, "%s (%s); ", flaws[i].CVE, flaws[i].About)
	}
	if n := len(flaws) - maxFlaws; n > 0 {
		fmt.Fprintf(&b, "and %d more; ", n)
	}
	f := finding.Finding{State: finding.Fail, Title: fmt.Sprintf("%s has %d known flaws", s, len(flaws)), Evidence: ev}
	f.Severity, _ = finding.ParseSeverity(flaws[0].Severity)
	if s.Packaged() {
		f.State = finding.Warn
		b.WriteString("a distribution's build may have them mended; ")
	}
	f.Detail = b.String() + "as known on " + date
	return []finding.Finding{f}
}
