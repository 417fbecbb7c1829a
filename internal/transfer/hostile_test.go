package transfer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
)

var apex = []byte("\x07example\x04test\x00")

// bare appends a record without data, as UPDATE has them (RFC 2136, section 2.4).
func bare(msg, owner []byte, t wire.Type, c wire.Class) []byte {
	msg = append(msg, owner...)
	msg = binary.BigEndian.AppendUint16(msg, uint16(t))
	msg = binary.BigEndian.AppendUint16(msg, uint16(c))
	return append(msg, 0, 0, 0, 0, 0, 0)
}

// TestSOAWithoutData has SOA records of class ANY and NONE, which may be empty, where a
// serial is looked for.
func TestSOAWithoutData(t *testing.T) {
	for _, c := range []wire.Class{wire.ClassANY, wire.ClassNONE} {
		msg := bare(wire.AppendQuery(nil, 1, 0, apex, wire.TypeIXFR), apex, wire.TypeSOA, c)
		msg[9] = 1
		if r, err := transfer.ParseRequest(msg); err == nil {
			t.Errorf("class %s: a request with serial %d", c, r.Serial)
		}
		one := func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return dialReply(network, func(q []byte, t wire.Type) [][]byte {
				m := bare(wire.AppendQuery(nil, binary.BigEndian.Uint16(q), wire.FlagQR|wire.FlagAA, apex, t), apex, wire.TypeSOA, c)
				m[7] = 1
				return [][]byte{m}
			})
		}
		client := transfer.Client{Dial: one}
		if serial, _, err := client.Serial(t.Context(), transfer.Primary{}, apex); err == nil {
			t.Errorf("class %s: serial %d", c, serial)
		}
		if r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, version(t, 1, 1, ""), dnstest.Seed); err == nil {
			t.Errorf("class %s: %+v", c, r)
		}
	}
}

// dialReply answers one question over TCP with messages.
func dialReply(network string, reply func(query []byte, t wire.Type) [][]byte) (net.Conn, error) {
	if network != "tcp" {
		return nil, errors.New("no UDP here")
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		var length [2]byte
		if _, err := io.ReadFull(there, length[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(there, q); err != nil {
			return
		}
		var m wire.Message
		if m.Parse(q) != 0 {
			return
		}
		for _, msg := range reply(q, m.Type) {
			if _, err := there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
				return
			}
		}
	}()
	return here, nil
}

// TestNamesThatSwell has a transfer whose records are twenty times as large in memory as on
// the wire: what is in memory is bounded.
func TestNamesThatSwell(t *testing.T) {
	long := append([]byte(strings.Repeat("\x3f"+strings.Repeat("x", 63), 3)), apex...)
	dial := func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
		return dialReply(network, func(q []byte, typ wire.Type) [][]byte {
			var list [][]byte
			ttl, soa := version(t, 9, 1, "").SOA()
			for n := range 200 {
				m := wire.AppendQuery(nil, binary.BigEndian.Uint16(q), wire.FlagQR|wire.FlagAA, apex, typ)
				records := 0
				if n == 0 {
					m = zone.AppendRecord(m, apex, wire.TypeSOA, ttl, soa)
					records++
				}
				at := len(m)
				m = zone.AppendRecord(m, long, wire.TypeNS, 1, long)
				for records++; len(m) < 1000; records++ {
					m = append(m, 0xC0|byte(at>>8), byte(at), 0, byte(wire.TypeNS), 0, 1, 0, 0, 0, 1, 0, 4, 1, byte('a'+records%20), 0xC0|byte(at>>8), byte(at))
				}
				binary.BigEndian.PutUint16(m[6:], uint16(records))
				list = append(list, m)
			}
			return list
		})
	}
	c := transfer.Client{Dial: dial, Limits: transfer.Limits{Octets: 300_000}}
	if _, err := c.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed); !errors.Is(err, transfer.ErrTooLarge) || !strings.Contains(err.Error(), "uncompressed") {
		t.Error(err)
	}
}

// TestOlderVersion has a primary that says it has a newer version, and sends an older one
// whole.
func TestOlderVersion(t *testing.T) {
	p := &primary{t: t, zone: version(t, 3, 1, ""), noIXFR: true}
	if r, err := fetch(p, nil, version(t, 5, 1, ""), transfer.Limits{}); !errors.Is(err, transfer.ErrWrong) {
		t.Errorf("%+v %v", r, err)
	}
}

// FuzzFetch has a primary that sends anything.
func FuzzFetch(f *testing.F) {
	have := version(&testing.T{}, 5, 3, "")
	now := version(&testing.T{}, 6, 3, "more 60 MX 10 more\n")
	for _, d := range []*zone.Delta{nil, zone.Diff(have, now)} {
		request, err := transfer.ParseRequest(wire.AppendQuery(nil, 1, 0, apex, wire.TypeAXFR))
		if d != nil {
			msg := zone.AppendRecord(wire.AppendQuery(nil, 1, 0, apex, wire.TypeIXFR), apex, wire.TypeSOA, 1, d.Removed[len(apex)+10:len(apex)+10+int(binary.BigEndian.Uint16(d.Removed[len(apex)+8:]))])
			msg[9] = 1
			request, err = transfer.ParseRequest(msg)
		}
		if err != nil {
			f.Fatal(err)
		}
		_ = transfer.Send(request, transfer.Outgoing{Zone: now, History: func(uint32) []*zone.Delta { return []*zone.Delta{d} }}, func(m []byte) error {
			f.Add(m, d != nil)
			return nil
		})
	}
	f.Fuzz(func(t *testing.T, msg []byte, ixfr bool) {
		if len(msg) < wire.HeaderLen || len(msg) > wire.MaxMessage {
			return
		}
		dial := func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return dialReply(network, func(q []byte, _ wire.Type) [][]byte {
				copy(msg, q[:2])
				msg[2] |= 0x80
				return [][]byte{msg, msg}
			})
		}
		c := transfer.Client{Dial: dial, Limits: transfer.Limits{Idle: time.Second, Total: time.Second, Records: 1000, Octets: 1 << 20}}
		var old *zone.Zone
		if ixfr {
			old = have
		}
		r, err := c.Fetch(t.Context(), transfer.Primary{}, apex, old, dnstest.Seed)
		if err != nil || r.Zone == nil {
			return
		}
		// What was taken can be given on.
		request, err := transfer.ParseRequest(wire.AppendQuery(nil, 1, 0, apex, wire.TypeAXFR))
		if err != nil {
			t.Fatal(err)
		}
		if err := transfer.Send(request, transfer.Outgoing{Zone: r.Zone}, func([]byte) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}
