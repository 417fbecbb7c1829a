package why

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"port53/internal/dnssec"
	"port53/internal/event"
	"port53/internal/wire"
)

// A Report tells why an answer was as it was.
//
// In one piece: it is a document with a field for each thing that is told.
type Report struct {
	ID        string       `json:"id,omitempty"` // empty: no client was told of it
	Time      time.Time    `json:"time"`
	Client    string       `json:"client,omitempty"`
	Transport string       `json:"transport,omitempty"`
	View      string       `json:"view,omitempty"`
	Name      string       `json:"name"`
	Type      string       `json:"type"`
	Rcode     string       `json:"rcode"` // empty: there was no reply
	EDE       *uint16      `json:"ede,omitempty"`
	Path      string       `json:"path,omitempty"`
	Micros    *int64       `json:"latency_us,omitempty"`
	Code      string       `json:"code"`    // of the cause, for programs
	Cause     string       `json:"cause"`   // in words
	Steps     []ReportStep `json:"steps"`   // the way, of what other servers were asked for
	Left      int          `json:"left"`    // steps in the middle that are left out
	Partial   bool         `json:"partial"` // the work goes on
	Advice    []Advice     `json:"advice"`  // what can be done
}

// A ReportStep is one step.
type ReportStep struct {
	Micros int64  `json:"at_us"`
	Kind   string `json:"kind"` // reply, silence, skipped, address, validation, failure, clock, filter, anchor or cache
	Server string `json:"server,omitempty"`
	Zone   string `json:"zone,omitempty"`
	Name   string `json:"name,omitempty"`
	Type   string `json:"type,omitempty"`
	Rcode  string `json:"rcode,omitempty"`
	RTT    int64  `json:"rtt_us,omitempty"`
	Text   string `json:"text"` // the whole step in words
}

// An Advice is something that can be done.
type Advice struct {
	Text    string `json:"text"`
	Command string `json:"command,omitempty"`
}

// report tells of a reply, a resolution, or both.
func (l *Log) report(r *reply, w *Resolution) Report {
	t := Report{Steps: []ReportStep{}, Advice: []Advice{}}
	f := finding{log: l, reply: r, resolution: w}
	f.conclude()
	if w != nil {
		t.Time, t.Name, t.Type, t.Rcode = w.Started.UTC(), wire.NameText(w.Name), w.Type.String(), w.Rcode.String()
		t.Left, t.Partial = int(w.Left), w.Partial
		t.EDE = code(w.EDE)
		for i := range w.Steps {
			t.Steps = append(t.Steps, w.Steps[i].tell())
		}
	}
	if r != nil {
		t.ID, t.Time, t.Client, t.Path = string(event.AppendID(nil, r.Why)), r.When().UTC(), r.Remote.String(), r.Path.String()
		t.Transport, t.View, t.EDE, t.Rcode = l.options.Transport(r.Transport), l.options.View(r.View), code(r.EDE), r.Rcode.String()
		if r.Outcome >= event.Dropped {
			t.Rcode = ""
		}
		if len(r.Name) > 0 {
			t.Name, t.Type = wire.NameText(r.Name), r.Type.String()
		}
		if r.Latency >= 0 {
			us := r.Latency / 1000
			t.Micros = &us
		}
	}
	t.Code, t.Cause = f.cause.Code(), f.text
	t.Advice = f.advice(&t)
	return t
}

func code(ede int16) *uint16 {
	if ede < 0 {
		return nil
	}
	c := uint16(ede)
	return &c
}

