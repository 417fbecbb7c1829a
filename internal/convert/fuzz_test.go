package convert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/convert"
)

// FuzzFile gives each reader whatever comes. It may refuse it; what it takes has passed
// config.Parse, and nothing that it prints moves a terminal.
func FuzzFile(f *testing.F) {
	for _, kind := range convert.Kinds() {
		for _, seed := range []string{
			"", "{", "}", "[", "a", "a=b", "a:", "a: b\n c: [d, {e: f}]", "\"", "'", "/*", "zone:\n  name: x\n", "$ORIGIN x.\n@ SOA a b 1 2 3 4 5\n",
			"options { recursion yes; allow-query { !{ !any; }; !key k; none; }; };\nzone \"a\" { type primary; file \"/z\"; };", "zone:\n  - domain: a.test\n    acl: [x, y]\n",
			"key k { algorithm hmac-sha256; secret \"" + secret + "\"; };\nview a { match-clients { !{ key k; 10/8; }; localnets; x; }; match-destinations { 1.2.3.4; }; zone \"a\" { type primary; file \"/z\"; }; };\nview b { recursion no; zone \"a\" { in-view a; }; };\nview c { };",
			"server:\n  access-control-view: 10.0.0.0/8 v\n  access-control-tag: 10.0.0.0/9 \"t\"\n  local-zone: a.b static\n  local-zone-tag: a.b t\nview:\n  name: v\n  view-first: yes\n  local-data: \"x.a.b A 1.2.3.4\"\n",
			"server:\n  interface: 1.2.3.4@5\n  local-data: \"a. 5 IN A 1.2.3.4\"\n  access-control: ::/0 allow\n", "server=/a/b/1.2.3.4#5@6\naddress=/#/1\ncname=a,b\nhost-record=,,\nmx-host=\nsrv-host=a,\ntxt-record=",
			". {\n forward . /etc/resolv.conf {\n except a\n}\nhosts {\n1.2.3.4 a\n}\n}", "launch=bind,\nlocal-address=1.2.3.4:5,::1\n", "forward-zones=a=1.2.3.4;[::1]:5,=,b\nallow-from=!1/8,0/0\nauth-zones==,a=b\n",
			"[dns]\nhosts = [\"1.2.3.4 a\", \"\"]\nrevServers = [\"true,1.0.0.0/8,1.2.3.4,\"]\nx.\"y\" = {a = 1, b = [[]]}\n", "dns:\n  upstream_dns: ['[/a/]1.2.3.4', '[/', '']\nfiltering:\n  rewrites:\n  - domain: '*.'\n    answer: 1.2.3.4\n",
			"1.2.3.4 a b\n0.0.0.0 c\n::1 \x1b[2J\n", "recursor:\n  forward_zones:\n  - zone: a\n    forwarders: []\n  - b\nincoming: x\n",
			"INSERT INTO domains (id,name,type) VALUES (1,'a.test','NATIVE');\nINSERT INTO records (domain_id,name,type,content) VALUES (1,'a.test','SOA','a b'),(1,'a.test','MX',''),(1,'x','SRV','\x1b'),(1,'','A',NULL)",
			"COPY domains (id, name, type) FROM stdin;\n1\ta.\tSLAVE\n\\.\nCOPY records (", "CREATE TABLE records (a, b(", "INSERT INTO domains VALUES ('", "SQLite format 3\x00",
			"[a]\nType=Primary\n[b.]\nType=Secondary\nMasters=ADDRLIST:1.2.3.4\n[]\nType=Forward\nForwarders=,\n", "\xff\xfe[\x00",
			"a: &x [*x]\n", strings.Repeat("[", 500), strings.Repeat("a {\n", 100), strings.Repeat("- ", 300),
		} {
			f.Add(kind, seed)
		}
	}
	f.Fuzz(func(t *testing.T, kind, text string) {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := convert.File(convert.Options{Path: file, Kind: kind, Addrs: machine})
		out := ""
		if err != nil {
			out = err.Error()
		}
		if r != nil {
			out += string(r.YAML)
			for _, n := range r.Notes {
				out += n.String()
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", kind, err, r.YAML)
			}
		}
		if i := strings.IndexFunc(out, func(c rune) bool { return c < 32 && c != '\n' || c >= 127 && c < 160 || c == 0x202e }); i >= 0 {
			t.Errorf("%s: prints %q", kind, out[max(0, i-30):min(len(out), i+10)])
		}
	})
}
