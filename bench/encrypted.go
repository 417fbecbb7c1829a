package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"port53/conformance/netns"
	"port53/conformance/peers"
)

// Peers that only some transports have: beside them are Unbound and BIND.
const (
	dnsdist  = "dnsdist"
	dnsproxy = "dnsproxy"
)

// streamedNames is how many names the suites of connections keep in the caches.
const streamedNames = 1000

// securePort is how far the port of TLS or QUIC is from that of UDP and TCP.
const securePort = 1000

// The clients of the suites of connections: many with few questions at a time each, as stubs are.
// QUIC has fewer connections, since its client is what limits it.
var (
	long      = streaming{Conns: 64, Window: 8, Each: 1000}
	longQUIC  = streaming{Conns: 16, Window: 16, Each: 1000}
	handshake = streaming{Over: overDoT, Conns: 16, Window: 1, Each: 1}
)

func (s streaming) over(transport string) *streaming {
	s.Over = transport
	return &s
}

func (s streaming) resumed() *streaming {
	s.Resume = true
	return &s
}

// streamSuites are the suites in which each client has connections: who takes part, and how.
func (b *bench) streamSuites() map[string]func() (*suite, error) {
	suiteOf := func(name, about string, s *streaming, kinds []string, more ...contender) func() (*suite, error) {
		return func() (*suite, error) { return b.streamSuite(name, about, s, kinds, more...) }
	}
	const eachLong = "; %d connections of %d questions, %d of them under way"
	times := func(s streaming) string { return fmt.Sprintf(eachLong, s.Conns, s.Each, s.Window) }
	tcp := contender{name: "port53 (tcp)", kind: peers.Port53, stream: long.over(overTCP)}
	full := contender{name: "port53 (full)", kind: peers.Port53, stream: &handshake}
	return map[string]func() (*suite, error){
		overTCP: suiteOf(overTCP, "TCP"+times(long), long.over(overTCP), []string{peers.Port53, unbound, peers.BIND, dnsdist}),
		overDoT: suiteOf(overDoT, "DNS over TLS"+times(long), long.over(overDoT), []string{peers.Port53, unbound, peers.BIND, dnsdist}, tcp),
		overDoH: suiteOf(overDoH, "DNS over HTTPS (HTTP/2, POST)"+times(long), long.over(overDoH), []string{peers.Port53, peers.BIND, dnsdist}),
		overDoQ: suiteOf(overDoQ, "DNS over QUIC"+times(longQUIC), longQUIC.over(overDoQ), []string{peers.Port53, dnsproxy}),
		overDoH3: suiteOf(overDoH3, "DNS over HTTPS (HTTP/3, POST)"+times(longQUIC), longQUIC.over(overDoH3),
			[]string{peers.Port53, dnsproxy}),
		"handshake": suiteOf("handshake", "a connection over TLS for each question, shaken hands in full", &handshake,
			[]string{peers.Port53, unbound, peers.BIND, dnsdist}),
		"resume": suiteOf("resume", "a connection over TLS for each question, in a session resumed", handshake.resumed(),
			[]string{peers.Port53, unbound, peers.BIND, dnsdist}, full),
	}
}

// streamSuite is names in the cache of resolvers, asked on connections.
func (b *bench) streamSuite(name, about string, over *streaming, kinds []string, more ...contender) (*suite, error) {
	s, err := b.cacheHitSuite(name, streamedNames)
	if err != nil {
		return nil, err
	}
	s.kinds, s.warmed = kinds, nil // to dnsdist's cache one transport is not another: it may ask once more
	s.about = fmt.Sprintf("%s; %s", about, s.about)
	for _, kind := range kinds {
		s.contenders = append(s.contenders, contender{name: kind, kind: kind, stream: over})
	}
	s.contenders = slices.DeleteFunc(append(s.contenders, more...), func(c contender) bool { return !slices.Contains(b.kinds, c.kind) })
	for i := range s.contenders {
		s.contenders[i].addr = netns.Server
	}
	return s, b.certify()
}

