package zone_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/authority"
	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/transfer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// shapes are the records that come and go in histories. Names stand below test., and each
// has one spelling.
const shapes = `
@ SOA ns admin 0 1 2 3 4
@ NS ns
@ NS h3
@ NS ns.cut0
@ NS ns.out.test2.
@ MX 10 h2
@ A 192.0.2.1
@ TXT apex
ns A 192.0.2.53
h0 A 192.0.2.2
h0 A 192.0.2.3
h0 AAAA 2001:db8::2
ns RRSIG A 13 2 60 20300101000000 20200101000000 1 test. AAAA
h1 A 192.0.2.4
h1 TXT one
H2 A 192.0.2.5
H2 MX 10 h2
H2 MX 20 h0
H2 MX 30 gone
h3 A 192.0.2.6
h3 MX 10 ns.cut0
h3 MX 20 x.w0
h3 MX 30 x.dn0
h3 SRV 0 0 53 a.b0
h4 HTTPS 1 .
h4 HTTPS 2 h1 port=8443
h4 CNAME h0
h5 NSEC h6 A
a.b0 A 192.0.2.7
b0 TXT between
x.y.e0 A 192.0.2.8
y.e0 MX 10 x.y.e0
*.e0 TXT star
*.w0 A 192.0.2.9
*.w0 MX 10 w0
w0 A 192.0.2.10
x.w0 TXT exact
q.*.w0 A 192.0.2.11
*.W1 CNAME h0
*.w2 NS ns
* TXT top
cut0 NS ns.cut0
cut0 NS ns.cut1
cut0 DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
cut0 TXT hidden
ns.cut0 A 192.0.2.12
ns.cut0 AAAA 2001:db8::12
x.ns.cut0 A 192.0.2.13
below.cut0 TXT hidden
cut1 NS ns.cut0
cut1 NS ns.cut1
ns.cut1 A 192.0.2.14
cut2 NS ns.out.test2.
cut2 NS h0
cut3 NS gone
deep.cut4 NS ns.deep.cut4
ns.deep.cut4 A 192.0.2.15
cut4 NS h1
dn0 DNAME h0
dn0 TXT beside
x.dn0 A 192.0.2.16
dn1 DNAME e0
al0 CNAME h1
al1 CNAME al0
al2 CNAME www.out.test2.
al3 CNAME ns.cut0
al4 CNAME x.w0
al5 CNAME x.y.dn1
al6 CNAME al6
gone A 192.0.2.17
`

// A shaped record is one of the records that histories are made of.
type shaped struct {
	owner, data []byte
	typ         wire.Type
	text        string
}

