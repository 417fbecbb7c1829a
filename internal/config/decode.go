package config

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxFile is the largest configuration file: 300,000 zones of a line each. The
// YAML library takes 18 µs and, until it is done, 4 KiB of memory for each line.
const MaxFile = 16 << 20

// maxNesting is the deepest block that is handed to the YAML parser, which
// descends by recursion; the deepest key of the table is at 5.
const maxNesting = 32

// maxKeys is the most keys of one block: the parser takes time in proportion to
// their square. The table's largest block has 25.
const maxKeys = 256

// maxColumn is the furthest that a block, as opposed to a value, may begin from
// the left: indentation is nesting as well.
const maxColumn = 256

// A place is a value of the table: the key, and which of a list of sections it
// is in.
type place struct {
	key   int32
	index int32
}

// A position is a line and a column, both from 1, of one of the files, from 1 as well; file 0
// is the one in hand.
type position struct {
	file      int32
	line, col int
}

// before tells which of two positions a reader comes to first.
func (p position) before(q position) bool {
	return cmp.Or(cmp.Compare(p.file, q.file), cmp.Compare(p.line, q.line), cmp.Compare(p.col, q.col)) < 0
}

// A decoder walks the files of one configuration against the table.
type decoder struct {
	inputs
	errs     Errors
	config   *Config
	table    *key
	role     string                    // what the file says, right or wrong; the defaults depend on it
	cols     map[place]position        // of the values that the file sets
	items    map[place][]position      // of the values of lists
	zones    []position                // of the names of zones
	networks map[string][]netip.Prefix // by name
	nobody   []whoSaid                 // where the contract says so
	names    map[string]position       // of the keys of a block whose keys are values
	holder   reflect.Value             // the section of the list in hand, which takes what is beside its values
}

// Parse reads a configuration from text; name is what errors call the file, and
// its folder is where relative paths are seen from. It opens no file, and that the text
// includes others is an error. The error, if any, is an Errors.
func Parse(name string, text []byte) (*Config, error) {
	d := parse(name, text, false)
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	return d.config, nil
}

// Load reads the configuration file at path as Parse does, and checks that the
// files which it names can be read. The error, if any, is an Errors.
func Load(path string) (*Config, error) {
	c, zones, err := LoadToServe(path)
	if err != nil {
		return nil, err
	}
	if len(zones) > 0 {
		return nil, zones
	}
	return c, nil
}

// LoadToServe does what Load does, but that zone files which cannot be read are no
// errors of the configuration: they are told apart, and the other zones can be
// served.
func LoadToServe(path string) (c *Config, zones Errors, err error) {
	text, p := readFile(path)
	if p != nil {
		return nil, nil, Errors{{File: path, Text: p.text, Hint: p.hint}}
	}
	d := parse(path, text, true)
	if d.config != nil && len(d.errs) == 0 {
		d.checkZoneFiles()
		zones, d.errs = d.errs, nil
		d.checkFiles()
	}
	if len(d.errs) > 0 {
		return nil, nil, d.errs
	}
	return d.config, zones, nil
}

// ControlSocket returns the path of the control socket that the configuration file at path
// names, whatever else is wrong with the file, or "" if that cannot be told or it is off.
func ControlSocket(path string) string {
	text, p := readFile(path)
	if p != nil {
		return ""
	}
	d := parse(path, text, true)
	if d.config == nil {
		// It is not even YAML. What decides is a line of its own, as a rule.
		var lines [][]byte
		for line := range bytes.Lines(text) {
			if controlLine.Match(line) {
				lines = append(lines, line)
			}
		}
		if d = parse(path, bytes.Join(lines, nil), true); d.config == nil {
			return ""
		}
	}
	d.placeSocket()
	return d.config.Control.Socket
}

// controlLine tells the lines of a configuration that say where the control socket is.
var controlLine = regexp.MustCompile(`^(state_dir|control) *:.*\S|^control *: *$|^ +socket *:`)

// Default returns the configuration of a server that is given none: a resolver for
// this machine. It has no file.
func Default() *Config {
	c := defaultConfig(table(), RoleInternalResolver)
	c.Role = RoleInternalResolver
	return c
}

