package conformance_test

import "net"

// accept has each connection that comes be handled by itself, and closed then, until the listener is.
func accept(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			handle(c)
		}()
	}
}
