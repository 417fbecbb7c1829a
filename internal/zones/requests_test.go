package zones_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/policy"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// TestSignedTwice sends a signed update again: whoever had no reply gets that of the first,
// and somebody else none (RFC 8945, section 5.2.3). It is carried out once.
func TestSignedTwice(t *testing.T) {
	s := newServer(t, zones.Options{})
	s.load(zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)), Updates: anything(t, "test.")})
	send := func(msg []byte, client string, udp bool) (wire.Rcode, *tsig.Context) {
		t.Helper()
		c, rcode := tsig.Verify(tsig.NewRing(*transferKey), msg, time.Now())
		if rcode != wire.NoError {
			t.Fatal(rcode)
		}
		rcode, reply := s.manager.Update(&zones.Request{
			Entry: s.view.Load().Get(dnstest.Name(t, "test.")), Message: msg, Client: netip.MustParseAddrPort(client),
			Key: c.Key.Name, Context: c, UDP: udp,
		})
		if reply != nil {
			t.Errorf("a reply that nobody forwarded: %x", reply)
		}
		return rcode, c
	}
	good, _, _ := sign(t, addHost(1))
	bad, _, _ := sign(t, badUpdate())
	for _, msg := range [][]byte{good, bad} {
		first, _ := send(msg, "192.0.2.1:1024", true)
		if first == wire.NoError != (&msg[0] == &good[0]) {
			t.Errorf("the first: %s", first)
		}
		if again, c := send(msg, "192.0.2.1:1024", true); again != first || c.Error != 0 {
			t.Errorf("the same client again: %s, want %s", again, first)
		}
		for client, udp := range map[string]bool{"192.0.2.1:1025": true, "192.0.2.2:1024": true, "192.0.2.1:1024": false} {
			if again, c := send(msg, client, udp); again != wire.NotAuth || c.Error != wire.BadTime {
				t.Errorf("%s, UDP %v: %s, TSIG %s", client, udp, again, c.Error)
			}
		}
	}
	if got := s.serial("test."); got != 2 {
		t.Errorf("serial %d, want one change", got)
	}
}

