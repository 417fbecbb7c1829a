package catalogue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"port53/internal/check"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/wire"
)

// What the checks of servers judge by.
const (
	anyMax     = 700  // octets of an answer to ANY that one RRset may need (RFC 8482, section 4.1)
	ampWarn    = 20   // times the octets of the question
	ampFail    = 35   // the same; above it the server is worth an attacker's while
	udpMax     = 1232 // octets of a datagram that is never fragmented (DNS Flag Day 2020)
	emptyTC    = 100  // octets of a header, a long question and OPT
	rrlRate    = 200  // questions a second: ten times what one resolver asks for one name
	rrlCount   = 400  // two seconds of them
	rrlShare   = 60   // percent of answers below which a limit is at work
	idleGood   = 30 * time.Second
	idleMax    = 60 * time.Second
	slowSteps  = 15  // octets of SRV-TCP-SLOW, one a second: five times what a question may take
	idleConns  = 200 // connections held open by the check of the connection limit
	badPackets = 12
)

func soaQuery(r *check.Run) check.Query { return check.Query{Name: r.Apex(), Type: wire.TypeSOA} }

// elsewhere is a name that no server is authoritative for but those of the
// reserved zone itself (RFC 6761, section 6.5).
func elsewhere(*check.Run) check.Query {
	return check.Query{Name: mustName("www.example.com"), Type: wire.TypeA, Flags: wire.FlagRD}
}

// serverChecks returns the checks of one authoritative server.
func serverChecks() []*check.Check {
	return described(GroupServer, check.ScopeServer, "server.txt", []*check.Check{
		{Check: finding.Check{ID: "SRV-AA", Severity: finding.SevHigh}, Needs: check.Needs{Authority: true}, Run: runAuthority},
		{Check: finding.Check{ID: "SRV-REC", Severity: finding.SevCritical}, Needs: check.Needs{Authority: true}, Run: runRecursion},
		{
			Check: finding.Check{ID: "SRV-UPREF", Severity: finding.SevMedium},
			Needs: check.Needs{Authority: true},
			Run: single(
				func(*check.Run) check.Query { return check.Query{Name: mustName("www.example.com"), Type: wire.TypeA} },
				judgeReferral,
				nothingAnyhow(),
			),
		},
		{
			Check: finding.Check{ID: "SRV-AXFR", Severity: finding.SevHigh},
			Needs: check.Needs{Authority: true},
			Run:   transferRun(wire.TypeAXFR),
		},
		{
			Check: finding.Check{ID: "SRV-IXFR", Severity: finding.SevHigh},
			Needs: check.Needs{Authority: true},
			Run:   transferRun(wire.TypeIXFR),
		},
		{Check: finding.Check{ID: "SRV-AXFRUDP", Severity: finding.SevLow}, Needs: check.Needs{Authority: true}, Run: runAXFRUDP},
		{Check: finding.Check{ID: "SRV-UPDATE", Severity: finding.SevCritical}, Needs: check.Needs{Authority: true}, Run: runUpdate},
		{
			Check: finding.Check{ID: "SRV-NOTIFY", Severity: finding.SevMedium, Mode: finding.Active},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run:   single(notifyQuery, judgeNotify, nothingAnyhow()),
		},
		{
			Check: finding.Check{ID: "SRV-ANY", Severity: finding.SevHigh},
			Needs: check.Needs{Authority: true},
			Run:   single(anyQuery, judgeANY, nothing()),
		},
		{Check: finding.Check{ID: "SRV-AMP", Severity: finding.SevHigh}, Run: runAmp},
		{Check: finding.Check{ID: "SRV-TCSIZE", Severity: finding.SevLow}, Run: runTCSize},
		{
			Check: finding.Check{ID: "SRV-RRL", Severity: finding.SevHigh, Mode: finding.Active},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run:   runRRL,
		},
		{
			Check: finding.Check{ID: "SRV-RRLSLIP", Severity: finding.SevLow, Mode: finding.Active},
			Needs: check.Needs{Authority: true, Cost: check.CostWaits},
			Run:   runSlip,
		},
		{Check: finding.Check{ID: "SRV-COOKIE", Severity: finding.SevMedium}, Run: runCookie},
		{Check: finding.Check{ID: "SRV-8906", Severity: finding.SevMedium}, Run: run8906},
		{Check: finding.Check{ID: "SRV-TCP-PIPE", Severity: finding.SevLow}, Run: runPipe},
		{
			Check: finding.Check{ID: "SRV-TCP-IDLE", Severity: finding.SevLow, Mode: finding.Active},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runIdle,
		},
		{
			Check: finding.Check{ID: "SRV-TCP-CAP", Severity: finding.SevHigh, Mode: finding.Intrusive},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runCap,
		},
		{
			Check: finding.Check{ID: "SRV-TCP-SLOW", Severity: finding.SevMedium, Mode: finding.Intrusive},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runSlow,
		},
		{Check: finding.Check{ID: "SRV-CASE", Severity: finding.SevLow}, Run: runCase},
		{Check: finding.Check{ID: "SRV-FRAG", Severity: finding.SevMedium}, Run: single(largeQuery, judgeFragment)},
		{
			Check: finding.Check{ID: "SRV-BADPKT", Severity: finding.SevHigh, Mode: finding.Active},
			Needs: check.Needs{Cost: check.CostWaits},
			Run:   runBad,
		},
	})
}

