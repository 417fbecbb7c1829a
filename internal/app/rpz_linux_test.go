package app_test

import (
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	responder "port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/wire"
	"port53/internal/zone"
)

// recursive answers from zones as a resolver, and counts the questions for NS records.
func recursive(count *atomic.Int32, zones ...*zone.Zone) lab.Handler {
	return func(query []byte, _ netip.AddrPort, _ bool) []byte {
		var q wire.Query
		if q.Parse(query) != 0 {
			return nil
		}
		if q.Type == wire.TypeNS {
			count.Add(1)
		}
		var b wire.Builder
		b.Start(make([]byte, 4096), 4096, 0, &q)
		for _, z := range zones {
			if wire.Subdomain(q.Name.Name(), z.Apex()) {
				var r responder.Responder
				r.Answer(z, &q, &b)
				b.ClearFlags(wire.FlagAA)
				break
			}
		}
		b.SetFlags(wire.FlagRA)
		return b.Finish(nil, 0)
	}
}

// Rules about servers of zones that no referral has told of: the first answer waits for them, also one from the
// cache, unless they are not to be waited for. Without such rules nobody asks for servers.
func TestRPZServers(t *testing.T) {
	var asked atomic.Int32
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), recursive(
		&asked,
		dnstest.Zone(t, "child.example.", `child.example. 300 SOA a. b. 1 2 3 4 300
child.example. 300 NS ns.evil.net.
*.child.example. 300 A 192.0.2.80
far.child.example. 300 CNAME www.example.
`),
		dnstest.Zone(t, "example.", `example. 300 SOA a. b. 1 2 3 4 300
example. 300 NS ns.good.net.
www.example. 300 A 192.0.2.81
near.example. 300 CNAME end.child.example.
`),
		dnstest.Zone(t, "net.", `net. 300 SOA a. b. 1 2 3 4 300
net. 300 NS ns.good.net.
ns.good.net. 300 A 192.0.2.53
ns.evil.net. 300 A 203.0.113.7
`)))
	for _, c := range []struct {
		name, rules, options string
		wait                 bool
	}{
		{"names", "ns.evil.net.rpz-nsdname CNAME .\n", "", true},
		{"addresses", "24.0.113.0.203.rpz-nsip CNAME .\n", "", true},
		{"meanwhile", "ns.evil.net.rpz-nsdname CNAME .\n24.0.113.0.203.rpz-nsip CNAME .\n", ", wait_servers: false", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
			r.write("policy.zone", soaOf("1")+c.rules+"own.child.example CNAME rpz-passthru.\n")
			r.run(net, filterYAML+"zones: [{name: rpz.test, file: policy.zone}]\npolicy: {rpz: [{zone: rpz.test"+c.options+"}]}\n"+
				"views: [{name: free, match: {clients: [127.0.0.8]}, policy: {rpz: []}}]\n")
			free := func(line, want string) {
				t.Helper()
				before := asked.Load()
				if got := r.asked("udp", "127.0.0.8", 0, nil, line); !strings.Contains(got, want) || asked.Load() != before {
					t.Errorf("a client without the policy: %q, and %d questions for servers", got, asked.Load()-before)
				}
			}
			free("kept.child.example. A +rd", "192.0.2.80")
			for i, line := range []string{
				"kept.child.example. A +rd", // in the cache
				"new.child.example. A +rd",
				"far.child.example. A +rd",
				"near.example. A +rd", // the second name of the chain
			} {
				first := "NXDOMAIN"
				if i == 0 && !c.wait {
					first = "192.0.2.80" // later they are known
				}
				if got := r.ask("udp", line); !strings.Contains(got, first) {
					t.Errorf("%s: %q at first, want %q", line, got, first)
				}
				r.eventually(line, "NXDOMAIN")
			}
			r.want("www.example. A +rd", "192.0.2.81")
			before := asked.Load()
			r.want("own.child.example. A +rd", "192.0.2.80")  // decided before
			r.want("kept.child.example. A +rd", "NXDOMAIN")   // from the cache
			if n := asked.Load() - before; n != 0 && c.wait { // else others may still be looked up
				t.Errorf("%d questions for servers that do not matter, or are known", n)
			}
			free("kept.child.example. A +rd", "192.0.2.80")
		})
	}
	before := asked.Load()
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	r.write("policy.zone", soaOf("1")+"nx.example CNAME .\n32.9.0.0.10.rpz-ip CNAME .\n")
	r.run(net, filterYAML+"zones: [{name: rpz.test, file: policy.zone}]\npolicy: {rpz: [{zone: rpz.test}]}\n")
	r.want("www.child.example. A +rd", "192.0.2.80")
	if n := asked.Load() - before; n != 0 {
		t.Errorf("without rules about servers there are %d questions for them", n)
	}
}
