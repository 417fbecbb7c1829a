package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/zone"
)

// bundle is the path of the file that many zones are in.
const bundle = dir + "/=bundle"

var someday = store.Meta{Checked: time.Unix(1_790_000_000, 0), Expire: time.Hour}

// member returns a version of one of many zones.
func member(t *testing.T, i, serial int) (apex []byte, v *zone.Zone) {
	t.Helper()
	name := fmt.Sprintf("m%d.test.", i)
	return dnstest.Name(t, name), dnstest.Zone(t, name, fmt.Sprintf("@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n", serial))
}

// bundled returns a disk that has so many zones in a bundle.
func bundled(t *testing.T, zones int) (*store.Memory, *store.Dir) {
	t.Helper()
	m := store.NewMemory()
	d := store.OpenOn(m, dir, nil)
	for i := range zones {
		apex, v := member(t, i, i+1)
		if err := d.SaveFetched(apex, v, someday); err != nil {
			t.Fatal(err)
		}
	}
	return m, d
}

// serials returns the serials of the first zones as a server finds them, 0 for none.
func serials(t *testing.T, m *store.Memory, zones int, log *bytes.Buffer) []int {
	t.Helper()
	if log == nil {
		log = new(bytes.Buffer)
	}
	d := store.OpenOn(m, dir, slog.New(slog.NewTextHandler(log, nil)))
	list := make([]int, zones)
	for i := range list {
		apex, _ := member(t, i, 0)
		k, err := d.Load(apex, dnstest.Seed)
		if err != nil {
			t.Error(err)
		}
		if k.Zone != nil {
			list[i] = int(k.Zone.Serial())
		}
		if k.Zone != nil && !k.Meta.Checked.IsZero() && (!k.Meta.Checked.Equal(someday.Checked) || k.Meta.Expire != someday.Expire) {
			t.Errorf("zone %d was checked at %s, for %s", i, k.Meta.Checked, k.Meta.Expire)
		}
	}
	return list
}

