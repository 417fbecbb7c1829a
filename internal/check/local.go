package check

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// ErrLocal says that an address is not asked: it is one of this machine, or of nobody, and what answers there is not
// whom it was named for.
var ErrLocal error = localError{}

type localError struct{}

func (localError) Error() string {
	return "the address leads to whoever asks, or to nobody, and is not asked"
}

// Is makes it an address that there is no way to; but it is no fault of this machine.
func (localError) Is(target error) bool { return target == ErrNoRoute }

// A vicinity is how far the addresses of a kind reach.
type vicinity uint8

const (
	anywhere  vicinity = iota
	thisHost           // loopback, and what stands for it
	thisLink           // link-local
	manyHosts          // multicast and broadcast
	ownSite            // private, and of an interface of this machine
)

// vicinityOf returns how far an address reaches from here.
func vicinityOf(a netip.Addr) vicinity {
	a = a.Unmap()
	switch {
	case a.IsLoopback(), a.IsUnspecified(), a.Is4() && a.As4()[0] == 0:
		return thisHost
	case a.IsLinkLocalUnicast():
		return thisLink
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return manyHosts
	case (a.IsPrivate() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a)) && slices.Contains(interfaceAddrs(), a):
		return ownSite
	}
	return anywhere
}

// interfaceAddrs are the addresses of this machine.
var interfaceAddrs = sync.OnceValue(func() []netip.Addr {
	list, _ := net.InterfaceAddrs() // without them nothing is ours
	var out []netip.Addr
	for _, one := range list {
		if p, err := netip.ParsePrefix(one.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
})

// Asks reports whether what answers at an address, which somebody on the network named, is asked. This machine's
// loopback is not, nor a link, nor a group, nor an address of this machine within private networks: unless the walk begins in the
// same place, as in a laboratory.
func (o *Options) Asks(a netip.Addr) bool {
	v := vicinityOf(a)
	if v == anywhere || len(o.Roots)+len(o.Resolvers) == 0 {
		return true // nobody else named it
	}
	for _, s := range o.Roots {
		if from := vicinityOf(s.Addr.Addr()); from == v || v == ownSite && (from == thisHost || s.Addr.Addr().IsPrivate()) {
			return true
		}
	}
	return len(o.Roots) == 0 && slices.ContainsFunc(o.Resolvers, func(r netip.AddrPort) bool { return vicinityOf(r.Addr()) == v })
}

// Asks is that of the options; the target itself is always asked.
func (r *Run) Asks(a netip.AddrPort) bool {
	return a.Addr() == r.Server.Addr.Addr() || slices.Contains(r.Options.Resolvers, a) || r.Options.Asks(a.Addr())
}

// local returns an error if an address is not to be asked.
func (r *Run) local(a netip.AddrPort) error {
	if r.Asks(a) {
		return nil
	}
	return ErrLocal
}

// IsLocal reports whether an error is that an address is not asked.
func IsLocal(err error) bool { return errors.Is(err, ErrLocal) }
