package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"port53/conformance/peers"
	"port53/conformance/probe"
	"port53/conformance/zonegen"
)

// upstreamAddr is the server that resolvers forward to.
var upstreamAddr = netip.MustParseAddr("127.0.1.1")

// popularQuestions is how many questions stand for the popularity of names:
// enough that the order never repeats in a way that a cache could gain by.
const popularQuestions = 1_000_000

// cacheHitSuite is names that are all in the cache, asked by popularity. Once they
// are, the server that they came from is ended: what is answered then, is answered
// from the cache.
func (b *bench) cacheHitSuite(dirName string, names int) (*suite, error) {
	dir := filepath.Join(b.dir, dirName)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s := &suite{
		about:   fmt.Sprintf("%d names in the cache, asked by popularity (Zipf); with EDNS", names),
		kinds:   forwarders,
		queries: filepath.Join(dir, "popular.q"), warm: filepath.Join(dir, "warm.q"), warmWindow: 64,
		resolve: true, ready: "ready.example.",
		source: source{forward: netip.AddrPortFrom(upstreamAddr, 53), entries: names + names/10},
	}
	r := rand.New(rand.NewPCG(benchSeed, 4))
	seen := make(map[string]bool, names)
	list := make([]string, 0, names)
	for len(list) < names {
		n := zonegen.Word(r, 5+r.IntN(12)) + []string{".com.", ".net.", ".org.", ".de.", ".io."}[r.IntN(5)]
		if !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	zone := filepath.Join(dir, "upstream.zone")
	if err := writePopular(zone, append(slices.Clone(list), s.ready)); err != nil {
		return nil, err
	}
	form := probe.Question{RD: true, EDNS: true, Size: peers.MaxUDP}
	warm, err := newAsking(s.warm, form)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		warm.ask(n, probe.TypeA)
	}
	a, err := newAsking(s.queries, form)
	if err != nil {
		return nil, err
	}
	for _, rank := range zipf(r, names, popularQuestions) {
		a.ask(list[rank], probe.TypeA)
	}
	if err := errors.Join(warm.close(), a.close()); err != nil {
		return nil, err
	}
	upstream, err := b.serve(filepath.Join(dir, "upstream"), host{upstreamAddr, []peers.Zone{{Name: ".", File: zone}}})
	if err != nil {
		return nil, err
	}
	s.warmed, s.close = upstream.Stop, upstream.Stop
	return s, nil
}

