package top_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/event"
	"port53/internal/top"
	"port53/internal/wire"
)

// A traffic makes questions that the cache has not answered.
type traffic struct {
	t    *testing.T
	rand *rand.Rand
	to   *top.Tunnels
	now  time.Time
	n    int
}

func newTraffic(t *testing.T, o top.TunnelOptions) *traffic {
	return &traffic{t: t, rand: rand.New(rand.NewPCG(53, 1)), to: top.NewTunnels(o), now: time.Now()}
}

func (f *traffic) ask(client netip.Addr, name string, typ wire.Type, reply int) {
	n, err := wire.ParseName(name)
	if err != nil {
		f.t.Fatalf("%q: %v", name, err)
	}
	f.n++
	f.to.Take(&event.Record{
		Path: event.Miss, Remote: netip.AddrPortFrom(client, 4000), Time: f.now.UnixNano(), Type: typ,
		Name: wire.Lower(nil, n), Reply: uint32(reply),
	})
}

// labels returns n characters of an alphabet in labels of at most so many.
func (f *traffic) labels(alphabet string, n, most int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 && i%most == 0 {
			b.WriteByte('.')
		}
		b.WriteByte(alphabet[f.rand.IntN(len(alphabet))])
	}
	return b.String()
}

const (
	base32 = "abcdefghijklmnopqrstuvwxyz012345"
	base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	hex    = "0123456789abcdef"
)

// An encoding is how a program moves data through DNS.
type encoding struct {
	name     string
	types    []wire.Type
	alphabet string
	octets   float64 // of data that a character carries
	length   int     // of the names, where data goes up
	label    int
	short    int // of the names that only fetch
}

func encodings() []encoding {
	iodine := func(name string, typ wire.Type, alphabet string, octets float64) encoding {
		return encoding{"iodine " + name, []wire.Type{typ}, alphabet, octets, 200, 57, 12}
	}
	return []encoding{
		iodine("NULL", wire.TypeNULL, base64, 0.75),
		iodine("TXT", wire.TypeTXT, base32, 0.625),
		iodine("CNAME", wire.TypeCNAME, base32, 0.625),
		iodine("MX", wire.TypeMX, base32, 0.625),
		iodine("A", wire.TypeA, base32, 0.625),
		iodine("private", 65399, base64, 0.75),
		{"dns2tcp TXT", []wire.Type{wire.TypeTXT}, base64, 0.75, 180, 60, 16},
		{"dns2tcp KEY", []wire.Type{wire.TypeKEY}, base64, 0.75, 180, 60, 16},
		{"dnscat2", []wire.Type{wire.TypeTXT, wire.TypeCNAME, wire.TypeMX}, hex, 0.5, 120, 60, 18},
		{"dnscat2 A", []wire.Type{wire.TypeA}, hex, 0.5, 120, 60, 18},
	}
}

// TestTunnelsAreFound has sessions of 1 kB a second, up or down, and of 64 kB a day, among what else a network asks.
func TestTunnelsAreFound(t *testing.T) {
	for _, slow := range []bool{false, true} {
		sessions, found := 0, 0
		for i, e := range encodings() {
			for _, up := range []bool{true, false} {
				if !up && strings.HasSuffix(e.name, " A") && slow {
					continue // four octets an answer; the answers of iodine's are CNAME, and long
				}
				for s := range 10 {
					f := newTraffic(t, top.TunnelOptions{Action: top.TunnelWatch})
					f.rand = rand.New(rand.NewPCG(uint64(i), uint64(s)))
					if sessions++; f.session(e, up, slow) {
						found++
					} else {
						t.Logf("not found: %s, up %v, slow %v", e.name, up, slow)
					}
				}
			}
		}
		t.Logf("slow %v: %d of %d", slow, found, sessions)
		if found*100 < sessions*99 {
			t.Errorf("slow %v: %d of %d sessions are found, want 99 of 100", slow, found, sessions)
		}
	}
}

