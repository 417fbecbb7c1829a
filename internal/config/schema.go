package config

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// schemaDialect is the version of JSON Schema that Schema writes.
const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

// Schema returns a JSON Schema of the configuration file, for editors: it knows
// every key, its documentation, its default and the form of its values. It
// cannot tell contradictions; port53 config check does.
func Schema() []byte {
	root := table().schema()
	root["$schema"] = schemaDialect
	root["title"] = "port53.yaml"
	root["description"] = "The configuration of port53."
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic("config: the schema is made of strings, numbers and maps: " + err.Error())
	}
	return b.Bytes()
}

// remoteSchema is the name of a remote.
func remoteSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": "^[A-Za-z0-9_.-]*[A-Za-z][A-Za-z0-9_.-]*$"}
}

// schema returns the schema of what stands behind a key.
func (k *key) schema() map[string]any {
	s := k.valueSchema()
	if k.remote || k.list && k.form == formPrefix {
		s = map[string]any{"anyOf": []any{s, remoteSchema()}}
	}
	switch {
	case k.lone:
		s = map[string]any{"anyOf": []any{s, map[string]any{"type": "array", "items": s}}}
	case k.mapped:
		one := k.keys[1].valueSchema()
		s = map[string]any{
			"type":                 "object",
			"additionalProperties": map[string]any{"anyOf": []any{one, map[string]any{"type": "array", "items": one, "minItems": 1}}},
		}
	case k.list:
		s = map[string]any{"type": "array", "items": s}
	}
	if k.doc != "" {
		s["description"] = k.doc
	}
	switch {
	case k.list && k.hasDef:
		s["default"] = append([]string{}, k.defaults("")...)
	case k.hasDef:
		s["default"] = k.jsonDefault()
	}
	return s
}

func (k *key) jsonDefault() any {
	switch k.form {
	case formBool:
		return k.def == "true"
	case formInt, formRate:
		n, err := strconv.Atoi(k.def)
		if err == nil {
			return n
		}
	}
	return k.def
}

