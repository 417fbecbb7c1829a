package dnstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/lab"
)

// A relay is a subject that passes questions on to one server, and keeps what that
// answers: enough to see whether the player sees.
type relay struct {
	net    *lab.Net
	server netip.AddrPort

	mu    sync.Mutex
	cache map[string][]byte
}

func newRelay(_ testing.TB, s *Setup) Subject {
	r := &relay{net: s.Net, cache: map[string][]byte{}}
	r.server, _ = addrPort(s.Text("server", "192.0.2.1"))
	s.Duration("patience", time.Second)
	s.Bool("verbose", false)
	s.Int("tries", 1)
	s.Time("epoch")
	s.Words("word")
	return r
}

func (r *relay) Ask(ctx context.Context, query []byte, _ netip.AddrPort, tcp bool) []byte {
	if tcp {
		return nil
	}
	key := string(query[2:])
	r.mu.Lock()
	reply := r.cache[key]
	r.mu.Unlock()
	if reply != nil {
		return append(bytes.Clone(query[:2]), reply[2:]...)
	}
	s, err := r.net.Socket(r.server)
	if err != nil {
		return nil
	}
	defer s.Close()
	_ = s.Send(query)
	b := make([]byte, 2000)
	deadline, _ := ctx.Deadline()
	n, err := s.Recv(ctx, b, deadline)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache[key] = b[:n]
	return b[:n]
}

func (r *relay) Close() {}

func (r *relay) Flush([]byte, bool) { clear(r.cache) }

func (r *relay) Apply(s *Setup) error {
	r.server, _ = addrPort(s.Text("server", "192.0.2.1"))
	return nil
}

func (r *relay) Dump(w io.Writer) error {
	for k, v := range r.cache {
		fmt.Fprintf(w, "%x %x\n", k, v)
	}
	return nil
}

func (r *relay) Load(from io.Reader) error {
	for {
		var k, v []byte
		if _, err := fmt.Fscanf(from, "%x %x\n", &k, &v); err != nil {
			return nil
		}
		r.cache[string(k)] = v
	}
}

// A judge takes down what a test would have failed with.
type judge struct {
	testing.TB
	said []string
}

func (j *judge) Helper()             {}
func (j *judge) Logf(string, ...any) {}
func (j *judge) Errorf(format string, args ...any) {
	j.said = append(j.said, fmt.Sprintf(format, args...))
}

func (j *judge) Fatal(args ...any) {
	j.said = append(j.said, fmt.Sprint(args...))
	panic(j)
}

func (j *judge) Fatalf(format string, args ...any) {
	j.said = append(j.said, fmt.Sprintf(format, args...))
	panic(j)
}

