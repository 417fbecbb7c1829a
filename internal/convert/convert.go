// Package convert reads the configurations of other name servers and writes port53's, saying
// of each statement what became of it.
//
// What is taken means the same as it did. What cannot be kept is left out and told, never
// guessed: then the result allows less than the original, and serves whom that served with
// what is left. A zone that would be served otherwise than it was, such as one that is signed
// there and would be unsigned here, is left out. The result has passed [config.Parse].
//
// Nothing of a file reaches a terminal as it is: notes, errors and the result are printable.
// [File] reads the configuration whose format [Detect] finds in it. Names of machines that the
// original has without a zone become names of the configuration, and domains that it knows as a
// whole zones, in files beside the result.
package convert

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"port53/internal/config"
)

// What became of a statement.
const (
	Converted   = "converted"
	Changed     = "changed"           // something else stands for it, or nothing needs to
	Unsupported = "not converted"     // what it did is not done
	Planned     = "not supported yet" // likewise, and a later version of port53 will do it
)

// weight orders outcomes by how much they matter where one statement has several.
func weight(outcome string) int {
	return slices.Index([]string{Converted, Changed, Planned, Unsupported}, outcome)
}

// Bounds of what is read.
const (
	maxFile  = 16 << 20 // bytes of one file: config.MaxFile's
	maxFiles = 1000     // files included, so that a loop of includes ends
	maxDepth = 32       // blocks within blocks: BIND's grammar has 5
)

// A Note says what became of one statement. Line and Column count from 1. Everything in it
// can be printed.
type Note struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	What    string `json:"what"`
	Outcome string `json:"outcome"`
	Why     string `json:"why,omitempty"`
}

// String returns the note as one line.
func (n Note) String() string {
	what := n.What
	if strings.HasPrefix(n.Why, "expected ") { // the value is anything, and must not read as a word of ours
		what = `"` + what + `"`
	}
	s := fmt.Sprintf("%s:%d:%d: %s: %s", n.File, n.Line, n.Column, n.Outcome, what)
	if n.Why != "" {
		s += ": " + n.Why
	}
	return s
}

// A Result is a configuration in port53's form. It may hold secrets.
type Result struct {
	Kind  string // whose configuration was read
	YAML  []byte
	Files map[string][]byte // zone files beside the result, by the paths that it names
	Notes []Note
}

// Complete reports whether nothing was left out.
func (r *Result) Complete() bool {
	return !slices.ContainsFunc(r.Notes, func(n Note) bool { return n.Outcome == Unsupported || n.Outcome == Planned })
}

// Options say what to read.
type Options struct {
	Path string
	Kind string // one of [Kinds]; empty: as Detect finds
	View string // of a named.conf with several views, the one to take; empty: all

	// Addrs returns the addresses of this machine, which stand for words such as localnets.
	// Nil: net.InterfaceAddrs.
	Addrs func() ([]net.Addr, error)
}

// File reads a configuration and what it includes. Errors of syntax begin with
// file:line:column.
func File(o Options) (*Result, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, err
	}
	if o.Kind == "" {
		if o.Kind, err = Detect(path); err != nil {
			return nil, err
		}
	}
	f := slices.IndexFunc(formats(), func(f format) bool { return f.kind == o.Kind })
	if f < 0 {
		return nil, fmt.Errorf("no configuration is called %q: %s are", Printable(o.Kind), strings.Join(Kinds(), ", "))
	}
	if o.Addrs == nil {
		o.Addrs = net.InterfaceAddrs
	}
	c := &converter{options: o, keys: map[string]*key{}, byName: map[string]*zone{}}
	if err := formats()[f].read(c, path); err != nil {
		return nil, err
	}
	c.writeNames()
	c.settle()
	r := &Result{Kind: o.Kind, Files: c.written}
	if !c.out.recurse && len(c.out.zones) == 0 {
		c.note(lineStmt(path, 1, "no zone"), Unsupported, "there is none that could be converted: add one before port53 serves with this")
	}
	r.Notes = c.merged()
	if c.out.recurse {
		c.out.remarks = append(
			c.out.remarks,
			"Private addresses are taken out of answers that are found by iteration, unless their zones are",
			"in resolver.private_zones; resolver.rebinding: off leaves them in.",
			"",
		)
	}
	c.out.remarks = append(c.out.remarks, remarks(path, o.Kind, r.Notes)...)
	r.YAML = c.out.yaml()
	tried := r.YAML
	if !c.out.recurse && len(c.out.zones) == 0 {
		// As packages ship them: the rest is checked with a zone that stands for the first.
		tried = append(slices.Clone(tried), "zones: [{name: invalid, file: invalid.zone}]\n"...)
	}
	if _, err := config.Parse(filepath.Base(path)+" as YAML", tried); err != nil {
		return r, fmt.Errorf("what became of it is not whole: %w", err)
	}
	return r, nil
}

// maxRemarks is how many statements the head of the result names.
const maxRemarks = 200

