package convert_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/convert"
)

const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="

func TestFile(t *testing.T) {
	for _, test := range []struct {
		name, kind, text string
		want, notWant    []string // in the configuration
		notes            []string
		complete         bool
	}{
		{"bind", "bind", `// one
# two
/* three
*/ options { directory "/srv"; recursion no; listen-on port 5300 { 127.0.0.1; }; };
key k { algorithm hmac-sha256; secret "` + secret + `"; };
primaries up { 192.0.2.1 key k; 2001:db8::1 port 54 key k; };
zone "A.example" { type master; file "a"; allow-transfer { key k; }; also-notify { 192.0.2.9; };
  update-policy { grant k subdomain dyn.a.example A TXT; }; };
zone "b.example" { type secondary; primaries { up; }; };
`, []string{
			"role: authoritative", `["127.0.0.1:5300", "::"]`, `file: "/srv/a"`, `tsig: "k"`, `allow_transfer: [{key: "k"}]`,
			`notify: ["192.0.2.9"]`, `{key: "k", names: ["dyn.a.example", "*.dyn.a.example"], types: ["A", "TXT"]}`,
			`primaries: ["192.0.2.1", "[2001:db8::1]:54"]`,
		}, []string{"insecure"}, nil, true},
		{
			"bind that allows less", "bind", `options { recursion no; };
key old { algorithm hmac-md5; secret "` + secret + `"; };
zone "a.example" { type primary; file "/a"; allow-transfer { !192.0.2.1; any; }; allow-update { 192.0.2.0/24; }; };
zone "b.example" { type secondary; primaries { 192.0.2.1 key old; }; };
zone "c.example" { type primary; file "/c"; update-policy { deny k name x.c.example A; grant k zonesub ANY; }; };
`,
			[]string{`name: "a.example"`, `name: "c.example"`, `"192.0.2.0", "192.0.2.2/31", "192.0.2.4/30"`},
			[]string{`name: "b.example"`, `"192.0.2.1"`, "updates:", "keys:"},
			[]string{":2:1: not converted", "by an address alone", "hmac-md5 is not offered", "denials are not known"},
			false,
		},
		{"bind that forwards", "bind", `options { recursion yes; forward only; forwarders { 192.0.2.1; }; };
zone "corp.lan" { type forward; forward only; forwarders { 10.0.0.5; }; };
zone "lab.lan" { type forward; forward first; forwarders { 10.0.0.6; }; };
zone "old.lan" { type forward; forwarders { 10.0.0.7; }; };
zone "stub.lan" { type static-stub; server-addresses { 10.0.0.8; }; };
`, []string{
			`{zone: ".", to: ["192.0.2.1"]}`, `{zone: "corp.lan", to: ["10.0.0.5"]}`, `{zone: "lab.lan", to: ["10.0.0.6"], first: true}`,
			`{zone: "old.lan", to: ["10.0.0.7"], first: true}`, `{zone: "stub.lan", to: ["10.0.0.8"]}`,
		}, nil, nil, true},
		{"bind that forwards as it does by itself", "bind", `options { recursion yes; forwarders { 192.0.2.1; }; };
`, []string{`{zone: ".", to: ["192.0.2.1"], first: true}`}, nil, nil, true},
		{"nsd", "nsd", `server:
  ip-address: 127.0.0.1@5300
  zonesdir: "/srv"
key:
  name: k
  algorithm: hmac-sha256
  secret: "` + secret + `"
pattern:
  name: p
  zonefile: "%s.zone"
  provide-xfr: 192.0.2.0/24 k
zone:
  name: a.example
  include-pattern: p
zone:
  name: b.example
  request-xfr: AXFR 192.0.2.1@54 NOKEY
  allow-notify: 192.0.2.1 NOKEY
`, []string{`"/srv/a.example.zone"`, `tsig: "k"`, `allow_transfer: ["192.0.2.0/24"]`, `primaries: ["192.0.2.1:54"]`, "insecure: true"}, nil, nil, true},
		{"knot", "knot", `server:
    listen: [127.0.0.1@5300, ::1@5300]
key:
  - id: k
    algorithm: hmac-sha256
    secret: ` + secret + `
remote:
  - id: up
    address: 192.0.2.1@54
    key: k
acl:
  - id: out
    address: [192.0.2.0/24, 2001:db8::/32]
    key: k
    action: [transfer]
template:
  - id: default
    storage: /srv
    file: "%s.zone"
zone:
  - domain: a.example
    acl: out
  - domain: b.example
    master: up
`, []string{`["127.0.0.1:5300", "[::1]:5300"]`, `"/srv/a.example.zone"`, `allow_transfer: ["192.0.2.0/24", "2001:db8::/32"]`, `primaries: ["192.0.2.1:54"]`}, []string{"insecure"}, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.conf")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := convert.File(convert.Options{Kind: test.kind, Path: file})
			if err != nil {
				t.Fatal(err, r)
			}
			var notes strings.Builder
			for _, n := range r.Notes {
				notes.WriteString(n.String() + "\n")
			}
			for _, w := range test.want {
				if !strings.Contains(string(r.YAML), w) {
					t.Errorf("without %s", w)
				}
			}
			for _, w := range test.notWant {
				if strings.Contains(string(r.YAML), w) {
					t.Errorf("with %s", w)
				}
			}
			for _, w := range test.notes {
				if !strings.Contains(notes.String(), w) {
					t.Errorf("no note says %q", w)
				}
			}
			if r.Complete() != test.complete {
				t.Errorf("complete: %v", r.Complete())
			}
			if strings.Contains(notes.String(), secret) {
				t.Error("a secret is in the notes")
			}
			if t.Failed() {
				t.Logf("%s\n%s", r.YAML, notes.String())
			}
		})
	}
}

