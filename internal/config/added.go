package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// AddedLine is the first line of the file in which a server keeps the zones that were added
// to it while it ran. What follows is YAML: zones, as in a configuration.
const AddedLine = "port53 added 1"

// addedHead begins that file.
const addedHead = AddedLine + `
# The zones that port53 zone add has added. The server writes this file.
zones:
`

// WithZones returns the configuration with the zones of text beside those of its own files,
// instead of those that it had from such a text before. name is what errors call the text. An
// empty text has none. The error, if any, is an Errors; c stays as it is.
func (c *Config) WithZones(name string, text []byte) (*Config, error) {
	n := *c
	own := c.own()
	n.tail, n.late = nil, nil
	n.Zones, n.Keys = slices.Clone(c.Zones[:own]), slices.Clone(c.Keys)
	n.templates = slices.Clone(c.templates[:min(own, len(c.templates))])
	n.files, n.origins = slices.Clone(c.files[:len(c.files)-c.addedFiles()]), maps.Clone(c.origins)
	n.added, n.hasAdded = 0, false
	d := &decoder{cols: n.origins, items: map[place][]position{}, table: table(), config: &n, role: c.Role}
	for i := range n.Networks {
		d.name(n.Networks[i])
	}
	for _, f := range n.files {
		d.files = append(d.files, &input{name: f})
	}
	if len(text) == 0 {
		return &n, nil
	}
	k := d.table.child("zones")
	for i := range n.Zones {
		at := n.origins[place{k.child("name").id, int32(i)}]
		d.zones = append(d.zones, at)
	}
	n.hasAdded = true
	n.files = append(n.files, name)
	d.files = append(d.files, &input{name: name})
	d.use(len(d.files) - 1)
	line, rest, _ := bytes.Cut(text, []byte{'\n'})
	if string(line) != AddedLine {
		found := printable(string(line[:min(len(line), 40)]))
		d.fail(
			position{line: 1, col: 1},
			"the first line is "+quote(found)+", and this version of port53 reads "+quote(AddedLine),
			"it was written by another version, or is damaged: put it aside, and add the zones again",
		)
		return nil, d.errs
	}
	d.addedZones(k, append([]byte{'\n'}, rest...), &n)
	if len(d.errs) == 0 {
		n.added = len(n.Zones) - own
		d.use(0)
		d.check()
	}
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
		return nil, d.errs
	}
	n.partPlaces(own)
	return &n, nil
}

// CountAdded returns how many zones the text of added zones has, as far as that can be told
// without the configuration that they belong to.
func CountAdded(text []byte) (int, error) {
	line, rest, _ := bytes.Cut(text, []byte{'\n'})
	if string(line) != AddedLine {
		return 0, errors.New("its first line is not " + quote(AddedLine))
	}
	d := &decoder{}
	d.files = []*input{{}}
	d.use(0)
	body := d.read(append([]byte{'\n'}, rest...))
	if len(d.errs) > 0 {
		return 0, errors.New("line " + strconv.Itoa(d.errs[0].Line) + ": " + d.errs[0].Text)
	}
	values, _ := pairs(body)
	if len(values) != 1 || keyText(values[0].Key) != "zones" {
		return 0, errors.New("it has other keys than zones")
	}
	list, _ := values[0].Value.(*ast.SequenceNode)
	if list == nil {
		return 0, nil
	}
	return len(list.Values), nil
}

// addedZones decodes the text of zones that were added.
func (d *decoder) addedZones(k *key, text []byte, n *Config) {
	body := d.read(text)
	if len(d.errs) > 0 || body == nil {
		return
	}
	values, ok := pairs(body)
	if !ok || len(values) != 1 || keyText(values[0].Key) != "zones" {
		d.fail(start(body), "expected zones, and nothing else", "")
		return
	}
	if _, empty := values[0].Value.(*ast.NullNode); empty {
		return
	}
	d.value(k, values[0].Value, start(values[0].Key), reflect.ValueOf(n).Elem().FieldByIndex(k.field), "zones", 0)
}

// own returns how many of the zones are of the configuration's own files.
func (c *Config) own() int { return len(c.Zones) - c.added }

func (c *Config) addedFiles() int {
	if c.hasAdded {
		return 1
	}
	return 0
}