func readShapes(t testing.TB, text string) (list []shaped) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	apex := dnstest.Name(t, "test.")
	_, err := zonefile.Read(strings.NewReader(text), zonefile.Options{Origin: apex, Name: "shapes", DefaultTTL: 60}, func(r *zonefile.Record) error {
		list = append(list, shaped{bytes.Clone(r.Owner), bytes.Clone(r.Data), r.Type, lines[len(list)]})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A change adds a record or removes it if it is there.
type change struct {
	record int
	ttl    bool // instead, change the TTL of all records of its owner and type
	again  bool // instead, add it once more if it is there
}

// A history is a zone that begins with some records and changes a few at a time.
type history struct {
	records   []shaped
	fixed     int   // so many of them are always there
	first     []int // of the others, those that are there at the beginning
	steps     [][]change
	questions [][]byte // names that are asked for

	patched, whole, refused int // versions that came about so
}

// A content is which records there are, and with which TTL.
type content struct {
	has []bool
	ttl map[string]uint32 // by owner and type; 0: 60
}

func (h *history) key(i int) string {
	r := &h.records[i]
	return string(wire.Lower(nil, r.owner)) + r.typ.String()
}

func (h *history) ttlOf(c *content, i int) uint32 { return 60 + c.ttl[h.key(i)] }

// data returns the data of a record, which for the SOA has the serial.
func (h *history) data(i int, serial uint32) []byte {
	r := &h.records[i]
	if r.typ == wire.TypeSOA {
		return zone.WithSerial(r.data, serial)
	}
	return r.data
}

func (h *history) append(dst []byte, c *content, i int, serial uint32) []byte {
	r := &h.records[i]
	return zone.AppendRecord(dst, r.owner, r.typ, h.ttlOf(c, i), h.data(i, serial))
}

// build compiles a content as a whole.
func (h *history) build(c *content, serial uint32) (*zone.Zone, []zone.Problem) {
	b := zone.NewBuilder(h.records[0].owner, dnstest.Seed)
	for i := range h.records {
		if r := &h.records[i]; c.has[i] {
			b.Add(&zone.Record{Owner: r.owner, Type: r.typ, TTL: h.ttlOf(c, i), Data: h.data(i, serial)})
		}
	}
	return b.Build()
}

// next returns what a step makes of a content, and the difference.
func (h *history) next(c *content, step []change, serial uint32) (*content, *zone.Delta) {
	n := &content{slices.Clone(c.has), map[string]uint32{}}
	for k, v := range c.ttl {
		n.ttl[k] = v
	}
	again := map[int]bool{}
	for _, s := range step {
		switch {
		case s.ttl:
			n.ttl[h.key(s.record)] ^= 9
		case s.again:
			again[s.record] = true
		default:
			n.has[s.record] = !n.has[s.record]
		}
	}
	d := &zone.Delta{From: serial, To: serial + 1}
	for i := range h.records { // the SOA is the first
		was, is := c.has[i], n.has[i]
		if was == is && h.ttlOf(c, i) == h.ttlOf(n, i) && i > 0 {
			if is && again[i] {
				d.Added = h.append(d.Added, n, i, serial+1)
			}
			continue
		}
		if was {
			d.Removed = h.append(d.Removed, c, i, serial)
		}
		if is {
			d.Added = h.append(d.Added, n, i, serial+1)
		}
	}
	return n, d
}

// run plays the history, and returns what is wrong with the first version that differs from
// one which is compiled as a whole from the same records.
func (h *history) run() error {
	c := &content{make([]bool, len(h.records)), map[string]uint32{}}
	for i := range h.fixed {
		c.has[i] = true
	}
	for _, i := range h.first {
		c.has[i] = true
	}
	serial := uint32(1)
	now, problems := h.build(c, serial)
	if now == nil {
		return fmt.Errorf("the first version: %v", problems)
	}
	h.patched, h.whole, h.refused = 0, 0, 0
	for n, step := range h.steps {
		next, d := h.next(c, step, serial)
		want, problems := h.build(next, serial+1)
		got, others := now.Apply(d)
		switch {
		case want == nil && got == nil:
			h.refused++
			continue // nothing has changed
		case want == nil:
			return fmt.Errorf("step %d: is served, but %v", n, problems)
		case got == nil:
			return fmt.Errorf("step %d: %v", n, others)
		case got.Patched():
			h.patched++
		default:
			h.whole++
		}
		if err := same(got, want, h.questions); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
		c, now, serial = next, got, serial+1
	}
	return nil
}

// folded returns the records of a zone in order, the owners in lower case.
func folded(z *zone.Zone) (list []string) {
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, wire.Lower(nil, owner)), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	slices.Sort(list)
	return list
}

// same compares two versions of a zone: their records, and then what they answer and how
// they are transferred, octet by octet. For that the second is compiled once more with its
// records in the order in which the first has them.
func same(got, want *zone.Zone, questions [][]byte) error {
	if a, b := folded(got), folded(want); !slices.Equal(a, b) {
		return fmt.Errorf("has the records\n%s\nwanted\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if got.Serial() != want.Serial() || got.Names() != want.Names() || got.Records() != want.Records() {
		return fmt.Errorf("serial %d, %d names, %d records; wanted %d, %d, %d", got.Serial(), got.Names(), got.Records(), want.Serial(), want.Names(), want.Records())
	}
	b := zone.NewBuilder(got.Apex(), dnstest.Seed)
	got.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		b.Add(&zone.Record{Owner: owner, Type: t, TTL: ttl, Data: data})
		return true
	})
	whole, problems := b.Build()
	if whole == nil {
		return fmt.Errorf("cannot be compiled: %v", problems)
	}
	var one, two [wire.MaxMessage]byte
	for _, name := range questions {
		for _, t := range []wire.Type{wire.TypeA, wire.TypeNS, wire.TypeMX, wire.TypeTXT, wire.TypeDS, wire.TypeANY} {
			for _, limit := range [...]int{wire.MinUDP, wire.MaxMessage} {
				msg := wire.AppendQuery(nil, 0, 0, name, t)
				if limit != wire.MinUDP {
					msg = wire.AppendOPT(msg, 1232, true, nil)
					msg[11] = 1
				}
				if a, b := answerOf(got, msg, one[:limit]), answerOf(whole, msg, two[:limit]); !bytes.Equal(a, b) {
					x, _ := dnstest.Format(a)
					y, _ := dnstest.Format(b)
					return fmt.Errorf("%s %v within %d octets\n%s(%x)\nwanted\n%s(%x)", wire.AppendName(nil, name), t, limit, x, a, y, b)
				}
			}
		}
	}
	a, err := axfr(got)
	if err != nil {
		return err
	}
	if b, err := axfr(whole); err != nil || !bytes.Equal(a, b) {
		return fmt.Errorf("AXFR gives %d octets, wanted %d: %w", len(a), len(b), errors.Join(err, errAXFR))
	}
	return nil
}

