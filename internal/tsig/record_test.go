package tsig_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/tsig"
	"port53/internal/wire"
)

// A record is a TSIG record as RFC 8945, section 4.2 lays it out, and what is signed with it:
// read from the RFC once more, so that a fault which signing and verifying share is seen.
type record struct {
	name, algorithm []byte
	class           uint64
	ttl             uint64
	signed          uint64
	fudge           uint64
	mac             []byte
	id, err         uint64
	other           []byte
}

// fresh returns the record of a message that is signed now with key(1), but for its code.
func fresh() record {
	return record{
		name: []byte("\x03xfr\x04test\x00"), algorithm: []byte("\x0bhmac-sha256\x00"), class: 255,
		signed: uint64(now.Unix()), fudge: 300, id: 4711,
	}
}

// number returns v in so many octets.
func number[T int | uint64](octets int, v T) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(v))[8-octets:]
}

// timers and variables are what is signed beside a message (RFC 8945, sections 5.3.1 and
// 4.3.3).
func (r *record) timers() []byte { return slices.Concat(number(6, r.signed), number(2, r.fudge)) }

func (r *record) variables() []byte {
	return slices.Concat(bytes.ToLower(r.name), number(2, 255), number(4, 0), bytes.ToLower(r.algorithm),
		r.timers(), number(2, r.err), number(2, len(r.other)), r.other)
}

func (r *record) data() []byte {
	return slices.Concat(r.algorithm, r.timers(), number(2, len(r.mac)), r.mac, number(2, r.id), number(2, r.err), number(2, len(r.other)), r.other)
}

// on returns a message with the record as its last.
func (r *record) on(msg []byte) []byte {
	return additional(msg, r.name, 250, r.class, r.ttl, r.data())
}

// additional returns a message with one record more.
func additional(msg, name []byte, typ, class, ttl uint64, data []byte) []byte {
	msg = slices.Concat(msg, name, number(2, typ), number(2, class), number(4, ttl), number(2, len(data)), data)
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	return msg
}

// request signs a request.
func (r record) request(msg []byte) []byte {
	r.mac = sum(msg, r.variables())
	return r.on(msg)
}

// reply signs a message that follows one with the code prior, and returns its own.
func (r record) reply(prior []byte, msg []byte, beside []byte) (signed, mac []byte) {
	r.mac = sum(number(2, len(prior)), prior, msg, beside)
	return r.on(msg), r.mac
}

