package app

import (
	"path/filepath"
	"runtime/debug"
	"time"

	"port53/internal/config"
	"port53/internal/resolver"
)

// releaseTime is when this program was not yet built, for builds that do not know their time.
const releaseTime = "2026-11-29T00:00:00Z"

// clockOf returns what is known of the clock. A file that cannot be read tells nothing; the
// server does not need it.
func clockOf(c *config.Config) resolver.Clock {
	k := resolver.Clock{Built: BuildTime(), Unsynchronized: unsynchronized}
	if followsAnchors(c) && c.StateDir != "" {
		k.Kept, _ = resolver.SavedTime(filepath.Join(c.StateDir, resolver.ClockFile))
	}
	return k
}

// BuildTime returns a time before which this program cannot run.
func BuildTime() time.Time {
	least, _ := time.Parse(time.RFC3339, releaseTime)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return least
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if at, err := time.Parse(time.RFC3339, s.Value); err == nil && at.After(least) {
				return at
			}
		}
	}
	return least
}
