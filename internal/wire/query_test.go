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
