package zones_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/zones"
)

// TestSyncOnAFullDisk writes a zone where there is no room for all of it: the file before is
// as it was, and nothing is left beside it.
func TestSyncOnAFullDisk(t *testing.T) {
	const own = "PORT53_OWN_PROCESS"
	if os.Getenv(own) == "" { // the limit is the process's, and go test writes a log of its own
		cmd := exec.Command(os.Args[0], "-test.run=^TestSyncOnAFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), own+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestSyncOnAFullDisk")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s, source, _ := newUpdated(t)
	for n := range 200 {
		s.update(n, 0)
	}
	before, err := os.ReadFile(source.File)
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 2048
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	failed := s.manager.Sync(source.Apex)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(failed, syscall.EFBIG) {
		t.Errorf("%v", failed)
	}
	if after, err := os.ReadFile(source.File); err != nil || !bytes.Equal(after, before) {
		t.Errorf("%v, the file has %d bytes, and had %d", err, len(after), len(before))
	}
	if left, err := filepath.Glob(source.File + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
	if l := zones.Load(source, dnstest.Seed); l.Zone == nil || l.Zone.Serial() != 1 {
		t.Errorf("%v", l.Problems)
	}
}
