package convert

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// takeSigning takes over that BIND signs a zone by a policy: the policy, and where its keys are. It
// reports false of what cannot be signed here as it is there.
func (b *bind) takeSigning(s, signs *stmt, z *zone) bool {
	if signs.arg(0) != "dnssec-policy" ||
		len(z.primaries) > 0 && find(s.block, "inline-signing") == nil && b.inherited(s, "inline-signing") == nil {
		return false
	}
	name := signs.arg(1)
	if name != "default" && name != "insecure" {
		policy, ok := b.policy(name)
		if !ok {
			return false
		}
		if !slices.Contains(b.out.policies, policy) {
			b.out.policies = append(b.out.policies, policy)
		}
	}
	z.policy, z.keysFrom = name, b.dir
	if d := b.inherited(s, "key-directory"); d != nil {
		if z.keysFrom = d.arg(1); !filepath.IsAbs(z.keysFrom) {
			z.keysFrom = filepath.Join(b.dir, z.keysFrom)
		}
	}
	b.note(
		signs,
		Changed,
		"signing is taken over: the keys are copied from "+z.keysFrom+" the first time, so the server's user has to be able to read them; "+
			"stop BIND before, and give the zone a newer serial than BIND's signed one has (rndc zonestatus)",
	)
	return true
}

// bindAlgorithm returns what an algorithm is called here that keys are made of; empty: none are.
func bindAlgorithm(name string) string {
	switch name {
	case "rsasha256", "8":
		return "rsasha256"
	case "ecdsa256", "ecdsap256sha256", "13":
		return "ecdsap256sha256"
	case "ecdsa384", "ecdsap384sha384", "14":
		return "ecdsap384sha384"
	case "ed25519", "15":
		return "ed25519"
	}
	return ""
}

// policy returns a dnssec-policy as an entry of dnssec_policies.
func (b *bind) policy(name string) (text string, ok bool) {
	p := b.policies[name]
	if p == nil {
		return "", false
	}
	fields := []string{"name: " + quote(name)}
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	keys := find(p.block, "keys")
	if keys == nil || len(keys.block) == 0 {
		return "", false
	}
	algorithm, split := "", false
	for _, k := range keys.block {
		words := strings.Fields(strings.ToLower(strings.Join(append([]string{k.arg(0)}, k.args()...), " ")))
		for i, w := range words {
			next := ""
			if i+1 < len(words) {
				next = words[i+1]
			}
			switch w {
			case "lifetime":
				if d, ok := bindDuration(next); ok && d != "0s" && words[0] != "csk" {
					add("%s_lifetime: %s", words[0], d)
				} else if ok && d != "0s" {
					add("ksk_lifetime: %s", d)
				}
			case "algorithm":
				own := bindAlgorithm(next)
				if own == "" || algorithm != "" && algorithm != own {
					return "", false
				}
				algorithm = own
			}
		}
		split = split || words[0] == "zsk"
	}
	if algorithm == "" {
		return "", false
	}
	add("algorithm: %s", algorithm)
	if split {
		add("keys: split")
	}
	if n := find(p.block, "nsec3param"); n != nil {
		denial := "nsec3"
		if args := strings.Join(n.args(), " "); strings.Contains(args, "optout yes") || strings.Contains(args, "optout true") {
			denial = "nsec3-opt-out"
		}
		add("denial: %s", denial)
	}
	var times []string
	for bindName, own := range map[string]string{
		"dnskey-ttl": "dnskey_ttl", "purge-keys": "purge",
		"zone-propagation-delay": "propagation",
	} {
		if e := find(p.block, bindName); e != nil {
			if d, ok := bindDuration(e.arg(1)); ok {
				times = append(times, own+": "+d)
			}
		}
	}
	slices.Sort(times)
	fields = append(fields, times...)
	return "{" + strings.Join(fields, ", ") + "}", true
}

// bindDuration returns a time as the configuration has it: seconds with a unit, or as ISO 8601 has it.
func bindDuration(s string) (string, bool) {
	s = strings.ToLower(strings.Trim(s, `";`))
	if s == "unlimited" || s == "0" {
		return "0s", true
	}
	seconds, number, minutes := 0, "", false
	for _, c := range s {
		unit := map[rune]int{'s': 1, 'h': 3600, 'd': 86400, 'w': 604800, 'y': 365 * 86400, 'm': 30 * 86400}[c]
		switch {
		case c == 'p':
		case c == 't':
			minutes = true
		case c >= '0' && c <= '9':
			number += string(c)
		case unit > 0 && number != "":
			n, err := strconv.Atoi(number)
			if err != nil {
				return "", false
			}
			if c == 'm' && (minutes || !strings.HasPrefix(s, "p")) {
				unit = 60
			}
			seconds, number = seconds+n*unit, ""
		default:
			return "", false
		}
	}
	if number != "" {
		n, err := strconv.Atoi(number)
		if err != nil {
			return "", false
		}
		seconds += n
	}
	return strconv.Itoa(seconds) + "s", true
}
