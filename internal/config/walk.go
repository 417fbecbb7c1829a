package config

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"port53/internal/wire"
)

// refusals notes what YAML has beyond data: each is a way to make a file mean
// something else than it shows.
func (d *decoder) refusals(tokens token.Tokens) {
	for _, t := range tokens {
		what, hint := "", "write the value out"
		switch t.Type {
		case token.AnchorType:
			what = "anchors (&) are not read"
		case token.AliasType:
			what = "aliases (*) are not read"
			hint += ", or put it in quotes if it begins with a star"
		case token.MergeKeyType:
			what = "merge keys (<<) are not read"
		case token.TagType:
			what, hint = "tags (!) are not read", "leave it out, or put the value in quotes if it begins with !"
		case token.DirectiveType:
			what, hint = "directives (%) are not read", "leave it out"
		case token.MappingKeyType:
			what, hint = "keys are not written with ?", "write key: value"
		case token.LiteralType, token.FoldedType:
			what, hint = "blocks of text (| and >) are not read", "write the value on one line"
		default:
			continue
		}
		d.fail(where(t), what, hint)
	}
}

// outOfBounds looks for what the parser is not let into: brackets in brackets, a
// block that begins far to the right, and a block of many keys.
func outOfBounds(tokens token.Tokens) (at position, what string) {
	depth := 0
	keys := map[int]int{} // in the block that is open at a column, or at a depth of brackets
	for _, t := range tokens {
		block, opens := -depth, false
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
			keys[-depth] = 0
		case token.SequenceEndType, token.MappingEndType:
			depth = max(0, depth-1)
		case token.SequenceEntryType:
			block, opens = t.Position.Column, depth == 0
		case token.MappingValueType:
			if opens = depth == 0; opens && t.Prev != nil {
				block = t.Prev.Position.Column
			}
			if keys[block]++; keys[block] > maxKeys {
				return where(t), fmt.Sprintf("more than %d keys in one block", maxKeys)
			}
		default:
		}
		if opens {
			for column := range keys {
				if column > block {
					delete(keys, column)
				}
			}
		}
		if depth > maxNesting || opens && block > maxColumn {
			return where(t), fmt.Sprintf("nested more than %d deep", maxNesting)
		}
	}
	return position{}, ""
}

// where returns the place of a token.
func where(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{line: 1, col: 1}
	}
	return position{line: t.Position.Line, col: t.Position.Column}
}

// start returns where a node begins in the file.
func start(n ast.Node) position {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return start(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(m.Key)
	}
	return where(n.GetToken())
}

// describe says what kind of node stands where another was expected.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a block"
	case *ast.SequenceNode:
		return "a list"
	case ast.ScalarNode:
		return scalarOf(n).found()
	}
	return "something else"
}

// scalarOf returns a value as it is written.
func scalarOf(n ast.ScalarNode) scalar {
	t := n.GetToken()
	s := scalar{text: t.Value}
	switch n.(type) {
	case *ast.StringNode:
		s.quoted = t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.BoolNode:
		s.number = true
	}
	return s
}

