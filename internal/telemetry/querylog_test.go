package telemetry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/telemetry"
	"port53/internal/wire"
)

// Whatever the name, an entry is one line of printable ASCII, and its name can be
// read back.
func TestQueryLogHostileNames(t *testing.T) {
	names := [][]byte{hostileZone(), {0}, nil}
	for c := range 256 {
		names = append(names, []byte{3, 'a', byte(c), 'b', 0})
	}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		l := telemetry.NewQueryLog(&out, telemetry.QueryLogOptions{JSON: asJSON, PerPrefix: -1})
		for _, name := range names {
			l.Offer(entry(string(name), "[2001:db8::1]:53"))
		}
		l.Close()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(names) {
			t.Fatalf("JSON %v: %d lines for %d entries", asJSON, len(lines), len(names))
		}
		for i, line := range lines {
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("line %q is not printable ASCII", line)
			}
			var text string
			if asJSON {
				var v struct{ Name string }
				if err := json.Unmarshal([]byte(line), &v); err != nil {
					t.Errorf("line %q: %v", line, err)
				}
				text = v.Name
			} else if fields := strings.Split(line, " "); len(fields) == 8 {
				text = fields[3]
			} else {
				t.Errorf("line %q has %d fields", line, len(fields))
			}
			want := names[i]
			if len(want) == 0 {
				want = []byte{0}
			}
			if got, err := wire.ParseName(text); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q reads back as %x, %v; want %x", text, got, err, want)
			}
		}
	}
}

// A flood from one network takes no place in the queue: with a sink that is stuck, a
// client that comes after it still has its line.
func TestQueryLogFloodCrowdsOutNobody(t *testing.T) {
	sink := &stuck{release: make(chan struct{})}
	l := telemetry.NewQueryLog(sink, telemetry.QueryLogOptions{Queue: 32})
	for i := range 100_000 {
		l.Offer(entry("\x05flood\x00", fmt.Sprintf("192.0.2.%d:53", i%256)))
	}
	l.Offer(entry("\x06client\x00", "198.51.100.1:53"))
	close(sink.release)
	l.Close()
	if got := strings.Count(sink.String(), "flood"); got != 10 {
		t.Errorf("%d lines of the flood, want 10", got)
	}
	if !strings.Contains(sink.String(), "client") {
		t.Error("the client behind the flood has no line")
	}
	if l.Dropped() != 100_000-10 {
		t.Errorf("%d dropped", l.Dropped())
	}
}

// stuck takes nothing until it is released.
type stuck struct {
	release chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	return s.Buffer.Write(p)
}

func TestQueryLogNetworks(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.255:2", true},
		{"192.0.2.1:1", "192.0.3.1:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.9]:1", true},
		{"[2001:db8:0:ff::1]:1", "[2001:db8::9]:1", true},
		{"[2001:db8:0:100::1]:1", "[2001:db8::1]:1", false},
	} {
		var out bytes.Buffer
		l := telemetry.NewQueryLog(&out, telemetry.QueryLogOptions{PerPrefix: 3})
		for range 3 {
			l.Offer(entry("\x01a\x00", test.a))
		}
		l.Offer(entry("\x01b\x00", test.b))
		later := entry("\x01c\x00", test.a)
		later.Time = later.Time.Add(time.Second)
		l.Offer(later)
		l.Close()
		if got := !strings.Contains(out.String(), " b. "); got != test.same {
			t.Errorf("%s and %s: one network %v, want %v", test.a, test.b, got, test.same)
		}
		if !strings.Contains(out.String(), " c. ") {
			t.Error("no line in the next second")
		}
	}
}

// Workers offer at the same time, and none of the limits is passed.
func TestQueryLogConcurrently(t *testing.T) {
	var out bytes.Buffer
	l := telemetry.NewQueryLog(&out, telemetry.QueryLogOptions{Queue: 1 << 12})
	var wg sync.WaitGroup
	const workers, each = 8, 2000
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			e := entry("\x01a\x00", "192.0.2.1:1")
			for range each {
				e.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(20)), 1}), 1)
				l.Offer(e)
			}
		})
	}
	wg.Wait()
	l.Close()
	lines := strings.Count(out.String(), "\n")
	// A network that two workers enter at once may be counted twice for a moment.
	if lines < 200 || lines > 220 {
		t.Errorf("%d lines for 20 networks, want 200", lines)
	}
	if uint64(lines)+l.Dropped() != workers*each {
		t.Errorf("%d lines and %d dropped are not %d", lines, l.Dropped(), workers*each)
	}
}

func BenchmarkQueryLogOffer(b *testing.B) {
	for name, perPrefix := range map[string]int{"admitted": -1, "refused": 1} {
		b.Run(name, func(b *testing.B) {
			l := telemetry.NewQueryLog(&stuck{release: closed()}, telemetry.QueryLogOptions{PerPrefix: perPrefix, BytesPerSecond: 1})
			e := entry("\x03www\x07example\x03com\x00", "192.0.2.1:1")
			b.ReportAllocs()
			for b.Loop() {
				l.Offer(e)
			}
			l.Close()
		})
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
