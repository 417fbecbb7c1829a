package cli

import (
	"io"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp fails if a command does not say what it does, at length and by example.
func TestHelp(t *testing.T) {
	var look func(c *cobra.Command)
	count := 0
	look = func(c *cobra.Command) {
		count++
		for what, text := range map[string]string{"short": c.Short, "long": c.Long, "example": c.Example} {
			if text == "" {
				t.Errorf("%s: no %s help", c.CommandPath(), what)
			}
		}
		for _, below := range c.Commands() {
			look(below)
		}
	}
	look(newRoot(&streams{out: io.Discard, err: io.Discard}))
	if count < 12 {
		t.Errorf("found only %d commands", count)
	}
}
