package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// A tree is a small name space with servers of its own: a root, one TLD and zones
// below it, spread over several addresses as hosting companies spread theirs.
type tree struct {
	hints   string
	anchors *anchors   // nil: unsigned
	bogus   string     // a name whose signatures do not fit, in a signed tree
	warm    string     // a file with one question for each zone
	queries string     // a file with a question for each other name
	hosts   []host     // who serves what
	zones   []leafZone // the zones below the TLD
	labels  []string   // the names in each
	root    *signer    // nil: unsigned
	random  *rand.Rand // of names and of the order of questions
	dir     string     // where all the files are
}

// A host is one address and the zones that are served there.
type host struct {
	addr  netip.Addr
	zones []peers.Zone
}

// A leafZone is a zone below the TLD.
type leafZone struct {
	name   string
	addr   netip.Addr
	signer *signer
}

const (
	treeZones = 1000
	tld       = "bench."
	warmLabel = "warm"
	// leafHosts is so many that no bound on questions under way to one server is
	// reached.
	leafHosts = 10
)

var (
	rootAddr = netip.MustParseAddr("127.0.1.1")
	tldAddr  = netip.MustParseAddr("127.0.1.2")
)

// leafAddr returns the address of one of the hosts of the zones below the TLD.
func leafAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 2, byte(1 + i%leafHosts)}) }