var errAXFR = errors.New("they differ")

// answerOf returns z's reply to a query, which it writes into room.
func answerOf(z *zone.Zone, msg, room []byte) []byte {
	var q wire.Query
	if bad := q.Parse(msg); bad != 0 {
		panic(bad)
	}
	var b wire.Builder
	var r authority.Responder
	b.Start(room, len(room), 0, &q)
	r.Answer(z, &q, &b)
	return b.Finish(nil, 0)
}

// axfr returns the messages of a whole transfer, one behind the other.
func axfr(z *zone.Zone) (all []byte, err error) {
	r, err := transfer.ParseRequest(wire.AppendQuery(nil, 0, 0, z.Apex(), wire.TypeAXFR))
	if err != nil {
		return nil, err
	}
	err = transfer.Send(r, transfer.Outgoing{Zone: z}, func(msg []byte) error { all = append(all, msg...); return nil })
	return all, err
}

// shrink takes steps and changes out of a history that fails, as long as it fails.
func (h *history) shrink(limit time.Duration) error {
	err := h.run()
	end := time.Now().Add(limit)
	try := func(steps [][]change) bool {
		if time.Now().After(end) {
			return false
		}
		next := *h
		next.steps = steps
		if e := next.run(); e != nil {
			h.steps, err = steps, e
			return true
		}
		return false
	}
	for smaller := true; smaller; {
		smaller = false
		for i := len(h.steps) - 1; i >= 0; i-- {
			if try(slices.Delete(slices.Clone(h.steps), i, i+1)) {
				smaller = true
				continue
			}
			for j := len(h.steps[i]) - 1; j >= 0 && len(h.steps[i]) > 1; j-- {
				steps := slices.Clone(h.steps)
				steps[i] = slices.Delete(slices.Clone(steps[i]), j, j+1)
				smaller = try(steps) || smaller
			}
		}
	}
	return err
}

