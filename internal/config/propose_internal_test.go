package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// proposal is a value that a hint proposes; advice is what begins with "write" and names no value.
var (
	proposal = regexp.MustCompile(`(?:write|and|or|in quotes:|time zone:|IPv4,) ("(?:[^"\\]|\\.)*"|[0-9][^ ,:]*(?::[^ ,:]+)*|true\b|false\b|on\b|off\b)`)
	advice   = regexp.MustCompile(`write (it without quotes|it in quotes$|it in brackets|the unit|the time zone|international names|IPv4|the address|https$|authoritative|internal-resolver|domain-controller)`)
)

// TestProposedValues gives each key of the table values that it does not take, and each value that the error proposes to
// the key again: it takes that.
func TestProposedValues(t *testing.T) {
	wrong := []scalar{
		{text: "yes"},
		{text: "no"},
		{text: "true", quoted: true},
		{text: "yes", quoted: true},
		{text: "maybe", quoted: true},
		{text: "0", quoted: true},
		{text: "7", quoted: true},
		{text: "99999999999", quoted: true},
		{text: "1e5", quoted: true},
		{text: "5", number: true},
		{text: "1.5", number: true},
		{text: "0x1f", number: true},
		{text: "99999999999999999999", number: true},
		{text: strings.Repeat("7", 64), number: true},
		{text: "*"},
		{text: "*:53"},
		{text: ":53"},
		{text: "*:99999"},
		{text: ":99999"},
		{text: "*.example.com"},
		{text: "*."},
		{text: "*x"},
		{text: "10.0.0.1/8"},
		{text: "fd00::1/8"},
		{text: "2001:db8::1/97"},
		{text: "2001:db8::1/96"},
		{text: "0.0.0.0:53"},
		{text: "192.0.2.1:53"},
		{text: "10g"},
		{text: "5k"},
		{text: "99999999T"},
		{text: "1mb"},
		{text: "64"},
		{text: "1"},
		{text: "2026-10-20T12:00:00"},
		{text: "1800-01-01T00:00:00"},
		{text: "tls://192.0.2.1"},
		{text: "tls://192.0.2.1#dns.example"},
		{text: "udp://192.0.2.1:5353"},
		{text: "192.0.2.1#dns.example"},
		{text: "192.0.2.1#"},
		{text: "192.0.2.1#a b"},
		{text: "tls://0.0.0.0"},
		{text: "tls://dns.example"},
		{text: "tls://dns.example:853"},
		{text: "https://dns.example/q"},
		{text: "https://a_b*c/"},
		{text: "dns.example:853"},
		{text: "http://lists.example/a"},
		{text: "any"},
		{text: "resolver"},
		{text: "dc"},
		{text: "secondary"},
	}
	followed := map[form]bool{}
	var walk func(k *key)
	walk = func(k *key) {
		for _, s := range wrong {
			_, p := k.parse(s, "/")
			if p == nil || k.form == formSection {
				continue
			}
			values := proposal.FindAllStringSubmatch(p.hint, -1)
			if len(values) == 0 && strings.Contains(p.hint, "write ") && !advice.MatchString(p.hint) && !strings.Contains(p.hint, "as tls://") {
				if name, _, found := strings.Cut(strings.TrimPrefix(p.hint, "write "), ": it covers"); !found || k.propose("-", name) == "" {
					t.Errorf("%s: %q: this test does not know what is proposed by %q", k.path, s.text, p.hint)
				}
			}
			for _, m := range values {
				text := m[1]
				if m[1][0] == '"' {
					text, _ = strconv.Unquote(m[1])
				}
				again := scalar{text: text, quoted: m[1][0] == '"'}
				if _, p := k.parse(again, "/"); p != nil || !k.takesText(text) {
					t.Errorf("%s: %q: %q proposes %s, which is refused: %v", k.path, s.text, p.hint, m[1], p)
				}
				followed[k.form] = true
			}
			if p.hint == "write it without quotes" {
				if _, p := k.parse(scalar{text: s.text}, "/"); p != nil {
					t.Errorf("%s: %q is refused without quotes, too: %s", k.path, s.text, p.text)
				}
			}
			if named := regexp.MustCompile(`as ((?:tls|https|quic)://\S+)$`).FindStringSubmatch(p.hint); named != nil {
				if _, p := k.parse(scalar{text: named[1]}, "/"); p != nil {
					t.Errorf("%s: %q proposes %s, which is refused: %s", k.path, s.text, named[1], p.text)
				}
			}
			if k.form == formSecret && strings.Contains(p.text+p.hint, s.text) {
				t.Errorf("%s: the error tells the secret: %s; %s", k.path, p.text, p.hint)
			}
		}
		for _, c := range k.keys {
			walk(c)
		}
	}
	walk(table())
	for _, f := range []form{formText, formBool, formSize, formPrefix, formAddress, formTime, formServer, formUpstream} {
		if !followed[f] {
			t.Errorf("no error of form %d proposed a value", f)
		}
	}
}