// nothing is what it means that a server does not answer what it had better not answer.
func nothing() quiet { return quiet{state: finding.Pass, text: "it is not answered"} }

// nothingAnyhow is nothing of what is refused as a rule, over UDP and TCP alike: refusals have a rate of their own, over UDP.
func nothingAnyhow() quiet {
	q := nothing()
	q.stream = true
	return q
}

// runAuthority asks for the SOA, and again over TCP what a rate limit leaves out.
func runAuthority(ctx context.Context, r *check.Run) []finding.Finding {
	q := soaQuery(r)
	m, err := r.AskWithFallback(ctx, r.Server, q)
	if err != nil {
		return finding.Unmeasured(seen(r.Server, q, nil), err)
	}
	s, detail := judgeAuthority(r, m)
	if m.Bad != 0 && s != finding.Fail {
		return finding.Unmeasured(seen(r.Server, q, m), check.Malformed(m.Bad))
	}
	return finding.Verdict(s, seen(r.Server, q, m), "%s", detail)
}

func runRecursion(ctx context.Context, r *check.Run) []finding.Finding {
	out := single(elsewhere, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		if len(m.Records) > 0 && len(m.In(wire.Answer, wire.TypeA))+len(m.In(wire.Answer, wire.TypeCNAME)) > 0 && m.Flags&wire.FlagAA == 0 {
			return finding.Fail, "it answered for www.example.com: open recursion"
		}
		if m.Flags&wire.FlagRA != 0 && m.Rcode != wire.Refused {
			return finding.Fail, "RA is set: recursion is offered"
		}
		return finding.Pass, "no recursion: " + m.Rcode.String()
	}, nothingAnyhow())(ctx, r)
	if f := &out[0]; f.State == finding.Fail && inside(r) {
		f.State, f.Severity = finding.Warn, finding.SevMedium
		f.Detail += ", to a neighbour at least; ask from outside, or say --as-stranger"
	}
	return out
}

func runAXFRUDP(ctx context.Context, r *check.Run) []finding.Finding {
	q := check.Query{Name: r.Apex(), Type: wire.TypeAXFR}
	out := single(func(*check.Run) check.Query { return q }, func(_ *check.Run, m *check.Reply) (finding.State, string) {
		switch m.Rcode {
		case wire.FormErr, wire.Refused, wire.NotImp, wire.NotAuth:
			return finding.Pass, m.Rcode.String()
		}
		if m.Flags&wire.FlagTC != 0 && len(m.Records) == 0 {
			return finding.Pass, "truncated to nothing"
		}
		return finding.Warn, fmt.Sprintf("%s with %d records", m.Rcode, len(m.Records))
	}, nothing())(ctx, r)
	for i := range out {
		out[i].Evidence.Command = datagramCommand(r, q.Bytes()) // dig asks for AXFR over TCP, whatever it is told
	}
	return out
}

