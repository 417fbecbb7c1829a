package resolver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
)

// TestReplay plays files in the replay format of Unbound and Deckard: those of testdata, and
// with PORT53_REPLAY the files of that directory instead.
func TestReplay(t *testing.T) {
	dir := os.Getenv("PORT53_REPLAY")
	if dir == "" {
		dir = filepath.Join("testdata", "replay")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.rpl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".rpl"), func(t *testing.T) {
			dnstest.Replay(t, file, subject.New)
		})
	}
}
