package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/config"
)

// write makes files in a new folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestLoad(t *testing.T) {
	folder := write(t, map[string]string{
		"port53.yaml":  "role: authoritative\nzones: [{name: Example.COM, file: zones/a.zone}]\nedns: {cookie_secrets_file: secrets}\n",
		"zones/a.zone": "", "secrets": "",
	})
	path := filepath.Join(folder, "port53.yaml")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.File() != path || c.Zones[0].File != filepath.Join(folder, "zones/a.zone") || string(c.Zones[0].Name) != "\x07Example\x03COM\x00" {
		t.Errorf("got %q, %+v", c.File(), c.Zones)
	}
}

func TestLoadErrors(t *testing.T) {
	const head = "role: authoritative\nzones:\n"
	folder := write(t, map[string]string{
		"a.zone":        "",
		"open":          "",
		"missing.yaml":  head + "  - {name: a.example, file: a.zone}\n  - {name: b.example, file: b.zone}\n  - {name: c.example, file: c.zone}\n",
		"folder.yaml":   head + "  - {name: a.example, file: .}\n",
		"device.yaml":   head + "  - {name: a.example, file: /dev/null}\n",
		"secrets.yaml":  head + "  - {name: a.example, file: a.zone}\nedns:\n  cookie_secrets_file: none\n",
		"open.yaml":     head + "  - {name: a.example, file: a.zone}\nedns:\n  cookie_secrets_file: open\n",
		"badvalue.yaml": head + "  - {name: a.example, file: b.zone}\ntcp: {idle: x}\n",
	})
	if err := os.Chmod(filepath.Join(folder, "open"), 0o644); err != nil {
		t.Fatal(err)
	}
	big, err := os.Create(filepath.Join(folder, "big.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(config.MaxFile+1), big.Close()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"missing.yaml":  {`missing.yaml:4:29: zone "b.example": file b.zone does not exist; relative paths are relative to the directory of the file they appear in`, `missing.yaml:5:29: zone "c.example": file c.zone does not exist; relative paths are relative to the directory of the file they appear in`},
		"folder.yaml":   {`folder.yaml:3:29: zone "a.example": file . is a directory, not a file`},
		"device.yaml":   {`device.yaml:3:29: zone "a.example": file /dev/null is not a regular file`},
		"secrets.yaml":  {`secrets.yaml:5:24: edns.cookie_secrets_file: none does not exist; relative paths are relative to the directory of the file they appear in`},
		"open.yaml":     {`open.yaml:5:24: edns.cookie_secrets_file: open is readable by every user; chmod o= open`},
		"badvalue.yaml": {`badvalue.yaml:4:13: tcp.idle: expected a time such as 500ms, 30s, 5m, 1h, 1d or 1w, from 100ms to 1h, found "x"`},
		"none.yaml":     {`none.yaml: cannot be read: no such file or directory`},
		".":             {`.: is a directory, not a file`},
		"big.yaml":      {fmt.Sprintf(`big.yaml: the file has %d octets, and at most %d are read`, config.MaxFile+1, config.MaxFile)},
	} {
		_, err := config.Load(folder + "/" + name)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		got := strings.NewReplacer(folder+"/", "", folder, ".").Replace(err.Error())
		if got != strings.Join(want, "\n") {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, strings.Join(want, "\n"))
		}
	}
}

