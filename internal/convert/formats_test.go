package convert_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/config"
	"port53/internal/convert"
)

// TestFormats reads configurations that people write, finds out whose they are, and holds what
// becomes of them against what they mean.
func TestFormats(t *testing.T) {
	for _, test := range []struct {
		what, kind, text string
		want             []string // in the configuration
		files            map[string][]string
		notes            []string
	}{
		{
			"a resolver for an office", "unbound", `server:
    interface: 0.0.0.0
    interface: 192.168.1.1@5353
    access-control: 10.0.0.0/8 allow
    access-control: 10.66.0.0/16 refuse
    access-control: 192.168.0.0/16 allow_snoop
    domain-insecure: "corp.lan"
    private-domain: "example.com"
    cache-max-ttl: 3600
    rrset-cache-size: 128m
    do-ip6: no
    hide-identity: yes
    log-queries: yes
    local-zone: "home.lan." static
    local-data: "nas.home.lan. IN A 192.168.1.5"
    local-data: 'nas.home.lan. 600 IN TXT "the box"'
    local-data-ptr: "192.168.1.5 nas.home.lan"
    local-zone: "ads.example." always_nxdomain
    local-zone: "star.lan" redirect
    local-data: "star.lan A 192.168.1.9"
    tls-service-key: "/x"
forward-zone:
    name: "corp.lan"
    forward-addr: 10.0.0.5
    forward-addr: 10.0.0.6@5300
forward-zone:
    name: "."
    forward-addr: 192.0.2.1@853#dns.example
    forward-addr: 192.0.2.2
    forward-first: yes
forward-zone:
    name: "open.example"
stub-zone:
    name: "ad.lan"
    stub-addr: 10.0.0.7
auth-zone:
    name: "auth.test"
    primary: 192.0.2.9
remote-control:
    control-enable: yes
`,
			[]string{
				`listen: ["0.0.0.0", "192.168.1.1:5353"]`, `{zone: "corp.lan", to: ["10.0.0.5", "10.0.0.6:5300"]}`, `{zone: ".", to: ["192.0.2.2"], first: true}`,
				`{zone: "open.example", to: []}`, "stub:\n    - {zone: \"ad.lan\", to: [\"10.0.0.7\"]}", `primaries: ["192.0.2.9"]`, "max_ttl: 3600s", "size: 131072KiB", "ipv6: false",
				"queries: text", `private_zones: ["example.com"]`, `- {name: "corp.lan"}`, "names:\n  \"star.lan\": [\"192.168.1.9\"]\n  \"*.star.lan\": [\"192.168.1.9\"]", `"10.0.0.0/10"`, "!10.66", `"192.168.0.0/16"`,
			},
			map[string][]string{
				"zones/home.lan.zone":                 {"nas.home.lan. 3600 A 192.168.1.5", `nas.home.lan. 600 TXT "the box"`},
				"zones/5.1.168.192.in-addr.arpa.zone": {"5.1.168.192.in-addr.arpa. 3600 PTR nas.home.lan."},
			},
			[]string{"not supported yet: tls-service-key", "not supported yet: local-zone ads.example.", "not supported yet: forward-addr 192.0.2.1@853", "converted: domain-insecure"},
		},
		{
			"nobody but the machine", "unbound", "server:\n  num-threads: 2\n  module-config: \"iterator\"\n",
			[]string{`allow: ["127.0.0.0/8", "::1"]`, "validation: false", `listen: ["127.0.0.1", "::1"]`},
			nil, nil,
		},
		{
			"a home", "dnsmasq", `# comment
no-resolv
no-hosts
server=192.0.2.1
server=192.0.2.2#5353
server=/corp.lan/10.0.0.5 # inside
server=/internal.lan/
rev-server=192.168.2.0/24,192.168.2.1
address=/lab.home.arpa/192.168.1.9
address=/ads.example/0.0.0.0
host-record=nas.home.lan,nas2.home.lan,192.168.1.5,fd00::5
cname=files.home.lan,nas.home.lan
domain=home.lan
local=/home.lan/
expand-hosts
txt-record=home.lan,"hello, world"
mx-host=example.com,mail.example.com,10
dhcp-range=192.168.1.50,192.168.1.150,12h
cache-size=1000
listen-address=127.0.0.1,192.168.1.1
recursoin
`,
			[]string{
				`{zone: ".", to: ["192.0.2.1", "192.0.2.2:5353"]}`, `{zone: "corp.lan", to: ["10.0.0.5"]}`, `{zone: "2.168.192.in-addr.arpa", to: ["192.168.2.1"]}`,
				`listen: ["127.0.0.1", "192.168.1.1"]`, "validation: false", `name: "internal.lan"`, "!first", `"*.lab.home.arpa": ["192.168.1.9"]`,
			},
			map[string][]string{
				"zones/home.lan.zone": {"nas.home.lan. 0 A 192.168.1.5", "nas2.home.lan. 0 AAAA fd00::5", "files.home.lan. 0 CNAME nas.home.lan.", `home.lan. 0 TXT "hello" " world"`},
			},
			[]string{"not supported yet: address", "not converted: dhcp-range", "not converted: recursoin", "not supported yet: mx-host", "changed: cache-size"},
		},
		{
			"a cluster's edge", "corefile", `(common) {
    errors
    log
}
example.org:5300, example.net:5300 {
    file db.example.org example.org
    file db.example.net example.net
    transfer {
        to 192.0.2.8 192.0.2.9:5353
    }
    import common
}
signed.example {
    file db.signed
    dnssec
}
. {
    import common
    hosts {
        192.168.1.5 nas.home.lan
        ttl 60
        fallthrough
    }
    forward . 192.0.2.1 tls://192.0.2.3 {
        except open.example
        force_tcp
    }
    cache 300
    chaos CoreDNS-1
    acl {
        allow net 10.0.0.0/8 127.0.0.0/8
        block
    }
}
corp.lan {
    forward . 10.0.0.5:5353
}
tls://. {
    forward . 192.0.2.1
}
`,
			[]string{
				`{zone: ".", to: ["192.0.2.1"], tcp: true}`, `{zone: "corp.lan", to: ["10.0.0.5:5353"]}`, `{zone: "open.example", to: []}`,
				`secondaries: ["192.0.2.8", "192.0.2.9:5353"]`, "name: \"example.net\"", "!signed.example", "max_ttl: 300s", `version: "CoreDNS-1"`,
				"resolver:\n  allow: [\"10.0.0.0/8\", \"127.0.0.0/8\"]", "!0.0.0.0/0", `"nas.home.lan": ["192.168.1.5"]`,
			},
			nil,
			[]string{"not converted: file db.signed: CoreDNS signs it", "not supported yet: forward . 192.0.2.1 tls://192.0.2.3", "not supported yet: tls://.", "not supported yet: dnssec"},
		},
		{
			"files alone", "corefile", "example.org {\n    file /z/db.example.org\n    whoami\n}\n",
			[]string{"role: authoritative", "!policy", "file: \"/z/db.example.org\""},
			nil,
			[]string{"not supported yet: whoami"},
		},
		{
			"a database", "pdns", "launch=gsqlite3\ngsqlite3-database=/var/lib/powerdns/pdns.sqlite3\nlocal-address=127.0.0.1, ::1\nlocal-port=5300\n",
			[]string{`listen: ["127.0.0.1:5300", "[::1]:5300"]`},
			nil,
			[]string{"not converted: gsqlite3-database /var/lib/powerdns/pdns.sqlite3: /var/lib/powerdns/pdns.sqlite3: there is no such file; or for each of pdnsutil"},
		},
		{
			"a recursor", "recursor", "local-address=127.0.0.1\nallow-from=10.0.0.0/8, !10.1.0.0/16\nforward-zones=corp.lan=10.0.0.5;10.0.0.6:5300, ad.lan=10.0.0.7\nforward-zones-recurse=.=192.0.2.1\ndnssec=process-no-validate\nlua-config-file=/x\nmax-negative-ttl=60\n",
			[]string{
				`{zone: ".", to: ["192.0.2.1"]}`, `{zone: "corp.lan", to: ["10.0.0.5", "10.0.0.6:5300"]}`, "stub:", "validation: false", "max_negative_ttl: 60s", `"10.0.0.0/16"`, "!10.1.",
			},
			nil,
			[]string{"not converted: lua-config-file"},
		},
		{
			"a recursor of today", "recursor-yaml", `incoming:
  listen: [127.0.0.1, "[::1]:5300"]
  allow_from:
  - 10.0.0.0/8
  - 127.0.0.0/8
dnssec:
  validation: validate
recursor:
  forward_zones:
  - zone: corp.lan
    forwarders:
    - 10.0.0.5
  forward_zones_recurse:
  - zone: "."
    forwarders: [192.0.2.1, '192.0.2.2:5300']
  auth_zones:
  - zone: auth.test
    file: /z/auth
  extended_resolution_errors: true
recordcache:
  max_ttl: 3600
`,
			[]string{
				`listen: ["127.0.0.1", "[::1]:5300"]`, "!policy", `allow: ["10.0.0.0/8", "127.0.0.0/8"]`, `{zone: ".", to: ["192.0.2.1", "192.0.2.2:5300"]}`, "stub:\n    - {zone: \"corp.lan\", to: [\"10.0.0.5\"]}",
				`file: "/z/auth"`, "max_ttl: 3600s", "validation: true",
			},
			nil,
			[]string{":3: not converted: extended_resolution_errors true"},
		},
		{
			"a Pi-hole", "pihole", `[dns]
  upstreams = [
    "192.0.2.1", # first
    "192.0.2.2#5353"
  ]
  hosts = [ "192.168.1.5 nas.home.lan nas" ]
  cnameRecords = [ "files.home.lan,nas.home.lan" ]
  revServers = [ "true,192.168.2.0/24,192.168.2.1,other.lan" ]
  domain = "home.lan"
  dnssec = true
  queryLogging = true
  [dns.blocking]
    active = true
[dhcp]
  active = false
[webserver]
  port = "80o,443os"
[misc]
  dnsmasq_lines = [ "address=/lab.lan/192.168.1.9" ]
`,
			[]string{`{zone: ".", to: ["192.0.2.1", "192.0.2.2:5353"]}`, `{zone: "other.lan", to: ["192.168.2.1"]}`, "!validation: false", "queries: text", `"nas": ["192.168.1.5"]`, `"*.lab.lan": ["192.168.1.9"]`},
			map[string][]string{"zones/home.lan.zone": {"nas.home.lan. 0 A 192.168.1.5", "files.home.lan. 0 CNAME"}},
			[]string{"not converted: blocking"},
		},
		{
			"an AdGuard Home", "adguard", `http:
  address: 0.0.0.0:80
dns:
  bind_hosts:
    - 192.168.1.1
  port: 5300
  ratelimit: 20
  upstream_dns:
    - '[/corp.lan/ad.lan/]10.0.0.5:5353'
    - https://dns.example/dns-query
    - 192.0.2.1
    - '# 192.0.2.7'
  allowed_clients:
    - 192.168.0.0/16
  blocked_hosts:
    - version.bind
filters:
  - enabled: true
    url: https://lists.example/1.txt
user_rules:
  - '||ads.example^'
  - 192.168.1.8 printer.lan
filtering:
  rewrites:
    - domain: nas.lan
      answer: 192.168.1.5
    - domain: '*.lab.lan'
      answer: 192.168.1.9
    - domain: files.lan
      answer: nas.lan
  protection_enabled: true
clients:
  persistent: []
`,
			[]string{
				`listen: ["192.168.1.1:5300"]`, `{zone: "corp.lan", to: ["10.0.0.5:5353"]}`, `{zone: "ad.lan", to: ["10.0.0.5:5353"]}`, `{zone: ".", to: ["192.0.2.1"]}`, `allow: ["192.168.0.0/16"]`, "ceiling: 20/s", `"nas.lan": ["192.168.1.5"]`, `"*.lab.lan": ["192.168.1.9"]`, `"files.lan": ["192.168.1.5"]`, `"printer.lan": ["192.168.1.8"]`, "!\"lab.lan\"", `{name: list1, url: "https://lists.example/1.txt"}`,
				`{list: user-rules, answer: [{address: 0.0.0.0}, {address: "::"}]}`,
			},
			map[string][]string{"lists/user-rules.txt": {"||ads.example^"}},
			[]string{"not supported yet: https://dns.example", "not converted: blocked_hosts"},
		},
		{
			"a machine's names", "hosts", "127.0.0.1 localhost\n192.168.1.5 nas.home.lan nas # box\n0.0.0.0 ads.example\n0.0.0.0 more.example\n::1 ip6-localhost\nff02::1 ip6-allnodes\n192.0.2.80 example.org\n",
			[]string{"role: internal-resolver", `"nas.home.lan": ["192.168.1.5"]`, `"nas": ["192.168.1.5"]`, `"example.org": ["192.0.2.80"]`, "!policy", "!ads.example", "!zones:"},
			nil,
			[]string{"not supported yet: 0.0.0.0 ads.example: it is not made a list yet: write one for policy.lists: 2 lines"},
		},
		{
			"a machine's names alone", "hosts", "127.0.0.1 localhost\n127.0.1.1 me.lan me\n192.168.1.5 nas.home.lan nas\n",
			[]string{"hosts:\n  - file: ", "!names:", "!zones:"},
			nil,
			[]string{"changed: 127.0.1.1 me.lan me: addresses of loopback"},
		},
		{
			"a zone file", "zones", "$ORIGIN example.test.\n$TTL 300\n@ IN SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n",
			[]string{"role: authoritative", `name: "example.test"`},
			nil, nil,
		},
		{
			"a zone from Windows", "zones", ";\n;  Database file ad.test.dns for ad.test zone.\n;      Zone version:  12\n;\n\n@  IN SOA dc1.ad.test. hostmaster.ad.test. (\n  12 900 600 86400 3600 )\n@ NS dc1.ad.test.\ndc1 [AGE:3654321] 1200 A 10.0.0.5\n@ 0 WINS L1 C900 ( 10.0.0.9 )\n",
			[]string{`name: "ad.test"`},
			map[string][]string{"zones/ad.test.zone": {"dc1  1200 A 10.0.0.5", "; @ 0 WINS"}},
			[]string{"changed: x.conf: records that look names up in WINS"},
		},
	} {
		t.Run(test.kind+" "+test.what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.conf")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := convert.File(convert.Options{Path: file, Addrs: machine})
			if err != nil {
				if r != nil {
					t.Logf("%s", r.YAML)
				}
				t.Fatal(err)
			}
			if r.Kind != test.kind {
				t.Fatalf("taken for %s", r.Kind)
			}
			var notes strings.Builder
			for _, n := range r.Notes {
				notes.WriteString(n.String() + "\n")
			}
			expect(t, "configuration", body(r), test.want...)
			expect(t, "notes", notes.String(), test.notes...)
			for name, want := range test.files {
				expect(t, name, string(r.Files[name]), want...)
			}
			load(t, r)
			if t.Failed() {
				t.Log(notes.String())
			}
		})
	}
}

