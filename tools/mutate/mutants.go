package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant is one change of one file.
type mutant struct {
	file      string
	src       []byte // the whole file, unchanged
	line, col int
	what      string
	edits     []edit
}

// An edit puts text in the place of the bytes of a file from one offset to another.
type edit struct {
	from, to int
	text     string
}

// String returns the place, below the working directory where that is possible, and the change.
func (m *mutant) String() string {
	file := m.file
	if dir, err := filepath.Abs("."); err == nil {
		if rel, err := filepath.Rel(dir, file); err == nil {
			file = rel
		}
	}
	return fmt.Sprintf("%s:%d:%d: %s", file, m.line, m.col, m.what)
}

// apply returns the changed file.
func (m *mutant) apply() []byte {
	var b []byte
	at := 0
	for _, e := range m.edits {
		b = append(append(b, m.src[at:e.from]...), e.text...)
		at = e.to
	}
	return append(b, m.src[at:]...)
}

// A finder collects the mutants of one file.
type finder struct {
	file  string
	src   []byte
	fset  *token.FileSet
	found []*mutant
}

// find returns the mutants of a file, in the order of their places; none of generated files.
func find(file string, src []byte) ([]*mutant, error) {
	f := &finder{file: file, src: src, fset: token.NewFileSet()}
	tree, err := parser.ParseFile(f.fset, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(tree) {
		return nil, nil
	}
	ast.Inspect(tree, f.visit)
	slices.SortStableFunc(f.found, func(a, b *mutant) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.col, b.col))
	})
	return f.found, nil
}

// visit adds the mutants of one node.
func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		f.never(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, cond := range c.(*ast.CaseClause).List {
					f.never(cond)
				}
			}
		} else {
			f.emptied(n.Body)
		}
	case *ast.TypeSwitchStmt:
		f.emptied(n.Body)
	case *ast.BinaryExpr:
		f.binary(n)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			f.add(n, "without !", f.change(n.OpPos, n.OpPos+1, ""))
		}
	case *ast.CallExpr:
		f.call(n)
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && !locks(call) && !is(call, "panic") {
			f.add(n, "without "+f.text(n), f.around(n, "if false { ", " }")...)
		}
	case *ast.AssignStmt:
		f.assign(n)
	case *ast.IncDecStmt:
		f.add(n, "without "+f.text(n), f.around(n, "if false { ", " }")...)
	case *ast.ReturnStmt:
		f.results(n)
	case *ast.GenDecl:
		if n.Tok == token.CONST {
			f.numbers(n)
		}
	case *ast.ForStmt:
		// Without the step a loop does not end, which tells nothing and takes long.
		if n.Init != nil {
			ast.Inspect(n.Init, f.visit)
		}
		if n.Cond != nil {
			ast.Inspect(n.Cond, f.visit)
		}
		ast.Inspect(n.Body, f.visit)
		return false
	}
	return true
}

// never makes a condition false.
func (f *finder) never(cond ast.Expr) {
	f.add(cond, "never holds: "+f.text(cond), f.around(cond, "false && (", ")")...)
}

// emptied makes the cases of a switch with a tag or of types do nothing.
func (f *finder) emptied(body *ast.BlockStmt) {
	for _, s := range body.List {
		if c := s.(*ast.CaseClause); len(c.Body) > 0 {
			edits := []edit{f.change(c.Body[0].Pos(), c.Body[0].Pos(), "if false { "), f.change(c.Body[len(c.Body)-1].End(), c.Body[len(c.Body)-1].End(), " }")}
			f.add(c, "does nothing: "+f.string(c.Pos(), c.Colon), edits...)
		}
	}
}

// binary leaves an operand out of && and ||, moves a bound by one, and swaps other operators.
func (f *finder) binary(n *ast.BinaryExpr) {
	swap := map[token.Token]string{
		token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
		token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*", token.REM: "*",
		token.SHL: ">>", token.SHR: "<<", token.AND: "|", token.OR: "&", token.AND_NOT: "&", token.XOR: "|",
	}
	switch n.Op {
	case token.LAND, token.LOR:
		before := map[token.Token]string{token.LAND: "(true || (", token.LOR: "(false && ("}[n.Op]
		for _, side := range []ast.Expr{n.X, n.Y} {
			if inner, ok := side.(*ast.BinaryExpr); !ok || inner.Op != n.Op { // else its own operands are left out
				f.add(side, "left out of "+n.Op.String()+": "+f.text(side), f.around(side, before, "))")...)
			}
		}
		return
	case token.EQL, token.NEQ:
		if isNil(n.Y) {
			return // the condition that never holds says more
		}
	case token.ADD:
		if isString(n.X) || isString(n.Y) {
			return
		}
	}
	f.add(n, fmt.Sprintf("%s for %s in %s", swap[n.Op], n.Op, f.text(n)), f.change(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), swap[n.Op]))
}

