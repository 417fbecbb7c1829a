package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Bounds of includes.
const (
	maxFiles   = 10_000 // of one configuration: a file for each zone of a hosting company
	maxInclude = 16     // files that are included by one another; more is a mistake, as it is in BIND
)

// An input is one file of a configuration.
type input struct {
	name   string // as errors call it
	folder string // of relative paths in it
	lines  [][]byte
	body   ast.Node // nil: it is empty, or broken
	broken bool
	real   string   // its path without links; "" if it was not read from a file
	by     int32    // the file that includes it, from 1; 0: none
	at     position // of the path or pattern there
}

// inputs are the files of a configuration, in the order in which they are named.
type inputs struct {
	follow  bool // includes are read
	files   []*input
	folders []string
	octets  int
	file    int32  // the one in hand, from 1
	folder  string // of the one in hand
}

// use takes a file in hand, by its index.
func (d *decoder) use(i int) { d.file, d.folder = int32(i)+1, d.files[i].folder }

// mark returns a position that holds whatever file is in hand.
func (d *decoder) mark(at position) position {
	if at.file == 0 {
		at.file = max(d.file, 1)
	}
	return at
}

// line says where at is, for an error at from.
func (d *decoder) line(at, from position) string {
	if at = d.mark(at); at.file == d.mark(from).file {
		return fmt.Sprintf("line %d", at.line)
	}
	return fmt.Sprintf("%s:%d", printable(d.files[at.file-1].name), at.line)
}

// order returns where a file stands among those of the configuration.
func (d *decoder) order(name string) int {
	return slices.IndexFunc(d.files, func(f *input) bool { return f.name == name })
}

// add reads text as the next file, and then the files that it includes. at is where it is
// included.
func (d *decoder) add(name string, text []byte, at position) {
	f := &input{name: name, by: at.file, at: at}
	if folder, err := filepath.Abs(filepath.Dir(name)); err == nil {
		f.folder = folder
	}
	if d.follow {
		f.real = realPath(name)
	}
	d.files = append(d.files, f)
	i := len(d.files) - 1
	d.use(i)
	if d.octets += len(text); d.octets > MaxFile && i > 0 {
		d.fail(at, fmt.Sprintf("include: with %s the files have more than %d octets, and no more are read", printable(name), MaxFile), "")
		f.broken = true
		return
	}
	before := len(d.errs)
	f.body = d.read(text)
	if f.broken = len(d.errs) > before; f.broken {
		return
	}
	for _, pattern := range included(f.body) {
		d.use(i)
		d.include(scalarOf(pattern).text, d.mark(start(pattern)))
	}
}

// included returns the values of a file's include. What is none is an error of decoding.
func included(body ast.Node) (list []ast.ScalarNode) {
	values, _ := pairs(body)
	for _, pair := range values {
		if keyText(pair.Key) != "include" {
			continue
		}
		each := []ast.Node{pair.Value}
		if s, ok := pair.Value.(*ast.SequenceNode); ok {
			each = s.Values
		}
		for _, n := range each {
			if s, ok := n.(ast.ScalarNode); ok && scalarOf(s).text != "" {
				if _, empty := n.(*ast.NullNode); !empty {
					list = append(list, s)
				}
			}
		}
	}
	return list
}

// include adds the files of a path or pattern that the file in hand has at at.
func (d *decoder) include(pattern string, at position) {
	if !d.follow {
		d.fail(at, "include: other files are not read here", "write everything into one file")
		return
	}
	name := pattern
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(d.files[at.file-1].name), name)
	}
	names := []string{name}
	if magic(pattern) {
		folder := filepath.Dir(name)
		for magic(folder) {
			folder = filepath.Dir(folder)
		}
		d.folders = append(d.folders, folder)
		var p *problem
		if names, p = glob(name); p != nil {
			d.fail(at, "include: "+p.text, p.hint)
			return
		}
	}
	for _, name := range names {
		if len(d.errs) >= MaxErrors {
			return
		}
		d.includeFile(name, at, magic(pattern))
	}
}

// includeFile adds one file, which a path names, or a pattern.
func (d *decoder) includeFile(name string, at position, pattern bool) {
	d.use(int(at.file) - 1)
	what := "include: " + printable(name)
	real, depth := realPath(name), 1
	for by := at.file; by > 0; by = d.files[by-1].by {
		if d.files[by-1].real == real && real != "" {
			hint := "remove it"
			switch {
			case by != at.file:
				hint += ": " + d.chain(by, at.file)
			case pattern:
				hint = "name the files that are included otherwise, or put them into a directory of their own"
			}
			d.fail(at, what+" would include itself", hint)
			return
		}
		depth++
	}
	if i := slices.IndexFunc(d.files, func(f *input) bool { return f.real == real && real != "" }); i >= 0 {
		d.fail(at, what+" is included already, at "+d.line(d.files[i].at, at), "remove one of them")
		return
	}
	switch {
	case depth > maxInclude:
		d.fail(at, fmt.Sprintf("%s: more than %d files include one another", what, maxInclude), "include it from a file further up")
		return
	case len(d.files) >= maxFiles:
		d.fail(at, fmt.Sprintf("%s: more than %d files", what, maxFiles), "write more zones into one file")
		return
	}
	text, p := readFile(name)
	if p != nil {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			p.hint = "write " + filepath.Join(name, "*.yaml") + " for the files in it"
		}
		if !strings.HasPrefix(p.text, "is ") && !strings.HasPrefix(p.text, "cannot ") {
			p.text = ": " + p.text
		}
		d.fail(at, what+" "+p.text, p.hint)
		return
	}
	d.add(name, text, at)
}

