package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"port53/internal/wire"
)

// defaultTemplate is the template of zones that name none, as in Knot.
const defaultTemplate = "default"

// noTemplate is the index of the template of a zone that has none.
const noTemplate = -1

// templateOf returns the index of the template of a zone, by the zone's index.
func (d *decoder) templateOf(zone int32) int32 {
	if d.config == nil || int(zone) >= len(d.config.templates) {
		return noTemplate
	}
	return d.config.templates[zone]
}

// inherit gives the zone that n is what its template says and it does not.
func (d *decoder) inherit(n ast.Node, zone reflect.Value) {
	values, _ := pairs(n)
	name, at, named, elsewhere := defaultTemplate, position{}, false, false
	zoneName := ""
	for _, pair := range values {
		s, ok := pair.Value.(ast.ScalarNode)
		switch key := keyText(pair.Key); {
		case key == "template" && ok:
			name, at, named = scalarOf(s).text, start(s), true
		case key == "name" && ok:
			zoneName = scalarOf(s).text
		case key == "file", key == "primaries", key == "catalog", key == "stored":
			elsewhere = true
		}
	}
	i := slices.IndexFunc(d.config.Templates, func(t Template) bool { return t.Name == name })
	if i < 0 && named && name != "" {
		var names []string
		for _, t := range d.config.Templates {
			names = append(names, t.Name)
		}
		hint := meant(nearest(name, names))
		if hint == "" {
			hint = "define it: templates: [{name: " + yamlText(name) + "}]"
		}
		d.fail(at, fmt.Sprintf("zone %s: there is no template %s", quote(zoneName), quote(name)), hint)
	}
	if name == "" {
		i = noTemplate
	}
	d.config.templates = append(d.config.templates, int32(max(i, noTemplate)))
	if i < 0 {
		return
	}
	z := zone.Addr().Interface().(*Zone)
	z.ZoneSettings = d.config.Templates[i].clone()
	if elsewhere {
		z.File, z.Primaries, z.Catalog, z.Stored = "", nil, "none", false
		d.holder = zone
		d.forget(d.table.find("zones.primaries"))
		return
	}
	if z.File != "" {
		lower, err := wire.ParseName(zoneName)
		if err != nil {
			return // which is told of
		}
		z.File = expand(z.File, wire.Lower(nil, lower))
	}
}

// clone returns settings that share nothing which is written to.
func (z *ZoneSettings) clone() ZoneSettings {
	c := *z
	c.Keyed, c.TSIG, c.TransferKeys = slices.Clone(z.Keyed), slices.Clone(z.TSIG), slices.Clone(z.TransferKeys)
	c.Members.Keyed, c.Members.Groups = slices.Clone(z.Members.Keyed), slices.Clone(z.Members.Groups)
	// A list that the zone adds to is not to grow into the template's.
	c.TransferAlone, c.TransferRemotes = slices.Clip(z.TransferAlone), slices.Clip(z.TransferRemotes)
	c.Members.TransferRemotes = slices.Clip(z.Members.TransferRemotes)
	return c
}

// expand returns the path that a template has for the file of a zone.
func expand(path string, name []byte) string {
	text := strings.ReplaceAll(nameText(name), "/", `\047`) // it is one component of the path
	if text == "." {
		text = "root"
	}
	return strings.NewReplacer("%%", "%", "%s", text).Replace(path)
}

// A reference is the name of a remote where a server may stand.
type reference struct {
	text string
	at   position
}

// takesRemotes reports whether a list has a field of its own for the remotes in it.
func (d *decoder) takesRemotes(k *key) bool {
	return slices.ContainsFunc(k.beside, func(b beside) bool { return b.word == "remote" })
}

// remotes returns the name of that field.
func (k *key) remotes() string {
	for _, b := range k.beside {
		if b.word == "remote" {
			return b.field
		}
	}
	return ""
}

// remoteOf returns what is a remote's name in the list of k, or nil if n is something else:
// addresses and networks have no letters, or a colon.
func (d *decoder) remoteOf(k *key, n ast.Node) *reference {
	s, ok := n.(ast.ScalarNode)
	if _, empty := n.(*ast.NullNode); !k.remote || !ok || empty || !remoteName(scalarOf(s).text) {
		return nil
	}
	return &reference{scalarOf(s).text, start(n)}
}

// remoteName reports whether text can be the name of a remote, and no address.
func remoteName(text string) bool {
	for _, r := range text {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r)) {
			return false
		}
	}
	return strings.ContainsAny(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz")
}

// knownRemote reports whether there is a remote of that name; that there is none is an error.
func (d *decoder) knownRemote(k *key, r *reference, where string) bool {
	if d.config.Remote(r.text) != nil {
		return true
	}
	names := make([]string, len(d.config.Remotes))
	for i := range d.config.Remotes {
		names[i] = d.config.Remotes[i].Name
	}
	hint := d.foreignNetwork(k, r.text)
	if hint == "" {
		hint = meant(nearest(r.text, names))
	}
	if hint == "" && remoteName(r.text) {
		hint = "names are not looked up: write the address, or define it: remotes: [{name: " + yamlText(
			r.text,
		) + ", addresses: [192.0.2.1]}]"
	}
	d.fail(r.at, fmt.Sprintf("%s: there is no remote %s", where, quote(r.text)), hint)
	return false
}

