package judge

import (
	"fmt"
	"slices"
	"strings"

	"port53/conformance/probe"
)

// A Rule is one decision of docs/DIALECT.md: where it applies and what it wants.
// It has either Drop or Check. No reply that it sees is silence.
type Rule struct {
	ID, Title string
	// Applies says whether the rule is about this case.
	Applies func(*Case) bool
	// Drop says that port53 does not side with this reply: it is set aside, and
	// the other peers are the measure.
	Drop func(*Case, Reply) bool
	// Check returns what is wrong with the subject's reply, or "". It decides
	// where the peers that are left differ.
	Check func(*Case) string
	// Always makes Check decide also where they agree.
	Always bool
}

const typeNXNAME = 128

// meta are the types without a meaning of their own in a question.
var meta = map[uint16]bool{41: true, 200: true, 249: true, 250: true, 253: true, 254: true}

// proof are the types that prove what a wildcard was made for (RFC 4035, section 3.1.3.3).
var proof = map[uint16]bool{probe.TypeNSEC: true, probe.TypeNSEC3: true, probe.TypeRRSIG: true}

// chainLimit is how many aliases port53 follows within a zone.
const chainLimit = 16

// rules are tried in order: all that drop, then the first that checks.
var rules = []Rule{
	{
		ID: "DIALECT 19", Title: "type 0 is a type like others",
		Applies: func(c *Case) bool { return c.Q.Type == 0 },
		Drop:    func(_ *Case, p Reply) bool { return p.Rcode == probe.NotImp },
	},
	{
		ID: "DIALECT 20", Title: "meta types without meaning are types like others",
		Applies: func(c *Case) bool { return meta[c.Q.Type] },
		Drop:    func(_ *Case, p Reply) bool { return p.Rcode == probe.NotImp || p.Rcode == probe.FormErr },
	},
	{
		ID: "DIALECT 20", Title: "NXNAME is not for asking",
		Applies: func(c *Case) bool { return c.Q.Type == typeNXNAME },
		Drop:    func(_ *Case, p Reply) bool { return p.Rcode != probe.FormErr },
	},
	{
		ID: "NSD and NSEC3", Title: "NSD does not follow aliases for NSEC3",
		Applies: func(c *Case) bool { return c.Q.Type == probe.TypeNSEC3 && aliased(c) },
		Drop:    func(_ *Case, p Reply) bool { return len(p.Answer) == 0 },
	},
	{
		ID: "DIALECT 4, 5", Title: "an alias into another zone of the server is not followed",
		Applies: func(c *Case) bool { return aliased(c) },
		Drop:    leavesZone,
	},
	{
		ID: "DIALECT 6", Title: "a substitution that overflows is YXDOMAIN, with the DNAME",
		Applies: func(c *Case) bool {
			return slices.ContainsFunc(c.Peers, func(p Reply) bool { return p.Rcode == probe.YXDomain })
		},
		Drop: func(_ *Case, p Reply) bool { return p.Rcode != probe.YXDomain || len(p.Authority) > 0 },
	},
	{
		ID: "DIALECT 3", Title: "a loop is no failure, and each record is there once",
		Applies: aliased,
		Drop: func(_ *Case, p Reply) bool {
			return p.Rcode == probe.ServFail || twice(p.Answer)
		},
	},
	{
		ID: "DIALECT 2", Title: "chains are followed",
		Applies: func(c *Case) bool { return longest(c) > 5 },
		Drop: func(c *Case, p Reply) bool {
			return count(p.Answer, probe.TypeCNAME) < longest(c) && len(p.Authority) == 0
		},
	},
	{
		ID: "DIALECT 7", Title: "ANY below a DNAME is followed",
		Applies: func(c *Case) bool { return c.Q.Type == probe.TypeANY && aliased(c) && has(c, probe.TypeDNAME) },
		Drop: func(c *Case, p Reply) bool {
			return len(p.Authority) == 0 && slices.ContainsFunc(c.Peers, func(o Reply) bool { return len(o.Answer)+len(o.Authority) > len(p.Answer) })
		},
	},
	{
		ID: "DIALECT 10", Title: "NSEC of a cut is not this zone's to answer",
		Applies: func(c *Case) bool {
			return c.Q.Type == probe.TypeNSEC && slices.ContainsFunc(c.Peers, func(p Reply) bool { return !p.AA && count(p.Authority, probe.TypeNS) > 0 })
		},
		Drop: func(_ *Case, p Reply) bool { return p.AA },
	},
	{
		ID: "DIALECT 11", Title: "a wildcard that is asked for by its name is a name like others",
		Applies: func(c *Case) bool { return nodata(c) && literalWildcard(c, probe.TypeNSEC3) },
		Drop:    func(c *Case, p Reply) bool { return count(p.Authority, probe.TypeNSEC3) == 2 },
	},
	{
		ID: "DIALECT 13", Title: "what an opt-out span covers gets the full closest encloser proof",
		Applies: func(c *Case) bool { return !nodata(c) && !aliased(c) && most(c, probe.TypeNSEC3) > 0 },
		Drop:    func(c *Case, p Reply) bool { return count(p.Authority, probe.TypeNSEC3) < most(c, probe.TypeNSEC3) },
	},
	{
		ID: "DIALECT 14, 15", Title: "zones are separate trees",
		Applies: func(c *Case) bool {
			return slices.ContainsFunc(c.Peers, func(p Reply) bool { return p.Rcode == probe.NXDomain && len(p.Answer) == 0 })
		},
		Drop: func(_ *Case, p Reply) bool { return p.Rcode == probe.NoError && len(p.Answer) == 0 && p.AA },
	},
	{
		ID: "DIALECT 8", Title: "ANY gets one set",
		Applies: func(c *Case) bool { return c.Q.Type == probe.TypeANY && answers(c) },
		Drop:    func(c *Case, p Reply) bool { return oneSet(c, p) != "" },
	},
	{
		ID: "DIALECT 20", Title: "NXNAME is not for asking",
		Applies: func(c *Case) bool { return c.Q.Type == typeNXNAME },
		Always:  true,
		Check: func(c *Case) string {
			if c.Got.Rcode != probe.FormErr || c.Got.AA || !empty(c.Got.Message) {
				return "the reply is not a bare FORMERR"
			}
			return ""
		},
	},
	{
		ID: "DIALECT 2", Title: "chains are followed where others give up",
		Applies: gaveUp,
		Always:  true,
		Check: func(c *Case) string {
			for _, p := range c.Peers {
				if len(minus(p.Answer, c.Got.Answer)) == 0 && c.Got.AA {
					return ""
				}
			}
			return "the answer lacks what a peer sends"
		},
	},
	{
		ID: "DIALECT 2, 3", Title: "a chain that does not end is no failure",
		Applies: endless,
		Always:  true,
		Check:   cutChain,
	},
	{
		ID: "DIALECT 4, 5", Title: "an alias to below a cut gets a referral, also where the child is here",
		Applies: func(c *Case) bool {
			return aliased(c) && slices.ContainsFunc(c.Got.Authority, func(rr probe.RR) bool { return rr.Type == probe.TypeNS && slices.Contains(c.Cuts, rr.Owner) })
		},
		Always: true,
		Check: func(c *Case) string {
			for _, p := range c.Peers {
				if probe.Set(p.Answer) == probe.Set(c.Got.Answer) && p.Rcode == c.Got.Rcode && p.AA == c.Got.AA {
					return ""
				}
			}
			return "the answer is no peer's"
		},
	},
	{
		ID: "DIALECT 8", Title: "ANY gets one set, any of them",
		Applies: func(c *Case) bool { return c.Q.Type == probe.TypeANY && answers(c) },
		Always:  true,
		Check:   func(c *Case) string { return oneSet(c, c.Got) },
	},
	{
		ID: "DIALECT 9", Title: "RRSIG gets those of one set",
		Applies: func(c *Case) bool { return c.Q.Type == probe.TypeRRSIG && answers(c) },
		Always:  true,
		Check:   someSignatures,
	},
}

