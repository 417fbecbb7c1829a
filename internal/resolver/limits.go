package resolver

import "time"

// Limits bound the work of one client question and of all together. A zero field
// means the default.
//
// In one piece: it has a field for each limit.
type Limits struct {
	Packets     int           // sent for one client question, those of every sub-question and retry too
	Octets      int           // sent and received for one client question
	Aliases     int           // CNAME and DNAME records followed
	Depth       int           // questions asked in order to ask another
	Glueless    int           // name servers of one delegation whose addresses are looked up
	NameServers int           // name servers kept of one referral
	Time        time.Duration // for one client question, from its arrival
	Reply       time.Duration // until the client gets SERVFAIL; what is found later is for the cache
	Signatures  int           // verified for one client question
	Hashes      int           // NSEC3 hashes computed for one client question
	Iterations  int           // of NSEC3 hashes up to which zones are validated
	PerZone     int           // questions outstanding to the servers of one zone
	PerServer   int           // questions outstanding to one server
	Waiting     int           // client questions that wait
	PerClient   int           // client questions that wait for one client network
	PerCookie   int           // the same, with a valid cookie
}

// The defaults. Each is what other resolvers were brought to by an attack; the
// numbers are compared in docs/DIALECT.md.
const (
	defaultPackets     = 128              // CAMP, 2024: chains times fan-out; Unbound and BIND 200
	defaultOctets      = 100 << 10        // PowerDNS Recursor: 100 kB
	defaultAliases     = 11               // Unbound and BIND, 2024
	defaultDepth       = 7                // BIND: 7
	defaultGlueless    = 6                // NXNSAttack, CVE-2020-12662
	defaultNameServers = 20               // NRDelegation, CVE-2022-3204
	defaultTime        = 10 * time.Second // BIND 10 s, Knot Resolver 10 s
	defaultReply       = 4 * time.Second  // clients ask again after 5 s: glibc, dig, Windows after fewer
	defaultSignatures  = 32               // KeyTrap, CVE-2023-50387; Knot Resolver 32
	defaultHashes      = 1000             // CVE-2023-50868
	defaultPerZone     = 200              // random subdomains; BIND's fetches-per-zone
	defaultPerServer   = 100              // BIND's fetches-per-server
	defaultWaiting     = 10000            // BIND 1,000, PowerDNS Recursor 2,048
	defaultPerClient   = 64               // DNSBomb, CVE-2024-33655
	defaultPerCookie   = 512              // whoever has a cookie is not forged
)

func (l *Limits) fill() {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&l.Packets, defaultPackets)
	set(&l.Octets, defaultOctets)
	set(&l.Aliases, defaultAliases)
	set(&l.Depth, defaultDepth)
	set(&l.Glueless, defaultGlueless)
	set(&l.NameServers, defaultNameServers)
	set(&l.Signatures, defaultSignatures)
	set(&l.Hashes, defaultHashes)
	set(&l.PerZone, defaultPerZone)
	set(&l.PerServer, defaultPerServer)
	set(&l.Waiting, defaultWaiting)
	set(&l.PerClient, defaultPerClient)
	set(&l.PerCookie, defaultPerCookie)
	if l.Time == 0 {
		l.Time = defaultTime
	}
	if l.Reply == 0 {
		l.Reply = defaultReply
	}
}

// Bounds that nobody needs to move.
const (
	maxReferrals   = 130 // delegations followed for one question: one a label, and some (as Unbound)
	maxMinimised   = 10  // steps in which a name is shown to servers (RFC 9156, section 2.3)
	minimisedOne   = 4   // of these, steps of one label (RFC 9156, section 2.3)
	maxPartial     = 8   // such steps of one question that found no zone, then the names that it leads to are shown whole
	maxForward     = 3   // waves in which silent forwarders are asked again: there are few to choose from
	maxLowered     = 2   // servers whose errors are asked for again in lower case, for one question in one zone
	maxServfail    = 5   // servers whose answer was no use, for one question in one zone
	maxTargetHops  = 4   // aliases from the name of a name server to its address; RFC 2181, section 10.3 forbids them
	maxDeadTargets = 5   // name servers without an address, then the delegation is given up (NXNSAttack)
	maxVain        = 10  // the same for all delegations of one question, however they hang together (CAMP)
	maxDoubts      = 2   // servers whose answer did not validate, before that is believed to be so
	maxAddresses   = 40  // addresses kept of one delegation
	maxPerName     = 10  // addresses kept of one name server: Unbound, PowerDNS and BIND agree on about that
	maxSetRecords  = 100 // records of one RRset (CVE-2024-1737)
	maxSets        = 127 // RRsets of one reply: those of a name of 100 types (BIND's max-types-per-name), and some

	maxDelegationTTL = 86400 // seconds that a delegation is believed before the parent is asked again (ghost domains)
	lameTime         = 15 * time.Minute
	targetFailTime   = 60 * time.Second // an NS target that did not resolve is left alone (NRDelegation)
	bogusTTL         = 60               // seconds that a failed validation is remembered (RFC 4035, section 4.7)
	unreachableTTL   = 2 * time.Second  // that keys or proofs could not be fetched: no longer than a failure is remembered
	maxLame          = 16384            // entries of the table of lame servers
	maxTrust         = 65536            // zones whose keys are kept
)