// certify writes the certificate that all servers show: ECDSA P-256, signed by itself.
func (b *bench) certify() error {
	b.cert, b.key = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	if _, err := os.Stat(b.cert); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(benchSeed), Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(b.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(b.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}

// A secured is what a server serves beside UDP and TCP.
type secured struct {
	over      string
	port      uint16
	cert, key string
}

// mostClients is how many connections every server is told to take, from anywhere. Unbound reserves two files for each, and
// often no more than 20,000 may be open.
const (
	mostClients   = 12_000
	mostOfUnbound = 9_500
)

// port53Secured is what port53's configuration has for s.
func port53Secured(host netip.Addr, s *secured) string {
	at := fmt.Sprintf("%q", netip.AddrPortFrom(host, s.port))
	limits := fmt.Sprintf("per_client: %d, per_network: %[1]d", mostClients)
	text := fmt.Sprintf("tcp: {max_connections: %d, %s, idle: 5m}\n", mostClients, limits)
	listen := map[string]string{
		overDoT: "dot: " + at, overDoH: "doh: {listen: " + at + "}", overDoQ: "doq: " + at, overDoH3: "doh: {listen: " + at + ", http3: true}",
	}[s.over]
	if listen == "" {
		return text
	}
	return text + fmt.Sprintf("encrypted: {name: %s, certificate: %q, key: %q, %s, limits: {connections: %d, %s, handshakes: 1000000/s}}\n",
		hostname, s.cert, s.key, listen, mostClients, limits)
}

// unboundSecured is what the server clause of Unbound has for s.
func unboundSecured(host netip.Addr, s *secured) string {
	text := fmt.Sprintf("  outgoing-range: 256\n  num-queries-per-thread: 128\n  incoming-num-tcp: %d\n  tcp-idle-timeout: 300000\n", mostOfUnbound)
	if s.over != overDoT {
		return text
	}
	return text + fmt.Sprintf("  interface: %s@%d\n  tls-port: %[2]d\n  tls-service-pem: %[3]q\n  tls-service-key: %[4]q\n", host, s.port, s.cert, s.key)
}

// bindSecured is what BIND's configuration has for s: in its options, and outside.
func bindSecured(host netip.Addr, s *secured) (options, outside string) {
	options = fmt.Sprintf("tcp-clients %d; tcp-idle-timeout 1200;", mostClients)
	how := map[string]string{overDoT: "tls bench", overDoH: "tls bench http bench"}[s.over]
	if how == "" {
		return options, ""
	}
	outside = fmt.Sprintf("tls bench { cert-file %q; key-file %q; };\n", s.cert, s.key)
	if s.over == overDoH {
		outside += fmt.Sprintf("http bench { endpoints { %q; }; listener-clients %d; };\n", dohPath, mostClients)
	}
	return options + fmt.Sprintf(" listen-on port %d %s { %s; };", s.port, how, host), outside
}

// dnsdistConfig is a front that keeps answers, and asks whoever resolvers forward to.
func dnsdistConfig(addr netip.AddrPort, from source) string {
	s := from.secured
	text := fmt.Sprintf(`setLocal('%s')
setACL({'0.0.0.0/0'})
setSecurityPollSuffix('')
setMaxTCPClientThreads(1)
setMaxTCPQueuedConnections(%d)
setTCPRecvTimeout(300)
newServer({address='%s', healthCheckMode='up'})
getPool(''):setCache(newPacketCache(%d, {maxTTL=86400}))
`, addr, mostClients, from.forward, from.entries*2)
	at := netip.AddrPortFrom(addr.Addr(), s.port)
	switch s.over {
	case overDoT:
		text += fmt.Sprintf("addTLSLocal('%s', '%s', '%s', {maxConcurrentTCPConnections=%d})\n", at, s.cert, s.key, mostClients)
	case overDoH:
		text += fmt.Sprintf("addDOHLocal('%s', '%s', '%s', '%s', {idleTimeout=300})\n", at, s.cert, s.key, dohPath)
	}
	return text
}

// dnsproxyCommand runs AdGuard's proxy with its cache.
func dnsproxyCommand(binary string, addr netip.AddrPort, from source) []string {
	s := from.secured
	list := []string{
		binary, "-l", addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "-u", from.forward.String(), "--cache", "--cache-size", fmt.Sprint(64 << 20),
		"--tls-crt", s.cert, "--tls-key", s.key,
	}
	switch port := fmt.Sprint(s.port); s.over {
	case overDoT:
		list = append(list, "--tls-port", port)
	case overDoQ:
		list = append(list, "--quic-port", port)
	case overDoH3:
		list = append(list, "--http3", "--https-port", port)
	}
	return list
}

// warmStream fills caches over the transport that is measured.
const warmStream = time.Second

// startStreaming waits until a resolver that was started answers over its transport.
func (b *bench) startStreaming(ctx context.Context, s *suite, m *measured) error {
	for {
		r, err := b.runStream(s, m, warmStream, 0)
		if err == nil && r.Received > 0 && r.Wrong == 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%d answers: %s", r.Received, mix(r))
		}
		select {
		case <-m.server.Ended():
			return errors.New("the server has ended")
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// runStream asks a contender on connections for a while.
func (b *bench) runStream(s *suite, m *measured, duration, warm time.Duration) (*result, error) {
	port := m.server.Addr.Port()
	if m.stream.Over != overTCP {
		port += securePort
	}
	return b.load("stream", streamLoad{
		streaming: *m.stream, Server: netip.AddrPortFrom(m.server.Addr.Addr(), port), Queries: s.queries, Duration: duration, Warm: warm,
		Networks: limitedNetworks,
	})
}

// secured returns what a contender serves.
func (b *bench) secured(m *measured, port uint16) *secured {
	return &secured{over: m.stream.Over, port: port + securePort, cert: b.cert, key: b.key}
}

// idleWait is how long connections without questions are watched: so long that what the handshakes
// needed is free again, and shorter than QUIC's time without a packet.
const idleWait = 15 * time.Second

// idleKinds are whose connections are looked at, by transport.
var idleKinds = map[string][]string{
	overDoT: {peers.Port53, unbound, peers.BIND, dnsdist}, overDoH: {peers.Port53, peers.BIND, dnsdist}, overDoQ: {peers.Port53, dnsproxy},
}

// idleSuite is what encrypted connections cost that wait.
func (b *bench) idleSuite() error {
	fmt.Printf("\nidle: %d connections that have asked once, and wait; the memory is the server's, the kernel's is not counted\n", b.idle)
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	port := uint16(5300)
	for _, over := range []string{overDoT, overDoH, overDoQ} {
		s, err := b.streamSuite("idle-"+over, "", long.over(over), idleKinds[over])
		if err != nil {
			return err
		}
		for _, c := range s.contenders {
			m := &measured{contender: c}
			s.name = "idle-" + over
			port++
			err := b.start(s, m, port)
			if err == nil {
				err = b.idleOf(s, m)
			}
			m.stop()
			if err != nil { // Unbound may have no room for so many
				fmt.Printf("%4s %10s  %v\n", over, m.name, err)
			}
		}
		s.close()
	}
	return nil
}

func (b *bench) idleOf(s *suite, m *measured) error {
	before, err := m.server.Memory()
	if err != nil {
		return err
	}
	u0, s0 := m.server.CPU()
	l := streamLoad{
		streaming: streaming{Over: m.stream.Over, Conns: b.idle, Window: 1, Each: 1}, Server: netip.AddrPortFrom(m.server.Addr.Addr(), m.server.Addr.Port()+securePort),
		Queries: s.queries, Hold: true, Networks: limitedNetworks,
	}
	arg, err := json.Marshal(l)
	if err != nil {
		return err
	}
	cmd := exec.Command(b.self, "stream", string(arg))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.ns.On(loadCPU)(cmd.Start); err != nil {
		return err
	}
	defer cmd.Wait()
	defer in.Close()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	at, err := m.server.Memory()
	if err != nil {
		return err
	}
	u1, s1 := m.server.CPU()
	time.Sleep(idleWait)
	after, err := m.server.Memory()
	if err != nil {
		return err
	}
	u2, s2 := m.server.CPU()
	each := func(n int64) float64 { return float64(n) / 1e3 / float64(b.idle) }
	fmt.Printf("%4s %10s  %6.1f kB each at once, %.1f kB each after %v; %.0f µs of processor each to come, %.2f %% of a processor while they wait\n",
		m.stream.Over, m.name, each(at-before), each(after-before), idleWait, float64((u1+s1-u0-s0).Microseconds())/float64(b.idle),
		100*(u2+s2-u1-s1).Seconds()/idleWait.Seconds())
	return nil
}

// streamRatio says how another contender of ours does beside the first.
func streamRatio(ours, m *measured) {
	fmt.Printf("%s: %.2f times the answers/s of %s, %.2f times its CPU per answer\n", ours.name, ours.median().rate()/m.median().rate(), m.name,
		float64(ours.cost())/float64(max(m.cost(), 1)))
}

// find returns the program of a kind of server.
func (b *bench) find(kind string) (string, error) {
	if kind == dnsproxy {
		file := cmp.Or(b.dnsproxy, dnsproxy)
		// Debian's program of that name is another one.
		return file, exec.Command(file, "--version").Run()
	}
	return peers.Find(program(kind))
}

// opened says how many connections there were.
func opened(all []*measured) {
	var parts []string
	for _, m := range all {
		if r := m.median(); m.stream != nil {
			parts = append(parts, fmt.Sprintf("%s %d, %d resumed", m.name, r.Opened, r.Resumed))
		}
	}
	if parts != nil {
		fmt.Printf("connections of the median round: %s\n", strings.Join(parts, "; "))
	}
}
