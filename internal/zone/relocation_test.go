package zone

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"port53/internal/wire"
)

// A sender writes the sets of zones made at random into messages made at random.
type sender struct {
	*testing.T
	rnd   *rand.Rand
	z     *Zone
	b     wire.Builder
	buf   []byte
	where Relocation // one for all, as a worker has it
	count map[string]int
}

func (s *sender) label() string {
	text := []string{"a", "b", "v", "ns", "a", "v", strings.Repeat("l", 1+s.rnd.IntN(63))}[s.rnd.IntN(7)]
	return string(rune(len(text))) + text
}

// prefixed returns name below some labels more, as many as fit.
func (s *sender) prefixed(name string) string {
	for s.rnd.IntN(2) == 0 {
		if longer := s.label() + name; len(longer) <= wire.MaxName {
			name = longer
		}
	}
	return name
}

// record is a line that says what a record is, however its names are spelled.
func recordLine(owner []byte, t wire.Type, ttl uint32, data []byte) string {
	data = bytes.Clone(data)
	for _, at := range wire.NamesIn(t, data, nil) {
		part := data[at.Off : at.Off+at.Len]
		copy(part, wire.Lower(nil, part))
	}
	return fmt.Sprintf("%x %s %d %x", wire.Lower(nil, owner), t, ttl, data)
}

// TestSetsInMessages writes sets of all shapes into messages of all shapes: behind owners
// that stand in the question, lie scattered, or are out of the reach of pointers, with and
// without signatures, names that share labels with the question, servers that are the owner
// itself or part of the question, many more records than a referral should have. The
// message then has just these records, each target stands where it is said to stand, and
// a set that was not written would not have fitted.
func TestSetsInMessages(t *testing.T) {
	s := &sender{T: t, rnd: rand.New(rand.NewPCG(53, 1)), buf: make([]byte, wire.MaxMessage), count: map[string]int{}}
	const rounds = 400
	for range rounds {
		s.round()
	}
	t.Log(s.count)
	if all, short := s.count["to shorten"], s.count["shortened"]; all < rounds/10 || short*20 < all*19 {
		t.Errorf("of %d sets that share labels with the question, %d are shorter for it", all, short)
	}
	for _, what := range []string{"named", "shared", "sigs", "plain", "far", "scattered", "beyond", "glue", "targets", "too large", "little room"} {
		if s.count[what] < rounds/20 {
			t.Errorf("%d times %s in %d rounds", s.count[what], what, rounds)
		}
	}
}

