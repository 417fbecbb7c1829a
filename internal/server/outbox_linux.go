package server

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// togetherFrom is how many queries have to wait for answers for these to be sent together. Below it,
// hardly two come at the same time, and each is sent by whoever has it.
const togetherFrom = 32

// An outbox sends the answers to detached queries of one socket together, as a batcher sends those that it has at
// once: of what such an answer costs the system call is a tenth.
//
// Whoever puts the first one in starts a goroutine that stands behind those which are ready to run. They are, above
// all, the ones that the replies of other servers have woken, and by its turn each of them has put its answer in.
type outbox struct {
	socket *udpSocket
	raw    syscall.RawConn

	mu      sync.Mutex
	waiting *outBatch // what is put in next
	spare   *outBatch // a second one, for use while the first is sent
}

// An outBatch is answers that are sent by one system call, and the memory for it, whose pointers are made once.
type outBatch struct {
	n    int
	tx   [udpBatch]mmsghdr
	vec  [udpBatch]unix.Iovec
	name [udpBatch]unix.RawSockaddrInet6 // or RawSockaddrInet4, which is shorter
}

func newOutBatch() *outBatch {
	b := new(outBatch)
	for i := range b.tx {
		b.tx[i].hdr.Iov = &b.vec[i]
		b.tx[i].hdr.SetIovlen(1)
		b.tx[i].hdr.Name = (*byte)(unsafe.Pointer(&b.name[i]))
	}
	return b
}

func (o *outbox) bind(u *udpSocket) {
	o.socket, o.raw = u, u.now.raw
}

// put takes an answer to send, and keeps message and control until it is sent. It reports false if it is for the
// caller to send it, because few queries wait or because there is no room.
func (o *outbox) put(message, control []byte, to netip.AddrPort) bool {
	s := o.socket.server
	if s.udpPending.Load() < togetherFrom || s.options.Portable || len(message) == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.waiting
	if b == nil {
		b = newOutBatch()
		o.waiting = b
	}
	if b.n == udpBatch {
		return false
	}
	b.add(message, control, to, o.socket.now.is6)
	if b.n == 1 {
		s.udpOwed.Add(1) // until it is sent, whatever becomes of those who wait
		go o.flush()
	}
	return true
}

func (b *outBatch) add(message, control []byte, to netip.AddrPort, is6 bool) {
	i := b.n
	b.n++
	b.vec[i].Base = &message[0]
	b.vec[i].SetLen(len(message))
	h := &b.tx[i].hdr
	h.Namelen = putSockaddr(&b.name[i], to, is6)
	if len(control) > 0 {
		h.Control = &control[0]
		h.SetControllen(len(control))
	}
}

// putSockaddr writes an address for a socket, which is one of IPv6 or not, and returns its length.
func putSockaddr(name *unix.RawSockaddrInet6, to netip.AddrPort, is6 bool) uint32 {
	addr := to.Addr()
	if is6 {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: addr.As16(), Scope_id: scope(addr.Zone())}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
		return unix.SizeofSockaddrInet6
	}
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr.As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port())
	return unix.SizeofSockaddrInet4
}

// flush sends what has been put in when all who are ready to run have had their turn.
func (o *outbox) flush() {
	defer o.socket.server.udpOwed.Done()
	runtime.Gosched()
	o.mu.Lock()
	b := o.waiting
	o.waiting, o.spare = o.spare, nil
	o.mu.Unlock()
	count := &o.socket.server.laterUDP
	if err := o.raw.Write(func(fd uintptr) bool {
		sendAll(fd, b.tx[:b.n], count, 0) // nobody waits for room: see Responder
		return true
	}); err != nil {
		count.unsent(b.n, err)
	}
	b.clear()
	o.mu.Lock()
	o.spare = b
	o.mu.Unlock()
}

// clear forgets the answers, which others own.
func (b *outBatch) clear() {
	for i := range b.n {
		h := &b.tx[i].hdr
		h.Control = nil
		h.SetControllen(0)
		b.vec[i] = unix.Iovec{}
	}
	b.n = 0
}
