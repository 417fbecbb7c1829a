package zones_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

var updater = []byte("\x01k\x00") // the name of a key

// addHost returns an update that adds an address to a name of test.
func addHost(n int) []byte {
	apex, label := []byte("\x04test\x00"), fmt.Sprintf("u%d", n)
	m := wire.AppendQuery(nil, uint16(n), uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	m = zone.AppendRecord(m, append(append([]byte{byte(len(label))}, label...), apex...), wire.TypeA, 60, []byte{192, 0, 2, 7})
	m[9] = 1
	return m
}

// newUpdated returns a manager of the zone test, with a file, that may be updated.
func newUpdated(t *testing.T) (s *server, source zones.Source, again func()) {
	dir := t.TempDir()
	apex := dnstest.Name(t, "test.")
	all, err := policy.ParsePattern("*", apex)
	if err != nil {
		t.Fatal(err)
	}
	source = zones.Source{
		Apex: apex, File: write(t, dir, "test.zone", fmt.Sprintf(head, 1)), Insecure: true,
		Updates: []policy.Grant{{Key: updater, Names: all}}, Secondaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")},
	}
	nobody := func(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, errors.New("nobody") }
	s = &server{T: t}
	again = func() {
		s.start(zones.Options{Store: store.Open(filepath.Join(dir, "state")), Client: transfer.Client{Dial: nobody}})
		s.load(source)
	}
	again()
	return s, source, again
}

// change sends an update of zone test with a key.
func (s *server) change(msg, key []byte) wire.Rcode {
	rcode, _ := s.manager.Update(&zones.Request{Entry: s.view.Load().Get([]byte("\x04test\x00")), Message: msg, Key: key})
	return rcode
}

func (s *server) update(n int, want wire.Rcode) {
	s.Helper()
	if got := s.change(addHost(n), updater); got != want {
		s.Errorf("update %d: %s, want %s", n, got, want)
	}
}

func (s *server) problems() string {
	var list []string
	for _, p := range s.manager.Status()[0].Problems {
		list = append(list, p.String())
	}
	return strings.Join(list, "\n")
}

// TestFileBesideUpdates changes the file of a zone that messages have changed.
func TestFileBesideUpdates(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s, source, again := newUpdated(t)
		edit := func(serial int, want int, problem string) {
			t.Helper()
			write(t, filepath.Dir(source.File), "test.zone", fmt.Sprintf(head, serial)+fmt.Sprintf("edited%d A 192.0.2.5\n", serial))
			if restart {
				again()
			} else {
				s.load(source)
			}
			if got := s.serial("test."); got != want || problem == "" != (s.problems() == "") || !strings.Contains(s.problems(), problem) {
				t.Errorf("restart %v, file with serial %d: serial %d is served, want %d; problems %q", restart, serial, got, want, s.problems())
			}
		}
		s.update(1, wire.NoError)
		s.update(2, wire.NoError)
		edit(3, 3, "is not used until its serial is newer")
		edit(2, 3, "is not used until its serial is newer")
		edit(9, 9, "what updates changed since it was written last is gone")
		if err := s.manager.Freeze(source.Apex, true); err != nil {
			t.Fatal(err)
		}
		if err := s.manager.Sync(source.Apex); err != nil {
			t.Fatal(err)
		}
		s.update(3, wire.Refused)
		if restart {
			again()
			s.update(3, wire.Refused)
			if !s.manager.Status()[0].Frozen {
				t.Error("it is not frozen after a restart")
			}
		} else {
			edit(12, 12, "") // it has all that the zone has
		}
		if err := s.manager.Freeze(source.Apex, false); err != nil {
			t.Fatal(err)
		}
		s.update(3, wire.NoError)
	}
}

// TestFreezeWhileUpdatesCome freezes a zone that many change: what the file has is what is
// served from then on.
func TestFreezeWhileUpdatesCome(t *testing.T) {
	for range 5 {
		s, source, _ := newUpdated(t)
		var all sync.WaitGroup
		several := make(chan struct{}, 100)
		for c := range 16 {
			all.Go(func() {
				for n := 0; s.change(addHost(c*1000+n), updater) == wire.NoError; n++ {
					select {
					case several <- struct{}{}:
					default:
					}
				}
			})
		}
		for range cap(several) {
			<-several
		}
		if err := errors.Join(s.manager.Freeze(source.Apex, true), s.manager.Sync(source.Apex)); err != nil {
			t.Fatal(err)
		}
		file := zones.Load(source, dnstest.Seed)
		all.Wait()
		if got := s.serial("test."); got != int(file.Zone.Serial()) {
			t.Errorf("the file has serial %d, and %d is served", file.Zone.Serial(), got)
		}
	}
}

// TestLongHistory changes a zone more often than any short list would hold, and once more
// than its bound lets be kept.
func TestLongHistory(t *testing.T) {
	s, source, again := newUpdated(t)
	for n := range 200 {
		s.update(n, wire.NoError)
	}
	if got := s.manager.Status()[0].History; got != 200 {
		t.Errorf("%d differences of 200 are kept", got)
	}
	for n := range 1000 {
		s.update(1000+n, wire.NoError)
	}
	if got := s.manager.Status()[0].History; got < 300 || got > 1150 {
		t.Errorf("%d differences of 1200 are kept", got)
	}
	again()
	if got := s.serial("test."); got != 1201 {
		t.Errorf("serial %d after a restart", got)
	}
	if _, err := os.Stat(source.File); err != nil {
		t.Fatal(err)
	}
}
