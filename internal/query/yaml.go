package query

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// AppendYAML appends a reply, and the query before it if the style has it, as dig +yaml prints them:
// an element of a list each, of the parts that the style has.
func (s *Style) AppendYAML(dst []byte, r *exchange.Reply) []byte {
	parts := *s
	if s.Short {
		parts.All(false)
	}
	if s.Query {
		var m wire.Message
		_ = m.Parse(r.Sent) // what the user made odd is shown as far as it can be read
		kind := "AUTH_QUERY"
		if m.Flags&wire.FlagRD != 0 {
			kind = "RECURSIVE_QUERY"
		}
		dst = yamlHead(dst, r, kind, len(r.Sent))
		dst = append(dst, "    query_message_data:\n"...)
		dst = parts.yamlMessage(dst, &m, nil)
	}
	kind := "AUTH_RESPONSE"
	if r.Message.Flags&(wire.FlagAA|wire.FlagRD) == wire.FlagRD {
		kind = "RECURSIVE_RESPONSE"
	}
	dst = yamlHead(dst, r, kind, len(r.Raw))
	dst = append(dst, "    response_message_data:\n"...)
	return parts.yamlMessage(dst, &r.Message, r.Sent)
}

// AppendYAMLTransfer appends the head of what a transfer brings, to which records are added by
// AppendYAMLRecord.
func AppendYAMLTransfer(dst []byte, server netip.AddrPort) []byte {
	return fmt.Appendf(
		dst,
		"- type: MESSAGE\n  message:\n    type: AUTH_RESPONSE\n    socket_protocol: TCP\n    response_address: %q\n    "+
			"response_port: %d\n    response_message_data:\n      opcode: QUERY\n      ANSWER_SECTION:\n",
		server.Addr(),
		server.Port(),
	)
}

// AppendYAMLRecord appends a record as an element of a section.
func (s *Style) AppendYAMLRecord(dst []byte, rr *wire.Record) []byte {
	return fmt.Appendf(
		dst,
		"        - %s\n",
		yamlString(fmt.Sprintf("%s %d %v %v %s", s.name(rr.Owner), rr.TTL, rr.Class, rr.Type, s.data(rr))),
	)
}

// yamlHead appends what is known of a message but for its data.
func yamlHead(dst []byte, r *exchange.Reply, kind string, size int) []byte {
	family := "INET"
	if r.Server.Addr().Is6() {
		family = "INET6"
	}
	stamp := func(at time.Time) string { return "!!timestamp " + at.UTC().Format("2006-01-02T15:04:05.000Z") }
	dst = fmt.Appendf(dst, "- type: MESSAGE\n  message:\n    type: %s\n    query_time: %s\n", kind, stamp(r.At))
	if strings.HasSuffix(kind, "RESPONSE") {
		dst = fmt.Appendf(dst, "    response_time: %s\n", stamp(r.At.Add(r.RTT)))
	}
	return fmt.Appendf(
		dst,
		"    message_size: %db\n    socket_family: %s\n    socket_protocol: %s\n    response_address: %q\n    "+
			"response_port: %d\n    query_address: \"0.0.0.0\"\n    query_port: 0\n",
		size,
		family,
		r.TransportName(),
		r.Server.Addr(),
		r.Server.Port(),
	)
}

// yamlMessage appends the data of a message; sent is the query that it answers, or nil.
func (s *Style) yamlMessage(dst []byte, m *wire.Message, sent []byte) []byte {
	counts := [3]int{}
	for i := range m.Records {
		counts[m.Records[i].Section]++
	}
	edns, question := 0, 0
	if m.EDNS {
		edns = 1
	}
	if m.HasQuestion {
		question = 1
	}
	dst = fmt.Appendf(
		dst,
		"      opcode: %v\n      status: %v\n      id: %d\n      flags: %s\n",
		m.Opcode,
		m.Rcode,
		m.ID,
		strings.Join(Flags(m.Flags), " "),
	)
	dst = fmt.Appendf(
		dst,
		"      QUESTION: %d\n      ANSWER: %d\n      AUTHORITY: %d\n      ADDITIONAL: %d\n",
		question,
		counts[wire.Answer],
		counts[wire.Authority],
		counts[wire.Additional]+edns,
	)
	if m.EDNS && s.Comments {
		flags := ""
		if m.DO {
			flags = " do"
		}
		dst = fmt.Appendf(
			dst,
			"      OPT_PSEUDOSECTION:\n        EDNS:\n          version: %d\n          flags:%s\n          udp: %d\n",
			m.Version,
			flags,
			m.UDPSize,
		)
		for _, o := range exchange.Options(m) {
			text := optionText(o) + cookieVerdict(o, sent)
			if o.Code != wire.OptionCookie {
				text = yamlString(text) // may be anything
			}
			dst = fmt.Appendf(dst, "          %s: %s\n", optionName(o.Code), text)
		}
	}
	if question > 0 && s.Question {
		dst = fmt.Appendf(
			dst,
			"      QUESTION_SECTION:\n        - %s\n",
			yamlString(fmt.Sprintf("%s %v %v", s.name(m.Name), m.Class, m.Type)),
		)
	}
	for section := wire.Answer; section <= wire.Additional; section++ {
		if counts[section] == 0 || !s.Sections[section] {
			continue
		}
		dst = fmt.Appendf(dst, "      %s_SECTION:\n", sectionTitles[section])
		for i := range m.Records {
			if rr := &m.Records[i]; rr.Section == section {
				dst = s.AppendYAMLRecord(dst, rr)
			}
		}
	}
	return dst
}

// yamlString writes text, which has no control characters, in single quotes.
func yamlString(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
