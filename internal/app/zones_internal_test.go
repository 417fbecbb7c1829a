package app

import (
	"os"
	"path/filepath"
	"testing"

	"port53/internal/config"
	"port53/internal/policy"
	"port53/internal/wire"
)

// TestMembersOfRemotes has a remote without a key of its own transfer the members of a catalog: with the key of their
// group, else that of the members, else that of the catalog.
func TestMembersOfRemotes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "port53.yaml")
	text := `role: authoritative
keys:
  - {name: catalog-key, secret: MDEyMzQ1Njc4OWFiY2RlZg==}
  - {name: members-key, secret: MDEyMzQ1Njc4OWFiY2RlZg==}
  - {name: group-key, secret: MDEyMzQ1Njc4OWFiY2RlZg==}
remotes: [{name: ns2, addresses: 192.0.2.2}]
zones:
  - name: catalog.test
    primaries: [192.0.2.1]
    tsig: catalog-key
    catalog: consume
    members:
      tsig: members-key
      allow_transfer: [ns2]
      groups: [{name: plain, allow_transfer: [ns2]}, {name: own, tsig: group-key, allow_transfer: [ns2]}]
  - name: other.test
    primaries: [192.0.2.1]
    tsig: catalog-key
    catalog: consume
    members: {allow_transfer: [ns2]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	made := newSourcer(c, signingRoom{})
	first, second := made.source(0).Consumes, made.source(1).Consumes
	for what, x := range map[string]struct {
		rules []policy.Rule
		want  string
	}{
		"members":               {first.TransferBy, "members-key."},
		"a group":               {first.Groups["plain"].TransferBy, "members-key."},
		"a group with a key":    {first.Groups["own"].TransferBy, "group-key."},
		"members without a key": {second.TransferBy, "catalog-key."},
	} {
		if len(x.rules) != 1 || wire.NameText(x.rules[0].Key) != x.want {
			t.Errorf("%s: %+v, want one rule with %s", what, x.rules, x.want)
		}
	}
}