// TestManyFetched has thousands of zones be kept at the same time: that costs no directory, and a
// sync for many. All are there after a loss of power.
func TestManyFetched(t *testing.T) {
	const zones = 2000
	m := store.NewMemory()
	d := store.OpenOn(m, dir, nil)
	var mu sync.Mutex
	done := map[string]int{}
	m.Fail = func(op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		done[op]++
		if op == "sync" && filepath.Base(path) == "=bundle" {
			time.Sleep(time.Millisecond) // as long as a disk needs
		}
		return nil
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range next {
				apex, v := member(t, i, i+1)
				if err := d.SaveFetched(apex, v, someday); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range zones {
		next <- i
	}
	close(next)
	wg.Wait()
	if done["sync"] > zones/8 || done["mkdir"] > 2 || done["create"] > 8 {
		t.Errorf("%d zones cost %v", zones, done)
	}
	m.Fail = nil
	for i, serial := range serials(t, m.Crash(nil), zones, nil) {
		if serial != i+1 {
			t.Fatalf("zone %d has serial %d", i, serial)
		}
	}
}

// TestDamagedBundle spoils each byte of a bundle: what can be read of it is served, nothing else
// is, and what was there stays aside.
func TestDamagedBundle(t *testing.T) {
	whole, _ := bundled(t, 4)
	content := whole.Get(bundle)
	want := []int{1, 2, 3, 4}
	for at := range content {
		m := whole.Copy()
		spoilt := slices.Clone(content)
		spoilt[at] ^= 0x20
		m.Put(bundle, spoilt)
		var log bytes.Buffer
		got := serials(t, m, 4, &log)
		lost := 0
		for i := range got {
			if got[i] != want[i] && got[i] != 0 {
				t.Fatalf("byte %d: %v", at, got)
			}
			if got[i] == 0 {
				lost++
			}
		}
		head := at < len("port53 bundle 1\n")+12
		if lost != 1 && !head || head && lost != 4 {
			t.Fatalf("byte %d: %v are left", at, got)
		}
		if log.Len() == 0 {
			t.Errorf("byte %d: nothing is told", at)
		}
		if last := got[3] == 0 && lost == 1; !last && len(m.Get(bundle+".aside1")) != len(content) && !strings.Contains(log.String(), "the file is left alone") {
			t.Errorf("byte %d: it was not put aside: %q, told: %s", at, m.Names(dir), log.String())
		}
		log.Reset()
		if again := serials(t, m.Crash(nil), 4, &log); !slices.Equal(again, got) || log.Len() > 0 && !strings.Contains(log.String(), "the file is left alone") {
			t.Errorf("byte %d: %v, and %v the next time, told: %s", at, got, again, log.String())
		}
	}
}

// TestTornBundle cuts a bundle off at each byte, as a crash does: what was whole is there.
func TestTornBundle(t *testing.T) {
	whole, _ := bundled(t, 3)
	content := whole.Get(bundle)
	last := 3
	for at := len(content) - 1; at > 200; at-- {
		m := whole.Copy()
		m.Put(bundle, content[:at])
		got := serials(t, m, 3, nil)
		n := 3
		for n > 0 && got[n-1] == 0 {
			n--
		}
		if n > last || n < last-1 || !slices.Equal(got[:n], []int{1, 2, 3}[:n]) {
			t.Fatalf("%d bytes: %v", at, got)
		}
		last = n
		// What comes next is behind what is whole.
		apex, v := member(t, 2, 9)
		if err := store.OpenOn(m, dir, nil).SaveFetched(apex, v, someday); err != nil {
			t.Fatal(err)
		}
		if got = serials(t, m.Crash(nil), 3, nil); got[2] != 9 {
			t.Fatalf("%d bytes, and one more zone: %v", at, got)
		}
	}
}

// TestNewerBundle has a bundle of a version still to come be left as it is; what is fetched
// is kept beside it.
func TestNewerBundle(t *testing.T) {
	m, _ := bundled(t, 2)
	newer := append([]byte("port53 bundle 9\n"), m.Get(bundle)[16:]...)
	m.Put(bundle, newer)
	var log bytes.Buffer
	if got := serials(t, m, 2, &log); got[0] != 0 || got[1] != 0 || !strings.Contains(log.String(), "the file is left alone") {
		t.Errorf("%v, told: %s", got, log.String())
	}
	d := store.OpenOn(m, dir, nil)
	apex, v := member(t, 0, 7)
	if err := d.SaveFetched(apex, v, someday); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(dnstest.Name(t, "m1.test.")); err != nil {
		t.Error(err)
	}
	if got := serials(t, m.Crash(nil), 2, nil); got[0] != 7 || !bytes.Equal(m.Get(bundle), newer) {
		t.Errorf("%v, %q", got, m.Get(bundle)[:16])
	}
}

// TestOutOfTheBundle has zones change, go, move and be frozen: each counts over a loss of power,
// and no version of before comes back.
func TestOutOfTheBundle(t *testing.T) {
	m, d := bundled(t, 6)
	apex, v := member(t, 0, 10)
	_, before := member(t, 0, 1)
	if err := d.Append(apex, v, zone.Diff(before, v)); err != nil {
		t.Fatal(err)
	}
	apex, v = member(t, 1, 11)
	if err := errors.Join(d.Save(apex, v), d.Remove(apex)); err != nil {
		t.Fatal(err)
	}
	apex, _ = member(t, 2, 0)
	if err := d.Remove(apex); err != nil {
		t.Fatal(err)
	}
	apex, _ = member(t, 3, 0)
	if err := d.SetMeta(apex, store.Meta{Checked: someday.Checked, Expire: someday.Expire, Frozen: true}); err != nil {
		t.Fatal(err)
	}
	if k, err := d.Load(apex, dnstest.Seed); err != nil || !k.Meta.Frozen || k.Zone.Serial() != 4 {
		t.Errorf("the zone that was frozen is %v, %v", k, err)
	}
	apex, _ = member(t, 4, 0)
	if moved, err := d.Move(apex, store.Key(apex, "inside")); err != nil || !moved || !d.Has(store.Key(apex, "inside")) || d.Has(apex) {
		t.Errorf("it was moved: %v, %v", moved, err)
	}
	if moved, err := d.Move(dnstest.Name(t, "nobody.test."), apex); moved || err != nil {
		t.Errorf("nothing was moved: %v, %v", moved, err)
	}
	apex, v = member(t, 5, 12)
	if err := d.SaveFetched(apex, v, someday); err != nil {
		t.Fatal(err)
	}
	after := m.Crash(nil)
	if got, want := serials(t, after, 6, nil), []int{10, 0, 0, 4, 0, 12}; !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	apex, _ = member(t, 4, 0)
	if k, err := store.OpenOn(after, dir, nil).Load(store.Key(apex, "inside"), dnstest.Seed); err != nil || k.Zone == nil || k.Zone.Serial() != 5 {
		t.Errorf("what was moved is %v, %v", k, err)
	}
}

// TestNotForTheBundle has what is large, and what has a directory, be kept there.
func TestNotForTheBundle(t *testing.T) {
	m := store.NewMemory()
	z := on(m)
	if err := z.SaveFetched(apex, sized(t, 1, 40_000), someday); err != nil {
		t.Fatal(err)
	}
	if m.Get(path("zone")) == nil || m.Get(bundle) != nil {
		t.Errorf("there are %q", m.Names(dir))
	}
	if err := errors.Join(z.Save(version(t, 2)), z.SaveFetched(apex, version(t, 3), someday)); err != nil {
		t.Fatal(err)
	}
	if m.Get(bundle) != nil {
		t.Errorf("there are %q", m.Names(dir))
	}
	if k, err := store.OpenOn(m.Crash(nil), dir, nil).Load(apex, dnstest.Seed); err != nil || k.Zone.Serial() != 3 {
		t.Errorf("%v, %v", k, err)
	}
}

// TestBundleGrowsNoWaste checks zones a thousand times, and replaces them: the file is written
// again when most of it is of no use, and goes with the last zone.
func TestBundleGrowsNoWaste(t *testing.T) {
	m := store.NewMemory()
	m.Bound(3000, 1<<20)
	d := store.OpenOn(m, dir, nil)
	most := 0
	for i := range 1000 {
		apex, v := member(t, i%3, i+1)
		err := d.SetMeta(apex, store.Meta{Checked: someday.Checked.Add(-time.Hour), Expire: time.Minute})
		if i < 3 || i%7 == 0 {
			err = d.SaveFetched(apex, v, someday)
		}
		if err == nil {
			err = d.SetMeta(apex, someday)
		}
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(m.Get(bundle)))
	}
	if most > 6000 {
		t.Errorf("three zones took %d bytes", most)
	}
	if got := serials(t, m.Copy(), 3, nil); slices.Contains(got, 0) {
		t.Errorf("there are %v", got)
	}
	for i := range 3 {
		apex, _ := member(t, i, 0)
		if err := d.Remove(apex); err != nil {
			t.Fatal(err)
		}
	}
	if names := m.Names(dir); len(names) > 0 {
		t.Errorf("%q are left", names)
	}
	if got := serials(t, m.Crash(nil), 3, nil); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("there are %v", got)
	}
}