// round makes a zone with one set at one owner, and writes it a few times.
func (s *sender) round() {
	apex := "\x00"
	for range s.rnd.IntN(3) {
		apex = s.label() + apex
	}
	owner := s.prefixed(apex)
	if s.rnd.IntN(8) == 0 && len(owner) < 250 {
		owner = "\x01*" + owner
	}
	types := []wire.Type{wire.TypeNS, wire.TypeNS, wire.TypeNS, wire.TypeMX, wire.TypeSRV, wire.TypePTR, wire.TypeA, wire.TypeTXT, wire.TypeCNAME, wire.TypeDNAME, wire.TypeSOA, wire.TypeHTTPS}
	typ := types[s.rnd.IntN(len(types))]
	if owner == apex && (typ == wire.TypeCNAME || typ == wire.TypeDNAME) {
		typ = wire.TypeNS
	}
	if typ == wire.TypeSOA {
		owner = apex
	}
	b := NewBuilder([]byte(apex), 53)
	add := func(owner string, t wire.Type, data []byte) {
		b.Add(&Record{Owner: []byte(owner), Type: t, TTL: 60, Data: data})
	}
	add(apex, wire.TypeSOA, append([]byte(s.fit(s.prefixed(apex))+s.fit(s.prefixed(owner))), make([]byte, 20)...))
	if owner != apex || typ != wire.TypeNS {
		add(apex, wire.TypeNS, []byte("\x01z\x03net\x00"))
	}
	if owner != apex {
		add("\x02zz"+apex, wire.TypeNS, []byte("\x01z\x03net\x00"))
	}
	records := 1 + s.rnd.IntN(5)
	if s.rnd.IntN(4) == 0 {
		records = []int{20, 33, 100, 255, 256, 300}[s.rnd.IntN(6)]
	}
	if typ == wire.TypeCNAME || typ == wire.TypeDNAME || typ == wire.TypeSOA {
		records = 1
	}
	pad := s.label()
	var targets []string
	for i := range records {
		target := s.fit(s.prefixed(owner))
		switch s.rnd.IntN(6) {
		case 0:
			target = s.fit(s.prefixed(apex))
		case 1:
			target = s.fit(s.prefixed("\x03net\x00"))
		case 2:
			target = s.fit(strings.ToUpper(s.prefixed(owner)))
		case 3:
			target = s.fit(s.prefixed("\x02zz" + apex)) // below another cut
		}
		if records > 5 {
			name := fmt.Sprintf("s%d", i)
			target = s.fit(string(rune(len(name))) + name + s.prefixed([]string{owner, pad + owner}[s.rnd.IntN(2)]))
		}
		targets = append(targets, target)
		switch typ {
		case wire.TypeMX:
			// A preference may have the form of a label.
			add(owner, typ, append([]byte([]string{"\x00" + string(rune(i%128)), "\x01a", "\x01v"}[s.rnd.IntN(3)]), target...))
		case wire.TypeSRV:
			add(owner, typ, append([]byte{0, 0, 0, 0, 0, byte(i)}, target...))
		case wire.TypeHTTPS:
			if s.rnd.IntN(3) == 0 {
				target = "\x00"
			}
			add(owner, typ, append([]byte{0, 1 + byte(i%200)}, target...))
		case wire.TypeA:
			add(owner, typ, []byte{192, 0, byte(i >> 8), byte(i)})
		case wire.TypeTXT:
			add(owner, typ, append([]byte{255, byte(i)}, bytes.Repeat([]byte("\xc0\x0c"), 127)...))
		case wire.TypeSOA:
		default:
			add(owner, typ, []byte(target))
		}
		if typ != wire.TypeDNAME && typ != wire.TypeCNAME && typ != wire.TypeA && wire.Subdomain([]byte(target), []byte(apex)) {
			for n := range s.rnd.IntN(3) {
				add(target, wire.TypeA, []byte{10, 0, byte(n), byte(i)})
				add(target, wire.TypeAAAA, append(make([]byte, 15), byte(n)))
			}
		}
	}
	for range s.rnd.IntN(3) {
		sig := binary.BigEndian.AppendUint16(nil, uint16(typ))
		sig = append(append(sig, make([]byte, 16)...), apex...)
		add(owner, wire.TypeRRSIG, append(sig, bytes.Repeat([]byte{byte(s.rnd.Uint32())}, 1+s.rnd.IntN(300))...))
	}
	z, problems := b.Build()
	if z == nil {
		if typ == wire.TypeDNAME || typ == wire.TypeCNAME || typ == wire.TypeSOA || typ == wire.TypeNS {
			return // something was below it, or beside it
		}
		s.Fatal(problems)
	}
	s.z = z
	for range 6 {
		s.send([]byte(owner), typ, targets)
	}
}

// fit returns name without as many labels as are too many.
func (s *sender) fit(name string) string {
	for len(name) > wire.MaxName {
		name = name[1+int(name[0]):]
	}
	return name
}

