package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/wire"
)

// A searching is how names that are not whole are completed.
type searching struct {
	on       bool
	show     bool     // what did not exist is printed too
	absolute bool     // the name ends with a dot
	domains  []string // instead of those of resolv.conf; nil: those
	ndots    int      // -1: that of resolv.conf
}

func setSearch(a *asking, _ string, on bool) error {
	a.search.on = on
	return nil
}

func setDomain(a *asking, arg string, on bool) error {
	if a.search.domains = nil; !on {
		return nil
	}
	name, err := a.parseName(arg)
	if err != nil {
		return err
	}
	a.search.on, a.search.domains = true, []string{query.NameText(name)}
	return nil
}

func setNdots(a *asking, arg string, on bool) error {
	if a.search.ndots = -1; !on {
		return nil
	}
	v, err := number(arg, 0, 15)
	a.search.ndots = int(v)
	return err
}

// candidates returns the names to try, in this order: the name in each of the domains, then as it
// stands; or that alone if it has as many dots as ndots says, as dig does.
func (a *asking) candidates() ([][]byte, error) {
	if !a.search.on || a.search.absolute {
		return [][]byte{a.q.Name}, nil
	}
	domains, ndots, err := query.SystemSearch(a.resolvConf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.resolvConf, pathCause(err))
	}
	if a.search.domains != nil {
		domains = a.search.domains
	}
	if a.search.ndots >= 0 {
		ndots = a.search.ndots
	}
	if wire.LabelCount(a.q.Name)-1 >= ndots {
		return [][]byte{a.q.Name}, nil
	}
	var list [][]byte
	for _, d := range domains {
		name, err := wire.ParseName(d)
		if err != nil || len(a.q.Name)-1+len(name) > wire.MaxName {
			continue
		}
		list = append(list, append(a.q.Name[:len(a.q.Name)-1:len(a.q.Name)-1], name...))
	}
	return append(list, a.q.Name), nil
}

// askSearching asks for each candidate until one exists.
func (s *streams) askSearching(ctx context.Context, a *asking, servers []netip.AddrPort) int {
	list, err := a.candidates()
	if err != nil {
		s.complain("", "%v", err)
		return exitUsage
	}
	for i, name := range list {
		one := a.clone()
		one.q.Name = name
		last := i == len(list)-1
		if !last {
			r, err := one.route.AskAll(ctx, servers, &one.q, nil)
			if err == nil && r.Message.Rcode == wire.NXDomain && !one.search.show {
				continue
			}
			if err == nil && r.Message.Rcode == wire.NXDomain {
				if code := s.show(&one, r); code != exitOK {
					return code
				}
				continue
			}
			if err == nil {
				return s.show(&one, r)
			}
		}
		return s.ask(ctx, &one, servers)
	}
	return exitOK
}

// nssearch asks each server of the zone that a name is in for its SOA record, as dig +nssearch does.
func (s *streams) nssearch(ctx context.Context, a *asking, servers []netip.AddrPort) int {
	q := a.q
	q.Type = wire.TypeNS
	r, err := a.route.AskAll(ctx, servers, &q, nil)
	if err != nil {
		return s.unanswered(ctx, a, err)
	}
	found, code := false, exitOK
	for i := range r.Message.Records {
		rr := &r.Message.Records[i]
		if rr.Type != wire.TypeNS || rr.Section != wire.Answer {
			continue
		}
		found = true
		for _, addr := range s.addressesOf(ctx, a, servers, rr.Data) {
			if a.family == 4 && !addr.Is4() || a.family == 6 && addr.Is4() {
				continue
			}
			soa := a.q
			soa.Type, soa.Flags = wire.TypeSOA, soa.Flags&^wire.FlagRD
			begun := time.Now()
			said, err := a.route.Ask(ctx, netip.AddrPortFrom(addr, a.port), &soa)
			if err != nil {
				s.complain("", "%s at %v: %v", query.NameText(rr.Data), addr, err)
				code = exitFindings
				continue
			}
			for j := range said.Message.Records {
				if x := &said.Message.Records[j]; x.Type == wire.TypeSOA && x.Section == wire.Answer {
					style := a.style
					style.Short = true
					one := exchange.Reply{Question: &soa, Server: said.Server}
					one.Message.Records = []wire.Record{*x}
					line := strings.TrimSuffix(string(style.AppendReply(nil, &one)), "\n")
					fmt.Fprintf(s.out, "SOA %s from server %v in %d ms.\n", line, addr, time.Since(begun).Milliseconds())
				}
			}
		}
	}
	if !found {
		s.complain("", "%s has no NS records: name a zone", query.NameText(a.q.Name))
		return exitFindings
	}
	return code
}

// addressesOf asks for the addresses of a name server.
func (s *streams) addressesOf(ctx context.Context, a *asking, servers []netip.AddrPort, name []byte) (addrs []netip.Addr) {
	for _, t := range []wire.Type{wire.TypeA, wire.TypeAAAA} {
		q := a.q
		q.Name, q.Type = name, t
		r, err := a.route.AskAll(ctx, servers, &q, nil)
		if err != nil {
			continue
		}
		for i := range r.Message.Records {
			if rr := &r.Message.Records[i]; rr.Type == t && rr.Section == wire.Answer {
				if addr, ok := netip.AddrFromSlice(rr.Data); ok {
					addrs = append(addrs, addr)
				}
			}
		}
	}
	return addrs
}