// load loads a result with its zone files, as port53 config check would. Zone files that are
// the original's are put in their places.
func load(t *testing.T, r *convert.Result) {
	t.Helper()
	if len(r.Files) == 0 {
		return
	}
	c, err := config.Parse("port53.yaml", r.YAML)
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range c.Zones {
		if rel, err := filepath.Rel(".", z.File); err == nil && strings.HasPrefix(rel, "zones/") && r.Files[rel] == nil {
			t.Errorf("there is no file %s", rel)
		}
	}
}

// TestDetect tells files apart that say little, or are none.
func TestDetect(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, want := range map[string]string{"dnsmasq.conf": "dnsmasq", "recursor.conf": "recursor", "knot.conf": "knot", "named.conf.local": "bind"} {
		if got, err := convert.Detect(write(name, "# all is as it comes\n")); got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := convert.Detect(filepath.Join(dir, "nothing")); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Error(err)
	}
	_, err := convert.Detect(write("x", "what is this?\n"))
	if err == nil {
		t.Fatal("it is taken for something")
	}
	for _, kind := range convert.Kinds() {
		if !strings.Contains(err.Error(), kind) {
			t.Errorf("%v does not name %s", err, kind)
		}
	}
}

// TestSecretsAreNotTold shows that no note has a secret in it.
func TestSecretsAreNotTold(t *testing.T) {
	for kind, text := range map[string]string{
		"pdns":     "launch=\napi-key=hunter2\nwebserver-password=hunter2\ntcp-control-secret=hunter2\n",
		"recursor": "allow-from=10.0.0.0/8\napi-key=hunter2\n",
		"bind":     "key k { algorithm hmac-sha256; secret \"hunter2\"; };\noptions { cookie-secret \"hunter2\"; };",
		"corefile": ". {\n etcd {\n credentials u hunter2\n }\n tsig {\n secret k hunter2\n }\n}\n",
		"pihole":   "[webserver.api]\npwhash = \"hunter2\"\napp_pwhash = \"hunter2\"\n",
		"adguard":  "users:\n- name: a\n  password: hunter2\ndns:\n  port: 53\n",
	} {
		r, notes := imported(t, kind, text)
		if strings.Contains(notes+string(r.YAML), "hunter2") {
			t.Errorf("%s: %s", kind, notes)
		}
	}
}

