package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Beyond these a function or a struct says why it is not cut.
const (
	maxLines  = 80 // of a function, from its name to its last brace
	maxFields = 15 // of a struct; one that is embedded is one
)

// TestSizes reads the product's sources and fails on a function or a struct that is too long
// to be read at one sight, unless its comment says "In one piece: " and why.
func TestSizes(t *testing.T) {
	files := 0
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, fault := range oversized(fset, file) {
				t.Error(fault)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Fatalf("%d files found: is the test run from internal?", files)
	}
}

var inOnePiece = regexp.MustCompile(`\bIn one piece: \w`)

// oversized returns what is too long in a file, and does not say why.
func oversized(fset *token.FileSet, file *ast.File) (faults []string) {
	judge := func(name string, n ast.Node, docs ...*ast.CommentGroup) {
		for _, doc := range docs {
			if inOnePiece.MatchString(flat(doc.Text())) {
				return
			}
		}
		ast.Inspect(n, func(n ast.Node) bool {
			size, most, of := 0, 0, ""
			switch n := n.(type) {
			case *ast.FuncDecl, *ast.FuncLit:
				size, most, of = fset.Position(n.End()).Line-fset.Position(n.Pos()).Line+1, maxLines, "lines"
			case *ast.StructType:
				size, most, of = n.Fields.NumFields(), maxFields, "fields"
			}
			if size > most {
				faults = append(faults, fmt.Sprintf("%s: %s has %d %s, more than %d: cut it, or let its comment say \"In one piece: \" and why",
					fset.Position(n.Pos()), name, size, of, most))
			}
			return true
		})
	}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			// Docs begin before the name: a function is as long as what stands behind them.
			whole := *decl
			whole.Doc = nil
			judge(decl.Name.Name, &whole, decl.Doc)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					judge(spec.Name.Name, spec, spec.Doc, decl.Doc)
				case *ast.ValueSpec:
					judge(spec.Names[0].Name, spec, spec.Doc, decl.Doc)
				}
			}
		}
	}
	return faults
}

// TestSizesAreSeen has one fault of each kind, and what is just not one.
func TestSizesAreSeen(t *testing.T) {
	lines := strings.Repeat("\n", maxLines-1)
	fields := strings.Repeat("f int;", maxFields)
	text := "package p\n" +
		"// Long is long.\nfunc Long() {\n" + lines + "}\n" +
		"func fits() {" + lines + "}\n" +
		"// whole is long. In one\n// piece: it is a table.\nfunc whole() {\n" + lines + "}\n" +
		"// idle is long. In one piece:\nfunc idle() {\n" + lines + "}\n" +
		"var lit = func() {\n" + lines + "}\n" +
		"type wide struct { a, b int; " + fields + "}\n" +
		"type fit struct { " + fields + "}\n" +
		"type based struct { fit; " + fields + "}\n" +
		"// In one piece: it is a form.\ntype form struct { a, b int; " + fields + "}\n" +
		"type (\n// In one piece: it is a form.\ninner struct { a int; " + fields + "}\nother struct { a int; " + fields + "}\n)\n" +
		"func local() { var x struct { a int; " + fields + "} }\n"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fault := range oversized(fset, file) {
		got = append(got, strings.Fields(fault)[1])
	}
	if want := []string{"Long", "idle", "lit", "wide", "based", "other", "local"}; !slices.Equal(got, want) {
		t.Errorf("faults %q, want %q", got, want)
	}
}
