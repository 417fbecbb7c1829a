package zones_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/store/storetest"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

var errCrash = errors.New("the machine has lost its power")

// A crashingStore lets so many calls through and none after it. The last one may be carried
// out although its caller does not learn of it.
type crashingStore struct {
	zones.Store
	calls int
	last  bool // the call that fails is carried out
}

func (c *crashingStore) do(f func() error) error {
	c.calls--
	switch {
	case c.calls > 0:
		return f()
	case c.calls == 0 && c.last:
		_ = f()
	}
	return errCrash
}

func (c *crashingStore) Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error {
	return c.do(func() error { return c.Store.Save(apex, v, history...) })
}

func (c *crashingStore) Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error {
	return c.do(func() error { return c.Store.Append(apex, v, deltas...) })
}

func (c *crashingStore) SetMeta(apex []byte, m store.Meta) error {
	return c.do(func() error { return c.Store.SetMeta(apex, m) })
}

// TestCrash ends the store at each of its calls, with each kind of store, and starts again:
// all that was acknowledged is there, and nothing that was refused before the crash.
func TestCrash(t *testing.T) {
	for _, kind := range []struct {
		name string
		open func(dir string) (again func() zones.Store)
	}{
		{"memory", func(string) func() zones.Store {
			m := storetest.NewMemory()
			return func() zones.Store { return m }
		}},
		{"directory", func(dir string) func() zones.Store {
			return func() zones.Store { return store.Open(filepath.Join(dir, "state"), nil) }
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			crashed := true
			for calls := 1; crashed; calls++ {
				if calls > 100 {
					t.Fatal("the script never ends")
				}
				for _, last := range []bool{false, true} {
					dir := t.TempDir()
					open := kind.open(dir)
					crashed = crash(t, dir, &crashingStore{Store: open(), calls: calls, last: last}, open)
				}
			}
		})
	}
}

// crash changes a zone in all ways until the store crashes, starts again, and looks. It
// reports whether the store has crashed at all.
func crash(t *testing.T, dir string, c *crashingStore, open func() zones.Store) (crashed bool) {
	t.Helper()
	at := fmt.Sprintf("%d calls left, last %v", c.calls, c.last)
	apex := dnstest.Name(t, "test.")
	source := zones.Source{Apex: apex, File: write(t, dir, "test.zone", fmt.Sprintf(head, 1)), Updates: anything(t, "test.")}
	s := newServer(t, zones.Options{Store: c})
	s.load(source)
	var acknowledged []int
	serial, frozen := 1, false
	change := func(n int) {
		if s.change(addHost(n), updater) == wire.NoError {
			acknowledged = append(acknowledged, n)
			serial = s.serial("test.")
		} else {
			crashed = true
		}
	}
	freeze := func(to bool) {
		if err := zones.SetFrozen(s.manager, apex, to); err == nil {
			frozen = to
		} else {
			crashed = true
		}
	}
	for n := range 5 {
		change(n)
	}
	freeze(true)
	if !crashed {
		if err := s.manager.Sync(apex); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
	}
	if !crashed {
		freeze(false)
	}
	for n := range 3 {
		if !frozen {
			change(5 + n)
		}
	}
	s.start(zones.Options{Store: open()})
	if r := s.load(source); len(r.Failed) > 0 {
		t.Fatalf("%s: %+v", at, r.Failed)
	}
	z := s.view.Load().Get(apex).Zone()
	if got := int(z.Serial()); got < serial || got > serial+1 {
		t.Errorf("%s: serial %d after a restart, %d before", at, got, serial)
	}
	if got := s.manager.Status()[0].Frozen; got != frozen && (!crashed || !c.last) {
		t.Errorf("%s: frozen %v after a restart, %v before", at, got, frozen)
	}
	for _, n := range acknowledged {
		var name wire.SplitName
		name.Set(dnstest.Name(t, fmt.Sprintf("u%d.test.", n)))
		if z.Lookup(&name) == 0 {
			t.Errorf("%s: update %d was acknowledged, and is not there", at, n)
		}
	}
	return crashed
}
