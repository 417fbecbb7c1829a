package convert_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"port53/internal/config"
	"port53/internal/convert"
	"port53/internal/policy"
)

// machine stands for the addresses of the machine that a configuration is imported on.
func machine() ([]net.Addr, error) {
	var out []net.Addr
	for _, text := range []string{"127.0.0.1/8", "192.168.7.5/24", "203.0.113.9/28", "fd00:7::5/64"} {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		out = append(out, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	return out, nil
}

// imported returns what becomes of a configuration, and all notes.
func imported(t *testing.T, kind, text string) (r *convert.Result, notes string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := convert.File(convert.Options{Path: file, Kind: kind, Addrs: machine})
	if err != nil {
		t.Fatal(err, r)
	}
	for _, n := range r.Notes {
		notes += n.String() + "\n"
	}
	return r, notes
}

// body returns a configuration without the remarks at its head.
func body(r *convert.Result) string {
	_, text, _ := strings.Cut("\n"+string(r.YAML), "\nrole:")
	return "role:" + text
}

// expect looks for texts in a configuration, and for others that begin with ! not to be there.
func expect(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if w, not := strings.CutPrefix(w, "!"); strings.Contains(text, w) == not {
			t.Errorf("%s: %q is there: %v\n%s", what, w, not, text)
		}
	}
}

// TestBINDMeansTheSame holds what becomes of a named.conf against what BIND does by it.
func TestBINDMeansTheSame(t *testing.T) {
	const corp = `zone "corp.test" { type primary; file "/z/corp"; };` + "\n"
	for _, test := range []struct {
		what, text string
		want       []string
		notes      []string
	}{
		{
			"forward only", `options { recursion yes; forward only; forwarders { 192.0.2.1; }; };
zone "corp.lan" { type forward; forward only; forwarders { 10.0.0.5; }; };`,
			[]string{`{zone: ".", to: ["192.0.2.1"]}`, `{zone: "corp.lan", to: ["10.0.0.5"]}`, "!first"},
			[]string{"converted: forward only", "!not converted", "converted: zone corp.lan"},
		},
		{
			"forward first", `options { forwarders port 5353 { 192.0.2.1; 192.0.2.2 port 54; }; };`,
			[]string{`{zone: ".", to: ["192.0.2.1:5353", "192.0.2.2:54"], first: true}`},
			nil,
		},
		{
			"an exception of forwarding", `options { recursion yes; forwarders { 192.0.2.1; }; };
zone "a.example" { type forward; forwarders { }; };`,
			[]string{`{zone: "a.example", to: []}`},
			[]string{"converted: zone a.example", "!not converted"},
		},
		{
			"an exception of nothing", `zone "a.example" { type forward; forwarders { }; };`,
			[]string{"!forward:"},
			[]string{"changed: zone a.example: names of zone a.example are resolved by iteration"},
		},
		{
			"a mixed server", `options { recursion yes; allow-recursion { 10.0.0.0/8; }; allow-query { any; }; };` + corp,
			[]string{`policy:` + "\n" + `  allow: ["0.0.0.0/0", "::/0"]`, "resolver:\n  allow: [\"10.0.0.0/8\"]", "enabled: true", `exempt: ["10.0.0.0/8"]`, "!allow_query"},
			[]string{"!not converted"},
		},
		{
			"a mixed server by default", `options { };` + corp,
			[]string{`  allow: ["0.0.0.0/0", "::/0"]`, "!resolver:"},
			nil,
		},
		{
			"a mixed server, told by its zones", `options { allow-query { 10.0.0.0/8; }; };
zone "open.test" { type primary; file "/z/open"; allow-query { any; }; };` + corp,
			[]string{
				`  allow: ["0.0.0.0/0", "::/0"]`, "resolver:\n  allow: [\"10.0.0.0/8\"]",
				"name: \"corp.test\"\n    file: \"/z/corp\"\n    allow_query: [\"10.0.0.0/8\"]", "!file: \"/z/open\"\n    allow_query",
			},
			[]string{"!not converted"},
		},
		{
			"all for inside", `options { allow-query { 10.0.0.0/8; }; };` + corp,
			[]string{"resolver:\n  allow: [\"10.0.0.0/8\"]", "!policy", "!allow_query"},
			nil,
		},
		{
			"the cache decides too", `options { allow-recursion { 10.0.0.0/8; }; allow-query-cache { 10.1.0.0/16; 192.168.0.0/16; }; };` + corp,
			[]string{"resolver:\n  allow: [\"10.1.0.0/16\"]"},
			nil,
		},
		{
			"the cache alone", `options { allow-query-cache { 10.1.0.0/16; }; };`,
			[]string{"resolver:\n  allow: [\"10.1.0.0/16\"]"},
			nil,
		},
		{
			"an exception of clients", `acl inside { !10.0.0.5; 10.0.0.0/30; 10.0.0.4/30; };
options { allow-recursion { inside; }; allow-query { any; }; };` + corp,
			[]string{`resolver:` + "\n" + `  allow: ["10.0.0.0/30", "10.0.0.4", "10.0.0.6/31"]`},
			[]string{"!not converted"},
		},
		{
			"an exception that comes too late", `options { allow-query { 10.0.0.0/8; !10.0.0.5; }; };`,
			[]string{`allow: ["10.0.0.0/8"]`},
			nil,
		},
		{
			"what is not known is not let in by an exception", `options { allow-query { 192.168.0.0/16; !geoip country DE; 10.0.0.0/8; }; };`,
			[]string{`allow: ["192.168.0.0/16"]`},
			[]string{"not converted: ! geoip"},
		},
		{
			"blackhole", `options { blackhole { 203.0.113.0/24; }; recursion no; };` + corp,
			[]string{"policy:\n  deny: [\"203.0.113.0/24\"]", "role: authoritative"},
			[]string{"changed: blackhole"},
		},
		{
			"a blackhole within", `options { blackhole { 10.9.0.0/16; }; allow-query { 10.8.0.0/15; }; };` + corp,
			[]string{"resolver:\n  allow: [\"10.8.0.0/16\"]", `do_not_query: ["127.0.0.0/8", "::1", "10.9.0.0/16"]`},
			nil,
		},
		{
			"an open resolver", `options { allow-recursion { any; }; };` + corp,
			[]string{`"10.0.0.0/8"`, `"192.168.0.0/16"`, "role: internal-resolver", `policy:` + "\n" + `  allow: ["0.0.0.0/0", "::/0"]`},
			[]string{"not converted: allow-recursion: strangers do not get recursion"},
		},
		{
			"this machine's networks", `options { allow-recursion { localhost; localnets; }; };` + corp,
			[]string{"!resolver:"},
			[]string{"changed: localnets", "203.0.113.0/28"},
		},
		{
			"this machine's networks and others", `options { allow-recursion { localnets; 10.0.0.0/8; }; };` + corp,
			[]string{`"10.0.0.0/8"`, `"192.168.7.0/24"`, `"fd00:7::/64"`, `"203.0.113.9"`, "!203.0.113.0/28"},
			nil,
		},
		{
			"nobody recurses", `options { allow-recursion { none; }; };` + corp,
			[]string{"role: authoritative", "!policy"},
			nil,
		},
		{
			"nobody may ask for one", `options { recursion no; };
zone "x.test" { type primary; file "/z/x"; allow-query { none; }; };` + corp,
			[]string{"!x.test"},
			[]string{"not converted: zone x.test: nobody may ask for it"},
		},
		{
			"signed by BIND", `options { recursion no; };
zone "a.test" { type primary; file "/z/a"; dnssec-policy default; inline-signing yes; };
zone "b.test" { type primary; file "/z/b"; auto-dnssec maintain; };
zone "i.test" { type primary; file "/z/i"; inline-signing yes; };
zone "c.test" { type primary; file "/z/c"; dnssec-policy none; };`,
			[]string{"name: \"a.test\"\n    file: \"/z/a\"\n    dnssec: {policy: \"default\", keys_from: ", "!b.test", "!i.test", "c.test"},
			[]string{"changed: dnssec-policy default: signing is taken over: the keys are copied from", "not converted: zone b.test: BIND signs it (maintain)", "converted: zone c.test"},
		},
		{
			"signed by policies", `options { recursion no; directory "/var/bind"; };
dnssec-policy "split" { keys { ksk key-directory lifetime unlimited algorithm ed25519; zsk lifetime P90D algorithm 15; }; nsec3param iterations 0 optout yes salt-length 0; dnskey-ttl PT10M; purge-keys 30d; };
dnssec-policy "mixed" { keys { csk lifetime 1y algorithm ecdsap256sha256; csk lifetime 0 algorithm ed25519; }; };
zone "a.test" { type primary; file "a"; dnssec-policy split; key-directory "keys"; };
zone "b.test" { type primary; file "b"; dnssec-policy mixed; };`,
			[]string{
				`dnssec_policies:` + "\n" + `  - {name: "split", zsk_lifetime: 7776000s, algorithm: ed25519, keys: split, denial: nsec3-opt-out, dnskey_ttl: 600s, purge: 2592000s}`,
				`dnssec: {policy: "split", keys_from: "/var/bind/keys"}`, "!b.test",
			},
			[]string{"not converted: zone b.test: BIND signs it (mixed)", "changed: dnssec-policy split: "},
		},
		{
			"signed by an option for all", `options { recursion no; dnssec-policy default; };
zone "d.test" { type primary; file "/z/d"; };
zone "e.test" { type primary; file "/z/e"; dnssec-policy none; };`,
			[]string{"name: \"d.test\"\n    file: \"/z/d\"\n    dnssec: {policy: \"default\"", "name: \"e.test\"\n    file: \"/z/e\"\n"},
			[]string{"signing is taken over"},
		},
		{
			"keys where port53 has them", `options { max-cache-size 512M; querylog yes; version "none of yours"; max-ncache-ttl 600; dnssec-validation no; recursive-clients 5000; };`,
			[]string{"size: 524288KiB", "queries: text", `version: "none of yours"`, "max_negative_ttl: 600s", "validation: false", "waiting: 5000"},
			[]string{"converted: max-cache-size", "converted: querylog", "!changed", "!not converted"},
		},
		{
			"keys that are beyond bounds", `options { max-cache-ttl 9999999; max-cache-size unlimited; };`,
			[]string{"!cache:"},
			[]string{"changed: max-cache-ttl", "changed: max-cache-size"},
		},
		{
			"the key of rndc", `key "rndc-key" { algorithm hmac-sha256; secret "` + secret + `"; };
controls { inet 127.0.0.1 allow { localhost; } keys { "rndc-key"; }; };
options { recursion no; };` + corp,
			[]string{"!rndc", "!keys:"},
			[]string{"changed: key rndc-key: left out"},
		},
		{
			"a key for a server", `key k { algorithm hmac-sha256; secret "` + secret + `"; };
server 192.0.2.1 { keys { k; }; };
options { recursion no; };
zone "s.test" { type secondary; primaries { 192.0.2.1; }; };`,
			[]string{`tsig: "k"`, "!insecure"},
			nil,
		},
		{
			"a key from inside only", `key k { algorithm hmac-sha256; secret "` + secret + `"; };
options { recursion no; allow-transfer { !{ !10.0.0.0/8; any; }; key k; }; };` + corp,
			[]string{`allow_transfer: ["10.0.0.0/8"]`, `tsig: "k"`},
			[]string{"!not converted"},
		},
		{
			"secondaries from outside of those who may ask", `options { recursion no; allow-query { 10.0.0.0/8; }; };
zone "s.test" { type primary; file "/z/s"; allow-transfer { 192.0.2.8; }; };` + corp,
			[]string{"policy:\n  allow: [\"10.0.0.0/8\", \"192.0.2.8\"]", "file: \"/z/s\"\n    allow_query: [\"10.0.0.0/8\"]", "file: \"/z/corp\"\n    allow_query: [\"10.0.0.0/8\"]"},
			nil,
		},
		{
			"a key from anywhere", `key k { algorithm hmac-sha256; secret "` + secret + `"; };
options { recursion no; allow-query { 10.0.0.0/8; }; };
zone "s.test" { type primary; file "/z/s"; allow-transfer { key k; }; };`,
			[]string{"!policy", "allow_query: [\"10.0.0.0/8\"]"},
			nil,
		},
		{
			"servers that are none", `options { forwarders { 0.0.0.0; 192.0.2.1; 224.0.0.1; }; };
zone "s.test" { type secondary; primaries { 0.0.0.0; }; };`,
			[]string{`to: ["192.0.2.1"]`, "!s.test"},
			[]string{"0.0.0.0 is the address of no server"},
		},
		{
			"one view", `view "all" { match-clients { 10.0.0.0/8; }; recursion no; ` + corp + ` };`,
			[]string{"role: authoritative", `allow: ["10.0.0.0/8"]`, "corp.test"},
			[]string{"!not converted", "converted: view all"},
		},
		{
			"a raw zone", `options { recursion no; masterfile-format raw; };` + corp,
			[]string{"!corp.test\"\n"},
			[]string{"not converted: zone corp.test: its file is not text"},
		},
		{
			"listeners that match", `options { listen-on { 192.168.0.0/16; }; listen-on-v6 { none; }; };`,
			[]string{`listen: ["192.168.7.5"]`},
			[]string{"changed: listen-on"},
		},
		{
			"asking itself", `options { listen-on { 127.0.0.1; }; listen-on-v6 { none; }; forwarders { 127.0.0.1; }; };`,
			[]string{"!forward:"},
			[]string{"not converted: forwarders: the server would ask itself"},
		},
		{
			"what is to come", `options { deny-answer-aliases { "rpz"; }; dns64 64:ff9b::/96 { }; forwarders { 192.0.2.1 tls t; 192.0.2.2; }; }; tls t { };`,
			[]string{`to: ["192.0.2.2"]`},
			[]string{"not supported yet: deny-answer-aliases", "not converted: dns64", "not supported yet: 192.0.2.1 tls t", "not supported yet: tls t"},
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			r, notes := imported(t, "bind", test.text)
			expect(t, "configuration", body(r), test.want...)
			expect(t, "notes", notes, test.notes...)
		})
	}
}

