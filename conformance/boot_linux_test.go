package conformance_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// envOrders has TestBootOrders try all orders.
const envOrders = "PORT53_ORDERS"

// bootEvents are what a machine may not have yet when its servers start, and how it comes. What the clock is to come to are the
// times of the signatures: a server whose clock is behind sees them as these are before they are made anew.
func bootEvents() map[rune]string {
	return map[rune]string{
		'a': "ip addr add 10.53.0.1/32 dev lan0",
		'6': "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip addr add fd53::1/128 dev lan0 nodad",
		'n': "ip addr add 10.9.0.1/32 dev lo",
		'c': "$PORT53 zone sign --keys keys --origin . --serial unixtime -o root.signed root; $PORT53 reload --socket upstream.sock",
	}
}

// TestBootOrders starts a resolver on a machine that has neither its IPv4 address, nor IPv6, nor a way to the root's server, nor
// the time; they come in one order or another. In the end it answers over both families, validated, without a restart.
func TestBootOrders(t *testing.T) {
	orders := []string{"a6nc", "cn6a", "6can", "nac6"}
	if os.Getenv(envOrders) != "" {
		orders = permutations("a6nc")
	}
	for _, order := range orders {
		t.Run(order, func(t *testing.T) {
			e := newExposed(t)
			e.write("root", "$TTL 60\n. SOA a.root. host. 1 14400 3600 604800 3600\n. NS a.root.\na.root. A 10.9.0.1\nwww.example. A 198.51.100.80\n")
			e.write("hints", ". 3600 NS a.root.\na.root. 3600 A 10.9.0.1\n")
			e.in("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6\n" +
				"$PORT53 zone keys new --dir keys . > made; $PORT53 zone ds --dir keys . > anchors\n" +
				"$PORT53 zone sign --keys keys --origin . --at " + time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339) + " -o root.signed root")
			e.serve("upstream", "role: authoritative\nlisten: [10.9.0.1]\nzones: [{name: ., file: root.signed}]\nstate_dir: upstream\n"+
				"control: {socket: upstream.sock}\nmetrics: {listen: off}\n")
			e.serve("resolver", "role: internal-resolver\nlisten: [10.53.0.1, \"fd53::1\"]\nstate_dir: state\ncontrol: {socket: resolver.sock}\n"+
				"metrics: {listen: off}\nresolver: {root_hints: hints, trust_anchors: anchors, allow: [10.0.0.0/8, \"fd53::/64\"]}\n")
			for i, event := range order {
				e.in(bootEvents()[event])
				if i == 1 { // somebody asks meanwhile, and learns what is not there yet
					_, _ = e.lookUp("udp", "10.53.0.1:53", time.Second)
				}
			}
			began := time.Now()
			for _, way := range []struct{ network, server string }{{"udp", "10.53.0.1:53"}, {"tcp", "10.53.0.1:53"}, {"udp", "[fd53::1]:53"}} {
				for {
					m, err := e.lookUp(way.network, way.server, 5*time.Second)
					if err == nil && m.Rcode == dns.RcodeSuccess && m.AuthenticatedData && len(m.Answer) > 0 {
						break
					}
					if time.Since(began) > 90*time.Second {
						t.Fatalf("%s over %s, %v after all was there: %v, %v", way.server, way.network, time.Since(began), err, m)
					}
					time.Sleep(100 * time.Millisecond) // nothing tells of it but an answer
				}
			}
			t.Logf("served %v after all was there", time.Since(began).Round(100*time.Millisecond))
		})
	}
}

// lookUp asks for www.example. from within the machine.
func (e *exposed) lookUp(network, server string, patience time.Duration) (m *dns.Msg, err error) {
	q := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	q.SetEdns0(1232, true)
	err = e.home.Do(func() (err error) {
		m, _, err = (&dns.Client{Net: network, Timeout: patience}).Exchange(q, server)
		return err
	})
	return m, err
}

// permutations returns all orders of the letters of s.
func permutations(s string) (out []string) {
	if len(s) < 2 {
		return []string{s}
	}
	for i := range s {
		for _, rest := range permutations(strings.Join([]string{s[:i], s[i+1:]}, "")) {
			out = append(out, fmt.Sprintf("%c%s", s[i], rest))
		}
	}
	return out
}
