package catalogue

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
)

// What the checks are called, what they send, how they judge and what mends what they find is
// text, in one file for each Go file that has checks.
//
//go:embed prose
var proseFiles embed.FS

// general is the product of the advice that fits any server.
const general = "any"

// A text is what a file of prose says of one check.
type text struct {
	title, fault, sent, judged string
	remedy                     string // the block that has the advice; empty: advice has it
	advice                     map[check.Product]string
	refs                       []string
	line                       int
}

// readProse reads a file of prose. It consists of blocks: a line that begins at the margin
// opens one, "check ID" or "remedy NAME"; indented lines are its fields, "key: value"; a
// line that is indented twice goes on with the one before. Lines that begin with # are
// comments. The fields of a check are
//
//	title: what is the case when it passes
//	fault: what is the case when it fails or warns, in words that are not the title's
//	sent: what is sent, and why
//	judged: how it is judged
//	remedy: the name of a block that has the advice of several checks
//	advice: the general advice
//	advice PRODUCT...: the line of configuration that mends it; "any" is the general advice
//	ref: where to read on, one or more of them
//
// and those of a remedy are its advice. Whatever is missing, there twice, unknown or used
// by none is an error, with the line where it is.
func readProse(file, content string) (map[string]*text, error) {
	p := proseReader{file: file, checks: map[string]*text{}, remedies: map[string]*text{}}
	field := "" // the line that may go on
	at := 0
	for n, line := range strings.Split(content, "\n") {
		if more, ok := strings.CutPrefix(line, "\t\t"); ok && field != "" {
			field += " " + more
			continue
		}
		if err := p.field(at, field); err != nil {
			return nil, err
		}
		field, at = "", n+1
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			field = line[1:]
		default:
			if err := p.open(at, line); err != nil {
				return nil, err
			}
		}
	}
	if err := p.field(at, field); err != nil {
		return nil, err
	}
	return p.checks, p.finish()
}

// A proseReader is a file of prose on its way in.
type proseReader struct {
	file             string
	checks, remedies map[string]*text
	block            *text
	remedy           bool // block is a remedy
}

func (p *proseReader) fault(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.file, line, fmt.Sprintf(format, args...))
}

// open begins a block.
func (p *proseReader) open(n int, line string) error {
	kind, name, _ := strings.Cut(line, " ")
	blocks := p.checks
	switch kind {
	case "check":
	case "remedy":
		blocks = p.remedies
	default:
		return p.fault(n, "%q, expected check ID or remedy NAME", line)
	}
	if name == "" || blocks[name] != nil {
		return p.fault(n, "%s %q has no name, or one that is taken", kind, name)
	}
	p.block, p.remedy = &text{advice: map[check.Product]string{}, line: n}, kind == "remedy"
	blocks[name] = p.block
	return nil
}

// field reads one field of the block; "" is none.
func (p *proseReader) field(n int, line string) error {
	if line == "" {
		return nil
	}
	if p.block == nil {
		return p.fault(n, "a field outside of any block")
	}
	key, value, ok := strings.Cut(line, ": ")
	if !ok || value == "" || value != strings.TrimSpace(value) {
		return p.fault(n, "%q, expected key: value", line)
	}
	if products, ok := strings.CutPrefix(key, "advice"); ok {
		return p.advice(n, strings.Fields(products), value)
	}
	b := p.block
	once := map[string]*string{"title": &b.title, "fault": &b.fault, "sent": &b.sent, "judged": &b.judged, "remedy": &b.remedy}
	switch to := once[key]; {
	case p.remedy:
		return p.fault(n, "a remedy has advice alone, not %s", key)
	case key == "ref":
		if slices.Contains(b.refs, value) {
			return p.fault(n, "the reference %s is there twice", value)
		}
		b.refs = append(b.refs, value)
	case to == nil:
		return p.fault(n, "no field is called %q", key)
	case *to != "":
		return p.fault(n, "%s is there twice", key)
	default:
		*to = value
	}
	return nil
}

// advice reads what mends something, for some products.
func (p *proseReader) advice(n int, products []string, value string) error {
	if len(products) == 0 {
		products = []string{general}
	}
	for _, name := range products {
		if name == general {
			name = ""
		}
		if _, there := p.block.advice[check.Product(name)]; there {
			return p.fault(n, "advice for %q is there twice", name)
		}
		p.block.advice[check.Product(name)] = value
	}
	return nil
}

// finish looks for what is missing, and gives checks the advice of their remedies.
func (p *proseReader) finish() error {
	used := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(p.checks)) {
		b := p.checks[id]
		if b.remedy != "" {
			r := p.remedies[b.remedy]
			if r == nil || len(b.advice) > 0 {
				return p.fault(b.line, "%s: there is no remedy %q, or advice beside it", id, b.remedy)
			}
			used[b.remedy] = true
			b.advice = r.advice
		}
		for name, value := range map[string]string{
			"title": b.title, "fault": b.fault, "sent": b.sent, "judged": b.judged,
			"general advice": b.advice[""],
		} {
			if value == "" {
				return p.fault(b.line, "%s has no %s", id, name)
			}
		}
		if len(b.refs) == 0 {
			return p.fault(b.line, "%s has no ref", id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.remedies)) {
		if !used[name] {
			return p.fault(p.remedies[name].line, "no check uses the remedy %s", name)
		}
	}
	return nil
}

// described sets the group, the scope and the texts of checks; the texts are read from file.
// It panics if a check has no text or a text has no check, so that every test notices.
func described(group finding.Group, scope check.Scope, file string, list []*check.Check) []*check.Check {
	content, err := proseFiles.ReadFile("prose/" + file)
	if err != nil {
		panic("catalogue: " + err.Error())
	}
	prose, err := readProse(file, string(content))
	if err == nil {
		err = describe(list, file, prose)
	}
	if err != nil {
		panic("catalogue: " + err.Error())
	}
	for _, c := range list {
		c.Group, c.Scope = group, scope
	}
	return list
}

// describe gives checks their prose, of which nothing may be left.
func describe(list []*check.Check, file string, prose map[string]*text) error {
	for _, c := range list {
		p := prose[c.ID]
		if p == nil {
			return fmt.Errorf("%s: %s has no prose, or is there twice", file, c.ID)
		}
		delete(prose, c.ID)
		c.Title, c.Fault, c.Sent, c.Criteria, c.Advice, c.Refs = p.title, p.fault, p.sent, p.judged, p.advice, p.refs
	}
	for _, id := range slices.Sorted(maps.Keys(prose)) {
		return fmt.Errorf("%s:%d: there is no check %s", file, prose[id].line, id)
	}
	return nil
}
