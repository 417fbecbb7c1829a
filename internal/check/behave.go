package check

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
	lostRTTs     = 4  // a reply that takes four round trips is lost rather than late
	behaveAtOnce = 16 // as many as may be silent at one time without holding up the others
)

// An oddity is a question that servers answer each in their own way.
type oddity struct {
	about string
	msg   func() []byte // with a random ID
}

// header makes a message's first 12 octets with a random ID, and appends the rest.
func header(flags uint16, counts [4]uint16, rest ...[]byte) []byte {
	b := append(randomBytes(2), byte(flags>>8), byte(flags))
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	for _, r := range rest {
		b = append(b, r...)
	}
	return b
}

// question makes one entry of a question section.
func question(name []byte, t wire.Type, class wire.Class) []byte {
	b := binary.BigEndian.AppendUint16(slices.Clone(name), uint16(t))
	return binary.BigEndian.AppendUint16(b, uint16(class))
}

// oddities returns the questions of a fingerprint, whose order is that of the table.
// None of them makes a resolver ask others, and most have the root for their name, so
// that the answers do not hang upon which zones there are. There are none for texts of
// class CH, which are a setting, and which BIND limits to three a second.
func oddities() []oddity {
	const (
		opcode1 = 1 << 11 // IQUERY, and so on
		status  = 2 << 11
		op3     = 3 << 11
		notify  = 4 << 11
		update  = 5 << 11
		dso     = 6 << 11
		op15    = 15 << 11
	)
	soa := question(wire.Root, wire.TypeSOA, wire.ClassIN)
	one := [4]uint16{1}
	edns := func(version uint8, flags uint16, options []byte) []byte {
		b := wire.AppendOPT(nil, ednsSize, false, options)
		b[6] = version
		binary.BigEndian.PutUint16(b[7:], flags)
		return b
	}
	fixed := func(about string, flags uint16, counts [4]uint16, rest ...[]byte) oddity {
		return oddity{about, func() []byte { return header(flags, counts, rest...) }}
	}
	typed := func(about string, t wire.Type, class wire.Class) oddity {
		return fixed(about, 0, one, question(wire.Root, t, class))
	}
	tsig := append(append(mustName("key.invalid"), 0, 250, 0, 255, 0, 0, 0, 0), 0, 58)
	tsig = append(append(tsig, mustName("hmac-sha256")...), make([]byte, 6)...) // signed long ago
	tsig = append(append(tsig, 1, 44, 0, 32), make([]byte, 32)...)
	tsig = append(tsig, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(tsig[len(mustName("key.invalid"))+8:], uint16(len(tsig)-len(mustName("key.invalid"))-10))
	return []oddity{
		fixed("an ordinary question", 0, one, soa),
		fixed("opcode 1", opcode1, one, soa),
		fixed("STATUS without a question", status, [4]uint16{}),
		fixed("opcode 3", op3, one, soa),
		fixed("NOTIFY", notify, one, soa),
		fixed("NOTIFY with AA of no zone", notify|wire.FlagAA, one, question(mustName("example.invalid"), wire.TypeSOA, wire.ClassIN)),
		fixed("UPDATE", update, one, soa),
		fixed("DSO", dso, one, soa),
		fixed("opcode 15", op15, one, soa),
		fixed("no question", 0, [4]uint16{}),
		fixed("no question, RD", wire.FlagRD, [4]uint16{}),
		fixed("no question, a cookie", 0, [4]uint16{3: 1}, edns(0, 0, option(wire.OptionCookie, []byte("\x01\x02\x03\x04\x05\x06\x07\x08")))),
		fixed("two questions", 0, [4]uint16{2}, soa, question(wire.Root, wire.TypeNS, wire.ClassIN)),
		fixed("a question that is missing", 0, one),
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
		fixed("all flags", wire.FlagAA|wire.FlagTC|wire.FlagRA|0x70, one, soa),
		fixed("a response", wire.FlagQR, one, soa),
		fixed("an RCODE", 5, one, soa),
		fixed("octets at the end", 0, one, soa, []byte("\x00\x00\x00\x00")),
		fixed("a record that is missing", 0, [4]uint16{1, 0, 0, 1}, soa),
		fixed("a record in the answer", 0, [4]uint16{1, 1}, soa, wire.Root, []byte{0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1}),
		fixed("a pointer to itself", 0, one, []byte{0xc0, 12, 0, 6, 0, 1}),
		fixed("label type 01", 0, one, []byte{0x41, 1, 0, 0, 6, 0, 1}),
		fixed("EDNS", 0, [4]uint16{1, 0, 0, 1}, soa, edns(0, 0, nil)),
		fixed("EDNS 1", 0, [4]uint16{1, 0, 0, 1}, soa, edns(1, 0, nil)),
		fixed("EDNS flags", 0, [4]uint16{1, 0, 0, 1}, soa, edns(0, 0x7fff, nil)),
		fixed("two OPT", 0, [4]uint16{1, 0, 0, 2}, soa, edns(0, 0, nil), edns(0, 0, nil)),
		fixed("an EDNS option of nine octets that has two", 0, [4]uint16{1, 0, 0, 1}, soa, edns(0, 0, []byte{0, 100, 0, 9, 1, 2})),
		fixed("a cookie", 0, [4]uint16{1, 0, 0, 1}, soa, edns(0, 0, option(wire.OptionCookie, []byte("\x01\x02\x03\x04\x05\x06\x07\x08")))),
		fixed("a cookie of seven octets", 0, [4]uint16{1, 0, 0, 1}, soa, edns(0, 0, option(wire.OptionCookie, make([]byte, 7)))),
		fixed("a subnet of a family that is none", 0, [4]uint16{1, 0, 0, 1}, soa, edns(0, 0, option(8, []byte{0, 9, 24, 0, 1, 2, 3}))),
		fixed("a key that nobody knows", 0, [4]uint16{1, 0, 0, 1}, soa, tsig),
		fixed("a name below invalid", 0, one, question(mustName("a.invalid"), wire.TypeA, wire.ClassIN)),
		fixed("localhost", 0, one, question(mustName("localhost"), wire.TypeA, wire.ClassIN)),
		fixed("1.0.0.127.in-addr.arpa", 0, one, question(mustName("1.0.0.127.in-addr.arpa"), wire.TypePTR, wire.ClassIN)),
		fixed("10.in-addr.arpa", 0, one, question(mustName("10.in-addr.arpa"), wire.TypeSOA, wire.ClassIN)),
	}
}

// silence is the mark of a question that nothing answered.
const silence = "-"

// markOf writes what a reply is like: RCODE, flags, the counts of the four sections (9 for
// more), and the UDP size of its OPT record if it has one.
func markOf(m *Reply) string {
	if m == nil {
		return silence
	}
	var b strings.Builder
	rcode := uint16(m.Rcode)
	if rcode == 0 {
		rcode = uint16(m.Raw[3] & 15)
	}
	flags := binary.BigEndian.Uint16(m.Raw[2:])
	fmt.Fprintf(&b, "%d/", rcode)
	for i, letter := range "atrvzdc" { // AA, TC, RD, RA, Z, AD, CD
		if flags&(1<<(10-i)) != 0 {
			b.WriteRune(letter)
		}
	}
	b.WriteByte('/')
	for i := range 4 {
		b.WriteByte('0' + byte(min(binary.BigEndian.Uint16(m.Raw[4+2*i:]), 9)))
	}
	if m.EDNS {
		fmt.Fprintf(&b, "/%d", m.UDPSize)
	}
	return b.String()
}

// behaviour asks the odd questions and returns a mark for each, or nil if nobody answers
// an ordinary one.
func behaviour(ctx context.Context, r *Run) []string {
	list := oddities()
	marks := make([]string, len(list))
	slots := make(chan struct{}, behaveAtOnce)
	tick := time.NewTicker(behavePause)
	defer tick.Stop()
	first := r.timeout()
	m, err := r.Ask(ctx, soaQuery(r))
	if err != nil {
		return nil
	}
	first = min(first, max(lostRTTs*m.RTT, behaveLeast))
	var wg sync.WaitGroup
	for i, o := range list {
		<-tick.C
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			marks[i] = silence
			for try := range behaveTries {
				options := *r.Options
				options.Timeout = first << try
				one := Run{Options: &options}
				if m, err := one.askOnce(ctx, r.Server, o.msg()); err == nil {
					marks[i] = markOf(m)
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

//go:embed behave.txt
var behaveTable string

// A sample is one row of the table: what a server of a configuration answered.
type sample struct {
	product Product
	version string
	setting string
	marks   []string
}

// samples reads the table.
func samples() []sample {
	var list []sample
	for line := range strings.Lines(behaveTable) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) == 4 && line[0] != '#' {
			list = append(list, sample{Product(f[0]), f[1], f[2], strings.Fields(f[3])})
		}
	}
	return list
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

// matched returns the product whose row of the table is most like the marks, how alike
// they are, and how alike the next product is, from 0 to 1.
func matched(marks []string) (best sample, share, next float64) {
	for _, p := range samples() {
		if len(p.marks) != len(marks) {
			continue
		}
		same, of := 0, 0
		for i := range marks {
			s, o := alike(marks[i], p.marks[i])
			same, of = same+s, of+o
		}
		got := float64(same) / float64(max(of, 1))
		switch {
		case got > share:
			if p.product != best.product {
				next = share
			}
			best, share = p, got
		case p.product != best.product:
			next = max(next, got)
		}
	}
	return best, share, next
}

// certainty turns a match into a confidence from 0 to 9. In the table, configurations
// of one product have 94 of 100 in common and more, those of different products 89 at
// most: each hundredth that does not fit takes three quarters, and another product
// that is as near takes all but one.
func certainty(share, next float64) int {
	c := 9 - int((1-share)*75+0.5)
	if lead := share - next; lead < 0.05 {
		c = min(c, 1+int(lead*100))
	}
	return max(c, 0)
}

// silentMarks tells whether a fingerprint has nothing to judge: fewer than ten answers.
func silentMarks(marks []string) bool {
	n := 0
	for _, m := range marks {
		if m != silence {
			n++
		}
	}
	return n < 10
}

// fingerprint writes marks for people and for the table.
func fingerprint(marks []string) string { return strings.Join(marks, " ") }
