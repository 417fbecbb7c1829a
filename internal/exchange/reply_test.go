package exchange_test

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"port53/internal/exchange"
)

// TestUnreachable has no route to the servers, then to one of them alone: only the first is said to be unreachable.
func TestUnreachable(t *testing.T) {
	attempt := func(errno syscall.Errno) exchange.Attempt {
		return exchange.Attempt{Server: netip.MustParseAddrPort("192.0.2.1:53"), Err: os.NewSyscallError("connect", errno)}
	}
	for _, tt := range []struct {
		begins   string
		attempts []exchange.Attempt
	}{
		{"no server can be reached: ", []exchange.Attempt{attempt(syscall.ENETUNREACH), attempt(syscall.EHOSTUNREACH)}},
		{"no reply: ", []exchange.Attempt{attempt(syscall.ENETUNREACH), attempt(syscall.ECONNREFUSED)}},
		{"no reply: ", nil},
	} {
		if got := (&exchange.NoReplyError{Attempts: tt.attempts}).Error(); !strings.HasPrefix(got, tt.begins) {
			t.Errorf("got %q, want it to begin with %q", got, tt.begins)
		}
	}
}
