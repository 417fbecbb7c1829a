package catalogue_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/catalogue"
	"port53/internal/check"
	"port53/internal/config"
	"port53/internal/finding"
)

const (
	goodAuthority = `role: authoritative
keys: [{name: xfr, secret_file: xfr.key}]
zones:
  - name: example.test
    file: example.zone
    secondaries: [192.0.2.9]
    tsig: xfr
    updates: [{key: xfr, names: [host.example.test], types: [A]}]
`
	goodResolver = "role: internal-resolver\nlisten: [\"10.1.2.3:53\"]\nresolver: {allow: [10.0.0.0/8]}\n"
)

// TestConfigChecks has a configuration for each check that it must fail at, with the
// line that is meant.
func TestConfigChecks(t *testing.T) {
	authority := func(rest string) string { return goodAuthority + rest }
	zone := func(rest string) string {
		return "role: authoritative\nzones:\n  - name: example.test\n    file: example.zone\n" + rest
	}
	resolver := func(rest string) string { return "role: internal-resolver\n" + rest }
	secret := strings.Repeat("c2VjcmV0", 6) // 36 octets
	for _, c := range []struct {
		id, text string
		line     int
		state    finding.State
	}{
		{"CONF-OPEN", "role: public-resolver\nresolver:\n  allow: [0.0.0.0/0]\n", 3, finding.Fail},
		{"CONF-OPEN", "role: public-resolver\n", 1, finding.Info},
		{"CONF-LISTEN", resolver("listen: [\"0.0.0.0:53\"]\n"), 2, finding.Warn},
		{"CONF-LISTEN", resolver("listen: [\"192.0.2.1:53\"]\n"), 2, finding.Warn},
		{"CONF-XFR", zone("    allow_transfer: [0.0.0.0/0]\n    insecure: true\n"), 5, finding.Fail},
		{"CONF-XFR", zone("    allow_transfer: [10.0.0.0/8]\n    insecure: true\n"), 5, finding.Warn},
		{"CONF-TSIG", zone("    secondaries: [192.0.2.9]\n    insecure: true\n"), 6, finding.Warn},
		{"CONF-KEY", "role: authoritative\nzones: [{name: example.test, file: example.zone}]\nkeys:\n  - name: xfr\n    secret: " + secret + "\n", 5, finding.Fail},
		{"CONF-KEY", "role: authoritative\nzones: [{name: example.test, file: example.zone}]\nkeys:\n  - name: xfr\n    algorithm: hmac-sha512\n    secret_file: short.key\n", 4, finding.Warn},
		{"CONF-UPDATE", strings.Replace(goodAuthority, "names: [host.example.test], types: [A]", `names: ["*"]`, 1), 8, finding.Warn},
		{"CONF-RRL", authority("policy:\n  rate_limit:\n    enabled: false\n"), 11, finding.Fail},
		{"CONF-RRL", authority("policy:\n  rate_limit:\n    log_only: true\n"), 11, finding.Fail},
		{"CONF-RRL", authority("policy:\n  rate_limit:\n    slip: 0\n"), 11, finding.Warn},
		{"CONF-RRL", authority("policy:\n  rate_limit:\n    exempt: [192.0.0.0/8]\n"), 11, finding.Warn},
		{"CONF-VALID", resolver("resolver:\n  validation: false\n"), 3, finding.Fail},
		{"CONF-VALID", resolver("resolver:\n  validation_time: 2020-01-01T00:00:00Z\n"), 3, finding.Fail},
		{"CONF-VALID", resolver("resolver:\n  negative_trust_anchors:\n    - name: example.test\n      until: " + time.Now().AddDate(2, 0, 0).UTC().Format(time.RFC3339) + "\n"), 5, finding.Warn},
		{"CONF-VALID", resolver("resolver:\n  negative_trust_anchors:\n    - name: example.test\n"), 4, finding.Warn},
		{"CONF-FORGE", resolver("resolver:\n  case_randomization: false\n"), 3, finding.Warn},
		{"CONF-FORGE", resolver("resolver:\n  qname_minimization: off\n"), 3, finding.Warn},
		{"CONF-FORGE", resolver("resolver:\n  rebinding: off\n"), 3, finding.Warn},
		{"CONF-SIZE", authority("edns: {udp_size: 4096}\n"), 9, finding.Warn},
		{"CONF-COOKIE", authority("edns: {cookies: false}\n"), 9, finding.Warn},
		{"CONF-IDENT", authority("identity: {version: \"port53 1.0\"}\n"), 9, finding.Warn},
		{"CONF-METRICS", authority("metrics: {listen: \"192.0.2.1:9153\", expose: true}\n"), 9, finding.Warn},
		{"CONF-CONTROL", authority("control: {socket: /tmp/control.sock}\n"), 9, finding.Warn},
		{"CONF-TCP", authority("tcp: {idle: 10m}\n"), 9, finding.Warn},
		{"CONF-TCP", authority("tcp: {per_client: 1000, per_network: 1000}\n"), 9, finding.Warn},
		{"CONF-LIMITS", resolver("resolver:\n  limits:\n    packets: 9999\n"), 4, finding.Warn},
		{"CONF-LIMITS", resolver("resolver:\n  limits:\n    nsec3_iterations: 500\n"), 4, finding.Warn},
		{"CONF-LOG", resolver("log: {queries: text}\n"), 2, finding.Info},
	} {
		t.Run(c.id+" "+fmt.Sprint(c.state), func(t *testing.T) {
			found := auditOf(t, c.text, c.id)
			for _, f := range found {
				if f.State == c.state && f.Line == c.line && f.Detail != "" && f.Key != "" && filepath.Base(f.File) == "port53.yaml" && f.Evidence.Command != "" {
					return
				}
			}
			t.Errorf("%s\ngot %+v, want state %v at line %d", c.text, found, c.state, c.line)
		})
	}
	for _, c := range catalogue.All() {
		if c.Group != catalogue.GroupConfig {
			continue
		}
		for _, text := range []string{goodAuthority, goodResolver} {
			for _, f := range auditOf(t, text, c.ID) {
				if f.State != finding.Pass {
					t.Errorf("%s of a good configuration: %v %s", c.ID, f.State, f.Detail)
				}
			}
		}
	}
}

func auditOf(t *testing.T, text, id string) []finding.Finding {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "port53.yaml")
	for name, content := range map[string]string{
		"port53.yaml": text, "example.zone": "$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n",
		"xfr.key": strings.Repeat("c2VjcmV0", 6) + "\n", "short.key": "c2VjcmV0c2VjcmV0c2VjcmV0\n",
	} {
		mode := os.FileMode(0o600)
		if name == "port53.yaml" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	r := examine(t.Context(), finding.Target{Text: file, Config: file}, &check.Options{Config: c}, func(c *check.Check) bool { return c.ID == id }, func(int, int) {})
	if len(r.Results) != 1 {
		t.Fatalf("%d results", len(r.Results))
	}
	return r.Results[0].Findings
}
