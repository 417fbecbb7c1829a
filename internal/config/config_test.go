package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"port53/internal/config"
)

var update = flag.Bool("update", false, "rewrite the expected results, the reference and the schema")

// TestFiles parses every *.yaml of testdata/*.txtar and compares what comes of
// it, the errors or the values that the file set, with the *.want behind it.
func TestFiles(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wants := map[string]string{}
		for _, f := range archive.Files {
			if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
				wants[name] = string(f.Data)
			}
		}
		rewritten := &txtar.Archive{Comment: archive.Comment}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			got := outcome(f.Data)
			rewritten.Files = append(rewritten.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
			if want := wants[name]; got != want && !*update {
				t.Errorf("%s: %s:\ngot\n%swant\n%s", path, name, got, want)
			}
			if bad := !strings.HasPrefix(filepath.Base(path), "good"); bad != strings.Contains(got, "port53.yaml:") && !*update {
				t.Errorf("%s: %s is in the wrong archive", path, name)
			}
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(rewritten), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// outcome returns the errors of a file, or the settings that are not defaults.
func outcome(text []byte) string {
	c, err := config.Parse("/etc/port53/port53.yaml", text)
	if err != nil {
		var es config.Errors
		if !errors.As(err, &es) {
			return fmt.Sprintf("not an Errors: %T\n", err)
		}
		return strings.ReplaceAll(es.Long(), "/etc/port53/", "") + "\n"
	}
	var b strings.Builder
	for _, s := range c.Effective() {
		if s.Origin != config.OriginDefault {
			fmt.Fprintf(&b, "%s: %s (line %s)\n", s.Key, s.Value, s.Origin[strings.LastIndex(s.Origin, ":")+1:])
		}
	}
	return b.String()
}

const minimal = "role: authoritative\nzones: [{name: example.com, file: example.com.zone}]\n"

func TestDefaults(t *testing.T) {
	c, err := config.Parse("/etc/port53/port53.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"role", c.Role, config.RoleAuthoritative},
		{"listen", fmt.Sprint(c.Listen), "[127.0.0.1:53 [::1]:53]"},
		{"zone", string(c.Zones[0].Name), "\x07example\x03com\x00"},
		{"file", c.Zones[0].File, "/etc/port53/example.com.zone"},
		{"generate", c.ZoneLimits.Generate, 0},
		{"records", c.ZoneLimits.Records, 5_000_000},
		{"size", c.ZoneLimits.Size, config.Size(1 << 30)},
		{"enabled", c.Policy.RateLimit.Enabled, true},
		{"per_second", c.Policy.RateLimit.PerSecond, config.Rate(20)},
		{"udp_size", c.EDNS.UDPSize, 1232},
		{"cookies", c.EDNS.Cookies, true},
		{"version", c.Identity.Version, ""},
		{"idle", c.TCP.Idle, 10 * time.Second},
		{"metrics", c.Metrics.Listen, netip.MustParseAddrPort("127.0.0.1:9153")},
		{"socket", c.Control.Socket, "/run/port53/control.sock"},
		{"queries", c.Log.Queries, "off"},
		{"drain", c.Shutdown.Drain, 2 * time.Second},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, test.got, test.want)
		}
	}
}

// TestLineEnds reads the line ends of Windows.
func TestLineEnds(t *testing.T) {
	if _, err := config.Parse("port53.yaml", []byte(strings.ReplaceAll(minimal, "\n", "\r\n"))); err != nil {
		t.Error(err)
	}
}

// TestEffectiveReads writes the effective values as a file, reads it, and
// expects the same values: what config show prints can be put into the file.
func TestEffectiveReads(t *testing.T) {
	readEffective(t, minimal+`identity: {version: "off 1", nsid: hidden}
metrics: {listen: off}
policy: {allow: ["fd00::/8", 10.0.0.0/8], rate_limit: {per_second: 7/s}}
tcp: {idle: 1h, question: 1m}
log: {queries_file: "/var/log/a b.log", queries: json}
`)
	readEffective(t, `role: public-resolver
zones: [{name: example.com, file: example.com.zone}]
resolver:
  allow: [0.0.0.0/0]
  validation_time: 2020-10-20
  qname_minimization: off
  rebinding: on
  outgoing: [192.0.2.1, "2001:db8::1"]
  private_zones: [plex.direct, .]
  root_hints: "off"
  cache: {dump: cache.dump, stale_client_timeout: 1.5s}
`)
	readEffective(t, "role: internal-resolver\nresolver: {cache: {dump: off}}\nzones: [{name: example.com, file: a.zone}]\n")
}

