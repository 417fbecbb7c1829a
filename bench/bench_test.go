package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/probe"
)

// answered returns the reply to a query, with what edit changes.
func answered(t *testing.T, query []byte, edit func(*dns.Msg)) []byte {
	t.Helper()
	var q, m dns.Msg
	if err := q.Unpack(query); err != nil {
		t.Fatal(err)
	}
	m.SetReply(&q)
	m.Compress, m.AuthenticatedData = true, true
	m.SetEdns0(1232, false)
	name := q.Question[0].Name
	wire := probe.MustName(name)
	m.Answer = []dns.RR{aSet(name, address(wire[1:1+wire[0]]))[0]}
	if edit != nil {
		edit(&m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRight(t *testing.T) {
	q := probe.Question{Name: probe.MustName("label.example."), Type: probe.TypeA, RD: true, EDNS: true, Size: 1232}
	query := q.Pack()
	sig := &dns.RRSIG{Hdr: header("label.example.", dns.TypeRRSIG), TypeCovered: dns.TypeA, SignerName: "example.", Signature: "AAAA"}
	tests := []struct {
		name         string
		edit         func(*dns.Msg)
		plain, valid bool // right without and with validation
	}{
		{"as it should be", nil, true, true},
		{"not validated", func(m *dns.Msg) { m.AuthenticatedData = false }, true, false},
		{"with a signature before it", func(m *dns.Msg) { m.Answer = append([]dns.RR{sig}, m.Answer...) }, true, true},
		{"behind an alias", func(m *dns.Msg) {
			m.Answer = append([]dns.RR{&dns.CNAME{Hdr: header("label.example.", dns.TypeCNAME), Target: "b."}}, m.Answer...)
		}, true, true},
		{"not compressed", func(m *dns.Msg) { m.Compress = false }, true, true},
		{"empty", func(m *dns.Msg) { m.Answer = nil }, false, false},
		{"only a signature", func(m *dns.Msg) { m.Answer = []dns.RR{sig} }, false, false},
		{"other address", func(m *dns.Msg) { m.Answer = aSet("label.example.", address([]byte("labem"))) }, false, false},
		{"other question", func(m *dns.Msg) { m.Question[0].Name = "labem.example." }, false, false},
		{"other type", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, false, false},
		{"failure", func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, false, false},
		{"no such name", func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, false, false},
		{"no question", func(m *dns.Msg) { m.Question = nil }, false, false},
	}
	for _, test := range tests {
		reply := answered(t, query, test.edit)
		if got := right(query, reply, false); got != test.plain {
			t.Errorf("%s: right = %v, want %v", test.name, got, test.plain)
		}
		if got := right(query, reply, true); got != test.valid {
			t.Errorf("%s: right if validated = %v, want %v", test.name, got, test.valid)
		}
	}
	reply := answered(t, query, func(m *dns.Msg) { m.Extra = nil })
	for n := 12; n < len(reply); n++ {
		if right(query, reply[:n], false) {
			t.Errorf("the first %d of %d octets are right", n, len(reply))
		}
	}
}

// patience is longer than any load of these tests takes.
const patience = 5 * time.Minute

// A fake answers questions on loopback until the test ends, and counts them.
type fake struct {
	addr netip.AddrPort
	mu   sync.Mutex
	seen map[string]int
}

// newFake starts a server whose reply is what answer makes of the query and of how
// often it came; nil: none.
func newFake(t *testing.T, answer func(query []byte, times int) []byte) *fake {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), seen: map[string]int{}}
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			name := string(buf[12:nameEnd(buf[:n], 12)])
			f.mu.Lock()
			f.seen[name]++
			times := f.seen[name]
			f.mu.Unlock()
			if reply := answer(buf[:n], times); reply != nil {
				conn.WriteToUDPAddrPort(reply, from)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); done.Wait() })
	return f
}

