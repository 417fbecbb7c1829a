//go:build !race

package policy_test

import (
	"net/netip"
	"testing"

	"port53/internal/policy"
)

func TestNothingAllocates(t *testing.T) {
	acl, addrs := manyPrefixes(t, 100, false)
	limiter := newLimiter(t, policy.RateOptions{Exempt: prefixes("10.0.0.0/8")})
	cookies := newCookies(t)
	four, six := addrs[0], netip.MustParseAddr("2001:db8::1")
	var buf [policy.ServerCookieLen]byte
	now, port := int64(1000), false
	for name, f := range map[string]func(){
		"ACL":           func() { acl.Allows(four); acl.Allows(six) },
		"RateLimiter":   func() { now++; limiter.Check(now, four, policy.Positive, 1); limiter.Check(now, six, policy.Error, 1) },
		"Cookies":       func() { c := cookies.Append(buf[:0], [8]byte{}, six, 1); cookies.Verify([8]byte{}, six, c, 1) },
		"Cookies/IPv4":  func() { c := cookies.Append(buf[:0], [8]byte{}, four, 1); cookies.Verify([8]byte{}, four, c, 1) },
		"ReflectorPort": func() { port = policy.ReflectorPort(uint16(now)) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if port {
		t.Error("a port above 1000 is a reflector's")
	}
}
