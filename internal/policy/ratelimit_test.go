package policy_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/policy"
)

var victim = netip.MustParseAddr("198.51.100.7")

func newLimiter(t testing.TB, o policy.RateOptions) *policy.RateLimiter {
	t.Helper()
	l, err := policy.NewRateLimiter(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ask asks n times at one moment and counts the verdicts.
func ask(l *policy.RateLimiter, now time.Duration, client netip.Addr, class policy.Class, key uint64, n int) (counts [policy.VerdictCount]int) {
	for range n {
		counts[l.Check(int64(now), client, class, key)]++
	}
	return counts
}

func TestSteadyRatePasses(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{})
	for i := range 20 * 3600 * 6 { // hours
		if v := l.Check(int64(i)*int64(time.Second)/20, victim, policy.Positive, 1); v != policy.Send {
			t.Fatalf("response %d: %v", i, v)
		}
	}
}

func TestBurstThenRate(t *testing.T) {
	for _, class := range []policy.Class{policy.Positive, policy.NoData, policy.NXDomain, policy.Referral, policy.Error} {
		l := newLimiter(t, policy.RateOptions{})
		if got := ask(l, 0, victim, class, 1, 1000)[policy.Send]; got != 100 {
			t.Errorf("%v: %d of a burst were sent, want 100", class, got)
		}
		sent := 0
		for ms := 1; ms <= 10_000; ms++ {
			sent += ask(l, time.Duration(ms)*time.Millisecond, victim, class, 1, 5)[policy.Send]
		}
		if sent < 199 || sent > 201 {
			t.Errorf("%v: %d were sent in 10 s, want 200", class, sent)
		}
		// 5 s without a question: the burst is there again.
		if got := ask(l, 15*time.Second, victim, class, 1, 1000)[policy.Send]; got < 99 || got > 100 {
			t.Errorf("%v: %d were sent after a pause, want 100", class, got)
		}
	}
}

func TestSlip(t *testing.T) {
	for _, test := range []struct {
		slip int
		want string // the first limited responses: s slip, d drop
	}{{0, "sdsdsdsd"}, {1, "ssssssss"}, {2, "sdsdsdsd"}, {3, "sddsddsd"}, {policy.NeverSlip, "dddddddd"}, {100, "s" + strings.Repeat("d", 99) + "sd"}} {
		for _, byCeiling := range []bool{false, true} {
			o := policy.RateOptions{Slip: test.slip}
			if byCeiling {
				o.CeilingBurst = 50
			}
			l := newLimiter(t, o)
			ask(l, 0, victim, policy.Positive, 1, 100-50*b2i(byCeiling))
			var got strings.Builder
			for range test.want {
				got.WriteByte(l.Check(0, victim, policy.Positive, 1).String()[0])
			}
			if got.String() != test.want {
				t.Errorf("slip %d, ceiling %v: %s, want %s", test.slip, byCeiling, &got, test.want)
			}
		}
	}
	l := newLimiter(t, policy.RateOptions{Slip: 1})
	if got := ask(l, 0, victim, policy.Error, 1, 200); got[policy.Slip] != 0 || got[policy.Drop] != 100 {
		t.Errorf("errors slip: %v", got)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// What belongs to one bucket, and what to another.
func TestKeys(t *testing.T) {
	addr := netip.MustParseAddr
	for _, test := range []struct {
		name   string
		client string
		class  policy.Class
		key    uint64
		same   bool
	}{
		{"the same", "198.51.100.7", policy.Positive, 1, true},
		{"a neighbour in the /24", "198.51.100.250", policy.Positive, 1, true},
		{"mapped into IPv6", "::ffff:198.51.100.8", policy.Positive, 1, true},
		{"the next /24", "198.51.101.7", policy.Positive, 1, false},
		{"the IPv6 address of the same number", "::198.51.100.7", policy.Positive, 1, false},
		{"an IPv6 address that ends as if it were mapped", "2001:db8::ffff:198.51.100.7", policy.Positive, 1, false},
		{"another name", "198.51.100.7", policy.Positive, 2, false},
		{"another class", "198.51.100.7", policy.NoData, 1, false},
		{"an error", "198.51.100.7", policy.Error, 1, false},
	} {
		l := newLimiter(t, policy.RateOptions{})
		ask(l, 0, victim, policy.Positive, 1, 100)
		if got := l.Check(0, addr(test.client), test.class, test.key); (got != policy.Send) != test.same {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	l := newLimiter(t, policy.RateOptions{})
	ask(l, 0, victim, policy.Error, 1, 100)
	if l.Check(0, victim, policy.Error, 2) == policy.Send {
		t.Error("errors have a key")
	}
	six := addr("2001:db8:1:2::1")
	for _, test := range []struct {
		bits   int
		client string
		same   bool
	}{
		{0, "2001:db8:1:2ff::9", false},
		{0, "2001:db8:1:ff::9", true},
		{0, "2001:db8:1:100::1", false},
		{48, "2001:db8:1:ffff::9", true},
		{48, "2001:db8:2::1", false},
		{64, "2001:db8:1:2:ffff::", true},
		{64, "2001:db8:1:3::1", false},
		{128, "2001:db8:1:2::1", true},
		{128, "2001:db8:1:2::2", false},
		{112, "2001:db8:1:2::ffff", true},
		{112, "2001:db8:1:2::1:0", false},
	} {
		l := newLimiter(t, policy.RateOptions{IPv6Prefix: test.bits})
		ask(l, 0, six, policy.Positive, 1, 100)
		if got := l.Check(0, addr(test.client), policy.Positive, 1); (got != policy.Send) != test.same {
			t.Errorf("IPv6 prefix %d, %s: %v", test.bits, test.client, got)
		}
	}
}

// A network that is flooded with one name gets answers to others.
func TestOneNameCostsNothingElse(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{})
	for i := range 50_000 {
		now := int64(i) * int64(time.Second) / 50_000
		l.Check(now, victim, policy.Positive, 1)
		if i%2500 == 0 {
			if v := l.Check(now, victim, policy.Positive, 2); v != policy.Send {
				t.Fatalf("%v for the other name", v)
			}
		}
	}
}

func TestCeiling(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{})
	sent := 0
	for i := range 10_000 {
		sent += b2i(l.Check(0, victim, policy.Positive, uint64(i)) == policy.Send)
	}
	if sent != 2000 {
		t.Errorf("%d different names were answered at once, want 2000", sent)
	}
	sent = 0
	for ms := 1; ms <= 10_000; ms++ {
		for range 5 {
			sent += b2i(l.Check(int64(ms)*int64(time.Millisecond), victim, policy.Class(sent%4), rand.Uint64()) == policy.Send)
		}
	}
	if sent < 9990 || sent > 10_010 {
		t.Errorf("%d were sent in 10 s, want 10000", sent)
	}
	if l.Check(0, netip.MustParseAddr("198.51.101.1"), policy.Positive, 1) != policy.Send {
		t.Error("another network is limited")
	}
}

func TestLogOnly(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{LogOnly: true})
	got := ask(l, 0, victim, policy.Positive, 1, 1000)
	if want := ([policy.VerdictCount]int{policy.Send: 100, policy.WouldSlip: 450, policy.WouldDrop: 450}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestExempt(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{Exempt: prefixes("198.51.100.0/28", "2001:db8::/32")})
	for client, want := range map[string]int{"198.51.100.7": 1000, "198.51.100.16": 100, "2001:db8::1": 1000, "2001:db9::1": 100} {
		if got := ask(l, 0, netip.MustParseAddr(client), policy.NXDomain, 1, 1000)[policy.Send]; got != want {
			t.Errorf("%s: %d sent, want %d", client, got, want)
		}
	}
}

func TestRateOptions(t *testing.T) {
	for _, o := range []policy.RateOptions{
		{PerSecond: -1},
		{PerSecond: 100_000_001},
		{Burst: -1},
		{Burst: 1<<30 + 1},
		{Ceiling: -1},
		{CeilingBurst: -1},
		{Slip: -2},
		{Slip: 101},
		{IPv4Prefix: 33},
		{IPv4Prefix: -1},
		{IPv6Prefix: 129},
		{Memory: 4095},
		{Memory: math.MaxInt},
		{Exempt: prefixes("10.0.0.1/8")},
	} {
		if _, err := policy.NewRateLimiter(o); err == nil {
			t.Errorf("%+v: accepted", o)
		}
	}
	newLimiter(t, policy.RateOptions{PerSecond: 100_000_000, Burst: 1 << 30, Ceiling: 1, CeilingBurst: 1, Slip: 100, IPv4Prefix: 1, IPv6Prefix: 1, Memory: 4096})
}

// Fast rates and slow ones are kept alike.
func TestRates(t *testing.T) {
	for _, rate := range []int{1, 7, 1000, 100_000} {
		l := newLimiter(t, policy.RateOptions{PerSecond: rate, Burst: 10, Ceiling: 100_000_000, CeilingBurst: 1 << 30})
		sent := 0
		const seconds, steps = 5, 100_000
		for i := range steps + 1 {
			now := int64(i) * seconds * int64(time.Second) / steps
			for l.Check(now, victim, policy.Positive, 1) == policy.Send {
				sent++
			}
		}
		if want := seconds*rate + 10; sent < want-1 || sent > want+1 {
			t.Errorf("%d a second: %d sent in %d s, want %d", rate, sent, seconds, want)
		}
	}
}

// A bucket that was left alone for the 32 bits of its numbers to come round is full.
func TestNumbersComeRound(t *testing.T) {
	for _, pause := range []time.Duration{time.Hour, 1 << 31 * time.Microsecond, (1<<32 - 50_000_000) * time.Microsecond} {
		l := newLimiter(t, policy.RateOptions{PerSecond: 1_000_000, Burst: 100, Ceiling: 1_000_000})
		ask(l, 0, victim, policy.Positive, 1, 100)
		if got := ask(l, pause, victim, policy.Positive, 1, 200)[policy.Send]; got != 100 {
			t.Errorf("after %v: %d sent, want 100", pause, got)
		}
	}
}

// Nor is it a matter of the moment when a network comes first: before its numbers come round,
// what is free looks as if tokens were missing.
func TestNewAsNumbersComeRound(t *testing.T) {
	for before := range int64(10) {
		l := newLimiter(t, policy.RateOptions{Ceiling: 1, CeilingBurst: 5, PerSecond: 1, Burst: 5})
		now := time.Duration(1<<32-before)*time.Second + time.Second/2
		if got := ask(l, now, victim, policy.Positive, 1, 10)[policy.Send]; got != 5 {
			t.Errorf("%d s before: %d sent, want 5", before, got)
		}
	}
}

// A flood from random networks, which fills each set of a small table with buckets
// in use, limits no one who asks for little.
func TestFullTable(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{Memory: 64 << 10}) // 8192 buckets
	r := rand.New(rand.NewPCG(5, 6))
	limited := 0
	const rounds = 100_000
	for i := range rounds {
		now := int64(i) * int64(time.Second) / 2_000_000
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		for range 3 { // so that there is something to share
			l.Check(now, netip.AddrFrom4(b), policy.Positive, 1)
		}
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		limited += b2i(l.Check(now, netip.AddrFrom4(b), policy.Positive, 1) != policy.Send)
	}
	// At most 7 in 2^24 share a bucket, and it would have to be an empty one: 0 is what
	// is expected of 100,000, and 2 would be a fault.
	if limited > 1 {
		t.Errorf("%d of %d innocent networks were limited", limited, rounds)
	}
}

// The table of one network under attack cannot be made to forget: buckets with few
// tokens out go first.
func TestHeavyBucketStays(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{Memory: 4096, Ceiling: 1_000_000, CeilingBurst: 1 << 20}) // 64 sets
	ask(l, 0, victim, policy.Positive, 1, 100)
	r := rand.New(rand.NewPCG(7, 8))
	for range 10_000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		l.Check(0, netip.AddrFrom4(b), policy.Positive, 1)
	}
	if v := l.Check(0, victim, policy.Positive, 1); v == policy.Send {
		t.Error("the bucket was forgotten")
	}
}

