package catalogue

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"port53/internal/check"
	"port53/internal/exchange"
	"port53/internal/finding"
	"port53/internal/wire"
)

// flood is what came back of a flood of questions.
type flood struct {
	sent, answered, truncated int
	err                       error
}

// floods are those of one question again and again, and of names that do not exist.
type floods struct{ same, random flood }

// measureFlood sends the questions of SRV-RRL, once for both checks: one question again
// and again, and then names that do not exist.
func measureFlood(ctx context.Context, r *check.Run) (same, random flood) {
	both := check.Once(r, check.Fact[floods]{Server: r.Server.Addr}, func() floods {
		if _, err := r.Ask(ctx, soaQuery(r)); err != nil {
			return floods{same: flood{err: err}, random: flood{err: err}}
		}
		one := check.Question(0, r.Apex(), wire.TypeSOA)
		return floods{
			same:   floodWith(ctx, r, func() []byte { return one }),
			random: floodWith(ctx, r, func() []byte { return check.Question(0, check.Below(randomLabel(), r.Apex()), wire.TypeA) }),
		}
	})
	return both.same, both.random
}

// floodWith sends rrlCount questions at rrlRate a second. It counts what comes, on one
// socket for all and while it sends, which is no exchange.
func floodWith(ctx context.Context, r *check.Run, next func() []byte) flood {
	c, err := r.DialUDP(ctx)
	if err != nil {
		return flood{err: err}
	}
	defer c.Close()
	f := flood{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, wire.MaxMessage)
		for {
			n, err := c.Read(buf)
			if err != nil {
				if check.TimedOut(err) || errors.Is(err, net.ErrClosed) {
					return
				}
				continue
			}
			if n >= wire.HeaderLen {
				f.answered++
				if binary.BigEndian.Uint16(buf[2:])&wire.FlagTC != 0 {
					f.truncated++
				}
			}
		}
	}()
	tick := time.NewTicker(time.Second / rrlRate)
	defer tick.Stop()
	sent := 0
	for range rrlCount {
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = c.SetReadDeadline(time.Now())
			<-done
			return flood{err: ctx.Err()}
		}
		if _, err := c.Write(next()); err == nil {
			sent++
		}
	}
	// What is sent late, on a machine that is busy, is answered late.
	_ = c.SetReadDeadline(time.Now().Add(r.Timeout() / 2))
	<-done
	f.sent = sent
	return f
}

// limited reports whether a rate limit was at work.
func (f *flood) limited() bool {
	return f.truncated > 0 || f.answered*100 < f.sent*rrlShare
}

func floodCommand(r *check.Run) string {
	return fmt.Sprintf(
		"seq %d | xargs -P 50 -I{} dig @%s -p %d +norec +tries=1 +ignore +noedns -t SOA -q %s | grep -c 'status: NOERROR'",
		rrlCount,
		r.Server.Addr.Addr(),
		r.Server.Addr.Port(),
		check.ShellName(r.Apex()),
	)
}

func runRRL(ctx context.Context, r *check.Run) []finding.Finding {
	f, random := measureFlood(ctx, r)
	ev := finding.Evidence{N: f.sent + random.sent, Command: floodCommand(r)}
	switch {
	case f.err != nil || random.err != nil:
		return finding.Unmeasured(ev, cmp.Or(f.err, random.err))
	case f.limited() && !random.limited():
		return finding.Verdict(
			finding.Warn,
			ev,
			"%d of %d names that do not exist were answered: equal questions are limited, random names are not",
			random.answered,
			random.sent,
		)
	case f.limited():
		return finding.Verdict(
			finding.Pass,
			ev,
			"%d of %d answered, %d of them truncated; of random names %d of %d",
			f.answered,
			f.sent,
			f.truncated,
			random.answered,
			random.sent,
		)
	}
	return finding.Verdict(finding.Fail, ev, "%d of %d answered: no limit", f.answered, f.sent)
}

func runSlip(ctx context.Context, r *check.Run) []finding.Finding {
	f, _ := measureFlood(ctx, r)
	ev := finding.Evidence{N: f.sent, Command: floodCommand(r)}
	switch {
	case f.err != nil:
		return finding.Unmeasured(ev, f.err)
	case !f.limited():
		return finding.Verdict(finding.Skipped, ev, "there is no limit")
	case f.truncated == 0:
		return finding.Verdict(finding.Warn, ev, "limited to %d of %d, and none truncated", f.answered, f.sent)
	}
	return finding.Verdict(finding.Pass, ev, "%d truncated", f.truncated)
}

func runPipe(ctx context.Context, r *check.Run) []finding.Finding {
	const n = 10
	ev := finding.Evidence{
		N: n,
		Command: fmt.Sprintf(
			"dig @%s -p %d +tcp +keepopen +norec %s SOA %[3]s NS %[3]s SOA",
			r.Server.Addr.Addr(),
			r.Server.Addr.Port(),
			check.ShellName(r.Apex()),
		),
	}
	c, err := r.DialTCP(ctx)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	defer c.Close()
	var out []byte
	for i := range n {
		q := check.Question(0, r.Apex(), wire.TypeSOA)
		q[0], q[1] = 0x53, byte(i)
		out = exchange.AppendFrame(out, q)
	}
	if _, err := c.Conn.Write(out); err != nil { // all in one piece: they wait together
		return finding.Unmeasured(ev, err)
	}
	got, ordered := map[byte]bool{}, true
	// No more than were asked for: a server could send others for ever.
	for range n {
		m, err := c.Next(ctx, time.Now().Add(r.StepTimeout()))
		if err != nil {
			break
		}
		var reply wire.Message
		if m[0] != 0x53 || m[1] >= n || m[2]&0x80 == 0 || reply.Parse(m) != 0 {
			continue
		}
		ordered = ordered && int(m[1]) == len(got)
		got[m[1]] = true
	}
	switch {
	case len(got) == 0:
		return finding.Verdict(finding.Unknown, ev, "could not be measured: nothing is answered over TCP")
	case len(got) < n:
		return finding.Verdict(finding.Warn, ev, "%d of %d questions were answered", len(got), n)
	}
	return finding.Verdict(finding.Pass, ev, "all %d answered, in order: %t", n, ordered)
}

