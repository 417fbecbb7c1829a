package top_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"port53/internal/event"
	"port53/internal/top"
	"port53/internal/wire"
)

func name(t testing.TB, text string) []byte {
	t.Helper()
	n, err := wire.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func query(t testing.TB, client, asked string) *event.Record {
	t.Helper()
	return &event.Record{Remote: netip.AddrPortFrom(netip.MustParseAddr(client), 4242), Name: name(t, asked), Type: wire.TypeA, Path: event.Cache, Latency: -1}
}

func line(rows []top.Row) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%s %d %d %d|", r.Key, r.Count, r.Blocked, r.Failed)
	}
	return b.String()
}

// TestDimensions has queries of all sorts counted by all that they are counted by.
func TestDimensions(t *testing.T) {
	c := top.New(top.Options{List: func(n int) string { return fmt.Sprint("list", n) }, View: func(n uint8) string { return fmt.Sprint("view", n) }})
	for range 3 {
		c.Take(query(t, "192.0.2.7", "a.b.example.co.uk."))
	}
	c.Take(query(t, "192.0.2.9", "example.co.uk."))
	c.Take(query(t, "10.0.0.9", "x.github.io."))
	c.Take(query(t, "10.0.0.8", "router."))
	c.Take(query(t, "2001:db8:1:1ff::1", "4.3.2.1.in-addr.arpa."))
	c.Take(query(t, "2001:db8:1:100::2", "."))
	odd := query(t, "::1", `a\.b.\255\027[2J.test.`)
	odd.Rcode, odd.Latency, odd.View = wire.ServFail, 5_000_000, 3
	c.Take(odd)
	block := query(t, "::1", "ads.test.")
	block.Path, block.List, block.Line, block.Rcode = event.Policy, 2, 7, wire.NXDomain
	c.Take(block)
	c.Take(&event.Record{Remote: netip.MustParseAddrPort("10.0.0.9:1"), Outcome: event.Dropped, Latency: -1})
	c.Take(&event.Record{Kind: event.Server, Remote: netip.MustParseAddrPort("198.51.100.1:53"), Rcode: wire.ServFail, Latency: 2_000_000})
	r := c.Report(true, 100)
	for _, x := range []struct {
		what, got, want string
	}{
		{"clients", line(r.Clients), "192.0.2.0/24 4 0 0|::1 2 1 1|10.0.0.9 2 0 1|2001:db8:1:100::/56 2 0 0|10.0.0.8 1 0 0|"},
		{"blocked", line(r.Blocked), "ads.test. 1 1 0|"},
		{"lists", line(r.Lists), "list2 1 1 0|"},
		{"views", line(r.Views), "view3 1 0 1|"},
		{"upstreams", line(r.Upstreams), "198.51.100.1 1 0 1|"},
		{"rcodes", line(r.Rcodes), "NOERROR 8 0 0|SERVFAIL 1 0 1|NXDOMAIN 1 1 0|"},
		{"paths", line(r.Paths), "cache 9 0 1|server 1 0 1|policy 1 1 0|"},
		{"types", line(r.Types), "A 10 1 1|"},
	} {
		if x.got != x.want {
			t.Errorf("%s: %s, want %s", x.what, x.got, x.want)
		}
	}
	names := line(r.Names)
	for _, want := range []string{"example.co.uk. 4 ", "x.github.io. 1 ", "router. 1 ", "1.in-addr.arpa. 1 ", `\255\027[2j.test. 1 0 1`, "ads.test. 1 1 0"} {
		if !strings.Contains(strings.ToLower(names), want) {
			t.Errorf("names: %s, want %s", names, want)
		}
	}
	if r.Queries != 11 || r.Dropped != 1 || r.Upstream != 1 || r.Upstreams[0].Micros != 2000 {
		t.Errorf("%+v", r)
	}
	for i, r := range names {
		if r < ' ' {
			t.Errorf("octet %d is %q: it would reach a terminal", i, r)
		}
	}
}

// TestFrequentAreCounted has a few frequent clients among very many others: their counts are right
// within what is said, and memory does not grow.
func TestFrequentAreCounted(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := top.New(top.Options{Now: func() time.Time { return now }})
	asked := name(t, "www.example.com.")
	total, often := 0, 0
	for i := range 200_000 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x50000000+uint32(i)<<8) // a network each
		if i%100 == 0 {
			often++
			a = [4]byte{192, 0, 2, 1}
		}
		c.Take(&event.Record{Remote: netip.AddrPortFrom(netip.AddrFrom4(a), 1), Name: asked, Latency: -1})
		if total++; i%20_000 == 0 {
			now = now.Add(6 * time.Second)
		}
	}
	r := c.Report(false, 5)
	if got := r.Clients[0]; got.Key != "192.0.2.0/24" || int(got.Count) < often || int(got.Count-got.Error) > often || r.Queries != uint64(total) {
		t.Errorf("%+v of %d, want %d of %d", got, r.Queries, often, total)
	} else if off := math.Abs(float64(got.Count)-float64(often)) / float64(often); off > 0.1 {
		t.Errorf("%d, want %d", got.Count, often)
	}
}

// TestTimeGoesBy has counts move from what is recent to what is older, and be forgotten.
func TestTimeGoesBy(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := top.New(top.Options{Now: func() time.Time { return now }, Keep: time.Minute})
	counts := func() string { return fmt.Sprint(c.Report(true, 1).Queries, c.Report(false, 1).Queries) }
	c.Take(query(t, "10.0.0.1", "a.test."))
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "1 1"}, {6 * time.Second, "1 1"}, {6 * time.Second, "0 1"}, {50 * time.Second, "0 1"}, {70 * time.Second, "0 0"}} {
		now = now.Add(step.after)
		if got := counts(); got != step.want {
			t.Errorf("after %v more: %s, want %s", step.after, got, step.want)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	c := top.New(top.Options{})
	var list []*event.Record
	for i := range 4096 {
		k := int(math.Sqrt(float64(i * i / 7)))
		list = append(list, query(b, fmt.Sprintf("10.0.%d.%d", k>>8, k&255), fmt.Sprintf("www.n%d.example%d.com.", k, k%500)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Take(list[i&4095])
	}
}
