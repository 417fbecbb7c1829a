package main

import "net/netip"

// echoBatch is how many messages the bare responder takes at once.
const echoBatch = 64

// echo is the floor of a DNS server: it sets QR and sends the query back. What
// it costs is what the kernel's UDP path costs; nothing can be faster through
// sockets.
func echo(addr netip.AddrPort) error {
	fd, err := udpSocket(addr)
	if err != nil {
		return err
	}
	b := newBatch(echoBatch, true)
	for {
		for i := range b.msgs {
			b.iovs[i].SetLen(room)
		}
		n, err := b.recv(fd, echoBatch, true)
		if err != nil {
			return err
		}
		for i := range n {
			b.message(i)[2] |= 0x80
			b.iovs[i].SetLen(int(b.msgs[i].n))
		}
		if err := b.send(fd, n); err != nil {
			return err
		}
	}
}