// writePopular writes a root zone that has the names themselves.
func writePopular(file string, names []string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "$TTL %d\n. SOA a.root. hostmaster.root. 1 7200 3600 1209600 %d\n. NS a.root.\na.root. A %s\n", zoneTTL, negativeTTL, upstreamAddr)
	for _, n := range names {
		wire, err := probe.Name(n)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s A %s\n", n, netip.AddrFrom4(address(wire[1:1+wire[0]])))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// zipf draws count ranks below n, each with a probability inverse to its place.
func zipf(r *rand.Rand, n, count int) []int {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	ranks := make([]int, count)
	for i := range ranks {
		ranks[i], _ = slices.BinarySearch(sums, r.Float64()*sum)
	}
	return ranks
}

// The most questions a second that names are made for; a resolver that is faster
// has shorter rounds.
const (
	fastestMiss   = 60_000
	fastestSecure = 15_000
)

// missSuite is names that were never asked before, below delegations that are
// known.
func (b *bench) missSuite(dirName string, secure bool) (*suite, error) {
	fastest := fastestMiss
	if secure {
		fastest = fastestSecure
	}
	asked := float64(b.rounds) * (b.time + warm).Seconds() * float64(fastest)
	names := int(math.Ceil(asked / treeZones))
	t, err := newTree(filepath.Join(b.dir, dirName), names, secure)
	if err != nil {
		return nil, err
	}
	s := &suite{
		about:   fmt.Sprintf("names never asked before in %d known zones below one TLD, not signed and not validated; with EDNS", treeZones),
		kinds:   iterators,
		queries: t.queries, warm: t.warm, warmWindow: 16, once: true, secure: secure,
		resolve: true, ready: "ns." + tld, bogus: t.bogus,
		source: source{hints: t.hints, anchors: t.anchors},
	}
	if secure {
		s.about = fmt.Sprintf("names never asked before in %d known zones below one TLD, signed with ECDSA P-256 and validated; with EDNS", treeZones)
	}
	var servers []*peers.Server
	s.close = func() {
		for _, server := range servers {
			server.Stop()
		}
	}
	for _, h := range t.hosts {
		server, err := b.serve(filepath.Join(t.dir, "nsd-"+h.addr.String()), h)
		if err != nil {
			s.close()
			return nil, err
		}
		servers = append(servers, server)
	}
	return s, nil
}

// authorityNice lets the name servers that resolvers ask run before the load, which
// spins on the same processor.
const authorityNice = -10

// serve starts an NSD that resolvers ask, on the processor of the load.
func (b *bench) serve(dir string, h host) (*peers.Server, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	run := b.ns.On(loadCPU)
	return peers.Start(ctx, peers.NSD, peers.Options{
		Dir: dir, Addr: netip.AddrPortFrom(h.addr, 53), Zones: h.zones,
		Run: func(f func() error) error {
			return run(func() error {
				// The thread's own, which a new process inherits.
				if err := unix.Setpriority(unix.PRIO_PROCESS, 0, authorityNice); err != nil {
					return err
				}
				defer unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
				return f()
			})
		},
	})
}

// startResolver starts a contender of a suite for resolvers, waits until it
// resolves, and has it fill its cache.
func (b *bench) startResolver(s *suite, m *measured, o peers.Options) error {
	m.fast = filepath.Join(b.fast, s.name+"-"+m.name)
	err := os.Mkdir(m.fast, 0o755)
	if err != nil {
		return err
	}
	if m.kind == bare {
		o.Command = []string{b.self, "echo", o.Addr.String()}
	} else {
		binary := cmp.Or(m.binary, b.port53)
		if m.kind != peers.Port53 {
			if binary, err = b.find(m.kind); err != nil {
				return err
			}
		}
		from := s.source
		if m.stream != nil {
			from.secured = b.secured(m, o.Addr.Port())
		}
		from.more = m.config
		if o.Command, err = configureResolver(m.kind, binary, o.Dir, m.fast, o.Addr, from); err != nil {
			return err
		}
	}
	o.Unready, o.Zones = true, nil
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	if m.server, err = peers.Start(ctx, m.kind, o); err != nil || m.kind == bare {
		return err
	}
	if err := b.resolves(ctx, s, m.server); err != nil {
		return fmt.Errorf("%w\n%s", err, m.server.Tail())
	}
	m.server.Took = time.Since(began)
	if m.stream != nil {
		return b.startStreaming(ctx, s, m)
	}
	if m.cold, err = m.memoryNow(); err != nil {
		return err
	}
	r, err := b.blast(load{
		Server: m.server.Addr, Queries: s.warm, Duration: warmTimeout, Sockets: 8, Window: s.warmWindow / 8, Loss: resolveLoss,
		Once: true, Insist: true, Check: true, Secure: s.secure, Yield: true,
	})
	if err != nil {
		return fmt.Errorf("filling the cache: %w\n%s", err, m.server.Tail())
	}
	m.filled = r.Asked
	m.warm, err = m.memoryNow()
	return err
}

const (
	memoryDir      = "/dev/shm"
	resolveTimeout = 30 * time.Second // until a resolver that was started resolves
	warmTimeout    = 10 * time.Minute // for filling a cache
	resolveLoss    = 3 * time.Second  // what stubs wait before they give up
)

// memoryNow returns the memory that a contender holds. Of a cache that is a file in
// memory all counts that is in use, not only the pages of it that are mapped, and
// not what is kept for later.
func (m *measured) memoryNow() (int64, error) {
	held, err := m.server.Memory()
	if err != nil || m.kind != kresd {
		return held, err
	}
	used, err := lmdbSize(filepath.Join(m.fast, "data.mdb"))
	if err != nil {
		return 0, err
	}
	mapped, err := sharedMemory(filepath.Dir(m.server.Conf))
	return held - mapped + used, err
}

// lmdbSize returns the octets in use of an LMDB file: of its two meta pages, which
// take turns, the newer one has the number of the last page used.
func lmdbSize(file string) (int64, error) {
	const (
		page  = 4096
		magic = 0xbeefc0de // 16 octets into the page
		last  = 16 + 24 + 2*48
	)
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var meta [2 * page]byte
	if _, err := io.ReadFull(f, meta[:]); err != nil {
		return 0, err
	}
	var newest uint64
	var size int64
	for off := 0; off < len(meta); off += page {
		m := meta[off:]
		if binary.LittleEndian.Uint32(m[16:]) != magic {
			return 0, fmt.Errorf("%s is not as LMDB's files are", file)
		}
		if number := binary.LittleEndian.Uint64(m[last+8:]); number >= newest {
			newest, size = number, int64(binary.LittleEndian.Uint64(m[last:])+1)*page
		}
	}
	return size, nil
}

// sharedMemory returns the octets of files in memory that the processes map which
// were started with dir in their arguments.
func sharedMemory(dir string) (int64, error) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, file := range commands {
		if args, err := os.ReadFile(file); err != nil || !bytes.Contains(args, []byte(dir+"\x00")) {
			continue // ended meanwhile, or somebody else's
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(file), "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss_Shmem:" {
				kib, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					return 0, err
				}
				sum += kib << 10
			}
		}
	}
	return sum, nil
}

// resolves waits until a resolver gives the answer that is known, and sees that it
// does not give one that is forged.
func (b *bench) resolves(ctx context.Context, s *suite, server *peers.Server) error {
	c := &probe.Client{Server: server.Addr, Timeout: 500 * time.Millisecond, Tries: 1, Run: b.ns.Do}
	defer c.Close()
	id := uint16(0) // of its own for each: an answer to an earlier question may come late
	ask := func(name string) (*probe.Message, error) {
		id++
		wire, err := probe.Name(name)
		if err != nil {
			return nil, err
		}
		return c.Ask(&probe.Question{Name: wire, Type: probe.TypeA, RD: true, AD: true, EDNS: true, Size: peers.MaxUDP, ID: id})
	}
	for {
		m, err := ask(s.ready)
		if err == nil && m.Rcode == probe.NoError && len(m.Answer) > 0 && m.AD == s.secure {
			break
		}
		if err == nil {
			err = errors.New(m.String())
		}
		select {
		case <-server.Ended():
			return errors.New("the server has ended")
		case <-ctx.Done():
			return fmt.Errorf("%s does not resolve: %w", s.ready, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if s.bogus == "" {
		return nil
	}
	c.Timeout = resolveLoss
	m, err := ask(s.bogus)
	if err == nil && m.Rcode != probe.ServFail {
		err = fmt.Errorf("%s is bogus, and was answered: %s", s.bogus, m)
	}
	return err
}