// TestRepeatedLines shows that what many zones inherit is told once.
func TestRepeatedLines(t *testing.T) {
	text := "options { recursion no; allow-transfer { 192.0.2.1; !192.0.2.2; }; };\n"
	for i := range 7 {
		text += fmt.Sprintf("zone \"z%d.test\" { type primary; file \"/z\"; };\n", i)
	}
	_, notes := imported(t, "bind", text)
	if n := strings.Count(notes, "allow-transfer"); n != 1 {
		t.Errorf("told %d times:\n%s", n, notes)
	}
}

// TestView takes the view that is asked for, and tells of the others.
func TestView(t *testing.T) {
	file := filepath.Join(t.TempDir(), "named.conf")
	text := `options { recursion yes; };
view "in" { match-clients { 10.0.0.0/8; }; allow-recursion { any; }; zone "a.test" { type primary; file "/in/a"; }; };
view "out" { match-clients { any; }; recursion no; zone "a.test" { type primary; file "/out/a"; }; };`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for view, want := range map[string][]string{
		"in":  {"/in/a", `allow: ["10.0.0.0/8"]`, "internal-resolver", "!/out/a", "!views"},
		"out": {"/out/a", "role: authoritative", "!/in/a", "!policy", "!views"},
	} {
		r, err := convert.File(convert.Options{Path: file, View: view})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "view "+view, body(r), want...)
		if r.Complete() || strings.Contains(string(r.YAML), "port53 has nothing like it") {
			t.Errorf("view %s: the others are not told, or its options: %s", view, r.YAML)
		}
	}
}

