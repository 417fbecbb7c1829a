package server

import (
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSendFull has a socket that takes a part of a batch: what stays is sent when
// the other end reads in time, else given up and counted.
func TestSendFull(t *testing.T) {
	for _, reads := range []bool{true, false} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the least there is
			t.Fatal(err)
		}
		s := sim(t, Limits{})
		var count traffic
		b := batcherOf(t, &udpSocket{server: s, counters: make([]traffic, 1)}, silent{}, &count)
		for k := range udpBatch {
			b.reply[k][0] = byte(k)
			b.txVec[k].SetLen(1000)
		}
		// As long as nobody reads, something must stay.
		b.send(uintptr(pair[0]), udpBatch)
		sent := int(count.sent.Load())
		if sent == 0 || sent == udpBatch || count.sendFull.Load() != uint64(udpBatch-sent) || count.sendErrors.Load() != uint64(udpBatch-sent) {
			t.Fatalf("%d of %d sent, %d given up, %d for want of room", sent, udpBatch, count.sendErrors.Load(), count.sendFull.Load())
		}
		buf := make([]byte, 1000)
		for k := range sent {
			if n, err := unix.Read(pair[1], buf); n != len(buf) || err != nil || buf[0] != byte(k) {
				t.Fatalf("message %d: %d octets of %d, %v", k, n, buf[0], err)
			}
		}
		if reads {
			// The wait is bounded, so a reader that the machine holds up may
			// be late: then that, too, is counted.
			got := make(chan int)
			go func() {
				n := 0
				fds := []unix.PollFd{{Fd: int32(pair[1]), Events: unix.POLLIN}}
				for {
					if r, _ := unix.Poll(fds, 1000); r == 0 {
						break
					}
					if m, err := unix.Read(pair[1], buf); m == 1 || err != nil {
						break
					}
					n++
				}
				got <- n
			}()
			count = traffic{}
			b.send(uintptr(pair[0]), udpBatch)
			sent, lost := int(count.sent.Load()), int(count.sendFull.Load())
			if sent+lost != udpBatch {
				t.Errorf("%d sent and %d given up of %d", sent, lost, udpBatch)
			}
			b.txVec[0].SetLen(1) // the end
			for i := 0; count.sent.Load() == uint64(sent) && i < 1000; i++ {
				b.send(uintptr(pair[0]), 1)
			}
			if n := <-got; n != sent {
				t.Errorf("%d arrived of %d sent", n, sent)
			}
		}
		unix.Close(pair[0])
		unix.Close(pair[1])
	}
}

// TestSendLong has an answer that no link carries, amid others.
func TestSendLong(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Handler: silent{}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.closeSockets()
	var count traffic
	b := batcherOf(t, s.udp[0], silent{}, &count)
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	for k := range 3 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&b.name[k]))
		sa.Family, sa.Addr = unix.AF_INET, to.Addr().As4()
		port := (*[2]byte)(unsafe.Pointer(&sa.Port))
		port[0], port[1] = byte(to.Port()>>8), byte(to.Port())
		b.tx[k].hdr.Name, b.tx[k].hdr.Namelen = (*byte)(unsafe.Pointer(sa)), unix.SizeofSockaddrInet4
		b.txVec[k].SetLen(1)
	}
	long := make([]byte, 1<<16)
	b.txVec[1].Base = &long[0]
	b.txVec[1].SetLen(len(long))
	rc, err := s.udp[0].conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(fd uintptr) { b.send(fd, 3) }); err != nil {
		t.Fatal(err)
	}
	if count.sent.Load() != 2 || count.sendErrors.Load() != 1 || count.sendLong.Load() != 1 || count.sendFull.Load() != 0 {
		t.Errorf("%d sent, %d not, %d of them too long", count.sent.Load(), count.sendErrors.Load(), count.sendLong.Load())
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for range 2 {
		if _, err := c.Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
	}
}
