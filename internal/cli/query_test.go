package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/cli"
)

// TestQueryInterrupted ends a question when the person does not want to wait any
// longer, whatever it was waiting for.
func TestQueryInterrupted(t *testing.T) {
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, way := range []string{"--recurse", "--trace", "--validate"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _, _ = u.ReadFrom(make([]byte, 512)) // it has asked
			cancel()
		}()
		var out, errOut bytes.Buffer
		code := cli.Main(ctx, []string{"query", way, "@" + u.LocalAddr().String(), "www.example", "+time=60"}, strings.NewReader(""), &out, &errOut)
		cancel()
		if code != 1 || errOut.String() != "port53: error: interrupted\n" {
			t.Errorf("%s: code %d, %q", way, code, errOut.String())
		}
	}
}

// TestQueryNoType asks with a word behind the name that is no type, of a server that cannot be asked: the
// word is told of first, and the complaint, which is the same for both names, is printed once.
func TestQueryNoType(t *testing.T) {
	const want = "port53: hint: %s is not a known record type, so it is taken for a second name; " +
		"write an unknown type by number, such as TYPE65280\n" +
		"port53: error: no server has an address of the family that -4, -6 or -b leaves\nport53: hint: name another server: @SERVER\n"
	for _, word := range []string{"FOO", "foo"} {
		var out, errOut bytes.Buffer
		code := cli.Main(t.Context(), []string{"query", "@127.0.0.1", "-6", "www.example", word}, strings.NewReader(""), &out, &errOut)
		if text := fmt.Sprintf(want, word); code != 2 || errOut.String() != text {
			t.Errorf("%s: code %d, got\n%s\nwant\n%s", word, code, errOut.String(), text)
		}
	}
}

// TestBadPort gives addresses whose port is none: it is the port that the commands complain of.
func TestBadPort(t *testing.T) {
	for _, args := range []string{
		"serve --listen 127.0.0.1:99999", "lab --listen 127.0.0.1:99999", "doctor --probe [::1]:99999", "check 192.0.2.1:99999",
		"query @192.0.2.1:99999 www.example", "firewall show --role authoritative --port 99999",
	} {
		var out, errOut bytes.Buffer
		code := cli.Main(t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errOut)
		first, _, _ := strings.Cut(errOut.String(), "\n")
		if code != 2 && code != 3 || !strings.Contains(first, "99999") || !strings.Contains(first, "65535") {
			t.Errorf("%s: code %d, %s", args, code, errOut.String())
		}
	}
}

// TestReadingInterrupted ends a command that reads what to ask from somebody who does not write.
func TestReadingInterrupted(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Skipf("no pipe: %v %s", err, out)
	}
	for args, want := range map[string]int{
		"query -f -": 1, "query -f " + pipe: 1,
		"check --file - --only PORT-UDP": 3, "check --file " + pipe + " --only PORT-UDP": 3,
	} {
		t.Run(strings.Fields(args)[0]+"_"+filepath.Base(strings.Fields(args)[2]), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			in, w := io.Pipe()
			defer w.Close()
			ended := make(chan int, 1)
			var out, errOut bytes.Buffer
			go func() { ended <- cli.Main(ctx, strings.Fields(args), in, &out, &errOut) }()
			if strings.Contains(args, " - ") || strings.HasSuffix(args, " -") {
				_, _ = w.Write([]byte("# nothing\n")) // it reads
			}
			cancel()
			select {
			case code := <-ended:
				if code != want || !strings.Contains(errOut.String(), "interrupted") {
					t.Errorf("code %d, %q", code, errOut.String())
				}
			case <-time.After(patience):
				t.Error("it does not end")
			}
		})
	}
}
