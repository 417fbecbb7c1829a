package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/certs/certtest"
	"port53/internal/config"
)

// What is wrong with the files of certificates stands at the key that names them; what keeps
// nobody from serving is a warning.
func TestCertificates(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	ca.Issue(dir, "good", "dns.test")
	ca.Issue(dir, "other", "dns.test")
	ca.IssueLeaf(dir, "old", certtest.Leaf{Names: []string{"dns.test"}, Until: time.Now().Add(-time.Hour)})
	if err := os.WriteFile(filepath.Join(dir, "secrets"), []byte("ab"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, wrong, warning string }{
		{"good", "certificate: good.pem, key: good.key, name: dns.test", "", ""},
		{"two", "certificate: good.pem, key: good.key, certificates: [{certificate: old.pem, key: good.key}]", "port53.yaml:2:94: encrypted.certificates.key: ", ""},
		{"list alone", "certificates: [{certificate: good.pem, key: good.key}, {certificate: none.pem, key: other.key}]", "port53.yaml:2:82: encrypted.certificates.certificate: ", ""},
		{"missing", "certificate: none.pem, key: good.key", "port53.yaml:2:26: encrypted.certificate: " + filepath.Join(dir, "none.pem") + " does not exist", ""},
		{"misfit", "certificate: good.pem, key: other.key", "port53.yaml:2:41: encrypted.key: " + filepath.Join(dir, "other.key") + " does not fit the certificate", ""},
		{"expired", "certificate: old.pem, key: old.key, name: dns.test", "", "port53.yaml:2:26: encrypted.certificate: " + filepath.Join(dir, "old.pem") + " expired on "},
		{"another name", "certificate: good.pem, key: good.key, name: ns.test", "", "does not cover ns.test: it has dns.test; "},
		{"tickets", "certificate: good.pem, key: good.key, tickets: secrets", "port53.yaml:2:60: encrypted.tickets: " + filepath.Join(dir, "secrets") + ": expected lines of 64 hexadecimal digits; make one with openssl rand", ""},
	} {
		file := filepath.Join(dir, "port53.yaml")
		if err := os.WriteFile(file, []byte("role: internal-resolver\nencrypted: {"+tt.text+"}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file)
		if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.wrong)
		}
		if all := config.Errors(nil); err != nil && !errors.As(err, &all) {
			t.Errorf("%s: error %T has no place", tt.name, err)
		}
		if err != nil {
			continue
		}
		if warnings := c.Warnings(); tt.warning == "" && len(warnings) > 0 || tt.warning != "" && (len(warnings) != 1 || !strings.Contains(warnings[0].Error(), tt.warning)) {
			t.Errorf("%s: warnings %v, want %q", tt.name, warnings, tt.warning)
		}
	}
}
