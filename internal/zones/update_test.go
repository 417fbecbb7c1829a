package zones_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/store/storetest"
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

// addText returns an update that adds a text to such a name.
func addText(n int) []byte {
	apex, label := []byte("\x04test\x00"), fmt.Sprintf("u%d", n)
	m := wire.AppendQuery(nil, uint16(n), uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	m = zone.AppendRecord(m, append(append([]byte{byte(len(label))}, label...), apex...), wire.TypeTXT, 60, []byte{1, 'x'})
	m[9] = 1
	return m
}

// newUpdated returns a manager of the zone test, with a file, that may be updated.
func newUpdated(t *testing.T) (s *server, source zones.Source, again func()) {
	dir := t.TempDir()
	apex := dnstest.Name(t, "test.")
	source = zones.Source{
		Apex: apex, File: write(t, dir, "test.zone", fmt.Sprintf(head, 1)), Insecure: true,
		Updates: anything(t, "test."), Secondaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")},
	}
	nobody := func(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, errors.New("nobody") }
	s = &server{T: t}
	again = func() {
		s.start(zones.Options{Store: store.Open(filepath.Join(dir, "state"), nil), Client: transfer.Client{Dial: nobody}})
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
		edit(3, 3, "is ignored until its serial is newer")
		edit(2, 3, "is ignored until its serial is newer")
		edit(9, 9, "updates made since the file was written are lost")
		if !restart {
			edit(10, 10, "") // nothing has changed since
		}
		if err := zones.SetFrozen(s.manager, source.Apex, true); err != nil {
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
		if err := zones.SetFrozen(s.manager, source.Apex, false); err != nil {
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
		if err := errors.Join(zones.SetFrozen(s.manager, source.Apex, true), s.manager.Sync(source.Apex)); err != nil {
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

// badUpdate returns an update of test. that makes a zone with a name below a DNAME record,
// which could not be served.
func badUpdate() []byte {
	apex := []byte("\x04test\x00")
	m := wire.AppendQuery(nil, 7, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	m = zone.AppendRecord(m, slices.Concat([]byte("\x02ns"), apex), wire.TypeDNAME, 60, apex)
	m = zone.AppendRecord(m, slices.Concat([]byte("\x05below\x02ns"), apex), wire.TypeA, 60, []byte{192, 0, 2, 8})
	m[9] = 2
	return m
}

// TestGrantsDecide sends updates that a grant does not cover, by key, name and type.
func TestGrantsDecide(t *testing.T) {
	dir := t.TempDir()
	apex := dnstest.Name(t, "test.")
	name, err := policy.ParsePattern("u1.test.", apex)
	if err != nil {
		t.Fatal(err)
	}
	source := zones.Source{
		Apex: apex, File: write(t, dir, "test.zone", fmt.Sprintf(head, 1)),
		Updates: []policy.Grant{
			{Key: updater, Names: name, Types: []wire.Type{wire.TypeA}},
			{Key: []byte("\x05other\x00"), Names: name, Types: []wire.Type{wire.TypeTXT}},
		},
	}
	s := newServer(t, zones.Options{})
	s.load(source)
	for _, c := range []struct {
		what string
		msg  []byte
		key  []byte
		want wire.Rcode
	}{
		{"another's key, and its types", addHost(1), []byte("\x05other\x00"), wire.Refused},
		{"a key without a grant", addHost(1), []byte("\x01x\x00"), wire.Refused},
		{"no key", addHost(1), nil, wire.Refused},
		{"another name", addHost(2), updater, wire.Refused},
		{"another type", addText(1), updater, wire.Refused},
		{"another's key, for its type", addText(1), []byte("\x05other\x00"), wire.NoError},
		{"what is granted", addHost(1), updater, wire.NoError},
	} {
		before := s.serial("test.")
		if got := s.change(c.msg, c.key); got != c.want || (s.serial("test.") != before) != (c.want == wire.NoError) {
			t.Errorf("%s: %s, serial %d after %d", c.what, got, s.serial("test."), before)
		}
	}
}

// TestSignedElsewhere wants no update of a zone that came with signatures: what is changed
// would have none.
func TestSignedElsewhere(t *testing.T) {
	signed := fmt.Sprintf(head, 1) + "@ DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n" +
		"@ RRSIG SOA 13 1 60 20300101000000 20200101000000 1 test. AAAA\n@ NSEC ns NS SOA RRSIG NSEC DNSKEY\n" +
		"@ RRSIG NSEC 13 1 60 20300101000000 20200101000000 1 test. AAAA\nns NSEC @ A RRSIG NSEC\n"
	source := zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, t.TempDir(), "test.zone", signed), Updates: anything(t, "test.")}
	s := newServer(t, zones.Options{})
	if r := s.load(source); len(r.Failed) > 0 || !s.manager.Status()[0].Signed {
		t.Fatalf("%+v", r)
	}
	s.update(1, wire.Refused)
	// Nor a plan, as the APIs and zone apply make them, nor any beside one that changes notes alone.
	key, owner := dnstest.Name(t, "test."), dnstest.Name(t, "www.test.")
	set := authority.Set{Owner: owner, Type: wire.TypeA, TTL: 60, Data: [][]byte{{192, 0, 2, 9}}}
	plan := func(sets ...authority.Set) zones.Plan {
		return func(now *authority.Updater, _ *zone.Notes) (zones.Changes, error) {
			c := zones.Changes{Sets: sets}
			if len(sets) == 0 {
				c.Notes, c.Serial = []zone.Note{{Key: "k", Value: "v"}}, now.Serial()
			}
			return c, nil
		}
	}
	if _, err := s.manager.Edit(key, "a test", plan(set)); err == nil || !strings.Contains(err.Error(), "signed elsewhere") {
		t.Errorf("a plan: %v", err)
	}
	if _, err := s.manager.DryRun(key, plan(set)); err == nil || !strings.Contains(err.Error(), "signed elsewhere") {
		t.Errorf("a trial: %v", err)
	}
	if e, err := s.manager.Edit(key, "a test", plan()); err != nil || e.Zone.Serial() != 1 || e.Zone.Notes().Get("k") != "v" {
		t.Errorf("notes: %v", err)
	}
}

// TestNothingLeftOutIsKept: in a zone that is not signed, a record goes whose signature somebody has put in the file:
// that goes as well, and all who follow are told so, here and after a restart.
func TestNothingLeftOutIsKept(t *testing.T) {
	s, source, again := newUpdated(t)
	write(t, filepath.Dir(source.File), "test.zone", fmt.Sprintf(head, 2)+
		"www 60 A 192.0.2.5\nwww 60 RRSIG A 13 2 60 20300101000000 20200101000000 1 test. AAAA\n")
	s.load(source)
	before := s.view.Load().Get(source.Apex).Zone()
	begin := wire.AppendQuery(nil, 1, uint16(wire.OpcodeUpdate)<<11, source.Apex, wire.TypeSOA)
	msg := appendChange(begin, dnstest.Name(t, "www.test."), wire.TypeA, wire.ClassANY, 0, nil)
	msg[9] = 1
	if rcode := s.change(msg, updater); rcode != wire.NoError {
		t.Fatal(rcode)
	}
	for _, when := range []string{"at once", "after a restart"} {
		deltas, err := s.manager.History(source.Apex)
		if err != nil || len(deltas) == 0 {
			t.Fatal(when, err)
		}
		if last := deltas[len(deltas)-1]; !strings.Contains(string(last.Removed), string(wire.AppendCanonical(nil, wire.TypeRRSIG, []byte{0, 1, 13, 2}))) {
			t.Errorf("%s: the signature is not in the difference", when)
		}
		serial := uint32(2)
		then, err := s.manager.At(source.Apex, zones.VersionRef{Serial: &serial})
		if err != nil || content(then) != content(before) {
			t.Errorf("%s: the version before cannot be made again: %v", when, err)
		}
		again()
	}
}

// TestLeftOutOfABatch has two updates wait for the same turn, of which one takes a signature along that is not in it: each has a
// difference of its own.
func TestLeftOutOfABatch(t *testing.T) {
	kept := storetest.NewMemory()
	held, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, zones.Options{Store: kept})
	file := write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)+
		"www 60 A 192.0.2.5\nwww 60 RRSIG A 13 2 60 20300101000000 20200101000000 1 test. AAAA\n")
	apex := dnstest.Name(t, "test.")
	s.load(zones.Source{Apex: apex, File: file, Updates: anything(t, "test.")})
	first := true
	kept.Watch(func(string) error {
		if first {
			first = false
			close(held)
			<-release
		}
		return nil
	})
	gone := appendChange(wire.AppendQuery(nil, 1, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA),
		dnstest.Name(t, "www.test."), wire.TypeA, wire.ClassANY, 0, nil)
	gone[9] = 1
	var all sync.WaitGroup
	all.Go(func() { s.change(addHost(0), updater) })
	<-held
	for _, msg := range [][]byte{gone, addHost(1)} {
		all.Go(func() {
			if rcode := s.change(msg, updater); rcode != wire.NoError {
				t.Error(rcode)
			}
		})
	}
	zones.AwaitWaiting(s.manager, apex, 2)
	close(release)
	all.Wait()
	if deltas, err := s.manager.History(apex); err != nil || len(deltas) != 3 {
		t.Errorf("%d differences, want 3: %v", len(deltas), err)
	}
}

// TestOneBadOfABatch has a good and a bad update wait for the same turn: the good one is
// carried out.
func TestOneBadOfABatch(t *testing.T) {
	kept := storetest.NewMemory()
	held, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, zones.Options{Store: kept})
	s.load(zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)), Updates: anything(t, "test.")})
	if rcode := s.change(badUpdate(), updater); rcode == wire.NoError {
		t.Fatal("the bad update is carried out")
	}
	first := true
	kept.Watch(func(string) error {
		if first {
			first = false
			close(held)
			<-release
		}
		return nil
	})
	var rcodes [4]wire.Rcode
	var all sync.WaitGroup
	all.Go(func() { rcodes[0] = s.change(addHost(0), updater) })
	<-held
	for i, msg := range [][]byte{addHost(1), badUpdate(), addHost(2)} {
		all.Go(func() { rcodes[1+i] = s.change(msg, updater) })
	}
	zones.AwaitWaiting(s.manager, dnstest.Name(t, "test."), 3)
	close(release)
	all.Wait()
	if rcodes[0] != wire.NoError || rcodes[1] != wire.NoError || rcodes[2] == wire.NoError || rcodes[3] != wire.NoError {
		t.Errorf("%v", rcodes)
	}
	for n := range 3 {
		var name wire.SplitName
		name.Set(dnstest.Name(t, fmt.Sprintf("u%d.test.", n)))
		if s.view.Load().Get(dnstest.Name(t, "test.")).Zone().Lookup(&name) == 0 {
			t.Errorf("update %d was acknowledged, and is not there", n)
		}
	}
}
