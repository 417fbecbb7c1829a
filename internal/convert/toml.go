package convert

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// tomlTree reads TOML (toml.io, version 1.0) as far as configurations of name servers go:
// tables, keys, strings, numbers, truth values, lists and tables in braces. A key is a
// statement with its value or the values of its list; a table is a block.
func tomlTree(path, text string) (*stmt, error) {
	p := &toml{file: path, text: text, line: 1, root: &stmt{words: []word{{file: path, line: 1, col: 1}}}}
	p.in = p.root
	for {
		p.space(true)
		if p.i >= len(p.text) {
			return p.root, nil
		}
		if err := p.entry(); err != nil {
			return nil, err
		}
	}
}

type toml struct {
	file, text  string
	i           int
	line, start int // where the line begins
	root, in    *stmt
}

func (p *toml) here(text string) word {
	return word{text: text, file: p.file, line: p.line, col: p.i - p.start + 1}
}

// space passes over blanks and, with lines, over ends of lines and comments.
func (p *toml) space(lines bool) {
	for p.i < len(p.text) {
		switch ch := p.text[p.i]; {
		case ch == ' ' || ch == '\t' || ch == '\r':
			p.i++
		case ch == '\n' && lines:
			p.i++
			p.line, p.start = p.line+1, p.i
		case ch == '#' && lines:
			n := strings.IndexByte(p.text[p.i:], '\n')
			if n < 0 {
				n = len(p.text) - p.i
			}
			p.i += n
		default:
			return
		}
	}
}

func (p *toml) next(s string) bool {
	if strings.HasPrefix(p.text[p.i:], s) {
		p.i += len(s)
		return true
	}
	return false
}

// entry reads a table's head, or a key and its value.
func (p *toml) entry() error {
	at := p.here("")
	if p.next("[") {
		double := p.next("[")
		names, err := p.key()
		if err != nil {
			return err
		}
		if !p.next("]") || double && !p.next("]") {
			return p.here("").fail("expected ]")
		}
		p.in = p.root
		for i, name := range names {
			p.in = p.table(p.in, name, double && i == len(names)-1)
		}
		return p.end()
	}
	names, err := p.key()
	if err != nil {
		return err
	}
	if p.space(false); !p.next("=") {
		return p.here("").fail("expected = and a value")
	}
	in := p.in
	for _, name := range names[:len(names)-1] {
		in = p.table(in, name, false)
	}
	name := names[len(names)-1]
	if find(in.block, name.text) != nil {
		return at.fail("%s is there already", name.text)
	}
	s := &stmt{words: []word{name}}
	in.block = append(in.block, s)
	if err := p.value(s, 0); err != nil {
		return err
	}
	return p.end()
}

func (p *toml) end() error {
	p.space(false)
	if p.i < len(p.text) && p.text[p.i] != '\n' && p.text[p.i] != '#' {
		return p.here("").fail("expected the end of the line")
	}
	return nil
}

// table returns the table of a name, a new one if it is another item of a list.
func (p *toml) table(in *stmt, name word, item bool) *stmt {
	if t := find(in.block, name.text); t != nil && !item {
		return t
	}
	t := &stmt{words: []word{name}}
	in.block = append(in.block, t)
	return t
}

func (p *toml) key() ([]word, error) {
	var out []word
	for len(out) <= maxDepth {
		p.space(false)
		at := p.here("")
		if p.i < len(p.text) && (p.text[p.i] == '"' || p.text[p.i] == '\'') {
			s, err := p.str()
			if err != nil {
				return nil, err
			}
			at.text = s
		} else {
			n := 0
			for p.i+n < len(p.text) && (p.text[p.i+n] == '-' || p.text[p.i+n] == '_' || p.text[p.i+n]|0x20 >= 'a' &&
				p.text[p.i+n]|0x20 <= 'z' || p.text[p.i+n] >= '0' && p.text[p.i+n] <= '9') {
				n++
			}
			if n == 0 {
				return nil, at.fail("expected a key")
			}
			at.text = p.text[p.i : p.i+n]
			p.i += n
		}
		out = append(out, at)
		if p.space(false); !p.next(".") {
			return out, nil
		}
	}
	return nil, p.here("").fail("nested deeper than any configuration is")
}