// TestResolverFiles names files of the resolver that are not to be used.
func TestResolverFiles(t *testing.T) {
	const head = "role: internal-resolver\nresolver:\n  "
	folder := write(t, map[string]string{
		"hints": "", "dump": "", "sub/x": "",
		"good.yaml":    head + "{root_hints: hints, trust_anchors: hints, cache: {dump: sub/new}}\n",
		"again.yaml":   head + "cache: {dump: dump}\n",
		"hints.yaml":   head + "root_hints: none\n",
		"anchors.yaml": head + "trust_anchors: none\n",
		"both.yaml":    head + "root_hints: sub\n  trust_anchors: /dev/null\n",
		"dump.yaml":    head + "cache: {dump: none/cache.dump}\n",
		"folder.yaml":  head + "cache: {dump: sub}\n",
	})
	for name, want := range map[string]string{
		"good.yaml":    "",
		"again.yaml":   "",
		"hints.yaml":   "hints.yaml:3:15: resolver.root_hints: none does not exist; relative paths are relative to the directory of the file they appear in; leave the key out for the Internet's root",
		"anchors.yaml": "anchors.yaml:3:18: resolver.trust_anchors: none does not exist; relative paths are relative to the directory of the file they appear in; leave the key out for the root's keys",
		"both.yaml": "both.yaml:3:15: resolver.root_hints: sub is a directory, not a file; leave the key out for the Internet's root\n" +
			"both.yaml:4:18: resolver.trust_anchors: /dev/null is not a regular file; leave the key out for the root's keys",
		"dump.yaml":   "dump.yaml:3:17: resolver.cache.dump: there is no directory none; mkdir none, or write off",
		"folder.yaml": "folder.yaml:3:17: resolver.cache.dump: sub is not a regular file",
	} {
		_, err := config.Load(folder + "/" + name)
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), folder+"/", "")
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

// TestLoadToServe tells zone files that are missing from errors of the configuration.
func TestLoadToServe(t *testing.T) {
	folder := write(t, map[string]string{
		"a.zone":      "",
		"port53.yaml": "role: authoritative\nzones:\n  - {name: a.example, file: a.zone}\n  - {name: b.example, file: b.zone}\n",
	})
	c, missing, err := config.LoadToServe(filepath.Join(folder, "port53.yaml"))
	if err != nil || len(c.Zones) != 2 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if len(missing) != 1 || missing[0].Line != 4 || missing[0].Path != filepath.Join(folder, "b.zone") {
		t.Errorf("got %+v", missing)
	}
}

// TestErrorsAreBounded gives a file with more errors than anyone reads.
func TestErrorsAreBounded(t *testing.T) {
	_, err := config.Parse("port53.yaml", []byte("role: authoritative\n"+strings.Repeat("nonsense: 1\n", 100)))
	var es config.Errors
	if !errors.As(err, &es) || len(es) != config.MaxErrors {
		t.Errorf("got %d errors, want %d", len(es), config.MaxErrors)
	}
	var one *config.Error
	if !errors.As(err, &one) || one.Line != 2 || one.Col != 1 {
		t.Errorf("the first is not at 2:1: %+v", one)
	}
}

// TestTerminalIsSafe gives escape sequences and long lines, and expects neither
// in what is printed.
func TestTerminalIsSafe(t *testing.T) {
	for _, text := range []string{
		"role: \x1b[2J\n", "role: \u009b2J\n", "rôle\u202e: 1\n", "r\xf4le: 1\n", "role: \x00\n",
		"role: authoritative\nnonsense: \"" + strings.Repeat("x", 10000) + "\"\n",
		strings.Repeat("k", 10000) + ": 1\n",
	} {
		_, err := config.Parse("port53.yaml", []byte(text))
		var es config.Errors
		if !errors.As(err, &es) {
			t.Errorf("%q: no error", text)
			continue
		}
		long := es.Long()
		if strings.ContainsAny(long, "\x1b\u009b\u202e") || len(long) > 2000 {
			t.Errorf("%.40q: %d octets: %.200q", text, len(long), long)
		}
	}
}

// TestHostileShapes gives the parser what would keep it busy for minutes.
func TestHostileShapes(t *testing.T) {
	for _, open := range []string{"[", "{a: ", "- ", "a: [[{"} {
		_, err := config.Parse("port53.yaml", []byte(strings.Repeat(open, 20_000)))
		if err == nil || !strings.Contains(err.Error(), "nested") {
			t.Errorf("%q: %.200v", open, err)
		}
	}
	for _, key := range []string{"a:\n", "a: 1\n", "? a\n", "*a ", "<<: 1\n", "{a: 1, b: [c, d], ", "b:\n  - c\n"} {
		_, err := config.Parse("port53.yaml", []byte(strings.Repeat(key, 20_000)))
		if err == nil || !strings.Contains(err.Error(), "keys in one block") && !strings.Contains(err.Error(), "not read") && !strings.Contains(err.Error(), "nested") && !strings.Contains(err.Error(), "written with ?") {
			t.Errorf("%q: %.200v", key, err)
		}
	}
	var stairs strings.Builder
	for i := range 1000 {
		stairs.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	if _, err := config.Parse("port53.yaml", []byte(stairs.String())); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("stairs: %.200v", err)
	}
}

