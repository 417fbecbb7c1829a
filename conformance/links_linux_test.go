package conformance_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// What TestLinks takes from the environment.
const (
	envLinks    = "PORT53_LINKS"        // for how long it tries, as 1m; 5 s unless set
	envSwapper  = "PORT53_SWAP_LINKS"   // the directory, for the process that swaps
	serviceUser = 65534                 // the service user
	evilRules   = "table inet evil { }" // which nobody is to load
)

// TestLinks has root start and reload a server, and apply, expire and remove rules of a
// firewall, while the service user, who owns the state directory and all that is said to be
// in it, puts links to root's files, pipes and records of its own everywhere: root neither
// writes nor owns nor loads anything outside.
func TestLinks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("missing: root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		missing(t, err)
	}
	network, err := netns.New()
	if err != nil {
		missing(t, err)
	}
	defer network.Close()
	length := 5 * time.Second
	if s := os.Getenv(envLinks); s != "" {
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	state, outside := filepath.Join(dir, "state"), filepath.Join(dir, "outside")
	makeOutside(t, outside)
	err = errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Mkdir(state, 0o755), os.Chown(state, serviceUser, serviceUser))
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, dir, "test.zone", "$TTL 60\n@ SOA ns.invalid. admin.invalid. 1 3600 600 86400 60\n@ NS ns.invalid.\n")
	putFile(t, dir, "port53.yaml", `role: authoritative
user: nobody
listen: ["127.0.0.1:5353"]
state_dir: state
metrics: {listen: off}
control: {socket: state/control/port53.sock}
log: {queries: text, queries_file: state/log/queries.log}
firewall: {state_dir: state/firewall}
keys: [{name: xfr, secret: `+xferSecret+`}]
zones:
  - {name: test, file: test.zone, allow_transfer: [127.0.0.1], tsig: xfr, updates: [{key: xfr, names: ["*"]}]}
`)
	before := treeOf(t, outside)
	swapper := startSwapper(t, state, outside)
	bin := subjectBinary(t, peers.Port53)
	conf := filepath.Join(dir, "port53.yaml")
	run := func(args ...string) string {
		cmd := exec.Command(bin, args...)
		cmd.Dir = dir
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := network.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		return out.String()
	}
	rounds, served, refused := 0, 0, 0
	for end := time.Now().Add(length); time.Now().Before(end); rounds++ {
		started, why := rootServes(t, network, bin, dir, func() { run("reload", "--config", conf) })
		if started {
			served++
		} else if refused++; refused <= 3 {
			t.Logf("it does not start: %s", why)
		}
		firewall := filepath.Join(state, "firewall")
		run("firewall", "apply", "--config", conf, "--untried", "--confirm", "1s")
		run("firewall", "expire", "--state-dir", firewall)
		run("firewall", "remove", "--state-dir", firewall)
		if rules := networkRules(t, network); strings.Contains(rules, "evil") {
			t.Fatalf("root has loaded what the service user wrote:\n%s", rules)
		}
		if after := treeOf(t, outside); after != before {
			t.Fatalf("root has changed what is outside the state directory:\n%s\nit was\n%s", after, before)
		}
	}
	_ = swapper.Process.Kill()
	_ = swapper.Wait()
	if after := treeOf(t, outside); after != before {
		t.Errorf("root has changed what is outside the state directory:\n%s\nit was\n%s", after, before)
	}
	t.Logf("%d rounds in %v: the server ran in %d and refused in %d; links were swapped %s times", rounds, length, served, refused, swapped(state))
	if served == 0 || refused == 0 && length > 30*time.Second {
		t.Error("that says little: the server has always, or never, refused")
	}
}

// rootServes has root start a server, which is reloaded twice, and stopped or killed. It
// reports whether it listened.
func rootServes(t *testing.T, network *netns.Namespace, bin, dir string, reload func()) (bool, string) {
	t.Helper()
	cmd := exec.Command(bin, "serve", "--config", filepath.Join(dir, "port53.yaml"))
	cmd.Dir = dir
	var out rootOutput
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := network.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() { <-ended }()
	for began := time.Now(); !strings.Contains(out.String(), "msg=listening"); {
		select {
		case <-ended:
			return false, out.String()
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(began) > 20*time.Second {
			_ = cmd.Process.Signal(syscall.SIGQUIT) // it says where it hangs
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				_ = cmd.Process.Kill()
			}
			t.Fatalf("it neither starts nor ends:\n%s", out.String())
		}
	}
	_ = cmd.Process.Signal(syscall.SIGHUP)
	reload()
	_ = cmd.Process.Signal([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[rand.IntN(2)])
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("it does not end:\n%s", out.String())
	}
	return true, ""
}

