package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEmptyFlags: what a shell variable that is not set makes of a flag is never taken for "all", nor for a
// default.
func TestEmptyFlags(t *testing.T) {
	seen := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.DisableFlagParsing {
			return // query reads them itself, and changes nothing
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if kind := f.Value.Type(); kind == "bool" || kind == "count" {
				return
			}
			seen++
			list := strings.HasPrefix(f.Value.Type(), "string") && f.Value.Type() != "string"
			for _, text := range []string{"", " "} {
				if err := f.Value.Set(text); err == nil {
					t.Errorf("%s takes --%s %q", cmd.CommandPath(), f.Name, text)
				}
			}
			if list && f.Value.Type() == "stringSlice" && f.Value.Set("a,") == nil {
				t.Errorf("%s takes --%s a,", cmd.CommandPath(), f.Name)
			}
		})
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(Root(io.Discard))
	if seen < 100 {
		t.Errorf("only %d flags were tried", seen)
	}
}

// TestEmptyArguments: an empty argument is refused before anything is asked of a server, and does not vanish.
func TestEmptyArguments(t *testing.T) {
	for _, line := range [][]string{
		{"grant", "add", "x", "--zone", "u.test", "--name", ""},
		{"grant", "add", "x", "--zone", "u.test", "--until="},
		{"grant", "add", "", "--zone", "u.test"},
		{"user", "add", "x", "--zone", "u.test", "--type", ""},
		{"firewall", "apply", "--allow", ""},
		{"record", "remove", "u.test", ""},
		{"record", "remove", "u.test", "www", ""},
		{"zone", "remove", "u.test", "--view", ""},
		{"cache", "flush", "--tree", ""},
		{"tunnel", "accept", ""},
		{"key", "new", ""},
	} {
		var out bytes.Buffer
		if code := Main(t.Context(), line, strings.NewReader(""), &out, &out); code != exitUsage || !strings.Contains(out.String(), "is empty: write") {
			t.Errorf("%q: exit code %d: %s", line, code, &out)
		}
	}
}
