// Command bench measures port53 beside NSD, Knot, BIND and PowerDNS as a name
// server, beside dnsmasq, Unbound, BIND, PowerDNS Recursor and Knot Resolver as a
// resolver, beside Unbound, BIND, dnsdist and dnsproxy over TLS, HTTPS and QUIC, and
// beside a bare responder that only sends queries back.
//
// All servers run in one network namespace, on processor 0, and wait while one
// of them is measured; the load comes from processor 1. Rounds are interleaved,
// so that what disturbs the machine disturbs all alike; the median round counts.
// The name servers that resolvers ask share the processor of the load.
// With -ab OLD it compares two programs, and the old one with itself.
// It needs root, two processors, and the peers that scripts/install-peers
// installs; those that are missing are left out and named.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// The processors: one for the servers, one for the load.
const (
	serverCPU = 0
	loadCPU   = 1
)

// bare is the responder that does nothing.
const bare = "bare"

// Who can do what.
var (
	authorities = []string{bare, peers.Port53, peers.NSD, peers.Knot, peers.BIND, peers.PDNS}
	forwarders  = []string{bare, peers.Port53, dnsmasq, unbound, peers.BIND, pdnsRec, kresd}
	iterators   = []string{peers.Port53, unbound, peers.BIND, pdnsRec, kresd}
	everybody   = []string{
		bare, peers.Port53, peers.NSD, peers.Knot, peers.BIND, peers.PDNS, dnsmasq, unbound, pdnsRec, kresd, dnsdist, dnsproxy,
	}
)

func main() {
	if len(os.Args) == 3 && slices.Contains([]string{"blast", "echo", "stream"}, os.Args[1]) {
		if os.Args[1] != "stream" {
			debug.SetGCPercent(-1)
		} else {
			debug.SetGCPercent(1000)
		}
		if err := child(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "error: %v\n", err)
			os.Exit(2)
		}
		return
	}
	b := &bench{}
	var servers, suites string
	flag.StringVar(&b.port53, "port53", "bin/port53", "port53's `program`")
	flag.StringVar(&servers, "servers", strings.Join(everybody, ","), "what to measure, by suites that it is for")
	flag.StringVar(&suites, "suite", "auth-root,auth-root-do,auth-1m,rate-limit,cache-hit,cache-hit-1m,cache-miss,cache-miss-dnssec", "what to measure it with")
	flag.IntVar(&b.rounds, "rounds", 5, "how many times")
	flag.DurationVar(&b.time, "time", 3*time.Second, "of one round")
	flag.IntVar(&b.names, "names", 1_000_000, "in the zone of auth-1m and in the caches of cache-hit-1m")
	flag.StringVar(&b.rootZone, "root", os.Getenv("PORT53_ROOT_ZONE"), "a root zone `file`, PORT53_ROOT_ZONE unless set; an imitation is made where there is none")
	flag.IntVar(&b.idle, "idle", 10_000, "connections of the suite of that name")
	flag.StringVar(&b.dnsproxy, "dnsproxy", "", "dnsproxy's `program`, which conformance/dnsproxy builds; else it is found in PATH")
	flag.StringVar(&b.old, "ab", "", "compare with this other port53 `program`, alone, in pairs of rounds")
	flag.StringVar(&b.withFile, "with", "", "a `file` of what the new program's configuration has more than the old one's, with -ab")
	flag.IntVar(&b.rules, "rules", 1_000_000, "in the block list that RULES stands for in that file")
	pairs := flag.Int("pairs", 12, "of rounds, where two programs are compared")
	flag.Parse()
	if b.old != "" {
		b.rounds = *pairs
		set := false
		flag.Visit(func(f *flag.Flag) { set = set || f.Name == "suite" })
		if !set {
			suites = abSuites
		}
	}
	if err := b.run(strings.Split(suites, ","), strings.Split(servers, ",")); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(2)
	}
}

func child(what, arg string) error {
	switch what {
	case "blast":
		return runBlast(arg)
	case "stream":
		return runStream(arg)
	}
	addr, err := netip.ParseAddrPort(arg)
	if err != nil {
		return err
	}
	return echo(addr)
}

type bench struct {
	port53, rootZone string
	old              string // the port53 to compare with, alone, if set
	withFile, with   string // the new one's configuration has this, too: the file, and its text
	rules            int    // of the list that it may have
	rounds, names    int
	time             time.Duration
	idle             int // connections
	dnsproxy         string
	cert, key        string   // that all servers show
	kinds            []string // that can take part

	ns   *netns.Namespace
	self string
	dir  string
	fast string // a folder in memory
}

