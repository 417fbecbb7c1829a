package query

import (
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// Schema is the version of the JSON schema: it grows when a field changes its meaning
// or goes away, not when one is added.
const Schema = 1

// A Report is a question and what came of it, as JSON.
type Report struct {
	Schema   int            `json:"schema"`
	Question QuestionReport `json:"question"`
	// Outcome is an [Outcome], or "timeout" or "unreachable" if no server replied.
	Outcome  string       `json:"outcome"`
	Usable   bool         `json:"usable"` // the exit code would be 0
	Reply    *ReplyReport `json:"reply,omitempty"`
	Error    string       `json:"error,omitempty"`
	Meaning  []string     `json:"meaning"`
	Attempts []string     `json:"failed_attempts,omitempty"`
}

// A QuestionReport is what was asked.
type QuestionReport struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Class  string `json:"class"`
	Opcode string `json:"opcode,omitempty"` // unless QUERY
}

// A ReplyReport is one message.
//
// In one piece: it is the form of the JSON.
type ReplyReport struct {
	Server    string    `json:"server"` // address:port
	Transport string    `json:"transport"`
	Time      time.Time `json:"time"`
	RTT       int64     `json:"rtt_us"`
	Size      int       `json:"size"`
	Truncated bool      `json:"truncated_over_udp,omitempty"`

	ID         uint16         `json:"id"`
	Opcode     string         `json:"opcode"`
	Rcode      string         `json:"rcode"`
	Flags      []string       `json:"flags"`
	Answer     []RecordReport `json:"answer"`
	Authority  []RecordReport `json:"authority"`
	Additional []RecordReport `json:"additional"`
	EDNS       *EDNSReport    `json:"edns,omitempty"`
	Errors     []ErrorReport  `json:"extended_errors,omitempty"`
	Malformed  string         `json:"malformed,omitempty"`
}

// A RecordReport is one record, its data in presentation form.
type RecordReport struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Class string `json:"class"`
	TTL   uint32 `json:"ttl"`
	Data  string `json:"data"`
}

// An EDNSReport is an OPT record.
type EDNSReport struct {
	Version uint8          `json:"version"`
	UDPSize uint16         `json:"udp_size"`
	DO      bool           `json:"do"`
	Options []OptionReport `json:"options,omitempty"`
}

// An OptionReport is one EDNS option.
type OptionReport struct {
	Code uint16 `json:"code"`
	Name string `json:"name"`
	Hex  string `json:"hex"`
	Text string `json:"text,omitempty"`
}

// An ErrorReport is an Extended DNS Error (RFC 8914).
type ErrorReport struct {
	Code uint16 `json:"code"`
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
}

// ReportQuestion returns the question for a report.
func ReportQuestion(q *exchange.Question) QuestionReport {
	r := QuestionReport{Name: NameText(q.Name), Type: q.Type.String(), Class: q.Class.String()}
	if q.Opcode != wire.OpcodeQuery {
		r.Opcode = q.Opcode.String()
	}
	return r
}

// ReportReply returns all of r.
func ReportReply(r *exchange.Reply) Report {
	f := chain.Classify(r)
	report := Report{
		Schema: Schema, Question: ReportQuestion(r.Question), Outcome: string(f.Outcome), Usable: f.Outcome.Usable(),
		Reply: reportMessage(r), Meaning: Meaning(r),
	}
	for _, a := range r.Failed {
		report.Attempts = append(report.Attempts, a.String())
	}
	return report
}

func reportMessage(r *exchange.Reply) *ReplyReport {
	m := &r.Message
	j := &ReplyReport{
		Server: r.Server.String(), Transport: strings.ToLower(r.TransportName()),
		Time: r.At.UTC(), RTT: r.RTT.Microseconds(), Size: len(r.Raw), Truncated: r.Truncated,
		ID: m.ID, Opcode: m.Opcode.String(), Rcode: m.Rcode.String(), Flags: Flags(m.Flags),
		Answer: []RecordReport{}, Authority: []RecordReport{}, Additional: []RecordReport{},
	}
	if r.Fault != 0 {
		j.Malformed = r.Fault.String()
	}
	for i := range m.Records {
		rr := &m.Records[i]
		to := [...]*[]RecordReport{&j.Answer, &j.Authority, &j.Additional}[rr.Section]
		*to = append(*to, ReportRecord(rr))
	}
	if !m.EDNS {
		return j
	}
	j.EDNS = &EDNSReport{Version: m.Version, UDPSize: m.UDPSize, DO: m.DO}
	for _, o := range exchange.Options(m) {
		if o.Code == wire.OptionEDE && len(o.Data) >= 2 {
			j.Errors = append(j.Errors, ErrorReport{be16(o.Data), wire.ErrorText(be16(o.Data)), Printable(o.Data[2:])})
		}
		text := optionText(o)
		x := hex.EncodeToString(o.Data)
		if text == x {
			text = ""
		}
		j.EDNS.Options = append(j.EDNS.Options, OptionReport{o.Code, optionName(o.Code), x, text})
	}
	return j
}

// ReportRecord returns a record for a report.
func ReportRecord(rr *wire.Record) RecordReport {
	return RecordReport{
		NameText(rr.Owner), rr.Type.String(), rr.Class.String(), rr.TTL,
		string(wire.AppendRdataText(nil, rr.Type, rr.Data)),
	}
}

// FailureReport returns the report of a question that nobody answered.
func FailureReport(q *exchange.Question, err error) Report {
	r := Report{Schema: Schema, Question: ReportQuestion(q), Outcome: "unreachable", Error: err.Error(), Meaning: []string{}}
	if exchange.IsTimeout(err) {
		r.Outcome = "timeout"
	}
	var u *exchange.NoReplyError
	if errors.As(err, &u) {
		for _, a := range u.Attempts {
			r.Attempts = append(r.Attempts, a.String())
		}
	}
	return r
}
