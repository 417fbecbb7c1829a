package resolver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"port53/internal/cache"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A replyWriter makes a reply of records whose owners are the question's name, or one
// label more.
type replyWriter struct {
	msg    []byte
	counts [3]uint16
}

func (w *replyWriter) begin(name []byte, typ wire.Type) {
	w.msg = wire.AppendQuery(w.msg[:0], 1, wire.FlagQR|wire.FlagAA, name, typ)
	w.counts = [3]uint16{}
}

// add adds a record, and is false when the longest message there is has no room for it.
// Sections come in order.
func (w *replyWriter) add(s wire.Section, label string, typ wire.Type, data []byte) bool {
	if len(w.msg)+1+len(label)+2+10+len(data) > wire.MaxMessage {
		return false
	}
	if label != "" {
		w.msg = append(append(w.msg, byte(len(label))), label...)
	}
	w.msg = append(w.msg, 0xC0, wire.HeaderLen)
	w.msg = binary.BigEndian.AppendUint16(w.msg, uint16(typ))
	w.msg = append(w.msg, 0, 1, 0, 0, 1, 0)
	w.msg = append(binary.BigEndian.AppendUint16(w.msg, uint16(len(data))), data...)
	w.counts[s]++
	return true
}

func (w *replyWriter) end() []byte {
	for i, n := range w.counts {
		binary.BigEndian.PutUint16(w.msg[6+2*i:], n)
	}
	return w.msg
}

// full adds records until there is no room: the i-th is what of(i) says.
func (w *replyWriter) full(s wire.Section, of func(i int) (label string, typ wire.Type, data []byte)) {
	for i := 0; ; i++ {
		label, typ, data := of(i)
		if !w.add(s, label, typ, data) {
			return
		}
	}
}

// text returns the data of a TXT record of two octets, made of i.
func text(i int) []byte { return []byte{2, byte(i >> 8), byte(i)} }

// odd returns the i-th of types that nobody knows.
func odd(i int) wire.Type { return wire.Type(1000 + i) }

// rrsig returns the data of a signature by the root that covers a type.
func rrsig(covered wire.Type) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(covered)), make([]byte, 18)...)
}

