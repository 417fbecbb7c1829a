package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"port53/internal/finding"
	"port53/internal/wire"
)

// The bounds of targets.
const (
	MaxTargets    = 4096 // addresses of one network, unless a Finder has another number: a /20
	targetServers = 26   // addresses of one zone's servers that are looked at: 13 names of two families
)

// A TargetSpec is what a person writes for targets: an address, a network, or a name, with a
// port or without.
type TargetSpec struct {
	Text string
	addr netip.Addr
	net  netip.Prefix
	last netip.Addr // of a range that begins with addr
	name []byte
	port uint16 // 0: the usual one
}

// ParseTarget reads 192.0.2.1, 192.0.2.1:5300, [2001:db8::1]:53, 192.0.2.0/24, 192.0.2.1-13,
// 192.0.2.1-192.0.2.13, ns1.example.com, ns1.example.com:5300 or example.com.
func ParseTarget(text string) (TargetSpec, error) {
	w := TargetSpec{Text: text}
	if n, err := rangeName(text); n != nil || err != nil {
		w.name = n
		return w, err
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		w.net = p.Masked()
		return w, nil
	}
	if ok, err := w.parseRange(text); ok || err != nil {
		return w, err
	}
	host := text
	if a, err := netip.ParseAddrPort(text); err == nil {
		w.addr, w.port = a.Addr(), a.Port()
	} else if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		w.addr = a
	} else if h, port, ok := strings.Cut(text, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return w, fmt.Errorf("%s: %q is not a port: ports are numbers from 1 to 65535", wire.Printable(text), wire.Printable(port))
		}
		host, w.port = h, uint16(n)
	}
	if w.addr.IsValid() {
		w.addr = w.addr.Unmap()
		return w, nil
	}
	if strings.Contains(host, "/") || host == "" {
		return w, fmt.Errorf("%s is not a network", wire.Printable(text))
	}
	// What looks like an address and is none is a typing error, not a name.
	if last := host[strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')+1:]; strings.Trim(last, "0123456789.") == "" && last != "" &&
		host != "." {
		return w, fmt.Errorf("%s is not an address", wire.Printable(text))
	}
	var err error
	if w.name, err = wire.ParseName(host); err != nil {
		return w, fmt.Errorf("%s is neither an address nor a name: %w", wire.Printable(text), err)
	}
	return w, nil
}

// rangeName reads the name of a reverse zone of a part of a network, whose label has a slash (RFC 2317, section 4).
func rangeName(text string) ([]byte, error) {
	if low := strings.ToLower(
		strings.TrimSuffix(text, "."),
	); !strings.Contains(low, "/") ||
		!strings.HasSuffix(low, ".in-addr.arpa") && !strings.HasSuffix(low, ".ip6.arpa") {
		return nil, nil
	}
	n, err := wire.ParseName(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a name: %w", wire.Printable(text), err)
	}
	return n, nil
}

// parseRange reads the first and the last address of a range; the last may be its last part alone.
func (w *TargetSpec) parseRange(text string) (ok bool, err error) {
	from, to, ok := strings.Cut(text, "-")
	first, err := netip.ParseAddr(from)
	if !ok || err != nil {
		return false, nil // names have hyphens too
	}
	last, err := netip.ParseAddr(to)
	if err != nil {
		at := strings.LastIndexAny(from, ".:")
		if last, err = netip.ParseAddr(from[:at+1] + to); err != nil {
			return false, fmt.Errorf("%s: %s is not the end of a range", wire.Printable(text), wire.Printable(to))
		}
	}
	if first.BitLen() != last.BitLen() || last.Less(first) || first.Zone() != "" || last.Zone() != "" {
		return false, fmt.Errorf("%s: the range ends before it begins, or in another family", wire.Printable(text))
	}
	w.addr, w.last = first, last
	return true, nil
}

// Excludes reports whether a target of the word is left out: an address of it, or a name, or a
// server of that name.
func (w *TargetSpec) Excludes(t *finding.Target) bool {
	a := t.Server.Addr
	switch {
	case w.net.IsValid():
		return a.IsValid() && w.net.Contains(a.Addr().Unmap())
	case w.last.IsValid():
		return a.IsValid() && a.Addr().BitLen() == w.addr.BitLen() && !a.Addr().Less(w.addr) && !w.last.Less(a.Addr())
	case w.addr.IsValid():
		return a.Addr().Unmap() == w.addr && (w.port == 0 || w.port == a.Port())
	}
	return w.name != nil && (t.Zone != nil && !a.IsValid() && wire.EqualFold(t.Zone, w.name) || wire.EqualFold(t.Server.Name, w.name))
}

