package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"port53/internal/lab"
	"port53/internal/wire"
)

func percent(part, all int) float64 { return 100 * float64(part) / float64(max(all, 1)) }

// nxns asks for names below delegations whose name servers have to be looked up at a victim.
func nxns(ctx context.Context, b *bench) []Figure {
	victim := netip.MustParseAddr(victimAddr)
	before, packets := b.World.Net.Counts(victim).Queries, 0
	n := every(ctx, 0, math.MaxInt, func(i int) {
		b.ask(attacker, fmt.Sprintf("n%d.r%d.nxns.test.", i/referrals, i%referrals), typeA, patience)
		if i < referrals { // after these the server knows better
			packets = b.World.Net.Counts(victim).Queries - before
		}
	})
	each := float64(packets) / float64(max(min(n, referrals), 1))
	return []Figure{
		{Name: "questions", Unit: "a second", Value: b.rate(int64(n)), Baseline: 3400, Limit: 1, AtLeast: true},
		{Name: "packets to the victim for a question", Value: each, Baseline: 6, Limit: 60},
	}
}

// keytrap asks for names with many wrong signatures by keys of one tag.
func keytrap(ctx context.Context, b *bench) []Figure {
	var times []time.Duration
	secure, failed := 0, 0
	n := every(ctx, 0, math.MaxInt, func(i int) {
		begun := time.Now()
		r := b.ask(attacker, fmt.Sprintf("w%d.keytrap.test.", i%trapped), typeA, patience)
		if i < trapped { // after these they are answered from the cache
			times = append(times, time.Since(begun))
		}
		if r.secure() {
			secure++
		}
		if r.rcode() == int(wire.ServFail) {
			failed++
		}
	})
	if len(times) == 0 {
		times = append(times, 0) // it was stopped at once
	}
	slices.Sort(times)
	return []Figure{
		{Name: "questions", Unit: "a second", Value: b.rate(int64(n)), Baseline: 7000, Limit: 1, AtLeast: true},
		{Name: "median time for a question", Unit: "ms", Value: millis(times[len(times)/2]), Baseline: 0.4, Limit: 250},
		{Name: "answers taken for secure", Value: float64(secure), Limit: 0},
		{Name: "questions that failed as they should", Unit: "%", Value: percent(failed, n), Baseline: 100, Limit: 90, AtLeast: true},
	}
}

// floodRate is how many questions a second a flood has.
const floodRate = 8000

// flood asks many questions from one network: for names below a zone whose servers are dead, or for one that is served.
func flood(ctx context.Context, b *bench) []Figure {
	const senders = 4
	var sent, out, in atomic.Int64
	var wg sync.WaitGroup
	for s := range senders {
		c, err := b.dial("udp", netip.AddrFrom4([4]byte{127, 0, 66, byte(1 + s)}))
		if err != nil {
			continue
		}
		wg.Go(func() {
			buf := make([]byte, wire.MaxMessage)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				in.Add(int64(n))
			}
		})
		wg.Go(func() {
			defer c.Close()
			const pulse = 5 * time.Millisecond
			every(ctx, pulse, math.MaxInt, func(i int) {
				for j := range floodRate / senders * int(pulse) / int(time.Second) {
					name := "www.drill.test."
					if b.Recursive {
						name = fmt.Sprintf("x%d-%d-%d.flood.test.", s, i, j)
					}
					if n, err := c.Write(question(name, typeA)); err == nil {
						sent.Add(1)
						out.Add(int64(n))
					}
				}
			})
		})
	}
	wg.Wait()
	return []Figure{
		{Name: "questions", Unit: "a second", Value: b.rate(sent.Load()), Baseline: 7000, Limit: 1, AtLeast: true},
		{Name: "octets back for each sent", Value: float64(in.Load()) / float64(max(out.Load(), 1)), Baseline: 2.4, Limit: 4},
	}
}

// forgeries is how many replies are forged for a question, by somebody who knows the port and the question's case.
const forgeries = 500

// poison forges replies to what the server asks, and adds records of others to true ones.
func poison(ctx context.Context, b *bench) []Figure {
	right, wrong := netip.MustParseAddr("198.51.100.40"), netip.MustParseAddr("198.51.100.66")
	at := netip.MustParseAddr(poisonAddr)
	b.World.Net.Tamper(at, func(r *lab.Reply) {
		place := bytes.Index(r.Message, right.AsSlice())
		if r.TCP || place < 0 {
			return
		}
		ids := make([]byte, 2*forgeries)
		_, _ = rand.Read(ids) // it never fails
		for i := range forgeries {
			m := bytes.Clone(r.Message)
			copy(m, ids[2*i:2*i+2])
			copy(m[place:], wrong.AsSlice())
			r.Forged = append(r.Forged, lab.Forgery{Source: r.Server, Message: m, After: time.Duration(i) * 20 * time.Microsecond})
		}
	})
	defer b.World.Net.Tamper(at, nil)
	forged, good := 0, 0
	n := every(ctx, 0, math.MaxInt, func(i int) {
		r := b.ask(attacker, fmt.Sprintf("n%d.poison.test.", i), typeA, patience)
		if r.has(wrong) {
			forged++
		} else if r.has(right) {
			good++
		}
		b.ask(attacker, fmt.Sprintf("n%d.liar.test.", i), typeA, patience)
		if b.ask(attacker, "www.good.test.", typeA, patience).has(wrong) {
			forged++
		}
	})
	return []Figure{
		{Name: "questions", Unit: "a second", Value: b.rate(int64(n)), Baseline: 30, Limit: 1, AtLeast: true},
		{Name: "forged answers", Value: float64(forged), Limit: 0},
		{Name: "true answers in spite of them", Unit: "%", Value: percent(good, n), Baseline: 100, Limit: 90, AtLeast: true},
	}
}

