// Package convert reads the configurations of other name servers, BIND's, NSD's and
// Knot's, and writes port53's, saying of each line what became of it.
//
// What cannot be kept is left out and told, never guessed. Where a statement about transfers
// or updates cannot be taken whole, what is written allows less than the original did. The result
// has passed [config.Parse].
package convert

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"port53/internal/config"
)

// The servers whose configurations are read.
const (
	BIND = "bind"
	NSD  = "nsd"
	Knot = "knot"
)

// What became of a statement.
const (
	Taken    = "taken"
	Changed  = "changed"   // something else stands for it, or nothing needs to
	NotTaken = "not taken" // what it did is not done
)

// Bounds of what is read.
const (
	maxFile  = 16 << 20 // octets of one file: config.MaxFile's
	maxFiles = 1000     // files included, so that a loop of includes ends
	maxDepth = 32       // blocks within blocks: BIND's grammar has 5
)

// A Note says what became of one statement. Line and Column count from 1.
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
	s := fmt.Sprintf("%s:%d:%d: %s: %s", n.File, n.Line, n.Column, n.Outcome, n.What)
	if n.Why != "" {
		s += ": " + n.Why
	}
	return s
}

// A Result is a configuration in port53's form. It may hold secrets.
type Result struct {
	YAML  []byte
	Notes []Note
}

// Complete tells whether nothing was left out.
func (r *Result) Complete() bool {
	for _, n := range r.Notes {
		if n.Outcome == NotTaken {
			return false
		}
	}
	return true
}

// Kind guesses from a file's name whose configuration it is, or returns "".
func Kind(path string) string {
	base := filepath.Base(path)
	for prefix, kind := range map[string]string{"named": BIND, "nsd": NSD, "knot": Knot} {
		if strings.HasPrefix(base, prefix) {
			return kind
		}
	}
	return ""
}

// File reads the configuration at path, which is of the server kind, and what it
// includes. Errors of syntax begin with file:line:column.
func File(kind, path string) (*Result, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	c := &converter{acls: map[string]*stmt{}, lists: map[string]*stmt{}, weak: map[string]bool{}, keys: map[string]bool{}}
	switch kind {
	case BIND:
		err = c.bind(path)
	case NSD:
		err = c.nsd(path)
	case Knot:
		err = c.knot(path)
	default:
		return nil, fmt.Errorf("no configuration is called %q: bind, nsd and knot are", kind)
	}
	if err != nil {
		return nil, err
	}
	r := &Result{YAML: c.out.yaml(), Notes: c.notes}
	tried := r.YAML
	if !c.out.recurse && len(c.out.zones) == 0 {
		// As packages ship them: the rest is checked with a zone that stands for the first.
		tried = append(slices.Clone(tried), "zones: [{name: invalid, file: invalid.zone}]\n"...)
		r.Notes = append(r.Notes, Note{path, 1, 1, "no zone", NotTaken, "there is none that could be taken: add one before port53 serves with this"})
	}
	if _, err := config.Parse(filepath.Base(path)+" as YAML", tried); err != nil {
		return r, fmt.Errorf("what became of it is not whole: %w", err)
	}
	return r, nil
}

// A word is one token and where it stands.
type word struct {
	text      string
	quoted    bool
	file      string
	line, col int
}

// A stmt is one statement: its words, and the block that follows some.
type stmt struct {
	words []word
	block []*stmt
}

func (s *stmt) name() string { return s.arg(0) }

func (s *stmt) arg(i int) string {
	if i < len(s.words) {
		return s.words[i].text
	}
	return ""
}

func (s *stmt) args() []string {
	var out []string
	for _, w := range s.words[1:] {
		out = append(out, w.text)
	}
	return out
}

// find returns the last statement of a block that is called name, or nil.
func find(block []*stmt, name ...string) *stmt {
	for i := len(block) - 1; i >= 0; i-- {
		for _, n := range name {
			if block[i].name() == n {
				return block[i]
			}
		}
	}
	return nil
}

func (w word) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %s", w.file, w.line, w.col, fmt.Sprintf(format, args...))
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", fmt.Errorf("%s: no file of at most %d octets", path, maxFile)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

type converter struct {
	files int
	auto  bool // Knot's automatic-acl: who is told of changes may transfer
	acls  map[string]*stmt
	lists map[string]*stmt // of servers
	keys  map[string]bool  // taken
	weak  map[string]bool  // not taken: MD5 and SHA-1
	notes []Note
	out   model
}

func (c *converter) note(s *stmt, outcome, why string) {
	if len(s.words) == 0 {
		return
	}
	w := s.words[0]
	var text []string
	for _, x := range s.words {
		if text = append(text, x.text); w.text == "secret" {
			break // is nobody's who reads a report
		}
	}
	c.notes = append(c.notes, Note{w.file, w.line, w.col, strings.Join(text, " "), outcome, why})
}