func (b *bench) run(suites, kinds []string) error {
	if os.Getuid() != 0 {
		return errors.New("not root: the network namespace needs it")
	}
	if runtime.NumCPU() < 2 {
		return errors.New("one processor: the server and the load need one each")
	}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.port53, err = filepath.Abs(b.port53); err != nil {
		return err
	}
	if b.old != "" {
		if b.old, err = filepath.Abs(b.old); err != nil {
			return err
		}
	}
	if b.dir, err = os.MkdirTemp("", "port53-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.fast, err = os.MkdirTemp(memoryDir, "port53-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.fast)
	for _, dir := range []string{b.dir, b.fast} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	if b.withFile != "" {
		if err := b.readWith(b.withFile, b.rules); err != nil {
			return err
		}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		<-ended // the servers end with this process
		os.RemoveAll(b.dir)
		os.RemoveAll(b.fast)
		os.Exit(2)
	}()
	if b.ns, err = netns.New(); err != nil {
		return err
	}
	defer b.ns.Close()
	kinds = slices.DeleteFunc(kinds, func(kind string) bool {
		switch kind {
		case bare:
			return false
		case peers.Port53:
			_, err = os.Stat(b.port53)
		default:
			_, err = b.find(kind)
		}
		if err != nil {
			fmt.Printf("left out: %s: %v\n", kind, err)
		}
		return err != nil
	})
	b.kinds = kinds
	fmt.Printf("%s, %d processors, %s; median of %d rounds of %s; server on processor %d, load on %d\n",
		runtime.GOARCH, runtime.NumCPU(), kernel(), b.rounds, b.time, serverCPU, loadCPU)
	if load := busy(); load > 0.5 {
		fmt.Printf("the machine is not idle (load average %.1f): compare CPU per answer, not answers/s\n", load)
	}
	for _, name := range suites {
		if apart, ok := map[string]func() error{
			"axfr-out": func() error {
				if b.old != "" {
					return b.comparedTransfers()
				}
				return b.transferSuite(b.transferers(kinds), true)
			},
			"axfr-in": func() error { return b.transferSuite(b.transferers(kinds), false) },
			"catalog": func() error { return b.catalogSuite(b.transferers(kinds)) },
			"latency": b.latencySuite,
			"idle":    b.idleSuite,
		}[name]; ok {
			if err := apart(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		make, ok := map[string]func() (*suite, error){
			"auth-root": func() (*suite, error) { return b.rootSuite(false) }, "auth-root-do": func() (*suite, error) { return b.rootSuite(true) },
			"auth-1m": b.millionSuite, "rate-limit": b.rateLimitSuite,
			"cache-hit":    func() (*suite, error) { return b.cacheHitSuite(name, popularNames) },
			"cache-hit-1m": func() (*suite, error) { return b.cacheHitSuite(name, b.names) },
			"cache-miss":   func() (*suite, error) { return b.missSuite(name, false) }, "cache-miss-dnssec": func() (*suite, error) { return b.missSuite(name, true) },
		}[name]
		if !ok {
			make, ok = b.streamSuites()[name]
		}
		if !ok {
			return fmt.Errorf("no suite %s", name)
		}
		s, err := make()
		if err != nil {
			return err
		}
		s.name = name
		if b.old != "" {
			s.contenders = b.compared(s.contenders)
		}
		if s.contenders == nil {
			for _, kind := range kinds {
				if slices.Contains(s.kinds, kind) {
					s.contenders = append(s.contenders, contender{name: kind, kind: kind})
				}
			}
		}
		if len(s.contenders) == 0 {
			if s.close != nil {
				s.close()
			}
			fmt.Printf("\n%s: left out: it is for %s\n", name, strings.Join(s.kinds, ", "))
			continue
		}
		if err := b.measure(s); err != nil {
			return err
		}
	}
	return nil
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(text))
}

// busy returns the load average of the last minute.
func busy() float64 {
	var load float64
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		fmt.Sscan(string(text), &load)
	}
	return load
}

// popularNames is how many names cache-hit keeps in the caches.
const popularNames = 10_000

// program returns the executable of a kind of server, or the kind for package
// peers to know.
func program(kind string) string {
	if name, ok := resolverPrograms[kind]; ok {
		return name
	}
	return kind
}

// A suite is a zone, questions, and who is to answer them.
type suite struct {
	name, about string
	kinds       []string // who can take part
	zone        peers.Zone
	queries     string // a file for the generator
	networks    int
	contenders  []contender
	close       func() // ends what the suite started, if set

	// The rest is for suites that measure resolvers.
	resolve    bool
	source     source
	ready      string // a name that resolves when the resolver is ready
	bogus      string // a name that must not, if set
	warm       string // a file of questions that fill the cache
	warmWindow int    // so many of them are under way
	warmed     func() // called when all caches are filled, if set
	once       bool   // no resolver is asked twice for the same
	secure     bool   // answers must be validated
}

