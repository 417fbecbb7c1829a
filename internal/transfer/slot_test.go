package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/transfer"
)

// A tracked is a connection and a place that write down what is done with them.
type tracked struct {
	net.Conn
	did  *[]string
	full error // of Acquire
	lost int   // which call of Wait loses the place; 0: none
	n    int
}

var errLost = errors.New("the place is lost")

func (p *tracked) note(what string) { *p.did = append(*p.did, what) }

func (p *tracked) Close() error {
	p.note("close")
	return p.Conn.Close()
}

func (p *tracked) Acquire() error {
	p.note("enter")
	return p.full
}

func (p *tracked) Release() { p.note("leave") }

func (p *tracked) Wait(f func()) error {
	f()
	if p.n++; p.n == p.lost {
		return errLost
	}
	return nil
}

// TestSlot fetches a zone of several messages with places that are full, and that are lost
// while the transfer waits: nothing is dialled before there is a place, what was lost is told,
// the connection is closed and the place given back, once each.
func TestSlot(t *testing.T) {
	zone := func(n int) ([]byte, []byte) {
		if n == 2000 {
			return nil, nil
		}
		label := fmt.Sprintf("h%d", n)
		return append(append([]byte{byte(len(label))}, label...), apex...), []byte{1, 'x'}
	}
	full := errors.New("full")
	for _, c := range []struct {
		what string
		full error
		lost int
		want error
		did  []string
	}{
		{"a place", nil, 0, nil, []string{"enter", "dial", "close", "leave"}},
		{"no place", full, 0, full, []string{"enter"}},
		{"lost while it connects", nil, 1, errLost, []string{"enter", "dial", "close", "leave"}},
		{"lost before the first message", nil, 2, errLost, []string{"enter", "dial", "close", "leave"}},
		{"lost in the middle", nil, 4, errLost, []string{"enter", "dial", "close", "leave"}},
	} {
		var did []string
		client := streamed(t, zone)
		dial := client.Dial
		p := &tracked{did: &did, full: c.full, lost: c.lost}
		client.Slot = func(context.Context) transfer.Slot { return p }
		client.Dial = func(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
			p.note("dial")
			conn, err := dial(ctx, network, addr)
			p.Conn = conn
			return p, err
		}
		r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		if !errors.Is(err, c.want) || (err == nil) != (r != nil) {
			t.Errorf("%s: %v", c.what, err)
		}
		if !slices.Equal(did, c.did) {
			t.Errorf("%s: %v, want %v", c.what, did, c.did)
		}
	}
}

// TestMemoryOfFewMessages has a transfer that ends before its memory is looked at on the way.
func TestMemoryOfFewMessages(t *testing.T) {
	client := streamed(t, func(n int) ([]byte, []byte) {
		if n == 2000 {
			return nil, nil
		}
		label := fmt.Sprintf("h%d", n)
		return append(append([]byte{byte(len(label))}, label...), apex...), []byte{1, 'x'}
	})
	for most, comes := range map[int64]bool{10 << 10: false, 8 << 20: true} {
		client.Limits.Memory = most
		if _, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed); (err == nil) != comes || err != nil && !errors.Is(err, transfer.ErrTooLarge) {
			t.Errorf("%d octets: %v", most, err)
		}
	}
}

// TestPatience has a primary that takes its time before its first message and before those that
// follow: the first may take longer, and each its own limit.
func TestPatience(t *testing.T) {
	for _, c := range []struct {
		first, next time.Duration
		comes       bool
		ends        time.Duration // when the transfer does
	}{
		{9 * time.Second, time.Second, true, 10 * time.Second},
		{11 * time.Second, time.Second, false, 10 * time.Second},
		{5 * time.Second, 3 * time.Second, false, 7 * time.Second},
		{0, 3 * time.Second, false, 2 * time.Second},
		{0, 0, true, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := streamed(t, func(n int) ([]byte, []byte) {
				if n == 0 {
					time.Sleep(c.first)
				} else if n == 500 { // the first of the second message
					time.Sleep(c.next)
				} else if n == 600 {
					return nil, nil
				}
				return apex, []byte{3, byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)}
			})
			client.Limits = transfer.Limits{First: 10 * time.Second, Idle: 2 * time.Second, Total: time.Hour}
			begun := time.Now()
			_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
			if took := time.Since(begun); (err == nil) != c.comes || took != c.ends {
				t.Errorf("%v, then %v: %v after %v, want it to end after %v", c.first, c.next, err, took, c.ends)
			}
			time.Sleep(time.Minute) // the primary notices, and ends
		})
	}
}

// TestSmallTransfersAreFree has transfers that take less than a step of the memory that all
// share: they come however little of it there is.
func TestSmallTransfersAreFree(t *testing.T) {
	client := streamed(t, func(n int) ([]byte, []byte) {
		if n == 10 {
			return nil, nil
		}
		return apex, []byte{1, byte('0' + n)}
	})
	client.Memory = &transfer.Memory{Limit: 512 << 10}
	if _, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed); err != nil {
		t.Error(err)
	}
}
