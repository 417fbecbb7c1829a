// Package internal_test holds the rule of who may import whom.
package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const modulePath = "port53/internal/"

// TestFloors reads every source file below internal and fails on an import
// that does not point strictly downwards in floors.txt, on a package without a
// floor, and on a package without a doc comment. It parses the sources itself,
// so that Go's test cache sees each file that the verdict depends on.
func TestFloors(t *testing.T) {
	floors := readFloors(t)
	documented := map[string]bool{}
	seen := map[string]bool{}

	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		pkg, _, _ := strings.Cut(dir, "/") // a sub-package counts as its parent
		floor, ok := floors[pkg]
		if !ok {
			t.Errorf("%s: package %s has no floor: add it to internal/floors.txt", path, pkg)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		seen[dir] = true
		if hasDoc(file) {
			documented[dir] = true
		}
		for _, spec := range file.Imports {
			imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), modulePath)
			if !ours {
				continue
			}
			other, _, _ := strings.Cut(imported, "/")
			if other == pkg {
				continue
			}
			otherFloor, ok := floors[other]
			switch {
			case !ok:
				t.Errorf("%s: imports %s, which has no floor", path, other)
			case otherFloor >= floor:
				t.Errorf("%s: %s (floor %d) may not import %s (floor %d)", path, pkg, floor, other, otherFloor)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range seen {
		if !documented[dir] {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
	if len(seen) == 0 {
		t.Fatal("no package found: is the test run from internal?")
	}
}

// readFloors returns the floor of each package, 0 being the ground.
func readFloors(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	floors := map[string]int{}
	for n, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		for _, pkg := range strings.Fields(line) {
			floors[pkg] = n
		}
	}
	return floors
}

func hasDoc(file *ast.File) bool {
	return file.Doc != nil && strings.HasPrefix(file.Doc.Text(), "Package "+file.Name.Name+" ")
}
