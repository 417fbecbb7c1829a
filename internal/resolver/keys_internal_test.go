package resolver

import (
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/wire"
)

// TestKeysForADay has keys with all sorts of TTLs: they are trusted for so long, at least a
// second, and never for longer than a day or than their signature holds (RFC 4035, section
// 5.3.3). Then they are asked for again.
func TestKeysForADay(t *testing.T) {
	const day = 86400
	k, err := dnssec.GenerateKey(wire.Root, dnssec.ED25519, dnssec.FlagZone|dnssec.FlagSEP)
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{Cache: cache.New(cache.Options{Size: 1 << 20})}, Compile(Settings{}))
	defer r.Close()
	for _, c := range []struct{ ttl, holds, want uint32 }{
		{0, 9 * day, 1}, {300, 9 * day, 300}, {day, 9 * day, day}, {7 * day, 9 * day, day}, {7 * day, 600, 600},
	} {
		now := time.Now()
		set := &wire.RRset{Owner: wire.Root, Type: wire.TypeDNSKEY, TTL: c.ttl, Data: [][]byte{k.Key.Data}}
		sig, err := k.Sign(set, uint32(now.Unix())-60, uint32(now.Unix())+c.holds)
		if err != nil {
			t.Fatal(err)
		}
		set.Sigs = [][]byte{sig}
		task := r.task(r.configs[0].Load())
		tr := task.keysIn(&link{kind: foundAnswer, set: set}, wire.Root, &dnssec.TrustPoint{DNSKEYs: [][]byte{k.Key.Data}})
		task.release()
		if got := tr.expires.Sub(now).Seconds(); tr.sec != secSecure || len(tr.keys) != 1 || got < max(float64(c.want)-2, 1) || got > float64(c.want)+5 {
			t.Errorf("a TTL of %d s and a signature for %d s: %v, trusted for %.0f s, want %d", c.ttl, c.holds, tr.sec, got, c.want)
		}
	}
}
