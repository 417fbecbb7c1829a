package app_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/wire"
)

// TestFailedReloadChangesNothing changes limits, rights, keys and the identity together with
// something that cannot be read: all of it stays as it was, and also after the next reload
// that is good.
func TestFailedReloadChangesNothing(t *testing.T) {
	const good = "policy: {rate_limit: {per_second: 20, burst: 100}}\nidentity: {version: first}\n"
	const changed = "policy: {rate_limit: {per_second: 1, burst: 1}, deny: [127.0.0.0/8]}\nidentity: {version: second}\n"
	for _, c := range []struct{ what, role, broken string }{
		{"cookie secrets", "authoritative", "edns: {cookie_secrets_file: gone}\n"},
		{"trust anchors", "internal-resolver", "resolver: {allow: [127.0.0.0/8], trust_anchors: port53.yaml}\n"},
		{"root hints", "internal-resolver", "resolver: {allow: [127.0.0.0/8], root_hints: port53.yaml}\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			resolver := ""
			if c.role != "authoritative" {
				resolver = "resolver: {allow: [127.0.0.0/8], validation: false}\nstate_dir: state\n"
			}
			yaml := func(rest string) string {
				return "role: " + c.role + "\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\nzones: [{name: test, file: test.zone}]\n" + rest
			}
			r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
			r.write("test.zone", fmt.Sprintf(zoneText, 1, 1))
			r.run(lab.NewNet(lab.Options{Seed: 53}), yaml(good+resolver))
			r.write("port53.yaml", yaml(changed+c.broken))
			if _, err := r.Reload(context.Background()); err == nil {
				t.Fatal("the reload succeeded")
			}
			unchanged := func(when string) {
				t.Helper()
				for i := range 40 {
					if got := r.ask("udp", "ns.test. A"); !strings.Contains(got, "192.0.2.1") {
						t.Fatalf("%s, question %d: %q", when, i, got)
					}
				}
				msg := dnstest.ParseQuestion(t, "version.bind. TXT").Message()
				msg[len(msg)-1] = byte(wire.ClassCH)
				if got := r.exchange("127.0.0.1:0", msg); !bytes.Contains(got, []byte("first")) {
					t.Errorf("%s: version.bind is %q", when, got)
				}
			}
			unchanged("after the reload that failed")
			r.write("port53.yaml", yaml(good+resolver))
			if _, err := r.Reload(context.Background()); err != nil {
				t.Fatal(err)
			}
			unchanged("after the next one")
		})
	}
}

// TestNeedsRestartUntilRestarted tells what counts from the next start on at each reload, not
// at the first alone.
func TestNeedsRestartUntilRestarted(t *testing.T) {
	r := start(t, "metrics: {listen: off}\n")
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.2:0\"]\nmetrics: {listen: off}\ncontrol: {socket: control.sock}\nzones: [{name: test, file: test.zone}]\n")
	for range 2 {
		result, err := r.Reload(context.Background())
		if err != nil || strings.Join(result.(*app.Reloaded).Restart, " ") != "listen" {
			t.Errorf("reload: %+v %v", result, err)
		}
	}
}

// TestReloadIsTheServers cancels a reload's request at once: the reload is carried out.
func TestReloadIsTheServers(t *testing.T) {
	r := start(t, "metrics: {listen: off}\n")
	r.write("test.zone", fmt.Sprintf(zoneText, 2, 2))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Reload(ctx); err != nil {
		t.Error(err)
	}
	r.want("ns.test. A", "192.0.2.2")
}

// TestReloadHandsOn has a client at its limit, with a cookie of the server: a reload that
// changes something else leaves both as they are, and one that changes the limit starts over.
func TestReloadHandsOn(t *testing.T) {
	r := start(t, "metrics: {listen: off}\n")
	yaml := func(burst int, name string) {
		r.Helper()
		r.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\ncontrol: {socket: control.sock}\n"+
			"zones: [{name: test, file: test.zone}]\nidentity: {version: %s}\npolicy: {rate_limit: {per_second: 1/s, burst: %d, slip: 1}}\n", name, burst))
		if _, err := r.Reload(context.Background()); err != nil {
			r.Fatal(err)
		}
	}
	// whole returns how many of so many questions, with a cookie or without, have an answer.
	var cookie []byte
	whole := func(questions int, with bool) (n int) {
		r.Helper()
		option := append([]byte{0, wire.OptionCookie, 0, 8}, "12345678"...)
		if with {
			option = append([]byte{0, wire.OptionCookie, 0, byte(len(cookie))}, cookie...)
		}
		msg := wire.AppendOPT(wire.AppendQuery(nil, 1, 0, dnstest.Name(r, "ns.test."), wire.TypeA), 1232, false, option)
		msg[11] = 1
		conn, err := net.Dial("udp", r.Addrs()[0].String())
		if err != nil {
			r.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		for range questions {
			if _, err := conn.Write(msg); err != nil {
				r.Fatal(err)
			}
			var m wire.Message
			reply := make([]byte, 1232)
			if n, err := conn.Read(reply); err != nil || m.Parse(reply[:n]) != 0 {
				r.Fatalf("reply %x: %v", reply[:n], err)
			}
			if m.Rcode == wire.NoError && len(m.Records) > 0 && m.Records[0].Section == wire.Answer {
				n++
			}
			if got, ok := m.Option(wire.OptionCookie); ok && cookie == nil {
				cookie = bytes.Clone(got) // of before all reloads
			}
		}
		return n
	}
	yaml(200, "first")
	if n := whole(300, false); n < 200 || n > 250 {
		t.Fatalf("%d of 300 questions were answered", n)
	}
	yaml(200, "second")
	if n := whole(100, false); n > 50 {
		t.Errorf("after a reload %d of 100 questions beyond the limit were answered", n)
	}
	if n := whole(10, true); n != 10 {
		t.Errorf("after a reload %d of 10 questions with the cookie of before were answered", n)
	}
	yaml(201, "third")
	if n := whole(100, false); n != 100 {
		t.Errorf("with another limit %d of 100 questions were answered", n)
	}
}
