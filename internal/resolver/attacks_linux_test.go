package resolver_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
	"port53/internal/lab"
	"port53/internal/resolver"
	"port53/internal/server"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// attackedNet is a signed tree in which attacker.com. does what is appended.
const attackedNet = `
-- zone . 192.0.2.1 --
! signed
-- zone com. 192.0.2.2 --
! signed
-- zone attacker.com. 192.0.2.66 --
`

// attack returns the network of a text, and what a resolver on it is told.
func attack(t *testing.T, text string) (*lab.World, resolver.Settings) {
	t.Helper()
	_, sections := lab.Split("attack", []byte(text))
	w := lab.NewWorld(lab.Options{Seed: 53, Log: -1})
	if err := w.Put(sections...); err != nil {
		t.Fatal(err)
	}
	hints, err := resolver.ReadHints(strings.NewReader(w.Hints()), "hints")
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := resolver.ReadAnchors(strings.NewReader(w.Anchors()), "anchors")
	if err != nil {
		t.Fatal(err)
	}
	return w, resolver.Settings{Hints: hints, Anchors: anchors, Validate: true, IPv4: true, IPv6: true, MixCase: true, Aggressive: true}
}

// explained is what a resolver that knows nothing yet makes of one question, and what
// processor time that takes, servers included.
func explained(t *testing.T, w *lab.World, s resolver.Settings, name string, typ wire.Type) (*cache.Answer, time.Duration) {
	t.Helper()
	client := upstream.New(upstream.Options{Network: w.Net, Cookies: true})
	defer client.Close()
	r := resolver.New(resolver.Options{Cache: cache.New(cache.Options{Size: 4 << 20}), Exchanger: client}, resolver.Compile(s))
	defer r.Close()
	before := processorTime(t)
	a, _, _ := r.Explain(dnstest.Name(t, name), typ, true, false)
	return a, processorTime(t) - before
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// costly are zones that are dear to validate, and what a question there may cost.
var costly = []struct {
	name       string
	zone       string
	ask        string
	typ        wire.Type
	signatures int           // that are verified, those of the zones above included
	most       time.Duration // of processor time
}{
	// Five signatures are good ones: the keys and the DS records on the way. Three may
	// be wrong.
	{"100 keys of one tag, 100 signatures", "! signed alg=8\n! keytrap www A 100 100\nwww A 203.0.113.1\n", "www", wire.TypeA, 8, 25 * time.Millisecond},
	{"95 keys of one tag, 100 signatures", "! signed alg=8\n! keytrap www A 95 100\nwww A 203.0.113.1\n", "www", wire.TypeA, 8, 25 * time.Millisecond},
	{"95 keys of one tag, one signature", "! signed alg=8\n! keytrap www A 95 1\nwww A 203.0.113.1\n", "www", wire.TypeA, 8, 25 * time.Millisecond},
	{"100 signatures", "! signed alg=8\n! keytrap www A 0 100\nwww A 203.0.113.1\n", "www", wire.TypeA, 8, 25 * time.Millisecond},
	{"100 signatures of the keys", "! signed alg=8\n! keytrap @ DNSKEY 90 100\nwww A 203.0.113.1\n", "www", wire.TypeA, 8, 25 * time.Millisecond},
	{"50 signatures of each record of a denial", "! signed alg=8\n! keytrap @ SOA 90 50\n! keytrap @ NSEC 0 50\n! keytrap www NSEC 0 50\nwww A 203.0.113.1\n", "nothing", wire.TypeA, 8, 25 * time.Millisecond},
	{"NSEC3 with 2,500 iterations", "! signed nsec3 iterations=2500\nwww A 203.0.113.1\n", "nothing", wire.TypeA, 12, 30 * time.Millisecond},
	{"NSEC3 with 2,500 iterations and many labels", "! signed nsec3 iterations=2500\nwww A 203.0.113.1\n", strings.Repeat("a.", 90) + "nothing", wire.TypeA, 12, 30 * time.Millisecond},
	{"NSEC3 with 2,500 iterations, no data", "! signed nsec3 iterations=2500\nwww A 203.0.113.1\n", "www", wire.TypeAAAA, 12, 30 * time.Millisecond},
}

// TestCostlyZones asks for names that are made to cost processor time (KeyTrap,
// CVE-2023-50387; NSEC3, CVE-2023-50868): there is no answer, least of all a secure
// one, and it comes soon.
func TestCostlyZones(t *testing.T) {
	const rounds = 5 // of which the cheapest counts: others work on this machine too
	for _, tt := range costly {
		t.Run(tt.name, func(t *testing.T) {
			w, s := attack(t, attackedNet+tt.zone)
			name := tt.ask + ".attacker.com."
			best := time.Hour
			for range rounds {
				a, spent := explained(t, w, s, name, tt.typ)
				if a.Rcode != wire.ServFail || a.Flags&wire.FlagAD != 0 {
					t.Fatalf("%v, flags %#x, want SERVFAIL without AD", a.Rcode, a.Flags)
				}
				best = min(best, spent)
			}
			t.Logf("%v", best)
			if best > tt.most && !raceEnabled {
				t.Errorf("took %v of processor time, want at most %v", best, tt.most)
			}
		})
	}
}

// TestCostlySignatures counts the signatures that such a question has verified: with as
// many allowed it ends as it does with plenty, with one less it says that they were not
// enough.
func TestCostlySignatures(t *testing.T) {
	for _, tt := range costly {
		t.Run(tt.name, func(t *testing.T) {
			w, s := attack(t, attackedNet+tt.zone)
			name := tt.ask + ".attacker.com."
			want, _ := explained(t, w, s, name, tt.typ)
			n := 1
			for ; n < 100; n++ {
				s.Limits.Signatures = n
				if a, _ := explained(t, w, s, name, tt.typ); a.EDE == want.EDE {
					break
				}
			}
			t.Logf("%d signatures, Extended DNS Error %d", n, want.EDE)
			if n > tt.signatures || want.EDE == 0 {
				t.Errorf("%d signatures were verified until Extended DNS Error %d, want at most %d", n, want.EDE, tt.signatures)
			}
		})
	}
}

// TestFloodMemory floods a resolver with random names below zones whose servers are
// deaf. Its memory stays within bounds, and what it has cached it answers meanwhile.
func TestFloodMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not ours")
	}
	for _, tt := range []struct {
		zones int
		most  int64 // octets
	}{
		{1, 64 << 20},
		// With many zones as many questions wait as may, 10,000 unless set otherwise, each
		// with a goroutine, a socket and room for a reply: 41 kB, garbage included.
		{200, 640 << 20},
	} {
		t.Run(fmt.Sprintf("%d zones", tt.zones), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { floodMemory(t, tt.zones, tt.most) })
		})
	}
}