// String returns the history, a step a line.
func (h *history) String() string {
	var b strings.Builder
	for n, step := range h.steps {
		fmt.Fprintf(&b, "%d:", n)
		for _, s := range step {
			what := "toggle"
			switch {
			case s.ttl:
				what = "TTL of"
			case s.again:
				what = "again"
			}
			fmt.Fprintf(&b, " %s %q", what, h.records[s.record].text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// newHistory returns a history at random, with enough names that stay for the others to be
// patched in.
func newHistory(records []shaped, fixed int, rnd *rand.Rand, steps int) *history {
	h := &history{records: records, fixed: fixed}
	seen := map[string]bool{}
	for i := range records {
		name := wire.Lower(nil, records[i].owner)
		if i >= fixed && rnd.IntN(2) == 0 && fitsAny(records[i].typ) {
			h.first = append(h.first, i)
		}
		for _, left := range []string{"", "\x02no", "\x01*"} {
			if q := left + string(name); (i >= fixed || i < 8) && !seen[q] {
				seen[q] = true
				h.questions = append(h.questions, []byte(q))
			}
		}
	}
	for range steps {
		var step []change
		for range 1 + rnd.IntN(3) {
			i := fixed + rnd.IntN(len(records)-fixed)
			if n := len(step); n > 0 && rnd.IntN(2) == 0 { // above or below the one before, often
				i = min(max(step[n-1].record+rnd.IntN(7)-3, fixed), len(records)-1)
			}
			if unfit(&records[i]) && rnd.IntN(10) > 0 {
				continue // most steps are such that they can be patched
			}
			step = append(step, change{i, rnd.IntN(8) == 0, rnd.IntN(8) == 0})
		}
		h.steps = append(h.steps, step)
	}
	return h
}

// fitsAny reports whether a record may stand beside all others.
func fitsAny(t wire.Type) bool {
	return t != wire.TypeCNAME && t != wire.TypeDNAME && t != wire.TypeNSEC
}

// unfit tells of records which make that a version is compiled as a whole, or is refused.
func unfit(r *shaped) bool {
	switch r.typ {
	case wire.TypeNS, wire.TypeDNAME, wire.TypeRRSIG, wire.TypeNSEC, wire.TypeDS:
		return len(r.owner) > len("\x04test\x00")
	}
	return false
}

// fixedRecords are names that stay, some of which refer to others that do not.
func fixedRecords(n int) string {
	var b strings.Builder
	b.WriteString("@ SOA ns admin 0 1 2 3 4\n@ NS ns\nns A 192.0.2.53\n")
	for i, target := range strings.Fields("h0 gone x.w0 ns.cut0 h2 x.y.e0 a.b0 new") {
		fmt.Fprintf(&b, "m%d MX 10 %s\n", i, target)
	}
	for i := range n {
		fmt.Fprintf(&b, "f%d A 192.0.2.%d\n", i, i%250)
	}
	return b.String()
}

// shapedRecords returns the records of histories, and how many of them stay.
func shapedRecords(t testing.TB, names int) (list []shaped, fixed int) {
	t.Helper()
	list = readShapes(t, fixedRecords(names))
	fixed = len(list)
	text := strings.TrimPrefix(shapes, "\n")
	for i := range 4 { // names above names, of which any may have records
		text += fmt.Sprintf("p%d TXT 1\nb.p%[1]d TXT 2\nc.b.p%[1]d TXT 3\nd.c.b.p%[1]d TXT 4\ne.c.b.p%[1]d TXT 5\n", i)
	}
	for _, r := range readShapes(t, text) {
		if !slices.ContainsFunc(list, func(o shaped) bool {
			return bytes.Equal(o.owner, r.owner) && o.typ == r.typ && bytes.Equal(o.data, r.data)
		}) {
			list = append(list, r)
		}
	}
	return list, fixed
}

// TestPatchedIsCompiled changes a zone with all shapes of names at random, again and again:
// whether a version was patched or compiled, it answers every question and is transferred
// as one which is compiled as a whole from the same records. What cannot be served is
// refused either way.
func TestPatchedIsCompiled(t *testing.T) {
	records, fixed := shapedRecords(t, 120)
	patched, whole, refused := 0, 0, 0
	for seed := range uint64(6) {
		h := newHistory(records, fixed, rand.New(rand.NewPCG(seed, 53)), 30)
		if err := h.run(); err != nil {
			err = h.shrink(20 * time.Second)
			t.Fatalf("seed %d: %v\nof the history\n%sfrom %v", seed, err, h, h.first)
		}
		patched, whole, refused = patched+h.patched, whole+h.whole, refused+h.refused
	}
	t.Logf("%d versions were patched, %d compiled, %d refused", patched, whole, refused)
	if patched < 80 || whole < 20 || refused == 0 {
		t.Errorf("%d versions were patched, %d compiled, %d refused", patched, whole, refused)
	}
}

// TestSignedIsCompiled does the same with zones that are signed, with NSEC, with NSEC3 and
// opt-out, and are not signed for a while: every version comes by the difference from the
// one before.
func TestSignedIsCompiled(t *testing.T) {
	records, fixed := shapedRecords(t, 40)
	records = slices.DeleteFunc(records, func(r shaped) bool {
		return r.typ == wire.TypeRRSIG || r.typ == wire.TypeNSEC
	})
	key, err := lab.NewKey("test. key", 15, 0x0101)
	if err != nil {
		t.Fatal(err)
	}
	signed := 0
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 54))
		h := newHistory(records, fixed, rnd, 25)
		c := &content{make([]bool, len(records)), map[string]uint32{}}
		for i := range fixed {
			c.has[i] = true
		}
		var now *zone.Zone
		way := 0
		for n, step := range h.steps {
			serial := uint32(n + 1)
			next, _ := h.next(c, step, serial)
			if plain, _ := h.build(next, serial); plain == nil {
				continue
			}
			if c = next; rnd.IntN(6) == 0 {
				way = rnd.IntN(4)
			}
			want, err := h.sign(c, serial, way, key)
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, err)
			}
			if now == nil {
				now = want
				continue
			}
			got, problems := now.Apply(zone.Diff(now, want))
			if got == nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, problems)
			}
			if err := same(got, want, h.questions); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, err)
			}
			if got.Signed() {
				signed++
			}
			now = got
		}
	}
	if signed < 20 {
		t.Errorf("%d versions were signed", signed)
	}
}

