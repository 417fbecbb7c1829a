package zones_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// transfer asks for a zone from a client, and returns the messages that come. what may
// change the request.
func (s *server) transfer(name, client string, msg []byte, what func(r *zones.Request)) (replies [][]byte) {
	s.Helper()
	r := &zones.Request{Entry: s.view.Load().Get(dnstest.Name(s, name)), Message: msg, Client: netip.MustParseAddrPort(client)}
	if r.Entry == nil {
		r.Entry = &zone.Entry{Apex: dnstest.Name(s, name), Served: zone.NewServed(nil)}
	}
	r.Zone = r.Entry.Zone()
	if what != nil {
		what(r)
	}
	s.manager.Transfer(r, func(msg []byte) error {
		replies = append(replies, bytes.Clone(msg))
		return nil
	})
	return replies
}

// parsed reads a message.
func parsed(t testing.TB, msg []byte) *wire.Message {
	t.Helper()
	var m wire.Message
	if bad := m.Parse(msg); bad != 0 {
		t.Fatal(bad)
	}
	return &m
}

var transferKey = &tsig.Key{Name: []byte("\x01k\x00"), Algorithm: tsig.HMACSHA256, Secret: bytes.Repeat([]byte{7}, 32)}

// sign signs a request, and returns what the server knows of the signature.
func sign(t testing.TB, msg []byte) ([]byte, *tsig.Context, *tsig.Verifier) {
	t.Helper()
	signed, verifier := tsig.SignRequest(transferKey, bytes.Clone(msg), time.Now())
	c, rcode := tsig.Verify(tsig.NewRing(*transferKey), signed, time.Now())
	if rcode != wire.NoError {
		t.Fatal(rcode)
	}
	return signed, c, verifier
}

// TestTransferRefused asks for a zone in ways that get none: the reply has the question,
// the ID and the signature that it has to have (RFC 5936, section 2.2; RFC 8945, section 5.3).
func TestTransferRefused(t *testing.T) {
	s := newServer(t, zones.Options{})
	s.load(source(t, "test.", write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 1))), source(t, "broken.test.", "/none"))
	axfr := func(name string, typ wire.Type, flags uint16) []byte {
		return wire.AppendQuery(nil, 4711, flags, dnstest.Name(t, name), typ)
	}
	for _, c := range []struct {
		what, zone string
		msg        []byte
		want       wire.Rcode
	}{
		{"no transfer is asked for", "test.", axfr("test.", wire.TypeA, wire.FlagRD), wire.FormErr},
		{"IXFR without a serial (RFC 1995, section 3)", "test.", axfr("test.", wire.TypeIXFR, 0), wire.FormErr},
		{"a zone without a version", "broken.test.", axfr("broken.test.", wire.TypeAXFR, 0), wire.ServFail},
		{"a zone that has gone", "gone.test.", axfr("gone.test.", wire.TypeAXFR, wire.FlagRD), wire.ServFail},
	} {
		for _, signed := range []bool{false, true} {
			msg, verifier := c.msg, (*tsig.Verifier)(nil)
			var context *tsig.Context
			if signed {
				msg, context, verifier = sign(t, msg)
			}
			replies := s.transfer(c.zone, "192.0.2.1:53", msg, func(r *zones.Request) { r.Context = context })
			if len(replies) != 1 {
				t.Errorf("%s: %d messages", c.what, len(replies))
				continue
			}
			m, asked := parsed(t, replies[0]), parsed(t, msg)
			if m.ID != 4711 || m.Rcode != c.want || m.Flags&^15 != wire.FlagQR|asked.Flags&wire.FlagRD || !bytes.Equal(m.Name, asked.Name) || m.Type != asked.Type {
				t.Errorf("%s: %s, %+v", c.what, m.Rcode, m)
			}
			if verifier != nil {
				if err := verifier.Verify(replies[0], time.Now()); err != nil {
					t.Errorf("%s: %v", c.what, err)
				}
			}
		}
	}
	// A version that the manager does not have any more is not sent either.
	served := s.view.Load().Get(dnstest.Name(t, "test.")).Zone()
	replies := s.transfer("gone.test.", "192.0.2.1:53", axfr("gone.test.", wire.TypeAXFR, 0), func(r *zones.Request) { r.Zone = served })
	if len(replies) != 1 || parsed(t, replies[0]).Rcode != wire.ServFail {
		t.Errorf("of a zone that has gone: %d messages", len(replies))
	}
	if replies := s.transfer("test.", "192.0.2.1:53", []byte{1, 2, 3}, nil); len(replies) != 0 {
		t.Errorf("%d messages for three octets", len(replies))
	}
}

