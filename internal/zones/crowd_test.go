package zones_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/store/storetest"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A slowDisk is a store that takes its time, or has none, for whole versions.
type slowDisk struct {
	*storetest.Memory
	save  func() error // is called before each
	mu    sync.Mutex
	begun map[string]bool // the zones that one was begun for
}

func (d *slowDisk) begin(apex []byte) error {
	d.mu.Lock()
	d.begun[string(apex)] = true
	d.mu.Unlock()
	return d.save()
}

func (d *slowDisk) Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error {
	if err := d.begin(apex); err != nil {
		return err
	}
	return d.Memory.Save(apex, v, history...)
}

func (d *slowDisk) SaveFetched(apex []byte, v *zone.Zone, m store.Meta) error {
	if err := d.begin(apex); err != nil {
		return err
	}
	return d.Memory.SaveFetched(apex, v, m)
}

// A crowded is a manager that fetches a hundred zones for the first time.
type crowded struct {
	*world
	disk  *slowDisk
	log   *lockedBuffer
	names []string
	list  []zones.Source
}

func inCrowd(t *testing.T, save func() error, f func(c *crowded)) {
	p := newPrimary()
	c := &crowded{disk: &slowDisk{Memory: storetest.NewMemory(), save: save, begun: map[string]bool{}}, log: &lockedBuffer{}}
	for i := range 100 {
		name := fmt.Sprintf("n%d.test.", i)
		p.serve(at(t, name, 1))
		c.names = append(c.names, name)
		c.list = append(c.list, secondary(t, name))
	}
	synctest.Test(t, func(t *testing.T) {
		c.world = &world{server: server{T: t}, primary: p}
		c.world.log = logTo(c.log)
		c.start()
		f(c)
		synctest.Wait()
	})
}

func (c *crowded) start() {
	c.startWith(zones.Options{Store: c.disk, Client: transfer.Client{Dial: c.primary.dial}})
}

// waiting returns the zones whose first version nobody has begun to write.
func (c *crowded) waiting() (list []zones.Source) {
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	for _, s := range c.list {
		if !c.disk.begun[string(s.Apex)] {
			list = append(list, s)
		}
	}
	return list
}

// served returns how many of the zones are served in the version with a serial.
func (c *crowded) served(serial int) (n int) {
	for _, name := range c.names {
		if c.serial(name) == serial {
			n++
		}
	}
	return n
}

// again starts the manager again, without a primary, and returns how many zones it has kept.
func (c *crowded) again(serial int) int {
	c.stop()
	c.primary.with(func() { c.primary.silent = true })
	c.start()
	c.load(c.list...)
	n := c.served(serial)
	c.stop()
	return n
}

// TestManyFirstVersions has a disk that takes its time: a hundred zones that are fetched for
// the first time do not wait for it, and are written down after they are served. One alone,
// and a version after the first, are served once they are written.
func TestManyFirstVersions(t *testing.T) {
	const slow = 10 * time.Second
	inCrowd(t, func() error {
		time.Sleep(slow)
		return nil
	}, func(c *crowded) {
		c.load(c.list...)
		c.settle(time.Second)
		if n := c.served(1); n < 84 || n == 100 {
			t.Errorf("%d zones are served while the disk is at work on the first", n)
		}
		c.settle(100 * slow / 16)
		if n := c.served(1); n != 100 {
			t.Errorf("%d zones are served", n)
		}
		one := c.names[7]
		c.primary.serve(at(t, one, 2))
		if err := c.manager.Refresh(c.list[7].Apex, false); err != nil {
			t.Fatal(err)
		}
		c.settle(slow - time.Second)
		if c.serial(one) != 1 {
			t.Error("the second version is served before it is written")
		}
		c.settle(2 * time.Second)
		if c.serial(one) != 2 {
			t.Error("the second version is not served")
		}
		if n := c.again(1); n != 99 {
			t.Errorf("%d zones are served after a restart, and one in its second version", n)
		}
	})
}

