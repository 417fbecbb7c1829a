package zonefile_test

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"golang.org/x/tools/txtar"

	"port53/internal/wire"
	"port53/internal/zonefile"
)

// goldenZones returns the zones of testdata.
func goldenZones(t testing.TB) []string {
	t.Helper()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var zones []string
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == "zone" {
				zones = append(zones, string(f.Data))
			}
		}
	}
	return zones
}

func testOptions() zonefile.Options {
	return zonefile.Options{Origin: []byte("\x07example\x00"), Name: "zone", Generate: 100, FS: fstest.MapFS{
		"one":     {Data: []byte("one 1 A 192.0.2.1\n  A 192.0.2.2\n")},
		"sub/two": {Data: []byte("$ORIGIN two\n@ 1 TXT (two\n)\n$INCLUDE one")},
	}}
}

// Where the buffer ends changes nothing, nor does how much a reader gives at once.
func TestBuffers(t *testing.T) {
	for _, zone := range goldenZones(t) {
		want := read(zone, testOptions())
		for _, size := range []int{1, 2, 3, 5, 8, 13, 64, 100} {
			o := testOptions()
			o.SetBuffer(size)
			if got := read(zone, o); got != want {
				t.Errorf("with a buffer of %d octets\n%s\ngot\n%s\nwant\n%s", size, zone, got, want)
			}
		}
	}
}

func TestReaders(t *testing.T) {
	text := registryZone(20_000) // more than the buffer
	sum := func(r io.Reader) (uint64, error) {
		h := maphash.Hash{}
		h.SetSeed(seed)
		_, err := zonefile.Read(r, zonefile.Options{Origin: wire.Root, Name: "zone"}, func(r *zonefile.Record) error {
			h.Write(r.Owner)
			h.Write(r.Data)
			return nil
		})
		return h.Sum64(), err
	}
	want, err := sum(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"one octet at a time":   iotest.OneByteReader(bytes.NewReader(text)),
		"half of what is asked": iotest.HalfReader(bytes.NewReader(text)),
		"data with the end":     iotest.DataErrReader(bytes.NewReader(text)),
	} {
		if got, err := sum(r); err != nil || got != want {
			t.Errorf("%s: %x, %v, want %x", name, got, err, want)
		}
	}
	broken := errors.New("broken")
	_, err = sum(io.MultiReader(bytes.NewReader(text[:300_000]), iotest.ErrReader(broken)))
	var at *zonefile.Error
	if !errors.Is(err, broken) || !errors.As(err, &at) || at.Pos.File != "zone" || at.Pos.Line < 1000 {
		t.Errorf("a reader that fails: %v", err)
	}
}

var seed = maphash.MakeSeed()

// An entry may be long, but not for ever.
func TestLongEntries(t *testing.T) {
	count := 0
	var last zonefile.Record
	handle := func(r *zonefile.Record) error { count++; last = *r; last.Data = bytes.Clone(r.Data); return nil }
	o := zonefile.Options{Origin: wire.Root, Name: "zone"}

	// 65,535 octets, each escaped, on many lines.
	var b strings.Builder
	b.WriteString("a 1 TXT (\n")
	for range 255 {
		b.WriteString(`"` + strings.Repeat(`\200`, 255) + "\"\n")
	}
	b.WriteString(`"` + strings.Repeat(`\201`, 254) + "\"\n)\nb 1 A 192.0.2.1\n")
	if _, err := zonefile.Read(strings.NewReader(b.String()), o, handle); err != nil || count != 2 || last.Line != 259 {
		t.Errorf("%d records, the last on line %d: %v", count, last.Line, err)
	}
	for _, c := range []struct{ text, want string }{
		{"a 1 TXT (" + strings.Repeat(strings.Repeat("x", 255)+"\n", 256) + ")\n", "zone:1:5: TXT data has 65536 octets, the limit is 65535"},
		{"a 1 TXT (" + strings.Repeat("xxxx\n", 1<<19), "zone:1:1: entry is longer than 1048576 octets: is a parenthesis or a quote not closed?"},
		{"a 1 TXT " + strings.Repeat("x", 1<<21), "zone:1:1: entry is longer than 1048576 octets: is a parenthesis or a quote not closed?"},
		{`a 1 TXT "` + strings.Repeat("x", 1<<21), "zone:1:1: entry is longer than 1048576 octets: is a parenthesis or a quote not closed?"},
		{"a 1 SVCB 1 . key9=" + strings.Repeat("x", 1<<16) + "\n", "zone:1:14: parameter key9: value has 65536 octets, the limit is 65535"},
	} {
		_, err := zonefile.Read(strings.NewReader(c.text), o, handle)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.20s...: %.200v, want %s", c.text, err, c.want)
		}
	}
}

// A line without an end is not read for ever.
func TestEndlessLine(t *testing.T) {
	o := zonefile.Options{Origin: wire.Root, Name: "zone", MaxBytes: 1 << 20}
	_, err := zonefile.Read(&repeated{text: []byte{0}, times: -1}, o, nil)
	if err == nil || !strings.Contains(err.Error(), "zone is larger than 1048576 octets") {
		t.Errorf("zeros without end: %v", err)
	}
}

