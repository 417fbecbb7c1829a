package convert

import (
	"slices"
	"strings"
)

// A sqlRow is a row of a table: its values by their columns, without those that are NULL.
type sqlRow map[string]string

// sqlTables are rows by the names of their tables.
type sqlTables map[string][]sqlRow

// sqlColumns returns the columns that a CREATE TABLE makes, in their order, and which of them is
// SQLite's number of the row: -1 for none.
func sqlColumns(create string) (columns []string, key int) {
	key = -1
	_, body, ok := strings.Cut(create, "(")
	if !ok {
		return nil, key
	}
	var word strings.Builder
	depth := 0
	end := func() {
		f := strings.Fields(word.String())
		word.Reset()
		if len(f) == 0 ||
			slices.Contains(
				[]string{"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "KEY", "INDEX", "FULLTEXT"},
				strings.ToUpper(f[0]),
			) {
			return
		}
		if upper := strings.ToUpper(strings.Join(f, " ")); strings.Contains(upper, " INTEGER PRIMARY KEY") {
			key = len(columns)
		}
		columns = append(columns, sqlName(f[0]))
	}
	for _, r := range body {
		switch {
		case r == '(':
			depth++
		case r == ')' && depth == 0:
			end()
			return columns, key
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			end()
			continue
		}
		word.WriteRune(r)
	}
	end()
	return columns, key
}

// sqlName returns the name of a table or column without quotes and without its schema.
func sqlName(s string) string {
	s = strings.Trim(s, "\"`[]")
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		s = s[i+1:]
	}
	return strings.ToLower(strings.Trim(s, "\"`[]"))
}

// A sqlReader reads a dump as sqlite3 .dump, mysqldump and pg_dump write it.
type sqlReader struct {
	text    string
	at      int
	columns map[string][]string
	out     sqlTables
	wanted  []string
	escapes bool // a backslash in a text stands for something: MySQL's way
}

// sqlDump returns the rows of the tables that are wanted. What else a dump does is passed over.
func sqlDump(text string, wanted []string) sqlTables {
	r := &sqlReader{text: text, columns: map[string][]string{}, out: sqlTables{}, wanted: wanted}
	head := text[:min(len(text), 4096)]
	r.escapes = strings.Contains(head, "MySQL dump") || strings.Contains(head, "MariaDB dump")
	for r.at < len(r.text) {
		switch word := strings.ToUpper(r.word()); word {
		case "":
			r.at++
		case "CREATE":
			r.create()
		case "INSERT", "REPLACE":
			r.insert()
		case "COPY":
			r.copied()
		default:
			r.statement()
		}
	}
	return r.out
}

// space passes over what is between words, comments too.
func (r *sqlReader) space() {
	for r.at < len(r.text) {
		rest := r.text[r.at:]
		switch {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			r.at++
		case strings.HasPrefix(rest, "--"):
			r.line()
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest, "*/")
			if n < 0 {
				r.at = len(r.text)
				return
			}
			r.at += n + 2
		default:
			return
		}
	}
}

func (r *sqlReader) line() string {
	rest := r.text[r.at:]
	n := strings.IndexByte(rest, '\n')
	if n < 0 {
		r.at = len(r.text)
		return rest
	}
	r.at += n + 1
	return strings.TrimSuffix(rest[:n], "\r")
}

// word reads a word or a name, "" in front of anything else.
func (r *sqlReader) word() string {
	r.space()
	from, quote := r.at, byte(0)
	for ; r.at < len(r.text); r.at++ {
		ch := r.text[r.at]
		switch {
		case quote != 0:
			if ch == quote {
				quote = 0
			}
			continue
		case ch == '"' || ch == '`':
			quote = ch
			continue
		case ch|0x20 >= 'a' && ch|0x20 <= 'z', ch >= '0' && ch <= '9', strings.IndexByte("_.$-+", ch) >= 0, ch >= 0x80:
			continue
		}
		break
	}
	return r.text[from:r.at]
}

// statement passes over the rest of a statement.
func (r *sqlReader) statement() string {
	from := r.at
	for r.at < len(r.text) {
		switch ch := r.text[r.at]; ch {
		case ';':
			r.at++
			return r.text[from : r.at-1]
		case '\'':
			r.value()
		default:
			r.at++
		}
	}
	return r.text[from:]
}