// TestManyZones reads as many zones as a hosting company has, in both styles.
func TestManyZones(t *testing.T) {
	const count = 5000
	for _, format := range []string{"  - {name: z%d.example, file: z%[1]d.zone}\n", "  - name: z%d.example\n    file: z%[1]d.zone\n", "- file: z%[1]d.zone\n  name: z%[1]d.example\n"} {
		var b strings.Builder
		b.WriteString("role: authoritative\nzones:\n")
		for i := range count {
			fmt.Fprintf(&b, format, i)
		}
		c, err := config.Parse("port53.yaml", []byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Zones) != count || string(c.Zones[count-1].Name) != "\x05z4999\x07example\x00" {
			t.Errorf("got %d zones", len(c.Zones))
		}
	}
	_, err := config.Parse("port53.yaml", []byte("role: authoritative\nzones: ["+strings.Repeat("{name: a.example, file: x}, ", count)+"]\n"))
	if err == nil || !strings.Contains(err.Error(), "already defined") {
		t.Errorf("in brackets: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{minimal, "a: &a [1]\nb: *a\n", "role: authoritative\nzones:\n- {name: \\000., file: x}\n", "a: |\n  x\n", "? a\n: b\n", "--- !!x {a: }\n...\n---\n", "\"a\\n\": 'b'"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("/etc/port53/port53.yaml", text)
		var es config.Errors
		switch {
		case err == nil:
			if len(c.Effective()) == 0 {
				t.Error("no settings")
			}
		case !errors.As(err, &es) || len(es) == 0 || len(es) > config.MaxErrors:
			t.Errorf("%T %v", err, err)
		default:
			for _, line := range strings.Split(es.Error(), "\n") {
				if !strings.HasPrefix(line, "/etc/port53/port53.yaml:") {
					t.Errorf("not one line each: %q", line)
				}
			}
			_ = es.Long()
		}
	})
}

// TestStars has a star where the name of a zone or a domain is meant, in places that have nothing else in common:
// names below are meant as well, or never, and the star is refused.
func TestStars(t *testing.T) {
	const resolver = "role: internal-resolver\n"
	for _, text := range []string{
		resolver + "domain: @", resolver + "resolver: {exceptions: [{zone: @, case_randomization: false}]}", resolver + "resolver: {time_names: [@]}",
		resolver + "resolver: {forward: [{zone: @, to: []}]}", resolver + "zones: [{name: @, primaries: [192.0.2.1], insecure: true}]",
		"role: authoritative\nzones: [{name: @, file: a.zone}]", "role: authoritative\nzones: [{name: a.test, catalog: true, file: a.zone}, {name: @, file: b.zone, in_catalog: a.test}]",
	} {
		for star, want := range map[string]string{`"*.corp.example"`: "write corp.example", `"*"`: "this name must not contain a star"} {
			if _, err := config.Parse("port53.yaml", []byte(strings.Replace(text, "@", star, 1)+"\n")); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s in %q: %v", star, text, err)
			}
		}
		if _, err := config.Parse("port53.yaml", []byte(strings.Replace(text, "@", "corp.example", 1)+"\n")); err != nil && strings.Contains(err.Error(), "star") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestOnlyIsNotFirst reads the two spellings of one setting.
func TestOnlyIsNotFirst(t *testing.T) {
	for text, want := range map[string]bool{"": false, ", first: true": true, ", first: false": false, ", only: true": false, ", only: false": true} {
		c, err := config.Parse("port53.yaml", []byte("role: internal-resolver\nresolver: {forward: [{zone: ., to: [192.0.2.1]"+text+"}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if f := c.Resolver.Forward[0]; f.First != want || f.Only == want {
			t.Errorf("%q: first %v, only %v, want first %v", text, f.First, f.Only, want)
		}
	}
}