// play plays a text and returns what its test would have failed with, and what the
// file is then.
func playText(t *testing.T, text string, update bool) (said []string, after string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.txtar")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	script, err := readScript(file)
	if err != nil {
		return []string{strings.ReplaceAll(err.Error(), file, "s")}, text
	}
	for _, p := range script.plays {
		synctest.Test(t, func(t *testing.T) {
			j := &judge{TB: t}
			defer func() {
				if r := recover(); r != nil && r != any(j) {
					panic(r)
				}
				said = append(said, j.said...)
			}()
			pl := &player{mode: mode{update: update, newSubject: newRelay}, t: j, play: p, script: script}
			pl.run()
		})
	}
	if update {
		if err := script.rewrite(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range said {
		said[i] = strings.ReplaceAll(said[i], file, "s")
	}
	return said, string(b)
}

const served = `Relaying (RFC 1034, section 4.3.2).
-- settings --
# a comment
server 192.0.2.1
word a b
-- zone example. 192.0.2.1 --
www A 198.51.100.80
www A 198.51.100.81
alias CNAME www
-- zone example. 192.0.2.2 --
www A 198.51.100.82
-- zone example. 192.0.2.1 as changed --
www A 198.51.100.99
-- host 192.0.2.1 rtt=20ms --
-- do --
`

// Each step does and judges what SCENARIOS.md says.
func TestSteps(t *testing.T) {
	const www = "  NOERROR aa nora\n  www.example. 3600 A 198.51.100.80\n  www.example. 3600 A 198.51.100.81\n"
	tests := []struct {
		name string
		do   string
		want string // the beginning of the one complaint; empty: none
	}{
		{"ask", "ask www.example. A\n" + www, ""},
		{"ask in another order, any TTL, and time", "ask www.example. A\n  NOERROR aa nora\n  www.example. * A 198.51.100.81\n  www.example. 3600 A 198.51.100.80\n  took 20ms\n  size >= 60\n", ""},
		{"wrong rcode", "ask www.example. A\n  NXDOMAIN aa nora\n" + www[18:], `s:16: ask www.example. A: got "NOERROR aa nora", want "NXDOMAIN aa nora"`},
		{"wrong flag", "ask www.example. A\n  NOERROR nora\n" + www[18:], `s:16: ask www.example. A: got "NOERROR aa nora", want "NOERROR nora"`},
		{"a record too few", "ask www.example. A\n" + www[:54], "s:16: ask www.example. A: answer:\n\twww.example. 3600 A 198.51.100.80\n\twww.example. 3600 A 198.51.100.81\nwant:\n\twww.example. 3600 A 198.51.100.80\n"},
		{"a record too many", "ask www.example. A\n" + www + "  www.example. 3600 A 198.51.100.82\n", "s:16: ask www.example. A: answer:"},
		{"wrong TTL", "ask www.example. A\n" + strings.Replace(www, "3600", "3599", 1), "s:16: ask www.example. A: answer:"},
		{"two stars for one", "ask www.example. A\n  NOERROR aa nora\n  www.example. * A 198.51.100.80\n  www.example. * A 198.51.100.80\n", "s:16: ask www.example. A: answer:"},
		{"authority", "ask www.example. MX\n  NOERROR aa nora\n  authority\n  example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300\n  additional\n", ""},
		{"authority not none", "ask www.example. MX\n  NOERROR aa nora\n  authority\n", "s:16: ask www.example. MX: authority:"},
		{"too slow", "ask www.example. A\n" + www + "  took <= 10ms\n", "s:16: ask www.example. A: took 20ms, want <= 10ms"},
		{"no such text", "ask www.example. A\n" + www + "  text stale\n", "s:16: ask www.example. A: no Extended DNS Error has the text"},
		{"nothing", "ask www.example. A +tcp\n  nothing\n", ""},
		{"no reply within the minute", "host 192.0.2.1 down\nask www.example. A\n  nothing\n  took 1m0s\n", ""},
		{"nothing expected", "ask www.example. A\n", `s:16: ask www.example. A: nothing is expected of it; it was "NOERROR aa nora"`},
		{"bad name", "ask www..example. A\n", "s:16: ask www..example. A: name "},
		{"bad flag", "ask www.example. A +dnssec\n", `s:16: ask www.example. A +dnssec: "+dnssec": it is not known`},
		{"unknown step", "answer www.example. A\n", `s:16: answer www.example. A: step "answer" is not known`},
		{"nothing to expect", "wait 1s\n  NOERROR\n", "s:16: wait 1s: nothing is expected of it"},
		{"finish", "ask www.example. A as=x\nwait 10ms\nfinish x\n" + www, ""},
		{"not finished", "ask www.example. A as=x\n", `s:1: nobody waits for "x"`},
		{"finish what is not there", "finish x\n", "s:16: finish x: want the label"},
		{"flood", "flood 5 r{n}.example. A every=1ms\n  NXDOMAIN == 5\n  NOERROR < 1\npackets == 5\n", ""},
		{"flood, wrong", "flood 5 r{n}.example. A\n  NXDOMAIN <= 4\n", "s:16: flood 5 r{n}.example. A: 5 NXDOMAIN, want NXDOMAIN <= 4"},
		{"flood at the same time", "flood 5 r{n}.example. A as=f\nask www.example. A\n" + www + "finish f\n  NXDOMAIN == 5\n", ""},
		{"sent", "ask www.example. A\n" + www + "sent\n  192.0.2.1 www.example. A +rd\nsent to 192.0.2.1\n  * A +rd\nsent to 192.0.2.2\n", ""},
		{"sent otherwise", "ask www.example. A +nord +noedns\n" + www + "sent\n  192.0.2.1 www.example. A\n", "s:20: sent:\n\t192.0.2.1 www.example. A +noedns\nwant:\n\t192.0.2.1 www.example. A\n"},
		{"cached", "ask www.example. A\n" + www + "ask www.example. A\n" + www + "sent\nsent all\n  192.0.2.1 www.example. A +rd\n", ""},
		{"flushed", "ask www.example. A\n" + www + "flush all\nask www.example. A\n" + www + "packets all == 2\npackets == 1\npackets to 192.0.2.2 == 0\npackets tcp all == 0\n", ""},
		{"packets", "ask www.example. A\n" + www + "packets < 1\n", "s:20: packets < 1: 1 were sent"},
		{"asked", "ask www.example. A\n" + www + "asked WWW.example. A to 192.0.2.1\nasked www.example. == 1\nunsent www.example. AAAA\nunsent www.example. to 192.0.2.2\n", ""},
		{"not asked", "ask www.example. A\n" + www + "asked www.example. MX\n", "s:20: asked www.example. MX: it was sent 0 times, want >= 1"},
		{"not unsent", "ask www.example. A\n" + www + "unsent www.example.\n", "s:20: unsent www.example.: it was sent 1 times, want == 0"},
		{"set", "set server 192.0.2.2\nask www.example. A\n  NOERROR aa nora\n  www.example. 3600 A 198.51.100.82\n", ""},
		{"set what is not known", "set sever 192.0.2.2\n", `s:16: set sever 192.0.2.2: s:16: setting "sever" is not known to the subject`},
		{"load", "load changed\nask www.example. A\n  NOERROR aa nora\n  www.example. 3600 A 198.51.100.99\n", ""},
		{"load nothing", "load other\n", "s:16: load other: no section is tagged so"},
		{"restart", "ask www.example. A\n" + www + "restart\nask www.example. A\n" + www + "packets == 1\nrestart keep\nask www.example. A\n" + www + "packets == 0\n", ""},
		{"family", "family ipv4 off\nask www.example. A\n  nothing\n  took 0s\nfamily ipv4 on\nask www.example. A\n" + www, ""},
		{"host", "host 192.0.2.1 rtt=2s\nask www.example. A\n" + www + "  took 2s\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			said, _ := playText(t, served+test.do, false)
			switch {
			case test.want == "" && len(said) > 0:
				t.Errorf("complained:\n%s", strings.Join(said, "\n"))
			case test.want != "" && (len(said) != 1 || !strings.HasPrefix(said[0], test.want)):
				t.Errorf("complaints:\n%s\nwant one:\n%s", strings.Join(said, "\n"), test.want)
			}
		})
	}
}

// What is wrong with a file is said with its place.
func TestFileErrors(t *testing.T) {
	const do = "-- do --\nwait 1s\n"
	for _, test := range [][2]string{
		{"No source.\n" + do, `s:1: the comment of "s" names no source`},
		{"Two.\n-- scenario one --\nRFC 1034\n" + do + "-- scenario two --\nNone.\n" + do, `s:6: the comment of "two" names no source`},
		{"RFC 1034\n-- include no-such-net --\n" + do, "s:2: include: there is no file no-such-net"},
		{"RFC 1034\n", `s:1: "s" does nothing`},
		{"RFC 1034\n-- dew --\n" + do, `s:2: section "dew" is not known`},
		{"RFC 1034\n-- do --\n  NOERROR\n", "s:3: what is expected stands below a step"},
		{"RFC 1034\n-- zone example. --\n! bad\n" + do, `s:3: order "bad" is not known`},
		{"RFC 1034\n-- settings --\nvalidate perhaps\n" + do, `s:3: setting "validate" is "perhaps"; want on or off`},
		{"RFC 1034\n-- settings --\nverbose\n" + do, `s:3: setting "verbose" is ""; want on or off`},
		{"RFC 1034\n-- settings --\ntries many\n" + do, `s:3: setting "tries" is "many"; want a number`},
		{"RFC 1034\n-- settings --\npatience long\n" + do, `s:3: setting "patience" is "long"; want a duration`},
		{"RFC 1034\n-- settings --\nepoch today\n" + do, `s:3: setting "epoch" is "today"; want a time`},
		{"RFC 1034\n-- settings --\ncolour red\n" + do, `s:3: setting "colour" is not known to the subject`},
		{"RFC 1034\n-- settings --\nforward .\n" + do, `s:3: setting "forward" is "."; want a zone and an address`},
		{"RFC 1034\n-- settings --\nstub a. 192.0.2.1 first\n" + do, `s:3: setting "stub" is "a. 192.0.2.1 first"; want addresses, first and tcp`},
	} {
		said, _ := playText(t, test[0], false)
		if len(said) != 1 || !strings.HasPrefix(said[0], test[1]) {
			t.Errorf("%q:\ngot  %q\nwant %s", test[0], said, test[1])
		}
	}
}

// A file may hold several scenarios, which share what stands above them.
func TestShared(t *testing.T) {
	said, _ := playText(t, `Shared (RFC 1034, section 4).
-- settings --
server 192.0.2.3
-- include plain --
-- scenario as it is shared --
-- do --
ask www.example.com. A
  NOERROR aa nora
  www.example.com. 3600 A 198.51.100.80
-- scenario with a zone of its own --
-- zone example.com. 192.0.2.3 --
www A 198.51.100.1
-- host 192.0.2.3 rtt=1s --
-- do --
ask www.example.com. A
  NOERROR aa nora
  www.example.com. 3600 A 198.51.100.1
  took 1s
`, false)
	if len(said) > 0 {
		t.Errorf("complained:\n%s", strings.Join(said, "\n"))
	}
}

// With -update, a file is rewritten with what happened, and then holds.
func TestUpdate(t *testing.T) {
	text := served + `ask www.example. A
ask www.example. MX
  SERVFAIL
  authority
ask alias.example. A
  NOERROR aa nora
  www.example. * A 198.51.100.81
  alias.example. 3600 CNAME www.example.

  www.example. 3600 A 198.51.100.80
  took 0s
# behind
sent
  192.0.2.1 something.else. A
sent to 192.0.2.2
flood 3 {n}.example. A
`
	want := served + `ask www.example. A
  NOERROR aa nora
  www.example. 3600 A 198.51.100.80
  www.example. 3600 A 198.51.100.81
ask www.example. MX
  NOERROR aa nora
  authority
  example. 300 SOA ns1.example. admin.example. 1 7200 3600 1209600 300
ask alias.example. A
  NOERROR aa nora
  www.example. * A 198.51.100.81
  alias.example. 3600 CNAME www.example.
  www.example. 3600 A 198.51.100.80
  took 0s
# behind
sent
  192.0.2.1 alias.example. A +rd
sent to 192.0.2.2
flood 3 {n}.example. A
  NXDOMAIN == 3
`
	said, after := playText(t, text, true)
	if after != want {
		t.Errorf("rewritten:\n%s", strings.TrimPrefix(after, served))
	}
	// What cannot be rewritten is still wrong.
	if len(said) != 1 || !strings.Contains(said[0], "took 20ms, want 0s") {
		t.Errorf("complaints: %q", said)
	}
	again, _ := playText(t, strings.Replace(after, "took 0s", "took 20ms", 1), false)
	if len(again) > 0 {
		t.Errorf("played again: %q", again)
	}
}

// The packet log of a failure says what was sent and what became of it.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := lab.NewWorld(lab.Options{})
		_, sections := lab.Split("s", []byte(served))
		for _, s := range sections {
			if (s.Kind == "zone" || s.Kind == "host") && s.Tag == "" {
				if err := w.Put(s); err != nil {
					t.Fatal(err)
				}
			}
		}
		start := time.Now()
		r := newRelay(t, &Setup{Net: w.Net})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r.Ask(ctx, Question{Name: Name(t, "www.example."), Type: 1, Class: 1}.Message(), netip.AddrPort{}, false)
		if err := w.Configure("192.0.2.1", "down"); err != nil {
			t.Fatal(err)
		}
		r.Ask(ctx, Question{Name: Name(t, "lost.example."), Type: 1, Class: 1}.Message(), netip.AddrPort{}, false)
		if c, err := w.Net.DialTCP(ctx, netip.MustParseAddrPort("192.0.2.2:53")); err == nil {
			c.Close()
		}
		var got []string
		log := w.Net.Packets()
		for i := range log {
			got = append(got, logLine(&log[i], start))
		}
		want := []string{
			"    0.000s -> 192.0.2.1:53 udp www.example. A",
			"    0.020s <- 192.0.2.1:53 udp www.example. A: NOERROR aa 2/0/0, 61 octets",
			"    0.020s -> 192.0.2.1:53 udp lost.example. A  (lost)",
			"    1.000s -> 192.0.2.2:53 tcp  (connected)",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}