// datagramCommand returns the command that sends octets as they are.
func datagramCommand(r *check.Run, msg []byte) string {
	var b strings.Builder
	for _, x := range msg {
		fmt.Fprintf(&b, "\\%03o", x)
	}
	return fmt.Sprintf("printf '%s' | nc -u -w 2 %s %d | xxd", b.String(), r.Server.Addr.Addr(), r.Server.Addr.Port())
}

// inside reports whether the server is on this machine or on an inner network, where
// what it does for the one who asks tells nothing of strangers.
func inside(r *check.Run) bool {
	a := r.Server.Addr.Addr()
	return !r.Options.Lab.Stranger && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast())
}

// transferRun returns the check of AXFR or IXFR over TCP.
func transferRun(t wire.Type) func(context.Context, *check.Run) []finding.Finding {
	return func(ctx context.Context, r *check.Run) []finding.Finding {
		ev := finding.Evidence{N: 1, Command: check.Dig(r.Server, check.Query{Name: r.Apex(), Type: t}) + " +tcp"}
		if len(r.Zone) == 0 {
			return finding.Unmeasured(ev, fmt.Errorf("no zone is known: %w", finding.ErrInapplicable))
		}
		msg := check.Question(0, r.Zone, t)
		if t == wire.TypeIXFR {
			m, err := r.AskWithFallback(ctx, r.Server, soaQuery(r)) // at its rate limit the server sends to TCP
			if err != nil {
				return finding.Unmeasured(ev, err)
			}
			soa := m.Answers(r.Zone, wire.TypeSOA)
			if len(soa) == 0 || len(soa[0]) < 22 {
				return finding.Verdict(finding.Unknown, ev, "no SOA to take a serial from")
			}
			data := bytes.Clone(soa[0])
			serial := data[len(data)-20:]
			binary.BigEndian.PutUint32(serial, binary.BigEndian.Uint32(serial)-1)
			ev.Command = fmt.Sprintf(
				"dig @%s -p %d -t IXFR=%d -q %s +tcp",
				r.Server.Addr.Addr(),
				r.Server.Addr.Port(),
				binary.BigEndian.Uint32(serial),
				check.ShellName(r.Zone),
			)
			msg = append(msg, r.Zone...)
			msg = binary.BigEndian.AppendUint16(msg, uint16(wire.TypeSOA))
			msg = append(msg, 0, 1, 0, 0, 0, 0)
			msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(data))), data...)
			msg[9] = 1
		}
		ev.Sent = msg
		c, err := r.DialTCP(ctx)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		defer c.Close()
		if err := c.Send(ctx, msg, time.Now().Add(r.StepTimeout())); err != nil {
			return finding.Unmeasured(ev, err)
		}
		raw, err := c.Next(ctx, time.Now().Add(r.StepTimeout()))
		switch {
		case err == nil:
		case check.TimedOut(err), errors.Is(err, exchange.ErrShort):
			return finding.Unmeasured(ev, err)
		default:
			if _, err := r.AskTCP(ctx, soaQuery(r)); err != nil {
				return finding.Unmeasured(ev, fmt.Errorf("connections are closed, whatever is asked over TCP: %w", err))
			}
			return finding.Verdict(
				finding.Pass,
				ev,
				"the connection was closed without an answer, and over another a plain question is answered",
			)
		}
		if ev.Received = bytes.Clone(raw); !exchange.ReplyTo(msg, raw) {
			return finding.Unmeasured(ev, errors.New("a reply that does not fit the question"))
		}
		s, detail := judgeTransfer(raw, r.Zone, t)
		return finding.Verdict(s, ev, "%s", detail)
	}
}

// judgeTransfer judges the first message of a transfer.
func judgeTransfer(raw, zone []byte, t wire.Type) (finding.State, string) {
	var m check.Reply
	bad := m.Parse(raw)
	n := 0
	for _, rr := range m.Records {
		if rr.Section == wire.Answer {
			n++
		}
	}
	switch {
	case bad != 0 && len(m.Answers(zone, wire.TypeSOA)) == 0:
		return finding.Unknown, "could not be measured: " + check.Malformed(bad).Error()
	case m.Rcode != wire.NoError || n == 0:
		return finding.Pass, m.Rcode.String()
	case t == wire.TypeIXFR && n == 1:
		return finding.Pass, "the SOA alone"
	case len(m.Answers(zone, wire.TypeSOA)) > 0:
		return finding.Fail, fmt.Sprintf("the zone is given to strangers: %d records in the first message", n)
	}
	return finding.Unknown, "an answer without the zone's SOA"
}

