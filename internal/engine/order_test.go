package engine_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/engine"
	"port53/internal/server"
	"port53/internal/wire"
	"port53/internal/zone"
)

const orderZone = `
$TTL 3600
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
@ NS ns2
ns A 192.0.2.1
ns2 A 192.0.2.2
ns2 A 192.0.2.3
www A 192.0.2.1
www A 192.0.2.2
www A 192.0.2.3
www AAAA 2001:db8::1
www AAAA 2001:db8::2
one A 192.0.2.9
* A 192.0.2.7
* A 192.0.2.8
txt TXT "a"
txt TXT "bb" "longer"
txt TXT "ccc"
mail MX 10 one
mail MX 10 www
alias CNAME www
sub NS ns.sub
ns.sub A 192.0.2.53
ns.sub A 192.0.2.54
`

// ordered returns a worker that serves example. with an order.
func ordered(t testing.TB, order wire.Order) server.Worker {
	t.Helper()
	view := zone.NewView(dnstest.Seed).With(zone.Change{Apex: dnstest.Name(t, "example."), Zone: dnstest.Zone(t, "example.", orderZone), Order: order})
	return engine.New(engine.Options{PropagatePanics: true}, engine.Generation{View: engine.View{Zones: view}}).NewWorker()
}

// TestOrder asks often, and expects every record first as often as it should be, each whole set
// in each reply, and the replies of a fixed order to be the same.
func TestOrder(t *testing.T) {
	for _, test := range []struct {
		line  string
		sets  string // the type whose order is looked at
		moves bool
	}{
		{"www.example. A", "A", true},
		{"www.example. A +do", "A", true},
		{"www.example. AAAA", "AAAA", true},
		{"any.example. A", "A", true},
		{"alias.example. A", "A", true},
		{"txt.example. TXT", "TXT", true},
		{"mail.example. MX", "MX", false},
		{"example. NS", "NS", false},
		{"x.sub.example. A", "A", true},
	} {
		for _, order := range []wire.Order{wire.OrderFixed, wire.OrderCyclic, wire.OrderRandom} {
			// Sets share few counters, and random records come first as chance has it: one try of
			// very many may fail, three in a row do not.
			var err error
			for range 3 {
				if err = takesTurns(t, order, test.line, test.sets, test.moves); err == nil {
					break
				}
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// takesTurns asks a server of its own again and again, and returns what of its order is not as it should be.
func takesTurns(t *testing.T, order wire.Order, line, sets string, moves bool) error {
	t.Helper()
	const times = 600
	w := ordered(t, order)
	first := map[string]int{}
	var whole []string
	var before string
	for i := range times {
		if i%2 == 1 { // another type of the name asked in between does not take the turns
			name, _, _ := strings.Cut(line, " ")
			handle(w, query(t, name+" HTTPS"), udpPeer)
			handle(w, query(t, "www.example. "+map[bool]string{true: "A", false: "AAAA"}[sets != "A"]), udpPeer)
			continue
		}
		text, err := dnstest.Format(handle(w, query(t, line), udpPeer))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(text, "\n")
		set := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, " "+sets+" ") || strings.HasPrefix(l, ";") })
		slices.Sort(lines)
		if whole == nil {
			whole = lines
		}
		if !slices.Equal(lines, whole) {
			t.Fatalf("%s: not the same records:\n%s", line, text)
		}
		if order == wire.OrderCyclic && moves && before == set[0] {
			return fmt.Errorf("%s: %s came first twice", line, set[0])
		}
		before = set[0]
		first[set[0]]++
	}
	want := 1
	if order != wire.OrderFixed && moves {
		want = 2
	}
	if len(first) < want || want == 1 && len(first) != 1 {
		return fmt.Errorf("%s, order %d: first came %v", line, order, first)
	}
	for record, n := range first {
		if want > 1 && n < times/2/len(first)*7/10 {
			return fmt.Errorf("%s, order %d: %s came first %d times of %d", line, order, record, n, times/2)
		}
	}
	return nil
}

// TestOrderAllocations counts what ordering allocates: nothing.
func TestOrderAllocations(t *testing.T) {
	for _, order := range []wire.Order{wire.OrderFixed, wire.OrderCyclic, wire.OrderRandom} {
		w, reply := ordered(t, order), make([]byte, 4096)
		for _, line := range []string{"www.example. A", "example. NS", "txt.example. TXT"} {
			msg := query(t, line)
			if n := testing.AllocsPerRun(100, func() { w.Handle(msg, &udpPeer, 1, reply) }); n != 0 {
				t.Errorf("%s, order %d: %v allocations", line, order, n)
			}
		}
	}
}

// TestOrderLeavesTruncated has a set that does not fit: the reply is empty with TC.
func TestOrderLeavesTruncated(t *testing.T) {
	var text strings.Builder
	text.WriteString(orderZone)
	for i := range 100 {
		fmt.Fprintf(&text, "many A 192.0.2.%d\n", i)
	}
	view := zone.NewView(dnstest.Seed).With(zone.Change{Apex: dnstest.Name(t, "example."), Zone: dnstest.Zone(t, "example.", text.String()), Order: wire.OrderCyclic})
	w := engine.New(engine.Options{PropagatePanics: true}, engine.Generation{View: engine.View{Zones: view}}).NewWorker()
	msg := query(t, "many.example. A")
	reply := handle(w, msg, udpPeer)
	if reply[2]&2 == 0 || !bytes.Equal(reply[6:12], make([]byte, 6)) {
		t.Errorf("got % x", reply[:12])
	}
}

func BenchmarkOrder(b *testing.B) {
	for _, order := range []wire.Order{wire.OrderFixed, wire.OrderCyclic, wire.OrderRandom} {
		w, reply, msg := ordered(b, order), make([]byte, 4096), query(b, "www.example. A")
		b.Run([]string{"fixed", "cyclic", "random"}[order], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.Handle(msg, &udpPeer, 1, reply)
			}
		})
	}
}