// A contender is one server as it is started.
type contender struct {
	name, kind, config string
	binary             string     // of a port53; the one of the flags unless set
	addr               netip.Addr // 127.0.0.1 unless set
	stream             *streaming // it is asked on connections; nil: over UDP
}

// A running contender, and what was measured of it.
type measured struct {
	contender
	server *peers.Server
	rounds []round
	memory int64  // at the end
	fast   string // a folder in memory, for a cache that is a file

	// Of resolvers.
	cold, warm int64 // memory before and after the cache was filled
	filled     int   // answers that filled it
	asked      int   // questions of the file that it was asked, where it is asked none twice
}

func (m *measured) stop() {
	if m.server != nil {
		m.server.Stop()
	}
	if m.fast != "" { // where it takes memory
		os.RemoveAll(m.fast)
	}
}

type round struct {
	result
	user, system time.Duration // of the server, for one answer
}

// startTimeout bounds how long a server may load.
const startTimeout = 5 * time.Minute

func (b *bench) measure(s *suite) error {
	if s.close != nil {
		defer s.close()
	}
	fmt.Printf("\n%s: %s\n", s.name, s.about)
	var all []*measured
	defer func() {
		for _, m := range all {
			m.stop()
		}
	}()
	for i, c := range s.contenders {
		m := &measured{contender: c}
		all = append(all, m)
		if err := b.start(s, m, uint16(5300+i)); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if s.warmed != nil {
		s.warmed()
	}
	for i := range b.rounds {
		for _, m := range order(all, i, b.old != "") {
			r, err := b.round(s, m)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			m.rounds = append(m.rounds, *r)
		}
	}
	if b.old != "" {
		return reportPairs(all)
	}
	for _, m := range all {
		var err error
		if m.memory, err = m.memoryNow(); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	report(all, s.resolve)
	return nil
}

func (b *bench) start(s *suite, m *measured, port uint16) error {
	dir := filepath.Join(b.dir, s.name+"-"+m.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	addr := m.addr
	if !addr.IsValid() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	o := peers.Options{
		Dir: dir, Addr: netip.AddrPortFrom(addr, port), Zones: []peers.Zone{s.zone}, Run: b.ns.On(serverCPU),
		Env: []string{"GOMAXPROCS=1"}, Config: m.config,
	}
	if s.resolve {
		return b.startResolver(s, m, o)
	}
	switch m.kind {
	case bare:
		o.Command, o.Unready = []string{b.self, "echo", o.Addr.String()}, true
	case peers.Port53:
		o.Binary = cmp.Or(m.binary, b.port53)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var err error
	m.server, err = peers.Start(ctx, m.kind, o)
	return err
}

// warm is how long the load runs before it counts.
const warm = 300 * time.Millisecond

// round measures one server for a while.
func (b *bench) round(s *suite, m *measured) (*round, error) {
	l := load{
		Server: m.server.Addr, Queries: s.queries, Duration: b.time, Warm: warm, Sockets: 16, Window: 8, Networks: s.networks,
		Skip: m.asked, Once: s.once, Check: s.resolve && m.kind != bare, Secure: s.secure, Yield: s.once,
	}
	if s.resolve {
		l.Loss = resolveLoss
	}
	u0, s0 := m.server.CPU()
	var result *result
	var err error
	if m.stream != nil {
		result, err = b.runStream(s, m, b.time, warm)
	} else {
		result, err = b.blast(l)
	}
	if err != nil {
		return nil, err
	}
	u1, s1 := m.server.CPU()
	r := &round{result: *result}
	if s.once {
		m.asked += r.Asked
	}
	if r.Received == 0 {
		return nil, fmt.Errorf("no answers\n%s", m.server.Tail())
	}
	// The processor time covers the warm-up too, in which answers were as frequent.
	answers := float64(r.Received) * (1 + warm.Seconds()/r.Seconds)
	r.user = time.Duration(float64(u1-u0) / answers)
	r.system = time.Duration(float64(s1-s0) / answers)
	return r, nil
}

// blast runs the generator of datagrams.
func (b *bench) blast(l load) (*result, error) { return b.load("blast", l) }

// load runs a generator in a process on the load's processor.
func (b *bench) load(what string, l any) (*result, error) {
	arg, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(b.self, what, string(arg))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := b.ns.On(loadCPU)(cmd.Start); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("load: %w: %s", err, errs.String())
	}
	var r result
	return &r, json.Unmarshal([]byte(out.String()), &r)
}
