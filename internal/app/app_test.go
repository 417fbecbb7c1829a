package app_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/dnstest"
	"port53/internal/wire"
)

const zoneText = "$TTL 60\n@ SOA ns admin %d 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.%d\n"

// running is an app that serves a folder's configuration until the test ends.
type running struct {
	*testing.T
	*app.App
	dir    string
	reload chan os.Signal
	stop   context.CancelFunc
	done   chan error
}

// write writes a file of the configuration's folder; each has a time of its own.
func (r *running) write(name, text string) {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
	stamp += time.Second
	at := time.Unix(1700000000, 0).Add(stamp)
	if err := os.Chtimes(path, at, at); err != nil {
		r.Fatal(err)
	}
}

// read returns what a file of the configuration's folder holds.
func (r *running) read(name string) string {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

var stamp time.Duration

// start starts a server with more in its configuration, and directories beside that.
func start(t *testing.T, extra string, dirs ...string) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	for _, dir := range []string{r.dir, filepath.Dir(r.dir)} {
		if err := os.Chmod(dir, 0o777); err != nil { // whoever the server becomes reads and cleans up here
			t.Fatal(err)
		}
	}
	for _, dir := range dirs {
		if err := os.Mkdir(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write("test.zone", fmt.Sprintf(zoneText, 1, 1))
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\n"+
		"zones: [{name: test, file: test.zone}]\n"+extra)
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	return r
}

// serve serves what the configuration in the folder says, until the test ends, and logs
// to w. The error is why it does not start.
func (r *running) serve(w io.Writer) error {
	r.Helper()
	c, err := config.Load(filepath.Join(r.dir, "port53.yaml"))
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	if r.App, err = app.New(ctx, app.Options{Config: c, Log: slog.New(slog.NewTextHandler(w, nil))}); err != nil {
		cancel()
		return err
	}
	done := make(chan error, 1)
	r.done = done
	go func() { done <- r.App.Run(ctx, r.reload) }()
	r.Cleanup(func() {
		cancel()
		if err, open := <-done; open && err != nil {
			r.Errorf("ended with %v", err)
		}
	})
	return nil
}

// end stops the server, and waits for its end.
func (r *running) end() {
	r.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.Errorf("ended with %v", err)
	}
	close(r.done)
}

// ask sends a question over network and returns the reply in words, or "" for none.
func (r *running) ask(network, line string) string {
	r.Helper()
	return r.askAt(network, r.Addrs()[0].String(), line)
}

func (r *running) askAt(network, addr, line string) string {
	r.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	msg := dnstest.ParseQuestion(r, line).Message()
	reply := make([]byte, 65535)
	var n int
	if network == "tcp" {
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
		if _, err := io.ReadFull(c, reply[:2]); err != nil {
			return ""
		}
		n = int(binary.BigEndian.Uint16(reply))
		_, err = io.ReadFull(c, reply[:n])
	} else {
		_, _ = c.Write(msg)
		n, err = c.Read(reply)
	}
	if err != nil {
		return ""
	}
	text, err := dnstest.Format(reply[:n])
	if err != nil {
		r.Error(err)
	}
	return text
}

func (r *running) want(line, part string) {
	r.Helper()
	for _, network := range []string{"udp", "tcp"} {
		if got := r.ask(network, line); !strings.Contains(got, part) {
			r.Errorf("%s over %s: got %q, want %q", line, network, got, part)
		}
	}
}