// A network at its ceiling uses up none of its names' limits: once there is room, they have
// all of theirs.
func TestCeilingCostsNamesNothing(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{PerSecond: 1, Burst: 20, Ceiling: 1000, CeilingBurst: 50})
	for i := range 50 {
		if v := l.Check(0, victim, policy.Positive, uint64(100+i)); v != policy.Send {
			t.Fatalf("name %d: %v", i, v)
		}
	}
	if got := ask(l, 0, victim, policy.Positive, 1, 100)[policy.Send]; got != 0 {
		t.Errorf("%d were sent above the ceiling", got)
	}
	if got := ask(l, 50*time.Millisecond, victim, policy.Positive, 1, 100)[policy.Send]; got != 20 {
		t.Errorf("%d were sent of the name once there was room, want 20", got)
	}
}

// Nor can it be made to forget who is at its ceiling: how full a bucket is, its own limit
// says, however long ago the clock began.
func TestHeavyNetworkStays(t *testing.T) {
	const now = int64(12345 * time.Second)
	l := newLimiter(t, policy.RateOptions{Memory: 4096, PerSecond: 100_000, Burst: 5, Ceiling: 1, CeilingBurst: 50})
	for i := range 50 {
		l.Check(now, victim, policy.Positive, uint64(i))
	}
	r := rand.New(rand.NewPCG(11, 12))
	for range 10_000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		l.Check(now, netip.AddrFrom4(b), policy.Positive, 1)
	}
	if v := l.Check(now, victim, policy.Positive, 99); v == policy.Send {
		t.Error("the ceiling was forgotten")
	}
}

