//go:build !linux

package server

import "net/netip"

// controlLen is 0: no control messages are asked for.
const controlLen = 0

// asked cannot tell which address was asked.
func asked([]byte) (netip.Addr, []byte) { return netip.Addr{}, nil }

// serve answers until the server drains.
func (u *udpSocket) serve(w Worker, count *traffic) { u.servePortable(w, count) }