// A Finder turns words into targets. It is safe for concurrent use.
type Finder struct {
	Options *Options
	Zone    []byte // that all servers are asked for; nil: names may be zones themselves
	Max     int    // addresses of one network; 0: MaxTargets
}

// Find returns the targets of a word. A name that is delegated is a zone: it comes
// first, and its servers follow. A word without targets is one with a Problem.
func (f *Finder) Find(ctx context.Context, w TargetSpec) []finding.Target {
	port := cmp.Or(w.port, f.Options.Port, 53)
	switch {
	case w.net.IsValid():
		return f.network(w, port)
	case w.last.IsValid():
		return f.span(w, port)
	case w.addr.IsValid():
		return []finding.Target{{Text: w.Text, Server: finding.Server{Addr: netip.AddrPortFrom(w.addr, port)}, Zone: f.Zone}}
	}
	problem := func(format string, args ...any) []finding.Target {
		return []finding.Target{{Text: w.Text, Problem: fmt.Sprintf(format, args...)}}
	}
	r := &Run{Options: f.Options, Zone: w.name}
	if f.Zone == nil && w.port == 0 {
		m, err := f.ask(ctx, r, w.name, wire.TypeNS)
		switch {
		case err == nil && len(m.Answers(w.name, wire.TypeNS)) > 0:
			return f.domain(ctx, r, w, m)
		case (err != nil || m.Rcode == wire.NoError) && f.delegated(ctx, r): // to servers that have no NS set, or do not answer
			return f.domain(ctx, r, w, m)
		case err != nil:
			return problem("%v", err)
		case m.Rcode == wire.NXDomain:
			return problem("%s does not exist", wire.NameText(w.name))
		}
	}
	var list []finding.Target
	var last error
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		m, err := f.ask(ctx, r, w.name, t)
		if err != nil {
			last = err
			continue
		}
		for _, rr := range m.In(wire.Answer, t) {
			if a, ok := netip.AddrFromSlice(rr.Data); ok && len(list) < targetServers {
				if !f.Options.Asks(a) && !wire.Subdomain(w.name, []byte("\x09localhost\x00")) {
					last = fmt.Errorf("%s: %w", a, ErrLocal)
					continue
				}
				s := finding.Server{Addr: netip.AddrPortFrom(a, port), Name: w.name}
				list = append(list, finding.Target{Text: w.Text + " (" + at(s.Addr) + ")", Server: s, Zone: f.Zone})
			}
		}
	}
	switch {
	case len(list) > 0:
		return list
	case last != nil:
		return problem("%v", last)
	}
	return problem("%s has no address, and is not a zone", wire.NameText(w.name))
}

// at returns an address, with its port if that is not the usual one.
func at(a netip.AddrPort) string {
	if a.Port() == 53 {
		return a.Addr().String()
	}
	return a.String()
}

// edges reports whether a network has a first and a last address that no host has: its own and that of broadcasts (RFC 1122,
// section 3.2.1.3). Two addresses, or one, have hosts (RFC 3021).
func edges(p netip.Prefix) bool { return p.Addr().Is4() && p.Bits() <= 30 }

// Skipped returns the addresses of a word that are no hosts' and therefore left out: a network's first and last.
func (w *TargetSpec) Skipped() []netip.Addr {
	if !w.net.IsValid() || !edges(w.net) {
		return nil
	}
	last := w.net.Addr().As4()
	for i := w.net.Bits(); i < 32; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return []netip.Addr{w.net.Addr(), netip.AddrFrom4(last)}
}

// network returns the addresses of a network that hosts can have, if they are not too many.
func (f *Finder) network(w TargetSpec, port uint16) []finding.Target {
	limit := cmp.Or(f.Max, MaxTargets)
	bits := w.net.Addr().BitLen() - w.net.Bits()
	if bits > 31 || 1<<bits > limit {
		return []finding.Target{
			{Text: w.Text, Problem: fmt.Sprintf("it has 2^%d addresses, and %d are allowed: see --max-targets", bits, limit)},
		}
	}
	list := make([]finding.Target, 0, 1<<bits)
	left := w.Skipped()
	for a := w.net.Addr(); w.net.Contains(a); a = a.Next() {
		if slices.Contains(left, a) {
			continue
		}
		s := netip.AddrPortFrom(a, port)
		list = append(list, finding.Target{Text: at(s), Server: finding.Server{Addr: s}, Zone: f.Zone, FromRange: true})
	}
	return list
}

