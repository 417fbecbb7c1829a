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

// maxFlaws is how many flaws stand in a report: the rest are counted.
const maxFlaws = 8

// identityChecks returns the checks of what a server tells of itself.
func identityChecks() []*check.Check {
	return described(GroupReach, check.ScopeServer, "identity.txt", []*check.Check{
		{Check: finding.Check{ID: "ID-VERSION", Severity: finding.SevLow}, Run: idVersion},
		{Check: finding.Check{ID: "ID-HOST", Severity: finding.SevLow}, Run: idHost},
		{Check: finding.Check{ID: "ID-AUTHORS", Severity: finding.SevLow}, Run: idAuthors},
		{Check: finding.Check{ID: "ID-BEHAVE", Severity: finding.SevInfo}, Run: idBehave},
		{Check: finding.Check{ID: "ID-CVE", Severity: finding.SevHigh}, Run: idCVE},
	})
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
			ev = finding.Evidence{
				N: 1,
				Command: check.Dig(
					r.Server,
					check.Query{
						Name: wire.Root,
						Type: wire.TypeSOA,
						EDNS: &check.EDNS{Size: check.EDNSSize, Options: wire.AppendOption(nil, wire.OptionNSID, nil)},
					},
				),
			}
		}
	}
	switch {
	case inside:
		return finding.Verdict(finding.Warn, ev, "%s", strings.Join(told, ", "))
	case len(told) > 0:
		return []finding.Finding{
			{State: finding.Info, Title: "the server tells a host name", Detail: strings.Join(told, ", "), Evidence: ev},
		}
	case !chaosAnswered(id, "hostname.bind", "id.server") && !id.NSIDAnswered:
		return finding.Unmeasured(ev, check.ErrTimeout)
	}
	return finding.Verdict(finding.Pass, ev, "not told")
}

// ofInside reports whether a text looks like a host's name that only its network knows.
func ofInside(text string) bool {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if strings.HasPrefix(name, "0x") || strings.ContainsAny(name, " /:") {
		return false
	}
	// RFC 6762, section 3 and appendix G; RFC 8375; and what networks use although
	// nobody gave it to them.
	for _, suffix := range []string{
		".local", ".localdomain", ".internal", ".intranet", ".private", ".corp", ".home", ".lan",
		".home.arpa",
	} {
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
	return finding.Verdict(
		finding.Pass,
		ev,
		"no server that is known behaves so, the nearest is %s with %.0f %%; %s",
		m.Product,
		100*m.Share,
		marks,
	)
}

func idCVE(ctx context.Context, r *check.Run) []finding.Finding {
	id := r.Identity(ctx)
	ev := chaosEvidence(r, id, "version.bind")
	if id.Err != nil {
		return finding.Unmeasured(ev, id.Err)
	}
	s := id.Software
	all, date := fingerprint.Vulnerabilities()
	known := false
	for i := range all {
		known = known || all[i].Product == s.Product
	}
	switch {
	case s.Version == "":
		return finding.Verdict(finding.Skipped, ev, "no version is told: compare your own with your maker's list")
	case !known:
		return finding.Verdict(finding.Skipped, ev, "nothing is listed of %s", s)
	}
	flaws := fingerprint.VulnerabilitiesOf(s.Product, s.Version)
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
