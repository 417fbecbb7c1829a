package cli_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

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
