package check_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// TestNoWayIsNoTry has more addresses that this machine has no way to than a question has tries:
// the server behind them is asked nevertheless.
func TestNoWayIsNoTry(t *testing.T) {
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2] |= 0x84 // QR, AA
			_, _ = u.WriteTo(buf[:n], from)
		}
	}()
	o := &check.Options{Timeout: time.Second, Limiter: check.NewLimiter(), Lab: check.Lab{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "[") {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}}
	var servers []finding.Server
	for a := netip.MustParseAddr("2001:db8::1"); len(servers) <= check.WalkServers; a = a.Next() {
		servers = append(servers, finding.Server{Addr: netip.AddrPortFrom(a, 53)})
	}
	r := &check.Run{Options: o, Facts: new(check.Facts)}
	q := check.Query{Name: wire.Root, Type: wire.TypeSOA}
	if _, err := r.AskAny(t.Context(), servers, q); !errors.Is(err, finding.ErrLocal) {
		t.Errorf("no way at all: %v", err)
	}
	servers = append(servers, finding.Server{Addr: u.LocalAddr().(*net.UDPAddr).AddrPort()})
	if _, err := r.AskAny(t.Context(), servers, q); err != nil {
		t.Error(err)
	}
	if r.HasRoute(t.Context(), servers[0].Addr) || !r.HasRoute(t.Context(), servers[len(servers)-1].Addr) {
		t.Error("what can be reached is told wrongly")
	}
}