func runUpdate(ctx context.Context, r *check.Run) []finding.Finding {
	if len(r.Zone) == 0 {
		return finding.Unmeasured(finding.Evidence{}, fmt.Errorf("no zone is known: %w", finding.ErrInapplicable))
	}
	// It deletes a set of a name that nobody has, provided that nobody has it (RFC 2136, sections
	// 2.4.5 and 2.5.2). Who takes it changes nothing by it. A prerequisite alone would not do: who
	// grants updates by key and name looks at prerequisites before that.
	name := check.Below(randomLabel(), r.Zone)
	msg := check.Question(uint16(wire.OpcodeUpdate)<<11, r.Zone, wire.TypeSOA)
	add := func(t wire.Type, class wire.Class) {
		msg = append(msg, name...)
		msg = binary.BigEndian.AppendUint16(msg, uint16(t))
		msg = binary.BigEndian.AppendUint16(msg, uint16(class))
		msg = append(msg, 0, 0, 0, 0, 0, 0)
	}
	add(wire.TypeANY, wire.ClassNONE)
	add(wire.TypeTXT, wire.ClassANY)
	msg[7], msg[9] = 1, 1
	ev := finding.Evidence{
		Sent: msg,
		N:    1,
		Command: fmt.Sprintf(
			"printf 'server %s %d\\nzone %s\\nprereq nxdomain %s\\nupdate delete %s TXT\\nsend\\n' | nsupdate",
			r.Server.Addr.Addr(),
			r.Server.Addr.Port(),
			wire.NameText(r.Zone),
			wire.NameText(name),
			wire.NameText(name),
		),
	}
	raw, err := datagram(ctx, r, msg)
	var m wire.Message
	if err == nil {
		m.Parse(raw)
	}
	if timedOut(err) || m.Flags&wire.FlagTC != 0 { // a rate limit drops and cuts whatever is asked, but not over TCP
		over, streamErr := streamed(ctx, r, msg)
		switch {
		case streamErr == nil:
			raw, err = over, nil
			m = wire.Message{}
			m.Parse(raw)
		case err == nil:
			return finding.Unmeasured(ev, streamErr)
		}
	}
	if err != nil {
		if !timedOut(err) || ctx.Err() != nil {
			return finding.Unmeasured(ev, err)
		}
		return unanswered(ctx, r, ev, msg)
	}
	ev.Received = raw
	switch m.Rcode {
	case wire.NoError:
		return finding.Verdict(finding.Fail, ev, "updates are taken from here: %s", m.Rcode)
	case wire.Refused, wire.NotAuth, wire.NotImp, wire.FormErr, wire.NotZone:
		return finding.Verdict(finding.Pass, ev, "%s", m.Rcode)
	}
	return finding.Verdict(finding.Unknown, ev, "%s", m.Rcode)
}

// unanswered judges that an update is answered neither over UDP nor over TCP: a server that drops updates answers
// plain questions beside them.
func unanswered(ctx context.Context, r *check.Run, ev finding.Evidence, msg []byte) []finding.Finding {
	if r.RateLimits(r.Server) && !r.CooledDown {
		return r.RetryLater(ev)
	}
	for range dropTries {
		if m, err := r.AskOnce(ctx, r.Server, soaQuery(r), r.Timeout()/3); err != nil || m.Cut() {
			return finding.Unmeasured(ev, errors.New("neither updates nor plain questions beside them are answered"))
		}
		if raw, err := datagrams(ctx, r, msg, 1, r.Timeout()/3); err == nil {
			ev.Received = raw
			return finding.Verdict(finding.Unknown, ev, "updates are answered now and then")
		}
	}
	return finding.Verdict(finding.Pass, ev, "updates are not answered, while a plain question is")
}

