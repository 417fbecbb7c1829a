package exchange_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"port53/internal/exchange"
	"port53/internal/wire"
)

var name = []byte("\x03www\x04Test\x00")

// query returns a question with ID 0x1234 and flags.
func query(flags uint16) []byte { return wire.AppendQuery(nil, 0x1234, flags, name, wire.TypeA) }

// reply returns what answers a query, changed by f.
func reply(q []byte, f func(m []byte) []byte) []byte {
	m := bytes.Clone(q)
	m[2] |= 0x80
	if f != nil {
		m = f(m)
	}
	return m
}

// headless cuts the question off and sets the response code.
func headless(rcode byte) func(m []byte) []byte {
	return func(m []byte) []byte {
		m = m[:wire.HeaderLen]
		m[3], m[5] = m[3]&0xF0|rcode, 0
		return m
	}
}

func TestMatch(t *testing.T) {
	q := query(wire.FlagRD)
	notify, update := query(uint16(wire.OpcodeNotify)<<11), query(uint16(wire.OpcodeUpdate)<<11)
	none := headless(0)(query(0)) // a header alone
	set := func(at int, b byte) func(m []byte) []byte {
		return func(m []byte) []byte { m[at] = b; return m }
	}
	same := func(m []byte) []byte { return m }
	fold := func(m []byte) []byte { m[13] ^= 0x20; return m }
	otherID := func(f func([]byte) []byte) func(m []byte) []byte {
		return func(m []byte) []byte { m = f(m); m[1]++; return m }
	}
	for _, c := range []struct {
		what  string
		query []byte
		spoil func(m []byte) []byte
		want  exchange.Fit
	}{
		{"the reply", q, same, exchange.Exact},
		{"with records behind", q, func(m []byte) []byte { m[7] = 1; return append(m, 0xC0, 12) }, exchange.Exact},
		{"another case", q, fold, exchange.CaseDiffers},
		{"a query", q, set(2, 1), exchange.Unrelated},
		{"another opcode", q, set(2, 0x80|byte(wire.OpcodeNotify)<<3), exchange.Unrelated},
		{"another ID", q, otherID(same), exchange.NearMiss},
		{"another ID and case", q, otherID(fold), exchange.NearMiss},
		{"another name", q, set(14, 'x'), exchange.NearMiss},
		{"another type", q, set(len(q)-3, byte(wire.TypeAAAA)), exchange.NearMiss},
		{"another class", q, set(len(q)-1, byte(wire.ClassCH)), exchange.NearMiss},
		{"another ID and name", q, otherID(set(14, 'x')), exchange.Unrelated},
		{"two questions", q, set(5, 2), exchange.NearMiss},
		{"half a question", q, func(m []byte) []byte { return m[:len(m)-1] }, exchange.NearMiss},
		{"no question, no error", q, headless(0), exchange.NearMiss},
		{"no question, an error", q, headless(byte(wire.FormErr)), exchange.NoQuestion},
		{"no question, an error, another ID", q, otherID(headless(byte(wire.FormErr))), exchange.Unrelated},
		{"no question, BADVERS", q, func(m []byte) []byte {
			m = wire.AppendOPT(headless(0)(m), 1232, false, nil)
			m[wire.HeaderLen+5], m[11] = byte(wire.BadVers>>4), 1
			return m
		}, exchange.NoQuestion},
		{"no question, an OPT record without an error", q, func(m []byte) []byte {
			m = wire.AppendOPT(headless(0)(m), 1232, false, nil)
			m[11] = 1
			return m
		}, exchange.NearMiss},
		{"of a NOTIFY", notify, same, exchange.Exact},
		{"of a NOTIFY, as of a query", notify, set(2, 0x80), exchange.Unrelated},
		{"of a NOTIFY, no question", notify, headless(0), exchange.NearMiss},
		{"of an update", update, same, exchange.Exact},
		{"of an update, no zone", update, headless(0), exchange.NoQuestion},
		{"of an update, no zone, another ID", update, otherID(headless(0)), exchange.Unrelated},
		{"of a header", none, same, exchange.Exact},
		{"of a header, another ID", none, otherID(same), exchange.NearMiss},
		{"of a header, with a question", none, func(m []byte) []byte { m[5] = 1; return append(m, q[wire.HeaderLen:]...) }, exchange.NearMiss},
	} {
		if got := exchange.Match(c.query, reply(c.query, c.spoil)); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	// Nothing that is shorter than the question fits.
	for n := range len(q) {
		if got := exchange.Match(q, reply(q, nil)[:n]); got >= exchange.NoQuestion {
			t.Errorf("%d octets fit: %d", n, got)
		}
	}
}

// TestContinues has what may follow the first message of a transfer.
func TestContinues(t *testing.T) {
	q := query(0)
	for _, c := range []struct {
		what  string
		spoil func(m []byte) []byte
		want  bool
	}{
		{"the question again", nil, true},
		{"no question", headless(0), true},
		{"an error without a question", headless(byte(wire.ServFail)), true},
		{"another question", func(m []byte) []byte { m[14] = 'x'; return m }, false},
		{"another ID", func(m []byte) []byte { m[0]++; return m }, false},
		{"another ID, no question", func(m []byte) []byte { m[0]++; return headless(0)(m) }, false},
		{"a query", func(m []byte) []byte { m[2] = 0; return m }, false},
		{"two questions", func(m []byte) []byte { m[5] = 2; return m }, false},
		{"less than a header", func(m []byte) []byte { return m[:11] }, false},
	} {
		if got := exchange.Continues(q, reply(q, c.spoil)); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// FuzzMatch compares anything with queries of some kinds. What fits has the ID, and what
// is exact has the question.
func FuzzMatch(f *testing.F) {
	q := query(0)
	f.Add(reply(q, nil))
	f.Add(reply(q, headless(5)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, q := range [][]byte{q, query(uint16(wire.OpcodeUpdate) << 11), headless(0)(query(0)), q[:len(q)-3]} {
			fit := exchange.Match(q, msg)
			if fit >= exchange.NoQuestion && (binary.BigEndian.Uint16(msg) != 0x1234 || msg[2]&0x80 == 0) {
				t.Errorf("%x fits %x", msg, q)
			}
			if fit == exchange.Exact && !bytes.HasPrefix(msg[wire.HeaderLen:], q[wire.HeaderLen:]) {
				t.Errorf("%x fits %x exactly", msg, q)
			}
			exchange.Continues(q, msg)
		}
	})
}
