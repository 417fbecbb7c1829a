package app_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A liar is a primary that has a zone, and says something else of it in transfers.
type liar struct {
	t     *testing.T
	addr  netip.AddrPort
	zone  atomic.Pointer[zone.Zone]
	spoil atomic.Pointer[func(n int, msg []byte, send func([]byte) error) error] // of the n-th message; nil: sent as it is
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	l := &liar{t: t}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr = tcp.Addr().(*net.TCPAddr).AddrPort()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			l.serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		tcp.Close()
		<-done
	})
	return l
}

func (l *liar) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return
	}
	var m wire.Message
	context, _ := tsig.Verify(tsig.NewRing(xfr), msg, time.Now())
	if m.Parse(msg) != 0 || context == nil {
		return
	}
	z := l.zone.Load()
	send := func(r []byte) error {
		_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
		return err
	}
	if m.Type == wire.TypeSOA {
		ttl, soa := z.SOA()
		r := zone.AppendRecord(wire.AppendQuery(nil, m.ID, wire.FlagQR|wire.FlagAA, m.Name, m.Type), z.Apex(), wire.TypeSOA, ttl, soa)
		r[7] = 1
		_ = send(context.Sign(r, time.Now()))
		return
	}
	request, err := transfer.ParseRequest(msg)
	if err != nil {
		return
	}
	n := 0
	_ = transfer.Send(request, transfer.Outgoing{Zone: z, Stream: context.Stream()}, func(r []byte) error {
		n++
		if spoil := l.spoil.Load(); spoil != nil {
			return (*spoil)(n, slices.Clone(r), send)
		}
		return send(r)
	})
}

// TestLyingPrimary has a secondary follow a primary that lies, each way in turn: what it
// has keeps serving, and it says why. Then the primary is honest, and is followed.
func TestLyingPrimary(t *testing.T) {
	l := newLiar(t)
	text := func(serial, names int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "@ 60 SOA ns admin %d 7200 3600 86400 300\n@ 60 NS ns\nns 60 A 192.0.2.%d\n", serial, serial)
		for i := range names {
			fmt.Fprintf(&b, "h%d 60 TXT \"%s\"\n", i, strings.Repeat("x", 200))
		}
		return b.String()
	}
	version := func(serial int) *zone.Zone { return dnstest.Zone(t, "test.", text(serial, 1000)) }
	l.zone.Store(version(1))
	r := startZones(t, fmt.Sprintf("  - {name: test, primaries: [%q], tsig: xfr}\n", l.addr))
	said := func() string { return r.trouble("test.") }
	until(t, "the first version", said, func() bool { return r.serial("test.") == 1 })
	wrong := dnstest.Zone(t, "other.", strings.ReplaceAll(text(9, 1000), "test", "other"))
	serial := 1
	for _, s := range []struct {
		what, want string
		spoil      func(n int, msg []byte, send func([]byte) error) error
	}{
		{"a stream that ends early", "it ends after 1 messages", func(n int, msg []byte, send func([]byte) error) error {
			if n == 2 {
				return io.ErrClosedPipe
			}
			return send(msg)
		}},
		{"a signature that is wrong in the middle", "message 2: tsig: BADSIG", func(n int, msg []byte, send func([]byte) error) error {
			if n == 2 {
				msg[len(msg)-20] ^= 1
			}
			return send(msg)
		}},
		{"a record that was changed", "message 2: tsig: BADSIG", func(n int, msg []byte, send func([]byte) error) error {
			if n == 2 {
				msg[len(msg)/2] ^= 1
			}
			return send(msg)
		}},
		{"a stream without its beginning", "message 1 answers another question", func(n int, msg []byte, send func([]byte) error) error {
			if n == 1 {
				return nil
			}
			return send(msg)
		}},
		{"another zone", "another question", func(_ int, msg []byte, send func([]byte) error) error {
			ttl, soa := wrong.SOA()
			m := zone.AppendRecord(wire.AppendQuery(nil, binary.BigEndian.Uint16(msg), wire.FlagQR|wire.FlagAA, wrong.Apex(), wire.TypeAXFR), wrong.Apex(), wire.TypeSOA, ttl, soa)
			m[7] = 1
			return send(m)
		}},
		{"a stream without end", "BADSIG", func(_ int, msg []byte, send func([]byte) error) error {
			for {
				if err := send(msg); err != nil {
					return err
				}
			}
		}},
		{"nothing but noise", "not a reply to the query", func(_ int, msg []byte, send func([]byte) error) error {
			for i := range msg {
				msg[i] ^= 0x5A
			}
			return send(msg)
		}},
	} {
		serial++
		l.spoil.Store(&s.spoil)
		l.zone.Store(version(serial))
		if _, err := r.Zone("refresh", "test.", ""); err != nil {
			t.Fatal(err)
		}
		until(t, s.what, said, func() bool { return strings.Contains(said(), s.want) })
		if got := r.serial("test."); got != 1 {
			t.Fatalf("%s: serial %d is served", s.what, got)
		}
		r.want("ns.test. A", "192.0.2.1")
		// What comes next has not to be what came.
		l.spoil.Store(nil)
		l.zone.Store(version(1))
		if _, err := r.Zone("refresh", "test.", ""); err != nil {
			t.Fatal(err)
		}
		until(t, "peace after "+s.what, said, func() bool { return said() == "" })
	}
	l.zone.Store(version(99))
	if _, err := r.Zone("refresh", "test.", ""); err != nil {
		t.Fatal(err)
	}
	until(t, "the last version", said, func() bool { return r.serial("test.") == 99 })
}
