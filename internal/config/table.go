package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// A key is one row of the table of keys: a value, a list of values, a section
// of keys, or a list of such sections.
//
// In one piece: it has a field for each tag that can describe a key.
type key struct {
	id       int32  // its number in the order of the table
	name     string // as written in the file
	path     string // with the sections above it: "tcp.idle", "zones[].file"
	doc      string
	why      string // the reason of the default
	unset    string // what the reference has for the default; empty: def
	looks    string // what the reference has for the value; empty: what the form tells
	form     form
	list     bool // many of form
	mapped   bool // a list of sections of two keys, written as the first: the second
	hasDef   bool
	def      string // text of the default; a list's values are parted by ", "
	internal string // the default in the internal roles; def if there is no other
	public   string // the default in the role public-resolver, likewise
	required bool
	beside   []beside // what a list takes as well
	lone     bool     // a list of one may be written without brackets
	remote   bool     // a list of servers that takes names of remotes
	who      bool     // a list of networks that takes everybody and nobody
	join     bool     // a list that several files may have a part of
	twin     int32    // of a key of zones: the id of the same key of templates
	quiet    bool     // not among the values in effect, unless the file sets it
	min, max string
	value    string // what a text is, where it is not any
	words    []string
	port     uint16
	field    []int        // its index in the struct of the section
	typ      reflect.Type // of one value
	keys     []*key       // of a section
}

// A beside is a block of one key that a list takes among its values, as in {interface: lan0}.
type beside struct {
	word  string // the key
	field string // of the struct of the section, which takes its value
	key   *key   // the form of the value
}

// A form is what a value looks like.
type form int

// The forms of values.
const (
	formSection form = iota
	formText
	formUser
	formRole
	formWord
	formName
	formPattern
	formPath
	formPathOrOff
	formHidden
	formBool
	formInt
	formRate
	formSize
	formDuration
	formPrefix
	formAddress
	formAddressOrOff
	formUpstream
	formServer
	formHost
	formFileOrOff
	formTime
	formTimeOrNow
	formSecret
	formInterface
	formFiles
	formAnswer
	formHours
	formURL
	formTimeZone
	formAnyHost
)

// listSeparator parts the values of a list in a default tag.
const listSeparator = ", "

// table returns the section that is the whole file. It is made once, and nobody changes it.
var table = sync.OnceValue(readTable)

// readTable reads the table from the tags of Config.
func readTable() *key {
	root := &key{form: formSection, typ: reflect.TypeFor[Config]()}
	var count int32
	fill(root, "", &count)
	pairUp(root.child("zones"), root.child("templates"))
	return root
}

// pairUp notes the keys that a zone takes from its template.
func pairUp(of, from *key) {
	for _, k := range of.keys {
		if t := from.child(k.name); t != nil && k.name != "name" {
			k.twin, t.quiet = t.id, k.form != formSection
			if k.form == formSection {
				pairUp(k, t)
			}
		}
	}
}

