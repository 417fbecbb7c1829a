package server_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"port53/internal/server"

	"golang.org/x/sys/unix"
)

// TestTCPManyIdle has one address open 10,000 connections and say nothing. It keeps
// its share, and others are answered as if it were not there.
func TestTCPManyIdle(t *testing.T) {
	attempts := 10_000
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if room := int(files.Cur) - 500; room < attempts {
		attempts = room
	}
	if attempts < 100 {
		t.Skip("too few descriptors allowed")
	}
	s := listen(t, server.Options{Handler: worker(echo), Limits: server.Limits{Idle: time.Hour}})
	other := func(t *testing.T) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, 0, 1)}, Timeout: patience}
		c, err := d.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	steady := other(t)
	defer steady.Close()
	var slowest time.Duration
	ask := func(c net.Conn, id int) {
		begin := time.Now()
		_ = c.SetDeadline(begin.Add(patience))
		exchangeTCP(t, c, id, 40)
		slowest = max(slowest, time.Since(begin))
	}
	for i := range attempts {
		c, err := net.Dial("tcp", s.Addrs()[0].String())
		if err == nil { // the reset of one that is refused may be seen already
			defer c.Close()
		} else if !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		if i%500 == 0 {
			ask(steady, i)
			c := other(t)
			ask(c, i)
			c.Close()
		}
	}
	const share = 20
	eventually(t, "the rest refused", func() bool { return s.Stats().Refused >= uint64(attempts-share) })
	ask(steady, 9)
	if st := s.Stats(); st.Open > share+2 || st.Evicted != 0 {
		t.Errorf("counters %+v, want at most %d open", st, share+2)
	}
	t.Logf("%d connections, the slowest answer to others took %v", attempts, slowest)
}

// TestTCPNetworkAtCeiling fills every connection from one network and then comes
// from another.
func TestTCPNetworkAtCeiling(t *testing.T) {
	const conns = 50
	s := listen(t, server.Options{Handler: worker(echo), Limits: server.Limits{Conns: conns}})
	dialFrom := func(a netip.Addr) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)), Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			})
		}}
		c, err := d.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	for i := range conns {
		dialFrom(netip.AddrFrom4([4]byte{127, 2, 0, byte(1 + i)}))
	}
	eventually(t, "all taken", func() bool { return s.Stats().Open == conns })
	for i := range 30 {
		exchangeTCP(t, dialFrom(netip.AddrFrom4([4]byte{127, 3, byte(i), 1})), i, 40)
	}
	if st := s.Stats(); st.Open != conns || st.Evicted != 30 || st.Refused != 0 {
		t.Errorf("counters %+v, want %d open and 30 evicted", st, conns)
	}
}
