package zones_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/store/storetest"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// A memoryOrigin is a [zones.Origin] that a test sets.
type memoryOrigin struct {
	mu     sync.Mutex
	zone   *zone.Zone
	err    error
	traits zones.Traits
	asked  int
}

func (o *memoryOrigin) set(z *zone.Zone, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.zone, o.err = z, err
}

func (o *memoryOrigin) Candidate(_ context.Context, known zones.Known) (*zones.Candidate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	if o.err != nil || o.zone == known.Zone {
		return nil, o.err
	}
	return &zones.Candidate{Zone: o.zone, Digest: zones.DigestDecides}, nil
}

func (o *memoryOrigin) Continues(prior zones.Origin) bool {
	p, ok := prior.(*memoryOrigin)
	return ok && p.traits == o.traits
}

func (o *memoryOrigin) Traits() zones.Traits { return o.traits }

// TestForeignOriginAndStore serves a zone from an origin and with a store that no room of
// the house knows: it is loaded, updated, restarted and loaded again like any other.
func TestForeignOriginAndStore(t *testing.T) {
	kept, o := storetest.NewMemory(), &memoryOrigin{zone: at(t, "test.", 1)}
	source := zones.Source{Apex: dnstest.Name(t, "test."), Origin: o, Updates: anything(t, "test.")}
	s := newServer(t, zones.Options{Store: kept})
	if r := s.load(source); r.Loaded != 1 || s.serial("test.") != 1 {
		t.Fatalf("%+v, serial %d", r, s.serial("test."))
	}
	s.update(1, wire.NoError)
	s.update(2, wire.NoError)
	s.start(zones.Options{Store: kept})
	if s.load(source); s.serial("test.") != 3 {
		t.Errorf("serial %d after a restart", s.serial("test."))
	}
	o.set(at(t, "test.", 9), nil)
	if s.load(source); s.serial("test.") != 9 {
		t.Errorf("serial %d after the origin had another version", s.serial("test."))
	}
	o.set(nil, errors.New("gone fishing"))
	if r := s.load(source); s.serial("test.") != 9 || len(r.Failed) != 1 || r.Failed[0].Problems[0].Text != "gone fishing" {
		t.Errorf("serial %d after the origin failed: %+v", s.serial("test."), r)
	}
}

// TestForeignPolledOrigin has an origin that is asked by the timers of its zone, like
// primaries: it is refreshed, kept over a restart, and expires.
func TestForeignPolledOrigin(t *testing.T) {
	kept := storetest.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		o := &memoryOrigin{zone: at(t, "test.", 1), traits: zones.Traits{Polled: true, Kept: true}}
		source := zones.Source{Apex: dnstest.Name(t, "test."), Origin: o}
		w := &world{server: server{T: t}, primary: newPrimary()}
		w.startWith(zones.Options{Store: kept})
		w.load(source)
		w.settle(time.Second)
		if got := w.serial("test."); got != 1 {
			t.Fatalf("serial %d", got)
		}
		o.set(at(t, "test.", 2), nil)
		w.settle(3 * time.Hour)
		if got := w.serial("test."); got != 2 {
			t.Errorf("serial %d after the time to refresh", got)
		}
		w.stop()
		w.startWith(zones.Options{Store: kept})
		o.set(nil, errors.New("gone fishing"))
		w.load(source)
		if got := w.serial("test."); got != 2 {
			t.Errorf("serial %d after a restart", got)
		}
		w.settle(25 * time.Hour)
		if got := w.serial("test."); got != 0 {
			t.Errorf("serial %d after it has expired", got)
		}
		w.stop()
		synctest.Wait()
	})
}

// A signer that marks what it signs.
type marker struct {
	events *events
	fail   error
}

func (m *marker) Sign(_ context.Context, _ wire.Seed, _, plain *zone.Zone, _ []*zone.Delta) (*zones.Signed, error) {
	m.events.add("sign")
	return &zones.Signed{Zone: plain}, m.fail
}

func (*marker) Try(context.Context, wire.Seed, *zone.Zone, *zone.Zone) error { return nil }

func (m *marker) Same(zones.Signer) bool { return true }

// events are what happened, in order.
type events struct {
	mu   sync.Mutex
	list []string
	seen []string
}

func (e *events) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, what)
}

// once adds what was not added that way before.
func (e *events) once(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Contains(e.seen, what) {
		e.list, e.seen = append(e.list, what), append(e.seen, what)
	}
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}

