package app_test

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/app"
)

// block has a file that cannot be opened, as on a file system that does not answer, until
// release is called (fcntl(2), "Leases": the kernel waits 45 seconds for whoever has one).
// tried is told of an attempt.
func block(t *testing.T, path string) (tried <-chan os.Signal, release func()) {
	t.Helper()
	told := make(chan os.Signal, 8)
	signal.Notify(told, unix.SIGIO)
	t.Cleanup(func() { signal.Stop(told) })
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip("no leases here:", err)
	}
	return told, func() { f.Close() }
}

// TestNobodyWaitsForAReload holds a reload up by a configuration file that cannot be opened:
// the status and the metrics are told, questions are answered, and the server stops.
func TestNobodyWaitsForAReload(t *testing.T) {
	r := start(t, "metrics: {listen: \"127.0.0.1:0\"}\n")
	tried, release := block(t, filepath.Join(r.dir, "port53.yaml"))
	defer release()
	r.reload <- syscall.SIGHUP
	<-tried
	if st, err := r.Status("test.", ""); err != nil || !st.(app.Status).Zones[0].Serving {
		t.Errorf("status %+v %v", st, err)
	}
	if got := metrics(t, r); !strings.Contains(got, "port53_zones{") {
		t.Errorf("metrics: %q", got)
	}
	r.want("ns.test. A", "192.0.2.1")
	began := time.Now()
	r.stop()
	err := <-r.done
	close(r.done)
	if err != nil || time.Since(began) > 40*time.Second {
		t.Errorf("stopped after %v with %v", time.Since(began), err)
	}
}
