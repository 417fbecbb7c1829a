package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/peers"
)

// The suites of zone transfers are apart from the others: nothing is asked again and
// again. The zone is bench.example, unsigned, and so are the transfers: all servers are
// to be compared, and not their SHA-256.

const transferZone = "bench.example"

// transferKinds take part in transfers.
var transferKinds = []string{peers.Port53, peers.Knot, peers.BIND, peers.NSD}

// transferers returns those of kinds that transfer zones.
func (b *bench) transferers(kinds []string) []string {
	return slices.DeleteFunc(slices.Clone(transferKinds), func(kind string) bool { return !slices.Contains(kinds, kind) })
}

// A transferServer is one server that has a zone from a file or from a primary.
type transferServer struct {
	kind    string
	binary  string // of a port53; the one of the flags unless set
	addr    netip.AddrPort
	file    string         // of the zone; empty: it is secondary
	primary netip.AddrPort // of a secondary
	cpu     int            // -1: all
}

// start starts the server, which need not have the zone when it returns.
func (b *bench) startTransfer(s transferServer) (*peers.Server, error) {
	dir, err := os.MkdirTemp(b.dir, "transfer")
	if err != nil {
		return nil, err
	}
	host, port := s.addr.Addr().String(), s.addr.Port()
	var text string
	var args []string
	file := filepath.Join(dir, "conf")
	switch s.kind {
	case peers.Port53:
		text = fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: %s/state\nmetrics: {listen: off}\ncontrol: {socket: %[2]s/sock}\npolicy: {rate_limit: {enabled: false}}\nlog: {level: error}\nzones:\n", s.addr, dir)
		if s.file != "" {
			text += fmt.Sprintf("  - {name: %s, file: %s, allow_transfer: [127.0.0.0/8], insecure: true}\n", transferZone, s.file)
		} else {
			text += fmt.Sprintf("  - {name: %s, primaries: [%q], insecure: true}\n", transferZone, s.primary)
		}
		args = []string{cmp.Or(s.binary, b.port53), "serve", "--config", file}
	case peers.BIND:
		text = fmt.Sprintf("options { directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; recursion no; notify no; dnssec-validation no; check-integrity no; transfer-format many-answers; };\ncontrols {};\n", dir, port, host)
		if s.file != "" {
			text += fmt.Sprintf("zone %q { type primary; file %q; allow-transfer { any; }; };\n", transferZone, s.file)
		} else {
			text += fmt.Sprintf("zone %q { type secondary; file \"zone.db\"; primaries { %s port %d; }; };\n", transferZone, s.primary.Addr(), s.primary.Port())
		}
		args = []string{"", "-f", "-n", "1", "-c", file}
	case peers.NSD:
		text = fmt.Sprintf("server:\n  ip-address: %s@%d\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  database: \"\"\n  zonesdir: \"%s\"\n  xfrdfile: \"%[3]s/xfrd.state\"\n  xfrdir: \"%[3]s\"\n  zonelistfile: \"%[3]s/zone.list\"\n  server-count: 1\n  rrl-ratelimit: 0\n  tcp-query-count: 0\nremote-control:\n  control-enable: no\nzone:\n  name: %s\n", host, port, dir, transferZone)
		if s.file != "" {
			text += fmt.Sprintf("  zonefile: %s\n  provide-xfr: 127.0.0.0/8 NOKEY\n", s.file)
		} else {
			text += fmt.Sprintf("  zonefile: zone.db\n  request-xfr: %s@%d NOKEY\n", s.primary.Addr(), s.primary.Port())
		}
		args = []string{"", "-d", "-c", file}
	case peers.Knot:
		text = fmt.Sprintf("server:\n  listen: %s@%d\n  rundir: %s\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: %[3]s\nlog:\n  - target: stderr\n    any: warning\nacl:\n  - id: all\n    address: 127.0.0.0/8\n    action: transfer\n", host, port, dir)
		if s.file != "" {
			text += fmt.Sprintf("zone:\n  - domain: %s\n    file: %s\n    acl: all\n    semantic-checks: off\n    journal-content: none\n    zonefile-load: whole\n", transferZone, s.file)
		} else {
			text += fmt.Sprintf("remote:\n  - id: primary\n    address: %s@%d\nzone:\n  - domain: %s\n    file: zone.db\n    master: primary\n    semantic-checks: off\n", s.primary.Addr(), s.primary.Port(), transferZone)
		}
		args = []string{"", "-c", file}
	}
	if args[0] == "" {
		if args[0], err = peers.Find(s.kind); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	run := b.ns.Do
	var env []string
	if s.cpu >= 0 {
		run, env = b.ns.On(s.cpu), []string{"GOMAXPROCS=1"}
	}
	return peers.Start(context.Background(), s.kind, peers.Options{Dir: dir, Addr: s.addr, Command: args, Env: env, Run: run, Unready: true})
}

// waitSerial waits until a server answers with the serial of a zone.
func (b *bench) waitSerial(s *peers.Server, zone string, most time.Duration) (time.Duration, error) {
	began := time.Now()
	var last error
	for time.Since(began) < most {
		err := b.ns.On(loadCPU)(func() error {
			c := dns.Client{Timeout: 100 * time.Millisecond}
			r, _, err := c.Exchange(new(dns.Msg).SetQuestion(zone+".", dns.TypeSOA), s.Addr.String())
			if err == nil && len(r.Answer) == 0 {
				err = errors.New("no answer yet")
			}
			return err
		})
		if err == nil {
			return time.Since(began), nil
		}
		last = err
		select {
		case <-s.Ended():
			return 0, fmt.Errorf("it has ended:\n%s", s.Tail())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return 0, fmt.Errorf("no zone within %v: %w\n%s", most, last, s.Tail())
}

// writeTransferZone writes a zone of so many records.
func (b *bench) writeTransferZone(records int) (string, error) {
	file := filepath.Join(b.dir, "transfer.zone")
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "$ORIGIN %s.\n$TTL 3600\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n", transferZone)
	for i := range records {
		fmt.Fprintf(w, "host%d A 10.%d.%d.%d\n", i, i>>16&255, i>>8&255, i&255)
	}
	return file, errors.Join(w.Flush(), f.Close())
}

// fetch asks for the whole zone, and returns how long it took and what came.
func (b *bench) fetch(addr netip.AddrPort) (took time.Duration, octets int, err error) {
	err = b.ns.On(loadCPU)(func() error {
		conn, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		query, err := new(dns.Msg).SetAxfr(transferZone + ".").Pack()
		if err != nil {
			return err
		}
		began := time.Now()
		_ = conn.SetDeadline(began.Add(time.Minute))
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
			return err
		}
		in := bufio.NewReaderSize(conn, 1<<20)
		msg := make([]byte, 1<<16)
		for n := 0; ; n++ {
			var length [2]byte
			if _, err := io.ReadFull(in, length[:]); err != nil {
				return fmt.Errorf("after %d messages: %w", n, err)
			}
			m := msg[:binary.BigEndian.Uint16(length[:])]
			if _, err := io.ReadFull(in, m); err != nil {
				return err
			}
			octets += len(m)
			if m[3]&15 != 0 {
				return fmt.Errorf("refused with rcode %d", m[3]&15)
			}
			if last := lastType(m); last == dns.TypeSOA && (n > 0 || binary.BigEndian.Uint16(m[6:]) > 1) {
				took = time.Since(began)
				return nil
			}
		}
	})
	return took, octets, err
}

// lastType returns the type of the last answer of a message.
func lastType(m []byte) uint16 {
	at := 12
	skip := func() {
		for m[at] != 0 {
			if m[at] >= 0xC0 {
				at++
				break
			}
			at += int(m[at]) + 1
		}
		at++
	}
	for range binary.BigEndian.Uint16(m[4:]) {
		skip()
		at += 4
	}
	t := uint16(0)
	for range binary.BigEndian.Uint16(m[6:]) {
		skip()
		t = binary.BigEndian.Uint16(m[at:])
		at += 10 + int(binary.BigEndian.Uint16(m[at+8:]))
	}
	return t
}

func medianOf(list []time.Duration) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

// transferSuite measures one direction: out, servers that give a zone; in, servers that
// take it from an NSD, from their start until they answer.
func (b *bench) transferSuite(kinds []string, out bool) error {
	what := "a zone is given to a client that only reads"
	if !out {
		what = "a zone is taken from an NSD, from the start of the server until it answers"
	}
	fmt.Printf("\nAXFR of %d records, %s\n", b.names, what)
	file, err := b.writeTransferZone(b.names)
	if err != nil {
		return err
	}
	var source *peers.Server
	if !out {
		if source, err = b.startTransfer(transferServer{kind: peers.NSD, addr: netip.MustParseAddrPort("127.0.0.1:5400"), file: file, cpu: loadCPU}); err != nil {
			return err
		}
		defer source.Stop()
		if _, err := b.waitSerial(source, transferZone, startTimeout); err != nil {
			return err
		}
	}
	times := map[string][]time.Duration{}
	octets := map[string]int{}
	var servers []*peers.Server
	defer func() {
		for _, s := range servers {
			s.Stop()
		}
	}()
	for i, kind := range kinds {
		if !out {
			break
		}
		s, err := b.startTransfer(transferServer{kind: kind, addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(5410+i)), file: file, cpu: serverCPU})
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		servers = append(servers, s)
		if _, err := b.waitSerial(s, transferZone, startTimeout); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	for range b.rounds {
		for i, kind := range kinds {
			if out {
				took, n, err := b.fetch(servers[i].Addr)
				if err != nil {
					return fmt.Errorf("%s: %w\n%s", kind, err, servers[i].Tail())
				}
				times[kind], octets[kind] = append(times[kind], took), n
				continue
			}
			began := time.Now()
			s, err := b.startTransfer(transferServer{kind: kind, addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(5410+i)), primary: source.Addr, cpu: serverCPU})
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			_, err = b.waitSerial(s, transferZone, startTimeout)
			times[kind] = append(times[kind], time.Since(began))
			s.Stop()
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	ours := medianOf(times[kinds[0]])
	for _, kind := range kinds {
		m := medianOf(times[kind])
		fmt.Printf("  %-8s %8.3f s  %9.0f records/s  %5.2f times %s's time", kind, m.Seconds(), float64(b.names)/m.Seconds(), m.Seconds()/ours.Seconds(), kinds[0])
		if out {
			fmt.Printf("  %d octets", octets[kind])
		}
		fmt.Println()
	}
	return nil
}

// The catalog's zones are as small as zones are.
const catalogZones = 10_000

// catalogSuite has servers follow a catalog of so many zones, and measures how long that
// takes and the memory that they hold.
func (b *bench) catalogSuite(kinds []string) error {
	fmt.Printf("\n%d secondary zones of 4 records by a catalog, from a port53\n", catalogZones)
	dir, err := os.MkdirTemp(b.dir, "catalog")
	if err != nil {
		return err
	}
	primary := netip.MustParseAddrPort("127.0.0.1:5400")
	f, err := os.Create(filepath.Join(dir, "port53.yaml"))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "role: authoritative\nlisten: [%q]\nstate_dir: %s/state\nmetrics: {listen: off}\ncontrol: {socket: %[2]s/sock}\npolicy: {rate_limit: {enabled: false}}\nlog: {level: error}\ntransfers: {max_out: 1000, max_out_per_peer: 1000}\nzones:\n  - {name: cat.example, catalog: produce, allow_transfer: [127.0.0.0/8], insecure: true}\n", primary, dir)
	for i := range catalogZones {
		name := fmt.Sprintf("z%d.example", i)
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("$TTL 60\n@ SOA ns.invalid. admin.invalid. 1 3600 600 86400 60\n@ NS ns.invalid.\n@ A 192.0.2.1\nwww A 192.0.2.80\n"), 0o600); err != nil {
			return err
		}
		fmt.Fprintf(w, "  - {name: %s, file: %s, allow_transfer: [127.0.0.0/8], insecure: true, in_catalog: cat.example}\n", name, file)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return err
	}
	source, err := peers.Start(context.Background(), peers.Port53, peers.Options{
		Dir: dir, Addr: primary, Command: []string{b.port53, "serve", "--config", f.Name()}, Run: b.ns.On(loadCPU), Unready: true,
	})
	if err != nil {
		return err
	}
	defer source.Stop()
	if _, err := b.waitSerial(source, "cat.example", startTimeout); err != nil {
		return err
	}
	for i, kind := range kinds {
		if kind == peers.NSD {
			continue // it has catalogs from a later version on
		}
		if err := b.follow(kind, netip.AddrPortFrom(primary.Addr(), uint16(5410+i)), primary); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// follow has one server follow the catalog.
func (b *bench) follow(kind string, addr, primary netip.AddrPort) error {
	dir, err := os.MkdirTemp(b.dir, "follow")
	if err != nil {
		return err
	}
	file, text := filepath.Join(dir, "conf"), ""
	var args []string
	switch kind {
	case peers.Port53:
		text = fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: %s/state\nmetrics: {listen: off}\ncontrol: {socket: %[2]s/sock}\npolicy: {rate_limit: {enabled: false}}\nlog: {level: error}\nzones:\n  - {name: cat.example, primaries: [%q], insecure: true, catalog: consume}\n", addr, dir, primary)
		args = []string{b.port53, "serve", "--config", file}
	case peers.Knot:
		text = fmt.Sprintf("server:\n  listen: %s@%d\n  rundir: %s\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: %[3]s\nlog:\n  - target: stderr\n    any: warning\nremote:\n  - id: primary\n    address: %[4]s@%[5]d\ntemplate:\n  - id: member\n    master: primary\n    storage: %[3]s\nzone:\n  - domain: cat.example\n    master: primary\n    storage: %[3]s\n    catalog-role: interpret\n    catalog-template: member\n", addr.Addr(), addr.Port(), dir, primary.Addr(), primary.Port())
		args = []string{"", "-c", file}
	case peers.BIND:
		text = fmt.Sprintf("options { directory %q; managed-keys-directory %[1]q; pid-file none; session-keyfile none; listen-on port %d { %s; }; listen-on-v6 { none; }; recursion no; notify no; dnssec-validation no; allow-new-zones yes; serial-query-rate 1000; transfers-in 100; transfers-per-ns 100;\n catalog-zones { zone \"cat.example\" default-primaries { %s port %d; } in-memory no min-update-interval 1; }; };\ncontrols {};\nzone \"cat.example\" { type secondary; file \"cat.db\"; primaries { %[4]s port %[5]d; }; };\n", dir, addr.Port(), addr.Addr(), primary.Addr(), primary.Port())
		args = []string{"", "-f", "-n", "1", "-c", file}
	}
	if args[0] == "" {
		if args[0], err = peers.Find(kind); err != nil {
			return err
		}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	began := time.Now()
	s, err := peers.Start(context.Background(), kind, peers.Options{Dir: dir, Addr: addr, Command: args, Env: []string{"GOMAXPROCS=1"}, Run: b.ns.On(serverCPU), Unready: true})
	if err != nil {
		return err
	}
	defer s.Stop()
	for i := range catalogZones {
		if _, err := b.waitSerial(s, fmt.Sprintf("z%d.example", i), 3*time.Minute); err != nil {
			return fmt.Errorf("zone %d: %w", i, err)
		}
	}
	took := time.Since(began)
	memory, err := s.Memory()
	if err != nil {
		return err
	}
	user, system := s.CPU()
	fmt.Printf("  %-8s all served after %6.1f s, %5.1f MiB, %.1f kB a zone, %.2f ms of processor a zone\n", kind, took.Seconds(),
		float64(memory)/(1<<20), float64(memory)/catalogZones/1000, float64((user+system).Microseconds())/catalogZones/1000)
	return nil
}

// latencySuite measures how long answers take while a zone is given away and taken, and
// while nothing is. The server has both processors, as has the load.
func (b *bench) latencySuite() error {
	fmt.Printf("\nlatency of answers while a zone of %d records is transferred; one question a millisecond\n", b.names)
	file, err := b.writeTransferZone(b.names)
	if err != nil {
		return err
	}
	start := func(s transferServer) (*peers.Server, error) {
		server, err := b.startTransfer(s)
		if err == nil {
			_, err = b.waitSerial(server, transferZone, startTimeout)
		}
		return server, err
	}
	giver, err := start(transferServer{kind: peers.Port53, addr: netip.MustParseAddrPort("127.0.0.1:5410"), file: file, cpu: -1})
	if err != nil {
		return err
	}
	defer giver.Stop()
	source, err := start(transferServer{kind: peers.NSD, addr: netip.MustParseAddrPort("127.0.0.1:5411"), file: file, cpu: -1})
	if err != nil {
		return err
	}
	defer source.Stop()
	taker, err := start(transferServer{kind: peers.Port53, addr: netip.MustParseAddrPort("127.0.0.1:5412"), primary: source.Addr, cpu: -1})
	if err != nil {
		return err
	}
	defer taker.Stop()
	type line struct{ p50, p99 []time.Duration }
	lines := map[string]*line{"out, idle": {}, "out, another": {}, "out, giving": {}, "in, idle": {}, "in, taking": {}}
	for range b.rounds {
		for name, l := range lines {
			server := giver
			if name[:2] == "in" {
				server = taker
			}
			ctx, stop := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			transfers := 0
			switch name {
			case "out, giving", "out, another":
				from := giver.Addr
				if name == "out, another" {
					from = source.Addr // the machine is as busy, and the server is not
				}
				wg.Go(func() {
					for ctx.Err() == nil {
						if _, _, err := b.fetch(from); err == nil {
							transfers++
						}
					}
				})
			case "in, taking":
				wg.Go(func() {
					for ctx.Err() == nil {
						if b.retransfer(taker) == nil {
							transfers++
						}
						select {
						case <-ctx.Done():
						case <-time.After(2 * time.Second):
						}
					}
				})
			}
			p50, p99, err := b.latency(server.Addr, b.time)
			stop()
			wg.Wait()
			if err != nil {
				return err
			}
			l.p50, l.p99 = append(l.p50, p50), append(l.p99, p99)
		}
	}
	for _, name := range []string{"out, idle", "out, another", "out, giving", "in, idle", "in, taking"} {
		l := lines[name]
		fmt.Printf("  %-12s  median %v, p99 %v\n", name, medianOf(l.p50).Round(time.Microsecond), medianOf(l.p99).Round(time.Microsecond))
	}
	return nil
}

// retransfer has a port53 fetch its zone whole again.
func (b *bench) retransfer(s *peers.Server) error {
	return b.ns.Do(func() error {
		conn, err := net.Dial("unix", filepath.Join(filepath.Dir(s.Log), "sock"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := fmt.Fprintf(conn, "POST /zone/retransfer?zone=%s. HTTP/1.0\r\nHost: port53\r\n\r\n", transferZone); err != nil {
			return err
		}
		_, err = io.ReadAll(conn)
		return err
	})
}

// latency asks a question a millisecond, and returns how long answers took.
func (b *bench) latency(addr netip.AddrPort, span time.Duration) (p50, p99 time.Duration, err error) {
	var all []time.Duration
	err = b.ns.Do(func() error {
		conn, err := net.Dial("udp", addr.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		query, err := new(dns.Msg).SetQuestion("host77."+transferZone+".", dns.TypeA).Pack()
		if err != nil {
			return err
		}
		buf := make([]byte, 512)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(span); time.Now().Before(end); <-tick.C {
			began := time.Now()
			_ = conn.SetDeadline(began.Add(time.Second))
			if _, err := conn.Write(query); err != nil {
				return err
			}
			if _, err := conn.Read(buf); err != nil {
				return err
			}
			all = append(all, time.Since(began))
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], nil
}
