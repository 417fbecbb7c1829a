package fwrun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"port53/internal/netif"
)

// A Stranger is a host that nobody knows: a network namespace, joined to this machine by a cable of its own.
// Its addresses are of the networks for tests of devices (RFC 2544, RFC 5180), which nobody has. It is gone
// when it is closed, or when the process ends.
type Stranger struct {
	Four, Six         netip.Addr // of the stranger; not valid: it has none of that family
	HereFour, HereSix netip.Addr // of this machine, at the other end
	Device            string     // this machine's end of the cable
	NoSix             string     // why there is no IPv6

	ns *namespace
	ip string
}

// NewStranger makes one.
func NewStranger(ctx context.Context) (*Stranger, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	ip, err := find("ip", "iproute2")
	if err != nil {
		return nil, err
	}
	all, err := netif.List()
	if err != nil {
		return nil, err
	}
	number, ok := freeNumber(all)
	if !ok {
		return nil, errors.New("all of 198.18.0.0/15 is in use on this machine")
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	s := &Stranger{ns: ns, ip: ip, Device: fmt.Sprintf("p53-%d", number)}
	if err := s.join(ctx, number); err != nil {
		s.Close()
		return nil, err
	}
	s.await()
	return s, nil
}

// freeNumber returns a number whose networks no interface has.
func freeNumber(all []netif.Address) (int, bool) {
	first := os.Getpid() % 250
	for i := range 250 {
		n := 1 + (first+i)%250
		net4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(n), 0}), 24)
		used := false
		for _, a := range all {
			used = used || net4.Overlaps(a.Prefix.Masked()) || a.Interface == fmt.Sprintf("p53-%d", n)
		}
		if !used {
			return n, true
		}
	}
	return 0, false
}

// join lays the cable, and gives both ends their addresses.
func (s *Stranger) join(ctx context.Context, number int) error {
	four := func(host byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(number), host}) }
	six := func(host byte) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0, 2, 0, 0, 0, byte(number), 15: host})
	}
	const far = "p53-far"
	if err := s.batch(ctx, "link add "+s.Device+" type veth peer name "+far+" netns /proc/self/fd/3",
		fmt.Sprintf("addr add %s/30 dev %s", four(1), s.Device), "link set "+s.Device+" up"); err != nil {
		return err
	}
	inside := func(lines ...string) error { return s.ns.do(func() error { return s.batch(ctx, lines...) }) }
	if err := inside(
		"link set lo up",
		fmt.Sprintf("addr add %s/30 dev %s", four(2), far),
		"link set "+far+" up",
		"route add default via "+four(1).String(),
	); err != nil {
		return err
	}
	s.Four, s.HereFour = four(2), four(1)
	err := s.batch(ctx, fmt.Sprintf("addr add %s/64 dev %s nodad", six(1), s.Device))
	if err == nil {
		err = inside(fmt.Sprintf("addr add %s/64 dev %s nodad", six(2), far), "route add ::/0 via "+six(1).String())
	}
	if err != nil {
		s.NoSix = strings.ReplaceAll(err.Error(), "\n", "; ")
		return nil
	}
	s.Six, s.HereSix = six(2), six(1)
	return nil
}

func (s *Stranger) batch(ctx context.Context, lines ...string) error {
	cmd := exec.CommandContext(ctx, s.ip, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.ns.inside)
	if out, err := cmd.CombinedOutput(); err != nil {
		return &CommandError{"ip -batch", string(out), err}
	}
	return nil
}

// await waits until packets go through, but not for a machine that answers none.
func (s *Stranger) await() {
	for _, a := range []netip.Addr{s.HereFour, s.HereSix} {
		for end := time.Now().Add(time.Second); a.IsValid() && time.Now().Before(end); {
			err := s.Do(func() error {
				c, err := net.DialTimeout("tcp", netip.AddrPortFrom(a, 9).String(), 100*time.Millisecond)
				if err == nil {
					c.Close()
				}
				return err
			})
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				break
			}
		}
	}
}

// Do runs f where sockets that it opens are the stranger's.
func (s *Stranger) Do(f func() error) error { return s.ns.do(f) }

// Close takes the cable away.
func (s *Stranger) Close() {
	_ = s.batch(context.Background(), "link del "+s.Device) // it goes with the namespace as well, some time later
	s.ns.close()
}
