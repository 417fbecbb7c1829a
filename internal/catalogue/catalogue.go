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
	_ "embed" // zonemaster.txt
	"slices"
	"strconv"
	"strings"
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
	return slices.Concat(
		reachChecks(),
		identityChecks(),
		serverChecks(),
		ednsChecks(),
		delegationChecks(),
		everyChecks(),
		zoneChecks(),
		dnssecChecks(),
		resolverChecks(),
		encryptedChecks(),
		configChecks(),
	)
})

// All returns all checks in a fixed order, that of the groups. The list is the caller's, the
// checks are not to be modified.
func All() []*check.Check { return slices.Clone(catalogue()) }

//go:embed zonemaster.txt
var zonemasterText string

// A ZonemasterCase is what our checks are beside one of Zonemaster's test cases.
type ZonemasterCase struct {
	Case   string
	Checks []string // which judge what it does
	Zones  int      // in which it finds an error, of those of the laboratory
	Seen   int      // in which one of the checks finds something as well
	Why    string   // it need not; empty where it does
}

// Zonemaster returns what TestBesideZonemaster of the conformance tests found out.
func Zonemaster() []ZonemasterCase {
	var out []ZonemasterCase
	for line := range strings.Lines(zonemasterText) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		x := ZonemasterCase{Case: f[0], Checks: strings.Split(f[1], ", "), Why: f[4]}
		x.Zones, _ = strconv.Atoi(f[2]) // a test reads every line
		x.Seen, _ = strconv.Atoi(f[3])
		out = append(out, x)
	}
	return out
}