// pairs returns the keys and values of a block.
func pairs(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// roleOf returns the role that a file names, or "".
func roleOf(body ast.Node) string {
	values, _ := pairs(body)
	for _, pair := range values {
		if s, ok := pair.Value.(ast.ScalarNode); ok && keyText(pair.Key) == "role" {
			return scalarOf(s).text
		}
	}
	return ""
}

// section decodes the block n into the struct into. where is the
// section's name for errors, and index its place in a list of sections.
func (d *decoder) section(k *key, n ast.Node, into reflect.Value, where string, index int32) {
	var values []*ast.MappingValueNode
	at := position{line: 1, col: 1}
	if n != nil {
		var ok bool
		if values, ok = pairs(n); !ok {
			d.fail(start(n), prefix(where)+"expected "+k.expects()+", found "+describe(n), withAddress(k.braces(), n))
			return
		}
		at = start(n)
	}
	where = d.nameZone(k, values, where)
	seen := make(map[string]position, len(values))
	misspelt := map[string]bool{}
	for _, pair := range values {
		if len(d.errs) >= MaxErrors {
			return
		}
		name, here := keyText(pair.Key), start(pair.Key)
		if first, again := seen[name]; again {
			d.fail(
				here,
				fmt.Sprintf("%skey %s is already set at %s", prefix(where), quote(name), d.line(first, here)),
				"remove one of them",
			)
			continue
		}
		seen[name] = here
		child := k.child(name)
		if child == nil {
			misspelt[d.unknown(k, name, pair.Value, here, where)] = true
			continue
		}
		d.holder = into
		d.value(child, pair.Value, here, into.FieldByIndex(child.field), join(where, name), index)
	}
	for _, child := range k.keys {
		if _, written := seen[child.name]; child.required && !written && !misspelt[child.name] && !unavailable(values) {
			d.fail(at, fmt.Sprintf("%skey %s is missing", prefix(where), quote(child.name)), child.toAdd())
		}
	}
}

// value decodes what stands behind the key k at here.
func (d *decoder) value(k *key, n ast.Node, here position, into reflect.Value, where string, index int32) {
	if _, empty := n.(*ast.NullNode); empty || n == nil {
		if k.form == formSection && !k.list {
			return // a block whose keys are all commented out
		}
		def := cmp.Or(k.unset, k.shown(d.role))
		want := k.expects()
		if k.list {
			want = "a list"
		}
		d.fail(here, where+": expected "+want+", found nothing", "leave the key out for its default, "+def)
		return
	}
	at := start(n)
	if k.form == formSection && !k.list {
		at = here
	}
	before, set := d.cols[place{k.id, index}]
	if d.cols[place{k.id, index}] = d.mark(
		at,
	); set && before.file != d.file && !k.join && k.form != formSection &&
		!strings.Contains(k.path, "[]") {
		d.fail(
			here,
			fmt.Sprintf("%s is already set at %s", where, d.line(before, d.mark(here))),
			"remove one of them: only lists of blocks may be in several files",
		)
		return
	}
	switch {
	case !k.list && k.form == formSection:
		d.section(k, n, into, where, index)
	case k.mapped:
		d.mapping(k, n, into, where)
	case !k.list:
		d.scalar(k, n, into, where, index)
	default:
		sequence, ok := n.(*ast.SequenceNode)
		if s, one := n.(ast.ScalarNode); one && k.lone {
			if scalarOf(s).text != "" { // as in tsig: "", which is none
				d.note(k, index, start(n))
				d.elements(k, &ast.SequenceNode{Values: []ast.Node{n}}, into, where, index)
			}
			return
		}
		if _, block := pairs(n); block && k.lone && len(k.beside) > 0 {
			sequence, ok = &ast.SequenceNode{Start: n.GetToken(), Values: []ast.Node{n}}, true
		}
		if !ok {
			d.noList(k, n, into, where, index)
			return
		}
		d.note(k, index, start(n))
		d.elements(k, sequence, into, where, index)
	}
}

// noList reports what stands where a list is due. A value is proposed in brackets if the list takes it; what is wrong
// with it is reported otherwise, too.
func (d *decoder) noList(k *key, n ast.Node, into reflect.Value, where string, index int32) {
	hint := "write " + k.name + ": [" + strings.Trim(k.example(), "[]") + "]"
	if strings.HasPrefix(k.path, "names") { // whose keys are names
		hint = strings.Replace(hint, k.name+": ", "", 1)
	}
	var also []*Error
	s, one := n.(ast.ScalarNode)
	switch {
	case k.form == formSection:
		hint = "begin each block of the list with a dash, or put it in brackets: " + k.name + ": [{…}]"
		if block := strings.TrimPrefix(k.braces(), "write "); withAddress(block, n) != block {
			hint = "write [" + withAddress(block, n) + "]"
		}
	case one:
		before := len(d.errs)
		d.elements(k, &ast.SequenceNode{Start: n.GetToken(), Values: []ast.Node{n}}, into, where, index)
		also = slices.Clone(d.errs[before:])
		d.errs = d.errs[:before]
		if text := scalarOf(s); len(also) > 0 {
			hint = "write it in brackets"
		} else if hint = "write [" + text.text + "]"; !text.number {
			hint = "write [" + strconv.Quote(text.text) + "]"
		}
	}
	d.fail(start(n), where+": expected a list, found "+describe(n), hint)
	d.errs = append(d.errs, also...)
}

// mapping decodes a block whose keys are values themselves: each is a section of two.
func (d *decoder) mapping(k *key, n ast.Node, into reflect.Value, where string) {
	values, ok := pairs(n)
	if !ok {
		d.fail(
			start(n),
			where+": expected a block, found "+describe(n),
			"write "+k.keys[0].expects()+", a colon, and "+k.keys[1].expects(),
		)
		return
	}
	first, second := k.keys[0], k.keys[1]
	base := into.Len() // of other files
	out := reflect.AppendSlice(into, reflect.MakeSlice(into.Type(), len(values), len(values)))
	if d.names == nil {
		d.names = make(map[string]position, len(values))
	}
	for i, pair := range values {
		if len(d.errs) >= MaxErrors {
			return
		}
		i += base
		text, here, index := keyText(pair.Key), d.mark(start(pair.Key)), int32(i)
		v, p := first.parse(scalar{text: text}, d.folder)
		if p != nil {
			d.fail(here, where+": "+p.text, p.hint)
			continue
		}
		if name, ok := v.([]byte); ok {
			text = string(wire.Lower(nil, name))
		}
		if before, again := d.names[text]; again {
			d.fail(
				here,
				fmt.Sprintf("%s: %s is already set at %s", where, quote(keyText(pair.Key)), d.line(before, here)),
				"write all its addresses into one list",
			)
			continue
		}
		d.names[text] = here
		d.note(first, index, here)
		d.cols[place{first.id, index}] = here
		out.Index(i).FieldByIndex(first.field).Set(reflect.ValueOf(v))
		value := pair.Value
		if s, ok := value.(ast.ScalarNode); ok && second.list {
			if _, empty := value.(*ast.NullNode); !empty {
				value = &ast.SequenceNode{Start: s.GetToken(), Values: []ast.Node{s}}
			}
		}
		d.value(second, value, here, out.Index(i).FieldByIndex(second.field), where+"."+keyText(pair.Key), index)
		if second.list && out.Index(i).FieldByIndex(second.field).Len() == 0 && len(d.errs) == 0 {
			d.fail(here, where+"."+keyText(pair.Key)+": expected at least one address, found an empty list", "")
		}
	}
	into.Set(out)
}

// elements decodes a list, or the part of it that is in this file.
func (d *decoder) elements(k *key, list *ast.SequenceNode, into reflect.Value, where string, index int32) {
	values, base := list.Values, 0
	if len(k.beside) > 0 {
		values = d.blocks(k, list.Values, where)
	}
	out := reflect.MakeSlice(into.Type(), 0, len(values))
	if k.join {
		base, out = into.Len(), into
	}
	if k.remote {
		d.forget(k)
	}
	for i, n := range values {
		if len(d.errs) >= MaxErrors {
			return
		}
		i += base
		if list, ok := d.networkOf(k, n, fmt.Sprintf("%s[%d]", where, i)); ok {
			out = d.addNetwork(k, n, out, list, index)
			continue
		}
		one, here := reflect.New(k.typ).Elem(), fmt.Sprintf("%s[%d]", where, i)
		switch {
		case n == nil:
			d.fail(start(list), here+": expected "+k.expects()+", found nothing", "")
		case k.form == formSection && i < math.MaxInt32:
			setDefaults(k, one, d.role)
			if k.path == "zones" {
				d.inherit(n, one)
			}
			d.section(k, n, one, here, k.nested(index, i))
			if named, ok := one.Interface().(Network); ok {
				d.name(named)
			}
		case k.remote && d.remoteOf(k, n) != nil:
			for range d.addRemote(k, n, &out, here) {
				d.items[place{k.id, index}] = append(d.items[place{k.id, index}], d.mark(start(n)))
			}
			continue
		default:
			at := place{k.id, index}
			d.items[at] = append(d.items[at], d.mark(start(n)))
			d.scalar(k, n, one, here, index)
		}
		out = reflect.Append(out, one)
	}
	into.Set(out)
}

// blocks takes what is beside the values of a list, as in {interface: lan0}, and returns
// the rest.
func (d *decoder) blocks(k *key, list []ast.Node, where string) (rest []ast.Node) {
	words := make([]string, len(k.beside))
	for i, b := range k.beside {
		words[i] = "{" + b.word + ": " + strings.ToUpper(b.key.word()) + "}"
	}
	for _, b := range k.beside {
		d.holder.FieldByName(b.field).SetZero() // a template's
	}
	for i, n := range list {
		if r := d.remoteOf(k, n); r != nil && (d.networks[r.text] != nil || k.who && (r.text == "everybody" || r.text == "nobody")) {
			rest = append(rest, n)
			continue
		} else if r != nil && d.takesRemotes(k) {
			if field := d.holder.FieldByName(k.remotes()); d.knownRemote(k, r, fmt.Sprintf("%s[%d]", where, i)) {
				field.Set(reflect.Append(field, reflect.ValueOf(r.text)))
			}
			continue
		}
		values, ok := pairs(n)
		if !ok {
			rest = append(rest, n)
			continue
		}
		here := fmt.Sprintf("%s[%d]", where, i)
		at := -1
		if len(values) == 1 {
			at = slices.IndexFunc(k.beside, func(b beside) bool { return b.word == keyText(values[0].Key) })
		}
		if at < 0 {
			if hint := unquoted(k, n); hint != "" {
				d.fail(start(n), here+": expected "+k.expects()+", found "+describe(n), hint)
				continue
			}
			d.fail(start(n), here+": expected "+strings.Join(words, " or ")+", found "+describe(n), "")
			continue
		}
		b := k.beside[at]
		value, ok := values[0].Value.(ast.ScalarNode)
		if _, empty := values[0].Value.(*ast.NullNode); !ok || empty {
			d.fail(start(n), here+": expected "+words[at]+", found "+describe(n), "")
			continue
		}
		field := d.holder.FieldByName(b.field)
		if list, ok := d.networkOf(b.key, value, here+"."+b.word); ok {
			field.Set(reflect.AppendSlice(field, reflect.ValueOf(list)))
			continue
		}
		v, p := b.key.parse(scalarOf(value), d.folder)
		if p != nil {
			d.fail(start(value), here+"."+b.word+": "+p.text, p.hint)
			continue
		}
		if b.word == "remote" && !d.knownRemote(b.key, &reference{scalarOf(value).text, start(value)}, here) {
			continue
		}
		field.Set(reflect.Append(field, reflect.ValueOf(v)))
	}
	return rest
}

// word says what is to stand for the value of a block.
func (k *key) word() string {
	switch k.form {
	case formPrefix:
		return "network"
	case formAnyHost:
		return "192.0.2.9"
	}
	return "name"
}

// isInterface reports whether the system could have an interface of that name.
func isInterface(name string) bool {
	return name != "" && len(name) <= maxInterface && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == '/' || r == ':' || r > '~'
	})
}

