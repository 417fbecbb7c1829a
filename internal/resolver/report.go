package resolver

import (
	"bytes"
	"strconv"

	"port53/internal/wire"
)

// optionReport is the EDNS option by which a zone's servers name the agent that is to
// be told of failures (RFC 9567, section 5).
const optionReport = 18

// reportLabel begins and ends what an agent is told (RFC 9567, section 6.1.1).
const reportLabel = "\x03_er"

// agentOf takes note of the agent that a reply names.
func (t *task) agentOf(m *reading) {
	data, ok := m.Option(optionReport)
	if !ok {
		return
	}
	if n, err := wire.CheckName(data); err == nil && n == len(data) && n > 1 {
		t.agent = wire.Lower(nil, data)
	}
}

// report tells the agent of a zone that a question failed, by asking it for a name that
// says so (RFC 9567, section 6.1.1). The answer's time to live is how long it is not
// told again. Failures of reports are not reported.
func (r *Resolver) report(c *Config, name []byte, typ wire.Type, ede int, agent []byte) {
	if ede < 0 || bytes.HasPrefix(name, []byte(reportLabel)) {
		return
	}
	label := func(b []byte, n int) []byte {
		text := strconv.Itoa(n)
		return append(append(b, byte(len(text))), text...)
	}
	q := label([]byte(reportLabel), int(typ))
	q = append(q, name[:len(name)-1]...)
	q = append(label(q, ede), reportLabel...)
	q = append(q, agent...)
	if len(q) > wire.MaxName {
		return
	}
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		r.resolve(c, string(q), wire.TypeTXT, Wants{}, false, false, false, nil, nil)
	}()
}
