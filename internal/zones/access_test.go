package zones_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/store/storetest"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// TestAccessOfASource has what a zone's configuration lets whom do: transfers to secondaries
// and listed networks, signed if there is a key, NOTIFY from primaries, signed or not, and
// updates that the primaries judge where there are any.
func TestAccessOfASource(t *testing.T) {
	addr := func(text string) []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(text)} }
	net24 := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	peer := func(ip string, key []byte) policy.Peer {
		return policy.Peer{Addr: netip.MustParseAddr(ip), Key: key, Signed: key != nil}
	}
	other := []byte("\x05other\x00")
	base := zones.Source{Secondaries: addr("192.0.2.8:53"), Transfer: net24}
	keyed, open, second := base, base, zones.Source{Primaries: addr("[::ffff:192.0.2.1]:53"), AllowNotify: net24, Key: transferKey, Forward: true}
	keyed.Key, open.Insecure = transferKey, true
	forward := zones.Source{Forward: true}
	also, directed := keyed, base
	also.AlsoKeys, directed.TransferKeys, directed.TransferAlone = [][]byte{other}, [][]byte{other}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	own := keyed
	own.Secondaries = append(addr("192.0.2.7:53"), base.Secondaries...)
	own.Keys = map[netip.AddrPort]*tsig.Key{own.Secondaries[0]: {Name: other}}
	own.TransferBy = []policy.Rule{{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}, Key: other}}
	secondOwn := second
	secondOwn.Keys = map[netip.AddrPort]*tsig.Key{second.Primaries[0]: {Name: other}}
	secondAlso := second
	secondAlso.AlsoKeys = [][]byte{other}
	for _, c := range []struct {
		what   string
		source zones.Source
		op     policy.Op
		peer   policy.Peer
		want   bool
	}{
		{"neither key nor insecure", base, policy.Transfer, peer("192.0.2.8", nil), false},
		{"neither key nor insecure, signed", base, policy.Transfer, peer("192.0.2.8", updater), false},
		{"insecure, a secondary", open, policy.Transfer, peer("192.0.2.8", nil), true},
		{"insecure, a listed network", open, policy.Transfer, peer("198.51.100.9", nil), true},
		{"insecure, a stranger", open, policy.Transfer, peer("192.0.2.9", nil), false},
		{"a key", keyed, policy.Transfer, peer("192.0.2.8", updater), true},
		{"a key, unsigned", keyed, policy.Transfer, peer("192.0.2.8", nil), false},
		{"a key, another", keyed, policy.Transfer, peer("192.0.2.8", other), false},
		{"a key, a stranger", keyed, policy.Transfer, peer("192.0.2.9", updater), false},
		{"two keys, the first", also, policy.Transfer, peer("192.0.2.8", updater), true},
		{"two keys, the other", also, policy.Transfer, peer("192.0.2.8", other), true},
		{"two keys, a third", also, policy.Transfer, peer("192.0.2.8", []byte("\x05third\x00")), false},
		{"two keys, unsigned", also, policy.Transfer, peer("192.0.2.8", nil), false},
		{"two keys, a stranger", also, policy.Transfer, peer("192.0.2.9", other), false},
		{"a key from wherever", directed, policy.Transfer, peer("192.0.2.77", other), true},
		{"a key from wherever, IPv6", directed, policy.Transfer, peer("2001:db8::1", other), true},
		{"a key from wherever, another", directed, policy.Transfer, peer("192.0.2.77", updater), false},
		{"a key from wherever, unsigned", directed, policy.Transfer, peer("192.0.2.77", nil), false},
		{"a key from wherever, a secondary without one", directed, policy.Transfer, peer("192.0.2.8", nil), false},
		{"an address alone", directed, policy.Transfer, peer("203.0.113.5", nil), true},
		{"an address alone, another", directed, policy.Transfer, peer("203.0.114.5", nil), false},
		{"a server's own key", own, policy.Transfer, peer("192.0.2.7", other), true},
		{"a server's own key, with the zone's", own, policy.Transfer, peer("192.0.2.7", updater), false},
		{"a server's own key, unsigned", own, policy.Transfer, peer("192.0.2.7", nil), false},
		{"a server's own key, from another", own, policy.Transfer, peer("192.0.2.8", other), false},
		{"a server's own key, another with the zone's", own, policy.Transfer, peer("192.0.2.8", updater), true},
		{"an address and a key", own, policy.Transfer, peer("203.0.113.7", other), true},
		{"an address and a key, another key", own, policy.Transfer, peer("203.0.113.7", updater), false},
		{"an address and a key, another address", own, policy.Transfer, peer("203.0.113.8", other), false},
		{"NOTIFY by a server's own key", secondOwn, policy.Notify, peer("192.0.2.1", other), true},
		{"NOTIFY by a server's own key, another server", secondOwn, policy.Notify, peer("198.51.100.9", other), false},
		{"NOTIFY of a server with its own key, unsigned", secondOwn, policy.Notify, peer("192.0.2.1", nil), true},
		{"NOTIFY by the second key", secondAlso, policy.Notify, peer("192.0.2.1", other), true},
		{"NOTIFY by the second key, a stranger", secondAlso, policy.Notify, peer("192.0.2.9", other), false},
		{"NOTIFY to a primary", open, policy.Notify, peer("192.0.2.8", nil), false},
		{"NOTIFY of the primary", second, policy.Notify, peer("192.0.2.1", nil), true},
		{"NOTIFY of the primary, signed", second, policy.Notify, peer("192.0.2.1", updater), true},
		{"NOTIFY of the primary, signed by another key", second, policy.Notify, peer("192.0.2.1", other), false},
		{"NOTIFY of a listed network", second, policy.Notify, peer("198.51.100.9", nil), true},
		{"NOTIFY of a stranger", second, policy.Notify, peer("192.0.2.8", nil), false},
		{"an update for the primaries", second, policy.Update, peer("192.0.2.77", other), true},
		{"an update for primaries that are not there", forward, policy.Update, peer("192.0.2.77", other), false},
	} {
		c.source.Apex, c.source.Origin = dnstest.Name(t, "test."), &memoryOrigin{zone: at(t, "test.", 1)}
		s := newServer(t, zones.Options{})
		s.load(c.source)
		if got := s.view.Load().Get(c.source.Apex).Access.Allows(c.op, c.peer); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestSharedZonesHaveHistory replaces the file of zones that others have, and that nobody
// has: only for the first are the differences kept.
func TestSharedZonesHaveHistory(t *testing.T) {
	addr := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:53")}
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for what, c := range map[string]struct {
		source zones.Source
		want   int
	}{
		"nobody": {zones.Source{}, 0}, "secondaries": {zones.Source{Secondaries: addr}, 1}, "a network": {zones.Source{Transfer: networks}, 1},
		"a key": {zones.Source{TransferKeys: [][]byte{updater}}, 1}, "an address alone": {zones.Source{TransferAlone: networks}, 1},
		"notified": {zones.Source{Notify: addr}, 1}, "both": {zones.Source{Secondaries: addr, Transfer: networks}, 1},
	} {
		o := &memoryOrigin{zone: at(t, "test.", 1)}
		c.source.Apex, c.source.Origin, c.source.Insecure = dnstest.Name(t, "test."), o, true
		s := newServer(t, zones.Options{})
		s.load(c.source)
		o.set(at(t, "test.", 2), nil)
		s.load(c.source)
		if got := s.manager.Status()[0].History; got != c.want || s.problems() != "" {
			t.Errorf("%s: %d differences, want %d; problems %q", what, got, c.want, s.problems())
		}
		// A serial that falls back leads nowhere, and who has the zone does not follow.
		o.set(at(t, "test.", 1), nil)
		s.load(c.source)
		if st := s.manager.Status()[0]; st.History != 0 || s.serial("test.") != 1 || strings.Contains(s.problems(), "its serial did not") != (c.want > 0) {
			t.Errorf("%s: %d differences to an older serial; problems %q", what, st.History, s.problems())
		}
	}
}

// TestTransferBrokenOff has a client that goes away: the log says so, and not that the zone
// was sent.
func TestTransferBrokenOff(t *testing.T) {
	s, log := logged(t, zones.Options{})
	s.load(zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}})
	e := s.view.Load().Get(dnstest.Name(t, "test."))
	send := func(err error) {
		log.Reset()
		r := &zones.Request{Entry: e, Zone: e.Zone(), Message: wire.AppendQuery(nil, 1, 0, e.Apex, wire.TypeAXFR), Client: netip.MustParseAddrPort("192.0.2.1:53")}
		s.manager.Transfer(r, func([]byte) error { return err })
	}
	if send(errors.New("gone")); !strings.Contains(log.String(), `msg="audit: transfer failed" zone=test. what=AXFR peer=192.0.2.1:53 serial=1`) || !strings.Contains(log.String(), `reason="broken off: gone`) {
		t.Errorf("the log has\n%s", log.String())
	}
	if send(nil); !strings.Contains(log.String(), `msg="audit: transfer accepted" zone=test. what=AXFR peer=192.0.2.1:53 serial=1 octets=`) || strings.Contains(log.String(), "broken off") {
		t.Errorf("the log has\n%s", log.String())
	}
}

