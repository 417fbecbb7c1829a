package catalogue

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/check"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of discovery.
const (
	discoverMost   = 20000            // names that are found: more are a generator's
	discoverBytes  = 16 << 20         // octets of a transfer that are read
	discoverTime   = 60 * time.Second // of a transfer
	discoverBudget = 10 * time.Minute // of all, for 5,000 words at a server of a second
	nsecMost       = 10000            // steps of the NSEC chain
	askedAtOnce    = 8                // words that are asked for at the same time
	silentMost     = 20               // questions in a row without an answer, after which it is given up
	permuteMost    = 200              // names that permutations are made of
	moreMost       = 4000             // questions for more than the addresses of names
	privateMost    = 1000             // names that are asked for IPv6 addresses
	dangleMost     = 2000             // targets that are looked up
	addrsMost      = 26               // addresses of one name that are kept: 13 servers of two families
	edgesMost      = 100              // to where one name leads
)

// A found is a name that discovery found, with what is known of it.
type found struct {
	name  []byte // in lower case
	how   string // transfer, nsec, word, certificate, permutation or common
	addrs []netip.Addr
	edges []edge      // to where it leads
	types []wire.Type // that NSEC says it has, of a name that was found by it
}

// A discovery is the names of a zone that a stranger finds.
type discovery struct {
	names  []found // in the order of their names
	ways   []string
	err    error
	ev     finding.Evidence
	capped bool
	sets   map[question][][]byte // of a transfer: those that are judged by their data
}

// discovered returns the names of the zone: common ones, or with Options.Subdomains all
// that can be found. It is done once a run.
func discovered(ctx context.Context, r *check.Run) *discovery {
	return check.Once(r, check.Fact[*discovery]{Name: string(wire.Lower(nil, r.Zone))}, func() *discovery {
		d := &discoverer{r: r, have: map[string]*found{}, sets: map[question][][]byte{}}
		within, cancel := context.WithTimeout(ctx, discoverBudget)
		defer cancel()
		d.run(within)
		out := &discovery{err: d.err, ev: d.ev, ways: d.ways, capped: len(d.have) >= discoverMost, sets: d.sets}
		for _, f := range d.have {
			out.names = append(out.names, *f)
		}
		slices.SortFunc(out.names, func(a, b found) int { return bytes.Compare(a.name, b.name) })
		return out
	})
}

type discoverer struct {
	r    *check.Run
	wild string // what a name that nobody has is answered with, or ""
	err  error
	ev   finding.Evidence
	ways []string

	mu   sync.Mutex
	have map[string]*found
	sets map[question][][]byte
}

