package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/store"
	"port53/internal/wire"
)

// stateful serves the zones test, which may be updated, and other, from a folder that a
// restart finds as it was left.
func stateful(t *testing.T) *running {
	t.Helper()
	r := prepared(t, "state", updatedZone+"  - {name: other, file: test.zone}\n")
	if err := r.serve(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	return r
}

const updatedZone = "  - {name: test, file: test.zone, updates: [{key: ddns, names: [\"*\"]}]}\n"

// prepared is a server that has not been started, with a state directory and zones.
func prepared(t *testing.T, state, zones string) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1)}
	r.write("test.zone", fmt.Sprintf(zoneText, 1, 1))
	r.configure(state, zones)
	return r
}

func (r *running) configure(state, zones string) {
	r.Helper()
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\ncontrol: {socket: off}\nstate_dir: "+state+"\n"+keysYAML+"zones:\n"+zones)
}

func (r *running) update(id uint16, name string) {
	r.Helper()
	reply := r.exchange("127.0.0.1:0", sign(&ddns, update(id, name), time.Now()))
	if rcode := wire.Rcode(reply[3] & 15); rcode != wire.NoError {
		r.Fatalf("update of %s: %s", name, rcode)
	}
}

// TestJournalThatCannotBeUsed restarts a server whose journal, with updates that were
// acknowledged, was damaged or written by a newer version: the zone is refused, the others
// are served, and the log says what is lost. Only an end that a crash has torn is cut off.
func TestJournalThatCannotBeUsed(t *testing.T) {
	r := stateful(t)
	for i, name := range []string{"one", "two", "three"} {
		r.update(uint16(i), name)
	}
	r.end()
	journal := filepath.Join(r.dir, "state", "zones", "test", "journal")
	good, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := bytes.Cut(good, []byte("\n"))
	for what, content := range map[string][]byte{
		"a newer format":  bytes.Join([][]byte{bytes.Replace(line, []byte("3"), []byte("4"), 1), rest}, []byte("\n")),
		"no format":       []byte("this is not a journal, whatever its name says"),
		"no head":         rest,
		"emptied":         {},
		"a damaged frame": append(append(bytes.Clone(good[:len(good)/2]), good[len(good)/2]^1), good[len(good)/2+1:]...),
		"damage at last":  append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	} {
		if err := os.WriteFile(journal, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		if err := r.serve(&log); err != nil {
			t.Fatal(err)
		}
		r.want("one.test. A", "SERVFAIL")
		r.want("ns.other. A", "192.0.2.1")
		reply := r.exchange("127.0.0.1:0", sign(&ddns, update(9, "four"), time.Now()))
		if rcode := wire.Rcode(reply[3] & 15); rcode == wire.NoError {
			t.Errorf("%s: an update was acknowledged", what)
		}
		_, _ = r.Reload(t.Context())
		r.end()
		found := false
		for line := range strings.Lines(log.String()) {
			found = found || strings.HasPrefix(line[strings.Index(line, "level="):], "level=ERROR msg=\"zone not loaded\" zone=test.") && strings.Contains(line, "the changes after serial")
		}
		if !found {
			t.Errorf("%s: the log has\n%s", what, log.String())
		}
		if now, err := os.ReadFile(journal); err != nil || !bytes.Equal(now, content) {
			t.Errorf("%s: the journal is not what it was: %v", what, err)
		}
	}
	for _, torn := range [][]byte{good[:len(good)-3], append(bytes.Clone(good), "\xd5f"...)} {
		if err := os.WriteFile(journal, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		if err := r.serve(&log); err != nil {
			t.Fatal(err)
		}
		r.want("two.test. A", "192.0.2.7")
		if len(torn) < len(good) {
			r.want("three.test. A", "NXDOMAIN")
			r.update(10, "three")
		}
		r.want("three.test. A", "192.0.2.7")
		r.end()
		if !strings.Contains(log.String(), "level=WARN msg=\"a journal had an incomplete last change") {
			t.Errorf("the log has\n%s", log.String())
		}
		if good, err = os.ReadFile(journal); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.serve(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	r.want("three.test. A", "192.0.2.7")
}

// TestOneServerPerStateDirectory has servers of all kinds want the directory of another, by
// whatever name: none starts, or begins to keep anything there, before the first has ended.
func TestOneServerPerStateDirectory(t *testing.T) {
	first := stateful(t)
	first.update(1, "one")
	state := filepath.Join(first.dir, "state")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(state, link); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		if want := fmt.Sprintf("another server has it: process %d; stop it, ", os.Getpid()); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	for what, zones := range map[string]string{
		"a primary":       updatedZone,
		"a secondary":     "  - {name: test, primaries: [192.0.2.1], insecure: true}\n",
		"a catalog":       "  - {name: cat.test, catalog: produce, allow_transfer: [127.0.0.1], insecure: true}\n",
		"another primary": "  - {name: other, file: test.zone, updates: [{key: ddns, names: [\"*\"]}]}\n",
	} {
		refused(what, prepared(t, link, zones).serve(new(bytes.Buffer)))
	}
	resolver := prepared(t, state, "")
	resolver.write("port53.yaml", "role: internal-resolver\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\ncontrol: {socket: off}\nstate_dir: "+state+"\nresolver: {allow: [127.0.0.0/8]}\n")
	refused("a resolver", resolver.serve(new(bytes.Buffer)))

	// One that keeps nothing serves, and goes on as it is if it is to begin.
	plain := prepared(t, state, "  - {name: test, file: test.zone}\n")
	if err := plain.serve(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	plain.configure(state, updatedZone)
	_, err := plain.Reload(t.Context())
	refused("a reload", err)
	reply := plain.exchange("127.0.0.1:0", sign(&ddns, update(7, "two"), time.Now()))
	if rcode := wire.Rcode(reply[3] & 15); rcode == wire.NoError {
		t.Error("an update was acknowledged without a lock")
	}
	plain.want("ns.test. A", "192.0.2.1")

	// A reload that names another directory changes nothing before a restart.
	first.configure("elsewhere", updatedZone)
	result, err := first.Reload(t.Context())
	if err != nil || !slices.Contains(result.(*app.Reloaded).Restart, "state_dir") {
		t.Errorf("%+v %v", result, err)
	}
	first.update(2, "two")
	refused("after a reload", prepared(t, state, updatedZone).serve(new(bytes.Buffer)))
	first.end()

	if _, err := plain.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain.want("two.test. A", "192.0.2.7")
	plain.update(8, "three")
	refused("the second server's", prepared(t, link, updatedZone).serve(new(bytes.Buffer)))
	plain.end()
	last := prepared(t, link, updatedZone)
	if err := last.serve(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	last.want("three.test. A", "192.0.2.7")
}

// TestLockIsNotAFile has a pipe in the place of the lock: the server says so, and does not
// start. Without a directory that can be written to it starts, and takes no update.
func TestLockIsNotAFile(t *testing.T) {
	r := prepared(t, "state", updatedZone)
	if err := os.MkdirAll(filepath.Join(r.dir, "state", "lock"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.serve(new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "it is not a regular file: remove it") {
		t.Errorf("%v", err)
	}
	r.configure("/proc/nothing", updatedZone)
	if err := r.serve(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	r.want("ns.test. A", "192.0.2.1")
	reply := r.exchange("127.0.0.1:0", sign(&ddns, update(1, "one"), time.Now()))
	if rcode := wire.Rcode(reply[3] & 15); rcode != wire.ServFail {
		t.Errorf("an update that cannot be kept: %s", rcode)
	}
}

// TestBeside runs a resolver beside the service, whose state directory it leaves alone.
func TestBeside(t *testing.T) {
	first := stateful(t)
	c := config.Default()
	c.StateDir, c.Listen = filepath.Join(first.dir, "state"), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	c.Metrics.Listen, c.Control.Socket = netip.AddrPort{}, ""
	if _, err := app.New(t.Context(), app.Options{Config: c}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("without Beside: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, WithoutState: true})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := a.Run(ctx, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(c.StateDir, "trust-anchors.json")); err == nil {
		t.Error("it has written to the directory")
	}
	if err := prepared(t, c.StateDir, updatedZone).serve(new(bytes.Buffer)); !errors.Is(err, store.ErrLocked) {
		t.Errorf("its end has given away what is another's: %v", err)
	}
}
