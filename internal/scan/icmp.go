package scan

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"time"
)

// An icmpError is a message that a datagram of ours was not delivered.
type icmpError struct {
	v6         bool
	kind, code uint8
	from       netip.Addr // who sends it; zero if the system does not tell
}

// reason returns nmap's word for an ICMP error, or "" for one that tells no state.
func (e *icmpError) reason() string {
	switch {
	case e.v6 && e.kind == 1 && int(e.code) < 7:
		return [...]string{"no-route", reasonAdmin, "beyond-scope", reasonHost, reasonPort, reasonAdmin, "reject-route"}[e.code]
	case e.v6 && e.kind == 3, !e.v6 && e.kind == 11:
		return "time-exceeded"
	case !e.v6 && e.kind == 3:
		switch e.code {
		case 0:
			return reasonNet
		case 1:
			return reasonHost
		case 2:
			return reasonProto
		case 3:
			return reasonPort
		case 9:
			return "net-prohibited"
		case 10:
			return "host-prohibited"
		case 13:
			return reasonAdmin
		}
	}
	return ""
}

// CountRefused sends an empty datagram to each of n UDP ports from first on, all at once,
// and returns how many of them ICMP errors refuse within wait. It needs a socket that
// tells errors of many ports, which Linux alone has.
func CountRefused(ctx context.Context, host netip.Addr, first uint16, n int, wait time.Duration) (int, error) {
	c, err := openUDP(ctx, netip.AddrPortFrom(host, first))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for i := range n {
		if err := c.sendTo(nil, netip.AddrPortFrom(host.Unmap(), first+uint16(i))); err != nil {
			if _, _, told := unsent(err); !told {
				return 0, err
			}
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	refused := 0
	buf := make([]byte, 512)
	for {
		m, err := c.receive(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return refused, ctx.Err()
		case err != nil:
			return refused, err
		case m.icmp != nil && m.icmp.reason() == reasonPort:
			refused++
		}
	}
}
