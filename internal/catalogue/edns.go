package catalogue

import (
	"bytes"
	"fmt"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// ednsAdvice is what to do about servers and middleboxes that do not speak EDNS.
var ednsAdvice = map[check.Product]string{
	"":        "Upgrade the server; let firewalls pass DNS messages with any EDNS version, flag and option.",
	"bind":    "Upgrade to a supported BIND; check that no `server ADDR { edns no; };` is set.",
	"msdns":   "dnscmd /Config /EnableEDNSProbes 1, and install current updates.",
	"dnsmasq": "Upgrade to dnsmasq 2.90 or later.",
	"coredns": "Upgrade CoreDNS; let `forward` pass OPT records.",
	"port53":  "No setting turns EDNS off: look for a middlebox before the server.",
}

// ednsCase is one row of the EDNS compliance matrix.
type ednsCase struct {
	id, title, judged string
	tcp               bool
	typ               wire.Type
	edns              *check.EDNS
	judge             func(r *check.Run, m *check.Reply) string // "" is right
}

// ednsChecks returns the EDNS matrix (RFC 6891, RFC 8906), as the Internet Systems
// Consortium's compliance report defines it.
func ednsChecks() []*check.Check {
	version0 := func(r *check.Run, m *check.Reply) string {
		switch {
		case !m.EDNS:
			return "noopt: the reply has no OPT record"
		case m.Version != 0:
			return fmt.Sprintf("version: the reply's EDNS version is %d", m.Version)
		}
		return ""
	}
	good := func(r *check.Run, m *check.Reply) string {
		if m.Rcode != wire.NoError {
			return "status: " + m.Rcode.String()
		}
		return version0(r, m)
	}
	badvers := func(r *check.Run, m *check.Reply) string {
		if m.Rcode != wire.BadVers {
			return "badvers expected, got " + m.Rcode.String()
		}
		if why := version0(r, m); why != "" {
			return why
		}
		if len(m.In(wire.Answer, wire.TypeSOA)) > 0 {
			return "soa: BADVERS with an answer"
		}
		return ""
	}
	noEcho := func(next func(*check.Run, *check.Reply) string) func(*check.Run, *check.Reply) string {
		return func(r *check.Run, m *check.Reply) string {
			if _, ok := m.Option(100); ok {
				return "echoed: an unknown option came back"
			}
			return next(r, m)
		}
	}
	small := func(r *check.Run, m *check.Reply) string {
		if len(m.Raw) > wire.MinUDP {
			return fmt.Sprintf("size: %d octets where 512 were allowed", len(m.Raw))
		}
		return good(r, m)
	}
	unknownOpt := check.EDNSOption(100, nil)
	cookie := check.EDNSOption(wire.OptionCookie, []byte("\x01\x23\x45\x67\x89\xab\xcd\xef"))
	list := bytes.Join([][]byte{check.EDNSOption(wire.OptionNSID, nil), check.EDNSOption(9, nil), check.EDNSOption(8, []byte{0, 1, 0, 0}), cookie}, nil)
	cases := []ednsCase{
		{id: "DNS", title: "plain DNS", typ: wire.TypeSOA, judged: "NOERROR without OPT", judge: func(_ *check.Run, m *check.Reply) string {
			if m.EDNS {
				return "opt: an OPT record though none was sent"
			}
			if m.Rcode != wire.NoError {
				return "status: " + m.Rcode.String()
			}
			return ""
		}},
		{id: "EDNS", title: "plain EDNS", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize}, judged: "NOERROR, OPT of version 0", judge: good},
		{id: "EDNS1", title: "EDNS version 1", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, Version: 1}, judged: "BADVERS, version 0, no answer (RFC 6891, section 6.1.3)", judge: badvers},
		{id: "EDNS512", title: "EDNS with 512 octets", typ: wire.TypeDNSKEY, edns: &check.EDNS{Size: 512}, judged: "at most 512 octets, OPT of version 0", judge: small},
		{id: "OPT", title: "an unknown EDNS option", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, Options: unknownOpt}, judged: "ignored and not echoed (RFC 6891, section 6.1.2)", judge: noEcho(good)},
		{id: "1OPT", title: "an unknown option in EDNS version 1", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, Version: 1, Options: unknownOpt}, judged: "BADVERS, and not echoed", judge: noEcho(badvers)},
		{id: "DO", title: "the DO flag", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, DO: true}, judged: "DO is copied (RFC 3225, section 3)", judge: func(r *check.Run, m *check.Reply) string {
			if why := good(r, m); why != "" {
				return why
			}
			if !m.DO {
				return "nodo: the DO flag did not come back"
			}
			return ""
		}},
		{id: "FLAGS", title: "an unknown EDNS flag", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, Flags: 0x80}, judged: "the flags that must be zero are (RFC 6891, section 6.1.4)", judge: func(r *check.Run, m *check.Reply) string {
			if f, ok := optFlags(m.Raw); ok && f&0x7FFF != 0 {
				return fmt.Sprintf("mbz: flags %#04x came back", f)
			}
			return good(r, m)
		}},
		{id: "OPTLIST", title: "several options at once", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, Options: list}, judged: "NOERROR: what is not known is ignored", judge: good},
		{id: "DOCOOKIE", title: "DO and a cookie", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, DO: true, Options: cookie}, judged: "NOERROR or BADCOOKIE, OPT of version 0", judge: func(r *check.Run, m *check.Reply) string {
			if m.Rcode == wire.BadCookie {
				return version0(r, m)
			}
			return good(r, m)
		}},
		{id: "512TCP", title: "512 octets over TCP", tcp: true, typ: wire.TypeDNSKEY, edns: &check.EDNS{Size: 512, DO: true}, judged: "the size means nothing on TCP: never TC", judge: func(r *check.Run, m *check.Reply) string {
			if m.Flags&wire.FlagTC != 0 {
				return "tc: truncated over TCP"
			}
			return good(r, m)
		}},
		{id: "TCP", title: "EDNS over TCP", tcp: true, typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize}, judged: "NOERROR, OPT of version 0", judge: good},
		{id: "SIGNED512", title: "signed data in 512 octets", typ: wire.TypeDNSKEY, edns: &check.EDNS{Size: 512, DO: true}, judged: "fits or is truncated with OPT", judge: small},
		{id: "PADDING", title: "the padding option", typ: wire.TypeSOA, edns: &check.EDNS{Size: check.EDNSSize, Options: check.EDNSOption(wire.OptionPadding, make([]byte, 16))}, judged: "NOERROR (RFC 7830)", judge: good},
	}
	var out []*check.Check
	for _, c := range cases {
		ask := func(r *check.Run) check.Query { return check.Query{Name: r.Apex(), Type: c.typ, EDNS: c.edns} }
		judge := func(r *check.Run, m *check.Reply) (finding.State, string) {
			if m.Rcode == wire.Refused && r.Zone == nil {
				return finding.Skipped, "the server refuses who asks from here: what it does with EDNS is for its own clients to see"
			}
			if m.Rcode == wire.Refused {
				return finding.Unknown, "the server refuses this name: its EDNS cannot be told from that"
			}
			if why := c.judge(r, m); why != "" {
				return finding.Warn, why
			}
			return finding.Pass, "as the standard has it"
		}
		run := single(ask, judge)
		if c.tcp {
			run = singleTCP(ask, judge)
		}
		out = append(out, &check.Check{
			Check: finding.Check{ID: "SRV-EDNS-" + c.id, Title: "EDNS: " + c.title, Group: GroupServer, Severity: finding.SevMedium, Sent: "Asks with " + c.title + ". Servers and middleboxes that break on it cost every resolver retries, and break DNSSEC, cookies and what comes next.", Judged: c.judged + ".", Advice: ednsAdvice, Refs: []string{"RFC 6891", "RFC 8906"}},
			Needs: check.Needs{Authority: true},
			Scope: check.ScopeServer, Run: run,
		})
	}
	return out
}
