package config

import (
	"fmt"
	"slices"
	"time"

	"port53/internal/wire"
)

const day = 24 * time.Hour

// DefaultPolicy is the policy by which zones are signed that name none.
const DefaultPolicy = "default"

// InsecurePolicy is the policy by which a zone goes unsigned, without a moment in which it is bogus.
const InsecurePolicy = "insecure"

// DNSSECPolicy returns the policy of a name, or nil. The policy default is there if none is
// written.
func (c *Config) DNSSECPolicy(name string) *DNSSECPolicy {
	if name == "" {
		name = DefaultPolicy
	}
	for i := range c.DNSSEC {
		if c.DNSSEC[i].Name == name {
			return &c.DNSSEC[i]
		}
	}
	if name != DefaultPolicy && name != InsecurePolicy {
		return nil
	}
	return &DNSSECPolicy{
		Name: name, Algorithm: "ecdsap256sha256", Keys: "csk", Denial: "nsec",
		Signatures: SignatureTimes{Valid: 14 * day, Refresh: 5 * day, Before: time.Hour},
		DNSKEYTTL:  time.Hour, Propagation: time.Hour, Purge: 90 * day, Watch: "all",
		Publish: PublishKeys{CDS: "on_roll", DSYNC: true, Signal: true},
		Parent:  ParentZone{DSTTL: day, Propagation: time.Hour},
	}
}

// checkDNSSEC reports policies that cannot be, and zones that cannot be signed by theirs.
func (d *decoder) checkDNSSEC() {
	names := map[string]bool{}
	for i := range d.config.DNSSEC {
		p := &d.config.DNSSEC[i]
		if names[p.Name] {
			d.fail(d.keyAt("dnssec_policies.name", i), fmt.Sprintf("policy %s is already defined", quote(p.Name)), "remove one of them")
		}
		names[p.Name] = true
		if p.Name == InsecurePolicy {
			d.fail(
				d.keyAt("dnssec_policies.name", i),
				"policy insecure is built in: it takes a zone's signatures away, when its parent points at none of its keys",
				"give this one another name",
			)
		}
		if push := &p.Parent.Push; len(push.To) > 0 &&
			!slices.ContainsFunc(d.config.Keys, func(k Key) bool { return push.TSIG != nil && wire.EqualFold(k.Name, push.TSIG) }) {
			d.fail(
				d.keyAt("dnssec_policies.name", i),
				fmt.Sprintf("policy %s: parent.push: there is no key with the name that tsig has", quote(p.Name)),
				"write the key into keys, and its name into tsig: updates are signed",
			)
		}
		if p.Signatures.Refresh >= p.Signatures.Valid {
			d.fail(
				d.keyAt("dnssec_policies.name", i),
				fmt.Sprintf(
					"policy %s: signatures are renewed %s before they expire, and valid for %s",
					quote(p.Name),
					durationText(
						p.Signatures.Refresh,
					),
					durationText(p.Signatures.Valid),
				),
				"signatures.refresh has to be less than signatures.valid",
			)
		}
	}
	for i := range d.config.Zones {
		z := &d.config.Zones[i]
		if !z.DNSSEC.Signs() {
			continue
		}
		zone := "zone " + quote(nameText(z.Name)) + ": "
		if z.DNSSEC.Policy != "" && d.config.DNSSECPolicy(z.DNSSEC.Policy) == nil {
			d.fail(
				d.zones[i],
				zone+"dnssec: there is no policy "+quote(z.DNSSEC.Policy),
				"write it into dnssec_policies, or leave policy out; default and insecure are built in",
			)
		}
		if p := d.config.DNSSECPolicy(z.DNSSEC.Policy); p != nil && p.Denial == "compact" && len(z.Secondaries) > 0 {
			d.fail(
				d.zones[i],
				zone+"policy "+quote(p.Name)+
					" has denial: compact, whose proofs are signed when they are asked for: secondaries have no keys",
				"remove secondaries, and let each server sign the zone with the same keys; or write denial: nsec",
			)
		}
		if z.Catalog == "consume" || z.Catalog == "produce" {
			d.fail(d.zones[i], zone+"a catalog is not signed: nobody asks for its names", "leave dnssec out")
		}
	}
}