// find returns the first rule that checks this case, or nil.
func find(c *Case) *Rule {
	for i := range rules {
		if rules[i].Check != nil && rules[i].Applies(c) {
			return &rules[i]
		}
	}
	return nil
}

func count(section []probe.RR, typ uint16) int {
	n := 0
	for _, rr := range section {
		if rr.Type == typ {
			n++
		}
	}
	return n
}

func most(c *Case, typ uint16) int {
	n := 0
	for _, p := range c.Peers {
		n = max(n, count(p.Authority, typ))
	}
	return n
}

// longest returns the most aliases in any peer's answer that is not a loop.
func longest(c *Case) int {
	n := 0
	for _, p := range c.Peers {
		if !twice(p.Answer) {
			n = max(n, count(p.Answer, probe.TypeCNAME))
		}
	}
	return n
}

func has(c *Case, typ uint16) bool {
	return slices.ContainsFunc(c.Peers, func(p Reply) bool { return count(p.Answer, typ) > 0 })
}

func aliased(c *Case) bool { return has(c, probe.TypeCNAME) }

// answers says that every peer has an answer or truncates one.
func answers(c *Case) bool {
	return !slices.ContainsFunc(c.Peers, func(p Reply) bool { return p.Rcode != probe.NoError || len(p.Answer) == 0 && !p.TC })
}

