package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"port53/conformance/peers"
	"port53/conformance/probe"
)

// median returns the round with the median rate.
func (m *measured) median() round {
	sorted := slices.SortedFunc(slices.Values(m.rounds), func(a, b round) int {
		switch {
		case a.rate() < b.rate():
			return -1
		case a.rate() > b.rate():
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}

func (m *measured) spread() (low, high float64) {
	low, high = m.rounds[0].rate(), m.rounds[0].rate()
	for _, r := range m.rounds {
		low, high = min(low, r.rate()), max(high, r.rate())
	}
	return low, high
}

// cost returns the processor time of one answer, in the median round.
func (m *measured) cost() time.Duration {
	r := m.median()
	return r.user + r.system
}

// manyAnswers is how many answers a cache must have taken for its growth to tell
// what one costs.
const manyAnswers = 50_000

// reserves says whether a server takes the room for its cache when it starts.
func reserves(kind string) bool { return kind == dnsmasq }

// perAnswer returns the bytes of memory that one answer takes in the cache of a
// resolver, 0 if that was not measured.
func (m *measured) perAnswer() float64 {
	grown, answers := m.warm-m.cold, m.filled
	if m.asked > 0 {
		grown, answers = m.memory-m.warm, m.asked
	}
	if reserves(m.kind) {
		grown = m.memory
	}
	if answers < manyAnswers {
		return 0
	}
	return float64(grown) / float64(answers)
}

// A column is one of a table, %-formatted from what was measured of a server in
// the median round.
type column struct {
	title string
	value func(m *measured, r *round) string
}

func number(title, format string, value func(m *measured, r *round) float64) column {
	return column{title, func(m *measured, r *round) string { return fmt.Sprintf(format, value(m, r)) }}
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// columns returns those of a suite's table.
func columns(resolve bool) []column {
	cols := []column{
		{"server", func(m *measured, _ *round) string { return m.name }},
		number("answers/s", "%.0f", func(_ *measured, r *round) float64 { return r.rate() }),
		number("lowest", "%.0f", func(m *measured, _ *round) float64 { low, _ := m.spread(); return low }),
		number("highest", "%.0f", func(m *measured, _ *round) float64 { _, high := m.spread(); return high }),
		number("CPU µs", "%.2f", func(_ *measured, r *round) float64 { return micros(r.user + r.system) }),
		number("user", "%.2f", func(_ *measured, r *round) float64 { return micros(r.user) }),
		number("system", "%.2f", func(_ *measured, r *round) float64 { return micros(r.system) }),
	}
	if resolve { // far below 100: something else was the limit
		cols = append(cols, number("busy %", "%.0f", func(_ *measured, r *round) float64 { return 100 * r.rate() * (r.user + r.system).Seconds() }))
	}
	cols = append(cols,
		number("lost %", "%.2f", func(_ *measured, r *round) float64 { return 100 * float64(r.Lost) / float64(max(r.Sent, 1)) }),
		number("p50 µs", "%.0f", func(_ *measured, r *round) float64 { return micros(r.P50) }),
		number("p99 µs", "%.0f", func(_ *measured, r *round) float64 { return micros(r.P99) }),
		number("memory MiB", "%.1f", func(m *measured, _ *round) float64 { return float64(m.memory) / (1 << 20) }),
	)
	if resolve {
		cols = append(cols, column{"octets/cached", func(m *measured, _ *round) string {
			if m.perAnswer() == 0 {
				return "-"
			}
			return fmt.Sprintf("%.0f", m.perAnswer())
		}})
	} else {
		cols = append(cols, number("ready s", "%.2f", func(m *measured, _ *round) float64 { return m.server.Took.Seconds() }))
	}
	return append(cols,
		number("size", "%.0f", func(_ *measured, r *round) float64 { return float64(r.Octets) / float64(r.Received) }),
		column{"answers", func(_ *measured, r *round) string { return mix(&r.result) }},
	)
}

// report prints the table of a suite and the ratios.
func report(all []*measured, resolve bool) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	cols := columns(resolve)
	for _, c := range cols {
		fmt.Fprintf(w, "%s\t", c.title)
	}
	fmt.Fprintln(w)
	for _, m := range all {
		r := m.median()
		for _, c := range cols {
			fmt.Fprintf(w, "%s\t", c.value(m, &r))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	opened(all)
	ratios(all, resolve)
}

// mix says in shares what was answered, so that a fast wrong answer shows.
func mix(r *result) string {
	var parts []string
	for rcode, n := range r.Rcodes {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f%%", probe.RcodeText(rcode), 100*float64(n)/float64(r.Received)))
		}
	}
	if r.Wrong > 0 { // not the record that belongs to the name, or not validated
		parts = append(parts, fmt.Sprintf("wrong %.1f%%", 100*float64(r.Wrong)/float64(r.Received)))
	}
	if r.Truncated > 0 {
		parts = append(parts, fmt.Sprintf("TC %.1f%%", 100*float64(r.Truncated)/float64(r.Received)))
	}
	return strings.Join(parts, ", ")
}

func ratios(all []*measured, resolve bool) {
	var ours, floor *measured
	var others []*measured
	for _, m := range all {
		switch m.kind {
		case peers.Port53:
			if ours == nil {
				ours = m
			}
		case bare:
			floor = m
		default:
			others = append(others, m)
		}
	}
	if ours == nil {
		return
	}
	r := ours.median()
	if len(others) > 0 {
		best := slices.MaxFunc(others, func(a, b *measured) int { return int(a.median().rate() - b.median().rate()) })
		fmt.Printf("answers/s: %.2f times the best peer's (%s)\n", r.rate()/best.median().rate(), best.name)
		// In pairs of neighbouring rounds, what disturbs the machine cancels out.
		var pairs []float64
		for i := range ours.rounds {
			pairs = append(pairs, ours.rounds[i].rate()/best.rounds[i].rate())
		}
		slices.Sort(pairs)
		fmt.Printf("answers/s, round by round: %.2f times in the median, %.2f to %.2f\n", pairs[len(pairs)/2], pairs[0], pairs[len(pairs)-1])
		// The best round of each is the one that was disturbed least.
		top := func(m *measured) float64 { _, high := m.spread(); return high }
		highest := slices.MaxFunc(others, func(a, b *measured) int { return int(top(a) - top(b)) })
		fmt.Printf("answers/s, best rounds: %.2f times the best peer's (%s)\n", top(ours)/top(highest), highest.name)
		cheap := slices.MinFunc(others, func(a, b *measured) int { return int(a.cost() - b.cost()) })
		fmt.Printf("CPU per answer: the cheapest peer (%s) needs %.2f times ours: so many times its answers/s on a processor of one's own\n",
			cheap.name, float64(cheap.cost())/float64(ours.cost()))
		if resolve {
			resolverRatios(ours, others)
		} else {
			lean := slices.MinFunc(others, func(a, b *measured) int { return int(a.memory - b.memory) })
			fast := slices.MinFunc(others, func(a, b *measured) int { return int(a.server.Took - b.server.Took) })
			fmt.Printf("memory: %.2f times the leanest peer's (%s); ready in %.2f times the fastest's (%s)\n",
				float64(ours.memory)/float64(lean.memory), lean.name, ours.server.Took.Seconds()/fast.server.Took.Seconds(), fast.name)
		}
	}
	if floor != nil {
		f := floor.median()
		whole := f.user + f.system
		fmt.Printf("own user CPU per answer: %.3f of the bare responder's whole cost (0.6 µs of 3.1 µs is 0.194); answers/s: %.2f of its\n",
			float64(r.user)/float64(whole), r.rate()/f.rate())
	}
	for _, m := range all {
		if m.stream != nil && m.kind == peers.Port53 && m != ours {
			streamRatio(ours, m)
			continue
		}
		if m.kind == peers.Port53 && m != ours {
			var pairs []float64
			for i := range ours.rounds {
				pairs = append(pairs, 100*(1-m.rounds[i].rate()/ours.rounds[i].rate()))
			}
			slices.Sort(pairs)
			fmt.Printf("%s costs %.1f %% of the answers/s of %s (median of the rounds; %.1f to %.1f)\n", m.name, pairs[len(pairs)/2], ours.name, pairs[0], pairs[len(pairs)-1])
		}
	}
}

// resolverRatios prints what matters of resolvers only.
func resolverRatios(ours *measured, others []*measured) {
	quick := slices.MinFunc(others, func(a, b *measured) int { return int(a.median().P99 - b.median().P99) })
	fmt.Printf("p99 latency: %.2f times the quickest peer's (%s)\n", float64(ours.median().P99)/float64(quick.median().P99), quick.name)
	if ours.perAnswer() == 0 {
		return
	}
	for _, m := range others {
		if m.perAnswer() > 0 {
			fmt.Printf("memory for one cached answer: %.2f times that of %s\n", ours.perAnswer()/m.perAnswer(), m.name)
		}
	}
}