// newTree writes the zones of a tree with so many names in each zone, and the
// questions.
func newTree(dir string, names int, signed bool) (*tree, error) {
	t := &tree{
		dir: dir, random: rand.New(rand.NewPCG(benchSeed, 3)),
		hints: filepath.Join(dir, "root.hints"), warm: filepath.Join(dir, "warm.q"), queries: filepath.Join(dir, "unique.q"),
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	hints := fmt.Sprintf(". 3600000 NS a.root.\na.root. 3600000 A %s\n", rootAddr)
	if err := os.WriteFile(t.hints, []byte(hints), 0o644); err != nil {
		return nil, err
	}
	seen := map[string]bool{warmLabel: true, "ns": true}
	t.labels = []string{warmLabel}
	for len(t.labels) <= names {
		if w := zonegen.Word(t.random, 8); !seen[w] {
			seen[w] = true
			t.labels = append(t.labels, w)
		}
	}
	for i := range treeZones {
		t.zones = append(t.zones, leafZone{name: fmt.Sprintf("d%d.%s", i, tld), addr: leafAddr(i)})
	}
	if signed {
		t.bogus = warmLabel + ".bogus." + tld
		t.zones = append(t.zones, leafZone{name: "bogus." + tld, addr: leafAddr(0)})
	}
	if err := t.leaves(signed); err != nil {
		return nil, err
	}
	if err := t.top(signed); err != nil {
		return nil, err
	}
	return t, t.ask(signed)
}

// file returns where a zone's master file is.
func (t *tree) file(zone string) string { return filepath.Join(t.dir, zone+"zone") }

// leaves writes the zones below the TLD, on all processors: signing takes long.
func (t *tree) leaves(signed bool) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		work = make(chan *leafZone)
	)
	labels := slices.Sorted(slices.Values(append(slices.Clone(t.labels), "ns")))
	for range runtime.NumCPU() {
		wg.Go(func() {
			for z := range work {
				if err := t.leaf(z, labels, signed); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range t.zones {
		work <- &t.zones[i]
	}
	close(work)
	wg.Wait()
	return errors.Join(errs...)
}

func (t *tree) leaf(z *leafZone, labels []string, signed bool) error {
	if signed {
		var err error
		if z.signer, err = newSigner(z.name); err != nil {
			return err
		}
	}
	nodes := []node{apex(z.name, "ns."+z.name)}
	for _, l := range labels {
		addr := address([]byte(l))
		if l == "ns" {
			addr = z.addr.As4()
		}
		nodes = append(nodes, node{name: l + "." + z.name, sets: [][]dns.RR{aSet(l+"."+z.name, addr)}})
	}
	return writeZone(t.file(z.name), nodes, z.signer)
}

// top writes the TLD and the root.
func (t *tree) top(signed bool) error {
	var tldSigner *signer
	var err error
	if signed {
		if tldSigner, err = newSigner(tld); err != nil {
			return err
		}
		if t.root, err = newSigner("."); err != nil {
			return err
		}
		if t.anchors, err = newAnchors(filepath.Join(t.dir, "root.key"), t.root); err != nil {
			return err
		}
	}
	nodes := []node{apex(tld, "ns."+tld)}
	slices.SortFunc(t.zones, func(a, b leafZone) int { return cmp.Compare(a.name, b.name) })
	for _, z := range t.zones {
		keys := z.signer
		if z.name == "bogus."+tld {
			if keys, err = newSigner(z.name); err != nil { // not the one that signed
				return err
			}
		}
		nodes = append(nodes, cut(z.name, keys)...)
		nodes[len(nodes)-1].sets = [][]dns.RR{aSet("ns."+z.name, z.addr.As4())}
	}
	nodes = append(nodes, node{name: "ns." + tld, sets: [][]dns.RR{aSet("ns."+tld, tldAddr.As4())}})
	if err := writeZone(t.file(tld), nodes, tldSigner); err != nil {
		return err
	}
	nodes = append([]node{apex(".", "a.root.")}, cut(tld, tldSigner)...)
	nodes[len(nodes)-1].sets = [][]dns.RR{aSet("ns."+tld, tldAddr.As4())}
	nodes = append(nodes, node{name: "a.root.", sets: [][]dns.RR{aSet("a.root.", rootAddr.As4())}})
	if err := writeZone(t.file("."), nodes, t.root); err != nil {
		return err
	}
	t.hosts = []host{
		{rootAddr, []peers.Zone{{Name: ".", File: t.file(".")}}},
		{tldAddr, []peers.Zone{{Name: tld, File: t.file(tld)}}},
	}
	for i := range leafHosts {
		h := host{addr: leafAddr(i)}
		for _, z := range t.zones {
			if z.addr == h.addr {
				h.zones = append(h.zones, peers.Zone{Name: z.name, File: t.file(z.name)})
			}
		}
		t.hosts = append(t.hosts, h)
	}
	return nil
}

// ask writes the questions: for every name in a random order, and before that one
// for each zone, so that no delegation has to be learnt while it counts.
func (t *tree) ask(signed bool) error {
	form := probe.Question{RD: true, AD: signed, EDNS: true, Size: peers.MaxUDP}
	warm, err := newAsking(t.warm, form)
	if err != nil {
		return err
	}
	all, err := newAsking(t.queries, form)
	if err != nil {
		return err
	}
	zones := slices.DeleteFunc(slices.Clone(t.zones), func(z leafZone) bool { return z.name == "bogus."+tld })
	for _, z := range zones {
		warm.ask(warmLabel+"."+z.name, probe.TypeA)
	}
	n := len(t.labels) - 1
	for _, i := range t.random.Perm(len(zones) * n) {
		all.ask(t.labels[1+i%n]+"."+zones[i/n].name, probe.TypeA)
	}
	return errors.Join(warm.close(), all.close())
}

func header(name string, typ uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: zoneTTL}
}

func aSet(name string, addr [4]byte) []dns.RR {
	return []dns.RR{&dns.A{Hdr: header(name, dns.TypeA), A: net.IP(addr[:])}}
}

func nsSet(name, server string) []dns.RR {
	return []dns.RR{&dns.NS{Hdr: header(name, dns.TypeNS), Ns: server}}
}

// apex returns the apex of a zone with one server.
func apex(name, server string) node {
	soa := &dns.SOA{
		Hdr: header(name, dns.TypeSOA), Ns: server, Mbox: "hostmaster." + strings.TrimPrefix(name, "."),
		Serial: 1, Refresh: 7200, Retry: 3600, Expire: 1209600, Minttl: negativeTTL,
	}
	return node{name: name, sets: [][]dns.RR{{soa}, nsSet(name, server)}}
}

// cut returns a delegation and the place of its glue, which is the caller's to
// fill.
func cut(name string, s *signer) []node {
	n := node{name: name, cut: true, sets: [][]dns.RR{nsSet(name, "ns."+name)}}
	if s != nil {
		n.sets = append(n.sets, s.ds())
	}
	return []node{n, {name: "ns." + name, glue: true}}
}