// TestYAMLTakesNoTime gives the parser of YAML what would keep it busy.
func TestYAMLTakesNoTime(t *testing.T) {
	var keys, stairs strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	for i := range 1000 {
		stairs.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for _, text := range []string{
		keys.String(), stairs.String(), "{" + strings.ReplaceAll(keys.String(), "\n", ", ") + "}",
		strings.Repeat("[", 20_000), strings.Repeat("{a: ", 20_000), strings.Repeat("- ", 20_000), strings.Repeat("a: [[{", 20_000),
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := convert.File(convert.Options{Path: file, Kind: "adguard"}); err == nil || !strings.Contains(err.Error(), "larger, or nested deeper") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// TestManyNames writes more names than a configuration has into a file of hosts.
func TestManyNames(t *testing.T) {
	var text strings.Builder
	text.WriteString("0.0.0.0 ads.example\n") // so that the file itself is not followed
	for i := range 1000 {
		fmt.Fprintf(&text, "10.0.%d.%d n%d.lan\n", i/250, 1+i%250, i)
	}
	r, notes := imported(t, "hosts", text.String())
	expect(t, "configuration", body(r), "hosts:\n  - file: \"imported.hosts\"", "!names:")
	expect(t, "file", string(r.Files["imported.hosts"]), "10.0.0.1 n0.lan\n", "10.0.3.250 n999.lan\n")
	if n := strings.Count(string(r.Files["imported.hosts"]), "\n"); n != 1000 {
		t.Errorf("%d names\n%.2000s", n, notes)
	}
}

// TestHostileFormats puts what moves a terminal's cursor into names, values and keys of each format, whether the
// format can bear it or not.
func TestHostileFormats(t *testing.T) {
	for kind, text := range map[string]string{
		"unbound":       "server:\n  interface: %\n  local-data: \"%.lan A 192.0.2.1\"\n  foo%: 1\nforward-zone:\n  name: \"%.x\"\n  forward-addr: 10.0.0.1\n",
		"dnsmasq":       "address=/%.lan/192.0.2.1\nfoo%=1\nhost-record=%.lan,192.0.2.5\nserver=/%.x/10.0.0.1\ntxt-record=a.lan,%\n",
		"corefile":      "%.test:53 {\n  file /z%\n  foo%\n  forward . 10.0.0.1\n}\n",
		"adguard":       "dns:\n  upstream_dns: ['%']\n  %: 1\nclients: {persistent: [{name: '%', ids: [10.0.0.1]}]}\nfilters: [{name: '%', url: 'https://x.example/%', enabled: true}]\n",
		"pihole":        "[dns]\nupstreams = [\"%\"]\nhosts = [\"192.0.2.4 %.lan\"]\nfoo = \"%\"\n",
		"pdns":          "launch=bind\nfoo%=1\nlocal-address=%\n",
		"recursor":      "forward-zones=%.x=10.0.0.1\nfoo%=1\nallow-from=%\n",
		"recursor-yaml": "recursor: {forward_zones: [{zone: '%.x', forwarders: ['%']}]}\n'%': 1\n",
		"hosts":         "192.0.2.4 %\n% x\n192.0.2.4 a # %\n",
		"bind":          "options { recursion no; version \"%\"; server-id \"%\"; };\nzone \"a.test\" { type primary; file \"/z\"; };\n",
		"windows":       "[Server]\nVersion=0x585d0a06\nFoo%=1\n[%.test]\nType=Primary\nDatabaseFile=%.dns\n[b.test]\nType=Secondary\nMasters=ADDRLIST:%\n",
	} {
		for _, bad := range []string{"\x1b[2J\u009b5m\u202e", "5m\u202e"} { // the latter is well-formed in more places
			file := filepath.Join(t.TempDir(), "x.conf")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "%", bad)), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := convert.File(convert.Options{Path: file, Kind: kind, Addrs: machine})
			out := fmt.Sprint(err)
			if r != nil {
				out += string(r.YAML)
				for _, n := range r.Notes {
					out += fmt.Sprintf("%+v %s", n, n)
				}
				for name, content := range r.Files {
					out += name + string(content)
				}
			}
			if !strings.Contains(out, "5m") && err == nil {
				t.Errorf("%s: nothing of it is told", kind)
			}
			if strings.ContainsAny(out, "\x1b\u009b\u202e") {
				t.Errorf("%s: %q", kind, out)
			}
		}
	}
}
