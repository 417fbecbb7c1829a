package exchange_test

import (
	"bytes"
	"context"
	"errors"
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

// A script is a socket on which messages and errors arrive, each a second after the one
// before. It is for bubbles of testing/synctest.
type script struct {
	sent [][]byte
	come []any // []byte or error
	next time.Time
}

func (s *script) Send(b []byte) error {
	s.sent = append(s.sent, bytes.Clone(b))
	s.next = time.Now().Add(time.Second)
	return nil
}

func (s *script) Recv(ctx context.Context, b []byte, deadline time.Time) (int, error) {
	at := deadline
	if len(s.come) > 0 && s.next.Before(deadline) {
		at = s.next
	}
	select {
	case <-time.After(time.Until(at)):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if at.Equal(deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	now := s.come[0]
	s.come, s.next = s.come[1:], s.next.Add(time.Second)
	if err, ok := now.(error); ok {
		return 0, err
	}
	return copy(b, now.([]byte)), nil
}

func (s *script) Close() error { return nil }

// receive waits 10 s for what comes on a socket.
func receive(t *testing.T, d *exchange.DatagramReceiver, come ...any) (msg []byte, fit exchange.Fit, took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, begin := &script{come: come}, time.Now()
		if err := s.Send(query(0)); err != nil {
			t.Fatal(err)
		}
		msg, fit, err = d.Receive(t.Context(), s, query(0), make([]byte, 600), begin.Add(10*time.Second))
		took = time.Since(begin)
	})
	return msg, fit, took, err
}

func repeated(what any, n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = what
	}
	return list
}

// TestReceive has what comes before a reply: it is counted and passed over, up to bounds.
func TestReceive(t *testing.T) {
	q := query(0)
	good := reply(q, nil)
	otherID := reply(q, func(m []byte) []byte { m[0]++; return m })
	large := reply(q, func(m []byte) []byte { return append(m, make([]byte, 512)...) })
	for _, c := range []struct {
		what string
		d    exchange.DatagramReceiver
		come []any
		err  error
		took time.Duration
		want exchange.Counts
	}{
		{"the reply at once", exchange.DatagramReceiver{}, []any{good}, nil, 1, exchange.Counts{Octets: 26}},
		{"silence", exchange.DatagramReceiver{}, nil, os.ErrDeadlineExceeded, 10, exchange.Counts{}},
		{
			"strangers before it",
			exchange.DatagramReceiver{},
			[]any{otherID, []byte("no message"), q, good},
			nil, 4,
			exchange.Counts{Octets: 26 + 10 + 26 + 26, NearMisses: 1, Unrelated: 2},
		},
		{"strangers alone", exchange.DatagramReceiver{}, repeated(otherID, 20), os.ErrDeadlineExceeded, 10, exchange.Counts{Octets: 9 * 26, NearMisses: 9}},
		{"one guess less than the bound", exchange.DatagramReceiver{MaxNearMisses: 3}, append(repeated(otherID, 2), good), nil, 3, exchange.Counts{Octets: 78, NearMisses: 2}},
		{"guesses", exchange.DatagramReceiver{MaxNearMisses: 3}, append(repeated(otherID, 3), good), exchange.ErrFlooded, 3, exchange.Counts{Octets: 78, NearMisses: 3}},
		{"noise is no guess", exchange.DatagramReceiver{MaxNearMisses: 3}, append(repeated(q, 5), good), nil, 6, exchange.Counts{Octets: 6 * 26, Unrelated: 5}},
		{"noise below the bound", exchange.DatagramReceiver{MaxUnwanted: 4}, append(repeated(q, 3), good), nil, 4, exchange.Counts{Octets: 4 * 26, Unrelated: 3}},
		{"noise", exchange.DatagramReceiver{MaxUnwanted: 4}, append(repeated(q, 4), good), exchange.ErrFlooded, 4, exchange.Counts{Octets: 4 * 26, Unrelated: 4}},
		{"a reply of the longest length", exchange.DatagramReceiver{Limit: 538}, []any{large}, nil, 1, exchange.Counts{Octets: 538}},
		{"an octet more, and a good one", exchange.DatagramReceiver{Limit: 537}, []any{large, good}, nil, 2, exchange.Counts{Octets: 538 + 26, Oversized: 1, TruncatedReplies: 1}},
		{"too long, and not a reply", exchange.DatagramReceiver{Limit: 100}, []any{append(otherID, large...), good}, nil, 2, exchange.Counts{Octets: 564 + 26, Oversized: 1}},
		{"the network's word", exchange.DatagramReceiver{}, []any{error(syscall.EHOSTUNREACH), good}, syscall.EHOSTUNREACH, 1, exchange.Counts{}},
		{"the network's word, not listened to", exchange.DatagramReceiver{IgnoreICMP: true}, []any{error(syscall.EHOSTUNREACH), good}, nil, 2, exchange.Counts{Octets: 26, Errors: 1}},
		{"the network's word for ever", exchange.DatagramReceiver{IgnoreICMP: true, MaxUnwanted: 4}, repeated(error(syscall.EMSGSIZE), 9), exchange.ErrFlooded, 4, exchange.Counts{Errors: 4}},
		{"refused", exchange.DatagramReceiver{IgnoreICMP: true}, []any{error(syscall.ECONNREFUSED), good}, syscall.ECONNREFUSED, 1, exchange.Counts{}},
		{"closed", exchange.DatagramReceiver{IgnoreICMP: true}, []any{error(net.ErrClosed), good}, net.ErrClosed, 1, exchange.Counts{}},
	} {
		msg, fit, took, err := receive(t, &c.d, c.come...)
		if !errors.Is(err, c.err) || took != c.took*time.Second || c.d.Counts != c.want {
			t.Errorf("%s: %v after %v, %+v; want %v after %d s, %+v", c.what, err, took, c.d.Counts, c.err, c.took, c.want)
		}
		if err == nil && (fit != exchange.Exact || !bytes.HasPrefix(msg, good)) {
			t.Errorf("%s: %x, fit %d", c.what, msg, fit)
		}
	}
}

