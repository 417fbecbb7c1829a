package zones_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// since asks for what has changed in a zone since a serial (RFC 1995), and reports whether
// differences came, and to which serial they lead.
func (s *server) since(name string, serial uint32) (differences bool, to uint32) {
	s.Helper()
	e := s.view.Load().Get(dnstest.Name(s, name))
	ixfr := wire.AppendQuery(nil, 1, 0, e.Apex, wire.TypeIXFR)
	ixfr = zone.AppendRecord(ixfr, e.Apex, wire.TypeSOA, 60, zone.WithSerial(soaOf(e.Zone()), serial))
	ixfr[9] = 1
	replies := s.transfer(name, "192.0.2.9:53", ixfr, nil)
	if len(replies) == 0 {
		s.Fatal("no reply")
	}
	m := parsed(s, replies[0])
	if len(m.Records) < 2 || m.Records[0].Type != wire.TypeSOA {
		s.Fatalf("%+v", m)
	}
	return m.Records[1].Type == wire.TypeSOA && zone.SerialOf(m.Records[1].Data) == serial, zone.SerialOf(m.Records[0].Data)
}

// TestHistoryOfFiles changes a zone that comes from its file, and starts again: who asks
// for what has changed gets that, as before. A file that was changed while the server was
// down, and a history that is damaged, cost a whole transfer, and are not believed.
func TestHistoryOfFiles(t *testing.T) {
	for _, updates := range []bool{false, true} {
		dir, log := t.TempDir(), &lockedBuffer{}
		text := func(serial int) string {
			body := fmt.Sprintf(head, serial)
			for i := range 50 {
				body += fmt.Sprintf("h%d 60 A 192.0.2.%d\n", i, i)
			}
			return body + fmt.Sprintf("v%d 60 A 192.0.2.1\n", serial)
		}
		src := source(t, "test.", write(t, dir, "test.zone", text(1)))
		src.Transfer = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		if updates {
			src.Updates = anything(t, "test.")
		}
		open := func() zones.Options { return zones.Options{Store: store.Open(filepath.Join(dir, "state"), nil)} }
		s := newServer(t, open())
		s.log = logTo(log)
		s.load(src)
		for serial := 2; serial < 5; serial++ {
			write(t, dir, "test.zone", text(serial))
			s.load(src)
		}
		expect := func(what string, from uint32, differences bool) {
			t.Helper()
			got, to := s.since("test.", from)
			if want := uint32(s.serial("test.")); got != differences || to != want {
				t.Errorf("updates %v: %s: since %d: differences %v, want %v; to %d, want %d", updates, what, from, got, differences, to, want)
			}
		}
		expect("before the restart", 1, true)
		s.start(open())
		s.load(src)
		for from := uint32(1); from < 4; from++ {
			expect("after a restart", from, true)
		}
		write(t, dir, "test.zone", text(5))
		s.load(src)
		s.start(open())
		s.load(src)
		expect("after a change and a restart", 1, true)
		expect("after a change and a restart", 4, true)
		// The file is edited, its serial is not.
		write(t, dir, "test.zone", text(5)+"more 60 A 192.0.2.1\n")
		s.start(open())
		s.load(src)
		expect("after an edit without a serial", 4, false)
		write(t, dir, "test.zone", text(5))
		s.start(open())
		s.load(src)
		expect("after the edit was taken back", 4, true)
		history := filepath.Join(dir, "state", "test", "history")
		content, err := os.ReadFile(history)
		if err != nil || !strings.HasPrefix(string(content), "port53 history 2\n") {
			t.Fatalf("%q %v", content, err)
		}
		for _, damage := range []func() []byte{
			func() []byte { return append([]byte("port53 history 3\n"), content[17:]...) },
			func() []byte { return content[:len(content)-9] },
			func() []byte { b := append([]byte(nil), content...); b[len(b)-3] ^= 1; return b },
			func() []byte { b := append([]byte(nil), content...); b[20] ^= 1; return b },
			func() []byte { return make([]byte, len(content)) },
			func() []byte { return nil },
		} {
			if err := os.WriteFile(history, damage(), 0o600); err != nil {
				t.Fatal(err)
			}
			s.start(open())
			s.load(src)
			expect("with a damaged history", 4, false)
		}
		if got := strings.Count(log.String(), "the history of a zone cannot be used"); got != 6 {
			t.Errorf("the log has it %d times:\n%s", got, log.String())
		}
		write(t, dir, "test.zone", text(6))
		s.load(src)
		s.start(open())
		s.load(src)
		expect("started over", 5, true)
		expect("started over", 1, false)
	}
}