// rootOutput is what a process prints, to be read while it does.
type rootOutput struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *rootOutput) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *rootOutput) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func networkRules(t *testing.T, network *netns.Namespace) string {
	t.Helper()
	cmd := exec.Command("nft", "list", "ruleset")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := network.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return out.String()
}

// makeOutside makes what links will lead to: files and directories of root.
func makeOutside(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"", "zones", "zones/test", "control", "log", "firewall"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"secret", "queries.log", "applied.json", "lock", "log/queries.log", "firewall/applied.json", "zones/test/journal", "zones/test/zone"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("root's\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// treeOf returns all that could be changed below a directory.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := []byte{}
		if info.Mode().IsRegular() {
			text, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %v %d:%d %d links %q\n", strings.TrimPrefix(path, dir), info.Mode(), st.Uid, st.Gid, st.Nlink, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// startSwapper starts this test again as the service user, to swap links.
func startSwapper(t *testing.T, state, outside string) *exec.Cmd {
	t.Helper()
	self, err := os.Open("/proc/self/exe") // which may be where that user cannot go
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestSwapLinks$")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), envSwapper+"="+state+":"+outside)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: serviceUser, Gid: serviceUser}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for began := time.Now(); swapped(state) == ""; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("nobody swaps links")
		}
	}
	return cmd
}

// swapped returns how often links were swapped, as the process that does it has noted.
func swapped(state string) string {
	text, _ := os.ReadFile(filepath.Join(state, "swapped"))
	return string(text)
}

// remove removes what is there, and waits at no pipe.
func remove(path string) {
	if info, err := os.Lstat(filepath.Dir(path)); err == nil && info.IsDir() {
		_ = os.RemoveAll(path)
	}
}

// TestSwapLinks is no test of itself: it swaps links for TestLinks, until it is killed.
func TestSwapLinks(t *testing.T) {
	state, outside, ok := strings.Cut(os.Getenv(envSwapper), ":")
	if !ok {
		t.Skip("TestLinks starts it")
	}
	places := []string{
		"lock", "zones", "zones/test", "zones/test/zone", "zones/test/zone.new", "zones/test/journal", "zones/test/journal.new", "zones/test/frozen",
		"control", "control/port53.sock", "log", "log/queries.log", "firewall", "firewall/applied.json", "firewall/applied.json.new", "added", "added.new",
	}
	links := []string{"secret", "", "log", "control", "zones", "zones/test", "firewall", "lock", "log/queries.log", "firewall/applied.json", "not there"}
	for n, parent := 0, os.Getppid(); os.Getppid() == parent; n++ {
		place := filepath.Join(state, places[rand.IntN(len(places))])
		beside := filepath.Join(state, "beside"+strconv.Itoa(n%7))
		remove(beside)
		switch rand.IntN(8) {
		case 0:
			_ = os.MkdirAll(place, 0o755) // so that there is something to go through
		case 1:
			remove(place)
		case 2:
			_ = unix.Mkfifo(beside, 0o666)
		case 3:
			_ = os.WriteFile(beside, []byte("port53 firewall 1\n{\"backend\":\"nftables\",\"before\":[\""+evilRules+"\"],\"until\":\"2020-01-01T00:00:00Z\"}\n"), 0o600)
		case 4:
			_ = os.Mkdir(beside, 0o755)
		default:
			_ = os.Symlink(filepath.Join(outside, links[rand.IntN(len(links))]), beside)
		}
		// What is there gets the other name at the same moment.
		if unix.Renameat2(unix.AT_FDCWD, beside, unix.AT_FDCWD, place, unix.RENAME_EXCHANGE) != nil {
			_ = os.Rename(beside, place)
		}
		if n%200 == 0 {
			_ = os.WriteFile(filepath.Join(state, "swapped"), []byte(strconv.Itoa(n)), 0o644)
			// A quiet moment, in which the server gets to where the next link will be.
			for _, name := range []string{"lock", "zones", "control", "log", "firewall"} {
				remove(filepath.Join(state, name))
			}
			for _, name := range []string{"control", "log"} {
				_ = os.Mkdir(filepath.Join(state, name), 0o755)
			}
			time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		}
	}
}
