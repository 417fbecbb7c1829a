package fingerprint

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/wire"
)

// How the odd questions are asked.
const (
	behavePause  = 25 * time.Millisecond // between two: 40 a second, for about a second
	behaveTries  = 2                     // silence has to be told from loss
	behaveLeast  = 250 * time.Millisecond
	behaveAtOnce = 16 // as many as may be silent at the same time without holding up the others
	fewest       = 10 // answers, below which there is nothing to judge
)

// Marks are what a server's replies to the odd questions are like, in their order.
type Marks []string

// silence is the mark of a question that nothing answered.
const silence = "-"

// Behaviour asks the odd questions and returns a mark for each, or nil if nobody answers
// an ordinary one over UDP. zone is what that asks for, in wire form; wait is for its
// reply, which tells how long to wait for the others.
func Behaviour(ctx context.Context, server Asker, zone []byte, wait time.Duration) Marks {
	list := oddities()
	marks := make(Marks, len(list))
	slots := make(chan struct{}, behaveAtOnce)
	tick := time.NewTicker(behavePause)
	defer tick.Stop()
	ordinary, err := repeat(ctx, server, func() []byte { return query(zone, wire.TypeSOA, wire.ClassIN) }, false, wait, askTries)
	if err != nil {
		return nil
	}
	wait = min(wait, max(lostRTTs*ordinary.RTT, behaveLeast))
	var wg sync.WaitGroup
	for i, o := range list {
		<-tick.C
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			marks[i] = silence
			for try := range behaveTries {
				reply, err := server.Ask(ctx, o.message(), false, wait<<try)
				if err == nil {
					marks[i] = markOf(reply.Raw)
					return
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return marks
}

// markOf writes what a reply is like: RCODE, flags, the counts of the four sections (9 for
// more), and the UDP size of its OPT record if it has one. raw has a whole header.
func markOf(raw []byte) string {
	var m wire.Message
	_ = m.Parse(raw) // what was read until a fault stands
	var b strings.Builder
	rcode := uint16(m.Rcode)
	if rcode == 0 {
		rcode = uint16(raw[3] & 15)
	}
	flags := binary.BigEndian.Uint16(raw[2:])
	fmt.Fprintf(&b, "%d/", rcode)
	for i, letter := range "atrvzdc" { // AA, TC, RD, RA, Z, AD, CD
		if flags&(1<<(10-i)) != 0 {
			b.WriteRune(letter)
		}
	}
	b.WriteByte('/')
	for i := range 4 {
		b.WriteByte('0' + byte(min(binary.BigEndian.Uint16(raw[4+2*i:]), 9)))
	}
	if m.EDNS {
		fmt.Fprintf(&b, "/%d", m.UDPSize)
	}
	return b.String()
}

// String writes marks as the table has them.
func (m Marks) String() string { return strings.Join(m, " ") }

// Silent reports whether there is nothing to judge by: fewer than ten answers.
func (m Marks) Silent() bool {
	n := 0
	for _, mark := range m {
		if mark != silence {
			n++
		}
	}
	return n < fewest
}

//go:embed behave.txt
var behaveTable string

// A sample is one row of the table: what a server of a configuration answered.
type sample struct {
	product Product
	version string
	setting string
	marks   Marks
}

// samples reads the table.
func samples() []sample {
	var list []sample
	for line := range strings.Lines(behaveTable) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 4 { // others are comments
			list = append(list, sample{Product(f[0]), f[1], f[2], strings.Fields(f[3])})
		}
	}
	return list
}

// A Match is the row of the table that marks are most like.
type Match struct {
	Product Product
	Version string  // of the server that the row was made of
	Setting string  // of the same
	Share   float64 // how alike they are, from 0 to 1
	Next    float64 // how alike the next product's row is
}

// Match compares marks with the table. Without a row of as many marks it is zero.
func (m Marks) Match() Match {
	var best Match
	for _, p := range samples() {
		if len(p.marks) != len(m) {
			continue
		}
		same, of := 0, 0
		for i := range m {
			s, o := alike(m[i], p.marks[i])
			same, of = same+s, of+o
		}
		share := float64(same) / float64(max(of, 1))
		switch {
		case share > best.Share:
			next := best.Next
			if p.product != best.Product {
				next = best.Share
			}
			best = Match{p.product, p.version, p.setting, share, next}
		case p.product != best.Product:
			best.Next = max(best.Next, share)
		}
	}
	return best
}

// Confidence returns how sure a match is, from 0 to 9. In the table, configurations of
// one product have 94 of 100 in common and more, those of different products 89 at most:
// each hundredth that does not fit takes three quarters, and another product that is as
// near takes all but one.
func (m Match) Confidence() int {
	c := sureText - int((1-m.Share)*75+0.5)
	if lead := m.Share - m.Next; lead < 0.05 {
		c = min(c, 1+int(lead*100))
	}
	return max(c, 0)
}

// What parts of a mark count.
const (
	countSilence = 10 // somebody answers, or nobody
	countRcode   = 6
	countFlags   = 3 // but RA, which is a setting
	countCounts  = 2
	countEDNS    = 2
)

// alike returns how much two marks have in common, and how much they could have.
func alike(a, b string) (same, of int) {
	of = countRcode + countFlags + countCounts + countEDNS
	if a == silence || b == silence {
		if a == b {
			// Silence may be loss, or a firewall's: it tells less than an answer.
			return of / 2, of / 2
		}
		return 0, countSilence
	}
	part := func(mark string, i int) string {
		f := strings.Split(mark, "/")
		if i >= len(f) {
			return ""
		}
		return strings.ReplaceAll(f[i], "v", "")
	}
	for i, weight := range []int{countRcode, countFlags, countCounts, countEDNS} {
		if part(a, i) == part(b, i) {
			same += weight
		}
	}
	return same, of
}

// An oddity is a question that servers answer each in their own way: a message but for
// its ID.
type oddity struct {
	about string
	rest  []byte
}

// message returns the question with a random ID.
func (o *oddity) message() []byte { return append(random(2), o.rest...) }

// Questions returns how many odd questions there are.
func Questions() int { return len(oddities()) }

// odd makes an oddity of a message's flags, the counts of its four sections and the rest.
func odd(about string, flags uint16, counts [4]uint16, rest ...[]byte) oddity {
	b := binary.BigEndian.AppendUint16(nil, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return oddity{about, append(b, slices.Concat(rest...)...)}
}

// entry makes one entry of a question section.
func entry(name []byte, t wire.Type, class wire.Class) []byte {
	b := binary.BigEndian.AppendUint16(slices.Clone(name), uint16(t))
	return binary.BigEndian.AppendUint16(b, uint16(class))
}

// optRecord makes an OPT record.
func optRecord(version uint8, flags uint16, options []byte) []byte {
	b := wire.AppendOPT(nil, ednsSize, false, options)
	b[6] = version
	binary.BigEndian.PutUint16(b[7:], flags)
	return b
}

// tsigRecord makes a TSIG record by a key that nobody has, signed long ago.
func tsigRecord() []byte {
	owner := wireName("key.invalid")
	data := append(wireName("hmac-sha256"), make([]byte, 6)...)    // the time
	data = append(append(data, 1, 44, 0, 32), make([]byte, 32)...) // fudge and MAC
	data = append(data, 0, 0, 0, 0, 0, 0)                          // ID, error, other data
	b := append(owner, 0, 250, 0, 255, 0, 0, 0, 0)                 // TSIG, ANY, TTL 0
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// The opcodes that an odd question has in its flags.
const (
	opcode1  = 1 << 11 // IQUERY, and so on
	status   = 2 << 11
	opcode3  = 3 << 11
	notify   = 4 << 11
	update   = 5 << 11
	dso      = 6 << 11
	opcode15 = 15 << 11
)

// oddities returns the questions of a fingerprint, whose order is that of the table.
// None of them makes a resolver ask others, and most have the root for their name, so
// that the answers do not hang upon which zones there are. There are none for texts of
// class CH, which are a setting, and which BIND limits to three a second.
func oddities() []oddity {
	soa := entry(wire.Root, wire.TypeSOA, wire.ClassIN)
	one, withOPT := [4]uint16{1}, [4]uint16{1, 0, 0, 1}
	cookie := wire.AppendOption(nil, wire.OptionCookie, []byte("\x01\x02\x03\x04\x05\x06\x07\x08"))
	typed := func(about string, t wire.Type, class wire.Class) oddity {
		return odd(about, 0, one, entry(wire.Root, t, class))
	}
	named := func(name string, t wire.Type) []byte { return entry(wireName(name), t, wire.ClassIN) }
	return []oddity{
		odd("an ordinary question", 0, one, soa),
		odd("opcode 1", opcode1, one, soa),
		odd("STATUS without a question", status, [4]uint16{}),
		odd("opcode 3", opcode3, one, soa),
		odd("NOTIFY", notify, one, soa),
		odd("NOTIFY with AA of no zone", notify|wire.FlagAA, one, named("example.invalid", wire.TypeSOA)),
		odd("UPDATE", update, one, soa),
		odd("DSO", dso, one, soa),
		odd("opcode 15", opcode15, one, soa),
		odd("no question", 0, [4]uint16{}),
		odd("no question, RD", wire.FlagRD, [4]uint16{}),
		odd("no question, a cookie", 0, [4]uint16{3: 1}, optRecord(0, 0, cookie)),
		odd("two questions", 0, [4]uint16{2}, soa, entry(wire.Root, wire.TypeNS, wire.ClassIN)),
		odd("a question that is missing", 0, one),
		typed("class 0", wire.TypeSOA, 0),
		typed("class ANY", wire.TypeSOA, wire.ClassANY),
		typed("class NONE", wire.TypeSOA, wire.ClassNONE),
		typed("class HS", wire.TypeSOA, wire.ClassHS),
		typed("class CH", wire.TypeSOA, wire.ClassCH),
		typed("type 0", 0, wire.ClassIN),
		typed("type OPT", wire.TypeOPT, wire.ClassIN),
		typed("type TSIG", 250, wire.ClassIN),
		typed("type TKEY", 249, wire.ClassIN),
		typed("MAILB", 253, wire.ClassIN),
		typed("ANY", wire.TypeANY, wire.ClassIN),
		typed("AXFR", wire.TypeAXFR, wire.ClassIN),
		typed("IXFR without an SOA", wire.TypeIXFR, wire.ClassIN),
		odd("all flags", wire.FlagAA|wire.FlagTC|wire.FlagRA|0x70, one, soa),
		odd("a response", wire.FlagQR, one, soa),
		odd("an RCODE", 5, one, soa),
		odd("octets at the end", 0, one, soa, []byte("\x00\x00\x00\x00")),
		odd("a record that is missing", 0, withOPT, soa),
		odd("a record in the answer", 0, [4]uint16{1, 1}, soa, wire.Root, []byte{0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1}),
		odd("a pointer to itself", 0, one, []byte{0xc0, 12, 0, 6, 0, 1}),
		odd("label type 01", 0, one, []byte{0x41, 1, 0, 0, 6, 0, 1}),
		odd("EDNS", 0, withOPT, soa, optRecord(0, 0, nil)),
		odd("EDNS 1", 0, withOPT, soa, optRecord(1, 0, nil)),
		odd("EDNS flags", 0, withOPT, soa, optRecord(0, 0x7fff, nil)),
		odd("two OPT", 0, [4]uint16{1, 0, 0, 2}, soa, optRecord(0, 0, nil), optRecord(0, 0, nil)),
		odd("an EDNS option of nine octets that has two", 0, withOPT, soa, optRecord(0, 0, []byte{0, 100, 0, 9, 1, 2})),
		odd("a cookie", 0, withOPT, soa, optRecord(0, 0, cookie)),
		odd("a cookie of seven octets", 0, withOPT, soa, optRecord(0, 0, wire.AppendOption(nil, wire.OptionCookie, make([]byte, 7)))),
		odd("a subnet of a family that is none", 0, withOPT, soa, optRecord(0, 0, wire.AppendOption(nil, 8, []byte{0, 9, 24, 0, 1, 2, 3}))),
		odd("a key that nobody knows", 0, withOPT, soa, tsigRecord()),
		odd("a name below invalid", 0, one, named("a.invalid", wire.TypeA)),
		odd("localhost", 0, one, named("localhost", wire.TypeA)),
		odd("1.0.0.127.in-addr.arpa", 0, one, named("1.0.0.127.in-addr.arpa", wire.TypePTR)),
		odd("10.in-addr.arpa", 0, one, named("10.in-addr.arpa", wire.TypeSOA)),
	}
}
