package resolver

import (
	"net/netip"

	"port53/internal/wire"
)

// An Exception is what a zone or a server does not bear. What is true is left out in questions
// for names of the zone, or to the server.
type Exception struct {
	Zone     []byte       // with all names below it; nil: Server counts
	Server   netip.Prefix // with all addresses in it
	Case     bool         // upper-case letters (0x20)
	Cookies  bool         // DNS cookies
	EDNS     bool         // the OPT record; DNSSEC is impossible then
	Minimise bool         // QNAME minimisation, towards servers of the zone
}

// exceptions are those of a configuration, found by zone or by server.
type exceptions struct {
	zones   map[string]Exception
	servers []Exception
}

func indexExceptions(list []Exception) (e exceptions) {
	for _, x := range list {
		if x.Zone == nil {
			e.servers = append(e.servers, x)
			continue
		}
		if e.zones == nil {
			e.zones = make(map[string]Exception)
		}
		zone := string(wire.Lower(nil, x.Zone))
		e.zones[zone] = e.zones[zone].and(x)
	}
	return e
}

// and returns what neither of two bears.
func (x Exception) and(y Exception) Exception {
	x.Case, x.Cookies, x.EDNS, x.Minimise = x.Case || y.Case, x.Cookies || y.Cookies, x.EDNS || y.EDNS, x.Minimise || y.Minimise
	return x
}

// ofZone returns what zones at and above name do not bear.
func (e *exceptions) ofZone(name []byte) (x Exception) {
	if e.zones == nil {
		return x
	}
	for n := name; ; n = wire.Parent(n) {
		if y, ok := e.zones[string(n)]; ok {
			x = x.and(y)
		}
		if len(n) == 1 {
			return x
		}
	}
}

// ofServer returns what a server does not bear.
func (e *exceptions) ofServer(a netip.Addr) (x Exception) {
	for i := range e.servers {
		if e.servers[i].Server.Contains(a) {
			x = x.and(e.servers[i])
		}
	}
	return x
}
