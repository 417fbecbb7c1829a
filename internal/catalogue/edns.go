package catalogue

import (
	"bytes"
	"fmt"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// unknownOption is the code of an EDNS option that nobody knows.
const unknownOption = 100

// A compliance says what is wrong with a reply; "" is right.
type compliance func(m *check.Reply) string

// An ednsCase is one row of the EDNS compliance matrix.
type ednsCase struct {
	id    string // behind SRV-EDNS-
	typ   wire.Type
	edns  *check.EDNS // nil: none
	judge compliance
	tcp   bool
}

// ednsChecks returns the EDNS matrix (RFC 6891, RFC 8906), as the Internet Systems
// Consortium's compliance report defines it.
func ednsChecks() []*check.Check {
	unknown := wire.AppendOption(nil, unknownOption, nil)
	cookie := wire.AppendOption(nil, wire.OptionCookie, []byte("\x01\x23\x45\x67\x89\xab\xcd\xef"))
	padding := wire.AppendOption(nil, wire.OptionPadding, make([]byte, 16))
	several := bytes.Join(
		[][]byte{
			wire.AppendOption(nil, wire.OptionNSID, nil),
			wire.AppendOption(nil, 9, nil),
			wire.AppendOption(nil, 8, []byte{0, 1, 0, 0}),
			cookie,
		},
		nil,
	)
	const size = check.EDNSSize
	var list []*check.Check
	for _, c := range []ednsCase{
		{"DNS", wire.TypeSOA, nil, plainReply, false},
		{"EDNS", wire.TypeSOA, &check.EDNS{Size: size}, goodReply, false},
		{"EDNS1", wire.TypeSOA, &check.EDNS{Size: size, Version: 1}, badVersion, false},
		{"EDNS512", wire.TypeDNSKEY, &check.EDNS{Size: wire.MinUDP}, smallReply, false},
		{"OPT", wire.TypeSOA, &check.EDNS{Size: size, Options: unknown}, noEcho(goodReply), false},
		{"1OPT", wire.TypeSOA, &check.EDNS{Size: size, Version: 1, Options: unknown}, noEcho(badVersion), false},
		{"DO", wire.TypeSOA, &check.EDNS{Size: size, DO: true}, keepsDO, false},
		{"FLAGS", wire.TypeSOA, &check.EDNS{Size: size, Flags: 0x80}, noFlags, false},
		{"OPTLIST", wire.TypeSOA, &check.EDNS{Size: size, Options: several}, goodOrBadCookie, false},
		{"DOCOOKIE", wire.TypeSOA, &check.EDNS{Size: size, DO: true, Options: cookie}, goodOrBadCookie, false},
		{"512TCP", wire.TypeDNSKEY, &check.EDNS{Size: wire.MinUDP, DO: true}, notTruncated, true},
		{"TCP", wire.TypeSOA, &check.EDNS{Size: size}, goodReply, true},
		{"SIGNED512", wire.TypeDNSKEY, &check.EDNS{Size: wire.MinUDP, DO: true}, smallReply, false},
		{"PADDING", wire.TypeSOA, &check.EDNS{Size: size, Options: padding}, goodReply, false},
	} {
		ask := func(r *check.Run) check.Query { return check.Query{Name: r.Apex(), Type: c.typ, EDNS: c.edns} }
		dropped := quiet{state: finding.Warn, text: "timeout: the question is not answered"}
		if c.id == "DNS" || c.id == "EDNS" || c.id == "DO" || c.id == "TCP" {
			dropped.state, dropped.severity = finding.Fail, finding.SevHigh // resolvers ask so (DNS Flag Day 2019)
		}
		run := single(ask, judgeEDNS(c.judge), dropped)
		if c.tcp {
			run = singleTCP(ask, judgeEDNS(c.judge), dropped)
		}
		list = append(list, &check.Check{
			Check: finding.Check{ID: "SRV-EDNS-" + c.id, Severity: finding.SevMedium},
			Needs: check.Needs{Authority: true}, Run: run,
		})
	}
	return described(GroupServer, check.ScopeServer, "edns.txt", list)
}

// judgeEDNS judges a reply where the server does not refuse the name as such.
func judgeEDNS(wrong compliance) func(r *check.Run, m *check.Reply) (finding.State, string) {
	return func(r *check.Run, m *check.Reply) (finding.State, string) {
		if m.Rcode == wire.Refused && r.Zone == nil {
			return finding.Skipped, "the server refuses who asks from here: what it does with EDNS is for its own clients to see"
		}
		if m.Rcode == wire.Refused {
			return finding.Unknown, "the server refuses this name: its EDNS cannot be told from that"
		}
		if why := wrong(m); why != "" {
			return finding.Warn, why
		}
		return finding.Pass, "as the standard has it"
	}
}

func plainReply(m *check.Reply) string {
	if m.EDNS {
		return "opt: an OPT record though none was sent"
	}
	if m.Rcode != wire.NoError {
		return "status: " + m.Rcode.String()
	}
	return ""
}

// version0 wants an OPT record of version 0.
func version0(m *check.Reply) string {
	switch {
	case !m.EDNS:
		return "noopt: the reply has no OPT record"
	case m.Version != 0:
		return fmt.Sprintf("version: the reply's EDNS version is %d", m.Version)
	}
	return ""
}

func goodReply(m *check.Reply) string {
	if m.Rcode != wire.NoError {
		return "status: " + m.Rcode.String()
	}
	return version0(m)
}

// badVersion wants BADVERS and nothing else (RFC 6891, section 6.1.3).
func badVersion(m *check.Reply) string {
	if m.Rcode != wire.BadVers {
		return "badvers expected, got " + m.Rcode.String()
	}
	if why := version0(m); why != "" {
		return why
	}
	if len(m.In(wire.Answer, wire.TypeSOA)) > 0 {
		return "soa: BADVERS with an answer"
	}
	return ""
}

// noEcho wants an unknown option ignored (RFC 6891, section 6.1.2).
func noEcho(next compliance) compliance {
	return func(m *check.Reply) string {
		if _, ok := m.Option(unknownOption); ok {
			return "echoed: an unknown option came back"
		}
		return next(m)
	}
}

func smallReply(m *check.Reply) string {
	if len(m.Raw) > wire.MinUDP {
		return fmt.Sprintf("size: %d octets where 512 were allowed", len(m.Raw))
	}
	return goodReply(m)
}

// keepsDO wants the DO flag back (RFC 3225, section 3).
func keepsDO(m *check.Reply) string {
	if why := goodReply(m); why != "" {
		return why
	}
	if !m.DO {
		return "nodo: the DO flag did not come back"
	}
	return ""
}

// noFlags wants those flags zero that must be (RFC 6891, section 6.1.4).
func noFlags(m *check.Reply) string {
	if f, ok := optFlags(m.Raw); ok && f&0x7FFF != 0 {
		return fmt.Sprintf("mbz: flags %#04x came back", f)
	}
	return goodReply(m)
}

func goodOrBadCookie(m *check.Reply) string {
	if m.Rcode == wire.BadCookie {
		return version0(m)
	}
	return goodReply(m)
}

func notTruncated(m *check.Reply) string {
	if m.Flags&wire.FlagTC != 0 {
		return "tc: truncated over TCP"
	}
	return goodReply(m)
}