// send writes the set once, whose records refer to targets.
func (s *sender) send(owner []byte, typ wire.Type, targets []string) {
	var split wire.SplitName
	split.Set(owner)
	node := s.z.Lookup(&split)
	set, ok := s.z.RRset(node, typ)
	if !ok {
		s.Fatalf("%s %s is not there", wire.AppendName(nil, owner), typ)
	}
	low := wire.Lower(nil, owner)

	// The question's name is the owner, or below it; else the owner is the target of an
	// alias. A wildcard's owner is made from the question.
	shown := low
	if shown[0] == 1 && shown[1] == '*' {
		shown = append([]byte("\x02xx"), shown[2:]...)
	}
	scattered := s.rnd.IntN(3) == 0
	name := []byte(s.prefixed(string(shown)))
	if target := targets[s.rnd.IntN(len(targets))]; s.rnd.IntN(2) == 0 && wire.Subdomain([]byte(target), shown) {
		name = []byte(s.prefixed(target))
	}
	depth := len(name) - len(shown)
	if scattered {
		name = []byte(s.fit(s.prefixed(string(s.z.Apex()))))
	}
	var q wire.Query
	if bad := q.Parse(wire.AppendQuery(nil, 1, 0, name, typ)); bad != 0 {
		s.Fatal(bad)
	}
	limit := wire.MaxMessage
	if s.rnd.IntN(6) == 0 {
		limit = 300 + s.rnd.IntN(2000)
	}
	s.b.Start(s.buf, limit, 0, &q)
	filler := 0
	if limit > 60000 {
		filler = []int{0, 0, 0, s.rnd.IntN(17000), 16000 + s.rnd.IntN(400), 30000}[s.rnd.IntN(6)]
	}
	before := 0
	if filler > 0 {
		room := s.b.Grow(wire.Answer, 11+filler, 1)
		copy(room, "\x00\xff\xff\x00\x01\x00\x00\x00\x3c")
		binary.BigEndian.PutUint16(room[9:], uint16(filler))
		before++
	}
	at := At(wire.HeaderLen + depth)
	at.Suffix += len(shown) - len(low)
	if scattered {
		at = s.scatter(name, shown, len(shown)-len(low))
		before++
		s.count["scattered"]++
	}
	if at.Pos > wire.MaxPointer {
		s.count["beyond"]++
	}
	sigs := s.rnd.IntN(2) == 0
	start := s.b.Len()
	ok, mayAsk := true, true
	shared := Question{Name: q.Name.Name(), Pos: wire.HeaderLen, Owner: depth, Left: q.Name.Start(max(0, wire.LabelCount(name)-wire.LabelCount(shown)-1))}
	what := "plain"
	switch n := s.rnd.IntN(8); {
	case n == 0:
		what, mayAsk = "sigs", false
		ok = set.AppendSigs(&s.b, wire.Authority, at)
		sigs = true
	case n == 1 && (typ == wire.TypeA || typ == wire.TypeTXT || typ == wire.TypeSRV):
		what, mayAsk = "named", false
		form := s.b.AppendReference(nil, at.Pos)
		if s.rnd.IntN(2) == 0 {
			form = shown
		}
		pos := set.AppendNamed(&s.b, wire.Authority, form, sigs)
		if ok = pos != 0; ok {
			if got, _, bad := wire.AppendExpanded(nil, s.b.Bytes(), pos); bad != 0 || !wire.EqualFold(got, shown) {
				s.Errorf("the name is said to be at %d: %q, %v", pos, got, bad)
			}
		}
	case !scattered && depth > 0 && set.Shares(shared):
		what = "shared"
		ok = set.AppendShared(&s.b, wire.Authority, at, sigs, shared, &s.where)
	case n == 2:
		ok, mayAsk = set.Append(&s.b, wire.Authority, at, sigs, nil), false
	default:
		ok = set.Append(&s.b, wire.Authority, at, sigs, &s.where)
	}
	s.count[what]++
	end := s.b.Len()

	// What had to be written.
	var want []string
	size := 0
	set.each(owner, func(_ []byte, t wire.Type, ttl uint32, data []byte) bool {
		if isSig := t == wire.TypeRRSIG; isSig && sigs || !isSig && what != "sigs" {
			want = append(want, recordLine(shown, t, ttl, data))
			size += len(shown) + 10 + len(data)
		}
		return true
	})
	fail := func(format string, args ...any) {
		s.Helper()
		s.Fatalf("%s %s of %d records, %s, question %s, owner at %+v, sigs=%v, from %d to %d of %d: %s", wire.AppendName(nil, owner), typ, set.Records, what,
			wire.AppendName(nil, name), at, sigs, start, end, limit, fmt.Sprintf(format, args...))
	}
	if !ok {
		s.count["too large"]++
		if start+size <= limit || end != start {
			fail("not written, though %d octets would do", size)
		}
		return
	}
	if end > wire.MaxPointer {
		s.count["far"]++
	}
	if what == "shared" && start < 8000 {
		s.count["to shorten"]++
		if end-start < set.Len(sigs) {
			s.count["shortened"]++
		}
	}
	got := s.records(fail)
	if got = got[before:]; !slices.Equal(got, want) {
		fail("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !mayAsk {
		return
	}
	if typ == wire.TypeCNAME || typ == wire.TypeDNAME {
		var target []byte
		set.each(owner, func(_ []byte, t wire.Type, _ uint32, data []byte) bool {
			target = bytes.Clone(data)
			return false
		})
		s.stands(fail, "the target", set.DataAt(&s.where), target)
	}
	for i := range set.Targets() {
		if t := set.Target(i); t.Offset >= 0 {
			s.count["targets"]++
			s.stands(fail, fmt.Sprint("target ", i), set.TargetAt(&s.where, t), s.z.AppendName(nil, t.Node))
		}
	}
	if typ == wire.TypeNS && node != s.z.Root() && what != "named" && shown[0] == low[0] {
		s.glue(fail, &set, low, len(got)+before, limit)
	}
}

// scatter writes an alias for name whose target is shown, in pieces, and returns where
// shown is an owner, whose first label in the zone is shorter by so many octets.
func (s *sender) scatter(name, shown []byte, longer int) Owner {
	// Its labels up to some one, and a pointer to what of it stands in the question.
	cut := 0
	for cut < len(shown)-1 && !(wire.Subdomain(name, shown[cut:]) && s.rnd.IntN(2) == 0) {
		cut += 1 + int(shown[cut])
	}
	data := bytes.Clone(shown[:cut])
	if shown[cut] == 0 {
		data = append(data, 0)
	} else {
		data = append(data, 0xC0, byte(wire.HeaderLen+len(name)-len(shown)+cut))
	}
	room := s.b.Grow(wire.Answer, 12+len(data), 1)
	copy(room, []byte{0xC0, wire.HeaderLen, 0, byte(wire.TypeCNAME), 0, 1, 0, 0, 0, 60, 0, byte(len(data))})
	copy(room[12:], data)
	return Owner{Pos: s.b.Len() - len(data), Suffix: longer, Scattered: true}
}

// records returns those of the message, as lines.
func (s *sender) records(fail func(string, ...any)) []string {
	s.Helper()
	var m wire.Message
	s.b.SetFlags(0)
	msg := bytes.Clone(s.b.Finish(nil, 0))
	if bad := m.Parse(msg); bad != 0 {
		fail("cannot be read: %v", bad)
	}
	var lines []string
	for i := range m.Records {
		r := &m.Records[i]
		lines = append(lines, recordLine(r.Owner, r.Type, r.TTL, r.Data))
	}
	return lines
}

// stands fails unless name stands at offset at of the message.
func (s *sender) stands(fail func(string, ...any), what string, at int, name []byte) {
	s.Helper()
	if at <= 0 || at >= s.b.Len() {
		fail("%s is said to be at %d", what, at)
	}
	got, _, bad := wire.AppendExpanded(nil, s.b.Bytes(), at)
	if bad != 0 || !wire.EqualFold(got, name) {
		fail("%s is said to be at %d: there is %q, %v, not %q", what, at, got, bad, name)
	}
}

// glue writes the glue behind a set that was written, and compares it with what the zone
// has of its servers and does not list as targets.
func (s *sender) glue(fail func(string, ...any), set *RRset, owner []byte, before, limit int) {
	s.Helper()
	listed := map[Node]bool{}
	for i := range set.Targets() {
		listed[set.Target(i).Node] = true
	}
	var required, others []string
	size, all := 0, 0
	set.each(owner, func(_ []byte, t wire.Type, _ uint32, data []byte) bool {
		var split wire.SplitName
		if t == wire.TypeRRSIG {
			return true
		}
		split.Set(data)
		n := s.z.Lookup(&split)
		if n == 0 || listed[n] || set.Records > maxGlued {
			return true
		}
		server := s.z.AppendName(nil, n)
		s.z.EachAt(server, func(_ []byte, t wire.Type, ttl uint32, data []byte) bool {
			if t != wire.TypeA && t != wire.TypeAAAA {
				return true
			}
			octets := len(server) + 10 + len(data)
			if all += octets; wire.Subdomain(server, owner) {
				required = append(required, recordLine(server, t, ttl, data))
				size += octets
			} else {
				others = append(others, recordLine(server, t, ttl, data))
			}
			return true
		})
		return true
	})
	// Often there is no room for all of it, or for what must be there.
	if spare := limit - s.b.Len() - size/2 - s.rnd.IntN(all-size/2+40); spare > 11 && s.rnd.IntN(2) == 0 {
		room := s.b.Grow(wire.Additional, spare, 1)
		copy(room, "\x00\xff\xff\x00\x01\x00\x00\x00\x3c")
		binary.BigEndian.PutUint16(room[9:], uint16(spare-11))
		before++
		s.count["little room"]++
	}
	start := s.b.Len()
	if !set.AppendGlue(&s.b, &s.where) {
		s.count["too large"]++
		if start+size <= limit || s.b.Len() != start {
			fail("no glue, though %d octets would do", size)
		}
		return
	}
	s.count["glue"] += len(required)
	got := s.records(fail)[before:]
	for _, l := range required {
		i := slices.Index(got, l)
		if i < 0 {
			fail("the glue lacks %s, has\n%s", l, strings.Join(got, "\n"))
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, l := range got {
		i := slices.Index(others, l)
		if i < 0 {
			fail("the glue has %s", l)
		}
		others = slices.Delete(others, i, i+1)
	}
	if len(others) > 0 && start+all <= limit {
		fail("the glue lacks %s", others[0])
	}
}
