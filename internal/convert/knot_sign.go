package convert

import (
	"fmt"
	"slices"
	"strings"
)

// keysDir returns the directory that a zone's keys are to be brought to, beside the result.
func keysDir(zone string) string { return "keys/" + strings.ReplaceAll(zone, "/", "%2F") }

// bringKeys says how a zone's keys are brought over. Until they are there, the zone is not signed, and no key is
// made.
func bringKeys(z *zone, server, command string) string {
	return fmt.Sprintf(
		"signing is taken over, and the zone is served when its keys are in %s: stop %s, bring them there by %s, and give the zone "+
			"a newer serial than the signed one has", z.keysFrom, server, command,
	)
}

// signing takes over that Knot signs a zone.
func (k *knot) signing(s *stmt, block []*stmt, z *zone) bool {
	name := "default"
	if e := find(block, "dnssec-policy"); e != nil {
		name = e.arg(1)
	}
	p := k.items["policy"][name]
	own, text, why := k.policy(name, p)
	if why != "" {
		why = "Knot signs it, and here it would be served without signatures, which validators refuse if its parent has a DS record: " + why
		k.note(s, Unsupported, why)
		k.note(find(s.block, "domain"), Unsupported, why)
		return false
	}
	if !slices.Contains(k.out.policies, text) {
		k.out.policies = append(k.out.policies, text)
	}
	z.policy, z.keysFrom = own, keysDir(z.name)
	command := fmt.Sprintf(
		"keymgr -j %s. list | port53 zone keys import --dir %s --pem /var/lib/knot/keys/keys %[1]s. -", z.name, z.keysFrom,
	)
	k.note(find(s.block, "domain"), Changed, bringKeys(z, "Knot", command+" (or where the KASP database is)"))
	return true
}

// policy returns a policy of Knot, nil for that which is built in, as an entry of dnssec_policies, and what it
// is called there.
func (k *knot) policy(name string, p *stmt) (own, text, why string) {
	value := func(field, without string) string {
		if p != nil {
			if e := find(p.block, field); e != nil {
				return e.arg(1)
			}
		}
		return without
	}
	if own = name; own == "default" || own == "insecure" {
		own = "knot-" + name // which have a meaning of their own
	}
	algorithm := bindAlgorithm(strings.ToLower(value("algorithm", "ecdsap256sha256")))
	switch {
	case algorithm == "":
		return "", "", "no keys of algorithm " + value("algorithm", "") + " are made here"
	case yes(value("manual", "off")):
		return "", "", "its keys are managed by hand (manual): take it over with dnssec: {sign: true, keys_from: DIR} and their times"
	case yes(value("offline-ksk", "off")):
		return "", "", "its KSK is offline (offline-ksk)"
	}
	fields := []string{"name: " + quote(own), "algorithm: " + algorithm}
	if !yes(value("single-type-signing", "off")) {
		fields = append(fields, "keys: split")
		if d, ok := bindDuration(value("zsk-lifetime", "30d")); ok && d != "0s" {
			fields = append(fields, "zsk_lifetime: "+d)
		}
	}
	if yes(value("nsec3", "off")) {
		denial := "nsec3"
		if yes(value("nsec3-opt-out", "off")) {
			denial = "nsec3-opt-out"
		}
		fields = append(fields, "denial: "+denial)
	}
	for _, f := range [][2]string{{"ksk-lifetime", "ksk_lifetime"}, {"dnskey-ttl", "dnskey_ttl"}, {"propagation-delay", "propagation"}} {
		if d, ok := bindDuration(value(f[0], "0")); ok && d != "0s" {
			fields = append(fields, f[1]+": "+d)
		}
	}
	return own, "{" + strings.Join(fields, ", ") + "}", ""
}
