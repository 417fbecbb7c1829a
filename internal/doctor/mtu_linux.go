package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"port53/internal/exchange"
	"port53/internal/wire"
)

const (
	probeTries = 3
	probeWait  = time.Second
)

var errSilent = errors.New("it does not answer: the path cannot be told from a server that is down")

// A reach is what became of a question of a size.
type reach uint8

const (
	silent  reach = iota // it went out, and nothing came back
	arrives              // it is answered
	known                // it did not go out: the kernel knows that the path does not carry it
)

// largest returns the size of the largest question that a server answers, up to full, sent in one
// packet that may not be cut. What the kernel itself knows to be too large is no hole: then it returns full.
func (p *patient) largest(ctx context.Context, to netip.AddrPort) (int, error) {
	if got, err := send(ctx, to, plain); err != nil || got != arrives {
		return 0, errors.Join(err, errSilent)
	}
	low, high, hole := plain, full+1, false
	for next := full; high-low > 8; next = (low + high) / 2 {
		got, err := send(ctx, to, next)
		switch {
		case err != nil:
			return 0, err
		case got == arrives:
			low = next
		default:
			high, hole = next, hole || got == silent
		}
		if low == full {
			break
		}
	}
	if !hole {
		return full, nil
	}
	return low, nil
}

// send sends a question of a size. It is padded (RFC 7830), asks for nothing that is large, and may
// be refused: that it was read is all that counts.
func send(ctx context.Context, to netip.AddrPort, size int) (reach, error) {
	conn, err := (&net.Dialer{Control: whole(to)}).DialContext(ctx, "udp", to.String())
	if err != nil {
		return silent, err
	}
	defer conn.Close()
	query := padded(size)
	for range probeTries {
		if _, err := conn.Write(query); errors.Is(err, unix.EMSGSIZE) {
			return known, nil
		} else if err != nil {
			return silent, err
		}
		deadline := time.Now().Add(probeWait)
		stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
		err := conn.SetReadDeadline(deadline)
		got := err == nil && heard(conn, query)
		stop()
		if got {
			return arrives, nil
		}
		if ctx.Err() != nil {
			return silent, context.Cause(ctx)
		}
	}
	return silent, nil
}

// whole has a socket's packets never be cut, and the kernel say when it knows that one is too large.
func whole(to netip.AddrPort) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var fault error
		err := c.Control(func(fd uintptr) {
			if to.Addr().Is6() {
				fault = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
			} else {
				fault = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
			}
		})
		return errors.Join(err, fault)
	}
}

// heard reports whether a reply to query comes before conn's deadline.
func heard(conn net.Conn, query []byte) bool {
	buf := make([]byte, 65535)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return false // its time is over, or nobody listens
		}
		if exchange.Match(query, buf[:n]) > exchange.NearMiss {
			return true
		}
	}
}

// padded returns a question for the root's SOA that is size octets long.
func padded(size int) []byte {
	q := exchange.Question{Name: []byte{0}, Type: wire.TypeSOA, EDNS: true, Class: wire.ClassIN, UDPSize: exchange.UDPSize}
	short := q.Append(nil, 0, nil)
	q.Options = append(q.Options, exchange.Option{Code: wire.OptionPadding, Data: make([]byte, max(0, size-len(short)-4))})
	return q.Append(nil, uint16(size)<<4|5, nil)
}
