package server

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDatagramNow fills a socket's send buffer: no datagram waits for room, and what
// finds none is said to.
func TestDatagramNow(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the least there is
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer ends[i].Close()
		_ = ends[i].SetDeadline(time.Now().Add(20 * time.Second)) // for the test to end, should something wait
	}
	d := &datagramNow{}
	d.raw, err = ends[0].(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	d.try = d.tryOnce // without an address: the socket is connected
	to := netip.MustParseAddrPort("192.0.2.1:53")
	sent := 0
	for err = nil; err == nil && sent < 10_000; {
		if err = d.send(make([]byte, 1000), nil, to); err == nil {
			sent++
		}
	}
	if !errors.Is(err, syscall.EAGAIN) || sent == 0 {
		t.Fatalf("after %d datagrams: %v, want EAGAIN", sent, err)
	}
	if n, err := ends[1].Read(make([]byte, 2000)); n != 1000 || err != nil {
		t.Errorf("read %d octets, %v", n, err)
	}
	if err := d.send(make([]byte, 1000), nil, to); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
