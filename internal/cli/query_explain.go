package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"port53/internal/app"
	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/resolver"
	"port53/internal/wire"
)

// An explainReport is what --explain prints as JSON.
type explainReport struct {
	Schema   int                  `json:"schema"`
	Question query.QuestionReport `json:"question"`
	Outcome  string               `json:"outcome"`
	Usable   bool                 `json:"usable"`
	Events   []resolver.Event     `json:"events"`
	Reply    *query.ReplyReport   `json:"reply,omitempty"`
	Text     string               `json:"text,omitempty"`
	Meaning  []string             `json:"meaning"`
	View     string               `json:"view,omitempty"`
}

// failed tells of an error of a command to the server, and returns the exit code.
func (s *streams) failed(err error) int {
	var e *exit
	if errors.As(err, &e) {
		s.complain(e.hint, "%s", e.text)
		return e.code
	}
	s.complain("", "%v", err)
	return exitUsage
}

// explain asks the port53 that runs on this machine how it comes to its answer, and
// tells it as a story.
func (s *streams) explain(ctx context.Context, a *asking) int {
	if a.q.Class != wire.ClassIN {
		s.complain("", "--explain: a resolver knows class IN only")
		return exitUsage
	}
	if err := a.view.resolve(ctx, a.config, a.socket); err != nil {
		return s.failed(err)
	}
	values := url.Values{"view": {a.view.name}, "name": {query.NameText(a.q.Name)}, "type": {a.q.Type.String()}}
	if a.q.DO {
		values.Set("do", "1")
	}
	if a.q.Flags&wire.FlagCD != 0 {
		values.Set("cd", "1")
	}
	var told app.Explained
	if err := call(ctx, a.config, a.socket, "GET", "/explain?"+values.Encode(), &told); err != nil {
		return s.failed(err)
	}
	q := a.q
	q.EDNS = false // the control socket carries the answer without
	r := &exchange.Reply{Question: &q, Raw: told.Answer, At: time.Now()}
	r.Fault = r.Message.Parse(told.Answer)
	f := chain.Classify(r)
	if a.asJSON {
		report := query.ReportReply(r)
		if told.Events == nil {
			told.Events = []resolver.Event{}
		}
		report.Reply.Server, report.Reply.Transport = "control socket", "unix"
		if s.printJSON(explainReport{
			query.Schema, report.Question, report.Outcome, report.Usable, told.Events, report.Reply,
			query.Printable([]byte(told.Text)), report.Meaning, query.Printable([]byte(told.View)),
		}) != nil {
			return exitUsage
		}
	} else {
		var out []byte
		if !a.style.Short {
			out = append(out, ";; HOW THE ANSWER WAS FOUND:\n"...)
			if told.View != "" {
				out = append(out, "; for a client of the view "+query.Printable([]byte(told.View))+"\n"...)
			}
			for i := range told.Events {
				out = append(out, storyLine(&told.Events[i])...)
			}
			if len(told.Events) == 0 {
				out = append(out, "; all of it was in the cache or is known here: nobody was asked\n"...)
			}
			out = append(out, '\n')
		}
		style := a.style
		style.Stats = false
		out = style.AppendReply(out, r)
		if style.Meaning && !style.Short {
			out = query.AppendMeaning(out, r)
		}
		if _, err := s.out.Write(out); err != nil {
			return exitUsage
		}
	}
	if !f.Outcome.Usable() {
		s.complain("", "%s: the resolver comes to %v", a.subject(), r.Message.Rcode)
		return exitFindings
	}
	return exitOK
}

// storyLine tells one step of a resolver as a line with its time in front.
func storyLine(e *resolver.Event) string {
	safe := func(s string) string { return query.Printable([]byte(s)) }
	var what string
	question := strings.TrimSpace(safe(e.Name) + " " + safe(e.Type))
	switch e.Kind {
	case "cache":
		what = fmt.Sprintf("the cache has %s", question)
	case "send":
		what = fmt.Sprintf("asked %s, a server of %s, for %s", safe(e.Server), safe(e.Zone), question)
	case "recv":
		what = fmt.Sprintf("%s answered", safe(e.Server))
		if e.RTT > 0 {
			what += fmt.Sprintf(" after %.1f msec", float64(e.RTT)/1000)
		}
	case "timeout":
		what = fmt.Sprintf("%s gave nothing", safe(e.Server))
	case "validate":
		what = fmt.Sprintf("validated %s with the keys of %s", question, safe(e.Zone))
	case "zone":
		what = "answered from the zone " + safe(e.Zone) + " that is served here"
	case "names":
		what = "answered from the configured hosts and leases: " + safe(e.Zone)
	case "builtin":
		what = "answered from what is built in for " + safe(e.Zone) + ": nobody is asked (RFC 6303, RFC 6761)"
	case "filter":
		what = "a rule of a list is about it"
	case "refused":
		what = "not resolved here"
	case "alias":
		what = fmt.Sprintf("%s is an alias", question)
	default:
		what = strings.TrimSpace(safe(e.Kind) + " " + question)
	}
	if e.Text != "" {
		what += ": " + safe(e.Text)
	}
	return fmt.Sprintf("; %8.1f msec  %s\n", float64(e.At)/1000, what)
}