func TestServeReloadStop(t *testing.T) {
	r := start(t, "metrics: {listen: off}\n")
	r.want("ns.test. A", "192.0.2.1")
	r.write("test.zone", fmt.Sprintf(zoneText, 2, 2))
	if result, err := r.Reload(context.Background()); err != nil || result.(*app.Reloaded).Loaded != 1 {
		t.Fatalf("reload: %+v %v", result, err)
	}
	r.want("ns.test. A", "192.0.2.2")

	// A broken zone keeps the old one, a broken configuration keeps everything.
	r.write("test.zone", "$TTL 60\n@ NONSENSE\n")
	if _, err := r.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "test.zone:2:3") {
		t.Errorf("broken zone: %v", err)
	}
	r.want("ns.test. A", "192.0.2.2")
	r.write("port53.yaml", "role: authoritative\nzones: 5\n")
	if _, err := r.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "port53.yaml:2:8") {
		t.Errorf("broken configuration: %v", err)
	}
	r.want("ns.test. A", "192.0.2.2")
	if st, err := r.Status("", ""); err != nil || st.(app.Status).Healthy {
		t.Errorf("status %+v %v", st, err)
	}

	// New settings count at once; what needs a restart is told.
	r.write("test.zone", fmt.Sprintf(zoneText, 3, 3))
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.2:0\"]\nmetrics: {listen: off}\ncontrol: {socket: control.sock}\n"+
		"zones: [{name: test, file: test.zone}]\npolicy: {deny: [127.0.0.0/8]}\n")
	result, err := r.Reload(context.Background())
	if err != nil || strings.Join(result.(*app.Reloaded).Restart, " ") != "listen" {
		t.Fatalf("reload: %+v %v", result, err)
	}
	r.want("ns.test. A", "REFUSED")

	r.stop()
	err = <-r.done
	close(r.done)
	if err != nil {
		t.Errorf("stopped with %v", err)
	}
	if c, err := net.Dial("tcp", r.Addrs()[0].String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
	if _, err := os.Stat(filepath.Join(r.dir, "control.sock")); err == nil {
		t.Error("the control socket is still there")
	}
}

