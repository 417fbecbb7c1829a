package transfer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
)

// stream is a primary that answers AXFR with records for as long as next gives some.
func streamed(t *testing.T, next func(n int) (owner []byte, data []byte)) transfer.Client {
	t.Helper()
	return transfer.Client{Dial: func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
		if network != "tcp" {
			return nil, errors.New("no UDP here")
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			var length [2]byte
			if _, err := io.ReadFull(there, length[:]); err != nil {
				return
			}
			q := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(there, q); err != nil {
				return
			}
			ttl, head := version(t, 7, 1, "").SOA()
			for n, more := 0, true; more; {
				m := wire.AppendQuery(nil, binary.BigEndian.Uint16(q), wire.FlagQR|wire.FlagAA, apex, wire.TypeAXFR)
				count := 0
				if n == 0 {
					m = zone.AppendRecord(m, apex, wire.TypeSOA, ttl, head)
					m = zone.AppendRecord(m, apex, wire.TypeNS, ttl, []byte("\x02ns\x00"))
					count = 2
				}
				for len(m) < 60_000 && count < 500 {
					owner, data := next(n)
					if n++; owner == nil {
						m = zone.AppendRecord(m, apex, wire.TypeSOA, ttl, head)
						count, more = count+1, false
						break
					}
					m = zone.AppendRecord(m, owner, wire.TypeTXT, 60, data)
					count++
				}
				binary.BigEndian.PutUint16(m[6:], uint16(count))
				if _, err := there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)); err != nil {
					return
				}
			}
		}()
		return here, nil
	}}
}

// TestMemory bounds the memory that transfers take, one by itself and all together: of a
// primary that sends without end, in few octets on the wire or in many, and of names that
// each bring a hundred others. What is within the bound comes.
func TestMemory(t *testing.T) {
	under := func(label string) []byte { return append(append([]byte{byte(len(label))}, label...), apex...) }
	deep := strings.Repeat("\x01a", 100)
	endless := func(n int) ([]byte, []byte) { return under(fmt.Sprintf("h%d", n)), []byte{1, 'x'} }
	large := func(int) ([]byte, []byte) { return under("same"), append([]byte{250}, make([]byte, 250)...) }
	costly := func(n int) ([]byte, []byte) {
		if n == 2000 {
			return nil, nil
		}
		return append([]byte(deep), under(fmt.Sprintf("h%d", n))...), []byte{1, 'x'}
	}
	modest := func(n int) ([]byte, []byte) {
		if n == 2000 {
			return nil, nil
		}
		return endless(n)
	}
	considerable := func(n int) ([]byte, []byte) { // it takes more than half of what there is
		if n == 10_000 {
			return nil, nil
		}
		return endless(n)
	}
	const most = 8 << 20
	for what, c := range map[string]struct {
		next    func(n int) ([]byte, []byte)
		comes   bool
		records int
	}{
		"without end, names": {endless, false, 0}, "without end, data": {large, false, 0}, "names above names": {costly, false, 0},
		"modest": {modest, true, 2002}, "considerable": {considerable, true, 10_002},
	} {
		client := streamed(t, c.next)
		for _, shared := range []bool{false, true} {
			if client.Limits.Memory, client.Memory = most, nil; shared {
				client.Limits.Memory, client.Memory = 0, &transfer.Memory{Limit: most}
			}
			for range 5 { // what was taken is given back
				r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
				if (err == nil) != c.comes || err != nil && !strings.Contains(err.Error(), "bytes of memory") {
					t.Errorf("%s, shared %v: %v", what, shared, err)
				}
				if c.comes && err == nil && r.Zone.Records() != c.records {
					t.Errorf("%s, shared %v: %d records", what, shared, r.Zone.Records())
				}
			}
		}
	}
}
