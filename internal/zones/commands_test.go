package zones_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/store/storetest"
	"port53/internal/zone"
	"port53/internal/zones"
)

// TestCommandsRefused gives each command a zone that it can do nothing for: the error says
// why, and nothing else happens.
func TestCommandsRefused(t *testing.T) {
	dir := t.TempDir()
	follower := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}
	plain := source(t, "plain.test.", write(t, dir, "plain.zone", fmt.Sprintf(head, 1)))
	empty := zones.Source{Apex: dnstest.Name(t, "empty.test."), File: dir + "/none", Secondaries: follower, Updates: anything(t, "empty.test."), Insecure: true}
	made := zones.Source{Apex: dnstest.Name(t, "made.test."), Origin: &memoryOrigin{zone: at(t, "made.test.", 1)}}
	polled := secondary(t, "sec.test.")
	s := newServer(t, zones.Options{})
	s.load(plain, empty, made, polled)
	freeze := func(apex []byte) error { return zones.SetFrozen(s.manager, apex, true) }
	refresh := func(apex []byte) error { return s.manager.Refresh(apex, false) }
	export := func(apex []byte) error { return s.manager.Export(apex, &bytes.Buffer{}) }
	since := func(apex []byte) error { _, err := s.manager.Since(apex, nil); return err }
	against := func(apex []byte) error { _, err := s.manager.AgainstFile(apex); return err }
	for _, c := range []struct {
		what string
		do   func(apex []byte) error
		zone string
		want string
	}{
		{"freeze", freeze, "gone.test.", "not served here"},
		{"freeze", freeze, "plain.test.", "the zone does not allow updates"},
		{"freeze", freeze, "empty.test.", "the zone is not loaded"},
		{"sync", s.manager.Sync, "gone.test.", "not served here"},
		{"sync", s.manager.Sync, "empty.test.", "the zone is not loaded"},
		{"sync", s.manager.Sync, "made.test.", "the zone has no file"},
		{"refresh", refresh, "gone.test.", "not served here"},
		{"refresh", refresh, "plain.test.", "no primaries"},
		{"announce", s.manager.Announce, "gone.test.", "not served here"},
		{"announce", s.manager.Announce, "plain.test.", "no server to send NOTIFY to"},
		{"announce", s.manager.Announce, "empty.test.", "the zone is not loaded"},
		{"export", export, "gone.test.", "not served here"},
		{"export", export, "empty.test.", "not served here"},
		{"since", since, "gone.test.", "not served here"},
		{"since", since, "empty.test.", "not served here"},
		{"since", since, "plain.test.", "no change is known since the start"},
		{"against its file", against, "gone.test.", "not served here"},
		{"against its file", against, "empty.test.", "not served here"},
		{"against its file", against, "made.test.", "the zone has no file"},
	} {
		if err := c.do(dnstest.Name(t, c.zone)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.what, c.zone, err, c.want)
		}
	}
	for name, want := range map[string]bool{"gone.test.": false, "plain.test.": false, "sec.test.": true} {
		r := &zones.Request{Entry: &zone.Entry{Apex: dnstest.Name(t, name)}, Client: follower[0]}
		if got := s.manager.Notify(r); got != want {
			t.Errorf("NOTIFY for %s is taken: %v", name, got)
		}
	}
}

