package resolver

import (
	"net/netip"

	"port53/internal/cache"
	"port53/internal/wire"
)

// Servers take what EachServer knows. They keep no slice that they are given.
type Servers interface {
	AddServer(name []byte)   // in lower case
	AddHost(addr netip.Addr) // of the server before
}

// EachServer tells into of the servers of the zones that name is in, the closest zone first, as the
// cache knows them from their parents, also for a while after that has expired. Those of the root and
// of top-level domains are not among them, nor is anything known of names that are asked of servers
// which the configuration names. room is reused memory.
func (s *Config) EachServer(from *cache.Cache, name []byte, now int64, room *[2]cache.Entry, into Servers) {
	if route, _ := s.route(name); route != nil {
		return
	}
	partition, e := s.part(routeIteration), &room[0]
	for n := name; len(n) > 1 && len(wire.Parent(n)) > 1; n = wire.Parent(n) {
		if !from.Delegation(partition, n, now, e) {
			continue
		}
		for _, d := range e.Data {
			size, err := wire.CheckName(d)
			if err != nil {
				continue
			}
			into.AddServer(d[:size])
			for _, t := range [...]wire.Type{wire.TypeA, wire.TypeAAAA} {
				if set := &room[1]; from.RRset(partition, d[:size], t, now, set) && !set.Negative {
					addAddrs(set.Data, into)
				}
			}
			for d = d[size:]; len(d) > 0; {
				length := int(d[0] &^ spareAddr)
				if length+1 > len(d) {
					break
				}
				if a, ok := netip.AddrFromSlice(d[1 : 1+length]); ok {
					into.AddHost(a)
				}
				d = d[1+length:]
			}
		}
	}
}

func addAddrs(list [][]byte, into Servers) {
	for _, d := range list {
		if a, ok := netip.AddrFromSlice(d); ok {
			into.AddHost(a)
		}
	}
}
