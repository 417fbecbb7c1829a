package app_test

import (
	"os"
	"os/exec"
	"testing"
)

// runChild runs one test of this binary in a process of its own, in a folder that
// any user may read and write.
func runChild(t *testing.T, name string) {
	t.Helper()
	tmp := t.TempDir()
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tmp+"/..", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1", "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
