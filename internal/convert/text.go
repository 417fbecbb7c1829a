package convert

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown is the octets of a statement that a note shows.
const maxShown = 300

// Printable returns what came from a file so that it is one line and moves no terminal:
// whatever is not printed is escaped, and what is long is cut.
func Printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case b.Len() > maxShown:
			return b.String() + "…"
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t':
			b.WriteByte(' ')
		case !strconv.IsPrint(r) || unicode.Is(unicode.Cf, r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// quote returns a string as YAML has it in double quotes, in ASCII but for what is printed.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strconv.IsPrint(r) && !unicode.Is(unicode.Cf, r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// list returns strings as a list in YAML, each once.
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

// A word is one token and where it stands.
type word struct {
	text      string
	quoted    bool
	file      string
	line, col int
}

func (w word) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %s", Printable(w.file), w.line, w.col, Printable(fmt.Sprintf(format, args...)))
}

// A stmt is one statement: its words, and the block that follows some.
type stmt struct {
	words []word
	block []*stmt
}

// line returns a statement of one line's fields.
func lineStmt(file string, line int, fields ...string) *stmt {
	s := &stmt{}
	for _, f := range fields {
		s.words = append(s.words, word{text: f, file: file, line: line, col: 1})
	}
	return s
}

// with returns a statement of the same place with other words.
func (s *stmt) with(words ...string) *stmt {
	out := &stmt{}
	for _, text := range words {
		w := s.words[0]
		w.text = text
		out.words = append(out.words, w)
	}
	return out
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
	for _, w := range s.words[min(1, len(s.words)):] {
		out = append(out, w.text)
	}
	return out
}

// option returns the word behind another, as in port 5300, or "".
func (s *stmt) option(name string) string {
	for i, w := range s.words {
		if i > 0 && w.text == name {
			return s.arg(i + 1)
		}
	}
	return ""
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

// yes reports whether a word says so.
func yes(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1":
		return true
	}
	return false
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