// span returns the addresses of a range, if they are not too many.
func (f *Finder) span(w TargetSpec, port uint16) []finding.Target {
	limit := cmp.Or(f.Max, MaxTargets)
	var list []finding.Target
	for a := w.addr; ; a = a.Next() {
		if len(list) == limit {
			return []finding.Target{
				{Text: w.Text, Problem: fmt.Sprintf("it has more than %d addresses, which are allowed: see --max-targets", limit)},
			}
		}
		s := netip.AddrPortFrom(a, port)
		list = append(list, finding.Target{Text: at(s), Server: finding.Server{Addr: s}, Zone: f.Zone, FromRange: true})
		if a == w.last {
			return list
		}
	}
}

// ask looks a name up as a stub does where resolvers are known, else from the root down.
func (f *Finder) ask(ctx context.Context, r *Run, name []byte, t wire.Type) (*Reply, error) {
	if len(f.Options.Resolvers) > 0 {
		return askResolvers(ctx, r, name, t)
	}
	return r.Lookup(ctx, name, t)
}

// delegated reports whether a zone is delegated that no server answers for: then there is
// the more to look at.
func (f *Finder) delegated(ctx context.Context, r *Run) bool {
	cuts, err := r.Path(ctx)
	return err == nil && len(cuts) > 0 && wire.EqualFold(cuts[len(cuts)-1].Zone, r.Zone)
}

// domain returns the zone and its servers: those of the delegation where the walk from
// the root can be made, else those that the resolver knows.
func (f *Finder) domain(ctx context.Context, r *Run, w TargetSpec, m *Reply) []finding.Target {
	var servers []finding.Server
	cuts, err := r.Path(ctx)
	switch {
	case err == nil:
		servers = cuts[len(cuts)-1].Servers
	case errors.Is(err, errNoRoots) && m != nil:
		for i, ns := range m.Answers(w.name, wire.TypeNS) {
			if i == walkNames {
				break
			}
			for _, a := range r.Addresses(ctx, wire.Lower(nil, ns)) {
				servers = append(servers, finding.Server{Addr: netip.AddrPortFrom(a, nsPort(r)), Name: ns})
			}
		}
		err = nil
	}
	if err != nil {
		return []finding.Target{{Text: w.Text, Zone: w.name, Problem: err.Error()}}
	}
	servers = servers[:min(len(servers), targetServers)]
	list := []finding.Target{{Text: w.Text, Zone: w.name, Servers: servers}}
	seen := map[netip.AddrPort]bool{}
	for _, s := range servers {
		if seen[s.Addr] || !f.Options.Asks(s.Addr.Addr()) {
			continue // the zone's report judges it
		}
		seen[s.Addr] = true
		name := strings.TrimSuffix(wire.NameText(s.Name), ".")
		list = append(
			list,
			finding.Target{Text: fmt.Sprintf("%s at %s (%s)", w.Text, name, at(s.Addr)), Server: s, Zone: w.name, Derived: true},
		)
	}
	return list
}

// aheadOf is how many results may wait for one before them, for each that is worked on.
const aheadOf = 4

// InOrder does something with each of in, several at the same time, and hands the results out
// in the order of in. It reads no further ahead than a few results for each that is
// worked on, so that the memory it takes does not grow with in. It ends early with ctx.
func InOrder[T, R any](ctx context.Context, atOnce int, in iter.Seq[T], do func(context.Context, T) R) iter.Seq[R] {
	return func(yield func(R) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		slots := make(chan struct{}, atOnce)
		queue := make(chan chan R, atOnce*aheadOf)
		go func() {
			defer close(queue)
			for v := range in {
				result := make(chan R, 1)
				select {
				case queue <- result:
				case <-ctx.Done():
					return
				}
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					close(result)
					return
				}
				go func() {
					defer func() { <-slots }()
					result <- do(ctx, v)
				}()
			}
		}()
		for {
			var result chan R
			more := false
			select {
			case result, more = <-queue:
			case <-ctx.Done(): // what was begun ends, and the next may be waited for without an end
				select {
				case result, more = <-queue:
				default:
				}
			}
			if !more {
				return
			}
			r, ok := <-result
			if !ok || !yield(r) {
				return
			}
		}
	}
}