// TestProposedFiles puts what an error proposes into the file in the place of what is wrong, or beside it: there is no
// error then. In a file, ‹ and › are around what is wrong; › alone is where something is missing.
func TestProposedFiles(t *testing.T) {
	const keys = "keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\n"
	for _, c := range []struct{ file, find, right string }{
		{"listen: ‹127.0.0.1›\n", `write (\[.*\])$`, "%s"},
		{"listen: ‹\"127.0.0.1:5353\"›\n", `write (\[.*\])$`, "%s"},
		{"policy: {allow_names: ‹" + strings.Repeat("a.", 40) + "example›}\n", `write (\[.*\])$`, "%s"},
		{"resolver: {forward: ‹9.9.9.9›}\n", `write (\[.*\])$`, "%s"},
		{"resolver: {forward: ‹0.0.0.0›}\n", `: (\[\{…\}\])$`, "[{zone: ., to: [9.9.9.9]}]"},
		{"resolver: {forward: [‹9.9.9.9›]}\n", `write (\{.*\})$`, "%s"},
		{"resolver: {forward: [‹\"9.9.9.9:0\"›]}\n", `write (\{.*\})$`, "%s"},
		{"resolver: {forward: [{zone: ., to: [‹2001:db8::1›]}]}\n", `write it in quotes: (".*")$`, "%s"},
		{"resolver: {allow: [‹fd00::/8›]}\n", `write it in quotes: (".*")$`, "%s"},
		{"resolver: {allow: [‹fd00::1/8›]}\n", `write it in quotes: (".*")$`, "%s"},
		{"resolver: {allow: [‹\"fd00::1/8\"›]}\n", `write (".*")$`, "%s"},
		{"‹forwarders: 0.0.0.0›\n", `write (.*) instead$`, "%s"},
		{"‹interface: 0.0.0.0›\n", `write (.*) instead$`, "%s"},
		{"‹interface: 224.0.0.1›\n", `write (.*) instead$`, "%s"},
		{"‹interface: 192.0.2.1›\n", `write (.*) instead$`, "%s"},
		{"expose: {recurse: [‹any›]}\n", `list your networks; only role (public-resolver) is for everybody`, "10.0.0.0/8"},
		{"expose: {ask: ‹[]›}\n", `list (those who may)`, "[10.0.0.0/8]"},
		{"policy: {allow: [‹any›]}\n", `write (.*)$`, "0.0.0.0/0, \"::/0\""},
		{"policy: {allow: [office]}\n›", `define it: (.*)$`, "%s\n"},
		{"names: {nas.home.arpa: ‹{a: b}›}\n", `write (\[.*\])$`, "%s"},
		{"tcp: {per_client: ‹\"7\"›}\n", `write it without (quotes)$`, "7"},
		{keys + "zones: [{name: 0/25.2.0.192.in-addr.arpa›}]\n", `add (file: .*)$`, ", %s"},
		{keys + "zones: [{name: .›}]\n", `add (file: .*)$`, ", %s"},
		{keys + "zones: [{name: a.example, file: z, tsig: [k, other.key]}]\n›", `define it: keys: \[(.*)\]$`, "›%s"},
		{keys + "zones: [{name: a.example, file: z, in_catalog: c.example}›]\n", `add (\{.*\}) to zones$`, ", %s"},
		{keys + "zones: [{name: a.example, file: z, allow_transfer: [‹\"fd00::/8\"›]}]\n", `write (\{.*\})$`, "%s"},
		{keys + "zones: [{name: a.example, file: z, secondaries: [ns2], tsig: k}]\n›", `define it: (.*)$`, "%s\n"},
		{keys + "zones: [{name: ., file: z, updates: [{key: k, names: [‹\"a..b\"›]}]}]\n", `such as (\S+)$`, "\"%s\""},
		{"expose: {control: nobody}\ncontrol: ‹{socket: /run/a}›\n", `(remove it)`, "{}"},
	} {
		t.Run(c.file, func(t *testing.T) { followProposal(t, c.file, c.find, c.right) })
	}
}

