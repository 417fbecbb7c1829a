package event_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/event"
	"port53/internal/wire"
)

func sample(n int) *event.Record {
	return &event.Record{
		Kind: event.Client, Transport: 3, Path: event.Policy, Outcome: event.Slipped, View: 7, Opcode: 5, Recursive: true,
		Time: 1_700_000_000_000_000_000 + int64(n), Latency: -1, Remote: netip.MustParseAddrPort("192.0.2.7:4242"), Local: netip.MustParseAddrPort("[2001:db8::1]:53"),
		ID: uint16(n), Flags: 0x8180, Type: wire.TypeAAAA, Class: wire.ClassIN, Rcode: wire.Refused, EDE: 18, Size: 40, Reply: 70_000, List: 3, Reason: event.NotLoaded, Line: 1 << 20, Why: 1<<63 + 5,
		Name: []byte("\x03www\x07example\x00"), Query: []byte("query"), Response: bytes.Repeat([]byte{byte(n)}, n%500), Text: []byte("because"),
	}
}

// TestRecordsComeAsTheyWere has every field come out as it went in, of many records that go round the
// ring several times, some longer than others.
func TestRecordsComeAsTheyWere(t *testing.T) {
	h := event.New()
	w := h.NewWriter()
	n, seen := 20_000, 0
	stop := h.Subscribe(event.Answers|event.Messages, func(r *event.Record) {
		want := sample(seen)
		if got := fmt.Sprintf("%+v", *r); len(want.Response) > 0 && got != fmt.Sprintf("%+v", *want) {
			t.Errorf("record %d:\n%s, want\n%+v", seen, got, *want)
		}
		seen++
	})
	defer stop()
	for i := range n {
		w.Put(sample(i))
		if i%100 == 0 {
			h.Flush()
		}
	}
	h.Flush()
	if seen != n || h.Lost() != 0 {
		t.Errorf("%d records of %d came, %d lost", seen, n, h.Lost())
	}
}

// TestMessagesAreForThoseWhoWantThem has a record without its octets where nobody wants these.
func TestMessagesAreForThoseWhoWantThem(t *testing.T) {
	h := event.New()
	w := h.NewWriter()
	stop := h.Subscribe(event.Answers, func(r *event.Record) {
		if r.Query != nil || r.Response != nil || string(r.Text) != "because" {
			t.Errorf("%+v", r)
		}
	})
	defer stop()
	w.Put(sample(1))
	h.Flush()
}

// TestWhoWantsWhat has each taker given what it wants, and writers told what that is in all.
func TestWhoWantsWhat(t *testing.T) {
	h := event.New()
	w := h.NewWriter()
	if w.Wants() != 0 {
		t.Fatal("something is wanted by nobody")
	}
	w.Put(sample(1)) // to nobody
	var got [4]int
	var stops []func()
	for i, wants := range []event.Wants{event.Problems, event.Misses, event.Answers, event.Upstream} {
		stops = append(stops, h.Subscribe(wants, func(*event.Record) { got[i]++ }))
	}
	if w.Wants() != event.Problems|event.Misses|event.Answers|event.Upstream {
		t.Errorf("wanted are %b", w.Wants())
	}
	for _, r := range []event.Record{
		{Rcode: wire.NoError, Path: event.Cache},
		{Rcode: wire.NXDomain, Path: event.Miss},
		{Rcode: wire.ServFail, Path: event.Miss},
		{Rcode: wire.NoError, Path: event.Stale},
		{Kind: event.Server, Rcode: wire.ServFail},
		{Outcome: event.Dropped},
	} {
		w.Put(&r)
	}
	h.Flush()
	if want := [4]int{3, 2, 5, 1}; got != want {
		t.Errorf("taken were %v, want %v", got, want)
	}
	for i, stop := range stops {
		stop()
		stop() // again is nothing
		if i == 2 && w.Wants() != event.Upstream {
			t.Errorf("wanted are %b", w.Wants())
		}
	}
	if w.Wants() != 0 {
		t.Error("something is wanted by nobody")
	}
}