// TestViews takes all views of a file.
func TestViews(t *testing.T) {
	keys := `key k { algorithm hmac-sha256; secret "` + secret + `"; }; key l { algorithm hmac-sha256; secret "` + secret + `"; };
options { recursion no; listen-on { any; }; listen-on-v6 { none; }; };
`
	zone := func(name, file string) string {
		return ` zone "` + name + `" { type primary; file "` + file + `"; };`
	}
	for _, test := range []struct {
		what, text  string
		want, notes []string
	}{
		{
			"inside and outside",
			`view in { match-clients { 10.0.0.0/8; }; allow-recursion { any; }; forwarders { 192.0.2.1; }; forward only;` + zone("a.test", "/in") + `};
view out { match-clients { any; }; recursion no;` + zone("a.test", "/out") + `};`,
			[]string{
				"role: internal-resolver", "match: {clients: [\"10.0.0.0/8\"]}\n    resolver:\n      allow: [\"10.0.0.0/8\"]\n      forward:\n        - {zone: \".\", to: [\"192.0.2.1\"]}\n",
				"match: {}\n    policy:\n      allow: [\"0.0.0.0/0\", \"::/0\"]\n    resolver:\n      recursion: false\n",
				"file: \"/in\"\n    views: [\"in\"]", "file: \"/out\"\n    views: [\"out\"]", "enabled: true", `exempt: ["10.0.0.0/8"]`, "!deny",
			},
			[]string{"!not converted", "!not supported yet"},
		},
		{
			"whoever is in none", keys + `view a { match-clients { 10.0.0.0/8; };` + zone("a.test", "/a") + `}; view b { match-clients { 192.168.0.0/16; };` + zone("a.test", "/a") + `};`,
			[]string{`views: ["a", "b"]`, "\npolicy:\n  deny: [\"0.0.0.0/0\", \"::/0\"]", "match: {clients: [\"10.0.0.0/8\"]}\n    policy:\n      deny: []\n"},
			[]string{"!not converted"},
		},
		{
			"keys from everywhere", keys + `view a { match-clients { key k; 10.0.0.0/8; };` + zone("a.test", "/a") + `}; view b { match-clients { !key k; any; };` + zone("a.test", "/b") + `};`,
			[]string{`match: {clients: ["10.0.0.0/8", {key: "k"}]}`, `match: {except: [{key: "k"}]}`, `{name: "k", algorithm`, `!"l"`},
			[]string{"!not converted"},
		},
		{
			"keys alone", keys + `view a { match-clients { key k; key l; };` + zone("a.test", "/a") + `}; view b {` + zone("a.test", "/b") + `};`,
			[]string{`match: {key: ["k", "l"]}`, "match: {}"},
			[]string{"!not converted"},
		},
		{
			"a key from some networks", keys + `acl near { !10.0.0.1; 10.0.0.0/30; };
view a { match-clients { 192.168.0.0/16; !{ !near; any; }; key k; };` + zone("a.test", "/a") + `};`,
			[]string{`name: "a"` + "\n" + `    match: {clients: ["192.168.0.0/16"]}`, `name: "a-2"` + "\n" + `    match: {clients: ["10.0.0.0", "10.0.0.2/31", "192.168.0.0/16"], key: ["k"]}`, `views: ["a", "a-2"]`},
			[]string{"changed: view a: it is called a and a-2 here", "!not converted"},
		},
		{
			"one view by an address", keys + `view a { match-clients { 10.0.0.0/8; }; match-destinations { 192.168.7.5; 127.0.0.1; 198.51.100.1; };` + zone("a.test", "/a") + `};`,
			[]string{`match: {clients: ["10.0.0.0/8"], listen: ["127.0.0.1", "192.168.7.5", "198.51.100.1"]}`},
			[]string{"!not converted"},
		},
		{
			"shared zones", keys + `view common { match-clients { none; }; allow-query { 10.0.0.0/8; 192.0.2.0/24; };` + zone("s.test", "/s") + zone("alone.test", "/l") + `};
view a { match-clients { 10.0.0.0/8; }; zone "s.test" { in-view common; }; };
view b { match-clients { any; }; zone "s.test" { in-view "common"; }; zone "none.test" { in-view a; };` + zone("b.test", "/b") + `};`,
			[]string{"file: \"/s\"\n    views: [\"a\", \"b\"]\n    allow_query: [\"10.0.0.0/8\", \"192.0.2.0/24\"]", "!alone", "!common", "!none.test\"\n"},
			[]string{"changed: view common: no client is in it", "not converted: zone none.test: view a has no such zone"},
		},
		{
			"who is not known to be in it",
			keys + `view a { match-clients { 10.0.0.0/8; geoip country DE; };` + zone("a.test", "/a") + `}; view b { match-clients { any; };` + zone("a.test", "/b") + `};`,
			[]string{"name: \"b\"\n    match: {}\n    policy:\n      allow: [\"10.0.0.0/8\"]\n"},
			[]string{"not converted: geoip country DE: only networks, addresses, ACLs and keys are known: whoever"},
		},
		{
			"names of views, and classes",
			keys + `view Default { match-clients { 10.0.0.0/8; };` + zone("a.test", "/a") + `}; view "The Guests!" { match-clients { 10.0.0.0/7; };` + zone("a.test", "/b") + `};
view bind CH { zone "bind" CH { type primary; file "/c"; }; }; view all {` + zone("a.test", "/c") + `}; view late {` + zone("a.test", "/d") + `};`,
			[]string{`name: "view"`, `name: "the-guests"`, `name: "all"`, "!late", "!/d"},
			[]string{"changed: view Default: it is called view here", "not converted: view bind CH", "changed: view late: no client gets it"},
		},
		{
			"options of views", keys + `zone "lost.test" { type primary; file "/x"; }; options { dnssec-validation yes; validate-except { "x.test"; }; };
view a { match-clients { 10.0.0.0/8; }; recursion yes; allow-recursion { 10.1.0.0/16; }; allow-query { 10.0.0.0/9; }; dnssec-validation no; max-cache-size 10M;
 validate-except { "b.test"; }; zone "f.test" { type forward; forward only; forwarders { 192.0.2.3; }; };` + zone("a.test", "/a") + `};
view b { match-clients { 192.168.0.0/16; }; recursion yes; zone "f.test" { type forward; forward only; forwarders { 192.0.2.4; }; }; };`,
			[]string{
				"    policy:\n      allow: [\"10.0.0.0/9\"]", "      allow: [\"10.1.0.0/16\"]", "      validation: false", "      negative_trust_anchors:\n        - {name: \"b.test\"}",
				"\n  negative_trust_anchors:\n    - {name: \"x.test\"}", `      allow: ["192.168.7.0/24"]`, `        - {zone: "f.test", to: ["192.0.2.3"]}`, `        - {zone: "f.test", to: ["192.0.2.4"]}`, "!lost", "!10240KiB",
			},
			[]string{"not converted: zone lost.test: it is in no view", "not converted: max-cache-size 10M: it is said of the whole server"},
		},
		{
			"order of records", keys + `options { rrset-order { order cyclic; }; }; view a { match-clients { 10.0.0.0/8; }; rrset-order { order none; };` + zone("a.test", "/a") + `}; view b {` + zone("a.test", "/b") + `};`,
			[]string{"    match: {clients: [\"10.0.0.0/8\"]}\n    rrset_order: fixed\n", "    match: {}\nzones", "\nrrset_order: cyclic\n"},
			[]string{"!not converted"},
		},
		{
			"keys of one name", keys + `view a { match-clients { 10.0.0.0/8; }; key k { algorithm hmac-sha256; secret "` + secret + `"; }; zone "a.test" { type primary; file "/a"; allow-transfer { key k; }; }; };
view b { match-clients { key k; 192.168.0.0/16; }; key k { algorithm hmac-sha256; secret "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC0xMjM0NTY="; }; zone "a.test" { type primary; file "/b"; allow-transfer { key k; }; }; };`,
			[]string{"file: \"/a\"\n    views: [\"a\"]\n    allow_transfer: [{key: \"k\"}]", "file: \"/b\"\n    views: [\"b\"]\npolicy", `match: {clients: ["192.168.0.0/16"]}`},
			[]string{"not converted: key k: it is there already", "not converted: allow-transfer: there is no key k", "not converted: match-clients: there is no key k"},
		},
		{
			"shared zones that views narrow", keys + `view a { match-clients { 10.0.0.0/8; }; zone "s.test" { type primary; file "/s"; allow-query { 10.1.0.0/16; 192.168.0.0/16; }; };` + zone("open.test", "/o") + `};
view b { match-clients { 192.168.0.0/16; }; zone "s.test" { in-view a; }; }; view c { match-clients { 172.16.0.0/12; }; zone "s.test" { type primary; file "/s"; allow-query { 10.1.0.0/16; 192.168.0.0/16; 172.16.0.0/12; }; }; };
view d { match-clients { 100.64.0.0/10; };` + zone("t.test", "/t") + `}; view e { match-clients { 100.0.0.0/10; }; zone "t.test" { in-view d; }; }; view f { match-clients { 101.0.0.0/8; };` + zone("t.test", "/t") + `};`,
			[]string{
				"file: \"/s\"\n    views: [\"a\", \"b\"]\n    allow_query: [\"10.1.0.0/16\", \"192.168.0.0/16\"]", "!views: [\"d\", \"e\", \"f\"]",
				"file: \"/t\"\n    views: [\"f\"]",
			},
			[]string{"!not converted"},
		},
		{
			"this machine's networks", `view a { match-clients { localnets; }; allow-recursion { any; };` + zone("a.test", "/a") + `};
view b { allow-recursion { none; };` + zone("a.test", "/b") + `};`,
			[]string{
				`match: {clients: ["127.0.0.0/8", "192.168.7.0/24", "203.0.113.0/28", "::1", "fd00:7::/64"]}`,
				`      allow: ["127.0.0.0/8", "192.168.7.0/24", "203.0.113.9", "::1", "fd00:7::/64"]`,
			},
			[]string{"changed: localnets", "!not converted"},
		},
		{
			"keys for servers", keys + `view a { match-clients { 10.0.0.0/8; }; server 192.0.2.1 { keys k; bogus no; send-cookie yes; }; zone "s.test" { type secondary; primaries { 192.0.2.1; }; }; };
view b { server 192.0.2.2 { bogus yes; }; zone "s.test" { type secondary; primaries { 192.0.2.1; }; }; };`,
			[]string{"views: [\"a\"]\n    tsig: \"k\"", "views: [\"b\"]\n    insecure: true"},
			[]string{"not converted: bogus yes: it is said of the whole server", "!not converted: bogus no"},
		},
		{
			"more views than there can be", keys + manyViews(64, zone("a.test", "/a")) + "view last {" + zone("a.test", "/b") + "};",
			[]string{`name: "v62"`, "!v63", "!last", "\npolicy:\n  deny: [\"0.0.0.0/0\", \"::/0\"]", "    policy:\n      deny: []\n"},
			[]string{"not converted: view v63: there can be 63 views", "not converted: view last: there can be"},
		},
		{
			"nobody's view takes nothing away", keys + `view bad { match-clients { 10.6.6.0/24; }; }; view b { recursion yes; allow-recursion { 10.0.0.0/8; };` + zone("a.test", "/a") + `};`,
			[]string{"clients: [\"10.6.6.0/24\"]}\n    policy:\n      deny: [\"0.0.0.0/0\", \"::/0\"]\n    resolver:\n      recursion: false\n"},
			[]string{"!not converted"},
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			r, notes := imported(t, "bind", test.text)
			expect(t, "configuration", body(r), test.want...)
			expect(t, "notes", notes, test.notes...)
		})
	}
}

