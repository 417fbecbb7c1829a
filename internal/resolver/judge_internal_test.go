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
// ended, or that it is about to, has another one begin. Nobody gets an answer that is not judged.
func TestJoinsAnInquiry(t *testing.T) {
	for _, x := range []struct{ listed, judged bool }{{true, false}, {true, true}, {false, true}} {
		goesOn := x.listed && !x.judged
		var r Resolver
		w := &r.waiting
		w.init()
		r.inquiries = make(chan *inquiry, 1)
		in := &inquiry{answer: new(cache.Answer), judged: x.judged}
		if x.listed {
			w.asked[in.key] = in
		}
		who := new(wanting)
		me := &waiter{Waiter: who, cookie: true, in: in}
		w.total++
		w.due.push(me)
		r.work.Add(1)
		r.joinAnswered(in, me)
		if !goesOn { // another one has begun
			if in = w.asked[in.key]; in == nil || in.judged || len(r.inquiries) != 1 || w.working != 1 || me.in != in {
				t.Fatalf("%d inquiries, %d at work, and the waiter's is %v", len(r.inquiries), w.working, me.in)
			}
		}
		if len(in.waiters) != 1 || who.answered != 0 || w.total != 1 {
			t.Errorf("it goes on: %v; %d wait there, %d in all, answered %d times", goesOn, len(in.waiters), w.total, who.answered)
		}
	}
}

// TestNewerInquiry wants an inquiry that ends to leave the list, and one that has begun after it to stay there.
func TestNewerInquiry(t *testing.T) {
	for _, newer := range []bool{false, true} {
		var r Resolver
		w := &r.waiting
		w.init()
		in := new(inquiry)
		listed := in
		w.working++
		if newer {
			listed = &inquiry{key: in.key}
			w.working++
		}
		w.asked[in.key] = listed
		r.end(in, new(cache.Answer), "")
		if newer && (w.asked[in.key] != listed || w.working != 1) || !newer && (len(w.asked) != 0 || w.working != 0) {
			t.Errorf("a newer one: %v; %d listed, %d at work", newer, len(w.asked), w.working)
		}
	}
}
