package resolver

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"port53/internal/cache"
	"port53/internal/wire"
)

// TestDelegationsForADay keeps delegations of all sorts of TTLs in a cache that keeps what it
// has for a month: none is believed for longer than a day before the parent is asked again
// (ghost domains).
func TestDelegationsForADay(t *testing.T) {
	const day = 86400
	r := New(Options{Cache: cache.New(cache.Options{Size: 1 << 20, MaxTTL: 30 * day})}, Compile(Settings{}))
	defer r.Close()
	for _, c := range []struct{ ttl, want uint32 }{{300, 300}, {day, day}, {day + 1, day}, {7 * day, day}} {
		task := r.task(r.configs[0].Load())
		now := task.unix()
		made := &cut{zone: []byte("\x04test\x00"), targets: []target{{name: []byte("\x02ns\x04test\x00"), addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
		task.keepCut(made, c.ttl)
		kept := task.cachedCut(0, made.zone)
		for what, got := range map[string]*cut{"made": made, "kept": kept} {
			if got == nil || got.expires < now+int64(c.want) || got.expires > now+int64(c.want)+5 {
				t.Errorf("%s, a TTL of %d s: %+v at %d, want %d s", what, c.ttl, got, now, c.want)
			}
		}
		task.release()
	}
}

// TestNegativeTTL has SOA records whose TTL is more and less than their MINIMUM: a negative
// answer is kept for the smaller of both (RFC 2308, section 5).
func TestNegativeTTL(t *testing.T) {
	name := []byte("\x01n\x04test\x00")
	for _, c := range []struct{ ttl, minimum, want uint32 }{{3600, 300, 300}, {300, 3600, 300}, {60, 60, 60}} {
		soa := append([]byte{0, 0}, make([]byte, 20)...)
		binary.BigEndian.PutUint32(soa[len(soa)-4:], c.minimum)
		res := &result{rcode: wire.NXDomain, sec: secInsecure, ede: edeNone, authority: []*wire.RRset{{Owner: name[2:], Type: wire.TypeSOA, TTL: c.ttl, Data: [][]byte{soa}}}}
		if a := res.finish(name, wire.TypeA, false); a.TTL != c.want {
			t.Errorf("a TTL of %d s and a MINIMUM of %d: kept for %d s, want %d", c.ttl, c.minimum, a.TTL, c.want)
		}
	}
}