// tell tells a step in words.
func (s *Step) tell() ReportStep {
	t := ReportStep{Micros: s.At.Microseconds(), Kind: kindWords[s.Kind], RTT: s.Took.Microseconds()}
	if s.Server.IsValid() {
		t.Server = s.Server.String()
	}
	if s.Zone != nil {
		t.Zone = wire.NameText(s.Zone)
	}
	if s.Name != nil {
		t.Name, t.Type = wire.NameText(s.Name), s.Type.String()
	}
	who := "server "
	if s.Forward {
		who = "forwarder "
	}
	who += t.Server
	asked := " was asked for " + t.Name + " " + t.Type
	if t.Zone != "" {
		asked = " of " + t.Zone + asked
	}
	switch s.Kind {
	case Replied:
		t.Rcode = s.Rcode.String()
		t.Text = who + asked + " and said " + t.Rcode + ": " + s.Text
		if s.Other != nil {
			t.Text += " " + wire.NameText(s.Other)
		}
		if s.TCP {
			t.Text += ", over TCP"
		}
	case Silent:
		t.Text = who + asked + ": " + s.Text
	case Skipped:
		t.Text = who + " of " + t.Zone + " was not asked: " + s.Text
	case NoAddress:
		t.Type = ""
		t.Text = "name server " + t.Name + " of " + t.Zone + ": " + s.Text
	case Validated:
		t.Text = t.Name + " " + t.Type + ": " + s.judgement()
	case Failed:
		t.Text = t.Name + " " + t.Type + " could not be looked up: " + s.Text
	case Filtered:
		t.Text = "a private address was taken out of " + t.Name + " " + t.Type
	case Untrusted:
		t.Text = t.Name + " is below a negative trust anchor: it was not validated"
	case Cached:
		t.Text = t.Name + " " + t.Type + " was known: " + s.Text
	default:
		t.Text = s.Text
	}
	return t
}

var kindWords = [...]string{
	Replied: "reply", Silent: "silence", Skipped: "skipped", NoAddress: "address", Validated: "validation",
	Failed: "failure", Clock: "clock", Filtered: "filter", Untrusted: "anchor", Cached: "cache",
}

// judgement is what validation came to, in words.
func (s *Step) judgement() string {
	text := "it is not signed as it should be"
	switch {
	case s.Text != "" && s.Reason == dnssec.NoKey:
		return s.Text
	case s.Reason != 0:
		text = s.Reason.String()
	case s.EDE >= 0:
		text = wire.ErrorText(uint16(s.EDE))
	}
	if s.Text != "" {
		text += ": " + s.Text
	}
	return text
}

// A finding is what a problem comes to.
type finding struct {
	log        *Log
	reply      *reply
	resolution *Resolution

	cause Cause
	text  string
	step  *Step // that shows it; nil: none does
}

// conclude finds the cause.
func (f *finding) conclude() {
	r, w := f.reply, f.resolution
	switch {
	case r != nil && r.Outcome >= event.Dropped:
		f.dropped(f.log.options.Drop(uint8(r.Outcome - event.Dropped)))
	case r != nil && r.Outcome == event.Slipped:
		f.say(RateLimited, "the client's network is over the rate limit"+f.detail(" ")+
			": it was told to come back over TCP, or with a cookie")
	case r != nil && r.Path == event.Policy:
		f.say(Blocked, "the answer was blocked or changed by "+f.rule())
	case r != nil && r.Reason != 0:
		b := reasons[r.Reason]
		f.say(b.cause, b.text+f.detail(": "))
		switch b.cause {
		case NotAllowed, NoRecursion, ZoneNotAllowed, Tunnel: // their texts are of the client
			f.text = "client " + r.Remote.Addr().String() + " " + f.text
		}
	case w != nil:
		f.ofResolution()
		if r != nil && r.Path == event.Stale {
			f.text = "an answer that has expired was given, since there was no other: " + f.text
		}
	case r != nil && r.Path == event.Stale:
		f.say(Stale, "an answer that has expired was given, since a new one took too long")
	case r != nil && r.Path == event.Manager:
		f.say(NotAllowed, "the zone's manager did not do what the message wanted: the log says more")
	default:
		f.say(Unknown, "nothing more is remembered of it: it is too long ago, or others have taken its place")
	}
}

