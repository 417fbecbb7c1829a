// Package storetest proves of a store of zones what the zone manager relies on: what it
// has acknowledged is there after any fault, crash or loss of power, and a call that fails
// has changed nothing. It works on any store, given a [Medium] that can be made to fail.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Store is what is tested, as the zone manager asks for it.
type Store interface {
	Load(apex []byte, seed wire.Seed) (store.StoredZone, error)
	Save(apex []byte, v *zone.Zone, history ...*zone.Delta) error
	SaveFetched(apex []byte, v *zone.Zone, m store.Meta) error
	Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error
	SaveHistory(apex []byte, v *zone.Zone, deltas []*zone.Delta) error
	LoadHistory(apex []byte, v *zone.Zone) ([]*zone.Delta, error)
	SetMeta(apex []byte, m store.Meta) error
	Remove(apex []byte) error
}

// A Medium is what a store keeps its zones on: a disk, or another machine.
type Medium interface {
	// Open returns the store as a server has it that starts. One that was opened before is
	// not used any more.
	Open() Store

	// Interrupt makes operations of the store on the medium fail: so many times from the
	// nth on, 0 times being for ever. It returns how many operations there have been since
	// the last Interrupt. With n = 0 none fails.
	Interrupt(n, times int) (done int)

	// Crash returns the medium as it is found after a loss of power. Without draw all is
	// lost that the store has not made last; with it a part is, which draw decides.
	Crash(draw *rand.Rand) Medium

	// Copy returns the medium as another server finds it that starts now.
	Copy() Medium

	// Litter returns what is there and should not be, when the store is at rest; empty:
	// nothing is.
	Litter() string
}

// Run tests the stores that newMedium makes room for.
func Run(t *testing.T, newMedium func() Medium) {
	t.Helper()
	if err := Check(newMedium); err != nil {
		t.Error(err)
	}
}

// draws is how often a loss of power is tried at each place.
const draws = 4

// Check is Run without a test: it returns what is wrong first.
func Check(newMedium func() Medium) error {
	calm := newTrial(newMedium())
	if err := calm.script(); err != nil {
		return fmt.Errorf("without any fault: %w", err)
	}
	if err := calm.found(calm.medium, false); err != nil {
		return fmt.Errorf("without any fault: %w", err)
	}
	if litter := calm.medium.Litter(); litter != "" {
		return fmt.Errorf("left behind without any fault: %s", litter)
	}
	operations := calm.medium.Interrupt(0, 0)
	for n := 1; n <= operations; n++ {
		for _, trial := range []struct {
			what string
			run  func(newMedium func() Medium, n int) error
		}{
			{"a fault", fault}, {"faults in a row", faults}, {"the end of the server", kill}, {"a loss of power", crash},
		} {
			if err := trial.run(newMedium, n); err != nil {
				return fmt.Errorf("%s at operation %d of %d: %w", trial.what, n, operations, err)
			}
		}
	}
	return nil
}

// fault has one operation fail: whatever the call was, nothing has changed, and the next
// one works.
func fault(newMedium func() Medium, n int) error {
	t := newTrial(newMedium())
	t.faults = 1
	t.medium.Interrupt(n, 1)
	if err := t.script(); err != nil {
		return err
	}
	return t.found(t.medium, false)
}

// inARow is how many operations fail one after the other.
const inARow = 4

// faults has several operations fail, so that what the first left cannot be undone. Once a
// change succeeds, it counts.
func faults(newMedium func() Medium, n int) error {
	t := newTrial(newMedium())
	t.faults, t.unsure = inARow, true
	t.medium.Interrupt(n, inARow)
	if err := t.script(); err != nil {
		return err
	}
	return t.found(t.medium.Crash(nil), false)
}

// kill ends the server at an operation. What the next one finds counts, and lasts.
func kill(newMedium func() Medium, n int) error {
	t := newTrial(newMedium())
	t.medium.Interrupt(n, 0)
	if err := t.script(); err != nil && !errors.Is(err, errStopped) {
		return err
	}
	t.medium.Interrupt(0, 0)
	if err := t.found(t.medium, true); err != nil {
		return err
	}
	return t.goOn(t.medium)
}

