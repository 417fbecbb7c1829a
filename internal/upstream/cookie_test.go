package upstream_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

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
				if r := ask(t, c, plain()); r.TCP || r.Spoof || r.Message[2]&4 == 0 {
					t.Errorf("two: %+v", r)
				}
				forge = 3
				if r := ask(t, c, plain()); !r.TCP || !r.Spoof || r.Message[2]&4 == 0 {
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
			if r := ask(t, c, plain()); !r.TCP || !r.Spoof || r.Message[2]&4 == 0 || r.Message[3]&15 != 0 {
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
