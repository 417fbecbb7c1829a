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

// report prints the table of a suite and the ratios.
func report(all []*measured) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "server\tanswers/s\tlowest\thighest\tCPU µs\tuser\tsystem\tlost %\tp50 µs\tp99 µs\tmemory MiB\tready s\tsize\tanswers\t")
	micros := func(d time.Duration) float64 { return float64(d) / 1e3 }
	for _, m := range all {
		r := m.median()
		low, high := m.spread()
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.1f\t%.2f\t%.0f\t%s\t\n",
			m.name, r.rate(), low, high, micros(r.user+r.system), micros(r.user), micros(r.system), 100*float64(r.Lost)/float64(max(r.Sent, 1)),
			micros(r.P50), micros(r.P99), float64(m.memory)/(1<<20), m.server.Took.Seconds(), float64(r.Octets)/float64(r.Received), mix(&r.result))
	}
	w.Flush()
	ratios(all)
}

// mix says in shares what was answered, so that a fast wrong answer shows.
func mix(r *result) string {
	var parts []string
	for rcode, n := range r.Rcodes {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f%%", probe.RcodeText(rcode), 100*float64(n)/float64(r.Received)))
		}
	}
	if r.Truncated > 0 {
		parts = append(parts, fmt.Sprintf("TC %.1f%%", 100*float64(r.Truncated)/float64(r.Received)))
	}
	return strings.Join(parts, ", ")
}

func ratios(all []*measured) {
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
		cheap := slices.MinFunc(others, func(a, b *measured) int { return int(a.cost() - b.cost()) })
		fmt.Printf("CPU per answer: the cheapest peer (%s) needs %.2f times ours: so many times its answers/s on a processor of one's own\n",
			cheap.name, float64(cheap.cost())/float64(ours.cost()))
		lean := slices.MinFunc(others, func(a, b *measured) int { return int(a.memory - b.memory) })
		fast := slices.MinFunc(others, func(a, b *measured) int { return int(a.server.Took - b.server.Took) })
		fmt.Printf("memory: %.2f times the leanest peer's (%s); ready in %.2f times the fastest's (%s)\n",
			float64(ours.memory)/float64(lean.memory), lean.name, ours.server.Took.Seconds()/fast.server.Took.Seconds(), fast.name)
	}
	if floor != nil {
		f := floor.median()
		whole := f.user + f.system
		fmt.Printf("own user CPU per answer: %.3f of the bare responder's whole cost (0.6 µs of 3.1 µs is 0.194); answers/s: %.2f of its\n",
			float64(r.user)/float64(whole), r.rate()/f.rate())
	}
	for _, m := range all {
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
