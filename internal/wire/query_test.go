package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"port53/internal/wire"
)

// message returns a query with ID 0x1234 for name, in wire form, with counts and
// what follows the question given by the caller.
func message(flags uint16, sections [4]uint16, rest ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, 0x1234)
	b = binary.BigEndian.AppendUint16(b, flags)
	for _, c := range sections {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return append(b, bytes.Join(rest, nil)...)
}

var (
	question = []byte("\x03WwW\x07eXample\x04test\x00\x00\x01\x00\x01")
	opt      = []byte("\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00")
	optCook  = []byte("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0812345678")
	optV1    = []byte("\x00\x00\x29\x02\x00\x00\x01\x00\x00\x00\x00")
	tsigRR   = []byte("\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x2a\x0bhmac-sha256\x00" +
		"\x00\x00\x00\x00\x00\x01\x01\x2c\x00\x0d0123456789abc\x12\x34\x00\x00\x00\x00")
)

func counts(n ...uint16) (c [4]uint16) { copy(c[:], n); return c }

func TestParse(t *testing.T) {
	long := bytes.Repeat([]byte("\x3f"+string(bytes.Repeat([]byte{'a'}, 63))), 4)
	many := bytes.Repeat([]byte("\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00"), 17)
	tests := []struct {
		name string
		msg  []byte
		want wire.Malformed
	}{
		{"plain", message(0x0100, counts(1), question), 0},
		{"edns", message(0, counts(1, 0, 0, 1), question, opt), 0},
		{"octets after the last record are ignored", message(0, counts(1), question, []byte("junk")), 0},
		{"OPT beyond the count is ignored", message(0, counts(1), question, opt), 0},
		{"records of other sections are ignored", message(0, counts(1, 1, 0, 1), question, []byte("\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00"), opt), 0},
		{"cookie without question", message(0, counts(0, 0, 0, 1), optCook), 0},
		{"tsig", message(0, counts(1, 0, 0, 1), question, tsigRR), 0},
		{"response", message(0x8000, counts(1), question), wire.IsResponse},
		{"no question", message(0, counts(0)), wire.QuestionCount},
		{"two questions", message(0, counts(2), question, question), wire.QuestionCount},
		{"65535 questions", message(0, counts(65535), question), wire.QuestionCount},
		{"pointer in the question", message(0, counts(1), []byte("\xc0\x0c\x00\x01\x00\x01")), wire.BadLabel},
		{"label type 01", message(0, counts(1), []byte("\x41a\x00\x00\x01\x00\x01")), wire.BadLabel},
		{"name of 257 octets", message(0, counts(1), long, []byte("\x00\x00\x01\x00\x01")), wire.LongName},
		{"name cut off", message(0, counts(1), []byte("\x03ww")), wire.ShortName},
		{"question cut off", message(0, counts(1), question[:len(question)-1]), wire.ShortQuestion},
		{"additional record missing", message(0, counts(1, 0, 0, 1), question), wire.ShortRecord},
		{"OPT twice", message(0, counts(1, 0, 0, 2), question, opt, opt), wire.BadOPT},
		{"OPT in the answer section", message(0, counts(1, 1), question, opt), wire.BadOPT},
		{"OPT with an owner", message(0, counts(1, 0, 0, 1), question, []byte("\x01a"), opt), wire.BadOPT},
		{"TSIG twice", message(0, counts(1, 0, 0, 2), question, tsigRR, tsigRR), wire.BadTSIG},
		{"TSIG before OPT", message(0, counts(1, 0, 0, 2), question, tsigRR, opt), wire.BadTSIG},
		{"seventeen records", message(0, counts(1, 17), question, many), wire.TooManyRecords},
		{"65535 records", message(0, counts(1, 65535, 65535, 65535), question, many), wire.TooManyRecords},
	}
	for _, test := range tests {
		var q wire.Query
		if got := q.Parse(test.msg); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// name returns a name of so many octets, the root's included, in labels as long as can be.
func name(octets int) []byte {
	var b []byte
	for rest := octets - 1; rest > 0; {
		n := min(rest, 64)
		if rest-n == 1 {
			n-- // no label has no octets
		}
		b = append(append(b, byte(n-1)), bytes.Repeat([]byte{'a'}, n-1)...)
		rest -= n
	}
	return append(b, 0)
}

// What a bound allows is taken, and one more is not.
func TestParseBounds(t *testing.T) {
	typeClass := []byte("\x00\x01\x00\x01")
	record := func(owner []byte, data int) []byte { // of TXT
		b := append(bytes.Clone(owner), "\x00\x10\x00\x01\x00\x00\x00\x00"...)
		return append(binary.BigEndian.AppendUint16(b, uint16(data)), make([]byte, data)...)
	}
	many := func(n int) []byte { return bytes.Repeat(record([]byte{0}, 0), n) }
	pointer := func(at int) []byte { return binary.BigEndian.AppendUint16(nil, 0xC000|uint16(at)) }
	behind := wire.HeaderLen + len(question) // where the record after the question begins
	label := func(n int) []byte { return append([]byte{byte(n)}, bytes.Repeat([]byte{'a'}, n)...) }
	tests := []struct {
		name string
		msg  []byte
		want wire.Malformed
	}{
		{"a header without one octet", message(0, counts(0))[:wire.HeaderLen-1], wire.ShortHeader},
		{"a response of all ones", bytes.Repeat([]byte{255}, 12), wire.IsResponse},
		{"a name of 255 octets", message(0, counts(1), name(255), typeClass), 0},
		{"a name of 256 octets", message(0, counts(1), name(256), typeClass), wire.LongName},
		{"a label of 63 octets", message(0, counts(1), label(63), []byte{0}, typeClass), 0},
		{"a label of 64 octets", message(0, counts(1), label(64), []byte{0}, typeClass), wire.BadLabel},
		{"the root", message(0, counts(1), []byte{0}, typeClass), 0},
		{"a name without an end", message(0, counts(1), label(63)), wire.ShortName},
		{"no type and class", message(0, counts(1), []byte{0}), wire.ShortQuestion},

		{"an owner of 255 octets", message(0, counts(1, 1), question, record(name(255), 0)), 0},
		{"an owner of 256 octets", message(0, counts(1, 1), question, record(name(256), 0)), wire.ShortRecord},
		{"an owner with a label of 63 octets", message(0, counts(1, 1), question, record(append(label(63), 0), 0)), 0},
		{"an owner with a label of 64 octets", message(0, counts(1, 1), question, record(append(label(64), 0), 0)), wire.ShortRecord},
		{"an owner with a label of type 10", message(0, counts(1, 1), question, record([]byte("\x80a\x00"), 0)), wire.ShortRecord},
		{"an owner in the question", message(0, counts(1, 1), question, record(pointer(wire.HeaderLen), 0)), 0},
		{"an owner that goes on in the question", message(0, counts(1, 1), question, record(append(label(3), pointer(wire.HeaderLen)...), 0)), 0},
		{"an owner right before itself", message(0, counts(1, 1), question, record(pointer(behind-1), 0)), 0},
		{"an owner that points to itself", message(0, counts(1, 1), question, record(pointer(behind), 0)), wire.ShortRecord},
		{"an owner that points to its own labels", message(0, counts(1, 1), question, record(append(label(3), pointer(behind)...), 0)), wire.ShortRecord},
		{"an owner that points forward", message(0, counts(1, 1), question, record(pointer(behind+2), 4)), wire.ShortRecord},
		{"an owner that points far forward", message(0, counts(1, 1), question, record(pointer(wire.MaxPointer), 0)), wire.ShortRecord},
		{"half a pointer", message(0, counts(1, 1), question, []byte{0xC0}), wire.ShortRecord},
		{"an owner without an end", message(0, counts(1, 1), question, label(9)), wire.ShortRecord},
		{"a record without its length", message(0, counts(1, 1), question, record([]byte{0}, 0)[:10]), wire.ShortRecord},
		{"data to the last octet", message(0, counts(1, 1), question, record([]byte{0}, 300)), 0},
		{"data beyond the last octet", message(0, counts(1, 1), question, record([]byte{0}, 300)[:310]), wire.ShortRecord},

		{"sixteen records", message(0, counts(1, 16), question, many(16)), 0},
		{"sixteen records in three sections", message(0, counts(1, 5, 5, 6), question, many(16)), 0},
		{"seventeen records in three sections", message(0, counts(1, 5, 6, 6), question, many(17)), wire.TooManyRecords},
		{"seventeen records of an update", message(uint16(wire.OpcodeUpdate)<<11, counts(1, 0, 17), question, many(17)), 0},

		{"OPT with one octet too few", message(0, counts(1, 0, 0, 1), question, optCook[:len(optCook)-1]), wire.ShortRecord},
		{"OPT in the authority section", message(0, counts(1, 0, 1), question, opt), wire.BadOPT},
		{"OPT behind an answer", message(0, counts(1, 1, 0, 1), question, many(1), opt), 0},
		{"an option without its length", message(0, counts(1, 0, 0, 1), question, []byte("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x03\x00\x0a\x00")), wire.BadOPT},
		{"an option of no octets", message(0, counts(1, 0, 0, 1), question, []byte("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x03\x00\x00")), 0},
		{"an option longer than OPT", message(0, counts(1, 0, 0, 1), question, []byte("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x05\x00\x0a\x00\x02x")), wire.BadOPT},
		{"no question and no cookie", message(0, counts(0, 0, 0, 1), opt), wire.QuestionCount},

		{"TSIG in the answer section", message(0, counts(1, 1), question, tsigRR), wire.BadTSIG},
		{"TSIG in the authority section", message(0, counts(1, 0, 1), question, tsigRR), wire.BadTSIG},
		{"TSIG before the last", message(0, counts(1, 0, 0, 2), question, tsigRR, many(1)), wire.BadTSIG},
		{"TSIG behind OPT", message(0, counts(1, 0, 0, 2), question, opt, tsigRR), 0},
		{"TSIG of class IN", message(0, counts(1, 0, 0, 1), question, bytes.Replace(tsigRR, []byte("\xfa\x00\xff"), []byte("\xfa\x00\x01"), 1)), wire.BadTSIG},
		{"TSIG of a key that goes on in the question", message(0, counts(1, 0, 0, 1), question, append([]byte("\x03key\xc0\x0c"), tsigRR[5:]...)), wire.BadTSIG},
	}
	for _, test := range tests {
		var q wire.Query
		if got := q.Parse(test.msg); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// tsigOf returns a TSIG record with this algorithm, and a MAC and other data of so many
// octets; the lengths that it claims are wrong by lie.
func tsigOf(algorithm []byte, mac, other, lie int) []byte {
	data := append(bytes.Clone(algorithm), 0, 0, 0, 0, 0, 1, 1, 0x2c)
	data = append(binary.BigEndian.AppendUint16(data, uint16(mac)), make([]byte, mac)...)
	data = append(data, 0x12, 0x34, 0, 0)
	data = append(binary.BigEndian.AppendUint16(data, uint16(other+lie)), make([]byte, other)...)
	rr := []byte("\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00")
	return append(binary.BigEndian.AppendUint16(rr, uint16(len(data))), data...)
}

// A TSIG record is whole, and its MAC no shorter than ten octets (RFC 8945, section
// 5.2.2.1); what an answer to it will need is known.
func TestParseTSIG(t *testing.T) {
	sha256 := []byte("\x0bhmac-sha256\x00")
	for _, s := range []struct {
		name string
		rr   []byte
		good bool
	}{
		{"32 octets", tsigOf(sha256, 32, 0, 0), true},
		{"ten octets", tsigOf(sha256, 10, 0, 0), true},
		{"nine octets", tsigOf(sha256, 9, 0, 0), false},
		{"none", tsigOf(sha256, 0, 0, 0), false},
		{"other data", tsigOf(sha256, 32, 6, 0), true},
		{"less other data than it says", tsigOf(sha256, 32, 6, 1), false},
		{"more other data than it says", tsigOf(sha256, 32, 6, -1), false},
		{"a long algorithm", tsigOf(name(255), 16, 0, 0), true},
		{"an algorithm that is too long", tsigOf(name(256), 16, 0, 0), false},
		{"an algorithm that is a pointer", tsigOf([]byte{0xC0, 0x0C}, 16, 0, 0), false},
	} {
		var q wire.Query
		msg := message(0, counts(1, 0, 0, 1), question, s.rr)
		switch bad := q.Parse(msg); {
		case s.good && bad != 0 || !s.good && bad != wire.BadTSIG:
			t.Errorf("%s: %v", s.name, bad)
		case s.good && !bytes.Equal(q.TSIG, s.rr):
			t.Errorf("%s: %x is read as %x", s.name, s.rr, q.TSIG)
		case s.good:
			_, n, _ := wire.AppendExpanded(nil, s.rr, 15)
			if got, want := q.TSIGErrorLen(), 15+n+16; got != want {
				t.Errorf("%s: an answer needs %d octets, want %d", s.name, got, want)
			}
		}
		if !s.good {
			continue
		}
		// With less data it is not whole.
		for i := range s.rr[15:] {
			cut := bytes.Clone(s.rr[:15+i])
			binary.BigEndian.PutUint16(cut[13:], uint16(i))
			if bad := q.Parse(message(0, counts(1, 0, 0, 1), question, cut)); bad != wire.BadTSIG {
				t.Fatalf("%s, without its last %d octets: %v", s.name, len(s.rr)-15-i, bad)
			}
		}
	}
}

// The options that are known are found, the first of each, in the first sixteen.
func TestParseOptions(t *testing.T) {
	option := func(code uint16, data string) []byte {
		b := binary.BigEndian.AppendUint16(nil, code)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
	}
	parse := func(options ...[]byte) *wire.Query {
		rdata := bytes.Join(options, nil)
		rr := binary.BigEndian.AppendUint16([]byte("\x00\x00\x29\x02\x01\x00\x00\x80\x00"), uint16(len(rdata)))
		q := &wire.Query{}
		if bad := q.Parse(message(0, counts(1, 0, 0, 1), question, append(rr, rdata...))); bad != 0 {
			t.Fatalf("%x: %v", rdata, bad)
		}
		return q
	}
	q := parse()
	if !q.EDNS || !q.DO || q.Version != 0 || q.UDPSize != 513 || q.NSID || q.Expire || q.Keepalive || q.Padding || q.Cookie != nil {
		t.Errorf("no options: %+v", q)
	}
	for _, code := range []uint16{wire.OptionNSID, wire.OptionExpire, wire.OptionKeepalive, wire.OptionPadding} {
		q := parse(option(8, "other"), option(code, ""))
		if q.NSID != (code == wire.OptionNSID) || q.Expire != (code == wire.OptionExpire) || q.Keepalive != (code == wire.OptionKeepalive) ||
			q.Padding != (code == wire.OptionPadding) || q.Cookie != nil {
			t.Errorf("option %d: %+v", code, q)
		}
	}
	if q := parse(option(wire.OptionCookie, "first"), option(wire.OptionCookie, "second")); string(q.Cookie) != "first" || cap(q.Cookie) != 5 {
		t.Errorf("two cookies: %q with room for %d", q.Cookie, cap(q.Cookie))
	}
	if q := parse(option(wire.OptionCookie, ""), option(wire.OptionCookie, "second")); q.Cookie == nil || len(q.Cookie) != 0 {
		t.Errorf("an empty cookie and another: %q", q.Cookie)
	}
	for n, found := range map[int]bool{15: true, 16: false} {
		q := parse(bytes.Repeat(option(8, "x"), n), option(wire.OptionNSID, ""))
		if q.NSID != found {
			t.Errorf("behind %d options: found %v", n, q.NSID)
		}
	}
	for n := range 64 {
		q := &wire.Query{Cookie: make([]byte, n)}
		if want := n == 8 || n >= 16 && n <= 40; q.CookieLenOK() != want {
			t.Errorf("a cookie of %d octets: %v", n, q.CookieLenOK())
		}
	}
}

// What was read of one message is not found in the next.
func TestParseStartsAnew(t *testing.T) {
	options := []byte("\x00\x03\x00\x00\x00\x09\x00\x00\x00\x0b\x00\x00\x00\x0c\x00\x00\x00\x0a\x00\x0812345678")
	full := append([]byte("\x00\x00\x29\x04\xd0\x00\x01\x80\x00"), 0, byte(len(options)))
	all := message(0x2000, counts(1, 0, 0, 2), question, append(full, options...), tsigRR)
	for _, msg := range [][]byte{message(0, counts(1), []byte{0}, []byte{0, 2, 0, 3}), message(0, counts(0)), message(0, counts(0))[:11], {}} {
		var q, fresh wire.Query
		if bad := q.Parse(all); bad != 0 || q.TSIG == nil || !q.NSID || !q.Expire || !q.Keepalive || !q.Padding || q.Cookie == nil || q.Version != 1 {
			t.Fatalf("%v: %+v", bad, q)
		}
		bad, want := q.Parse(msg), fresh.Parse(msg)
		if bad != want || q.HasQuestion != fresh.HasQuestion || q.QuestionLen() != fresh.QuestionLen() || q.EDNS || q.DO || q.NSID || q.Expire || q.Keepalive ||
			q.Padding || q.Version != 0 || q.UDPSize != 0 || q.Cookie != nil || q.TSIG != nil || q.Name.Labels != fresh.Name.Labels || q.Name.Len() != fresh.Name.Len() {
			t.Errorf("%x after a full one: %v, %+v", msg, bad, q)
		}
	}
	// A cookie may be asked for without a question, and then nothing is asked.
	var q wire.Query
	if bad := q.Parse(all); bad != 0 {
		t.Fatal(bad)
	}
	if bad := q.Parse(message(0, counts(0, 0, 0, 1), optCook)); bad != 0 || q.Type != 0 || q.Class != 0 || q.HasQuestion || len(q.Question()) != 0 {
		t.Errorf("%v: type %v, class %v, question %x", bad, q.Type, q.Class, q.Question())
	}
}

func TestParseResult(t *testing.T) {
	var q wire.Query
	msg := message(0x0110, counts(1, 0, 0, 1), question, optCook)
	if bad := q.Parse(msg); bad != 0 {
		t.Fatal(bad)
	}
	if got, want := string(q.Name.Name()), "\x03www\x07example\x04test\x00"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if got, want := string(q.Question()), string(question); got != want {
		t.Errorf("question %q, want %q", got, want)
	}
	if q.ID != 0x1234 || q.Type != wire.TypeA || q.Class != wire.ClassIN || q.Name.Labels != 3 || q.Name.Start(1) != 4 {
		t.Errorf("id %x type %v class %v labels %d second at %d", q.ID, q.Type, q.Class, q.Name.Labels, q.Name.Start(1))
	}
	if !q.EDNS || q.UDPSize != 1232 || q.DO || string(q.Cookie) != "12345678" {
		t.Errorf("edns %v size %d do %v cookie %q", q.EDNS, q.UDPSize, q.DO, q.Cookie)
	}
	if bad := q.Parse(message(0, counts(1, 0, 0, 1), question, optV1)); bad != 0 || q.Version != 1 || q.Cookie != nil {
		t.Errorf("second parse: %v, version %d, cookie %q", bad, q.Version, q.Cookie)
	}
}

// Every proper prefix of a message that is full to its last octet fails.
func TestParsePrefixes(t *testing.T) {
	for _, msg := range [][]byte{
		message(0, counts(1, 0, 0, 1), question, optCook),
		message(0, counts(1, 0, 0, 2), question, opt, tsigRR),
	} {
		var q wire.Query
		if bad := q.Parse(msg); bad != 0 {
			t.Fatal(bad)
		}
		for n := range msg {
			if q.Parse(msg[:n:n]) == 0 {
				t.Errorf("prefix of %d octets of %x parses", n, msg)
			}
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var q wire.Query
	msg := message(0, counts(1, 0, 0, 1), question, optCook)
	var err error
	if n := testing.AllocsPerRun(100, func() {
		if bad := q.Parse(msg); bad != 0 {
			err = bad
		}
	}); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

func TestMalformedIsAnError(t *testing.T) {
	var err error = wire.BadPointer
	if !errors.Is(err, wire.BadPointer) || errors.Is(err, wire.BadLabel) {
		t.Error("errors.Is does not tell faults apart")
	}
	for m := range wire.MalformedCount {
		if wire.Malformed(m).String() == "" || wire.Malformed(m).String() == "unknown fault" {
			t.Errorf("fault %d has no text", m)
		}
	}
}

// Whatever comes, Parse ends without a panic, and what it calls good can be
// repeated: the question it read parses to the same.
func FuzzParse(f *testing.F) {
	f.Add(message(0, counts(1), question))
	f.Add(message(0, counts(1, 0, 0, 1), question, optCook))
	f.Add(message(0, counts(1, 0, 0, 2), question, opt, tsigRR))
	f.Add(message(0, counts(0, 0, 0, 1), optCook))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q, again wire.Query
		bad := q.Parse(msg)
		if q.HasQuestion {
			copied := message(0, counts(1), q.Question())
			if bad := again.Parse(copied); bad != 0 || !bytes.Equal(again.Name.Name(), q.Name.Name()) || again.Type != q.Type {
				t.Fatalf("question %x reads differently the second time: %v", q.Question(), bad)
			}
			if !wire.EqualFold(q.Name.Name(), q.Question()[:q.Name.Len()]) {
				t.Fatalf("lower-case name %x is not %x", q.Name.Name(), q.Question())
			}
		}
		if bad == 0 && q.Opcode != wire.OpcodeUpdate && !q.HasQuestion && q.Cookie == nil {
			t.Fatal("neither question nor cookie, and no fault")
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var q wire.Query
	msg := message(0, counts(1, 0, 0, 1), question, opt)
	b.ReportAllocs()
	for b.Loop() {
		if bad := q.Parse(msg); bad != 0 {
			b.Fatal(bad)
		}
	}
}

// TestLongUpdates has updates of as many records as a message holds. Their signature is
// behind all of them, and is found; it is nowhere else.
func TestLongUpdates(t *testing.T) {
	opt := "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	const record = "\xc0\x0c\x00\x01\x00\xff\x00\x00\x00\x00\x00\x00" // no more than a name by pointer
	question := []byte("\x04test\x00\x00\x06\x00\x01")
	tsigRR := tsigOf([]byte("\x0bhmac-sha256\x00"), 32, 0, 0)
	most := (wire.MaxMessage - wire.HeaderLen - len(question) - len(opt) - len(tsigRR)) / len(record)
	for _, n := range []int{0, 1, 15, 16, 17, 50, 1000, most} {
		for _, prerequisites := range []int{0, n / 2, n} {
			m := message(uint16(wire.OpcodeUpdate)<<11, counts(1, uint16(prerequisites), uint16(n-prerequisites), 2), question,
				bytes.Repeat([]byte(record), n), []byte(opt), tsigRR)
			var q wire.Query
			if bad := q.Parse(m); bad != 0 || !q.EDNS || !bytes.Equal(q.TSIG, tsigRR) {
				t.Errorf("%d records, %d of them prerequisites, in %d octets: %v, signature %x", n, prerequisites, len(m), bad, q.TSIG)
			}
			cut := message(uint16(wire.OpcodeUpdate)<<11, counts(1, uint16(prerequisites), uint16(n-prerequisites), 3), question,
				bytes.Repeat([]byte(record), n), []byte(opt), tsigRR)
			if bad := q.Parse(cut); bad == 0 {
				t.Errorf("%d records, and a count of one more behind the signature: taken", n)
			}
		}
	}
	// What does not end is not walked further than the message.
	var q wire.Query
	if bad := q.Parse(message(uint16(wire.OpcodeUpdate)<<11, counts(1, 65535, 65535, 65535), question, bytes.Repeat([]byte(record), most))); bad != wire.ShortRecord {
		t.Errorf("196,605 records: %v", bad)
	}
}
