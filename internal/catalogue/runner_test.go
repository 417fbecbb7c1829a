package catalogue_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/finding"
)

// TestRunnerKnowsNoCheck reads the sources of package check: no text in them is, or begins, the
// ID of a check or the name of a group. What a check needs it says itself (check.Needs).
func TestRunnerKnowsNoCheck(t *testing.T) {
	files, err := filepath.Glob("../check/*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if why := names(text); why != "" {
					t.Errorf("%s: %q is %s", file, text, why)
				}
			}
			return true
		})
	}
	// It would notice.
	for _, text := range []string{"SRV-AXFR", "PORT-", "SRV-EDNS-", "only RES-OPEN here", string(catalogue.GroupServer)} {
		if names(text) == "" {
			t.Errorf("%q is not noticed", text)
		}
	}
}

// names says which check or group a text speaks of; "" is none.
func names(text string) string {
	words := regexp.MustCompile(`[A-Z0-9]+-[A-Z0-9-]*`).FindAllString(text, -1)
	for _, c := range catalogue.All() {
		if text == string(c.Group) {
			return "a group"
		}
		for _, w := range words {
			if strings.HasPrefix(c.ID, w) {
				return c.ID
			}
		}
		if text == c.ID {
			return c.ID
		}
	}
	return ""
}

// TestNeeds has what each check says of itself: the dear and the rare ones by name, so that a
// new one is thought of.
func TestNeeds(t *testing.T) {
	var remote, away, families, rights []string
	for _, c := range catalogue.All() {
		n := c.Needs
		if (c.Mode != finding.Polite) != (n.Cost == check.CostWaits) {
			t.Errorf("%s is %s and has cost %d", c.ID, c.Mode, n.Cost)
		}
		if (c.Scope == check.ScopeZone) != (n.Cost == check.CostSearch) {
			t.Errorf("%s has scope %d and cost %d", c.ID, c.Scope, n.Cost)
		}
		if n.Probe && !n.Recursion {
			t.Errorf("%s needs a probe zone, and nobody who looks names up in it", c.ID)
		}
		if (c.Group == catalogue.GroupEncrypted && c.ID != "DDR-LISTEN") != (n.Port == check.PortTLS) || (c.Group == catalogue.GroupResolver && c.ID != "RES-OPEN") != n.Recursion {
			t.Errorf("%s: port %d, recursion %t", c.ID, n.Port, n.Recursion)
		}
		for _, x := range []struct {
			needs bool
			list  *[]string
		}{{n.Remote, &remote}, {n.Away, &away}, {n.Families, &families}, {n.Rights != "", &rights}} {
			if x.needs {
				*x.list = append(*x.list, c.ID)
			}
		}
	}
	if got := strings.Join([]string{strings.Join(remote, " "), strings.Join(away, " "), strings.Join(families, " "), strings.Join(rights, " ")}, "; "); got != "PORT-NEIGH; RES-TRANSPARENT; PORT-V6; PORT-SRC" {
		t.Error(got)
	}
}