// TestWhoAnnouncesIsAsked has a zone of two primaries: after NOTIFY the one that sent it is
// asked first, and otherwise the one that answered last (RFC 1996, section 3.11).
func TestWhoAnnouncesIsAsked(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	one, two := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[::ffff:192.0.2.2]:53")
	inWorld(t, p, func(w *world) {
		w.stop()
		var asked []netip.Addr
		w.startWith(zones.Options{Store: w.dir, Client: transfer.Client{Dial: func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			if network == "tcp" {
				asked = append(asked, to.Addr().Unmap())
			}
			return p.dial(ctx, network, to)
		}}})
		s := secondary(t, "a.test.")
		s.Primaries = []netip.AddrPort{one, two}
		w.load(s)
		w.settle(time.Minute)
		first := func() netip.Addr {
			w.settle(time.Minute)
			if len(asked) == 0 {
				t.Fatal("nobody was asked")
			}
			a := asked[0]
			asked = nil
			return a
		}
		if got := first(); got != one.Addr() {
			t.Errorf("%s is asked at first", got)
		}
		notify := func(from netip.Addr) {
			w.manager.Notify(&zones.Request{Entry: w.view.Load().Get(s.Apex), Client: netip.AddrPortFrom(from, 1024)})
		}
		if notify(two.Addr().Unmap()); first() != two.Addr().Unmap() {
			t.Error("who announced was not asked first")
		}
		if err := w.manager.Refresh(s.Apex, false); err != nil || first() != two.Addr().Unmap() {
			t.Errorf("who answered last is not asked first: %v", err)
		}
		if notify(netip.MustParseAddr("192.0.2.77")); first() != two.Addr().Unmap() {
			t.Error("a stranger's word changes who is asked")
		}
		if notify(one.Addr()); first() != one.Addr() {
			t.Error("who announced was not asked first")
		}
	})
}