// sum returns the code of parts with the secret of key(1).
func sum(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key(1).Secret)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// TestForm compares each octet that is sent with what the RFC says.
func TestForm(t *testing.T) {
	k := key(1)
	for _, at := range []time.Time{now, time.Unix(5<<32+7, 0)} { // the second after 32 bits of time
		r := fresh()
		r.signed = uint64(at.Unix())
		want := r.request(query())
		signed, v := tsig.SignRequest(&k, query(), at)
		if !bytes.Equal(signed, want) {
			t.Fatalf("the request is\n%x, want\n%x", signed, want)
		}
		c, rcode := tsig.Verify(tsig.NewRing(k), want, at)
		if rcode != wire.NoError {
			t.Fatal(rcode)
		}
		s, prior := c.Stream(), sum(query(), r.variables())
		for i := range 3 {
			beside := r.timers()
			if i == 0 {
				beside = r.variables()
			}
			want, prior = r.reply(prior, reply(4711), beside)
			if got := s.Sign(reply(4711), at); !bytes.Equal(got, want) {
				t.Fatalf("message %d is\n%x, want\n%x", i, got, want)
			} else if err := v.Verify(got, at); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
	}
	// What is signed is in lower case, whatever is sent (RFC 8945, section 4.3.3).
	r := fresh()
	r.name, r.algorithm = []byte("\x03XFR\x04Test\x00"), []byte("\x0bHMAC-sha256\x00")
	if c, rcode := tsig.Verify(tsig.NewRing(k), r.request(query()), now); rcode != wire.NoError || c == nil {
		t.Errorf("in capital letters: %v", rcode)
	}
}

// TestErrorReplies compares each octet of the replies to requests that are refused: those
// for the key or the signature are not signed, the others are (RFC 8945, sections 5.2.1 to
// 5.2.4 and 5.3.2).
func TestErrorReplies(t *testing.T) {
	k, r := key(1), fresh()
	good := r.request(query())
	mac := sum(query(), r.variables())
	truncated := r
	truncated.mac = mac[:16]
	badSig := r
	badSig.mac = make([]byte, 32)
	for _, c := range []struct {
		what     string
		ring     *tsig.Ring
		msg, mac []byte
		late     uint64
		err      uint64
		key      bool // the context says whose it is
		signed   bool
	}{
		{"BADSIG", tsig.NewRing(k), badSig.on(query()), badSig.mac, 7, 16, false, false},
		{"BADKEY", nil, good, mac, 7, 17, false, false},
		{"BADTIME", tsig.NewRing(k), good, mac, 301, 18, true, true},
		{"BADTRUNC", tsig.NewRing(k), truncated.on(query()), truncated.mac, 7, 22, false, true},
	} {
		at := now.Add(time.Duration(c.late) * time.Second)
		context, rcode := tsig.Verify(c.ring, c.msg, at)
		if rcode != wire.NotAuth || context == nil || uint64(context.Error) != c.err || (context.Key != nil) != c.key {
			t.Fatalf("%s: %v %+v", c.what, rcode, context)
		}
		want := r
		switch want.err = c.err; c.err {
		case 18:
			want.other = number(6, r.signed+c.late)
		case 22:
			want.signed += c.late
		}
		expected := want.on(reply(4711))
		if c.signed {
			expected, _ = want.reply(c.mac, reply(4711), want.variables())
		}
		got := context.Sign(reply(4711), at)
		if !bytes.Equal(got, expected) {
			t.Errorf("%s: the reply is\n%x, want\n%x", c.what, got, expected)
		}
		if added := len(got) - len(reply(4711)); added != context.Overhead() {
			t.Errorf("%s: %d octets, announced as %d", c.what, added, context.Overhead())
		}
	}
	context, _ := tsig.Verify(tsig.NewRing(k), good, now)
	context.Replayed()
	want := r
	want.err, want.other = 18, number(6, r.signed+1)
	expected, _ := want.reply(mac, reply(4711), want.variables())
	if got := context.Sign(reply(4711), now.Add(time.Second)); !bytes.Equal(got, expected) {
		t.Errorf("to a request that came before: the reply is\n%x, want\n%x", got, expected)
	}
}

// TestPlaces has messages without TSIG, with it in a wrong place, and with one that cannot
// be read. Each is read to its end, and not beyond.
func TestPlaces(t *testing.T) {
	q := query()
	ring := tsig.NewRing(key(1))
	data := fresh()
	data.mac = make([]byte, 32)
	answer := func(msg []byte) []byte {
		msg[7], msg[11] = msg[11], 0
		return msg
	}
	promising := func(msg []byte) []byte {
		msg[11]++
		return msg
	}
	named := func(name []byte) []byte {
		r := fresh()
		r.name = name
		return r.request(q)
	}
	with := func(change func(r *record)) []byte {
		r := fresh()
		change(&r)
		return r.request(q)
	}
	asked := func(name string) []byte {
		return slices.Concat([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, []byte(name), []byte{0, 6, 0, 1})
	}
	long := func(n byte) string { return string([]byte{n}) + strings.Repeat("x", int(n)) + "\x00" }
	opt := additional(q, []byte{0}, 41, 1232, 0, nil)
	pointed := additional(q, []byte{0xC0, 12}, 1, 1, 60, []byte{192, 0, 2, 1})
	for _, c := range []struct {
		what   string
		msg    []byte
		rcode  wire.Rcode
		signed bool
	}{
		{"a header alone", make([]byte, 12), wire.NoError, false},
		{"a question", q, wire.NoError, false},
		{"a record without data", opt, wire.NoError, false},
		{"a record with a compressed name", pointed, wire.NoError, false},
		{"a label of 63 octets", asked(long(63)), wire.NoError, false},
		{"a label of 64 octets", asked(long(64)), wire.FormErr, false},
		{"a label of 191 octets", asked(long(191)), wire.FormErr, false},
		{"signed, with records before", fresh().request(additional(opt, []byte{0xC0, 12}, 1, 1, 60, []byte{192, 0, 2, 1})), wire.NoError, true},
		{"records after it", additional(fresh().request(q), []byte{0}, 41, 1232, 0, nil), wire.FormErr, false},
		{"records announced after it", promising(fresh().request(q)), wire.FormErr, false},
		{"octets after it", append(fresh().request(q), 0), wire.FormErr, false},
		{"among the answers", answer(fresh().request(q)), wire.FormErr, false},
		{"a key's name that is compressed", named([]byte{0xC0, 12}), wire.FormErr, false},
		{"a key's name of 257 octets", named([]byte(strings.Repeat("\x01x", 128) + "\x00")), wire.FormErr, false},
		{"of class IN", with(func(r *record) { r.class = 1 }), wire.FormErr, false},
		{"with a TTL", with(func(r *record) { r.ttl = 1 }), wire.FormErr, false},
		{"an algorithm that is no name", with(func(r *record) { r.algorithm = []byte("\x40hmac-sha256\x00") }), wire.FormErr, false},
	} {
		context, rcode := tsig.Verify(ring, c.msg, now)
		if rcode != c.rcode || (context != nil) != c.signed {
			t.Errorf("%s: %v %+v", c.what, rcode, context)
		}
	}
	for _, msg := range [][]byte{q, opt, pointed} {
		for n := range msg {
			if _, rcode := tsig.Verify(ring, msg[:n], now); rcode != wire.FormErr {
				t.Errorf("%d octets of %x: %v", n, msg, rcode)
			}
		}
	}
	// The record's data, cut, and with lengths within it that are wrong.
	whole := data.data()
	for n := range whole {
		if _, rcode := tsig.Verify(ring, additional(q, data.name, 250, 255, 0, whole[:n]), now); rcode != wire.FormErr {
			t.Errorf("%d octets of the data: %v", n, rcode)
		}
	}
	size := len(data.algorithm) + 8
	for n := range 100 {
		changed := slices.Clone(whole)
		copy(changed[size:], number(2, n))
		if _, rcode := tsig.Verify(ring, additional(q, data.name, 250, 255, 0, changed), now); (rcode != wire.FormErr) != (n == 32) {
			t.Errorf("a code of %d octets in the place of 32: %v", n, rcode)
		}
		changed = slices.Clone(whole)
		copy(changed[len(whole)-2:], number(2, n))
		if _, rcode := tsig.Verify(ring, additional(q, data.name, 250, 255, 0, changed), now); (rcode != wire.FormErr) != (n == 0) {
			t.Errorf("other data of %d octets in the place of none: %v", n, rcode)
		}
	}
}

// TestLengthsOfCodes has codes from the shortest to longer ones than there are (RFC 8945,
// section 5.2.2.1).
func TestLengthsOfCodes(t *testing.T) {
	r := fresh()
	full := append(sum(query(), r.variables()), make([]byte, 100)...)
	for _, c := range []struct {
		octets     int
		rcode      wire.Rcode
		err, other wire.Rcode // by the owner of the key, and where it is not known
	}{
		{9, wire.FormErr, 0, 0},
		{10, wire.NotAuth, wire.BadSig, wire.BadKey},
		{15, wire.NotAuth, wire.BadSig, wire.BadKey},
		{16, wire.NotAuth, wire.BadTrunc, wire.BadKey},
		{31, wire.NotAuth, wire.BadTrunc, wire.BadKey},
		{32, wire.NoError, 0, wire.BadKey},
		{33, wire.FormErr, 0, wire.BadKey},
		{100, wire.FormErr, 0, wire.BadKey},
	} {
		r.mac = full[:c.octets]
		context, rcode := tsig.Verify(tsig.NewRing(key(1)), r.on(query()), now)
		if rcode != c.rcode || context != nil && context.Error != c.err || (context == nil) != (rcode == wire.FormErr) {
			t.Errorf("%d octets: %v %+v", c.octets, rcode, context)
		}
		context, rcode = tsig.Verify(tsig.NewRing(), r.on(query()), now)
		if c.other == 0 {
			if context != nil || rcode != wire.FormErr {
				t.Errorf("%d octets, of an unknown key: %v %+v", c.octets, rcode, context)
			}
		} else if context == nil || context.Error != c.other || rcode != wire.NotAuth {
			t.Errorf("%d octets, of an unknown key: %v %+v", c.octets, rcode, context)
		}
	}
}

// TestClocks has both clocks apart, with the fudge of whoever signed: ours bounds that of a
// request (RFC 8945, sections 5.2.3 and 10).
func TestClocks(t *testing.T) {
	k := key(1)
	for _, c := range []struct {
		fudge          uint64
		apart          int64 // of the signer's clock, in seconds
		request, reply bool  // it is taken
	}{
		{300, 0, true, true},
		{300, 300, true, true},
		{300, -300, true, true},
		{300, 301, false, false},
		{300, -301, false, false},
		{10, 10, true, true},
		{10, -10, true, true},
		{10, 11, false, false},
		{10, -11, false, false},
		{0, 0, true, true},
		{0, 1, false, false},
		{3600, 300, true, true},
		{3600, 301, false, true},
		{3600, -301, false, true},
		{65535, 65535, false, true},
		{65535, 65536, false, false},
		{65535, 18446744074 - 1, false, false}, // as nanoseconds, less than a second beside 2^64
		{65535, 18446744074, false, false},
		{65535, 1<<48 - 1 - 1_790_000_000, false, false},
		{65535, -1_790_000_000, false, false},
	} {
		r := fresh()
		r.fudge, r.signed = c.fudge, uint64(now.Unix()+c.apart)
		context, rcode := tsig.Verify(tsig.NewRing(k), r.request(query()), now)
		want := wire.Rcode(0)
		if !c.request {
			want = wire.BadTime
		}
		if context == nil || context.Error != want || (rcode == wire.NoError) != c.request {
			t.Errorf("a request, fudge %d, %d s apart: %v %+v", c.fudge, c.apart, rcode, context)
		}
		asked, v := tsig.SignRequest(&k, query(), now)
		answer, _ := r.reply(asked[len(asked)-38:len(asked)-6], reply(4711), r.variables())
		if err := v.Verify(answer, now); (err == nil) != c.reply || err != nil && !errors.Is(err, tsig.ErrBadTime) {
			t.Errorf("a reply, fudge %d, %d s apart: %v", c.fudge, c.apart, err)
		}
	}
}

// asking signs a request and returns what verifies replies, with the code.
func asking() (v *tsig.Verifier, mac []byte) {
	k := key(1)
	asked, v := tsig.SignRequest(&k, query(), now)
	return v, asked[len(asked)-38 : len(asked)-6]
}

// TestRefusals has servers refuse a request. An error is believed without a signature where
// there can be none, and the person who asked is told what to do (RFC 8945, section 5.3.2).
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		what  string
		err   uint64
		other []byte
		mac   string // none, good, or bad
		want  error
		text  string
	}{
		{"an unknown key", 17, nil, "none", tsig.ErrRefused, "BADKEY: it does not know key xfr.test., or has it with another algorithm"},
		{"a wrong signature", 16, nil, "none", tsig.ErrRefused, "BADSIG: its secret is another"},
		{"an unknown key, by somebody else", 17, nil, "bad", tsig.ErrBadSig, ""},
		{"a wrong signature, by somebody else", 16, nil, "bad", tsig.ErrBadSig, ""},
		{"a wrong time, by anybody", 18, number(6, uint64(now.Unix()+400)), "none", tsig.ErrBadSig, ""},
		{"a short signature, by anybody", 22, nil, "none", tsig.ErrBadSig, ""},
		{"no error and no code", 0, nil, "none", tsig.ErrBadSig, ""},
		{"a wrong time", 18, number(6, uint64(now.Unix()+400)), "good", tsig.ErrRefused, "BADTIME: its clock differs from ours by 400 s"},
		{"a wrong time, long ago", 18, number(6, 5), "good", tsig.ErrRefused, "BADTIME: its clock differs from ours by -1789999995 s"},
		{"a wrong time, far ahead", 18, number(6, uint64(now.Unix()+7<<32)), "good", tsig.ErrRefused, "differs from ours by 30064771072 s"},
		{"a wrong time that is not said", 18, nil, "good", tsig.ErrRefused, "BADTIME: the clocks differ"},
		{"a short signature", 22, nil, "good", tsig.ErrRefused, "BADTRUNC: it wants a longer signature"},
		{"anything else", 5, nil, "good", tsig.ErrRefused, "TSIG error REFUSED"},
	} {
		v, mac := asking()
		r := fresh()
		r.err, r.other = c.err, c.other
		switch c.mac {
		case "bad":
			r.mac = make([]byte, 32)
		case "good":
			r.mac = sum(number(2, len(mac)), mac, reply(4711), r.variables())
		}
		if err := v.Verify(r.on(reply(4711)), now); !errors.Is(err, c.want) || !strings.HasSuffix(err.Error(), c.text) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestForeignNames has messages of a stream that name another key or algorithm than was
// asked with. From the second on, what is signed does not have these names.
func TestForeignNames(t *testing.T) {
	for what, change := range map[string]func(r *record){
		"key":       func(r *record) { r.name = []byte("\x03xfr\x05other\x00") },
		"algorithm": func(r *record) { r.algorithm = []byte("\x0bhmac-sha512\x00") },
	} {
		v, mac := asking()
		r := fresh()
		first, mac := r.reply(mac, reply(4711), r.variables())
		if err := v.Verify(first, now); err != nil {
			t.Fatal(err)
		}
		change(&r)
		second, _ := r.reply(mac, reply(4711), r.timers())
		if err := v.Verify(second, now); !errors.Is(err, tsig.ErrBadSig) {
			t.Errorf("another %s: %v", what, err)
		}
	}
}

// TestUnsignedBetween has messages that are not signed between two that are: the second
// signature covers them (RFC 8945, section 5.3.1).
func TestUnsignedBetween(t *testing.T) {
	r := fresh()
	for _, c := range []struct {
		what string
		send [][]byte // between the signatures
		want error
	}{
		{"as they were signed", [][]byte{reply(4711), query()}, nil},
		{"one is missing", [][]byte{reply(4711)}, tsig.ErrBadSig},
		{"one is another", [][]byte{reply(4711), reply(4712)}, tsig.ErrBadSig},
		{"in another order", [][]byte{query(), reply(4711)}, tsig.ErrBadSig},
	} {
		v, mac := asking()
		if v.Done() == nil {
			t.Error("it is done before anything came")
		}
		first, mac := r.reply(mac, reply(4711), r.variables())
		err := v.Verify(first, now)
		covering := r
		covering.mac = sum(number(2, len(mac)), mac, reply(4711), query(), reply(4711), r.timers())
		last := covering.on(reply(4711))
		for _, m := range c.send {
			err = errors.Join(err, v.Verify(m, now))
		}
		if err != nil || v.Done() == nil {
			t.Fatalf("%s: %v, done: %v", c.what, err, v.Done())
		}
		if err := v.Verify(last, now); !errors.Is(err, c.want) || (v.Done() == nil) != (c.want == nil) {
			t.Errorf("%s: %v, at the end: %v", c.what, err, v.Done())
		}
	}
	// What cannot be read is not a message without a signature.
	for later := range 2 {
		v, mac := asking()
		first, _ := r.reply(mac, reply(4711), r.variables())
		if later > 0 {
			if err := v.Verify(first, now); err != nil {
				t.Fatal(err)
			}
		}
		for what, msg := range map[string][]byte{"cut off": first[:len(first)-1], "longer": append(slices.Clone(first), 0), "without a header": first[:11]} {
			if err := v.Verify(msg, now); err == nil || errors.Is(err, tsig.ErrUnsigned) {
				t.Errorf("a message that is %s, %d before it: %v", what, later, err)
			}
		}
	}
}

// TestNames reads what people write of algorithms, and has rings find keys.
func TestNames(t *testing.T) {
	for text, want := range map[string]tsig.Algorithm{
		"hmac-sha224": tsig.HMACSHA224, "hmac-sha256": tsig.HMACSHA256, "HMAC-SHA384": tsig.HMACSHA384, "hmac-sha512.": tsig.HMACSHA512,
		"hmac-md5": 0, "": 0,
	} {
		a, ok := tsig.ParseAlgorithm(text)
		if a != want || ok != (want != 0) {
			t.Errorf("%q: %v %v", text, a, ok)
		}
		if ok && a.String() != strings.TrimSuffix(strings.ToLower(text), ".") {
			t.Errorf("%q: it says %q", text, a)
		}
	}
	if got := tsig.Algorithm(0).String(); got != "unknown" {
		t.Errorf("no algorithm: %q", got)
	}
	given := key(1)
	given.Name = []byte("\x03XFR\x04Test\x00")
	ring := tsig.NewRing(key(2), given)
	given.Secret[0] = 9 // a ring has its own
	k := ring.Key([]byte("\x03xfr\x04test\x00"))
	if k == nil || !bytes.Equal(k.Secret, key(1).Secret) || string(k.Name) != "\x03xfr\x04test\x00" {
		t.Errorf("the key is %+v", k)
	}
	if k := ring.Key([]byte("\x03xfr\x00")); k != nil {
		t.Errorf("another key is %+v", k)
	}
}
