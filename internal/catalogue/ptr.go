package catalogue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// reverse returns the name under which an address has its PTR record (RFC 1035, section
// 3.5; RFC 3596, section 2.5).
func reverse(a netip.Addr) []byte {
	a = a.Unmap()
	var labels []string
	suffix := "ip6.arpa"
	if a.Is4() {
		suffix = "in-addr.arpa"
		for _, b := range a.As4() {
			labels = append([]string{fmt.Sprint(b)}, labels...)
		}
	} else {
		b := a.As16()
		for _, digit := range hex.EncodeToString(b[:]) {
			labels = append([]string{string(digit)}, labels...)
		}
	}
	return mustName(strings.Join(labels, ".") + "." + suffix)
}

func zonePTR(ctx context.Context, r *check.Run, c *check.Cut) []finding.Finding {
	var out []finding.Finding
	for _, s := range c.Servers {
		addr := s.Addr.Addr()
		f := finding.Finding{Key: addr.String(), Evidence: finding.Evidence{N: 1, Command: fmt.Sprintf("dig -x %s", addr.WithZone(""))}}
		m, err := r.Lookup(ctx, reverse(addr), wire.TypePTR)
		if err != nil {
			f.State, f.Detail = finding.Unknown, fmt.Sprintf("%s: could not be measured: %v", addr, err)
			out = append(out, f)
			continue
		}
		f.State, f.Detail = finding.Warn, fmt.Sprintf("%s (%s) has no PTR record", addr, wire.NameText(s.Name))
		// An alias may lead there (RFC 2317): the owner is not looked at.
		for _, rr := range m.In(wire.Answer, wire.TypePTR) {
			name := rdataName(rr.Data, 0)
			if name == nil {
				continue
			}
			f.Detail = fmt.Sprintf("%s has the name %s, which has not this address", addr, wire.NameText(name))
			for _, a := range r.Addresses(ctx, wire.Lower(nil, name)) {
				if a.Unmap() == addr.Unmap() {
					f.State, f.Detail = finding.Pass, fmt.Sprintf("%s is %s", addr, wire.NameText(name))
				}
			}
			if f.State == finding.Pass {
				break
			}
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return finding.Unmeasured(finding.Evidence{}, errors.New("the zone has no servers with addresses"))
	}
	return out
}
