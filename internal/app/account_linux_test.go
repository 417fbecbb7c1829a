package app_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"port53/internal/app"
	"port53/internal/config"
)

// members runs the test of this name in a child with users of its own: nobody is a member of
// the group keepers (4242) there. It reports whether this is the child.
func members(t *testing.T) bool {
	t.Helper()
	needRoot(t)
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		tmp := t.TempDir()
		for _, err := range []error{os.Chmod(tmp, 0o777), os.Chmod(tmp+"/..", 0o755)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
		cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1", "TMPDIR="+tmp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return false
	}
	group := os.TempDir() + "/group"
	err := os.WriteFile(group, []byte("root:x:0:\nnogroup:x:65534:\nkeepers:x:4242:root,nobody\nothers:x:4343:root\n"), 0o644)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Mount(group, "/etc/group", "", unix.MS_BIND, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

const secretYAML = "role: authoritative\nstate_dir: state\nkeys: [{name: k, secret_file: secret}]\nzones: [{name: test, file: test.zone, tsig: k, allow_transfer: [127.0.0.1]}]\n"

// TestFilesOfTheUser has files that the user who serves may read, or may not though root may:
// config check and the start say the same, and what starts can be reloaded.
func TestFilesOfTheUser(t *testing.T) {
	for _, s := range []struct {
		name    string
		prepare func(h *home)
		want    string // "": good
	}{
		{"a secret of one of its groups", func(h *home) { h.must(os.Chown(h.path("secret"), 0, 4242), os.Chmod(h.path("secret"), 0o640)) }, ""},
		{"a secret of its own", func(h *home) { h.must(os.Chown(h.path("secret"), nobody, 0)) }, ""},
		{"a secret of root's", func(h *home) {}, "secret cannot be read: permission denied"},
		{"a secret of another group", func(h *home) { h.must(os.Chown(h.path("secret"), 0, 4343), os.Chmod(h.path("secret"), 0o640)) }, "secret cannot be read: permission denied"},
		{"a secret where it may not go", func(h *home) {
			h.must(os.Chmod(h.path("roots"), 0o700), os.Rename(h.path("secret"), h.path("roots/secret")), os.Symlink("roots/secret", h.path("secret")), os.Chown(h.path("roots/secret"), nobody, nobody))
		}, "secret cannot be read: permission denied"},
	} {
		for _, check := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s_%v", strings.ReplaceAll(s.name, " ", "_"), check), func(t *testing.T) {
				if !members(t) {
					return
				}
				h := newHome(t)
				h.must(os.WriteFile(h.path("secret"), []byte("MDEyMzQ1Njc4OWFiY2RlZg==\n"), 0o600))
				s.prepare(h)
				var err error
				if check {
					h.must(os.WriteFile(h.path("port53.yaml"), []byte("user: nobody\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\n"+secretYAML), 0o644))
					var c *config.Config
					c, err = config.Load(h.path("port53.yaml"))
					h.must(err)
					_, err = app.Check(t.Context(), c, true)
				} else {
					err = h.start(secretYAML)
				}
				if s.want != "" {
					if err == nil || !strings.Contains(err.Error(), s.want) || !strings.Contains(err.Error(), "user nobody") {
						t.Errorf("got %v, want %q", err, s.want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.Getgroups(); err != nil || !slices.Equal(got, []int{4242, nobody}) && !slices.Equal(got, []int{nobody, 4242}) {
					t.Errorf("groups %v, %v", got, err)
				}
				if !check {
					if _, err := h.app.Reload(t.Context()); err != nil {
						t.Errorf("a reload: %v", err)
					}
					h.stop()
				}
			})
		}
	}
}

// TestConfigurationOfRoot has a configuration that only root may read: no reload could, so
// the server does not start.
func TestConfigurationOfRoot(t *testing.T) {
	if !members(t) {
		return
	}
	h := newHome(t)
	text := "role: authoritative\nuser: nobody\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\ncontrol: {socket: off}\nstate_dir: state\nzones: [{name: test, file: test.zone}]\n"
	h.must(os.WriteFile(h.path("port53.yaml"), []byte(text), 0o600))
	c, err := config.Load(h.path("port53.yaml"))
	h.must(err)
	if _, err := app.New(t.Context(), app.Options{Config: c}); err == nil || !strings.Contains(err.Error(), "port53.yaml: cannot be read: permission denied") {
		t.Errorf("got %v", err)
	}
}