// parse does all that needs no other file than those that are included, which it reads if
// follow is true. The decoder's config is nil if the first file could not be walked to its end.
func parse(name string, text []byte, follow bool) *decoder {
	d := &decoder{cols: map[place]position{}, items: map[place][]position{}, table: table()}
	d.follow = follow
	d.add(name, text, position{})
	if len(d.errs) > 0 && d.files[0].broken {
		return d
	}
	for _, f := range d.files {
		if d.role == "" {
			d.role = roleOf(f.body)
		}
	}
	config := defaultConfig(d.table, d.role)
	config.origins, config.folders = map[place]position{}, d.folders
	for _, f := range d.files {
		config.files = append(config.files, f.name)
	}
	d.config = config
	d.root(reflect.ValueOf(config).Elem())
	d.use(0)
	d.check()
	slices.SortStableFunc(d.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(d.order(a.File), d.order(b.File)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return d
}

// defaultConfig returns the configuration of an empty file in a role. That every
// default in the tags can be parsed is tested.
func defaultConfig(table *key, role string) *Config {
	c := &Config{}
	setDefaults(table, reflect.ValueOf(c).Elem(), role)
	c.zoneName = table.find("zones.name").id
	return c
}

func setDefaults(section *key, into reflect.Value, role string) {
	for _, k := range section.keys {
		field := into.FieldByIndex(k.field)
		switch {
		case k.form == formSection && !k.list:
			setDefaults(k, field, role)
		case k.list:
			for _, text := range k.defaults(role) {
				if v, p := k.parse(scalar{text: text}, "/"); p == nil {
					field.Set(reflect.Append(field, reflect.ValueOf(v)))
				}
			}
		case k.hasDef:
			if v, p := k.parse(scalar{text: k.defaults(role)[0]}, "/"); p == nil {
				field.Set(reflect.ValueOf(v))
			}
		}
	}
}

// fail notes an error, unless there are enough.
func (d *decoder) fail(at position, text, hint string) {
	if len(d.errs) >= MaxErrors {
		return
	}
	in := d.files[d.mark(at).file-1]
	e := &Error{File: in.name, Line: at.line, Col: at.col, Text: text, Hint: hint}
	if at.line > 0 && at.line <= len(in.lines) {
		e.Source = string(bytes.TrimRight(in.lines[at.line-1], "\r\n"))
	}
	d.errs = append(d.errs, e)
}

// read checks the text as a whole and returns the mapping that it is; nil
// if it is empty or wrong.
func (d *decoder) read(text []byte) ast.Node {
	if len(text) > MaxFile {
		d.fail(position{}, fmt.Sprintf("the file has %d octets, and at most %d are read", len(text), MaxFile), "")
		return nil
	}
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	lines := bytes.Split(text, []byte("\n"))
	d.files[d.file-1].lines = lines
	for i, line := range lines {
		if !utf8.Valid(line) {
			at := bytes.IndexFunc(line, func(r rune) bool { return r == utf8.RuneError })
			d.fail(position{line: i + 1, col: utf8.RuneCount(line[:at]) + 1}, "this is not UTF-8", "save the file as UTF-8")
			return nil
		}
		if at := bytes.IndexFunc(line, control); at >= 0 {
			d.fail(position{line: i + 1, col: utf8.RuneCount(line[:at]) + 1}, "a control character", "remove it")
			return nil
		}
	}
	tokens := lexer.Tokenize(string(text))
	if at, what := outOfBounds(tokens); what != "" {
		d.fail(at, what, "no part of a configuration is like that")
		return nil
	}
	before := len(d.errs)
	if d.refusals(tokens); len(d.errs) > before {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(start(doc.Body), "a second document begins here", "a configuration is one YAML document: remove the --- above")
			return nil
		}
		body = doc.Body
	}
	return body
}

// control tells the characters that YAML does not allow in a file.
func control(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' || r == 0x7F
}

// readFile reads a configuration file, and no more of it than MaxFile.
func readFile(path string) ([]byte, *problem) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, &problem{"cannot be read: " + reason(err), ""}
	case info.IsDir():
		return nil, &problem{"is a directory, not a file", ""}
	case !info.Mode().IsRegular(): // a FIFO would be waited for
		return nil, &problem{"is not a regular file", ""}
	case info.Size() > MaxFile:
		return nil, &problem{fmt.Sprintf("the file has %d octets, and at most %d are read", info.Size(), MaxFile), ""}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &problem{"cannot be read: " + reason(err), ""}
	}
	return text, nil
}

// reason returns what the system said, without the path that the caller names.
func reason(err error) string {
	text := err.Error()
	return text[strings.LastIndex(": "+text, ": "):]
}

// syntax notes what the YAML parser found.
func (d *decoder) syntax(err error) {
	at, text := position{}, err.Error()
	if e, ok := err.(interface { // the library does not wrap
		GetToken() *token.Token
		GetMessage() string
	}); ok {
		text = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			at = position{line: t.Position.Line, col: t.Position.Column}
		}
	}
	text, hint := plainSyntax(text)
	d.fail(at, "this is not YAML: "+printable(strings.ReplaceAll(text, "\t", `\t`)), hint)
}

// plainSyntax returns what the parser says in words of somebody who has not written one, and what to do.
func plainSyntax(text string) (plain, hint string) {
	for _, p := range []struct{ begins, plain, hint string }{
		{"found character '\t'", "found a tab", "YAML allows only spaces for indentation: replace the tab with spaces"},
		{"tab character cannot", "found a tab", "YAML allows only spaces for indentation: replace the tab with spaces"},
		{"found a tab character", "found a tab", "YAML allows only spaces for indentation: replace the tab with spaces"},
		{
			"mapping value is not allowed", "found a key where none can be",
			"indent all keys of a block alike, and put a value in quotes if it has a colon and a space",
		},
		{"non-map value is specified", "expected key: value", "write a colon and a space after the key"},
		{"',' or ']' must be specified", "a list that begins with [ is not closed before this", "write ] at its end"},
		{"sequence end token ']' not found", "a list that begins with [ is not closed", "write ] at its end"},
		{"',' or '}' must be specified", "a block that begins with { is not closed before this", "write } at its end"},
		{"could not find end character of double-quoted text", "a value in double quotes is not closed", `write " at its end`},
		{"could not find end character of single-quoted text", "a value in single quotes is not closed", "write ' at its end"},
	} {
		if strings.HasPrefix(text, p.begins) {
			return p.plain, p.hint
		}
	}
	return text, ""
}
