// Package drill attacks a server of one's own, and says what held.
//
// A drill is one attack for a bounded time: on a server at a loopback address that resolves in a [World] of the
// laboratory, and serves [ServedZone]. While it goes on, somebody else asks ordinary questions. A [Report] has
// figures of both, each beside its limit and beside the baseline: what a server with the defaults had.
//
// It sends to the target alone, which has to be in a network namespace of its own: that is for who calls it.
package drill

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"port53/internal/lab"
)

// A Target is what is attacked.
type Target struct {
	Addr      netip.AddrPort // of loopback, UDP and TCP
	World     *lab.World     // where it resolves
	Recursive bool
	Tunnels   func() []string // the domains that it takes for tunnels
}

// A Figure is what was measured.
type Figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit,omitempty"`
	Value    float64 `json:"value"`
	Baseline float64 `json:"baseline"`          // of a server with the defaults
	Limit    float64 `json:"limit"`             // of what holds; -1: none
	AtLeast  bool    `json:"at_least,omitzero"` // the limit is the least, and not the most
}

// Held reports whether the figure is within its limit.
func (f *Figure) Held() bool {
	switch {
	case f.Limit < 0:
		return true
	case f.AtLeast:
		return f.Value >= f.Limit
	}
	return f.Value <= f.Limit
}

// A Report is what became of a drill.
type Report struct {
	Drill   string   `json:"drill"`
	About   string   `json:"about"`
	Held    bool     `json:"held"`
	Seconds float64  `json:"seconds"`
	Figures []Figure `json:"figures"`
}

// A drill is one kind of attack.
type drill struct {
	name, about string
	resolver    bool // it is of a server that resolves
	attack      func(ctx context.Context, b *bench) []Figure
}

func drills() []drill {
	return []drill{
		{"nxns", "delegations to many names without addresses (NXNSAttack)", true, nxns},
		{"keytrap", "keys of one tag with many wrong signatures (KeyTrap)", true, keytrap},
		{"flood", "many questions at once, for names that cannot be had (water torture)", false, flood},
		{"poison", "forged replies, and records that nobody asked for", true, poison},
		{"tunnel", "data in names", true, tunnel},
		{"slowtcp", "connections that send an octet now and then", false, slowTCP},
		{"axfr", "transfers without a key", false, axfr},
	}
}

// Names returns the drills there are for a server, of those that resolve or of all.
func Names(resolves bool) (list []string) {
	for _, d := range drills() {
		if resolves || !d.resolver {
			list = append(list, d.name)
		}
	}
	return list
}

// Run has one drill attack for a time.
func Run(ctx context.Context, t *Target, name string, d time.Duration) (*Report, error) {
	all := drills()
	at := slices.IndexFunc(all, func(d drill) bool { return d.name == name })
	if at < 0 || all[at].resolver && !t.Recursive {
		return nil, fmt.Errorf("there is no drill %s for this server: %v are", name, Names(t.Recursive))
	}
	b := &bench{Target: t, begun: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.stand(ctx, name == "slowtcp")
	}()
	figures := all[at].attack(ctx, b)
	cancel()
	<-done
	share := 100.0
	if n := b.asked.Load(); n > 0 {
		share = 100 * float64(b.answered.Load()) / float64(n)
	}
	figures = append(figures,
		Figure{Name: "others answered", Unit: "%", Value: share, Baseline: 100, Limit: 90, AtLeast: true},
		Figure{Name: "slowest answer to others", Unit: "ms", Value: millis(time.Duration(b.slowest.Load())), Baseline: 15, Limit: -1})
	r := &Report{Drill: name, About: all[at].about, Held: true, Seconds: time.Since(b.begun).Seconds(), Figures: figures}
	for i := range figures {
		r.Held = r.Held && figures[i].Held()
	}
	return r, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// A bench is where a drill works.
type bench struct {
	*Target
	begun           time.Time
	asked, answered atomic.Int64 // by who stands by
	slowest         atomic.Int64 // nanoseconds
}

// rate returns how many of n there were in a second.
func (b *bench) rate(n int64) float64 { return float64(n) / time.Since(b.begun).Seconds() }

// standEach is how often who stands by asks: below the rates at which servers limit anybody.
const standEach = 80 * time.Millisecond

// stand asks ordinary questions until ctx ends: for a name that is known, and for one that is not.
func (b *bench) stand(ctx context.Context, tcp bool) {
	for i := 0; ctx.Err() == nil; i++ {
		name := "www.drill.test."
		if b.Recursive {
			if name = "www.good.test."; i%2 == 1 {
				name = fmt.Sprintf("h%d.good.test.", i%1000)
			}
		}
		begun := time.Now()
		ask := b.ask
		if tcp {
			ask = b.askTCP
		}
		reply := ask(bystander, name, typeA, patience)
		took := time.Since(begun)
		if ctx.Err() != nil && reply == nil && took < patience {
			return
		}
		b.asked.Add(1)
		if reply.rcode() == 0 && reply.answers() > 0 {
			b.answered.Add(1)
		}
		b.slowest.Store(max(b.slowest.Load(), int64(took)))
		select {
		case <-ctx.Done():
		case <-time.After(standEach):
		}
	}
}
