package fwrun

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/firewall"
)

func TestCutsOff(t *testing.T) {
	p := &firewall.Plan{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Closed: []firewall.Port{{Proto: "tcp", Number: 9153, Use: "metrics"}}}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	for connection, cut := range map[string]bool{
		"": false, "nonsense": false, "192.0.2.7 4000 192.0.2.53 22": false, "192.0.2.7 4000 192.0.2.53 53": true,
		"10.1.2.3 4000 192.0.2.53 53": false, "::ffff:10.1.2.3 4000 ::ffff:192.0.2.53 53": false, "10.1.2.3 4000 192.0.2.53 9153": true,
	} {
		if err := CutsOff(p, connection); (err != nil) != cut {
			t.Errorf("%q: %v", connection, err)
		}
	}
	const session = "192.0.2.7 4000 192.0.2.53 22"
	for added, in := range map[string]bool{
		"": false, "ufw allow 22": true, "ufw allow 22/tcp": true, "ufw limit OpenSSH": true, "ufw allow ssh": true,
		"ufw deny 22/tcp": false, "ufw allow 2222/tcp": false, "ufw allow out 22/tcp": false, "ufw allow from 192.0.2.0/24 to any port 22 proto tcp": true,
	} {
		if err := sshAllowed("Added user rules:\n"+added+"\n", session); (err == nil) != in {
			t.Errorf("%q: %v", added, err)
		}
	}
}

// TestChange has what iptables-restore is given make one set of the other: jumps are there
// once, chains that go are emptied first, and what is not ours is not mentioned.
func TestChange(t *testing.T) {
	saved := "*nat\n:PREROUTING ACCEPT [0:0]\n:PORT53-REDIRECT - [0:0]\n-A PREROUTING -j PORT53-REDIRECT\n-A PORT53-REDIRECT -p udp -j REDIRECT --to-ports 53\nCOMMIT\n" +
		"*filter\n:INPUT DROP [1:2]\n:PORT53-IN - [0:0]\n:DOCKER - [0:0]\n-A INPUT -j PORT53-IN\n-A INPUT -j DOCKER\n-A PORT53-IN -j RETURN\nCOMMIT\n"
	wanted := "*filter\n:PORT53-IN - [0:0]\n:PORT53-DNS - [0:0]\n-I INPUT 1 -j PORT53-IN\n-A PORT53-IN -p udp -j PORT53-DNS\nCOMMIT\n"
	want := "*filter\n:PORT53-IN - [0:0]\n:PORT53-DNS - [0:0]\n-A PORT53-IN -p udp -j PORT53-DNS\nCOMMIT\n" +
		"*nat\n-D PREROUTING -j PORT53-REDIRECT\n:PORT53-REDIRECT - [0:0]\n-X PORT53-REDIRECT\nCOMMIT\n"
	if got := change(ours(saved), wanted); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := ours(saved); strings.Contains(got, "DOCKER") || !strings.HasPrefix(got, "*filter") {
		t.Errorf("of ours:\n%s", got)
	}
	if got := change("", ""); got != "" {
		t.Errorf("nothing of nothing: %q", got)
	}
}

// TestExpireWaits has somebody wait before rules are applied: as long as it was told, and
// takes nothing back once they are confirmed.
func TestExpireWaits(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &System{State: dir}
		began := time.Now()
		if err := s.writeRecord(&record{Backend: firewall.Nftables, Until: began.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() {
			back, err := s.Expire(t.Context(), 30*time.Second)
			if err != nil {
				t.Error(err)
			}
			done <- back
		}()
		time.Sleep(45 * time.Second)
		if err := s.writeRecord(&record{Backend: firewall.Nftables}); err != nil { // confirmed
			t.Fatal(err)
		}
		if back := <-done; back || time.Since(began) < 30*time.Second {
			t.Errorf("taken back %v after %v", back, time.Since(began))
		}
	})
}
