package upstream_test

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/upstream"
	"port53/internal/wire"
)

// A baker is a server that knows cookies (RFC 7873).
type baker struct {
	t      *testing.T
	cookie []byte // what it gives; nil: it knows none
	demand bool   // BADCOOKIE unless the query has it
}

func (k *baker) answer(q []byte) [][]byte {
	got := parsed(k.t, packet{msg: q}).Cookie
	r := echo(q, wire.FlagAA)
	if k.cookie == nil || len(got) < 8 {
		return [][]byte{withOPT(r, 0, nil)}
	}
	var rcode wire.Rcode
	if k.demand && !bytes.Equal(got[8:], k.cookie) {
		rcode = wire.BadCookie
	}
	return [][]byte{withOPT(r, rcode, cookieOption(got[:8], k.cookie))}
}

func TestCookieFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &baker{t: t, cookie: []byte("0123456789abcdef")}
		f := &fake{udp: k.answer, rtt: time.Millisecond}
		f.tcp = f.serve(k.answer)
		c := f.client(true)
		defer c.Close()
		want := func(what, path string, client, server []byte) []byte {
			t.Helper()
			ask(t, c, plain())
			sent := f.sent()
			if over(sent) != path {
				t.Fatalf("%s: sent %q, want %q", what, over(sent), path)
			}
			got := parsed(t, sent[len(sent)-1]).Cookie
			if len(got) < 8 {
				if client != nil || server != nil {
					t.Errorf("%s: no cookie", what)
				}
				return nil
			}
			if client != nil && !bytes.Equal(got[:8], client) || !bytes.Equal(got[8:], server) {
				t.Errorf("%s: cookie %x, want %x with %q", what, got, client, server)
			}
			return bytes.Clone(got[:8])
		}
		client := want("first", "U", nil, nil)
		want("second", "U", client, k.cookie)
		k.cookie, k.demand = []byte("fedcba98"), true
		want("another of the server's", "UU", client, k.cookie)
		want("after BADCOOKIE", "U", client, k.cookie)

		if _, err := c.Exchange(t.Context(), address(2), plain()); err != nil {
			t.Fatal(err)
		}
		if other := parsed(t, f.sent()[0]).Cookie; bytes.Equal(other[:8], client) || len(other) != 8 {
			t.Errorf("another server is sent the cookie %x of the first, %x", other, client)
		}

		k.cookie = nil
		want("a server that forgot cookies", "UT", client, []byte("fedcba98"))
		want("and is sent none", "U", nil, nil)
		k.cookie, k.demand = bytes.Repeat([]byte{7}, 32), false
		time.Sleep(6 * time.Minute)
		next := want("until it may have learned", "U", nil, nil)
		if next == nil || bytes.Equal(next, client) {
			t.Errorf("after six minutes it is sent %x, having had %x", next, client)
		}
		want("it has", "U", next, k.cookie)
		time.Sleep(25 * time.Hour)
		if last := want("a day later", "U", nil, nil); bytes.Equal(last, next) {
			t.Error("a client cookie is used for more than a day")
		}
	})
}

// TestCookieNotOurs sends replies with a wrong cookie before the good one: they are as if
// they had not come (RFC 7873, section 5.3).
func TestCookieNotOurs(t *testing.T) {
	for name, spoil := range map[string]func(client []byte) []byte{
		"another's": func(c []byte) []byte { c[0]++; return append(c, "01234567"...) },
		"short":     func(c []byte) []byte { return c[:7] },
		"none":      func(c []byte) []byte { return nil },
		"half":      func(c []byte) []byte { return append(c, "0123456"...) },
		"long":      func(c []byte) []byte { return append(c, make([]byte, 33)...) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forge := 2
				f := &fake{rtt: time.Millisecond}
				f.udp = func(q []byte) (all [][]byte) {
					client := parsed(t, packet{msg: q}).Cookie[:8]
					for range forge {
						all = append(all, withOPT(echo(q, 0), 0, cookieOption(spoil(bytes.Clone(client)))))
					}
					return append(all, withOPT(echo(q, wire.FlagAA), 0, cookieOption(client, []byte("01234567"))))
				}
				f.tcp = f.serve(reply(wire.FlagAA))
				c := f.client(true)
				defer c.Close()
				if r := ask(t, c, plain()); r.TCP || r.SuspectedSpoof || r.Message[2]&4 == 0 {
					t.Errorf("two: %+v", r)
				}
				forge = 3
				if r := ask(t, c, plain()); !r.TCP || !r.SuspectedSpoof || r.Message[2]&4 == 0 {
					t.Errorf("three: %+v", r)
				}
			})
		})
	}
}