// nodata says that every peer that is not truncated says NOERROR without an
// answer.
func nodata(c *Case) bool {
	return !slices.ContainsFunc(c.Peers, func(p Reply) bool { return p.Rcode != probe.NoError || len(p.Answer) > 0 })
}

// literalWildcard says that a wildcard was asked for by its own name, and that
// most peers need one record of a type to deny what it lacks.
func literalWildcard(c *Case, typ uint16) bool {
	one := 0
	for _, p := range c.Peers {
		if count(p.Authority, typ) == 1 {
			one++
		}
	}
	return one > 1 && strings.HasPrefix(string(c.Q.Name), "\x01*")
}

func twice(section []probe.RR) bool {
	for i, rr := range section {
		if slices.Contains(section[:i], rr) {
			return true
		}
	}
	return false
}

func empty(m *probe.Message) bool { return len(m.Answer)+len(m.Authority)+len(m.Additional) == 0 }

// leavesZone says that a reply has records of another zone than the one that
// was asked: of names beside it, or signed or served by a zone below it.
func leavesZone(c *Case, p Reply) bool {
	for _, rr := range slices.Concat(p.Answer, p.Authority) {
		if !within(rr.Owner, c.Zone) || rr.Type == probe.TypeSOA && rr.Owner != c.Zone {
			return true
		}
	}
	// Data at or below a cut of the zone is the child's.
	for _, cut := range c.Cuts {
		for _, rr := range p.Answer {
			if within(rr.Owner, cut) && rr.Type != probe.TypeDS && !(rr.Type == probe.TypeRRSIG && strings.HasPrefix(rr.Data, "\x00\x2b")) {
				return true
			}
		}
	}
	return false
}

// within says that a name is at or below another; both are wire names in lower
// case.
func within(name, zone string) bool {
	for {
		if name == zone {
			return true
		}
		if name == "" || name[0] == 0 {
			return false
		}
		name = name[1+name[0]:]
	}
}

// gaveUpAfter is how many aliases Knot follows; it then says NOERROR.
const gaveUpAfter = 5

