package drill

import (
	"fmt"
	"strings"

	"port53/internal/lab"
)

// The sizes of what attacks are made of.
const (
	referrals   = 60 // delegations of nxns
	nameServers = 40 // of each
	trapped     = 60 // names of keytrap
	wrongSigs   = 30 // of each
	served      = 2000
)

// The addresses of servers in the world.
const (
	victimAddr = "192.0.2.11"
	poisonAddr = "192.0.2.40"
)

// NewWorld returns the internet in which a server that is attacked resolves.
func NewWorld() (*lab.World, error) {
	var b strings.Builder
	b.WriteString("-- zone . 192.0.2.1 --\n! signed\n-- zone test. 192.0.2.2 --\n! signed\n" +
		"-- zone good.test. 192.0.2.3 --\nwww A 198.51.100.1\n$GENERATE 0-999 h$ A 198.51.100.1\n" +
		"-- zone victim.test. " + victimAddr + " --\nwww A 198.51.100.11\n-- zone nxns.test. 192.0.2.10 --\n")
	for i := range referrals {
		for j := range nameServers {
			fmt.Fprintf(&b, "r%d NS ns%d.r%[1]d.victim.test.\n", i, j)
		}
	}
	b.WriteString("-- zone keytrap.test. 192.0.2.20 --\n! signed alg=8\n")
	for i := range trapped {
		fmt.Fprintf(&b, "! keytrap w%d A %d %d\nw%[1]d A 198.51.100.20\n", i, wrongSigs*max(0, 1-i), wrongSigs)
	}
	b.WriteString("-- zone flood.test. 192.0.2.30 --\nwww A 198.51.100.30\n-- host 192.0.2.30 deaf --\n" +
		"-- zone poison.test. " + poisonAddr + " --\n* A 198.51.100.40\n-- host " + poisonAddr + " rtt=20ms --\n" +
		"-- zone liar.test. 192.0.2.44 --\n* A 198.51.100.44\n-- host 192.0.2.44 --\nwhen *.liar.test. A\n  serve\n  answer\n" +
		"  www.good.test. 86400 A 198.51.100.66\n  authority\n  good.test. 86400 NS ns.liar.test.\n  additional\n" +
		"  www.good.test. 86400 A 198.51.100.66\n" +
		"-- zone tunnel.test. 192.0.2.50 --\n* TXT \"" + strings.Repeat("x", 200) + "\"\n")
	w := lab.NewWorld(lab.Options{Seed: 53, Log: -1})
	_, sections := lab.Split("drill", []byte(b.String()))
	if err := w.Put(sections...); err != nil {
		return nil, fmt.Errorf("the internet of drills: %w", err)
	}
	return w, nil
}

// ServedZone is the text of the zone drill.test, which the server has itself.
func ServedZone() string {
	var b strings.Builder
	b.WriteString("$TTL 300\n@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 198.51.100.1\nwww A 198.51.100.1\n")
	for i := range served {
		fmt.Fprintf(&b, "h%d A 198.51.100.2\n", i)
	}
	return b.String()
}