// TestGroup has replies of 64 KiB that are made to be work: there is no more of it than a
// number of comparisons and of sets for each record, whatever they are.
func TestGroup(t *testing.T) {
	name := []byte("\x01n\x07example\x00")
	for _, tt := range []struct {
		name              string
		section           wire.Section
		of                func(i int) (string, wire.Type, []byte)
		records           int // at least
		answer, authority int // sets
		dropped, many     bool
	}{
		{"one set", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", wire.TypeTXT, text(i) }, 4367, 0, 0, true, false},
		{"one set, all equal", wire.Answer, func(int) (string, wire.Type, []byte) { return "", wire.TypeTXT, text(7) }, 4367, 0, 0, true, false},
		{"one set, equal beyond a hundred", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", wire.TypeTXT, text(min(i, 99)) }, 4367, 0, 0, true, false},
		{"sets of a hundred", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i / 100), text(i) }, 4367, 44, 0, false, false},
		{"sets of a hundred in turn", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i % 44), text(i) }, 4367, 44, 0, false, false},
		{"as many sets as may be, in turn", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i % maxSets), text(i) }, 4367, maxSets, 0, false, false},
		{"one set more", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i % (maxSets + 1)), text(i) }, 4367, 0, 0, false, true},
		{"types", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i), nil }, 5450, 0, 0, false, true},
		{"owners", wire.Answer, func(i int) (string, wire.Type, []byte) { return fmt.Sprintf("%04d", i), odd(0), nil }, 3800, 0, 0, false, true},
		{"owners in turn", wire.Answer, func(i int) (string, wire.Type, []byte) {
			return fmt.Sprintf("%04d", i%100), wire.TypeTXT, text(i)
		}, 3200, 100, 0, false, false},
		{"signatures of types", wire.Answer, func(i int) (string, wire.Type, []byte) { return "", wire.TypeRRSIG, rrsig(odd(i)) }, 2000, 0, 0, false, true},
		{"signatures of one type", wire.Answer, func(int) (string, wire.Type, []byte) { return "", wire.TypeRRSIG, rrsig(wire.TypeTXT) }, 2000, 0, 0, true, false},
		{"one set of authority", wire.Authority, func(i int) (string, wire.Type, []byte) { return "", wire.TypeTXT, text(i) }, 4367, 0, 0, false, false},
		{"types of authority", wire.Authority, func(i int) (string, wire.Type, []byte) { return "", odd(i), nil }, 5450, 0, 0, false, true},
		{"additional", wire.Additional, func(i int) (string, wire.Type, []byte) { return "", odd(i), nil }, 5450, 0, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w replyWriter
			w.begin(name, wire.TypeTXT)
			w.full(tt.section, tt.of)
			var m reading
			if bad := m.Parse(w.end()); bad != 0 {
				t.Fatal(bad)
			}
			seed := maphash.MakeSeed()
			g := m.group(name[2:], seed)
			if len(m.Records) < tt.records || len(g.answer) != tt.answer || len(g.authority) != tt.authority || g.dropped != tt.dropped || g.many != tt.many {
				t.Errorf("%d records: %d and %d sets, dropped %v, many %v", len(m.Records), len(g.answer), len(g.authority), g.dropped, g.many)
			}
			for _, s := range append(g.answer, g.authority...) {
				if len(s.Data) > maxSetRecords {
					t.Errorf("a set of %d records", len(s.Data))
				}
			}
			if most := len(m.Records) * few; g.compared > most {
				t.Errorf("%d comparisons for %d records, want at most %d", g.compared, len(m.Records), most)
			}
			n := testing.AllocsPerRun(3, func() { m.group(name[2:], seed) })
			if n > maxSets*10 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// TestGroupTwice has a reading used again: nothing of the reply before is left.
func TestGroupTwice(t *testing.T) {
	name := []byte("\x01n\x07example\x00")
	seed := maphash.MakeSeed()
	var m reading
	group := func(records int, typ wire.Type) *sections {
		var w replyWriter
		w.begin(name, typ)
		for i := range records {
			w.add(wire.Answer, "", typ+wire.Type(i), text(i))
		}
		if bad := m.Parse(w.end()); bad != 0 {
			t.Fatal(bad)
		}
		return m.group(name, seed)
	}
	for i := range 300 {
		n, typ := 1+i*7%(maxSets+20), wire.Type(1000+i%3)
		g := group(n, typ)
		if want := n <= maxSets; g.many == want || want && len(g.answer) != n || !want && len(g.answer) != 0 {
			t.Fatalf("%d sets: %d, many %v", n, len(g.answer), g.many)
		}
		for k, s := range g.answer {
			if s.Type != typ+wire.Type(k) || len(s.Data) != 1 || s.Data[0][2] != byte(k) {
				t.Fatalf("set %d of %d: %+v", k, n, s)
			}
		}
	}
}

// TestGroupModel has replies made by chance, and finds in them what looking at every
// record for every other finds.
func TestGroupModel(t *testing.T) {
	name := []byte("\x01n\x07example\x00")
	seed := maphash.MakeSeed()
	var m reading
	for round := range uint64(300) {
		rnd := rand.New(rand.NewPCG(round, 53))
		labels, types, values := 1+rnd.IntN(6), 1+rnd.IntN(40), 1+rnd.IntN(130)
		var w replyWriter
		w.begin(name, wire.TypeTXT)
		for s := range wire.Additional + 1 {
			for range rnd.IntN(600) {
				label, typ := fmt.Sprint("l", rnd.IntN(labels)), odd(rnd.IntN(types))
				switch rnd.IntN(8) {
				case 0:
					w.add(s, label, wire.TypeRRSIG, append(rrsig(typ), byte(rnd.IntN(256))))
				case 1:
					w.add(s, label, wire.TypeCNAME, []byte{1, 'a' + byte(rnd.IntN(2)), 0})
				default:
					w.add(s, label, typ, text(rnd.IntN(values)))
				}
			}
		}
		if bad := m.Parse(w.end()); bad != 0 {
			t.Fatal(bad)
		}
		var want [2][]*wire.RRset
		var seen [2][]int
		for i := range m.Records {
			r := &m.Records[i]
			typ := r.Type
			if r.Section == wire.Additional {
				continue
			}
			if typ == wire.TypeRRSIG {
				typ = wire.Covered(r.Data)
			}
			n := slices.IndexFunc(want[r.Section], func(s *wire.RRset) bool { return s.Type == typ && bytes.Equal(s.Owner, r.Owner) })
			if n < 0 {
				n = len(want[r.Section])
				want[r.Section] = append(want[r.Section], &wire.RRset{Owner: r.Owner, Type: typ})
				seen[r.Section] = append(seen[r.Section], 0)
			}
			switch s := want[r.Section][n]; {
			case r.Type == wire.TypeRRSIG && len(s.Sigs) < maxSigs:
				s.Sigs = append(s.Sigs, r.Data)
			case r.Type == wire.TypeRRSIG:
			default:
				if seen[r.Section][n]++; !s.Has(r.Data) {
					s.Data = append(s.Data, r.Data)
				}
			}
		}
		for i := range m.Records { // signatures in another section than their set
			r := &m.Records[i]
			for section := range want {
				n := slices.IndexFunc(want[section], func(s *wire.RRset) bool { return s.Type == wire.Covered(r.Data) && bytes.Equal(s.Owner, r.Owner) })
				if r.Type != wire.TypeRRSIG || wire.Section(section) == r.Section || n < 0 {
					continue
				}
				s := want[section][n]
				there := slices.ContainsFunc(s.Sigs, func(sig []byte) bool { return bytes.Equal(sig, r.Data) })
				if !there && len(s.Sigs) < maxSigs {
					s.Sigs = append(s.Sigs, r.Data)
				}
			}
		}
		g := m.group(name, seed)
		if many := len(want[0])+len(want[1]) > maxSets; many || g.many {
			if many != g.many {
				t.Errorf("round %d: %d sets, many %v", round, len(want[0])+len(want[1]), g.many)
			}
			continue
		}
		dropped := false
		for section, got := range [][]*wire.RRset{g.answer, g.authority} {
			for n, s := range want[section] {
				if len(s.Data) == 0 || seen[section][n] > maxSetRecords || s.Type == wire.TypeCNAME && len(s.Data) > 1 {
					dropped = dropped || section == 0
					continue
				}
				if len(got) == 0 || !bytes.Equal(got[0].Owner, s.Owner) || got[0].Type != s.Type || !slices.EqualFunc(got[0].Data, s.Data, bytes.Equal) || !slices.EqualFunc(got[0].Sigs, s.Sigs, bytes.Equal) {
					t.Fatalf("round %d: section %d: %d sets, want %+v", round, section, len(got), s)
				}
				got = got[1:]
			}
			if len(got) != 0 {
				t.Errorf("round %d: section %d has %d sets more", round, section, len(got))
			}
		}
		if dropped != g.dropped {
			t.Errorf("round %d: dropped %v, want %v", round, g.dropped, dropped)
		}
	}
}

// TestAdmitMany has a reply with an answer among more sets than can be: nothing of it is
// used, and it is said what is wrong with it.
func TestAdmitMany(t *testing.T) {
	name := []byte("\x01n\x07example\x00")
	r := New(Options{Cache: cache.New(cache.Options{Size: 1})}, Compile(Settings{}))
	defer r.Close()
	for _, s := range []wire.Section{wire.Answer, wire.Authority} {
		for sets, used := range map[int]bool{maxSets: true, maxSets + 1: false} {
			var w replyWriter
			w.begin(name, wire.TypeTXT)
			w.add(wire.Answer, "", wire.TypeTXT, text(1))
			for i := range sets - 1 {
				w.add(s, "", odd(i), nil)
			}
			task := r.task(r.configs[0].Load())
			m := task.reading()
			if bad := m.Parse(w.end()); bad != 0 {
				t.Fatal(bad)
			}
			f := task.admit(m, &cut{zone: wire.Root}, name, wire.TypeTXT)
			if found := f.kind == foundAnswer; found != used || f.wrong == used || f.lame {
				t.Errorf("%d sets in section %d: %+v", sets, s, f)
			}
			task.release()
		}
	}
}

// A liar is an [Exchanger] whose first server answers with as many types as there is room
// for, and whose others with one record.
type liar struct {
	asked map[netip.AddrPort]int
}

func (l *liar) Exchange(_ context.Context, server netip.AddrPort, q *upstream.Question) (upstream.Reply, error) {
	l.asked[server]++
	var w replyWriter
	w.begin(q.Name, q.Type)
	w.add(wire.Answer, "", wire.TypeTXT, text(1))
	if server.Port() == 1 {
		w.full(wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i), nil })
	}
	return upstream.Reply{Message: w.end(), RTT: time.Millisecond, Packets: 1}, nil
}

