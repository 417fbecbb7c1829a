package server_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/server"
)

// patience bounds what must happen at once; it is long only for busy machines.
const patience = 2 * time.Minute

// A worker is a function that is its own handler.
type worker func(query []byte, peer *server.Peer, reply []byte) int

func (w worker) NewWorker() server.Worker { return w }

func (w worker) Handle(query []byte, peer *server.Peer, _ int64, reply []byte) int {
	return w(query, peer, reply)
}

// echo answers with the question, QR set.
func echo(query []byte, _ *server.Peer, reply []byte) int {
	n := copy(reply, query)
	reply[2] |= 0x80
	return n
}

// question returns a message of n octets that says id, and answer what echo makes of it.
func question(id, n int) []byte {
	q := make([]byte, n)
	for i := range q {
		q[i] = byte(i)
	}
	q[0], q[1], q[2] = byte(id>>8), byte(id), 0
	return q
}

func answer(id, n int) []byte {
	a := question(id, n)
	a[2] |= 0x80
	return a
}

// loopback is 127.0.0.1 with a free port.
func loopback() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")} }

// listen starts a server that ends with the test.
func listen(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	if o.Addrs == nil && o.Files == nil {
		o.Addrs = loopback()
	}
	s, err := server.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error("Shutdown:", err)
		}
	})
	return s
}

// dial connects to the server's first address.
func dial(t testing.TB, network string, s *server.Server) net.Conn {
	t.Helper()
	c, err := net.Dial(network, s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits for something that no event tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}

func linuxOnly(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs every address of 127.0.0.0/8, and packet information")
	}
}

func TestOptions(t *testing.T) {
	ok := func() server.Options { return server.Options{Addrs: loopback(), Handler: worker(echo)} }
	addr := netip.MustParseAddrPort
	for _, tt := range []struct {
		name string
		edit func(*server.Options)
		want string
	}{
		{"no handler", func(o *server.Options) { o.Handler = nil }, "Handler is nil"},
		{"no address", func(o *server.Options) { o.Addrs = nil }, "no address"},
		{"zero address", func(o *server.Options) { o.Addrs = []netip.AddrPort{{}} }, "zero netip.AddrPort"},
		{"mapped address", func(o *server.Options) { o.Addrs[0] = addr("[::ffff:127.0.0.1]:0") }, "write the IPv4 address 127.0.0.1"},
		{"multicast", func(o *server.Options) { o.Addrs[0] = addr("224.0.0.251:5353") }, "multicast"},
		{"twice", func(o *server.Options) {
			o.Addrs = []netip.AddrPort{addr("127.0.0.1:5399"), addr("127.0.0.1:5399")}
		}, "listed twice"},
		{"negative workers", func(o *server.Options) { o.Workers = -1 }, "Workers is -1"},
		{"too many workers", func(o *server.Options) { o.Workers = 1 << 20 }, "Workers is 1048576"},
		{"negative limit", func(o *server.Options) { o.Limits.PerAddr = -1 }, "Limits.PerAddr is -1"},
		{"short idle", func(o *server.Options) { o.Limits.Idle = 1 }, "Limits.Idle is 1ns"},
		{"idle the wrong way", func(o *server.Options) { o.Limits.Idle, o.Limits.IdleMin = time.Second, time.Minute }, "is more than Limits.Idle"},
		{"two at a time", func(o *server.Options) { o.Limits.Conns, o.Drain = -1, -1 }, "Drain is -1ns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := ok()
			tt.edit(&o)
			s, err := server.Listen(o)
			if err == nil {
				_ = s.Shutdown(t.Context())
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestListenErrors(t *testing.T) {
	s := listen(t, server.Options{Handler: worker(echo)})
	taken := s.Addrs()[0]
	_, err := server.Listen(server.Options{Addrs: []netip.AddrPort{taken}, Handler: worker(echo)})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port taken: error %v, want EADDRINUSE", err)
	} else if want := "listen on " + taken.String() + "/tcp: "; !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "; ") {
		t.Errorf("port taken: error %q, want %q and a hint", err, want)
	}
	// 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
	_, err = server.Listen(server.Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")}, Handler: worker(echo)})
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "no interface") {
		t.Errorf("foreign address: error %v, want EADDRNOTAVAIL and a hint", err)
	}
	if os.Getuid() > 0 {
		_, err = server.Listen(server.Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, Handler: worker(echo)})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") {
			t.Errorf("low port: error %v, want a permission error and a hint", err)
		}
	}
}

func TestSamePortForBoth(t *testing.T) {
	s := listen(t, server.Options{
		Addrs:   []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.1:0")},
		Handler: worker(echo), Workers: 3,
	})
	if len(s.Addrs()) != 2 || s.Addrs()[0] == s.Addrs()[1] {
		t.Fatalf("addresses %v, want two", s.Addrs())
	}
	for _, a := range s.Addrs() {
		if a.Port() == 0 {
			t.Errorf("address %v has no port", a)
		}
	}
	exchange(t, dial(t, "udp", s), 1, 40)
	exchangeTCP(t, dial(t, "tcp", s), 2, 40)
}

func TestAdopt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Skip("UDP port taken:", err)
	}
	tf, err1 := l.(*net.TCPListener).File()
	uf, err2 := u.(*net.UDPConn).File()
	if err := errors.Join(err1, err2, l.Close(), u.Close()); err != nil {
		t.Skip(err)
	}
	s := listen(t, server.Options{Files: []*os.File{uf, tf}, Handler: worker(echo)})
	if len(s.Addrs()) != 1 {
		t.Fatalf("addresses %v, want one", s.Addrs())
	}
	exchange(t, dial(t, "udp", s), 1, 40)
	exchangeTCP(t, dial(t, "tcp", s), 2, 40)
	if _, err := uf.Stat(); err == nil {
		t.Error("the adopted file is still open")
	}
}

func TestAdoptRefusesFiles(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/plain")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(server.Options{Files: []*os.File{f}, Handler: worker(echo)}); err == nil || !strings.Contains(err.Error(), "plain") {
		t.Errorf("a plain file: error %v, want one that names it", err)
	}
	if f.Close() == nil {
		t.Error("the refused file was left open")
	}
}

func TestServeEndsWithContext(t *testing.T) {
	s, err := server.Listen(server.Options{Addrs: loopback(), Handler: worker(echo)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	exchange(t, dial(t, "udp", s), 1, 12)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
	s.Start() // must do nothing
	if st := s.Stats(); st.UDP.Received != 1 || st.UDP.Sent != 1 {
		t.Errorf("counters %+v, want one question and one answer", st.UDP)
	}
}

// exchange asks one question over UDP and checks the answer.
func exchange(t testing.TB, c net.Conn, id, n int) {
	t.Helper()
	if _, err := c.Write(question(id, n)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n2, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf[:n2], answer(id, n)) {
		t.Fatalf("answer %d is %d octets, want %d and the same", id, n2, n)
	}
}