// TestTransferBounds asks for more transfers than there may be at the same time, in all and for
// one address: the others wait for their turn, and have it when one has ended.
func TestTransferBounds(t *testing.T) {
	many := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 53)
	}
	one := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1000+n))
	}
	for _, c := range []struct {
		what   string
		bounds zones.Bounds
		client func(n int) netip.AddrPort // of the n-th
		want   int
	}{
		{"in all", zones.Bounds{Out: 3, OutPeer: 9}, many, 3},
		{"to one address", zones.Bounds{Out: 9, OutPeer: 2}, one, 2},
		{"by default, in all", zones.Bounds{}, many, 32},
		{"by default, to one address", zones.Bounds{}, one, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOutgoing(t, c.bounds)
			total := 3 * c.want
			for n := range total {
				o.ask(c.client(n), 40*time.Millisecond)
			}
			for left := total; left > 0; left -= c.want {
				synctest.Wait()
				if got := o.under.Load(); got != int32(min(c.want, left)) {
					t.Errorf("%s: %d at the same time, want %d", c.what, got, min(c.want, left))
				}
				time.Sleep(40 * time.Millisecond)
			}
			o.done.Wait()
			if got := o.sent.Load(); got != int32(total) {
				t.Errorf("%s: %d of %d got the zone", c.what, got, total)
			}
		})
	}
}

// outgoing is a manager with a zone, and clients that take it.
type outgoing struct {
	*server
	entry       *zone.Entry
	under, sent atomic.Int32
	done        sync.WaitGroup
	text        *bytes.Buffer // of the log
}

func newOutgoing(t *testing.T, bounds zones.Bounds) *outgoing {
	o := &outgoing{}
	o.server, o.text = logged(t, zones.Options{Bounds: bounds})
	o.load(zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}})
	o.entry = o.view.Load().Get(dnstest.Name(t, "test."))
	return o
}

// ask has a client ask for the zone, and take so long to read it.
func (o *outgoing) ask(client netip.AddrPort, takes time.Duration) {
	axfr := wire.AppendQuery(nil, 1, 0, dnstest.Name(o, "test."), wire.TypeAXFR)
	o.done.Go(func() {
		o.manager.Transfer(&zones.Request{Entry: o.entry, Zone: o.entry.Zone(), Message: axfr, Client: client}, func(msg []byte) error {
			if parsed(o, msg).Rcode == wire.NoError {
				o.under.Add(1)
				time.Sleep(takes)
				o.under.Add(-1)
				o.sent.Add(1)
			}
			return nil
		})
	})
}

// TestSlowReaders has clients that take nothing: they hold up what their own address asks
// for, and nobody else.
func TestSlowReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutgoing(t, zones.Bounds{Out: 8, OutPeer: 2})
		for n := range 40 { // of 20 addresses
			o.ask(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n / 2)}), 53), time.Hour)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := o.under.Load(); got != 40 {
			t.Errorf("%d slow readers at the same time, and all could be", got)
		}
		began := time.Now()
		for range 100 {
			o.ask(netip.MustParseAddrPort("198.51.100.1:53"), time.Millisecond)
		}
		o.ask(netip.MustParseAddrPort("192.0.2.7:53"), time.Millisecond) // of whom two are under way already
		for o.sent.Load() < 100 && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("100 transfers to another took %v", took)
		}
		synctest.Wait()
		if got := o.under.Load(); got != 40 {
			t.Errorf("%d under way: a third of one address among them", got)
		}
		o.done.Wait()
		if got := o.sent.Load(); got != 140 { // the last has waited for too long
			t.Errorf("%d got the zone", got)
		}
	})
}

// TestTransferLine has more wait than may, of one address and in all: those are refused, and
// none that waits.
func TestTransferLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutgoing(t, zones.Bounds{Out: 1, OutPeer: 1})
		o.ask(netip.MustParseAddrPort("192.0.2.1:53"), 100*time.Millisecond)
		synctest.Wait()
		refused := func(client string) bool {
			replies := o.transfer("test.", client, wire.AppendQuery(nil, 1, 0, dnstest.Name(t, "test."), wire.TypeAXFR), nil)
			return len(replies) == 1 && parsed(t, replies[0]).Rcode == wire.ServFail
		}
		for range zones.MaxLinePeer {
			o.ask(netip.MustParseAddrPort("192.0.2.1:53"), time.Nanosecond)
		}
		synctest.Wait()
		if !refused("192.0.2.1:53") {
			t.Error("any number of one address may wait")
		}
		for range zones.MaxLine - zones.MaxLinePeer {
			o.ask(netip.MustParseAddrPort("192.0.2.2:53"), time.Nanosecond)
		}
		synctest.Wait()
		if !refused("192.0.2.3:53") {
			t.Error("any number may wait")
		}
		o.done.Wait()
		if !strings.Contains(o.text.String(), `msg="audit: transfer refused" zone=test. peer=192.0.2.3:53 reason="too many at the same time: `) {
			t.Errorf("the log has\n%.1000s", o.text.String())
		}
		if got := o.sent.Load(); got != zones.MaxLine+1 {
			t.Errorf("%d got the zone", got)
		}
	})
}