// A flood of 50,000/s from one network, with whatever mix of names, gets back no
// more than twice its octets: here the largest answers that UDP may carry, for
// questions as short as they come with that many names.
func TestFloodRatio(t *testing.T) {
	const (
		perSecond = 50_000
		question  = 12 + 9 + 4 + 11 // header, a name with 8 octets for labels, type and class, OPT
		answer    = 1232
		seconds   = 5
	)
	r := rand.New(rand.NewPCG(9, 10))
	mixes := map[string]func(i int) (policy.Class, uint64){
		"one name":       func(int) (policy.Class, uint64) { return policy.Positive, 1 },
		"20 names":       func(i int) (policy.Class, uint64) { return policy.Positive, uint64(i % 20) },
		"50 names":       func(i int) (policy.Class, uint64) { return policy.Positive, uint64(i % 50) },
		"1000 names":     func(i int) (policy.Class, uint64) { return policy.Positive, uint64(i % 1000) },
		"every name new": func(int) (policy.Class, uint64) { return policy.Positive, r.Uint64() },
		"every class":    func(i int) (policy.Class, uint64) { return policy.Class(i % policy.ClassCount), r.Uint64N(100) },
		"no such name":   func(int) (policy.Class, uint64) { return policy.NXDomain, 1 },
		"many zones":     func(int) (policy.Class, uint64) { return policy.Referral, r.Uint64N(10_000) },
		"errors":         func(int) (policy.Class, uint64) { return policy.Error, r.Uint64() },
	}
	for name, mix := range mixes {
		for _, slip := range []int{policy.NeverSlip, 1, 2} {
			l := newLimiter(t, policy.RateOptions{Slip: slip})
			in, out, sent, slips := 0, 0, 0, 0
			for i := range perSecond * seconds {
				class, key := mix(i)
				in += question
				switch l.Check(int64(i)*int64(time.Second)/perSecond, victim, class, key) {
				case policy.Send:
					out += answer
					sent++
				case policy.Slip:
					out += question
					slips++
				}
			}
			ratio := float64(out) / float64(in)
			t.Logf("%s, slip %d: %d sent, %d slips, octets out/in %.2f", name, slip, sent, slips, ratio)
			if ratio > 2 {
				t.Errorf("%s, slip %d: octets out/in %.2f", name, slip, ratio)
			}
			if name == "20 names" && sent > 20*(100+20*seconds)+20 {
				t.Errorf("%d answers for 20 names", sent)
			}
		}
	}
}

