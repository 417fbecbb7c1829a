package cli_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"port53/internal/dnstest"
	"port53/internal/wire"
)

// exitCode runs a command and wants the exit code given first: exit 2 port53 serve.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// freePort sets the variable named to a port that is free.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	port, err := dnstest.FreePort()
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// busyPort keeps a port busy until the script ends and sets the variable named to it.
func busyPort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// waitFor asks PORT NAME TYPE over UDP until there is an answer: the server is up.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := exchange(args[0], args[1], args[2], patience); err != nil {
		ts.Fatalf("%v", err)
	}
}

// ask asks PORT NAME TYPE and wants the reply in words to hold TEXT, which is what
// is left of the line.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	expectReply(ts, neg, 0, args)
}

// resolve does as ask does, and wants recursion.
func resolve(ts *testscript.TestScript, neg bool, args []string) {
	expectReply(ts, neg, wire.FlagRD, args)
}

func expectReply(ts *testscript.TestScript, neg bool, flags uint16, args []string) {
	text, err := exchangeFlags(args[0], args[1], args[2], flags, patience)
	ts.Check(err)
	want := strings.Join(args[3:], " ")
	if strings.Contains(text, want) == neg {
		ts.Fatalf("%s %s: got\n%s\nwant (not: %v) %q", args[1], args[2], text, neg, want)
	}
}

// until asks as ask does until the reply holds TEXT.
func until(ts *testscript.TestScript, _ bool, args []string) {
	want := strings.Join(args[3:], " ")
	for end := time.Now().Add(patience); ; {
		text, err := exchange(args[0], args[1], args[2], patience)
		ts.Check(err)
		if strings.Contains(text, want) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s %s: got\n%s\nwant %q", args[1], args[2], text, want)
		}
		time.Sleep(10 * time.Millisecond) // between questions
	}
}

func exchange(port, name, kind string, patience time.Duration) (string, error) {
	return exchangeFlags(port, name, kind, 0, patience)
}

func exchangeFlags(port, name, kind string, flags uint16, patience time.Duration) (string, error) {
	owner, err := wire.ParseName(name)
	if err != nil {
		return "", err
	}
	t, ok := wire.ParseType(kind)
	if !ok {
		return "", errors.New("no type " + kind)
	}
	msg := dnstest.Question{Name: owner, Type: t, Class: wire.ClassIN}.Message()
	binary.BigEndian.PutUint16(msg[2:], binary.BigEndian.Uint16(msg[2:])|flags)
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", err
	}
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(p)))
	reply := make([]byte, 65535)
	for end := time.Now().Add(patience); ; {
		c, err := net.DialUDP("udp4", nil, to)
		if err != nil {
			return "", err
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(msg)
		n, err := c.Read(reply) // a port that nobody has yet gives an error at once
		c.Close()
		if err == nil && n > 12 && bytes.Equal(reply[:2], msg[:2]) {
			return dnstest.Format(reply[:n])
		}
		if time.Now().After(end) {
			return "", errors.New("no answer on port " + port)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(10 * time.Millisecond) // refused at once: do not spin
		}
	}
}

func signalReload(ts *testscript.TestScript, _ bool, _ []string) { signalAll(ts, syscall.SIGHUP) }
func signalTerm(ts *testscript.TestScript, _ bool, _ []string)   { signalAll(ts, syscall.SIGTERM) }

func signalAll(ts *testscript.TestScript, s syscall.Signal) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(s))
	}
}
