package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

func version(t *testing.T, serial int) *zone.Zone {
	return dnstest.Zone(t, "example.test.", fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\nx%d 60 TXT \"%d\"\n", serial, serial%3, serial))
}

var apex = []byte("\x07example\x04test\x00")

// A kept is one zone in a store.
type kept struct{ *store.Dir }

func open(dir string) kept { return kept{store.Open(dir, nil)} }

func (k kept) Load() (*zone.Zone, []*zone.Delta, error) {
	z, err := k.Dir.Load(apex, dnstest.Seed)
	return z.Zone, z.Deltas, err
}
func (k kept) Save(v *zone.Zone, h ...*zone.Delta) error   { return k.Dir.Save(apex, v, h...) }
func (k kept) Append(v *zone.Zone, d ...*zone.Delta) error { return k.Dir.Append(apex, v, d...) }
func (k kept) Remove() error                               { return k.Dir.Remove(apex) }

func contents(z *zone.Zone) []string {
	var list []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	slices.Sort(list)
	return list
}

// same fails unless what is on disk is the version want, with so many differences.
func same(t *testing.T, dir string, want *zone.Zone, history int) {
	t.Helper()
	v, deltas, err := open(dir).Load()
	if err != nil || v == nil {
		t.Fatalf("%v %v", v, err)
	}
	if !slices.Equal(contents(v), contents(want)) {
		t.Errorf("serial %d, want %d", v.Serial(), want.Serial())
	}
	if len(deltas) != history {
		t.Errorf("%d differences, want %d", len(deltas), history)
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	if v, _, err := open(dir).Load(); v != nil || err != nil {
		t.Fatal(v, err)
	}
	z := open(dir)
	old := version(t, 1)
	if err := z.Save(old); err != nil {
		t.Fatal(err)
	}
	same(t, dir, old, 0)
	for serial := 2; serial < 10; serial++ {
		now := version(t, serial)
		if err := z.Append(now, zone.Diff(old, now)); err != nil {
			t.Fatal(err)
		}
		same(t, dir, now, serial-1)
		old = now
	}
	// Several at the same time.
	middle, now := version(t, 15), version(t, 20)
	if err := z.Append(now, zone.Diff(old, middle), zone.Diff(middle, now)); err != nil {
		t.Fatal(err)
	}
	same(t, dir, now, 10)
	// What does not begin with the version on disk is not put behind it.
	other := version(t, 40)
	if err := z.Append(other, zone.Diff(version(t, 39), other)); err != nil {
		t.Fatal(err)
	}
	same(t, dir, other, 0)
	if err := z.Save(version(t, 30)); err != nil {
		t.Fatal(err)
	}
	same(t, dir, version(t, 30), 0)
	// Nor is a version whose differences are not known.
	if err := z.Append(version(t, 31)); err != nil {
		t.Fatal(err)
	}
	same(t, dir, version(t, 31), 0)
	if err := z.Remove(); err != nil {
		t.Fatal(err)
	}
	if v, _, err := open(dir).Load(); v != nil || err != nil {
		t.Error(v, err)
	}
}

// TestJournalThatIsRemoved has somebody remove the journal under a server: what comes next is
// written whole, and counts.
func TestJournalThatIsRemoved(t *testing.T) {
	m, _, versions := journaled(t, 2, 10)
	z := on(m)
	if _, _, err := z.Load(); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(path("journal")); err != nil {
		t.Fatal(err)
	}
	next := sized(t, 3, 10)
	if err := z.Append(next, zone.Diff(versions[1], next)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m.Crash(nil), next, 0)
}

const dir = "/state/zones"

func path(name string) string { return filepath.Join(dir, "example.test", name) }

// on returns the files of the zone on a file system in memory.
func on(m *store.Memory) kept { return kept{store.OpenOn(m, dir, nil)} }

// state returns the names and contents of the zone's files.
func state(m *store.Memory) map[string]string {
	files := map[string]string{}
	for _, name := range m.Names(path("")) {
		files[name] = string(m.Get(path(name)))
	}
	return files
}

// load loads the zone, and returns what was logged as well.
func load(t *testing.T, m *store.Memory) (v *zone.Zone, history []*zone.Delta, logged string, err error) {
	t.Helper()
	var log bytes.Buffer
	v, history, err = kept{store.OpenOn(m, dir, slog.New(slog.NewTextHandler(&log, nil)))}.Load()
	return v, history, log.String(), err
}

// sameOn fails unless what is there is the version want, with so many differences.
func sameOn(t *testing.T, m *store.Memory, want *zone.Zone, history int) {
	t.Helper()
	v, deltas, _, err := load(t, m)
	if err != nil || v == nil {
		t.Fatalf("%v %v", v, err)
	}
	if !slices.Equal(contents(v), contents(want)) || len(deltas) != history {
		t.Fatalf("serial %d with %d differences, want %d with %d", v.Serial(), len(deltas), want.Serial(), history)
	}
}

// sized makes a version with a text of so many bytes.
func sized(t *testing.T, serial, text int) *zone.Zone {
	records := fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\nx 60 TXT", serial)
	for n := text; n >= 0; n -= 250 {
		records += fmt.Sprintf(" \"%0*d\"", min(n, 250), serial)
	}
	return dnstest.Zone(t, "example.test.", records+"\n")
}

// journaled makes a version with serial 1 and differences of which each leads to the next
// serial, and returns the journal's content after each, and the versions.
func journaled(t *testing.T, n, text int) (m *store.Memory, journals [][]byte, versions []*zone.Zone) {
	t.Helper()
	m = store.NewMemory()
	z := on(m)
	for serial := 1; serial <= n; serial++ {
		v := sized(t, serial, text)
		var err error
		if serial == 1 {
			err = z.Save(v)
		} else {
			err = z.Append(v, zone.Diff(versions[serial-2], v))
		}
		if err != nil {
			t.Fatal(err)
		}
		journals, versions = append(journals, m.Get(path("journal"))), append(versions, v)
	}
	return m, journals, versions
}

// TestTornEnd has a crash at every byte of a difference that is being written, and has
// sectors of it not written: the version before is there, the end is cut off and told of,
// and what comes next stands where the torn one was.
func TestTornEnd(t *testing.T) {
	m, journals, versions := journaled(t, 4, 700)
	before, after, want := journals[2], journals[3], versions[2]
	var ends [][]byte
	for n := len(before) + 1; n < len(after); n++ {
		spoilt := slices.Clone(after[:n])
		spoilt[n-1] ^= 0xFF // what lies within was not written in order either
		ends = append(ends, after[:n], spoilt)
	}
	for at := len(before) / 512 * 512; at < len(after); at += 512 {
		missing := slices.Clone(after)
		clear(missing[max(at, len(before)):min(at+512, len(after))])
		ends = append(ends, missing)
	}
	for _, zeros := range []int{1, 8, 512, 5000} {
		ends = append(ends, append(slices.Clone(before), make([]byte, zeros)...))
	}
	for _, content := range ends {
		m.Put(path("journal"), content)
		v, history, logged, err := load(t, m)
		if err != nil || v.Serial() != 3 || !slices.Equal(contents(v), contents(want)) || len(history) != 2 {
			t.Fatalf("%d bytes of %d: %v, %d differences", len(content), len(after), err, len(history))
		}
		if !strings.Contains(logged, "level=WARN") || !strings.Contains(logged, "an incomplete last change") || !strings.Contains(logged, "zone=example.test.") ||
			!strings.Contains(logged, fmt.Sprintf("serial=3 bytes=%d", len(content)-len(before))) {
			t.Fatalf("it was told: %s", logged)
		}
		if left := state(m)["journal"]; left != string(before) {
			t.Fatalf("%d bytes are left, want %d", len(left), len(before))
		}
	}
	// What follows it, whatever it is, was written later: then it was acknowledged.
	missing := slices.Clone(after)
	clear(missing[len(before)/512*512+512:][:512])
	m.Put(path("journal"), append(missing, bytes.Repeat([]byte{'x'}, 100)...))
	unusable(t, m, "a sector of it is missing, and something follows", "the changes after serial 3")
	m.Put(path("journal"), ends[40])
	z := on(m)
	if _, _, err := z.Load(); err != nil {
		t.Fatal(err)
	}
	next := version(t, 9)
	if err := z.Append(next, zone.Diff(want, next)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m, next, 3)
}

// unusable fails unless the zone cannot be loaded for a reason, and all files stay as
// they are.
func unusable(t *testing.T, m *store.Memory, what string, reasons ...string) {
	t.Helper()
	before := state(m)
	v, _, _, err := load(t, m)
	if v != nil || !errors.Is(err, store.ErrBroken) {
		t.Errorf("%s: %v, not ErrBroken", what, err)
		return
	}
	for _, reason := range reasons {
		if !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v; it does not say %q", what, err, reason)
		}
	}
	if !maps.Equal(before, state(m)) {
		t.Errorf("%s: the files are not as they were", what)
	}
}