// TestHistoryOfWholeTransfers has a secondary fetch its zone whole each time: its own
// secondaries get differences, after a restart too.
func TestHistoryOfWholeTransfers(t *testing.T) {
	large := func(serial int) *zone.Zone {
		text := fmt.Sprintf(head, serial) + fmt.Sprintf("v%d 60 A 192.0.2.1\n", serial)
		for i := range 50 {
			text += fmt.Sprintf("h%d 60 A 192.0.2.%d\n", i, i)
		}
		return dnstest.Zone(t, "a.test.", text)
	}
	p := newPrimary(large(1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "a.test.")
		s.Secondaries = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}
		w.load(s)
		w.settle(time.Second)
		for serial := 2; serial < 5; serial++ {
			p.serve(large(serial))
			if err := w.manager.Refresh(s.Apex, true); err != nil {
				t.Fatal(err)
			}
			w.settle(2 * time.Second)
		}
		for _, when := range []string{"before", "after"} {
			for from := uint32(1); from < 4; from++ {
				if got, to := w.since("a.test.", from); !got || to != 4 {
					t.Errorf("%s a restart, since %d: differences %v, to %d", when, from, got, to)
				}
			}
			w.stop()
			w.start(zones.Bounds{})
			p.with(func() { p.silent = true })
			w.load(s)
		}
	})
}

// TestHistoryOnAFullDisk changes a zone that comes from its file while nothing can be
// written: it is served, and its differences are at hand until the server ends.
func TestHistoryOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	src := source(t, "test.", write(t, dir, "test.zone", fmt.Sprintf(head, 1)))
	src.Transfer = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	state := filepath.Join(dir, "state")
	if err := os.WriteFile(state, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	s := newServer(t, zones.Options{Store: store.Open(state, nil)})
	s.load(src)
	write(t, dir, "test.zone", fmt.Sprintf(head, 2))
	if r := s.load(src); len(r.Failed) != 0 || s.serial("test.") != 2 {
		t.Errorf("%+v, serial %d", r, s.serial("test."))
	}
	if _, to := s.since("test.", 1); to != 2 {
		t.Errorf("to %d", to)
	}
}

// TestHistoryBeforeAnUpdate edits the file of a zone, updates the zone for the first time, and
// starts again: what the edits changed is known as well as what the update did, with who made
// it and when; and again after more updates than a journal keeps.
func TestHistoryBeforeAnUpdate(t *testing.T) {
	dir := t.TempDir()
	text := func(serial int) string {
		return fmt.Sprintf(head, serial) + fmt.Sprintf("v%d 60 A 192.0.2.1\nfill 60 TXT %q\n", serial, strings.Repeat("x", 200))
	}
	src := source(t, "test.", write(t, dir, "test.zone", text(1)))
	src.Transfer, src.Updates = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, anything(t, "test.")
	open := func() zones.Options { return zones.Options{Store: store.Open(filepath.Join(dir, "state"), nil)} }
	s := newServer(t, open())
	s.load(src)
	for serial := 2; serial < 4; serial++ {
		write(t, dir, "test.zone", text(serial))
		s.load(src)
	}
	began := time.Now().Truncate(time.Second)
	for i := range 3 {
		message := &wire.Message{Opcode: wire.OpcodeUpdate, HasQuestion: true, Name: src.Apex, Type: wire.TypeSOA, Class: wire.ClassIN}
		message.Records = []wire.Record{{Owner: dnstest.Name(t, fmt.Sprintf("u%d.test.", i)), Type: wire.TypeA, Class: wire.ClassIN, Section: wire.Authority, TTL: 60, Data: []byte{192, 0, 2, 9}}}
		if _, err := s.manager.Change(src.Apex, message, fmt.Sprintf("uid %d, pid 1", i)); err != nil {
			t.Fatal(err)
		}
		s.start(open())
		s.load(src)
		from := uint32(1)
		list, err := s.manager.Since(src.Apex, &from)
		if err != nil || len(list) != 3+i || list[0].By != "the zone file" || list[2+i].By != fmt.Sprintf("uid %d, pid 1", i) {
			t.Fatalf("after update %d: %v, %+v", i, err, list)
		}
		for _, c := range list[2:] {
			if c.At.Before(began) || c.At.After(time.Now()) {
				t.Errorf("made at %v, not since %v", c.At, began)
			}
		}
	}
}
