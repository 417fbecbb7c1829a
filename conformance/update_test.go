package conformance_test

import (
	"context"
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
