package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"port53/internal/pkcs11"
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

// checkPINFiles reports key stores that this program cannot reach, and files of PINs that are not for the
// server alone.
func (d *decoder) checkPINFiles() {
	for i := range d.config.KeyStores {
		k := &d.config.KeyStores[i]
		what := "key store " + quote(k.Name) + ": "
		if !pkcs11.Built {
			d.fail(d.keyAt("key_stores.name", i), what+pkcs11.ErrNotBuilt.Error(), "port53 version --features tells which one this is")
		}
		if k.PINFile == "" {
			continue
		}
		at := d.keyAt("key_stores.pin_file", i)
		if p := unreadable(k.PINFile); p != nil {
			d.fail(at, what+printable(k.PINFile)+" "+p.text, p.hint)
		} else if info, err := os.Stat(k.PINFile); err == nil && info.Mode().Perm()&0o007 != 0 {
			d.fail(at, what+printable(k.PINFile)+" is readable by every user", "chmod o= "+printable(k.PINFile))
		}
	}
}

// checkKeyStores reports stores that cannot be, and policies that name others.
func (d *decoder) checkKeyStores() {
	names := map[string]bool{}
	for i := range d.config.KeyStores {
		k := &d.config.KeyStores[i]
		what := "key store " + quote(k.Name) + ": "
		if names[k.Name] {
			d.fail(d.keyAt("key_stores.name", i), what+"it is already defined", "remove one of them")
		}
		names[k.Name] = true
		switch _, err := pkcs11.ParseToken(k.URI); {
		case errors.Is(err, pkcs11.ErrPIN):
			d.fail(d.keyAt("key_stores.name", i), what+"uri: "+err.Error(), "write the PIN into a file, and its path into pin_file")
		case err != nil:
			d.fail(d.keyAt("key_stores.uri", i), what+"uri: "+err.Error(), "the module's tools list its tokens, such as pkcs11-tool -L")
		}
	}
	for i := range d.config.DNSSEC {
		p := &d.config.DNSSEC[i]
		for _, of := range [][2]string{{"stores.ksk", p.Stores.KSK}, {"stores.zsk", p.Stores.ZSK}} {
			if key, store := of[0], of[1]; store != "" && !names[store] {
				d.fail(
					d.keyAt("dnssec_policies."+key, i),
					fmt.Sprintf("policy %s: %s: there is no key store %s", quote(p.Name), key, quote(store)),
					"write it into key_stores, or leave "+key+" out",
				)
			}
		}
		if signs := p.signsData(); p.Denial == "compact" && signs != "" {
			d.fail(
				d.keyAt("dnssec_policies.name", i),
				fmt.Sprintf(
					"policy %s: denial: compact signs while queries wait, and key store %s may take its time",
					quote(p.Name),
					quote(signs),
				),
				"write denial: nsec, or keys: split with a ZSK in files",
			)
		}
	}
}

// signsData returns the store of the keys that sign the zone's data; empty: they are in files.
func (p *DNSSECPolicy) signsData() string {
	if p.Keys == "split" {
		return p.Stores.ZSK
	}
	return p.Stores.KSK
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
				"policy \"insecure\" is built in: it removes a zone's signatures once the parent has no DS record for its keys",
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
					" has denial: compact, which signs a proof for each query: secondaries have no keys to sign with",
				"remove secondaries, and let each server sign the zone with the same keys; or write denial: nsec",
			)
		}
		if z.Catalog == "consume" || z.Catalog == "produce" {
			d.fail(d.zones[i], zone+"a catalog zone is not signed: resolvers do not query it", "leave dnssec out")
		}
	}
}
