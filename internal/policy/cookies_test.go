package policy_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/dchest/siphash"

	"port53/internal/policy"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newCookies(t testing.TB, secrets ...string) *policy.Cookies {
	t.Helper()
	var o policy.CookieOptions
	for _, s := range secrets {
		o.Secrets = append(o.Secrets, [16]byte(unhex(t, s)))
	}
	c, err := policy.NewCookies(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	secretA = "e5e973e5a6b2a43f48e7dc849e37bfcf" // RFC 9018, appendix A.1
	secretB = "dd3bdf9344b678b185a6f5cb60fca715" // A.4, the old one
	secretC = "445536bcd2513298075a5d379663c962" // A.4, the new one
)

// RFC 9018, appendix A.
func TestCookieVectors(t *testing.T) {
	for _, test := range []struct {
		name    string
		secrets []string
		client  string // address
		query   string // the option in the query
		now     uint32
		valid   bool
		fresh   bool
		reply   string // the option in the reply
	}{
		{"A.1 a new cookie", []string{secretA}, "198.51.100.100", "2464c4abcf10c957", 1559731985, false, false, "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"A.2 a renewed cookie", []string{secretA}, "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559734385, true, false, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
		{"A.3 another client, an hour and 52 minutes later", []string{secretA}, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559734700, false, false, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"},
		{"A.3 within the hour: reserved octets count", []string{secretA}, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559727985 + 60, true, true, ""},
		{"A.4 a new secret", []string{secretC, secretB}, "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741961, true, false, "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
		{"A.4 without the old secret", []string{secretC}, "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741961, false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCookies(t, test.secrets...)
			addr := netip.MustParseAddr(test.client)
			query := unhex(t, test.query)
			client := [8]byte(query)
			valid, fresh := c.Verify(client, addr, query[8:], test.now)
			if valid != test.valid || fresh != test.fresh {
				t.Errorf("valid %v, fresh %v, want %v, %v", valid, fresh, test.valid, test.fresh)
			}
			if test.reply == "" {
				return
			}
			reply := c.Append(append([]byte(nil), client[:]...), client, addr, test.now)
			if got := hex.EncodeToString(reply); got != test.reply {
				t.Errorf("reply %s, want %s", got, test.reply)
			}
		})
	}
}

func TestCookieWindow(t *testing.T) {
	c := newCookies(t, secretA)
	client, addr := [8]byte{1, 2, 3}, netip.MustParseAddr("192.0.2.1")
	for _, made := range []uint32{1559731985, 100, 0xFFFFFFF0} { // serial numbers come round in 2106
		cookie := c.Append(nil, client, addr, made)
		for _, test := range []struct {
			later        int
			valid, fresh bool
		}{
			{-301, false, false},
			{-300, true, true},
			{0, true, true},
			{1800, true, true},
			{1801, true, false},
			{3600, true, false},
			{3601, false, false},
			{1 << 30, false, false},
		} {
			valid, fresh := c.Verify(client, addr, cookie, made+uint32(test.later))
			if valid != test.valid || fresh != test.fresh {
				t.Errorf("made at %d, %d s later: valid %v, fresh %v", made, test.later, valid, fresh)
			}
		}
	}
}

// Nothing but the whole cookie, from the same client at the same address, is good.
func TestCookieForgeries(t *testing.T) {
	c := newCookies(t, secretA)
	client, addr := [8]byte{1, 2, 3}, netip.MustParseAddr("192.0.2.1")
	const now = 1559731985
	cookie := c.Append(nil, client, addr, now)
	if valid, _ := c.Verify(client, netip.MustParseAddr("::ffff:192.0.2.1"), cookie, now); !valid {
		t.Error("the mapped form of the address is another")
	}
	for i := range cookie {
		bad := bytes.Clone(cookie)
		bad[i] ^= 1
		if valid, _ := c.Verify(client, addr, bad, now); valid {
			t.Errorf("octet %d changed: valid", i)
		}
	}
	for n := range 33 {
		if n == len(cookie) {
			continue
		}
		other := append(bytes.Clone(cookie), make([]byte, 32)...)[:n]
		if valid, _ := c.Verify(client, addr, other, now); valid {
			t.Errorf("%d octets: valid", n)
		}
	}
	if valid, _ := c.Verify([8]byte{1, 2, 4}, addr, cookie, now); valid {
		t.Error("another client cookie: valid")
	}
	for _, a := range []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("::192.0.2.1"), {}} {
		if valid, _ := c.Verify(client, a, cookie, now); valid {
			t.Errorf("address %v: valid", a)
		}
	}
}

// handmade returns a cookie that is made with a secret as RFC 9018, section 4.4 says, of any
// version.
func handmade(version byte, secret [16]byte, client [8]byte, addr netip.Addr, at uint32) []byte {
	cookie := binary.BigEndian.AppendUint32([]byte{version, 0, 0, 0}, at)
	a := addr.As4()
	in := slices.Concat(client[:], cookie, a[:])
	return binary.LittleEndian.AppendUint64(cookie, siphash.Hash(binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:]), in))
}