// session moves 60 kB in a minute, or 64 kB in a day, and tells whether it was found.
func (f *traffic) session(e encoding, up, slow bool) bool {
	client, length, reply, carries := netip.MustParseAddr("192.168.1.7"), e.length, 90, 0.0
	if up {
		carries = float64(length) * e.octets
	} else {
		length, reply, carries = e.short, 500, 350
	}
	total, over := 1000.0*60, time.Minute
	if slow {
		total, over = 64*1000, 24*time.Hour-time.Minute
	}
	each := int(total/carries) + 1
	step := over / time.Duration(each)
	for range each {
		f.ask(client, f.labels(e.alphabet, length, e.label)+".t.evil.example", e.types[f.rand.IntN(len(e.types))], reply)
		for range 3 {
			f.ask(client, fmt.Sprintf("www%d.site%d.example", f.rand.IntN(3), f.rand.IntN(500)), wire.TypeA, 120)
		}
		f.now = f.now.Add(step)
	}
	for _, x := range f.to.List() {
		if x.Domain == "evil.example." || x.Domain == "evil.example" {
			if x.Client != client.String() || len(x.Why) < 2 || len(x.Samples) == 0 || x.Names == 0 {
				f.t.Errorf("evidence %+v", x)
			}
			return true
		}
		f.t.Errorf("%s: %s is taken for a tunnel: %v", e.name, x.Domain, x.Why)
	}
	return false
}