// valueSchema returns the schema of one value.
func (k *key) valueSchema() map[string]any {
	text := func(pattern string) map[string]any {
		return map[string]any{"type": "string", "pattern": pattern}
	}
	switch k.form {
	case formSection:
		return k.sectionSchema()
	case formBool:
		return map[string]any{"type": "boolean"}
	case formInt:
		return k.numberSchema()
	case formRate:
		return map[string]any{"anyOf": []any{k.numberSchema(), text("^[0-9]+/s$")}}
	case formSize:
		return text(`^([0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|TiB))+$`)
	case formDuration:
		return text(`^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+$`)
	case formRole:
		return map[string]any{"enum": roles()}
	case formWord:
		return map[string]any{"enum": k.words}
	case formHidden:
		return map[string]any{"type": "string", "maxLength": maxCharacterString}
	case formText:
		return map[string]any{"type": "string", "maxLength": k.maxText()}
	case formUser:
		return map[string]any{"type": []string{"string", "integer"}, "maxLength": maxUser}
	case formPrefix:
		return k.orBeside(text("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"))
	case formAnswer:
		return k.orBeside(text("^(" + strings.Join(answerWords(), "|") + "|[0-9A-Fa-f:.]+)$"))
	case formURL:
		return text("^(https?://.+)?$")
	case formHours, formTimeZone:
		return map[string]any{"type": "string"}
	case formInterface:
		return map[string]any{"type": "string", "maxLength": maxInterface}
	case formAddress:
		return text(`^(\[[0-9A-Fa-f:.%a-z]+\]|[0-9A-Fa-f:.]+)(:[0-9]{1,5})?$`)
	case formAddressOrOff:
		return text(`^(off|(\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+)(:[0-9]{1,5})?)$`)
	case formUpstream:
		return text(`^(\[[0-9A-Fa-f:.%a-z0-9]+\]|[0-9A-Fa-f:.%a-z0-9]+)(:[0-9]{1,5})?$`)
	case formServer:
		return text(`^((tls|https)://)?(\[[0-9A-Fa-f:.%a-z0-9]+\]|[0-9A-Fa-f:.%a-z0-9]+)(:[0-9]{1,5})?(/[^#]*)?(#.+)?$`)
	case formHost, formAnyHost:
		return text(`^[0-9A-Fa-f:.]+$`)
	case formTime:
		return text(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9:]{5}))?$`)
	case formTimeOrNow:
		return text(`^(now|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9:]{5}))?)$`)
	case formName, formPattern, formPath, formPathOrOff, formFileOrOff, formFiles:
		return map[string]any{"type": []string{"string", "number"}}
	}
	return map[string]any{}
}

// orBeside returns the schema of one value of a list, or of a block that may stand in its place.
func (k *key) orBeside(value map[string]any) map[string]any {
	forms := []any{value}
	for _, b := range k.beside {
		forms = append(forms, map[string]any{
			"type": "object", "additionalProperties": false, "required": []string{b.word},
			"properties": map[string]any{b.word: b.key.valueSchema()},
		})
	}
	if len(forms) == 1 {
		return value
	}
	return map[string]any{"anyOf": forms}
}

func (k *key) numberSchema() map[string]any {
	s := map[string]any{"type": "integer"}
	if n, err := strconv.Atoi(k.min); err == nil {
		s["minimum"] = n
	}
	if n, err := strconv.Atoi(k.max); err == nil {
		s["maximum"] = n
	}
	return s
}

func (k *key) sectionSchema() map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, c := range k.keys {
		properties[c.name] = c.schema()
		if c.form == formSection && !c.list { // its keys may all be commented out
			properties[c.name].(map[string]any)["type"] = []string{"object", "null"}
		}
		if c.required {
			required = append(required, c.name)
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// Reference returns the reference of all keys in Markdown.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	root := table()
	b.WriteString("\n## The whole file\n\n")
	b.WriteString(tableHead)
	for _, k := range root.keys {
		if k.form == formSection {
			b.WriteString("| [`" + k.name + "`](#" + k.name + ") | " + k.block() + " | | " + cell(k.doc) + " | |\n")
			continue
		}
		k.referenceRow(&b)
	}
	for _, k := range root.keys {
		if k.form == formSection {
			k.referenceSection(&b)
		}
	}
	b.WriteString(referenceLater)
	return b.Bytes()
}

const tableHead = "| key | value | default | what it is | why this default |\n| --- | --- | --- | --- | --- |\n"

func (k *key) referenceSection(b *bytes.Buffer) {
	b.WriteString("\n## " + k.path + "\n\n" + k.doc + "\n\n")
	if k.mapped {
		k.referencePairs(b)
		return
	}
	b.WriteString(tableHead)
	keys := k.keys
	if k.path == "templates" {
		keys = keys[:1] // the others are those of zones
	}
	for _, c := range keys {
		if c.form == formSection {
			b.WriteString(
				"| [`" + c.name + "`](#" + anchor(c.path) + ") | " + c.block() + " | | " + cell(c.doc) + " | |\n",
			)
			continue
		}
		c.referenceRow(b)
	}
	for _, c := range keys {
		if c.form == formSection {
			c.referenceSection(b)
		}
	}
}

// referencePairs describes a section whose keys are the operator's own.
func (k *key) referencePairs(b *bytes.Buffer) {
	b.WriteString("| part of the pair " + k.pair() + " | value | what it is |\n| --- | --- | --- |\n")
	for _, c := range k.keys {
		b.WriteString("| " + strings.ToUpper(c.name) + " | " + cell(c.listed()) + " | " + cell(c.doc) + " |\n")
	}
}

// anchor returns where a link to the heading of a path leads: GitHub leaves out dots and brackets.
func anchor(path string) string { return strings.NewReplacer(".", "", "[", "", "]", "").Replace(path) }

// block says in the reference that a key is a section, or a list of them.
func (k *key) block() string {
	switch {
	case k.mapped:
		return k.pair() + " pairs"
	case k.list:
		return "list of blocks"
	}
	return "block"
}

// pair is what stands for a pair of a section whose keys are the operator's own.
func (k *key) pair() string {
	return strings.ToUpper(k.keys[0].name) + ": " + strings.ToUpper(k.keys[1].name)
}

func (k *key) referenceRow(b *bytes.Buffer) {
	shown := k.shown("")
	if one, ok := strings.CutPrefix(shown, "["); ok && k.lone && len(k.defaults("")) == 1 {
		shown = strings.TrimSuffix(one, "]")
	}
	def := "`" + shown + "`"
	outer, within := strings.CutPrefix(k.path, viewsPath)
	switch {
	case k.required:
		def = "required"
	case within && strings.Count(outer, ".") == 1 && strings.HasPrefix(k.why, "As for "+outer):
		def = "as `" + outer + "`" // it is taken from the rest of the file, not from a constant
	case k.unset != "":
		def = k.unset
	case def == "``" || def == "`\"\"`" || !k.hasDef && !k.list:
		def = "none"
	}
	if k.internal != k.def {
		def += "; " + RoleInternalResolver + " and " + RoleDomainController + " `" + k.shown(RoleInternalResolver) + "`"
	}
	if k.public != k.def {
		def += "; " + RolePublicResolver + " `" + k.shown(RolePublicResolver) + "`"
	}
	b.WriteString("| `" + k.name + "` | " + cell(k.listed()) + " | " + def + " | " + cell(k.doc) + " | " + cell(k.why) + " |\n")
}

// cell escapes what would end a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

