package zones

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"port53/internal/dnstest"
)

// A recorder is a file that writes down what is done with it, and may fail at one thing.
type recorder struct {
	done  []string
	fails string
}

var errFails = errors.New("input/output error")

func (r *recorder) do(what string) error {
	r.done = append(r.done, what)
	if what == r.fails {
		return errFails
	}
	return nil
}

func (r *recorder) Write(p []byte) (int, error)  { return len(p), r.do("write") }
func (r *recorder) Chmod(mode os.FileMode) error { return r.do("chmod " + mode.String()) }
func (r *recorder) Sync() error                  { return r.do("sync") }
func (r *recorder) Close() error                 { return r.do("close") }

// TestFill has each step of writing a zone file fail: the file before keeps its name then,
// and whatever happens the new one is closed. Without a fault it is on the disk before it is
// closed.
func TestFill(t *testing.T) {
	z := dnstest.Zone(t, "test.", "@ 60 SOA ns admin 1 7200 3600 86400 300\n@ 60 NS ns\n")
	steps := []string{"write", "chmod -rw-r-----", "sync", "close"}
	for _, fails := range append(steps, "") {
		r := &recorder{fails: fails}
		err := fill(r, z, 0o640)
		if failed := err != nil; failed != (fails != "") || failed && !errors.Is(err, errFails) {
			t.Errorf("%q fails: %v", fails, err)
		}
		if !slices.Contains(r.done, "close") || fails == "" && !slices.Equal(r.done, steps) {
			t.Errorf("%q fails: %q was done", fails, r.done)
		}
	}
}

// TestStamp has a file that was not there when it was stamped, and one that goes and comes
// again: neither is what was read.
func TestStamp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	none := stamp(path)
	if none.holds() {
		t.Error("a file that is not there is as it was read")
	}
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if none.holds() {
		t.Error("a file that has come is as it was read")
	}
	there := stamp(path)
	if !there.holds() {
		t.Error("nothing has changed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if there.holds() {
		t.Error("a file that has gone is as it was read")
	}
}