// crash takes the power away at an operation.
func crash(newMedium func() Medium, n int) error {
	for i := range draws {
		t := newTrial(newMedium())
		t.medium.Interrupt(n, 0)
		if err := t.script(); err != nil && !errors.Is(err, errStopped) {
			return err
		}
		var draw *rand.Rand
		if i > 0 {
			draw = rand.New(rand.NewPCG(uint64(n), uint64(i))) // a test's chance
		}
		after := t.medium.Crash(draw)
		if err := t.found(after, true); err != nil {
			return fmt.Errorf("draw %d: %w", i, err)
		}
		if err := t.goOn(after); err != nil {
			return fmt.Errorf("draw %d: %w", i, err)
		}
	}
	return nil
}

// A kept is what a store is to have of the zone.
type kept struct {
	zone   *zone.Zone // nil: nothing
	frozen bool
}

// A trial is one run of the script.
type trial struct {
	medium Medium
	store  Store
	apex   []byte
	acked  kept // what was acknowledged last
	next   kept // what the call that is under way makes of it
	serial uint32
	faults int  // calls that may fail yet
	unsure bool // what is there after a call that failed may be what it leads to
}

func newTrial(m Medium) *trial {
	m.Interrupt(0, 0)
	return &trial{medium: m, store: m.Open(), apex: []byte("\x07example\x04test\x00")}
}

// errStopped is what the script returns at the first call that fails, unless it is to go on.
var errStopped = errors.New("a call failed")

const seed wire.Seed = 53

// version makes a version of the zone, with the next serial.
func (t *trial) version() *zone.Zone {
	t.serial++
	b := zone.NewBuilder(t.apex, seed)
	add := func(label string, typ wire.Type, data []byte) {
		owner := t.apex
		if label != "" {
			owner = slices.Concat([]byte{byte(len(label))}, []byte(label), t.apex)
		}
		b.Add(&zone.Record{Owner: owner, Type: typ, TTL: 60, Data: data})
	}
	soa := slices.Concat(
		[]byte("\x02ns"),
		t.apex,
		[]byte("\x05admin"),
		t.apex,
		[]byte{byte(t.serial >> 24), byte(t.serial >> 16), byte(t.serial >> 8), byte(t.serial)},
		make([]byte, 16),
	)
	add("", wire.TypeSOA, soa)
	add("", wire.TypeNS, slices.Concat([]byte("\x02ns"), t.apex))
	add("ns", wire.TypeA, []byte{192, 0, 2, byte(t.serial)})
	// Longer than what a disk writes at once.
	text := append([]byte{250}, bytes.Repeat([]byte{byte('a' + t.serial%26)}, 250)...)
	add("text", wire.TypeTXT, bytes.Repeat(text, 1+int(t.serial)%3))
	v, problems := b.Build()
	if v == nil {
		panic(fmt.Sprint(problems))
	}
	return v
}

// do makes a call that leads to next.
func (t *trial) do(what string, next kept, call func() error) error {
	t.next = next
	err := call()
	switch {
	case err == nil && t.unsure && what != "SetMeta": // what it is set beside is not known
		t.acked = next
		if err := t.found(t.medium.Crash(nil), false); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	case err == nil:
		t.acked = next
	case t.faults > 0 && t.unsure:
		t.faults--
	case t.faults > 0:
		t.faults--
		if err := t.found(t.medium, false); err != nil {
			return fmt.Errorf("%s failed and left something: %w", what, err)
		}
	default:
		return fmt.Errorf("%s: %w: %w", what, errStopped, err)
	}
	return nil
}

func (t *trial) save() error {
	v := t.version()
	return t.do("Save", kept{v, t.acked.frozen}, func() error { return t.store.Save(t.apex, v) })
}

// fetched saves the first version of a zone that somebody else has, or one that is as good.
func (t *trial) fetched() error {
	v := t.version()
	return t.do("SaveFetched", kept{v, t.acked.frozen}, func() error {
		return t.store.SaveFetched(t.apex, v, store.Meta{Checked: time.Unix(1_790_000_000, 0), Expire: time.Hour, Frozen: t.acked.frozen})
	})
}

// add appends so many differences at once.
func (t *trial) add(n int) error {
	from := t.acked.zone
	if from == nil {
		return nil // Save has failed
	}
	var deltas []*zone.Delta
	for range n {
		v := t.version()
		deltas = append(deltas, zone.Diff(from, v))
		from = v
	}
	return t.do("Append", kept{from, t.acked.frozen}, func() error { return t.store.Append(t.apex, from, deltas...) })
}

// jump appends a difference that does not begin with what is kept.
func (t *trial) jump() error {
	a, b := t.version(), t.version()
	return t.do("Append of something else", kept{b, t.acked.frozen}, func() error { return t.store.Append(t.apex, b, zone.Diff(a, b)) })
}