// remarks are the comments at the head of the result: what is not in it.
func remarks(path, kind string, notes []Note) []string {
	out := []string{"Imported from " + path + " (" + kind + ")."}
	n := 0
	for _, note := range notes {
		if note.Outcome != Unsupported && note.Outcome != Planned {
			continue
		}
		if n++; n == 1 {
			out = append(out, "", "Left out of this configuration:")
		}
		if n <= maxRemarks {
			note.File = filepath.Base(note.File)
			out = append(out, "  "+note.String())
		}
	}
	if n > maxRemarks {
		out = append(out, fmt.Sprintf("  and %d more, which port53 import tells", n-maxRemarks))
	}
	return out
}

// A converter reads one configuration.
type converter struct {
	options Options
	files   int
	keys    map[string]*key
	byName  map[string]*zone
	notes   []Note
	names   []localName       // that no zone has
	domains []string          // whose names are all among them
	pending []hostsFile       // that names are in
	written map[string][]byte // files beside the result

	exceptions []exception
	group      *group  // who sees the names that are written
	read       []*view // where the original has several
	out        model
}

// secret matches what is called so that its value is nobody's.
var secret = regexp.MustCompile(`(?i)secret|password|pwhash|api-?key|credentials`)

// note says what became of a statement. One with several outcomes is told once, with the
// worst of them.
func (c *converter) note(s *stmt, outcome, why string) {
	if s == nil || len(s.words) == 0 {
		return
	}
	w := s.words[0]
	var text []string
	for _, x := range s.words {
		if text = append(text, x.text); secret.MatchString(w.text) {
			break // is nobody's who reads a report
		}
	}
	c.notes = append(c.notes, Note{Printable(w.file), w.line, w.col, Printable(strings.Join(text, " ")), outcome, Printable(why)})
}

// merged returns one note for each statement, in the order of the files.
func (c *converter) merged() []Note {
	type place struct {
		file      string
		line, col int
	}
	at := map[place]int{}
	var out []Note
	for _, n := range c.notes {
		p := place{n.File, n.Line, n.Column}
		i, again := at[p]
		if !again {
			at[p] = len(out)
			out = append(out, n)
			continue
		}
		o := &out[i]
		switch cmp.Compare(weight(n.Outcome), weight(o.Outcome)) {
		case 1:
			*o = n
		case 0:
			if n.Why != "" && !strings.Contains(o.Why, n.Why) && len(o.Why) < maxShown {
				o.Why = strings.TrimPrefix(o.Why+"; "+n.Why, "; ")
			}
		}
	}
	files := map[string]int{}
	for _, n := range out {
		if _, ok := files[n.File]; !ok {
			files[n.File] = len(files)
		}
	}
	slices.SortStableFunc(out, func(a, b Note) int {
		return cmp.Or(files[a.File]-files[b.File], a.Line-b.Line, a.Column-b.Column)
	})
	return out
}

// other notes an option that has no part in the result.
func (c *converter) other(s *stmt, own string) {
	if s.name() == "port" || s.name() == "local-port" {
		c.note(s, Converted, "") // with the addresses
		return
	}
	if slices.Contains(strings.Fields(own), s.name()) {
		c.note(s, Changed, "port53 has a default of its own for it, or does not need it")
		return
	}
	c.note(s, Unsupported, "port53 has no such setting: check whether it matters")
}

// ownNets returns the addresses of this machine, each with the length of its network.
func (c *converter) ownNets() (out []netip.Prefix) {
	list, err := c.options.Addrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		ones, bits := n.Mask.Size()
		if addr = addr.Unmap(); ok && bits == addr.BitLen() && ones > 0 {
			out = append(out, netip.PrefixFrom(addr, ones))
		}
	}
	return out
}

func (c *converter) ownAddrs() (out []netip.Addr) {
	for _, p := range c.ownNets() {
		out = append(out, p.Addr())
	}
	return out
}

// ownAddresses returns the addresses of this machine, and the networks that they are in: the
// private ones, and the public ones, which port53 serves only if they are listed.
func (c *converter) ownAddresses() (addrs, nets, public netset) {
	for _, p := range c.ownNets() {
		addrs = addrs.union(rangeSet(p.Addr(), p.Addr()))
		if n := setOf(p); n.within(privateAddresses()) {
			nets = nets.union(n)
		} else {
			public = public.union(n)
		}
	}
	return addrs, nets, public
}

// readFile returns what a file holds. from is the word that names it; nil: the user did.
func (c *converter) readFile(path string, from *word) (string, error) {
	text, err := func() (string, error) {
		if c.files++; c.files > maxFiles {
			return "", fmt.Errorf("more than %d files are included", maxFiles)
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", reason(path, err)
		}
		if !info.Mode().IsRegular() || info.Size() > maxFile {
			return "", fmt.Errorf("%s: no file of at most %d bytes", Printable(path), maxFile)
		}
		text, err := os.ReadFile(path)
		return strings.TrimPrefix(string(text), "\ufeff"), reason(path, err) // Windows begins files so
	}()
	if err != nil && from != nil {
		return "", from.fail("%v", err)
	}
	return text, err
}

// reason says why a file cannot be read.
func reason(path string, err error) error {
	var p *os.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: there is no such file", Printable(path))
	case errors.As(err, &p):
		return fmt.Errorf("%s: %w", Printable(path), p.Err)
	}
	return err
}
