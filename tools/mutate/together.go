package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// variable tells a binary with many mutants which of them it is: its number, or 0 for none.
const variable = "MUTANT"

// A binary holds many mutants of a package, so that one build serves all of them: each function
// has a copy of its body for each of its mutants, and a switch that chooses.
type binary struct {
	path    string
	numbers map[*mutant]int  // those that are in it, from 1
	invalid map[*mutant]bool // those that do not compile
}

// together builds one binary for all mutants that are within functions. The others, and those in
// functions with labels, which cannot stand twice, are built alone when their turn comes.
func (j *judge) together(mutants []*mutant) (*binary, error) {
	b := &binary{path: filepath.Join(j.tmp, "all.test"), numbers: map[*mutant]int{}, invalid: map[*mutant]bool{}}
	for _, m := range mutants { // one that is no Go at all would hide the others from the compiler
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, m.apply(), parser.SkipObjectResolution); err != nil {
			b.invalid[m] = true
		}
	}
	for len(b.invalid) <= len(mutants) {
		said, places, err := j.buildAll(b, mutants)
		if err == nil {
			return b, nil
		}
		more := 0
		for _, p := range places {
			if p.hit(said) && !b.invalid[p.mutant] {
				b.invalid[p.mutant] = true
				more++
			}
		}
		if more == 0 {
			return nil, fmt.Errorf("%w\n%s", err, said)
		}
	}
	return nil, errors.New("no mutant compiles")
}

// A place is where the copy for a mutant stands in a file as it is built.
type place struct {
	mutant   *mutant
	from, to int // lines
}

var diagnostic = regexp.MustCompile(`(?m)^([^\s:]+\.go):(\d+):`)

// hit reports whether the compiler complains about the place.
func (p place) hit(said []byte) bool {
	for _, m := range diagnostic.FindAllSubmatch(said, -1) {
		line, _ := strconv.Atoi(string(m[2]))
		if filepath.Base(string(m[1])) == "all-"+filepath.Base(p.mutant.file) && p.from <= line && line <= p.to {
			return true
		}
	}
	return false
}

// buildAll builds all mutants but the invalid ones, and returns what the compiler said.
func (j *judge) buildAll(b *binary, mutants []*mutant) ([]byte, []place, error) {
	byFile := map[string][]*mutant{}
	clear(b.numbers)
	for i, m := range mutants {
		if !b.invalid[m] {
			b.numbers[m] = i + 1
			byFile[m.file] = append(byFile[m.file], m)
		}
	}
	replace := map[string]string{}
	var places []place
	var name string
	for file, of := range byFile {
		text, at, pkg, err := merged(file, of, b.numbers)
		if err != nil {
			return nil, nil, err
		}
		places = append(places, at...)
		name = pkg
		replace[file] = filepath.Join(j.tmp, "all-"+filepath.Base(file))
		if err := os.WriteFile(replace[file], text, 0o600); err != nil {
			return nil, nil, err
		}
	}
	chooser := fmt.Sprintf("package %s\n\nimport (\n\t\"os\"\n\t\"strconv\"\n)\n\nvar mutantNumber, _ = strconv.Atoi(os.Getenv(%q))\n", name, variable)
	replace[filepath.Join(j.dir, "zz_mutant_number.go")] = filepath.Join(j.tmp, "chooser.go")
	overlay := filepath.Join(j.tmp, "all.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err = errors.Join(err, os.WriteFile(filepath.Join(j.tmp, "chooser.go"), []byte(chooser), 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
		return nil, nil, err
	}
	said, err := exec.Command("go", "test", "-c", "-vet=off", "-gcflags=-e", "-o", b.path, "-overlay", overlay, j.pkg).CombinedOutput()
	return said, places, err
}

// merged returns a file with the copies for its mutants, where they stand, and the name of its
// package. It takes out of numbers those that must be built alone.
func merged(file string, mutants []*mutant, numbers map[*mutant]int) ([]byte, []place, string, error) {
	src := mutants[0].src
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, "", err
	}
	offset := func(p token.Pos) int { return fset.Position(p).Offset }
	alone := slices.Clone(mutants)
	var out bytes.Buffer
	var places []place
	at := 0
	for _, d := range tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || labelled(fn.Body) {
			continue
		}
		from, to := offset(fn.Body.Lbrace)+1, offset(fn.Body.Rbrace)
		var here []*mutant
		alone = slices.DeleteFunc(alone, func(m *mutant) bool {
			inside := m.edits[0].from >= from && m.edits[len(m.edits)-1].to <= to
			if inside {
				here = append(here, m)
			}
			return inside
		})
		if len(here) == 0 {
			continue
		}
		out.Write(src[at:from])
		out.WriteString("\nswitch mutantNumber {\n")
		for _, m := range here {
			fmt.Fprintf(&out, "case %d:\n", numbers[m])
			p := place{mutant: m, from: bytes.Count(out.Bytes(), []byte("\n")) + 1}
			changed := m.apply()
			out.Write(changed[from : to+len(changed)-len(src)])
			p.to = bytes.Count(out.Bytes(), []byte("\n")) + 1
			places = append(places, p)
			out.WriteByte('\n')
		}
		out.WriteString("default:\n")
		out.Write(src[from:to])
		out.WriteString("\n}\n")
		at = to
	}
	out.Write(src[at:])
	for _, m := range alone {
		delete(numbers, m)
	}
	return out.Bytes(), places, tree.Name.Name, nil
}

// labelled reports whether a body has labels.
func labelled(body *ast.BlockStmt) bool {
	found := false
	ast.Inspect(body, func(n ast.Node) bool {
		_, label := n.(*ast.LabeledStmt)
		found = found || label
		return !found
	})
	return found
}
