package app_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/dnstest"
	"port53/internal/store"
	"port53/internal/top"
)

const learnYAML = filterYAML + "policy: {tunnel: {action: block, learn: {period: 7d, clients: 2, days: 1}}}\n"

// asFrom asks a question from an address of the loopback network, and returns the reply in words.
func (r *running) asFrom(client, line string) string {
	r.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(client)}}).Dial("udp", r.Addrs()[0].String())
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	reply := make([]byte, 4096)
	if _, err := c.Write(dnstest.ParseQuestion(r, line).Message()); err != nil {
		r.Fatal(err)
	}
	n, err := c.Read(reply)
	if err != nil {
		r.Fatalf("%s from %s: %v", line, client, err)
	}
	text, err := dnstest.Format(reply[:n])
	if err != nil {
		r.Error(err)
	}
	return text
}

// fresh returns a name below a domain that nobody has asked for.
func fresh(domain string) string {
	return fmt.Sprintf("%016x%016x%016x.%016x%016x%016x.%016x%016x%016x.%s. A +rd", rand.Uint64(), rand.Uint64(), rand.Uint64(),
		rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), domain)
}

// dig has a client look like a tunnel to a domain. What is blocked on the way is not answered.
func (r *running) dig(client, domain string) {
	r.Helper()
	for range 45 {
		r.asFrom(client, fresh(domain))
	}
	r.Tunnels() // all was looked at
}

// blocked tells whether what a client asks of a domain is refused.
func (r *running) blocked(client, domain string) bool {
	r.Helper()
	reply := r.asFrom(client, fresh(domain))
	refused := strings.Contains(reply, "REFUSED")
	if !refused && !strings.Contains(reply, answered) {
		r.Errorf("%s", reply)
	}
	return refused
}

// wantBlocked wants what clients ask of domains refused, or answered if a ! stands before.
func (r *running) wantBlocked(when string, pairs ...string) {
	r.Helper()
	for _, pair := range pairs {
		pair, not := strings.CutPrefix(pair, "!")
		client, domain, _ := strings.Cut(pair, " ")
		if r.blocked(client, domain) == not {
			r.Errorf("%s: %s is blocked: %v", when, pair, !not)
		}
	}
}

