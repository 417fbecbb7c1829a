package zones_test

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store/storetest"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zones"
)

// TestFullDisk has secondary zones, one of them a catalog, on a disk that is full from the
// start, or fills up: they are served from memory and followed, it is said, and they are
// kept when there is room again. A primary's update is not acknowledged meanwhile.
func TestFullDisk(t *testing.T) {
	for _, first := range []bool{true, false} {
		p := newPrimary(at(t, "a.test.", 1), at(t, "b.test.", 1), catalog(t, 1, "version 0 TXT \"2\"\none.zones 0 PTR b.test.\n"))
		kept := storetest.NewMemory()
		synctest.Test(t, func(t *testing.T) {
			w, log := &world{server: server{T: t}, primary: p}, &lockedBuffer{}
			w.log = logTo(log)
			var full atomic.Bool
			full.Store(first)
			kept.Watch(func(call string) error {
				if full.Load() && call != "load" {
					return errors.New("no space left on device")
				}
				return nil
			})
			start := func() {
				w.startWith(zones.Options{Store: kept, Client: transfer.Client{Dial: p.dial}})
			}
			start()
			s, cat := secondary(t, "a.test."), secondary(t, "cat.test.")
			s.Transfer, cat.Consumes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, &zones.Template{}
			own := zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}, Updates: anything(t, "test.")}
			w.load(s, cat, own)
			w.settle(time.Minute)
			full.Store(true)
			for serial := 2; serial < 5; serial++ {
				p.serve(at(t, "a.test.", serial), at(t, "b.test.", serial))
				for _, name := range []string{"a.test.", "b.test."} {
					if err := w.manager.Refresh(dnstest.Name(t, name), false); err != nil {
						t.Fatal(err)
					}
				}
				w.settle(2 * time.Second)
				if a, b := w.serial("a.test."), w.serial("b.test."); a != serial || b != serial {
					t.Errorf("full first %v: serials %d and %d are served, not %d", first, a, b, serial)
				}
			}
			w.update(1, wire.ServFail)
			for _, z := range w.manager.Status() {
				if full := z.Role == "secondary" && z.Name != "cat.test."; (z.NotStored != "") != (full || first && z.Name == "cat.test.") {
					t.Errorf("full first %v: %s: %q", first, z.Name, z.NotStored)
				}
			}
			if got := strings.Count(log.String(), "level=ERROR msg=\"a secondary zone cannot be stored: it is served from memory"); got < 1 || got > 2 {
				t.Errorf("full first %v: the log has it %d times:\n%s", first, got, log.String())
			}
			full.Store(false)
			w.settle(6 * time.Minute)
			for _, z := range w.manager.Status() {
				if z.NotStored != "" {
					t.Errorf("full first %v: %s is not kept though there is room: %s", first, z.Name, z.NotStored)
				}
			}
			w.update(2, wire.NoError)
			w.stop()
			p.with(func() { p.silent = true })
			start()
			w.load(s, cat, own)
			if a, b := w.serial("a.test."), w.serial("b.test."); a != 4 || b != 4 {
				t.Errorf("full first %v: serials %d and %d after a restart", first, a, b)
			}
			w.stop()
			synctest.Wait()
		})
	}
}