func manyViews(n int, zones string) (text string) {
	for i := range n {
		text += fmt.Sprintf("view v%d { match-clients { 10.%d.0.0/16; };%s};\n", i, i, zones)
	}
	return text
}

// TestUnboundViews takes views and tags of Unbound.
func TestUnboundViews(t *testing.T) {
	const head = "server:\n  interface: 127.0.0.1\n  define-tag: \"one two\"\n  access-control: 10.0.0.0/8 allow\n"
	for _, test := range []struct {
		what, text  string
		want, notes []string
	}{
		{
			"a view with names of its own", head + `  access-control-view: 10.1.0.0/16 guests
  local-zone: home.lan. static
  local-data: "nas.home.lan. A 192.0.2.1"
  local-data: "one.lan. A 192.0.2.2"
view:
  name: guests
  local-zone: home.lan. static
  local-data: "box.home.lan. A 192.0.2.3"
  local-data-ptr: "192.0.2.3 box.home.lan"
`,
			[]string{
				"name: \"guests\"\n    match: {clients: [\"10.1.0.0/16\"]}", "file: \"zones/home.lan.zone\"\n    views: [\"default\"]", "file: \"zones/one.lan.zone\"\n    views: [\"default\"]",
				"file: \"zones/home.lan@guests.zone\"\n    views: [\"guests\"]", "file: \"zones/3.2.0.192.in-addr.arpa@guests.zone\"\n    views: [\"guests\"]", "!names:",
			},
			[]string{"!not converted", "!not supported yet"},
		},
		{
			"a view before what is for all", head + `  access-control-view: 10.1.0.0/16 First
  access-control: 10.1.1.0/24 allow
  local-zone: home.lan. static
  local-zone: sub.open.lan. static
  local-zone: sub.own.lan. static
  local-data: "one.lan. A 192.0.2.2"
view:
  name: First
  view-first: yes
  local-zone: home.lan. static
  local-zone: own.lan. static
  local-zone: open.lan. transparent
`,
			[]string{
				"name: \"first\"\n    match: {clients: [\"10.1.0.0/24\", \"10.1.2.0/23\", ", "home.lan.zone\"\n    views: [\"default\"]", "home.lan@first.zone\"\n    views: [\"first\"]",
				"sub.own.lan.zone\"\n    views: [\"default\"]", "sub.open.lan.zone\"\n  - name", "one.lan.zone\"\n",
			},
			[]string{"changed: view: it is called first here", "!not converted"},
		},
		{
			"tags alone leave names as they are", head + `  access-control-tag: 10.1.0.0/16 "one"
  access-control-tag: 10.1.1.0/24 "two"
  local-zone: tag.lan. static
  local-zone-tag: tag.lan. "two three"
  local-data: "tag.lan. A 192.0.2.1"
  local-data: "one.lan. A 192.0.2.2"
  local-zone: none.lan. static
  local-zone-tag: none.lan. "three"
`,
			[]string{"name: \"two\"\n    match: {clients: [\"10.1.1.0/24\"]}", "file: \"zones/tag.lan@three-two.zone\"\n    views: [\"two\"]", "names:\n  \"one.lan\"", "!none.lan", `!"one"`},
			[]string{"changed: local-zone none.lan. static: as a zone it has an SOA record and a name server; no client sees it", "!not converted"},
		},
		{
			"tags that no client has", head + "  local-zone: tag.lan. static\n  local-zone-tag: tag.lan. two\n  local-data: \"tag.lan. A 192.0.2.1\"\n",
			[]string{"!tag.lan", "!views"},
			[]string{"changed: local-data tag.lan. A 192.0.2.1: no client sees it"},
		},
		{
			"views of nobody, and none", head + `  access-control-view: 10.1.0.0/16 missing
  access-control-view: 10.2.0.0/16 empty
  access-control-tag-action: 10.0.0.0/8 one refuse
view:
  name: empty
view:
  name: lonely
  local-data: "x.lan. A 192.0.2.1"
`,
			[]string{"!views:", "!x.lan", `"10.2.0.0/15"`},
			[]string{"there is no view missing", "changed: view: no client is in it", "not converted: access-control-tag-action"},
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			r, notes := imported(t, "unbound", test.text)
			expect(t, "configuration", body(r), test.want...)
			expect(t, "notes", notes, test.notes...)
		})
	}
}