// Added reports whether the zone at index i was added to the running server, and is in none of
// the configuration's own files.
func (c *Config) Added(i int) bool { return i >= c.own() }

// ZonePlace returns where the zone at index i stands, as FILE:LINE.
func (c *Config) ZonePlace(i int) string {
	if c.Added(i) {
		return c.files[len(c.files)-1] + ":" + strconv.Itoa(c.zoneLine(i))
	}
	at, ok := c.origins[place{c.zoneName, int32(i)}]
	if !ok {
		return c.File()
	}
	return c.files[at.file-1] + ":" + strconv.Itoa(at.line)
}

// ZoneFile is ZonePlace without the line of an added zone, which changes as others before it are removed.
func (c *Config) ZoneFile(i int) string {
	if c.Added(i) {
		return c.files[len(c.files)-1]
	}
	return c.ZonePlace(i)
}

// zoneLine returns the line on which the added zone at index i begins.
func (c *Config) zoneLine(i int) int { return c.late[i-c.own()].line }

// An AddedZone is a zone as it is added to a running server.
type AddedZone struct {
	Name        string   `json:"-"`
	Template    *string  `json:"template,omitempty"` // nil: the template default, if there is one
	File        string   `json:"file,omitempty"`
	Primaries   []string `json:"primaries,omitempty"` // addresses, or names of remotes
	Secondaries []string `json:"secondaries,omitempty"`
	TSIG        []string `json:"tsig,omitempty"`
	Insecure    bool     `json:"insecure,omitempty"`
	Stored      bool     `json:"stored,omitempty"` // it is in state_dir alone
	Sign        bool     `json:"sign,omitempty"`
	Views       []string `json:"views,omitempty"`
}

// line returns the zone as one line of YAML.
func (z *AddedZone) line() string {
	parts := []string{"name: " + strconv.Quote(z.Name)}
	if z.Template != nil {
		parts = append(parts, "template: "+strconv.Quote(*z.Template))
	}
	if z.File != "" {
		parts = append(parts, "file: "+strconv.Quote(z.File))
	}
	for _, l := range []struct {
		key  string
		list []string
	}{{"primaries", z.Primaries}, {"secondaries", z.Secondaries}, {"tsig", z.TSIG}, {"views", z.Views}} {
		if len(l.list) > 0 {
			texts := make([]string, len(l.list))
			for i, t := range l.list {
				texts[i] = strconv.Quote(t)
			}
			parts = append(parts, l.key+": ["+strings.Join(texts, ", ")+"]")
		}
	}
	if z.Insecure {
		parts = append(parts, "insecure: true")
	}
	if z.Stored {
		parts = append(parts, "stored: true")
	}
	if z.Sign {
		parts = append(parts, "dnssec: {sign: true}")
	}
	return "  - {" + strings.Join(parts, ", ") + "}\n"
}

// AppendZone returns the text of added zones with one more.
func AppendZone(text []byte, z *AddedZone) []byte {
	if len(text) == 0 {
		text = []byte(addedHead)
	}
	if !bytes.HasSuffix(text, []byte{'\n'}) {
		text = append(slices.Clip(text), '\n')
	}
	return append(slices.Clip(text), z.line()...)
}

// WithoutZone returns the text of added zones, which c has them from, without the zone at
// index i.
func (c *Config) WithoutZone(text []byte, i int) ([]byte, error) {
	lines := bytes.SplitAfter(text, []byte{'\n'})
	from, to := c.zoneLine(i)-1, len(lines)
	for j := c.own(); j < len(c.Zones); j++ {
		switch at := c.zoneLine(j) - 1; {
		case j != i && at == from:
			return nil, fmt.Errorf("%s has several zones in line %d: part them", c.files[len(c.files)-1], from+1)
		case at > from:
			to = min(to, at)
		}
	}
	if c.added == 1 {
		return []byte(addedHead), nil
	}
	if dash := bytes.TrimSpace(
		lines[from],
	); !bytes.HasPrefix(dash, []byte("-")) ||
		to < len(lines) && !bytes.HasPrefix(bytes.TrimSpace(lines[to]), []byte("-")) {
		return nil, fmt.Errorf("%s was edited, and the zone does not begin with its name: write it on one line", c.files[len(c.files)-1])
	}
	return bytes.Join(slices.Concat(lines[:from], lines[to:]), nil), nil
}