// TestRefreshFails has primaries' versions that cannot be written down, and an origin that
// has nothing to serve: the status says why, and it is tried again.
func TestRefreshFails(t *testing.T) {
	kept := storetest.NewMemory()
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		w.stop()
		w.startWith(zones.Options{Store: kept, Client: transfer.Client{Dial: p.dial}})
		full := errors.New("disk full")
		kept.Watch(func(call string) error {
			if call == "load" {
				return nil
			}
			return full
		})
		w.load(secondary(t, "a.test."), zones.Source{Apex: dnstest.Name(t, "b.test."), Origin: &emptyOrigin{}})
		w.settle(time.Minute)
		st := w.manager.Status()
		if !st[0].Serving || st[0].NotStored != "disk full" || st[0].LastError != "" || w.serial("a.test.") != 1 {
			t.Errorf("serial %d, %q", w.serial("a.test."), st[0].NotStored)
		}
		if st[1].Serving || st[1].LastError != "the zone is not loaded" {
			t.Errorf("%q", st[1].LastError)
		}
		var calls []string
		kept.Watch(func(call string) error { calls = append(calls, call); return nil })
		w.settle(10 * time.Minute)
		if st := w.manager.Status()[0]; w.serial("a.test.") != 1 || st.LastError != "" || !st.Expires.Equal(st.Checked.Add(24*time.Hour)) {
			t.Errorf("once there is room: serial %d, %+v", w.serial("a.test."), st)
		}
		// The whole zone is saved, and what leads on from there appended.
		p.serve(at(t, "a.test.", 2))
		if err := w.manager.Refresh(dnstest.Name(t, "a.test."), true); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		two := w.view.Load().Get(dnstest.Name(t, "a.test.")).Zone()
		three := at(t, "a.test.", 3)
		p.serve(three)
		p.with(func() { p.history = func(uint32) []*zone.Delta { return []*zone.Delta{zone.Diff(two, three)} } })
		if err := w.manager.Refresh(dnstest.Name(t, "a.test."), false); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		calls = slices.DeleteFunc(calls, func(c string) bool { return c == "setmeta" })
		if want := []string{"save", "save", "append"}; !slices.Equal(calls, want) {
			t.Errorf("%q, want %q", calls, want)
		}
	})
}

// An emptyOrigin is polled, and has nothing that could be served.
type emptyOrigin struct{}

func (*emptyOrigin) Candidate(context.Context, zones.Known) (*zones.Candidate, error) {
	return &zones.Candidate{Problems: []zones.Problem{{Text: "broken"}}}, nil
}
func (*emptyOrigin) Continues(zones.Origin) bool { return true }
func (*emptyOrigin) Traits() zones.Traits        { return zones.Traits{Polled: true, Kept: true} }

