package query

import (
	"errors"
	"fmt"
	"strings"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// AppendStep appends a step as comment lines and, of a referral, the records that
// refer.
func (s *Style) AppendStep(dst []byte, step *chain.Step) []byte {
	inner := strings.Repeat("  ", step.Depth)
	question := ""
	if step.Depth > 0 {
		question = fmt.Sprintf(" for %s %v", NameText(step.Name), step.Type)
	}
	took := ""
	if step.Reply != nil {
		took = fmt.Sprintf(" (%s, %s)", step.Reply.TransportName(), s.took(step.Reply))
	}
	dst = fmt.Appendf(
		dst,
		";; %s%s: asked %s %v%s%s: %s\n",
		inner,
		NameText(step.Zone),
		NameText(step.Server),
		step.Addr.Addr(),
		question,
		took,
		stepText(step),
	)
	if step.Kind == chain.StepKind(chain.Referred) && step.Depth == 0 && s.Sections[wire.Authority] {
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
	Kind       chain.StepKind `json:"kind"`
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

// ReportStep returns a step as it is in JSON.
func ReportStep(s *chain.Step) StepReport {
	r := StepReport{
		Depth: s.Depth, Zone: NameText(s.Zone), Name: NameText(s.Name), Type: s.Type.String(),
		ServerName: NameText(s.Server), Server: s.Addr.String(), Kind: s.Kind, Text: stepText(s), Signed: s.Signed,
	}
	if s.Reply != nil {
		r.RTT, r.Transport, r.Rcode = s.Reply.RTT.Microseconds(), strings.ToLower(s.Reply.TransportName()), s.Reply.Message.Rcode.String()
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

// TraceMeaning says what a trace came to. err is that of [chain.Tracer.Trace].
func TraceMeaning(t *chain.TraceResult, err error) []string {
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

// ReportTrace returns the whole trace as it is in JSON. err is that of
// [chain.Tracer.Trace].
func ReportTrace(t *chain.TraceResult, q *exchange.Question, steps []StepReport, err error) TraceReport {
	r := TraceReport{
		Schema: Schema, Question: ReportQuestion(q), Outcome: string(chain.Failed), Steps: steps,
		Queries: t.Queries, Took: t.Took.Microseconds(), Meaning: TraceMeaning(t, err),
	}
	for _, n := range t.Aliases {
		r.Aliases = append(r.Aliases, NameText(n))
	}
	if t.Reply != nil {
		f := chain.Classify(t.Reply)
		r.Outcome, r.Usable, r.Reply = string(f.Outcome), f.Outcome.Usable(), reportMessage(t.Reply)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// stepText says in words what the step came to.
func stepText(s *chain.Step) string {
	switch s.Kind {
	case chain.StepKind(chain.Referred):
		signed := ""
		if s.Signed {
			signed = ", which is signed (DS)"
		}
		return fmt.Sprintf("a referral to %s of %s%s", plural(len(s.Servers), "server"), wire.NameText(s.Child), signed)
	case chain.StepKind(chain.Answered):
		return "the answer" + aside(s)
	case chain.StepKind(chain.Alias):
		return "an alias of " + wire.NameText(s.Target) + aside(s)
	case chain.StepKind(chain.NoData):
		return "no such record" + aside(s)
	case chain.StepKind(chain.NXDomain):
		return "no such name" + aside(s)
	case chain.StepLame:
		return "lame: " + s.Why
	case chain.StepKind(chain.Malformed):
		return "a malformed reply: " + s.Reply.Fault.String()
	case chain.StepTimeout, chain.StepUnreachable:
		var u *exchange.NoReplyError
		if errors.As(s.Err, &u) { // the server is named before
			return u.Causes(func(a exchange.Attempt) string { return exchange.ErrorText(a.Err) })
		}
		return exchange.ErrorText(s.Err)
	}
	return s.Reply.Message.Rcode.String()
}

func aside(s *chain.Step) string {
	if s.Why != "" {
		return " (" + s.Why + ")"
	}
	return ""
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