// TestCookieLost has somebody who answers for a server with cookies, and guessed all but
// the cookie.
func TestCookieLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &baker{t: t, cookie: []byte("0123456789abcdef")}
		f := &fake{udp: k.answer, rtt: time.Millisecond}
		f.tcp = f.serve(k.answer)
		c := f.client(true)
		defer c.Close()
		ask(t, c, plain())
		for _, forged := range []func(q []byte) [][]byte{
			reply(0),
			reply(uint16(wire.FormErr)), // which would have it asked without EDNS
			reply(wire.FlagTC),
			func(q []byte) [][]byte { return [][]byte{withOPT(echo(q, 0), 0, nil)} },
		} {
			f.udp = forged
			if r := ask(t, c, plain()); !r.TCP || !r.SuspectedSpoof || r.Message[2]&4 == 0 || r.Message[3]&15 != 0 {
				t.Errorf("%+v", r)
			}
		}
		f.sent()
		f.udp = k.answer
		if r := ask(t, c, plain()); r.TCP || len(parsed(t, f.sent()[0]).Cookie) != 24 {
			t.Errorf("what is known of the server has changed: %+v", r)
		}
	})
}

// TestBadCookieForEver has a server that likes no cookie: TCP needs none (RFC 7873,
// section 5.3).
func TestBadCookieForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond}
		serial := byte(0)
		f.udp = func(q []byte) [][]byte {
			serial++
			return [][]byte{withOPT(echo(q, 0), wire.BadCookie, cookieOption(parsed(t, packet{msg: q}).Cookie[:8], bytes.Repeat([]byte{serial}, 16)))}
		}
		f.tcp = f.serve(reply(wire.FlagAA))
		c := f.client(true)
		defer c.Close()
		r := ask(t, c, plain())
		if path := over(f.sent()); !r.TCP || path != "UUT" || r.Packets != 3 {
			t.Errorf("%s %+v, want UUT", path, r)
		}
		f.tcp = f.serve(f.udp)
		other := f.client(true)
		defer other.Close()
		if r = ask(t, other, plain()); r.Message[3]&15 != byte(wire.BadCookie&15) || r.Packets > 5 {
			t.Errorf("BADCOOKIE over TCP too: %+v", r)
		}
		f.udp = func(q []byte) [][]byte { return [][]byte{withOPT(echo(q, 0), wire.BadCookie, nil)} }
		f.tcp = f.serve(reply(wire.FlagAA))
		c2 := f.client(true)
		defer c2.Close()
		f.sent()
		if r = ask(t, c2, plain()); over(f.sent()) != "UT" || !r.TCP {
			t.Errorf("BADCOOKIE without a cookie: %+v", r)
		}
	})
}

// TestOddCookie has a server that returns the cookie of somebody else. The reply is
// discarded, and TCP, where nobody has guessed, tells that this is its way (RFC 7873,
// section 5.3).
func TestOddCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		odd := func(q []byte) [][]byte {
			if parsed(t, packet{msg: q}).Cookie == nil {
				return [][]byte{withOPT(echo(q, wire.FlagAA), 0, nil)}
			}
			return [][]byte{withOPT(echo(q, wire.FlagAA), 0, cookieOption([]byte("nobody's"), []byte("01234567")))}
		}
		f := &fake{rtt: time.Millisecond, udp: odd}
		f.tcp = f.serve(odd)
		c := f.client(true)
		defer c.Close()
		if r := ask(t, c, plain()); !r.TCP || r.SuspectedSpoof || r.Message[2]&4 == 0 {
			t.Errorf("%+v", r)
		}
		f.sent()
		r := ask(t, c, plain())
		if sent := f.sent(); r.TCP || len(sent) != 1 || parsed(t, sent[0]).Cookie != nil {
			t.Errorf("the next question: %+v, %d packets", r, len(sent))
		}
	})
}