// TestDamage changes every byte of what was acknowledged: the zone is refused, its files
// are left as they are, and the error says up to which serial they can be read.
func TestDamage(t *testing.T) {
	m, journals, _ := journaled(t, 4, 10)
	content, whole := journals[3], state(m)["zone"]
	for i := range content {
		damaged := slices.Clone(content)
		damaged[i] ^= 0x10
		m.Put(path("journal"), damaged)
		serial := "serial 3"
		switch {
		case i < 29:
			serial = "serial 1"
		case i < len(journals[1]):
			serial = "serial 1, which led to serial 4 at least"
		case i < len(journals[2]):
			serial = "serial 2, which led to serial 4 at least"
		}
		unusable(t, m, fmt.Sprintf("byte %d of the journal changed", i), "the changes after "+serial)
	}
	for what, c := range map[string]struct {
		content []byte
		reason  string
	}{
		"a newer format":                   {[]byte(strings.Replace(string(content), "journal 4", "journal 6", 1)), `"port53 journal 6"`},
		"a much newer format":              {[]byte(strings.Replace(string(content), "journal 4", "journal 17", 1)), `"port53 journal 17"`},
		"something else":                   {[]byte("something else, and long enough for a head of it"), "do not begin with"},
		"nothing":                          {[]byte{}, "its 0 bytes"},
		"a part of the head":               {content[:20], "its 20 bytes"},
		"zeros":                            {make([]byte, len(content)), "do not begin with"},
		"a difference is missing":          {append(slices.Clone(journals[1]), content[len(journals[2]):]...), "after serial 2 "},
		"a difference is there twice":      {append(slices.Clone(content), content[len(journals[2]):]...), "after serial 4 "},
		"the middle is zeros":              {slices.Concat(journals[1], make([]byte, len(journals[2])-len(journals[1])), content[len(journals[2]):]), "after serial 2, which led to serial 4 at least"},
		"one bit, and a torn end after it": {append([]byte{content[0] ^ 1}, content[1:len(content)-5]...), "do not begin with"},
	} {
		m.Put(path("journal"), c.content)
		unusable(t, m, what, c.reason)
	}
	// A length that says that the rest of the journal is one difference.
	damaged := slices.Clone(content)
	damaged[len(journals[1])+6] = 0xFF
	m.Put(path("journal"), damaged)
	unusable(t, m, "a length", "which led to serial 4 at least")

	m.Put(path("journal"), content)
	for i := range whole {
		damaged := []byte(whole)
		damaged[i] ^= 1
		m.Put(path("zone"), damaged)
		unusable(t, m, fmt.Sprintf("byte %d of the version changed", i))
	}
	for _, damaged := range []string{"", whole[:10], whole[:len(whole)-1], whole + "x", strings.Replace(whole, "zone 3", "zone 5", 1)} {
		m.Put(path("zone"), []byte(damaged))
		unusable(t, m, "another version", "/zone: ")
	}
	if err := m.Remove(path("zone")); err != nil {
		t.Fatal(err)
	}
	unusable(t, m, "a journal alone", "from serial 1 to 4 can be read")

	// A version that is saved in place of what cannot be used does not destroy it.
	m.Put(path("zone"), []byte("nonsense"))
	kept := state(m)
	z := on(m)
	_, _, _ = z.Load()
	if err := z.Save(version(t, 7)); err != nil {
		t.Fatal(err)
	}
	sameOn(t, m, version(t, 7), 0)
	if now := state(m); now["zone.aside1"] != kept["zone"] || now["journal.aside1"] != kept["journal"] {
		t.Errorf("put aside: %q", slices.Collect(maps.Keys(now)))
	}
	// Nor does a second one destroy the first.
	m.Put(path("zone"), []byte("more nonsense"))
	_, _, _ = z.Load()
	if err := z.Save(version(t, 8)); err != nil {
		t.Fatal(err)
	}
	if now := state(m); now["zone.aside1"] != kept["zone"] || now["zone.aside2"] != "more nonsense" {
		t.Errorf("put aside: %q", slices.Collect(maps.Keys(now)))
	}
}

