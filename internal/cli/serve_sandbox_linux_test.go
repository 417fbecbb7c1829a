package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSandboxSaysWhy reloads a configuration that names files elsewhere than the one that the
// server was started with: the error says that a restart is needed for that. With sandbox: off
// they are taken, and beside the files that were named there is nothing to say.
func TestSandboxSaysWhy(t *testing.T) {
	if abi, _, errno := syscall.Syscall(444, 0, 0, 1); errno != 0 || abi == 0 {
		t.Skip("this kernel has no Landlock")
	}
	elsewhere := t.TempDir()
	for name, text := range map[string]string{"far.zone": fmt.Sprintf(testZone, 1), "secret": "MDEyMzQ1Njc4OWFiY2RlZg==\n"} {
		if err := os.WriteFile(filepath.Join(elsewhere, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, sandbox := range []string{"on", "off"} {
		t.Run(sandbox, func(t *testing.T) {
			s := serveWith(t, "sandbox: "+sandbox+"\n", func(*exec.Cmd) {})
			yaml, err := os.ReadFile(filepath.Join(s.dir, "port53.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(s.dir, "below"), 0o755); err != nil {
				t.Fatal(err)
			}
			s.write("below/near.zone", fmt.Sprintf(testZone, 1))
			for what, more := range map[string]string{
				"a zone beside":      "zones: [{name: test, file: test.zone}, {name: near, file: below/near.zone}]\n",
				"a zone elsewhere":   "zones: [{name: test, file: test.zone}, {name: far, file: " + elsewhere + "/far.zone}]\n",
				"a secret elsewhere": "keys: [{name: k, secret_file: " + elsewhere + "/secret}]\nzones: [{name: test, file: test.zone}]\n",
			} {
				s.write("port53.yaml", strings.Replace(string(yaml), "zones: [{name: test, file: test.zone}]\n", more, 1))
				out, err := exec.Command("port53", "reload", "--config", filepath.Join(s.dir, "port53.yaml")).CombinedOutput()
				good := sandbox == "off" || strings.HasSuffix(what, "beside")
				if (err == nil) != good || strings.Contains(string(out), "restart it to use files elsewhere") == good {
					t.Errorf("%s: %v: %s", what, err, out)
				}
			}
			s.terminate()
		})
	}
}

// TestNoSignalKills sends SIGHUP and SIGTERM to servers that have just been started, at all
// sorts of moments: each ends by itself, and leaves no socket behind.
func TestNoSignalKills(t *testing.T) {
	for i := range 20 {
		s := serveWith(t, "", func(*exec.Cmd) {})
		for range i {
			_ = s.cmd.Process.Signal(syscall.SIGHUP)
		}
		s.terminate()
		if _, err := os.Lstat(filepath.Join(s.dir, "s")); err == nil {
			t.Error("the control socket is still there")
		}
	}
}