// TestWaysIntoViews builds lists of networks, keys, exceptions and lists at random, and sees for every
// address and signer whether the view is his, as BIND takes them.
func TestWaysIntoViews(t *testing.T) {
	r := rand.New(rand.NewPCG(53, 5))
	names := []string{"", "k", "l", "m"}
	for round := range 80 {
		text, fits := randomMatch(r, 0)
		all := ""
		for _, k := range names[1:] {
			all += "key " + k + " { algorithm hmac-sha256; secret \"" + secret + "\"; };\n"
		}
		all += "options { recursion no; };\nview a { match-clients { " + text + "}; zone \"a.test\" { type primary; file \"/a\"; }; };\nview b { zone \"a.test\" { type primary; file \"/b\"; }; };"
		out, _ := imported(t, "bind", all)
		c, err := config.Parse("x", out.YAML)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 256 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			for _, key := range names {
				file := ""
				for j := range c.Views {
					if !matches(&c.Views[j].Match, addr, key) {
						continue
					}
					for _, z := range c.Zones {
						if slices.Contains(z.Views, c.Views[j].Name) {
							file = z.File
						}
					}
					break
				}
				want := "/b"
				if fits(addr, key) > 0 {
					want = "/a"
				}
				if file != want {
					t.Fatalf("round %d: %v with key %q sees %s, in BIND %s: { %s}\n%s", round, addr, key, file, want, text, body(out))
				}
			}
		}
	}
}