func (r *sqlReader) create() {
	rest := r.statement()
	head, _, _ := strings.Cut(rest, "(")
	f := strings.Fields(head)
	if len(f) < 2 || !strings.EqualFold(f[0], "TABLE") {
		return
	}
	columns, _ := sqlColumns(rest)
	r.columns[sqlName(f[len(f)-1])] = columns
}

// value reads one value of a list, and whether it is one that is there.
func (r *sqlReader) value() (text string, there bool) {
	r.space()
	if rest := r.text[r.at:]; len(rest) > 1 && (rest[0] == 'E' || rest[0] == 'e') && rest[1] == '\'' {
		r.at++
	}
	if r.at >= len(r.text) {
		return "", false
	}
	if r.text[r.at] != '\'' {
		word := r.word()
		if word == "" {
			r.at++
		}
		return word, word != "" && !strings.EqualFold(word, "NULL")
	}
	escapes := r.escapes || r.at > 0 && r.text[r.at-1]|0x20 == 'e'
	var b strings.Builder
	for r.at++; r.at < len(r.text); r.at++ {
		switch ch := r.text[r.at]; {
		case ch == '\'' && r.at+1 < len(r.text) && r.text[r.at+1] == '\'':
			b.WriteByte(ch)
			r.at++
		case ch == '\'':
			r.at++
			return b.String(), true
		case ch == '\\' && escapes && r.at+1 < len(r.text):
			r.at++
			b.WriteString(sqlEscape(r.text[r.at]))
		default:
			b.WriteByte(ch)
		}
	}
	return b.String(), true
}

func sqlEscape(ch byte) string {
	switch ch {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case '0':
		return "\x00"
	}
	return string(ch)
}

// insert reads INSERT INTO TABLE [(COLUMNS)] VALUES (...), (...).
func (r *sqlReader) insert() {
	var table string
	for range 4 { // INSERT OR IGNORE INTO x, INSERT INTO x
		if word := r.word(); strings.EqualFold(word, "INTO") {
			table = sqlName(r.word())
			break
		}
	}
	columns := r.columns[table]
	if r.space(); table == "" || !slices.Contains(r.wanted, table) || r.at >= len(r.text) {
		r.statement()
		return
	}
	if r.text[r.at] == '(' {
		columns = r.names()
	}
	if !strings.EqualFold(r.word(), "VALUES") {
		r.statement()
		return
	}
	for {
		if r.space(); r.at >= len(r.text) || r.text[r.at] != '(' {
			r.statement()
			return
		}
		row := sqlRow{}
		r.at++
		for i := 0; r.at < len(r.text); i++ {
			text, there := r.value()
			if there && i < len(columns) {
				row[columns[i]] = text
			}
			if r.space(); r.at >= len(r.text) || r.text[r.at] != ',' {
				break
			}
			r.at++
		}
		if r.at < len(r.text) && r.text[r.at] == ')' {
			r.at++
		}
		r.out[table] = append(r.out[table], row)
		if r.space(); r.at < len(r.text) && r.text[r.at] == ',' {
			r.at++
		}
	}
}

// names reads a list of columns in parentheses.
func (r *sqlReader) names() (out []string) {
	r.at++
	for r.at < len(r.text) {
		if word := r.word(); word != "" {
			out = append(out, sqlName(word))
		}
		if r.space(); r.at < len(r.text) {
			r.at++
			if r.text[r.at-1] == ')' {
				break
			}
		}
	}
	return out
}

// copied reads what PostgreSQL writes: COPY TABLE (COLUMNS) FROM stdin; and lines of values.
func (r *sqlReader) copied() {
	table := sqlName(r.word())
	r.space()
	if r.at >= len(r.text) || r.text[r.at] != '(' {
		r.statement()
		return
	}
	columns := r.names()
	r.statement()
	r.line()
	for r.at < len(r.text) {
		line := r.line()
		if line == `\.` {
			return
		}
		if !slices.Contains(r.wanted, table) {
			continue
		}
		row := sqlRow{}
		for i, v := range strings.Split(line, "\t") {
			if v == `\N` || i >= len(columns) {
				continue
			}
			var b strings.Builder
			for j := 0; j < len(v); j++ {
				if v[j] == '\\' && j+1 < len(v) {
					j++
					b.WriteString(sqlEscape(v[j]))
				} else {
					b.WriteByte(v[j])
				}
			}
			row[columns[i]] = b.String()
		}
		r.out[table] = append(r.out[table], row)
	}
}
