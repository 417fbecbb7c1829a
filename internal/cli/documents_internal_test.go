package cli

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// documents are what a user reads: each but those of what is not there, what was, and what the
// others promise.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md", "../../packaging/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			switch filepath.Base(file) {
			case "CHANGELOG.md", "PROMISES.md", "NOT-YET.md":
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out[file] = string(text)
		}
	}
	root := newRoot(&streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		out["the help of "+c.CommandPath()] = "```\n" + c.Example + "\n```\n" + c.Long
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return out
}

// code matches what a document has as code: blocks, and words in backquotes.
var code = regexp.MustCompile("(?s)```[a-z]*\n(.*?)```|`([^`\n]+)`")

// TestDocumentsCommands finds each command line of port53 in the documents and the help texts, and
// wants its command and its flags to be there.
func TestDocumentsCommands(t *testing.T) {
	root := newRoot(&streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	parser := newQueryParser()
	line := regexp.MustCompile(`(?:^|[\s/;&(])port53 ([a-z][^\n;|&#)]*)`)
	flag := regexp.MustCompile(`(?:^|\s)(--[a-z][a-z0-9-]*)`)
	anywhere := map[string]bool{"help": true, "batch": true, "version": true, "noflush": true} // the last is iptables-restore's
	var flags func(c *cobra.Command)
	flags = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { anywhere[f.Name] = true })
		for _, sub := range c.Commands() {
			flags(sub)
		}
	}
	flags(root)
	found := 0
	for file, text := range documents(t) {
		if strings.HasPrefix(file, "the help of ") { // prose that names flags
			for _, f := range flag.FindAllStringSubmatch(text, -1) {
				name := strings.TrimPrefix(f[1], "--")
				if _, _, err := parser.longOption(name); err != nil && !anywhere[name] && !strings.HasSuffix(name, "-") {
					t.Errorf("%s: there is no flag --%s", file, name)
				}
			}
		}
		for _, c := range code.FindAllStringSubmatch(text, -1) {
			for _, m := range line.FindAllStringSubmatch(strings.ReplaceAll(c[1]+c[2], "\\\n", " "), -1) {
				cmd, rest, err := root.Find(strings.Fields(m[1]))
				if err != nil || cmd == root || cmd.HasSubCommands() && len(rest) > 0 && regexp.MustCompile(`^[a-z]+$`).MatchString(rest[0]) {
					if fields := strings.Fields(m[1]); fields[0] != "help" && fields[0] != "completion" && strings.Contains(m[0], "port53 "+fields[0]) && len(c[2]) == 0 {
						t.Errorf("%s: there is no command: port53 %s", file, m[1])
					}
					continue
				}
				found++
				for _, f := range flag.FindAllStringSubmatch(m[1], -1) {
					name := strings.TrimPrefix(f[1], "--")
					known := cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil || name == "help"
					if cmd.Name() == "query" {
						_, _, err := parser.longOption(name)
						known = known || err == nil || name == "batch"
					}
					if !known {
						t.Errorf("%s: port53 %s has no flag --%s", file, m[1], name)
					}
				}
			}
		}
	}
	if found < 150 {
		t.Errorf("%d command lines", found)
	}
}

// TestDocumentsKeys finds each key of the configuration in the documents, and wants it to be there.
func TestDocumentsKeys(t *testing.T) {
	text, err := os.ReadFile("../../docs/port53.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	has := func(path []string) bool {
		at := []map[string]any{schema}
		for _, name := range path {
			var next []map[string]any
			for len(at) > 0 {
				here := at[0]
				at = at[1:]
				if p, ok := here["properties"].(map[string]any); ok {
					if child, ok := p[name].(map[string]any); ok {
						next = append(next, child)
					}
				}
				if child, ok := here["additionalProperties"].(map[string]any); ok {
					next = append(next, child)
				}
				if items, ok := here["items"].(map[string]any); ok {
					at = append(at, items)
				}
				for _, of := range []string{"anyOf", "oneOf", "allOf"} {
					list, _ := here[of].([]any)
					for _, x := range list {
						if m, ok := x.(map[string]any); ok {
							at = append(at, m)
						}
					}
				}
			}
			if at = next; len(at) == 0 {
				return false
			}
		}
		return true
	}
	key := regexp.MustCompile("`([a-z_]+(?:\\.[a-z0-9_]+)+)(?:: [^`]*)?`")
	top, _ := schema["properties"].(map[string]any)
	found := 0
	for file, text := range documents(t) {
		if strings.HasSuffix(file, "ARCHITECTURE.md") || strings.HasSuffix(file, "TESTING.md") {
			continue // their names are Go's
		}
		for _, m := range key.FindAllStringSubmatch(text, -1) {
			path := strings.Split(m[1], ".")
			if _, ours := top[path[0]]; !ours || slices.Contains([]string{"yaml", "zone", "conf", "md", "sock", "txt", "go", "service", "socket", "json", "txtar"}, path[len(path)-1]) {
				continue
			}
			if found++; !has(path) {
				t.Errorf("%s: there is no key %s", file, m[1])
			}
		}
	}
	if found < 12 { // CONFIG.md is made of the keys themselves
		t.Errorf("%d keys", found)
	}
}

// TestDocumentsLinks wants what the documents link to to be there.
func TestDocumentsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	for file, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(file, "the help") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: %s is not there", file, m[1])
			}
		}
	}
}
