package cache

import (
	"fmt"
	"testing"

	"port53/internal/wire"
)

// TestFilter fills a cache many times over: what is there is found, and of what is not, which is most of
// what a resolver looks for, the index is asked for a quarter at the most.
func TestFilter(t *testing.T) {
	const now, size, live = 1_000_000, 1 << 20, 2000
	c := New(Options{Size: size, Seed: 53})
	name := func(i int) []byte {
		label := fmt.Sprintf("%08d", i)
		return append(append([]byte{byte(len(label))}, label...), 0)
	}
	has := func(i int, k kind) bool {
		h := c.hash(name(i))
		return c.shard(h).names.has(h, k)
	}
	set := wire.RRset{Type: wire.TypeTXT, TTL: 300, Data: [][]byte{make([]byte, 50)}}
	const put = 10 * size / 112 // octets of such an entry
	for i := range put {
		set.Owner = name(i)
		if !c.Writer().PutRRset(0, &set, AuthAnswer, Insecure, now) {
			t.Fatal("a set was not kept")
		}
		for j := max(i-live, 0); j <= i; j += live / 5 {
			if !has(j, kindRRset) {
				t.Fatalf("set %d of %d is not told of", j, i)
			}
		}
	}
	const looks = 10_000
	for what, look := range map[string]func(i int) bool{
		"names that never were":             func(i int) bool { return has(-1-i, kindRRset) },
		"names that have gone":              func(i int) bool { return has(i, kindRRset) },
		"what there is of another kind":     func(i int) bool { return has(put-1-i%live, kindDenial) },
		"what there is of a kind beside it": func(i int) bool { return has(put-1-i%live, kindAnswer) },
	} {
		n := 0
		for i := range looks {
			if look(i) {
				n++
			}
		}
		if n > looks/4 {
			t.Errorf("%d of %d %s are looked for in the index", n, looks, what)
		}
	}
}
