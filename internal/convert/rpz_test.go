package convert_test

import (
	"os"
	"path/filepath"
	"testing"

	"port53/internal/config"
	"port53/internal/convert"
)

// What becomes of the response policy zones of others.
func TestPolicyZones(t *testing.T) {
	lua := filepath.Join(t.TempDir(), "recursor.lua")
	if err := os.WriteFile(lua, []byte(`rpzFile("/z/local.rpz", {policyName="own.rpz", defpol=Policy.Custom, defcontent="garden.test"})
rpzPrimary({"192.0.2.1", "192.0.2.2:5300"}, "feed.rpz", {tsigname="feed", tsigalgo="hmac-sha256", tsigsecret="c2VjcmV0LW9mLTMyLW9jdGV0cy10aGlzLWlzLWl0LiE=", defpol=Policy.NODATA, maxTTL=60})
rpzMaster("192.0.2.3", "old.rpz") -- as it was called
rpzFile(name, {defpol=f()})
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what, kind, text string
		want, notes      []string
	}{
		{
			"BIND", "bind", `options { recursion yes; response-policy { zone "a.rpz" policy cname garden.test max-policy-ttl 1m; zone "b.rpz" policy disabled add-soa no; zone "c.rpz" policy tcp-only; zone "d.rpz"; zone "none.rpz"; } break-dnssec yes qname-wait-recurse no; };
zone "a.rpz" { type primary; file "/z/a"; allow-query { none; }; };
zone "b.rpz" { type secondary; primaries { 192.0.2.1; }; };
zone "c.rpz" { type primary; file "/z/c"; };
zone "d.rpz" { type primary; file "/z/d"; };
`,
			[]string{
				`- {zone: "a.rpz", cname: "garden.test", max_ttl: "1m", break_dnssec: true}`,
				`- {zone: "b.rpz", answer: "log", break_dnssec: true, add_soa: false}`, `- {zone: "c.rpz", answer: "tcp-only", break_dnssec: true}`,
				`- {zone: "d.rpz", break_dnssec: true}`, `!none.rpz`,
			},
			[]string{"there is no zone none.rpz"},
		},
		{
			"BIND that resolves before", "bind", `options { response-policy { zone "a.rpz"; } qname-wait-recurse yes; }; zone "a.rpz" { type primary; file "/z/a"; };`,
			[]string{`- {zone: "a.rpz", wait: true}`},
			nil,
		},
		{
			"BIND that does not wait for servers", "bind", `options { response-policy { zone "a.rpz"; } nsip-wait-recurse no nsdname-wait-recurse no; }; zone "a.rpz" { type primary; file "/z/a"; };`,
			[]string{`- {zone: "a.rpz", wait_servers: false}`},
			nil,
		},
		{
			"BIND that waits for names of servers", "bind", `options { response-policy { zone "a.rpz"; } nsip-wait-recurse no; }; zone "a.rpz" { type primary; file "/z/a"; };`,
			[]string{`- {zone: "a.rpz"}`},
			[]string{"wait_servers of policy.rpz is for both"},
		},
		{
			"BIND's views", "bind", `view "one" { match-clients { 10.0.0.0/8; }; response-policy { zone "a.rpz"; }; zone "a.rpz" { type primary; file "/z/a"; }; };
view "two" { match-clients { any; }; };`,
			[]string{"!rpz:"},
			[]string{"not converted: response-policy"},
		},
		{
			"Unbound", "unbound", `server:
  access-control: 10.0.0.0/8 allow
rpz:
  name: a.rpz
  zonefile: /z/a
  rpz-action-override: nxdomain
  rpz-log: yes
rpz:
  name: b.rpz
  primary: 192.0.2.1@5300
  rpz-action-override: cname
  rpz-cname-override: garden.test
rpz:
  name: c.rpz
  url: http://192.0.2.1/c
`,
			[]string{
				`- {zone: "a.rpz", answer: "nxdomain", max_ttl: "1d", break_dnssec: true}`,
				`- {zone: "b.rpz", cname: "garden.test", max_ttl: "1d", break_dnssec: true}`, `primaries: ["192.0.2.1:5300"]`, "!c.rpz",
			},
			[]string{"zones come by transfer or from files"},
		},
		{
			"PowerDNS Recursor", "recursor", "allow-from=10.0.0.0/8\nlua-config-file=" + lua + "\n",
			[]string{
				`- {zone: "own.rpz", cname: "garden.test", max_ttl: "1d", break_dnssec: true, add_soa: false}`,
				`- {zone: "feed.rpz", answer: "nodata", max_ttl: "60s", break_dnssec: true, add_soa: false}`, `primaries: ["192.0.2.1", "192.0.2.2:5300"]`,
				`tsig: "feed"`, `- {zone: "old.rpz", max_ttl: "1d"`,
			},
			[]string{"not converted: rpzFile", "response policy zones are taken and nothing else"},
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			r, notes := imported(t, test.kind, test.text)
			expect(t, "configuration", body(r), test.want...)
			expect(t, "notes", notes, test.notes...)
			checked(t, r)
		})
	}
}

// checked reports a configuration that is none, but for files that are not there.
func checked(t *testing.T, r *convert.Result) {
	t.Helper()
	if _, err := config.Parse("port53.yaml", r.YAML); err != nil {
		t.Errorf("%v\n%s", err, r.YAML)
	}
}
