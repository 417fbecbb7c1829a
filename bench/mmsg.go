package main

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// room is the octets kept for one message: more than any UDP answer here has.
const room = 4096

// A batch is buffers for so many messages, laid out once.
type batch struct {
	msgs  []mmsghdr
	iovs  []unix.Iovec
	data  []byte
	names []unix.RawSockaddrInet4 // peers, where wanted
	infos []pktinfo               // sources to send from, where wanted
}

// pktinfo is a control message with struct in_pktinfo.
type pktinfo struct {
	hdr  unix.Cmsghdr
	info unix.Inet4Pktinfo
	_    [4]byte
}

func newBatch(n int, addressed bool) *batch {
	b := &batch{msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), data: make([]byte, n*room)}
	if addressed {
		b.names = make([]unix.RawSockaddrInet4, n)
	}
	for i := range b.msgs {
		b.iovs[i].Base = &b.data[i*room]
		b.iovs[i].SetLen(room)
		b.msgs[i].hdr.Iov = &b.iovs[i]
		b.msgs[i].hdr.SetIovlen(1)
		if addressed {
			b.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&b.names[i]))
			b.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
		}
	}
	return b
}

// fromSources gives every message a source address of its own.
func (b *batch) fromSources() {
	b.infos = make([]pktinfo, len(b.msgs))
	for i := range b.infos {
		c := &b.infos[i]
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		b.msgs[i].hdr.Control = (*byte)(unsafe.Pointer(c))
		b.msgs[i].hdr.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	}
}

// message returns the octets of message i.
func (b *batch) message(i int) []byte { return b.data[i*room : i*room+room] }

// recv reads up to n messages without waiting, or waits for the first. It
// returns how many there are, 0 if none.
func (b *batch) recv(fd, n int, wait bool) (int, error) {
	flags := unix.MSG_DONTWAIT
	if wait {
		flags = unix.MSG_WAITFORONE
	}
	return mmsg(unix.SYS_RECVMMSG, fd, b.msgs[:n], flags, wait)
}

// send sends the first n messages, all of them: a full buffer empties itself.
func (b *batch) send(fd, n int) error {
	for from := 0; from < n; {
		sent, err := mmsg(unix.SYS_SENDMMSG, fd, b.msgs[from:n], 0, false)
		if err != nil {
			return err
		}
		from += sent
	}
	return nil
}

func mmsg(call uintptr, fd int, msgs []mmsghdr, flags int, wait bool) (int, error) {
	var n uintptr
	var errno unix.Errno
	if wait {
		n, _, errno = unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), uintptr(flags), 0, 0)
	} else { // it returns at once: the scheduler need not know
		n, _, errno = unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), uintptr(flags), 0, 0)
	}
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, errno
}

// sockaddr returns the kernel's form of an address.
func sockaddr(a netip.AddrPort) unix.RawSockaddrInet4 {
	p := a.Port()
	return unix.RawSockaddrInet4{Family: unix.AF_INET, Port: p<<8 | p>>8, Addr: a.Addr().As4()}
}

// socketBuffer is large enough that a full window never overflows it.
const socketBuffer = 4 << 20

// udpSocket returns a bound socket.
func udpSocket(local netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	for _, o := range [][2]int{{unix.SO_RCVBUF, socketBuffer}, {unix.SO_SNDBUF, socketBuffer}, {unix.SO_REUSEPORT, 1}} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], o[1]); err != nil {
			return 0, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}); err != nil {
		return 0, fmt.Errorf("binding %s: %w", local, err)
	}
	return fd, nil
}