func (l *liar) Estimate(netip.AddrPort) (time.Duration, upstream.State, bool) {
	return time.Second, upstream.Good, false
}

// RTT has the first server be the one to ask.
func (l *liar) RTT(server netip.AddrPort) time.Duration {
	return time.Duration(server.Port()) * 10 * time.Second
}

func (*liar) NoteCasePreserved(netip.AddrPort, bool) {}

// TestTooManySets has a server whose reply has more sets than can be: it is as good as
// none, and another server is asked.
func TestTooManySets(t *testing.T) {
	for _, others := range []bool{true, false} {
		l := &liar{map[netip.AddrPort]int{}}
		servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}
		if others {
			servers = append(servers, netip.MustParseAddrPort("192.0.2.2:2"))
		}
		r := New(Options{Cache: cache.New(cache.Options{Size: 1 << 20}), Exchanger: l}, Compile(Settings{
			IPv4: true, Routes: []Route{{Zone: wire.Root, Servers: servers, Forward: true}},
		}))
		asked := 0
		for i := range 20 { // now and then another server is asked first
			a, why, _ := r.Explain([]byte{2, 'n', 'a' + byte(i), 0}, wire.TypeTXT, false, false)
			if others && (a.Rcode != wire.NoError || a.Counts[wire.Answer] != 1) || !others && (a.Rcode != wire.ServFail || a.EDE != wire.EDEInvalidData) {
				t.Errorf("others %v: %v, EDE %d, %s", others, a.Rcode, a.EDE, why)
			}
			asked = l.asked[servers[0]]
		}
		if asked == 0 {
			t.Error("the server was not asked")
		}
		r.Close()
	}
}

