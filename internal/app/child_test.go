package app_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// runChild runs one test of this binary, or one part of it, in a process of its own, in a
// directory that any user may read and write.
func runChild(t *testing.T, name string) {
	t.Helper()
	tmp := t.TempDir()
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tmp+"/..", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(name, "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1", "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// needRoot skips a test that only root can run, unless all must be run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
		t.Fatal("required: root")
	}
	t.Skip("only root has root to give up")
}
