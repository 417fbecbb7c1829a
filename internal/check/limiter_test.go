package check_test

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// TestPoliteness has many targets at one address: no more than eight questions are under
// way there.
func TestPoliteness(t *testing.T) {
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var mu sync.Mutex
	waiting, most := map[string]bool{}, 0
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			q := slices.Clone(buf[:n])
			mu.Lock()
			waiting[from.String()] = true
			most = max(most, len(waiting))
			mu.Unlock()
			time.AfterFunc(2*time.Millisecond, func() {
				mu.Lock()
				delete(waiting, from.String())
				mu.Unlock()
				binary.BigEndian.PutUint16(q[2:], 0x8005)
				_, _ = u.WriteTo(q, from)
			})
		}
	}()
	at := u.LocalAddr().(*net.UDPAddr).AddrPort()
	o := &check.Options{Timeout: time.Second, Limiter: check.NewLimiter()}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			r := &check.Run{Options: o, Server: finding.Server{Addr: at}}
			for range 3 {
				if _, err := r.Ask(t.Context(), check.Query{Name: wire.Root, Type: wire.TypeSOA}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most > 8 || most < 2 {
		t.Errorf("%d questions at the same time", most)
	}
}
