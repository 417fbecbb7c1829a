package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/wire"
)

// OriginDefault is the origin of a value that the file does not set.
const OriginDefault = "default"

// A Setting is one value in effect.
type Setting struct {
	Key    string `json:"key"`    // its path, such as tcp.idle or zones[0].name
	Value  string `json:"value"`  // as it would be written in the file
	Origin string `json:"origin"` // OriginDefault, or file:line
}

// Effective returns every value in effect, in the order of the reference. The
// resolver's are not among them in the role authoritative.
func (c *Config) Effective() []Setting {
	return c.effective(nil, table(), reflect.ValueOf(c).Elem(), "", 0)
}

func (c *Config) effective(list []Setting, section *key, from reflect.Value, above string, index int32) []Setting {
	for _, k := range section.keys {
		field, path := from.FieldByIndex(k.field), above+k.name
		switch {
		case k.form == formSection && k.list:
			for i := range field.Len() {
				list = c.effective(list, k, field.Index(i), fmt.Sprintf("%s[%d].", path, i), k.nested(index, i))
			}
		case k.quiet && c.origin(k, index) == OriginDefault:
		case c.Role == RoleAuthoritative && slices.Contains(resolverKeys(), k.path):
		case k.form == formSection:
			list = c.effective(list, k, field, path+".", index)
		default:
			value := k.print(field)
			for _, b := range k.beside {
				value = b.print(value, from.FieldByName(b.field))
			}
			list = append(list, Setting{path, value, c.origin(k, index)})
		}
	}
	return list
}

// print adds what is beside the values of a list that was printed.
func (b *beside) print(list string, more reflect.Value) string {
	for i := range more.Len() {
		list = strings.TrimSuffix(list, "]")
		if list != "[" {
			list += ", "
		}
		list += "{" + b.word + ": " + b.key.printOne(more.Index(i)) + "}]"
	}
	return list
}

func (c *Config) origin(k *key, index int32) string {
	at, ok := c.placed(k, index)
	if !ok && k.twin != 0 && int(index) < len(c.templates) && c.templates[index] >= 0 && !strings.Contains(k.path, "groups[]") {
		at, ok = c.origins[place{k.twin, c.templates[index]}]
	}
	if ok {
		return c.files[at.file-1] + ":" + strconv.Itoa(at.line)
	}
	return OriginDefault
}

// FileOf returns the name of the file that sets a key of the table, such as keys.secret, in
// the block at index of a list of blocks; that of the first file if none does.
func (c *Config) FileOf(path string, index int) string {
	if at, ok := c.origins[place{table().find(path).id, int32(index)}]; ok {
		return c.files[at.file-1]
	}
	return c.File()
}

// print writes a value as it is written in the file.
func (k *key) print(v reflect.Value) string {
	if k.list {
		texts := make([]string, v.Len())
		for i := range texts {
			texts[i] = k.printOne(v.Index(i))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return k.printOne(v)
}

func (k *key) printOne(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case bool:
		return strconv.FormatBool(x)
	case int:
		return strconv.Itoa(x)
	case time.Duration:
		return durationText(x)
	case time.Time:
		switch {
		case x.IsZero() && k.form == formTimeOrNow:
			return "now"
		case x.IsZero():
			return `""`
		}
		return yamlText(x.UTC().Format(time.RFC3339))
	case fmt.Stringer:
		if a, ok := x.(netip.AddrPort); ok && !a.IsValid() {
			return "off"
		} else if ok && a.Port() == 0 && k.port == 0 {
			return yamlText(a.Addr().String()) // any
		}
		return yamlText(x.String())
	case []byte:
		if k.hasDef && k.def == "" && !k.list && len(x) <= 1 {
			return `""` // no name, which is not the root's
		}
		return yamlText(nameText(x))
	case string:
		switch {
		case k.form == formWord:
			return x
		case x != "" && k.form == formSecret:
			return "(set)"
		case x == "" && k.form == formHidden:
			return "hidden"
		case x == "" && (k.form == formPathOrOff || k.form == formFileOrOff):
			return "off"
		}
		return yamlText(x)
	}
	return ""
}

// yamlText writes s such that YAML reads it as that text: in quotes where it
// might read something else.
func yamlText(s string) string {
	plain := s != "" && !strings.ContainsAny(s, "\"'\\,[]{}#&*!|>%@`\t\n ") && !strings.Contains(s, ":") &&
		!strings.ContainsAny(s[:1], "-?.<=~0123456789+")
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n", "hidden":
		plain = false
	}
	if plain || netipText(s) {
		return s
	}
	return strconv.Quote(s)
}