// streamed sends a message over TCP and returns the reply.
func streamed(ctx context.Context, r *check.Run, msg []byte) ([]byte, error) {
	c, err := r.DialTCP(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	m, err := check.ExchangeStream(ctx, c, r.Server.Addr, r.StepTimeout(), msg)
	if err != nil {
		return nil, err
	}
	return m.Raw, nil
}

// datagram sends octets as they are and returns the first reply; three tries.
func datagram(ctx context.Context, r *check.Run, msg []byte) ([]byte, error) {
	return datagrams(ctx, r, msg, 3, time.Second)
}

func datagrams(ctx context.Context, r *check.Run, msg []byte, tries int, wait time.Duration) ([]byte, error) {
	c, err := r.DialUDP(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for range tries {
		var m *check.Reply
		if m, err = check.Exchange(ctx, c, r.Server.Addr, wait, msg); err == nil {
			return m.Raw, nil
		}
	}
	return nil, err
}

// askAll asks the run's server several questions at the same time.
func askAll(ctx context.Context, r *check.Run, list []check.Query) []echo {
	out := make([]echo, len(list))
	var wg sync.WaitGroup
	for i, q := range list {
		wg.Go(func() { out[i].m, out[i].err = r.Ask(ctx, q) })
	}
	wg.Wait()
	return out
}

func runAmp(ctx context.Context, r *check.Run) []finding.Finding {
	z, e := r.Apex(), &check.EDNS{Size: 4096, DO: true}
	var worst float64
	var most, heard int
	var ev finding.Evidence
	var last error
	list := []check.Query{
		{Name: z, Type: wire.TypeANY, EDNS: e},
		{Name: z, Type: wire.TypeDNSKEY, EDNS: e},
		{Name: z, Type: wire.TypeTXT, EDNS: e},
		{Name: z, Type: wire.TypeNS, EDNS: e},
		{Name: z, Type: wire.TypeMX, EDNS: e},
		{Name: check.Below(randomLabel(), z), Type: wire.TypeA, EDNS: e},
		{Name: z, Type: wire.TypeRRSIG, EDNS: e},
		{Name: mustName("version.bind"), Type: wire.TypeTXT, Class: wire.ClassCH, EDNS: e},
	}
	for i, said := range askAll(ctx, r, list) {
		q, m, err := list[i], said.m, said.err
		if err != nil {
			last, ev.Command = err, check.Dig(r.Server, q)
			continue
		}
		heard++
		sent := wire.HeaderLen + len(q.Name) + 4 + 11
		if f := float64(len(m.Raw)) / float64(sent); f > worst {
			worst, most, ev = f, len(m.Raw), seen(r.Server, q, m)
		}
	}
	ev.N = heard
	// With IPv4, UDP and Ethernet headers of 42 octets on both sides.
	wireFactor := float64(most+42) / (float64(most)/max(worst, 1) + 42)
	switch {
	case worst > ampFail || most > udpMax:
		return finding.Verdict(finding.Fail, ev, "up to %d octets: %.1f times the question, %.1f with headers", most, worst, wireFactor)
	case worst > ampWarn:
		return finding.Verdict(finding.Warn, ev, "up to %d octets: %.1f times the question, %.1f with headers", most, worst, wireFactor)
	case last != nil:
		return finding.Unmeasured(ev, last)
	}
	return finding.Verdict(finding.Pass, ev, "at most %d octets: %.1f times the question", most, worst)
}

func runTCSize(ctx context.Context, r *check.Run) []finding.Finding {
	seenTC, heard := false, 0
	var ev finding.Evidence
	var last error
	var list []check.Query
	for _, t := range []wire.Type{wire.TypeDNSKEY, wire.TypeTXT, wire.TypeANY} {
		list = append(list, check.Query{Name: r.Apex(), Type: t, EDNS: &check.EDNS{Size: 512, DO: true}})
	}
	for i, said := range askAll(ctx, r, list) {
		q, m, err := list[i], said.m, said.err
		if err != nil {
			last, ev.Command = err, check.Dig(r.Server, q)
			continue
		}
		heard++
		ev = seen(r.Server, q, m)
		if m.Flags&wire.FlagTC == 0 {
			continue
		}
		seenTC = true
		if len(m.Raw) > emptyTC+len(r.Zone) {
			return finding.Verdict(finding.Warn, ev, "a truncated reply of %d octets", len(m.Raw))
		}
	}
	switch {
	case last != nil:
		return finding.Unmeasured(ev, last)
	case !seenTC:
		return finding.Verdict(finding.Pass, ev, "nothing had to be truncated in %d replies", heard)
	}
	return finding.Verdict(finding.Pass, ev, "truncated replies are empty")
}

func runCookie(ctx context.Context, r *check.Run) []finding.Finding {
	beside := ""
	dropped := func(q check.Query, err error) []finding.Finding {
		ev := finding.Evidence{Command: check.Dig(r.Server, q)}
		if beside != "" {
			return finding.Verdict(finding.Warn, ev, "a question with a cookie is not answered, while %s is", beside)
		}
		if r.RateLimits(r.Server) && ctx.Err() == nil {
			return r.RetryLater(ev)
		}
		return finding.Unmeasured(ev, err)
	}
	get := func(cookie []byte) (*check.Reply, []byte, check.Query, error) {
		q := check.Query{
			Name: r.Apex(),
			Type: wire.TypeSOA,
			EDNS: &check.EDNS{Size: check.EDNSSize, Options: wire.AppendOption(nil, wire.OptionCookie, cookie)},
		}
		m, err := r.Ask(ctx, q)
		if err != nil && timedOut(err) {
			m, beside = again(ctx, r, q, false)
		}
		if m == nil {
			return nil, nil, q, err
		}
		c, _ := m.Option(wire.OptionCookie)
		return m, c, q, nil
	}
	one, two := randomBytes(8), randomBytes(8)
	m1, c1, q, err := get(one)
	if err != nil {
		return dropped(q, err)
	}
	ev := seen(r.Server, q, m1)
	if len(c1) < 16 || !bytes.Equal(c1[:8], one) {
		return finding.Verdict(finding.Warn, ev, "no server cookie")
	}
	_, c2, q, err := get(two)
	if err != nil {
		return finding.Unmeasured(finding.Evidence{Command: check.Dig(r.Server, q)}, err)
	}
	if len(c2) >= 16 && bytes.Equal(c1[8:], c2[8:]) {
		return finding.Verdict(finding.Fail, ev, "two clients got the same server cookie: it can be forged")
	}
	for _, n := range []int{7, 17, 41} {
		// 17 is a length that is allowed, of a cookie that is wrong.
		m, _, q, err := get(randomBytes(n))
		if err != nil {
			return dropped(q, err)
		}
		if m.Cut() {
			return r.RetryLater(seen(r.Server, q, m))
		}
		if n != 17 && m.Rcode != wire.FormErr {
			return finding.Verdict(finding.Warn, seen(r.Server, q, m), "a cookie of %d octets is answered %s, not FORMERR", n, m.Rcode)
		}
	}
	return finding.Verdict(finding.Pass, ev, "a server cookie of %d octets", len(c1)-8)
}

func run8906(ctx context.Context, r *check.Run) []finding.Finding {
	var wrong, lost []string
	var ev finding.Evidence
	silent, refuses := 0, false
	cases := []struct {
		what string
		q    check.Query
		want []wire.Rcode
	}{
		{"type 1000", check.Query{Name: r.Apex(), Type: 1000}, []wire.Rcode{wire.NoError}},
		{"opcode 15", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Opcode: 15}, []wire.Rcode{wire.NotImp}},
		{"flag AD", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: wire.FlagAD}, []wire.Rcode{wire.NoError}},
		{"flag CD", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: wire.FlagCD}, []wire.Rcode{wire.NoError}},
		{"flag Z", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: 1 << 6}, []wire.Rcode{wire.NoError}},
		{"flag RD", check.Query{Name: r.Apex(), Type: wire.TypeSOA, Flags: wire.FlagRD}, []wire.Rcode{wire.NoError}},
		{
			"class 999",
			check.Query{Name: r.Apex(), Type: wire.TypeSOA, Class: 999},
			[]wire.Rcode{wire.Refused, wire.NotImp, wire.NotAuth, wire.FormErr, wire.ServFail},
		},
	}
	for _, c := range cases {
		m, beside, err := askBeside(ctx, r, c.q)
		if beside == "" && (err != nil || m.Cut()) { // a rate limit, which there is none of over TCP
			if whole, overTCP := r.AskTCP(ctx, c.q); overTCP == nil && r.AnswersUDP(r.Server) {
				m, err = whole, nil
			}
		}
		if err == nil && m.Bad != 0 {
			ev = seen(r.Server, c.q, m)
			wrong = append(wrong, fmt.Sprintf("%s: %v", c.what, check.Malformed(m.Bad)))
			continue
		}
		if err != nil {
			silent++
			if ev.Command == "" {
				ev.Command = check.Dig(r.Server, c.q)
			}
			if beside == "" {
				lost = append(lost, c.what)
				continue
			}
			ev = finding.Evidence{Command: check.Dig(r.Server, c.q)}
			wrong = append(wrong, c.what+": no answer")
			continue
		}
		if m.Cut() {
			lost = append(lost, c.what)
			continue
		}
		// Who is refused for a plain question may be refused for all.
		refuses = refuses || m.Rcode == wire.Refused && c.q.Opcode == 0
		ok := m.Rcode == wire.Refused && (c.q.Opcode == 0 || refuses)
		for _, w := range c.want {
			ok = ok || m.Rcode == w
		}
		if !ok {
			ev = seen(r.Server, c.q, m)
			wrong = append(wrong, fmt.Sprintf("%s: %s", c.what, m.Rcode))
		}
	}
	ev.N = len(cases)
	switch {
	case silent == len(cases):
		return finding.Verdict(finding.Unknown, ev, "could not be measured: nothing is answered")
	case len(wrong) > 0:
		return finding.Verdict(finding.Warn, ev, "%q", wrong)
	case len(lost) > 0 && r.RateLimits(r.Server) && ctx.Err() == nil:
		return r.RetryLater(ev)
	case len(lost) > 0:
		ev.Command = check.Dig(r.Server, cases[0].q)
		return finding.Verdict(finding.Unknown, ev, "could not be measured: no answer to %q, nor to every plain question beside it", lost)
	}
	ev.Command = check.Dig(r.Server, cases[0].q)
	return finding.Verdict(finding.Pass, ev, "all %d are answered rightly", len(cases))
}

