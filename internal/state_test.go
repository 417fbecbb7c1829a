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

// banned are imports that no product file may have, and why.
var banned = map[string]string{
	"math/rand":            "what an attacker may guess comes from crypto/rand",
	"math/rand/v2":         "what an attacker may guess comes from crypto/rand",
	"github.com/miekg/dns": "it is the oracle of tests, and no part of the product",
}

// TestNoGlobalState reads the product's sources and fails on an import that is banned, on a
// function named init, on a variable of a package that something changes, and on a comment for
// a linter that is not run: what a package knows it is given, and its tables are constants.
func TestNoGlobalState(t *testing.T) {
	packages := map[string]map[string]*ast.File{}
	fset := token.NewFileSet()
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			dir := filepath.Dir(path)
			if packages[dir] == nil {
				packages[dir] = map[string]*ast.File{}
			}
			packages[dir][path] = file
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(packages) < 20 {
		t.Fatalf("%d packages found: is the test run from internal?", len(packages))
	}
	for _, files := range packages {
		if forTests(files) {
			continue
		}
		for _, fault := range stateOf(fset, files) {
			t.Error(fault)
		}
	}
}

// forTests reports whether a package is for tests alone: it imports package testing.
func forTests(files map[string]*ast.File) bool {
	for _, f := range files {
		if slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` }) {
			return true
		}
	}
	return false
}

// TestStateIsSeen has one fault of each kind.
func TestStateIsSeen(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", `package p
import "math/rand/v2"
var table = map[string]int{"a": 1}
var list = []int{1}
var count int
var shared atomic.Bool
var once sync.Once
var pool = sync.Pool{New: nil}
//go:embed x.txt
var text string
func init() {} //nolint:gochecknoinits // why not
func set(k string) { table[k] = 2 }
func inc() { count++ }
func first() *int { return &list[0] }
func drop() { delete(table, "a"); clear(table); copy(list, list) }
func shadow(table map[string]int) { table["b"] = 3; list := 4; list++; _ = rand.Int() }
`, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fault := range stateOf(fset, map[string]*ast.File{"p.go": file}) {
		place, _, _ := strings.Cut(fault, ": ")
		got = append(got, strings.TrimPrefix(place, "p.go:"))
	}
	slices.Sort(got)
	want := []string{"11:16", "11:6", "12:22", "13:14", "15:22", "15:41", "15:54", "2:8", "6:12", "7:10"}
	if !slices.Equal(got, want) {
		t.Errorf("faults at %q, want %q", got, want)
	}
}

// stateOf returns the faults in the files of one package.
func stateOf(fset *token.FileSet, files map[string]*ast.File) (faults []string) {
	fault := func(n ast.Node, text string) {
		faults = append(faults, fset.Position(n.Pos()).String()+": "+text)
	}
	globals := map[string]bool{}
	for _, file := range files {
		for _, spec := range file.Imports {
			if why := banned[strings.Trim(spec.Path.Value, `"`)]; why != "" {
				fault(spec, "imports "+spec.Path.Value+": "+why)
			}
		}
		for _, group := range file.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//nolint") {
					fault(c, "speaks to a linter that is not run: write a comment for people, or //lint:ignore for staticcheck")
				}
			}
		}
		for _, decl := range file.Decls {
			decl, ok := decl.(*ast.GenDecl)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, spec := range decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					globals[name.Name] = true
				}
				ast.Inspect(spec, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok && isState(sel) {
						fault(sel, "a variable of the package that is there to be changed")
					}
					return true
				})
			}
		}
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if f.Recv == nil && f.Name.Name == "init" {
				fault(f.Name, "runs before anybody can say what it is to do")
			}
			local := declared(f)
			changed := func(x ast.Expr) {
				if id := root(x); id != nil && globals[id.Name] && !local[id.Name] {
					fault(id, id.Name+" is a variable of the package, and changed here")
				}
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						for _, x := range n.Lhs {
							changed(x)
						}
					}
				case *ast.IncDecStmt:
					changed(n.X)
				case *ast.RangeStmt:
					if n.Tok == token.ASSIGN {
						changed(n.Key)
						changed(n.Value)
					}
				case *ast.CallExpr:
					if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains([]string{"delete", "clear", "copy"}, id.Name) {
						changed(n.Args[0])
					}
				}
				return true
			})
		}
	}
	return faults
}

// isState reports whether a type is of use only where something changes. A pool is not, since
// nobody sees what is in it, nor is a constant that is made when it is asked for.
func isState(x *ast.SelectorExpr) bool {
	id, ok := x.X.(*ast.Ident)
	return ok && (id.Name == "atomic" || id.Name == "sync" && !slices.Contains([]string{"Pool", "OnceValue", "OnceValues"}, x.Sel.Name))
}

// declared returns the names that a function declares, wherever in it.
func declared(f *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	add := func(x ast.Expr) {
		if id, ok := x.(*ast.Ident); ok {
			names[id.Name] = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				names[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				names[name.Name] = true
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, x := range n.Lhs {
					add(x)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key)
				add(n.Value)
			}
		}
		return true
	})
	return names
}

// root returns the variable that an expression is a part of, or nil.
func root(x ast.Expr) *ast.Ident {
	for {
		switch y := x.(type) {
		case *ast.Ident:
			return y
		case *ast.SelectorExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.SliceExpr:
			x = y.X
		case *ast.StarExpr:
			x = y.X
		case *ast.ParenExpr:
			x = y.X
		default:
			return nil
		}
	}
}