// randomMatch returns a list and what it decides: above 0 it matches, below it does not and nothing behind
// it counts.
func randomMatch(r *rand.Rand, depth int) (text string, fits func(netip.Addr, string) int) {
	var rules []func(netip.Addr, string) int
	for range 1 + r.IntN(4) {
		var one func(netip.Addr, string) int
		not := r.IntN(3) == 0
		if not {
			text += "!"
		}
		switch n := r.IntN(4); {
		case n == 0:
			key := []string{"k", "l", "m"}[r.IntN(3)]
			text += "key " + key + "; "
			one = func(_ netip.Addr, k string) int { return map[bool]int{true: 1}[k == key] }
		case n == 1 && depth < 2:
			inner, in := randomMatch(r, depth+1)
			text += "{ " + inner + "}; "
			one = func(a netip.Addr, k string) int { return max(in(a, k), 0) }
		default:
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), 24+r.IntN(9)).Masked()
			if r.IntN(6) == 0 {
				p = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			}
			text += p.String() + "; "
			one = func(a netip.Addr, _ string) int { return map[bool]int{true: 1}[p.Contains(a)] }
		}
		rules = append(rules, func(a netip.Addr, k string) int {
			if not {
				return -one(a, k)
			}
			return one(a, k)
		})
	}
	return text, func(a netip.Addr, k string) int {
		for _, rule := range rules {
			if n := rule(a, k); n != 0 {
				return n
			}
		}
		return 0
	}
}