const referenceHead = `# Configuration

<!-- Generated from internal/config by go generate ./internal/config: do not edit. -->

port53 reads one YAML file. ` + "`port53 config check --config FILE`" + ` checks it and reports the same errors as
` + "`port53 serve`" + `; ` + "`port53 config show`" + ` prints every value in effect and where it came from;
` + "`port53 config init`" + ` prints a sample file. Editors that support JSON Schema can check the file against
` + "`docs/port53.schema.json`" + `.

` + "```yaml" + `
role: authoritative
listen: [192.0.2.53, "[2001:db8::53]"]
zones:
  - {name: example.com, file: example.com.zone}
  - {name: example.net, file: example.net.zone}
` + "```" + `

` + "```yaml" + `
role: internal-resolver
listen: [0.0.0.0, "::"]
resolver:
  allow: [10.0.0.0/8, "fd00::/8"]
  forward: [{zone: corp.example, to: [10.0.0.5, 10.0.0.6]}]
` + "```" + `

Settings that zones share are written once, and the configuration can be split into files:

` + "```yaml" + `
role: authoritative
# include: [conf.d/*.yaml]       # more files; each may have zones, keys, remotes and templates of its own
remotes:
  - {name: ns2, addresses: [192.0.2.2, "2001:db8::2"], tsig: xfr}
  - {name: hidden, addresses: "192.0.2.9:5353", tsig: xfr}
templates:
  - {name: default, file: zones/%s.zone, secondaries: [ns2]}
  - {name: followed, primaries: [hidden], notify: [ns2]}
zones:
  - {name: example.com}                            # zones/example.com.zone, with ns2 as secondary
  - {name: example.net, template: followed}        # transferred from hidden
  - {name: example.org, secondaries: [], serial: date}
` + "```" + `

- Unknown keys, keys set twice and malformed values are errors. Each error has the file, line and column, what was
  expected, and usually what to do.
- A zone's own setting takes precedence over its template's, key by key. A list in the zone replaces the template's
  list. A zone that sets any of ` + "`file`, `primaries`, `stored` and `catalog`" + ` takes none of these four from the template.
  This rule applies to a zone with ` + "`catalog: consume`" + `, too: its ` + "`primaries`" + ` must be set in the zone itself.
- Plain numbers have no unit. Times have a unit (` + "`500ms 30s 5m 1h 1d 1w`" + `, also ` + "`1h30m` and `1.8s`" + `), and so do sizes
  (` + "`64MiB 1.5GiB`" + `); rates are per second (` + "`20/s`, or just `20`" + `). Booleans are ` + "`true`" + ` and ` + "`false`" + `.
- Points in time are ` + "`2026-10-20T12:00:00Z`" + `, or a date, which stands for 00:00 UTC on that day.
  There is one exception: a date in the ` + "`until`" + ` of a grant includes that whole day.
- Addresses are ` + "`192.0.2.1`, `\"192.0.2.1:5353\"`, `\"::1\"` or `\"[::1]:5353\"`" + `; networks are ` + "`10.0.0.0/8` or `\"fd00::/8\"`" + `,
  and a single address stands for a network with one address.
- Relative paths are relative to the directory of the file they appear in: the configuration file, or an included file.
- YAML anchors, aliases, merge keys, tags, block scalars and multiple documents are not supported. A file may be up to 16 MiB.
- If a default depends on the role, the reference has the general default first, and after it the defaults of the roles that differ.

## Roles

| role | who may query | names outside the zones | rate limit |
| --- | --- | --- | --- |
| authoritative | everyone, unless ` + "`policy.allow`" + ` is set | refused; ` + "`resolver`" + ` must not be set | on |
| internal-resolver | the clients in ` + "`resolver.allow`" + ` (by default loopback and the private networks of this machine's interfaces); ` + "`policy.allow`" + `, if set, decides who may query at all | resolved | off |
| domain-controller | like ` + "`internal-resolver`" + ` | resolved | off |
| public-resolver | everyone, unless ` + "`policy.allow`" + ` is set; ` + "`resolver.allow`" + ` limits only recursion | resolved | on; the limit cannot be turned off |

- authoritative: publishes its zones, as primary or secondary, and resolves nothing.
- internal-resolver: resolves names for the machines of a home, an office or a data centre, and may serve zones for them.
- domain-controller: an internal-resolver that works alongside the domain controllers of an Active Directory domain, but is
  not itself a domain controller. This role behaves like internal-resolver; only the sample of ` + "`port53 config init`" + ` differs: the sample
  has a stub for the domain's own names.
- public-resolver: resolves names for strangers, with rate limits.

Without a configuration file port53 is an ` + "`internal-resolver`" + ` on 127.0.0.1 and ::1. An ` + "`internal-resolver`" + ` or
` + "`domain-controller`" + ` whose ` + "`resolver.allow`" + ` has a public network larger than a /8 of IPv4 or a /19 of IPv6, such as 0.0.0.0/0, does not start:
such a server is an open resolver, and only ` + "`public-resolver`" + ` may be one.
`

const referenceLater = `
## Keys that do not exist yet

[NOT-YET.md](NOT-YET.md) lists what port53 does not do yet. port53 recognizes the names of the keys that are planned: a file that
uses such a key gets an error that says what to do instead.
`