func runCase(ctx context.Context, r *check.Run) []finding.Finding {
	name := bytes.Clone(check.Below("pOrT53cHeCk", r.Apex()))
	for i, b := range name {
		if i%2 == 0 && 'a' <= b && b <= 'z' {
			name[i] = b - 'a' + 'A'
		}
	}
	return single(
		func(*check.Run) check.Query { return check.Query{Name: name, Type: wire.TypeA} },
		func(_ *check.Run, m *check.Reply) (finding.State, string) {
			switch {
			case !m.HasQuestion && m.Rcode == wire.Refused:
				return finding.Skipped, "the server refuses who asks from here, and leaves the question out"
			case !m.HasQuestion:
				return finding.Warn, "the reply has no question"
			case !bytes.Equal(m.Name, name):
				return finding.Warn, "the question came back in another case"
			}
			return finding.Pass, "the case is kept"
		},
		quiet{state: finding.Fail, severity: finding.SevMedium, text: "a question in mixed case is not answered"},
	)(
		ctx,
		r,
	)
}

// malformed returns packets that no server may answer as if they were questions.
func malformed(name []byte) [badPackets][]byte {
	good := func() []byte { return check.Question(0, name, wire.TypeSOA) }
	set := func(at int, v uint16) []byte {
		q := good()
		binary.BigEndian.PutUint16(q[at:], v)
		return q
	}
	q := good()
	loop := append(bytes.Clone(q[:wire.HeaderLen]), 0xC0, wire.HeaderLen, 0, 1, 0, 1)
	return [badPackets][]byte{
		set(4, 0)[:wire.HeaderLen],
		append(set(4, 2), q[wire.HeaderLen:]...),
		loop,
		q[:len(q)-3],
		set(2, wire.FlagQR),
		set(2, wire.FlagQR|wire.FlagAA),
		set(
			4,
			65535,
		),
		set(6, 65535),
		set(8, 65535),
		set(10, 65535),
		q[:7],
		append(bytes.Clone(q[:wire.HeaderLen]), 0x7F, 'x', 0, 0, 1, 0, 1),
	}
}