// Workers that check at the same time send what one would.
func TestRateLimiterConcurrently(t *testing.T) {
	l := newLimiter(t, policy.RateOptions{})
	var sent, limited atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range 20_000 {
				switch l.Check(0, victim, policy.Positive, 1) {
				case policy.Send:
					sent.Add(1)
				default:
					limited.Add(1)
				}
				var b [4]byte
				binary.BigEndian.PutUint32(b[:], r.Uint32())
				l.Check(int64(i), netip.AddrFrom4(b), policy.Class(i%policy.ClassCount), r.Uint64N(4))
			}
		})
	}
	wg.Wait()
	// Two workers may each make the bucket once before either sees the other's.
	if n := sent.Load(); n < 100 || n > 108 {
		t.Errorf("%d sent, want 100", n)
	}
	if sent.Load()+limited.Load() != 160_000 {
		t.Error("verdicts are missing")
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range policy.ClassCount {
		seen[policy.Class(c).String()] = true
	}
	for v := range policy.VerdictCount {
		seen[policy.Verdict(v).String()] = true
	}
	if len(seen) != policy.ClassCount+policy.VerdictCount || seen["unknown"] || policy.Class(policy.ClassCount).String() != "unknown" || policy.Verdict(policy.VerdictCount).String() != "unknown" {
		t.Errorf("names %v", seen)
	}
}

