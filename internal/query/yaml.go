package query

import (
	"fmt"
	"strings"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// AppendYAML appends a reply as dig +yaml prints it.
func AppendYAML(dst []byte, r *exchange.Reply) []byte {
	m := &r.Message
	kind, data := "RECURSIVE_RESPONSE", "response_message_data"
	if m.Flags&wire.FlagAA != 0 {
		kind = "AUTH_RESPONSE"
	}
	family := "INET"
	if r.Server.Addr().Is6() {
		family = "INET6"
	}
	stamp := func(at time.Time) string { return "!!timestamp " + at.UTC().Format("2006-01-02T15:04:05.000Z") }
	dst = fmt.Appendf(dst, "-\n  type: MESSAGE\n  message:\n    type: %s\n    query_time: %s\n    response_time: %s\n    message_size: %db\n    socket_family: %s\n    socket_protocol: %s\n    response_address: %q\n    response_port: %d\n    %s:\n",
		kind, stamp(r.At), stamp(r.At.Add(r.RTT)), len(r.Raw), family, exchange.Transport(r.TCP), r.Server.Addr(), r.Server.Port(), data)
	dst = fmt.Appendf(dst, "      opcode: %v\n      status: %v\n      id: %d\n      flags: %s\n", m.Opcode, m.Rcode, m.ID, strings.Join(Flags(m.Flags), " "))
	counts := [3]int{}
	for i := range m.Records {
		counts[m.Records[i].Section]++
	}
	edns := 0
	if m.EDNS {
		edns = 1
	}
	dst = fmt.Appendf(dst, "      QUESTION: %d\n      ANSWER: %d\n      AUTHORITY: %d\n      ADDITIONAL: %d\n", 1, counts[wire.Answer], counts[wire.Authority], counts[wire.Additional]+edns)
	if m.EDNS {
		flags := ""
		if m.DO {
			flags = " do"
		}
		dst = fmt.Appendf(dst, "      OPT_PSEUDOSECTION:\n        EDNS:\n          version: %d\n          flags:%s\n          udp: %d\n", m.Version, flags, m.UDPSize)
		for _, o := range exchange.Options(m) {
			dst = fmt.Appendf(dst, "          %s: %x\n", optionName(o.Code), o.Data)
		}
	}
	q := r.Question
	dst = fmt.Appendf(dst, "      QUESTION_SECTION:\n        - %s\n", yamlString(fmt.Sprintf("%s %v %v", NameText(q.Name), q.Class, q.Type)))
	for _, s := range []struct {
		section wire.Section
		title   string
	}{{wire.Answer, "ANSWER"}, {wire.Authority, "AUTHORITY"}, {wire.Additional, "ADDITIONAL"}} {
		if counts[s.section] == 0 {
			continue
		}
		dst = fmt.Appendf(dst, "      %s_SECTION:\n", s.title)
		for i := range m.Records {
			if rr := &m.Records[i]; rr.Section == s.section {
				j := ReportRecord(rr)
				dst = fmt.Appendf(dst, "        - %s\n", yamlString(fmt.Sprintf("%s %d %s %s %s", j.Name, j.TTL, j.Class, j.Type, j.Data)))
			}
		}
	}
	return dst
}

// yamlString writes text, which has no control characters, in single quotes.
func yamlString(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