// matches reports whether a client is a view's, where no networks are excepted.
func matches(m *config.Match, addr netip.Addr, key string) bool {
	has := func(keys [][]byte) bool {
		return slices.ContainsFunc(keys, func(k []byte) bool { return key != "" && string(k[1:len(k)-1]) == key })
	}
	clients := len(m.Clients)+len(m.ClientKeys) == 0 || has(m.ClientKeys) || slices.ContainsFunc(m.Clients, func(p netip.Prefix) bool { return p.Contains(addr) })
	return clients && !has(m.ExceptKeys) && (len(m.Key) == 0 || has(m.Key))
}

// TestHostileText shows that nothing of a file reaches a terminal as it is, in no format and
// on no way.
func TestHostileText(t *testing.T) {
	const bad = "\x1b[2J\u009b5m\u202e\x00\xff"
	for kind, texts := range map[string][]string{
		"bind": {
			"options { recursion no; " + bad + " 1; }; zone \"" + bad + ".test\" { type primary; file \"/z" + bad + "\"; };",
			"zone \"ok.test\" { type primary; file \"/z\"; };\noptions { recursion no; version \"" + bad + "\" ",
			"options { recursion no; };\nzone \"ok.test\" { type primary; file \"/" + bad + "\"; }; include \"/nonexistent" + bad + "\";",
		},
		"nsd":  {"zone:\n  name: \"" + bad + "\"\n  zonefile: \"" + bad + "\"\n", bad + " x\n", "include: \"" + bad + "\"\n"},
		"knot": {"zone:\n  - domain: \"" + bad + "\"\n", bad + "\n", "zone:\n  - domain: ok.test\n    file: \"x" + bad + "\"\n"},
	} {
		for i, text := range texts {
			file := filepath.Join(t.TempDir(), "x.conf")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := convert.File(convert.Options{Path: file, Kind: kind})
			out := fmt.Sprint(err)
			if r != nil {
				out += string(r.YAML)
				for _, n := range r.Notes {
					out += fmt.Sprintf("%+v", n)
				}
			}
			if strings.ContainsAny(out, "\x1b\u009b\u202e\x00") || strings.Contains(out, "\xff") {
				t.Errorf("%s %d: %q", kind, i, out)
			}
		}
	}
}

