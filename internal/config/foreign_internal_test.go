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

// TestForeignWords has keys of others at the top and in a block, and a scalar in the place of a block.
func TestForeignWords(t *testing.T) {
	for text, want := range map[string]string{
		"upstream: 1.1.1.1\n":                   `key "upstream" is not known; write resolver: {forward: [{zone: ., to: [1.1.1.1]}]} instead`,
		"upstream: [1.1.1.1]\n":                 `key "upstream" is not known; write resolver: {forward: [{zone: ., to: [192.0.2.1]}]} instead`,
		"access-control: [10.0.0.0/8]\n":        `key "access-control" is not known; write policy: {allow: [`,
		"resolver: {forward-addr: 192.0.2.1}\n": `key "forward-addr" is not known; write resolver: {forward: [`,
		"resolver: {forward: [9.9.9.9]}\n":      `expected a mapping, found "9.9.9.9"; write {zone: ., to: [9.9.9.9]}`,
		"resolver: {forward: [\"::1\"]}\n":      `found "::1"; write {zone: ., to: ["::1"]}`,
	} {
		file := filepath.Join(t.TempDir(), "port53.yaml")
		if err := os.WriteFile(file, []byte("role: internal-resolver\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