// TestZoneLeavesBeforeItIsHeld has commands for a zone that goes between being found and
// being held: nothing is done for it any more.
func TestZoneLeavesBeforeItIsHeld(t *testing.T) {
	s, source, _ := newUpdated(t)
	zones.Leave(s.manager, source.Apex)
	for what, err := range map[string]error{
		"freeze": zones.SetFrozen(s.manager, source.Apex, true), "sync": s.manager.Sync(source.Apex),
	} {
		if err == nil || !strings.Contains(err.Error(), "not served here") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := s.change(addHost(1), updater); got.String() != "NOTAUTH" {
		t.Errorf("update: %s", got)
	}
}

// TestSync writes a zone that messages have changed into its file: whole, with the rights
// of the file, and so that a load finds nothing new in it.
func TestSync(t *testing.T) {
	s, source, _ := newUpdated(t)
	if err := os.Chmod(source.File, 0o640); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		s.update(n, 0)
	}
	if err := s.manager.Sync(source.Apex); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(source.File); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v, want the rights of the file before", info.Mode(), err)
	}
	text, err := os.ReadFile(source.File)
	var served bytes.Buffer
	if err := errors.Join(err, s.manager.Export(source.Apex, &served)); err != nil || !bytes.Equal(text, served.Bytes()) ||
		!bytes.HasPrefix(text, []byte("test.\t60\tIN\tSOA\tns.test. admin.test. 4 ")) || !bytes.Contains(text, []byte("u2.test.\t60\tIN\tA\t192.0.2.7\n")) {
		t.Errorf("%v, the file has\n%s", err, text)
	}
	if r := s.load(source); r.Unchanged != 1 {
		t.Errorf("a load after it: %+v", r)
	}
	if list, err := s.manager.AgainstFile(source.Apex); err != nil || len(list) != 0 {
		t.Errorf("against its file: %v %v", list, err)
	}
	// Its place cannot be taken: nothing is left beside it.
	if err := os.Remove(source.File); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(source.File, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.manager.Sync(source.Apex); err == nil || !strings.Contains(err.Error(), "the zone file cannot be written") {
		t.Errorf("onto a directory: %v", err)
	}
	if left, err := filepath.Glob(source.File + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
	// Nor is there a directory any more that it could be written to.
	if err := os.RemoveAll(filepath.Dir(source.File)); err != nil {
		t.Fatal(err)
	}
	if err := s.manager.Sync(source.Apex); err == nil || !strings.Contains(err.Error(), "the zone file cannot be written") {
		t.Errorf("without its directory: %v", err)
	}
}

// TestSyncMakesTheFile writes a zone whose file has gone: everybody may read it, as any zone.
func TestSyncMakesTheFile(t *testing.T) {
	s, source, _ := newUpdated(t)
	if err := os.Remove(source.File); err != nil {
		t.Fatal(err)
	}
	if err := s.manager.Sync(source.Apex); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(source.File); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v %v", info, err)
	}
}

// A fullDisk has room for so many bytes.
type fullDisk struct{ room int }

var errFull = errors.New("no space left")

func (f *fullDisk) Write(p []byte) (int, error) {
	if n := min(f.room, len(p)); n < len(p) {
		f.room = 0
		return n, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

// TestExportEndsEarly exports to a disk that is full at the first byte, between two buffers,
// and at the last byte.
func TestExportEndsEarly(t *testing.T) {
	text := "@ 60 SOA ns admin 1 7200 3600 86400 300\n@ 60 NS ns\n"
	for n := range 2000 {
		text += fmt.Sprintf("h%d 60 A 192.0.2.1\n", n)
	}
	o := &memoryOrigin{zone: dnstest.Zone(t, "test.", text)}
	s := newServer(t, zones.Options{})
	apex := dnstest.Name(t, "test.")
	s.load(zones.Source{Apex: apex, Origin: o})
	var whole bytes.Buffer
	if err := s.manager.Export(apex, &whole); err != nil || bytes.Count(whole.Bytes(), []byte("\n")) != 2002 {
		t.Fatalf("%v, %d lines", err, bytes.Count(whole.Bytes(), []byte("\n")))
	}
	for _, room := range []int{0, 5000, whole.Len() - 1} {
		if err := s.manager.Export(apex, &fullDisk{room}); !errors.Is(err, errFull) {
			t.Errorf("room for %d of %d bytes: %v", room, whole.Len(), err)
		}
	}
}

// TestChanges asks what changed a zone, by serial and against its file.
func TestChanges(t *testing.T) {
	s, source, _ := newUpdated(t)
	soa := func(serial int) string {
		return fmt.Sprintf("test. 60 IN SOA ns.test. admin.test. %d 7200 3600 1209600 300", serial)
	}
	host := func(n int) string { return fmt.Sprintf("u%d.test. 60 IN A 192.0.2.7", n) }
	step := func(from int) zones.Change {
		return zones.Change{From: uint32(from), To: uint32(from + 1), Removed: []string{soa(from)}, Added: []string{host(from), soa(from + 1)}}
	}
	for n := 1; n <= 3; n++ {
		s.update(n, 0)
	}
	for _, c := range []struct {
		what  string
		since int // -1: nil
		want  []zones.Change
		err   string
	}{
		{"the last", -1, []zones.Change{step(3)}, ""},
		{"since the first", 1, []zones.Change{step(1), step(2), step(3)}, ""},
		{"since the last but one", 3, []zones.Change{step(3)}, ""},
		{"since this one", 4, []zones.Change{}, ""},
		{"since one that nobody knows", 9, nil, "the zone has serial 4, and what is known begins with serial 1"},
	} {
		serial := uint32(c.since)
		p := &serial
		if c.since < 0 {
			p = nil
		}
		got, err := s.manager.Since(source.Apex, p)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %q", c.what, err, c.err)
			}
			continue
		}
		if err != nil || !slices.EqualFunc(got, c.want, sameChange) || got == nil {
			t.Errorf("%s: %v %+v, want %+v", c.what, err, got, c.want)
		}
	}
	back := zones.Change{From: 4, To: 1, Removed: []string{host(1), host(2), host(3), soa(4)}, Added: []string{soa(1)}}
	if got, err := s.manager.AgainstFile(source.Apex); err != nil || len(got) != 1 || !sameChange(got[0], back) {
		t.Errorf("against its file: %v %+v, want %+v", err, got, back)
	}
	write(t, filepath.Dir(source.File), "test.zone", "@ NONSENSE\n")
	if _, err := s.manager.AgainstFile(source.Apex); err == nil || !strings.Contains(err.Error(), "its file cannot be served: ") {
		t.Errorf("against a broken file: %v", err)
	}
}