// sign compiles a content in one of four ways: unsigned, with NSEC, with NSEC3, with opt-out.
func (h *history) sign(c *content, serial uint32, way int, key *lab.Key) (*zone.Zone, error) {
	var plain []lab.Record
	for i := range h.records {
		if r := &h.records[i]; c.has[i] {
			plain = append(plain, lab.Record{Owner: r.owner, Type: r.typ, TTL: h.ttlOf(c, i), Data: h.data(i, serial)})
		}
	}
	apex := h.records[0].owner
	if way > 0 {
		var err error
		plain, err = lab.Sign(apex, plain, &lab.Signing{
			KSKs: []*lab.Key{key}, ZSKs: []*lab.Key{key}, NSEC3: way > 1, OptOut: way > 2,
			Inception: time.Unix(1_600_000_000, 0), Expiration: time.Unix(1_900_000_000, 0),
		})
		if err != nil {
			return nil, err
		}
	}
	b := zone.NewBuilder(apex, dnstest.Seed)
	for _, r := range plain {
		b.Add(&zone.Record{Owner: r.Owner, Type: r.Type, TTL: r.TTL, Data: r.Data})
	}
	z, problems := b.Build()
	if z == nil {
		return nil, fmt.Errorf("%v", problems)
	}
	return z, nil
}

// TestLeftOutIsNotThere has records that are left out when a zone is compiled: they make no
// name exist and do not count, so that the zone answers as it does where it was transferred.
func TestLeftOutIsNotThere(t *testing.T) {
	const sig = " 60 RRSIG A 13 2 60 20300101000000 20200101000000 1 test. AAAA\n"
	soa := "@ 60 SOA ns admin 1 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n* 60 TXT any\n*.deep 60 TXT any\n"
	for what, s := range map[string]struct{ left, kept string }{
		"a signature alone":                   {"h" + sig, ""},
		"the same twice":                      {"h" + sig + "H" + sig, ""},
		"above another name":                  {"h" + sig, "x.h 60 TXT below\n"},
		"below an empty name":                 {"a.b.h" + sig + "c.b.h" + sig, ""},
		"of a wildcard":                       {"*.h" + sig, ""},
		"in place of a wildcard's name":       {"x.deep" + sig, ""},
		"of another type":                     {"h" + sig, "h 60 TXT kept\n"},
		"a record twice":                      {"h 60 A 192.0.2.2\n", "h 60 A 192.0.2.2\n"},
		"a record of another zone":            {"h.example. 60 A 192.0.2.2\n", ""},
		"what others refer to":                {"h" + sig, "m 60 MX 10 h\n"},
		"what a delegation lies above":        {"h" + sig, "h.cut 60 TXT x\n"},
		"a signature alone, in a signed zone": {"h" + sig, "@ 60 NSEC ns SOA NS NSEC\nns 60 NSEC @ A NSEC\n"},
	} {
		got, want := dnstest.Zone(t, "test.", soa+s.kept+s.left), dnstest.Zone(t, "test.", soa+s.kept)
		var names [][]byte
		for _, name := range []string{"test.", "h.test.", "x.h.test.", "b.h.test.", "a.b.h.test.", "*.h.test.", "no.test.", "x.deep.test.", "m.test."} {
			names = append(names, dnstest.Name(t, name))
		}
		if err := same(got, want, names); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for _, name := range names {
			msg := wire.AppendQuery(nil, 0, 0, name, wire.TypeTXT)
			if a, b := answerOf(got, msg, make([]byte, 512)), answerOf(want, msg, make([]byte, 512)); !bytes.Equal(a, b) {
				t.Errorf("%s: %s is answered by %x, wanted %x", what, wire.AppendName(nil, name), a, b)
			}
		}
	}
}

