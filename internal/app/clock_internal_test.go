package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"port53/internal/config"
	"port53/internal/resolver"
)

// TestClockOf: what is known of the clock is when the program was built, and when the clock was
// known to be right by an earlier run; a broken file tells nothing.
func TestClockOf(t *testing.T) {
	c := &config.Config{StateDir: t.TempDir(), Role: "internal-resolver"}
	c.Resolver.Validation = true
	if !followsAnchors(c) {
		t.Fatal("the configuration is of no resolver that validates")
	}
	least, err := time.Parse(time.RFC3339, releaseTime)
	if err != nil {
		t.Fatal(err)
	}
	if k := clockOf(c); k.Built.Before(least) || k.Built.After(time.Now().Add(24*time.Hour)) || !k.Kept.IsZero() || k.Unsynchronized == nil {
		t.Errorf("%+v", k)
	}
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	file := filepath.Join(c.StateDir, resolver.ClockFile)
	for text, want := range map[string]time.Time{"port53 clock 1\n2030-01-02T03:04:05Z\n": at, "port53 clock 1\n": {}} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k := clockOf(c); !k.Kept.Equal(want) {
			t.Errorf("%q: kept %v, want %v", text, k.Kept, want)
		}
	}
	c.Resolver.Validation = false
	if k := clockOf(c); !k.Kept.IsZero() {
		t.Errorf("without validation: kept %v", k.Kept)
	}
}
