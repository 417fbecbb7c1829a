package cli_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"port53/internal/dnstest"
)

// limited has a command run with few descriptors.
func limited(cmd *exec.Cmd, files int) {
	cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, files), "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// TestFewDescriptors has clients take all the connections that they can get, of a server that
// may open few files: it says so at the start, and reloads, tells its status and its metrics,
// and answers over TCP all the same.
func TestFewDescriptors(t *testing.T) {
	log := t.TempDir() + "/log"
	s := serveWith(t, "tcp: {per_client: 1000, per_network: 1000, idle: 1h}\n", func(cmd *exec.Cmd) {
		f, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = f
		limited(cmd, 200)
	})
	for i := range 400 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(i%50), 1)}, Timeout: patience}
		c, err := d.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for i := range 3 {
		s.write("test.zone", fmt.Sprintf(testZone, i+2))
		if out, err := exec.Command("port53", "reload", "--config", s.dir+"/port53.yaml").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if st := s.status(); st.Zones[0].Serial != uint32(i+2) {
			t.Errorf("serial %d", st.Zones[0].Serial)
		}
		if s.metric("port53_tcp_connections") < 50 {
			t.Errorf("%v connections", s.metric("port53_tcp_connections"))
		}
	}
	c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	msg := dnstest.ParseQuestion(t, "ns.test. A").Message()
	if _, err := c.Write(append([]byte{0, byte(len(msg))}, msg...)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 512)); err != nil {
		t.Errorf("over TCP: %v", err)
	}
	s.terminate()
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), `level=WARN msg="the limit of open files is too low`) || !strings.Contains(string(text), "limit=200") {
		t.Errorf("%v: %s", err, text)
	}
}

// TestFewDescriptorsUpstream has questions wait for a server that does not answer: they leave
// descriptors for the rest.
func TestFewDescriptorsUpstream(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := serveWith(t, "", func(cmd *exec.Cmd) {
		dir := strings.TrimSuffix(cmd.Args[3], "/port53.yaml")
		text, err := os.ReadFile(cmd.Args[3])
		if err != nil {
			t.Fatal(err)
		}
		more := fmt.Sprintf("resolver: {allow: [127.0.0.0/8], validation: false, do_not_query: [], forward: [{zone: ., to: [%q]}], limits: {per_client: 5000, per_client_with_cookie: 5000}}\n", silent.LocalAddr())
		if err := os.WriteFile(dir+"/port53.yaml", []byte(strings.Replace(string(text), "role: authoritative", "role: internal-resolver", 1)+more), 0o644); err != nil {
			t.Fatal(err)
		}
		limited(cmd, 200)
	})
	c, err := net.Dial("udp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 1000 {
		_, _ = c.Write(dnstest.ParseQuestion(t, fmt.Sprintf("n%d.elsewhere. A +rd", i)).Message())
		if i%100 == 99 {
			time.Sleep(10 * time.Millisecond) // so that its socket's buffer holds
		}
	}
	for range 3 {
		if out, err := exec.Command("port53", "reload", "--config", s.dir+"/port53.yaml").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if s.metric("port53_resolver_questions_total") == 0 {
			t.Error("nothing was asked")
		}
	}
	s.terminate()
}
