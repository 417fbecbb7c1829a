package resolver

import (
	"testing"

	"port53/internal/cache"
)

// A wanting waiter wants to know servers, whatever is known.
type wanting struct{ answered int }

func (w *wanting) Wants(*cache.Answer) Wanted   { return Wanted{Name: []byte("\x04test\x00")} }
func (w *wanting) Answer(*cache.Answer, string) { w.answered++ }
func (w *wanting) Late()                        {}
func (w *wanting) Drop()                        {}

// TestJoinsAnInquiry: who joins an inquiry that looks up servers waits for them with the others, and who finds that it has
// ended meanwhile has its answer at once: nobody else would give it.
func TestJoinsAnInquiry(t *testing.T) {
	for _, goesOn := range []bool{true, false} {
		var r Resolver
		w := &r.waiting
		w.init()
		in := &inquiry{answer: new(cache.Answer)}
		if goesOn {
			w.asked[in.key] = in
		}
		who := new(wanting)
		me := &waiter{Waiter: who, cookie: true, in: in}
		w.total++
		w.due.push(me)
		r.work.Add(1)
		r.joinAnswered(in, me)
		if waits := len(in.waiters) == 1 && who.answered == 0 && w.total == 1; waits != goesOn {
			t.Errorf("it goes on: %v; it waits: %v, answered %d times", goesOn, waits, who.answered)
		}
		if !goesOn && (who.answered != 1 || w.total != 0) {
			t.Errorf("answered %d times, %d are waiting", who.answered, w.total)
		}
	}
}
