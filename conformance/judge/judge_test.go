package judge_test

import (
	"strings"
	"testing"

	"port53/conformance/judge"
	"port53/conformance/probe"
)

func reply(server string, edit func(*probe.Message)) judge.Reply {
	m := &probe.Message{QR: true, AA: true, QDCount: 1, Size: 40, Answer: []probe.RR{{Owner: "\x01a\x00", Type: 1, Class: 1, TTL: 60, Data: "\xc0\x00\x02\x01"}}}
	if edit != nil {
		edit(m)
	}
	return judge.Reply{Server: server, Message: m}
}

// TestJudge checks that the judge sees what is wrong and lets pass what is not.
func TestJudge(t *testing.T) {
	nx := func(m *probe.Message) { m.Rcode, m.Answer = probe.NXDomain, nil }
	tc := func(m *probe.Message) { m.TC, m.Answer = true, nil }
	q := &probe.Question{Name: []byte("\x01a\x00"), Type: 1}
	for _, c := range []struct {
		name  string
		peers []judge.Reply
		got   judge.Reply
		wrong string // the start of the complaint, or nothing
	}{
		{"equal", []judge.Reply{reply("nsd", nil), reply("knot", nil)}, reply("port53", nil), ""},
		{"rcode", []judge.Reply{reply("nsd", nil), reply("knot", nil)}, reply("port53", nx), "rcode"},
		{"TTL", []judge.Reply{reply("nsd", nil), reply("knot", nil)}, reply("port53", func(m *probe.Message) { m.Answer[0].TTL++ }), "answer"},
		{"AA", []judge.Reply{reply("nsd", nil)}, reply("port53", func(m *probe.Message) { m.AA = false }), "AA"},
		{"a peer's way", []judge.Reply{reply("nsd", nx), reply("knot", nil)}, reply("port53", nil), ""},
		{"nobody's way", []judge.Reply{reply("nsd", nx), reply("knot", nil)}, reply("port53", func(m *probe.Message) { m.Rcode = probe.Refused }), "agrees with no peer"},
		{"silence", []judge.Reply{reply("nsd", nil)}, judge.Reply{Server: "port53"}, "silent"},
		{"all silent", []judge.Reply{{Server: "nsd"}}, reply("port53", nil), "answers where"},
		{"CD", []judge.Reply{reply("nsd", nil)}, reply("port53", func(m *probe.Message) { m.CD = true }), "CD"},
		{"truncated alike", []judge.Reply{reply("nsd", tc)}, reply("port53", tc), ""},
		{"half a set", []judge.Reply{reply("nsd", tc)}, reply("port53", func(m *probe.Message) { m.TC = true }), "records in a truncated"},
		{"order", []judge.Reply{reply("nsd", nil)}, reply("port53", func(m *probe.Message) { m.Answer[0].Owner = "\x01b\x00" }), "answer: b."},
		{"twice", []judge.Reply{reply("nsd", nil)}, reply("port53", func(m *probe.Message) { m.Answer = append(m.Answer, m.Answer[0]) }), "answer"},
		{"extra", []judge.Reply{reply("nsd", nil), reply("knot", nil)}, reply("port53", func(m *probe.Message) { m.Additional = m.Answer }), "additional: no peer"},
		{"extra, and a peer is silent", []judge.Reply{reply("nsd", nil), reply("knot", nil), {Server: "bind"}}, reply("port53", func(m *probe.Message) { m.Additional = m.Answer }), ""},
		{"glue", []judge.Reply{
			reply("nsd", func(m *probe.Message) { m.Additional = m.Answer }),
			reply("knot", func(m *probe.Message) { m.Additional = m.Answer }),
		}, reply("port53", nil), "additional: missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge.Judge(&judge.Case{Q: q, Zone: "\x00", Peers: c.peers, Got: c.got})
			got := strings.Join(v.Wrong, "; ")
			if c.wrong == "" && got != "" || !strings.HasPrefix(got, c.wrong) {
				t.Errorf("got %q, want %q", got, c.wrong)
			}
		})
	}
}
