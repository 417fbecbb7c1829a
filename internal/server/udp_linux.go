package server

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// udpBatch is the most datagrams read or written by one system call. What
	// a call costs is spread thin enough, and the first still waits little.
	udpBatch = 64
	// controlLen holds one IPv6 packet information message, and some more.
	controlLen = 64
	// udpSendWait is how long a full send buffer may take to drain before the
	// rest of a batch is dropped: clients ask again, and others are waiting.
	udpSendWait = 5 * time.Millisecond
	// lineSkew spreads buffers over the sets of the processor's cache, in which
	// equal distances of 4,096 octets would all compete for one.
	lineSkew = 128
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// A batcher is the memory of one worker, which the system reads and writes
// through pointers made once. A slot is an index: slot i's question, its client
// and its control message stay together; answers are numbered as they come.
type batcher struct {
	socket *udpSocket
	worker Worker
	count  *traffic
	peer   Peer
	later  udpLater

	rx, tx  [udpBatch]mmsghdr
	rxVec   [udpBatch]unix.Iovec
	txVec   [udpBatch]unix.Iovec
	name    [udpBatch]unix.RawSockaddrInet6 // or RawSockaddrInet4, which is shorter
	control [udpBatch][controlLen / 8]uint64
	query   []byte // udpBatch slots of udpSlot octets
	reply   [udpBatch][udpReply + lineSkew]byte
}

// udpSlot is what one datagram may take, and lineSkew. Of a slot the system hands out the
// pages alone that something was written to: where no update is long, the first one or two.
const udpSlot = udpLongest + 1 + lineSkew

// serve answers in batches until the server drains.
func (u *udpSocket) serve(w Worker, count *traffic) {
	if u.server.options.Portable {
		u.servePortable(w, count)
		return
	}
	b, err := newBatcher(u, w, count)
	if err != nil {
		u.servePortable(w, count)
		return
	}
	defer b.free()
	rc, err := u.conn.SyscallConn()
	if err != nil {
		return
	}
	for !u.server.draining.Load() {
		// Read parks this goroutine until the socket is readable. It fails when
		// draining sets a deadline, or the socket is closed.
		if err := rc.Read(b.readable); errors.Is(err, net.ErrClosed) {
			return
		}
	}
	end := time.Now().Add(drainMax)
	_ = rc.Control(func(fd uintptr) {
		for b.turn(fd) && time.Now().Before(end) {
		}
	})
}

// newBatcher points the memory of a worker at itself. It fails if there is none.
func newBatcher(u *udpSocket, w Worker, count *traffic) (*batcher, error) {
	query, err := unix.Mmap(-1, 0, udpBatch*udpSlot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	b := &batcher{socket: u, worker: w, count: count, peer: Peer{Transport: UDP, Local: u.local, LocalPort: u.port}, query: query}
	b.later.bind(u, &b.peer)
	for i := range udpBatch {
		b.rxVec[i].Base = &b.query[i*udpSlot]
		b.rxVec[i].SetLen(udpLongest)
		b.rx[i].hdr.Iov = &b.rxVec[i]
		b.rx[i].hdr.SetIovlen(1)
		b.rx[i].hdr.Name = (*byte)(unsafe.Pointer(&b.name[i]))
		b.txVec[i].Base = &b.reply[i][0]
		b.tx[i].hdr.Iov = &b.txVec[i]
		b.tx[i].hdr.SetIovlen(1)
	}
	b.arm(udpBatch)
	return b, nil
}

// free gives the memory back that is not Go's. Nothing receives into it any more.
func (b *batcher) free() { _ = unix.Munmap(b.query) }

// readable answers all there is. It returns false to be called again when there
// is more, and true when the server drains.
//
// What follows an empty socket is the wait in the runtime's poller. Measured on one
// processor against a thread of its own that blocks in poll or in recvmmsg: at full
// load all are the same, since about one turn in twenty finds nothing; at 20,000
// queries a second such a thread costs nearly twice as much, as handing the
// processor over is dearer than parking a goroutine. Its answers leave sooner, by
// a tenth of a millisecond. A second look before waiting gains nothing.
func (b *batcher) readable(fd uintptr) bool {
	for b.turn(fd) {
		if b.socket.server.draining.Load() {
			return true
		}
	}
	return false
}

// arm makes the first n slots ready to be received into.
func (b *batcher) arm(n int) {
	for i := range n {
		h := &b.rx[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		if !b.socket.local.IsValid() {
			h.Control = (*byte)(unsafe.Pointer(&b.control[i]))
			h.SetControllen(controlLen)
		}
	}
}

// turn receives a batch, answers it and sends the answers. It returns false if
// nothing was there.
//
// The calls do not block, so the scheduler is not told of them: with
// syscall.Syscall6, whose processor the scheduler takes away from calls that last
// as long as a batch, a query cost a quarter more. The price is that a collection
// of garbage may wait for a batch.
func (b *batcher) turn(fd uintptr) bool {
	r, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.rx)), udpBatch, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN:
		return false
	case unix.EINTR:
		return true
	default:
		time.Sleep(errorPause)
		return true
	}
	n := int(r)
	now := b.socket.server.now()
	k := 0
	for i := range n {
		k += b.answer(i, k, now)
	}
	b.count.received.Add(uint64(n))
	if k > 0 {
		b.send(fd, k)
	}
	b.arm(n)
	return true
}