// TestFullDiskOfManyZones fills the disk up to each byte as zones are fetched: what was
// acknowledged is there, and nothing is in the way once there is room.
func TestFullDiskOfManyZones(t *testing.T) {
	for room := 0; room < 1200; room += 7 {
		m := store.NewMemory()
		m.Limit(room)
		d := store.OpenOn(m, dir, nil)
		want := make([]int, 4)
		for i := range want {
			apex, v := member(t, i, i+1)
			if d.SaveFetched(apex, v, someday) == nil {
				want[i] = i + 1
			}
		}
		if got := serials(t, m.Copy(), 4, nil); !slices.Equal(got, want) {
			t.Fatalf("%d bytes: %v, and %v was acknowledged", room, got, want)
		}
		m.Limit(-1)
		for i := range want {
			apex, v := member(t, i, i+10)
			if err := d.SaveFetched(apex, v, someday); err != nil {
				t.Fatal(err)
			}
		}
		if got := serials(t, m.Crash(nil), 4, nil); !slices.Equal(got, []int{10, 11, 12, 13}) {
			t.Fatalf("%d bytes, and then room: %v", room, got)
		}
	}
}

// TestExamineBundle looks at a bundle that is whole, torn, damaged, and of a newer version.
func TestExamineBundle(t *testing.T) {
	state := t.TempDir()
	file := filepath.Join(state, "zones", "=bundle")
	for i := range 3 {
		apex, v := member(t, i, i+1)
		if err := store.Open(filepath.Dir(file), nil).SaveFetched(apex, v, someday); err != nil {
			t.Fatal(err)
		}
	}
	content := read(t, file)
	for want, change := range map[string]func(b []byte) []byte{
		"ok: versions of 3 secondary zones":        func(b []byte) []byte { return b },
		"torn: versions of 2 secondary zones; its": func(b []byte) []byte { return b[:len(b)-3] },
		"damaged: damaged from byte ":              func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"foreign: its ":                            func(b []byte) []byte { return append([]byte("port53 bundle 7\n"), b[16:]...) },
	} {
		spoilt := change(bytes.Clone(content))
		put(t, file, spoilt)
		x, err := store.Examine(state, nobody)
		if err != nil || len(x.Files) != 1 {
			t.Fatal(x, err)
		}
		if got := fmt.Sprintf("%s: %s", x.Files[0].Verdict, x.Files[0].Text); !strings.HasPrefix(got, want) {
			t.Errorf("it is %s, want %s", got, want)
		}
		if !bytes.Equal(read(t, file), spoilt) {
			t.Error("it was changed")
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func put(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