// TestTransferOverTime has a transfer of a version that is not the newest any more: what
// comes is that version, whole, since the differences lead to another one. Of the newest
// version the differences come (RFC 1995, section 4).
func TestTransferOverTime(t *testing.T) {
	s, source, _ := newUpdated(t)
	s.update(1, wire.NoError)
	old := s.view.Load().Get(source.Apex).Zone()
	s.update(2, wire.NoError)
	ixfr := wire.AppendQuery(nil, 1, 0, source.Apex, wire.TypeIXFR)
	ixfr = zone.AppendRecord(ixfr, source.Apex, wire.TypeSOA, 60, zone.WithSerial(soaOf(old), 1))
	ixfr[9] = 1
	for _, c := range []struct {
		zone   *zone.Zone
		last   uint32
		second wire.Type
	}{{old, 2, wire.TypeNS}, {s.view.Load().Get(source.Apex).Zone(), 3, wire.TypeSOA}} {
		replies := s.transfer("test.", "192.0.2.9:53", ixfr, func(r *zones.Request) { r.Zone = c.zone })
		m := parsed(t, replies[len(replies)-1])
		if last := m.Records[len(m.Records)-1]; last.Type != wire.TypeSOA || zone.SerialOf(last.Data) != c.last {
			t.Errorf("%v %v, want serial %d", last.Type, zone.SerialOf(last.Data), c.last)
		}
		if second := m.Records[1].Type; second != c.second {
			t.Errorf("serial %d: %s comes second, want %s", c.last, second, c.second)
		}
	}
}

func soaOf(z *zone.Zone) []byte {
	_, soa := z.SOA()
	return soa
}

// TestTransferSigned signs each message of a transfer (RFC 8945, section 5.3.1), and says in
// the first until when the zone may be served (RFC 7314, section 2).
func TestTransferSigned(t *testing.T) {
	s := newServer(t, zones.Options{})
	s.load(zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}})
	msg := wire.AppendQuery(nil, 1, 0, dnstest.Name(t, "test."), wire.TypeAXFR)
	msg = wire.AppendOPT(msg, 1232, false, []byte{0, wire.OptionExpire, 0, 0})
	msg[11] = 1
	msg, context, verifier := sign(t, msg)
	replies := s.transfer("test.", "192.0.2.1:53", msg, func(r *zones.Request) { r.Context = context })
	if len(replies) == 0 {
		t.Fatal("no reply")
	}
	for _, r := range replies {
		if err := verifier.Verify(r, time.Now()); err != nil {
			t.Error(err)
		}
	}
	if err := verifier.Done(); err != nil {
		t.Error(err)
	}
	if d, ok := parsed(t, replies[0]).Option(wire.OptionExpire); !ok || binary.BigEndian.Uint32(d) != 86400 {
		t.Errorf("EXPIRE %x %v", d, ok)
	}
}

// TestTransferOfAFormerZone has a request that came while a zone was served from a file, which
// is now fetched from primaries and has no version yet: what was served then is sent.
func TestTransferOfAFormerZone(t *testing.T) {
	s := newServer(t, zones.Options{})
	s.load(source(t, "test.", write(t, t.TempDir(), "test.zone", fmt.Sprintf(head, 7))))
	former := s.view.Load().Get(dnstest.Name(t, "test.")).Zone()
	s.load(secondary(t, "test."))
	ixfr := wire.AppendQuery(nil, 1, 0, former.Apex(), wire.TypeIXFR)
	ixfr = zone.AppendRecord(ixfr, former.Apex(), wire.TypeSOA, 60, zone.WithSerial(soaOf(former), 1))
	ixfr[9] = 1
	replies := s.transfer("test.", "192.0.2.9:53", ixfr, func(r *zones.Request) { r.Zone = former })
	if len(replies) != 1 || len(parsed(t, replies[0]).Records) != 4 {
		t.Errorf("%d messages", len(replies))
	}
}