func runBad(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{
		N: badPackets,
		Command: fmt.Sprintf(
			"printf '\\0\\1\\200\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\6\\0\\1' | nc -u -w1 %s %d | xxd",
			r.Server.Addr.Addr(),
			r.Server.Addr.Port(),
		),
	}
	if _, err := r.Ask(ctx, soaQuery(r)); err != nil {
		return finding.Unmeasured(ev, err)
	}
	var wrong []string
	for i, p := range malformed(r.Apex()) {
		c, err := r.DialUDP(ctx)
		if err != nil {
			return finding.Unmeasured(ev, err)
		}
		// These are no queries that something could fit: whatever comes is looked at.
		_, _ = c.Write(p)
		_ = c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
		buf := make([]byte, wire.MaxMessage)
		n, err := c.Read(buf)
		c.Close()
		if err != nil || n < wire.HeaderLen {
			continue
		}
		isResponse := len(p) >= 4 && p[2]&0x80 != 0
		data := binary.BigEndian.Uint16(buf[6:]) > 0 && buf[3]&15 == 0 && i != 7 && i != 8 && i != 9
		if isResponse || data {
			wrong = append(wrong, fmt.Sprintf("packet %d is answered", i+1))
			ev.Sent, ev.Received = p, buf[:n]
		}
	}
	if _, err := r.Ask(ctx, soaQuery(r)); err != nil {
		return finding.Verdict(finding.Fail, ev, "the server does not answer any more: %v", err)
	}
	if len(wrong) > 0 {
		return finding.Verdict(finding.Fail, ev, "%q", wrong)
	}
	return finding.Verdict(finding.Pass, ev, "none of %d is answered as if it were right", badPackets)
}

