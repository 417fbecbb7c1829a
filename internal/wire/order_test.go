package wire_test

import (
	"math/rand/v2"
	"testing"

	"port53/internal/wire"
)

// FuzzOrder orders whatever a message is filled with: no more is read or written than the
// message has, and its octets stay the same, in another order.
func FuzzOrder(f *testing.F) {
	a := []byte{0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1}
	f.Add(append(append([]byte{}, a...), a...), uint8(2), uint8(1))
	f.Add(append(append([]byte{}, a...), a[:10]...), uint8(9), uint8(2))
	f.Add([]byte{1, 'a', 0, 0, 1}, uint8(200), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, records, order uint8) {
		var q wire.Query
		query := []byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}
		if q.Parse(query) != 0 || len(body) > 1000 {
			return
		}
		var b wire.Builder
		b.Start(make([]byte, 1500), 1500, 0, &q)
		before := b.Len()
		copy(b.Rest(), body)
		b.Take(len(body), [3]uint16{uint16(records), 0, 1})
		o := wire.NewOrderer(rand.Uint64())
		for range 3 {
			o.Apply(&b, wire.Order(order%3), 7)
		}
		var sum [2]int
		for i, c := range b.Bytes()[before:] {
			sum[0], sum[1] = sum[0]+int(c), sum[1]+int(body[i])
		}
		if sum[0] != sum[1] || b.Len() != before+len(body) {
			t.Errorf("% x became % x", body, b.Bytes()[before:])
		}
	})
}