// detail returns what the engine says beside, behind a separator; or nothing.
func (f *finding) detail(separator string) string {
	if f.reply == nil || len(f.reply.Text) == 0 {
		return ""
	}
	return separator + string(f.reply.Text)
}

// rule names the rule that counted: the list and its line, or the policy zone and its record.
func (f *finding) rule() string {
	switch r := f.reply; {
	case r.Line != 0:
		return fmt.Sprintf("line %d of the list %s", r.Line, f.log.options.List(int(r.List)))
	case len(r.Text) > 0:
		return string(r.Text)
	}
	return "a rule of the policy"
}

func (f *finding) say(c Cause, text string) { f.cause, f.text = c, text }

func (f *finding) dropped(reason string) {
	switch reason {
	case "rate_limit":
		f.say(RateLimited, "there was no reply: the client's network is over the rate limit"+f.detail(" "))
	case "port":
		f.say(PortRefused, "there was no reply: the query came from a port of a service that reflects what it is sent")
	case "late":
		f.say(WaitedTooLong, "there was no reply: the answer took longer than clients wait")
	case "load":
		f.say(Overloaded, "there was no reply: too many questions were waiting for answers")
	case "policy":
		f.say(Blocked, "there was no reply, as a rule says: "+f.rule())
	default:
		f.say(Unknown, "there was no reply: "+reason)
	}
}

// reasons are the causes that lie in the configuration of this server.
var reasons = [...]struct {
	cause Cause
	text  string
}{
	event.NotAllowed:          {NotAllowed, "is not among those that may ask here (policy.allow)"},
	event.NoRecursion:         {NoRecursion, "is not among those that may ask for names of other servers (resolver.allow)"},
	event.CacheOnly:           {CacheOnly, "the query did not want recursion (RD was not set), and the cache is shown to nobody"},
	event.ZoneNotAllowed:      {ZoneNotAllowed, "is not among those that may ask for this zone (allow_query)"},
	event.NotServed:           {NotServed, "no zone that is served here has the name, and this server asks no others"},
	event.NotLoaded:           {NotLoaded, "the zone has no content: it could not be loaded, or was not transferred yet, or has expired"},
	event.BadTSIG:             {BadTSIG, "the signature (TSIG) is not good"},
	event.FormatError:         {FormatError, "the query breaks the protocol"},
	event.NotSupported:        {NotSupported, "queries of this kind are not answered here"},
	event.OperationNotAllowed: {NotAllowed, "is not among those that may transfer, change or notify the zone"},
	event.Tunnel:              {Tunnel, "seems to move data through DNS, with names such as this one (policy.tunnel)"},
}

// lastServer returns the last step before the one at until in which a server of the zone was of no use; nil: none was.
func (f *finding) lastServer(zone []byte, until int) *Step {
	for i := until - 1; i >= 0; i-- {
		if s := &f.resolution.Steps[i]; s.useless() && string(s.Zone) == string(zone) {
			return s
		}
	}
	return nil
}

// useless reports whether a server was of no use in the step.
func (s *Step) useless() bool {
	return s.Server.IsValid() && (s.Kind == Silent || s.Kind == Skipped || s.Kind == Replied && s.Cause != 0)
}

// servers lists whom the zone's question failed at and how, from the end of the resolution, each once.
func (f *finding) servers(zone []byte, until int) string {
	var said []string
	seen := map[netip.AddrPort]bool{}
	for i := until - 1; i >= 0; i-- {
		s := &f.resolution.Steps[i]
		if !s.useless() || seen[s.Server] || string(s.Zone) != string(zone) {
			continue
		}
		seen[s.Server] = true
		text := s.Server.String() + ": "
		if s.Kind == Replied {
			text += s.Rcode.String() + ", "
		}
		if said = append(said, text+s.Text); len(said) == 4 {
			break
		}
	}
	return strings.Join(said, "; ")
}