// TestByID takes the first reply with the ID, and nothing that is no reply or has another.
func TestByID(t *testing.T) {
	q := query(0)
	other := reply(q, func(m []byte) []byte { m[13] = 'x'; return m })
	notify := reply(q, func(m []byte) []byte { m[2] |= 4 << 3; return m })
	bare := reply(q, func(m []byte) []byte { m[5] = 0; return m[:12] })
	otherID := reply(q, func(m []byte) []byte { m[0]++; return m })
	for _, answer := range [][]byte{other, notify, bare} {
		d := exchange.DatagramReceiver{ByID: true}
		msg, fit, _, err := receive(t, &d, otherID, q, answer[:7], answer)
		if err != nil || fit != exchange.NoQuestion || !bytes.Equal(msg, answer) {
			t.Errorf("%x: %x, fit %d: %v", answer, msg, fit, err)
		}
		if d.Counts.Unwanted() != 3 {
			t.Errorf("%x: %+v, want 3 passed over", answer, d.Counts)
		}
	}
}

// TestJudge looks at the messages that fit, and at those alone, in another way.
func TestJudge(t *testing.T) {
	q := query(0)
	first := reply(q, nil)
	first[3] |= byte(wire.Refused)
	folded := reply(q, func(m []byte) []byte { m[13] ^= 0x20; return m })
	var judged []exchange.Fit
	d := exchange.DatagramReceiver{Limit: 100, Verify: func(msg []byte, fit exchange.Fit) exchange.Fit {
		if judged = append(judged, fit); msg[3] != 0 {
			return exchange.NearMiss
		}
		return exchange.Exact
	}}
	otherID := reply(q, func(m []byte) []byte { m[0]++; return m })
	msg, fit, _, err := receive(t, &d, first, otherID, append(bytes.Clone(first), make([]byte, 100)...), folded)
	if err != nil || fit != exchange.Exact || !bytes.Equal(msg, folded) {
		t.Errorf("%x, fit %d: %v", msg, fit, err)
	}
	if len(judged) != 2 || judged[0] != exchange.Exact || judged[1] != exchange.CaseDiffers {
		t.Error("judged:", judged)
	}
	if want := (exchange.Counts{Octets: 26 + 26 + 126 + 26, NearMisses: 2, Oversized: 1, TruncatedReplies: 1}); d.Counts != want {
		t.Errorf("%+v, want %+v", d.Counts, want)
	}
}

// TestSocket asks over sockets of the system.
func TestSocket(t *testing.T) {
	server, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	d := exchange.Dialer{Source: netip.MustParseAddrPort("127.0.0.53:0")}
	s, err := d.Datagrams(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := query(0)
	if err := s.Send(q); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 600)
	n, from, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || !bytes.Equal(buf[:n], q) || from.Addr() != netip.MustParseAddr("127.0.0.53") {
		t.Fatalf("%x from %v: %v", buf[:n], from, err)
	}
	// A deadline that was over for one wait is none for the next.
	if _, err := s.Recv(t.Context(), buf, time.Unix(1, 0)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	good := reply(q, nil)
	if _, err := server.WriteToUDPAddrPort(good, from); err != nil {
		t.Fatal(err)
	}
	var w exchange.DatagramReceiver
	if msg, _, err := w.Receive(t.Context(), s, q, buf, time.Now().Add(time.Minute)); err != nil || !bytes.Equal(msg, good) {
		t.Fatalf("%x: %v", msg, err)
	}
	// The end of a context ends a wait, whenever it comes.
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { cancel(why) })
	for range 2 {
		if _, _, err := w.Receive(ctx, s, q, buf, time.Now().Add(time.Hour)); !errors.Is(err, why) {
			t.Fatal(err)
		}
	}
}