// addRemote adds the addresses of the remote that n names to a list, and notes its key. It
// returns how many they are.
func (d *decoder) addRemote(k *key, n ast.Node, out *reflect.Value, where string) int {
	ref := d.remoteOf(k, n)
	if !d.knownRemote(k, ref, where) {
		return 0
	}
	r := d.config.Remote(ref.text)
	for _, a := range r.servers() {
		v := reflect.ValueOf(a)
		if k.typ == reflect.TypeFor[netip.Prefix]() {
			host := a.Addr().WithZone("")
			v = reflect.ValueOf(netip.PrefixFrom(host, host.BitLen()))
		}
		*out = reflect.Append(*out, v)
		if keyed, ok := d.keyed(); ok && len(r.TSIG) > 1 {
			*keyed = append(*keyed, KeyedServer{Addr: a, Key: wire.Lower(nil, r.TSIG), list: k.id, remote: r.Name})
		}
	}
	return len(r.Addresses)
}

// keyed returns the list of servers with keys of their own that the section in hand has.
func (d *decoder) keyed() (*[]KeyedServer, bool) {
	field := d.holder.FieldByName("Keyed")
	if !field.IsValid() {
		return nil, false
	}
	return field.Addr().Interface().(*[]KeyedServer), true
}

// forget drops what a template has noted of the servers in the list of k.
func (d *decoder) forget(k *key) {
	if keyed, ok := d.keyed(); ok {
		*keyed = slices.DeleteFunc(*keyed, func(s KeyedServer) bool { return s.list == k.id || s.list == k.twin })
	}
}

// checkRemotes reports remotes and templates that are no good by themselves.
func (d *decoder) checkRemotes() {
	keys := map[string]bool{}
	for _, k := range d.config.Keys {
		keys[string(wire.Lower(nil, k.Name))] = true
	}
	seen := map[string]position{}
	for i, r := range d.config.Remotes {
		at, _ := d.atIndex("remotes.name", int32(i))
		if first, again := seen[r.Name]; again {
			d.fail(at, fmt.Sprintf("remote %s is already defined at %s", quote(r.Name), d.line(first, at)), "remove one of them")
		}
		seen[r.Name] = at
		if !remoteName(r.Name) {
			d.fail(
				at,
				fmt.Sprintf("remotes[%d].name: expected letters, digits and - _ . with at least one letter, found %s", i, quote(r.Name)),
				"",
			)
		}
		if at, _ := d.atIndex("remotes.addresses", int32(i)); len(r.Addresses) == 0 {
			d.fail(at, "remote "+quote(r.Name)+": expected at least one address, found an empty list", "")
		}
		if at, _ := d.atIndex("remotes.tsig", int32(i)); len(r.TSIG) > 1 && !keys[string(wire.Lower(nil, r.TSIG))] {
			d.noKey(at, "remote "+quote(r.Name)+": ", r.TSIG)
		}
		d.checkSealed(i, &r.TLS)
		d.config.Remotes[i].Addresses = r.servers()
		d.checkShared(i)
	}
	clear(seen)
	for i, t := range d.config.Templates {
		at, _ := d.atIndex("templates.name", int32(i))
		if first, again := seen[t.Name]; again {
			d.fail(at, fmt.Sprintf("template %s is already defined at %s", quote(t.Name), d.line(first, at)), "remove one of them")
		}
		seen[t.Name] = at
		for path, names := range map[string][][]byte{"templates.tsig": t.TSIG, "templates.allow_transfer": t.TransferKeys} {
			for _, name := range names {
				if at, _ := d.atIndex(path, int32(i)); len(name) > 1 && !keys[string(wire.Lower(nil, name))] {
					d.noKey(at, "template "+quote(t.Name)+": ", name)
				}
			}
		}
	}
}

// noKey reports the name of a key that is not there.
func (d *decoder) noKey(at position, what string, name []byte) {
	names := make([]string, len(d.config.Keys))
	for i, k := range d.config.Keys {
		names[i] = nameText(k.Name)
	}
	hint := meant(nearest(nameText(name), names))
	if hint == "" {
		hint = "define it: keys: [{name: " + yamlText(nameText(name)) + ", secret_file: " + yamlText("keys/"+nameText(name)) + "}]"
	}
	d.fail(at, fmt.Sprintf("%sthere is no key %s", what, quote(nameText(name))), hint)
}

// checkKeyed reports servers that one zone knows by two keys.
func (d *decoder) checkKeyed(at position, zone string, keyed []KeyedServer) {
	for i, a := range keyed {
		for _, b := range keyed[:i] {
			if a.Addr == b.Addr && string(a.Key) != string(b.Key) {
				d.fail(
					at,
					fmt.Sprintf(
						"%s%s is in remote %s with key %s, and in remote %s with key %s",
						zone,
						a.Addr,
						quote(b.remote),
						quote(nameText(b.Key)),
						quote(a.remote),
						quote(nameText(a.Key)),
					),
					"give the remotes one key, or name one of them",
				)
				return
			}
		}
	}
}