// tunnel moves data in names until it is found.
func tunnel(ctx context.Context, b *bench) []Figure {
	random := make([]byte, 110)
	octets, found, begun := 0, 0.0, time.Now()
	n := every(ctx, 10*time.Millisecond, math.MaxInt, func(i int) {
		_, _ = rand.Read(random) // it never fails
		text := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random))
		name := text[:58] + "." + text[58:116] + "." + text[116:] + ".tunnel.test."
		octets += len(text)
		b.ask(attacker, name, wire.TypeTXT, patience)
		isOurs := func(domain string) bool { return strings.HasPrefix(domain, "tunnel.test") }
		if found == 0 && i%20 == 19 && slices.ContainsFunc(b.Tunnels(), isOurs) {
			found = time.Since(begun).Seconds()
		}
	})
	list := []Figure{
		{Name: "questions", Unit: "a second", Value: b.rate(int64(n)), Baseline: 87, Limit: 1, AtLeast: true},
		{Name: "moved in names", Unit: "octets", Value: float64(octets), Baseline: 76000, Limit: -1},
		{Name: "found", Value: 0, Baseline: 1, Limit: 1, AtLeast: true},
	}
	if found > 0 {
		list[2].Value = 1
		list = append(list, Figure{Name: "until it was found", Unit: "s", Value: found, Baseline: 0.5, Limit: 60})
	}
	return list
}

// The connections of slowTCP: many of one address, and some of each of many.
const (
	slowOfOne  = 200
	slowOthers = 40
	slowOfEach = 4
)

// slowTCP opens connections that send the first octets of a question, and the others one a second.
func slowTCP(ctx context.Context, b *bench) []Figure {
	var open, one atomic.Int64
	var wg sync.WaitGroup
	slow := func(from netip.Addr, count *atomic.Int64) {
		c, err := b.dial("tcp", from)
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			count.Add(1)
			if !drip(ctx, c) {
				count.Add(-1)
			}
		})
	}
	for range slowOfOne {
		slow(attacker, &one)
	}
	for i := range slowOthers {
		for range slowOfEach {
			slow(netip.AddrFrom4([4]byte{127, 1, byte(i), 1}), &open)
		}
	}
	wg.Wait()
	return []Figure{
		{Name: "connections tried", Value: slowOfOne + slowOthers*slowOfEach, Baseline: slowOfOne + slowOthers*slowOfEach, Limit: -1},
		{Name: "still open at the end, of one address", Value: float64(one.Load()), Baseline: 0, Limit: slowOfOne / 2},
		{Name: "still open at the end, of others", Value: float64(open.Load()), Baseline: 0, Limit: -1},
	}
}

// drip sends a question slowly, and reports whether the connection was open to the end.
func drip(ctx context.Context, c net.Conn) bool {
	msg := question("www.drill.test.", typeA)
	msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	buf := make([]byte, 1)
	for i := 0; ctx.Err() == nil; i++ {
		if _, err := c.Write(msg[i%len(msg) : i%len(msg)+1]); err != nil {
			return false
		}
		end, ok := ctx.Deadline()
		if next := time.Now().Add(time.Second); !ok || next.Before(end) {
			end = next
		}
		_ = c.SetReadDeadline(end)
		if _, err := c.Read(buf); err != nil {
			if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
				return false
			}
		}
	}
	return true
}

// axfr asks for the zone whole, without a key.
func axfr(ctx context.Context, b *bench) []Figure {
	var asked, given atomic.Int64
	var wg sync.WaitGroup
	for s := range 8 {
		wg.Go(func() {
			every(ctx, 0, math.MaxInt, func(int) {
				asked.Add(1)
				from := netip.AddrFrom4([4]byte{127, 0, 66, byte(1 + s)})
				if b.askTCP(from, "drill.test.", wire.TypeAXFR, patience).answers() > 0 {
					given.Add(1)
				}
			})
		})
	}
	wg.Wait()
	return []Figure{
		{Name: "transfers asked for", Unit: "a second", Value: b.rate(asked.Load()), Baseline: 3200, Limit: 1, AtLeast: true},
		{Name: "transfers given", Value: float64(given.Load()), Limit: 0},
	}
}
