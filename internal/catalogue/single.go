package catalogue

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// A quiet is what it means that a question is dropped, again and again, while a plain one beside it
// is answered.
type quiet struct {
	state    finding.State
	severity finding.Severity // 0: the check's
	text     string
}

// single returns a check's Run which asks one question over UDP and judges the reply. Without
// a quiet, a question that is dropped is unknown.
func single(ask func(r *check.Run) check.Query, judge func(r *check.Run, m *check.Reply) (finding.State, string), dropped ...quiet) func(context.Context, *check.Run) []finding.Finding {
	return one(false, ask, judge, dropped)
}

// singleTCP is single over TCP.
func singleTCP(ask func(r *check.Run) check.Query, judge func(r *check.Run, m *check.Reply) (finding.State, string), dropped ...quiet) func(context.Context, *check.Run) []finding.Finding {
	return one(true, ask, judge, dropped)
}

func one(tcp bool, ask func(r *check.Run) check.Query, judge func(r *check.Run, m *check.Reply) (finding.State, string), dropped []quiet) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		q := ask(r)
		ev := seen(r.Server, q, nil)
		send := r.Ask
		if tcp {
			send, ev.Command = r.AskTCP, ev.Command+" +tcp"
		}
		m, err := send(ctx, q)
		if err != nil {
			if len(dropped) > 0 && (timedOut(err) || tcp && !errors.Is(err, check.ErrNoWay)) {
				if beside := drops(ctx, r, q, tcp); beside != "" {
					d := dropped[0]
					return []finding.Finding{{State: d.state, Severity: d.severity, Detail: d.text + ", while " + beside + " is answered", Evidence: ev}}
				}
			}
			return finding.Unmeasured(ev, err)
		}
		s, detail := judge(r, m)
		ev.Received, ev.RTT = m.Raw, m.RTT
		if m.Bad != 0 && s != finding.Fail {
			return finding.Unmeasured(ev, check.Malformed(m.Bad))
		}
		return []finding.Finding{{State: s, Detail: detail, Evidence: ev}}
	}
}

func timedOut(err error) bool { return check.TimedOut(err) || errors.Is(err, check.ErrTimeout) }

// dropTries is how often a question that was not answered is asked again, each time behind a
// control question that has to be answered.
const dropTries = 2

// drops tells beside which question another one, which has not been answered, is dropped. "" is
// that it is answered after all, or that the control question is lost as well: then nothing can
// be said.
func drops(ctx context.Context, r *check.Run, q check.Query, tcp bool) (beside string) {
	control := soaQuery(r)
	ask := func(q check.Query, tcp bool) (*check.Reply, error) {
		if tcp {
			return r.AskTCP(ctx, q)
		}
		return r.AskOnce(ctx, r.Server, q, r.Timeout()/3)
	}
	for _, c := range []struct {
		q    check.Query
		tcp  bool
		what string
	}{
		{control, false, "a plain question over UDP"},
		{check.Query{Name: control.Name, Type: control.Type, EDNS: &check.EDNS{Size: check.EDNSSize}}, false, "one with EDNS"},
		{control, true, "one over TCP"},
	} {
		if c.tcp == tcp && c.q.Type == q.Type && c.q.Opcode == q.Opcode && bytes.Equal(c.q.Name, q.Name) && (c.q.EDNS == nil) == (q.EDNS == nil) && (q.EDNS == nil || q.EDNS.Version == 0 && !q.EDNS.DO && q.EDNS.Options == nil) {
			continue // it is the question itself
		}
		if c.tcp && !tcp && r.HeardUDP(r.Server) {
			continue // TCP knows no rate limit
		}
		n := 0
		for ; n < dropTries; n++ {
			if m, err := ask(c.q, c.tcp); err != nil || m.Cut() {
				break
			}
			if _, err := ask(q, tcp); err == nil {
				return ""
			}
		}
		switch {
		case n == dropTries && !tcp && r.Limits(r.Server):
			return "" // errors have a limit of their own, and are not sent to TCP where it is reached
		case n == dropTries:
			return c.what
		}
	}
	return ""
}

// seen returns the evidence of one exchange.
func seen(s finding.Server, q check.Query, m *check.Reply) finding.Evidence {
	ev := finding.Evidence{N: 1, Command: check.Dig(s, q)}
	if m != nil {
		ev.Received, ev.RTT = m.Raw, m.RTT
	}
	return ev
}

// mustName reads a name that is written in this package.
func mustName(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic("check: bad name in the program: " + s)
	}
	return n
}

// randomLabel returns a label that nobody has, of 80 random bits.
func randomLabel() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// randomBytes returns n random octets.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// optFlags returns the flags of a reply's OPT record, and whether it has one.
func optFlags(raw []byte) (uint16, bool) {
	if len(raw) < wire.HeaderLen {
		return 0, false
	}
	off := wire.HeaderLen
	count := func(i int) int { return int(binary.BigEndian.Uint16(raw[4+2*i:])) }
	for range count(0) {
		_, n, bad := wire.AppendExpanded(nil, raw, off)
		if bad != 0 {
			return 0, false
		}
		off += n + 4
	}
	for range count(1) + count(2) + count(3) {
		if off >= len(raw) {
			return 0, false
		}
		_, n, bad := wire.AppendExpanded(nil, raw, off)
		if bad != 0 || off+n+10 > len(raw) {
			return 0, false
		}
		off += n
		if wire.Type(binary.BigEndian.Uint16(raw[off:])) == wire.TypeOPT {
			return binary.BigEndian.Uint16(raw[off+6:]), true
		}
		off += 10 + int(binary.BigEndian.Uint16(raw[off+8:]))
	}
	return 0, false
}

// rdataName returns the name at the start of RDATA, or nil.
func rdataName(data []byte, at int) []byte {
	if at > len(data) {
		return nil
	}
	n, err := wire.CheckName(data[at:])
	if err != nil {
		return nil
	}
	return data[at : at+n]
}
