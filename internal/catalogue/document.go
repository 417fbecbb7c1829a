package catalogue

import (
	"fmt"
	"slices"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
)

//go:generate go test -run ^TestDocument$ -count=1 . -update

// Document returns the catalogue in Markdown.
func Document() []byte {
	var b strings.Builder
	b.WriteString(`# Checks

What ` + "`port53 check`" + ` looks at, generated from the catalogue; ` + "`port53 check explain ID`" + ` prints one.

A check ends as **pass**, **warn**, **fail**, **info**, **skipped** (it does not apply) or **unknown** (it could not be
measured, which never passes). *Polite* checks ask ordinary questions and always run; *active* ones (` + "`--active`" + `)
ask unusual ones, and hundreds of them; *intrusive* ones (` + "`--intrusive --i-own-this`" + `) may keep a weak server
from serving others. A probe is a zone that is delegated to where the check runs (` + "`--probe-zone`" + `).

`)
	list := All()
	var groups []finding.Group
	for _, c := range list {
		if !slices.Contains(groups, c.Group) {
			groups = append(groups, c.Group)
		}
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "- [%s](#%s)\n", g, strings.ReplaceAll(strings.ToLower(string(g)), " ", "-"))
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n", g)
		for _, c := range list {
			if c.Group == g {
				document(&b, c)
			}
		}
	}
	zonemaster(&b)
	return []byte(b.String())
}

// zonemaster writes the table of Zonemaster's test cases.
func zonemaster(b *strings.Builder) {
	b.WriteString(
		"\n## Zonemaster\n\nWhich checks judge what each of [Zonemaster](https://zonemaster.net)'s test cases does, as " +
			"the conformance test\n" +
			"`TestBesideZonemaster` found it: in how many zones of its laboratory Zonemaster finds an error or " +
			"something critical, and in\n" +
			"how many of those one of the checks warns or fails. Where that is not all, the last column says why. A " +
			"case without numbers\n" +
			"finds no error there.\n\n| Case | Checks | Errors | Seen | Why not |\n|---|---|---|---|---|\n",
	)
	for _, x := range Zonemaster() {
		zones, seen := "", ""
		if x.Zones > 0 {
			zones, seen = fmt.Sprint(x.Zones), fmt.Sprint(x.Seen)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", x.Case, strings.Join(x.Checks, ", "), zones, seen, x.Why)
	}
}

func document(b *strings.Builder, c *check.Check) {
	fmt.Fprintf(b, "\n### %s\n\nGood: %s. Fault: %s. Severity %s, %s", c.ID, c.Title, c.Fault, c.Severity, c.Mode)
	if c.Needs.Probe {
		b.WriteString(", needs a probe")
	}
	fmt.Fprintf(b, ".\n\n- Sent: %s\n- Judged: %s\n- Remedy: %s\n", c.Sent, c.Criteria, plainText(c.AdviceFor("")))
	var products []string
	for p := range c.Advice {
		if p != "" && c.Advice[p] != c.AdviceFor("") {
			products = append(products, string(p))
		}
	}
	slices.Sort(products)
	for _, p := range products {
		fmt.Fprintf(b, "  - %s: %s\n", p, code(c.Advice[check.Product(p)]))
	}
	var refs []string
	for _, r := range c.Refs {
		if u := finding.Link(r); u != "" {
			r = "[" + r + "](" + u + ")"
		}
		refs = append(refs, r)
	}
	if len(refs) > 0 {
		fmt.Fprintf(b, "- Read on: %s\n", strings.Join(refs, "; "))
	}
}

// plainText keeps Markdown from reading what is meant as it stands.
func plainText(s string) string {
	return strings.NewReplacer("_", `\_`, "*", `\*`, "<", "&lt;").Replace(s)
}

// code quotes a line of configuration, which may have backquotes in it.
func code(s string) string {
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}
