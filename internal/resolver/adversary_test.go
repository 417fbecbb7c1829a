package resolver_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
	"port53/internal/lab"
	"port53/internal/wire"
)

var adversarySeed = flag.Uint64("adversary.seed", 0, "play this world of TestAdversary alone")

// adversaryWorlds is the environment variable with how many worlds TestAdversary plays.
const adversaryWorlds = "PORT53_ADVERSARY"

// TestAdversary has an adversary attack resolvers in small internets that are drawn at
// random: it may forge, replay, strip, reorder and delay any message of any server, and has
// the keys of zones of its own. Whatever it does, a resolver answers what is true, AD as it
// should be, or SERVFAIL: never other data for what is secure, and AD for nothing that is not.
// Where nobody attacks it answers, though one of a zone's servers may be stale, lame or silent;
// and it does so again soon after an attack has ended.
//
// One half of the worlds is the same in every run, the other is not. A world that fails is
// shrunk to a scenario, and played again by -adversary.seed.
func TestAdversary(t *testing.T) {
	worlds := 2000
	if testing.Short() {
		worlds = 200
	}
	if n, err := strconv.Atoi(os.Getenv(adversaryWorlds)); err == nil {
		worlds = n
	}
	if *adversarySeed != 0 {
		for range 5 { // the resolver's own chance is not ours
			judge(t, *adversarySeed)
		}
		return
	}
	fresh := rand.Uint64()>>1 | 1<<62
	t.Logf("seeds from 1 and from %d", fresh)
	var next atomic.Int64
	var count tally
	t.Run("worlds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					n := next.Add(1)
					if n > int64(worlds) {
						break
					}
					seed := uint64(n+1) / 2
					if n%2 == 0 {
						seed += fresh
					}
					count.add(judge(t, seed))
				}
			})
		}
	})
	t.Logf("%d worlds: %d questions answered truly, %d SERVFAIL, %d with data of zones that nobody can vouch for", next.Load()-int64(runtime.GOMAXPROCS(0)), count.truly, count.failed, count.other)
}

// A tally is what became of questions.
type tally struct {
	mu                   sync.Mutex
	truly, failed, other int
}

func (c *tally) add(o *tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.truly, c.failed, c.other = c.truly+o.truly, c.failed+o.failed, c.other+o.other
}

// judge plays the world of a seed, and tells how it went.
func judge(t *testing.T, seed uint64) *tally {
	tree := newTree(rand.New(rand.NewPCG(seed, 53)))
	for range 1 + tree.IntN(2) {
		if tree.quiet {
			for range 5 {
				tree.ask(tree.realms[tree.IntN(len(tree.realms))])
			}
			continue
		}
		tree.attack()
	}
	s := tree.scene()
	count := &tally{}
	if wrong := s.play(t, count); wrong != "" {
		small, wrong := s.shrink(t, wrong)
		t.Errorf("seed %d: %s\nplay it again with -run Adversary -adversary.seed=%d, or as a scenario:\n\n%s", seed, wrong, seed, small.text(wrong))
	}
	return count
}

// A scene is a world and what happens in it.
type scene struct {
	parts []part
	steps []string
	quiet bool
}

// A part is a section of a scenario.
type part struct {
	heading string
	body    []string
}

func (s *scene) text(comment string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (RFC 4035, section 5).\n\n", comment)
	for _, p := range s.parts {
		fmt.Fprintf(&b, "-- %s --\n", p.heading)
		for _, l := range p.body {
			fmt.Fprintln(&b, l)
		}
	}
	fmt.Fprintf(&b, "-- do --\n%s\n", strings.Join(s.steps, "\n"))
	return b.String()
}

// play plays the scene, and tells what was wrong, or nothing. A scene that cannot be is not
// wrong.
func (s *scene) play(t *testing.T, count *tally) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		w := lab.NewWorld(lab.Options{Seed: 53, Log: -1})
		_, sections := lab.Split("scene", []byte(s.text("")))
		var settings []string
		sections = slices.DeleteFunc(sections, func(x lab.Section) bool {
			if x.Kind == "settings" {
				settings = x.Body
			}
			return x.Kind != "zone" && x.Kind != "host"
		})
		there := func(address string) bool {
			return slices.ContainsFunc(sections, func(x lab.Section) bool { return x.Kind == "host" && x.Args[0] == address })
		}
		if w.Put(sections...) != nil || w.Anchors() == "" || strings.Contains(strings.Join(settings, " "), forwarder) && !there(forwarder) {
			return
		}
		p := &stage{scene: s, oracle: newOracle(w, sections), count: count}
		for _, z := range p.zones {
			if z.old {
				return
			}
		}
		p.subject = subject.Make(t, dnstest.NewSetup(w, settings...))
		defer p.subject.Close()
		wrong = p.run(w)
	})
	return wrong
}

// A stage is where a scene is played.
type stage struct {
	*scene
	*oracle
	subject *subject.Subject
	count   *tally
	asked   uint16
}

// recovery is how long after an attack has ended everything that is secure must be there
// again: what did not validate is forgotten by then.
const recovery = 3 * time.Minute