func readEffective(t *testing.T, text string) {
	t.Helper()
	first, err := config.Parse("/etc/port53/port53.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	zone := map[string]string{}
	for _, s := range first.Effective() {
		if field, ok := strings.CutPrefix(s.Key, "zones[0]."); ok {
			zone[field] = s.Value
			continue
		}
		lines = append(lines, block(s.Key, s.Value))
	}
	again := merge(lines) + fmt.Sprintf("zones: [{name: %s, file: %s}]\n", zone["name"], zone["file"])
	second, err := config.Parse("/etc/port53/port53.yaml", []byte(again))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, again)
	}
	a, b := first.Effective(), second.Effective()
	for i := range a {
		if a[i].Value == `"."` {
			t.Errorf("%s: a name that is not set is shown as the root", a[i].Key)
		}
		if a[i].Key != b[i].Key || a[i].Value != b[i].Value {
			t.Errorf("%s: %s became %s", a[i].Key, a[i].Value, b[i].Value)
		}
	}
}

// block and merge make YAML of dotted keys, which come section by section.
func block(key, value string) string { return key + ": " + value }

func merge(lines []string) string {
	var b strings.Builder
	var open []string
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ": ")
		parts := strings.Split(key, ".")
		for i, part := range parts[:len(parts)-1] {
			if i < len(open) && open[i] == part {
				continue
			}
			open = append(open[:i:i], part)
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), part)
		}
		open = open[:len(parts)-1]
		fmt.Fprintf(&b, "%s%s: %s\n", strings.Repeat("  ", len(parts)-1), parts[len(parts)-1], value)
	}
	return b.String()
}

// TestGenerated fails if docs has another reference or schema than the table of
// keys makes.
func TestGenerated(t *testing.T) {
	for path, want := range map[string][]byte{
		"../../docs/CONFIG.md":          config.Reference(),
		"../../docs/port53.schema.json": config.Schema(),
	} {
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale (%v): run go generate ./internal/config", path, err)
		}
	}
}

// TestReasons fails if a default has no reason: a row of the reference has five
// cells, and the last is empty only where there is no default.
func TestReasons(t *testing.T) {
	rows := 0
	for line := range strings.SplitSeq(string(config.Reference()), "\n") {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		rows++
		if len(cells) != 7 || (strings.TrimSpace(cells[5]) == "") != (strings.TrimSpace(cells[3]) == "required") {
			t.Errorf("%s", line)
		}
	}
	if rows < 40 {
		t.Errorf("found only %d keys", rows)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema.Properties) < 15 || fmt.Sprint(schema.Required) != "[role]" {
		t.Errorf("got %d properties, required %v", len(schema.Properties), schema.Required)
	}
}

func TestSample(t *testing.T) {
	for _, role := range []string{config.RoleAuthoritative, config.RolePublicResolver, config.RoleInternalResolver, config.RoleDomainController} {
		text, err := config.Sample(role)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := config.Parse("port53.yaml", text); err != nil || c.Role != role {
			t.Errorf("%s: %v", role, err)
		}
		// What is commented out has to be right as well.
		var open []string
		for line := range strings.SplitSeq(string(text), "\n") {
			at := strings.Index(line, "# ")
			if code := strings.Replace(line, "# ", "", 1); at >= 0 && strings.TrimSpace(line[:at]) == "" && commentedKey(code) {
				line = code
			}
			if !strings.HasPrefix(line, "listen: [127") {
				open = append(open, line)
			}
		}
		c, err := config.Parse("port53.yaml", []byte(strings.Join(open, "\n")))
		if err != nil {
			t.Errorf("%s: %v", role, err)
		} else if c.User != "port53" || len(c.Listen) != 2 || !c.Listen[0].Addr().IsUnspecified() {
			t.Errorf("not uncommented:\n%s", strings.Join(open, "\n"))
		}
	}
	if _, err := config.Sample("nonsense"); err == nil {
		t.Error("nonsense: no error")
	}
}

// commentedKey reports whether a line that was commented out is a key and its value, not
// a sentence.
func commentedKey(line string) bool {
	key, value, found := strings.Cut(strings.TrimSpace(line), ":")
	return found && key != "" && !strings.ContainsAny(key, " .") && !strings.HasPrefix(value, "//")
}

// TestDefaultIsSafe wants a server without a file to resolve for this machine only.
func TestDefaultIsSafe(t *testing.T) {
	c := config.Default()
	if c.Role != config.RoleInternalResolver || c.File() != "" || !c.Recurses() || !c.Internal() {
		t.Errorf("got role %s of file %q", c.Role, c.File())
	}
	for _, a := range c.Listen {
		if !a.Addr().IsLoopback() || a.Port() != 53 {
			t.Errorf("listens on %s", a)
		}
	}
	if len(c.Listen) != 2 || !c.Resolver.Validation || c.Policy.RateLimit.Enabled {
		t.Errorf("got %+v", c)
	}
}