// scalar decodes one value.
func (d *decoder) scalar(k *key, n ast.Node, into reflect.Value, where string, index int32) {
	s, ok := n.(ast.ScalarNode)
	if _, empty := n.(*ast.NullNode); !ok || empty {
		d.fail(start(n), where+": expected "+k.expects()+", found "+describe(n), unquoted(k, n))
		return
	}
	folder := d.folder
	if k.form == formPath && strings.HasPrefix(k.path, "templates[]") {
		folder = strings.ReplaceAll(folder, "%", "%%") // what follows is a pattern
	}
	v, p := k.parse(scalarOf(s), folder)
	if p != nil {
		d.fail(start(n), where+": "+p.text, p.hint)
		return
	}
	into.Set(reflect.ValueOf(v))
	d.note(k, index, start(n))
}

// note keeps where a value came from.
func (d *decoder) note(k *key, index int32, at position) {
	d.config.origins[place{k.id, index}] = d.mark(at)
}

// unknown reports a key that the table does not have, and returns the one that
// was probably meant.
func (d *decoder) unknown(k *key, name string, value ast.Node, here position, where string) string {
	if remedy, ok := laterKeys()[join(strings.TrimSuffix(k.path, "[]"), name)]; ok {
		d.fail(here, fmt.Sprintf("%s%s is not available in this version (docs/NOT-YET.md)", prefix(where), quote(name)), remedy)
		return ""
	}
	near := nearest(name, append(k.names(), laterNames(k)...))
	hint := meant(near)
	if remedy, ok := laterKeys()[join(strings.TrimSuffix(k.path, "[]"), near)]; ok && near != "" {
		hint = quote(near) + " is not available in this version (docs/NOT-YET.md): " + remedy
	}
	if hint == "" {
		hint = "the keys here are " + strings.Join(k.names(), ", ")
		if here := foreign(name); here != "" {
			hint = "write " + withAddress(here, value) + " instead"
		} else if other := elsewhere(d.table, name); other != "" && other != join(k.path, name) {
			hint = "it is a key of another block: " + other
		}
	}
	if here := foreignIn(k.path, name); here != "" {
		hint, near = here, ""
	}
	d.fail(here, fmt.Sprintf("%skey %s is not known", prefix(where), quote(name)), hint)
	return near
}

