package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"port53/conformance/peers"
)

// abSuites is what two programs are compared with unless the flags say otherwise.
const abSuites = "auth-root,auth-1m,cache-hit,cache-miss,axfr-out"

// compared returns what takes part where an old program is compared with a new one: both, and
// the old one a second time, whose difference from itself is what the machine alone makes. They are asked as
// the first of a suite's own contenders is, if it has any that is asked on connections.
func (b *bench) compared(own []contender) []contender {
	list := []contender{
		{name: "old", kind: peers.Port53, binary: b.old},
		{name: "new", kind: peers.Port53, binary: b.port53, config: b.with},
		{name: "old again", kind: peers.Port53, binary: b.old},
	}
	for i := range list {
		if len(own) > 0 && own[0].stream != nil {
			list[i].stream, list[i].addr = own[0].stream, own[0].addr
		}
	}
	return list
}

// readWith reads what the new program's configuration has more than the old one's. RULES in it stands for a file of so
// many rules that block names nobody asks for.
func (b *bench) readWith(file string, rules int) error {
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "RULES") {
		b.with = string(text)
		return err
	}
	list := filepath.Join(b.dir, "rules.txt")
	var all strings.Builder
	for i := range rules {
		fmt.Fprintf(&all, "host%d.ads%d.example\n", i, i%997)
	}
	b.with = strings.ReplaceAll(string(text), "RULES", list)
	return os.WriteFile(list, []byte(all.String()), 0o644)
}

// order returns the contenders in the order of a round: every other one is turned round, so
// that who comes first gains nothing by it.
func order(all []*measured, round int, turn bool) []*measured {
	all = slices.Clone(all)
	if turn && round%2 == 1 {
		slices.Reverse(all)
	}
	return all
}

// comparedTransfers gives a zone to a client that only reads, from each program in turn.
func (b *bench) comparedTransfers() error {
	fmt.Printf("\naxfr-out: a zone of %d records is given to a client that only reads\n", b.names)
	file, err := b.writeTransferZone(b.names)
	if err != nil {
		return err
	}
	var all []*measured
	defer func() {
		for _, m := range all {
			m.stop()
		}
	}()
	for i, c := range b.compared(nil) {
		m := &measured{contender: c}
		all = append(all, m)
		m.server, err = b.startTransfer(transferServer{
			kind: c.kind, binary: c.binary, addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(5410+i)), file: file, cpu: serverCPU,
		})
		if err == nil {
			_, err = b.waitSerial(m.server, transferZone, startTimeout)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	for i := range b.rounds {
		for _, m := range order(all, i, true) {
			u0, s0 := m.server.CPU()
			took, octets, err := b.fetch(m.server.Addr)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", m.name, err, m.server.Tail())
			}
			u1, s1 := m.server.CPU()
			m.rounds = append(m.rounds, round{
				result: result{Received: int64(b.names), Seconds: took.Seconds(), Octets: int64(octets)},
				user:   (u1 - u0) / time.Duration(b.names), system: (s1 - s0) / time.Duration(b.names),
			})
		}
	}
	return reportPairs(all)
}

// A ratio is what pairs of rounds say of one figure.
type ratio struct{ median, low, high float64 }

func (r ratio) String() string { return fmt.Sprintf("%.3f (%.3f to %.3f)", r.median, r.low, r.high) }

// inPairs compares a figure of two contenders round by round: what disturbs the machine for a
// while disturbs both.
func inPairs(m, base *measured, figure func(r *round) float64) ratio {
	list := make([]float64, len(m.rounds))
	for i := range list {
		list[i] = figure(&m.rounds[i]) / figure(&base.rounds[i])
	}
	slices.Sort(list)
	return ratio{middle(list), list[0], list[len(list)-1]}
}

// middle returns the median of a sorted list.
func middle(list []float64) float64 {
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// reportPairs prints what was measured of each contender, and how it compares with the first.
func reportPairs(all []*measured) error {
	figures := []func(r *round) float64{
		func(r *round) float64 { return r.rate() },
		func(r *round) float64 { return float64(r.user) },
		func(r *round) float64 { return float64(r.user + r.system) },
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%d pairs\tanswers/s\tuser ns\tCPU ns\tanswers/s, of old's\tuser CPU, of old's\tCPU, of old's\t\n", len(all[0].rounds))
	for _, m := range all {
		fmt.Fprintf(w, "%s\t", m.name)
		for _, figure := range figures {
			list := make([]float64, len(m.rounds))
			for i := range list {
				if list[i] = figure(&m.rounds[i]); list[i] == 0 {
					return errors.New("a round was too short to be measured: make -time or -names larger")
				}
			}
			slices.Sort(list)
			fmt.Fprintf(w, "%.0f\t", middle(list))
		}
		for _, figure := range figures {
			if m == all[0] {
				fmt.Fprint(w, "1\t")
				continue
			}
			fmt.Fprintf(w, "%v\t", inPairs(m, all[0], figure))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