// questions writes questions for so many names.
func questions(t *testing.T, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "q")
	a, err := newAsking(file, probe.Question{RD: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		a.ask("n"+string(rune('a'+i%26))+string(rune('a'+i/26))+".example.", probe.TypeA)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOnceAsksNothingTwice(t *testing.T) {
	f := newFake(t, func(q []byte, _ int) []byte { return answered(t, q, nil) })
	const n, skip = 100, 30
	r, err := blast(load{
		Server: f.addr, Queries: questions(t, n), Duration: patience, Sockets: 2, Window: 4,
		Skip: skip, Once: true, Check: true, Yield: true, Loss: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Asked != n-skip || r.Received != n-skip || r.Wrong != 0 {
		t.Errorf("asked %d, received %d, wrong %d; want %d, %[4]d, 0", r.Asked, r.Received, r.Wrong, n-skip)
	}
	if len(f.seen) != n-skip {
		t.Errorf("%d names were asked for, want %d", len(f.seen), n-skip)
	}
	for name, times := range f.seen {
		if times != 1 {
			t.Errorf("%q was asked for %d times", name, times)
		}
	}
}

func TestInsistUntilRight(t *testing.T) {
	f := newFake(t, func(q []byte, times int) []byte {
		switch times {
		case 1:
			return nil
		case 2:
			return answered(t, q, func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
		}
		return answered(t, q, nil)
	})
	// A reply that comes late counts as none, and its question is asked once more: how often
	// that is depends on what else the machine does.
	const n = 50
	r, err := blast(load{
		Server: f.addr, Queries: questions(t, n), Duration: patience, Sockets: 2, Window: 4,
		Once: true, Insist: true, Check: true, Secure: true, Yield: true, Loss: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Asked != n || r.Received < n || r.Lost < n {
		t.Errorf("asked %d, received %d, lost %d; want %d, at least as many, and as many", r.Asked, r.Received, r.Lost, n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) != n {
		t.Errorf("%d names were asked for, want %d", len(f.seen), n)
	}
	for name, times := range f.seen {
		if times < 3 {
			t.Errorf("%q was asked for %d times; the third reply is the first that is right", name, times)
		}
	}
}

func TestInsistGivesUp(t *testing.T) {
	f := newFake(t, func(q []byte, _ int) []byte { return answered(t, q, func(m *dns.Msg) { m.Answer = nil }) })
	_, err := blast(load{
		Server: f.addr, Queries: questions(t, 50), Duration: patience, Sockets: 2, Window: 4,
		Once: true, Insist: true, Check: true, Yield: true,
	})
	if !errors.Is(err, errWrong) {
		t.Errorf("insisting ended with %v, want %v", err, errWrong)
	}
}

func TestZipf(t *testing.T) {
	counts := make([]int, 100)
	for _, rank := range zipf(rand.New(rand.NewPCG(1, 2)), len(counts), 200_000) {
		counts[rank]++
	}
	for _, rank := range []int{1, 4, 9, 49} {
		if got, want := float64(counts[0])/float64(counts[rank]), float64(rank+1); got < 0.9*want || got > 1.1*want {
			t.Errorf("rank 1 was drawn %.2f times as often as rank %d, want %.0f", got, rank+1, want)
		}
	}
}

// readZone returns the sets of a master file by owner and type, and signatures by
// owner and the type that they cover.
func readZone(t *testing.T, file string) (sets map[dns.RR_Header][]dns.RR, sigs map[dns.RR_Header]*dns.RRSIG) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sets, sigs = map[dns.RR_Header][]dns.RR{}, map[dns.RR_Header]*dns.RRSIG{}
	p := dns.NewZoneParser(f, ".", file)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		key := dns.RR_Header{Name: rr.Header().Name, Rrtype: rr.Header().Rrtype}
		if sig, ok := rr.(*dns.RRSIG); ok {
			key.Rrtype = sig.TypeCovered
			sigs[key] = sig
			continue
		}
		sets[key] = append(sets[key], rr)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return sets, sigs
}

func TestSignedTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	tr, err := newTree(dir, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	parents := map[string]string{".": "", tld: ".", "d0." + tld: tld, "d999." + tld: tld, "bogus." + tld: tld}
	for zone, parent := range parents {
		sets, sigs := readZone(t, tr.file(zone))
		keys := sets[dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY}]
		if len(keys) != 1 {
			t.Fatalf("%s has %d keys", zone, len(keys))
		}
		key := keys[0].(*dns.DNSKEY)
		cuts := 0
		for h, set := range sets {
			sig := sigs[h]
			// Of a delegation, the NS set and what is below it are the child's.
			childs := h.Name != zone && h.Rrtype == dns.TypeNS || parentCut(sets, zone, h.Name)
			if childs {
				cuts++
				if sig != nil {
					t.Errorf("%s: %s %s is signed", zone, h.Name, dns.TypeToString[h.Rrtype])
				}
				continue
			}
			if sig == nil {
				t.Errorf("%s: %s %s is not signed", zone, h.Name, dns.TypeToString[h.Rrtype])
			} else if err := sig.Verify(key, set); err != nil || !sig.ValidityPeriod(time.Now()) {
				t.Errorf("%s: %s %s does not verify: %v", zone, h.Name, dns.TypeToString[h.Rrtype], err)
			}
		}
		if (zone == "." || zone == tld) != (cuts > 0) {
			t.Errorf("%s has %d sets of its children", zone, cuts)
		}
		chain(t, sets, zone)
		var ds *dns.DS
		if parent == "" {
			rr, err := dns.NewRR(". DS " + tr.anchors.ds)
			if err != nil {
				t.Fatal(err)
			}
			ds = rr.(*dns.DS)
		} else {
			above, _ := readZone(t, tr.file(parent))
			ds = above[dns.RR_Header{Name: zone, Rrtype: dns.TypeDS}][0].(*dns.DS)
		}
		if got, want := strings.EqualFold(key.ToDS(ds.DigestType).Digest, ds.Digest), zone != "bogus."+tld; got != want {
			t.Errorf("%s: the key fits the DS record: %v, want %v", zone, got, want)
		}
	}
	queries, err := readQueries(tr.queries)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, q := range queries {
		seen[string(q[12:])] = true
	}
	if len(queries) != 3*treeZones || len(seen) != len(queries) {
		t.Errorf("%d questions, %d of them different, want %d", len(queries), len(seen), 3*treeZones)
	}
}

// parentCut says whether name is below a delegation of zone.
func parentCut(sets map[dns.RR_Header][]dns.RR, zone, name string) bool {
	for off, end := dns.NextLabel(name, 0); !end; off, end = dns.NextLabel(name, off) {
		if above := name[off:]; above == zone {
			return false
		} else if sets[dns.RR_Header{Name: above, Rrtype: dns.TypeNS}] != nil {
			return true
		}
	}
	return false
}

// chain follows NSEC from the apex and back, past every name that has one.
func chain(t *testing.T, sets map[dns.RR_Header][]dns.RR, zone string) {
	t.Helper()
	names := 0
	for h := range sets {
		if h.Rrtype == dns.TypeNSEC {
			names++
		}
	}
	at := zone
	for i := range names {
		rrs := sets[dns.RR_Header{Name: at, Rrtype: dns.TypeNSEC}]
		if len(rrs) != 1 {
			t.Errorf("%s: %s has %d NSEC records", zone, at, len(rrs))
			return
		}
		n := rrs[0].(*dns.NSEC)
		for _, typ := range n.TypeBitMap {
			if typ != dns.TypeRRSIG && sets[dns.RR_Header{Name: at, Rrtype: typ}] == nil {
				t.Errorf("%s: %s has no %s, against its NSEC record", zone, at, dns.TypeToString[typ])
			}
		}
		if at = n.NextDomain; (at == zone) != (i == names-1) {
			t.Errorf("%s: the chain is back after %d of %d names", zone, i+1, names)
			return
		}
	}
}
