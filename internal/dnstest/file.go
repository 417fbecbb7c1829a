package dnstest

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"port53/internal/lab"
)

//go:embed nets/*.txtar
var nets embed.FS

// A play is one scenario of a file.
type play struct {
	name     string
	comment  string
	at       string // file:line
	sections []lab.Section
}

// A script is a file of scenarios, and the lines of it that will be rewritten.
type script struct {
	file  string
	lines []string
	plays []*play
	edits []edit
}

// An edit replaces lines from, counted from 1, up to but not including until.
type edit struct {
	from, until int
	lines       []string
}

// citation is how a comment names its source.
var citation = regexp.MustCompile(`RFC \d+|CVE-\d{4}-\d+|draft-[a-z]`)

// readScript reads a file.
func readScript(file string) (*script, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &script{file: file, lines: strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")}
	comment, sections := lab.Split(file, text)
	shared := &play{comment: strings.Join(comment, "\n"), at: file + ":1"}
	current := shared
	for _, sec := range sections {
		if sec.Kind == "scenario" {
			current = &play{
				name: strings.Join(sec.Args, " "), comment: strings.Join(sec.Body, "\n"),
				at: sec.At(-1), sections: slices.Clone(shared.sections),
			}
			s.plays = append(s.plays, current)
			continue
		}
		added, err := expand(&sec)
		if err != nil {
			return nil, err
		}
		for i := range added {
			current.put(added[i], len(shared.sections))
		}
	}
	if s.plays == nil {
		shared.name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		s.plays = []*play{shared}
	}
	for _, p := range s.plays {
		if !citation.MatchString(p.comment) && !citation.MatchString(shared.comment) {
			return nil, fmt.Errorf("%s: the comment of %q names no source, such as RFC 4035, section 5.3", p.at, p.name)
		}
	}
	return s, nil
}

// expand returns the section, or those of the file that it includes.
func expand(sec *lab.Section) ([]lab.Section, error) {
	if sec.Kind != "include" {
		return []lab.Section{*sec}, nil
	}
	if len(sec.Args) != 1 {
		return nil, sec.Errorf(-1, "include takes one name")
	}
	name := filepath.Join(filepath.Dir(sec.File), sec.Args[0])
	text, err := os.ReadFile(name)
	if err != nil {
		name = "nets/" + sec.Args[0] + ".txtar"
		if text, err = nets.ReadFile(name); err != nil {
			return nil, sec.Errorf(-1, "include: there is no file %s here, and no net of that name", sec.Args[0])
		}
	}
	_, sections := lab.Split(name, text)
	for i := range sections {
		if sections[i].Kind == "include" || sections[i].Kind == "scenario" || sections[i].Kind == "do" {
			return nil, sections[i].Errorf(-1, "%s has no place in what is included", sections[i].Kind)
		}
	}
	return sections, nil
}

// put adds a section to a play, in the place of a shared one with the same heading.
func (p *play) put(sec lab.Section, shared int) {
	if sec.Kind == "zone" || sec.Kind == "host" || sec.Kind == "hints" || sec.Kind == "anchors" {
		for i := range min(shared, len(p.sections)) {
			if p.sections[i].Tag == sec.Tag && p.sections[i].Key() == sec.Key() {
				p.sections[i] = sec
				return
			}
		}
	}
	p.sections = append(p.sections, sec)
}

// rewrite writes the file with its edits made.
func (s *script) rewrite() error {
	if len(s.edits) == 0 {
		return nil
	}
	slices.SortFunc(s.edits, func(a, b edit) int { return b.from - a.from })
	lines := s.lines
	last := 0
	for _, e := range s.edits {
		if e.from == last {
			continue // shared by several scenarios
		}
		last = e.from
		lines = slices.Concat(lines[:e.from-1], e.lines, lines[e.until-1:])
	}
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	return os.WriteFile(s.file, b.Bytes(), 0o644)
}

// A step is one line of a section "do", with those indented below.
type step struct {
	at    string // file:line
	file  string
	line  int // in the file, from 1
	words []string
	below []string // without blank lines
	until int      // the line behind those below
}

// steps reads a section "do".
func steps(sec *lab.Section) ([]step, error) {
	var list []step
	for i, l := range sec.Body {
		f := strings.Fields(l)
		switch {
		case len(f) == 0 || l[0] == '#':
		case l[0] == ' ' || l[0] == '\t':
			if len(list) == 0 {
				return nil, sec.Errorf(i, "what is expected stands below a step")
			}
			s := &list[len(list)-1]
			s.below = append(s.below, strings.Join(f, " "))
			s.until = sec.Line + 2 + i
		default:
			list = append(list, step{at: sec.At(i), file: sec.File, line: sec.Line + 1 + i, words: f, until: sec.Line + 2 + i})
		}
	}
	return list, nil
}
