//go:build unix

package securepath_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"port53/internal/securepath"
)

// somebody is a user who is not root.
const somebody = 65534

// needRoot skips the test if it is not run by root, unless all must be run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PORT53_REQUIRE_PEERS") == "1" {
		t.Fatal("required: root")
	}
	t.Skip("only root lends its rights")
}

// A tree is a directory of root with entries, each by a word: dir, theirs (a directory of
// somebody), open (one that everybody may write to), sticky (the same, as /tmp), group (one
// that a group may write to), file, fifo, or "link TARGET" and "theirlink TARGET".
func tree(t *testing.T, entries ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, e := range entries {
		name, what, _ := strings.Cut(e, " ")
		path := filepath.Join(root, name)
		kind, target, _ := strings.Cut(what, " ")
		target = strings.ReplaceAll(target, "ROOT", root)
		var err error
		switch kind {
		case "dir", "theirs", "open", "sticky", "group":
			err = os.Mkdir(path, 0o755)
		case "file":
			err = os.WriteFile(path, []byte("root's\n"), 0o600)
		case "fifo":
			err = unix.Mkfifo(path, 0o666)
		case "link", "theirlink":
			err = os.Symlink(target, path)
		case "hard":
			err = os.Link(target, path)
		default:
			t.Fatalf("no kind %q", kind)
		}
		if err == nil {
			switch kind {
			case "theirs", "theirlink":
				err = os.Lchown(path, somebody, somebody)
			case "open":
				err = os.Chmod(path, 0o777)
			case "sticky":
				err = os.Chmod(path, 0o777|fs.ModeSticky)
			case "group":
				if err = os.Chown(path, 0, somebody); err == nil {
					err = os.Chmod(path, 0o775)
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// same reports whether d is the directory at path.
func same(t *testing.T, d *securepath.Dir, path string) bool {
	t.Helper()
	if err := d.Write("mark", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := os.Lstat(filepath.Join(path, "mark"))
	return err == nil
}

// TestWalk has root go where links of root lead, and nowhere else.
func TestWalk(t *testing.T) {
	needRoot(t)
	for _, s := range []struct {
		what    string
		entries []string
		path    string
		end     string // where it ends; empty: nowhere
		shared  string // the directory that others can change
	}{
		{"plain", []string{"a dir", "a/b dir"}, "a/b", "a/b", ""},
		{"root's link", []string{"a dir", "l link a"}, "l", "a", ""},
		{"on the way", []string{"a dir", "a/b dir", "l link a"}, "l/b", "a/b", ""},
		{"upwards", []string{"a dir", "b dir", "a/l link ../b"}, "a/l", "b", ""},
		{"absolute", []string{"a dir", "b dir", "a/l link ROOT/b"}, "a/l", "b", ""},
		{"in circles", []string{"l link m", "m link l"}, "l", "", ""},
		{"nowhere", []string{"l link gone"}, "l", "", ""},
		{"somebody's link", []string{"a dir", "l theirlink a"}, "l", "", ""},
		{"somebody's link on the way", []string{"a dir", "a/b dir", "l theirlink a"}, "l/b", "", ""},
		{"root's link in somebody's directory", []string{"a dir", "d theirs", "d/l link ../a"}, "d/l", "", ""},
		{"below somebody's directory", []string{"d theirs", "d/e dir", "a dir", "d/e/l link ../../a"}, "d/e/l", "", ""},
		{"where everybody writes", []string{"a dir", "d open", "d/l link ../a"}, "d/l", "", ""},
		{"where everybody writes, sticky, root's", []string{"a dir", "d sticky", "d/l link ../a"}, "d/l", "a", ""},
		{"where everybody writes, sticky, somebody's", []string{"a dir", "d sticky", "d/l theirlink ../a"}, "d/l", "", ""},
		{"where a group writes", []string{"a dir", "d group", "d/l link ../a"}, "d/l", "", ""},
		{"out of a link into somebody's", []string{"d theirs", "d/b dir", "l link d"}, "l/b", "d/b", "d"},
		{"out of a link, and one of somebody", []string{"d theirs", "a dir", "d/b theirlink ../a", "l link d"}, "l/b", "", ""},
		{"somebody's directory", []string{"d theirs"}, "d", "d", "d"},
		{"root's in somebody's", []string{"d theirs", "d/e dir"}, "d/e", "d/e", "d"},
		{"everybody's", []string{"d open"}, "d", "d", "d"},
		{"a group's", []string{"d group"}, "d", "d", "d"},
		{"sticky", []string{"d sticky"}, "d", "d", "d"},
		{"root's in a sticky one", []string{"d sticky", "d/e dir"}, "d/e", "d/e", ""},
		{"somebody's in a sticky one", []string{"d sticky", "d/e theirs"}, "d/e", "d/e", "d/e"},
		{"a FIFO", []string{"f fifo"}, "f", "", ""},
		{"a FIFO on the way", []string{"f fifo"}, "f/a", "", ""},
		{"a file", []string{"f file"}, "f", "", ""},
	} {
		t.Run(s.what, func(t *testing.T) {
			root := tree(t, s.entries...)
			d, err := securepath.Open(filepath.Join(root, s.path))
			if s.end == "" {
				if err == nil {
					t.Fatal("opened")
				}
				if strings.Contains(strings.Join(s.entries, "\n"), "theirlink") && !errors.Is(err, securepath.ErrLink) {
					t.Errorf("%v is not ErrLink", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if !same(t, d, filepath.Join(root, s.end)) {
				t.Error("it is another directory")
			}
			switch err := d.Exclusive(); {
			case s.shared == "" && err != nil:
				t.Error(err)
			case s.shared != "" && (!errors.Is(err, securepath.ErrShared) || !strings.HasPrefix(err.Error(), filepath.Join(root, s.shared)+": ")):
				t.Errorf("shared: %v", err)
			}
		})
	}
}

// TestMake makes what is missing with the modes that are wanted, whatever the umask is, and
// nothing where a link leads.
func TestMake(t *testing.T) {
	needRoot(t)
	defer syscall.Umask(syscall.Umask(0o077))
	root := tree(t, "d theirs", "d/l theirlink ../elsewhere")
	if _, err := securepath.Open(filepath.Join(root, "a/b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened what is not there: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(root, "a")); err == nil {
		t.Error("opening has made a directory")
	}
	for range 2 {
		d, made, err := securepath.Make(filepath.Join(root, "a/b/c"), 0o750)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, "a/b/c"))
		if err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		if info, err = os.Stat(filepath.Join(root, "a/b")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("on the way: %v %v", info.Mode(), err)
		}
		if owner, err := d.Owner(); err != nil || owner != 0 {
			t.Errorf("owner %d %v", owner, err)
		}
		empty, err := d.Empty()
		if err != nil || empty != made {
			t.Errorf("made %v, empty %v %v", made, empty, err)
		}
		if err := d.Chown(somebody, somebody); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(root, "a/b/c/f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if empty, err = d.Empty(); err != nil || empty {
			t.Errorf("with a file in it: empty %v %v", empty, err)
		}
		d.Close()
		if err := os.Chown(filepath.Join(root, "a/b/c"), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"d/l", "d/l/m"} {
		if _, _, err := securepath.Make(filepath.Join(root, path), 0o750); !errors.Is(err, securepath.ErrLink) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "elsewhere")); err == nil {
		t.Error("a directory was made where a link leads")
	}
}

// TestSwapped renames a directory that is open, and puts a link to another one in its place:
// everything goes on in the one that was opened.
func TestSwapped(t *testing.T) {
	needRoot(t)
	root := tree(t, "d theirs", "a dir", "a/secret file", "a/log file")
	d, err := securepath.Open(filepath.Join(root, "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := errors.Join(os.Rename(filepath.Join(root, "d"), filepath.Join(root, "moved")), os.Symlink("a", filepath.Join(root, "d"))); err != nil {
		t.Fatal(err)
	}
	at, err := d.SocketPath("s")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if _, err := d.GiveSocket("s", 0o660, somebody, somebody); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Write("secret", []byte("new"), 0o600), d.Remove("log"), d.Chown(somebody, somebody)); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"s", "secret"} {
		if _, err := os.Lstat(filepath.Join(root, "moved", name)); err != nil {
			t.Error(err)
		}
	}
	names, err := os.ReadDir(filepath.Join(root, "a"))
	text, err2 := os.ReadFile(filepath.Join(root, "a/secret"))
	info, err3 := os.Stat(filepath.Join(root, "a"))
	if err = errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if len(names) != 2 || string(text) != "root's\n" || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the other directory was touched: %v %q", names, text)
	}
}

// TestAppend appends to files of root and of others, and to nothing that others have linked.
func TestAppend(t *testing.T) {
	needRoot(t)
	const line = "a line\n"
	for _, s := range []struct {
		what    string
		entries []string
		path    string
		file    string // that has the line; empty: none
	}{
		{"made", nil, "f", "f"},
		{"there", []string{"f file"}, "f", "f"},
		{"in somebody's directory", []string{"d theirs"}, "d/f", "d/f"},
		{"there, in somebody's directory", []string{"d theirs", "d/f file"}, "d/f", "d/f"},
		{"root's link", []string{"f file", "l link f"}, "l", "f"},
		{"root's link to nothing", []string{"l link f"}, "l", "f"},
		{"two of root's links", []string{"f file", "m link f", "a dir", "a/l link ../m"}, "a/l", "f"},
		{"somebody's link", []string{"f file", "d theirs", "d/l theirlink ../f"}, "d/l", ""},
		{"somebody's link to nothing", []string{"d theirs", "d/l theirlink ../f"}, "d/l", ""},
		{"root's link in somebody's directory", []string{"f file", "d theirs", "d/l link ../f"}, "d/l", ""},
		{"a link in a sticky directory", []string{"f file", "d sticky", "d/l theirlink ../f"}, "d/l", ""},
		{"through somebody's directory", []string{"a dir", "a/f file", "d theirs", "d/l theirlink ../a"}, "d/l/f", ""},
		{"a second name in somebody's directory", []string{"f file", "d theirs", "d/h hard ROOT/f"}, "d/h", ""},
		{"a second name in a sticky directory", []string{"f file", "d sticky", "d/h hard ROOT/f"}, "d/h", ""},
		{"a second name in root's directory", []string{"f file", "h hard ROOT/f"}, "h", "f"},
		{"a directory", []string{"d dir"}, "d", ""},
		{"in circles", []string{"l link m", "m link l"}, "l", ""},
	} {
		t.Run(s.what, func(t *testing.T) {
			root := tree(t, s.entries...)
			f, err := securepath.Append(filepath.Join(root, s.path), 0o640)
			if s.file == "" {
				if err == nil {
					t.Error("opened")
				}
			} else {
				if err == nil {
					_, err = f.WriteString(line)
					f.Close()
				}
				text, readErr := os.ReadFile(filepath.Join(root, s.file))
				if err = errors.Join(err, readErr); err != nil || !strings.HasSuffix(string(text), line) {
					t.Errorf("%q %v", text, err)
				}
			}
			for _, e := range s.entries {
				name, what, _ := strings.Cut(e, " ")
				if text, err := os.ReadFile(filepath.Join(root, name)); what == "file" && (err != nil || !strings.HasPrefix(string(text), "root's\n") || s.file == "" && string(text) != "root's\n") {
					t.Errorf("%s has %q, %v", name, text, err)
				}
			}
			if _, err := os.Lstat(filepath.Join(root, "f")); err == nil && s.file == "" && !strings.Contains(strings.Join(s.entries, " "), "f file") {
				t.Error("a file was made where the link leads")
			}
		})
	}
}

// TestAppendDoesNotWait opens a FIFO that nobody reads, and a device.
func TestAppendDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := securepath.Append(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("a line\n"); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	b := make([]byte, 100)
	if n, err := reader.Read(b); err != nil || string(b[:n]) != "a line\n" {
		t.Errorf("%q %v", b[:n], err)
	}
	null, err := securepath.Append("/dev/null", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	null.Close()
}

// TestRead reads what root alone can have written.
func TestRead(t *testing.T) {
	needRoot(t)
	for _, s := range []struct {
		what    string
		entries []string
		change  func(path string) error
		good    bool
	}{
		{"root's", []string{"f file"}, nil, true},
		{"missing", nil, nil, false},
		{"a link", []string{"g file", "f link g"}, nil, false},
		{"a FIFO", []string{"f fifo"}, nil, false},
		{"a directory", []string{"f dir"}, nil, false},
		{"a second name", []string{"g file", "f hard ROOT/g"}, nil, false},
		{"somebody's", []string{"f file"}, func(path string) error { return os.Chown(path, somebody, 0) }, false},
		{"that everybody can write", []string{"f file"}, func(path string) error { return os.Chmod(path, 0o606) }, false},
		{"that a group can write", []string{"f file"}, func(path string) error {
			return errors.Join(os.Chown(path, 0, somebody), os.Chmod(path, 0o660))
		}, false},
		{"as large as may be", []string{"f file"}, func(path string) error { return os.Truncate(path, 16<<20) }, true},
		{"larger", []string{"f file"}, func(path string) error { return os.Truncate(path, 16<<20+1) }, false},
	} {
		t.Run(s.what, func(t *testing.T) {
			root := tree(t, s.entries...)
			if s.change != nil {
				if err := s.change(filepath.Join(root, "f")); err != nil {
					t.Fatal(err)
				}
			}
			d, err := securepath.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			text, err := d.Read("f")
			if (err == nil) != s.good || s.good && !strings.HasPrefix(string(text), "root's\n") {
				t.Errorf("%d bytes, %v", len(text), err)
			}
			if missing := s.what == "missing"; errors.Is(err, fs.ErrNotExist) != missing {
				t.Errorf("not there: %v", err)
			}
		})
	}
}

// TestWrite replaces files, and follows nothing that lies where it writes first.
func TestWrite(t *testing.T) {
	needRoot(t)
	for _, left := range []string{"f.new link victim", "f.new hard ROOT/victim", "f.new fifo", "f.new file", "f link victim"} {
		root := tree(t, "victim file", left)
		d, err := securepath.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write("f", []byte("new\n"), 0o600); err != nil {
			t.Errorf("%s: %v", left, err)
		}
		d.Close()
		text, err := os.ReadFile(filepath.Join(root, "victim"))
		if err != nil || string(text) != "root's\n" {
			t.Errorf("%s: the victim has %q, %v", left, text, err)
		}
		info, err := os.Lstat(filepath.Join(root, "f"))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", left, info.Mode(), err)
		}
		if text, err = os.ReadFile(filepath.Join(root, "f")); err != nil || string(text) != "new\n" {
			t.Errorf("%s: written was %q, %v", left, text, err)
		}
		if _, err := os.Lstat(filepath.Join(root, "f.new")); err == nil {
			t.Errorf("%s: f.new is left", left)
		}
	}
	root := tree(t, "f dir", "f/g dir")
	d, err := securepath.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Write("f", nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := os.Lstat(filepath.Join(root, "f.new")); err == nil {
		t.Error("f.new is left after a failure")
	}
	if err := errors.Join(d.Remove("gone"), d.Remove("f")); err == nil {
		t.Error("a directory was removed")
	}
}

// TestIsSocket tells sockets from other entries, and from none.
func TestIsSocket(t *testing.T) {
	root := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(root, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(os.Symlink("s", filepath.Join(root, "l")), os.WriteFile(filepath.Join(root, "f"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d, err := securepath.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, want := range map[string]bool{"s": true, "l": false, "f": false} {
		if got, err := d.IsSocket(name); err != nil || got != want {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	if _, err := d.IsSocket("gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

// TestGiveSocket puts something else in the place of a socket before it is given away.
func TestGiveSocket(t *testing.T) {
	needRoot(t)
	for what, swap := range map[string]func(dir, victim, socket string) error{
		"nothing":           func(string, string, string) error { return nil },
		"a link":            func(dir, victim, _ string) error { return os.Symlink(victim, filepath.Join(dir, "s")) },
		"a second name":     func(dir, victim, _ string) error { return os.Link(victim, filepath.Join(dir, "s")) },
		"a socket's second": func(dir, _, socket string) error { return os.Link(socket, filepath.Join(dir, "s")) },
		"a link to one":     func(dir, _, socket string) error { return os.Symlink(socket, filepath.Join(dir, "s")) },
		"a FIFO":            func(dir, _, _ string) error { return unix.Mkfifo(filepath.Join(dir, "s"), 0o600) },
		"a socket of theirs": func(dir, _, _ string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return errors.Join(l.Close(), os.Chown(filepath.Join(dir, "s"), somebody, somebody))
		},
	} {
		for _, kind := range []string{"dir", "theirs"} {
			t.Run(what+" in "+kind, func(t *testing.T) {
				root := tree(t, "d "+kind, "victim file", "a dir")
				other, err := net.Listen("unix", filepath.Join(root, "a/s"))
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				dir, err := securepath.Open(filepath.Join(root, "d"))
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				at, err := dir.SocketPath("s")
				if err != nil {
					t.Fatal(err)
				}
				l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				l.SetUnlinkOnClose(false)
				defer l.Close()
				before := states(t, root, "victim", "a/s")
				if what != "nothing" {
					if err := errors.Join(os.Remove(filepath.Join(root, "d/s")), swap(filepath.Join(root, "d"), filepath.Join(root, "victim"), filepath.Join(root, "a/s"))); err != nil {
						t.Fatal(err)
					}
				}
				file, err := dir.GiveSocket("s", 0o660, somebody, somebody)
				if (err == nil) != (what == "nothing") {
					t.Errorf("given: %v", err)
				}
				if after := states(t, root, "victim", "a/s"); after != before {
					t.Errorf("was %s, is %s", before, after)
				}
				if what == "nothing" {
					if got := states(t, root, "d/s"); !strings.Contains(got, "Srw-rw---- 65534 65534") {
						t.Error(got)
					}
				}
				// What is in its place is not removed, the socket is.
				if err := dir.RemoveSocket("s", file); err != nil {
					t.Error(err)
				}
				if _, err := os.Lstat(filepath.Join(root, "d/s")); (err == nil) != (what != "nothing") {
					t.Errorf("removed: %v", err)
				}
			})
		}
	}
}

// states returns modes and owners of files.
func states(t *testing.T, root string, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		b.WriteString(strings.Join([]string{name, info.Mode().String(), fmt.Sprint(st.Uid), fmt.Sprint(st.Gid)}, " ") + "\n")
	}
	return b.String()
}

// TestNotRoot is run again as a user: links to directories are followed as the system does,
// and no link of that user in the place of a file.
func TestNotRoot(t *testing.T) {
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		needRoot(t)
		tmp := t.TempDir()
		// Root has made a directory, a file that everybody may write, and links to it, where
		// root alone can and where everybody can.
		err := errors.Join(
			os.Chmod(tmp, 0o777), os.Chmod(filepath.Dir(tmp), 0o755),
			os.Mkdir(filepath.Join(tmp, "roots"), 0o755), os.WriteFile(filepath.Join(tmp, "open"), nil, 0o666), os.Chmod(filepath.Join(tmp, "open"), 0o666),
			os.Symlink("../open", filepath.Join(tmp, "roots/l")), os.Symlink("open", filepath.Join(tmp, "l")),
		)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestNotRoot$")
		cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1", "TMPDIR="+tmp)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(somebody), syscall.Setuid(somebody)); err != nil {
		t.Fatal(err)
	}
	tmp := os.TempDir()
	f, err := securepath.Append(filepath.Join(tmp, "roots/l"), 0o640)
	if err != nil {
		t.Fatalf("root's link: %v", err)
	}
	f.Close()
	if _, err := securepath.Append(filepath.Join(tmp, "l"), 0o640); !errors.Is(err, securepath.ErrLink) {
		t.Errorf("root's link where everybody writes: %v", err)
	}
	for _, path := range []string{"roots/a", "roots/a/b"} {
		if _, _, err := securepath.Make(filepath.Join(tmp, path), 0o750); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", path, err)
		}
	}
	root := t.TempDir()
	if err := errors.Join(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600), os.WriteFile(filepath.Join(root, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "file"} {
		_, opened := securepath.Open(filepath.Join(root, name))
		_, _, made := securepath.Make(filepath.Join(root, name), 0o750)
		_, below := securepath.Append(filepath.Join(root, name, "f"), 0o640)
		for _, err := range []error{opened, made, below} { // none of which waits for the pipe's other end
			if !errors.Is(err, syscall.ENOTDIR) {
				t.Errorf("a %s in the place of a directory: %v", name, err)
			}
		}
	}
	if _, err := securepath.Open(filepath.Join(root, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	d, made, err := securepath.Make(filepath.Join(root, "a/b"), 0o750)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	info, err := os.Stat(filepath.Join(root, "a/b"))
	if err = errors.Join(err, d.Exclusive(), os.Symlink("a", filepath.Join(root, "l")), os.Symlink("a/f", filepath.Join(root, "m"))); err != nil || info.Mode().Perm() != 0o750 {
		t.Error(info.Mode(), err)
	}
	d.Close()
	if d, made, err = securepath.Make(filepath.Join(root, "l/b"), 0o750); err != nil || made {
		t.Fatal(made, err)
	}
	d.Close()
	if f, err = securepath.Append(filepath.Join(root, "l/f"), 0o640); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := securepath.Append(filepath.Join(root, "m"), 0o640); !errors.Is(err, securepath.ErrLink) {
		t.Errorf("a link in the place of a file: %v", err)
	}
	if _, err := securepath.Open(filepath.Join(root, "a/f")); err == nil {
		t.Error("a file was opened as a directory")
	}
}
