package convert_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/config"
	"port53/internal/convert"
	"port53/internal/wire"
)

// TestExceptions takes over what other servers know of zones and servers that do not bear case,
// cookies or EDNS.
func TestExceptions(t *testing.T) {
	type kv = map[string]string // zone or server, and what it does not bear
	for _, tt := range []struct {
		kind, text string
		want       kv
		missed     int
	}{
		{"unbound", "server:\n  use-caps-for-id: yes\n  caps-exempt: \"Example.COM\"\n  caps-whitelist: licdn.net.\n  caps-exempt: example.com\n", kv{"example.com.": "case", "licdn.net.": "case"}, 0},
		{"unbound", "server:\n  caps-exempt: .\n", kv{".": "case"}, 0},
		{"unbound", "server:\n  caps-exempt: \"a..b\"\n  caps-exempt: good.test\n", kv{"good.test.": "case"}, 1},
		{"bind", "options { recursion yes; };\nserver 192.0.2.1 { send-cookie no; };\nserver 2001:db8::/32 { edns no; };\nserver 192.0.2.1 { edns no; };\n", kv{"192.0.2.1/32": "cookies edns", "2001:db8::/32": "edns"}, 0},
		{"bind", "options { recursion yes; send-cookie no; };\n", kv{"0.0.0.0/0": "cookies", "::/0": "cookies"}, 0},
		{"bind", "options { recursion yes; send-cookie yes; };\nserver 192.0.2.1 { send-cookie yes; edns yes; };\n", kv{}, 0},
		{"bind", "options { recursion yes; };\nview x { match-clients { any; };\nserver 192.0.2.0/24 { edns false; };\n};\n", kv{"192.0.2.0/24": "edns"}, 0},
	} {
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := convert.File(convert.Options{Kind: tt.kind, Path: file})
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		c, err := config.Parse("port53.yaml", r.YAML)
		if err != nil {
			t.Errorf("%s: %v\n%s", tt.text, err, r.YAML)
			continue
		}
		got := kv{}
		for _, x := range c.Resolver.Exceptions {
			of := x.Server.String()
			if x.Zone != nil {
				of = string(wire.AppendName(nil, x.Zone))
			}
			var off []string
			for what, value := range map[string]string{"case": x.Case, "cookies": x.Cookies, "edns": x.EDNS} {
				if value == "off" {
					off = append(off, what)
				}
			}
			if len(off) == 2 && off[0] > off[1] {
				off[0], off[1] = off[1], off[0]
			}
			got[of] = strings.Join(off, " ")
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %v, want %v", tt.text, got, tt.want)
		}
		missed := 0
		for _, n := range r.Notes {
			if n.Outcome == convert.Unsupported {
				missed++
			}
		}
		if missed != tt.missed {
			t.Errorf("%s: %d statements were not converted: %v", tt.text, missed, r.Notes)
		}
	}
}
