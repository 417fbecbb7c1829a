package policy

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/dchest/siphash"
)

const (
	// ServerCookieLen is the octets of a server cookie: version, three reserved, a
	// timestamp of four, a hash of eight (RFC 9018, section 4).
	ServerCookieLen = 16

	cookieVersion = 1

	cookiePast   = 3600 // seconds that a cookie is good for (RFC 9018, section 4.3)
	cookieFuture = 300  // seconds that a cookie of another server with our secret may be ahead (same place)
	cookieRenew  = 1800 // seconds after which the client is to get a new one (same place)

	// secretLife is how long we make cookies with a random secret, in seconds: a day.
	// RFC 9018, section 4 finds a month adequate; a day costs nothing, since clients
	// need a new cookie every hour anyway.
	secretLife = 86400
)

// CookieOptions are the secrets of [Cookies].
type CookieOptions struct {
	// Secrets are shared by all servers behind one address, one or two: cookies are
	// made with the first, both are accepted (RFC 9018, section 5: its stages are two
	// changes of this list). None: a random secret, which [Cookies.Rotate] changes.
	Secrets [][16]byte
}

// Cookies makes and verifies server cookies of version 1 (RFC 7873, RFC 9018). A
// client that has one of ours received a reply at its address not long ago: the
// address is not forged.
type Cookies struct {
	secrets atomic.Pointer[secrets]
	fixed   bool
}

// secrets are never changed, only replaced.
type secrets struct {
	current, previous [2]uint64 // the two halves of a SipHash key
	hasPrevious       bool
	since             uint32 // when current was first used, in seconds since 1970
	dated             bool   // since is known
}

// NewCookies returns cookies with the secrets of o.
func NewCookies(o CookieOptions) (*Cookies, error) {
	c := new(Cookies)
	s := new(secrets)
	switch len(o.Secrets) {
	case 0:
		s.current = randomSecret()
	case 2:
		if o.Secrets[0] == o.Secrets[1] {
			return nil, errors.New("cookies: the two secrets are equal")
		}
		s.previous, s.hasPrevious = halves(o.Secrets[1]), true
		fallthrough
	case 1:
		s.current = halves(o.Secrets[0])
		c.fixed = true
	default:
		return nil, errors.New("cookies: more than two secrets")
	}
	for _, secret := range o.Secrets {
		if secret == [16]byte{} {
			return nil, errors.New("cookies: a secret of zeros is none")
		}
	}
	c.secrets.Store(s)
	return c, nil
}

func randomSecret() [2]uint64 {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return halves(b)
}

func halves(secret [16]byte) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// Rotate takes a new random secret if the present one has been in use for a day,
// and reports whether it did. The one before stays good for verifying until the next
// change. now is in seconds since 1970; the first call starts the first day. Call it
// every few minutes, from one goroutine; secrets that were given do not change.
func (c *Cookies) Rotate(now uint32) bool {
	if c.fixed {
		return false
	}
	old := c.secrets.Load()
	next := *old
	switch age := int32(now - old.since); {
	case !old.dated || age < 0: // the first call, or the clock was put back
		next.since, next.dated = now, true
	case age >= secretLife:
		next = secrets{current: randomSecret(), previous: old.current, hasPrevious: true, since: now, dated: true}
	default:
		return false
	}
	c.secrets.Store(&next)
	return next.current != old.current
}

// Verify reports whether server is a cookie of ours for this client cookie and
// address, at most an hour old, and whether it is fresh: made with the present
// secret less than half an hour ago, so that the client may keep it. now is in
// seconds since 1970.
func (c *Cookies) Verify(client [8]byte, addr netip.Addr, server []byte, now uint32) (valid, fresh bool) {
	if len(server) != ServerCookieLen || server[0] != cookieVersion {
		return false, false
	}
	// Serial numbers (RFC 1982), so that 2106 is a year like any other.
	age := int32(now - binary.BigEndian.Uint32(server[4:]))
	if age > cookiePast || age < -cookieFuture {
		return false, false
	}
	var input [cookieInput]byte
	in := appendCookieInput(input[:0], client, server[:8], addr)
	got := binary.LittleEndian.Uint64(server[8:])
	s := c.secrets.Load()
	// One comparison of words takes the same time whatever they hold.
	if siphash.Hash(s.current[0], s.current[1], in) == got {
		return true, age <= cookieRenew
	}
	return s.hasPrevious && siphash.Hash(s.previous[0], s.previous[1], in) == got, false
}

// Append appends a new server cookie of 16 octets to dst. now is in seconds since
// 1970.
func (c *Cookies) Append(dst []byte, client [8]byte, addr netip.Addr, now uint32) []byte {
	dst = append(dst, cookieVersion, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, now)
	var input [cookieInput]byte
	in := appendCookieInput(input[:0], client, dst[len(dst)-8:], addr)
	s := c.secrets.Load()
	return binary.LittleEndian.AppendUint64(dst, siphash.Hash(s.current[0], s.current[1], in))
}

// cookieInput is the octets of what is hashed, the address being of IPv6.
const cookieInput = 8 + 8 + 16

// appendCookieInput appends what is hashed (RFC 9018, section 4.4): the client
// cookie, the cookie's first half, and the address in 4 or 16 octets.
func appendCookieInput(in []byte, client [8]byte, half []byte, addr netip.Addr) []byte {
	in = append(in, client[:]...)
	in = append(in, half...)
	if addr = addr.Unmap(); addr.Is4() {
		a := addr.As4()
		return append(in, a[:]...)
	}
	a := addr.As16()
	return append(in, a[:]...)
}
