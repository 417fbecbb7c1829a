package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writers are the methods by which what is served changes, the package that has them, and
// the packages that may call them.
var writers = []struct {
	methods []string
	of      string
	may     []string
}{
	{[]string{"Store", "Extend"}, "zone", []string{"zone", "zones"}}, // of zone.Served
	{[]string{"Apply"}, "engine", []string{"engine", "app"}},         // of engine.Engine
}

// TestOneWriter reads the product's sources and fails where another than its one writer
// changes the version of a zone, or the generation.
func TestOneWriter(t *testing.T) {
	dirs, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		fset, files := token.NewFileSet(), map[string]*ast.File{}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			if files[path], err = parser.ParseFile(fset, path, nil, parser.SkipObjectResolution); err != nil {
				t.Fatal(err)
			}
		}
		for _, w := range writers {
			places := callsOf(fset, files, modulePath+w.of, w.methods)
			if slices.Contains(w.may, dir) {
				calls += len(places)
				continue
			}
			for _, place := range places {
				t.Errorf("%s: only %s may do that", place, strings.Join(w.may, " and "))
			}
		}
	}
	if calls < 3 {
		t.Errorf("%d calls by those who may: have the methods other names?", calls)
	}
}

// TestWritersAreSeen has what changes an entry, and what changes something else.
func TestWritersAreSeen(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", `package p
import "port53/internal/zone"
type s struct { flag atomic.Bool; view atomic.Pointer[zone.View] }
func (x *s) own(e *zone.Entry) { x.flag.Store(true); x.view.Store(nil); var n atomic.Int64; n.Store(1) }
func (x *s) other(e *zone.Entry) {
	e.Store(nil)
	e.Served.Store(nil)
	x.find().Store(nil)
}
`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := callsOf(fset, map[string]*ast.File{"p.go": file}, modulePath+"zone", []string{"Store"})
	if want := []string{"p.go:6:2", "p.go:7:2", "p.go:8:2"}; !slices.Equal(got, want) {
		t.Errorf("calls at %q, want %q", got, want)
	}
}

// callsOf returns where the files of a package that import another call methods of these
// names, but for those of the atomic variables that the package itself declares.
func callsOf(fset *token.FileSet, files map[string]*ast.File, imported string, methods []string) (places []string) {
	atomics := map[string]bool{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				for _, name := range n.Names {
					atomics[name.Name] = atomics[name.Name] || isAtomic(n.Type)
				}
			case *ast.ValueSpec:
				for _, name := range n.Names {
					atomics[name.Name] = atomics[name.Name] || isAtomic(n.Type)
				}
			}
			return true
		})
	}
	for _, file := range files {
		if !slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"`+imported+`"` }) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(methods, sel.Sel.Name) {
				return true
			}
			name := ""
			switch x := sel.X.(type) {
			case *ast.Ident:
				name = x.Name
			case *ast.SelectorExpr:
				name = x.Sel.Name
			}
			if !atomics[name] {
				places = append(places, fset.Position(call.Pos()).String())
			}
			return true
		})
	}
	return places
}

func isAtomic(x ast.Expr) bool {
	if index, ok := x.(*ast.IndexExpr); ok {
		x = index.X
	}
	sel, ok := x.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == "atomic"
}