// TestFramesOfNonsense has frames whose checksums are right, and what they have is not: it is
// damage, and nothing beyond the frame is read.
func TestFramesOfNonsense(t *testing.T) {
	m, journals, _ := journaled(t, 3, 10)
	content := journals[2]
	numbers := func(n ...uint32) (b []byte) {
		for _, n := range n {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		return b
	}
	change := func(from, to, removed, added uint32) []byte { // made by nobody, nobody knows when
		return numbers(from, to, removed, added, 0, 0, 0)
	}
	text := strings.Repeat("x", 20) + "\n"
	notWritten := fmt.Sprintf("damaged from byte %d on: the changes after serial 3 ", len(content))
	for what, c := range map[string]struct {
		body   []byte
		reason string
	}{
		"nothing":                          {nil, notWritten},
		"an end":                           {[]byte("\n"), notWritten},
		"less than the numbers":            {[]byte(text[len(text)-16:]), notWritten},
		"less than one number":             {[]byte("xx\n"), notWritten},
		"more removed than there is":       {append(change(3, 4, 21, 0), text...), notWritten},
		"more added than there is":         {append(change(3, 4, 0, 21), text...), notWritten},
		"more than there is, in all":       {append(change(3, 4, 11, 10), text...), notWritten},
		"more of who it was":               {append(numbers(3, 4, 10, 10, 0, 0, 1), text...), notWritten},
		"lengths that come round":          {append(change(3, 4, 1<<32-1, 1), text...), notWritten},
		"a change, and a part of another":  {append(change(3, 4, 10, 10), "xxxxxxxxxxxxxxxxxxxxxxx\n"...), notWritten},
		"a change from another serial":     {append(change(2, 4, 10, 10), text...), fmt.Sprintf("at byte %d a change starts at serial 2, but the previous one ends at 3", len(content))},
		"a change that cannot be read":     {append(change(3, 4, 10, 10), text...), "its changes do not fit the version with serial 1"},
		"a change that changes no records": {append(change(3, 4, 0, 0), '\n'), "its changes do not fit the version with serial 1"},
	} {
		m.Put(path("journal"), append(slices.Clone(content), store.FrameOf(content, c.body)...))
		unusable(t, m, what, c.reason)
	}
	// A version whose last record is cut off.
	m, _, _ = journaled(t, 1, 10)
	whole := m.Get(path("zone"))
	records := whole[len("port53 zone 3\n")+16:]
	for n := 1; n < 8; n++ {
		m.Put(path("zone"), store.WholeOf(whole, records[:len(records)-n]))
		unusable(t, m, fmt.Sprintf("a version without the last %d bytes", n))
	}
	// The format before this one.
	m, content = formatBefore(t)
	for what, body := range map[string][]byte{
		"less than the numbers":      numbers(3, 4)[:7],
		"numbers alone":              numbers(3, 4, 0),
		"more removed than there is": append(numbers(3, 4, 22), text...),
		"all is removed":             append(numbers(3, 4, 21), text...),
	} {
		m.Put(path("journal"), append(slices.Clone(content), store.OldFrameOf(body)...))
		unusable(t, m, what)
	}
}

// TestTailsOfNonsense has a few bytes behind a journal that no write leaves there: fewer
// than the smallest frame has are torn, and more are damage. In the format before this one
// they are torn if they are fewer than the head of a frame has.
func TestTailsOfNonsense(t *testing.T) {
	for _, c := range []struct {
		old  bool
		tail []byte
		head int
	}{
		{false, bytes.Repeat([]byte{'x'}, 100), 4 + 12 + 16 + 1}, // marker, head, numbers, end
		{true, append([]byte{11, 0, 0, 0}, bytes.Repeat([]byte{'x'}, 96)...), 8},
	} {
		m, journals, versions := journaled(t, 3, 10)
		content, want := journals[2], versions[2]
		if c.old {
			m, content = formatBefore(t)
			want = version(t, 3)
		}
		for n := 1; n < 2*c.head; n++ {
			m.Put(path("journal"), append(slices.Clone(content), c.tail[:n]...))
			if n < c.head {
				sameOn(t, m, want, 2)
			} else {
				unusable(t, m, fmt.Sprintf("%d bytes", n))
			}
		}
	}
}

// TestBegunFrames has a frame that was being written after one that is damaged: that one had
// been acknowledged. What looks like a frame within what was being written is none.
func TestBegunFrames(t *testing.T) {
	m, journals, versions := journaled(t, 3, 700)
	before, after := journals[1], slices.Clone(journals[2])
	clear(after[len(before)/512*512+512:][:512]) // as a sector that was not written
	m.Put(path("journal"), after)
	sameOn(t, m, versions[1], 1)
	headless := slices.Clone(journals[2])
	clear(headless[len(before) : len(before)/512*512+512])
	for what, damaged := range map[string][]byte{"a sector": after, "the head": headless} {
		begun := store.FrameOf(damaged, make([]byte, 100))
		for _, n := range []int{len(begun) - 1, len(begun) / 2, 16} { // 16: its marker and head
			m.Put(path("journal"), append(slices.Clone(damaged), begun[:n]...))
			unusable(t, m, fmt.Sprintf("%s is missing, and there are %d bytes of the next frame", what, n), "the changes after serial 2")
		}
	}
	body := bytes.Repeat([]byte("\xd5fr\n..............."), 50) // the marker, and what is no head
	torn := store.FrameOf(journals[2], body)
	m.Put(path("journal"), append(slices.Clone(journals[2]), torn[:len(torn)-1]...))
	sameOn(t, m, versions[2], 2)
}

// formatBefore returns files of the format before this one, with serial 1 and changes to
// serials 2 and 3, and what the journal has.
func formatBefore(t *testing.T) (m *store.Memory, journal []byte) {
	t.Helper()
	m = store.NewMemory()
	for _, name := range []string{"zone", "journal"} {
		content, err := os.ReadFile(filepath.Join("testdata", "format2", name))
		if err != nil {
			t.Fatal(err)
		}
		m.Put(path(name), content)
		journal = content
	}
	return m, journal
}

// TestNoFile has other things in the places of files: none of them is waited for.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := open(dir).Save(version(t, 1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"journal", "zone"} {
		file := filepath.Join(dir, "example.test", name)
		for what, put := range map[string]func() error{
			"a pipe":      func() error { return syscall.Mkfifo(file, 0o600) },
			"a directory": func() error { return os.Mkdir(file, 0o700) },
			"a link":      func() error { return os.Symlink("/dev/zero", file) },
		} {
			if err := errors.Join(os.RemoveAll(file), put()); err != nil {
				t.Fatal(err)
			}
			if v, _, err := open(dir).Load(); v != nil || err == nil || !strings.HasSuffix(err.Error(), name+" is not a regular file") {
				t.Errorf("%s in place of %s: %v %v", what, name, v, err)
			}
		}
	}
}

