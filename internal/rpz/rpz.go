// Package rpz judges questions and answers by response policy zones
// (draft-vixie-dnsop-dns-rpz).
//
// A policy zone is a zone as any other: its version is compiled, transferred, changed by
// differences and kept on disk as those that are served. It is its own index: what a rule is
// about is its owner name, so that looking for a rule is looking for a name, by hash, in the
// version that an atomic pointer leads to. A difference of a thousand records costs what it
// costs any zone, and a lookup takes no lock and allocates nothing.
//
// [Searcher.Judge] finds the rule that counts. The order is the draft's, and BIND's: the first
// name of a chain of aliases that has a rule; then the first zone in the order of the policy;
// then client address, name, addresses in the answer, names of the zone's servers, their
// addresses; then the longest prefix. Names match as in any zone: the name itself, or the
// wildcard at its closest encloser.
//
// Package rpz knows no server: package engine asks, and acts.
package rpz

import (
	"net/netip"

	"port53/internal/wire"
	"port53/internal/zone"
)

// An Action is what becomes of a question or its answer.
type Action uint8

// The actions. Given and Disabled are of a [Zone]: the zone's own rules say what is done, or
// what they would do is only counted.
const (
	Miss     Action = iota // no rule is about it
	Passthru               // a rule says that it is to pass
	NXDomain
	NoData
	Drop
	TCPOnly // over UDP the reply is cut off, so that the client asks again over TCP
	Local   // the records at the rule
	Alias   // a CNAME record, and what it leads to
	Given
	Disabled
)

// String returns the action in a word.
func (a Action) String() string {
	names := [...]string{
		Miss: "pass", Passthru: "passthru", NXDomain: "nxdomain", NoData: "nodata", Drop: "drop", TCPOnly: "tcp-only",
		Local: "local data", Alias: "cname", Given: "given", Disabled: "disabled",
	}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown"
}

// A Trigger is what a rule looks at.
type Trigger uint8

// The triggers, in the order in which they count within one zone.
const (
	ClientIP Trigger = iota // the client's address
	QName                   // the name
	IP                      // addresses in the answer
	NSDName                 // names of the servers of the zones that the name is in
	NSIP                    // and their addresses
	triggers
)

// String returns the trigger in a word.
func (t Trigger) String() string {
	return [...]string{ClientIP: "client-ip", QName: "qname", IP: "ip", NSDName: "nsdname", NSIP: "nsip", triggers: "", 6: "", 7: ""}[t&7]
}

// labels stand above the apex of a policy zone, and below them the rules of one trigger.
var labels = [triggers]string{
	ClientIP: "\x0drpz-client-ip", IP: "\x06rpz-ip", NSDName: "\x0brpz-nsdname", NSIP: "\x08rpz-nsip",
}

// A Zone is one policy zone of a policy.
type Zone struct {
	Name   []byte       // in lower case
	Served *zone.Served // what there is of it; nil: nothing

	Number      uint8  // that counters go by
	Override    Action // Given, Disabled, or what is done whatever the zone says
	Target      []byte // of Override Alias; it may begin with a star
	MaxTTL      uint32 // seconds that its answers may be kept at most
	BreakDNSSEC bool   // signed answers are replaced even for clients that want signatures
	AddSOA      bool   // its SOA record goes with answers, in the additional section
	Wait        bool   // the name is resolved even if a rule is about it already
	WaitServers bool   // servers of zones that are not known are looked up before the zone judges by them; else meanwhile
	EDE         int    // Extended DNS Error that goes with the answer
	Text        string // its text

	Summary *Summary // of its versions; nil: it is found out again for each question
}

// A Policy is policy zones, in the order in which they count. It is immutable but for the
// versions of the zones.
type Policy struct {
	Zones []*Zone
}

// A Question is what is judged.
type Question struct {
	Name   *wire.SplitName
	Type   wire.Type
	Client netip.Addr
	UDP    bool
	DO     bool  // the client wants signatures
	Local  bool  // the name is one of ours: only what it leads to is judged
	Own    Owner // tells of what aliases lead to whether it is ours; nil: it is not

	// Reply is the reply as it would go out, to where its records end, and Body where they
	// begin. Without it the question alone is judged.
	Reply   []byte
	Body    int
	Answers int // records of the answer section
	Others  int // records behind it

	DNS64   Embedding   // which addresses of IPv6 stand for those of IPv4, which are judged as well; nil: none do
	Servers NameServers // that zones have; nil: nobody knows
	Final   bool        // what is not known of them now is not waited for
}

// An Owner tells whether a name is one of ours, which nobody judges: neither it nor what it has.
type Owner interface {
	Ours(name *wire.SplitName, t wire.Type) bool
}

// An Embedding tells for which address of IPv4 one of IPv6 stands (RFC 6052).
type Embedding interface {
	Embedded(six netip.Addr) (v4 netip.Addr, ok bool)
}

// NameServers know the servers of zones.
type NameServers interface {
	// Find tells into of the servers of the zones that name is in, the closest first, and if addresses is
	// set of their addresses.
	Find(name []byte, addresses bool, into *Searcher)
}

// JudgesServers reports whether the policy has rules about servers.
func (p *Policy) JudgesServers() bool {
	for _, z := range p.Zones {
		if z.Served == nil {
			continue
		}
		if v := z.Served.Zone(); v != nil && z.shaped(v).servers() {
			return true
		}
	}
	return false
}

// A Verdict is what becomes of a question, and by which rule. Its slices are valid until the
// searcher is used again.
type Verdict struct {
	Action  Action // never Given or Disabled
	Trigger Trigger
	Zone    *Zone
	Version *zone.Zone // of it
	Rule    zone.Node  // in that version

	Name   []byte // that is answered for: the question's, or what an alias led to
	Target []byte // of Alias

	// Kept is where, in the reply, the aliases that lead to Name end, and Links how many records that
	// are; 0: the name is the question's.
	Kept, Links int

	// Undecided says that the answer has to be known, or the servers that are Unknown.
	Undecided bool

	// Unknown is the first name of which not all servers of its zones are known, or have expired, though rules
	// are about such; nil: there is none. Without Undecided, what is known counts.
	Unknown   []byte
	Addresses bool // of the servers are to be known as well

	// Logged is the first zone whose rules are only counted, and that has one about it; nil: none.
	Logged *Zone
}

// Acts reports whether something else is answered than there is.
func (v *Verdict) Acts() bool { return v.Action > Passthru }

// Describe says what a verdict does, and by which rule.
func (v *Verdict) Describe() string {
	if v.Zone == nil {
		if v.Logged != nil {
			return "disabled: policy zone " + wire.NameText(v.Logged.Name)
		}
		return ""
	}
	text := v.Action.String() + ": policy zone " + wire.NameText(v.Zone.Name) + ", rule " +
		wire.NameText(v.Version.AppendName(nil, v.Rule)) + " (" + v.Trigger.String() + ")"
	if v.Action == Alias {
		text += ", " + wire.NameText(v.Target)
	}
	return text
}