// answer has slot i's question answered into slot k. It returns 1 if there is an answer,
// and 0 if there is none.
func (b *batcher) answer(i, k int, now int64) int {
	m := &b.rx[i]
	query := b.query[i*udpSlot : i*udpSlot+int(m.n) : i*udpSlot+udpLongest]
	port := b.name[i].Port
	var behind netip.AddrPort
	if p := b.socket.proxies; p != nil {
		var err error
		if query, behind, err = p.strip(query, b.sender(i)); err != nil {
			b.count.unproxied(err)
			return 0
		}
	}
	if b.count.refuse(len(query), len(query) > udpQuery && !isUpdate(query), port) {
		return 0
	}
	if sa := &b.name[i]; sa.Family != unix.AF_INET {
		b.later.scope = sa.Scope_id
	}
	// The port is in network order in memory.
	b.peer.Remote = netip.AddrPortFrom(b.sender(i), binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&port))[:]))
	if b.socket.proxies != nil {
		b.later.put(&b.peer, behind)
	}
	if !b.socket.local.IsValid() {
		control := unsafe.Slice((*byte)(unsafe.Pointer(&b.control[i])), controlLen)
		b.peer.Local, b.later.control = asked(control[:min(int(m.hdr.Controllen), controlLen)])
	}
	size := b.worker.Handle(query, &b.peer, now, b.reply[k][:udpReply:udpReply])
	if size <= 0 {
		return 0
	}
	b.txVec[k].SetLen(size)
	h := &b.tx[k].hdr
	h.Name, h.Namelen = m.hdr.Name, m.hdr.Namelen
	if c := b.later.control; len(c) > 0 {
		h.Control = &c[0]
		h.SetControllen(len(c))
	} else if h.Control != nil {
		h.Control = nil
		h.SetControllen(0)
	}
	return 1
}

// sender returns where slot i's datagram came from.
func (b *batcher) sender(i int) netip.Addr {
	if sa := &b.name[i]; sa.Family != unix.AF_INET {
		return netip.AddrFrom16(sa.Addr).Unmap()
	}
	return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&b.name[i])).Addr)
}

// send sends the first k answers.
func (b *batcher) send(fd uintptr, k int) {
	sendAll(fd, b.tx[:k], b.count, udpSendWait)
	runtime.KeepAlive(b)
}

// sendAll sends answers. One that cannot be sent is left out. If there is no room, it waits once for so long at most.
func sendAll(fd uintptr, tx []mmsghdr, count *traffic, wait time.Duration) {
	sent, waited := 0, wait <= 0
	for at := 0; at < len(tx); {
		r, _, errno := syscall.RawSyscall6(
			unix.SYS_SENDMMSG,
			fd,
			uintptr(unsafe.Pointer(&tx[at])),
			uintptr(len(tx)-at),
			unix.MSG_DONTWAIT,
			0,
			0,
		)
		switch {
		case errno == 0:
			at += int(r)
			sent += int(r)
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !waited:
			waited = true
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(wait.Milliseconds()))
		case errno == unix.EAGAIN || errno == unix.ENOBUFS:
			count.unsent(len(tx)-at, errno)
			at = len(tx)
		default: // about the first message: no route, a firewall, an address gone
			count.unsent(1, errno)
			at++
		}
	}
	count.sent.Add(uint64(sent))
	runtime.KeepAlive(tx)
}

// asked finds the packet information in a control message: the address that was
// asked, and the control message that makes the answer come from it.
func asked(control []byte) (local netip.Addr, reply []byte) {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(control) {
			return netip.Addr{}, nil
		}
		whole := min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(control))
		data := control[unix.CmsgLen(0):length]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			info.Ifindex = 0 // the answer goes where routes say, not back where the question came in
			return netip.AddrFrom4(info.Spec_dst), control[:whole]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			local = netip.AddrFrom16(info.Addr).Unmap()
			if local.IsMulticast() {
				return local, nil
			}
			// A link-local address means nothing without its link.
			if !local.IsLinkLocalUnicast() {
				info.Ifindex = 0
			}
			return local, control[:whole]
		}
		control = control[whole:]
	}
	return netip.Addr{}, nil
}