// TestUpdatesNotHere has updates that cannot be carried out, each for a reason of its own
// (RFC 2136, sections 2.2 and 3.1).
func TestUpdatesNotHere(t *testing.T) {
	s := newServer(t, zones.Options{})
	polled := secondary(t, "sec.test.")
	polled.Updates = anything(t, "sec.test.")
	s.load(zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)), Updates: anything(t, "test.")},
		zones.Source{Apex: dnstest.Name(t, "broken.test."), File: "/none", Updates: anything(t, "broken.test.")}, polled)
	soa := func(name string) []byte {
		return wire.AppendQuery(nil, 1, uint16(wire.OpcodeUpdate)<<11, dnstest.Name(t, name), wire.TypeSOA)
	}
	for _, c := range []struct {
		what, zone string
		msg        []byte
		want       wire.Rcode
	}{
		{"no message", "test.", []byte{0, 1, 0x28}, wire.FormErr},
		{"a zone that has gone", "gone.test.", soa("gone.test."), wire.NotAuth},
		{"a zone without a version", "broken.test.", soa("broken.test."), wire.NotAuth},
		{"a secondary zone", "sec.test.", soa("sec.test."), wire.NotAuth},
		{"nothing is wrong", "test.", soa("test."), wire.NoError},
	} {
		e := s.view.Load().Get(dnstest.Name(t, c.zone))
		if e == nil {
			e = &zone.Entry{Apex: dnstest.Name(t, c.zone), Access: &policy.Access{}}
		}
		if got, _ := s.manager.Update(&zones.Request{Entry: e, Message: c.msg, Key: updater}); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// TestSecondaryTakesNoUpdates has an update of a secondary zone that is served, whose
// primaries do not judge: it is not authoritative for changes.
func TestSecondaryTakesNoUpdates(t *testing.T) {
	p := newPrimary(at(t, "test.", 1))
	inWorld(t, p, func(w *world) {
		s := secondary(t, "test.")
		s.Updates = anything(t, "test.")
		w.load(s)
		w.settle(time.Second)
		if w.update(1, wire.NotAuth); w.serial("test.") != 1 {
			t.Errorf("serial %d", w.serial("test."))
		}
	})
}

// A faulty signer has a fault of ours when it signs.
type faulty struct{ fault bool }

func (f *faulty) Sign(_ context.Context, _ wire.Seed, _, plain *zone.Zone, _ []*zone.Delta) (*zones.Signed, error) {
	if f.fault {
		panic("a fault")
	}
	return &zones.Signed{Zone: plain}, nil
}

func (*faulty) Try(context.Context, wire.Seed, *zone.Zone, *zone.Zone) error { return nil }

func (f *faulty) Same(zones.Signer) bool { return true }

// TestFaultIsContained has a fault in the middle of an update: it is refused, said in the
// log, and nothing has changed. The zone goes on.
func TestFaultIsContained(t *testing.T) {
	var log lockedBuffer
	s := &server{T: t, log: slog.New(slog.NewTextHandler(&log, nil))}
	s.start(zones.Options{})
	f := &faulty{}
	s.load(zones.Source{Apex: dnstest.Name(t, "test."), File: write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1)), Updates: anything(t, "test."), Signer: f})
	f.fault = true
	if s.update(1, wire.ServFail); s.serial("test.") != 1 {
		t.Errorf("serial %d after a fault", s.serial("test."))
	}
	for _, want := range []string{`level=ERROR msg="internal error: please report it" zone=test. fault="a fault"`, "stack=", `msg="audit: update failed" zone=test. key=k.`, `reason="internal error, which the log has"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has\n%s\nwant %s", log.String(), want)
		}
	}
	f.fault = false
	if s.update(1, wire.NoError); s.serial("test.") != 2 {
		t.Errorf("serial %d after the fault", s.serial("test."))
	}
}

// forwarded is a secondary zone whose primaries judge updates.
func forwarded(t *testing.T) zones.Source {
	s := secondary(t, "test.")
	s.Forward = true
	s.Primaries = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53")}
	return s
}

// TestForwarding gives an update to the primaries, in their order until one has it: the
// message goes as it came, and so does the reply (RFC 2136, section 6).
func TestForwarding(t *testing.T) {
	var asked []string
	var got []byte
	answers := true
	dial := func(_ context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		asked = append(asked, network+" "+to.Addr().String())
		if to.Addr() != netip.MustParseAddr("192.0.2.2") || !answers {
			return nil, errors.New("connection refused")
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			got = readFrame(there)
			reply := bytes.Clone(got)
			reply[2] |= 0x80
			reply[3] = byte(wire.NXDomain)
			_, _ = there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
		}()
		return here, nil
	}
	s := newServer(t, zones.Options{Client: transfer.Client{Dial: dial}})
	s.load(forwarded(t))
	msg, _, _ := sign(t, addHost(1))
	r := &zones.Request{Entry: s.view.Load().Get(dnstest.Name(t, "test.")), Message: msg, Client: netip.MustParseAddrPort("192.0.2.9:53")}
	rcode, reply := s.manager.Update(r)
	if rcode != wire.NoError || !bytes.Equal(got, msg) || len(reply) != len(msg) || reply[3] != byte(wire.NXDomain) || !bytes.Equal(reply[4:], msg[4:]) {
		t.Errorf("%s, sent %x, reply %x", rcode, got, reply)
	}
	if want := []string{"tcp 192.0.2.1", "tcp 192.0.2.2"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	answers, asked = false, nil
	if rcode, reply := s.manager.Update(r); rcode != wire.ServFail || reply != nil || len(asked) != 3 {
		t.Errorf("nobody answers: %s %x, asked %q", rcode, reply, asked)
	}
	r.Entry = &zone.Entry{Apex: dnstest.Name(t, "gone.test."), Access: r.Entry.Access}
	if rcode, reply := s.manager.Update(r); rcode != wire.ServFail || reply != nil || len(asked) != 3 {
		t.Errorf("the zone has gone: %s %x, asked %q", rcode, reply, asked)
	}
}

// readFrame reads a message as TCP has it.
func readFrame(conn net.Conn) []byte {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return nil
	}
	return msg
}

// TestForwardingBounds has primaries that never answer: as many updates of a client wait as
// are allowed, one more is refused at once, and nobody waits longer than a client does.
func TestForwardingBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(ctx context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s := newServer(t, zones.Options{Client: transfer.Client{Dial: silent}})
		source := forwarded(t)
		source.Primaries = source.Primaries[:1]
		s.load(source)
		start := time.Now()
		var mu sync.Mutex
		took := map[time.Duration]int{}
		send := func(client string) {
			r := &zones.Request{Entry: s.view.Load().Get(dnstest.Name(t, "test.")), Message: addHost(1), Client: netip.MustParseAddrPort(client)}
			if rcode, _ := s.manager.Update(r); rcode != wire.ServFail {
				t.Errorf("%s: %s", client, rcode)
			}
			mu.Lock()
			defer mu.Unlock()
			took[time.Since(start)]++
		}
		var all sync.WaitGroup
		for n := range 6 {
			all.Go(func() { send(fmt.Sprintf("192.0.2.1:%d", 1024+n)) })
		}
		all.Go(func() { send("192.0.2.2:1024") })
		all.Wait()
		if took[0] != 2 || len(took) != 2 {
			t.Errorf("%v, want 2 of 6 refused at once, and the others together", took)
		}
		for d := range took {
			if d > 10*time.Second {
				t.Errorf("one waited for %v", d)
			}
		}
		took = map[time.Duration]int{}
		start = time.Now()
		if send("192.0.2.1:1024"); took[0] != 0 {
			t.Error("there is no room when all have ended")
		}
	})
}

// TestSerials has the serials that follow others by date and by the clock, on 2000-01-01:
// a serial never falls back (RFC 1982).
func TestSerials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := uint32(time.Now().Unix())
		for _, c := range []struct {
			what      string
			next      func(uint32) uint32
			have, got uint32
		}{
			{"by date, from 1", zones.Date, 1, 2000010100},
			{"by date, from yesterday", zones.Date, 1999123199, 2000010100},
			{"by date, again today", zones.Date, 2000010100, 2000010101},
			{"by date, ahead", zones.Date, 2000010200, 2000010201},
			{"by the clock, from 1", zones.UnixTime, 1, now},
			{"by the clock, in the same second", zones.UnixTime, now, now + 1},
			{"by the clock, ahead", zones.UnixTime, now + 9, now + 10},
		} {
			if got := c.next(c.have); got != c.got {
				t.Errorf("%s: %d, want %d", c.what, got, c.got)
			}
		}
	})
}