// TestWhatIsNotTakenIsCounted has a taker that stands still: the writer goes on, and counts what is lost.
func TestWhatIsNotTakenIsCounted(t *testing.T) {
	h := event.New()
	w := h.NewWriter()
	held, entered := make(chan struct{}), make(chan struct{}, 1)
	took := 0
	stop := h.Subscribe(event.Answers, func(*event.Record) {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-held
		took++
	})
	w.Put(sample(0))
	<-entered
	const n = 20_000
	for i := range n {
		w.Put(sample(i))
	}
	close(held)
	h.Flush()
	stop()
	if lost := int(h.Lost()); lost == 0 || took+lost != n+1 {
		t.Errorf("%d taken and %d lost, of %d", took, lost, n+1)
	}
}

// TestManyWriters has writers put records while others come and go, and takers too: what is not lost
// comes, each once.
func TestManyWriters(t *testing.T) {
	h := event.New()
	shared := h.NewShared()
	var mu sync.Mutex
	seen := map[int64]int{}
	stop := h.Subscribe(event.Answers, func(r *event.Record) {
		mu.Lock()
		seen[r.Time]++
		mu.Unlock()
	})
	const writers, each = 8, 3000
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			put := h.NewWriter().Put
			if i%2 == 0 {
				put = shared.Put
			}
			for j := range each {
				put(&event.Record{Time: int64(i*each + j), Name: []byte("\x01a\x00")})
				if j == each/2 {
					h.Subscribe(event.Answers|event.Messages, func(*event.Record) {})()
				}
			}
		})
	}
	all.Wait()
	h.Flush()
	stop()
	total := 0
	for at, n := range seen {
		if total += n; n != 1 {
			t.Errorf("record %d came %d times", at, n)
		}
	}
	if total+int(h.Lost()) != writers*each {
		t.Errorf("%d came and %d were lost, of %d", total, h.Lost(), writers*each)
	}
}

// TestTheyComeByThemselves has a record given out without being asked for, and the hub sleep before and
// after.
func TestTheyComeByThemselves(t *testing.T) {
	h := event.New()
	w := h.NewWriter()
	came := make(chan uint16, 1)
	defer h.Subscribe(event.Problems, func(r *event.Record) { came <- r.ID })()
	for i := range 3 {
		w.Put(sample(i))
		select {
		case id := <-came:
			if int(id) != i {
				t.Errorf("record %d came, want %d", id, i)
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing came")
		}
	}
}

// TestPuttingAllocatesNothing is on the straight path of a query.
func TestPuttingAllocatesNothing(t *testing.T) {
	h := event.New()
	w := h.NewWriter()
	defer h.Subscribe(event.Answers|event.Messages, func(*event.Record) {})()
	r := sample(100)
	if n := testing.AllocsPerRun(1000, func() { w.Put(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPut(b *testing.B) {
	h := event.New()
	w := h.NewWriter()
	defer h.Subscribe(event.Answers, func(*event.Record) {})()
	r := sample(100)
	r.Text = nil
	for b.Loop() {
		w.Put(r)
	}
}

func BenchmarkOff(b *testing.B) {
	w := event.New().NewWriter()
	for b.Loop() {
		if w.Wants() != 0 {
			b.Fatal()
		}
	}
}

// TestIDs has each id come back as it was written, and what is none be refused.
func TestIDs(t *testing.T) {
	for _, id := range []uint64{1, 31, 32, 1<<40 - 1, 0x12_3456_789a} {
		text := string(event.AppendID(nil, id))
		for _, text := range []string{text, strings.ToUpper(text)} {
			if got, ok := event.ParseID(text); !ok || got != id || len(text) != event.IDLen {
				t.Errorf("%d is written %s and read %d, %v", id, text, got, ok)
			}
		}
	}
	for _, text := range []string{"", "00000000", "7f3a", "0000000l", "000000000", "www.test", "0000000\x10"} {
		if id, ok := event.ParseID(text); ok {
			t.Errorf("%q is read as %d", text, id)
		}
	}
}
