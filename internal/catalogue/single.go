package catalogue

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	stream   bool // what a rate limit keeps from being answered is asked over TCP: the answer is the same
}

// single returns a check's Run which asks one question over UDP and judges the reply. Without
// a quiet, a question that is dropped is unknown.
func single(
	ask func(r *check.Run) check.Query,
	judge func(r *check.Run, m *check.Reply) (finding.State, string),
	dropped ...quiet,
) func(context.Context, *check.Run) []finding.Finding {
	return one(false, ask, judge, dropped)
}

// singleTCP is single over TCP.
func singleTCP(
	ask func(r *check.Run) check.Query,
	judge func(r *check.Run, m *check.Reply) (finding.State, string),
	dropped ...quiet,
) func(context.Context, *check.Run) []finding.Finding {
	return one(true, ask, judge, dropped)
}

func one(
	tcp bool,
	ask func(r *check.Run) check.Query,
	judge func(r *check.Run, m *check.Reply) (finding.State, string),
	dropped []quiet,
) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		q := ask(r)
		ev := seen(r.Server, q, nil)
		send := r.Ask
		if tcp {
			send, ev.Command = r.AskTCP, ev.Command+" +tcp"
		}
		var m *check.Reply
		var err error
		beside := ""
		if len(dropped) == 0 || tcp {
			m, err = send(ctx, q)
			if err != nil && len(dropped) > 0 && !errors.Is(err, check.ErrNoRoute) {
				m, beside = again(ctx, r, q, tcp)
			}
		} else {
			m, beside, err = askBeside(ctx, r, q)
		}
		if beside != "" {
			d := dropped[0]
			return []finding.Finding{
				{State: d.state, Severity: d.severity, Detail: d.text + ", while " + beside + " is answered", Evidence: ev},
			}
		}
		if (m == nil || m.Cut()) && !tcp && len(dropped) > 0 && dropped[0].stream && ctx.Err() == nil {
			if whole, err := r.AskTCP(ctx, q); err == nil {
				m, ev.Command = whole, ev.Command+" +tcp"
			}
		}
		if m == nil && len(dropped) > 0 && !tcp && r.RateLimits(r.Server) && ctx.Err() == nil {
			return r.RetryLater(ev) // at its limit a server leaves out errors for good
		}
		if m == nil {
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

// again asks a question that was not answered until it is, or until it is clear that it is dropped: then
// beside says which other question is answered. Without either nothing can be said.
func again(ctx context.Context, r *check.Run, q check.Query, tcp bool) (m *check.Reply, beside string) {
	if m, beside = drops(ctx, r, q, tcp); m == nil && beside == "" && !tcp {
		m = outwait(ctx, r, q)
	}
	return m, beside
}

// askBeside asks a question over UDP that the server may drop: first beside control questions, which tell soon that it does,
// and with all patience where those are lost as well.
func askBeside(ctx context.Context, r *check.Run, q check.Query) (m *check.Reply, beside string, err error) {
	if m, err = r.AskOnce(ctx, r.Server, q, r.ShortTimeout(r.Server)); err == nil || !timedOut(err) {
		return m, "", err
	}
	if m, beside = drops(ctx, r, q, false); m != nil {
		return m, "", nil
	}
	if beside != "" {
		r.RecordDrop(r.Server, &q, false)
		return nil, beside, err
	}
	if m, err = r.Ask(ctx, q); err != nil && timedOut(err) {
		if m, beside = again(ctx, r, q, false); m != nil {
			err = nil
		}
	}
	return m, beside, err
}

// drops tells beside which question another one, which has not been answered, is dropped. "" is
// that it is answered after all, with the reply, or that the control question is lost as well.
func drops(ctx context.Context, r *check.Run, q check.Query, tcp bool) (m *check.Reply, beside string) {
	control := soaQuery(r)
	ask := func(q check.Query, tcp bool) (*check.Reply, error) {
		if tcp {
			return r.AskTCP(ctx, q)
		}
		return r.AskOnce(ctx, r.Server, q, r.ShortTimeout(r.Server))
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
		if c.tcp == tcp && c.q.Type == q.Type && c.q.Opcode == q.Opcode && bytes.Equal(c.q.Name, q.Name) &&
			(c.q.EDNS == nil) == (q.EDNS == nil) &&
			(q.EDNS == nil || q.EDNS.Version == 0 && !q.EDNS.DO && q.EDNS.Options == nil) {
			continue // it is the question itself
		}
		if c.tcp && !tcp && r.AnswersUDP(r.Server) {
			continue // TCP knows no rate limit
		}
		answered := func() bool {
			m, err := ask(c.q, c.tcp)
			return err == nil && !m.Cut()
		}
		controls := slices.Repeat([]func() bool{answered}, dropTries)
		if !tcp && !r.CooledDown {
			controls = append(controls, slices.Repeat([]func() bool{refusing(ctx, r)}, limitTries/2)...)
		}
		m, n := between(controls, func() (*check.Reply, error) { return ask(q, tcp) })
		switch {
		case m != nil:
			return m, ""
		case n < dropTries:
		case !tcp && !r.CooledDown && r.RateLimits(r.Server):
			return nil, ""
		default:
			return nil, c.what
		}
	}
	return nil, ""
}

// between asks a question behind each of several controls, until one fails, and waits for all answers together: no
// question waits for the one before to be lost. n is how many controls held; m is nil if no answer came.
func between(controls []func() bool, ask func() (*check.Reply, error)) (m *check.Reply, n int) {
	var wg sync.WaitGroup
	var first atomic.Pointer[check.Reply]
	for ; n < len(controls) && first.Load() == nil && controls[n](); n++ {
		wg.Go(func() {
			if m, err := ask(); err == nil {
				first.Store(m)
			}
		})
	}
	wg.Wait()
	return first.Load(), n
}

// refusing is a control, which never fails, for a question that may be lost to a limit of errors over UDP, which are not
// sent to TCP where it is reached: it asks what is answered with an error. Such a limit lets some errors through, so that
// neither what is lost nor what is answered once tells of it; the run's Limits tells of it then.
func refusing(ctx context.Context, r *check.Run) func() bool {
	return func() bool {
		if _, known := r.AnswersErrors(ctx, r.Server); !known {
			select {
			case <-ctx.Done():
			case <-time.After(outwaitPause / limitTries):
			}
		}
		return true
	}
}

// How a rate limit is waited out: what answers a few questions a second has one for each check in that time.
const (
	outwaitTries = 5
	outwaitPause = 900 * time.Millisecond
	limitTries   = 8 // in place of dropTries, where an answer in two may be dropped for its rate
)

// outwait asks a server that answers others over UDP again and again, as long as there is time. It returns nil if
// nothing came.
func outwait(ctx context.Context, r *check.Run, q check.Query) *check.Reply {
	wait := r.Timeout() / 3
	for range outwaitTries {
		if end, ok := ctx.Deadline(); !r.AnswersUDP(r.Server) || ok && time.Until(end) < outwaitPause+2*wait {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(outwaitPause):
		}
		if m, err := r.AskOnce(ctx, r.Server, q, wait); err == nil {
			return m
		}
	}
	return nil
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