// key takes a key, unless its algorithm is not offered.
func (c *converter) key(s *stmt, name, algorithm, secret string) {
	name = domain(name)
	algorithm = strings.ToLower(strings.TrimSuffix(algorithm, "."))
	switch algorithm {
	case "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512":
		c.keys[name] = true
		c.out.keys = append(c.out.keys, &key{name, algorithm, secret})
		c.note(s, Taken, "")
	default:
		c.weak[name] = true
		c.note(s, NotTaken, "key "+name+": "+algorithm+" is not offered; make a new key with hmac-sha256 on both sides")
	}
}

// sign has the zone's transfers signed with a key: each zone has one.
func (c *converter) sign(s *stmt, z *zone, name string) bool {
	name = domain(name)
	switch {
	case !c.keys[name]:
		c.note(s, NotTaken, "there is no key "+name+" that could be taken")
	case z.tsig != "" && z.tsig != name:
		c.note(s, NotTaken, "the zone's transfers are signed with "+z.tsig+", and a zone has one key")
	default:
		z.tsig = name
		return true
	}
	return false
}

// domain returns a name in lower case without its last dot, but for the root.
func domain(s string) string {
	s = strings.ToLower(s)
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

type key struct{ name, algorithm, secret string }

type grant struct {
	key          string
	names, types []string
}

type zone struct {
	name, file, tsig                              string
	primaries, secondaries, allowTransfer, notify []string
	updates                                       []grant
	blocked                                       bool // an exception among who may transfer it
}

type route struct {
	zone  string
	to    []string
	first bool // what the servers do not answer is iterated
}

type model struct {
	recurse       bool
	listen        []string
	keys          []*key
	zones         []*zone
	forward, stub []route
	allow, deny   []string
	resolve       []string
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}

func list(of []string) string {
	var out []string
	seen := map[string]bool{}
	for _, s := range of {
		if !seen[s] {
			out = append(out, quote(s))
		}
		seen[s] = true
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// yaml writes strings as JSON's, of which YAML is a superset.
func (m *model) yaml() []byte {
	var b strings.Builder
	lines := func(indent, name string, of []string) {
		if len(of) > 0 {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, name, list(of))
		}
	}
	role := config.RoleAuthoritative
	if m.recurse {
		role = config.RoleInternalResolver
	}
	fmt.Fprintf(&b, "role: %s\n", role)
	lines("", "listen", m.listen)
	if len(m.keys) > 0 {
		b.WriteString("keys:\n")
	}
	for _, k := range m.keys {
		fmt.Fprintf(&b, "  - {name: %s, algorithm: %s, secret: %s}\n", quote(k.name), k.algorithm, quote(k.secret))
	}
	if len(m.zones) > 0 {
		b.WriteString("zones:\n")
	}
	for _, z := range m.zones {
		fmt.Fprintf(&b, "  - name: %s\n", quote(z.name))
		if len(z.primaries) > 0 {
			lines("    ", "primaries", z.primaries)
		} else {
			fmt.Fprintf(&b, "    file: %s\n", quote(z.file))
		}
		lines("    ", "secondaries", z.secondaries)
		lines("    ", "allow_transfer", z.allowTransfer)
		lines("    ", "notify", z.notify)
		if z.tsig != "" {
			fmt.Fprintf(&b, "    tsig: %s\n", quote(z.tsig))
		} else if len(z.primaries)+len(z.secondaries)+len(z.allowTransfer) > 0 {
			b.WriteString("    insecure: true # as it was: transfers have no key\n")
		}
		if len(z.updates) > 0 {
			b.WriteString("    updates:\n")
		}
		for _, g := range z.updates {
			fmt.Fprintf(&b, "      - {key: %s, names: %s, types: %s}\n", quote(g.key), list(g.names), list(g.types))
		}
	}
	if len(m.resolve)+len(m.forward)+len(m.stub) > 0 && m.recurse {
		b.WriteString("resolver:\n")
		lines("  ", "allow", m.resolve)
		for i, of := range [][]route{m.forward, m.stub} {
			if len(of) > 0 {
				fmt.Fprintf(&b, "  %s:\n", []string{"forward", "stub"}[i])
			}
			for _, r := range of {
				first := ""
				if r.first {
					first = ", first: true"
				}
				fmt.Fprintf(&b, "    - {zone: %s, to: %s%s}\n", quote(r.zone), list(r.to), first)
			}
		}
	}
	if len(m.allow)+len(m.deny) > 0 {
		b.WriteString("policy:\n")
		lines("  ", "allow", m.allow)
		lines("  ", "deny", m.deny)
	}
	return []byte(b.String())
}
