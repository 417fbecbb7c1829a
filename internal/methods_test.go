package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// byName are imports and functions that call methods by their names. Where a program has one of them the linker
// leaves no exported method out, since any may be called: a tenth of the binary.
var byName = []string{
	"text/template", "html/template",
	"MethodByName", "SetVersionTemplate", "SetUsageTemplate", "SetHelpTemplate", "AddTemplateFunc", "AddTemplateFuncs", // the last of cobra
}

// TestMethodsAreLeftOut reads the product's sources for what would keep all methods in its binary.
func TestMethodsAreLeftOut(t *testing.T) {
	fset, files := token.NewFileSet(), 0
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err == nil {
				for _, fault := range callsByName(fset, file) {
					t.Error(fault)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Fatalf("%d files found: is the test run from internal?", files)
	}
}

// TestMethodsAreSeen has one fault of each kind.
func TestMethodsAreSeen(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", `package p
import "html/template"
func f() { root.SetVersionTemplate("x"); v.MethodByName(name); v.Method(0) }
`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := callsByName(fset, file); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

func callsByName(fset *token.FileSet, file *ast.File) (faults []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		name := ""
		switch n := n.(type) {
		case *ast.ImportSpec:
			name = strings.Trim(n.Path.Value, `"`)
		case *ast.SelectorExpr:
			name = n.Sel.Name
		}
		if slices.Contains(byName, name) {
			faults = append(faults, fset.Position(n.Pos()).String()+": "+name+" calls methods by name, and keeps all that there are in the binary")
		}
		return true
	})
	return faults
}