// TestNothingProposed has what no value in sight would mend.
func TestNothingProposed(t *testing.T) {
	for text, want := range map[string]string{
		"resolver: {dns64: {prefix: nat}}\n":                                               `found "nat"`,
		"resolver: {dns64: {prefix: \"2001:db8::1/97\"}}\n":                                `bits beyond the prefix are set`,
		"policy: {allow_names: [{a: b}]}\n":                                                `found a block`,
		"resolver: {dns64: {prefix: any}}\n":                                               `found "any"`,
		"zones: [{name: a.example, stored: true, allow_transfer: [{remote: \"ns 1\"}]}]\n": `there is no remote "ns 1"`,
		"tcp: {idle: \"soon\"}\n":                                                          `from 100ms to 1h, found "soon"`,
		"zone_limits: {size: 9999t}\n":                                                     `from 1KiB to 1TiB, found "9999t"`,
		"listen: \"127.0.0.1:99999\"\n":                                                    "found \"127.0.0.1:99999\"; write it in brackets",
	} {
		err := loadText(t, text)
		if err == nil {
			t.Errorf("%s: nothing is wrong with it", text)
		} else if first, _, _ := strings.Cut(err.Error(), "\n"); !strings.HasSuffix(first, want) {
			t.Errorf("%s: %s, want %s and no more", text, first, want)
		}
	}
}

// loadText reads a file of a resolver, beside which there is a zone file.
func loadText(t *testing.T, text string) error {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"port53.yaml": "role: internal-resolver\n" + text, "z": "@ 1 SOA a b 1 1 1 1 1\n@ NS a\na A 192.0.2.1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := LoadToServe(filepath.Join(dir, "port53.yaml"))
	return err
}

func followProposal(t *testing.T, file, find, right string) {
	t.Helper()
	before, rest, found := strings.Cut(file, "‹")
	wrong := ""
	if found {
		wrong, rest, _ = strings.Cut(rest, "›")
	} else {
		before, rest, _ = strings.Cut(file, "›")
	}
	err := loadText(t, before+wrong+rest)
	if err == nil {
		t.Fatal("nothing is wrong with it")
	}
	m := regexp.MustCompile(`(?m)` + find).FindStringSubmatch(err.Error())
	if m == nil {
		t.Fatalf("%v proposes nothing that is like %s", err, find)
	}
	right = strings.NewReplacer("%s", m[1]).Replace(right)
	right = strings.NewReplacer("[ADDRESS]", "[192.0.2.1]", "KEY", "k").Replace(right)
	text := before + right + rest
	if key, ok := strings.CutPrefix(right, "›"); ok { // another key
		text = strings.Replace(before+rest, "keys: [", "keys: ["+key+", ", 1)
		text = regexp.MustCompile(`secret_file: [^},]+`).ReplaceAllString(text, "secret: MDEyMzQ1Njc4OWFiY2RlZg==")
	}
	if err := loadText(t, text); err != nil {
		t.Errorf("%s\nis refused: %v", text, err)
	}
}
