package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestForeignKeys writes each hint for a key of another server into a file: it has no key that port53 does not know, and no value
// of another form than its key takes.
func TestForeignKeys(t *testing.T) {
	for name, hint := range foreignKeys() {
		file := filepath.Join(t.TempDir(), "port53.yaml")
		text := "role: internal-resolver\n" + strings.ReplaceAll(hint, "FILE", "a.pem") + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file)
		if err == nil {
			continue
		}
		for _, word := range []string{"not known", "expected", "is missing", "not YAML"} {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%s: %s: %v", name, hint, err)
			}
		}
	}
}

// TestForeignWords has what others call otherwise: keys at the top and in a block, roles, words for networks, and values of other forms.
func TestForeignWords(t *testing.T) {
	for text, want := range map[string]string{
		"upstream: 1.1.1.1\n":                   `key "upstream" is not known; write resolver: {forward: [{zone: ., to: [1.1.1.1]}]} instead`,
		"upstream: [1.1.1.1]\n":                 `key "upstream" is not known; write resolver: {forward: [{zone: ., to: [192.0.2.1]}]} instead`,
		"access-control: [10.0.0.0/8]\n":        `key "access-control" is not known; write policy: {allow: [`,
		"resolver: {forward-addr: 192.0.2.1}\n": `key "forward-addr" is not known; write resolver: {forward: [`,
		"resolver: {forward: [9.9.9.9]}\n":      `expected a block, found "9.9.9.9"; write {zone: ., to: [9.9.9.9]}`,
		"resolver: {forward: [\"::1\"]}\n":      `found "::1"; write {zone: ., to: ["::1"]}`,

		"recursion: yes\n":                           `key "recursion" is not known; remove it: the role decides whether names are resolved, and resolver.allow for whom`,
		"dnssec: {policy: a}\n":                      `key "dnssec" is not known; dnssec is set in each zone or in a template, as dnssec: {sign: true}; algorithms`,
		"grants: []\n":                               `key "grants" is not known; write grants in each of keys, tokens and client_certificates`,
		"blocklists: []\n":                           `key "blocklists" is not known; write the lists into policy.lists`,
		"zones: [{name: a.example, transfer: []}]\n": `key "transfer" is not known; who may transfer the zone, besides its secondaries, is set with allow_transfer`,
		"zones: [{name: a.example, type: slave}]\n":  `key "type" is not known; remove it: a zone with file is a primary zone`,
		"expose: {query: [any]}\n":                   `key "query" is not known; who may query is set with "ask"`,
		"interface: 0.0.0.0\n":                       `write listen: [0.0.0.0] instead`,
		"listen: \"127.0.0.1:99999\"\n":              `"99999" in "127.0.0.1:99999" is not a port; ports are numbers from 0 to 65535`,
		"resolver: {forward: [{zone: ., to: [\"tls://ns.example.net:853\"]}]}\n": `write the address, and the name behind #, as tls://192.0.2.1#ns.example.net`,
		"expose: {ask: [any]}\n":                   `found "any"; write "everybody"`,
		"expose: {recurse: [any]}\n":               `found "any"; list your networks; only role public-resolver is for everybody`,
		"expose: {recurse: [none]}\n":              `found "none"; list those who may`,
		"resolver: {limits: {answer_ages: 3s}}\n":  `key "answer_ages" is not known; "answer_age" is not available in this version`,
		"expose: {transfer: [none]}\n":             `there is no remote "none"; write "nobody"`,
		"policy: {allow: [any]}\n":                 `found "any"; for everybody, write 0.0.0.0/0 and "::/0"`,
		"resolver: {allow: [localhost]}\n":         `found "localhost"; write 127.0.0.0/8 and "::1"`,
		"resolver: {allow: [office]}\n":            `found "office"; to use a name here, define it: networks: [{name: office, list: [10.0.0.0/8]}]`,
		"resolver: {dns64: \"64:ff9b::/97\"}\n":    `expected a block, found "64:ff9b::/97"; write dns64: {prefix: "64:ff9b::/96"}, or other keys of resolver.dns64: `,
		"resolver: {dns64: {prefix: nat}}\n":       `expected an IPv6 prefix such as "64:ff9b::/96", found "nat"`,
		"encrypted: {dot: {listen: [10.0.0.1]}}\n": `expected a list, found a block; write dot: [192.0.2.1]`,
		"zones: {name: a.example}\n":               `expected a list, found a block; begin each block of the list with a dash, or put it in brackets: zones: [{…}]`,
		"role: resolver\n":                         `found "resolver"; write internal-resolver for the machines of your own networks, or public-resolver for everybody`,
		"role: secondary\n":                        `found "secondary"; write authoritative`,
		"role: dc\n":                               `found "dc"; write domain-controller`,
	} {
		file := filepath.Join(t.TempDir(), "port53.yaml")
		if !strings.HasPrefix(text, "role:") {
			text = "role: internal-resolver\n" + text
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