func (p *stage) run(w *lab.World) string {
	for _, step := range p.steps {
		if wrong := p.step(step, p.quiet); wrong != "" {
			return wrong
		}
	}
	if p.quiet {
		return ""
	}
	w.Calm()
	time.Sleep(recovery)
	for _, step := range p.steps {
		f := strings.Fields(step)
		if f[0] != "ask" || slices.Contains(f, "+cd") {
			continue
		}
		if want := p.truth(f[1], f[2]); want.secure {
			if wrong := p.step(step, true); wrong != "" {
				return wrong + ", when the attack was over"
			}
		}
	}
	return ""
}

// step takes one step. Whoever answers is to have the truth; must says that there has to be
// an answer, at the second question if not at the first.
func (p *stage) step(step string, must bool) string {
	f := strings.Fields(step)
	if f[0] == "wait" {
		d, _ := time.ParseDuration(f[1])
		time.Sleep(d)
		return ""
	}
	cd := slices.Contains(f, "+cd")
	got := p.ask(f[1], f[2], cd)
	if cd {
		return "" // who asks so judges for himself
	}
	want := p.truth(f[1], f[2])
	if must && got.rcode == wire.ServFail && want.rcode != wire.ServFail {
		time.Sleep(10 * time.Second)
		got = p.ask(f[1], f[2], cd)
	}
	switch {
	case got.rcode == wire.ServFail && want.rcode != wire.ServFail && must:
		return fmt.Sprintf("%s: SERVFAIL, want %v", step, want)
	case got.rcode == wire.ServFail:
		p.count.failed++
		return ""
	case got.rcode == want.rcode && got.secure == want.secure && slices.Equal(got.records, want.records):
		p.count.truly++
		return ""
	case want.secure || got.secure || p.quiet:
		return fmt.Sprintf("%s: %v, want %v", step, got, want)
	}
	for _, r := range want.vouched {
		if !slices.Contains(got.records, r) {
			return fmt.Sprintf("%s: %v, want %v, at least %s", step, got, want, r)
		}
	}
	p.count.other++
	return ""
}

// An answer is what a client gets, or should.
type answer struct {
	rcode   wire.Rcode
	secure  bool
	records []string // of the answer section, without TTL and signatures, sorted
	vouched []string // those of links that are secure, before the first that is not
}

func (a *answer) String() string {
	ad := ""
	if a.secure {
		ad = " ad"
	}
	return fmt.Sprintf("%v%s %q", a.rcode, ad, a.records)
}

func (p *stage) ask(name, typ string, cd bool) *answer {
	n, _ := wire.ParseName(name)
	t, _ := wire.ParseType(typ)
	p.asked++
	flags := uint16(wire.FlagRD)
	if cd {
		flags |= wire.FlagCD
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	query := withDO(wire.AppendQuery(nil, p.asked, flags, n, t))
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1024+p.asked)
	var m wire.Message
	if m.Parse(p.subject.Ask(ctx, query, from, true)) != 0 {
		return &answer{rcode: wire.ServFail}
	}
	synctest.Wait()
	return &answer{rcode: m.Rcode, secure: m.Flags&wire.FlagAD != 0, records: recordsOf(&m)}
}

// shrink takes out of a scene what it fails without.
func (s *scene) shrink(t *testing.T, wrong string) (*scene, string) {
	attempts := 1000
	fails := func(next *scene) bool {
		for range 2 { // the resolver has chances of its own
			if attempts--; attempts < 0 {
				return false
			}
			if w := next.play(t, &tally{}); w != "" {
				wrong = w
				return true
			}
		}
		return false
	}
	for before := -1; before != s.size() && attempts > 0; {
		before = s.size()
		s.steps = without(s.steps, func(rest []string) bool {
			return fails(&scene{parts: s.parts, steps: rest, quiet: s.quiet})
		})
		s.parts = without(s.parts, func(rest []part) bool {
			return fails(&scene{parts: rest, steps: s.steps, quiet: s.quiet})
		})
		for i := range s.parts {
			parts := slices.Clone(s.parts)
			orders, rest := s.parts[i].split()
			s.parts[i].body = append(orders, without(rest, func(rest []string) bool {
				parts[i].body = slices.Concat(orders, rest)
				return fails(&scene{parts: parts, steps: s.steps, quiet: s.quiet})
			})...)
		}
	}
	return s, wrong
}

// split returns the lines that say how a zone is signed, without which it would be another,
// and the rest.
func (p *part) split() (orders, rest []string) {
	for _, l := range p.body {
		if strings.HasPrefix(l, "!") {
			orders = append(orders, l)
		} else {
			rest = append(rest, l)
		}
	}
	return orders, rest
}

// size is how much there is to read.
func (s *scene) size() int {
	n := len(s.steps)
	for _, p := range s.parts {
		n += 1 + len(p.body)
	}
	return n
}

// without takes out of a list what still fails, by halves at first and then one by one.
func without[T any](list []T, fails func(rest []T) bool) []T {
	for size := len(list); size > 0; size /= 2 {
		for i := 0; i < len(list); {
			rest := slices.Concat(list[:i], list[min(i+size, len(list)):])
			if fails(rest) {
				list = rest
			} else {
				i += size
			}
		}
	}
	return list
}