func runIdle(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{N: 1, Command: fmt.Sprintf("time nc %s %d </dev/zero", r.Server.Addr.Addr(), r.Server.Addr.Port())}
	c, err := r.DialTCP(ctx)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	defer c.Close()
	m, err := check.ExchangeStream(ctx, c, r.Server.Addr, r.StepTimeout(), check.Question(0, r.Apex(), wire.TypeSOA))
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	ev.Received = m.Raw
	// What it says unasked does not count, be it messages or not.
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.SetDeadline(time.Now()) })
	defer stop()
	begin := time.Now()
	if err = c.Conn.SetReadDeadline(begin.Add(idleMax)); err == nil {
		_, err = io.CopyN(io.Discard, c.Conn, wire.MaxMessage)
	}
	if ctx.Err() != nil {
		return finding.Unmeasured(ev, ctx.Err())
	}
	s, detail := judgeIdle(time.Since(begin), check.TimedOut(err))
	return finding.Verdict(s, ev, "%s", detail)
}

// judgeIdle judges after which time an idle connection ended.
func judgeIdle(d time.Duration, open bool) (finding.State, string) {
	switch {
	case open:
		return finding.Warn, fmt.Sprintf("still open after %v", idleMax)
	case d < 500*time.Millisecond:
		return finding.Warn, "closed at once: every question needs a new connection"
	case d > idleGood:
		return finding.Info, fmt.Sprintf("closed after %v", d.Round(time.Second))
	}
	return finding.Pass, fmt.Sprintf("closed after %v", d.Round(100*time.Millisecond))
}

func runCap(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{
		N: idleConns,
		Command: fmt.Sprintf(
			"for i in $(seq %d); do nc %s %d </dev/zero & done; dig +tcp @%[2]s -p %[3]d -b OTHER-ADDRESS -t SOA -q %s",
			idleConns,
			r.Server.Addr.Addr(),
			r.Server.Addr.Port(),
			check.ShellName(r.Apex()),
		),
	}
	if _, err := r.AskTCP(ctx, soaQuery(r)); err != nil {
		return finding.Unmeasured(ev, err)
	}
	held := 0
	for range idleConns {
		c, err := r.DialTCP(ctx)
		if err != nil {
			break
		}
		defer c.Close()
		held++
	}
	local := otherAddress(r.Server.Addr.Addr())
	d := exchange.Dialer{Timeout: r.StepTimeout()}
	if local.IsValid() {
		d.Source = netip.AddrPortFrom(local, 0)
	}
	answered := false
	if c, err := d.Stream(ctx, r.Server.Addr); err == nil {
		defer c.Close()
		_, err = check.ExchangeStream(ctx, c, r.Server.Addr, r.StepTimeout(), check.Question(0, r.Apex(), wire.TypeSOA))
		answered = err == nil
	}
	switch {
	case answered:
		return finding.Verdict(finding.Pass, ev, "answered beside %d idle connections", held)
	case !local.IsValid():
		return finding.Verdict(
			finding.Unknown,
			ev,
			"not answered beside %d idle connections, and this machine has no other address to report whether others are",
			held,
		)
	}
	return finding.Verdict(finding.Fail, ev, "%d idle connections of one address keep %v from being answered", held, local)
}

// otherAddress returns another address of this machine that can reach an
// address: with loopback any of 127/8, else any of the same family.
func otherAddress(to netip.Addr) netip.Addr {
	if to.Is4() && to.IsLoopback() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 77})
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil || to.IsLoopback() {
		return netip.Addr{}
	}
	var found []netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() == to.Is4() && p.Addr().IsGlobalUnicast() {
			found = append(found, p.Addr())
		}
	}
	if len(found) < 2 {
		return netip.Addr{}
	}
	return found[len(found)-1]
}

func runSlow(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{
		N:       1,
		Command: fmt.Sprintf("(while sleep 1; do printf '\\0'; done) | timeout 20 nc %s %d", r.Server.Addr.Addr(), r.Server.Addr.Port()),
	}
	c, err := r.DialTCP(ctx)
	if err != nil {
		return finding.Unmeasured(ev, err)
	}
	defer c.Close()
	msg := exchange.AppendFrame(nil, check.Question(0, r.Apex(), wire.TypeSOA))
	step := r.StepTimeout() / 3
	tick := time.NewTicker(step)
	defer tick.Stop()
	begin := time.Now()
	for i := range slowSteps {
		if _, err := c.Conn.Write(msg[i%len(msg) : i%len(msg)+1]); err != nil { // octet by octet
			return finding.Verdict(finding.Pass, ev, "closed after %v", time.Since(begin).Round(step))
		}
		if _, err := c.Next(ctx, time.Now().Add(time.Millisecond)); err != nil && !check.TimedOut(err) {
			return finding.Verdict(finding.Pass, ev, "closed after %v", time.Since(begin).Round(step))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return finding.Unmeasured(ev, ctx.Err())
		}
	}
	return finding.Verdict(finding.Warn, ev, "still open after %v", slowSteps*step)
}