// TestCookiesOfOthers has cookies that are right, but for their version or their secret.
func TestCookiesOfOthers(t *testing.T) {
	client, addr := [8]byte{1, 2, 3}, netip.MustParseAddr("192.0.2.1")
	const now = 1559731985
	a, zeros := [16]byte(unhex(t, secretA)), [16]byte{}
	for _, c := range []struct {
		what   string
		cookie []byte
		want   bool
	}{
		{"ours", handmade(1, a, client, addr, now), true},
		{"of version 0", handmade(0, a, client, addr, now), false},
		{"of version 2", handmade(2, a, client, addr, now), false},
		{"of a secret of zeros, where there was none before", handmade(1, zeros, client, addr, now), false},
	} {
		if valid, fresh := newCookies(t, secretA).Verify(client, addr, c.cookie, now); valid != c.want || fresh != c.want {
			t.Errorf("a cookie %s: valid %v, fresh %v", c.what, valid, fresh)
		}
	}
	if valid, _ := newCookies(t).Verify(client, addr, handmade(1, zeros, client, addr, now), now); valid {
		t.Error("a random secret is zeros, or the one before it")
	}
}

// TestFirstDayOfASecret has a server start in a year like ours: its secret is new then.
func TestFirstDayOfASecret(t *testing.T) {
	c := newCookies(t)
	client, addr := [8]byte{1}, netip.MustParseAddr("192.0.2.1")
	const now = 1559731985
	cookie := c.Append(nil, client, addr, now)
	if c.Rotate(now) {
		t.Error("a new secret at the first call")
	}
	if valid, fresh := c.Verify(client, addr, cookie, now); !valid || !fresh {
		t.Errorf("valid %v, fresh %v", valid, fresh)
	}
}

func TestCookieRotation(t *testing.T) {
	c := newCookies(t)
	client, addr := [8]byte{1}, netip.MustParseAddr("192.0.2.1")
	now := uint32(0xFFFFFF00) // the day is across the end of 32 bits
	first := c.Append(nil, client, addr, now)
	check := func(cookie []byte, wantValid, wantFresh bool) {
		t.Helper()
		// The cookie's secret is what is tested, not its age: it is verified when made.
		made := binary.BigEndian.Uint32(cookie[4:])
		if valid, fresh := c.Verify(client, addr, cookie, made); valid != wantValid || fresh != wantFresh {
			t.Errorf("valid %v, fresh %v, want %v, %v", valid, fresh, wantValid, wantFresh)
		}
	}
	for _, step := range []struct {
		after uint32
		roll  bool
	}{{0, false}, {3600, false}, {86400 - 3600 - 1, false}, {1, true}, {1, false}} {
		now += step.after
		if got := c.Rotate(now); got != step.roll {
			t.Fatalf("%d: rolled %v, want %v", now, got, step.roll)
		}
	}
	check(first, true, false)
	second := c.Append(nil, client, addr, now)
	check(second, true, true)
	if now += 86400; !c.Rotate(now) {
		t.Fatal("no second roll")
	}
	check(first, false, false)
	check(second, true, false)
	// The clock is put back: the day begins again, and nothing is lost.
	now -= 1 << 20
	if c.Rotate(now) || c.Rotate(now+86399) {
		t.Error("rolled after the clock was put back")
	}
	check(second, true, false)
	if !c.Rotate(now + 86400) {
		t.Error("not rolled a day after the clock was put back")
	}
	if fixed := newCookies(t, secretA); fixed.Rotate(1) || fixed.Rotate(1<<30) {
		t.Error("given secrets were changed")
	}
}

func TestCookieOptions(t *testing.T) {
	a, b, c := [16]byte{1}, [16]byte{2}, [16]byte{3}
	for name, secrets := range map[string][][16]byte{
		"three": {a, b, c}, "twice the same": {a, a}, "zeros": {{}}, "zeros second": {a, {}},
	} {
		if _, err := policy.NewCookies(policy.CookieOptions{Secrets: secrets}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	one, two := newCookies(t), newCookies(t)
	if bytes.Equal(one.Append(nil, [8]byte{}, netip.Addr{}, 0), two.Append(nil, [8]byte{}, netip.Addr{}, 0)) {
		t.Error("two random secrets are the same")
	}
}

// Readers go on while secrets change.
func TestCookiesConcurrently(t *testing.T) {
	c := newCookies(t)
	addr := netip.MustParseAddr("2001:db8::1")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				client := [8]byte{byte(i)}
				cookie := c.Append(nil, client, addr, 7)
				c.Verify(client, addr, cookie, 7)
			}
		})
	}
	for i := range uint32(100) {
		c.Rotate(i * 86400)
	}
	wg.Wait()
}

func BenchmarkCookieVerify(b *testing.B) {
	c := newCookies(b, secretA)
	for name, addr := range map[string]netip.Addr{"IPv4": netip.MustParseAddr("192.0.2.1"), "IPv6": netip.MustParseAddr("2001:db8::1")} {
		b.Run(name, func(b *testing.B) {
			cookie := c.Append(nil, [8]byte{}, addr, 7)
			b.ReportAllocs()
			for b.Loop() {
				c.Verify([8]byte{}, addr, cookie, 7)
			}
		})
	}
}

func BenchmarkCookieAppend(b *testing.B) {
	c := newCookies(b, secretA)
	addr := netip.MustParseAddr("192.0.2.1")
	var buf [16]byte
	b.ReportAllocs()
	for b.Loop() {
		c.Append(buf[:0], [8]byte{}, addr, 7)
	}
}