// benchLimiter asks for clients in turn, as so many networks send one query each.
func benchLimiter(b *testing.B, networks int, six bool, advance int64) {
	l := newLimiter(b, policy.RateOptions{})
	clients := make([]netip.Addr, networks)
	for i := range clients {
		var a [16]byte
		a[0] = 0x20
		binary.BigEndian.PutUint32(a[2:], uint32(i)<<8)
		clients[i] = netip.AddrFrom16(a)
		if !six {
			clients[i] = netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1})
		}
	}
	now, i := int64(0), 0
	b.ReportAllocs()
	for b.Loop() {
		now += advance
		l.Check(now, clients[i], policy.Positive, uint64(i&7))
		if i++; i == networks {
			i = 0
		}
	}
}

func BenchmarkRateLimiter(b *testing.B) {
	b.Run("send/1", func(b *testing.B) { benchLimiter(b, 1, false, 100_000_000) })
	b.Run("send/1000", func(b *testing.B) { benchLimiter(b, 1000, false, 4000) })
	b.Run("send/1000000", func(b *testing.B) { benchLimiter(b, 1_000_000, false, 4000) })
	b.Run("send/1000/IPv6", func(b *testing.B) { benchLimiter(b, 1000, true, 4000) })
	b.Run("limited/1", func(b *testing.B) { benchLimiter(b, 1, false, 0) })
}

// Two workers in one flood.
func BenchmarkRateLimiterContended(b *testing.B) {
	l := newLimiter(b, policy.RateOptions{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Check(0, victim, policy.Positive, 1)
		}
	})
}

// TestNetwork has the client network of an address be what its limits are shared with.
func TestNetwork(t *testing.T) {
	for _, c := range []struct {
		four, six    int
		client, want string
	}{
		{0, 0, "192.0.2.77", "192.0.2.0/24"},
		{0, 0, "::ffff:192.0.2.77", "192.0.2.0/24"},
		{0, 0, "2001:db8:1:2ff::1", "2001:db8:1:200::/56"},
		{32, 128, "192.0.2.77", "192.0.2.77/32"},
		{32, 128, "fe80::1%eth0", "fe80::1/128"},
		{8, 16, "2001:db8::1", "2001::/16"},
	} {
		l, err := policy.NewRateLimiter(policy.RateOptions{IPv4Prefix: c.four, IPv6Prefix: c.six, Memory: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Network(netip.MustParseAddr(c.client)).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.client, got, c.want)
		}
	}
}
