package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxErrors is the most errors that are collected from one file: more would not
// be read, and most of them would follow from the first.
const MaxErrors = 20

// An Error is one thing wrong with a configuration file.
type Error struct {
	File   string // as given to Load or Parse
	Line   int    // from 1; 0 if the file as a whole is meant
	Col    int    // from 1, in characters
	Text   string // what is wrong and what was expected, in one line
	Hint   string // what to do, or ""
	Source string // the line as it stands in the file, or ""
	Path   string // the zone file that cannot be read, or "" if that is not what is wrong
}

// Error returns the error in one line: file:line:col: text; hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(printable(e.File))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
	}
	b.WriteString(": " + e.Text)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Long returns the error as Error does, followed by the line of the file and a
// caret below the place that is meant.
func (e *Error) Long() string {
	if e.Source == "" || e.Line == 0 {
		return e.Error()
	}
	const before, after = 60, 40 // columns shown of a long line
	runes := []rune(veiled(printable(e.Source)))
	at := min(max(e.Col-1, 0), len(runes))
	from, to := 0, len(runes)
	if len(runes) > before+after {
		from, to = max(0, at-before), min(len(runes), at+after)
	}
	return e.Error() + "\n    " + string(runes[from:to]) + "\n    " + strings.Repeat(" ", at-from) + "^"
}

// veiled returns a line with stars for the value of a secret: errors end up in logs and
// tickets.
func veiled(line string) string {
	for _, secret := range []*regexp.Regexp{pinValue, secretValue} {
		line = secret.ReplaceAllStringFunc(line, func(s string) string {
			key := secret.FindStringSubmatch(s)[1]
			return key + strings.Repeat("*", utf8.RuneCountInString(s)-utf8.RuneCountInString(key))
		})
	}
	return line
}

// pinValue is the PIN in a URI of a token, where it is an error.
var pinValue = regexp.MustCompile(`(\bpin-value=)[^;&"',}\s]*`)

var secretValue = regexp.MustCompile(`(\bsecret["']?\s*:\s*)("[^"]*"?|'[^']*'?|[^\s,}]+)`)

// Errors is what is wrong with a file, in its order; at least one, and at most
// MaxErrors.
type Errors []*Error

// Error returns one line for each error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Long returns all errors with their lines and carets.
func (es Errors) Long() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Long()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find an *Error.
func (es Errors) Unwrap() []error {
	list := make([]error, len(es))
	for i, e := range es {
		list[i] = e
	}
	return list
}

// printable returns text of a file such that it cannot move a terminal's cursor:
// one space or replacement character for each rune that is not printed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// quote returns s in quotes, escaped and cut to what a message bears.
func quote(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// nearest returns the candidate that s was most likely meant to be, or "".
func nearest(s string, candidates []string) string {
	best, least := "", 3
	if len(s) > 64 {
		return ""
	}
	s = strings.ToLower(s)
	for _, c := range candidates {
		plain := strings.ToLower(c)
		d := distance(s, plain)
		if strings.ReplaceAll(s, "-", "_") == strings.ReplaceAll(plain, "-", "_") {
			d = 0
		}
		if d < least && d*3 <= max(len(s), len(c))+1 {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, drop, replace or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
