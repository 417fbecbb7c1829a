package server

import (
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkUDPOwn is what a query costs beside the system calls: from the slot it
// arrived in to the slot its answer leaves from, with a worker that only copies.
func BenchmarkUDPOwn(b *testing.B) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		b.Run(addr, func(b *testing.B) {
			a := netip.MustParseAddrPort(addr)
			s, err := Listen(Options{Addrs: []netip.AddrPort{a}, Handler: mirror{}, Workers: 1})
			if err != nil {
				b.Skip(err) // no IPv6
			}
			defer s.closeSockets()
			var count traffic
			bt := batcherOf(b, s.udp[0], mirror{}, &count)
			arrive := func() {
				bt.arm(udpBatch)
				for i := range udpBatch {
					bt.rx[i].n = 40
					bt.name[i].Port = 1
					bt.name[i].Family = unix.AF_INET
					level, kind, size := int32(unix.IPPROTO_IP), int32(unix.IP_PKTINFO), unix.SizeofInet4Pktinfo
					if a.Addr().Is6() {
						bt.name[i].Family = unix.AF_INET6
						level, kind, size = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo
					}
					if a.Addr().IsUnspecified() {
						h := (*unix.Cmsghdr)(unsafe.Pointer(&bt.control[i]))
						h.Level, h.Type = level, kind
						h.SetLen(unix.CmsgLen(size))
						bt.rx[i].hdr.SetControllen(unix.CmsgSpace(size))
					}
				}
			}
			arrive()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				at := n & (udpBatch - 1)
				if bt.answer(at, at, 1) != 1 {
					b.Fatal("no answer")
				}
				n++
			}
		})
	}
}

// batcherOf returns the memory of a worker, which ends with the test.
func batcherOf(tb testing.TB, u *udpSocket, w Worker, count *traffic) *batcher {
	tb.Helper()
	b, err := newBatcher(u, w, count)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.free)
	return b
}
