package conformance_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper is what systemd is for a service with FileDescriptorStoreMax: it starts the server,
// hears what it says, and keeps the sockets that it is given for the next one.
type keeper struct {
	t      *testing.T
	config string
	at     *net.UnixConn
	kept   []*os.File
}

// newKeeper listens where servers say how they are.
func newKeeper(t *testing.T, config string) *keeper {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{t: t, config: config, at: c}
	t.Cleanup(func() {
		c.Close()
		for _, f := range k.kept {
			f.Close()
		}
	})
	return k
}

// start starts a server with the sockets that are kept, and returns when it is ready.
func (k *keeper) start(bin string) *exec.Cmd {
	k.t.Helper()
	// The number of the process that they are for is known in it alone.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", bin, "serve", "--config", k.config)
	names := strings.TrimSuffix(strings.Repeat("port53:", len(k.kept)), ":")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+k.at.LocalAddr().String(), fmt.Sprintf("LISTEN_FDS=%d", len(k.kept)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = k.kept
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	fresh := len(k.kept) == 0
	for {
		b, oob := make([]byte, 4096), make([]byte, 4096)
		if err := k.at.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			k.t.Fatal(err)
		}
		n, rights, _, _, err := k.at.ReadMsgUnix(b, oob)
		if err != nil {
			k.t.Fatalf("%v\n%s", err, log.String())
		}
		messages, err := syscall.ParseSocketControlMessage(oob[:rights])
		if err != nil {
			k.t.Fatal(err)
		}
		for _, m := range messages {
			fds, err := syscall.ParseUnixRights(&m)
			if err != nil {
				k.t.Fatal(err)
			}
			for _, fd := range fds {
				if fresh && !strings.HasPrefix(string(b[:n]), "BARRIER=1") { // systemd drops what it has already
					unix.CloseOnExec(fd)
					k.kept = append(k.kept, os.NewFile(uintptr(fd), "kept"))
				} else {
					unix.Close(fd)
				}
			}
		}
		if strings.HasPrefix(string(b[:n]), "FDSTOREREMOVE=1") {
			for _, f := range k.kept {
				f.Close()
			}
			k.kept, fresh = nil, true
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			return cmd
		}
	}
}

// The load of TestHandover.
const (
	handoverRate    = 20_000 // questions a second
	handoverClients = 8
	// handoverWindow is how many questions of a client may be without an answer: what is asked while a busy machine takes
	// longer than usual to start a server would not fit into its socket, whose buffer holds some 10,000.
	handoverWindow = 1000
	// handoverRest is how long each server is asked before the next takes over.
	handoverRest = 1500 * time.Millisecond
)

// An asker asks without a break, and never twice, at its part of the rate; or as fast as the machine allows.
type asker struct {
	c            *net.UDPConn
	asked, heard atomic.Int64
	held         int           // rounds in which it asked less, since too much was without an answer
	silence      time.Duration // the longest between two answers
}

var handoverQuestion = append([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3}, "set\x04test\x00\x00\x10\x00\x01"...)

// ask asks until stop is closed.
func (a *asker) ask(t *testing.T, stop <-chan struct{}) {
	question := slices.Clone(handoverQuestion)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for last, due := time.Now(), 0.0; ; {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			due += now.Sub(last).Seconds() * handoverRate / handoverClients
			last = now
		}
		if due = min(due, handoverWindow); due > float64(handoverWindow-a.asked.Load()+a.heard.Load()) {
			due = float64(handoverWindow - a.asked.Load() + a.heard.Load())
			a.held++
		}
		for ; due >= 1; due-- {
			binary.BigEndian.PutUint16(question, uint16(a.asked.Load()))
			if _, err := a.c.Write(question); err != nil {
				t.Errorf("ask: %v", err)
				return
			}
			a.asked.Add(1)
		}
	}
}

// hear counts answers until the connection's deadline.
func (a *asker) hear() {
	b := make([]byte, 4096)
	for last := time.Now(); ; {
		if _, err := a.c.Read(b); err != nil {
			return
		}
		now := time.Now()
		a.silence = max(a.silence, now.Sub(last))
		last = now
		a.heard.Add(1)
	}
}

