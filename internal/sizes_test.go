package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
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

// maxColumns is how long a line of the product may be, with tabs of four columns.
const maxColumns = 140

// TestSizes reads the product's sources and fails on a function or a struct that is too long
// to be read at one sight, unless its comment says "In one piece: " and why, and on a line of
// more than 140 columns.
func TestSizes(t *testing.T) {
	files := 0
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, fault := range append(oversized(fset, file), overlong(fset, file, string(text))...) {
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

// overlong returns the lines of a file that are too long. Exempt are lines of a raw string
// that spans several, which is a document or a script of its own, a struct's tag, which Go
// cannot break, and a line with a URL and little else.
func overlong(fset *token.FileSet, file *ast.File, text string) (faults []string) {
	exempt := map[int]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if first, last := fset.Position(n.Pos()).Line, fset.Position(n.End()).Line; first < last && n.Value[0] == '`' {
				for line := first; line <= last; line++ {
					exempt[line] = true
				}
			}
		case *ast.Field:
			if n.Tag != nil {
				exempt[fset.Position(n.Tag.Pos()).Line] = true
			}
		}
		return true
	})
	for i, line := range strings.Split(text, "\n") {
		columns := 0
		for _, r := range line {
			if columns++; r == '\t' {
				columns += 3
			}
		}
		before, url, _ := strings.Cut(line, "https://")
		alone := len(strings.Fields(before)) <= 1 && url != "" && !strings.Contains(url, " ")
		if columns > maxColumns && !exempt[i+1] && !alone {
			faults = append(faults, fmt.Sprintf("%s:%d: line has %d columns, more than %d: break it",
				fset.Position(file.Pos()).Filename, i+1, columns, maxColumns))
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

// TestLongLinesAreSeen has a line that is too long, one that just fits, and the exempt ones.
func TestLongLinesAreSeen(t *testing.T) {
	fill := strings.Repeat("x", maxColumns)
	text := "package p\n\n" +
		"// " + fill[3:] + "\n" + // 3: it just fits
		"// " + fill[2:] + "\n" +
		"// https://example.org/" + fill + "\n" +
		"var a = `\n" + fill + "x\n`\n" +
		"var b = `" + fill + "`\n" + // 9
		"type s struct {\n\tf int `" + fill + "`\n}\n" +
		"func f() {\n\t// " + fill[7:] + "\n\t// " + fill[6:] + "\n}\n" // 14 fits, 15 does not
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fault := range overlong(fset, file, text) {
		got = append(got, strings.Fields(fault)[0])
	}
	if want := []string{"p.go:4:", "p.go:9:", "p.go:15:"}; !slices.Equal(got, want) {
		t.Errorf("faults %q, want %q", got, want)
	}
}
