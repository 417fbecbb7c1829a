package convert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/convert"
)

// An option that nobody knows may be one that is misspelt, and matter: it is never
// passed over as if something stood for it.
func TestUnknownOptions(t *testing.T) {
	for kind, text := range map[string]string{
		"bind": "options { recursoin no; pid-file none; };\nzone \"example.com\" { type primary; file \"/x\"; };\n",
		"nsd":  "server:\n  hide-vresion: yes\n  verbosity: 1\nzone:\n  name: example.com\n  zonefile: /x\n",
		"knot": "server:\n  identiti: x\n  user: knot\nzone:\n  - domain: example.com\n    file: /x\n",
	} {
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := convert.File(convert.Options{Kind: kind, Path: file})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		missed, own := 0, 0
		for _, n := range r.Notes {
			if n.Outcome == convert.Unsupported && strings.Contains(n.Why, "port53 has no such setting") {
				missed++
			}
			if n.Outcome == convert.Changed {
				own++
			}
		}
		if missed != 1 || own == 0 || r.Complete() {
			t.Errorf("%s: %d not taken, %d changed: %v", kind, missed, own, r.Notes)
		}
	}
}
