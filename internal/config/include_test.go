package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"port53/internal/config"
)

// loaded loads a configuration of several files and returns what it sets, or its errors,
// with the folder left out.
func loaded(t *testing.T, files map[string]string) (*config.Config, string) {
	t.Helper()
	for _, name := range []string{"a.zone", "b.zone", "c.zone"} {
		files[name] = ""
	}
	folder := write(t, files)
	c, err := config.Load(filepath.Join(folder, "port53.yaml"))
	if err != nil {
		var es config.Errors
		if !errors.As(err, &es) {
			t.Fatalf("%T", err)
		}
		return nil, strings.ReplaceAll(es.Error(), folder+"/", "")
	}
	var b strings.Builder
	for _, s := range c.Effective() {
		if s.Origin != config.OriginDefault {
			fmt.Fprintf(&b, "%s: %s (%s)\n", s.Key, s.Value, s.Origin)
		}
	}
	return c, strings.ReplaceAll(b.String(), folder+"/", "")
}

const sharedKey = "keys: [{name: xfr, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\n"

func TestInclude(t *testing.T) {
	c, got := loaded(t, map[string]string{
		"port53.yaml":            "role: authoritative\ninclude: [conf.d/*.yaml, policy.yaml]\nzones:\n  - {name: a.example, file: a.zone}\n",
		"policy.yaml":            "policy: {deny: [192.0.2.0/24]}\nlisten: [127.0.0.1]\n",
		"conf.d/20-b.yaml":       "zones:\n  - {name: b.example, file: ../b.zone, tsig: xfr, secondaries: [192.0.2.1]}\npolicy: {allow: [10.0.0.0/8, 192.0.2.1]}\n",
		"conf.d/10-keys.yaml":    "include: keys/*/key.yaml\n",
		"conf.d/keys/x/key.yaml": "keys:\n  - name: xfr\n    secret: MDEyMzQ1Njc4OWFiY2RlZg==\n",
		"conf.d/keys/note":       "not a folder",
		"conf.d/.hidden.yaml":    "nonsense",
		"conf.d/20-b.yaml.bak":   "nonsense",
	})
	if c == nil {
		t.Fatal(got)
	}
	for _, want := range []string{
		"zones[0].name: a.example (port53.yaml:4)", "zones[1].name: b.example (conf.d/20-b.yaml:2)", "zones[1].file: ",
		"policy.allow: [10.0.0.0/8, 192.0.2.1/32] (conf.d/20-b.yaml:3)", "policy.deny: [192.0.2.0/24] (policy.yaml:1)",
		"keys[0].name: xfr (conf.d/keys/x/key.yaml:2)", "listen: [127.0.0.1:53] (policy.yaml:2)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	var names []string
	for _, f := range c.Files() {
		names = append(names, filepath.Base(f))
	}
	if want := []string{"port53.yaml", "10-keys.yaml", "key.yaml", "20-b.yaml", "policy.yaml"}; !slices.Equal(names, want) {
		t.Errorf("read %v, want %v", names, want)
	}
	if f := c.FileOf("keys.secret", 0); filepath.Base(f) != "key.yaml" {
		t.Errorf("the secret is in %s", f)
	}
	if f := c.IncludeDirs(); len(f) != 2 || filepath.Base(f[0]) != "conf.d" || filepath.Base(f[1]) != "keys" {
		t.Errorf("looked into %v", f)
	}
}

// TestIncludeErrors gives mistakes, and expects each with its place.
func TestIncludeErrors(t *testing.T) {
	const head = "role: authoritative\nzones: [{name: a.example, file: a.zone}]\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"missing", map[string]string{"port53.yaml": head + "include: [x.yaml]\n"}, "port53.yaml:3:11: include: x.yaml cannot be read: no such file or directory"},
		{"folder", map[string]string{"port53.yaml": head + "include: d\n", "d/x": ""}, "port53.yaml:3:10: include: d is a directory, not a file; write d/*.yaml for the files in it"},
		{"no folder", map[string]string{"port53.yaml": head + "include: d/*.yaml\n"}, "port53.yaml:3:10: include: directory d cannot be read: no such file or directory; mkdir d; a pattern may fit nothing in it"},
		{"bad pattern", map[string]string{"port53.yaml": head + "include: \"d[\"\n"}, `port53.yaml:3:10: include: "d[" is not a pattern; a [ needs its ], or a \ before it`},
		{"not text", map[string]string{"port53.yaml": head + "include: [{a: b}]\n"}, "port53.yaml:3:11: include[0]: expected a path, or a pattern such as conf.d/*.yaml, found a block"},
		{"empty", map[string]string{"port53.yaml": head + "include: [\"\"]\n"}, ""},
		{"itself", map[string]string{"port53.yaml": head + "include: \"*.yaml\"\n"}, "port53.yaml:3:10: include: port53.yaml would include itself; name the files that are included otherwise, or put them into a directory of their own"},
		{
			"cycle",
			map[string]string{"port53.yaml": head + "include: d/b.yaml\n", "d/b.yaml": "include: c.yaml\n", "d/c.yaml": "\ninclude: [../port53.yaml]\n"},
			"d/c.yaml:2:11: include: port53.yaml would include itself; remove it: port53.yaml includes d/b.yaml includes d/c.yaml",
		},
		{"twice", map[string]string{"port53.yaml": head + "include: [b.yaml, ./b.yaml]\n", "b.yaml": ""}, "port53.yaml:3:19: include: b.yaml is included already, at line 3; remove one of them"},
		{
			"by two",
			map[string]string{"port53.yaml": head + "include: [b.yaml, c.yaml]\n", "b.yaml": "include: d.yaml\n", "c.yaml": "include: d.yaml\n", "d.yaml": ""},
			"c.yaml:1:10: include: d.yaml is included already, at b.yaml:1; remove one of them",
		},
		{"syntax", map[string]string{"port53.yaml": head + "include: [b.yaml]\n", "b.yaml": "a: [\n"}, "b.yaml:1:4: this is not YAML"},
		{"unknown key", map[string]string{"port53.yaml": head + "include: [b.yaml]\n", "b.yaml": "\npolcy: {}\n"}, `b.yaml:2:1: key "polcy" is not known; did you mean "policy"?`},
		{"value", map[string]string{"port53.yaml": head + "include: [b.yaml]\n", "b.yaml": "tcp:\n  idle: never\n"}, "b.yaml:2:9: tcp.idle: expected a time"},
		{"set twice", map[string]string{"port53.yaml": head + "include: [b.yaml]\ntcp: {idle: 1s}\n", "b.yaml": "tcp:\n  idle: 2s\n"}, "b.yaml:2:3: tcp.idle is already set at port53.yaml:4; remove one of them: only lists of blocks may be in several files"},
		{"list twice", map[string]string{"port53.yaml": head + "include: [b.yaml]\nlisten: [127.0.0.1]\n", "b.yaml": "listen: [\"::1\"]\n"}, "b.yaml:1:1: listen is already set at port53.yaml:4"},
		{"role twice", map[string]string{"port53.yaml": head + "include: [b.yaml]\n", "b.yaml": "role: public-resolver\n"}, "b.yaml:1:1: role is already set at port53.yaml:1"},
		{"zone twice", map[string]string{"port53.yaml": head + "include: [b.yaml]\n", "b.yaml": "zones:\n  - {name: A.example, file: b.zone}\n"}, `b.yaml:2:12: zone "A.example" is already defined at port53.yaml:2; remove one of them`},
		{"contradiction", map[string]string{"port53.yaml": head + "include: [b.yaml]\npolicy: {allow: [192.0.2.0/24]}\n", "b.yaml": "policy: {deny: [192.0.2.0/24]}\n"}, "b.yaml:1:16: 192.0.2.0/24 is both in policy.allow and in policy.deny (see port53.yaml:4); remove it from one of them"},
		{"zone file", map[string]string{"port53.yaml": head + "include: [d/b.yaml]\n", "d/b.yaml": "zones: [{name: b.example, file: b.zone}]\n"}, `d/b.yaml:1:33: zone "b.example": file d/b.zone does not exist`},
		{"no role", map[string]string{"port53.yaml": "include: [b.yaml]\n", "b.yaml": "zones: [{name: b.example, file: b.zone}]\n"}, `port53.yaml:1:1: key "role" is missing; add "role:" and one of authoritative, public-resolver`},
		{"role elsewhere", map[string]string{"port53.yaml": "include: [b.yaml]\n", "b.yaml": head}, ""},
		{"empty pattern", map[string]string{"port53.yaml": head + "include: [d/*.yaml]\n", "d/x": ""}, ""},
		{"not a block", map[string]string{"port53.yaml": head + "include: [b.yaml]\n", "b.yaml": "- a\n"}, "b.yaml:1:1: expected a block, found a list; write a key, a colon and a value on each line, such as role: internal-resolver"},
		{"names twice", map[string]string{"port53.yaml": "role: internal-resolver\ninclude: [b.yaml]\nnames: {a.example: 192.0.2.1}\n", "b.yaml": "names: {A.example: 192.0.2.2}\n"}, `b.yaml:1:9: names: "A.example" is already set at port53.yaml:3; write all its addresses into one list`},
	} {
		_, got := loaded(t, test.files)
		if test.want == "" && strings.Contains(got, "port53.yaml:1:1: ") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
	}
}