// TestLeftOutOfAPatch adds a signature of nothing by a difference.
func TestLeftOutOfAPatch(t *testing.T) {
	records := readShapes(t, fixedRecords(60)+"* TXT any\nh RRSIG A 13 2 60 20300101000000 20200101000000 1 test. AAAA\n")
	last := len(records) - 1
	h := &history{records: records, fixed: last, steps: [][]change{{{record: last}}}, questions: [][]byte{records[last].owner}}
	if err := h.run(); err != nil {
		t.Error(err)
	}
}

// TestPatchRefuses has differences that do not fit a zone which is large enough to be patched.
func TestPatchRefuses(t *testing.T) {
	records := readShapes(t, fixedRecords(60)+"f1 TXT x\nf2 CNAME x\nnew CNAME x\nnew TXT x\n")
	fixed := len(records) - 4
	h := &history{records: records}
	c := &content{make([]bool, len(records)), map[string]uint32{}}
	for i := range fixed {
		c.has[i] = true
	}
	for what, spoil := range map[string]func(d *zone.Delta){
		"a record that is not there":         func(d *zone.Delta) { d.Removed = h.append(d.Removed, c, fixed, 1) },
		"a record of a name that is not":     func(d *zone.Delta) { d.Removed = h.append(d.Removed, c, fixed+3, 1) },
		"a CNAME beside data":                func(d *zone.Delta) { d.Added = h.append(d.Added, c, fixed+1, 1) },
		"a CNAME beside data, at a new name": func(d *zone.Delta) { d.Added = h.append(h.append(d.Added, c, fixed+2, 1), c, fixed+3, 1) },
		"no NS at the apex":                  func(d *zone.Delta) { d.Removed = h.append(d.Removed, c, 1, 1) },
		"a second SOA":                       func(d *zone.Delta) { d.Added = h.append(d.Added, c, 0, 7) },
		"another serial":                     func(d *zone.Delta) { d.To = 9 },
	} {
		z, problems := h.build(c, 1) // nothing was tried with it yet
		if z == nil {
			t.Fatal(problems)
		}
		_, d := h.next(c, nil, 1)
		spoil(d)
		if got, problems := z.Apply(d); got != nil || len(problems) == 0 {
			t.Errorf("%s: applied; %v", what, problems)
		}
	}
}

// TestPatchedFamily has a few names above and below each other, with a wildcard among them,
// and goes from every choice of those that have records to every other, and back.
func TestPatchedFamily(t *testing.T) {
	const fixed = 60
	text := fixedRecords(fixed) + "p TXT 1\nb.p TXT 2\nc.b.p TXT 3\n*.p TXT 4\nx.*.p TXT 5\n"
	records := readShapes(t, text)
	const family = 5
	h := &history{records: records, fixed: len(records) - family}
	for _, r := range records[h.fixed:] {
		h.questions = append(h.questions, r.owner, append([]byte("\x02no"), r.owner...))
	}
	from := 0
	to := func(state int) {
		var step []change
		for i := range family {
			if (from^state)>>i&1 != 0 {
				step = append(step, change{record: h.fixed + i})
			}
		}
		h.steps, from = append(h.steps, step), state
	}
	for a := range 1 << family {
		for b := range a {
			to(a)
			to(b)
		}
	}
	if err := h.run(); err != nil {
		t.Fatalf("%v\nafter\n%s", err, h)
	}
	if h.patched < h.whole/4 {
		t.Errorf("%d versions were patched, %d compiled", h.patched, h.whole)
	}
	t.Logf("%d versions were patched, %d compiled", h.patched, h.whole)
}