// TestBenignIsNot has a day of a network ask for CDNs, lists of mail servers, programs against viruses, mail, and
// reverse names: fewer than one registered domain of a thousand is taken for a tunnel, and the memory is fixed.
func TestBenignIsNot(t *testing.T) {
	f := newTraffic(t, top.TunnelOptions{Action: top.TunnelWatch})
	domains := make([]string, 10000)
	for i := range domains {
		domains[i] = fmt.Sprintf("site%d.example", i)
	}
	if file := os.Getenv("PORT53_TOP_NAMES"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		domains = strings.Fields(string(text))
	}
	asked := map[string]bool{}
	clients := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, byte(f.rand.IntN(2)), byte(f.rand.IntN(200))})
	}
	mail, forwarder := netip.MustParseAddr("10.1.0.25"), netip.MustParseAddr("10.1.0.53")
	ask := func(client netip.Addr, below, domain string, typ wire.Type, reply int) {
		asked[domain] = true
		f.ask(client, strings.TrimPrefix(below+"."+domain, "."), typ, reply)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const second = 8 // questions
	for range 86400 / 20 * second {
		f.now = f.now.Add(20 * time.Second / second)
		domain := domains[min(int(f.rand.ExpFloat64()*float64(len(domains))/8), len(domains)-1)]
		ask(clients(), []string{"", "www", "api", "m", "static", "img"}[f.rand.IntN(6)], domain, []wire.Type{wire.TypeA, wire.TypeAAAA, wire.TypeHTTPS}[f.rand.IntN(3)], 300)
		switch f.rand.IntN(8) {
		case 0: // a content network: some thousand names, again and again
			ask(clients(), fmt.Sprintf("r%d---sn-%s", f.rand.IntN(20), []string{"4g5e6nsy", "h0jeen76", "5hne6nsd", "q4flrnek"}[f.rand.IntN(4)]), "googlevideo.com", wire.TypeA, 120)
			ask(clients(), fmt.Sprintf("e%d.dsc%c", 1000+f.rand.IntN(3000), 'a'+f.rand.IntN(8)), "akamaiedge.net", wire.TypeA, 200)
			ask(forwarder, fmt.Sprintf("d%x", f.rand.IntN(4000)*7919), "cdn-customers.example", wire.TypeA, 250)
		case 1: // mail: lists that are known, and one that is not
			a := fmt.Sprintf("%d.%d.%d.%d", f.rand.IntN(256), f.rand.IntN(256), f.rand.IntN(256), f.rand.IntN(256))
			for _, list := range []string{"zen.spamhaus.org", "bl.spamcop.net", "rbl.ours.example"} {
				ask(mail, a, list, wire.TypeA, 90)
			}
			ask(mail, a, "in-addr.arpa", wire.TypePTR, 110)
			ask(mail, "", domains[f.rand.IntN(len(domains))], wire.TypeMX, 200)
			ask(mail, "_dmarc", domains[f.rand.IntN(len(domains))], wire.TypeTXT, 200)
			ask(mail, "s1024._domainkey", domains[f.rand.IntN(len(domains))], wire.TypeTXT, 500)
		case 2: // programs against viruses
			ask(clients(), f.labels(base32, 52, 26)+".avqs", "mcafee.com", wire.TypeA, 100)
			ask(clients(), f.labels(hex, 32, 63)+".p.04.s", "sophosxl.net", wire.TypeTXT, 100)
		case 3: // names that browsers make, to see who lies about names
			f.ask(clients(), f.labels(base32, 12, 63), wire.TypeA, 100)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	list := f.to.List()
	t.Logf("%d questions for %d registered domains, %d taken for tunnels", f.n, len(asked), len(list))
	for _, x := range list {
		t.Logf("%s to %s: %v", x.Client, x.Domain, x.Why)
	}
	if len(asked) < 2000 || 1000*len(list) >= len(asked) {
		t.Errorf("%d of %d registered domains are taken for tunnels, want fewer than one of a thousand", len(list), len(asked))
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("memory has grown by %d octets", grown)
	}
}

// TestTunnelsAreStopped has questions refused for the pair alone, for as long as it holds.
func TestTunnelsAreStopped(t *testing.T) {
	for _, action := range []string{top.TunnelWatch, top.TunnelLimit, top.TunnelBlock} {
		var told []string
		f := newTraffic(t, top.TunnelOptions{Action: action, Found: func(x *top.Tunnel) { told = append(told, x.Client+" "+x.Domain) }})
		bad, good := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
		deep, _ := wire.ParseName("data.t.evil.example")
		other, _ := wire.ParseName("data.t.good.example")
		if f.to.Blocks(bad, deep) {
			t.Errorf("%s: stopped before it was found", action)
		}
		for range 300 {
			f.ask(bad, f.labels(base32, 180, 60)+".t.evil.example", wire.TypeTXT, 300)
		}
		if len(told) != 1 || !strings.HasPrefix(told[0], "192.0.2.7 evil.example") {
			t.Errorf("%s: told of %q", action, told)
		}
		stopped := 0
		for range 10 {
			if f.to.Blocks(bad, deep) {
				stopped++
			}
		}
		want := map[string]int{top.TunnelWatch: 0, top.TunnelLimit: 9, top.TunnelBlock: 10}[action]
		if stopped != want {
			t.Errorf("%s: %d of 10 are stopped, want %d", action, stopped, want)
		}
		if f.to.Blocks(good, deep) || f.to.Blocks(bad, other) {
			t.Errorf("%s: others are stopped", action)
		}
		if now, total, refused := f.to.Counts(); now != 1 || total != 1 || refused != uint64(want) {
			t.Errorf("%s: counts %d %d %d", action, now, total, refused)
		}
		f.now = f.now.Add(2 * time.Hour)
		f.ask(good, "www.site.example", wire.TypeA, 100)
		if f.to.Blocks(bad, deep) || len(f.to.List()) != 0 {
			t.Errorf("%s: still stopped two hours later", action)
		}
	}
}

// TestTunnelsExempt has no tunnel below names that are exempt.
func TestTunnelsExempt(t *testing.T) {
	name, _ := wire.ParseName("*.files.evil.example")
	f := newTraffic(t, top.TunnelOptions{Action: top.TunnelBlock, Exempt: [][]byte{name}})
	for range 300 {
		f.ask(netip.MustParseAddr("192.0.2.7"), f.labels(base32, 180, 60)+".files.evil.example", wire.TypeTXT, 300)
	}
	if list := f.to.List(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// TestTunnelsAmongMany has a slow tunnel found though many more pairs are seen than are remembered.
func TestTunnelsAmongMany(t *testing.T) {
	f := newTraffic(t, top.TunnelOptions{Action: top.TunnelWatch})
	client := netip.MustParseAddr("192.0.2.7")
	for i := range 1500 {
		f.ask(client, f.labels(base32, 110, 60)+".evil.example", wire.TypeTXT, 200)
		for j := range 40 {
			a := netip.AddrFrom4([4]byte{10, byte(f.rand.IntN(256)), byte(j), byte(i)})
			f.ask(a, fmt.Sprintf("www.site%d.example", f.rand.IntN(100000)), wire.TypeA, 100)
		}
		f.now = f.now.Add(50 * time.Second)
	}
	if !slices.ContainsFunc(f.to.List(), func(x top.Tunnel) bool { return strings.HasPrefix(x.Domain, "evil.example") }) {
		t.Error("not found")
	}
}

func BenchmarkTunnelTake(b *testing.B) {
	to := top.NewTunnels(top.TunnelOptions{Action: top.TunnelWatch})
	name, _ := wire.ParseName("www.site.example")
	r := event.Record{Path: event.Miss, Remote: netip.MustParseAddrPort("192.0.2.7:53"), Type: wire.TypeA, Name: name, Time: time.Now().UnixNano()}
	b.ReportAllocs()
	for b.Loop() {
		to.Take(&r)
	}
}
