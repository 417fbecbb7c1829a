package app

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"port53/internal/config"
	"port53/internal/dnssec"
	"port53/internal/engine"
	"port53/internal/server"
	"port53/internal/wire"
)

// Parameters of SVCB records (RFC 9460, section 14.3.2; RFC 9461, section 5).
const (
	paramALPN = 1
	paramPort = 3
	paramIPv4 = 4
	paramIPv6 = 6
	paramPath = 7
)

// An offer is one kind of encrypted service, as DDR announces it.
type offer struct {
	priority uint16 // the smallest is tried first
	over     server.Transport
	alpn     string // as in the record: each name with its length before it
	path     string // of DNS over HTTPS
}

// offers returns what a server of c may announce: what costs least comes first.
func offers(c *config.Config) []offer {
	https := offer{priority: 2, over: server.DoH, alpn: "\x02h2", path: c.Encrypted.DoH.Path + "{?dns}"}
	if c.Encrypted.DoH.HTTP3 {
		https.alpn += "\x02h3"
	}
	return []offer{{priority: 1, over: server.DoT, alpn: "\x03dot"}, https, {priority: 3, over: server.DoQ, alpn: "\x03doq"}}
}

// record returns the RDATA that announces an offer at an address, by the name of the server.
func (o *offer) record(name []byte, at netip.AddrPort) []byte {
	return o.params(append(binary.BigEndian.AppendUint16(nil, o.priority), name...), at.Port(), at.Addr())
}

// params appends the parameters of an offer, in order. hint is the address that it is at, if that is
// told as a parameter.
func (o *offer) params(data []byte, port uint16, hint netip.Addr) []byte {
	param := func(key uint16, value []byte) {
		data = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(data, key), uint16(len(value)))
		data = append(data, value...)
	}
	param(paramALPN, []byte(o.alpn))
	param(paramPort, binary.BigEndian.AppendUint16(nil, port))
	switch {
	case hint.Is4():
		param(paramIPv4, hint.AsSlice())
	case hint.Is6():
		param(paramIPv6, hint.AsSlice())
	}
	if o.path != "" {
		param(paramPath, []byte(o.path))
	}
	return data
}

// discovery returns what clients are told of the recursive service of c: its encrypted transports,
// where they are really served, at addresses that the certificates prove from now until clients
// have forgotten it.
func (a *App) discovery(c *config.Config, now time.Time) *engine.Discovery {
	e := a.encryption
	if e == nil || !c.Recurses() || len(c.Encrypted.Names()) == 0 {
		return nil
	}
	d := &engine.Discovery{Name: wire.Lower(nil, c.Encrypted.Name), Designated: map[netip.Addr][]engine.Designated{}}
	if !c.Encrypted.DDR {
		return d
	}
	name := strings.TrimSuffix(c.Encrypted.Names()[0], ".")
	listeners := a.server.Encrypted()
	for _, addr := range e.keeper.VerifiableAddrs(name, now, now.Add(engine.DesignatedTTL*time.Second)) {
		if _, again := d.Designated[addr]; again {
			continue
		}
		for _, o := range offers(a.startedWith) {
			for _, l := range listeners {
				direct := a.startedWith.WithoutProxies([]netip.AddrPort{l.Addr})
				if l.Transport != o.over || o.over == server.DoH && l.QUIC || len(direct) == 0 {
					continue // HTTP/3 is told of with HTTP/2; behind a proxy nobody is answered directly
				}
				if l.Addr.Addr() == addr || l.Addr.Addr().IsUnspecified() && l.Addr.Addr().Is4() == addr.Is4() {
					at := netip.AddrPortFrom(addr, l.Addr.Port())
					d.Designated[addr] = append(d.Designated[addr], engine.Designated{At: at, Data: o.record(d.Name, at)})
				}
			}
		}
	}
	return d
}

// rediscover has clients be told what is so now, where it is not what they are told already.
func (a *App) rediscover(now time.Time) {
	before := a.current.Load()
	if reflect.DeepEqual(before.engine.Discovery, a.discovery(before.config, now)) {
		return
	}
	a.update(func(g *generation) { g.engine.Discovery = a.discovery(g.config, now) })
	a.tellDiscovery(before)
}

// tellDiscovery logs what clients are told of encrypted transports, if it is not as in old, which may be nil.
func (a *App) tellDiscovery(old *generation) {
	now := announced(a.current.Load())
	switch {
	case old != nil && slices.Equal(announced(old), now):
	case len(now) > 0:
		a.log.Info("clients are told of the encrypted transports (DDR)", "at", now)
	case a.encryption != nil && a.current.Load().config.Encrypted.DDR && a.recursion != nil:
		a.log.Info("clients are not told of the encrypted transports (DDR): no certificate has encrypted.name and a served address")
	}
}

// announced returns the addresses at which something is announced.
func announced(g *generation) (list []string) {
	if g.engine.Discovery != nil {
		for addr := range g.engine.Discovery.Designated {
			list = append(list, addr.String())
		}
	}
	slices.Sort(list)
	return list
}

// infoOf returns the RDATA of the record that tells what a resolver of c does (RFC 9606).
func infoOf(c *config.Config) (data []byte) {
	add := func(text string) { data = append(append(data, byte(len(text))), text...) }
	rc := &c.Resolver
	everything := slices.ContainsFunc(rc.Forward, func(f config.Forward) bool { return len(f.Zone) == 1 && f.Only })
	if rc.QNAMEMinimization != "off" && !everything {
		add("qnamemin")
	}
	add("exterr=" + rangesText(errorCodes(c)))
	if rc.InfoURL != "" {
		add("infourl=" + rc.InfoURL)
	}
	return data
}

// errorCodes returns the Extended DNS Errors that a resolver of c sends (RFC 8914), in order.
func errorCodes(c *config.Config) []int {
	codes := []int{
		wire.EDEOther, wire.EDENotReady, wire.EDEProhibited, wire.EDENotAuthoritative, wire.EDENotSupported,
		wire.EDENoReachableAuthority, wire.EDENetworkError, wire.EDEInvalidData, wire.EDEInvalidType,
	}
	if c.Resolver.Validation {
		codes = append(codes, wire.EDEIndeterminate)
		for r := dnssec.NoSignature; r <= dnssec.WorkLimit; r++ {
			codes = append(codes, r.EDE())
		}
		if c.Resolver.AggressiveNSEC {
			codes = append(codes, wire.EDESynthesized)
		}
	}
	if c.Resolver.Cache.ServeStale {
		codes = append(codes, wire.EDEStaleAnswer, wire.EDEStaleNXDomain)
	}
	if len(c.Policy.Block)+len(c.Policy.RPZ) > 0 || c.Policy.Tunnel.Action == "block" {
		codes = append(codes, wire.EDEBlocked, wire.EDECensored, wire.EDEFiltered)
	}
	if c.Resolver.FiltersPrivate() {
		codes = append(codes, wire.EDEFiltered)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// rangesText returns numbers in order as RFC 9606 writes them, such as 0,5-12.
func rangesText(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, fmt.Sprint(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