// call drops one argument of min and max, and one of the calls whose errors are joined.
func (f *finder) call(n *ast.CallExpr) {
	if is(n, "min") || is(n, "max") {
		for i, arg := range n.Args {
			if len(n.Args) == 2 {
				other := n.Args[1-i]
				f.add(arg, "left out of "+f.text(n), f.change(n.Pos(), n.End(), "("+f.string(other.Pos(), other.End())+")"))
			}
		}
		return
	}
	if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Join" && f.text(sel.X) == "errors" {
		for _, arg := range n.Args {
			if _, ok := arg.(*ast.CallExpr); ok {
				f.add(arg, "without "+f.text(arg), f.change(arg.Pos(), arg.End(), "nil"))
			}
		}
	}
}

// assign removes what is stored in a field, an element or a variable that exists, and puts nil
// in the place of a call whose only result is an error.
func (f *finder) assign(n *ast.AssignStmt) {
	if len(n.Lhs) == 1 && len(n.Rhs) == 1 && f.text(n.Lhs[0]) == "err" {
		if call, ok := n.Rhs[0].(*ast.CallExpr); ok {
			f.add(n, "without "+f.text(call), f.change(call.Pos(), call.End(), "error(nil)"))
			return
		}
	}
	if n.Tok == token.DEFINE || f.text(n.Lhs[0]) == "_" {
		return
	}
	f.add(n, "without "+f.text(n), f.around(n, "if false { ", " }")...)
}

// results turns a truth value round that is returned as it stands, and puts nil in the place of
// the only call that is returned, if that may be an error.
func (f *finder) results(n *ast.ReturnStmt) {
	for _, r := range n.Results {
		switch r := r.(type) {
		case *ast.Ident:
			if other := map[string]string{"true": "false", "false": "true"}[r.Name]; other != "" {
				f.add(r, other+" for "+r.Name+" in "+f.text(n), f.change(r.Pos(), r.End(), other))
			}
		case *ast.CallExpr:
			if len(n.Results) == 1 {
				f.add(r, "nil for "+f.text(r), f.change(r.Pos(), r.End(), "error(nil)"))
			}
		}
	}
}

// numbers adds one to the numbers of constants.
func (f *finder) numbers(n *ast.GenDecl) {
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.INT {
			f.add(lit, "one more than "+lit.Value, f.around(lit, "(", "+1)")...)
		}
		return true
	})
}

// add adds a mutant at the place of n. The edits are in the order of their offsets.
func (f *finder) add(n ast.Node, what string, edits ...edit) {
	at := f.fset.Position(n.Pos())
	f.found = append(f.found, &mutant{file: f.file, src: f.src, line: at.Line, col: at.Column, what: what, edits: edits})
}

// change returns the edit that puts text in the place of what stands between from and to.
func (f *finder) change(from, to token.Pos, text string) edit {
	return edit{from: f.fset.Position(from).Offset, to: f.fset.Position(to).Offset, text: text}
}

// around returns the edits that put text before and behind n.
func (f *finder) around(n ast.Node, before, behind string) []edit {
	return []edit{f.change(n.Pos(), n.Pos(), before), f.change(n.End(), n.End(), behind)}
}

// string returns the source between two places.
func (f *finder) string(from, to token.Pos) string {
	return string(f.src[f.fset.Position(from).Offset:f.fset.Position(to).Offset])
}

// text returns the source of n on one line, shortened.
func (f *finder) text(n ast.Node) string {
	s := strings.Join(strings.Fields(f.string(n.Pos(), n.End())), " ")
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return s
}

// is reports whether a call calls the function of that name, such as a built-in one.
func is(call *ast.CallExpr, name string) bool {
	id, ok := call.Fun.(*ast.Ident)
	return ok && id.Name == name
}

// locks reports whether a call is of a mutex: what breaks without one, the race detector says.
func locks(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"Lock", "Unlock", "RLock", "RUnlock"}, sel.Sel.Name)
}

func isNil(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "nil"
}

func isString(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Kind == token.STRING
}