// TestHandover restarts the server again and again as systemd does at an upgrade, from one version to the other if PORT53_OLD
// names another program, while clients ask 20,000 questions a second without asking twice: those that come meanwhile wait in the
// sockets. At most one in 100,000 is lost. A connection that is opened in between is served too.
func TestHandover(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "test.zone"), serialZone("test.", 1))
	addr := freeAddr(t)
	config := filepath.Join(dir, "port53.yaml")
	replace(t, config, fmt.Sprintf("role: authoritative\nlisten: [%q]\nzones: [{name: test, file: test.zone}]\nstate_dir: state\ncontrol: {socket: off}\nmetrics: {listen: off}\npolicy: {rate_limit: {enabled: false}}\n", addr))
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	programs := []string{bin, bin}
	if old := os.Getenv("PORT53_OLD"); old != "" {
		programs[0] = old
	}
	k := newKeeper(t, config)
	server := k.start(programs[0])
	askers := make([]*asker, handoverClients)
	stop := make(chan struct{})
	var asking, hearing sync.WaitGroup
	for i := range askers {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadBuffer(4 << 20); err != nil {
			t.Fatal(err)
		}
		askers[i] = &asker{c: c}
		asking.Go(func() { askers[i].ask(t, stop) })
		hearing.Go(askers[i].hear)
	}
	begun, restarts := time.Now(), scale(t, 6)
	for i := range restarts {
		time.Sleep(handoverRest)
		server = k.succeed(server, programs[(i+1)%2], addr)
	}
	time.Sleep(handoverRest)
	took := time.Since(begun)
	close(stop)
	asking.Wait()
	// What is still on its way comes before the answer to a last question of each client.
	var asked, heard, held int64
	var silence time.Duration
	for _, a := range askers {
		if _, err := a.c.Write(handoverQuestion); err != nil {
			t.Fatal(err)
		}
		a.asked.Add(1)
		if err := a.c.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	hearing.Wait()
	for _, a := range askers {
		asked, heard, held = asked+a.asked.Load(), heard+a.heard.Load(), held+int64(a.held)
		silence = max(silence, a.silence)
	}
	t.Logf("%d questions in %.1f s, %.0f a second, %d restarts, %d lost; the longest without an answer %.0f ms, held back %d times",
		asked, took.Seconds(), float64(asked)/took.Seconds(), restarts, asked-heard, float64(silence.Microseconds())/1000, held)
	if lost := asked - heard; lost*100_000 > asked {
		t.Errorf("%d of %d questions were lost", lost, asked)
	}
}

// succeed ends a server and starts the next, which has to serve a connection that was opened while there was none.
func (k *keeper) succeed(server *exec.Cmd, bin string, addr netip.AddrPort) *exec.Cmd {
	k.t.Helper()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		k.t.Fatalf("the old server: %v", err)
	}
	between, err := net.DialTimeout("tcp", addr.String(), time.Minute)
	if err != nil {
		k.t.Fatalf("connect while no server runs: %v", err)
	}
	defer between.Close()
	if _, err := between.Write(append([]byte{0, byte(len(handoverQuestion))}, handoverQuestion...)); err != nil {
		k.t.Fatal(err)
	}
	next := k.start(bin)
	if err := between.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		k.t.Fatal(err)
	}
	if _, err := io.ReadFull(between, make([]byte, 14)); err != nil {
		k.t.Errorf("answer over a connection that waited: %v", err)
	}
	return next
}

// TestHandoverElsewhere restarts a server whose configuration names a narrower address, at the
// same port, and then another one: nothing listens at the old one any more.
func TestHandoverElsewhere(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "test.zone"), serialZone("test.", 1))
	port := freeAddr(t).Port()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "port53.yaml")
	k := newKeeper(t, config)
	for _, at := range []string{"0.0.0.0", "127.0.0.1", "127.0.0.2"} {
		replace(t, config, fmt.Sprintf("role: authoritative\nlisten: [\"%s:%d\"]\nzones: [{name: test, file: test.zone}]\nstate_dir: state\ncontrol: {socket: off}\nmetrics: {listen: off}\n", at, port))
		server := k.start(bin)
		for _, to := range []string{"127.0.0.1", "127.0.0.2"} {
			c, err := net.Dial("tcp", net.JoinHostPort(to, fmt.Sprint(port)))
			if (err == nil) != (at == to || at == "0.0.0.0") {
				t.Errorf("listen: %s, connect to %s: %v", at, to, err)
			}
			if err == nil {
				c.Close()
			}
		}
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := server.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
