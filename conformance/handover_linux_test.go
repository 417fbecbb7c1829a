package conformance_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// TestHandover restarts the server again and again as systemd does at an upgrade, while clients
// ask without asking twice: the questions that come meanwhile wait in the sockets. A connection
// that is opened in between is served too.
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
	k := newKeeper(t, config)
	server := k.start(bin)

	clients := make([]*net.UDPConn, 8)
	for i := range clients {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadBuffer(4 << 20); err != nil {
			t.Fatal(err)
		}
		clients[i] = c
	}
	stop := make(chan struct{})
	var asking, hearing sync.WaitGroup
	var asked, heard [8]int
	for i, c := range clients {
		question := append([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3}, "set\x04test\x00\x00\x10\x00\x01"...)
		asking.Go(func() {
			tick := time.NewTicker(4 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				for range 10 {
					binary.BigEndian.PutUint16(question, uint16(asked[i]))
					if _, err := c.Write(question); err != nil {
						t.Errorf("ask: %v", err)
						return
					}
					asked[i]++
				}
			}
		})
		hearing.Go(func() {
			b := make([]byte, 4096)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				heard[i]++
			}
		})
	}
	restarts := scale(t, 5)
	for range restarts {
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := server.Wait(); err != nil {
			t.Fatalf("the old server: %v", err)
		}
		between, err := net.DialTimeout("tcp", addr.String(), time.Minute)
		if err != nil {
			t.Fatalf("connect while no server runs: %v", err)
		}
		question := append([]byte{0, 28, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3}, "set\x04test\x00\x00\x10\x00\x01"...)
		question[1] = byte(len(question) - 2)
		if _, err := between.Write(question); err != nil {
			t.Fatal(err)
		}
		server = k.start(bin)
		if err := between.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(between, make([]byte, 14)); err != nil {
			t.Errorf("answer over a connection that waited: %v", err)
		}
		between.Close()
	}
	close(stop)
	asking.Wait()
	total := func(of [8]int) (n int) {
		for _, v := range of {
			n += v
		}
		return n
	}
	// What is still on its way comes before the answer to a last question of each client.
	for i, c := range clients {
		if _, err := c.Write(append([]byte{255, 255, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3}, "set\x04test\x00\x00\x10\x00\x01"...)); err != nil {
			t.Fatal(err)
		}
		asked[i]++
		if err := c.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	hearing.Wait()
	lost := total(asked) - total(heard)
	t.Logf("%d questions, %d restarts, %d lost", total(asked), restarts, lost)
	if lost*100_000 > total(asked) {
		t.Errorf("%d of %d questions were lost", lost, total(asked))
	}
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
