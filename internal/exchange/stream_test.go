package exchange_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// pipe returns a stream and the other end of its connection. It is for bubbles.
func pipe(t *testing.T) (*exchange.Stream, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	s := exchange.NewStream(here)
	t.Cleanup(func() { s.Close(); there.Close() })
	return s, there
}

// send writes octets piece by piece, as a network does, and hangs up if it is told to.
func send(c net.Conn, hangUp bool, pieces ...[]byte) {
	for _, p := range pieces {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
	if hangUp {
		c.Close()
	}
}

// later returns a time long enough away.
func later() time.Time { return time.Now().Add(10 * time.Second) }

// TestNext reads messages that come in pieces, and refuses lengths that cannot be.
func TestNext(t *testing.T) {
	q := query(0)
	long := reply(q, func(m []byte) []byte { return append(m, make([]byte, wire.MaxMessage-len(m))...) })
	for _, c := range []struct {
		what   string
		pieces [][]byte
		limit  int64
		want   [][]byte // messages, and then the error
		err    error
	}{
		{"two in one piece", [][]byte{exchange.AppendFrame(exchange.AppendFrame(nil, q), long)}, 0, [][]byte{q, long}, io.EOF},
		{"one octet at a time", bytes.SplitAfter(exchange.AppendFrame(nil, q), nil), 0, [][]byte{q}, io.EOF},
		{"the end within a length", [][]byte{{0}}, 0, nil, io.ErrUnexpectedEOF},
		{"the end behind a length", [][]byte{{0, 20}}, 0, nil, io.ErrUnexpectedEOF},
		{"the end within a message", [][]byte{exchange.AppendFrame(nil, q), exchange.AppendFrame(nil, q)[:20]}, 0, [][]byte{q}, io.ErrUnexpectedEOF},
		{"the shortest message", [][]byte{exchange.AppendFrame(nil, q[:12])}, 0, [][]byte{q[:12]}, io.EOF},
		{"one too short", [][]byte{exchange.AppendFrame(nil, q[:11]), exchange.AppendFrame(nil, q)}, 0, nil, exchange.ErrShort},
		{"a length of zero", [][]byte{{0, 0}}, 0, nil, exchange.ErrShort},
		{"as much as may come", [][]byte{exchange.AppendFrame(nil, q), exchange.AppendFrame(nil, q)}, 2 * (2 + 26), [][]byte{q, q}, io.EOF},
		{"an octet more", [][]byte{exchange.AppendFrame(nil, q), exchange.AppendFrame(nil, q)}, 2*(2+26) - 1, [][]byte{q}, exchange.ErrTooLarge},
		// What is too large is not waited for.
		{"too much announced", [][]byte{exchange.AppendFrame(nil, q), {0xFF, 0xFF}}, 1000, [][]byte{q}, exchange.ErrTooLarge},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, there := pipe(t)
			s.Limit = c.limit
			go send(there, !errors.Is(c.err, exchange.ErrTooLarge), c.pieces...)
			octets := int64(0)
			for i, want := range c.want {
				got, err := s.Next(t.Context(), later())
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: message %d has %d octets: %v", c.what, i, len(got), err)
				}
				octets += 2 + int64(len(want))
			}
			if s.Messages != len(c.want) || s.Counts.Octets != octets {
				t.Errorf("%s: %d messages of %d octets, want %d of %d", c.what, s.Messages, s.Counts.Octets, len(c.want), octets)
			}
			if msg, err := s.Next(t.Context(), later()); !errors.Is(err, c.err) {
				t.Errorf("%s: %d octets, %v, want %v", c.what, len(msg), err, c.err)
			}
		})
	}
}

// TestReadMessage reads from any reader, as a server does.
func TestReadMessage(t *testing.T) {
	q := query(0)
	in := bytes.NewReader(append(exchange.AppendFrame(exchange.AppendFrame(nil, q), q[:12]), 0, 11))
	first, err := exchange.ReadMessage(in)
	if err != nil || !bytes.Equal(first, q) {
		t.Errorf("%x: %v", first, err)
	}
	if second, err := exchange.ReadMessage(in); err != nil || !bytes.Equal(second, q[:12]) || !bytes.Equal(first, q) {
		t.Errorf("%x, and before %x: %v", second, first, err)
	}
	if _, err := exchange.ReadMessage(in); !errors.Is(err, exchange.ErrShort) {
		t.Error(err)
	}
}

