package proof_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"port53/internal/fwrun"
	"port53/internal/proof"
)

// answerer answers all that comes with an rcode, and RA if it is to.
func answerer(t *testing.T, rcode, ra byte) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenPacket("udp", at.String())
	if err != nil {
		l.Close()
		t.Skip(err) // somebody has the port of the other protocol
	}
	t.Cleanup(func() { l.Close(); pc.Close() })
	answer := func(msg []byte) []byte {
		msg[2] |= 0x80
		msg[3] = rcode | ra
		return msg
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(answer(buf[:n]), from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var length [2]byte
			_, _ = io.ReadFull(c, length[:])
			msg := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(c, msg); err == nil {
				_, _ = c.Write(append(length[:], answer(msg)...))
			}
			c.Close()
		}
	}()
	return at
}

// TestProve has a server that answers everybody be found good where it is to, and violated where it is not; what
// cannot be done is unknown, once.
func TestProve(t *testing.T) {
	yes, no := func(netip.Addr) bool { return true }, func(netip.Addr) bool { return false }
	nobody := func(context.Context) (*fwrun.Stranger, error) { return nil, errors.New("no root") }
	socket := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	count := func(s *proof.Server) (map[proof.State]int, string) {
		n, text := map[proof.State]int{}, ""
		for _, l := range proof.Prove(t.Context(), s, proof.Options{Stranger: nobody}) {
			if l.Kind == "firewall" || l.Kind == "owner" {
				continue // of this machine
			}
			n[l.State]++
			text += l.String() + "\n"
		}
		return n, text
	}
	server := func(at netip.AddrPort, ask, recurse func(netip.Addr) bool) *proof.Server {
		return &proof.Server{
			Listen: []netip.AddrPort{at}, MayQuery: ask, MayRecurse: recurse, Recurses: true, UDPSize: 1232, Socket: socket,
			Zones: []proof.Zone{{Name: []byte("\x07example\x00"), MayQuery: ask, Transfer: no, Notify: no}},
		}
	}
	open, shut := answerer(t, 0, 0x80), answerer(t, 5, 0)
	if n, text := count(server(open, yes, yes)); n[proof.Violated] != 0 || n[proof.Unknown] != 1 || n[proof.Holds] != 5 {
		t.Errorf("a sound server: %v\n%s", n, text)
	}
	if n, text := count(server(open, no, no)); n[proof.Violated] != 4 {
		t.Errorf("a server that answers whom it should not: %v\n%s", n, text)
	}
	if n, text := count(server(shut, yes, yes)); n[proof.Violated] != 4 {
		t.Errorf("a server that answers nobody: %v\n%s", n, text)
	}
	if n, text := count(server(shut, no, no)); n[proof.Violated] != 0 {
		t.Errorf("a server that is to answer nobody: %v\n%s", n, text)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if n, text := count(server(shut, no, no)); n[proof.Violated] != 1 || !strings.Contains(text, "seen mode 0666; chmod 660 "+socket) {
		t.Errorf("a socket that all write: %v\n%s", n, text)
	}
}
