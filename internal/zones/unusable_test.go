package zones_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// TestUnusableJournal damages the journal of a zone that messages have changed: the zone
// is refused and the others are served, whatever is tried meanwhile changes nothing of its
// files, and once they are as they were a reload serves it.
func TestUnusableJournal(t *testing.T) {
	s, source, again := newUpdated(t)
	for n := range 4 {
		s.update(n, wire.NoError)
	}
	journal := filepath.Join(filepath.Dir(source.File), "state", "test", "journal")
	good, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(good)
	damaged[len(good)/2] ^= 1
	for what, content := range map[string][]byte{
		"damaged": damaged, "of a newer version": bytes.Replace(good, []byte("journal 4"), []byte("journal 9"), 1),
	} {
		var log bytes.Buffer
		s.log = slog.New(slog.NewTextHandler(&log, nil))
		if err := os.WriteFile(journal, content, 0o600); err != nil {
			t.Fatal(err)
		}
		again()
		other := zones.Source{Apex: dnstest.Name(t, "other."), File: source.File}
		plain := source
		plain.Updates = nil
		for _, sources := range [][]zones.Source{{source, other}, {plain, other}, {source, other}} {
			s.load(sources...)
			served := 0
			if sources[0].Updates == nil {
				served = 1 // by its file alone, from then on
			}
			if got := s.serial("test."); served == 1 && got != 1 || served == 0 && got > 1 || s.serial("other.") != 1 {
				t.Errorf("%s: serials %d and %d", what, got, s.serial("other."))
			}
			if err := zones.SetFrozen(s.manager, source.Apex, true); err == nil {
				t.Errorf("%s: it was frozen", what)
			}
			if got := s.change(addHost(9), updater); got == wire.NoError {
				t.Errorf("%s: an update was taken", what)
			}
		}
		if now, err := os.ReadFile(journal); err != nil || !bytes.Equal(now, content) {
			t.Errorf("%s: the journal is not as it was: %v", what, err)
		}
		if !strings.Contains(log.String(), `level=ERROR msg="zone not loaded" zone=test.`) || !strings.Contains(log.String(), "the changes after serial") {
			t.Errorf("%s: the log has\n%s", what, log.String())
		}
		if err := os.WriteFile(journal, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if s.load(source, other); s.serial("test.") != 5 {
			t.Errorf("%s: serial %d once it is as it was; %s", what, s.serial("test."), s.problems())
		}
	}
	s.update(9, wire.NoError)
	// Nobody may update it for a while, and then somebody may again.
	plain := source
	plain.Updates = nil
	s.start(zones.Options{Store: store.Open(filepath.Join(filepath.Dir(source.File), "state"), nil)})
	s.load(plain)
	if s.load(source); s.serial("test.") != 6 {
		t.Errorf("serial %d once it may be updated again", s.serial("test."))
	}
}

// TestUnusableSecondary damages what is on disk of a zone that is fetched: it is fetched
// again, and what was there is put aside.
func TestUnusableSecondary(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		w.load(s)
		w.settle(time.Second)
		w.stop()
		file := filepath.Join(w.path, "a.test", "zone")
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var log lockedBuffer
		w.log = slog.New(slog.NewTextHandler(&log, nil))
		gate := make(chan struct{})
		p.with(func() { p.gate = gate })
		w.start(zones.Bounds{})
		w.load(s)
		<-p.held // it is on its way, and comes when the gate opens
		if got := w.serial("a.test."); got != 0 {
			t.Errorf("serial %d of a damaged version is served", got)
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "zone=a.test.") || !strings.Contains(log.String(), file) {
			t.Errorf("the log has\n%s", log.String())
		}
		close(gate)
		w.settle(time.Second)
		if got := w.serial("a.test."); got != 1 {
			t.Errorf("serial %d, transferred again", got)
		}
		if aside, err := os.ReadFile(file + ".aside1"); err != nil || !bytes.Equal(aside, content) {
			t.Errorf("put aside: %d bytes, %v", len(aside), err)
		}
	})
}

// TestUnusableCatalog damages what is on disk of a catalog that is made here: it is not
// made again, with other labels, which would have everybody drop and fetch its members.
func TestUnusableCatalog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	cat := zones.Source{Apex: dnstest.Name(t, "cat.test."), Produces: true, Insecure: true, Listed: []zones.Listed{{Apex: dnstest.Name(t, "a.test.")}}}
	start := func() *server {
		s := newServer(t, zones.Options{Store: store.Open(dir, nil)})
		s.load(cat)
		return s
	}
	s := start()
	first := s.view.Load().Get(cat.Apex).Zone()
	file := filepath.Join(dir, "cat.test", "zone")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(good, []byte("zone 3"), []byte("zone 9"), 1)
	if err := os.WriteFile(file, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	s = start()
	cat.Listed = append(cat.Listed, zones.Listed{Apex: dnstest.Name(t, "b.test.")})
	for range 2 {
		if s.load(cat); s.serial("cat.test.") != 0 || !strings.Contains(s.problems(), `"port53 zone 9"`) {
			t.Errorf("serial %d is served; %s", s.serial("cat.test."), s.problems())
		}
	}
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, newer) {
		t.Errorf("the file is not as it was: %v", err)
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	s.load(cat)
	now := s.view.Load().Get(cat.Apex).Zone()
	if now == nil {
		t.Fatal(s.problems())
	}
	if d := zone.Diff(first, now); d.From != first.Serial() || bytes.Contains(d.Removed, []byte("zones")) || !bytes.Contains(d.Added, []byte("zones")) {
		t.Errorf("from serial %d to %d: -%q +%q", d.From, d.To, d.Removed, d.Added)
	}
}

// TestFreezeOfNothing freezes a zone whose file is not there: that would last until the
// end of the server alone, and is refused.
func TestFreezeOfNothing(t *testing.T) {
	s, source, again := newUpdated(t)
	if err := os.Remove(source.File); err != nil {
		t.Fatal(err)
	}
	again()
	if err := zones.SetFrozen(s.manager, source.Apex, true); err == nil {
		t.Error("it was frozen")
	}
}

// A lockedBuffer is a log that is read while others write it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
