//go:build unix

package config_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"port53/internal/config"
)

// TestNothingWaitsForAPipe has a FIFO in the place of each file: it is an error at once, and
// not waited for.
func TestNothingWaitsForAPipe(t *testing.T) {
	const head = "role: internal-resolver\n"
	folder := write(t, map[string]string{
		"zone.yaml":    head + "zones: [{name: a.example, file: pipe}]\n",
		"hints.yaml":   head + "resolver: {root_hints: pipe}\n",
		"anchors.yaml": head + "resolver: {trust_anchors: pipe}\n",
		"key.yaml":     head + "keys: [{name: k, secret_file: pipe}]\n",
		"cookies.yaml": head + "edns: {cookie_secrets_file: pipe}\n",
	})
	for _, name := range []string{"pipe", "whole.yaml"} {
		if err := syscall.Mkfifo(filepath.Join(folder, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"whole", "zone", "hints", "anchors", "key", "cookies"} {
		if _, err := config.Load(filepath.Join(folder, name+".yaml")); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