// chain says how the file to comes to be included by the file from.
func (d *decoder) chain(from, to int32) string {
	text := printable(d.files[to-1].name)
	for by := to; by != from && by > 0; {
		by = d.files[by-1].by
		text = printable(d.files[by-1].name) + " includes " + text
	}
	return text
}

// realPath returns a path without links, or "" if there is no such file.
func realPath(name string) string {
	path, err := filepath.EvalSymlinks(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return ""
	}
	return path
}

// magic reports whether a path is a pattern.
func magic(path string) bool { return strings.ContainsAny(path, "*?[") }

// glob returns the files whose path fits a pattern, in the order of their names. Unlike
// filepath.Glob it says what it could not look into, for a folder whose zones are left out
// in silence is a fault that nobody finds. Names that begin with a dot fit patterns that do.
func glob(pattern string) ([]string, *problem) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, &problem{quote(pattern) + " is not a pattern", `a [ needs its ], or a \ before it`}
	}
	folder, last := filepath.Split(pattern)
	folder = filepath.Clean(folder)
	folders := []string{folder}
	if magic(folder) {
		var p *problem
		if folders, p = glob(folder); p != nil {
			return nil, p
		}
	}
	var list []string
	for _, folder := range folders {
		if magic(pattern[:len(pattern)-len(last)]) {
			if info, err := os.Stat(folder); err == nil && !info.IsDir() {
				continue // a file beside the folders that are meant
			}
		}
		if !magic(last) {
			if path := filepath.Join(folder, last); exists(path) {
				list = append(list, path)
			}
			continue
		}
		entries, err := os.ReadDir(folder)
		if err != nil {
			hint := ""
			if errors.Is(err, fs.ErrNotExist) {
				hint = "mkdir " + printable(folder) + "; a pattern may fit nothing in it"
			}
			return nil, &problem{"directory " + printable(folder) + " cannot be read: " + reason(err), hint}
		}
		for _, e := range entries {
			fits, _ := filepath.Match(last, e.Name())
			if fits && (e.Name()[0] != '.' || last[0] == '.') {
				list = append(list, filepath.Join(folder, e.Name()))
			}
		}
	}
	return list, nil
}

// exists reports whether there is something at path, or something that cannot be looked at.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// root decodes the keys of all files. Remotes and networks come first, and templates before the zones.
func (d *decoder) root(into reflect.Value) {
	type part struct {
		key  *key
		pair *ast.MappingValueNode
		in   int
	}
	parts := [3][]part{}
	seen, misspelt, broken := map[string]bool{}, map[string]bool{}, false
	for i, f := range d.files {
		d.use(i)
		broken = broken || f.broken
		if f.body == nil {
			continue
		}
		values, ok := pairs(f.body)
		if !ok {
			d.fail(start(f.body), "expected "+d.table.expects()+", found "+describe(f.body), d.table.braces())
			broken = true
			continue
		}
		once := make(map[string]position, len(values))
		for _, pair := range values {
			name, here := keyText(pair.Key), d.mark(start(pair.Key))
			if first, again := once[name]; again {
				d.fail(here, fmt.Sprintf("key %s is already set at %s", quote(name), d.line(first, here)), "remove one of them")
				continue
			}
			once[name], seen[name] = here, true
			k := d.table.child(name)
			if k == nil {
				misspelt[d.unknown(d.table, name, pair.Value, here, "")] = true
				continue
			}
			rank := 2
			switch name {
			case "remotes", "networks":
				rank = 0
			case "templates":
				rank = 1
			}
			parts[rank] = append(parts[rank], part{k, pair, i})
		}
	}
	for _, p := range slices.Concat(parts[:]...) {
		if len(d.errs) >= MaxErrors {
			return
		}
		d.use(p.in)
		d.value(p.key, p.pair.Value, start(p.pair.Key), into.FieldByIndex(p.key.field), p.key.name, 0)
	}
	d.use(0)
	d.deriveExpose()
	d.inheritViews()
	for _, k := range d.table.keys {
		if k.required && !seen[k.name] && !misspelt[k.name] && !broken {
			at := position{line: 1, col: 1}
			if body := d.files[0].body; body != nil {
				at = start(body)
			}
			d.fail(at, fmt.Sprintf("key %s is missing", quote(k.name)), k.toAdd())
		}
	}
}