// elsewhere returns the path of the only key of the whole table with a name.
func elsewhere(k *key, name string) string {
	found := ""
	for _, c := range k.keys {
		if c.path+"[]." == viewsPath {
			continue // most of its keys are those of the whole server
		}
		if c.name == name {
			found = c.path
		} else if path := elsewhere(c, name); path != "" {
			if found != "" {
				return ""
			}
			found = path
		}
	}
	return found
}

// unavailable reports whether a block has a key of a later version: its missing
// keys are not worth an error then.
func unavailable(values []*ast.MappingValueNode) bool {
	for _, pair := range values {
		if _, ok := laterKeys()["zones."+keyText(pair.Key)]; ok {
			return true
		}
	}
	return false
}

// nameZone returns where, said with the name of the zone that the block has.
func (d *decoder) nameZone(k *key, values []*ast.MappingValueNode, where string) string {
	if k.path != "zones" {
		return where
	}
	at := position{}
	for _, pair := range values {
		if s, ok := pair.Value.(ast.ScalarNode); ok && keyText(pair.Key) == "name" {
			where, at = "zone "+quote(scalarOf(s).text), d.mark(start(s))
		}
	}
	d.zones = append(d.zones, at)
	return where
}

func keyText(n ast.MapKeyNode) string {
	if s, ok := n.(ast.ScalarNode); ok {
		return scalarOf(s).text
	}
	return n.String()
}

func join(where, name string) string {
	if where == "" {
		return name
	}
	if strings.HasPrefix(where, "zone ") {
		return where + ": " + name
	}
	return where + "." + name
}

func prefix(where string) string {
	if where == "" {
		return ""
	}
	return where + ": "
}