// TestIncludeLinks finds a cycle behind a link, and a chain that is too long.
func TestIncludeLinks(t *testing.T) {
	files := map[string]string{"port53.yaml": "role: authoritative\nzones: [{name: a.example, file: a.zone}]\ninclude: link.yaml\n", "a.zone": ""}
	folder := write(t, files)
	if err := os.Symlink("port53.yaml", filepath.Join(folder, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(filepath.Join(folder, "port53.yaml")); err == nil || !strings.Contains(err.Error(), "would include itself") {
		t.Errorf("a link to itself: %v", err)
	}
	files["port53.yaml"] = "role: authoritative\ninclude: 1.yaml\n"
	for i := range 20 {
		files[fmt.Sprintf("%d.yaml", i+1)] = fmt.Sprintf("include: %d.yaml\n", i+2)
	}
	if _, got := loaded(t, files); !strings.HasPrefix(got, "15.yaml:1:10: include: 16.yaml: more than 16 files include one another") {
		t.Errorf("a long chain: %s", got)
	}
}

// TestIncludeUnreadable names a folder that cannot be looked into: its zones are not left out
// in silence.
func TestIncludeUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root reads everything: a file where a folder is meant is what it cannot look into.
		_, got := loaded(t, map[string]string{"port53.yaml": "role: authoritative\ninclude: d/*.yaml\n", "d": ""})
		if !strings.HasPrefix(got, "port53.yaml:2:10: include: directory d cannot be read: not a directory") {
			t.Error(got)
		}
		return
	}
	folder := write(t, map[string]string{"port53.yaml": "role: authoritative\ninclude: d/*/*.yaml\n", "d/e/x.yaml": ""})
	if err := os.Chmod(filepath.Join(folder, "d/e"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(filepath.Join(folder, "port53.yaml")); err == nil || !strings.Contains(err.Error(), "d/e cannot be read: permission denied") {
		t.Error(err)
	}
}

// TestControlSocketIncluded finds the control socket that an included file names, beside
// errors of other files.
func TestControlSocketIncluded(t *testing.T) {
	folder := write(t, map[string]string{
		"port53.yaml": "role: authoritative\ninclude: [b.yaml, c.yaml]\n", "b.yaml": "nonsense: [\n", "c.yaml": "control: {socket: /run/x.sock}\n",
	})
	if got := config.ControlSocket(filepath.Join(folder, "port53.yaml")); got != "/run/x.sock" {
		t.Errorf("got %q", got)
	}
}

func TestTemplates(t *testing.T) {
	c, got := loaded(t, map[string]string{
		"port53.yaml": "role: authoritative\ninclude: t/t.yaml\n" + sharedKey + `zones:
  - {name: a.example, file: a.zone}
  - {name: Sub/Net.B.example, template: made}
  - {name: c.example, template: made, file: c.zone, secondaries: [192.0.2.9], updates: []}
  - {name: d.example, template: "", file: a.zone}
  - {name: e.example, template: second}
  - {name: f.example, template: second, members: {notify: [192.0.2.77]}}
  - {name: ., template: made}
`,
		"t/t.yaml": `templates:
  - {name: default, secondaries: [192.0.2.1], tsig: xfr}
  - name: made
    file: "zones/100%%-%s.zone"
    secondaries: [192.0.2.1, 192.0.2.2]
    allow_transfer: [{key: xfr}, 192.0.2.0/24]
    tsig: xfr
    serial: date
    updates: [{key: xfr, names: ["*"]}]
  - name: second
    primaries: [192.0.2.5]
    insecure: true
    catalog: consume
    members: {tsig: xfr, notify: [192.0.2.66]}
`,
		"t/zones/100%-sub\\047net.b.example.zone": "", "t/zones/100%-root.zone": "",
	})
	if c == nil {
		t.Fatal(got)
	}
	z := c.Zones
	text := fmt.Sprintln(z[0].Secondaries, z[1].Secondaries, z[2].Secondaries, z[3].Secondaries, len(z[1].Updates), len(z[2].Updates), z[1].Serial, z[3].Serial, filepath.Base(z[2].File))
	if want := "[192.0.2.1:53] [192.0.2.1:53 192.0.2.2:53] [192.0.2.9:53] [] 1 0 date increment c.zone\n"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if !strings.HasSuffix(z[1].File, `t/zones/100%-sub\047net.b.example.zone`) || !strings.HasSuffix(z[6].File, "t/zones/100%-root.zone") {
		t.Errorf("files %s and %s", z[1].File, z[6].File)
	}
	if fmt.Sprintln(z[4].Primaries, z[4].Catalog, z[5].Members.Notify, string(z[5].Members.TSIG)) != "[192.0.2.5:53] consume [192.0.2.77:53] \x03xfr\x00\n" {
		t.Errorf("got %+v, %+v", z[4], z[5].Members)
	}
	for _, want := range []string{"zones[0].secondaries: [192.0.2.1:53] (t/t.yaml:2)", "zones[2].secondaries: [192.0.2.9:53] (port53.yaml:7)", "zones[1].serial: date (t/t.yaml:8)", "zones[1].template: made (port53.yaml:6)", "zones[1].allow_transfer: [192.0.2.0/24, {key: xfr}] (t/t.yaml:6)"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestTemplatesAreNotShared changes a list in one zone, and finds the template's in the other.
func TestTemplatesAreNotShared(t *testing.T) {
	c, got := loaded(t, map[string]string{"port53.yaml": "role: authoritative\n" + sharedKey + `templates: [{name: default, allow_transfer: [{key: xfr}, {address: 192.0.2.1}], tsig: XFR, primaries: [up]}]
remotes: [{name: up, addresses: 192.0.2.7, tsig: Xfr}]
zones:
  - {name: a.example, allow_transfer: [{address: 192.0.2.2}]}
  - {name: b.example}
  - {name: c.example, primaries: [192.0.2.7]}
  - {name: d.example, file: a.zone}
`})
	if c == nil {
		t.Fatal(got)
	}
	z := c.Zones
	text := fmt.Sprint(z[0].TransferAlone, len(z[0].TransferKeys), z[1].TransferAlone, len(z[1].TransferKeys), len(z[0].Keyed), len(z[1].Keyed), len(z[2].Keyed), len(z[3].Keyed), len(z[3].Primaries))
	if want := "[192.0.2.2/32] 0 [192.0.2.1/32] 1 1 1 0 0 0"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestRemotes(t *testing.T) {
	c, got := loaded(t, map[string]string{"port53.yaml": "role: authoritative\n" + sharedKey + `remotes:
  - {name: ns1, addresses: [192.0.2.1, "[2001:db8::1]:5353"], tsig: XFR}
  - {name: ns-2.example, addresses: 192.0.2.2}
zones:
  - {name: a.example, file: a.zone, secondaries: [192.0.2.9, ns1], notify: [ns-2.example], allow_transfer: [ns1, {remote: ns-2.example}, 192.0.2.64/26], tsig: xfr}
  - {name: b.example, primaries: [ns1], allow_notify: [ns-2.example]}
`})
	if c == nil {
		t.Fatal(got)
	}
	for _, want := range []string{
		`zones[0].secondaries: [192.0.2.9:53, 192.0.2.1:53, "[2001:db8::1]:5353"]`, "zones[0].notify: [192.0.2.2:53]",
		"zones[0].allow_transfer: [192.0.2.64/26, {remote: ns1}, {remote: ns-2.example}]", `zones[1].primaries: [192.0.2.1:53, "[2001:db8::1]:5353"]`, "zones[1].allow_notify: [192.0.2.2/32]",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	z := c.Zones[0]
	if key := z.KeyOf(z.Secondaries[1]); string(key) != "\x03xfr\x00" || z.KeyOf(z.Secondaries[0]) != nil {
		t.Errorf("keys %q and %q", key, z.KeyOf(z.Secondaries[0]))
	}
}

func TestRemoteErrors(t *testing.T) {
	const head = "role: authoritative\n" + sharedKey + "remotes: [{name: ns1, addresses: 192.0.2.1, tsig: xfr}, {name: bare, addresses: 192.0.2.2}]\n"
	for text, want := range map[string]string{
		"zones: [{name: a.example, primaries: [sn1]}]\n":                                                                        `port53.yaml:4:39: zone "a.example": primaries[0]: there is no remote "sn1"; did you mean "ns1"?`,
		"zones: [{name: a.example, file: a.zone, tsig: xfr, secondaries: [192.0.2.3, other]}]\n":                                `port53.yaml:4:77: zone "a.example": secondaries[1]: there is no remote "other"; names are not looked up: write the address, or define it: remotes: [{name: other, addresses: [192.0.2.1]}]`,
		"zones: [{name: a.example, file: a.zone, tsig: xfr, allow_transfer: [n1]}]\n":                                           `port53.yaml:4:69: zone "a.example": allow_transfer[0]: there is no remote "n1"; did you mean "ns1"?`,
		"zones: [{name: a.example, file: a.zone, tsig: xfr, allow_transfer: [{remote: ns}]}]\n":                                 `port53.yaml:4:78: zone "a.example": allow_transfer[0]: there is no remote "ns"; did you mean "ns1"?`,
		"zones: [{name: a.example, primaries: [192.0.2.300]}]\n":                                                                `port53.yaml:4:39: zone "a.example": primaries[0]: expected the address of a server`,
		"zones: [{name: a.example, primaries: [bare]}]\n":                                                                       `port53.yaml:4:38: zone "a.example": it would be transferred without TSIG`,
		"zones: [{name: a.example, file: a.zone, allow_transfer: [bare]}]\n":                                                    `port53.yaml:4:57: zone "a.example": remote "bare" has no key: whoever has its address would get the zone, and an address can be forged`,
		"zones: [{name: a.example, file: a.zone, template: mad}]\ntemplates: [{name: made}]\n":                                  `port53.yaml:4:51: zone "a.example": there is no template "mad"; did you mean "made"?`,
		"zones: [{name: a.example, file: a.zone}]\ntemplates: [{name: made}, {name: made}]\n":                                   `port53.yaml:5:34: template "made" is already defined at line 5`,
		"zones: [{name: a.example, file: a.zone}, {name: b.example, file: b.zone}]\ntemplates: [{name: default, tsig: xfer}]\n": `port53.yaml:5:35: template "default": there is no key "xfer"; did you mean "xfr"?`,
		"zones: [{name: a.example, file: a.zone}]\ntemplates: [{name: default, template: other}]\n":                             `port53.yaml:5:29: templates[0]: key "template" is not known`,
		"zones: [{name: a.example}]\ntemplates: [{name: default, primaries: [192.0.2.1]}]\n":                                    `port53.yaml:5:40: zone "a.example": it would be transferred without TSIG`,
	} {
		files := map[string]string{"port53.yaml": head + text}
		if _, got := loaded(t, files); !strings.HasPrefix(got, want) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"[{name: 192.0.2.1, addresses: 192.0.2.1}]":                                              `port53.yaml:3:18: remotes[0].name: expected letters, digits and - _ . with at least one letter, found "192.0.2.1"`,
		"[{name: a, addresses: []}]":                                                             `port53.yaml:3:32: remote "a": expected at least one address, found an empty list`,
		"[{name: a, addresses: b}]":                                                              `port53.yaml:3:32: remotes[0].addresses[0]: expected the address of a server`,
		"[{name: a, addresses: 192.0.2.1}, {name: a, addresses: 192.0.2.2}]":                     `port53.yaml:3:51: remote "a" is already defined at line 3; remove one of them`,
		"[{name: a, addresses: 192.0.2.1, tsig: xfer}]":                                          `port53.yaml:3:49: remote "a": there is no key "xfer"; did you mean "xfr"?`,
		"[{name: a, addresses: 192.0.2.1, tsig: xfr}, {name: b, addresses: 192.0.2.1, tsig: y}]": `port53.yaml:5:12: zone "c.example": 192.0.2.1:53 is in remote "a" with key "xfr", and in remote "b" with key "y"; give the remotes one key, or name one of them`,
	} {
		text = "role: authoritative\nkeys: [{name: xfr, secret: MDEyMzQ1Njc4OWFiY2RlZg==}, {name: y, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\nremotes: " + text + "\nzones:\n  - {name: c.example, file: c.zone"
		if strings.Contains(text, "name: b") {
			text += ", secondaries: [a, b]"
		}
		if _, got := loaded(t, map[string]string{"port53.yaml": text + "}\n"}); !strings.HasPrefix(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}
