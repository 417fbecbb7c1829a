package app_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/wire"
)

// stateful serves the zones test, which may be updated, and other, from a folder that a
// restart finds as it was left.
func stateful(t *testing.T) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1)}
	r.write("test.zone", fmt.Sprintf(zoneText, 1, 1))
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\ncontrol: {socket: off}\nstate_dir: state\n"+keysYAML+
		"zones:\n  - {name: test, file: test.zone, updates: [{key: ddns, names: [\"*\"]}]}\n  - {name: other, file: test.zone}\n")
	if err := r.serve(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	return r
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
		if !strings.Contains(log.String(), "level=WARN msg=\"the end of a journal") {
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