// metrics returns what the server tells a monitoring system.
func (r *running) metrics() string {
	r.Helper()
	resp, err := http.Get("http://" + r.Metrics().String() + "/metrics")
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

func (r *running) reloads() {
	r.Helper()
	if _, err := r.Reload(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// restarted ends a server and starts it again with the same directory.
func (r *running) restarted(text string) *running {
	r.Helper()
	r.end()
	next := &running{T: r.T, dir: r.dir, reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	next.run(filterNet(), text)
	return next
}

const learnedFile = "state/" + app.LearnedFile

// TestLearnedTunnels has clients look like a tunnel to a domain over a restart: it is learned by the second client,
// answered from then on, and remembered; until then clients are blocked. A domain of one client is not learned. What
// the operator says counts, by command and in the file.
func TestLearnedTunnels(t *testing.T) {
	learnYAML := strings.Replace(learnYAML, "metrics: {listen: off}", "metrics: {listen: \"127.0.0.1:0\"}", 1)
	r := startResolver(t, filterNet(), learnYAML)
	until := r.Tunnels().Learning.Until
	r.dig("127.0.0.11", "cdn.example")
	r.dig("127.0.0.13", "evil.example")
	r.wantBlocked("before it is learned", "127.0.0.11 cdn.example", "127.0.0.13 evil.example", "!127.0.0.12 cdn.example")
	r = r.restarted(learnYAML) // which writes what was not yet written
	if text := r.read(learnedFile); !strings.HasPrefix(text, top.LearnedLine+"\n") || !strings.Contains(text, "seen     cdn.example. days=0 clients=1 ") ||
		!strings.Contains(text, " from=127.0.0.11\n") {
		t.Errorf("the file has\n%s", text)
	}
	r.dig("127.0.0.12", "cdn.example")
	r.dig("127.0.0.13", "evil.example")
	r.wantBlocked("once it is learned", "!127.0.0.11 cdn.example", "!127.0.0.12 cdn.example", "127.0.0.13 evil.example")
	l := r.Tunnels().Learning
	if !l.Until.Equal(until) || !l.Active || l.Clients != 2 || l.Days != 1 || len(l.Domains) != 2 || l.Domains[0].Domain != "cdn.example." ||
		l.Domains[0].Verdict != top.DomainLearned || l.Domains[1].Verdict != top.DomainSeen {
		t.Errorf("%+v", l)
	}
	for _, line := range []string{
		`port53_tunnel_domains{verdict="learned"} 1`, `port53_tunnel_domains{verdict="seen"} 1`, `port53_tunnel_domains{verdict="accepted"} 0`,
		"port53_tunnel_learning 1", "port53_tunnels 1",
	} {
		if text := r.metrics(); !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the metrics do not have %q", line)
		}
	}
	r = r.restarted(learnYAML)
	r.dig("127.0.0.14", "cdn.example")
	r.dig("127.0.0.13", "evil.example")
	r.wantBlocked("after a restart", "!127.0.0.14 cdn.example", "127.0.0.13 evil.example")

	if _, err := r.JudgeTunnel("cdn.example", false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.JudgeTunnel("evil.example", true); err != nil {
		t.Fatal(err)
	}
	r.dig("127.0.0.14", "cdn.example")
	r.wantBlocked("once it is judged", "127.0.0.14 cdn.example", "!127.0.0.13 evil.example")
	text := r.read(learnedFile)
	if !strings.Contains(text, "\nrejected cdn.example. ") || !strings.Contains(text, "\naccepted evil.example. ") {
		t.Errorf("the file has\n%s", text)
	}
	if _, err := r.JudgeTunnel("www.cdn.example", true); err == nil || !strings.Contains(err.Error(), "cdn.example") {
		t.Errorf("a name below: %v", err)
	}
	r.write(learnedFile, strings.Replace(text, "\nrejected cdn.example. ", "\naccepted cdn.example. ", 1))
	r.reloads()
	r.wantBlocked("once the file is edited", "!127.0.0.14 cdn.example")
	if text := r.read(learnedFile); !strings.Contains(text, "\naccepted cdn.example. ") {
		t.Errorf("the file was written over:\n%s", text)
	}
	r.dig("127.0.0.15", "late.example")
	r.write("port53.yaml", strings.Replace(learnYAML, "period: 7d", "period: 0s", 1))
	r.reloads()
	if text := r.read(learnedFile); !strings.Contains(text, "\nseen     late.example. ") {
		t.Errorf("what was seen last is not kept:\n%s", text)
	}
	r.dig("127.0.0.14", "cdn.example")
	r.wantBlocked("once nothing is learned", "127.0.0.14 cdn.example")
	if l := r.Tunnels().Learning; l != nil {
		t.Errorf("%+v", l)
	}
	if _, err := r.JudgeTunnel("cdn.example", true); err == nil || !strings.Contains(err.Error(), "policy") {
		t.Errorf("%v", err)
	}
}

// TestLearnedFileFaults has a file that cannot be used left as it is. A server that runs goes on with what it has; one that
// starts takes nothing from it, and reports and blocks all. Without a file learning begins again.
func TestLearnedFileFaults(t *testing.T) {
	r := startResolver(t, filterNet(), learnYAML)
	if _, err := r.JudgeTunnel("cdn.example", true); err != nil {
		t.Fatal(err)
	}
	good := r.read(learnedFile)
	for what, bad := range map[string]string{
		"of a newer version": "port53 tunnel-domains 9\naccepted other.example.\n",
		"cut off":            strings.TrimSuffix(good, "\n"),
		"empty":              "",
		"with a wrong line":  good + "accepted com.\n",
	} {
		r.write(learnedFile, bad)
		r.reloads()
		l := r.Tunnels().Learning
		if l.Error == "" || len(l.Domains) != 1 || l.Domains[0].Domain != "cdn.example." {
			t.Errorf("a file %s: %+v", what, l)
		}
		if _, err := r.JudgeTunnel("more.example", true); err == nil || !strings.Contains(err.Error(), "mend or remove the file") {
			t.Errorf("a file %s: %v", what, err)
		}
		r = r.restarted(learnYAML)
		r.dig("127.0.0.11", "cdn.example")
		r.dig("127.0.0.12", "cdn.example")
		r.wantBlocked("a file "+what, "127.0.0.11 cdn.example", "127.0.0.12 cdn.example")
		if l := r.Tunnels().Learning; l.Error == "" || len(l.Domains) != 0 || l.Active {
			t.Errorf("a file %s, after a start: %+v", what, l)
		}
		if text := r.read(learnedFile); text != bad {
			t.Errorf("a file %s was written over:\n%s", what, text)
		}
		r.write(learnedFile, good)
		r.reloads()
		if l := r.Tunnels().Learning; l.Error != "" || len(l.Domains) != 1 || !l.Active {
			t.Errorf("after a file %s, mended: %+v", what, l)
		}
		r.wantBlocked("after a file "+what, "!127.0.0.11 cdn.example")
	}
	r.Tunnels() // all that was asked was looked at
	if err := os.Remove(filepath.Join(r.dir, learnedFile)); err != nil {
		t.Fatal(err)
	}
	r.reloads()
	if l := r.Tunnels().Learning; len(l.Domains) != 0 || !l.Active || !strings.Contains(r.read(learnedFile), "\nbegan ") {
		t.Errorf("without the file: %+v", l)
	}
	// What is edited, or removed, shortly before the end of the server stays so.
	r.dig("127.0.0.11", "cdn.example")
	edited := good + "accepted more.example.\n"
	r.write(learnedFile, edited)
	r = r.restarted(learnYAML)
	if text := r.read(learnedFile); text != edited {
		t.Errorf("an edited file was written over:\n%s", text)
	}
	r.write(learnedFile, "spoiled")
	r = r.restarted(learnYAML)
	r.dig("127.0.0.11", "cdn.example")
	if err := os.Remove(filepath.Join(r.dir, learnedFile)); err != nil {
		t.Fatal(err)
	}
	r = r.restarted(learnYAML)
	if l := r.Tunnels().Learning; len(l.Domains) != 0 || !l.Active {
		t.Errorf("after a damaged file was removed: %+v", l)
	}
}

// TestLearnedFullDisk has nothing forgotten because it cannot be written: it is, once there is room.
func TestLearnedFullDisk(t *testing.T) {
	r := startResolver(t, filterNet(), learnYAML)
	was := r.read(learnedFile)
	room := filepath.Join(r.dir, learnedFile+".new", "full")
	if err := os.MkdirAll(room, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := r.JudgeTunnel("cdn.example", true); err == nil || !strings.Contains(err.Error(), "it counts until the server stops") {
		t.Errorf("%v", err)
	}
	r.reloads()
	if l := r.Tunnels().Learning; l.Error == "" || len(l.Domains) != 1 || r.read(learnedFile) != was {
		t.Errorf("%+v; the file has\n%s", l, r.read(learnedFile))
	}
	if err := os.RemoveAll(filepath.Dir(room)); err != nil {
		t.Fatal(err)
	}
	r.reloads()
	if l := r.Tunnels().Learning; l.Error != "" || !strings.Contains(r.read(learnedFile), "accepted cdn.example. ") {
		t.Errorf("%+v; the file has\n%s", l, r.read(learnedFile))
	}
	if err := os.MkdirAll(room, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := r.JudgeTunnel("more.example", true); err == nil {
		t.Error("more.example was written")
	}
	if err := os.RemoveAll(filepath.Dir(room)); err != nil {
		t.Fatal(err)
	}
	r = r.restarted(learnYAML)
	if l := r.Tunnels().Learning; len(l.Domains) != 2 {
		t.Errorf("after a restart: %+v", l)
	}
}

// TestLearnedIsOneServers has a second server not start with the directory of a server that learns.
func TestLearnedIsOneServers(t *testing.T) {
	r := startResolver(t, filterNet(), learnYAML)
	c, err := config.Load(filepath.Join(r.dir, "port53.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(t.Context(), app.Options{Config: c, Network: filterNet()}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second server: %v", err)
	}
}

// TestLearnedCheck has a check say of the file what a start does.
func TestLearnedCheck(t *testing.T) {
	r := startResolver(t, filterNet(), learnYAML)
	c, err := config.Load(filepath.Join(r.dir, "port53.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	said := func() bool {
		t.Helper()
		result, err := app.Check(t.Context(), c, false)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(strings.Join(result.Notes, "\n"), app.LearnedFile+": line 2: ")
	}
	if said() {
		t.Error("a good file is bad")
	}
	r.write(learnedFile, top.LearnedLine+"\nlearned com.\n")
	if !said() {
		t.Error("nothing is said of a bad file")
	}
}
