// Package netns makes a network namespace that lives as long as the process
// holds it: nothing of it is left behind, whatever ends the process. What is
// started or opened within [Namespace.Do] belongs to it, sockets from then on
// from anywhere in the process.
//
// Loopback is up, and every address of [Many] is local: a client may ask from
// any of them, so that a flood from thousands of networks needs no more than
// that.
package netns

import (
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"port53/conformance/peers"
)

// Many are addresses that are all local within a namespace.
var Many = netip.MustParsePrefix("10.0.0.0/8")

// Server is an address for a server, outside of [Many].
var Server = netip.MustParseAddr("172.31.53.53")

// A Namespace is one network namespace, held by an open file.
type Namespace struct {
	home, inside int // files: where the process is at home, and the namespace
}

// thisNamespace is the namespace of the thread that opens it.
const thisNamespace = "/proc/thread-self/ns/net"

// New makes a namespace. It needs root and iproute2.
func New() (*Namespace, error) {
	n := &Namespace{}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	if n.home, err = unix.Open(thisNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	defer unix.Setns(n.home, unix.CLONE_NEWNET)
	if n.inside, err = unix.Open(thisNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	return n, configure()
}

func configure() error {
	ip, err := peers.Find("ip")
	if err != nil {
		return err
	}
	for _, args := range []string{
		"link set lo up",
		"route add local " + Many.String() + " dev lo",
		"addr add " + Server.String() + "/32 dev lo",
	} {
		if out, err := exec.Command(ip, strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// Do runs f within the namespace, on a thread that is moved there for the time,
// and returns its error. Sockets that f opens and processes that it starts
// belong to the namespace; goroutines that it starts do not.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(n.inside, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	defer func() {
		if err := unix.Setns(n.home, unix.CLONE_NEWNET); err == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine
		}
	}()
	return f()
}

// On returns a function as [Namespace.Do], under which new processes run on one
// processor only.
func (n *Namespace) On(cpu int) func(func() error) error {
	return func(f func() error) error {
		return n.Do(func() error {
			var before, one unix.CPUSet
			if err := unix.SchedGetaffinity(0, &before); err != nil {
				return err
			}
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return fmt.Errorf("processor %d: %w", cpu, err)
			}
			defer unix.SchedSetaffinity(0, &before)
			return f()
		})
	}
}

// Close gives the namespace up. It is gone when the last socket and process in
// it are.
func (n *Namespace) Close() {
	unix.Close(n.inside)
	unix.Close(n.home)
}

// Network returns an address of the i-th network of 256 addresses within
// [Many].
func Network(i uint32) [4]byte { return [4]byte{10, byte(i >> 8), byte(i), 1} }