// TestRolesDefaults compares the defaults that depend on the role, and that a file
// which sets them has its own.
func TestRolesDefaults(t *testing.T) {
	for _, test := range []struct {
		role    string
		enabled bool
		rate    config.Rate
		cache   config.Size
	}{
		{config.RoleAuthoritative, true, 20, 64 << 20},
		{config.RoleInternalResolver, false, 20, 64 << 20},
		{config.RoleDomainController, false, 20, 64 << 20},
		{config.RolePublicResolver, true, 100, 256 << 20},
	} {
		zones := "zones: [{name: example.com, file: a.zone}]\n"
		for _, text := range []string{"role: " + test.role + "\n" + zones, zones + "role: " + test.role + "\n"} {
			c, err := config.Parse("port53.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			r := c.Policy.RateLimit
			if r.Enabled != test.enabled || r.PerSecond != test.rate || c.Resolver.Cache.Size != test.cache {
				t.Errorf("%s: got %+v, cache %v", test.role, r, c.Resolver.Cache.Size)
			}
			shown := map[string]string{}
			for _, s := range c.Effective() {
				shown[s.Key] = s.Value
			}
			if _, resolves := shown["resolver.validation"]; resolves != c.Recurses() || shown["policy.rate_limit.enabled"] != fmt.Sprint(test.enabled) {
				t.Errorf("%s: shown are %v", test.role, shown)
			}
		}
		c, err := config.Parse("port53.yaml", []byte("role: "+test.role+"\npolicy: {rate_limit: {enabled: true, per_second: 7/s}}\nzones: [{name: example.com, file: a.zone}]\n"))
		if err != nil || !c.Policy.RateLimit.Enabled || c.Policy.RateLimit.PerSecond != 7 {
			t.Errorf("%s: %v, %+v", test.role, err, c)
		}
	}
}

func TestFiltersPrivate(t *testing.T) {
	for text, want := range map[string]bool{
		"{}":                             true,
		"{root_hints: a}":                false,
		"{rebinding: off}":               false,
		"{rebinding: on, root_hints: a}": true,
		"{rebinding: auto, trust_anchors: a.key}": true,
	} {
		c, err := config.Parse("port53.yaml", []byte("role: internal-resolver\nresolver: "+text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Resolver.FiltersPrivate(); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

// TestResolverDefaults compares the bounds with the numbers that they are known by.
func TestResolverDefaults(t *testing.T) {
	r := config.Default().Resolver
	want := config.Limits{
		Packets: 128, Octets: 100 << 10, Aliases: 11, Depth: 7, Glueless: 6, NameServers: 20, Time: 10 * time.Second,
		Signatures: 32, NSEC3Hashes: 1000, NSEC3Iterations: 50, PerZone: 200, PerServer: 100,
		Waiting: 10_000, PerClient: 64, PerClientWithCookie: 512, ReplyTime: 4 * time.Second,
	}
	if r.Limits != want {
		t.Errorf("got %+v, want %+v", r.Limits, want)
	}
	cache := config.Cache{
		Size: 64 << 20, MaxTTL: 24 * time.Hour, MaxNegativeTTL: time.Hour, ServeStale: true, StaleTTL: 30 * time.Second,
		StaleKeep: 24 * time.Hour, StaleClientTimeout: 1800 * time.Millisecond, Prefetch: true,
	}
	if r.Cache != cache {
		t.Errorf("got %+v, want %+v", r.Cache, cache)
	}
	got := fmt.Sprintln(r.Allow, r.DoNotQuery, r.ValidationTime.IsZero(), r.QNAMEMinimization, r.Rebinding, r.Port, r.IPv4, r.IPv6, r.CaseRandomization, r.ErrorReporting, r.AggressiveNSEC, r.Sentinel, r.SpecialNames)
	if want := "[] [127.0.0.0/8 ::1/128] true relaxed auto 53 true true true false true true true\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestExamplesOfDocuments reads what documents show of configurations: each stands by
// itself, or needs no more than a role and a key.
func TestExamplesOfDocuments(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatal(err)
	}
	include := regexp.MustCompile(`(?m)^include:.*\n`)
	examples := 0
	for _, file := range append(documents, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```yaml\n") {
			example, _, ok := strings.Cut(block, "```")
			if i == 0 || !ok {
				continue
			}
			examples++
			has := func(key string) bool { return strings.Contains("\n"+example, "\n"+key+":") }
			if !has("role") {
				example = "role: authoritative\n" + example
				if !has("zones") {
					example += "zones: [{name: example.com, file: example.com.zone}]\n"
				}
			}
			if !has("keys") {
				example += "keys: [{name: xfr, secret: MDEyMzQ1Njc4OWFiY2RlZg==}, {name: registry, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]\n"
			}
			example = include.ReplaceAllString(example, "") // other files are not read here
			if _, err := config.Parse("/etc/port53/port53.yaml", []byte(example)); err != nil {
				t.Errorf("%s: %v\n%s", file, err, example)
			}
		}
	}
	if examples < 5 {
		t.Errorf("%d examples are found", examples)
	}
}
