package upstream

import (
	"bytes"
	"encoding/binary"

	"port53/internal/wire"
)

// Lengths of cookies (RFC 7873, section 4).
const (
	clientCookieLen    = 8
	minServerCookieLen = 8
	maxServerCookieLen = 32
)

// bake makes a client cookie for a server: a random one for each, that tells nothing of
// the others (RFC 9018, section 3). The server's own, which went with the last one, is
// void.
func (v *server) bake(now stamp, random uint64) {
	binary.NativeEndian.PutUint64(v.client[:], random)
	v.baked, v.cookieLen, v.noCookie = now, 0, 0
}

// A taste is what a reply's cookie is like.
type taste uint8

const (
	missing taste = iota
	wrong         // of a length that must not be, or another client's
	good
)

// tasted looks at the cookie in a reply (RFC 7873, section 5.3).
func (a *attempt) tasted(msg []byte) taste {
	switch got := cookieOf(findOPT(msg)); {
	case got == nil:
		return missing
	case len(got) != clientCookieLen && len(got) < clientCookieLen+minServerCookieLen,
		len(got) > clientCookieLen+maxServerCookieLen,
		[clientCookieLen]byte(got[:clientCookieLen]) != a.known.client:
		return wrong
	}
	return good
}

// keepCookie learns from the cookie in a reply, which was found to be good or missing,
// and reports whether the server gave another one than was sent.
func (a *attempt) keepCookie(got []byte) (fresh bool) {
	sent := a.known.cookie[:a.known.cookieLen]
	switch {
	case got == nil:
		a.learn(func(v *server, now stamp) {
			if v.client == a.known.client {
				// It knows none: this cookie is not sent to it again (RFC 9018, section 3).
				v.baked, v.cookieLen, v.noCookie = 0, 0, now
			}
		})
	case len(got) > clientCookieLen && !bytes.Equal(got[clientCookieLen:], sent):
		a.known.cookieLen = uint8(copy(a.known.cookie[:], got[clientCookieLen:]))
		a.learn(func(v *server, _ stamp) {
			if v.client == a.known.client {
				v.cookie, v.cookieLen = a.known.cookie, a.known.cookieLen
			}
		})
		return true
	}
	return false
}

// cookieOf returns the data of the first cookie option in an OPT record, or nil. Another
// one is ignored (RFC 7873, section 4).
func cookieOf(opt []byte) []byte {
	if len(opt) < 10 {
		return nil
	}
	for b := opt[10:]; len(b) >= 4; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) {
			return nil
		}
		if binary.BigEndian.Uint16(b) == wire.OptionCookie {
			return b[4 : 4+n : 4+n]
		}
		b = b[4+n:]
	}
	return nil
}
