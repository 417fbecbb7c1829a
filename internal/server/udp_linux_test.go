package server

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// silent is a worker for sockets that are written to directly.
type silent struct{}

func (silent) NewWorker() Worker                       { return silent{} }
func (silent) Handle([]byte, *Peer, int64, []byte) int { return 0 }

// TestSendSkipsUnsendable has answers to the broadcast address, which the system
// refuses to send, at each place in a batch.
func TestSendSkipsUnsendable(t *testing.T) {
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
	rc, err := s.udp[0].conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]int{{}, {0}, {1}, {4}, {0, 1}, {3, 4}, {0, 1, 2, 3, 4}} {
		var count traffic
		b := batcherOf(t, s.udp[0], silent{}, &count)
		to := func(k int, addr netip.AddrPort) {
			sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&b.name[k]))
			sa.Family, sa.Addr = unix.AF_INET, addr.Addr().As4()
			binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], addr.Port())
			b.tx[k].hdr.Name, b.tx[k].hdr.Namelen = (*byte)(unsafe.Pointer(sa)), unix.SizeofSockaddrInet4
			b.reply[k][0] = byte(k)
			b.txVec[k].SetLen(1)
		}
		want := map[byte]bool{}
		for k := range 5 {
			to(k, c.LocalAddr().(*net.UDPAddr).AddrPort())
			want[byte(k)] = true
		}
		for _, k := range bad {
			to(k, netip.MustParseAddrPort("255.255.255.255:9"))
			delete(want, byte(k))
		}
		if err := rc.Control(func(fd uintptr) { b.send(fd, 5) }); err != nil {
			t.Fatal(err)
		}
		if got := count.sent.Load(); got != uint64(len(want)) || count.sendErrors.Load() != uint64(len(bad)) {
			t.Errorf("%v unsendable: %d sent, %d errors", bad, got, count.sendErrors.Load())
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
		buf := make([]byte, 16)
		for range len(want) {
			if _, err := c.Read(buf); err != nil || !want[buf[0]] {
				t.Errorf("%v unsendable: got %d, %v", bad, buf[0], err)
			}
			delete(want, buf[0])
		}
	}
}

func TestAsked(t *testing.T) {
	room := func(n int) []byte { return make([]byte, n, controlLen) }
	for _, c := range [][]byte{nil, room(8), room(unix.SizeofCmsghdr), room(64)} {
		if local, reply := asked(c); local.IsValid() || reply != nil {
			t.Errorf("%d zero octets: %v, %d octets", len(c), local, len(reply))
		}
	}
	// A timestamp before it, as sockets made by others may have.
	c := make([]byte, 80)
	put := func(at int, level, typ int32, data []byte) int {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
		h.Level, h.Type = level, typ
		h.SetLen(unix.CmsgLen(len(data)))
		copy(c[at+unix.CmsgLen(0):], data)
		return at + unix.CmsgSpace(len(data))
	}
	first := put(0, unix.SOL_SOCKET, unix.SCM_TIMESTAMP, make([]byte, 16))
	info := []byte{7, 0, 0, 0, 127, 0, 0, 2, 127, 0, 0, 3}
	end := put(first, unix.IPPROTO_IP, unix.IP_PKTINFO, info)
	local, reply := asked(c[:end])
	if local != netip.MustParseAddr("127.0.0.2") || len(reply) != end-first {
		t.Errorf("%v, %d octets; want 127.0.0.2 and %d", local, len(reply), end-first)
	}
	if i := unix.CmsgLen(0); reply[i] != 0 {
		t.Error("the interface is still set")
	}
	for n := range end {
		asked(c[:n:n]) // must not read past what there is
	}
}
