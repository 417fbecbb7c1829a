package netif_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"port53/internal/netif"
)

// inNamespace runs the test in a network of its own, and reports whether this is there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("PORT53_TEST_CHILD") != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PORT53_TEST_CHILD=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		t.Skip("only root has a network of its own")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Skipf("ip %v: %v %s", args, err, out)
	}
}

// TestWatch has addresses and links come and go: each is told, and listed.
func TestWatch(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{}, 100)
	if err := netif.Watch(ctx, func() { told <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	list := func() []netif.Address {
		all, err := netif.List()
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	ip(t, "link", "set", "lo", "up")
	ip(t, "link", "add", "lan0", "type", "veth", "peer", "name", "peer0")
	ip(t, "link", "set", "lan0", "up")
	for _, step := range []struct {
		args []string
		want string // prefixes of lan0 that are there
		has  bool
	}{
		{[]string{"addr", "add", "198.51.100.1/24", "dev", "lan0"}, "198.51.100.0/24", true},
		{[]string{"addr", "add", "2001:db8:1::5/64", "dev", "lan0", "nodad"}, "2001:db8:1::/64", true},
		{[]string{"addr", "del", "2001:db8:1::5/64", "dev", "lan0"}, "2001:db8:1::/64", false},
		{[]string{"addr", "add", "2001:db8:2::5/64", "dev", "lan0", "nodad"}, "2001:db8:2::/64", true},
		{[]string{"link", "del", "lan0"}, "198.51.100.0/24", false},
	} {
		for len(told) > 0 {
			<-told
		}
		ip(t, step.args...)
		want := netip.MustParsePrefix(step.want)
		for end := time.After(time.Minute); slices.Contains(netif.Prefixes(list(), "lan0"), want) != step.has; {
			select {
			case <-told:
			case <-end:
				t.Fatalf("%v: lan0 has %v", step.args, netif.Prefixes(list(), "lan0"))
			}
		}
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Errorf("%v was not told", step.args)
		}
	}
	if all := list(); !netif.Has(all, netip.MustParseAddr("127.0.0.53")) || netif.Has(all, netip.MustParseAddr("198.51.100.1")) || !netif.Has(all, netip.MustParseAddr("0.0.0.0")) {
		t.Errorf("addresses: %v", all)
	}
}