// TestNoZones shows that a configuration as it comes with a package is read, though
// nothing can be served with it yet.
func TestNoZones(t *testing.T) {
	file := filepath.Join(t.TempDir(), "knot.conf")
	text := "server:\n    automatic-acl: on\nremote:\n# - id: x\nzone:\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := convert.File(convert.Options{Kind: "knot", Path: file})
	if err != nil || r.Complete() || !strings.Contains(r.Notes[0].Why, "add one") {
		t.Errorf("%v %v", r, err)
	}
}

// TestAutomaticACL shows that Knot's automatic rules let those who are told of changes
// transfer the zone.
func TestAutomaticACL(t *testing.T) {
	for set, want := range map[string]string{"on": `secondaries: ["192.0.2.1"]`, "off": `notify: ["192.0.2.1"]`} {
		file := filepath.Join(t.TempDir(), "knot.conf")
		text := "server:\n    automatic-acl: " + set + "\nremote:\n  - id: r\n    address: 192.0.2.1\nzone:\n  - domain: a.example\n    notify: r\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := convert.File(convert.Options{Kind: "knot", Path: file}); err != nil || !strings.Contains(string(r.YAML), want) {
			t.Errorf("%s: %v %v", set, r, err)
		}
	}
}

func TestSyntax(t *testing.T) {
	for _, test := range []struct{ kind, text, want string }{
		{"bind", "options {\n  recursion no\n};", ":3:1: a ; is missing"},
		{"bind", "options {", ":1:9: a { without"},
		{"bind", "};", ":1:1: a } without"},
		{"bind", "/* x", ":1:1: a comment"},
		{"bind", "\n include \"/nonexistent\";", ":2:10: there is no file"},
		{"nsd", "server:\n  ip-address: \"x", ":2:15: a string"},
		{"nsd", "127.0.0.1", ":1:1: 127.0.0.1 is the value of nothing"},
		{"knot", "server:\n  what", ":2:3: what is the value of nothing"},
		{"knot", "  listen: x", ":1:3: listen stands in no section"},
	} {
		file := filepath.Join(t.TempDir(), "x.conf")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := convert.File(convert.Options{Kind: test.kind, Path: file}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, not %s", test.text, err, test.want)
		}
	}
}

// TestOrder reads how other servers are told the order of the records of a set.
func TestOrder(t *testing.T) {
	const named = "options { recursion no; %s };\nzone \"a.test\" { type primary; file \"/z\"; };"
	for _, test := range []struct{ kind, text, want, note string }{
		{"bind", fmt.Sprintf(named, "rrset-order { order cyclic; };"), "rrset_order: cyclic", "changed: order"},
		{"bind", fmt.Sprintf(named, "rrset-order { class IN type A name \"*\" order random; };"), "!rrset_order", "not converted: class"},
		{"bind", fmt.Sprintf(named, "rrset-order { class ANY type ANY name \"*\" order random; };"), "rrset_order: random", ""},
		{"bind", fmt.Sprintf(named, "rrset-order { order none; };"), "!rrset_order", "converted: order"},
		{"bind", fmt.Sprintf(named, "rrset-order { order sideways; };"), "!rrset_order", "not converted: order"},
		{"unbound", "server:\n  rrset-roundrobin: yes\n", "rrset_order: cyclic", "converted: rrset-roundrobin"},
		{"unbound", "server:\n  rrset-roundrobin: no\n", "!rrset_order", "converted: rrset-roundrobin"},
		{"knot", "server:\n  answer-rotation: on\nzone:\n  - domain: a.test\n    file: /z\n", "rrset_order: cyclic", "converted: answer-rotation"},
		{"nsd", "server:\n  round-robin: yes\nzone:\n  name: a.test\n  zonefile: /z\n", "rrset_order: cyclic", "converted: round-robin"},
		{"corefile", ". {\n  forward . 192.0.2.1\n  loadbalance\n}\n", "rrset_order: random", "converted: loadbalance"},
		{"corefile", ". {\n  forward . 192.0.2.1\n  loadbalance weighted w.txt\n}\n", "rrset_order: random", "changed: loadbalance"},
		{"pdns", "launch=gsqlite3\nlocal-address=127.0.0.1\n", "rrset_order: random", ""},
		{"pdns", "launch=gsqlite3\nlocal-address=127.0.0.1\nno-shuffle=yes\n", "!rrset_order", ""},
		{"dnsmasq", "no-round-robin\nserver=192.0.2.1\n", "!rrset_order", ""},
	} {
		r, notes := imported(t, test.kind, test.text)
		expect(t, test.kind+" "+test.text, body(r), test.want)
		if !strings.Contains(notes, test.note) {
			t.Errorf("%s: no note %q in\n%s", test.text, test.note, notes)
		}
	}
}