// add keeps a name of the zone, and says whether it is new.
func (d *discoverer) add(name []byte, how string) bool {
	name = wire.Lower(nil, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !wire.Subdomain(name, d.r.Zone) || wire.EqualFold(name, d.r.Zone) || d.have[string(name)] != nil || len(d.have) >= discoverMost {
		return false
	}
	d.have[string(name)] = &found{name: name, how: how}
	return true
}

// way notes that names were found in a way.
func (d *discoverer) way(how string, before int) {
	if n := len(d.have) - before; n > 0 {
		d.ways = append(d.ways, fmt.Sprintf("%d by %s", n, how))
	}
}

func (d *discoverer) run(ctx context.Context) {
	given := d.given()
	d.each(ctx, len(given), func(l *line, i int) error { return d.look(ctx, l, given[i], "named") })
	if d.r.Options.Subdomains {
		d.search(ctx)
	} else {
		d.words(ctx, "common", commonLabels())
		d.steps(ctx)
	}
	d.more(ctx)
}

// steps looks at the names that NSEC records tell of in the few steps that other checks walk as well.
func (d *discoverer) steps(ctx context.Context) {
	list := walked(ctx, d.r).list
	d.each(ctx, len(list), func(l *line, i int) error {
		x := &list[i]
		d.mu.Lock()
		known := d.have[string(wire.Lower(nil, x.name))] != nil
		d.mu.Unlock()
		if known || wire.EqualFold(x.name, d.r.Zone) {
			return nil
		}
		err := d.look(ctx, l, x.name, "nsec")
		d.mu.Lock()
		defer d.mu.Unlock()
		if f := d.have[string(wire.Lower(nil, x.name))]; f != nil {
			f.types = x.types
		}
		return err
	})
}

// more asks for what else names have that leads elsewhere, of those that were named or searched for. A transfer has it all.
func (d *discoverer) more(ctx context.Context) {
	var list []question
	for _, f := range d.have {
		for _, t := range []wire.Type{wire.TypeMX, wire.TypeHTTPS, wire.TypeTXT, wire.TypeCAA, wire.TypeSRV} {
			asked := t != wire.TypeSRV && (f.how == "named" || d.r.Options.Subdomains && f.how != "transfer")
			if asked || slices.Contains(f.types, t) {
				list = append(list, question{string(f.name), t})
			}
		}
	}
	slices.SortFunc(list, func(a, b question) int { return cmp.Or(strings.Compare(a.name, b.name), int(a.t)-int(b.t)) })
	list = list[:min(len(list), moreMost)]
	d.each(ctx, len(list), func(l *line, i int) error {
		q := list[i]
		m, _, err := l.ask(ctx, []byte(q.name), q.t)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if data := m.Answers([]byte(q.name), q.t); len(data) > 0 {
			d.sets[q] = data
			f := d.have[q.name]
			f.edges = append(f.edges, edgesIn(d.r.Zone, []byte(q.name), m)...)
		}
		return nil
	})
}

// search looks for all names of the zone.
func (d *discoverer) search(ctx context.Context) {
	before := 0
	d.transfer(ctx)
	d.way("transfer", before)
	if len(d.have) == 0 {
		names, _, err := walkNSEC(ctx, d.r, nsecMost)
		if err == nil {
			for _, n := range names {
				d.add(n, "nsec")
			}
		}
		d.way("NSEC", before)
	}
	whole := len(d.have) > 0
	before = len(d.have)
	if !whole {
		d.words(ctx, "word", Words())
		d.way("words", before)
	}
	before = len(d.have)
	d.certificates(ctx)
	d.way("certificates", before)
	if !whole && d.err == nil {
		before = len(d.have)
		d.permutations(ctx)
		d.way("permutations", before)
	}
	var known []found
	for _, f := range d.have {
		if f.how == "nsec" || f.how == "certificate" {
			known = append(known, *f)
		}
	}
	slices.SortFunc(known, func(a, b found) int { return bytes.Compare(a.name, b.name) })
	d.each(ctx, len(known), func(l *line, i int) error { return d.look(ctx, l, known[i].name, known[i].how) })
}

// given returns the names that somebody wants to be looked at, those that are in the zone.
func (d *discoverer) given() [][]byte {
	var out [][]byte
	for _, text := range d.r.Options.Names {
		name, err := wire.ParseName(text)
		if err != nil {
			continue
		}
		if !strings.HasSuffix(text, ".") && !wire.Subdomain(name, d.r.Zone) {
			if name = append(name[:len(name)-1], d.r.Zone...); len(name) > wire.MaxName {
				continue
			}
		}
		if wire.Subdomain(name, d.r.Zone) && !wire.EqualFold(name, d.r.Zone) {
			out = append(out, wire.Lower(nil, name))
		}
	}
	return names(out)
}

// each does something for n things, some at the same time, and gives up when nothing is
// answered any more.
func (d *discoverer) each(ctx context.Context, n int, do func(l *line, i int) error) {
	var next, silent atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	for range min(askedAtOnce, n) {
		wg.Go(func() {
			l := &line{r: d.r}
			defer l.close()
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil || silent.Load() >= silentMost {
					return
				}
				err := do(l, i)
				if err == nil {
					silent.Store(0)
					continue
				}
				if silent.Add(1) >= silentMost || n < silentMost {
					once.Do(func() { d.err = err })
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		d.err = ctx.Err()
	}
}

// A line asks many questions over one connection: servers that limit the rate of their
// answers to forged addresses need not limit these. Where there is no TCP it asks over UDP.
type line struct {
	r    *check.Run
	c    *exchange.Stream
	dead bool // TCP has failed
}

// The patience with servers that do not take to TCP.
const (
	lineServers = 4
	lineDial    = time.Second
)

// A tcpServer is a server of a zone that answers over TCP, if one does.
type tcpServer struct {
	server finding.Server
	ok     bool
}

// overTCPFirst returns the first of the zone's servers, by their addresses, that answers over TCP, found out once: nobody waits for the
// others again.
func overTCPFirst(ctx context.Context, r *check.Run) (finding.Server, bool) {
	x := check.Once(r, check.Fact[tcpServer]{Name: string(wire.Lower(nil, r.Zone))}, func() tcpServer {
		servers, err := r.ZoneServers(ctx)
		if err != nil {
			return tcpServer{}
		}
		servers = slices.DeleteFunc(
			slices.Clone(servers),
			func(s finding.Server) bool { return !r.Asks(s.Addr) || !r.HasRoute(ctx, s.Addr) },
		)
		slices.SortFunc(servers, func(a, b finding.Server) int { return a.Addr.Compare(b.Addr) })
		servers = servers[:min(len(servers), lineServers)]
		said := make([]chan bool, len(servers))
		for i, s := range servers {
			said[i] = make(chan bool, 1)
			go func() {
				m, err := r.AskServerTCP(ctx, s, check.Query{Name: r.Zone, Type: wire.TypeSOA})
				said[i] <- err == nil && m.Bad == 0 && (m.Rcode == wire.NoError || m.Rcode == wire.NXDomain)
			}()
		}
		for i, s := range servers {
			if <-said[i] {
				return tcpServer{s, true} // the same in each run, whoever was faster
			}
		}
		return tcpServer{}
	})
	return x.server, x.ok
}

func (l *line) close() {
	if l.c != nil {
		l.c.Close()
	}
	l.c = nil
}

func (l *line) ask(ctx context.Context, name []byte, t wire.Type) (*check.Reply, finding.Evidence, error) {
	if s, ok := overTCPFirst(ctx, l.r); ok && !l.dead {
		for try := 0; try < 2; try++ { // the server may close after some questions: once more, on a new connection
			used := l.c != nil
			m, err := l.exchange(ctx, s, name, t)
			if err == nil {
				return m, seen(s, check.Query{Name: name, Type: t}, m), nil
			}
			if l.close(); !used {
				l.dead = true
				break
			}
		}
	}
	return l.r.FromZone(ctx, name, t)
}

func (l *line) exchange(ctx context.Context, s finding.Server, name []byte, t wire.Type) (*check.Reply, error) {
	leave, err := l.r.Options.Limiter.Acquire(ctx, s.Addr.Addr())
	if err != nil {
		return nil, err
	}
	defer leave()
	if l.c == nil {
		at := *l.r
		at.Server = s
		dial, cancel := context.WithTimeout(ctx, lineDial)
		defer cancel()
		if l.c, err = at.DialTCP(dial); err != nil {
			return nil, err
		}
	}
	m, err := check.ExchangeStream(ctx, l.c, s.Addr, l.r.Timeout(), check.Question(0, name, t))
	if err != nil {
		return nil, err
	}
	if m.Bad != 0 {
		return nil, fmt.Errorf("%s: %w", s.Addr, check.Malformed(m.Bad))
	}
	if m.Rcode != wire.NoError && m.Rcode != wire.NXDomain {
		return nil, fmt.Errorf("%s answers %s", s.Addr, m.Rcode)
	}
	return m, nil
}

// look asks for a name's addresses and keeps it if it is there.
func (d *discoverer) look(ctx context.Context, l *line, name []byte, how string) error {
	m, ev, err := l.ask(ctx, name, wire.TypeA)
	d.mu.Lock()
	d.ev = ev
	d.mu.Unlock()
	if err != nil {
		return err
	}
	below := m.Flags&wire.FlagAA == 0 && len(m.In(wire.Authority, wire.TypeNS)) > 0 // a delegation
	if m.Rcode != wire.NoError || d.wild != "" && shapeOf(m, name) == d.wild && !below {
		return nil
	}
	var dname []edge
	if !below && len(m.In(wire.Answer, wire.TypeA))+len(m.In(wire.Answer, wire.TypeCNAME)) == 0 {
		// A DNAME shows at names below its own alone (RFC 6672, section 2.3).
		if m, _, err := l.ask(ctx, name, wire.TypeDNAME); err == nil {
			dname = edgesIn(d.r.Zone, name, m)
		}
	}
	d.add(name, how)
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.have[string(wire.Lower(nil, name))]
	if f == nil {
		return nil
	}
	for _, rr := range m.In(wire.Answer, wire.TypeA) {
		if a, ok := netip.AddrFromSlice(rr.Data); ok {
			f.addrs = append(f.addrs, a)
		}
	}
	f.edges = append(f.edges, edgesIn(d.r.Zone, name, m)...)
	f.edges = append(f.edges, dname...)
	return nil
}

// shapeOf returns what a name is answered with, without the name.
func shapeOf(m *check.Reply, name []byte) string {
	shape := m.Rcode.String()
	var data []string
	for _, rr := range m.Records {
		if rr.Section == wire.Answer && wire.EqualFold(rr.Owner, name) && rr.Type != wire.TypeRRSIG {
			data = append(data, rr.Type.String()+string(rr.Data))
		}
	}
	slices.Sort(data)
	return shape + strings.Join(data, "\x00")
}

// words asks for labels below the zone.
func (d *discoverer) words(ctx context.Context, how string, labels []string) {
	if d.wild == "" {
		nobody := check.Below(randomLabel(), d.r.Zone)
		l := &line{r: d.r}
		m, ev, err := l.ask(ctx, nobody, wire.TypeA)
		l.close()
		if err != nil {
			d.err, d.ev = err, ev
			return
		}
		if d.ev = ev; m.Rcode == wire.NoError {
			d.wild = shapeOf(m, nobody)
		}
	}
	d.each(ctx, len(labels), func(l *line, i int) error {
		name := check.Below(labels[i], d.r.Zone)
		if wire.EqualFold(name, d.r.Zone) {
			return nil // it would be too long
		}
		return d.look(ctx, l, name, how)
	})
}

// permutations asks for names like those that were found.
func (d *discoverer) permutations(ctx context.Context) {
	var labels []string
	for _, f := range d.have {
		if wire.LabelCount(f.name) == wire.LabelCount(d.r.Zone)+1 {
			labels = append(labels, string(f.name[1:1+int(f.name[0])]))
		}
	}
	slices.Sort(labels)
	var more []string
	for _, l := range labels[:min(len(labels), permuteMost)] {
		more = append(more, Permutations(l)...)
	}
	slices.Sort(more)
	d.words(ctx, "permutation", slices.Compact(more))
}

// transfer asks each server for the whole zone, and reads what the first gives.
func (d *discoverer) transfer(ctx context.Context) {
	servers, err := d.r.ZoneServers(ctx)
	if err != nil {
		d.err = err
		return
	}
	for _, s := range servers {
		if !d.r.Asks(s.Addr) {
			continue
		}
		at := *d.r
		at.Server = s
		if d.transferFrom(ctx, &at) {
			return
		}
	}
}

func (d *discoverer) transferFrom(ctx context.Context, r *check.Run) bool {
	ctx, cancel := context.WithTimeout(ctx, discoverTime)
	defer cancel()
	c, err := r.DialTCP(ctx)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.Send(ctx, check.Question(0, r.Zone, wire.TypeAXFR), time.Now().Add(r.StepTimeout())); err != nil {
		return false
	}
	got, soas := 0, 0
	var m wire.Message
	for got < discoverBytes && soas < 2 {
		raw, err := c.Next(ctx, time.Now().Add(r.StepTimeout()))
		if err != nil {
			break
		}
		got += len(raw)
		m.Parse(bytes.Clone(raw))
		if m.Rcode != wire.NoError {
			break
		}
		for _, rr := range m.Records {
			if rr.Section != wire.Answer {
				continue
			}
			if rr.Type == wire.TypeSOA {
				soas++
			}
			d.transferred(&rr)
		}
	}
	return soas > 0
}

// transferred keeps the name of a record, and what it leads to.
func (d *discoverer) transferred(rr *wire.Record) {
	d.add(rr.Owner, "transfer")
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(judgedTypes(), rr.Type) && len(d.sets) < discoverMost && wire.Subdomain(rr.Owner, d.r.Zone) {
		q := question{string(wire.Lower(nil, rr.Owner)), rr.Type}
		d.sets[q] = append(d.sets[q], rr.Data)
	}
	f := d.have[string(wire.Lower(nil, rr.Owner))]
	if f == nil {
		return
	}
	switch a, ok := netip.AddrFromSlice(rr.Data); {
	case (rr.Type == wire.TypeA || rr.Type == wire.TypeAAAA) && ok && len(f.addrs) < addrsMost:
		f.addrs = append(f.addrs, a)
	case len(f.edges) < edgesMost:
		f.edges = append(f.edges, leads(f.name, rr.Type, rr.Data)...)
		if rr.Type == wire.TypeNS && !slices.ContainsFunc(f.edges, func(e edge) bool { return e.need == needServed }) {
			f.edges = append(f.edges, edge{from: f.name, what: "NS", target: f.name, need: needServed})
		}
	}
}

// certificates looks at the names in the certificates of the zone's own web servers.
func (d *discoverer) certificates(ctx context.Context) {
	seen := map[netip.Addr]bool{}
	for _, n := range [][]byte{d.r.Zone, check.Below("www", d.r.Zone)} {
		m, _, err := d.r.FromZone(ctx, n, wire.TypeA)
		if err != nil {
			return
		}
		for _, rr := range m.In(wire.Answer, wire.TypeA) {
			a, ok := netip.AddrFromSlice(rr.Data)
			if !ok || seen[a] || len(seen) >= check.WalkServers || !d.r.Options.Asks(a) {
				continue
			}
			seen[a] = true
			for _, name := range certNames(ctx, d.r.StepTimeout(),
				tlsPort(&check.Run{Server: finding.Server{Addr: netip.AddrPortFrom(a, 0)}}, 443, d.r.Options.PortDoH), n) {
				d.add(name, "certificate")
			}
		}
	}
}

// certNames returns the names of a certificate. It is looked at, not trusted.
func certNames(ctx context.Context, wait time.Duration, addr netip.AddrPort, host []byte) [][]byte {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	dial := tls.Dialer{
		NetDialer: &net.Dialer{},
		Config:    &tls.Config{InsecureSkipVerify: true, ServerName: strings.TrimSuffix(wire.NameText(host), ".")},
	}
	c, err := dial.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil
	}
	defer c.Close()
	var out [][]byte
	if state := c.(*tls.Conn).ConnectionState(); len(state.PeerCertificates) > 0 {
		for _, s := range state.PeerCertificates[0].DNSNames {
			if n, err := wire.ParseName(strings.TrimPrefix(s, "*.")); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
