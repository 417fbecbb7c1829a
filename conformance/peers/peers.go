// Package peers starts authoritative name servers as child processes: port53
// and those that it is compared with, each with a configuration of its own
// below one folder, on loopback unless told otherwise. A server is ready when
// it has answered for every zone; what a test started, and nothing else, is
// ended by [Server.Stop].
//
// The configurations make the servers alike where their defaults differ only in
// taste: minimal responses, UDP answers of at most 1232 octets, no rate limits,
// one worker.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"port53/conformance/probe"
)

// The servers that this package can start.
const (
	Port53 = "port53"
	NSD    = "nsd"
	Knot   = "knot"
	BIND   = "bind"
	PDNS   = "pdns"
)

// MaxUDP is the largest UDP answer that every server is told to send.
const MaxUDP = 1232

// A Zone is a zone to serve, from an absolute path.
type Zone struct {
	Name, File string
}

// Options say how a server is started.
type Options struct {
	Dir     string         // the server's own folder, which must exist
	Addr    netip.AddrPort // where to listen; the zero value: a free loopback port
	Zones   []Zone
	Binary  string   // the program; empty: the usual one, found in PATH
	Command []string // started as it is, without a configuration, where set
	Env     []string // added to the environment
	// Config replaces port53's policy and whatever else follows its zones; the
	// empty string switches rate limiting off.
	Config string
	// Run runs a function where the server and the clients that wait for it
	// belong, as in a network namespace; nil: right here.
	Run func(func() error) error
	// Unready is set where nobody is to wait for the zones.
	Unready bool
}

// A Server is one running server.
type Server struct {
	Kind string
	Addr netip.AddrPort
	Log  string        // the file with what it printed
	Conf string        // its configuration file
	Took time.Duration // from start until every zone answered

	cmd  *exec.Cmd
	done chan struct{}
	run  func(func() error) error
}

// programs is the executable of each server, as Debian installs it.
var programs = map[string]string{NSD: "nsd", Knot: "knotd", BIND: "named", PDNS: "pdns_server"}

// Find returns the path of a peer's program, also where the folders of system
// programs are not in PATH, or an error that names what is missing.
func Find(program string) (string, error) {
	if name, ok := programs[program]; ok {
		program = name
	}
	if p, err := exec.LookPath(program); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin"} {
		p := filepath.Join(dir, program)
		if info, err := os.Stat(p); err == nil && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", program)
}

// startTries is how often a server is started before the failure counts: the
// free port that was found may be taken by another process meanwhile.
const startTries = 3

// Start starts a server and returns when it has answered for all its zones. On
// failure the error holds the end of what the server printed, and nothing is
// left running.
func Start(ctx context.Context, kind string, o Options) (*Server, error) {
	if o.Run == nil {
		o.Run = func(f func() error) error { return f() }
	}
	fixed := o.Addr.IsValid()
	var err error
	for range startTries {
		if !fixed {
			if o.Addr, err = FreePort(); err != nil {
				return nil, err
			}
		}
		var s *Server
		if s, err = start(ctx, kind, o); err == nil {
			return s, nil
		}
		if fixed || ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func start(ctx context.Context, kind string, o Options) (*Server, error) {
	s := &Server{
		Kind: kind, Addr: o.Addr, run: o.Run, done: make(chan struct{}),
		Log: filepath.Join(o.Dir, kind+".log"), Conf: filepath.Join(o.Dir, kind+".conf"),
	}
	args := o.Command
	if args == nil {
		var err error
		if args, err = configure(kind, s.Conf, o); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(s.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = log, log, o.Dir
	s.cmd.Env = append(os.Environ(), o.Env...)
	// A group of its own, so that ending it ends its children too; and should
	// the tester die, the server is told to end.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	began := time.Now()
	if err := o.Run(s.cmd.Start); err != nil {
		return nil, err
	}
	go func() { s.cmd.Wait(); close(s.done) }()
	if o.Unready {
		return s, nil
	}
	if err := s.Ready(ctx, o.Zones); err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s: %w\n%s", kind, err, s.Tail())
	}
	s.Took = time.Since(began)
	return s, nil
}

// readyPoll is the pause between two questions to a server that is starting.
const readyPoll = 5 * time.Millisecond

// Ready asks the server for the SOA of each zone until all have been answered
// with authority.
func (s *Server) Ready(ctx context.Context, zones []Zone) error {
	c := &probe.Client{Server: s.Addr, Timeout: 200 * time.Millisecond, Tries: 1, Run: s.run}
	defer c.Close()
	for _, z := range zones {
		name, err := probe.Name(z.Name)
		if err != nil {
			return err
		}
		q := &probe.Question{Name: name, Type: probe.TypeSOA, ID: 53}
		last := "no reply"
		for {
			m, err := c.Ask(q)
			if err == nil && m.Rcode == probe.NoError && m.AA && (len(m.Answer) > 0 || m.TC) {
				break
			}
			if err == nil {
				last = m.String()
			}
			select {
			case <-s.done:
				return errors.New("the server has ended")
			case <-ctx.Done():
				return fmt.Errorf("zone %s is not served: %s", z.Name, last)
			case <-time.After(readyPoll):
			}
		}
	}
	return nil
}

// Stop ends the server: it is asked to, and killed with its children where it
// is still there after two seconds.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(2 * time.Second):
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.done
}

// Signal sends a signal to the server's first process.
func (s *Server) Signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// Ended is closed when the server's first process has ended.
func (s *Server) Ended() <-chan struct{} { return s.done }

// ExitCode returns the code that the server ended with, or -1.
func (s *Server) ExitCode() int { return s.cmd.ProcessState.ExitCode() }

// Tail returns the last lines of what the server printed.
func (s *Server) Tail() string {
	text, err := os.ReadFile(s.Log)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return strings.TrimSpace(string(text))
}

// Memory returns the bytes of memory that the server's processes hold, pages
// that several of them share counted once.
func (s *Server) Memory() (int64, error) {
	var sum int64
	for _, pid := range s.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue
			}
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				kib, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					return 0, err
				}
				sum += kib << 10
			}
		}
	}
	if sum == 0 {
		return 0, errors.New("the server has ended")
	}
	return sum, nil
}

// CPU returns the time that the server's processes have spent in user space and
// in the kernel.
func (s *Server) CPU() (user, system time.Duration) {
	const tick = time.Second / 100 // USER_HZ, fixed on Linux
	for _, pid := range s.pids() {
		if f := statFields(pid); f != nil {
			u, _ := strconv.ParseInt(f[11], 10, 64)
			k, _ := strconv.ParseInt(f[12], 10, 64)
			user, system = user+time.Duration(u)*tick, system+time.Duration(k)*tick
		}
	}
	return user, system
}

// pids returns the processes of the server's group.
func (s *Server) pids() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := statFields(pid); f != nil && f[2] == strconv.Itoa(s.cmd.Process.Pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// statFields returns the fields of /proc/PID/stat from the state on, or nil.
func statFields(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	i := bytes.LastIndexByte(text, ')')
	f := strings.Fields(string(text[i+1:]))
	if len(f) < 13 {
		return nil
	}
	return f
}

// FreePort finds a loopback port that is free for both UDP and TCP now. It is not one of those that the kernel
// gives to whoever asks, of which another test could get it before the server does.
func FreePort() (netip.AddrPort, error) {
	for range 1000 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(10000+rand.IntN(20000)))
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			continue
		}
		t, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
		u.Close()
		if err == nil {
			t.Close()
			return addr, nil
		}
	}
	return netip.AddrPort{}, errors.New("no loopback port is free for both UDP and TCP")
}
