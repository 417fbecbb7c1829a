package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/lab"
	"port53/internal/wire"
)

// forwarder answers every question for an address with its own.
func forwarder(addr byte) lab.Handler {
	return func(query []byte, _ netip.AddrPort, _ bool) []byte {
		var q wire.Query
		if q.Parse(query) != 0 {
			return nil
		}
		var b wire.Builder
		b.Start(make([]byte, 512), 512, 0, &q)
		b.SetFlags(wire.FlagRA)
		rr := []byte{0xC0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 198, 51, 100, addr}
		copy(b.Grow(wire.Answer, len(rr), 1), rr)
		return b.Finish(nil, 0)
	}
}

const resolverYAML = `role: internal-resolver
listen: ["127.0.0.1:0"]
state_dir: state
metrics: {listen: off}
resolver:
  validation: false
  allow: [127.0.0.0/8%s]
  forward: [{zone: ., to: [192.0.2.%d], only: true}]
`

// startResolver runs a resolver whose servers are those of net.
func startResolver(t *testing.T, net *lab.Net, text string) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.run(net, text)
	return r
}

// run runs a server of a configuration, whose servers are those of net, until the test ends.
func (r *running) run(net *lab.Net, text string) {
	t := r.T
	t.Helper()
	r.write("port53.yaml", text)
	c, err := config.Load(filepath.Join(r.dir, "port53.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	if r.App, err = app.New(ctx, app.Options{Config: c, Network: net, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { r.done <- r.App.Run(ctx, r.reload) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestReloadForwarders changes the forwarder and the list of clients again and again
// while questions come: each is answered, by the one or the other, and after the last
// change by the last.
func TestReloadForwarders(t *testing.T) {
	const questions, reloads = 2000, 20
	net := lab.NewNet(lab.Options{Seed: 53})
	for n := byte(1); n <= 2; n++ {
		net.Handle(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 53), forwarder(n))
		net.SetLink(netip.AddrFrom4([4]byte{192, 0, 2, n}), lab.Link{RTT: 2 * time.Millisecond})
	}
	r := startResolver(t, net, fmt.Sprintf(resolverYAML, "", 1))
	var wg sync.WaitGroup
	got := map[string]int{}
	asked := make(chan struct{}) // another part of the questions
	wg.Go(func() {
		for i := range questions {
			if i%(questions/reloads) == 0 {
				asked <- struct{}{}
			}
			reply := r.ask("udp", fmt.Sprintf("n%d.example.com. A +rd", i))
			_, addr, _ := strings.Cut(reply, "198.51.100.")
			got[strings.TrimSpace(addr)]++
		}
	})
	for i := range reloads {
		<-asked
		r.write("port53.yaml", fmt.Sprintf(resolverYAML, []string{", 10.0.0.0/8", ""}[i%2], 1+(i+1)%2))
		if _, err := r.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if got["1"]+got["2"] != questions || got["2"] == 0 {
		t.Errorf("of %d questions: %v", questions, got)
	}
	for i := range 10 {
		if reply := r.ask("udp", fmt.Sprintf("n%d.example.com. A +rd", i)); !strings.Contains(reply, "198.51.100.1") {
			t.Errorf("after the last reload, a name that the other forwarder had answered for: %s", reply)
		}
	}
	// What is wrong leaves all as it was.
	r.write("port53.yaml", strings.Replace(fmt.Sprintf(resolverYAML, "", 2), "validation: false", "root_hints: gone", 1))
	if _, err := r.Reload(context.Background()); err == nil {
		t.Error("hints that are not there were taken")
	}
	if reply := r.ask("tcp", "last.example.com. A +rd"); !strings.Contains(reply, "198.51.100.1") {
		t.Errorf("after a reload that failed: %s", reply)
	}
}

// TestCacheOverRestart has the cache's dump read by the next run.
func TestCacheOverRestart(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
	text := fmt.Sprintf(resolverYAML, "", 1) + "  cache: {dump: ../cache.dump}\n"
	first := startResolver(t, net, strings.Replace(text, "../cache.dump", filepath.Join(t.TempDir(), "cache.dump"), 1))
	saved, err := os.ReadFile(filepath.Join(first.dir, "port53.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if reply := first.ask("udp", "www.example.com. A +rd"); !strings.Contains(reply, "198.51.100.1") {
		t.Fatal(reply)
	}
	first.stop()
	if err := <-first.done; err != nil {
		t.Fatal(err)
	}
	close(first.done)
	before := net.Counts(netip.MustParseAddr("192.0.2.1"))
	second := startResolver(t, net, string(saved))
	if reply := second.ask("udp", "www.example.com. A +rd"); !strings.Contains(reply, "198.51.100.1") {
		t.Error(reply)
	}
	if after := net.Counts(netip.MustParseAddr("192.0.2.1")); after != before {
		t.Errorf("it was asked for again: %+v, before %+v", after, before)
	}
}

// TestForeignDump has something else in the place of the cache's dump, which somebody has
// named by mistake: it is told of, and left there.
func TestForeignDump(t *testing.T) {
	for what, s := range map[string]struct {
		text string
		kept bool // it is a dump, and the next takes its place
	}{
		"a zone file":    {"$TTL 60\n@ SOA ns admin 1 2 3 4 5\n", false},
		"a few bytes":    {"port54", false},
		"an old dump":    {"port53 cache 1\n and so on", true},
		"a newer dump":   {"port53 cache 99\n and so on", true},
		"a part of one":  {"port53 ca", true},
		"nothing":        {"", true},
		"what is zeros":  {strings.Repeat("\x00", 9000), true},
		"a zero, and so": {"\x00 but not all", false},
	} {
		file := filepath.Join(t.TempDir(), "dump")
		if err := os.WriteFile(file, []byte(s.text), 0o600); err != nil {
			t.Fatal(err)
		}
		net := lab.NewNet(lab.Options{Seed: 53})
		net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
		r := startResolver(t, net, fmt.Sprintf(resolverYAML, "", 1)+"  cache: {dump: "+file+"}\n")
		if reply := r.ask("udp", "www.example.com. A +rd"); !strings.Contains(reply, "198.51.100.1") {
			t.Fatal(reply)
		}
		r.stop()
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
		close(r.done)
		now, err := os.ReadFile(file)
		if err != nil || (string(now) == s.text) == s.kept {
			t.Errorf("%s: the file has %.20q now, %v", what, now, err)
		}
	}
}

// TestSpecialNames asks for names that mean this machine, or nothing, by decree: nobody else
// is asked. With a root of the operator's own, test. is asked for there.
func TestSpecialNames(t *testing.T) {
	for _, ownRoot := range []bool{false, true} {
		net := lab.NewNet(lab.Options{Seed: 53})
		net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1))
		r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
		r.write("hints", ". NS a.\na. A 192.0.2.1\n")
		text := fmt.Sprintf(resolverYAML, "", 1)
		test := "NXDOMAIN"
		if ownRoot {
			text += "  root_hints: hints\n"
			test = "198.51.100.1"
		}
		r.run(net, text)
		for name, want := range map[string]string{
			"localhost.": "127.0.0.1", "x.localhost.": "127.0.0.1", "x.onion.": "NXDOMAIN", "1.0.0.10.in-addr.arpa.": "NXDOMAIN",
			"x.invalid.": "NXDOMAIN", "x.test.": test, "x.example.": "198.51.100.1",
		} {
			if got := r.ask("udp", name+" A +rd"); !strings.Contains(got, want) {
				t.Errorf("own root %v: %s: %q, want %s", ownRoot, name, got, want)
			}
		}
	}
}
