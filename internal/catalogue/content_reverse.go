package catalogue

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"port53/internal/check"
	"port53/internal/finding"
	"port53/internal/wire"
)

// labelsOf returns the labels of a name as text, the first one first.
func labelsOf(name []byte) []string {
	var out []string
	for ; name[0] != 0; name = wire.Parent(name) {
		out = append(out, string(name[1:1+int(name[0])]))
	}
	return out
}

// octet reads a label that is a number of 0 to 255.
func octet(label string) (byte, bool) {
	n, err := strconv.ParseUint(label, 10, 8)
	return byte(n), err == nil && (len(label) == 1 || label[0] != '0')
}

// reversed returns the address that a name in a reverse zone stands for. The label of a part of a network, as 0/26, 0-63 or any other that
// is no number, is passed over (RFC 2317).
func reversed(name []byte) (netip.Addr, bool) {
	labels := labelsOf(wire.Lower(nil, name))
	switch {
	case wire.Subdomain(name, mustName("in-addr.arpa")):
		var b []byte
		for _, l := range labels[:len(labels)-2] {
			if n, ok := octet(l); ok {
				b = append(b, n)
			} else if len(b) != 1 {
				return netip.Addr{}, false // only the host's own label stands before it
			}
		}
		if len(b) != 4 {
			return netip.Addr{}, false
		}
		slices.Reverse(b)
		return netip.AddrFromSlice(b)
	case wire.Subdomain(name, mustName("ip6.arpa")):
		labels = labels[:len(labels)-2]
		if len(labels) != 32 {
			return netip.Addr{}, false
		}
		var b [16]byte
		for i, l := range labels {
			n, err := strconv.ParseUint(l, 16, 4)
			if err != nil || len(l) != 1 {
				return netip.Addr{}, false
			}
			b[15-i/2] |= byte(n) << (4 * (i % 2))
		}
		return netip.AddrFrom16(b), true
	}
	return netip.Addr{}, false
}

// hostsSampled are the last parts of addresses that are commonly in use.
func hostsSampled() []int {
	return []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 25, 50, 53, 80, 100, 110, 143, 200, 250, 254}
}

// rangeOf returns which hosts a zone of a part of a /24 is for, by its label: 64/26 or 64-127 (RFC 2317, section 4).
func rangeOf(label string) (first, last int, ok bool) {
	at := strings.IndexAny(label, "/-")
	if at < 0 {
		return 0, 255, false
	}
	from, okFrom := octet(label[:at])
	to, okTo := octet(label[at+1:])
	switch {
	case !okFrom || !okTo:
		return 0, 255, false
	case label[at] == '/' || to <= 32 && to >= 24 && int(to) <= int(from):
		if to < 24 || to > 32 {
			return 0, 255, false
		}
		return int(from), min(255, int(from)+1<<(32-to)-1), true
	}
	return int(from), int(to), to >= from
}

// sampled returns names of a reverse zone at which PTR records are looked for: hosts of a /24, or of the part of it that the zone is for.
// In larger zones, and those of IPv6, only a search finds names.
func sampled(zone []byte) [][]byte {
	if !wire.Subdomain(zone, mustName("in-addr.arpa")) {
		return nil
	}
	labels := labelsOf(wire.Lower(nil, zone))
	labels = labels[:len(labels)-2]
	first, last, numbers := 0, 255, 0
	for i, l := range labels {
		if _, ok := octet(l); ok {
			numbers++
		} else if i == 0 {
			first, last, _ = rangeOf(l)
		}
	}
	if numbers != 3 {
		return nil
	}
	var out [][]byte
	for n := first; n <= last; n++ {
		if slices.Contains(hostsSampled(), n) || last-first < 32 || n == first+1 {
			out = append(out, check.Below(strconv.Itoa(n), zone))
		}
	}
	return out
}

// zoneReverse looks whether the names that addresses have, have these addresses.
func zoneReverse(ctx context.Context, r *check.Run) []finding.Finding {
	ev := finding.Evidence{Command: "dig -t PTR -q " + check.ShellName(check.Below("1", r.Zone))}
	n := network{r}
	if x := n.tell(ctx, r.Zone, wire.TypeNS); x.is == unasked {
		return finding.Unmeasured(ev, x.err)
	}
	if !isReverse(r.Zone) {
		return finding.Unmeasured(ev, fmt.Errorf("it is no reverse zone: the check %w", finding.ErrInapplicable))
	}
	list := sampled(r.Zone)
	if d := discovered(ctx, r); r.Options.Subdomains || len(r.Options.Names) > 0 {
		for i := range d.names {
			if len(list) < dangleMost {
				list = append(list, d.names[i].name)
			}
		}
	}
	list = names(list)
	said := make([][]remark, len(list))
	var wg sync.WaitGroup
	slots := make(chan struct{}, followedAt)
	f := &claims{teller: n, zone: r.Zone, ownRoot: r.Options.PrivateRoot()}
	for i, name := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			said[i] = judgePTR(ctx, n, f, name)
		})
	}
	wg.Wait()
	out := slices.Concat(said...)
	if len(out) == 0 {
		return finding.Unmeasured(
			ev,
			fmt.Errorf("none of %d names that were looked at has a PTR record: the check %w", len(list), finding.ErrInapplicable),
		)
	}
	return findings(out, ev)
}

// judgePTR judges the names of one address.
func judgePTR(ctx context.Context, t teller, c *claims, name []byte) []remark {
	a, ok := reversed(name)
	x := t.tell(ctx, name, wire.TypePTR)
	where := wire.NameText(name)
	switch {
	case x.is == unasked:
		return []remark{unknown(where, x.err)}
	case x.aliases > 0 && x.is == noName && t.tell(ctx, wire.Parent(x.final), wire.TypeSOA).is != noName:
		return nil // who has that part of the network has given this address no name
	case x.aliases > 0 && (x.is == noName || x.is == broken):
		return []remark{
			warns(where, 0, "%s is an alias for %s, which %s (RFC 2317, section 5)", where, wire.NameText(x.final), x.why(wire.TypePTR)),
		}
	case x.is != isThere:
		return nil
	}
	var out []remark
	for _, d := range x.data {
		target := rdataName(d, 0)
		if target == nil {
			continue
		}
		host := wire.Lower(nil, target)
		key := where + " " + wire.NameText(host)
		if !ok {
			continue
		}
		if what, sold := specialUse(host, nil); what != "" && !sold || addressLike(host) {
			out = append(out, warns(key, 0, "%s has the name %s, which is nobody's on the Internet", a, wire.NameText(host)))
			continue
		}
		addrs, known := addressesTold(ctx, t, host)
		is := t.tell(ctx, host, wire.TypeA)
		if got := c.of(ctx, is); got != nil {
			out = append(
				out,
				fails(key, finding.SevMedium, "%s has the name %s, which does not exist: %s", a, wire.NameText(host), got.how),
			)
			continue
		}
		switch {
		case !known && is.is == unasked:
			out = append(out, unknown(key, is.err))
		case !known:
			out = append(out, warns(key, 0, "%s has the name %s, which cannot be looked up", a, wire.NameText(host)))
		case !slices.Contains(addrs, a):
			out = append(
				out,
				warns(key, 0, "%s has the name %s, which has not this address: %v (RFC 1912, section 2.1)", a, wire.NameText(host), addrs),
			)
		default:
			out = append(out, passes(key, "%s is %s", a, wire.NameText(host)))
		}
	}
	return out
}
