package query

import (
	"fmt"
	"strings"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// AppendStep appends a step as comment lines and, of a referral, the records that
// refer.
func (s *Style) AppendStep(dst []byte, step *Step) []byte {
	inner := strings.Repeat("  ", step.Depth)
	question := ""
	if step.Depth > 0 {
		question = fmt.Sprintf(" for %s %v", NameText(step.Name), step.Type)
	}
	took := ""
	if step.Reply != nil {
		took = fmt.Sprintf(" (%s, %s)", exchange.Transport(step.Reply.TCP), s.took(step.Reply))
	}
	dst = fmt.Appendf(dst, ";; %s%s: asked %s %v%s%s: %s\n", inner, NameText(step.Zone), NameText(step.Server), step.Addr.Addr(), question, took, step.Text())
	if step.Kind == StepKind(Referred) && step.Depth == 0 && s.Sections[wire.Authority] {
		for i := range step.Reply.Message.Records {
			rr := &step.Reply.Message.Records[i]
			if rr.Section == wire.Authority {
				dst = s.AppendRecord(dst, rr)
			}
		}
		for _, server := range step.Servers {
			if len(server.Addrs) == 0 {
				dst = fmt.Appendf(dst, "; %s has no glue: its address is to be found\n", NameText(server.Name))
			}
		}
		dst = append(dst, '\n')
	}
	return dst
}

// A TraceReport is a trace as JSON.
type TraceReport struct {
	Schema   int            `json:"schema"`
	Question QuestionReport `json:"question"`
	Outcome  string         `json:"outcome"` // of the last reply, or "failure"
	Usable   bool           `json:"usable"`
	Steps    []StepReport   `json:"steps"`
	Aliases  []string       `json:"aliases,omitempty"`
	Reply    *ReplyReport   `json:"reply,omitempty"`
	Error    string         `json:"error,omitempty"`
	Queries  int            `json:"queries"`
	Took     int64          `json:"took_us"`
	Meaning  []string       `json:"meaning"`
}

// A StepReport is one step as JSON.
type StepReport struct {
	Depth      int            `json:"depth"`
	Zone       string         `json:"zone"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	ServerName string         `json:"server_name"`
	Server     string         `json:"server"` // address:port
	Kind       StepKind       `json:"kind"`
	Text       string         `json:"text"`
	RTT        int64          `json:"rtt_us,omitempty"`
	Transport  string         `json:"transport,omitempty"`
	Rcode      string         `json:"rcode,omitempty"`
	Child      string         `json:"child,omitempty"`
	Signed     bool           `json:"child_signed,omitempty"`
	Servers    []ServerReport `json:"servers,omitempty"`
	Target     string         `json:"target,omitempty"`
}

// A ServerReport is a server that a referral names, and its glue.
type ServerReport struct {
	Name string   `json:"name"`
	Glue []string `json:"glue,omitempty"`
}

// Report returns the step as it is in JSON.
func (s *Step) Report() StepReport {
	r := StepReport{
		Depth: s.Depth, Zone: NameText(s.Zone), Name: NameText(s.Name), Type: s.Type.String(),
		ServerName: NameText(s.Server), Server: s.Addr.String(), Kind: s.Kind, Text: s.Text(), Signed: s.Signed,
	}
	if s.Reply != nil {
		r.RTT, r.Transport, r.Rcode = s.Reply.RTT.Microseconds(), strings.ToLower(exchange.Transport(s.Reply.TCP)), s.Reply.Message.Rcode.String()
	}
	if s.Child != nil {
		r.Child = NameText(s.Child)
	}
	if s.Target != nil {
		r.Target = NameText(s.Target)
	}
	for _, server := range s.Servers {
		sr := ServerReport{Name: NameText(server.Name)}
		for _, a := range server.Addrs {
			sr.Glue = append(sr.Glue, a.String())
		}
		r.Servers = append(r.Servers, sr)
	}
	return r
}

// Meaning says what a trace came to. err is that of [Tracer.Trace].
func (t *Traced) Meaning(err error) []string {
	var say []string
	if len(t.Aliases) > 0 {
		names := make([]string, len(t.Aliases))
		for i, n := range t.Aliases {
			names[i] = NameText(n)
		}
		say = append(say, "the name is an alias of "+strings.Join(names, ", that of "))
	}
	if t.Reply != nil {
		say = append(say, Meaning(t.Reply)...)
	}
	if err != nil {
		say = append(say, err.Error())
	}
	return append(say, fmt.Sprintf("%s from the root on, %d msec in all", plural(t.Queries, "question"), t.Took.Milliseconds()))
}

// Report returns the whole trace as it is in JSON. err is that of [Tracer.Trace].
func (t *Traced) Report(q *exchange.Question, steps []StepReport, err error) TraceReport {
	r := TraceReport{
		Schema: Schema, Question: ReportQuestion(q), Outcome: string(Failed), Steps: steps,
		Queries: t.Queries, Took: t.Took.Microseconds(), Meaning: t.Meaning(err),
	}
	for _, n := range t.Aliases {
		r.Aliases = append(r.Aliases, NameText(n))
	}
	if t.Reply != nil {
		f := Understand(t.Reply)
		r.Outcome, r.Usable, r.Reply = string(f.Outcome), f.Outcome.Usable(), reportMessage(t.Reply)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}
