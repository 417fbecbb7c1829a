package conformance_test

import (
	"fmt"
	"slices"
	"testing"

	"port53/conformance/judge"
	"port53/conformance/peers"
	"port53/conformance/probe"
)

// sizes compares how many octets the subject needs for what NSD and Knot say
// too. Names compress in more than one way, and each server finds some that the
// others do not: in sum ours must be no larger than the smaller reply of each
// question, and no reply may be larger by more than a name's worth.
type sizes struct {
	n, got, best int
	larger       []judge.Case // those in which the subject's reply is larger
	mixed        int          // of these, questions with capital letters
}

// What is let pass: a reply that is larger by a few labels, in one of 40.
const (
	maxExcess      = 16
	maxLargerShare = 40
)

func newSizes() *sizes { return &sizes{} }

// add counts a case if NSD or Knot sent the same records, and only those.
func (s *sizes) add(c *judge.Case) {
	if c.Got.Silent() || c.Got.TC {
		return
	}
	best := 0
	for _, kind := range []string{peers.NSD, peers.Knot} {
		p := c.Peer(kind)
		if p.Silent() || p.TC || content(p.Message) != content(c.Got.Message) {
			continue
		}
		if best == 0 || p.Size < best {
			best = p.Size
		}
	}
	if best == 0 {
		return
	}
	s.n++
	s.got += c.Got.Size
	s.best += best
	if c.Got.Size > best {
		s.larger = append(s.larger, *c)
		if string(probe.Lower(c.Q.Name)) != string(c.Q.Name) {
			s.mixed++
		}
	}
}

// content is all that a reply carries.
func content(m *probe.Message) string {
	s := judge.Substance(m) + "\n--\n" + probe.Set(m.Additional)
	if m.OPT {
		s += "\nOPT"
	}
	for _, o := range m.Options {
		s += string(rune(o))
	}
	return s
}

func (s *sizes) report(t *testing.T) {
	t.Helper()
	if s.n == 0 {
		return
	}
	excess := func(c judge.Case) int {
		best := 1 << 20
		for _, kind := range []string{peers.NSD, peers.Knot} {
			if p := c.Peer(kind); !p.Silent() && content(p.Message) == content(c.Got.Message) {
				best = min(best, p.Size)
			}
		}
		return c.Got.Size - best
	}
	if s.got > s.best {
		t.Errorf("sizes: %d octets in all, more than the smaller replies of NSD and Knot have: %d", s.got, s.best)
	}
	t.Logf("sizes: %d replies with equal content, %d octets where the smaller of NSD's and Knot's has %d", s.n, s.got, s.best)
	if len(s.larger) == 0 {
		return
	}
	kinds := map[string]int{}
	for _, c := range s.larger {
		kinds[fmt.Sprintf("%s, by %d", c.Q.Note, excess(c))]++
	}
	t.Logf("sizes: larger: %d of questions with capital letters, %d of others: %v", s.mixed, len(s.larger)-s.mixed, kinds)
	slices.SortStableFunc(s.larger, func(a, b judge.Case) int { // questions in lower case first: there is more to learn from them
		lower := func(c judge.Case) int {
			if string(probe.Lower(c.Q.Name)) == string(c.Q.Name) {
				return 0
			}
			return 1
		}
		return lower(a) - lower(b)
	})
	if n := len(s.larger) - s.mixed; n > 0 {
		s.larger = s.larger[:n]
	}
	worst := slices.MaxFunc(s.larger, func(a, b judge.Case) int { return excess(a) - excess(b) })
	say := t.Logf
	if excess(worst) > maxExcess || len(s.larger) > s.n/maxLargerShare {
		say = t.Errorf
	}
	say("sizes: %d replies are larger than the smaller of NSD's and Knot's; the worst, by %d octets: dig %s\n%v", len(s.larger), excess(worst), worst.Q, worst.Got)
}
