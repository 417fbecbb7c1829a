package zones_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
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

// TestTransferBounds has transfers within transfers: as many at one time as are allowed, in
// all and for one address, and one more; and again when they have ended.
func TestTransferBounds(t *testing.T) {
	axfr := wire.AppendQuery(nil, 1, 0, dnstest.Name(t, "test."), wire.TypeAXFR)
	for _, c := range []struct {
		what   string
		bounds zones.Bounds
		client func(n int) netip.AddrPort // of the n-th
		want   int
	}{
		{"in all", zones.Bounds{Out: 3, OutPeer: 9}, func(n int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 53)
		}, 3},
		{"to one address", zones.Bounds{Out: 9, OutPeer: 2}, func(n int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1000+n))
		}, 2},
		{"by default, in all", zones.Bounds{}, func(n int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 53)
		}, 32},
		{"by default, to one address", zones.Bounds{}, func(int) netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:53") }, 4},
	} {
		s, log := logged(t, zones.Options{Bounds: c.bounds})
		s.load(zones.Source{Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}})
		e := s.view.Load().Get(dnstest.Name(t, "test."))
		for round := range 2 {
			sent := 0
			var next func()
			next = func() {
				r := &zones.Request{Entry: e, Zone: e.Zone(), Message: axfr, Client: c.client(sent)}
				s.manager.Transfer(r, func(msg []byte) error {
					if parsed(t, msg).Rcode == wire.NoError {
						sent++
						next()
					}
					return nil
				})
			}
			next()
			if sent != c.want {
				t.Errorf("%s, round %d: %d at one time, want %d", c.what, round, sent, c.want)
			}
			if !strings.Contains(log.String(), `msg="zone transfer refused: too many at one time" zone=test. peer=192.0.2.`) {
				t.Errorf("%s: the log has\n%s", c.what, log.String())
			}
			log.Reset()
		}
	}
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