// TestSend sends messages in one piece each, and none that has no length.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, there := pipe(t)
		long := append(query(0), make([]byte, wire.MaxMessage-26)...)
		for _, q := range [][]byte{long, query(0)} {
			go func() { _ = s.Send(t.Context(), q, later()) }()
			b := make([]byte, wire.MaxMessage+3)
			n, err := there.Read(b)
			if err != nil || !bytes.Equal(b[2:n], q) || int(binary.BigEndian.Uint16(b)) != len(q) {
				t.Errorf("%d octets: %v", n, err)
			}
		}
		if err := s.Send(t.Context(), append(long, 0), later()); !errors.Is(err, exchange.ErrTooLarge) {
			t.Error(err)
		}
		// Nobody reads.
		begin := time.Now()
		if err := s.Send(t.Context(), long, later()); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Send(ctx, long, later()); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 11*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// TestOutOfOrder has a server answer first what nobody waits for (RFC 7766, section 7).
func TestOutOfOrder(t *testing.T) {
	q := query(0)
	good := reply(q, nil)
	otherID := reply(q, func(m []byte) []byte { m[0]++; return m })
	for _, c := range []struct {
		strays int
		err    error
	}{{0, nil}, {exchange.MaxUnwanted - 1, nil}, {exchange.MaxUnwanted, exchange.ErrFlooded}} {
		synctest.Test(t, func(t *testing.T) {
			s, there := pipe(t)
			go func() {
				for i := range c.strays {
					send(there, false, exchange.AppendFrame(nil, [][]byte{otherID, q}[i%2]))
				}
				send(there, false, exchange.AppendFrame(nil, good))
			}()
			msg, fit, err := s.Receive(t.Context(), q, later())
			if !errors.Is(err, c.err) || err == nil && (fit != exchange.Exact || !bytes.Equal(msg, good)) {
				t.Errorf("after %d: %x, fit %d: %v", c.strays, msg, fit, err)
			}
			if s.Counts.Unwanted() != c.strays || s.Counts.NearMisses != (c.strays+1)/2 {
				t.Errorf("%d strays: %+v", c.strays, s.Counts)
			}
		})
	}
}

// TestSilence ends waits for a message by their time, or by their context, and another
// wait after one that was in vain takes what comes then.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, there := pipe(t)
		begin := time.Now()
		if _, err := s.Next(t.Context(), later()); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		for range 2 {
			if _, err := s.Next(ctx, later()); !errors.Is(err, why) || time.Since(begin) != 11*time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		}
		go send(there, false, exchange.AppendFrame(nil, query(0)))
		if _, err := s.Next(t.Context(), later()); err != nil {
			t.Error(err)
		}
	})
}

// TestDial bounds how long connecting takes, whoever does it.
func TestDial(t *testing.T) {
	to := netip.MustParseAddrPort("192.0.2.1:53")
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, network string, at netip.AddrPort) (net.Conn, error) {
			if network != "tcp" || at != to {
				t.Errorf("%s %v", network, at)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		for _, c := range []struct{ set, want time.Duration }{{0, exchange.ConnectTimeout}, {time.Second, time.Second}} {
			begin := time.Now()
			d := exchange.Dialer{Dial: hang, Timeout: c.set}
			if _, err := d.Stream(t.Context(), to); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != c.want {
				t.Errorf("%v after %v, want %v", err, time.Since(begin), c.want)
			}
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		d := exchange.Dialer{Dial: hang}
		if _, err := d.Stream(ctx, to); !errors.Is(err, why) {
			t.Error(err)
		}
		refuse := exchange.Dialer{Dial: func(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, syscall.ECONNREFUSED }}
		if s, err := refuse.Stream(t.Context(), to); s != nil || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		if s, err := refuse.Datagrams(t.Context(), to); s != nil || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	})
	// TransportName the system, a connection outlives the time that it had to come about.
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	d := exchange.Dialer{Source: netip.MustParseAddrPort("127.0.0.53:0")}
	s, err := d.Stream(t.Context(), listener.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); from != netip.MustParseAddr("127.0.0.53") {
		t.Error("from", from)
	}
	if err := s.Send(t.Context(), query(0), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if msg, err := exchange.ReadMessage(c); err != nil || !bytes.Equal(msg, query(0)) {
		t.Errorf("%x: %v", msg, err)
	}
}