// value reads a value into the words of s, or into its block.
func (p *toml) value(s *stmt, depth int) error {
	p.space(false)
	at := p.here("")
	switch {
	case depth > maxDepth:
		return at.fail("nested deeper than any configuration is")
	case p.i >= len(p.text):
		return at.fail("expected a value")
	case p.text[p.i] == '"' || p.text[p.i] == '\'':
		text, err := p.str()
		if err != nil {
			return err
		}
		at.text, at.quoted = text, true
		s.words = append(s.words, at)
	case p.next("["):
		for {
			if p.space(true); p.next("]") {
				return nil
			}
			if err := p.value(s, depth+1); err != nil {
				return err
			}
			if p.space(true); !p.next(",") && !strings.HasPrefix(p.text[p.i:], "]") {
				return p.here("").fail("expected , or ]")
			}
		}
	case p.next("{"):
		item := &stmt{words: []word{{text: "-", file: at.file, line: at.line, col: at.col}}}
		s.block = append(s.block, item)
		for {
			if p.space(false); p.next("}") {
				return nil
			}
			names, err := p.key()
			if err != nil {
				return err
			}
			if p.space(false); !p.next("=") {
				return p.here("").fail("expected = and a value")
			}
			e := &stmt{words: names[len(names)-1:]}
			item.block = append(item.block, e)
			if err := p.value(e, depth+1); err != nil {
				return err
			}
			if p.space(false); !p.next(",") && !strings.HasPrefix(p.text[p.i:], "}") {
				return p.here("").fail("expected , or }")
			}
		}
	default:
		n := strings.IndexAny(p.text[p.i:], " \t\r\n,]}#")
		if n < 0 {
			n = len(p.text) - p.i
		}
		if n == 0 {
			return at.fail("expected a value")
		}
		at.text = p.text[p.i : p.i+n]
		p.i += n
		s.words = append(s.words, at)
	}
	return nil
}

// str reads a string in its quotes, of one line or of several.
func (p *toml) str() (string, error) {
	at := p.here("")
	q := p.text[p.i : p.i+1]
	long := strings.HasPrefix(p.text[p.i:], q+q+q)
	end := q
	if long {
		end = q + q + q
	}
	p.i += len(end)
	var b strings.Builder
	for p.i < len(p.text) {
		switch ch := p.text[p.i]; {
		case p.next(end):
			return strings.TrimPrefix(b.String(), "\n"), nil
		case ch == '\n' && !long:
			return "", at.fail("a string without an end")
		case ch == '\n':
			b.WriteByte(ch)
			p.i++
			p.line, p.start = p.line+1, p.i
		case ch == '\\' && q == `"` && p.i+1 < len(p.text):
			p.i++
			if err := p.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(ch)
			p.i++
		}
	}
	return "", at.fail("a string without an end")
}

// escape reads what follows a backslash.
func (p *toml) escape(b *strings.Builder) error {
	ch := p.text[p.i]
	p.i++
	if i := strings.IndexByte(`btnfr"\e`, ch); i >= 0 {
		b.WriteByte("\b\t\n\f\r\"\\\x1b"[i])
		return nil
	}
	n := map[byte]int{'u': 4, 'U': 8}[ch]
	if n == 0 || p.i+n > len(p.text) {
		return p.here("").fail("no string has \\%c", ch)
	}
	r, err := strconv.ParseUint(p.text[p.i:p.i+n], 16, 32)
	if err != nil || !utf8.ValidRune(rune(r)) {
		return p.here("").fail("no character has this number")
	}
	b.WriteRune(rune(r))
	p.i += n
	return nil
}
