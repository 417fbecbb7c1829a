package tsig_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"port53/internal/tsig"
	"port53/internal/wire"
)

var now = time.Unix(1_790_000_000, 0)

func key(secret byte) tsig.Key {
	return tsig.Key{Name: []byte("\x03xfr\x04test\x00"), Algorithm: tsig.HMACSHA256, Secret: bytes.Repeat([]byte{secret}, 32)}
}

func query() []byte {
	return wire.AppendQuery(nil, 4711, 0, []byte("\x07example\x00"), wire.TypeSOA)
}

func reply(id uint16) []byte {
	m := query()
	binary.BigEndian.PutUint16(m, id)
	m[2] |= 0x80
	return m
}

func TestRoundTrip(t *testing.T) {
	for a := tsig.HMACSHA256; a <= tsig.HMACSHA512; a++ {
		k := key(1)
		k.Algorithm = a
		signed, v := tsig.SignRequest(&k, query(), now)
		if got := len(signed) - len(query()); got != tsig.RequestOverhead(&k) {
			t.Errorf("%s: a signature of %d octets, not %d", a, got, tsig.RequestOverhead(&k))
		}
		c, rcode := tsig.Verify(tsig.NewRing(k), signed, now.Add(299*time.Second))
		if rcode != wire.NoError || c.Key == nil || c.Error != 0 {
			t.Fatalf("%s: %v %+v", a, rcode, c)
		}
		s := c.Stream()
		for i := range 3 {
			r := s.Sign(reply(4711), now)
			if len(r)-len(query()) > c.Overhead() || s.Overhead() != c.Overhead() {
				t.Errorf("%s: %d octets, said to be at most %d, and by the stream %d", a, len(r)-len(query()), c.Overhead(), s.Overhead())
			}
			if err := v.Verify(r, now); err != nil {
				t.Fatalf("%s: message %d: %v", a, i, err)
			}
		}
		if err := v.Done(); err != nil {
			t.Error(err)
		}
	}
}

// Every octet of a signed request counts, but for the ID, which forwarders change.
func TestEveryOctetCounts(t *testing.T) {
	k := key(1)
	signed, v := tsig.SignRequest(&k, query(), now)
	ring := tsig.NewRing(k)
	for i := range signed {
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		c, rcode := tsig.Verify(ring, bad, now)
		accepted := rcode == wire.NoError && c != nil
		if accepted != (i < 2) {
			t.Errorf("octet %d changed: %v %+v", i, rcode, c)
		}
	}
	c, _ := tsig.Verify(ring, signed, now)
	good := c.Sign(reply(4711), now)
	for i := 2; i < len(good); i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		w := *v
		if w.Verify(bad, now) == nil {
			t.Errorf("octet %d of the reply changed: accepted", i)
		}
	}
	for n := range len(signed) {
		if c, rcode := tsig.Verify(ring, signed[:n], now); rcode == wire.NoError && c != nil {
			t.Errorf("%d of %d octets: accepted", n, len(signed))
		}
	}
}

func TestErrors(t *testing.T) {
	k, other := key(1), key(2)
	signed, _ := tsig.SignRequest(&k, query(), now)
	short := func(n int) []byte {
		m := bytes.Clone(signed)
		mac := len(m) - 6 - 32
		binary.BigEndian.PutUint16(m[mac-2:], uint16(n))
		m = append(m[:mac+n:mac+n], m[mac+32:]...)
		rdlength := len(query()) + len(k.Name) + 8
		binary.BigEndian.PutUint16(m[rdlength:], binary.BigEndian.Uint16(m[rdlength:])-uint16(32-n))
		return m
	}
	another := k
	another.Algorithm = tsig.HMACSHA512
	for _, test := range []struct {
		what   string
		ring   *tsig.Ring
		msg    []byte
		at     time.Time
		rcode  wire.Rcode
		err    wire.Rcode
		opaque bool // the client cannot verify the error, having signed another code
	}{
		{"no signature", tsig.NewRing(k), query(), now, wire.NoError, 0, false},
		{"no keys", nil, signed, now, wire.NotAuth, wire.BadKey, false},
		{"another algorithm", tsig.NewRing(another), signed, now, wire.NotAuth, wire.BadKey, false},
		{"another secret", tsig.NewRing(other), signed, now, wire.NotAuth, wire.BadSig, false},
		{"late", tsig.NewRing(k), signed, now.Add(301 * time.Second), wire.NotAuth, wire.BadTime, false},
		{"early", tsig.NewRing(k), signed, now.Add(-301 * time.Second), wire.NotAuth, wire.BadTime, false},
		{"truncated to a half", tsig.NewRing(k), short(16), now, wire.NotAuth, wire.BadTrunc, true},
		{"truncated further", tsig.NewRing(k), short(12), now, wire.NotAuth, wire.BadSig, false},
		{"truncated too far", tsig.NewRing(k), short(9), now, wire.FormErr, 0, false},
		{"none at all", tsig.NewRing(k), short(0), now, wire.FormErr, 0, false},
		{"twice", tsig.NewRing(k), func() []byte { m, _ := tsig.SignRequest(&k, bytes.Clone(signed), now); return m }(), now, wire.FormErr, 0, false},
	} {
		c, rcode := tsig.Verify(test.ring, test.msg, test.at)
		if rcode != test.rcode || test.err != 0 && (c == nil || c.Error != test.err) {
			t.Errorf("%s: %v %+v", test.what, rcode, c)
			continue
		}
		if test.err == 0 {
			if c != nil {
				t.Errorf("%s: a context", test.what)
			}
			continue
		}
		_, v := tsig.SignRequest(&k, query(), now)
		err := v.Verify(c.Sign(reply(4711), test.at), now)
		if !errors.Is(err, tsig.ErrRefused) && (!test.opaque || !errors.Is(err, tsig.ErrBadSig)) {
			t.Errorf("%s: the client sees %v", test.what, err)
		}
	}
}

