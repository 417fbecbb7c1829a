package dnstest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePort returns a port of 127.0.0.1 that is free for UDP and TCP. It is not one of those that the kernel gives to whoever
// asks, of which another test could get it before the server does.
func FreePort() (string, error) {
	for range 1000 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		at := net.JoinHostPort("127.0.0.1", port)
		u, err := net.ListenPacket("udp4", at)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp4", at)
		u.Close()
		if err != nil {
			continue
		}
		l.Close()
		return port, nil
	}
	return "", errors.New("no port of 127.0.0.1 is free")
}