// TestFirstMatch builds lists of networks and exceptions at random, and asks for every address
// of what becomes of them.
func TestFirstMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 3))
	for round := range 60 {
		type rule struct {
			p    netip.Prefix
			deny bool
		}
		var rules []rule
		text := ""
		for range 1 + r.IntN(7) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), 24+r.IntN(9)).Masked()
			e := rule{p, r.IntN(3) == 0}
			rules = append(rules, e)
			if e.deny {
				text += "!"
			}
			text += p.String() + "; "
		}
		out, _ := imported(t, "bind", "options { recursion no; allow-query { "+text+"}; };\nzone \"a.test\" { type primary; file \"/z\"; };")
		var c config.Config
		if strings.Contains(body(out), "zones:") {
			parsed, err := config.Parse("x", out.YAML)
			if err != nil {
				t.Fatal(err)
			}
			c = *parsed
		}
		acl, err := policy.NewACL(policy.ACLOptions{Allow: c.Policy.Allow, Deny: c.Policy.Deny})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 512 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			first := slices.IndexFunc(rules, func(e rule) bool { return e.p.Contains(a) })
			want := first >= 0 && !rules[first].deny
			if got := len(c.Zones) > 0 && acl.Allows(a); got != want {
				t.Fatalf("round %d: %v may ask: %v, in BIND %v: { %s}\n%s", round, a, got, want, text, body(out))
			}
		}
	}
}

// TestNSDAndKnot holds what becomes of access lists and of signed zones against NSD and Knot.
func TestNSDAndKnot(t *testing.T) {
	for _, test := range []struct {
		what, kind, text string
		want, notes      []string
	}{
		{
			"blocked wherever it stands", "nsd", "zone:\n  name: a.test\n  zonefile: /a\n  provide-xfr: 192.0.2.0/30 NOKEY\n  provide-xfr: 192.0.2.1 BLOCKED\n",
			[]string{`allow_transfer: ["192.0.2.0", "192.0.2.2/31"]`},
			[]string{"!not converted"},
		},
		{
			"ranges and masks", "nsd", "zone:\n  name: a.test\n  zonefile: /a\n  provide-xfr: 192.0.2.4-192.0.2.7 NOKEY\n  provide-xfr: 10.0.0.0&255.0.0.0 NOKEY\n",
			[]string{`["10.0.0.0/8", "192.0.2.4/30"]`},
			nil,
		},
		{
			"who may ask", "nsd", "zone:\n  name: a.test\n  zonefile: /a\n  allow-query: 10.0.0.0/8 NOKEY\nzone:\n  name: b.test\n  zonefile: /b\n",
			[]string{"file: \"/a\"\n    allow_query: [\"10.0.0.0/8\"]", "!policy"},
			nil,
		},
		{
			"signed by Knot", "knot", "template:\n  - id: default\n    dnssec-signing: on\nzone:\n  - domain: a.test\n  - domain: b.test\n    dnssec-signing: off\n",
			[]string{`{name: "knot-default", algorithm: ecdsap256sha256, keys: split, zsk_lifetime: 2592000s}`, `dnssec: {policy: "knot-default", keys_from: "keys/a.test"}`, "b.test"},
			[]string{"changed: domain a.test: signing is taken over, and the zone is served when its keys are in keys/a.test", "keymgr -j a.test. list | port53 zone keys import --dir keys/a.test"},
		},
		{
			"Knot's policy", "knot", "policy:\n  - id: p\n    algorithm: ed25519\n    single-type-signing: on\n    nsec3: on\n    ksk-lifetime: 365d\n    dnskey-ttl: 1h\n  - id: hand\n    manual: on\n  - id: old\n    algorithm: rsasha1\nzone:\n  - domain: a.test\n    dnssec-signing: on\n    dnssec-policy: p\n  - domain: b.test\n    dnssec-signing: on\n    dnssec-policy: hand\n  - domain: c.test\n    dnssec-signing: on\n    dnssec-policy: old\n",
			[]string{`{name: "p", algorithm: ed25519, denial: nsec3, ksk_lifetime: 31536000s, dnskey_ttl: 3600s}`, `dnssec: {policy: "p", keys_from: "keys/a.test"}`, "!b.test", "!c.test"},
			[]string{"not converted: domain b.test: Knot signs it", "its keys are managed by hand", "no keys of algorithm rsasha1 are made here"},
		},
		{
			"signed as it answers", "knot", "mod-onlinesign:\n  - id: default\nzone:\n  - domain: a.test\n    module: mod-onlinesign\n  - domain: b.test\n",
			[]string{"!a.test", "b.test"},
			[]string{"Knot signs its answers"},
		},
		{
			"the first rule counts", "knot", "acl:\n  - id: no\n    address: 10.0.0.1\n    deny: on\n  - id: yes\n    address: 10.0.0.0/31\n    action: transfer\nzone:\n  - domain: a.test\n    acl: [no, yes]\n  - domain: b.test\n    acl: [yes, no]\n",
			[]string{`allow_transfer: ["10.0.0.0"]`, `allow_transfer: ["10.0.0.0/31"]`},
			[]string{"!not converted"},
		},
		{
			"a rule by a remote", "knot", "remote:\n  - id: r\n    address: 192.0.2.7@54\nacl:\n  - id: x\n    remote: r\n    action: transfer\nzone:\n  - domain: a.test\n    acl: x\n",
			[]string{`allow_transfer: ["192.0.2.7"]`},
			nil,
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			r, notes := imported(t, test.kind, test.text)
			expect(t, "configuration", body(r), test.want...)
			expect(t, "notes", notes, test.notes...)
		})
	}
}