// gaveUp says that all that peers answered is the beginning of a chain.
func gaveUp(c *Case) bool {
	return !slices.ContainsFunc(c.Peers, func(p Reply) bool {
		return count(p.Answer, probe.TypeCNAME) != gaveUpAfter || len(p.Authority) > 0 || loops(p.Answer) || p.Rcode != probe.NoError
	})
}

// endless says that a peer's answer is a chain without an end in the zone: a
// loop, or one that another peer gave up on.
func endless(c *Case) bool {
	for _, p := range c.Peers {
		if p.TC {
			continue
		}
		n := count(p.Answer, probe.TypeCNAME)
		if n > 0 && (twice(p.Answer) || p.Rcode == probe.ServFail || n >= chainLimit) {
			return true
		}
		if n > 0 && p.Rcode == probe.NoError && len(p.Authority) == 0 && loops(p.Answer) {
			return true
		}
	}
	return false
}

// loops says that the last alias of an answer leads to a name that the answer
// has, or below the DNAME that it came from.
func loops(answer []probe.RR) bool {
	last := ""
	for _, rr := range answer {
		if rr.Type == probe.TypeCNAME {
			last = rr.Data
		}
	}
	for _, rr := range answer {
		if rr.Type == probe.TypeCNAME && rr.Owner == last || rr.Type == probe.TypeDNAME && within(last, rr.Owner) {
			return true
		}
	}
	return false
}

// cutChain wants NOERROR, each record once, and an end only where the chain
// comes back on itself or is long enough. That the aliases follow one another is
// judged for every answer.
func cutChain(c *Case) string {
	got := c.Got
	n := count(got.Answer, probe.TypeCNAME)
	switch {
	case got.Rcode != probe.NoError || !got.AA:
		return fmt.Sprintf("rcode is %s with AA %v", probe.RcodeText(got.Rcode), got.AA)
	case twice(got.Answer):
		return "a record is there twice"
	case n < chainLimit && slices.ContainsFunc(got.Authority, func(rr probe.RR) bool { return !proof[rr.Type] }):
		return "the authority section has more than proofs" // those of wildcards in the chain
	case n > chainLimit+1:
		return fmt.Sprintf("%d aliases, where %d are followed", n, chainLimit)
	case n < chainLimit && !loops(got.Answer):
		return fmt.Sprintf("the chain ends after %d aliases", n)
	}
	return ""
}

// oneSet wants one RRset, with its signatures if DO is set.
func oneSet(c *Case, got Reply) string {
	if got.Rcode != probe.NoError || !got.AA || len(got.Answer) == 0 {
		return "no answer"
	}
	var first probe.RR
	for _, rr := range got.Answer {
		switch {
		case rr.Type == probe.TypeRRSIG && c.Q.DO && first.Type != 0:
		case rr.Type == probe.TypeCNAME || rr.Type == probe.TypeDNAME || aliased(c): // on the way there
		case first.Type == 0:
			first = rr
		case rr.Type != first.Type || rr.Owner != first.Owner:
			return fmt.Sprintf("more than one set: %v and %v", first, rr)
		}
	}
	return ""
}

// someSignatures wants signatures that a peer sends too, over one type.
func someSignatures(c *Case) string {
	got := c.Got
	if got.Rcode != probe.NoError || !got.AA || len(got.Answer) == 0 {
		return "no answer"
	}
	var union []probe.RR
	authority := false
	for _, p := range c.Peers {
		union = append(union, p.Answer...)
		authority = authority || probe.Set(p.Authority) == probe.Set(got.Authority)
	}
	if !authority {
		return "the authority section is no peer's"
	}
	covered := ""
	for _, rr := range got.Answer {
		if !slices.Contains(union, rr) && c.Peer("nsd").Message != nil {
			return fmt.Sprintf("no peer sends %v", rr)
		}
		if rr.Type == probe.TypeRRSIG {
			if covered != "" && rr.Data[:2] != covered && !aliased(c) {
				return "signatures of more than one set"
			}
			covered = rr.Data[:2]
		}
	}
	return ""
}
