package zonegen

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Root returns an imitation of the root zone: so many delegations, most of them
// secure, their servers below them, beside them or below one another, with the
// glue that these need. The same seed gives the same records.
func Root(seed uint64, delegations int, mode Mode) *Zone {
	r := rand.New(rand.NewPCG(seed, 53))
	z := &Zone{Origin: ".", Mode: mode}
	z.AddTTL(".", 86400, "SOA", "a.root-servers.test. hostmaster.root-servers.test. 2026010100 1800 900 604800 86400")
	for c := 'a'; c <= 'm'; c++ {
		z.AddTTL(".", 518400, "NS", fmt.Sprintf("%c.root-servers.test.", c))
	}
	// The root's servers are below a delegation of it, as the real ones are.
	z.AddTTL("test.", 172800, "NS", "a.root-servers.test.")
	for c := 'a'; c <= 'm'; c++ {
		z.AddTTL(fmt.Sprintf("%c.root-servers.test.", c), 518400, "A", fmt.Sprintf("198.51.100.%d", c-'a'+1))
		z.AddTTL(fmt.Sprintf("%c.root-servers.test.", c), 518400, "AAAA", fmt.Sprintf("2001:db8:53::%d", c-'a'+1))
	}
	var hosts []string
	seen := map[string]bool{"test": true}
	for len(seen) <= delegations {
		tld := Word(r, 2+r.IntN(4)*r.IntN(4))
		if r.IntN(12) == 0 {
			tld = "xn--" + tld
		}
		if seen[tld] {
			continue
		}
		seen[tld] = true
		tld += "."
		for i := range 2 + r.IntN(6) {
			var host string
			switch kind := r.IntN(10); {
			case kind < 5:
				host = fmt.Sprintf("%c.nic.%s", 'a'+i, tld)
			case kind < 6:
				host = fmt.Sprintf("ns%d.%s", i, tld)
			case kind < 9 && len(hosts) > 0: // a server of another delegation
				host = hosts[r.IntN(len(hosts))]
			default:
				host = Word(r, 6) + ".no-glue." + tld
			}
			z.AddTTL(tld, 172800, "NS", host)
			if strings.Contains(host, "no-glue") || !strings.HasSuffix(host, "."+tld) {
				continue
			}
			hosts = append(hosts, host)
			z.AddTTL(host, 172800, "A", fmt.Sprintf("203.0.113.%d", r.IntN(256)))
			if r.IntN(5) > 0 {
				z.AddTTL(host, 172800, "AAAA", fmt.Sprintf("2001:db8:%x::%x", r.IntN(65536), i+1))
			}
		}
		if r.IntN(10) < 9 {
			z.AddTTL(tld, 86400, "DS", fmt.Sprintf("%d %d 2 %s", r.IntN(65536), 8+5*r.IntN(2), Hex(r, 32)))
		}
	}
	z.Records = unique(z.Records)
	return z
}

func unique(records []Record) []Record {
	seen := map[Record]bool{}
	out := records[:0]
	for _, r := range records {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

// Word returns n letters and digits, a letter first.
func Word(r *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	n = max(n, 1)
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	b[0] = letters[r.IntN(26)]
	return string(b)
}

// Hex returns n random octets in hexadecimal.
func Hex(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return fmt.Sprintf("%x", b)
}
