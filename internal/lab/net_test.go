package lab_test

import (
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

	"port53/internal/lab"
	"port53/internal/upstream"
	"port53/internal/wire"
)

var _ upstream.Network = (*lab.Net)(nil)

var (
	server   = netip.MustParseAddrPort("192.0.2.1:53")
	server6  = netip.MustParseAddrPort("[2001:db8::1]:53")
	question = wire.AppendQuery(nil, 4711, 0, []byte("\x03WWW\x07example\x00"), wire.TypeA)
)

// echo answers with the query, QR set.
func echo(query []byte, _ netip.AddrPort, _ bool) []byte {
	reply := append([]byte(nil), query...)
	reply[2] |= 0x80
	return reply
}

// exchange asks over a fresh UDP socket and returns what comes within a second, and
// after how long.
func exchange(t *testing.T, n *lab.Net, to netip.AddrPort, query []byte) ([]byte, time.Duration, error) {
	t.Helper()
	s, err := n.Socket(to)
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	start := time.Now()
	if err := s.Send(query); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	l, err := s.Recv(t.Context(), b, start.Add(time.Second))
	return b[:l], time.Since(start), err
}

func TestUDP(t *testing.T) {
	big := make([]byte, 1300)
	copy(big, question)
	tests := []struct {
		name  string
		link  lab.Link
		to    netip.AddrPort
		query []byte
		took  time.Duration
		err   error
		fate  lab.Fate // of the first packet
	}{
		{"perfect", lab.Link{}, server, question, 0, nil, lab.Delivered},
		{"IPv6", lab.Link{}, server6, question, 0, nil, lab.Delivered},
		{"slow", lab.Link{RTT: 300 * time.Millisecond}, server, question, 300 * time.Millisecond, nil, lab.Delivered},
		{"lost", lab.Link{Loss: 1}, server, question, time.Second, os.ErrDeadlineExceeded, lab.Lost},
		{"first lost", lab.Link{Lose: 1}, server, question, time.Second, os.ErrDeadlineExceeded, lab.Lost},
		{"deaf", lab.Link{DropQueries: true}, server, question, time.Second, os.ErrDeadlineExceeded, lab.Lost},
		{"mute", lab.Link{DropReplies: true}, server, question, time.Second, os.ErrDeadlineExceeded, lab.Delivered},
		{"narrow", lab.Link{MTU: 1280}, server, big, time.Second, os.ErrDeadlineExceeded, lab.TooLarge},
		{"port closed", lab.Link{RTT: 20 * time.Millisecond, Unreachable: true}, server, question, 20 * time.Millisecond, syscall.ECONNREFUSED, lab.Refused},
		{"other port", lab.Link{}, netip.AddrPortFrom(server.Addr(), 5353), question, 0, syscall.ECONNREFUSED, lab.Refused},
		{"nobody", lab.Link{}, netip.MustParseAddrPort("192.0.2.99:53"), question, time.Second, os.ErrDeadlineExceeded, lab.NoHost},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := lab.NewNet(lab.Options{})
				n.Handle(server, echo)
				n.Handle(server6, echo)
				n.SetLink(test.to.Addr(), test.link)
				reply, took, err := exchange(t, n, test.to, test.query)
				if took != test.took || !errors.Is(err, test.err) || (err == nil) != (len(reply) == len(test.query)) {
					t.Errorf("got %d octets after %v, %v; want after %v, %v", len(reply), took, err, test.took, test.err)
				}
				log := n.Packets()
				name, typ := log[0].Question()
				if log[0].Fate != test.fate || string(name) != "\x03www\x07example\x00" || typ != wire.TypeA || log[0].To != test.to {
					t.Errorf("logged %v %v to %v: %v, want %v", name, typ, log[0].To, log[0].Fate, test.fate)
				}
				if got := n.Ports(); len(got) != 0 {
					t.Errorf("sockets %v are still open", got)
				}
			})
		})
	}
}

// Loss is the same in every run, jitter stays within its bound, and duplicates come.
func TestChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := [2]int{}
		for run := range lost {
			n := lab.NewNet(lab.Options{Seed: 7})
			n.Handle(server, echo)
			n.SetLink(server.Addr(), lab.Link{RTT: 10 * time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.3, Duplicate: 0.5})
			for range 200 {
				_, took, err := exchange(t, n, server, question)
				if err != nil {
					lost[run]++
				} else if took < 10*time.Millisecond || took > 14*time.Millisecond {
					t.Fatalf("took %v, want 10 to 14 ms", took)
				}
			}
			time.Sleep(time.Second)
			c := n.Counts(server.Addr())
			if c != n.Counts(netip.Addr{}) || c.Queries != 200 || c.Replies <= 200-lost[run] {
				t.Errorf("counted %+v with %d lost", c, lost[run])
			}
		}
		if lost[0] != lost[1] || lost[0] < 70 || lost[0] > 130 { // 51 % of 200
			t.Errorf("lost %v of 200, want the same number twice, about 102", lost)
		}
	})
}