// TestOddCookieForged has somebody who guesses all but the cookie of a server that is slow:
// it stays known to have cookies.
func TestOddCookieForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &baker{t: t, cookie: []byte("0123456789abcdef")}
		f := &fake{udp: k.answer, rtt: time.Millisecond}
		f.tcp = f.serve(k.answer)
		c := f.client(true)
		defer c.Close()
		ask(t, c, plain())
		f.udp = func(q []byte) [][]byte {
			return [][]byte{withOPT(echo(q, 0), 0, cookieOption([]byte("nobody's"), []byte("01234567")))}
		}
		if r := ask(t, c, plain()); !r.TCP || !r.SuspectedSpoof || r.Message[2]&4 == 0 {
			t.Errorf("%+v", r)
		}
		f.sent()
		f.udp = k.answer
		if r := ask(t, c, plain()); r.TCP || len(parsed(t, f.sent()[0]).Cookie) != 24 {
			t.Errorf("what is known of the server has changed: %+v", r)
		}
	})
}

// TestOptionsDropped has something on the way that drops questions with an option: they are
// asked without a cookie, for a while at once. A server that has given a cookie is asked with it.
func TestOptionsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drops := func(q []byte) [][]byte {
			if parsed(t, packet{msg: q}).Cookie != nil {
				return nil
			}
			return [][]byte{withOPT(echo(q, wire.FlagAA), 0, nil)}
		}
		f := &fake{rtt: time.Millisecond, udp: func(q []byte) [][]byte {
			if r := drops(q); r != nil {
				return r
			}
			return [][]byte{{1}} // junk: nobody says that the port is closed
		}}
		c := f.client(true)
		defer c.Close()
		with := func(q *upstream.Question, cookie upstream.Cookie) *upstream.Question {
			q.Cookie = cookie
			return q
		}
		if _, err := c.Exchange(t.Context(), address(1), plain()); !isTimeout(err) {
			t.Fatal(err)
		}
		ask(t, c, with(plain(), upstream.CookieIfKnown))
		f.sent()
		ask(t, c, plain())
		if sent := f.sent(); len(sent) != 1 || parsed(t, sent[0]).Cookie != nil {
			t.Errorf("%d packets, the first with cookie %x", len(sent), parsed(t, sent[0]).Cookie)
		}
		k := &baker{t: t, cookie: []byte("0123456789abcdef")}
		f.udp = k.answer
		time.Sleep(6 * time.Minute)
		ask(t, c, plain())
		f.sent()
		ask(t, c, with(plain(), upstream.CookieIfKnown))
		if cookie := parsed(t, f.sent()[0]).Cookie; len(cookie) != 24 {
			t.Errorf("a server that has given a cookie was asked with %x", cookie)
		}
		ask(t, c, with(plain(), upstream.CookieNone))
		if cookie := parsed(t, f.sent()[0]).Cookie; cookie != nil {
			t.Errorf("asked with %x, want none", cookie)
		}
	})
}

// TestPackets sends no more packets than it may.
func TestPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond, udp: reply(wire.FlagTC)}
		f.tcp = func(c net.Conn) { c.Close() }
		for most := 1; most <= 4; most++ {
			c := f.client(true)
			q := plain()
			q.Packets = most
			r, err := c.Exchange(t.Context(), address(1), q)
			if sent := len(f.sent()); err == nil || r.Packets > most || sent > most {
				t.Errorf("%d allowed: %d sent, %d counted, %v", most, sent, r.Packets, err)
			}
			c.Close()
		}
	})
}

// TestCaseSeen tells of mixed case until somebody says what the server makes of it.
func TestCaseSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rtt: time.Millisecond, udp: reply(wire.FlagAA)}
		c := f.client(false)
		defer c.Close()
		mixed := func() *upstream.Question {
			q := plain()
			q.Name, q.MixCase = []byte("\x20abcdefghijklmnopqrstuvwxyzabcdef\x00"), true // all lower by chance once in 2^32
			return q
		}
		for _, step := range []struct {
			saw         func()
			upper, sent bool
		}{
			{func() {}, true, true},
			{func() { c.NoteCasePreserved(address(1), true) }, false, true},
			{func() { time.Sleep(25 * time.Hour) }, true, true},
			{func() { c.NoteCasePreserved(address(1), false) }, false, false},
			{func() { time.Sleep(16 * time.Minute) }, true, true},
		} {
			step.saw()
			r := ask(t, c, mixed())
			msg := f.sent()[0].msg
			if sent := !bytes.Equal(bytes.ToLower(msg[12:40]), msg[12:40]); r.CaseUnknown != step.upper || sent != step.sent {
				t.Errorf("Upper %v, sent in mixed case %v, want %v %v", r.CaseUnknown, sent, step.upper, step.sent)
			}
		}
	})
}