// netipText tells the texts that need no quotes although they begin with a digit:
// IPv4 addresses, networks, and numbers with a unit.
func netipText(s string) bool {
	if s == "" || s[0] < '0' || s[0] > '9' || strings.ContainsAny(s, "[]{}, #") {
		return false
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return !strings.Contains(s, ":")
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Is4()
	}
	_, size := measure(s, sizeUnits())
	return size || strings.HasSuffix(s, "/s")
}

// nameText writes a name as a person does: without the dot at its end, but for
// the root's.
func nameText(name []byte) string {
	text := string(wire.AppendName(nil, name))
	if len(text) > 1 {
		return strings.TrimSuffix(text, ".")
	}
	return text
}

// shown is the default in a role as the reference and errors show it.
func (k *key) shown(role string) string {
	if !k.hasDef {
		if k.list {
			return "[]"
		}
		return "none"
	}
	v := reflect.New(k.typ).Elem()
	if k.list {
		v = reflect.MakeSlice(reflect.SliceOf(k.typ), 0, 2)
	}
	for _, text := range k.defaults(role) {
		x, p := k.parse(scalar{text: text}, "/")
		switch {
		case p != nil:
			return text
		case k.list:
			v = reflect.Append(v, reflect.ValueOf(x))
		default:
			v.Set(reflect.ValueOf(x))
		}
	}
	return k.print(v)
}

// listed is what a key's value looks like, a list's too.
func (k *key) listed() string {
	if k.looks != "" {
		return k.looks
	}
	if k.list {
		if k.lone {
			return k.expects() + "; or a list of these"
		}
		return "a list; each entry is " + k.expects()
	}
	return k.expects()
}

// braces returns how a block is written: with the key's required keys, or with its first.
func (k *key) braces() string {
	var required []string
	for _, child := range k.keys {
		if child.required && child.name == "zone" && k.name == "forward" {
			required = append(required, "zone: .") // what most people forward
		} else if child.required {
			required = append(required, child.name+": "+child.example())
		}
	}
	switch {
	case k.path == "":
		return "write a key, a colon and a value on each line, such as role: " + RoleInternalResolver
	case len(required) > 0:
		return "write {" + strings.Join(required, ", ") + "}"
	}
	first := k.keys[0]
	value := first.shown("")
	if first.form == formSection || value == "" || value == "[]" || value == `""` || value == "0s" {
		value = first.example()
	}
	return "write " + k.name + ": {" + first.name + ": " + value + "}, or other keys of " + k.path + ": " + strings.Join(k.names(), ", ")
}

// toAdd says what to write where the key is missing.
func (k *key) toAdd() string {
	if k.form == formRole {
		return `add "role:" and one of ` + k.example()
	}
	if example := k.example(); example != noExample {
		return fmt.Sprintf("add %q and a value such as %s", k.name+":", example)
	}
	return fmt.Sprintf("add %q and %s", k.name+":", k.expects())
}

// example is a value for the hint at a missing key.
func (k *key) example() string {
	switch k.form {
	case formRole:
		return "authoritative, public-resolver, internal-resolver or domain-controller"
	case formName:
		return "example.com"
	case formPath:
		return "example.com.zone"
	case formUpstream, formServer:
		return "[192.0.2.1]"
	case formAddress, formHost, formAddressOrOff:
		return "192.0.2.1"
	case formPrefix:
		if strings.HasSuffix(k.path, "dns64.prefix") {
			return `"64:ff9b::/96"`
		}
		return "10.0.0.0/8"
	case formTime:
		return "2026-10-20"
	case formDuration:
		return "7d"
	}
	return noExample
}

// noExample stands for a value of which there is no example that suits everybody.
const noExample = "…"
