package catalogue_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"port53/internal/catalogue"
)

var update = flag.Bool("update", false, "rewrite the generated document")

func TestDocument(t *testing.T) {
	const file = "../../docs/CHECKS.md"
	want := catalogue.Document()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale (%v): run go generate ./internal/catalogue", file, err)
	}
	for _, c := range catalogue.All() {
		if !bytes.Contains(want, []byte("\n### "+c.ID+"\n")) {
			t.Errorf("%s is not in it", c.ID)
		}
	}
}
