package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"port53/conformance/netns"
	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// The seeds of zones and questions: every run asks the same.
const benchSeed = 53

// asking writes questions for the generator.
type asking struct {
	f    *os.File
	w    *bufio.Writer
	form probe.Question // all but the name and the type
	err  error
}

func newAsking(file string, form probe.Question) (*asking, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return &asking{f: f, w: bufio.NewWriter(f), form: form}, nil
}

func (a *asking) ask(text string, typ uint16) {
	name, err := probe.Name(text)
	if err != nil {
		a.err = err
		return
	}
	q := a.form
	q.Name, q.Type = name, typ
	p := q.Pack()
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(p)))
	a.w.Write(length[:])
	a.w.Write(p)
}

func (a *asking) close() error {
	if a.err != nil {
		return a.err
	}
	if err := a.w.Flush(); err != nil {
		return err
	}
	return a.f.Close()
}

// rootSuite is the root zone: 60 % referrals, 30 % NXDOMAIN, 10 % DS, SOA,
// DNSKEY and NS.
func (b *bench) rootSuite(do bool) (*suite, error) {
	file, about := b.rootZone, "the root zone as published"
	var tlds []string
	if _, err := os.Stat(file); err == nil {
		if tlds, err = delegations(file); err != nil {
			return nil, err
		}
	} else {
		z := zonegen.Root(benchSeed, 1500, zonegen.NSEC)
		if err := z.Write(b.dir); err != nil {
			return nil, err
		}
		file, about = z.File, "an imitated root zone"
		if tlds, err = delegations(file); err != nil {
			return nil, err
		}
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	about += ": 60 % referrals, 30 % NXDOMAIN, 10 % DS, SOA, DNSKEY, NS"
	if do {
		about += "; with DO"
	}
	s := &suite{about: about, kinds: authorities, zone: peers.Zone{Name: ".", File: file}, queries: filepath.Join(b.dir, fmt.Sprintf("root-%v.q", do))}
	a, err := newAsking(s.queries, probe.Question{EDNS: do, DO: do, Size: peers.MaxUDP})
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(benchSeed, 1))
	for range 200_000 {
		switch x := r.IntN(100); {
		case x < 60:
			a.ask(zonegen.Word(r, 4+r.IntN(11))+"."+tlds[r.IntN(len(tlds))], []uint16{probe.TypeA, probe.TypeAAAA, probe.TypeNS}[r.IntN(3)])
		case x < 90:
			a.ask(zonegen.Word(r, 3+r.IntN(10))+"."+zonegen.Word(r, 6+r.IntN(7))+".", probe.TypeA)
		case x < 97:
			a.ask(tlds[r.IntN(len(tlds))], probe.TypeDS)
		default:
			a.ask(".", []uint16{probe.TypeSOA, probe.TypeDNSKEY, probe.TypeNS}[r.IntN(3)])
		}
	}
	return s, a.close()
}

// delegations returns the owners of NS records below the root.
func delegations(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	seen := map[string]bool{".": true}
	var names []string
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		w := strings.Fields(in.Text())
		if len(w) >= 5 && w[3] == "NS" && !seen[w[0]] {
			seen[w[0]] = true
			names = append(names, w[0])
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no delegations", file)
	}
	return names, in.Err()
}

// millionSuite is a zone of a million names, 90 % of them delegations: 80 %
// names that exist, 15 % that do not, 5 % of other types.
func (b *bench) millionSuite() (*suite, error) {
	s := &suite{
		about:   fmt.Sprintf("a zone of %d names: 80 %% existing, 15 %% NXDOMAIN, 5 %% other types; with EDNS", b.names),
		kinds:   authorities,
		zone:    peers.Zone{Name: "bench.example.", File: filepath.Join(b.dir, "million.zone")},
		queries: filepath.Join(b.dir, "million.q"),
	}
	r := rand.New(rand.NewPCG(benchSeed, 2))
	seen := make(map[string]bool, b.names)
	names := make([]string, 0, b.names)
	for len(names) < b.names {
		if n := zonegen.Word(r, 5+r.IntN(14)); !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	f, err := os.Create(s.zone.File)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(f)
	w.WriteString("$ORIGIN bench.example.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns2 A 192.0.2.2\n")
	for i, n := range names {
		if i%10 > 0 {
			fmt.Fprintf(w, "%s NS ns1.%s\n%s NS ns2.dns%d.example.net.\nns1.%s A 198.51.%d.%d\n", n, n, n, i%97, n, i%250, i/250%250)
		} else {
			fmt.Fprintf(w, "%s A 203.0.113.%d\n%s AAAA 2001:db8::%x\n", n, i%250, n, i%65535)
		}
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	a, err := newAsking(s.queries, probe.Question{EDNS: true, Size: peers.MaxUDP})
	if err != nil {
		return nil, err
	}
	for range 1_000_000 {
		name := names[r.IntN(len(names))]
		switch x := r.IntN(100); {
		case x < 80:
			a.ask(name+".bench.example.", []uint16{probe.TypeA, probe.TypeAAAA}[r.IntN(2)])
		case x < 95:
			a.ask(zonegen.Word(r, 20)+".bench.example.", probe.TypeA)
		default:
			a.ask(name+".bench.example.", []uint16{probe.TypeMX, probe.TypeTXT, probe.TypeNS}[r.IntN(3)])
		}
	}
	return s, a.close()
}

// limitedNetworks is how many client networks ask under rate limiting: so many
// that none comes near a limit, and all answers are sent.
const limitedNetworks = 50_000

// rateLimitSuite is port53 without and with rate limiting, asked by clients of
// many networks.
func (b *bench) rateLimitSuite() (*suite, error) {
	s, err := b.rootSuite(false)
	if err != nil {
		return nil, err
	}
	s.about += fmt.Sprintf("; from %d networks, without and with rate limiting", limitedNetworks)
	s.networks = limitedNetworks
	s.contenders = []contender{
		{name: "unlimited", kind: peers.Port53, addr: netns.Server},
		{name: "limited", kind: peers.Port53, addr: netns.Server, config: "policy: {rate_limit: {enabled: true}}\n"},
	}
	return s, nil
}