func floodMemory(t *testing.T, zones int, most int64) {
	var text strings.Builder
	text.WriteString("-- zone . 192.0.2.1 --\n-- zone com. 192.0.2.2 --\n")
	fmt.Fprintf(&text, "$GENERATE 0-%d v$ NS ns.v$\n$GENERATE 0-%d ns.v$ A 192.0.2.$\n", zones-1, zones-1)
	text.WriteString("-- zone example.com. 203.0.113.4 --\nwww A 198.51.100.80\n")
	text.WriteString(strings.ReplaceAll("-- host 192.0.2.1 --\n-- host 192.0.2.2 --\n", "--\n", "rtt=1ms --\n"))
	_, sections := lab.Split("flood", []byte(strings.ReplaceAll(text.String(), "192.0.2.$", "198.18.1.$")))
	w := lab.NewWorld(lab.Options{Seed: 53, Log: -1})
	if err := w.Put(sections...); err != nil {
		t.Fatal(err)
	}
	sub := subject.Make(t, &dnstest.Setup{Net: w.Net, Hints: w.Hints()})
	defer sub.Close()
	var later atomic.Int64
	room := make([]byte, 4096)
	ask := func(name string, client int) bool {
		later.Add(1)
		peer := server.Peer{
			Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(client >> 16), byte(client >> 8), byte(client)}), 4321),
			Later:  func(*server.Peer) (server.Responder, error) { return &counted{&later}, nil },
		}
		query := dnstest.ParseQuestion(t, name+" A +rd").Message()
		binary.BigEndian.PutUint16(query, uint16(client))
		n := sub.Handle(query, &peer, room)
		if n != server.Pending {
			later.Add(-1)
		}
		return n > 0
	}
	ask("www.example.com.", 0)
	time.Sleep(time.Second)
	if !ask("www.example.com.", 0) {
		t.Fatal("www.example.com. is not in the cache")
	}
	debug.FreeOSMemory()
	before, peak := resident(t), int64(0)
	const questions = 100000
	waiting := int64(0)
	for i := range questions {
		ask(fmt.Sprintf("r%d.v%d.com.", i, i%zones), i)
		time.Sleep(50 * time.Microsecond)
		if i%1000 == 0 {
			peak, waiting = max(peak, resident(t)), max(waiting, later.Load())
			if !ask("www.example.com.", i) {
				t.Fatal("a cached name was not answered")
			}
		}
	}
	t.Logf("resident %d MiB before, %d MiB more at most, %d questions waited", before>>20, (peak-before)>>20, waiting)
	if peak-before > most {
		t.Errorf("%d octets more than before the flood, want at most %d", peak-before, most)
	}
	time.Sleep(10 * time.Second)
	if n := later.Load(); n != 0 {
		t.Errorf("%d questions still wait", n)
	}
}

// A counted is a [server.Responder] that counts down when its question ends.
type counted struct{ n *atomic.Int64 }

func (c *counted) Reply([]byte) error  { return nil }
func (c *counted) Stream([]byte) error { return nil }
func (c *counted) Close()              { c.n.Add(-1) }

// resident returns the bytes of memory that the process has.
func resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
