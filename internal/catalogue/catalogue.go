// Package catalogue is the checks that port53 knows: what each sends, how it judges, and
// what it needs to have something to look at.
//
// A check is a value that package check runs; that package knows none of them. A check says
// itself what it needs ([check.Needs]), asks through the [check.Run] that it is given, and
// yields findings. What several checks want to know is found out once, as a [check.Fact].
//
// Each group has a Go file, or two, and its prose in a file of the same name below prose: what
// checks are called, what they send, how they judge, what mends what they find. A check without
// prose, and prose without a check, stop every test. Rules that need no network are in
// content.go.
package catalogue

import (
	"slices"
	"sync"

	"port53/internal/check"
	"port53/internal/finding"
)

// The groups, in the order of the catalogue.
const (
	GroupReach     finding.Group = "Reach and identity"
	GroupServer    finding.Group = "Authoritative"
	GroupZone      finding.Group = "Delegation and zone content"
	GroupDNSSEC    finding.Group = "DNSSEC"
	GroupResolver  finding.Group = "Resolver"
	GroupEncrypted finding.Group = "Encrypted and neighbours"
	GroupConfig    finding.Group = "Configuration"
)

// catalogue is made once, for its prose is read from text, and never changed.
var catalogue = sync.OnceValue(func() []*check.Check {
	return slices.Concat(reachChecks(), identityChecks(), serverChecks(), ednsChecks(), delegationChecks(), everyChecks(), zoneChecks(), dnssecChecks(), resolverChecks(), encryptedChecks(), configChecks())
})

// All returns all checks in a fixed order, that of the groups. The list is the caller's, the
// checks are not to be modified.
func All() []*check.Check { return slices.Clone(catalogue()) }

// Zonemaster returns which of our checks judges what each of Zonemaster's test
// cases does, one id each; several cases may share one.
func Zonemaster() map[string]string {
	m := map[string]string{}
	add := func(prefix string, ids ...string) {
		for i, id := range ids {
			m[prefix+string([]byte{byte('0' + (i+1)/10), byte('0' + (i+1)%10)})] = id
		}
	}
	add("ADDRESS", "ZONE-PRIVATE", "DEL-LAME", "DEL-LAME")
	add("BASIC", "DEL-LAME", "DEL-LAME", "ZONE-PRIVATE")
	add("CONNECTIVITY", "ZONE-EVERY", "ZONE-EVERY", "DEL-2NS", "DEL-2NS")
	add("CONSISTENCY", "ZONE-SERIAL", "ZONE-SAME", "ZONE-SAME", "ZONE-SAME", "DEL-GLUE", "ZONE-SAME")
	add("DELEGATION", "DEL-2NS", "DEL-2NS", "DEL-GLUE", "ZONE-EVERY", "DEL-CNAME", "DEL-LAME", "DEL-NS-SYNC")
	add("DNSSEC", "DNSSEC-DSMISS", "DNSSEC-DSMISS", "DNSSEC-NSEC3", "DNSSEC-EXP", "DNSSEC-ALG", "DNSSEC-EXP", "DNSSEC-CHAIN", "DNSSEC-CHAIN", "DNSSEC-CHAIN", "DNSSEC-NX", "DNSSEC-CHAIN", "DNSSEC-CHAIN", "DNSSEC-ALG", "DNSSEC-ALG", "DNSSEC-DSMISS", "DNSSEC-DSMISS", "DNSSEC-DSMISS", "DNSSEC-DSMISS")
	add("NAMESERVER", "SRV-REC", "ZONE-EVERY", "SRV-AXFR", "SRV-AA", "SRV-8906", "DEL-DANGLE-NS", "SRV-UPREF", "SRV-CASE", "SRV-CASE", "SRV-EDNS-EDNS1", "SRV-EDNS-OPT", "SRV-EDNS-FLAGS", "SRV-EDNS-EDNS512")
	m["NAMESERVER15"] = "ID-VERSION"
	add("SYNTAX", "DEL-DANGLE-NS", "DEL-DANGLE-NS", "DEL-DANGLE-NS", "DEL-CNAME", "ZONE-SOA", "ZONE-SOA", "DEL-CNAME", "ZONE-MAIL")
	add("ZONE", "DEL-CNAME", "ZONE-SOA", "ZONE-SOA", "ZONE-SOA", "ZONE-SOA", "ZONE-SOA", "DEL-CNAME", "DEL-CNAME", "ZONE-MAIL", "ZONE-SERIAL", "ZONE-MAIL")
	return m
}