// honest is a reply that has as much as many have who need TCP: 47 KB in one set.
func honest(w *replyWriter, name []byte) {
	data := make([]byte, 2*256)
	data[0], data[256] = 255, 255
	w.begin(name, wire.TypeTXT)
	for i := range 90 {
		data[1] = byte(i)
		w.add(wire.Answer, "", wire.TypeTXT, data)
	}
}

// BenchmarkReply reads a reply and finds what of it may be used.
func BenchmarkReply(b *testing.B) {
	r := New(Options{Cache: cache.New(cache.Options{Size: 1 << 20})}, Compile(Settings{}))
	defer r.Close()
	name := []byte("\x01n\x07example\x00")
	for _, bb := range []struct {
		name string
		make func(w *replyWriter)
	}{
		{"one record", func(w *replyWriter) {
			w.begin(name, wire.TypeTXT)
			w.add(wire.Answer, "", wire.TypeTXT, text(1))
		}},
		{"47 KB", func(w *replyWriter) { honest(w, name) }},
		{"4,367 records", func(w *replyWriter) {
			w.begin(name, wire.TypeTXT)
			w.full(wire.Answer, func(i int) (string, wire.Type, []byte) { return "", wire.TypeTXT, text(i) })
		}},
		{"4,367 records, a hundred a set", func(w *replyWriter) {
			w.begin(name, wire.TypeTXT)
			w.full(wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i / 100), text(i) })
		}},
		{"5,459 types", func(w *replyWriter) {
			w.begin(name, wire.TypeTXT)
			w.full(wire.Answer, func(i int) (string, wire.Type, []byte) { return "", odd(i), nil })
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var w replyWriter
			bb.make(&w)
			msg := w.end()
			c := &cut{zone: wire.Root, route: &Route{Zone: wire.Root, Forward: true}}
			b.ReportAllocs()
			for b.Loop() {
				t := r.task(r.configs[0].Load())
				m := t.reading()
				if bad := m.Parse(msg); bad != 0 {
					b.Fatal(bad)
				}
				t.admit(m, c, name, wire.TypeTXT)
				t.release()
			}
		})
	}
}