// A root keeps what is included within its folder, whatever the links say.
func TestIncludeWithinRoot(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret 1 A 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(outside, "zones")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "inner"), []byte("inner 1 A 192.0.2.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"out": "../secret", "absolute": filepath.Join(outside, "secret"), "in": "inner", "up": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, c := range []struct {
		file string
		ok   bool
	}{{"inner", true}, {"in", true}, {"out", false}, {"absolute", false}, {"up/secret", false}, {"../secret", false}, {"up", false}, {".", false}} {
		records := 0
		_, err := zonefile.Read(strings.NewReader("$INCLUDE "+c.file+"\n"), zonefile.Options{Origin: wire.Root, Name: "zone", FS: root.FS()},
			func(*zonefile.Record) error { records++; return nil })
		if (err == nil) != c.ok || (records > 0) != c.ok {
			t.Errorf("$INCLUDE %s: %d records, %v", c.file, records, err)
		}
	}
}

// Reading allocates for a file, not for its records.
func TestReadAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, make := range map[string]func(int) []byte{"registry": registryZone, "signed": signedZone} {
		allocs := func(names int) float64 {
			text := make(names)
			return testing.AllocsPerRun(3, func() {
				if _, err := zonefile.Read(bytes.NewReader(text), zonefile.Options{Origin: wire.Root, Name: "zone"}, func(*zonefile.Record) error { return nil }); err != nil {
					panic(err)
				}
			})
		}
		const growths = 2 // of the buffer, for a file that turns out large
		if few, many := allocs(100), allocs(20_000); many > few+growths {
			t.Errorf("%s: %v allocations for 100 names, %v for 20,000", name, few, many)
		}
	}
}

// A file of any size is read in little memory.
func TestReadMemory(t *testing.T) {
	text := registryZone(1000)
	text = text[bytes.IndexByte(text, '@'):]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	records := 0
	_, err := zonefile.Read(io.MultiReader(strings.NewReader("$TTL 1\n"), &repeated{text: text, times: 500}), zonefile.Options{Origin: wire.Root, Name: "zone"},
		func(*zonefile.Record) error { records++; return nil })
	runtime.ReadMemStats(&after)
	if err != nil || records < 500*2000 {
		t.Fatalf("%d records: %v", records, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d octets allocated for a file of %d", used, 500*len(text))
	}
}

type repeated struct {
	text  []byte
	at    int
	times int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.at == len(r.text) {
		if r.times--; r.times == 0 {
			return 0, io.EOF
		}
		r.at = 0
	}
	n := copy(p, r.text[r.at:])
	r.at += n
	return n, nil
}

// FuzzRead holds that reading ends, and that what is accepted can be written and read
// back as the same.
func FuzzRead(f *testing.F) {
	for _, zone := range goldenZones(f) {
		f.Add(zone)
	}
	f.Add(string(signedZone(2)))
	f.Add("$INCLUDE one\n$INCLUDE sub/two x\n$GENERATE 1-3 a$ A 192.0.2.$\n")
	f.Fuzz(func(t *testing.T, zone string) {
		o := testOptions()
		o.MaxRecords = 1000
		started := time.Now()
		type record struct {
			owner, data string
			ttl         uint32
			t           wire.Type
		}
		var first, second []record
		var text, previous []byte
		take := func(all *[]record) func(r *zonefile.Record) error {
			previous = previous[:0]
			return func(r *zonefile.Record) error {
				if n, err := wire.CheckName(r.Owner); err != nil || n != len(r.Owner) {
					t.Fatalf("owner %q: %v", r.Owner, err)
				}
				if err := wire.CheckRdata(r.Type, r.Data); err != nil {
					t.Fatalf("%s %X: %v", r.Type, r.Data, err)
				}
				if r.SameOwner && !bytes.Equal(previous, r.Owner) {
					t.Fatalf("%q is said to be %q", r.Owner, previous)
				}
				if r.TTL > 1<<31-1 || r.Type.IsMeta() || r.Line == 0 || r.Col == 0 {
					t.Fatalf("%+v", r)
				}
				previous = append(previous[:0], r.Owner...)
				*all = append(*all, record{string(r.Owner), string(r.Data), r.TTL, r.Type})
				return nil
			}
		}
		_, err := zonefile.Read(strings.NewReader(zone), o, take(&first))
		small := o
		small.SetBuffer(1)
		_, err2 := zonefile.Read(strings.NewReader(zone), small, take(&second))
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() || len(first) != len(second) {
			t.Fatalf("%d records, %v; with a small buffer %d, %v", len(first), err, len(second), err2)
		}
		for _, r := range first {
			text = zonefile.AppendRecord(text, []byte(r.owner), r.ttl, r.t, []byte(r.data))
		}
		second = second[:0]
		if _, err := zonefile.Read(bytes.NewReader(text), zonefile.Options{Origin: []byte("\x05other\x00"), Name: "again"}, take(&second)); err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if len(first) != len(second) {
			t.Fatalf("%d records written, %d read", len(first), len(second))
		}
		for i := range first {
			if first[i] != second[i] {
				t.Fatalf("%+v was read back as %+v", first[i], second[i])
			}
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}
