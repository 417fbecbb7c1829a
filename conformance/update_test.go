package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"port53/conformance/peers"
)

const updateZone = `$TTL 300
@ SOA ns admin 10 3600 600 86400 300
@ NS ns
@ NS ns2
ns A 192.0.2.1
ns2 A 192.0.2.2
host A 192.0.2.10
host TXT "a" "b"
multi A 192.0.2.11
multi A 192.0.2.12
alias CNAME host
sub NS ns.sub
ns.sub A 192.0.2.20
*.wild TXT "w"
a.b.c.deep A 192.0.2.30
`

// startUpdated starts a server whose zone the key may change.
func startUpdated(t *testing.T, kind, dir string, addr netip.AddrPort) *side {
	t.Helper()
	s := &side{kind: kind, dir: dir, addr: addr, primary: true, file: filepath.Join(dir, "big.zone")}
	if _, err := os.Stat(s.file); err != nil {
		if err := os.WriteFile(s.file, []byte(updateZone), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	var text string
	switch kind {
	case peers.Port53:
		args = []string{"serve", "--config"}
		text = fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: %s/state\nmetrics: {listen: off}\nkeys: [{name: xfr, secret: %s}]\nzones:\n  - {name: big.test, file: %s, allow_transfer: [127.0.0.1], tsig: xfr, updates: [{key: xfr, names: [\"*\"]}]}\n",
			addr.String(), dir, xferSecret, s.file)
	case peers.BIND:
		args = []string{"-f", "-n", "1", "-c"}
		text = fmt.Sprintf("key xfr { algorithm hmac-sha256; secret %q; };\noptions { directory %q; managed-keys-directory %[2]q; pid-file none; session-keyfile none; listen-on port %[4]d { %[3]s; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; check-integrity no; };\ncontrols {};\nzone \"big.test\" { type primary; file %[5]q; notify no; allow-transfer { key xfr; }; allow-update { key xfr; }; };\n",
			xferSecret, dir, addr.Addr(), addr.Port(), s.file)
	}
	file := filepath.Join(dir, kind+".conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{subjectBinary(t, kind)}, append(args, file)...)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	if s.server, err = peers.Start(ctx, kind, peers.Options{Dir: dir, Addr: addr, Command: args, Zones: []peers.Zone{{Name: "big.test."}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Stop)
	return s
}

// updates are messages for nsupdate, each sent by itself.
var updates = []string{
	"add new.big.test 300 A 192.0.2.50",
	"add new.big.test 300 A 192.0.2.51\nupdate add new.big.test 300 AAAA 2001:db8::1",
	"add new.big.test 60 A 192.0.2.52",
	"add host.big.test 300 A 192.0.2.10",
	"delete multi.big.test 0 A 192.0.2.11",
	"delete multi.big.test A",
	"delete multi.big.test A",
	"delete host.big.test",
	"add host.big.test 300 A 192.0.2.10\nupdate add host.big.test 300 A 192.0.2.10",
	"delete big.test NS",
	"delete big.test 0 NS ns2.big.test.",
	"delete big.test 0 NS ns.big.test.",
	"delete big.test SOA",
	"delete big.test",
	"add alias.big.test 300 A 192.0.2.60",
	"add host.big.test 300 CNAME new.big.test.",
	"add alias.big.test 120 CNAME new.big.test.",
	"add x.alias.big.test 300 TXT \"below an alias\"",
	"delete alias.big.test CNAME\nupdate add alias.big.test 300 A 192.0.2.60",
	"add big.test 300 SOA ns.big.test. admin.big.test. 5 1 2 3 4",
	"add big.test 300 SOA ns.big.test. admin.big.test. 500 3600 600 86400 300",
	"add *.wild.big.test 300 A 192.0.2.70",
	"delete a.b.c.deep.big.test",
	"add sub2.big.test 300 NS ns.sub2.big.test.\nupdate add ns.sub2.big.test 300 A 192.0.2.80",
	"delete sub.big.test NS",
	"add host.big.test 300 MX 10 mail.big.test.\nupdate add host.big.test 300 MX 20 MAIL.big.test.",
	"delete host.big.test MX 10 Mail.BIG.test.",
	"add out.example 300 A 192.0.2.1",
	"add big.test 300 TXT \"apex\"",
	"PREREQ nxdomain host.big.test\nupdate add p1.big.test 300 A 192.0.2.1",
	"PREREQ nxdomain none.big.test\nupdate add p2.big.test 300 A 192.0.2.1",
	"PREREQ yxdomain none.big.test\nupdate add p3.big.test 300 A 192.0.2.1",
	"PREREQ yxdomain host.big.test\nupdate add p4.big.test 300 A 192.0.2.1",
	"PREREQ nxrrset host.big.test A\nupdate add p5.big.test 300 A 192.0.2.1",
	"PREREQ nxrrset host.big.test SRV\nupdate add p6.big.test 300 A 192.0.2.1",
	"PREREQ yxrrset host.big.test SRV\nupdate add p7.big.test 300 A 192.0.2.1",
	"PREREQ yxrrset host.big.test A\nupdate add p8.big.test 300 A 192.0.2.1",
	"PREREQ yxrrset host.big.test A 192.0.2.10\nupdate add p9.big.test 300 A 192.0.2.1",
	"PREREQ yxrrset host.big.test A 192.0.2.99\nupdate add p10.big.test 300 A 192.0.2.1",
	"PREREQ yxrrset new.big.test A 192.0.2.50\nupdate add p11.big.test 300 A 192.0.2.1",
	"PREREQ yxrrset b.c.deep.big.test A\nupdate add p12.big.test 300 A 192.0.2.1",
	"PREREQ nxdomain x.wild.big.test\nupdate add x.wild.big.test 300 A 192.0.2.1",
	"PREREQ yxdomain outside.example\nupdate add p13.big.test 300 A 192.0.2.1",
}

// send sends one of the updates and returns what the program said.
func (s *side) send(t *testing.T, program, text, secret string) string {
	t.Helper()
	what := "update " + text
	if after, ok := strings.CutPrefix(text, "PREREQ "); ok {
		what = "prereq " + after
	}
	script := fmt.Sprintf("server %s %d\nzone big.test.\nkey hmac-sha256:xfr %s\n%s\nsend\n", s.addr.Addr(), s.addr.Port(), secret, what)
	if program == "knsupdate" {
		script = strings.Replace(script, "server "+s.addr.Addr().String()+" ", "server "+s.addr.Addr().String()+" ", 1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdin = strings.NewReader(script)
	out, _ := cmd.CombinedOutput()
	said := strings.ToUpper(string(out))
	for _, rcode := range []string{"NXDOMAIN", "YXDOMAIN", "NXRRSET", "YXRRSET", "NOTZONE", "NOTAUTH", "REFUSED", "FORMERR", "SERVFAIL", "BADSIG", "BADKEY"} {
		if strings.Contains(said, rcode) {
			return rcode
		}
	}
	if strings.TrimSpace(said) != "" {
		return said
	}
	return "NOERROR"
}

// withoutSerial leaves the serial of SOA records out, which servers choose.
func withoutSerial(list []string) []string {
	var out []string
	for _, line := range list {
		if f := strings.Fields(line); len(f) > 6 && f[3] == "soa" {
			f[6] = "-"
			line = strings.Join(f, " ")
		}
		out = append(out, line)
	}
	return slices.Compact(out)
}

// TestUpdates sends the same updates to port53 and to BIND, by nsupdate and by
// knsupdate: after each the zones are equal, and the answers are.
func TestUpdates(t *testing.T) {
	for _, program := range []string{"nsupdate", "knsupdate"} {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				missing(t, err)
			}
			ours, theirs := startUpdated(t, peers.Port53, t.TempDir(), freeAddr(t)), startUpdated(t, peers.BIND, t.TempDir(), freeAddr(t))
			for _, text := range updates {
				got, want := ours.send(t, program, text, xferSecret), theirs.send(t, program, text, xferSecret)
				if got != want {
					t.Errorf("%q: %s, BIND says %s", text, got, want)
				}
				if a, b := withoutSerial(ours.axfr(t)), withoutSerial(theirs.axfr(t)); !slices.Equal(a, b) {
					t.Fatalf("%q: the zones differ:\n%s\n\nBIND:\n%s", text, strings.Join(a, "\n"), strings.Join(b, "\n"))
				}
			}
			before, _ := ours.serial()
			for what, secret := range map[string]string{"another secret": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="} {
				if got := ours.send(t, program, "add bad.big.test 300 A 192.0.2.1", secret); got == "NOERROR" {
					t.Errorf("%s: accepted", what)
				}
			}
			if after, _ := ours.serial(); after != before {
				t.Error("an update without permission changed the zone")
			}
		})
	}
}

// TestUpdatesSurviveKill kills port53 at moments of its own choosing while it is sent
// updates: whatever it acknowledged is there when it runs again.
func TestUpdatesSurviveKill(t *testing.T) {
	kills := scale(t, 20)
	dir, addr := t.TempDir(), freeAddr(t)
	secrets := map[string]string{xferKey: xferSecret}
	acknowledged, sent := map[string]bool{}, 0
	for round := range kills {
		s := startUpdated(t, peers.Port53, dir, addr)
		have := map[string]bool{}
		for _, line := range s.axfr(t) {
			have[strings.Fields(line)[0]] = true
		}
		for name := range acknowledged {
			if !have[name] {
				t.Fatalf("round %d: %s was acknowledged and is gone", round, name)
			}
		}
		// The more rounds, the later the kill: from the first message to many.
		go func() {
			time.Sleep(time.Duration(round*7%60) * time.Millisecond)
			_ = s.server.Signal(syscall.SIGKILL)
		}()
		c := dns.Client{Net: "tcp", Timeout: time.Second, TsigSecret: secrets}
		conn, err := c.Dial(addr.String())
		for err == nil {
			name := fmt.Sprintf("u%d.big.test.", sent)
			sent++
			m := new(dns.Msg).SetUpdate(xferZone)
			m.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{192, 0, 2, byte(sent)}}})
			m.SetTsig(xferKey, dns.HmacSHA256, 300, time.Now().Unix())
			var r *dns.Msg
			if r, _, err = c.ExchangeWithConn(m, &dns.Conn{Conn: conn.Conn}); err == nil && r.Rcode == dns.RcodeSuccess {
				acknowledged[name] = true
			}
		}
		<-s.server.Ended()
		if conn != nil {
			conn.Close()
		}
	}
	t.Logf("%d kills, %d updates sent, %d acknowledged", kills, sent, len(acknowledged))
	if len(acknowledged) < kills {
		t.Errorf("%d updates were acknowledged: too few to say anything", len(acknowledged))
	}
}

// TestTransfersSurviveKill kills a secondary while versions come from its primary. What
// it serves when it runs again, its primary being out of reach, is one whole version.
func TestTransfersSurviveKill(t *testing.T) {
	kills := scale(t, 15)
	ports := [2]netip.AddrPort{freeAddr(t), freeAddr(t)}
	primary := &side{kind: peers.Port53, dir: t.TempDir(), addr: ports[0], other: ports[1], primary: true}
	secondary := &side{kind: peers.Port53, dir: t.TempDir(), addr: ports[1], other: ports[0]}
	primary.file = filepath.Join(primary.dir, "big.zone")
	const names = 3000
	write := func(serial int) {
		var b strings.Builder
		fmt.Fprintf(&b, "$TTL 300\n@ SOA ns admin %d 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\n", serial)
		for i := range names {
			if i%10 == 0 || serial%3 == 0 { // now a large change, now a small one
				fmt.Fprintf(&b, "h%d TXT \"version %d\"\n", i, serial)
			}
		}
		if err := os.WriteFile(primary.file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	primary.start(t)
	primary.await(t, 1, 20*time.Second)
	secondary.start(t)
	secondary.await(t, 1, 20*time.Second)
	last, kept := uint32(1), 0
	for round := range kills {
		serial := last
		done := make(chan struct{})
		go func() {
			defer close(done)
			// A secondary asks a second after it did last: it is killed around that time.
			time.Sleep(940*time.Millisecond + time.Duration(round*37%250)*time.Millisecond)
			_ = secondary.server.Signal(syscall.SIGKILL)
		}()
		served := uint32(0) // by the secondary, as somebody saw it
		for n := range 4 {
			serial = last + uint32(n) + 1
			write(int(serial))
			if err := primary.server.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if got, ok := secondary.serial(); ok {
				served = got
			}
		}
		<-done
		<-secondary.server.Ended()
		primary.await(t, serial, 20*time.Second)
		if err := primary.server.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		secondary.start(t)
		var got uint32
		began := time.Now()
		for {
			var ok bool
			if got, ok = secondary.serial(); ok {
				break
			}
			if time.Since(began) > 10*time.Second {
				t.Fatalf("round %d: the zone is not served without its primary:\n%s", round, secondary.server.Tail())
			}
		}
		if got < served {
			t.Fatalf("round %d: serial %d was served and is gone: %d", round, served, got)
		}
		if got > last {
			kept++
		}
		want, seen := fmt.Sprintf("\"version %d\"", got), 0
		for _, line := range secondary.axfr(t) {
			if strings.Contains(line, "\ttxt\t") {
				if seen++; !strings.Contains(line, want) {
					t.Fatalf("round %d: serial %d has %q", round, got, line)
				}
			}
		}
		if expected := map[bool]int{true: names, false: names / 10}[got%3 == 0]; seen != expected {
			t.Fatalf("round %d: serial %d has %d records, not %d", round, got, seen, expected)
		}
		if err := primary.server.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		last = serial
		if _, err := os.Stat(primary.file); err != nil {
			t.Fatal(err)
		}
		secondary.send(t, "nsupdate", "add nothing.big.test 60 A 192.0.2.1", xferSecret) // it is refused, and the server lives
		write(int(last) + 1)
		last++
		if err := primary.server.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		secondary.await(t, last, 20*time.Second)
	}
	t.Logf("%d kills, after %d of them with a version that had come meanwhile", kills, kept)
	if kept < kills/5 {
		t.Errorf("%d kills met a transfer: too few to say anything", kept)
	}
}

// exchange sends one message by a client of miekg/dns, signed, and returns the rcode.
func (s *side) exchange(t *testing.T, network string, m *dns.Msg) string {
	t.Helper()
	m.SetTsig(xferKey, dns.HmacSHA256, 300, time.Now().Unix())
	c := dns.Client{Net: network, Timeout: 10 * time.Second, TsigSecret: map[string]string{xferKey: xferSecret}}
	r, _, err := c.Exchange(m, s.addr.String())
	if err != nil && !errors.Is(err, dns.ErrAuth) { // which is NOTAUTH
		return err.Error()
	}
	return dns.RcodeToString[r.Rcode]
}

// batch returns an update as external-dns sends one: for each of n hosts an address, and the
// text that says whose it is.
func batch(what string, n int) *dns.Msg {
	m := new(dns.Msg).SetUpdate(xferZone)
	for i := range n {
		name := fmt.Sprintf("%s%d.big.test.", what, i)
		m.Insert([]dns.RR{
			&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: []byte{192, 0, 2, byte(i)}},
			&dns.TXT{Hdr: dns.RR_Header{Name: "a-" + name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 300}, Txt: []string{"heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/default/web"}},
		})
	}
	return m
}

// TestUpdatesOfAnySize sends updates of many records: each is carried out whole, over TCP and
// over UDP, whatever client sends it.
func TestUpdatesOfAnySize(t *testing.T) {
	s := startUpdated(t, peers.Port53, t.TempDir(), freeAddr(t))
	have := func() int { return len(s.axfr(t)) }
	for _, program := range []string{"nsupdate", "knsupdate"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, err)
		}
		for _, n := range []int{15, 16, 17, 50, 400} {
			var lines []string
			for i := range n {
				lines = append(lines, fmt.Sprintf("update add %s-%d-%d.big.test 60 A 192.0.2.1", program, n, i))
			}
			before := have()
			if got := s.send(t, program, strings.TrimPrefix(strings.Join(lines, "\n"), "update "), xferSecret); got != "NOERROR" || have() != before+n {
				t.Errorf("%s, %d records: %s, and there are %d more", program, n, got, have()-before)
			}
		}
	}
	for _, c := range []struct {
		network string
		n       int
		octets  int // at least
	}{{"udp", 25, 3800}, {"udp", 50, 5500}, {"tcp", 50, 5500}, {"udp", 350, 50000}, {"tcp", 400, 62000}} {
		m := batch(fmt.Sprintf("%s%d-", c.network, c.n), c.n)
		before := have()
		if got := s.exchange(t, c.network, m); got != "NOERROR" || have() != before+2*c.n || m.Len() < c.octets {
			t.Errorf("%d records in %d octets over %s: %s, and there are %d more", 2*c.n, m.Len(), c.network, got, have()-before)
		}
	}
}

// TestUpdatesElsewhere sends updates and NOTIFY for zones that are not there, and of other
// classes: what BIND says, which is what RFC 2136, section 3.1, says.
func TestUpdatesElsewhere(t *testing.T) {
	ours, theirs := startUpdated(t, peers.Port53, t.TempDir(), freeAddr(t)), startUpdated(t, peers.BIND, t.TempDir(), freeAddr(t))
	for what, c := range map[string]struct {
		name   string
		class  uint16
		opcode int
	}{
		"update of another zone":       {"other.test.", dns.ClassINET, dns.OpcodeUpdate},
		"update of a zone below":       {"host.big.test.", dns.ClassINET, dns.OpcodeUpdate},
		"update of a zone above":       {"test.", dns.ClassINET, dns.OpcodeUpdate},
		"update of class CH":           {"big.test.", dns.ClassCHAOS, dns.OpcodeUpdate},
		"notification of another zone": {"other.test.", dns.ClassINET, dns.OpcodeNotify},
		"notification of a zone below": {"host.big.test.", dns.ClassINET, dns.OpcodeNotify},
	} {
		for _, network := range []string{"udp", "tcp"} {
			said := map[*side]string{}
			for _, s := range []*side{ours, theirs} {
				m := new(dns.Msg).SetUpdate(c.name)
				m.Opcode, m.Question[0].Qclass = c.opcode, c.class
				said[s] = s.exchange(t, network, m)
			}
			if said[ours] != "NOTAUTH" || said[theirs] != "NOTAUTH" && c.class == dns.ClassINET { // of CH, BIND says NOTIMP
				t.Errorf("%s over %s: %s, BIND says %s, want NOTAUTH", what, network, said[ours], said[theirs])
			}
		}
	}
}

// TestUpdateTypes sends an update of each type, known and unknown, and of each kind: what
// BIND refuses is refused with its rcode, and the zone goes on being updated.
func TestUpdateTypes(t *testing.T) {
	ours, theirs := startUpdated(t, peers.Port53, t.TempDir(), freeAddr(t)), startUpdated(t, peers.BIND, t.TempDir(), freeAddr(t))
	var types []uint16
	for n := range 300 {
		types = append(types, uint16(n))
	}
	types = append(types, 1000, 32767, 32768, 32769, 65280, 65534, 65535)
	// Where BIND differs: types that it does not know the form of or has no use for, and an
	// error of its own.
	others := map[string]bool{
		"type 0, class ANY": true, "type 38, class IN": true, "type 38, class NONE": true, "type 50, class ANY": true,
		"type 100, class IN": true, "type 100, class NONE": true, "type 263, class IN": true, "type 263, class NONE": true,
		"type 264, class IN": true, "type 264, class NONE": true,
	}
	for _, n := range types {
		for _, class := range []uint16{dns.ClassINET, dns.ClassANY, dns.ClassNONE} {
			said := map[*side]string{}
			for _, s := range []*side{ours, theirs} {
				m := new(dns.Msg).SetUpdate(xferZone)
				h := dns.RR_Header{Name: fmt.Sprintf("t%d.big.test.", n), Rrtype: n, Class: class}
				rr := dns.RR(&dns.RFC3597{Hdr: h, Rdata: "7f000001"})
				if class == dns.ClassANY {
					rr = &dns.ANY{Hdr: h}
				}
				m.Ns = []dns.RR{rr}
				said[s] = s.exchange(t, "tcp", m)
			}
			what := fmt.Sprintf("type %d, class %s", n, dns.ClassToString[class])
			if said[ours] != said[theirs] && !others[what] {
				t.Errorf("%s: %s, BIND says %s", what, said[ours], said[theirs])
			}
		}
	}
	if got := ours.send(t, "nsupdate", "add last.big.test 60 A 192.0.2.1", xferSecret); got != "NOERROR" {
		t.Errorf("an update after them: %s", got)
	}
}

// TestKeyNew follows the README: a key is made, the server reads it, and nsupdate -k takes
// the same file.
func TestKeyNew(t *testing.T) {
	if _, err := exec.LookPath("nsupdate"); err != nil {
		missing(t, err)
	}
	for _, algorithm := range []string{"hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"} {
		dir, addr := t.TempDir(), freeAddr(t)
		file := filepath.Join(dir, "keys", "ddns")
		if out, err := exec.Command(subjectBinary(t, peers.Port53), "key", "new", "ddns", "--algorithm", algorithm, "--output", file).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		zone, conf := filepath.Join(dir, "big.zone"), filepath.Join(dir, "port53.yaml")
		text := fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\nkeys: [{name: ddns, algorithm: %s, secret_file: keys/ddns}]\nzones:\n  - {name: big.test, file: %s, allow_transfer: [{key: ddns}], updates: [{key: ddns, names: [\"*\"]}]}\n",
			addr.String(), algorithm, zone)
		if err := errors.Join(os.WriteFile(zone, []byte(updateZone), 0o644), os.WriteFile(conf, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		server, err := peers.Start(t.Context(), peers.Port53, peers.Options{
			Dir: dir, Addr: addr, Command: []string{subjectBinary(t, peers.Port53), "serve", "--config", conf}, Zones: []peers.Zone{{Name: "big.test."}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		cmd := exec.Command("nsupdate", "-k", file)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("server %s %d\nzone big.test\nupdate add made.big.test 60 A 192.0.2.1\nsend\n", addr.Addr(), addr.Port()))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", algorithm, err, out)
		}
	}
}