// TestNoDirectory has a pipe in the place of a directory, that of the store or that of a zone:
// nothing waits for its other end.
func TestNoDirectory(t *testing.T) {
	for _, name := range []string{"zones", "zones/example.test"} {
		top := t.TempDir()
		if err := os.MkdirAll(filepath.Join(top, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(top, name), 0o600); err != nil {
			t.Fatal(err)
		}
		z := open(filepath.Join(top, "zones"))
		if v, _, err := z.Load(); v != nil || err == nil {
			t.Errorf("a pipe at %s: loaded %v, %v", name, v, err)
		}
		if err := z.Save(version(t, 1)); err == nil {
			t.Errorf("a pipe at %s: saved", name)
		}
	}
}

// TestUnfinishedVersion has a crash while a version is written: the one before counts.
func TestUnfinishedVersion(t *testing.T) {
	m, _, versions := journaled(t, 3, 10)
	content := state(m)["zone"]
	for _, name := range []string{"zone.new", "journal.new", "zone.old", "journal.old"} {
		m.Put(path(name), []byte(content[:len(content)/2]))
	}
	sameOn(t, m, versions[2], 2)
	if left := state(m); len(left) != 2 {
		t.Errorf("left: %q", slices.Collect(maps.Keys(left)))
	}
}

// TestForeignJournal has a crash between the moment a version that did not come about by
// differences took the place of another, and the end of the other's journal: whatever the
// serials are, nothing of that journal is applied, or given to others as history. It is
// put aside, and told of.
func TestForeignJournal(t *testing.T) {
	for _, serial := range []int{1, 2, 3, 9} {
		m, journals, _ := journaled(t, 3, 10)
		z := on(m)
		other := dnstest.Zone(t, "example.test.", fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.99\n", serial))
		if _, _, err := z.Load(); err != nil {
			t.Fatal(err)
		}
		if err := z.Save(other); err != nil {
			t.Fatal(err)
		}
		m.Put(path("journal"), journals[2])
		_, _, logged, err := load(t, m)
		if err != nil || !strings.Contains(logged, "level=WARN") || !strings.Contains(logged, "from serial 1 to 3 can be read") {
			t.Errorf("%v, told: %s", err, logged)
		}
		if lasts := state(m.Crash(nil)); lasts["journal.aside1"] != string(journals[2]) || lasts["journal"] != "" {
			t.Errorf("after a crash there are %q", slices.Collect(maps.Keys(lasts)))
		}
		if aside := state(m)["journal.aside1"]; aside != string(journals[2]) {
			t.Errorf("put aside: %d bytes", len(aside))
		}
		sameOn(t, m, other, 0)
		// It goes on from there.
		again := on(m)
		if _, _, err := again.Load(); err != nil {
			t.Fatal(err)
		}
		next := version(t, 20)
		if err := again.Append(next, zone.Diff(other, next)); err != nil {
			t.Fatal(err)
		}
		sameOn(t, m, next, 1)
	}
}

// TestFormatBefore reads files of the format before this one. What changes afterwards is in
// this format.
func TestFormatBefore(t *testing.T) {
	m, content := formatBefore(t)
	sameOn(t, m, version(t, 3), 2)
	first := 25 + 8 + int(binary.LittleEndian.Uint32(content[25:])) // the end of the first difference
	for n := range content {
		m.Put(path("journal"), content[:n])
		if v, _, logged, err := load(t, m); err != nil || v.Serial() != map[bool]uint32{false: 1, true: 2}[n >= first] || n > first && !strings.Contains(logged, "an incomplete last change") {
			t.Fatalf("%d bytes: %v %s", n, err, logged)
		}
	}
	for i := range content {
		// The head has no checksum, and a length has none of its own.
		if i >= 25 && i < 29 || i >= first && i < first+4 {
			continue
		}
		damaged := slices.Clone(content)
		damaged[i] ^= 1
		m.Put(path("journal"), damaged)
		unusable(t, m, fmt.Sprintf("byte %d changed", i))
	}
	// A change that was tried again is there twice: it counts once.
	m.Put(path("journal"), append(slices.Clone(content), content[25:first]...))
	sameOn(t, m, version(t, 3), 0)
	m.Put(path("journal"), slices.Concat(content[:first], content[25:first], content[first:]))
	sameOn(t, m, version(t, 3), 2)
	// A length that says the file is too short for the first change: there is a second.
	damaged := slices.Clone(content)
	damaged[28] = 0x7F
	m.Put(path("journal"), damaged)
	unusable(t, m, "a length", "after serial 1, which led to serial 3 at least")
	m.Put(path("journal"), content)
	z := on(m)
	if _, _, err := z.Load(); err != nil {
		t.Fatal(err)
	}
	last := version(t, 3)
	for serial := 4; serial < 7; serial++ {
		now := version(t, serial)
		if err := z.Append(now, zone.Diff(last, now)); err != nil {
			t.Fatal(err)
		}
		sameOn(t, m, now, serial-4)
		last = now
	}
	for name, content := range state(m) {
		if want := map[string]string{"zone": "3", "journal": "4"}[name]; !strings.HasPrefix(content, "port53 "+name+" "+want+"\n") {
			t.Errorf("%s begins with %.20q", name, content)
		}
	}
}

// TestFormat reads files that a version of this format, and of the one before, has written:
// what one version of the program has acknowledged, the next ones read. What comes then has the
// journal written again, with all that it had.
func TestFormat(t *testing.T) {
	for _, format := range []string{"3", "4"} {
		m := store.NewMemory()
		for _, name := range []string{"zone", "journal"} {
			content, err := os.ReadFile(filepath.Join("testdata", "format"+format, name))
			if err != nil {
				t.Fatal(err)
			}
			m.Put(path(name), content)
		}
		sameOn(t, m, version(t, 4), 3)
		z := on(m)
		v, deltas, err := z.Load()
		if err != nil {
			t.Fatal(err)
		}
		if by, want := deltas[2].By, map[string]string{"3": "", "4": "key ddns. from 192.0.2.1:53"}[format]; by != want || (want != "") != (deltas[2].At.Unix() == 1764460800) {
			t.Errorf("format %s: by %q at %v", format, by, deltas[2].At)
		}
		now := version(t, 5)
		d := zone.Diff(v, now)
		d.By, d.At = "uid 0, pid 1", time.Unix(1764460801, 0)
		if err := z.Append(now, d); err != nil {
			t.Fatal(err)
		}
		sameOn(t, m, now, 4)
		if _, deltas, err = on(m).Load(); err != nil || deltas[3].By != d.By || !deltas[3].At.Equal(d.At) {
			t.Errorf("format %s: %v, %+v", format, err, deltas)
		}
		if line, _, _ := strings.Cut(string(m.Get(path("journal"))), "\n"); line != "port53 journal 4" {
			t.Errorf("format %s: the journal begins with %q", format, line)
		}
	}
}

// TestFormatAnewAtEachFault has the disk fail at each operation while a journal of the format
// before is written again, and the power fail then: the version before is there, or the new one,
// which is there if it was acknowledged.
func TestFormatAnewAtEachFault(t *testing.T) {
	now := version(t, 5)
	for n := 1; ; n++ {
		m := store.NewMemory()
		for _, name := range []string{"zone", "journal"} {
			content, err := os.ReadFile(filepath.Join("testdata", "format3", name))
			if err != nil {
				t.Fatal(err)
			}
			m.Put(path(name), content)
		}
		z := on(m)
		v, _, err := z.Load()
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		m.Fail = func(string, string) error {
			if done++; done >= n {
				return errDisk
			}
			return nil
		}
		err = z.Append(now, zone.Diff(v, now))
		m.Fail = nil
		for seed := range uint64(4) {
			after := m.Crash(rand.New(rand.NewPCG(seed, uint64(n))))
			got, _, _, loadErr := load(t, after)
			switch {
			case loadErr != nil || got == nil:
				t.Fatalf("a fault at operation %d: %v", n, loadErr)
			case got.Serial() != 5 && (err == nil || got.Serial() != 4):
				t.Fatalf("a fault at operation %d: serial %d, and the change was told as %v", n, got.Serial(), err)
			}
		}
		if err != nil {
			if err := z.Append(now, zone.Diff(v, now)); err != nil {
				t.Fatalf("once the disk is well after a fault at operation %d: %v", n, err)
			}
			sameSerial(t, m, 5)
		}
		if done < n {
			return
		}
	}
}

func sameSerial(t *testing.T, m *store.Memory, want uint32) {
	t.Helper()
	if v, _, _, err := load(t, m); err != nil || v.Serial() != want {
		t.Fatalf("%v, %v", v, err)
	}
}

// TestJournalIsBounded changes a zone until its journal has been shortened many times.
func TestJournalIsBounded(t *testing.T) {
	m := store.NewMemory()
	z := on(m)
	text := func(serial int) *zone.Zone {
		s := fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n", serial)
		for i := range 200 {
			s += fmt.Sprintf("x%d 60 TXT \"%0200d\"\n", i, serial)
		}
		return dnstest.Zone(t, "example.test.", s)
	}
	old := text(1)
	if err := z.Save(old); err != nil {
		t.Fatal(err)
	}
	for serial := 2; serial < 60; serial++ {
		now := text(serial)
		if err := z.Append(now, zone.Diff(old, now)); err != nil {
			t.Fatal(err)
		}
		old = now
	}
	if size := len(m.Get(path("journal"))); size > 1<<20+1<<18 {
		t.Errorf("%d bytes", size)
	}
	v, history, err := on(m).Load()
	if err != nil || v.Serial() != 59 || len(history) < 3 || len(history) > 30 || history[len(history)-1].To != 59 {
		t.Errorf("serial %d, %d differences, %v", v.Serial(), len(history), err)
	}
}

// meta returns what is kept beside the zone.
func meta(t *testing.T, m *store.Memory) store.Meta {
	t.Helper()
	k, err := on(m).Dir.Load(apex, dnstest.Seed)
	if err != nil {
		t.Fatal(err)
	}
	return k.Meta
}

func TestMeta(t *testing.T) {
	m := store.NewMemory()
	z := on(m)
	if err := z.Save(version(t, 1)); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_790_000_000, 0)
	for _, want := range []store.Meta{
		{Checked: at, Expire: time.Hour},
		{Checked: at.Add(time.Second), Expire: time.Minute, Frozen: true},
		{Checked: at.Add(time.Second), Expire: 0, Frozen: true},
		{Checked: at, Expire: time.Hour},
	} {
		if err := z.SetMeta(apex, want); err != nil {
			t.Fatal(err)
		}
		if got := meta(t, m); !got.Checked.Equal(want.Checked) || got.Expire != want.Expire || got.Frozen != want.Frozen {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got := meta(t, m.Crash(nil)); got.Frozen != want.Frozen {
			t.Errorf("after a crash: %+v, want %+v", got, want)
		}
	}
}

// A crash may leave the time of the last check unwritten, or torn where a file system
// writes what was not synced in pieces: the version is as fresh as its file then.
func TestCheckedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	z := open(dir)
	if err := z.Save(version(t, 1)); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_790_000_000, 0)
	if err := os.Chtimes(filepath.Join(dir, "example.test", "zone"), when, when); err != nil {
		t.Fatal(err)
	}
	for _, torn := range []string{"", "17900", "1790000000 ", "x y"} {
		if err := os.WriteFile(filepath.Join(dir, "example.test", "checked"), []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := open(dir).Dir.Load(apex, dnstest.Seed); err != nil || !k.Meta.Checked.Equal(when) || k.Meta.Expire != 0 {
			t.Errorf("%q: %+v %v", torn, k.Meta, err)
		}
	}
	// The newer of the version and its journal counts.
	if err := z.Append(version(t, 2), zone.Diff(version(t, 1), version(t, 2))); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{-time.Hour, time.Hour} {
		if err := os.Chtimes(filepath.Join(dir, "example.test", "journal"), when.Add(after), when.Add(after)); err != nil {
			t.Fatal(err)
		}
		if k, err := open(dir).Dir.Load(apex, dnstest.Seed); err != nil || !k.Meta.Checked.Equal(when.Add(max(after, 0))) {
			t.Errorf("a journal of %v later: %+v %v", after, k.Meta, err)
		}
	}
}

func TestNamesOfFolders(t *testing.T) {
	dir := t.TempDir()
	d := store.Open(dir, nil)
	named := func(n int) string { // of so many bytes, without the last dot
		label := strings.Repeat("n", 63) + "."
		return strings.Repeat(label, 3) + strings.Repeat("n", n-3*len(label)) + "."
	}
	long := "a"
	for range 15 {
		long += `.\001\002\003\004\005\006\007`
	}
	for _, s := range []string{".", "com.", `a\.b.`, "a.b.", `..`[:1], `\046\046.`, `a\047b.`, long, "x" + long, `_sip.%2e.`, "x-09_az.test.", "a{b.", named(200), named(201)} {
		name, err := wire.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SetMeta(name, store.Meta{Checked: time.Now()}); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); len(name) == 1+2*32 {
			names = append(names, name[:1]+"hash")
		} else {
			names = append(names, name)
		}
	}
	want := []string{"%hash", "%hash", "%hash", strings.TrimSuffix(named(200), "."), "%root", "%5c.%5c.", "_sip.%252e", "a%2fb", "a%7bb", "a%5c.b", "a.b", "com", "x-09_az.test"}
	slices.Sort(names)
	if slices.Sort(want); !slices.Equal(names, want) {
		t.Errorf("directories %q, want %q", names, want)
	}
}