// metrics returns what the server's metrics tell.
func metrics(t *testing.T, r *running) string {
	t.Helper()
	resp, err := http.Get("http://" + r.Metrics().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMetricsTell(t *testing.T) {
	r := start(t, "metrics: {listen: \"127.0.0.1:0\"}\n")
	r.want("ns.test. A", "NOERROR")
	text := metrics(t, r)
	for _, want := range []string{
		`port53_queries_total{transport="udp"} 1`, `port53_queries_total{transport="tcp"} 1`,
		`port53_zone_serial{zone="test."} 1`, `port53_zones{state="served"} 1`, `port53_last_reload_success 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

func TestQueryLog(t *testing.T) {
	r := start(t, "metrics: {listen: off}\nstate_dir: state\nlog: {queries: json, queries_file: queries.log}\n"+keysYAML)
	r.write("port53.yaml", strings.Replace(r.read("port53.yaml"), "file: test.zone", "file: test.zone, allow_transfer: [127.0.0.1], insecure: true, updates: [{key: ddns, names: ['*']}]", 1))
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("NS.test. A", "NOERROR")
	r.exchange("127.0.0.1:0", message(1, wire.OpcodeQuery, wire.TypeAXFR))
	r.exchange("127.0.0.1:0", sign(&wrong, message(1, wire.OpcodeQuery, wire.TypeAXFR), time.Now()))
	r.exchange("127.0.0.1:0", message(1, wire.OpcodeNotify, wire.TypeSOA))
	r.exchange("127.0.0.1:0", sign(&ddns, update(1, "one"), time.Now()))
	r.stop()
	<-r.done
	close(r.done)
	text := r.read("queries.log")
	for want, times := range map[string]int{
		`"name":"NS.test.","class":"IN","type":"A","rcode":"NOERROR"`: 2, // as it was asked
		`"name":"test.","class":"IN","type":"AXFR","rcode":"NOERROR"`: 1,
		`"name":"test.","class":"IN","type":"AXFR","rcode":"NOTAUTH"`: 1,
		`"name":"test.","class":"IN","type":"SOA","rcode":"REFUSED"`:  1, // NOTIFY
		`"name":"test.","class":"IN","type":"SOA","rcode":"NOERROR"`:  1, // UPDATE
	} {
		if strings.Count(text, want) != times {
			t.Errorf("not %d lines with %s:\n%s", times, want, text)
		}
	}
}

// A service manager is told when the server is ready, reloads and stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	r := start(t, "metrics: {listen: off}\n")
	expect := func(want string) {
		t.Helper()
		b := make([]byte, 256)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Errorf("got %q %v, want %q", b[:n], err, want)
		}
	}
	expect("FDSTORE=1\nFDNAME=port53\nFDPOLL=0")
	expect("READY=1")
	r.reload <- syscall.SIGHUP
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1")
	r.stop()
	expect("STOPPING=1")
}

func TestCookieSecrets(t *testing.T) {
	r := start(t, "metrics: {listen: off}\n")
	r.write("secrets", strings.Repeat("0f", 16)+"\n")
	if err := os.Chmod(filepath.Join(r.dir, "secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\ncontrol: {socket: control.sock}\n"+
		"zones: [{name: test, file: test.zone}]\nedns: {cookie_secrets_file: secrets}\n")
	if _, err := r.Reload(context.Background()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "secrets"), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "32 hexadecimal digits") {
		t.Errorf("bad secret: %v", err)
	}
	r.want("ns.test. A", "NOERROR")
}

// The test's own binary is run again to give up root, which cannot be taken back.
func TestGivesUpRoot(t *testing.T) {
	needRoot(t)
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		runChild(t, "TestGivesUpRoot")
		return
	}
	r := start(t, "metrics: {listen: off}\nuser: nobody\nstate_dir: state\n")
	r.want("ns.test. A", "NOERROR")
	if uid, gid := os.Getuid(), os.Getgid(); uid == 0 || gid == 0 || os.Geteuid() == 0 {
		t.Errorf("still user %d, group %d", uid, gid)
	}
	groups, err := os.Getgroups()
	if err != nil || len(groups) > 1 {
		t.Errorf("groups %v %v", groups, err)
	}
}

// Port 53 without the right to it is one clear error.
func TestPort53NeedsARight(t *testing.T) {
	needRoot(t)
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err != nil || strings.TrimSpace(string(text)) != "1024" {
		t.Skip("every user may bind port 53 here")
	}
	if os.Getenv("PORT53_TEST_CHILD") == "" {
		runChild(t, "TestPort53NeedsARight")
		return
	}
	if err := syscall.Setuid(65534); err != nil {
		t.Fatal(err)
	}
	_, err := app.New(context.Background(), app.Options{Config: &config.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.77:53")}}})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.77:53") || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
}

// TestQueryLogIsReopened moves the query log away, as logrotate does: after a reload, also one
// that fails for another reason, queries go to a file of the old name. If there can be none,
// they go on in the file that was moved.
func TestQueryLogIsReopened(t *testing.T) {
	r := start(t, "metrics: {listen: off}\nlog: {queries: text, queries_file: q/log}\n", "q")
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(r.dir, from), filepath.Join(r.dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	has := func(file, name string) {
		t.Helper()
		until(t, name+" in "+file, func() string { return r.read(file) }, func() bool { return strings.Count(r.read(file), " "+name+" IN A") == 2 })
	}
	r.want("one.test. A", "NXDOMAIN")
	has("q/log", "one.test.")
	rename("q/log", "q/log.1")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want("two.test. A", "NXDOMAIN")
	has("q/log", "two.test.")
	rename("q/log", "q/log.2")
	r.write("port53.yaml", "nonsense")
	if _, err := r.Reload(t.Context()); err == nil {
		t.Error("nonsense was taken")
	}
	r.want("three.test. A", "NXDOMAIN")
	has("q/log", "three.test.")
	rename("q", "moved")
	r.reload <- syscall.SIGHUP
	until(t, "a reload", func() string { return "" }, func() bool { return len(r.reload) == 0 })
	_, _ = r.Reload(t.Context()) // which waits for the one before
	r.want("four.test. A", "NXDOMAIN")
	has("moved/log", "four.test.")
}