func (t *trial) freeze(frozen bool) error {
	return t.do("SetMeta", kept{t.acked.zone, frozen}, func() error {
		return t.store.SetMeta(t.apex, store.Meta{Checked: time.Unix(1_790_000_000, 0), Expire: time.Hour, Frozen: frozen})
	})
}

func (t *trial) remove() error {
	return t.do("Remove", kept{}, func() error { return t.store.Remove(t.apex) })
}

// script changes the zone in all ways.
func (t *trial) script() error {
	many := func(step func() error) func() error {
		return func() error {
			for range 3 {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, step := range []func() error{
		t.again,
		t.fetched,
		func() error { return t.freeze(false) }, // and that it was checked
		t.again,
		many(t.fetched), // until what is of no use is thrown away
		t.remove,
		t.fetched,
		func() error { return t.add(1) },
		t.fetched,
		t.again,
		t.remove,
		t.again,
		t.fetched,
		t.save,
		func() error { return t.add(1) },
		func() error { return t.add(2) },
		func() error { return t.freeze(true) },
		func() error { return t.add(1) },
		t.again,
		func() error { return t.freeze(false) },
		func() error { return t.add(1) },
		t.save,
		func() error { return t.add(1) },
		t.jump,
		t.several, // until what is kept of the past is shortened
		t.again,
		func() error { return t.add(1) },
		t.remove,
		t.save,
		func() error { return t.add(1) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// again starts the store again.
func (t *trial) again() error {
	t.next = t.acked
	t.store = t.medium.Open()
	_, err := t.store.Load(t.apex, seed)
	for ; err != nil && t.faults > 0; t.faults-- {
		_, err = t.store.Load(t.apex, seed)
	}
	if err != nil {
		return fmt.Errorf("Load: %w: %w", errStopped, err)
	}
	return nil
}

func (t *trial) several() error {
	for range 8 {
		if err := t.add(1); err != nil {
			return err
		}
	}
	return nil
}

// found fails unless a server that starts finds what was acknowledged, or if something was
// under way, what that leads to.
func (t *trial) found(m Medium, underWay bool) error {
	m = m.Copy()
	k, err := m.Open().Load(t.apex, seed)
	if err != nil {
		return fmt.Errorf("what was acknowledged cannot be read: %w", err)
	}
	got := kept{k.Zone, k.Meta.Frozen}
	if t.unsure {
		got.frozen = t.acked.frozen // a SetMeta may have failed
	}
	switch {
	case same(got, t.acked):
	case underWay && same(got, t.next):
		t.acked = t.next
	default:
		return fmt.Errorf("%s is found, after %s was acknowledged, with %s under way", got, t.acked, t.next)
	}
	for i, d := range k.Deltas {
		to := k.Zone.Serial()
		if i+1 < len(k.Deltas) {
			to = k.Deltas[i+1].From
		}
		if d.To != to {
			return fmt.Errorf("a difference leads to serial %d, and what follows has %d", d.To, to)
		}
	}
	if litter := m.Litter(); litter != "" {
		return fmt.Errorf("left behind: %s", litter)
	}
	return nil
}

// goOn starts a server on a medium, after which what it finds and what it adds outlasts
// another loss of power.
func (t *trial) goOn(m Medium) error {
	t.medium, t.store, t.faults = m, m.Open(), 0
	if _, err := t.store.Load(t.apex, seed); err != nil {
		return err
	}
	if err := t.found(m.Crash(nil), false); err != nil {
		return fmt.Errorf("what was loaded does not last: %w", err)
	}
	steps := []func() error{t.save, func() error { return t.add(1) }}
	if t.acked.zone != nil {
		steps = steps[1:]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if err := t.found(m.Crash(nil), false); err != nil {
			return fmt.Errorf("after another: %w", err)
		}
	}
	return nil
}

func (k kept) String() string {
	if k.zone == nil {
		return "nothing"
	}
	return fmt.Sprintf("serial %d (frozen: %v)", k.zone.Serial(), k.frozen)
}

func same(a, b kept) bool {
	if a.zone == nil || b.zone == nil {
		return a.zone == b.zone
	}
	return a.frozen == b.frozen && bytes.Equal(records(a.zone), records(b.zone))
}

// records returns all records of a version, in one order.
func records(v *zone.Zone) []byte {
	var list [][]byte
	v.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, zone.AppendRecord(nil, owner, t, ttl, data))
		return true
	})
	slices.SortFunc(list, bytes.Compare)
	return bytes.Join(list, nil)
}
