package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestValues writes, for each format, each option whose kind of value is known, with a value that its own server
// refuses: the option is not converted, with what was expected. A good value is not called wrong.
func TestValues(t *testing.T) {
	for _, f := range []struct {
		format, before, line, after string // line is repeated, with an option and its value
		kinds                       kinds
	}{
		{"bind", "options {\n", "%s %s;\n", "};\n", bindKinds()},
		{"bind", "zone \"a.example\" { type primary; file \"a\";\n", "%s %s;\n", "};\n", bindKinds()},
		{"bind", "options { rate-limit {\n", "%s %s;\n", "}; };\n", bindKinds()},
		{"bind", "server 192.0.2.1 {\n", "%s %s;\n", "};\n", bindKinds()},
		{"unbound", "server:\n", "  %s: %s\n", "", unboundKinds()},
		{"unbound", "forward-zone:\n  name: a.example\n  forward-addr: 192.0.2.1\n", "  %s: %s\n", "", unboundKinds()},
		{"nsd", "server:\n", "  %s: %s\n", "", nsdKinds()},
		{"nsd", "zone:\n  name: a.example\n  zonefile: a\n", "  %s: %s\n", "", nsdKinds()},
		{"knot", "server:\n", "    %s: %s\n", "", knotKinds()},
		{"knot", "zone:\n  - domain: a.example\n", "    %s: %s\n", "", knotKinds()},
		{"recursor", "", "%s=%s\n", "", recursorKinds()},
		{"pdns", "launch=bind\n", "%s=%s\n", "", pdnsKinds()},
		{"dnsmasq", "", "%s=%s\n", "", dnsmasqKinds()},
		{"adguard", "dns:\n", "  %s: %s\n", "", adguardKinds()},
		{"pihole", "[dns]\n", "%s = \"%s\"\n", "", piholeKinds()},
		{"corefile", ". {\n  hosts {\n    192.0.2.1 a.example\n", "    %s %s\n", "  }\n}\n", corefileKinds()},
		{"corefile", ". {\n  forward . 192.0.2.1 {\n", "    %s %s\n", "  }\n}\n", corefileKinds()},
	} {
		bad, good := f.before, f.before
		for option, k := range f.kinds {
			bad += fmt.Sprintf(f.line, option, "maybe")
			good += fmt.Sprintf(f.line, option, goodValue(k))
		}
		wrong, right := notesOf(t, f.format, bad+f.after), notesOf(t, f.format, good+f.after)
		for option, k := range f.kinds {
			if n := wrong[option]; n.Outcome != Unsupported || !strings.HasPrefix(n.Why, "expected "+k.expects) {
				t.Errorf("%s: %s: got %v", f.format, option, n)
			}
			if n := right[option]; strings.HasPrefix(n.Why, "expected ") {
				t.Errorf("%s: got %v", f.format, n)
			}
		}
	}
}

// TestSizes reads sizes as Unbound writes them.
func TestSizes(t *testing.T) {
	size := unboundKinds()["rrset-cache-size"]
	for v, want := range map[string]bool{"4m": true, "100MB": true, "4096": true, "4096b": true, "1g": true, "m": false, "4t": false, "": false} {
		if size.takes(v) != want {
			t.Errorf("%q: got %v", v, !want)
		}
	}
}

// goodValue returns a value of a kind.
func goodValue(k kind) string {
	for _, v := range []string{"10", "yes", "on", "true", "first", "date", "text", "off", "validate", "none", "increment", "random"} {
		if k.takes(v) {
			return v
		}
	}
	return ""
}

// converted converts a text.
func converted(t *testing.T, format, text string) *Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := File(Options{Path: path, Kind: format})
	if err != nil {
		t.Fatalf("%s: %q: %v", format, text, err)
	}
	return r
}

// notesOf converts a text and returns what became of its statements, by their names.
func notesOf(t *testing.T, format, text string) map[string]Note {
	t.Helper()
	notes := map[string]Note{}
	for _, n := range converted(t, format, text).Notes {
		word, _, _ := strings.Cut(n.What, " ")
		notes[word] = n
	}
	return notes
}

// TestWrongValues has what becomes of some of them: what they could have been is not allowed because of them.
func TestWrongValues(t *testing.T) {
	for _, test := range []struct{ format, text, option, why, want, notWant string }{
		{
			"bind", "options { recursion maybe; };\nzone \"a.example\" { type primary; file \"/a\"; };\n", "recursion",
			"expected yes or no", "role: authoritative", "resolver",
		},
		{
			"bind", "options { recursion yes; forwarders { 192.0.2.1; }; forward onyl; };\n", "forward",
			"expected first or only", `{zone: ".", to: ["192.0.2.1"]}`, "first: true",
		},
		{"bind", "options { max-cache-ttl soon; };\n", "max-cache-ttl", "expected a time such as 3600, 1h or PT1H", "role:", "max_ttl"},
		{"unbound", "server:\n  do-ip6: maybe\n", "do-ip6", "expected yes or no", "role:", "ipv6"},
		{
			"unbound", "server:\n  access-control: 10.0.0.0/8 allow\n  access-control: 10.1.0.0/16 alow\n", "access-control",
			"expected deny, refuse, ", "10.128.0.0/9", `"10.0.0.0/8"`,
		},
		{
			"unbound", "forward-zone:\n  name: .\n  forward-addr: 192.0.2.1\n  forward-tls-upstream: ture\n", "forward-tls-upstream",
			"expected yes or no", "role:", "192.0.2.1\"",
		},
		{"unbound", "server:\n  local-zone: a.example statick\n", "local-zone", "expected static, deny, refuse", "role:", "a.example\n"},
		{"knot", "zone:\n  - domain: a.example\n    dnssec-signing: maybe\n", "dnssec-signing", "expected on or off", "policy:", "insecure"},
		{"recursor", "dnssec=maybe\n", "dnssec", "expected off, process-no-validate, process, log-fail or validate", "role:", "validation"},
		{"recursor", "quiet=maybe\n", "quiet", "", `queries: off`, "queries: text"}, // which is yes to it
		{
			"recursor-yaml", "recursor:\n  qname_minimization: maybe\n", "qname-minimization", "expected true or false", "role:",
			"qname_minimization",
		},
		{"corefile", ". {\n  cache a.example\n}\n", "cache", "the cache is for all zones", "role:", "max_ttl"},
		{"corefile", ". {\n  loadbalance maybe\n}\n", "loadbalance", "expected round_robin or weighted", "role:", "weighted\n"},
	} {
		r := converted(t, test.format, test.text)
		n := notesOf(t, test.format, test.text)[test.option]
		if !strings.Contains(n.Why, test.why) || test.why != "" && n.Outcome == Converted {
			t.Errorf("%q: got %v", test.text, n)
		}
		if strings.HasPrefix(test.why, "expected ") && !strings.Contains(n.String(), `: "`+n.What+`": expected `) {
			t.Errorf("%q: the statement is not quoted in %v", test.text, n)
		}
		_, text, _ := strings.Cut(string(r.YAML), "\nrole:")
		if text = "role:" + text; !strings.Contains(text, test.want) || strings.Contains(text, test.notWant) {
			t.Errorf("%q: got\n%s\nwant %q, and not %q", test.text, text, test.want, test.notWant)
		}
	}
}