// TestPolledButNotKept restores a polled zone whose versions are not kept any more: what is
// there is served until it expires.
func TestPolledButNotKept(t *testing.T) {
	kept := storetest.NewMemory()
	apex := dnstest.Name(t, "test.")
	if err := kept.Save(apex, at(t, "test.", 7)); err != nil {
		t.Fatal(err)
	}
	inWorld(t, newPrimary(), func(w *world) {
		w.stop()
		if err := kept.SetMeta(apex, store.Meta{Checked: time.Now(), Expire: time.Hour}); err != nil {
			t.Fatal(err)
		}
		w.startWith(zones.Options{Store: kept})
		w.load(zones.Source{Apex: apex, Origin: &memoryOrigin{err: errors.New("gone fishing"), traits: zones.Traits{Polled: true}}})
		if got := w.serial("test."); got != 7 {
			t.Errorf("serial %d", got)
		}
	})
}

// TestSerialFallsBack gives a zone that others have a lower serial in its file, and a rising
// one later: what the file has is known, and no change is said to be lost.
func TestSerialFallsBack(t *testing.T) {
	s, source, _ := newUpdated(t)
	edit := func(serial int) {
		write(t, strings.TrimSuffix(source.File, "/test.zone"), "test.zone", string(bytes.ReplaceAll([]byte(head), []byte("%d"), []byte{byte('0' + serial)})))
		s.load(source)
	}
	edit(5)
	edit(3)
	if !strings.Contains(s.problems(), "its serial did not") || s.serial("test.") != 3 {
		t.Errorf("serial %d, problems %q", s.serial("test."), s.problems())
	}
	if err := zones.SetFrozen(s.manager, source.Apex, true); err != nil {
		t.Fatal(err)
	}
	if edit(4); s.problems() != "" || s.serial("test.") != 4 {
		t.Errorf("serial %d, problems %q", s.serial("test."), s.problems())
	}
}

// TestNextPrimary has a primary whose version is not what its digest says: the next one is
// asked, and what that has is served (RFC 8976, section 4).
func TestNextPrimary(t *testing.T) {
	bad := newPrimary(dnstest.Zone(t, "a.test.", "@ 60 SOA ns admin 1 7200 3600 86400 300\n@ 60 NS ns\n@ 60 ZONEMD 1 1 1 "+strings.Repeat("00", 48)+"\n"))
	good := newPrimary(at(t, "a.test.", 1))
	inWorld(t, good, func(w *world) {
		w.stop()
		w.startWith(zones.Options{Client: transfer.Client{Dial: func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			if to.Addr() == netip.MustParseAddr("192.0.2.1") {
				return bad.dial(ctx, network, to)
			}
			return good.dial(ctx, network, to)
		}}})
		s := secondary(t, "a.test.")
		s.Primaries = append(s.Primaries, netip.MustParseAddrPort("192.0.2.2:53"))
		w.load(s)
		w.settle(time.Second)
		z := w.view.Load().Get(s.Apex).Zone()
		if z == nil || z.Records() != 4 || len(bad.asked) == 0 || len(good.asked) == 0 {
			t.Errorf("%v is served, %q", z, w.manager.Status()[0].LastError)
		}
	})
}

// TestCatalogThatCannotBe makes a catalog whose name leaves no room for those of its members.
func TestCatalogThatCannotBe(t *testing.T) {
	s := newServer(t, zones.Options{})
	cat := zones.Source{Apex: dnstest.Name(t, strings.Repeat("x.", 120)), Produces: true, Insecure: true, Listed: []zones.Listed{{Apex: dnstest.Name(t, "a.test.")}}}
	if r := s.load(cat); len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Problems[0].Text, "the catalog cannot be made") {
		t.Errorf("%+v", r)
	}
	cat.Listed = nil
	if r := s.load(cat); len(r.Failed) != 0 || r.Loaded != 1 {
		t.Errorf("without members: %+v", r)
	}
}

// TestExpireCountsDown asks for how long a secondary zone may be served (RFC 7314, section
// 2): the time since its primary answered last is taken off, and a refresh gives it back.
func TestExpireCountsDown(t *testing.T) {
	p := newPrimary(at(t, "a.test.", 1))
	inWorld(t, p, func(w *world) {
		w.load(secondary(t, "a.test."))
		w.settle(time.Second)
		wants := func(what string, from, to uint32) {
			t.Helper()
			if left, ok := w.view.Load().Get(dnstest.Name(t, "a.test.")).Expire(time.Now()); !ok || left < from || left > to {
				t.Errorf("%s: %d s, want %d to %d", what, left, from, to)
			}
		}
		wants("fetched", 86399, 86400)
		p.with(func() { p.silent = true })
		w.settle(3 * time.Hour)
		wants("the primary is gone", 86400-3*3600-1, 86400-3*3600)
		p.with(func() { p.silent = false })
		if err := w.manager.Refresh(dnstest.Name(t, "a.test."), false); err != nil {
			t.Fatal(err)
		}
		w.settle(0)
		wants("the primary is back", 86400, 86400)
	})
}