// TestManyChangeAtOnce has zones change before their first versions are written: what is kept
// is the newest.
func TestManyChangeAtOnce(t *testing.T) {
	var gate chan struct{}
	inCrowd(t, func() error {
		<-gate
		return nil
	}, func(c *crowded) {
		gate = make(chan struct{})
		c.load(c.list...)
		c.settle(500 * time.Millisecond)
		waiting := c.waiting()
		for i, s := range waiting {
			c.primary.serve(at(t, string(wire.AppendName(nil, s.Apex)), 2))
			if err := c.manager.Refresh(s.Apex, i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
		c.settle(2 * time.Second)
		close(gate)
		c.settle(2 * time.Second)
		if n := c.served(2); n != len(waiting) || n < 60 {
			t.Errorf("%d zones are served in their second version", n)
		}
		if n := c.again(2); n != len(waiting) {
			t.Errorf("%d zones are served in their second version after a restart, not %d", n, len(waiting))
		}
	})
}

// TestEndOfMany stops while most first versions are not written yet: as many are as the time
// allows, and it is said that others are not.
func TestEndOfMany(t *testing.T) {
	for wait, most := range map[time.Duration]int{10 * time.Millisecond: 100, time.Second: 60} {
		inCrowd(t, func() error {
			time.Sleep(wait)
			return nil
		}, func(c *crowded) {
			c.load(c.list...)
			c.settle(5 * time.Millisecond)
			begun := time.Now()
			c.stop()
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("it ends after %v", took)
			}
			n := c.again(1)
			if n > most || n < min(most, 20) || strings.Contains(c.log.String(), "secondary zones just transferred are not stored") == (most == 100) {
				t.Errorf("%d zones are kept, want %d at most:\n%s", n, most, c.log.String())
			}
		})
	}
}

// TestManyOnAFullDisk fetches the zones for the first time while the disk is full: they are
// served, it is said, and they are kept when there is room.
func TestManyOnAFullDisk(t *testing.T) {
	var room atomic.Bool
	inCrowd(t, func() error {
		if !room.Load() {
			return errors.New("no space left on device")
		}
		return nil
	}, func(c *crowded) {
		c.load(c.list...)
		c.settle(time.Minute)
		for _, z := range c.manager.Status() {
			if !z.Serving || !strings.Contains(z.NotStored, "no space left") {
				t.Errorf("%+v", z)
			}
		}
		room.Store(true)
		c.settle(6 * time.Minute)
		for _, z := range c.manager.Status() {
			if z.NotStored != "" {
				t.Errorf("%s is not kept though there is room: %s", z.Name, z.NotStored)
			}
		}
		if n := c.again(1); n != 100 {
			t.Errorf("%d zones are served after a restart", n)
		}
	})
}

// TestManyLeave takes zones out before their first versions are written: what was configured
// is kept, as ever, and of a catalog's members nothing is.
func TestManyLeave(t *testing.T) {
	var gate chan struct{}
	save := func() error {
		<-gate
		return nil
	}
	inCrowd(t, save, func(c *crowded) {
		gate = make(chan struct{})
		c.load(c.list...)
		c.settle(100 * time.Millisecond)
		leave := c.waiting()
		stay := slices.DeleteFunc(slices.Clone(c.list), func(s zones.Source) bool {
			return slices.ContainsFunc(leave, func(l zones.Source) bool { return string(l.Apex) == string(s.Apex) })
		})
		time.AfterFunc(time.Second, func() { close(gate) })
		go func() {
			if _, err := c.manager.Load(t.Context(), stay, nil); err != nil {
				t.Error(err)
			}
		}()
		c.settle(time.Minute)
		if n := c.served(1); n != len(stay) || len(stay) > 40 {
			t.Errorf("%d zones are served, not %d", n, len(stay))
		}
		if n := c.again(1); n != 100 {
			t.Errorf("%d zones are kept", n)
		}
	})
	var records strings.Builder
	records.WriteString("version 0 TXT \"2\"\n")
	for i := range 100 {
		fmt.Fprintf(&records, "m%d.zones 0 PTR n%d.test.\n", i, i)
	}
	cat := secondary(t, "cat.test.")
	cat.Consumes = &zones.Template{}
	inCrowd(t, save, func(c *crowded) {
		gate = make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { gate <- struct{}{} }) // the catalog itself
		c.primary.serve(catalog(t, 1, records.String()))
		c.load(cat)
		c.settle(time.Second)
		if n := c.served(1); n < 84 {
			t.Fatalf("%d members are served", n)
		}
		c.primary.serve(catalog(t, 2, "version 0 TXT \"2\"\n"))
		if err := c.manager.Refresh(cat.Apex, false); err != nil {
			t.Fatal(err)
		}
		close(gate)
		c.settle(2 * time.Minute)
		if n := c.served(1); n != 0 {
			t.Errorf("%d members are served that have left", n)
		}
		for _, s := range c.list {
			if k, err := c.disk.Load(s.Apex, dnstest.Seed); err != nil || k.Zone != nil {
				t.Errorf("%s is kept: %v", s.Apex, err)
			}
		}
		c.stop()
	})
}