// fill reads the keys of section from its struct.
func fill(section *key, prefix string, count *int32) {
	for _, f := range reflect.VisibleFields(section.typ) {
		name, ok := f.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		*count++
		d := describedBy(section.typ, f)
		k := &key{id: *count, name: name, path: prefix + name, field: f.Index, typ: f.Type}
		k.doc, k.why, k.unset, k.looks = d.doc, d.why, d.unset, d.value
		if f.Type.Kind() == reflect.Slice && f.Type != reflect.TypeFor[[]byte]() {
			k.list, k.typ = true, f.Type.Elem()
		}
		k.def, k.hasDef = f.Tag.Lookup("default")
		k.internal, k.public = k.def, k.def
		if text, ok := f.Tag.Lookup("internal"); ok {
			k.internal = text
		}
		if text, ok := f.Tag.Lookup("public"); ok {
			k.public = text
		}
		k.mapped = f.Tag.Get("map") == "true"
		k.quiet = f.Tag.Get("quiet") == "true"
		for _, text := range strings.Fields(f.Tag.Get("beside")) {
			word, field, _ := strings.Cut(text, "=")
			of, _ := section.typ.FieldByName(field)
			b := beside{word: word, field: field, key: &key{form: formPrefix, typ: of.Type.Elem(), name: word}}
			if b.key.typ == reflect.TypeFor[netip.Addr]() {
				b.key.form = formAnyHost
			}
			switch word {
			case "remote":
				b.key.form = formText
				k.remote = true
			case "certificate":
				b.key.form = formText
			case "interface":
				b.key.form = formInterface
			case "key":
				b.key.form = formName
			}
			k.beside = append(k.beside, b)
		}
		k.lone, k.who = f.Tag.Get("lone") == "true", f.Tag.Get("who") == "true"
		k.remote = k.remote || f.Tag.Get("remote") == "true"
		k.join = f.Tag.Get("join") == "true" || k.list && formOf(k.typ, "") == formSection && !strings.Contains(k.path, "[]")
		k.required = f.Tag.Get("required") == "true"
		k.min, k.max, k.value = f.Tag.Get("min"), f.Tag.Get("max"), f.Tag.Get("value")
		k.words = strings.Fields(f.Tag.Get("words"))
		for _, digit := range f.Tag.Get("port") {
			k.port = k.port*10 + uint16(digit-'0')
		}
		k.form = formOf(k.typ, f.Tag.Get("is"))
		if k.form == formSection {
			below := k.path + "."
			if k.list {
				below = k.path + "[]."
			}
			fill(k, below, count)
		}
		section.keys = append(section.keys, k)
	}
}

// formOf returns the form of a field: what its is tag says, or what its type
// tells.
func formOf(t reflect.Type, is string) form {
	forms := map[string]form{
		"label":          formText,
		"user":           formUser,
		"role":           formRole,
		"word":           formWord,
		"name":           formName,
		"pattern":        formPattern,
		"path":           formPath,
		"path-or-off":    formPathOrOff,
		"hidden":         formHidden,
		"address-or-off": formAddressOrOff,
		"files":          formFiles,
		"upstream":       formUpstream,
		"server":         formServer,
		"file-or-off":    formFileOrOff,
		"time-or-now":    formTimeOrNow,
		"secret":         formSecret,
		"answer":         formAnswer,
		"hours":          formHours,
		"url":            formURL,
		"time-zone":      formTimeZone,
	}
	if f, ok := forms[is]; ok {
		return f
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return formDuration
	case reflect.TypeFor[Size]():
		return formSize
	case reflect.TypeFor[Rate]():
		return formRate
	case reflect.TypeFor[netip.Prefix]():
		return formPrefix
	case reflect.TypeFor[netip.AddrPort]():
		return formAddress
	case reflect.TypeFor[netip.Addr]():
		return formHost
	case reflect.TypeFor[time.Time]():
		return formTime
	}
	switch t.Kind() {
	case reflect.Struct:
		return formSection
	case reflect.Bool:
		return formBool
	case reflect.Int:
		return formInt
	}
	return formText
}

// child returns the key of a section that has a name, or nil.
func (k *key) child(name string) *key {
	for _, c := range k.keys {
		if c.name == name {
			return c
		}
	}
	return nil
}

// names returns the names of the keys of a section, sorted.
func (k *key) names() []string {
	names := make([]string, len(k.keys))
	for i, c := range k.keys {
		names[i] = c.name
	}
	slices.Sort(names)
	return names
}

// find returns the key at a dotted path; the table of this package has it.
func (k *key) find(path string) *key {
	for _, part := range strings.Split(path, ".") {
		k = k.child(part)
	}
	return k
}

// defaults returns the parts of the default's text in a role: one for a value, any
// number for a list.
func (k *key) defaults(role string) []string {
	text := k.def
	switch role {
	case RoleInternalResolver, RoleDomainController:
		text = k.internal
	case RolePublicResolver:
		text = k.public
	}
	switch {
	case !k.hasDef, k.list && text == "":
		return nil
	case k.list:
		return strings.Split(text, listSeparator)
	}
	return []string{text}
}