func TestStreams(t *testing.T) {
	k := key(1)
	signed, fresh := tsig.SignRequest(&k, query(), now)
	c, _ := tsig.Verify(tsig.NewRing(k), signed, now)
	s := c.Stream()
	var list [][]byte
	for range 4 {
		list = append(list, s.Sign(reply(4711), now))
	}
	for what, order := range map[string][]int{"left out": {0, 2}, "twice": {0, 0}, "swapped": {1, 0}} {
		v := *fresh
		var err error
		for _, i := range order {
			err = errors.Join(err, v.Verify(list[i], now))
		}
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	v := *fresh
	if v.Verify(reply(4711), now) == nil {
		t.Error("the first message has to be signed")
	}
	v = *fresh
	if err := v.Verify(list[0], now); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := v.Verify(reply(4711), now); (err == nil) != (i < 99) {
			t.Errorf("unsigned message %d: %v", i+1, err)
		}
	}
	if v.Done() == nil {
		t.Error("the last message has to be signed")
	}
}

func TestReplay(t *testing.T) {
	k := key(1)
	ring := tsig.NewRing(k)
	r := tsig.NewReplay(now)
	from, other := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.1:1001")
	request := func(id int, at time.Time) *tsig.Context {
		m := query()
		m[1] = byte(id)
		signed, _ := tsig.SignRequest(&k, m, at)
		c, _ := tsig.Verify(ring, signed, at)
		return c
	}
	var list []*tsig.Context
	for i := range 100 {
		c := request(i, now)
		list = append(list, c)
		o, again := r.Begin(c, from, true, now.Add(time.Duration(i)*time.Second))
		if again || o == nil {
			t.Fatalf("request %d is new", i)
		}
		o.Done(wire.Rcode(i % 16))
	}
	for i, c := range list {
		if o, again := r.Begin(c, from, true, now.Add(Fudge)); !again || o == nil || o.Wait() != wire.Rcode(i%16) {
			t.Errorf("request %d came before, from the same socket", i)
		}
		if o, again := r.Begin(c, from, false, now.Add(Fudge)); !again || o != nil {
			t.Errorf("request %d came before, over UDP", i)
		}
		if o, again := r.Begin(c, other, true, now.Add(Fudge)); !again || o != nil {
			t.Errorf("request %d came before, from another socket", i)
		}
	}
	if o, again := r.Begin(request(200, now.Add(-time.Second)), from, true, now); !again || o != nil {
		t.Error("a request that was signed before the start may have come before")
	}
}

// Fudge as a duration.
const Fudge = tsig.Fudge * time.Second

func FuzzVerify(f *testing.F) {
	k := key(1)
	signed, _ := tsig.SignRequest(&k, query(), now)
	f.Add(signed)
	f.Add(query())
	ring := tsig.NewRing(k)
	f.Fuzz(func(t *testing.T, msg []byte) {
		c, rcode := tsig.Verify(ring, msg, now)
		if c != nil && rcode == wire.NoError && !bytes.Equal(msg[2:], signed[2:]) {
			t.Errorf("accepted %x", msg)
		}
		_, v := tsig.SignRequest(&k, query(), now)
		if v.Verify(msg, now) == nil {
			t.Errorf("accepted as a reply: %x", msg)
		}
	})
}

// TestSizeOf has the names of algorithms, in any case, and names that only look like one.
func TestSizeOf(t *testing.T) {
	for text, want := range map[string]int{
		"\x0bhmac-sha224\x00": 28, "\x0bhmac-sha256\x00": 32, "\x0bhmac-sha384\x00": 48, "\x0bhmac-sha512\x00": 64,
		"\x0bHMAC-Sha256\x00": 32,
		"\x0bhmac-sha255\x00": 0, "\x0bhmac-shb256\x00": 0, "\x0bhmac-sha256\x01": 0, "\x0bhmac-sha256\x01a\x00": 0,
		"\x09hmac-sha1\x00": 0, "\x00": 0, "": 0,
	} {
		if got := tsig.SizeOf([]byte(text)); got != want {
			t.Errorf("%q: %d octets, want %d", text, got, want)
		}
	}
	for _, a := range []tsig.Algorithm{tsig.HMACSHA224, tsig.HMACSHA256, tsig.HMACSHA384, tsig.HMACSHA512} {
		if tsig.SizeOf(a.Name()) != a.Size() {
			t.Errorf("%v: %d octets, want %d", a, tsig.SizeOf(a.Name()), a.Size())
		}
	}
}