// What others send reaches a socket only if it claims to be from where the socket is
// connected to.
func TestTamper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lab.NewNet(lab.Options{})
		n.Handle(server, echo)
		n.SetLink(server.Addr(), lab.Link{RTT: 20 * time.Millisecond})
		forged := echo(question, netip.AddrPort{}, false)
		forged[0]++
		n.Tamper(server.Addr(), func(r *lab.Reply) {
			r.Delay = 100 * time.Millisecond
			r.Forged = []lab.Forgery{
				{Source: netip.MustParseAddrPort("203.0.113.9:53"), Message: forged},
				{Source: server, Message: forged, After: 5 * time.Millisecond},
			}
		})
		reply, took, err := exchange(t, n, server, question)
		if err != nil || took != 15*time.Millisecond || reply[0] != forged[0] {
			t.Errorf("got %x after %v, %v; want the forgery after 15 ms", reply, took, err)
		}
		n.Tamper(server.Addr(), func(r *lab.Reply) { r.Source = netip.MustParseAddrPort("192.0.2.2:53") })
		if _, took, err := exchange(t, n, server, question); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a reply from another address: got %v after %v", err, took)
		}
		s, err := n.Socket(server)
		if err != nil {
			t.Fatal(err)
		}
		n.Inject(n.Ports()[0], server, forged)
		b := make([]byte, 4)
		if l, err := s.Recv(t.Context(), b, time.Now()); l != 4 || err != nil {
			t.Errorf("injected: got %d octets, %v, want 4, cut off", l, err)
		}
		go s.Close()
		if _, err := s.Recv(t.Context(), b, time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: got %v", err)
		}
		if err := s.Send(question); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send after close: got %v", err)
		}
	})
}

func TestRoutes(t *testing.T) {
	n := lab.NewNet(lab.Options{})
	n.SetRoutes(true, false)
	if _, err := n.Socket(server6); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("socket for IPv6: %v", err)
	}
	if _, err := n.DialTCP(t.Context(), server6); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("connection over IPv6: %v", err)
	}
}

// The log keeps the newest packets, as many as it may.
func TestLogBound(t *testing.T) {
	n := lab.NewNet(lab.Options{Log: 3})
	n.Handle(server, echo)
	for range 4 {
		if _, _, err := exchange(t, n, server, question); err != nil {
			t.Fatal(err)
		}
	}
	log := n.Packets()
	if len(log) != 3 || !log[0].Reply || log[1].Reply || !log[2].Reply || n.Counts(server.Addr()).Queries != 4 {
		t.Errorf("log of 3 after 4 questions: %+v", log)
	}
}

func TestTCP(t *testing.T) {
	frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	tests := []struct {
		name  string
		link  lab.Link
		to    netip.AddrPort
		dial  error
		read  error
		ended error // of a second question's answer
		took  time.Duration
	}{
		{"open", lab.Link{RTT: 30 * time.Millisecond}, server, nil, nil, nil, 60 * time.Millisecond},
		{"refused", lab.Link{RTT: 30 * time.Millisecond, TCP: lab.TCPRefused}, server, syscall.ECONNREFUSED, nil, nil, 30 * time.Millisecond},
		{"other port", lab.Link{RTT: 30 * time.Millisecond}, netip.AddrPortFrom(server.Addr(), 54), syscall.ECONNREFUSED, nil, nil, 30 * time.Millisecond},
		{"hang", lab.Link{TCP: lab.TCPHang}, server, context.DeadlineExceeded, nil, nil, 2 * time.Second},
		{"nobody", lab.Link{}, netip.MustParseAddrPort("192.0.2.99:53"), context.DeadlineExceeded, nil, nil, 2 * time.Second},
		{"reset", lab.Link{RTT: 30 * time.Millisecond, TCP: lab.TCPReset}, server, nil, syscall.ECONNRESET, nil, 60 * time.Millisecond},
		{"silent", lab.Link{TCP: lab.TCPSilent}, server, nil, os.ErrDeadlineExceeded, nil, time.Second},
		{"mute", lab.Link{DropReplies: true}, server, context.DeadlineExceeded, nil, nil, 2 * time.Second},
		{"close", lab.Link{RTT: 30 * time.Millisecond, TCP: lab.TCPClose}, server, nil, nil, io.EOF, 60 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := lab.NewNet(lab.Options{})
				n.Handle(server, echo)
				n.SetLink(test.to.Addr(), test.link)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				start := time.Now()
				c, err := n.DialTCP(ctx, test.to)
				if !errors.Is(err, test.dial) {
					t.Fatalf("connect: %v, want %v", err, test.dial)
				}
				if err == nil {
					defer c.Close()
					// The question comes in two pieces; the answer is read likewise.
					for _, piece := range [][]byte{frame[:5], frame[5:]} {
						if _, err := c.Write(piece); err != nil {
							t.Fatal(err)
						}
					}
					if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
						t.Fatal(err)
					}
					b := make([]byte, len(frame))
					_, err = io.ReadFull(c, b)
					if !errors.Is(err, test.read) || err == nil && b[4]&0x80 == 0 {
						t.Errorf("read %x, %v; want %v", b, err, test.read)
					}
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if test.ended != nil {
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, test.ended) {
						t.Errorf("behind the answer: %v, want %v", err, test.ended)
					}
				}
			})
		})
	}
}

// Questions that are sent together are each answered, and a closed connection is.
func TestPipelining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lab.NewNet(lab.Options{})
		n.Handle(server, echo)
		n.SetLink(server.Addr(), lab.Link{RTT: 10 * time.Millisecond})
		c, err := n.DialTCP(t.Context(), server)
		if err != nil {
			t.Fatal(err)
		}
		frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
		if _, err := c.Write(append(frame, frame...)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 2*len(frame))); err != nil {
			t.Error(err)
		}
		go c.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
		if got := n.Counts(server.Addr()); got.QueriesTCP != 2 || got.Connections != 1 || got.Replies != 2 {
			t.Errorf("counted %+v", got)
		}
	})
}