// sameChange compares changes whose lines may come in any order.
func sameChange(a, b zones.Change) bool {
	sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
	return a.From == b.From && a.To == b.To && slices.Equal(sorted(a.Removed), sorted(b.Removed)) && slices.Equal(sorted(a.Added), sorted(b.Added))
}

// TestFreezeWritesLittle freezes and thaws zones that are on disk, and such as are not: to
// thaw one that is not writes nothing, and a freeze that cannot be written down is none.
func TestFreezeWritesLittle(t *testing.T) {
	kept := storetest.NewMemory()
	s := newServer(t, zones.Options{Store: kept})
	file := source(t, "test.", write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)))
	empty := source(t, "empty.test.", "/none")
	file.Updates, empty.Updates = anything(t, "test."), anything(t, "empty.test.")
	s.load(file, empty)
	var calls []string
	var fail error
	kept.Watch(func(call string) error { calls = append(calls, call); return fail })
	for _, c := range []struct {
		what   string
		apex   []byte
		freeze bool
		fail   error
		want   []string
		frozen bool
	}{
		{"thaw what is not on disk", file.Apex, false, nil, nil, false},
		{"thaw what has no version", empty.Apex, false, nil, nil, false},
		{"freeze, and there is no room", file.Apex, true, errFull, []string{"save"}, false},
		{"freeze what is not on disk", file.Apex, true, nil, []string{"save", "setmeta"}, true},
		{"thaw, and there is no room", file.Apex, false, errFull, []string{"setmeta"}, true},
		{"thaw", file.Apex, false, nil, []string{"setmeta"}, false},
		{"freeze what is on disk", file.Apex, true, nil, []string{"setmeta"}, true},
	} {
		calls, fail = nil, c.fail
		if err := zones.SetFrozen(s.manager, c.apex, c.freeze); !errors.Is(err, c.fail) {
			t.Errorf("%s: %v, want %v", c.what, err, c.fail)
		}
		if st := s.manager.Status()[1]; st.Frozen != c.frozen || !slices.Equal(calls, c.want) {
			t.Errorf("%s: frozen %v, %q was written, want %v, %q", c.what, st.Frozen, calls, c.frozen, c.want)
		}
	}
}

// TestFreezeWithoutAStore freezes and thaws a zone of a server that keeps nothing.
func TestFreezeWithoutAStore(t *testing.T) {
	s := newServer(t, zones.Options{})
	file := source(t, "test.", write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)))
	file.Updates = anything(t, "test.")
	s.load(file)
	for _, frozen := range []bool{true, false} {
		if err := zones.SetFrozen(s.manager, file.Apex, frozen); err != nil || s.manager.Status()[0].Frozen != frozen {
			t.Errorf("frozen %v: %v", frozen, err)
		}
	}
}