func judgeAuthority(r *check.Run, m *check.Reply) (finding.State, string) {
	if len(r.Zone) == 0 {
		return finding.Skipped, "no zone is known to be served here"
	}
	if m.Rcode == wire.NoError && m.Flags&wire.FlagAA != 0 && len(m.Answers(r.Zone, wire.TypeSOA)) == 1 {
		return finding.Pass, "the SOA comes with AA"
	}
	return finding.Fail, fmt.Sprintf("lame: %s, AA %t, %d SOA", m.Rcode, m.Flags&wire.FlagAA != 0, len(m.Answers(r.Zone, wire.TypeSOA)))
}

func judgeReferral(_ *check.Run, m *check.Reply) (finding.State, string) {
	for _, rr := range m.In(wire.Authority, wire.TypeNS) {
		if len(rr.Owner) == 1 {
			return finding.Warn, fmt.Sprintf("a referral to the root of %d octets", len(m.Raw))
		}
	}
	return finding.Pass, m.Rcode.String()
}

func notifyQuery(r *check.Run) check.Query {
	return check.Query{Name: r.Apex(), Type: wire.TypeSOA, Opcode: wire.OpcodeNotify, Flags: wire.FlagAA}
}

func judgeNotify(_ *check.Run, m *check.Reply) (finding.State, string) {
	if m.Rcode == wire.NoError && m.Opcode == wire.OpcodeNotify {
		return finding.Warn, "NOTIFY is accepted from here"
	}
	return finding.Pass, m.Rcode.String()
}

func anyQuery(r *check.Run) check.Query {
	return check.Query{Name: r.Apex(), Type: wire.TypeANY, EDNS: &check.EDNS{Size: 4096, DO: true}}
}

func judgeANY(_ *check.Run, m *check.Reply) (finding.State, string) {
	state := finding.Pass
	switch {
	case len(m.Raw) > udpMax:
		state = finding.Fail
	case len(m.Raw) > anyMax:
		state = finding.Warn // as servers have it by themselves that serve a zone signed with RSA
	}
	return state, fmt.Sprintf("%d octets", len(m.Raw))
}

func largeQuery(r *check.Run) check.Query {
	return check.Query{Name: r.Apex(), Type: wire.TypeDNSKEY, EDNS: &check.EDNS{Size: 4096, DO: true}}
}

func judgeFragment(_ *check.Run, m *check.Reply) (finding.State, string) {
	if len(m.Raw) > udpMax {
		return finding.Warn, fmt.Sprintf("a datagram of %d octets", len(m.Raw))
	}
	return finding.Pass, fmt.Sprintf("%d octets", len(m.Raw))
}