// TestOnePipeline wants the same order of whatever gives a version: a file, an update, a
// primary, and a catalog. Nothing is written before it is signed, served before it is
// written, or announced before it is served.
func TestOnePipeline(t *testing.T) {
	p := newPrimary(at(t, "sec.test.", 1))
	kept := storetest.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		w, seen := &world{server: server{T: t}, primary: p}, &events{}
		dial := func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			if to.Addr() == netip.MustParseAddr("192.0.2.9") {
				seen.once(fmt.Sprintf("notify %d", w.highest())) // it is tried again and again
				return nil, errors.New("nobody")
			}
			return p.dial(ctx, network, to)
		}
		w.startWith(zones.Options{Store: kept, Client: transfer.Client{Dial: dial}})
		w.settle(0)
		sign := &marker{events: seen}
		follower := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}
		file := write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1))
		primary := zones.Source{Apex: dnstest.Name(t, "test."), File: file, Signer: sign, Updates: anything(t, "test."), Secondaries: follower, Insecure: true}
		second := secondary(t, "sec.test.")
		second.Signer, second.Notify = sign, follower
		cat := zones.Source{Apex: dnstest.Name(t, "cat.test."), Produces: true, Signer: sign, Notify: follower, Insecure: true}
		kept.Watch(func(call string) error {
			if call == "save" || call == "append" {
				seen.add(fmt.Sprintf("store beside %d", w.highest()))
			}
			return nil
		})
		wants := func(what string, want ...string) {
			t.Helper()
			w.settle(2 * time.Second)
			if got := seen.take(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		w.load(primary)
		wants("first load", "sign")
		w.update(1, wire.NoError)
		wants("first update", "sign", "store beside 1", "store beside 1", "notify 2")
		w.update(2, wire.NoError)
		wants("second update", "sign", "store beside 2", "notify 3")
		write(t, filepath.Dir(file), "test.zone", fmt.Sprintf(head, 7))
		w.load(primary)
		wants("file", "sign", "store beside 3", "notify 7")
		p.serve(at(t, "sec.test.", 20))
		w.load(primary, second)
		wants("first transfer", "sign", "store beside 7", "notify 20")
		p.serve(at(t, "sec.test.", 30))
		if err := w.manager.Refresh(second.Apex, false); err != nil {
			t.Fatal(err)
		}
		wants("transfer", "sign", "store beside 20", "notify 30")
		w.load(primary, second, cat)
		wants("first catalog", "sign", "store beside 30")
		before := w.highest()
		cat.Listed = []zones.Listed{{Apex: dnstest.Name(t, "member.test.")}}
		w.load(primary, second, cat)
		wants("catalog", "sign", fmt.Sprintf("store beside %d", before), fmt.Sprintf("notify %d", w.highest()))

		// Each step that fails ends it there, and nothing has changed.
		sign.fail = errors.New("no key")
		w.update(3, wire.ServFail)
		wants("signer fails", "sign")
		sign.fail = nil
		kept.Watch(func(string) error { return errors.New("disk full") })
		w.update(4, wire.ServFail)
		wants("store fails", "sign")
		if got := w.serial("test."); got != 7 {
			t.Errorf("serial %d after steps that failed", got)
		}
		w.stop()
		synctest.Wait()
	})
}

// highest returns the highest serial that is served of any zone.
func (s *server) highest() (serial uint32) {
	for e := range s.view.Load().All() {
		if z := e.Zone(); z != nil {
			serial = max(serial, z.Serial())
		}
	}
	return serial
}

// anything is the grant to change all of a zone with the key of the tests.
func anything(t testing.TB, name string) []policy.Grant {
	t.Helper()
	all, err := policy.ParsePattern("*", dnstest.Name(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return []policy.Grant{{Key: updater, Names: all}}
}

// TestNobodyWaitsForADisk holds one zone's store and wants everything else to go on: the
// status, transfers, EXPIRE, other zones, and the rights of the held zone itself.
func TestNobodyWaitsForADisk(t *testing.T) {
	kept := storetest.NewMemory()
	held, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, zones.Options{Store: kept})
	source := zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}, Updates: anything(t, "test.")}
	other := zones.Source{Apex: dnstest.Name(t, "other."), Origin: &memoryOrigin{zone: at(t, "other.", 5)}}
	s.load(source, other)
	kept.Watch(func(string) error {
		held <- struct{}{}
		<-release
		return nil
	})
	done := make(chan wire.Rcode)
	go func() { done <- s.change(addHost(1), updater) }()
	<-held
	if got := s.manager.Status(); len(got) != 2 || got[1].Serial != 1 || got[0].Serial != 5 {
		t.Errorf("status %+v", got)
	}
	e := s.view.Load().Get(dnstest.Name(t, "test."))
	if n, ok := e.Expire(time.Now()); !ok || n != 86400 {
		t.Errorf("EXPIRE %d %v", n, ok)
	}
	if !e.Access.Allows(policy.Update, policy.Peer{Key: updater, Signed: true}) {
		t.Error("the rights of the zone have gone")
	}
	msg := wire.AppendQuery(nil, 9, 0, e.Apex, wire.TypeAXFR)
	sent := 0
	s.manager.Transfer(&zones.Request{Entry: e, Zone: e.Zone(), Message: msg, Client: netip.MustParseAddrPort("192.0.2.1:53")}, func([]byte) error {
		sent++
		return nil
	})
	if sent == 0 {
		t.Error("no transfer")
	}
	if _, err := s.manager.Since(e.Apex, new(uint32)); err == nil {
		t.Error("there are changes since serial 0")
	}
	var text bytes.Buffer
	if err := s.manager.Export(e.Apex, &text); err != nil || !bytes.Contains(text.Bytes(), []byte("x1.test.")) {
		t.Errorf("export %v %q", err, text.Bytes())
	}
	if err := s.manager.Announce(dnstest.Name(t, "other.")); err == nil {
		t.Error("nobody follows the zone")
	}
	close(release)
	if _, ok := <-held; ok { // the append behind the save
		go func() {
			for range held {
			}
		}()
	}
	if rcode := <-done; rcode != wire.NoError || s.serial("test.") != 2 {
		t.Errorf("update %s, serial %d", rcode, s.serial("test."))
	}
}
